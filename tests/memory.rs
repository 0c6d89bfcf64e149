//! More keys than memory: an aggregation and a sort of five million keys under a budget of 32 MiB
//! give the result that is known by construction, spill, clean up, and stay near their budget.

#![cfg(test)]
#![expect(clippy::disallowed_methods, reason = "a test makes its input and reads its result")]

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::Path,
};

use serde_json::{Value, json};

#[expect(clippy::allow_attributes, reason = "an expectation fails where a target uses all")]
#[allow(dead_code, reason = "each target uses a part of it")]
mod support;

use support::{files_below, minispark, run};

const KEYS: u64 = if cfg!(debug_assertions) { 1_000_000 } else { 5_000_000 };
const BUDGET_BYTES: u64 = 32 << 20;

/// Whether the key of this number stands in the input twice.
fn is_twice(number: u64) -> bool {
    number.is_multiple_of(3)
}

/// Every key once, in an order that has nothing to do with theirs, then every third once more.
fn write_keys(path: &Path) {
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path).unwrap());
    // A number without a factor in common with KEYS visits all of them.
    let scattered = (0..KEYS).map(|at| at * 1_000_003 % KEYS);
    for number in scattered.chain((0..KEYS).filter(|number| is_twice(*number))) {
        writeln!(file, "key-{number:07}").unwrap();
    }
    file.into_inner().unwrap();
}

fn run_within_budget(document: &Value, folder: &Path) -> Value {
    let job = folder.join("job.json");
    fs::write(&job, document.to_string()).unwrap();
    let output = folder.join("output");
    let mut command = minispark();
    command.arg("run").arg(&job).args(["--memory", "32MiB", "--threads", "2", "--json"]);
    let ran = run(command.arg("--output-dir").arg(&output).current_dir(folder)).expect_done();
    let report = ran.json();
    assert!(report["spilled_bytes"].as_u64().unwrap() > 0, "nothing was spilled: {report}");
    let peak = report["peak_memory_bytes"].as_u64().unwrap();
    let bound = BUDGET_BYTES + BUDGET_BYTES / 4 + (64 << 20);
    assert!(peak <= bound, "{peak} bytes of peak memory, more than {bound}");
    let left = files_below(&output);
    assert_eq!(left.len(), 1, "beside the result there are spill files: {left:?}");
    report
}

#[test]
fn five_million_keys_are_counted_within_32_mebibytes() {
    let folder = tempfile::tempdir().unwrap();
    write_keys(&folder.path().join("keys.txt"));
    let document = json!({ "dag": {
        "nodes": [
            { "id": "read", "op": "read_text", "path": "keys.txt" },
            { "id": "count", "op": "reduce_by_key", "key": "line", "fn": "count" },
        ],
        "edges": [["read", "count"]],
    }});
    let report = run_within_budget(&document, folder.path());
    let text = fs::read_to_string(report["outputs"]["count"].as_str().unwrap()).unwrap();
    let mut numbers = 0..KEYS;
    for line in text.lines() {
        let number = numbers.next().expect("more keys than there are");
        assert_eq!(line, format!("key-{number:07}, {}", 1 + u64::from(is_twice(number))));
    }
    assert_eq!(numbers.next(), None, "keys are missing");
}

#[test]
fn five_million_rows_are_sorted_within_32_mebibytes() {
    let folder = tempfile::tempdir().unwrap();
    write_keys(&folder.path().join("keys.txt"));
    let document = json!({ "dag": {
        "nodes": [
            { "id": "read", "op": "read_text", "path": "keys.txt" },
            { "id": "sort", "op": "sort", "by": ["line desc"] },
        ],
        "edges": [["read", "sort"]],
    }});
    let report = run_within_budget(&document, folder.path());
    let text = fs::read_to_string(report["outputs"]["sort"].as_str().unwrap()).unwrap();
    let descending = (0..KEYS).rev();
    let mut expected = descending.flat_map(|number| {
        std::iter::repeat_n(format!("key-{number:07}"), 1 + usize::from(is_twice(number)))
    });
    for line in text.lines() {
        assert_eq!(Some(line), expected.next().as_deref());
    }
    assert_eq!(expected.next(), None, "rows are missing");
}

/// A job over the keys with these limits.
fn limited(folder: &Path, limits: &Value) -> std::path::PathBuf {
    let document = json!({ "limits": limits, "dag": {
        "nodes": [
            { "id": "read", "op": "read_text", "path": "keys.txt" },
            { "id": "sort", "op": "sort", "by": ["line desc"] },
        ],
        "edges": [["read", "sort"]],
    }});
    let job = folder.join("limited.json");
    fs::write(&job, document.to_string()).unwrap();
    job
}

#[test]
fn a_job_keeps_to_its_own_limit_where_the_process_has_more() {
    let folder = tempfile::tempdir().unwrap();
    write_keys(&folder.path().join("keys.txt"));
    let job = limited(folder.path(), &json!({ "memory": "32MiB" }));
    let mut command = minispark();
    command.arg("run").arg(&job).args(["--memory", "1GiB", "--threads", "2", "--json"]);
    command.arg("--output-dir").arg(folder.path().join("output")).current_dir(folder.path());
    let report = run(&mut command).expect_done().json();
    assert!(report["spilled_bytes"].as_u64().unwrap() > 0, "nothing was spilled: {report}");
    let peak = report["peak_memory_bytes"].as_u64().unwrap();
    let bound = BUDGET_BYTES + BUDGET_BYTES / 4 + (64 << 20);
    assert!(peak <= bound, "{peak} bytes of peak memory, more than {bound}");
}

#[test]
fn a_job_beyond_its_disk_quota_fails_by_name_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    write_keys(&folder.path().join("keys.txt"));
    let output = folder.path().join("output");
    let quotas: [(Value, &[&str], &str); 2] = [
        (json!({ "spill": "1MiB" }), &[], "the job's `limits.spill` of 1024 KiB is used up"),
        (json!({}), &["--spill-quota", "1MiB"], "the process's spill quota of 1024 KiB is used up"),
    ];
    for (limits, flags, reason) in quotas {
        let job = limited(folder.path(), &limits);
        let mut command = minispark();
        command.arg("run").arg(&job).args(["--memory", "8MiB", "--threads", "2"]).args(flags);
        command.arg("--output-dir").arg(&output).current_dir(folder.path());
        let ran = run(&mut command);
        assert_eq!(ran.code(), 7, "{ran:?}");
        assert!(ran.stderr.contains("DISK_FULL") && ran.stderr.contains(reason), "{ran:?}");
        assert!(
            ran.stderr.contains("take ") && ran.stderr.contains("those of the job "),
            "{ran:?}"
        );
        assert_eq!(files_below(&output), Vec::<std::path::PathBuf>::new());
    }
}

/// Writes `key,column` with a row for each key below `keys`, in an order that has nothing to do with
/// theirs; the value is the key's number times `factor`, and for keys that stand there twice one
/// more the second time.
fn write_side(path: &Path, column: &str, keys: u64, factor: u64, twice: bool) {
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path).unwrap());
    writeln!(file, "key,{column}").unwrap();
    for number in (0..keys).map(|at| at * 1_000_003 % keys) {
        writeln!(file, "key-{number:07},{}", number * factor).unwrap();
        if twice && is_twice(number) {
            writeln!(file, "key-{number:07},{}", number * factor + 1).unwrap();
        }
    }
    file.into_inner().unwrap();
}

/// Joins `keys` keys with as many, `how`; the right side lacks every fifth key, so that what comes
/// out is known by construction.
fn join_is_right(keys: u64, how: &str) {
    let folder = tempfile::tempdir().unwrap();
    write_side(&folder.path().join("left.csv"), "l", keys, 3, false);
    write_side(&folder.path().join("right.csv"), "r", keys, 5, true);
    let document = json!({ "dag": {
        "nodes": [
            { "id": "left", "op": "read_csv", "path": "left.csv", "header": true },
            { "id": "all", "op": "read_csv", "path": "right.csv", "header": true },
            { "id": "right", "op": "filter", "where": "r % 5 <> 0 or (r div 5) % 5 <> 0" },
            { "id": "join", "op": "join", "key": "key", "how": how },
        ],
        "edges": [["left", "join"], ["all", "right"], ["right", "join"]],
    }});
    let report = run_within_budget(&document, folder.path());
    let text = fs::read_to_string(report["outputs"]["join"].as_str().unwrap()).unwrap();
    let expected = (0..keys).flat_map(|number| {
        let (key, left) = (format!("key-{number:07}"), number * 3);
        // The first of a key's values is left out where the key is a multiple of five.
        let first = (number % 5 > 0).then_some(number * 5);
        let second = is_twice(number).then_some(number * 5 + 1);
        let partners: Vec<u64> = first.into_iter().chain(second).collect();
        let is_alone = partners.is_empty() && how == "left";
        let alone = is_alone.then(|| format!("{key}, {left}, "));
        partners.into_iter().map(move |right| format!("{key}, {left}, {right}")).chain(alone)
    });
    let mut lines = text.lines();
    for row in expected {
        assert_eq!(lines.next(), Some(row.as_str()));
    }
    assert_eq!(lines.next(), None, "more rows than there are");
}

#[test]
fn two_large_sides_are_joined_within_32_mebibytes() {
    // Both files are larger than what is sent to every task.
    join_is_right(KEYS / 2, "inner");
}

#[test]
fn a_side_for_every_task_that_is_larger_than_it_looks_is_joined_within_32_mebibytes() {
    join_is_right(KEYS / 5, "left");
}
