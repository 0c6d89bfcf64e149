//! [`Column`]: a growing column of values of any type, whose entries are compared, replaced and
//! gathered; what tables of keys and states of aggregates are made of.
//!
//! Values of up to 8 bytes are kept as [canonical words](canonical_words), 16-byte ones as they are,
//! text and binary as views over an arena, and everything else (wide decimals, lists, structs) as
//! the bytes of arrow's row format. In each form equal values are equal bits, with -0.0 = 0.0 and
//! NaN = NaN, inside lists and structs too.

use std::{cmp::Ordering, sync::Arc};

use arrow::{
    array::{
        Array, ArrayDataBuilder, ArrayRef, AsArray, BinaryViewArray, BooleanArray, Float32Array,
        Float64Array, NullArray, PrimitiveArray, StructArray, make_array, new_null_array,
    },
    buffer::{BooleanBuffer, Buffer, NullBuffer, ScalarBuffer},
    compute::{SortOptions, cast},
    datatypes::{
        BinaryViewType, DataType, Decimal128Type, Float32Type, Float64Type, IntervalMonthDayNano,
        IntervalMonthDayNanoType, IntervalUnit, StringViewType,
    },
    row::{RowConverter, SortField},
};

use crate::{
    Error, Result,
    kernels::{
        growth::{Growth, bytes_of, growth_of, reserve},
        hash::{canonical_float, canonical_words},
        prefetch::prefetch_each,
        text_column::{TextColumn, TextInput},
        validity::Validity,
    },
};

/// A growing column.
///
/// - Memory: [`Column::memory_bytes`]; [`Column::growth`] before.
#[derive(Debug)]
pub(crate) struct Column {
    data_type: DataType,
    values: Values,
    validity: Validity,
}

#[derive(Debug)]
enum Values {
    /// Up to 8 bytes; a null's word is 0.
    Words(Vec<u64>),
    /// 16 bytes; a null's is 0.
    Wide(Vec<u128>),
    /// Text, binary, and rows; a null's view is that of the empty string.
    Bytes { bytes: TextColumn, form: Form },
}

/// What bytes are the bytes of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Text,
    Binary,
    Rows,
}

/// A batch's column in the form in which it is compared and copied.
pub(crate) struct ColumnInput {
    values: InputValues,
    nulls: Option<NullBuffer>,
}

enum InputValues {
    Words(ScalarBuffer<u64>),
    Wide(Vec<u128>),
    Bytes(TextInput),
}

impl ColumnInput {
    /// A column of a batch.
    ///
    /// # Errors
    /// [`Error::Arrow`] for a type that has no row format; the plan has none.
    pub(crate) fn new(array: &ArrayRef) -> Result<Self> {
        let nulls = array.logical_nulls().filter(|nulls| nulls.null_count() > 0);
        if let Some(words) = canonical_words(array.as_ref()) {
            let words = match &nulls {
                None => words,
                Some(nulls) => words
                    .iter()
                    .zip(nulls)
                    .map(|(word, is_valid)| if is_valid { *word } else { 0 })
                    .collect(),
            };
            return Ok(Self { values: InputValues::Words(words), nulls });
        }
        let of = match array.data_type() {
            DataType::Dictionary(_, values) => values.as_ref(),
            other => other,
        };
        let values = match of {
            DataType::Decimal128(..) | DataType::Interval(IntervalUnit::MonthDayNano) => {
                InputValues::Wide(wide_values(array, of, nulls.as_ref())?)
            }
            DataType::Utf8View | DataType::Utf8 | DataType::LargeUtf8 => {
                let text = plain(array, &DataType::Utf8View)?;
                InputValues::Bytes(TextInput::new(text.as_string_view()))
            }
            DataType::BinaryView | DataType::Binary | DataType::LargeBinary => {
                let binary = plain(array, &DataType::BinaryView)?;
                InputValues::Bytes(TextInput::new(binary.as_binary_view()))
            }
            _ => {
                let rows = encoded(std::slice::from_ref(&plain(array, of)?), &[ASCENDING])?;
                let (views, buffers, _) = rows.into_parts();
                let valid = BinaryViewArray::try_new(views, buffers, nulls.clone())?;
                InputValues::Bytes(TextInput::new(&valid))
            }
        };
        Ok(Self { values, nulls })
    }

    /// Which rows are null; absent where none is.
    pub(crate) fn nulls(&self) -> Option<&NullBuffer> {
        self.nulls.as_ref()
    }

    /// Whether a row is not null.
    pub(crate) fn is_valid(&self, row: usize) -> bool {
        self.nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row))
    }

    /// Whether two rows are the same, nulls too.
    pub(crate) fn are_equal(&self, left: usize, right: usize) -> bool {
        let are_equal = match &self.values {
            InputValues::Words(words) => words[left] == words[right],
            InputValues::Wide(values) => values[left] == values[right],
            InputValues::Bytes(text) => text.are_equal(left, right),
        };
        are_equal && self.is_valid(left) == self.is_valid(right)
    }
}

impl Column {
    /// An empty column.
    ///
    /// # Errors
    /// [`Error::Internal`] for a type that has no form here; the plan has none.
    pub(crate) fn new(data_type: &DataType) -> Result<Self> {
        let bytes = |form| Values::Bytes { bytes: TextColumn::default(), form };
        let values = match data_type {
            DataType::Null | DataType::Boolean => Values::Words(Vec::new()),
            DataType::Decimal128(..) | DataType::Interval(IntervalUnit::MonthDayNano) => {
                Values::Wide(Vec::new())
            }
            DataType::Interval(_) => bytes(Form::Rows),
            fixed if fixed.primitive_width().is_some_and(|width| width <= 8) => {
                Values::Words(Vec::new())
            }
            DataType::Utf8View | DataType::Utf8 | DataType::LargeUtf8 => bytes(Form::Text),
            DataType::BinaryView | DataType::Binary | DataType::LargeBinary => bytes(Form::Binary),
            other if RowConverter::supports_fields(&[SortField::new(other.clone())]) => {
                bytes(Form::Rows)
            }
            other => return Err(Error::Internal(format!("a column of type {other}"))),
        };
        Ok(Self { data_type: data_type.clone(), values, validity: Validity::default() })
    }

    /// The type of its values.
    pub(crate) fn data_type(&self) -> &DataType {
        &self.data_type
    }

    /// Bytes held.
    pub(crate) fn memory_bytes(&self) -> u64 {
        let values = match &self.values {
            Values::Words(words) => bytes_of(words),
            Values::Wide(values) => bytes_of(values),
            Values::Bytes { bytes, .. } => bytes.memory_bytes(),
        };
        values + self.validity.memory_bytes()
    }

    /// The bytes of some entries.
    pub(crate) fn entry_bytes(&self, entries: &[u32]) -> u64 {
        match &self.values {
            Values::Words(_) => 8 * entries.len() as u64,
            Values::Wide(_) => 16 * entries.len() as u64,
            Values::Bytes { bytes, .. } => {
                entries.iter().map(|entry| 16 + bytes.length(*entry as usize)).sum()
            }
        }
    }

    /// The most that appending or setting the rows of `input` may add, and that `more` entries may.
    pub(crate) fn growth(&self, input: &ColumnInput, more: usize) -> Growth {
        let values = match (&self.values, &input.values) {
            (Values::Words(words), _) => growth_of(words, more),
            (Values::Wide(values), _) => growth_of(values, more),
            (Values::Bytes { bytes, .. }, InputValues::Bytes(input)) => bytes.growth(input, more),
            (Values::Bytes { .. }, _) => mismatch(),
        };
        let has_nulls = input.nulls.is_some() || !self.validity.all_valid();
        values + if has_nulls { self.validity.growth(more) } else { Growth::default() }
    }

    /// [`Self::growth`] where that follows from the number of rows; `None` where it takes the rows.
    pub(crate) fn fixed_growth(&self, has_nulls: bool, more: usize) -> Option<Growth> {
        let values = match &self.values {
            Values::Words(words) => growth_of(words, more),
            Values::Wide(values) => growth_of(values, more),
            Values::Bytes { .. } => return None,
        };
        let has_nulls = has_nulls || !self.validity.all_valid();
        Some(values + if has_nulls { self.validity.growth(more) } else { Growth::default() })
    }

    /// [`Self::growth`] where entries may be null before they have a value.
    pub(crate) fn growth_of_nullable(&self, input: &ColumnInput, more: usize) -> Growth {
        self.growth(input, more) + self.validity.growth(more)
    }

    /// Asks for some entries before they are compared; one that does not exist costs nothing.
    pub(crate) fn prefetch(&self, entries: &[u32]) {
        match &self.values {
            Values::Words(words) => prefetch_each(words, entries),
            Values::Wide(values) => prefetch_each(values, entries),
            Values::Bytes { bytes, .. } => bytes.prefetch(entries),
        }
    }

    /// Clears `equal` for the rows, from `first` on, that differ from the entry of their place. An
    /// entry that does not exist equals nothing.
    pub(crate) fn compare(
        &self,
        input: &ColumnInput,
        first: usize,
        entries: &[u32],
        equal: &mut [bool],
    ) {
        fn agree<T: PartialEq>(stored: &[T], input: &[T], entries: &[u32], equal: &mut [bool]) {
            for ((entry, value), is_equal) in entries.iter().zip(input).zip(equal) {
                *is_equal &= stored.get(*entry as usize) == Some(value);
            }
        }
        match (&self.values, &input.values) {
            (Values::Words(stored), InputValues::Words(input)) => {
                agree(stored, &input[first..first + entries.len()], entries, equal);
            }
            (Values::Wide(stored), InputValues::Wide(input)) => {
                agree(stored, &input[first..first + entries.len()], entries, equal);
            }
            (Values::Bytes { bytes, .. }, InputValues::Bytes(input)) => {
                bytes.compare(input, first, entries, equal);
            }
            _ => mismatch(),
        }
        if self.validity.all_valid() && input.nulls.is_none() {
            return;
        }
        for (row, (entry, is_equal)) in (first..).zip(entries.iter().zip(equal)) {
            *is_equal = *is_equal && self.validity.is_valid(*entry as usize) == input.is_valid(row);
        }
    }

    /// Whether an entry is what a row is, nulls too.
    pub(crate) fn equals(&self, entry: usize, input: &ColumnInput, row: usize) -> bool {
        let is_equal = match (&self.values, &input.values) {
            (Values::Words(words), InputValues::Words(input)) => words[entry] == input[row],
            (Values::Wide(values), InputValues::Wide(input)) => values[entry] == input[row],
            (Values::Bytes { bytes, .. }, InputValues::Bytes(input)) => {
                bytes.equals(entry, input, row)
            }
            _ => mismatch(),
        };
        is_equal && self.validity.is_valid(entry) == input.is_valid(row)
    }

    /// Adds copies of some rows' values.
    pub(crate) fn append(
        &mut self,
        input: &ColumnInput,
        rows: impl ExactSizeIterator<Item = usize> + Clone,
    ) {
        match (&mut self.values, &input.values) {
            (Values::Words(words), InputValues::Words(input)) => {
                reserve(words, rows.len());
                words.extend(rows.clone().map(|row| input[row]));
            }
            (Values::Wide(values), InputValues::Wide(input)) => {
                reserve(values, rows.len());
                values.extend(rows.clone().map(|row| input[row]));
            }
            (Values::Bytes { bytes, .. }, InputValues::Bytes(input)) => {
                bytes.append(input, rows.clone());
            }
            _ => mismatch(),
        }
        match &input.nulls {
            None => self.validity.extend(rows.len(), true),
            Some(nulls) => rows.for_each(|row| self.validity.push(nulls.is_valid(row))),
        }
    }

    /// Adds nulls up to `len` entries.
    pub(crate) fn resize(&mut self, len: usize) {
        fn extend<T: Clone + Default>(values: &mut Vec<T>, len: usize) {
            reserve(values, len - values.len());
            values.resize(len, T::default());
        }
        match &mut self.values {
            Values::Words(words) => extend(words, len),
            Values::Wide(values) => extend(values, len),
            Values::Bytes { bytes, .. } => bytes.resize(len),
        }
        self.validity.extend(len - self.validity.len(), false);
    }

    /// Puts a copy of a row's value in place of an entry.
    pub(crate) fn set(&mut self, entry: usize, input: &ColumnInput, row: usize) {
        match (&mut self.values, &input.values) {
            (Values::Words(words), InputValues::Words(input)) => words[entry] = input[row],
            (Values::Wide(values), InputValues::Wide(input)) => values[entry] = input[row],
            (Values::Bytes { bytes, .. }, InputValues::Bytes(input)) => {
                bytes.set(entry, input, row);
            }
            _ => mismatch(),
        }
        self.validity.set(entry, input.is_valid(row));
    }

    /// Rewrites what replaced entries left behind, once it is much.
    pub(crate) fn collect_garbage(&mut self) {
        if let Values::Bytes { bytes, .. } = &mut self.values {
            bytes.collect_garbage();
        }
    }

    /// Ends the growing, so that [`Self::gather`] can share what is held.
    pub(crate) fn freeze(&mut self) {
        if let Values::Bytes { bytes, .. } = &mut self.values {
            bytes.freeze();
        }
    }

    /// Two entries that are not null, in the order of their type.
    pub(crate) fn order(&self, left: u32, right: u32) -> Ordering {
        let (left, right) = (left as usize, right as usize);
        match &self.values {
            Values::Words(words) => {
                let order = word_order(&self.data_type);
                order(words[left].cast_signed()).cmp(&order(words[right].cast_signed()))
            }
            Values::Wide(values) => values[left].cast_signed().cmp(&values[right].cast_signed()),
            Values::Bytes { bytes, .. } => bytes.order(left, right),
        }
    }

    /// The words of a column of up to 8 bytes, as integers of the values' order, through
    /// [`word_order`].
    pub(crate) fn words(&self) -> Option<&[u64]> {
        match &self.values {
            Values::Words(words) => Some(words),
            Values::Wide(_) | Values::Bytes { .. } => None,
        }
    }

    /// The chosen entries of a frozen column as an array of its type.
    ///
    /// # Errors
    /// [`Error::Internal`] where what is kept fits no array, which would be a bug.
    pub(crate) fn gather(&self, entries: &[u32]) -> Result<ArrayRef> {
        let nulls = self.validity.gather(entries);
        Ok(match &self.values {
            Values::Words(words) => {
                let words = entries.iter().map(|entry| words[*entry as usize]);
                from_canonical_words(&self.data_type, words, nulls)?
            }
            Values::Wide(values) => {
                let values = entries.iter().map(|entry| values[*entry as usize]);
                from_wide(&self.data_type, values, nulls)?
            }
            Values::Bytes { bytes, form: Form::Text } => {
                Arc::new(bytes.gather::<StringViewType>(entries, nulls)?)
            }
            Values::Bytes { bytes, form: Form::Binary } => {
                Arc::new(bytes.gather::<BinaryViewType>(entries, nulls)?)
            }
            Values::Bytes { bytes, form: Form::Rows } => self.decoded(bytes, entries)?,
        })
    }

    /// Rows back to values.
    fn decoded(&self, bytes: &TextColumn, entries: &[u32]) -> Result<ArrayRef> {
        let converter = RowConverter::new(vec![SortField::new(self.data_type.clone())])?;
        let null = converter.convert_columns(&[new_null_array(&self.data_type, 1)])?;
        let rows = bytes.gather::<BinaryViewType>(entries, None)?;
        let parser = converter.parser();
        let rows = entries.iter().enumerate().map(|(row, entry)| {
            let is_valid = self.validity.is_valid(*entry as usize);
            if is_valid { parser.parse(rows.value(row)) } else { null.row(0) }
        });
        let column = converter.convert_rows(rows)?.pop();
        column.ok_or_else(|| Error::Internal(String::from("a row without its column")))
    }
}

/// Ascending, nulls last.
pub(crate) const ASCENDING: SortOptions = SortOptions { descending: false, nulls_first: false };

/// Columns as one of bytes that compare as their rows do, by these options.
///
/// # Errors
/// [`Error::Arrow`] for a type that has no row format, and for more than 2 GiB of rows.
pub(crate) fn encoded(columns: &[ArrayRef], options: &[SortOptions]) -> Result<BinaryViewArray> {
    let columns: Vec<ArrayRef> = columns.iter().map(canonical).collect::<Result<_>>()?;
    let fields = columns
        .iter()
        .zip(options)
        .map(|(column, options)| SortField::new_with_options(column.data_type().clone(), *options));
    let rows = RowConverter::new(fields.collect())?.convert_columns(&columns)?;
    Ok(BinaryViewArray::from(&rows.try_into_binary()?))
}

/// The array with one zero and one NaN, in lists and structs too.
fn canonical(array: &ArrayRef) -> Result<ArrayRef> {
    if !has_floats(array.data_type()) {
        return Ok(Arc::clone(array));
    }
    Ok(match array.data_type() {
        DataType::Float64 => {
            let canonical = |value| f64::from_bits(canonical_float(value));
            Arc::new(array.as_primitive::<Float64Type>().unary::<_, Float64Type>(canonical))
                as Arc<Float64Array>
        }
        DataType::Float32 => {
            #[expect(clippy::cast_possible_truncation, reason = "a widened float32")]
            let canonical = |value: f32| f64::from_bits(canonical_float(f64::from(value))) as f32;
            Arc::new(array.as_primitive::<Float32Type>().unary::<_, Float32Type>(canonical))
                as Arc<Float32Array>
        }
        DataType::Struct(_) => {
            let (fields, columns, nulls) = array.as_struct().clone().into_parts();
            let columns = columns.iter().map(canonical).collect::<Result<_>>()?;
            Arc::new(StructArray::try_new_with_length(fields, columns, nulls, array.len())?)
        }
        DataType::List(_) => {
            let (field, offsets, values, nulls) = array.as_list::<i32>().clone().into_parts();
            let values = canonical(&values)?;
            Arc::new(arrow::array::ListArray::try_new(field, offsets, values, nulls)?)
        }
        _ => Arc::clone(array),
    })
}

fn has_floats(data_type: &DataType) -> bool {
    match data_type {
        DataType::Float32 | DataType::Float64 => true,
        DataType::List(element) => has_floats(element.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| has_floats(field.data_type())),
        _ => false,
    }
}

/// The array as one of `to`: text and binary as views, a dictionary as its values.
fn plain(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    if array.data_type() == to { Ok(Arc::clone(array)) } else { Ok(cast(array, to)?) }
}

fn wide_values(array: &ArrayRef, of: &DataType, nulls: Option<&NullBuffer>) -> Result<Vec<u128>> {
    let array = plain(array, of)?;
    let mut values: Vec<u128> = if matches!(of, DataType::Decimal128(..)) {
        let values = array.as_primitive::<Decimal128Type>().values();
        values.iter().map(|value| value.cast_unsigned()).collect()
    } else {
        let values = array.as_primitive::<IntervalMonthDayNanoType>().values();
        values.iter().map(|value| interval_bits(*value)).collect()
    };
    if let Some(nulls) = nulls {
        for (value, is_valid) in values.iter_mut().zip(nulls) {
            if !is_valid {
                *value = 0;
            }
        }
    }
    Ok(values)
}

/// Months, days and nanoseconds, from the highest bits to the lowest.
pub(crate) fn interval_bits(value: IntervalMonthDayNano) -> u128 {
    let months = u128::from(value.months.cast_unsigned());
    let days = u128::from(value.days.cast_unsigned());
    (months << 96) | (days << 64) | u128::from(value.nanoseconds.cast_unsigned())
}

fn from_wide(
    data_type: &DataType,
    values: impl Iterator<Item = u128>,
    nulls: Option<NullBuffer>,
) -> Result<ArrayRef> {
    if matches!(data_type, DataType::Decimal128(..)) {
        let values: ScalarBuffer<i128> = values.map(u128::cast_signed).collect();
        let array = PrimitiveArray::<Decimal128Type>::try_new(values, nulls)?;
        return Ok(Arc::new(array.with_data_type(data_type.clone())));
    }
    #[expect(clippy::cast_possible_truncation, reason = "each takes its own bits")]
    let interval = |bits: u128| {
        IntervalMonthDayNano::new(
            ((bits >> 96) as u32).cast_signed(),
            ((bits >> 64) as u32).cast_signed(),
            (bits as u64).cast_signed(),
        )
    };
    let values: ScalarBuffer<_> = values.map(interval).collect();
    Ok(Arc::new(PrimitiveArray::<IntervalMonthDayNanoType>::try_new(values, nulls)?))
}

/// From canonical words to integers of the values' order, and back: each is its own inverse.
pub(crate) fn word_order(data_type: &DataType) -> fn(i64) -> i64 {
    match data_type {
        // Negative floats order backwards by their bits below the sign; the one NaN is positive.
        DataType::Float32 | DataType::Float64 => {
            |word| word ^ ((word >> 63).cast_unsigned() >> 1).cast_signed()
        }
        DataType::UInt64 => |word| word ^ i64::MIN,
        _ => |word| word,
    }
}

/// The inverse of [`canonical_words`].
///
/// # Errors
/// [`Error::Arrow`] for a type that has no such words.
pub(crate) fn from_canonical_words(
    data_type: &DataType,
    words: impl ExactSizeIterator<Item = u64>,
    nulls: Option<NullBuffer>,
) -> Result<ArrayRef> {
    let len = words.len();
    #[expect(clippy::cast_possible_truncation, reason = "the words were widened from these types")]
    let buffer = match data_type {
        DataType::Null => return Ok(Arc::new(NullArray::new(len))),
        DataType::Boolean => {
            let values: BooleanBuffer = words.map(|word| word != 0).collect();
            return Ok(Arc::new(BooleanArray::new(values, nulls)));
        }
        DataType::Float32 => {
            Buffer::from_vec(words.map(|word| f64::from_bits(word) as f32).collect::<Vec<_>>())
        }
        fixed => match fixed.primitive_width() {
            Some(1) => Buffer::from_vec(words.map(|word| word as u8).collect::<Vec<_>>()),
            Some(2) => Buffer::from_vec(words.map(|word| word as u16).collect::<Vec<_>>()),
            Some(4) => Buffer::from_vec(words.map(|word| word as u32).collect::<Vec<_>>()),
            _ => Buffer::from_vec(words.collect::<Vec<_>>()),
        },
    };
    let data = ArrayDataBuilder::new(data_type.clone()).len(len).add_buffer(buffer).nulls(nulls);
    Ok(make_array(data.build()?))
}

#[cold]
fn mismatch() -> ! {
    unreachable!("a batch's columns have the types that a column was made for")
}
