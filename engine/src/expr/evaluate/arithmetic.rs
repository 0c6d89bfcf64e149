//! Arithmetic over arrow's kernels: overflow and division by zero are errors, whatever the type.

use std::sync::Arc;

use arrow::{
    array::{
        Array, ArrayRef, ArrowPrimitiveType, Datum, Decimal128Array, Decimal256Array,
        PrimitiveArray, cast::AsArray,
    },
    compute::{self, kernels::numeric},
    datatypes::{
        DataType, Date32Type, Decimal128Type, Decimal256Type, Float32Type, Float64Type, Int64Type,
        TimeUnit, i256,
    },
    error::ArrowError,
};

use super::{Value, narrow};
use crate::{
    Error, Result,
    expr::{BinaryOp, INTERVAL, TIME, cast::durations, coerce::is_decimal, parse::type_name},
};

/// Whether an operator whose result has this type can fail for a row.
pub(super) fn is_fallible(op: BinaryOp, data_type: &DataType) -> bool {
    match op {
        BinaryOp::Add | BinaryOp::Subtract | BinaryOp::Multiply => !data_type.is_floating(),
        BinaryOp::Divide | BinaryOp::IntegerDivide | BinaryOp::Modulo => true,
        BinaryOp::Equal
        | BinaryOp::NotEqual
        | BinaryOp::Less
        | BinaryOp::LessOrEqual
        | BinaryOp::Greater
        | BinaryOp::GreaterOrEqual
        | BinaryOp::IsDistinct
        | BinaryOp::IsNotDistinct
        | BinaryOp::And
        | BinaryOp::Or => false,
    }
}

/// `-x`.
pub(super) fn negate(array: &dyn Array) -> Result<ArrayRef> {
    let data_type = array.data_type().clone();
    numeric::neg(array).map_err(|error| refused("negation", &data_type, error))
}

/// `left op right`, whose result has the type `data_type`.
pub(super) fn compute(
    op: BinaryOp,
    left: &Value,
    right: &Value,
    data_type: &DataType,
) -> Result<ArrayRef> {
    let (left_type, right_type) = (left.array().data_type(), right.array().data_type());
    match (left_type, right_type) {
        (DataType::Date32, DataType::Int32) => days(op, left, right),
        (DataType::Int32, DataType::Date32) => days(op, right, left),
        (DataType::Date32, DataType::Date32) => {
            kernel(op, &counts(left)?, &counts(right)?, data_type)
        }
        (a, b) if *a == TIME && *b == TIME => {
            let micros = kernel(op, &counts(left)?, &counts(right)?, data_type)?;
            Ok(durations(micros.as_primitive::<Int64Type>(), TimeUnit::Microsecond))
        }
        (DataType::Duration(unit), DataType::Int64)
        | (DataType::Int64, DataType::Duration(unit)) => {
            let product = kernel(op, &counts(left)?, &counts(right)?, data_type)?;
            Ok(durations(product.as_primitive::<Int64Type>(), *unit))
        }
        _ if is_decimal(data_type) => decimals(op, left, right, data_type),
        _ => {
            if *left_type != INTERVAL {
                refuse_float_zero(op, left, right)?;
            }
            kernel(op, left, right, data_type)
        }
    }
}

fn name_of(op: BinaryOp) -> &'static str {
    match op {
        BinaryOp::Add => "addition",
        BinaryOp::Subtract => "subtraction",
        BinaryOp::Multiply => "multiplication",
        BinaryOp::Divide | BinaryOp::IntegerDivide => "division",
        _ => "modulo",
    }
}

fn kernel(op: BinaryOp, left: &Value, right: &Value, data_type: &DataType) -> Result<ArrayRef> {
    let apply: fn(&dyn Datum, &dyn Datum) -> Result<ArrayRef, ArrowError> = match op {
        BinaryOp::Add => numeric::add,
        BinaryOp::Subtract => numeric::sub,
        BinaryOp::Multiply => numeric::mul,
        BinaryOp::Divide | BinaryOp::IntegerDivide => numeric::div,
        BinaryOp::Modulo => numeric::rem,
        other => return Err(Error::Internal(format!("`{other}` among arithmetic"))),
    };
    apply(left, right).map_err(|error| refused(name_of(op), data_type, error))
}

/// What a kernel's error means for an operation that gives `data_type`.
fn refused(operation: &'static str, data_type: &DataType, error: ArrowError) -> Error {
    match error {
        ArrowError::DivideByZero => Error::Evaluate { reason: format!("{operation} by zero") },
        ArrowError::ArithmeticOverflow(what) => {
            let to = type_name(data_type);
            let values = what.strip_prefix("Overflow happened on: ").unwrap_or(&what);
            // The digits of decimals without their point would mislead.
            let values = if data_type.is_integer() { format!(": {values}") } else { String::new() };
            Error::Evaluate { reason: format!("{operation} overflows {to}{values}") }
        }
        ArrowError::ComputeError(_) if data_type.is_temporal() => Error::Evaluate {
            reason: format!("{operation} leaves the range of {}", type_name(data_type)),
        },
        other => Error::Arrow(other),
    }
}

/// A value as the whole numbers behind it: days, microseconds, units.
fn counts(value: &Value) -> Result<Value> {
    let array = value.array();
    let whole = match array.data_type() {
        DataType::Date32 => compute::cast(array, &DataType::Int32)?,
        _ => Arc::clone(array),
    };
    Ok(Value::new(compute::cast(&whole, &DataType::Int64)?, value.is_scalar()))
}

/// A date so many days later or earlier.
fn days(op: BinaryOp, dates: &Value, days: &Value) -> Result<ArrayRef> {
    let moved = kernel(op, &counts(dates)?, &counts(days)?, &DataType::Date32)?;
    let moved = moved.as_primitive::<Int64Type>();
    let reached: PrimitiveArray<Date32Type> = moved.unary_opt(|day| i32::try_from(day).ok());
    if reached.null_count() > moved.null_count() {
        let reason = format!("{} leaves the range of date", name_of(op));
        return Err(Error::Evaluate { reason });
    }
    Ok(Arc::new(reached))
}

/// Exact arithmetic; more digits than the result's type has are an error.
fn decimals(op: BinaryOp, left: &Value, right: &Value, data_type: &DataType) -> Result<ArrayRef> {
    if let DataType::Decimal128(precision, scale) = data_type
        && let Some(computed) = narrow::compute(op, left, right, (*precision, *scale))
    {
        return Ok(Arc::new(computed));
    }
    let computed = kernel(op, left, right, data_type)?;
    let overflow = || Error::Evaluate {
        reason: format!("{} overflows {}", name_of(op), type_name(data_type)),
    };
    match data_type {
        DataType::Decimal128(precision, scale) => {
            let values = computed.as_primitive::<Decimal128Type>();
            let limit = 10i128.checked_pow(u32::from(*precision)).unwrap_or(i128::MAX);
            if !are_held(values, |value| -limit < value && value < limit) {
                return Err(overflow());
            }
            let retyped = Decimal128Array::new(values.values().clone(), values.nulls().cloned());
            Ok(Arc::new(retyped.with_precision_and_scale(*precision, *scale)?))
        }
        DataType::Decimal256(precision, scale) => {
            let values = computed.as_primitive::<Decimal256Type>();
            let limit = i256::from_i128(10).checked_pow(u32::from(*precision));
            let limit = limit.unwrap_or(i256::MAX);
            if !are_held(values, |value| -limit < value && value < limit) {
                return Err(overflow());
            }
            let retyped = Decimal256Array::new(values.values().clone(), values.nulls().cloned());
            Ok(Arc::new(retyped.with_precision_and_scale(*precision, *scale)?))
        }
        other => Err(Error::Internal(format!("{other} is no decimal"))),
    }
}

/// Whether all values that are not null are held.
fn are_held<T: ArrowPrimitiveType>(
    array: &PrimitiveArray<T>,
    is_held: impl Fn(T::Native) -> bool,
) -> bool {
    let all = array.values().iter().fold(true, |all, value| all & is_held(*value));
    all || array.iter().flatten().all(is_held)
}

/// Refuses what arrow's kernels answer with an infinity: a float divided by zero.
fn refuse_float_zero(op: BinaryOp, left: &Value, right: &Value) -> Result<()> {
    if !matches!(op, BinaryOp::Divide | BinaryOp::IntegerDivide | BinaryOp::Modulo) {
        return Ok(());
    }
    let divisors = right.array();
    let is_refused = match divisors.data_type() {
        DataType::Float32 => divides_by(left, right, divisors.as_primitive::<Float32Type>(), 0.0),
        DataType::Float64 => divides_by(left, right, divisors.as_primitive::<Float64Type>(), 0.0),
        _ => false,
    };
    if is_refused {
        return Err(Error::Evaluate { reason: format!("{} by zero", name_of(op)) });
    }
    Ok(())
}

/// Whether a value that is not null is divided by `zero`.
fn divides_by<T: ArrowPrimitiveType>(
    left: &Value,
    right: &Value,
    divisors: &PrimitiveArray<T>,
    zero: T::Native,
) -> bool {
    if !divisors.values().contains(&zero) {
        return false;
    }
    let rows = left.array().len().max(divisors.len());
    let at = |value: &Value, row: usize| if value.is_scalar() { 0 } else { row };
    (0..rows).any(|row| {
        let divisor = at(right, row);
        divisors.is_valid(divisor)
            && divisors.value(divisor) == zero
            && left.array().is_valid(at(left, row))
    })
}
