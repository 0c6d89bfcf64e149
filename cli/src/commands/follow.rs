//! Follows a job on a master to its end, for `submit --wait` and `status --watch`.

use std::time::Duration;

use minispark_api::rest::wire::Job;
use minispark_engine::error::Code;
use tokio::time::{Instant, sleep};

use super::Stop;
use crate::{
    client::{Client, show_place},
    error::{Error, Exit, Result},
    output::{Output, progress::Progress},
};

/// The first pause between two looks; it grows by half each time, up to [`LAST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LAST_PAUSE: Duration = Duration::from_millis(500);
/// How long the master may be away (it may be restarting).
const PATIENCE: Duration = Duration::from_secs(30);

/// The job as it is at its end, or `None` where the user does not want to wait any longer.
///
/// # Errors
/// Where the job is not there (any more), or the master away for too long.
pub(crate) async fn follow(
    client: &Client,
    id: &str,
    stop: &mut Stop,
    output: Output,
) -> Result<Result<Job, Exit>> {
    let mut progress: Option<Progress> = None;
    let mut pause = FIRST_PAUSE;
    let mut last_answer = Instant::now();
    let outcome = loop {
        match client.job(id).await {
            Ok(job) => {
                last_answer = Instant::now();
                let shown = progress.get_or_insert_with(|| Progress::new(output, &job.name, true));
                let elapsed = Duration::try_from_secs_f64(job.duration_secs).unwrap_or_default();
                shown.update(job.progress_percent, elapsed, &message(&job));
                if job.status.has_ended() {
                    break Ok(Ok(job));
                }
            }
            Err(error) if error.exit == Exit::Unreachable && last_answer.elapsed() < PATIENCE => {}
            Err(error) => break Err(error),
        }
        tokio::select! {
            () = sleep(pause) => {}
            exit = stop.next() => break Ok(Err(exit)),
        }
        pause = LAST_PAUSE.min(pause * 3 / 2);
    };
    if let Some(progress) = progress {
        progress.finish();
    }
    outcome
}

fn message(job: &Job) -> String {
    match &job.waiting_for {
        Some(what) => format!("waiting for {what}"),
        None => job.status.to_string(),
    }
}

/// Why a job that has ended is not completed; `None` where it is.
pub(crate) fn failure(job: &Job) -> Option<Error> {
    let exit = Exit::of_state(job.status);
    if exit == Exit::Done {
        return None;
    }
    let name = format!("job {} ({})", job.id, job.name);
    let Some(failure) = &job.error else {
        return Some(Error::new(exit, Code::Cancelled, format!("{name} is {}", job.status)));
    };
    let place = failure.place.as_ref().map(show_place).filter(|place| !place.is_empty());
    let place = place.map_or(name.clone(), |place| format!("{name}, {place}"));
    Some(Error::new(exit, Code::JobFailed, &*failure.message).kind(&failure.code).at(place))
}
