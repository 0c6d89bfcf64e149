//! Functions over whole numbers: divisors, products, bits.

use arrow::{
    array::ArrayRef,
    datatypes::{Decimal128Type, Int64Type},
};

use crate::{
    Error, Result,
    expr::function::{Call, rows},
};

/// 33! is the last factorial of at most 38 digits.
const MOST_FACTORIAL: i64 = 33;

fn one(call: &Call<'_>, function: impl Fn(i64) -> i64) -> Result<ArrayRef> {
    let numbers = rows::ints(call, 0)?;
    rows::numbers_of::<Int64Type>(call, |row| Ok(function(numbers.at(row))))
}

fn two(
    call: &Call<'_>,
    name: &str,
    function: impl Fn(i64, i64) -> Option<i64>,
) -> Result<ArrayRef> {
    let (left, right) = (rows::ints(call, 0)?, rows::ints(call, 1)?);
    rows::numbers_of::<Int64Type>(call, |row| {
        let (left, right) = (left.at(row), right.at(row));
        function(left, right).ok_or_else(|| Error::Evaluate {
            reason: format!("{name}({left}, {right}) is out of range"),
        })
    })
}

fn divisor(left: i64, right: i64) -> u64 {
    let (mut a, mut b) = (left.unsigned_abs(), right.unsigned_abs());
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

pub(in crate::expr::function) fn gcd(call: &Call<'_>) -> Result<ArrayRef> {
    two(call, "gcd", |left, right| i64::try_from(divisor(left, right)).ok())
}

pub(in crate::expr::function) fn lcm(call: &Call<'_>) -> Result<ArrayRef> {
    two(call, "lcm", |left, right| match divisor(left, right) {
        0 => Some(0),
        divisor => {
            let multiple = (left.unsigned_abs() / divisor).checked_mul(right.unsigned_abs())?;
            i64::try_from(multiple).ok()
        }
    })
}

pub(in crate::expr::function) fn factorial(call: &Call<'_>) -> Result<ArrayRef> {
    let numbers = rows::ints(call, 0)?;
    rows::numbers_of::<Decimal128Type>(call, |row| {
        let number = numbers.at(row);
        if !(0..=MOST_FACTORIAL).contains(&number) {
            let reason =
                format!("factorial({number}) is out of range; 0 to {MOST_FACTORIAL} have one");
            return Err(Error::Evaluate { reason });
        }
        Ok((1..=i128::from(number)).product())
    })
}

pub(in crate::expr::function) fn bit_and(call: &Call<'_>) -> Result<ArrayRef> {
    two(call, "bitand", |left, right| Some(left & right))
}

pub(in crate::expr::function) fn bit_or(call: &Call<'_>) -> Result<ArrayRef> {
    two(call, "bitor", |left, right| Some(left | right))
}

pub(in crate::expr::function) fn bit_xor(call: &Call<'_>) -> Result<ArrayRef> {
    two(call, "xor", |left, right| Some(left ^ right))
}

pub(in crate::expr::function) fn bit_not(call: &Call<'_>) -> Result<ArrayRef> {
    one(call, |number| !number)
}

pub(in crate::expr::function) fn bit_count(call: &Call<'_>) -> Result<ArrayRef> {
    one(call, |number| i64::from(number.count_ones()))
}

pub(in crate::expr::function) fn shift_left(call: &Call<'_>) -> Result<ArrayRef> {
    two(call, "shiftleft", |number, places| {
        let places = u32::try_from(places).ok().filter(|places| *places < 64)?;
        let shifted = number << places;
        (shifted >> places == number).then_some(shifted)
    })
}

pub(in crate::expr::function) fn shift_right(call: &Call<'_>) -> Result<ArrayRef> {
    two(call, "shiftright", |number, places| {
        let places = u32::try_from(places).ok().filter(|places| *places < 64)?;
        Some(number >> places)
    })
}
