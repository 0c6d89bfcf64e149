//! The master's numbers, for Prometheus and as JSON.
//!
//! Counters grow where something happens ([`observe`](crate::master::observe), the REST guard);
//! gauges are read off the cluster when somebody asks. Labels come from closed lists, never from
//! job documents or paths, so that the number of series is bounded. Only what is fed stands here.

use std::sync::{Mutex, PoisonError};

use axum::http::{Method, StatusCode};
use minispark_engine::{
    schedule::{JobStatus, Now},
    sink::commit::Published,
};
use minispark_flight::traffic::Fetched;
use prometheus::{
    Counter, Encoder, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec,
    IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
    core::Collector,
    proto::{MetricFamily, MetricType},
};

use crate::{
    VERSION,
    master::cluster::Cluster,
    meter::{Meter, Usage},
    rest::wire::{self, Ordered},
};

pub(crate) mod latency;
mod fetch;

use fetch::FetchSeconds;

/// The media type of the text.
pub(crate) const TEXT_FORMAT: &str = prometheus::TEXT_FORMAT;

/// Buckets of what takes milliseconds: requests, fetches.
const SHORT_SECS: &[f64] = &[0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0];
/// Buckets of what takes milliseconds to hours: tasks, jobs, waits.
const LONG_SECS: &[f64] =
    &[0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1_800.0, 7_200.0];

/// All series of a master.
pub(crate) struct Metrics {
    registry: Registry,
    pub(crate) jobs_submitted: IntCounter,
    pub(crate) jobs_finished: IntCounterVec,
    pub(crate) job_duration: Histogram,
    pub(crate) queue_wait: Histogram,
    pub(crate) task_attempts: IntCounterVec,
    pub(crate) task_duration: HistogramVec,
    pub(crate) task_retries: IntCounterVec,
    pub(crate) stage_recomputes: IntCounterVec,
    pub(crate) fenced: IntCounterVec,
    pub(crate) rows: IntCounterVec,
    pub(crate) bytes: IntCounterVec,
    fetch_seconds: FetchSeconds,
    fetch_failures: IntCounterVec,
    checksum_failures: IntCounterVec,
    http_requests: IntCounterVec,
    http_duration: HistogramVec,
    rejected: IntCounterVec,
    looked_up: Mutex<LookedUp>,
}

/// What is set when somebody asks; one at a time does.
struct LookedUp {
    meter: Meter,
    fenced_attempts: u64,
    /// What the master itself last said to have fetched, for results.
    fetched: Fetched,
    jobs: IntGaugeVec,
    queue_depth: IntGauge,
    tasks_running: IntGauge,
    workers: IntGaugeVec,
    heartbeat_age: GaugeVec,
    memory_budget: IntGauge,
    memory_reserved: IntGauge,
    spill_bytes: IntGauge,
    resident: IntGauge,
    cpu: Counter,
    slots: IntGauge,
    events_streams: IntGauge,
    journal_bytes: IntGauge,
    journal_syncs: IntCounter,
}

impl Metrics {
    /// All series, at their beginnings.
    pub(crate) fn new() -> Self {
        let registry = Registry::new();
        let build = int_gauges(&registry, "build_info", "Which build this is.", &["version"]);
        build.with_label_values(&[VERSION]).set(1);
        let r = &registry;
        Self {
            jobs_submitted: int_counter(r, "jobs_submitted_total", "Jobs that were accepted."),
            jobs_finished: int_counters(
                r,
                "jobs_finished_total",
                "Jobs that have ended, by their last state and the error's code (NONE without one).",
                &["state", "code"],
            ),
            job_duration: histogram(
                r,
                "job_duration_seconds",
                "From a job's submission to its end.",
            ),
            queue_wait: histogram(
                r,
                "queue_wait_seconds",
                "From a job's submission to the start of its first task.",
            ),
            task_attempts: int_counters(
                r,
                "task_attempts_total",
                "Attempts that have ended, by the operator that ends their stage and by outcome.",
                &["op", "outcome"],
            ),
            task_duration: histograms(
                r,
                "task_duration_seconds",
                "How long attempts that succeeded ran on their workers.",
                LONG_SECS,
                &["op"],
            ),
            task_retries: int_counters(
                r,
                "task_retries_total",
                "Attempts beyond a task's first, by the reason.",
                &["reason"],
            ),
            stage_recomputes: int_counters(
                r,
                "stage_recomputes_total",
                "Finished stages that had to run in part again, because outputs were lost.",
                &["reason"],
            ),
            fenced: int_counters(
                r,
                "fenced_messages_total",
                "Workers' messages without effect, because they belong to a past life or attempt.",
                &["kind"],
            ),
            rows: int_counters(
                r,
                "rows_total",
                "Rows into and out of operators and dropped by filters, in outputs that count.",
                &["op", "kind"],
            ),
            bytes: int_counters(
                r,
                "bytes_total",
                "Bytes read from inputs, put into exchanges, received from other workers, spilled, \
                 and written to results.",
                &["kind"],
            ),
            fetch_seconds: register(r, FetchSeconds::new()),
            fetch_failures: int_counters(
                r,
                "shuffle_fetch_failures_total",
                "Fetches from other workers that broke off, and messages whose bytes were wrong.",
                &["reason"],
            ),
            checksum_failures: int_counters(
                r,
                "checksum_failures_total",
                "Blocks whose bytes were not those that were written.",
                &["kind"],
            ),
            http_requests: int_counters(
                r,
                "http_requests_total",
                "Requests that were answered.",
                &["route", "method", "code"],
            ),
            http_duration: histograms(
                r,
                "http_request_duration_seconds",
                "From a request's head to its answer's head.",
                SHORT_SECS,
                &["route"],
            ),
            rejected: int_counters(
                r,
                "rejected_total",
                "Requests that were refused before any work, by the code of the refusal.",
                &["reason"],
            ),
            looked_up: Mutex::new(LookedUp::new(r)),
            registry,
        }
    }

    /// Results are in place.
    pub(crate) fn published(&self, published: &[Published]) {
        let bytes = published.iter().map(|published| published.bytes).sum();
        self.bytes.with_label_values(&["written"]).inc_by(bytes);
    }

    /// A process has fetched so much more.
    pub(crate) fn fetched(&self, more: &Fetched) {
        self.fetch_seconds.add(more);
        self.bytes.with_label_values(&["shuffle_received"]).inc_by(more.bytes);
        self.fetch_failures.with_label_values(&["lost"]).inc_by(more.lost);
        self.fetch_failures.with_label_values(&["corrupt"]).inc_by(more.corrupt);
        self.checksum_failures.with_label_values(&["shuffle"]).inc_by(more.corrupt);
    }

    /// A request was answered. `route` is the route's own text, not the request's path.
    pub(crate) fn request(
        &self,
        route: Option<&str>,
        method: &Method,
        status: StatusCode,
        refusal: Option<String>,
        seconds: f64,
    ) {
        let route = route.unwrap_or("none");
        let method = match *method {
            Method::GET | Method::HEAD | Method::POST | Method::PUT | Method::DELETE => {
                method.as_str()
            }
            _ => "other",
        };
        self.http_requests.with_label_values(&[route, method, status.as_str()]).inc();
        self.http_duration.with_label_values(&[route]).observe(seconds);
        if let Some(code) = refusal {
            self.rejected.with_label_values(&[code.as_str()]).inc();
        }
    }

    /// Everything at this moment.
    fn gather(&self, now: Now, cluster: &dyn Fn() -> Standing) -> Vec<MetricFamily> {
        // A scrape that panicked has at worst left a gauge unset, which the next one sets.
        let mut looked_up = self.looked_up.lock().unwrap_or_else(PoisonError::into_inner);
        let standing = cluster();
        looked_up.set(now, &standing, &self.fenced);
        self.fetched(&standing.fetched.since(&looked_up.fetched));
        looked_up.fetched = standing.fetched;
        self.registry.gather()
    }

    /// Everything as Prometheus reads it.
    pub(crate) fn text(&self, now: Now, cluster: &dyn Fn() -> Standing) -> Vec<u8> {
        let mut text = Vec::new();
        // Families without samples are the only thing that the encoder refuses, and are left out.
        let families = self.gather(now, cluster);
        drop(TextEncoder::new().encode(&families, &mut text));
        text
    }

    /// Everything as JSON: the same numbers.
    pub(crate) fn document(&self, now: Now, cluster: &dyn Fn() -> Standing) -> wire::Metrics {
        wire::Metrics { metrics: self.gather(now, cluster).iter().map(family).collect() }
    }

    /// How busy the master's process is.
    pub(crate) fn usage(&self, now: Now) -> Usage {
        self.looked_up.lock().unwrap_or_else(PoisonError::into_inner).meter.measure(now)
    }
}

/// What gauges are set from: a look at the cluster.
#[derive(Clone, Debug, Default)]
pub(crate) struct Standing {
    /// Jobs by state.
    pub(crate) jobs: Vec<(JobStatus, u64)>,
    /// Jobs of which nothing has run.
    pub(crate) queued: u64,
    /// Tasks that workers run.
    pub(crate) tasks_running: u64,
    /// Slots of the workers that are up.
    pub(crate) slots: u64,
    /// Workers by state.
    pub(crate) workers: Vec<(wire::WorkerState, u64)>,
    /// For how long each worker that is up has not been heard.
    pub(crate) silent: Vec<(String, f64)>,
    /// Memory budgets of the workers that are up, and of the master.
    pub(crate) budget_bytes: u64,
    /// What of them is reserved.
    pub(crate) reserved_bytes: u64,
    /// What workers' stores hold on disk.
    pub(crate) disk_bytes: u64,
    /// Messages that the scheduler has dropped.
    pub(crate) fenced: u64,
    /// What the master has fetched, for results.
    pub(crate) fetched: Fetched,
    /// What the journal has written.
    pub(crate) journal_bytes: u64,
    /// How often it was synced.
    pub(crate) journal_syncs: u64,
    /// Readers of events.
    pub(crate) event_streams: u64,
}

impl LookedUp {
    fn new(r: &Registry) -> Self {
        Self {
            meter: Meter::new(),
            fenced_attempts: 0,
            fetched: Fetched::default(),
            jobs: int_gauges(r, "jobs", "Jobs that are remembered, by state.", &["state"]),
            queue_depth: int_gauge(r, "queue_depth", "Jobs of which no task has started."),
            tasks_running: int_gauge(r, "tasks_running", "Tasks that workers run or will run."),
            workers: int_gauges(r, "workers", "Workers, by state.", &["state"]),
            heartbeat_age: gauges(
                r,
                "heartbeat_age_seconds",
                "Since a worker that is up was heard.",
                &["worker"],
            ),
            memory_budget: int_gauge(
                r,
                "memory_budget_bytes",
                "Memory budgets of the master and of all workers that are up.",
            ),
            memory_reserved: int_gauge(
                r,
                "memory_reserved_bytes",
                "What of the memory budgets is reserved.",
            ),
            spill_bytes: int_gauge(
                r,
                "spill_bytes",
                "Outputs that workers hold on disk for want of memory.",
            ),
            resident: int_gauge(
                r,
                "process_resident_memory_bytes",
                "Resident memory of the master's process.",
            ),
            cpu: register(
                r,
                Counter::with_opts(opts(
                    "process_cpu_seconds_total",
                    "Processor time of the master's process.",
                )),
            ),
            slots: int_gauge(r, "slots", "How many tasks the workers that are up run at once."),
            journal_bytes: int_gauge(
                r,
                "journal_bytes",
                "Bytes of records that the journal has written in the master's life.",
            ),
            journal_syncs: int_counter(
                r,
                "journal_syncs_total",
                "How often the journal was synced to disk.",
            ),
            events_streams: int_gauge(r, "event_streams", "Clients that follow events."),
        }
    }

    fn set(&mut self, now: Now, standing: &Standing, fenced: &IntCounterVec) {
        for (status, count) in &standing.jobs {
            self.jobs.with_label_values(&[state(*status)]).set(signed(*count));
        }
        for (state, count) in &standing.workers {
            self.workers.with_label_values(&[state.to_string().as_str()]).set(signed(*count));
        }
        // A worker that is gone has no age any more.
        self.heartbeat_age.reset();
        for (worker, seconds) in &standing.silent {
            self.heartbeat_age.with_label_values(&[worker.as_str()]).set(*seconds);
        }
        for (gauge, value) in [
            (&self.queue_depth, standing.queued),
            (&self.tasks_running, standing.tasks_running),
            (&self.slots, standing.slots),
            (&self.memory_budget, standing.budget_bytes),
            (&self.memory_reserved, standing.reserved_bytes),
            (&self.spill_bytes, standing.disk_bytes),
            (&self.events_streams, standing.event_streams),
            (&self.journal_bytes, standing.journal_bytes),
        ] {
            gauge.set(signed(value));
        }
        self.journal_syncs.inc_by(standing.journal_syncs.saturating_sub(self.journal_syncs.get()));
        let fenced_since = standing.fenced.saturating_sub(self.fenced_attempts);
        fenced.with_label_values(&["attempt"]).inc_by(fenced_since);
        self.fenced_attempts = standing.fenced;
        let usage = self.meter.measure(now);
        self.resident.set(signed(usage.rss_bytes));
        self.cpu.inc_by((usage.cpu_seconds - self.cpu.get()).max(0.0));
    }
}

/// A job's state as a label.
pub(crate) fn state(status: JobStatus) -> &'static str {
    match status {
        JobStatus::Accepted => "ACCEPTED",
        JobStatus::Running => "RUNNING",
        JobStatus::Completed => "COMPLETED",
        JobStatus::Failed => "FAILED",
        JobStatus::Cancelled => "CANCELLED",
    }
}

/// What is asked of a cluster, under its lock.
pub(crate) fn standing(cluster: &Cluster, now: Now) -> Standing {
    let mut standing = cluster.standing();
    let workers = cluster.workers();
    let states = [
        wire::WorkerState::Up,
        wire::WorkerState::Excluded,
        wire::WorkerState::Draining,
        wire::WorkerState::Down,
    ];
    let count = |state| {
        let with_it = workers.iter().filter(|(view, ..)| wire::WorkerState::of(view) == state);
        (state, with_it.count() as u64)
    };
    standing.workers = states.map(count).to_vec();
    for (view, registered, load) in workers.iter().filter(|(view, ..)| view.is_up) {
        standing.tasks_running += view.running.len() as u64;
        standing.slots += u64::from(view.slots);
        let silent = now.saturating_sub(view.last_seen).as_secs_f64();
        standing.silent.push((view.worker.0.clone(), silent));
        standing.budget_bytes += registered.budget_bytes;
        standing.reserved_bytes += load.reserved_bytes;
        standing.disk_bytes += load.store_disk_bytes;
    }
    standing
}

fn family(family: &MetricFamily) -> wire::MetricFamily {
    let kind = match family.get_field_type() {
        MetricType::COUNTER => "counter",
        MetricType::GAUGE => "gauge",
        MetricType::HISTOGRAM => "histogram",
        MetricType::SUMMARY => "summary",
        MetricType::UNTYPED => "untyped",
    };
    let samples = family.get_metric().iter().map(|metric| {
        let labels = metric.get_label().iter();
        let labels: Ordered<String> =
            labels.map(|label| (label.name().to_owned(), label.value().to_owned())).collect();
        let mut sample = wire::MetricSample { labels, ..wire::MetricSample::default() };
        match family.get_field_type() {
            MetricType::HISTOGRAM => {
                let histogram = metric.get_histogram();
                sample.count = Some(histogram.get_sample_count());
                sample.sum = Some(histogram.get_sample_sum());
                let buckets = histogram.get_bucket().iter();
                sample.buckets = buckets
                    .map(|bucket| wire::MetricBucket {
                        le: bucket.upper_bound(),
                        count: bucket.cumulative_count(),
                    })
                    .collect();
            }
            MetricType::COUNTER => sample.value = Some(metric.get_counter().get_value()),
            MetricType::GAUGE => sample.value = Some(metric.get_gauge().get_value()),
            MetricType::SUMMARY | MetricType::UNTYPED => {}
        }
        sample
    });
    wire::MetricFamily {
        name: family.name().to_owned(),
        kind: kind.to_owned(),
        help: family.help().to_owned(),
        samples: samples.collect(),
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace("minispark")
}

/// A series as a part of the registry.
#[expect(clippy::expect_used, reason = "names and labels are constants, and a test makes them all")]
fn register<C: Collector + Clone + 'static>(registry: &Registry, made: prometheus::Result<C>) -> C {
    let collector = made.expect("a metric has a good name");
    registry.register(Box::new(collector.clone())).expect("a metric has a name of its own");
    collector
}

fn int_counter(r: &Registry, name: &str, help: &str) -> IntCounter {
    register(r, IntCounter::with_opts(opts(name, help)))
}

fn int_counters(r: &Registry, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    register(r, IntCounterVec::new(opts(name, help), labels))
}

fn int_gauge(r: &Registry, name: &str, help: &str) -> IntGauge {
    register(r, IntGauge::with_opts(opts(name, help)))
}

fn int_gauges(r: &Registry, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    register(r, IntGaugeVec::new(opts(name, help), labels))
}

fn gauges(r: &Registry, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
    register(r, GaugeVec::new(opts(name, help), labels))
}

fn histogram(r: &Registry, name: &str, help: &str) -> Histogram {
    let opts = HistogramOpts::from(opts(name, help)).buckets(LONG_SECS.to_vec());
    register(r, Histogram::with_opts(opts))
}

fn histograms(
    r: &Registry,
    name: &str,
    help: &str,
    buckets: &[f64],
    labels: &[&str],
) -> HistogramVec {
    let opts = HistogramOpts::from(opts(name, help)).buckets(buckets.to_vec());
    register(r, HistogramVec::new(opts, labels))
}
