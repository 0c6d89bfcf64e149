//! One master and real workers, each with folders of its own: the bytes are those of a run in one
//! process, whatever is killed.

#![cfg(test)]
#![expect(clippy::disallowed_methods, reason = "a test makes the files that the program reads")]
#![expect(clippy::shadow_unrelated, reason = "one answer is looked at after another")]

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

#[expect(clippy::allow_attributes, reason = "an expectation fails where a target uses all")]
#[allow(dead_code, reason = "each target uses a part of it")]
mod support;

use support::{
    cluster::{Cluster, Node, Settings},
    files_below, generate, golden, http, minispark, root, run, until,
};

/// Enough for dozens of map tasks; without optimisation a fifth of it takes as long.
const TEXT_BYTES: u64 = if cfg!(debug_assertions) { 40_000_000 } else { 200_000_000 };

fn word_count_of(text: &Path) -> String {
    json!({ "name": "wordcount", "dag": {
        "nodes": [
            { "id": "read", "op": "read_csv", "path": text },
            { "id": "words", "op": "flat_map", "fn": "tokenize" },
            { "id": "lower", "op": "map", "fn": "to_lower" },
            { "id": "count", "op": "reduce_by_key", "key": "token", "fn": "sum" },
        ],
        "edges": [["read", "words"], ["words", "lower"], ["lower", "count"]],
    } })
    .to_string()
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

fn same_bytes(a: &Path, b: &Path) -> bool {
    fs::read(a).unwrap() == fs::read(b).unwrap()
}

#[test]
fn every_golden_case_has_the_same_bytes_on_a_cluster() {
    let cluster = Cluster::start(Settings { workers: 3, ..Settings::default() });
    let mut jobs = Vec::new();
    for case in golden::cases() {
        for partitions in [None, Some(1), Some(4), Some(16)] {
            let folder = tempfile::tempdir().unwrap();
            case.lay_out(folder.path());
            let document = case.document(partitions, folder.path());
            jobs.push((cluster.submit(&document), case.name.clone(), partitions, folder));
        }
    }
    let cases = golden::cases();
    for (id, name, partitions, folder) in jobs {
        cluster.completed(&id);
        let case = cases.iter().find(|case| case.name == name).unwrap();
        let results = cluster.get(&format!("/api/v1/jobs/{id}/results"));
        for (sink, kind) in case.sinks() {
            let path = Path::new(results["outputs"][&sink].as_str().unwrap());
            let how = format!("on a cluster with partitions {partitions:?}");
            case.check(&sink, &kind, path, &how);
            if path.is_file() {
                let route = format!("/api/v1/jobs/{id}/results/{sink}");
                let answer = http::call(&cluster.rest, "GET", &route, &[], b"");
                assert_eq!(answer.body, fs::read(path).unwrap(), "{name} over REST");
            }
        }
        drop(folder);
    }
}

/// A stage of a job, by whether it reads a source.
fn stage(job: &Value, reads_source: bool) -> Option<&Value> {
    let stages = job["stages"].as_array()?;
    stages
        .iter()
        .find(|stage| stage["inputs"].as_array().is_some_and(Vec::is_empty) == reads_source)
}

fn tasks(stage: &Value, field: &str) -> u64 {
    stage[field].as_u64().unwrap()
}

/// Runs the word count on three workers and kills one of them once `is_time` says so; the result
/// must be that of one process, and the failure must be told.
fn survives_a_kill(what: &str, is_time: impl Fn(&Value) -> bool) {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("text.txt");
    generate::text(&text, TEXT_BYTES, 7).unwrap();
    let document = word_count_of(&text);
    let expected = embedded(&document, "count", folder.path());

    let settings = Settings { workers: 3, slots: 1, lost_after: "1s", ..Settings::default() };
    let mut cluster = Cluster::start(settings);
    let id = cluster.submit(&document);
    let mut seen = Value::Null;
    until(what, || {
        seen = cluster.job(&id);
        assert_ne!(seen["status"], "FAILED", "{seen:#}");
        assert_ne!(seen["status"], "COMPLETED", "it was over before it could be disturbed");
        is_time(&seen)
    });
    let victim = busy_worker(&cluster);
    cluster.workers[victim].kill();

    let job = cluster.completed(&id);
    let map = stage(&job, true).unwrap();
    assert!(tasks(map, "tasks") >= 16, "{job:#}");
    assert!(job["failure_count"].as_u64().unwrap() > 0, "{job:#}");
    assert_eq!(job["progress_percent"], 100.0);
    assert!(same_bytes(&cluster.output(&id, "count"), &expected), "not the same bytes");
    until("the lost worker is shown as down", || cluster.workers_up() == 2);
}

/// A worker that runs a task, so that its end is a failure of one.
fn busy_worker(cluster: &Cluster) -> usize {
    let workers = cluster.get("/api/v1/workers");
    let running = workers["items"].as_array().unwrap().iter();
    let addresses: Vec<&str> = running
        .filter(|worker| worker["state"] == "UP" && worker["running"].as_u64().unwrap() > 0)
        .map(|worker| worker["address"].as_str().unwrap())
        .collect();
    let logged = |node: &Node| {
        let lines = node.log();
        lines.iter().find_map(|line| line["context"]["flight"].as_str().map(str::to_owned))
    };
    let is_busy = |node: &Node| {
        logged(node).is_some_and(|flight| addresses.iter().any(|address| *address == flight))
    };
    cluster.workers.iter().position(is_busy).unwrap_or(0)
}

#[test]
fn a_worker_killed_while_it_maps_changes_no_byte() {
    survives_a_kill("a part of the map tasks is done", |job| {
        stage(job, true).is_some_and(|map| {
            let (done, all) = (tasks(map, "tasks_done"), tasks(map, "tasks"));
            done * 4 > all && done * 4 < all * 3
        })
    });
}

#[test]
fn a_worker_killed_while_it_reduces_changes_no_byte() {
    survives_a_kill("the map tasks are done and reducing has begun", |job| {
        let map_done = stage(job, true).is_some_and(|map| map["state"] == "COMPLETED");
        map_done && stage(job, false).is_some_and(|reduce| reduce["state"] == "RUNNING")
    });
}

#[test]
fn a_worker_that_starts_before_its_master_waits_for_it() {
    let folder = tempfile::tempdir().unwrap();
    // Nobody listens on a port that was just given back.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut worker = minispark();
    worker.args(["worker", "--port", "0", "--master", &format!("http://127.0.0.1:{port}")]);
    worker.arg("--work-dir").arg(folder.path().join("work"));
    let mut worker = Node::start(&mut worker, folder.path().join("worker.log"));
    worker.logged("flight");

    let mut master = minispark();
    master.args(["master", "--bind", &format!("127.0.0.1:{port}"), "--flight-port", "0"]);
    master.arg("--state-dir").arg(folder.path().join("state"));
    master.arg("--output-dir").arg(folder.path().join("output"));
    let mut master = Node::start(&mut master, folder.path().join("master.log"));
    let rest = master.logged("rest");
    let up = || {
        let workers = http::call(&rest, "GET", "/api/v1/workers", &[], b"").json();
        workers["items"].as_array().unwrap().iter().any(|worker| worker["state"] == "UP")
    };
    let started = Instant::now();
    until("the worker joins", up);
    assert!(started.elapsed() < Duration::from_secs(15), "it took {:?}", started.elapsed());
}

#[test]
fn a_job_without_workers_says_so_and_ends() {
    let settings =
        Settings { workers: 0, no_worker_wait: "4s", lost_after: "1s", ..Settings::default() };
    let cluster = Cluster::start(settings);
    let id = cluster.submit(&fs::read_to_string(root().join("jobs/wordcount.json")).unwrap());
    let job = cluster.job(&id);
    let waiting = job["waiting_for"].as_str().unwrap_or_else(|| panic!("{job:#}"));
    assert!(waiting.contains("worker"), "{waiting}");
    for (_, status) in job["node_status"].as_object().unwrap() {
        assert_eq!(status, "PENDING");
    }
    let job = cluster.ended(&id);
    assert_eq!(job["status"], "FAILED", "{job:#}");
    assert_eq!(job["error"]["code"], "NO_WORKERS", "{job:#}");
    let answer = http::call(&cluster.rest, "GET", &format!("/api/v1/jobs/{id}/results"), &[], b"");
    assert_eq!((answer.status, &answer.json()["code"]), (409, &json!("JOB_FAILED")));
}

#[test]
fn a_job_waits_for_a_worker_that_comes() {
    let mut cluster = Cluster::start(Settings { workers: 0, ..Settings::default() });
    let id = cluster.submit(&fs::read_to_string(root().join("jobs/wordcount.json")).unwrap());
    assert_eq!(cluster.job(&id)["status"], "ACCEPTED");
    cluster.add_worker();
    cluster.completed(&id);
}

#[test]
fn a_restarted_master_knows_its_jobs_and_gets_its_workers_back() {
    let mut cluster = Cluster::start(Settings::default());
    let document = fs::read_to_string(root().join("jobs/wordcount.json")).unwrap();
    let old = cluster.submit(&document);
    cluster.completed(&old);
    let output = cluster.output(&old, "agg");
    let term = cluster.job(&old)["term"].as_u64().unwrap();

    cluster.restart_master();
    until("both workers are back", || cluster.workers_up() == 2);
    assert_eq!(cluster.job(&old)["status"], "COMPLETED");
    assert_eq!(cluster.output(&old, "agg"), output);
    assert!(output.is_file(), "a result outlives the master that made it");
    let new = cluster.submit(&document);
    let job = cluster.completed(&new);
    assert_eq!(job["term"], term + 1);
    assert_eq!(job["failure_count"], 0);
    assert!(same_bytes(&cluster.output(&new, "agg"), &output));
}

#[test]
fn a_job_runs_on_under_a_restarted_master_and_can_be_cancelled() {
    let mut cluster = Cluster::start(Settings { workers: 1, ..Settings::default() });
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("lines.txt");
    fs::write(&text, "a line\n".repeat(100)).unwrap();
    let id = cluster.submit(&sleeping(&text));
    until("the job runs", || cluster.job(&id)["status"] == "RUNNING");
    cluster.restart_master();
    let is_back = |runs: bool| {
        let workers = cluster.get("/api/v1/workers");
        let mut items = workers["items"].as_array().unwrap().iter();
        items.any(|worker| worker["state"] == "UP" && (worker["running"] != 0) == runs)
    };
    until("the worker is back and runs on", || is_back(true));
    assert_eq!(cluster.job(&id)["failure_count"], 0);
    http::call(&cluster.rest, "POST", &format!("/api/v1/jobs/{id}/cancel"), &[], b"");
    until("the worker is idle", || is_back(false));
    let quick = cluster.submit(&fs::read_to_string(root().join("jobs/wordcount.json")).unwrap());
    cluster.completed(&quick);
}

/// Ten seconds a line, on as many tasks as lines allow.
fn sleeping(text: &Path) -> String {
    json!({ "name": "sleeping", "dag": {
        "nodes": [
            { "id": "read", "op": "read_csv", "path": text, "partitions": 4 },
            { "id": "sleep", "op": "map", "fn": "sleep_10s" },
            { "id": "count", "op": "reduce_by_key", "fn": "count" },
        ],
        "edges": [["read", "sleep"], ["sleep", "count"]],
    } })
    .to_string()
}

#[test]
fn a_cancelled_job_ends_at_once_and_leaves_nothing() {
    let cluster = Cluster::start(Settings::default());
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("lines.txt");
    fs::write(&text, "a line\n".repeat(1000)).unwrap();
    let id = cluster.submit(&sleeping(&text));
    until("the job runs", || cluster.job(&id)["status"] == "RUNNING");

    let started = Instant::now();
    let route = format!("/api/v1/jobs/{id}/cancel");
    let answer = http::call(&cluster.rest, "POST", &route, &[], b"");
    assert_eq!((answer.status, &answer.json()["status"]), (200, &json!("CANCELLED")));
    until("the workers are idle", || {
        let workers = cluster.get("/api/v1/workers");
        workers["items"].as_array().unwrap().iter().all(|worker| worker["running"] == 0)
    });
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    let again = http::call(&cluster.rest, "POST", &route, &[], b"");
    assert_eq!((again.status, &again.json()["status"]), (200, &json!("CANCELLED")));
    assert_eq!(files_below(&cluster.output_dir()), [] as [PathBuf; 0]);
    until("the workers hold nothing of it", || of_job(&cluster, &id).is_empty());
}

/// The files in the workers' folders whose path names the job.
fn of_job(cluster: &Cluster, id: &str) -> Vec<PathBuf> {
    let files = (1..=cluster.workers.len())
        .flat_map(|number| files_below(&cluster.folder.path().join(format!("worker{number}"))));
    files.filter(|path| path.display().to_string().contains(id)).collect()
}

#[test]
fn a_completed_job_outlives_its_workers_and_leaves_them_nothing() {
    let settings = Settings { workers: 2, memory: "16MiB", ..Settings::default() };
    let mut cluster = Cluster::start(settings);
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("text.txt");
    generate::text(&text, 20_000_000, 3).unwrap();
    let document = word_count_of(&text);
    let expected = embedded(&document, "count", folder.path());
    let id = cluster.submit(&document);
    let job = cluster.completed(&id);
    assert_eq!(job["failure_count"], 0, "{job:#}");
    until("the workers hold nothing of it", || of_job(&cluster, &id).is_empty());
    for worker in &mut cluster.workers {
        worker.kill();
    }
    assert!(same_bytes(&cluster.output(&id, "count"), &expected));
    let route = format!("/api/v1/jobs/{id}/results/count");
    let answer = http::call(&cluster.rest, "GET", &route, &[], b"");
    assert!(answer.body == fs::read(&expected).unwrap(), "the download differs");
}

#[test]
fn a_worker_asked_to_end_leaves_in_order() {
    let mut cluster = Cluster::start(Settings::default());
    assert_eq!(cluster.workers[0].terminate(), 0);
    until("the master knows", || cluster.workers_up() == 1);
    let id = cluster.submit(&fs::read_to_string(root().join("jobs/wordcount.json")).unwrap());
    assert_eq!(cluster.completed(&id)["failure_count"], 0);
    assert_eq!(cluster.master.terminate(), 0);
}

#[test]
fn two_masters_do_not_share_a_state_folder() {
    let cluster = Cluster::start(Settings { workers: 0, ..Settings::default() });
    let mut second = minispark();
    second.args(["master", "--bind", "127.0.0.1:0", "--flight-port", "0", "--state-dir"]);
    second.arg(cluster.folder.path().join("state"));
    second.arg("--output-dir").arg(cluster.folder.path().join("output2"));
    let ran = run(second.stdin(Stdio::null()));
    assert_eq!(ran.code(), 10, "{ran:?}");
    assert!(ran.stderr.contains(&cluster.master.id().to_string()), "{ran:?}");
}

/// A writer of several parts, a text result, and one whose bad rows go through the stores.
fn several_results(folder: &Path, target: &Path) -> String {
    let (good, dirty) = (folder.join("rows.csv"), folder.join("dirty.csv"));
    let rows: Vec<String> = (0..50_000).map(|number| format!("{number},name {number}\n")).collect();
    fs::write(&good, format!("n,name\n{}", rows.concat())).unwrap();
    fs::write(&dirty, "n\n1\nx\n3\n").unwrap();
    json!({ "dag": {
        "nodes": [
            { "id": "read", "op": "read_csv", "path": good, "header": true, "partitions": 4 },
            { "id": "parts", "op": "write_csv", "path": target, "mode": "overwrite" },
            { "id": "text", "op": "filter", "where": "name like '%77'" },
            { "id": "dirty", "op": "read_csv", "path": dirty, "header": true,
              "columns": { "n": "int64" }, "on_bad_row": "quarantine" },
        ],
        "edges": [["read", "parts"], ["read", "text"]],
    } })
    .to_string()
}

/// What is in a folder of results but its manifest, which names the job: file names and bytes.
fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_name() != "_manifest.json")
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect();
    files.sort();
    files
}

#[test]
fn results_have_the_same_bytes_whether_workers_share_the_folders_or_not() {
    let mut found = Vec::new();
    for shares in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("target");
        let document = several_results(folder.path(), &target);
        let cluster = Cluster::start(Settings { shares, ..Settings::default() });
        let mut text = String::new();
        for _ in 0..2 {
            let id = cluster.submit(&document);
            cluster.completed(&id);
            text = fs::read_to_string(cluster.output(&id, "text")).unwrap();
            // A text result has its typed copy either way, and nothing else is left.
            let answer =
                cluster.call("GET", &format!("/api/v1/jobs/{id}/results/text?format=jsonl"), b"");
            assert_eq!(answer.status, 200, "{}", answer.text());
            assert_eq!(answer.text().lines().count(), 500);
            // What a worker has written has its file's size; what waits in a store has another.
            let job = cluster.job(&id);
            let stages = job["stages"].as_array().unwrap();
            let writes_text = |stage: &&Value| {
                stage["nodes"] == json!(["text"]) && stage["metrics"]["written_bytes"] != json!(0)
            };
            let of_sink = stages.iter().find(writes_text).unwrap();
            let is_written = of_sink["bytes"].as_u64() == Some(text.len() as u64);
            assert_eq!(is_written, shares, "{of_sink:#}");
            let bad = cluster.client(&["bad-rows", &id]).expect_done();
            assert_eq!(bad.stdout.lines().count(), 1, "{bad:?}");
        }
        let left = files_below(&folder.path().join(".minispark"));
        assert!(left.is_empty(), "{left:?}");
        let staged = files_below(&cluster.output_dir().join(".minispark"));
        assert!(
            staged.iter().all(|path| path.extension().is_some_and(|ending| ending == "arrow")),
            "{staged:?}"
        );
        let logs: String =
            cluster.workers.iter().flat_map(Node::log).map(|line| line.to_string()).collect();
        assert!(!logs.contains("panicked"), "{logs}");
        found.push((contents(&target), text));
    }
    assert!(found[0].0.len() >= 4, "{} parts", found[0].0.len());
    assert!(found[0] == found[1], "the bytes differ");
}

#[test]
fn a_worker_that_shares_no_folder_is_none_the_worse_beside_one_that_does() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("target");
    let document = several_results(folder.path(), &target);
    let mut cluster = Cluster::start(Settings { workers: 1, shares: true, ..Settings::default() });
    cluster.settings.shares = false;
    cluster.add_worker();
    until("both workers are up", || cluster.workers_up() == 2);
    for _ in 0..3 {
        let id = cluster.submit(&document);
        cluster.completed(&id);
    }
    let lines = contents(&target)
        .into_iter()
        .map(|(_, bytes)| bytes.split(|byte| *byte == b'\n').count() - 1);
    let rows = lines.sum::<usize>();
    assert!((50_000..50_010).contains(&rows), "{rows}");
    let left = files_below(&folder.path().join(".minispark"));
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_worker_whose_quota_is_used_up_fails_the_job_by_name_and_lives_on() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("keys.txt");
    let keys = (0..600_000_u64).map(|n| format!("key {:07}\n", n * 7_919 % 600_000));
    fs::write(&text, keys.collect::<Vec<_>>().concat()).unwrap();
    let sort = |by: &str| {
        json!({ "dag": {
            "nodes": [
                { "id": "read", "op": "read_text", "path": text },
                { "id": "sort", "op": "sort", "by": [by] },
            ],
            "edges": [["read", "sort"]],
        } })
        .to_string()
    };
    let settings =
        Settings { workers: 1, memory: "8MiB", spill_quota: Some("1MiB"), ..Settings::default() };
    let cluster = Cluster::start(settings);
    let id = cluster.submit(&sort("line desc"));
    let job = cluster.ended(&id);
    assert_eq!(
        (&job["status"], &job["error"]["code"]),
        (&json!("FAILED"), &json!("DISK_FULL")),
        "{job:#}"
    );
    let told = job["error"].to_string();
    assert!(
        told.contains("spill quota of 1024 KiB") && told.contains("those of the job"),
        "{told}"
    );
    fs::write(&text, "b\na\n").unwrap();
    let id = cluster.submit(&sort("line asc"));
    cluster.completed(&id);
    assert_eq!(fs::read_to_string(cluster.output(&id, "sort")).unwrap(), "a\nb\n");
    let spilled = cluster.folder.path().join("worker1/spill");
    assert_eq!(files_below(&spilled), Vec::<PathBuf>::new());
}
