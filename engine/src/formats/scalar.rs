//! Single values and their text, both ways: what a decoder accepts and what an encoder writes.
//!
//! - bool: `true`, `True` or `TRUE`, and `false` likewise; written in lower case.
//! - int64: digits after an optional sign, nothing else.
//! - float64: decimal with optional sign, fraction and exponent, `NaN`, `inf`, `-inf`; written in
//!   the shortest form that reads back as the same number.
//! - date: `2024-02-29`; years beyond four digits have a sign.
//! - timestamp, without a zone: a date, then `T` or a blank, `10:30`, optionally `:15` and
//!   `.123456`. A date alone is its midnight. Written with `T` and only as many digits as needed.
//! - [`decimal`], [`time`] and [`bytes`] say the others.
//!
//! Nothing here allocates, and blanks around a value are not part of any.

use std::io::Write;

use arrow::datatypes::TimeUnit;

pub(crate) mod bytes;
pub(crate) mod decimal;
pub(crate) mod time;

/// The bool that `text` says.
pub(crate) fn parse_bool(text: &[u8]) -> Option<bool> {
    match text {
        b"true" | b"True" | b"TRUE" => Some(true),
        b"false" | b"False" | b"FALSE" => Some(false),
        _ => None,
    }
}

/// The bool that a word of `text` stands for, where it is known that a bool is meant: beside those
/// of [`parse_bool`] `t`, `yes`, `y`, `on`, `1` and their opposites, in any case.
pub(crate) fn parse_bool_word(text: &[u8]) -> Option<bool> {
    const WORDS: [(&str, &str); 6] =
        [("true", "false"), ("t", "f"), ("yes", "no"), ("y", "n"), ("on", "off"), ("1", "0")];
    parse_bool(text).or_else(|| {
        WORDS.iter().find_map(|(yes, no)| {
            let is = |word: &str| text.eq_ignore_ascii_case(word.as_bytes());
            if is(yes) { Some(true) } else { is(no).then_some(false) }
        })
    })
}

/// The integer that `text` says, if it fits.
pub(crate) fn parse_uint64(text: &[u8]) -> Option<u64> {
    let digits = text.strip_prefix(b"+").unwrap_or(text);
    let (head, tail) = digits.split_at(digits.len().min(18));
    let mut value = parse_digits(head)?;
    for digit in tail {
        let digit = parse_digits(std::slice::from_ref(digit))?;
        value = value.checked_mul(10)?.checked_add(digit)?;
    }
    Some(value)
}

/// The integer that `text` says, if it fits.
pub(crate) fn parse_int64(text: &[u8]) -> Option<i64> {
    let (is_negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] | digits => (false, digits),
    };
    let (head, tail) = digits.split_at(digits.len().min(18));
    let mut value = i64::try_from(parse_digits(head)?).ok()?;
    if is_negative {
        value = -value;
    }
    for digit in tail {
        let digit = signed(parse_digits(std::slice::from_ref(digit))?)?;
        value = value.checked_mul(10)?.checked_add(if is_negative { -digit } else { digit })?;
    }
    Some(value)
}

/// One to eighteen digits.
#[inline]
fn parse_digits(digits: &[u8]) -> Option<u64> {
    let (head, eights) = digits.as_rchunks::<8>();
    let mut value = match head {
        [] if eights.is_empty() => return None,
        [] => 0,
        head => parse_eight(word_of(head))?,
    };
    for eight in eights {
        value = value * 100_000_000 + parse_eight(u64::from_le_bytes(*eight))?;
    }
    Some(value)
}

/// One to seven characters behind zeros, as eight bytes with the last one highest.
#[inline]
fn word_of(text: &[u8]) -> u64 {
    let count = text.len();
    let word = match (text.first_chunk::<4>(), text.last_chunk::<4>()) {
        (Some(head), Some(tail)) => {
            let (head, tail) = (u32::from_le_bytes(*head), u32::from_le_bytes(*tail));
            u64::from(head) | u64::from(tail) << (8 * (count - 4))
        }
        _ => text.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    };
    word << (8 * (8 - count)) | u64::from_le_bytes([b'0'; 8]) >> (8 * count)
}

/// The number that eight characters say, the first one lowest; `None` where one is no digit.
///
/// Each step joins all groups of digits with their neighbours at once.
#[inline]
fn parse_eight(text: u64) -> Option<u64> {
    const HIGH_HALVES: u64 = u64::from_le_bytes([0xf0; 8]);
    let ones = text ^ u64::from_le_bytes([b'0'; 8]);
    let above_nine = ones.wrapping_add(u64::from_le_bytes([6; 8]));
    if (ones | above_nine) & HIGH_HALVES != 0 {
        return None;
    }
    let twos = (ones * 10 + (ones >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (twos * 100 + (twos >> 16)) & 0x0000_ffff_0000_ffff;
    Some((fours * 10_000 + (fours >> 32)) & 0xffff_ffff)
}

/// The number that `text` says; one too great for a float is none.
pub(crate) fn parse_float64(text: &str) -> Option<f64> {
    if let Some(value) = parse_short_float64(text.as_bytes()) {
        return Some(value);
    }
    let value: f64 = text.parse().ok()?;
    // `parse` makes infinity of what is too great as well as of what says so.
    (value.is_finite() || !text.bytes().any(|byte| byte.is_ascii_digit())).then_some(value)
}

/// A number of at most 15 digits without an exponent; `None` for any other text.
///
/// Source: William D. Clinger, "How to Read Floating Point Numbers Accurately": both operands are
/// exact, so their quotient is rounded once, as it should be.
#[expect(clippy::cast_precision_loss, reason = "15 digits fit the mantissa")]
fn parse_short_float64(text: &[u8]) -> Option<f64> {
    const POWERS: [f64; 16] =
        [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];
    let (is_negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if digits.is_empty() || digits.len() > 16 {
        return None;
    }
    let mut mantissa = 0_u64;
    let mut point = None;
    for (place, byte) in digits.iter().enumerate() {
        match byte {
            b'0'..=b'9' => mantissa = mantissa * 10 + u64::from(byte - b'0'),
            b'.' if point.is_none() => point = Some(place),
            _ => return None,
        }
    }
    let fraction = point.map_or(0, |point| digits.len() - 1 - point);
    let count = digits.len() - usize::from(point.is_some());
    if count == 0 || count > 15 {
        return None;
    }
    let value = mantissa as f64 / POWERS[fraction];
    Some(if is_negative { -value } else { value })
}

/// The date that `text` says, in days since 1970-01-01.
pub(crate) fn parse_date(text: &[u8]) -> Option<i32> {
    i32::try_from(parse_day(text)?).ok()
}

/// The time that `text` says, in microseconds since 1970-01-01 at midnight.
pub(crate) fn parse_timestamp(text: &[u8]) -> Option<i64> {
    time::parse_timestamp(text, TimeUnit::Microsecond)
}

fn parse_day(text: &[u8]) -> Option<i64> {
    let (rest, tail) = text.split_at_checked(text.len().checked_sub(6)?)?;
    let year = match rest {
        [b'-', digits @ ..] if (4..=6).contains(&digits.len()) => -signed(parse_digits(digits)?)?,
        [b'+', digits @ ..] if (4..=6).contains(&digits.len()) => signed(parse_digits(digits)?)?,
        digits if digits.len() == 4 => signed(parse_digits(digits)?)?,
        _ => return None,
    };
    let [b'-', m1, m2, b'-', d1, d2] = tail else { return None };
    let month = signed(parse_digits(&[*m1, *m2])?)?;
    let day = signed(parse_digits(&[*d1, *d2])?)?;
    let is_valid = (1..=12).contains(&month) && (1..=days_in_month(year, month)).contains(&day);
    is_valid.then(|| days_from_civil(year, month, day))
}

fn signed(value: u64) -> Option<i64> {
    i64::try_from(value).ok()
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 in the proleptic Gregorian calendar.
///
/// Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Year, month and day of a day since 1970-01-01; the way back.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = (shifted_month + 2) % 12 + 1;
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// Appends a bool.
pub(crate) fn write_bool(value: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(if value { b"true" } else { b"false" });
}

/// Appends an integer.
pub(crate) fn write_int64(value: i64, out: &mut Vec<u8>) {
    if value < 0 {
        out.push(b'-');
    }
    write_uint64(value.unsigned_abs(), out);
}

/// Appends an integer.
#[inline]
pub(crate) fn write_uint64(value: u64, out: &mut Vec<u8>) {
    const EIGHT: u64 = 100_000_000;
    if value < EIGHT {
        return write_below(value, out);
    }
    if value < EIGHT * EIGHT {
        write_below(value / EIGHT, out);
    } else {
        write_below(value / EIGHT / EIGHT, out);
        out.extend_from_slice(&text_of(digits(value / EIGHT % EIGHT)));
    }
    out.extend_from_slice(&text_of(digits(value % EIGHT)));
}

/// Appends an integer of at most eight digits.
#[inline]
fn write_below(value: u64, out: &mut Vec<u8>) {
    let digits = digits(value);
    let zeros = (digits.trailing_zeros() / 8).min(7);
    // Eight bytes always, and then only as many as there should be: no call for a few.
    let end = out.len() + 8 - zeros as usize;
    out.extend_from_slice(&text_of(digits >> (8 * zeros)));
    out.truncate(end);
}

/// The eight digits of a number below 10⁸ as bytes, the first one lowest.
///
/// Each step halves all groups of digits at once; the factors are reciprocals, exact as far as
/// the groups go.
#[inline]
fn digits(value: u64) -> u64 {
    let fours = (value / 10_000) | ((value % 10_000) << 32);
    let hundreds = ((fours * 10_486) >> 20) & 0x7f_0000_007f;
    let twos = hundreds | (fours - 100 * hundreds) << 16;
    let tens = ((twos * 103) >> 10) & 0x000f_000f_000f_000f;
    tens | (twos - 10 * tens) << 8
}

/// Digits as text.
#[inline]
fn text_of(digits: u64) -> [u8; 8] {
    (digits | u64::from_le_bytes([b'0'; 8])).to_le_bytes()
}

/// The last two digits of a number below 100.
fn two_digits(value: u64) -> [u8; 2] {
    [b'0' + (value / 10 % 10) as u8, b'0' + (value % 10) as u8]
}

/// Appends a float in the shortest form that reads back, a whole one with `.0` or an exponent.
pub(crate) fn write_float64(value: f64, out: &mut Vec<u8>) {
    // JSON's way with finite floats; the writer never fails on memory.
    match value {
        _ if value.is_nan() => out.extend_from_slice(b"NaN"),
        f64::INFINITY => out.extend_from_slice(b"inf"),
        f64::NEG_INFINITY => out.extend_from_slice(b"-inf"),
        _ => {
            drop(serde_json::to_writer(&mut *out, &value));
            drop_plus(out, value.abs());
        }
    }
}

/// Takes the plus sign, which is not needed, out of the exponent that great numbers have.
fn drop_plus(out: &mut Vec<u8>, size: f64) {
    if size >= 1e15
        && let Some(plus) = memchr::memrchr(b'+', out)
        && out.len() - plus <= 4
        && out[plus - 1] == b'e'
    {
        out.remove(plus);
    }
}

/// As [`write_float64`], with the digits that the narrower type needs.
pub(crate) fn write_float32(value: f32, out: &mut Vec<u8>) {
    if value.is_finite() {
        drop(serde_json::to_writer(&mut *out, &value));
        drop_plus(out, f64::from(value.abs()));
    } else {
        write_float64(f64::from(value), out);
    }
}

/// Appends a date, given in days since 1970-01-01.
pub(crate) fn write_date(days: i32, out: &mut Vec<u8>) {
    write_day(i64::from(days), out);
}

fn write_day(days: i64, out: &mut Vec<u8>) {
    let (year, month, day) = civil_from_days(days);
    if (0..10_000).contains(&year) {
        let year = year.unsigned_abs();
        out.extend_from_slice(&two_digits(year / 100));
        out.extend_from_slice(&two_digits(year % 100));
    } else {
        // Far from today; a slow way is good enough.
        drop(write!(out, "{year:+05}"));
    }
    let [m1, m2] = two_digits(month.unsigned_abs());
    let [d1, d2] = two_digits(day.unsigned_abs());
    out.extend_from_slice(&[b'-', m1, m2, b'-', d1, d2]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        parse_bool, parse_bool_word, parse_date, parse_float64, parse_int64, parse_timestamp,
        parse_uint64, write_date, write_float64, write_int64, write_uint64,
    };

    fn written<T>(write: impl Fn(T, &mut Vec<u8>), value: T) -> String {
        let mut out = Vec::new();
        write(value, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn integers_are_exact_up_to_the_limits_and_refused_beyond() {
        assert_eq!(parse_int64(b"9223372036854775807"), Some(i64::MAX));
        assert_eq!(parse_int64(b"-9223372036854775808"), Some(i64::MIN));
        assert_eq!(parse_int64(b"007"), Some(7));
        assert_eq!(parse_int64(b"+5"), Some(5));
        for bad in ["9223372036854775808", "-9223372036854775809", "", "-", "1.0", " 1", "1e3", "١"]
        {
            assert_eq!(parse_int64(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn integers_of_every_length_are_written_and_read() {
        let mut power = 1_u64;
        loop {
            for value in [power - 1, power, power + 1, power / 9 * 8, power.wrapping_mul(9)] {
                let text = value.to_string();
                assert_eq!(written(write_uint64, value), text);
                assert_eq!(parse_uint64(text.as_bytes()), Some(value));
                assert_eq!(parse_uint64(format!("{value:0>19}").as_bytes()), Some(value));
            }
            let Some(next) = power.checked_mul(10) else { break };
            power = next;
        }
        assert_eq!(written(write_uint64, u64::MAX), u64::MAX.to_string());
        for byte in 0..=u8::MAX {
            for length in 1..=17 {
                for place in 0..length {
                    let mut text = vec![b'1'; length];
                    text[place] = byte;
                    let expected = str::from_utf8(&text).ok().filter(|_| byte != b'+');
                    let expected = expected.and_then(|digits| digits.parse().ok());
                    let found = parse_uint64(&text).filter(|_| byte != b'+');
                    assert_eq!(found, expected, "{text:?}");
                }
            }
        }
    }

    #[test]
    fn a_float_too_great_is_none_but_infinity_is_one() {
        assert_eq!(parse_float64("1e3"), Some(1000.0));
        assert_eq!(parse_float64("-inf"), Some(f64::NEG_INFINITY));
        assert_eq!(parse_float64("1e999"), None);
        assert_eq!(parse_float64("1,5"), None);
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(parse_date(b"1970-01-01"), Some(0));
        assert_eq!(parse_date(b"2000-02-29"), Some(11_016));
        assert_eq!(parse_date(b"1969-12-31"), Some(-1));
        for bad in ["2001-02-29", "1900-02-29", "2001-13-01", "2001-1-01", "01-01-01", "2001-01-00"]
        {
            assert_eq!(parse_date(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn timestamps_have_t_or_a_blank_and_lose_no_digit() {
        let second = 1_000_000;
        assert_eq!(parse_timestamp(b"1970-01-01T00:01"), Some(60 * second));
        assert_eq!(parse_timestamp(b"1970-01-01 00:00:01.5"), Some(1_500_000));
        assert_eq!(parse_timestamp(b"1970-01-02"), Some(86_400 * second));
        assert_eq!(parse_timestamp(b"1969-12-31T23:59:59.999999000"), Some(-1));
        for bad in [
            "1970-01-01T00:00:00.0000001",
            "1970-01-01T24:00",
            "1970-01-01T00:00:00Z",
            "1970-01-01T",
            "1970-01-01T00:00:00.",
        ] {
            assert_eq!(parse_timestamp(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn only_three_spellings_of_a_bool_are_one() {
        assert_eq!(
            ["true", "True", "TRUE"].map(|text| parse_bool(text.as_bytes())),
            [Some(true); 3]
        );
        assert_eq!(["t", "1", "yes", ""].map(|text| parse_bool(text.as_bytes())), [None; 4]);
        let words = ["T", "no", "On", "0", "tRuE", "2", ""];
        assert_eq!(
            words.map(|text| parse_bool_word(text.as_bytes())),
            [Some(true), Some(false), Some(true), Some(false), Some(true), None, None]
        );
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(int: i64, float: f64, days: i32) {
            prop_assert_eq!(parse_int64(written(write_int64, int).as_bytes()), Some(int));
            prop_assert_eq!(written(write_int64, int), int.to_string());
            let text = written(write_float64, float);
            let read = parse_float64(&text);
            prop_assert_eq!(read.map(f64::to_bits), Some(float.to_bits()).filter(|_| !float.is_nan()).or(read.map(f64::to_bits)));
            let days = days / 8;
            prop_assert_eq!(parse_date(written(write_date, days).as_bytes()), Some(days));
            let uint = int.cast_unsigned();
            prop_assert_eq!(parse_uint64(uint.to_string().as_bytes()), Some(uint));
        }

        #[test]
        fn short_floats_are_those_of_the_standard_library(text in "-?[0-9]{0,12}\\.?[0-9]{0,9}") {
            let found = parse_float64(&text).map(f64::to_bits);
            prop_assert_eq!(found, text.parse::<f64>().ok().map(f64::to_bits));
        }

        #[test]
        fn days_are_those_of_chrono(days in -700_000i32..2_900_000) {
            let expected = chrono::NaiveDate::from_epoch_days(days).unwrap().to_string();
            prop_assert_eq!(written(write_date, days), expected);
        }
    }
}
