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
mod sides;
mod tokens;
mod types;

pub use names::{column, no_column};
pub use sides::join_condition;
pub use types::{data_type, is_known, list_of, sql_type_name, type_name};

pub use crate::expr::coerce::unified;
use crate::expr::{Expr, Predicate, SortKey, coerce};
use binder::Binder;

#[cfg(test)]
pub(crate) use types::tests::types as tests_of_types;

/// How deep sqlparser may go into itself, which is twice as deep as parentheses nest; its frames
/// are large, and a stack that overflows ends the process.
const MAX_RECURSION: usize = 40;

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

/// `expr` with its values brought to another type, where that goes without saying.
pub(crate) fn coerced(expr: Expr, to: &DataType) -> Option<Expr> {
    unified(&expr.data_type(), to).filter(|met| met == to)?;
    coerce::coerce(expr, to).ok()
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
pub(crate) struct Expressions;

impl Dialect for Expressions {
    fn is_delimited_identifier_start(&self, character: char) -> bool {
        character == '"'
    }

    fn supports_comma_separated_trim(&self) -> bool {
        true
    }

    fn supports_window_function_null_treatment_arg(&self) -> bool {
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
pub(crate) fn parse<T>(
    text: &str,
    rule: impl FnOnce(&mut Parser<'_>) -> std::result::Result<T, ParserError>,
) -> Result<T> {
    parse_within(text, tokens::MAX_TOKENS, rule)
}

/// Parses the whole of `text`, of at most so many words, by `rule`.
pub(crate) fn parse_within<T>(
    text: &str,
    most_words: usize,
    rule: impl FnOnce(&mut Parser<'_>) -> std::result::Result<T, ParserError>,
) -> Result<T> {
    let syntax = |offset, message| error(ParseErrorKind::Syntax, offset, message);
    let tokens = tokens::read(text, most_words)?;
    let mut parser = Parser::new(&Expressions)
        .with_recursion_limit(MAX_RECURSION)
        .with_tokens_with_locations(tokens);
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
pub(crate) fn offset_of(text: &str, location: Location) -> usize {
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
mod tests;
