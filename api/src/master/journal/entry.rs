//! What the master remembers: a job as it is kept, and the entries that change it.

use std::{collections::BTreeMap, sync::Arc};

use chrono::{DateTime, Local};
use minispark_engine::{
    id::{JobId, Term},
    plan::{Plan, Stage},
    schedule::{Fact, JobStatus, ledger::Ledger},
    sink::commit::Published,
};
use serde::{Deserialize, Serialize};

use crate::rest::wire::Finding;

/// A job as it is kept over the lives of the master.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Saved {
    /// Which.
    pub(crate) job: JobId,
    /// Its place among all jobs, by submission.
    pub(crate) number: u64,
    /// When it was submitted, for display.
    pub(crate) submitted_at: DateTime<Local>,
    /// The build that made the plan; another one makes it anew while the job runs.
    pub(crate) engine: String,
    /// The document; not needed once the job has ended.
    pub(crate) document: Option<String>,
    /// Its plan; without splits once the job has ended.
    pub(crate) plan: Arc<Plan>,
    /// What was strange in the document.
    #[serde(default)]
    pub(crate) warnings: Vec<Finding>,
    /// Whose it is, where tokens are used.
    #[serde(default)]
    pub(crate) owner: Option<String>,
    /// By which its submission is known again.
    #[serde(default)]
    pub(crate) key: Option<Key>,
    /// What happened to it.
    pub(crate) ledger: Ledger,
    /// The results that are in place.
    #[serde(default)]
    pub(crate) published: Vec<Published>,
    /// How far it was told to be, in whole percents.
    #[serde(default)]
    pub(crate) percent: u8,
}

/// What a client names a submission by, so that it may repeat it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Key {
    /// Whose it is; keys of one do not meet those of another.
    pub(crate) owner: Option<String>,
    /// The key, as the client sent it.
    #[serde(rename = "key")]
    pub(crate) text: String,
    /// SHA-256 of the canonical document, in hexadecimal digits.
    pub(crate) body: String,
}

impl Key {
    /// What tells it from others.
    pub(crate) fn name(&self) -> (Option<String>, String) {
        (self.owner.clone(), self.text.clone())
    }
}

/// The key of a job that is forgotten.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct KeptKey {
    /// The key.
    pub(crate) key: Key,
    /// The job that it stands for.
    pub(crate) job: JobId,
}

/// How far a job is.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Percent {
    /// Which.
    pub(crate) job: JobId,
    /// 0 to 99.
    pub(crate) percent: u8,
}

/// A change of what is remembered.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    /// A master began its life.
    Started(Started),
    /// A job was accepted, or is kept as it is (in a snapshot).
    Job(Box<Saved>),
    /// Things happened to jobs.
    Facts(Vec<Fact>),
    /// Results of a job are in place.
    Published(Results),
    /// The typed copies of a job's results are gone.
    Expired(Of),
    /// A final job is forgotten.
    Forgotten(Of),
    /// The key of a forgotten job is kept (in a snapshot).
    Key(KeptKey),
    /// A job has come so far.
    Percent(Percent),
    /// Ends a snapshot.
    Complete(Complete),
    /// Stands for what was corrupt and has been set aside.
    Lost,
}

/// A master began its life.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Started {
    /// Its term.
    pub(crate) term: Term,
    /// Its build.
    pub(crate) version: String,
    /// When, for display.
    pub(crate) at: DateTime<Local>,
}

/// Results of a job.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Results {
    /// Whose.
    pub(crate) job: JobId,
    /// Which.
    pub(crate) published: Vec<Published>,
}

/// A job that something concerns.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Of {
    /// Which.
    pub(crate) job: JobId,
}

/// The end of a snapshot.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Complete {
    /// How many entries stand before it.
    pub(crate) entries: u64,
}

impl Entry {
    /// Its kind in a record; never given to another.
    pub(super) fn kind(&self) -> u8 {
        match self {
            Self::Started(_) => 1,
            Self::Job(_) => 2,
            Self::Facts(_) => 3,
            Self::Published(_) => 4,
            Self::Expired(_) => 5,
            Self::Forgotten(_) => 6,
            Self::Complete(_) => 7,
            Self::Lost => 8,
            Self::Key(_) => 9,
            Self::Percent(_) => 10,
        }
    }

    /// Its payload.
    pub(super) fn payload(&self) -> serde_json::Result<Vec<u8>> {
        match self {
            Self::Started(started) => serde_json::to_vec(started),
            Self::Job(saved) => serde_json::to_vec(saved),
            Self::Facts(facts) => serde_json::to_vec(facts),
            Self::Published(results) => serde_json::to_vec(results),
            Self::Expired(of) | Self::Forgotten(of) => serde_json::to_vec(of),
            Self::Complete(complete) => serde_json::to_vec(complete),
            Self::Key(kept) => serde_json::to_vec(kept),
            Self::Percent(percent) => serde_json::to_vec(percent),
            Self::Lost => Ok(b"{}".to_vec()),
        }
    }

    /// The entry of a record.
    pub(super) fn of(kind: u8, payload: &[u8]) -> Result<Self, String> {
        fn read<'a, T: Deserialize<'a>>(payload: &'a [u8]) -> Result<T, String> {
            serde_json::from_slice(payload).map_err(|error| error.to_string())
        }
        Ok(match kind {
            1 => Self::Started(read(payload)?),
            2 => Self::Job(read(payload)?),
            3 => Self::Facts(read(payload)?),
            4 => Self::Published(read(payload)?),
            5 => Self::Expired(read(payload)?),
            6 => Self::Forgotten(read(payload)?),
            7 => Self::Complete(read(payload)?),
            8 => Self::Lost,
            9 => Self::Key(read(payload)?),
            10 => Self::Percent(read(payload)?),
            other => return Err(format!("there is no kind {other}")),
        })
    }

    /// Whether it must be on disk before anybody may see what follows from it.
    pub(super) fn is_binding(&self) -> bool {
        match self {
            Self::Facts(facts) => facts.iter().any(Fact::is_binding),
            Self::Published(_) | Self::Expired(_) | Self::Started(_) | Self::Percent(_) => false,
            Self::Job(_) | Self::Key(_) | Self::Forgotten(_) | Self::Complete(_) | Self::Lost => {
                true
            }
        }
    }
}

/// What all entries so far come to.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// The jobs by submission.
    pub(crate) jobs: BTreeMap<JobId, Saved>,
    /// Jobs that ended since the last snapshot: what they staged may not have been swept.
    pub(crate) just_ended: Vec<JobId>,
    /// Jobs that were forgotten since then: files of theirs may not have been removed.
    pub(crate) forgotten: Vec<JobId>,
    /// Keys of jobs that are forgotten, the oldest first.
    pub(crate) keys: Vec<KeptKey>,
}

impl Memory {
    /// Takes in the next entry; what concerns a job that is not known has no effect.
    pub(super) fn apply(&mut self, entry: Entry) {
        match entry {
            Entry::Job(saved) => {
                self.jobs.insert(saved.job, *saved);
            }
            Entry::Facts(facts) => {
                for fact in facts {
                    let job = fact.job();
                    let Some(saved) = self.jobs.get_mut(&job) else { continue };
                    saved.ledger.apply(&fact);
                    if saved.ledger.end.is_some() {
                        saved.shed();
                        self.just_ended.push(job);
                    }
                }
            }
            Entry::Published(Results { job, published }) => {
                if let Some(saved) = self.jobs.get_mut(&job) {
                    saved.published.extend(published);
                }
            }
            Entry::Expired(Of { job }) => {
                if let Some(saved) = self.jobs.get_mut(&job) {
                    expire(&mut saved.published);
                }
            }
            Entry::Forgotten(Of { job }) => {
                self.forgotten.push(job);
                let key = self.jobs.remove(&job).and_then(|saved| saved.key);
                self.keys.extend(key.map(|key| KeptKey { key, job }));
            }
            Entry::Key(kept) => self.keys.push(kept),
            Entry::Percent(Percent { job, percent }) => {
                if let Some(saved) = self.jobs.get_mut(&job) {
                    saved.percent = saved.percent.max(percent);
                }
            }
            Entry::Started(_) | Entry::Complete(_) | Entry::Lost => {}
        }
    }
}

impl Saved {
    /// Its state.
    pub(crate) fn status(&self) -> JobStatus {
        self.ledger.status()
    }

    /// Lets go of what only a running job needs.
    pub(crate) fn shed(&mut self) {
        self.document = None;
        let without_splits = |stage: &Stage| Stage { splits: Vec::new(), ..stage.clone() };
        let stages = self.plan.stages.iter().map(without_splits).collect();
        let plan = Plan {
            name: self.plan.name.clone(),
            parallelism: self.plan.parallelism,
            limits: self.plan.limits,
            nodes: self.plan.nodes.clone(),
            stages,
            rules: self.plan.rules.clone(),
        };
        self.plan = Arc::new(plan);
    }
}

/// The typed copies of these results are gone.
pub(crate) fn expire(published: &mut [Published]) {
    for result in published {
        result.typed = None;
        result.typed_bytes = 0;
    }
}
