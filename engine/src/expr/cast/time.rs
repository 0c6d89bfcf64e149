//! Casts between dates, timestamps, times, durations and intervals; what can't be is null.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, Int64Array, PrimitiveArray, cast::AsArray, timezone::Tz},
    compute,
    datatypes::{
        DataType, Date32Type, DurationMicrosecondType, DurationMillisecondType,
        DurationNanosecondType, DurationSecondType, Int64Type, IntervalMonthDayNano,
        IntervalMonthDayNanoType, Time64MicrosecondType, TimeUnit, TimestampMicrosecondType,
        TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
    },
};

use crate::{
    Error, Result,
    expr::{
        datetime::{self, DAY_NANOS, nanos_per_unit, units_per_second},
        parse::type_name,
    },
};

/// Seconds of a day.
const DAY_SECONDS: i64 = 86_400;

/// `array` as `to`.
pub(super) fn cast(array: &dyn Array, to: &DataType) -> Result<ArrayRef> {
    match (array.data_type(), to) {
        (DataType::Date32, DataType::Timestamp(unit, zone)) => {
            let days = array.as_primitive::<Date32Type>();
            let zone = zone_of(zone.as_deref())?;
            let midnight = |day: i32| {
                let units = i64::from(day).checked_mul(DAY_SECONDS * units_per_second(*unit))?;
                zone.as_ref().map_or(Some(units), |zone| datetime::from_local(units, *unit, zone))
            };
            Ok(timestamps(days.unary_opt(midnight), to))
        }
        (DataType::Timestamp(unit, zone), to) => {
            let zone = zone_of(zone.as_deref())?;
            let instants = whole(array)?;
            from_timestamp(&instants, *unit, zone.as_ref(), to)
        }
        (DataType::Duration(unit), DataType::Duration(to)) => {
            let values = whole(array)?;
            Ok(durations(&values.unary_opt(|value| rescaled(value, *unit, *to)), *to))
        }
        (DataType::Duration(unit), _) => {
            let per_unit = nanos_per_unit(*unit);
            let intervals: PrimitiveArray<IntervalMonthDayNanoType> =
                whole(array)?.unary_opt(|value| {
                    value.checked_mul(per_unit).map(|nanos| IntervalMonthDayNano::new(0, 0, nanos))
                });
            Ok(Arc::new(intervals))
        }
        (DataType::Interval(_), DataType::Duration(to)) => {
            let per_unit = i128::from(nanos_per_unit(*to));
            let intervals = array.as_primitive::<IntervalMonthDayNanoType>();
            let values: Int64Array = intervals.unary_opt(|interval| {
                let days = DAY_NANOS * i128::from(interval.days);
                let nanos = days + i128::from(interval.nanoseconds);
                (interval.months == 0).then_some(())?;
                i64::try_from(nanos.div_euclid(per_unit)).ok()
            });
            Ok(durations(&values, *to))
        }
        (from, to) => {
            let (from, to) = (type_name(from), type_name(to));
            Err(Error::Internal(format!("a cast of time from {from} to {to}")))
        }
    }
}

fn from_timestamp(
    instants: &Int64Array,
    unit: TimeUnit,
    zone: Option<&Tz>,
    to: &DataType,
) -> Result<ArrayRef> {
    let local = |value: i64| match zone {
        Some(zone) => datetime::to_local(value, unit, zone),
        None => Some(value),
    };
    let per_second = units_per_second(unit);
    Ok(match to {
        DataType::Date32 => {
            let days: PrimitiveArray<Date32Type> = instants.unary_opt(|value| {
                i32::try_from(local(value)?.div_euclid(per_second * DAY_SECONDS)).ok()
            });
            Arc::new(days)
        }
        DataType::Timestamp(to_unit, to_zone) => {
            let into = zone_of(to_zone.as_deref())?;
            let values = instants.unary_opt(|value| {
                let value = rescaled(value, unit, *to_unit)?;
                match (zone, &into) {
                    (None, Some(zone)) => datetime::from_local(value, *to_unit, zone),
                    (Some(zone), None) => datetime::to_local(value, *to_unit, zone),
                    (None, None) | (Some(_), Some(_)) => Some(value),
                }
            });
            timestamps(values, to)
        }
        _ => {
            let times: PrimitiveArray<Time64MicrosecondType> = instants.unary_opt(|value| {
                let in_day = local(value)?.rem_euclid(per_second * DAY_SECONDS);
                rescaled(in_day, unit, TimeUnit::Microsecond)
            });
            Arc::new(times)
        }
    })
}

/// A count of one unit in another; what is finer is rounded to the nearest, ties up.
fn rescaled(value: i64, from: TimeUnit, to: TimeUnit) -> Option<i64> {
    let (from, to) = (units_per_second(from), units_per_second(to));
    if to >= from {
        return value.checked_mul(to / from);
    }
    let per_unit = from / to;
    let (whole, rest) = (value.div_euclid(per_unit), value.rem_euclid(per_unit));
    Some(whole + i64::from(2 * rest >= per_unit))
}

fn zone_of(zone: Option<&str>) -> Result<Option<Tz>> {
    let parsed = zone.map(|zone| {
        zone.parse::<Tz>().map_err(|_| Error::Internal(format!("a time zone `{zone}`")))
    });
    parsed.transpose()
}

/// The counts behind timestamps or durations.
pub(super) fn whole(array: &dyn Array) -> Result<Int64Array> {
    Ok(compute::cast(array, &DataType::Int64)?.as_primitive::<Int64Type>().clone())
}

/// Counts as timestamps of type `to`.
pub(super) fn timestamps(values: Int64Array, to: &DataType) -> ArrayRef {
    let DataType::Timestamp(unit, zone) = to else { return Arc::new(values) };
    let zone = zone.clone();
    match unit {
        TimeUnit::Second => {
            Arc::new(values.reinterpret_cast::<TimestampSecondType>().with_timezone_opt(zone))
        }
        TimeUnit::Millisecond => {
            Arc::new(values.reinterpret_cast::<TimestampMillisecondType>().with_timezone_opt(zone))
        }
        TimeUnit::Microsecond => {
            Arc::new(values.reinterpret_cast::<TimestampMicrosecondType>().with_timezone_opt(zone))
        }
        TimeUnit::Nanosecond => {
            Arc::new(values.reinterpret_cast::<TimestampNanosecondType>().with_timezone_opt(zone))
        }
    }
}

/// Counts as durations.
pub(crate) fn durations(values: &Int64Array, unit: TimeUnit) -> ArrayRef {
    match unit {
        TimeUnit::Second => Arc::new(values.reinterpret_cast::<DurationSecondType>()),
        TimeUnit::Millisecond => Arc::new(values.reinterpret_cast::<DurationMillisecondType>()),
        TimeUnit::Microsecond => Arc::new(values.reinterpret_cast::<DurationMicrosecondType>()),
        TimeUnit::Nanosecond => Arc::new(values.reinterpret_cast::<DurationNanosecondType>()),
    }
}
