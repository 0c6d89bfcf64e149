//! The journal's files: read at a start, made, and let go of when they are not needed any more.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use minispark_engine::{
    Error as EngineError,
    disk::{Disk, WriteFile},
};

use super::{
    Snapshot,
    entry::{Complete, Entry, Memory},
    record::{self, Found, HEADER_BYTES},
};
use crate::error::Error;

/// The files of a journal.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) segment_dir: PathBuf,
    pub(super) snapshot_dir: PathBuf,
}

/// A segment that is written.
pub(super) struct Segment {
    pub(super) path: PathBuf,
    pub(super) file: Box<dyn WriteFile>,
}

/// A file that is named after a sequence number.
#[derive(Clone, Debug)]
pub(super) struct Numbered {
    pub(super) seq: u64,
    pub(super) path: PathBuf,
}

impl Files {
    pub(super) fn below(disk: &Arc<dyn Disk>, folder: &Path) -> Result<Self, Error> {
        let (segment_dir, snapshot_dir) = (folder.join("journal"), folder.join("snapshot"));
        for path in [&segment_dir, &snapshot_dir] {
            disk.create_dir_all(path).map_err(EngineError::io("create", path))?;
        }
        Ok(Self { disk: Arc::clone(disk), segment_dir, snapshot_dir })
    }

    /// The segments, by their first records.
    pub(super) fn segments(&self) -> Result<Vec<Numbered>, Error> {
        self.numbered(&self.segment_dir, "log")
    }

    /// Files of a folder with this ending, by their numbers.
    fn numbered(&self, folder: &Path, ending: &str) -> Result<Vec<Numbered>, Error> {
        let paths = self.disk.list(folder).map_err(EngineError::io("list", folder))?;
        let mut found: Vec<Numbered> = paths
            .into_iter()
            .filter(|path| path.extension().is_some_and(|found| found == ending))
            .filter_map(|path| {
                let seq = path.file_stem()?.to_str()?.parse().ok()?;
                Some(Numbered { seq, path })
            })
            .collect();
        found.sort_by_key(|file| file.seq);
        Ok(found)
    }

    pub(super) fn read(&self, path: &Path) -> Result<Vec<u8>, Error> {
        let read = || -> io::Result<Vec<u8>> {
            let file = self.disk.open(path)?;
            let size = usize::try_from(file.size()?).map_err(io::Error::other)?;
            let mut bytes = vec![0; size];
            file.read_exact_at(&mut bytes, 0)?;
            Ok(bytes)
        };
        Ok(read().map_err(EngineError::io("read", path))?)
    }

    /// All that was written, and the number of the last record.
    pub(super) fn replay(&self) -> Result<(Memory, u64), Error> {
        let (mut memory, mut last_seq) = self.newest_snapshot()?;
        let segments = self.segments()?;
        for (index, segment) in segments.iter().enumerate() {
            let next = segments.get(index + 1);
            if next.is_some_and(|next| next.seq <= last_seq + 1) {
                // All of it is in the snapshot.
                continue;
            }
            self.replay_segment(segment, next.is_none(), &mut memory, &mut last_seq)?;
        }
        Ok((memory, last_seq))
    }

    fn replay_segment(
        &self,
        segment: &Numbered,
        is_last: bool,
        memory: &mut Memory,
        last_seq: &mut u64,
    ) -> Result<(), Error> {
        let path = &segment.path;
        let bytes = self.read(path)?;
        if bytes.len() < HEADER_BYTES && is_last {
            // Begun by a life that ended before it wrote anything.
            tracing::warn!(segment = %path.display(), "an empty segment is removed");
            self.disk.remove_file(path).map_err(EngineError::io("remove", path))?;
            return Ok(());
        }
        check_version(path, &bytes)?;
        let mut at = HEADER_BYTES;
        loop {
            match record::find(&bytes, at) {
                Found::Record(record) => {
                    at = record.place.end;
                    if record.seq <= *last_seq {
                        continue;
                    }
                    if record.seq != *last_seq + 1 {
                        let missing = *last_seq + 1;
                        return Err(corrupt(
                            path,
                            record.place.start,
                            &format!("record {} follows where record {missing} should", record.seq),
                        ));
                    }
                    let entry = Entry::of(record.kind, record.payload)
                        .map_err(|reason| corrupt(path, record.place.start, &reason))?;
                    memory.apply(entry);
                    *last_seq = record.seq;
                }
                Found::End if is_last => {
                    // An earlier life may have written what it never synced; from now on it counts.
                    let whole = bytes.len() as u64;
                    self.disk.truncate(path, whole).map_err(EngineError::io("sync", path))?;
                    return Ok(());
                }
                Found::End => return Ok(()),
                Found::Torn if is_last => {
                    tracing::warn!(
                        segment = %path.display(),
                        offset = at,
                        bytes = bytes.len() - at,
                        "the last record was cut short by a crash; it is cut off"
                    );
                    self.set_apart(path, &bytes[at..])?;
                    let kept = at as u64;
                    self.disk.truncate(path, kept).map_err(EngineError::io("cut", path))?;
                    return Ok(());
                }
                Found::Torn => return Err(corrupt(path, at, "it ends within a record")),
                Found::Corrupt => {
                    return Err(corrupt(path, at, "the record's checksum is not right"));
                }
            }
        }
    }

    /// Keeps what is about to be cut off a segment, for those who want to know what it was.
    fn set_apart(&self, segment: &Path, tail: &[u8]) -> Result<(), Error> {
        let path = segment.with_extension("torn");
        let write = || -> io::Result<()> {
            let mut file = self.disk.create(&path)?;
            file.write_all(tail)?;
            file.flush()
        };
        Ok(write().map_err(EngineError::io("write", &path))?)
    }

    /// The state of the newest snapshot that can be read, and the last record that it holds.
    pub(super) fn newest_snapshot(&self) -> Result<(Memory, u64), Error> {
        let snapshots = self.numbered(&self.snapshot_dir, "snap")?;
        for snapshot in snapshots.iter().rev() {
            match self.read_snapshot(&snapshot.path)? {
                Ok(memory) => return Ok((memory, snapshot.seq)),
                Err(reason) => tracing::warn!(
                    snapshot = %snapshot.path.display(), reason,
                    "a snapshot can't be read; the one before is used"
                ),
            }
        }
        Ok((Memory::default(), 0))
    }

    /// A snapshot's state, or why it can't be read.
    ///
    /// # Errors
    /// Of a newer version, which must not be touched.
    fn read_snapshot(&self, path: &Path) -> Result<Result<Memory, String>, Error> {
        let bytes = self.read(path)?;
        if record::version_of(&bytes).is_some() {
            check_version(path, &bytes)?;
        } else {
            return Ok(Err(String::from("it does not begin as a snapshot does")));
        }
        let mut memory = Memory::default();
        let (mut at, mut count) = (HEADER_BYTES, 0);
        while let Found::Record(record) = record::find(&bytes, at) {
            at = record.place.end;
            match Entry::of(record.kind, record.payload) {
                Ok(Entry::Complete(Complete { entries })) if entries == count => {
                    memory.just_ended.clear();
                    return Ok(Ok(memory));
                }
                Ok(entry) => memory.apply(entry),
                Err(reason) => return Ok(Err(reason)),
            }
            count += 1;
        }
        Ok(Err(format!("it breaks off at byte {at}")))
    }

    pub(super) fn new_segment(&self, first_seq: u64) -> Result<Segment, EngineError> {
        let path = self.segment_dir.join(format!("{first_seq:020}.log"));
        let create = || -> io::Result<Box<dyn WriteFile>> {
            let mut file = self.disk.create(&path)?;
            file.write_all(&record::header())?;
            file.flush()?;
            file.sync()?;
            self.disk.sync_dir(&self.segment_dir)?;
            Ok(file)
        };
        let file = create().map_err(EngineError::io("create", &path))?;
        Ok(Segment { path, file })
    }

    /// Keeps a snapshot, and lets go of what two snapshots make unnecessary.
    pub(super) fn keep(&self, snapshot: &Snapshot) -> Result<(), EngineError> {
        let path = self.snapshot_dir.join(format!("{:020}.snap", snapshot.seq));
        let unfinished = path.with_extension("new");
        let write = || -> io::Result<()> {
            let mut file = self.disk.create(&unfinished)?;
            file.write_all(&snapshot.bytes)?;
            file.flush()?;
            file.sync()?;
            drop(file);
            self.disk.rename(&unfinished, &path)?;
            self.disk.sync_dir(&self.snapshot_dir)
        };
        write().map_err(EngineError::io("write", &path))?;
        self.prune().map_err(EngineError::io("tidy", &self.segment_dir))
    }

    fn prune(&self) -> io::Result<()> {
        let list = |folder: &Path, ending| {
            self.numbered(folder, ending).map_err(|error| io::Error::other(error.to_string()))
        };
        let snapshots = list(&self.snapshot_dir, "snap")?;
        let Some(kept) = snapshots.len().checked_sub(2) else { return Ok(()) };
        for old in &snapshots[..kept] {
            self.disk.remove_file(&old.path)?;
        }
        let segments = list(&self.segment_dir, "log")?;
        for pair in segments.windows(2) {
            if pair[1].seq <= snapshots[kept].seq + 1 {
                self.disk.remove_file(&pair[0].path)?;
            }
        }
        Ok(())
    }
}

fn check_version(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    match record::version_of(bytes) {
        Some(record::VERSION) => Ok(()),
        Some(found) => {
            Err(Error::StateVersion { path: path.to_owned(), found, known: record::VERSION })
        }
        None => Err(corrupt(path, 0, "it does not begin as a journal does")),
    }
}

fn corrupt(path: &Path, offset: usize, reason: &str) -> Error {
    Error::StateCorrupt { path: path.to_owned(), reason: format!("at byte {offset}: {reason}") }
}
