//! A task: source → operators → exchange or sink, on one thread.
//!
//! [`run`] is the one place where a [`Step`](crate::plan::Step) becomes an operator.

use std::{path::PathBuf, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    exchange::MapOutput,
    id::TaskAttempt,
    plan::{NodeIndex, Stage},
    source::split::Split,
};

pub mod context;
pub mod metrics;

/// All that an attempt needs, as it is sent to a worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Task {
    /// Which.
    pub attempt: TaskAttempt,
    /// What is done.
    pub stage: Arc<Stage>,
    /// The split of its source, where it has one.
    pub split: Option<Split>,
    /// The map outputs of the stages it reads, by stage and then by map task.
    pub inputs: Vec<MapOutput>,
    /// Where a sink's rows go.
    pub result: ResultPlace,
}

/// Where a sink stage's task leaves its rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ResultPlace {
    /// In the partition store, as bucket 0: the master pulls them.
    Store,
    /// In an attempt file of the sink's format below this folder.
    Folder(PathBuf),
}

/// What a successful attempt counted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TaskReport {
    /// Rows of each node that the stage works for.
    pub nodes: Vec<NodeRows>,
    /// Rows that left the task.
    pub rows: u64,
    /// Bytes that left the task.
    pub bytes: u64,
    /// Bytes spilled on the way.
    pub spilled_bytes: u64,
    /// Time from start to end, in milliseconds.
    pub elapsed_ms: u64,
    /// The attempt file, where the result went to a folder.
    pub part: Option<Part>,
}

/// Rows that went into and came out of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRows {
    /// Which.
    pub node: NodeIndex,
    /// Rows in; of a reader: rows decoded.
    pub rows_in: u64,
    /// Rows out.
    pub rows_out: u64,
}

/// An encoded file of a sink that is not published yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Where it is.
    pub path: PathBuf,
    /// Its rows.
    pub rows: u64,
    /// Its bytes.
    pub bytes: u64,
    /// `xxh3-128:<hex>` of its bytes.
    pub checksum: String,
    /// The sum of its rows' hashes, independent of their order.
    pub content_checksum: u64,
}
