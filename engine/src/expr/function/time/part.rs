//! Parts of dates and times: `date_part`, `extract`, seconds since 1970.

use arrow::{
    array::{ArrayRef, AsArray},
    datatypes::{DataType, Float64Type, Int64Type, IntervalMonthDayNanoType},
};

use super::moment::{
    DAY, HOUR, MINUTE, Moment, Moments, SECOND, civil, day_of, iso_week, iso_weekday,
};
use crate::{
    Error, Result,
    expr::{
        Expr, Literal,
        function::{Call, rows},
        parse::nearest,
    },
};

/// A part of a date or time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Year,
    IsoYear,
    Quarter,
    Month,
    Week,
    YearWeek,
    Day,
    Weekday,
    IsoWeekday,
    DayOfYear,
    Hour,
    Minute,
    Second,
    Millisecond,
    Microsecond,
    Nanosecond,
    Epoch,
    Decade,
    Century,
    Millennium,
}

/// The parts by their names.
const PARTS: [(&str, Part); 44] = [
    ("year", Part::Year),
    ("years", Part::Year),
    ("yr", Part::Year),
    ("y", Part::Year),
    ("isoyear", Part::IsoYear),
    ("quarter", Part::Quarter),
    ("quarters", Part::Quarter),
    ("month", Part::Month),
    ("months", Part::Month),
    ("mon", Part::Month),
    ("week", Part::Week),
    ("weeks", Part::Week),
    ("w", Part::Week),
    ("weekofyear", Part::Week),
    ("yearweek", Part::YearWeek),
    ("day", Part::Day),
    ("days", Part::Day),
    ("d", Part::Day),
    ("dayofmonth", Part::Day),
    ("dow", Part::Weekday),
    ("dayofweek", Part::Weekday),
    ("weekday", Part::Weekday),
    ("isodow", Part::IsoWeekday),
    ("doy", Part::DayOfYear),
    ("dayofyear", Part::DayOfYear),
    ("hour", Part::Hour),
    ("hours", Part::Hour),
    ("h", Part::Hour),
    ("minute", Part::Minute),
    ("minutes", Part::Minute),
    ("m", Part::Minute),
    ("second", Part::Second),
    ("seconds", Part::Second),
    ("s", Part::Second),
    ("millisecond", Part::Millisecond),
    ("milliseconds", Part::Millisecond),
    ("ms", Part::Millisecond),
    ("microsecond", Part::Microsecond),
    ("microseconds", Part::Microsecond),
    ("us", Part::Microsecond),
    ("nanosecond", Part::Nanosecond),
    ("epoch", Part::Epoch),
    ("decade", Part::Decade),
    ("century", Part::Century),
];

fn find(name: &str) -> Option<Part> {
    let lower = name.to_ascii_lowercase();
    match lower.as_str() {
        "millennium" => Some(Part::Millennium),
        lower => PARTS.iter().find(|(known, _)| *known == lower).map(|(_, part)| *part),
    }
}

/// The part that a constant names.
fn named(argument: Option<&Expr>) -> Result<Option<Part>, String> {
    match argument {
        Some(Expr::Literal(Literal::Null(_))) => Ok(None),
        Some(Expr::Literal(Literal::Utf8(name))) => find(name).map(Some).ok_or_else(|| {
            let names = PARTS.iter().map(|(known, _)| *known);
            let meant = nearest(name, names).map(|known| format!("; did you mean '{known}'?"));
            format!("no part '{name}' of a date or time{}", meant.unwrap_or_default())
        }),
        _ => Err(String::from("the part must be a constant, such as 'year'")),
    }
}

/// Refuses what names no part.
pub(super) fn check(argument: Option<&Expr>) -> Result<(), String> {
    named(argument).map(|_| ())
}

/// The type of a part.
pub(in crate::expr::function) fn result(arguments: &[Expr]) -> Result<DataType, String> {
    let part = named(arguments.first())?;
    let data_type = arguments.get(1).map(Expr::data_type);
    let is_clock = matches!(
        part,
        Some(
            Part::Hour
                | Part::Minute
                | Part::Second
                | Part::Millisecond
                | Part::Microsecond
                | Part::Nanosecond
                | Part::Epoch
        ) | None
    );
    match data_type {
        Some(DataType::Time64(_)) if !is_clock => {
            Err(String::from("a time of day has no days, weeks, months or years"))
        }
        Some(DataType::Duration(_)) if !is_clock && part != Some(Part::Day) => {
            Err(String::from("a duration has days and less"))
        }
        Some(DataType::Interval(_))
            if !is_clock
                && !matches!(
                    part,
                    Some(
                        Part::Day
                            | Part::Month
                            | Part::Quarter
                            | Part::Year
                            | Part::Decade
                            | Part::Century
                            | Part::Millennium
                    )
                ) =>
        {
            Err(String::from("an interval has no weeks and days of the week or year"))
        }
        _ if part == Some(Part::Epoch) => Ok(DataType::Float64),
        _ => Ok(DataType::Int64),
    }
}

pub(in crate::expr::function) fn date_part(call: &Call<'_>) -> Result<ArrayRef> {
    let name = rows::texts(call, 0)?.constant().unwrap_or_default();
    let part = find(name).ok_or_else(|| Error::Internal(format!("the part '{name}'")))?;
    let value = &call.arguments[1];
    if matches!(value.array().data_type(), DataType::Interval(_)) {
        return part_of_interval(call, part);
    }
    let moments = Moments::new(value)?;
    if matches!(value.array().data_type(), DataType::Duration(_)) {
        return part_of_duration(call, part, &moments);
    }
    if part == Part::Epoch {
        return rows::numbers_of::<Float64Type>(call, |row| Ok(seconds(moments.instant(row))));
    }
    rows::numbers_of::<Int64Type>(call, |row| Ok(part_of(part, moments.at(row))))
}

#[expect(clippy::cast_precision_loss, reason = "seconds as a float64 are what is asked for")]
fn seconds(moment: Moment) -> f64 {
    // Micros first: they are exact for all years that matter, and the quotient is the nearest.
    let nanos = moment.total_nanos();
    if nanos % 1000 == 0 { (nanos / 1000) as f64 / 1e6 } else { nanos as f64 / 1e9 }
}

fn part_of(part: Part, moment: Moment) -> i64 {
    let Moment { day, nanos } = moment;
    match part {
        Part::Year => civil(day).year,
        Part::IsoYear => iso_week(day).0,
        Part::Quarter => (civil(day).month - 1) / 3 + 1,
        Part::Month => civil(day).month,
        Part::Week => iso_week(day).1,
        Part::YearWeek => {
            let (year, week) = iso_week(day);
            year * 100 + if year < 0 { -week } else { week }
        }
        Part::Day => civil(day).day,
        Part::Weekday => iso_weekday(day) % 7,
        Part::IsoWeekday => iso_weekday(day),
        Part::DayOfYear => day - day_of(civil(day).year, 1, 1) + 1,
        Part::Hour => nanos / HOUR,
        Part::Minute => nanos % HOUR / MINUTE,
        Part::Second => nanos % MINUTE / SECOND,
        Part::Millisecond => nanos % MINUTE / 1_000_000,
        Part::Microsecond => nanos % MINUTE / 1_000,
        Part::Nanosecond => nanos % MINUTE,
        Part::Epoch => day * 86_400 + nanos / SECOND,
        Part::Decade => civil(day).year / 10,
        Part::Century => hundreds(civil(day).year, 100),
        Part::Millennium => hundreds(civil(day).year, 1000),
    }
}

/// The century or millennium of a year; there is no year 0 in them.
fn hundreds(year: i64, of: i64) -> i64 {
    if year > 0 { (year - 1) / of + 1 } else { year / of - 1 }
}

/// Whole days, and the clock of what is left; all parts have the duration's sign.
fn part_of_duration(call: &Call<'_>, part: Part, durations: &Moments) -> Result<ArrayRef> {
    if part == Part::Epoch {
        return rows::numbers_of::<Float64Type>(call, |row| Ok(seconds(durations.instant(row))));
    }
    rows::numbers_of::<Int64Type>(call, |row| {
        let nanos = durations.instant(row).total_nanos();
        let day = i128::from(DAY);
        let clock = i64::try_from(nanos % day).unwrap_or_default();
        Ok(match part {
            Part::Day => i64::try_from(nanos / day).unwrap_or(i64::MAX),
            part => clock_of(part, clock),
        })
    })
}

/// A part of a clock's nanoseconds, with their sign; hours go on beyond a day.
fn clock_of(part: Part, nanos: i64) -> i64 {
    match part {
        Part::Hour => nanos / HOUR,
        Part::Minute => nanos % HOUR / MINUTE,
        Part::Second => nanos % MINUTE / SECOND,
        Part::Millisecond => nanos % MINUTE / 1_000_000,
        Part::Microsecond => nanos % MINUTE / 1_000,
        _ => nanos % MINUTE,
    }
}

#[expect(clippy::cast_precision_loss, reason = "seconds as a float64 are what is asked for")]
fn part_of_interval(call: &Call<'_>, part: Part) -> Result<ArrayRef> {
    let value = &call.arguments[1];
    let intervals = value.array().as_primitive::<IntervalMonthDayNanoType>();
    let at = |row: usize| intervals.value(if value.is_scalar() { 0 } else { row });
    if part == Part::Epoch {
        // A year has 365.25 days here and a month of the rest 30, as in PostgreSQL.
        return rows::numbers_of::<Float64Type>(call, |row| {
            let interval = at(row);
            let (years, months) = (interval.months / 12, interval.months % 12);
            let days =
                f64::from(years) * 365.25 + f64::from(months) * 30.0 + f64::from(interval.days);
            Ok(days * 86_400.0 + interval.nanoseconds as f64 / 1e9)
        });
    }
    rows::numbers_of::<Int64Type>(call, |row| {
        let interval = at(row);
        let months = i64::from(interval.months);
        Ok(match part {
            Part::Year => months / 12,
            Part::Month => months % 12,
            Part::Quarter => months % 12 / 3 + 1,
            Part::Decade => months / 120,
            Part::Century => months / 1200,
            Part::Millennium => months / 12_000,
            Part::Day => i64::from(interval.days),
            part => clock_of(part, interval.nanoseconds),
        })
    })
}

pub(in crate::expr::function) fn epoch(call: &Call<'_>) -> Result<ArrayRef> {
    let moments = Moments::new(&call.arguments[0])?;
    rows::numbers_of::<Float64Type>(call, |row| Ok(seconds(moments.instant(row))))
}

/// So many nanoseconds each, since 1970.
fn units_since(call: &Call<'_>, name: &str, nanos: i128) -> Result<ArrayRef> {
    let moments = Moments::new(&call.arguments[0])?;
    rows::numbers_of::<Int64Type>(call, |row| {
        let count = moments.instant(row).total_nanos().div_euclid(nanos);
        i64::try_from(count)
            .map_err(|_| Error::Evaluate { reason: format!("{name}: int64 does not hold {count}") })
    })
}

pub(in crate::expr::function) fn epoch_ms(call: &Call<'_>) -> Result<ArrayRef> {
    units_since(call, "epoch_ms", 1_000_000)
}

pub(in crate::expr::function) fn epoch_us(call: &Call<'_>) -> Result<ArrayRef> {
    units_since(call, "epoch_us", 1_000)
}

pub(in crate::expr::function) fn epoch_ns(call: &Call<'_>) -> Result<ArrayRef> {
    units_since(call, "epoch_ns", 1)
}
