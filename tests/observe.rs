//! Seeing it work, on a real cluster: metrics, figures, events, progress and logs.

#![cfg(test)]
#![expect(clippy::disallowed_methods, reason = "a test makes the files that the program reads")]

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    process::Stdio,
    time::Duration,
};

use serde_json::{Value, json};

#[expect(clippy::allow_attributes, reason = "an expectation fails where a target uses all")]
#[allow(dead_code, reason = "each target uses a part of it")]
mod support;

use support::{
    cluster::{Cluster, Settings},
    exposition::{self, Scrape},
    http, minispark, root, until,
};

/// The README's word count: 3 lines of 154 bytes, 28 tokens, 22 keys.
fn wordcount() -> String {
    fs::read_to_string(root().join("jobs/wordcount.json")).unwrap()
}

fn scrape(cluster: &Cluster) -> Scrape {
    let answer = http::call(&cluster.rest, "GET", "/metrics", &[], b"");
    assert_eq!(answer.status, 200);
    let kind = answer.header("content-type").unwrap();
    assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
    exposition::parse(&answer.text())
}

/// An event's id, name and data.
type Event = (String, String, Value);

fn names(events: &[Event]) -> Vec<&str> {
    events.iter().map(|(_, name, _)| name.as_str()).collect()
}

/// A stream of events, read as it comes.
struct Events(BufReader<TcpStream>);

impl Events {
    fn open(cluster: &Cluster, path: &str, last_id: Option<&str>) -> Self {
        let mut socket = TcpStream::connect(&cluster.rest).unwrap();
        socket.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
        let id = last_id.map(|id| format!("last-event-id: {id}\r\n")).unwrap_or_default();
        // HTTP/1.0 has no chunks, so the body is the stream as it is.
        let head = format!("GET {path} HTTP/1.0\r\nhost: {}\r\n{id}\r\n", cluster.rest);
        socket.write_all(head.as_bytes()).unwrap();
        let mut lines = BufReader::new(socket);
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        assert!(line.contains(" 200 "), "{line}");
        while !line.trim().is_empty() {
            line.clear();
            lines.read_line(&mut line).unwrap();
        }
        Self(lines)
    }

    /// The next event as id, name and data; `None` at the stream's end.
    fn next(&mut self) -> Option<Event> {
        let (mut id, mut name, mut data) = (String::new(), String::new(), Value::Null);
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            match line.trim_end().split_once(':') {
                Some(("id", value)) => value.trim().clone_into(&mut id),
                Some(("event", value)) => value.trim().clone_into(&mut name),
                Some(("data", value)) => data = serde_json::from_str(value).unwrap(),
                None if !name.is_empty() => return Some((id, name, data)),
                Some(_) | None => {}
            }
        }
    }

    fn rest(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.next()).collect()
    }
}

/// More lines than a task reads between a few polls.
const LINES: usize = if cfg!(debug_assertions) { 1_500_000 } else { 12_000_000 };

#[test]
fn the_numbers_of_a_known_job_are_right_for_prometheus_and_as_json() {
    let cluster = Cluster::start(Settings::default());
    let id = cluster.submit(&wordcount());
    cluster.completed(&id);
    let output = cluster.output(&id, "agg");
    let scraped = scrape(&cluster);
    for (series, expected) in [
        ("minispark_jobs_submitted_total", 1.0),
        (r#"minispark_jobs_finished_total{code="NONE",state="COMPLETED"}"#, 1.0),
        (r#"minispark_jobs{state="COMPLETED"}"#, 1.0),
        (r#"minispark_jobs{state="RUNNING"}"#, 0.0),
        ("minispark_job_duration_seconds_count", 1.0),
        ("minispark_queue_wait_seconds_count", 1.0),
        ("minispark_queue_depth", 0.0),
        ("minispark_tasks_running", 0.0),
        (r#"minispark_rows_total{kind="in",op="read"}"#, 3.0),
        (r#"minispark_rows_total{kind="out",op="flat_map"}"#, 28.0),
        (r#"minispark_rows_total{kind="out",op="reduce_by_key"}"#, 22.0),
        (r#"minispark_bytes_total{kind="read"}"#, 154.0),
        (
            r#"minispark_bytes_total{kind="written"}"#,
            f64::from(u32::try_from(fs::metadata(&output).unwrap().len()).unwrap()),
        ),
        (r#"minispark_workers{state="UP"}"#, 2.0),
        ("minispark_slots", 4.0),
        (r#"minispark_http_requests_total{code="200",method="POST",route="/api/v1/jobs"}"#, 1.0),
        (r#"minispark_task_retries_total{reason="failed"}"#, 0.0),
    ] {
        assert_eq!(scraped.value(series).to_bits(), expected.to_bits(), "{series}");
    }
    assert!(scraped.value("minispark_process_resident_memory_bytes") > 1e6);
    assert!(scraped.value(r#"minispark_bytes_total{kind="shuffle_received"}"#) > 0.0);
    assert!(scraped.value("minispark_shuffle_fetch_seconds_count") > 0.0);

    // Labels come from closed lists: no ids but those of workers, whose number is bounded.
    let known = ["state", "op", "outcome", "reason", "code", "route", "method", "worker", "kind"];
    let known: BTreeSet<String> =
        known.iter().chain(&["le", "version"]).map(|&name| name.to_owned()).collect();
    assert!(scraped.labels.is_subset(&known), "{:?}", scraped.labels);
    assert!(scraped.types.keys().all(|name| name.starts_with("minispark_")));
    assert!(!scraped.samples.keys().any(|series| series.contains(&id)));
    let http = http::call(&cluster.rest, "GET", &format!("/no/such/{id}"), &[], b"");
    assert_eq!(http.status, 404);
    assert!(!scrape(&cluster).samples.keys().any(|series| series.contains(&id)));

    let document = cluster.get("/api/v1/metrics");
    let families = document["metrics"].as_array().unwrap();
    let find = |name: &str| families.iter().find(|family| family["name"] == name).unwrap();
    assert_eq!(find("minispark_jobs_submitted_total")["samples"][0]["value"], 1.0);
    assert_eq!(find("minispark_queue_wait_seconds")["samples"][0]["count"], 1);
    assert_eq!(families.len(), scrape(&cluster).types.len());
}

#[test]
fn a_job_tells_where_its_time_and_its_rows_went() {
    let cluster = Cluster::start(Settings::default());
    let id = cluster.submit(&wordcount());
    let job = cluster.completed(&id);
    assert_eq!(job["bytes"]["read"], 154);
    for (node, rows_in, rows_out) in [("read", 3, 3), ("flat", 3, 28), ("agg", 28, 22)] {
        assert_eq!(
            job["metrics"]["nodes"][node],
            json!({"rows_in": rows_in, "rows_out": rows_out, "filtered": 0, "quarantined": 0})
        );
    }
    let started = job["metrics"]["started_at"].as_str().unwrap();
    let ended = job["metrics"]["ended_at"].as_str().unwrap();
    assert!(started <= ended && ended.len() > 20, "{started} {ended}");

    let stages = cluster.get(&format!("/api/v1/jobs/{id}/stages"));
    assert_eq!(stages["items"], job["stages"]);
    let stages = stages["items"].as_array().unwrap();
    let sum = |field: &str| -> u64 {
        stages.iter().map(|stage| stage["metrics"][field].as_u64().unwrap()).sum()
    };
    assert_eq!(sum("read_bytes"), 154);
    let tasks: u64 = stages.iter().map(|stage| stage["tasks"].as_u64().unwrap()).sum();
    assert_eq!((sum("attempts"), sum("running")), (tasks, 0));

    // Page by page, each attempt once.
    let mut path = format!("/api/v1/jobs/{id}/tasks?limit=2&state=COMPLETED");
    let mut seen = BTreeSet::new();
    loop {
        let page = cluster.get(&path);
        for attempt in page["items"].as_array().unwrap() {
            assert_eq!(attempt["state"], "COMPLETED");
            assert!(attempt["ended_at"].is_string() && attempt["worker"].is_string());
            seen.insert((attempt["stage"].as_u64(), attempt["partition"].as_u64()));
        }
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/api/v1/jobs/{id}/tasks?limit=2&state=COMPLETED&cursor={cursor}");
    }
    assert_eq!(seen.len() as u64, tasks);
    let none = cluster.get(&format!("/api/v1/jobs/{id}/tasks?state=FAILED"));
    assert_eq!(none["items"], json!([]));

    let workers = cluster.get("/api/v1/workers");
    let workers = workers["items"].as_array().unwrap();
    let of_workers = |field: &str| -> u64 {
        workers.iter().map(|worker| worker["metrics"][field].as_u64().unwrap()).sum()
    };
    assert_eq!((of_workers("rows_in"), of_workers("read_bytes")), (3, 154));
    assert_eq!(of_workers("retries"), 0);
    let counted: u64 = workers
        .iter()
        .map(|worker| worker["metrics"]["latency_secs"]["count"].as_u64().unwrap())
        .sum();
    assert_eq!(counted, tasks);
    assert!(workers.iter().all(|worker| worker["metrics"]["host_memory_bytes"].as_u64() > Some(0)));

    let state = cluster.get("/api/v1/cluster");
    assert_eq!((&state["jobs"]["COMPLETED"], &state["workers"]["UP"]), (&json!(1), &json!(2)));
    assert_eq!((&state["slots"], &state["queue_depth"]), (&json!(4), &json!(0)));
    assert!(state["master"]["rss_bytes"].as_u64() > Some(1 << 20));
}

#[test]
fn events_tell_a_job_from_its_beginning_to_its_end_and_can_be_resumed() {
    let mut cluster = Cluster::start(Settings { workers: 0, ..Settings::default() });
    let id = cluster.submit(&wordcount());
    let path = format!("/api/v1/jobs/{id}/events");
    let mut events = Events::open(&cluster, &path, None);
    let first = events.next().unwrap();
    let (first_id, _, job) = &first;
    assert_eq!((first.1.as_str(), &job["status"]), ("job", &json!("ACCEPTED")));
    assert!(job["waiting_for"].is_string(), "{job}");
    cluster.add_worker();
    let told = events.rest();
    let (_, last, end) = told.last().unwrap();
    assert_eq!(last, "end");
    assert_eq!((&end["status"], &end["progress_percent"]), (&json!("COMPLETED"), &json!(100.0)));
    let progress: Vec<f64> =
        told.iter().filter_map(|(_, _, data)| data["progress_percent"].as_f64()).collect();
    assert!(progress.windows(2).all(|pair| pair[0] <= pair[1]), "{progress:?}");
    let done = |(_, name, data): &&Event| name == "task" && data["task"]["state"] == "COMPLETED";
    let tasks: u64 = cluster.job(&id)["stages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|stage| stage["tasks"].as_u64().unwrap())
        .sum();
    assert_eq!(told.iter().filter(done).count() as u64, tasks);

    // Behind any event come the same events as the first time.
    let last_but_one = told.len() - 1;
    for (place, last_id) in
        [(0, first_id), (3, &told[2].0), (last_but_one, &told[last_but_one - 1].0)]
    {
        let again = Events::open(&cluster, &path, Some(last_id)).rest();
        assert_eq!(names(&again), names(&told[place..]), "{last_id}");
    }
    let stranger = Events::open(&cluster, &path, Some("99999-1")).rest();
    assert_eq!(names(&stranger), ["reset", "job", "end"]);
}

#[test]
fn an_open_stream_does_not_keep_a_master_from_ending() {
    let mut cluster = Cluster::start(Settings { workers: 0, ..Settings::default() });
    let mut events = Events::open(&cluster, "/api/v1/events", None);
    cluster.submit(&wordcount());
    assert_eq!(events.next().unwrap().1, "job");
    assert_eq!(cluster.master.terminate(), 0);
    assert_eq!(events.next(), None);
}

#[test]
fn the_command_line_follows_a_job_by_its_events() {
    let cluster = Cluster::start(Settings::default());
    let file = root().join("jobs/wordcount.json");
    let file = file.to_str().unwrap();
    let waited = cluster.client(&["submit", file, "--wait"]).expect_done();
    assert!(waited.stdout.contains("\"status\": \"COMPLETED\""), "{waited:?}");
    let watched = cluster.client(&["submit", file, "--watch"]).expect_done();
    for line in ["job ", "COMPLETED, "] {
        assert!(watched.stderr.contains(line), "{watched:?}");
    }
    let printed = cluster.client(&["events", "@last"]).expect_done();
    let lines: Vec<Value> =
        printed.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["event"], "job");
    assert_eq!(lines.last().unwrap()["event"], "end");
    assert_eq!(lines.last().unwrap()["data"]["status"], "COMPLETED");
    let missing = cluster.client(&["events", "6eecef97-0000-4000-8000-000000000000"]);
    assert_eq!(missing.code(), 6, "{missing:?}");
}

#[test]
fn a_waiting_client_falls_back_to_looking_where_no_events_are_to_be_had() {
    let mut cluster = Cluster::start(Settings { workers: 0, ..Settings::default() });
    let _full: Vec<Events> =
        (0..64).map(|_| Events::open(&cluster, "/api/v1/events", None)).collect();
    let mut command = minispark();
    command.args(["--server", &cluster.url(), "submit", "--wait"]);
    command.arg(root().join("jobs/wordcount.json")).stdout(Stdio::piped());
    let child = command.stderr(Stdio::piped()).spawn().unwrap();
    until("the job is there", || !cluster.get("/api/v1/jobs")["items"][0].is_null());
    cluster.add_worker();
    let ended = child.wait_with_output().unwrap();
    assert!(ended.status.success(), "{ended:?}");
}

#[test]
fn a_running_job_moves_within_its_only_task() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("lines.txt");
    fs::write(&input, "some words of a line\n".repeat(LINES)).unwrap();
    let document = json!({"dag": {"nodes": [
        {"id": "read", "op": "read_text", "path": input, "partitions": 1},
        {"id": "flat", "op": "flat_map", "fn": "tokenize"},
        {"id": "agg", "op": "reduce_by_key", "key": "token", "fn": "count"},
    ], "edges": [["read", "flat"], ["flat", "agg"]]}});
    let cluster = Cluster::start(Settings { heartbeat: "50ms", ..Settings::default() });
    let id = cluster.submit(&document.to_string());
    let told = Events::open(&cluster, &format!("/api/v1/jobs/{id}/events"), None).rest();
    let within = told.iter().filter(|(_, name, data)| {
        name == "progress"
            && data["tasks_done"] == 0
            && data["progress_percent"].as_f64() > Some(0.0)
    });
    assert!(within.count() > 0, "{told:#?}");
}

#[test]
fn a_lost_worker_is_seen_in_attempts_numbers_and_events_and_progress_never_falls() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("lines.txt");
    fs::write(&input, "some words of a line\n".repeat(LINES)).unwrap();
    let document = json!({"dag": {"nodes": [
        {"id": "read", "op": "read_text", "path": input, "partitions": 1},
        {"id": "flat", "op": "flat_map", "fn": "tokenize"},
        {"id": "agg", "op": "reduce_by_key", "key": "token", "fn": "count"},
    ], "edges": [["read", "flat"], ["flat", "agg"]]}});
    let mut cluster = Cluster::start(Settings { heartbeat: "50ms", ..Settings::default() });
    let id = cluster.submit(&document.to_string());
    let mut events = Events::open(&cluster, &format!("/api/v1/jobs/{id}/events"), None);
    let mut told = Vec::new();
    while let Some(event) = events.next() {
        let is_under_way = event.1 == "progress";
        told.push(event);
        if is_under_way {
            break;
        }
    }
    let running = cluster.get(&format!("/api/v1/jobs/{id}/tasks?state=RUNNING"));
    let runs_on = running["items"][0]["worker"].as_str().unwrap().to_owned();
    let place = (0..2).find(|&n| cluster.workers[n].logged("worker") == runs_on).unwrap();
    cluster.workers[place].kill();
    told.extend(events.rest());
    cluster.completed(&id);

    let lost = cluster.get(&format!("/api/v1/jobs/{id}/tasks?state=LOST"));
    assert_eq!(lost["items"][0]["worker"], runs_on, "{lost:#}");
    assert_eq!(lost["items"].as_array().unwrap().len(), 1);
    let scraped = scrape(&cluster);
    let counted: f64 = scraped
        .samples
        .iter()
        .filter(|(series, _)| series.contains(r#"outcome="lost""#))
        .map(|(_, count)| count)
        .sum();
    assert_eq!(counted.to_bits(), 1.0_f64.to_bits());
    let retries = scraped.value(r#"minispark_task_retries_total{reason="worker_lost"}"#);
    assert_eq!(retries.to_bits(), 1.0_f64.to_bits());
    let warned = told.iter().find(|(_, name, _)| name == "warning").unwrap();
    assert_eq!(warned.2["where"]["worker"], runs_on.as_str());
    let progress: Vec<f64> =
        told.iter().filter_map(|(_, _, data)| data["progress_percent"].as_f64()).collect();
    assert!(progress.windows(2).all(|pair| pair[0] <= pair[1]), "{progress:?}");
    assert_eq!(told.last().unwrap().2["progress_percent"], 100.0);
}

#[test]
fn logs_are_json_lines_that_tell_each_change_and_no_row() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("bad.csv");
    fs::write(&input, "n\n1\ncanary-4711\n").unwrap();
    let document = json!({"name": "bad", "dag": {"nodes": [
        {"id": "read", "op": "read_csv", "path": input, "header": true, "columns": {"n": "int64"}},
    ], "edges": []}});
    let mut cluster = Cluster::start(Settings::default());
    let id = cluster.submit(&document.to_string());
    let error = &cluster.ended(&id)["error"];
    assert_eq!(error["code"], "INPUT_CORRUPT", "{error:#}");
    assert!(error["message"].as_str().unwrap().contains("canary-4711"), "{error:#}");
    let good = cluster.submit(&wordcount());
    cluster.completed(&good);
    cluster.workers[0].kill();
    until("the worker is down", || cluster.workers_up() == 1);

    let log = cluster.master.log();
    for line in &log {
        assert!(line.is_object(), "no JSON: {line}");
        for key in ["time", "level", "message", "target"] {
            assert!(line[key].is_string(), "{key} in {line}");
        }
    }
    let said = |message: &str, job: &str| {
        let found = log.iter().filter(|line| line["message"] == message);
        found.filter(|line| job.is_empty() || line["context"]["job_id"] == job).count()
    };
    for (message, job, times) in [
        ("job accepted", good.as_str(), 1),
        ("job started", &good, 1),
        ("job ended", &good, 1),
        ("job ended", &id, 1),
        ("attempt failed", &id, 1),
        ("worker up", "", 2),
        ("worker down", "", 1),
    ] {
        assert_eq!(said(message, job), times, "{message} {job}");
    }
    let stages = cluster.job(&good)["stages"].as_array().unwrap().len();
    assert_eq!((said("stage started", &good), said("stage done", &good)), (stages, stages));
    let ended = log.iter().find(|line| line["message"] == "job ended").unwrap();
    assert_eq!(ended["context"]["code"], "INPUT_CORRUPT");
    assert!(ended["context"]["elapsed_secs"].is_number(), "{ended}");
    let accepted = log.iter().find(|line| line["message"] == "job accepted").unwrap();
    assert!(accepted["context"]["request_id"].is_string(), "{accepted}");

    let logs = ["master.log", "worker1.log", "worker2.log"];
    for file in logs {
        let text = fs::read_to_string(cluster.folder.path().join(file)).unwrap();
        assert!(!text.contains("canary-4711"), "{file} shows a row");
    }
}
