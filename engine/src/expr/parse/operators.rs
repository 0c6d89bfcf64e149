//! Operators: arithmetic, comparison, connectives, `in`, `between`, `like`.

use arrow::datatypes::DataType;
use sqlparser::ast::{BinaryOperator, Expr as Sql, UnaryOperator, Value as SqlValue};

use super::{Result, binder::Binder, type_name};
use crate::expr::{
    BinaryOp, Expr, INTERVAL, Literal, Step,
    coerce::{self, Typing},
    fold::fold,
    function::Function,
};

/// From how many operators on a chain of them does not nest.
const CHAIN_FROM: usize = 8;

impl Binder<'_> {
    pub(super) fn unary(
        &mut self,
        op: UnaryOperator,
        input: &Sql,
        at: &Sql,
        depth: usize,
    ) -> Result<Expr> {
        match op {
            UnaryOperator::Minus => {
                if let Sql::Value(value) = input
                    && matches!(value.value, SqlValue::Number(..))
                {
                    return self.literal(&value.value, input, true);
                }
                let bound = self.bind(input, depth + 1)?;
                if let Expr::Literal(Literal::Exact { value, scale }) = bound {
                    return Ok(Expr::Literal(Literal::Exact { value: -value, scale }));
                }
                let bound = self.number(bound, input, "-")?;
                Ok(fold(Expr::Negate(Box::new(bound))))
            }
            UnaryOperator::Plus => {
                let bound = self.bind(input, depth + 1)?;
                match bound {
                    Expr::Literal(Literal::Exact { .. }) => Ok(bound),
                    bound => self.number(bound, input, "+"),
                }
            }
            UnaryOperator::Not => {
                let bound = self.bind(input, depth + 1)?;
                let bound = self.condition(bound, input)?;
                Ok(fold(Expr::Not(Box::new(bound))))
            }
            other => Err(self.unsupported(at, &format!("operator `{other}`"))),
        }
    }

    /// The operand of a sign, in the type in which it is computed with.
    fn number(&self, bound: Expr, at: &Sql, op: &str) -> Result<Expr> {
        match bound.data_type() {
            DataType::Null => self.coerce(bound, &DataType::Int64, at),
            DataType::UInt64 => self.coerce(bound, &DataType::Decimal128(20, 0), at),
            data_type if data_type.is_integer() => self.coerce(bound, &DataType::Int64, at),
            data_type
                if data_type.is_numeric()
                    || data_type == INTERVAL
                    || matches!(data_type, DataType::Duration(_)) =>
            {
                Ok(bound)
            }
            other => {
                Err(self
                    .type_error(at, format!("`{op}` wants a number, not {}", type_name(&other))))
            }
        }
    }

    /// A chain of one connective as a tree of little depth.
    pub(super) fn connective(
        &mut self,
        op: &BinaryOperator,
        sql: &Sql,
        depth: usize,
    ) -> Result<Expr> {
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
    pub(super) fn join(&mut self, first: &Sql, last: &Sql, depth: usize) -> Result<Expr> {
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
        let data_type = DataType::Utf8View;
        Ok(fold(Expr::Call { function: Function::JOIN, arguments, data_type }))
    }

    /// Arithmetic and comparison. The left operands of a chain are gone through in a loop, since
    /// there may be hundreds of them.
    pub(super) fn operation(&mut self, sql: &Sql, depth: usize) -> Result<Expr> {
        let mut steps = Vec::new();
        let mut rest = sql;
        while let Sql::BinaryOp { left, op, right } = rest
            && let Some(found) = operator(op)
            && (std::ptr::eq(rest, sql) || is_arithmetic(found))
        {
            steps.push((found, left.as_ref(), right.as_ref()));
            rest = left;
        }
        if steps.is_empty() {
            let Sql::BinaryOp { left, op, right } = sql else {
                return Err(self.unsupported(sql, "this"));
            };
            return self.matched(left, op, right, sql, depth);
        }
        let mut bound = self.bind(rest, depth)?;
        for (op, left, right) in steps.into_iter().rev() {
            let right_bound = self.bind(right, depth)?;
            bound = self.binary(op, (bound, left), (right_bound, right))?;
        }
        Ok(bound)
    }

    /// `x ~ 'pattern'` and its like.
    fn matched(
        &mut self,
        left: &Sql,
        op: &BinaryOperator,
        right: &Sql,
        at: &Sql,
        depth: usize,
    ) -> Result<Expr> {
        let (ignores_case, negated) = match op {
            BinaryOperator::PGRegexMatch => (false, false),
            BinaryOperator::PGRegexIMatch => (true, false),
            BinaryOperator::PGRegexNotMatch => (false, true),
            BinaryOperator::PGRegexNotIMatch => (true, true),
            other => return Err(self.unsupported(at, &format!("operator `{other}`"))),
        };
        let mut arguments = vec![self.bind(left, depth)?, self.bind(right, depth)?];
        if ignores_case {
            arguments.push(Expr::Literal(Literal::Utf8(String::from("i"))));
        }
        let found = self.call("regexp_like", arguments, at)?;
        Ok(if negated { fold(Expr::Not(Box::new(found))) } else { found })
    }

    pub(super) fn binary(
        &self,
        op: BinaryOp,
        left: (Expr, &Sql),
        right: (Expr, &Sql),
    ) -> Result<Expr> {
        if let Some(exact) = coerce::exact(op, &left.0, &right.0) {
            return Ok(exact);
        }
        let typing = if is_arithmetic(op) {
            coerce::arithmetic(op, &left.0, &right.0)
        } else {
            coerce::comparison(&left.0, &right.0).map(|met| Typing {
                left: met.clone(),
                right: met,
                result: DataType::Boolean,
            })
        };
        let Some(typing) = typing else {
            let (left_type, right_type) = (left.0.data_type(), right.0.data_type());
            let (left_name, right_name) = (type_name(&left_type), type_name(&right_type));
            let advice = if is_arithmetic(op) { "" } else { "; cast one of them" };
            let message =
                format!("`{}` does not take {left_name} and {right_name}{advice}", symbol(op));
            return Err(self.type_error(left.1, message));
        };
        let narrowed = if is_arithmetic(op) && coerce::is_decimal(&typing.result) {
            coerce::narrowed(op, &left.0.data_type(), &right.0.data_type())
        } else {
            None
        };
        let bound_left = self.coerce(left.0, &typing.left, left.1)?;
        let bound_right = self.coerce(right.0, &typing.right, right.1)?;
        let computed = fold(joined(op, bound_left, bound_right, typing.result));
        match narrowed {
            Some(to) => self.cast(computed, to, false, left.1),
            None => Ok(computed),
        }
    }

    /// `x between a and b`, as two comparisons.
    pub(super) fn between(
        &mut self,
        input: &Sql,
        (low, high): (&Sql, &Sql),
        negated: bool,
        depth: usize,
    ) -> Result<Expr> {
        let bound = self.bind(input, depth)?;
        let bound_low = self.bind(low, depth)?;
        let bound_high = self.bind(high, depth)?;
        let (first, second, op) = if negated {
            (BinaryOp::Less, BinaryOp::Greater, BinaryOp::Or)
        } else {
            (BinaryOp::GreaterOrEqual, BinaryOp::LessOrEqual, BinaryOp::And)
        };
        let left = self.binary(first, (bound.clone(), input), (bound_low, low))?;
        let right = self.binary(second, (bound, input), (bound_high, high))?;
        Ok(balanced(op, vec![left, right]))
    }

    /// `x in (a, b, …)`.
    pub(super) fn in_list(
        &mut self,
        input: &Sql,
        list: &[Sql],
        negated: bool,
        depth: usize,
    ) -> Result<Expr> {
        let bound = self.bind(input, depth)?;
        let mut items = Vec::with_capacity(list.len() + 1);
        items.push(bound);
        for item in list {
            items.push(self.bind(item, depth)?);
        }
        for (item, at) in items[1..].iter().zip(list) {
            if coerce::common([&items[0], item]).is_none() {
                let (of, with) = (type_name(&items[0].data_type()), type_name(&item.data_type()));
                return Err(self.type_error(at, format!("`in` does not take {of} and {with}")));
            }
        }
        let Some(met) = coerce::common(&items) else {
            let message = String::from("the values of `in` meet in no type; cast them to one");
            return Err(self.type_error(input, message));
        };
        let met = if met == DataType::Null { DataType::Boolean } else { met };
        let places = std::iter::once(input).chain(list);
        let items = items.into_iter().zip(places).map(|(item, at)| self.coerce(item, &met, at));
        let mut items = items.collect::<Result<Vec<_>>>()?.into_iter();
        let Some(first) = items.next() else { return Err(self.unsupported(input, "`in`")) };
        Ok(fold(Expr::InList { input: Box::new(first), list: items.collect(), negated }))
    }

    /// `x like p escape e`.
    pub(super) fn like(
        &mut self,
        (input, pattern): (&Sql, &Sql),
        escape: Option<&Sql>,
        ignores_case: bool,
        negated: bool,
        depth: usize,
    ) -> Result<Expr> {
        let name = if ignores_case { "ilike" } else { "like" };
        let mut sides = Vec::with_capacity(2);
        for side in [input, pattern] {
            let bound = self.bind(side, depth)?;
            let from = bound.data_type();
            if from != DataType::Utf8View && from != DataType::Null {
                let message = format!(
                    "`{name}` wants string, not {}; say cast(... as string)",
                    type_name(&from)
                );
                return Err(self.type_error(side, message));
            }
            sides.push(Box::new(self.coerce(bound, &DataType::Utf8View, side)?));
        }
        let escape = escape.map(|escape| self.escape(escape, depth)).transpose()?.flatten();
        let (Some(bound_pattern), Some(bound)) = (sides.pop(), sides.pop()) else {
            return Err(self.unsupported(input, name));
        };
        if let Expr::Literal(Literal::Utf8(text)) = bound_pattern.as_ref()
            && let Err(message) = crate::expr::pattern::check(text, escape)
        {
            return Err(self.type_error(pattern, message));
        }
        Ok(fold(Expr::Like { input: bound, pattern: bound_pattern, escape, ignores_case, negated }))
    }

    /// The character that `escape` names; an empty text names none.
    fn escape(&mut self, escape: &Sql, depth: usize) -> Result<Option<char>> {
        if let Expr::Literal(Literal::Utf8(text)) = self.bind(escape, depth)? {
            let mut characters = text.chars();
            let first = characters.next();
            if characters.next().is_none() {
                return Ok(first);
            }
        }
        Err(self.type_error(escape, String::from("`escape` wants one character, in quotes")))
    }
}

/// The operator of these operands; long chains do not nest.
fn joined(op: BinaryOp, mut rest: Expr, operand: Expr, result: DataType) -> Expr {
    let last = Step { op, right: operand, data_type: result };
    if let Expr::Chain { steps, .. } = &mut rest
        && steps.first().is_some_and(|step| is_of_one_class(step.op, op))
    {
        steps.push(last);
        return rest;
    }
    if spine(op, &rest) < CHAIN_FROM {
        let Step { right, data_type, .. } = last;
        return Expr::Binary { op, left: Box::new(rest), right: Box::new(right), data_type };
    }
    let mut steps = vec![last];
    loop {
        match rest {
            Expr::Binary { op: found, left, right, data_type } if is_of_one_class(found, op) => {
                steps.push(Step { op: found, right: *right, data_type });
                rest = *left;
            }
            first => {
                steps.reverse();
                return Expr::Chain { first: Box::new(first), steps };
            }
        }
    }
}

/// How many operators of one class nest on the left.
fn spine(op: BinaryOp, mut expr: &Expr) -> usize {
    let mut length = 0;
    while let Expr::Binary { op: found, left, .. } = expr
        && is_of_one_class(*found, op)
    {
        length += 1;
        expr = left;
    }
    length
}

/// Whether both bind alike, so that a chain of them is written without parentheses.
fn is_of_one_class(left: BinaryOp, right: BinaryOp) -> bool {
    let class = |op| match op {
        BinaryOp::Add | BinaryOp::Subtract => 1,
        BinaryOp::Multiply | BinaryOp::Divide | BinaryOp::IntegerDivide | BinaryOp::Modulo => 2,
        _ => 0,
    };
    class(left) != 0 && class(left) == class(right)
}

pub(super) fn is_arithmetic(op: BinaryOp) -> bool {
    is_of_one_class(op, op)
}

fn operator(op: &BinaryOperator) -> Option<BinaryOp> {
    Some(match op {
        BinaryOperator::Plus => BinaryOp::Add,
        BinaryOperator::Minus => BinaryOp::Subtract,
        BinaryOperator::Multiply => BinaryOp::Multiply,
        BinaryOperator::Divide => BinaryOp::Divide,
        BinaryOperator::MyIntegerDivide | BinaryOperator::DuckIntegerDivide => {
            BinaryOp::IntegerDivide
        }
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
        BinaryOp::IsDistinct => "is distinct from",
        BinaryOp::IsNotDistinct => "is not distinct from",
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
                Some(right) => fold(Expr::Binary {
                    op,
                    left: Box::new(left),
                    right: Box::new(right),
                    data_type: DataType::Boolean,
                }),
            });
        }
        terms = joined;
    }
    terms.pop().unwrap_or(Expr::Literal(Literal::Null(DataType::Boolean)))
}
