//! Follows a job on a master to its end, for `submit --wait` and `status --watch`.
//!
//! It listens to the job's events, so that the end is seen at once; where they are cut it looks
//! now and then, and listens again behind the last event that it has heard. A master that restarts
//! meanwhile is waited for.

use std::time::Duration;

use minispark_api::rest::wire::Job;
use minispark_engine::error::Code;
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};

use super::Stop;
use crate::{
    client::{Client, show_place},
    error::{Error, Exit, Result},
    events::{Event, Events},
    output::{Output, progress::Progress},
};

/// The first pause between two looks; it grows by half each time, up to [`LAST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LAST_PAUSE: Duration = Duration::from_millis(500);
/// How long the master may be away (it may be restarting).
const PATIENCE: Duration = Duration::from_secs(30);
/// After so much silence the job is looked at, for what is no event: what it waits for.
const SILENCE: Duration = Duration::from_secs(5);

/// The job as it is at its end, or an exit code where the user does not want to wait any longer.
/// With `tell`, each change of the job and its stages is said.
///
/// # Errors
/// Where the job is not there (any more), or the master away for too long.
pub(crate) async fn follow(
    client: &Client,
    id: &str,
    stop: &mut Stop,
    output: Output,
    tell: bool,
) -> Result<Result<Job, Exit>> {
    let mut follower =
        Follower { client, id, output, tell, progress: None, last_id: None, percent: 0.0 };
    let outcome = tokio::select! {
        ended = follower.until_the_end() => ended.map(Ok),
        exit = stop.next() => Ok(Err(exit)),
    };
    if let Some(progress) = follower.progress {
        progress.finish();
    }
    outcome
}

struct Follower<'a> {
    client: &'a Client,
    id: &'a str,
    output: Output,
    tell: bool,
    progress: Option<Progress>,
    /// The last event that was heard.
    last_id: Option<String>,
    percent: f64,
}

impl Follower<'_> {
    async fn until_the_end(&mut self) -> Result<Job> {
        let mut pause = FIRST_PAUSE;
        let mut last_answer = Instant::now();
        loop {
            if let Ok(events) = self.client.events(Some(self.id), self.last_id.as_deref()).await
                && self.listen(events).await?
            {
                (last_answer, pause) = (Instant::now(), FIRST_PAUSE);
            }
            match self.client.job(self.id).await {
                Ok(job) => {
                    last_answer = Instant::now();
                    self.show(&job);
                    if job.status.has_ended() {
                        return Ok(job);
                    }
                }
                Err(error)
                    if error.exit == Exit::Unreachable && last_answer.elapsed() < PATIENCE => {}
                Err(error) => return Err(error),
            }
            sleep(pause).await;
            pause = LAST_PAUSE.min(pause * 3 / 2);
        }
    }

    /// Listens until the job or the stream ends; true where anything was heard.
    async fn listen(&mut self, mut events: Events) -> Result<bool> {
        let mut has_heard = false;
        loop {
            let Ok(next) = timeout(SILENCE, events.next()).await else {
                match self.client.job(self.id).await {
                    Ok(job) => self.show(&job),
                    // The stream may be as dead as the master: then it is not listened to.
                    Err(_) => return Ok(has_heard),
                }
                continue;
            };
            let Some(event) = next? else { return Ok(has_heard) };
            has_heard = true;
            self.heard(&event);
            if event.name == "end" {
                return Ok(true);
            }
        }
    }

    fn heard(&mut self, event: &Event) {
        if event.id.is_some() {
            self.last_id.clone_from(&event.id);
        }
        let Ok(data) = serde_json::from_str::<Value>(&event.data) else { return };
        if let Ok(job) = serde_json::from_str::<Job>(&event.data) {
            self.show(&job);
            return;
        }
        if let Some(percent) = data["progress_percent"].as_f64() {
            self.percent = self.percent.max(percent);
        }
        let elapsed = seconds(data["duration_secs"].as_f64().unwrap_or_default());
        if let Some(progress) = &mut self.progress
            && event.name == "progress"
        {
            progress.update(self.percent, elapsed, "RUNNING");
        }
        if let Some(line) = told(&event.name, &data).filter(|_| self.tell) {
            match &self.progress {
                Some(progress) => progress.say(&line),
                None => self.output.say(&line),
            }
        }
    }

    fn show(&mut self, job: &Job) {
        let output = self.output;
        let progress = self.progress.get_or_insert_with(|| Progress::new(output, &job.name, true));
        self.percent = self.percent.max(job.progress_percent);
        progress.update(self.percent, seconds(job.duration_secs), &message(job));
    }
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

/// A change in one line, where it is one to tell people.
fn told(name: &str, data: &Value) -> Option<String> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    match name {
        "job" => Some(format!("job {}", text(&data["status"])?)),
        "stage" => {
            let stage = &data["stage"];
            let nodes = stage["nodes"].as_array()?.iter().filter_map(Value::as_str);
            let nodes = nodes.collect::<Vec<_>>().join(", ");
            let (done, tasks) = (stage["tasks_done"].as_u64()?, stage["tasks"].as_u64()?);
            let (id, now) = (&stage["id"], text(&stage["state"])?);
            Some(format!("stage {id} ({nodes}) {now}, {done} of {tasks} tasks done"))
        }
        "warning" => {
            let place = serde_json::from_value(data["where"].clone()).ok();
            let place = place.as_ref().map(show_place).unwrap_or_default();
            Some(format!(
                "warning[{}]: {}, at {place}",
                text(&data["code"])?,
                text(&data["message"])?
            ))
        }
        _ => None,
    }
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::told;

    #[test]
    fn changes_are_told_in_one_line() {
        let stage = json!({"stage": {"id": 1, "nodes": ["a", "b"], "state": "RUNNING",
            "tasks": 4, "tasks_done": 0}});
        assert_eq!(told("stage", &stage).unwrap(), "stage 1 (a, b) RUNNING, 0 of 4 tasks done");
        assert_eq!(told("job", &json!({"status": "RUNNING"})).unwrap(), "job RUNNING");
        let warning = json!({"code": "FETCH_FAILED", "message": "gone",
            "where": {"stage": 1, "partition": 2, "worker": "w"}});
        assert_eq!(
            told("warning", &warning).unwrap(),
            "warning[FETCH_FAILED]: gone, at worker w, stage 1, partition 2"
        );
        assert_eq!(told("progress", &json!({})), None);
    }
}
