//! What outlives a process: a master that is killed and started again, a worker that leaves and
//! comes back, a submission whose answer was lost.

#![cfg(test)]
#![expect(clippy::disallowed_methods, reason = "a test makes the files that the program reads")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

#[expect(clippy::allow_attributes, reason = "an expectation fails where a target uses all")]
#[allow(dead_code, reason = "each target uses a part of it")]
mod support;

use support::{
    cluster::{Cluster, Settings, signal},
    generate, http, minispark, names, root, run, until,
};

/// Enough for dozens of map tasks.
const TEXT_BYTES: u64 = if cfg!(debug_assertions) { 8_000_000 } else { 120_000_000 };

/// How often the master is killed.
const KILLS: u32 = 20;

fn word_count_of(text: &Path) -> String {
    json!({ "name": "wordcount", "dag": {
        "nodes": [
            { "id": "read", "op": "read_csv", "path": text, "partitions": 24 },
            { "id": "words", "op": "flat_map", "fn": "tokenize" },
            { "id": "lower", "op": "map", "fn": "to_lower" },
            { "id": "count", "op": "reduce_by_key", "key": "token", "fn": "sum" },
            { "id": "out", "op": "write_csv", "path": text.with_extension("counts") },
        ],
        "edges": [["read", "words"], ["words", "lower"], ["lower", "count"], ["count", "out"]],
    } })
    .to_string()
}

/// A job whose result is one text file.
fn counts_of(text: &Path) -> String {
    let mut document: Value = serde_json::from_str(&word_count_of(text)).unwrap();
    document["dag"]["nodes"].as_array_mut().unwrap().pop();
    document["dag"]["edges"].as_array_mut().unwrap().pop();
    document.to_string()
}

/// The result of the same document in one process.
fn embedded(document: &str, sink: &str, folder: &Path) -> PathBuf {
    let job = folder.join("embedded.json");
    fs::write(&job, document).unwrap();
    let mut command = minispark();
    command.current_dir(root()).arg("run").arg(&job).args(["--json", "--output-dir"]);
    let results = run(command.arg(folder.join("embedded"))).expect_done().json();
    PathBuf::from(results["outputs"][sink].as_str().unwrap())
}

fn text(folder: &Path, bytes: u64) -> PathBuf {
    let path = folder.join("text.txt");
    generate::text(&path, bytes, 7).unwrap();
    path
}

fn all_stages<'a>(job: &'a Value, field: &str) -> Vec<&'a Value> {
    job["stages"].as_array().unwrap().iter().map(|stage| &stage[field]).collect()
}

/// A random number that is told, so that a run can be repeated.
fn seed() -> u64 {
    let given = std::env::var("RESTART_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        u64::from(now.unwrap().subsec_nanos())
    });
    println!("RESTART_SEED={seed}");
    seed
}

/// `SplitMix64`.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[test]
fn a_master_killed_at_any_moment_changes_no_byte_and_repeats_no_finished_stage() {
    let folder = tempfile::tempdir().unwrap();
    let text = text(folder.path(), TEXT_BYTES);
    let document = counts_of(&text);
    let expected = fs::read(embedded(&document, "count", folder.path())).unwrap();
    let mut cluster = Cluster::start(Settings::default());
    let first = cluster.submit(&document);
    let undisturbed = cluster.completed(&first);
    let takes = Duration::from_secs_f64(undisturbed["duration_secs"].as_f64().unwrap());
    let mut state = seed();
    let mut jobs = Vec::new();
    for number in 0..KILLS {
        let id = cluster.submit(&document);
        let submitted = cluster.job(&id)["submitted_at"].clone();
        let moment =
            takes.mul_f64(f64::from(u32::try_from(next(&mut state) % 1000).unwrap()) / 1000.0);
        let start = Instant::now();
        until("the moment of the kill", || start.elapsed() >= moment);
        let before = cluster.job(&id);
        cluster.restart_master();
        let job = cluster.completed(&id);
        let what = format!("kill {number} after {moment:?}: {before:#} then {job:#}");
        assert_eq!(fs::read(cluster.output(&id, "count")).unwrap(), expected, "{what}");
        assert_eq!(job["submitted_at"], submitted, "{what}");
        assert_eq!(job["failure_count"], 0, "a restart is a pause: {what}");
        assert!(job["progress_percent"].as_f64() >= before["progress_percent"].as_f64(), "{what}");
        for (stage, was) in
            job["stages"].as_array().unwrap().iter().zip(all_stages(&before, "state"))
        {
            assert_eq!(stage["tasks_done"], stage["tasks"], "{what}");
            if was == "COMPLETED" {
                assert_eq!(stage["attempts"], stage["tasks"], "it ran again: {what}");
            }
        }
        jobs.push((id, job));
    }
    // All of them are still known, as they were at their ends.
    cluster.restart_master();
    for (id, job) in jobs {
        let shown = cluster.job(&id);
        for field in ["submitted_at", "duration_secs", "status", "rows", "bytes"] {
            assert_eq!(shown[field], job[field], "{field} of {id}");
        }
        for field in ["state", "tasks_done", "attempts", "failed_attempts", "rows", "bytes"] {
            assert_eq!(all_stages(&shown, field), all_stages(&job, field), "{field} of {id}");
        }
        assert_eq!(fs::read(cluster.output(&id, "count")).unwrap(), expected);
    }
    assert_eq!(
        names(&cluster.output_dir()).iter().filter(|name| name.contains("_count.txt")).count(),
        usize::try_from(KILLS).unwrap() + 1
    );
}

#[test]
fn a_writers_folder_is_whole_whenever_the_master_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::start(Settings::default());
    let mut state = seed();
    let mut expected = None;
    for number in 0..6 {
        let text = folder.path().join(format!("text{number}.txt"));
        generate::text(&text, TEXT_BYTES / 8, 7).unwrap();
        let id = cluster.submit(&word_count_of(&text));
        let moment = Duration::from_millis(next(&mut state) % 600);
        let start = Instant::now();
        until("the moment of the kill", || start.elapsed() >= moment);
        cluster.restart_master();
        cluster.completed(&id);
        let counts = cluster.output(&id, "out");
        let mut lines: Vec<String> = names(&counts)
            .iter()
            .filter(|name| name.starts_with("part-"))
            .flat_map(|name| {
                let part = fs::read_to_string(counts.join(name)).unwrap();
                part.lines().map(str::to_owned).collect::<Vec<_>>()
            })
            .collect();
        lines.sort();
        let manifest = fs::read_to_string(counts.join("_manifest.json")).unwrap();
        let manifest: Value = serde_json::from_str(&manifest).unwrap();
        assert_eq!(manifest["job_id"], id);
        assert_eq!(*expected.get_or_insert_with(|| lines.clone()), lines, "kill {number}");
    }
}

/// A child that is killed when the test fails.
struct Reaped(Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn a_waiting_client_survives_a_restart_of_the_master() {
    let folder = tempfile::tempdir().unwrap();
    let text = text(folder.path(), TEXT_BYTES / 2);
    let job = folder.path().join("job.json");
    fs::write(&job, counts_of(&text)).unwrap();
    let mut cluster = Cluster::start(Settings::default());
    let mut command = minispark();
    command.args(["--server", &cluster.url(), "--json", "submit", "--wait"]).arg(&job);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut client = Reaped(child);
    until("the job is there", || {
        !cluster.get("/api/v1/jobs")["items"].as_array().unwrap().is_empty()
    });
    cluster.restart_master();
    let mut status = None;
    until("the client ends", || {
        status = client.0.try_wait().unwrap();
        status.is_some()
    });
    assert_eq!(status.unwrap().code(), Some(0));
}

#[test]
fn a_submission_that_is_repeated_is_one_job_also_after_a_restart() {
    let mut cluster = Cluster::start(Settings { workers: 1, ..Settings::default() });
    let document = fs::read_to_string(root().join("jobs/wordcount.json")).unwrap();
    let submit = |to: &Cluster, key: &str, body: &str| {
        let headers = [("idempotency-key", key)];
        http::call(&to.rest, "POST", "/api/v1/jobs", &headers, body.as_bytes())
    };
    let first = submit(&cluster, "night 1", &document);
    assert_eq!((first.status, first.header("idempotent-replayed")), (200, None));
    // The same document in other words.
    let value: Value = serde_json::from_str(&document).unwrap();
    for body in [&document, &value.to_string()] {
        let again = submit(&cluster, "night 1", body);
        assert_eq!((again.status, again.header("idempotent-replayed")), (200, Some("true")));
        assert_eq!(again.json(), first.json());
    }
    assert_eq!(submit(&cluster, "night 1", "{}").status, 422);
    assert_eq!(submit(&cluster, "", &document).status, 400);
    let id = first.json()["job_id"].as_str().unwrap().to_owned();
    cluster.completed(&id);
    cluster.restart_master();
    assert_eq!(submit(&cluster, "night 1", &document).json(), first.json());
    let other = submit(&cluster, "night 1", "{}");
    assert_eq!((other.status, &other.json()["code"]), (422, &json!("IDEMPOTENCY_KEY_REUSED")));
    assert_eq!(cluster.get("/api/v1/jobs")["items"].as_array().unwrap().len(), 1);
}

#[test]
fn a_worker_that_is_asked_to_end_drains_and_no_attempt_fails() {
    let folder = tempfile::tempdir().unwrap();
    let text = text(folder.path(), TEXT_BYTES);
    let document = counts_of(&text);
    let expected = fs::read(embedded(&document, "count", folder.path())).unwrap();
    let mut cluster = Cluster::start(Settings { workers: 3, ..Settings::default() });
    let id = cluster.submit(&document);
    until("some tasks are done", || {
        let job = cluster.job(&id);
        let done: u64 = all_stages(&job, "tasks_done").iter().map(|n| n.as_u64().unwrap()).sum();
        assert_ne!(job["status"], "COMPLETED", "it was over before it could be disturbed");
        done > 2
    });
    assert_eq!(cluster.workers[0].terminate(), 0);
    let job = cluster.completed(&id);
    assert_eq!(job["failure_count"], 0, "{job:#}");
    assert_eq!(fs::read(cluster.output(&id, "count")).unwrap(), expected);
    until("it is shown as gone", || cluster.workers_up() == 2);
}

#[test]
fn what_a_worker_has_put_out_counts_again_when_it_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    // Two quick map tasks, and a second stage that nobody can run until the worker is back: the
    // sleeping job takes the only slot.
    let lines = folder.path().join("lines.txt");
    fs::write(&lines, "a b a\n".repeat(1000)).unwrap();
    let sleepers = folder.path().join("sleepers.txt");
    fs::write(&sleepers, "x\ny\n").unwrap();
    let sleep = json!({ "name": "sleep", "dag": {
        "nodes": [{ "id": "read", "op": "read_csv", "path": sleepers, "partitions": 1 },
                  { "id": "sleep", "op": "map", "fn": "sleep_10s" }],
        "edges": [["read", "sleep"]] } })
    .to_string();
    let mut cluster = Cluster::start(Settings { workers: 1, slots: 1, ..Settings::default() });
    let mut count: Value = serde_json::from_str(&counts_of(&lines)).unwrap();
    count["dag"]["nodes"][0]["partitions"] = json!(6);
    let count = count.to_string();
    let id = cluster.submit(&count);
    let sleeper = cluster.submit(&sleep);
    // Both take turns; the worker is asked to end while the sleeper has the slot.
    until("the first stage has a part done and the sleeper runs", || {
        cluster.job(&sleeper)["status"] == "RUNNING" || cluster.job(&id)["status"] == "COMPLETED"
    });
    let before = cluster.job(&id);
    let done_before = all_stages(&before, "tasks_done")[0].as_u64().unwrap();
    let mut worker = cluster.workers.remove(0);
    // It would drain for half a minute; a second signal is not needed, since it hands back.
    thread::scope(|scope| {
        scope.spawn(|| assert_eq!(worker.terminate(), 0));
    });
    cluster.add_worker();
    let job = cluster.completed(&id);
    assert_eq!(job["failure_count"], 0, "{job:#}");
    if before["status"] != "COMPLETED" {
        let first = &job["stages"][0];
        let again = first["attempts"].as_u64().unwrap() - first["tasks"].as_u64().unwrap();
        assert!(again < done_before.max(1), "what was done ran again: {before:#} {job:#}");
    }
    let shown = cluster.job(&sleeper);
    assert_eq!(shown["failure_count"], 0, "handed back is no failure: {shown:#}");
    http::call(&cluster.rest, "POST", &format!("/api/v1/jobs/{sleeper}/cancel"), &[], b"");
}

#[test]
fn a_master_that_is_asked_to_end_does_so_soon_and_its_jobs_go_on_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let text = text(folder.path(), TEXT_BYTES / 2);
    let mut cluster = Cluster::start(Settings::default());
    let id = cluster.submit(&counts_of(&text));
    let start = Instant::now();
    assert_eq!(cluster.master.terminate(), 0);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    cluster.restart_master();
    assert_eq!(cluster.completed(&id)["failure_count"], 0);
}

#[test]
fn a_corrupt_journal_stops_the_start_and_repair_sets_it_aside() {
    let mut cluster = Cluster::start(Settings { workers: 1, ..Settings::default() });
    let document = fs::read_to_string(root().join("jobs/wordcount.json")).unwrap();
    let ids: Vec<String> = (0..3).map(|_| cluster.submit(&document)).collect();
    for id in &ids {
        cluster.completed(id);
    }
    let last = cluster.submit(&document);
    cluster.completed(&last);
    assert_eq!(cluster.master.terminate(), 0);
    let state = cluster.folder.path().join("state");
    let segment = fs::read_dir(state.join("journal")).unwrap().next().unwrap().unwrap().path();
    let mut bytes = fs::read(&segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    fs::write(&segment, &bytes).unwrap();
    let master = |flags: &[&str]| {
        let mut command = minispark();
        command.args(["master", "--bind", "127.0.0.1:0", "--flight-port", "0"]);
        command.arg("--state-dir").arg(&state);
        command.arg("--output-dir").arg(cluster.folder.path().join("output"));
        run(command.args(flags))
    };
    let refused = master(&[]);
    assert_eq!(refused.code(), 1, "{refused:?}");
    for part in ["STATE_CORRUPT", "at byte", "--repair-state", segment.to_str().unwrap()] {
        assert!(refused.stderr.contains(part), "`{part}` is not in {}", refused.stderr);
    }
    assert_eq!(fs::read(&segment).unwrap(), bytes, "nothing is touched");
    let repaired = master(&["--repair-state"]);
    assert_eq!(repaired.code(), 0, "{repaired:?}");
    assert!(repaired.stderr.contains("log.bad"), "{}", repaired.stderr);
    assert!(repaired.stderr.contains(&last), "{}", repaired.stderr);
    cluster.restart_master();
    assert_eq!(cluster.job(&last)["status"], "COMPLETED");
}

#[test]
fn three_hundred_small_jobs_of_fifty_clients_all_end_and_the_list_is_paged() {
    let folder = tempfile::tempdir().unwrap();
    let lines = folder.path().join("lines.txt");
    fs::write(&lines, "one two two three three three\n").unwrap();
    let document = counts_of(&lines);
    let cluster = Cluster::start(Settings::default());
    let start = Instant::now();
    let ids: Vec<String> = thread::scope(|scope| {
        let clients: Vec<_> = (0..50)
            .map(|_| scope.spawn(|| (0..6).map(|_| cluster.submit(&document)).collect::<Vec<_>>()))
            .collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    assert_eq!(ids.len(), 300);
    for id in &ids {
        let job = cluster.completed(id);
        assert_eq!(job["failure_count"], 0, "{job:#}");
        let output = fs::read_to_string(cluster.output(id, "count")).unwrap();
        assert_eq!(output, "one, 1\nthree, 3\ntwo, 2\n");
    }
    println!("300 small jobs in {:?}", start.elapsed());
    let mut listed = Vec::new();
    let mut path = String::from("/api/v1/jobs?limit=70");
    loop {
        let page = cluster.get(&path);
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 70);
        listed.extend(items.iter().map(|job| job["id"].as_str().unwrap().to_owned()));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/api/v1/jobs?limit=70&cursor={cursor}");
    }
    let sorted = |mut names: Vec<String>| {
        names.sort();
        names
    };
    assert_eq!(sorted(listed), sorted(ids));
    let status = fs::read_to_string(format!("/proc/{}/status", cluster.master.id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kib: u64 = peak.trim().trim_end_matches(" kB").trim().parse().unwrap();
    assert!(kib < 100_000, "the master took {kib} KiB");
    signal(cluster.master.id(), "TERM");
}
