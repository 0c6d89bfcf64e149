//! [`UnsyncedDisk`]: files that reach the platter when the system likes.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{Disk, Expected, Lock, Object, ReadAt, WriteFile};

/// The files of another disk, none of which is waited for: renames keep their order in the running
/// system, but a machine that loses power may lose what it was told of.
///
/// - Errors: those of the other disk.
#[derive(Debug)]
pub struct UnsyncedDisk(pub Arc<dyn Disk>);

/// A file whose sync flushes its buffers to the system and no further.
struct UnsyncedFile(Box<dyn WriteFile>);

impl Write for UnsyncedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl WriteFile for UnsyncedFile {
    fn sync(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Disk for UnsyncedDisk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn ReadAt>> {
        self.0.open(path)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        if super::remote::is_remote(path) {
            // There a sync completes the upload.
            return self.0.create(path);
        }
        Ok(Box::new(UnsyncedFile(self.0.create(path)?)))
    }

    fn truncate(&self, path: &Path, bytes: u64) -> io::Result<()> {
        self.0.truncate(path, bytes)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.0.create_dir_all(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn exchange(&self, one: &Path, other: &Path) -> io::Result<()> {
        self.0.exchange(one, other)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.0.remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.0.remove_dir_all(path)
    }

    fn true_name(&self, path: &Path) -> io::Result<PathBuf> {
        self.0.true_name(path)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.remove(path)
    }

    fn remove_empty_dir(&self, path: &Path) -> io::Result<()> {
        self.0.remove_empty_dir(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Lock>> {
        self.0.lock(path)
    }

    fn lock_dir(&self, path: &Path) -> io::Result<Option<Lock>> {
        self.0.lock_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        self.0.list(path)
    }

    fn list_below(&self, path: &Path, limit: usize) -> io::Result<Vec<Object>> {
        self.0.list_below(path, limit)
    }

    fn put(&self, path: &Path, bytes: Vec<u8>, expected: &Expected) -> io::Result<()> {
        self.0.put(path, bytes, expected)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        if super::remote::is_remote(path) { self.0.sync_dir(path) } else { Ok(()) }
    }

    fn exists(&self, path: &Path) -> bool {
        self.0.exists(path)
    }
}
