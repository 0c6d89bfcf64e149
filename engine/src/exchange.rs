//! [`Exchange`]: how a stage's output reaches the tasks of the next.
//!
//! Writing goes to the worker's own [`store`]; reading goes through this trait, whose two
//! implementations are the local store and Arrow Flight.

use std::sync::Arc;

use arrow::array::RecordBatch;
use serde::{Deserialize, Serialize};

use crate::{
    Error, Result,
    id::{Epoch, TaskAttempt, WorkerId},
    memory::Budget,
    operators::Operator,
    task::context::CancelFlag,
};

pub mod write;
pub mod store;
pub mod read;

use store::PartitionStore;

/// One map task's output, and who holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapOutput {
    /// The attempt that wrote it.
    pub map: TaskAttempt,
    /// The worker that holds it.
    pub worker: WorkerId,
    /// The life in which the worker announced it.
    pub epoch: Epoch,
    /// The worker's Flight address, `host:port`; empty inside one process.
    pub address: String,
}

/// A way to read map outputs.
pub trait Exchange: Send + Sync {
    /// Opens one bucket of one map output; its batches come in the order in which they were
    /// written.
    ///
    /// - Memory: what is under way is charged to `budget`.
    /// - Cancellation: a wait ends soon after `cancel` is set.
    ///
    /// # Errors
    /// [`Error::FetchFailed`](crate::Error), at once or from the operator, where the output is
    /// gone, cut short or corrupt.
    fn open(
        &self,
        output: &MapOutput,
        bucket: u32,
        budget: &Budget,
        cancel: &CancelFlag,
    ) -> Result<Box<dyn Operator>>;
}

/// The exchange inside one process: batches are handed over as they are.
pub struct LocalExchange {
    /// Where map tasks of this process put their output.
    pub store: Arc<PartitionStore>,
}

impl Exchange for LocalExchange {
    fn open(
        &self,
        output: &MapOutput,
        bucket: u32,
        _budget: &Budget,
        _cancel: &CancelFlag,
    ) -> Result<Box<dyn Operator>> {
        let Some(input) = self.store.open(output.map, bucket)? else {
            return Err(output.fetch_failed(String::from("it is not held there")));
        };
        Ok(Box::new(LocalBucket { input, output: output.clone() }))
    }
}

impl MapOutput {
    /// The error of a reader that could not have this output.
    pub fn fetch_failed(&self, reason: String) -> Error {
        Error::FetchFailed { map: self.map, worker: self.worker.clone(), reason }
    }
}

/// A bucket of the own store, whose loss on disk is a failed fetch: its map task can redo it.
struct LocalBucket {
    input: Box<dyn Operator>,
    output: MapOutput,
}

impl Operator for LocalBucket {
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        self.input.next().map_err(|error| match error {
            Error::Corrupt { .. } | Error::Io { .. } => self.output.fetch_failed(error.chain()),
            other => other,
        })
    }
}
