//! Aggregates: what they are over, in whichever words.
//!
//! What follows the order of rows says it: the keys that the call has, then those of its input's
//! order, or all its columns where that has none. Nulls, which aggregates leave out here, are
//! filtered.

use arrow::datatypes::{DataType, Schema};

use super::{
    Dialect, Scope, Written, duckdb,
    expression::{all, text},
    spark,
};
use crate::{
    expr::{Aggregate, AggregateFunction, SortKey},
    plan::Order,
};

/// A key of an order.
pub(super) struct Key {
    /// What is ordered by.
    pub(super) text: String,
    /// Greatest first.
    pub(super) descending: bool,
    /// Nulls before all values.
    pub(super) nulls_first: bool,
}

impl Key {
    /// In words; `nulls last` is said, since engines differ in what goes without saying.
    pub(super) fn words(&self) -> String {
        let direction = if self.descending { " desc" } else { "" };
        let nulls = if self.nulls_first { "first" } else { "last" };
        format!("{}{direction} nulls {nulls}", self.text)
    }
}

/// What an aggregate is called over.
pub(super) struct Call<'a> {
    /// Which.
    pub(super) function: AggregateFunction,
    /// The type that it has here.
    pub(super) data_type: &'a DataType,
    /// Its arguments; not the one that a row is picked by, which is the first of `order`.
    pub(super) arguments: Vec<String>,
    /// Their types, and that of what a row is picked by.
    pub(super) types: Vec<DataType>,
    /// Whether rows with equal arguments count once.
    pub(super) distinct: bool,
    /// What must be true of rows that count.
    pub(super) conditions: Vec<String>,
    /// The order of rows, where it follows one, or what is said of it.
    pub(super) order: Vec<Key>,
    /// ` over (…)`, where it is called over a window.
    pub(super) over: String,
}

impl Call<'_> {
    /// ` filter (…) over (…)`, as far as it has them.
    pub(super) fn suffix(&self) -> String {
        let filter = match &self.conditions[..] {
            [] => String::new(),
            all => format!(" filter (where {})", all.join(" and ")),
        };
        format!("{filter}{}", self.over)
    }

    /// Why it can't be said.
    pub(super) fn refused(&self, why: &str) -> Written {
        Err(format!("`{}` {why}", self.function.name()))
    }
}

/// What rows are ordered by where nothing else says it; `None` where SQL can't say it.
pub(super) fn ties(order: &Order, schema: &Schema) -> Option<Vec<SortKey>> {
    let ascending = |column| SortKey { column, descending: false, nulls_first: false };
    match order {
        Order::Source => None,
        Order::Sorted(keys) => Some(keys.clone()),
        Order::None => Some((0..schema.fields().len()).map(ascending).collect()),
    }
}

/// Columns as keys of an order.
pub(super) fn keys(keys: &[SortKey], schema: &Schema, scope: Scope<'_>) -> Vec<Key> {
    let key = |key: &SortKey| Key {
        text: scope.column(key.column, schema.field(key.column).name()),
        descending: key.descending,
        nulls_first: key.nulls_first,
    };
    keys.iter().map(key).collect()
}

/// Columns as keys of an order, in words.
pub(super) fn sort_keys(sort: &[SortKey], schema: &Schema, scope: Scope<'_>) -> String {
    words(&keys(sort, schema, scope))
}

/// Keys in words.
pub(super) fn words(keys: &[Key]) -> String {
    keys.iter().map(Key::words).collect::<Vec<_>>().join(", ")
}

/// An aggregate, in the type that it has here, over rows whose ties are told apart so.
pub(super) fn aggregate(
    call: &Aggregate,
    schema: &Schema,
    ties: Option<&[SortKey]>,
    scope: Scope<'_>,
) -> Written {
    over(call, schema, ties, String::new(), scope)
}

/// As [`aggregate`], over a window in words.
pub(super) fn over(
    call: &Aggregate,
    schema: &Schema,
    ties: Option<&[SortKey]>,
    over: String,
    scope: Scope<'_>,
) -> Written {
    let call = prepared(call, schema, ties, over, scope)?;
    match scope.dialect {
        Dialect::DuckDb => duckdb::aggregate(call),
        Dialect::Spark => spark::aggregate(&call),
    }
}

/// What a call is over, in words that both dialects have.
fn prepared<'a>(
    call: &'a Aggregate,
    schema: &Schema,
    ties: Option<&[SortKey]>,
    over: String,
    scope: Scope<'_>,
) -> Result<Call<'a>, String> {
    use AggregateFunction as F;
    let mut arguments = all(&call.arguments, scope)?;
    let mut conditions = Vec::new();
    if let Some(filter) = &call.filter {
        conditions.push(text(filter, scope)?);
    }
    let mut order = Vec::new();
    let refused = |why: &str| Err(format!("`{}` {why}", call.function.name()));
    let present = |argument: &String| format!("{argument} is not null");
    match call.function {
        F::AnyValue if call.data_type.is_nested() => return refused("of nested values has no SQL"),
        F::ApproxCountDistinct | F::ApproxQuantile => {
            return refused("is approximate, and so another number in each engine");
        }
        F::FirstRow => return refused("stands beside other aggregates"),
        F::Count if arguments.len() > 1 => conditions.extend(arguments.iter().map(present)),
        F::MinBy | F::MaxBy => {
            conditions.extend(arguments.iter().map(present));
            let text = arguments.pop().unwrap_or_default();
            order.push(Key { text, descending: call.function == F::MaxBy, nulls_first: false });
        }
        F::First | F::Last | F::ArrayAgg => conditions.push(present(&arguments[0])),
        _ => {}
    }
    for key in &call.order_by {
        order.push(Key {
            text: text(&key.expr, scope)?,
            descending: key.descending,
            nulls_first: key.nulls_first,
        });
    }
    if call.function.follows_order() {
        if call.distinct {
            // Each value once: those that are equal in the value have no other order.
            if call.order_by.is_empty() {
                let text = arguments[0].clone();
                order.push(Key { text, descending: false, nulls_first: false });
            } else if call.order_by.iter().any(|key| key.expr != call.arguments[0]) {
                return refused("of different values is ordered by these alone in SQL");
            }
        } else if let Some(ties) = ties {
            order.extend(keys(ties, schema, scope));
        } else if order.is_empty() {
            return refused("follows the rows of files; say `order by` to have SQL for it");
        }
    }
    Ok(Call {
        function: call.function,
        data_type: &call.data_type,
        types: call.arguments.iter().map(crate::expr::Expr::data_type).collect(),
        arguments,
        distinct: call.distinct,
        conditions,
        order,
        over,
    })
}
