//! Constants: numbers, texts, bytes, typed strings, intervals.

use arrow::datatypes::DataType;
use sqlparser::ast::{self, DateTimeField, Expr as Sql, UnaryOperator, Value as SqlValue};

use super::{Result, binder::Binder, type_name};
use crate::expr::{BinaryOp, Expr, INTERVAL, Literal, datetime};

impl Binder<'_> {
    pub(super) fn literal(&self, value: &SqlValue, at: &Sql, is_negative: bool) -> Result<Expr> {
        let literal = match value {
            SqlValue::Null => Literal::Null(DataType::Null),
            SqlValue::Boolean(value) => Literal::Bool(*value),
            SqlValue::SingleQuotedString(text) => Literal::Utf8(text.clone()),
            SqlValue::HexStringLiteral(digits) => {
                let bytes = bytes(digits).ok_or_else(|| {
                    self.type_error(at, format!("x'{digits}' is not made of pairs of hex digits"))
                })?;
                Literal::Binary(bytes)
            }
            SqlValue::Number(digits, false) => {
                let digits = if is_negative { format!("-{digits}") } else { digits.clone() };
                number(&digits).ok_or_else(|| {
                    let is_whole = !digits.contains(['.', 'e', 'E']);
                    let to = if is_whole { "int64" } else { "float64" };
                    self.type_error(at, format!("`{digits}` is no {to}"))
                })?
            }
            other => return Err(self.unsupported(at, &format!("the literal `{other}`"))),
        };
        Ok(Expr::Literal(literal))
    }

    /// `date '1995-01-01'`.
    pub(super) fn typed_string(&self, typed: &ast::TypedString, at: &Sql) -> Result<Expr> {
        let to = self.data_type(&typed.data_type, at)?;
        let SqlValue::SingleQuotedString(text) = &typed.value.value else {
            return Err(self.unsupported(at, &format!("`{typed}`")));
        };
        let cast = crate::expr::cast::literal(&Literal::Utf8(text.clone()), &to);
        cast.map(Expr::Literal)
            .ok_or_else(|| self.type_error(at, format!("'{text}' is no {}", type_name(&to))))
    }

    /// `interval '3' month`, `interval '3 months'`, `interval (n) day`.
    pub(super) fn interval(
        &mut self,
        interval: &ast::Interval,
        at: &Sql,
        depth: usize,
    ) -> Result<Expr> {
        if interval.last_field.is_some() || interval.fractional_seconds_precision.is_some() {
            return Err(self.unsupported(at, &format!("`{interval}`")));
        }
        let unit = interval.leading_field.as_ref().map(unit_name);
        let written = match interval.value.as_ref() {
            Sql::Value(value) => match &value.value {
                SqlValue::SingleQuotedString(text) => Some(text.clone()),
                SqlValue::Number(digits, false) => Some(digits.clone()),
                _ => None,
            },
            Sql::UnaryOp { op: UnaryOperator::Minus, expr } => match expr.as_ref() {
                Sql::Value(value) => match &value.value {
                    SqlValue::Number(digits, false) => Some(format!("-{digits}")),
                    _ => None,
                },
                _ => None,
            },
            _ => None,
        };
        // `day (3)`: the most digits that there may be.
        if let (Some(most), Some(written)) = (interval.leading_precision, &written) {
            let digits = written.chars().filter(char::is_ascii_digit).count() as u64;
            if digits > most {
                let message = format!("`{interval}` has {digits} digits, and {most} are allowed");
                return Err(self.type_error(at, message));
            }
        }
        let read = |length: &str| {
            let parsed = datetime::parse_interval(length);
            parsed.map(|(months, days, nanos)| {
                Expr::Literal(Literal::Interval { months, days, nanos })
            })
        };
        if let Some(text) = written {
            let whole = unit.as_ref().map_or_else(|| text.clone(), |unit| format!("{text} {unit}"));
            return read(&whole).ok_or_else(|| {
                let message = format!(
                    "'{whole}' is no interval; say it as in interval '3 months', interval '90' day"
                );
                self.type_error(at, message)
            });
        }
        let factor = self.bind(&interval.value, depth)?;
        let one = unit.and_then(|unit| read(&format!("1 {unit}")));
        let Some(one) = one.filter(|_| factor.data_type().is_integer()) else {
            let of = type_name(&factor.data_type());
            let message = format!("an interval is made of a whole number and a unit, not of {of}");
            return Err(self.type_error(at, message));
        };
        debug_assert_eq!(one.data_type(), INTERVAL);
        self.binary(BinaryOp::Multiply, (one, at), (factor, interval.value.as_ref()))
    }
}

/// A unit as [`datetime::parse_interval`] knows it.
fn unit_name(field: &DateTimeField) -> String {
    field.to_string().to_lowercase()
}

/// A number as it is written: whole ones that int64 holds, exact ones, floats.
fn number(digits: &str) -> Option<Literal> {
    let float = || {
        let float: Option<f64> = digits.parse().ok();
        float.filter(|float| float.is_finite()).map(Literal::Float64)
    };
    if digits.contains(['e', 'E']) {
        return float();
    }
    let Some((whole, fraction)) = digits.split_once('.') else {
        let whole = digits.parse().ok().map(Literal::Int64);
        let exact = || digits.parse().ok().filter(|value| is_held(*value));
        return whole.or_else(|| exact().map(|value| Literal::Exact { value, scale: 0 }));
    };
    // `1.` has a point too: it is no whole number.
    let fraction = if fraction.is_empty() { "0" } else { fraction };
    let value: Option<i128> = format!("{whole}{fraction}").parse().ok();
    let scale = u8::try_from(fraction.len()).ok().filter(|scale| *scale <= 38);
    match value.filter(|value| is_held(*value)).zip(scale) {
        // A decimal has no negative zero.
        Some((0, _)) if digits.starts_with('-') => float(),
        Some((value, scale)) => Some(Literal::Exact { value, scale }),
        None => float(),
    }
}

/// Whether a decimal of 38 digits holds it.
fn is_held(value: i128) -> bool {
    value.unsigned_abs() < 10u128.pow(38)
}

/// The bytes of pairs of hex digits.
fn bytes(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2);
    let byte = |pair: &[u8]| {
        let text = std::str::from_utf8(pair).ok().filter(|_| pair.len() == 2)?;
        let is_hex = pair.iter().all(u8::is_ascii_hexdigit);
        u8::from_str_radix(text, 16).ok().filter(|_| is_hex)
    };
    pairs.map(byte).collect()
}
