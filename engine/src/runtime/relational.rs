//! Documents of joins, sets and row operators, run with several stage cuts: always the rows of the
//! obvious model, whatever the partitions and whether a side is broadcast.

use std::{io::Write, path::Path};

use proptest::prelude::*;
use tempfile::TempDir;

use super::{Outcome, Session, SessionOptions};
use crate::{
    disk::{DataDisks, Disk, RealDisk},
    plan::{JoinKind, Op, stages::Sizes},
    schedule::JobStatus,
    task::context::CancelFlag,
};

/// Plans are cut as by default, into many buckets, and with everything broadcast.
const CUTS: [Sizes; 3] = [
    Sizes {
        bucket_bytes: 32 << 20,
        broadcast_bytes: 32 << 20,
        range_bytes: 256 << 20,
        filter_factor: Some(0),
    },
    Sizes { bucket_bytes: 40, broadcast_bytes: 0, range_bytes: 0, filter_factor: Some(0) },
    Sizes { bucket_bytes: 40, broadcast_bytes: u64::MAX, range_bytes: 0, filter_factor: Some(0) },
];

/// A folder with input files.
struct Place(TempDir);

impl Place {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let mut file = RealDisk.create(&folder.path().join(name)).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        }
        Self(folder)
    }

    fn session(&self, sizes: Sizes) -> Session {
        let path = |name: &str| self.0.path().join(name);
        let options = SessionOptions {
            base_dir: self.0.path().to_owned(),
            output_dir: path("out"),
            scratch_dir: path("scratch"),
            threads: 2,
            memory_bytes: 1 << 28,
            data: DataDisks::everywhere(),
        };
        Session::new(options).unwrap().with_sizes(sizes)
    }

    fn run(&self, document: &str, sizes: Sizes) -> Outcome {
        let session = self.session(sizes);
        let checked = session.check(document, true);
        let checked = checked.unwrap_or_else(|problems| panic!("{problems:#?}\n{document}"));
        session.run(checked, &CancelFlag::default(), &mut |_| {}).unwrap()
    }

    /// The lines of the result `sink`, sorted, and each node's rows in and out.
    fn lines(&self, document: &str, sink: &str, sizes: Sizes) -> Vec<String> {
        let outcome = self.run(document, sizes);
        assert_eq!(outcome.status, JobStatus::Completed, "{:?}\n{document}", outcome.error);
        let published = outcome.sinks.iter().find(|published| published.sink == sink).unwrap();
        let mut lines = read(&published.path);
        lines.sort();
        lines
    }

    /// What a run that must fail says.
    fn error(&self, document: &str) -> (crate::error::Code, String) {
        let errors = CUTS.map(|sizes| {
            let outcome = self.run(document, sizes);
            assert_eq!(outcome.status, JobStatus::Failed, "{document}");
            assert!(outcome.sinks.is_empty());
            let error = outcome.error.unwrap();
            (error.failure.code, error.failure.message)
        });
        assert!(errors.iter().all(|error| *error == errors[0]), "{errors:?}");
        errors[0].clone()
    }
}

fn read(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

/// A row of a table: two keys, and a number that tells rows apart.
type Row = (Option<i64>, Option<&'static str>, i64);

/// How two tables are joined.
#[derive(Clone, Debug)]
struct Kind {
    how: &'static str,
    keys: Vec<&'static str>,
    null_safe: bool,
    on: Option<&'static str>,
}

fn table(name: &str, rows: &[Row]) -> String {
    let cell = |value: &Option<i64>| value.map(|value| value.to_string()).unwrap_or_default();
    // Nothing between commas is null, and quotes are the empty text.
    let text = |value: Option<&str>| match value {
        None => String::new(),
        Some(text) => format!("\"{text}\""),
    };
    let rows = rows.iter().map(|row| format!("{},{},{}\n", cell(&row.0), text(row.1), row.2));
    format!("k,s,{name}\n{}", rows.collect::<String>())
}

fn document(kind: &Kind, partitions: u32) -> String {
    let mut fields = vec![format!(r#""how": "{}""#, kind.how)];
    if !kind.keys.is_empty() {
        fields.push(format!(r#""key": {:?}"#, kind.keys));
        fields.push(format!(r#""null_safe": {}"#, kind.null_safe));
    }
    if let Some(on) = kind.on {
        fields.push(format!(r#""on": "{on}""#));
    }
    let read = |id: &str, column: &str| {
        format!(
            r#"{{"id": "{id}", "op": "read_csv", "path": "{id}.csv", "header": true,
                "partitions": {partitions},
                "columns": {{"k": "int64", "s": "string", "{column}": "int64"}}}}"#
        )
    };
    format!(
        r#"{{"dag": {{"nodes": [{}, {}, {{"id": "j", "op": "join", {}}}],
            "edges": [["a", "j"], ["b", "j"]]}}}}"#,
        read("a", "x"),
        read("b", "y"),
        fields.join(", ")
    )
}

/// Whether two rows are partners.
fn is_pair(left: &Row, right: &Row, kind: &Kind) -> bool {
    let is_equal = |key: &&str| match *key {
        "k" => left.0 == right.0 && (left.0.is_some() || kind.null_safe),
        _ => left.1 == right.1 && (left.1.is_some() || kind.null_safe),
    };
    let holds = match kind.on {
        None => true,
        Some("x < y") => left.2 < right.2,
        Some("l.k <> r.k or x = y") => {
            let differs = left.0.zip(right.0).map(|(left, right)| left != right);
            differs == Some(true) || left.2 == right.2
        }
        Some(other) => panic!("{other}"),
    };
    kind.keys.iter().all(is_equal) && holds
}

/// The joined rows as lines, by nested loops.
fn nested_loops(left: &[Row], right: &[Row], kind: &Kind) -> Vec<String> {
    let cell = |value: Option<i64>| value.map(|value| value.to_string()).unwrap_or_default();
    let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
    let is_key = |key: &str| kind.keys.contains(&key);
    let line = |own: Option<&Row>, other: Option<&Row>| {
        let mut cells = Vec::new();
        let of = |key: &str| if is_key(key) { own.or(other) } else { own };
        cells.push(cell(of("k").and_then(|row| row.0)));
        cells.push(text(of("s").and_then(|row| row.1)));
        cells.push(cell(own.map(|row| row.2)));
        if kind.how != "semi" && kind.how != "anti" {
            if !is_key("k") {
                cells.push(cell(other.and_then(|row| row.0)));
            }
            if !is_key("s") {
                cells.push(text(other.and_then(|row| row.1)));
            }
            cells.push(cell(other.map(|row| row.2)));
        }
        cells.join(", ")
    };
    let mut lines = Vec::new();
    for row in left {
        let partners: Vec<&Row> = right.iter().filter(|other| is_pair(row, other, kind)).collect();
        match kind.how {
            "semi" if !partners.is_empty() => lines.push(line(Some(row), None)),
            "anti" | "left" | "full" if partners.is_empty() => lines.push(line(Some(row), None)),
            "semi" | "anti" => {}
            _ => lines.extend(partners.iter().map(|other| line(Some(row), Some(other)))),
        }
    }
    if kind.how == "right" || kind.how == "full" {
        let lonely = right.iter().filter(|row| !left.iter().any(|other| is_pair(other, row, kind)));
        lines.extend(lonely.map(|row| line(None, Some(row))));
    }
    lines.sort();
    lines
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let key = prop::sample::select(vec![None, Some(1), Some(2), Some(3)]);
    let text = prop::sample::select(vec![None, Some(""), Some("a"), Some("a rather long key")]);
    let rows = prop::collection::vec((key, text), 0..40);
    rows.prop_map(|rows| (0..).zip(rows).map(|(number, row)| (row.0, row.1, number)).collect())
}

fn kinds() -> impl Strategy<Value = Kind> {
    let how = prop::sample::select(vec!["inner", "left", "right", "full", "semi", "anti"]);
    let keys = prop::sample::subsequence(vec!["k", "s"], 0..=2);
    let on = prop::sample::select(vec![None, Some("x < y"), Some("l.k <> r.k or x = y")]);
    (how, keys, any::<bool>(), on).prop_map(|(how, keys, null_safe, on)| {
        // Without a key there must be a condition.
        let on = if keys.is_empty() { on.or(Some("x < y")) } else { on };
        Kind { how, keys, null_safe, on }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn a_join_gives_the_rows_of_nested_loops_however_it_is_cut(
        left in rows(),
        right in rows(),
        kind in kinds(),
    ) {
        let place = Place::new(&[("a.csv", &table("x", &left)), ("b.csv", &table("y", &right))]);
        let expected = nested_loops(&left, &right, &kind);
        for (sizes, partitions) in CUTS.into_iter().zip([1, 16, 4]) {
            let found = place.lines(&document(&kind, partitions), "j", sizes);
            prop_assert_eq!(&found, &expected, "{:?} {} partitions", sizes, partitions);
        }
    }
}

#[test]
fn a_cross_join_pairs_all_and_takes_a_condition() {
    let rows = |count: i64| (0..count).map(|number| (Some(1), None, number)).collect::<Vec<Row>>();
    let (left, right) = (rows(50), rows(30));
    let place = Place::new(&[("a.csv", &table("x", &left)), ("b.csv", &table("y", &right))]);
    for on in [None, Some("x < y")] {
        let kind = Kind { how: "cross", keys: Vec::new(), null_safe: false, on };
        let expected = nested_loops(&left, &right, &kind);
        for sizes in CUTS {
            assert_eq!(place.lines(&document(&kind, 4), "j", sizes), expected);
        }
    }
}

#[test]
fn a_join_over_parquet_gives_the_rows_that_it_gives_over_text() {
    let row = |n: i64, of: i64| {
        let key = (n % 7 > 0).then_some(n % of);
        (key, Some(["a", "b", "c"][usize::try_from(n % 3).unwrap()]), n)
    };
    let (left, right): (Vec<Row>, Vec<Row>) =
        ((0..3_000).map(|n| row(n, 1_000)).collect(), (0..40).map(|n| row(n * 3, 200)).collect());
    let place = Place::new(&[("a.csv", &table("x", &left)), ("b.csv", &table("y", &right))]);
    for id in ["a", "b"] {
        let document = format!(
            r#"{{"dag": {{"nodes": [
                {{"id": "r", "op": "read_csv", "path": "{id}.csv", "header": true}},
                {{"id": "w", "op": "write_parquet", "path": "{id}_parquet"}}],
              "edges": [["r", "w"]]}}}}"#
        );
        assert_eq!(place.run(&document, CUTS[0]).status, JobStatus::Completed);
    }
    for how in ["inner", "left", "right", "full", "semi", "anti"] {
        for (keys, on) in [(vec!["k"], None), (vec!["s", "k"], None), (vec!["k"], Some("x < y"))] {
            let kind = Kind { how, keys, null_safe: false, on };
            let text = document(&kind, 2);
            let mut parquet = text.replace(r#""op": "read_csv""#, r#""op": "read_parquet""#);
            for id in ["a", "b"] {
                parquet = parquet.replace(
                    &format!(r#""{id}.csv", "header": true"#),
                    &format!(r#""{id}_parquet""#),
                );
            }
            for column in ["x", "y"] {
                let columns = format!(
                    r#",
                "columns": {{"k": "int64", "s": "string", "{column}": "int64"}}"#
                );
                parquet = parquet.replace(&columns, "");
            }
            let expected = nested_loops(&left, &right, &kind);
            for sizes in CUTS {
                assert_eq!(place.lines(&parquet, "j", sizes), expected, "{kind:?} {sizes:?}");
            }
        }
    }
}

/// A document over `a.csv` and `b.csv`, text tables with a header, that ends in `last`.
fn over(nodes: &str, edges: &str) -> String {
    let read = |id: &str| {
        format!(
            r#"{{"id": "{id}", "op": "read_csv", "path": "{id}.csv", "header": true,
                "partitions": 3}}"#
        )
    };
    format!(
        r#"{{"dag": {{"nodes": [{}, {}, {nodes}], "edges": [{edges}]}}}}"#,
        read("a"),
        read("b")
    )
}

/// The result of `last` with every cut.
fn check(place: &Place, document: &str, expected: &[&str]) {
    for sizes in CUTS {
        assert_eq!(place.lines(document, "last", sizes), expected, "{sizes:?}\n{document}");
    }
}

fn two() -> Place {
    Place::new(&[
        ("a.csv", "n,t\n1,x\n1,x\n2,\n,\n,\n3,y\n"),
        ("b.csv", "t,n\nx,1\n,2.5\n,\nz,3\n"),
    ])
}

#[test]
fn a_union_widens_and_meets_by_name() {
    // As DuckDB's `union all by name`.
    let unite = r#"{"id": "last", "op": "union"}"#;
    let expected = [", ", ", ", ", ", "1, x", "1, x", "1, x", "2, ", "2.5, ", "3, y", "3, z"];
    check(&two(), &over(unite, r#"["a", "last"], ["b", "last"]"#), &expected);
}

#[test]
fn intersect_and_except_are_sets_in_which_nulls_are_alike() {
    // As DuckDB's, over the columns cast to one type.
    let edges = r#"["a", "last"], ["b", "last"]"#;
    check(&two(), &over(r#"{"id": "last", "op": "intersect"}"#, edges), &[", ", "1, x"]);
    check(&two(), &over(r#"{"id": "last", "op": "except"}"#, edges), &["2, ", "3, y"]);
    let again = r#"["a", "last"], ["b", "last"], ["a", "last"]"#;
    check(&two(), &over(r#"{"id": "last", "op": "except"}"#, again), &[]);
    check(&two(), &over(r#"{"id": "last", "op": "intersect"}"#, again), &[", ", "1, x"]);
}

#[test]
fn parts_of_rows_and_columns_become_rows() {
    let place = Place::new(&[("a.csv", "id,p,q\n1,x y,1\n2,,2\n"), ("b.csv", "z\n0\n")]);
    let document = over(
        r#"{"id": "s", "op": "flat_map", "fn": "split", "column": "p", "by": " ", "as": "w", "outer": true},
           {"id": "last", "op": "unpivot", "columns": ["id", "q"], "name_as": "c"}"#,
        r#"["a", "s"], ["s", "last"]"#,
    );
    let expected = [", id, 2", ", q, 2", "x, id, 1", "x, q, 1", "y, id, 1", "y, q, 1"];
    check(&place, &document, &expected);
}

#[test]
fn a_sample_is_the_same_rows_for_one_seed_and_about_as_many_as_asked() {
    let numbers: Vec<String> = (0..4000).map(|n| n.to_string()).collect();
    let place =
        Place::new(&[("a.csv", &format!("n\n{}\n", numbers.join("\n"))), ("b.csv", "z\n0\n")]);
    let sample = |fraction: &str, seed: u32| {
        let node =
            format!(r#"{{"id": "last", "op": "sample", "fraction": {fraction}, "seed": {seed}}}"#);
        let document = over(&node, r#"["a", "last"]"#);
        let found = CUTS.map(|sizes| place.lines(&document, "last", sizes));
        assert!(found.iter().all(|other| *other == found[0]));
        found[0].clone()
    };
    assert_eq!(sample("1", 3).len(), 4000);
    assert!(sample("0.0", 3).is_empty());
    let (first, second) = (sample("0.25", 1), sample("0.25", 2));
    for found in [&first, &second] {
        assert!((900..1100).contains(&found.len()), "{}", found.len());
    }
    assert_ne!(first, second);
}

#[test]
fn repartitioned_rows_are_the_same_in_as_many_part_files_as_asked() {
    let numbers: Vec<String> = (0..100).map(|n| format!("{n},{}", n % 3)).collect();
    let place =
        Place::new(&[("a.csv", &format!("n,k\n{}\n", numbers.join("\n"))), ("b.csv", "z\n0\n")]);
    for (number, (fields, files)) in [
        (r#""partitions": 7"#, 7),
        (r#""partitions": 1"#, 1),
        (r#""partitions": 5, "key": "k""#, 5),
    ]
    .into_iter()
    .enumerate()
    {
        let nodes = format!(
            r#"{{"id": "r", "op": "repartition", {fields}}},
               {{"id": "last", "op": "write_csv", "path": "parts{number}", "header": false}}"#
        );
        let outcome = place.run(&over(&nodes, r#"["a", "r"], ["r", "last"]"#), Sizes::default());
        assert_eq!(outcome.status, JobStatus::Completed, "{:?}", outcome.error);
        let parts = RealDisk.list(&place.0.path().join(format!("parts{number}"))).unwrap();
        let is_part = |path: &&std::path::PathBuf| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("part-"))
        };
        let parts: Vec<Vec<String>> = parts.iter().filter(is_part).map(|path| read(path)).collect();
        assert_eq!(parts.len(), files);
        let mut all: Vec<&String> = parts.iter().flatten().collect();
        all.sort_by_key(|line| line.split(',').next().unwrap().parse::<u32>().unwrap());
        assert!(all.into_iter().eq(numbers.iter()));
        if files == 7 {
            // Three tasks take turns, each from another bucket on.
            assert!(parts.iter().all(|part| (13..=15).contains(&part.len())), "{parts:?}");
        }
        if files == 5 {
            let keys = |part: &Vec<String>| -> std::collections::BTreeSet<char> {
                part.iter().filter_map(|line| line.chars().last()).collect()
            };
            let of_parts: usize = parts.iter().map(|part| keys(part).len()).sum();
            assert_eq!(of_parts, 3, "a key's rows stay together");
        }
    }
}

#[test]
fn rows_that_are_as_expected_pass_and_are_counted_once() {
    let place = Place::new(&[("a.csv", "n,t\n1,x\n2,y\n,z\n,z\n"), ("b.csv", "z\n0\n")]);
    let expect = r#"{"id": "last", "op": "expect", "rows": {"min": 1, "max": 4},
        "unique": ["n"], "not_null": ["t"], "where": "n is null or n < 3"}"#;
    let document = over(expect, r#"["a", "last"]"#);
    check(&place, &document, &[", z", ", z", "1, x", "2, y"]);
    let outcome = place.run(&document, Sizes::default());
    let node = |id: &str| {
        let index = outcome.view.plan.nodes.iter().position(|node| node.id == id).unwrap();
        let rows = outcome.view.rows.iter().find(|rows| rows.node.index() == index).unwrap();
        (rows.rows_in, rows.rows_out)
    };
    assert_eq!((node("a"), node("last")), ((4, 4), (4, 4)));
}

#[test]
fn rows_of_joins_and_unions_are_counted_once_whatever_the_cut() {
    let place = two();
    let document = over(
        r#"{"id": "u", "op": "union"}, {"id": "j", "op": "join", "key": "t", "how": "left"},
           {"id": "c", "op": "cache"}, {"id": "last", "op": "repartition", "partitions": 5}"#,
        r#"["a", "u"], ["b", "u"], ["u", "j"], ["b", "j"], ["j", "c"], ["c", "last"]"#,
    );
    for sizes in CUTS {
        let outcome = place.run(&document, sizes);
        assert_eq!(outcome.status, JobStatus::Completed, "{:?}", outcome.error);
        let counted = |id: &str| {
            let index = outcome.view.plan.nodes.iter().position(|node| node.id == id).unwrap();
            let rows = outcome.view.rows.iter().find(|rows| rows.node.index() == index).unwrap();
            (rows.rows_in, rows.rows_out)
        };
        // Ten rows on the left and four on the right; `x` has three rows there and one here, `z`
        // one and one, and a null has no partner.
        assert_eq!(counted("u"), (10, 10), "{sizes:?}");
        assert_eq!(counted("j"), (14, 10), "{sizes:?}");
        assert_eq!(counted("c"), (10, 10), "{sizes:?}");
        assert_eq!(counted("last"), (10, 10), "{sizes:?}");
    }
}

#[test]
fn what_is_not_as_expected_fails_the_job_with_the_first_rows() {
    let place = Place::new(&[("a.csv", "n,t\n1,x\n1,\n2,z\n"), ("b.csv", "z\n0\n")]);
    let error = |fields: &str| {
        let expect = format!(r#"{{"id": "last", "op": "expect", {fields}}}"#);
        let (code, message) = place.error(&over(&expect, r#"["a", "last"]"#));
        assert_eq!(code, crate::error::Code::ExpectationFailed);
        message.replace("; `on_fail` of the node can quarantine such rows", "")
    };
    assert_eq!(
        error(r#""not_null": ["n", "t"]"#),
        r#"`last` expects not_null: t; it found {"n":1,"t":null}"#
    );
    assert_eq!(
        error(r#""where": "n < 2""#),
        r#"`last` expects where: n < 2; it found {"n":2,"t":"z"}"#
    );
    assert_eq!(error(r#""unique": "n""#), r#"`last` expects unique: n; it found {"n":1,"rows":2}"#);
    assert_eq!(error(r#""rows": 4"#), r#"`last` expects rows: 4; it found {"rows":3}"#);
    assert_eq!(
        error(r#""rows": {"max": 2}"#),
        r#"`last` expects rows: 0 to 2; it found {"rows":3}"#
    );
}

#[test]
fn rows_that_are_not_as_expected_may_be_put_aside_and_add_up() {
    let place = Place::new(&[("a.csv", "n,t\n1,x\n1,\n2,z\n,y\n5,\n"), ("b.csv", "z\n0\n")]);
    let expect = r#"{"id": "last", "op": "expect", "not_null": ["n", "t"], "where": "n < 2",
        "on_fail": "quarantine"}"#;
    let document = over(expect, r#"["a", "last"]"#);
    check(&place, &document, &["1, x"]);
    for sizes in CUTS {
        let outcome = place.run(&document, sizes);
        let index = outcome.view.plan.nodes.iter().position(|node| node.id == "last").unwrap();
        let rows = outcome.view.rows.iter().find(|rows| rows.node.index() == index).unwrap();
        assert_eq!((rows.rows_in, rows.rows_out, rows.quarantined), (5, 1, 4));
        let folder = place.0.path().join("out").join(format!("{}_bad", outcome.job));
        let mut lines = read(&folder.join("last-00000.jsonl"));
        lines.sort();
        let found = lines.iter().map(|line| {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            format!("{} {}", row["reason"].as_str().unwrap(), row["raw"].as_str().unwrap())
        });
        let mut found: Vec<_> = found.collect();
        found.sort();
        // Each by the first check that it offends.
        let expected = [
            r#"not_null: n {"n":null,"t":"y"}"#,
            r#"not_null: t {"n":1,"t":null}"#,
            r#"not_null: t {"n":5,"t":null}"#,
            r#"where: n < 2 {"n":2,"t":"z"}"#,
        ];
        assert_eq!(found, expected);
    }
}

#[test]
fn an_expectation_that_fails_keeps_every_result_from_appearing() {
    let place = Place::new(&[("a.csv", "n,t\n1,x\n"), ("b.csv", "z\n0\n")]);
    // The writer reads the rows before the check, which stands on another branch.
    let document = over(
        r#"{"id": "w", "op": "write_csv", "path": "parts"},
           {"id": "last", "op": "expect", "rows": 2}"#,
        r#"["a", "w"], ["a", "last"]"#,
    );
    let outcome = place.run(&document, Sizes::default());
    assert_eq!(outcome.status, JobStatus::Failed);
    assert!(outcome.sinks.is_empty());
    assert!(!place.0.path().join("parts").exists());
}

#[test]
fn a_missing_row_is_counted_too() {
    let place = Place::new(&[("a.csv", "n,t\n1,x\n"), ("b.csv", "z\n0\n")]);
    let document = over(
        r#"{"id": "f", "op": "filter", "where": "n > 1"},
           {"id": "last", "op": "expect", "rows": {"min": 1}}"#,
        r#"["a", "f"], ["f", "last"]"#,
    );
    let (code, message) = place.error(&document);
    assert_eq!(code, crate::error::Code::ExpectationFailed);
    assert_eq!(message, r#"`last` expects rows: at least 1; it found {"rows":0}"#);
}

#[test]
fn not_in_knows_all_of_the_right_side_however_it_is_cut() {
    let place = Place::new(&[("a.csv", "n\n1\n2\n\n3\n"), ("b.csv", "n\n1\n\n4\n1\n")]);
    let run = |filter: &str, sizes| {
        let document = over(
            &format!(
                r#"{{"id": "f", "op": "filter", "where": "{filter}"}},
                   {{"id": "last", "op": "join", "key": "n", "how": "anti"}}"#
            ),
            r#"["b", "f"], ["a", "last"], ["f", "last"]"#,
        );
        let session = place.session(sizes);
        let mut checked = session.check(&document, true).unwrap();
        for node in &mut checked.plan.nodes {
            if let Op::Join { how, .. } = &mut node.op {
                *how = JoinKind::Anti { null_aware: true };
            }
        }
        let outcome = session.run(checked, &CancelFlag::default(), &mut |_| {}).unwrap();
        assert_eq!(outcome.status, JobStatus::Completed, "{:?}", outcome.error);
        let mut lines = read(&outcome.sinks[0].path);
        lines.sort();
        lines
    };
    for sizes in CUTS {
        // A null on the right could be anything; without it 1 is in and a null could be; in nothing
        // there is not even a null.
        assert!(run("true", sizes).is_empty());
        assert_eq!(run("n is not null", sizes), ["2", "3"]);
        assert_eq!(run("n > 9", sizes), ["", "1", "2", "3"]);
    }
}
