//! [`RuntimeFilter`]: what the keys of a join's build side say of the rows that are read for its
//! probe side.
//!
//! A hint. Where the build side is in memory before the first row is read, rows without a partner
//! need not be decoded; where it is not, all rows are. Nobody waits for it, and no result depends
//! on it.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, Ordering},
};

use arrow::{
    array::{ArrayRef, BooleanArray, RecordBatch},
    buffer::BooleanBuffer,
    compute::filter_record_batch,
};

use crate::Result;

/// So many rows of a split are tested before it is judged whether that pays.
const JUDGED_ROWS: u64 = 16 << 10;

/// Keys that some rows must have.
pub trait KeySet: Send + Sync {
    /// The least and the greatest of them, as arrays of one value; `None` where it is not known.
    fn bounds(&self) -> Option<(ArrayRef, ArrayRef)>;

    /// Which of these values are among them; none that is null.
    ///
    /// # Errors
    /// Those of a type that no key has.
    fn contains(&self, values: &ArrayRef) -> Result<BooleanBuffer>;
}

/// Where a join leaves its keys for the source below it; clones are the same.
#[derive(Clone, Default)]
pub struct RuntimeFilter(Arc<OnceLock<Arc<dyn KeySet>>>);

impl RuntimeFilter {
    /// Says which keys there are; the first time counts.
    pub fn set(&self, keys: Arc<dyn KeySet>) {
        // Whoever comes second says the same.
        self.0.get_or_init(|| keys);
    }

    /// The keys, where they are known by now.
    pub(crate) fn keys(&self) -> Option<&Arc<dyn KeySet>> {
        self.0.get()
    }
}

/// Whether the scan's predicate holds for each row of the batch that a source gave last, so that a
/// filter above need not ask again; clones are the same.
#[derive(Clone, Default)]
pub struct Tested(Arc<AtomicBool>);

impl Tested {
    /// Says it of the batch that is given next.
    pub(crate) fn set(&self, is_tested: bool) {
        // One thread pulls the batch and asks.
        self.0.store(is_tested, Ordering::Relaxed);
    }

    /// Whether it does.
    pub(crate) fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a columnar source and the steps above it tell one another.
#[derive(Default)]
pub(crate) struct Told {
    /// What joins say of columns, by their places in the source's schema.
    pub(crate) filters: Vec<(usize, RuntimeFilter)>,
    /// What the source says.
    pub(crate) tested: Tested,
}

/// Filters whose keys are known, of one split's source, each with the place in the source's schema of
/// what is tested.
#[derive(Default)]
pub(crate) struct KnownKeys(Vec<(usize, Known<dyn KeySet>)>);

/// Keys, and how many of the rows that were tested have them.
pub(crate) struct Known<K: ?Sized> {
    pub(crate) keys: Arc<K>,
    tested_rows: u64,
    found_rows: u64,
}

impl<K: ?Sized> Known<K> {
    /// Before the first test.
    pub(crate) fn new(keys: Arc<K>) -> Self {
        Self { keys, tested_rows: 0, found_rows: 0 }
    }

    /// Counts the rows of a test, and those that may have a partner.
    pub(crate) fn count(&mut self, tested: usize, found: usize) {
        self.tested_rows += tested as u64;
        self.found_rows += found as u64;
    }

    /// Whether testing more rows pays: it does until it is known that most of them pass. What was
    /// found in other splits does not count, so that a task leaves out the same rows each time.
    pub(crate) fn pays(&self) -> bool {
        self.tested_rows < JUDGED_ROWS || self.found_rows <= self.tested_rows / 2
    }
}

impl KnownKeys {
    /// Of these filters, each with the place of its column, those that are known.
    pub(crate) fn of(filters: &[(usize, RuntimeFilter)]) -> Self {
        let known = |(column, filter): &(usize, RuntimeFilter)| {
            Some((*column, Known::new(Arc::clone(filter.keys()?))))
        };
        Self(filters.iter().filter_map(known).collect())
    }

    /// The columns whose values lie between bounds, with these.
    pub(crate) fn bounds(&self) -> impl Iterator<Item = (usize, (ArrayRef, ArrayRef))> {
        self.0.iter().filter_map(|(column, known)| Some((*column, known.keys.bounds()?)))
    }

    /// Each with the place of what is tested, for who tests rows before they are a batch.
    pub(crate) fn each(&mut self) -> impl Iterator<Item = (usize, &mut Known<dyn KeySet>)> {
        self.0.iter_mut().map(|(place, known)| (*place, known))
    }

    /// The rows of a batch that may have a partner by all of them; `None` where none may.
    ///
    /// # Errors
    /// As [`KeySet::contains`].
    pub(crate) fn keep(&mut self, batch: RecordBatch) -> Result<Option<RecordBatch>> {
        let Some(may_meet) = self.test(|place| batch.columns().get(place))? else {
            return Ok(Some(batch));
        };
        let batch = filter_record_batch(&batch, &BooleanArray::new(may_meet, None))?;
        Ok(Some(batch).filter(|batch| batch.num_rows() > 0))
    }

    /// Which rows may have a partner by all of them; `None` where all rows may. `column` gives the
    /// values at a place.
    fn test<'a>(
        &mut self,
        column: impl Fn(usize) -> Option<&'a ArrayRef>,
    ) -> Result<Option<BooleanBuffer>> {
        let mut may_meet: Option<BooleanBuffer> = None;
        for (place, known) in self.0.iter_mut().filter(|(_, known)| known.pays()) {
            let Some(values) = column(*place) else { continue };
            let found = known.keys.contains(values)?;
            known.count(found.len(), found.count_set_bits());
            may_meet = Some(match may_meet {
                Some(before) => &before & &found,
                None => found,
            });
        }
        Ok(may_meet.filter(|rows| rows.count_set_bits() < rows.len()))
    }
}

#[cfg(test)]
mod tests {
    use arrow::{
        array::{Array, AsArray, Int64Array},
        datatypes::Int64Type,
    };

    use super::*;

    /// The numbers below a limit.
    struct Below(i64);

    impl KeySet for Below {
        fn bounds(&self) -> Option<(ArrayRef, ArrayRef)> {
            let value = |value| Arc::new(Int64Array::from(vec![value])) as ArrayRef;
            Some((value(0), value(self.0 - 1)))
        }

        fn contains(&self, values: &ArrayRef) -> Result<BooleanBuffer> {
            let values = values.as_primitive::<Int64Type>();
            Ok(BooleanBuffer::collect_bool(values.len(), |row| {
                values.is_valid(row) && values.value(row) < self.0
            }))
        }
    }

    fn known(limits: &[i64]) -> KnownKeys {
        let filter = |limit: &i64| {
            let filter = RuntimeFilter::default();
            filter.set(Arc::new(Below(*limit)));
            (0, filter)
        };
        KnownKeys::of(&limits.iter().map(filter).collect::<Vec<_>>())
    }

    #[test]
    fn a_row_must_be_among_the_keys_of_all_filters() {
        let rows: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(5), Some(9)]));
        let test = |limits: &[i64]| known(limits).test(|_| Some(&rows)).unwrap();
        assert_eq!(test(&[6, 9]), Some(BooleanBuffer::from(vec![true, false, true, false])));
        assert_eq!(test(&[]), None);
        // A filter whose keys are not known, or whose column is not there, says nothing.
        let unknown = KnownKeys::of(&[(0, RuntimeFilter::default())]).test(|_| Some(&rows));
        assert_eq!(unknown.unwrap(), None);
        assert_eq!(known(&[6]).test(|_| None).unwrap(), None);
    }

    #[test]
    fn rows_are_tested_until_it_is_known_that_most_of_them_pass() {
        let rows: ArrayRef = Arc::new((0..10_000).collect::<Int64Array>());
        let left_out = |limit| {
            let mut keys = known(&[limit]);
            let mut test = || keys.test(|_| Some(&rows)).unwrap().is_some();
            (0..4).map(|_| test()).collect::<Vec<_>>()
        };
        assert_eq!(left_out(5_000), [true; 4]);
        assert_eq!(left_out(5_001), [true, true, false, false]);
    }
}
