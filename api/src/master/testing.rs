//! A master without sockets, for tests: a clock that is set by hand, and a job of one task.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use arrow::datatypes::{DataType, Field, Schema};
use chrono::{DateTime, Local};
use minispark_engine::{
    disk::{DataDisks, RealDisk},
    formats::{Format, intake::Intake},
    id::{Epoch, JobId, StageId, TaskAttempt, Term, WorkerId},
    job::check::Site,
    memory::Budget,
    plan::{
        InputFile, Node, NodeIndex, Op, Order, Output, Plan, Read, Scan, Sink, Stage, Step,
        StepKind, Target,
    },
    runtime::Clock,
    schedule::{Now, Scheduler, Settings},
    sink::commit::Publisher,
    source::split::Split,
    task::TaskReport,
};
use minispark_flight::{RemoteExchange, SharedKey};
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Master, Retention,
    cluster::{Cluster, NewJob, Submission},
    commit::{COMMITS_AT_ONCE, Sharing},
    journal::Journal,
};
use crate::{
    auth::Door,
    protocol::{HASH_VERSION, Load, Outcome, PROTOCOL, Poll, Register, Report, RunningAttempt},
};

/// The term of test masters.
pub(crate) const TERM: Term = Term(7);

/// The epoch of test workers.
pub(crate) const EPOCH: Epoch = Epoch(100);

/// A clock that stands until it is set.
#[derive(Debug, Default)]
pub(crate) struct HandClock(Mutex<Duration>);

impl HandClock {
    pub(crate) fn set(&self, now: Duration) {
        *self.0.lock().unwrap() = now;
    }
}

impl Clock for HandClock {
    fn now(&self) -> Now {
        *self.0.lock().unwrap()
    }

    fn wall(&self) -> DateTime<Local> {
        DateTime::UNIX_EPOCH.into()
    }
}

/// A master whose polls are held for `heartbeat`.
pub(crate) fn master(folder: &Path, heartbeat: Duration) -> (Arc<Master>, Arc<HandClock>) {
    master_with(folder, heartbeat, None)
}

/// The same, with a token file.
pub(crate) fn master_with(
    folder: &Path,
    heartbeat: Duration,
    token_file: Option<PathBuf>,
) -> (Arc<Master>, Arc<HandClock>) {
    let clock = Arc::new(HandClock::default());
    let key = SharedKey::new([1; 32]);
    let settings = Settings {
        term: TERM,
        lost_after: Duration::from_secs(5),
        no_worker_wait: Duration::from_mins(1),
        attempts: 4,
    };
    let (journal, memory) = Journal::open(&RealDisk::shared(), &folder.join("state")).unwrap();
    let journal = Arc::new(journal);
    let mut cluster = Cluster::new(
        TERM,
        Scheduler::new(settings.clone()),
        Arc::clone(&journal),
        Sharing::new(folder, &[0; 32]),
    );
    cluster.restore(Duration::ZERO, clock.wall(), memory);
    let master = Master {
        cluster: Mutex::new(cluster),
        journal,
        retention: Retention::default(),
        clock: Arc::clone(&clock) as Arc<dyn Clock>,
        publisher: Publisher {
            disk: RealDisk::shared(),
            output_dir: folder.to_owned(),
            budget: Budget::new(1 << 20),
        },
        exchange: Arc::new(RemoteExchange::new(None, key, tokio::runtime::Handle::current())),
        site: Site {
            data: DataDisks::everywhere(),
            base_dir: Some(folder.to_owned()),
            now_micros: 0,
        },
        settings,
        heartbeat,
        ticket_key: "01".repeat(32),
        commits: Semaphore::new(COMMITS_AT_ONCE),
        checks: Semaphore::new(1),
        stop: CancellationToken::new(),
        work: TaskTracker::new(),
        superseded_by: Mutex::default(),
        door: Door::new(token_file).unwrap(),
    };
    (Arc::new(master), clock)
}

/// A job of one task that reads one line and is its own sink, `read`.
pub(crate) fn one_task(name: &str) -> Plan {
    let schema = Arc::new(Schema::new(vec![Field::new("line", DataType::Utf8View, true)]));
    let file = InputFile { path: "lines.txt".into(), size_bytes: 2, version: None };
    let root = Step {
        node: NodeIndex(0),
        schema: Arc::clone(&schema),
        kind: StepKind::Source { format: Format::Text(Intake::default()), scan: Scan::default() },
    };
    let sink = Sink {
        node: NodeIndex(0),
        id: String::from("read"),
        schema: Arc::clone(&schema),
        target: Target::Text,
        ordered: true,
    };
    let stage = Stage {
        id: StageId(0),
        steps: vec![root],
        output: Output::Sink(sink),
        partitions: 1,
        splits: vec![Split { file: file.clone(), start: 0, end: 2, aligned: true }],
        inputs: Vec::new(),
    };
    let read = Read::of(Format::Text(Intake::default()), vec![file], None);
    let node = Node {
        id: String::from("read"),
        op: Op::Read(read),
        inputs: Vec::new(),
        schema,
        order: Order::Source,
    };
    Plan {
        name: String::from(name),
        parallelism: None,
        limits: minispark_engine::task::limits::Limits::default(),
        nodes: vec![node],
        stages: vec![stage],
        rules: Vec::new(),
    }
}

/// Takes the job of one task.
pub(crate) fn submit(master: &Arc<Master>, name: &str) -> JobId {
    submit_of(master, name, None)
}

/// Takes the job of one task for an owner.
pub(crate) fn submit_of(master: &Arc<Master>, name: &str, owner: Option<&str>) -> JobId {
    let new = NewJob {
        job: JobId::random(),
        submitted_at: master.clock.wall(),
        document: String::from("{}"),
        plan: one_task(name),
        warnings: Vec::new(),
        owner: owner.map(String::from),
        key: None,
    };
    let job = new.job;
    let Submission::Taken(effects) = master.lock().submit(master.clock.now(), new) else {
        panic!("the job was not taken");
    };
    master.act(effects);
    job
}

/// What a test worker registers with.
pub(crate) fn register(worker: &str) -> Register {
    Register {
        protocol: PROTOCOL,
        version: String::from(crate::VERSION),
        hash_version: HASH_VERSION,
        worker: WorkerId(String::from(worker)),
        epoch: EPOCH,
        address: String::from("127.0.0.1:9001"),
        slots: 1,
        budget_bytes: 1 << 20,
        writes: false,
        held: Vec::new(),
    }
}

/// A poll of a test worker that runs these attempts.
pub(crate) fn poll(worker: &str, seq: u64, running: &[TaskAttempt]) -> Poll {
    Poll {
        protocol: PROTOCOL,
        worker: WorkerId(String::from(worker)),
        epoch: EPOCH,
        term_seen: TERM,
        seq,
        running: running
            .iter()
            .map(|attempt| RunningAttempt { attempt: *attempt, rows: 0, bytes: 0 })
            .collect(),
        held_jobs: Vec::new(),
        reports: Vec::new(),
        load: Load::default(),
        draining: false,
    }
}

/// A report of success.
pub(crate) fn done(attempt: TaskAttempt) -> Report {
    Report { attempt, outcome: Outcome::Done(TaskReport::default()) }
}
