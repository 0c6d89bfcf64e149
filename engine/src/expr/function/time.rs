//! Functions over dates and times.
//!
//! A timestamp with a zone is taken apart, cut and counted by the wall clocks of its zone. The
//! calendar is the Gregorian one, before it was made too; weeks are ISO 8601's.

mod moment;
mod part;
mod trunc;
mod difference;
mod make;
mod format;
mod zone;

use arrow::datatypes::DataType;

use super::{Gives, Kind, Overload, Signature, resolve};
use crate::expr::{Expr, Literal};

const DATE: &[Kind] = &[Kind::Date];
const TIMESTAMP: &[Kind] = &[Kind::Timestamp];

/// A function of a date or of a timestamp.
macro_rules! of_moments {
    ([$($before:expr),*], $gives:expr, $kernel:path) => {
        &[
            Overload::new(&[$($before,)* Kind::Date], $gives, $kernel),
            Overload::new(&[$($before,)* Kind::Timestamp], $gives, $kernel),
        ]
    };
}

/// A function of two dates or two timestamps.
macro_rules! of_two_moments {
    ($kernel:path) => {
        &[
            Overload::new(&[Kind::Text, Kind::Date, Kind::Date], Gives::Int64, $kernel),
            Overload::new(&[Kind::Text, Kind::Timestamp, Kind::Timestamp], Gives::Int64, $kernel),
        ]
    };
}

/// `year(x)` and its like, which are `date_part('year', x)`, of these kinds of `x`.
macro_rules! part {
    ($name:literal, $aliases:expr, $part:literal, $about:literal, $example:expr) => {
        part!($name, $aliases, $part, $about, $example, Date, Timestamp)
    };
    ($name:literal, $aliases:expr, $part:literal, $about:literal, $example:expr, $($kind:ident),*) => {
        Signature::new(
            $name,
            &[$(Overload::rewrite(&[Kind::$kind], Gives::Int64, |arguments| {
                part_of($part, arguments)
            })),*],
            concat!($about, "; `date_part('", $part, "', x)`"),
            &[$example],
        )
        .aka($aliases)
    };
}

/// As [`part`], of times of day, durations and intervals too.
macro_rules! clock {
    ($name:literal, $about:literal, $example:expr) => {
        part!($name, &[], $name, $about, $example, Date, Timestamp, Time, Duration, Interval)
    };
}

fn part_of(part: &str, mut arguments: Vec<Expr>) -> Result<Expr, String> {
    arguments.insert(0, Expr::Literal(Literal::Utf8(String::from(part))));
    resolve::resolve("date_part", arguments).map_err(|refusal| refusal.message)
}

/// As `unit` of [`part::check`]: the first argument.
fn check_part(arguments: &[Expr]) -> Result<(), String> {
    part::check(arguments.first())
}

fn check_unit(arguments: &[Expr]) -> Result<(), String> {
    trunc::check(arguments.first())
}

const OUT_OF_RANGE: &str = "where the result is out of range";

/// The functions over dates and times.
pub(super) static FUNCTIONS: &[Signature] = &[
    Signature::new(
        "date_part",
        &[
            Overload::new(
                &[Kind::Text, Kind::Date],
                Gives::Of(part::result, "int64, float64 of `epoch`"),
                part::date_part,
            ),
            Overload::new(
                &[Kind::Text, Kind::Timestamp],
                Gives::Of(part::result, "int64, float64 of `epoch`"),
                part::date_part,
            ),
            Overload::new(
                &[Kind::Text, Kind::Time],
                Gives::Of(part::result, "int64, float64 of `epoch`"),
                part::date_part,
            ),
            Overload::new(
                &[Kind::Text, Kind::Duration],
                Gives::Of(part::result, "int64, float64 of `epoch`"),
                part::date_part,
            ),
            Overload::new(
                &[Kind::Text, Kind::Interval],
                Gives::Of(part::result, "int64, float64 of `epoch`"),
                part::date_part,
            ),
        ],
        "a part by its name, a constant: year, isoyear, quarter, month, week (ISO), yearweek, day, \
         dow or dayofweek (0 is Sunday), isodow (7 is Sunday), doy or dayofyear, hour, minute, \
         second, millisecond and microsecond (with the seconds), epoch, decade, century, \
         millennium; also `extract(year from x)`",
        &[
            ("date_part('year', date '2024-02-29')", "2024"),
            ("extract(week from date '2021-01-03')", "53"),
            ("date_part('dow', date '2021-01-03')", "0"),
            ("date_part('millisecond', timestamp '2024-02-29 13:45:59.123456')", "59123"),
            ("date_part('epoch', timestamp '1970-01-01 00:00:01.5')", "1.5"),
        ],
    )
    .aka(&["datepart"])
    .checked(check_part),
    part!("year", &[], "year", "the year", ("year(date '2024-02-29')", "2024")),
    part!("quarter", &[], "quarter", "the quarter", ("quarter(date '2024-05-01')", "2")),
    part!("month", &[], "month", "the month", ("month(date '2024-02-29')", "2")),
    part!("week", &["weekofyear"], "week", "ISO 8601's week", ("week(date '2021-01-03')", "53")),
    part!("day", &["dayofmonth"], "day", "the day of the month", ("day(date '2024-02-29')", "29")),
    part!(
        "dayofweek",
        &["weekday"],
        "dow",
        "the day of the week, 0 is Sunday",
        ("dayofweek(date '2021-01-03')", "0")
    ),
    part!(
        "isodow",
        &[],
        "isodow",
        "the day of the week, 1 is Monday and 7 is Sunday",
        ("isodow(date '2021-01-03')", "7")
    ),
    part!("dayofyear", &[], "doy", "the day of the year", ("dayofyear(date '2024-03-01')", "61")),
    clock!("hour",
        "the hour",
        ("hour(timestamp '2024-02-29 13:45:59')", "13")
    ),
    clock!("minute",
        "the minute",
        ("minute(timestamp '2024-02-29 13:45:59')", "45")
    ),
    clock!("second",
        "the second, without its fraction",
        ("second(timestamp '2024-02-29 13:45:59.9')", "59")
    ),
    clock!("millisecond",
        "milliseconds of the minute",
        ("millisecond(timestamp '2024-02-29 13:45:59.123')", "59123")
    ),
    clock!("microsecond",
        "microseconds of the minute",
        ("microsecond(timestamp '2024-02-29 13:45:59.123')", "59123000")
    ),
    part!("isoyear", &[], "isoyear", "the year of ISO's week", ("isoyear(date '2021-01-03')", "2020")),
    part!(
        "yearweek",
        &[],
        "yearweek",
        "ISO's year times 100, and its week",
        ("yearweek(date '2021-01-03')", "202053")
    ),
    part!("decade", &[], "decade", "the year divided by ten", ("decade(date '1999-01-01')", "199")),
    part!("century", &[], "century", "the century", ("century(date '2000-01-01')", "20")),
    part!("millennium", &[], "millennium", "the millennium", ("millennium(date '2001-01-01')", "3")),
    Signature::new(
        "epoch",
        of_moments!([], Gives::Float64, part::epoch),
        "seconds since 1970-01-01 UTC",
        &[("epoch(timestamp '1970-01-01 00:00:01.5')", "1.5")],
    ),
    Signature::new(
        "epoch_ms",
        &[
            Overload::new(&[Kind::Int64], Gives::Timestamp, make::from_millis),
            Overload::new(DATE, Gives::Int64, part::epoch_ms),
            Overload::new(TIMESTAMP, Gives::Int64, part::epoch_ms),
        ],
        "milliseconds since 1970-01-01 UTC; of a whole number the timestamp of so many",
        &[
            ("epoch_ms(timestamp '1970-01-01 00:00:01.5')", "1500"),
            ("epoch_ms(1500)", "1970-01-01T00:00:01.500000"),
        ],
    )
    .fails(OUT_OF_RANGE),
    Signature::new(
        "epoch_us",
        of_moments!([], Gives::Int64, part::epoch_us),
        "microseconds since 1970-01-01 UTC",
        &[("epoch_us(timestamp '1970-01-01 00:00:01.5')", "1500000")],
    )
    .fails(OUT_OF_RANGE),
    Signature::new(
        "epoch_ns",
        of_moments!([], Gives::Int64, part::epoch_ns),
        "nanoseconds since 1970-01-01 UTC",
        &[("epoch_ns(timestamp '1970-01-01 00:00:01.5')", "1500000000")],
    )
    .fails(OUT_OF_RANGE),
    Signature::new(
        "date_trunc",
        &[
            Overload::new(&[Kind::Text, Kind::Date], Gives::Timestamp, trunc::date_trunc),
            Overload::new(&[Kind::Text, Kind::Timestamp], Gives::Argument(1), trunc::date_trunc),
        ],
        "the beginning of the unit, a constant, in which it lies: microsecond, millisecond, second, \
         minute, hour, day, week (Monday), month, quarter, year, isoyear, decade, century, millennium",
        &[
            ("date_trunc('month', timestamp '2024-02-29 13:45:59')", "2024-02-01T00:00:00"),
            ("date_trunc('week', date '2024-02-29')", "2024-02-26T00:00:00"),
        ],
    )
    .aka(&["datetrunc"])
    .fails(OUT_OF_RANGE)
    .checked(check_unit),
    Signature::new(
        "date_diff",
        of_two_moments!(difference::date_diff),
        "`date_diff(unit, a, b)`: how many boundaries of the unit, a constant, lie between a and b; \
         of weeks how many times seven days",
        &[
            ("date_diff('month', date '2024-01-31', date '2024-02-01')", "1"),
            ("date_diff('day', date '2024-02-28', date '2024-03-01')", "2"),
        ],
    )
    .aka(&["datediff"])
    .fails(OUT_OF_RANGE)
    .checked(check_unit),
    Signature::new(
        "date_sub",
        &[
            Overload::new(&[Kind::Text, Kind::Date, Kind::Date], Gives::Int64, difference::date_sub),
            Overload::new(
                &[Kind::Text, Kind::Timestamp, Kind::Timestamp],
                Gives::Int64,
                difference::date_sub,
            ),
            Overload::new(&[Kind::Date, Kind::Int64], Gives::Date, difference::days_before),
        ],
        "`date_sub(unit, a, b)`: how many whole units, a constant, lie between a and b; \
         `date_sub(date, n)`: n days before",
        &[
            ("date_sub('month', date '2024-01-31', date '2024-03-30')", "1"),
            ("date_sub(date '2024-03-01', 1)", "2024-02-29"),
        ],
    )
    .aka(&["datesub"])
    .fails(OUT_OF_RANGE)
    .checked(|arguments| match arguments {
        [unit, _, _] => trunc::check(Some(unit)),
        _ => Ok(()),
    })
    .differs("has no `date_sub(date, n)`; as in Spark"),
    Signature::new(
        "date_add",
        &[
            Overload::new(&[Kind::Date, Kind::Int64], Gives::Date, difference::days_behind),
            Overload::new(&[Kind::Date, Kind::Interval], Gives::Timestamp, difference::add_interval),
            Overload::new(
                &[Kind::Timestamp, Kind::Interval],
                Gives::Argument(0),
                difference::add_interval,
            ),
        ],
        "`date_add(date, n)`: n days behind; `date_add(x, interval)`: x and the interval, the last \
         day of a month where it has no such day",
        &[
            ("date_add(date '2024-02-28', 2)", "2024-03-01"),
            ("date_add(timestamp '2024-01-31 10:00:00', to_months(1))", "2024-02-29T10:00:00"),
        ],
    )
    .fails(OUT_OF_RANGE),
    Signature::new(
        "last_day",
        of_moments!([], Gives::Date, trunc::last_day),
        "the last day of its month",
        &[("last_day(date '2024-02-01')", "2024-02-29")],
    )
    .fails(OUT_OF_RANGE),
    Signature::new(
        "monthname",
        of_moments!([], Gives::Text, format::month_name),
        "the month's English name",
        &[("monthname(date '2024-02-01')", "February")],
    ),
    Signature::new(
        "dayname",
        of_moments!([], Gives::Text, format::day_name),
        "the weekday's English name",
        &[("dayname(date '2024-02-01')", "Thursday")],
    ),
    Signature::new(
        "make_date",
        &[Overload::new(&[Kind::Int64, Kind::Int64, Kind::Int64], Gives::Date, make::make_date)],
        "`make_date(year, month, day)`",
        &[("make_date(2024, 2, 29)", "2024-02-29")],
    )
    .fails("where there is no such day"),
    Signature::new(
        "make_timestamp",
        &[
            Overload::new(&[Kind::Int64], Gives::Timestamp, make::from_micros),
            Overload::new(
                &[
                    Kind::Int64,
                    Kind::Int64,
                    Kind::Int64,
                    Kind::Int64,
                    Kind::Int64,
                    Kind::Float64,
                ],
                Gives::Timestamp,
                make::make_timestamp,
            ),
        ],
        "`make_timestamp(year, month, day, hour, minute, second)`, or of microseconds since \
         1970-01-01",
        &[
            ("make_timestamp(2024, 2, 29, 13, 45, 59.5)", "2024-02-29T13:45:59.500000"),
            ("make_timestamp(1500000)", "1970-01-01T00:00:01.500000"),
        ],
    )
    .fails("where there is no such time")
    .differs("hour 24 and second 60 are refused"),
    Signature::new(
        "to_timestamp",
        &[
            Overload::new(&[Kind::Float64], Gives::Zoned, make::from_seconds),
            Overload::rewrite(&[Kind::Text], Gives::Timestamp, |arguments| {
                cast_of(arguments, crate::expr::TIMESTAMP)
            }),
            Overload::new(
                &[Kind::Text, Kind::Text],
                Gives::Of(format::parsed_type, "timestamp"),
                format::strptime,
            ),
        ],
        "the timestamp_tz of seconds since 1970-01-01 UTC; of text the timestamp that it says, or \
         that it says by a format (as strptime)",
        &[
            ("to_timestamp(1.5)", "1970-01-01T00:00:01.500000Z"),
            ("to_timestamp('2024-02-29 13:45:59')", "2024-02-29T13:45:59"),
        ],
    )
    .fails("where the text says no timestamp, or the number is out of range")
    .checked(|arguments| format::check(arguments.get(1), true))
    .differs("takes numbers alone; of text as in Spark"),
    Signature::new(
        "to_date",
        &[
            Overload::rewrite(&[Kind::Text], Gives::Date, |arguments| {
                cast_of(arguments, DataType::Date32)
            }),
            Overload::rewrite(TIMESTAMP, Gives::Date, |arguments| {
                cast_of(arguments, DataType::Date32)
            }),
            Overload::rewrite(&[Kind::Text, Kind::Text], Gives::Date, |arguments| {
                let parsed = resolve::resolve("strptime", arguments);
                cast_of(vec![parsed.map_err(|refusal| refusal.message)?], DataType::Date32)
            }),
        ],
        "the date that a text says, or says by a format (as strptime); the day of a timestamp",
        &[("to_date('29.02.2024', '%d.%m.%Y')", "2024-02-29")],
    )
    .fails("where the text says no date")
    .checked(|arguments| format::check(arguments.get(1), true))
    .differs("has none; as in Spark, with the formats of strptime"),
    Signature::new(
        "strftime",
        &[
            Overload::new(&[Kind::Date, Kind::Text], Gives::Text, format::strftime),
            Overload::new(&[Kind::Timestamp, Kind::Text], Gives::Text, format::strftime),
        ],
        "by a format of chrono's (C's strftime): %Y %m %d %H %M %S %f (microseconds) %j %a %A %b %B \
         %p %I %y %z and more",
        &[("strftime(timestamp '2024-02-29 13:45:59', '%d/%m/%Y %H:%M')", "29/02/2024 13:45")],
    )
    .aka(&["date_format"])
    .fails("where the format of a row is none")
    .checked(|arguments| format::check(arguments.get(1), false))
    .differs("%c, %x and %X are C's, not ISO's"),
    Signature::new(
        "strptime",
        &[Overload::new(
            &[Kind::Text, Kind::Text],
            Gives::Of(format::parsed_type, "timestamp, timestamp_tz where the format has `%z`"),
            format::strptime,
        )],
        "the timestamp that a text says by a format, a constant (as strftime's); what the format \
         lacks is 1900-01-01 00:00:00's",
        &[
            ("strptime('29/02/2024 13:45', '%d/%m/%Y %H:%M')", "2024-02-29T13:45:00"),
            ("strptime('2024-02-29 10:00 +0100', '%Y-%m-%d %H:%M %z')", "2024-02-29T09:00:00Z"),
        ],
    )
    .fails("where the text is not as the format says")
    .checked(|arguments| format::check(arguments.get(1), true)),
    Signature::new(
        "try_strptime",
        &[Overload::new(
            &[Kind::Text, Kind::Text],
            Gives::Of(format::parsed_type, "timestamp, timestamp_tz where the format has `%z`"),
            format::try_strptime,
        )],
        "as strptime; null where the text is not as the format says",
        &[("try_strptime('31/02/2024', '%d/%m/%Y')", "null")],
    )
    .checked(|arguments| format::check(arguments.get(1), true)),
    Signature::new(
        "timezone",
        &[Overload::new(
            &[Kind::Text, Kind::Timestamp],
            Gives::Of(zone::result, "timestamp_tz, or timestamp"),
            zone::timezone,
        )],
        "`timezone(zone, x)`, `x at time zone zone`: of a timestamp the instant at which the zone's \
         clocks show it (the later one where they show it twice; where never, as if they had not \
         been put forward); of a timestamp_tz what the zone's clocks show",
        &[
            ("timezone('Europe/Madrid', timestamp '2024-07-01 12:00:00')", "2024-07-01T10:00:00Z"),
            (
                "timezone('Europe/Madrid', to_timestamp(1719835200))",
                "2024-07-01T14:00:00",
            ),
        ],
    )
    .fails("where there is no such zone")
    .checked(|arguments| zone::check(arguments.first())),
    Signature::new(
        "now",
        &[Overload::new(&[], Gives::Zoned, make::never)],
        "when the job was submitted: the same in all its tasks, on every worker and in every retry",
        &[],
    )
    .aka(&["current_timestamp", "get_current_timestamp", "transaction_timestamp"])
    .of_job(),
    Signature::new(
        "localtimestamp",
        &[Overload::new(&[], Gives::Timestamp, make::never)],
        "as now, as UTC's clocks show it",
        &[],
    )
    .aka(&["current_localtimestamp"])
    .of_job(),
    Signature::new(
        "current_date",
        &[Overload::new(&[], Gives::Date, make::never)],
        "the day of now, in UTC",
        &[],
    )
    .aka(&["today"])
    .of_job(),
    Signature::new(
        "to_years",
        &[Overload::new(&[Kind::Int64], Gives::Interval, make::to_years)],
        "an interval of so many years",
        &[("to_years(2) = to_months(24)", "true")],
    )
    .fails(OUT_OF_RANGE),
    Signature::new(
        "to_months",
        &[Overload::new(&[Kind::Int64], Gives::Interval, make::to_months)],
        "an interval of so many months",
        &[("date_part('month', to_months(14))", "2")],
    )
    .fails(OUT_OF_RANGE),
    Signature::new(
        "to_weeks",
        &[Overload::new(&[Kind::Int64], Gives::Interval, make::to_weeks)],
        "an interval of so many weeks",
        &[("to_weeks(1) = to_days(7)", "true")],
    )
    .fails(OUT_OF_RANGE),
    Signature::new(
        "to_days",
        &[Overload::new(&[Kind::Int64], Gives::Interval, make::to_days)],
        "an interval of so many days",
        &[("date_part('day', to_days(40))", "40")],
    )
    .fails(OUT_OF_RANGE),
    Signature::new(
        "to_hours",
        &[Overload::new(&[Kind::Int64], Gives::Interval, make::to_hours)],
        "an interval of so many hours",
        &[("date_part('hour', to_hours(30))", "30")],
    )
    .fails(OUT_OF_RANGE),
    Signature::new(
        "to_minutes",
        &[Overload::new(&[Kind::Int64], Gives::Interval, make::to_minutes)],
        "an interval of so many minutes",
        &[("date_part('hour', to_minutes(90))", "1")],
    )
    .fails(OUT_OF_RANGE),
    Signature::new(
        "to_seconds",
        &[Overload::new(&[Kind::Int64], Gives::Interval, make::to_seconds)],
        "an interval of so many seconds",
        &[("date_part('minute', to_seconds(90))", "1")],
    )
    .fails(OUT_OF_RANGE),
];

/// The one argument as another type.
fn cast_of(mut arguments: Vec<Expr>, to: DataType) -> Result<Expr, String> {
    let input = arguments.pop().ok_or("takes an argument")?;
    Ok(Expr::Cast { input: Box::new(input), to, or_null: false })
}
