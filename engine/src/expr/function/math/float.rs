//! Functions over float64.

use arrow::{array::ArrayRef, datatypes::Float64Type};

use crate::{
    Error, Result,
    expr::function::{Call, rows},
};

/// Applies `function` to each number; NaN that comes from no NaN is an error.
fn one(call: &Call<'_>, name: &str, function: impl Fn(f64) -> f64) -> Result<ArrayRef> {
    let numbers = rows::floats(call, 0)?;
    rows::numbers_of::<Float64Type>(call, |row| {
        let number = numbers.at(row);
        let value = function(number);
        if value.is_nan() && !number.is_nan() {
            return Err(no_value(name, &[number]));
        }
        Ok(value)
    })
}

/// As [`one`]; an infinity that comes from no infinity is an error too.
fn one_without_poles(
    call: &Call<'_>,
    name: &str,
    function: impl Fn(f64) -> f64,
) -> Result<ArrayRef> {
    let numbers = rows::floats(call, 0)?;
    rows::numbers_of::<Float64Type>(call, |row| {
        let number = numbers.at(row);
        let value = function(number);
        if value.is_nan() && !number.is_nan() || value.is_infinite() && !number.is_infinite() {
            return Err(no_value(name, &[number]));
        }
        Ok(value)
    })
}

fn no_value(name: &str, arguments: &[f64]) -> Error {
    let shown: Vec<_> = arguments.iter().map(ToString::to_string).collect();
    Error::Evaluate { reason: format!("{name}({}) has no value", shown.join(", ")) }
}

macro_rules! functions {
    ($($name:ident: $by:ident, $function:expr;)*) => {
        $(
            pub(in crate::expr::function) fn $name(call: &Call<'_>) -> Result<ArrayRef> {
                $by(call, stringify!($name), $function)
            }
        )*
    };
}

functions! {
    sqrt: one, f64::sqrt;
    cbrt: one, f64::cbrt;
    exp: one, f64::exp;
    ln: one_without_poles, f64::ln;
    log10: one_without_poles, f64::log10;
    log2: one_without_poles, f64::log2;
    sin: one, f64::sin;
    cos: one, f64::cos;
    tan: one, f64::tan;
    cot: one_without_poles, |x| 1.0 / x.tan();
    asin: one, f64::asin;
    acos: one, f64::acos;
    atan: one, f64::atan;
    sinh: one, f64::sinh;
    cosh: one, f64::cosh;
    tanh: one, f64::tanh;
    asinh: one, f64::asinh;
    acosh: one, f64::acosh;
    atanh: one_without_poles, f64::atanh;
    degrees: one, f64::to_degrees;
    radians: one, f64::to_radians;
}

pub(in crate::expr::function) fn pow(call: &Call<'_>) -> Result<ArrayRef> {
    let (bases, exponents) = (rows::floats(call, 0)?, rows::floats(call, 1)?);
    rows::numbers_of::<Float64Type>(call, |row| {
        let (base, exponent) = (bases.at(row), exponents.at(row));
        let value = base.powf(exponent);
        let is_pole = base == 0.0 && exponent < 0.0;
        if is_pole || value.is_nan() && !base.is_nan() && !exponent.is_nan() {
            return Err(no_value("pow", &[base, exponent]));
        }
        Ok(value)
    })
}

pub(in crate::expr::function) fn log(call: &Call<'_>) -> Result<ArrayRef> {
    const TWO: u64 = 2f64.to_bits();
    const TEN: u64 = 10f64.to_bits();
    let (bases, numbers) = (rows::floats(call, 0)?, rows::floats(call, 1)?);
    rows::numbers_of::<Float64Type>(call, |row| {
        let (base, number) = (bases.at(row), numbers.at(row));
        // Powers of two and of ten have whole logarithms, which a quotient may miss.
        let value = match base.to_bits() {
            TWO => number.log2(),
            TEN => number.log10(),
            _ => number.ln() / base.ln(),
        };
        let is_given = base.is_finite() && number.is_finite();
        if is_given && !value.is_finite() {
            return Err(no_value("log", &[base, number]));
        }
        Ok(value)
    })
}

pub(in crate::expr::function) fn atan2(call: &Call<'_>) -> Result<ArrayRef> {
    let (y, x) = (rows::floats(call, 0)?, rows::floats(call, 1)?);
    rows::numbers_of::<Float64Type>(call, |row| Ok(y.at(row).atan2(x.at(row))))
}

pub(in crate::expr::function) fn pi(call: &Call<'_>) -> Result<ArrayRef> {
    rows::numbers_of::<Float64Type>(call, |_| Ok(std::f64::consts::PI))
}

pub(in crate::expr::function) fn e(call: &Call<'_>) -> Result<ArrayRef> {
    rows::numbers_of::<Float64Type>(call, |_| Ok(std::f64::consts::E))
}

fn claim(call: &Call<'_>, holds: impl Fn(f64) -> bool) -> Result<ArrayRef> {
    let numbers = rows::floats(call, 0)?;
    rows::bools_of(call, |row| Ok(holds(numbers.at(row))))
}

pub(in crate::expr::function) fn is_nan(call: &Call<'_>) -> Result<ArrayRef> {
    claim(call, f64::is_nan)
}

pub(in crate::expr::function) fn is_infinite(call: &Call<'_>) -> Result<ArrayRef> {
    claim(call, f64::is_infinite)
}

pub(in crate::expr::function) fn is_finite(call: &Call<'_>) -> Result<ArrayRef> {
    claim(call, f64::is_finite)
}
