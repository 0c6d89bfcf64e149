//! `sample`: the rows that chance picks.
//!
//! Chance is the hash of a row's values, seeded, so that neither the order of rows nor the number
//! of tasks decides. Therefore equal rows are picked together or not at all, and what is picked of
//! a table of few distinct rows may be far from the fraction that was asked for.

use arrow::{
    array::{BooleanArray, RecordBatch},
    compute::filter_record_batch,
};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::{
    Result,
    kernels::hash::{SEED, hash_columns},
    operators::Operator,
    task::metrics::RowCounter,
};

/// Keeps the rows of `input` whose seeded hash, of 2³², lies below `threshold`.
///
/// - Shape: same schema, same order; a batch left without rows is not passed on.
/// - Memory: 8 bytes a row of one batch, not charged to the budget.
/// - Errors: those of its input.
pub struct Sample {
    /// Whose rows.
    pub input: Box<dyn Operator>,
    /// 0 picks none, 2³² all.
    pub threshold: u64,
    /// Another seed picks other rows.
    pub seed: u64,
    /// Counts the rows that are not picked.
    pub dropped: RowCounter,
}

impl Operator for Sample {
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        let mut hashes = Vec::new();
        while let Some(batch) = self.input.next()? {
            hash_columns(batch.columns(), &mut hashes);
            hashes.resize(batch.num_rows(), SEED);
            let is_picked = |hash: &u64| {
                xxh3_64_with_seed(&hash.to_le_bytes(), self.seed) >> 32 < self.threshold
            };
            let picked: BooleanArray = hashes.iter().map(|hash| Some(is_picked(hash))).collect();
            self.dropped.add((batch.num_rows() - picked.true_count()) as u64);
            let kept = filter_record_batch(&batch, &picked)?;
            if kept.num_rows() > 0 {
                return Ok(Some(kept));
            }
        }
        Ok(None)
    }
}
