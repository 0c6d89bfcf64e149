//! Bad rows on a cluster: each is put aside once, whatever is killed, and is had over REST and on
//! the command line.

#![cfg(test)]
#![expect(clippy::disallowed_methods, reason = "a test makes the files that the program reads")]

use std::{fmt::Write, fs};

use serde_json::{Value, json};

#[expect(clippy::allow_attributes, reason = "an expectation fails where a target uses all")]
#[allow(dead_code, reason = "each target uses a part of it")]
mod support;

use support::{
    cluster::{Cluster, Settings},
    http, until,
};

/// Rows of the input; each thousandth is bad.
const ROWS: u64 = 120_000;

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn bad_rows_are_put_aside_once_where_a_worker_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("numbers.csv");
    let mut text = String::from("n,t\n");
    for n in 0..ROWS {
        let bad = if n % 1_000 == 500 { "x" } else { "" };
        writeln!(text, "{bad}{n},some text").unwrap();
    }
    fs::write(&input, text).unwrap();
    let document = json!({ "name": "dirty", "dag": {
        "nodes": [
            { "id": "read", "op": "read_csv", "path": input, "header": true, "partitions": 24,
              "columns": { "n": "int64", "t": "string" },
              "on_bad_row": { "mode": "quarantine", "max_rows": 120 } },
            { "id": "some", "op": "filter", "where": "n >= 60000" },
            { "id": "sorted", "op": "sort", "by": ["n desc"] },
        ],
        "edges": [["read", "some"], ["some", "sorted"]],
    } })
    .to_string();
    let settings = Settings { workers: 3, slots: 1, lost_after: "1s", ..Settings::default() };
    let mut cluster = Cluster::start(settings);
    let id = cluster.submit(&document);
    until("some tasks are done", || {
        cluster.job(&id)["stages"][0]["tasks_done"].as_u64().is_some_and(|done| done >= 6)
    });
    cluster.workers[0].kill();
    let job = cluster.completed(&id);
    assert_eq!(
        job["rows"],
        json!({"in": ROWS, "out": 59_940, "filtered": 59_940, "quarantined": 120})
    );

    let path = cluster.output_dir().join(format!("{id}_bad/read-00000.jsonl"));
    let written = fs::read_to_string(path).unwrap();
    let rows = lines(&written);
    let places: Vec<u64> = rows.iter().map(|row| row["line"].as_u64().unwrap()).collect();
    assert_eq!(places, (0..120).map(|k| k * 1_000 + 502).collect::<Vec<_>>());
    assert_eq!((&rows[1]["column"], &rows[1]["raw"]), (&json!("n"), &json!("x1500,some text")));

    let ran = cluster.client(&["bad-rows", &id]).expect_done();
    assert_eq!(ran.stdout, written);
    let route = format!("/api/v1/jobs/{id}/bad-rows?limit=100");
    let page = http::call(&cluster.rest, "GET", &route, &[], b"");
    assert_eq!(lines(&page.text()).len(), 100);
    assert!(page.header("link").unwrap().ends_with("rel=\"next\""));
}
