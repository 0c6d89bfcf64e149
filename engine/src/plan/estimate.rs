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

/// The least part of the rows that is taken to have no partner.
const LEAST_ALONE: f64 = 0.1;

/// What a node may give.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Estimate {
    /// Rows.
    pub rows: u64,
    /// Bytes of their values in memory.
    pub bytes: u64,
    /// Rows that there would be if no condition had left any out.
    #[serde(skip)]
    pub unfiltered_rows: u64,
}

/// An estimate for each of a plan's nodes, which stand behind their inputs.
pub fn of(nodes: &[Node], disk: &Arc<dyn Disk>) -> Vec<Estimate> {
    let mut guesses: Vec<Guess> = Vec::with_capacity(nodes.len());
    let mut estimates = Vec::with_capacity(nodes.len());
    for node in nodes {
        let inputs: Vec<Guess> = node.inputs.iter().map(|input| guesses[input.index()]).collect();
        let guess = guess(&node.op, &inputs, disk);
        let bytes = guess.rows.saturating_mul(row_bytes(&node.schema));
        estimates.push(Estimate { rows: guess.rows, bytes, unfiltered_rows: guess.of });
        guesses.push(guess);
    }
    estimates
}

/// How many rows a node may give, and how many there would be if no condition had left any out. The
/// second stands for how many keys there are: of two tables that are joined by a key, the one with
/// fewer rows is taken to have each key once, so that a condition on it leaves the same part of the
/// other.
#[derive(Clone, Copy, Default)]
struct Guess {
    rows: u64,
    of: u64,
}

impl Guess {
    fn all(rows: u64) -> Self {
        Self { rows, of: rows }
    }

    /// The same, of which a condition leaves a part.
    fn filtered(self, of: f64) -> Self {
        Self { rows: part(self.rows, of), ..self }
    }

    /// Which part of the rows conditions have left.
    fn kept(self) -> f64 {
        if self.of == 0 { 1.0 } else { lossy(self.rows) / lossy(self.of) }
    }

    /// Pairs with equal keys.
    fn joined(self, other: Self) -> Self {
        let of = self.of.max(other.of);
        Self { rows: part(of, self.kept() * other.kept()), of }
    }

    /// Which part of the rows has a partner on the other side, of which a key has several rows where
    /// it is the larger one: then the chance that none of them is left counts (a Poisson one).
    fn met_by(self, other: Self) -> f64 {
        if other.of <= self.of {
            other.kept()
        } else {
            1.0 - (-lossy(other.rows) / lossy(self.of.max(1))).exp()
        }
    }
}

fn guess(op: &Op, inputs: &[Guess], disk: &Arc<dyn Disk>) -> Guess {
    let first = inputs.first().copied().unwrap_or_default();
    let second = inputs.get(1).copied().unwrap_or_default();
    let each =
        |change: &dyn Fn(u64) -> u64| Guess { rows: change(first.rows), of: change(first.of) };
    match op {
        Op::Read(read) => Guess::all(rows_of_files(read, disk)),
        Op::Map { .. }
        | Op::Sleep { .. }
        | Op::Repartition { .. }
        | Op::Cache
        | Op::Expect { .. }
        | Op::Window { .. }
        | Op::Write(_) => first,
        Op::Filter { predicate } => first.filtered(selectivity(&predicate.0)),
        Op::Tokenize { columns } => {
            each(&|rows| rows.saturating_mul(8 * columns.len().max(1) as u64))
        }
        Op::Explode { .. } | Op::Split { .. } => each(&|rows| rows.saturating_mul(4)),
        Op::Unpivot { values, .. } => each(&|rows| rows.saturating_mul(values.len() as u64)),
        Op::Reduce { keys, .. } if keys.is_empty() => Guess::all(1),
        Op::Reduce { .. } => each(&groups),
        Op::Join { how, left_keys, on, .. } => {
            let of_condition = on.as_ref().map_or(1.0, |on| selectivity(&on.0));
            let pairs = if left_keys.is_empty() {
                Guess::all(first.rows.saturating_mul(second.rows))
            } else {
                first.joined(second)
            };
            let pairs = pairs.filtered(of_condition);
            let at_least = |rows: u64| Guess { rows: pairs.rows.max(rows), of: pairs.of.max(rows) };
            let met = first.met_by(second) * of_condition;
            match how {
                JoinKind::Inner | JoinKind::Cross => pairs,
                JoinKind::Left => at_least(first.rows),
                JoinKind::Right => at_least(second.rows),
                JoinKind::Full => at_least(first.rows.max(second.rows)),
                JoinKind::Semi => first.filtered(met),
                JoinKind::Anti { .. } => first.filtered((1.0 - met).max(LEAST_ALONE)),
            }
        }
        Op::Union => inputs.iter().fold(Guess::default(), |sum, input| Guess {
            rows: sum.rows.saturating_add(input.rows),
            of: sum.of.saturating_add(input.of),
        }),
        Op::Sample { threshold, .. } => first.filtered(lossy(*threshold) / 4_294_967_296.0),
        Op::Sort { limit, .. } => {
            Guess { rows: limit.map_or(first.rows, |limit| limit.min(first.rows)), ..first }
        }
        Op::Limit { offset, n } => {
            Guess { rows: first.rows.saturating_sub(*offset).min(*n), ..first }
        }
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
        Expr::IsNull { negated, .. } | Expr::Like { negated, .. } => unless(*negated, 0.1),
        Expr::InList { list, negated, .. } => {
            unless(*negated, (0.1 * lossy(list.len() as u64)).min(0.5))
        }
        _ => 0.25,
    }
}

/// The part that is left out where a condition is negated.
fn unless(negated: bool, part: f64) -> f64 {
    if negated { 1.0 - part } else { part }
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

#[cfg(test)]
mod tests {
    use super::Guess;

    #[test]
    fn a_condition_on_one_side_of_a_join_leaves_the_same_part_of_the_other() {
        let (suppliers, supplied) = (Guess { rows: 25, of: 100 }, Guess::all(6_000));
        let joined = supplied.joined(suppliers);
        assert_eq!((joined.rows, joined.of), (1_500, 6_000));
        // And it goes on through the next one.
        let again = joined.joined(Guess { rows: 750, of: 1_500 });
        assert_eq!((again.rows, again.of), (750, 6_000));
    }

    #[test]
    fn of_several_rows_of_a_key_one_is_enough() {
        let orders = Guess::all(1_500);
        // Four lines each, of which a quarter is late: 1 - 1/e have a late one.
        let late = orders.met_by(Guess { rows: 1_500, of: 6_000 });
        assert!((late - 0.632).abs() < 0.001, "{late}");
        assert_eq!(orders.met_by(Guess { rows: 15, of: 150 }).to_string(), "0.1");
    }
}
