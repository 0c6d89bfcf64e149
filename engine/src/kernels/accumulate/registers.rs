//! `approx_count_distinct`: a `HyperLogLog` over the engine's [specified hash](crate::kernels::hash).
//!
//! A value's hash chooses one of 4,096 registers by its upper 12 bits; the register keeps the
//! greatest number of leading zeros, plus one, of the other 52 bits. The state is those registers and
//! nothing else, so that it is the same whatever the order, the grouping and the repeats. A group with
//! few values keeps the registers that are not zero as a list.
//!
//! Source: O. Ertl, "New cardinality estimation algorithms for `HyperLogLog` sketches" (2017),
//! <https://arxiv.org/abs/1702.01284>: its improved raw estimator, which needs no tables and no bias
//! correction. The standard error is 1.04 / √4096 = 1.6 %.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, BinaryViewBuilder, Int64Array},
    datatypes::DataType,
};

use super::{Accumulator, Coming, Taken, column, each_valid, extend, no_state, state_of_nothing};
use crate::{
    Result,
    kernels::{
        growth::{Growth, bytes_of, growth_from},
        hash::hash_columns,
    },
};

/// Bits that choose a register.
const PLACE_BITS: u32 = 12;
/// How many registers there are.
const REGISTERS: usize = 1 << PLACE_BITS;
/// Bits that a register counts zeros in.
const RANK_BITS: usize = 64 - PLACE_BITS as usize;
/// The most registers that are kept as a list.
const MOST_LISTED: usize = 256;

/// The registers of each group.
#[derive(Debug, Default)]
pub(super) struct Registers {
    groups: Vec<Sketch>,
    /// Bytes behind the sketches, counted as they grow.
    bytes: u64,
    /// Registers in lists.
    listed: usize,
}

/// The registers of one group.
#[derive(Clone, Debug)]
enum Sketch {
    /// `place << 8 | rank`, ascending, a place once.
    Listed(Vec<u32>),
    All(Box<[u8]>),
}

impl Sketch {
    const EMPTY: Self = Self::Listed(Vec::new());

    fn bytes(&self) -> u64 {
        match self {
            Self::Listed(listed) => bytes_of(listed),
            Self::All(_) => REGISTERS as u64,
        }
    }

    fn see(&mut self, place: usize, rank: u8) {
        match self {
            Self::All(all) => all[place] = all[place].max(rank),
            Self::Listed(listed) => {
                #[expect(clippy::cast_possible_truncation, reason = "a place has 12 bits")]
                let low = (place as u32) << 8;
                let at = listed.partition_point(|entry| *entry < low);
                let entry = low | u32::from(rank);
                if listed.get(at).is_some_and(|known| *known >> 8 == low >> 8) {
                    listed[at] = listed[at].max(entry);
                } else if listed.len() < MOST_LISTED {
                    if listed.len() == listed.capacity() {
                        listed.reserve_exact(listed.len().max(4));
                    }
                    listed.insert(at, entry);
                } else {
                    let mut all = vec![0; REGISTERS].into_boxed_slice();
                    for (known, greatest) in entries(listed) {
                        all[known] = greatest;
                    }
                    all[place] = rank;
                    *self = Self::All(all);
                }
            }
        }
    }

    /// Calls `each` for every register that is not zero.
    fn each(&self, mut each: impl FnMut(usize, u8)) {
        match self {
            Self::Listed(listed) => entries(listed).for_each(|(place, rank)| each(place, rank)),
            Self::All(all) => {
                let seen = all.iter().enumerate().filter(|(_, rank)| **rank > 0);
                seen.for_each(|(place, rank)| each(place, *rank));
            }
        }
    }

    /// About how many different values were seen.
    fn estimate(&self) -> i64 {
        let mut counts = [0u32; RANK_BITS + 2];
        let mut seen = 0;
        self.each(|_, rank| {
            seen += 1;
            counts[usize::from(rank)] += 1;
        });
        counts[0] = u32::try_from(REGISTERS - seen).unwrap_or(0);
        let registers = f64::from(1u32 << PLACE_BITS);
        let mut sum = registers * tau(1.0 - f64::from(counts[RANK_BITS + 1]) / registers);
        for count in counts[1..=RANK_BITS].iter().rev() {
            sum = 0.5 * (sum + f64::from(*count));
        }
        sum += registers * sigma(f64::from(counts[0]) / registers);
        // 1 / (2 ln 2)
        let estimate = 0.721_347_520_444_481_7 * registers * registers / sum;
        #[expect(clippy::cast_possible_truncation, reason = "saturates at int64's greatest")]
        let whole = estimate.round() as i64;
        whole
    }
}

fn entries(listed: &[u32]) -> impl Iterator<Item = (usize, u8)> {
    #[expect(clippy::cast_possible_truncation, reason = "the low 8 bits are the rank")]
    listed.iter().map(|entry| ((entry >> 8) as usize, *entry as u8))
}

fn sigma(mut x: f64) -> f64 {
    if x >= 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if z <= before {
            return z;
        }
    }
}

fn tau(mut x: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if z >= before {
            return z / 3.0;
        }
    }
}

impl Registers {
    fn see(&mut self, group: usize, place: usize, rank: u8) {
        let sketch = &mut self.groups[group];
        let (before, was_listed) = (sketch.bytes(), listed(sketch));
        sketch.see(place, rank);
        self.bytes = self.bytes + sketch.bytes() - before;
        self.listed = self.listed + listed(sketch) - was_listed;
    }
}

fn listed(sketch: &Sketch) -> usize {
    match sketch {
        Sketch::Listed(listed) => listed.len(),
        Sketch::All(_) => 0,
    }
}

impl Accumulator for Registers {
    fn state_types(&self) -> Vec<DataType> {
        vec![DataType::BinaryView]
    }

    fn memory_bytes(&self) -> u64 {
        bytes_of(&self.groups) + self.bytes
    }

    fn growth(&self, columns: &[ArrayRef], coming: Coming) -> Result<Growth> {
        // Of a state, as many registers may come as it has bytes.
        let registers = match columns.first().and_then(|column| column.as_binary_view_opt()) {
            Some(states) if coming.carried == super::Carried::States => {
                states.lengths().map(|bytes| bytes as usize).sum()
            }
            _ => coming.rows,
        };
        // A list doubles, from 4; one that is full becomes all registers.
        let full = (self.listed + registers) / MOST_LISTED;
        let lists = registers * 8 + coming.rows * 16;
        let lasting_bytes = (lists + full.min(registers) * REGISTERS) as u64;
        let sketches = growth_from::<Sketch>(self.groups.capacity(), coming.groups);
        Ok(sketches + Growth { lasting_bytes, passing_bytes: (MOST_LISTED * 4) as u64 })
    }

    fn extend(&mut self, count: usize) {
        extend(&mut self.groups, count, Sketch::EMPTY);
    }

    fn update(&mut self, taken: &Taken<'_>) -> Result<()> {
        self.extend(taken.count);
        let mut hashes = Vec::new();
        hash_columns(std::slice::from_ref(column(taken.columns, 0)?), &mut hashes);
        for (hash, group) in hashes.iter().zip(taken.groups) {
            #[expect(clippy::cast_possible_truncation, reason = "12 bits, and at most 53")]
            let (place, rank) = (
                (hash >> (64 - PLACE_BITS)) as usize,
                ((hash << PLACE_BITS) | (1 << (PLACE_BITS - 1))).leading_zeros() as u8 + 1,
            );
            self.see(*group as usize, place, rank);
        }
        Ok(())
    }

    fn merge(&mut self, taken: &Taken<'_>) -> Result<()> {
        self.extend(taken.count);
        let states = column(taken.columns, 0)?;
        let Some(states) = states.as_binary_view_opt() else { return Err(no_state(states)) };
        let mut is_whole = true;
        each_valid(states.nulls(), taken.groups, |row, group| {
            let bytes = states.value(row);
            if bytes.len() == REGISTERS {
                for (place, rank) in bytes.iter().enumerate().filter(|(_, rank)| **rank > 0) {
                    is_whole &= usize::from(*rank) <= RANK_BITS + 1;
                    self.see(group, place, *rank);
                }
            } else {
                for entry in bytes.chunks_exact(4) {
                    let (place, rank) =
                        (usize::from(u16::from_le_bytes([entry[1], entry[2]])), entry[0]);
                    if place < REGISTERS && usize::from(rank) <= RANK_BITS + 1 {
                        self.see(group, place, rank);
                    } else {
                        is_whole = false;
                    }
                }
            }
        });
        if is_whole { Ok(()) } else { Err(no_state(states)) }
    }

    fn group_bytes(&self, group: u32) -> u64 {
        self.groups[group as usize].bytes()
    }

    fn nothing(&self) -> Result<Vec<ArrayRef>> {
        state_of_nothing(Self::default())
    }

    fn states(&self, groups: &[u32], columns: &mut Vec<ArrayRef>) -> Result<()> {
        let mut states = BinaryViewBuilder::with_capacity(groups.len());
        for group in groups {
            match &self.groups[*group as usize] {
                Sketch::All(all) => states.append_value(all),
                Sketch::Listed(listed) => {
                    let bytes: Vec<u8> =
                        listed.iter().flat_map(|entry| entry.to_le_bytes()).collect();
                    states.append_value(bytes);
                }
            }
        }
        columns.push(Arc::new(states.finish()));
        Ok(())
    }

    fn values(&self, groups: &[u32], _: &str, columns: &mut Vec<ArrayRef>) -> Result<()> {
        let estimates = groups.iter().map(|group| self.groups[*group as usize].estimate());
        columns.push(Arc::new(Int64Array::from_iter_values(estimates)));
        Ok(())
    }
}
