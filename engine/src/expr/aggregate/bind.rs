//! Text, or a tree that was made of it, → [`Aggregate`].
//!
//! One call of an aggregate is one text: `sum(qty * price) filter (where qty > 0)`,
//! `count(distinct city)`, `string_agg(s, ', ' order by n desc)`,
//! `percentile_cont(0.9) within group (order by x)`. What is computed of several aggregates is a
//! map behind them.

use arrow::{
    array::{Array, AsArray, RecordBatch, RecordBatchOptions},
    compute::cast,
    datatypes::{DataType, Float64Type, Schema},
};
use sqlparser::ast::{
    self, DuplicateTreatment, Expr as Sql, FunctionArg, FunctionArgExpr, FunctionArgumentClause,
    FunctionArguments, NullTreatment,
};

use crate::expr::{
    Expr, Literal, OrderKey,
    aggregate::{
        Aggregate, AggregateFunction,
        signature::{AGGREGATES, Definition, find, is_ordered},
    },
    parse::{self, ParseError, ParseErrorKind, nearest, type_name},
};

type Result<T, E = ParseError> = std::result::Result<T, E>;

/// The aggregate that `text` says over the columns of `schema`.
///
/// # Errors
/// The first thing that is wrong.
pub fn parse(text: &str, schema: &Schema) -> Result<Aggregate> {
    bind(&parse::tree(text)?, text, schema)
}

/// The aggregate that `sql`, a part of `text`, says over the columns of `schema`.
///
/// # Errors
/// The first thing that is wrong.
pub fn bind(sql: &Sql, text: &str, schema: &Schema) -> Result<Aggregate> {
    let offset = parse::offset(text, sql);
    let Sql::Function(call) = sql else {
        let message = String::from("expected one aggregate, such as sum(x) or count(*)");
        return Err(parse::error(ParseErrorKind::Syntax, offset, message));
    };
    let name = call.name.to_string();
    let Some(definition) = find(&name) else {
        let names: Vec<_> = AGGREGATES.iter().map(|known| known.name).collect();
        let message = format!("no aggregate `{name}`; there are {}", names.join(", "));
        let refusal = parse::error(ParseErrorKind::UnknownFunction, offset, message);
        return Err(ParseError { suggestion: nearest(&name, names), ..refusal });
    };
    Call { definition, call, offset, text, schema }.bind()
}

/// Whether a call in a tree is that of an aggregate and of no window.
pub fn is_aggregate(call: &ast::Function) -> bool {
    call.over.is_none() && find(&call.name.to_string()).is_some()
}

/// A call that is being bound.
struct Call<'a> {
    definition: &'static Definition,
    call: &'a ast::Function,
    offset: usize,
    text: &'a str,
    schema: &'a Schema,
}

impl Call<'_> {
    fn error(&self, kind: ParseErrorKind, message: String) -> ParseError {
        parse::error(kind, self.offset, message)
    }

    fn unsupported(&self, what: &str) -> ParseError {
        let message = format!("{what} is not supported in `{}`", self.definition.name);
        self.error(ParseErrorKind::NotSupported, message)
    }

    fn bind(&self) -> Result<Aggregate> {
        let call = self.call;
        if call.over.is_some() {
            return Err(self.unsupported("`over`; a window function, which"));
        }
        if !matches!(call.parameters, FunctionArguments::None) {
            return Err(self.unsupported("a second list of arguments"));
        }
        self.check_nulls(call.null_treatment.as_ref())?;
        let FunctionArguments::List(list) = &call.args else {
            return Err(self.unsupported("a call without a list of arguments"));
        };
        let mut order_by = Vec::new();
        let mut filter = None;
        for clause in &list.clauses {
            match clause {
                FunctionArgumentClause::OrderBy(keys) => order_by = self.order(keys)?,
                FunctionArgumentClause::Where(condition) => {
                    filter = Some(parse::bind_predicate(condition, self.text, self.schema)?.0);
                }
                FunctionArgumentClause::IgnoreOrRespectNulls(nulls) => {
                    self.check_nulls(Some(nulls))?;
                }
                other => return Err(self.unsupported(&format!("`{other}`"))),
            }
        }
        if let Some(condition) = &call.filter {
            if filter.is_some() {
                return Err(self.unsupported("a second filter"));
            }
            filter = Some(parse::bind_predicate(condition, self.text, self.schema)?.0);
        }
        let distinct = list.duplicate_treatment == Some(DuplicateTreatment::Distinct);
        let arguments = self.arguments(&list.args)?;
        let parts = Parts { arguments, filter, distinct, order_by };
        self.complete(self.within_group(parts)?)
    }

    fn check_nulls(&self, nulls: Option<&NullTreatment>) -> Result<()> {
        match nulls {
            None | Some(NullTreatment::IgnoreNulls) => Ok(()),
            Some(NullTreatment::RespectNulls) => {
                Err(self.unsupported("`respect nulls` (aggregates leave nulls out), which"))
            }
        }
    }

    fn arguments(&self, list: &[FunctionArg]) -> Result<Vec<Expr>> {
        if let [FunctionArg::Unnamed(FunctionArgExpr::Wildcard)] = list {
            if self.definition.name == "count" {
                return Ok(Vec::new());
            }
            let message = format!("`{}` takes no `*`; only count does", self.definition.name);
            return Err(self.error(ParseErrorKind::Syntax, message));
        }
        let bind = |argument: &FunctionArg| match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(argument)) => {
                parse::bind(argument, self.text, self.schema)
            }
            other => Err(self.unsupported(&format!("the argument `{other}`"))),
        };
        list.iter().map(bind).collect()
    }

    fn order(&self, keys: &[ast::OrderByExpr]) -> Result<Vec<OrderKey>> {
        let bind = |key: &ast::OrderByExpr| {
            let expr = parse::bind(&key.expr, self.text, self.schema)?;
            let data_type = expr.data_type();
            if !is_ordered(&data_type) {
                let message = format!("values of type {} have no order", type_name(&data_type));
                let offset = parse::offset(self.text, &key.expr);
                return Err(parse::error(ParseErrorKind::Type, offset, message));
            }
            let descending = match &key.options.sort {
                None | Some(ast::OrderBySort::Asc) => false,
                Some(ast::OrderBySort::Desc) => true,
                Some(ast::OrderBySort::Using(_)) => return Err(self.unsupported("`using`")),
            };
            let nulls_first = key.options.nulls_first.unwrap_or(false);
            Ok(OrderKey { expr, descending, nulls_first })
        };
        keys.iter().map(bind).collect()
    }

    /// Moves `within group (order by ...)` to where the same is said without it.
    fn within_group(&self, mut parts: Parts) -> Result<Parts> {
        if self.call.within_group.is_empty() {
            return Ok(parts);
        }
        let keys = self.order(&self.call.within_group)?;
        match self.definition.function {
            AggregateFunction::QuantileCont
            | AggregateFunction::QuantileDisc
            | AggregateFunction::Mode => {
                let [key] = &keys[..] else {
                    return Err(self.unsupported("more than one key `within group`"));
                };
                if self.definition.function == AggregateFunction::Mode && key.descending {
                    return Err(self.unsupported("`desc`"));
                }
                parts.arguments.insert(0, key.expr.clone());
            }
            AggregateFunction::StringAgg | AggregateFunction::ArrayAgg => {}
            _ => return Err(self.unsupported("`within group`")),
        }
        parts.order_by = keys;
        Ok(parts)
    }

    fn complete(&self, parts: Parts) -> Result<Aggregate> {
        let Parts { mut arguments, mut filter, mut distinct, order_by } = parts;
        let function = self.definition.function;
        match self.definition.name {
            "count_distinct" => distinct = true,
            "count_if" => {
                let [condition] = &arguments[..] else {
                    let message = String::from("`count_if` takes one condition");
                    return Err(self.error(ParseErrorKind::Type, message));
                };
                if condition.data_type() != DataType::Boolean || distinct {
                    let message = String::from("`count_if` takes one condition (bool)");
                    return Err(self.error(ParseErrorKind::Type, message));
                }
                filter = Some(both(filter, arguments.remove(0)));
            }
            "string_agg" if arguments.len() == 1 => {
                arguments.push(Expr::Literal(Literal::Utf8(String::from(","))));
            }
            "count" if arguments.is_empty() && !is_star(self.call) => {
                let message = String::from("`count` takes `*` or arguments");
                return Err(self.error(ParseErrorKind::Syntax, message));
            }
            _ => {}
        }
        if arguments.is_empty() && distinct {
            return Err(self.unsupported("`distinct` without an argument"));
        }
        self.constants(function, &mut arguments)?;
        let aggregate = Aggregate::new(function, arguments);
        let mut aggregate =
            aggregate.map_err(|message| self.error(ParseErrorKind::Type, message))?;
        aggregate.filter = filter;
        aggregate.order_by = order_by;
        aggregate.distinct = distinct && counts_repeats(function);
        self.check_order(&aggregate)?;
        Ok(aggregate)
    }

    /// Brings a quantile and a separator to the literals that they must be.
    fn constants(&self, function: AggregateFunction, arguments: &mut [Expr]) -> Result<()> {
        let constant = match (function, arguments) {
            (
                AggregateFunction::QuantileCont
                | AggregateFunction::QuantileDisc
                | AggregateFunction::ApproxQuantile
                | AggregateFunction::StringAgg,
                [_, constant],
            ) => constant,
            _ => return Ok(()),
        };
        let value = constant_of(constant, self.schema);
        let literal = if function == AggregateFunction::StringAgg {
            let text = value.and_then(|value| {
                let text = value.as_string_view_opt().filter(|text| text.is_valid(0))?;
                Some(text.value(0).to_owned())
            });
            text.map(Literal::Utf8).ok_or("the separator must be a constant text")
        } else {
            let number = value.and_then(|value| {
                let value = cast(&value, &DataType::Float64).ok()?;
                let number = value.as_primitive_opt::<Float64Type>()?;
                number.is_valid(0).then(|| number.value(0))
            });
            let part = number.filter(|number| (0.0..=1.0).contains(number));
            part.map(Literal::Float64).ok_or("the quantile must be a constant from 0 to 1")
        };
        let literal = literal.map_err(|message| {
            let message = format!("{message}, in `{}`", self.definition.name);
            self.error(ParseErrorKind::Type, message)
        })?;
        *constant = Expr::Literal(literal);
        Ok(())
    }

    /// Refuses an order that the function does not go by.
    fn check_order(&self, aggregate: &Aggregate) -> Result<()> {
        let function = aggregate.function;
        if aggregate.order_by.is_empty() || !self.call.within_group.is_empty() {
            return self.check_distinct_order(aggregate);
        }
        if !function.follows_order() || function.goes_by_value() {
            return Err(self.unsupported("`order by`, on which its value does not depend,"));
        }
        self.check_distinct_order(aggregate)
    }

    /// Different values have no other order than their own.
    fn check_distinct_order(&self, aggregate: &Aggregate) -> Result<()> {
        if !aggregate.distinct || !aggregate.function.follows_order() {
            return Ok(());
        }
        match &aggregate.order_by[..] {
            [] => Ok(()),
            [key] if Some(&key.expr) == aggregate.arguments.first() => Ok(()),
            _ => Err(self.unsupported("`distinct` in another order than the argument's own")),
        }
    }
}

/// What a call consists of.
struct Parts {
    arguments: Vec<Expr>,
    filter: Option<Expr>,
    distinct: bool,
    order_by: Vec<OrderKey>,
}

fn is_star(call: &ast::Function) -> bool {
    let FunctionArguments::List(list) = &call.args else { return false };
    matches!(list.args[..], [FunctionArg::Unnamed(FunctionArgExpr::Wildcard)])
}

fn both(filter: Option<Expr>, condition: Expr) -> Expr {
    match filter {
        None => condition,
        Some(filter) => Expr::Binary {
            op: crate::expr::BinaryOp::And,
            left: Box::new(filter),
            right: Box::new(condition),
            data_type: DataType::Boolean,
        },
    }
}

/// Whether it makes a difference that a value comes twice.
fn counts_repeats(function: AggregateFunction) -> bool {
    use AggregateFunction as F;
    !matches!(
        function,
        F::Min
            | F::Max
            | F::MinBy
            | F::MaxBy
            | F::First
            | F::Last
            | F::FirstRow
            | F::AnyValue
            | F::ApproxCountDistinct
            | F::Every
            | F::Any
            | F::BitAnd
            | F::BitOr
    )
}

/// The one value of an expression that reads no column, where it has one.
fn constant_of(expr: &Expr, schema: &Schema) -> Option<arrow::array::ArrayRef> {
    if (0..schema.fields().len()).any(|column| expr.reads(column)) {
        return None;
    }
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    let empty = std::sync::Arc::new(Schema::empty());
    let row = RecordBatch::try_new_with_options(empty, Vec::new(), &options).ok()?;
    expr.evaluate(&row).ok()
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field, Schema};

    use super::{ParseErrorKind, parse};
    use crate::expr::AggregateFunction;

    fn schema() -> Schema {
        Schema::new(vec![
            Field::new("n", DataType::Int64, true),
            Field::new("price", DataType::Float64, true),
            Field::new("city", DataType::Utf8View, true),
            Field::new("day", DataType::Date32, true),
            Field::new("ok", DataType::Boolean, true),
            Field::new("amount", DataType::Decimal128(12, 2), true),
            Field::new("l", DataType::new_list(DataType::Int64, true), true),
        ])
    }

    #[test]
    fn an_aggregate_has_a_function_and_a_type() {
        let bound = |text: &str| {
            let aggregate =
                parse(text, &schema()).unwrap_or_else(|error| panic!("{text}: {error:?}"));
            (aggregate.function, aggregate.data_type)
        };
        for (text, function, data_type) in [
            ("sum(n * price)", AggregateFunction::Sum, DataType::Float64),
            ("sum(amount)", AggregateFunction::Sum, DataType::Decimal128(38, 2)),
            ("COUNT(*)", AggregateFunction::Count, DataType::Int64),
            ("count(city)", AggregateFunction::Count, DataType::Int64),
            ("min(day)", AggregateFunction::Min, DataType::Date32),
            ("avg(n)", AggregateFunction::Avg, DataType::Float64),
            ("arg_max(city, n)", AggregateFunction::MaxBy, DataType::Utf8View),
            ("median(n)", AggregateFunction::Median, DataType::Float64),
            ("any(ok)", AggregateFunction::Any, DataType::Boolean),
            (
                "array_agg(city)",
                AggregateFunction::ArrayAgg,
                DataType::new_list(DataType::Utf8View, true),
            ),
        ] {
            assert_eq!(bound(text), (function, data_type), "{text}");
        }
    }

    #[test]
    fn all_parts_of_a_call_are_kept() {
        let shown = |text: &str| parse(text, &schema()).unwrap().to_string();
        for (text, expected) in [
            ("count(distinct city, n)", "count(distinct city, n)"),
            ("count_distinct(city)", "count(distinct city)"),
            ("min(distinct n)", "min(n)"),
            ("sum(n) filter (where ok)", "sum(n) filter (where ok)"),
            ("count_if(ok)", "count(*) filter (where ok)"),
            (
                "first(city order by n desc nulls first, day)",
                "first(city order by n desc nulls first, day)",
            ),
            ("string_agg(city)", "string_agg(city, ',')"),
            ("listagg(city, '-') within group (order by n)", "string_agg(city, '-' order by n)"),
            (
                "percentile_cont(0.9) within group (order by n desc)",
                "quantile_cont(n, 0.9 order by n desc)",
            ),
            ("quantile_cont(n, 1)", "quantile_cont(n, 1.0)"),
            ("array_agg(distinct n order by n desc)", "array_agg(distinct n order by n desc)"),
            ("first(city) ignore nulls", "first(city)"),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn refusals_say_what_would_be_right() {
        for (text, expected) in [
            ("sum(city)", "0: `sum` wants a number or a duration, not string"),
            ("sum(*)", "0: `sum` takes no `*`; only count does"),
            ("sum()", "0: `sum` takes one argument, not 0"),
            ("count()", "0: `count` takes `*` or arguments"),
            ("corr(n)", "0: `corr` takes two arguments, not 1"),
            ("sum(null)", "0: the type of null is not known in `sum`; say cast(null as ...)"),
            ("sum(n) + 1", "0: expected one aggregate, such as sum(x) or count(*)"),
            ("n", "0: expected one aggregate, such as sum(x) or count(*)"),
            ("sum(n) over ()", "0: `over`; a window function, which is not supported in `sum`"),
            (
                "first(n) respect nulls",
                "0: `respect nulls` (aggregates leave nulls out), which is not supported in `first`",
            ),
            (
                "sum(n order by n)",
                "0: `order by`, on which its value does not depend, is not supported in `sum`",
            ),
            (
                "array_agg(distinct n order by day)",
                "0: `distinct` in another order than the argument's own is not supported in `array_agg`",
            ),
            (
                "quantile_cont(n, 1.5)",
                "0: the quantile must be a constant from 0 to 1, in `quantile_cont`",
            ),
            (
                "quantile_cont(n, price)",
                "0: the quantile must be a constant from 0 to 1, in `quantile_cont`",
            ),
            ("string_agg(city, city)", "0: the separator must be a constant text, in `string_agg`"),
            ("string_agg(n)", "0: `string_agg` wants string (say cast(... as string)), not int64"),
            ("every(n)", "0: `every` wants a condition (bool), not int64"),
            ("bit_and(price)", "0: `bit_and` wants a whole number, not float64"),
            ("count(distinct *)", "0: `distinct` without an argument is not supported in `count`"),
        ] {
            let error = parse(text, &schema()).expect_err(text);
            assert_eq!(format!("{}: {}", error.offset, error.message), expected, "{text}");
        }
        let error = parse("medan(n)", &schema()).unwrap_err();
        assert_eq!(error.kind, ParseErrorKind::UnknownFunction);
        assert_eq!(error.suggestion.as_deref(), Some("median"));
        assert!(
            parse("min(l)", &schema()).is_err() && parse("first(l order by l)", &schema()).is_err()
        );
    }
}
