//! Aggregates, values of a frame and its bounds in Spark's words.
//!
//! Spark's `first` and `collect_list` take rows as they come, so what follows an order is collected
//! with its keys and sorted.

use arrow::datatypes::DataType;

use super::{
    super::{
        Written,
        aggregate::{Call, Key},
        refused,
        window::{Picked, decimal},
    },
    time, type_name,
};
use crate::expr::{AggregateFunction, coerce::is_decimal, window::Offset};

const NANOS_PER_DAY: i64 = 86_400_000_000_000;

/// An aggregate, in the type that it has here.
///
/// # Errors
/// One that Spark has not, or computes otherwise.
pub(in crate::plan::sql) fn aggregate(call: &Call<'_>) -> Written {
    use AggregateFunction as F;
    if call.distinct && !call.over.is_empty() {
        return call.refused("of different values has no SQL over a window in Spark");
    }
    let suffix = call.suffix();
    let distinct = if call.distinct { "distinct " } else { "" };
    let one = |word: &str, argument: &str| format!("{word}({distinct}{argument}){suffix}");
    let first = call.arguments.first().map_or("*", String::as_str);
    let of = call.types.first().cloned().unwrap_or(DataType::Null);
    Ok(match call.function {
        F::Count if call.distinct => one("count", &call.arguments.join(", ")),
        // Where several must be there the conditions say so.
        F::Count if call.arguments.len() > 1 => one("count", "*"),
        F::Count => one("count", first),
        F::Sum => match call.data_type {
            DataType::Int64 | DataType::Float64 => one("sum", first),
            other => format!("cast({} as {})", one("sum", first), type_name(other)?),
        },
        F::Avg if of.is_floating() => one("avg", first),
        F::Avg if of.is_integer() || is_decimal(&of) => {
            // An exact sum, divided once.
            let wide = match &of {
                DataType::Int64 => format!("cast({first} as DECIMAL(20,0))"),
                _ => String::from(first),
            };
            let sum = one("sum", &wide);
            format!("try_divide(cast({sum} as DOUBLE), {})", one("count", first))
        }
        F::Min | F::Max | F::BitAnd | F::BitOr | F::BitXor => one(call.function.name(), first),
        F::AnyValue => one("min", first),
        F::Every => one("bool_and", first),
        F::Any => one("bool_or", first),
        F::StddevSamp => one("stddev_samp", first),
        F::StddevPop => one("stddev_pop", first),
        F::VarSamp => one("var_samp", first),
        F::VarPop => one("var_pop", first),
        F::CovarSamp | F::CovarPop | F::Corr | F::RegrSlope | F::RegrIntercept | F::RegrR2 => {
            one(call.function.name(), &call.arguments.join(", "))
        }
        F::Median => one("percentile", &format!("cast({first} as DOUBLE), 0.5D")),
        F::QuantileCont => {
            let part = part(call)?;
            one("percentile", &format!("cast({first} as DOUBLE), {part}"))
        }
        F::QuantileDisc => {
            let list = one("collect_list", first);
            let list = if is_descending(call) {
                format!("sort_array({list}, false)")
            } else {
                format!("array_sort({list})")
            };
            let place =
                format!("greatest(ceil({} * {}), 1L)", call.arguments[1], one("count", first));
            format!("try_element_at({list}, cast({place} as INT))")
        }
        F::Mode if !call.distinct => one("mode", &format!("{first}, true")),
        F::First | F::MinBy | F::MaxBy => {
            format!("try_element_at({}, 1)['v']", listed(call, first))
        }
        F::Last => format!("try_element_at({}, -1)['v']", listed(call, first)),
        F::ArrayAgg => values(&listed(call, first)),
        F::StringAgg => {
            let separator = call.arguments.get(1).map_or("','", String::as_str);
            format!("array_join({}, {separator})", values(&listed(call, first)))
        }
        F::Skewness | F::Kurtosis => return call.refused("is that of a population in Spark"),
        F::ApproxCountDistinct
        | F::ApproxQuantile
        | F::Avg
        | F::FirstRow
        | F::Mode
        | F::Product => {
            return call.refused("has no SQL in Spark that gives the same");
        }
    })
}

/// Whether a quantile is counted from the greatest.
fn is_descending(call: &Call<'_>) -> bool {
    call.order.first().is_some_and(|key| key.descending)
}

/// The part that a quantile between two values is of.
fn part(call: &Call<'_>) -> Written {
    if is_descending(call) {
        return call.refused("counts from the least in Spark");
    }
    Ok(call.arguments[1].clone())
}

/// The values of a list of rows; null where there are none.
fn values(rows: &str) -> String {
    format!("nullif(transform({rows}, e -> e['v']), array())")
}

/// The rows that count, in order, as a list of the value `v` and the keys `k0`, `k1`, ….
fn listed(call: &Call<'_>, value: &str) -> String {
    let distinct = if call.distinct { "distinct " } else { "" };
    // A null that is left out where it is no condition yet.
    let has_nulls = call.function == AggregateFunction::StringAgg;
    let row = row(value, &call.order);
    let row = if has_nulls { format!("if({value} is null, null, {row})") } else { row };
    sorted(&format!("collect_list({distinct}{row}){}", call.suffix()), &call.order)
}

fn row(value: &str, keys: &[Key]) -> String {
    let keys = keys.iter().enumerate().map(|(at, key)| format!("{} as k{at}", key.text));
    let parts: Vec<_> = keys.chain([format!("{value} as v")]).collect();
    format!("struct({})", parts.join(", "))
}

/// A list of rows in the order of their keys.
fn sorted(rows: &str, keys: &[Key]) -> String {
    let order = keys.iter().enumerate().rev().fold(String::from("0"), |equal, (at, key)| {
        let (before, behind) = if key.nulls_first { (1, -1) } else { (-1, 1) };
        let less = if key.descending { '>' } else { '<' };
        format!(
            "case when l.k{at} <=> r.k{at} then {equal} when l.k{at} is null then {behind} \
             when r.k{at} is null then {before} when l.k{at} {less} r.k{at} then -1 else 1 end"
        )
    });
    if keys.is_empty() {
        String::from(rows)
    } else {
        format!("array_sort({rows}, (l, r) -> {order})")
    }
}

/// The value of a row of the frame.
pub(in crate::plan::sql) fn picked(picked: &Picked, over: &str, has_ties: bool) -> String {
    let Picked { place, value, ignores_nulls, within } = picked;
    if has_ties && !within.is_empty() {
        // Rows that a frame holds to be equal have an order of their own.
        let row = row(value, within);
        let row = if *ignores_nulls { format!("if({value} is null, null, {row})") } else { row };
        let rows = sorted(&format!("collect_list({row}){over}"), within);
        return format!("try_element_at({rows}, {place})['v']");
    }
    let nulls = if *ignores_nulls { " ignore nulls" } else { "" };
    match place {
        1 => format!("first_value({value}){nulls}{over}"),
        -1 => format!("last_value({value}){nulls}{over}"),
        place => format!("nth_value({value}, {place}){nulls}{over}"),
    }
}

/// How far a frame's bound is, over keys of this type.
///
/// # Errors
/// A distance that Spark has no word for.
pub(in crate::plan::sql) fn distance(offset: &Offset, key: Option<&DataType>) -> Written {
    let refusal = || refused("such a distance has no SQL in Spark");
    Ok(match offset {
        Offset::Count(count) if i32::try_from(*count).is_err() => {
            return refused("Spark counts 2147483647 rows at most in a frame");
        }
        Offset::Count(count) => count.to_string(),
        Offset::Ticks(ticks) => match key {
            Some(DataType::Decimal128(_, scale)) => decimal(*ticks, *scale),
            Some(key) if key.is_temporal() => return time_apart(*ticks, key),
            _ => ticks.to_string(),
        },
        Offset::Float(bits) => format!("{:e}D", f64::from_bits(*bits)),
        Offset::Calendar { months, nanoseconds: 0 } => format!("interval '{months}' month"),
        Offset::Calendar { months: 0, nanoseconds } => match key {
            Some(key) => return time_apart(i128::from(*nanoseconds), key),
            None => return refusal(),
        },
        Offset::Calendar { .. } => return refusal(),
    })
}

/// Nanoseconds between two keys of this type.
fn time_apart(nanos: i128, key: &DataType) -> Written {
    match i64::try_from(nanos) {
        Ok(nanos) if nanos % NANOS_PER_DAY == 0 => {
            Ok(format!("interval '{}' day", nanos / NANOS_PER_DAY))
        }
        Ok(nanos) if nanos % 1_000 == 0 && *key != DataType::Date32 => {
            Ok(format!("interval '{}' second", time::seconds(nanos)))
        }
        _ => refused("such a distance has no SQL in Spark"),
    }
}
