//! The journal: what the master must still know after a crash, in order, on disk.
//!
//! ```text
//! <state_dir>/journal/<first seq>.log     segments of records
//! <state_dir>/snapshot/<last seq>.snap    all that the records up to there come to; two are kept
//! ```
//!
//! [`Journal::append`] only queues; a thread writes, and syncs when something *binding* is among
//! what it wrote. So the master goes on meanwhile, and what arrives together is synced together.
//! Nobody may see what follows from an entry before [`Journal::settled`] says that it is on disk.
//!
//! A record that a crash cut short at the very end is cut off and reported. Anything else that does
//! not fit stops the start, and nothing is deleted; [`repair`] sets a bad segment aside.

use std::{
    path::Path,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use minispark_engine::disk::Disk;
use tokio::sync::watch;

use crate::error::Error;

pub(crate) mod entry;
mod record;
mod files;
mod writer;
pub(crate) mod repair;

use entry::{Complete, Entry, Memory};
use files::Files;
use record::HEADER_BYTES;
use writer::Writer;

/// Each life begins a segment; a snapshot is due where so many lives have come without one.
const MANY_SEGMENTS: usize = 8;

/// The entries' way to disk.
#[derive(Debug)]
pub(crate) struct Journal {
    shared: Arc<Shared>,
    writer: Mutex<Option<thread::JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    progress: watch::Sender<Progress>,
}

/// What waits to be written.
#[derive(Debug, Default)]
struct Queue {
    bytes: Vec<u8>,
    last_seq: u64,
    binding_seq: u64,
    snapshot: Option<Snapshot>,
    is_closing: bool,
}

/// A state that is to be kept.
#[derive(Debug)]
struct Snapshot {
    seq: u64,
    bytes: Vec<u8>,
}

/// How far the writer has come.
#[derive(Clone, Debug, Default)]
struct Progress {
    written: u64,
    durable: u64,
    wants_snapshot: bool,
    is_full: bool,
    bytes: u64,
    syncs: u64,
    failure: Option<Arc<str>>,
}

/// What is on disk, for those who look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Figures {
    /// Bytes of records written in this life.
    pub(crate) bytes: u64,
    /// How often they were synced.
    pub(crate) syncs: u64,
}

/// Whether what was queued is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    /// It is.
    OnDisk,
    /// It will be once the disk has room.
    Full,
    /// It will never be: the journal can't be written any more, and the master stops.
    Broken,
}

impl Journal {
    /// Reads what earlier lives left below `folder` and begins a new segment behind it.
    ///
    /// # Errors
    /// [`Error::StateCorrupt`] with segment and offset; those of the disk.
    pub(crate) fn open(disk: &Arc<dyn Disk>, folder: &Path) -> Result<(Self, Memory), Error> {
        let files = Files::below(disk, folder)?;
        let (memory, last_seq) = files.replay()?;
        let wants_snapshot = files.segments()?.len() > MANY_SEGMENTS;
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue { last_seq, binding_seq: last_seq, ..Queue::default() }),
            wake: Condvar::new(),
            progress: watch::Sender::new(Progress {
                written: last_seq,
                durable: last_seq,
                wants_snapshot,
                ..Progress::default()
            }),
        });
        let segment = files.new_segment(last_seq + 1)?;
        let writer = Writer {
            shared: Arc::clone(&shared),
            files,
            segment: Some(segment),
            segment_bytes: HEADER_BYTES as u64,
            unsnapshotted: 0,
            last_snapshot_bytes: 0,
            written: last_seq,
        };
        let thread = thread::Builder::new()
            .name(String::from("journal"))
            .spawn(move || writer.run())
            .map_err(|source| Error::System { action: "start the journal's thread", source })?;
        Ok((Self { shared, writer: Mutex::new(Some(thread)) }, memory))
    }

    /// Queues entries, as they follow one another.
    pub(crate) fn append(&self, entries: &[Entry]) {
        if entries.is_empty() {
            return;
        }
        let mut queue = self.shared.lock();
        for entry in entries {
            let seq = queue.last_seq + 1;
            if frame(&mut queue.bytes, seq, entry) {
                queue.last_seq = seq;
                if entry.is_binding() {
                    queue.binding_seq = seq;
                }
            }
        }
        self.shared.wake.notify_one();
    }

    /// Waits until all that was queued before is in the file, and what is binding of it on disk.
    /// Does not wait for a full disk.
    pub(crate) async fn settled(&self) -> Settled {
        let (last, binding) = {
            let queue = self.shared.lock();
            (queue.last_seq, queue.binding_seq)
        };
        let mut progress = self.shared.progress.subscribe();
        let is_there = |at: &Progress| at.written >= last && at.durable >= binding;
        let is_known = |at: &Progress| is_there(at) || at.is_full || at.failure.is_some();
        match progress.wait_for(is_known).await {
            Ok(at) if is_there(&at) => Settled::OnDisk,
            Ok(at) if at.failure.is_none() => Settled::Full,
            Ok(_) | Err(_) => Settled::Broken,
        }
    }

    /// Waits until all that was queued before is on disk, also for a full disk; `false` where that
    /// will never be.
    pub(crate) async fn settled_at_last(&self) -> bool {
        loop {
            match self.settled().await {
                Settled::OnDisk => return true,
                Settled::Broken => return false,
                Settled::Full => {
                    let mut progress = self.shared.progress.subscribe();
                    if progress.wait_for(|at| !at.is_full).await.is_err() {
                        return false;
                    }
                }
            }
        }
    }

    /// Waits until the journal can't be written any more.
    pub(crate) async fn broken(&self) -> Arc<str> {
        let mut progress = self.shared.progress.subscribe();
        let failure = match progress.wait_for(|at| at.failure.is_some()).await {
            Ok(at) => at.failure.clone(),
            Err(_) => None,
        };
        failure.unwrap_or_else(|| Arc::from("the journal is closed"))
    }

    /// Whether all that is binding is on disk.
    pub(crate) fn is_settled(&self) -> bool {
        let binding = self.shared.lock().binding_seq;
        self.shared.progress.borrow().durable >= binding
    }

    /// Whether the disk has no room; what needs more of it is refused until it has.
    pub(crate) fn is_full(&self) -> bool {
        self.shared.progress.borrow().is_full
    }

    /// What was written in this life.
    pub(crate) fn figures(&self) -> Figures {
        let progress = self.shared.progress.borrow();
        Figures { bytes: progress.bytes, syncs: progress.syncs }
    }

    /// Whether enough has been written for a new snapshot.
    pub(crate) fn wants_snapshot(&self) -> bool {
        self.shared.progress.borrow().wants_snapshot
    }

    /// Keeps a state that all entries queued so far come to.
    pub(crate) fn snapshot(&self, entries: impl Iterator<Item = Entry>) {
        let mut bytes = record::header().to_vec();
        let mut count = 0;
        for entry in entries {
            count += 1;
            if !frame(&mut bytes, count, &entry) {
                return;
            }
        }
        frame(&mut bytes, count + 1, &Entry::Complete(Complete { entries: count }));
        self.shared.progress.send_modify(|progress| progress.wants_snapshot = false);
        let mut queue = self.shared.lock();
        queue.snapshot = Some(Snapshot { seq: queue.last_seq, bytes });
        self.shared.wake.notify_one();
    }

    /// Writes and syncs what is queued, and ends.
    pub(crate) fn close(&self) {
        self.shared.lock().is_closing = true;
        self.shared.wake.notify_one();
        let thread = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the journal's thread panicked");
        }
    }
}

/// Appends an entry's record; `false` where it can't be one.
fn frame(bytes: &mut Vec<u8>, seq: u64, entry: &Entry) -> bool {
    match entry.payload() {
        Ok(payload) if record::append(bytes, seq, entry.kind(), &payload) => true,
        Ok(payload) => {
            tracing::error!(bytes = payload.len(), kind = entry.kind(), "an entry is too large");
            false
        }
        Err(error) => {
            tracing::error!(%error, kind = entry.kind(), "an entry can't be written");
            false
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
