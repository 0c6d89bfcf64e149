//! Which types meet, and in which: the one place.
//!
//! **Meeting** ([`unified`]: comparison, `case`, `coalesce`, join keys, unions):
//!
//! | these | meet in |
//! |---|---|
//! | a type and itself, a type and null | it |
//! | two whole numbers | the narrowest type that holds both; uint64 and a signed one in decimal(20,0) |
//! | two decimals, a decimal and a whole number | the decimal that holds all digits of both (a whole number has 3, 5, 10, 19 or 20); beyond 38 digits of 256 bits |
//! | a float and any other number | float64; two float32 in float32 |
//! | date and timestamp | the timestamp (midnight) |
//! | two timestamps, two durations | the finer unit; both with a zone or both without |
//! | duration and interval | duration, of microseconds at least |
//! | two lists, two structs with the same names | their items' and fields' types, met |
//!
//! **Arithmetic** ([`arithmetic`]):
//!
//! | these | give |
//! |---|---|
//! | whole numbers but uint64 | int64 |
//! | uint64 and an unsigned one | uint64 |
//! | uint64 and a signed one | decimal(20,0), by way of the decimal that the operator gives |
//! | decimals, a decimal and a whole number | `+ -`: scale max(s), digits max(p-s) + max(s) + 1; `*`: p1 + p2 and s1 + s2; `%`: max(s); at most 38 digits, an overflow is an error |
//! | float32 and float32 | float32 |
//! | a float and any other number | float64 |
//! | `/` | float64 (float32 of two float32; interval of an interval) |
//! | `div` | whole numbers only |
//! | date ± whole number | date |
//! | date - date | int64, days |
//! | date ± interval | date where the interval is a constant of months and days alone, else timestamp |
//! | timestamp ± interval, timestamp ± duration | timestamp |
//! | timestamp - timestamp, time - time | duration |
//! | interval * number, interval / number, duration * whole number | interval, duration |
//!
//! **Constants** take the type of what they stand beside: a whole number that of a whole number
//! column that holds it, or the smallest decimal; text that of a date, time, timestamp or interval;
//! a number with a point is exact beside decimals and among constants, and float64 elsewhere.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, TimeUnit};

use crate::expr::{
    BinaryOp, Expr, INTERVAL, Literal, TIME, TIMESTAMP, cast,
    literal::exact_float,
    parse::{list_of, type_name},
};

/// The most digits of a decimal that an expression computes with.
pub(crate) const MAX_DIGITS: u8 = 38;

/// The most digits of any decimal.
const MAX_WIDE_DIGITS: u8 = 76;

/// What an operator takes its operands as, and what it gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Typing {
    pub(crate) left: DataType,
    pub(crate) right: DataType,
    pub(crate) result: DataType,
}

impl Typing {
    fn new(left: DataType, right: DataType, result: DataType) -> Self {
        Self { left, right, result }
    }

    /// Operands and result of one type.
    fn all(data_type: DataType) -> Self {
        Self::new(data_type.clone(), data_type.clone(), data_type)
    }
}

/// The type in which two values of these types meet without saying.
pub fn unified(left: &DataType, right: &DataType) -> Option<DataType> {
    match (left, right) {
        (DataType::Null, other) | (other, DataType::Null) => Some(other.clone()),
        (left, right) if left == right => Some(left.clone()),
        (left, right) if left.is_integer() && right.is_integer() => Some(whole(left, right)),
        (left, right) if is_exact(left) && is_exact(right) => decimal_of_both(left, right),
        (left, right) if left.is_numeric() && right.is_numeric() => Some(DataType::Float64),
        (DataType::Date32, DataType::Timestamp(..)) => Some(right.clone()),
        (DataType::Timestamp(..), DataType::Date32) => Some(left.clone()),
        (DataType::Timestamp(a, left_zone), DataType::Timestamp(b, right_zone)) => {
            let zone = match (left_zone, right_zone) {
                (None, None) => None,
                (Some(one), Some(other)) if one == other => Some(Arc::clone(one)),
                (Some(_), Some(_)) => Some("UTC".into()),
                (None, Some(_)) | (Some(_), None) => return None,
            };
            Some(DataType::Timestamp(finer(*a, *b), zone))
        }
        (DataType::Duration(a), DataType::Duration(b)) => Some(DataType::Duration(finer(*a, *b))),
        (DataType::Duration(unit), other) | (other, DataType::Duration(unit))
            if *other == INTERVAL =>
        {
            Some(DataType::Duration(finer(*unit, TimeUnit::Microsecond)))
        }
        (DataType::List(left), DataType::List(right)) => {
            unified(left.data_type(), right.data_type()).map(list_of)
        }
        (DataType::Struct(left), DataType::Struct(right)) if left.len() == right.len() => {
            let fields = left.iter().zip(right).map(|(left, right)| {
                let data_type = unified(left.data_type(), right.data_type())?;
                (left.name() == right.name()).then(|| Field::new(left.name(), data_type, true))
            });
            fields.collect::<Option<Vec<_>>>().map(|fields| DataType::Struct(Fields::from(fields)))
        }
        _ => None,
    }
}

/// The type in which `exprs` meet; constants take the type of what they stand beside.
pub(crate) fn common<'a>(exprs: impl IntoIterator<Item = &'a Expr> + Clone) -> Option<DataType> {
    let mut met = DataType::Null;
    for expr in exprs.clone().into_iter().filter(|expr| !is_constant(expr)) {
        met = unified(&met, &expr.data_type())?;
    }
    let others = met.clone();
    for expr in exprs.into_iter().filter(|expr| is_constant(expr)) {
        met = unified(&met, &beside(expr, &others))?;
    }
    Some(met)
}

fn is_constant(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(_))
}

/// The type in which two operands are compared.
pub(crate) fn comparison(left: &Expr, right: &Expr) -> Option<DataType> {
    let (left_type, right_type) = (company(left), company(right));
    let met = unified(&beside(left, &right_type), &beside(right, &left_type))?;
    Some(if met == DataType::Null { DataType::Boolean } else { met })
}

/// The type that the result of two whole numbers has, where it is not the one it is computed in.
pub(crate) fn narrowed(op: BinaryOp, left: &DataType, right: &DataType) -> Option<DataType> {
    let is_whole = left.is_integer() && right.is_integer() && op != BinaryOp::Divide;
    is_whole.then(|| whole_arithmetic(left, right)).filter(is_decimal)
}

/// The types of `left op right`, where `op` computes.
pub(crate) fn arithmetic(op: BinaryOp, left: &Expr, right: &Expr) -> Option<Typing> {
    let (left_type, right_type) = (company(left), company(right));
    let (left_type, right_type) = if is_constant(left) && is_constant(right) {
        // What [`exact`] does not compute is computed of floats.
        (left.data_type(), right.data_type())
    } else {
        (beside(left, &right_type), beside(right, &left_type))
    };
    temporal(op, (left, &left_type), (right, &right_type))
        .or_else(|| numeric(op, &left_type, &right_type))
}

/// What a constant is as others see it: a number with a point is a decimal.
fn company(expr: &Expr) -> DataType {
    match expr {
        Expr::Literal(Literal::Exact { value, scale }) => decimal_of_literal(*value, *scale),
        expr => expr.data_type(),
    }
}

/// The type of an expression beside a value of type `other`: a constant adapts.
fn beside(expr: &Expr, other: &DataType) -> DataType {
    let Expr::Literal(literal) = expr else { return expr.data_type() };
    match (literal, other) {
        (Literal::Exact { value, scale }, other) if is_decimal(other) => {
            decimal_of_literal(*value, *scale)
        }
        (Literal::Exact { value, scale: 0 }, other) if holds(other, *value) => other.clone(),
        (Literal::Exact { .. }, other) if other.is_floating() => DataType::Float64,
        (Literal::Int64(value), other) if is_decimal(other) => {
            decimal_of_literal(i128::from(*value), 0)
        }
        (Literal::Int64(value), other) if holds(other, i128::from(*value)) => other.clone(),
        (Literal::Utf8(text), DataType::Date32) => {
            let is_finer = is_readable(text, &TIMESTAMP) && !is_readable(text, other);
            if is_finer { TIMESTAMP } else { DataType::Date32 }
        }
        (Literal::Utf8(_), DataType::Timestamp(..) | DataType::Duration(_)) => other.clone(),
        (Literal::Utf8(_), other) if *other == TIME || *other == INTERVAL => other.clone(),
        (literal, _) => literal.data_type(),
    }
}

fn is_readable(text: &str, to: &DataType) -> bool {
    cast::literal(&Literal::Utf8(String::from(text)), to).is_some()
}

/// `expr` as `to`, where that goes without saying.
///
/// # Errors
/// Why a constant is no such value.
pub(crate) fn coerce(expr: Expr, to: &DataType) -> Result<Expr, String> {
    if let Expr::Literal(literal) = &expr {
        return match literal {
            Literal::Null(_) => Ok(Expr::Literal(Literal::Null(to.clone()))),
            Literal::Exact { value, scale } if *to == DataType::Float64 => {
                Ok(Expr::Literal(Literal::Float64(exact_float(*value, *scale))))
            }
            literal if literal.data_type() == *to && !is_open(literal) => Ok(expr),
            literal => match cast::literal(literal, to) {
                Some(cast) => Ok(Expr::Literal(cast)),
                None if cast::has_literal(to) => {
                    Err(format!("{} is no {}", shown(literal), type_name(to)))
                }
                None => Ok(casted(expr, to)),
            },
        };
    }
    if expr.data_type() == *to { Ok(expr) } else { Ok(casted(expr, to)) }
}

fn casted(expr: Expr, to: &DataType) -> Expr {
    Expr::Cast { input: Box::new(settled(expr)), to: to.clone(), or_null: false }
}

fn is_open(literal: &Literal) -> bool {
    matches!(literal, Literal::Exact { .. })
}

fn shown(literal: &Literal) -> String {
    match literal {
        Literal::Utf8(text) => format!("'{text}'"),
        Literal::Exact { value, scale: 0 } => format!("`{value}`"),
        other => format!("`{other}`"),
    }
}

/// A number as it is written, as the smallest decimal that holds it.
pub(crate) fn written(value: i128, scale: u8) -> Expr {
    let precision = digits(value).max(scale).min(MAX_DIGITS);
    Expr::Literal(Literal::Decimal { value, precision, scale: scale.cast_signed() })
}

/// `expr`, where nothing decides on a number as it is written: as a float64, or as a decimal where
/// it is a whole number that int64 does not hold.
pub(crate) fn settled(expr: Expr) -> Expr {
    match expr {
        Expr::Literal(Literal::Exact { value, scale: 0 }) => written(value, 0),
        Expr::Literal(Literal::Exact { value, scale }) => {
            Expr::Literal(Literal::Float64(exact_float(value, scale)))
        }
        expr => expr,
    }
}

/// The digits of a whole number that only a decimal or uint64 would hold, and that met none.
pub(crate) fn beyond_float(expr: &Expr) -> Option<i128> {
    match expr {
        Expr::Literal(Literal::Exact { value, scale: 0 }) => Some(*value),
        _ => None,
    }
}

/// The value of `left op right`, where both are constants of which at least one is written with a
/// point: exact, and still open to what it will stand beside.
pub(crate) fn exact(op: BinaryOp, left: &Expr, right: &Expr) -> Option<Expr> {
    let number = |expr: &Expr| match expr {
        Expr::Literal(Literal::Exact { value, scale }) => Some((*value, u32::from(*scale), true)),
        Expr::Literal(Literal::Int64(value)) => Some((i128::from(*value), 0, false)),
        _ => None,
    };
    let (left, left_scale, left_is_open) = number(left)?;
    let (right, right_scale, right_is_open) = number(right)?;
    if !left_is_open && !right_is_open {
        return None;
    }
    let (value, scale) = if op == BinaryOp::Multiply {
        (left.checked_mul(right)?, left_scale + right_scale)
    } else {
        let scale = left_scale.max(right_scale);
        let left = left.checked_mul(10i128.checked_pow(scale - left_scale)?)?;
        let right = right.checked_mul(10i128.checked_pow(scale - right_scale)?)?;
        match op {
            BinaryOp::Add => (left.checked_add(right)?, scale),
            BinaryOp::Subtract => (left.checked_sub(right)?, scale),
            _ => return None,
        }
    };
    let scale = u8::try_from(scale).ok().filter(|scale| *scale <= MAX_DIGITS)?;
    let is_held = digits(value) <= MAX_DIGITS;
    is_held.then_some(Expr::Literal(Literal::Exact { value, scale }))
}

/// How many digits a number has.
fn digits(value: i128) -> u8 {
    let digits = value.unsigned_abs().checked_ilog10().map_or(1, |log| log + 1);
    u8::try_from(digits).unwrap_or(u8::MAX)
}

/// The smallest decimal type that holds a constant.
fn decimal_of_literal(value: i128, scale: u8) -> DataType {
    let precision = digits(value).max(scale).min(MAX_DIGITS);
    DataType::Decimal128(precision, scale.cast_signed())
}

/// Whether a whole number type holds a value.
fn holds(data_type: &DataType, value: i128) -> bool {
    let (least, most) = match data_type {
        DataType::Int8 => (i8::MIN.into(), i8::MAX.into()),
        DataType::Int16 => (i16::MIN.into(), i16::MAX.into()),
        DataType::Int32 => (i32::MIN.into(), i32::MAX.into()),
        DataType::Int64 => (i64::MIN.into(), i64::MAX.into()),
        DataType::UInt8 => (0, u8::MAX.into()),
        DataType::UInt16 => (0, u16::MAX.into()),
        DataType::UInt32 => (0, u32::MAX.into()),
        DataType::UInt64 => (0, u64::MAX.into()),
        _ => return false,
    };
    (least..=most).contains(&value)
}

pub(crate) fn is_decimal(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Decimal128(..) | DataType::Decimal256(..))
}

fn is_exact(data_type: &DataType) -> bool {
    data_type.is_integer() || is_decimal(data_type)
}

fn finer(left: TimeUnit, right: TimeUnit) -> TimeUnit {
    left.max(right)
}

/// The narrowest type that holds two whole numbers of different types.
fn whole(left: &DataType, right: &DataType) -> DataType {
    let bits = |data_type: &DataType| match data_type {
        DataType::Int8 | DataType::UInt8 => 8,
        DataType::Int16 | DataType::UInt16 => 16,
        DataType::Int32 | DataType::UInt32 => 32,
        _ => 64,
    };
    if left.is_unsigned_integer() == right.is_unsigned_integer() {
        return if bits(left) >= bits(right) { left.clone() } else { right.clone() };
    }
    let (signed, unsigned) = if left.is_unsigned_integer() { (right, left) } else { (left, right) };
    match bits(signed).max(2 * bits(unsigned)) {
        16 => DataType::Int16,
        32 => DataType::Int32,
        64 => DataType::Int64,
        _ => DataType::Decimal128(20, 0),
    }
}

/// Digits and scale of a whole number or decimal.
fn digits_of(data_type: &DataType) -> Option<(u8, i8)> {
    Some(match data_type {
        DataType::Int8 | DataType::UInt8 => (3, 0),
        DataType::Int16 | DataType::UInt16 => (5, 0),
        DataType::Int32 | DataType::UInt32 => (10, 0),
        DataType::Int64 => (19, 0),
        DataType::UInt64 => (20, 0),
        DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => {
            (*precision, *scale)
        }
        _ => return None,
    })
}

/// The decimal that holds all digits of both.
fn decimal_of_both(left: &DataType, right: &DataType) -> Option<DataType> {
    let ((p1, s1), (p2, s2)) = (digits_of(left)?, digits_of(right)?);
    let scale = s1.max(s2);
    let whole = (i16::from(p1) - i16::from(s1)).max(i16::from(p2) - i16::from(s2));
    let precision = u8::try_from(whole + i16::from(scale)).ok()?;
    let is_wide = [left, right].iter().any(|side| matches!(side, DataType::Decimal256(..)));
    match precision {
        0..=MAX_DIGITS if !is_wide => Some(DataType::Decimal128(precision.max(1), scale)),
        0..=MAX_WIDE_DIGITS => Some(DataType::Decimal256(precision.max(1), scale)),
        _ => None,
    }
}

/// The types of arithmetic between numbers.
fn numeric(op: BinaryOp, left: &DataType, right: &DataType) -> Option<Typing> {
    let (left, right) = match (left, right) {
        (DataType::Null, DataType::Null) => (&DataType::Int64, &DataType::Int64),
        (DataType::Null, other) | (other, DataType::Null) => (other, other),
        both => both,
    };
    if !left.is_numeric() || !right.is_numeric() {
        return None;
    }
    let whole = (left.is_integer() && right.is_integer()).then(|| whole_arithmetic(left, right));
    match op {
        BinaryOp::Divide => Some(float_arithmetic(left, right)),
        BinaryOp::IntegerDivide => whole.filter(DataType::is_integer).map(Typing::all),
        _ => match whole {
            Some(data_type) if is_decimal(&data_type) => {
                decimal_arithmetic(op, &data_type, &data_type)
            }
            Some(data_type) => Some(Typing::all(data_type)),
            None => number_arithmetic(op, left, right),
        },
    }
}

/// The types of arithmetic between numbers that are not both whole.
fn number_arithmetic(op: BinaryOp, left: &DataType, right: &DataType) -> Option<Typing> {
    if is_exact(left) && is_exact(right) {
        decimal_arithmetic(op, left, right)
    } else {
        Some(float_arithmetic(left, right))
    }
}

fn float_arithmetic(left: &DataType, right: &DataType) -> Typing {
    let are_narrow = *left == DataType::Float32 && *right == DataType::Float32;
    Typing::all(if are_narrow { DataType::Float32 } else { DataType::Float64 })
}

/// The type in which two whole numbers are computed with.
fn whole_arithmetic(left: &DataType, right: &DataType) -> DataType {
    let is_wide = |data_type: &DataType| *data_type == DataType::UInt64;
    match (is_wide(left), is_wide(right)) {
        (false, false) => DataType::Int64,
        (true, _) if right.is_unsigned_integer() => DataType::UInt64,
        (_, true) if left.is_unsigned_integer() => DataType::UInt64,
        _ => DataType::Decimal128(20, 0),
    }
}

fn decimal_arithmetic(op: BinaryOp, left: &DataType, right: &DataType) -> Option<Typing> {
    let ((p1, s1), (p2, s2)) = (digits_of(left)?, digits_of(right)?);
    let is_wide = [left, right].iter().any(|side| matches!(side, DataType::Decimal256(..)));
    let most = if is_wide { MAX_WIDE_DIGITS } else { MAX_DIGITS };
    let decimal = |precision: i16, scale: i16| {
        let scale = u8::try_from(scale).ok().filter(|scale| *scale <= most)?.cast_signed();
        let precision = u8::try_from(precision.clamp(1, i16::from(most))).ok()?;
        Some(if is_wide {
            DataType::Decimal256(precision, scale)
        } else {
            DataType::Decimal128(precision, scale)
        })
    };
    let (p1, s1, p2, s2) = (i16::from(p1), i16::from(s1), i16::from(p2), i16::from(s2));
    let scale = s1.max(s2);
    let result = match op {
        BinaryOp::Multiply => decimal(p1 + p2, s1 + s2)?,
        BinaryOp::Modulo => decimal((p1 - s1).min(p2 - s2) + scale, scale)?,
        _ => decimal((p1 - s1).max(p2 - s2) + scale + 1, scale)?,
    };
    Some(Typing::new(decimal(p1, s1)?, decimal(p2, s2)?, result))
}

/// The types of arithmetic with dates and times.
fn temporal(
    op: BinaryOp,
    (left, left_type): (&Expr, &DataType),
    (right, right_type): (&Expr, &DataType),
) -> Option<Typing> {
    use DataType::{Date32, Duration, Float64, Int32, Int64, Timestamp};

    let is_interval = |data_type: &DataType| *data_type == INTERVAL;
    let unit = |data_type: &DataType| match data_type {
        Timestamp(of, _) | Duration(of) => *of,
        _ => TimeUnit::Microsecond,
    };
    let stamp = |of: &DataType, with: TimeUnit| match of {
        Timestamp(own, zone) => Timestamp(finer(*own, with), zone.clone()),
        _ => Timestamp(finer(TimeUnit::Microsecond, with), None),
    };
    // What comes first in a sum may come second.
    let swapped = |typing: Typing| Typing::new(typing.right, typing.left, typing.result);
    match (op, left_type, right_type) {
        (BinaryOp::Add | BinaryOp::Subtract, Date32, other) if other.is_integer() => {
            // Days of 32 bits are what other engines' dates take too.
            Some(Typing::new(Date32, Int32, Date32))
        }
        (BinaryOp::Subtract, Date32, Date32) => Some(Typing::new(Date32, Date32, Int64)),
        (BinaryOp::Add | BinaryOp::Subtract, Date32, other) if is_interval(other) => {
            let is_whole = matches!(right, Expr::Literal(Literal::Interval { nanos: 0, .. }));
            let date = if is_whole { Date32 } else { TIMESTAMP };
            Some(Typing::new(date.clone(), INTERVAL, date))
        }
        (BinaryOp::Add | BinaryOp::Subtract, Timestamp(..), other) if is_interval(other) => {
            Some(Typing::new(left_type.clone(), INTERVAL, left_type.clone()))
        }
        (BinaryOp::Add | BinaryOp::Subtract, Date32 | Timestamp(..), Duration(with)) => {
            let stamp = stamp(left_type, *with);
            Some(Typing::new(stamp.clone(), Duration(unit(&stamp)), stamp))
        }
        (BinaryOp::Subtract, Date32 | Timestamp(..), Date32 | Timestamp(..)) => {
            let met = unified(left_type, right_type)?;
            let duration = Duration(unit(&met));
            Some(Typing::new(met.clone(), met, duration))
        }
        (BinaryOp::Subtract, a, b) if *a == TIME && *b == TIME => {
            Some(Typing::new(TIME, TIME, Duration(TimeUnit::Microsecond)))
        }
        (BinaryOp::Add, a, Date32 | Timestamp(..))
            if a.is_integer() || is_interval(a) || matches!(a, Duration(_)) =>
        {
            temporal(op, (right, right_type), (left, left_type)).map(swapped)
        }
        (BinaryOp::Add | BinaryOp::Subtract, Duration(a), Duration(b)) => {
            Some(Typing::all(Duration(finer(*a, *b))))
        }
        (BinaryOp::Add | BinaryOp::Subtract, a, b)
            if (is_interval(a) || matches!(a, Duration(_)))
                && (is_interval(b) || matches!(b, Duration(_))) =>
        {
            Some(Typing::all(INTERVAL))
        }
        (BinaryOp::Multiply, Duration(_), other) if other.is_integer() => {
            Some(Typing::new(left_type.clone(), Int64, left_type.clone()))
        }
        (BinaryOp::Multiply, a, b) if is_interval(a) && b.is_numeric() => {
            let factor = if b.is_integer() { Int64 } else { Float64 };
            Some(Typing::new(INTERVAL, factor, INTERVAL))
        }
        (BinaryOp::Multiply, a, b)
            if a.is_numeric() && (is_interval(b) || matches!(b, Duration(_))) =>
        {
            temporal(op, (right, right_type), (left, left_type)).map(swapped)
        }
        (BinaryOp::Divide, a, b) if is_interval(a) && b.is_numeric() => {
            Some(Typing::new(INTERVAL, Float64, INTERVAL))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::DataType;
    use proptest::prelude::*;

    use super::unified;
    use crate::expr::parse::{data_type, tests_of_types, type_name};

    #[test]
    fn types_meet_where_the_table_says() {
        for (left, right, expected) in [
            ("int8", "int32", "int32"),
            ("uint8", "int8", "int16"),
            ("uint32", "int8", "int64"),
            ("uint64", "int8", "decimal(20,0)"),
            ("uint64", "uint8", "uint64"),
            ("int64", "decimal(10,2)", "decimal(21,2)"),
            ("decimal(38,0)", "decimal(38,10)", "decimal(48,10)"),
            ("decimal(10,2)", "float32", "float64"),
            ("float32", "int8", "float64"),
            ("float32", "float32", "float32"),
            ("date", "timestamp(s)", "timestamp(s)"),
            ("timestamp(s)", "timestamp(ns)", "timestamp(ns)"),
            ("timestamp_tz(s, 'Europe/Berlin')", "timestamp_tz", "timestamp_tz"),
            ("duration(s)", "interval", "duration"),
            ("list<int8>", "list<int64>", "list<int64>"),
            (
                "struct<a int8, b date>",
                "struct<a float32, b timestamp>",
                "struct<a float64, b timestamp>",
            ),
        ] {
            let met = unified(&data_type(left).unwrap(), &data_type(right).unwrap());
            assert_eq!(met.as_ref().map(type_name).as_deref(), Some(expected), "{left}, {right}");
        }
        for (left, right) in [
            ("string", "int64"),
            ("bool", "int8"),
            ("timestamp", "timestamp_tz"),
            ("date", "int64"),
            ("string", "binary"),
            ("struct<a int8>", "struct<b int8>"),
            ("list<string>", "string"),
            ("decimal(76,0)", "decimal(76,76)"),
        ] {
            assert_eq!(unified(&data_type(left).unwrap(), &data_type(right).unwrap()), None);
        }
    }

    proptest! {
        #[test]
        fn meeting_has_no_order_and_holds_both(a in tests_of_types(), b in tests_of_types()) {
            let met = unified(&a, &b);
            prop_assert_eq!(&met, &unified(&b, &a));
            prop_assert_eq!(unified(&a, &a), Some(a.clone()));
            prop_assert_eq!(unified(&a, &DataType::Null), Some(a.clone()));
            if let Some(met) = met {
                prop_assert_eq!(unified(&met, &a), Some(met));
            }
        }
    }
}
