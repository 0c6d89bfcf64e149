//! Counts, sums and averages.

use std::sync::Arc;

use arrow::{
    array::{
        Array, ArrayRef, AsArray, Decimal128Array, Decimal256Array, FixedSizeBinaryArray,
        Float64Array, Int64Array, UInt64Array,
    },
    buffer::{Buffer, NullBuffer, ScalarBuffer},
    datatypes::{
        DataType, Decimal128Type, Decimal256Type, DecimalType, Float64Type, Int64Type, i256,
    },
};

use super::{
    Accumulator, Coming, Taken, as_type, column, each_valid, extend, no_state, refused,
    state_of_nothing,
};
use crate::{
    Error, Result,
    kernels::{
        column::from_canonical_words,
        float_sum::FloatSum,
        growth::{Growth, bytes_of, growth_from},
        hash::canonical_words,
        validity::Validity,
    },
};

/// The types of sums' states.
const INT_SUM: DataType = DataType::FixedSizeBinary(16);
const WIDE_SUM: DataType = DataType::FixedSizeBinary(32);
const FLOAT_SUM: DataType = DataType::FixedSizeBinary(40);

/// Decimals of so many digits can be added 2³³ times in 128 bits.
const DIGITS_WITH_ROOM: u8 = 28;

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
        each_valid(nulls, groups, |_, group| self.0[group] += 1);
    }

    pub(super) fn add(&mut self, states: &ArrayRef, groups: &[u32], count: usize) -> Result<()> {
        let Some(states) = states.as_primitive_opt::<Int64Type>() else {
            return Err(no_state(states));
        };
        self.extend(count);
        for (group, more) in groups.iter().zip(states.values()) {
            self.0[*group as usize] += more;
        }
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

/// Sums in the form that is exact for their type.
#[derive(Debug)]
enum Sums {
    /// Of integers, durations, and decimals that leave room.
    Int { sums: Vec<i128>, seen: Validity },
    /// Of other decimals.
    Wide { sums: Vec<i256>, seen: Validity },
    /// Of floats.
    Float(Vec<FloatSum>),
}

impl Sums {
    fn new(of: &DataType, function: &str) -> Result<Self> {
        let seen = Validity::default();
        Ok(match of {
            of if of.is_floating() => Self::Float(Vec::new()),
            of if of.is_integer() => Self::Int { sums: Vec::new(), seen },
            DataType::Duration(_) => Self::Int { sums: Vec::new(), seen },
            DataType::Decimal128(digits, _) if *digits <= DIGITS_WITH_ROOM => {
                Self::Int { sums: Vec::new(), seen }
            }
            DataType::Decimal128(..) | DataType::Decimal256(..) => {
                Self::Wide { sums: Vec::new(), seen }
            }
            other => return Err(refused(function, other)),
        })
    }

    fn empty(&self) -> Self {
        let seen = Validity::default();
        match self {
            Self::Int { .. } => Self::Int { sums: Vec::new(), seen },
            Self::Wide { .. } => Self::Wide { sums: Vec::new(), seen },
            Self::Float(_) => Self::Float(Vec::new()),
        }
    }

    fn state_type(&self) -> DataType {
        match self {
            Self::Int { .. } => INT_SUM,
            Self::Wide { .. } => WIDE_SUM,
            Self::Float(_) => FLOAT_SUM,
        }
    }

    fn memory_bytes(&self) -> u64 {
        match self {
            Self::Int { sums, seen } => bytes_of(sums) + seen.memory_bytes(),
            Self::Wide { sums, seen } => bytes_of(sums) + seen.memory_bytes(),
            Self::Float(sums) => bytes_of(sums),
        }
    }

    fn growth(&self, coming: Coming) -> Growth {
        fn of<T>(vec: &Vec<T>, groups: usize) -> Growth {
            growth_from::<T>(vec.capacity(), groups)
        }
        match self {
            Self::Int { sums, seen } => of(sums, coming.groups) + seen.growth(coming.rows),
            Self::Wide { sums, seen } => of(sums, coming.groups) + seen.growth(coming.rows),
            Self::Float(sums) => of(sums, coming.groups),
        }
    }

    fn extend(&mut self, count: usize) {
        match self {
            Self::Int { sums, seen } => {
                extend(sums, count, 0);
                seen.extend(count - seen.len(), false);
            }
            Self::Wide { sums, seen } => {
                extend(sums, count, i256::ZERO);
                seen.extend(count - seen.len(), false);
            }
            Self::Float(sums) => extend(sums, count, FloatSum::EMPTY),
        }
    }

    fn update(&mut self, taken: &Taken<'_>) -> Result<()> {
        let argument = column(taken.columns, 0)?;
        let (groups, count) = (taken.groups, taken.count);
        let nulls = argument.logical_nulls();
        let nulls = nulls.as_ref();
        match self {
            Self::Int { sums, seen } => {
                extend(sums, count, 0);
                seen.see(nulls, groups, count, taken.is_whole);
                if let Some(values) = argument.as_primitive_opt::<Decimal128Type>() {
                    let values = values.values();
                    each_valid(nulls, groups, |row, group| sums[group] += values[row]);
                    return Ok(());
                }
                let words = canonical_words(argument.as_ref()).ok_or_else(|| no_state(argument))?;
                if *argument.data_type() == DataType::UInt64 {
                    each_valid(nulls, groups, |row, group| sums[group] += i128::from(words[row]));
                } else {
                    each_valid(nulls, groups, |row, group| {
                        sums[group] += i128::from(words[row].cast_signed());
                    });
                }
            }
            Self::Wide { sums, seen } => {
                let argument = match argument.data_type() {
                    DataType::Decimal128(_, scale) => {
                        as_type(argument, &DataType::Decimal256(76, *scale))?
                    }
                    _ => ArrayRef::clone(argument),
                };
                let Some(values) = argument.as_primitive_opt::<Decimal256Type>() else {
                    return Err(no_state(&argument));
                };
                extend(sums, count, i256::ZERO);
                seen.see(nulls, groups, count, taken.is_whole);
                let mut fits = true;
                each_valid(nulls, groups, |row, group| {
                    fits &= add_wide(&mut sums[group], values.value(row));
                });
                wide_fits(fits)?;
            }
            Self::Float(sums) => {
                let argument = as_type(argument, &DataType::Float64)?;
                let values = argument.as_primitive::<Float64Type>().values();
                extend(sums, count, FloatSum::EMPTY);
                each_valid(nulls, groups, |row, group| sums[group].add(values[row]));
            }
        }
        Ok(())
    }

    fn merge(&mut self, states: &ArrayRef, taken: &Taken<'_>) -> Result<()> {
        let states = binary(states, &self.state_type())?;
        let (groups, count) = (taken.groups, taken.count);
        match self {
            Self::Int { sums, seen } => {
                extend(sums, count, 0);
                seen.see(states.nulls(), groups, count, taken.is_whole);
                each_valid(states.nulls(), groups, |row, group| {
                    let mut bytes = [0; 16];
                    bytes.copy_from_slice(states.value(row));
                    sums[group] += i128::from_le_bytes(bytes);
                });
            }
            Self::Wide { sums, seen } => {
                extend(sums, count, i256::ZERO);
                seen.see(states.nulls(), groups, count, taken.is_whole);
                let mut fits = true;
                each_valid(states.nulls(), groups, |row, group| {
                    let mut bytes = [0; 32];
                    bytes.copy_from_slice(states.value(row));
                    fits &= add_wide(&mut sums[group], i256::from_le_bytes(bytes));
                });
                wide_fits(fits)?;
            }
            Self::Float(sums) => {
                extend(sums, count, FloatSum::EMPTY);
                for (row, group) in groups.iter().enumerate() {
                    let state =
                        FloatSum::from_bytes(states.value(row)).ok_or_else(|| no_state(states))?;
                    merge_float(&mut sums[*group as usize], &state)?;
                }
            }
        }
        Ok(())
    }

    fn states(&self, groups: &[u32]) -> Result<ArrayRef> {
        fn bytes<const N: usize>(
            groups: &[u32],
            of: impl Fn(usize) -> [u8; N],
            nulls: Option<NullBuffer>,
            width: i32,
        ) -> Result<ArrayRef> {
            let bytes: Vec<u8> = groups.iter().flat_map(|group| of(*group as usize)).collect();
            Ok(Arc::new(FixedSizeBinaryArray::try_new(width, Buffer::from_vec(bytes), nulls)?))
        }
        match self {
            Self::Int { sums, seen } => {
                bytes(groups, |group| sums[group].to_le_bytes(), seen.gather(groups), 16)
            }
            Self::Wide { sums, seen } => {
                bytes(groups, |group| sums[group].to_le_bytes(), seen.gather(groups), 32)
            }
            Self::Float(sums) => bytes(groups, |group| sums[group].to_bytes(), None, 40),
        }
    }

    /// A group's sum, rounded; `None` over no values.
    fn float(&self, group: usize) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "rounds to nearest, as avg does")]
        match self {
            Self::Int { sums, seen } => seen.is_valid(group).then(|| sums[group] as f64),
            Self::Wide { sums, seen } => seen.is_valid(group).then(|| wide_float(sums[group])),
            Self::Float(sums) => sums[group].value(),
        }
    }
}

/// Adds; `false` where it does not fit.
fn add_wide(sum: &mut i256, value: i256) -> bool {
    let added = sum.checked_add(value);
    *sum = added.unwrap_or(i256::ZERO);
    added.is_some()
}

fn wide_fits(fits: bool) -> Result<()> {
    let beyond = || Error::Evaluate { reason: String::from("a sum of decimals beyond 256 bits") };
    fits.then_some(()).ok_or_else(beyond)
}

/// Adds a state to another.
pub(super) fn merge_float(sum: &mut FloatSum, state: &FloatSum) -> Result<()> {
    if sum.merge(state) {
        return Ok(());
    }
    Err(Error::Evaluate { reason: String::from("a sum of floats over more than 2^37 values") })
}

/// The nearest float, by the digits.
fn wide_float(value: i256) -> f64 {
    value.to_string().parse().unwrap_or(f64::NAN)
}

fn binary<'a>(array: &'a ArrayRef, data_type: &DataType) -> Result<&'a FixedSizeBinaryArray> {
    let binary = array.as_fixed_size_binary_opt().filter(|_| array.data_type() == data_type);
    binary.ok_or_else(|| no_state(array))
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

    fn growth(&self, _: &[ArrayRef], coming: Coming) -> Result<Growth> {
        Ok(self.sums.growth(coming))
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

    fn nothing(&self) -> Result<Vec<ArrayRef>> {
        state_of_nothing(Self { sums: self.sums.empty(), data_type: self.data_type.clone() })
    }

    fn states(&self, groups: &[u32], columns: &mut Vec<ArrayRef>) -> Result<()> {
        columns.push(self.sums.states(groups)?);
        Ok(())
    }

    fn values(&self, groups: &[u32], name: &str, columns: &mut Vec<ArrayRef>) -> Result<()> {
        columns.push(match (&self.sums, &self.data_type) {
            (Sums::Float(sums), _) => {
                let values = groups.iter().map(|group| sums[*group as usize].value());
                Arc::new(values.collect::<Float64Array>())
            }
            (Sums::Int { sums, seen }, DataType::Decimal128(digits, _)) => {
                let value = |group: &u32| {
                    let sum = sums[*group as usize];
                    let fits = Decimal128Type::is_valid_decimal_precision(sum, *digits);
                    if fits { Ok(sum) } else { Err(self.beyond(name, &sum)) }
                };
                let values = groups.iter().map(value).collect::<Result<ScalarBuffer<i128>>>()?;
                let array = Decimal128Array::try_new(values, seen.gather(groups))?;
                Arc::new(array.with_data_type(self.data_type.clone()))
            }
            (Sums::Int { sums, seen }, DataType::UInt64) => {
                let value = |group: &u32| {
                    let sum = sums[*group as usize];
                    u64::try_from(sum).map_err(|_| self.beyond(name, &sum))
                };
                let values = groups.iter().map(value).collect::<Result<ScalarBuffer<u64>>>()?;
                Arc::new(UInt64Array::try_new(values, seen.gather(groups))?)
            }
            (Sums::Int { sums, seen }, to) => {
                let value = |group: &u32| {
                    let sum = sums[*group as usize];
                    i64::try_from(sum).map(i64::cast_unsigned).map_err(|_| self.beyond(name, &sum))
                };
                let words = groups.iter().map(value).collect::<Result<Vec<u64>>>()?;
                from_canonical_words(to, words.into_iter(), seen.gather(groups))?
            }
            (Sums::Wide { sums, seen }, DataType::Decimal128(digits, _)) => {
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
            (Sums::Wide { sums, seen }, _) => {
                let value = |group: &u32| {
                    let sum = sums[*group as usize];
                    let fits = Decimal256Type::is_valid_decimal_precision(sum, 76);
                    if fits { Ok(sum) } else { Err(self.beyond(name, &sum)) }
                };
                let values = groups.iter().map(value).collect::<Result<ScalarBuffer<i256>>>()?;
                let array = Decimal256Array::try_new(values, seen.gather(groups))?;
                Arc::new(array.with_data_type(self.data_type.clone()))
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

    fn growth(&self, _: &[ArrayRef], coming: Coming) -> Result<Growth> {
        Ok(self.sums.growth(coming) + self.counts.growth(coming.groups))
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
        if let (Sums::Int { sums, seen }, DataType::Duration(_)) = (&self.sums, &self.data_type) {
            let average = |group: &u32| {
                let group = *group as usize;
                let average = sums[group] / i128::from(self.counts.of(group).max(1));
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
