//! The master's state folder: its lock, the term, the ticket key; and the output folder.

use std::{
    fs, io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use minispark_engine::{
    Error as EngineError,
    disk::{Disk, Lock},
    id::Term,
};

use crate::error::Error;

/// The state folder, held by this process.
#[derive(Debug)]
pub(crate) struct StateFolder {
    /// This master's life.
    pub(crate) term: Term,
    /// Signs and checks tickets; the same for all lives.
    pub(crate) ticket_key: [u8; 32],
    _lock: Lock,
}

impl StateFolder {
    /// Takes the folder (made with mode 0700 where it is not there) and counts the term up.
    pub(crate) fn open(disk: &Arc<dyn Disk>, path: &Path) -> Result<Self, Error> {
        disk.create_dir_all(path).map_err(EngineError::io("create", path))?;
        restrict(path, 0o700)?;
        let lock = lock(&**disk, path)?;
        let term = next_term(&**disk, path)?;
        let ticket_key = ticket_key(&**disk, path)?;
        Ok(Self { term, ticket_key, _lock: lock })
    }
}

/// Takes the exclusive lock of a folder and leaves this process's number in it.
pub(crate) fn lock(disk: &dyn Disk, folder: &Path) -> Result<Lock, Error> {
    let path = folder.join("LOCK");
    let Some(lock) = disk.lock(&path).map_err(EngineError::io("lock", &path))? else {
        let holder = read_small(disk, &path).unwrap_or_default();
        let holder = match holder.trim() {
            "" => String::from("(unknown)"),
            pid => String::from(pid),
        };
        return Err(Error::Locked { path: folder.to_owned(), holder });
    };
    let write = || -> io::Result<()> {
        let mut file = disk.create(&path)?;
        file.write_all(std::process::id().to_string().as_bytes())?;
        file.flush()
    };
    write().map_err(EngineError::io("write", &path))?;
    Ok(lock)
}

/// Puts `bytes` at `path` so that a crash leaves the old or the new content.
pub(crate) fn write_durably(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Result<(), EngineError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let temporary = PathBuf::from(name);
    let write = || -> io::Result<()> {
        let mut file = disk.create(&temporary)?;
        fs::set_permissions(&temporary, fs::Permissions::from_mode(0o600))?;
        file.write_all(bytes)?;
        file.flush()?;
        file.sync()?;
        disk.rename(&temporary, path)?;
        path.parent().map_or(Ok(()), |folder| disk.sync_dir(folder))
    };
    write().map_err(EngineError::io("write", path))
}

/// The content of a small text file; `None` where there is none.
pub(crate) fn read_text(disk: &dyn Disk, path: &Path) -> Result<Option<String>, Error> {
    if !disk.exists(path) {
        return Ok(None);
    }
    Ok(Some(read_small(disk, path).map_err(EngineError::io("read", path))?))
}

/// Longer than any small file of ours.
const SMALL: u64 = 4096;

fn read_small(disk: &dyn Disk, path: &Path) -> io::Result<String> {
    let file = disk.open(path)?;
    let size = file.size()?.min(SMALL);
    let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
    file.read_exact_at(&mut bytes, 0)?;
    String::from_utf8(bytes).map_err(|_| io::ErrorKind::InvalidData.into())
}

fn next_term(disk: &dyn Disk, folder: &Path) -> Result<Term, Error> {
    let path = folder.join("term");
    let last = match read_text(disk, &path)? {
        None => 0,
        Some(text) => text.trim().parse::<u64>().map_err(|_| Error::StateCorrupt {
            path: path.clone(),
            reason: String::from("it should hold the number of the last term"),
        })?,
    };
    let term = last + 1;
    write_durably(disk, &path, format!("{term}\n").as_bytes())?;
    Ok(Term(term))
}

fn ticket_key(disk: &dyn Disk, folder: &Path) -> Result<[u8; 32], Error> {
    let path = folder.join("ticket.key");
    if let Some(text) = read_text(disk, &path)? {
        return from_hex(text.trim()).ok_or_else(|| Error::StateCorrupt {
            path,
            reason: String::from("it should hold a key of 32 bytes as hexadecimal digits"),
        });
    }
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(|error| Error::System {
        action: "draw a random key",
        source: io::Error::other(error.to_string()),
    })?;
    write_durably(disk, &path, format!("{}\n", to_hex(&key)).as_bytes())?;
    Ok(key)
}

/// A key as text.
pub(crate) fn to_hex(key: &[u8; 32]) -> String {
    key.iter().fold(String::with_capacity(64), |mut text, byte| {
        for digit in [byte >> 4, byte & 15] {
            text.extend(char::from_digit(u32::from(digit), 16));
        }
        text
    })
}

/// The key of a text; `None` where it is none.
pub(crate) fn from_hex(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut key = [0; 32];
    for (index, byte) in key.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(index * 2..index * 2 + 2)?, 16).ok()?;
    }
    Some(key)
}

fn restrict(path: &Path, mode: u32) -> Result<(), Error> {
    let permissions = fs::Permissions::from_mode(mode);
    fs::set_permissions(path, permissions).map_err(EngineError::io("restrict", path))?;
    Ok(())
}

/// Makes the output folder (mode 0750), and refuses one that another user owns or that can't be
/// written.
pub(crate) fn prepare_output(disk: &dyn Disk, path: &Path) -> Result<(), Error> {
    disk.create_dir_all(path).map_err(EngineError::io("create", path))?;
    // A file that we make is ours: its owner is who we are.
    let probe = path.join(format!(".minispark-probe-{}", std::process::id()));
    drop(disk.create(&probe).map_err(EngineError::io("write into", path))?);
    let user = fs::metadata(&probe).map(|metadata| metadata.uid());
    disk.remove_file(&probe).map_err(EngineError::io("remove", &probe))?;
    let user = user.map_err(EngineError::io("read", &probe))?;
    let owner = fs::metadata(path).map_err(EngineError::io("read", path))?.uid();
    if owner == user { Ok(()) } else { Err(Error::NotOwned { path: path.to_owned(), owner, user }) }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use minispark_engine::{disk::RealDisk, id::Term};

    use super::{StateFolder, from_hex, prepare_output, to_hex};
    use crate::error::Error;

    #[test]
    fn each_life_has_the_next_term_and_the_same_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let disk = RealDisk::shared();
        let first = StateFolder::open(&disk, &path).unwrap();
        let key = first.ticket_key;
        assert_eq!(first.term, Term(1));
        drop(first);
        let second = StateFolder::open(&disk, &path).unwrap();
        assert_eq!((second.term, second.ticket_key), (Term(2), key));
        let mode = |name: &str| fs::metadata(path.join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("."), mode("ticket.key"), mode("term")), (0o700, 0o600, 0o600));
    }

    #[test]
    fn a_second_master_is_told_who_holds_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let disk = RealDisk::shared();
        let _held = StateFolder::open(&disk, folder.path()).unwrap();
        let error = StateFolder::open(&disk, folder.path()).unwrap_err();
        let Error::Locked { holder, .. } = error else { panic!("{error}") };
        assert_eq!(holder, std::process::id().to_string());
    }

    #[test]
    fn a_term_that_is_no_number_stops_the_start_and_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let disk = RealDisk::shared();
        drop(StateFolder::open(&disk, folder.path()).unwrap());
        fs::copy(folder.path().join("ticket.key"), folder.path().join("term")).unwrap();
        let error = StateFolder::open(&disk, folder.path()).unwrap_err();
        assert!(matches!(error, Error::StateCorrupt { .. }), "{error}");
        assert_eq!(fs::read_to_string(folder.path().join("term")).unwrap().trim().len(), 64);
    }

    #[test]
    fn a_key_survives_its_text() {
        let key: [u8; 32] = std::array::from_fn(|index| u8::try_from(index * 7).unwrap());
        assert_eq!(from_hex(&to_hex(&key)), Some(key));
        assert_eq!(from_hex("0g"), None);
        assert_eq!(from_hex(&"+1".repeat(32)), None);
    }

    #[test]
    fn an_output_folder_is_made_and_left_clean() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        prepare_output(&RealDisk, &path).unwrap();
        assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
    }
}
