//! The token file: one token a line, its secret hashed; read whole, written whole.
//!
//! ```text
//! # name role created expires sha256
//! ci submit 2026-11-23T10:00:00Z - 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
//! ```
//!
//! Fields stand apart by blanks; `-` is no expiry; `#` begins a comment line. The hash is of the
//! whole secret. Secrets are 32 random bytes, so that a plain fast hash can't be searched. Nobody
//! but the owner may read or write the file.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use chrono::{DateTime, SecondsFormat, Utc};
use minispark_engine::disk::{Disk, RealDisk};
use sha2::{Digest, Sha256};

use super::{Role, Secret};

/// The first line of a file that we write.
const HEADER: &str =
    "# Tokens of minispark: name role created expires sha256; the secrets are not here.\n";

/// The most bytes of a token file.
const MOST_BYTES: u64 = 1 << 20;

/// The most characters of a token's name.
const MOST_NAME: usize = 64;

/// The hash of a secret.
pub type Hash = [u8; 32];

/// A token, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Whose it is; owns the jobs that are submitted with it.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// When it was made.
    pub created: DateTime<Utc>,
    /// From when on it is refused.
    pub expires: Option<DateTime<Utc>>,
    /// What its secret is recognised by.
    pub hash: Hash,
}

/// Why a token file or a file with a secret can't be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system refused.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Others than its owner may read or write it.
    #[error("`{}` has mode {mode:04o}: others can read it; run: chmod 600 {}", path.display(), path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// A line is not what it should be.
    #[error("{}:{line}: {reason}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// Another command writes it.
    #[error("`{}` is there: another command changes the tokens, or one was interrupted; remove it then", path.display())]
    Busy {
        /// The file beside it.
        path: PathBuf,
    },
    /// There is a token of that name and role.
    #[error("there is a token `{name}` with role {role}; revoke it first")]
    Taken {
        /// Its name.
        name: String,
        /// Its role.
        role: Role,
    },
    /// A name that can't be one.
    #[error("a token's name has 1 to 64 characters of A-Z a-z 0-9 _ - .")]
    Name,
    /// The system has no randomness.
    #[error("cannot draw a random secret: {0}")]
    Random(String),
}

impl FileError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}

/// The hash of a secret's text.
pub(crate) fn hash(secret: &str) -> Hash {
    Sha256::digest(secret.as_bytes()).into()
}

/// What tells one state of a file from the next: inode, size, time of change.
pub(crate) type Stamp = (u64, u64, i64, i64);

/// The state of a file now.
pub(crate) fn stamp(path: &Path) -> io::Result<Stamp> {
    let found = fs::metadata(path)?;
    Ok((found.ino(), found.size(), found.mtime(), found.mtime_nsec()))
}

/// All tokens of a file.
///
/// # Errors
/// Where it can't be read, others may read it, or a line is none of a token.
pub fn read(path: &Path) -> Result<Vec<Token>, FileError> {
    let text = read_private(path)?;
    let mut tokens: Vec<Token> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong =
            |reason: String| FileError::Line { path: path.to_owned(), line: index + 1, reason };
        let token = parse(line).map_err(wrong)?;
        if tokens.iter().any(|known| known.name == token.name && known.role == token.role) {
            return Err(wrong(format!("a second token `{}` with role {}", token.name, token.role)));
        }
        tokens.push(token);
    }
    Ok(tokens)
}

fn parse(line: &str) -> Result<Token, String> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [name, role, created, expires, digits] = fields[..] else {
        return Err(format!(
            "a token is `name role created expires sha256`, five fields; here are {}",
            fields.len()
        ));
    };
    if !is_name(name) {
        return Err(FileError::Name.to_string());
    }
    let time = |text: &str| {
        DateTime::parse_from_rfc3339(text)
            .map(|time| time.with_timezone(&Utc))
            .map_err(|_| format!("`{text}` is no time such as 2026-11-23T10:00:00Z"))
    };
    Ok(Token {
        name: String::from(name),
        role: role.parse()?,
        created: time(created)?,
        expires: if expires == "-" { None } else { Some(time(expires)?) },
        hash: crate::master::folder::from_hex(digits)
            .ok_or("the hash is not 64 hexadecimal digits (SHA-256 of the secret)")?,
    })
}

/// Whether a text can be a token's name.
fn is_name(text: &str) -> bool {
    (1..=MOST_NAME).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
}

/// Makes a token and adds it to the file, which is made where it is not there. The secret is in
/// the answer and nowhere else.
///
/// # Errors
/// As [`read`]; where the name is taken for this role, and where the file can't be written.
pub fn add(
    path: &Path,
    name: &str,
    role: Role,
    created: DateTime<Utc>,
    expires: Option<DateTime<Utc>>,
) -> Result<(Token, Secret), FileError> {
    if !is_name(name) {
        return Err(FileError::Name);
    }
    let mut random = [0; 32];
    getrandom::fill(&mut random).map_err(|error| FileError::Random(error.to_string()))?;
    let secret = format!("msp_{}", crate::master::folder::to_hex(&random));
    let token = Token { name: String::from(name), role, created, expires, hash: hash(&secret) };
    change(path, |tokens| {
        if tokens.iter().any(|known| known.name == token.name && known.role == role) {
            return Err(FileError::Taken { name: String::from(name), role });
        }
        tokens.push(token.clone());
        Ok(())
    })?;
    Ok((token, Secret::new(secret)))
}

/// Removes the tokens of a name, only those of a role where one is given; how many there were.
///
/// # Errors
/// As [`read`], and where the file can't be written.
pub fn revoke(path: &Path, name: &str, role: Option<Role>) -> Result<usize, FileError> {
    let mut removed = 0;
    change(path, |tokens| {
        let before = tokens.len();
        tokens.retain(|token| token.name != name || role.is_some_and(|role| token.role != role));
        removed = before - tokens.len();
        Ok(())
    })?;
    Ok(removed)
}

/// Rewrites the file: whole or not at all, one command at a time.
fn change(
    path: &Path,
    edit: impl FnOnce(&mut Vec<Token>) -> Result<(), FileError>,
) -> Result<(), FileError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let temporary = PathBuf::from(name);
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary);
    let mut file = opened.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => FileError::Busy { path: temporary.clone() },
        _ => FileError::io("create", &temporary)(error),
    })?;
    let write = || {
        let mut tokens = if path.exists() { read(path)? } else { Vec::new() };
        edit(&mut tokens)?;
        let failed = |error| FileError::io("write", &temporary)(error);
        file.write_all(shown(&tokens).as_bytes()).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        RealDisk.rename(&temporary, path).map_err(FileError::io("write", path))
    };
    let written = write();
    if written.is_err()
        && let Err(error) = RealDisk.remove_file(&temporary)
    {
        tracing::warn!(path = %temporary.display(), %error, "a temporary file is left");
    }
    written
}

fn shown(tokens: &[Token]) -> String {
    let time = |time: &DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Secs, true);
    let line = |Token { name, role, created, expires, hash }: &Token| {
        let expires = expires.as_ref().map_or_else(|| String::from("-"), time);
        let (created, digits) = (time(created), crate::master::folder::to_hex(hash));
        format!("{name} {role} {created} {expires} {digits}\n")
    };
    std::iter::once(String::from(HEADER)).chain(tokens.iter().map(line)).collect()
}

/// The secret in a client's token file: its only line.
///
/// # Errors
/// Where it can't be read, others may read it, or it holds no secret.
pub fn read_secret(path: &Path) -> Result<Secret, FileError> {
    let text = read_private(path)?;
    let wrong = |reason: &str| FileError::Line {
        path: path.to_owned(),
        line: 1,
        reason: String::from(reason),
    };
    if text.starts_with('#') || text.trim().contains(char::is_whitespace) {
        return Err(wrong("this is no secret; is it the master's list of tokens?"));
    }
    Secret::checked(text.trim()).ok_or_else(|| wrong("a secret has at least 32 visible characters"))
}

/// A small text file that only its owner may use.
fn read_private(path: &Path) -> Result<String, FileError> {
    let found = fs::metadata(path).map_err(FileError::io("read", path))?;
    let mode = found.mode() & 0o7777;
    if found.is_file() && mode & 0o077 != 0 {
        return Err(FileError::Open { path: path.to_owned(), mode });
    }
    let read = || -> io::Result<String> {
        let file = RealDisk.open(path)?;
        let size = file.size()?;
        if size > MOST_BYTES {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is too large"));
        }
        let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
        file.read_exact_at(&mut bytes, 0)?;
        String::from_utf8(bytes)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not text"))
    };
    read().map_err(FileError::io("read", path))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use chrono::{DateTime, Utc};

    use super::{super::Role, FileError, add, hash, read, read_secret, revoke};

    fn time(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn a_token_is_added_and_found_again_by_its_hash_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        let created = time("2026-11-23T10:00:00Z");
        let (_, first) = add(&path, "ci", Role::Submit, created, None).unwrap();
        let (_, second) = add(&path, "ci", Role::Read, created, Some(created)).unwrap();
        let tokens = read(&path).unwrap();
        assert_eq!(tokens.len(), 2);
        assert_eq!(tokens[0].hash, hash(first.expose()));
        assert_eq!((tokens[1].hash, tokens[1].expires), (hash(second.expose()), Some(created)));
        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains(first.expose()) && !text.contains(second.expose()));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");
        assert!(matches!(
            add(&path, "ci", Role::Read, created, None),
            Err(FileError::Taken { .. })
        ));
        assert_eq!(revoke(&path, "ci", Some(Role::Read)).unwrap(), 1);
        assert_eq!(revoke(&path, "ci", None).unwrap(), 1);
        assert_eq!(revoke(&path, "ci", None).unwrap(), 0);
        assert_eq!(read(&path).unwrap(), []);
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        add(&path, "a", Role::Admin, time("2026-11-23T10:00:00Z"), None).unwrap();
        for mode in [0o644, 0o640, 0o602] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert!(matches!(read(&path), Err(FileError::Open { .. })), "{mode:o}");
            assert!(matches!(read_secret(&path), Err(FileError::Open { .. })), "{mode:o}");
        }
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test makes the files that are read")]
    fn a_wrong_line_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        let digits = "ab".repeat(32);
        for (line, part) in [
            ("a admin 2026-11-23T10:00:00Z -", "five fields"),
            (&*format!("a boss 2026-11-23T10:00:00Z - {digits}"), "`boss`"),
            (&*format!("a admin yesterday - {digits}"), "`yesterday`"),
            (&*format!("a/b admin 2026-11-23T10:00:00Z - {digits}"), "name"),
            ("a admin 2026-11-23T10:00:00Z - 12", "64"),
        ] {
            fs::write(&path, format!("# a comment\n\n{line}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            let told = read(&path).unwrap_err().to_string();
            assert!(told.contains(":3: ") && told.contains(part), "{told}");
        }
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test makes the files that are read")]
    fn the_masters_list_is_no_clients_secret() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        let (_, secret) = add(&path, "a", Role::Admin, time("2026-11-23T10:00:00Z"), None).unwrap();
        assert!(read_secret(&path).unwrap_err().to_string().contains("list of tokens"));
        fs::write(&path, format!("{}\n", secret.expose())).unwrap();
        assert_eq!(read_secret(&path).unwrap().expose(), secret.expose());
        assert!(read(&path).is_err());
        fs::write(&path, "short\n").unwrap();
        assert!(read_secret(&path).is_err());
    }
}
