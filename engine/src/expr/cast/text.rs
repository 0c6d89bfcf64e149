//! Text → values, and values → text.

use std::sync::Arc;

use arrow::{
    array::{
        Array, ArrayRef, ArrowPrimitiveType, BinaryViewArray, BooleanArray, Int64Array, ListArray,
        PrimitiveArray, StringViewArray, StructArray, builder::StringViewBuilder, cast::AsArray,
        timezone::Tz,
    },
    datatypes::{
        DataType, Date32Type, Decimal128Type, Decimal256Type, Float32Type, Float64Type, Int8Type,
        Int16Type, Int32Type, Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType,
        Time64MicrosecondType, TimeUnit, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
    },
};

use super::{arrow_cast, decimal, parse_decimal, refusal, time};
use crate::{
    Error, Result,
    expr::{
        INTERVAL, TIME, datetime, function::json::write_string, parse::type_name, text::append,
    },
};

pub(super) fn from_text(array: &StringViewArray, to: &DataType, or_null: bool) -> Result<ArrayRef> {
    match to {
        DataType::Boolean => {
            let mut values = Vec::with_capacity(array.len());
            for text in array {
                values.push(text.map(|text| parsed(text, parse_bool, to, or_null)).transpose()?);
            }
            Ok(Arc::new(values.into_iter().map(Option::flatten).collect::<BooleanArray>()))
        }
        DataType::Int8 => whole::<Int8Type>(array, to, or_null),
        DataType::Int16 => whole::<Int16Type>(array, to, or_null),
        DataType::Int32 => whole::<Int32Type>(array, to, or_null),
        DataType::Int64 => whole::<Int64Type>(array, to, or_null),
        DataType::UInt8 => whole::<UInt8Type>(array, to, or_null),
        DataType::UInt16 => whole::<UInt16Type>(array, to, or_null),
        DataType::UInt32 => whole::<UInt32Type>(array, to, or_null),
        DataType::UInt64 => whole::<UInt64Type>(array, to, or_null),
        DataType::Float32 => primitive::<Float32Type>(array, parse_float32, to, or_null),
        DataType::Float64 => primitive::<Float64Type>(array, parse_float, to, or_null),
        DataType::Decimal128(precision, scale) => {
            let parse = |text: &str| parse_decimal(text, *precision, *scale);
            let digits = typed::<Decimal128Type>(array, parse, to, or_null)?;
            Ok(Arc::new(digits.with_precision_and_scale(*precision, *scale)?))
        }
        DataType::Decimal256(precision, scale) => {
            let parse = |text: &str| {
                use arrow::compute::kernels::cast_utils;
                // What arrow's reader lets pass beside numbers.
                let is_number = parse_decimal("0", 1, 0).is_some()
                    && text.bytes().any(|byte| byte.is_ascii_digit())
                    && text.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b));
                is_number.then_some(())?;
                cast_utils::parse_decimal::<Decimal256Type>(text, *precision, *scale).ok()
            };
            let digits = typed::<Decimal256Type>(array, parse, to, or_null)?;
            Ok(Arc::new(digits.with_precision_and_scale(*precision, *scale)?))
        }
        DataType::Date32 => primitive::<Date32Type>(array, datetime::parse_date, to, or_null),
        DataType::Timestamp(unit, zone) => {
            let zone = zone.as_deref().map(zone_of).transpose()?;
            let parse = |text: &str| match &zone {
                Some(zone) => datetime::parse_zoned(text, *unit, zone),
                None => datetime::parse_timestamp_in(text, *unit),
            };
            Ok(time::timestamps(typed::<Int64Type>(array, parse, to, or_null)?, to))
        }
        to if *to == TIME => {
            primitive::<Time64MicrosecondType>(array, datetime::parse_time, to, or_null)
        }
        DataType::Duration(unit) => {
            let parse = |text: &str| datetime::parse_duration(text, *unit);
            Ok(time::durations(&typed::<Int64Type>(array, parse, to, or_null)?, *unit))
        }
        to if *to == INTERVAL => {
            let parse = |text: &str| {
                let (months, days, nanos) = datetime::parse_interval(text)?;
                Some(IntervalMonthDayNano::new(months, days, nanos))
            };
            primitive::<IntervalMonthDayNanoType>(array, parse, to, or_null)
        }
        to => Err(Error::Internal(format!("a cast from string to {}", type_name(to)))),
    }
}

fn zone_of(zone: &str) -> Result<Tz> {
    zone.parse().map_err(|_| Error::Internal(format!("a time zone `{zone}`")))
}

fn parsed<T>(
    text: &str,
    parse: impl Fn(&str) -> Option<T>,
    to: &DataType,
    or_null: bool,
) -> Result<Option<T>> {
    let value = parse(text);
    if value.is_none() && !or_null {
        return Err(refusal(text, to));
    }
    Ok(value)
}

fn whole<T: ArrowPrimitiveType<Native: std::str::FromStr>>(
    array: &StringViewArray,
    to: &DataType,
    or_null: bool,
) -> Result<ArrayRef> {
    primitive::<T>(array, |text| text.parse().ok(), to, or_null)
}

fn primitive<T: ArrowPrimitiveType>(
    array: &StringViewArray,
    parse: impl Fn(&str) -> Option<T::Native>,
    to: &DataType,
    or_null: bool,
) -> Result<ArrayRef> {
    Ok(Arc::new(typed::<T>(array, parse, to, or_null)?))
}

fn typed<T: ArrowPrimitiveType>(
    array: &StringViewArray,
    parse: impl Fn(&str) -> Option<T::Native>,
    to: &DataType,
    or_null: bool,
) -> Result<PrimitiveArray<T>> {
    let mut values = PrimitiveArray::<T>::builder(array.len());
    for text in array {
        match text {
            None => values.append_null(),
            Some(text) => values.append_option(parsed(text, &parse, to, or_null)?),
        }
    }
    Ok(values.finish())
}

fn parse_bool(text: &str) -> Option<bool> {
    if text.eq_ignore_ascii_case("true") {
        Some(true)
    } else if text.eq_ignore_ascii_case("false") {
        Some(false)
    } else {
        None
    }
}

/// A float as Rust reads it; digits that say more than a float can are refused, not infinite.
pub(crate) fn parse_float(text: &str) -> Option<f64> {
    let value: f64 = text.parse().ok()?;
    let is_overflow = value.is_infinite() && text.bytes().any(|byte| byte.is_ascii_digit());
    (!is_overflow).then_some(value)
}

fn parse_float32(text: &str) -> Option<f32> {
    let value: f32 = text.parse().ok()?;
    let is_overflow = value.is_infinite() && text.bytes().any(|byte| byte.is_ascii_digit());
    (!is_overflow).then_some(value)
}

pub(super) fn to_text(array: &dyn Array) -> Result<StringViewArray> {
    let mut builder = StringViewBuilder::with_capacity(array.len());
    let writer = TextOf::new(array)?;
    let mut text = String::new();
    for row in 0..array.len() {
        if array.is_null(row) {
            builder.append_null();
            continue;
        }
        text.clear();
        writer.write(row, &mut text);
        builder.append_value(&text);
    }
    Ok(builder.finish())
}

/// Writes the values of one array as text.
pub(crate) enum TextOf<'a> {
    /// bool.
    Bool(&'a BooleanArray),
    /// A whole number of at most 64 bits, signed.
    Int64(Int64Array),
    /// uint64.
    UInt64(&'a PrimitiveArray<UInt64Type>),
    /// float32.
    Float32(&'a PrimitiveArray<Float32Type>),
    /// float64.
    Float64(&'a PrimitiveArray<Float64Type>),
    /// decimal, with its scale.
    Decimal(&'a PrimitiveArray<Decimal128Type>, i8),
    /// decimal of 256 bits, with its scale.
    WideDecimal(&'a PrimitiveArray<Decimal256Type>, i8),
    /// Text.
    Text(&'a StringViewArray),
    /// Bytes, as hex digits.
    Binary(&'a BinaryViewArray),
    /// date.
    Date(&'a PrimitiveArray<Date32Type>),
    /// timestamp, with its unit and zone.
    Timestamp(Int64Array, TimeUnit, Option<Tz>),
    /// time.
    Time(&'a PrimitiveArray<Time64MicrosecondType>),
    /// duration, with its unit.
    Duration(Int64Array, TimeUnit),
    /// interval.
    Interval(&'a PrimitiveArray<IntervalMonthDayNanoType>),
    /// A list, as JSON.
    List(&'a ListArray, Box<Self>),
    /// A struct, as JSON.
    Struct(&'a StructArray, Vec<(&'a str, Self)>),
    /// Nothing but nulls.
    Null,
}

impl<'a> TextOf<'a> {
    /// Of an array of one of the engine's types.
    pub(crate) fn new(array: &'a dyn Array) -> Result<Self> {
        Ok(match array.data_type() {
            DataType::Boolean => Self::Bool(array.as_boolean()),
            DataType::Int8
            | DataType::Int16
            | DataType::Int32
            | DataType::Int64
            | DataType::UInt8
            | DataType::UInt16
            | DataType::UInt32 => {
                let whole = arrow_cast(array, &DataType::Int64)?;
                Self::Int64(whole.as_primitive::<Int64Type>().clone())
            }
            DataType::UInt64 => Self::UInt64(array.as_primitive()),
            DataType::Float32 => Self::Float32(array.as_primitive()),
            DataType::Float64 => Self::Float64(array.as_primitive()),
            DataType::Decimal128(_, scale) => Self::Decimal(array.as_primitive(), *scale),
            DataType::Decimal256(_, scale) => Self::WideDecimal(array.as_primitive(), *scale),
            DataType::Utf8View => Self::Text(array.as_string_view()),
            DataType::BinaryView => Self::Binary(array.as_binary_view()),
            DataType::Date32 => Self::Date(array.as_primitive()),
            DataType::Timestamp(unit, zone) => {
                let zone = zone.as_deref().map(zone_of).transpose()?;
                Self::Timestamp(time::whole(array)?, *unit, zone)
            }
            data_type if *data_type == TIME => Self::Time(array.as_primitive()),
            DataType::Duration(unit) => Self::Duration(time::whole(array)?, *unit),
            data_type if *data_type == INTERVAL => Self::Interval(array.as_primitive()),
            DataType::List(_) => {
                let lists = array.as_list::<i32>();
                Self::List(lists, Box::new(Self::new(lists.values().as_ref())?))
            }
            DataType::Struct(fields) => {
                let structs = array.as_struct();
                let members = fields.iter().zip(structs.columns());
                let members = members.map(|(field, column)| {
                    Ok((field.name().as_str(), Self::new(column.as_ref())?))
                });
                Self::Struct(structs, members.collect::<Result<_>>()?)
            }
            DataType::Null => Self::Null,
            other => return Err(Error::Internal(format!("{other} as text"))),
        })
    }

    /// Whether the value of a row is null, in a list or struct.
    fn is_null(&self, row: usize) -> bool {
        match self {
            Self::Bool(array) => array.is_null(row),
            Self::Int64(array) | Self::Timestamp(array, ..) | Self::Duration(array, _) => {
                array.is_null(row)
            }
            Self::UInt64(array) => array.is_null(row),
            Self::Float32(array) => array.is_null(row),
            Self::Float64(array) => array.is_null(row),
            Self::Decimal(array, _) => array.is_null(row),
            Self::WideDecimal(array, _) => array.is_null(row),
            Self::Text(array) => array.is_null(row),
            Self::Binary(array) => array.is_null(row),
            Self::Date(array) => array.is_null(row),
            Self::Time(array) => array.is_null(row),
            Self::Interval(array) => array.is_null(row),
            Self::List(array, _) => array.is_null(row),
            Self::Struct(array, _) => array.is_null(row),
            Self::Null => true,
        }
    }

    /// Appends the value of a row that is not null.
    pub(crate) fn write(&self, row: usize, out: &mut String) {
        match self {
            Self::Bool(array) => out.push_str(if array.value(row) { "true" } else { "false" }),
            Self::Int64(array) => append(out, format_args!("{}", array.value(row))),
            Self::UInt64(array) => append(out, format_args!("{}", array.value(row))),
            Self::Float32(array) => write_float32(array.value(row), out),
            Self::Float64(array) => write_float(array.value(row), out),
            Self::Decimal(array, scale) => decimal::write(array.value(row), *scale, out),
            Self::WideDecimal(array, scale) => decimal::write_wide(array.value(row), *scale, out),
            Self::Text(array) => out.push_str(array.value(row)),
            Self::Binary(array) => {
                for byte in array.value(row) {
                    append(out, format_args!("{byte:02x}"));
                }
            }
            Self::Date(array) => datetime::write_date(array.value(row), out),
            Self::Timestamp(array, unit, zone) => {
                datetime::write_timestamp_in(array.value(row), *unit, zone.as_ref(), out);
            }
            Self::Time(array) => datetime::write_time(array.value(row), out),
            Self::Duration(array, unit) => datetime::write_duration(array.value(row), *unit, out),
            Self::Interval(array) => {
                let value = array.value(row);
                datetime::write_interval(value.months, value.days, value.nanoseconds, out);
            }
            Self::List(..) | Self::Struct(..) => self.write_json(row, out),
            Self::Null => {}
        }
    }

    /// Appends the value of a row as JSON; a null, NaN or an infinity is `null`.
    pub(crate) fn write_json(&self, row: usize, out: &mut String) {
        if self.is_null(row) {
            out.push_str("null");
            return;
        }
        match self {
            Self::Bool(_)
            | Self::Int64(_)
            | Self::UInt64(_)
            | Self::Decimal(..)
            | Self::WideDecimal(..) => self.write(row, out),
            Self::Float32(array) if array.value(row).is_finite() => {
                append(out, format_args!("{:?}", array.value(row)));
            }
            Self::Float64(array) if array.value(row).is_finite() => {
                append(out, format_args!("{:?}", array.value(row)));
            }
            Self::Float32(_) | Self::Float64(_) | Self::Null => out.push_str("null"),
            Self::Text(array) => write_string(array.value(row), out),
            Self::Binary(_)
            | Self::Date(_)
            | Self::Timestamp(..)
            | Self::Time(_)
            | Self::Duration(..)
            | Self::Interval(_) => {
                out.push('"');
                self.write(row, out);
                out.push('"');
            }
            Self::List(array, items) => {
                let offsets = array.value_offsets();
                let range = offset(offsets[row])..offset(offsets[row + 1]);
                out.push('[');
                for item in range.clone() {
                    if item > range.start {
                        out.push_str(", ");
                    }
                    items.write_json(item, out);
                }
                out.push(']');
            }
            Self::Struct(_, members) => {
                out.push('{');
                for (index, (name, member)) in members.iter().enumerate() {
                    if index > 0 {
                        out.push_str(", ");
                    }
                    write_string(name, out);
                    out.push_str(": ");
                    member.write_json(row, out);
                }
                out.push('}');
            }
        }
    }
}

fn offset(offset: i32) -> usize {
    usize::try_from(offset).unwrap_or(0)
}

/// Appends a float in the shortest form that reads back; a whole one without fraction.
fn write_float(value: f64, out: &mut String) {
    let is_plain = value == 0.0 || !value.is_finite() || (1e-5..1e16).contains(&value.abs());
    if is_plain {
        append(out, format_args!("{value}"));
    } else {
        append(out, format_args!("{value:e}"));
    }
}

/// As [`write_float`].
fn write_float32(value: f32, out: &mut String) {
    let is_plain = value == 0.0 || !value.is_finite() || (1e-5..1e16).contains(&value.abs());
    if is_plain {
        append(out, format_args!("{value}"));
    } else {
        append(out, format_args!("{value:e}"));
    }
}
