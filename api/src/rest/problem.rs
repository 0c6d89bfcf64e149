//! What a request gets when it can't be served: [`Problem`], one table from code to status.
//!
//! A problem travels as an extension of its response; [`guard`](super::guard) writes the document,
//! because only there the request's id is known.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use minispark_engine::error::Code;
use minispark_flight::Refusal;

use super::wire::{Finding, Place, ProblemDocument};

/// The media type of problem documents.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// Why a request is not served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem(Box<Parts>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Parts {
    code: Code,
    status: StatusCode,
    title: Option<String>,
    detail: String,
    hint: Option<String>,
    place: Option<Place>,
    errors: Vec<Finding>,
}

impl Problem {
    /// A problem with the code's own status.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self(Box::new(Parts {
            code,
            status: status(code),
            title: None,
            detail: detail.into(),
            hint: None,
            place: None,
            errors: Vec::new(),
        }))
    }

    /// Something that is not there.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(Code::NotFound, detail)
    }

    /// A request that can't be read.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(Code::BadRequest, detail)
    }

    /// A job document with errors; all of them.
    pub fn validation(errors: Vec<Finding>) -> Self {
        let counted = match errors.len() {
            1 => String::from("1 error"),
            n => format!("{n} errors"),
        };
        let first = errors.first().map(|error| format!(", first: {}", described(error)));
        let mut problem =
            Self::new(Code::ValidationFailed, format!("{counted}{}", first.unwrap_or_default()));
        problem.0.title = Some(format!("The job document has {counted}"));
        problem.0.errors = errors;
        problem
    }

    /// The same with another status: where HTTP says more than the code.
    #[must_use]
    pub fn with_status(mut self, status: StatusCode) -> Self {
        self.0.status = status;
        self
    }

    /// The same with advice.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// The same with the place where it happened.
    #[must_use]
    pub fn with_place(mut self, place: Option<Place>) -> Self {
        self.0.place = place;
        self
    }

    /// The code.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// The document, for the request of this id.
    pub fn document(&self, request_id: &str) -> ProblemDocument {
        let code = self.0.code.name();
        ProblemDocument {
            kind: format!("/docs/errors#{code}"),
            title: self.0.title.clone().unwrap_or_else(|| String::from(title(self.0.code))),
            status: self.0.status.as_u16(),
            detail: self.0.detail.clone(),
            error: self.0.detail.clone(),
            retryable: is_retryable(self.0.status),
            request_id: String::from(request_id),
            hint: self.0.hint.clone(),
            place: self.0.place.clone(),
            errors: self.0.errors.clone(),
            code,
        }
    }
}

impl From<&minispark_engine::Error> for Problem {
    fn from(error: &minispark_engine::Error) -> Self {
        Self::new(error.code(), error.chain())
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.code, refusal.message)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.0.status.into_response();
        if self.0.status == StatusCode::SERVICE_UNAVAILABLE
            || self.0.status == StatusCode::TOO_MANY_REQUESTS
        {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if self.0.status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// A finding as part of a sentence: what is wrong, and where in the document.
fn described(error: &Finding) -> String {
    if error.pointer.is_empty() {
        return error.message.clone();
    }
    format!("{}: {}", error.pointer, error.message)
}

/// The one table from code to HTTP status.
pub fn status(code: Code) -> StatusCode {
    match code {
        Code::ValidationFailed
        | Code::BadRequest
        | Code::InputNotFound
        | Code::InputChanged
        | Code::InputCorrupt
        | Code::ExpectationFailed
        | Code::BadRowsLimit
        | Code::RecordTooLarge => StatusCode::BAD_REQUEST,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::Forbidden | Code::PathNotAllowed => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        Code::OutputExists
        | Code::Cancelled
        | Code::NotFinished
        | Code::JobFailed
        | Code::Conflict
        | Code::StaleTerm => StatusCode::CONFLICT,
        Code::ResultExpired => StatusCode::GONE,
        Code::IdempotencyKeyReused => StatusCode::UNPROCESSABLE_ENTITY,
        Code::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Code::UnsupportedVersion => StatusCode::UPGRADE_REQUIRED,
        Code::QueueFull | Code::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        Code::NoWorkers | Code::DiskFull | Code::MemoryLimit => StatusCode::SERVICE_UNAVAILABLE,
        Code::TaskFailed
        | Code::TaskPanicked
        | Code::TaskKillsWorkers
        | Code::FetchFailed
        | Code::StateCorrupt
        | Code::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The code that stands for a bare status, as libraries answer it.
pub fn code_of(status: StatusCode) -> Code {
    match status {
        StatusCode::UNAUTHORIZED => Code::Unauthenticated,
        StatusCode::FORBIDDEN => Code::Forbidden,
        StatusCode::NOT_FOUND => Code::NotFound,
        StatusCode::METHOD_NOT_ALLOWED => Code::MethodNotAllowed,
        StatusCode::CONFLICT => Code::Conflict,
        StatusCode::PAYLOAD_TOO_LARGE => Code::BodyTooLarge,
        StatusCode::TOO_MANY_REQUESTS => Code::RateLimited,
        StatusCode::UPGRADE_REQUIRED => Code::UnsupportedVersion,
        status if status.is_client_error() => Code::BadRequest,
        _ => Code::Internal,
    }
}

/// Whether the same request may be answered otherwise after a while.
fn is_retryable(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::REQUEST_TIMEOUT
            | StatusCode::TOO_MANY_REQUESTS
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    )
}

/// The kind of error, in words.
fn title(code: Code) -> &'static str {
    match code {
        Code::ValidationFailed => "The job document has errors",
        Code::PathNotAllowed => "A path is outside the data roots",
        Code::InputNotFound => "An input is missing",
        Code::InputChanged => "An input changed while the job ran",
        Code::InputCorrupt => "An input can't be read",
        Code::ExpectationFailed => "Rows are not as expected",
        Code::BadRowsLimit => "There are too many bad rows",
        Code::RecordTooLarge => "A record is too large",
        Code::MemoryLimit => "The memory budget is used up",
        Code::DiskFull => "A disk is full",
        Code::OutputExists => "The output already exists",
        Code::NoWorkers => "No worker came in time",
        Code::TaskFailed => "A task failed",
        Code::TaskPanicked => "A task panicked",
        Code::TaskKillsWorkers => "A task ended several worker processes",
        Code::FetchFailed => "An intermediate result could not be fetched",
        Code::Cancelled => "The job was cancelled",
        Code::IdempotencyKeyReused => "The key was used with another document",
        Code::QueueFull => "Too many jobs are waiting",
        Code::RateLimited => "Too many requests",
        Code::BodyTooLarge => "The request is too large",
        Code::Unauthenticated => "A credential is missing or wrong",
        Code::Forbidden => "Not allowed",
        Code::NotFound => "Not found",
        Code::MethodNotAllowed => "The method is not offered here",
        Code::BadRequest => "The request can't be read",
        Code::NotFinished => "The job has not finished",
        Code::JobFailed => "The job failed",
        Code::Conflict => "The state does not allow it",
        Code::StaleTerm => "A newer master is in charge",
        Code::ResultExpired => "The result is gone",
        Code::UnsupportedVersion => "The protocol versions do not meet",
        Code::StateCorrupt => "State on disk is corrupt",
        Code::Internal => "Internal error",
    }
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;
    use minispark_engine::error::Code;

    use super::{super::wire::Finding, Problem, code_of, status};

    fn finding(pointer: &str, message: &str) -> Finding {
        Finding {
            pointer: String::from(pointer),
            code: String::from("CYCLE"),
            message: String::from(message),
            suggestion: None,
        }
    }

    #[test]
    fn a_validation_problem_counts_its_errors_and_names_the_first() {
        let problem = Problem::validation(vec![
            finding("/dag/edges/3", "closes a cycle a -> b -> a"),
            finding("/dag/nodes/1/fn", "no function `tokenise`"),
        ]);
        let document = problem.document("r1");
        assert_eq!(document.title, "The job document has 2 errors");
        assert_eq!(document.detail, "2 errors, first: /dag/edges/3: closes a cycle a -> b -> a");
        assert_eq!(document.error, document.detail);
        assert_eq!((document.status, document.retryable), (400, false));
        assert_eq!(document.kind, "/docs/errors#VALIDATION_FAILED");
        assert_eq!(document.errors.len(), 2);
    }

    #[test]
    fn a_document_leaves_out_what_does_not_apply() {
        let document = Problem::not_found("no job `x`").document("r1");
        assert_eq!(
            serde_json::to_string(&document).unwrap(),
            "{\"type\":\"/docs/errors#NOT_FOUND\",\"title\":\"Not found\",\"status\":404,\
             \"detail\":\"no job `x`\",\"code\":\"NOT_FOUND\",\"error\":\"no job `x`\",\
             \"retryable\":false,\"request_id\":\"r1\"}"
        );
    }

    #[test]
    fn the_codes_of_requests_survive_a_bare_status() {
        for code in [
            Code::Unauthenticated,
            Code::Forbidden,
            Code::NotFound,
            Code::MethodNotAllowed,
            Code::Conflict,
            Code::BodyTooLarge,
            Code::UnsupportedVersion,
            Code::BadRequest,
            Code::Internal,
        ] {
            assert_eq!(code_of(status(code)), code, "{code:?}");
        }
    }

    #[test]
    fn a_full_queue_may_be_tried_again() {
        let problem = Problem::new(Code::QueueFull, "10000 jobs wait");
        assert_eq!(problem.status(), StatusCode::TOO_MANY_REQUESTS);
        assert!(problem.document("r").retryable);
    }
}
