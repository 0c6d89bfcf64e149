//! Text → bound [`Expr`]: SQL scalar expressions, typed against a schema.
//!
//! sqlparser makes the tree; here names become columns, types meet, and what this engine does not
//! compute is refused with its place in the text. Names are exact and case-sensitive; names that
//! are no plain words stand in double quotes. int64 widens to float64 beside a float64, and a text
//! literal becomes a date or timestamp beside one; all else wants a cast.

use arrow::datatypes::{DataType, Schema};
use sqlparser::{
    ast::{
        self, BinaryOperator, CastKind, Expr as Sql, FunctionArg, FunctionArgExpr,
        FunctionArguments, Ident, Spanned, UnaryOperator, Value as SqlValue,
    },
    dialect::Dialect,
    keywords::Keyword,
    parser::{Parser, ParserError},
    tokenizer::{Location, Token, Tokenizer},
};

mod sides;
mod types;

pub use sides::join_condition;
pub use types::{data_type, is_known, list_of, sql_type_name, type_name};

use crate::expr::{
    BinaryOp, Expr, Literal, Predicate, SortKey, TIMESTAMP, aggregate,
    cast::is_castable,
    datetime,
    function::{Function, resolve, syntax},
};

/// The most tokens of one expression: what is deep is built of many.
const MAX_TOKENS: usize = 1000;

/// How deep a bound expression may nest; what is sent as JSON nests twice as deep.
const MAX_DEPTH: usize = 32;

/// The most nodes of one bound expression.
const MAX_NODES: usize = 10_000;

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
    let mut binder = Binder { text, schema, nodes: 0 };
    let bound = binder.bind(sql, 0)?;
    if bound.data_type() == DataType::Null {
        let message = String::from("the type of null is not known here; say cast(null as ...)");
        return Err(error(ParseErrorKind::Type, binder.offset(sql), message));
    }
    Ok(bound)
}

/// `expr` with its values brought to another type, where that goes without saying.
pub(crate) fn coerced(expr: Expr, to: &DataType) -> Option<Expr> {
    let from = expr.data_type();
    match expr {
        same if from == *to => Some(same),
        _ if from == DataType::Null => Some(Expr::Literal(Literal::Null(to.clone()))),
        other if unified(&from, to).as_ref() == Some(to) => {
            Some(Expr::Cast { input: Box::new(other), to: to.clone(), or_null: false })
        }
        _ => None,
    }
}

/// As [`bind`], of a condition.
///
/// # Errors
/// The first thing that is wrong; an expression of another type than bool is.
pub fn bind_predicate(sql: &Sql, text: &str, schema: &Schema) -> Result<Predicate> {
    let mut binder = Binder { text, schema, nodes: 0 };
    let bound = binder.bind(sql, 0)?;
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
    let binder = Binder { text, schema, nodes: 0 };
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
    fn supports_window_function_null_treatment_arg(&self) -> bool {
        true
    }

    fn is_delimited_identifier_start(&self, character: char) -> bool {
        character == '"'
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
    let syntax = |offset, message| error(ParseErrorKind::Syntax, offset, message);
    let tokens = Tokenizer::new(&Expressions, text).tokenize_with_location();
    let tokens = tokens
        .map_err(|error| syntax(offset_of(text, error.location), lower_first(&error.message)))?;
    let words = tokens.iter().filter(|token| !matches!(token.token, Token::Whitespace(_))).count();
    if words == 0 {
        return Err(syntax(0, String::from("expected an expression, found nothing")));
    }
    if words > MAX_TOKENS {
        let message = format!("an expression of {words} words; {MAX_TOKENS} are allowed");
        return Err(syntax(0, message));
    }
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

/// Gives a tree its columns and types.
struct Binder<'a> {
    text: &'a str,
    schema: &'a Schema,
    nodes: usize,
}

impl Binder<'_> {
    fn offset(&self, sql: &Sql) -> usize {
        offset_of(self.text, sql.span().start)
    }

    fn type_error(&self, at: &Sql, message: String) -> ParseError {
        error(ParseErrorKind::Type, self.offset(at), message)
    }

    fn unsupported(&self, at: &Sql, what: &str) -> ParseError {
        let message = format!("{what} is not supported in expressions");
        error(ParseErrorKind::NotSupported, self.offset(at), message)
    }

    fn bind(&mut self, sql: &Sql, depth: usize) -> Result<Expr> {
        self.nodes += 1;
        if depth > MAX_DEPTH || self.nodes > MAX_NODES {
            let message =
                format!("the expression is nested more than {MAX_DEPTH} deep, or too large");
            return Err(error(ParseErrorKind::Syntax, self.offset(sql), message));
        }
        let deeper = depth + 1;
        match sql {
            Sql::Nested(inner) => self.bind(inner, depth),
            Sql::Identifier(name) => self.column(name),
            Sql::CompoundIdentifier(names) => {
                let name =
                    names.iter().map(|name| name.value.as_str()).collect::<Vec<_>>().join(".");
                Err(self.no_column(&name, self.offset(sql)))
            }
            Sql::Value(value) => self.literal(&value.value, sql, false),
            Sql::TypedString(typed) => {
                let to = self.data_type(&typed.data_type, sql)?;
                let text = self.literal(&typed.value.value, sql, false)?;
                self.coerce(text, &to, sql)
            }
            Sql::UnaryOp { op, expr } => self.unary(*op, expr, sql, depth),
            Sql::BinaryOp { left, op: BinaryOperator::StringConcat, right } => {
                self.join(left, right, deeper)
            }
            Sql::BinaryOp { op: op @ (BinaryOperator::And | BinaryOperator::Or), .. } => {
                self.connective(op, sql, deeper)
            }
            Sql::BinaryOp { left, op, right } => {
                let Some(op) = operator(op) else {
                    return Err(self.unsupported(sql, &format!("operator `{op}`")));
                };
                let (bound_left, bound_right) =
                    (self.bind(left, deeper)?, self.bind(right, deeper)?);
                self.binary(op, (bound_left, left), (bound_right, right))
            }
            Sql::IsNull(input) => {
                Ok(Expr::IsNull { input: Box::new(self.bind(input, deeper)?), negated: false })
            }
            Sql::IsNotNull(input) => {
                Ok(Expr::IsNull { input: Box::new(self.bind(input, deeper)?), negated: true })
            }
            Sql::Case { operand, conditions, else_result, .. } => {
                self.case(operand.as_deref(), conditions, else_result.as_deref(), deeper)
            }
            Sql::Cast { kind, expr, data_type, format: None } => {
                let to = self.data_type(data_type, sql)?;
                let input = self.bind(expr, deeper)?;
                self.cast(input, to, matches!(kind, CastKind::TryCast | CastKind::SafeCast), sql)
            }
            Sql::Function(call) => self.function(call, sql, deeper),
            other => match syntax::call_of(other) {
                Some((name, spelled)) => self.spelled(name, spelled, sql, deeper),
                None => {
                    let text = other.to_string();
                    let shown: String = text.chars().take(40).collect();
                    Err(self.unsupported(sql, &format!("`{shown}`")))
                }
            },
        }
    }

    fn column_index(&self, name: &Ident) -> Result<usize> {
        let known = self.schema.index_of(&name.value);
        known.map_err(|_| self.no_column(&name.value, offset_of(self.text, name.span.start)))
    }

    fn column(&self, name: &Ident) -> Result<Expr> {
        self.column_index(name).map(|index| column(self.schema, index))
    }

    fn no_column(&self, name: &str, offset: usize) -> ParseError {
        let (message, suggestion) = no_column(name, self.schema);
        ParseError { suggestion, ..error(ParseErrorKind::UnknownColumn, offset, message) }
    }

    fn literal(&self, value: &SqlValue, at: &Sql, is_negative: bool) -> Result<Expr> {
        let literal = match value {
            SqlValue::Null => Literal::Null(DataType::Null),
            SqlValue::Boolean(value) => Literal::Bool(*value),
            SqlValue::SingleQuotedString(text) => Literal::Utf8(text.clone()),
            SqlValue::Number(digits, false) => {
                let digits = if is_negative { format!("-{digits}") } else { digits.clone() };
                let is_whole = !digits.contains(['.', 'e', 'E']);
                let number = if is_whole {
                    digits.parse().ok().map(Literal::Int64)
                } else {
                    let float: Option<f64> = digits.parse().ok();
                    float.filter(|float| float.is_finite()).map(Literal::Float64)
                };
                let to = if is_whole { "int64" } else { "float64" };
                number.ok_or_else(|| self.type_error(at, format!("`{digits}` is no {to}")))?
            }
            other => return Err(self.unsupported(at, &format!("the literal `{other}`"))),
        };
        Ok(Expr::Literal(literal))
    }

    fn data_type(&self, sql: &ast::DataType, at: &Sql) -> Result<DataType> {
        data_type(&sql.to_string())
            .map_err(|refusal| ParseError { offset: self.offset(at), ..refusal })
    }

    fn unary(&mut self, op: UnaryOperator, input: &Sql, at: &Sql, depth: usize) -> Result<Expr> {
        match op {
            UnaryOperator::Minus => {
                if let Sql::Value(value) = input
                    && matches!(value.value, SqlValue::Number(..))
                {
                    return self.literal(&value.value, input, true);
                }
                let bound = self.bind(input, depth + 1)?;
                self.number(bound, input, "-").map(|bound| Expr::Negate(Box::new(bound)))
            }
            UnaryOperator::Plus => {
                let bound = self.bind(input, depth + 1)?;
                self.number(bound, input, "+")
            }
            UnaryOperator::Not => {
                let bound = self.bind(input, depth + 1)?;
                self.condition(bound, input).map(|bound| Expr::Not(Box::new(bound)))
            }
            other => Err(self.unsupported(at, &format!("operator `{other}`"))),
        }
    }

    fn number(&self, bound: Expr, at: &Sql, op: &str) -> Result<Expr> {
        match bound.data_type() {
            DataType::Int64 | DataType::Float64 => Ok(bound),
            DataType::Null => self.coerce(bound, &DataType::Int64, at),
            other => {
                Err(self
                    .type_error(at, format!("`{op}` wants a number, not {}", type_name(&other))))
            }
        }
    }

    fn condition(&self, bound: Expr, at: &Sql) -> Result<Expr> {
        match bound.data_type() {
            DataType::Boolean => Ok(bound),
            DataType::Null => self.coerce(bound, &DataType::Boolean, at),
            other => {
                let message = format!("a condition must be bool, not {}", type_name(&other));
                Err(self.type_error(at, message))
            }
        }
    }

    /// A chain of one connective as a tree of little depth.
    fn connective(&mut self, op: &BinaryOperator, sql: &Sql, depth: usize) -> Result<Expr> {
        let mut terms = Vec::new();
        let mut rest = sql;
        while let Sql::BinaryOp { left, op: found, right } = rest
            && found == op
        {
            terms.push(right.as_ref());
            rest = left;
        }
        terms.push(rest);
        let levels = terms.len().next_power_of_two().trailing_zeros() as usize;
        let mut bound = Vec::with_capacity(terms.len());
        for term in terms.into_iter().rev() {
            let condition = self.bind(term, depth + levels - 1)?;
            bound.push(self.condition(condition, term)?);
        }
        let op = if *op == BinaryOperator::And { BinaryOp::And } else { BinaryOp::Or };
        Ok(balanced(op, bound))
    }

    /// A chain of `||` as one call.
    fn join(&mut self, first: &Sql, last: &Sql, depth: usize) -> Result<Expr> {
        let mut terms = vec![last];
        let mut rest = first;
        while let Sql::BinaryOp { left, op: BinaryOperator::StringConcat, right } = rest {
            terms.push(right);
            rest = left;
        }
        terms.push(rest);
        let mut arguments = Vec::with_capacity(terms.len());
        for term in terms.into_iter().rev() {
            let bound = self.bind(term, depth)?;
            let from = bound.data_type();
            if from != DataType::Utf8View && from != DataType::Null {
                let message =
                    format!("`||` wants string, not {}; say cast(... as string)", type_name(&from));
                return Err(self.type_error(term, message));
            }
            arguments.push(self.coerce(bound, &DataType::Utf8View, term)?);
        }
        Ok(Expr::Call { function: Function::JOIN, arguments, data_type: DataType::Utf8View })
    }

    fn binary(&self, op: BinaryOp, left: (Expr, &Sql), right: (Expr, &Sql)) -> Result<Expr> {
        let (left_type, right_type) = (left.0.data_type(), right.0.data_type());
        let meets = |to: Option<DataType>| {
            to.ok_or_else(|| {
                let (left_name, right_name) = (type_name(&left_type), type_name(&right_type));
                let message =
                    format!("`{}` does not take {left_name} and {right_name}", symbol(op));
                self.type_error(left.1, message)
            })
        };
        let (operands, data_type) = match op {
            BinaryOp::Equal
            | BinaryOp::NotEqual
            | BinaryOp::Less
            | BinaryOp::LessOrEqual
            | BinaryOp::Greater
            | BinaryOp::GreaterOrEqual => {
                (meets(common_type(&left.0, &right.0))?, DataType::Boolean)
            }
            BinaryOp::And | BinaryOp::Or => (DataType::Boolean, DataType::Boolean),
            BinaryOp::Add | BinaryOp::Subtract | BinaryOp::Multiply | BinaryOp::Modulo => {
                let common = meets(numeric_type(&left_type, &right_type))?;
                (common.clone(), common)
            }
            BinaryOp::Divide => {
                meets(numeric_type(&left_type, &right_type))?;
                (DataType::Float64, DataType::Float64)
            }
            BinaryOp::IntegerDivide => {
                let common = numeric_type(&left_type, &right_type);
                (meets(common.filter(|to| *to == DataType::Int64))?, DataType::Int64)
            }
        };
        let left = self.coerce(left.0, &operands, left.1)?;
        let right = self.coerce(right.0, &operands, right.1)?;
        Ok(Expr::Binary { op, left: Box::new(left), right: Box::new(right), data_type })
    }

    fn case(
        &mut self,
        operand: Option<&Sql>,
        conditions: &[ast::CaseWhen],
        otherwise: Option<&Sql>,
        depth: usize,
    ) -> Result<Expr> {
        let mut whens = Vec::with_capacity(conditions.len());
        let mut thens = Vec::with_capacity(conditions.len() + 1);
        for branch in conditions {
            let condition = self.bind(&branch.condition, depth + 1)?;
            whens.push(match operand {
                None => self.condition(condition, &branch.condition)?,
                Some(operand) => {
                    let value = self.bind(operand, depth + 1)?;
                    self.binary(BinaryOp::Equal, (value, operand), (condition, &branch.condition))?
                }
            });
            thens.push((self.bind(&branch.result, depth)?, &branch.result));
        }
        if let Some(otherwise) = otherwise {
            thens.push((self.bind(otherwise, depth)?, otherwise));
        }
        let mut data_type = DataType::Null;
        for (value, at) in &thens {
            let found = value.data_type();
            data_type = unified(&data_type, &found).ok_or_else(|| {
                let (first, second) = (type_name(&data_type), type_name(&found));
                self.type_error(at, format!("the values of `case` are {first} and {second}"))
            })?;
        }
        let values = thens.into_iter().map(|(value, at)| self.coerce(value, &data_type, at));
        let mut values = values.collect::<Result<Vec<_>>>()?;
        let otherwise = otherwise.and_then(|_| values.pop()).map(Box::new);
        Ok(Expr::Case { branches: whens.into_iter().zip(values).collect(), otherwise, data_type })
    }

    fn cast(&self, input: Expr, to: DataType, or_null: bool, at: &Sql) -> Result<Expr> {
        let from = input.data_type();
        if from == to {
            return Ok(input);
        }
        if from == DataType::Null {
            return Ok(Expr::Literal(Literal::Null(to)));
        }
        if !is_castable(&from, &to) {
            let message = format!("cannot cast {} to {}", type_name(&from), type_name(&to));
            return Err(self.type_error(at, message));
        }
        Ok(Expr::Cast { input: Box::new(input), to, or_null })
    }

    fn function(&mut self, call: &ast::Function, sql: &Sql, depth: usize) -> Result<Expr> {
        let name = call.name.to_string();
        if Function::find(&name).is_none() && aggregate::find(&name).is_some() {
            let message = format!(
                "`{name}` is an aggregate; it stands in `aggs` of reduce_by_key and aggregate"
            );
            return Err(error(ParseErrorKind::UnknownFunction, self.offset(sql), message));
        }
        resolve::find(&name).map_err(|refusal| self.refused(refusal, sql))?;
        let mut arguments = Vec::new();
        for argument in self.arguments(call, sql)? {
            let FunctionArgExpr::Expr(argument) = argument else {
                return Err(self.unsupported(sql, "`*` as an argument"));
            };
            arguments.push(self.bind(argument, depth)?);
        }
        self.call(&name, arguments, sql)
    }

    /// A call that SQL spells in its own way.
    fn spelled(
        &mut self,
        name: &str,
        spelled: Vec<syntax::Argument<'_>>,
        at: &Sql,
        depth: usize,
    ) -> Result<Expr> {
        let bound = spelled.into_iter().map(|argument| match argument {
            syntax::Argument::Sql(argument) => self.bind(argument, depth),
            syntax::Argument::Text(word) => Ok(Expr::Literal(Literal::Utf8(word))),
        });
        let arguments = bound.collect::<Result<Vec<_>>>()?;
        self.call(name, arguments, at)
    }

    fn call(&self, name: &str, arguments: Vec<Expr>, at: &Sql) -> Result<Expr> {
        resolve::resolve(name, arguments).map_err(|refusal| self.refused(refusal, at))
    }

    fn refused(&self, refusal: resolve::Refusal, at: &Sql) -> ParseError {
        let offset = self.offset(at);
        ParseError {
            suggestion: refusal.suggestion,
            ..error(refusal.kind, offset, refusal.message)
        }
    }

    /// The arguments of a plain call.
    fn arguments<'s>(
        &self,
        call: &'s ast::Function,
        sql: &Sql,
    ) -> Result<Vec<&'s FunctionArgExpr>> {
        let is_plain = matches!(call.parameters, FunctionArguments::None)
            && call.filter.is_none()
            && call.over.is_none()
            && call.null_treatment.is_none()
            && call.within_group.is_empty();
        let arguments = match &call.args {
            FunctionArguments::List(list)
                if is_plain && list.duplicate_treatment.is_none() && list.clauses.is_empty() =>
            {
                &list.args
            }
            // `current_date` and its like are calls without parentheses.
            FunctionArguments::None if is_plain => return Ok(Vec::new()),
            FunctionArguments::None
            | FunctionArguments::Subquery(_)
            | FunctionArguments::List(_) => {
                return Err(self.unsupported(sql, "a call with more than arguments"));
            }
        };
        let plain = arguments.iter().map(|argument| match argument {
            FunctionArg::Unnamed(argument) => Ok(argument),
            FunctionArg::Named { .. } | FunctionArg::ExprNamed { .. } => {
                Err(self.unsupported(sql, "a named argument"))
            }
        });
        plain.collect()
    }

    /// `expr` as `to`, where that goes without saying.
    fn coerce(&self, expr: Expr, to: &DataType, at: &Sql) -> Result<Expr> {
        let from = expr.data_type();
        if from == *to {
            return Ok(expr);
        }
        if let Expr::Literal(Literal::Utf8(text)) = &expr {
            let literal = match to {
                DataType::Date32 => datetime::parse_date(text).map(Literal::Date32),
                to if *to == TIMESTAMP => datetime::parse_timestamp(text).map(Literal::timestamp),
                _ => None,
            };
            return literal
                .map(Expr::Literal)
                .ok_or_else(|| self.type_error(at, format!("'{text}' is no {}", type_name(to))));
        }
        Ok(match expr {
            Expr::Literal(Literal::Null(_)) => Expr::Literal(Literal::Null(to.clone())),
            #[expect(clippy::cast_precision_loss, reason = "what the cast at run time does too")]
            Expr::Literal(Literal::Int64(value)) if *to == DataType::Float64 => {
                Expr::Literal(Literal::Float64(value as f64))
            }
            expr => Expr::Cast { input: Box::new(expr), to: to.clone(), or_null: false },
        })
    }
}

/// The column of an index, as an expression.
pub fn column(schema: &Schema, index: usize) -> Expr {
    let field = schema.field(index);
    Expr::Column { index, name: field.name().clone(), data_type: field.data_type().clone() }
}

/// What to say about a column that is not there, and the one that was probably meant.
pub fn no_column(name: &str, schema: &Schema) -> (String, Option<String>) {
    let names: Vec<_> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    let message = format!("no column `{name}`; there are {}", names.join(", "));
    (message, nearest(name, names))
}

fn operator(op: &BinaryOperator) -> Option<BinaryOp> {
    Some(match op {
        BinaryOperator::Plus => BinaryOp::Add,
        BinaryOperator::Minus => BinaryOp::Subtract,
        BinaryOperator::Multiply => BinaryOp::Multiply,
        BinaryOperator::Divide => BinaryOp::Divide,
        BinaryOperator::MyIntegerDivide => BinaryOp::IntegerDivide,
        BinaryOperator::Modulo => BinaryOp::Modulo,
        BinaryOperator::Eq => BinaryOp::Equal,
        BinaryOperator::NotEq => BinaryOp::NotEqual,
        BinaryOperator::Lt => BinaryOp::Less,
        BinaryOperator::LtEq => BinaryOp::LessOrEqual,
        BinaryOperator::Gt => BinaryOp::Greater,
        BinaryOperator::GtEq => BinaryOp::GreaterOrEqual,
        _ => return None,
    })
}

fn symbol(op: BinaryOp) -> &'static str {
    match op {
        BinaryOp::Add => "+",
        BinaryOp::Subtract => "-",
        BinaryOp::Multiply => "*",
        BinaryOp::Divide => "/",
        BinaryOp::IntegerDivide => "div",
        BinaryOp::Modulo => "%",
        BinaryOp::Equal => "=",
        BinaryOp::NotEqual => "<>",
        BinaryOp::Less => "<",
        BinaryOp::LessOrEqual => "<=",
        BinaryOp::Greater => ">",
        BinaryOp::GreaterOrEqual => ">=",
        BinaryOp::And => "and",
        BinaryOp::Or => "or",
    }
}

/// The terms, joined in their order by a tree of little depth.
fn balanced(op: BinaryOp, mut terms: Vec<Expr>) -> Expr {
    while terms.len() > 1 {
        let mut joined = Vec::with_capacity(terms.len().div_ceil(2));
        let mut rest = terms.into_iter();
        while let Some(left) = rest.next() {
            joined.push(match rest.next() {
                None => left,
                Some(right) => Expr::Binary {
                    op,
                    left: Box::new(left),
                    right: Box::new(right),
                    data_type: DataType::Boolean,
                },
            });
        }
        terms = joined;
    }
    terms.pop().unwrap_or(Expr::Literal(Literal::Null(DataType::Boolean)))
}

fn numeric_type(left: &DataType, right: &DataType) -> Option<DataType> {
    match (left, right) {
        (DataType::Float64, DataType::Int64 | DataType::Float64 | DataType::Null)
        | (DataType::Int64 | DataType::Null, DataType::Float64) => Some(DataType::Float64),
        (DataType::Int64 | DataType::Null, DataType::Int64 | DataType::Null) => {
            Some(DataType::Int64)
        }
        _ => None,
    }
}

/// The type in which two values of these types meet without saying.
pub fn unified(left: &DataType, right: &DataType) -> Option<DataType> {
    match (left, right) {
        (DataType::Null, other) | (other, DataType::Null) => Some(other.clone()),
        (left, right) if left == right => Some(left.clone()),
        (DataType::Date32, other) | (other, DataType::Date32) if *other == TIMESTAMP => {
            Some(TIMESTAMP)
        }
        (left, right) => numeric_type(left, right),
    }
}

/// The type in which two operands are compared.
fn common_type(left: &Expr, right: &Expr) -> Option<DataType> {
    let is_text = |expr: &Expr| matches!(expr, Expr::Literal(Literal::Utf8(_)));
    let is_time = |data_type: &DataType| *data_type == DataType::Date32 || *data_type == TIMESTAMP;
    let (left_type, right_type) = (left.data_type(), right.data_type());
    if is_text(right) && is_time(&left_type) {
        return Some(time_of(right, left_type));
    }
    if is_text(left) && is_time(&right_type) {
        return Some(time_of(left, right_type));
    }
    match unified(&left_type, &right_type)? {
        DataType::Null => Some(DataType::Boolean),
        common => Some(common),
    }
}

/// The type in which a text literal meets a date or timestamp: a date meets one with a time of
/// day as a timestamp.
fn time_of(literal: &Expr, data_type: DataType) -> DataType {
    match literal {
        Expr::Literal(Literal::Utf8(text))
            if data_type == DataType::Date32
                && datetime::parse_date(text).is_none()
                && datetime::parse_timestamp(text).is_some() =>
        {
            TIMESTAMP
        }
        _ => data_type,
    }
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
