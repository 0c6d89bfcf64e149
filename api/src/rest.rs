//! The REST interface: every route on one screen.

use std::{net::TcpListener, sync::Arc, time::Duration};

use axum::{
    Router,
    middleware::{from_fn, from_fn_with_state},
    routing::{get, post},
};
use tower::limit::GlobalConcurrencyLimitLayer;
use tower_http::catch_panic::CatchPanicLayer;

use crate::{error::Error, master::Master, protocol};

pub mod wire;
pub mod problem;
pub(crate) mod guard;
pub(crate) mod connection;
pub(crate) mod request;
pub(crate) mod jobs;
pub(crate) mod results;
pub(crate) mod workers;
pub(crate) mod server;
pub(crate) mod internal;

/// The base of all public routes.
pub const BASE: &str = "/api/v1";

/// How many requests of clients are worked on at once; workers' polls are counted apart.
const REQUESTS_AT_ONCE: usize = 256;

/// The most bytes of a request's line and headers.
const MAX_HEADER_BYTES: usize = 16 << 10;

/// How long a client may take for its headers, and for its first request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// All routes.
pub(crate) fn router(master: Arc<Master>, hosts: guard::AllowedHosts) -> Router {
    let api = Router::new()
        .route("/jobs", post(jobs::submit).get(jobs::list))
        .route("/jobs/{id}", get(jobs::show))
        .route("/jobs/{id}/cancel", post(jobs::cancel))
        .route("/jobs/{id}/results", get(results::list))
        .route("/jobs/{id}/results/{sink}", get(results::download))
        .route("/workers", get(workers::list))
        .route("/version", get(server::version));
    let public = Router::new()
        .nest(BASE, api)
        .route("/health", get(server::health))
        .route("/healthz", get(server::health))
        .route("/readyz", get(server::ready))
        .layer(GlobalConcurrencyLimitLayer::new(REQUESTS_AT_ONCE));
    let internal = Router::new()
        .route(protocol::REGISTER, post(internal::register))
        .route(protocol::POLL, post(internal::poll))
        .route(protocol::LEAVE, post(internal::leave));
    public
        .merge(internal)
        .with_state(master)
        .layer(from_fn_with_state(hosts, guard::refuse_foreign))
        .layer(CatchPanicLayer::custom(guard::panicked))
        .layer(from_fn(guard::dress))
}

/// Serves the routes until the master stops; then open requests get `grace` to end.
pub(crate) async fn serve(
    master: Arc<Master>,
    listener: TcpListener,
    grace: Duration,
) -> Result<(), Error> {
    let system = |source| Error::System { action: "serve REST", source };
    let hosts = guard::AllowedHosts::of(listener.local_addr().map_err(system)?);
    let stop = master.stop.clone();
    let handle = axum_server::Handle::new();
    // The stock `axum::serve` has no timer: a client could hold a half-sent request for ever.
    let mut server = axum_server::from_tcp(listener)
        .map_err(system)?
        .handle(handle.clone())
        .http1_only()
        .first_request_timeout(HEADER_TIMEOUT)
        .acceptor(connection::Limited::default());
    server.http_builder().http1().header_read_timeout(HEADER_TIMEOUT).max_buf_size(MAX_HEADER_BYTES);
    let serving = server.serve(router(master, hosts).into_make_service());
    tokio::pin!(serving);
    tokio::select! {
        ended = &mut serving => return ended.map_err(system),
        () = stop.cancelled() => handle.graceful_shutdown(Some(grace)),
    }
    serving.await.map_err(system)
}
