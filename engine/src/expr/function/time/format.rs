//! Dates and times to and from text by a format of chrono's.

use std::{cell::RefCell, collections::HashMap, fmt::Write, rc::Rc};

use arrow::{
    array::ArrayRef,
    datatypes::{DataType, TimestampMicrosecondType},
};
use chrono::{
    DateTime, NaiveDate, NaiveTime,
    format::{Fixed, Item, Numeric, Parsed, StrftimeItems, parse},
};

use super::moment::{Moments, SECOND, civil, iso_weekday, offset_at};
use crate::{
    Error, Result,
    expr::{
        Expr, Literal, TIMESTAMP,
        function::{Call, rows},
        text::TextBuilder,
    },
};

/// The most formats that a thread keeps parsed.
const MAX_FORMATS: usize = 64;

/// A format's pieces.
type Items = Rc<Vec<Item<'static>>>;

thread_local! {
    static FORMATS: RefCell<HashMap<(String, Use), Items>> = RefCell::default();
}

/// The pieces of a format, parsed now or before.
fn items(format: &str, use_for: Use) -> Result<Items> {
    FORMATS.with_borrow_mut(|known| {
        if let Some(items) = known.get(&(String::from(format), use_for)) {
            return Ok(Rc::clone(items));
        }
        let items = parsed(format, use_for).map_err(|reason| Error::Evaluate { reason })?;
        let items = Rc::new(items);
        if known.len() >= MAX_FORMATS {
            known.clear();
        }
        known.insert((String::from(format), use_for), Rc::clone(&items));
        Ok(items)
    })
}

/// What a format is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Use {
    Writing,
    Reading,
}

/// The pieces of a format, with `%f` as microseconds, which chrono has as nanoseconds; behind a
/// point any digits are read.
fn parsed(format: &str, use_for: Use) -> Result<Vec<Item<'static>>, String> {
    let fraction = if use_for == Use::Reading { "%.f" } else { "%.6f" };
    let micros = format.replace("%%", "\u{0}").replace(".%f", fraction).replace("%f", "%6f");
    let items: Vec<_> =
        StrftimeItems::new(&micros.replace('\u{0}', "%%")).map(Item::to_owned).collect();
    if micros.contains("%#z") || items.contains(&Item::Error) {
        return Err(format!("'{format}' is no format; see chrono's `strftime`"));
    }
    Ok(items)
}

/// Whether a format has an offset from UTC, or counts from an instant.
fn has_offset(items: &[Item<'_>]) -> bool {
    let is_offset = |item: &Item<'_>| {
        matches!(
            item,
            Item::Numeric(Numeric::Timestamp, _)
                | Item::Fixed(
                    Fixed::TimezoneOffset
                        | Fixed::TimezoneOffsetColon
                        | Fixed::TimezoneOffsetDoubleColon
                        | Fixed::TimezoneOffsetTripleColon
                        | Fixed::TimezoneOffsetColonZ
                        | Fixed::TimezoneOffsetZ
                        | Fixed::RFC2822
                        | Fixed::RFC3339
                )
        )
    };
    items.iter().any(is_offset)
}

/// Refuses a constant that is no format; one that must be a constant and is none.
pub(super) fn check(argument: Option<&Expr>, is_constant: bool) -> Result<(), String> {
    match argument {
        Some(Expr::Literal(Literal::Utf8(format))) => parsed(format, Use::Reading).map(|_| ()),
        None | Some(Expr::Literal(Literal::Null(_))) => Ok(()),
        Some(_) if is_constant => Err(String::from("the format must be a constant")),
        Some(_) => Ok(()),
    }
}

/// A timestamp, with a zone where the format has an offset.
pub(in crate::expr::function) fn parsed_type(arguments: &[Expr]) -> Result<DataType, String> {
    match arguments.get(1) {
        Some(Expr::Literal(Literal::Utf8(format)))
            if has_offset(&parsed(format, Use::Reading)?) =>
        {
            Ok(DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, Some("UTC".into())))
        }
        _ => Ok(TIMESTAMP),
    }
}

pub(in crate::expr::function) fn strftime(call: &Call<'_>) -> Result<ArrayRef> {
    let moments = Moments::new(&call.arguments[0])?;
    let formats = rows::texts(call, 1)?;
    let constant = formats.constant().map(|format| items(format, Use::Writing)).transpose()?;
    rows::text_of(call, |row, out| {
        let items = match &constant {
            Some(items) => Rc::clone(items),
            None => items(formats.at(row), Use::Writing)?,
        };
        let (wall, instant) = (moments.at(row), moments.instant(row));
        let seconds = wall.day.checked_mul(86_400).map(|day| day + wall.nanos / SECOND);
        let nanos = u32::try_from(wall.nanos % SECOND).unwrap_or_default();
        let shown = seconds.and_then(|seconds| DateTime::from_timestamp(seconds, nanos));
        let offset = moments.zone().map_or(0, |zone| offset_at(instant, zone));
        let offset = i32::try_from(offset).ok().and_then(chrono::FixedOffset::east_opt);
        let text = shown.zip(offset).and_then(|(shown, offset)| {
            let shown = shown.naive_utc();
            let zoned = DateTime::<chrono::FixedOffset>::from_naive_utc_and_offset(
                shown.checked_sub_offset(offset)?,
                offset,
            );
            let mut text = String::new();
            write!(text, "{}", zoned.format_with_items(items.iter())).ok()?;
            Some(text)
        });
        let text = text.ok_or_else(|| Error::Evaluate {
            reason: format!("day {} from 1970-01-01 is beyond what a format shows", wall.day),
        })?;
        out.extend(&text);
        Ok(())
    })
}

/// Microseconds since 1970-01-01, UTC where the text has an offset.
fn read(text: &str, items: &[Item<'static>]) -> Option<i64> {
    let mut found = Parsed::new();
    parse(&mut found, text, items.iter()).ok()?;
    if let Some(seconds) = found.timestamp() {
        let nanos = found.nanosecond().unwrap_or(0);
        return seconds.checked_mul(1_000_000)?.checked_add(i64::from(nanos / 1000));
    }
    let date = date_of(&mut found)?;
    let time = time_of(&mut found)?;
    let offset = found.offset().unwrap_or(0);
    let micros = date.and_time(time).and_utc().timestamp_micros();
    micros.checked_sub(i64::from(offset) * 1_000_000)
}

/// The date, in which what is not said is of 1900-01-01.
fn date_of(found: &mut Parsed) -> Option<NaiveDate> {
    if let Ok(date) = found.to_naive_date() {
        return Some(date);
    }
    let has_year = found.year().is_some() || found.year_mod_100().is_some();
    if !has_year && found.isoyear().is_none() {
        found.set_year(1900).ok()?;
    }
    if found.month().is_none() && found.ordinal().is_none() && found.isoweek().is_none() {
        found.set_month(1).ok()?;
    }
    if found.day().is_none() && found.ordinal().is_none() && found.isoweek().is_none() {
        found.set_day(1).ok()?;
    }
    found.to_naive_date().ok()
}

/// The time of day, in which what is not said is midnight's.
fn time_of(found: &mut Parsed) -> Option<NaiveTime> {
    if found.hour_div_12().is_none() && found.hour_mod_12().is_none() {
        found.set_hour(0).ok()?;
    } else if found.hour_div_12().is_none() {
        found.set_ampm(false).ok()?;
    } else if found.hour_mod_12().is_none() {
        found.set_hour12(12).ok()?;
    }
    if found.minute().is_none() {
        found.set_minute(0).ok()?;
    }
    if found.second().is_none() {
        found.set_second(0).ok()?;
    }
    found.to_naive_time().ok()
}

pub(in crate::expr::function) fn strptime(call: &Call<'_>) -> Result<ArrayRef> {
    let (texts, formats) = (rows::texts(call, 0)?, rows::texts(call, 1)?);
    let format = formats.constant().unwrap_or_default();
    let items = items(format, Use::Reading)?;
    rows::numbers_of::<TimestampMicrosecondType>(call, |row| {
        let text = texts.at(row);
        read(text, &items).ok_or_else(|| {
            let shown: String = text.chars().take(60).flat_map(char::escape_debug).collect();
            Error::Evaluate { reason: format!("'{shown}' is not as the format '{format}' says") }
        })
    })
}

pub(in crate::expr::function) fn try_strptime(call: &Call<'_>) -> Result<ArrayRef> {
    let (texts, formats) = (rows::texts(call, 0)?, rows::texts(call, 1)?);
    let items = items(formats.constant().unwrap_or_default(), Use::Reading)?;
    rows::some_numbers_of::<TimestampMicrosecondType>(call, |row| Ok(read(texts.at(row), &items)))
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

const DAYS: [&str; 7] =
    ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

fn named(call: &Call<'_>, names: &[&str], number: impl Fn(i64) -> i64) -> Result<ArrayRef> {
    let moments = Moments::new(&call.arguments[0])?;
    rows::text_of(call, |row, out: &mut TextBuilder| {
        let place = usize::try_from(number(moments.at(row).day) - 1).unwrap_or_default();
        out.extend(names.get(place).copied().unwrap_or_default());
        Ok(())
    })
}

pub(in crate::expr::function) fn month_name(call: &Call<'_>) -> Result<ArrayRef> {
    named(call, &MONTHS, |day| civil(day).month)
}

pub(in crate::expr::function) fn day_name(call: &Call<'_>) -> Result<ArrayRef> {
    named(call, &DAYS, iso_weekday)
}
