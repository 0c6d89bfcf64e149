//! Keys of `reduce_by_key` and `join`, and which columns of a join come out.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};

use super::{
    ProblemCode,
    fields::Fields,
    graph::Vertex,
    nodes::{Binder, Bound, all_columns, call, names, text_columns},
};
use crate::{
    expr::{Expr, function::Function, parse},
    plan::{JoinColumn, JoinKind, Op, Order},
};

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

/// The two sides of a join, ready to be joined.
struct Sides {
    left: Bound,
    right: Bound,
    left_keys: Vec<Key>,
    right_keys: Vec<Key>,
}

pub(super) fn join(
    binder: &mut Binder<'_, '_>,
    vertex: &Vertex<'_>,
    inputs: Option<&[Bound]>,
) -> Option<Bound> {
    let fields = &vertex.fields;
    if fields.has("fn") {
        binder.form(fields, "join");
    }
    let how = how(binder, fields);
    let inputs = match inputs {
        Some([left, right]) => Some((left, right)),
        _ => None,
    };
    let has_key = ["key", "left_key", "right_key"].iter().any(|name| fields.has(name));
    let (sides, columns) = if has_key {
        let sides = keyed_sides(binder, fields, inputs)?;
        let columns = keyed_columns(&sides);
        (sides, columns)
    } else {
        let (left, right) = inputs?;
        let sides = keyless_sides(binder, vertex, left, right)?;
        let column = |name: &str, column| (String::from(name), column);
        let columns = vec![
            column("key", JoinColumn::Left(0)),
            column("left", JoinColumn::Left(1)),
            column("right", JoinColumn::Right(1)),
        ];
        (sides, columns)
    };
    let (left_keys, right_keys) = meet(binder, fields, &sides)?;
    let field = |(name, column): &(String, JoinColumn)| {
        let data_type = match column {
            JoinColumn::Left(index) | JoinColumn::Both { left: index, .. } => {
                sides.left.schema.field(*index).data_type()
            }
            JoinColumn::Right(index) => sides.right.schema.field(*index).data_type(),
        };
        Field::new(name, data_type.clone(), true)
    };
    let schema = Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()));
    if !binder.check_columns(&schema, fields.pointer()) {
        return None;
    }
    let columns = columns.into_iter().map(|(_, column)| column).collect();
    let op = Op::Join { how: how?, left_keys, right_keys, null_safe: false, on: None, columns };
    Some(binder.push(vertex.id, op, &[&sides.left, &sides.right], schema, Order::None))
}

fn how(binder: &mut Binder<'_, '_>, fields: &Fields<'_>) -> Option<JoinKind> {
    if !fields.has("how") {
        return Some(JoinKind::Inner);
    }
    match fields.text("how", binder.report)? {
        "inner" => Some(JoinKind::Inner),
        "left" => Some(JoinKind::Left),
        later @ ("right" | "full" | "semi" | "anti" | "cross") => {
            let message = format!("a {later} join is not supported yet; there are inner, left");
            binder.report.problem(fields.at("how"), ProblemCode::NotSupported, message);
            None
        }
        other => {
            let message = format!("no join `{other}`; there are inner, left");
            let suggestion = parse::nearest(other, ["inner", "left"]);
            binder.report.suggest(fields.at("how"), ProblemCode::BadValue, message, suggestion);
            None
        }
    }
}

/// Keys of `key`, or of `left_key` and `right_key`.
fn keyed_sides(
    binder: &mut Binder<'_, '_>,
    fields: &Fields<'_>,
    sides: Option<(&Bound, &Bound)>,
) -> Option<Sides> {
    let (left, right) = (sides.map(|(left, _)| left), sides.map(|(_, right)| right));
    let names = if fields.has("key") {
        for name in ["left_key", "right_key"] {
            if fields.has(name) {
                let message = format!("only one of `key` and `{name}` may stand");
                binder.report.problem(fields.at(name), ProblemCode::ConflictingFields, message);
            }
        }
        ("key", "key")
    } else {
        ("left_key", "right_key")
    };
    let has_both = [names.0, names.1].map(|name| fields.required(name, binder.report).is_some());
    let left_keys = if has_both[0] { keys(binder, fields, names.0, left) } else { None };
    let is_again = names.0 == names.1 && right.is_none();
    let right_keys =
        if has_both[1] && !is_again { keys(binder, fields, names.1, right) } else { None };
    let (left_keys, right_keys) = (left_keys?, right_keys?);
    if left_keys.len() != right_keys.len() {
        let (left_count, right_count) = (left_keys.len(), right_keys.len());
        let message = format!("`left_key` has {left_count} keys and `right_key` {right_count}");
        binder.report.problem(fields.at("right_key"), ProblemCode::BadValue, message);
        return None;
    }
    Some(Sides { left: left?.clone(), right: right?.clone(), left_keys, right_keys })
}

/// All left columns, then the right ones but for keys that the left side has under the same name.
fn keyed_columns(sides: &Sides) -> Vec<(String, JoinColumn)> {
    let left = all_columns(&sides.left.schema).into_iter().enumerate();
    let mut columns: Vec<_> =
        left.map(|(index, (name, _))| (name, JoinColumn::Left(index))).collect();
    let is_dropped = |index| {
        sides.left_keys.iter().zip(&sides.right_keys).any(|((_, left_key), (_, right_key))| match (
            left_key, right_key,
        ) {
            (
                Expr::Column { name: left_name, .. },
                Expr::Column { name: right_name, index: right_index, .. },
            ) => *right_index == index && left_name == right_name,
            _ => false,
        })
    };
    for (index, (name, _)) in all_columns(&sides.right.schema).into_iter().enumerate() {
        if is_dropped(index) {
            continue;
        }
        let is_taken = sides.left.schema.index_of(&name).is_ok();
        let name = if is_taken { format!("{name}_right") } else { name };
        columns.push((name, JoinColumn::Right(index)));
    }
    columns
}

/// Lines of both sides, each cut at its first comma by a step of its own.
fn keyless_sides(
    binder: &mut Binder<'_, '_>,
    vertex: &Vertex<'_>,
    left: &Bound,
    right: &Bound,
) -> Option<Sides> {
    let mut is_right = true;
    for (side, input) in [("left", left), ("right", right)] {
        if !is_text(input) {
            let message = format!(
                "`key` is missing; without it both inputs are a single string column, and on the \
                 {side} {}",
                names(&input.schema)
            );
            let pointer = vertex.fields.at("key");
            binder.report.problem(pointer, ProblemCode::MissingField, message);
            is_right = false;
        }
    }
    if !is_right {
        return None;
    }
    let left = cut_lines(binder, vertex, "left", left);
    let right = cut_lines(binder, vertex, "right", right);
    let keys = |side: &Bound| vec![(String::from("key"), parse::column(&side.schema, 0))];
    Some(Sides { left_keys: keys(&left), right_keys: keys(&right), left, right })
}

fn cut_lines(binder: &mut Binder<'_, '_>, vertex: &Vertex<'_>, side: &str, input: &Bound) -> Bound {
    let columns =
        vec![of_line(Function::FIRST_FIELD, input), of_line(Function::REST_OF_LINE, input)];
    let fields = ["key", side].map(|name| Field::new(name, DataType::Utf8View, true));
    let schema = Arc::new(Schema::new(fields.to_vec()));
    let order = if input.order == Order::None { Order::None } else { Order::Source };
    let id = format!("{}.{side}", vertex.id);
    binder.push(id, Op::Map { columns }, &[input], schema, order)
}

/// The keys of both sides, brought to one type each.
fn meet(
    binder: &mut Binder<'_, '_>,
    fields: &Fields<'_>,
    sides: &Sides,
) -> Option<(Vec<Expr>, Vec<Expr>)> {
    let mut met = (Vec::new(), Vec::new());
    let mut is_right = true;
    for ((left_name, left), (right_name, right)) in sides.left_keys.iter().zip(&sides.right_keys) {
        let (left_type, right_type) = (left.data_type(), right.data_type());
        if let Some(common) = parse::unified(&left_type, &right_type) {
            met.0.push(cast(left, &common));
            met.1.push(cast(right, &common));
        } else {
            let (left_type, right_type) =
                (parse::type_name(&left_type), parse::type_name(&right_type));
            let message = format!(
                "key `{left_name}` is {left_type} on the left and `{right_name}` is {right_type} \
                 on the right"
            );
            let name = if fields.has("key") { "key" } else { "right_key" };
            binder.report.problem(fields.at(name), ProblemCode::TypeMismatch, message);
            is_right = false;
        }
    }
    is_right.then_some(met)
}

fn cast(expr: &Expr, to: &DataType) -> Expr {
    if expr.data_type() == *to {
        return expr.clone();
    }
    Expr::Cast { input: Box::new(expr.clone()), to: to.clone(), or_null: false }
}
