//! Hostile input against the real servers: tokens, hosts and origins, data roots, limits.

#![cfg(test)]
#![expect(clippy::disallowed_methods, reason = "a test makes the files that the program reads")]
#![expect(clippy::shadow_unrelated, reason = "each call of a test has its own answer")]

use std::{
    fs,
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use arrow_flight::FlightDescriptor;
use serde_json::{Value, json};
use tempfile::TempDir;
use tonic::transport::Endpoint;

#[expect(clippy::allow_attributes, reason = "an expectation fails where a target uses all")]
#[allow(dead_code, reason = "each target uses a part of it")]
mod support;

use support::{
    Ran,
    cluster::{Cluster, Node, Settings},
    files_below, holds_within,
    http::{self, Answer},
    minispark, root, run, until,
};

const JOBS: &str = "/api/v1/jobs";

/// Makes a token; gives its secret and a file that holds it.
fn new_token(folder: &Path, role: &str, name: &str, more: &[&str]) -> (String, PathBuf) {
    let mut command = minispark();
    command.args(["token", "new", "--role", role, "--name", name]).args(more);
    let made = run(command.arg("--token-file").arg(folder.join("tokens"))).expect_done();
    let secret = made.stdout.trim().to_owned();
    assert!(secret.len() >= 64, "{made:?}");
    let file = folder.join(format!("{name}-{role}"));
    fs::write(&file, &secret).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    (secret, file)
}

/// A cluster that asks for tokens.
struct Fenced {
    folder: TempDir,
    cluster: Cluster,
    secrets: Vec<String>,
    ann: String,
    bob: String,
}

impl Fenced {
    fn start(workers: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        let (root, _) = new_token(at, "admin", "root", &[]);
        let (ann, _) = new_token(at, "submit", "ann", &[]);
        let (bob, _) = new_token(at, "submit", "bob", &[]);
        let (worker, worker_file) = new_token(at, "worker", "w", &[]);
        let settings = Settings {
            workers,
            token_file: Some(at.join("tokens")),
            worker_token: Some(worker_file),
            token: Some(root.clone()),
            ..Settings::default()
        };
        let cluster = Cluster::start(settings);
        let secrets = vec![root, ann.clone(), bob.clone(), worker];
        Self { folder, cluster, secrets, ann, bob }
    }

    fn call(&self, method: &str, path: &str, token: &str, body: &[u8]) -> Answer {
        let bearer = format!("Bearer {token}");
        http::call(&self.cluster.rest, method, path, &[("authorization", &bearer)], body)
    }

    fn submit_as(&self, token: &str) -> String {
        let document = fs::read(root().join("jobs/wordcount.json")).unwrap();
        let answer = self.call("POST", JOBS, token, &document);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["job_id"].as_str().unwrap().to_owned()
    }
}

#[test]
fn a_token_opens_what_is_its_own_and_nothing_is_told_of_the_rest() {
    let fenced = Fenced::start(1);
    let job = fenced.submit_as(&fenced.ann);
    fenced.cluster.completed(&job);
    let show = format!("{JOBS}/{job}");
    assert_eq!(fenced.call("GET", &show, &fenced.ann, b"").status, 200);
    let unknown = format!("{JOBS}/6eecef97-0000-4000-8000-000000000000");
    for (path, method) in
        [("", "GET"), ("/results", "GET"), ("/results/agg", "GET"), ("/cancel", "POST")]
    {
        let others = fenced.call(method, &format!("{show}{path}"), &fenced.bob, b"");
        let none = fenced.call(method, &format!("{unknown}{path}"), &fenced.bob, b"");
        assert_eq!((others.status, none.status), (404, 404), "{path}");
        let told = |answer: &Answer| answer.json()["detail"].as_str().unwrap()[..8].to_owned();
        assert_eq!(told(&others), told(&none));
    }
    let count = |token: &str| {
        let page = fenced.call("GET", JOBS, token, b"").json();
        page["items"].as_array().unwrap().len()
    };
    assert_eq!((count(&fenced.ann), count(&fenced.bob)), (1, 0));

    // The command line: by file, by environment, and not at all.
    let client = |more: &[&str], token: Option<&str>| -> Ran {
        let mut command = minispark();
        command.args(["--server", &fenced.cluster.url(), "status", &job]).args(more);
        if let Some(token) = token {
            command.env("MINISPARK_TOKEN", token);
        }
        run(&mut command)
    };
    let file = fenced.folder.path().join("ann-submit").display().to_string();
    assert_eq!(client(&["--token-file", &file], None).code(), 0);
    assert_eq!(client(&[], Some(&fenced.ann)).code(), 0);
    assert_eq!(client(&[], Some(&fenced.bob)).code(), 6);
    let refused = client(&[], None);
    assert_eq!(refused.code(), 5, "{refused:?}");
    assert!(refused.stderr.contains("UNAUTHENTICATED"), "{refused:?}");
    assert!(refused.stderr.contains("--token-file"), "{refused:?}");

    // A token that is taken back, and one that has expired.
    let (short, _) = new_token(fenced.folder.path(), "read", "short", &["--expires", "1ms"]);
    let tokens = fenced.folder.path().join("tokens");
    run(minispark().args(["token", "revoke", "ann", "--token-file"]).arg(tokens)).expect_done();
    until("the revoked token is refused", || {
        fenced.call("GET", &show, &fenced.ann, b"").status == 401
    });
    let expired = fenced.call("GET", JOBS, &short, b"");
    assert_eq!((expired.status, expired.header("www-authenticate")), (401, Some("Bearer")));
}

#[test]
fn guesses_are_slowed_and_a_right_token_is_let_in_meanwhile() {
    let fenced = Fenced::start(0);
    let guess = "0".repeat(68);
    let mut statuses = std::collections::BTreeMap::new();
    for _ in 0..200 {
        *statuses.entry(fenced.call("GET", JOBS, &guess, b"").status).or_insert(0) += 1;
    }
    assert_eq!(statuses.keys().copied().collect::<Vec<u16>>(), [401, 429], "{statuses:?}");
    assert!(statuses[&401] < 60, "{statuses:?}");
    let limited = fenced.call("GET", JOBS, &guess, b"");
    assert_eq!(limited.json()["code"], "RATE_LIMITED");
    assert_eq!(limited.header("retry-after"), Some("1"));
    assert_eq!(fenced.call("GET", JOBS, &fenced.ann, b"").status, 200);
}

#[test]
fn a_token_has_a_rate_and_the_command_line_waits_for_it() {
    let fenced = Fenced::start(0);
    let statuses: Vec<u16> =
        (0..400).map(|_| fenced.call("GET", JOBS, &fenced.ann, b"").status).collect();
    let served = statuses.iter().filter(|status| **status == 200).count();
    assert!(served >= 100 && statuses.contains(&429), "{served} of 400 were served");
    assert_eq!(fenced.call("GET", JOBS, &fenced.bob, b"").status, 200, "another has its own");
    let mut command = minispark();
    command.args(["--server", &fenced.cluster.url(), "status"]);
    run(command.env("MINISPARK_TOKEN", &fenced.ann)).expect_done();
}

#[tokio::test]
async fn flight_asks_for_the_token_too() {
    let fenced = Fenced::start(1);
    let job = fenced.submit_as(&fenced.ann);
    fenced.cluster.completed(&job);
    let endpoint = Endpoint::from_shared(format!("http://{}", fenced.cluster.flight)).unwrap();
    let channel = endpoint.connect().await.unwrap();
    let client = |token: Option<&str>| {
        let mut client = arrow_flight::FlightClient::new(channel.clone());
        if let Some(token) = token {
            client.add_header("authorization", &format!("Bearer {token}")).unwrap();
        }
        client
    };
    let path = || FlightDescriptor::new_path(vec![job.clone(), "agg".to_owned()]);
    let code = |error: arrow_flight::error::FlightError| match error {
        arrow_flight::error::FlightError::Tonic(status) => status.code(),
        other => panic!("{other}"),
    };
    let info = client(Some(&fenced.ann)).get_flight_info(path()).await.unwrap();
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    assert!(client(Some(&fenced.ann)).do_get(ticket.clone()).await.is_ok());
    let wrong = "0".repeat(68);
    for token in [None, Some(wrong.as_str())] {
        let refused = client(token).get_flight_info(path()).await.unwrap_err();
        assert_eq!(code(refused), tonic::Code::Unauthenticated);
        let refused = client(token).do_get(ticket.clone()).await.err().unwrap();
        assert_eq!(code(refused), tonic::Code::Unauthenticated, "a ticket alone is not enough");
        let refused = client(token).list_flights("").await.err().unwrap();
        assert_eq!(code(refused), tonic::Code::Unauthenticated);
    }
    let bob = Some(fenced.bob.as_str());
    let refused = client(bob).get_flight_info(path()).await.unwrap_err();
    assert_eq!(code(refused), tonic::Code::NotFound);
    let refused = client(bob).do_get(ticket).await.err().unwrap();
    assert_eq!(code(refused), tonic::Code::NotFound, "another's ticket");
    let worker = Some(fenced.secrets[3].as_str());
    let refused = client(worker).get_flight_info(path()).await.unwrap_err();
    assert_eq!(code(refused), tonic::Code::PermissionDenied);
}

#[test]
fn a_worker_without_its_token_is_told_so_and_ends() {
    let fenced = Fenced::start(0);
    for token in [None, Some(fenced.ann.as_str())] {
        let mut worker = minispark();
        worker.args(["worker", "--port", "0", "--master", &fenced.cluster.url(), "--work-dir"]);
        worker.arg(fenced.folder.path().join("work"));
        if let Some(token) = token {
            worker.env("MINISPARK_TOKEN", token);
        }
        let ended = run(&mut worker);
        assert_eq!(ended.code(), 5, "{ended:?}");
        assert!(ended.stderr.contains("does not take this worker's token"), "{ended:?}");
    }
}

#[test]
fn no_secret_is_found_in_logs_files_or_command_lines() {
    let fenced = Fenced::start(1);
    let job = fenced.submit_as(&fenced.ann);
    fenced.cluster.completed(&job);
    fenced.call("GET", JOBS, "wrong-but-long-enough-to-be-a-secret-canary", b"");
    let nodes = [&fenced.cluster.master, &fenced.cluster.workers[0]];
    let mut texts: Vec<(String, Vec<u8>)> = Vec::new();
    for node in nodes {
        let path = format!("/proc/{}/cmdline", node.id());
        texts.push((path.clone(), fs::read(path).unwrap()));
    }
    for path in files_below(fenced.cluster.folder.path()) {
        if let Ok(bytes) = fs::read(&path) {
            texts.push((path.display().to_string(), bytes));
        }
    }
    texts.push(("tokens".to_owned(), fs::read(fenced.folder.path().join("tokens")).unwrap()));
    assert!(texts.len() > 6, "logs, state and results were looked at");
    let canary = "canary".to_owned();
    for secret in fenced.secrets.iter().chain([&canary]) {
        for (name, bytes) in &texts {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "a secret is in {name}");
        }
    }
}

#[test]
fn web_pages_and_rebound_names_are_refused_whatever_the_method() {
    let cluster = Cluster::start(Settings { workers: 0, ..Settings::default() });
    let refused = |method: &str, headers: &[(&str, &str)]| {
        http::call(&cluster.rest, method, JOBS, headers, b"{}").status
    };
    for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
        for header in [
            ("origin", "http://evil.example"),
            ("origin", "null"),
            ("origin", "http://127.0.0.1:1"),
            ("sec-fetch-site", "cross-site"),
        ] {
            assert_eq!(refused(method, &[header]), 403, "{method} {header:?}");
        }
        assert_eq!(refused(method, &[("host", "evil.example")]), 403, "{method}");
    }
    assert_eq!(refused("GET", &[("host", "evil.example:8080")]), 403);
    let answer = http::call(&cluster.rest, "GET", JOBS, &[], b"");
    assert_eq!(answer.header("access-control-allow-origin"), None);
    assert_eq!(answer.header("x-frame-options"), Some("DENY"));
    assert!(answer.header("content-security-policy").unwrap().contains("default-src 'self'"));
}

/// What a job that reads `path` is refused with: code and message of its one error.
fn refusal(cluster: &Cluster, node: &Value) -> (String, String) {
    let mut nodes = vec![node.clone()];
    let mut edges = Vec::new();
    if node["op"].as_str().unwrap().starts_with("write") {
        nodes.insert(0, json!({ "id": "in", "op": "read_text", "path": "in.txt" }));
        edges.push(["in", "x"]);
    }
    let document = json!({ "dag": { "nodes": nodes, "edges": edges } });
    let answer = cluster.call("POST", JOBS, document.to_string().as_bytes());
    assert_eq!(answer.status, 400, "{node}: {}", answer.text());
    let error = &answer.json()["errors"][0];
    let text = |field: &str| error[field].as_str().unwrap().to_owned();
    (text("code"), text("message"))
}

/// A folder with `root/`, in which there is `in.txt`, and `secret.txt` beside it.
fn laid_out() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().canonicalize().unwrap().join("root");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("in.txt"), "a line\n").unwrap();
    fs::write(folder.path().join("secret.txt"), "a secret\n").unwrap();
    (folder, data)
}

#[test]
fn paths_that_lead_out_are_refused_whether_something_is_there_or_not() {
    let (folder, data) = laid_out();
    let settings = Settings {
        workers: 0,
        base_dir: data.clone(),
        data_roots: vec![data.clone()],
        ..Settings::default()
    };
    let cluster = Cluster::start(settings);
    symlink("/etc/passwd", data.join("there")).unwrap();
    symlink("/etc/no-such-file", data.join("not-there")).unwrap();
    symlink(folder.path(), data.join("up")).unwrap();
    let outside = folder.path().display();
    // In pairs: the first is there, the second is not.
    let pairs = [
        ("../secret.txt", "../nothing.txt"),
        ("in.txt/../../secret.txt", "in.txt/../../nothing.txt"),
        ("/etc/passwd", "/etc/no-such-file"),
        (&*format!("{outside}/secret.txt"), &*format!("{outside}/nothing.txt")),
        (&*format!("{}/../secret.txt", data.display()), &*format!("{}/../no", data.display())),
        ("there", "not-there"),
        ("up/secret.txt", "up/nothing.txt"),
        ("/proc/self/environ", "/proc/self/nothing"),
        ("/etc/*", "/no-such-folder/*"),
        ("../*.txt", "../no-such-folder/*.txt"),
        ("up/*.txt", "up/no-such-folder/*.txt"),
        ("/", "//nothing"),
        ("..", "../root2"),
    ];
    for (there, not_there) in pairs {
        let told = |path: &str| {
            let (code, message) =
                refusal(&cluster, &json!({ "id": "x", "op": "read_text", "path": path }));
            // Below the working directory paths are told as they stand there.
            let below = path.strip_prefix(&format!("{}/", data.display())).unwrap_or(path);
            (code, message.replace(path, "PATH").replace(below, "PATH"))
        };
        let first = told(there);
        assert_eq!(first, told(not_there), "{there} and {not_there}");
        let target = json!({ "id": "x", "op": "write_csv", "path": format!("{there}/new") });
        let target = refusal(&cluster, &target).0;
        if there.starts_with("in.txt") {
            // A way over a file is none; it ends before it leads out.
            assert_eq!((&*first.0, &*target), ("INPUT_UNREADABLE", "OUTPUT_UNWRITABLE"));
        } else {
            assert_eq!((&*first.0, &*target), ("PATH_NOT_ALLOWED", "PATH_NOT_ALLOWED"), "{there}");
        }
    }
    let fifo = data.join("fifo");
    assert!(run(std::process::Command::new("mkfifo").arg(&fifo)).status.success());
    let started = Instant::now();
    for (path, code) in [
        ("fifo", "INPUT_UNREADABLE"),
        ("a\0b", "BAD_PATH"),
        ("%2e%2e/secret.txt", "INPUT_NOT_FOUND"),
        ("~/secret.txt", "INPUT_NOT_FOUND"),
        ("\\\\host\\share", "INPUT_NOT_FOUND"),
        ("file:///etc/passwd", "NOT_SUPPORTED"),
    ] {
        let node = json!({ "id": "x", "op": "read_text", "path": path });
        assert_eq!(refusal(&cluster, &node).0, code, "{path}");
    }
    assert!(started.elapsed() < Duration::from_secs(20), "nothing was waited for");
    let document =
        json!({ "dag": { "nodes": [{ "id": "x", "op": "read_text", "path": "in.txt" }] } });
    cluster.submit(&document.to_string());
}

#[test]
fn a_link_that_takes_an_inputs_place_is_refused_by_the_worker() {
    let (folder, data) = laid_out();
    let settings = Settings {
        workers: 0,
        base_dir: data.clone(),
        data_roots: vec![data.clone()],
        ..Settings::default()
    };
    let mut cluster = Cluster::start(settings);
    fs::write(folder.path().join("secret.txt"), "b line\n").unwrap();
    let document =
        json!({ "dag": { "nodes": [{ "id": "x", "op": "read_text", "path": "in.txt" }] } });
    let id = cluster.submit(&document.to_string());
    fs::remove_file(data.join("in.txt")).unwrap();
    symlink("../secret.txt", data.join("in.txt")).unwrap();
    cluster.add_worker();
    let job = cluster.ended(&id);
    assert_eq!(
        (&job["status"], &job["error"]["code"]),
        (&"FAILED".into(), &"PATH_NOT_ALLOWED".into())
    );
}

#[test]
fn a_server_that_was_started_in_the_systems_folders_reads_nothing_until_it_is_told() {
    let settings = Settings {
        workers: 0,
        base_dir: PathBuf::from("/"),
        data_roots: Vec::new(),
        ..Settings::default()
    };
    let cluster = Cluster::start(settings);
    let (code, message) =
        refusal(&cluster, &json!({ "id": "x", "op": "read_text", "path": "etc/passwd" }));
    assert_eq!(code, "PATH_NOT_ALLOWED");
    assert!(message.contains("--read-root"), "{message}");
    let log = cluster.master.log();
    assert!(log.iter().any(|line| line.to_string().contains("set --read-root")), "{log:?}");
}

#[test]
fn a_run_has_no_roots_unless_some_are_set() {
    let (folder, data) = laid_out();
    let job = data.join("job.json");
    let path = folder.path().join("secret.txt");
    let document = json!({ "dag": { "nodes": [{ "id": "x", "op": "read_text", "path": path }] } });
    fs::write(&job, document.to_string()).unwrap();
    let ran = |roots: &[&Path]| {
        let mut command = minispark();
        command.current_dir(&data).arg("run").arg(&job).arg("--output-dir").arg(data.join("out"));
        for root in roots {
            command.arg("--read-root").arg(root);
        }
        run(&mut command)
    };
    assert_eq!(ran(&[]).code(), 0);
    let refused = ran(&[&data]);
    assert_eq!(refused.code(), 3, "{refused:?}");
    assert!(refused.stderr.contains("outside the folders"), "{refused:?}");
}

#[test]
fn an_address_beyond_loopback_needs_tokens_or_a_word_that_is_said_aloud() {
    let folder = tempfile::tempdir().unwrap();
    let master = || {
        let mut command = minispark();
        command.args(["master", "--bind", "0.0.0.0:0", "--flight-port", "0", "--state-dir"]);
        command.arg(folder.path().join("state")).arg("--output-dir").arg(folder.path().join("out"));
        command.current_dir(folder.path());
        command
    };
    let refused = run(&mut master());
    assert_eq!(refused.code(), 2, "{refused:?}");
    assert!(refused.stderr.contains("token new") && refused.stderr.contains("--insecure"));

    let mut open = Node::start(master().arg("--insecure"), folder.path().join("open.log"));
    open.logged("rest");
    let is_warned = |line: &Value| {
        line["level"] == "WARN" && line["message"].as_str().unwrap().contains("no tokens are asked")
    };
    assert!(open.log().iter().any(is_warned), "{:?}", open.log());
    drop(open);

    new_token(folder.path(), "admin", "root", &[]);
    let tokens = folder.path().join("tokens");
    let mut closed = Node::start(
        master().arg("--token-file").arg(&tokens).args(["--allowed-host", "spark.example"]),
        folder.path().join("closed.log"),
    );
    let address = closed.logged("rest").replace("0.0.0.0", "127.0.0.1");
    assert_eq!(http::call(&address, "GET", JOBS, &[], b"").status, 401);
    assert_eq!(http::call(&address, "GET", "/healthz", &[], b"").status, 200);
    let named = [("host", "spark.example:8080")];
    assert_eq!(http::call(&address, "GET", "/healthz", &named, b"").status, 200);
    let other = [("host", "other.example:8080")];
    assert_eq!(http::call(&address, "GET", "/healthz", &other, b"").status, 403);
    drop(closed);

    fs::set_permissions(&tokens, fs::Permissions::from_mode(0o644)).unwrap();
    let refused = run(master().arg("--token-file").arg(&tokens));
    assert_eq!(refused.code(), 5, "{refused:?}");
    assert!(refused.stderr.contains("chmod 600"), "{refused:?}");
}

/// Sends bytes, ends the sending where it is said, and reads what comes until the server closes.
fn raw(address: &str, bytes: &[u8], is_ended: bool) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    // The server may refuse by the head alone, and close.
    drop(stream.write_all(bytes));
    if is_ended {
        drop(stream.shutdown(Shutdown::Write));
    }
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer));
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn bodies_that_lie_or_dawdle_are_refused_and_others_are_served_meanwhile() {
    let cluster = Cluster::start(Settings { workers: 0, ..Settings::default() });
    let rest = &cluster.rest;
    let head = |more: &str| {
        format!("POST {JOBS} HTTP/1.1\r\nhost: {rest}\r\nconnection: close\r\n{more}\r\n")
    };
    let status = |answer: &str| answer.split(' ').nth(1).unwrap_or_default().to_owned();
    std::thread::scope(|scope| {
        let slow =
            scope.spawn(|| raw(rest, (head("content-length: 10\r\n") + "{").as_bytes(), false));
        let endless = scope.spawn(|| {
            raw(rest, (head("transfer-encoding: chunked\r\n") + "1\r\n{\r\n").as_bytes(), false)
        });
        let too_much = raw(rest, head("content-length: 99999999999\r\n").as_bytes(), false);
        assert_eq!(status(&too_much), "413", "{too_much}");
        let too_few = raw(rest, (head("content-length: 10\r\n") + "{}").as_bytes(), true);
        assert!(["", "400"].contains(&status(&too_few).as_str()), "{too_few}");
        let negative = raw(rest, head("content-length: -1\r\n").as_bytes(), true);
        assert_eq!(status(&negative), "400", "{negative}");
        let two = raw(rest, head("content-length: 1\r\ncontent-length: 2\r\n").as_bytes(), true);
        assert_eq!(status(&two), "400", "{two}");
        let headers = raw(rest, head(&format!("x: {}\r\n", "y".repeat(40_000))).as_bytes(), true);
        assert_eq!(status(&headers), "431", "{headers}");
        assert_eq!(http::call(rest, "GET", "/healthz", &[], b"").status, 200);
        for answer in [slow.join().unwrap(), endless.join().unwrap()] {
            assert_eq!(status(&answer), "408", "{answer}");
        }
    });
}

#[test]
fn connections_that_do_nothing_are_closed_and_the_next_client_is_served() {
    let cluster = Cluster::start(Settings { workers: 0, ..Settings::default() });
    let idle: Vec<TcpStream> =
        (0..1_100).filter_map(|_| TcpStream::connect(&cluster.rest).ok()).collect();
    let is_served = || {
        http::try_call(&cluster.rest, "GET", "/healthz", &[], b"")
            .is_ok_and(|answer| answer.status == 200)
    };
    assert!(holds_within(Duration::from_secs(30), is_served), "{} idle connections", idle.len());
}

#[test]
fn a_configuration_is_checked_by_line_and_shown_with_its_origin() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("minispark.toml");
    fs::write(&file, "[server]\nbind = \"127.0.0.1:7777\"\n\n[memory]\nbugdet = \"1GiB\"\n")
        .unwrap();
    let here = |arguments: &[&str]| {
        let mut command = minispark();
        command.current_dir(folder.path()).env("XDG_CONFIG_HOME", folder.path());
        run(command.args(arguments).env("MINISPARK_SCHEDULER_ATTEMPTS", "7"))
    };
    for arguments in [&["config", "check", "minispark.toml"][..], &["workers"]] {
        let refused = here(arguments);
        assert_eq!(refused.code(), 2, "{refused:?}");
        assert!(refused.stderr.contains("minispark.toml:5"), "{refused:?}");
        assert!(refused.stderr.contains("did you mean `memory.budget`?"), "{refused:?}");
    }
    assert_eq!(here(&["version"]).code(), 0, "it needs no configuration");
    fs::write(&file, "[server]\nbind = \"127.0.0.1:7777\"\n").unwrap();
    here(&["config", "check", "minispark.toml"]).expect_done();
    let shown = here(&["config", "show", "--origin"]).expect_done().stdout;
    for line in [
        "bind = \"127.0.0.1:7777\"  # minispark.toml:2",
        "attempts = 7  # environment MINISPARK_SCHEDULER_ATTEMPTS",
        "flight_port = 8081  # built-in",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line}\n{shown}");
    }
    let secret = "s".repeat(40);
    let mut command = minispark();
    command.current_dir(folder.path()).args(["config", "show", "--json"]);
    let shown = run(command.env("MINISPARK_TOKEN", &secret)).expect_done();
    assert!(!shown.stdout.contains(&secret), "{shown:?}");
    assert_eq!(shown.json()["client.token"]["value"], "***");
}
