//! What becomes of a subquery where it stands: a join that keeps or drops rows, or a column.

use sqlparser::{
    ast::{BinaryOperator, Expr as Sql, FunctionArgExpr},
    tokenizer::Span,
};

use super::{
    super::{
        Result, SqlError, Translator,
        relation::{On, Relation, compare},
        span_of, tree,
    },
    Keys, Kind, MORE_THAN_ONE,
};
use crate::{expr::parse::ParseErrorKind, plan::JoinKind};

impl Translator<'_, '_, '_, '_> {
    /// The rows for which a condition with subqueries holds.
    pub(in super::super) fn with_subqueries(
        &mut self,
        relation: Relation,
        sql: Sql,
    ) -> Result<Relation> {
        if let Sql::Identifier(name) = tree::without_parentheses(&sql)
            && let Some(place) = self.subqueries.iter().position(|known| known.name == name.value)
        {
            match self.subqueries[place].kind {
                Kind::Exists { negated } => return self.having_partner(relation, place, negated),
                Kind::In { negated } => return self.having_value(relation, place, negated),
                Kind::Scalar { .. } => {}
            }
        }
        let columns = relation.names();
        let is_comparison = matches!(
            tree::without_parentheses(&sql),
            Sql::BinaryOp {
                op: BinaryOperator::Eq
                    | BinaryOperator::NotEq
                    | BinaryOperator::Lt
                    | BinaryOperator::LtEq
                    | BinaryOperator::Gt
                    | BinaryOperator::GtEq,
                ..
            }
        );
        let relation = self.attached_as(relation, &sql, is_comparison)?;
        let span = span_of(&sql);
        let relation = self.filter(relation, vec![sql])?;
        let columns: Vec<_> =
            columns.into_iter().map(|name| (name.clone(), tree::column(&name, span))).collect();
        self.map(&relation, &columns)
    }

    fn having_partner(
        &mut self,
        relation: Relation,
        place: usize,
        negated: bool,
    ) -> Result<Relation> {
        let (inner, on, span) = self.on(place);
        if on.keys.is_empty() && on.others.is_empty() {
            // Whether it has a row is the same for all.
            let condition = tree::column(&self.subqueries[place].name.clone(), span);
            let columns = relation.names();
            let relation = self.attached(relation, &condition)?;
            let relation = self.filter(relation, vec![condition])?;
            let columns: Vec<_> =
                columns.into_iter().map(|name| (name.clone(), tree::column(&name, span))).collect();
            return self.map(&relation, &columns);
        }
        let how = if negated { JoinKind::Anti { null_aware: false } } else { JoinKind::Semi };
        let relation = self.attached_keys(relation, &on.keys)?;
        let rows = relation.rows * 0.5;
        self.join(how, &relation, &inner, on, rows)
    }

    fn having_value(
        &mut self,
        relation: Relation,
        place: usize,
        negated: bool,
    ) -> Result<Relation> {
        let (inner, on, span) = self.on(place);
        let relation = self.attached_keys(relation, &on.keys)?;
        let rows = relation.rows * 0.5;
        if !negated {
            return self.join(JoinKind::Semi, &relation, &inner, on, rows);
        }
        if on.keys.len() == 1 && on.others.is_empty() {
            let how = JoinKind::Anti { null_aware: true };
            return self.join(how, &relation, &inner, on, rows);
        }
        // No value that is equal, none that is null and may be; and where the value sought is
        // null itself, none at all.
        let On { mut keys, others, .. } = on;
        let Some((sought, found)) = keys.pop() else {
            let message = "`not in` compares a value";
            return Err(SqlError::new(ParseErrorKind::Syntax, span, message));
        };
        let anti = JoinKind::Anti { null_aware: false };
        let by = |equal: Keys, rest: Vec<Sql>| On { keys: equal, others: rest, null_safe: false };
        let with_value = [keys.clone(), vec![(sought.clone(), found.clone())]].concat();
        let relation = self.join(anti, &relation, &inner, by(with_value, others.clone()), rows)?;
        let nulls = self.filter(inner.clone(), vec![Sql::IsNull(Box::new(found))])?;
        let relation =
            self.join(anti, &relation, &nulls, by(keys.clone(), others.clone()), rows)?;
        let is_null = Sql::IsNull(Box::new(sought));
        let others = [others, vec![is_null]].concat();
        self.join(anti, &relation, &inner, by(keys, others), rows)
    }

    /// What a subquery is joined by.
    fn on(&self, place: usize) -> (Relation, On, Span) {
        let subquery = &self.subqueries[place];
        let on =
            On { keys: subquery.keys.clone(), others: subquery.others.clone(), null_safe: false };
        (subquery.inner.clone(), on, subquery.span)
    }

    pub(super) fn attached_keys(
        &mut self,
        mut relation: Relation,
        keys: &[(Sql, Sql)],
    ) -> Result<Relation> {
        for (around, _) in keys {
            relation = self.attached(relation, around)?;
        }
        Ok(relation)
    }

    /// The relation with the value of each subquery in `sql` as a column, under the name that
    /// stands in its place.
    pub(in super::super) fn attached(&mut self, relation: Relation, sql: &Sql) -> Result<Relation> {
        self.attached_as(relation, sql, false)
    }

    fn attached_as(
        &mut self,
        mut relation: Relation,
        sql: &Sql,
        is_comparison: bool,
    ) -> Result<Relation> {
        for name in tree::names(sql) {
            let place = self.subqueries.iter().position(|known| known.name == name);
            if let Some(place) = place
                && !relation.has(&name)
            {
                relation = self.attach(relation, place, is_comparison)?;
            }
        }
        Ok(relation)
    }

    fn attach(
        &mut self,
        relation: Relation,
        place: usize,
        is_comparison: bool,
    ) -> Result<Relation> {
        let (inner, on, span) = self.on(place);
        let subquery = &self.subqueries[place];
        let name = subquery.name.clone();
        match &subquery.kind {
            Kind::Scalar { value, count, is_strict } => {
                let (value, count, is_strict) = (value.as_ref().clone(), count.clone(), *is_strict);
                if on.keys.is_empty() {
                    let inner = self.map(&inner, &[(name, value)])?;
                    let rows = relation.rows;
                    return self.join(JoinKind::Cross, &relation, &inner, on, rows);
                }
                let relation = self.attached_keys(relation, &on.keys)?;
                // A comparison with null is not true, so that rows without a partner may go.
                let is_inner = is_comparison && is_strict && count.is_none();
                let how = if is_inner { JoinKind::Inner } else { JoinKind::Left };
                let columns = relation.names();
                let rows = relation.rows;
                let mut joined = self.join(how, &relation, &inner, on, rows)?;
                if let Some(count) = count {
                    let one = compare(&count, BinaryOperator::LtEq, tree::number(1, span), span);
                    let none = Sql::IsNull(Box::new(tree::column(&count, span)));
                    let holds = tree::binary(none, BinaryOperator::Or, one);
                    joined = self.expect(&joined, &holds, MORE_THAN_ONE)?;
                }
                let mut columns: Vec<_> = columns
                    .into_iter()
                    .map(|column| (column.clone(), tree::column(&column, span)))
                    .collect();
                columns.push((name, value));
                self.map(&joined, &columns)
            }
            Kind::In { negated: true } => {
                let message = "`not in (select ...)` is supported only as a condition of its own, \
                               joined to others by `and`; say `not exists` here";
                Err(SqlError::unsupported(span, message))
            }
            Kind::In { negated: false } => self.flagged(relation, &inner, on, &name, false, span),
            Kind::Exists { negated } => {
                let negated = *negated;
                self.flagged(relation, &inner, on, &name, negated, span)
            }
        }
    }

    /// The relation with a column that says whether a row has a partner.
    fn flagged(
        &mut self,
        relation: Relation,
        inner: &Relation,
        on: On,
        name: &str,
        negated: bool,
        span: Span,
    ) -> Result<Relation> {
        if let Some(other) = on.others.first() {
            let message = "this condition on columns around the subquery is supported only where \
                           `exists` or `in` is a condition of its own, joined to others by `and`";
            return Err(SqlError::unsupported(span_of(other), message));
        }
        let count = self.own_name("count#1");
        let counted = [(count.clone(), tree::call("count", vec![FunctionArgExpr::Wildcard], span))];
        let value = || {
            let sql = tree::column(&count, span);
            let zero = tree::number(0, span);
            let some = tree::binary(
                tree::call(
                    "coalesce",
                    vec![FunctionArgExpr::Expr(sql), FunctionArgExpr::Expr(zero)],
                    span,
                ),
                BinaryOperator::Gt,
                tree::number(0, span),
            );
            if negated { tree::negated(some) } else { some }
        };
        let mut columns: Vec<_> = relation
            .names()
            .into_iter()
            .map(|column| (column.clone(), tree::column(&column, span)))
            .collect();
        columns.push((String::from(name), value()));
        let rows = relation.rows;
        if on.keys.is_empty() {
            let one = self.reduce(inner, &[], &counted)?;
            let joined = self.join(JoinKind::Cross, &relation, &one, on, rows)?;
            return self.map(&joined, &columns);
        }
        let relation = self.attached_keys(relation, &on.keys)?;
        let mut keys = Vec::with_capacity(on.keys.len());
        let mut groups = Vec::with_capacity(on.keys.len());
        for (around, own) in on.keys {
            let key = self.own_name("correlated#1");
            keys.push((around, tree::column(&key, span)));
            groups.push((key, own));
        }
        let inner = self.reduce(inner, &groups, &counted)?;
        let by = On { keys, ..On::default() };
        let joined = self.join(JoinKind::Left, &relation, &inner, by, rows)?;
        self.map(&joined, &columns)
    }
}
