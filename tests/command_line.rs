//! What scripts rely on: verbs and their exit codes, stdout as data, the original's reply format.

#![cfg(test)]
#![expect(clippy::disallowed_methods, reason = "a test makes the files that the program reads")]
#![expect(clippy::shadow_unrelated, reason = "one answer is looked at after another")]

use std::{fs, os::unix::fs::symlink, path::Path, process::Stdio};

use serde_json::json;

#[expect(clippy::allow_attributes, reason = "an expectation fails where a target uses all")]
#[allow(dead_code, reason = "each target uses a part of it")]
mod support;

use support::{
    Ran,
    cluster::{Cluster, Settings, signal},
    command, holds_within, minispark, root, run, until,
};

const WORD_COUNT: &str = "jobs/wordcount.json";

fn expected() -> String {
    fs::read_to_string(root().join("data/expected/books.txt")).unwrap()
}

fn one_worker() -> Cluster {
    Cluster::start(Settings { workers: 1, ..Settings::default() })
}

/// A job that takes far longer than a test has patience for.
fn endless(folder: &Path) -> String {
    let text = folder.join("lines.txt");
    fs::write(&text, "a line\n".repeat(1000)).unwrap();
    let document = json!({ "name": "endless", "dag": {
        "nodes": [
            { "id": "read", "op": "read_csv", "path": text },
            { "id": "sleep", "op": "map", "fn": "sleep_10s" },
        ],
        "edges": [["read", "sleep"]],
    } });
    write(folder, "endless.json", &document.to_string())
}

/// A job that fails at its second row.
fn failing(folder: &Path) -> String {
    let text = folder.join("numbers.csv");
    fs::write(&text, "1\ntwo\n").unwrap();
    let document = json!({ "name": "failing", "dag": {
        "nodes": [{ "id": "read", "op": "read_csv", "path": text, "columns": { "n": "int64" } }],
        "edges": [],
    } });
    write(folder, "failing.json", &document.to_string())
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

/// Runs the word count here and asks for its rows.
fn word_count(flags: &[&str]) -> Ran {
    let folder = tempfile::tempdir().unwrap();
    let mut command = minispark();
    command.current_dir(root()).args(["run", WORD_COUNT, "--output-dir"]).arg(folder.path());
    run(command.args(flags))
}

#[test]
fn no_command_is_help_on_stderr_and_exit_1() {
    let ran = run(&mut minispark());
    assert_eq!((ran.code(), ran.stdout.as_str()), (1, ""));
    assert!(ran.stderr.contains("Usage: minispark") && ran.stderr.contains("submit"), "{ran:?}");
}

#[test]
fn help_and_version_are_answers() {
    assert!(run(minispark().arg("--help")).expect_done().stdout.contains("Exit codes"));
    for verb in ["run", "validate", "master", "worker", "submit", "status", "results"] {
        run(minispark().args([verb, "--help"])).expect_done();
    }
    let version = run(minispark().arg("version")).expect_done().json();
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    run(minispark().arg("--version")).expect_done();
}

#[test]
fn health_is_0_of_what_serves_and_4_of_what_does_not() {
    let mut cluster = one_worker();
    assert_eq!(cluster.client(&["health"]).expect_done().json()["status"], "ok");
    let address = cluster.get("/api/v1/workers")["items"][0]["address"].clone();
    let worker = ["health", "--worker", address.as_str().unwrap()];
    assert_eq!(cluster.client(&worker).expect_done().json()["status"], "ok");

    // A process that is stopped still gets its connections from the system.
    signal(cluster.workers[0].id(), "STOP");
    let ran = cluster.client(&worker);
    assert_eq!(ran.code(), 4, "{ran:?}");
    assert!(ran.stderr.contains("the worker does not answer"), "{ran:?}");
    signal(cluster.workers[0].id(), "CONT");

    cluster.master.kill();
    let ran = cluster.client(&["health"]);
    assert_eq!(ran.code(), 4, "{ran:?}");
}

#[test]
fn an_unknown_command_is_exit_2() {
    assert_eq!(run(minispark().arg("explode")).code(), 2);
}

#[test]
fn links_act_as_the_verbs_of_their_names() {
    let folder = tempfile::tempdir().unwrap();
    let link = |name: &str| {
        let path = folder.path().join(name);
        symlink(env!("CARGO_BIN_EXE_minispark"), &path).unwrap();
        path
    };
    let help = |path: &Path| run(command(path).arg("--help")).expect_done().stdout;
    assert!(help(&link("master")).contains("--flight-port"));
    assert!(help(&link("worker")).contains("--slots"));
    let client = link("client");
    assert!(help(&client).contains("submit"));
    assert_eq!(run(&mut command(&client)).code(), 1);
    // The original's flags have one dash; an impossible port shows that it was read.
    let ran = run(command(folder.path().join("worker")).args(["-port", "77777"]));
    assert_eq!(ran.code(), 2);
    assert!(ran.stderr.contains("--port"), "{ran:?}");
}

#[test]
fn a_run_prints_rows_on_stdout_and_figures_on_stderr() {
    let ran = word_count(&[]).expect_done();
    assert_eq!(ran.stdout, expected());
    for word in ["agg: 22 rows", "_agg.txt", "3 rows read", "rows/s", "peak memory"] {
        assert!(ran.stderr.contains(word), "no `{word}`: {ran:?}");
    }
    let first = "acordarme, 1\ncuyo, 1\nde, 3\n";
    assert_eq!(word_count(&["--show", "3"]).expect_done().stdout, first);
    assert_eq!(word_count(&["-q"]).expect_done().stderr, "");
}

#[test]
fn a_run_prints_its_results_object_with_json() {
    let ran = word_count(&["--json"]).expect_done();
    let results = ran.json();
    assert_eq!(results["files"]["agg"][0]["rows"], 22);
    assert_eq!(results["rows"]["agg"], 22);
    let id = results["job_id"].as_str().unwrap();
    let path = Path::new(results["outputs"]["agg"].as_str().unwrap());
    assert_eq!(path.file_name().unwrap().to_str().unwrap(), format!("{id}_agg.txt"));
    let names: Vec<&str> = results["schema"]["agg"]
        .as_array()
        .unwrap()
        .iter()
        .map(|column| column["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["token", "value"]);
}

#[test]
fn a_closed_pipe_ends_quietly() {
    let line = format!("'{}' run {WORD_COUNT} -q | head -n 1", env!("CARGO_BIN_EXE_minispark"));
    let folder = tempfile::tempdir().unwrap();
    let ran =
        run(command("sh").current_dir(root()).env("TMPDIR", folder.path()).args(["-c", &line]));
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("acordarme, 1\n", ""));
}

#[test]
fn validate_tells_all_problems_and_runs_nothing() {
    let ran = run(minispark().current_dir(root()).args(["validate", WORD_COUNT])).expect_done();
    assert_eq!(ran.json()["valid"], true);
    let folder = tempfile::tempdir().unwrap();
    let document = json!({ "name": "x", "dag": { "nodes": [{ "id": "a", "op": "nop" }] } });
    let job = write(folder.path(), "job.json", &document.to_string());
    let ran = run(minispark().args(["validate", &job, "--json"]));
    assert_eq!(ran.code(), 3);
    let problem: serde_json::Value = serde_json::from_str(&ran.stderr).unwrap();
    assert_eq!(problem["code"], "VALIDATION_FAILED");
    assert_eq!(problem["errors"][0]["pointer"], "/dag/nodes/0/op");
}

#[test]
fn the_first_ctrl_c_cancels_a_run_and_cleans_up() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("output");
    let job = endless(folder.path());
    let mut command = minispark();
    command.args(["run", &job, "--output-dir"]).arg(&output);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until("the run has its scratch folder", || {
        support::names(&output.join(".minispark")).iter().any(|name| name.starts_with("run-"))
    });
    signal(child.id(), "INT");
    let mut status = None;
    assert!(holds_within(std::time::Duration::from_secs(5), || {
        status = child.try_wait().unwrap();
        status.is_some()
    }));
    assert_eq!(status.unwrap().code(), Some(130));
    let left = support::files_below(&output);
    assert!(left.is_empty(), "left behind: {left:?}");
}

#[test]
fn the_original_scripts_find_what_they_grep_for() {
    let cluster = one_worker();
    let script = r#"
        set -e
        id=$("$BIN" submit jobs/wordcount.json | grep job_id | awk -F'"' '{print $4}')
        "$BIN" submit jobs/wordcount.json | grep -q '"status": "ACCEPTED"'
        for i in $(seq 200); do
            if "$BIN" status "$id" | grep -q '"status": "COMPLETED"'; then break; fi
        done
        "$BIN" status "$id" | grep '"progress_percent"' | tr -d ' ,'
        "$BIN" status "$id" | grep -c '"duration_secs"'
        cat "$("$BIN" results "$id" | grep '_agg.txt"' | head -n 1 | awk -F'"' '{print $4}')"
    "#;
    let ran = run(command("sh")
        .current_dir(root())
        .env("BIN", env!("CARGO_BIN_EXE_minispark"))
        .env("MASTER_URL", cluster.url())
        .args(["-c", script]))
    .expect_done();
    assert_eq!(ran.stdout, format!("\"progress_percent\":100.0\n1\n{}", expected()));
}

#[test]
fn exit_codes_tell_the_outcome() {
    let cluster = one_worker();
    let folder = tempfile::tempdir().unwrap();
    let word_count = root().join(WORD_COUNT).display().to_string();

    let ran = cluster.client(&["submit", &word_count, "--wait"]).expect_done();
    assert_eq!(ran.json()["status"], "COMPLETED");
    cluster.client(&["status", "@last", "--watch"]).expect_done();

    let ran = cluster.client(&["submit", &failing(folder.path()), "--wait"]);
    assert_eq!(ran.code(), 7, "{ran:?}");
    assert_eq!(ran.json()["status"], "FAILED");
    let ran = cluster.client(&["results", "@last"]);
    assert_eq!(ran.code(), 7, "{ran:?}");
    assert!(ran.stderr.starts_with("error[JOB_FAILED]"), "{ran:?}");
    cluster.client(&["status", "@last"]).expect_done();

    let ran = cluster.client(&["submit", &endless(folder.path())]).expect_done();
    let id = ran.json()["job_id"].as_str().unwrap().to_owned();
    let ran = cluster.client(&["results", &id]);
    assert_eq!(ran.code(), 9, "{ran:?}");
    assert!(ran.stderr.starts_with("error[NOT_FINISHED]"), "{ran:?}");
    assert_eq!(cluster.client(&["cancel", &id]).expect_done().json()["status"], "CANCELLED");
    assert_eq!(cluster.client(&["status", &id, "--watch"]).code(), 8);
    assert_eq!(cluster.client(&["results", &id]).code(), 8);

    for id in ["00000000-0000-4000-8000-000000000000", "ffff", "nonsense!"] {
        let ran = cluster.client(&["status", id]);
        assert_eq!(ran.code(), 6, "{ran:?}");
        assert!(ran.stderr.starts_with("error[NOT_FOUND]"), "{ran:?}");
    }
}

#[test]
fn a_job_is_named_by_the_beginning_of_its_id() {
    let cluster = one_worker();
    let document = fs::read_to_string(root().join(WORD_COUNT)).unwrap();
    let ids: Vec<String> = (0..20).map(|_| cluster.submit(&document)).collect();
    let shown = cluster.client(&["status", &ids[7][..13]]).expect_done().json();
    assert_eq!(shown["id"], ids[7].as_str());
    // Twenty ids and sixteen digits: two of them begin alike.
    let common = ids
        .iter()
        .map(|id| &id[..1])
        .find(|digit| ids.iter().filter(|id| id.starts_with(digit)).count() > 1);
    let ran = cluster.client(&["status", common.unwrap()]);
    assert_eq!(ran.code(), 2, "{ran:?}");
    let listed = cluster.client(&["status"]).expect_done().json();
    let listed: Vec<&str> =
        listed["items"].as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap()).collect();
    let newest_first: Vec<&str> = ids.iter().rev().map(String::as_str).collect();
    assert_eq!(listed, newest_first);
    let last = cluster.client(&["status", "@last"]).expect_done().json();
    assert_eq!(last["id"], newest_first[0]);
}

#[test]
fn results_are_listed_shown_and_downloaded() {
    let cluster = one_worker();
    let folder = tempfile::tempdir().unwrap();
    let document = fs::read_to_string(root().join(WORD_COUNT)).unwrap();
    let id = cluster.submit(&document);
    cluster.completed(&id);

    let results = cluster.client(&["results", &id]).expect_done().json();
    assert_eq!(results["job_id"], id.as_str());
    let path = results["outputs"]["agg"].as_str().unwrap();
    assert_eq!(fs::read_to_string(path).unwrap(), expected());

    let shown = cluster.client(&["results", &id, "--show", "2"]).expect_done().stdout;
    assert_eq!(shown, "acordarme, 1\ncuyo, 1\n");
    assert_eq!(cluster.client(&["results", &id, "--show", "100"]).expect_done().stdout, expected());

    let target = folder.path().join("down");
    let flags = ["results", &id, "--output", target.to_str().unwrap()];
    let answer = cluster.client(&flags).expect_done().json();
    let copy = answer["outputs"]["agg"].as_str().unwrap();
    assert_eq!(fs::read_to_string(copy).unwrap(), expected());
    assert_eq!(support::names(&target), [format!("{id}_agg.txt")]);

    let ran = cluster.client(&["results", &id, "--sink", "nope"]);
    assert_eq!(ran.code(), 2);
    assert!(ran.stderr.contains("agg"), "{ran:?}");
}

#[test]
fn a_job_comes_from_stdin_too() {
    let cluster = one_worker();
    let line = format!(
        "'{}' --server {} submit - --wait < {WORD_COUNT}",
        env!("CARGO_BIN_EXE_minispark"),
        cluster.url()
    );
    let ran = run(command("sh").current_dir(root()).args(["-c", &line])).expect_done();
    assert_eq!(ran.json()["status"], "COMPLETED");
}

#[test]
fn the_first_ctrl_c_in_wait_leaves_the_job_alone() {
    let cluster = one_worker();
    let folder = tempfile::tempdir().unwrap();
    let mut command = minispark();
    command.args(["--server", &cluster.url(), "submit", &endless(folder.path()), "--wait"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let running = || {
        let jobs = cluster.get("/api/v1/jobs");
        jobs["items"].as_array().unwrap().iter().any(|job| job["status"] == "RUNNING")
    };
    until("the job runs", running);
    signal(child.id(), "INT");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(running());
}

#[test]
fn workers_are_listed() {
    let cluster = one_worker();
    let workers = cluster.client(&["workers"]).expect_done().json();
    let workers = workers["items"].as_array().unwrap();
    assert_eq!(workers.len(), 1);
    assert_eq!(workers[0]["state"], "UP");
    assert_eq!(workers[0]["slots"], 2);
}

#[test]
fn log_lines_are_json_objects_with_a_context() {
    let cluster = one_worker();
    for line in cluster.master.log() {
        for field in ["time", "level", "message", "target"] {
            assert!(line[field].is_string(), "no {field} in {line}");
        }
    }
}
