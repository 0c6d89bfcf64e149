//! Who may call which route: a token's role by method and path, and its own jobs only.
//!
//! It goes by the shape of a path alone, so that a route that is added later is fenced too: what
//! no rule opens needs an administrator.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    RequestExt,
    extract::{ConnectInfo, FromRequestParts, MatchedPath, RawPathParams, Request, State},
    http::{HeaderValue, Method, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use minispark_engine::{error::Code, id::JobId};

use super::{BASE, problem::Problem, request::no_job};
use crate::{
    auth::{Caller, Deed},
    master::Master,
};

/// What answers everybody: whether the process is well.
const OPEN: [&str; 3] = ["/health", "/healthz", "/readyz"];

/// The worker protocol.
const INTERNAL: &str = "/internal/";

/// What a request does; `None` where everybody may.
fn deed(method: &Method, path: &str) -> Option<Deed> {
    if OPEN.contains(&path) {
        return None;
    }
    if path.starts_with(INTERNAL) {
        return Some(Deed::Work);
    }
    if matches!(*method, Method::GET | Method::HEAD) {
        return Some(Deed::Read);
    }
    let jobs = path.strip_prefix(BASE).and_then(|path| path.strip_prefix("/jobs"));
    let is_about_jobs = jobs.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    Some(if is_about_jobs { Deed::Submit } else { Deed::Administer })
}

/// Lets a request pass whose token allows it, and tells the handlers who calls.
pub(crate) async fn admit(
    State(master): State<Arc<Master>>,
    mut request: Request,
    next: Next,
) -> Response {
    let Some(deed) = deed(request.method(), request.uri().path()) else {
        return next.run(request).await;
    };
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0);
    let authorization = request.headers().get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
    let caller = master.admit(authorization, peer).and_then(|caller| {
        caller.allow(deed)?;
        if deed != Deed::Work {
            master.door.count(&caller, peer, master.clock.now())?;
        }
        Ok(caller)
    });
    match caller {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(refusal) => Problem::from(refusal).into_response(),
    }
}

/// Behind the routes of one job: for who does not see the job there is none.
pub(crate) async fn own_job(
    State(master): State<Arc<Master>>,
    mut request: Request,
    next: Next,
) -> Response {
    let is_of_a_job = request
        .extensions()
        .get::<MatchedPath>()
        .and_then(|path| path.as_str().strip_prefix(BASE))
        .is_some_and(|path| path.starts_with("/jobs/{"));
    if is_of_a_job {
        let caller = request.extensions().get::<Caller>().cloned();
        let params = request.extract_parts::<RawPathParams>().await.ok();
        let id = params.as_ref().and_then(|params| params.iter().next()).map(|(_, value)| value);
        let id = id.unwrap_or_default();
        let is_seen = match (caller, id.parse::<JobId>()) {
            // What is no job is for the handler to say.
            (Some(caller), _) if caller.sees_all() => true,
            (Some(caller), Ok(job)) => master.sees(&caller, job),
            (Some(_), Err(_)) | (None, _) => false,
        };
        if !is_seen {
            return no_job(id).into_response();
        }
    }
    next.run(request).await
}

/// A handler that asks who calls gets what [`admit`] found out.
impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let unknown = || Problem::new(Code::Internal, "nobody asked who calls");
        parts.extensions.get::<Self>().cloned().ok_or_else(unknown)
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Method;

    use super::deed;
    use crate::auth::Deed;

    #[test]
    fn a_path_no_rule_opens_needs_an_administrator() {
        let cases = [
            (Method::GET, "/healthz", None),
            (Method::GET, "/readyz", None),
            (Method::GET, "/health/", Some(Deed::Read)),
            (Method::GET, "/metrics", Some(Deed::Read)),
            (Method::GET, "/api/v1/jobs", Some(Deed::Read)),
            (Method::HEAD, "/api/v1/anything", Some(Deed::Read)),
            (Method::POST, "/api/v1/jobs", Some(Deed::Submit)),
            (Method::POST, "/api/v1/jobs/x/cancel", Some(Deed::Submit)),
            (Method::DELETE, "/api/v1/jobs/x", Some(Deed::Submit)),
            (Method::POST, "/api/v1/jobsx", Some(Deed::Administer)),
            (Method::POST, "/api/v1/workers/w/drain", Some(Deed::Administer)),
            (Method::POST, "/anything", Some(Deed::Administer)),
            (Method::POST, "/internal/v1/poll", Some(Deed::Work)),
            (Method::GET, "/internal/v1/poll", Some(Deed::Work)),
        ];
        for (method, path, expected) in cases {
            assert_eq!(deed(&method, path), expected, "{method} {path}");
        }
    }
}
