//! The machine: its memory and cores, this process's peak, and the folders that are used by default.

use std::{
    io::ErrorKind,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    thread,
};

use minispark_api::objects::{Objects, StoreRule, StoreRules};
use minispark_engine::{
    disk::{DataDisks, Disk, ReadAt},
    error::Code,
    job::params::{self, SetError},
};
use sysinfo::{MemoryRefreshKind, ProcessRefreshKind, ProcessesToUpdate, RefreshKind, System};

use crate::{
    args::Parameters,
    error::{Error, Exit, Result},
};

/// The most bytes of a job document.
const DOCUMENT_LIMIT_BYTES: u64 = 1 << 20;
/// The most bytes that are read of a file of the system.
const SYSTEM_FILE_LIMIT_BYTES: u64 = 64 << 10;
/// The budget where the machine does not say how much memory it has.
const FALLBACK_MEMORY_BYTES: u64 = 1 << 30;

/// The default budget: 60 % of the memory that this process may use, be it the machine's or its
/// container's.
pub(crate) fn default_memory_bytes() -> u64 {
    let bytes = usable_memory_bytes().unwrap_or(0);
    let bytes = if bytes == 0 { FALLBACK_MEMORY_BYTES } else { bytes };
    bytes / 5 * 3
}

/// The machine's memory, or its container's where that is less.
fn usable_memory_bytes() -> Option<u64> {
    let memory = RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram());
    let mut system = System::new_with_specifics(memory).ok()?;
    let mut bytes = system.total_memory();
    let pid = sysinfo::get_current_pid().ok()?;
    let process = ProcessesToUpdate::Some(&[pid]);
    system.refresh_processes_specifics(process, false, ProcessRefreshKind::nothing());
    let limits = system.process(pid).and_then(sysinfo::Process::cgroup_limits);
    for limit in limits.into_iter().chain(system.cgroup_limits()) {
        if limit.total_memory > 0 {
            bytes = bytes.min(limit.total_memory);
        }
    }
    Some(bytes)
}

/// How many tasks run at once by default.
pub(crate) fn default_threads() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// The most memory that this process ever had resident, in bytes, where the system tells.
pub(crate) fn peak_memory_bytes(disk: &dyn Disk) -> Option<u64> {
    let text = small_file(disk, Path::new("/proc/self/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// The text of a small file, one of the system's or our own; `None` where it can't be had.
pub(crate) fn small_file(disk: &dyn Disk, path: &Path) -> Option<String> {
    let file = disk.open(path).ok()?;
    let bytes = read_up_to(file.as_ref(), SYSTEM_FILE_LIMIT_BYTES).ok()??;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// A job document's text.
///
/// # Errors
/// Where the file can't be read, is too large or is not UTF-8; the error names it.
pub(crate) fn read_document(disk: &dyn Disk, path: &Path) -> Result<String> {
    let shown = path.display().to_string();
    let failed =
        |what: String| Error::new(Exit::Other, Code::InputNotFound, what).at(shown.clone());
    let file = disk.open(path).map_err(|error| failed(format!("cannot read the job: {error}")))?;
    let bytes = read_up_to(file.as_ref(), DOCUMENT_LIMIT_BYTES)
        .map_err(|error| failed(format!("cannot read the job: {error}")))?;
    document(bytes, &shown)
}

/// A document with values for its parameters.
///
/// # Errors
/// Where it has no such parameter, or a value is not of its type.
pub(crate) fn with_parameters(
    document: String,
    parameters: &Parameters,
    shown: &str,
) -> Result<String> {
    if parameters.values.is_empty() {
        return Ok(document);
    }
    params::set(&document, &parameters.values).map_err(|error| match error {
        SetError::Syntax(error) => {
            let what = format!("not JSON: {}", error.message);
            Error::new(Exit::InvalidJob, Code::ValidationFailed, what)
                .at(format!("{shown}:{}:{}", error.line, error.column))
        }
        SetError::Value { message, suggestion } => {
            let told = Error::usage(message).at("--set");
            match suggestion {
                Some(name) => told.help(format!("did you mean `{name}`?")),
                None => told,
            }
        }
    })
}

/// A configuration file's text.
///
/// # Errors
/// Where the file can't be read, is too large or is not UTF-8; the error names it.
pub(crate) fn read_text(disk: &dyn Disk, path: &Path) -> Result<String> {
    let failed = |reason: String| {
        let what = format!("cannot read the configuration: {reason}");
        Error::new(Exit::Usage, Code::BadRequest, what).at(path.display().to_string())
    };
    let read = || read_up_to(disk.open(path)?.as_ref(), DOCUMENT_LIMIT_BYTES);
    let bytes = read().map_err(|error| failed(error.to_string()))?;
    let bytes = bytes.ok_or_else(|| failed("the file is too large".to_owned()))?;
    String::from_utf8(bytes).map_err(|_| failed("the file is not UTF-8".to_owned()))
}

/// A job document's text from its bytes, `None` where they were too many.
///
/// # Errors
/// Where it is too large or not UTF-8.
pub(crate) fn document(bytes: Option<Vec<u8>>, shown: &str) -> Result<String> {
    let Some(bytes) = bytes else {
        let what = format!("the job document has more than {DOCUMENT_LIMIT_BYTES} bytes");
        return Err(Error::new(Exit::InvalidJob, Code::BodyTooLarge, what).at(shown));
    };
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let what = format!("the job document is not UTF-8 (byte {at})");
        Error::new(Exit::InvalidJob, Code::ValidationFailed, what).at(shown)
    })
}

/// The most bytes of a job document.
pub(crate) fn document_limit_bytes() -> u64 {
    DOCUMENT_LIMIT_BYTES
}

/// A file's bytes, or `None` where it has more than `limit_bytes`. A size of 0 is not believed:
/// files of the kernel say so.
fn read_up_to(file: &dyn ReadAt, limit_bytes: u64) -> std::io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 8192];
    loop {
        let read = file.read_at(&mut chunk, bytes.len() as u64)?;
        if read == 0 {
            return Ok(Some(bytes));
        }
        bytes.extend_from_slice(&chunk[..read]);
        if bytes.len() as u64 > limit_bytes {
            return Ok(None);
        }
    }
}

/// The folder for results: what was asked for, or `mini-spark` in the temporary directory, or
/// `mini-spark-<uid>` there where another user owns that; the second value says so.
///
/// # Errors
/// Where the folder that was asked for can't be made or is another user's.
pub(crate) fn output_dir(
    disk: &dyn Disk,
    asked: Option<&Path>,
) -> Result<(PathBuf, Option<String>)> {
    let user = user_id();
    if let Some(path) = asked {
        create(disk, path)?;
        if let (Some(user), Some(owner)) = (user, owner_id(path))
            && owner != user
            && user != 0
        {
            let what = format!("output directory `{}` is another user's", path.display());
            return Err(Error::new(Exit::NotAllowed, Code::Forbidden, what)
                .help("use a directory of your own with --output-dir"));
        }
        return Ok((absolute(path)?, None));
    }
    let usual = std::env::temp_dir().join("mini-spark");
    let (path, note) = match (user, owner_id(&usual)) {
        (Some(user), Some(owner)) if owner != user => {
            let own = std::env::temp_dir().join(format!("mini-spark-{user}"));
            let note = format!(
                "`{}` is another user's; results go to `{}`",
                usual.display(),
                own.display()
            );
            (own, Some(note))
        }
        _ => (usual, None),
    };
    create(disk, &path)?;
    Ok((path, note))
}

/// The path from the root on, so that it means the same whoever reads it.
///
/// # Errors
/// Where the working directory is gone.
pub(crate) fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|error| {
        let what = format!("cannot tell where `{}` is: {error}", path.display());
        Error::new(Exit::Other, Code::Internal, what)
    })
}

/// The working directory: where relative paths of a job start.
///
/// # Errors
/// Where it is gone.
pub(crate) fn working_directory() -> Result<PathBuf> {
    std::env::current_dir().map_err(|error| {
        Error::new(Exit::Other, Code::Internal, format!("no working directory: {error}"))
    })
}

/// The same of several.
///
/// # Errors
/// Where the working directory is gone.
pub(crate) fn absolutes(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    paths.iter().map(|path| absolute(path)).collect()
}

/// The user's own files, and the objects that the environment has credentials for.
pub(crate) fn data_disks() -> DataDisks {
    Objects::everywhere().beside(DataDisks::everywhere())
}

/// The stores that were given, of all flags.
pub(crate) fn stores(given: &[StoreRules]) -> Vec<StoreRule> {
    given.iter().flat_map(|StoreRules(rules)| rules.iter().cloned()).collect()
}

/// The folders beneath which a server's jobs may read: those that were asked for, or else the
/// working directory, unless nobody can have meant that.
///
/// # Errors
/// Where the working directory is gone.
pub(crate) fn read_roots(asked: &[PathBuf]) -> Result<Vec<PathBuf>> {
    if !asked.is_empty() {
        return absolutes(asked);
    }
    let here = working_directory()?;
    let home = std::env::var_os("HOME").map(PathBuf::from);
    if is_data_root(&here, home.as_deref()) {
        return Ok(vec![here]);
    }
    tracing::warn!(
        working_directory = %here.display(),
        "a home or system directory is no data root: jobs can read nothing; set --read-root"
    );
    Ok(Vec::new())
}

/// Whether a working directory may be read by jobs without anybody having said so: not `/`, not a
/// home, not a directory of the system.
fn is_data_root(path: &Path, home: Option<&Path>) -> bool {
    /// Nothing in them is data.
    const TREES: [&str; 14] = [
        "/bin",
        "/boot",
        "/dev",
        "/etc",
        "/lib",
        "/lib32",
        "/lib64",
        "/proc",
        "/sbin",
        "/sys",
        "/usr/bin",
        "/usr/lib",
        "/usr/sbin",
        "/usr/share",
    ];
    /// They hold more than one user's or program's own.
    const FOLDERS: [&str; 15] = [
        "/",
        "/home",
        "/media",
        "/mnt",
        "/opt",
        "/root",
        "/run",
        "/srv",
        "/tmp",
        "/usr",
        "/usr/local",
        "/var",
        "/var/lib",
        "/var/tmp",
        "/var/log",
    ];
    let is_home = Some(path) == home || path.parent() == Some(Path::new("/home"));
    let is_system = TREES.iter().any(|tree| path.starts_with(tree))
        || FOLDERS.iter().any(|folder| path == Path::new(folder));
    !is_home && !is_system
}

fn create(disk: &dyn Disk, path: &Path) -> Result<()> {
    disk.create_dir_all(path).map_err(|error| {
        let (exit, code) = match error.kind() {
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                (Exit::NotAllowed, Code::Forbidden)
            }
            ErrorKind::StorageFull => (Exit::Other, Code::DiskFull),
            _ => (Exit::Other, Code::BadRequest),
        };
        let what = format!("cannot create directory `{}`: {error}", path.display());
        Error::new(exit, code, what).help("name another one, or check who may write there")
    })
}

fn owner_id(path: &Path) -> Option<u32> {
    std::fs::symlink_metadata(path).ok().map(|metadata| metadata.uid())
}

/// The user that this process runs as.
pub(crate) fn user_id() -> Option<u32> {
    std::fs::metadata("/proc/self").ok().map(|metadata| metadata.uid())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use minispark_engine::disk::RealDisk;

    use super::{default_memory_bytes, document, is_data_root, output_dir, peak_memory_bytes};

    #[test]
    fn the_machine_tells_its_memory() {
        assert!(default_memory_bytes() > 1 << 20);
        assert!(peak_memory_bytes(&RealDisk).is_some_and(|bytes| bytes > 1 << 20));
    }

    #[test]
    fn an_output_folder_is_made_with_its_parents() {
        let folder = tempfile::tempdir().unwrap();
        let asked = folder.path().join("a/b");
        let (path, note) = output_dir(&RealDisk, Some(&asked)).unwrap();
        assert_eq!((path.as_path(), note), (asked.as_path(), None));
        assert!(asked.is_dir());
    }

    #[test]
    fn an_output_folder_below_a_file_is_refused_by_name() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = output_dir(&RealDisk, Some(&file.path().join("x"))).unwrap_err();
        assert!(error.what.contains(&file.path().display().to_string()), "{error}");
    }

    #[test]
    fn a_home_or_system_directory_is_no_data_root() {
        let home = Some(Path::new("/people/me"));
        for path in ["/", "/home/you", "/people/me", "/root", "/etc/x", "/usr/bin", "/tmp", "/var"]
        {
            assert!(!is_data_root(Path::new(path), home), "{path}");
        }
        for path in ["/data", "/home/you/work", "/people/me/work", "/app", "/usr/src/app", "/tmp/x"]
        {
            assert!(is_data_root(Path::new(path), home), "{path}");
        }
    }

    #[test]
    fn a_document_must_be_text() {
        assert_eq!(document(Some(b"{}".to_vec()), "job.json").unwrap(), "{}");
        assert!(document(Some(vec![b'{', 0xff]), "job.json").unwrap_err().what.contains("byte 1"));
        assert!(document(None, "job.json").is_err());
    }
}
