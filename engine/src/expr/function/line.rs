//! Functions over the comma-separated fields of a text line: what seed nodes without key act on.
//!
//! Fields are trimmed of Unicode white space, so that a line that ends in CR reads like any other.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Float64Array};

use super::{Call, text::narrow};
use crate::{
    Error, Result,
    expr::{cast::parse_float, evaluate::text_array},
};

/// Before the first comma and behind it.
pub(super) fn fields(line: &str) -> (&str, Option<&str>) {
    match memchr::memchr(b',', line.as_bytes()) {
        None => (line.trim(), None),
        Some(comma) => (line[..comma].trim(), Some(line[comma + 1..].trim())),
    }
}

/// Where `part`, which was cut out of `line`, begins and ends in it.
fn bounds(line: &str, part: &str) -> (usize, usize) {
    let start = part.as_ptr().addr() - line.as_ptr().addr();
    (start, start + part.len())
}

pub(super) fn first_field(call: &Call<'_>) -> Result<ArrayRef> {
    let lines = text_array(call.arguments[0].array())?;
    Ok(Arc::new(narrow(lines, |line| Some(bounds(line, fields(line).0)))))
}

pub(super) fn rest_of_line(call: &Call<'_>) -> Result<ArrayRef> {
    let lines = text_array(call.arguments[0].array())?;
    Ok(Arc::new(narrow(lines, |line| Some(bounds(line, fields(line).1?)))))
}

pub(super) fn number_of_line(call: &Call<'_>) -> Result<ArrayRef> {
    let lines = text_array(call.arguments[0].array())?;
    let mut numbers = Float64Array::builder(lines.len());
    for line in lines {
        let Some(line) = line else {
            numbers.append_null();
            continue;
        };
        let number = fields(line).1.and_then(parse_float);
        numbers.append_value(number.ok_or_else(|| no_number(line))?);
    }
    Ok(Arc::new(numbers.finish()))
}

fn no_number(line: &str) -> Error {
    let shown: String = line.chars().take(60).flat_map(char::escape_debug).collect();
    Error::Evaluate { reason: format!("no number behind the first comma of the line '{shown}'") }
}

#[cfg(test)]
mod tests {
    use super::{bounds, fields};

    #[test]
    fn a_line_is_cut_at_its_first_comma_and_trimmed() {
        assert_eq!(fields(" 1 , Ana, Lopez\r"), ("1", Some("Ana, Lopez")));
        assert_eq!(fields("alone "), ("alone", None));
        assert_eq!(fields(",x"), ("", Some("x")));
        assert_eq!(fields("k,"), ("k", Some("")));
        assert_eq!(fields(""), ("", None));
    }

    #[test]
    fn the_bounds_of_a_field_are_its_place() {
        let line = "1 , Ana ";
        assert_eq!(bounds(line, fields(line).1.unwrap()), (4, 7));
        assert_eq!(bounds("  ", fields("  ").0).0, bounds("  ", "  ".trim()).0);
    }
}
