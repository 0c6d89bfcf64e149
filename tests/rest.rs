//! The REST contract, byte by byte: routes, fields, codes, and what is refused.

#![cfg(test)]
#![expect(clippy::disallowed_methods, reason = "a test makes the files that the program reads")]

use std::{fs, io::Read, io::Write, net::TcpStream, time::Duration};

use serde_json::{Value, json};

#[expect(clippy::allow_attributes, reason = "an expectation fails where a target uses all")]
#[allow(dead_code, reason = "each target uses a part of it")]
mod support;

use support::{
    cluster::{Cluster, Settings},
    http::{self, Answer},
    root, until,
};

const JOBS: &str = "/api/v1/jobs";

fn cluster(workers: usize) -> Cluster {
    Cluster::start(Settings { workers, ..Settings::default() })
}

fn seed_job() -> String {
    fs::read_to_string(root().join("jobs/wordcount.json")).unwrap()
}

fn get(cluster: &Cluster, path: &str) -> Answer {
    http::call(&cluster.rest, "GET", path, &[], b"")
}

fn post(cluster: &Cluster, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    http::call(&cluster.rest, "POST", path, headers, body.as_bytes())
}

/// The answer is a problem document of this status and code.
fn assert_problem(answer: &Answer, status: u16, code: &str) {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    let problem = answer.json();
    assert_eq!(problem["code"], code, "{problem:#}");
    assert_eq!(problem["status"], status);
    assert_eq!(problem["type"], format!("/docs/errors#{code}"));
    assert_eq!(problem["error"], problem["detail"]);
    for field in ["title", "detail", "request_id"] {
        assert!(problem[field].as_str().is_some_and(|text| !text.is_empty()), "{problem:#}");
    }
    assert!(problem["retryable"].is_boolean());
    let text = answer.text();
    assert!(!text.contains("panicked") && !text.contains("src/"), "{text}");
}

fn is_uuid_v4(text: &str) -> bool {
    let parts: Vec<usize> = text.split('-').map(str::len).collect();
    parts == [8, 4, 4, 4, 12]
        && text.chars().all(|c| c == '-' || c.is_ascii_hexdigit())
        && text.as_bytes()[14] == b'4'
}

#[test]
fn the_seed_job_is_accepted_with_and_without_a_content_type() {
    let cluster = cluster(1);
    for headers in [
        &[][..],
        &[("content-type", "application/json")],
        &[("content-type", "application/x-www-form-urlencoded")],
    ] {
        let answer = post(&cluster, JOBS, headers, &seed_job());
        assert_eq!(answer.status, 200, "{}", answer.text());
        let body = answer.json();
        let keys: Vec<&String> = body.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["job_id", "status"]);
        assert_eq!(body["status"], "ACCEPTED");
        let id = body["job_id"].as_str().unwrap();
        assert!(is_uuid_v4(id), "{id}");
        assert_eq!(answer.header("location"), Some(&*format!("{JOBS}/{id}")));
        assert!(answer.header("x-request-id").is_some());
        assert!(answer.header("minispark-version").is_some());
    }
    let answer = post(&cluster, JOBS, &[("prefer", "respond-async")], &seed_job());
    assert_eq!(answer.status, 202);
}

#[test]
fn a_job_has_the_promised_fields_from_first_to_last() {
    let cluster = cluster(0);
    let id = cluster.submit(&seed_job());
    let first = cluster.job(&id);
    assert_eq!(first["id"], id.as_str());
    assert_eq!(first["name"], "wordcount-batch");
    assert_eq!(first["status"], "ACCEPTED");
    assert_eq!(first["progress_percent"], 0.0);
    assert_eq!(first["failure_count"], 0);
    let nodes: Vec<&String> = first["node_status"].as_object().unwrap().keys().collect();
    assert_eq!(nodes, ["agg", "flat", "map1", "read"]);
    let submitted = first["submitted_at"].as_str().unwrap();
    let (_, fraction) = submitted.split_once('.').unwrap();
    assert!(fraction.len() > 9 && fraction[9..].starts_with(['+', '-']), "{submitted}");

    let mut cluster = cluster;
    cluster.add_worker();
    let last = cluster.completed(&id);
    assert_eq!(last["progress_percent"], 100.0);
    assert_eq!(last["submitted_at"], first["submitted_at"]);
    for (node, status) in last["node_status"].as_object().unwrap() {
        assert_eq!(status, "COMPLETED", "{node}");
    }
    assert_eq!(last["rows"]["in"], 3);
    assert_eq!(last["rows"]["out"], 22);
    let frozen = last["duration_secs"].as_f64().unwrap();
    assert!(frozen > 0.0);
    assert_eq!(cluster.job(&id)["duration_secs"].as_f64(), Some(frozen));
}

#[test]
fn results_name_one_file_that_holds_everything() {
    let cluster = cluster(2);
    let id = cluster.submit(&seed_job());
    cluster.completed(&id);
    let results = cluster.get(&format!("{JOBS}/{id}/results"));
    assert_eq!(results["job_id"], id.as_str());
    let outputs = results["outputs"].as_object().unwrap();
    assert_eq!(outputs.len(), 1, "only sinks");
    let path = outputs["agg"].as_str().unwrap();
    assert!(path.ends_with(&format!("{id}_agg.txt")), "{path}");
    let expected = fs::read_to_string(root().join("data/expected/books.txt")).unwrap();
    assert_eq!(fs::read_to_string(path).unwrap(), expected);
    let file = &results["files"]["agg"][0];
    assert_eq!((&file["rows"], &file["bytes"]), (&json!(22), &json!(expected.len())));
    assert!(file["checksum"].as_str().unwrap().starts_with("xxh3-128:"));

    let answer = get(&cluster, results["urls"]["agg"].as_str().unwrap());
    assert_eq!(answer.text(), expected);
    assert!(answer.header("content-type").unwrap().starts_with("text/plain"));
    assert_problem(&get(&cluster, &format!("{JOBS}/{id}/results/read")), 404, "NOT_FOUND");
}

#[test]
fn results_that_are_not_there_are_a_conflict_with_the_state() {
    let cluster = cluster(0);
    let id = cluster.submit(&seed_job());
    for path in [format!("{JOBS}/{id}/results"), format!("{JOBS}/{id}/results/agg")] {
        let answer = get(&cluster, &path);
        assert_problem(&answer, 409, "NOT_FINISHED");
        assert!(answer.text().contains("ACCEPTED"), "{}", answer.text());
    }
    assert_eq!(post(&cluster, &format!("{JOBS}/{id}/cancel"), &[], "").status, 200);
    assert_problem(&get(&cluster, &format!("{JOBS}/{id}/results")), 409, "CANCELLED");
}

#[test]
fn a_failed_job_says_why_and_where() {
    let cluster = cluster(1);
    let input = cluster.folder.path().join("numbers.csv");
    fs::write(&input, "1\n2\nthree\n").unwrap();
    let document = json!({ "name": "bad", "dag": {
        "nodes": [{ "id": "numbers", "op": "read_csv", "path": input, "columns": { "n": "int64" } }],
        "edges": [],
    } });
    let id = cluster.submit(&document.to_string());
    let job = cluster.ended(&id);
    assert_eq!(job["status"], "FAILED");
    assert_eq!(job["node_status"]["numbers"], "FAILED");
    assert!(job["failure_count"].as_u64().unwrap() >= 1);
    let error = &job["error"];
    assert_eq!(error["code"], "INPUT_CORRUPT", "{error:#}");
    assert!(error["message"].as_str().unwrap().contains("line 3"), "{error:#}");
    assert_eq!(error["where"]["node"], "numbers");
    assert_problem(&get(&cluster, &format!("{JOBS}/{id}/results")), 409, "JOB_FAILED");
}

#[test]
fn jobs_are_listed_newest_first_a_page_at_a_time() {
    let cluster = cluster(0);
    let ids: Vec<String> = (0..7).map(|_| cluster.submit(&seed_job())).collect();
    let mut listed = Vec::new();
    let mut path = format!("{JOBS}?limit=3");
    let mut pages = 0;
    loop {
        let page = cluster.get(&path);
        pages += 1;
        for job in page["items"].as_array().unwrap() {
            for field in ["id", "name", "status", "submitted_at", "progress_percent"] {
                assert!(!job[field].is_null(), "{job:#}");
            }
            listed.push(job["id"].as_str().unwrap().to_owned());
        }
        match page["next_cursor"].as_str() {
            Some(cursor) => path = format!("{JOBS}?limit=3&cursor={cursor}"),
            None => break,
        }
        // Jobs that arrive meanwhile do not shift the pages.
        cluster.submit(&seed_job());
    }
    assert_eq!(pages, 3);
    assert!(listed.iter().eq(ids.iter().rev()), "{listed:?}");
    assert_problem(&get(&cluster, &format!("{JOBS}?limit=0")), 400, "BAD_REQUEST");
    assert_problem(&get(&cluster, &format!("{JOBS}?lmit=3")), 400, "BAD_REQUEST");
    assert_problem(&get(&cluster, &format!("{JOBS}?cursor=x")), 400, "BAD_REQUEST");
}

#[test]
fn a_bad_document_gets_all_its_problems() {
    let cluster = cluster(0);
    let document = json!({ "name": "bad", "dag": {
        "nodes": [
            { "id": "read", "op": "read_csv", "path": "data/books.csv" },
            { "id": "flat", "op": "flat_map", "fn": "tokenise" },
            { "id": "a", "op": "map", "fn": "identity" },
            { "id": "b", "op": "map", "fn": "identity" },
        ],
        "edges": [["read", "flat"], ["a", "b"], ["b", "a"]],
    } });
    let answer = post(&cluster, JOBS, &[], &document.to_string());
    assert_problem(&answer, 400, "VALIDATION_FAILED");
    let errors = answer.json()["errors"].clone();
    let has = |code: &str, pointer: &str| {
        errors.as_array().unwrap().iter().any(|error| {
            error["code"] == code && error["pointer"].as_str().unwrap().starts_with(pointer)
        })
    };
    assert!(has("UNKNOWN_FUNCTION", "/dag/nodes/1/fn"), "{errors:#}");
    assert!(has("CYCLE", "/dag/edges/"), "{errors:#}");
    assert!(errors.to_string().contains("tokenize"), "no suggestion: {errors:#}");
}

#[test]
fn an_unknown_field_is_a_warning_or_under_strict_an_error() {
    let cluster = cluster(0);
    let mut document: Value = serde_json::from_str(&seed_job()).unwrap();
    document["dag"]["nodes"][0]["pth"] = json!("x");
    let answer = post(&cluster, JOBS, &[], &document.to_string());
    assert_eq!(answer.status, 200);
    let warnings = answer.json()["warnings"].clone();
    assert_eq!(warnings[0]["pointer"], "/dag/nodes/0/pth", "{warnings:#}");
    assert_eq!(warnings[0]["suggestion"], "path");
    let strict = post(&cluster, &format!("{JOBS}?strict=true"), &[], &document.to_string());
    assert_problem(&strict, 400, "VALIDATION_FAILED");
}

#[test]
fn what_is_not_there_is_404_and_a_wrong_method_405() {
    let cluster = cluster(0);
    let unknown = "00000000-0000-4000-8000-000000000000";
    for path in [
        format!("{JOBS}/{unknown}"),
        format!("{JOBS}/{unknown}/results"),
        format!("{JOBS}/{unknown}/results/agg"),
        format!("{JOBS}/not-a-uuid"),
        "/api/v1/nothing".to_owned(),
        "/".to_owned(),
    ] {
        assert_problem(&get(&cluster, &path), 404, "NOT_FOUND");
    }
    let cancel = post(&cluster, &format!("{JOBS}/{unknown}/cancel"), &[], "");
    assert_problem(&cancel, 404, "NOT_FOUND");
    for (method, path) in [
        ("PUT", JOBS),
        ("DELETE", "/api/v1/workers"),
        ("GET", &*format!("{JOBS}/{unknown}/cancel")),
    ] {
        let answer = http::call(&cluster.rest, method, path, &[], b"");
        assert_problem(&answer, 405, "METHOD_NOT_ALLOWED");
        assert!(answer.header("allow").is_some(), "{method} {path}");
    }
}

#[test]
fn head_answers_where_get_does() {
    let cluster = cluster(0);
    for path in [JOBS, "/api/v1/workers", "/health"] {
        let answer = http::call(&cluster.rest, "HEAD", path, &[], b"");
        assert_eq!((answer.status, answer.body.len()), (200, 0), "{path}");
    }
}

#[test]
fn a_body_over_the_limit_is_413() {
    let cluster = cluster(0);
    let body = " ".repeat((1 << 20) + 1);
    assert_problem(&post(&cluster, JOBS, &[], &body), 413, "BODY_TOO_LARGE");
    let lying = [("content-length", "99999999999")];
    assert_problem(&post(&cluster, JOBS, &lying, "{}"), 413, "BODY_TOO_LARGE");
}

#[test]
fn a_web_page_of_another_origin_is_refused() {
    let cluster = cluster(0);
    for headers in [
        &[("origin", "http://evil.example")][..],
        &[("origin", "null")],
        &[("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "same-site")],
    ] {
        assert_problem(&post(&cluster, JOBS, headers, &seed_job()), 403, "FORBIDDEN");
    }
    let same = format!("http://{}", cluster.rest);
    assert_eq!(post(&cluster, JOBS, &[("origin", &same)], &seed_job()).status, 200);
    // A name that its owner points at loopback (DNS rebinding), also for reads.
    for method in ["GET", "POST"] {
        let headers = [("host", "evil.example:8080")];
        let answer = http::call(&cluster.rest, method, JOBS, &headers, seed_job().as_bytes());
        assert_problem(&answer, 403, "FORBIDDEN");
    }
    assert_eq!(get(&cluster, JOBS).json()["items"].as_array().unwrap().len(), 1);
}

#[test]
fn health_and_version_are_open() {
    let cluster = cluster(1);
    for path in ["/health", "/healthz", "/readyz", "/api/v1/version"] {
        let answer = get(&cluster, path);
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.json().is_object(), "{path}");
    }
    assert_eq!(get(&cluster, "/health").json()["workers"], 1);
}

#[test]
fn a_request_id_comes_back() {
    let cluster = cluster(0);
    let headers = [("x-request-id", "mine-7")];
    let answer = http::call(&cluster.rest, "GET", "/api/v1/nothing", &headers, b"");
    assert_eq!(answer.header("x-request-id"), Some("mine-7"));
    assert_eq!(answer.json()["request_id"], "mine-7");
}

#[test]
fn half_a_request_is_not_waited_for_for_ever() {
    let cluster = cluster(0);
    let mut stream = TcpStream::connect(&cluster.rest).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(40))).unwrap();
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: x").unwrap();
    let mut bytes = Vec::new();
    // Closed by the server, with or without an answer; a timeout would be an error here.
    stream.read_to_end(&mut bytes).unwrap();
    until("others are served", || get(&cluster, "/health").status == 200);
}
