//! Keys of `reduce_by_key`, `join` and `repartition`.

use arrow::datatypes::Schema;

use super::{
    fields::Fields,
    nodes::{Binder, Bound, call, text_columns},
};
use crate::expr::{Expr, function::Function, parse};

/// A key with the name of its column.
pub(super) type Key = (String, Expr);

/// Whether rows are one text column, which forms without key cut at the first comma.
pub(super) fn is_text(input: &Bound) -> bool {
    input.schema.fields().len() == 1 && text_columns(&input.schema).len() == 1
}

/// The keys that a field names: columns, or expressions. On a one-column stream any plain name is
/// that column under the name.
pub(super) fn keys(
    binder: &mut Binder<'_, '_>,
    fields: &Fields<'_>,
    name: &str,
    input: Option<&Bound>,
) -> Option<Vec<Key>> {
    let texts = fields.texts(name, binder.report)?;
    let keys: Vec<Option<Key>> = texts
        .into_iter()
        .map(|(text, pointer)| {
            let expr = match input {
                Some(input) => match column(text, &input.schema) {
                    Some(column) => Some(column),
                    None => binder.parsed(text, &pointer, Some(input), parse::expression),
                },
                None => binder.parsed(text, &pointer, None, parse::expression),
            };
            expr.map(|expr| (String::from(text), expr))
        })
        .collect();
    keys.into_iter().collect()
}

/// The column that a key names.
fn column(text: &str, schema: &Schema) -> Option<Expr> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    match schema.index_of(text) {
        Ok(index) => Some(parse::column(schema, index)),
        Err(_) if schema.fields().len() == 1 && is_plain && !text.is_empty() => {
            Some(parse::column(schema, 0))
        }
        Err(_) => None,
    }
}

/// A function of the only column's first comma-separated field or of what follows it.
pub(super) fn of_line(function: Function, input: &Bound) -> Expr {
    call(function, vec![parse::column(&input.schema, 0)])
}
