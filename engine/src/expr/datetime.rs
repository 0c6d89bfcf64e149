//! Dates and timestamps as text, ISO 8601, in both directions and strictly.

use chrono::{DateTime, Datelike, NaiveDate, Timelike};

use crate::expr::text::append;

/// Microseconds of a day.
pub const DAY_MICROS: i64 = 86_400_000_000;

/// Days since 1970-01-01 of a date `YYYY-MM-DD`; `None` for anything else.
pub fn parse_date(text: &str) -> Option<i32> {
    let bytes = text.as_bytes();
    if bytes.len() != 10 || bytes[4] != b'-' || bytes[7] != b'-' {
        return None;
    }
    let year = i32::try_from(digits(&bytes[..4])?).ok()?;
    let date = NaiveDate::from_ymd_opt(year, digits(&bytes[5..7])?, digits(&bytes[8..])?)?;
    i32::try_from(date.signed_duration_since(NaiveDate::default()).num_days()).ok()
}

/// Microseconds since 1970-01-01 of a timestamp without zone, `YYYY-MM-DD[T| ]hh:mm[:ss[.f]]` or
/// only the date; `None` for anything else, and for a fraction finer than a microsecond.
pub fn parse_timestamp(text: &str) -> Option<i64> {
    let days = i64::from(parse_date(text.get(..10)?)?);
    let time = match text.as_bytes().get(10) {
        None => 0,
        Some(b'T' | b' ') => parse_time(&text.as_bytes()[11..])?,
        Some(_) => return None,
    };
    days.checked_mul(DAY_MICROS)?.checked_add(time)
}

/// Microseconds of `hh:mm[:ss[.f]]`.
fn parse_time(bytes: &[u8]) -> Option<i64> {
    let hours = digits(bytes.get(..2)?)?;
    let minutes = digits(bytes.get(3..5)?)?;
    let (seconds, micros) = match bytes.get(5) {
        None => (0, 0),
        Some(b':') => match bytes.get(8) {
            None => (digits(bytes.get(6..8)?)?, 0),
            Some(b'.') => (digits(bytes.get(6..8)?)?, fraction(&bytes[9..])?),
            Some(_) => return None,
        },
        Some(_) => return None,
    };
    let is_time = bytes[2] == b':' && hours < 24 && minutes < 60 && seconds < 60;
    let seconds = (i64::from(hours) * 60 + i64::from(minutes)) * 60 + i64::from(seconds);
    is_time.then(|| seconds * 1_000_000 + i64::from(micros))
}

/// The microseconds that the digits behind a decimal point say.
fn fraction(bytes: &[u8]) -> Option<u32> {
    let (micros, finer) = bytes.split_at(bytes.len().min(6));
    let scale = 10u32.pow(u32::try_from(6 - micros.len()).ok()?);
    finer.iter().all(|digit| *digit == b'0').then_some(())?;
    Some(digits(micros)? * scale)
}

/// The number that at most nine ASCII digits say.
fn digits(bytes: &[u8]) -> Option<u32> {
    if bytes.is_empty() || bytes.len() > 9 {
        return None;
    }
    bytes.iter().try_fold(0, |number, byte| {
        byte.is_ascii_digit().then(|| number * 10 + u32::from(byte - b'0'))
    })
}

/// Appends a date as `YYYY-MM-DD`.
pub fn write_date(days: i32, out: &mut String) {
    match DateTime::from_timestamp(i64::from(days) * 86_400, 0) {
        Some(date) => write_ymd(&date, out),
        None => append(out, format_args!("{days} days")),
    }
}

/// Appends a timestamp as `YYYY-MM-DDThh:mm:ss`, with a fraction of six digits where it has one.
pub fn write_timestamp(micros: i64, out: &mut String) {
    let Some(time) = DateTime::from_timestamp_micros(micros) else {
        append(out, format_args!("{micros} us"));
        return;
    };
    write_ymd(&time, out);
    append(out, format_args!("T{:02}:{:02}:{:02}", time.hour(), time.minute(), time.second()));
    let fraction = micros.rem_euclid(1_000_000);
    if fraction != 0 {
        append(out, format_args!(".{fraction:06}"));
    }
}

/// Years beyond four digits have a sign, as ISO 8601 has it.
fn write_ymd(date: &impl Datelike, out: &mut String) {
    let (year, month, day) = (date.year(), date.month(), date.day());
    if (0..10_000).contains(&year) {
        append(out, format_args!("{year:04}-{month:02}-{day:02}"));
    } else {
        append(out, format_args!("{year:+05}-{month:02}-{day:02}"));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{parse_date, parse_timestamp, write_date, write_timestamp};

    #[test]
    fn a_date_is_ten_characters_and_exists() {
        assert_eq!(parse_date("1970-01-01"), Some(0));
        assert_eq!(parse_date("2024-02-29"), Some(19_782));
        assert_eq!(parse_date("1969-12-31"), Some(-1));
        for bad in
            ["2023-02-29", "2024-1-01", "24-01-01", "2024-01-01 ", "2024/01/01", "", "+024-01-01"]
        {
            assert_eq!(parse_date(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_timestamp_has_at_most_microseconds_and_no_zone() {
        assert_eq!(parse_timestamp("1970-01-01T00:00:01.5"), Some(1_500_000));
        assert_eq!(parse_timestamp("1970-01-01 00:01"), Some(60_000_000));
        assert_eq!(parse_timestamp("1970-01-02"), Some(86_400_000_000));
        assert_eq!(parse_timestamp("1970-01-01T00:00:00.123456000"), Some(123_456));
        for bad in [
            "1970-01-01T24:00:00",
            "1970-01-01T00:00:60",
            "1970-01-01T00:00:00Z",
            "1970-01-01T",
            "1970-01-01T00:00:00.1234567",
            "1970-01-01T00:00:00.",
            "1970-01-01T1:00:00",
            "é970-01-01",
        ] {
            assert_eq!(parse_timestamp(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(days in -719_162i32..2_932_897, micros in 0i64..86_400_000_000) {
            let (mut date, mut timestamp) = (String::new(), String::new());
            write_date(days, &mut date);
            prop_assert_eq!(parse_date(&date), Some(days));
            let value = i64::from(days) * 86_400_000_000 + micros;
            write_timestamp(value, &mut timestamp);
            prop_assert_eq!(parse_timestamp(&timestamp), Some(value));
        }

        #[test]
        fn no_text_panics(text in any::<String>()) {
            let _ = (parse_date(&text), parse_timestamp(&text));
        }
    }
}
