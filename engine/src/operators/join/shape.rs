//! What a join does, apart from where its rows come from.

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch},
    buffer::{NullBuffer, ScalarBuffer},
    datatypes::{SchemaRef, UInt64Type},
};

use crate::{
    Error, Result,
    expr::Expr,
    kernels::hash::{SEED, hash_columns},
    plan::{JoinCondition, JoinRows, ProbeColumn},
};

/// Keys, condition, and which rows and columns come out; see [`JoinInput`](super::JoinInput).
pub(super) struct Shape {
    pub(super) probe_keys: Vec<Expr>,
    pub(super) build_keys: Vec<Expr>,
    pub(super) is_hashed: bool,
    pub(super) null_safe: bool,
    pub(super) condition: Option<JoinCondition>,
    pub(super) rows: JoinRows,
    pub(super) columns: Vec<ProbeColumn>,
    pub(super) schema: SchemaRef,
    pub(super) build_schema: SchemaRef,
    /// Places of keys whose values are told to sources of the probe side.
    pub(super) told_keys: Vec<usize>,
    /// What a build side may hold whatever the budget says: less is not worth a spill.
    pub(super) least_bytes: u64,
}

/// The part of the budget that a build side may hold whatever the budget says, and its bounds.
const LEAST_PART: u64 = 32;
const LEAST_BYTES: u64 = 1 << 20;
const MOST_LEAST_BYTES: u64 = 16 << 20;

impl Shape {
    /// What a build side may hold in any case, of such a budget.
    pub(super) fn least_bytes(budget_bytes: u64) -> u64 {
        (budget_bytes / LEAST_PART).clamp(LEAST_BYTES, MOST_LEAST_BYTES)
    }

    /// The keys of rows of the build side.
    pub(super) fn build_keys(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
        self.build_keys.iter().map(|key| key.evaluate(batch)).collect()
    }

    /// The keys of rows of the probe side.
    pub(super) fn probe_keys(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
        self.probe_keys.iter().map(|key| key.evaluate(batch)).collect()
    }

    /// The hash of each row of either side over its keys.
    pub(super) fn hashes(
        &self,
        batch: &RecordBatch,
        keys: &[ArrayRef],
    ) -> Result<ScalarBuffer<u64>> {
        if self.is_hashed {
            let last = batch.columns().last();
            let hashes = last.and_then(|column| column.as_primitive_opt::<UInt64Type>());
            let missing = || Error::Internal(String::from("a join without hashes"));
            return Ok(hashes.ok_or_else(missing)?.values().clone());
        }
        let mut hashes = Vec::new();
        hash_columns(keys, &mut hashes);
        // Without a key all rows are one.
        hashes.resize(batch.num_rows(), SEED);
        Ok(hashes.into())
    }

    /// The rows whose keys equal nothing because one of them is null; `None` where there are none.
    pub(super) fn unequal(&self, keys: &[ArrayRef]) -> Option<NullBuffer> {
        if self.null_safe {
            return None;
        }
        let union = keys.iter().fold(None, |union, key| {
            NullBuffer::union(union.as_ref(), key.logical_nulls().as_ref())
        });
        union.filter(|nulls| nulls.null_count() > 0)
    }

    /// The build side's columns that the output or the condition reads, ascending.
    pub(super) fn wanted(&self) -> Vec<usize> {
        let of_condition =
            self.condition.iter().flat_map(|condition| condition.columns.iter().flatten());
        let read = self.columns.iter().chain(of_condition).filter_map(|column| match column {
            ProbeColumn::Build(build) | ProbeColumn::Either { build, .. } => Some(*build),
            ProbeColumn::Probe(_) => None,
        });
        let mut wanted: Vec<usize> = read.collect();
        wanted.sort_unstable();
        wanted.dedup();
        wanted
    }

    /// Whether pairs come out.
    pub(super) fn gives_pairs(&self) -> bool {
        matches!(self.rows, JoinRows::Pairs { .. })
    }

    /// Whether rows of the probe side come out that are known to have no partner.
    pub(super) fn keeps_lonely_probe(&self) -> bool {
        self.rows.keeps_lonely_probe() || matches!(self.rows, JoinRows::ProbeWithout { .. })
    }

    /// Whether rows of the build side come out that are known to have no partner.
    pub(super) fn keeps_lonely_build(&self) -> bool {
        match self.rows {
            JoinRows::Pairs { lonely_build, .. } => lonely_build,
            JoinRows::BuildWithout => true,
            JoinRows::BuildWith | JoinRows::ProbeWith | JoinRows::ProbeWithout { .. } => false,
        }
    }
}
