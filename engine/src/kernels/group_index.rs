//! [`GroupIndex`]: the groups of rows by their keys, in whatever way is cheapest for these keys.
//!
//! A [`KeyTable`] owns keys and groups. Where hashes do not come with the rows, a [`DirectIndex`]
//! stands before it as long as the keys suit it, and only keys that are new to it are hashed.
//!
//! Rows go in in two steps: [`GroupIndex::look_up`] adds nothing, so that the memory for what it
//! does not know can be asked for, and [`GroupIndex::enter`] adds that.

use arrow::{
    array::{ArrayRef, UInt32Array},
    buffer::ScalarBuffer,
    compute::take,
    datatypes::DataType,
};

use crate::{
    Result,
    kernels::{
        direct::{DirectIndex, Found},
        growth::Growth,
        hash::{SEED, hash_columns},
        key_table::{Groups, KeyBatch, KeyTable},
    },
    memory::Reservation,
};

/// The part of the budget that a direct index may take at most.
const INDEX_SHARE_OF_BUDGET: u64 = 64;

/// Keys by batches, and the groups that they have.
///
/// - Memory: [`GroupIndex::memory_bytes`]; [`GroupIndex::growth`] before.
#[derive(Debug)]
pub(crate) struct GroupIndex {
    table: KeyTable,
    /// Knows the groups of keys of small domains.
    direct: Option<DirectIndex>,
    /// The group of each row of the last batch.
    groups: Vec<u32>,
    /// Rows of that batch that the direct index does not know, and their groups.
    missing: Vec<u32>,
    entered: Vec<u32>,
}

/// Rows whose groups the table must find.
pub(crate) struct Unknown {
    keys: KeyBatch,
    hashes: ScalarBuffer<u64>,
    /// Whether they are the direct index's missing ones; otherwise they are all of the batch.
    are_missing: bool,
}

impl Unknown {
    /// The most groups that they may add.
    pub(crate) fn len(&self) -> usize {
        self.hashes.len()
    }
}

impl GroupIndex {
    /// For keys of these types, whose hashes come with the rows or are computed by need.
    ///
    /// # Errors
    /// [`Error::Internal`](crate::Error) for a type that is no key's.
    pub(crate) fn new(types: &[DataType], is_hashed: bool) -> Result<Self> {
        Ok(Self {
            table: KeyTable::new(types)?,
            direct: if is_hashed { None } else { DirectIndex::new(types) },
            groups: Vec::new(),
            missing: Vec::new(),
            entered: Vec::new(),
        })
    }

    /// How many groups there are.
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// The groups' hashes.
    pub(crate) fn hashes(&self) -> &[u64] {
        self.table.hashes()
    }

    /// Bytes held.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.table.memory_bytes() + self.direct.as_ref().map_or(0, DirectIndex::memory_bytes)
    }

    /// The most that [`Self::enter`] may add.
    pub(crate) fn growth(&self, unknown: &Unknown) -> Growth {
        self.table.growth(&unknown.keys, unknown.len())
    }

    /// Finds the groups of all rows of a batch that the direct index knows. `hashes` are those that
    /// came with the rows.
    ///
    /// # Errors
    /// [`Error::Arrow`](crate::Error) for a type that has no row format; the plan has none.
    pub(crate) fn look_up(
        &mut self,
        keys: &[ArrayRef],
        rows: usize,
        hashes: Option<&ScalarBuffer<u64>>,
        reservation: &mut Reservation,
    ) -> Result<Unknown> {
        let are_missing = self.look_up_directly(keys, rows, reservation);
        let count = if are_missing { self.missing.len() } else { rows };
        let taken: Vec<ArrayRef>;
        let keys = if are_missing && count < rows {
            let missing = UInt32Array::from(self.missing.clone());
            let each = keys.iter().map(|key| take(key, &missing, None));
            taken = each.collect::<Result<_, _>>()?;
            &taken
        } else {
            keys
        };
        let hashes = hashes.cloned().unwrap_or_else(|| {
            let mut computed = Vec::new();
            hash_columns(keys, &mut computed);
            // Without a key all rows are one.
            computed.resize(count, SEED);
            computed.into()
        });
        Ok(Unknown { keys: KeyBatch::new(keys)?, hashes, are_missing })
    }

    /// `false` where there is no direct index. One that asks for more than its share is given up.
    fn look_up_directly(
        &mut self,
        keys: &[ArrayRef],
        rows: usize,
        reservation: &mut Reservation,
    ) -> bool {
        let most_bytes = reservation.budget().limit_bytes() / INDEX_SHARE_OF_BUDGET;
        while let Some(index) = &mut self.direct {
            match index.find(keys, rows, &mut self.groups, &mut self.missing) {
                Found::Rows => return true,
                Found::Wider(bytes) if bytes <= most_bytes && reservation.try_grow(bytes) => {
                    index.widen();
                }
                Found::Wider(_) | Found::Unfit => self.direct = None,
            }
        }
        false
    }

    /// Makes the keys of these rows groups, where they are none, so that all rows of the batch have
    /// [theirs](Self::groups).
    pub(crate) fn enter(&mut self, unknown: &Unknown) {
        let Unknown { keys, hashes, are_missing } = unknown;
        if !are_missing {
            self.table.find_or_insert(keys, hashes, &mut self.groups);
        } else if !hashes.is_empty() {
            self.table.find_or_insert(keys, hashes, &mut self.entered);
            for (row, group) in self.missing.iter().zip(&self.entered) {
                self.groups[*row as usize] = *group;
            }
            if let Some(index) = &mut self.direct {
                index.enter(&self.missing, &self.entered);
            }
        }
    }

    /// The group of each row of the batch that was entered last.
    pub(crate) fn groups(&self) -> &[u32] {
        &self.groups
    }

    /// The keys alone; all else is freed.
    pub(crate) fn into_groups(self) -> Groups {
        self.table.into_groups()
    }
}
