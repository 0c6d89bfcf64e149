//! Nodes and steps in a line of words.

use arrow::datatypes::Schema;

use crate::{
    expr::{Aggregate, Expr, SortKey},
    formats::{Format, WriteFormat},
    plan::{
        JoinKind, Node, Op, Plan, Read, Separator, Share, Stage, Step, StepIndex, StepKind,
        filtered::{Filtered, filtered_sources},
    },
};

/// What a node does, in full.
pub fn detail(plan: &Plan, node: &Node) -> String {
    let input = node.inputs.first().map(|input| &plan.nodes[input.index()].schema);
    match &node.op {
        Op::Read(read) => files(read),
        Op::Map { columns } => columns_of(&node.schema, columns),
        Op::Sleep { row_ms } => format!("{row_ms} ms a row"),
        Op::Filter { predicate } => predicate.0.to_string(),
        Op::Tokenize { columns } => {
            format!("tokens of {}", names(columns, input.map(AsRef::as_ref)))
        }
        Op::Reduce { keys, aggregates } => {
            let aggregates = aggregates_of(&node.schema, keys.len(), aggregates);
            match (keys.is_empty(), aggregates.is_empty()) {
                (true, _) => aggregates,
                (false, true) => format!("distinct {}", exprs(keys)),
                (false, false) => format!("by {}: {aggregates}", exprs(keys)),
            }
        }
        Op::Join { how, left_keys, right_keys, null_safe, on, .. } => {
            let mut words = vec![String::from(kind(*how))];
            if !left_keys.is_empty() {
                let equal = if *null_safe { "is not distinct from" } else { "=" };
                let pairs = left_keys.iter().zip(right_keys);
                let pairs: Vec<_> =
                    pairs.map(|(left, right)| format!("{left} {equal} {right}")).collect();
                words.push(format!("on {}", pairs.join(" and ")));
            }
            if let Some(on) = on {
                words.push(format!("where {}", on.0));
            }
            words.join(" ")
        }
        Op::Union => format!("{} inputs", node.inputs.len()),
        Op::Explode { column, outer } => {
            let outer = if *outer { ", empty ones kept" } else { "" };
            format!("elements of {}{outer}", node.schema.field(*column).name())
        }
        Op::Split { column, by, outer } => {
            let by = match by {
                Separator::Text(text) => format!("parts between {text:?}"),
                Separator::Lines => String::from("lines"),
            };
            let outer = if *outer { ", empty ones kept" } else { "" };
            format!("{by} of {}{outer}", node.schema.field(*column).name())
        }
        Op::Unpivot { values, .. } => {
            let names: Vec<_> = values.iter().map(|(name, _)| name.as_str()).collect();
            format!("a row for each of {}", names.join(", "))
        }
        Op::Sample { threshold, seed } => {
            format!("{threshold} of 4294967296 by the rows' hash, seed {seed}")
        }
        Op::Repartition { keys, partitions } if keys.is_empty() => {
            format!("into {partitions}, by turns")
        }
        Op::Repartition { keys, partitions } => {
            format!("into {partitions}, by hash of {}", exprs(keys))
        }
        Op::Cache => String::from("kept"),
        Op::Expect { checks, offences, .. } => {
            let checks = checks.iter().map(|check| check.text.as_str());
            checks.chain(offences.iter().map(String::as_str)).collect::<Vec<_>>().join("; ")
        }
        Op::Sort { keys, limit } => {
            let keys = sort_keys(keys, &node.schema);
            limit.map_or_else(|| keys.clone(), |limit| format!("the first {limit} by {keys}"))
        }
        Op::Limit { offset: 0, n } => format!("the first {n}"),
        Op::Limit { offset, n } => format!("{n} behind the first {offset}"),
        Op::Window { partition_by, order_by, functions } => {
            let width = node.schema.fields().len() - functions.len();
            let added: Vec<_> =
                node.schema.fields()[width..].iter().map(|field| field.name().as_str()).collect();
            let mut words = vec![added.join(", ")];
            if !partition_by.is_empty() {
                words.push(format!("by {}", names(partition_by, Some(&node.schema))));
            }
            if !order_by.is_empty() {
                words.push(format!("in order of {}", sort_keys(order_by, &node.schema)));
            }
            words.join(" ")
        }
        Op::Write(write) => format!("{} into {}", written(&write.format), write.path.display()),
    }
}

/// Which sources' rows the keys of a step's build side filter.
fn filtered(step: &Step, stage: &Stage) -> String {
    let own = stage.steps.iter().position(|other| std::ptr::eq(other, step));
    let filtered = own.map(|own| filtered_sources(&stage.steps, StepIndex(own)));
    let filtered = filtered.iter().flatten().map(|Filtered { source, column, .. }| {
        let name = stage.steps[source.0].schema.field(*column).name();
        format!("{name} of step {}", source.0)
    });
    let filtered: Vec<String> = filtered.collect();
    if filtered.is_empty() {
        return String::new();
    }
    format!(", whose keys filter {}", filtered.join(" and "))
}

/// What a step of a stage does.
pub(super) fn step(step: &Step, stage: &Stage) -> String {
    let below = |index: StepIndex| &stage.steps[index.0].schema;
    match &step.kind {
        StepKind::Source { format, .. } => format!("read {}", format_name(format)),
        StepKind::Read { stage: from, share } => match share {
            Share::Bucket => format!("read its bucket of stage {from}"),
            Share::Partition => format!("read its partition of stage {from}"),
            Share::Section { .. } => format!("read a partition of stage {from}"),
            Share::Neighbours { .. } => format!("read neighbours of stage {from}"),
            Share::All | Share::Buckets { .. } => format!("read all of stage {from}"),
            Share::Merged { keys } => {
                format!("merge stage {from} by {}", sort_keys(keys, &step.schema))
            }
        },
        StepKind::Map { columns, .. } => format!("map {}", columns_of(&step.schema, columns)),
        StepKind::Sleep { row_ms, .. } => format!("sleep {row_ms} ms a row"),
        StepKind::Filter { predicate, .. } => format!("filter {}", predicate.0),
        StepKind::Tokenize { input, columns, lower } => {
            let case = if *lower { ", in lower case" } else { "" };
            format!("tokenize {}{case}", names(columns, Some(below(*input))))
        }
        StepKind::Hash { keys, .. } => format!("hash {}", exprs(keys)),
        StepKind::PartialReduce { keys, .. } => format!("partial aggregate by {}", exprs(keys)),
        StepKind::FinalReduce { .. } => String::from("final aggregate"),
        StepKind::Join { probe_keys, build, .. } if probe_keys.is_empty() => {
            format!("nested loop join, step {} held", build.0)
        }
        StepKind::Join { probe_keys, build, .. } => {
            let (on, filtered) = (exprs(probe_keys), filtered(step, stage));
            format!("hash join on {on}, step {} in the table{filtered}", build.0)
        }
        StepKind::KeyFilter { build, .. } => {
            format!("Bloom filter by the hashes of step {}{}", build.0, filtered(step, stage))
        }
        StepKind::Union { .. } => String::from("union"),
        StepKind::Explode { column, .. } => {
            format!("explode {}", step.schema.field(*column).name())
        }
        StepKind::Split { column, .. } => format!("split {}", step.schema.field(*column).name()),
        StepKind::Unpivot { values, .. } => {
            let names: Vec<_> = values.iter().map(|(name, _)| name.as_str()).collect();
            format!("unpivot {}", names.join(", "))
        }
        StepKind::Sample { threshold, .. } => format!("sample {threshold} of 4294967296"),
        StepKind::Spread { buckets, .. } => format!("deal to {buckets} buckets by turns"),
        StepKind::SampleKeys { input, keys, rows, .. } => {
            format!("sample at most {rows} keys of {}", sort_keys(keys, below(*input)))
        }
        StepKind::Range { keys, buckets, .. } => {
            format!("find one of {buckets} ranges of {}", sort_keys(keys, &step.schema))
        }
        StepKind::Expect { checks, offences, .. } => {
            let checks = checks.iter().map(|check| check.text.as_str());
            let offences = offences.iter().map(|(_, text)| text.as_str());
            format!("expect {}", checks.chain(offences).collect::<Vec<_>>().join("; "))
        }
        StepKind::Sort { keys, limit, .. } => {
            let keys = sort_keys(keys, &step.schema);
            limit.map_or_else(
                || format!("sort by {keys}"),
                |limit| format!("first {limit} by {keys}"),
            )
        }
        StepKind::Window { .. } => String::from("window"),
        StepKind::FirstRows { key, rank, .. } => {
            let key = sort_keys(std::slice::from_ref(key), &step.schema);
            format!("drop rows behind {rank} better ones by {key}")
        }
        StepKind::Limit { offset, n, .. } => format!("limit {n} offset {offset}"),
    }
}

fn files(read: &Read) -> String {
    let first = read.files.first().map(|file| file.path.display().to_string());
    let format = format_name(&read.format);
    match (first, read.files.len()) {
        (None, _) => format!("{format}, no file"),
        (Some(first), 1) => format!("{format} {first}"),
        (Some(first), count) => format!("{format} {first} and {} more", count - 1),
    }
}

fn format_name(format: &Format) -> &'static str {
    match format {
        Format::Text(_) => "text",
        Format::Csv(_) => "csv",
        Format::Jsonl(_) => "jsonl",
        Format::Parquet => "parquet",
        Format::Arrow => "arrow",
    }
}

fn written(format: &WriteFormat) -> &'static str {
    match format {
        WriteFormat::Text => "text",
        WriteFormat::Csv(_) => "csv",
        WriteFormat::Jsonl => "jsonl",
        WriteFormat::Arrow | WriteFormat::ArrowStream => "arrow",
        WriteFormat::Parquet => "parquet",
    }
}

fn kind(how: JoinKind) -> &'static str {
    match how {
        JoinKind::Inner => "inner",
        JoinKind::Left => "left",
        JoinKind::Right => "right",
        JoinKind::Full => "full",
        JoinKind::Semi => "semi",
        JoinKind::Anti { null_aware: false } => "anti",
        JoinKind::Anti { null_aware: true } => "anti (not in)",
        JoinKind::Cross => "cross",
    }
}

/// `name = expr` for each column; the name alone where it is the input's column of that name.
fn columns_of(schema: &Schema, columns: &[Expr]) -> String {
    let column = |(field, expr): (&arrow::datatypes::FieldRef, &Expr)| match expr {
        Expr::Column { name, .. } if name == field.name() => name.clone(),
        other => format!("{} = {other}", field.name()),
    };
    schema.fields().iter().zip(columns).map(column).collect::<Vec<_>>().join(", ")
}

fn aggregates_of(schema: &Schema, keys: usize, aggregates: &[Aggregate]) -> String {
    let fields = schema.fields().iter().skip(keys);
    let named = fields.zip(aggregates).map(|(field, call)| format!("{} = {call}", field.name()));
    named.collect::<Vec<_>>().join(", ")
}

fn exprs(exprs: &[Expr]) -> String {
    exprs.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn names(columns: &[usize], schema: Option<&Schema>) -> String {
    let name = |column: &usize| {
        schema.map_or_else(|| column.to_string(), |schema| schema.field(*column).name().clone())
    };
    columns.iter().map(name).collect::<Vec<_>>().join(", ")
}

/// `a, b desc nulls first`.
pub(super) fn sort_keys(keys: &[SortKey], schema: &Schema) -> String {
    let key = |key: &SortKey| {
        let mut text = schema.field(key.column).name().clone();
        if key.descending {
            text.push_str(" desc");
        }
        if key.nulls_first {
            text.push_str(" nulls first");
        }
        text
    };
    keys.iter().map(key).collect::<Vec<_>>().join(", ")
}
