//! The scheduler: a pure state machine, `step(now, event) -> commands`.
//!
//! It reads no clock, does no I/O, draws no random number and iterates no hash map: time comes in
//! as an argument and what must be remembered comes out as [`Command::Record`]. The embedded
//! runtime, the master and the simulator drive the same one.

use std::{sync::Arc, time::Duration};

use crate::{
    id::{JobId, StageId, TaskAttempt, Term, WorkerId},
    plan::Plan,
    task::TaskReport,
};

pub mod event;
pub mod job;
pub mod worker;

pub use event::{Command, Event, Fact, JobError, JobStatus, JobView, NodeStatus, WorkerView};

use crate::exchange::MapOutput;

/// Time since the driver's start, on a clock that never goes back.
pub type Now = Duration;

/// What the scheduler goes by.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This master's life; stands in every attempt.
    pub term: Term,
    /// A worker not seen for so long is lost.
    pub lost_after: Duration,
    /// A job that has had no worker for so long fails with `NO_WORKERS`.
    pub no_worker_wait: Duration,
    /// How often a task is tried before its job fails.
    pub attempts: u32,
}
