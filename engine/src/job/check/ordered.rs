//! `sort` and `window`: whose rows follow one another by keys.
//!
//! Keys that are no columns are computed by a map before, and left out again by a map behind, which
//! then has the node's id.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};

use super::{
    ProblemCode,
    fields::Fields,
    graph::Vertex,
    nodes::{Binder, Bound, all_columns, order_through},
};
use crate::{
    expr::{
        Expr, OrderKey, SortKey, parse,
        window::{self, Frame, Over, WindowFunction},
    },
    plan::{Op, Order},
};

pub(super) fn sort(
    binder: &mut Binder<'_, '_>,
    vertex: &Vertex<'_>,
    input: Option<&Bound>,
) -> Option<Bound> {
    let fields = &vertex.fields;
    fields.required("by", binder.report)?;
    let by = order_keys(binder, fields, "by", input)?;
    let input = input?;
    let mut extended = Extended::new(input);
    let mut keys = extended.sort_keys(&by);
    complete(&mut keys, input);
    let order = Order::Sorted(keys.clone());
    let op = Op::Sort { keys, limit: None };
    let bound = if extended.added.is_empty() {
        binder.push(vertex.id, op, &[input], Arc::clone(&input.schema), order)
    } else {
        let with_keys = extended.push(binder, vertex.id);
        let schema = Arc::clone(&with_keys.schema);
        let id = format!("{}.sorted", vertex.id);
        let sorted = binder.push(id, op, &[&with_keys], schema, order);
        first_columns(binder, vertex.id, &sorted, all_columns(&input.schema))
    };
    Some(Bound { is_tokens: input.is_tokens, ..bound })
}

pub(super) fn window(
    binder: &mut Binder<'_, '_>,
    vertex: &Vertex<'_>,
    input: Option<&Bound>,
) -> Option<Bound> {
    let fields = &vertex.fields;
    let has = |name| fields.has(name);
    let partition_by =
        if has("partition_by") { partition_keys(binder, fields, input) } else { Some(Vec::new()) };
    let order_by = if has("order_by") {
        order_keys(binder, fields, "order_by", input)
    } else {
        Some(Vec::new())
    };
    let frame = frame(binder, fields, order_by.as_deref(), input.is_some());
    fields.required("with", binder.report)?;
    // A frame that is wrong is one problem, and not one of each function too.
    let seen = frame.clone().unwrap_or_default();
    let functions = functions(binder, fields, input, &seen)?;
    let (partition_by, order_by, frame, input) = (partition_by?, order_by?, frame?, input?);
    if has("frame") && !functions.iter().any(|(_, function)| function.function.has_frame()) {
        let message = "no function of `with` sees a frame; leave it out";
        binder.report.problem(fields.at("frame"), ProblemCode::NotApplicable, message);
        return None;
    }
    let over = Over { partition_by, order_by, frame };
    push_window(binder, vertex.id, input, &over, functions, &fields.at("with"))
}

/// Adds a window with the document's `id` behind `input`: all its columns, of which functions of
/// the same name take the place, then the other functions.
///
/// Names that are none, or stand twice, are a problem at `pointer`.
pub(super) fn push_window(
    binder: &mut Binder<'_, '_>,
    id: &str,
    input: &Bound,
    over: &Over,
    functions: Vec<(String, WindowFunction)>,
    pointer: &str,
) -> Option<Bound> {
    let mut extended = Extended::new(input);
    let partition_by: Vec<usize> =
        over.partition_by.iter().map(|key| extended.column(key)).collect();
    let order_by = extended.sort_keys(&over.order_by);
    let ascending =
        |column: &usize| SortKey { column: *column, descending: false, nulls_first: false };
    let mut keys: Vec<SortKey> = Vec::new();
    for key in partition_by.iter().map(ascending).chain(order_by.iter().cloned()) {
        if keys.iter().all(|known| known.column != key.column) {
            keys.push(key);
        }
    }
    complete(&mut keys, input);
    // Without keys the rows stay in the order that the input has.
    let order = if keys.is_empty() { input.order.clone() } else { Order::Sorted(keys) };

    let names: Vec<String> = functions.iter().map(|(name, _)| name.clone()).collect();
    let is_replaced = |name: &String| input.schema.index_of(name).is_ok();
    let is_plain = extended.added.is_empty() && !names.iter().any(is_replaced);
    let below = extended.push(binder, id);
    let count = below.schema.fields().len();
    // Names of columns that are left out again, and so need only be others.
    let own_name = |place: usize, name: &String| {
        if is_plain { name.clone() } else { format!("__window_{place}") }
    };
    let mut columns: Vec<_> = below.schema.fields().iter().cloned().collect();
    columns.extend(functions.iter().enumerate().map(|(place, (name, function))| {
        Arc::new(Field::new(own_name(place, name), function.data_type.clone(), true))
    }));
    let schema: SchemaRef = Arc::new(Schema::new(columns));
    let functions = functions.into_iter().map(|(_, function)| function).collect();
    let op = Op::Window { partition_by, order_by, functions };
    if is_plain {
        if !binder.check_columns(&schema, pointer) {
            return None;
        }
        return Some(binder.push(id, op, &[&below], schema, order));
    }
    let window = binder.push(format!("{id}.window"), op, &[&below], schema, order);
    let mut given = all_columns(&input.schema);
    for (place, name) in names.into_iter().enumerate() {
        let value = parse::column(&window.schema, count + place);
        match given.iter_mut().find(|(known, _)| *known == name) {
            Some(column) => column.1 = value,
            None => given.push((name, value)),
        }
    }
    let kept = first_columns(binder, id, &window, given);
    binder.check_columns(&kept.schema, pointer).then_some(kept)
}

/// An input, and the columns that are computed of it for keys.
struct Extended<'a> {
    input: &'a Bound,
    added: Vec<Expr>,
}

impl<'a> Extended<'a> {
    fn new(input: &'a Bound) -> Self {
        Self { input, added: Vec::new() }
    }

    /// The column of an expression; a new one where it is no column.
    fn column(&mut self, expr: &Expr) -> usize {
        if let Expr::Column { index, .. } = expr {
            return *index;
        }
        let known = self.added.iter().position(|known| known == expr);
        let place = known.unwrap_or_else(|| {
            self.added.push(expr.clone());
            self.added.len() - 1
        });
        self.input.schema.fields().len() + place
    }

    fn sort_keys(&mut self, keys: &[OrderKey]) -> Vec<SortKey> {
        let key = |key: &OrderKey| SortKey {
            column: self.column(&key.expr),
            descending: key.descending,
            nulls_first: key.nulls_first,
        };
        keys.iter().map(key).collect()
    }

    /// The rows with the columns that were added.
    fn push(&self, binder: &mut Binder<'_, '_>, id: &str) -> Bound {
        if self.added.is_empty() {
            return self.input.clone();
        }
        let mut columns = all_columns(&self.input.schema);
        let added = self.added.iter().enumerate();
        columns.extend(added.map(|(place, key)| (format!("__key_{place}"), key.clone())));
        first_columns(binder, &format!("{id}.keys"), self.input, columns)
    }
}

/// A map to these columns.
fn first_columns(
    binder: &mut Binder<'_, '_>,
    id: &str,
    input: &Bound,
    columns: Vec<(String, Expr)>,
) -> Bound {
    let fields = columns.iter().map(|(name, expr)| Field::new(name, expr.data_type(), true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let columns: Vec<_> = columns.into_iter().map(|(_, expr)| expr).collect();
    let order = order_through(&columns, &input.order);
    binder.push(id, Op::Map { columns }, &[input], schema, order)
}

/// Breaks ties by all other columns, where the input has no order that does.
fn complete(keys: &mut Vec<SortKey>, input: &Bound) {
    if input.order != Order::None {
        return;
    }
    for column in 0..input.schema.fields().len() {
        if keys.iter().all(|key| key.column != column) {
            keys.push(SortKey { column, descending: false, nulls_first: false });
        }
    }
}

/// Order keys, none of which stands twice.
fn order_keys(
    binder: &mut Binder<'_, '_>,
    fields: &Fields<'_>,
    name: &str,
    input: Option<&Bound>,
) -> Option<Vec<OrderKey>> {
    let mut keys: Vec<OrderKey> = Vec::new();
    let mut is_right = true;
    for (text, pointer) in fields.texts(name, binder.report)? {
        let key = match input {
            Some(input) => window::parse::order_key(text, &input.schema).map(Some),
            None => parse::sort_syntax(text).map(|()| None),
        };
        match key {
            Ok(Some(key)) if keys.iter().any(|known| known.expr == key.expr) => {
                let what = if let Expr::Column { .. } = key.expr { "a column" } else { "a key" };
                let message = format!("`{text}` names {what} a second time");
                binder.report.problem(pointer, ProblemCode::BadValue, message);
                is_right = false;
            }
            Ok(Some(key)) => keys.push(key),
            Ok(None) => {}
            Err(refusal) => {
                binder.refuse(pointer, refusal);
                is_right = false;
            }
        }
    }
    is_right.then_some(keys)
}

fn partition_keys(
    binder: &mut Binder<'_, '_>,
    fields: &Fields<'_>,
    input: Option<&Bound>,
) -> Option<Vec<Expr>> {
    let texts = fields.texts("partition_by", binder.report)?;
    let keys: Vec<Option<Expr>> = texts
        .into_iter()
        .map(|(text, pointer)| {
            match input.and_then(|input| input.schema.index_of(text).ok().map(|at| (input, at))) {
                Some((input, index)) => Some(parse::column(&input.schema, index)),
                None => binder.parsed(text, &pointer, input, parse::expression),
            }
        })
        .collect();
    keys.into_iter().collect()
}

/// The frame that is said, or the usual one; without the input's columns only its syntax counts.
fn frame(
    binder: &mut Binder<'_, '_>,
    fields: &Fields<'_>,
    order_by: Option<&[OrderKey]>,
    has_input: bool,
) -> Option<Frame> {
    if !fields.has("frame") {
        return Some(Frame::default());
    }
    let text = fields.text("frame", binder.report)?;
    let frame = match order_by.filter(|_| has_input) {
        Some(order_by) => window::frame(text, order_by).map(Some),
        None => window::parse::frame_syntax(text).map(|()| None),
    };
    frame.unwrap_or_else(|refusal| {
        binder.refuse(fields.at("frame"), refusal);
        None
    })
}

/// The functions of `with`, by name.
fn functions(
    binder: &mut Binder<'_, '_>,
    fields: &Fields<'_>,
    input: Option<&Bound>,
    frame: &Frame,
) -> Option<Vec<(String, WindowFunction)>> {
    let members = Fields::open(fields.get("with")?, &fields.at("with"), binder.report)?;
    if members.members().is_empty() {
        let message = "at least one column must be named";
        binder.report.problem(members.pointer(), ProblemCode::BadValue, message);
        return None;
    }
    let mut functions = Vec::new();
    for (name, pointer, text) in members.named_texts(binder.report) {
        let function = text.and_then(|text| {
            binder.parsed(text, &pointer, input, |text, schema| window::parse(text, schema, frame))
        });
        functions.push(function.map(|function| (String::from(name), function)));
    }
    functions.into_iter().collect()
}
