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

/// `GET /version`.
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

/// `GET /health`, `/healthz`: the process serves.
pub(crate) async fn health(
    State(master): State<Arc<Master>>,
    Query(NoParameters {}): Query<NoParameters>,
) -> Json<wire::Health> {
    let status = if master.stop.is_cancelled() { "stopping" } else { "ok" };
    let workers = u32::try_from(master.lock().workers_up()).unwrap_or(u32::MAX);
    Json(wire::Health { status: String::from(status), version: String::from(VERSION), workers })
}

/// `GET /readyz`: jobs are taken.
pub(crate) async fn ready(
    State(master): State<Arc<Master>>,
    query: Query<NoParameters>,
) -> Result<Json<wire::Health>, Problem> {
    if master.stop.is_cancelled() {
        return Err(stopping());
    }
    Ok(health(State(master), query).await)
}
