//! Aggregates over different values with how often each comes: mode and `approx_quantile`.
//!
//! `approx_quantile` takes a value as the float of its sign, its exponent and the first 8 bits of its
//! fraction, so that at most half a million different ones exist, mostly some hundred are there, and
//! none is off by more than 2⁻⁸ of itself. Unlike sketches that merge by sampling or by
//! interpolation it gives the same result whatever the order and the grouping of its rows.
//!
//! Source: the logarithmic bins are those of C. Masson et al., "`DDSketch`: a fast and
//! fully-mergeable quantile sketch with relative-error guarantees", PVLDB 12 (2019), cut by a
//! float's bits instead of its logarithm.

use std::{ops::Range, sync::Arc};

use arrow::{
    array::{ArrayRef, AsArray, Float64Array, Int64Array},
    datatypes::{DataType, Float64Type, Int64Type},
};

use super::{
    Accumulator, Coming, Taken, as_type, column, constant_number,
    distinct::Values,
    list::{chosen, entries_of, flattened, list_type, rank},
    no_state, state_of_nothing,
};
use crate::{
    Result,
    expr::{Aggregate, AggregateFunction as F},
    kernels::{
        growth::{Growth, bytes_of, growth_of, reserve},
        hash::canonical_float,
    },
};

/// Bits of a fraction that do not count.
const LOST_BITS: u32 = 52 - 8;

/// Different values of each group with their counts.
#[derive(Debug)]
pub(super) struct Counted {
    /// The quantile; of mode none.
    part: Option<f64>,
    values: Values,
    counts: Vec<i64>,
    entries: Vec<u32>,
}

impl Counted {
    pub(super) fn new(aggregate: &Aggregate, of: &DataType) -> Result<Self> {
        let part = match aggregate.function {
            F::ApproxQuantile => Some(constant_number(aggregate)?),
            _ => None,
        };
        let of = if part.is_some() { DataType::Float64 } else { of.clone() };
        let values = Values::new(vec![of])?;
        Ok(Self { part, values, counts: Vec::new(), entries: Vec::new() })
    }

    /// The values as they are counted.
    fn rounded(&self, values: &ArrayRef) -> Result<ArrayRef> {
        if self.part.is_none() {
            return Ok(ArrayRef::clone(values));
        }
        let values = as_type(values, &DataType::Float64)?;
        let rounded = |value: f64| {
            let bits = canonical_float(value);
            f64::from_bits(bits & !((1 << LOST_BITS) - 1))
        };
        let rounded = values.as_primitive::<Float64Type>().unary::<_, Float64Type>(rounded);
        Ok(Arc::new(rounded) as Arc<Float64Array>)
    }

    fn count(&mut self, more: impl Iterator<Item = i64>) {
        let len = self.values.len();
        let more_counts = len - self.counts.len();
        reserve(&mut self.counts, more_counts);
        self.counts.resize(len, 0);
        for (entry, times) in self.entries.iter().zip(more) {
            self.counts[*entry as usize] += times;
        }
    }

    fn counts_of(&self, entries: &[u32]) -> Vec<ArrayRef> {
        let counts = entries.iter().map(|entry| self.counts[*entry as usize]);
        vec![Arc::new(Int64Array::from_iter_values(counts))]
    }

    /// A group's entries by their values.
    fn in_order(&self, group: u32) -> Vec<u32> {
        let mut entries = self.values.of(group).to_vec();
        if let Some(values) = self.values.column() {
            entries.sort_unstable_by(|left, right| values.order(*left, *right));
        }
        entries
    }

    fn entry(&self, group: u32) -> Option<u32> {
        let entries = self.in_order(group);
        let count = |entry: &u32| self.counts[*entry as usize];
        let Some(part) = self.part else {
            // Of several the first, which is the least.
            return entries.iter().copied().rev().max_by_key(count);
        };
        let all: i64 = entries.iter().map(count).sum();
        let rank = rank(usize::try_from(all).ok()?, part)?;
        let mut below = 0;
        entries.into_iter().find(|entry| {
            below += self.counts[*entry as usize];
            usize::try_from(below).is_ok_and(|below| below > rank)
        })
    }
}

impl Accumulator for Counted {
    fn state_types(&self) -> Vec<DataType> {
        let types: Vec<DataType> =
            self.values.types().iter().cloned().chain([DataType::Int64]).collect();
        vec![list_type(&types)]
    }

    fn memory_bytes(&self) -> u64 {
        self.values.memory_bytes() + bytes_of(&self.counts)
    }

    fn growth(&self, columns: &[ArrayRef], coming: Coming) -> Result<Growth> {
        let (columns, rows) = entries_of(columns, coming, 2)?;
        let values = self.rounded(column(&columns, 0)?)?;
        let growth = self.values.growth(&[values], rows, coming.groups)?;
        Ok(growth + growth_of(&self.counts, rows))
    }

    fn extend(&mut self, count: usize) {
        self.values.count = count;
    }

    fn update(&mut self, taken: &Taken<'_>) -> Result<()> {
        let values = self.rounded(column(taken.columns, 0)?)?;
        self.values.add(&[values], taken.groups, taken.count, &mut self.entries)?;
        self.count(std::iter::repeat(1));
        Ok(())
    }

    fn merge(&mut self, taken: &Taken<'_>) -> Result<()> {
        let (columns, groups) = flattened(column(taken.columns, 0)?, taken.groups, 2)?;
        let (values, counts) = (column(&columns, 0)?, column(&columns, 1)?);
        let Some(counts) = counts.as_primitive_opt::<Int64Type>() else {
            return Err(no_state(counts));
        };
        self.values.add(std::slice::from_ref(values), &groups, taken.count, &mut self.entries)?;
        self.count(counts.values().iter().copied());
        Ok(())
    }

    fn freeze(&mut self) {
        self.values.freeze();
    }

    fn is_unbounded(&self) -> bool {
        self.part.is_none()
    }

    fn group_bytes(&self, group: u32) -> u64 {
        self.values.group_bytes(group) + 8 * self.values.of(group).len() as u64
    }

    fn nothing(&self) -> Result<Vec<ArrayRef>> {
        state_of_nothing(Self {
            part: self.part,
            values: Values::new(self.values.types().to_vec())?,
            counts: Vec::new(),
            entries: Vec::new(),
        })
    }

    fn states(&self, groups: &[u32], columns: &mut Vec<ArrayRef>) -> Result<()> {
        columns.push(self.values.states(groups, |entries| self.counts_of(entries))?);
        Ok(())
    }

    fn pieces(&self, group: u32, piece_bytes: u64) -> Vec<Range<usize>> {
        self.values.pieces(group, piece_bytes)
    }

    fn piece(&self, group: u32, entries: Range<usize>, columns: &mut Vec<ArrayRef>) -> Result<()> {
        columns.push(self.values.piece(group, entries, |entries| self.counts_of(entries))?);
        Ok(())
    }

    fn values(&self, groups: &[u32], _: &str, columns: &mut Vec<ArrayRef>) -> Result<()> {
        let entries: Vec<Option<u32>> = groups.iter().map(|group| self.entry(*group)).collect();
        let Some(values) = self.values.column() else {
            return Err(crate::Error::Internal(String::from("values before the end")));
        };
        columns.push(chosen(values, &entries)?);
        Ok(())
    }
}
