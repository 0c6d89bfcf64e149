//! Putting a job's results in place: pull the parts from the workers, write, rename.
//!
//! The work is blocking and runs beside the loop; what happened comes back to it as an event.

use std::{path::PathBuf, sync::Arc};

use minispark_engine::{
    Error as EngineError,
    disk::Disk,
    error::{Class, Code, Failure},
    exchange::Exchange,
    id::JobId,
    plan::{Output, Sink},
    runtime::sinks,
    schedule::{Event, JobStatus},
    sink::commit::{Published, Publisher},
};

use super::{Master, cluster::CommitWork};

/// How many commits pull parts at once: each holds stream buffers.
pub(crate) const COMMITS_AT_ONCE: usize = 4;

/// Commits a job, and tells the scheduler how it went.
pub(crate) async fn commit(master: Arc<Master>, job: JobId) {
    // The semaphore is never closed; without a permit the commit would only be less bounded.
    let _permit = master.commits.acquire().await;
    // Results appear once it is on disk that they are about to.
    if !master.journal.settled_at_last().await {
        return;
    }
    let Some(work) = master.lock().begin_commit(job) else { return };
    let publisher = master.publisher.clone();
    let exchange = Arc::clone(&master.exchange);
    let inputs = Arc::clone(&master.site.data.inputs);
    let started = master.clock.now();
    let publishing =
        tokio::task::spawn_blocking(move || publish(&publisher, &*exchange, &inputs, job, &work));
    let (in_place, failure) = publishing.await.unwrap_or_else(|error| {
        let message = format!("the commit ended early: {error}");
        let failure = Failure { class: Class::Retry, code: Code::Internal, message, fetch: None };
        (Vec::new(), Some(failure))
    });
    let elapsed_secs = master.clock.now().saturating_sub(started).as_secs_f64();
    let event = match failure {
        None => {
            tracing::info!(job_id = %job, elapsed_secs, "results in place");
            Event::Committed { job }
        }
        Some(failure) => {
            let code = failure.code.name();
            tracing::warn!(job_id = %job, code, elapsed_secs, "commit failed");
            // Its text may show a row, which is nothing for a log that everybody keeps.
            tracing::debug!(job_id = %job, reason = failure.message, "why the commit failed");
            Event::CommitFailed { job, failure }
        }
    };
    let effects = {
        let mut cluster = master.lock();
        cluster.end_commit(master.clock.now(), job, in_place, event)
    };
    master.act(effects);
}

/// What is in place, and why not all of it.
fn publish(
    publisher: &Publisher,
    exchange: &dyn Exchange,
    inputs: &Arc<dyn Disk>,
    job: JobId,
    work: &CommitWork,
) -> (Vec<Published>, Option<Failure>) {
    let mut in_place = Vec::new();
    let outcome = (|| -> Result<(), EngineError> {
        // All parts are here before the first result appears, so that a lost worker leaves the
        // targets as they were.
        let mut collected = Vec::new();
        for (stage, outputs) in &work.outputs {
            let Some(Output::Sink(sink)) = work.plan.stages.get(stage.index()).map(|s| &s.output)
            else {
                continue;
            };
            let parts = publisher.collect(job, sink, outputs, exchange, &work.cancel)?;
            collected.push((sink, parts));
        }
        work.cancel.check()?;
        publisher.check_targets(job, &sinks(&work.plan).collect::<Vec<_>>())?;
        let (plan, bad_rows) = (&work.plan, &work.bad_rows);
        publisher.publish_bad_rows(job, plan, bad_rows, exchange, inputs, &work.cancel)?;
        for (sink, parts) in collected {
            in_place.push(publisher.publish(job, sink, &parts)?);
        }
        Ok(())
    })();
    let failure = outcome.err().map(|error| Failure::from(&error));
    (in_place, failure)
}

/// Removes files, of a job that is not known any more or of results that have expired; and the
/// folders that are empty then.
pub(crate) async fn remove(master: Arc<Master>, paths: Vec<PathBuf>) {
    if !master.journal.settled_at_last().await {
        return;
    }
    let disk = Arc::clone(&master.publisher.disk);
    let removing = tokio::task::spawn_blocking(move || {
        for path in paths {
            let removed = disk.remove(&path).and_then(|()| {
                let mut folders = path.ancestors().skip(1).take(2);
                folders.try_for_each(|folder| disk.remove_empty_dir(folder))
            });
            if let Err(error) = removed {
                tracing::warn!(path = %path.display(), %error, "a file is left");
            }
        }
    });
    if let Err(error) = removing.await {
        tracing::warn!(%error, "files are left");
    }
}

/// Removes the results of a job, where they are still its own.
pub(crate) async fn withdraw(master: Arc<Master>, job: JobId, results: Vec<Published>) {
    if !master.journal.settled_at_last().await {
        return;
    }
    let publisher = master.publisher.clone();
    let removing = tokio::task::spawn_blocking(move || {
        for result in results {
            if let Err(error) = publisher.withdraw(job, &result) {
                let (path, error) = (result.path.display(), error.chain());
                tracing::warn!(job_id = %job, path = %path, error, "a result is left");
            }
        }
    });
    if let Err(error) = removing.await {
        tracing::warn!(job_id = %job, %error, "results are left");
    }
}

/// Removes what a final job has staged.
pub(crate) async fn sweep(master: Arc<Master>, job: JobId) {
    if !master.journal.settled_at_last().await {
        return;
    }
    let known = {
        let cluster = master.lock();
        cluster.job(job).map(|(view, _)| (view.plan, view.status == JobStatus::Completed))
    };
    let publisher = master.publisher.clone();
    let sweeping = tokio::task::spawn_blocking(move || match known {
        Some((plan, is_completed)) => {
            let sinks: Vec<&Sink> = sinks(&plan).collect();
            publisher.sweep(job, &sinks, is_completed)
        }
        // It has been forgotten since, and nothing of it is asked for any more.
        None => publisher.sweep_forgotten(job),
    });
    match sweeping.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::warn!(job_id = %job, error = error.chain(), "staged files are left");
        }
        Err(error) => tracing::warn!(job_id = %job, %error, "staged files are left"),
    }
}
