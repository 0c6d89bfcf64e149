//! [`Binder`]: goes through a tree and gives it columns and types.

use arrow::datatypes::{DataType, Schema};
use sqlparser::ast::{self, BinaryOperator, CastKind, Expr as Sql, InTarget};

use super::{ParseError, ParseErrorKind, Result, data_type, error, offset, type_name};
use crate::expr::{
    BinaryOp, Expr, coerce,
    fold::{fold, settle},
    function::syntax,
};

/// How deep a tree may nest.
const MAX_DEPTH: usize = 32;

/// How deep a bound expression may nest; what is sent as JSON nests twice as deep.
const MAX_BOUND_DEPTH: usize = 44;

/// The most nodes of one bound expression.
const MAX_NODES: usize = 25_000;

/// Gives a tree its columns and types.
pub(super) struct Binder<'a> {
    pub(super) text: &'a str,
    pub(super) schema: &'a Schema,
    nodes: usize,
}

impl<'a> Binder<'a> {
    pub(super) fn new(text: &'a str, schema: &'a Schema) -> Self {
        Self { text, schema, nodes: 0 }
    }
}

impl Binder<'_> {
    pub(super) fn offset(&self, sql: &Sql) -> usize {
        offset(self.text, sql)
    }

    pub(super) fn type_error(&self, at: &Sql, message: String) -> ParseError {
        error(ParseErrorKind::Type, self.offset(at), message)
    }

    pub(super) fn unsupported(&self, at: &Sql, what: &str) -> ParseError {
        let message = format!("{what} is not supported in expressions");
        error(ParseErrorKind::NotSupported, self.offset(at), message)
    }

    /// A whole expression: no constant in it is open to anything any more.
    pub(super) fn whole(&mut self, sql: &Sql) -> Result<Expr> {
        let bound = self.bind(sql, 0)?;
        let mut bound = match coerce::beyond_float(&bound) {
            Some(digits) => {
                return Err(self.type_error(sql, format!("`{digits}` is no int64")));
            }
            None => coerce::settled(bound),
        };
        settle(&mut bound);
        if depth(&bound) > MAX_BOUND_DEPTH {
            return Err(self.too_deep(sql));
        }
        Ok(bound)
    }

    fn too_deep(&self, sql: &Sql) -> ParseError {
        let message = format!("the expression is nested more than {MAX_DEPTH} deep, or too large");
        error(ParseErrorKind::Syntax, self.offset(sql), message)
    }

    /// What `sql` says; numbers that are written with a point may still be open.
    pub(super) fn bind(&mut self, sql: &Sql, depth: usize) -> Result<Expr> {
        self.nodes += 1;
        if depth > MAX_DEPTH || self.nodes > MAX_NODES {
            return Err(self.too_deep(sql));
        }
        let deeper = depth + 1;
        match sql {
            Sql::Nested(inner) => self.bind(inner, depth),
            Sql::Identifier(name) => self.named(std::slice::from_ref(name)),
            Sql::CompoundIdentifier(names) => self.named(names),
            Sql::CompoundFieldAccess { root, access_chain } => {
                self.accessed(root, access_chain, sql, deeper)
            }
            Sql::Value(value) => self.literal(&value.value, sql, false),
            Sql::TypedString(typed) => self.typed_string(typed, sql),
            Sql::Interval(interval) => self.interval(interval, sql, deeper),
            Sql::UnaryOp { op, expr } => self.unary(*op, expr, sql, depth),
            Sql::BinaryOp { left, op: BinaryOperator::StringConcat, right } => {
                self.join(left, right, deeper)
            }
            Sql::BinaryOp { op: op @ (BinaryOperator::And | BinaryOperator::Or), .. } => {
                self.connective(op, sql, deeper)
            }
            Sql::BinaryOp { .. } => self.operation(sql, deeper),
            Sql::IsNull(input) | Sql::IsNotNull(input) => {
                let negated = matches!(sql, Sql::IsNotNull(_));
                let input = Box::new(coerce::settled(self.bind(input, deeper)?));
                Ok(fold(Expr::IsNull { input, negated }))
            }
            Sql::IsUnknown(input) | Sql::IsNotUnknown(input) => {
                let negated = matches!(sql, Sql::IsNotUnknown(_));
                let bound = self.bind(input, deeper)?;
                let input = Box::new(self.condition(bound, input)?);
                Ok(fold(Expr::IsNull { input, negated }))
            }
            Sql::IsTrue(input) => self.truth(input, true, false, deeper),
            Sql::IsNotTrue(input) => self.truth(input, true, true, deeper),
            Sql::IsFalse(input) => self.truth(input, false, false, deeper),
            Sql::IsNotFalse(input) => self.truth(input, false, true, deeper),
            Sql::IsDistinctFrom(left, right) | Sql::IsNotDistinctFrom(left, right) => {
                let op = if matches!(sql, Sql::IsDistinctFrom(..)) {
                    BinaryOp::IsDistinct
                } else {
                    BinaryOp::IsNotDistinct
                };
                let bound_left = self.bind(left, deeper)?;
                let bound_right = self.bind(right, deeper)?;
                self.binary(op, (bound_left, left), (bound_right, right))
            }
            Sql::Between { expr, negated, low, high } => {
                self.between(expr, (low, high), *negated, deeper)
            }
            Sql::In { expr, target: InTarget::List(list), negated, global: false } => {
                self.in_list(expr, list, *negated, deeper)
            }
            Sql::Like { negated, any: false, expr, pattern, escape_char } => {
                let escape = escape_char.as_deref();
                self.like((expr, pattern), escape, false, *negated, deeper)
            }
            Sql::ILike { negated, any: false, expr, pattern, escape_char } => {
                let escape = escape_char.as_deref();
                self.like((expr, pattern), escape, true, *negated, deeper)
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
            other => {
                if let Some((name, spelled)) = syntax::call_of(other) {
                    return self.spelled(name, spelled, sql, deeper);
                }
                let shown: String = other.to_string().chars().take(40).collect();
                Err(self.unsupported(sql, &format!("`{shown}`")))
            }
        }
    }

    fn truth(&mut self, input: &Sql, value: bool, negated: bool, depth: usize) -> Result<Expr> {
        let bound = self.bind(input, depth)?;
        let input = Box::new(self.condition(bound, input)?);
        Ok(fold(Expr::IsTruth { input, value, negated }))
    }

    pub(super) fn data_type(&self, sql: &ast::DataType, at: &Sql) -> Result<DataType> {
        data_type(&sql.to_string())
            .map_err(|refusal| ParseError { offset: self.offset(at), ..refusal })
    }

    pub(super) fn condition(&self, bound: Expr, at: &Sql) -> Result<Expr> {
        match bound.data_type() {
            DataType::Boolean => Ok(bound),
            DataType::Null => self.coerce(bound, &DataType::Boolean, at),
            other => {
                let message = format!("a condition must be bool, not {}", type_name(&other));
                Err(self.type_error(at, message))
            }
        }
    }

    /// `expr` as `to`, where that goes without saying.
    pub(super) fn coerce(&self, expr: Expr, to: &DataType, at: &Sql) -> Result<Expr> {
        coerce::coerce(expr, to).map_err(|message| self.type_error(at, message))
    }
}

/// How deep an expression nests.
fn depth(expr: &Expr) -> usize {
    1 + expr.children().into_iter().map(depth).max().unwrap_or(0)
}
