//! [`Expr`]: a scalar expression bound to a schema: typed, columns by index, nothing left to check.
//!
//! Text becomes a tree in [`parse`], a batch becomes an array in [`evaluate`], and what has a name
//! stands in the one table of [`function`].

use arrow::datatypes::{DataType, IntervalUnit, TimeUnit};
use serde::{Deserialize, Serialize};

pub mod literal;
pub mod parse;
pub mod evaluate;
pub mod function;
pub mod aggregate;
pub mod window;
pub mod visit;
mod display;
mod cast;
mod compare;
pub mod datetime;
pub(crate) mod text;

pub use aggregate::{Aggregate, AggregateFunction};

use function::Function;
pub use literal::Literal;

/// A typed scalar expression over the columns of one schema. Text is `Utf8View`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Expr {
    /// An input column.
    Column {
        /// Its place in the schema.
        index: usize,
        /// Its name, for people.
        name: String,
        /// Its type.
        data_type: DataType,
    },
    /// A constant.
    Literal(Literal),
    /// `left op right`; operands have been brought to one type by [`Expr::Cast`].
    Binary {
        /// The operator.
        op: BinaryOp,
        /// Left operand.
        left: Box<Expr>,
        /// Right operand.
        right: Box<Expr>,
        /// The result's type.
        data_type: DataType,
    },
    /// `not x`, with three values.
    Not(Box<Expr>),
    /// `-x`.
    Negate(Box<Expr>),
    /// `x is null`, or `x is not null`.
    IsNull {
        /// What is tested.
        input: Box<Expr>,
        /// `is not null`.
        negated: bool,
    },
    /// `case when c then v … else e end`; all values have one type.
    Case {
        /// Conditions with their values, tried in order.
        branches: Vec<(Expr, Expr)>,
        /// The value where none holds; null where absent.
        otherwise: Option<Box<Expr>>,
        /// The type of all values.
        data_type: DataType,
    },
    /// `cast(x as t)`, or `try_cast`.
    Cast {
        /// What is cast.
        input: Box<Expr>,
        /// To this.
        to: DataType,
        /// Null instead of an error where it can't be.
        or_null: bool,
    },
    /// A field of a struct; null where the struct is.
    Field {
        /// The struct.
        input: Box<Expr>,
        /// The field's place in it.
        index: usize,
        /// Its name, for people.
        name: String,
        /// Its type.
        data_type: DataType,
    },
    /// A named function.
    Call {
        /// Which.
        function: Function,
        /// Its arguments, of the types it takes.
        arguments: Vec<Expr>,
        /// The result's type.
        data_type: DataType,
    },
}

/// An operator between two expressions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BinaryOp {
    /// `+`.
    Add,
    /// `-`.
    Subtract,
    /// `*`.
    Multiply,
    /// `/`: float64 on integers too.
    Divide,
    /// `div`: integer division.
    IntegerDivide,
    /// `%`.
    Modulo,
    /// `=`.
    Equal,
    /// `<>`.
    NotEqual,
    /// `<`.
    Less,
    /// `<=`.
    LessOrEqual,
    /// `>`.
    Greater,
    /// `>=`.
    GreaterOrEqual,
    /// `and`, with three values.
    And,
    /// `or`, with three values.
    Or,
}

/// An expression of type bool; null counts as false.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Predicate(pub Expr);

/// One key of an order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SortKey {
    /// The column, by index.
    pub column: usize,
    /// Greatest first.
    pub descending: bool,
    /// Nulls before all values (they come last unless said).
    pub nulls_first: bool,
}

/// One key of an order inside an expression, such as an aggregate's or a window's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OrderKey {
    /// What is ordered by.
    pub expr: Expr,
    /// Greatest first.
    pub descending: bool,
    /// Nulls before all values (they come last unless said).
    pub nulls_first: bool,
}

impl Expr {
    /// Whether it reads the column of this index.
    pub fn reads(&self, column: usize) -> bool {
        match self {
            Self::Column { index, .. } => *index == column,
            Self::Literal(_) => false,
            Self::Binary { left, right, .. } => left.reads(column) || right.reads(column),
            Self::Not(input)
            | Self::Negate(input)
            | Self::IsNull { input, .. }
            | Self::Field { input, .. }
            | Self::Cast { input, .. } => input.reads(column),
            Self::Case { branches, otherwise, .. } => {
                branches.iter().any(|(when, then)| when.reads(column) || then.reads(column))
                    || otherwise.as_ref().is_some_and(|otherwise| otherwise.reads(column))
            }
            Self::Call { arguments, .. } => arguments.iter().any(|argument| argument.reads(column)),
        }
    }

    /// The type of its values.
    pub fn data_type(&self) -> DataType {
        match self {
            Self::Column { data_type, .. }
            | Self::Binary { data_type, .. }
            | Self::Case { data_type, .. }
            | Self::Field { data_type, .. }
            | Self::Call { data_type, .. } => data_type.clone(),
            Self::Literal(literal) => literal.data_type(),
            Self::Not(_) | Self::IsNull { .. } => DataType::Boolean,
            Self::Negate(input) => input.data_type(),
            Self::Cast { to, .. } => to.clone(),
        }
    }
}

/// The engine's timestamp without zone: microseconds.
pub const TIMESTAMP: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

/// The engine's time of day: microseconds.
pub const TIME: DataType = DataType::Time64(TimeUnit::Microsecond);

/// The engine's interval: months, days and nanoseconds.
pub const INTERVAL: DataType = DataType::Interval(IntervalUnit::MonthDayNano);
