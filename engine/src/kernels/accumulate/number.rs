//! Counts, sums and averages.

use std::sync::Arc;

use arrow::{
    array::{
        Array, ArrayRef, AsArray, Decimal128Array, Decimal256Array, Float64Array, Int64Array,
        UInt64Array,
    },
    buffer::{NullBuffer, ScalarBuffer},
    datatypes::{DataType, Decimal128Type, Decimal256Type, DecimalType, Int64Type, i256},
};

use super::{
    Accumulator, Coming, Taken, column, each_state, extend, no_state, state_of_nothing,
    sums::{Kept, Sums},
};
use crate::{
    Error, Result,
    kernels::{
        column::from_canonical_words,
        growth::{Growth, bytes_of, growth_from},
        prefetch::for_each_at,
        validity::Validity,
    },
};

/// Numbers of rows or values.
#[derive(Debug, Default)]
pub(super) struct Count(Vec<i64>);

impl Count {
    pub(super) fn memory_bytes(&self) -> u64 {
        bytes_of(&self.0)
    }

    pub(super) fn growth(&self, groups: usize) -> Growth {
        growth_from::<i64>(self.0.capacity(), groups)
    }

    pub(super) fn extend(&mut self, count: usize) {
        extend(&mut self.0, count, 0);
    }

    pub(super) fn count(&mut self, nulls: Option<&NullBuffer>, groups: &[u32], count: usize) {
        self.extend(count);
        each_state(&mut self.0, nulls, groups, |_, rows| *rows += 1);
    }

    pub(super) fn add(&mut self, states: &ArrayRef, groups: &[u32], count: usize) -> Result<()> {
        let Some(states) = states.as_primitive_opt::<Int64Type>() else {
            return Err(no_state(states));
        };
        self.extend(count);
        let states = states.values();
        for_each_at(&mut self.0, groups, |row, rows| *rows += states[row]);
        Ok(())
    }

    pub(super) fn of(&self, group: usize) -> i64 {
        self.0[group]
    }

    pub(super) fn gather(&self, groups: &[u32]) -> ArrayRef {
        let counts: ScalarBuffer<i64> =
            groups.iter().map(|group| self.0[*group as usize]).collect();
        Arc::new(Int64Array::new(counts, None))
    }
}

/// The counts of rows, each by itself.
fn ones(nulls: Option<&NullBuffer>, rows: usize) -> ArrayRef {
    let counts: ScalarBuffer<i64> = match nulls {
        None => std::iter::repeat_n(1, rows).collect(),
        Some(nulls) => nulls.iter().map(i64::from).collect(),
    };
    Arc::new(Int64Array::new(counts, None))
}

impl Accumulator for Count {
    fn state_types(&self) -> Vec<DataType> {
        vec![DataType::Int64]
    }

    fn memory_bytes(&self) -> u64 {
        self.memory_bytes()
    }

    fn growth(&self, _: &[ArrayRef], coming: Coming) -> Result<Growth> {
        Ok(self.growth(coming.groups))
    }

    fn extend(&mut self, count: usize) {
        self.extend(count);
    }

    fn update(&mut self, taken: &Taken<'_>) -> Result<()> {
        let nulls = taken.columns.first().and_then(Array::logical_nulls);
        self.count(nulls.as_ref(), taken.groups, taken.count);
        Ok(())
    }

    fn merge(&mut self, taken: &Taken<'_>) -> Result<()> {
        self.add(column(taken.columns, 0)?, taken.groups, taken.count)
    }

    fn row_states(&self, columns: &[ArrayRef], rows: usize) -> Result<Option<Vec<ArrayRef>>> {
        let nulls = columns.first().and_then(Array::logical_nulls);
        Ok(Some(vec![ones(nulls.as_ref(), rows)]))
    }

    fn nothing(&self) -> Result<Vec<ArrayRef>> {
        state_of_nothing(Self::default())
    }

    fn states(&self, groups: &[u32], columns: &mut Vec<ArrayRef>) -> Result<()> {
        columns.push(self.gather(groups));
        Ok(())
    }

    fn values(&self, groups: &[u32], _: &str, columns: &mut Vec<ArrayRef>) -> Result<()> {
        columns.push(self.gather(groups));
        Ok(())
    }
}

/// Sums.
#[derive(Debug)]
pub(super) struct Sum {
    sums: Sums,
    data_type: DataType,
}

impl Sum {
    pub(super) fn new(of: &DataType, data_type: DataType) -> Result<Self> {
        Ok(Self { sums: Sums::new(of, "sum")?, data_type })
    }

    /// Sums of whole numbers as the result's type.
    fn whole_values(
        &self,
        groups: &[u32],
        name: &str,
        sum: impl Fn(usize) -> i128,
        seen: &Validity,
    ) -> Result<ArrayRef> {
        let nulls = seen.gather(groups);
        Ok(match &self.data_type {
            DataType::Decimal128(digits, _) => {
                let value = |group: &u32| {
                    let sum = sum(*group as usize);
                    let fits = Decimal128Type::is_valid_decimal_precision(sum, *digits);
                    if fits { Ok(sum) } else { Err(self.beyond(name, &sum)) }
                };
                let values = groups.iter().map(value).collect::<Result<ScalarBuffer<i128>>>()?;
                let array = Decimal128Array::try_new(values, nulls)?;
                Arc::new(array.with_data_type(self.data_type.clone()))
            }
            DataType::UInt64 => {
                let value = |group: &u32| {
                    let sum = sum(*group as usize);
                    u64::try_from(sum).map_err(|_| self.beyond(name, &sum))
                };
                let values = groups.iter().map(value).collect::<Result<ScalarBuffer<u64>>>()?;
                Arc::new(UInt64Array::try_new(values, nulls)?)
            }
            to => {
                let value = |group: &u32| {
                    let sum = sum(*group as usize);
                    i64::try_from(sum).map(i64::cast_unsigned).map_err(|_| self.beyond(name, &sum))
                };
                let words = groups.iter().map(value).collect::<Result<Vec<u64>>>()?;
                from_canonical_words(to, words.into_iter(), nulls)?
            }
        })
    }

    fn beyond(&self, name: &str, sum: &impl ToString) -> Error {
        let type_name = crate::expr::parse::type_name(&self.data_type);
        let mut sum = sum.to_string();
        if let DataType::Decimal128(_, scale) | DataType::Decimal256(_, scale) = self.data_type {
            sum = with_point(&sum, scale);
        }
        Error::Evaluate { reason: format!("sum `{name}` is {sum}, which is beyond {type_name}") }
    }
}

/// Digits with a point before the last `scale`.
fn with_point(digits: &str, scale: i8) -> String {
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |digits| ("-", digits));
    match usize::try_from(scale) {
        Ok(0) | Err(_) => format!("{sign}{digits}"),
        Ok(scale) => {
            let digits = format!("{digits:0>width$}", width = scale + 1);
            let (whole, part) = digits.split_at(digits.len() - scale);
            format!("{sign}{whole}.{part}")
        }
    }
}

impl Accumulator for Sum {
    fn state_types(&self) -> Vec<DataType> {
        vec![self.sums.state_type()]
    }

    fn memory_bytes(&self) -> u64 {
        self.sums.memory_bytes()
    }

    fn growth(&self, columns: &[ArrayRef], coming: Coming) -> Result<Growth> {
        Ok(self.sums.growth(column(columns, 0)?, coming))
    }

    fn extend(&mut self, count: usize) {
        self.sums.extend(count);
    }

    fn update(&mut self, taken: &Taken<'_>) -> Result<()> {
        self.sums.update(taken)
    }

    fn merge(&mut self, taken: &Taken<'_>) -> Result<()> {
        self.sums.merge(column(taken.columns, 0)?, taken)
    }

    fn row_states(&self, columns: &[ArrayRef], _: usize) -> Result<Option<Vec<ArrayRef>>> {
        Ok(self.sums.row_states(column(columns, 0)?)?.map(|states| vec![states]))
    }

    fn nothing(&self) -> Result<Vec<ArrayRef>> {
        state_of_nothing(Self { sums: self.sums.empty(), data_type: self.data_type.clone() })
    }

    fn states(&self, groups: &[u32], columns: &mut Vec<ArrayRef>) -> Result<()> {
        columns.push(self.sums.states(groups)?);
        Ok(())
    }

    fn values(&self, groups: &[u32], name: &str, columns: &mut Vec<ArrayRef>) -> Result<()> {
        if let Some((sum, seen)) = self.sums.whole() {
            columns.push(self.whole_values(groups, name, sum, seen)?);
            return Ok(());
        }
        columns.push(match (&self.sums.kept, &self.data_type) {
            (Kept::Float(sums), _) => {
                let values = groups.iter().map(|group| sums[*group as usize].value());
                Arc::new(values.collect::<Float64Array>())
            }
            (Kept::Wide { sums, seen }, DataType::Decimal128(digits, _)) => {
                let value = |group: &u32| {
                    let sum = sums[*group as usize];
                    let narrow = sum
                        .to_i128()
                        .filter(|sum| Decimal128Type::is_valid_decimal_precision(*sum, *digits));
                    narrow.ok_or_else(|| self.beyond(name, &sum))
                };
                let values = groups.iter().map(value).collect::<Result<ScalarBuffer<i128>>>()?;
                let array = Decimal128Array::try_new(values, seen.gather(groups))?;
                Arc::new(array.with_data_type(self.data_type.clone()))
            }
            (Kept::Wide { sums, seen }, _) => {
                let value = |group: &u32| {
                    let sum = sums[*group as usize];
                    let fits = Decimal256Type::is_valid_decimal_precision(sum, 76);
                    if fits { Ok(sum) } else { Err(self.beyond(name, &sum)) }
                };
                let values = groups.iter().map(value).collect::<Result<ScalarBuffer<i256>>>()?;
                let array = Decimal256Array::try_new(values, seen.gather(groups))?;
                Arc::new(array.with_data_type(self.data_type.clone()))
            }
            (Kept::Narrow { .. } | Kept::Int { .. }, _) => {
                return Err(Error::Internal(format!("sum `{name}` is no whole number")));
            }
        });
        Ok(())
    }
}

/// Sums by counts; null where nothing was counted.
#[derive(Debug)]
pub(super) struct Average {
    sums: Sums,
    counts: Count,
    data_type: DataType,
    /// What a decimal's digits are divided by.
    unit: f64,
}

impl Average {
    pub(super) fn new(of: &DataType, data_type: DataType) -> Result<Self> {
        let unit = match of {
            DataType::Decimal128(_, scale) | DataType::Decimal256(_, scale) => {
                10f64.powi(i32::from(*scale))
            }
            _ => 1.0,
        };
        Ok(Self { sums: Sums::new(of, "avg")?, counts: Count::default(), data_type, unit })
    }
}

impl Accumulator for Average {
    fn state_types(&self) -> Vec<DataType> {
        vec![self.sums.state_type(), DataType::Int64]
    }

    fn memory_bytes(&self) -> u64 {
        self.sums.memory_bytes() + self.counts.memory_bytes()
    }

    fn growth(&self, columns: &[ArrayRef], coming: Coming) -> Result<Growth> {
        Ok(self.sums.growth(column(columns, 0)?, coming) + self.counts.growth(coming.groups))
    }

    fn extend(&mut self, count: usize) {
        self.sums.extend(count);
        self.counts.extend(count);
    }

    fn update(&mut self, taken: &Taken<'_>) -> Result<()> {
        self.sums.update(taken)?;
        let nulls = column(taken.columns, 0)?.logical_nulls();
        self.counts.count(nulls.as_ref(), taken.groups, taken.count);
        Ok(())
    }

    fn merge(&mut self, taken: &Taken<'_>) -> Result<()> {
        self.sums.merge(column(taken.columns, 0)?, taken)?;
        self.counts.add(column(taken.columns, 1)?, taken.groups, taken.count)
    }

    fn row_states(&self, columns: &[ArrayRef], rows: usize) -> Result<Option<Vec<ArrayRef>>> {
        let values = column(columns, 0)?;
        let Some(states) = self.sums.row_states(values)? else { return Ok(None) };
        Ok(Some(vec![states, ones(values.logical_nulls().as_ref(), rows)]))
    }

    fn nothing(&self) -> Result<Vec<ArrayRef>> {
        state_of_nothing(Self {
            sums: self.sums.empty(),
            counts: Count::default(),
            data_type: self.data_type.clone(),
            unit: self.unit,
        })
    }

    fn states(&self, groups: &[u32], columns: &mut Vec<ArrayRef>) -> Result<()> {
        columns.push(self.sums.states(groups)?);
        columns.push(self.counts.gather(groups));
        Ok(())
    }

    fn values(&self, groups: &[u32], name: &str, columns: &mut Vec<ArrayRef>) -> Result<()> {
        if let (Some((sum, seen)), DataType::Duration(_)) = (self.sums.whole(), &self.data_type) {
            let average = |group: &u32| {
                let group = *group as usize;
                let average = sum(group) / i128::from(self.counts.of(group).max(1));
                // Between the least and the greatest value.
                i64::try_from(average)
                    .map(i64::cast_unsigned)
                    .map_err(|_| Error::Internal(format!("avg `{name}` is {average}")))
            };
            let words = groups.iter().map(average).collect::<Result<Vec<u64>>>()?;
            let nulls = seen.gather(groups);
            columns.push(from_canonical_words(&self.data_type, words.into_iter(), nulls)?);
            return Ok(());
        }
        let average = |group: &u32| {
            let group = *group as usize;
            #[expect(clippy::cast_precision_loss, reason = "a count beyond 2⁵³ is out of reach")]
            let count = self.counts.of(group) as f64;
            self.sums.float(group).filter(|_| count > 0.0).map(|sum| sum / (count * self.unit))
        };
        columns.push(Arc::new(groups.iter().map(average).collect::<Float64Array>()));
        Ok(())
    }
}
