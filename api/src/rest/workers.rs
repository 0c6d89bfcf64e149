//! `/workers`: who runs tasks.

use std::{sync::Arc, time::Duration};

use axum::{Json, extract::State};
use minispark_engine::schedule::WorkerView;

use super::{
    figures,
    problem::Problem,
    request::{NoParameters, Query},
    wire,
};
use crate::master::Master;

/// `GET /workers`: all of them, dead ones included, as one page.
#[utoipa::path(
    get,
    path = "/workers",
    operation_id = "listWorkers",
    tag = "cluster",
    responses((status = 200, description = "the workers", body = wire::Page<wire::Worker>))
)]
pub(crate) async fn list(
    State(master): State<Arc<Master>>,
    Query(NoParameters {}): Query<NoParameters>,
) -> Result<Json<wire::Page<wire::Worker>>, Problem> {
    let (now, workers) = {
        let cluster = master.lock();
        let workers = cluster.workers().into_iter();
        let with_figures = workers.map(|(view, registered, load)| {
            let tally = cluster.observer().worker(&view.worker);
            let metrics = figures::of_worker(&load, tally);
            (view, registered, load, metrics)
        });
        (master.clock.now(), with_figures.collect::<Vec<_>>())
    };
    let finished =
        |view: &WorkerView, outcome: &str| view.finished.get(outcome).copied().unwrap_or_default();
    let items = workers
        .into_iter()
        .map(|(view, registered, load, metrics)| wire::Worker {
            metrics,
            state: wire::WorkerState::of(&view),
            epoch: view.epoch.0,
            slots: view.slots,
            running: u32::try_from(view.running.len()).unwrap_or(u32::MAX),
            tasks_done: finished(&view, "done"),
            tasks_failed: finished(&view, "failed"),
            cpu_percent: load.usage.cpu_percent,
            rss_bytes: load.usage.rss_bytes,
            budget_bytes: registered.budget_bytes,
            reserved_bytes: load.reserved_bytes,
            store_disk_bytes: load.store_disk_bytes,
            version: registered.version,
            last_seen_secs: now.checked_sub(view.last_seen).unwrap_or(Duration::ZERO).as_secs_f64(),
            id: view.worker.0,
            address: view.address,
        })
        .collect();
    Ok(Json(wire::Page { items, next_cursor: None }))
}
