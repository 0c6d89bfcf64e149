//! Decimals whose values leave room: the usual case of amounts and rates, of which type and kernels
//! must expect 38 digits and the data has ten.
//!
//! A look at the bits that the values take says that no step can overflow; then nothing is checked
//! row by row, and products are made of 64-bit factors. Where it does not, the checked kernels go on.

use arrow::{
    array::{Array, AsArray, Decimal128Array},
    buffer::NullBuffer,
    datatypes::{DataType, Decimal128Type},
};

use crate::expr::{BinaryOp, evaluate::Value};

/// The bits of a factor of a product that is made of 64-bit factors, its sign left out.
const FACTOR_BITS: u32 = 63;
/// The bits that a result may have, its sign left out, with one to spare.
const RESULT_BITS: u32 = 126;

/// One side: its numbers and what they are multiplied by.
struct Side<'a> {
    values: &'a [i128],
    is_scalar: bool,
    factor: i64,
    /// At most so many bits has each of its numbers, multiplied; signs left out.
    bits: u32,
}

/// `left op right` as a decimal of these digits, for `+`, `-` and `*`; `None` where it takes a check
/// of each row, or where the sides are no decimals of 128 bits.
pub(super) fn compute(
    op: BinaryOp,
    left: &Value,
    right: &Value,
    (precision, scale): (u8, i8),
) -> Option<Decimal128Array> {
    let (l, r) = (side(left, op, scale)?, side(right, op, scale)?);
    let bits = match op {
        BinaryOp::Multiply => l.bits + r.bits,
        BinaryOp::Add | BinaryOp::Subtract => l.bits.max(r.bits) + 1,
        _ => return None,
    };
    // So many bits are less than 10^precision.
    let limit = 10_i128.checked_pow(u32::from(precision))?.ilog2();
    if bits > limit.min(RESULT_BITS) {
        return None;
    }
    let (a, b) = (i128::from(l.factor), i128::from(r.factor));
    let values = match op {
        BinaryOp::Multiply => zip(&l, &r, |l, r| i128::from(short(l)) * i128::from(short(r))),
        BinaryOp::Add if a == 1 && b == 1 => zip(&l, &r, i128::wrapping_add),
        BinaryOp::Add => zip(&l, &r, |l, r| (l.wrapping_mul(a)).wrapping_add(r.wrapping_mul(b))),
        _ if a == 1 && b == 1 => zip(&l, &r, i128::wrapping_sub),
        _ => zip(&l, &r, |l, r| (l.wrapping_mul(a)).wrapping_sub(r.wrapping_mul(b))),
    };
    let nulls = NullBuffer::union(nulls(left), nulls(right));
    let computed = Decimal128Array::new(values.into(), nulls);
    computed.with_precision_and_scale(precision, scale).ok()
}

/// A side of an operation whose result has `scale`.
fn side(value: &Value, op: BinaryOp, scale: i8) -> Option<Side<'_>> {
    let array = value.array().as_primitive_opt::<Decimal128Type>()?;
    let DataType::Decimal128(_, own) = array.data_type() else { return None };
    if value.is_scalar() && array.is_null(0) {
        return None;
    }
    let factor = match op {
        BinaryOp::Multiply => 1,
        _ => 10_i64.checked_pow(u32::try_from(scale.checked_sub(*own)?).ok()?)?,
    };
    let values: &[i128] = array.values();
    let bits = bits(values);
    if bits > FACTOR_BITS {
        return None;
    }
    // 2^ilog2 may be less than the factor, which has one bit more then.
    let bits = if factor == 1 { bits } else { bits + factor.ilog2() + 1 };
    Some(Side { values, is_scalar: value.is_scalar(), factor, bits })
}

/// The nulls of a side that has a value a row.
fn nulls(value: &Value) -> Option<&NullBuffer> {
    if value.is_scalar() { None } else { value.array().nulls() }
}

/// The most bits that one of the numbers takes, its sign left out.
fn bits(values: &[i128]) -> u32 {
    let used = values.iter().fold(0_i128, |used, value| used | (value ^ (value >> 127)));
    i128::BITS - used.leading_zeros()
}

#[expect(clippy::cast_possible_truncation, reason = "only numbers of 63 bits come here")]
fn short(value: i128) -> i64 {
    value as i64
}

/// `apply` row by row; a scalar side has one number for all.
fn zip(left: &Side<'_>, right: &Side<'_>, apply: impl Fn(i128, i128) -> i128) -> Vec<i128> {
    match (left.values, right.values) {
        ([l], values) if left.is_scalar => values.iter().map(|r| apply(*l, *r)).collect(),
        (values, [r]) if right.is_scalar => values.iter().map(|l| apply(*l, *r)).collect(),
        (l, r) => l.iter().zip(r).map(|(l, r)| apply(*l, *r)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::{
        array::{Array, Decimal128Array},
        compute::kernels::numeric,
    };
    use proptest::prelude::*;

    use super::compute;
    use crate::expr::{BinaryOp, evaluate::Value};

    fn decimals(values: Vec<Option<i128>>, precision: u8, scale: i8) -> Decimal128Array {
        Decimal128Array::from(values).with_precision_and_scale(precision, scale).unwrap()
    }

    fn number() -> impl Strategy<Value = Option<i128>> {
        let edge = prop_oneof![
            Just(i128::from(i64::MAX)),
            Just(i128::from(i64::MIN)),
            Just(i128::from(i64::MAX) + 1),
            Just(-1),
            Just(0),
        ];
        let any = prop_oneof![4 => -1_000_000..1_000_000_i128, 1 => edge];
        prop::option::weighted(0.9, any)
    }

    proptest! {
        #[test]
        fn what_is_not_checked_is_what_checked_kernels_give(
            rows in prop::collection::vec((number(), number()), 1..40),
            scales in (0_i8..5, 0_i8..5),
            scalar in 0..3,
        ) {
            let (l, r): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
            let first = |values: &[Option<i128>], is_one: bool| {
                if is_one { values[..1].to_vec() } else { values.to_vec() }
            };
            let l = decimals(first(&l, scalar == 1), 38, scales.0);
            let r = decimals(first(&r, scalar == 2), 38, scales.1);
            let sides = (
                Value::new(Arc::new(l), scalar == 1),
                Value::new(Arc::new(r), scalar == 2),
            );
            for op in [BinaryOp::Add, BinaryOp::Subtract, BinaryOp::Multiply] {
                let scale = match op {
                    BinaryOp::Multiply => scales.0 + scales.1,
                    _ => scales.0.max(scales.1),
                };
                let Some(found) = compute(op, &sides.0, &sides.1, (38, scale)) else { continue };
                let kernel = match op {
                    BinaryOp::Add => numeric::add,
                    BinaryOp::Subtract => numeric::sub,
                    _ => numeric::mul,
                };
                let expected = kernel(&sides.0, &sides.1).unwrap();
                let expected = arrow::array::AsArray::as_primitive::<
                    arrow::datatypes::Decimal128Type,
                >(expected.as_ref());
                prop_assert_eq!(found.len(), expected.len());
                for row in 0..found.len() {
                    prop_assert_eq!(found.is_null(row), expected.is_null(row));
                    if found.is_valid(row) {
                        prop_assert_eq!(found.value(row), expected.value(row));
                    }
                }
            }
        }
    }

    #[test]
    fn what_could_have_too_many_digits_is_left_to_the_checked_kernels() {
        let of = |value: i128| Value::new(Arc::new(decimals(vec![Some(value)], 38, 0)), false);
        let product = |l, r, precision| {
            compute(BinaryOp::Multiply, &of(l), &of(r), (precision, 0)).map(|found| found.value(0))
        };
        assert_eq!(product(3, 4, 4), Some(12));
        assert_eq!(product(300, 400, 4), None);
        // 38 digits, just.
        let greatest = 85_070_591_730_234_615_847_396_907_784_232_501_249;
        assert_eq!(product(i64::MAX.into(), i64::MAX.into(), 38), Some(greatest));
        assert_eq!(product(1 << 60, 1 << 60, 38), Some(1 << 120));
        assert_eq!(product(1 << 64, 1, 38), None);
    }
}
