//! Casts in `DuckDB`'s words.
//!
//! Where a text is cast `DuckDB` takes more forms (blanks, `0.5` as a whole number). A `cast` that
//! is an error here may so give a value there; a `try_cast` gives the same nulls.

use arrow::datatypes::DataType;

use super::{
    super::{Written, form, refused},
    quoted, type_name,
};
use crate::expr::TIMESTAMP;

/// `text` of a type as another.
///
/// # Errors
/// A cast that gives other values there.
pub(in crate::plan::sql) fn cast(
    text: &str,
    from: &DataType,
    to: &DataType,
    or_null: bool,
) -> Written {
    let word = if or_null { "try_cast" } else { "cast" };
    match (from, to) {
        (from, to) if from == to => Ok(String::from(text)),
        (from, DataType::Utf8View) => as_text(text, from, or_null),
        // Backslashes are none of its escapes.
        (DataType::Utf8View, DataType::BinaryView) => Ok(format!("encode({text})")),
        (DataType::Utf8View, to) => match form::of(to) {
            Some(form) if or_null => {
                let type_name = type_name(to)?;
                Ok(format!("try_cast(regexp_extract({text}, {}) as {type_name})", quoted(form)))
            }
            _ => Ok(format!("{word}({text} as {})", type_name(to)?)),
        },
        _ => Ok(format!("{word}({text} as {})", type_name(to)?)),
    }
}

/// As text.
fn as_text(text: &str, from: &DataType, or_null: bool) -> Written {
    let moment = |of: &str| {
        let format = quoted("%Y-%m-%dT%H:%M:%S.%f");
        format!("regexp_replace(strftime({of}, {format}), '[.]000000$', '')")
    };
    Ok(match from {
        DataType::BinaryView if or_null => format!("try(decode({text}))"),
        DataType::BinaryView => format!("decode({text})"),
        // A whole float has a fraction there, an exponent a sign and two digits.
        from if from.is_floating() => format!(
            "replace(regexp_replace(regexp_replace(cast({text} as VARCHAR), '[.]0$', ''), \
             'e[+]?(-?)0*', 'e\\1'), 'nan', 'NaN')"
        ),
        from if *from == TIMESTAMP => moment(text),
        DataType::Timestamp(_, Some(_)) => {
            type_name(from)?;
            format!("({} || 'Z')", moment(&format!("timezone('UTC', {text})")))
        }
        DataType::List(_)
        | DataType::Struct(_)
        | DataType::Duration(_)
        | DataType::Interval(_)
        | DataType::Timestamp(..) => return refused("such a value as text has no SQL in DuckDB"),
        _ => format!("cast({text} as VARCHAR)"),
    })
}
