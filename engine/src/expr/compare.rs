//! Comparison of two values of one type.
//!
//! Floats are compared as SQL wants them, not as IEEE 754 or arrow's total order do: NaN equals
//! NaN and is greater than all else, and -0.0 equals 0.0.

use arrow::{
    array::{Array, BooleanArray, Datum, Float64Array, cast::AsArray},
    buffer::{BooleanBuffer, NullBuffer},
    compute::kernels::cmp,
    datatypes::Float64Type,
};

use crate::{
    Error, Result,
    expr::{BinaryOp, evaluate::Value},
};

/// `left op right` for each row; null where one of them is.
pub(crate) fn compare(op: BinaryOp, left: &Value, right: &Value) -> Result<BooleanArray> {
    let floats = left
        .array()
        .as_primitive_opt::<Float64Type>()
        .zip(right.array().as_primitive_opt::<Float64Type>());
    if let Some((left_floats, right_floats)) = floats {
        let left_floats = (left_floats, left.is_scalar());
        return compare_floats(op, left_floats, (right_floats, right.is_scalar()));
    }
    let kernel: fn(&dyn Datum, &dyn Datum) -> _ = match op {
        BinaryOp::Equal => cmp::eq,
        BinaryOp::NotEqual => cmp::neq,
        BinaryOp::Less => cmp::lt,
        BinaryOp::LessOrEqual => cmp::lt_eq,
        BinaryOp::Greater => cmp::gt,
        BinaryOp::GreaterOrEqual => cmp::gt_eq,
        BinaryOp::Add
        | BinaryOp::Subtract
        | BinaryOp::Multiply
        | BinaryOp::Divide
        | BinaryOp::IntegerDivide
        | BinaryOp::Modulo
        | BinaryOp::And
        | BinaryOp::Or => return Err(no_comparison()),
    };
    Ok(kernel(left, right)?)
}

fn no_comparison() -> Error {
    Error::Internal(String::from("an operator that is no comparison"))
}

fn equal(left: f64, right: f64) -> bool {
    #[expect(clippy::float_cmp, reason = "SQL equality is exact")]
    let is_same = left == right;
    is_same || (left.is_nan() && right.is_nan())
}

fn less(left: f64, right: f64) -> bool {
    left < right || (right.is_nan() && !left.is_nan())
}

fn compare_floats(
    op: BinaryOp,
    left: (&Float64Array, bool),
    right: (&Float64Array, bool),
) -> Result<BooleanArray> {
    match op {
        BinaryOp::Equal => Ok(floats(left, right, equal)),
        BinaryOp::NotEqual => Ok(floats(left, right, |l, r| !equal(l, r))),
        BinaryOp::Less => Ok(floats(left, right, less)),
        BinaryOp::LessOrEqual => Ok(floats(left, right, |l, r| !less(r, l))),
        BinaryOp::Greater => Ok(floats(left, right, |l, r| less(r, l))),
        BinaryOp::GreaterOrEqual => Ok(floats(left, right, |l, r| !less(l, r))),
        BinaryOp::Add
        | BinaryOp::Subtract
        | BinaryOp::Multiply
        | BinaryOp::Divide
        | BinaryOp::IntegerDivide
        | BinaryOp::Modulo
        | BinaryOp::And
        | BinaryOp::Or => Err(no_comparison()),
    }
}

/// Applies `holds` row by row; a scalar side has one value for all.
fn floats(
    (left, left_is_scalar): (&Float64Array, bool),
    (right, right_is_scalar): (&Float64Array, bool),
    holds: impl Fn(f64, f64) -> bool,
) -> BooleanArray {
    let (l, r) = (left.values(), right.values());
    match (left_is_scalar, right_is_scalar) {
        (false, true) if right.is_null(0) => BooleanArray::new_null(l.len()),
        (true, false) if left.is_null(0) => BooleanArray::new_null(r.len()),
        (false, true) => {
            let (values, one) = (l, r[0]);
            let bits = BooleanBuffer::collect_bool(values.len(), |row| holds(values[row], one));
            BooleanArray::new(bits, left.nulls().cloned())
        }
        (true, false) => {
            let (one, values) = (l[0], r);
            let bits = BooleanBuffer::collect_bool(values.len(), |row| holds(one, values[row]));
            BooleanArray::new(bits, right.nulls().cloned())
        }
        (true, true) | (false, false) => {
            let rows = l.len().min(r.len());
            let bits = BooleanBuffer::collect_bool(rows, |row| holds(l[row], r[row]));
            BooleanArray::new(bits, NullBuffer::union(left.nulls(), right.nulls()))
        }
    }
}
