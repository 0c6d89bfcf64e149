//! `/cluster`: everything in a few numbers.

use std::sync::Arc;

use axum::{Json, extract::State};

use super::{
    problem::Problem,
    request::{NoParameters, Query},
    wire::{self, WorkerState},
};
use crate::{VERSION, master::Master, metrics};

/// `GET /cluster`.
#[utoipa::path(
    get,
    path = "/cluster",
    operation_id = "cluster",
    tag = "cluster",
    responses((status = 200, description = "totals and queue", body = wire::Cluster))
)]
pub(crate) async fn show(
    State(master): State<Arc<Master>>,
    Query(NoParameters {}): Query<NoParameters>,
) -> Result<Json<wire::Cluster>, Problem> {
    let now = master.clock.now();
    let (standing, numbers) = {
        let cluster = master.lock();
        (metrics::standing(&cluster, now), Arc::clone(cluster.observer().metrics()))
    };
    let states = standing.jobs.iter();
    let name = |state: &WorkerState| state.to_string();
    Ok(Json(wire::Cluster {
        version: String::from(VERSION),
        term: master.settings.term.0,
        uptime_secs: now.as_secs_f64(),
        jobs: states.map(|(state, n)| (metrics::state(*state).to_owned(), *n)).collect(),
        workers: standing.workers.iter().map(|(state, n)| (name(state), *n)).collect(),
        slots: standing.slots,
        tasks_running: standing.tasks_running,
        queue_depth: standing.queued,
        budget_bytes: standing.budget_bytes + master.publisher.budget.limit_bytes(),
        reserved_bytes: standing.reserved_bytes + master.publisher.budget.used_bytes(),
        store_disk_bytes: standing.disk_bytes,
        master: numbers.usage(now),
    }))
}
