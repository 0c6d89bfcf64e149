//! Comparison of two values of one type.
//!
//! Floats are compared as SQL wants them, not as IEEE 754 or arrow's total order do: NaN equals
//! NaN and is greater than all else, and -0.0 equals 0.0; inside lists and structs too. An interval
//! is as long as its parts with months of 30 days and days of 24 hours. Lists and structs are
//! compared item by item; a null inside is equal to a null and greater than all else.

use std::{cmp::Ordering, sync::Arc};

use arrow::{
    array::{
        Array, ArrayRef, ArrowPrimitiveType, BooleanArray, Datum, Decimal128Array, ListArray,
        PrimitiveArray, StringViewArray, StructArray, cast::AsArray, make_comparator,
    },
    buffer::{BooleanBuffer, NullBuffer},
    compute::{SortOptions, kernels::cmp},
    datatypes::{DataType, Float32Type, Float64Type, IntervalMonthDayNanoType},
};

use crate::{
    Error, Result,
    expr::{BinaryOp, INTERVAL, evaluate::Value},
};

/// `left op right` for each row; null where one of them is, but for `is distinct from`.
pub(crate) fn compare(op: BinaryOp, left: &Value, right: &Value) -> Result<BooleanArray> {
    let sides = [(left.array(), left.is_scalar()), (right.array(), right.is_scalar())];
    compare_arrays(op, sides)
}

/// Whether two arrays differ, row by row; `right` may have one value for all.
pub(crate) fn not_equal(left: &dyn Array, right: &ArrayRef) -> Result<BooleanArray> {
    let left = left.slice(0, left.len());
    compare_arrays(BinaryOp::NotEqual, [(&left, false), (right, true)])
}

type Side<'a> = (&'a ArrayRef, bool);

fn compare_arrays(op: BinaryOp, [left, right]: [Side<'_>; 2]) -> Result<BooleanArray> {
    match op {
        BinaryOp::IsDistinct | BinaryOp::IsNotDistinct => {
            let same = is_same([left, right])?;
            let holds = if op == BinaryOp::IsDistinct { !&same } else { same };
            return Ok(BooleanArray::new(holds, None));
        }
        _ => {}
    }
    match left.0.data_type() {
        DataType::Float32 => {
            floats::<Float32Type>(op, [left, right], |l, r| order(f64::from(l), f64::from(r)))
        }
        DataType::Float64 => floats::<Float64Type>(op, [left, right], order),
        DataType::List(_) | DataType::Struct(_) => nested(op, [left, right]),
        data_type if *data_type == INTERVAL => {
            let (l, r) = (lengths(left.0), lengths(right.0));
            flat(op, [(&l, left.1), (&r, right.1)])
        }
        _ => flat(op, [left, right]),
    }
}

/// A side as arrow's kernels take it.
struct Operand<'a>(Side<'a>);

impl Datum for Operand<'_> {
    fn get(&self) -> (&dyn Array, bool) {
        (self.0.0.as_ref(), self.0.1)
    }
}

/// What arrow compares as we do.
fn flat(op: BinaryOp, [left, right]: [Side<'_>; 2]) -> Result<BooleanArray> {
    if let Some(found) = text_constant(op, [left, right]) {
        return Ok(found);
    }
    let kernel: fn(&dyn Datum, &dyn Datum) -> _ = match op {
        BinaryOp::Equal => cmp::eq,
        BinaryOp::NotEqual => cmp::neq,
        BinaryOp::Less => cmp::lt,
        BinaryOp::LessOrEqual => cmp::lt_eq,
        BinaryOp::Greater => cmp::gt,
        BinaryOp::GreaterOrEqual => cmp::gt_eq,
        other => return Err(no_comparison(other)),
    };
    Ok(kernel(&Operand(left), &Operand(right))?)
}

/// Texts that are or are not one constant: a view says most of it, and all of a short text. `None` for
/// other operators and sides.
fn text_constant(op: BinaryOp, sides: [Side<'_>; 2]) -> Option<BooleanArray> {
    let ([(array, false), (constant, true)] | [(constant, true), (array, false)]) = sides else {
        return None;
    };
    let (texts, constant) = (array.as_string_view_opt()?, constant.as_string_view_opt()?);
    if constant.is_null(0) || !matches!(op, BinaryOp::Equal | BinaryOp::NotEqual) {
        return None;
    }
    let equal = texts_equal(texts, constant);
    let holds = if op == BinaryOp::Equal { equal } else { !&equal };
    Some(BooleanArray::new(holds, texts.nulls().cloned()))
}

/// Which texts are the first of `constant`; nulls aside.
fn texts_equal(texts: &StringViewArray, constant: &StringViewArray) -> BooleanBuffer {
    let (views, wanted) = (texts.views(), constant.views()[0]);
    if is_whole(wanted) {
        return BooleanBuffer::collect_bool(views.len(), |row| views[row] == wanted);
    }
    let text = constant.value(0);
    let is_alike = |view: u128| head(view) == head(wanted);
    BooleanBuffer::collect_bool(views.len(), |row| {
        is_alike(views[row]) && texts.is_valid(row) && texts.value(row) == text
    })
}

/// Whether a view holds all of its text, so that equal texts have equal views.
pub(crate) fn is_whole(view: u128) -> bool {
    const INLINE_BYTES: u32 = 12;
    let [a, b, c, d, ..] = view.to_le_bytes();
    u32::from_le_bytes([a, b, c, d]) <= INLINE_BYTES
}

/// A view's length and first four bytes.
#[expect(clippy::cast_possible_truncation, reason = "the lower half is what is asked for")]
fn head(view: u128) -> u64 {
    view as u64
}

fn no_comparison(op: BinaryOp) -> Error {
    Error::Internal(format!("`{op}` among comparisons"))
}

/// Whether an order of two values is what `op` asks for.
fn test(op: BinaryOp) -> Result<fn(Ordering) -> bool> {
    Ok(match op {
        BinaryOp::Equal => Ordering::is_eq,
        BinaryOp::NotEqual => Ordering::is_ne,
        BinaryOp::Less => Ordering::is_lt,
        BinaryOp::LessOrEqual => Ordering::is_le,
        BinaryOp::Greater => Ordering::is_gt,
        BinaryOp::GreaterOrEqual => Ordering::is_ge,
        other => return Err(no_comparison(other)),
    })
}

/// Where both are equal, or both null.
fn is_same([left, right]: [Side<'_>; 2]) -> Result<BooleanBuffer> {
    let rows = match (left.1, right.1) {
        (true, false) => right.0.len(),
        _ => left.0.len(),
    };
    let equal = compare_arrays(BinaryOp::Equal, [left, right])?;
    let is_null =
        |(array, is_scalar): Side<'_>, row: usize| array.is_null(if is_scalar { 0 } else { row });
    Ok(BooleanBuffer::collect_bool(rows, |row| {
        if equal.is_valid(row) {
            equal.value(row)
        } else {
            is_null(left, row) && is_null(right, row)
        }
    }))
}

/// The lengths of intervals, in nanoseconds.
fn lengths(array: &ArrayRef) -> ArrayRef {
    const DAY_NANOS: i128 = 86_400_000_000_000;
    let intervals = array.as_primitive::<IntervalMonthDayNanoType>();
    let lengths: Decimal128Array = intervals.unary(|interval| {
        let days = i128::from(interval.months) * 30 + i128::from(interval.days);
        days * DAY_NANOS + i128::from(interval.nanoseconds)
    });
    Arc::new(lengths)
}

/// A float's stand-in that equals what it equals bit by bit.
pub(crate) fn canonical(value: f64) -> f64 {
    if value.is_nan() {
        f64::NAN
    } else if value == 0.0 {
        0.0
    } else {
        value
    }
}

/// The order of two floats: NaN equals NaN and is greatest.
fn order(left: f64, right: f64) -> Ordering {
    left.partial_cmp(&right).unwrap_or_else(|| left.is_nan().cmp(&right.is_nan()))
}

fn floats<T: ArrowPrimitiveType>(
    op: BinaryOp,
    [left, right]: [Side<'_>; 2],
    order: impl Fn(T::Native, T::Native) -> Ordering + Copy,
) -> Result<BooleanArray> {
    let side = |side: Side<'_>| {
        let array = side.0.as_primitive_opt::<T>().cloned();
        array.ok_or_else(|| Error::Internal(String::from("floats beside another type")))
    };
    let (left, right) = ((side(left)?, left.1), (side(right)?, right.1));
    Ok(match op {
        BinaryOp::Equal => rowwise(&left, &right, |l, r| order(l, r).is_eq()),
        BinaryOp::NotEqual => rowwise(&left, &right, |l, r| order(l, r).is_ne()),
        BinaryOp::Less => rowwise(&left, &right, |l, r| order(l, r).is_lt()),
        BinaryOp::LessOrEqual => rowwise(&left, &right, |l, r| order(l, r).is_le()),
        BinaryOp::Greater => rowwise(&left, &right, |l, r| order(l, r).is_gt()),
        BinaryOp::GreaterOrEqual => rowwise(&left, &right, |l, r| order(l, r).is_ge()),
        other => return Err(no_comparison(other)),
    })
}

/// Applies `holds` row by row; a scalar side has one value for all.
fn rowwise<T: ArrowPrimitiveType>(
    (left, left_is_scalar): &(PrimitiveArray<T>, bool),
    (right, right_is_scalar): &(PrimitiveArray<T>, bool),
    holds: impl Fn(T::Native, T::Native) -> bool,
) -> BooleanArray {
    let (l, r) = (left.values(), right.values());
    match (*left_is_scalar, *right_is_scalar) {
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

/// Lists and structs.
fn nested(op: BinaryOp, [left, right]: [Side<'_>; 2]) -> Result<BooleanArray> {
    let holds = test(op)?;
    let (l, r) = (comparable(left.0)?, comparable(right.0)?);
    let nulls_last = SortOptions { descending: false, nulls_first: false };
    let compare = make_comparator(&l, &r, nulls_last)?;
    let rows = match (left.1, right.1) {
        (true, false) => r.len(),
        _ => l.len(),
    };
    let at = |is_scalar: bool, row: usize| if is_scalar { 0 } else { row };
    let values = (0..rows).map(|row| {
        let (l_row, r_row) = (at(left.1, row), at(right.1, row));
        (l.is_valid(l_row) && r.is_valid(r_row)).then(|| holds(compare(l_row, r_row)))
    });
    Ok(values.collect())
}

/// An array that arrow's total order orders as we do: floats inside are canonical.
fn comparable(array: &ArrayRef) -> Result<ArrayRef> {
    Ok(match array.data_type() {
        DataType::Float64 => {
            let floats = array.as_primitive::<Float64Type>();
            Arc::new(floats.unary::<_, Float64Type>(canonical))
        }
        DataType::Float32 => {
            let floats = array.as_primitive::<Float32Type>();
            Arc::new(floats.unary::<_, Float32Type>(|value| {
                if value.is_nan() {
                    f32::NAN
                } else if value == 0.0 {
                    0.0
                } else {
                    value
                }
            }))
        }
        data_type if *data_type == INTERVAL => lengths(array),
        DataType::List(_) => {
            let lists = array.as_list::<i32>();
            let values = comparable(lists.values())?;
            let item = arrow::datatypes::Field::new_list_field(values.data_type().clone(), true);
            let (offsets, nulls) = (lists.offsets().clone(), lists.nulls().cloned());
            Arc::new(ListArray::try_new(Arc::new(item), offsets, values, nulls)?)
        }
        DataType::Struct(fields) => {
            let structs = array.as_struct();
            let columns = structs.columns().iter().map(comparable).collect::<Result<Vec<_>>>()?;
            let fields = fields.iter().zip(&columns).map(|(field, column)| {
                arrow::datatypes::Field::new(field.name(), column.data_type().clone(), true)
            });
            let fields = fields.collect::<Vec<_>>().into();
            let nulls = structs.nulls().cloned();
            Arc::new(StructArray::try_new_with_length(fields, columns, nulls, array.len())?)
        }
        _ => Arc::clone(array),
    })
}
