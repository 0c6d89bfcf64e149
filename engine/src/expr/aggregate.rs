//! [`Aggregate`]: a function over the rows of a group, bound to a schema, and the one table of all
//! of them ([`AGGREGATES`]), which the parser, the accumulators and the documentation read.
//!
//! Text becomes an [`Aggregate`] in [`bind`](mod@bind); what it computes stands in
//! [`crate::kernels::accumulate`]. Every aggregate gives the same value whatever the order and the
//! grouping of its rows; where rows must be told apart by their order it is the one of `order by`,
//! then the input's, and all columns ascending where the input has none.

use std::fmt;

use arrow::datatypes::DataType;
use serde::{Deserialize, Serialize};

use crate::expr::{Expr, OrderKey};

pub mod bind;
pub mod signature;

pub use bind::{bind, parse};
pub use signature::{AGGREGATES, Definition, find};

/// An aggregate function over the rows of a group.
///
/// A row counts where `filter` is true (absent: always) and no argument that is read from rows is
/// null; `count(*)` has none, and so counts all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Aggregate {
    /// Which.
    pub function: AggregateFunction,
    /// Over what. Constants that a function takes (a quantile, a separator) are literals.
    pub arguments: Vec<Expr>,
    /// Which rows count: an expression of type bool; a null counts as false.
    pub filter: Option<Expr>,
    /// Whether rows with equal arguments count once.
    pub distinct: bool,
    /// In what order the rows are taken, where the function asks for one. Ties, and all rows where
    /// it is empty, follow the input's defined order, or all columns ascending where it has none.
    pub order_by: Vec<OrderKey>,
    /// The result's type.
    pub data_type: DataType,
}

/// The aggregate functions. All leave nulls out; over no rows they are null, counts 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AggregateFunction {
    /// int64 of integers (uint64 of unsigned ones), decimal(38, s) of decimals, exact, overflow is
    /// an error; float64 of floats, reproducible; durations.
    Sum,
    /// int64: rows, or rows whose arguments are not null.
    Count,
    /// The least value, of the argument's type.
    Min,
    /// The greatest value, of the argument's type.
    Max,
    /// float64; of durations a duration, rounded towards zero.
    Avg,
    /// int64: about how many different values, by a `HyperLogLog`.
    ApproxCountDistinct,
    /// The first argument in the row where the second is least.
    MinBy,
    /// The first argument in the row where the second is greatest.
    MaxBy,
    /// The value of the first row.
    First,
    /// The value of the last row.
    Last,
    /// Any value, but always the same: the least, or the first where the type has no order.
    AnyValue,
    /// Of the rows' arguments, one column each and nulls kept, those of the first row. No document
    /// names it; it gives as many columns as it has arguments.
    FirstRow,
    /// Standard deviation of a sample, float64.
    StddevSamp,
    /// Standard deviation of a population, float64.
    StddevPop,
    /// Variance of a sample, float64.
    VarSamp,
    /// Variance of a population, float64.
    VarPop,
    /// Covariance of a sample, float64.
    CovarSamp,
    /// Covariance of a population, float64.
    CovarPop,
    /// Pearson's correlation, float64.
    Corr,
    /// Slope of the line through (second, first), by least squares.
    RegrSlope,
    /// Where that line meets x = 0.
    RegrIntercept,
    /// How much of the variance that line explains.
    RegrR2,
    /// Skewness of a sample, float64.
    Skewness,
    /// Excess kurtosis of a sample, float64.
    Kurtosis,
    /// [`Self::QuantileCont`] of 0.5.
    Median,
    /// A quantile, between two values where it falls there; float64.
    QuantileCont,
    /// The least value that has a quantile of all at or below it, of the argument's type.
    QuantileDisc,
    /// A quantile, right to 0.4 % of its value; float64.
    ApproxQuantile,
    /// The value that comes most often; the least of several.
    Mode,
    /// Whether all are true.
    Every,
    /// Whether one is true.
    Any,
    /// Bitwise and.
    BitAnd,
    /// Bitwise or.
    BitOr,
    /// Bitwise exclusive or.
    BitXor,
    /// The product, float64.
    Product,
    /// Texts with a separator between them.
    StringAgg,
    /// The values as a list.
    ArrayAgg,
}

impl Aggregate {
    /// `function` over `arguments`, all rows, with the result's type.
    ///
    /// # Errors
    /// Why the arguments don't do.
    pub fn new(function: AggregateFunction, arguments: Vec<Expr>) -> Result<Self, String> {
        let types: Vec<DataType> = arguments.iter().map(Expr::data_type).collect();
        let data_type = signature::result_type(function, &types)?;
        let order_by = Vec::new();
        Ok(Self { function, arguments, filter: None, distinct: false, order_by, data_type })
    }

    /// How many columns it gives: one, but `first_row` one an argument.
    pub fn width(&self) -> usize {
        if self.function == AggregateFunction::FirstRow { self.arguments.len() } else { 1 }
    }

    /// The same for those of its columns that are wanted, by their places; `None` where none is.
    pub fn narrowed(&self, is_wanted: impl Fn(usize) -> bool) -> Option<Self> {
        let wanted: Vec<usize> = (0..self.width()).filter(|place| is_wanted(*place)).collect();
        if wanted.is_empty() || wanted.len() == self.width() {
            return (!wanted.is_empty()).then(|| self.clone());
        }
        let arguments = wanted.iter().map(|place| self.arguments[*place].clone()).collect();
        let narrow = Self::new(self.function, arguments).ok()?;
        Some(Self { arguments: narrow.arguments, data_type: narrow.data_type, ..self.clone() })
    }
}

impl AggregateFunction {
    /// Its row in the table; `None` for what no document names.
    pub fn definition(self) -> Option<&'static Definition> {
        AGGREGATES.iter().find(|definition| definition.function == self)
    }

    /// What it is called.
    pub fn name(self) -> &'static str {
        self.definition().map_or("first_row", |definition| definition.name)
    }

    /// Whether its value depends on the order of rows, so that `order by` may stand in it.
    pub fn follows_order(self) -> bool {
        matches!(self, Self::First | Self::Last | Self::FirstRow | Self::StringAgg | Self::ArrayAgg)
            || self.goes_by_value()
    }

    /// Whether it picks a row by its last argument.
    pub fn goes_by_value(self) -> bool {
        matches!(self, Self::MinBy | Self::MaxBy)
    }
}

impl fmt::Display for Aggregate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}(", self.function.name())?;
        if self.distinct {
            f.write_str("distinct ")?;
        }
        if self.arguments.is_empty() {
            f.write_str("*")?;
        }
        for (index, argument) in self.arguments.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{argument}")?;
        }
        for (index, key) in self.order_by.iter().enumerate() {
            let word = if index == 0 { " order by " } else { ", " };
            let direction = if key.descending { " desc" } else { "" };
            let nulls = if key.nulls_first { " nulls first" } else { "" };
            write!(f, "{word}{}{direction}{nulls}", key.expr)?;
        }
        f.write_str(")")?;
        match &self.filter {
            Some(filter) => write!(f, " filter (where {filter})"),
            None => Ok(()),
        }
    }
}
