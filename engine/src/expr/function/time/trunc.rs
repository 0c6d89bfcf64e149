//! The beginning of the unit in which a moment lies, and the last day of its month.

use arrow::{
    array::ArrayRef,
    datatypes::{
        DataType, Date32Type, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
        TimestampNanosecondType, TimestampSecondType,
    },
};

use super::moment::{
    Civil, HOUR, MINUTE, Moment, Moments, SECOND, civil, day_of, days_of_month, instant_of,
    iso_week, iso_weekday, per_second,
};
use crate::{
    Error, Result,
    expr::{
        Expr, Literal,
        function::{Call, rows},
        parse::{nearest, type_name},
    },
};

/// A unit of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Microsecond,
    Millisecond,
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
    IsoYear,
    Decade,
    Century,
    Millennium,
}

/// The units by their names.
const UNITS: [(&str, Unit); 33] = [
    ("microsecond", Unit::Microsecond),
    ("microseconds", Unit::Microsecond),
    ("us", Unit::Microsecond),
    ("millisecond", Unit::Millisecond),
    ("milliseconds", Unit::Millisecond),
    ("ms", Unit::Millisecond),
    ("second", Unit::Second),
    ("seconds", Unit::Second),
    ("s", Unit::Second),
    ("minute", Unit::Minute),
    ("minutes", Unit::Minute),
    ("hour", Unit::Hour),
    ("hours", Unit::Hour),
    ("h", Unit::Hour),
    ("day", Unit::Day),
    ("days", Unit::Day),
    ("d", Unit::Day),
    ("week", Unit::Week),
    ("weeks", Unit::Week),
    ("w", Unit::Week),
    ("month", Unit::Month),
    ("months", Unit::Month),
    ("mon", Unit::Month),
    ("quarter", Unit::Quarter),
    ("quarters", Unit::Quarter),
    ("year", Unit::Year),
    ("years", Unit::Year),
    ("y", Unit::Year),
    ("isoyear", Unit::IsoYear),
    ("decade", Unit::Decade),
    ("decades", Unit::Decade),
    ("century", Unit::Century),
    ("millennium", Unit::Millennium),
];

fn find(name: &str) -> Option<Unit> {
    let lower = name.to_ascii_lowercase();
    UNITS.iter().find(|(known, _)| *known == lower).map(|(_, unit)| *unit)
}

/// Refuses what is no constant that names a unit.
pub(super) fn check(argument: Option<&Expr>) -> Result<(), String> {
    match argument {
        Some(Expr::Literal(Literal::Null(_))) => Ok(()),
        Some(Expr::Literal(Literal::Utf8(name))) if find(name).is_some() => Ok(()),
        Some(Expr::Literal(Literal::Utf8(name))) => {
            let names = UNITS.iter().map(|(known, _)| *known);
            let meant = nearest(name, names).map(|known| format!("; did you mean '{known}'?"));
            Err(format!("no unit '{name}' of time{}", meant.unwrap_or_default()))
        }
        _ => Err(String::from("the unit must be a constant, such as 'month'")),
    }
}

/// The unit that the first argument names.
pub(super) fn unit_of(call: &Call<'_>) -> Result<Unit> {
    let name = rows::texts(call, 0)?.constant().unwrap_or_default();
    find(name).ok_or_else(|| Error::Internal(format!("the unit '{name}'")))
}

/// The beginning of the unit in which a moment lies.
fn truncated(unit: Unit, moment: Moment) -> Moment {
    let Moment { day, nanos } = moment;
    let within = |size: i64| Moment { day, nanos: nanos - nanos % size };
    let midnight = |of: i64| Moment { day: of, nanos: 0 };
    let Civil { year, month, .. } = civil(day);
    match unit {
        Unit::Microsecond => within(1_000),
        Unit::Millisecond => within(1_000_000),
        Unit::Second => within(SECOND),
        Unit::Minute => within(MINUTE),
        Unit::Hour => within(HOUR),
        Unit::Day => midnight(day),
        Unit::Week => midnight(day - iso_weekday(day) + 1),
        Unit::Month => midnight(day_of(year, month, 1)),
        Unit::Quarter => midnight(day_of(year, (month - 1) / 3 * 3 + 1, 1)),
        Unit::Year => midnight(day_of(year, 1, 1)),
        Unit::IsoYear => {
            let (_, week) = iso_week(day);
            midnight(day - iso_weekday(day) + 1 - (week - 1) * 7)
        }
        Unit::Decade => midnight(day_of(year / 10 * 10, 1, 1)),
        Unit::Century => midnight(day_of(year / 100 * 100, 1, 1)),
        Unit::Millennium => midnight(day_of(year / 1000 * 1000, 1, 1)),
    }
}

pub(in crate::expr::function) fn date_trunc(call: &Call<'_>) -> Result<ArrayRef> {
    let unit = unit_of(call)?;
    let moments = Moments::new(&call.arguments[1])?;
    stamps(call, |row| {
        let wall = truncated(unit, moments.at(row));
        Some(match moments.zone() {
            None => wall,
            Some(zone) => instant_of(wall, zone),
        })
    })
}

/// A timestamp a row, of the call's type, from instants.
pub(super) fn stamps(call: &Call<'_>, each: impl Fn(usize) -> Option<Moment>) -> Result<ArrayRef> {
    let DataType::Timestamp(unit, _) = call.data_type else {
        return Err(rows::unsupported("a timestamp", call.data_type));
    };
    let size = i128::from(SECOND / per_second(*unit));
    let count = |row: usize| {
        let count = each(row).map(|moment| moment.total_nanos().div_euclid(size));
        count.and_then(|count| i64::try_from(count).ok()).ok_or_else(|| Error::Evaluate {
            reason: format!("the result is out of the range of {}", type_name(call.data_type)),
        })
    };
    match unit {
        TimeUnit::Second => rows::numbers_of::<TimestampSecondType>(call, count),
        TimeUnit::Millisecond => rows::numbers_of::<TimestampMillisecondType>(call, count),
        TimeUnit::Microsecond => rows::numbers_of::<TimestampMicrosecondType>(call, count),
        TimeUnit::Nanosecond => rows::numbers_of::<TimestampNanosecondType>(call, count),
    }
}

/// A date as arrow has it.
pub(super) fn date(day: i64) -> Result<i32> {
    i32::try_from(day).map_err(|_| Error::Evaluate {
        reason: format!("day {day} from 1970-01-01 is out of the range of date"),
    })
}

pub(in crate::expr::function) fn last_day(call: &Call<'_>) -> Result<ArrayRef> {
    let moments = Moments::new(&call.arguments[0])?;
    rows::numbers_of::<Date32Type>(call, |row| {
        let Civil { year, month, .. } = civil(moments.at(row).day);
        date(day_of(year, month, days_of_month(year, month)))
    })
}
