//! A member of the local cluster: what its files say of it, and whether it still runs.

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use minispark_engine::{
    disk::{Disk, RealDisk},
    error::Code,
};
use serde::{Deserialize, Serialize};

use super::{process, refused};
use crate::{
    error::{Error, Exit, Result},
    host,
};

/// The master or a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    /// `master`, `worker1`, `worker2` and so on.
    pub(super) name: String,
    /// What its file says.
    pub(super) record: Record,
}

/// What is kept of a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// Its process number.
    pub(super) pid: u32,
    /// When it started, in ticks since the machine did.
    pub(super) start_ticks: u64,
    /// `host:port` of REST, where it serves that and it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) rest: Option<String>,
    /// `host:port` of Flight, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) flight: Option<String>,
}

/// Whether a member's process is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// It is.
    Running,
    /// It has ended, and its number may be another's.
    Gone,
}

impl Member {
    /// Reads the member of this name.
    ///
    /// # Errors
    /// Where its file can't be read or is not understood.
    pub(super) fn read(logs: &Path, name: &str) -> Result<Self> {
        let path = record_path(logs, name);
        let Some(text) = host::small_file(&RealDisk, &path) else {
            return Err(Error::new(
                Exit::Other,
                Code::Internal,
                format!("cannot read `{}`", path.display()),
            ));
        };
        let record = serde_json::from_str(&text).map_err(|error| {
            let what = format!("`{}` is not understood: {error}", path.display());
            Error::new(Exit::Other, Code::Internal, what)
                .help("check whether that process still runs, then remove the file")
        })?;
        Ok(Self { name: name.to_owned(), record })
    }

    /// Writes both files, each at once.
    ///
    /// # Errors
    /// Where they can't be written.
    pub(super) fn write(&self, logs: &Path) -> Result<()> {
        let record = serde_json::to_string(&self.record).map_err(std::io::Error::from)?;
        let record_path = record_path(logs, &self.name);
        replace(&record_path, &record).map_err(|error| refused("write", &record_path, &error))?;
        let path = pid_path(logs, &self.name);
        replace(&path, &self.record.pid.to_string())
            .map_err(|error| refused("write", &path, &error))
    }

    /// Removes both files.
    ///
    /// # Errors
    /// Where they can't be removed.
    pub(super) fn forget(&self, logs: &Path) -> Result<()> {
        for path in [pid_path(logs, &self.name), record_path(logs, &self.name)] {
            RealDisk.remove(&path).map_err(|error| refused("remove", &path, &error))?;
        }
        Ok(())
    }

    /// Whether its process is there.
    pub(super) fn life(&self) -> Life {
        match process::start_ticks(&RealDisk, self.record.pid) {
            Some(ticks) if ticks == self.record.start_ticks => Life::Running,
            _ => Life::Gone,
        }
    }
}

fn record_path(logs: &Path, name: &str) -> PathBuf {
    logs.join(format!("{name}.json"))
}

fn pid_path(logs: &Path, name: &str) -> PathBuf {
    logs.join(format!("{name}.pid"))
}

/// Puts a line in the place of a file.
fn replace(path: &Path, line: &str) -> std::io::Result<()> {
    let part = path.with_extension("part");
    let mut file = RealDisk.create(&part)?;
    file.write_all(format!("{line}\n").as_bytes())?;
    RealDisk.rename(&part, path)
}

#[cfg(test)]
mod tests {
    use super::{Life, Member, Record};

    fn member(pid: u32, start_ticks: u64) -> Member {
        let rest = Some("127.0.0.1:8080".to_owned());
        let record = Record { pid, start_ticks, rest, flight: None };
        Member { name: "master".to_owned(), record }
    }

    #[test]
    fn a_member_is_its_files() {
        let logs = tempfile::tempdir().unwrap();
        let written = member(7, 8);
        written.write(logs.path()).unwrap();
        assert_eq!(Member::read(logs.path(), "master").unwrap(), written);
        assert_eq!(std::fs::read_to_string(logs.path().join("master.pid")).unwrap(), "7\n");
        written.forget(logs.path()).unwrap();
        assert_eq!(std::fs::read_dir(logs.path()).unwrap().count(), 0);
        assert!(Member::read(logs.path(), "master").is_err());
    }

    #[test]
    fn a_number_that_is_anothers_now_does_not_count() {
        let own = std::process::id();
        let ticks = super::process::start_ticks(&minispark_engine::disk::RealDisk, own).unwrap();
        assert_eq!(member(own, ticks).life(), Life::Running);
        assert_eq!(member(own, ticks + 1).life(), Life::Gone);
    }
}
