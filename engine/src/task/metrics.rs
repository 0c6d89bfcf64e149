//! Rows and cancellation, handled once around every operator.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use arrow::array::RecordBatch;

use crate::{Result, operators::Operator, task::context::CancelFlag};

/// Rows counted by one step; clones share it.
#[derive(Clone, Debug, Default)]
pub struct RowCounter(Arc<AtomicU64>);

impl RowCounter {
    /// The rows so far.
    pub fn rows(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Counts `rows` more.
    pub fn add(&self, rows: u64) {
        self.0.fetch_add(rows, Ordering::Relaxed);
    }
}

/// An operator whose rows are counted and whose pulls end once the attempt is cancelled.
pub struct Observed {
    /// What is observed.
    pub input: Box<dyn Operator>,
    /// Counts the rows that it gives.
    pub counter: RowCounter,
    /// Counts them too, where they are the task's input.
    pub progress: Option<RowCounter>,
    /// Checked before each pull.
    pub cancel: CancelFlag,
}

impl Operator for Observed {
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        self.cancel.check()?;
        let batch = self.input.next()?;
        if let Some(batch) = &batch {
            let rows = batch.num_rows() as u64;
            self.counter.add(rows);
            if let Some(progress) = &self.progress {
                progress.add(rows);
            }
        }
        Ok(batch)
    }
}
