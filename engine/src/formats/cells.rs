//! [`Cells`]: a batch's columns as encoders of text read them, value by value.
//!
//! Types are looked at once a batch. What an encoder does with a value that may need quoting is its
//! own [`Style`]; numbers and times are the same in all.

use std::{fmt::Write, sync::Arc};

use arrow::{
    array::{
        Array, ArrayRef, AsArray, BooleanArray, Date32Array, Float32Array, Float64Array,
        Int64Array, RecordBatch, StringViewArray, TimestampMicrosecondArray, UInt64Array,
    },
    compute::cast,
    datatypes::{
        DataType, Date32Type, Float32Type, Float64Type, Int64Type, TimeUnit,
        TimestampMicrosecondType, UInt64Type,
    },
    error::ArrowError,
    util::display::{ArrayFormatter, FormatOptions},
};

use crate::{Result, formats::scalar};

/// How an encoder writes what is not the same in all.
pub(crate) trait Style {
    /// Appends text.
    fn text(&self, value: &str, out: &mut Vec<u8>);

    /// Appends a date or time, which was written as `value`.
    fn time(&self, value: &[u8], out: &mut Vec<u8>);

    /// Appends a float, which was written as `value` in the shortest form with `.0`.
    fn float(&self, value: &[u8], is_finite: bool, out: &mut Vec<u8>);
}

/// A batch's columns with every type turned into one of few.
pub(crate) struct Normal(Vec<ArrayRef>);

impl Normal {
    /// The columns of `batch`; only types that are not read by any format are copied.
    pub(crate) fn new(batch: &RecordBatch) -> Result<Self> {
        Ok(Self(batch.columns().iter().map(normal).collect::<Result<_, ArrowError>>()?))
    }

    /// Them, typed.
    pub(crate) fn cells(&self) -> Result<Vec<Cells<'_>>> {
        Ok(self.0.iter().map(|array| Cells::new(array)).collect::<Result<_, ArrowError>>()?)
    }
}

fn normal(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let to = match array.data_type() {
        DataType::Int8 | DataType::Int16 | DataType::Int32 => DataType::Int64,
        DataType::UInt8 | DataType::UInt16 | DataType::UInt32 => DataType::UInt64,
        DataType::Float16 => DataType::Float32,
        DataType::Utf8 | DataType::LargeUtf8 => DataType::Utf8View,
        DataType::Timestamp(TimeUnit::Second | TimeUnit::Millisecond, None) => {
            DataType::Timestamp(TimeUnit::Microsecond, None)
        }
        DataType::Dictionary(_, values) => {
            return normal(&cast(array, values)?);
        }
        _ => return Ok(Arc::clone(array)),
    };
    cast(array, &to)
}

/// One column.
pub(crate) enum Cells<'a> {
    Bool(&'a BooleanArray),
    Int(&'a Int64Array),
    UInt(&'a UInt64Array),
    Float32(&'a Float32Array),
    Float(&'a Float64Array),
    Text(&'a StringViewArray),
    Date(&'a Date32Array),
    Timestamp(&'a TimestampMicrosecondArray),
    /// Any other type, by Arrow's own formatter.
    Other(&'a dyn Array, ArrayFormatter<'a>),
}

impl<'a> Cells<'a> {
    fn new(array: &'a dyn Array) -> Result<Self, ArrowError> {
        Ok(match array.data_type() {
            DataType::Boolean => Self::Bool(array.as_boolean()),
            DataType::Int64 => Self::Int(array.as_primitive::<Int64Type>()),
            DataType::UInt64 => Self::UInt(array.as_primitive::<UInt64Type>()),
            DataType::Float32 => Self::Float32(array.as_primitive::<Float32Type>()),
            DataType::Float64 => Self::Float(array.as_primitive::<Float64Type>()),
            DataType::Utf8View => Self::Text(array.as_string_view()),
            DataType::Date32 => Self::Date(array.as_primitive::<Date32Type>()),
            DataType::Timestamp(TimeUnit::Microsecond, None) => {
                Self::Timestamp(array.as_primitive::<TimestampMicrosecondType>())
            }
            _ => Self::Other(array, ArrayFormatter::try_new(array, &FormatOptions::new())?),
        })
    }

    /// Whether a row has no value.
    #[inline]
    pub(crate) fn is_null(&self, row: usize) -> bool {
        match self {
            Self::Bool(array) => array.is_null(row),
            Self::Int(array) => array.is_null(row),
            Self::UInt(array) => array.is_null(row),
            Self::Float32(array) => array.is_null(row),
            Self::Float(array) => array.is_null(row),
            Self::Text(array) => array.is_null(row),
            Self::Date(array) => array.is_null(row),
            Self::Timestamp(array) => array.is_null(row),
            Self::Other(array, _) => array.is_null(row),
        }
    }

    /// Appends a row's value, which is not null; `scratch` is for what is not known to fit as it is.
    ///
    /// # Errors
    /// Arrow's, for values that its formatter can't write.
    #[inline]
    pub(crate) fn write(
        &self,
        row: usize,
        style: &impl Style,
        scratch: &mut Scratch,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        match self {
            Self::Text(array) => style.text(array.value(row), out),
            Self::Int(array) => scalar::write_int64(array.value(row), out),
            Self::UInt(array) => scalar::write_uint64(array.value(row), out),
            Self::Bool(array) => scalar::write_bool(array.value(row), out),
            Self::Float(array) => {
                let value = array.value(row);
                scratch.bytes.clear();
                scalar::write_float64(value, &mut scratch.bytes);
                style.float(&scratch.bytes, value.is_finite(), out);
            }
            Self::Float32(array) => {
                let value = array.value(row);
                scratch.bytes.clear();
                scalar::write_float32(value, &mut scratch.bytes);
                style.float(&scratch.bytes, value.is_finite(), out);
            }
            Self::Date(array) => {
                scratch.bytes.clear();
                scalar::write_date(array.value(row), &mut scratch.bytes);
                style.time(&scratch.bytes, out);
            }
            Self::Timestamp(array) => {
                scratch.bytes.clear();
                scalar::write_timestamp(array.value(row), &mut scratch.bytes);
                style.time(&scratch.bytes, out);
            }
            Self::Other(_, formatter) => {
                scratch.text.clear();
                write!(scratch.text, "{}", formatter.value(row))
                    .map_err(|_| ArrowError::CastError(String::from("a value has no text")))?;
                style.text(&scratch.text, out);
            }
        }
        Ok(())
    }
}

/// Memory that one encoder uses again for every value.
#[derive(Default)]
pub(crate) struct Scratch {
    bytes: Vec<u8>,
    text: String,
}
