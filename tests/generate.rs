//! `minispark generate`: the same bytes for the same seed, of the size and with the defects that it
//! tells, read by the engine as what they are.

#![cfg(test)]
#![expect(clippy::disallowed_methods, reason = "a test makes the files that the program reads")]
#![expect(clippy::shadow_unrelated, reason = "one answer is looked at after another")]

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::json;

#[expect(clippy::allow_attributes, reason = "an expectation fails where a target uses all")]
#[allow(dead_code, reason = "each target uses a part of it")]
mod support;

use support::{Ran, command, minispark, names, run};

/// What `generate` prints on stdout with `-` as its output.
fn generated(arguments: &[&str]) -> String {
    run(minispark().arg("generate").args(arguments).args(["--quiet", "-"])).expect_done().stdout
}

/// Runs a job that reads dirty CSV as what it should be, and counts its days.
fn count_days(file: &Path) -> Ran {
    let folder = file.parent().unwrap();
    let columns = r#"{"id": "int64", "name": "string", "amount": "float64", "day": "date"}"#;
    let document = format!(
        r#"{{"name": "days", "dag": {{
          "nodes": [
            {{"id": "read", "op": "read_csv", "path": {file:?}, "columns": {columns}}},
            {{"id": "count", "op": "reduce_by_key", "key": "amount >= 0", "aggs": {{"n": "count(day)"}}}}],
          "edges": [["read", "count"]]}}}}"#
    );
    let job = folder.join("job.json");
    fs::write(&job, document).unwrap();
    run(minispark().arg("run").arg(&job).arg("--output-dir").arg(folder.join("output")))
}

/// What a second program, written after the documentation of `cli/src/generate/`, makes.
#[test]
fn the_bytes_of_a_seed_are_those_that_are_specified() {
    let products = "1,Ce,books,126.89\n2,Di,phone,767.89\n3,Fo,audio,504.51\n";
    assert_eq!(generated(&["products", "--rows", "3", "--seed", "1"]), products);
    let sales = "590,1,3,985.57,2024-09-08\n59,2,2,336.94,2025-08-08\n414,3,2,388.08,2024-12-26\n";
    assert_eq!(generated(&["sales", "--rows", "3"]), sales);
    let text = "HA braésjece forodi Brañe flolo Fo nagrudi Xiflolo dice Bagutaha bace ce rocece \
        cleyoxi folo tafo llabrape Zujegu Ésstogu ce tru\n";
    assert_eq!(generated(&["text", "--rows", "1"]), text);
    let options = ["--seed", "7", "--vocabulary", "1000", "--zipf", "1.3", "--words", "4"];
    let text = "ce gu di ce\nxi ñeki ce qui\nce Di di mu\n";
    assert_eq!(generated(&[&["text", "--rows", "3"], &options[..]].concat()), text);
}

#[test]
fn another_seed_is_other_data() {
    for kind in [
        &["text", "--rows", "100"][..],
        &["sales", "--rows", "100"],
        &["products", "--rows", "100"],
        &["dirty", "--rows", "100", "--bad", "0.2"],
    ] {
        let with_seed = |seed| checksum(&[kind, &["--seed", seed]].concat());
        assert_eq!(with_seed("1"), with_seed("1"), "{kind:?}");
        assert_ne!(with_seed("1"), with_seed("2"), "{kind:?}");
    }
}

/// The checksum of what `generate` prints, which need not be UTF-8.
fn checksum(arguments: &[&str]) -> String {
    let line = r#""$BIN" generate "$@" --quiet - | cksum"#;
    let mut shell = command("sh");
    shell.env("BIN", env!("CARGO_BIN_EXE_minispark")).args(["-c", line, "sh"]).args(arguments);
    run(&mut shell).expect_done().stdout
}

#[test]
fn a_file_has_what_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("text.txt");
    let mut generate = minispark();
    generate.args(["generate", "text", "--size", "100kB", "--words", "5", "--json"]).arg(&path);
    let told = run(&mut generate).expect_done().json();
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(told["bytes"], text.len());
    assert_eq!(told["rows"], text.lines().count());
    assert_eq!(names(folder.path()), ["text.txt"]);
    // A word has at most four syllables of three bytes, but for a blank or a line feed behind it.
    assert!(text.len() <= 100_000 && text.len() > 100_000 - 5 * 13, "{}", text.len());
    assert!(text.lines().all(|line| line.split(' ').count() == 5));
}

#[test]
fn words_come_as_often_as_their_ranks_say() {
    let text = generated(&["text", "--rows", "5000", "--vocabulary", "1000", "--words", "20"]);
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for word in text.split_whitespace() {
        *counts.entry(word.to_lowercase()).or_default() += 1;
    }
    let mut counts: Vec<u32> = counts.into_values().collect();
    counts.sort_unstable_by(|a, b| b.cmp(a));
    // Of 100,000 words the first has 1 / H(1000) = 0.1336, the tenth a tenth of that; a deviation
    // is 108 and 36.
    assert!((12_900..13_900).contains(&counts[0]), "{}", counts[0]);
    assert!((1_150..1_530).contains(&counts[9]), "{}", counts[9]);
}

#[test]
fn sales_join_products() {
    let products = generated(&["products", "--rows", "10", "--header"]);
    let mut lines = products.lines();
    assert_eq!(lines.next(), Some("product_id,name,category,price"));
    let prices: BTreeMap<&str, &str> = lines
        .map(|line| (line.split(',').next().unwrap(), line.rsplit(',').next().unwrap()))
        .collect();
    let sales = generated(&["sales", "--rows", "200", "--products", "10", "--header"]);
    let mut lines = sales.lines();
    assert_eq!(lines.next(), Some("product_id,sale_id,quantity,unit_price,sold_on"));
    for sale in lines {
        let fields: Vec<&str> = sale.split(',').collect();
        assert_eq!(prices[fields[0]], fields[3], "{sale}");
    }
    assert_eq!(sales.lines().count(), 201);
}

#[test]
fn good_rows_are_read_as_declared() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clean.csv");
    run(minispark().args(["generate", "dirty", "--rows", "3000", "--bad", "0"]).arg(&path))
        .expect_done();
    let ran = count_days(&path).expect_done();
    assert_eq!(ran.stdout, "true, 3000\n");
}

#[test]
fn every_defect_is_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bad.csv");
    for (kind, reason) in [
        ("field_count", "fields"),
        ("number", "column `amount`"),
        ("date", "column `day`"),
        ("open_quote", "quote"),
        ("stray_quote", "quote"),
        ("utf8", "UTF-8"),
        ("too_long", "RECORD_TOO_LARGE"),
    ] {
        let mut generate = minispark();
        generate.args(["generate", "dirty", "--rows", "1", "--bad", "1", "--kinds", kind]);
        let told = run(generate.arg("--json").arg(&path)).expect_done().json();
        assert_eq!(told["bad_rows"], json!({ kind: 1 }));
        let ran = count_days(&path);
        assert_eq!(ran.code(), 7, "{kind}: {ran:?}");
        assert!(ran.stderr.contains(reason), "{kind}: {ran:?}");
    }
}

#[test]
fn a_closed_pipe_ends_it_quietly() {
    let line = r#""$BIN" generate text --size 1GB - | head -n 1 | wc -l"#;
    let mut shell = command("sh");
    shell.env("BIN", env!("CARGO_BIN_EXE_minispark")).args(["-c", line]);
    let ran = run(&mut shell).expect_done();
    assert_eq!((ran.stdout.trim(), ran.stderr.as_str()), ("1", ""));
}

#[test]
fn a_place_that_can_not_be_written_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("missing/text.txt");
    let ran = run(minispark().args(["generate", "text", "--rows", "1"]).arg(&path));
    assert_eq!(ran.code(), 1);
    assert!(ran.stderr.contains("missing/text.txt"), "{ran:?}");
    // A device is written as it is, and not replaced.
    run(minispark().args(["generate", "text", "--rows", "1", "/dev/null"])).expect_done();
}
