//! `status`: a job as it is, a job followed to its end, or all jobs.

use minispark_api::rest::wire::{Job, Page, Rows};

use super::{Stop, follow, results};
use crate::{
    args,
    client::{Client, show_place},
    error::{Exit, Result},
    output::{self, Output},
    units::{show_bytes, show_count},
};

/// Shows what was asked for.
///
/// # Errors
/// Where there is no such job or no master.
pub(crate) async fn status(args: &args::Status, client: &Client, output: Output) -> Result<Exit> {
    let Some(id) = &args.id else {
        return list(client, output).await;
    };
    let id = client.resolve(id).await?;
    if args.watch {
        let mut stop = Stop::listen()?;
        return match follow::follow(client, &id, &mut stop, output, true).await? {
            Ok(job) => ended(&job, client, output).await,
            Err(exit) => Ok(exit),
        };
    }
    show(&client.job(&id).await?, output)?;
    Ok(Exit::Done)
}

/// Shows a job that has ended, with its results or its error; the exit code tells the outcome.
///
/// # Errors
/// Where the master can't be asked for the results.
pub(crate) async fn ended(job: &Job, client: &Client, output: Output) -> Result<Exit> {
    show(job, output)?;
    if let Some(error) = follow::failure(job) {
        // The document that was printed holds the error already.
        if !output.is_json() {
            output.error(&error);
        }
        return Ok(error.exit);
    }
    if !output.is_json() {
        results::list(&client.results(&job.id).await?)?;
    }
    Ok(Exit::Done)
}

fn show(job: &Job, output: Output) -> Result<()> {
    if output.is_json() {
        return output::document(job);
    }
    let done: u32 = job.stages.iter().map(|stage| stage.tasks_done).sum();
    let tasks: u32 = job.stages.iter().map(|stage| stage.tasks).sum();
    let nodes = job.node_status.iter().map(|(node, state)| format!("{node} {state}"));
    let mut fields = vec![
        ("job", job.id.clone()),
        ("name", job.name.clone()),
        ("status", format!("{}, {:.1} %", job.status, job.progress_percent)),
        ("submitted", job.submitted_at.clone()),
        ("duration", format!("{:.3} s", job.duration_secs)),
        ("tasks", format!("{done} of {tasks} done, {} failed attempts", job.failure_count)),
        ("nodes", nodes.collect::<Vec<_>>().join(", ")),
        ("rows", rows(&job.rows)),
        (
            "bytes",
            format!(
                "{} exchanged, {} spilled, {} written",
                show_bytes(job.bytes.shuffled),
                show_bytes(job.bytes.spilled),
                show_bytes(job.bytes.written)
            ),
        ),
    ];
    if job.metrics.rows_per_sec > 0.0 {
        let bytes = show_bytes(whole(job.metrics.bytes_per_sec));
        let rows = show_count(whole(job.metrics.rows_per_sec));
        fields.push(("speed", format!("{rows} rows/s, {bytes}/s read")));
    }
    if let Some(what) = &job.waiting_for {
        fields.push(("waiting", format!("for {what}")));
    }
    if let Some(error) = &job.error {
        fields.push(("error", format!("{}: {}", error.code, error.message)));
        if let Some(place) = &error.place {
            fields.push(("at", show_place(place)));
        }
    }
    output::fields(&fields)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate is not negative, and a cast of too much saturates"
)]
fn whole(rate: f64) -> u64 {
    rate as u64
}

async fn list(client: &Client, output: Output) -> Result<Exit> {
    let jobs = client.jobs().await?;
    if output.is_json() {
        output::document(&Page { items: jobs, next_cursor: None })?;
        return Ok(Exit::Done);
    }
    let rows = jobs.iter().map(|job| {
        vec![
            job.id.clone(),
            job.name.clone(),
            job.status.to_string(),
            format!("{:.1} %", job.progress_percent),
            format!("{:.3} s", job.duration_secs),
            job.submitted_at.clone(),
        ]
    });
    output::table(&["ID", "NAME", "STATUS", "DONE", "DURATION", "SUBMITTED"], rows.collect())?;
    Ok(Exit::Done)
}

fn rows(rows: &Rows) -> String {
    let mut text = format!("{} in, {} out", show_count(rows.input), show_count(rows.output));
    for (count, what) in [(rows.filtered, "filtered"), (rows.quarantined, "bad")] {
        if count > 0 {
            text.extend([", ", &show_count(count), " ", what]);
        }
    }
    text
}
