//! Documents with windows and sorts, run with several stage cuts, partitions and budgets: always
//! the same bytes, and where they are written down, those of `DuckDB`.

use std::{fmt::Write as _, io::Write as _, path::Path};

use tempfile::TempDir;

use super::{Session, SessionOptions};
use crate::{
    disk::{DataDisks, Disk, RealDisk},
    plan::stages::Sizes,
    schedule::JobStatus,
    task::context::CancelFlag,
};

/// As by default, and into many buckets.
const CUTS: [Sizes; 2] = [
    Sizes {
        bucket_bytes: 32 << 20,
        broadcast_bytes: 32 << 20,
        range_bytes: 256 << 20,
        filter_factor: Some(0),
    },
    Sizes { bucket_bytes: 60, broadcast_bytes: 0, range_bytes: 0, filter_factor: Some(0) },
];

/// The text of the last node's result behind a reader `r` of `in.csv`.
fn run(csv: &str, nodes: &str, edges: &str, partitions: u32, sizes: Sizes, memory: u64) -> String {
    let folder: TempDir = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    RealDisk.create(&path("in.csv")).unwrap().write_all(csv.as_bytes()).unwrap();
    let options = SessionOptions {
        base_dir: folder.path().to_owned(),
        output_dir: path("out"),
        scratch_dir: path("scratch"),
        threads: 2,
        memory_bytes: memory,
        data: DataDisks::everywhere(),
    };
    let document = format!(
        r#"{{"dag": {{"nodes": [{{"id": "r", "op": "read_csv", "path": "in.csv", "header": true,
            "partitions": {partitions}}}, {nodes}], "edges": {edges}}}}}"#
    );
    let session = Session::new(options).unwrap().with_sizes(sizes);
    let checked = session.check(&document, true);
    let checked = checked.unwrap_or_else(|problems| panic!("{problems:#?}\n{document}"));
    let outcome = session.run(checked, &CancelFlag::default(), &mut |_| {}).unwrap();
    assert_eq!(outcome.status, JobStatus::Completed, "{:?}\n{document}", outcome.error);
    read(&outcome.sinks[0].path)
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

/// The result with every cut and number of partitions, which is one.
fn in_every_way(csv: &str, nodes: &str, edges: &str) -> String {
    let mut first = None;
    for sizes in CUTS {
        for partitions in [1, 4, 16] {
            for memory in [1 << 28, 4 << 20] {
                let found = run(csv, nodes, edges, partitions, sizes, memory);
                let expected = first.get_or_insert_with(|| found.clone());
                assert_eq!(*expected, found, "{sizes:?} {partitions} {memory}");
            }
        }
    }
    first.unwrap_or_default()
}

const SALES: &str = "region,day,amount,who\n\
    north,2024-01-03,10,ann\nsouth,2024-01-01,5,bob\nnorth,2024-01-01,20,cat\n\
    ,2024-01-02,7,dan\nsouth,2024-01-01,8,eve\nnorth,2024-01-03,,fay\n\
    south,2024-02-01,1,gus\n,2024-01-01,4,hal\nnorth,2024-02-02,30,ida\n";

#[test]
fn ranks_and_running_sums_are_those_of_duckdb() {
    let window = r#"{"id": "w", "op": "window", "partition_by": "region", "order_by": "day",
        "with": {"i": "row_number()", "rank": "rank()", "dense": "dense_rank()", "sum": "sum(amount)",
                 "before": "lag(amount, 1, 0)", "next": "lead(who)", "part": "cume_dist()"}}"#;
    assert_eq!(in_every_way(SALES, window, r#"[["r", "w"]]"#), RANKS);
}

#[test]
fn framed_functions_are_those_of_duckdb_and_a_filter_behind_them_keeps_the_order() {
    let nodes = r#"{"id": "w", "op": "window", "partition_by": ["region"], "order_by": ["day desc"],
        "frame": "range between interval 2 day preceding and interval 1 month following",
        "with": {"n": "count(*)", "avg": "avg(amount)", "most": "max(who)", "median": "median(amount)",
                 "day": "last_value(day)"}},
        {"id": "f", "op": "filter", "where": "amount is not null"},
        {"id": "m", "op": "map", "select": {"who": "who", "n": "n", "avg": "avg", "most": "most",
                                            "median": "median", "day": "day"}}"#;
    assert_eq!(in_every_way(SALES, nodes, r#"[["r", "w"], ["w", "f"], ["f", "m"]]"#), FRAMES);
}

#[test]
fn rows_without_an_order_are_ranked_by_all_columns_among_ties() {
    let nodes = r#"{"id": "a", "op": "reduce_by_key", "key": ["region", "day"],
                    "aggs": {"total": "sum(amount)"}},
        {"id": "w", "op": "window", "partition_by": "region", "order_by": "total is null",
         "with": {"i": "row_number()", "all": "sum(total)"}}"#;
    assert_eq!(in_every_way(SALES, nodes, r#"[["r", "a"], ["a", "w"]]"#), UNORDERED);
}

#[test]
fn a_sort_by_expressions_keeps_ties_as_they_came() {
    let sort = r#"{"id": "s", "op": "sort",
        "by": ["region = 'north' desc nulls first", "length(who) + case when amount is null then 0 else amount end % 2 desc"]}"#;
    assert_eq!(in_every_way(SALES, sort, r#"[["r", "s"]]"#), SORTED);
}

/// Numbers in no order, some of them equal, in some hundred partitions.
fn many() -> String {
    let mut csv = String::from("g,n,x\n");
    for i in 0_u32..6_000 {
        let mixed = u64::from(i).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        let (group, number) = (mixed % 97, mixed % 13);
        writeln!(csv, "g{group},{number},{}", f64::from(i) / 7.0).unwrap();
    }
    csv
}

#[test]
fn what_follows_windows_sees_the_same_order_whatever_the_buckets() {
    let nodes = r#"{"id": "w", "op": "window", "partition_by": "g", "order_by": ["n desc"],
                    "with": {"i": "row_number()", "s": "sum(x)", "p": "percent_rank()"}},
        {"id": "v", "op": "window", "partition_by": "i % 5", "order_by": "n",
         "frame": "rows between 3 preceding and 1 following",
         "with": {"j": "row_number()", "t": "sum(s)", "u": "string_agg(g, '')"}},
        {"id": "m", "op": "map", "select": {"x": "x", "i": "i", "j": "j", "t": "t", "u": "u"}},
        {"id": "l", "op": "limit", "n": 900, "offset": 10}"#;
    let edges = r#"[["r", "w"], ["w", "v"], ["v", "m"], ["m", "l"]]"#;
    assert_eq!(in_every_way(&many(), nodes, edges).lines().count(), 900);
}

#[test]
fn the_first_of_groups_behind_a_window_is_the_first_in_its_order() {
    let nodes = r#"{"id": "w", "op": "window", "partition_by": "g", "order_by": ["n", "x desc"],
                    "with": {"i": "row_number()"}},
        {"id": "a", "op": "reduce_by_key", "key": "n", "aggs": {"first": "first(x)", "all": "count(*)"}}"#;
    let found = in_every_way(&many(), nodes, r#"[["r", "w"], ["w", "a"]]"#);
    assert_eq!(found.lines().count(), 13);
}

const RANKS: &str = "\
    north, 2024-01-01, 20, cat, 1, 1, 1, 20, 0, ann, 0.25\n\
    north, 2024-01-03, 10, ann, 2, 2, 2, 30, 20, fay, 0.75\n\
    north, 2024-01-03, , fay, 3, 2, 2, 30, 10, ida, 0.75\n\
    north, 2024-02-02, 30, ida, 4, 4, 3, 60, , , 1\n\
    south, 2024-01-01, 5, bob, 1, 1, 1, 13, 0, eve, 0.6666666666666666\n\
    south, 2024-01-01, 8, eve, 2, 1, 1, 13, 5, gus, 0.6666666666666666\n\
    south, 2024-02-01, 1, gus, 3, 3, 2, 14, 8, , 1\n\
    , 2024-01-01, 4, hal, 1, 1, 1, 4, 0, dan, 0.5\n\
    , 2024-01-02, 7, dan, 2, 2, 2, 11, 4, , 1\n\
";

const FRAMES: &str = "\
    ida, 3, 20, ida, 20, 2024-01-03\n\
    ann, 3, 15, fay, 15, 2024-01-01\n\
    cat, 3, 15, fay, 15, 2024-01-01\n\
    gus, 3, 4.666666666666667, gus, 5, 2024-01-01\n\
    bob, 2, 6.5, eve, 6.5, 2024-01-01\n\
    eve, 2, 6.5, eve, 6.5, 2024-01-01\n\
    dan, 2, 5.5, hal, 5.5, 2024-01-01\n\
    hal, 2, 5.5, hal, 5.5, 2024-01-01\n\
";

const UNORDERED: &str = "\
    north, 2024-01-01, 20, 1, 60\n\
    north, 2024-01-03, 10, 2, 60\n\
    north, 2024-02-02, 30, 3, 60\n\
    south, 2024-01-01, 13, 1, 14\n\
    south, 2024-02-01, 1, 2, 14\n\
    , 2024-01-01, 4, 1, 11\n\
    , 2024-01-02, 7, 2, 11\n\
";

const SORTED: &str = "\
    , 2024-01-02, 7, dan\n\
    , 2024-01-01, 4, hal\n\
    north, 2024-01-03, 10, ann\n\
    north, 2024-01-01, 20, cat\n\
    north, 2024-01-03, , fay\n\
    north, 2024-02-02, 30, ida\n\
    south, 2024-01-01, 5, bob\n\
    south, 2024-02-01, 1, gus\n\
    south, 2024-01-01, 8, eve\n\
";
