//! `DuckDB`'s words: expressions as they write themselves, but for what has another name there
//! ([`function`]), computes in a narrower type or means something else.

use arrow::datatypes::{DataType, FieldRef, TimeUnit};

use super::{
    Dialect, Written,
    expression::{self, Operand, Scope},
};
use crate::expr::{BinaryOp, Expr, Literal, parse::sql_type_name};

mod cast;
mod function;
mod aggregate;
mod source;

pub(super) use aggregate::{aggregate, distance, picked};
pub(super) use cast::cast;
pub(super) use source::table;

/// The precision that `DuckDB` does not exceed by itself where both operands keep to it.
const NARROW_DIGITS: u8 = 18;

fn name(name: &str) -> String {
    Dialect::DuckDb.name(name)
}

fn quoted(text: &str) -> String {
    Dialect::DuckDb.quoted(text)
}

/// A call of a function.
pub(super) fn call(
    name: &str,
    arguments: &[Expr],
    texts: &[String],
    data_type: &DataType,
) -> Written {
    let call = function::call(name, arguments, texts, data_type)?;
    match name {
        "coalesce" | "nullif" | "greatest" | "least" | "if" | "list_value" => {
            widened(call, data_type, arguments.iter())
        }
        _ => Ok(call),
    }
}

/// A choice among constants alone in its own type: whole constants are of 32 bits in `DuckDB`, and
/// so would be what is computed of them.
pub(super) fn widened<'a>(
    text: String,
    data_type: &DataType,
    mut values: impl Iterator<Item = &'a Expr>,
) -> Written {
    let is_constant = |value: &Expr| matches!(value, Expr::Literal(_));
    let is_whole = match data_type {
        DataType::List(item) => *item.data_type() == DataType::Int64,
        other => *other == DataType::Int64,
    };
    if is_whole && values.all(is_constant) {
        return Ok(format!("cast({text} as {})", type_name(data_type)?));
    }
    Ok(text)
}

fn is_wide(data_type: &DataType) -> bool {
    data_type.is_integer() && *data_type != DataType::Int32
}

/// `left op right`.
pub(super) fn binary(
    op: BinaryOp,
    left: &Operand<'_>,
    right: &Operand<'_>,
    data_type: &DataType,
) -> String {
    let (left_type, right_type) = (&left.data_type, &right.data_type);
    let (left, right) = (&left.text, &right.text);
    let word = match op {
        BinaryOp::IntegerDivide => String::from("//"),
        other => other.to_string(),
    };
    match (left_type, right_type, data_type) {
        // It has no sum of a date and a wide whole number.
        (DataType::Date32, other, DataType::Date32) if is_wide(other) => {
            format!("({left} {word} cast({right} as INTEGER))")
        }
        (other, DataType::Date32, DataType::Date32) if is_wide(other) => {
            format!("(cast({left} as INTEGER) {word} {right})")
        }
        (
            DataType::Decimal128(left_digits, scale),
            DataType::Decimal128(right_digits, _),
            DataType::Decimal128(digits, _),
        ) if *digits > NARROW_DIGITS && *left_digits.max(right_digits) <= NARROW_DIGITS => {
            format!("(cast({left} as DECIMAL(38,{scale})) {word} {right})")
        }
        // A timestamp there, also where the interval is of days alone.
        (_, DataType::Interval(_), DataType::Date32)
        | (DataType::Interval(_), _, DataType::Date32) => {
            format!("cast({left} {word} {right} as DATE)")
        }
        _ => format!("({left} {word} {right})"),
    }
}

/// What `like` compares with.
pub(super) fn pattern(pattern: &Expr, escape: Option<char>, scope: Scope<'_>) -> Written {
    let escape = escape.map(|escape| format!(" escape {}", quoted(&escape.to_string())));
    Ok(format!("{}{}", expression::text(pattern, scope)?, escape.unwrap_or_default()))
}

/// A constant.
pub(super) fn literal(literal: &Literal) -> Written {
    Ok(match literal {
        Literal::Null(data_type) => format!("cast(null as {})", type_name(data_type)?),
        Literal::Duration { .. } => return Err(String::from("a constant duration has no SQL")),
        Literal::Timestamp { zone: Some(_), .. } => {
            type_name(&literal.data_type())?;
            literal.to_string()
        }
        other => other.to_string(),
    })
}

/// A type's name.
pub(super) fn type_name(data_type: &DataType) -> Written {
    Ok(match data_type {
        DataType::Null => String::from("INTEGER"),
        DataType::Duration(_) => String::from("INTERVAL"),
        DataType::Timestamp(TimeUnit::Microsecond, Some(zone)) if zone.as_ref() == "UTC" => {
            String::from("TIMESTAMPTZ")
        }
        DataType::Timestamp(_, Some(_)) => {
            return Err(String::from("timestamps with a zone are microseconds of UTC in SQL"));
        }
        DataType::Decimal256(..) => {
            return Err(String::from("decimals of more than 38 digits have no SQL"));
        }
        DataType::List(item) => format!("{}[]", type_name(item.data_type())?),
        DataType::Struct(fields) => {
            let field = |field: &FieldRef| {
                Ok(format!("{} {}", name(field.name()), type_name(field.data_type())?))
            };
            let fields = fields.iter().map(field).collect::<Result<Vec<_>, String>>()?;
            format!("STRUCT({})", fields.join(", "))
        }
        plain => sql_type_name(plain),
    })
}

/// The words of texts: without the marks that are removed, cut at Unicode's white space.
pub(super) fn tokens(texts: impl Iterator<Item = String>) -> String {
    let words = texts.map(|text| {
        format!("regexp_extract_all(translate({text}, '.,;?!-', ''), '[^\\s\\pZ\\x{{85}}]+')")
    });
    match &words.collect::<Vec<_>>()[..] {
        [only] => only.clone(),
        several => format!("flatten([{}])", several.join(", ")),
    }
}
