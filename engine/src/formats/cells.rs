//! [`Cells`]: a batch's columns as encoders of text read them, value by value.
//!
//! Types are looked at once a batch. What an encoder does with a value that may need quoting is its
//! own [`Style`]; numbers and times are the same in all. Nested values are JSON in all of them.

use arrow::{
    array::{
        Array, ArrayRef, ArrowPrimitiveType, AsArray, BinaryViewArray, BooleanArray, ListArray,
        PrimitiveArray, RecordBatch, StringViewArray,
    },
    buffer::NullBuffer,
    datatypes::{
        DataType, Date32Type, Decimal128Type, Decimal256Type, DurationMicrosecondType,
        DurationMillisecondType, DurationNanosecondType, DurationSecondType, Float32Type,
        Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, IntervalMonthDayNanoType,
        IntervalUnit, Time64MicrosecondType, TimeUnit, TimestampMicrosecondType,
        TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type,
        UInt16Type, UInt32Type, UInt64Type, i256,
    },
    error::ArrowError,
};

use crate::{
    Result,
    formats::{
        jsonl::scan::plain_run,
        normal::normalise,
        scalar::{self, bytes::write_hex, decimal::write_decimal, time, time::Zone},
    },
};

/// How an encoder writes what is not the same in all.
pub(crate) trait Style {
    /// Appends text.
    fn text(&self, value: &str, out: &mut Vec<u8>);

    /// Appends a row's text.
    #[inline]
    fn text_at(&self, array: &StringViewArray, row: usize, out: &mut Vec<u8>) {
        self.text(array.value(row), out);
    }

    /// Appends a date, a time, or bytes, which were written as `value`.
    fn time(&self, value: &[u8], out: &mut Vec<u8>);

    /// Appends a float, which was written as `value` in the shortest form with `.0`.
    fn float(&self, value: &[u8], is_finite: bool, out: &mut Vec<u8>);

    /// Appends a list or a struct, which was written as JSON.
    fn nested(&self, value: &[u8], out: &mut Vec<u8>);
}

/// A batch's columns, all of types that pipelines have.
pub(crate) struct Normal(Vec<ArrayRef>);

impl Normal {
    /// The columns of `batch`; only types that no pipeline has are copied.
    pub(crate) fn new(batch: &RecordBatch) -> Result<Self> {
        Ok(Self(batch.columns().iter().map(normalise).collect::<Result<_>>()?))
    }

    /// Them, typed.
    pub(crate) fn cells(&self) -> Result<Vec<Cells<'_>>> {
        Ok(self.0.iter().map(|array| Cells::new(array)).collect::<Result<_, ArrowError>>()?)
    }
}

/// One column.
pub(crate) struct Cells<'a> {
    nulls: Option<&'a NullBuffer>,
    values: Values<'a>,
}

enum Values<'a> {
    Nothing,
    Bool(&'a BooleanArray),
    Int(Ints<'a>),
    Float32(&'a PrimitiveArray<Float32Type>),
    Float(&'a PrimitiveArray<Float64Type>),
    Decimal128(&'a PrimitiveArray<Decimal128Type>, i8),
    Decimal256(&'a PrimitiveArray<Decimal256Type>, i8),
    Text(&'a StringViewArray),
    Binary(&'a BinaryViewArray),
    Date(&'a PrimitiveArray<Date32Type>),
    Time(&'a [i64]),
    Timestamp(&'a [i64], TimeUnit, Option<Zone>),
    Duration(&'a [i64], TimeUnit),
    Interval(&'a PrimitiveArray<IntervalMonthDayNanoType>),
    List(&'a ListArray, Box<Cells<'a>>),
    /// The members, each behind what stands before its value: `{"a":`, `,"b":`.
    Struct(Vec<(Vec<u8>, Cells<'a>)>),
}

enum Ints<'a> {
    Int8(&'a [i8]),
    Int16(&'a [i16]),
    Int32(&'a [i32]),
    Int64(&'a [i64]),
    UInt8(&'a [u8]),
    UInt16(&'a [u16]),
    UInt32(&'a [u32]),
    UInt64(&'a [u64]),
}

fn slice<T: ArrowPrimitiveType>(array: &dyn Array) -> &[T::Native] {
    array.as_primitive::<T>().values()
}

fn timestamps(array: &dyn Array, unit: TimeUnit) -> &[i64] {
    match unit {
        TimeUnit::Second => slice::<TimestampSecondType>(array),
        TimeUnit::Millisecond => slice::<TimestampMillisecondType>(array),
        TimeUnit::Microsecond => slice::<TimestampMicrosecondType>(array),
        TimeUnit::Nanosecond => slice::<TimestampNanosecondType>(array),
    }
}

fn durations(array: &dyn Array, unit: TimeUnit) -> &[i64] {
    match unit {
        TimeUnit::Second => slice::<DurationSecondType>(array),
        TimeUnit::Millisecond => slice::<DurationMillisecondType>(array),
        TimeUnit::Microsecond => slice::<DurationMicrosecondType>(array),
        TimeUnit::Nanosecond => slice::<DurationNanosecondType>(array),
    }
}

impl<'a> Cells<'a> {
    fn new(array: &'a dyn Array) -> Result<Self, ArrowError> {
        let unknown = |what: &dyn std::fmt::Display| {
            ArrowError::NotYetImplemented(format!("values of type {what} as text"))
        };
        let values = match array.data_type() {
            DataType::Null => Values::Nothing,
            DataType::Boolean => Values::Bool(array.as_boolean()),
            DataType::Int8 => Values::Int(Ints::Int8(slice::<Int8Type>(array))),
            DataType::Int16 => Values::Int(Ints::Int16(slice::<Int16Type>(array))),
            DataType::Int32 => Values::Int(Ints::Int32(slice::<Int32Type>(array))),
            DataType::Int64 => Values::Int(Ints::Int64(slice::<Int64Type>(array))),
            DataType::UInt8 => Values::Int(Ints::UInt8(slice::<UInt8Type>(array))),
            DataType::UInt16 => Values::Int(Ints::UInt16(slice::<UInt16Type>(array))),
            DataType::UInt32 => Values::Int(Ints::UInt32(slice::<UInt32Type>(array))),
            DataType::UInt64 => Values::Int(Ints::UInt64(slice::<UInt64Type>(array))),
            DataType::Float32 => Values::Float32(array.as_primitive()),
            DataType::Float64 => Values::Float(array.as_primitive()),
            DataType::Decimal128(_, scale) => Values::Decimal128(array.as_primitive(), *scale),
            DataType::Decimal256(_, scale) => Values::Decimal256(array.as_primitive(), *scale),
            DataType::Utf8View => Values::Text(array.as_string_view()),
            DataType::BinaryView => Values::Binary(array.as_binary_view()),
            DataType::Date32 => Values::Date(array.as_primitive()),
            DataType::Time64(TimeUnit::Microsecond) => {
                Values::Time(slice::<Time64MicrosecondType>(array))
            }
            DataType::Timestamp(unit, zone) => {
                let zone = match zone {
                    Some(name) => Some(Zone::named(name).ok_or_else(|| unknown(name))?),
                    None => None,
                };
                Values::Timestamp(timestamps(array, *unit), *unit, zone)
            }
            DataType::Duration(unit) => Values::Duration(durations(array, *unit), *unit),
            DataType::Interval(IntervalUnit::MonthDayNano) => {
                Values::Interval(array.as_primitive())
            }
            DataType::List(_) => {
                let list = array.as_list::<i32>();
                Values::List(list, Box::new(Self::new(list.values())?))
            }
            DataType::Struct(fields) => {
                let columns = array.as_struct().columns().iter().zip(fields).enumerate();
                let members = columns.map(|(number, (column, field))| {
                    Ok((before(number, field), Self::new(column)?))
                });
                Values::Struct(members.collect::<Result<_, ArrowError>>()?)
            }
            other => return Err(unknown(other)),
        };
        Ok(Self { nulls: array.nulls(), values })
    }

    /// Whether a row has no value.
    #[inline]
    pub(crate) fn is_null(&self, row: usize) -> bool {
        self.nulls.is_some_and(|nulls| nulls.is_null(row)) || matches!(self.values, Values::Nothing)
    }

    /// Appends a row's value, which is not null; `scratch` is for what is not known to fit as it is.
    #[inline]
    pub(crate) fn write(
        &self,
        row: usize,
        style: &impl Style,
        scratch: &mut Scratch,
        out: &mut Vec<u8>,
    ) {
        match &self.values {
            Values::Text(array) => return style.text_at(array, row, out),
            Values::Int(ints) => return ints.write(row, out),
            _ => {}
        }
        self.write_other(row, style, scratch, out);
    }

    /// As [`Self::write`], of all but the commonest types.
    fn write_other(
        &self,
        row: usize,
        style: &impl Style,
        scratch: &mut Scratch,
        out: &mut Vec<u8>,
    ) {
        let bytes = &mut scratch.bytes;
        bytes.clear();
        match &self.values {
            Values::Nothing => return,
            Values::Text(array) => return style.text_at(array, row, out),
            Values::Int(ints) => return ints.write(row, out),
            Values::Bool(array) => return scalar::write_bool(array.value(row), out),
            Values::Decimal128(array, scale) => {
                return write_decimal(&array.value(row).to_string(), *scale, out);
            }
            Values::Decimal256(array, scale) => {
                let value: i256 = array.value(row);
                return write_decimal(&value.to_string(), *scale, out);
            }
            Values::Float(array) => {
                let value = array.value(row);
                scalar::write_float64(value, bytes);
                return style.float(bytes, value.is_finite(), out);
            }
            Values::Float32(array) => {
                let value = array.value(row);
                scalar::write_float32(value, bytes);
                return style.float(bytes, value.is_finite(), out);
            }
            Values::List(..) | Values::Struct(_) => {
                self.write_json(row, bytes);
                return style.nested(bytes, out);
            }
            Values::Binary(array) => write_hex(array.value(row), bytes),
            Values::Date(array) => scalar::write_date(array.value(row), bytes),
            Values::Time(values) => {
                time::write_time_of_day(values[row], TimeUnit::Microsecond, bytes);
            }
            Values::Timestamp(values, unit, None) => {
                time::write_timestamp(values[row], *unit, bytes);
            }
            Values::Timestamp(values, unit, Some(zone)) => {
                time::write_moment(values[row], *unit, *zone, bytes);
            }
            Values::Duration(values, unit) => time::write_duration(values[row], *unit, bytes),
            Values::Interval(array) => time::write_interval(array.value(row), bytes),
        }
        style.time(bytes, out);
    }

    /// Appends a row's value as JSON.
    fn write_json(&self, row: usize, out: &mut Vec<u8>) {
        if self.is_null(row) {
            out.extend_from_slice(b"null");
            return;
        }
        match &self.values {
            Values::List(list, elements) => {
                let offsets = list.value_offsets();
                let end = usize::try_from(offsets[row + 1]).unwrap_or_default();
                let start = usize::try_from(offsets[row]).unwrap_or_default();
                out.push(b'[');
                for element in start..end {
                    if element > start {
                        out.push(b',');
                    }
                    elements.write_json(element, out);
                }
                out.push(b']');
            }
            Values::Struct(members) => {
                if members.is_empty() {
                    out.push(b'{');
                }
                for (before, member) in members {
                    out.extend_from_slice(before);
                    member.write_json(row, out);
                }
                out.push(b'}');
            }
            _ => self.write(row, &Json, &mut Scratch::default(), out),
        }
    }
}

impl Ints<'_> {
    #[inline]
    fn write(&self, row: usize, out: &mut Vec<u8>) {
        match self {
            Self::Int8(values) => scalar::write_int64(values[row].into(), out),
            Self::Int16(values) => scalar::write_int64(values[row].into(), out),
            Self::Int32(values) => scalar::write_int64(values[row].into(), out),
            Self::Int64(values) => scalar::write_int64(values[row], out),
            Self::UInt8(values) => scalar::write_uint64(values[row].into(), out),
            Self::UInt16(values) => scalar::write_uint64(values[row].into(), out),
            Self::UInt32(values) => scalar::write_uint64(values[row].into(), out),
            Self::UInt64(values) => scalar::write_uint64(values[row], out),
        }
    }
}

/// What stands before an object's member of this number.
pub(crate) fn before(number: usize, field: &arrow::datatypes::Field) -> Vec<u8> {
    let mut before = vec![if number == 0 { b'{' } else { b',' }];
    Json.text(field.name(), &mut before);
    before.push(b':');
    before
}

/// Memory that one encoder uses again for every value.
#[derive(Default)]
pub(crate) struct Scratch {
    bytes: Vec<u8>,
}

/// Values as JSON has them.
pub(crate) struct Json;

impl Style for Json {
    fn text(&self, value: &str, out: &mut Vec<u8>) {
        out.push(b'"');
        let bytes = value.as_bytes();
        let (mut start, mut at) = (0, 0);
        loop {
            at += plain_run(&bytes[at..]);
            let Some(byte) = bytes.get(at) else { break };
            at += 1;
            if *byte >= b' ' && *byte != b'"' && *byte != b'\\' {
                continue;
            }
            out.extend_from_slice(&bytes[start..at - 1]);
            start = at;
            match byte {
                b'\n' => out.extend_from_slice(b"\\n"),
                b'\r' => out.extend_from_slice(b"\\r"),
                b'\t' => out.extend_from_slice(b"\\t"),
                b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
                _ => {
                    let digit = |half: u8| b"0123456789abcdef"[usize::from(half)];
                    out.extend_from_slice(b"\\u00");
                    out.extend_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
                }
            }
        }
        out.extend_from_slice(&bytes[start..]);
        out.push(b'"');
    }

    fn time(&self, value: &[u8], out: &mut Vec<u8>) {
        out.push(b'"');
        out.extend_from_slice(value);
        out.push(b'"');
    }

    fn float(&self, value: &[u8], is_finite: bool, out: &mut Vec<u8>) {
        out.extend_from_slice(if is_finite { value } else { b"null" });
    }

    fn nested(&self, value: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(value);
    }
}
