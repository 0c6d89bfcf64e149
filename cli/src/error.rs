//! What the command ends with when it does not succeed: what, where, what helps, and an exit code.
//!
//! One type for all commands: they differ in the [`Exit`] code only, and all are shown alike.

use std::{fmt, io};

use minispark_api::rest::wire::{Finding, JobState, ProblemDocument};
use minispark_engine::error::Code;
use serde_json::{Map, Value, json};

use crate::client::show_place;

/// A command's result.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// The exit codes, as the help text lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Done = 0,
    /// Anything else, also no command at all.
    Other = 1,
    /// The command line is wrong.
    Usage = 2,
    /// The job document has errors.
    InvalidJob = 3,
    /// The server can't be reached, or does not answer in time.
    Unreachable = 4,
    /// Not allowed.
    NotAllowed = 5,
    /// There is no such job.
    NoSuchJob = 6,
    /// The job failed.
    JobFailed = 7,
    /// The job was cancelled.
    JobCancelled = 8,
    /// The job has not finished yet.
    NotFinished = 9,
    /// The state of things does not allow it.
    Conflict = 10,
    /// Ctrl-C.
    Interrupted = 130,
    /// Asked to end (SIGTERM).
    Terminated = 143,
}

impl Exit {
    /// The code for the process.
    pub(crate) fn code(self) -> u8 {
        self as u8
    }

    /// What a problem document of the server means to the caller.
    pub(crate) fn of_problem(status: u16, code: &str) -> Self {
        match (status, code) {
            (_, "VALIDATION_FAILED") => Self::InvalidJob,
            (_, "NOT_FINISHED") => Self::NotFinished,
            (_, "JOB_FAILED") => Self::JobFailed,
            (_, "CANCELLED") => Self::JobCancelled,
            (401 | 403, _) => Self::NotAllowed,
            (404, "NOT_FOUND") => Self::NoSuchJob,
            (408 | 503 | 504, _) => Self::Unreachable,
            (409, _) => Self::Conflict,
            _ => Self::Other,
        }
    }

    /// How a job's state is told.
    pub(crate) fn of_state(state: JobState) -> Self {
        match state {
            JobState::Completed => Self::Done,
            JobState::Failed => Self::JobFailed,
            JobState::Cancelled => Self::JobCancelled,
            JobState::Accepted | JobState::Running => Self::NotFinished,
        }
    }
}

/// Why a command did not succeed.
#[derive(Clone, Debug)]
pub(crate) struct Error {
    /// What the process ends with.
    pub(crate) exit: Exit,
    /// The kind, from the closed list of codes.
    pub(crate) code: Box<str>,
    /// What happened, in one line.
    pub(crate) what: String,
    /// Where: a file with line and column, a URL, a node.
    pub(crate) place: Option<Box<str>>,
    /// What to do about it.
    pub(crate) help: Option<Box<str>>,
    /// The job document's problems, where that is what happened.
    pub(crate) findings: Vec<Finding>,
    /// The server's own problem document, where it gave one.
    pub(crate) document: Option<Box<ProblemDocument>>,
    /// Whether all that happened is that nobody reads stdout any more.
    is_closed_pipe: bool,
}

impl Error {
    /// An error of a kind, told in one line.
    pub(crate) fn new(exit: Exit, code: Code, what: impl Into<String>) -> Self {
        Self {
            exit,
            code: code.name().into(),
            what: what.into(),
            place: None,
            help: None,
            findings: Vec::new(),
            document: None,
            is_closed_pipe: false,
        }
    }

    /// Whether all that happened is that nobody reads stdout any more.
    pub(crate) fn is_closed_pipe(&self) -> bool {
        self.is_closed_pipe
    }

    /// What a server says.
    pub(crate) fn of_problem(document: ProblemDocument) -> Self {
        let exit = Exit::of_problem(document.status, &document.code);
        let mut error = Self::new(exit, Code::Internal, &*document.detail).kind(&document.code);
        if let Some(place) = document.place.as_ref().map(show_place).filter(|text| !text.is_empty())
        {
            error = error.at(place);
        }
        if let Some(hint) = &document.hint {
            error = error.help(&**hint);
        }
        error.findings.clone_from(&document.errors);
        error.document = Some(Box::new(document));
        error
    }

    /// A wrong command line.
    pub(crate) fn usage(what: impl Into<String>) -> Self {
        Self::new(Exit::Usage, Code::BadRequest, what)
    }

    /// Of another kind: one that only servers or only clients know.
    #[must_use]
    pub(crate) fn kind(mut self, code: &str) -> Self {
        self.code = code.into();
        self
    }

    /// With the place.
    #[must_use]
    pub(crate) fn at(mut self, place: impl Into<Box<str>>) -> Self {
        self.place = Some(place.into());
        self
    }

    /// With what helps.
    #[must_use]
    pub(crate) fn help(mut self, help: impl Into<Box<str>>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// As a problem document (RFC 9457): the server's own, or one of the same shape.
    pub(crate) fn to_json(&self) -> Value {
        if let Some(document) = &self.document {
            return json!(document);
        }
        let mut fields = Map::new();
        fields.insert("type".to_owned(), json!(format!("/docs/errors#{}", self.code)));
        fields.insert("code".to_owned(), json!(self.code));
        fields.insert("detail".to_owned(), json!(self.what));
        fields.insert("error".to_owned(), json!(self.what));
        if let Some(place) = &self.place {
            fields.insert("instance".to_owned(), json!(place));
        }
        if let Some(help) = &self.help {
            fields.insert("hint".to_owned(), json!(help));
        }
        if !self.findings.is_empty() {
            fields.insert("errors".to_owned(), json!(self.findings));
        }
        Value::Object(fields)
    }
}

impl fmt::Display for Error {
    /// `error[CODE]: what`, then the problems, the place and the help, each on its own line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error[{}]: {}", self.code, printable(&self.what))?;
        // What is told once is not told twice: a single problem is the headline.
        let only = match self.findings.as_slice() {
            [only] if only.message == self.what => Some(only),
            _ => None,
        };
        if let Some(place) = &self.place {
            write!(f, "\n  at: {}", printable(place))?;
            if let Some(only) = only.filter(|only| !only.pointer.is_empty()) {
                write!(f, ", {}", printable(&only.pointer))?;
            }
        }
        if let (Some(suggestion), None) =
            (only.and_then(|only| only.suggestion.as_ref()), &self.help)
        {
            write!(f, "\n  help: did you mean `{}`?", printable(suggestion))?;
        }
        let told_above = usize::from(only.is_some() && self.place.is_some());
        for finding in self.findings.iter().skip(told_above) {
            let pointer = if finding.pointer.is_empty() { "/" } else { &finding.pointer };
            write!(f, "\n  {}: {}", printable(pointer), printable(&finding.message))?;
            if let Some(suggestion) = &finding.suggestion {
                write!(f, "; did you mean `{}`?", printable(suggestion))?;
            }
        }
        if let Some(help) = &self.help {
            write!(f, "\n  help: {}", printable(help))?;
        }
        Ok(())
    }
}

impl From<minispark_engine::Error> for Error {
    fn from(error: minispark_engine::Error) -> Self {
        Self::new(Exit::Other, error.code(), error.chain())
    }
}

impl From<io::Error> for Error {
    /// What went wrong on stdout or stderr; a file's errors name the file instead.
    fn from(error: io::Error) -> Self {
        let what = format!("cannot write the answer: {error}");
        Self {
            is_closed_pipe: error.kind() == io::ErrorKind::BrokenPipe,
            ..Self::new(Exit::Other, Code::Internal, what)
        }
    }
}

/// The text on one line, with control characters made visible.
pub(crate) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use minispark_api::rest::wire::{Finding, JobState};
    use minispark_engine::error::Code;

    use super::{Error, Exit};

    #[test]
    fn an_error_says_what_where_and_what_helps() {
        let error = Error::new(Exit::NoSuchJob, Code::NotFound, "no job `7`")
            .at("http://127.0.0.1:8080")
            .help("list the jobs: minispark status");
        assert_eq!(
            error.to_string(),
            "error[NOT_FOUND]: no job `7`\n  at: http://127.0.0.1:8080\n  \
             help: list the jobs: minispark status"
        );
    }

    #[test]
    fn problems_are_listed_with_their_pointers() {
        let mut error = Error::new(Exit::InvalidJob, Code::ValidationFailed, "1 problem");
        error.findings.push(Finding {
            pointer: "/dag/nodes/1/fn".to_owned(),
            code: "UNKNOWN_FUNCTION".to_owned(),
            message: "no function `tokenise`".to_owned(),
            suggestion: Some("tokenize".to_owned()),
        });
        assert_eq!(
            error.to_string(),
            "error[VALIDATION_FAILED]: 1 problem\n  /dag/nodes/1/fn: no function `tokenise`; \
             did you mean `tokenize`?"
        );
        assert_eq!(error.to_json()["errors"][0]["suggestion"], "tokenize");
    }

    #[test]
    fn a_single_problem_is_told_once() {
        let message = "no column `nam`; there are name, id";
        let mut error =
            Error::new(Exit::InvalidJob, Code::ValidationFailed, message).at("job.json");
        error.findings.push(Finding {
            pointer: "/dag/nodes/1/where".to_owned(),
            code: "UNKNOWN_COLUMN".to_owned(),
            message: message.to_owned(),
            suggestion: Some("name".to_owned()),
        });
        assert_eq!(
            error.to_string(),
            "error[VALIDATION_FAILED]: no column `nam`; there are name, id\n  \
             at: job.json, /dag/nodes/1/where\n  help: did you mean `name`?"
        );
    }

    #[test]
    fn control_characters_of_others_do_not_reach_the_terminal() {
        let error = Error::usage("a\u{1b}[31mb\nc");
        assert_eq!(error.to_string(), "error[BAD_REQUEST]: a\\u{1b}[31mb\\nc");
    }

    #[test]
    fn exit_codes_follow_the_problem() {
        assert_eq!(Exit::of_problem(400, "VALIDATION_FAILED"), Exit::InvalidJob);
        assert_eq!(Exit::of_problem(404, "NOT_FOUND"), Exit::NoSuchJob);
        assert_eq!(Exit::of_problem(409, "NOT_FINISHED"), Exit::NotFinished);
        assert_eq!(Exit::of_problem(409, "CONFLICT"), Exit::Conflict);
        assert_eq!(Exit::of_problem(403, "FORBIDDEN"), Exit::NotAllowed);
        assert_eq!(Exit::of_problem(500, "INTERNAL"), Exit::Other);
        assert_eq!(Exit::of_state(JobState::Failed), Exit::JobFailed);
    }
}
