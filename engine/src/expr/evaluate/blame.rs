//! Which row an error is about: the first that fails alone, with the values that were read.

use arrow::array::{Array, RecordBatch};

use crate::{
    Error,
    expr::{Expr, cast::TextOf, text::append},
};

/// The most characters of a value that are shown.
const SHOWN_CHARACTERS: usize = 40;

/// The most columns whose values are shown.
const SHOWN_COLUMNS: usize = 6;

/// `error`, which `exprs` gave for `batch`, as that of the first row that fails, with the values of
/// the columns that are read there.
pub(super) fn blamed(error: Error, exprs: &[&Expr], batch: &RecordBatch) -> Error {
    if !matches!(error, Error::Evaluate { .. }) {
        return error;
    }
    let Some((row, exact)) = first_failure(exprs, batch) else { return error };
    let failing = exprs.iter().find(|expr| super::values(&[expr], &row).is_err());
    let shown = failing.map(|expr| values(expr, &row)).unwrap_or_default();
    match exact {
        Error::Evaluate { reason } if !shown.is_empty() => {
            Error::Evaluate { reason: format!("{reason}, at row {shown}") }
        }
        exact => exact,
    }
}

/// The first row that fails, found by halves, and its error.
fn first_failure(exprs: &[&Expr], batch: &RecordBatch) -> Option<(RecordBatch, Error)> {
    let mut part = batch.clone();
    while part.num_rows() > 1 {
        let half = part.num_rows() / 2;
        let first = part.slice(0, half);
        part = match super::values(exprs, &first) {
            Err(Error::Evaluate { .. }) => first,
            Ok(_) => part.slice(half, part.num_rows() - half),
            Err(_) => return None,
        };
    }
    let error = super::values(exprs, &part).err()?;
    Some((part, error))
}

/// What the columns that `expr` reads hold in the only row of `row`: `n=1, city="Ana"`.
fn values(expr: &Expr, row: &RecordBatch) -> String {
    let mut shown = String::new();
    for (count, index) in expr.columns().into_iter().enumerate() {
        if count == SHOWN_COLUMNS {
            shown.push_str(", …");
            break;
        }
        let Some(column) = row.columns().get(index) else { continue };
        let Ok(writer) = TextOf::new(column.as_ref()) else { continue };
        if !shown.is_empty() {
            shown.push_str(", ");
        }
        append(&mut shown, format_args!("{}=", row.schema_ref().field(index).name()));
        if column.is_null(0) {
            shown.push_str("null");
            continue;
        }
        let mut value = String::new();
        writer.write(0, &mut value);
        let cut: String =
            value.chars().take(SHOWN_CHARACTERS).flat_map(char::escape_debug).collect();
        let rest = if value.chars().nth(SHOWN_CHARACTERS).is_some() { "…" } else { "" };
        let quote = if matches!(writer, TextOf::Text(_)) { "\"" } else { "" };
        append(&mut shown, format_args!("{quote}{cut}{rest}{quote}"));
    }
    shown
}
