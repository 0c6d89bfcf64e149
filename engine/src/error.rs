//! What can go wrong: [`Error`] inside a process, [`Failure`] on the wire, [`Code`] for users.
//!
//! A variant exists because someone acts on it differently. Whether an attempt is tried again is
//! decided by [`Error::class`] alone, never by reading text.

use std::{
    io,
    path::{Path, PathBuf},
};

use arrow::error::ArrowError;
use serde::{Deserialize, Serialize};

use crate::{
    disk::{quota, rooted::is_not_allowed},
    id::{TaskAttempt, WorkerId},
};

/// The engine's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that the engine reports as gone wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder could not be used.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was tried, as a verb phrase: "read", "create".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// An input that the plan names is not there (any more).
    #[error("input `{}` is not there", path.display())]
    InputNotFound {
        /// The file.
        path: PathBuf,
    },
    /// An input is not what it was when the job was planned.
    #[error("input `{}` has changed: {expected_bytes} bytes when planned, {found_bytes} now{}", path.display(), if expected_bytes == found_bytes { ", and not the same ones" } else { "" })]
    InputChanged {
        /// The file.
        path: PathBuf,
        /// Its size in the plan.
        expected_bytes: u64,
        /// Its size now.
        found_bytes: u64,
    },
    /// A record that its format or its declared types do not allow.
    #[error("bad row in `{}`, line {line} (byte {offset}){}: {reason}: {text}", path.display(), column.as_ref().map(|name| format!(", column `{name}`")).unwrap_or_default())]
    BadRow {
        /// The file.
        path: PathBuf,
        /// Where the record begins, in bytes from the file's start.
        offset: u64,
        /// The line in which the record begins, from 1.
        line: u64,
        /// The column, where one is to blame.
        column: Option<String>,
        /// The record's text, cut to a length that can be shown.
        text: String,
        /// What was expected.
        reason: String,
    },
    /// More bad rows than a node may have.
    #[error("too many bad rows: {reason}")]
    BadRowsLimit {
        /// How many there are and how many may be.
        reason: String,
    },
    /// A record longer than a record may be, which an unclosed quote makes too.
    #[error("record of more than {limit_bytes} bytes in `{}`, line {line} (byte {offset}); is a quote left open?", path.display())]
    RecordTooLarge {
        /// The file.
        path: PathBuf,
        /// Where the record begins, in bytes from the file's start.
        offset: u64,
        /// The line in which the record begins, from 1.
        line: u64,
        /// The most bytes of a record.
        limit_bytes: u64,
    },
    /// An expression had no value for a row: overflow, division by zero, a bad cast.
    #[error("{reason}")]
    Evaluate {
        /// What happened, with the value where it is short.
        reason: String,
    },
    /// Rows are not as an `expect` node wants them.
    #[error("`{node}` expects {check}; it found {rows}")]
    Expectation {
        /// The node.
        node: String,
        /// What does not hold.
        check: String,
        /// The first rows that offend, as JSON objects.
        rows: String,
    },
    /// An operator needs more memory than the budget can ever give.
    #[error(
        "{operator} needs {asked_bytes} bytes more, and the memory budget of {budget_bytes} bytes is used up"
    )]
    MemoryLimit {
        /// Who asked.
        operator: String,
        /// How much was asked for.
        asked_bytes: u64,
        /// The process's budget.
        budget_bytes: u64,
    },
    /// A map output could not be had; the reader is not to blame.
    #[error("cannot fetch the output of {map} from worker {worker}: {reason}")]
    FetchFailed {
        /// Whose output.
        map: TaskAttempt,
        /// Who should hold it.
        worker: WorkerId,
        /// What happened.
        reason: String,
    },
    /// Bytes that are not what was written.
    #[error("cannot read `{what}`: {reason}")]
    Corrupt {
        /// The file or stream.
        what: String,
        /// What does not fit.
        reason: String,
    },
    /// The target of a writer with mode `error` is already there.
    #[error("output `{}` already exists; remove it or write elsewhere", path.display())]
    OutputExists {
        /// The target.
        path: PathBuf,
    },
    /// The target of a writer is there, and is not what its mode can go on with.
    #[error("output `{}` {reason}", path.display())]
    OutputUnfit {
        /// The target.
        path: PathBuf,
        /// What is the matter, and what to do.
        reason: String,
    },
    /// The job or the attempt was cancelled.
    #[error("cancelled")]
    Cancelled,
    /// A panic, contained.
    #[error("task panicked: {message}")]
    Panicked {
        /// The panic's message.
        message: String,
    },
    /// An arrow kernel refused what the plan should not have let through.
    #[error("arrow: {0}")]
    Arrow(#[from] ArrowError),
    /// Something that must hold does not.
    #[error("internal error: {0}")]
    Internal(String),
}

/// What an error asks of the scheduler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Class {
    /// The attempt may succeed when tried again.
    Retry,
    /// The output of another task is missing: recompute that one.
    Recompute,
    /// It would only repeat (the data, an expression, the target): the job fails now.
    Fail,
    /// Nobody wants the attempt any more.
    Cancel,
}

/// The closed list of codes that users meet in REST, Flight and on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Code {
    /// The job document has errors.
    ValidationFailed,
    /// A path outside the data roots.
    PathNotAllowed,
    /// An input is missing.
    InputNotFound,
    /// An input changed while the job ran.
    InputChanged,
    /// An input could not be read or decoded.
    InputCorrupt,
    /// Rows are not as an `expect` node wants them.
    ExpectationFailed,
    /// More bad rows than the node tolerates.
    BadRowsLimit,
    /// A record is over the size limit.
    RecordTooLarge,
    /// The budget is used up.
    MemoryLimit,
    /// A disk is full.
    DiskFull,
    /// The target exists.
    OutputExists,
    /// No worker came in time.
    NoWorkers,
    /// A task failed on every attempt.
    TaskFailed,
    /// A task panicked.
    TaskPanicked,
    /// A task took several worker processes with it.
    TaskKillsWorkers,
    /// A map output could not be fetched.
    FetchFailed,
    /// The job was cancelled.
    Cancelled,
    /// The key of a submission was used with another document.
    IdempotencyKeyReused,
    /// Too many jobs wait.
    QueueFull,
    /// Too many requests in a short time.
    RateLimited,
    /// A request's body is too large.
    BodyTooLarge,
    /// No or a wrong credential.
    Unauthenticated,
    /// Not allowed.
    Forbidden,
    /// No such thing.
    NotFound,
    /// The method is not offered on this route.
    MethodNotAllowed,
    /// The request can't be read.
    BadRequest,
    /// The job has no results yet.
    NotFinished,
    /// The job failed.
    JobFailed,
    /// The state does not allow it.
    Conflict,
    /// A newer master is in charge.
    StaleTerm,
    /// The typed copy of a result is gone.
    ResultExpired,
    /// Protocol versions do not meet.
    UnsupportedVersion,
    /// State on disk is corrupt.
    StateCorrupt,
    /// A bug.
    Internal,
}

impl Code {
    /// The code as users see it: `VALIDATION_FAILED`.
    pub fn name(self) -> String {
        match serde_json::to_value(self) {
            Ok(serde_json::Value::String(name)) => name,
            _ => String::from("INTERNAL"),
        }
    }
}

/// An error as it travels from a task to the scheduler and on to the user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What the scheduler does about it.
    pub class: Class,
    /// What the user reads it as.
    pub code: Code,
    /// The error and its sources, in one line.
    pub message: String,
    /// The map output that could not be had, with [`Class::Recompute`].
    pub fetch: Option<FetchFailure>,
}

/// Whose map output could not be fetched from whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchFailure {
    /// The map attempt.
    pub map: TaskAttempt,
    /// The worker that should hold it.
    pub worker: WorkerId,
}

impl Error {
    /// For `map_err` on a result of [`std::io`].
    pub fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }

    /// What the scheduler does about it; the one place where this is decided.
    pub fn class(&self) -> Class {
        match self {
            Self::InputNotFound { .. }
            | Self::InputChanged { .. }
            | Self::BadRow { .. }
            | Self::BadRowsLimit { .. }
            | Self::RecordTooLarge { .. }
            | Self::Evaluate { .. }
            | Self::Expectation { .. }
            | Self::OutputExists { .. }
            | Self::OutputUnfit { .. } => Class::Fail,
            Self::Io { source, .. } if is_not_allowed(source) || quota::is_of_job(source) => {
                Class::Fail
            }
            Self::FetchFailed { .. } => Class::Recompute,
            Self::Cancelled => Class::Cancel,
            Self::Io { .. }
            | Self::MemoryLimit { .. }
            | Self::Corrupt { .. }
            | Self::Panicked { .. }
            | Self::Arrow(_)
            | Self::Internal(_) => Class::Retry,
        }
    }

    /// What users read it as.
    pub fn code(&self) -> Code {
        match self {
            Self::Io { source, .. } if quota::is_full(source) => Code::DiskFull,
            Self::Io { source, .. } if is_not_allowed(source) => Code::PathNotAllowed,
            Self::Io { .. } | Self::Arrow(_) | Self::Evaluate { .. } => Code::TaskFailed,
            Self::InputNotFound { .. } => Code::InputNotFound,
            Self::InputChanged { .. } => Code::InputChanged,
            Self::BadRow { .. } | Self::Corrupt { .. } => Code::InputCorrupt,
            Self::Expectation { .. } => Code::ExpectationFailed,
            Self::BadRowsLimit { .. } => Code::BadRowsLimit,
            Self::RecordTooLarge { .. } => Code::RecordTooLarge,
            Self::MemoryLimit { .. } => Code::MemoryLimit,
            Self::FetchFailed { .. } => Code::FetchFailed,
            Self::OutputExists { .. } | Self::OutputUnfit { .. } => Code::OutputExists,
            Self::Cancelled => Code::Cancelled,
            Self::Panicked { .. } => Code::TaskPanicked,
            Self::Internal(_) => Code::Internal,
        }
    }

    /// The error and its sources in one line, outermost first.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(error) = source {
            let part = error.to_string();
            if !text.contains(&part) {
                text.push_str(": ");
                text.push_str(&part);
            }
            source = error.source();
        }
        text
    }
}

/// A message with paths below `base` as they are given relative to it. Messages quote paths, so that
/// only what begins one is cut.
pub fn without_base(message: &str, base: &Path) -> String {
    let mut start = format!("`{}", base.display());
    if !start.ends_with('/') {
        start.push('/');
    }
    if start == "`/" { message.to_owned() } else { message.replace(&start, "`") }
}

/// What helps against an error, where one thing mostly does.
fn advice(error: &Error) -> Option<&'static str> {
    match error {
        Error::BadRow { .. } => Some("`on_bad_row` of its reader can skip or quarantine such rows"),
        // Kernels name the operation in their words and know no forms of the language.
        Error::Evaluate { reason } if reason.contains(" by zero") => {
            Some("to get null instead, divide by `nullif(x, 0)` or say `try_divide`")
        }
        Error::Evaluate { reason } if reason.contains(" overflows ") => Some(
            "cast to a wider type before, such as decimal(38,0), or get null instead by `try_add`, \
             `try_subtract` or `try_multiply`",
        ),
        Error::Evaluate { reason } if reason.contains("which is beyond") => {
            Some("cast what is summed to a wider type, such as decimal(38,0) or float64")
        }
        Error::Evaluate { reason } if reason.starts_with("cannot cast") => {
            Some("`try_cast` gives null instead")
        }
        Error::Evaluate { reason } if reason.contains(" is not as the format ") => {
            Some("`try_strptime` gives null instead")
        }
        Error::Expectation { check, .. }
            if check.starts_with("where: ") || check.starts_with("not_null: ") =>
        {
            Some("`on_fail` of the node can quarantine such rows")
        }
        Error::MemoryLimit { .. } => {
            Some("give it more with `--memory`, or by the job's `limits.memory` where that is less")
        }
        Error::Io { source, .. } if quota::is_of_job(source) => {
            Some("raise `limits.spill`, or give it more memory")
        }
        Error::Io { source, .. } if source.kind() == io::ErrorKind::QuotaExceeded => {
            Some("raise `--spill-quota`, or give it more memory")
        }
        Error::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
            Some("free some space there")
        }
        _ => None,
    }
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        let fetch = match error {
            Error::FetchFailed { map, worker, .. } => {
                Some(FetchFailure { map: *map, worker: worker.clone() })
            }
            _ => None,
        };
        let mut message = error.chain();
        if let Some(advice) = advice(error) {
            message.push_str("; ");
            message.push_str(advice);
        }
        Self { class: error.class(), code: error.code(), message, fetch }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Error, Failure, without_base};

    #[test]
    fn paths_are_told_as_they_were_given() {
        let message = "cannot read `/data/in/a.csv`: not like `/data/inner`";
        let told = without_base(message, Path::new("/data/in"));
        assert_eq!(told, "cannot read `a.csv`: not like `/data/inner`");
        assert_eq!(without_base("no `/a`", Path::new("/")), "no `/a`");
    }

    #[test]
    fn a_failure_says_what_helps() {
        let told = |reason: &str| Failure::from(&Error::Evaluate { reason: reason.into() }).message;
        assert_eq!(
            told("cannot cast 'x' to int64, at row a=\"x\""),
            "cannot cast 'x' to int64, at row a=\"x\"; `try_cast` gives null instead"
        );
        assert!(told("division by zero, at row n=0").contains("`nullif(x, 0)`"));
        assert!(told("addition overflows int64: 1 + 2").contains("`try_add`"));
        assert_eq!(told("sqrt(-1) has no value"), "sqrt(-1) has no value");
    }
}
