//! Aggregates and the bounds of frames in `DuckDB`'s words.

use arrow::datatypes::DataType;

use super::{
    super::{
        Written,
        aggregate::{Call, words},
        window::{Picked, decimal},
    },
    type_name,
};
use crate::expr::{AggregateFunction, window::Offset};

/// An aggregate, in the type that it has here.
pub(in crate::plan::sql) fn aggregate(mut call: Call<'_>) -> Written {
    use AggregateFunction as F;
    let word = match call.function {
        F::Every => "bool_and",
        F::Any => "bool_or",
        F::AnyValue => "min",
        F::MinBy | F::MaxBy => "first",
        F::StddevSamp => "stddev_samp",
        F::VarSamp => "var_samp",
        F::Mode => return mode(&call),
        other => other.name(),
    };
    match call.function {
        F::Median | F::QuantileCont => {
            call.arguments[0] = format!("cast({} as DOUBLE)", call.arguments[0]);
        }
        F::Count if call.arguments.len() > 1 => {
            let all = format!("({})", call.arguments.join(", "));
            call.arguments = if call.distinct { vec![all] } else { Vec::new() };
        }
        _ => {}
    }
    let distinct = if call.distinct { "distinct " } else { "" };
    let arguments = match &call.arguments[..] {
        [] => String::from("*"),
        arguments => arguments.join(", "),
    };
    let order = match &call.order[..] {
        [] => String::new(),
        keys => format!(" order by {}", words(keys)),
    };
    let written = format!("{word}({distinct}{arguments}{order}){}", call.suffix());
    match call.function {
        // Its sums of whole numbers are wider than those here.
        F::Sum if *call.data_type != DataType::Float64 => {
            Ok(format!("cast({written} as {})", type_name(call.data_type)?))
        }
        _ => Ok(written),
    }
}

/// The least of the values that come most often; `DuckDB`'s `mode` gives the one it met first.
fn mode(call: &Call<'_>) -> Written {
    if call.distinct {
        return call.refused("of different values has no SQL");
    }
    let counts = format!("map_entries(histogram({}){})", call.arguments.join(", "), call.suffix());
    let most = format!("list_max([e.value for e in {counts}])");
    Ok(format!("list_min([e.key for e in {counts} if e.value = {most}])"))
}

/// How far a frame's bound is, over keys of this type.
pub(in crate::plan::sql) fn distance(offset: &Offset, key: Option<&DataType>) -> String {
    match offset {
        Offset::Count(count) => count.to_string(),
        Offset::Ticks(ticks) => match key {
            Some(DataType::Decimal128(_, scale)) => decimal(*ticks, *scale),
            Some(key) if key.is_temporal() => format!("to_microseconds({})", ticks / 1000),
            _ => ticks.to_string(),
        },
        Offset::Float(bits) => format!("{:?}", f64::from_bits(*bits)),
        Offset::Calendar { months, nanoseconds } => {
            format!("(to_months({months}) + to_microseconds({}))", nanoseconds / 1000)
        }
    }
}

/// The value of a row of the frame.
pub(in crate::plan::sql) fn picked(picked: &Picked, over: &str) -> String {
    let Picked { place, value, ignores_nulls, within } = picked;
    let within = match &within[..] {
        [] => String::new(),
        keys => format!(" order by {}", words(keys)),
    };
    let nulls = if *ignores_nulls { " ignore nulls" } else { "" };
    match place {
        1 => format!("first_value({value}{within}{nulls}){over}"),
        -1 => format!("last_value({value}{within}{nulls}){over}"),
        place => format!("nth_value({value}, {place}{within}{nulls}){over}"),
    }
}
