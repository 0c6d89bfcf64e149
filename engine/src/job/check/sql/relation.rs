//! [`Relation`]: rows in the making, and the plan's operators over them.
//!
//! All its columns have names that are its own, so that an expression is bound to its schema as it
//! stands.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use sqlparser::{
    ast::{BinaryOperator, Expr as Sql},
    tokenizer::Span,
};

use super::{Result, SqlError, Translator, estimate, span_of, tree};
use crate::{
    expr::{
        Expr, SortKey, aggregate,
        parse::{self, ParseErrorKind},
    },
    formats::intake::OnBadRow,
    job::check::nodes::{self, Bound},
    plan::{Check, JoinColumn, JoinKind, Op, Order},
};

/// The rows of a node, as a query sees them.
#[derive(Clone)]
pub(super) struct Relation {
    /// The node.
    pub(super) bound: Bound,
    /// How many rows it may have; compared with others, never shown.
    pub(super) rows: f64,
    /// How many rows its largest table has before any condition.
    pub(super) base: f64,
}

impl Relation {
    pub(super) fn schema(&self) -> &Schema {
        &self.bound.schema
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.schema().index_of(name).is_ok()
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.schema().fields().iter().map(|field| field.name().clone()).collect()
    }
}

/// What a join goes by.
#[derive(Default)]
pub(super) struct On {
    /// Equal keys: an expression over the left side, one over the right.
    pub(super) keys: Vec<(Sql, Sql)>,
    /// What else must hold of a pair.
    pub(super) others: Vec<Sql>,
    /// Whether null keys are equal.
    pub(super) null_safe: bool,
}

impl Translator<'_, '_, '_, '_> {
    pub(super) fn push(
        &mut self,
        what: &str,
        op: Op,
        inputs: &[&Relation],
        schema: SchemaRef,
        order: Order,
        rows: f64,
    ) -> Relation {
        let id = self.step(what);
        let base = inputs.iter().map(|input| input.base).fold(0.0, f64::max);
        let inputs: Vec<&Bound> = inputs.iter().map(|input| &input.bound).collect();
        let bound = self.binder.push(id, op, &inputs, schema, order);
        Relation { bound, rows, base }
    }

    pub(super) fn bind(&self, sql: &Sql, schema: &Schema) -> Result<Expr> {
        Ok(parse::bind(sql, self.text, schema)?)
    }

    /// The rows for which all conditions are true.
    pub(super) fn filter(&mut self, input: Relation, conditions: Vec<Sql>) -> Result<Relation> {
        let kept = conditions.iter().map(estimate::kept).product::<f64>();
        let Some(condition) = tree::all(conditions) else { return Ok(input) };
        let predicate = parse::bind_predicate(&condition, self.text, input.schema())?;
        let (schema, order) = (Arc::clone(&input.bound.schema), input.bound.order.clone());
        let rows = (input.rows * kept).max(1.0);
        Ok(self.push("filter", Op::Filter { predicate }, &[&input], schema, order, rows))
    }

    /// Exactly these columns.
    pub(super) fn map(&mut self, input: &Relation, columns: &[(String, Sql)]) -> Result<Relation> {
        let bound = columns.iter().map(|(_, sql)| self.bind(sql, input.schema()));
        let exprs = bound.collect::<Result<Vec<_>>>()?;
        let names = columns.iter().map(|(name, _)| name.clone());
        Ok(self.map_bound(input, names.zip(exprs).collect()))
    }

    pub(super) fn map_bound(&mut self, input: &Relation, columns: Vec<(String, Expr)>) -> Relation {
        let fields = columns.iter().map(|(name, expr)| Field::new(name, expr.data_type(), true));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let columns: Vec<_> = columns.into_iter().map(|(_, expr)| expr).collect();
        let order = nodes::order_through(&columns, &input.bound.order);
        self.push("map", Op::Map { columns }, &[input], schema, order, input.rows)
    }

    /// The columns of these places under other names.
    pub(super) fn renamed(&mut self, input: &Relation, columns: &[(usize, String)]) -> Relation {
        let columns = columns
            .iter()
            .map(|(index, name)| (name.clone(), parse::column(input.schema(), *index)));
        let columns = columns.collect();
        self.map_bound(input, columns)
    }

    /// Pairs of rows, or the left side's rows by whether they have a partner.
    pub(super) fn join(
        &mut self,
        how: JoinKind,
        left: &Relation,
        right: &Relation,
        on: On,
        rows: f64,
    ) -> Result<Relation> {
        let pairs = on.keys.iter().map(|key| self.key(key, left, right));
        let pairs = pairs.collect::<Result<Vec<_>>>()?;
        let (left_keys, right_keys): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        let both = left.schema().fields().iter().chain(right.schema().fields());
        let both = Arc::new(Schema::new(both.cloned().collect::<Vec<_>>()));
        let others = tree::all(on.others);
        let others = others.map(|sql| parse::bind_predicate(&sql, self.text, &both)).transpose()?;
        let width = left.schema().fields().len();
        let of_left = (0..width).map(JoinColumn::Left);
        let (columns, schema): (Vec<_>, _) = if how.is_left_only() {
            (of_left.collect(), Arc::clone(&left.bound.schema))
        } else {
            let of_right = (0..right.schema().fields().len()).map(JoinColumn::Right);
            (of_left.chain(of_right).collect(), both)
        };
        // Without keys and with a condition every row meets every other, whatever the kind.
        let how = if how == JoinKind::Inner && left_keys.is_empty() && others.is_none() {
            JoinKind::Cross
        } else {
            how
        };
        let null_safe = on.null_safe;
        let op = Op::Join { how, left_keys, right_keys, null_safe, on: others, columns };
        Ok(self.push("join", op, &[left, right], schema, Order::None, rows.max(1.0)))
    }

    /// Two expressions that must be equal, brought to one type.
    fn key(&self, key: &(Sql, Sql), left: &Relation, right: &Relation) -> Result<(Expr, Expr)> {
        let bound_left = self.bind(&key.0, left.schema())?;
        let bound_right = self.bind(&key.1, right.schema())?;
        let (left_type, right_type) = (bound_left.data_type(), bound_right.data_type());
        let Some(common) = parse::unified(&left_type, &right_type) else {
            let (left_name, right_name) =
                (parse::type_name(&left_type), parse::type_name(&right_type));
            let message = format!("`=` does not take {left_name} and {right_name}");
            return Err(SqlError::new(ParseErrorKind::Type, span_of(&key.0), message));
        };
        Ok((cast(bound_left, &common), cast(bound_right, &common)))
    }

    /// A row for each group of equal keys; one row where there are no keys.
    pub(super) fn reduce(
        &mut self,
        input: &Relation,
        keys: &[(String, Sql)],
        aggregates: &[(String, Sql)],
    ) -> Result<Relation> {
        let mut fields = Vec::with_capacity(keys.len() + aggregates.len());
        let mut bound_keys = Vec::with_capacity(keys.len());
        for (name, sql) in keys {
            let key = self.bind(sql, input.schema())?;
            fields.push(Field::new(name, key.data_type(), true));
            bound_keys.push(key);
        }
        let mut bound_aggregates = Vec::with_capacity(aggregates.len());
        for (name, sql) in aggregates {
            let aggregate = aggregate::bind(sql, self.text, input.schema())?;
            fields.push(Field::new(name, aggregate.data_type.clone(), true));
            bound_aggregates.push(aggregate);
        }
        let rows = if keys.is_empty() { 1.0 } else { input.rows.powf(0.8).max(1.0) };
        let op = Op::Reduce { keys: bound_keys, aggregates: bound_aggregates };
        let schema = Arc::new(Schema::new(fields));
        Ok(self.push("group", op, &[input], schema, Order::None, rows))
    }

    /// Every row once.
    pub(super) fn distinct(&mut self, input: &Relation) -> Relation {
        let keys = nodes::all_columns(input.schema()).into_iter().map(|(_, key)| key).collect();
        let schema = Arc::clone(&input.bound.schema);
        let op = Op::Reduce { keys, aggregates: Vec::new() };
        let rows = input.rows.powf(0.8).max(1.0);
        self.push("distinct", op, &[input], schema, Order::None, rows)
    }

    /// The rows in an order; only the first `limit` of them where one is given.
    pub(super) fn sort(
        &mut self,
        input: &Relation,
        mut keys: Vec<SortKey>,
        limit: Option<u64>,
    ) -> Relation {
        if input.bound.order == Order::None {
            let rest = nodes::ascending(input.schema());
            let is_new =
                |key: &SortKey| !keys.iter().any(|known: &SortKey| known.column == key.column);
            let rest: Vec<_> = rest.into_iter().filter(is_new).collect();
            keys.extend(rest);
        }
        let schema = Arc::clone(&input.bound.schema);
        let order = Order::Sorted(keys.clone());
        self.push("sort", Op::Sort { keys, limit }, &[input], schema, order, input.rows)
    }

    /// Some rows of the defined order, or of that of all columns.
    pub(super) fn limited(&mut self, input: Relation, offset: u64, n: Option<u64>) -> Relation {
        let most = n.map_or(u64::MAX, |n| offset.saturating_add(n));
        let input = if input.bound.order == Order::None {
            self.sort(&input, Vec::new(), n.map(|_| most))
        } else {
            input
        };
        let (schema, order) = (Arc::clone(&input.bound.schema), input.bound.order.clone());
        let n = n.unwrap_or_else(|| i64::MAX.unsigned_abs());
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let rows = input.rows.min(n as f64).max(1.0);
        self.push("limit", Op::Limit { offset, n }, &[&input], schema, order, rows)
    }

    /// The rows as they are; the job fails where `condition` is not true of one.
    pub(super) fn expect(
        &mut self,
        input: &Relation,
        condition: &Sql,
        text: &str,
    ) -> Result<Relation> {
        let predicate = parse::bind_predicate(condition, self.text, input.schema())?;
        let checks = vec![Check { predicate, text: String::from(text) }];
        let op = Op::Expect { checks, offences: Vec::new(), on_fail: OnBadRow::default() };
        let (schema, order) = (Arc::clone(&input.bound.schema), input.bound.order.clone());
        Ok(self.push("expect", op, &[input], schema, order, input.rows))
    }
}

/// `left op right` of two columns' names.
pub(super) fn compare(left: &str, op: BinaryOperator, right: Sql, span: Span) -> Sql {
    tree::binary(tree::column(left, span), op, right)
}

/// The expression as another type.
pub(super) fn cast(expr: Expr, to: &DataType) -> Expr {
    if expr.data_type() == *to {
        return expr;
    }
    Expr::Cast { input: Box::new(expr), to: to.clone(), or_null: false }
}
