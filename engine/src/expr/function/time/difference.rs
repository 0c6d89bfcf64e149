//! How far two moments are apart, and a moment some way from another.

use arrow::{
    array::{ArrayRef, AsArray},
    datatypes::{Date32Type, Int64Type, IntervalMonthDayNanoType},
};

use super::{
    moment::{
        Civil, DAY, HOUR, MINUTE, Moment, Moments, SECOND, civil, day_of, days_of_month,
        instant_of, iso_week,
    },
    trunc::{Unit, date, stamps, unit_of},
};
use crate::{
    Error, Result,
    expr::function::{Call, rows},
};

/// A unit's size in nanoseconds, or in months.
enum Size {
    Nanos(i64),
    Months(i64),
}

fn size(unit: Unit) -> Size {
    match unit {
        Unit::Microsecond => Size::Nanos(1_000),
        Unit::Millisecond => Size::Nanos(1_000_000),
        Unit::Second => Size::Nanos(SECOND),
        Unit::Minute => Size::Nanos(MINUTE),
        Unit::Hour => Size::Nanos(HOUR),
        Unit::Day => Size::Nanos(DAY),
        Unit::Week => Size::Nanos(7 * DAY),
        Unit::Month => Size::Months(1),
        Unit::Quarter => Size::Months(3),
        Unit::Year | Unit::IsoYear => Size::Months(12),
        Unit::Decade => Size::Months(120),
        Unit::Century => Size::Months(1_200),
        Unit::Millennium => Size::Months(12_000),
    }
}

fn counted(count: i128) -> Result<i64> {
    i64::try_from(count)
        .map_err(|_| Error::Evaluate { reason: format!("int64 does not hold {count}") })
}

/// Months since year 0.
fn months(day: i64) -> i64 {
    let Civil { year, month, .. } = civil(day);
    year * 12 + month - 1
}

/// How many boundaries of a unit lie between.
fn boundaries(unit: Unit, start: Moment, end: Moment) -> i128 {
    match (unit, size(unit)) {
        (Unit::Week, _) => i128::from((end.day - start.day) / 7),
        (Unit::IsoYear, _) => i128::from(iso_week(end.day).0 - iso_week(start.day).0),
        (_, Size::Nanos(nanos)) => {
            let nanos = i128::from(nanos);
            end.total_nanos().div_euclid(nanos) - start.total_nanos().div_euclid(nanos)
        }
        // Years count towards zero, as DuckDB's decades and centuries do.
        (_, Size::Months(size)) => i128::from(months(end.day) / size - months(start.day) / size),
    }
}

/// How many whole units lie between.
fn whole(unit: Unit, start: Moment, end: Moment) -> i128 {
    match size(unit) {
        Size::Nanos(nanos) => (end.total_nanos() - start.total_nanos()) / i128::from(nanos),
        Size::Months(size) if start <= end => i128::from(whole_months(start, end) / size),
        Size::Months(size) => -i128::from(whole_months(end, start) / size),
    }
}

/// How many whole months lie between; the last day of a shorter month completes one.
fn whole_months(start: Moment, end: Moment) -> i64 {
    let (from, to) = (civil(start.day), civil(end.day));
    let is_last = to.day == days_of_month(to.year, to.month);
    let day = if is_last { from.day.min(to.day) } else { from.day };
    let is_short = (to.day, end.nanos) < (day, start.nanos);
    (to.year - from.year) * 12 + to.month - from.month - i64::from(is_short)
}

fn between(call: &Call<'_>, count: impl Fn(Unit, Moment, Moment) -> i128) -> Result<ArrayRef> {
    let unit = unit_of(call)?;
    let (starts, ends) = (Moments::new(&call.arguments[1])?, Moments::new(&call.arguments[2])?);
    rows::numbers_of::<Int64Type>(call, |row| counted(count(unit, starts.at(row), ends.at(row))))
}

pub(in crate::expr::function) fn date_diff(call: &Call<'_>) -> Result<ArrayRef> {
    between(call, boundaries)
}

pub(in crate::expr::function) fn date_sub(call: &Call<'_>) -> Result<ArrayRef> {
    between(call, whole)
}

fn days_from(call: &Call<'_>, sign: i64) -> Result<ArrayRef> {
    let (days, counts) = (Moments::new(&call.arguments[0])?, rows::ints(call, 1)?);
    rows::numbers_of::<Date32Type>(call, |row| {
        date(days.at(row).day.saturating_add(counts.at(row).saturating_mul(sign)))
    })
}

pub(in crate::expr::function) fn days_behind(call: &Call<'_>) -> Result<ArrayRef> {
    days_from(call, 1)
}

pub(in crate::expr::function) fn days_before(call: &Call<'_>) -> Result<ArrayRef> {
    days_from(call, -1)
}

/// A moment and an interval: months first, then days, then the rest.
fn later(moment: Moment, months_more: i32, days: i32, nanos: i64) -> Option<Moment> {
    let months = months(moment.day) + i64::from(months_more);
    let (year, month) = (months.div_euclid(12), months.rem_euclid(12) + 1);
    let day = civil(moment.day).day.min(days_of_month(year, month));
    let day = day_of(year, month, day) + i64::from(days);
    Moment::of_nanos(Moment { day, nanos: moment.nanos }.total_nanos() + i128::from(nanos))
}

pub(in crate::expr::function) fn add_interval(call: &Call<'_>) -> Result<ArrayRef> {
    let moments = Moments::new(&call.arguments[0])?;
    let value = &call.arguments[1];
    let intervals = value.array().as_primitive::<IntervalMonthDayNanoType>();
    stamps(call, |row| {
        let interval = intervals.value(if value.is_scalar() { 0 } else { row });
        // Months and days by the zone's clocks, the rest by the time that goes by.
        let wall = later(moments.at(row), interval.months, interval.days, 0)?;
        let instant = match moments.zone() {
            None => wall,
            Some(_) if interval.months == 0 && interval.days == 0 => moments.instant(row),
            Some(zone) => instant_of(wall, zone),
        };
        Moment::of_nanos(instant.total_nanos() + i128::from(interval.nanoseconds))
    })
}

#[cfg(test)]
mod tests {
    use super::{Moment, Unit, boundaries, day_of, later, whole};

    fn on(year: i64, month: i64, day: i64) -> Moment {
        Moment { day: day_of(year, month, day), nanos: 0 }
    }

    /// Expected values are `DuckDB`'s.
    #[test]
    fn boundaries_and_whole_units_are_counted() {
        for (unit, start, end, expected) in [
            (Unit::Month, on(2024, 1, 31), on(2024, 2, 1), 1),
            (Unit::Year, on(2023, 12, 31), on(2024, 1, 1), 1),
            (Unit::Week, on(2024, 2, 25), on(2024, 2, 26), 0),
            (Unit::Week, on(2024, 2, 25), on(2024, 3, 4), 1),
            (Unit::Decade, on(2019, 1, 1), on(2020, 1, 1), 1),
            (Unit::Century, on(1999, 1, 1), on(2000, 1, 1), 1),
            (Unit::Century, on(2000, 1, 1), on(2001, 1, 1), 0),
            (Unit::IsoYear, on(2020, 12, 31), on(2021, 1, 4), 1),
            (Unit::Quarter, on(2024, 3, 31), on(2024, 4, 1), 1),
        ] {
            assert_eq!(boundaries(unit, start, end), expected, "{unit:?}");
        }
        for (unit, start, end, expected) in [
            (Unit::Month, on(2024, 1, 31), on(2024, 2, 29), 1),
            (Unit::Month, on(2024, 1, 31), on(2024, 3, 30), 1),
            (Unit::Month, on(2024, 3, 30), on(2024, 1, 31), -1),
            (Unit::Quarter, on(2024, 1, 31), on(2024, 4, 30), 1),
            (Unit::Year, on(2020, 2, 29), on(2021, 2, 28), 1),
            (Unit::Day, on(2024, 1, 31), on(2024, 3, 30), 59),
        ] {
            assert_eq!(whole(unit, start, end), expected, "{unit:?}");
        }
    }

    #[test]
    fn a_month_later_is_at_most_its_last_day() {
        assert_eq!(later(on(2024, 1, 31), 1, 0, 0), Some(on(2024, 2, 29)));
        assert_eq!(later(on(2024, 3, 31), -1, 1, 0), Some(on(2024, 3, 1)));
    }
}
