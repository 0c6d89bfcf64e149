//! [`Sums`]: sums in the form that is exact for their type; what `sum` and `avg` are made of.

use std::sync::Arc;

use arrow::{
    array::{
        Array, ArrayRef, AsArray, BinaryViewArray, BinaryViewBuilder, FixedSizeBinaryArray,
        Int64Array,
    },
    buffer::{Buffer, NullBuffer, ScalarBuffer},
    datatypes::{
        DataType, Decimal128Type, Decimal256Type, Float64Type, Int8Type, Int16Type, Int32Type,
        Int64Type, UInt8Type, UInt16Type, UInt32Type, i256,
    },
};

use super::{Coming, Taken, as_type, column, each_state, extend, no_state, refused};
use crate::{
    Error, Result,
    kernels::{
        float_sum::{FloatSum, add_each},
        growth::{Growth, bytes_of, growth_from},
        hash::canonical_words,
        prefetch::prefetch_each,
        validity::Validity,
    },
};

/// The types of sums' states.
const INT_SUM: DataType = DataType::FixedSizeBinary(16);
const WIDE_SUM: DataType = DataType::FixedSizeBinary(32);
const FLOAT_SUM: DataType = DataType::BinaryView;

/// The bytes of a float's state that is a single value.
const VALUE_BYTES: usize = 8;

/// Groups whose sums are asked for together.
const CHUNK: usize = 64;

/// Decimals of so many digits can be added 2³³ times in 128 bits.
const DIGITS_WITH_ROOM: u8 = 28;

/// Sums of groups, with how they travel.
#[derive(Debug)]
pub(super) struct Sums {
    pub(super) kept: Kept,
    /// Whole numbers of up to 32 bits travel as 64 bits, in which 2³¹ of them can be added.
    state_type: DataType,
}

/// How sums are kept.
#[derive(Debug)]
pub(super) enum Kept {
    /// Of whole numbers as long as none can be beyond 64 bits: no sum is greater than `most`, by
    /// what was added at most. Then they become [`Kept::Int`].
    Narrow { sums: Vec<i64>, most: u64, seen: Validity },
    /// Of whole numbers, durations, and decimals that leave room.
    Int { sums: Vec<i128>, seen: Validity },
    /// Of other decimals.
    Wide { sums: Vec<i256>, seen: Validity },
    /// Of floats.
    Float(Vec<FloatSum>),
}

impl Sums {
    pub(super) fn new(of: &DataType, function: &str) -> Result<Self> {
        let seen = Validity::default();
        let narrow = Kept::Narrow { sums: Vec::new(), most: 0, seen: Validity::default() };
        let (kept, state_type) = match of {
            of if of.is_floating() => (Kept::Float(Vec::new()), FLOAT_SUM),
            of if of.is_integer() => {
                let is_short = of.primitive_width().is_some_and(|width| width < 8);
                (narrow, if is_short { DataType::Int64 } else { INT_SUM })
            }
            DataType::Duration(_) => (narrow, INT_SUM),
            DataType::Decimal128(digits, _) if *digits <= DIGITS_WITH_ROOM => {
                (Kept::Int { sums: Vec::new(), seen }, INT_SUM)
            }
            DataType::Decimal128(..) | DataType::Decimal256(..) => {
                (Kept::Wide { sums: Vec::new(), seen }, WIDE_SUM)
            }
            other => return Err(refused(function, other)),
        };
        Ok(Self { kept, state_type })
    }

    /// The same without a group.
    pub(super) fn empty(&self) -> Self {
        let seen = Validity::default();
        let kept = match &self.kept {
            Kept::Narrow { .. } => Kept::Narrow { sums: Vec::new(), most: 0, seen },
            Kept::Int { .. } => Kept::Int { sums: Vec::new(), seen },
            Kept::Wide { .. } => Kept::Wide { sums: Vec::new(), seen },
            Kept::Float(_) => Kept::Float(Vec::new()),
        };
        Self { kept, state_type: self.state_type.clone() }
    }

    pub(super) fn state_type(&self) -> DataType {
        self.state_type.clone()
    }

    pub(super) fn memory_bytes(&self) -> u64 {
        match &self.kept {
            Kept::Narrow { sums, seen, .. } => bytes_of(sums) + seen.memory_bytes(),
            Kept::Int { sums, seen } => bytes_of(sums) + seen.memory_bytes(),
            Kept::Wide { sums, seen } => bytes_of(sums) + seen.memory_bytes(),
            Kept::Float(sums) => bytes_of(sums),
        }
    }

    pub(super) fn growth(&self, values: &ArrayRef, coming: Coming) -> Growth {
        fn of<T>(vec: &Vec<T>, groups: usize) -> Growth {
            growth_from::<T>(vec.capacity(), groups)
        }
        match &self.kept {
            Kept::Narrow { sums, most, seen } => {
                let sums = if most_with(*most, values, coming.rows).is_some() {
                    of(sums, coming.groups)
                } else {
                    let held = bytes_of(sums);
                    let wide = growth_from::<i128>(0, coming.groups.max(sums.capacity()));
                    let lasting_bytes = wide.lasting_bytes - held;
                    Growth { lasting_bytes, passing_bytes: held }
                };
                sums + seen.growth(coming.rows)
            }
            Kept::Int { sums, seen } => of(sums, coming.groups) + seen.growth(coming.rows),
            Kept::Wide { sums, seen } => of(sums, coming.groups) + seen.growth(coming.rows),
            Kept::Float(sums) => of(sums, coming.groups),
        }
    }

    pub(super) fn extend(&mut self, count: usize) {
        match &mut self.kept {
            Kept::Narrow { sums, seen, .. } => {
                extend(sums, count, 0);
                seen.extend(count - seen.len(), false);
            }
            Kept::Int { sums, seen } => {
                extend(sums, count, 0);
                seen.extend(count - seen.len(), false);
            }
            Kept::Wide { sums, seen } => {
                extend(sums, count, i256::ZERO);
                seen.extend(count - seen.len(), false);
            }
            Kept::Float(sums) => extend(sums, count, FloatSum::EMPTY),
        }
    }

    /// Makes room for values of which a sum might be beyond 64 bits.
    fn widen_for(&mut self, values: &ArrayRef, rows: usize) {
        let Kept::Narrow { sums, most, seen } = &mut self.kept else { return };
        if let Some(more) = most_with(*most, values, rows) {
            *most = more;
            return;
        }
        let mut wide = Vec::with_capacity(sums.capacity());
        wide.extend(sums.iter().map(|sum| i128::from(*sum)));
        self.kept = Kept::Int { sums: wide, seen: std::mem::take(seen) };
    }

    pub(super) fn update(&mut self, taken: &Taken<'_>) -> Result<()> {
        let argument = column(taken.columns, 0)?;
        let (groups, count) = (taken.groups, taken.count);
        let nulls = argument.logical_nulls();
        let nulls = nulls.as_ref();
        self.widen_for(argument, groups.len());
        match &mut self.kept {
            Kept::Narrow { sums, seen, .. } => {
                extend(sums, count, 0);
                seen.see(nulls, groups, count, taken.is_whole);
                each_whole(sums, argument, nulls, groups, |sum, value| {
                    *sum = sum.wrapping_add(value);
                })?;
            }
            Kept::Int { sums, seen } => {
                extend(sums, count, 0);
                seen.see(nulls, groups, count, taken.is_whole);
                if let Some(values) = argument.as_primitive_opt::<Decimal128Type>() {
                    each_value(sums, values.values(), nulls, groups, |sum, value| {
                        *sum += value;
                    });
                } else if *argument.data_type() == DataType::UInt64 {
                    let words = canonical_words(argument).ok_or_else(|| no_state(argument))?;
                    each_value(sums, &words, nulls, groups, |sum, word| {
                        *sum += i128::from(word);
                    });
                } else {
                    each_whole(sums, argument, nulls, groups, |sum, value| {
                        *sum += i128::from(value);
                    })?;
                }
            }
            Kept::Wide { sums, seen } => {
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
                each_state(sums, nulls, groups, |row, sum| {
                    fits &= add_wide(sum, values.value(row));
                });
                wide_fits(fits)?;
            }
            Kept::Float(sums) => {
                let argument = as_type(argument, &DataType::Float64)?;
                let values = argument.as_primitive::<Float64Type>().values();
                extend(sums, count, FloatSum::EMPTY);
                match nulls.filter(|nulls| nulls.null_count() > 0) {
                    None => add_each(sums, (1, 0), groups, values),
                    Some(_) => {
                        each_value(sums, values, nulls, groups, FloatSum::add);
                    }
                }
            }
        }
        Ok(())
    }

    pub(super) fn merge(&mut self, states: &ArrayRef, taken: &Taken<'_>) -> Result<()> {
        if *states.data_type() != self.state_type {
            return Err(no_state(states));
        }
        if self.state_type == DataType::Int64 {
            return self.update(&Taken { columns: std::slice::from_ref(states), ..*taken });
        }
        let (groups, count) = (taken.groups, taken.count);
        if let Kept::Float(sums) = &mut self.kept {
            extend(sums, count, FloatSum::EMPTY);
            return merge_floats(sums, states, groups);
        }
        self.widen_for(states, groups.len());
        let states = binary(states)?;
        let nulls = states.nulls();
        match &mut self.kept {
            Kept::Narrow { sums, seen, .. } => {
                extend(sums, count, 0);
                seen.see(nulls, groups, count, taken.is_whole);
                let (states, _) = states.value_data().as_chunks::<16>();
                each_state(sums, nulls, groups, |row, sum| {
                    #[expect(clippy::cast_possible_truncation, reason = "no state is greater")]
                    let state = i128::from_le_bytes(states[row]) as i64;
                    *sum = sum.wrapping_add(state);
                });
            }
            Kept::Int { sums, seen } => {
                extend(sums, count, 0);
                seen.see(nulls, groups, count, taken.is_whole);
                let (states, _) = states.value_data().as_chunks::<16>();
                each_state(sums, nulls, groups, |row, sum| {
                    *sum += i128::from_le_bytes(states[row]);
                });
            }
            Kept::Wide { sums, seen } => {
                extend(sums, count, i256::ZERO);
                seen.see(nulls, groups, count, taken.is_whole);
                let mut fits = true;
                let (states, _) = states.value_data().as_chunks::<32>();
                each_state(sums, nulls, groups, |row, sum| {
                    fits &= add_wide(sum, i256::from_le_bytes(states[row]));
                });
                wide_fits(fits)?;
            }
            // Their states are of another type.
            Kept::Float(_) => return Err(no_state(states)),
        }
        Ok(())
    }

    /// The states of rows that are groups of their own, where that takes no sums.
    pub(super) fn row_states(&self, values: &ArrayRef) -> Result<Option<ArrayRef>> {
        Ok(match &self.kept {
            Kept::Float(_) => Some(float_rows(values)?),
            Kept::Narrow { .. } if self.state_type == DataType::Int64 => {
                Some(as_type(values, &DataType::Int64)?)
            }
            Kept::Narrow { .. } | Kept::Int { .. } | Kept::Wide { .. } => None,
        })
    }

    pub(super) fn states(&self, groups: &[u32]) -> Result<ArrayRef> {
        match &self.kept {
            Kept::Narrow { sums, seen, .. } if self.state_type == DataType::Int64 => {
                let sums: ScalarBuffer<i64> =
                    groups.iter().map(|group| sums[*group as usize]).collect();
                Ok(Arc::new(Int64Array::try_new(sums, seen.gather(groups))?))
            }
            Kept::Int { sums, seen } if self.state_type == DataType::Int64 => {
                let short = |group: &u32| i64::try_from(sums[*group as usize]).map_err(|_| many());
                let narrowed = groups.iter().map(short).collect::<Result<ScalarBuffer<i64>>>()?;
                Ok(Arc::new(Int64Array::try_new(narrowed, seen.gather(groups))?))
            }
            Kept::Narrow { sums, seen, .. } => bytes(
                groups,
                |group| i128::from(sums[group]).to_le_bytes(),
                seen.gather(groups),
                16,
            ),
            Kept::Int { sums, seen } => {
                bytes(groups, |group| sums[group].to_le_bytes(), seen.gather(groups), 16)
            }
            Kept::Wide { sums, seen } => {
                bytes(groups, |group| sums[group].to_le_bytes(), seen.gather(groups), 32)
            }
            Kept::Float(sums) => Ok(float_states(sums, groups)),
        }
    }

    /// A group's sum, rounded; `None` over no values.
    pub(super) fn float(&self, group: usize) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "rounds to nearest, as avg does")]
        match &self.kept {
            Kept::Narrow { sums, seen, .. } => seen.is_valid(group).then(|| sums[group] as f64),
            Kept::Int { sums, seen } => seen.is_valid(group).then(|| sums[group] as f64),
            Kept::Wide { sums, seen } => seen.is_valid(group).then(|| wide_float(sums[group])),
            Kept::Float(sums) => sums[group].value(),
        }
    }

    /// A group's sum of whole numbers, and which groups have one; `None` where they are no such.
    pub(super) fn whole(&self) -> Option<(impl Fn(usize) -> i128, &Validity)> {
        let (narrow, wide, seen): (&[i64], &[i128], &Validity) = match &self.kept {
            Kept::Narrow { sums, seen, .. } => (sums, &[], seen),
            Kept::Int { sums, seen } => (&[], sums, seen),
            Kept::Wide { .. } | Kept::Float(_) => return None,
        };
        let sum = move |group: usize| {
            if wide.is_empty() { i128::from(narrow[group]) } else { wide[group] }
        };
        Some((sum, seen))
    }
}

fn bytes<const N: usize>(
    groups: &[u32],
    of: impl Fn(usize) -> [u8; N],
    nulls: Option<NullBuffer>,
    width: i32,
) -> Result<ArrayRef> {
    let bytes: Vec<[u8; N]> = groups.iter().map(|group| of(*group as usize)).collect();
    let bytes = Buffer::from_vec(bytes.into_flattened());
    Ok(Arc::new(FixedSizeBinaryArray::try_new(width, bytes, nulls)?))
}

/// What no sum is beyond after `rows` of these values more; `None` where 64 bits may not hold it.
fn most_with(most: u64, values: &ArrayRef, rows: usize) -> Option<u64> {
    let each = match values.data_type() {
        DataType::Int8 | DataType::UInt8 => 1 << 8,
        DataType::Int16 | DataType::UInt16 => 1 << 16,
        DataType::Int32 | DataType::UInt32 => 1 << 32,
        DataType::FixedSizeBinary(16) => {
            let (states, _) = values.as_fixed_size_binary().value_data().as_chunks::<16>();
            let magnitude = |state: &[u8; 16]| {
                let state = i128::from_le_bytes(*state);
                (state ^ (state >> 127)).cast_unsigned()
            };
            let bits = states.iter().fold(0, |bits, state| bits | magnitude(state));
            u64::try_from(bits).ok()?.checked_add(1)?
        }
        DataType::UInt64 => {
            let words = canonical_words(values)?;
            words.iter().fold(0, |bits, word| bits | word).checked_add(1)?
        }
        _ => {
            let words = canonical_words(values)?;
            let magnitude = |word: &u64| word ^ (word.cast_signed() >> 63).cast_unsigned();
            words.iter().fold(0, |bits, word| bits | magnitude(word)) + 1
        }
    };
    let more = each.checked_mul(u64::try_from(rows).ok()?)?.checked_add(most)?;
    (more <= i64::MAX.cast_unsigned()).then_some(more)
}

/// Calls `each(group, value)` for the rows that are not null.
fn each_value<S, T: Copy>(
    sums: &mut [S],
    values: &[T],
    nulls: Option<&NullBuffer>,
    groups: &[u32],
    mut each: impl FnMut(&mut S, T),
) {
    each_state(sums, nulls, groups, |row, sum| each(sum, values[row]));
}

/// [`each_value`] of whole numbers and durations, widened; not for numbers beyond 63 bits.
fn each_whole<S>(
    sums: &mut [S],
    values: &ArrayRef,
    nulls: Option<&NullBuffer>,
    groups: &[u32],
    mut each: impl FnMut(&mut S, i64),
) -> Result<()> {
    fn widened<S, T: Copy + Into<i64>>(
        sums: &mut [S],
        values: &[T],
        nulls: Option<&NullBuffer>,
        groups: &[u32],
        mut each: impl FnMut(&mut S, i64),
    ) {
        each_value(sums, values, nulls, groups, |sum, value| each(sum, value.into()));
    }
    match values.data_type() {
        DataType::Int8 => {
            widened(sums, values.as_primitive::<Int8Type>().values(), nulls, groups, each);
        }
        DataType::Int16 => {
            widened(sums, values.as_primitive::<Int16Type>().values(), nulls, groups, each);
        }
        DataType::Int32 => {
            widened(sums, values.as_primitive::<Int32Type>().values(), nulls, groups, each);
        }
        DataType::Int64 => {
            widened(sums, values.as_primitive::<Int64Type>().values(), nulls, groups, each);
        }
        DataType::UInt8 => {
            widened(sums, values.as_primitive::<UInt8Type>().values(), nulls, groups, each);
        }
        DataType::UInt16 => {
            widened(sums, values.as_primitive::<UInt16Type>().values(), nulls, groups, each);
        }
        DataType::UInt32 => {
            widened(sums, values.as_primitive::<UInt32Type>().values(), nulls, groups, each);
        }
        _ => {
            let words = canonical_words(values).ok_or_else(|| no_state(values))?;
            each_value(sums, &words, nulls, groups, |sum, word| each(sum, word.cast_signed()));
        }
    }
    Ok(())
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

/// Float sums as they travel: nothing where nothing was added, else all that there is to know.
fn float_states(sums: &[FloatSum], groups: &[u32]) -> ArrayRef {
    let mut states = BinaryViewBuilder::with_capacity(groups.len());
    for chunk in groups.chunks(CHUNK) {
        prefetch_each(sums, chunk);
        for group in chunk {
            let sum = &sums[*group as usize];
            if sum.is_empty() {
                states.append_value([]);
            } else {
                states.append_value(sum.to_bytes());
            }
        }
    }
    Arc::new(states.finish())
}

/// The states of single values: a value, 8 bytes little endian, which its view holds itself.
fn float_rows(values: &ArrayRef) -> Result<ArrayRef> {
    let values = as_type(values, &DataType::Float64)?;
    let nulls = values.nulls().filter(|nulls| nulls.null_count() > 0);
    let view = |value: &f64| (u128::from(value.to_bits()) << 32) | VALUE_BYTES as u128;
    let values = values.as_primitive::<Float64Type>().values();
    let views: ScalarBuffer<u128> = match nulls {
        None => values.iter().map(view).collect(),
        Some(nulls) => {
            let pairs = values.iter().zip(nulls);
            pairs.map(|(value, is_valid)| if is_valid { view(value) } else { 0 }).collect()
        }
    };
    Ok(Arc::new(BinaryViewArray::try_new(views, [], None)?))
}

/// Adds what [`float_states`] and [`float_rows`] gave.
fn merge_floats(sums: &mut [FloatSum], states: &ArrayRef, groups: &[u32]) -> Result<()> {
    let Some(states) = states.as_binary_view_opt() else { return Err(no_state(states)) };
    for (row, group) in groups.iter().enumerate() {
        let (sum, bytes) = (&mut sums[*group as usize], states.value(row));
        if let Ok(value) = <[u8; VALUE_BYTES]>::try_from(bytes) {
            sum.add(f64::from_le_bytes(value));
        } else if !bytes.is_empty() {
            let state = FloatSum::from_bytes(bytes).ok_or_else(|| no_state(states))?;
            merge_float(sum, &state)?;
        }
    }
    Ok(())
}

/// Adds a state to another.
pub(super) fn merge_float(sum: &mut FloatSum, state: &FloatSum) -> Result<()> {
    if sum.merge(state) {
        return Ok(());
    }
    Err(Error::Evaluate { reason: String::from("a sum of floats over more than 2^37 values") })
}

#[cold]
fn many() -> Error {
    Error::Evaluate { reason: String::from("a spilled sum over more than 2^31 values") }
}

/// The nearest float, by the digits.
fn wide_float(value: i256) -> f64 {
    value.to_string().parse().unwrap_or(f64::NAN)
}

fn binary(array: &ArrayRef) -> Result<&FixedSizeBinaryArray> {
    array.as_fixed_size_binary_opt().ok_or_else(|| no_state(array))
}
