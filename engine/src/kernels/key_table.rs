//! [`KeyTable`]: a hash table from keys to dense group numbers; serves reduce and join.
//!
//! Keys are given by batches, as columns with one hash a row ([`crate::kernels::hash`]), and kept
//! as [columns](crate::kernels::column). A slot of the table holds the upper half of a key's hash as a tag beside its group number, so that a probe touches
//! the slots alone until the tag agrees.
//!
//! A batch is looked up in steps over some hundred rows: candidates by tag from all the slots, then
//! one column after the other compares all its candidates with all its rows. What a step reads is
//! [asked for](crate::kernels::prefetch) before it begins. Only rows that are left (new keys, and the
//! one tag in 2³² that lies) are looked up one by one.
//!
//! Source: the tags and the columnwise comparison are those of `DuckDB`'s and Velox's aggregate
//! tables (Leis et al., "Morsel-Driven Parallelism", SIGMOD 2014, has the tag).

use arrow::{array::ArrayRef, datatypes::DataType};

use crate::{
    Result,
    kernels::{
        column::{Column, ColumnInput},
        growth::{Growth, bytes_of, growth_from, growth_of, reserve},
        prefetch::{is_far, prefetch},
    },
};

/// Stands for no group.
pub const NO_GROUP: u32 = u32::MAX;

/// The most groups of a table; whoever needs more splits its keys first.
pub const MAX_GROUPS: usize = 1 << 31;

/// A slot without a group; as a number it is [`NO_GROUP`].
const EMPTY: u64 = u64::MAX;

/// The slots of a new table.
const LEAST_SLOTS: usize = 128;

/// Rows that go through the steps together; what they need stays in the first-level cache.
const CHUNK: usize = 512;

/// So many groups before its own a group's slot is asked for, where slots are filled anew.
const AHEAD: usize = 32;

/// Keys as columns, found by their hashes and numbered from 0 in the order of their coming.
///
/// - Shape: one column a type given to [`KeyTable::new`]; equal means SQL's `is not distinct from`,
///   with -0.0 = 0.0 and NaN = NaN, so nulls are a key too.
/// - Memory: [`KeyTable::memory_bytes`], exact but for its fixed head; [`KeyTable::growth`] before.
#[derive(Debug)]
pub struct KeyTable {
    /// A power of two of `tag << 32 | group`, at most five eighths of them occupied.
    slots: Vec<u64>,
    keys: Groups,
}

/// The keys of a table without the table: what is left to be read once all have been found.
#[derive(Debug)]
pub struct Groups {
    hashes: Vec<u64>,
    columns: Vec<Column>,
}

/// A batch's keys, made ready once for [`KeyTable::growth`] and [`KeyTable::find_or_insert`].
pub struct KeyBatch {
    columns: Vec<ColumnInput>,
}

impl KeyBatch {
    /// The key columns of a batch.
    ///
    /// # Errors
    /// [`Error::Arrow`](crate::Error) for a type that has no row format; the plan has none.
    pub fn new(columns: &[ArrayRef]) -> Result<Self> {
        let columns = columns.iter().map(ColumnInput::new).collect::<Result<_>>()?;
        Ok(Self { columns })
    }
}

impl KeyTable {
    /// A table for keys of these types.
    ///
    /// # Errors
    /// [`Error::Internal`](crate::Error) for a type that is no key's.
    pub fn new<'a>(types: impl IntoIterator<Item = &'a DataType>) -> Result<Self> {
        let columns = types.into_iter().map(Column::new).collect::<Result<_>>()?;
        Ok(Self { slots: vec![EMPTY; LEAST_SLOTS], keys: Groups { hashes: Vec::new(), columns } })
    }

    /// How many groups there are.
    pub fn len(&self) -> usize {
        self.keys.hashes.len()
    }

    /// Whether there is no group.
    pub fn is_empty(&self) -> bool {
        self.keys.hashes.is_empty()
    }

    /// The groups' hashes.
    pub fn hashes(&self) -> &[u64] {
        &self.keys.hashes
    }

    /// Bytes held.
    pub fn memory_bytes(&self) -> u64 {
        bytes_of(&self.slots) + self.keys.memory_bytes()
    }

    /// The most that [`Self::find_or_insert`] of these rows may add, should every key be new.
    pub fn growth(&self, batch: &KeyBatch, rows: usize) -> Growth {
        let slots = slots_for(self.slots.len(), self.len() + rows);
        growth_from::<u64>(self.slots.len(), slots)
            + growth_of(&self.keys.hashes, rows)
            + self
                .keys
                .columns
                .iter()
                .zip(&batch.columns)
                .map(|(column, input)| column.growth(input, rows))
                .sum()
    }

    /// Puts each row's group into `groups`, whose old content goes; unknown keys become groups.
    ///
    /// # Panics
    /// Where `hashes` is longer than a column, or the table goes beyond [`MAX_GROUPS`]; callers
    /// know both.
    pub fn find_or_insert(&mut self, batch: &KeyBatch, hashes: &[u64], groups: &mut Vec<u32>) {
        assert!(self.len() + hashes.len() <= MAX_GROUPS, "callers split keys before this");
        groups.clear();
        groups.resize(hashes.len(), NO_GROUP);
        let mut fresh: Vec<u32> = Vec::with_capacity(CHUNK.min(hashes.len()));
        for first in (0..hashes.len()).step_by(CHUNK) {
            let end = hashes.len().min(first + CHUNK);
            let equal = self.find_chunk(batch, first, &hashes[first..end], &mut groups[first..end]);
            let left = equal[..end - first].iter().filter(|is_equal| !**is_equal).count();
            if left == 0 {
                continue;
            }
            self.widen(left);
            fresh.clear();
            for (row, is_equal) in (first..end).zip(equal) {
                if !is_equal {
                    groups[row] = self.find_or_number(batch, row, hashes[row], &mut fresh);
                }
            }
            self.append(batch, hashes, &fresh);
        }
    }

    /// Puts each row's group into `groups`, whose old content goes; [`NO_GROUP`] where the key is
    /// unknown.
    ///
    /// # Panics
    /// Where `hashes` is longer than a column.
    pub fn find(&self, batch: &KeyBatch, hashes: &[u64], groups: &mut Vec<u32>) {
        groups.clear();
        groups.resize(hashes.len(), NO_GROUP);
        for first in (0..hashes.len()).step_by(CHUNK) {
            let end = hashes.len().min(first + CHUNK);
            let equal = self.find_chunk(batch, first, &hashes[first..end], &mut groups[first..end]);
            for (row, is_equal) in (first..end).zip(equal) {
                // An empty slot at the end of the probe settles it; a tag that lied does not.
                if !is_equal && groups[row] != NO_GROUP {
                    groups[row] = self.find_row(batch, row, hashes[row], &[]).unwrap_or(NO_GROUP);
                }
            }
        }
    }

    /// The keys alone; the slots are freed.
    pub fn into_groups(self) -> Groups {
        let mut keys = self.keys;
        for column in &mut keys.columns {
            column.freeze();
        }
        keys
    }

    /// The steps over a chunk of rows: candidates by tag, then which of them are equal.
    fn find_chunk(
        &self,
        batch: &KeyBatch,
        first: usize,
        hashes: &[u64],
        groups: &mut [u32],
    ) -> [bool; CHUNK] {
        let mut equal = [false; CHUNK];
        candidates(&self.slots, hashes, groups);
        for column in &self.keys.columns {
            column.prefetch(groups);
        }
        for (is_equal, group) in equal.iter_mut().zip(&*groups) {
            *is_equal = *group != NO_GROUP;
        }
        for (column, input) in self.keys.columns.iter().zip(&batch.columns) {
            column.compare(input, first, groups, &mut equal);
        }
        equal
    }

    /// One row's group, or the slot where it belongs. Groups behind the columns' ends are those of
    /// `fresh` rows.
    fn find_row(
        &self,
        batch: &KeyBatch,
        row: usize,
        hash: u64,
        fresh: &[u32],
    ) -> Result<u32, usize> {
        let mask = self.slots.len() - 1;
        let known = self.keys.hashes.len();
        let mut index = home(hash, mask);
        loop {
            let slot = self.slots[index];
            if slot == EMPTY {
                return Err(index);
            }
            if slot >> 32 == hash >> 32 {
                let group = group_of(slot) as usize;
                let is_equal = if group < known {
                    let mut pairs = self.keys.columns.iter().zip(&batch.columns);
                    pairs.all(|(column, input)| column.equals(group, input, row))
                } else {
                    let other = fresh[group - known] as usize;
                    batch.columns.iter().all(|input| input.are_equal(other, row))
                };
                if is_equal {
                    return Ok(group_of(slot));
                }
            }
            index = (index + 1) & mask;
        }
    }

    /// One row's group; a new key's takes its slot, and its row is added to the `fresh` ones.
    #[expect(clippy::cast_possible_truncation, reason = "at most `MAX_GROUPS`, and a batch's rows")]
    fn find_or_number(
        &mut self,
        batch: &KeyBatch,
        row: usize,
        hash: u64,
        fresh: &mut Vec<u32>,
    ) -> u32 {
        self.find_row(batch, row, hash, fresh).unwrap_or_else(|slot| {
            let group = (self.keys.hashes.len() + fresh.len()) as u32;
            self.slots[slot] = slot_of(hash, group);
            fresh.push(row as u32);
            group
        })
    }

    /// Makes the keys of `fresh` rows groups, one after the other.
    fn append(&mut self, batch: &KeyBatch, hashes: &[u64], fresh: &[u32]) {
        let rows = fresh.iter().map(|row| *row as usize);
        reserve(&mut self.keys.hashes, fresh.len());
        self.keys.hashes.extend(rows.clone().map(|row| hashes[row]));
        for (column, input) in self.keys.columns.iter_mut().zip(&batch.columns) {
            column.append(input, rows.clone());
        }
    }

    /// Makes slots for `more` groups.
    fn widen(&mut self, more: usize) {
        let slots = slots_for(self.slots.len(), self.keys.hashes.len() + more);
        if slots > self.slots.len() {
            self.slots = vec![EMPTY; slots];
            fill(&mut self.slots, &self.keys.hashes);
        }
    }
}

impl Groups {
    /// How many groups there are.
    pub fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Whether there is no group.
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// The groups' hashes.
    pub fn hashes(&self) -> &[u64] {
        &self.hashes
    }

    /// Bytes held.
    pub fn memory_bytes(&self) -> u64 {
        bytes_of(&self.hashes) + self.columns.iter().map(Column::memory_bytes).sum::<u64>()
    }

    /// The columns of the keys.
    pub(crate) fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The keys of some groups as columns; text shares the arena.
    ///
    /// # Errors
    /// [`Error::Internal`](crate::Error) where what is kept fits no array, which would be a bug.
    pub fn keys(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        self.columns.iter().map(|column| column.gather(groups)).collect()
    }
}

/// The slots that a table of `slots` has once it holds `groups`.
fn slots_for(slots: usize, groups: usize) -> usize {
    if groups <= slots / 8 * 5 { slots } else { (groups.div_ceil(5) * 8).next_power_of_two() }
}

/// Where a probe begins: by the hash's low bits, as the high ones choose buckets and tags.
#[expect(clippy::cast_possible_truncation, reason = "the mask keeps low bits alone")]
fn home(hash: u64, mask: usize) -> usize {
    hash as usize & mask
}

fn slot_of(hash: u64, group: u32) -> u64 {
    ((hash >> 32) << 32) | u64::from(group)
}

#[expect(clippy::cast_possible_truncation, reason = "a slot's low half is the group")]
fn group_of(slot: u64) -> u32 {
    slot as u32
}

/// For each hash, at most [`CHUNK`], the first group from its home on with its tag, or
/// [`NO_GROUP`].
fn candidates(slots: &[u64], hashes: &[u64], groups: &mut [u32]) {
    let mask = slots.len() - 1;
    if is_far(slots) {
        for hash in hashes {
            prefetch(slots, home(*hash, mask));
        }
    }
    // All homes are fetched before any of them is judged: a branch that goes the other way would
    // throw away the fetches behind it.
    let mut homes = [EMPTY; CHUNK];
    for (slot, hash) in homes.iter_mut().zip(hashes) {
        *slot = slots[home(*hash, mask)];
    }
    for ((hash, group), mut slot) in hashes.iter().zip(groups).zip(homes) {
        let mut index = home(*hash, mask);
        while slot != EMPTY && slot >> 32 != hash >> 32 {
            index = (index + 1) & mask;
            slot = slots[index];
        }
        *group = group_of(slot);
    }
}

/// Puts all groups into empty slots.
fn fill(slots: &mut [u64], hashes: &[u64]) {
    let mask = slots.len() - 1;
    for (group, hash) in (0u32..).zip(hashes) {
        if let Some(ahead) = hashes.get(group as usize + AHEAD) {
            prefetch(slots, home(*ahead, mask));
        }
        let mut index = home(*hash, mask);
        while slots[index] != EMPTY {
            index = (index + 1) & mask;
        }
        slots[index] = slot_of(*hash, group);
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, sync::Arc};

    use arrow::{
        array::{
            ArrayRef, BinaryViewArray, BooleanArray, Date32Array, Decimal128Array, Decimal256Array,
            Float64Array, Int64Array, IntervalMonthDayNanoArray, ListArray, StringViewArray,
            TimestampMicrosecondArray, UInt64Array,
        },
        compute::concat,
        datatypes::{DataType, Float64Type, IntervalMonthDayNano, i256},
        util::display::array_value_to_string,
    };
    use proptest::prelude::*;

    use super::{CHUNK, KeyBatch, KeyTable, NO_GROUP};
    use crate::kernels::hash::hash_columns;

    fn types(columns: &[ArrayRef]) -> Vec<DataType> {
        columns.iter().map(|column| column.data_type().clone()).collect()
    }

    /// The key of a row as a model can compare it: its text, a null apart from every text.
    fn key(columns: &[ArrayRef], row: usize) -> Vec<Option<String>> {
        columns
            .iter()
            .map(|column| {
                let text = || array_value_to_string(column, row).unwrap().replace("-0.0", "0.0");
                column.is_valid(row).then(text)
            })
            .collect()
    }

    /// Looks `batches` up one after the other, by `hash` of the true hashes, and compares groups,
    /// look-ups, keys and foretold memory with a hash map.
    fn check(batches: &[Vec<ArrayRef>], hash: impl Fn(u64) -> u64) {
        let mut table = KeyTable::new(&types(&batches[0])).unwrap();
        let mut model = HashMap::new();
        let mut keys_in_order = Vec::new();
        let (mut hashes, mut groups, mut found) = (vec![], vec![7], vec![7]);
        for columns in batches {
            hash_columns(columns, &mut hashes);
            for each in &mut hashes {
                *each = hash(*each);
            }
            let batch = KeyBatch::new(columns).unwrap();
            table.find(&batch, &hashes, &mut found);
            for (row, group) in found.iter().enumerate() {
                let known = model.get(&key(columns, row)).copied().unwrap_or(NO_GROUP);
                assert_eq!(*group, known);
            }
            let foretold = table.memory_bytes() + table.growth(&batch, hashes.len()).lasting_bytes;
            table.find_or_insert(&batch, &hashes, &mut groups);
            assert!(table.memory_bytes() <= foretold);
            for (row, group) in groups.iter().enumerate() {
                let next = u32::try_from(model.len()).unwrap();
                let expected = *model.entry(key(columns, row)).or_insert_with(|| {
                    keys_in_order.push((key(columns, row), hashes[row]));
                    next
                });
                assert_eq!(*group, expected);
            }
            table.find(&batch, &hashes, &mut found);
            assert_eq!(found, groups);
        }
        assert_eq!(table.len(), model.len());
        let kept = table.into_groups();
        // Backwards, so that gathering is no copy of a range.
        let all: Vec<u32> = (0..u32::try_from(kept.len()).unwrap()).rev().collect();
        let columns = kept.keys(&all).unwrap();
        assert_eq!(types(&columns), types(&batches[0]));
        for (row, group) in all.iter().enumerate() {
            let kept_row = (key(&columns, row), kept.hashes()[*group as usize]);
            assert_eq!(kept_row, keys_in_order[*group as usize]);
        }
    }

    fn texts() -> impl Strategy<Value = Option<String>> {
        prop_oneof![
            1 => Just(None),
            1 => Just(Some(String::new())),
            4 => "[ab]{1,3}".prop_map(Some),
            2 => "commonprefix[ab]{1,4}".prop_map(Some),
            1 => "[a,\"\n\r;ñ☃]{0,14}".prop_map(Some),
        ]
    }

    type Row = (Option<String>, Option<i64>, Option<f64>, Option<bool>, Option<i32>);

    fn rows() -> impl Strategy<Value = Vec<Row>> {
        let float = prop::sample::select(vec![0.0, -0.0, 1.5, f64::NAN, -f64::NAN, f64::INFINITY]);
        prop::collection::vec(
            (
                texts(),
                prop::option::of(-2..3i64),
                prop::option::of(float),
                any::<Option<bool>>(),
                prop::option::of(0..2i32),
            ),
            1..150,
        )
    }

    fn columns(rows: &[Row]) -> Vec<ArrayRef> {
        vec![
            Arc::new(rows.iter().map(|row| row.0.as_deref()).collect::<StringViewArray>()),
            Arc::new(rows.iter().map(|row| row.1).collect::<Int64Array>()),
            Arc::new(rows.iter().map(|row| row.2).collect::<Float64Array>()),
            Arc::new(rows.iter().map(|row| row.3).collect::<BooleanArray>()),
            Arc::new(rows.iter().map(|row| row.4).collect::<Date32Array>()),
        ]
    }

    proptest! {
        // Tables whose hashes all collide take their time.
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn groups_are_those_of_a_hash_map(
            batches in prop::collection::vec(rows(), 1..4),
            kept in prop::sample::subsequence(vec![0, 1, 2, 3, 4], 1..=5),
        ) {
            let batches: Vec<Vec<ArrayRef>> = batches
                .iter()
                .map(|rows| kept.iter().map(|at| Arc::clone(&columns(rows)[*at])).collect())
                .collect();
            check(&batches, |hash| hash);
            // Correct, if slow, where hashes collide: all of them, their tags, their homes.
            check(&batches, |_| 7);
            check(&batches, |_| u64::MAX);
            check(&batches, |hash| hash & 0xffff_ffff);
            check(&batches, |hash| hash & !0xffff_ffff);
        }
    }

    #[test]
    fn a_table_grows_over_many_chunks() {
        let rows = i64::try_from(CHUNK).unwrap() * 9 + 5;
        let numbers: Int64Array = (0..rows).map(|n| Some(n * n % 4001)).collect();
        let times: TimestampMicrosecondArray = (0..rows).map(Some).collect();
        let texts: StringViewArray =
            (0..rows).map(|n| Some(format!("some long text, number {n}"))).collect();
        check(&[vec![Arc::new(numbers)]], |hash| hash);
        check(&[vec![Arc::new(times), Arc::new(texts)]], |hash| hash);
    }

    #[test]
    fn keys_may_be_of_any_type() {
        let decimals = vec![Some(1), Some(-1), None, Some(1), Some(10i128.pow(37)), Some(0)];
        let wide = [1, -1, 0, 1, 7, 7].map(i256::from_i128);
        let bytes: Vec<Option<&[u8]>> =
            vec![Some(b"\xff"), None, Some(b""), Some(b"\xff"), Some(b"longer than a view"), None];
        let intervals = [1, 1, 2, -1, 1, 0].map(|n| IntervalMonthDayNano::new(n, n / 2, 3));
        let list = |list: &[f64]| Some(list.iter().map(|n| Some(*n)).collect::<Vec<_>>());
        let lists = ListArray::from_iter_primitive::<Float64Type, _, _>([
            list(&[0.0, f64::NAN]),
            list(&[-0.0, -f64::NAN]),
            None,
            list(&[]),
            list(&[1.0]),
            None,
        ]);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Decimal128Array::from(decimals).with_data_type(DataType::Decimal128(38, 0))),
            Arc::new(
                Decimal256Array::from(wide.to_vec()).with_data_type(DataType::Decimal256(76, 0)),
            ),
            Arc::new(BinaryViewArray::from(bytes)),
            Arc::new(IntervalMonthDayNanoArray::from(intervals.to_vec())),
            Arc::new(lists),
        ];
        for column in &columns {
            check(&[vec![Arc::clone(column)], vec![column.slice(2, 3)]], |hash| hash);
            check(&[vec![Arc::clone(column)]], |_| 7);
        }
        check(&[columns], |hash| hash);
    }

    #[test]
    fn keys_of_a_megabyte_are_kept_whole() {
        let (mut first, mut second) = ("x".repeat(1 << 20), "x".repeat(1 << 20));
        first.push('a');
        second.push('b');
        let batch = StringViewArray::from(vec![&first, &second, &first, "x"]);
        check(&[vec![Arc::new(batch)]], |hash| hash);
    }

    #[test]
    fn slices_are_looked_up_as_their_own_rows() {
        let all: ArrayRef = Arc::new(StringViewArray::from(vec![Some("z"), None, Some("a"), None]));
        let other: ArrayRef = Arc::new(UInt64Array::from(vec![1, u64::MAX, 3, u64::MAX]));
        check(&[vec![all.slice(1, 3), other.slice(1, 3)]], |hash| hash);
        let twice = concat(&[&all.slice(1, 2), &all.slice(0, 2)]).unwrap();
        check(&[vec![twice.slice(1, 3)]], |hash| hash);
    }

    #[test]
    fn a_table_without_columns_has_one_group() {
        let mut table = KeyTable::new([]).unwrap();
        let batch = KeyBatch::new(&[]).unwrap();
        let mut groups = vec![];
        table.find_or_insert(&batch, &[5, 5, 5], &mut groups);
        assert_eq!(groups, [0, 0, 0]);
        table.find(&batch, &[5, 6], &mut groups);
        assert_eq!(groups, [0, NO_GROUP]);
    }
}
