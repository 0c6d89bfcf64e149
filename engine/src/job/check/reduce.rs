//! `reduce_by_key`, `aggregate`, `distinct` and `pivot`: keys, aggregates, and the columns that come
//! out.

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
    expr::{Aggregate, AggregateFunction, Expr, aggregate, function::Function, parse},
    kernels::hash::is_key,
    plan::{Op, Order},
};

pub(super) fn reduce_by_key(
    binder: &mut Binder<'_, '_>,
    vertex: &Vertex<'_>,
    input: Option<&Bound>,
) -> Option<Bound> {
    let fields = &vertex.fields;
    let keys = if fields.has("key") { Some(keys(binder, fields, "key", input)) } else { None };
    let aggregates = if binder.one_of(fields, &["fn", "aggs"])? == "aggs" {
        if keys.is_none() {
            let message = "`key` is missing; `aggs` reduces the rows of each key";
            binder.report.problem(fields.at("key"), ProblemCode::MissingField, message);
        }
        aggregates(binder, fields, input)
    } else {
        let function = binder.form(fields, "reduce_by_key").and_then(aggregate::find);
        let function = function.map(|definition| definition.function);
        let (function, input) = (function?, input?);
        let aggregate = match &keys {
            None => keyless_value(binder, fields, function, input),
            Some(keys) => value(binder, fields, function, keys.as_ref()?, input),
        };
        aggregate.map(|aggregate| vec![(String::from("value"), aggregate)])
    };
    let (aggregates, input) = (aggregates?, input?);
    let keys = match keys {
        Some(keys) => keys?,
        None if input.is_tokens => vec![(String::from("key"), parse::column(&input.schema, 0))],
        None => vec![(String::from("key"), of_line(Function::FIRST_FIELD, input))],
    };
    let pointer = if fields.has("aggs") { fields.at("aggs") } else { fields.at("key") };
    push(binder, vertex, input, Groups { keys, aggregates }, &pointer)
}

/// `aggregate`: all rows as one.
pub(super) fn aggregate(
    binder: &mut Binder<'_, '_>,
    vertex: &Vertex<'_>,
    input: Option<&Bound>,
) -> Option<Bound> {
    let fields = &vertex.fields;
    fields.required("aggs", binder.report)?;
    let aggregates = aggregates(binder, fields, input)?;
    let groups = Groups { keys: Vec::new(), aggregates };
    push(binder, vertex, input?, groups, &fields.at("aggs"))
}

/// `distinct`: each row once, or the first row of each key.
pub(super) fn distinct(
    binder: &mut Binder<'_, '_>,
    vertex: &Vertex<'_>,
    input: Option<&Bound>,
) -> Option<Bound> {
    let fields = &vertex.fields;
    if fields.has("key") {
        let keys = keys(binder, fields, "key", input);
        return first_of_each(binder, vertex, keys?, input?);
    }
    let input = input?;
    let mut is_right = true;
    for field in input.schema.fields().iter().filter(|field| !is_key(field.data_type())) {
        let type_name = parse::type_name(field.data_type());
        let message = format!(
            "`{}` is {type_name}, whose values can't be told apart; say `key`",
            field.name()
        );
        binder.report.problem(fields.pointer(), ProblemCode::TypeMismatch, message);
        is_right = false;
    }
    if !is_right {
        return None;
    }
    let groups = Groups { keys: all_columns(&input.schema), aggregates: Vec::new() };
    let bound = push(binder, vertex, input, groups, fields.pointer())?;
    Some(Bound { is_tokens: input.is_tokens, ..bound })
}

/// Keys and, by a step of its own, the other columns of the first row; then all in their places.
fn first_of_each(
    binder: &mut Binder<'_, '_>,
    vertex: &Vertex<'_>,
    keys: Vec<Key>,
    input: &Bound,
) -> Option<Bound> {
    let columns = all_columns(&input.schema);
    let key_of = |index: usize| {
        let is_it = |key: &Key| matches!(&key.1, Expr::Column { index: at, .. } if *at == index);
        keys.iter().position(is_it)
    };
    let (mut places, mut others) = (Vec::new(), Vec::new());
    for (index, (_, column)) in columns.iter().enumerate() {
        places.push(key_of(index).unwrap_or_else(|| {
            others.push(column.clone());
            keys.len() + others.len() - 1
        }));
    }
    let fields = keys.iter().map(|(_, key)| key).chain(&others).enumerate();
    let fields = fields.map(|(index, of)| Field::new(format!("c{index}"), of.data_type(), true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let keys = keys.into_iter().map(|(_, key)| key).collect();
    let mut aggregates = Vec::new();
    if !others.is_empty() {
        let first = Aggregate::new(AggregateFunction::FirstRow, others);
        let refused = |message| {
            binder.report.problem(vertex.fields.pointer(), ProblemCode::TypeMismatch, message);
        };
        aggregates.push(first.map_err(refused).ok()?);
    }
    let op = Op::Reduce { keys, aggregates };
    let first = format!("{}.first", vertex.id);
    let first = binder.push(first, op, &[input], Arc::clone(&schema), Order::None);
    let columns = places.iter().map(|place| parse::column(&schema, *place)).collect();
    let (op, schema) = (Op::Map { columns }, Arc::clone(&input.schema));
    let bound = binder.push(vertex.id, op, &[&first], schema, Order::None);
    Some(Bound { is_tokens: input.is_tokens, ..bound })
}

/// `pivot`: a column for each of some values, which aggregates the rows that have it.
pub(super) fn pivot(
    binder: &mut Binder<'_, '_>,
    vertex: &Vertex<'_>,
    input: Option<&Bound>,
) -> Option<Bound> {
    let fields = &vertex.fields;
    let keys =
        if fields.has("key") { keys(binder, fields, "key", input) } else { Some(Vec::new()) };
    let aggregate = pivoted(binder, fields, input);
    fields.required("column", binder.report);
    let column = fields.text("column", binder.report);
    fields.required("columns", binder.report);
    let values = fields.texts("columns", binder.report);
    let (keys, aggregate, column, input) = (keys?, aggregate?, column?, input?);
    let mut aggregates = Vec::new();
    for (value, pointer) in values? {
        let filter = is_value(binder, &fields.at("column"), column, input)
            .and_then(|of| equal(binder, &pointer, &of, value, input));
        let aggregate = Aggregate { filter: Some(filter?), ..aggregate.clone() };
        aggregates.push((String::from(value), aggregate));
    }
    push(binder, vertex, input, Groups { keys, aggregates }, &fields.at("columns"))
}

/// The aggregate of `fn` over `value`.
fn pivoted(
    binder: &mut Binder<'_, '_>,
    fields: &Fields<'_>,
    input: Option<&Bound>,
) -> Option<Aggregate> {
    fields.required("fn", binder.report)?;
    let name = fields.text("fn", binder.report)?;
    let Some(definition) = aggregate::find(name) else {
        let names: Vec<_> = aggregate::AGGREGATES.iter().map(|known| known.name).collect();
        let message = format!("no aggregate `{name}`; there are {}", names.join(", "));
        let suggestion = parse::nearest(name, names);
        let code = ProblemCode::UnknownFunction;
        binder.report.suggest(fields.at("fn"), code, message, suggestion);
        return None;
    };
    let mut arguments = Vec::new();
    if fields.has("value") {
        let text = fields.text("value", binder.report)?;
        arguments.push(binder.parsed(text, &fields.at("value"), input, parse::expression)?);
    } else if definition.name != "count" {
        fields.required("value", binder.report)?;
    }
    let mut refused = |message| {
        binder.report.problem(fields.at("fn"), ProblemCode::TypeMismatch, message);
    };
    if definition.name == "count_if" {
        refused(String::from("`count_if` is no function of a pivot; count what a filter keeps"));
        return None;
    }
    let aggregate = Aggregate::new(definition.function, arguments).map_err(refused).ok()?;
    Some(Aggregate { distinct: definition.name == "count_distinct", ..aggregate })
}

/// The column whose values become columns.
fn is_value(
    binder: &mut Binder<'_, '_>,
    pointer: &str,
    column: &str,
    input: &Bound,
) -> Option<Expr> {
    let Ok(index) = input.schema.index_of(column) else {
        let (message, suggestion) = parse::no_column(column, &input.schema);
        binder.report.suggest(pointer, ProblemCode::UnknownColumn, message, suggestion);
        return None;
    };
    Some(parse::column(&input.schema, index))
}

/// That a column has a value, which stands as text.
fn equal(
    binder: &mut Binder<'_, '_>,
    pointer: &str,
    column: &Expr,
    value: &str,
    input: &Bound,
) -> Option<Expr> {
    let Expr::Column { name, data_type, .. } = column else { return None };
    let name = name.replace('"', "\"\"");
    let literal = format!("'{}'", value.replace('\'', "''"));
    let text = if *data_type == DataType::Utf8View {
        format!("\"{name}\" = {literal}")
    } else {
        format!("\"{name}\" = cast({literal} as {})", parse::type_name(data_type))
    };
    match parse::predicate(&text, &input.schema) {
        Ok(predicate) => Some(predicate.0),
        Err(refusal) => {
            let of = parse::type_name(data_type);
            let message = format!("'{value}' is no value of `{name}`, {of}: {}", refusal.message);
            binder.report.problem(pointer, ProblemCode::TypeMismatch, message);
            None
        }
    }
}

/// What a node's groups consist of, by the names of its columns.
struct Groups {
    keys: Vec<Key>,
    aggregates: Vec<(String, Aggregate)>,
}

fn push(
    binder: &mut Binder<'_, '_>,
    vertex: &Vertex<'_>,
    input: &Bound,
    groups: Groups,
    pointer: &str,
) -> Option<Bound> {
    let Groups { keys, aggregates } = groups;
    let key_fields = keys.iter().map(|(name, key)| Field::new(name, key.data_type(), true));
    let value_fields =
        aggregates.iter().map(|(name, a)| Field::new(name, a.data_type.clone(), true));
    let schema = Arc::new(Schema::new(key_fields.chain(value_fields).collect::<Vec<_>>()));
    if !binder.check_columns(&schema, pointer) {
        return None;
    }
    let keys = keys.into_iter().map(|(_, key)| key).collect();
    let aggregates = aggregates.into_iter().map(|(_, aggregate)| aggregate).collect();
    let op = Op::Reduce { keys, aggregates };
    Some(binder.push(vertex.id, op, &[input], schema, Order::None))
}

fn aggregates(
    binder: &mut Binder<'_, '_>,
    fields: &Fields<'_>,
    input: Option<&Bound>,
) -> Option<Vec<(String, Aggregate)>> {
    let members = Fields::open(fields.get("aggs")?, &fields.at("aggs"), binder.report)?;
    if members.members().is_empty() {
        let message = "at least one aggregate must be named";
        binder.report.problem(members.pointer(), ProblemCode::BadValue, message);
        return None;
    }
    let mut aggregates = Vec::new();
    for (name, pointer, text) in members.named_texts(binder.report) {
        let aggregate =
            text.and_then(|text| binder.parsed(text, &pointer, input, aggregate::parse));
        aggregates.push(aggregate.map(|aggregate| (String::from(name), aggregate)));
    }
    aggregates.into_iter().collect()
}

/// The value of the form without key: of tokens their count, of lines what follows the first comma.
fn keyless_value(
    binder: &mut Binder<'_, '_>,
    fields: &Fields<'_>,
    function: AggregateFunction,
    input: &Bound,
) -> Option<Aggregate> {
    if !is_text(input) {
        let message = format!(
            "`key` is missing; without it a single string column is reduced, and {}",
            names(&input.schema)
        );
        binder.report.problem(fields.at("key"), ProblemCode::MissingField, message);
        return None;
    }
    if input.is_tokens {
        return count_of_tokens(binder, fields, function);
    }
    let argument = match function {
        AggregateFunction::Count => None,
        _ => Some(of_line(Function::NUMBER_OF_LINE, input)),
    };
    aggregate_of(binder, fields, function, argument)
}

/// Rows that are only keys are counted.
fn count_of_tokens(
    binder: &mut Binder<'_, '_>,
    fields: &Fields<'_>,
    function: AggregateFunction,
) -> Option<Aggregate> {
    match function {
        AggregateFunction::Sum | AggregateFunction::Count => {
            aggregate_of(binder, fields, AggregateFunction::Count, None)
        }
        _ => {
            let message = "there is no column beside the key; `sum` and `count` count the rows";
            binder.report.problem(fields.at("fn"), ProblemCode::TypeMismatch, message);
            None
        }
    }
}

fn aggregate_of(
    binder: &mut Binder<'_, '_>,
    fields: &Fields<'_>,
    function: AggregateFunction,
    argument: Option<Expr>,
) -> Option<Aggregate> {
    let aggregate = Aggregate::new(function, argument.into_iter().collect());
    let refused =
        |message| binder.report.problem(fields.at("fn"), ProblemCode::TypeMismatch, message);
    aggregate.map_err(refused).ok()
}

/// The value of the form with key: the only column that no key reads.
fn value(
    binder: &mut Binder<'_, '_>,
    fields: &Fields<'_>,
    function: AggregateFunction,
    keys: &[Key],
    input: &Bound,
) -> Option<Aggregate> {
    let others: Vec<_> = all_columns(&input.schema)
        .into_iter()
        .enumerate()
        .filter(|(index, _)| !keys.iter().any(|(_, key)| key.reads(*index)))
        .map(|(_, (_, column))| column)
        .collect();
    match <[Expr; 1]>::try_from(others) {
        Ok([column]) => aggregate_of(binder, fields, function, Some(column)),
        Err(others) if others.is_empty() => count_of_tokens(binder, fields, function),
        Err(_) => {
            let message = format!(
                "`fn` reduces the only column beside the key, and {}; say `aggs`",
                names(&input.schema)
            );
            binder.report.problem(fields.at("fn"), ProblemCode::AmbiguousColumn, message);
            None
        }
    }
}
