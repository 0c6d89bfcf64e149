//! Operators between two expressions in Spark's words.

use arrow::datatypes::DataType;

use super::{
    super::{Written, refused},
    Operand, time, type_name,
};
use crate::expr::{BinaryOp, coerce::is_decimal};

/// The most digits of a decimal.
const MAX_DIGITS: u16 = 38;

/// How many of them Spark may keep behind the point of a product or a sum that has more.
const KEPT_SCALE: u16 = 6;

/// `left op right`, in the type that it has here.
///
/// # Errors
/// Operands that Spark does not compute with, or not exactly.
pub(in crate::plan::sql) fn binary(
    op: BinaryOp,
    left: &Operand<'_>,
    right: &Operand<'_>,
    data_type: &DataType,
) -> Written {
    if let Some(text) = time::arithmetic(op, left, right, data_type)? {
        return Ok(text);
    }
    let plain = format!("({} {op} {})", left.text, right.text);
    match op {
        BinaryOp::Add | BinaryOp::Subtract | BinaryOp::Multiply | BinaryOp::Modulo => {
            match (digits(&left.data_type), digits(&right.data_type)) {
                (Some(left), Some(right)) => decimal(op, left, right, &plain, data_type),
                _ => Ok(plain),
            }
        }
        // Of two floats of 32 bits it is one of 64 there.
        BinaryOp::Divide if *data_type == DataType::Float32 => {
            Ok(format!("cast({plain} as FLOAT)"))
        }
        BinaryOp::IntegerDivide if *data_type != DataType::Int64 => {
            Ok(format!("cast({plain} as {})", type_name(data_type)?))
        }
        _ => Ok(plain),
    }
}

/// Digits before and behind the point of what is a decimal in Spark.
fn digits(data_type: &DataType) -> Option<(u16, u16)> {
    match data_type {
        DataType::UInt64 => Some((20, 0)),
        DataType::Decimal128(precision, scale @ 0..) => {
            let scale = u16::from(scale.unsigned_abs());
            Some((u16::from(*precision).saturating_sub(scale), scale))
        }
        _ => None,
    }
}

/// What is computed of two decimals, in the type that it has here.
fn decimal(
    op: BinaryOp,
    (left_whole, left_scale): (u16, u16),
    (right_whole, right_scale): (u16, u16),
    plain: &str,
    data_type: &DataType,
) -> Written {
    let (whole, scale) = match op {
        BinaryOp::Multiply => (left_whole + right_whole + 1, left_scale + right_scale),
        BinaryOp::Modulo => (left_whole.min(right_whole), left_scale.max(right_scale)),
        _ => (left_whole.max(right_whole) + 1, left_scale.max(right_scale)),
    };
    if whole + scale > MAX_DIGITS && scale > KEPT_SCALE {
        return refused("Spark rounds what is computed of such long decimals; cast them before");
    }
    if digits(data_type) == Some((whole, scale)) {
        return Ok(String::from(plain));
    }
    Ok(format!("cast({plain} as {})", type_name(data_type)?))
}

/// Whether a number is computed with as it is: neither a date nor an interval.
pub(super) fn is_number(data_type: &DataType) -> bool {
    data_type.is_integer() || data_type.is_floating() || is_decimal(data_type)
}
