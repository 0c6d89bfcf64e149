//! Dates and times in Spark's words.

use arrow::datatypes::DataType;

use super::{
    super::{Written, expression::Operand, refused},
    cast::cast,
    function::{Call, Tried},
    long, quoted,
};
use crate::expr::{BinaryOp, INTERVAL, Literal, TIMESTAMP};

const NANOS_PER_MICRO: i64 = 1_000;

/// `left op right` where a date, a timestamp or a length of time is in it; `None` where it is not,
/// or where both dialects say it alike.
///
/// # Errors
/// What Spark does not compute, or otherwise.
pub(super) fn arithmetic(
    op: BinaryOp,
    left: &Operand<'_>,
    right: &Operand<'_>,
    data_type: &DataType,
) -> Tried {
    let is_length = |of: &DataType| *of == INTERVAL || matches!(of, DataType::Duration(_));
    let is_negative = op == BinaryOp::Subtract;
    Ok(Some(match (&left.data_type, &right.data_type) {
        (DataType::Date32, DataType::Date32) if is_negative => {
            long(&format!("datediff({}, {})", left.text, right.text))
        }
        (DataType::Date32, days) if days.is_integer() => {
            let word = if is_negative { "date_sub" } else { "date_add" };
            format!("{word}({}, {})", left.text, days_of(right))
        }
        (days, DataType::Date32) if days.is_integer() => {
            format!("date_add({}, {})", right.text, days_of(left))
        }
        (DataType::Date32, other) if *other == INTERVAL => {
            moved(&left.text, right, is_negative, data_type)?
        }
        (other, DataType::Date32) if *other == INTERVAL => {
            moved(&right.text, left, false, data_type)?
        }
        (moment, other) if *moment == TIMESTAMP && *other == INTERVAL => {
            let sign = if is_negative { '-' } else { '+' };
            format!("({} {sign} {})", left.text, length(right)?)
        }
        (other, moment) if *moment == TIMESTAMP && *other == INTERVAL => {
            format!("({} + {})", right.text, length(left)?)
        }
        (left, right) if *left == TIMESTAMP && *right == TIMESTAMP => return Ok(None),
        (left, right)
            if is_length(left) || is_length(right) || left.is_temporal() && is_negative =>
        {
            return refused_time();
        }
        _ => return Ok(None),
    }))
}

/// A number of days in 32 bits.
fn days_of(days: &Operand<'_>) -> String {
    match days.data_type {
        DataType::Int64 | DataType::UInt32 | DataType::UInt64 => {
            format!("cast({} as INT)", days.text)
        }
        _ => days.text.clone(),
    }
}

fn refused_time<T>() -> Result<T, String> {
    Err(String::from("what is computed with such times has no SQL in Spark"))
}

/// A date moved by an interval: a date where that is a constant of months and days.
fn moved(date: &str, by: &Operand<'_>, is_negative: bool, data_type: &DataType) -> Written {
    if *data_type != DataType::Date32 {
        let sign = if is_negative { '-' } else { '+' };
        return Ok(format!("(cast({date} as TIMESTAMP_NTZ) {sign} {})", length(by)?));
    }
    let Some(Literal::Interval { months, days, nanos: 0 }) = by.constant else {
        return refused_time();
    };
    let signed = |number: i32| {
        let number = i64::from(number);
        if is_negative { -number } else { number }
    };
    let mut text = String::from(date);
    if *months != 0 {
        text = format!("add_months({text}, {})", signed(*months));
    }
    if *days != 0 {
        text = format!("date_add({text}, {})", signed(*days));
    }
    Ok(text)
}

/// An interval that a timestamp is moved by.
fn length(by: &Operand<'_>) -> Written {
    match by.constant {
        Some(literal) => interval(literal),
        None => Ok(by.text.clone()),
    }
}

/// A constant interval.
///
/// # Errors
/// One that is finer than a microsecond.
pub(super) fn interval(literal: &Literal) -> Written {
    match literal {
        Literal::Interval { months, days, nanos } if nanos % NANOS_PER_MICRO == 0 => {
            Ok(format!("make_interval(0, {months}, 0, {days}, 0, 0, {})", seconds(*nanos)))
        }
        _ => refused("an interval finer than a microsecond has no SQL in Spark"),
    }
}

/// Nanoseconds as seconds.
pub(super) fn seconds(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let (whole, rest) =
        (nanos.unsigned_abs() / 1_000_000_000, nanos.unsigned_abs() % 1_000_000_000);
    let text = format!("{sign}{whole}.{:06}", rest / NANOS_PER_MICRO.unsigned_abs());
    String::from(text.trim_end_matches('0').trim_end_matches('.'))
}

/// A call of a function of dates and times.
pub(super) fn call(call: &Call<'_>) -> Tried {
    let none = |zone: &DataType| matches!(zone, DataType::Date32) || *zone == TIMESTAMP;
    let (first, second) = (call.type_of(0), call.type_of(1));
    Ok(Some(match (call.name, &call.texts[..]) {
        ("date_part", [_, x]) if none(&second) => {
            let Some(unit) = call.constant(0) else {
                return call.refused("takes a constant unit");
            };
            part(call, unit, x, &second)?
        }
        (
            "year" | "quarter" | "month" | "week" | "day" | "dayofweek" | "isodow" | "dayofyear"
            | "hour" | "minute" | "second" | "millisecond" | "microsecond" | "isoyear" | "yearweek"
            | "epoch",
            [x],
        ) if none(&first) => part(call, call.name, x, &first)?,
        ("epoch_us", [x]) if none(&first) => long(&format!("{} * 1000000", since_epoch(x, &first))),
        ("epoch_ms", [x]) if none(&first) => {
            long(&format!("floor({} * 1000)", since_epoch(x, &first)))
        }
        ("date_trunc", [_, x]) if none(&second) => match call.constant(0) {
            Some(
                "microsecond" | "millisecond" | "second" | "minute" | "hour" | "day" | "week"
                | "month" | "quarter" | "year",
            ) => format!("cast(date_trunc({}, {x}) as TIMESTAMP_NTZ)", call.texts[0]),
            _ => return call.refused("has other units in Spark"),
        },
        ("date_diff", [_, from, to]) if none(&second) => boundaries(call, from, to, &second)?,
        ("date_sub", [_, from, to]) if none(&second) => {
            let (from, to) = (since_epoch(from, &second), since_epoch(to, &second));
            let Some(unit) = call.constant(0).and_then(seconds_of) else {
                return call.refused("of months and years counts otherwise in Spark");
            };
            format!("(({to} - {from}) div {unit})")
        }
        ("date_add", [date, _]) if second.is_integer() => {
            format!("date_add({date}, {})", call.int(1))
        }
        ("date_sub", [date, _]) if second.is_integer() => {
            format!("date_sub({date}, {})", call.int(1))
        }
        ("date_add", [x, by]) if first == DataType::Date32 && second == INTERVAL => {
            format!("(cast({x} as TIMESTAMP_NTZ) + {by})")
        }
        ("date_add", [x, by]) if first == TIMESTAMP && second == INTERVAL => {
            format!("({x} + {by})")
        }
        ("last_day", [x]) if none(&first) => format!("last_day(cast({x} as DATE))"),
        ("monthname", [x]) if none(&first) => format!("date_format({x}, 'MMMM')"),
        ("dayname", [x]) if none(&first) => format!("date_format({x}, 'EEEE')"),
        ("make_date", [_, _, _]) => {
            format!("make_date({}, {}, {})", call.int(0), call.int(1), call.int(2))
        }
        ("make_timestamp", [.., seconds]) if call.texts.len() == 6 => {
            let whole = (0..5).map(|at| call.int(at)).collect::<Vec<_>>().join(", ");
            format!("make_timestamp_ntz({whole}, cast({seconds} as DECIMAL(16,6)))")
        }
        ("to_date", [x]) => cast(x, &first, &DataType::Date32, false)?,
        ("to_timestamp", [x]) if first == DataType::Utf8View => cast(x, &first, &TIMESTAMP, false)?,
        ("to_date", [x, _]) => format!("to_date({x}, {})", format(call, true)?),
        ("strptime" | "to_timestamp", [x, _]) if *call.data_type == TIMESTAMP => {
            format!("to_timestamp_ntz({x}, {})", format(call, true)?)
        }
        ("try_strptime", [x, _]) if *call.data_type == TIMESTAMP => {
            format!("cast(try_to_timestamp({x}, {}) as TIMESTAMP_NTZ)", format(call, true)?)
        }
        ("strftime", [x, _]) if none(&first) => {
            format!("date_format({x}, {})", format(call, false)?)
        }
        ("to_years", _) => format!("make_interval({})", call.int(0)),
        ("to_months", _) => format!("make_interval(0, {})", call.int(0)),
        ("to_weeks", _) => format!("make_interval(0, 0, {})", call.int(0)),
        ("to_days", _) => format!("make_interval(0, 0, 0, {})", call.int(0)),
        ("to_hours", _) => format!("make_interval(0, 0, 0, 0, {})", call.int(0)),
        ("to_minutes", _) => format!("make_interval(0, 0, 0, 0, 0, {})", call.int(0)),
        ("to_seconds", [x]) => {
            format!("make_interval(0, 0, 0, 0, 0, 0, cast({x} as DECIMAL(18,6)))")
        }
        ("now", []) => String::from("current_timestamp()"),
        ("localtimestamp", []) => String::from("localtimestamp()"),
        ("current_date", []) => String::from("current_date()"),
        _ => return Ok(None),
    }))
}

/// A part of a date or a timestamp.
fn part(call: &Call<'_>, unit: &str, x: &str, of: &DataType) -> Written {
    let moment = || match of {
        DataType::Date32 => format!("cast({x} as TIMESTAMP_NTZ)"),
        _ => String::from(x),
    };
    Ok(match unit {
        "year" | "quarter" | "month" | "day" => long(&format!("{unit}({x})")),
        "isoyear" => long(&format!("extract(yearofweek from {x})")),
        "week" => long(&format!("weekofyear({x})")),
        "yearweek" => long(&format!("extract(yearofweek from {x}) * 100 + weekofyear({x})")),
        // From 1 there.
        "dow" | "dayofweek" | "weekday" => long(&format!("dayofweek({x}) - 1")),
        // From 0 there.
        "isodow" => long(&format!("weekday({x}) + 1")),
        "doy" | "dayofyear" => long(&format!("dayofyear({x})")),
        "hour" | "minute" | "second" => long(&format!("{unit}({})", moment())),
        "millisecond" => long(&format!("floor(extract(second from {}) * 1000)", moment())),
        "microsecond" => long(&format!("extract(second from {}) * 1000000", moment())),
        "epoch" => format!("cast({} as DOUBLE)", since_epoch(x, of)),
        _ => return call.refused(&format!("of `{unit}` has no SQL in Spark")),
    })
}

/// The seconds since 1970, as a decimal of six digits behind the point.
fn since_epoch(x: &str, of: &DataType) -> String {
    match of {
        DataType::Date32 => format!("cast(unix_date({x}) * 86400L as DECIMAL(20,6))"),
        _ => format!(
            "cast(cast({x} - timestamp_ntz '1970-01-01 00:00:00' as INTERVAL SECOND) as \
             DECIMAL(20,6))"
        ),
    }
}

/// The seconds of a unit of fixed length.
fn seconds_of(unit: &str) -> Option<u32> {
    Some(match unit {
        "second" => 1,
        "minute" => 60,
        "hour" => 3_600,
        "day" => 86_400,
        "week" => 604_800,
        _ => return None,
    })
}

/// How many boundaries of a unit lie between two days or moments.
fn boundaries(call: &Call<'_>, from: &str, to: &str, of: &DataType) -> Written {
    let months = |x: &str| format!("(year({x}) * 12 + month({x}))");
    let quarters = |x: &str| format!("(year({x}) * 4 + quarter({x}))");
    let days = || format!("datediff(cast({to} as DATE), cast({from} as DATE))");
    Ok(match call.constant(0) {
        Some("year") => long(&format!("year({to}) - year({from})")),
        Some("quarter") => long(&format!("{} - {}", quarters(to), quarters(from))),
        Some("month") => long(&format!("{} - {}", months(to), months(from))),
        Some("day") => long(&days()),
        Some(unit @ ("hour" | "minute" | "second")) => {
            let seconds = seconds_of(unit).unwrap_or(1);
            let at = |x: &str| long(&format!("floor({} / {seconds})", since_epoch(x, of)));
            format!("({} - {})", at(to), at(from))
        }
        _ => return call.refused("has other units in Spark"),
    })
}

/// A constant format of C's in Java's letters; one that is read by it must say the whole day.
fn format(call: &Call<'_>, is_read: bool) -> Written {
    let refused = |why: &str| call.refused(why);
    let Some(format) = call.constant(1) else { return refused("takes a constant format in Spark") };
    let mut written = String::new();
    let mut said = String::new();
    let mut between = String::new();
    let mut signs = format.chars();
    while let Some(sign) = signs.next() {
        if sign != '%' {
            between.push(sign);
            continue;
        }
        let letter = signs.next().unwrap_or('%');
        if letter == '%' {
            between.push('%');
            continue;
        }
        written += &as_it_is(&std::mem::take(&mut between));
        said.push(letter);
        written += match letter {
            'Y' => "yyyy",
            'm' => "MM",
            'd' => "dd",
            'H' => "HH",
            'M' => "mm",
            'S' => "ss",
            'f' => "SSSSSS",
            'j' if !is_read => "DDD",
            'a' if !is_read => "EEE",
            'A' if !is_read => "EEEE",
            'b' if !is_read => "MMM",
            'B' if !is_read => "MMMM",
            _ => return refused("has a format that means something else in Spark"),
        };
    }
    written += &as_it_is(&between);
    if is_read && !"Ymd".chars().all(|letter| said.contains(letter)) {
        return refused("has a format without a whole day, which is another one in Spark");
    }
    Ok(quoted(&written))
}

/// Text between the letters of a format, in quotes where it has letters itself.
fn as_it_is(text: &str) -> String {
    let means_something = |sign: char| sign.is_alphabetic() || "'[]{}#".contains(sign);
    if text.contains(means_something) {
        format!("'{}'", text.replace('\'', "''"))
    } else {
        String::from(text)
    }
}
