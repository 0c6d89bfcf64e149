//! `/workers`: who runs tasks.

use std::{sync::Arc, time::Duration};

use axum::{Json, extract::State};
use minispark_engine::schedule::WorkerView;

use super::{
    problem::Problem,
    request::{NoParameters, Query},
    wire,
};
use crate::master::Master;

/// `GET /workers`: all of them, dead ones included, as one page.
pub(crate) async fn list(
    State(master): State<Arc<Master>>,
    Query(NoParameters {}): Query<NoParameters>,
) -> Result<Json<wire::Page<wire::Worker>>, Problem> {
    let (now, workers) = {
        let cluster = master.lock();
        (master.clock.now(), cluster.workers())
    };
    let finished =
        |view: &WorkerView, outcome: &str| view.finished.get(outcome).copied().unwrap_or_default();
    let items = workers
        .into_iter()
        .map(|(view, registered, load)| wire::Worker {
            state: state(&view),
            epoch: view.epoch.0,
            slots: view.slots,
            running: u32::try_from(view.running.len()).unwrap_or(u32::MAX),
            tasks_done: finished(&view, "done"),
            tasks_failed: finished(&view, "failed"),
            cpu_percent: load.cpu_percent,
            rss_bytes: load.rss_bytes,
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

fn state(view: &WorkerView) -> wire::WorkerState {
    match (view.is_up, view.is_draining, view.is_excluded) {
        (false, ..) => wire::WorkerState::Down,
        (true, true, _) => wire::WorkerState::Draining,
        (true, false, true) => wire::WorkerState::Excluded,
        (true, false, false) => wire::WorkerState::Up,
    }
}
