//! Dates, times and lengths of time as text, ISO 8601, in both directions and strictly.

use arrow::{array::timezone::Tz, datatypes::TimeUnit};
use chrono::{
    DateTime, Datelike, FixedOffset, NaiveDate, NaiveDateTime, Offset, TimeDelta, TimeZone,
    Timelike, Utc,
};

use crate::expr::text::append;

mod interval;

pub use interval::{parse_duration, parse_interval, write_duration, write_interval};

/// Microseconds of a day.
pub const DAY_MICROS: i64 = 86_400_000_000;

/// Nanoseconds of a day.
pub const DAY_NANOS: i128 = 86_400_000_000_000;

/// How many of a unit there are in a second.
pub fn units_per_second(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    }
}

/// Nanoseconds of a unit.
pub fn nanos_per_unit(unit: TimeUnit) -> i64 {
    1_000_000_000 / units_per_second(unit)
}

/// Days since 1970-01-01 of a date `YYYY-MM-DD`; years beyond four digits have a sign, as ISO 8601
/// has it. `None` for anything else.
pub fn parse_date(text: &str) -> Option<i32> {
    let bytes = text.as_bytes();
    let (sign, bytes) = match bytes {
        [b'+', rest @ ..] => (1, rest),
        [b'-', rest @ ..] => (-1, rest),
        rest => (0, rest),
    };
    let year_digits = bytes.len().checked_sub(6)?;
    let is_shaped = if sign == 0 { year_digits == 4 } else { (4..=6).contains(&year_digits) };
    if !is_shaped || bytes[year_digits] != b'-' || bytes[year_digits + 3] != b'-' {
        return None;
    }
    let year = i32::try_from(digits(&bytes[..year_digits])?).ok()?;
    let year = if sign < 0 { -year } else { year };
    let (month, day) = bytes[year_digits + 1..].split_at(2);
    let date = NaiveDate::from_ymd_opt(year, digits(month)?, digits(&day[1..])?)?;
    i32::try_from(date.signed_duration_since(NaiveDate::default()).num_days()).ok()
}

/// Microseconds since 1970-01-01 of a timestamp without zone, `YYYY-MM-DD[T| ]hh:mm[:ss[.f]]` or
/// only the date; `None` for anything else, and for a fraction finer than a microsecond.
pub fn parse_timestamp(text: &str) -> Option<i64> {
    parse_timestamp_in(text, TimeUnit::Microsecond)
}

/// As [`parse_timestamp`], in units of `unit`.
pub fn parse_timestamp_in(text: &str, unit: TimeUnit) -> Option<i64> {
    whole_units(parse_nanos(text)?, unit)
}

/// Units since the epoch of a timestamp that ends in `Z` or an offset (`+02`, `+02:00`, `+0200`);
/// one that does not is on the wall clock of `zone`.
pub fn parse_zoned(text: &str, unit: TimeUnit, zone: &Tz) -> Option<i64> {
    if let Some((local, offset)) = split_offset(text) {
        let nanos = parse_nanos(local)? - i128::from(offset) * 1_000_000_000;
        return whole_units(nanos, unit);
    }
    from_local(parse_timestamp_in(text, unit)?, unit, zone)
}

/// The instant at which a wall clock of `zone` shows `local`: the first of two, and behind the gap
/// where there is none.
pub fn from_local(local: i64, unit: TimeUnit, zone: &Tz) -> Option<i64> {
    let shown = naive(local, unit)?;
    let offset = if let Some(offset) = zone.offset_from_local_datetime(&shown).earliest() {
        offset
    } else {
        let before = shown.checked_sub_signed(TimeDelta::try_hours(3)?)?;
        zone.offset_from_local_datetime(&before).earliest()?
    };
    let seconds = i64::from(offset.fix().local_minus_utc());
    local.checked_sub(seconds.checked_mul(units_per_second(unit))?)
}

/// What a wall clock of `zone` shows at an instant.
pub fn to_local(instant: i64, unit: TimeUnit, zone: &Tz) -> Option<i64> {
    let offset = zone.offset_from_utc_datetime(&naive(instant, unit)?);
    let seconds = i64::from(offset.fix().local_minus_utc());
    instant.checked_add(seconds.checked_mul(units_per_second(unit))?)
}

/// The moment of so many units since the epoch; `None` beyond the calendar.
pub fn naive(value: i64, unit: TimeUnit) -> Option<NaiveDateTime> {
    let per_second = units_per_second(unit);
    let nanos = value.rem_euclid(per_second) * nanos_per_unit(unit);
    let moment = DateTime::from_timestamp(value.div_euclid(per_second), u32::try_from(nanos).ok()?);
    moment.map(|moment| moment.naive_utc())
}

/// The time before an offset, and the offset in seconds.
fn split_offset(text: &str) -> Option<(&str, i32)> {
    if let Some(local) = text.strip_suffix(['Z', 'z']) {
        return Some((local.trim_end_matches(' '), 0));
    }
    // A date has dashes too: an offset stands behind a time of day.
    let colon = text.find(':')?;
    let at = colon + text[colon..].find(['+', '-'])?;
    let (local, offset) = text.split_at(at);
    let sign = if offset.starts_with('-') { -1 } else { 1 };
    let (hours, minutes) = match &offset.as_bytes()[1..] {
        [h1, h2] => ([*h1, *h2], [b'0', b'0']),
        [h1, h2, m1, m2] | [h1, h2, b':', m1, m2] => ([*h1, *h2], [*m1, *m2]),
        _ => return None,
    };
    let (hours, minutes) = (digits(&hours)?, digits(&minutes)?);
    let is_offset = hours < 24 && minutes < 60;
    let seconds = i32::try_from((hours * 60 + minutes) * 60).ok()?;
    is_offset.then_some((local.trim_end_matches(' '), sign * seconds))
}

/// Nanoseconds since 1970-01-01 of a timestamp without zone.
fn parse_nanos(text: &str) -> Option<i128> {
    // The sign of a year is no separator.
    let end = text.get(1..)?.find(['T', ' ']).map_or(text.len(), |at| at + 1);
    let days = i128::from(parse_date(&text[..end])?);
    let time = match text.as_bytes().get(end) {
        None => 0,
        Some(_) => parse_time_nanos(&text.as_bytes()[end + 1..])?,
    };
    Some(days * DAY_NANOS + i128::from(time))
}

/// Nanoseconds as units of which they are a whole number.
fn whole_units(nanos: i128, unit: TimeUnit) -> Option<i64> {
    let per_unit = i128::from(nanos_per_unit(unit));
    (nanos % per_unit == 0).then_some(())?;
    i64::try_from(nanos / per_unit).ok()
}

/// Microseconds since midnight of a time of day `hh:mm[:ss[.f]]`; `None` for anything else, and for
/// a fraction finer than a microsecond.
pub fn parse_time(text: &str) -> Option<i64> {
    whole_units(i128::from(parse_time_nanos(text.as_bytes())?), TimeUnit::Microsecond)
}

/// Nanoseconds of `hh:mm[:ss[.f]]`.
fn parse_time_nanos(bytes: &[u8]) -> Option<i64> {
    let hours = digits(bytes.get(..2)?)?;
    let minutes = digits(bytes.get(3..5)?)?;
    let (seconds, nanos) = match bytes.get(5) {
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
    is_time.then(|| seconds * 1_000_000_000 + i64::from(nanos))
}

/// The nanoseconds that the digits behind a decimal point say; finer ones must be zeros.
fn fraction(bytes: &[u8]) -> Option<u32> {
    let (nanos, finer) = bytes.split_at(bytes.len().min(9));
    let scale = 10u32.pow(u32::try_from(9 - nanos.len()).ok()?);
    finer.iter().all(|digit| *digit == b'0').then_some(())?;
    Some(digits(nanos)? * scale)
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
    write_timestamp_in(micros, TimeUnit::Microsecond, None, out);
}

/// As [`write_timestamp`], of a value in units of `unit`; with a zone it is the zone's wall clock,
/// followed by `Z` or the offset. The fraction has as many digits as the unit.
pub fn write_timestamp_in(value: i64, unit: TimeUnit, zone: Option<&Tz>, out: &mut String) {
    let Some(moment) = naive(value, unit) else {
        let unit = ["s", "ms", "us", "ns"][unit as usize];
        append(out, format_args!("{value} {unit}"));
        return;
    };
    let offset: Option<FixedOffset> = zone.map(|zone| zone.offset_from_utc_datetime(&moment).fix());
    let shown = offset.map_or(moment, |offset| {
        Utc.from_utc_datetime(&moment).with_timezone(&offset).naive_local()
    });
    write_ymd(&shown, out);
    append(out, format_args!("T{:02}:{:02}:{:02}", shown.hour(), shown.minute(), shown.second()));
    write_fraction(value.rem_euclid(units_per_second(unit)), unit, out);
    match offset.map(|offset| offset.local_minus_utc()) {
        None => {}
        Some(0) => out.push('Z'),
        Some(seconds) => {
            let sign = if seconds < 0 { '-' } else { '+' };
            let minutes = seconds.abs() / 60;
            append(out, format_args!("{sign}{:02}:{:02}", minutes / 60, minutes % 60));
        }
    }
}

/// Appends a time of day as `hh:mm:ss`, with a fraction of six digits where it has one.
pub fn write_time(micros: i64, out: &mut String) {
    let seconds = micros.div_euclid(1_000_000);
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    append(out, format_args!("{hours:02}:{minutes:02}:{:02}", seconds % 60));
    write_fraction(micros.rem_euclid(1_000_000), TimeUnit::Microsecond, out);
}

fn write_fraction(fraction: i64, unit: TimeUnit, out: &mut String) {
    if fraction != 0 {
        let digits = [0, 3, 6, 9][unit as usize];
        append(out, format_args!(".{fraction:0digits$}"));
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

    use arrow::datatypes::TimeUnit;

    use super::{
        parse_date, parse_time, parse_timestamp, parse_zoned, write_date, write_time,
        write_timestamp, write_timestamp_in,
    };

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

    #[test]
    fn an_instant_has_an_offset_or_is_on_the_wall_of_its_zone() {
        let berlin = "Europe/Berlin".parse().unwrap();
        let read = |text| parse_zoned(text, TimeUnit::Second, &berlin);
        assert_eq!(read("1970-01-01T01:00:00Z"), Some(3600));
        assert_eq!(read("1970-01-01 01:00:00+01:00"), Some(0));
        assert_eq!(read("1970-01-01 01:00:00-0130"), Some(9000));
        assert_eq!(read("1970-01-01 01:00:00"), Some(0));
        // The hour that is skipped, and the one that comes twice.
        assert_eq!(read("2024-03-31 02:30:00"), Some(1_711_848_600));
        assert_eq!(read("2024-10-27 02:30:00"), Some(1_729_989_000));
        let mut text = String::new();
        write_timestamp_in(1_729_989_000_001, TimeUnit::Millisecond, Some(&berlin), &mut text);
        assert_eq!(text, "2024-10-27T02:30:00.001+02:00");
    }

    #[test]
    fn a_time_of_day_has_at_most_microseconds() {
        assert_eq!(parse_time("23:59:59.5"), Some(86_399_500_000));
        assert_eq!(parse_time("24:00"), None);
        assert_eq!(parse_time("1:00"), None);
        let mut text = String::new();
        write_time(86_399_500_000, &mut text);
        assert_eq!(text, "23:59:59.500000");
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
