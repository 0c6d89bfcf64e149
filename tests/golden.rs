//! Every golden case, run in one process in several ways: always the same bytes.

#![cfg(test)]
#![expect(clippy::disallowed_methods, reason = "a test makes the files that the program reads")]

use std::fs;

use serde_json::Value;

#[expect(clippy::allow_attributes, reason = "an expectation fails where a target uses all")]
#[allow(dead_code, reason = "each target uses a part of it")]
mod support;

use support::{golden, minispark, root, run};

/// Runs a case embedded; checks all its sinks.
fn check(case: &golden::Case, partitions: Option<u32>, flags: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    case.lay_out(folder.path());
    let job = folder.path().join("job.json");
    fs::write(&job, case.document(partitions, folder.path())).unwrap();
    let output_dir = folder.path().join("output");
    let mut command = minispark();
    command.arg("run").arg(&job).arg("--json").args(flags).arg("--output-dir").arg(&output_dir);
    let results: Value = run(&mut command).expect_done().json();
    let how = format!("with partitions {partitions:?} {flags:?}");
    for (sink, kind) in case.sinks() {
        let path = results["outputs"][&sink].as_str();
        let path = path.unwrap_or_else(|| panic!("no result `{sink}` of {}: {results}", case.name));
        case.check(&sink, &kind, path.as_ref(), &how);
    }
    let outputs = results["outputs"].as_object().unwrap().len();
    assert_eq!(outputs, case.sinks().len(), "sinks of {}: {results}", case.name);
}

#[test]
fn a_result_does_not_depend_on_partitions() {
    for case in golden::cases() {
        for partitions in [None, Some(1), Some(2), Some(4), Some(16)] {
            check(&case, partitions, &["--threads", "4"]);
        }
    }
}

#[test]
fn a_result_does_not_depend_on_threads_and_memory() {
    for case in golden::cases() {
        check(&case, Some(4), &["--threads", "1"]);
        check(&case, Some(16), &["--threads", "8", "--memory", "8MiB"]);
    }
}

/// Runs a job of the repository as a user would and gives its one result.
fn shipped(job: &str, sink: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut command = minispark();
    command.current_dir(root()).args(["run", job, "--json", "--output-dir"]).arg(folder.path());
    let results: Value = run(&mut command).expect_done().json();
    fs::read_to_string(results["outputs"][sink].as_str().unwrap()).unwrap()
}

fn expected(name: &str) -> String {
    fs::read_to_string(root().join("data/expected").join(name)).unwrap()
}

#[test]
fn the_shipped_word_count_counts_28_tokens_in_22_keys() {
    let counts = shipped("jobs/wordcount.json", "agg");
    assert_eq!(counts, expected("books.txt"));
    assert_eq!(counts.lines().count(), 22);
    let count = |line: &str| line.rsplit(", ").next().unwrap().parse::<u32>().unwrap();
    assert_eq!(counts.lines().map(count).sum::<u32>(), 28);
}

#[test]
fn the_shipped_jobs_give_what_stands_beside_the_data() {
    assert_eq!(shipped("jobs/join_job.json", "join"), expected("join.txt"));
    assert_eq!(shipped("jobs/jsonl_test_job.json", "json"), expected("users.txt"));
    assert_eq!(shipped("jobs/top_words.json", "top"), expected("top_words.txt"));
}
