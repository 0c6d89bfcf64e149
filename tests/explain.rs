//! Plans that explain themselves: before a run, after one, as data, as a graph and as SQL, over REST.

#![cfg(test)]
#![expect(clippy::disallowed_methods, reason = "a test makes the files that the program reads")]

use std::fs;

use serde_json::Value;

#[expect(clippy::allow_attributes, reason = "an expectation fails where a target uses all")]
#[allow(dead_code, reason = "each target uses a part of it")]
mod support;

use support::{
    Ran,
    cluster::{Cluster, Settings},
    minispark, names, root, run,
};

const JOB: &str = "jobs/top_words.json";

fn explain(arguments: &[&str]) -> Ran {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("output");
    let mut command = minispark();
    command.current_dir(root()).arg("explain").args(arguments).arg("--output-dir").arg(&output);
    run(&mut command)
}

/// The node of this id.
fn node<'a>(plan: &'a Value, id: &str) -> &'a Value {
    plan["nodes"].as_array().unwrap().iter().find(|node| node["id"] == id).unwrap()
}

#[test]
fn a_plan_has_its_nodes_with_columns_and_its_stages_with_steps() {
    let plan = explain(&[JOB, "--format", "json"]).expect_done().json();
    assert_eq!(plan["name"], "top-words");
    assert_eq!(node(&plan, "count")["detail"], "by word: n = count(*)");
    assert_eq!(node(&plan, "count")["columns"][1]["type"], "int64");
    assert_eq!(node(&plan, "sort")["order"], "n desc, word");
    assert!(node(&plan, "read")["actual"].is_null(), "nothing was run");
    // The limit behind the sort became the sort's own.
    assert_eq!(plan["rules"][0]["rule"], "top_k");
    assert!(plan["stages"][0]["steps"].as_array().unwrap().len() >= 7);
    let text = explain(&[JOB, "--format", "text"]).expect_done().stdout;
    assert!(text.contains("count of long: reduce_by_key by word: n = count(*)"), "{text}");
    let graph = explain(&[JOB, "--format", "dot"]).expect_done().stdout;
    assert!(graph.contains("\"long\" -> \"count\""), "{graph}");
}

#[test]
fn an_analyzed_plan_has_what_was_counted_and_the_result_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("output");
    let mut command = minispark();
    command.current_dir(root()).args(["explain", JOB, "--analyze", "--format", "json"]);
    let plan = run(command.arg("--output-dir").arg(&output)).expect_done().json();
    // Three lines have 28 words, all of two letters or more but none; 22 are different.
    let rows = |id: &str, kind: &str| node(&plan, id)["actual"][kind].as_u64().unwrap();
    let lines = fs::read_to_string(root().join("data/books.csv")).unwrap().lines().count() as u64;
    assert_eq!(rows("read", "rows_out"), lines);
    assert_eq!(rows("words", "rows_out"), rows("lower", "rows_in"));
    assert_eq!(rows("top", "rows_out"), 5);
    let stage = &plan["stages"][0];
    assert_eq!(stage["actual"]["rows"], 5);
    assert_eq!(stage["actual"]["partitions"].as_array().unwrap().len(), 1);
    let steps = stage["steps"].as_array().unwrap();
    assert_eq!(steps[0]["actual"]["rows"].as_u64(), Some(lines));
    assert!(steps.iter().all(|step| step["actual"]["batches"].as_u64() >= Some(1)), "{stage}");
    assert_eq!(names(&output).iter().filter(|name| name.ends_with("_top.txt")).count(), 1);
}

#[test]
fn a_job_is_one_statement_with_a_table_expression_a_node() {
    let sql = explain(&[JOB, "--format", "sql"]).expect_done().stdout;
    for part in ["\"count\" as (", "count(*) as \"n\"", "group by 1", "\"n\" desc nulls last"] {
        assert!(sql.contains(part), "{part} in {sql}");
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sample.json");
    let job = r#"{"dag": {"nodes": [
        {"id": "read", "op": "read_text", "path": "data/books.csv"},
        {"id": "some", "op": "sample", "fraction": 0.5, "seed": 1}], "edges": [["read", "some"]]}}"#;
    fs::write(&path, job).unwrap();
    let refused = explain(&[path.to_str().unwrap(), "--format", "sql"]);
    assert_eq!(refused.code(), 3);
    assert!(refused.stderr.contains("node some"), "{}", refused.stderr);
}

#[test]
fn a_job_is_a_statement_in_sparks_words_where_these_are_asked_for() {
    let sql = explain(&[JOB, "--format", "sql", "--dialect", "spark"]).expect_done().stdout;
    for part in ["-- Spark 4, ANSI mode", "`count` as (", "explode(", "text.`", "nulls last"] {
        assert!(sql.contains(part), "{part} in {sql}");
    }
    let told = explain(&[JOB, "--dialect", "spark"]);
    assert_eq!(told.code(), 2);
    assert!(told.stderr.contains("--format sql"), "{}", told.stderr);
}

#[test]
fn a_master_explains_a_job_without_starting_it_and_one_that_ran() {
    let cluster = Cluster::start(Settings { workers: 1, ..Settings::default() });
    let document = fs::read_to_string(root().join(JOB)).unwrap();
    let answer = cluster.call("POST", "/api/v1/jobs?dry_run=true", document.as_bytes()).json();
    assert_eq!(answer["dry_run"], true);
    assert_eq!(node(&answer["plan"], "top")["detail"], "the first 5");
    assert_eq!(cluster.get("/api/v1/jobs")["items"], serde_json::json!([]));
    let file = root().join(JOB);
    let file = file.to_str().unwrap();
    let dry = cluster.client(&["submit", file, "--dry-run", "--json"]).expect_done().json();
    assert_eq!(dry["plan"], answer["plan"]);
    let job = cluster.submit(&document);
    cluster.completed(&job);
    let plan = cluster.get(&format!("/api/v1/jobs/{job}/plan"));
    assert_eq!(node(&plan, "top")["actual"]["rows_out"], 5);
}
