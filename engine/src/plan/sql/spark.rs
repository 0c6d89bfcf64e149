//! Spark's words: those of version 4 in ANSI mode, whose errors are errors here too.
//!
//! Whole constants are written as 64 bits wide, and what Spark counts in 32 bits is cast, so that
//! nothing is computed in a narrower type than here. What is not known to mean the same is refused.

use arrow::datatypes::{DataType, FieldRef, TimeUnit};

use super::{
    Dialect, Written,
    expression::{self, Operand, Scope},
    refused,
};
use crate::expr::{Expr, Literal, TIMESTAMP};

mod arithmetic;
mod cast;
mod function;
mod text;
mod pattern;
mod number;
mod time;
mod list;
mod aggregate;
mod source;

pub(super) use aggregate::{aggregate, distance, picked};
pub(super) use arithmetic::binary;
pub(super) use cast::cast;
pub(super) use function::call;
pub(super) use list::{element, tokens};
pub(super) use pattern::{pattern, split};
pub(super) use source::rows;

fn name(name: &str) -> String {
    Dialect::Spark.name(name)
}

fn quoted(text: &str) -> String {
    Dialect::Spark.quoted(text)
}

/// A number of 32 bits as one of 64.
pub(super) fn long(text: &str) -> String {
    format!("cast({text} as BIGINT)")
}

/// A whole number where Spark takes one of 32 bits.
fn int(expr: &Expr, text: &str) -> String {
    match expr {
        Expr::Literal(Literal::Int64(value)) if i32::try_from(*value).is_ok() => value.to_string(),
        _ => format!("cast({text} as INT)"),
    }
}

/// The field of a struct.
pub(super) fn field(of: &str, field: &str) -> String {
    format!("{of}[{}]", quoted(field))
}

/// A constant.
///
/// # Errors
/// A type that Spark has not.
pub(super) fn literal(literal: &Literal) -> Written {
    Ok(match literal {
        Literal::Null(data_type) => format!("cast(null as {})", type_name(data_type)?),
        Literal::Int64(value) => format!("{value}L"),
        Literal::Float64(value) if value.is_finite() => format!("{value:e}D"),
        Literal::Utf8(text) => quoted(text),
        Literal::Timestamp { unit: TimeUnit::Microsecond, zone: None, .. } => {
            literal.to_string().replacen("timestamp ", "timestamp_ntz ", 1)
        }
        Literal::Bool(_) | Literal::Binary(_) | Literal::Exact { .. } | Literal::Date32(_) => {
            literal.to_string()
        }
        Literal::Int8(_)
        | Literal::Int16(_)
        | Literal::Int32(_)
        | Literal::UInt8(_)
        | Literal::UInt16(_)
        | Literal::UInt32(_)
        | Literal::UInt64(_)
        | Literal::Float32(_)
        | Literal::Float64(_)
        | Literal::Decimal { .. }
        | Literal::Timestamp { .. } => retyped(literal)?,
        Literal::Time(_) | Literal::Duration { .. } | Literal::Interval { .. } => {
            return type_name(&literal.data_type());
        }
    })
}

/// A constant that stands in a cast, in a cast to Spark's type.
fn retyped(literal: &Literal) -> Written {
    let text = literal.to_string();
    let value = text.strip_prefix("cast(").and_then(|text| text.rsplit_once(" as "));
    let value = value.map_or(text.as_str(), |(value, _)| value);
    Ok(format!("cast({value} as {})", type_name(&literal.data_type())?))
}

/// A type's name: unsigned numbers are of the next wider type.
///
/// # Errors
/// A type that Spark has not.
pub(super) fn type_name(data_type: &DataType) -> Written {
    Ok(String::from(match data_type {
        DataType::Boolean => "BOOLEAN",
        DataType::Int8 => "TINYINT",
        DataType::Int16 | DataType::UInt8 => "SMALLINT",
        DataType::Int32 | DataType::UInt16 | DataType::Null => "INT",
        DataType::Int64 | DataType::UInt32 => "BIGINT",
        DataType::UInt64 => "DECIMAL(20,0)",
        DataType::Float32 => "FLOAT",
        DataType::Float64 => "DOUBLE",
        DataType::Utf8View | DataType::Utf8 => "STRING",
        DataType::BinaryView | DataType::Binary => "BINARY",
        DataType::Date32 => "DATE",
        DataType::Duration(TimeUnit::Microsecond) => "INTERVAL DAY TO SECOND",
        timestamp if *timestamp == TIMESTAMP => "TIMESTAMP_NTZ",
        DataType::Timestamp(TimeUnit::Microsecond, Some(zone)) if zone.as_ref() == "UTC" => {
            "TIMESTAMP"
        }
        DataType::Decimal128(precision, scale @ 0..) => {
            return Ok(format!("DECIMAL({precision},{scale})"));
        }
        DataType::List(item) => return Ok(format!("ARRAY<{}>", type_name(item.data_type())?)),
        DataType::Struct(fields) => {
            let field = |field: &FieldRef| {
                Ok(format!("{}: {}", name(field.name()), type_name(field.data_type())?))
            };
            let fields = fields.iter().map(field).collect::<Result<Vec<_>, String>>()?;
            return Ok(format!("STRUCT<{}>", fields.join(", ")));
        }
        DataType::Interval(_) => {
            return refused("Spark has no type for intervals of months, days and seconds");
        }
        DataType::Time32(_) | DataType::Time64(_) => {
            return refused("Spark has no type for times of day");
        }
        other => return Err(format!("Spark has no type for {other}")),
    }))
}

/// The text where it has this form, else the empty text, which is a value of no other type.
fn only(text: &str, form: &str) -> String {
    format!("regexp_extract({text}, {}, 0)", quoted(form))
}
