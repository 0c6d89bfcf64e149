//! [`Expr`]: a scalar expression bound to a schema: typed, columns by index, nothing left to check.
//!
//! Text becomes a tree in [`parse`], a batch becomes an array in [`evaluate`], and what has a name
//! stands in the one table of [`function`].

use arrow::datatypes::{DataType, IntervalUnit, TimeUnit};
use serde::{Deserialize, Serialize};

pub mod literal;
pub mod coerce;
pub mod parse;
pub mod evaluate;
pub mod function;
pub mod aggregate;
pub mod window;
pub mod visit;
mod fold;
mod pattern;
mod display;
pub(crate) mod cast;
pub(crate) mod compare;
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
    /// `first op right op right …`, from the left to the right: a long chain of `+` and `-`, or of
    /// `*`, `/`, `div` and `%`, that does not nest. It means what nested [`Expr::Binary`] mean.
    Chain {
        /// The first operand.
        first: Box<Expr>,
        /// What is done with it, in order.
        steps: Vec<Step>,
    },
    /// `x is true`, `x is not false` and so on; never null.
    IsTruth {
        /// What is tested.
        input: Box<Expr>,
        /// What it is compared with.
        value: bool,
        /// `is not`.
        negated: bool,
    },
    /// `x in (…)`, with three values; all of one type.
    InList {
        /// What is looked for.
        input: Box<Expr>,
        /// Where.
        list: Vec<Expr>,
        /// `not in`.
        negated: bool,
    },
    /// `x like p`: `%` stands for any characters, `_` for one.
    Like {
        /// What is tested.
        input: Box<Expr>,
        /// The pattern.
        pattern: Box<Expr>,
        /// What makes a `%`, a `_` or itself stand for itself.
        escape: Option<char>,
        /// `ilike`: whatever the case.
        ignores_case: bool,
        /// `not like`.
        negated: bool,
    },
    /// `list[i]`: an element by its place, counted from 1, or from the end where negative; null
    /// where there is none.
    Element {
        /// The list.
        input: Box<Expr>,
        /// Its place, int64.
        index: Box<Expr>,
        /// The type of the list's elements.
        data_type: DataType,
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

/// A step of [`Expr::Chain`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// The operator.
    pub op: BinaryOp,
    /// Its right operand; the left one is what the steps before gave.
    pub right: Expr,
    /// The result's type.
    pub data_type: DataType,
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
    /// `is distinct from`: never null, a null equals a null.
    IsDistinct,
    /// `is not distinct from`.
    IsNotDistinct,
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
    /// What it is computed from, one level down, in the order in which it is written.
    pub fn children(&self) -> Vec<&Self> {
        match self {
            Self::Column { .. } | Self::Literal(_) => Vec::new(),
            Self::Binary { left, right, .. } => vec![left, right],
            Self::Chain { first, steps } => {
                std::iter::once(first.as_ref()).chain(steps.iter().map(|s| &s.right)).collect()
            }
            Self::Not(input)
            | Self::Negate(input)
            | Self::IsNull { input, .. }
            | Self::IsTruth { input, .. }
            | Self::Field { input, .. }
            | Self::Cast { input, .. } => vec![input],
            Self::InList { input, list, .. } => {
                std::iter::once(input.as_ref()).chain(list).collect()
            }
            Self::Like { input, pattern, .. } => vec![input, pattern],
            Self::Element { input, index, .. } => vec![input, index],
            Self::Case { branches, otherwise, .. } => {
                let branches = branches.iter().flat_map(|(when, then)| [when, then]);
                branches.chain(otherwise.as_deref()).collect()
            }
            Self::Call { arguments, .. } => arguments.iter().collect(),
        }
    }

    /// As [`Expr::children`], to be changed; their types must stay.
    pub fn children_mut(&mut self) -> Vec<&mut Self> {
        match self {
            Self::Column { .. } | Self::Literal(_) => Vec::new(),
            Self::Binary { left, right, .. } => vec![left, right],
            Self::Chain { first, steps } => {
                let steps = steps.iter_mut().map(|step| &mut step.right);
                std::iter::once(first.as_mut()).chain(steps).collect()
            }
            Self::Not(input)
            | Self::Negate(input)
            | Self::IsNull { input, .. }
            | Self::IsTruth { input, .. }
            | Self::Field { input, .. }
            | Self::Cast { input, .. } => vec![input],
            Self::InList { input, list, .. } => {
                std::iter::once(input.as_mut()).chain(list).collect()
            }
            Self::Like { input, pattern, .. } => vec![input, pattern],
            Self::Element { input, index, .. } => vec![input, index],
            Self::Case { branches, otherwise, .. } => {
                let branches = branches.iter_mut().flat_map(|(when, then)| [when, then]);
                branches.chain(otherwise.as_deref_mut()).collect()
            }
            Self::Call { arguments, .. } => arguments.iter_mut().collect(),
        }
    }

    /// Calls `visit` for it and all that it is computed from.
    pub fn walk<'a>(&'a self, visit: &mut dyn FnMut(&'a Self)) {
        visit(self);
        for child in self.children() {
            child.walk(visit);
        }
    }

    /// Whether it reads the column of this index.
    pub fn reads(&self, column: usize) -> bool {
        match self {
            Self::Column { index, .. } => *index == column,
            other => other.children().iter().any(|child| child.reads(column)),
        }
    }

    /// The columns that it reads, each once and ascending.
    pub fn columns(&self) -> Vec<usize> {
        let mut columns = Vec::new();
        self.walk(&mut |expr| {
            if let Self::Column { index, .. } = expr {
                columns.push(*index);
            }
        });
        columns.sort_unstable();
        columns.dedup();
        columns
    }

    /// The type of its values.
    pub fn data_type(&self) -> DataType {
        match self {
            Self::Column { data_type, .. }
            | Self::Binary { data_type, .. }
            | Self::Case { data_type, .. }
            | Self::Field { data_type, .. }
            | Self::Element { data_type, .. }
            | Self::Call { data_type, .. } => data_type.clone(),
            Self::Literal(literal) => literal.data_type(),
            Self::Not(_)
            | Self::IsNull { .. }
            | Self::IsTruth { .. }
            | Self::InList { .. }
            | Self::Like { .. } => DataType::Boolean,
            Self::Negate(input) => input.data_type(),
            Self::Chain { first, steps } => {
                steps.last().map_or_else(|| first.data_type(), |step| step.data_type.clone())
            }
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
