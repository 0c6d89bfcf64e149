//! Casts between the engine's types; all strict.
//!
//! | from \ to | bool | int64 | float64 | text | date | timestamp |
//! |---|---|---|---|---|---|---|
//! | bool | | 0, 1 | 0, 1 | `true`, `false` | - | - |
//! | int64 | not 0 | | nearest | digits | - | - |
//! | float64 | not 0 | rounded, ties to even | | shortest that reads back | - | - |
//! | text | `true`, `false` | exact | nearest | | `YYYY-MM-DD` | ISO 8601, no zone |
//! | date | - | - | - | `YYYY-MM-DD` | | midnight |
//! | timestamp | - | - | - | `YYYY-MM-DDThh:mm:ss[.ffffff]` | its day | |
//!
//! Text is taken as it is, blanks included; `try_cast` gives null where `cast` gives an error.

use std::sync::Arc;

use arrow::{
    array::{
        Array, ArrayRef, ArrowPrimitiveType, BooleanArray, PrimitiveArray, StringViewArray,
        builder::StringViewBuilder, cast::AsArray, new_null_array,
    },
    buffer::BooleanBuffer,
    datatypes::{DataType, Date32Type, Float64Type, Int64Type, TimestampMicrosecondType},
};

use crate::{
    Error, Result,
    expr::{TIMESTAMP, datetime, parse::type_name, text::append},
};

/// The longest value that an error shows, in characters.
const SHOWN_CHARACTERS: usize = 60;

/// Whether values of `from` can be cast to `to` at all.
pub(crate) fn is_castable(from: &DataType, to: &DataType) -> bool {
    let is_time = |data_type: &DataType| *data_type == DataType::Date32 || *data_type == TIMESTAMP;
    from == to
        || *from == DataType::Null
        || *from == DataType::Utf8View
        || *to == DataType::Utf8View
        || is_time(from) == is_time(to)
}

/// `array` as `to`; what can't be is an error, or null with `or_null`.
pub(crate) fn cast(array: &dyn Array, to: &DataType, or_null: bool) -> Result<ArrayRef> {
    let from = array.data_type();
    let refuse = |value: &str| Error::Evaluate {
        reason: format!("cannot cast {} to {}", shown(value), type_name(to)),
    };
    Ok(match (from, to) {
        (from, to) if from == to => array.slice(0, array.len()),
        (DataType::Null, to) => new_null_array(to, array.len()),
        (DataType::Utf8View, to) => return from_text(array.as_string_view(), to, or_null),
        (_, DataType::Utf8View) => Arc::new(to_text(array)?),
        (DataType::Boolean, DataType::Int64 | DataType::Float64)
        | (DataType::Int64, DataType::Float64) => arrow::compute::cast(array, to)?,
        (DataType::Int64, DataType::Boolean) => {
            Arc::new(to_bool(array.as_primitive::<Int64Type>(), |value| value != 0))
        }
        (DataType::Float64, DataType::Boolean) => {
            Arc::new(to_bool(array.as_primitive::<Float64Type>(), |value| value != 0.0))
        }
        (DataType::Float64, DataType::Int64) => {
            let floats = array.as_primitive::<Float64Type>();
            convert::<_, Int64Type>(floats, round, or_null, |value| refuse(&value.to_string()))?
        }
        (DataType::Date32, to) if *to == TIMESTAMP => {
            let days = array.as_primitive::<Date32Type>();
            let midnight = |day: i32| i64::from(day).checked_mul(datetime::DAY_MICROS);
            convert::<_, TimestampMicrosecondType>(days, midnight, or_null, |value| {
                refuse(&value.to_string())
            })?
        }
        (from, DataType::Date32) if *from == TIMESTAMP => {
            let micros = array.as_primitive::<TimestampMicrosecondType>();
            let day = |time: i64| i32::try_from(time.div_euclid(datetime::DAY_MICROS)).ok();
            convert::<_, Date32Type>(micros, day, or_null, |value| refuse(&value.to_string()))?
        }
        (from, to) => {
            let (from, to) = (type_name(from), type_name(to));
            return Err(Error::Internal(format!("a cast from {from} to {to}")));
        }
    })
}

/// A value for a message: quoted, cut, without control characters.
fn shown(value: &str) -> String {
    let mut text: String =
        value.chars().take(SHOWN_CHARACTERS).flat_map(char::escape_debug).collect();
    if value.chars().nth(SHOWN_CHARACTERS).is_some() {
        text.push('…');
    }
    format!("'{text}'")
}

/// The nearest whole number, ties to the even one.
#[expect(clippy::cast_possible_truncation, reason = "the range is checked before")]
fn round(value: f64) -> Option<i64> {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    let whole = value.round_ties_even();
    (-LIMIT..LIMIT).contains(&whole).then_some(whole as i64)
}

fn to_bool<T: ArrowPrimitiveType>(
    array: &PrimitiveArray<T>,
    is_true: impl Fn(T::Native) -> bool,
) -> BooleanArray {
    let values = array.values();
    let bits = BooleanBuffer::collect_bool(values.len(), |row| is_true(values[row]));
    BooleanArray::new(bits, array.nulls().cloned())
}

/// Converts value by value; the first that has none is an error, or null with `or_null`.
fn convert<From: ArrowPrimitiveType, To: ArrowPrimitiveType>(
    array: &PrimitiveArray<From>,
    convert: impl Fn(From::Native) -> Option<To::Native>,
    or_null: bool,
    refuse: impl Fn(From::Native) -> Error,
) -> Result<ArrayRef> {
    let converted: PrimitiveArray<To> = array.unary_opt(&convert);
    if !or_null && converted.null_count() > array.null_count() {
        let bad = array.iter().flatten().find(|value| convert(*value).is_none());
        if let Some(value) = bad {
            return Err(refuse(value));
        }
    }
    Ok(Arc::new(converted))
}

fn from_text(array: &StringViewArray, to: &DataType, or_null: bool) -> Result<ArrayRef> {
    match to {
        DataType::Boolean => {
            let mut values = Vec::with_capacity(array.len());
            for text in array {
                values.push(text.map(|text| parsed(text, parse_bool, to, or_null)).transpose()?);
            }
            Ok(Arc::new(values.into_iter().map(Option::flatten).collect::<BooleanArray>()))
        }
        DataType::Int64 => parse_text::<Int64Type>(array, |text| text.parse().ok(), to, or_null),
        DataType::Float64 => parse_text::<Float64Type>(array, parse_float, to, or_null),
        DataType::Date32 => parse_text::<Date32Type>(array, datetime::parse_date, to, or_null),
        to if *to == TIMESTAMP => {
            parse_text::<TimestampMicrosecondType>(array, datetime::parse_timestamp, to, or_null)
        }
        to => Err(Error::Internal(format!("a cast from string to {}", type_name(to)))),
    }
}

fn parsed<T>(
    text: &str,
    parse: impl Fn(&str) -> Option<T>,
    to: &DataType,
    or_null: bool,
) -> Result<Option<T>> {
    let value = parse(text);
    if value.is_none() && !or_null {
        let reason = format!("cannot cast {} to {}", shown(text), type_name(to));
        return Err(Error::Evaluate { reason });
    }
    Ok(value)
}

fn parse_text<T: ArrowPrimitiveType>(
    array: &StringViewArray,
    parse: impl Fn(&str) -> Option<T::Native>,
    to: &DataType,
    or_null: bool,
) -> Result<ArrayRef> {
    let mut values = PrimitiveArray::<T>::builder(array.len());
    for text in array {
        match text {
            None => values.append_null(),
            Some(text) => values.append_option(parsed(text, &parse, to, or_null)?),
        }
    }
    Ok(Arc::new(values.finish()))
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

fn to_text(array: &dyn Array) -> Result<StringViewArray> {
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
    Bool(&'a BooleanArray),
    Int64(&'a PrimitiveArray<Int64Type>),
    Float64(&'a PrimitiveArray<Float64Type>),
    Text(&'a StringViewArray),
    Date(&'a PrimitiveArray<Date32Type>),
    Timestamp(&'a PrimitiveArray<TimestampMicrosecondType>),
}

impl<'a> TextOf<'a> {
    /// Of an array of one of the engine's types.
    pub(crate) fn new(array: &'a dyn Array) -> Result<Self> {
        Ok(match array.data_type() {
            DataType::Boolean => Self::Bool(array.as_boolean()),
            DataType::Int64 => Self::Int64(array.as_primitive()),
            DataType::Float64 => Self::Float64(array.as_primitive()),
            DataType::Utf8View => Self::Text(array.as_string_view()),
            DataType::Date32 => Self::Date(array.as_primitive()),
            data_type if *data_type == TIMESTAMP => Self::Timestamp(array.as_primitive()),
            other => return Err(Error::Internal(format!("{other} as text"))),
        })
    }

    /// Appends the value of a row that is not null.
    pub(crate) fn write(&self, row: usize, out: &mut String) {
        match self {
            Self::Bool(array) => out.push_str(if array.value(row) { "true" } else { "false" }),
            Self::Int64(array) => append(out, format_args!("{}", array.value(row))),
            Self::Float64(array) => write_float(array.value(row), out),
            Self::Text(array) => out.push_str(array.value(row)),
            Self::Date(array) => datetime::write_date(array.value(row), out),
            Self::Timestamp(array) => datetime::write_timestamp(array.value(row), out),
        }
    }
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::{
        array::{Array, ArrayRef, Float64Array, Int64Array, StringViewArray, cast::AsArray},
        datatypes::{DataType, Float64Type, Int64Type},
    };

    use super::cast;
    use crate::expr::TIMESTAMP;

    fn texts(values: &[&str]) -> ArrayRef {
        Arc::new(StringViewArray::from_iter_values(values))
    }

    fn ints(array: &ArrayRef, or_null: bool) -> Result<Vec<Option<i64>>, String> {
        let cast = cast(array, &DataType::Int64, or_null).map_err(|error| error.to_string())?;
        Ok(cast.as_primitive::<Int64Type>().iter().collect())
    }

    #[test]
    fn text_to_int64_is_exact_or_an_error_with_the_value() {
        assert_eq!(ints(&texts(&["-7", "+8"]), false), Ok(vec![Some(-7), Some(8)]));
        for bad in ["1.0", " 1", "", "9223372036854775808", "1e3"] {
            let message = format!("cannot cast '{bad}' to int64");
            assert_eq!(ints(&texts(&["1", bad]), false), Err(message));
            assert_eq!(ints(&texts(&["1", bad]), true), Ok(vec![Some(1), None]));
        }
    }

    #[test]
    fn a_float_is_rounded_to_int64_with_ties_to_even() {
        let array: ArrayRef = Arc::new(Float64Array::from(vec![2.5, 3.5, -0.5, -1.7]));
        assert_eq!(ints(&array, false), Ok(vec![Some(2), Some(4), Some(0), Some(-2)]));
        for bad in [f64::NAN, f64::INFINITY, 9.3e18] {
            let one: ArrayRef = Arc::new(Float64Array::from(vec![bad]));
            assert!(ints(&one, false).is_err(), "{bad}");
            assert_eq!(ints(&one, true), Ok(vec![None]));
        }
    }

    #[test]
    fn text_to_float_refuses_what_overflows() {
        let good = cast(&texts(&["1e300", "inf", "-0", ".5"]), &DataType::Float64, false).unwrap();
        assert_eq!(
            good.as_primitive::<Float64Type>(),
            &Float64Array::from(vec![1e300, f64::INFINITY, -0.0, 0.5])
        );
        assert!(cast(&texts(&["1e999"]), &DataType::Float64, false).is_err());
    }

    #[test]
    fn floats_become_the_shortest_text_that_reads_back() {
        let floats = Float64Array::from(vec![1.0, 0.1, -2.5, 1e21, 1e-7, f64::NAN]);
        let text = cast(&floats, &DataType::Utf8View, false).unwrap();
        let values: Vec<_> = text.as_string_view().iter().flatten().collect();
        assert_eq!(values, ["1", "0.1", "-2.5", "1e21", "1e-7", "NaN"]);
    }

    #[test]
    fn dates_and_timestamps_go_by_way_of_midnight() {
        let days = cast(&texts(&["2024-02-29"]), &DataType::Date32, false).unwrap();
        let time = cast(&days, &TIMESTAMP, false).unwrap();
        let text = cast(&time, &DataType::Utf8View, false).unwrap();
        assert_eq!(text.as_string_view().value(0), "2024-02-29T00:00:00");
        let before = cast(&texts(&["1969-12-31 23:59"]), &TIMESTAMP, false).unwrap();
        let day = cast(&before, &DataType::Date32, false).unwrap();
        assert_eq!(
            cast(&day, &DataType::Utf8View, false).unwrap().as_string_view().value(0),
            "1969-12-31"
        );
    }

    #[test]
    fn nulls_stay_null() {
        let array: ArrayRef = Arc::new(Int64Array::from(vec![None, Some(0)]));
        for to in [DataType::Utf8View, DataType::Float64, DataType::Boolean] {
            assert!(cast(&array, &to, false).unwrap().is_null(0), "{to}");
        }
    }
}
