//! `reduce_by_key`: its keys, its aggregates, and the columns that come out.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema};

use super::{
    ProblemCode,
    fields::Fields,
    graph::Vertex,
    keyed::{Key, is_text, keys, of_line},
    nodes::{Binder, Bound, all_columns, names},
};
use crate::{
    expr::{Aggregate, AggregateFunction, Expr, aggregate, function::Function, parse},
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
    let key_fields = keys.iter().map(|(name, key)| Field::new(name, key.data_type(), true));
    let value_fields =
        aggregates.iter().map(|(name, a)| Field::new(name, a.data_type.clone(), true));
    let schema = Arc::new(Schema::new(key_fields.chain(value_fields).collect::<Vec<_>>()));
    let pointer = if fields.has("aggs") { fields.at("aggs") } else { fields.at("key") };
    if !binder.check_columns(&schema, &pointer) {
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
