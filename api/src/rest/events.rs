//! `/events` and `/jobs/{id}/events`: what changes, as server-sent events.
//!
//! A stream begins with how things stand, goes on with what changes, and can be resumed from the
//! last id that its reader has seen. A job's stream ends with the job.

use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::{Path, State},
    http::{HeaderMap, HeaderName, StatusCode, header},
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
use crate::master::{
    Master,
    cluster::Cluster,
    events::{Entry, Feed, Kind, READERS},
    observe::stamped,
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
pub(crate) async fn of_job(
    State(master): State<Arc<Master>>,
    Path(id): Path<String>,
    Query(NoParameters {}): Query<NoParameters>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let job = job_id(&id)?;
    follow(&master, Some(job), &headers)
}

/// `GET /events`.
pub(crate) async fn of_all(
    State(master): State<Arc<Master>>,
    Query(NoParameters {}): Query<NoParameters>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    follow(&master, None, &headers)
}

fn follow(
    master: &Arc<Master>,
    job: Option<JobId>,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    if master.stop.is_cancelled() {
        return Err(jobs::stopping());
    }
    let feed = Arc::clone(master.lock().observer().feed());
    let place = feed.enter().ok_or_else(|| {
        let detail = format!("{READERS} clients follow events already; poll, or try again later");
        Problem::new(Code::Conflict, detail).with_status(StatusCode::SERVICE_UNAVAILABLE)
    })?;
    let last_id = headers.get(LAST_EVENT_ID).and_then(|id| id.to_str().ok());
    let reader = {
        // What stands and the place in the feed belong together.
        let cluster = master.lock();
        Reader::begin(master, &cluster, feed, job, last_id, place)?
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
        master: &Master,
        cluster: &Cluster,
        feed: Arc<Feed>,
        job: Option<JobId>,
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
            pending.extend(snapshot.of(job)?);
        }
        let mut reader = Self {
            changes: feed.changes(),
            feed,
            job,
            reached: resumed.unwrap_or(last),
            pending,
            has_ended: false,
            stop: master.stop.clone(),
            _place: place,
        };
        // A job that has ended has nothing more to tell but that.
        if let Some(job) = job
            && let Some(end) = snapshot.end(job)?
        {
            reader.pending.push_back(end);
            reader.has_ended = true;
        }
        Ok(reader)
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
            let has_moved = reached > self.reached;
            self.reached = reached;
            for entry in entries {
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

    fn of(&self, job: Option<JobId>) -> Result<Vec<Event>, Problem> {
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
        for (view, record) in open.into_iter().filter_map(|job| self.cluster.job(job)) {
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
