//! Decimals as text and as floats.

use arrow::datatypes::i256;

use crate::expr::text::append;

/// The powers of ten that a float holds exactly.
const EXACT_POWERS: i8 = 22;

/// The float that is nearest to `value / 10^scale`.
#[expect(clippy::cast_precision_loss, reason = "only what a float holds exactly is converted")]
pub(super) fn to_float(value: i128, scale: i8) -> f64 {
    // Two exact operands give the nearest quotient; all else goes by way of its digits.
    if value.unsigned_abs() <= 1 << f64::MANTISSA_DIGITS && (0..=EXACT_POWERS).contains(&scale) {
        return value as f64 / 10f64.powi(i32::from(scale));
    }
    format!("{value}e{}", -i32::from(scale)).parse().unwrap_or(f64::NAN)
}

/// The digits of `text` with the point before the last `scale` of them; finer digits are rounded,
/// ties away from zero. `None` for what is no number, and for more than `precision` digits.
pub(crate) fn parse_decimal(text: &str, precision: u8, scale: i8) -> Option<i128> {
    let (negative, unsigned) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => (&unsigned[..at], exponent(&unsigned[at + 1..])?),
        None => (unsigned, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = || whole.bytes().chain(fraction.bytes());
    if !digits().all(|byte| byte.is_ascii_digit()) || digits().next().is_none() {
        return None;
    }
    // How many of the digits count: those before the place that `scale` ends at.
    let kept = i64::try_from(whole.len()).ok()? + exponent + i64::from(scale);
    let mut value: i128 = 0;
    let mut taken = 0;
    let mut is_up = false;
    for byte in digits() {
        let digit = i128::from(byte - b'0');
        if taken < kept {
            value = value.checked_mul(10)?.checked_add(digit)?;
        } else {
            is_up = taken == kept && digit >= 5;
            break;
        }
        taken += 1;
    }
    if value != 0 {
        for _ in taken..kept {
            value = value.checked_mul(10)?;
        }
    }
    value += i128::from(is_up && kept >= 0);
    let is_held = value < 10i128.checked_pow(u32::from(precision)).unwrap_or(i128::MAX);
    is_held.then_some(if negative { -value } else { value })
}

fn exponent(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let is_exponent = (1..=4).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    is_exponent.then(|| text.parse().ok())?
}

/// Appends a decimal with all its digits.
pub(super) fn write(value: i128, scale: i8, out: &mut String) {
    let sign = if value < 0 { "-" } else { "" };
    write_digits(sign, &value.unsigned_abs().to_string(), scale, out);
}

/// As [`write`], of 256 bits.
pub(super) fn write_wide(value: i256, scale: i8, out: &mut String) {
    let digits = value.to_string();
    match digits.strip_prefix('-') {
        Some(digits) => write_digits("-", digits, scale, out),
        None => write_digits("", &digits, scale, out),
    }
}

fn write_digits(sign: &str, digits: &str, scale: i8, out: &mut String) {
    out.push_str(sign);
    match usize::try_from(scale) {
        Err(_) => {
            out.push_str(digits);
            (scale..0).for_each(|_| out.push('0'));
        }
        Ok(0) => out.push_str(digits),
        Ok(scale) if digits.len() > scale => {
            let (whole, fraction) = digits.split_at(digits.len() - scale);
            append(out, format_args!("{whole}.{fraction}"));
        }
        Ok(scale) => append(out, format_args!("0.{digits:0>scale$}")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{parse_decimal, to_float, write};

    #[test]
    fn digits_beyond_the_scale_are_rounded_away_from_zero() {
        for (text, expected) in [
            ("1.005", Some(101)),
            ("-1.005", Some(-101)),
            ("1.0049", Some(100)),
            ("12", Some(1200)),
            (".5", Some(50)),
            ("1e2", Some(10_000)),
            ("15e-3", Some(2)),
            ("4e-3", Some(0)),
            ("9e-9", Some(0)),
            ("99999.994", Some(9_999_999)),
            ("99999.995", None),
            ("0e9", Some(0)),
            ("", None),
            (".", None),
            ("-", None),
            ("1e", None),
            ("1 ", None),
            ("0x1", None),
        ] {
            assert_eq!(parse_decimal(text, 7, 2), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(value in -10i128.pow(37)..10i128.pow(37), scale in 0i8..=37) {
            let mut text = String::new();
            write(value, scale, &mut text);
            prop_assert_eq!(parse_decimal(&text, 38, scale), Some(value), "{}", text);
            let float: f64 = text.parse().unwrap();
            prop_assert_eq!(to_float(value, scale).to_bits(), if value == 0 { 0 } else { float.to_bits() });
        }
    }
}
