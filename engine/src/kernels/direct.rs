//! [`DirectIndex`]: from keys of small domains to their groups by arithmetic alone.
//!
//! Each key column gives a row a code: a whole number its distance from the least one, a short text
//! its place in a table of those seen; 0 is the null's. The codes together, as digits, are the
//! number of a cell, and the cell holds the group. So nothing is hashed and nothing compared but
//! short texts, and the cells of some thousand groups stay in the first caches. What has no cell yet
//! goes the usual way, through a [`KeyTable`](crate::kernels::key_table::KeyTable), which stays the
//! owner of keys and groups.
//!
//! An index that keys don't suit (wide ranges, many texts, long ones) says so and is dropped.

use arrow::{
    array::{Array, ArrayRef, AsArray},
    buffer::NullBuffer,
    datatypes::{
        DataType, Date32Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type,
        UInt32Type,
    },
};

use crate::kernels::{growth::bytes_of, key_table::NO_GROUP, prefetch::prefetch_each};

/// So many cells there may be for however few groups: 1 MiB, which stays in the second-level cache.
const SPARSE_CELLS: u64 = 1 << 18;
/// So many cells there may be where one in [`LEAST_USE`] has a group.
const DENSE_CELLS: u64 = 1 << 22;
const LEAST_USE: u64 = 4;
/// The most different texts of a column among others.
const MAX_TEXTS: usize = 4096;
/// The most of a column that is the only one: they stay in the first-level cache, and a single
/// column is found in a table, which asks for its memory early, as soon as more would be here.
const MAX_SINGLE_TEXTS: usize = 512;
/// There are so many places for each text, so that it mostly is in its own: a second step that is taken
/// now and then costs as much as four look-ups. Up to so many they stay in the first caches.
const SPARSE_FACTOR: usize = 32;
const LEAST_PLACES: usize = 1 << 9;
const MOST_PLACES: usize = 1 << 15;
/// No view of a short text is this.
const NO_VIEW: u128 = u128::MAX;
/// A text that is not found after so many steps makes the index give up: its texts collide.
const MAX_STEPS: usize = 64;
/// Rows whose cells are asked for together.
const CHUNK: usize = 512;
/// The longest text that a view holds itself, in bytes.
const INLINE_BYTES: u128 = 12;

/// Cells by codes of keys.
///
/// - Memory: [`DirectIndex::memory_bytes`]; [`Found::Wider`] says what more it asks for before it
///   takes it.
#[derive(Debug)]
pub(crate) struct DirectIndex {
    coders: Vec<Coder>,
    /// How many codes of each column there are cells for; their product is the number of cells.
    widths: Vec<u32>,
    cells: Vec<u32>,
    /// The cell of each row that was looked up last.
    rows: Vec<u32>,
    /// How many cells have a group.
    used: u64,
}

/// What came of looking rows up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Every row has its group, or [`NO_GROUP`].
    Rows,
    /// So many bytes more are needed: [`DirectIndex::widen`], then look up again.
    Wider(u64),
    /// These keys are not for an index; it is of no use any more.
    Unfit,
}

/// How a column's values become codes, from 1 on.
#[derive(Debug)]
enum Coder {
    Numbers(Numbers),
    Texts(Texts),
}

/// Whole numbers by their distance from `least`.
#[derive(Debug, Default)]
struct Numbers {
    least: i64,
    /// Values from `least` on that have codes; 0 before the first.
    span: u64,
    /// The least and the greatest value that came.
    seen: Option<(i64, i64)>,
    /// What must have codes, and has not yet.
    wanted: Option<(i64, i64)>,
}

/// Short texts by the order of their coming.
#[derive(Debug)]
struct Texts {
    /// Codes by a hash of their views; 0 is an empty place.
    places: Vec<u16>,
    /// Views by code; there is none of code 0.
    views: Vec<u128>,
    /// The most that there may be.
    most: usize,
}

impl DirectIndex {
    /// An index for keys of these types; `None` where one is not for it.
    pub(crate) fn new<'a>(types: impl IntoIterator<Item = &'a DataType>) -> Option<Self> {
        let types: Vec<&DataType> = types.into_iter().collect();
        let most = if types.len() == 1 { MAX_SINGLE_TEXTS } else { MAX_TEXTS };
        let coder = |of: &DataType| match of {
            DataType::Boolean
            | DataType::Int8
            | DataType::Int16
            | DataType::Int32
            | DataType::Int64
            | DataType::UInt8
            | DataType::UInt16
            | DataType::UInt32
            | DataType::Date32 => Some(Coder::Numbers(Numbers::default())),
            DataType::Utf8View => Some(Coder::Texts(Texts::new(most))),
            _ => None,
        };
        let coders: Vec<Coder> = types.into_iter().map(coder).collect::<Option<_>>()?;
        let widths = vec![1; coders.len()];
        let (cells, rows) = (vec![NO_GROUP], Vec::new());
        Some(Self { coders, widths, cells, rows, used: 0 })
    }

    /// Bytes held.
    pub(crate) fn memory_bytes(&self) -> u64 {
        let texts = self.coders.iter().map(|coder| match coder {
            Coder::Numbers(_) => 0,
            Coder::Texts(texts) => bytes_of(&texts.places) + bytes_of(&texts.views),
        });
        bytes_of(&self.cells) + bytes_of(&self.rows) + texts.sum::<u64>()
    }

    /// Looks rows up: each one's group goes to `groups`, whose old content goes, and the numbers of
    /// those without one to `missing`.
    pub(crate) fn find(
        &mut self,
        keys: &[ArrayRef],
        rows: usize,
        groups: &mut Vec<u32>,
        missing: &mut Vec<u32>,
    ) -> Found {
        self.rows.clear();
        self.rows.resize(rows, 0);
        let mut is_covered = true;
        // The last column's codes are the last digit; a column that asks for more codes is not
        // encoded, but those behind it say what they ask for too.
        for ((coder, key), width) in self.coders.iter_mut().zip(keys).zip(&self.widths) {
            let fits = match coder {
                Coder::Numbers(numbers) => numbers.encode(key, *width, &mut self.rows),
                Coder::Texts(texts) => texts.encode(key, *width, &mut self.rows),
            };
            match fits {
                Some(fits) => is_covered &= fits,
                None => return Found::Unfit,
            }
        }
        if !is_covered {
            return match self.wider() {
                Some((_, cells)) => Found::Wider(4 * cells),
                None => Found::Unfit,
            };
        }
        groups.clear();
        for cells in self.rows.chunks(CHUNK) {
            prefetch_each(&self.cells, cells);
            groups.extend(cells.iter().map(|cell| self.cells[*cell as usize]));
        }
        missing.clear();
        if groups.contains(&NO_GROUP) {
            let without = (0_u32..).zip(groups.iter()).filter(|(_, group)| **group == NO_GROUP);
            missing.extend(without.map(|(row, _)| row));
        }
        Found::Rows
    }

    /// Gives the cells of rows of the last [`Self::find`] their groups.
    pub(crate) fn enter(&mut self, rows: &[u32], groups: &[u32]) {
        for (row, group) in rows.iter().zip(groups) {
            let cell = &mut self.cells[self.rows[*row as usize] as usize];
            self.used += u64::from(*cell == NO_GROUP);
            *cell = *group;
        }
    }

    /// The widths that all columns ask for, and their product; `None` where it is too many.
    fn wider(&self) -> Option<(Vec<u32>, u64)> {
        let mut cells: u64 = 1;
        let mut widths = Vec::with_capacity(self.coders.len());
        for coder in &self.coders {
            let width = match coder {
                Coder::Numbers(numbers) => numbers.width()?,
                Coder::Texts(texts) => texts.width(),
            };
            cells = cells.checked_mul(width).filter(|cells| *cells <= DENSE_CELLS)?;
            widths.push(u32::try_from(width).ok()?);
        }
        let most = SPARSE_CELLS.max(LEAST_USE * self.used);
        (cells <= most).then_some((widths, cells))
    }

    /// Takes the cells that [`Found::Wider`] asked for.
    pub(crate) fn widen(&mut self) {
        let Some((widths, cells)) = self.wider() else { return };
        let shifts: Vec<i64> = self.coders.iter_mut().map(Coder::widen).collect();
        let old_cells = std::mem::take(&mut self.cells);
        self.cells = vec![NO_GROUP; usize::try_from(cells).unwrap_or(usize::MAX)];
        for (old, group) in (0_u32..).zip(old_cells).filter(|(_, group)| *group != NO_GROUP) {
            let (mut rest, mut cell, mut unit) = (old, 0, 1);
            for ((old_width, width), shift) in self.widths.iter().zip(&widths).zip(&shifts).rev() {
                let code = rest % old_width;
                rest /= old_width;
                let moved = if code == 0 { 0 } else { i64::from(code) + shift };
                cell += unit * u32::try_from(moved).unwrap_or(0);
                unit *= width;
            }
            self.cells[cell as usize] = group;
        }
        self.widths = widths;
    }
}

impl Coder {
    /// Begins to use the codes that were asked for; by how much those of old rise.
    fn widen(&mut self) -> i64 {
        match self {
            Self::Numbers(numbers) => numbers.widen(),
            Self::Texts(_) => 0,
        }
    }
}

impl Numbers {
    /// How many codes are wanted: a power of two that covers all values, and the null's.
    fn width(&self) -> Option<u64> {
        let Some((least, greatest)) = self.wanted else { return Some(self.span + 1) };
        let span = greatest.checked_sub(least)?.cast_unsigned().checked_add(1)?;
        Some(span.checked_next_power_of_two()?.max(self.span) + 1)
    }

    /// The codes that are more than the values lie where the values go: below for descending ones.
    fn widen(&mut self) -> i64 {
        let (Some(width), Some(wanted)) = (self.width(), self.wanted.take()) else { return 0 };
        let (least, greatest) = wanted;
        let span = width - 1;
        let first = if self.span > 0 && least < self.least {
            greatest.checked_sub_unsigned(span - 1).unwrap_or(least)
        } else {
            least
        };
        // Both lie within a span of at most 2²² values.
        let shift = if self.span == 0 { 0 } else { self.least.wrapping_sub(first) };
        (self.least, self.span, self.seen) = (first, span, Some(wanted));
        shift
    }

    /// Adds a digit to the rows' numbers; `Some(false)` where codes are wanted, `None` where the
    /// column has no whole numbers.
    fn encode(&mut self, key: &ArrayRef, width: u32, rows: &mut [u32]) -> Option<bool> {
        let nulls = key.logical_nulls().filter(|nulls| nulls.null_count() > 0);
        let nulls = nulls.as_ref();
        Some(match key.data_type() {
            DataType::Int32 => {
                self.digits(key.as_primitive::<Int32Type>().values(), nulls, width, rows)
            }
            DataType::Int64 => {
                self.digits(key.as_primitive::<Int64Type>().values(), nulls, width, rows)
            }
            DataType::Int8 => {
                self.digits(key.as_primitive::<Int8Type>().values(), nulls, width, rows)
            }
            DataType::Int16 => {
                self.digits(key.as_primitive::<Int16Type>().values(), nulls, width, rows)
            }
            DataType::UInt8 => {
                self.digits(key.as_primitive::<UInt8Type>().values(), nulls, width, rows)
            }
            DataType::UInt16 => {
                self.digits(key.as_primitive::<UInt16Type>().values(), nulls, width, rows)
            }
            DataType::UInt32 => {
                self.digits(key.as_primitive::<UInt32Type>().values(), nulls, width, rows)
            }
            DataType::Date32 => {
                self.digits(key.as_primitive::<Date32Type>().values(), nulls, width, rows)
            }
            DataType::Boolean => {
                let values: Vec<u8> = key.as_boolean().values().iter().map(u8::from).collect();
                self.digits(&values, nulls, width, rows)
            }
            _ => return None,
        })
    }

    #[expect(clippy::cast_possible_truncation, reason = "codes are below 2²² + 1, modulo 2³²")]
    #[expect(clippy::cast_sign_loss, reason = "likewise")]
    fn digits<T: Copy + Ord + Into<i64>>(
        &mut self,
        values: &[T],
        nulls: Option<&NullBuffer>,
        width: u32,
        rows: &mut [u32],
    ) -> bool {
        self.wanted = None;
        let range = match nulls {
            None => values.split_first().map(|(first, others)| {
                others.iter().fold((*first, *first), |(least, greatest), value| {
                    (least.min(*value), greatest.max(*value))
                })
            }),
            Some(nulls) => {
                let valid = || nulls.valid_indices().map(|row| values[row]);
                valid().min().zip(valid().max())
            }
        };
        if let Some((least, greatest)) = range {
            let (least, greatest): (i64, i64) = (least.into(), greatest.into());
            // An empty span covers nothing, not even its own beginning.
            let covered = u64::try_from(i128::from(greatest) - i128::from(self.least));
            let is_covered =
                least >= self.least && covered.is_ok_and(|distance| distance < self.span);
            let seen = self.seen.unwrap_or((least, greatest));
            let all = (least.min(seen.0), greatest.max(seen.1));
            if !is_covered {
                self.wanted = Some(all);
                return false;
            }
            self.seen = Some(all);
        }
        let before_least = self.least.wrapping_sub(1) as u32;
        let code = |value: T| (value.into() as u32).wrapping_sub(before_least);
        match nulls {
            None => {
                for (row, value) in rows.iter_mut().zip(values) {
                    *row = row.wrapping_mul(width).wrapping_add(code(*value));
                }
            }
            Some(nulls) => {
                for ((row, value), is_valid) in rows.iter_mut().zip(values).zip(nulls) {
                    let digit = if is_valid { code(*value) } else { 0 };
                    *row = row.wrapping_mul(width).wrapping_add(digit);
                }
            }
        }
        true
    }
}

impl Texts {
    fn new(most: usize) -> Self {
        Self { places: vec![0; LEAST_PLACES], views: vec![NO_VIEW], most }
    }

    fn count(&self) -> usize {
        self.views.len() - 1
    }

    /// A power of two that covers all texts seen, and the null's.
    fn width(&self) -> u64 {
        (self.count().next_power_of_two().max(8) + 1) as u64
    }

    /// As [`Numbers::encode`]; `None` where texts are long or many.
    fn encode(&mut self, key: &ArrayRef, width: u32, rows: &mut [u32]) -> Option<bool> {
        let key = key.as_string_view_opt()?;
        let nulls = key.nulls().filter(|nulls| nulls.null_count() > 0);
        let mut greatest = 0;
        for (at, (row, view)) in rows.iter_mut().zip(key.views()).enumerate() {
            let code = match nulls {
                Some(nulls) if nulls.is_null(at) => 0,
                _ => self.code(*view)?,
            };
            greatest = greatest.max(code);
            *row = row.wrapping_mul(width).wrapping_add(code);
        }
        Some(greatest < width)
    }

    /// A text's code, a new one where it is new.
    #[inline]
    fn code(&mut self, view: u128) -> Option<u32> {
        if view & 0xffff_ffff > INLINE_BYTES {
            return None;
        }
        let mask = self.places.len() - 1;
        let first = hash(view);
        for step in 0..MAX_STEPS {
            let code = self.places[first.wrapping_add(step) & mask];
            if self.views[usize::from(code)] == view {
                return Some(code.into());
            }
            if code == 0 {
                break;
            }
        }
        self.add(view)
    }

    #[cold]
    fn add(&mut self, view: u128) -> Option<u32> {
        if self.count() == self.most {
            return None;
        }
        let code = u16::try_from(self.views.len()).ok()?;
        self.views.push(view);
        let wanted = (self.views.len() * SPARSE_FACTOR).min(MOST_PLACES);
        if wanted > self.places.len() {
            self.places = vec![0; wanted.next_power_of_two()];
            for known in 1..=code {
                self.put(known)?;
            }
        } else {
            self.put(code)?;
        }
        Some(code.into())
    }

    /// Puts a code into a free place near its view's own.
    fn put(&mut self, code: u16) -> Option<()> {
        let mask = self.places.len() - 1;
        let first = hash(self.views[usize::from(code)]);
        let free = (0..MAX_STEPS)
            .map(|step| first.wrapping_add(step) & mask)
            .find(|place| self.places[*place] == 0)?;
        self.places[free] = code;
        Some(())
    }
}

/// A private hash of a short text: nothing but the speed depends on it.
#[expect(clippy::cast_possible_truncation, reason = "halves of a view, and of a product")]
fn hash(view: u128) -> usize {
    let (low, high) = (view as u64, (view >> 64) as u64);
    // Every bit of the text has a part in the low bits of the product's halves together.
    let product =
        u128::from(low ^ 0x9e37_79b9_7f4a_7c15) * u128::from(high ^ 0xd6e8_feb8_6659_fd93);
    (product as u64 ^ (product >> 64) as u64) as usize
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, sync::Arc};

    use arrow::array::{
        ArrayRef, BooleanArray, Date32Array, Int32Array, Int64Array, StringViewArray, UInt8Array,
    };
    use proptest::prelude::*;

    use super::{DirectIndex, Found};
    use crate::kernels::key_table::NO_GROUP;

    type Row = (Option<i32>, Option<String>, Option<bool>, Option<u8>);

    fn columns(rows: &[Row]) -> Vec<ArrayRef> {
        vec![
            Arc::new(rows.iter().map(|row| row.0).collect::<Int32Array>()),
            Arc::new(rows.iter().map(|row| row.1.as_deref()).collect::<StringViewArray>()),
            Arc::new(rows.iter().map(|row| row.2).collect::<BooleanArray>()),
            Arc::new(rows.iter().map(|row| row.3).collect::<UInt8Array>()),
        ]
    }

    /// Looks a batch up, taking all cells asked for; the groups of rows, new ones from `model`.
    fn look_up(
        index: &mut DirectIndex,
        columns: &[ArrayRef],
        rows: usize,
    ) -> Option<(Vec<u32>, Vec<u32>)> {
        let (mut groups, mut missing) = (vec![5], vec![5]);
        loop {
            match index.find(columns, rows, &mut groups, &mut missing) {
                Found::Rows => return Some((groups, missing)),
                Found::Wider(bytes) => {
                    let texts = index.memory_bytes();
                    index.widen();
                    assert!(index.memory_bytes() <= texts + bytes);
                }
                Found::Unfit => return None,
            }
        }
    }

    fn rows() -> impl Strategy<Value = Vec<Row>> {
        prop::collection::vec(
            (
                prop::option::of(-40..40i32),
                prop::option::of("[ab]{0,3}"),
                any::<Option<bool>>(),
                prop::option::of(250..=255u8),
            ),
            0..60,
        )
    }

    proptest! {
        #[test]
        fn groups_are_those_of_a_hash_map(batches in prop::collection::vec(rows(), 1..6)) {
            let types: Vec<_> = columns(&[]).iter().map(|c| c.data_type().clone()).collect();
            let mut index = DirectIndex::new(&types).unwrap();
            let mut model: HashMap<Row, u32> = HashMap::new();
            for rows in &batches {
                let found = look_up(&mut index, &columns(rows), rows.len());
                let (groups, missing) = found.expect("few cells");
                for (row, group) in rows.iter().zip(&groups) {
                    prop_assert_eq!(*group, model.get(row).copied().unwrap_or(NO_GROUP));
                }
                let entered: Vec<u32> = missing
                    .iter()
                    .map(|row| {
                        let next = u32::try_from(model.len()).unwrap();
                        *model.entry(rows[*row as usize].clone()).or_insert(next)
                    })
                    .collect();
                index.enter(&missing, &entered);
            }
        }
    }

    fn find_one(index: &mut DirectIndex, column: ArrayRef) -> Option<(Vec<u32>, Vec<u32>)> {
        let rows = column.len();
        look_up(index, &[column], rows)
    }

    #[test]
    fn a_range_may_grow_both_ways_and_end_at_the_edges() {
        let mut index = DirectIndex::new(&[arrow::datatypes::DataType::Int64]).unwrap();
        let batch =
            |from: i64, to: i64| Arc::new(Int64Array::from_iter_values(from..to)) as ArrayRef;
        let (groups, missing) = find_one(&mut index, batch(100, 104)).unwrap();
        assert_eq!((groups, missing.clone()), (vec![NO_GROUP; 4], vec![0, 1, 2, 3]));
        index.enter(&missing, &[0, 1, 2, 3]);
        let (lower, _) = find_one(&mut index, batch(-5, 102)).unwrap();
        assert_eq!(lower[105..], [0, 1]);
        let (upper, _) = find_one(&mut index, batch(101, 1_000)).unwrap();
        assert_eq!(upper[..4], [1, 2, 3, NO_GROUP]);
        // One step down after the other does not double it each time.
        for first in (-400..-5).rev() {
            assert!(find_one(&mut index, batch(first, first + 2)).is_some());
        }
        assert!(index.memory_bytes() < 64 << 10, "{} bytes", index.memory_bytes());
        let (middle, _) = find_one(&mut index, batch(99, 105)).unwrap();
        assert_eq!(middle, [NO_GROUP, 0, 1, 2, 3, NO_GROUP]);
        let edges: ArrayRef = Arc::new(Int64Array::from(vec![i64::MIN, i64::MAX]));
        assert_eq!(find_one(&mut index, edges), None);
        let mut edge_index = DirectIndex::new(&[arrow::datatypes::DataType::Int64]).unwrap();
        let edge: ArrayRef = Arc::new(Int64Array::from(vec![i64::MAX - 1, i64::MAX]));
        assert!(find_one(&mut edge_index, edge).is_some());
    }

    fn texts(numbers: std::ops::Range<u32>) -> ArrayRef {
        Arc::new(numbers.map(|n| Some(n.to_string())).collect::<StringViewArray>())
    }

    #[test]
    fn a_single_text_has_fewer_codes_than_texts_side_by_side() {
        let text = [arrow::datatypes::DataType::Utf8View];
        let mut index = DirectIndex::new(&text).unwrap();
        let (groups, missing) = find_one(&mut index, texts(0..500)).unwrap();
        assert_eq!((groups[499], missing.len()), (NO_GROUP, 500));
        index.enter(&missing, &(0..500).collect::<Vec<_>>());
        assert_eq!(find_one(&mut index, texts(7..9)).unwrap(), (vec![7, 8], vec![]));
        assert_eq!(find_one(&mut index, texts(500..600)), None);
        let long: ArrayRef =
            Arc::new(StringViewArray::from(vec![Some("longer than a view"), None]));
        assert_eq!(find_one(&mut DirectIndex::new(&text).unwrap(), long), None);
    }

    #[test]
    fn keys_that_do_not_suit_are_refused() {
        let types = [arrow::datatypes::DataType::Utf8View, arrow::datatypes::DataType::Utf8View];
        let find_twice = |text: ArrayRef| {
            let rows = text.len();
            look_up(&mut DirectIndex::new(&types).unwrap(), &[Arc::clone(&text), text], rows)
        };
        let long: ArrayRef = Arc::new(StringViewArray::from(vec!["longer than a view holds"]));
        assert_eq!(find_twice(long), None);
        assert_eq!(find_twice(texts(0..5_000)), None);
        assert!(DirectIndex::new(&[arrow::datatypes::DataType::Float64]).is_none());
        // Dates far apart, and no key at all.
        let far: ArrayRef = Arc::new(Date32Array::from(vec![0, 1 << 20]));
        let dates = [arrow::datatypes::DataType::Date32];
        assert_eq!(find_one(&mut DirectIndex::new(&dates).unwrap(), far), None);
        let mut none = DirectIndex::new(&[]).unwrap();
        assert_eq!(look_up(&mut none, &[], 2), Some((vec![NO_GROUP; 2], vec![0, 1])));
    }
}
