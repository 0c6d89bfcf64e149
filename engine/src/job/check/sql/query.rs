//! A whole query: `with`, set operations, its order and how many rows of it are wanted.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema};
use sqlparser::{
    ast::{
        Expr as Sql, LimitClause, OrderBy, Query, SetExpr, SetOperator, SetQuantifier, Spanned,
        Value, With,
    },
    tokenizer::Span,
};

use super::{
    Common, Result, SqlError, Translator,
    relation::{On, Relation, cast},
    scope::{Column, Scope},
    select::{direction, order_keys, ordinal},
    span_of, tree,
};
use crate::{
    expr::{
        SortKey,
        parse::{self, ParseErrorKind},
    },
    plan::{JoinKind, Op, Order},
};

impl Translator<'_, '_, '_, '_> {
    /// The rows of a query. `order` is that of a query around it which is no more than its order.
    pub(super) fn query(&mut self, query: &Query, order: Option<&OrderBy>) -> Result<Relation> {
        check_query(query)?;
        let known = self.commons.len();
        if let Some(with) = &query.with {
            self.with(with)?;
        }
        let relation = self.ordered(query, order);
        self.commons.truncate(known);
        relation
    }

    fn ordered(&mut self, query: &Query, order: Option<&OrderBy>) -> Result<Relation> {
        let order_by = query.order_by.as_ref().or(order);
        let relation = match query.body.as_ref() {
            SetExpr::Select(select) => self.select(select, order_by)?,
            SetExpr::Query(inner) if inner.order_by.is_none() && inner.limit_clause.is_none() => {
                self.query(inner, order_by)?
            }
            body => {
                let relation = self.body(body)?;
                match order_by {
                    None => relation,
                    Some(order_by) => self.sorted(&relation, order_by)?,
                }
            }
        };
        self.cut(relation, query)
    }

    fn body(&mut self, body: &SetExpr) -> Result<Relation> {
        match body {
            SetExpr::Select(select) => self.select(select, None),
            SetExpr::Query(query) => self.query(query, None),
            SetExpr::SetOperation { left, op, right, set_quantifier } => {
                self.combined(left, *op, right, *set_quantifier)
            }
            other => {
                let message = "only `select` is translated, and what `union`, `intersect` and \
                               `except` make of several; rows of one's own stand in a file";
                Err(SqlError::unsupported(other.span(), message))
            }
        }
    }

    /// The queries of `with`, but for those that the query never names.
    fn with(&mut self, with: &With) -> Result<()> {
        if with.recursive {
            let message = "`with recursive` is not supported: a job has no recursion";
            return Err(SqlError::unsupported(with.with_token.0.span, message));
        }
        for common in &with.cte_tables {
            if let Some(from) = &common.from {
                let message = "`from` behind a name of `with` is not supported";
                return Err(SqlError::unsupported(from.span, message));
            }
            let name = common.alias.name.clone();
            if self.words.get(&name.value.to_lowercase()).is_none_or(|times| *times < 2) {
                continue;
            }
            let mut relation = self.derived(&common.query)?;
            let given = &common.alias.columns;
            if !given.is_empty() {
                let names = relation.names();
                if given.len() > names.len() {
                    let message = format!(
                        "`{}` has {} columns, and {} names are given",
                        name.value,
                        names.len(),
                        given.len()
                    );
                    let place = given[0].name.span;
                    return Err(SqlError::new(ParseErrorKind::Syntax, place, message));
                }
                let columns: Vec<(usize, String)> = names
                    .into_iter()
                    .enumerate()
                    .map(|(place, own)| {
                        (place, given.get(place).map_or(own, |given| given.name.value.clone()))
                    })
                    .collect();
                let mut seen = hashbrown::HashSet::new();
                if let Some((place, twice)) =
                    columns.iter().find(|(_, column)| !seen.insert(column.clone()))
                {
                    let span = given.get(*place).map_or(name.span, |given| given.name.span);
                    let message = format!("`{twice}` is given to two columns");
                    return Err(SqlError::new(ParseErrorKind::Syntax, span, message));
                }
                relation = self.renamed(&relation, &columns);
            }
            self.commons.push(Common { name, relation });
        }
        Ok(())
    }

    /// Two queries' rows as one query's.
    fn combined(
        &mut self,
        left: &SetExpr,
        op: SetOperator,
        right: &SetExpr,
        quantifier: SetQuantifier,
    ) -> Result<Relation> {
        let is_all = match quantifier {
            SetQuantifier::All => true,
            SetQuantifier::None | SetQuantifier::Distinct => false,
            SetQuantifier::ByName | SetQuantifier::AllByName | SetQuantifier::DistinctByName => {
                let message = "`by name` is not supported here; the operator union goes by name";
                return Err(SqlError::unsupported(right.span(), message));
            }
        };
        // A long chain of one operation is a list, and becomes one node.
        let mut bodies = vec![right];
        let mut first = left;
        while let SetExpr::SetOperation { left: before, op: inner, right: next, set_quantifier } =
            first
            && *inner == op
            && *set_quantifier == quantifier
            && op == SetOperator::Union
        {
            bodies.push(next);
            first = before;
        }
        bodies.push(first);
        let mut relations = Vec::with_capacity(bodies.len());
        for body in bodies.into_iter().rev() {
            relations.push((self.body(body)?, body.span()));
        }
        let relations = self.alike(relations)?;
        match (op, is_all) {
            (SetOperator::Union, _) => {
                let all = self.union(&relations);
                Ok(if is_all { all } else { self.distinct(&all) })
            }
            (SetOperator::Intersect, false) => self.matched(&relations, JoinKind::Semi),
            (SetOperator::Except | SetOperator::Minus, false) => {
                self.matched(&relations, JoinKind::Anti { null_aware: false })
            }
            (SetOperator::Intersect | SetOperator::Except | SetOperator::Minus, true) => {
                let message = format!(
                    "`{op} all` is not supported; say `{op}`, which gives each \
                                       row once"
                );
                Err(SqlError::unsupported(right.span(), message.to_lowercase()))
            }
        }
    }

    /// The same relations with the first one's names and with common types.
    fn alike(&mut self, relations: Vec<(Relation, Span)>) -> Result<Vec<Relation>> {
        let Some((first, _)) = relations.first() else { return Ok(Vec::new()) };
        let names = first.names();
        let mut types: Vec<_> =
            first.schema().fields().iter().map(|field| field.data_type().clone()).collect();
        for (relation, span) in &relations[1..] {
            let fields = relation.schema().fields();
            if fields.len() != types.len() {
                let message = format!(
                    "the first query has {} columns, and this one {}",
                    types.len(),
                    fields.len()
                );
                return Err(SqlError::new(ParseErrorKind::Syntax, *span, message));
            }
            for ((known, field), name) in types.iter_mut().zip(fields).zip(&names) {
                *known = parse::unified(known, field.data_type()).ok_or_else(|| {
                    let (one, other) =
                        (parse::type_name(known), parse::type_name(field.data_type()));
                    let message = format!("column `{name}` is {one}, and here {other}");
                    SqlError::new(ParseErrorKind::Type, *span, message)
                })?;
            }
        }
        let alike = relations.into_iter().map(|(relation, _)| {
            let is_right =
                relation.schema().fields().iter().zip(&names).zip(&types).all(
                    |((field, name), known)| field.name() == name && field.data_type() == known,
                );
            if is_right {
                return relation;
            }
            let columns = names.iter().zip(&types).enumerate().map(|(place, (name, known))| {
                let column = parse::column(relation.schema(), place);
                (name.clone(), cast(column, known))
            });
            let columns = columns.collect();
            self.map_bound(&relation, columns)
        });
        Ok(alike.collect())
    }

    fn union(&mut self, relations: &[Relation]) -> Relation {
        let schema = Arc::new(Schema::new(
            relations[0]
                .schema()
                .fields()
                .iter()
                .map(|field| Field::new(field.name(), field.data_type().clone(), true))
                .collect::<Vec<_>>(),
        ));
        let inputs: Vec<&Relation> = relations.iter().collect();
        let rows = relations.iter().map(|relation| relation.rows).sum();
        let has_none = relations.iter().any(|relation| relation.bound.order == Order::None);
        let order = if has_none { Order::None } else { Order::Source };
        self.push("union", Op::Union, &inputs, schema, order, rows)
    }

    /// The first relation's rows, each once, by whether the second one has them; null is null.
    fn matched(&mut self, relations: &[Relation], how: JoinKind) -> Result<Relation> {
        let [left, right] = relations else {
            unreachable!("set operations but `union` have two sides")
        };
        let left = self.distinct(left);
        let span = Span::empty();
        let keys = left
            .names()
            .iter()
            .map(|name| (tree::column(name, span), tree::column(name, span)))
            .collect();
        let on = On { keys, others: Vec::new(), null_safe: true };
        let rows = left.rows * 0.5;
        self.join(how, &left, right, on, rows)
    }

    /// The rows of a combined query in its order, which goes by its columns.
    fn sorted(&mut self, relation: &Relation, order_by: &OrderBy) -> Result<Relation> {
        let names = relation.names();
        let columns: Vec<Column> = names
            .iter()
            .map(|name| Column {
                table: String::new(),
                name: name.clone(),
                own: name.clone(),
                is_hidden: false,
            })
            .collect();
        let scope = Scope::of(&columns, None);
        let mut shown: Vec<(String, Sql)> =
            names.iter().map(|name| (name.clone(), tree::column(name, order_by.span()))).collect();
        let mut keys: Vec<SortKey> = Vec::new();
        for key in order_keys(order_by, names.len())? {
            let (descending, nulls_first) = direction(&key)?;
            let column = match ordinal(&key.expr, names.len())? {
                Some(place) => place,
                None => match self.resolve(&key.expr, &scope)? {
                    Sql::Identifier(word) if names.contains(&word.value) => {
                        names.iter().position(|name| *name == word.value).unwrap_or_default()
                    }
                    other => {
                        if let Some(place) = self.subquery_in(&other) {
                            let message = "a subquery can't stand in the order of a combined \
                                           query";
                            return Err(SqlError::unsupported(place, message));
                        }
                        shown.push((self.own_name("order#1"), other));
                        shown.len() - 1
                    }
                },
            };
            if !keys.iter().any(|known| known.column == column) {
                keys.push(SortKey { column, descending, nulls_first });
            }
        }
        if shown.len() == names.len() {
            return Ok(self.sort(relation, keys, None));
        }
        let wider = self.map(relation, &shown)?;
        let sorted = self.sort(&wider, keys, None);
        let kept: Vec<_> = names.into_iter().enumerate().collect();
        Ok(self.renamed(&sorted, &kept))
    }

    /// As many rows as `limit`, `offset` and `fetch` say.
    fn cut(&mut self, relation: Relation, query: &Query) -> Result<Relation> {
        let (mut n, mut offset) = (None, 0);
        match &query.limit_clause {
            None => {}
            Some(LimitClause::LimitOffset { limit, offset: first, limit_by }) => {
                if let Some(key) = limit_by.first() {
                    let message = "`limit ... by` is not supported; say `qualify row_number() \
                                   over (partition by ...) <= n`";
                    return Err(SqlError::unsupported(span_of(key), message));
                }
                n = limit.as_ref().map(count).transpose()?;
                offset = first.as_ref().map_or(Ok(0), |first| count(&first.value))?;
            }
            Some(LimitClause::OffsetCommaLimit { offset: first, limit }) => {
                n = Some(count(limit)?);
                offset = count(first)?;
            }
        }
        if let Some(fetch) = &query.fetch {
            if fetch.with_ties || fetch.percent {
                let message = "`fetch` gives a number of rows, without ties or percent";
                return Err(SqlError::unsupported(query.span(), message));
            }
            n = Some(fetch.quantity.as_ref().map_or(Ok(1), count)?);
        }
        if n.is_none() && offset == 0 {
            return Ok(relation);
        }
        Ok(self.limited(relation, offset, n))
    }
}

/// A constant number of rows.
fn count(sql: &Sql) -> Result<u64> {
    let most = i64::MAX.unsigned_abs();
    let found = match tree::without_parentheses(sql) {
        Sql::Value(value) => match &value.value {
            Value::Number(digits, _) => digits.parse().ok().filter(|n| *n <= most),
            _ => None,
        },
        _ => None,
    };
    found.ok_or_else(|| {
        let message = format!("a number of rows is a constant from 0 to {most}, not `{sql}`");
        SqlError::unsupported(span_of(sql), message)
    })
}

/// Refuses what no part of this translation reads.
fn check_query(query: &Query) -> Result<()> {
    let is_plain = query.locks.is_empty()
        && query.for_clause.is_none()
        && query.settings.is_none()
        && query.format_clause.is_none()
        && query.pipe_operators.is_empty();
    if is_plain {
        return Ok(());
    }
    let message = "a query ends with its order and limit here; `for`, `settings`, `format` and \
                   pipes are not supported";
    Err(SqlError::unsupported(query.span(), message))
}
