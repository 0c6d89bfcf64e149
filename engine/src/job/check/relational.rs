//! `union`, `intersect`, `except`, `top_k`, `sample`, `repartition`, `cache`, `unpivot`, and the
//! functions of `flat_map` that take a list or a text apart.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::{
    MAX_PARTITIONS, ProblemCode,
    fields::Fields,
    graph::Vertex,
    keyed,
    nodes::{Binder, Bound, all_columns, names, order_through},
    ordered,
};
use crate::{
    expr::{Expr, parse},
    job::Json,
    plan::{JoinColumn, JoinKind, Op, Order, Separator},
};

/// What [`Op::Sample`]'s threshold is a part of.
const SAMPLE_WHOLE: f64 = 4_294_967_296.0;

/// The inputs with the same columns: the first one's, by name, each in the type in which those of
/// all inputs meet.
fn aligned(
    binder: &mut Binder<'_, '_>,
    vertex: &Vertex<'_>,
    inputs: &[Bound],
) -> Option<(Vec<Bound>, SchemaRef)> {
    let (first, others) = inputs.split_first()?;
    let pointer = vertex.fields.pointer();
    let mut types: Vec<DataType> =
        first.schema.fields().iter().map(|field| field.data_type().clone()).collect();
    let mut is_right = true;
    let mut refuse = |code, message: String, suggestion| {
        binder.report.suggest(pointer, code, message, suggestion);
        is_right = false;
    };
    for (number, input) in (2..).zip(others) {
        for (field, common) in first.schema.fields().iter().zip(&mut types) {
            let name = field.name();
            let Ok(found) = input.schema.field_with_name(name) else {
                let (_, suggestion) = parse::no_column(name, &input.schema);
                let message = format!(
                    "input {number} has no column `{name}`, which input 1 has; columns meet by \
                     name"
                );
                refuse(ProblemCode::UnknownColumn, message, suggestion);
                continue;
            };
            if let Some(wider) = parse::unified(common, found.data_type()) {
                *common = wider;
            } else {
                let message = format!(
                    "column `{name}` is {} before input {number} and {} in it",
                    parse::type_name(common),
                    parse::type_name(found.data_type())
                );
                refuse(ProblemCode::TypeMismatch, message, None);
            }
        }
        for field in input.schema.fields() {
            if first.schema.field_with_name(field.name()).is_err() {
                let (_, suggestion) = parse::no_column(field.name(), &first.schema);
                let message = format!(
                    "input {number} has a column `{}`, which input 1 has not; columns meet by name",
                    field.name()
                );
                refuse(ProblemCode::UnknownColumn, message, suggestion);
            }
        }
    }
    if !is_right {
        return None;
    }
    let fields = first.schema.fields().iter().zip(&types);
    let fields = fields.map(|(field, common)| Field::new(field.name(), common.clone(), true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let is_same = |input: &Bound| {
        let own = input.schema.fields().iter().map(|field| (field.name(), field.data_type()));
        own.eq(schema.fields().iter().map(|field| (field.name(), field.data_type())))
    };
    let mut met = Vec::with_capacity(inputs.len());
    for (number, input) in (1..).zip(inputs) {
        if is_same(input) {
            met.push(input.clone());
            continue;
        }
        let column = |field: &Arc<Field>| -> Option<Expr> {
            let index = input.schema.index_of(field.name()).ok()?;
            parse::coerced(parse::column(&input.schema, index), field.data_type())
        };
        let columns: Vec<Expr> = schema.fields().iter().map(column).collect::<Option<_>>()?;
        let order = order_through(&columns, &input.order);
        let (id, op) = (format!("{}.{number}", vertex.id), Op::Map { columns });
        let bound = binder.push(id, op, &[input], Arc::clone(&schema), order);
        met.push(Bound { is_tokens: input.is_tokens, ..bound });
    }
    Some((met, schema))
}

pub(super) fn union(
    binder: &mut Binder<'_, '_>,
    vertex: &Vertex<'_>,
    inputs: Option<&[Bound]>,
) -> Option<Bound> {
    let (inputs, schema) = aligned(binder, vertex, inputs?)?;
    // One input after another is as its sources have it, even where each is sorted.
    let order = match &inputs[..] {
        [only] => only.order.clone(),
        several if several.iter().all(|input| input.order != Order::None) => Order::Source,
        _ => Order::None,
    };
    let all: Vec<&Bound> = inputs.iter().collect();
    let bound = binder.push(vertex.id, Op::Union, &all, schema, order);
    Some(Bound { is_tokens: inputs.iter().all(|input| input.is_tokens), ..bound })
}

/// `intersect` and `except`: the distinct rows of the first input that every other one has, or that
/// none has; a null is like a null.
pub(super) fn set_operation(
    binder: &mut Binder<'_, '_>,
    vertex: &Vertex<'_>,
    inputs: Option<&[Bound]>,
    how: JoinKind,
) -> Option<Bound> {
    let (inputs, schema) = aligned(binder, vertex, inputs?)?;
    let (first, others) = inputs.split_first()?;
    let keys: Vec<Expr> = all_columns(&schema).into_iter().map(|(_, column)| column).collect();
    let columns: Vec<_> = (0..keys.len()).map(JoinColumn::Left).collect();
    let distinct = Op::Reduce { keys: keys.clone(), aggregates: Vec::new() };
    let distinct_id = format!("{}.distinct", vertex.id);
    let mut rows = binder.push(distinct_id, distinct, &[first], Arc::clone(&schema), Order::None);
    for (number, other) in (2..).zip(others) {
        let op = Op::Join {
            how,
            left_keys: keys.clone(),
            right_keys: keys.clone(),
            null_safe: true,
            on: None,
            columns: columns.clone(),
        };
        let is_last = number == inputs.len();
        let id =
            if is_last { String::from(vertex.id) } else { format!("{}.with{number}", vertex.id) };
        rows = binder.push(id, op, &[&rows, other], Arc::clone(&schema), Order::None);
    }
    Some(Bound { is_tokens: inputs.iter().all(|input| input.is_tokens), ..rows })
}

/// `sort`, of which only the first rows are wanted.
pub(super) fn top_k(
    binder: &mut Binder<'_, '_>,
    vertex: &Vertex<'_>,
    input: Option<&Bound>,
) -> Option<Bound> {
    let fields = &vertex.fields;
    fields.required("n", binder.report);
    let n = fields.number("n", 0..=i64::MAX.unsigned_abs(), binder.report);
    let before = binder.nodes.len();
    let sorted = ordered::sort(binder, vertex, input);
    let n = n?;
    for node in &mut binder.nodes[before..] {
        if let Op::Sort { limit, .. } = &mut node.op {
            *limit = Some(n);
        }
    }
    sorted
}

pub(super) fn sample(
    binder: &mut Binder<'_, '_>,
    vertex: &Vertex<'_>,
    input: Option<&Bound>,
) -> Option<Bound> {
    let fields = &vertex.fields;
    let fraction = match fields.required("fraction", binder.report) {
        None => None,
        Some(Json::Number(number)) => {
            let fraction = number.as_f64().filter(|fraction| (0.0..=1.0).contains(fraction));
            if fraction.is_none() {
                let message = format!("expected a number from 0 to 1, found {number}");
                binder.report.problem(fields.at("fraction"), ProblemCode::OutOfRange, message);
            }
            fraction
        }
        Some(other) => {
            let message = format!("expected a number from 0 to 1, found {}", other.kind());
            binder.report.problem(fields.at("fraction"), ProblemCode::WrongType, message);
            None
        }
    };
    let seed = fields.number("seed", 0..=u64::MAX, binder.report);
    let seed = if fields.has("seed") { seed? } else { 0 };
    let (fraction, input) = (fraction?, input?);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a part of 2³² that is not negative"
    )]
    let threshold = (fraction * SAMPLE_WHOLE).round() as u64;
    Some(same_rows(binder, vertex, input, Op::Sample { threshold, seed }, input.order.clone()))
}

pub(super) fn repartition(
    binder: &mut Binder<'_, '_>,
    vertex: &Vertex<'_>,
    input: Option<&Bound>,
) -> Option<Bound> {
    let fields = &vertex.fields;
    fields.required("partitions", binder.report);
    let partitions = fields.number("partitions", 1..=MAX_PARTITIONS, binder.report);
    let partitions = partitions.and_then(|partitions| u32::try_from(partitions).ok());
    let keys = if fields.has("key") {
        keyed::keys(binder, fields, "key", input)
    } else {
        Some(Vec::new())
    };
    let (partitions, keys, input) = (partitions?, keys?, input?);
    let keys = keys.into_iter().map(|(_, key)| key).collect();
    // One partition has the rows as they come.
    let order = if partitions == 1 { input.order.clone() } else { Order::None };
    Some(same_rows(binder, vertex, input, Op::Repartition { keys, partitions }, order))
}

pub(super) fn cache(
    binder: &mut Binder<'_, '_>,
    vertex: &Vertex<'_>,
    input: Option<&Bound>,
) -> Option<Bound> {
    let input = input?;
    Some(same_rows(binder, vertex, input, Op::Cache, input.order.clone()))
}

/// A node with the columns of its input.
pub(super) fn same_rows(
    binder: &mut Binder<'_, '_>,
    vertex: &Vertex<'_>,
    input: &Bound,
    op: Op,
    order: Order,
) -> Bound {
    let bound = binder.push(vertex.id, op, &[input], Arc::clone(&input.schema), order);
    Bound { is_tokens: input.is_tokens, ..bound }
}

/// The columns of `columns` as rows of `name_as` and `value_as`, the others beside them.
pub(super) fn unpivot(
    binder: &mut Binder<'_, '_>,
    vertex: &Vertex<'_>,
    input: Option<&Bound>,
) -> Option<Bound> {
    let fields = &vertex.fields;
    fields.required("columns", binder.report);
    let texts = fields.texts("columns", binder.report);
    let name_as = fields.text("name_as", binder.report);
    let name_as = if fields.has("name_as") { name_as } else { Some("name") };
    let value_as = fields.text("value_as", binder.report);
    let value_as = if fields.has("value_as") { value_as } else { Some("value") };
    let (texts, input) = (texts?, input?);
    let mut columns: Vec<usize> = Vec::new();
    let mut common: Option<DataType> = None;
    let mut is_right = true;
    for (name, pointer) in texts {
        let Some(column) = column_index(binder, name, &pointer, &input.schema) else {
            is_right = false;
            continue;
        };
        if columns.contains(&column) {
            let message = format!("`{name}` stands twice");
            binder.report.problem(pointer, ProblemCode::BadValue, message);
            is_right = false;
            continue;
        }
        columns.push(column);
        let data_type = input.schema.field(column).data_type();
        let so_far = common.as_ref().unwrap_or(data_type);
        if let Some(wider) = parse::unified(so_far, data_type) {
            common = Some(wider);
        } else {
            let message = format!(
                "`{name}` is {} and the columns before it are {}; cast them to one type",
                parse::type_name(data_type),
                parse::type_name(so_far)
            );
            binder.report.problem(pointer, ProblemCode::TypeMismatch, message);
            is_right = false;
        }
    }
    let (name_as, value_as, common) = (name_as?, value_as?, common.filter(|_| is_right)?);
    let value = |column: &usize| {
        let name = input.schema.field(*column).name().clone();
        let value = parse::coerced(parse::column(&input.schema, *column), &common)?;
        Some((name, value))
    };
    let values: Vec<_> = columns.iter().map(value).collect::<Option<_>>()?;
    let keep: Vec<usize> =
        (0..input.schema.fields().len()).filter(|column| !columns.contains(column)).collect();
    let mut out: Vec<_> = keep.iter().map(|column| input.schema.field(*column).clone()).collect();
    out.push(Field::new(name_as, DataType::Utf8View, true));
    out.push(Field::new(value_as, common, true));
    let schema = Arc::new(Schema::new(out));
    if !binder.check_columns(&schema, &fields.at("columns")) {
        return None;
    }
    let order = if input.order == Order::None { Order::None } else { Order::Source };
    Some(binder.push(vertex.id, Op::Unpivot { keep, values }, &[input], schema, order))
}

/// The place of a column; one that is not there is a problem.
pub(super) fn column_index(
    binder: &mut Binder<'_, '_>,
    name: &str,
    pointer: &str,
    schema: &Schema,
) -> Option<usize> {
    let found = schema.index_of(name).ok();
    if found.is_none() {
        let (message, suggestion) = parse::no_column(name, schema);
        binder.report.suggest(pointer, ProblemCode::UnknownColumn, message, suggestion);
    }
    found
}

/// `explode`, `split` and `lines` of `flat_map`.
pub(super) fn take_apart(
    binder: &mut Binder<'_, '_>,
    vertex: &Vertex<'_>,
    form: &str,
    input: Option<&Bound>,
) -> Option<Bound> {
    let fields = &vertex.fields;
    let outer = fields.flag("outer", binder.report);
    let outer = if fields.has("outer") { outer } else { Some(false) };
    let by = separator(binder, fields, form);
    let name = fields.text("as", binder.report);
    let column = fields.text("column", binder.report);
    let (input, by, outer) = (input?, by?, outer?);
    let wants_list = form == "explode";
    let does = |data_type: &DataType| match data_type {
        DataType::List(_) => wants_list,
        DataType::Utf8View => !wants_list,
        _ => false,
    };
    let what = if wants_list { "list" } else { "string" };
    let column = if fields.has("column") {
        let column = column_index(binder, column?, &fields.at("column"), &input.schema)?;
        let field = input.schema.field(column);
        if !does(field.data_type()) {
            let found = parse::type_name(field.data_type());
            let message = format!("`{}` is {found}, not a {what}", field.name());
            binder.report.problem(fields.at("column"), ProblemCode::TypeMismatch, message);
            return None;
        }
        column
    } else {
        let all = input.schema.fields().iter().enumerate();
        let found: Vec<_> =
            all.filter(|(_, field)| does(field.data_type())).map(|(index, _)| index).collect();
        let [only] = found[..] else {
            let (code, count) = match found.len() {
                0 => (ProblemCode::TypeMismatch, "none"),
                _ => (ProblemCode::AmbiguousColumn, "several"),
            };
            let message = format!(
                "`{form}` takes the only {what} column, and there are {count}; say `column`; {}",
                names(&input.schema)
            );
            binder.report.problem(fields.at("column"), code, message);
            return None;
        };
        only
    };
    let field = input.schema.field(column);
    let name = if fields.has("as") { name? } else { field.name().as_str() };
    let data_type = match field.data_type() {
        DataType::List(element) => element.data_type().clone(),
        other => other.clone(),
    };
    let mut out: Vec<_> = input.schema.fields().iter().map(|own| own.as_ref().clone()).collect();
    out[column] = Field::new(name, data_type, true);
    let schema = Arc::new(Schema::new(out));
    if !binder.check_columns(&schema, &fields.at("as")) {
        return None;
    }
    let order = match &input.order {
        Order::Sorted(keys) if keys.iter().any(|key| key.column == column) => Order::Source,
        other => other.clone(),
    };
    let op = match by {
        None => Op::Explode { column, outer },
        Some(by) => Op::Split { column, by, outer },
    };
    Some(binder.push(vertex.id, op, &[input], schema, order))
}

/// Where a text is cut; `Some(None)` where a list is taken apart.
#[expect(clippy::option_option, reason = "a problem, or no separator: both are no value")]
fn separator(
    binder: &mut Binder<'_, '_>,
    fields: &Fields<'_>,
    form: &str,
) -> Option<Option<Separator>> {
    if form != "split" {
        if fields.has("by") {
            let message = format!("`by` applies to split, not to {form}");
            binder.report.problem(fields.at("by"), ProblemCode::NotApplicable, message);
            return None;
        }
        return Some((form == "lines").then_some(Separator::Lines));
    }
    if !fields.has("by") {
        return Some(Some(Separator::Text(String::from(","))));
    }
    let by = fields.text("by", binder.report)?;
    if by.is_empty() {
        let message = "a separator has at least one character";
        binder.report.problem(fields.at("by"), ProblemCode::BadValue, message);
        return None;
    }
    Some(Some(Separator::Text(String::from(by))))
}
