//! Frames: which rows of its partition each row's function sees.

use std::{cmp::Ordering, ops::Range};

use arrow::{
    array::{Array, ArrayRef, AsArray},
    compute::{CastOptions, cast_with_options},
    datatypes::{
        DataType, Decimal128Type, Decimal256Type, Float64Type, Int64Type, TimeUnit, UInt64Type,
    },
};
use chrono::{Datelike, Days, Months, NaiveDate};

use crate::{
    Error, Result,
    expr::{
        SortKey,
        window::{Frame, FrameBound, FrameUnit, Offset},
    },
    operators::window::chunk::Chunk,
};

/// Nanoseconds of a day.
const DAY: i128 = 86_400_000_000_000;

/// The rows that each row of a chunk sees, whose partitions are all whole, or begun before where
/// the frame begins with them.
///
/// # Errors
/// [`Error::Internal`] for an order key that has no distances.
pub(super) fn frames(
    frame: &Frame,
    order_by: &[SortKey],
    chunk: &Chunk,
) -> Result<Vec<Range<usize>>> {
    let mut frames = Vec::with_capacity(chunk.rows());
    match frame.unit {
        FrameUnit::Rows => {
            for partition in chunk.partitions() {
                let whole = partition.clone();
                let place = |row: usize, bound| by_count(row, bound, &whole);
                frames.extend(
                    partition.map(|row| place(row, frame.start)..place_end(row, frame.end, &whole)),
                );
            }
        }
        FrameUnit::Groups => by_groups(frame, chunk, &mut frames),
        FrameUnit::Range => by_value(frame, order_by, chunk, &mut frames)?,
    }
    Ok(frames)
}

/// The first of `all` that a bound of so many admits.
fn by_count(at: usize, bound: FrameBound, all: &Range<usize>) -> usize {
    match bound {
        FrameBound::UnboundedPreceding => all.start,
        FrameBound::Preceding(offset) => at.saturating_sub(count(offset)).max(all.start),
        FrameBound::CurrentRow => at,
        FrameBound::Following(offset) => at.saturating_add(count(offset)).min(all.end),
        FrameBound::UnboundedFollowing => all.end,
    }
}

/// The one behind the last of `all` that a bound of so many admits.
fn place_end(at: usize, bound: FrameBound, all: &Range<usize>) -> usize {
    match bound {
        FrameBound::UnboundedPreceding => all.start,
        FrameBound::Preceding(offset) => (at + 1).saturating_sub(count(offset)).max(all.start),
        FrameBound::CurrentRow => at + 1,
        FrameBound::Following(offset) => {
            at.saturating_add(count(offset)).saturating_add(1).min(all.end)
        }
        FrameBound::UnboundedFollowing => all.end,
    }
}

fn count(offset: Offset) -> usize {
    match offset {
        Offset::Count(count) => usize::try_from(count).unwrap_or(usize::MAX),
        Offset::Ticks(_) | Offset::Float(_) | Offset::Calendar { .. } => 0,
    }
}

/// Frames that count groups of equal rows.
fn by_groups(frame: &Frame, chunk: &Chunk, frames: &mut Vec<Range<usize>>) {
    let groups = chunk.groups();
    let mut at = 0;
    for partition in chunk.partitions() {
        let first = at;
        while at < groups.len() && groups[at].start < partition.end {
            at += 1;
        }
        let all = first..at;
        // Where a group begins; the one behind the last begins where the partition ends.
        let start =
            |group: usize| groups.get(group).map_or(partition.end, |g| g.start.min(partition.end));
        for group in all.clone() {
            let begin = start(by_count(group, frame.start, &all));
            let end = start(place_end(group, frame.end, &all));
            frames.extend(groups[group].clone().map(|_| begin..end));
        }
    }
}

/// Frames that go by the order key's values.
fn by_value(
    frame: &Frame,
    order_by: &[SortKey],
    chunk: &Chunk,
    frames: &mut Vec<Range<usize>>,
) -> Result<()> {
    let has_offset = [frame.start, frame.end]
        .iter()
        .any(|bound| matches!(bound, FrameBound::Preceding(_) | FrameBound::Following(_)));
    let keys = match order_by {
        [key] if has_offset => Some(Keys::new(key, chunk)?),
        _ if has_offset => {
            let reason = format!("a range of a distance over {} order keys", order_by.len());
            return Err(Error::Internal(reason));
        }
        _ => None,
    };
    let groups = chunk.groups();
    let mut groups = groups.iter().peekable();
    for partition in chunk.partitions() {
        let values = keys.as_ref().map_or(0..0, |keys| keys.values(&partition));
        while let Some(group) = groups.next_if(|group| group.start < partition.end) {
            // All rows of a group have one key, and so one frame.
            let reach = |bound, is_start: bool| match (bound, &keys) {
                (FrameBound::UnboundedPreceding, _) => partition.start,
                (FrameBound::UnboundedFollowing, _) => partition.end,
                (FrameBound::Preceding(offset), Some(keys)) if values.contains(&group.start) => {
                    keys.reach(group.start, offset, true, is_start, &values)
                }
                (FrameBound::Following(offset), Some(keys)) if values.contains(&group.start) => {
                    keys.reach(group.start, offset, false, is_start, &values)
                }
                // A null is at no distance from anything but nulls.
                _ if is_start => group.start,
                _ => group.end,
            };
            let found = reach(frame.start, true)..reach(frame.end, false);
            frames.extend(group.clone().map(|_| found.clone()));
        }
    }
    Ok(())
}

/// The values of an order key, as numbers in which distances are differences.
struct Keys {
    numbers: Numbers,
    nulls: Vec<bool>,
    descending: bool,
}

enum Numbers {
    /// In ticks of [`Offset::Ticks`].
    Exact(Vec<i128>),
    Float(Vec<f64>),
}

impl Keys {
    fn new(key: &SortKey, chunk: &Chunk) -> Result<Self> {
        let column = chunk.batch.column(key.column);
        let numbers = numbers(column)?;
        let nulls = (0..column.len()).map(|row| column.is_null(row)).collect();
        Ok(Self { numbers, nulls, descending: key.descending })
    }

    /// The rows of a partition that have a value; nulls stand before or behind them.
    fn values(&self, partition: &Range<usize>) -> Range<usize> {
        let nulls = &self.nulls[partition.clone()];
        let first = nulls.iter().position(|is_null| !is_null).unwrap_or(nulls.len());
        let last = nulls.iter().rposition(|is_null| !is_null).map_or(first, |row| row + 1);
        partition.start + first..partition.start + last
    }

    /// The first row of `values` at or behind the place so far before or behind `row`; with
    /// `is_start` false the first one behind it.
    fn reach(
        &self,
        row: usize,
        offset: Offset,
        is_before: bool,
        is_start: bool,
        values: &Range<usize>,
    ) -> usize {
        let is_less = is_before != self.descending;
        let is_ahead = |order: Ordering| {
            let order = if self.descending { order.reverse() } else { order };
            if is_start { order.is_lt() } else { order.is_le() }
        };
        let found = match &self.numbers {
            Numbers::Exact(keys) => {
                let target = moved(keys[row], offset, is_less);
                keys[values.clone()].partition_point(|key| is_ahead(key.cmp(&target)))
            }
            Numbers::Float(keys) => {
                let by = if let Offset::Float(bits) = offset { f64::from_bits(bits) } else { 0.0 };
                let target = if is_less { keys[row] - by } else { keys[row] + by };
                keys[values.clone()].partition_point(|key| is_ahead(order_of_floats(*key, target)))
            }
        };
        values.start + found
    }
}

/// NaN is equal to NaN and greatest.
fn order_of_floats(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

/// A key moved by a distance, down or up.
fn moved(key: i128, offset: Offset, is_less: bool) -> i128 {
    let by = |from: i128, ticks: i128| {
        if is_less { from.saturating_sub(ticks) } else { from.saturating_add(ticks) }
    };
    match offset {
        Offset::Ticks(ticks) => by(key, ticks),
        Offset::Calendar { months, nanoseconds } => {
            by(by_months(key, months, is_less), i128::from(nanoseconds))
        }
        Offset::Count(_) | Offset::Float(_) => key,
    }
}

/// A time in nanoseconds since 1970, moved by calendar months: the same day, or the month's last.
fn by_months(key: i128, months: u32, is_less: bool) -> i128 {
    let (days, rest) = (key.div_euclid(DAY), key.rem_euclid(DAY));
    let beyond = if is_less { i128::MIN } else { i128::MAX };
    let epoch = NaiveDate::default();
    let date = u64::try_from(days.unsigned_abs()).ok().and_then(|count| {
        let days_from = Days::new(count);
        if days < 0 { epoch.checked_sub_days(days_from) } else { epoch.checked_add_days(days_from) }
    });
    let moved = date.and_then(|date| {
        let by = Months::new(months);
        if is_less { date.checked_sub_months(by) } else { date.checked_add_months(by) }
    });
    moved.map_or(beyond, |found| {
        let since = i128::from(found.num_days_from_ce()) - i128::from(epoch.num_days_from_ce());
        since * DAY + rest
    })
}

fn numbers(column: &ArrayRef) -> Result<Numbers> {
    let options = CastOptions { safe: false, ..CastOptions::default() };
    let cast = |to: &DataType| cast_with_options(column, to, &options);
    let whole = |ticks: i128| -> Result<Numbers> {
        let cast = cast(&DataType::Int64)?;
        let values = cast.as_primitive::<Int64Type>().values();
        Ok(Numbers::Exact(values.iter().map(|value| i128::from(*value) * ticks).collect()))
    };
    let unit = |unit: &TimeUnit| match unit {
        TimeUnit::Second => 1_000_000_000,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1,
    };
    match column.data_type() {
        DataType::UInt64 => {
            let values = column.as_primitive::<UInt64Type>().values();
            Ok(Numbers::Exact(values.iter().map(|value| i128::from(*value)).collect()))
        }
        other if other.is_integer() => whole(1),
        DataType::Decimal128(..) => {
            Ok(Numbers::Exact(column.as_primitive::<Decimal128Type>().values().to_vec()))
        }
        DataType::Decimal256(..) => {
            // A key beyond 128 bits is further from all others than any distance can say.
            let clamp = |value: &arrow::datatypes::i256| {
                let beyond = if value.is_negative() { i128::MIN } else { i128::MAX };
                value.to_i128().unwrap_or(beyond)
            };
            let values = column.as_primitive::<Decimal256Type>().values();
            Ok(Numbers::Exact(values.iter().map(clamp).collect()))
        }
        DataType::Float32 | DataType::Float64 => {
            let floats = cast(&DataType::Float64)?;
            Ok(Numbers::Float(floats.as_primitive::<Float64Type>().values().to_vec()))
        }
        DataType::Date32 => {
            let days = cast(&DataType::Int32)?;
            let values = days.as_primitive::<arrow::datatypes::Int32Type>().values();
            Ok(Numbers::Exact(values.iter().map(|value| i128::from(*value) * DAY).collect()))
        }
        DataType::Timestamp(of, _) | DataType::Time64(of) | DataType::Duration(of) => {
            whole(unit(of))
        }
        other => Err(Error::Internal(format!("a range of a distance over {other}"))),
    }
}
