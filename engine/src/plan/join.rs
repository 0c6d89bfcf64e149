//! Joins: which rows they give and where their columns come from, of nodes and of steps.
//!
//! A node speaks of its left and its right input. A step has chosen which of them is held in a
//! table, and speaks of the probe and the build side.

use serde::{Deserialize, Serialize};

use crate::expr::Predicate;

/// Which rows a join gives. A partner of a row is one of equal keys for which the condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JoinKind {
    /// Pairs.
    Inner,
    /// Pairs, and the left side's rows without a partner, with nulls for the right.
    Left,
    /// Pairs, and the right side's rows without a partner, with nulls for the left.
    Right,
    /// Pairs, and the rows of both sides without a partner.
    Full,
    /// The left side's rows that have a partner, each once.
    Semi,
    /// The left side's rows that have none.
    Anti {
        /// As SQL's `not in`: a null key may equal anything, so that with one on the right no row
        /// comes out, and a left one only where the right side is empty. One key, no condition.
        null_aware: bool,
    },
    /// All pairs; there are no keys.
    Cross,
}

impl JoinKind {
    /// Whether only the left side's columns come out.
    pub fn is_left_only(self) -> bool {
        matches!(self, Self::Semi | Self::Anti { .. })
    }
}

/// Where a join's output column comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JoinColumn {
    /// A column of the left input, by index.
    Left(usize),
    /// A column of the right input, by index.
    Right(usize),
    /// A key that both sides have under one name: the left side's column, or the right one's where
    /// a row has no left side. Both are of one type.
    Both {
        /// By index in the left input.
        left: usize,
        /// By index in the right input.
        right: usize,
    },
}

/// Where a column of [`StepKind::Join`](super::StepKind::Join) comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProbeColumn {
    /// A column of the probe side, by index.
    Probe(usize),
    /// A column of the build side, by index.
    Build(usize),
    /// The one side's column, or the other's where a row has no such side.
    Either {
        /// By index on the probe side.
        probe: usize,
        /// By index on the build side.
        build: usize,
        /// Whether the build side's is taken where a row has both.
        prefers_build: bool,
    },
}

/// Which rows a [`StepKind::Join`](super::StepKind::Join) gives. A partner of a row is one of equal keys for which the
/// condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JoinRows {
    /// Pairs, and rows that stand alone, with nulls for the other side.
    Pairs {
        /// Whether the probe side's rows without a partner are kept.
        lonely_probe: bool,
        /// Whether the build side's are.
        lonely_build: bool,
    },
    /// The probe side's rows that have a partner.
    ProbeWith,
    /// The probe side's rows that have none.
    ProbeWithout {
        /// See [`JoinKind::Anti`].
        null_aware: bool,
    },
    /// The build side's rows that have a partner.
    BuildWith,
    /// The build side's rows that have none.
    BuildWithout,
}

impl JoinRows {
    /// Whether it must be known of the build side's rows if they had a partner anywhere: then one
    /// task must see all rows of the probe side that could be one.
    pub fn asks_build(self) -> bool {
        match self {
            Self::Pairs { lonely_build, .. } => lonely_build,
            Self::BuildWith | Self::BuildWithout => true,
            Self::ProbeWith | Self::ProbeWithout { .. } => false,
        }
    }

    /// Whether no row of the probe side comes out that has no partner.
    pub fn drops_lonely_probe(self) -> bool {
        match self {
            Self::Pairs { lonely_probe, .. } => !lonely_probe,
            Self::ProbeWith | Self::BuildWith | Self::BuildWithout => true,
            Self::ProbeWithout { .. } => false,
        }
    }

    /// Whether the probe side's rows without a partner come out beside pairs.
    pub fn keeps_lonely_probe(self) -> bool {
        matches!(self, Self::Pairs { lonely_probe: true, .. })
    }
}

/// What must be true of a pair of rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JoinCondition {
    /// Over `columns`; null counts as false.
    pub predicate: Predicate,
    /// Where the columns come from that it reads; the others are absent.
    pub columns: Vec<Option<ProbeColumn>>,
}
