//! A master and its workers in one process, over real sockets.

use std::{
    net::{SocketAddr, TcpListener},
    path::Path,
    time::Duration,
};

use reqwest::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{sync::oneshot, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    Error,
    master::{self, MasterOptions, Retention},
    worker::{self, WorkerOptions},
};

const ANY_PORT: &str = "127.0.0.1:0";

/// How long a test waits for what must come; machines that build can be very slow.
const PATIENCE: Duration = Duration::from_mins(3);

fn master_options(folder: &Path) -> MasterOptions {
    MasterOptions {
        bind: ANY_PORT.parse().unwrap(),
        flight_bind: ANY_PORT.parse().unwrap(),
        state_dir: folder.join("state"),
        output_dir: folder.join("out"),
        token_file: None,
        allowed_hosts: Vec::new(),
        read_roots: vec![folder.to_owned()],
        stores: Vec::new(),
        write_roots: Vec::new(),
        memory_bytes: 64 << 20,
        heartbeat: Duration::from_millis(200),
        lost_after: Duration::from_mins(1),
        no_worker_wait: Duration::from_mins(1),
        attempts: 4,
        retention: Retention::default(),
    }
}

fn worker_options(folder: &Path, name: &str, master: SocketAddr) -> WorkerOptions {
    WorkerOptions {
        master_url: format!("http://{master}"),
        bind: ANY_PORT.parse().unwrap(),
        advertise: None,
        token: None,
        slots: 2,
        memory_bytes: 64 << 20,
        spill_quota_bytes: None,
        read_roots: vec![folder.to_owned()],
        write_roots: Vec::new(),
        stores: Vec::new(),
        work_dir: folder.join(name),
        drain: Duration::from_secs(10),
    }
}

/// A cluster that ends with the test.
struct Running {
    folder: TempDir,
    rest: SocketAddr,
    http: reqwest::Client,
    stop: CancellationToken,
    master: (CancellationToken, JoinSet<Result<(), Error>>),
    workers: JoinSet<Result<(), Error>>,
}

impl Running {
    async fn start(workers: &[&str]) -> Self {
        let mut cluster = Self {
            folder: tempfile::tempdir().unwrap(),
            rest: ANY_PORT.parse().unwrap(),
            http: {
                minispark_flight::objects::prepare_tls();
                reqwest::Client::new()
            },
            stop: CancellationToken::new(),
            master: (CancellationToken::new(), JoinSet::new()),
            workers: JoinSet::new(),
        };
        cluster.start_master().await;
        for name in workers {
            let options = worker_options(cluster.folder.path(), name, cluster.rest);
            cluster.workers.spawn(worker::run(options, cluster.stop.clone(), |_| {}));
        }
        cluster
    }

    /// Starts the master, at the address that it had before if it had one.
    async fn start_master(&mut self) {
        let (tell, ready) = oneshot::channel();
        let options = MasterOptions { bind: self.rest, ..master_options(self.folder.path()) };
        let (stop, running) = &mut self.master;
        *stop = CancellationToken::new();
        running.spawn(master::run(options, stop.clone(), |addresses| {
            tell.send(addresses).unwrap();
        }));
        self.rest = ready.await.unwrap().rest;
    }

    async fn stop_master(&mut self) {
        self.master.0.cancel();
        self.master.1.join_next().await.unwrap().unwrap().unwrap();
    }

    fn write(&self, name: &str, content: &str) {
        let options = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(self.folder.path().join(name));
        std::io::Write::write_all(&mut options.unwrap(), content.as_bytes()).unwrap();
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        let answer = self.http.get(format!("http://{}{path}", self.rest)).send().await.unwrap();
        (answer.status(), answer.json().await.unwrap_or_default())
    }

    async fn post(&self, path: &str, body: &Value) -> (StatusCode, Value) {
        let url = format!("http://{}{path}", self.rest);
        let answer = self.http.post(url).json(body).send().await.unwrap();
        (answer.status(), answer.json().await.unwrap_or_default())
    }

    async fn submit(&self, job: &Value) -> String {
        let (status, body) = self.post("/api/v1/jobs", job).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        body["job_id"].as_str().unwrap().to_owned()
    }

    /// The job once its status is among `wanted`.
    async fn job_when(&self, job: &str, wanted: &[&str]) -> Value {
        let asking = async {
            loop {
                let (_, body) = self.get(&format!("/api/v1/jobs/{job}")).await;
                if wanted.contains(&body["status"].as_str().unwrap()) {
                    return body;
                }
            }
        };
        tokio::time::timeout(PATIENCE, asking).await.unwrap()
    }

    /// The only worker once it is up in a life later than `epoch`, or of that life.
    async fn worker_since(&self, epoch: u64) -> Value {
        let asking = async {
            loop {
                let (_, body) = self.get("/api/v1/workers").await;
                let worker = &body["items"][0];
                if worker["state"] == "UP" && worker["epoch"].as_u64() >= Some(epoch) {
                    return worker.clone();
                }
            }
        };
        tokio::time::timeout(PATIENCE, asking).await.unwrap()
    }

    async fn end(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.workers.join_next().await {
            ended.unwrap().unwrap();
        }
        self.stop_master().await;
    }
}

fn word_count(partitions: u32) -> Value {
    json!({"name": "words", "dag": {
        "nodes": [
            {"id": "read", "op": "read_csv", "path": "lines.txt", "partitions": partitions},
            {"id": "flat", "op": "flat_map", "fn": "tokenize"},
            {"id": "lower", "op": "map", "fn": "to_lower"},
            {"id": "agg", "op": "reduce_by_key", "key": "token", "fn": "sum"}],
        "edges": [["read", "flat"], ["flat", "lower"], ["lower", "agg"]]}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_goes_through_two_workers_and_its_result_can_be_read() {
    let cluster = Running::start(&["w1", "w2"]).await;
    cluster.write("lines.txt", "El mar\nel sol, el mar\nSol\n");
    let job = cluster.submit(&word_count(3)).await;
    let shown = cluster.job_when(&job, &["COMPLETED", "FAILED"]).await;
    assert_eq!(shown["status"], "COMPLETED", "{shown}");
    assert_eq!((&shown["progress_percent"], &shown["failure_count"]), (&json!(100.0), &json!(0)));
    assert_eq!(shown["rows"], json!({"in": 3, "out": 3, "filtered": 0, "quarantined": 0}));
    let nodes: Vec<_> = shown["node_status"].as_object().unwrap().values().collect();
    assert_eq!(nodes, ["COMPLETED"; 4]);

    let expected = "el, 3\nmar, 2\nsol, 2\n";
    let (_, results) = cluster.get(&format!("/api/v1/jobs/{job}/results")).await;
    let path = results["outputs"]["agg"].as_str().unwrap();
    assert!(path.ends_with(&format!("{job}_agg.txt")), "{path}");
    assert_eq!(std::fs::read_to_string(path).unwrap(), expected);
    let url = format!("http://{}{}", cluster.rest, results["urls"]["agg"].as_str().unwrap());
    let answer = cluster.http.get(url).send().await.unwrap();
    assert_eq!(answer.headers()["content-length"], "20");
    assert_eq!(answer.text().await.unwrap(), expected);
    assert_eq!(results["rows"]["agg"], 3);
    assert_eq!(results["schema"]["agg"][0]["name"], "token");
    let (_, workers) = cluster.get("/api/v1/workers").await;
    assert_eq!(workers["items"].as_array().unwrap().len(), 2, "{workers}");
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_job_frees_its_slots_for_the_next_one() {
    let cluster = Running::start(&["w1"]).await;
    cluster.write("lines.txt", &"a line\n".repeat(100));
    let sleeper = json!({"name": "sleeper", "dag": {
        "nodes": [
            {"id": "read", "op": "read_text", "path": "lines.txt", "partitions": 4},
            {"id": "sleep", "op": "map", "fn": "sleep_10s"}],
        "edges": [["read", "sleep"]]}});
    let job = cluster.submit(&sleeper).await;
    cluster.job_when(&job, &["RUNNING"]).await;
    let (status, body) = cluster.post(&format!("/api/v1/jobs/{job}/cancel"), &json!(null)).await;
    assert_eq!((status, &body["status"]), (StatusCode::OK, &json!("CANCELLED")));
    let next = cluster.submit(&word_count(2)).await;
    let shown = cluster.job_when(&next, &["COMPLETED", "FAILED"]).await;
    assert_eq!(shown["status"], "COMPLETED", "{shown}");
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_goes_on_with_a_restarted_master_in_the_same_life() {
    let mut cluster = Running::start(&["w1"]).await;
    cluster.write("lines.txt", "a b a\n");
    let before = cluster.worker_since(1).await;
    let job = cluster.submit(&word_count(1)).await;
    cluster.job_when(&job, &["COMPLETED"]).await;
    cluster.stop_master().await;
    cluster.start_master().await;
    let (status, body) = cluster.get(&format!("/api/v1/jobs/{job}")).await;
    assert_eq!((status, &body["status"]), (StatusCode::OK, &json!("COMPLETED")));
    let (_, version) = cluster.get("/api/v1/version").await;
    assert_eq!(version["term"], 2);
    let after = cluster.worker_since(1).await;
    assert_eq!((&after["id"], &after["epoch"]), (&before["id"], &before["epoch"]));
    let next = cluster.submit(&word_count(1)).await;
    let shown = cluster.job_when(&next, &["COMPLETED", "FAILED"]).await;
    assert_eq!((&shown["status"], &shown["term"]), (&json!("COMPLETED"), &json!(2)));
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_was_given_up_comes_back_in_a_new_life() {
    let cluster = Running::start(&["w1"]).await;
    let worker = cluster.worker_since(1).await;
    let epoch = worker["epoch"].as_u64().unwrap();
    let goodbye = json!({"protocol": 1, "worker": worker["id"], "epoch": epoch});
    let (status, _) = cluster.post("/internal/v1/leave", &goodbye).await;
    assert_eq!(status, StatusCode::OK);
    let again = cluster.worker_since(epoch + 1).await;
    assert_eq!(again["id"], worker["id"]);
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_document_with_errors_is_refused_with_all_of_them() {
    let cluster = Running::start(&[]).await;
    let job = json!({"name": "bad", "dag": {
        "nodes": [
            {"id": "read", "op": "read_text", "path": "missing.txt"},
            {"id": "flat", "op": "flat_map", "fn": "tokenise"}],
        "edges": [["read", "flat"]]}});
    let (status, body) = cluster.post("/api/v1/jobs", &job).await;
    assert_eq!((status, &body["code"]), (StatusCode::BAD_REQUEST, &json!("VALIDATION_FAILED")));
    assert_eq!(body["title"], "The job document has 2 errors", "{body}");
    let pointers: Vec<_> =
        body["errors"].as_array().unwrap().iter().map(|e| &e["pointer"]).collect();
    assert_eq!(pointers, ["/dag/nodes/0/path", "/dag/nodes/1/fn"]);
    cluster.end().await;
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind(ANY_PORT).unwrap();
    let address = taken.local_addr().unwrap();
    let options = MasterOptions { bind: address, ..master_options(folder.path()) };
    let error = master::run(options, CancellationToken::new(), |_| {}).await.unwrap_err();
    assert_eq!(error.to_string(), format!("cannot listen on {address} for REST"));
    let of_worker = WorkerOptions { bind: address, ..worker_options(folder.path(), "w", address) };
    let refused = worker::run(of_worker, CancellationToken::new(), |_| {}).await.unwrap_err();
    assert_eq!(refused.to_string(), format!("cannot listen on {address} for Flight"));
}
