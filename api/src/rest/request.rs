//! What handlers take from a request: queries without unknown parameters, bodies with a bound in
//! bytes and time, pages.

use std::time::Duration;

use axum::{
    body::{Body, Bytes, HttpBody, to_bytes},
    extract::FromRequestParts,
    http::{StatusCode, request::Parts},
};
use minispark_engine::{error::Code, id::JobId};
use serde::{Deserialize, de::DeserializeOwned};

use super::problem::Problem;

/// How long a client may take to send a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// The query of a request; `T` denies unknown fields, so that a typo is not ignored.
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        axum::extract::Query::try_from_uri(&parts.uri).map(|query| Self(query.0)).map_err(
            |rejection| {
                let text = rejection.body_text();
                let reason = text.rsplit_once("query string: ").map_or(text.as_str(), |(_, it)| it);
                Problem::bad_request(format!("query: {reason}"))
            },
        )
    }
}

/// The query of a route that takes no parameters.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NoParameters {}

/// The identity in a path; what is none is no job.
pub(crate) fn job_id(text: &str) -> Result<JobId, Problem> {
    text.parse().map_err(|_| no_job(text))
}

/// There is no such job.
pub(crate) fn no_job(id: &str) -> Problem {
    Problem::not_found(format!("no job `{id}`"))
}

/// A whole body of at most `limit` bytes.
pub(crate) async fn body(body: Body, limit: usize) -> Result<Bytes, Problem> {
    let too_large =
        || Problem::new(Code::BodyTooLarge, format!("the body is larger than {limit} bytes"));
    // What the client declares need not come before it is refused.
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large());
    }
    let reading = tokio::time::timeout(BODY_TIMEOUT, to_bytes(body, limit));
    let Ok(read) = reading.await else {
        let detail = format!("the body did not come within {} s", BODY_TIMEOUT.as_secs());
        return Err(Problem::bad_request(detail).with_status(StatusCode::REQUEST_TIMEOUT));
    };
    read.map_err(|error| {
        if is_length_limit(&error) {
            return too_large();
        }
        Problem::bad_request("the body ended early")
    })
}

/// Whether reading ended because of the limit; the error's type is private to a crate below.
fn is_length_limit(error: &axum::Error) -> bool {
    let mut source: Option<&dyn std::error::Error> = Some(error);
    while let Some(cause) = source {
        if cause.to_string() == "length limit exceeded" {
            return true;
        }
        source = cause.source();
    }
    false
}

/// How many items a page has where nothing is said.
const DEFAULT_LIMIT: usize = 50;

/// How many items a page has at most.
const MAX_LIMIT: usize = 500;

/// A page's size.
pub(crate) fn page_limit(limit: Option<usize>) -> Result<usize, Problem> {
    match limit {
        None => Ok(DEFAULT_LIMIT),
        Some(limit @ 1..=MAX_LIMIT) => Ok(limit),
        Some(limit) => Err(Problem::bad_request(format!("limit is 1 to {MAX_LIMIT}, not {limit}"))),
    }
}

/// A place in a list, opaque to clients.
pub(crate) fn cursor(number: u64) -> String {
    format!("j{number:x}")
}

/// The place that a cursor stands for.
pub(crate) fn place(cursor: Option<&str>) -> Result<Option<u64>, Problem> {
    let Some(text) = cursor else { return Ok(None) };
    let number = text.strip_prefix('j').and_then(|digits| u64::from_str_radix(digits, 16).ok());
    match number {
        Some(number) => Ok(Some(number)),
        None => Err(Problem::bad_request("cursor is not one of this server's")),
    }
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, http::StatusCode};

    use super::{body, cursor, page_limit, place};

    #[test]
    fn a_cursor_leads_back_to_its_place() {
        for number in [1, 255, u64::MAX] {
            assert_eq!(place(Some(&cursor(number))).unwrap(), Some(number));
        }
        assert_eq!(place(None).unwrap(), None);
        for text in ["", "j", "12", "jxyz", "j10000000000000000"] {
            assert_eq!(place(Some(text)).unwrap_err().status(), StatusCode::BAD_REQUEST, "{text}");
        }
    }

    #[test]
    fn a_page_has_1_to_500_items() {
        assert_eq!(page_limit(None).unwrap(), 50);
        assert_eq!(page_limit(Some(500)).unwrap(), 500);
        assert!(page_limit(Some(0)).is_err());
        assert!(page_limit(Some(501)).is_err());
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_too_large_and_one_at_it_is_not() {
        assert_eq!(body(Body::from("12345"), 5).await.unwrap(), "12345");
        let problem = body(Body::from("123456"), 5).await.unwrap_err();
        assert_eq!(problem.status(), StatusCode::PAYLOAD_TOO_LARGE);
    }
}
