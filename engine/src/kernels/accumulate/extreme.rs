//! Least and greatest values, and the bits of whole numbers.

use std::{cmp::Ordering, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, Decimal128Array},
    buffer::ScalarBuffer,
    datatypes::{BinaryViewType, DataType, Decimal128Type, StringViewType},
};

use super::{
    Accumulator, Coming, Taken, as_type, column, each_state, each_valid, extend, no_state,
    state_of_nothing,
};
use crate::{
    Result,
    kernels::{
        column::{ASCENDING, Column, ColumnInput, encoded, from_canonical_words, word_order},
        growth::{Growth, bytes_of, growth_from},
        hash::canonical_words,
        text_column::{TextColumn, TextInput},
        validity::Validity,
    },
};

/// The least or greatest values of a type.
pub(super) fn extreme(of: &DataType, is_max: bool) -> Result<Box<dyn Accumulator>> {
    Ok(match of {
        DataType::Decimal128(..) => Box::new(Wide::new(of.clone(), is_max)),
        DataType::Decimal256(..) => Box::new(Rows::new(of, is_max)?),
        DataType::Utf8View | DataType::Utf8 | DataType::LargeUtf8 => {
            Box::new(Bytes::new(DataType::Utf8View, is_max))
        }
        DataType::BinaryView | DataType::Binary | DataType::LargeBinary => {
            Box::new(Bytes::new(DataType::BinaryView, is_max))
        }
        fixed => Box::new(Words::new(fixed.clone(), if is_max { Fold::Max } else { Fold::Min })),
    })
}

/// How words become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fold {
    Min,
    Max,
    And,
    Or,
    Xor,
}

/// Values of up to 8 bytes, as integers of the same order, folded into one.
#[derive(Debug)]
pub(super) struct Words {
    data_type: DataType,
    fold: Fold,
    values: Vec<i64>,
    seen: Validity,
}

impl Words {
    pub(super) fn new(data_type: DataType, fold: Fold) -> Self {
        Self { data_type, fold, values: Vec::new(), seen: Validity::default() }
    }

    /// What a fold begins with.
    fn first(&self) -> i64 {
        match self.fold {
            Fold::Min => i64::MAX,
            Fold::Max => i64::MIN,
            Fold::And => -1,
            Fold::Or | Fold::Xor => 0,
        }
    }

    /// The integers' order; bits are folded as they are.
    fn order(&self) -> fn(i64) -> i64 {
        match self.fold {
            Fold::Min | Fold::Max => word_order(&self.data_type),
            Fold::And | Fold::Or | Fold::Xor => |word| word,
        }
    }

    fn take(&mut self, taken: &Taken<'_>) -> Result<()> {
        let values = column(taken.columns, 0)?;
        let words = canonical_words(values.as_ref()).ok_or_else(|| no_state(values))?;
        let nulls = values.logical_nulls();
        let (order, first) = (self.order(), self.first());
        let all = &mut self.values;
        extend(all, taken.count, first);
        self.seen.see(nulls.as_ref(), taken.groups, taken.count, taken.is_whole);
        let mut fold = |fold: fn(i64, i64) -> i64| {
            each_state(all, nulls.as_ref(), taken.groups, |row, value| {
                *value = fold(*value, order(words[row].cast_signed()));
            });
        };
        match self.fold {
            Fold::Min => fold(i64::min),
            Fold::Max => fold(i64::max),
            Fold::And => fold(|left, right| left & right),
            Fold::Or => fold(|left, right| left | right),
            Fold::Xor => fold(|left, right| left ^ right),
        }
        Ok(())
    }

    fn gather(&self, groups: &[u32]) -> Result<ArrayRef> {
        let order = self.order();
        let words = groups.iter().map(|group| order(self.values[*group as usize]).cast_unsigned());
        from_canonical_words(&self.data_type, words, self.seen.gather(groups))
    }
}

impl Accumulator for Words {
    fn state_types(&self) -> Vec<DataType> {
        vec![self.data_type.clone()]
    }

    fn memory_bytes(&self) -> u64 {
        bytes_of(&self.values) + self.seen.memory_bytes()
    }

    fn growth(&self, _: &[ArrayRef], coming: Coming) -> Result<Growth> {
        let words = growth_from::<i64>(self.values.capacity(), coming.groups);
        Ok(words + self.seen.growth(coming.rows))
    }

    fn extend(&mut self, count: usize) {
        let first = self.first();
        extend(&mut self.values, count, first);
        self.seen.extend(count - self.seen.len(), false);
    }

    fn update(&mut self, taken: &Taken<'_>) -> Result<()> {
        self.take(taken)
    }

    fn merge(&mut self, taken: &Taken<'_>) -> Result<()> {
        self.take(taken)
    }

    fn row_states(&self, columns: &[ArrayRef], _: usize) -> Result<Option<Vec<ArrayRef>>> {
        let values = column(columns, 0)?;
        let is_state = *values.data_type() == self.data_type;
        Ok(is_state.then(|| vec![ArrayRef::clone(values)]))
    }

    fn nothing(&self) -> Result<Vec<ArrayRef>> {
        state_of_nothing(Self::new(self.data_type.clone(), self.fold))
    }

    fn states(&self, groups: &[u32], columns: &mut Vec<ArrayRef>) -> Result<()> {
        columns.push(self.gather(groups)?);
        Ok(())
    }

    fn values(&self, groups: &[u32], _: &str, columns: &mut Vec<ArrayRef>) -> Result<()> {
        columns.push(self.gather(groups)?);
        Ok(())
    }
}

/// Least or greatest decimals of 128 bits.
#[derive(Debug)]
struct Wide {
    data_type: DataType,
    is_max: bool,
    values: Vec<i128>,
    seen: Validity,
}

impl Wide {
    fn new(data_type: DataType, is_max: bool) -> Self {
        Self { data_type, is_max, values: Vec::new(), seen: Validity::default() }
    }

    fn first(&self) -> i128 {
        if self.is_max { i128::MIN } else { i128::MAX }
    }

    fn gather(&self, groups: &[u32]) -> Result<ArrayRef> {
        let nulls = self.seen.gather(groups);
        // What stands in a null's place must fit the type too.
        let value = |group: &u32| {
            let group = *group as usize;
            if self.seen.is_valid(group) { self.values[group] } else { 0 }
        };
        let values: ScalarBuffer<i128> = groups.iter().map(value).collect();
        let array = Decimal128Array::try_new(values, nulls)?;
        Ok(Arc::new(array.with_data_type(self.data_type.clone())))
    }

    fn take(&mut self, taken: &Taken<'_>) -> Result<()> {
        let column = column(taken.columns, 0)?;
        let Some(values) = column.as_primitive_opt::<Decimal128Type>() else {
            return Err(no_state(column));
        };
        let (first, is_max, all) = (self.first(), self.is_max, &mut self.values);
        extend(all, taken.count, first);
        self.seen.see(values.nulls(), taken.groups, taken.count, taken.is_whole);
        let values = values.values();
        let better = if is_max { i128::max } else { i128::min };
        each_valid(column.nulls(), taken.groups, |row, group| {
            all[group] = better(all[group], values[row]);
        });
        Ok(())
    }
}

impl Accumulator for Wide {
    fn state_types(&self) -> Vec<DataType> {
        vec![self.data_type.clone()]
    }

    fn memory_bytes(&self) -> u64 {
        bytes_of(&self.values) + self.seen.memory_bytes()
    }

    fn growth(&self, _: &[ArrayRef], coming: Coming) -> Result<Growth> {
        let values = growth_from::<i128>(self.values.capacity(), coming.groups);
        Ok(values + self.seen.growth(coming.rows))
    }

    fn extend(&mut self, count: usize) {
        let first = self.first();
        extend(&mut self.values, count, first);
        self.seen.extend(count - self.seen.len(), false);
    }

    fn update(&mut self, taken: &Taken<'_>) -> Result<()> {
        self.take(taken)
    }

    fn merge(&mut self, taken: &Taken<'_>) -> Result<()> {
        self.take(taken)
    }

    fn nothing(&self) -> Result<Vec<ArrayRef>> {
        state_of_nothing(Self::new(self.data_type.clone(), self.is_max))
    }

    fn states(&self, groups: &[u32], columns: &mut Vec<ArrayRef>) -> Result<()> {
        columns.push(self.gather(groups)?);
        Ok(())
    }

    fn values(&self, groups: &[u32], _: &str, columns: &mut Vec<ArrayRef>) -> Result<()> {
        columns.push(self.gather(groups)?);
        Ok(())
    }
}

/// Least or greatest texts or binary values, by bytes.
#[derive(Debug)]
struct Bytes {
    data_type: DataType,
    is_max: bool,
    text: TextColumn,
    seen: Validity,
}

impl Bytes {
    fn new(data_type: DataType, is_max: bool) -> Self {
        Self { data_type, is_max, text: TextColumn::default(), seen: Validity::default() }
    }

    fn input(&self, array: &ArrayRef) -> Result<TextInput> {
        let views = as_type(array, &self.data_type)?;
        Ok(match self.data_type {
            DataType::Utf8View => TextInput::new(views.as_string_view()),
            _ => TextInput::new(views.as_binary_view()),
        })
    }

    fn take(&mut self, taken: &Taken<'_>) -> Result<()> {
        let input = self.input(column(taken.columns, 0)?)?;
        let better = if self.is_max { Ordering::Greater } else { Ordering::Less };
        self.extend(taken.count);
        let (text, seen) = (&mut self.text, &mut self.seen);
        each_valid(input.nulls.as_ref(), taken.groups, |row, group| {
            if !seen.is_valid(group) {
                seen.set_valid(group);
                text.set(group, &input, row);
            } else if text.compare_row(group, &input, row) == better {
                text.set(group, &input, row);
            }
        });
        self.text.collect_garbage();
        Ok(())
    }

    fn gather(&self, groups: &[u32]) -> Result<ArrayRef> {
        let nulls = self.seen.gather(groups);
        Ok(match self.data_type {
            DataType::Utf8View => Arc::new(self.text.gather::<StringViewType>(groups, nulls)?),
            _ => Arc::new(self.text.gather::<BinaryViewType>(groups, nulls)?),
        })
    }
}

impl Accumulator for Bytes {
    fn state_types(&self) -> Vec<DataType> {
        vec![self.data_type.clone()]
    }

    fn memory_bytes(&self) -> u64 {
        self.text.memory_bytes() + self.seen.memory_bytes()
    }

    fn growth(&self, columns: &[ArrayRef], coming: Coming) -> Result<Growth> {
        let input = self.input(column(columns, 0)?)?;
        Ok(self.text.growth(&input, coming.rows) + self.seen.growth(coming.rows))
    }

    fn extend(&mut self, count: usize) {
        self.text.resize(count);
        self.seen.extend(count - self.seen.len(), false);
    }

    fn update(&mut self, taken: &Taken<'_>) -> Result<()> {
        self.take(taken)
    }

    fn merge(&mut self, taken: &Taken<'_>) -> Result<()> {
        self.take(taken)
    }

    fn freeze(&mut self) {
        self.text.freeze();
    }

    fn nothing(&self) -> Result<Vec<ArrayRef>> {
        state_of_nothing(Self::new(self.data_type.clone(), self.is_max))
    }

    fn states(&self, groups: &[u32], columns: &mut Vec<ArrayRef>) -> Result<()> {
        columns.push(self.gather(groups)?);
        Ok(())
    }

    fn values(&self, groups: &[u32], _: &str, columns: &mut Vec<ArrayRef>) -> Result<()> {
        columns.push(self.gather(groups)?);
        Ok(())
    }
}

/// Least or greatest values of other types, in arrow's row format.
#[derive(Debug)]
struct Rows {
    is_max: bool,
    values: Column,
    order: TextColumn,
}

impl Rows {
    fn new(of: &DataType, is_max: bool) -> Result<Self> {
        Ok(Self { is_max, values: Column::new(of)?, order: TextColumn::default() })
    }

    fn take(&mut self, taken: &Taken<'_>) -> Result<()> {
        let array = column(taken.columns, 0)?;
        let values = ColumnInput::new(array)?;
        let order = TextInput::new(&encoded(std::slice::from_ref(array), &[ASCENDING])?);
        let better = if self.is_max { Ordering::Greater } else { Ordering::Less };
        self.extend(taken.count);
        each_valid(values.nulls(), taken.groups, |row, group| {
            // No row is encoded as nothing.
            if self.order.is_empty_at(group) || self.order.compare_row(group, &order, row) == better
            {
                self.order.set(group, &order, row);
                self.values.set(group, &values, row);
            }
        });
        self.order.collect_garbage();
        self.values.collect_garbage();
        Ok(())
    }
}

impl Accumulator for Rows {
    fn state_types(&self) -> Vec<DataType> {
        vec![self.values.data_type().clone()]
    }

    fn memory_bytes(&self) -> u64 {
        self.values.memory_bytes() + self.order.memory_bytes()
    }

    fn growth(&self, columns: &[ArrayRef], coming: Coming) -> Result<Growth> {
        let array = column(columns, 0)?;
        let order = TextInput::new(&encoded(std::slice::from_ref(array), &[ASCENDING])?);
        let values = self.values.growth(&ColumnInput::new(array)?, coming.rows);
        Ok(values + self.order.growth(&order, coming.rows))
    }

    fn extend(&mut self, count: usize) {
        self.values.resize(count);
        self.order.resize(count);
    }

    fn update(&mut self, taken: &Taken<'_>) -> Result<()> {
        self.take(taken)
    }

    fn merge(&mut self, taken: &Taken<'_>) -> Result<()> {
        self.take(taken)
    }

    fn freeze(&mut self) {
        self.values.freeze();
    }

    fn nothing(&self) -> Result<Vec<ArrayRef>> {
        state_of_nothing(Self::new(self.values.data_type(), self.is_max)?)
    }

    fn states(&self, groups: &[u32], columns: &mut Vec<ArrayRef>) -> Result<()> {
        columns.push(self.values.gather(groups)?);
        Ok(())
    }

    fn values(&self, groups: &[u32], _: &str, columns: &mut Vec<ArrayRef>) -> Result<()> {
        columns.push(self.values.gather(groups)?);
        Ok(())
    }
}
