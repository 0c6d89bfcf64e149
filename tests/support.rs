//! What the whole-system tests share: the built binary, its answers, waiting with a deadline.

use std::{
    ffi::OsStr,
    io::Read,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

pub(crate) mod cluster;
pub(crate) mod exposition;
pub(crate) mod generate;
pub(crate) mod golden;
pub(crate) mod http;

/// How long anything may take before a test gives up on it.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The built binary, without what the environment would add.
pub(crate) fn minispark() -> Command {
    command(env!("CARGO_BIN_EXE_minispark"))
}

/// A program, without what the environment would add.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for name in ["MASTER_URL", "MINISPARK_TOKEN", "RUST_LOG", "NO_COLOR", "CI"] {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

/// What a process said and how it ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// The exit code; a signal is a failure of the test.
    pub(crate) fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| panic!("ended by a signal: {self:?}"))
    }

    /// Stdout as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The same, where the exit code is 0.
    pub(crate) fn expect_done(self) -> Self {
        assert_eq!(self.code(), 0, "{self:?}");
        self
    }
}

/// Runs to the end; a process that does not end in time is killed and fails the test.
pub(crate) fn run(command: &mut Command) -> Ran {
    run_within(command, PATIENCE)
}

/// As [`run`], with a deadline of one's own.
pub(crate) fn run_within(command: &mut Command, patience: Duration) -> Ran {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let (stdout, stderr) = (thread::spawn(|| text(stdout)), thread::spawn(|| text(stderr)));
    let mut status = None;
    let ended = holds_within(patience, || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    if !ended {
        child.kill().unwrap();
        status = Some(child.wait().unwrap());
    }
    let (stdout, stderr) = (stdout.join().unwrap(), stderr.join().unwrap());
    let ran = Ran { status: status.unwrap(), stdout, stderr };
    assert!(ended, "not done after {patience:?}: {command:?}: {ran:?}");
    ran
}

fn text(mut stream: impl Read) -> String {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

/// Waits until the condition holds; fails the test by this name where it does not in time.
pub(crate) fn until(what: &str, condition: impl FnMut() -> bool) {
    assert!(holds_within(PATIENCE, condition), "still not after {PATIENCE:?}: {what}");
}

/// Whether the condition holds before the time is up; it is looked at every few milliseconds.
pub(crate) fn holds_within(patience: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    loop {
        if condition() {
            return true;
        }
        if start.elapsed() > patience {
            return false;
        }
        thread::park_timeout(Duration::from_millis(5));
    }
}

/// Copies a folder with all in it.
pub(crate) fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// The names in a folder, sorted; none where it is not there.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// All files below a folder.
pub(crate) fn files_below(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut files = Vec::new();
    for entry in entries {
        let Ok(entry) = entry else { continue };
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => files.extend(files_below(&entry.path())),
            Ok(_) => files.push(entry.path()),
            Err(_) => {}
        }
    }
    files
}
