//! [`Exchange`]: how a stage's output reaches the tasks of the next.
//!
//! Writing goes to the worker's own [`store`]; reading goes through this trait, whose two
//! implementations are the local store and Arrow Flight.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    Result,
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
