//! Estimates: how many rows and bytes a node may give, from file sizes and rules of thumb.
//!
//! They are for people and for choices that no result depends on. The selectivities are those that
//! System R began with (Selinger et al., "Access Path Selection", SIGMOD 1979), a little rounder.

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use serde::{Deserialize, Serialize};

use crate::{
    disk::Disk,
    expr::{BinaryOp, Expr, Literal},
    plan::{JoinKind, Node, Op, Read},
};

/// How much of a file is looked at, in bytes.
const SAMPLE_BYTES: usize = 64 << 10;

/// What a node may give.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Estimate {
    /// Rows.
    pub rows: u64,
    /// Bytes of their values in memory.
    pub bytes: u64,
}

/// An estimate for each of a plan's nodes, which stand behind their inputs.
pub fn of(nodes: &[Node], disk: &Arc<dyn Disk>) -> Vec<Estimate> {
    let mut estimates: Vec<Estimate> = Vec::with_capacity(nodes.len());
    for node in nodes {
        let inputs: Vec<Estimate> =
            node.inputs.iter().map(|input| estimates[input.index()]).collect();
        let rows = rows(&node.op, &inputs, disk);
        let bytes = rows.saturating_mul(row_bytes(&node.schema));
        estimates.push(Estimate { rows, bytes });
    }
    estimates
}

fn rows(op: &Op, inputs: &[Estimate], disk: &Arc<dyn Disk>) -> u64 {
    let first = inputs.first().map_or(0, |input| input.rows);
    let second = inputs.get(1).map_or(0, |input| input.rows);
    match op {
        Op::Read(read) => rows_of_files(read, disk),
        Op::Map { .. }
        | Op::Sleep { .. }
        | Op::Repartition { .. }
        | Op::Cache
        | Op::Expect { .. }
        | Op::Window { .. }
        | Op::Write(_) => first,
        Op::Filter { predicate } => part(first, selectivity(&predicate.0)),
        Op::Tokenize { columns } => first.saturating_mul(8 * columns.len().max(1) as u64),
        Op::Explode { .. } | Op::Split { .. } => first.saturating_mul(4),
        Op::Unpivot { values, .. } => first.saturating_mul(values.len() as u64),
        Op::Reduce { keys, .. } if keys.is_empty() => 1,
        Op::Reduce { .. } => groups(first),
        Op::Join { how, left_keys, on, .. } => {
            let pairs =
                if left_keys.is_empty() { first.saturating_mul(second) } else { first.max(second) };
            let pairs = on.as_ref().map_or(pairs, |on| part(pairs, selectivity(&on.0)));
            match how {
                JoinKind::Inner | JoinKind::Cross => pairs,
                JoinKind::Left => pairs.max(first),
                JoinKind::Right => pairs.max(second),
                JoinKind::Full => pairs.max(first).max(second),
                JoinKind::Semi | JoinKind::Anti { .. } => part(first, 0.5),
            }
        }
        Op::Union => inputs.iter().map(|input| input.rows).fold(0, u64::saturating_add),
        Op::Sample { threshold, .. } => part(first, lossy(*threshold) / 4_294_967_296.0),
        Op::Sort { limit, .. } => limit.map_or(first, |limit| limit.min(first)),
        Op::Limit { offset, n } => first.saturating_sub(*offset).min(*n),
    }
}

/// Groups of so many rows: fewer and fewer of them are new.
fn groups(rows: u64) -> u64 {
    part(rows, lossy(rows.max(1)).powf(-0.2)).max(u64::from(rows > 0))
}

fn part(rows: u64, of: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an estimate; `as` saturates, and the factor is not negative"
    )]
    let part = (lossy(rows) * of).ceil() as u64;
    part
}

#[expect(clippy::cast_precision_loss, reason = "an estimate")]
fn lossy(rows: u64) -> f64 {
    rows as f64
}

/// Which part of the rows a condition may keep.
fn selectivity(condition: &Expr) -> f64 {
    match condition {
        Expr::Literal(Literal::Bool(true)) => 1.0,
        Expr::Literal(_) => 0.0,
        Expr::Binary { op, left, right, .. } => match op {
            BinaryOp::And => selectivity(left) * selectivity(right),
            BinaryOp::Or => {
                let (left, right) = (selectivity(left), selectivity(right));
                left + right - left * right
            }
            BinaryOp::Equal => 0.1,
            BinaryOp::NotEqual => 0.9,
            _ => 0.3,
        },
        Expr::Not(input) => 1.0 - selectivity(input),
        Expr::IsNull { negated, .. } => {
            if *negated {
                0.9
            } else {
                0.1
            }
        }
        _ => 0.25,
    }
}

/// What a row takes in memory, in bytes.
pub(crate) fn row_bytes(schema: &Schema) -> u64 {
    schema.fields().iter().map(|field| value_bytes(field.data_type())).sum::<u64>().max(1)
}

fn value_bytes(data_type: &DataType) -> u64 {
    match data_type {
        DataType::Null | DataType::Boolean => 1,
        DataType::Utf8View | DataType::BinaryView => 24,
        DataType::List(item) => 4 + 4 * value_bytes(item.data_type()),
        DataType::Struct(fields) => fields.iter().map(|f| value_bytes(f.data_type())).sum(),
        other => other.primitive_width().unwrap_or(16) as u64,
    }
}

/// The rows of a reader's files: known, or by how often a line ends in the first file's beginning.
fn rows_of_files(read: &Read, disk: &Arc<dyn Disk>) -> u64 {
    if let Some(rows) = read.estimated_rows() {
        return rows;
    }
    let bytes: u64 = read.files.iter().map(|file| file.size_bytes).sum();
    let Some(first) = read.files.iter().find(|file| file.size_bytes > 0) else { return 0 };
    let mut sample = vec![0; SAMPLE_BYTES];
    let got = disk.open(&first.path).and_then(|file| file.read_at(&mut sample, 0));
    // What can't be read will be said by who must.
    let Ok(got) = got else { return 0 };
    let lines = memchr::memchr_iter(b'\n', &sample[..got]).count().max(1);
    part(bytes, lossy(lines as u64) / lossy(got.max(1) as u64))
}
