//! [`Condition`]: what of a predicate bounds can decide.
//!
//! A row group, a page or a file is left out where bounds of its columns say that the predicate is
//! true for none of its rows. What bounds can't decide may hold. Comparisons follow the engine's
//! order: NaN is the greatest float, and files leave it out of their bounds; -0.0 equals 0.0.

use arrow::{
    array::{
        Array, ArrayRef, AsArray, BooleanArray, Float32Array, Float64Array, Scalar, UInt64Array,
    },
    compute::{CastOptions, cast_with_options, kernels::cmp},
    datatypes::{DataType, Float32Type, Float64Type},
};

use crate::{
    expr::{BinaryOp, Expr, Literal, Predicate},
    source::runtime_filter::KnownKeys,
};

/// A predicate as far as bounds tell.
#[derive(Debug)]
pub(crate) enum Condition {
    /// All must be possible.
    All(Vec<Condition>),
    /// One must be possible.
    Any(Vec<Condition>),
    /// A claim about one column.
    Claim(Claim),
    /// May hold, whatever the bounds.
    Unknown,
}

/// A claim about one column's values.
#[derive(Debug)]
pub(crate) struct Claim {
    /// Its place in the schema that the predicate is bound to.
    pub(crate) column: usize,
    pub(crate) test: Test,
}

#[derive(Debug)]
pub(crate) enum Test {
    /// The value, brought to another type where one is given, compares so with a constant.
    Compare {
        through: Option<DataType>,
        op: BinaryOp,
        value: ArrayRef,
    },
    IsNull,
    IsNotNull,
}

/// What is known of a column in each of several containers (row groups, pages, files).
pub(crate) struct Bounds {
    /// At most the least value; null where unknown.
    pub(crate) min: ArrayRef,
    /// At least the greatest value; null where unknown.
    pub(crate) max: ArrayRef,
    /// The nulls; null where unknown.
    pub(crate) nulls: UInt64Array,
    /// The rows; null where unknown.
    pub(crate) rows: UInt64Array,
}

impl Condition {
    pub(crate) fn of(predicate: &Predicate) -> Self {
        condition(&predicate.0, false)
    }

    /// Of a scan's predicate, and of the bounds of keys that rows must have.
    pub(crate) fn of_scan(predicate: Option<&Predicate>, keys: &KnownKeys) -> Option<Self> {
        let mut parts: Vec<Self> = predicate.map(Self::of).into_iter().collect();
        for (column, (least, greatest)) in keys.bounds() {
            for (op, value) in
                [(BinaryOp::GreaterOrEqual, least), (BinaryOp::LessOrEqual, greatest)]
            {
                let test = Test::Compare { through: None, op, value };
                parts.push(Self::Claim(Claim { column, test }));
            }
        }
        if parts.len() < 2 { parts.pop() } else { Some(Self::All(parts)) }
    }

    /// Folds the tree from its claims up; `unknown` stands for what bounds can't decide.
    pub(crate) fn fold<T>(
        &self,
        claim: &mut impl FnMut(&Claim) -> T,
        all: &impl Fn(T, T) -> T,
        any: &impl Fn(T, T) -> T,
        unknown: &impl Fn() -> T,
    ) -> T {
        let (parts, join): (_, &dyn Fn(T, T) -> T) = match self {
            Self::All(parts) => (parts, all),
            Self::Any(parts) => (parts, any),
            Self::Claim(known) => return claim(known),
            Self::Unknown => return unknown(),
        };
        let folded: Vec<T> = parts.iter().map(|part| part.fold(claim, all, any, unknown)).collect();
        folded.into_iter().reduce(join).unwrap_or_else(unknown)
    }

    /// For each of `count` containers whether it may have a row for which the predicate holds.
    pub(crate) fn may_hold(
        &self,
        count: usize,
        bounds: &mut impl FnMut(usize) -> Option<Bounds>,
    ) -> Vec<bool> {
        let mut claim = |claim: &Claim| match bounds(claim.column) {
            Some(bounds) => claim.may_hold(&bounds, count),
            None => vec![true; count],
        };
        let zip = |left: Vec<bool>, right: Vec<bool>, join: fn(bool, bool) -> bool| {
            left.into_iter().zip(right).map(|(left, right)| join(left, right)).collect()
        };
        self.fold(
            &mut claim,
            &|left, right| zip(left, right, |left, right| left && right),
            &|left, right| zip(left, right, |left, right| left || right),
            &|| vec![true; count],
        )
    }

    /// The columns that claims are about, without repeats.
    pub(crate) fn columns(&self) -> Vec<usize> {
        let mut columns = Vec::new();
        let mut see = |claim: &Claim| columns.push(claim.column);
        self.fold(&mut see, &|(), ()| (), &|(), ()| (), &|| ());
        columns.sort_unstable();
        columns.dedup();
        columns
    }
}

/// The condition of an expression, or of its negation.
fn condition(expr: &Expr, negated: bool) -> Condition {
    match expr {
        Expr::Not(input) => condition(input, !negated),
        Expr::Binary { op: op @ (BinaryOp::And | BinaryOp::Or), left, right, .. } => {
            let parts = vec![condition(left, negated), condition(right, negated)];
            if (*op == BinaryOp::And) == negated {
                Condition::Any(parts)
            } else {
                Condition::All(parts)
            }
        }
        Expr::Binary { op, left, right, .. } => {
            let claim = comparison(*op, left, right, negated)
                .or_else(|| comparison(flipped(*op)?, right, left, negated));
            claim.map_or(Condition::Unknown, Condition::Claim)
        }
        Expr::IsNull { input, negated: is_not } => match input.as_ref() {
            Expr::Column { index, .. } => {
                let test = if *is_not == negated { Test::IsNull } else { Test::IsNotNull };
                Condition::Claim(Claim { column: *index, test })
            }
            _ => Condition::Unknown,
        },
        // A boolean column by itself.
        Expr::Column { index, data_type: DataType::Boolean, .. } => {
            let value = Literal::Bool(!negated).to_array();
            let test = Test::Compare { through: None, op: BinaryOp::Equal, value };
            Condition::Claim(Claim { column: *index, test })
        }
        // Everything else decides nothing by bounds.
        _ => Condition::Unknown,
    }
}

/// `column op constant`, the column perhaps in a cast that keeps the order of values.
fn comparison(op: BinaryOp, left: &Expr, right: &Expr, negated: bool) -> Option<Claim> {
    let op = if negated { opposite(op)? } else { is_comparison(op).then_some(op)? };
    let Expr::Literal(literal) = right else { return None };
    let (column, through) = match left {
        Expr::Column { index, .. } => (*index, None),
        Expr::Cast { input, to, .. } => match input.as_ref() {
            Expr::Column { index, data_type, .. } if keeps_order(data_type, to) => {
                (*index, Some(to.clone()))
            }
            _ => return None,
        },
        _ => return None,
    };
    let value = literal.to_array();
    if value.is_null(0) {
        return None;
    }
    Some(Claim { column, test: Test::Compare { through, op, value } })
}

/// Whether an operator compares by order or equality.
pub(crate) fn is_comparison(op: BinaryOp) -> bool {
    opposite(op).is_some()
}

fn opposite(op: BinaryOp) -> Option<BinaryOp> {
    Some(match op {
        BinaryOp::Equal => BinaryOp::NotEqual,
        BinaryOp::NotEqual => BinaryOp::Equal,
        BinaryOp::Less => BinaryOp::GreaterOrEqual,
        BinaryOp::LessOrEqual => BinaryOp::Greater,
        BinaryOp::Greater => BinaryOp::LessOrEqual,
        BinaryOp::GreaterOrEqual => BinaryOp::Less,
        _ => return None,
    })
}

/// The operator with its sides changed.
pub(crate) fn flipped(op: BinaryOp) -> Option<BinaryOp> {
    Some(match op {
        BinaryOp::Equal | BinaryOp::NotEqual => op,
        BinaryOp::Less => BinaryOp::Greater,
        BinaryOp::LessOrEqual => BinaryOp::GreaterOrEqual,
        BinaryOp::Greater => BinaryOp::Less,
        BinaryOp::GreaterOrEqual => BinaryOp::LessOrEqual,
        _ => return None,
    })
}

/// Whether a cast maps greater values to greater (or equal) ones.
fn keeps_order(from: &DataType, to: &DataType) -> bool {
    let is_day =
        |data_type: &DataType| matches!(data_type, DataType::Date32 | DataType::Timestamp(_, None));
    let is_instant = |data_type: &DataType| matches!(data_type, DataType::Timestamp(_, Some(_)));
    (from.is_numeric() && to.is_numeric())
        || (is_day(from) && is_day(to))
        || (is_instant(from) && is_instant(to))
}

impl Claim {
    /// For each of `count` containers whether it may have a row for which the claim holds.
    pub(crate) fn may_hold(&self, bounds: &Bounds, count: usize) -> Vec<bool> {
        let nulls = |index: usize| bounds.nulls.is_valid(index).then(|| bounds.nulls.value(index));
        let rows = |index: usize| bounds.rows.is_valid(index).then(|| bounds.rows.value(index));
        let has_values = |index: usize| match (nulls(index), rows(index)) {
            (Some(nulls), Some(rows)) => nulls < rows,
            _ => true,
        };
        match &self.test {
            Test::IsNull => (0..count).map(|index| nulls(index) != Some(0)).collect(),
            Test::IsNotNull => (0..count).map(has_values).collect(),
            Test::Compare { through, op, value } => {
                let fits = compare(*op, value, through.as_ref(), bounds);
                let may = |index: usize| {
                    fits.as_ref().is_none_or(|fits| {
                        index >= fits.len() || fits.is_null(index) || fits.value(index)
                    })
                };
                (0..count).map(|index| has_values(index) && may(index)).collect()
            }
        }
    }
}

/// Whether a value between the bounds can compare so; null or nothing where that is not known.
fn compare(
    op: BinaryOp,
    value: &ArrayRef,
    through: Option<&DataType>,
    bounds: &Bounds,
) -> Option<BooleanArray> {
    let brought = |array: &ArrayRef| -> Option<ArrayRef> {
        // What a cast can't bring along is null, and so unknown.
        let to = through.unwrap_or_else(|| array.data_type());
        let array = cast_with_options(array, to, &CastOptions::default()).ok()?;
        Some(canonical(&array))
    };
    let (min, max) = (brought(&bounds.min)?, brought(&bounds.max)?);
    if value.data_type() != min.data_type() || value.data_type() != max.data_type() {
        return None;
    }
    // Only where the column itself has floats can a NaN hide.
    let is_float = bounds.min.data_type().is_floating();
    let value = canonical(value);
    if value.is_null(0) {
        // NaN, of which bounds say nothing.
        return None;
    }
    let value = Scalar::new(value);
    match op {
        BinaryOp::Less => cmp::lt(&min, &value).ok(),
        BinaryOp::LessOrEqual => cmp::lt_eq(&min, &value).ok(),
        // A NaN that the bounds leave out would be greater.
        BinaryOp::Greater if !is_float => cmp::gt(&max, &value).ok(),
        BinaryOp::GreaterOrEqual if !is_float => cmp::gt_eq(&max, &value).ok(),
        BinaryOp::Equal => {
            let (low, high) = (cmp::lt_eq(&min, &value).ok()?, cmp::gt_eq(&max, &value).ok()?);
            arrow::compute::and(&low, &high).ok()
        }
        BinaryOp::NotEqual if !is_float => {
            let (low, high) = (cmp::neq(&min, &value).ok()?, cmp::neq(&max, &value).ok()?);
            arrow::compute::or(&low, &high).ok()
        }
        _ => None,
    }
}

/// Floats with one zero, and null for NaN; other values as they are.
fn canonical(array: &ArrayRef) -> ArrayRef {
    match array.data_type() {
        DataType::Float32 => {
            let one = |value: Option<f32>| value.filter(|value| !value.is_nan()).map(|v| v + 0.0);
            let floats: Float32Array =
                array.as_primitive::<Float32Type>().iter().map(one).collect();
            std::sync::Arc::new(floats)
        }
        DataType::Float64 => {
            let one = |value: Option<f64>| value.filter(|value| !value.is_nan()).map(|v| v + 0.0);
            let floats: Float64Array =
                array.as_primitive::<Float64Type>().iter().map(one).collect();
            std::sync::Arc::new(floats)
        }
        _ => std::sync::Arc::clone(array),
    }
}

/// The parts of a predicate that are joined by `and`.
pub(crate) fn parts(predicate: &Predicate) -> Vec<&Expr> {
    let mut parts = Vec::new();
    let mut rest = vec![&predicate.0];
    while let Some(expr) = rest.pop() {
        match expr {
            Expr::Binary { op: BinaryOp::And, left, right, .. } => rest.extend([&**right, &**left]),
            expr => parts.push(expr),
        }
    }
    parts
}

/// Those parts of a predicate that have a value for every row: only these may be evaluated before
/// the filter above is, since an error is the filter's to give.
pub(crate) fn certain_parts(predicate: &Predicate) -> Vec<&Expr> {
    let is_sure = |expr: &&Expr| !expr.is_fallible() || is_certain(expr);
    parts(predicate).into_iter().filter(is_sure).collect()
}

fn is_certain(expr: &Expr) -> bool {
    match expr {
        Expr::Column { .. } | Expr::Literal(_) => true,
        Expr::Not(input) | Expr::IsNull { input, .. } => is_certain(input),
        Expr::Binary { op, left, right, .. } => {
            (is_comparison(*op) || matches!(op, BinaryOp::And | BinaryOp::Or))
                && is_certain(left)
                && is_certain(right)
        }
        Expr::Cast { input, to, .. } => is_certain(input) && always_fits(&input.data_type(), to),
        // What is not known to have a value always is left to the filter.
        _ => false,
    }
}

/// Whether every value of a type is one of the other.
fn always_fits(from: &DataType, to: &DataType) -> bool {
    let bits = |data_type: &DataType| data_type.primitive_width().unwrap_or(0);
    let digits = |data_type: &DataType| match data_type {
        DataType::Decimal128(precision, scale) => {
            Some((i16::from(*precision) - i16::from(*scale), i16::from(*scale)))
        }
        DataType::Int8 | DataType::UInt8 => Some((3, 0)),
        DataType::Int16 | DataType::UInt16 => Some((5, 0)),
        DataType::Int32 | DataType::UInt32 => Some((10, 0)),
        DataType::Int64 => Some((19, 0)),
        DataType::UInt64 => Some((20, 0)),
        _ => None,
    };
    if from == to {
        return true;
    }
    match to {
        DataType::Float64 => from.is_integer() || *from == DataType::Float32,
        DataType::Decimal128(..) => match (digits(from), digits(to)) {
            (Some(from), Some(to)) => from.0 <= to.0 && from.1 <= to.1,
            _ => false,
        },
        _ if from.is_signed_integer() && to.is_signed_integer() => bits(from) <= bits(to),
        _ if from.is_unsigned_integer() && to.is_unsigned_integer() => bits(from) <= bits(to),
        _ if from.is_unsigned_integer() && to.is_signed_integer() => bits(from) < bits(to),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::{
        array::{ArrayRef, Float64Array, Int64Array, StringViewArray, UInt64Array},
        datatypes::{DataType, Field, Schema},
    };

    use super::{Bounds, Condition, certain_parts};
    use crate::expr::parse;

    fn schema() -> Schema {
        Schema::new(vec![
            Field::new("n", DataType::Int64, true),
            Field::new("f", DataType::Float64, true),
            Field::new("s", DataType::Utf8View, true),
        ])
    }

    /// Containers with n from 0 to 9, from 10 to 19, of unknown bounds, and of nulls alone; f from
    /// -0.0 to 1.5; s from `b` to `d`; 10 rows each.
    #[expect(clippy::unnecessary_wraps, reason = "the bounds of a column may be unknown elsewhere")]
    fn bounds(column: usize) -> Option<Bounds> {
        let four = |array: ArrayRef| {
            arrow::compute::take(&array, &UInt64Array::from(vec![0; 4]), None).unwrap()
        };
        let (min, max): (ArrayRef, ArrayRef) = match column {
            0 => (
                Arc::new(Int64Array::from(vec![Some(0), Some(10), None, None])),
                Arc::new(Int64Array::from(vec![Some(9), Some(19), None, None])),
            ),
            1 => (
                four(Arc::new(Float64Array::from(vec![0.0]))),
                four(Arc::new(Float64Array::from(vec![1.5]))),
            ),
            _ => (
                four(Arc::new(StringViewArray::from(vec!["b"]))),
                four(Arc::new(StringViewArray::from(vec!["d"]))),
            ),
        };
        let nulls = UInt64Array::from(vec![Some(0), Some(5), None, Some(10)]);
        Some(Bounds { min, max, nulls, rows: UInt64Array::from(vec![10; 4]) })
    }

    fn kept(text: &str) -> Vec<usize> {
        let predicate = parse::predicate(text, &schema()).unwrap();
        let kept = Condition::of(&predicate).may_hold(4, &mut bounds);
        (0..4).filter(|index| kept[*index]).collect()
    }

    #[test]
    fn bounds_leave_out_what_can_not_match() {
        assert_eq!(kept("n = 5"), [0, 2]);
        assert_eq!(kept("5 = n"), [0, 2]);
        assert_eq!(kept("n > 9"), [1, 2]);
        assert_eq!(kept("n >= 9"), [0, 1, 2]);
        assert_eq!(kept("n < 10"), [0, 2]);
        assert_eq!(kept("not n < 10"), [1, 2]);
        assert_eq!(kept("n >= 30 and n <= 40"), [2]);
        assert_eq!(kept("n = 5 or n = 15"), [0, 1, 2]);
        assert_eq!(kept("not (n = 5 or n > 5)"), [0, 2]);
        assert_eq!(kept("n > 9.5"), [1, 2]);
        assert_eq!(kept("n is null"), [1, 2, 3]);
        assert_eq!(kept("n is not null"), [0, 1, 2]);
        assert_eq!(kept("s = 'a'"), [0; 0]);
        assert_eq!(kept("s = 'c' and n < 3"), [0, 2]);
        assert_eq!(kept("n + 1 = 500"), [0, 1, 2, 3]);
    }

    #[test]
    fn a_nan_may_hide_behind_the_bounds_of_floats_and_zero_has_two_signs() {
        assert_eq!(kept("f > 2"), [0, 1, 2]);
        assert_eq!(kept("f = 2e0"), [0; 0]);
        assert_eq!(kept("f < 0"), [0; 0]);
        assert_eq!(kept("f = -0e0"), [0, 1, 2]);
    }

    #[test]
    fn parts_that_can_fail_are_left_to_the_filter() {
        let predicate = parse::predicate("n > 1 and 1 / n > 2 and s = 'x'", &schema()).unwrap();
        let parts = certain_parts(&predicate).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(parts.len(), 2, "{parts:?}");
    }
}
