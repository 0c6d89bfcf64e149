//! What a task may use: budget, cancel flag, scratch folder, store and exchange.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use crate::{
    Error, Result,
    disk::{DataDisks, Disk},
    exchange::{Exchange, store::PartitionStore},
    memory::Budget,
};

/// Set once, seen by every thread that works for an attempt; clones share it.
#[derive(Clone, Debug, Default)]
pub struct CancelFlag(Arc<AtomicBool>);

impl CancelFlag {
    /// Ends the attempt at its next batch.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was set.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// For the start of each unit of work.
    ///
    /// # Errors
    /// [`Error::Cancelled`] once the flag is set.
    pub fn check(&self) -> Result<()> {
        if self.is_cancelled() { Err(Error::Cancelled) } else { Ok(()) }
    }
}

/// Everything that one attempt works with.
#[derive(Clone)]
pub struct TaskContext {
    /// The process's memory budget.
    pub budget: Budget,
    /// Set when nobody wants the attempt any more.
    pub cancel: CancelFlag,
    /// The process's own files.
    pub disk: Arc<dyn Disk>,
    /// The files that jobs may read and write.
    pub data: DataDisks,
    /// The attempt's own folder for spill files; created on first use, removed with the attempt.
    pub scratch: PathBuf,
    /// Bytes that the attempt has spilled so far; every spill adds to it.
    pub spilled_bytes: Arc<AtomicU64>,
    /// Bytes of its split that the attempt has read so far; a source adds to it.
    pub read_bytes: Arc<AtomicU64>,
    /// Where map output goes.
    pub store: Arc<PartitionStore>,
    /// Where the outputs of other tasks come from.
    pub exchange: Arc<dyn Exchange>,
}
