//! [`Disk`]: the one way to files, so that a test can fail any operation.
//!
//! Everything that the engine, the data plane and the control plane read or write goes through
//! it. Reads are positioned plain reads, never maps: a truncated file must not kill the process.

use std::{
    fmt::Debug,
    fs, io,
    io::Write,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

pub mod quota;
pub mod remote;
pub mod rooted;
pub mod unsynced;

use remote::RoutedDisk;
use rooted::RootedDisk;

/// What jobs may read and write: all of the system's files, or those beneath data roots.
///
/// What a process keeps for itself (state, spill files, map outputs) goes past it.
#[derive(Clone, Debug)]
pub struct DataDisks {
    /// Where readers find their files.
    pub inputs: Arc<dyn Disk>,
    /// Where results go.
    pub outputs: Arc<dyn Disk>,
}

impl DataDisks {
    /// All files, as a user's own process may.
    pub fn everywhere() -> Self {
        Self { inputs: RealDisk::shared(), outputs: RealDisk::shared() }
    }

    /// The files beneath these roots, absolute paths of folders; none where a list is empty.
    ///
    /// # Errors
    /// As [`RootedDisk::open`].
    pub fn beneath(read_roots: &[PathBuf], write_roots: &[PathBuf]) -> crate::Result<Self> {
        Ok(Self { inputs: RootedDisk::open(read_roots)?, outputs: RootedDisk::open(write_roots)? })
    }

    /// These files, and the objects behind URLs beside them.
    #[must_use]
    pub fn with_remote(self, inputs: Arc<dyn Disk>, outputs: Arc<dyn Disk>) -> Self {
        Self {
            inputs: RoutedDisk::shared(self.inputs, inputs),
            outputs: RoutedDisk::shared(self.outputs, outputs),
        }
    }
}

/// An object as its store lists it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Object {
    /// Its URL.
    pub path: PathBuf,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// What changes with its bytes, where the store says so.
    pub version: Option<String>,
}

/// What must stand at a path for a [`Disk::put`] to go ahead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Nothing.
    Nothing,
    /// The version that was read.
    Version(String),
    /// Whatever it is.
    Anything,
}

/// A file opened for reading at any place.
pub trait ReadAt: Send + Sync {
    /// Reads at most `buffer.len()` bytes from `offset`; 0 at the end.
    ///
    /// # Errors
    /// Whatever the system says.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// The file's size in bytes, now.
    ///
    /// # Errors
    /// Whatever the system says.
    fn size(&self) -> io::Result<u64>;

    /// What changes with the file's bytes, where its store says so of itself.
    fn version(&self) -> Option<String> {
        None
    }

    /// Fills `buffer` from `offset`.
    ///
    /// # Errors
    /// `UnexpectedEof` where the file ends before.
    fn read_exact_at(&self, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !buffer.is_empty() {
            match self.read_at(buffer, offset) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => {
                    buffer = &mut buffer[n..];
                    offset += n as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// A file opened for writing from its start.
pub trait WriteFile: Write + Send {
    /// Makes what was written durable (fsync).
    ///
    /// # Errors
    /// Whatever the system says; never retried, because the kernel forgets what it could not write.
    fn sync(&mut self) -> io::Result<()>;
}

/// An exclusive lock on a file or folder; freed when dropped, and by the system when the process
/// ends.
#[derive(Debug)]
pub struct Lock {
    _file: fs::File,
}

impl Lock {
    /// The lock of an open file, if nobody has it.
    fn of(file: fs::File) -> io::Result<Option<Self>> {
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }
}

/// Operations on files and folders.
pub trait Disk: Send + Sync + Debug {
    /// Opens an existing regular file for reading.
    ///
    /// # Errors
    /// Whatever the system says; a folder is `IsADirectory`.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn ReadAt>>;

    /// Creates a file (mode 0640), or empties the one that is there.
    ///
    /// # Errors
    /// Whatever the system says.
    fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>>;

    /// Cuts a file off behind its first `bytes` and makes that durable.
    ///
    /// # Errors
    /// Whatever the system says.
    fn truncate(&self, path: &Path, bytes: u64) -> io::Result<()>;

    /// Creates a folder (mode 0750) and its missing parents.
    ///
    /// # Errors
    /// Whatever the system says.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;

    /// Renames within one filesystem, over an existing file.
    ///
    /// # Errors
    /// Whatever the system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Has two names that are there change places, in one step.
    ///
    /// # Errors
    /// Whatever the system says; `Unsupported` or `InvalidInput` where the filesystem can't.
    fn exchange(&self, _one: &Path, _other: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Removes a file.
    ///
    /// # Errors
    /// Whatever the system says.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Removes a folder and all in it; one that is not there is no error.
    ///
    /// # Errors
    /// Whatever the system says.
    fn remove_dir_all(&self, path: &Path) -> io::Result<()>;

    /// The absolute path of what is there, without links, `.` and `..`.
    ///
    /// # Errors
    /// Whatever the system says; `NotFound` where nothing is there.
    fn true_name(&self, path: &Path) -> io::Result<PathBuf> {
        fs::canonicalize(path)
    }

    /// Removes whatever is at the path: a file, or a folder and all in it; nothing is no error.
    ///
    /// # Errors
    /// Whatever the system says.
    fn remove(&self, path: &Path) -> io::Result<()> {
        match self.remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => self.remove_dir_all(path),
            other => other,
        }
    }

    /// Removes a folder if nothing is in it; one that is not there, or not empty, is no error.
    ///
    /// # Errors
    /// Whatever the system says.
    fn remove_empty_dir(&self, path: &Path) -> io::Result<()>;

    /// Takes the exclusive lock of a file, which it creates; `None` where another process has it.
    ///
    /// # Errors
    /// Whatever the system says.
    fn lock(&self, path: &Path) -> io::Result<Option<Lock>>;

    /// Takes the exclusive lock of a folder that is there; `None` where somebody else has it.
    ///
    /// # Errors
    /// Whatever the system says; `Unsupported` where folders have none.
    fn lock_dir(&self, _path: &Path) -> io::Result<Option<Lock>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// The full paths in a folder, sorted by name.
    ///
    /// # Errors
    /// Whatever the system says.
    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>>;

    /// All objects whose names begin with this one and a `/`, sorted; at most `limit` of them. Only what URLs name is listed so, by far fewer calls than folder by folder.
    ///
    /// # Errors
    /// Whatever the store says; `Unsupported` for files.
    fn list_below(&self, _path: &Path, _limit: usize) -> io::Result<Vec<Object>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Puts an object in place, whole, if what is there is what is expected.
    ///
    /// # Errors
    /// Whatever the store says; `AlreadyExists` where something else is there, `Unsupported` for
    /// files.
    fn put(&self, _path: &Path, _bytes: Vec<u8>, _expected: &Expected) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Makes a folder's entries durable (fsync).
    ///
    /// # Errors
    /// Whatever the system says.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// Whether something is at the path.
    fn exists(&self, path: &Path) -> bool;

    /// The bytes that may still be written to the filesystem of what is at the path.
    ///
    /// # Errors
    /// Whatever the system says; `Unsupported` where nobody knows.
    fn free_bytes(&self, _path: &Path) -> io::Result<u64> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// The system's own files.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl RealDisk {
    /// One to be shared.
    pub fn shared() -> Arc<dyn Disk> {
        Arc::new(Self)
    }
}

impl ReadAt for fs::File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(self, buffer, offset)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}

impl WriteFile for fs::File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the file that the rule points to")]
impl Disk for RealDisk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn ReadAt>> {
        // Before the open, which waits for ever on a FIFO without a writer.
        let found = fs::metadata(path)?;
        if found.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        if !found.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(Arc::new(fs::File::open(path)?))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        use std::os::unix::fs::OpenOptionsExt;
        let file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o640)
            .open(path)?;
        Ok(Box::new(file))
    }

    fn truncate(&self, path: &Path, bytes: u64) -> io::Result<()> {
        let file = fs::OpenOptions::new().write(true).open(path)?;
        file.set_len(bytes)?;
        file.sync_all()
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        use std::os::unix::fs::DirBuilderExt;
        fs::DirBuilder::new().recursive(true).mode(0o750).create(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn exchange(&self, one: &Path, other: &Path) -> io::Result<()> {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        Ok(renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE)?)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn remove_empty_dir(&self, path: &Path) -> io::Result<()> {
        match fs::remove_dir(path) {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty
                ) =>
            {
                Ok(())
            }
            other => other,
        }
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Lock>> {
        use std::os::unix::fs::OpenOptionsExt;
        let file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o640)
            .open(path)?;
        Lock::of(file)
    }

    fn lock_dir(&self, path: &Path) -> io::Result<Option<Lock>> {
        Lock::of(fs::File::open(path)?)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let mut paths =
            fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
        paths.sort();
        Ok(paths)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        fs::File::open(path)?.sync_all()
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let found = rustix::fs::statvfs(path)?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }
}
