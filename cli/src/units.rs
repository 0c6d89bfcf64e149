//! Sizes and durations as people write them: `64MiB`, `30s`.
//!
//! Only what stands on the command line is read here; nothing is rounded and nothing is guessed.

use std::time::Duration;

/// Why a text is no size or no duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UnitError {
    /// It does not begin with a number.
    #[error("expected a whole number and a unit, such as `{example}`")]
    NoNumber {
        /// What would be read.
        example: &'static str,
    },
    /// Its unit is unknown or missing.
    #[error("{}; use one of {expected}", if unit.is_empty() { "its unit is missing".to_owned() } else { format!("unknown unit `{unit}`") })]
    Unit {
        /// What stands there.
        unit: String,
        /// What may stand there.
        expected: &'static str,
    },
    /// It is nothing, or more than a machine can count.
    #[error("out of range: must be more than 0 and fit in 64 bits")]
    Range,
}

/// A size in bytes: `1024B`, `512MB` (powers of 1000), `64MiB` (powers of 1024).
///
/// # Errors
/// Where it is no whole number with a unit, or 0, or too large.
pub(crate) fn size_bytes(text: &str) -> Result<u64, UnitError> {
    const UNITS: &[(&str, u64)] = &[
        ("B", 1),
        ("KB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("TB", 1_000_000_000_000),
        ("KIB", 1 << 10),
        ("MIB", 1 << 20),
        ("GIB", 1 << 30),
        ("TIB", 1 << 40),
    ];
    scaled(text, UNITS, "64MiB", "B, kB, MB, GB, TB, KiB, MiB, GiB, TiB")
}

/// A duration: `500ms`, `30s`, `5m`, `2h`.
///
/// # Errors
/// Where it is no whole number with a unit, or 0, or too large.
pub(crate) fn duration(text: &str) -> Result<Duration, UnitError> {
    const UNITS: &[(&str, u64)] =
        &[("MS", 1), ("S", 1_000), ("M", 60_000), ("H", 3_600_000), ("D", 86_400_000)];
    scaled(text, UNITS, "30s", "ms, s, m, h, d").map(Duration::from_millis)
}

fn scaled(
    text: &str,
    units: &[(&str, u64)],
    example: &'static str,
    expected: &'static str,
) -> Result<u64, UnitError> {
    let text = text.trim();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err(UnitError::NoNumber { example });
    }
    let number: u64 = number.parse().map_err(|_| UnitError::Range)?;
    let unit = unit.trim_start();
    let (_, factor) = units
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(unit))
        .ok_or_else(|| UnitError::Unit { unit: unit.to_owned(), expected })?;
    number.checked_mul(*factor).filter(|&value| value > 0).ok_or(UnitError::Range)
}

/// Bytes for people: three digits and a binary unit, `1.46 GiB`.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub(crate) fn show_bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = UNITS[0];
    for next in &UNITS[1..] {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    let decimals = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.decimals$} {unit}")
}

/// A count for people, in groups of three digits: `1 204 551`.
pub(crate) fn show_count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{UnitError, duration, show_bytes, show_count, size_bytes};
    use std::time::Duration;

    #[test]
    fn sizes_have_decimal_and_binary_units() {
        assert_eq!(size_bytes("64MiB"), Ok(64 * 1024 * 1024));
        assert_eq!(size_bytes("1GiB"), Ok(1_073_741_824));
        assert_eq!(size_bytes("512MB"), Ok(512_000_000));
        assert_eq!(size_bytes("7 kb"), Ok(7_000));
        assert_eq!(size_bytes("10B"), Ok(10));
    }

    #[test]
    fn a_size_without_a_known_unit_is_refused() {
        assert!(matches!(size_bytes("64"), Err(UnitError::Unit { .. })));
        assert!(matches!(size_bytes("64X"), Err(UnitError::Unit { .. })));
        assert!(matches!(size_bytes("MiB"), Err(UnitError::NoNumber { .. })));
        assert!(matches!(size_bytes("-1MiB"), Err(UnitError::NoNumber { .. })));
        assert_eq!(size_bytes("0B"), Err(UnitError::Range));
        assert_eq!(size_bytes("99999999999TiB"), Err(UnitError::Range));
        assert_eq!(size_bytes("99999999999999999999B"), Err(UnitError::Range));
    }

    #[test]
    fn durations_have_units_too() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("5m"), Ok(Duration::from_mins(5)));
        assert_eq!(duration("2h"), Ok(Duration::from_hours(2)));
        assert_eq!(duration("30d"), Ok(Duration::from_hours(30 * 24)));
        assert!(duration("5").is_err());
    }

    #[test]
    fn numbers_are_shown_short() {
        assert_eq!(show_bytes(154), "154 B");
        assert_eq!(show_bytes(1024), "1.00 KiB");
        assert_eq!(show_bytes(1_073_741_824 * 3 / 2), "1.50 GiB");
        assert_eq!(show_bytes(52 << 20), "52.0 MiB");
        assert_eq!(show_bytes(600 << 20), "600 MiB");
        assert_eq!(show_count(7), "7");
        assert_eq!(show_count(1_204_551), "1 204 551");
    }
}
