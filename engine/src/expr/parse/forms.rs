//! What SQL spells in its own way: `case`, `cast`, calls.

use arrow::datatypes::DataType;
use sqlparser::ast::{self, Expr as Sql, FunctionArg, FunctionArgExpr, FunctionArguments};

use super::{ParseError, ParseErrorKind, Result, binder::Binder, error, type_name};
use crate::expr::{
    BinaryOp, Expr, Literal, aggregate,
    cast::is_castable,
    coerce,
    fold::fold,
    function::{Function, resolve, syntax},
};

impl Binder<'_> {
    pub(super) fn case(
        &mut self,
        operand: Option<&Sql>,
        conditions: &[ast::CaseWhen],
        otherwise: Option<&Sql>,
        depth: usize,
    ) -> Result<Expr> {
        let mut whens = Vec::with_capacity(conditions.len());
        let mut thens = Vec::with_capacity(conditions.len() + 1);
        let mut places = Vec::with_capacity(conditions.len() + 1);
        for branch in conditions {
            let condition = self.bind(&branch.condition, depth + 1)?;
            whens.push(match operand {
                None => self.condition(condition, &branch.condition)?,
                Some(operand) => {
                    let value = self.bind(operand, depth + 1)?;
                    self.binary(BinaryOp::Equal, (value, operand), (condition, &branch.condition))?
                }
            });
            thens.push(self.bind(&branch.result, depth)?);
            places.push(&branch.result);
        }
        if let Some(otherwise) = otherwise {
            thens.push(self.bind(otherwise, depth)?);
            places.push(otherwise);
        }
        let Some(data_type) = coerce::common(&thens) else {
            return Err(self.unmet(&thens, &places));
        };
        let values = thens.into_iter().zip(places);
        let values = values.map(|(value, at)| self.coerce(value, &data_type, at));
        let mut values = values.collect::<Result<Vec<_>>>()?;
        let otherwise = otherwise.and_then(|_| values.pop()).map(Box::new);
        let branches = whens.into_iter().zip(values).collect();
        Ok(fold(Expr::Case { branches, otherwise, data_type }))
    }

    /// Which value of a `case` does not meet those before.
    fn unmet(&self, values: &[Expr], places: &[&Sql]) -> ParseError {
        let count = (1..values.len())
            .find(|count| coerce::common(&values[..=*count]).is_none())
            .unwrap_or(values.len() - 1);
        let first = coerce::common(&values[..count]).unwrap_or(DataType::Null);
        let (first, second) = (type_name(&first), type_name(&values[count].data_type()));
        let message =
            format!("the values of `case` are {first} and {second}; cast them to one type");
        self.type_error(places[count], message)
    }

    pub(super) fn cast(&self, input: Expr, to: DataType, or_null: bool, at: &Sql) -> Result<Expr> {
        let input = match input {
            // Digits as they are written are not rounded to a float first.
            Expr::Literal(Literal::Exact { value, scale }) if coerce::is_decimal(&to) => {
                coerce::written(value, scale)
            }
            input => coerce::settled(input),
        };
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
        Ok(fold(Expr::Cast { input: Box::new(input), to, or_null }))
    }

    pub(super) fn function(
        &mut self,
        call: &ast::Function,
        sql: &Sql,
        depth: usize,
    ) -> Result<Expr> {
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
    pub(super) fn spelled(
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

    pub(super) fn call(&self, name: &str, arguments: Vec<Expr>, at: &Sql) -> Result<Expr> {
        resolve::resolve(name, arguments).map(fold).map_err(|refusal| self.refused(refusal, at))
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
}
