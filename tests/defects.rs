//! The first mini-Spark's defects, each with the test that keeps it out.

#![cfg(test)]
#![expect(clippy::disallowed_methods, reason = "a test makes the files that the program reads")]

use std::{collections::BTreeMap, fmt::Write, fs, path::Path};

use serde_json::{Value, json};

#[expect(clippy::allow_attributes, reason = "an expectation fails where a target uses all")]
#[allow(dead_code, reason = "each target uses a part of it")]
mod support;

use support::{
    Ran,
    cluster::{Cluster, Settings},
    files_below, minispark, run,
};

/// A document of these nodes in a chain.
fn chain(nodes: &[Value]) -> Value {
    let id = |node: &Value| node["id"].clone();
    let edges: Vec<Value> =
        nodes.windows(2).map(|pair| json!([id(&pair[0]), id(&pair[1])])).collect();
    json!({ "name": "defect", "dag": { "nodes": nodes, "edges": edges } })
}

fn embedded(document: &Value, folder: &Path, flags: &[&str]) -> Ran {
    let job = folder.join("job.json");
    fs::write(&job, document.to_string()).unwrap();
    let mut command = minispark();
    command.current_dir(folder).arg("run").arg(&job).args(["--json", "--output-dir", "output"]);
    run(command.args(flags))
}

/// The text result of a job's only sink.
fn result(document: &Value, folder: &Path, flags: &[&str]) -> String {
    let results = embedded(document, folder, flags).expect_done().json();
    let outputs = results["outputs"].as_object().unwrap();
    assert_eq!(outputs.len(), 1);
    fs::read_to_string(outputs.values().next().unwrap().as_str().unwrap()).unwrap()
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn a_filter_runs() {
    let folder = folder();
    fs::write(folder.path().join("in.txt"), "uno\ncinco\ntres\nocho y seis\n").unwrap();
    let nodes = [
        json!({ "id": "read", "op": "read_csv", "path": "in.txt" }),
        json!({ "id": "long", "op": "filter", "fn": "long_words" }),
    ];
    assert_eq!(result(&chain(&nodes), folder.path(), &[]), "cinco\nocho y seis\n");
}

#[test]
fn key_and_fn_are_honoured() {
    let folder = folder();
    fs::write(folder.path().join("in.csv"), "k,n,m\na,1,9\nb,5,8\na,3,7\n").unwrap();
    let reduce = |key: &str, function: &str| {
        let nodes = [
            json!({ "id": "read", "op": "read_csv", "path": "in.csv", "header": true }),
            json!({ "id": "two", "op": "map", "select": { "k": "k", "n": "n" } }),
            json!({ "id": "by", "op": "reduce_by_key", "key": key, "fn": function }),
        ];
        result(&chain(&nodes), folder.path(), &[])
    };
    assert_eq!(reduce("k", "sum"), "a, 4\nb, 5\n");
    assert_eq!(reduce("k", "max"), "a, 3\nb, 5\n");
    assert_eq!(reduce("k", "min"), "a, 1\nb, 5\n");
    assert_eq!(reduce("k", "avg"), "a, 2\nb, 5\n");
    assert_eq!(reduce("k", "count"), "a, 2\nb, 1\n");
    assert_eq!(reduce("n", "max"), "1, a\n3, a\n5, b\n");
}

#[test]
fn partitions_do_not_read_the_file_again_and_results_hold_every_one() {
    let folder = folder();
    let lines: String = (0..1000).fold(String::new(), |mut text, n| {
        writeln!(text, "line {n:04}").unwrap();
        text
    });
    fs::write(folder.path().join("in.txt"), &lines).unwrap();
    for partitions in [1, 2, 7, 64] {
        let read = json!({
            "id": "read", "op": "read_csv", "path": "in.txt", "partitions": partitions,
        });
        let found = result(&chain(&[read]), folder.path(), &[]);
        assert_eq!(found, lines, "{partitions} partitions");
    }
}

#[test]
fn repeated_left_keys_all_join() {
    let folder = folder();
    fs::write(folder.path().join("left.csv"), "1,a\n1,b\n2,c\n").unwrap();
    fs::write(folder.path().join("right.csv"), "1,x\n1,y\n").unwrap();
    let document = json!({ "name": "join", "dag": {
        "nodes": [
            { "id": "left", "op": "read_csv", "path": "left.csv" },
            { "id": "right", "op": "read_csv", "path": "right.csv" },
            { "id": "join", "op": "join" },
        ],
        "edges": [["left", "join"], ["right", "join"]],
    } });
    let expected = "1, a, x\n1, a, y\n1, b, x\n1, b, y\n";
    assert_eq!(result(&document, folder.path(), &[]), expected);
}

#[test]
fn a_line_longer_than_64_kib_is_read_whole() {
    let folder = folder();
    let long = "x".repeat(300_000);
    let text = format!("before\n{long}\nafter\n");
    fs::write(folder.path().join("in.txt"), &text).unwrap();
    for partitions in [1, 16] {
        let read = json!({
            "id": "read", "op": "read_csv", "path": "in.txt", "partitions": partitions,
        });
        assert_eq!(result(&chain(&[read]), folder.path(), &[]), text);
    }
}

#[test]
fn a_missing_input_is_refused_by_name() {
    let folder = folder();
    let nodes = [json!({ "id": "read", "op": "read_csv", "path": "not/here.csv" })];
    let ran = embedded(&chain(&nodes), folder.path(), &[]);
    assert_eq!(ran.code(), 3);
    assert!(ran.stderr.contains("not/here.csv"), "{ran:?}");
    assert!(ran.stderr.contains("/dag/nodes/0/path"), "{ran:?}");
}

#[test]
fn a_cycle_is_refused() {
    let folder = folder();
    let document = json!({ "name": "cycle", "dag": {
        "nodes": [
            { "id": "a", "op": "map", "fn": "identity" },
            { "id": "b", "op": "map", "fn": "identity" },
        ],
        "edges": [["a", "b"], ["b", "a"]],
    } });
    let ran = embedded(&document, folder.path(), &[]);
    assert_eq!(ran.code(), 3);
    assert!(ran.stderr.contains("CYCLE"), "{ran:?}");
}

#[test]
fn hundreds_of_queued_tasks_do_not_dead_lock() {
    let folder = folder();
    let lines: String = (0..2000).fold(String::new(), |mut text, n| {
        writeln!(text, "word{} again", n % 10).unwrap();
        text
    });
    fs::write(folder.path().join("in.txt"), lines).unwrap();
    let nodes = [
        json!({ "id": "read", "op": "read_csv", "path": "in.txt", "partitions": 500 }),
        json!({ "id": "words", "op": "flat_map", "fn": "tokenize" }),
        json!({ "id": "count", "op": "reduce_by_key", "key": "token", "fn": "sum" }),
    ];
    let expected = (0..10).fold(String::from("again, 2000\n"), |mut text, n| {
        writeln!(text, "word{n}, 200").unwrap();
        text
    });
    assert_eq!(result(&chain(&nodes), folder.path(), &["--threads", "1"]), expected);
}

#[test]
fn keys_with_commas_quotes_and_newlines_survive_a_spill() {
    let folder = folder();
    let mut input = String::new();
    let mut model: BTreeMap<String, u64> = BTreeMap::new();
    for round in 0..2 {
        for n in 0..150_000_u32 {
            let key = match n % 4 {
                0 => format!("a,{n},b"),
                1 => format!("say \"{n}\""),
                2 => format!("two\n{n}\r\nlines"),
                _ => format!(" ñ{n} "),
            };
            if round == 0 || n % 3 == 0 {
                writeln!(input, "{}", json!({ "key": key })).unwrap();
                *model.entry(key).or_default() += 1;
            }
        }
    }
    fs::write(folder.path().join("in.jsonl"), input).unwrap();
    let nodes = [
        json!({ "id": "read", "op": "read_jsonl", "path": "in.jsonl" }),
        json!({ "id": "count", "op": "reduce_by_key", "key": "key", "aggs": { "n": "count(*)" } }),
    ];
    let document = chain(&nodes);
    let expected = model.iter().fold(String::new(), |mut text, (key, n)| {
        let shown = key.replace('\r', "\\r").replace('\n', "\\n");
        writeln!(text, "{shown}, {n}").unwrap();
        text
    });
    let ran = embedded(&document, folder.path(), &["--memory", "6MiB", "--threads", "2"]);
    let ran = ran.expect_done();
    assert!(ran.stderr.contains(" spilled"), "nothing was spilled: {}", ran.stderr);
    let path = ran.json()["outputs"]["count"].as_str().unwrap().to_owned();
    assert!(fs::read_to_string(path).unwrap() == expected, "a key did not survive");
    let left = files_below(&folder.path().join("output"));
    assert_eq!(left.len(), 1, "spill files are left: {left:?}");
}

#[test]
fn an_unclosed_quote_swallows_no_rows_in_silence() {
    let folder = folder();
    let mut text = String::from("id,note\n1,\"left open\n");
    for n in 2..200_000 {
        writeln!(text, "{n},fine").unwrap();
    }
    fs::write(folder.path().join("in.csv"), text).unwrap();
    let nodes = [json!({ "id": "read", "op": "read_csv", "path": "in.csv", "header": true })];
    let ran = embedded(&chain(&nodes), folder.path(), &[]);
    assert_ne!(ran.code(), 0);
    assert!(ran.stderr.contains("in.csv"), "{ran:?}");
    assert!(ran.stderr.to_lowercase().contains("quote"), "{ran:?}");
}

#[test]
fn to_json_escapes_what_json_must() {
    let folder = folder();
    fs::write(folder.path().join("in.txt"), "k\"1,v\\\t\u{1}2\nno comma\n").unwrap();
    let nodes = [
        json!({ "id": "read", "op": "read_csv", "path": "in.txt" }),
        json!({ "id": "json", "op": "map", "fn": "to_json" }),
    ];
    let found = result(&chain(&nodes), folder.path(), &[]);
    let rows: Vec<Value> = found.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows[0], json!({ "key": "k\"1", "value": "v\\\t\u{1}2" }));
    assert_eq!(rows[1], json!({ "key": "no comma", "value": null }));
}

#[test]
fn a_failed_job_ends_with_its_place_and_leaves_no_result() {
    let folder = folder();
    fs::write(folder.path().join("in.csv"), "1,10\n2,ten\n3,30\n").unwrap();
    let read = json!({
        "id": "read", "op": "read_csv", "path": "in.csv",
        "columns": { "id": "int64", "n": "int64" },
    });
    let ran = embedded(&chain(&[read]), folder.path(), &[]);
    assert_eq!(ran.code(), 7, "{ran:?}");
    for word in ["in.csv", "line 2", "`n`", "ten", "read"] {
        assert!(ran.stderr.contains(word), "no {word}: {ran:?}");
    }
    assert_eq!(files_below(&folder.path().join("output")), [] as [std::path::PathBuf; 0]);
}

#[test]
fn a_hundred_queued_jobs_do_not_dead_lock() {
    let cluster = Cluster::start(Settings { workers: 1, slots: 1, ..Settings::default() });
    let document = fs::read_to_string(support::root().join("jobs/wordcount.json")).unwrap();
    let jobs: Vec<String> = (0..100).map(|_| cluster.submit(&document)).collect();
    let expected = fs::read_to_string(support::root().join("data/expected/books.txt")).unwrap();
    for job in jobs {
        cluster.completed(&job);
        assert_eq!(fs::read_to_string(cluster.output(&job, "agg")).unwrap(), expected);
    }
}

#[test]
fn a_worker_that_lost_its_master_comes_back() {
    let mut cluster = Cluster::start(Settings { workers: 1, ..Settings::default() });
    cluster.restart_master();
    support::until("the worker has registered again", || cluster.workers_up() == 1);
}
