//! What can go wrong here: [`Error`] for who runs a server, [`Refusal`] for who calls one.
//!
//! One function turns a [`Code`] into a gRPC status; the code itself travels beside it, as
//! `minispark-code`, so that no client has to read prose.

use minispark_engine::error::Code;
use tonic::{
    Status,
    metadata::{Ascii, MetadataMap, MetadataValue},
};

use crate::ticket::TicketError;

/// This crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The metadata key under which a status carries its [`Code`].
pub const CODE_KEY: &str = "minispark-code";

/// Everything that keeps the data plane from working.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server could not go on.
    #[error("the Flight server ended")]
    Serve(#[source] tonic::transport::Error),
    /// A socket could not be prepared.
    #[error("cannot use the Flight server's socket")]
    Socket(#[source] std::io::Error),
}

/// A call that is not answered, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// What the caller acts on.
    pub code: Code,
    /// What the caller reads.
    pub message: String,
}

impl Refusal {
    /// A refusal of `code`, explained by `message`.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

impl From<TicketError> for Refusal {
    fn from(error: TicketError) -> Self {
        Self::new(Code::Unauthenticated, error.to_string())
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let mut metadata = MetadataMap::new();
        let code: Result<MetadataValue<Ascii>, _> = refusal.code.name().parse();
        if let Ok(code) = code {
            metadata.insert(CODE_KEY, code);
        }
        Self::with_metadata(grpc(refusal.code), refusal.message, metadata)
    }
}

/// The code that a status carries, where one of ours does.
pub fn code(status: &Status) -> Option<Code> {
    let name = status.metadata().get(CODE_KEY)?.to_str().ok()?;
    serde_json::from_value(serde_json::Value::from(name)).ok()
}

/// The gRPC status of each code; the one table.
fn grpc(code: Code) -> tonic::Code {
    match code {
        Code::ValidationFailed | Code::BadRequest => tonic::Code::InvalidArgument,
        Code::InputNotFound | Code::NotFound | Code::ResultExpired => tonic::Code::NotFound,
        Code::InputCorrupt | Code::StateCorrupt => tonic::Code::DataLoss,
        Code::RecordTooLarge
        | Code::BadRowsLimit
        | Code::MemoryLimit
        | Code::DiskFull
        | Code::QueueFull
        | Code::RateLimited
        | Code::BodyTooLarge => tonic::Code::ResourceExhausted,
        Code::OutputExists => tonic::Code::AlreadyExists,
        Code::NoWorkers => tonic::Code::Unavailable,
        Code::Cancelled => tonic::Code::Cancelled,
        Code::Unauthenticated => tonic::Code::Unauthenticated,
        Code::Forbidden | Code::PathNotAllowed => tonic::Code::PermissionDenied,
        Code::MethodNotAllowed => tonic::Code::Unimplemented,
        Code::InputChanged
        | Code::ExpectationFailed
        | Code::NotFinished
        | Code::JobFailed
        | Code::IdempotencyKeyReused
        | Code::Conflict
        | Code::UnsupportedVersion => tonic::Code::FailedPrecondition,
        Code::StaleTerm => tonic::Code::Aborted,
        Code::TaskFailed
        | Code::TaskPanicked
        | Code::TaskKillsWorkers
        | Code::FetchFailed
        | Code::Internal => tonic::Code::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_carries_its_code_beside_the_grpc_status() {
        let status = Status::from(Refusal::new(Code::NotFinished, "job is RUNNING"));
        assert_eq!(status.code(), tonic::Code::FailedPrecondition);
        assert_eq!(status.metadata().get("minispark-code").unwrap(), "NOT_FINISHED");
        assert_eq!(code(&status), Some(Code::NotFinished));
    }

    #[test]
    fn a_status_of_somebody_else_has_no_code() {
        assert_eq!(code(&Status::unavailable("gone")), None);
        let mut strange = Status::internal("strange");
        strange.metadata_mut().insert(CODE_KEY, "NO_SUCH_CODE".parse().unwrap());
        assert_eq!(code(&strange), None);
    }
}
