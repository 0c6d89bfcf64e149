//! Sorts by ranges of keys: always the sequence of a stable sort, and the bytes of one that merges.

use std::{collections::BTreeMap, fmt::Write as _, io::Write as _};

use proptest::prelude::*;
use tempfile::TempDir;

use super::{Outcome, Session, SessionOptions};
use crate::{
    disk::{DataDisks, Disk, RealDisk},
    expr::SortKey,
    operators::sort::tests::{Row, compare_rows, sort_keys},
    plan::{Distribution, Output, stages::Sizes},
    schedule::JobStatus,
    task::context::CancelFlag,
};

/// How a job is run.
#[derive(Clone, Copy, Debug)]
struct Way {
    partitions: u32,
    threads: usize,
    memory_bytes: u64,
    /// Into how many ranges at least; none without.
    ranges: Option<u64>,
}

/// A job that has run, with its files.
struct Ran {
    outcome: Outcome,
    _folder: TempDir,
}

impl Ran {
    /// The files of a result one after another.
    fn text(&self, sink: &str) -> String {
        let published = self.outcome.sinks.iter().find(|published| published.sink == sink).unwrap();
        let read = |path: &std::path::Path| std::fs::read_to_string(path).unwrap();
        if published.path.is_file() {
            return read(&published.path);
        }
        published.files.iter().map(|file| read(&file.path)).collect()
    }

    /// A column of a JSON Lines result.
    fn numbers(&self, sink: &str, column: &str) -> Vec<i64> {
        let number = |line: &str| {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            row[column].as_i64().unwrap()
        };
        self.text(sink).lines().map(number).collect()
    }

    /// How many stages scatter by ranges.
    fn range_count(&self) -> usize {
        let is_range =
            |output: &Output| matches!(output, Output::Exchange(Distribution::Range { .. }));
        self.outcome.view.plan.stages.iter().filter(|stage| is_range(&stage.output)).count()
    }

    /// Rows in and out of each node, by its id.
    fn rows(&self) -> BTreeMap<String, (u64, u64)> {
        let view = &self.outcome.view;
        let of_node = |(node, rows): (&crate::plan::Node, &crate::task::NodeRows)| {
            (node.id.clone(), (rows.rows_in, rows.rows_out))
        };
        view.plan.nodes.iter().zip(&view.rows).map(of_node).collect()
    }
}

/// Runs nodes behind a reader `r` of the rows, whose last column is their number.
fn run(rows: &[Row], nodes: &str, edges: &str, way: Way) -> Ran {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let csv = csv(rows);
    RealDisk.create(&path("in.csv")).unwrap().write_all(csv.as_bytes()).unwrap();
    let document = format!(
        r#"{{"dag": {{"nodes": [
            {{"id": "r", "op": "read_csv", "path": "in.csv", "header": true,
              "partitions": {}, "columns": {{"i": "int64", "f": "float64", "t": "string",
              "b": "bool", "id": "int64"}}}}, {nodes}], "edges": {edges}}}}}"#,
        way.partitions
    );
    let sizes = way.ranges.map_or_else(Sizes::default, |ranges| Sizes {
        // What a distinct gives is estimated as less.
        bucket_bytes: (csv.len() as u64 / ranges / 4).max(1),
        broadcast_bytes: 0,
        range_bytes: 0,
        filter_factor: None,
    });
    let options = SessionOptions {
        base_dir: folder.path().to_owned(),
        output_dir: path("out"),
        scratch_dir: path("scratch"),
        threads: way.threads,
        memory_bytes: way.memory_bytes,
        data: DataDisks::everywhere(),
    };
    let session = Session::new(options).unwrap().with_sizes(sizes);
    let checked = session.check(&document, true);
    let checked = checked.unwrap_or_else(|problems| panic!("{problems:#?}\n{document}"));
    let outcome = session.run(checked, &CancelFlag::default(), &mut |_| {}).unwrap();
    assert_eq!(outcome.status, JobStatus::Completed, "{:?}\n{document}", outcome.error);
    Ran { outcome, _folder: folder }
}

fn csv(rows: &[Row]) -> String {
    let cell = |value: Option<String>| value.unwrap_or_default();
    let mut csv = String::from("i,f,t,b,id\n");
    for (id, (i, f, t, b)) in rows.iter().enumerate() {
        let float = f.map(|f| format!("{f:?}"));
        let text = t.as_ref().map(|t| format!("\"{t}\""));
        let (i, b) = (i.map(|i| i.to_string()), b.map(|b| b.to_string()));
        writeln!(csv, "{},{},{},{},{id}", cell(i), cell(float), cell(text), cell(b)).unwrap();
    }
    csv
}

/// Keys as a document says them.
fn by(keys: &[SortKey]) -> String {
    let key = |key: &SortKey| {
        let direction = if key.descending { "desc" } else { "asc" };
        let nulls = if key.nulls_first { "first" } else { "last" };
        format!("\"{} {direction} nulls {nulls}\"", ["i", "f", "t", "b"][key.column])
    };
    keys.iter().map(key).collect::<Vec<_>>().join(", ")
}

/// The numbers of the rows in the order of a stable sort.
fn sorted(rows: &[Row], keys: &[SortKey]) -> Vec<i64> {
    let mut numbered: Vec<_> = (0_i64..).zip(rows).collect();
    numbered.sort_by(|a, b| compare_rows(a.1, b.1, keys));
    numbered.into_iter().map(|(id, _)| id).collect()
}

/// A row among many that are equal in their keys.
fn row() -> impl Strategy<Value = Row> {
    let float = prop::sample::select(vec![0.0, -0.0, 1.5, -1.5, 2.5e300, f64::NAN]);
    let any = (
        prop::option::of(prop_oneof![-3_i64..3, Just(i64::MIN), Just(i64::MAX)]),
        prop::option::of(float),
        prop::option::of("[ab]{0,3}"),
        prop::option::of(any::<bool>()),
    );
    prop_oneof![2 => any, 1 => Just((Some(1), Some(1.5), Some(String::from("ab")), None))]
}

fn different_keys() -> impl Strategy<Value = Vec<SortKey>> {
    sort_keys().prop_map(|mut keys| {
        let mut seen = [false; 4];
        keys.retain(|key| !std::mem::replace(&mut seen[key.column], true));
        keys
    })
}

fn way() -> impl Strategy<Value = Way> {
    let memory = prop_oneof![Just(1_u64 << 28), Just(1 << 20)];
    (2_u32..7, 1_usize..4, memory, 2_u64..9).prop_map(
        |(partitions, threads, memory_bytes, ranges)| Way {
            partitions,
            threads,
            memory_bytes,
            ranges: Some(ranges),
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn ranges_one_after_another_are_a_stable_sort(
        rows in prop::collection::vec(row(), 0..120),
        keys in different_keys(),
        way in way(),
    ) {
        let by = by(&keys);
        let nodes = format!(
            r#"{{"id": "s", "op": "sort", "by": [{by}]}},
               {{"id": "q", "op": "sort", "by": [{by}]}},
               {{"id": "w", "op": "write_jsonl", "path": "w"}},
               {{"id": "two", "op": "write_jsonl", "path": "two", "files": 2}},
               {{"id": "n", "op": "window", "with": {{"n": "row_number()"}}}},
               {{"id": "nw", "op": "write_jsonl", "path": "nw"}},
               {{"id": "l", "op": "limit", "n": 20, "offset": 3}},
               {{"id": "lw", "op": "write_jsonl", "path": "lw"}}"#
        );
        let edges = r#"[["r", "s"], ["r", "q"], ["q", "w"], ["q", "two"], ["q", "n"], ["n", "nw"],
            ["q", "l"], ["l", "lw"]]"#;
        let ran = run(&rows, &nodes, edges, way);
        prop_assert_eq!(ran.range_count(), 2);
        let expected = sorted(&rows, &keys);
        prop_assert_eq!(&ran.numbers("w", "id"), &expected);
        prop_assert_eq!(&ran.numbers("two", "id"), &expected);
        prop_assert_eq!(&ran.numbers("nw", "id"), &expected);
        let count = i64::try_from(rows.len()).unwrap();
        prop_assert_eq!(ran.numbers("nw", "n"), (1..=count).collect::<Vec<_>>());
        let page: Vec<_> = expected.into_iter().skip(3).take(20).collect();
        prop_assert_eq!(ran.numbers("lw", "id"), page);

        let merged = run(&rows, &nodes, edges, Way { ranges: None, ..way });
        prop_assert_eq!(merged.range_count(), 0);
        prop_assert_eq!(ran.text("s"), merged.text("s"));
        for node in ["r", "s"] {
            prop_assert_eq!(ran.rows()[node], merged.rows()[node]);
        }
        prop_assert_eq!(ran.rows()["q"].0, rows.len() as u64);
    }

    #[test]
    fn rows_without_an_order_stand_as_all_their_columns_say(
        rows in prop::collection::vec(row(), 1..120),
        descending in any::<bool>(),
        way in way(),
    ) {
        let direction = if descending { "desc" } else { "asc" };
        let nodes = format!(
            r#"{{"id": "m", "op": "map", "select": {{"i": "i", "f": "f", "t": "t", "b": "b"}}}},
               {{"id": "d", "op": "distinct"}},
               {{"id": "s", "op": "sort", "by": ["t {direction}"]}},
               {{"id": "w", "op": "write_csv", "path": "w", "header": false}},
               {{"id": "x", "op": "write_csv", "path": "x", "header": false, "order": "stable"}},
               {{"id": "e", "op": "distinct"}}"#
        );
        let edges = r#"[["r", "m"], ["m", "d"], ["d", "s"], ["s", "w"], ["d", "x"], ["m", "e"]]"#;
        let ran = run(&rows, &nodes, edges, way);
        prop_assert_eq!(ran.range_count(), 3);
        let merged = run(&rows, &nodes, edges, Way { ranges: None, ..way });
        prop_assert_eq!(ran.text("e"), merged.text("e"));
        prop_assert_eq!(ran.text("w"), merged.text("w"));
        prop_assert_eq!(ran.text("x"), merged.text("x"));
        prop_assert_eq!(ran.rows(), merged.rows());
        // The sequence of the texts, which are plain letters.
        let key = |column| SortKey { column, descending: descending && column == 2, nulls_first: false };
        let keys = [2, 0, 1, 3].map(key);
        let mut different = rows;
        different.sort_by(|a, b| compare_rows(a, b, &keys));
        different.dedup_by(|a, b| compare_rows(a, b, &keys).is_eq());
        prop_assert_eq!(ran.text("w").lines().count(), different.len());
        let written = ran.text("w");
        let texts = written.lines().map(|line| {
            let text = line.split(',').nth(2).unwrap();
            text.trim_matches('"').to_owned()
        });
        let expected = different.into_iter().map(|row| row.2.unwrap_or_default());
        prop_assert!(texts.eq(expected), "{}", written);
    }
}

#[test]
fn one_value_in_nine_rows_of_ten_and_sorts_that_spill() {
    let row = |n: i64| {
        // 104729 is prime, so that these are mixed numbers.
        let mixed = n * 104_729 % 20_011;
        let often = mixed % 10 != 0;
        (Some(if often { 5 } else { mixed }), None, Some(format!("{mixed:0>40}")), None)
    };
    let rows: Vec<Row> = (0..20_000).map(row).collect();
    let key = |column, descending| SortKey { column, descending, nulls_first: false };
    let way = Way { partitions: 5, threads: 2, memory_bytes: 1 << 20, ranges: Some(8) };
    for (keys, text) in [(vec![key(0, true)], "i desc"), (vec![key(2, false)], "t")] {
        let nodes = format!(
            r#"{{"id": "s", "op": "sort", "by": "{text}"}},
               {{"id": "w", "op": "write_jsonl", "path": "w"}}"#
        );
        let ran = run(&rows, &nodes, r#"[["r", "s"], ["s", "w"]]"#, way);
        assert_eq!(ran.range_count(), 1);
        assert_eq!(ran.numbers("w", "id"), sorted(&rows, &keys));
        let parts: Vec<_> = ran.outcome.sinks[0].files.iter().map(|file| file.rows).collect();
        assert!(parts.len() > 1, "{parts:?}");
        if keys[0].column == 2 {
            // All texts differ: no part has twice its share.
            assert!(parts.iter().all(|part_rows| *part_rows < 5_000), "{parts:?}");
        }
    }
}
