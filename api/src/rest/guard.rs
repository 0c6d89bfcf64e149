//! What stands around every route: request ids, the build's version, problem documents, and the
//! defence against web pages.
//!
//! A browser is made to call a service on loopback by a page of another origin, or by a name that
//! its owner points at 127.0.0.1 (DNS rebinding). So the Host header must be one of ours, and what
//! is not a read must not come from another origin.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, uri::Authority},
    middleware::Next,
    response::{IntoResponse, Response},
};
use minispark_engine::error::Code;
use tracing::Instrument;

use super::{
    jobs::{disk_full, stopping},
    problem::{MEDIA_TYPE, Problem, code_of},
};
use crate::{
    VERSION,
    master::{Master, journal::Settled},
};

/// Finds a request in the log; taken from the client where it sends one.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Names the build that answers.
pub(crate) const MINISPARK_VERSION: HeaderName = HeaderName::from_static("minispark-version");

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// What a browser may do with an answer: nothing that comes from elsewhere, no guess at its type,
/// no frame around it.
const BROWSER_RULES: [(HeaderName, &str); 4] = [
    (header::CONTENT_SECURITY_POLICY, "default-src 'self'; frame-ancestors 'none'"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
];

/// The longest request id that is taken from a client.
const MAX_REQUEST_ID: usize = 128;

/// The hosts under which the server may be addressed.
#[derive(Clone, Debug)]
pub(crate) struct AllowedHosts {
    names: Arc<[String]>,
    any_address: bool,
}

impl AllowedHosts {
    /// Those of a server that listens on `bound`: the loopback's names, the address itself, and
    /// the `more` that its operator named.
    ///
    /// One that listens on every address (`0.0.0.0`) is addressed by any of them, and by the
    /// machine's name; an address can't be rebound, only a name can.
    pub(crate) fn of(bound: SocketAddr, more: &[String]) -> Self {
        let mut names = vec![
            String::from("localhost"),
            String::from("127.0.0.1"),
            String::from("[::1]"),
            host_text(bound.ip()),
        ];
        names.extend(more.iter().map(|name| name.to_ascii_lowercase()));
        let any_address = bound.ip().is_unspecified();
        if any_address && let Ok(name) = sysinfo::System::host_name() {
            names.push(name.to_ascii_lowercase());
        }
        Self { names: names.into(), any_address }
    }

    fn allow(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        self.names.contains(&host) || (self.any_address && is_address(&host))
    }
}

/// An address as it stands in a URL.
fn host_text(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

fn is_address(host: &str) -> bool {
    host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok()
}

/// Refuses what a web page of another origin may have sent.
pub(crate) async fn refuse_foreign(
    State(hosts): State<AllowedHosts>,
    request: Request,
    next: Next,
) -> Response {
    match check_host(&hosts, &request).and_then(|()| check_origin(&request)) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

/// Holds each answer back until what it may tell of is on disk.
///
/// While the disk is full, what only reads is answered all the same, and the rest is told so.
pub(crate) async fn settle(
    State(master): State<Arc<Master>>,
    request: Request,
    next: Next,
) -> Response {
    let only_reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let response = next.run(request).await;
    match master.journal.settled().await {
        Settled::OnDisk => response,
        Settled::Full if only_reads => response,
        Settled::Full => disk_full().into_response(),
        Settled::Broken => stopping().into_response(),
    }
}

fn check_host(hosts: &AllowedHosts, request: &Request) -> Result<(), Problem> {
    let mut values = request.headers().get_all(header::HOST).iter();
    let (Some(host), None) = (values.next(), values.next()) else {
        return Err(Problem::bad_request("a request needs exactly one Host header"));
    };
    let authority =
        host.to_str().ok().and_then(|text| text.parse::<Authority>().ok()).ok_or_else(|| {
            Problem::bad_request("the Host header is not a host with an optional port")
        })?;
    if hosts.allow(authority.host()) {
        return Ok(());
    }
    Err(Problem::new(
        Code::Forbidden,
        format!("this server does not answer to the host `{}`", authority.host()),
    ))
}

fn check_origin(request: &Request) -> Result<(), Problem> {
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return Ok(());
    }
    let headers = request.headers();
    let is_ours = match headers.get(SEC_FETCH_SITE) {
        Some(site) => site == "same-origin" || site == "none",
        None => headers.get(header::ORIGIN).is_none_or(|origin| is_same(origin, headers)),
    };
    if is_ours {
        return Ok(());
    }
    Err(Problem::new(Code::Forbidden, "a web page of another origin may not do this"))
}

/// Whether an origin is the server itself, as the request addresses it.
fn is_same(origin: &HeaderValue, headers: &HeaderMap) -> bool {
    let origin = origin.to_str().ok().and_then(|text| text.split_once("://"));
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    matches!((origin, host), (Some((_, ours)), Some(host)) if ours.eq_ignore_ascii_case(host))
}

/// Marks every answer with the request's id and the build's version, and writes out problems.
pub(crate) async fn dress(request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    let method = request.method().clone();
    let path = String::from(request.uri().path());
    // What a request brings about is logged with its id.
    let span = tracing::info_span!("request", request_id = id);
    let mut response = next.run(request).instrument(span).await;
    let status = response.status();
    if status.is_client_error() || status.is_server_error() {
        response = written(response, &method, &path, &id);
    }
    tracing::debug!(%method, path, status = status.as_u16(), request_id = id, "request");
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, id);
    }
    headers.insert(MINISPARK_VERSION, HeaderValue::from_static(VERSION));
    for (name, value) in BROWSER_RULES {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// An error as a problem document; also one that a library answered without a [`Problem`].
fn written(response: Response, method: &Method, path: &str, id: &str) -> Response {
    let status = response.status();
    let problem = response.extensions().get::<Problem>().cloned().unwrap_or_else(|| {
        let detail = match status {
            StatusCode::NOT_FOUND => format!("there is no `{path}`"),
            StatusCode::METHOD_NOT_ALLOWED => format!("`{path}` does not offer {method}"),
            _ => String::from(status.canonical_reason().unwrap_or("the request was refused")),
        };
        Problem::new(code_of(status), detail).with_status(status)
    });
    if status.is_server_error() {
        tracing::warn!(request_id = id, path, code = problem.code().name(), "request failed");
    }
    let (mut parts, _) = response.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    let body = serde_json::to_vec(&problem.document(id)).unwrap_or_default();
    Response::from_parts(parts, Body::from(body))
}

/// The client's id where it is one, else a new one.
fn request_id(headers: &HeaderMap) -> String {
    headers
        .get(REQUEST_ID)
        .and_then(|id| id.to_str().ok())
        .filter(|id| !id.is_empty() && id.len() <= MAX_REQUEST_ID)
        .filter(|id| id.bytes().all(|byte| byte.is_ascii_graphic()))
        .map_or_else(|| uuid::Uuid::new_v4().to_string(), String::from)
}

/// What a handler that panicked answers; the process goes on.
pub(crate) fn panicked(_panic: Box<dyn std::any::Any + Send>) -> Response {
    tracing::error!("a request's handler panicked");
    Problem::new(Code::Internal, "the request met a bug; the log has more").into_response()
}

#[cfg(test)]
mod tests {
    use axum::{
        Router,
        body::{Body, to_bytes},
        http::{Request, StatusCode, header},
        middleware::{from_fn, from_fn_with_state},
        routing::post,
    };
    use tower::ServiceExt;

    use super::{AllowedHosts, MINISPARK_VERSION, REQUEST_ID, dress, refuse_foreign};
    use crate::rest::wire::ProblemDocument;

    fn app(bound: &str) -> Router {
        let hosts = AllowedHosts::of(bound.parse().unwrap(), &[String::from("Spark.Example")]);
        Router::new()
            .route("/jobs", post(async || "done").get(async || "list"))
            .layer(from_fn_with_state(hosts, refuse_foreign))
            .layer(from_fn(dress))
    }

    async fn status(bound: &str, method: &str, headers: &[(&str, &str)]) -> StatusCode {
        let mut request = Request::builder().method(method).uri("/jobs");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        app(bound).oneshot(request.body(Body::empty()).unwrap()).await.unwrap().status()
    }

    #[tokio::test]
    async fn only_our_own_host_names_are_served() {
        let local = "127.0.0.1:8080";
        for host in ["localhost:8080", "127.0.0.1", "LOCALHOST", "[::1]:8080", "spark.example:80"] {
            assert_eq!(status(local, "GET", &[("host", host)]).await, StatusCode::OK, "{host}");
        }
        for host in ["evil.example", "a.spark.example", "127.0.0.1.evil.example:8080", "10.0.0.7"] {
            assert_eq!(
                status(local, "GET", &[("host", host)]).await,
                StatusCode::FORBIDDEN,
                "{host}"
            );
        }
        assert_eq!(status(local, "GET", &[]).await, StatusCode::BAD_REQUEST);
    }

    #[tokio::test]
    async fn a_server_on_every_address_answers_to_addresses_and_not_to_foreign_names() {
        let open = "0.0.0.0:8080";
        assert_eq!(status(open, "GET", &[("host", "10.0.0.7:8080")]).await, StatusCode::OK);
        assert_eq!(status(open, "GET", &[("host", "evil.example")]).await, StatusCode::FORBIDDEN);
    }

    #[tokio::test]
    async fn a_page_of_another_origin_may_read_nothing_but_by_get() {
        let host = ("host", "localhost:8080");
        let cases: &[(&[(&str, &str)], StatusCode)] = &[
            (&[], StatusCode::OK),
            (&[("sec-fetch-site", "same-origin")], StatusCode::OK),
            (&[("sec-fetch-site", "none")], StatusCode::OK),
            (&[("sec-fetch-site", "cross-site")], StatusCode::FORBIDDEN),
            (&[("sec-fetch-site", "same-site")], StatusCode::FORBIDDEN),
            (&[("origin", "http://localhost:8080")], StatusCode::OK),
            (&[("origin", "http://localhost:3000")], StatusCode::FORBIDDEN),
            (&[("origin", "http://evil.example")], StatusCode::FORBIDDEN),
            (&[("origin", "null")], StatusCode::FORBIDDEN),
        ];
        for (headers, expected) in cases {
            let headers: Vec<_> = headers.iter().copied().chain([host]).collect();
            assert_eq!(status("127.0.0.1:8080", "POST", &headers).await, *expected, "{headers:?}");
        }
        let foreign = [host, ("origin", "http://evil.example")];
        assert_eq!(status("127.0.0.1:8080", "GET", &foreign).await, StatusCode::OK);
    }

    #[tokio::test]
    async fn every_answer_is_marked_and_errors_are_problem_documents() {
        let request = |method: &str, path: &str| {
            Request::builder()
                .method(method)
                .uri(path)
                .header("host", "localhost")
                .header("x-request-id", "mine-1")
                .body(Body::empty())
                .unwrap()
        };
        let listed = app("127.0.0.1:0").oneshot(request("GET", "/jobs")).await.unwrap();
        assert_eq!(listed.headers()[REQUEST_ID], "mine-1");
        assert_eq!(listed.headers()[MINISPARK_VERSION], crate::VERSION);
        let rules = ["content-security-policy", "x-content-type-options", "x-frame-options"];
        let rules = rules.map(|name| listed.headers()[name].to_str().unwrap());
        assert_eq!(rules, ["default-src 'self'; frame-ancestors 'none'", "nosniff", "DENY"]);

        let refused = app("127.0.0.1:0").oneshot(request("DELETE", "/jobs")).await.unwrap();
        assert_eq!(refused.status(), StatusCode::METHOD_NOT_ALLOWED);
        let allow = refused.headers()[header::ALLOW].to_str().unwrap();
        assert!(allow.contains("POST") && allow.contains("GET"), "{allow}");
        assert_eq!(refused.headers()[header::CONTENT_TYPE], "application/problem+json");

        let missing = app("127.0.0.1:0").oneshot(request("GET", "/nowhere")).await.unwrap();
        assert_eq!(missing.status(), StatusCode::NOT_FOUND);
        let body = to_bytes(missing.into_body(), 1 << 16).await.unwrap();
        let document: ProblemDocument = serde_json::from_slice(&body).unwrap();
        assert_eq!((document.code.as_str(), document.status), ("NOT_FOUND", 404));
        assert_eq!(document.detail, "there is no `/nowhere`");
        assert_eq!(document.request_id, "mine-1");
    }
}
