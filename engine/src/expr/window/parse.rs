//! Text → [`WindowFunction`], and `over (…)` → partition keys, order keys and frame.

use arrow::datatypes::{DataType, Schema, TimeUnit};
use sqlparser::{
    ast::{
        self, DateTimeField, Expr as Sql, FunctionArg, FunctionArgExpr, FunctionArgumentClause,
        FunctionArguments, NullTreatment, Spanned, UnaryOperator, Value as SqlValue,
        WindowFrameBound, WindowFrameUnits,
    },
    parser::{Parser, ParserError},
};

use crate::expr::{
    Expr, Literal, OrderKey, aggregate,
    parse::{self, ParseError, ParseErrorKind, error, nearest, offset_of, type_name},
    window::{Frame, FrameBound, FrameUnit, Kind, Offset, SIGNATURES, WindowFunction, signature},
};

type Result<T, E = ParseError> = std::result::Result<T, E>;

/// Nanoseconds of a day.
const DAY: i128 = 86_400_000_000_000;

/// What `over (…)` says.
#[derive(Clone, Debug, PartialEq)]
pub struct Over {
    /// Rows with equal keys are a partition; without keys all rows are one.
    pub partition_by: Vec<Expr>,
    /// The order within a partition.
    pub order_by: Vec<OrderKey>,
    /// What its functions see.
    pub frame: Frame,
}

/// The window function that `text` says over the columns of `schema`, such as `sum(x)`; what it
/// sees is `frame`.
///
/// # Errors
/// The first thing that is wrong; `over (…)` is.
pub fn parse(text: &str, schema: &Schema, frame: &Frame) -> Result<WindowFunction> {
    let sql = parse::parse(text, whole_expression)?;
    if let Sql::Function(ast::Function { over: Some(_), .. }) = &sql {
        let message =
            String::from("`over` stands in the node's `partition_by`, `order_by` and `frame`");
        return Err(error(ParseErrorKind::NotSupported, offset(&sql, text), message));
    }
    bind(&sql, text, schema, frame)
}

/// Whether `text` is a window function at all, whatever columns there are.
///
/// # Errors
/// The first thing that is wrong with its syntax.
pub fn syntax(text: &str) -> Result<()> {
    parse::parse(text, whole_expression).map(|_| ())
}

/// The window function that `sql` calls; places point into `text`. An `over` that it has is what
/// [`over`] took the frame from.
///
/// # Errors
/// The first thing that is wrong.
pub fn bind(sql: &Sql, text: &str, schema: &Schema, frame: &Frame) -> Result<WindowFunction> {
    let at = offset(sql, text);
    let Sql::Function(call) = sql else {
        let message = String::from("expected a window function, such as row_number() or sum(x)");
        return Err(error(ParseErrorKind::Syntax, at, message));
    };
    let Some(known) = signature(&call.name.to_string()) else {
        return aggregate(call, text, schema, frame);
    };
    let name = known.name;
    let refused = |message: String| error(ParseErrorKind::Syntax, at, message);
    let (arguments, ignore_nulls) = arguments(call, text, at)?;
    let count = arguments.len();
    let (least, most) = match name {
        "ntile" | "first_value" | "last_value" => (1, 1),
        "lag" | "lead" => (1, 3),
        "nth_value" => (2, 2),
        _ => (0, 0),
    };
    if count < least || count > most {
        let parameters = known.parameters;
        return Err(refused(format!(
            "call it as `{name}({parameters})`, not with {count} arguments"
        )));
    }
    let takes_nulls = known.parameters.starts_with('x');
    if ignore_nulls && !takes_nulls {
        return Err(refused(format!("`{name}` takes no `ignore nulls`")));
    }
    let value = if takes_nulls { Some(parse::bind(arguments[0], text, schema)?) } else { None };
    let value_type = value.as_ref().map(Expr::data_type);
    let mut bound: Vec<Expr> = value.into_iter().collect();
    let count_of = |index: usize| count_literal(arguments[index], text, name);
    let function = match name {
        "row_number" => Kind::RowNumber,
        "rank" => Kind::Rank,
        "dense_rank" => Kind::DenseRank,
        "percent_rank" => Kind::PercentRank,
        "cume_dist" => Kind::CumeDist,
        "ntile" => Kind::Ntile(count_of(0)?),
        "first_value" => Kind::FirstValue,
        "last_value" => Kind::LastValue,
        "nth_value" => Kind::NthValue(count_of(1)?),
        _ => {
            let rows = arguments.get(1).map_or(Ok(1), |rows| whole_literal(rows, text, name))?;
            if let (Some(default), Some(data_type)) = (arguments.get(2), &value_type) {
                bound.push(default_value(default, data_type, text, schema)?);
            }
            // `lead` is `lag` of the other sign; no literal is the least of all.
            Kind::Lag(if name == "lead" { rows.saturating_neg() } else { rows })
        }
    };
    let data_type = match function {
        Kind::PercentRank | Kind::CumeDist => DataType::Float64,
        _ => value_type.unwrap_or(DataType::Int64),
    };
    Ok(WindowFunction { function, arguments: bound, frame: frame.clone(), ignore_nulls, data_type })
}

/// An aggregate over the frame.
fn aggregate(
    call: &ast::Function,
    text: &str,
    schema: &Schema,
    frame: &Frame,
) -> Result<WindowFunction> {
    let plain = Sql::Function(ast::Function { over: None, ..call.clone() });
    let aggregate = aggregate::bind(&plain, text, schema).map_err(|refusal| {
        let name = call.name.to_string();
        if refusal.kind == ParseErrorKind::UnknownFunction {
            let ours = SIGNATURES.iter().map(|known| known.name);
            let suggestion = nearest(&name, ours).or(refusal.suggestion);
            let names = SIGNATURES.map(|known| known.name).join(", ");
            let message =
                format!("no window function `{name}`; there are {names} and the aggregates");
            return ParseError { message, suggestion, ..refusal };
        }
        refusal
    })?;
    Ok(WindowFunction {
        data_type: aggregate.data_type.clone(),
        function: Kind::Aggregate(Box::new(aggregate)),
        arguments: Vec::new(),
        frame: frame.clone(),
        ignore_nulls: false,
    })
}

/// A call's arguments, and whether nulls are passed over.
fn arguments<'s>(call: &'s ast::Function, text: &str, at: usize) -> Result<(Vec<&'s Sql>, bool)> {
    let name = call.name.to_string();
    let refused = |what: &str| {
        let message = format!("`{name}` takes no {what}");
        error(ParseErrorKind::Syntax, at, message)
    };
    if call.filter.is_some() {
        return Err(refused("`filter`; only aggregates do"));
    }
    if !matches!(call.parameters, FunctionArguments::None) || !call.within_group.is_empty() {
        return Err(refused("`within group`"));
    }
    let mut treatments: Vec<NullTreatment> = call.null_treatment.into_iter().collect();
    let list = match &call.args {
        FunctionArguments::None => return Ok((Vec::new(), false)),
        FunctionArguments::Subquery(_) => return Err(refused("query")),
        FunctionArguments::List(list) => list,
    };
    if list.duplicate_treatment.is_some() {
        return Err(refused("`distinct`"));
    }
    for clause in &list.clauses {
        match clause {
            FunctionArgumentClause::IgnoreOrRespectNulls(treatment) => treatments.push(*treatment),
            other => return Err(refused(&format!("`{other}`"))),
        }
    }
    let plain = |argument: &'s FunctionArg| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(sql)) => Ok(sql),
        other => {
            let message = format!("`{name}` takes no argument such as `{other}`");
            Err(error(ParseErrorKind::Syntax, offset(other, text), message))
        }
    };
    let ignores = treatments.contains(&NullTreatment::IgnoreNulls);
    Ok((list.args.iter().map(plain).collect::<Result<_>>()?, ignores))
}

/// The value of `lag` where there is no row, brought to the type of the others.
fn default_value(sql: &Sql, to: &DataType, text: &str, schema: &Schema) -> Result<Expr> {
    if matches!(sql, Sql::Value(value) if value.value == SqlValue::Null) {
        return Ok(Expr::Literal(Literal::Null(to.clone())));
    }
    let bound = parse::bind(sql, text, schema)?;
    let from = bound.data_type();
    parse::coerced(bound, to).ok_or_else(|| {
        let (from, to) = (type_name(&from), type_name(to));
        let message =
            format!("the default is {from} and the values are {to}; say cast(... as {to})");
        error(ParseErrorKind::Type, offset(sql, text), message)
    })
}

/// A constant whole number.
fn whole_literal(sql: &Sql, text: &str, name: &str) -> Result<i64> {
    let (digits, is_negative) = match sql {
        Sql::UnaryOp { op: UnaryOperator::Minus, expr } => (number(expr), true),
        other => (number(other), false),
    };
    let value = digits.and_then(|digits| digits.parse::<i64>().ok());
    value.map(|value| if is_negative { -value } else { value }).ok_or_else(|| {
        let message = format!("`{name}` wants a constant whole number here, found `{sql}`");
        error(ParseErrorKind::NotSupported, offset(sql, text), message)
    })
}

/// A constant whole number from 1.
fn count_literal(sql: &Sql, text: &str, name: &str) -> Result<u64> {
    let value = whole_literal(sql, text, name)?;
    u64::try_from(value).ok().filter(|value| *value > 0).ok_or_else(|| {
        let message = format!("`{name}` counts from 1, found {value}");
        error(ParseErrorKind::Type, offset(sql, text), message)
    })
}

fn number(sql: &Sql) -> Option<&str> {
    match sql {
        Sql::Value(value) => match &value.value {
            SqlValue::Number(digits, false) => Some(digits),
            _ => None,
        },
        Sql::Nested(inner) => number(inner),
        _ => None,
    }
}

/// What an `over (…)` says, over the columns of `schema`; places point into `text`.
///
/// # Errors
/// The first thing that is wrong; a name for another window is.
pub fn over(spec: &ast::WindowSpec, text: &str, schema: &Schema) -> Result<Over> {
    if let Some(name) = &spec.window_name {
        let message = format!("window `{name}` can't be built upon; write it out");
        let at = offset_of(text, name.span.start);
        return Err(error(ParseErrorKind::NotSupported, at, message));
    }
    let partition_by: Vec<_> = spec
        .partition_by
        .iter()
        .map(|sql| parse::bind(sql, text, schema))
        .collect::<Result<_>>()?;
    let order_by: Vec<_> =
        spec.order_by.iter().map(|key| order_key_of(key, text, schema)).collect::<Result<_>>()?;
    let frame = match &spec.window_frame {
        Some(frame) => bind_frame(frame, text, &order_by)?,
        None => Frame::default(),
    };
    Ok(Over { partition_by, order_by, frame })
}

/// The order key that `text` says over the columns of `schema`, such as `lower(name) desc`.
///
/// # Errors
/// The first thing that is wrong.
pub fn order_key(text: &str, schema: &Schema) -> Result<OrderKey> {
    if let Ok(index) = schema.index_of(text) {
        let expr = parse::column(schema, index);
        return Ok(OrderKey { expr, descending: false, nulls_first: false });
    }
    order_key_of(&parse::parse(text, whole_order)?, text, schema)
}

fn order_key_of(key: &ast::OrderByExpr, text: &str, schema: &Schema) -> Result<OrderKey> {
    let descending = match &key.options.sort {
        None | Some(ast::OrderBySort::Asc) => false,
        Some(ast::OrderBySort::Desc) => true,
        Some(ast::OrderBySort::Using(_)) => {
            let message = String::from("`using` is not supported; say asc or desc");
            return Err(error(ParseErrorKind::NotSupported, offset(&key.expr, text), message));
        }
    };
    if key.with_fill.is_some() {
        let message = String::from("`with fill` is not supported");
        return Err(error(ParseErrorKind::NotSupported, offset(&key.expr, text), message));
    }
    let expr = parse::bind(&key.expr, text, schema)?;
    let nulls_first = key.options.nulls_first.unwrap_or(false);
    Ok(OrderKey { expr, descending, nulls_first })
}

/// The frame that `text` says, such as `rows between 2 preceding and current row`, in a window of
/// this order.
///
/// # Errors
/// The first thing that is wrong.
pub fn frame(text: &str, order_by: &[OrderKey]) -> Result<Frame> {
    bind_frame(&parse::parse(text, whole_frame)?, text, order_by)
}

/// Whether `text` is a frame at all, whatever order there is.
///
/// # Errors
/// The first thing that is wrong with its syntax.
pub fn frame_syntax(text: &str) -> Result<()> {
    parse::parse(text, whole_frame).map(|_| ())
}

fn bind_frame(sql: &ast::WindowFrame, text: &str, order_by: &[OrderKey]) -> Result<Frame> {
    let unit = match sql.units {
        WindowFrameUnits::Rows => FrameUnit::Rows,
        WindowFrameUnits::Range => FrameUnit::Range,
        WindowFrameUnits::Groups => FrameUnit::Groups,
    };
    let refused = |message: &str| error(ParseErrorKind::Syntax, 0, String::from(message));
    if unit == FrameUnit::Groups && order_by.is_empty() {
        return Err(refused("`groups` wants an order: groups are rows that are equal in it"));
    }
    let start = bound(&sql.start_bound, unit, text, order_by)?;
    let start = match start {
        FrameBound::UnboundedFollowing => {
            return Err(refused("a frame can't start at `unbounded following`"));
        }
        start => start,
    };
    let end = match &sql.end_bound {
        None => FrameBound::CurrentRow,
        Some(end) => bound(end, unit, text, order_by)?,
    };
    let place = |bound: FrameBound| match bound {
        FrameBound::UnboundedPreceding => 0,
        FrameBound::Preceding(_) => 1,
        FrameBound::CurrentRow => 2,
        FrameBound::Following(_) => 3,
        FrameBound::UnboundedFollowing => 4,
    };
    if end == FrameBound::UnboundedPreceding || place(end) < place(start) {
        return Err(refused("the frame ends before it starts"));
    }
    Ok(Frame { unit, start, end })
}

fn bound(
    sql: &WindowFrameBound,
    unit: FrameUnit,
    text: &str,
    order_by: &[OrderKey],
) -> Result<FrameBound> {
    Ok(match sql {
        WindowFrameBound::CurrentRow => FrameBound::CurrentRow,
        WindowFrameBound::Preceding(None) => FrameBound::UnboundedPreceding,
        WindowFrameBound::Following(None) => FrameBound::UnboundedFollowing,
        WindowFrameBound::Preceding(Some(by)) => {
            FrameBound::Preceding(distance(by, unit, text, order_by)?)
        }
        WindowFrameBound::Following(Some(by)) => {
            FrameBound::Following(distance(by, unit, text, order_by)?)
        }
    })
}

fn distance(sql: &Sql, unit: FrameUnit, text: &str, order_by: &[OrderKey]) -> Result<Offset> {
    let at = offset(sql, text);
    let refused = |message: String| error(ParseErrorKind::Type, at, message);
    if unit != FrameUnit::Range {
        let count = number(sql).and_then(|digits| digits.parse().ok());
        let message = format!("expected a constant whole number of rows, found `{sql}`");
        return count.map(Offset::Count).ok_or_else(|| refused(message));
    }
    let [key] = order_by else {
        let message =
            format!("a range of a distance wants exactly one order key, found {}", order_by.len());
        return Err(refused(message));
    };
    let key_type = key.expr.data_type();
    let wants = |what: &str| {
        let of = type_name(&key_type);
        refused(format!("expected {what} beside an order key of {of}, found `{sql}`"))
    };
    let digits = || number(sql).ok_or_else(|| wants("a constant number that is not negative"));
    match &key_type {
        other if other.is_integer() => {
            scaled(digits()?, 0).map(Offset::Ticks).ok_or_else(|| wants("a number"))
        }
        DataType::Decimal128(_, scale) | DataType::Decimal256(_, scale) => {
            let scale = usize::try_from(*scale).unwrap_or(0);
            scaled(digits()?, scale).map(Offset::Ticks).ok_or_else(|| wants("a number"))
        }
        other if other.is_floating() => {
            let value = digits()?.parse::<f64>().ok().filter(|value| value.is_finite());
            value.map(|value| Offset::Float(value.to_bits())).ok_or_else(|| wants("a number"))
        }
        DataType::Date32 if number(sql).is_some() => {
            let days = digits()?.parse::<u32>().ok();
            days.map(|days| Offset::Ticks(i128::from(days) * DAY)).ok_or_else(|| wants("days"))
        }
        DataType::Date32 | DataType::Timestamp(..) => {
            interval(sql).ok_or_else(|| wants("an interval such as `interval 3 day`"))
        }
        DataType::Time64(TimeUnit::Microsecond | TimeUnit::Nanosecond) | DataType::Duration(_) => {
            match interval(sql) {
                Some(found @ Offset::Ticks(_)) => Ok(found),
                _ => Err(wants("an interval without months such as `interval 3 hour`")),
            }
        }
        other => {
            let message = format!(
                "a range of a distance wants numbers or times to be ordered, not {}",
                type_name(other)
            );
            Err(refused(message))
        }
    }
}

/// A number times 10 to the scale; digits beyond that are cut off, since no key lies between.
fn scaled(digits: &str, scale: usize) -> Option<i128> {
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if !(whole.bytes().chain(fraction.bytes())).all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let kept: String = fraction.chars().chain(std::iter::repeat('0')).take(scale).collect();
    format!("0{whole}{kept}").parse().ok()
}

/// A constant interval that is not negative.
fn interval(sql: &Sql) -> Option<Offset> {
    let Sql::Interval(interval) = sql else { return None };
    let value = match &*interval.value {
        Sql::Value(value) => match &value.value {
            SqlValue::SingleQuotedString(text) | SqlValue::Number(text, false) => text.trim(),
            _ => return None,
        },
        _ => return None,
    };
    if interval.last_field.is_some() {
        return None;
    }
    let (months, nanoseconds) = if let Some(field) = &interval.leading_field {
        part(value, &field_name(field))?
    } else {
        let words: Vec<_> = value.split_whitespace().collect();
        if words.is_empty() || words.len() % 2 == 1 {
            return None;
        }
        let parts = words.chunks(2).map(|pair| part(pair[0], pair[1]));
        parts.collect::<Option<Vec<_>>>()?.into_iter().try_fold((0_u32, 0_i128), |sum, more| {
            Some((sum.0.checked_add(more.0)?, sum.1.checked_add(more.1)?))
        })?
    };
    if months == 0 {
        return Some(Offset::Ticks(nanoseconds));
    }
    let nanoseconds = i64::try_from(nanoseconds).ok()?;
    Some(Offset::Calendar { months, nanoseconds })
}

fn field_name(field: &DateTimeField) -> String {
    field.to_string().to_ascii_lowercase()
}

/// So many of a unit, as months and nanoseconds.
fn part(digits: &str, unit: &str) -> Option<(u32, i128)> {
    let unit = unit.to_ascii_lowercase();
    let unit = unit.strip_suffix('s').unwrap_or(&unit);
    let months = match unit {
        "month" => 1,
        "quarter" => 3,
        "year" => 12,
        _ => 0,
    };
    if months > 0 {
        return Some((digits.parse::<u32>().ok()?.checked_mul(months)?, 0));
    }
    let nanoseconds = match unit {
        "week" => 7 * DAY,
        "day" => DAY,
        "hour" => DAY / 24,
        "minute" => 60_000_000_000,
        "second" => 1_000_000_000,
        "millisecond" => 1_000_000,
        "microsecond" => 1_000,
        _ => return None,
    };
    // Nine digits behind the point are as fine as nanoseconds are.
    scaled(digits, 9).map(|count| (0, count.saturating_mul(nanoseconds) / 1_000_000_000))
}

// Functions and not paths to methods, which are not general enough in the parser's lifetime.

fn whole_expression(parser: &mut Parser<'_>) -> Result<Sql, ParserError> {
    parser.parse_expr()
}

fn whole_order(parser: &mut Parser<'_>) -> Result<ast::OrderByExpr, ParserError> {
    parser.parse_order_by_expr()
}

fn whole_frame(parser: &mut Parser<'_>) -> Result<ast::WindowFrame, ParserError> {
    parser.parse_window_frame()
}

/// Where a part of the tree begins in `text`, in bytes.
fn offset(sql: &impl Spanned, text: &str) -> usize {
    offset_of(text, sql.span().start)
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::Field;
    use proptest::prelude::*;

    use super::{parse as parse_function, *};
    use crate::expr::TIMESTAMP;

    fn schema() -> Schema {
        let field = |name, data_type| Field::new(name, data_type, true);
        Schema::new(vec![
            field("price", DataType::Float64),
            field("n", DataType::Int64),
            field("d", DataType::Decimal128(10, 2)),
            field("day", DataType::Date32),
            field("t", TIMESTAMP),
        ])
    }

    #[test]
    fn the_example_of_every_function_is_one() {
        for known in SIGNATURES {
            let bound = parse_function(known.example, &schema(), &Frame::default());
            let bound = bound.unwrap_or_else(|refusal| panic!("{}: {refusal:?}", known.name));
            assert!(!matches!(bound.function, Kind::Aggregate(_)), "{}", known.name);
        }
        let lead = parse_function("lead(n, 2)", &schema(), &Frame::default()).unwrap();
        assert_eq!((lead.function, lead.data_type), (Kind::Lag(-2), DataType::Int64));
        let last =
            parse_function("LAST_VALUE(n ignore nulls)", &schema(), &Frame::default()).unwrap();
        assert!(last.ignore_nulls);
        let sum = parse_function("sum(n) filter (where n > 1)", &schema(), &Frame::default());
        assert!(matches!(sum.unwrap().function, Kind::Aggregate(sum) if sum.filter.is_some()));
    }

    #[test]
    fn distances_are_counted_in_the_order_key_s_ticks() {
        let start = |key: &str, text: &str| {
            let key = order_key(key, &schema()).unwrap();
            frame(&format!("range {text} preceding"), &[key]).map(|frame| frame.start)
        };
        let ticks = |ticks| Ok(FrameBound::Preceding(Offset::Ticks(ticks)));
        assert_eq!(start("n", "2.9"), ticks(2));
        assert_eq!(start("d", "2.9"), ticks(290));
        assert_eq!(start("d", "0.129"), ticks(12));
        assert_eq!(start("day", "3"), ticks(3 * DAY));
        assert_eq!(start("t", "interval '1.5' hour"), ticks(DAY / 16));
        assert_eq!(start("t desc", "interval '1 week 2 days'"), ticks(9 * DAY));
        let calendar = Offset::Calendar { months: 14, nanoseconds: 86_400_000_000_000 };
        let found = start("day", "interval '1 year 2 months 1 day'");
        assert_eq!(found, Ok(FrameBound::Preceding(calendar)));
        assert_eq!(
            start("price", "0.5"),
            Ok(FrameBound::Preceding(Offset::Float(0.5_f64.to_bits())))
        );
        for (key, text) in [("n", "-1"), ("t", "interval '-1' day"), ("t", "1"), ("n", "n")] {
            assert_eq!(start(key, text).unwrap_err().kind, ParseErrorKind::Type, "{key} {text}");
        }
    }

    #[test]
    fn an_over_of_a_statement_is_taken_apart() {
        let text = "sum(n) over (partition by day, n % 2 order by price desc nulls first, t rows 2 preceding)";
        let sql = parse::parse(text, whole_expression).unwrap();
        let Sql::Function(ast::Function { over: Some(ast::WindowType::WindowSpec(spec)), .. }) =
            &sql
        else {
            panic!("{sql:?}")
        };
        let found = over(spec, text, &schema()).unwrap();
        let keys: Vec<_> = found.partition_by.iter().map(ToString::to_string).collect();
        assert_eq!(keys, ["day", "(n % 2)"]);
        let orders = found.order_by.iter();
        let orders: Vec<_> =
            orders.map(|key| (key.expr.to_string(), key.descending, key.nulls_first)).collect();
        assert_eq!(orders, [("price".into(), true, true), ("t".into(), false, false)]);
        assert_eq!(found.frame.start, FrameBound::Preceding(Offset::Count(2)));
        let bound = bind(&sql, text, &schema(), &found.frame).unwrap();
        assert_eq!((bound.frame, bound.data_type), (found.frame, DataType::Int64));
    }

    #[test]
    fn a_function_is_the_same_after_a_journey() {
        let key = order_key("d", &schema()).unwrap();
        let keys = [key];
        let exponent = frame("range between 1e1 preceding and unbounded following", &keys);
        assert!(exponent.is_err(), "an exponent is no decimal");
        let wide = "range between 9999999999999999999999999 preceding and current row";
        let wide = frame(wide, &keys).unwrap();
        let function = parse_function("sum(d)", &schema(), &wide).unwrap();
        let sent = serde_json::to_string(&function).unwrap();
        assert_eq!(serde_json::from_str::<WindowFunction>(&sent).unwrap(), function);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in any::<String>(), tail in "[a-z0-9 ()',.*-]{0,30}") {
            let key = order_key("t", &schema()).unwrap();
            let calls = [format!("lag({tail}"), format!("range {tail} preceding")];
            for any in [text, tail].iter().chain(&calls) {
                drop(parse_function(any, &schema(), &Frame::default()));
                drop(frame(any, std::slice::from_ref(&key)));
                drop(order_key(any, &schema()));
            }
        }
    }
}
