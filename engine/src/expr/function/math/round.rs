//! Rounding in each kind of number, signs.

use arrow::{
    array::{ArrayRef, ArrowNativeTypeOp, ArrowPrimitiveType},
    datatypes::{
        DataType, Decimal128Type, Decimal256Type, Float32Type, Float64Type, Int8Type, Int16Type,
        Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
    },
};

use crate::{
    Error, Result,
    expr::{
        Expr, Literal,
        function::{
            Call,
            rows::{self, unsupported},
        },
        parse::type_name,
    },
};

fn argument_type(call: &Call<'_>) -> DataType {
    call.arguments.first().map_or(DataType::Null, |value| value.array().data_type().clone())
}

fn out_of_range(name: &str, data_type: &DataType) -> Error {
    let reason = format!("{name}: {} does not hold the result", type_name(data_type));
    Error::Evaluate { reason }
}

/// Runs `$body` with `$native` as arrow's type of the whole numbers of `$data_type`.
macro_rules! with_whole {
    ($data_type:expr, $native:ident => $body:expr, $otherwise:expr) => {
        with_whole!(@ $data_type, $native, $body, $otherwise,
            Int8 Int8Type, Int16 Int16Type, Int32 Int32Type, Int64 Int64Type,
            UInt8 UInt8Type, UInt16 UInt16Type, UInt32 UInt32Type, UInt64 UInt64Type)
    };
    (@ $data_type:expr, $native:ident, $body:expr, $otherwise:expr, $($name:ident $of:ident),*) => {
        match $data_type {
            $(DataType::$name => {
                type $native = $of;
                $body
            })*
            _ => $otherwise,
        }
    };
}

fn abs_of<T: ArrowPrimitiveType>(call: &Call<'_>) -> Result<ArrayRef> {
    let numbers = rows::numbers::<T>(call, 0)?;
    rows::numbers_of::<T>(call, |row| {
        let number = numbers.at(row);
        if number.is_ge(T::Native::ZERO) {
            return Ok(number);
        }
        number.neg_checked().map_err(|_| out_of_range("abs", call.data_type))
    })
}

pub(in crate::expr::function) fn abs(call: &Call<'_>) -> Result<ArrayRef> {
    let data_type = argument_type(call);
    with_whole!(&data_type, T => abs_of::<T>(call), match &data_type {
        DataType::Float32 => abs_of::<Float32Type>(call),
        DataType::Float64 => abs_of::<Float64Type>(call),
        DataType::Decimal128(..) => abs_of::<Decimal128Type>(call),
        DataType::Decimal256(..) => abs_of::<Decimal256Type>(call),
        other => Err(unsupported("abs", other)),
    })
}

fn sign_of<T: ArrowPrimitiveType>(call: &Call<'_>) -> Result<ArrayRef> {
    let numbers = rows::numbers::<T>(call, 0)?;
    rows::numbers_of::<Int64Type>(call, |row| {
        let number = numbers.at(row);
        Ok(i64::from(number.is_gt(T::Native::ZERO)) - i64::from(number.is_lt(T::Native::ZERO)))
    })
}

fn sign_of_float<T: ArrowPrimitiveType<Native: Into<f64>>>(call: &Call<'_>) -> Result<ArrayRef> {
    let numbers = rows::numbers::<T>(call, 0)?;
    // By IEEE's comparison, in which -0.0 and NaN have no sign.
    rows::numbers_of::<Int64Type>(call, |row| {
        let number: f64 = numbers.at(row).into();
        Ok(i64::from(number > 0.0) - i64::from(number < 0.0))
    })
}

pub(in crate::expr::function) fn sign(call: &Call<'_>) -> Result<ArrayRef> {
    let data_type = argument_type(call);
    with_whole!(&data_type, T => sign_of::<T>(call), match &data_type {
        DataType::Float32 => sign_of_float::<Float32Type>(call),
        DataType::Float64 => sign_of_float::<Float64Type>(call),
        DataType::Decimal128(..) => sign_of::<Decimal128Type>(call),
        DataType::Decimal256(..) => sign_of::<Decimal256Type>(call),
        other => Err(unsupported("sign", other)),
    })
}

pub(in crate::expr::function) fn whole_as_it_is(call: &Call<'_>) -> Result<ArrayRef> {
    rows::repeated(&call.arguments[0], call.rows)
}

/// Which neighbour a number goes to.
#[derive(Clone, Copy)]
enum Towards {
    /// The nearest, halves away from zero.
    Nearest,
    Zero,
    Greater,
    Less,
}

impl Towards {
    fn float(self, number: f64) -> f64 {
        match self {
            Self::Nearest => number.round(),
            Self::Zero => number.trunc(),
            Self::Greater => number.ceil(),
            Self::Less => number.floor(),
        }
    }

    /// The multiple of `unit` that `number` goes to, divided by `unit`.
    fn whole(self, number: i128, unit: i128) -> i128 {
        let (quotient, rest) = (number / unit, number % unit);
        let step = match self {
            Self::Zero => 0,
            Self::Nearest => {
                // Twice the rest may not fit, the distance to the unit does.
                let is_half = rest.abs() >= unit - rest.abs();
                if is_half && rest != 0 { rest.signum() } else { 0 }
            }
            Self::Greater => i128::from(rest > 0),
            Self::Less => -i128::from(rest < 0),
        };
        quotient + step
    }
}

/// How many digits behind the point a row is rounded to.
fn digits(call: &Call<'_>) -> Result<impl Fn(usize) -> i64> {
    let places = if call.arguments.len() > 1 { Some(rows::ints(call, 1)?) } else { None };
    Ok(move |row| places.as_ref().map_or(0, |places| places.at(row)))
}

/// To `digits` behind the point; what is beyond a float's digits is as it is.
fn round_to(number: f64, digits: i64, towards: Towards) -> f64 {
    let rounded = match i32::try_from(digits) {
        Ok(0) => return towards.float(number),
        Ok(digits @ 1..=308) => {
            let factor = 10f64.powi(digits);
            towards.float(number * factor) / factor
        }
        Ok(digits @ -308..=-1) => {
            let factor = 10f64.powi(-digits);
            towards.float(number / factor) * factor
        }
        _ if digits > 0 => return number,
        _ => return 0.0,
    };
    if rounded.is_finite() { rounded } else { number }
}

#[expect(clippy::cast_possible_truncation, reason = "a rounded float32 that overflows is infinite")]
fn floats(call: &Call<'_>, towards: Towards) -> Result<ArrayRef> {
    let digits = digits(call)?;
    if argument_type(call) == DataType::Float32 {
        let numbers = rows::numbers::<Float32Type>(call, 0)?;
        return rows::numbers_of::<Float32Type>(call, |row| {
            Ok(round_to(f64::from(numbers.at(row)), digits(row), towards) as f32)
        });
    }
    let numbers = rows::floats(call, 0)?;
    rows::numbers_of::<Float64Type>(call, |row| Ok(round_to(numbers.at(row), digits(row), towards)))
}

/// Ten to the power, where 38 digits hold it.
fn power(digits: i64) -> Option<i128> {
    10i128.checked_pow(u32::try_from(digits).ok()?)
}

fn wholes<T>(call: &Call<'_>, name: &str, towards: Towards) -> Result<ArrayRef>
where
    T: ArrowPrimitiveType,
    T::Native: Into<i128> + TryFrom<i128>,
{
    if call.arguments.len() == 1 {
        return whole_as_it_is(call);
    }
    let (numbers, digits) = (rows::numbers::<T>(call, 0)?, digits(call)?);
    rows::numbers_of::<T>(call, |row| {
        let (number, digits) = (numbers.at(row), digits(row));
        if digits >= 0 {
            return Ok(number);
        }
        let rounded = power(digits.saturating_neg())
            .map_or(Some(0), |unit| towards.whole(number.into(), unit).checked_mul(unit));
        let rounded = rounded.and_then(|rounded| T::Native::try_from(rounded).ok());
        rounded.ok_or_else(|| out_of_range(name, call.data_type))
    })
}

fn whole(call: &Call<'_>, name: &str, towards: Towards) -> Result<ArrayRef> {
    let data_type = argument_type(call);
    with_whole!(&data_type, T => wholes::<T>(call, name, towards), Err(unsupported(name, &data_type)))
}

/// The type of a decimal rounded to a constant number of digits.
pub(in crate::expr::function) fn rounded_type(arguments: &[Expr]) -> Result<DataType, String> {
    let places = match arguments.get(1) {
        None | Some(Expr::Literal(Literal::Null(_))) => 0,
        Some(Expr::Literal(Literal::Int64(places))) => *places,
        Some(_) => return Err(String::from("the digits of a decimal must be a constant")),
    };
    match arguments.first().map(Expr::data_type) {
        Some(DataType::Decimal128(precision, scale)) => {
            let places = i8::try_from(places.max(0)).unwrap_or(i8::MAX);
            Ok(DataType::Decimal128(precision, places.min(scale)))
        }
        other => Err(format!("{other:?} is no decimal")),
    }
}

fn decimal(call: &Call<'_>, name: &str, towards: Towards) -> Result<ArrayRef> {
    let (DataType::Decimal128(_, from), DataType::Decimal128(precision, to)) =
        (argument_type(call), call.data_type.clone())
    else {
        return Err(unsupported(name, call.data_type));
    };
    let (numbers, digits) = (rows::numbers::<Decimal128Type>(call, 0)?, digits(call)?);
    let limit = power(i64::from(precision)).unwrap_or(i128::MAX);
    rows::numbers_of::<Decimal128Type>(call, |row| {
        // Rounded at the digit that is asked for, then written with the scale of the type.
        let places = digits(row).min(i64::from(to));
        let unit = power(i64::from(from) - places);
        let rounded = unit.map_or(0, |unit| towards.whole(numbers.at(row), unit));
        let factor = power(i64::from(to) - places);
        let value = match factor {
            Some(factor) => rounded.checked_mul(factor),
            None => (rounded == 0).then_some(0),
        };
        let value = value.filter(|value| value.abs() < limit);
        value.ok_or_else(|| out_of_range(name, call.data_type))
    })
}

macro_rules! kernels {
    ($($name:ident: $by:ident$(, $label:literal)?, $towards:ident;)*) => {
        $(
            pub(in crate::expr::function) fn $name(call: &Call<'_>) -> Result<ArrayRef> {
                $by(call, $($label,)? Towards::$towards)
            }
        )*
    };
}

kernels! {
    ceil: floats, Greater;
    floor: floats, Less;
    round_float: floats, Nearest;
    trunc_float: floats, Zero;
    round_whole: whole, "round", Nearest;
    trunc_whole: whole, "trunc", Zero;
    ceil_decimal: decimal, "ceil", Greater;
    floor_decimal: decimal, "floor", Less;
    round_decimal: decimal, "round", Nearest;
    trunc_decimal: decimal, "trunc", Zero;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Towards, round_to};

    #[test]
    fn halves_go_away_from_zero() {
        let round = |number, unit| Towards::Nearest.whole(number, unit);
        assert_eq!([24, 25, -25, -24, 0].map(|n| round(n, 10)), [2, 3, -3, -2, 0]);
        assert_eq!(Towards::Greater.whole(-25, 10), -2);
        assert_eq!(Towards::Less.whole(-25, 10), -3);
        assert_eq!(Towards::Greater.whole(21, 10), 3);
        assert_eq!(round(7, 1), 7);
        assert_eq!(round(i128::MAX, 10i128.pow(38)), 2);
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "the values are exact")]
    fn a_float_keeps_what_its_digits_cannot_say() {
        assert_eq!(round_to(1.245, 2, Towards::Nearest), 1.25);
        assert_eq!(round_to(1234.567, -2, Towards::Nearest), 1200.0);
        assert_eq!(round_to(1e300, 300, Towards::Nearest), 1e300);
        assert_eq!(round_to(1.5, 400, Towards::Nearest), 1.5);
        assert_eq!(round_to(1.5, -400, Towards::Nearest), 0.0);
        assert!(round_to(f64::NAN, 2, Towards::Nearest).is_nan());
    }

    proptest! {
        #[test]
        fn a_rounded_number_is_near(number in any::<i64>(), unit in 1i64..1_000_000) {
            let (number, unit) = (i128::from(number), i128::from(unit));
            let rounded = Towards::Nearest.whole(number, unit) * unit;
            prop_assert!((rounded - number).abs() * 2 <= unit);
            prop_assert!(Towards::Less.whole(number, unit) * unit <= number);
            prop_assert!(Towards::Greater.whole(number, unit) * unit >= number);
            prop_assert!((Towards::Zero.whole(number, unit) * unit).abs() <= number.abs());
        }
    }
}
