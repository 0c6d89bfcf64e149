//! Keys of `reduce_by_key`, `join` and `repartition`.

use arrow::datatypes::Schema;

use super::{
    ProblemCode,
    fields::Fields,
    nodes::{Binder, Bound, call, text_columns},
};
use crate::{
    expr::{Expr, function::Function, parse},
    kernels::hash::is_key,
};

/// A key with the name of its column.
pub(super) type Key = (String, Expr);

/// Whether rows are one text column, which forms without key cut at the first comma.
pub(super) fn is_text(input: &Bound) -> bool {
    input.schema.fields().len() == 1 && text_columns(&input.schema).len() == 1
}

/// The keys that a field names: columns, or expressions, or expressions with a name (`lower(x) as y`).
/// On a one-column stream any plain name is that column under the name.
pub(super) fn keys(
    binder: &mut Binder<'_, '_>,
    fields: &Fields<'_>,
    name: &str,
    input: Option<&Bound>,
) -> Option<Vec<Key>> {
    let texts = fields.texts(name, binder.report)?;
    let keys: Vec<Option<Key>> =
        texts.into_iter().map(|(text, pointer)| key(binder, text, &pointer, input)).collect();
    keys.into_iter().collect()
}

fn key(
    binder: &mut Binder<'_, '_>,
    text: &str,
    pointer: &str,
    input: Option<&Bound>,
) -> Option<Key> {
    if let Some(column) = input.and_then(|input| column(text, &input.schema)) {
        return checked(binder, (String::from(text), column), pointer);
    }
    let (text, name) = named(text);
    let expr = match input.and_then(|input| column(text, &input.schema)) {
        Some(column) => column,
        None => binder.parsed(text, pointer, input, parse::expression)?,
    };
    checked(binder, (name, expr), pointer)
}

/// A key whose values can be told apart.
fn checked(binder: &mut Binder<'_, '_>, key: Key, pointer: &str) -> Option<Key> {
    let data_type = key.1.data_type();
    if is_key(&data_type) {
        return Some(key);
    }
    let message = format!("`{}` is {}, which can be no key", key.0, parse::type_name(&data_type));
    binder.report.problem(pointer, ProblemCode::TypeMismatch, message);
    None
}

/// An expression and the name of its column: what stands behind its last `as`, or its text.
fn named(text: &str) -> (&str, String) {
    let lower = text.to_ascii_lowercase();
    let Some(at) = lower.rfind(" as ") else { return (text, String::from(text)) };
    let name = text[at + 4..].trim();
    let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let quoted = name.strip_prefix('"').and_then(|name| name.strip_suffix('"'));
    match quoted {
        Some(inner) if !inner.contains('"') => (text[..at].trim(), String::from(inner)),
        None if is_plain && !name.is_empty() => (text[..at].trim(), String::from(name)),
        _ => (text, String::from(text)),
    }
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
