//! Answers compressed for who accepts it: gzip and Zstandard.
//!
//! Not ranges (their bytes are counted), not what is compressed already, not event streams, which
//! must not wait for a block to fill.

use axum::{
    http::{Extensions, HeaderMap, HeaderValue, StatusCode, Version, header},
    response::Response,
};
use tower_http::{
    CompressionLevel,
    compression::{CompressionLayer, Predicate, predicate::SizeAbove},
};

/// Smaller answers gain nothing.
const LEAST_BYTES: u64 = 1 << 10;

/// Media types that are worth it; all are text, or Arrow without compression of its own.
const WORTH: [&str; 8] = [
    "application/json",
    "application/schema+json",
    "application/vnd.apache.arrow.file",
    "application/vnd.apache.arrow.stream",
    "application/x-ndjson",
    "text/csv",
    "text/html",
    "text/plain",
];

/// The layer that compresses.
pub(crate) fn layer() -> CompressionLayer<impl Predicate> {
    CompressionLayer::new()
        .quality(CompressionLevel::Fastest)
        .compress_when(SizeAbove::new(LEAST_BYTES).and(is_worth_it))
}

fn is_worth_it(status: StatusCode, _: Version, headers: &HeaderMap, _: &Extensions) -> bool {
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = media_type.and_then(|value| value.split(';').next()).unwrap_or_default();
    status.is_success() && WORTH.contains(&media_type.trim())
}

/// A compressed answer has other bytes than its tag stands for: the tag becomes a weak one.
pub(crate) async fn weaken(mut response: Response) -> Response {
    let headers = response.headers_mut();
    if headers.contains_key(header::CONTENT_ENCODING)
        && let Some(tag) = headers.get(header::ETAG).and_then(|tag| tag.to_str().ok())
        && !tag.starts_with("W/")
        && let Ok(weak) = HeaderValue::from_str(&format!("W/{tag}"))
    {
        headers.insert(header::ETAG, weak);
    }
    response
}
