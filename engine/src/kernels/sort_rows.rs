//! Row numbers in the order of keys.
//!
//! Rows are sorted by words of their keys ([`sort_key`](super::sort_key)), those with equal words by
//! the next words, and so on: no row costs more than what tells it from others. Large groups are
//! scattered by the first bits in which they differ, so that what is sorted by comparison lies in a
//! cache.

use std::{cmp::Ordering, ops::Range};

use arrow::{
    array::{Array, ArrayRef, make_comparator},
    compute::SortOptions,
};

use crate::{
    Error, Result,
    kernels::{
        canonical::with_one_zero_and_nan,
        sort_key::{Chosen, KeyColumn, Place, Words},
    },
};

/// What sorting takes beside the key columns, in bytes for each row: entries, twice while they are
/// scattered, row numbers, and groups of equal rows.
pub(crate) const ROW_BYTES: u64 = 60;

/// So many rows get their words at once.
const CHUNK_ROWS: usize = 4096;

/// Fewer entries than this are sorted by comparison: they lie in a cache.
const SCATTER_ENTRIES: usize = 2048;

/// By how many bits entries are scattered.
const SCATTER_BITS: u32 = 10;

/// The numbers of the rows of key columns in the order of the keys, of which only the first `limit`
/// are wanted; equal rows ascending.
///
/// - Order: NaN equals NaN and is greatest, -0.0 equals 0.0; text by its bytes.
/// - Memory: [`ROW_BYTES`] a row. Columns behind nested ones are compared value by value, for which
///   those with floats are copied.
///
/// # Errors
/// [`Error::Internal`] for 2³² rows or more; [`Error::Arrow`] for a type without an order.
pub(crate) fn sort_rows(
    columns: &[ArrayRef],
    options: &[SortOptions],
    limit: usize,
) -> Result<Vec<u32>> {
    let rows = columns.first().map_or(0, Array::len);
    let count = u32::try_from(rows)
        .map_err(|_| Error::Internal(format!("{rows} rows to be sorted at once")))?;
    let key = |(column, by): (&ArrayRef, &SortOptions)| KeyColumn {
        data_type: column.data_type().clone(),
        options: *by,
        is_nullable: column.logical_null_count() > 0,
    };
    let keys: Vec<_> = columns.iter().zip(options).map(key).collect();
    let mut sorting = Sorting { columns, limit, order: (0..count).collect(), waiting: Vec::new() };
    let mut next =
        Some(Groups { place: Place::default(), groups: std::iter::once(0..count).collect() });
    while let Some(Groups { place, groups }) = next {
        match Words::new(&keys, place) {
            Some(words) if words.bits() <= u64::BITS => sorting.by_words::<u64>(&words, &groups),
            Some(words) => sorting.by_words::<Wide>(&words, &groups),
            None => sorting.by_values(options, place.column, &groups)?,
        }
        next = sorting.waiting.pop();
    }
    let mut order = sorting.order;
    order.truncate(limit);
    Ok(order)
}

/// Ranges of the order whose rows agree in all before a place.
struct Groups {
    place: Place,
    groups: Vec<Range<u32>>,
}

struct Sorting<'a> {
    columns: &'a [ArrayRef],
    limit: usize,
    order: Vec<u32>,
    /// Groups that have not been sorted from their places on.
    waiting: Vec<Groups>,
}

impl Sorting<'_> {
    /// Sorts each group by words; those that are not decided wait.
    fn by_words<W: Word>(&mut self, words: &Words, groups: &[Range<u32>]) {
        let mut entries = self.entries::<W>(words, groups);
        let mut spare = Vec::new();
        let mut undecided: Vec<Groups> = Vec::new();
        let mut rest = entries.as_mut_slice();
        for group in groups {
            let (own, behind) = rest.split_at_mut(group.len());
            rest = behind;
            let own = if groups.len() == 1 { first(own, self.limit) } else { own };
            sort_entries(own, &mut spare);
            let start = group.start as usize;
            for (place, entry) in self.order[start..].iter_mut().zip(own.iter()) {
                *place = entry.row;
            }
            let mut at = group.start;
            for equal in own.chunk_by(|a, b| a.word == b.word) {
                #[expect(clippy::cast_possible_truncation, reason = "there are fewer rows")]
                let range = at..at + equal.len() as u32;
                at = range.end;
                if equal.len() == 1 || range.start as usize >= self.limit {
                    continue;
                }
                let Some(place) = words.undecided(equal[0].word.get()) else { continue };
                match undecided.iter_mut().find(|known| known.place == place) {
                    Some(known) => known.groups.push(range),
                    None => undecided.push(Groups { place, groups: vec![range] }),
                }
            }
        }
        self.waiting.append(&mut undecided);
    }

    /// The rows of groups with their words.
    fn entries<W: Word>(&self, words: &Words, groups: &[Range<u32>]) -> Vec<Entry<W>> {
        let mut entries = Vec::with_capacity(groups.iter().map(ExactSizeIterator::len).sum());
        let (mut rows, mut found) = (Vec::with_capacity(CHUNK_ROWS), Vec::new());
        let mut add = |these: &[u32]| {
            found.clear();
            words.append(self.columns, Chosen::These(these), &mut found);
            let entry = |(row, word): (&u32, &u128)| Entry { word: W::of(*word), row: *row };
            entries.extend(these.iter().zip(&found).map(entry));
        };
        for group in groups {
            let mut group = &self.order[group.start as usize..group.end as usize];
            while !group.is_empty() {
                let (now, later) = group.split_at(group.len().min(CHUNK_ROWS - rows.len()));
                rows.extend_from_slice(now);
                group = later;
                if rows.len() == CHUNK_ROWS {
                    add(&rows);
                    rows.clear();
                }
            }
        }
        add(&rows);
        entries
    }

    /// Sorts each group by the values of the key columns from `first` on.
    fn by_values(
        &mut self,
        options: &[SortOptions],
        first: usize,
        groups: &[Range<u32>],
    ) -> Result<()> {
        let comparator = |(column, by): (&ArrayRef, &SortOptions)| {
            let column = with_one_zero_and_nan(column)?;
            Ok(make_comparator(&column, &column, *by)?)
        };
        let comparators = self.columns.iter().zip(options).skip(first).map(comparator);
        let comparators = comparators.collect::<Result<Vec<_>>>()?;
        let compare = |a: &u32, b: &u32| {
            let by_column = comparators.iter().map(|compare| compare(*a as usize, *b as usize));
            first_difference(by_column).then_with(|| a.cmp(b))
        };
        for group in groups {
            self.order[group.start as usize..group.end as usize].sort_unstable_by(compare);
        }
        Ok(())
    }
}

/// The first of some orders that is not equal.
fn first_difference(mut orders: impl Iterator<Item = Ordering>) -> Ordering {
    orders.find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

/// A word of as many bits as are needed.
trait Word: Copy + Ord {
    fn of(word: u128) -> Self;
    fn get(self) -> u128;
}

impl Word for u64 {
    #[expect(clippy::cast_possible_truncation, reason = "the words that it stands for are short")]
    fn of(word: u128) -> Self {
        word as Self
    }

    fn get(self) -> u128 {
        u128::from(self)
    }
}

/// 128 bits in halves, which need no padding beside a row number.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Wide {
    high: u64,
    low: u64,
}

impl Word for Wide {
    #[expect(clippy::cast_possible_truncation, reason = "a half each")]
    fn of(word: u128) -> Self {
        Self { high: (word >> 64) as u64, low: word as u64 }
    }

    fn get(self) -> u128 {
        (u128::from(self.high) << 64) | u128::from(self.low)
    }
}

impl Ord for Wide {
    fn cmp(&self, other: &Self) -> Ordering {
        self.get().cmp(&other.get())
    }
}

impl PartialOrd for Wide {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A row with its word.
#[derive(Clone, Copy)]
struct Entry<W> {
    word: W,
    row: u32,
}

fn compare<W: Word>(a: &Entry<W>, b: &Entry<W>) -> Ordering {
    a.word.cmp(&b.word).then(a.row.cmp(&b.row))
}

/// Those entries, in no order, that may be among the first `limit`.
fn first<W: Word>(entries: &mut [Entry<W>], limit: usize) -> &mut [Entry<W>] {
    // Where most are wanted they are sorted as well.
    if limit == 0 || limit >= entries.len() / 2 {
        return entries;
    }
    let last = entries.select_nth_unstable_by(limit - 1, compare).1.word;
    // Rows that share the last one's word may come before it.
    let mut kept = limit;
    for at in limit..entries.len() {
        if entries[at].word == last {
            entries.swap(at, kept);
            kept += 1;
        }
    }
    &mut entries[..kept]
}

/// Sorts entries by word and row.
fn sort_entries<W: Word>(entries: &mut [Entry<W>], spare: &mut Vec<Entry<W>>) {
    if entries.len() < SCATTER_ENTRIES {
        entries.sort_unstable_by(compare);
        return;
    }
    if entries.is_sorted_by(|a, b| compare(a, b).is_le()) {
        return;
    }
    let first = entries[0].word.get();
    let differing = entries.iter().fold(0, |bits, entry| bits | (entry.word.get() ^ first));
    if differing == 0 {
        entries.sort_unstable_by(compare);
        return;
    }
    // All bits above these are equal.
    let shift = (u128::BITS - differing.leading_zeros()).saturating_sub(SCATTER_BITS);
    let mask = (1_u128 << SCATTER_BITS) - 1;
    let bucket = |entry: &Entry<W>| ((entry.word.get() >> shift) & mask) as usize;
    let mut starts = vec![0_usize; (1 << SCATTER_BITS) + 1];
    for entry in entries.iter() {
        starts[bucket(entry) + 1] += 1;
    }
    for at in 1..starts.len() {
        starts[at] += starts[at - 1];
    }
    let ends = starts.clone();
    if spare.len() < entries.len() {
        spare.resize(entries.len(), entries[0]);
    }
    for entry in entries.iter() {
        let start = &mut starts[bucket(entry)];
        spare[*start] = *entry;
        *start += 1;
    }
    entries.copy_from_slice(&spare[..entries.len()]);
    for range in ends.windows(2) {
        if range[1] - range[0] > 1 {
            sort_entries(&mut entries[range[0]..range[1]], spare);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::{
        array::{BinaryViewArray, Decimal128Array, Float64Array, Int64Array, ListArray},
        datatypes::Int64Type,
    };
    use proptest::prelude::*;

    use super::*;

    /// A text among many that share their beginnings.
    fn text() -> impl Strategy<Value = Vec<u8>> {
        let long = (0_usize..4, "[ab\\x00]{0,3}")
            .prop_map(|(times, end)| ["a long text  ".repeat(times), end].concat().into_bytes());
        prop_oneof![long, prop::collection::vec(any::<u8>(), 0..20)]
    }

    type Row = (Option<i64>, Option<Vec<u8>>, Option<f64>, Option<i128>, Option<Vec<i64>>);

    fn row() -> impl Strategy<Value = Row> {
        let wide = prop_oneof![Just(1_i128 << 70), Just(-(1_i128 << 70)), -1_i128..2];
        (
            prop::option::of(prop_oneof![-2_i64..2, any::<i64>()]),
            prop::option::of(text()),
            prop::option::of(prop::sample::select(vec![0.0, -0.0, f64::NAN, -f64::NAN, 1.0])),
            prop::option::of(wide),
            prop::option::of(prop::collection::vec(-1_i64..2, 0..3)),
        )
    }

    fn columns(rows: &[Row]) -> Vec<ArrayRef> {
        let decimals: Decimal128Array = rows.iter().map(|row| row.3).collect();
        let lists = rows.iter().map(|row| Some(row.4.as_ref()?.iter().copied().map(Some)));
        vec![
            Arc::new(rows.iter().map(|row| row.0).collect::<Int64Array>()),
            Arc::new(rows.iter().map(|row| row.1.as_deref()).collect::<BinaryViewArray>()),
            Arc::new(rows.iter().map(|row| row.2).collect::<Float64Array>()),
            Arc::new(decimals.with_precision_and_scale(38, 2).unwrap()),
            Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists)),
        ]
    }

    fn model(columns: &[ArrayRef], options: &[SortOptions]) -> Vec<u32> {
        let canonical: Vec<_> =
            columns.iter().map(|column| with_one_zero_and_nan(column).unwrap()).collect();
        let comparators: Vec<_> = canonical
            .iter()
            .zip(options)
            .map(|(column, options)| make_comparator(column, column, *options).unwrap())
            .collect();
        let mut rows: Vec<u32> = (0..u32::try_from(columns[0].len()).unwrap()).collect();
        rows.sort_by(|a, b| {
            first_difference(comparators.iter().map(|compare| compare(*a as usize, *b as usize)))
        });
        rows
    }

    proptest! {
        #[test]
        fn rows_stand_as_a_stable_sort_by_values_has_them(
            rows in prop::collection::vec(row(), 1..200),
            chosen in prop::collection::vec((0_usize..5, any::<bool>(), any::<bool>()), 1..5),
            offset in 0_usize..5,
            limit in prop_oneof![Just(usize::MAX), 0_usize..200],
        ) {
            let all = columns(&rows);
            let offset = offset.min(rows.len() - 1);
            let slice = |at: usize| all[at].slice(offset, rows.len() - offset);
            let keys: Vec<_> = chosen.iter().map(|(column, ..)| slice(*column)).collect();
            let options: Vec<_> = chosen
                .iter()
                .map(|(_, descending, nulls_first)| SortOptions {
                    descending: *descending,
                    nulls_first: *nulls_first,
                })
                .collect();
            let mut expected = model(&keys, &options);
            expected.truncate(limit);
            prop_assert_eq!(sort_rows(&keys, &options, limit).unwrap(), expected);
        }

        #[test]
        fn many_rows_are_scattered_and_stay_in_order(
            seed in any::<u64>(), spread in 1_u64..1 << 40, narrow in 1_u64..100,
            limit in prop_oneof![Just(usize::MAX), 1_usize..9_000],
        ) {
            let mut state = seed | 1;
            let mut random = |below: u64| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                i64::try_from((state >> 20) % below).unwrap()
            };
            let of = |values: Vec<i64>| -> ArrayRef { Arc::new(Int64Array::from(values)) };
            let wide = of((0..9_000).map(|_| random(spread)).collect());
            let few = of((0..9_000).map(|_| random(narrow)).collect());
            for keys in [vec![Arc::clone(&wide)], vec![few, wide]] {
                let options = vec![SortOptions::new(true, false); keys.len()];
                let mut expected = model(&keys, &options);
                expected.truncate(limit);
                prop_assert_eq!(sort_rows(&keys, &options, limit).unwrap(), expected);
            }
        }
    }

    #[test]
    fn sorted_equal_and_no_rows() {
        let of = |values: Vec<i64>| -> [ArrayRef; 1] { [Arc::new(Int64Array::from(values))] };
        let options = [SortOptions::new(false, false)];
        let sort = |keys: &[ArrayRef]| sort_rows(keys, &options, usize::MAX).unwrap();
        assert!(sort(&of(Vec::new())).is_empty());
        let ascending: Vec<u32> = (0..5_000).collect();
        assert_eq!(sort(&of(vec![7; 5_000])), ascending);
        assert_eq!(sort(&of((0..5_000).collect())), ascending);
    }
}
