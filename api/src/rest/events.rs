//! `/events` and `/jobs/{id}/events`: what changes, as server-sent events.
//!
//! A stream begins with how things stand, goes on with what changes, and can be resumed from the
//! last id that its reader has seen. A job's stream ends with the job.

use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::{Path, State},
    http::{HeaderMap, HeaderName, header},
    response::{
        IntoResponse, Response, Sse,
        sse::{Event, KeepAlive},
    },
};
use futures::{Stream, stream};
use minispark_engine::{error::Code, id::JobId};
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio_util::sync::CancellationToken;

use super::{
    jobs,
    problem::Problem,
    request::{NoParameters, Query, job_id, no_job},
    wire,
};
use crate::{
    auth::Caller,
    master::{
        Master,
        cluster::Cluster,
        events::{Entry, Feed, Kind, READERS},
        journal::Settled,
        observe::stamped,
    },
};

/// How often a stream without news shows that it is alive.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// After how long a client connects again.
const RETRY: Duration = Duration::from_secs(2);
/// How many events are taken from the feed at once.
const AT_ONCE: usize = 64;
/// The most jobs that a stream of everything begins with.
const MAX_JOBS_SHOWN: usize = 500;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// `GET /jobs/{id}/events`.
#[utoipa::path(
    get,
    path = "/jobs/{id}/events",
    operation_id = "followJob",
    tag = "jobs",
    params(("id" = String, Path, description = "the job"), ("Last-Event-ID" = Option<String>, Header, description = "resumes behind this event")),
    responses((status = 200, description = "server-sent events", content_type = "text/event-stream", body = wire::ServerSentEvent),
    )
)]
pub(crate) async fn of_job(
    State(master): State<Arc<Master>>,
    Path(id): Path<String>,
    Query(NoParameters {}): Query<NoParameters>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let job = job_id(&id)?;
    // Who does not see the job did not come so far.
    follow(&master, Some(job), Caller::Anyone, &headers)
}

/// `GET /events`.
#[utoipa::path(
    get,
    path = "/events",
    operation_id = "followAll",
    tag = "cluster",
    params(("Last-Event-ID" = Option<String>, Header, description = "resumes behind this event")),
    responses((status = 200, description = "server-sent events", content_type = "text/event-stream", body = wire::ServerSentEvent),
    )
)]
pub(crate) async fn of_all(
    State(master): State<Arc<Master>>,
    caller: Caller,
    Query(NoParameters {}): Query<NoParameters>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    follow(&master, None, caller, &headers)
}

fn follow(
    master: &Arc<Master>,
    job: Option<JobId>,
    caller: Caller,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    if master.stop.is_cancelled() {
        return Err(jobs::stopping());
    }
    let feed = Arc::clone(master.lock().observer().feed());
    let place = feed.enter().ok_or_else(|| {
        let detail = format!("{READERS} clients follow events already; poll, or try again later");
        Problem::new(Code::RateLimited, detail)
    })?;
    let last_id = headers.get(LAST_EVENT_ID).and_then(|id| id.to_str().ok());
    let reader = {
        // What stands and the place in the feed belong together.
        let cluster = master.lock();
        Reader::begin(master, &cluster, feed, (job, caller), last_id, place)?
    };
    let keep_alive = KeepAlive::new().interval(HEARTBEAT).text("hb");
    let stream = Sse::new(reader.stream()).keep_alive(keep_alive);
    let head = [(header::CACHE_CONTROL, "no-store"), (ACCEL_BUFFERING, "no")];
    Ok((head, stream).into_response())
}

/// A client's place in the feed.
struct Reader {
    feed: Arc<Feed>,
    changes: watch::Receiver<u64>,
    job: Option<JobId>,
    /// Whose jobs it is told of.
    caller: Caller,
    master: Arc<Master>,
    /// Up to where the feed has been looked through.
    reached: u64,
    pending: VecDeque<Event>,
    has_ended: bool,
    stop: CancellationToken,
    _place: OwnedSemaphorePermit,
}

impl Reader {
    /// Behind `last_id` where that is known, else from how things stand.
    fn begin(
        master: &Arc<Master>,
        cluster: &Cluster,
        feed: Arc<Feed>,
        (job, caller): (Option<JobId>, Caller),
        last_id: Option<&str>,
        place: OwnedSemaphorePermit,
    ) -> Result<Self, Problem> {
        let mut pending = VecDeque::from([Event::default().retry(RETRY)]);
        let last = feed.last();
        let resumed =
            last_id.and_then(|id| feed.place(id)).filter(|seq| feed.after(*seq, job, 1).is_ok());
        let snapshot = Snapshot { master, cluster, id: feed.id(last) };
        if resumed.is_none() {
            if last_id.is_some() {
                pending.push_back(snapshot.event("reset", None, json!({})));
            }
            pending.extend(snapshot.of(job, &caller)?);
        }
        let mut reader = Self {
            changes: feed.changes(),
            feed,
            job,
            caller,
            master: Arc::clone(master),
            reached: resumed.unwrap_or(last),
            pending,
            has_ended: false,
            stop: master.stop.clone(),
            _place: place,
        };
        // A job that has ended has nothing more to tell but that, unless the feed still has it.
        if let Some(job) = job
            && let Some(end) = snapshot.end(job)?
            && !reader.is_to_hear_the_end()
        {
            reader.pending.push_back(end);
            reader.has_ended = true;
        }
        Ok(reader)
    }

    /// Whether the end of its job stands in the feed before it.
    fn is_to_hear_the_end(&self) -> bool {
        let is_end = |entry: &Arc<Entry>| entry.kind == Kind::End;
        let before = self.feed.after(self.reached, self.job, usize::MAX);
        before.is_ok_and(|(entries, _)| entries.iter().any(is_end))
    }

    fn is_seen(&self, job: Option<JobId>) -> bool {
        self.caller.sees_all() || job.is_none_or(|job| self.master.sees(&self.caller, job))
    }

    fn stream(self) -> impl Stream<Item = Result<Event, Infallible>> {
        stream::unfold(self, |mut reader| async move {
            let event = reader.next().await?;
            Some((Ok(event), reader))
        })
    }

    /// The next event; none where the job has ended, the master stops, or the reader was too slow.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                return Some(event);
            }
            if self.has_ended {
                return None;
            }
            self.changes.mark_unchanged();
            let (entries, reached) = self.feed.after(self.reached, self.job, AT_ONCE).ok()?;
            if !entries.is_empty() && self.master.journal.settled().await == Settled::Broken {
                return None;
            }
            let has_moved = reached > self.reached;
            self.reached = reached;
            let entries = entries.into_iter().filter(|entry| self.is_seen(entry.job));
            for entry in entries.collect::<Vec<_>>() {
                self.has_ended |= entry.kind == Kind::End && self.job.is_some();
                self.pending.push_back(event(&self.feed, &entry));
            }
            if self.pending.is_empty() && !has_moved {
                tokio::select! {
                    () = self.stop.cancelled() => return None,
                    changed = self.changes.changed() => changed.ok()?,
                }
            }
        }
    }
}

fn event(feed: &Feed, entry: &Entry) -> Event {
    Event::default().id(feed.id(entry.seq)).event(entry.kind.name()).data(&entry.data)
}

/// How things stand at one moment.
struct Snapshot<'a> {
    master: &'a Master,
    cluster: &'a Cluster,
    id: String,
}

impl Snapshot<'_> {
    fn event(&self, name: &str, job: Option<JobId>, fields: Value) -> Event {
        let data = stamped(&*self.master.clock, job, fields);
        Event::default().id(self.id.as_str()).event(name).data(data)
    }

    fn of(&self, job: Option<JobId>, caller: &Caller) -> Result<Vec<Event>, Problem> {
        if let Some(job) = job {
            return Ok(vec![self.event(Kind::Job.name(), Some(job), json!(self.document(job)?))]);
        }
        let mut events = Vec::new();
        for (view, registered, _) in self.cluster.workers() {
            let fields = json!({"worker": {
                "id": view.worker.0,
                "state": wire::WorkerState::of(&view),
                "address": registered.address,
                "slots": view.slots,
                "epoch": view.epoch.0,
            }});
            events.push(self.event(Kind::Worker.name(), None, fields));
        }
        let now = self.master.clock.now();
        let open = self.cluster.open_jobs(MAX_JOBS_SHOWN);
        let open = open.into_iter().filter_map(|id| self.cluster.job(id));
        for (view, record) in open.filter(|(_, shown)| caller.sees(shown.saved.owner.as_deref())) {
            let summary = jobs::summary(&view, record, now);
            events.push(self.event(Kind::Job.name(), Some(view.job), json!(summary)));
        }
        Ok(events)
    }

    /// The end of a job that has ended.
    fn end(&self, job: JobId) -> Result<Option<Event>, Problem> {
        let document = self.document(job)?;
        if !document.status.has_ended() {
            return Ok(None);
        }
        let mut fields = json!({
            "status": document.status,
            "progress_percent": document.progress_percent,
            "duration_secs": document.duration_secs,
        });
        if let Some(error) = document.error {
            fields["error"] = json!(error);
        }
        Ok(Some(self.event(Kind::End.name(), Some(job), fields)))
    }

    fn document(&self, job: JobId) -> Result<wire::Job, Problem> {
        let (view, record) = self.cluster.job(job).ok_or_else(|| no_job(&job.to_string()))?;
        let trace = self.cluster.observer().job(job);
        let (now, term) = (self.master.clock.now(), self.master.settings.term);
        Ok(jobs::document(&view, record, trace, now, term))
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use axum::{
        body::{Body, BodyDataStream},
        http::{Request, Response, StatusCode},
    };
    use futures::StreamExt;
    use minispark_engine::{
        error::{Class, Code, Failure},
        id::JobId,
        schedule::Event,
    };
    use serde_json::Value;
    use tower::ServiceExt;

    use crate::{
        master::{
            Master,
            events::{KEPT, READERS},
            testing::{done, master, poll, register, submit},
        },
        protocol::{Outcome, Report},
        rest::{guard::AllowedHosts, router},
    };

    const HEARTBEAT: Duration = Duration::from_mins(1);

    async fn open(master: &Arc<Master>, path: &str, last_id: Option<&str>) -> Response<Body> {
        let app =
            router(Arc::clone(master), AllowedHosts::of("127.0.0.1:8080".parse().unwrap(), &[]));
        let mut request = Request::builder().uri(path).header("host", "localhost");
        if let Some(id) = last_id {
            request = request.header("last-event-id", id);
        }
        app.oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
    }

    /// Events as `(id, name, data)`, as they come.
    struct Stream {
        bytes: BodyDataStream,
        text: String,
    }

    impl Stream {
        async fn of(master: &Arc<Master>, path: &str, last_id: Option<&str>) -> Self {
            let answer = open(master, path, last_id).await;
            assert_eq!(answer.status(), StatusCode::OK);
            assert_eq!(answer.headers()["content-type"], "text/event-stream");
            assert_eq!(answer.headers()["x-accel-buffering"], "no");
            Self { bytes: answer.into_body().into_data_stream(), text: String::new() }
        }

        /// The next event; `None` at the stream's end.
        async fn next(&mut self) -> Option<(String, String, Value)> {
            loop {
                if let Some((block, rest)) = self.text.split_once("\n\n") {
                    let (block, rest) = (block.to_owned(), rest.to_owned());
                    self.text = rest;
                    let field = |name: &str| {
                        let of_name = |line: &str| line.strip_prefix(name).map(str::to_owned);
                        let value = block.lines().find_map(of_name);
                        value.map(|value| value.trim_start_matches(": ").to_owned())
                    };
                    let Some(data) = field("data") else {
                        assert_eq!(block.replace(' ', ""), "retry:2000");
                        continue;
                    };
                    let data = serde_json::from_str(&data).unwrap();
                    return Some((field("id").unwrap(), field("event").unwrap(), data));
                }
                let bytes = self.bytes.next().await?.unwrap();
                self.text.push_str(std::str::from_utf8(&bytes).unwrap());
            }
        }

        /// The names of the events up to the stream's end.
        async fn names(&mut self) -> Vec<String> {
            let mut names = Vec::new();
            while let Some((_, name, _)) = self.next().await {
                names.push(name);
            }
            names
        }
    }

    /// Gives the job's only task to a worker that reports this.
    fn work(master: &Arc<Master>, job: JobId, outcome: Option<Failure>) {
        let mut cluster = master.lock();
        let now = master.clock.now();
        cluster.register(now, register("w")).unwrap();
        let answer = cluster.poll(now, &poll("w", 1, &[])).0.unwrap().answer;
        let attempt = answer.assign[0].attempt;
        let report = match outcome {
            None => done(attempt),
            Some(failure) => Report { attempt, outcome: Outcome::Failed(failure) },
        };
        let mut report_poll = poll("w", 2, &[]);
        report_poll.reports.push(report);
        cluster.poll(now, &report_poll).0.unwrap();
        // The commit of a test's job has nothing to pull.
        cluster.step(now, Event::Committed { job });
    }

    #[tokio::test]
    async fn a_job_is_followed_from_how_it_stands_to_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let (master, _clock) = master(folder.path(), HEARTBEAT);
        let job = submit(&master, "one");
        let mut stream = Stream::of(&master, &format!("/api/v1/jobs/{job}/events"), None).await;
        let (id, name, data) = stream.next().await.unwrap();
        assert_eq!((id.as_str(), name.as_str()), ("7-1", "job"));
        assert_eq!((&data["status"], &data["name"]), (&"ACCEPTED".into(), &"one".into()));
        assert_eq!(data["job_id"], job.to_string());
        assert!(chrono::DateTime::parse_from_rfc3339(data["time"].as_str().unwrap()).is_ok());
        work(&master, job, None);
        let names = stream.names().await;
        assert_eq!(names, ["job", "stage", "task", "task", "progress", "stage", "end"]);
    }

    #[tokio::test]
    async fn a_stream_is_resumed_behind_the_last_event_of_the_same_term() {
        let folder = tempfile::tempdir().unwrap();
        let (master, _clock) = master(folder.path(), HEARTBEAT);
        let job = submit(&master, "one");
        work(&master, job, None);
        let path = format!("/api/v1/jobs/{job}/events");
        // A job that has ended says so, and no more.
        assert_eq!(Stream::of(&master, &path, None).await.names().await, ["job", "end"]);
        for unknown in ["6-1", "7-999", "nonsense"] {
            let mut stream = Stream::of(&master, &path, Some(unknown)).await;
            assert_eq!(stream.names().await, ["reset", "job", "end"], "{unknown}");
        }
        let mut all = Stream::of(&master, "/api/v1/events", Some("7-0")).await;
        let mut events = Vec::new();
        loop {
            let event = all.next().await.unwrap();
            let is_end = event.1 == "end";
            events.push(event);
            if is_end {
                break;
            }
        }
        let ids: Vec<u64> = events.iter().map(|(id, ..)| id[2..].parse().unwrap()).collect();
        assert!(ids.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{ids:?}");
        let third = &events[2].0;
        let mut rest = Stream::of(&master, "/api/v1/events", Some(third)).await;
        assert_eq!(rest.next().await.as_ref(), events.get(3));
    }

    #[tokio::test]
    async fn a_failure_is_a_warning_and_the_end_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let (master, _clock) = master(folder.path(), HEARTBEAT);
        let job = submit(&master, "one");
        let mut stream = Stream::of(&master, &format!("/api/v1/jobs/{job}/events"), None).await;
        let failure = Failure {
            class: Class::Fail,
            code: Code::InputCorrupt,
            message: String::from("bad row"),
            fetch: None,
        };
        work(&master, job, Some(failure));
        let mut seen = Vec::new();
        while let Some((_, name, data)) = stream.next().await {
            if name == "warning" {
                assert_eq!(
                    (&data["code"], &data["where"]["worker"]),
                    (&"INPUT_CORRUPT".into(), &"w".into())
                );
            }
            if name == "end" {
                assert_eq!(
                    (&data["status"], &data["error"]["code"]),
                    (&"FAILED".into(), &"INPUT_CORRUPT".into())
                );
            }
            seen.push(name);
        }
        assert_eq!(seen, ["job", "job", "stage", "task", "task", "warning", "end"]);
    }

    #[tokio::test]
    async fn so_many_may_follow_and_the_next_is_told_to_poll() {
        let folder = tempfile::tempdir().unwrap();
        let (master, _clock) = master(folder.path(), HEARTBEAT);
        let mut streams = Vec::new();
        for _ in 0..READERS {
            streams.push(Stream::of(&master, "/api/v1/events", None).await);
        }
        let refused = open(&master, "/api/v1/events", None).await;
        assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
        assert!(refused.headers().contains_key("retry-after"));
        streams.pop();
        assert_eq!(open(&master, "/api/v1/events", None).await.status(), StatusCode::OK);
    }

    #[tokio::test]
    async fn who_falls_behind_is_dropped_and_may_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let (master, _clock) = master(folder.path(), HEARTBEAT);
        let mut stream = Stream::of(&master, "/api/v1/events", None).await;
        submit(&master, "one");
        let (id, name, _) = stream.next().await.unwrap();
        assert_eq!((id.as_str(), name.as_str()), ("7-1", "job"));
        for _ in 0..=KEPT {
            submit(&master, "more");
        }
        // It has not read for as long as the feed remembers: nobody waits for it.
        assert_eq!(stream.next().await, None);
        let mut again = Stream::of(&master, "/api/v1/events", Some(&id)).await;
        assert_eq!(again.next().await.unwrap().1, "reset");
    }

    #[tokio::test]
    async fn streams_end_with_the_master() {
        let folder = tempfile::tempdir().unwrap();
        let (master, _clock) = master(folder.path(), HEARTBEAT);
        let mut stream = Stream::of(&master, "/api/v1/events", None).await;
        master.stop.cancel();
        assert_eq!(stream.next().await, None);
        let refused = open(&master, "/api/v1/events", None).await;
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    }

    #[tokio::test]
    async fn there_are_no_events_of_a_job_that_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let (master, _clock) = master(folder.path(), HEARTBEAT);
        let path = format!("/api/v1/jobs/{}/events", JobId::random());
        assert_eq!(open(&master, &path, None).await.status(), StatusCode::NOT_FOUND);
    }
}
