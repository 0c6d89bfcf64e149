//! `cluster`: a cluster in a few numbers.

use minispark_api::rest::wire::Ordered;

use crate::{
    client::Client,
    error::{Exit, Result},
    output::{self, Output},
    units::show_bytes,
};

/// Shows them.
///
/// # Errors
/// Where the master can't be asked.
pub(crate) async fn cluster(client: &Client, output: Output) -> Result<Exit> {
    let cluster = client.cluster().await?;
    if output.is_json() {
        output::document(&cluster)?;
        return Ok(Exit::Done);
    }
    let counted = |counts: &Ordered<u64>| {
        let counts = counts.iter().filter(|(_, count)| **count > 0);
        let shown: Vec<_> = counts.map(|(state, count)| format!("{count} {state}")).collect();
        if shown.is_empty() { String::from("none") } else { shown.join(", ") }
    };
    let (reserved, budget) = (cluster.reserved_bytes, cluster.budget_bytes);
    output::fields(&[
        ("version", format!("{}, term {}", cluster.version, cluster.term)),
        ("up", format!("for {:.0} s", cluster.uptime_secs)),
        ("workers", counted(&cluster.workers)),
        ("slots", format!("{} of {} in use", cluster.tasks_running, cluster.slots)),
        ("jobs", counted(&cluster.jobs)),
        ("queue", format!("{} jobs wait for their first task", cluster.queue_depth)),
        ("memory", format!("{} of {} reserved", show_bytes(reserved), show_bytes(budget))),
        ("disk", format!("{} held by workers", show_bytes(cluster.store_disk_bytes))),
        (
            "master",
            format!(
                "{:.0} % of a core, {} resident",
                cluster.master.cpu_percent,
                show_bytes(cluster.master.rss_bytes)
            ),
        ),
    ])?;
    Ok(Exit::Done)
}
