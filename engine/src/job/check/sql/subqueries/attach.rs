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
                Kind::In { negated, .. } => return self.having_value(relation, place, negated),
                Kind::Scalar { .. } => {}
            }
        }
        let columns = identities(&relation, span_of(&sql));
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
        let relation = self.filter(relation, vec![sql])?;
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
            let columns = identities(&relation, span);
            let relation = self.attached(relation, &condition)?;
            let relation = self.filter(relation, vec![condition])?;
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
                let mut columns = identities(&relation, span);
                let rows = relation.rows;
                let mut joined = self.join(how, &relation, &inner, on, rows)?;
                if let Some(count) = count {
                    let one = compare(&count, BinaryOperator::LtEq, tree::number(1, span), span);
                    let none = Sql::IsNull(Box::new(tree::column(&count, span)));
                    let holds = tree::binary(none, BinaryOperator::Or, one);
                    joined = self.expect(&joined, &holds, MORE_THAN_ONE)?;
                }
                columns.push((name, value));
                self.map(&joined, &columns)
            }
            Kind::In { columns, .. } if *columns > 1 => {
                let message = "`in` of several columns is supported only as a condition of its \
                               own, joined to others by `and`; say `exists` here";
                Err(SqlError::unsupported(span, message))
            }
            Kind::In { negated, .. } => {
                let negated = *negated;
                self.member(relation, &inner, on, &name, negated, span)
            }
            Kind::Exists { negated } => {
                let negated = *negated;
                self.flagged(relation, &inner, on, &name, negated, span)
            }
        }
    }

    /// The relation with a column that says whether a value, the last of the keys, is among those
    /// of `inner`; null where none is equal and the value, or one of them, is null.
    fn member(
        &mut self,
        relation: Relation,
        inner: &Relation,
        on: On,
        name: &str,
        negated: bool,
        span: Span,
    ) -> Result<Relation> {
        let Some(((sought, found), around)) = on.keys.split_last() else {
            let message = "`in` compares a value";
            return Err(SqlError::new(ParseErrorKind::Syntax, span, message));
        };
        let (sought, found, around) = (sought.clone(), found.clone(), around.to_vec());
        let relation = self.attached_keys(relation, &on.keys)?;
        let mut columns = identities(&relation, span);
        let is_found = self.own_name("found#1");
        let relation = self.flagged(relation, inner, on, &is_found, false, span)?;
        let (rows, values) = (self.own_name("rows#1"), self.own_name("values#1"));
        let value = FunctionArgExpr::Expr(found);
        let counted = [
            (rows.clone(), tree::call("count", vec![FunctionArgExpr::Wildcard], span)),
            (values.clone(), tree::call("count", vec![value], span)),
        ];
        let joined = self.beside_groups(relation, inner, around, &counted, span)?;
        let of = |own: &str| tree::column(own, span);
        let has_rows = compare(&rows, BinaryOperator::Gt, tree::number(0, span), span);
        let has_null = tree::binary(of(&values), BinaryOperator::Lt, of(&rows));
        let is_null = Sql::IsNull(Box::new(sought));
        let may_be = tree::binary(is_null, BinaryOperator::Or, has_null);
        let is_some = Sql::IsTrue(Box::new(has_rows));
        let unknown = [is_some, Sql::Nested(Box::new(may_be)), tree::null(span)];
        let unknown = unknown
            .into_iter()
            .reduce(|left, right| tree::binary(left, BinaryOperator::And, right));
        let is_in = unknown.into_iter().fold(of(&is_found), |left, right| {
            tree::binary(left, BinaryOperator::Or, Sql::Nested(Box::new(right)))
        });
        let is_in = Sql::Nested(Box::new(is_in));
        columns.push((String::from(name), if negated { tree::negated(is_in) } else { is_in }));
        self.map(&joined, &columns)
    }

    /// The relation with aggregates of the rows of `inner` that have equal keys, null where there
    /// are none; without keys of all its rows.
    fn beside_groups(
        &mut self,
        relation: Relation,
        inner: &Relation,
        keys: Keys,
        aggregates: &[(String, Sql)],
        span: Span,
    ) -> Result<Relation> {
        let rows = relation.rows;
        if keys.is_empty() {
            let one = self.reduce(inner, &[], aggregates)?;
            return self.join(JoinKind::Cross, &relation, &one, On::default(), rows);
        }
        let relation = self.attached_keys(relation, &keys)?;
        let mut by = On::default();
        let mut groups = Vec::with_capacity(keys.len());
        for (around, own) in keys {
            let key = self.own_name("correlated#1");
            by.keys.push((around, tree::column(&key, span)));
            groups.push((key, own));
        }
        let inner = self.reduce(inner, &groups, aggregates)?;
        self.join(JoinKind::Left, &relation, &inner, by, rows)
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
        let mut columns = identities(&relation, span);
        columns.push((String::from(name), value()));
        let joined = self.beside_groups(relation, inner, on.keys, &counted, span)?;
        self.map(&joined, &columns)
    }
}

/// The columns of a relation, each under its name.
fn identities(relation: &Relation, span: Span) -> Vec<(String, Sql)> {
    let columns = relation.names().into_iter();
    columns.map(|column| (column.clone(), tree::column(&column, span))).collect()
}
