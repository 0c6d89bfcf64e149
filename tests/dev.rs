//! `minispark dev`: a cluster in the background that is started once, mended and stopped, and
//! nobody else's process touched.

#![cfg(test)]
#![expect(clippy::disallowed_methods, reason = "a test looks at the files that the program keeps")]

use std::{
    fs,
    net::TcpListener,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

#[expect(clippy::allow_attributes, reason = "an expectation fails where a target uses all")]
#[allow(dead_code, reason = "each target uses a part of it")]
mod support;

use support::{Ran, cluster::signal, command, copy_folder, minispark, names, root, run, until};

/// A cluster of `dev`, stopped when dropped.
struct Dev(TempDir);

impl Dev {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn folder(&self) -> &Path {
        self.0.path()
    }

    /// Runs a command of `dev` in the folder.
    fn dev(&self, arguments: &[&str]) -> Ran {
        let mut command = minispark();
        command.current_dir(root()).arg("dev").args(arguments);
        run(command.arg("--dir").arg(self.folder()))
    }

    /// Runs `dev up` on free ports, with what a test needs beside.
    fn up(&self, arguments: &[&str]) -> Ran {
        let output = self.folder().join("output").display().to_string();
        let free = ["--port", "0", "--flight-port", "0", "--worker-port", "0"];
        let rest = ["--memory", "256MiB", "--output-dir", &output];
        self.dev(&[&["up"], &free[..], &rest, arguments].concat())
    }

    /// The pid files and records that are there.
    fn recorded(&self) -> Vec<String> {
        let mut left = names(&self.folder().join("logs"));
        left.retain(|name| {
            let extension = Path::new(name).extension();
            extension.is_some_and(|extension| extension == "pid" || extension == "json")
        });
        left
    }

    /// The process number that a script reads.
    fn pid(&self, name: &str) -> u32 {
        let path = self.folder().join(format!("logs/{name}.pid"));
        fs::read_to_string(path).unwrap().trim().parse().unwrap()
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let mut command = minispark();
        command.args(["dev", "down", "--grace", "1s", "--dir"]).arg(self.folder());
        // A test that failed has said why already.
        drop(command.stdout(Stdio::null()).stderr(Stdio::null()).status());
    }
}

/// What a document of `dev` says of a member.
fn member<'a>(shown: &'a Value, name: &str) -> &'a Value {
    let items = shown["items"].as_array().unwrap();
    items.iter().find(|item| item["name"] == name).unwrap_or_else(|| panic!("{name}: {shown:#}"))
}

/// Whether a process is there and not only waits to be reaped.
fn is_alive(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit_once(')').unwrap().1.starts_with(" Z"))
}

#[test]
fn it_comes_up_works_and_goes_down() {
    let dev = Dev::new();
    let shown = dev.up(&[]).expect_done().json();
    let names_shown: Vec<&str> = shown["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["name"].as_str().unwrap())
        .collect();
    assert_eq!(names_shown, ["master", "worker1", "worker2"]);
    for name in names_shown {
        assert_eq!(member(&shown, name)["pid"], dev.pid(name));
        assert!(is_alive(dev.pid(name)), "{name}");
        assert!(Path::new(member(&shown, name)["log"].as_str().unwrap()).exists(), "{name}");
    }
    let url = format!("http://{}", member(&shown, "master")["rest"].as_str().unwrap());
    let client = |arguments: &[&str]| {
        run(minispark().current_dir(root()).args(["--server", &url]).args(arguments))
    };
    // Both are up by now, and have their share of the memory: 256 MiB by three.
    let workers = client(&["workers"]).expect_done().json();
    let workers = workers["items"].as_array().unwrap();
    assert_eq!(workers.iter().filter(|worker| worker["state"] == "UP").count(), 2);
    let share = (256_u64 << 20) / 3;
    assert!(workers.iter().all(|worker| worker["budget_bytes"] == share), "{workers:#?}");
    client(&["submit", "jobs/wordcount.json", "--wait"]).expect_done();
    let rows = client(&["results", "@last", "--show", "1"]).expect_done().stdout;
    assert_eq!(rows, "acordarme, 1\n");

    let pids = ["master", "worker1", "worker2"].map(|name| dev.pid(name));
    let again = dev.up(&[]).expect_done();
    assert!(again.stderr.contains("it runs already"), "{again:?}");
    assert_eq!(["master", "worker1", "worker2"].map(|name| dev.pid(name)), pids);

    dev.dev(&["status"]).expect_done();
    let down = dev.dev(&["down"]).expect_done().json();
    let stopped = down["stopped"].as_array().unwrap();
    // The workers in the order in which they end, the master behind them.
    assert!(stopped.len() == 3 && stopped[2] == "master", "{down:#}");
    assert!(!pids.into_iter().any(is_alive));
    assert_eq!(dev.recorded(), [] as [String; 0]);
    assert_eq!(dev.dev(&["status"]).code(), 1);
    dev.dev(&["down"]).expect_done();
}

#[test]
fn what_is_missing_is_started_again() {
    let dev = Dev::new();
    dev.up(&[]).expect_done();
    let before = ["master", "worker1", "worker2"].map(|name| dev.pid(name));
    signal(before[1], "KILL");
    until("the worker is gone", || !is_alive(before[1]));
    let shown = dev.dev(&["status"]);
    assert_eq!(shown.code(), 1);
    assert_eq!(member(&shown.json(), "worker1")["state"], "STOPPED");
    dev.up(&[]).expect_done();
    let after = ["master", "worker1", "worker2"].map(|name| dev.pid(name));
    assert_eq!((after[0], after[2]), (before[0], before[2]));
    assert_ne!(after[1], before[1]);
    assert!(is_alive(after[1]));
    // The log of the life before is kept.
    assert!(names(&dev.folder().join("logs")).contains(&"worker1.log.old".to_owned()));
    dev.up(&["--workers", "3"]).expect_done();
    assert_eq!(dev.pid("worker1"), after[1]);
    assert!(is_alive(dev.pid("worker3")));
}

#[test]
fn a_stranger_with_the_same_number_is_left_alone() {
    let dev = Dev::new();
    let mut stranger = Command::new("sleep").arg("600").stdin(Stdio::null()).spawn().unwrap();
    let logs = dev.folder().join("logs");
    fs::create_dir(&logs).unwrap();
    let record = format!("{{\"pid\":{},\"start_ticks\":1}}", stranger.id());
    fs::write(logs.join("master.json"), record).unwrap();
    fs::write(logs.join("master.pid"), stranger.id().to_string()).unwrap();
    let down = dev.dev(&["down"]).expect_done().json();
    assert_eq!(down["gone"], serde_json::json!(["master"]));
    assert!(!logs.join("master.pid").exists() && !logs.join("master.json").exists());
    let is_there = stranger.try_wait().unwrap().is_none();
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    assert!(is_there);
}

#[test]
fn a_taken_port_is_told_and_nothing_is_left() {
    let dev = Dev::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let ran = dev.dev(&["up", "--port", &port, "--flight-port", "0", "--worker-port", "0"]);
    assert_eq!(ran.code(), 10, "{ran:?}");
    assert!(ran.stderr.contains(&format!("port {port}")), "{ran:?}");
    assert_eq!(names(&dev.folder().join("logs")), [".lock"]);
}

#[test]
fn a_process_that_does_not_come_up_is_told_with_its_log() {
    let dev = Dev::new();
    // A file where the second worker's folder should be.
    fs::create_dir(dev.folder().join("mini-spark-dev")).unwrap();
    fs::write(dev.folder().join("mini-spark-dev/worker2"), "").unwrap();
    let ran = dev.up(&[]);
    assert_eq!(ran.code(), 1, "{ran:?}");
    for text in ["worker2 ended at once", "the end of", "mini-spark-dev/worker2", "worker2.log"] {
        assert!(ran.stderr.contains(text), "no `{text}`: {ran:?}");
    }
    assert_eq!(dev.recorded(), [] as [String; 0]);
}

#[test]
fn another_port_than_the_running_one_is_refused() {
    let dev = Dev::new();
    dev.up(&["--workers", "1", "--log-level", "error"]).expect_done();
    let ran = dev.dev(&["up", "--port", "1"]);
    assert_eq!(ran.code(), 10, "{ran:?}");
    assert!(ran.stderr.contains("dev down"), "{ran:?}");
    assert!(is_alive(dev.pid("master")));
}

/// Runs `scripts/clean.sh` in a folder that has the scripts and what builds and runs leave.
fn cleaned(folder: &Path, output: Option<&Path>) -> Ran {
    copy_folder(&root().join("scripts"), &folder.join("scripts"));
    for name in ["bin", "target/release", "logs", "mini-spark-dev/state", "data", "tmp/mini-spark"]
    {
        fs::create_dir_all(folder.join(name)).unwrap();
        fs::write(folder.join(name).join("file"), "").unwrap();
    }
    let mut clean = command(folder.join("scripts/clean.sh"));
    clean.env("TMPDIR", folder.join("tmp")).env_remove("OUTPUT_DIR").env_remove("MINISPARK");
    if let Some(output) = output {
        clean.env("OUTPUT_DIR", output);
    }
    run(&mut clean)
}

#[test]
fn cleaning_leaves_what_was_not_made() {
    let folder = tempfile::tempdir().unwrap();
    cleaned(folder.path(), None).expect_done();
    assert_eq!(names(folder.path()), ["data", "scripts", "tmp"]);
    assert_eq!(names(&folder.path().join("tmp")), [] as [&str; 0]);
}

#[test]
fn cleaning_refuses_a_folder_that_is_not_for_results() {
    let folder = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let other = elsewhere.path().join("mini-spark");
    fs::create_dir(&other).unwrap();
    let link = folder.path().join("tmp/mini-spark-link");
    fs::create_dir(folder.path().join("tmp")).unwrap();
    std::os::unix::fs::symlink(&other, &link).unwrap();
    for output in [&other, &link, &folder.path().join("data"), &folder.path().join("tmp")] {
        let ran = cleaned(folder.path(), Some(output));
        assert_eq!(ran.code(), 1, "{ran:?}");
        assert!(ran.stderr.starts_with("nothing was removed"), "{ran:?}");
        assert!(folder.path().join("target/release/file").exists() && other.exists());
    }
}

#[test]
fn cleaning_does_not_forget_a_process_that_may_run() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("logs")).unwrap();
    fs::write(folder.path().join("logs/master.pid"), std::process::id().to_string()).unwrap();
    let ran = cleaned(folder.path(), None);
    assert_eq!(ran.code(), 1, "{ran:?}");
    assert!(folder.path().join("logs/master.pid").exists() && ran.stderr.contains("may still run"));
}
