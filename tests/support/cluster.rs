//! A real cluster on free ports of this machine, each process with folders of its own.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use super::{Ran, http, minispark, run, until};

/// A process of the cluster, killed when dropped. Its log is kept in a file.
pub(crate) struct Node {
    child: Child,
    log: PathBuf,
}

impl Node {
    /// Starts it; its stderr goes to `log`.
    pub(crate) fn start(command: &mut Command, log: PathBuf) -> Self {
        let file = File::create(&log).unwrap();
        let child = command.stdout(Stdio::null()).stderr(file).spawn().unwrap();
        Self { child, log }
    }

    /// What it logged so far, line by line; a line that is no JSON is its text.
    pub(crate) fn log(&self) -> Vec<Value> {
        let lines = BufReader::new(File::open(&self.log).unwrap()).lines();
        let parse = |line: String| serde_json::from_str(&line).unwrap_or(Value::String(line));
        lines.map(|line| parse(line.unwrap())).collect()
    }

    /// Waits for a log line whose context has this field, and gives its value.
    pub(crate) fn logged(&mut self, field: &str) -> String {
        let mut found = None;
        until(&format!("`{field}` in {}", self.log.display()), || {
            assert!(self.is_running(), "it ended: {:?}", self.log());
            let lines = self.log();
            found =
                lines.iter().find_map(|line| line["context"][field].as_str().map(str::to_owned));
            found.is_some()
        });
        found.unwrap()
    }

    /// Whether the process is there.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Ends it as a crash would: SIGKILL, at once.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to end (SIGTERM) and waits; gives its exit code.
    pub(crate) fn terminate(&mut self) -> i32 {
        signal(self.child.id(), "TERM");
        let mut code = None;
        until("the process ends after SIGTERM", || {
            code = self.child.try_wait().unwrap();
            code.is_some()
        });
        code.unwrap().code().unwrap()
    }

    /// Its process number.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking()
            && let Ok(log) = std::fs::read_to_string(&self.log)
        {
            let tail: Vec<&str> = log.lines().rev().take(30).collect();
            eprintln!("--- the end of {}", self.log.display());
            for line in tail.iter().rev() {
                eprintln!("{line}");
            }
        }
    }
}

/// Sends a signal by name, such as `TERM`.
pub(crate) fn signal(process: u32, name: &str) {
    let ran = run(Command::new("kill").arg(format!("-{name}")).arg(process.to_string()));
    assert!(ran.status.success(), "{ran:?}");
}

/// How a cluster is started.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) workers: usize,
    pub(crate) slots: usize,
    pub(crate) memory: &'static str,
    pub(crate) heartbeat: &'static str,
    pub(crate) lost_after: &'static str,
    pub(crate) no_worker_wait: &'static str,
    pub(crate) base_dir: PathBuf,
    /// Beneath these jobs may read and write; none are named where there are none.
    pub(crate) data_roots: Vec<PathBuf>,
    /// Whether workers share the folders of results with the master.
    pub(crate) shares: bool,
    /// The most that a worker's spill files and map outputs may take on disk.
    pub(crate) spill_quota: Option<&'static str>,
    /// The file of tokens that the master takes.
    pub(crate) token_file: Option<PathBuf>,
    /// The file with the workers' token.
    pub(crate) worker_token: Option<PathBuf>,
    /// The token of the test itself.
    pub(crate) token: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            workers: 2,
            slots: 2,
            memory: "256MiB",
            heartbeat: "200ms",
            lost_after: "2s",
            no_worker_wait: "60s",
            base_dir: super::root(),
            data_roots: vec![super::root(), std::env::temp_dir()],
            shares: false,
            spill_quota: None,
            token_file: None,
            worker_token: None,
            token: None,
        }
    }
}

/// A master and workers.
pub(crate) struct Cluster {
    pub(crate) settings: Settings,
    pub(crate) folder: TempDir,
    pub(crate) master: Node,
    pub(crate) workers: Vec<Node>,
    /// `host:port` of REST.
    pub(crate) rest: String,
    /// `host:port` of Flight.
    pub(crate) flight: String,
}

impl Cluster {
    /// Starts master and workers and waits until all workers are up.
    pub(crate) fn start(settings: Settings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut master = start_master(&settings, folder.path(), 0, 0);
        let rest = master.logged("rest").trim_start_matches("http://").to_owned();
        let flight = master.logged("flight");
        let wanted = settings.workers;
        let mut cluster = Self { settings, folder, master, workers: Vec::new(), rest, flight };
        for _ in 0..wanted {
            cluster.add_worker();
        }
        until("all workers are up", || cluster.workers_up() == wanted);
        cluster
    }

    /// Starts one more worker; does not wait for it.
    pub(crate) fn add_worker(&mut self) -> &mut Node {
        let number = self.workers.len() + 1;
        let worker = start_worker(&self.settings, self.folder.path(), number, &self.url());
        self.workers.push(worker);
        self.workers.last_mut().unwrap()
    }

    /// The master's URL.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.rest)
    }

    /// Where results appear.
    pub(crate) fn output_dir(&self) -> PathBuf {
        self.folder.path().join("output")
    }

    /// Kills the master and starts another on the same ports and folders.
    pub(crate) fn restart_master(&mut self) {
        self.master.kill();
        let port = |address: &str| address.rsplit(':').next().unwrap().parse().unwrap();
        let (rest, flight) = (port(&self.rest), port(&self.flight));
        self.master = start_master(&self.settings, self.folder.path(), rest, flight);
        self.master.logged("rest");
    }

    /// A REST call with the test's token, if it has one.
    pub(crate) fn call(&self, method: &str, path: &str, body: &[u8]) -> http::Answer {
        let bearer = self.settings.token.as_ref().map(|token| format!("Bearer {token}"));
        let headers = bearer.as_ref().map(|bearer| ("authorization", bearer.as_str()));
        http::call(&self.rest, method, path, headers.as_slice(), body)
    }

    /// A REST call; the answer must be JSON of this status.
    pub(crate) fn get(&self, path: &str) -> Value {
        let answer = self.call("GET", path, b"");
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json()
    }

    /// How many workers are up.
    pub(crate) fn workers_up(&self) -> usize {
        let workers = self.get("/api/v1/workers");
        let items = workers["items"].as_array().unwrap();
        items.iter().filter(|worker| worker["state"] == "UP").count()
    }

    /// Submits a document; gives the job's id.
    pub(crate) fn submit(&self, document: &str) -> String {
        let answer = self.call("POST", "/api/v1/jobs", document.as_bytes());
        assert_eq!(answer.status, 200, "{}", answer.text());
        let answer = answer.json();
        assert_eq!(answer["status"], "ACCEPTED");
        answer["job_id"].as_str().unwrap().to_owned()
    }

    /// A job's status document.
    pub(crate) fn job(&self, id: &str) -> Value {
        self.get(&format!("/api/v1/jobs/{id}"))
    }

    /// Waits until the job has ended; gives its last status document.
    pub(crate) fn ended(&self, id: &str) -> Value {
        let mut job = Value::Null;
        until(&format!("job {id} ends"), || {
            job = self.job(id);
            matches!(job["status"].as_str(), Some("COMPLETED" | "FAILED" | "CANCELLED"))
        });
        job
    }

    /// Waits until the job has ended, which must be well.
    pub(crate) fn completed(&self, id: &str) -> Value {
        let job = self.ended(id);
        assert_eq!(job["status"], "COMPLETED", "{job:#}");
        job
    }

    /// The path of a finished job's result.
    pub(crate) fn output(&self, id: &str, sink: &str) -> PathBuf {
        let results = self.get(&format!("/api/v1/jobs/{id}/results"));
        PathBuf::from(results["outputs"][sink].as_str().unwrap_or_else(|| panic!("{results:#}")))
    }

    /// The client's command line against this master.
    pub(crate) fn client(&self, arguments: &[&str]) -> Ran {
        run(minispark().args(["--server", &self.url()]).args(arguments))
    }
}

fn start_master(settings: &Settings, folder: &Path, rest: u16, flight: u16) -> Node {
    let mut command = minispark();
    command.current_dir(&settings.base_dir).arg("master");
    command.arg("--bind").arg(format!("127.0.0.1:{rest}"));
    command.arg("--flight-port").arg(flight.to_string());
    command.arg("--state-dir").arg(folder.join("state"));
    command.arg("--output-dir").arg(folder.join("output"));
    command.args(["--heartbeat", settings.heartbeat, "--lost-after", settings.lost_after]);
    command.args(["--no-worker-wait", settings.no_worker_wait]);
    for root in &settings.data_roots {
        command.arg("--read-root").arg(root).arg("--write-root").arg(root);
    }
    if let Some(file) = &settings.token_file {
        command.arg("--token-file").arg(file);
    }
    Node::start(&mut command, folder.join("master.log"))
}

fn start_worker(settings: &Settings, folder: &Path, number: usize, master: &str) -> Node {
    let mut command = minispark();
    command.current_dir(&settings.base_dir);
    command.args(["worker", "--port", "0", "--master", master, "--memory", settings.memory]);
    command.arg("--slots").arg(settings.slots.to_string());
    for root in &settings.data_roots {
        command.arg("--read-root").arg(root);
    }
    if settings.shares {
        let roots = settings.data_roots.iter().cloned();
        for root in roots.chain([folder.join("output")]) {
            command.arg("--write-root").arg(root);
        }
    }
    if let Some(quota) = settings.spill_quota {
        command.args(["--spill-quota", quota]);
    }
    if let Some(file) = &settings.worker_token {
        command.arg("--token-file").arg(file);
    }
    command.arg("--work-dir").arg(folder.join(format!("worker{number}")));
    Node::start(&mut command, folder.join(format!("worker{number}.log")))
}

/// Waits a moment that is long for a cluster of these settings and short for a test.
pub(crate) fn heartbeats(count: u32) -> Duration {
    Duration::from_millis(200) * count
}
