//! The messages between worker and master: HTTP/JSON, the worker calls and the master answers.
//!
//! A poll is heartbeat, load and report in one; its answer holds the commands. Both state what is
//! and what should be, never what changed, so that every call may be repeated and a lost answer is
//! healed by the next poll.

use minispark_engine::{
    error::Failure,
    id::{Epoch, JobId, TaskAttempt, Term, WorkerId},
    task::{Task, TaskReport},
};
use minispark_flight::traffic::Fetched;
use serde::{Deserialize, Serialize};

use crate::meter::Usage;

/// The version of these messages.
pub const PROTOCOL: u32 = 1;

/// The oldest version that is understood.
pub const OLDEST_PROTOCOL: u32 = 1;

/// The version of the row hash by which both sides of an exchange are spread.
///
/// Workers of different versions would put equal keys into different buckets.
pub const HASH_VERSION: u32 = 2;

/// Where a worker registers.
pub const REGISTER: &str = "/internal/v1/register";

/// Where a worker polls.
pub const POLL: &str = "/internal/v1/poll";

/// Where a worker says goodbye.
pub const LEAVE: &str = "/internal/v1/leave";

/// The most bytes of one message, in either direction.
pub const MAX_MESSAGE_BYTES: usize = 32 << 20;

/// A worker makes itself known, for the first time or again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Register {
    /// Its protocol version.
    pub protocol: u32,
    /// The version of its build.
    pub version: String,
    /// The version of its row hash.
    pub hash_version: u32,
    /// Its persistent identity.
    pub worker: WorkerId,
    /// Its life.
    pub epoch: Epoch,
    /// Its Flight address, `host:port`.
    pub address: String,
    /// How many tasks it runs at once.
    pub slots: u32,
    /// Its memory budget.
    pub budget_bytes: u64,
    /// Whether it may write results into folders that it shares with the master.
    #[serde(default)]
    pub writes: bool,
    /// The attempts whose outputs it can serve.
    #[serde(default)]
    pub held: Vec<TaskAttempt>,
}

/// The answer to [`Register`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Registered {
    /// The master's protocol version.
    pub protocol: u32,
    /// The version of the master's build.
    pub version: String,
    /// The identity under which the worker is known.
    pub worker: WorkerId,
    /// The master's life.
    pub term: Term,
    /// A poll is held for at most so long, in milliseconds.
    pub heartbeat_ms: u64,
    /// The key that signs and checks tickets, in hexadecimal digits.
    pub ticket_key: String,
}

/// A worker's state and reports.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Poll {
    /// Its protocol version.
    pub protocol: u32,
    /// Who.
    pub worker: WorkerId,
    /// Its life.
    pub epoch: Epoch,
    /// The highest term that it has heard of.
    pub term_seen: Term,
    /// Grows with every poll of a life; a higher one supersedes a pending one.
    pub seq: u64,
    /// The attempts that it runs or will run; not those in `reports`.
    pub running: Vec<RunningAttempt>,
    /// Jobs of which it holds outputs.
    pub held_jobs: Vec<JobId>,
    /// Outcomes that the master has not acknowledged yet.
    pub reports: Vec<Report>,
    /// How busy it is.
    pub load: Load,
    /// It is about to leave and wants no new attempts.
    #[serde(default)]
    pub draining: bool,
}

/// An attempt that a worker runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningAttempt {
    /// Which.
    pub attempt: TaskAttempt,
    /// Rows read so far, of its split and of other tasks' outputs.
    pub rows: u64,
    /// Bytes of its split read so far.
    #[serde(default)]
    pub bytes: u64,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Which.
    pub attempt: TaskAttempt,
    /// How.
    pub outcome: Outcome,
}

/// The end of an attempt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Outcome {
    /// Its output is in the worker's store, or in a folder that it shares with the master.
    Done(TaskReport),
    /// It has none.
    Failed(Failure),
}

/// How busy a worker is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// Its process and its machine.
    #[serde(flatten)]
    pub usage: Usage,
    /// What it has fetched from other workers since its process's start.
    #[serde(default)]
    pub fetched: Fetched,
    /// What is reserved of its budget.
    pub reserved_bytes: u64,
    /// What its partition store holds in memory.
    pub store_memory_bytes: u64,
    /// What its partition store holds on disk.
    pub store_disk_bytes: u64,
}

/// The answer to [`Poll`]: what the worker should do differently.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct PollAnswer {
    /// The master's life.
    pub term: Option<Term>,
    /// Reports that need not be repeated.
    pub acks: Vec<TaskAttempt>,
    /// Attempts to run.
    pub assign: Vec<Task>,
    /// Attempts to end, with what they wrote.
    pub revoke: Vec<TaskAttempt>,
    /// Jobs of which nothing is needed any more.
    pub drop_jobs: Vec<JobId>,
    /// A later poll has taken this one's place; nothing of it counts.
    pub superseded: bool,
    /// A draining worker may go: nobody has to read what it holds.
    #[serde(default)]
    pub may_leave: bool,
}

impl PollAnswer {
    /// Whether it asks for anything to be done.
    pub fn has_commands(&self) -> bool {
        let has_lists =
            !self.assign.is_empty() || !self.revoke.is_empty() || !self.drop_jobs.is_empty();
        has_lists || self.may_leave
    }
}

/// A worker says goodbye: it runs nothing any more and serves nothing. What it keeps on disk it
/// announces when it comes back.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Leave {
    /// Its protocol version.
    pub protocol: u32,
    /// Who.
    pub worker: WorkerId,
    /// The life that ends.
    pub epoch: Epoch,
}

/// The answer to [`Leave`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// The master's life.
    pub term: Term,
}
