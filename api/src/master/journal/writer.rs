//! The journal's thread: writes what is queued, and syncs when something binding is among it.

use std::{
    io::{self, Write},
    sync::{Arc, PoisonError},
    time::Duration,
};

use minispark_engine::Error as EngineError;

use super::{
    Shared, Snapshot,
    files::{Files, Segment},
    record::HEADER_BYTES,
};

/// A segment gets no more records once it has so many bytes.
const SEGMENT_BYTES: u64 = 64 << 20;

/// A snapshot is due after so many bytes of records, or as many as the last one had.
const SNAPSHOT_BYTES: u64 = 16 << 20;

/// How often a full disk is tried again.
const FULL_PAUSE: Duration = Duration::from_millis(200);

/// The thread that writes.
pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) files: Files,
    /// `None` after a failed write: the next one begins a new segment.
    pub(super) segment: Option<Segment>,
    pub(super) segment_bytes: u64,
    pub(super) unsnapshotted: u64,
    pub(super) last_snapshot_bytes: u64,
    pub(super) written: u64,
}

/// What the thread is to do next.
struct Round {
    bytes: Vec<u8>,
    last_seq: u64,
    binding_seq: u64,
    snapshot: Option<Snapshot>,
    is_closing: bool,
}

impl Writer {
    pub(super) fn run(mut self) {
        loop {
            let round = self.next_round();
            let is_last = round.is_closing;
            if let Err(error) = self.write(round) {
                let failure: Arc<str> = Arc::from(error.chain());
                tracing::error!(
                    error = &*failure,
                    "the journal can't be written; the master stops"
                );
                self.shared.progress.send_modify(|progress| progress.failure = Some(failure));
                return;
            }
            if is_last {
                return;
            }
        }
    }

    fn next_round(&self) -> Round {
        let mut queue = self.shared.lock();
        while queue.bytes.is_empty() && queue.snapshot.is_none() && !queue.is_closing {
            queue = self.shared.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        Round {
            bytes: std::mem::take(&mut queue.bytes),
            last_seq: queue.last_seq,
            binding_seq: queue.binding_seq,
            snapshot: queue.snapshot.take(),
            is_closing: queue.is_closing,
        }
    }

    fn write(&mut self, round: Round) -> Result<(), EngineError> {
        if !round.bytes.is_empty() {
            self.append(&round.bytes, round.is_closing)?;
            self.written = round.last_seq;
        }
        let durable = self.shared.progress.borrow().durable;
        let must_sync = round.binding_seq > durable || (round.is_closing && self.written > durable);
        self.shared.progress.send_modify(|progress| {
            progress.written = self.written;
            progress.bytes += round.bytes.len() as u64;
        });
        if must_sync {
            self.sync()?;
            self.shared.progress.send_modify(|progress| {
                progress.durable = self.written;
                progress.syncs += 1;
            });
        }
        if let Some(snapshot) = round.snapshot {
            self.last_snapshot_bytes = snapshot.bytes.len() as u64;
            self.unsnapshotted = 0;
            if let Err(error) = self.files.keep(&snapshot) {
                // The records are all there; the next snapshot may fare better.
                tracing::warn!(error = error.chain(), "a snapshot could not be kept");
            }
        }
        let due = self.unsnapshotted >= SNAPSHOT_BYTES.max(self.last_snapshot_bytes);
        let is_asked_for = self.shared.progress.borrow().wants_snapshot;
        if due && !is_asked_for {
            self.shared.progress.send_modify(|progress| progress.wants_snapshot = true);
        }
        Ok(())
    }

    /// Writes records, however long the disk has no room for them.
    fn append(&mut self, bytes: &[u8], mut is_closing: bool) -> Result<(), EngineError> {
        let first_seq = self.written + 1;
        loop {
            let outcome = self.try_append(bytes, first_seq);
            let is_full = matches!(&outcome, Err(EngineError::Io { source, .. })
                if source.kind() == io::ErrorKind::StorageFull
                    || source.kind() == io::ErrorKind::QuotaExceeded);
            let was_full = self.shared.progress.borrow().is_full;
            if is_full != was_full {
                if is_full {
                    tracing::error!(
                        "the disk of the journal is full; no jobs are taken until it has room"
                    );
                } else {
                    tracing::info!("the disk of the journal has room again");
                }
                self.shared.progress.send_modify(|progress| progress.is_full = is_full);
            }
            if !is_full || is_closing {
                return outcome;
            }
            let queue = self.shared.lock();
            let waited = self.shared.wake.wait_timeout(queue, FULL_PAUSE);
            is_closing = waited.unwrap_or_else(PoisonError::into_inner).0.is_closing;
        }
    }

    fn try_append(&mut self, bytes: &[u8], first_seq: u64) -> Result<(), EngineError> {
        if self.segment_bytes >= SEGMENT_BYTES {
            self.sync()?;
            self.segment = None;
        }
        let segment = if let Some(segment) = &mut self.segment {
            segment
        } else {
            self.segment_bytes = HEADER_BYTES as u64;
            self.segment.insert(self.files.new_segment(first_seq)?)
        };
        let written = segment.file.write_all(bytes).and_then(|()| segment.file.flush());
        if let Err(source) = written {
            let failed = EngineError::io("write", &segment.path)(source);
            // What was written of it must not stand before what is written next.
            let cut = self.files.disk.truncate(&segment.path, self.segment_bytes);
            cut.map_err(EngineError::io("cut", &segment.path))?;
            self.segment = None;
            return Err(failed);
        }
        self.segment_bytes += bytes.len() as u64;
        self.unsnapshotted += bytes.len() as u64;
        Ok(())
    }

    fn sync(&mut self) -> Result<(), EngineError> {
        let Some(segment) = &mut self.segment else { return Ok(()) };
        segment.file.sync().map_err(EngineError::io("sync", &segment.path))
    }
}
