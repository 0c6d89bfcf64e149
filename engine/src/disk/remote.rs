//! URLs as paths: which paths are some, and [`RoutedDisk`], which hands them to another disk.
//!
//! A URL travels as a path (`s3://bucket/key`), so that plans, splits and results name objects as
//! they name files. What is behind one is told by a disk of its own, which knows sockets.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{Disk, Expected, Lock, Object, ReadAt, WriteFile};

/// The schemes of URLs that can be read; all but the last two can be listed and written.
pub const SCHEMES: [&str; 5] = ["s3", "gs", "az", "http", "https"];

/// How much is copied at once.
const COPY_BYTES: usize = 1 << 20;

/// The scheme of a path that is a URL; the doubled slash may be lost, as in a path's components.
pub fn scheme(path: &Path) -> Option<&'static str> {
    let (scheme, rest) = path.to_str()?.split_once(':')?;
    rest.starts_with('/').then_some(())?;
    SCHEMES.into_iter().find(|known| *known == scheme)
}

/// Whether a path is a URL.
pub fn is_remote(path: &Path) -> bool {
    scheme(path).is_some()
}

/// Whether what is behind a path can only be read, file by file.
pub fn is_http(path: &Path) -> bool {
    matches!(scheme(path), Some("http" | "https"))
}

/// Files by one disk, objects by another.
#[derive(Debug)]
pub struct RoutedDisk {
    files: Arc<dyn Disk>,
    objects: Arc<dyn Disk>,
}

impl RoutedDisk {
    /// One to be shared.
    pub fn shared(files: Arc<dyn Disk>, objects: Arc<dyn Disk>) -> Arc<dyn Disk> {
        Arc::new(Self { files, objects })
    }

    fn of(&self, path: &Path) -> &dyn Disk {
        if is_remote(path) { &*self.objects } else { &*self.files }
    }

    /// A file, or a folder and all in it, as objects; the file goes once its object is there.
    fn upload(&self, from: &Path, to: &Path) -> io::Result<()> {
        let file = match self.files.open(from) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => {
                for entry in self.files.list(from)? {
                    let name = entry.file_name().ok_or(io::ErrorKind::InvalidInput)?;
                    self.upload(&entry, &to.join(name))?;
                }
                return self.files.remove_dir_all(from);
            }
            Err(error) => return Err(error),
        };
        let mut object = self.objects.create(to)?;
        let (mut piece, mut offset) = (vec![0; COPY_BYTES], 0);
        loop {
            match file.read_at(&mut piece, offset)? {
                0 => break,
                read => {
                    object.write_all(&piece[..read])?;
                    offset += read as u64;
                }
            }
        }
        object.sync()?;
        drop(object);
        self.files.remove_file(from)
    }
}

impl Disk for RoutedDisk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn ReadAt>> {
        self.of(path).open(path)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        self.of(path).create(path)
    }

    fn truncate(&self, path: &Path, bytes: u64) -> io::Result<()> {
        self.of(path).truncate(path, bytes)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.of(path).create_dir_all(path)
    }

    /// From a file to a URL this is an upload, which a reader of the object sees whole or not.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        match (is_remote(from), is_remote(to)) {
            (false, true) => self.upload(from, to),
            (true, false) => Err(io::ErrorKind::Unsupported.into()),
            (true, true) | (false, false) => self.of(from).rename(from, to),
        }
    }

    fn exchange(&self, one: &Path, other: &Path) -> io::Result<()> {
        if is_remote(one) != is_remote(other) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        self.of(one).exchange(one, other)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.of(path).remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.of(path).remove_dir_all(path)
    }

    fn true_name(&self, path: &Path) -> io::Result<PathBuf> {
        self.of(path).true_name(path)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.of(path).remove(path)
    }

    fn remove_empty_dir(&self, path: &Path) -> io::Result<()> {
        self.of(path).remove_empty_dir(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Lock>> {
        self.of(path).lock(path)
    }

    fn lock_dir(&self, path: &Path) -> io::Result<Option<Lock>> {
        self.of(path).lock_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        self.of(path).list(path)
    }

    fn list_below(&self, path: &Path, limit: usize) -> io::Result<Vec<Object>> {
        self.of(path).list_below(path, limit)
    }

    fn put(&self, path: &Path, bytes: Vec<u8>, expected: &Expected) -> io::Result<()> {
        self.of(path).put(path, bytes, expected)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.of(path).sync_dir(path)
    }

    fn exists(&self, path: &Path) -> bool {
        self.of(path).exists(path)
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::{is_http, is_remote, scheme};

    #[test]
    fn a_url_is_one_with_one_slash_or_two_and_a_file_never_is() {
        for url in ["s3://b/k", "s3:/b/k", "gs://b", "az://c/k", "http://h:80/k", "https://h/k"] {
            assert!(is_remote(Path::new(url)), "{url}");
        }
        for path in ["/s3://b/k", "s3", "s3:x", "S3://b/k", "ftp://h/k", "file:///k", "a/b:/c"] {
            assert!(!is_remote(Path::new(path)), "{path}");
        }
        let parts: PathBuf = Path::new("s3://b/k").components().collect();
        assert_eq!((scheme(&parts), &*parts), (Some("s3"), Path::new("s3://b/k")));
        assert!(is_http(Path::new("https://h/k")) && !is_http(Path::new("s3://b/k")));
    }
}
