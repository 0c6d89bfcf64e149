//! `join`: its sides, their keys, its condition, and which columns come out.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};

use super::{
    ProblemCode,
    fields::Fields,
    graph::Vertex,
    keyed::{Key, is_text, keys, of_line},
    nodes::{Binder, Bound, all_columns, names},
};
use crate::{
    expr::{Expr, Predicate, function::Function, parse},
    plan::{JoinColumn, JoinKind, Op, Order},
};

/// The joins by their names in documents.
pub(super) const KINDS: [(&str, JoinKind); 7] = [
    ("inner", JoinKind::Inner),
    ("left", JoinKind::Left),
    ("right", JoinKind::Right),
    ("full", JoinKind::Full),
    ("semi", JoinKind::Semi),
    ("anti", JoinKind::Anti { null_aware: false }),
    ("cross", JoinKind::Cross),
];

/// What a column of the right side is called behind its name where the left side has one of that
/// name, unless `suffix` says otherwise.
const SUFFIX: &str = "_right";

/// The two sides of a join, ready to be joined.
struct Sides {
    left: Bound,
    right: Bound,
    left_keys: Vec<Key>,
    right_keys: Vec<Key>,
}

/// A column that comes out, under its name.
type Column = (String, JoinColumn);

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
    let null_safe = fields.flag("null_safe", binder.report);
    let null_safe = if fields.has("null_safe") { null_safe } else { Some(false) };
    let suffix = fields.text("suffix", binder.report);
    let suffix = if fields.has("suffix") { suffix } else { Some(SUFFIX) };
    let on = fields.text("on", binder.report);
    let inputs = match inputs {
        Some([left, right]) => Some((left, right)),
        _ => None,
    };
    if let (Some(on), None) = (on, inputs) {
        let syntax = parse::syntax(on);
        syntax.unwrap_or_else(|refusal| binder.refuse(fields.at("on"), refusal));
    }
    let has_key = ["key", "left_key", "right_key"].iter().any(|name| fields.has(name));
    let is_cross = how == Some(JoinKind::Cross);
    let (sides, columns, common) = if is_cross || (!has_key && fields.has("on")) {
        for name in ["key", "left_key", "right_key", "null_safe"] {
            if is_cross && fields.has(name) {
                let message = format!("a cross join has no keys, and no `{name}`");
                binder.report.problem(fields.at(name), ProblemCode::ConflictingFields, message);
            }
        }
        let (left, right) = inputs?;
        let (left, right) = (left.clone(), right.clone());
        let sides = Sides { left, right, left_keys: Vec::new(), right_keys: Vec::new() };
        let columns = columns(&sides, &[], how?, suffix?);
        (sides, columns, Vec::new())
    } else if has_key {
        let mut sides = keyed_sides(binder, fields, inputs)?;
        let common = meet(binder, fields, &sides)?;
        let (how, suffix) = (how?, suffix?);
        let shared = shared_keys(binder, vertex, how, &mut sides, &common);
        let columns = columns(&sides, &shared, how, suffix);
        (sides, columns, common)
    } else {
        let (left, right) = inputs?;
        let sides = keyless_sides(binder, vertex, left, right)?;
        let columns = keyless_columns(how?);
        (sides, columns, vec![DataType::Utf8View])
    };
    let how = how?;
    let on = match on {
        Some(text) => Some(condition(binder, fields, text, &sides)?),
        None if fields.has("on") => return None,
        None => None,
    };
    let field = |(name, column): &Column| {
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
    let cast_all = |keys: &[Key]| -> Vec<Expr> {
        keys.iter().zip(&common).map(|((_, key), common)| cast(key, common)).collect()
    };
    let op = Op::Join {
        how,
        left_keys: cast_all(&sides.left_keys),
        right_keys: cast_all(&sides.right_keys),
        null_safe: null_safe?,
        on,
        columns: columns.into_iter().map(|(_, column)| column).collect(),
    };
    Some(binder.push(vertex.id, op, &[&sides.left, &sides.right], schema, Order::None))
}

fn how(binder: &mut Binder<'_, '_>, fields: &Fields<'_>) -> Option<JoinKind> {
    if !fields.has("how") {
        return Some(JoinKind::Inner);
    }
    let name = fields.text("how", binder.report)?;
    let known = KINDS.iter().find(|(kind, _)| *kind == name);
    if known.is_none() {
        let names = KINDS.map(|(kind, _)| kind);
        let message = format!("no join `{name}`; there are {}", names.join(", "));
        let suggestion = parse::nearest(name, names);
        binder.report.suggest(fields.at("how"), ProblemCode::BadValue, message, suggestion);
    }
    known.map(|(_, how)| *how)
}

fn condition(
    binder: &mut Binder<'_, '_>,
    fields: &Fields<'_>,
    text: &str,
    sides: &Sides,
) -> Option<Predicate> {
    match parse::join_condition(text, &sides.left.schema, &sides.right.schema) {
        Ok(condition) => Some(condition),
        Err(refusal) => {
            binder.refuse(fields.at("on"), refusal);
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

/// A key that both sides have under one name, and is one column of the output.
struct SharedKey {
    /// Its column on the left, in whose place it stands.
    left: usize,
    /// Its column on the right, which does not come out.
    right: usize,
    /// What comes out.
    column: JoinColumn,
}

/// The keys that both sides have under one name. Where a row may have no left side, the value is
/// taken from the side that it has; columns of different types are cast by a step before.
fn shared_keys(
    binder: &mut Binder<'_, '_>,
    vertex: &Vertex<'_>,
    how: JoinKind,
    sides: &mut Sides,
    common: &[DataType],
) -> Vec<SharedKey> {
    let pairs = sides.left_keys.iter().zip(&sides.right_keys).zip(common);
    let pairs = pairs.filter_map(|(((_, left), (_, right)), met)| match (left, right) {
        (
            Expr::Column { name: left_name, index: left, .. },
            Expr::Column { name: right_name, index: right, .. },
        ) if left_name == right_name => Some((*left, *right, met.clone())),
        _ => None,
    });
    let pairs: Vec<_> = pairs.collect();
    let mut shared: Vec<SharedKey> = Vec::new();
    let (mut left_casts, mut right_casts) = (Vec::new(), Vec::new());
    for (left, right, met) in pairs {
        if shared.iter().any(|known| known.left == left) {
            continue;
        }
        let types = [&sides.left, &sides.right].map(|side| &side.schema);
        let is_same = types[0].field(left).data_type() == types[1].field(right).data_type();
        let column = if !matches!(how, JoinKind::Right | JoinKind::Full) {
            JoinColumn::Left(left)
        } else if is_same {
            JoinColumn::Both { left, right }
        } else {
            let (next_left, next_right) = (types[0].fields().len(), types[1].fields().len());
            let places = (next_left + left_casts.len(), next_right + right_casts.len());
            left_casts.push((left, met.clone()));
            right_casts.push((right, met));
            JoinColumn::Both { left: places.0, right: places.1 }
        };
        shared.push(SharedKey { left, right, column });
    }
    if !left_casts.is_empty() {
        sides.left = with_casts(binder, vertex, "left", &sides.left, &left_casts);
        sides.right = with_casts(binder, vertex, "right", &sides.right, &right_casts);
    }
    shared
}

/// A side with more columns behind its own: some of them in other types.
fn with_casts(
    binder: &mut Binder<'_, '_>,
    vertex: &Vertex<'_>,
    side: &str,
    input: &Bound,
    casts: &[(usize, DataType)],
) -> Bound {
    let mut columns: Vec<Expr> =
        all_columns(&input.schema).into_iter().map(|(_, column)| column).collect();
    let mut fields: Vec<_> = input.schema.fields().iter().cloned().collect();
    for (index, to) in casts {
        columns.push(cast(&columns[*index], to));
        let name = format!("{}.key", input.schema.field(*index).name());
        fields.push(Arc::new(Field::new(name, to.clone(), true)));
    }
    let schema = Arc::new(Schema::new(fields));
    let id = format!("{}.{side}", vertex.id);
    binder.push(id, Op::Map { columns }, &[input], schema, input.order.clone())
}

/// All left columns, then the right ones that are no key of the left side's name; of a semi or an
/// anti join only the left ones.
fn columns(sides: &Sides, shared: &[SharedKey], how: JoinKind, suffix: &str) -> Vec<Column> {
    let own = |side: &Bound| {
        let names = all_columns(&side.schema).into_iter().map(|(name, _)| name);
        names.enumerate().collect::<Vec<_>>()
    };
    let added = |column: JoinColumn| {
        shared.iter().any(|key| match (key.column, column) {
            (JoinColumn::Both { left, .. }, JoinColumn::Left(index)) => {
                left == index && key.left != index
            }
            (JoinColumn::Both { right, .. }, JoinColumn::Right(index)) => {
                right == index && key.right != index
            }
            _ => false,
        })
    };
    let mut columns = Vec::new();
    for (index, name) in own(&sides.left) {
        let key = shared.iter().find(|key| key.left == index);
        if !added(JoinColumn::Left(index)) {
            columns.push((name, key.map_or(JoinColumn::Left(index), |key| key.column)));
        }
    }
    if how.is_left_only() {
        return columns;
    }
    for (index, name) in own(&sides.right) {
        let is_key = shared.iter().any(|key| key.right == index);
        if is_key || added(JoinColumn::Right(index)) {
            continue;
        }
        let is_taken = sides.left.schema.index_of(&name).is_ok();
        let name = if is_taken { format!("{name}{suffix}") } else { name };
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

/// `key, left, right`.
fn keyless_columns(how: JoinKind) -> Vec<Column> {
    let key = match how {
        JoinKind::Right | JoinKind::Full => JoinColumn::Both { left: 0, right: 0 },
        _ => JoinColumn::Left(0),
    };
    let mut columns = vec![(String::from("key"), key), (String::from("left"), JoinColumn::Left(1))];
    if !how.is_left_only() {
        columns.push((String::from("right"), JoinColumn::Right(1)));
    }
    columns
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

/// The types in which the keys of both sides meet.
fn meet(binder: &mut Binder<'_, '_>, fields: &Fields<'_>, sides: &Sides) -> Option<Vec<DataType>> {
    let mut met = Vec::new();
    let mut is_right = true;
    for ((left_name, left), (right_name, right)) in sides.left_keys.iter().zip(&sides.right_keys) {
        let (left_type, right_type) = (left.data_type(), right.data_type());
        if let Some(common) = parse::unified(&left_type, &right_type) {
            met.push(common);
        } else {
            let (left_type, right_type) =
                (parse::type_name(&left_type), parse::type_name(&right_type));
            let message = format!(
                "key `{left_name}` is {left_type} on the left and `{right_name}` is {right_type} \
                 on the right; a key may be an expression, such as a cast"
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
