//! Casts between the engine's types; all strict.
//!
//! | from \ to | bool | whole number | float | decimal | text | date | timestamp | time |
//! |---|---|---|---|---|---|---|---|---|
//! | bool | | 0, 1 | 0, 1 | 0, 1 | `true`, `false` | - | - | - |
//! | whole number | not 0 | in range | nearest | in range | digits | - | - | - |
//! | float | not 0 | rounded, ties to even | nearest | rounded, ties away from 0 | shortest that reads back | - | - | - |
//! | decimal | not 0 | rounded, ties away from 0 | nearest | rounded, ties away from 0 | all its digits | - | - | - |
//! | text | `true`, `false` | exact | nearest | rounded, ties away from 0 | | `YYYY-MM-DD` | ISO 8601 | `hh:mm:ss` |
//! | date | - | - | - | - | `YYYY-MM-DD` | | midnight | - |
//! | timestamp | - | - | - | - | `YYYY-MM-DDThh:mm:ss[.f]`, `Z` or offset with a zone | its day | the unit, rounded; the wall clock of the zone | its time |
//!
//! Further: durations and intervals between their units and each other (an interval with months is
//! no duration), intervals, durations and times as text in both directions, text and binary as
//! UTF-8, lists and structs item by item and as JSON text. Text is taken as it is, blanks included;
//! `try_cast` gives null where `cast` gives an error.

use std::sync::Arc;

use arrow::{
    array::{
        Array, ArrayRef, ArrowPrimitiveType, Decimal128Array, ListArray, PrimitiveArray,
        StructArray, cast::AsArray, new_null_array,
    },
    compute::{CastOptions, cast_with_options},
    datatypes::{
        DataType, Decimal128Type, FieldRef, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
        UInt8Type, UInt16Type, UInt32Type, UInt64Type,
    },
};

use crate::{
    Error, Result,
    expr::{INTERVAL, Literal, TIME, coerce::is_decimal, parse::type_name},
};

mod decimal;
mod text;
mod time;

pub(crate) use time::durations;

pub(crate) use decimal::parse_decimal;
pub(crate) use text::{TextOf, parse_float};

/// The longest value that an error shows, in characters.
const SHOWN_CHARACTERS: usize = 60;

/// Whether values of `from` can be cast to `to` at all.
pub(crate) fn is_castable(from: &DataType, to: &DataType) -> bool {
    let is_number =
        |data_type: &DataType| data_type.is_numeric() || *data_type == DataType::Boolean;
    let is_length =
        |data_type: &DataType| *data_type == INTERVAL || matches!(data_type, DataType::Duration(_));
    match (from, to) {
        (DataType::Null, _) => true,
        (from, to) if from == to => true,
        (DataType::Utf8View, to) => {
            !matches!(to, DataType::List(_) | DataType::Struct(_) | DataType::Null)
        }
        (DataType::List(from), DataType::List(to)) => is_castable(from.data_type(), to.data_type()),
        (DataType::Struct(from), DataType::Struct(to)) => {
            let is_field = |(one, other): (&FieldRef, &FieldRef)| {
                one.name() == other.name() && is_castable(one.data_type(), other.data_type())
            };
            from.len() == to.len() && from.iter().zip(to).all(is_field)
        }
        (_, DataType::Utf8View)
        | (DataType::Date32, DataType::Timestamp(..))
        | (DataType::Timestamp(..), DataType::Date32 | DataType::Timestamp(..)) => true,
        (DataType::Timestamp(..), to) if *to == TIME => true,
        (from, to) => (is_number(from) && is_number(to)) || (is_length(from) && is_length(to)),
    }
}

/// Whether constants of a type are literals.
pub(crate) fn has_literal(data_type: &DataType) -> bool {
    !matches!(
        data_type,
        DataType::List(_) | DataType::Struct(_) | DataType::Decimal256(..) | DataType::Null
    )
}

/// A constant as `to`; `None` where it can't be, or where a constant of that type is no literal.
pub(crate) fn literal(literal: &Literal, to: &DataType) -> Option<Literal> {
    if let Literal::Null(_) = literal {
        return Some(Literal::Null(to.clone()));
    }
    if !has_literal(to) {
        return None;
    }
    if let Literal::Exact { value, scale } = literal {
        let digits = Decimal128Array::from(vec![*value]);
        let digits = digits.with_precision_and_scale(38, scale.cast_signed()).ok()?;
        if is_decimal(to) || to.is_integer() {
            let exact = Literal::of(&cast(&digits, to, true).ok()?, 0)?;
            return (!matches!(exact, Literal::Null(_))).then_some(exact);
        }
    }
    let array = literal.to_array();
    if !is_castable(array.data_type(), to) {
        return None;
    }
    let value = Literal::of(&cast(&array, to, true).ok()?, 0)?;
    (!matches!(value, Literal::Null(_))).then_some(value)
}

/// `array` as `to`; what can't be is an error, or null with `or_null`.
pub(crate) fn cast(array: &dyn Array, to: &DataType, or_null: bool) -> Result<ArrayRef> {
    let from = array.data_type();
    let converted: ArrayRef = match (from, to) {
        (from, to) if from == to => return Ok(array.slice(0, array.len())),
        (DataType::Null, to) => return Ok(new_null_array(to, array.len())),
        (DataType::Utf8View, DataType::BinaryView) | (DataType::BinaryView, DataType::Utf8View) => {
            arrow_cast(array, to)?
        }
        (DataType::Utf8View, to) => return text::from_text(array.as_string_view(), to, or_null),
        (_, DataType::Utf8View) => Arc::new(text::to_text(array)?),
        (DataType::List(_), DataType::List(item)) => {
            let lists = array.as_list::<i32>();
            // Values under nulls, and before and behind a slice, are nobody's errors.
            let lists = arrow::compute::take(
                lists,
                &arrow::array::UInt32Array::from_iter_values(0..low(lists.len())),
                None,
            )?;
            let lists = lists.as_list::<i32>();
            let values = cast(lists.values(), item.data_type(), or_null)?;
            let (offsets, nulls) = (lists.offsets().clone(), lists.nulls().cloned());
            Arc::new(ListArray::try_new(Arc::clone(item), offsets, values, nulls)?)
        }
        (DataType::Struct(_), DataType::Struct(fields)) => {
            let structs = array.as_struct();
            let columns = (0..fields.len()).map(|index| {
                let column = crate::expr::evaluate::field(structs, index)?;
                cast(&column, fields[index].data_type(), or_null)
            });
            let columns = columns.collect::<Result<Vec<_>>>()?;
            let nulls = structs.nulls().cloned();
            let length = structs.len();
            Arc::new(StructArray::try_new_with_length(fields.clone(), columns, nulls, length)?)
        }
        (from, to) if is_number(from) && is_number(to) => numbers(array, to)?,
        (from, to) if is_castable(from, to) => time::cast(array, to)?,
        (from, to) => {
            let (from, to) = (type_name(from), type_name(to));
            return Err(Error::Internal(format!("a cast from {from} to {to}")));
        }
    };
    check(array, converted, to, or_null)
}

fn is_number(data_type: &DataType) -> bool {
    data_type.is_numeric() || *data_type == DataType::Boolean
}

fn low(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// A cast by arrow's kernel; what can't be is null.
fn arrow_cast(array: &dyn Array, to: &DataType) -> Result<ArrayRef> {
    let options = CastOptions { safe: true, ..CastOptions::default() };
    Ok(cast_with_options(array, to, &options)?)
}

/// The converted values, where nulls stand for nulls alone.
fn check(from: &dyn Array, converted: ArrayRef, to: &DataType, or_null: bool) -> Result<ArrayRef> {
    if or_null || converted.null_count() <= from.null_count() {
        return Ok(converted);
    }
    let Some(row) = (0..from.len()).find(|row| converted.is_null(*row) && from.is_valid(*row))
    else {
        return Ok(converted);
    };
    let mut value = String::new();
    TextOf::new(from)?.write(row, &mut value);
    Err(refusal(&value, to))
}

fn refusal(value: &str, to: &DataType) -> Error {
    Error::Evaluate { reason: format!("cannot cast {} to {}", shown(value), type_name(to)) }
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

/// Numbers and bools as one another; what is out of range is null.
fn numbers(array: &dyn Array, to: &DataType) -> Result<ArrayRef> {
    match (array.data_type(), to) {
        (from, DataType::Boolean) => {
            let zero = cast(&Literal::Int64(0).to_array(), from, false)?;
            let is_other = crate::expr::compare::not_equal(array, &zero)?;
            // NaN is not 0, and equals itself.
            Ok(Arc::new(is_other))
        }
        (DataType::Boolean, to) if is_decimal(to) => {
            arrow_cast(&arrow_cast(array, &DataType::Int8)?, to)
        }
        (DataType::Float32 | DataType::Float64, to) if to.is_integer() => {
            let floats = arrow_cast(array, &DataType::Float64)?;
            Ok(rounded(floats.as_primitive(), to))
        }
        (from, to) if is_decimal(from) && to.is_integer() => {
            let whole = match from {
                DataType::Decimal256(..) => DataType::Decimal256(76, 0),
                _ => DataType::Decimal128(38, 0),
            };
            arrow_cast(&arrow_cast(array, &whole)?, to)
        }
        (DataType::Decimal128(_, scale), DataType::Float32 | DataType::Float64) => {
            let decimals = array.as_primitive::<Decimal128Type>();
            let floats: PrimitiveArray<Float64Type> =
                decimals.unary(|value| decimal::to_float(value, *scale));
            arrow_cast(&floats, to)
        }
        (_, to) => arrow_cast(array, to),
    }
}

/// The nearest whole numbers, ties to the even one; what is out of range is null.
fn rounded(floats: &PrimitiveArray<Float64Type>, to: &DataType) -> ArrayRef {
    fn of<T: ArrowPrimitiveType<Native: TryFrom<i128>>>(
        floats: &PrimitiveArray<Float64Type>,
    ) -> ArrayRef {
        let whole: PrimitiveArray<T> =
            floats.unary_opt(|value| T::Native::try_from(round(value)?).ok());
        Arc::new(whole)
    }
    match to {
        DataType::Int8 => of::<Int8Type>(floats),
        DataType::Int16 => of::<Int16Type>(floats),
        DataType::Int32 => of::<Int32Type>(floats),
        DataType::UInt8 => of::<UInt8Type>(floats),
        DataType::UInt16 => of::<UInt16Type>(floats),
        DataType::UInt32 => of::<UInt32Type>(floats),
        DataType::UInt64 => of::<UInt64Type>(floats),
        _ => of::<Int64Type>(floats),
    }
}

/// The nearest whole number, ties to the even one.
#[expect(clippy::cast_possible_truncation, reason = "the range is checked before")]
fn round(value: f64) -> Option<i128> {
    const LIMIT: f64 = 1e30;
    let whole = value.round_ties_even();
    (-LIMIT..LIMIT).contains(&whole).then_some(whole as i128)
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
