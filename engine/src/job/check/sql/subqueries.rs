//! Queries inside expressions, as joins.
//!
//! `exists` and `in` keep or drop the rows of the query around them: semi and anti joins. A query
//! for one value is computed for all rows at once: by the columns that it compares with those
//! around it, it is grouped and joined; without such it has one row, which stands beside all.

use sqlparser::{
    ast::{
        BinaryOperator, Expr as Sql, FunctionArgExpr, LimitClause, Query, SetExpr, Spanned, Value,
    },
    tokenizer::Span,
};

use super::{
    Result, SqlError, Translator,
    relation::{On, Relation, compare},
    scope::Scope,
    select::Select,
    tree,
    windows::window_in,
};
use crate::expr::parse::ParseErrorKind;

mod attach;

/// A query that stands in an expression, ready to be joined.
pub(super) struct Prepared {
    /// The name that stands in its place.
    name: String,
    kind: Kind,
    /// Its rows.
    inner: Relation,
    /// What must be equal: over the columns around it, over its own.
    keys: Vec<(Sql, Sql)>,
    /// What else must hold of a pair of rows.
    others: Vec<Sql>,
    /// The columns around it that it reads.
    pub(super) outer: Vec<String>,
    span: Span,
}

enum Kind {
    /// Whether it has a row.
    Exists { negated: bool },
    /// Whether it has a value: the last of the keys, so many columns.
    In { negated: bool, columns: usize },
    /// Its value, over the columns of its rows.
    Scalar {
        value: Box<Sql>,
        /// A column that counts its rows, where there may be more than one.
        count: Option<String>,
        /// Whether it is null where it has no row.
        is_strict: bool,
    },
}

/// What must be equal: an expression over the columns around a query, one over its own.
type Keys = Vec<(Sql, Sql)>;

/// A query as its rows, and what it compares with the columns around it.
struct Correlated {
    select: Select,
    /// What it says of its own columns alone stands in it; this is the rest.
    conditions: Vec<Sql>,
}

/// What a query inside an expression is.
enum Inside {
    /// Rows that have nothing to do with the query around it.
    Alone(Relation),
    /// Rows that are compared with those of the query around it.
    Compared(Box<Correlated>),
}

impl Prepared {
    /// About how many rows it has.
    pub(super) fn rows(&self) -> f64 {
        self.inner.rows
    }
}

const MORE_THAN_ONE: &str = "at most one row of a subquery for one value";

impl Translator<'_, '_, '_, '_> {
    pub(super) fn subquery(&self, name: &str) -> Option<&Prepared> {
        self.subqueries.iter().find(|subquery| subquery.name == name)
    }

    fn prepared(
        &mut self,
        kind: Kind,
        inner: Relation,
        keys: Vec<(Sql, Sql)>,
        others: Vec<Sql>,
        span: Span,
    ) -> Sql {
        let name = self.own_name("subquery#1");
        let mut outer: Vec<String> = Vec::new();
        let of_others = others.iter().flat_map(|sql| self.names_of(sql));
        let of_others = of_others.filter(|other| !inner.has(other));
        let of_keys = keys.iter().flat_map(|(sql, _)| self.names_of(sql));
        for found in of_keys.chain(of_others) {
            if !outer.contains(&found) {
                outer.push(found);
            }
        }
        let place = tree::column(&name, span);
        self.subqueries.push(Prepared { name, kind, inner, keys, others, outer, span });
        place
    }

    /// The SELECT of a query that has columns of the query around it, or else the query's rows.
    fn inside(&mut self, query: &Query, scope: &Scope<'_>, is_exists: bool) -> Result<Inside> {
        let SetExpr::Select(select) = body(query) else {
            return self.derived(query).map(Inside::Alone);
        };
        let is_plain = query.with.is_none() && query.fetch.is_none() && select.qualify.is_none();
        let limit = limit_of(query);
        // Whether there is a row is the same with its first row alone.
        let is_whole = limit.is_none() || (is_exists && limit == Some(Limit::AtLeastOne));
        if !is_plain || !is_whole {
            return self.derived(query).map(Inside::Alone);
        }
        let windows = std::mem::take(&mut self.windows);
        let order_by = if is_exists { None } else { query.order_by.as_ref() };
        let analysed = self.analysed(select, order_by, Some(scope), is_exists);
        let mut analysed = match analysed {
            Ok(analysed) => analysed,
            Err(error) => {
                self.windows = windows;
                return Err(error);
            }
        };
        let own: Vec<String> = analysed.tree.names();
        let is_own = |name: &String| own.contains(name);
        let conditions = std::mem::take(&mut analysed.conditions);
        let (inner, outer): (Vec<_>, Vec<_>) =
            conditions.into_iter().partition(|sql| self.names_of(sql).iter().all(is_own));
        analysed.conditions = inner;
        let elsewhere = analysed
            .expressions()
            .find_map(|sql| tree::place_of(sql, |name| self.is_foreign(name, &own)));
        if let Some(place) = elsewhere {
            let message = "a column of the query around stands only in the `where` of a subquery";
            return Err(SqlError::unsupported(place, message));
        }
        let found = if outer.is_empty() && !is_exists {
            self.finished(analysed).map(Inside::Alone)
        } else {
            Ok(Inside::Compared(Box::new(Correlated { select: analysed, conditions: outer })))
        };
        self.windows = windows;
        found
    }

    /// Whether a name is that of a column that is not among `own`.
    fn is_foreign(&self, name: &str, own: &[String]) -> bool {
        let is_own = |other: &str| own.iter().any(|known| known == other);
        match self.subquery(name) {
            Some(subquery) => !subquery.outer.iter().all(|other| is_own(other)),
            None => !is_own(name),
        }
    }

    /// The rows of a query with what it compares: equal expressions and the rest.
    fn compared(&mut self, correlated: Correlated) -> Result<(Relation, Select, On)> {
        let Correlated { mut select, conditions } = correlated;
        let inner = self.rows_of(&mut select)?;
        let mut on = On::default();
        for sql in conditions {
            match equality(&sql, &inner, |sql| self.names_of(sql)) {
                Some(key) => on.keys.push(key),
                None => on.others.push(sql),
            }
        }
        if let Some(place) = on.others.iter().find_map(|sql| self.subquery_in(sql)) {
            let message = "a subquery here can't be compared with columns of the query around it; \
                           compare it in a condition of its own";
            return Err(SqlError::unsupported(place, message));
        }
        Ok((inner, select, on))
    }

    /// The same of a query that groups: the keys become keys of its groups.
    fn grouped(&mut self, correlated: Correlated) -> Result<(Relation, Select, Keys)> {
        let (inner, mut select, on) = self.compared(correlated)?;
        if let Some(sql) = on.others.first() {
            let message = "a subquery with aggregates is compared with the columns around it by \
                           `=` alone, in conditions of their own";
            return Err(SqlError::unsupported(super::span_of(sql), message));
        }
        let mut keys = Vec::with_capacity(on.keys.len());
        let mut names = Vec::with_capacity(on.keys.len());
        for (around, own) in on.keys {
            let name = self.own_name("correlated#1");
            keys.push((around, tree::column(&name, super::span_of(&own))));
            names.push((name, own));
        }
        let inner = self.aggregated(&inner, &mut select, names)?;
        Ok((inner, select, keys))
    }

    /// `exists (query)`.
    pub(super) fn exists(
        &mut self,
        query: &Query,
        negated: bool,
        span: Span,
        scope: &Scope<'_>,
    ) -> Result<Sql> {
        let kind = Kind::Exists { negated };
        let (inner, keys, others) = match self.inside(query, scope, true)? {
            Inside::Alone(relation) => (relation, Vec::new(), Vec::new()),
            Inside::Compared(correlated) if correlated.select.is_aggregated => {
                if correlated.select.keys.is_empty() {
                    let message = "an aggregate without `group by` always has a row; remove \
                                   `exists`, or the aggregate";
                    return Err(SqlError::unsupported(span, message));
                }
                let (inner, select, keys) = self.grouped(*correlated)?;
                let inner = self.applied(inner, select.having.into_iter().collect())?;
                (inner, keys, Vec::new())
            }
            Inside::Compared(correlated) => {
                let (inner, _, on) = self.compared(*correlated)?;
                (inner, on.keys, on.others)
            }
        };
        Ok(self.prepared(kind, inner, keys, others, span))
    }

    /// `sql in (query)`.
    pub(super) fn membership(
        &mut self,
        sql: &Sql,
        query: &Query,
        negated: bool,
        span: Span,
        scope: &Scope<'_>,
    ) -> Result<Sql> {
        let items: Vec<&Sql> = match tree::without_parentheses(sql) {
            Sql::Tuple(items) => items.iter().collect(),
            single => vec![single],
        };
        let items = items.into_iter().map(|item| self.resolve(item, scope));
        let items = items.collect::<Result<Vec<_>>>()?;
        if negated && items.len() > 1 {
            let message = "`not in` of several columns is not supported; say `not exists (select \
                           ... where a = b and ...)`";
            return Err(SqlError::unsupported(span, message));
        }
        let (inner, columns, mut keys, others) = match self.inside(query, scope, false)? {
            Inside::Alone(relation) => {
                let columns = relation.names();
                let columns: Vec<Sql> =
                    columns.iter().map(|name| tree::column(name, query.span())).collect();
                (relation, columns, Vec::new(), Vec::new())
            }
            Inside::Compared(correlated) if correlated.select.is_aggregated => {
                let (inner, select, keys) = self.grouped(*correlated)?;
                let having = select.having.into_iter().collect();
                let inner = self.applied(inner, having)?;
                let columns = select.items.into_iter().map(|item| item.sql).collect();
                (inner, columns, keys, Vec::new())
            }
            Inside::Compared(correlated) => {
                if let Some(place) = window_in(&correlated.select) {
                    let message = "a window in a subquery that names columns around it is not \
                                   supported; compute it in `from`";
                    return Err(SqlError::unsupported(place, message));
                }
                let (inner, select, on) = self.compared(*correlated)?;
                let columns = select.items.into_iter().map(|item| item.sql).collect();
                (inner, columns, on.keys, on.others)
            }
        };
        if columns.len() != items.len() {
            let message = format!(
                "the subquery has {} columns, and {} are compared with them",
                columns.len(),
                items.len()
            );
            return Err(SqlError::new(ParseErrorKind::Syntax, span, message));
        }
        let (inner, columns) = self.attached_all(inner, columns)?;
        let kind = Kind::In { negated, columns: items.len() };
        keys.extend(items.into_iter().zip(columns));
        Ok(self.prepared(kind, inner, keys, others, span))
    }

    /// Expressions over a relation, with the subqueries that they hold beside it.
    fn attached_all(
        &mut self,
        mut relation: Relation,
        columns: Vec<Sql>,
    ) -> Result<(Relation, Vec<Sql>)> {
        for sql in &columns {
            relation = self.attached(relation, sql)?;
        }
        Ok((relation, columns))
    }

    /// `(query)`, for its one value.
    pub(super) fn scalar(&mut self, query: &Query, span: Span, scope: &Scope<'_>) -> Result<Sql> {
        let check_width = |width: usize| {
            if width == 1 {
                return Ok(());
            }
            let message = format!("a subquery for one value has one column, not {width}");
            Err(SqlError::new(ParseErrorKind::Syntax, span, message))
        };
        match self.inside(query, scope, false)? {
            Inside::Alone(relation) => {
                check_width(relation.names().len())?;
                self.single(relation, Vec::new(), span)
            }
            Inside::Compared(correlated) => {
                check_width(correlated.select.items.len())?;
                if let Some(place) = window_in(&correlated.select) {
                    let message = "a window in a subquery that names columns around it is not \
                                   supported; compute it in `from`";
                    return Err(SqlError::unsupported(place, message));
                }
                if !correlated.select.is_aggregated {
                    let (inner, select, on) = self.compared(*correlated)?;
                    if let Some(sql) = on.others.first() {
                        let message = "a subquery for one value is compared with the columns \
                                       around it by `=` alone, in conditions of their own";
                        return Err(SqlError::unsupported(super::span_of(sql), message));
                    }
                    let value = select.items.into_iter().map(|item| item.sql).collect();
                    let (inner, value) = self.attached_all(inner, value)?;
                    let mut columns: Vec<(String, Sql)> = Vec::new();
                    let mut keys = Vec::new();
                    for (around, own) in on.keys {
                        let name = self.own_name("correlated#1");
                        keys.push((around, tree::column(&name, span)));
                        columns.push((name, own));
                    }
                    let name = self.own_name("value#1");
                    columns.extend(value.into_iter().map(|value| (name.clone(), value)));
                    let inner = self.map(&inner, &columns)?;
                    return self.single(inner, keys, span);
                }
                if !correlated.select.keys.is_empty() {
                    let message = "a subquery for one value can't group while it names columns of \
                                   the query around it; group in `from` and join";
                    return Err(SqlError::unsupported(span, message));
                }
                let (inner, select, keys) = self.grouped(*correlated)?;
                if let Some(having) = &select.having {
                    let message = "`having` in a subquery that names columns around it is not \
                                   supported; say it with `case when`";
                    return Err(SqlError::unsupported(super::span_of(having), message));
                }
                let value = select.items.into_iter().map(|item| item.sql).next();
                let value = value.unwrap_or_else(|| tree::number(0, span));
                // A group that is not there counts none.
                let counts = self.counts_in(&value, &inner);
                let is_strict = counts.is_empty();
                let value = zero_for_null(value, &counts);
                let kind = Kind::Scalar { value: Box::new(value), count: None, is_strict };
                Ok(self.prepared(kind, inner, keys, Vec::new(), span))
            }
        }
    }

    /// The value of the last column of `relation`, of one row for each of the keys.
    fn single(&mut self, relation: Relation, keys: Vec<(Sql, Sql)>, span: Span) -> Result<Sql> {
        let names = relation.names();
        let Some(value) = names.last().cloned() else {
            let message = "a subquery for one value has one column";
            return Err(SqlError::new(ParseErrorKind::Syntax, span, message));
        };
        if keys.is_empty() && self.has_one_row(&relation) {
            let value = Box::new(tree::column(&value, span));
            let kind = Kind::Scalar { value, count: None, is_strict: true };
            return Ok(self.prepared(kind, relation, keys, Vec::new(), span));
        }
        let groups: Vec<(String, Sql)> = names[..names.len() - 1]
            .iter()
            .map(|name| (name.clone(), tree::column(name, span)))
            .collect();
        let count = self.own_name("count#1");
        let any = self.own_name("any#1");
        let aggregates = [
            (
                any.clone(),
                tree::call(
                    "any_value",
                    vec![FunctionArgExpr::Expr(tree::column(&value, span))],
                    span,
                ),
            ),
            (count.clone(), tree::call("count", vec![FunctionArgExpr::Wildcard], span)),
        ];
        let mut inner = self.reduce(&relation, &groups, &aggregates)?;
        let at_most_one = compare(&count, BinaryOperator::LtEq, tree::number(1, span), span);
        let count = if keys.is_empty() {
            inner = self.expect(&inner, &at_most_one, MORE_THAN_ONE)?;
            None
        } else {
            Some(count)
        };
        let only = Box::new(tree::column(&any, span));
        let kind = Kind::Scalar { value: only, count, is_strict: true };
        Ok(self.prepared(kind, inner, keys, Vec::new(), span))
    }
}

/// `around = own` of a condition, where each side reads one query's columns alone.
fn equality(
    sql: &Sql,
    inner: &Relation,
    names_of: impl Fn(&Sql) -> Vec<String>,
) -> Option<(Sql, Sql)> {
    let (left, right) = tree::equality(sql)?;
    let [in_left, in_right] = [left, right].map(names_of);
    let is_own = |names: &[String]| !names.is_empty() && names.iter().all(|name| inner.has(name));
    let is_around = |names: &[String]| !names.iter().any(|name| inner.has(name));
    if is_own(&in_left) && is_around(&in_right) {
        Some((right.clone(), left.clone()))
    } else if is_own(&in_right) && is_around(&in_left) {
        Some((left.clone(), right.clone()))
    } else {
        None
    }
}

/// The expression with 0 for each of these columns where it is null.
fn zero_for_null(mut sql: Sql, columns: &[String]) -> Sql {
    match &sql {
        Sql::Identifier(name) if columns.contains(&name.value) => {
            let span = name.span;
            let zero = FunctionArgExpr::Expr(tree::number(0, span));
            tree::call("coalesce", vec![FunctionArgExpr::Expr(sql), zero], span)
        }
        _ => {
            for child in tree::children(&mut sql) {
                *child = zero_for_null(child.clone(), columns);
            }
            sql
        }
    }
}

/// The body of a query without parentheses that add nothing.
fn body(query: &Query) -> &SetExpr {
    match query.body.as_ref() {
        SetExpr::Query(inner)
            if inner.with.is_none()
                && inner.order_by.is_none()
                && inner.limit_clause.is_none()
                && inner.fetch.is_none() =>
        {
            body(inner)
        }
        other => other,
    }
}

/// How a query is cut.
#[derive(PartialEq)]
enum Limit {
    /// To its first row or more of them.
    AtLeastOne,
    /// In another way.
    Other,
}

fn limit_of(query: &Query) -> Option<Limit> {
    match &query.limit_clause {
        None => None,
        Some(LimitClause::LimitOffset {
            limit: Some(Sql::Value(value)),
            offset: None,
            limit_by,
        }) if limit_by.is_empty() => match &value.value {
            Value::Number(digits, false) if digits.parse::<u64>().is_ok_and(|n| n > 0) => {
                Some(Limit::AtLeastOne)
            }
            _ => Some(Limit::Other),
        },
        Some(_) => Some(Limit::Other),
    }
}
