//! Intervals and durations as text.
//!
//! Read are ISO 8601 (`P1Y2M3DT4H5M6.5S`), words (`1 year 2 months -3 days 4.5 seconds`) and, at
//! the end of words or alone, a time (`04:05:06.5`). Written is ISO 8601.

use arrow::datatypes::TimeUnit;

use super::{DAY_NANOS, nanos_per_unit};
use crate::expr::text::append;

/// Nanoseconds of a second.
const SECOND: i128 = 1_000_000_000;

/// What a word counts: months, or nanoseconds, where a day is kept as days.
#[derive(Clone, Copy)]
enum Unit {
    Months(i32),
    Days(i32),
    Nanos(i128),
}

/// A length of time that is being read.
#[derive(Default)]
struct Sum {
    months: i64,
    days: i64,
    nanos: i128,
}

impl Sum {
    /// Adds `number` units; a fraction of a day goes into the time, a fraction of a month is none.
    fn add(&mut self, number: &str, unit: Unit) -> Option<()> {
        let (negative, digits) = match number.as_bytes().first()? {
            b'-' => (true, &number[1..]),
            b'+' => (false, &number[1..]),
            _ => (false, number),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let is_number = !whole.is_empty()
            && whole.len() <= 18
            && fraction.len() <= 15
            && whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit())
            && !digits.ends_with('.');
        if !is_number {
            return None;
        }
        let whole: i64 = whole.parse().ok()?;
        let whole = if negative { -whole } else { whole };
        // The fraction of a unit of so many nanoseconds.
        let part = |nanos: i128| -> Option<i128> {
            let scale = 10i128.pow(u32::try_from(fraction.len()).ok()?);
            let counted: i128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
            let part = nanos.checked_mul(counted)? / scale;
            Some(if negative { -part } else { part })
        };
        match unit {
            Unit::Months(months) => {
                fraction.bytes().all(|digit| digit == b'0').then_some(())?;
                self.months = self.months.checked_add(whole.checked_mul(i64::from(months))?)?;
            }
            Unit::Days(days) => {
                self.days = self.days.checked_add(whole.checked_mul(i64::from(days))?)?;
                self.nanos = self.nanos.checked_add(part(DAY_NANOS * i128::from(days))?)?;
            }
            Unit::Nanos(nanos) => {
                let whole = i128::from(whole).checked_mul(nanos)?;
                self.nanos = self.nanos.checked_add(whole)?.checked_add(part(nanos)?)?;
            }
        }
        Some(())
    }

    fn parts(&self) -> Option<(i32, i32, i64)> {
        Some((
            i32::try_from(self.months).ok()?,
            i32::try_from(self.days).ok()?,
            i64::try_from(self.nanos).ok()?,
        ))
    }
}

/// Months, days and nanoseconds of an interval.
pub fn parse_interval(text: &str) -> Option<(i32, i32, i64)> {
    let text = text.trim();
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) if rest.starts_with(['P', 'p']) => (true, rest),
        _ => (false, text),
    };
    let sum = match unsigned.strip_prefix(['P', 'p']) {
        Some(iso) => parse_iso(iso)?,
        None => parse_words(text)?,
    };
    let (months, days, nanos) = sum.parts()?;
    if negative {
        return Some((months.checked_neg()?, days.checked_neg()?, nanos.checked_neg()?));
    }
    Some((months, days, nanos))
}

/// Units of a duration; a day has 24 hours, and months have no fixed length.
pub fn parse_duration(text: &str, unit: TimeUnit) -> Option<i64> {
    let (months, days, nanos) = parse_interval(text)?;
    let nanos = i128::from(days) * DAY_NANOS + i128::from(nanos);
    let per_unit = i128::from(nanos_per_unit(unit));
    (months == 0 && nanos % per_unit == 0).then_some(())?;
    i64::try_from(nanos / per_unit).ok()
}

fn parse_iso(text: &str) -> Option<Sum> {
    let mut sum = Sum::default();
    let (date, time) = text.split_once(['T', 't']).map_or((text, None), |(d, t)| (d, Some(t)));
    if (date.is_empty() && time.is_none()) || time == Some("") {
        return None;
    }
    for (part, is_time) in [(date, false), (time.unwrap_or_default(), true)] {
        let mut rest = part;
        while !rest.is_empty() {
            let end = rest.find(|letter: char| letter.is_ascii_alphabetic())?;
            let unit = match (rest.as_bytes()[end].to_ascii_uppercase(), is_time) {
                (b'Y', false) => Unit::Months(12),
                (b'M', false) => Unit::Months(1),
                (b'W', false) => Unit::Days(7),
                (b'D', false) => Unit::Days(1),
                (b'H', true) => Unit::Nanos(3600 * SECOND),
                (b'M', true) => Unit::Nanos(60 * SECOND),
                (b'S', true) => Unit::Nanos(SECOND),
                _ => return None,
            };
            sum.add(&rest[..end], unit)?;
            rest = &rest[end + 1..];
        }
    }
    Some(sum)
}

fn parse_words(text: &str) -> Option<Sum> {
    let mut sum = Sum::default();
    let mut words = text.split_ascii_whitespace().peekable();
    words.peek()?;
    while let Some(word) = words.next() {
        if word.contains(':') {
            parse_clock(word, &mut sum)?;
            continue;
        }
        let begin = word.find(|letter: char| letter.is_ascii_alphabetic());
        let (number, unit) = match begin {
            Some(at) => word.split_at(at),
            None => (word, words.next()?),
        };
        sum.add(number, unit_of(unit)?)?;
    }
    Some(sum)
}

/// `[-]h:mm[:ss[.f]]`, of any number of hours.
fn parse_clock(text: &str, sum: &mut Sum) -> Option<()> {
    let (sign, rest) = text.strip_prefix('-').map_or(("", text), |rest| ("-", rest));
    let mut parts = rest.split(':');
    for (unit, least) in [(3600, 1), (60, 2), (1, 2)] {
        let Some(part) = parts.next() else { break };
        let whole = part.split('.').next().unwrap_or_default();
        let is_part = part.starts_with(|digit: char| digit.is_ascii_digit())
            && whole.len() >= least
            && (unit == 1 || !part.contains('.'))
            && (least == 1 || whole < "60");
        is_part.then_some(())?;
        sum.add(&format!("{sign}{part}"), Unit::Nanos(unit * SECOND))?;
    }
    parts.next().is_none().then_some(())
}

fn unit_of(word: &str) -> Option<Unit> {
    let word = word.to_ascii_lowercase();
    Some(match word.as_str() {
        "millennium" | "millennia" | "millenniums" => Unit::Months(12_000),
        "century" | "centuries" => Unit::Months(1_200),
        "decade" | "decades" => Unit::Months(120),
        "year" | "years" | "yr" | "yrs" | "y" => Unit::Months(12),
        "quarter" | "quarters" => Unit::Months(3),
        "month" | "months" | "mon" | "mons" => Unit::Months(1),
        "week" | "weeks" | "w" => Unit::Days(7),
        "day" | "days" | "d" => Unit::Days(1),
        "hour" | "hours" | "hr" | "hrs" | "h" => Unit::Nanos(3600 * SECOND),
        "minute" | "minutes" | "min" | "mins" | "m" => Unit::Nanos(60 * SECOND),
        "second" | "seconds" | "sec" | "secs" | "s" => Unit::Nanos(SECOND),
        "millisecond" | "milliseconds" | "ms" => Unit::Nanos(1_000_000),
        "microsecond" | "microseconds" | "us" => Unit::Nanos(1_000),
        "nanosecond" | "nanoseconds" | "ns" => Unit::Nanos(1),
        _ => return None,
    })
}

/// Appends an interval as ISO 8601 has it; nothing is `PT0S`.
pub fn write_interval(months: i32, days: i32, nanos: i64, out: &mut String) {
    out.push('P');
    for (count, unit) in [(months / 12, 'Y'), (months % 12, 'M'), (days, 'D')] {
        if count != 0 {
            append(out, format_args!("{count}{unit}"));
        }
    }
    if nanos != 0 || (months == 0 && days == 0) {
        write_clock(i128::from(nanos), out);
    }
}

/// Appends a duration as ISO 8601 has it, in hours, minutes and seconds.
pub fn write_duration(value: i64, unit: TimeUnit, out: &mut String) {
    out.push('P');
    write_clock(i128::from(value) * i128::from(nanos_per_unit(unit)), out);
}

fn write_clock(nanos: i128, out: &mut String) {
    let sign = if nanos < 0 { "-" } else { "" };
    let whole = nanos.unsigned_abs();
    let (seconds, fraction) = (whole / 1_000_000_000, whole % 1_000_000_000);
    out.push('T');
    for (count, unit) in [(seconds / 3600, 'H'), (seconds / 60 % 60, 'M')] {
        if count != 0 {
            append(out, format_args!("{sign}{count}{unit}"));
        }
    }
    let seconds = seconds % 60;
    if fraction != 0 {
        let digits = format!("{fraction:09}");
        append(out, format_args!("{sign}{seconds}.{}S", digits.trim_end_matches('0')));
    } else if seconds != 0 || whole < 60_000_000_000 {
        append(out, format_args!("{sign}{seconds}S"));
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::TimeUnit;
    use proptest::prelude::*;

    use super::{parse_duration, parse_interval, write_duration, write_interval};

    #[test]
    fn an_interval_is_words_a_clock_or_iso() {
        let second = 1_000_000_000;
        for (text, expected) in [
            ("3 months", (3, 0, 0)),
            ("1 year 2 mons -3 days", (14, -3, 0)),
            ("90 day", (0, 90, 0)),
            ("1.5 days", (0, 1, 43_200 * second)),
            ("04:05:06.5", (0, 0, 14_706_500_000_000)),
            ("2 days -01:00", (0, 2, -3600 * second)),
            ("5s", (0, 0, 5 * second)),
            ("P1Y2M3DT4H5M6.5S", (14, 3, 14_706_500_000_000)),
            ("-P1D", (0, -1, 0)),
            ("PT0S", (0, 0, 0)),
            ("2 weeks", (0, 14, 0)),
        ] {
            assert_eq!(parse_interval(text), Some(expected), "{text}");
        }
        for bad in [
            "",
            "3",
            "months",
            "3 moons",
            "P",
            "PT",
            "P1H",
            "1.5 months",
            "1:2",
            "00:60",
            "--1 day",
            "1. day",
        ] {
            assert_eq!(parse_interval(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_duration_has_no_months() {
        assert_eq!(parse_duration("1 day 1 second", TimeUnit::Second), Some(86_401));
        assert_eq!(parse_duration("1 month", TimeUnit::Second), None);
        assert_eq!(parse_duration("1 ms", TimeUnit::Second), None);
        let mut text = String::new();
        write_duration(93_784_500, TimeUnit::Millisecond, &mut text);
        assert_eq!(text, "PT26H3M4.5S");
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(months: i32, days: i32, nanos: i64) {
            let mut text = String::new();
            write_interval(months, days, nanos, &mut text);
            prop_assert_eq!(parse_interval(&text), Some((months, days, nanos)), "{}", text);
            let mut duration = String::new();
            write_duration(nanos, TimeUnit::Nanosecond, &mut duration);
            prop_assert_eq!(parse_duration(&duration, TimeUnit::Nanosecond), Some(nanos), "{}", duration);
        }

        #[test]
        fn no_text_panics(text in any::<String>()) {
            let _ = (parse_interval(&text), parse_duration(&text, TimeUnit::Nanosecond));
        }
    }
}
