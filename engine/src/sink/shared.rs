//! [`SharedFolder`]: a staging folder that workers may share with the master, and how they find
//! out.
//!
//! The master leaves a nonce in it. A worker that finds the nonce there at the start of a task
//! writes the task's part into the folder; any other leaves its rows in its store, from where the
//! master pulls them. Nobody has to agree on anything beforehand.

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    Error, Result,
    disk::Disk,
    exchange::MapOutput,
    id::TaskAttempt,
    plan::{Sink, Target},
    sink::{attempt_file, commit::typed_attempt},
    task::Part,
};

/// The name of the file with the nonce.
const NONCE_FILE: &str = "shared";

/// The most bytes of a nonce.
const MAX_NONCE_BYTES: u64 = 256;

/// A folder for parts of a sink, and what its owner has left there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedFolder {
    /// Where.
    pub folder: PathBuf,
    /// What its file of this purpose says, where it is the same folder.
    pub nonce: String,
}

impl SharedFolder {
    /// Makes the folder and leaves the nonce in it, where the folder around is there; what others
    /// would have to be made is made by the commit alone, so that a failed job leaves nothing.
    ///
    /// # Errors
    /// Those of the disk; the folder is then not shared.
    pub fn offer(&self, disk: &dyn Disk) -> io::Result<()> {
        let around = self.folder.ancestors().nth(2);
        if !around.is_some_and(|around| disk.exists(around)) {
            return Ok(());
        }
        disk.create_dir_all(&self.folder)?;
        let mut file = disk.create(&self.folder.join(NONCE_FILE))?;
        file.write_all(self.nonce.as_bytes())?;
        file.flush()
    }

    /// Removes what was offered.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn take_back(&self, disk: &dyn Disk) -> io::Result<()> {
        disk.remove_dir_all(&self.folder)?;
        self.folder.parent().map_or(Ok(()), |staging| disk.remove_empty_dir(staging))
    }

    /// Whether this process has the very folder at that path.
    pub fn is_ours(&self, disk: &dyn Disk) -> bool {
        let read = || -> io::Result<Vec<u8>> {
            let file = disk.open(&self.folder.join(NONCE_FILE))?;
            let size = file.size()?.min(MAX_NONCE_BYTES);
            let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
            file.read_exact_at(&mut bytes, 0)?;
            Ok(bytes)
        };
        read().is_ok_and(|found| found == self.nonce.as_bytes())
    }

    /// Where an attempt's part goes; with it a typed copy, where the sink is of text.
    pub(crate) fn paths(&self, sink: &Sink, attempt: TaskAttempt) -> (PathBuf, Option<PathBuf>) {
        let path = attempt_file(&self.folder, sink, attempt);
        let typed = matches!(sink.target, Target::Text).then(|| typed_attempt(&path));
        (path, typed)
    }
}

/// Refuses parts of a worker that are not there as it said.
///
/// # Errors
/// [`Error::FetchFailed`], so that they are made again.
pub(crate) fn check_parts(
    parts: &[Part],
    folder: &Path,
    output: &MapOutput,
    disk: &dyn Disk,
) -> Result<()> {
    let refused = |reason: String| Error::FetchFailed {
        map: output.map,
        worker: output.worker.clone(),
        reason,
    };
    for part in parts {
        let shown = part.path.display();
        if part.path.parent() != Some(folder) {
            return Err(refused(format!("`{shown}` is not in the folder that is shared")));
        }
        let size = disk.open(&part.path).and_then(|file| file.size());
        match size {
            Ok(bytes) if bytes == part.bytes => {}
            Ok(bytes) => {
                let wanted = part.bytes;
                return Err(refused(format!("`{shown}` has {bytes} bytes, not {wanted}")));
            }
            Err(error) => return Err(refused(format!("cannot read `{shown}`: {error}"))),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::{SharedFolder, check_parts};
    use crate::{
        Error,
        disk::{Disk, RealDisk},
        exchange::{MapOutput, store::tests::attempt},
        id::{Epoch, JobId, WorkerId},
        task::Part,
    };

    #[test]
    fn a_folder_is_ours_where_its_nonce_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let shared = |nonce: &str| SharedFolder {
            folder: folder.path().join("out/.minispark/job"),
            nonce: String::from(nonce),
        };
        // Nothing is made where the target's own folder is not there.
        shared("n").offer(&RealDisk).unwrap();
        assert!(
            !shared("n").is_ours(&RealDisk) && RealDisk.list(folder.path()).unwrap().is_empty()
        );
        RealDisk.create_dir_all(&folder.path().join("out")).unwrap();
        shared("n").offer(&RealDisk).unwrap();
        assert!(shared("n").is_ours(&RealDisk));
        assert!(!shared("another").is_ours(&RealDisk));
        shared("n").take_back(&RealDisk).unwrap();
        assert!(RealDisk.list(&folder.path().join("out")).unwrap().is_empty());
    }

    #[test]
    fn a_part_that_is_not_there_as_it_was_told_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("part");
        RealDisk.create(&path).unwrap().write_all(b"12345").unwrap();
        let output = MapOutput {
            map: attempt(JobId::random(), 0),
            worker: WorkerId(String::from("w")),
            epoch: Epoch(1),
            address: String::new(),
        };
        let part = |name: &str, bytes: u64| Part {
            path: folder.path().join(name),
            folder: String::new(),
            rows: 1,
            bytes,
            checksum: String::new(),
            content_checksum: 0,
        };
        let check = |told: Part| check_parts(&[told], folder.path(), &output, &RealDisk);
        check(part("part", 5)).unwrap();
        for wrong in [part("part", 4), part("other", 5), part("deep/part", 5), part("../part", 5)] {
            let refused = check(wrong);
            assert!(matches!(&refused, Err(Error::FetchFailed { map, .. }) if *map == output.map));
        }
    }
}
