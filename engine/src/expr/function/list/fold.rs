//! One value of all elements of a list: sums, the least, the greatest, their texts.

use arrow::{
    array::{Array, ArrayRef, ArrowPrimitiveType, AsArray},
    datatypes::{DataType, Decimal128Type, Float64Type, Int64Type, UInt64Type},
};

use super::{elements::picked, search::Comparable};
use crate::{
    Error, Result,
    expr::{
        Expr, cast,
        function::{Call, rows},
        parse::type_name,
    },
};

/// The type of a sum of the elements: as the aggregate `sum` has it.
pub(in crate::expr::function) fn sum_type(arguments: &[Expr]) -> Result<DataType, String> {
    let Some(DataType::List(item)) = arguments.first().map(Expr::data_type) else {
        return Err(String::from("wants a list of numbers"));
    };
    Ok(match item.data_type() {
        item if item.is_unsigned_integer() => DataType::UInt64,
        item if item.is_integer() => DataType::Int64,
        DataType::Decimal128(_, scale) => DataType::Decimal128(38, *scale),
        item if item.is_floating() => DataType::Float64,
        other => {
            return Err(format!("has no sum of {}; cast them to decimal(38,s)", type_name(other)));
        }
    })
}

/// All elements as `T`, brought there by a cast that holds them.
fn elements_as(call: &Call<'_>, to: &DataType) -> Result<ArrayRef> {
    cast::cast(rows::lists(call, 0)?.elements().as_ref(), to, false)
}

/// Sums exactly in 128 bits.
fn sum_of<T>(call: &Call<'_>) -> Result<ArrayRef>
where
    T: ArrowPrimitiveType,
    T::Native: Into<i128> + TryFrom<i128>,
{
    let lists = rows::lists(call, 0)?;
    let elements = elements_as(call, call.data_type)?;
    let elements = elements.as_primitive::<T>();
    let refuse = || Error::Evaluate {
        reason: format!("list_sum: {} does not hold the sum", type_name(call.data_type)),
    };
    rows::some_numbers_of::<T>(call, |row| {
        let mut sum: Option<i128> = None;
        for place in lists.range(row).filter(|place| elements.is_valid(*place)) {
            let value: i128 = elements.value(place).into();
            sum = Some(sum.unwrap_or(0).checked_add(value).ok_or_else(refuse)?);
        }
        sum.map(|sum| {
            let is_held = sum.unsigned_abs() < 10u128.pow(38);
            T::Native::try_from(sum).ok().filter(|_| is_held).ok_or_else(refuse)
        })
        .transpose()
    })
}

pub(in crate::expr::function) fn sum(call: &Call<'_>) -> Result<ArrayRef> {
    match call.data_type {
        DataType::Int64 => sum_of::<Int64Type>(call),
        DataType::UInt64 => sum_of::<UInt64Type>(call),
        DataType::Decimal128(..) => sum_of::<Decimal128Type>(call),
        _ => {
            let elements = elements_as(call, &DataType::Float64)?;
            floats(call, &elements, |sum, _| sum)
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a list has fewer than 2^31 elements")]
pub(in crate::expr::function) fn avg(call: &Call<'_>) -> Result<ArrayRef> {
    let elements = elements_as(call, &DataType::Float64)?;
    floats(call, &elements, |sum, count| sum / count as f64)
}

/// What `finish` makes of the sum and the number of a list's floats; null over none.
fn floats(
    call: &Call<'_>,
    elements: &ArrayRef,
    finish: impl Fn(f64, usize) -> f64,
) -> Result<ArrayRef> {
    let lists = rows::lists(call, 0)?;
    let elements = elements.as_primitive::<Float64Type>();
    rows::some_numbers_of::<Float64Type>(call, |row| {
        let there = || lists.range(row).filter(|place| elements.is_valid(*place));
        let count = there().count();
        let sum = there().map(|place| elements.value(place)).sum();
        Ok((count > 0).then(|| finish(sum, count)))
    })
}

pub(in crate::expr::function) fn min(call: &Call<'_>) -> Result<ArrayRef> {
    let lists = rows::lists(call, 0)?;
    let [values] = Comparable::of([lists.elements()])?;
    picked(call, |_, range| {
        let mut there = range.filter(|place| lists.elements().is_valid(*place));
        let first = there.next()?;
        Some(there.fold(
            first,
            |best, next| {
                if values.at(next) < values.at(best) { next } else { best }
            },
        ))
    })
}

pub(in crate::expr::function) fn max(call: &Call<'_>) -> Result<ArrayRef> {
    let lists = rows::lists(call, 0)?;
    let [values] = Comparable::of([lists.elements()])?;
    picked(call, |_, range| {
        let mut there = range.filter(|place| lists.elements().is_valid(*place));
        let first = there.next()?;
        Some(there.fold(
            first,
            |best, next| {
                if values.at(next) > values.at(best) { next } else { best }
            },
        ))
    })
}

pub(in crate::expr::function) fn count(call: &Call<'_>) -> Result<ArrayRef> {
    let lists = rows::lists(call, 0)?;
    rows::numbers_of::<Int64Type>(call, |row| {
        let count = lists.range(row).filter(|place| lists.elements().is_valid(*place)).count();
        Ok(i64::try_from(count).unwrap_or(i64::MAX))
    })
}

pub(in crate::expr::function) fn join(call: &Call<'_>) -> Result<ArrayRef> {
    let lists = rows::lists(call, 0)?;
    let separators = rows::texts(call, 1)?;
    let texts = elements_as(call, &DataType::Utf8View)?;
    let texts = texts.as_string_view();
    rows::text_of(call, |row, out| {
        let there = lists.range(row).filter(|place| texts.is_valid(*place));
        for (count, place) in there.enumerate() {
            if count > 0 {
                out.extend(separators.at(row));
            }
            out.extend(texts.value(place));
            rows::fits("array_to_string", out.extended().len())?;
        }
        Ok(())
    })
}
