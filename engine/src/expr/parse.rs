//! Text → bound [`Expr`]: SQL scalar expressions, typed against a schema.
//!
//! sqlparser makes the tree; the folder's files give it columns and types: [`binder`] goes through
//! it, `operators`, `literals`, `names` and `forms` each know a part of the language, and `tokens`
//! lets in what sqlparser's grammar lacks. What this engine does not compute is refused with its
//! place in the text. Names are exact and case-sensitive; names that are no plain words stand in
//! double quotes. Which types meet is said in [`coerce`](mod@crate::expr::coerce); all else wants a
//! cast.

use arrow::datatypes::{DataType, Schema};
use sqlparser::{
    ast::{self, BinaryOperator, Expr as Sql, Spanned},
    dialect::Dialect,
    keywords::Keyword,
    parser::{Parser, ParserError},
    tokenizer::{Location, Token},
};

mod binder;
mod forms;
mod literals;
mod names;
mod operators;
mod tokens;
mod types;

pub use names::{column, no_column};
pub use types::{data_type, is_known, list_of, sql_type_name, type_name};

pub use crate::expr::coerce::unified;
use crate::expr::{Expr, Predicate, SortKey};
use binder::Binder;

#[cfg(test)]
pub(crate) use types::tests::types as tests_of_types;

/// What is wrong with a text, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// What kind of thing.
    pub kind: ParseErrorKind,
    /// Where in the text, in bytes.
    pub offset: usize,
    /// What is wrong, and what would be right.
    pub message: String,
    /// The name that was probably meant.
    pub suggestion: Option<String>,
}

/// What kind of thing is wrong with a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseErrorKind {
    /// It is no expression.
    Syntax,
    /// It names a column that is not there.
    UnknownColumn,
    /// It names a function that is not there.
    UnknownFunction,
    /// It names a type that is not there.
    UnknownType,
    /// Types do not meet.
    Type,
    /// It is right, but not computed yet.
    NotSupported,
}

type Result<T, E = ParseError> = std::result::Result<T, E>;

/// The expression that `text` says over the columns of `schema`.
///
/// # Errors
/// The first thing that is wrong.
pub fn expression(text: &str, schema: &Schema) -> Result<Expr> {
    bind(&parse(text, whole_expression)?, text, schema)
}

/// The expression that a part of a statement says over the columns of `schema`; `text` is the
/// statement, into which the offsets of errors point.
///
/// # Errors
/// The first thing that is wrong.
pub fn bind(sql: &Sql, text: &str, schema: &Schema) -> Result<Expr> {
    let mut binder = Binder::new(text, schema);
    let bound = binder.whole(sql)?;
    if bound.data_type() == DataType::Null {
        let message = String::from("the type of null is not known here; say cast(null as ...)");
        return Err(error(ParseErrorKind::Type, offset(text, sql), message));
    }
    Ok(bound)
}

/// As [`bind`], of a condition.
///
/// # Errors
/// The first thing that is wrong; an expression of another type than bool is.
pub fn bind_predicate(sql: &Sql, text: &str, schema: &Schema) -> Result<Predicate> {
    let mut binder = Binder::new(text, schema);
    let bound = binder.whole(sql)?;
    binder.condition(bound, sql).map(Predicate)
}

/// Whether `text` is an expression at all, whatever columns there are.
///
/// # Errors
/// The first thing that is wrong with its syntax.
pub fn syntax(text: &str) -> Result<()> {
    parse(text, whole_expression).map(|_| ())
}

/// Whether `text` is a sort key at all, whatever columns there are.
///
/// # Errors
/// The first thing that is wrong with its syntax.
pub fn sort_syntax(text: &str) -> Result<()> {
    parse(text, whole_order).map(|_| ())
}

/// The condition that `text` says over the columns of `schema`.
///
/// # Errors
/// The first thing that is wrong; an expression of another type than bool is.
pub fn predicate(text: &str, schema: &Schema) -> Result<Predicate> {
    bind_predicate(&parse(text, whole_expression)?, text, schema)
}

/// The order that `text` says, such as `n desc nulls last`, over the columns of `schema`.
///
/// # Errors
/// The first thing that is wrong; an expression is.
pub fn sort_key(text: &str, schema: &Schema) -> Result<SortKey> {
    if let Ok(column) = schema.index_of(text) {
        return Ok(SortKey { column, descending: false, nulls_first: false });
    }
    let order = parse(text, whole_order)?;
    let binder = Binder::new(text, schema);
    let descending = match &order.options.sort {
        None | Some(ast::OrderBySort::Asc) => false,
        Some(ast::OrderBySort::Desc) => true,
        Some(ast::OrderBySort::Using(_)) => return Err(binder.unsupported(&order.expr, "using")),
    };
    let Sql::Identifier(name) = &order.expr else {
        let message = String::from("a sort key is a column; compute it with a map before");
        return Err(error(ParseErrorKind::NotSupported, binder.offset(&order.expr), message));
    };
    let column = binder.column_index(name)?;
    Ok(SortKey { column, descending, nulls_first: order.options.nulls_first.unwrap_or(false) })
}

/// The tree of `text`, whatever columns there are.
///
/// # Errors
/// The first thing that is wrong with its syntax.
pub(crate) fn tree(text: &str) -> Result<Sql> {
    parse(text, whole_expression)
}

/// Where in `text` a part of its tree begins, in bytes.
pub(crate) fn offset(text: &str, sql: &Sql) -> usize {
    offset_of(text, sql.span().start)
}

/// The name among `known` that was probably meant by `name`.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let lower = name.to_lowercase();
    let scored = known.into_iter().map(|known| {
        let score = strsim::jaro_winkler(&lower, &known.to_lowercase());
        (known, score)
    });
    let best = scored.max_by(|(_, a), (_, b)| a.total_cmp(b))?;
    (best.1 > 0.8 && best.0 != name).then(|| String::from(best.0))
}

pub(crate) fn error(kind: ParseErrorKind, offset: usize, message: String) -> ParseError {
    ParseError { kind, offset, message, suggestion: None }
}

/// Standard SQL's words and quotes, and `div`.
#[derive(Debug)]
struct Expressions;

impl Dialect for Expressions {
    fn is_delimited_identifier_start(&self, character: char) -> bool {
        character == '"'
    }

    fn supports_comma_separated_trim(&self) -> bool {
        true
    }

    fn is_identifier_start(&self, character: char) -> bool {
        character.is_alphabetic() || character == '_'
    }

    fn is_identifier_part(&self, character: char) -> bool {
        character.is_alphanumeric() || character == '_'
    }

    fn supports_filter_during_aggregation(&self) -> bool {
        true
    }

    fn parse_infix(
        &self,
        parser: &mut Parser<'_>,
        left: &Sql,
        precedence: u8,
    ) -> Option<Result<Sql, ParserError>> {
        if !parser.parse_keyword(Keyword::DIV) {
            return None;
        }
        Some(parser.parse_subexpr(precedence).map(|right| Sql::BinaryOp {
            left: Box::new(left.clone()),
            op: BinaryOperator::MyIntegerDivide,
            right: Box::new(right),
        }))
    }
}

fn whole_expression(parser: &mut Parser<'_>) -> Result<Sql, ParserError> {
    parser.parse_expr()
}

fn whole_order(parser: &mut Parser<'_>) -> Result<ast::OrderByExpr, ParserError> {
    parser.parse_order_by_expr()
}

/// Parses the whole of `text` by `rule`.
fn parse<T>(
    text: &str,
    rule: impl FnOnce(&mut Parser<'_>) -> std::result::Result<T, ParserError>,
) -> Result<T> {
    let syntax = |offset, message| error(ParseErrorKind::Syntax, offset, message);
    let tokens = tokens::read(text)?;
    let mut parser = Parser::new(&Expressions).with_tokens_with_locations(tokens);
    let parsed = rule(&mut parser).map_err(|error| refused(text, &error))?;
    let next = parser.peek_token();
    if next.token != Token::EOF {
        let message = format!("expected the end, found `{}`", next.token);
        return Err(syntax(offset_of(text, next.span.start), message));
    }
    Ok(parsed)
}

/// What sqlparser says; it writes the place at the end of its message.
fn refused(text: &str, refusal: &ParserError) -> ParseError {
    let (ParserError::TokenizerError(message) | ParserError::ParserError(message)) = refusal else {
        let message = String::from("the expression is nested too deep");
        return error(ParseErrorKind::Syntax, 0, message);
    };
    let place = message.rsplit_once(" at Line: ").and_then(|(said, place)| {
        let (line, column) = place.split_once(", Column: ")?;
        let location = Location { line: line.parse().ok()?, column: column.parse().ok()? };
        Some((said, offset_of(text, location)))
    });
    let (said, offset) = place.unwrap_or((message, text.len()));
    let said = said.replace("found: EOF", "found the end").replace(", found: ", ", found ");
    let said = said
        .strip_prefix("Expected: ")
        .map_or_else(|| lower_first(&said), |expected| format!("expected {expected}"));
    error(ParseErrorKind::Syntax, offset, said)
}

fn lower_first(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().map(|first| first.to_ascii_lowercase());
    first.into_iter().chain(characters).collect()
}

/// The byte at a line and column, both from 1 and in characters; 0 where there is none.
fn offset_of(text: &str, location: Location) -> usize {
    let (Ok(line), Ok(column)) = (usize::try_from(location.line), usize::try_from(location.column))
    else {
        return 0;
    };
    if line == 0 || column == 0 {
        return 0;
    }
    let before: usize = text.split_inclusive('\n').take(line - 1).map(str::len).sum();
    let rest = text.get(before..).unwrap_or_default();
    before + rest.char_indices().nth(column - 1).map_or(rest.len(), |(byte, _)| byte)
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field, Schema};
    use proptest::prelude::*;

    use super::{ParseErrorKind, expression, predicate, sort_key};
    use crate::expr::{Expr, Literal, SortKey, TIMESTAMP, aggregate};

    fn schema() -> Schema {
        Schema::new(vec![
            Field::new("n", DataType::Int64, true),
            Field::new("price", DataType::Float64, true),
            Field::new("city", DataType::Utf8View, true),
            Field::new("day", DataType::Date32, true),
            Field::new("seen", TIMESTAMP, true),
            Field::new("ok", DataType::Boolean, true),
            Field::new("key", DataType::Utf8View, true),
            Field::new("value", DataType::Int64, true),
            Field::new("an odd.name", DataType::Int64, true),
        ])
    }

    fn type_of(text: &str) -> DataType {
        match expression(text, &schema()) {
            Ok(expr) => expr.data_type(),
            Err(error) => panic!("{text}: {error:?}"),
        }
    }

    fn refusal(text: &str) -> String {
        let error = expression(text, &schema()).expect_err(text);
        let suggestion = error.suggestion.map(|name| format!(" ({name}?)")).unwrap_or_default();
        format!("{}: {}{suggestion}", error.offset, error.message)
    }

    #[test]
    fn types_follow_the_operands() {
        for (text, expected) in [
            ("n + 1", DataType::Int64),
            ("n + 1.5", DataType::Float64),
            ("n * price", DataType::Float64),
            ("n / 2", DataType::Float64),
            ("n div 2", DataType::Int64),
            ("n % 2", DataType::Int64),
            ("-n", DataType::Int64),
            ("-9223372036854775808", DataType::Int64),
            ("n = price", DataType::Boolean),
            ("not ok and n is not null or city = 'x'", DataType::Boolean),
            ("day >= '2024-01-01'", DataType::Boolean),
            ("seen < day", DataType::Boolean),
            ("day = null", DataType::Boolean),
            ("case when n > 1 then 1 else price end", DataType::Float64),
            ("case n when 1 then 'a' end", DataType::Utf8View),
            ("cast(city as int64)", DataType::Int64),
            ("try_cast(city as date)", DataType::Date32),
            ("city::timestamp", TIMESTAMP),
            ("cast(null as string)", DataType::Utf8View),
            ("lower(city) || '-' || key", DataType::Utf8View),
            ("concat(city, n, null)", DataType::Utf8View),
            ("length(trim(city))", DataType::Int64),
            ("substr(city, 2, 3)", DataType::Utf8View),
            ("substring(city from 2 for 3)", DataType::Utf8View),
            ("\"an odd.name\" + value", DataType::Int64),
            ("date '2024-01-01'", DataType::Date32),
        ] {
            assert_eq!(type_of(text), expected, "{text}");
        }
    }

    #[test]
    fn refusals_say_where_and_what_would_be_right() {
        for (text, expected) in [
            (
                "n + pricee",
                "4: no column `pricee`; there are n, price, city, day, seen, ok, key, value, an odd.name (price?)",
            ),
            (
                "N",
                "0: no column `N`; there are n, price, city, day, seen, ok, key, value, an odd.name (n?)",
            ),
            (
                "lowr(city)",
                "0: no function `lowr`; docs/functions.md lists those that there are (lower?)",
            ),
            (
                "sum(n)",
                "0: `sum` is an aggregate; it stands in `aggs` of reduce_by_key and aggregate",
            ),
            ("n + city", "0: `+` does not take int64 and string"),
            ("n > 'x'", "0: `>` does not take int64 and string"),
            ("price div 2", "0: `div` does not take float64 and int64"),
            ("n and ok", "0: a condition must be bool, not int64"),
            ("ok and not city", "11: a condition must be bool, not string"),
            ("lower(n)", "0: argument 1 of `lower` must be string, not int64"),
            ("substr(city)", "7: `substr` takes 2 to 3 arguments, not 1"),
            ("length(city, city)", "0: `length` takes 1 arguments, not 2"),
            ("day > '2024-13-01'", "6: '2024-13-01' is no date"),
            ("cast(ok as date)", "5: cannot cast bool to date"),
            (
                "case when n > 1 then 1 else 'x' end",
                "28: the values of `case` are int64 and string",
            ),
            ("n ||  city", "0: `||` wants string, not int64; say cast(... as string)"),
            ("null", "0: the type of null is not known here; say cast(null as ...)"),
            ("9223372036854775808", "0: `9223372036854775808` is no int64"),
            ("n > ", "4: expected an expression, found the end"),
            ("n n", "2: expected the end, found `n`"),
            ("'open", "0: unterminated string literal"),
            ("", "0: expected an expression, found nothing"),
            ("n in (1, 2)", "0: `n IN (1, 2)` is not supported in expressions"),
        ] {
            assert_eq!(refusal(text), expected, "{text}");
        }
    }

    #[test]
    fn a_place_is_counted_in_bytes_over_lines() {
        assert!(refusal("'éé' = key and\n  nope").starts_with("19: no column"));
    }

    #[test]
    fn long_chains_of_and_stay_shallow_and_deep_trees_are_refused() {
        let chain = vec!["n > 1"; 200].join(" and ");
        assert!(predicate(&chain, &schema()).is_ok());
        let sum = vec!["n"; 200].join(" + ");
        assert!(refusal(&sum).contains("nested"));
        let parens = format!("{}n{}", "(".repeat(400), ")".repeat(400));
        assert_eq!(refusal(&parens), "0: the expression is nested too deep");
        assert!(refusal(&vec!["1"; 1000].join("+")).contains("words"));
    }

    #[test]
    fn a_null_condition_is_a_predicate_and_a_number_is_none() {
        let null = predicate("null", &schema()).unwrap();
        assert_eq!(null.0, Expr::Literal(Literal::Null(DataType::Boolean)));
        assert_eq!(predicate("n", &schema()).unwrap_err().kind, ParseErrorKind::Type);
    }

    #[test]
    fn a_sort_key_is_a_column_with_its_direction() {
        let key = |column, descending, nulls_first| SortKey { column, descending, nulls_first };
        let parse = |text| sort_key(text, &schema()).unwrap();
        assert_eq!(parse("n"), key(0, false, false));
        assert_eq!(parse("n desc nulls first"), key(0, true, true));
        assert_eq!(parse("city asc nulls last"), key(2, false, false));
        assert_eq!(parse("an odd.name"), key(8, false, false));
        assert_eq!(parse("\"an odd.name\" desc"), key(8, true, false));
        assert_eq!(sort_key("n + 1", &schema()).unwrap_err().kind, ParseErrorKind::NotSupported);
        assert_eq!(sort_key("nn desc", &schema()).unwrap_err().kind, ParseErrorKind::UnknownColumn);
        assert_eq!(sort_key("n descending", &schema()).unwrap_err().kind, ParseErrorKind::Syntax);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in any::<String>()) {
            drop((expression(&text, &schema()), sort_key(&text, &schema()), aggregate::parse(&text, &schema())));
        }

        #[test]
        fn no_heap_of_words_panics(words in prop::collection::vec(prop::sample::select(vec![
            "n", "city", "day", "1", "'x'", "+", "-", "*", "/", "div", "(", ")", ",", "case", "when", "then",
            "else", "end", "cast", "as", "date", "not", "and", "or", "is", "null", "substr", "::", "||", "=", "<",
            "interval", "between", "in", "[", "]", ".", "trim", "from", "desc", "count", "over", "\"", "é",
        ]), 0..20)) {
            let text = words.join(" ");
            drop((expression(&text, &schema()), sort_key(&text, &schema()), aggregate::parse(&text, &schema())));
        }
    }
}
