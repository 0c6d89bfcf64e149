//! Any aggregate over any frames, by what the accumulators of reduce can do: take rows into
//! groups, and merge states.
//!
//! Rows with the same frame share a group. Where frames do not overlap, each takes its rows
//! directly. Otherwise a tree is built of the states of 1, 2, 4, … rows in a row, and a frame is
//! merged of the at most 2 log n states that make it up, in the rows' order.

use std::ops::Range;

use arrow::{
    array::{Array, ArrayRef, RecordBatch, UInt32Array},
    compute::take,
};

use crate::{
    Error, Result,
    expr::Aggregate,
    kernels::accumulate::{Accumulators, Carried, Inputs},
    operators::reduce_by_key::rows::inputs,
};

/// The most states that are merged at once: what they take is not charged.
const MERGED_AT_ONCE: usize = 64 << 10;

/// The aggregate of the rows of each frame in a batch; where it goes by the order of rows, that is
/// the batch's.
///
/// # Errors
/// [`Error::Evaluate`] of the arguments, and those of the accumulators.
pub(super) fn evaluate(
    aggregate: &Aggregate,
    batch: &RecordBatch,
    frames: &[Range<usize>],
) -> Result<ArrayRef> {
    // The frames that differ, and which of them each row has.
    let mut distinct: Vec<Range<usize>> = Vec::new();
    let mut frame_of = Vec::with_capacity(frames.len());
    for frame in frames {
        if distinct.last() != Some(frame) {
            distinct.push(frame.clone());
        }
        frame_of.push(number(distinct.len() - 1)?);
    }
    let inputs = inputs(aggregate, batch, 0)?;
    let mut accumulators;
    if let Some(groups) = groups_of_rows(&distinct, frames.len())? {
        accumulators = of(aggregate, Carried::Values)?;
        accumulators.take(&[in_groups(inputs, &groups)?], &groups, distinct.len())?;
    } else {
        accumulators = of(aggregate, Carried::States)?;
        Tree::new(aggregate, inputs, frames.len())?.merge(&distinct, &mut accumulators)?;
    }
    accumulators.extend(distinct.len());
    accumulators.freeze();
    let groups: Vec<u32> = (0..number(distinct.len())?).collect();
    let name = aggregate.to_string();
    let values = accumulators.values(&groups, &[name.as_str()])?;
    let values = values.first().ok_or_else(|| missing("value"))?;
    Ok(take(values, &UInt32Array::from(frame_of), None)?)
}

fn of(aggregate: &Aggregate, carried: Carried) -> Result<Accumulators> {
    Accumulators::new(std::slice::from_ref(aggregate), carried)
}

fn number(count: usize) -> Result<u32> {
    u32::try_from(count)
        .map_err(|_| Error::Internal(String::from("a chunk of more than 2^32 rows")))
}

fn missing(what: &str) -> Error {
    Error::Internal(format!("an aggregate without its {what}"))
}

/// Of a row that no frame has.
const NO_GROUP: u32 = u32::MAX;

/// The frame of each row; `None` where frames overlap.
fn groups_of_rows(frames: &[Range<usize>], rows: usize) -> Result<Option<Vec<u32>>> {
    let mut groups = vec![NO_GROUP; rows];
    for (group, frame) in frames.iter().enumerate() {
        let group = number(group)?;
        for row in frame.clone() {
            if groups[row] != NO_GROUP {
                return Ok(None);
            }
            groups[row] = group;
        }
    }
    Ok(Some(groups))
}

/// Inputs without the rows that have no group.
fn in_groups(inputs: Inputs, groups: &[u32]) -> Result<Inputs> {
    if !groups.contains(&NO_GROUP) {
        return Ok(inputs);
    }
    let rows = match inputs.rows {
        Some(rows) => rows,
        None => (0..number(groups.len())?).collect(),
    };
    let has_group = |row: u32| groups[row as usize] != NO_GROUP;
    let kept = (0..).zip(&rows).filter(|(_, row)| has_group(**row));
    let (places, kept_rows): (Vec<u32>, Vec<u32>) = kept.map(|(place, row)| (place, *row)).unzip();
    let places = UInt32Array::from(places);
    let columns = inputs.columns.iter().map(|column| Ok(take(column, &places, None)?));
    Ok(Inputs { columns: columns.collect::<Result<_>>()?, rows: Some(kept_rows) })
}

/// The states of rows, of pairs, of fours, and so on, each level as columns.
struct Tree {
    levels: Vec<Vec<ArrayRef>>,
}

impl Tree {
    fn new(aggregate: &Aggregate, inputs: Inputs, rows: usize) -> Result<Self> {
        let groups: Vec<u32> = (0..number(rows)?).collect();
        let mut leaves = of(aggregate, Carried::Values)?;
        leaves.take(&[inputs], &groups, rows)?;
        leaves.extend(rows);
        leaves.freeze();
        let mut levels = vec![leaves.states(&groups)?];
        let mut count = rows;
        while count > 1 {
            let pairs = count.div_ceil(2);
            let mut parents = of(aggregate, Carried::States)?;
            let parent_of: Vec<u32> = groups[..count].iter().map(|child| child / 2).collect();
            let columns = levels.last().ok_or_else(|| missing("states"))?.clone();
            parents.take(&[Inputs { columns, rows: None }], &parent_of, pairs)?;
            parents.freeze();
            levels.push(parents.states(&groups[..pairs])?);
            count = pairs;
        }
        Ok(Self { levels })
    }

    /// Merges the states that make up each frame into its group.
    fn merge(&self, frames: &[Range<usize>], accumulators: &mut Accumulators) -> Result<()> {
        let mut wanted = Vec::new();
        for (group, frame) in (0..).zip(frames) {
            cover(frame, &mut |level, node| wanted.push((group, level, node)));
            if wanted.len() >= MERGED_AT_ONCE {
                self.merge_nodes(&wanted, frames.len(), accumulators)?;
                wanted.clear();
            }
        }
        self.merge_nodes(&wanted, frames.len(), accumulators)
    }

    fn merge_nodes(
        &self,
        wanted: &[(u32, usize, usize)],
        frames: usize,
        accumulators: &mut Accumulators,
    ) -> Result<()> {
        let columns = self.levels.first().map_or(0, Vec::len);
        let nodes: Vec<_> = wanted.iter().map(|(_, level, node)| (*level, *node)).collect();
        let column = |column: usize| {
            let levels = self.levels.iter().map(|level| level[column].as_ref());
            let arrays: Vec<&dyn Array> = levels.collect();
            Ok(arrow::compute::interleave(&arrays, &nodes)?)
        };
        let columns = (0..columns).map(column).collect::<Result<_>>()?;
        let groups: Vec<u32> = wanted.iter().map(|(group, ..)| *group).collect();
        // Not every frame is among these.
        accumulators.extend(frames);
        accumulators.take(&[Inputs { columns, rows: None }], &groups, frames)
    }
}

/// The nodes of a tree that make up a range of its leaves, from left to right.
fn cover(range: &Range<usize>, node: &mut impl FnMut(usize, usize)) {
    let (mut start, end) = (range.start, range.end);
    while start < end {
        // The largest node that begins here and does not go beyond the end.
        let aligned = if start == 0 { usize::BITS - 1 } else { start.trailing_zeros() };
        let level = aligned.min((end - start).ilog2());
        node(level as usize, start >> level);
        start += 1 << level;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_cover_has_every_row_once_in_order_and_few_nodes(start in 0_usize..500, len in 0_usize..500) {
            let range = start..start + len;
            let mut rows = Vec::new();
            let mut nodes = 0;
            cover(&range, &mut |level, node| {
                nodes += 1;
                rows.extend(node << level..(node + 1) << level);
            });
            prop_assert_eq!(rows, range.collect::<Vec<_>>());
            prop_assert!(nodes <= 20);
        }
    }
}
