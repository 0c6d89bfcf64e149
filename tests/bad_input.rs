//! Bad input as a user gives it: one clear line that says what and where, and an exit code.

#![cfg(test)]
#![expect(clippy::disallowed_methods, reason = "a test makes the files that the program reads")]
#![expect(clippy::shadow_unrelated, reason = "one answer is looked at after another")]

use std::{fs, net::TcpListener, path::Path};

use serde_json::{Value, json};

#[expect(clippy::allow_attributes, reason = "an expectation fails where a target uses all")]
#[allow(dead_code, reason = "each target uses a part of it")]
mod support;

use support::{
    Ran,
    cluster::{Cluster, Settings},
    http, minispark, root, run,
};

/// Runs a document; the relative paths in it start at the repository.
fn run_document(document: &str, flags: &[&str]) -> Ran {
    let folder = tempfile::tempdir().unwrap();
    let job = folder.path().join("job.json");
    fs::write(&job, document).unwrap();
    let mut command = minispark();
    command.current_dir(root()).arg("run").arg(&job).arg("--output-dir").arg(folder.path());
    run(command.args(flags))
}

/// The first line is the error, in one line; nothing looks like a crash.
fn assert_told(ran: &Ran, code: i32, words: &[&str]) {
    assert_eq!(ran.code(), code, "{ran:?}");
    let first = ran.stderr.lines().next().unwrap_or_default();
    assert!(first.starts_with("error"), "{ran:?}");
    for word in words {
        assert!(ran.stderr.contains(word), "no `{word}` in {ran:?}");
    }
    for word in ["panicked", "RUST_BACKTRACE", "Err("] {
        assert!(!ran.stderr.contains(word), "{ran:?}");
    }
    assert_eq!(ran.stdout, "", "an error is no data");
}

fn words_of(nodes: &Value) -> String {
    json!({ "name": "bad", "dag": { "nodes": nodes, "edges": [["read", "next"]] } }).to_string()
}

#[test]
fn a_document_that_is_no_json_is_refused_with_line_and_column() {
    let ran = run_document("{\n  \"name\": \"x\",\n  dag\n}\n", &[]);
    assert_told(&ran, 3, &["error[VALIDATION_FAILED]", "job.json:3:3"]);
}

#[test]
fn a_cycle_is_refused() {
    let document = json!({ "name": "x", "dag": {
        "nodes": [
            { "id": "a", "op": "map", "fn": "identity" },
            { "id": "b", "op": "map", "fn": "identity" },
        ],
        "edges": [["a", "b"], ["b", "a"]],
    } });
    assert_told(&run_document(&document.to_string(), &[]), 3, &["/dag/edges/", "cycle"]);
}

#[test]
fn one_target_under_two_names_is_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let target = |name: &str| folder.path().join(name).display().to_string();
    let document = json!({ "name": "x", "dag": {
        "nodes": [
            { "id": "a", "op": "read_text", "path": "data/books.csv" },
            { "id": "b", "op": "write_csv", "path": target("new/one") },
            { "id": "c", "op": "write_csv", "path": target("other/../new/one/") },
        ],
        "edges": [["a", "b"], ["a", "c"]],
    } });
    assert_told(&run_document(&document.to_string(), &[]), 3, &["/dag/nodes/2/path", "target"]);
    assert_eq!(support::names(folder.path()), Vec::<String>::new());
}

#[test]
fn an_unknown_column_is_refused_with_the_columns_that_exist() {
    let document = words_of(&json!([
        { "id": "read", "op": "read_csv", "path": "data/users.csv", "columns": ["id", "name"] },
        { "id": "next", "op": "filter", "where": "nam = 'Juan'" },
    ]));
    assert_told(&run_document(&document, &[]), 3, &["/dag/nodes/1/where", "nam", "name"]);
}

#[test]
fn an_expression_of_the_wrong_type_is_refused() {
    let document = words_of(&json!([
        { "id": "read", "op": "read_csv", "path": "data/users.csv",
          "columns": { "id": "int64", "name": "string" } },
        { "id": "next", "op": "map", "select": { "x": "name * 2" } },
    ]));
    assert_told(&run_document(&document, &[]), 3, &["/dag/nodes/1/select"]);
}

#[test]
fn a_missing_file_is_refused_by_name() {
    let document = words_of(&json!([
        { "id": "read", "op": "read_csv", "path": "data/nowhere.csv" },
        { "id": "next", "op": "map", "fn": "to_lower" },
    ]));
    assert_told(&run_document(&document, &[]), 3, &["data/nowhere.csv", "/dag/nodes/0/path"]);
}

#[test]
fn a_folder_without_files_is_refused_as_an_input() {
    let empty = tempfile::tempdir().unwrap();
    let document = words_of(&json!([
        { "id": "read", "op": "read_csv", "path": empty.path() },
        { "id": "next", "op": "map", "fn": "to_lower" },
    ]));
    let name = empty.path().display().to_string();
    assert_told(&run_document(&document, &[]), 3, &[&name, "/dag/nodes/0/path"]);
}

#[test]
fn a_folder_is_no_job_document() {
    let ran = run(minispark().current_dir(root()).args(["run", "jobs"]));
    assert_told(&ran, 1, &["jobs"]);
}

#[test]
fn a_missing_job_document_is_told_by_name() {
    for verb in ["run", "validate", "submit"] {
        let ran = run(minispark().args([verb, "no/such/job.json"]));
        assert_told(&ran, 1, &["no/such/job.json"]);
    }
}

#[test]
fn all_problems_of_a_document_are_told_at_once() {
    let document = json!({ "name": "x", "parallelism": 0, "dag": {
        "nodes": [
            { "id": "read", "op": "read_csvv", "path": "data/users.csv" },
            { "id": "read", "op": "map", "fn": "to_lowr" },
            { "id": "next", "op": "flat_map", "fn": "tokenise" },
        ],
        "edges": [["read", "next"], ["next", "gone"]],
    } });
    let ran = run_document(&document.to_string(), &[]);
    let words = ["/parallelism", "read_csv", "to_lower", "tokenize", "gone", "/dag/nodes/1/id"];
    assert_told(&ran, 3, &words);
}

#[test]
fn an_unknown_field_is_a_warning_and_under_strict_an_error() {
    let document = words_of(&json!([
        { "id": "read", "op": "read_csv", "path": "data/users.csv", "partitons": 2 },
        { "id": "next", "op": "map", "fn": "to_lower" },
    ]));
    let ran = run_document(&document, &[]);
    assert_eq!(ran.code(), 0, "{ran:?}");
    assert!(ran.stderr.contains("partitions"), "{ran:?}");
    assert_told(&run_document(&document, &["--strict"]), 3, &["partitons", "partitions"]);
}

#[test]
fn an_unwritable_output_folder_is_told_before_the_work() {
    let file = root().join("data/users.csv");
    let ran = run(minispark()
        .current_dir(root())
        .args(["run", "jobs/wordcount.json", "--output-dir"])
        .arg(file.join("below")));
    assert_told(&ran, 1, &["data/users.csv/below"]);
}

#[test]
fn an_existing_target_is_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("there");
    fs::create_dir(&target).unwrap();
    fs::write(target.join("mine"), "precious").unwrap();
    let document = words_of(&json!([
        { "id": "read", "op": "read_csv", "path": "data/users.csv" },
        { "id": "next", "op": "write_csv", "path": target },
    ]));
    let ran = run_document(&document, &[]);
    assert!(matches!(ran.code(), 3 | 7), "{ran:?}");
    assert!(ran.stderr.contains("there"), "{ran:?}");
    assert_eq!(support::names(&target), ["mine"]);
}

#[test]
fn a_server_that_is_down_is_told_with_the_url_that_was_tried() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}");
    for verb in [&["status"][..], &["workers"], &["submit", "jobs/wordcount.json"]] {
        let ran = run(minispark().current_dir(root()).args(["--server", &url]).args(verb));
        assert_told(&ran, 4, &[&url]);
    }
    let ran = run(minispark().env("MASTER_URL", &url).arg("status"));
    assert_told(&ran, 4, &[&url]);
}

#[test]
fn a_taken_port_is_told_by_its_number() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let folder = tempfile::tempdir().unwrap();
    let master = |bind: &str, flight: &str| {
        let mut command = minispark();
        command.args(["master", "--bind", bind, "--flight-port", flight, "--state-dir"]);
        command.arg(folder.path().join("state")).arg("--output-dir").arg(folder.path());
        run(&mut command)
    };
    let told = |ran: &Ran| {
        assert_eq!(ran.code(), 10, "{ran:?}");
        let line = ran.stderr.lines().find(|line| line.starts_with("error[CONFLICT]"));
        assert!(line.is_some_and(|line| line.contains(&port)), "{ran:?}");
    };
    told(&master(&format!("127.0.0.1:{port}"), "0"));
    told(&master("127.0.0.1:0", &port));
    let mut worker = minispark();
    worker.args(["worker", "--port", &port, "--work-dir"]).arg(folder.path().join("work"));
    told(&run(&mut worker));
}

#[test]
fn an_address_for_everybody_needs_a_word() {
    for verb in [&["master", "--bind", "0.0.0.0:0"][..], &["worker", "--bind", "0.0.0.0"]] {
        assert_told(&run(minispark().args(verb)), 2, &["--insecure"]);
    }
}

#[test]
fn a_bad_flag_is_told_with_what_may_stand_there() {
    let told = |arguments: &[&str], word: &str| {
        let ran = run(minispark().current_dir(root()).args(arguments));
        assert_eq!(ran.code(), 2, "{ran:?}");
        assert!(ran.stderr.contains(word), "{ran:?}");
    };
    told(&["run", "jobs/wordcount.json", "--memory", "lots"], "64MiB");
    told(&["run", "jobs/wordcount.json", "--memory", "12"], "MiB");
    told(&["run", "jobs/wordcount.json", "--threads", "0"], "1");
    told(&["status", "--server", "localhost:8080"], "http://localhost:8080");
    told(&["master", "--heartbeat", "5s", "--lost-after", "1s"], "--lost-after");
    told(&["statsu"], "status");
}

#[test]
fn a_master_refuses_what_a_run_refuses() {
    let cluster = Cluster::start(Settings { workers: 0, ..Settings::default() });
    let submit = |document: &str| {
        http::call(&cluster.rest, "POST", "/api/v1/jobs", &[], document.as_bytes())
    };
    for document in ["", "{", "[]", "null", "\"x\"", "{\"name\":1e999}", "{\"name\":\"\u{0}\"}"] {
        let answer = submit(document);
        assert_eq!(answer.status, 400, "{document}: {}", answer.text());
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        assert_eq!(answer.json()["code"], "VALIDATION_FAILED", "{document}");
    }
    let deep = format!("{{\"dag\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(submit(&deep).status, 400);
    let missing = words_of(&json!([
        { "id": "read", "op": "read_csv", "path": "data/nowhere.csv" },
        { "id": "next", "op": "map", "fn": "to_lower" },
    ]));
    let answer = submit(&missing).json();
    assert_eq!(answer["errors"][0]["pointer"], "/dag/nodes/0/path", "{answer:#}");
    let ran = cluster.client(&["submit", &write(&cluster, "missing.json", &missing)]);
    assert_told(&ran, 3, &["missing.json", "data/nowhere.csv"]);
    let ran = cluster.client(&["submit", &write(&cluster, "broken.json", "{\n \"a\": \n}")]);
    assert_told(&ran, 3, &["broken.json:3:1"]);
}

fn write(cluster: &Cluster, name: &str, text: &str) -> String {
    let path: &Path = &cluster.folder.path().join(name);
    fs::write(path, text).unwrap();
    path.display().to_string()
}
