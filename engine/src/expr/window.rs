//! [`WindowFunction`]: a value for each row from the rows around it, bound to a schema.
//!
//! Which rows are around (partitions, their order) is the window's; which of them a function sees
//! is its [`Frame`]. Text becomes a function in [`parse`], and a plan's window is run by
//! [`crate::operators::window`].

use arrow::datatypes::DataType;
use serde::{Deserialize, Serialize};

use crate::expr::{Aggregate, Expr};

pub mod parse;

pub use parse::{Over, bind, frame, over, parse};

/// A window function over the columns of one schema.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WindowFunction {
    /// Which.
    pub function: Kind,
    /// Its arguments; empty for an aggregate, which has its own.
    pub arguments: Vec<Expr>,
    /// Which rows of the partition it sees; ranks and `lag` see all, whatever stands here.
    pub frame: Frame,
    /// Whether rows whose first argument is null are passed over.
    pub ignore_nulls: bool,
    /// The result's type.
    pub data_type: DataType,
}

/// What a window function computes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Kind {
    /// The row's number in its partition, from 1.
    RowNumber,
    /// The number of the first row that is equal to it in the order.
    Rank,
    /// The number of its group of equal rows.
    DenseRank,
    /// `(rank - 1) / (rows - 1)`; 0 in a partition of one row.
    PercentRank,
    /// The part of the partition that comes before it or is equal to it.
    CumeDist,
    /// The number of the row's tile, of so many that are as equal as can be.
    Ntile(u64),
    /// The first argument so many rows before, or the second argument where there is none; a
    /// negative number looks ahead.
    Lag(i64),
    /// The argument at the frame's first row.
    FirstValue,
    /// The argument at the frame's last row.
    LastValue,
    /// The argument at the frame's row of this number, from 1.
    NthValue(u64),
    /// An aggregate over the frame's rows.
    Aggregate(Box<Aggregate>),
}

impl Kind {
    /// Whether its value depends on the frame.
    pub fn has_frame(&self) -> bool {
        match self {
            Self::RowNumber
            | Self::Rank
            | Self::DenseRank
            | Self::PercentRank
            | Self::CumeDist
            | Self::Ntile(_)
            | Self::Lag(_) => false,
            Self::FirstValue | Self::LastValue | Self::NthValue(_) | Self::Aggregate(_) => true,
        }
    }
}

/// The rows of its partition that a function sees from a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    /// In what its bounds count.
    pub unit: FrameUnit,
    /// Where it begins.
    pub start: FrameBound,
    /// Where it ends, inclusive.
    pub end: FrameBound,
}

impl Default for Frame {
    /// From the partition's start to the last row that is equal to the current one.
    fn default() -> Self {
        let (start, end) = (FrameBound::UnboundedPreceding, FrameBound::CurrentRow);
        Self { unit: FrameUnit::Range, start, end }
    }
}

/// In what a frame's bounds count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FrameUnit {
    /// Rows; the current row is itself alone.
    Rows,
    /// The order key's values; the current row is all that are equal to it.
    Range,
    /// Groups of equal rows.
    Groups,
}

/// A frame's start or end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FrameBound {
    /// The partition's first row.
    UnboundedPreceding,
    /// So far before the current row.
    Preceding(Offset),
    /// The current row, or the first or last of those equal to it.
    CurrentRow,
    /// So far behind the current row.
    Following(Offset),
    /// The partition's last row.
    UnboundedFollowing,
}

/// A distance; never negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Offset {
    /// Rows or groups.
    Count(u64),
    /// A distance of exact keys: whole numbers, decimals without their point, nanoseconds of all
    /// that has to do with time.
    Ticks(#[serde(with = "text")] i128),
    /// A distance of floats, by its bits, so that it is sent exactly.
    Float(u64),
    /// Calendar months, then nanoseconds.
    Calendar {
        /// How many months.
        months: u32,
        /// What comes on top.
        nanoseconds: i64,
    },
}

/// Numbers that JSON can't hold, as text.
mod text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(value: &i128, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<i128, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// What a window function that is no aggregate is called and does.
#[derive(Clone, Copy, Debug)]
pub struct Signature {
    /// Its name.
    pub name: &'static str,
    /// Its arguments, for people.
    pub parameters: &'static str,
    /// What nulls do.
    pub nulls: &'static str,
    /// An expression that calls it.
    pub example: &'static str,
    /// What it does, in a sentence.
    pub about: &'static str,
}

/// The window functions by name; every aggregate is one too.
pub const SIGNATURES: [Signature; 11] = [
    Signature {
        name: "row_number",
        parameters: "",
        nulls: "takes no values",
        example: "row_number()",
        about: "The row's number in its partition, from 1.",
    },
    Signature {
        name: "rank",
        parameters: "",
        nulls: "takes no values",
        example: "rank()",
        about: "The number of the first row that is equal to it in the order, so that ties leave gaps.",
    },
    Signature {
        name: "dense_rank",
        parameters: "",
        nulls: "takes no values",
        example: "dense_rank()",
        about: "The number of the row's group of equal rows, without gaps.",
    },
    Signature {
        name: "percent_rank",
        parameters: "",
        nulls: "takes no values",
        example: "percent_rank()",
        about: "(rank - 1) / (rows of the partition - 1), from 0 to 1.",
    },
    Signature {
        name: "cume_dist",
        parameters: "",
        nulls: "takes no values",
        example: "cume_dist()",
        about: "The part of the partition's rows that come before the row or are equal to it.",
    },
    Signature {
        name: "ntile",
        parameters: "n",
        nulls: "n is a constant",
        example: "ntile(4)",
        about: "The number of the row's tile when the partition is cut into n as equal as can be.",
    },
    Signature {
        name: "lag",
        parameters: "x[, n[, default]]",
        nulls: "nulls are values; `ignore nulls` passes them over",
        example: "lag(price, 1, 0)",
        about: "x of the row n (1) rows before; where there is none, the default of this row, or null.",
    },
    Signature {
        name: "lead",
        parameters: "x[, n[, default]]",
        nulls: "nulls are values; `ignore nulls` passes them over",
        example: "lead(price)",
        about: "x of the row n (1) rows behind; where there is none, the default of this row, or null.",
    },
    Signature {
        name: "first_value",
        parameters: "x",
        nulls: "nulls are values; `ignore nulls` passes them over",
        example: "first_value(price)",
        about: "x of the frame's first row; null for an empty frame.",
    },
    Signature {
        name: "last_value",
        parameters: "x",
        nulls: "nulls are values; `ignore nulls` passes them over",
        example: "last_value(price)",
        about: "x of the frame's last row; null for an empty frame.",
    },
    Signature {
        name: "nth_value",
        parameters: "x, n",
        nulls: "nulls are values; `ignore nulls` passes them over",
        example: "nth_value(price, 2)",
        about: "x of the frame's n-th row, from 1; null where the frame has fewer.",
    },
];

/// The signature of this name, whatever its case.
pub fn signature(name: &str) -> Option<&'static Signature> {
    SIGNATURES.iter().find(|known| known.name.eq_ignore_ascii_case(name))
}
