//! `from`: tables, joins and subqueries become a tree of relations, and their columns a scope.
//!
//! Nothing is joined here: [`super::joins`] does that, when the conditions of `where` are known.

use sqlparser::{
    ast::{
        Expr as Sql, Ident, Join, JoinConstraint, JoinOperator, ObjectName, ObjectNamePart, Query,
        Spanned, TableAlias, TableFactor, TableWithJoins,
    },
    tokenizer::Span,
};

use super::{
    Result, SqlError, Translator, estimate,
    relation::Relation,
    scope::{Column, Scope, meant},
    tree,
};
use crate::{
    expr::parse::{ParseErrorKind, column, nearest},
    formats::Format,
    plan::{JoinKind, Op},
};

/// Relations that are still to be joined.
pub(super) enum Tree {
    /// One of them.
    Leaf(Relation),
    /// All combinations for which the conditions hold.
    Inner { parts: Vec<Tree>, on: Vec<Sql> },
    /// A join that keeps rows without a partner.
    Outer { how: JoinKind, sides: Box<(Tree, Tree)>, on: Vec<Sql>, merged: Vec<Merged> },
}

/// A column that a full join with `using` makes of two.
pub(super) struct Merged {
    pub(super) own: String,
    pub(super) left: String,
    pub(super) right: String,
    pub(super) span: Span,
}

/// What stands in a `from`.
pub(super) struct From {
    pub(super) tree: Tree,
    pub(super) columns: Vec<Column>,
}

impl Tree {
    /// The plan's names of its columns.
    pub(super) fn names(&self) -> Vec<String> {
        match self {
            Self::Leaf(relation) => relation.names(),
            Self::Inner { parts, .. } => parts.iter().flat_map(Self::names).collect(),
            Self::Outer { sides, merged, .. } => {
                let both = [sides.0.names(), sides.1.names()].concat();
                both.into_iter().chain(merged.iter().map(|column| column.own.clone())).collect()
            }
        }
    }

    /// Both, side by side.
    fn beside(self, other: Self, conditions: Vec<Sql>) -> Self {
        let of = |tree: Self| match tree {
            Self::Inner { parts, on } => (parts, on),
            single => (vec![single], Vec::new()),
        };
        let ((mut parts, mut on), (other_parts, other_on)) = (of(self), of(other));
        parts.extend(other_parts);
        on.extend(other_on);
        on.extend(conditions);
        Self::Inner { parts, on }
    }
}

impl Translator<'_, '_, '_, '_> {
    /// The tables of a `from`; with `keep_all` all their columns, else those that the query names
    /// anywhere.
    pub(super) fn from(
        &mut self,
        from: &[TableWithJoins],
        span: Span,
        keep_all: bool,
    ) -> Result<From> {
        let mut found: Option<From> = None;
        for item in from {
            let next = self.joined(item, keep_all)?;
            found = Some(match found {
                None => next,
                Some(before) => {
                    check_tables(&before.columns, &next.columns, item.relation.span())?;
                    From {
                        columns: [before.columns, next.columns].concat(),
                        tree: before.tree.beside(next.tree, Vec::new()),
                    }
                }
            });
        }
        found.ok_or_else(|| {
            let message = "a `select` without `from` is not supported; name an input in `from`";
            SqlError::unsupported(span, message)
        })
    }

    fn joined(&mut self, item: &TableWithJoins, keep_all: bool) -> Result<From> {
        let is_natural = item.joins.iter().any(|join| {
            constraint(&join.join_operator)
                .is_some_and(|(_, constraint)| matches!(constraint, JoinConstraint::Natural))
        });
        let keep_all = keep_all || is_natural;
        let mut left = self.table(&item.relation, keep_all)?;
        for join in &item.joins {
            let right = self.table(&join.relation, keep_all)?;
            check_tables(&left.columns, &right.columns, join.relation.span())?;
            left = self.join_of(left, join, right)?;
        }
        Ok(left)
    }

    fn join_of(&mut self, left: From, join: &Join, right: From) -> Result<From> {
        let span = join.relation.span();
        let Some((how, constraint)) = constraint(&join.join_operator).filter(|_| !join.global)
        else {
            let message = "this join is not supported; there are inner, left, right, full and \
                           cross joins, `exists` and `in` for semi and anti joins";
            return Err(SqlError::unsupported(span, message));
        };
        let mut columns = [left.columns.clone(), right.columns.clone()].concat();
        let mut merged = Vec::new();
        let on = match constraint {
            JoinConstraint::None if how == JoinKind::Cross || how == JoinKind::Inner => Vec::new(),
            JoinConstraint::None => {
                let message = "an outer join wants `on` or `using`";
                return Err(SqlError::new(ParseErrorKind::Syntax, span, message));
            }
            JoinConstraint::On(condition) => {
                let on = self.resolve(condition, &Scope::of(&columns, None))?;
                let is_inner = matches!(how, JoinKind::Inner | JoinKind::Cross);
                if let Some(place) = self.subquery_in(&on).filter(|_| !is_inner) {
                    let message = "a subquery in the `on` of an outer join is not supported; join \
                                   a subquery in `from` instead";
                    return Err(SqlError::unsupported(place, message));
                }
                tree::factored(tree::conjuncts(on))
            }
            JoinConstraint::Using(names) => {
                let words =
                    names.iter().map(|name| word(name).cloned()).collect::<Result<Vec<_>>>()?;
                self.using(how, &words, &left, &right, &mut columns, &mut merged)?
            }
            JoinConstraint::Natural => {
                let shared = left.columns.iter().filter(|column| {
                    let has = |other: &Column| other.is_shown() && other.name == column.name;
                    column.is_shown() && right.columns.iter().any(has)
                });
                let words: Vec<Ident> = shared
                    .map(|column| Ident {
                        value: column.name.clone(),
                        quote_style: Some('"'),
                        span,
                    })
                    .collect();
                self.using(how, &words, &left, &right, &mut columns, &mut merged)?
            }
            JoinConstraint::UsingAlias(..) => {
                let message = "`using (...) as` is not supported; name the columns by their table";
                return Err(SqlError::unsupported(span, message));
            }
        };
        let tree = if matches!(how, JoinKind::Inner | JoinKind::Cross) {
            left.tree.beside(right.tree, on)
        } else {
            Tree::Outer { how, sides: Box::new((left.tree, right.tree)), on, merged }
        };
        Ok(From { tree, columns })
    }

    /// The conditions of `using`; of each pair of columns one hides the other.
    fn using(
        &mut self,
        how: JoinKind,
        words: &[Ident],
        left: &From,
        right: &From,
        columns: &mut Vec<Column>,
        merged: &mut Vec<Merged>,
    ) -> Result<Vec<Sql>> {
        let mut on = Vec::with_capacity(words.len());
        for word in words {
            let side = |of_side: &[Column]| -> Result<String> {
                match Scope::of(of_side, None).word(word)? {
                    Sql::Identifier(own) => Ok(own.value),
                    other => Ok(other.to_string()),
                }
            };
            let (left_own, right_own) = (side(&left.columns)?, side(&right.columns)?);
            on.push(tree::binary(
                tree::column(&left_own, word.span),
                sqlparser::ast::BinaryOperator::Eq,
                tree::column(&right_own, word.span),
            ));
            let hidden: &[&String] = match how {
                JoinKind::Right => &[&left_own],
                JoinKind::Full => &[&left_own, &right_own],
                _ => &[&right_own],
            };
            let mut first = None;
            for (place, column) in columns.iter_mut().enumerate() {
                if hidden.contains(&&column.own) {
                    column.is_hidden = true;
                    first.get_or_insert(place);
                }
            }
            if how == JoinKind::Full {
                let own = self.own_name(&word.value);
                let place = first.unwrap_or(0);
                let name = columns[place].name.clone();
                let table = String::new();
                columns.insert(place, Column { table, name, own: own.clone(), is_hidden: false });
                let span = word.span;
                merged.push(Merged { own, left: left_own, right: right_own, span });
            }
        }
        Ok(on)
    }

    fn table(&mut self, factor: &TableFactor, keep_all: bool) -> Result<From> {
        match factor {
            TableFactor::Table {
                name,
                alias,
                args,
                with_hints,
                version,
                with_ordinality,
                partitions,
                json_path,
                sample,
                index_directives,
                inheritance,
            } => {
                if args.is_some() {
                    let message = format!(
                        "`{name}(...)` in `from` is not supported; read it by a node of its own"
                    );
                    return Err(SqlError::unsupported(factor.span(), message));
                }
                let is_plain = with_hints.is_empty()
                    && version.is_none()
                    && !with_ordinality
                    && partitions.is_empty()
                    && json_path.is_none()
                    && sample.is_none()
                    && index_directives.is_empty()
                    && inheritance.is_none();
                if !is_plain {
                    let message = "a table has a name and an alias here, nothing more";
                    return Err(SqlError::unsupported(factor.span(), message));
                }
                let (relation, found) = self.named(name)?;
                self.leaf(&relation, &found, alias.as_ref(), keep_all)
            }
            TableFactor::Derived { lateral, subquery, alias, sample } => {
                if *lateral || sample.is_some() {
                    let message = "`lateral` and `tablesample` are not supported; a subquery in \
                                   `where` may name the columns around it, and `sample` is an \
                                   operator";
                    return Err(SqlError::unsupported(factor.span(), message));
                }
                let relation = self.derived(subquery)?;
                let name = alias
                    .as_ref()
                    .map_or_else(|| self.own_name("subquery"), |alias| alias.name.value.clone());
                self.leaf(&relation, &name, alias.as_ref(), keep_all)
            }
            TableFactor::NestedJoin { table_with_joins, alias: None } => {
                self.joined(table_with_joins, keep_all)
            }
            other => {
                let text = other.to_string();
                let shown: String = text.chars().take(40).collect();
                let message = format!(
                    "`{shown}` in `from` is not supported; there are inputs, joins and subqueries"
                );
                Err(SqlError::unsupported(other.span(), message))
            }
        }
    }

    /// A query of its own, with the tables of `with` that are known here.
    pub(super) fn derived(&mut self, query: &Query) -> Result<Relation> {
        let windows = std::mem::take(&mut self.windows);
        let relation = self.query(query, None);
        self.windows = windows;
        relation
    }

    /// The rows that a name stands for: a `with` query, the innermost first, or an input.
    fn named(&mut self, name: &ObjectName) -> Result<(Relation, String)> {
        let word = word(name)?;
        // The innermost of one name hides the others, so that the first is taken, not the only.
        let common = [true, false].into_iter().find_map(|exactly| {
            self.commons.iter().rev().find(|common| {
                let known = &common.name.value;
                if exactly {
                    *known == word.value
                } else {
                    word.quote_style.is_none() && known.eq_ignore_ascii_case(&word.value)
                }
            })
        });
        if let Some(common) = common {
            return Ok((common.relation.clone(), common.name.value.clone()));
        }
        let inputs: Vec<(usize, String)> =
            self.inputs.iter().map(|input| input.name.clone()).enumerate().collect();
        if let Ok((place, found)) = meant(word, &inputs.iter(), |(_, input)| input) {
            return Ok((self.input(*place), found.clone()));
        }
        let commons = self.commons.iter().map(|known| known.name.value.as_str());
        let tables: Vec<&str> =
            inputs.iter().map(|(_, input)| input.as_str()).chain(commons).collect();
        let message = format!(
            "no table `{}`; there are {}, and an edge makes a node one",
            word.value,
            tables.join(", ")
        );
        let suggestion = nearest(&word.value, tables);
        let error = SqlError::new(ParseErrorKind::UnknownColumn, word.span, message);
        Err(SqlError { suggestion, ..error })
    }

    /// An input's rows. Files that are cheap to read are read once for every time that they are
    /// named, since each then reads only what it needs, and nobody keeps a whole table.
    fn input(&mut self, place: usize) -> Relation {
        let input = &mut self.inputs[place];
        input.uses += 1;
        let (bound, is_again) = (input.bound.clone(), input.uses > 1);
        let node = &self.binder.nodes[bound.index.index()];
        let again = match &node.op {
            Op::Read(read) if is_again && is_selective(&read.format) => Some(node.clone()),
            _ => None,
        };
        let bound = match again {
            Some(copy) => {
                let id = self.step("read");
                self.binder.push(id, copy.op, &[], copy.schema, copy.order)
            }
            None => bound,
        };
        let rows = estimate::rows(&self.binder.nodes, bound.index);
        Relation { bound, rows, base: rows }
    }

    /// A relation as a table of a `from`, under names of its own.
    fn leaf(
        &mut self,
        relation: &Relation,
        table: &str,
        alias: Option<&TableAlias>,
        keep_all: bool,
    ) -> Result<From> {
        let table = alias.map_or(table, |alias| &alias.name.value);
        let given = alias.map_or(&[][..], |alias| &alias.columns);
        let mut names = relation.names();
        if given.len() > names.len() {
            let message = format!(
                "`{table}` has {} columns, and {} names are given",
                names.len(),
                given.len()
            );
            return Err(SqlError::new(ParseErrorKind::Syntax, given[0].name.span, message));
        }
        for (name, other) in names.iter_mut().zip(given) {
            name.clone_from(&other.name.value);
        }
        let is_said = |name: &String| self.words.contains_key(&name.to_lowercase());
        let mut kept: Vec<usize> =
            (0..names.len()).filter(|place| keep_all || is_said(&names[*place])).collect();
        if kept.is_empty() {
            // Rows are counted by a column, and this costs the least.
            kept.extend((0..names.len()).min_by_key(|place| {
                column(relation.schema(), *place).data_type().primitive_width().unwrap_or(64)
            }));
        }
        let mut columns = Vec::with_capacity(names.len());
        let mut renamed = Vec::with_capacity(kept.len());
        for (place, name) in names.into_iter().enumerate() {
            let own = if kept.contains(&place) {
                let own = self.own_name(&format!("{table}.{name}"));
                renamed.push((place, own.clone()));
                own
            } else {
                String::new()
            };
            columns.push(Column { table: String::from(table), name, own, is_hidden: false });
        }
        let relation = self.renamed(relation, &renamed);
        Ok(From { tree: Tree::Leaf(relation), columns })
    }
}

/// Whether a reader of the format reads only the columns that are wanted.
fn is_selective(format: &Format) -> bool {
    !matches!(format, Format::Csv { .. } | Format::Jsonl { .. } | Format::Text { .. })
}

/// The one word of a table's or a column's name.
fn word(name: &ObjectName) -> Result<&Ident> {
    if let [ObjectNamePart::Identifier(word)] = &name.0[..] {
        return Ok(word);
    }
    let message = format!(
        "`{name}` has no schemas or catalogs before it here; an input's name is its node's id"
    );
    Err(SqlError::unsupported(name.span(), message))
}

/// What a join keeps, and what it goes by.
fn constraint(operator: &JoinOperator) -> Option<(JoinKind, &JoinConstraint)> {
    Some(match operator {
        JoinOperator::Join(constraint) | JoinOperator::Inner(constraint) => {
            (JoinKind::Inner, constraint)
        }
        JoinOperator::Left(constraint) | JoinOperator::LeftOuter(constraint) => {
            (JoinKind::Left, constraint)
        }
        JoinOperator::Right(constraint) | JoinOperator::RightOuter(constraint) => {
            (JoinKind::Right, constraint)
        }
        JoinOperator::FullOuter(constraint) => (JoinKind::Full, constraint),
        JoinOperator::CrossJoin(constraint) => (JoinKind::Cross, constraint),
        _ => return None,
    })
}

/// Two tables of one name could not be told apart.
fn check_tables(before: &[Column], after: &[Column], span: Span) -> Result<()> {
    let taken = after.iter().find(|column| {
        !column.table.is_empty() && before.iter().any(|other| other.table == column.table)
    });
    match taken {
        None => Ok(()),
        Some(column) => {
            let table = &column.table;
            let message = format!(
                "two tables are called `{table}`; give one an alias, as in \
                                   `{table} as other`"
            );
            Err(SqlError::new(ParseErrorKind::Syntax, span, message))
        }
    }
}
