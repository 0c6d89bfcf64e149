//! The keys of a build side, and the rows that have each of them.
//!
//! Keys are numbered as groups in the order of their coming. Integers of a narrow range index an
//! array, others go through a [`KeyTable`]; whether one is there at all, a bit says where their range
//! is not too wide for that. Where no key comes twice a group is its row.

use std::mem::size_of;

use arrow::{
    array::{Array, ArrayRef, RecordBatch},
    buffer::{BooleanBuffer, NullBuffer, ScalarBuffer},
    datatypes::DataType,
};

use super::{NO_ROW, build::Room, shape::Shape};
use crate::{
    Result,
    expr::Expr,
    kernels::{
        growth::{bytes_of, growth_of, reserve},
        hash::{canonical_words, hash_columns},
        key_table::{KeyBatch, KeyTable, NO_GROUP},
        prefetch::{for_each_at, is_far, prefetch},
    },
};

/// An array of groups may be so many times longer than there are rows: as a table it would take
/// more memory, and two steps a look-up instead of one.
const DENSE_FACTOR: u64 = 8;

/// An array of so many groups is always worth it.
const DENSE_LEAST: u64 = 1 << 14;

/// A bit for each integer of a range is worth it up to so many bits a row, and up to so many in all.
const MEMBERS_FACTOR: usize = 256;
const MEMBERS_LEAST: usize = 1 << 19;
const MEMBERS_MOST: usize = 1 << 26;

/// Rows whose groups are asked for together.
const CHUNK: usize = 512;

/// So many rows before its own a row's place is asked for.
const AHEAD: usize = 32;

/// The rows of each key.
#[derive(Debug)]
pub(super) struct Lookup {
    keys: Keys,
    /// Which integers are keys, where a table has them.
    members: Option<Members>,
    partners: Partners,
    /// The least and the greatest of keys that are integers without a null.
    pub(super) bounds: Option<(u64, u64)>,
}

#[derive(Debug)]
enum Keys {
    /// There is no key, so that every row is in the one group; or there is no row.
    None { is_empty: bool },
    /// Integers of a narrow range: their distance from the least one is a place in `groups`.
    Dense { least: u64, groups: Vec<u32> },
    /// By hash.
    Table(Box<KeyTable>),
}

/// The rows of a group.
#[derive(Debug)]
pub(super) enum Partners {
    /// A group is the row of its number.
    Unique,
    /// Row numbers, group after group, each group's ascending.
    Lists {
        /// Where each group's rows begin, and behind the last one their number.
        starts: Vec<u32>,
        /// All of them.
        rows: Vec<u32>,
    },
}

impl Lookup {
    /// Of the rows of `batches`, which are fewer than 2³² and numbered from first to last; `None`
    /// where there is no room.
    pub(super) fn build(
        shape: &Shape,
        batches: &[RecordBatch],
        room: &mut Room<'_>,
    ) -> Result<Option<Self>> {
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        if rows == 0 {
            let keys = Keys::None { is_empty: true };
            return Ok(Some(Self::without_key(keys, Partners::Unique)));
        }
        if shape.build_keys.is_empty() {
            if !room.ask(((rows + 2) * size_of::<u32>()) as u64) {
                return Ok(None);
            }
            #[expect(clippy::cast_possible_truncation, reason = "fewer than 2³² rows")]
            let count = rows as u32;
            let keys = Keys::None { is_empty: false };
            let partners = Partners::Lists { starts: vec![0, count], rows: (0..count).collect() };
            return Ok(Some(Self::without_key(keys, partners)));
        }
        let mut group_of_row = Vec::new();
        let range = Range::of(shape, batches)?;
        let bounds = range.as_ref().map(|range| (range.least, range.greatest));
        let mut members = None;
        let keys = match range.as_ref().filter(|range| range.is_narrow) {
            Some(range) => {
                let held = ((range.places + rows) * size_of::<u32>()) as u64;
                if !room.ask(held) {
                    return Ok(None);
                }
                range.dense(shape, batches, &mut group_of_row)?
            }
            None => match by_hash(shape, batches, room, &mut group_of_row)? {
                Some(table) => {
                    let bits = range.as_ref().and_then(|range| range.members(rows));
                    let held = table.memory_bytes() + bytes_of(&group_of_row);
                    members = bits.filter(|bits| room.ask(held + bytes_of(&bits.bits)));
                    if let Some(members) = &mut members {
                        members.take(shape, batches)?;
                    }
                    Keys::Table(Box::new(table))
                }
                None => return Ok(None),
            },
        };
        let of_members = members.as_ref().map_or(0, |members| bytes_of(&members.bits));
        // Groups are numbered as they come, so that the last row's tells whether any came twice.
        let groups = group_of_row.iter().max().map_or(0, |last| *last as usize + 1);
        if groups == rows {
            return Ok(Some(Self { keys, members, partners: Partners::Unique, bounds }));
        }
        let lists = ((groups + 2 + rows) * size_of::<u32>()) as u64;
        if !room.ask(keys.memory_bytes() + of_members + bytes_of(&group_of_row) + lists) {
            return Ok(None);
        }
        let (starts, in_groups) = rows_by_group(&group_of_row, groups);
        let partners = Partners::Lists { starts, rows: in_groups };
        Ok(Some(Self { keys, members, partners, bounds }))
    }

    fn without_key(keys: Keys, partners: Partners) -> Self {
        Self { keys, members: None, partners, bounds: None }
    }

    /// Bytes held.
    pub(super) fn memory_bytes(&self) -> u64 {
        let partners = match &self.partners {
            Partners::Unique => 0,
            Partners::Lists { starts, rows } => bytes_of(starts) + bytes_of(rows),
        };
        let members = self.members.as_ref().map_or(0, |members| bytes_of(&members.bits));
        self.keys.memory_bytes() + members + partners
    }

    /// The rows of its groups.
    pub(super) fn partners(&self) -> &Partners {
        &self.partners
    }

    /// Puts the group of each row of `batch`, whose keys are given, into `groups`; [`NO_GROUP`]
    /// where its key is not here.
    pub(super) fn find(
        &self,
        shape: &Shape,
        batch: &RecordBatch,
        keys: &[ArrayRef],
        groups: &mut Vec<u32>,
    ) -> Result<()> {
        match &self.keys {
            Keys::None { is_empty } => {
                groups.clear();
                groups.resize(batch.num_rows(), if *is_empty { NO_GROUP } else { 0 });
            }
            Keys::Dense { least, groups: by_place } => {
                let (words, nulls) = words(&keys[0]);
                find_dense(*least, by_place, &words, groups);
                forget_nulls(groups, nulls.as_ref());
            }
            Keys::Table(table) => {
                table.find(&KeyBatch::new(keys)?, &shape.hashes(batch, keys)?, groups);
            }
        }
        Ok(())
    }
}

impl Lookup {
    /// Which of some values are keys, where there is one key; nulls are not.
    pub(super) fn contains(&self, values: &ArrayRef) -> Result<BooleanBuffer> {
        if let Some(members) = &self.members {
            return Ok(members.contain(values));
        }
        let mut groups = Vec::new();
        match &self.keys {
            Keys::None { is_empty } => {
                groups.resize(values.len(), if *is_empty { NO_GROUP } else { 0 });
            }
            Keys::Dense { least, groups: by_place } => {
                find_dense(*least, by_place, &words(values).0, &mut groups);
            }
            Keys::Table(table) => {
                let (keys, mut hashes) = (std::slice::from_ref(values), Vec::new());
                hash_columns(keys, &mut hashes);
                table.find(&KeyBatch::new(keys)?, &hashes, &mut groups);
            }
        }
        let nulls = values.logical_nulls().filter(|nulls| nulls.null_count() > 0);
        forget_nulls(&mut groups, nulls.as_ref());
        Ok(BooleanBuffer::collect_bool(groups.len(), |row| groups[row] != NO_GROUP))
    }
}

impl Keys {
    fn memory_bytes(&self) -> u64 {
        match self {
            Self::None { .. } => 0,
            Self::Dense { groups, .. } => bytes_of(groups),
            Self::Table(table) => table.memory_bytes(),
        }
    }
}

/// Which integers of a range are keys.
#[derive(Debug)]
struct Members {
    least: u64,
    places: usize,
    /// By their distance from the least one.
    bits: Vec<u64>,
}

impl Members {
    /// Sets the bits of the keys of `batches`, all of which are within the range.
    fn take(&mut self, shape: &Shape, batches: &[RecordBatch]) -> Result<()> {
        for batch in batches {
            for word in &words(&shape.build_keys[0].evaluate(batch)?).0 {
                let place = self.place(*word);
                self.bits[place / 64] |= 1 << (place % 64);
            }
        }
        Ok(())
    }

    fn place(&self, word: u64) -> usize {
        usize::try_from(word.wrapping_sub(self.least)).unwrap_or(usize::MAX)
    }

    /// Which of these values are among them; none that is null.
    fn contain(&self, values: &ArrayRef) -> BooleanBuffer {
        let (words, nulls) = words(values);
        let found = BooleanBuffer::collect_bool(words.len(), |row| {
            let place = self.place(words[row]);
            place < self.places && self.bits[place / 64] >> (place % 64) & 1 == 1
        });
        match nulls {
            Some(nulls) => &found & nulls.inner(),
            None => found,
        }
    }
}

/// The groups of keys by their distance from the least one.
fn find_dense(least: u64, by_place: &[u32], words: &[u64], groups: &mut Vec<u32>) {
    groups.clear();
    let place = |word: &u64| usize::try_from(word.wrapping_sub(least)).unwrap_or(usize::MAX);
    let found = |word| by_place.get(place(word)).copied().unwrap_or(NO_GROUP);
    for chunk in words.chunks(CHUNK) {
        if is_far(by_place) {
            for word in chunk {
                prefetch(by_place, place(word));
            }
        }
        groups.extend(chunk.iter().map(found));
    }
}

/// Rows with a null are in no group.
pub(super) fn forget_nulls(groups: &mut [u32], nulls: Option<&NullBuffer>) {
    let Some(nulls) = nulls else { return };
    for (group, is_valid) in groups.iter_mut().zip(nulls) {
        *group = if is_valid { *group } else { NO_GROUP };
    }
}

/// The integers of a key, as 64-bit words of two's complement, and which of them are null.
fn words(key: &ArrayRef) -> (ScalarBuffer<u64>, Option<NullBuffer>) {
    let nulls = key.logical_nulls().filter(|nulls| nulls.null_count() > 0);
    // Only types that have words come here.
    (canonical_words(key.as_ref()).unwrap_or_else(|| vec![0; key.len()].into()), nulls)
}

/// A range of integers.
struct Range {
    least: u64,
    greatest: u64,
    /// How many there are between, where that is not too many for an array.
    places: usize,
    is_narrow: bool,
}

impl Range {
    /// That of the keys, where they are integers without a null.
    fn of(shape: &Shape, batches: &[RecordBatch]) -> Result<Option<Self>> {
        let [key] = shape.build_keys.as_slice() else { return Ok(None) };
        if !is_integer(&key.data_type()) {
            return Ok(None);
        }
        let (mut least, mut greatest, mut rows) = (i64::MAX, i64::MIN, 0_u64);
        for batch in batches {
            let (words, nulls) = words(&key.evaluate(batch)?);
            if nulls.is_some() {
                return Ok(None);
            }
            rows += words.len() as u64;
            for word in &words {
                least = least.min(word.cast_signed());
                greatest = greatest.max(word.cast_signed());
            }
        }
        let places = greatest.abs_diff(least).saturating_add(1);
        let is_narrow = places <= (rows * DENSE_FACTOR).max(DENSE_LEAST);
        Ok(Some(Self {
            least: least.cast_unsigned(),
            greatest: greatest.cast_unsigned(),
            places: usize::try_from(places).unwrap_or(usize::MAX),
            is_narrow,
        }))
    }

    /// A bit for each integer, none of which is set yet, where `rows` rows are worth that.
    fn members(&self, rows: usize) -> Option<Members> {
        let most = rows.saturating_mul(MEMBERS_FACTOR).clamp(MEMBERS_LEAST, MEMBERS_MOST);
        (self.places <= most).then(|| Members {
            least: self.least,
            places: self.places,
            bits: vec![0; self.places.div_ceil(64)],
        })
    }

    /// Numbers the keys.
    fn dense(
        &self,
        shape: &Shape,
        batches: &[RecordBatch],
        group_of_row: &mut Vec<u32>,
    ) -> Result<Keys> {
        let mut groups = vec![NO_GROUP; self.places];
        let mut next = 0;
        group_of_row.reserve_exact(batches.iter().map(RecordBatch::num_rows).sum());
        for batch in batches {
            let (words, _) = words(&shape.build_keys[0].evaluate(batch)?);
            // Within the range, which these very keys have made.
            let place = |word: &u64| usize::try_from(word.wrapping_sub(self.least)).unwrap_or(0);
            for chunk in words.chunks(CHUNK) {
                for word in chunk {
                    prefetch(&groups, place(word));
                }
                group_of_row.extend(chunk.iter().map(|word| {
                    let group = &mut groups[place(word)];
                    if *group == NO_GROUP {
                        *group = next;
                        next += 1;
                    }
                    *group
                }));
            }
        }
        Ok(Keys::Dense { least: self.least, groups })
    }
}

/// Whether values are integers, or as good as.
fn is_integer(data_type: &DataType) -> bool {
    data_type.is_integer()
        || matches!(
            data_type,
            DataType::Date32
                | DataType::Date64
                | DataType::Time32(_)
                | DataType::Time64(_)
                | DataType::Timestamp(..)
        )
}

/// A table of the keys; `None` where there is no room.
fn by_hash(
    shape: &Shape,
    batches: &[RecordBatch],
    room: &mut Room<'_>,
    group_of_row: &mut Vec<u32>,
) -> Result<Option<KeyTable>> {
    let types: Vec<DataType> = shape.build_keys.iter().map(Expr::data_type).collect();
    let mut table = KeyTable::new(&types)?;
    let mut groups = Vec::new();
    for batch in batches {
        let rows = batch.num_rows();
        let keys = shape.build_keys(batch)?;
        let key_batch = KeyBatch::new(&keys)?;
        let growth = table.growth(&key_batch, rows) + growth_of(group_of_row, rows);
        if !room.ask(table.memory_bytes() + bytes_of(group_of_row) + growth.bytes()) {
            return Ok(None);
        }
        table.find_or_insert(&key_batch, &shape.hashes(batch, &keys)?, &mut groups);
        reserve(group_of_row, rows);
        group_of_row.extend_from_slice(&groups);
    }
    Ok(Some(table))
}

/// A counting sort of row numbers by their group: where each group begins, and all rows.
#[expect(clippy::cast_possible_truncation, reason = "fewer than 2³² rows, which the caller checks")]
fn rows_by_group(group_of_row: &[u32], groups: usize) -> (Vec<u32>, Vec<u32>) {
    // Counts are kept two places on: the first sum makes them starts one place on, and placing the
    // rows, which moves each start to its end, the starts themselves.
    let mut starts = vec![0; groups + 2];
    for_each_at(&mut starts[2..], group_of_row, |_, count| *count += 1);
    let mut sum = 0;
    for start in &mut starts {
        sum += *start;
        *start = sum;
    }
    let mut rows = vec![NO_ROW; group_of_row.len()];
    for (row, group) in group_of_row.iter().enumerate() {
        if let Some(far) = group_of_row.get(row + 2 * AHEAD) {
            prefetch(&starts, *far as usize + 1);
        }
        if let Some(near) = group_of_row.get(row + AHEAD) {
            prefetch(&rows, starts[*near as usize + 1] as usize);
        }
        let next = &mut starts[*group as usize + 1];
        rows[*next as usize] = row as u32;
        *next += 1;
    }
    starts.truncate(groups + 1);
    (starts, rows)
}
