//! Putting a job's results in place: pull the parts from the workers, write, rename.
//!
//! The work is blocking and runs beside the loop; what happened comes back to it as an event.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use minispark_engine::{
    Error as EngineError,
    disk::Disk,
    error::{Class, Code, Failure},
    exchange::Exchange,
    id::JobId,
    plan::{Output, Plan, Sink, Stage},
    runtime::sinks,
    schedule::{Event, JobStatus},
    sink::{
        commit::{Published, Publisher},
        shared::SharedFolder,
    },
};
use sha2::{Digest as _, Sha256};

use super::{Master, cluster::CommitWork, folder::to_hex};

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

/// Which folders are offered to workers, and by which nonces they know them.
#[derive(Clone, Debug)]
pub(crate) struct Sharing {
    output_dir: PathBuf,
    /// Of which nonces are made; nobody else can tell them beforehand.
    key: [u8; 32],
}

impl Sharing {
    pub(crate) fn new(output_dir: &Path, ticket_key: &[u8; 32]) -> Self {
        Self { output_dir: output_dir.to_owned(), key: *ticket_key }
    }

    /// That of a stage's sink. One that may keep bad rows has none: those go through stores.
    pub(crate) fn folder(&self, job: JobId, stage: &Stage) -> Option<SharedFolder> {
        let Output::Sink(sink) = &stage.output else { return None };
        if stage.keeps_bad_rows() {
            return None;
        }
        let mut hash = Sha256::new();
        hash.update(self.key);
        hash.update(job.to_string());
        let nonce = to_hex(&hash.finalize().into());
        Some(SharedFolder { folder: sink.staging(job, &self.output_dir), nonce })
    }
}

/// Leaves nonces where workers that share the folders will find them; gives those folders.
pub(crate) async fn offer(master: &Master, job: JobId, plan: &Plan) -> Vec<SharedFolder> {
    let folders = master.lock().shared_folders(job, plan);
    each(master, folders.clone(), SharedFolder::offer).await;
    folders
}

/// Removes what was offered for a job that was not taken.
pub(crate) async fn take_back(master: &Master, folders: Vec<SharedFolder>) {
    each(master, folders, SharedFolder::take_back).await;
}

/// Does something with folders, beside the loop. What fails leaves them unshared, or a nonce behind.
async fn each(
    master: &Master,
    folders: Vec<SharedFolder>,
    act: fn(&SharedFolder, &dyn Disk) -> io::Result<()>,
) {
    if folders.is_empty() {
        return;
    }
    let disk = Arc::clone(&master.publisher.disk);
    let acting = tokio::task::spawn_blocking(move || {
        for shared in folders {
            if let Err(error) = act(&shared, &*disk) {
                let folder = shared.folder.display();
                tracing::debug!(%folder, %error, "a folder can't be shared with workers");
            }
        }
    });
    if let Err(error) = acting.await {
        tracing::warn!(%error, "folders are not shared with workers");
    }
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
            let mut parts = Vec::new();
            for (output, shared) in outputs {
                parts.extend(if let Some(shared) = shared {
                    publisher.take_shared(job, sink, output, shared)?
                } else {
                    let output = std::slice::from_ref(output);
                    publisher.collect(job, sink, output, exchange, &work.cancel)?
                });
            }
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
