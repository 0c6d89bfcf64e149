//! Decimals and their digits, exact both ways.

use arrow::datatypes::i256;

/// A whole number that decimals are stored as.
pub(crate) trait Unscaled: Copy {
    /// Nothing.
    const ZERO: Self;
    /// `self * 10 + digit`, if it fits.
    fn with_digit(self, digit: u8) -> Option<Self>;
    /// With the other sign.
    fn negated(self) -> Option<Self>;
}

impl Unscaled for i128 {
    const ZERO: Self = 0;

    fn with_digit(self, digit: u8) -> Option<Self> {
        self.checked_mul(10)?.checked_add(Self::from(digit))
    }

    fn negated(self) -> Option<Self> {
        self.checked_neg()
    }
}

impl Unscaled for i256 {
    const ZERO: Self = i256::ZERO;

    fn with_digit(self, digit: u8) -> Option<Self> {
        self.checked_mul(i256::from_i128(10))?.checked_add(i256::from_i128(digit.into()))
    }

    fn negated(self) -> Option<Self> {
        self.checked_neg()
    }
}

/// The decimal that `text` says, as a whole number of units of its last place: digits with an
/// optional sign, point and exponent. Nothing is rounded: digits beyond the scale must be zeros.
pub(crate) fn parse_decimal<N: Unscaled>(text: &[u8], precision: u8, scale: i8) -> Option<N> {
    let (is_negative, rest) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] | rest => (false, rest),
    };
    let exponent_at = rest.iter().position(|byte| matches!(byte, b'e' | b'E'));
    let (number, exponent) = match exponent_at {
        Some(at) => (&rest[..at], parse_exponent(&rest[at + 1..])?),
        None => (rest, 0),
    };
    let point = memchr::memchr(b'.', number).unwrap_or(number.len());
    let (whole, fraction) = (&number[..point], number.get(point + 1..).unwrap_or_default());
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    // The power of ten that a digit stands for; those below the scale's are not kept.
    let mut power = exponent + i32::try_from(whole.len()).ok()?;
    let least = -i32::from(scale);
    let (mut value, mut digits) = (N::ZERO, 0_u32);
    for byte in whole.iter().chain(fraction) {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        power -= 1;
        if power < least {
            if digit != 0 {
                return None;
            }
        } else if digits > 0 || digit != 0 {
            digits += 1;
            if digits > u32::from(precision) {
                return None;
            }
            value = value.with_digit(digit)?;
        }
    }
    while digits > 0 && power > least {
        power -= 1;
        digits += 1;
        if digits > u32::from(precision) {
            return None;
        }
        value = value.with_digit(0)?;
    }
    if is_negative { value.negated() } else { Some(value) }
}

/// An exponent of at most four digits; more would be no decimal anyway.
fn parse_exponent(text: &[u8]) -> Option<i32> {
    let (is_negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] | digits => (false, digits),
    };
    if digits.is_empty() || digits.len() > 4 {
        return None;
    }
    let value = digits.iter().try_fold(0, |value, byte| {
        byte.is_ascii_digit().then(|| value * 10 + i32::from(byte - b'0'))
    })?;
    Some(if is_negative { -value } else { value })
}

/// Appends a decimal whose unscaled `digits` have a sign at most: all places of its scale, and at
/// least one before the point.
pub(crate) fn write_decimal(digits: &str, scale: i8, out: &mut Vec<u8>) {
    let digits = match digits.strip_prefix('-') {
        Some(digits) => {
            out.push(b'-');
            digits
        }
        None => digits,
    };
    let Ok(scale) = usize::try_from(scale) else {
        out.extend_from_slice(digits.as_bytes());
        if digits != "0" {
            out.resize(out.len() + usize::from(scale.unsigned_abs()), b'0');
        }
        return;
    };
    if scale == 0 {
        out.extend_from_slice(digits.as_bytes());
    } else if digits.len() > scale {
        let (whole, fraction) = digits.split_at(digits.len() - scale);
        out.extend_from_slice(whole.as_bytes());
        out.push(b'.');
        out.extend_from_slice(fraction.as_bytes());
    } else {
        out.extend_from_slice(b"0.");
        out.resize(out.len() + scale - digits.len(), b'0');
        out.extend_from_slice(digits.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::i256;
    use proptest::prelude::*;

    use super::{parse_decimal, write_decimal};

    fn parsed(text: &str, precision: u8, scale: i8) -> Option<i128> {
        parse_decimal(text.as_bytes(), precision, scale)
    }

    #[test]
    fn a_decimal_is_exact_or_none() {
        assert_eq!(parsed("12.34", 9, 2), Some(1234));
        assert_eq!(parsed("-0.5", 9, 2), Some(-50));
        assert_eq!(parsed("+7", 9, 2), Some(700));
        assert_eq!(parsed(".5", 9, 2), Some(50));
        assert_eq!(parsed("1.5000", 9, 2), Some(150));
        assert_eq!(parsed("1.5e1", 9, 2), Some(1500));
        assert_eq!(parsed("1.5E-1", 9, 2), Some(15));
        assert_eq!(parsed("15e-1", 9, 2), Some(150));
        assert_eq!(parsed("1e3", 9, 0), Some(1000));
        assert_eq!(parsed("1500", 9, -2), Some(15));
        assert_eq!(parsed("000000000012", 2, 0), Some(12));
        assert_eq!(parsed("0.00", 2, 2), Some(0));
        for bad in ["1.234", "1.5e-2", "", "-", ".", "1,5", "1e", "1e99999", "12345678.00", " 1"] {
            assert_eq!(parsed(bad, 9, 2), None, "{bad:?}");
        }
        let wide = "9".repeat(76);
        assert!(parse_decimal::<i256>(wide.as_bytes(), 76, 0).is_some());
        assert!(parse_decimal::<i256>(format!("{wide}0").as_bytes(), 76, 0).is_none());
    }

    fn written(digits: &str, scale: i8) -> String {
        let mut out = Vec::new();
        write_decimal(digits, scale, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn all_places_are_written() {
        assert_eq!(written("-5", 3), "-0.005");
        assert_eq!(written("1500", 2), "15.00");
        assert_eq!(written("15", 0), "15");
        assert_eq!(written("15", -2), "1500");
        assert_eq!(written("0", -2), "0");
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(value in -(10_i128.pow(37))..10_i128.pow(37), scale in -3i8..38) {
            let text = written(&value.to_string(), scale);
            prop_assert_eq!(parsed(&text, 38, scale), Some(value), "{}", text);
        }
    }
}
