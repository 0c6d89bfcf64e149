//! The feed of events: what has changed, in order, for whoever follows along.
//!
//! One bounded ring for all readers. A reader asks for what stands behind its place and is woken
//! when there is more; nobody waits for it, and one whose place has been overwritten has lost the
//! thread and begins anew.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use minispark_engine::id::{JobId, Term};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// How many events are kept; at about 300 bytes each this is a megabyte.
pub(crate) const KEPT: usize = 4_096;

/// How many clients may follow at once.
pub(crate) const READERS: usize = 64;

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Job,
    Stage,
    Task,
    Worker,
    Progress,
    Warning,
    End,
}

impl Kind {
    /// As it stands in a stream.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Job => "job",
            Self::Stage => "stage",
            Self::Task => "task",
            Self::Worker => "worker",
            Self::Progress => "progress",
            Self::Warning => "warning",
            Self::End => "end",
        }
    }
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Its place in the feed.
    pub(crate) seq: u64,
    /// What it is about.
    pub(crate) kind: Kind,
    /// The job that it is about.
    pub(crate) job: Option<JobId>,
    /// A JSON object in one line.
    pub(crate) data: String,
}

/// The events of one master's life.
#[derive(Debug)]
pub(crate) struct Feed {
    term: Term,
    ring: Mutex<Ring>,
    last: watch::Sender<u64>,
    places: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Ring {
    last: u64,
    entries: VecDeque<Arc<Entry>>,
}

/// The reader's place has been overwritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Behind;

impl Feed {
    /// One without events.
    pub(crate) fn new(term: Term) -> Self {
        Self {
            term,
            ring: Mutex::default(),
            last: watch::Sender::new(0),
            places: Arc::new(Semaphore::new(READERS)),
        }
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        // A push is done or not done; there is nothing that a panic could leave half.
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an event.
    pub(crate) fn push(&self, kind: Kind, job: Option<JobId>, data: String) {
        let last = {
            let mut ring = self.ring();
            ring.last += 1;
            let seq = ring.last;
            if ring.entries.len() == KEPT {
                ring.entries.pop_front();
            }
            ring.entries.push_back(Arc::new(Entry { seq, kind, job, data }));
            seq
        };
        self.last.send_replace(last);
    }

    /// The place of the newest event.
    pub(crate) fn last(&self) -> u64 {
        self.ring().last
    }

    /// Changes with every event.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.last.subscribe()
    }

    /// A place among those who may follow, if there is one.
    pub(crate) fn enter(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places).try_acquire_owned().ok()
    }

    /// How many follow.
    pub(crate) fn readers(&self) -> usize {
        READERS - self.places.available_permits()
    }

    /// At most `limit` events behind place `seq`, of one job where one is given, and the place up
    /// to which was looked.
    pub(crate) fn after(
        &self,
        seq: u64,
        job: Option<JobId>,
        limit: usize,
    ) -> Result<(Vec<Arc<Entry>>, u64), Behind> {
        let ring = self.ring();
        let oldest = ring.entries.front().map_or(ring.last + 1, |entry| entry.seq);
        if seq + 1 < oldest || seq > ring.last {
            return Err(Behind);
        }
        let skip = usize::try_from(seq + 1 - oldest).unwrap_or(usize::MAX);
        let mut found = Vec::new();
        let mut reached = seq;
        for entry in ring.entries.iter().skip(skip) {
            if found.len() == limit {
                break;
            }
            reached = entry.seq;
            if job.is_none() || entry.job == job {
                found.push(Arc::clone(entry));
            }
        }
        Ok((found, reached))
    }

    /// An event's id in a stream: `<term>-<seq>`.
    pub(crate) fn id(&self, seq: u64) -> String {
        format!("{}-{seq}", self.term)
    }

    /// The place that an id names, if it is one of this master's life.
    pub(crate) fn place(&self, id: &str) -> Option<u64> {
        let (term, seq) = id.split_once('-')?;
        (term.parse() == Ok(self.term.0)).then(|| seq.parse().ok())?
    }
}

#[cfg(test)]
mod tests {
    use minispark_engine::id::{JobId, Term};

    use super::{Behind, Feed, KEPT, Kind, READERS};

    fn feed(events: usize) -> Feed {
        let feed = Feed::new(Term(7));
        for number in 1..=events {
            feed.push(Kind::Job, None, number.to_string());
        }
        feed
    }

    fn data(feed: &Feed, seq: u64, job: Option<JobId>) -> Vec<String> {
        let (entries, _) = feed.after(seq, job, 100).unwrap();
        entries.iter().map(|entry| entry.data.clone()).collect()
    }

    #[test]
    fn a_reader_goes_on_behind_its_place() {
        let feed = feed(3);
        assert_eq!(data(&feed, 0, None), ["1", "2", "3"]);
        assert_eq!(data(&feed, 2, None), ["3"]);
        assert_eq!(data(&feed, 3, None), [""; 0]);
        assert_eq!(feed.after(4, None, 1), Err(Behind), "nothing has been there yet");
        let (_, reached) = feed.after(0, None, 2).unwrap();
        assert_eq!(reached, 2);
    }

    #[test]
    fn events_of_other_jobs_are_passed_over() {
        let (feed, mine, other) = (feed(1), JobId::random(), JobId::random());
        feed.push(Kind::Task, Some(other), String::from("other"));
        feed.push(Kind::End, Some(mine), String::from("mine"));
        assert_eq!(data(&feed, 0, Some(mine)), ["mine"]);
        assert_eq!(feed.after(0, Some(other), 100).unwrap().1, 3);
    }

    #[test]
    fn the_ring_is_bounded_and_who_falls_behind_is_told() {
        let feed = feed(KEPT + 2);
        assert_eq!(feed.after(1, None, 1), Err(Behind));
        assert_eq!(feed.after(2, None, 1).unwrap().1, 3);
    }

    #[test]
    fn an_id_is_good_within_its_term() {
        let feed = feed(3);
        assert_eq!(feed.id(feed.last()), "7-3");
        assert_eq!(feed.place("7-3"), Some(3));
        for id in ["6-3", "7", "7-", "x-3", "7-x", ""] {
            assert_eq!(feed.place(id), None, "{id}");
        }
    }

    #[test]
    fn so_many_may_follow_and_no_more() {
        let feed = feed(0);
        let mut places: Vec<_> = (0..READERS).map(|_| feed.enter().unwrap()).collect();
        assert!(feed.enter().is_none());
        assert_eq!(feed.readers(), READERS);
        places.pop();
        assert!(feed.enter().is_some());
    }
}
