//! [`RootedDisk`]: the files beneath given folders, and none outside of them.
//!
//! A path is resolved by the kernel beneath an open handle of its root (`openat2` with
//! `RESOLVE_BENEATH`), in the very call that opens it: whoever swaps a link or a folder between a
//! check and an open gains nothing. What leads out is refused with one error, whether something
//! is there or not, and what is no regular file is refused too. Hard links are files.

use std::{
    ffi::{OsStr, OsString},
    fmt, fs, io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use rustix::{
    fs::{
        AtFlags, Dir, Mode, OFlags, RenameFlags, ResolveFlags, mkdirat, openat2, renameat,
        renameat_with, unlinkat,
    },
    io::Errno,
};

use super::{Disk, Lock, ReadAt, WriteFile};
use crate::{Error, Result};

/// How files are opened: no FIFO is waited for, no terminal becomes ours. On regular files neither
/// has an effect.
const FILE: OFlags = OFlags::NONBLOCK.union(OFlags::NOCTTY);

/// A folder by its path alone, to start from.
const PLACE: OFlags = OFlags::PATH.union(OFlags::DIRECTORY);

/// How often a resolution is tried that a rename disturbs.
const TRIES: usize = 32;

/// A path leads out of the roots, or a URL out of the stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct NotAllowed;

impl fmt::Display for NotAllowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it is outside the folders that may be used")
    }
}

impl std::error::Error for NotAllowed {}

/// The error of a path that may not be used.
pub fn not_allowed() -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, NotAllowed)
}

/// Whether an error says that a path leads out of the roots.
pub fn is_not_allowed(error: &io::Error) -> bool {
    error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<NotAllowed>)
}

/// The system's files beneath some folders.
#[derive(Debug)]
pub struct RootedDisk {
    roots: Vec<Root>,
}

/// A folder that was opened once; what is renamed or mounted over its path later is not seen.
#[derive(Debug)]
struct Root {
    /// As it was given, and without links: either begins the path of a file.
    names: [PathBuf; 2],
    folder: OwnedFd,
}

impl RootedDisk {
    /// Opens the roots, which are absolute paths of folders.
    ///
    /// # Errors
    /// [`Error::Io`] for the first that can't be opened; also where the kernel is too old to
    /// resolve paths beneath a folder (Linux 5.6).
    pub fn open(paths: &[PathBuf]) -> Result<Arc<dyn Disk>> {
        let open = |path: &PathBuf| -> io::Result<Root> {
            let true_name = fs::canonicalize(path)?;
            let folder = rustix::fs::open(path, PLACE | OFlags::CLOEXEC, Mode::empty())?;
            let root = Root { names: [path.clone(), true_name], folder };
            root.resolve(Path::new("."), PLACE, Mode::empty())?;
            Ok(root)
        };
        let open = |path: &PathBuf| open(path).map_err(Error::io("open the data root", path));
        let roots = paths.iter().map(open).collect::<Result<_>>()?;
        Ok(Arc::new(Self { roots }))
    }

    /// The root of a path, and the rest of the path.
    fn find<'a>(&self, path: &'a Path) -> io::Result<(&Root, &'a Path)> {
        let rests = self.roots.iter().flat_map(|root| {
            root.names.iter().filter_map(move |name| Some((root, path.strip_prefix(name).ok()?)))
        });
        // Of nested roots the innermost.
        let nearest = rests.min_by_key(|(_, rest)| rest.components().count());
        let (root, rest) = nearest.ok_or_else(not_allowed)?;
        Ok((root, if rest.as_os_str().is_empty() { Path::new(".") } else { rest }))
    }

    fn resolve(&self, path: &Path, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        let (root, rest) = self.find(path)?;
        root.resolve(rest, flags, mode)
    }

    /// The folder that holds a path, and the path's last name in it.
    fn parent<'a>(&self, path: &'a Path) -> io::Result<(OwnedFd, &'a OsStr)> {
        let (root, rest) = self.find(path)?;
        let name = rest.file_name().ok_or_else(not_allowed)?;
        let above = rest.parent().filter(|above| !above.as_os_str().is_empty());
        let folder = root.resolve(above.unwrap_or(Path::new(".")), PLACE, Mode::empty())?;
        Ok((folder, name))
    }
}

impl Root {
    fn resolve(&self, rest: &Path, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        let how = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        for _ in 0..TRIES {
            match openat2(&self.folder, rest, flags | OFlags::CLOEXEC, mode, how) {
                Ok(file) => return Ok(file),
                Err(Errno::AGAIN | Errno::INTR) => {}
                // A way out; a link of /proc, or one where none may be.
                Err(Errno::XDEV | Errno::LOOP) => return Err(not_allowed()),
                // A socket, or a FIFO that nobody reads.
                Err(Errno::NXIO) => return Err(not_regular()),
                Err(error) => return Err(error.into()),
            }
        }
        Err(not_allowed())
    }
}

fn not_regular() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")
}

/// A file that was opened, if it is a regular one.
fn regular(file: OwnedFd) -> io::Result<fs::File> {
    let file = fs::File::from(file);
    let found = file.metadata()?;
    if found.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if found.is_file() { Ok(file) } else { Err(not_regular()) }
}

/// The path under which the system shows a folder that is open here.
fn shown(folder: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd()))
}

impl Disk for RootedDisk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn ReadAt>> {
        let file = self.resolve(path, OFlags::RDONLY | FILE, Mode::empty())?;
        Ok(Arc::new(regular(file)?))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | FILE;
        let file = self.resolve(path, flags, Mode::from_raw_mode(0o640))?;
        Ok(Box::new(regular(file)?))
    }

    fn truncate(&self, path: &Path, bytes: u64) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | FILE;
        let file = regular(self.resolve(path, flags, Mode::empty())?)?;
        file.set_len(bytes)?;
        file.sync_all()
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let (root, rest) = self.find(path)?;
        let mut made = PathBuf::from(".");
        for part in rest.components() {
            let name = match part {
                Component::Normal(name) => name,
                Component::CurDir => continue,
                Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                    return Err(not_allowed());
                }
            };
            let folder = root.resolve(&made, PLACE, Mode::empty())?;
            match mkdirat(&folder, name, Mode::from_raw_mode(0o750)) {
                Ok(()) | Err(Errno::EXIST) => made.push(name),
                Err(error) => return Err(error.into()),
            }
        }
        root.resolve(&made, PLACE, Mode::empty()).map(drop)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (old_folder, old_name) = self.parent(from)?;
        let (new_folder, new_name) = self.parent(to)?;
        Ok(renameat(&old_folder, old_name, &new_folder, new_name)?)
    }

    fn exchange(&self, one: &Path, other: &Path) -> io::Result<()> {
        let (one_folder, one_name) = self.parent(one)?;
        let (other_folder, other_name) = self.parent(other)?;
        let how = RenameFlags::EXCHANGE;
        Ok(renameat_with(&one_folder, one_name, &other_folder, other_name, how)?)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let (folder, name) = self.parent(path)?;
        Ok(unlinkat(&folder, name, AtFlags::empty())?)
    }

    #[expect(clippy::disallowed_methods, reason = "below an open handle; links are not followed")]
    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        let remove = || {
            let (folder, name) = self.parent(path)?;
            fs::remove_dir_all(shown(&folder).join(name))
        };
        match remove() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn remove_empty_dir(&self, path: &Path) -> io::Result<()> {
        let remove = || {
            let (folder, name) = self.parent(path)?;
            Ok(unlinkat(&folder, name, AtFlags::REMOVEDIR)?)
        };
        match remove() {
            Err(error)
                if matches!(
                    io::Error::kind(&error),
                    io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty
                ) =>
            {
                Ok(())
            }
            other => other,
        }
    }

    fn true_name(&self, path: &Path) -> io::Result<PathBuf> {
        let file = self.resolve(path, OFlags::PATH, Mode::empty())?;
        fs::read_link(shown(&file))
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Lock>> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | FILE;
        let file = regular(self.resolve(path, flags, Mode::from_raw_mode(0o640))?)?;
        Lock::of(file)
    }

    fn lock_dir(&self, path: &Path) -> io::Result<Option<Lock>> {
        let folder = self.resolve(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
        Lock::of(fs::File::from(folder))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let folder = self.resolve(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
        let mut paths = Vec::new();
        for entry in Dir::read_from(&folder)? {
            let entry = entry?;
            let name = OsString::from(OsStr::from_bytes(entry.file_name().to_bytes()));
            if name != "." && name != ".." {
                paths.push(path.join(name));
            }
        }
        paths.sort();
        Ok(paths)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let folder = self.resolve(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
        fs::File::from(folder).sync_all()
    }

    fn exists(&self, path: &Path) -> bool {
        self.resolve(path, OFlags::PATH, Mode::empty()).is_ok()
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test makes the files that are read")]
mod tests {
    use std::{
        fs, io,
        io::Write,
        os::unix::fs::symlink,
        path::{Path, PathBuf},
        sync::{
            Arc,
            atomic::{AtomicBool, Ordering},
        },
        thread,
    };

    use tempfile::TempDir;

    use super::{RootedDisk, is_not_allowed};
    use crate::disk::Disk;

    /// `root/` with `in.txt` and `sub/`, and `secret.txt` beside it.
    fn laid_out() -> (TempDir, PathBuf, Arc<dyn Disk>) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        fs::create_dir_all(root.join("sub")).unwrap();
        fs::write(root.join("in.txt"), "in").unwrap();
        fs::write(folder.path().join("secret.txt"), "secret").unwrap();
        let disk = RootedDisk::open(std::slice::from_ref(&root)).unwrap();
        (folder, root, disk)
    }

    fn read(disk: &dyn Disk, path: &Path) -> io::Result<String> {
        let file = disk.open(path)?;
        let mut bytes = vec![0; usize::try_from(file.size()?).unwrap()];
        file.read_exact_at(&mut bytes, 0)?;
        Ok(String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn what_leads_out_is_refused_in_the_same_words_whether_it_is_there_or_not() {
        let (folder, root, disk) = laid_out();
        symlink(folder.path().join("secret.txt"), root.join("out")).unwrap();
        symlink("/no/such/file", root.join("nowhere")).unwrap();
        symlink("../secret.txt", root.join("up")).unwrap();
        symlink("..", root.join("above")).unwrap();
        symlink("/proc/self/fd/0", root.join("magic")).unwrap();
        let inside =
            ["out", "nowhere", "up", "above/secret.txt", "magic"].map(|name| root.join(name));
        let outside = ["root/../secret.txt", "root/../nothing", "secret.txt", "nothing", "root2/x"];
        let outside = outside.map(|name| folder.path().join(name));
        let system = ["/etc/passwd", "/etc/no-such-file", "/proc/self/environ", "/", "relative"];
        let system = system.map(PathBuf::from);
        for path in inside.iter().chain(&outside).chain(&system) {
            let shown = path.display();
            let Err(refused) = disk.open(path) else { panic!("{shown} was opened") };
            assert!(is_not_allowed(&refused), "{shown}: {refused}");
            assert_eq!(refused.to_string(), "it is outside the folders that may be used");
            assert!(!disk.exists(path), "{shown}");
            assert!(disk.list(path).is_err_and(|error| is_not_allowed(&error)), "{shown}");
            assert!(disk.create(path).is_err_and(|error| is_not_allowed(&error)), "{shown}");
        }
        let secret = fs::read_to_string(folder.path().join("secret.txt")).unwrap();
        assert_eq!(secret, "secret");
    }

    #[test]
    fn links_that_stay_inside_are_followed_and_both_names_of_a_root_count() {
        let (folder, root, _) = laid_out();
        symlink("in.txt", root.join("link")).unwrap();
        let alias = folder.path().join("alias");
        symlink(&root, &alias).unwrap();
        let disk = RootedDisk::open(std::slice::from_ref(&alias)).unwrap();
        for path in [alias.join("in.txt"), root.join("link"), alias.join("sub/../in.txt")] {
            assert_eq!(read(&*disk, &path).unwrap(), "in");
        }
        assert_eq!(disk.true_name(&alias.join("link")).unwrap(), root.join("in.txt"));
    }

    #[test]
    fn only_regular_files_are_opened_and_none_is_waited_for() {
        let (_folder, root, disk) = laid_out();
        let fifo = root.join("fifo");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
        for path in [fifo, root.join("socket")] {
            assert_eq!(disk.open(&path).err().unwrap().kind(), io::ErrorKind::InvalidInput);
        }
        let error = disk.open(&root.join("sub")).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::IsADirectory);
        assert_eq!(disk.open(&root.join("x")).err().unwrap().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn files_are_made_moved_listed_and_removed_beneath_the_root() {
        let (_folder, root, disk) = laid_out();
        disk.create_dir_all(&root.join("a/b")).unwrap();
        disk.create_dir_all(&root.join("a/b")).unwrap();
        let (first, second) = (root.join("a/b/x"), root.join("sub/y"));
        disk.create(&first).unwrap().write_all(b"new").unwrap();
        disk.rename(&first, &second).unwrap();
        assert_eq!(read(&*disk, &second).unwrap(), "new");
        disk.sync_dir(&root.join("sub")).unwrap();
        let listed = ["a", "in.txt", "sub"].map(|name| root.join(name));
        assert_eq!(disk.list(&root).unwrap(), listed);
        disk.remove_empty_dir(&root.join("a/b")).unwrap();
        disk.remove_empty_dir(&root.join("sub")).unwrap();
        disk.remove(&root.join("sub")).unwrap();
        disk.remove(&second).unwrap();
        disk.remove_dir_all(&root.join("a")).unwrap();
        disk.remove_dir_all(&root.join("a")).unwrap();
        assert_eq!(disk.list(&root).unwrap(), [root.join("in.txt")]);
        assert!(disk.create_dir_all(&root.join("../c")).is_err_and(|error| is_not_allowed(&error)));
        let out = root.join("../moved");
        let moved = disk.rename(&root.join("in.txt"), &out);
        assert!(moved.is_err() && !out.exists());
    }

    #[test]
    fn a_link_that_is_swapped_in_while_files_are_opened_leads_nowhere() {
        let (folder, root, disk) = laid_out();
        fs::create_dir(folder.path().join("root/real")).unwrap();
        fs::write(root.join("real/secret.txt"), "in").unwrap();
        symlink(folder.path(), root.join("trap")).unwrap();
        let (real, trap, turn) = (root.join("real"), root.join("trap"), root.join("turn"));
        let is_done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !is_done.load(Ordering::Relaxed) {
                    fs::rename(&real, &turn).unwrap();
                    fs::rename(&trap, &real).unwrap();
                    fs::rename(&real, &trap).unwrap();
                    fs::rename(&turn, &real).unwrap();
                }
            });
            for _ in 0..5_000 {
                if let Ok(text) = read(&*disk, &real.join("secret.txt")) {
                    assert_eq!(text, "in");
                }
            }
            is_done.store(true, Ordering::Relaxed);
        });
    }

    #[test]
    fn without_roots_nothing_may_be_used() {
        let disk = RootedDisk::open(&[]).unwrap();
        assert!(disk.open(Path::new("/etc/passwd")).is_err_and(|error| is_not_allowed(&error)));
        let error = RootedDisk::open(&[PathBuf::from("/no/such/root")]).unwrap_err();
        assert_eq!(error.to_string(), "cannot open the data root `/no/such/root`");
    }
}
