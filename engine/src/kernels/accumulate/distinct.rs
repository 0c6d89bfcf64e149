//! Aggregates over the different values of a group: `count(distinct x)` and its like.
//!
//! One table holds the values of all groups, each once a group. The state of a group is the list of
//! its values; what the aggregate makes of them is computed at the end, by its own accumulator.

use std::ops::Range;

use arrow::{
    array::{ArrayRef, Int64Array, UInt32Array},
    buffer::OffsetBuffer,
    compute::SortOptions,
    datatypes::DataType,
};

use super::{
    Accumulator, Coming, Taken, column,
    list::{
        ByGroup, check_entries, entries_of, entry_bytes, flattened, index_growth, list_of,
        list_type, pieces,
    },
    plain_accumulator, row_arguments, state_of_nothing,
};
use crate::{
    Result,
    expr::{Aggregate, AggregateFunction as F, Expr},
    kernels::{
        column::encoded,
        growth::Growth,
        hash::hash_columns,
        key_table::{Groups, KeyBatch, KeyTable},
    },
};

/// Values by group, each once, numbered in the order of their coming.
#[derive(Debug)]
pub(super) struct Values {
    types: Vec<DataType>,
    state: State,
    /// How many groups there are.
    pub(super) count: usize,
    hashes: Vec<u64>,
}

#[derive(Debug)]
enum State {
    /// The group is the first column of the keys.
    Taking(KeyTable),
    Frozen(Groups, ByGroup),
}

impl Values {
    pub(super) fn new(types: Vec<DataType>) -> Result<Self> {
        let keys = [&DataType::UInt32].into_iter().chain(&types);
        let state = State::Taking(KeyTable::new(keys)?);
        Ok(Self { types, state, count: 0, hashes: Vec::new() })
    }

    pub(super) fn types(&self) -> &[DataType] {
        &self.types
    }

    fn batch(columns: &[ArrayRef], groups: Vec<u32>) -> Result<KeyBatch> {
        let mut keys: Vec<ArrayRef> = vec![std::sync::Arc::new(UInt32Array::from(groups))];
        keys.extend(columns.iter().cloned());
        KeyBatch::new(&keys)
    }

    /// Puts each row's entry into `entries`, whose old content goes.
    pub(super) fn add(
        &mut self,
        columns: &[ArrayRef],
        groups: &[u32],
        count: usize,
        entries: &mut Vec<u32>,
    ) -> Result<()> {
        self.count = count;
        entries.clear();
        let State::Taking(table) = &mut self.state else { return Ok(()) };
        check_entries(table.len() + groups.len())?;
        hash_columns(columns, &mut self.hashes);
        for (hash, group) in self.hashes.iter_mut().zip(groups) {
            // An odd factor spreads the groups over all bits.
            *hash ^= u64::from(*group).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
        table.find_or_insert(&Self::batch(columns, groups.to_vec())?, &self.hashes, entries);
        Ok(())
    }

    pub(super) fn len(&self) -> usize {
        match &self.state {
            State::Taking(table) => table.len(),
            State::Frozen(keys, _) => keys.len(),
        }
    }

    pub(super) fn memory_bytes(&self) -> u64 {
        let values = match &self.state {
            State::Taking(table) => table.memory_bytes(),
            State::Frozen(keys, _) => keys.memory_bytes(),
        };
        values + ByGroup::bytes(self.len(), self.count)
    }

    /// The most that these rows may add.
    pub(super) fn growth(
        &self,
        columns: &[ArrayRef],
        rows: usize,
        groups: usize,
    ) -> Result<Growth> {
        let State::Taking(table) = &self.state else { return Ok(Growth::default()) };
        let batch = Self::batch(columns, vec![0; rows])?;
        Ok(table.growth(&batch, rows) + index_growth(rows, groups, self.count))
    }

    pub(super) fn freeze(&mut self) {
        let types = [&DataType::UInt32].into_iter().chain(&self.types);
        let State::Taking(table) = &mut self.state else { return };
        // A table of known types can always be made; an empty one holds next to nothing.
        let Ok(empty) = KeyTable::new(types) else { return };
        let keys = std::mem::replace(table, empty).into_groups();
        let groups = keys.columns()[0].words().unwrap_or_default();
        #[expect(clippy::cast_possible_truncation, reason = "they were widened from 32 bits")]
        let groups: Vec<u32> = groups.iter().map(|group| *group as u32).collect();
        let by_group = ByGroup::new(&groups, self.count);
        self.state = State::Frozen(keys, by_group);
    }

    /// A frozen group's entries.
    pub(super) fn of(&self, group: u32) -> &[u32] {
        match &self.state {
            State::Frozen(_, by_group) => by_group.of(group),
            State::Taking(_) => &[],
        }
    }

    pub(super) fn group_bytes(&self, group: u32) -> u64 {
        match &self.state {
            State::Frozen(keys, _) => entry_bytes(keys.columns(), self.of(group)),
            State::Taking(_) => 0,
        }
    }

    /// The column of the values.
    pub(super) fn column(&self) -> Option<&crate::kernels::column::Column> {
        match &self.state {
            State::Frozen(keys, _) => keys.columns().get(1),
            State::Taking(_) => None,
        }
    }

    /// The values of some entries.
    pub(super) fn gather(&self, entries: &[u32]) -> Result<Vec<ArrayRef>> {
        match &self.state {
            State::Frozen(keys, _) => {
                keys.columns().iter().skip(1).map(|column| column.gather(entries)).collect()
            }
            State::Taking(_) => Ok(Vec::new()),
        }
    }

    /// Which entries of a frozen group go together in pieces of about so many bytes.
    pub(super) fn pieces(&self, group: u32, piece_bytes: u64) -> Vec<Range<usize>> {
        match &self.state {
            State::Frozen(keys, _) => pieces(keys.columns(), self.of(group), piece_bytes),
            State::Taking(_) => Vec::new(),
        }
    }

    /// Some entries of a group as a list, with more columns beside the values.
    pub(super) fn piece(
        &self,
        group: u32,
        entries: Range<usize>,
        more: impl FnOnce(&[u32]) -> Vec<ArrayRef>,
    ) -> Result<ArrayRef> {
        let entries = &self.of(group)[entries];
        let mut columns = self.gather(entries)?;
        columns.extend(more(entries));
        list_of(columns, OffsetBuffer::from_lengths([entries.len()]))
    }

    /// The entries of some groups, one group after the other, with the place of each one's group.
    #[expect(clippy::cast_possible_truncation, reason = "groups have 32-bit numbers")]
    fn entries(&self, groups: &[u32]) -> (Vec<u32>, Vec<u32>) {
        let (mut entries, mut places) = (Vec::new(), Vec::new());
        for (place, group) in groups.iter().enumerate() {
            let of = self.of(*group);
            entries.extend_from_slice(of);
            places.extend(std::iter::repeat_n(place as u32, of.len()));
        }
        (entries, places)
    }

    /// The entries of some groups as lists, with more columns beside the values.
    pub(super) fn states(
        &self,
        groups: &[u32],
        more: impl FnOnce(&[u32]) -> Vec<ArrayRef>,
    ) -> Result<ArrayRef> {
        let State::Frozen(_, by_group) = &self.state else {
            return Err(crate::Error::Internal(String::from("states before the end")));
        };
        let (entries, offsets) = by_group.lists(groups);
        let mut columns = self.gather(&entries)?;
        columns.extend(more(&entries));
        list_of(columns, offsets)
    }
}

/// The different values of each group, for an aggregate over them.
#[derive(Debug)]
pub(super) struct Distinct {
    values: Values,
    /// The same without `distinct`.
    aggregate: Aggregate,
    entries: Vec<u32>,
}

impl Distinct {
    pub(super) fn new(aggregate: &Aggregate) -> Result<Self> {
        let types = row_arguments(aggregate).iter().map(Expr::data_type).collect();
        let aggregate = Aggregate { distinct: false, ..aggregate.clone() };
        // It must be known now whether it can be computed then.
        plain_accumulator(&aggregate)?;
        Ok(Self { values: Values::new(types)?, aggregate, entries: Vec::new() })
    }
}

impl Accumulator for Distinct {
    fn state_types(&self) -> Vec<DataType> {
        vec![list_type(self.values.types())]
    }

    fn memory_bytes(&self) -> u64 {
        self.values.memory_bytes()
    }

    fn growth(&self, columns: &[ArrayRef], coming: Coming) -> Result<Growth> {
        let (columns, rows) = entries_of(columns, coming, self.values.types().len())?;
        self.values.growth(&columns, rows, coming.groups)
    }

    fn extend(&mut self, count: usize) {
        self.values.count = count;
    }

    fn update(&mut self, taken: &Taken<'_>) -> Result<()> {
        self.values.add(taken.columns, taken.groups, taken.count, &mut self.entries)
    }

    fn merge(&mut self, taken: &Taken<'_>) -> Result<()> {
        let (columns, groups) =
            flattened(column(taken.columns, 0)?, taken.groups, self.values.types().len())?;
        self.values.add(&columns, &groups, taken.count, &mut self.entries)
    }

    fn freeze(&mut self) {
        self.values.freeze();
    }

    fn is_unbounded(&self) -> bool {
        true
    }

    fn group_bytes(&self, group: u32) -> u64 {
        self.values.group_bytes(group)
    }

    fn nothing(&self) -> Result<Vec<ArrayRef>> {
        state_of_nothing(Self::new(&self.aggregate)?)
    }

    fn states(&self, groups: &[u32], columns: &mut Vec<ArrayRef>) -> Result<()> {
        columns.push(self.values.states(groups, |_| Vec::new())?);
        Ok(())
    }

    fn pieces(&self, group: u32, piece_bytes: u64) -> Vec<Range<usize>> {
        self.values.pieces(group, piece_bytes)
    }

    fn piece(&self, group: u32, entries: Range<usize>, columns: &mut Vec<ArrayRef>) -> Result<()> {
        columns.push(self.values.piece(group, entries, |_| Vec::new())?);
        Ok(())
    }

    fn values(&self, groups: &[u32], name: &str, columns: &mut Vec<ArrayRef>) -> Result<()> {
        if self.aggregate.function == F::Count {
            let count =
                |group: &u32| i64::try_from(self.values.of(*group).len()).unwrap_or(i64::MAX);
            let counts = groups.iter().map(count);
            columns.push(std::sync::Arc::new(Int64Array::from_iter_values(counts)));
            return Ok(());
        }
        let (entries, places) = self.values.entries(groups);
        let mut arguments = self.values.gather(&entries)?;
        if matches!(self.aggregate.function, F::StringAgg | F::ArrayAgg) {
            let key = self.aggregate.order_by.first();
            let descending = key.is_some_and(|key| key.descending);
            let options = SortOptions { descending, nulls_first: false };
            let order = encoded(&arguments[..1], &[options])?;
            arguments.push(std::sync::Arc::new(order));
        }
        let mut each = plain_accumulator(&self.aggregate)?;
        each.update(&Taken {
            columns: &arguments,
            groups: &places,
            count: groups.len(),
            is_whole: false,
        })?;
        each.freeze();
        let all: Vec<u32> = (0u32..).take(groups.len()).collect();
        each.values(&all, name, columns)
    }
}
