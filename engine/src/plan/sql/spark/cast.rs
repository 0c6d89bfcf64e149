//! Casts in Spark's words.
//!
//! Where a text is cast Spark takes more forms (blanks, `1995`, `t`). A `cast` that is an error here
//! may so give a value there; a `try_cast` gives the same nulls, since only our forms are let in.

use arrow::datatypes::DataType;

use super::{
    super::{Written, form, refused},
    only, quoted, type_name,
};
use crate::expr::TIMESTAMP;

/// `text` of a type as another.
///
/// # Errors
/// A cast that Spark has not, or that gives other values there.
pub(in crate::plan::sql) fn cast(
    text: &str,
    from: &DataType,
    to: &DataType,
    or_null: bool,
) -> Written {
    if from == to {
        return Ok(String::from(text));
    }
    let word = if or_null { "try_cast" } else { "cast" };
    let plain = |of: &str| -> Written { Ok(format!("{word}({of} as {})", type_name(to)?)) };
    if *to == DataType::Utf8View {
        return as_text(text, from, or_null);
    }
    match (from, to) {
        (DataType::Null, _) => Ok(format!("cast(null as {})", type_name(to)?)),
        (from, to) if to.is_unsigned_integer() && !is_within(from, to) => {
            unsigned(text, from, to, or_null)
        }
        (DataType::Utf8View, to) => match form::of(to) {
            _ if !or_null => plain(text),
            Some(form) => plain(&only(text, form)),
            None => refused("a `try_cast` of text to such a type has no SQL in Spark"),
        },
        // Spark cuts what is behind the point.
        (from, to) if from.is_floating() && to.is_integer() => plain(&format!("rint({text})")),
        (DataType::Decimal128(..), to) if to.is_integer() => plain(&format!("round({text})")),
        (DataType::List(from), DataType::List(to)) => {
            let item = cast("e", from.data_type(), to.data_type(), or_null)?;
            if item == "e" {
                Ok(String::from(text))
            } else {
                Ok(format!("transform({text}, e -> {item})"))
            }
        }
        (from, to) if is_plain(from) && is_plain(to) => plain(text),
        (DataType::Date32, to) if *to == TIMESTAMP => plain(text),
        (from, DataType::Date32) if *from == TIMESTAMP => plain(text),
        _ => refused("such a cast has no SQL in Spark"),
    }
}

/// Whether a number is cast by the word alone.
fn is_plain(data_type: &DataType) -> bool {
    data_type.is_numeric() || *data_type == DataType::Boolean
}

/// Whether every number of a type is one of an unsigned type.
fn is_within(from: &DataType, to: &DataType) -> bool {
    *from == DataType::Boolean
        || from.is_unsigned_integer() && from.primitive_width() <= to.primitive_width()
}

/// As a number that is not negative: it is checked as the signed one of the same width.
fn unsigned(text: &str, from: &DataType, to: &DataType, or_null: bool) -> Written {
    let (wide, by, half) = match to {
        DataType::UInt8 => (DataType::Int64, "TINYINT", "128L"),
        DataType::UInt16 => (DataType::Int64, "SMALLINT", "32768L"),
        DataType::UInt32 => (DataType::Int64, "INT", "2147483648L"),
        _ => (DataType::Decimal128(20, 0), "BIGINT", "9223372036854775808"),
    };
    let whole = match form::of(to) {
        // A decimal would take a fraction too.
        Some(form) if or_null && *to == DataType::UInt64 && *from == DataType::Utf8View => {
            cast(&only(text, form), from, &wide, true)?
        }
        _ if from.is_floating() => cast(&format!("rint({text})"), from, &wide, or_null)?,
        _ => cast(text, from, &wide, or_null)?,
    };
    let word = if or_null { "try_cast" } else { "cast" };
    let checked = format!("{word}(({whole} - {half}) as {by})");
    Ok(format!("cast(({checked} + {half}) as {})", type_name(to)?))
}

/// As text.
fn as_text(text: &str, from: &DataType, or_null: bool) -> Written {
    match from {
        DataType::Null | DataType::Boolean | DataType::Date32 | DataType::Decimal128(_, 0..) => {
            Ok(format!("cast({text} as STRING)"))
        }
        from if from.is_integer() => Ok(format!("cast({text} as STRING)")),
        from if *from == TIMESTAMP => {
            let format = quoted("yyyy-MM-dd'T'HH:mm:ss.SSSSSS");
            Ok(format!("regexp_replace(date_format({text}, {format}), '[.]000000$', '')"))
        }
        DataType::BinaryView if !or_null => Ok(format!("decode({text}, 'UTF-8')")),
        from if from.is_floating() => refused("floats are written otherwise in Spark"),
        _ => refused("such a value as text has no SQL in Spark"),
    }
}
