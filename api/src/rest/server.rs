//! The server itself: its version, and whether it is well.

use std::sync::Arc;

use axum::{Json, extract::State};

use super::{
    jobs::stopping,
    problem::Problem,
    request::{NoParameters, Query},
    wire,
};
use crate::{VERSION, master::Master, protocol::PROTOCOL};

/// `GET /version`: what answers.
#[utoipa::path(
    get,
    path = "/version",
    operation_id = "version",
    tag = "server",
    responses((status = 200, description = "the versions", body = wire::Version))
)]
pub(crate) async fn version(
    State(master): State<Arc<Master>>,
    Query(NoParameters {}): Query<NoParameters>,
) -> Result<Json<wire::Version>, Problem> {
    Ok(Json(wire::Version {
        version: String::from(VERSION),
        protocol: PROTOCOL,
        term: master.settings.term.0,
    }))
}

/// `GET /health`: the process serves.
#[utoipa::path(
    get,
    path = "/health",
    operation_id = "health",
    tag = "server",
    responses((status = 200, description = "it serves", body = wire::Health))
)]
pub(crate) async fn health(
    State(master): State<Arc<Master>>,
    Query(NoParameters {}): Query<NoParameters>,
) -> Json<wire::Health> {
    let status = if master.stop.is_cancelled() { "stopping" } else { "ok" };
    let workers = u32::try_from(master.lock().workers_up()).unwrap_or(u32::MAX);
    Json(wire::Health { status: String::from(status), version: String::from(VERSION), workers })
}

/// `GET /healthz`: as `/health`.
#[utoipa::path(
    get,
    path = "/healthz",
    operation_id = "healthz",
    tag = "server",
    responses((status = 200, description = "it serves", body = wire::Health))
)]
pub(crate) async fn healthz(
    state: State<Arc<Master>>,
    query: Query<NoParameters>,
) -> Json<wire::Health> {
    health(state, query).await
}

/// `GET /readyz`: jobs are taken.
#[utoipa::path(
    get,
    path = "/readyz",
    operation_id = "ready",
    tag = "server",
    responses(
        (status = 200, description = "jobs are taken", body = wire::Health),
        (status = 503, description = "the server is stopping"),
    )
)]
pub(crate) async fn ready(
    State(master): State<Arc<Master>>,
    query: Query<NoParameters>,
) -> Result<Json<wire::Health>, Problem> {
    if master.stop.is_cancelled() {
        return Err(stopping());
    }
    Ok(health(State(master), query).await)
}
