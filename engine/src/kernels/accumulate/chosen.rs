//! The row that comes first or last in an order: first, last, `min_by`, `max_by`.
//!
//! The order is that of bytes, which came with each row ([`encoded`](crate::kernels::column)). No
//! two rows have the same bytes unless they are the same row for all that can be told, so that it
//! makes no difference which of them is kept.

use std::{cmp::Ordering, sync::Arc};

use arrow::{
    array::{ArrayRef, AsArray},
    datatypes::{BinaryViewType, DataType},
};

use super::{Accumulator, Coming, Taken, column, each_valid, no_state, state_of_nothing};
use crate::{
    Result,
    kernels::{
        column::{Column, ColumnInput},
        growth::Growth,
        text_column::{TextColumn, TextInput},
        validity::Validity,
    },
};

/// Values of the row with the least, or the greatest, key.
#[derive(Debug)]
pub(super) struct Chosen {
    is_last: bool,
    values: Vec<Column>,
    keys: TextColumn,
    seen: Validity,
}

impl Chosen {
    pub(super) fn new(types: &[DataType], is_last: bool) -> Result<Self> {
        let values = types.iter().map(Column::new).collect::<Result<_>>()?;
        Ok(Self { is_last, values, keys: TextColumn::default(), seen: Validity::default() })
    }

    /// The columns of a batch: the values, then the key.
    fn inputs(&self, columns: &[ArrayRef]) -> Result<(Vec<ColumnInput>, TextInput)> {
        let values = columns.iter().take(self.values.len());
        let values = values.map(ColumnInput::new).collect::<Result<_>>()?;
        let keys = column(columns, self.values.len())?;
        let binary = keys.as_binary_view_opt().ok_or_else(|| no_state(keys))?;
        Ok((values, TextInput::new(binary)))
    }

    fn take(&mut self, taken: &Taken<'_>) -> Result<()> {
        let (inputs, keys) = self.inputs(taken.columns)?;
        let better = if self.is_last { Ordering::Greater } else { Ordering::Less };
        self.extend(taken.count);
        each_valid(keys.nulls.as_ref(), taken.groups, |row, group| {
            let is_first = !self.seen.is_valid(group);
            if is_first || self.keys.compare_row(group, &keys, row) == better {
                self.seen.set_valid(group);
                self.keys.set(group, &keys, row);
                for (values, input) in self.values.iter_mut().zip(&inputs) {
                    values.set(group, input, row);
                }
            }
        });
        self.keys.collect_garbage();
        self.values.iter_mut().for_each(Column::collect_garbage);
        Ok(())
    }
}

impl Accumulator for Chosen {
    fn state_types(&self) -> Vec<DataType> {
        let values = self.values.iter().map(|values| values.data_type().clone());
        values.chain([DataType::BinaryView]).collect()
    }

    fn memory_bytes(&self) -> u64 {
        let values = self.values.iter().map(Column::memory_bytes).sum::<u64>();
        values + self.keys.memory_bytes() + self.seen.memory_bytes()
    }

    fn growth(&self, columns: &[ArrayRef], coming: Coming) -> Result<Growth> {
        let (inputs, keys) = self.inputs(columns)?;
        let rows = coming.rows;
        let values = self.values.iter().zip(&inputs);
        let values: Growth =
            values.map(|(values, input)| values.growth_of_nullable(input, rows)).sum();
        Ok(values + self.keys.growth(&keys, rows) + self.seen.growth(rows))
    }

    fn extend(&mut self, count: usize) {
        self.values.iter_mut().for_each(|values| values.resize(count));
        self.keys.resize(count);
        self.seen.extend(count - self.seen.len(), false);
    }

    fn update(&mut self, taken: &Taken<'_>) -> Result<()> {
        self.take(taken)
    }

    fn merge(&mut self, taken: &Taken<'_>) -> Result<()> {
        self.take(taken)
    }

    fn freeze(&mut self) {
        self.values.iter_mut().for_each(Column::freeze);
        self.keys.freeze();
    }

    fn nothing(&self) -> Result<Vec<ArrayRef>> {
        let types = self.values.iter().map(|values| values.data_type().clone());
        let types: Vec<DataType> = types.collect();
        state_of_nothing(Self::new(&types, self.is_last)?)
    }

    fn states(&self, groups: &[u32], columns: &mut Vec<ArrayRef>) -> Result<()> {
        self.values(groups, "", columns)?;
        let nulls = self.seen.gather(groups);
        columns.push(Arc::new(self.keys.gather::<BinaryViewType>(groups, nulls)?));
        Ok(())
    }

    fn values(&self, groups: &[u32], _: &str, columns: &mut Vec<ArrayRef>) -> Result<()> {
        for values in &self.values {
            columns.push(values.gather(groups)?);
        }
        Ok(())
    }
}
