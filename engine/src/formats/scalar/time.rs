//! Times of day, timestamps with units and zones, durations and intervals, and their text.
//!
//! - time: `10:30`, optionally `:15` and `.123456`.
//! - timestamp: as [`super`] has it, with as many digits behind the point as its unit has places;
//!   more must be zeros. With a zone, an offset may follow (`Z`, `+01:00`, `+0100`, `+01`); without
//!   one it is the zone's local time, the earlier one where clocks are set back. Written with the
//!   offset that the zone then has.
//! - duration: ISO 8601 of fixed length, `P1DT2H3M4.5S`, `PT-4.5S`; written as hours, minutes and
//!   seconds.
//! - interval: ISO 8601, `P1Y2M3DT4H5M6.789S`, each part with a sign of its own; written with
//!   months, days and seconds.

use std::io::Write;

use arrow::{
    array::timezone::Tz,
    datatypes::{IntervalMonthDayNano, TimeUnit},
};
use chrono::{DateTime, LocalResult, NaiveDateTime, Offset, TimeZone, Utc};

use super::{parse_day, parse_digits, signed, two_digits, write_day, write_uint64};

/// How many units a second has.
pub(crate) fn per_second(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    }
}

const SECONDS_PER_DAY: i64 = 86_400;

/// The time of day that `text` says, in units since midnight.
pub(crate) fn parse_time_of_day(text: &[u8], unit: TimeUnit) -> Option<i64> {
    let (minutes, rest) = text.split_at_checked(5)?;
    let [h1, h2, b':', m1, m2] = minutes else { return None };
    let hour = signed(parse_digits(&[*h1, *h2])?)?;
    let minute = signed(parse_digits(&[*m1, *m2])?)?;
    let (second, fraction) = match rest {
        [] => (0, 0),
        [b':', s1, s2] => (signed(parse_digits(&[*s1, *s2])?)?, 0),
        [b':', s1, s2, b'.', fraction @ ..] => {
            (signed(parse_digits(&[*s1, *s2])?)?, parse_fraction(fraction, unit)?)
        }
        _ => return None,
    };
    let is_valid = hour < 24 && minute < 60 && second < 60;
    is_valid.then_some(((hour * 60 + minute) * 60 + second) * per_second(unit) + fraction)
}

/// A second's fraction in units; digits behind the unit's places must be zeros, so that none is
/// lost.
fn parse_fraction(digits: &[u8], unit: TimeUnit) -> Option<i64> {
    let places = per_second(unit).ilog10() as usize;
    let (kept, lost) = digits.split_at(digits.len().min(places));
    if digits.is_empty() || digits.len() > 9 || lost.iter().any(|digit| *digit != b'0') {
        return None;
    }
    let value = if kept.is_empty() { 0 } else { signed(parse_digits(kept)?)? };
    Some(value * 10_i64.pow(u32::try_from(places - kept.len()).ok()?))
}

/// The timestamp that `text` says without a zone, in units since 1970-01-01 at midnight.
pub(crate) fn parse_timestamp(text: &[u8], unit: TimeUnit) -> Option<i64> {
    i64::try_from(parse_local(text, unit)?).ok()
}

/// A local time, which may lie beyond the ends of the range where the moment does not.
fn parse_local(text: &[u8], unit: TimeUnit) -> Option<i128> {
    let separator = memchr::memchr2(b'T', b' ', text);
    let days = parse_day(&text[..separator.unwrap_or(text.len())])?;
    let rest = match separator {
        Some(separator) => parse_time_of_day(&text[separator + 1..], unit)?,
        None => 0,
    };
    Some(i128::from(days) * i128::from(SECONDS_PER_DAY * per_second(unit)) + i128::from(rest))
}

/// The moment that `text` says, in units since 1970-01-01 at midnight UTC.
pub(crate) fn parse_moment(text: &[u8], unit: TimeUnit, zone: Zone) -> Option<i64> {
    let (local, offset) = split_offset(text)?;
    let (local, per_second) = (parse_local(local, unit)?, per_second(unit));
    let seconds = match offset {
        Some(offset) => offset,
        None => zone.offset_of_local(i64::try_from(local.div_euclid(per_second.into())).ok()?)?,
    };
    i64::try_from(local - i128::from(seconds * per_second)).ok()
}

/// A text without its offset, and that in seconds.
fn split_offset(text: &[u8]) -> Option<(&[u8], Option<i64>)> {
    if let Some(rest) = text.strip_suffix(b"Z").or_else(|| text.strip_suffix(b"z")) {
        return Some((rest.trim_ascii_end(), Some(0)));
    }
    // A sign behind the date's own, which has its signs within its first characters.
    let time = memchr::memchr2(b'T', b' ', text).filter(|at| *at >= 8);
    let Some(time) = time else { return Some((text, None)) };
    let Some(sign) = text[time..].iter().rposition(|byte| matches!(byte, b'+' | b'-')) else {
        return Some((text, None));
    };
    let at = time + sign;
    let (hours, minutes) = match &text[at + 1..] {
        [h1, h2] => ([*h1, *h2], [b'0', b'0']),
        [h1, h2, m1, m2] | [h1, h2, b':', m1, m2] => ([*h1, *h2], [*m1, *m2]),
        _ => return None,
    };
    let (hours, minutes) = (signed(parse_digits(&hours)?)?, signed(parse_digits(&minutes)?)?);
    if hours > 23 || minutes > 59 {
        return None;
    }
    let seconds = (hours * 60 + minutes) * 60;
    let offset = if text[at] == b'-' { -seconds } else { seconds };
    Some((text[..at].trim_ascii_end(), Some(offset)))
}

/// A time zone of a column.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Zone {
    /// UTC.
    Utc,
    /// Any other.
    Other(Tz),
}

impl Zone {
    /// The zone of that name or offset.
    pub(crate) fn named(name: &str) -> Option<Self> {
        if matches!(name, "UTC" | "Z" | "+00:00") {
            return Some(Self::Utc);
        }
        name.parse().ok().map(Self::Other)
    }

    /// The offset at a local time, in seconds; `None` where clocks skip it.
    pub(crate) fn offset_of_local(self, local_seconds: i64) -> Option<i64> {
        let Self::Other(zone) = self else { return Some(0) };
        match zone.offset_from_local_datetime(&civil(local_seconds)?) {
            LocalResult::Single(offset) | LocalResult::Ambiguous(offset, _) => {
                Some(i64::from(offset.fix().local_minus_utc()))
            }
            LocalResult::None => None,
        }
    }

    /// The offset at a moment, in seconds.
    fn offset_of_utc(self, seconds: i64) -> i64 {
        let Self::Other(zone) = self else { return 0 };
        civil(seconds)
            .map_or(0, |utc| i64::from(zone.offset_from_utc_datetime(&utc).fix().local_minus_utc()))
    }
}

fn civil(seconds: i64) -> Option<NaiveDateTime> {
    Some(DateTime::<Utc>::from_timestamp(seconds, 0)?.naive_utc())
}

/// Appends a time of day, given in units since midnight.
pub(crate) fn write_time_of_day(value: i64, unit: TimeUnit, out: &mut Vec<u8>) {
    let per_second = per_second(unit);
    let (seconds, fraction) = (value.div_euclid(per_second), value.rem_euclid(per_second));
    let seconds = seconds.rem_euclid(SECONDS_PER_DAY).unsigned_abs();
    let [h1, h2] = two_digits(seconds / 3600);
    let [m1, m2] = two_digits(seconds / 60 % 60);
    let [s1, s2] = two_digits(seconds % 60);
    out.extend_from_slice(&[h1, h2, b':', m1, m2, b':', s1, s2]);
    write_fraction(fraction, unit, out);
}

/// Appends what of a second is left, in groups of three digits.
fn write_fraction(fraction: i64, unit: TimeUnit, out: &mut Vec<u8>) {
    if fraction == 0 {
        return;
    }
    let nanos = fraction * (1_000_000_000 / per_second(unit));
    let width = match nanos {
        _ if nanos % 1_000_000 == 0 => 3,
        _ if nanos % 1_000 == 0 => 6,
        _ => 9,
    };
    let digits = nanos / 10_i64.pow(9 - width);
    // Writing to memory can't fail.
    drop(write!(out, ".{digits:0width$}", width = width as usize));
}

/// Appends a timestamp, given in units since 1970-01-01 at midnight.
pub(crate) fn write_timestamp(value: i64, unit: TimeUnit, out: &mut Vec<u8>) {
    let per_day = SECONDS_PER_DAY * per_second(unit);
    write_day(value.div_euclid(per_day), out);
    out.push(b'T');
    write_time_of_day(value.rem_euclid(per_day), unit, out);
}

/// Appends a moment, given in units since 1970-01-01 at midnight UTC, as its zone's local time with
/// the offset.
pub(crate) fn write_moment(value: i64, unit: TimeUnit, zone: Zone, out: &mut Vec<u8>) {
    let per_second = per_second(unit);
    let offset = zone.offset_of_utc(value.div_euclid(per_second));
    let per_day = i128::from(SECONDS_PER_DAY * per_second);
    // The local time of a moment near the ends of the range may lie beyond them.
    let local = i128::from(value) + i128::from(offset * per_second);
    write_day(i64::try_from(local.div_euclid(per_day)).unwrap_or_default(), out);
    out.push(b'T');
    write_time_of_day(i64::try_from(local.rem_euclid(per_day)).unwrap_or_default(), unit, out);
    if matches!(zone, Zone::Utc) {
        out.push(b'Z');
        return;
    }
    out.push(if offset < 0 { b'-' } else { b'+' });
    let minutes = offset.unsigned_abs() / 60;
    let ([h1, h2], [m1, m2]) = (two_digits(minutes / 60), two_digits(minutes % 60));
    out.extend_from_slice(&[h1, h2, b':', m1, m2]);
}

/// The parts of an ISO 8601 period.
#[derive(Default)]
struct Period {
    months: i64,
    days: i64,
    nanos: i128,
}

fn parse_period(text: &[u8]) -> Option<Period> {
    let (is_negative, text) = match text {
        [b'-', text @ ..] => (true, text),
        text => (false, text),
    };
    let [b'P', rest @ ..] = text else { return None };
    let mut period = Period::default();
    let (mut rest, mut in_time, mut parts) = (rest, false, 0);
    // The designators in their order, each at most once.
    let mut last = 0;
    while !rest.is_empty() {
        if let [b'T', behind @ ..] = rest {
            if in_time || behind.is_empty() {
                return None;
            }
            (in_time, rest, last) = (true, behind, 0);
            continue;
        }
        let end = rest.iter().position(u8::is_ascii_alphabetic)?;
        let (number, designator) = (&rest[..end], rest[end]);
        let order = if in_time { b"HMS".as_slice() } else { b"YMWD" };
        let place = order.iter().position(|known| *known == designator)? + 1;
        if place <= last {
            return None;
        }
        last = place;
        if in_time {
            let seconds = [3600, 60, 1][place - 1];
            period.nanos =
                period.nanos.checked_add(parse_nanos(number, designator)?.checked_mul(seconds)?)?;
        } else {
            let number = super::parse_int64(number)?;
            let (months, days) = [(12, 0), (1, 0), (0, 7), (0, 1)][place - 1];
            period.months = period.months.checked_add(number.checked_mul(months)?)?;
            period.days = period.days.checked_add(number.checked_mul(days)?)?;
        }
        (rest, parts) = (&rest[end + 1..], parts + 1);
    }
    if parts == 0 {
        return None;
    }
    if is_negative {
        period.months = period.months.checked_neg()?;
        period.days = period.days.checked_neg()?;
        period.nanos = -period.nanos;
    }
    Some(period)
}

/// A number of hours, minutes or seconds in billionths; only seconds have a fraction.
fn parse_nanos(number: &[u8], designator: u8) -> Option<i128> {
    let (is_negative, digits) = match number {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] | digits => (false, digits),
    };
    let point = memchr::memchr2(b'.', b',', digits).filter(|_| designator == b'S');
    let whole = &digits[..point.unwrap_or(digits.len())];
    if !whole.first().is_some_and(u8::is_ascii_digit) {
        return None;
    }
    let fraction =
        point.map_or(Some(0), |at| parse_fraction(&digits[at + 1..], TimeUnit::Nanosecond))?;
    let nanos = i128::from(super::parse_int64(whole)?) * 1_000_000_000 + i128::from(fraction);
    Some(if is_negative { -nanos } else { nanos })
}

/// The duration that `text` says, in units; a part of a unit is none.
pub(crate) fn parse_duration(text: &[u8], unit: TimeUnit) -> Option<i64> {
    let Period { months: 0, days, nanos } = parse_period(text)? else { return None };
    let nanos =
        nanos.checked_add(i128::from(days) * i128::from(SECONDS_PER_DAY) * 1_000_000_000)?;
    let per_unit = i128::from(1_000_000_000 / per_second(unit));
    (nanos % per_unit == 0).then(|| i64::try_from(nanos / per_unit).ok()).flatten()
}

/// The interval that `text` says.
pub(crate) fn parse_interval(text: &[u8]) -> Option<IntervalMonthDayNano> {
    let Period { months, days, nanos } = parse_period(text)?;
    Some(IntervalMonthDayNano {
        months: i32::try_from(months).ok()?,
        days: i32::try_from(days).ok()?,
        nanoseconds: i64::try_from(nanos).ok()?,
    })
}

/// Appends a duration, given in units.
pub(crate) fn write_duration(value: i64, unit: TimeUnit, out: &mut Vec<u8>) {
    out.extend_from_slice(b"PT");
    let per_second = per_second(unit).unsigned_abs();
    let (seconds, fraction) =
        (value.unsigned_abs() / per_second, value.unsigned_abs() % per_second);
    let parts = [(seconds / 3600, b'H'), (seconds / 60 % 60, b'M')];
    for (number, designator) in parts {
        if number > 0 {
            write_sign(value < 0, out);
            write_uint64(number, out);
            out.push(designator);
        }
    }
    if seconds % 60 > 0 || fraction > 0 || value == 0 {
        write_sign(value < 0, out);
        write_uint64(seconds % 60, out);
        write_fraction(signed(fraction).unwrap_or_default(), unit, out);
        out.push(b'S');
    }
}

/// Appends an interval.
pub(crate) fn write_interval(value: IntervalMonthDayNano, out: &mut Vec<u8>) {
    let start = out.len();
    out.push(b'P');
    for (number, designator) in [(value.months, b'M'), (value.days, b'D')] {
        if number != 0 {
            write_sign(number < 0, out);
            write_uint64(u64::from(number.unsigned_abs()), out);
            out.push(designator);
        }
    }
    let nanos = value.nanoseconds.unsigned_abs();
    if nanos > 0 || out.len() == start + 1 {
        out.push(b'T');
        write_sign(value.nanoseconds < 0, out);
        write_uint64(nanos / 1_000_000_000, out);
        write_fraction(
            signed(nanos % 1_000_000_000).unwrap_or_default(),
            TimeUnit::Nanosecond,
            out,
        );
        out.push(b'S');
    }
}

fn write_sign(is_negative: bool, out: &mut Vec<u8>) {
    if is_negative {
        out.push(b'-');
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{IntervalMonthDayNano, TimeUnit};
    use proptest::prelude::*;

    use super::*;

    const UNITS: [TimeUnit; 4] =
        [TimeUnit::Second, TimeUnit::Millisecond, TimeUnit::Microsecond, TimeUnit::Nanosecond];

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    fn moment(text: &str, zone: &str) -> Option<i64> {
        parse_moment(text.as_bytes(), TimeUnit::Second, Zone::named(zone).unwrap())
    }

    // pyarrow 21 and Python's zoneinfo give the same seconds.
    #[test]
    fn moments_have_an_offset_or_are_the_zones_local_time() {
        for text in [
            "2024-02-29T12:00:00Z",
            "2024-02-29 13:00:00+01:00",
            "2024-02-29T13:00+0100",
            "2024-02-29 11:00:00 -01",
            "2024-02-29T12:00:00",
        ] {
            assert_eq!(moment(text, "UTC"), Some(1_709_208_000), "{text}");
        }
        assert_eq!(moment("2024-02-29T13:00:00", "Europe/Berlin"), Some(1_709_208_000));
        assert_eq!(moment("2024-07-01T14:00:00", "Europe/Berlin"), Some(1_719_835_200));
        // Clocks skip this hour, and show the next one twice.
        assert_eq!(moment("2024-03-31T02:30:00", "Europe/Berlin"), None);
        assert_eq!(moment("2024-10-27T02:30:00", "Europe/Berlin"), Some(1_729_989_000));
        assert_eq!(moment("2024-02-29", "+05:30"), Some(1_709_145_000));
        for bad in ["2024-02-29T12:00:00+25:00", "2024-02-29T12:00:00+1", "Z", "2024-02-29+01:00"] {
            assert_eq!(moment(bad, "UTC"), None, "{bad}");
        }
        let show = |seconds, zone: &str| {
            let zone = Zone::named(zone).unwrap();
            written(|out| write_moment(seconds, TimeUnit::Second, zone, out))
        };
        assert_eq!(show(1_709_208_000, "UTC"), "2024-02-29T12:00:00Z");
        assert_eq!(show(1_719_835_200, "Europe/Berlin"), "2024-07-01T14:00:00+02:00");
        assert_eq!(show(1_719_835_200, "-03:30"), "2024-07-01T08:30:00-03:30");
    }

    #[test]
    fn fractions_are_those_of_the_unit_and_no_digit_is_lost() {
        let time = |text: &str, unit| parse_time_of_day(text.as_bytes(), unit);
        assert_eq!(time("10:30", TimeUnit::Second), Some(37_800));
        assert_eq!(time("00:00:01.5", TimeUnit::Millisecond), Some(1_500));
        assert_eq!(time("00:00:01.123456789", TimeUnit::Nanosecond), Some(1_123_456_789));
        assert_eq!(time("00:00:01.123456789", TimeUnit::Microsecond), None);
        assert_eq!(time("00:00:01.000", TimeUnit::Second), Some(1));
        assert_eq!(time("24:00", TimeUnit::Second), None);
        let show = |value, unit| written(|out| write_time_of_day(value, unit, out));
        assert_eq!(show(1_500, TimeUnit::Millisecond), "00:00:01.500");
        assert_eq!(show(1_000_000_001, TimeUnit::Nanosecond), "00:00:01.000000001");
    }

    #[test]
    fn periods_are_those_of_iso_8601() {
        let duration = |text: &str| parse_duration(text.as_bytes(), TimeUnit::Millisecond);
        assert_eq!(duration("P1DT2H3M4.5S"), Some(93_784_500));
        assert_eq!(duration("-PT1.5S"), Some(-1_500));
        assert_eq!(duration("PT-1.5S"), Some(-1_500));
        for bad in ["", "P", "PT", "1S", "P1M", "PT1.0001S", "PT1S2H", "PT1H1H", "P1DT", "PT1.5H"] {
            assert_eq!(duration(bad), None, "{bad}");
        }
        let interval =
            |months, days, nanoseconds| IntervalMonthDayNano { months, days, nanoseconds };
        assert_eq!(
            parse_interval(b"P1Y2M3DT4H5M6.789S"),
            Some(interval(14, 3, 14_706_789_000_000))
        );
        assert_eq!(parse_interval(b"P2W"), Some(interval(0, 14, 0)));
        let show = |value| written(|out| write_interval(value, out));
        assert_eq!(show(interval(14, -3, -1_500_000_000)), "P14M-3DT-1.500S");
        assert_eq!(show(interval(0, 0, 0)), "PT0S");
        assert_eq!(
            written(|out| write_duration(-93_784_500, TimeUnit::Millisecond, out)),
            "PT-26H-3M-4.500S"
        );
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(
            value in any::<i64>().prop_map(|value| value / 64),
            months: i32, days: i32, nanoseconds: i64,
            unit in prop::sample::select(UNITS.to_vec()),
            zone in prop::sample::select(vec!["UTC", "Europe/Berlin", "-03:30", "America/New_York"]),
        ) {
            let text = written(|out| write_duration(value, unit, out));
            prop_assert_eq!(parse_duration(text.as_bytes(), unit), Some(value), "{}", text);
            let interval = IntervalMonthDayNano { months, days, nanoseconds };
            let of_interval = written(|out| write_interval(interval, out));
            prop_assert_eq!(
                parse_interval(of_interval.as_bytes()), Some(interval), "{}", of_interval);
            // Years of at most six digits are read.
            let value = value % (20_000_000_000_000_000 / 64).min(per_second(unit).saturating_mul(9_000_000_000));
            let local = written(|out| write_timestamp(value, unit, out));
            prop_assert_eq!(parse_timestamp(local.as_bytes(), unit), Some(value), "{}", local);
            let zone = Zone::named(zone).unwrap();
            let moment = written(|out| write_moment(value, unit, zone, out));
            // Offsets before time zones had seconds, which no text shows.
            if value > 0 {
                prop_assert_eq!(
                    parse_moment(moment.as_bytes(), unit, zone), Some(value), "{}", moment);
            }
        }
    }
}
