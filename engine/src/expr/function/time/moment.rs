//! Dates and timestamps of any unit and zone as wall clocks show them, and the calendar.

use arrow::{
    array::{Array, ArrayRef, AsArray, PrimitiveArray, timezone::Tz},
    buffer::ScalarBuffer,
    datatypes::{
        ArrowPrimitiveType, DataType, Date32Type, DurationMicrosecondType, DurationMillisecondType,
        DurationNanosecondType, DurationSecondType, Time64MicrosecondType, TimeUnit,
        TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
        TimestampSecondType,
    },
};
use chrono::{DateTime, Offset, TimeZone};

use crate::{
    Error, Result,
    expr::{evaluate::Value, parse::type_name},
};

/// Nanoseconds of a second, minute, hour and day.
pub(super) const SECOND: i64 = 1_000_000_000;
pub(super) const MINUTE: i64 = 60 * SECOND;
pub(super) const HOUR: i64 = 60 * MINUTE;
pub(super) const DAY: i64 = 24 * HOUR;

/// Seconds of a day.
pub(super) const DAY_SECONDS: i64 = 86_400;

/// A day, counted from 1970-01-01, and the nanoseconds of it that have gone by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment {
    pub(super) day: i64,
    pub(super) nanos: i64,
}

impl Moment {
    /// Of `count` units, of which a second has `per_second`, since 1970-01-01.
    fn of_units(count: i64, per_second: i64) -> Self {
        let per_day = DAY_SECONDS * per_second;
        let rest = count.rem_euclid(per_day);
        Self { day: count.div_euclid(per_day), nanos: rest * (SECOND / per_second) }
    }

    /// Nanoseconds since 1970-01-01.
    pub(super) fn total_nanos(self) -> i128 {
        i128::from(self.day) * i128::from(DAY) + i128::from(self.nanos)
    }

    /// Of so many nanoseconds since 1970-01-01.
    pub(super) fn of_nanos(nanos: i128) -> Option<Self> {
        let day = i64::try_from(nanos.div_euclid(i128::from(DAY))).ok()?;
        Some(Self { day, nanos: i64::try_from(nanos.rem_euclid(i128::from(DAY))).ok()? })
    }
}

/// How many units of a type a second has.
pub(super) fn per_second(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => SECOND,
    }
}

/// The dates or timestamps of an argument.
pub(super) struct Moments {
    values: Units,
    is_scalar: bool,
    zone: Option<Tz>,
}

/// Days, or units of which a second has so many.
enum Units {
    Days(ScalarBuffer<i32>),
    Parts(ScalarBuffer<i64>, i64),
}

impl Moments {
    /// Of a value that is a date, time, timestamp or duration.
    pub(super) fn new(value: &Value) -> Result<Self> {
        let array = value.array();
        let zone = match array.data_type() {
            DataType::Timestamp(_, Some(zone)) => Some(parse_zone(zone)?),
            _ => None,
        };
        Ok(Self { values: units(array)?, is_scalar: value.is_scalar(), zone })
    }

    /// What the clocks of its zone show, in a row in which it is not null.
    pub(super) fn at(&self, row: usize) -> Moment {
        let moment = self.instant(row);
        match self.zone {
            None => moment,
            Some(zone) => local(moment, zone),
        }
    }

    /// As UTC's clocks show it.
    pub(super) fn instant(&self, row: usize) -> Moment {
        let row = if self.is_scalar { 0 } else { row };
        match &self.values {
            Units::Days(days) => Moment { day: i64::from(days[row]), nanos: 0 },
            Units::Parts(counts, per_second) => Moment::of_units(counts[row], *per_second),
        }
    }

    /// The zone of a timestamp that has one.
    pub(super) fn zone(&self) -> Option<Tz> {
        self.zone
    }
}

fn units(array: &ArrayRef) -> Result<Units> {
    fn values<T: ArrowPrimitiveType>(array: &ArrayRef) -> ScalarBuffer<T::Native> {
        let array: &PrimitiveArray<T> = array.as_primitive();
        array.values().clone()
    }
    let parts = |values, unit| Units::Parts(values, per_second(unit));
    Ok(match array.data_type() {
        DataType::Date32 => Units::Days(values::<Date32Type>(array)),
        DataType::Time64(TimeUnit::Microsecond) => {
            parts(values::<Time64MicrosecondType>(array), TimeUnit::Microsecond)
        }
        DataType::Timestamp(unit, _) => {
            let values = match unit {
                TimeUnit::Second => values::<TimestampSecondType>(array),
                TimeUnit::Millisecond => values::<TimestampMillisecondType>(array),
                TimeUnit::Microsecond => values::<TimestampMicrosecondType>(array),
                TimeUnit::Nanosecond => values::<TimestampNanosecondType>(array),
            };
            parts(values, *unit)
        }
        DataType::Duration(unit) => {
            let values = match unit {
                TimeUnit::Second => values::<DurationSecondType>(array),
                TimeUnit::Millisecond => values::<DurationMillisecondType>(array),
                TimeUnit::Microsecond => values::<DurationMicrosecondType>(array),
                TimeUnit::Nanosecond => values::<DurationNanosecondType>(array),
            };
            parts(values, *unit)
        }
        other => return Err(Error::Internal(format!("{} as a time", type_name(other)))),
    })
}

/// The zone of a name of the IANA's data base or an offset such as `+01:00`.
pub(super) fn parse_zone(name: &str) -> Result<Tz> {
    name.parse().map_err(|_| Error::Evaluate {
        reason: format!(
            "no time zone '{name}'; names are as in 'Europe/Madrid', 'UTC' or '+01:00'"
        ),
    })
}

/// Seconds that a zone's clocks are ahead of UTC at an instant; 0 beyond chrono's years.
pub(super) fn offset_at(instant: Moment, zone: Tz) -> i64 {
    let seconds = instant.day.saturating_mul(DAY_SECONDS) + instant.nanos / SECOND;
    let utc = DateTime::from_timestamp(seconds, 0);
    utc.map_or(0, |utc| {
        i64::from(zone.offset_from_utc_datetime(&utc.naive_utc()).fix().local_minus_utc())
    })
}

/// What the clocks of a zone show at an instant.
pub(super) fn local(instant: Moment, zone: Tz) -> Moment {
    shifted(instant, offset_at(instant, zone))
}

/// A moment so many seconds later.
pub(super) fn shifted(moment: Moment, seconds: i64) -> Moment {
    let nanos = moment.nanos + seconds * SECOND;
    Moment { day: moment.day + nanos.div_euclid(DAY), nanos: nanos.rem_euclid(DAY) }
}

/// The instant at which a zone's clocks show `wall`: the later of two; where they never do, as if
/// they had not been put forward.
pub(super) fn instant_of(wall: Moment, zone: Tz) -> Moment {
    // Both offsets around: before and behind any change within a day.
    let before = offset_at(shifted(wall, -DAY_SECONDS), zone);
    let behind = offset_at(shifted(wall, DAY_SECONDS), zone);
    let late = shifted(wall, -behind);
    if offset_at(late, zone) == behind {
        return late;
    }
    shifted(wall, -before)
}

/// A day as year, month and day of the month.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Civil {
    pub(super) year: i64,
    pub(super) month: i64,
    pub(super) day: i64,
}

/// The year, month and day of a day since 1970-01-01.
///
/// - Source: H. Hinnant, "chrono-Compatible Low-Level Date Algorithms".
pub(super) fn civil(day: i64) -> Civil {
    let shifted = day + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    Civil { year: year_of_era + era * 400 + i64::from(month <= 2), month, day: of_month }
}

/// The day since 1970-01-01 of a year, month (1 to 12) and day of the month; the inverse of
/// [`civil`].
pub(super) fn day_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    let of_era = of_era * 365 + of_era / 4 - of_era / 100 + of_year;
    era * 146_097 + of_era - 719_468
}

/// How many days a month has.
pub(super) fn days_of_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// 1 for Monday to 7 for Sunday.
pub(super) fn iso_weekday(day: i64) -> i64 {
    (day + 3).rem_euclid(7) + 1
}

/// The year and week of ISO 8601.
pub(super) fn iso_week(day: i64) -> (i64, i64) {
    // A week belongs to the year of its Thursday.
    let thursday = day - iso_weekday(day) + 4;
    let year = civil(thursday).year;
    (year, (thursday - day_of(year, 1, 1)) / 7 + 1)
}

#[cfg(test)]
mod tests {
    use chrono::{Datelike, NaiveDate, TimeDelta};
    use proptest::prelude::*;

    use super::{
        Moment, civil, day_of, days_of_month, instant_of, iso_week, iso_weekday, local, parse_zone,
    };

    proptest! {
        #[test]
        fn the_calendar_is_chronos(day in -3_000_000i64..3_000_000) {
            let date = NaiveDate::default() + TimeDelta::days(day);
            let found = civil(day);
            prop_assert_eq!((found.year, found.month, found.day), (i64::from(date.year()), i64::from(date.month()), i64::from(date.day())));
            prop_assert_eq!(day_of(found.year, found.month, found.day), day);
            prop_assert_eq!(iso_weekday(day), i64::from(date.weekday().number_from_monday()));
            prop_assert_eq!(iso_week(day), (i64::from(date.iso_week().year()), i64::from(date.iso_week().week())));
            prop_assert_eq!(days_of_month(found.year, found.month), i64::from(date.num_days_in_month()));
        }

        #[test]
        fn an_instant_has_the_wall_time_that_it_was_made_of(hours in 0i64..400_000) {
            let zone = parse_zone("Europe/Madrid").unwrap();
            let instant = Moment { day: hours / 24, nanos: hours % 24 * super::HOUR };
            let wall = local(instant, zone);
            prop_assert_eq!(local(instant_of(wall, zone), zone), wall);
        }
    }
}
