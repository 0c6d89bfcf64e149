//! What kernels that go row by row share: arguments by row, and the arrays that they fill.
//!
//! A kernel of a strict function never sees a constant null (the call is null then), and the
//! drivers here skip the rows in which an argument is null.

use std::sync::Arc;

use arrow::{
    array::{
        Array, ArrayRef, ArrowPrimitiveType, AsArray, BinaryViewArray, BooleanArray,
        BooleanBufferBuilder, ListArray, NullBufferBuilder, PrimitiveArray, StringViewArray,
        UInt32Array, new_null_array,
    },
    buffer::{NullBuffer, OffsetBuffer},
    compute,
    datatypes::{DataType, Field, Float64Type, Int64Type},
};

use super::Call;
use crate::{
    Error, Result,
    expr::{
        evaluate::Value,
        text::{TextBuilder, TextValue},
    },
};

/// The most bytes of a text that a function makes, which is the most of a record, too.
pub(super) const MAX_TEXT_BYTES: usize = 16 << 20;

/// The texts of an argument.
pub(super) struct Texts<'a> {
    array: &'a StringViewArray,
    is_scalar: bool,
}

impl<'a> Texts<'a> {
    /// The text of a row in which it is not null.
    pub(super) fn at(&self, row: usize) -> &'a str {
        self.array.value(if self.is_scalar { 0 } else { row })
    }

    /// The text of a row; `None` for a null.
    pub(super) fn get(&self, row: usize) -> Option<&'a str> {
        let row = if self.is_scalar { 0 } else { row };
        self.array.is_valid(row).then(|| self.array.value(row))
    }

    /// The one text for all rows, if there is one.
    pub(super) fn constant(&self) -> Option<&'a str> {
        self.is_scalar.then(|| self.get(0)).flatten()
    }
}

/// The bytes of an argument that is text or binary.
pub(super) enum Bytes<'a> {
    Text(Texts<'a>),
    Binary(&'a BinaryViewArray, bool),
}

impl<'a> Bytes<'a> {
    /// The bytes of a row in which it is not null.
    pub(super) fn at(&self, row: usize) -> &'a [u8] {
        match self {
            Self::Text(texts) => texts.at(row).as_bytes(),
            Self::Binary(array, is_scalar) => array.value(if *is_scalar { 0 } else { row }),
        }
    }
}

/// The numbers of an argument.
pub(super) struct Numbers<'a, T: ArrowPrimitiveType> {
    array: &'a PrimitiveArray<T>,
    is_scalar: bool,
}

impl<T: ArrowPrimitiveType> Numbers<'_, T> {
    /// The number of a row in which it is not null.
    pub(super) fn at(&self, row: usize) -> T::Native {
        self.array.value(if self.is_scalar { 0 } else { row })
    }
}

fn other(call: &Call<'_>, index: usize) -> Error {
    let found = call.arguments.get(index).map(|value| value.array().data_type().to_string());
    Error::Internal(format!("argument {index} of a function is {}", found.unwrap_or_default()))
}

/// A value for each of `rows` rows.
pub(super) fn repeated(value: &Value, rows: usize) -> Result<ArrayRef> {
    let array = value.array();
    if !value.is_scalar() || rows == 1 {
        return Ok(Arc::clone(array));
    }
    if array.is_null(0) {
        return Ok(new_null_array(array.data_type(), rows));
    }
    Ok(compute::take(array, &UInt32Array::from_value(0, rows), None)?)
}

/// The argument of this place, which is text.
pub(super) fn texts<'a>(call: &Call<'a>, index: usize) -> Result<Texts<'a>> {
    let value = call.arguments.get(index).ok_or_else(|| other(call, index))?;
    let array = value.array().as_string_view_opt().ok_or_else(|| other(call, index))?;
    Ok(Texts { array, is_scalar: value.is_scalar() })
}

/// The argument of this place, which is text or binary.
pub(super) fn bytes<'a>(call: &Call<'a>, index: usize) -> Result<Bytes<'a>> {
    let value = call.arguments.get(index).ok_or_else(|| other(call, index))?;
    match value.array().as_binary_view_opt() {
        Some(array) => Ok(Bytes::Binary(array, value.is_scalar())),
        None => texts(call, index).map(Bytes::Text),
    }
}

/// The argument of this place, whose values are `T`.
pub(super) fn numbers<'a, T: ArrowPrimitiveType>(
    call: &Call<'a>,
    index: usize,
) -> Result<Numbers<'a, T>> {
    let value = call.arguments.get(index).ok_or_else(|| other(call, index))?;
    let array = value.array().as_primitive_opt::<T>().ok_or_else(|| other(call, index))?;
    Ok(Numbers { array, is_scalar: value.is_scalar() })
}

/// The argument of this place, which is int64.
pub(super) fn ints<'a>(call: &Call<'a>, index: usize) -> Result<Numbers<'a, Int64Type>> {
    numbers(call, index)
}

/// The argument of this place, which is float64.
pub(super) fn floats<'a>(call: &Call<'a>, index: usize) -> Result<Numbers<'a, Float64Type>> {
    numbers(call, index)
}

/// The argument of this place, which is a list.
pub(super) fn lists<'a>(call: &Call<'a>, index: usize) -> Result<Lists<'a>> {
    let value = call.arguments.get(index).ok_or_else(|| other(call, index))?;
    let array = value.array().as_list_opt::<i32>().ok_or_else(|| other(call, index))?;
    Ok(Lists { array, is_scalar: value.is_scalar() })
}

/// The lists of an argument.
pub(super) struct Lists<'a> {
    array: &'a ListArray,
    is_scalar: bool,
}

impl<'a> Lists<'a> {
    /// The elements of all lists.
    pub(super) fn elements(&self) -> &'a ArrayRef {
        self.array.values()
    }

    /// Where the elements of a row's list stand.
    pub(super) fn range(&self, row: usize) -> std::ops::Range<usize> {
        let row = if self.is_scalar { 0 } else { row };
        let offsets = self.array.value_offsets();
        let place = |offset: i32| usize::try_from(offset).unwrap_or_default();
        place(offsets[row])..place(offsets[row + 1])
    }

    /// Whether a row has a list.
    pub(super) fn is_valid(&self, row: usize) -> bool {
        self.array.is_valid(if self.is_scalar { 0 } else { row })
    }
}

/// Where all of the arguments are there; they are everywhere where absent.
pub(super) fn valid(call: &Call<'_>) -> Option<NullBuffer> {
    let columns = call.arguments.iter().filter(|value| !value.is_scalar());
    columns.fold(None, |all, column| {
        let nulls = column.array().logical_nulls();
        NullBuffer::union(all.as_ref(), nulls.as_ref())
    })
}

fn is_null(nulls: Option<&NullBuffer>, row: usize) -> bool {
    nulls.is_some_and(|nulls| nulls.is_null(row))
}

/// A text a row, which `each` appends.
pub(super) fn text_of(
    call: &Call<'_>,
    mut each: impl FnMut(usize, &mut TextBuilder) -> Result<()>,
) -> Result<ArrayRef> {
    some_text_of(call, |row, out| each(row, out).map(|()| true))
}

/// A text a row, which `each` appends; null where it says false.
pub(super) fn some_text_of(
    call: &Call<'_>,
    mut each: impl FnMut(usize, &mut TextBuilder) -> Result<bool>,
) -> Result<ArrayRef> {
    let given = valid(call);
    let mut out = TextBuilder::with_capacity(call.rows);
    let mut nulls = NullBufferBuilder::new(call.rows);
    for row in 0..call.rows {
        if !is_null(given.as_ref(), row) && each(row, &mut out)? {
            out.push_extended();
            nulls.append_non_null();
        } else {
            out.discard_extended();
            out.push_empty();
            nulls.append_null();
        }
    }
    Ok(Arc::new(out.finish(nulls.finish())))
}

/// A part of the first argument a row, from one byte to another; nothing is copied.
pub(super) fn cut_of(
    call: &Call<'_>,
    mut each: impl FnMut(usize, &str) -> Result<(usize, usize)>,
) -> Result<ArrayRef> {
    some_cut_of(call, |row, text| each(row, text).map(Some))
}

/// A part of the first argument a row, from one byte to another, or null; nothing is copied.
pub(super) fn some_cut_of(
    call: &Call<'_>,
    mut each: impl FnMut(usize, &str) -> Result<Option<(usize, usize)>>,
) -> Result<ArrayRef> {
    let texts = texts(call, 0)?;
    let given = valid(call);
    let mut out = TextBuilder::with_capacity(call.rows);
    let base = out.share(texts.array);
    let mut nulls = NullBufferBuilder::new(call.rows);
    for row in 0..call.rows {
        let mut part = None;
        if !is_null(given.as_ref(), row) {
            let value = TextValue::new(texts.array, if texts.is_scalar { 0 } else { row }, base);
            part = each(row, value.text)?.map(|bounds| (value, bounds));
        }
        nulls.append(part.is_some());
        match part {
            Some((value, (start, end))) => out.push_part(&value, start, end),
            None => out.push_empty(),
        }
    }
    Ok(Arc::new(out.finish(nulls.finish())))
}

/// A list a row of parts of the first argument, which `each` calls its last argument with.
pub(super) fn cuts_of(
    call: &Call<'_>,
    mut each: impl FnMut(usize, &str, &mut dyn FnMut(usize, usize)) -> Result<()>,
) -> Result<ArrayRef> {
    let texts = texts(call, 0)?;
    let nulls = valid(call);
    let mut out = TextBuilder::with_capacity(call.rows);
    let base = out.share(texts.array);
    let mut lengths = Vec::with_capacity(call.rows);
    for row in 0..call.rows {
        let before = out.len();
        if !is_null(nulls.as_ref(), row) {
            let value = TextValue::new(texts.array, if texts.is_scalar { 0 } else { row }, base);
            each(row, value.text, &mut |start, end| out.push_part(&value, start, end))?;
        }
        lengths.push(out.len() - before);
    }
    list_of(Arc::new(out.finish(None)), lengths, nulls)
}

/// Lists of these lengths over `elements`.
pub(super) fn list_of(
    elements: ArrayRef,
    lengths: impl IntoIterator<Item = usize>,
    nulls: Option<NullBuffer>,
) -> Result<ArrayRef> {
    if i32::try_from(elements.len()).is_err() {
        let reason = String::from("the lists of a batch hold more than 2147483647 elements");
        return Err(Error::Evaluate { reason });
    }
    let field = Field::new_list_field(elements.data_type().clone(), true);
    let offsets = OffsetBuffer::from_lengths(lengths);
    Ok(Arc::new(ListArray::try_new(Arc::new(field), offsets, elements, nulls)?))
}

/// A number a row.
pub(super) fn numbers_of<T: ArrowPrimitiveType>(
    call: &Call<'_>,
    mut each: impl FnMut(usize) -> Result<T::Native>,
) -> Result<ArrayRef> {
    let nulls = valid(call);
    let mut values = Vec::with_capacity(call.rows);
    for row in 0..call.rows {
        let is_null = is_null(nulls.as_ref(), row);
        values.push(if is_null { T::Native::default() } else { each(row)? });
    }
    let array = PrimitiveArray::<T>::new(values.into(), nulls);
    Ok(Arc::new(array.with_data_type(call.data_type.clone())))
}

/// A number a row, or null.
pub(super) fn some_numbers_of<T: ArrowPrimitiveType>(
    call: &Call<'_>,
    mut each: impl FnMut(usize) -> Result<Option<T::Native>>,
) -> Result<ArrayRef> {
    let given = valid(call);
    let mut out = PrimitiveArray::<T>::builder(call.rows);
    for row in 0..call.rows {
        let value = if is_null(given.as_ref(), row) { None } else { each(row)? };
        out.append_option(value);
    }
    Ok(Arc::new(out.finish().with_data_type(call.data_type.clone())))
}

/// A claim a row.
pub(super) fn bools_of(
    call: &Call<'_>,
    mut each: impl FnMut(usize) -> Result<bool>,
) -> Result<ArrayRef> {
    let nulls = valid(call);
    let mut bits = BooleanBufferBuilder::new(call.rows);
    for row in 0..call.rows {
        let holds = if is_null(nulls.as_ref(), row) { false } else { each(row)? };
        bits.append(holds);
    }
    Ok(Arc::new(BooleanArray::new(bits.finish(), nulls)))
}

/// Bytes a row, or null.
pub(super) fn binary_of(
    call: &Call<'_>,
    mut each: impl FnMut(usize) -> Result<Vec<u8>>,
) -> Result<ArrayRef> {
    let nulls = valid(call);
    let mut out = arrow::array::BinaryViewBuilder::with_capacity(call.rows);
    for row in 0..call.rows {
        if is_null(nulls.as_ref(), row) {
            out.append_null();
        } else {
            out.append_value(each(row)?);
        }
    }
    Ok(Arc::new(out.finish()))
}

/// Refuses a text that would be longer than [`MAX_TEXT_BYTES`].
pub(super) fn fits(name: &str, bytes: usize) -> Result<()> {
    if bytes > MAX_TEXT_BYTES {
        let reason =
            format!("{name} would make a text of {bytes} bytes; {MAX_TEXT_BYTES} are allowed");
        return Err(Error::Evaluate { reason });
    }
    Ok(())
}

/// What arrow calls a type that a kernel was not made for.
pub(super) fn unsupported(name: &str, data_type: &DataType) -> Error {
    Error::Internal(format!("`{name}` of {data_type}"))
}
