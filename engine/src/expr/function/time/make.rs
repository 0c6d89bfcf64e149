//! Dates, timestamps and intervals made of numbers.

use arrow::{
    array::ArrayRef,
    datatypes::{
        Date32Type, IntervalMonthDayNano, IntervalMonthDayNanoType, TimestampMicrosecondType,
    },
};

use super::{
    moment::{day_of, days_of_month},
    trunc::date,
};
use crate::{
    Error, Result,
    expr::{
        datetime::DAY_MICROS,
        function::{Call, rows},
    },
};

fn refuse<T>(reason: String) -> Result<T> {
    Err(Error::Evaluate { reason })
}

/// The day of a year, month and day, if there is one.
fn day(year: i64, month: i64, day: i64) -> Option<i64> {
    let is_month = (-300_000..=300_000).contains(&year) && (1..=12).contains(&month);
    let is_day = is_month && (1..=days_of_month(year, month)).contains(&day);
    is_day.then(|| day_of(year, month, day))
}

pub(in crate::expr::function) fn make_date(call: &Call<'_>) -> Result<ArrayRef> {
    let (years, months, days) = (rows::ints(call, 0)?, rows::ints(call, 1)?, rows::ints(call, 2)?);
    rows::numbers_of::<Date32Type>(call, |row| {
        let (year, month, of_month) = (years.at(row), months.at(row), days.at(row));
        match day(year, month, of_month) {
            Some(day) => date(day),
            None => refuse(format!("there is no day {year}-{month}-{of_month}")),
        }
    })
}

pub(in crate::expr::function) fn make_timestamp(call: &Call<'_>) -> Result<ArrayRef> {
    let fields = [0, 1, 2, 3, 4].map(|index| rows::ints(call, index));
    let [years, months, days, hours, minutes] = fields;
    let (years, months, days, hours, minutes) = (years?, months?, days?, hours?, minutes?);
    let seconds = rows::floats(call, 5)?;
    rows::numbers_of::<TimestampMicrosecondType>(call, |row| {
        let (year, month, of_month) = (years.at(row), months.at(row), days.at(row));
        let (hour, minute, second) = (hours.at(row), minutes.at(row), seconds.at(row));
        let is_time =
            (0..24).contains(&hour) && (0..60).contains(&minute) && (0.0..60.0).contains(&second);
        let time = day(year, month, of_month).filter(|_| is_time).map(|day| {
            let clock = (hour * 60 + minute) * 60_000_000 + micros(second);
            day * DAY_MICROS + clock
        });
        match time {
            Some(time) => Ok(time),
            None => refuse(format!(
                "there is no time {year}-{month}-{of_month} {hour}:{minute}:{second}"
            )),
        }
    })
}

/// Seconds as the nearest microseconds; fewer than 9e12 seconds.
#[expect(clippy::cast_possible_truncation, reason = "the callers check the range before")]
fn micros(seconds: f64) -> i64 {
    (seconds * 1e6).round() as i64
}

pub(in crate::expr::function) fn from_micros(call: &Call<'_>) -> Result<ArrayRef> {
    let counts = rows::ints(call, 0)?;
    rows::numbers_of::<TimestampMicrosecondType>(call, |row| Ok(counts.at(row)))
}

pub(in crate::expr::function) fn from_millis(call: &Call<'_>) -> Result<ArrayRef> {
    let counts = rows::ints(call, 0)?;
    rows::numbers_of::<TimestampMicrosecondType>(call, |row| {
        let millis = counts.at(row);
        match millis.checked_mul(1_000) {
            Some(micros) => Ok(micros),
            None => refuse(format!("{millis} ms are out of the range of timestamp")),
        }
    })
}

pub(in crate::expr::function) fn from_seconds(call: &Call<'_>) -> Result<ArrayRef> {
    /// More seconds have more microseconds than int64 holds.
    const LIMIT: f64 = 9.2e12;
    let counts = rows::floats(call, 0)?;
    rows::numbers_of::<TimestampMicrosecondType>(call, |row| {
        let seconds = counts.at(row);
        if (-LIMIT..LIMIT).contains(&seconds) {
            Ok(micros(seconds))
        } else {
            refuse(format!("{seconds} s are out of the range of timestamp_tz"))
        }
    })
}

/// The kernel of a function that is a constant of the plan, and so is never run.
pub(in crate::expr::function) fn never(_: &Call<'_>) -> Result<ArrayRef> {
    Err(Error::Internal(String::from("a function of the job's time that was not made a constant")))
}

fn intervals(
    call: &Call<'_>,
    of: impl Fn(i64) -> Option<IntervalMonthDayNano>,
) -> Result<ArrayRef> {
    let counts = rows::ints(call, 0)?;
    rows::numbers_of::<IntervalMonthDayNanoType>(call, |row| {
        let count = counts.at(row);
        match of(count) {
            Some(interval) => Ok(interval),
            None => refuse(format!("{count} is out of the range of an interval's parts")),
        }
    })
}

fn of_months(count: i64, size: i64) -> Option<IntervalMonthDayNano> {
    let months = i32::try_from(count.checked_mul(size)?).ok()?;
    Some(IntervalMonthDayNano::new(months, 0, 0))
}

fn of_days(count: i64, size: i64) -> Option<IntervalMonthDayNano> {
    let days = i32::try_from(count.checked_mul(size)?).ok()?;
    Some(IntervalMonthDayNano::new(0, days, 0))
}

fn of_seconds(count: i64, size: i64) -> Option<IntervalMonthDayNano> {
    Some(IntervalMonthDayNano::new(0, 0, count.checked_mul(size)?.checked_mul(1_000_000_000)?))
}

macro_rules! makers {
    ($($name:ident: $of:ident, $size:literal;)*) => {
        $(
            pub(in crate::expr::function) fn $name(call: &Call<'_>) -> Result<ArrayRef> {
                intervals(call, |count| $of(count, $size))
            }
        )*
    };
}

makers! {
    to_years: of_months, 12;
    to_months: of_months, 1;
    to_weeks: of_days, 7;
    to_days: of_days, 1;
    to_hours: of_seconds, 3600;
    to_minutes: of_seconds, 60;
    to_seconds: of_seconds, 1;
}
