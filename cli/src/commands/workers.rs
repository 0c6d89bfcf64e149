//! `workers`: who works for a master.

use crate::{
    client::Client,
    error::{Exit, Result},
    output::{self, Output},
    units::show_bytes,
};

/// Lists the workers.
///
/// # Errors
/// Where the master can't be asked.
pub(crate) async fn workers(client: &Client, output: Output) -> Result<Exit> {
    let workers = client.workers().await?;
    if output.is_json() {
        output::document(&workers)?;
        return Ok(Exit::Done);
    }
    let head = [
        "ID", "ADDRESS", "STATE", "RUNNING", "SLOTS", "DONE", "FAILED", "P50", "P95", "CPU",
        "MEMORY", "SEEN", "VERSION",
    ];
    let rows = workers.items.iter().map(|worker| {
        vec![
            worker.id.clone(),
            worker.address.clone(),
            worker.state.to_string(),
            worker.running.to_string(),
            worker.slots.to_string(),
            worker.tasks_done.to_string(),
            worker.tasks_failed.to_string(),
            format!("{:.3} s", worker.metrics.latency_secs.p50),
            format!("{:.3} s", worker.metrics.latency_secs.p95),
            format!("{:.0} %", worker.cpu_percent),
            show_bytes(worker.rss_bytes),
            format!("{:.1} s ago", worker.last_seen_secs),
            worker.version.clone(),
        ]
    });
    output::table(&head, rows.collect())?;
    Ok(Exit::Done)
}
