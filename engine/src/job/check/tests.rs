//! Documents and what is said about them; and the nodes that forms become.

use std::{fs, path::Path};

use arrow::datatypes::DataType;
use proptest::prelude::*;
use tempfile::TempDir;

use super::{Checked, ProblemCode, Site, check, is_helper};
use crate::{
    disk::DataDisks,
    expr::{AggregateFunction, Expr, SortKey, function::Function, parse::type_name},
    formats::{Format, WriteFormat, intake::Intake},
    plan::{JoinColumn, JoinKind, Node, Op, Order},
};

mod ordered;
mod relational;

const SEED: &str = r#"{"name":"wordcount-batch","dag":{"nodes":[{"id":"read","op":"read_csv","path":"data/books.csv","partitions":4},{"id":"flat","op":"flat_map","fn":"tokenize"},{"id":"map1","op":"map","fn":"to_lower"},{"id":"agg","op":"reduce_by_key","key":"token","fn":"sum"}],"edges":[["read","flat"],["flat","map1"],["map1","agg"]]},"parallelism":4}"#;

/// A place with a few files.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap() };
        for (path, text) in [
            ("data/books.csv", "a b\n"),
            ("data/users.csv", "1,Ana\n"),
            ("data/b.txt", "b\n"),
            ("data/a.txt", "a\n"),
            ("data/_hidden.txt", "x\n"),
            ("data/.dot.txt", "x\n"),
            ("data/deep/er/c.txt", "c\n"),
        ] {
            place.write(path, text);
        }
        fs::create_dir(place.folder.path().join("empty")).unwrap();
        place
    }

    #[expect(clippy::disallowed_methods, reason = "a test makes its own files")]
    fn write(&self, path: &str, text: &str) {
        let path = self.folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn site(&self) -> Site {
        let base_dir = Some(self.folder.path().to_path_buf());
        Site { data: DataDisks::everywhere(), base_dir, now_micros: 0 }
    }

    /// The problems of a document, one a line.
    fn problems(&self, document: &str) -> Vec<String> {
        match check(document, false, &self.site()) {
            Ok(_) => Vec::new(),
            Err(problems) => problems
                .into_iter()
                .map(|problem| {
                    let code = serde_json::to_value(problem.code).unwrap();
                    let suggestion = problem.suggestion.map(|name| format!(" ({name}?)"));
                    format!(
                        "{} {}: {}{}",
                        problem.pointer,
                        code.as_str().unwrap(),
                        problem.message,
                        suggestion.unwrap_or_default()
                    )
                })
                .collect(),
        }
    }

    fn checked(&self, document: &str) -> Checked {
        check(document, false, &self.site()).unwrap_or_else(|problems| panic!("{problems:#?}"))
    }

    /// The nodes of a chain that begins with a table.
    fn chain(&self, nodes: &[&str]) -> Vec<Node> {
        self.checked(&chain(nodes)).plan.nodes
    }
}

/// A table of three columns: city string, n int64, price float64.
const TABLE: &str = r#"{"id":"t","op":"read_csv","path":"data/users.csv","columns":{"city":"string","n":"int64","price":"float64"}}"#;

/// A document of nodes, each reading the one before.
fn chain(nodes: &[&str]) -> String {
    let ids: Vec<String> = nodes
        .iter()
        .map(|node| {
            let node: serde_json::Value = serde_json::from_str(node).unwrap();
            String::from(node["id"].as_str().unwrap_or("?"))
        })
        .collect();
    let edges: Vec<_> =
        ids.windows(2).map(|ends| format!(r#"["{}","{}"]"#, ends[0], ends[1])).collect();
    format!(r#"{{"dag":{{"nodes":[{}],"edges":[{}]}}}}"#, nodes.join(","), edges.join(","))
}

/// `name type` of each column.
fn columns(node: &Node) -> Vec<String> {
    let column = |field: &std::sync::Arc<arrow::datatypes::Field>| {
        format!("{} {}", field.name(), type_name(field.data_type()))
    };
    node.schema.fields().iter().map(column).collect()
}

#[test]
fn the_seed_job_binds() {
    let checked = Place::new().checked(SEED);
    let plan = &checked.plan;
    assert_eq!((plan.name.as_str(), plan.parallelism), ("wordcount-batch", Some(4)));
    assert!(checked.warnings.is_empty() && plan.stages.is_empty());
    let ids: Vec<_> = plan.nodes.iter().map(|node| node.id.as_str()).collect();
    assert_eq!(ids, ["read", "flat", "map1", "agg"]);
    let Op::Read(read) = &plan.nodes[0].op else { panic!("{:?}", plan.nodes[0]) };
    assert_eq!(
        (&read.format, read.partitions, read.files[0].size_bytes),
        (&Format::Text(Intake::default()), Some(4), 4)
    );
    assert_eq!(columns(&plan.nodes[0]), ["line string"]);
    assert!(matches!(&plan.nodes[1].op, Op::Tokenize { columns } if columns == &[0]));
    assert_eq!(columns(&plan.nodes[2]), ["token string"]);
    assert_eq!(columns(&plan.nodes[3]), ["token string", "value int64"]);
    let Op::Reduce { keys, aggregates } = &plan.nodes[3].op else { panic!("{:?}", plan.nodes[3]) };
    assert!(matches!(&keys[..], [Expr::Column { index: 0, .. }]));
    assert_eq!(
        (aggregates[0].function, aggregates[0].arguments.len()),
        (AggregateFunction::Count, 0)
    );
    let orders: Vec<_> = plan.nodes.iter().map(|node| node.order.clone()).collect();
    assert_eq!(orders, [Order::Source, Order::Source, Order::Source, Order::None]);
}

#[test]
fn a_plan_goes_over_the_wire_and_back() {
    let plan = Place::new().checked(SEED).plan;
    let text = serde_json::to_string(&plan).unwrap();
    let back: crate::plan::Plan = serde_json::from_str(&text).unwrap();
    assert_eq!(serde_json::to_string(&back).unwrap(), text);
}

#[test]
fn bad_documents_are_told_all_their_problems() {
    let place = Place::new();
    let node = |node: &str| format!(r#"{{"dag":{{"nodes":[{node}]}}}}"#);
    let read = r#"{"id":"r","op":"read_text","path":"data/a.txt"}"#;
    let table: Vec<(String, &[&str])> = vec![
        (
            String::from("{"),
            &[" NOT_JSON: not JSON: the document ends within an object at line 1, column 1"],
        ),
        (String::from("null"), &[" WRONG_TYPE: expected an object, found null"]),
        (String::from("[]"), &[" WRONG_TYPE: expected an object, found an array"]),
        (String::from("{}"), &["/dag MISSING_FIELD: `dag` is missing"]),
        (String::from(r#"{"dag":{}}"#), &["/dag/nodes EMPTY_DAG: a dag has at least one node"]),
        (
            String::from(r#"{"dag":{"nodes":[]}}"#),
            &["/dag/nodes EMPTY_DAG: a dag has at least one node"],
        ),
        (
            String::from(
                r#"{"name":1,"parallelism":0,"params":[],"inputs":[],"dag":{"nodes":{},"edges":7}}"#,
            ),
            &[
                "/dag/edges WRONG_TYPE: expected an array, found a number",
                "/dag/nodes WRONG_TYPE: expected an array, found an object",
                "/inputs NOT_SUPPORTED: `inputs` of older job files is not supported: edges say what a node reads",
                "/name WRONG_TYPE: expected a string, found a number",
                "/parallelism OUT_OF_RANGE: expected a whole number from 1 to 4096, found 0",
                "/params WRONG_TYPE: expected an object, found an array",
            ],
        ),
        (
            node(
                r#"7,{"op":"read_text","path":"data/a.txt"},{"id":"a b","op":"read_text","path":"data/a.txt","path":"data/b.txt"},{"id":"x"},{"id":"x","op":"read_cvs"}"#,
            ),
            &[
                "/dag/nodes/0 WRONG_TYPE: expected an object, found a number",
                "/dag/nodes/1/id MISSING_FIELD: `id` is missing",
                "/dag/nodes/2/id BAD_ID: an id has 1 to 64 characters of A-Z a-z 0-9 _ -",
                "/dag/nodes/2/path DUPLICATE_FIELD: `path` stands twice",
                "/dag/nodes/3/op MISSING_FIELD: `op` is missing",
                "/dag/nodes/4/id DUPLICATE_ID: node 3 has the id `x` already",
                "/dag/nodes/4/op UNKNOWN_OPERATOR: no operator `read_cvs`; there are read_csv, read_jsonl, read_text, read_parquet, read_arrow, map, filter, flat_map, reduce_by_key, aggregate, distinct, pivot, join, union, intersect, except, top_k, sample, repartition, cache, unpivot, expect, sort, window, limit, sql, write_csv, write_jsonl, write_text, write_parquet, write_arrow (read_csv?)",
            ],
        ),
        (
            format!(
                r#"{{"dag":{{"nodes":[{read},{{"id":"a","op":"map","fn":"identity"}},{{"id":"b","op":"map","fn":"identity"}}],"edges":[["r","a"],["a","b"],["x","b"],["b","a"],["a","a"],["a"],[1,2]]}}}}"#
            ),
            &[
                "/dag/edges/2/0 UNKNOWN_NODE: no node `x`",
                "/dag/edges/3 CYCLE: closes a cycle a -> b -> a",
                "/dag/edges/4 CYCLE: closes a cycle a -> a",
                "/dag/edges/5 WRONG_TYPE: expected an array of two node ids, [from, to]",
                "/dag/edges/6 WRONG_TYPE: expected an array of two node ids, [from, to]",
            ],
        ),
        (
            format!(
                r#"{{"dag":{{"nodes":[{read},{{"id":"j","op":"join"}},{{"id":"m","op":"map","fn":"identity"}},{{"id":"w","op":"write_jsonl","path":"out"}},{{"id":"s","op":"sort","by":"line"}}],"edges":[["r","j"],["r","w"],["w","s"]]}}}}"#
            ),
            &[
                "/dag/nodes/1 WRONG_ARITY: `join` takes 2 inputs, and has 1",
                "/dag/nodes/2 WRONG_ARITY: `map` takes 1 input, and has 0",
                "/dag/nodes/3 WRONG_ARITY: `write_jsonl` has no outputs, and an edge begins at it",
            ],
        ),
        (
            node(
                r#"{"id":"a","op":"read_csv","path":"data/nope.csv"},{"id":"b","op":"read_text","path":"data/*.parquet"},{"id":"c","op":"read_text","path":"empty"},{"id":"d","op":"read_text"},{"id":"e","op":"read_text","path":["s3://x/y","-",""]},{"id":"f","op":"read_text","path":7,"partitions":5000},{"id":"g","op":"read_csv","path":"data/a.txt","delimiter":"ab","quote":"'","header":"yes","columns":{"a":"strng","b":7}}"#,
            ),
            &[
                "/dag/nodes/0/path INPUT_NOT_FOUND: input `data/nope.csv` is not there",
                "/dag/nodes/1/path INPUT_NOT_FOUND: no file fits `data/*.parquet`",
                "/dag/nodes/2/path INPUT_NOT_FOUND: no file in the folder `empty`",
                "/dag/nodes/3/path MISSING_FIELD: `path` is missing",
                "/dag/nodes/4/path/0 NOT_SUPPORTED: `s3://x/y` is a URL, and no object store is set up here",
                "/dag/nodes/4/path/1 NOT_SUPPORTED: `-` is not supported yet",
                "/dag/nodes/4/path/2 BAD_PATH: a path is not empty",
                "/dag/nodes/5/partitions OUT_OF_RANGE: expected a whole number from 1 to 4096, found 5000",
                "/dag/nodes/5/path WRONG_TYPE: expected a string or an array of at least one, found a number",
                "/dag/nodes/6/columns/a UNKNOWN_TYPE: no type `strng`; there are bool, int8, int16, int32, int64, uint8, uint16, uint32, uint64, float32, float64, decimal(p,s), string, binary, date, time, timestamp, timestamp_tz, duration, interval, list<t>, struct<name t, ...> (string?)",
                "/dag/nodes/6/columns/b WRONG_TYPE: expected a string, found a number",
                "/dag/nodes/6/delimiter BAD_VALUE: expected one ASCII character, and no quote or line break",
                "/dag/nodes/6/header WRONG_TYPE: expected true or false, found a string",
            ],
        ),
        (
            chain(&[
                read,
                r#"{"id":"a","op":"flat_map","fn":"tokenise"}"#,
                r#"{"id":"b","op":"map","fn":"long_words","partitions":4}"#,
                r#"{"id":"c","op":"map","fn":"zzz"}"#,
                r#"{"id":"d","op":"window"}"#,
            ]),
            &[
                "/dag/nodes/1/fn UNKNOWN_FUNCTION: no function `tokenise` (tokenize?)",
                "/dag/nodes/2/fn UNKNOWN_FUNCTION: `long_words` is no function of map, but of filter",
                "/dag/nodes/2/partitions NOT_APPLICABLE: `partitions` does not apply to map, which has fn, select, with, drop, rename",
                "/dag/nodes/3/fn UNKNOWN_FUNCTION: no function `zzz`; map takes to_lower, to_json, identity, sleep_10s",
                "/dag/nodes/4/with MISSING_FIELD: `with` is missing",
            ],
        ),
        (
            chain(&[
                TABLE,
                r#"{"id":"m","op":"map","select":{"x":"n + pricee","y":"city + 1","z":"lowr(city)","w":"n +"}}"#,
                r#"{"id":"f","op":"filter","where":"n >"}"#,
            ]),
            &[
                "/dag/nodes/1/select/w BAD_EXPRESSION: expected an expression, found the end (at byte 3)",
                "/dag/nodes/1/select/x UNKNOWN_COLUMN: no column `pricee`; there are city, n, price (at byte 4) (price?)",
                "/dag/nodes/1/select/y TYPE_MISMATCH: `+` does not take string and int64",
                "/dag/nodes/1/select/z UNKNOWN_FUNCTION: no function `lowr`; docs/functions.md lists those that there are (lower?)",
                "/dag/nodes/2/where BAD_EXPRESSION: expected an expression, found the end (at byte 3)",
            ],
        ),
        (
            chain(&[TABLE, r#"{"id":"m","op":"map"}"#]),
            &["/dag/nodes/1 MISSING_FIELD: one of `fn`, `select`, `with` is missing"],
        ),
        (
            chain(&[TABLE, r#"{"id":"m","op":"map","fn":"identity","with":{"a":"1"}}"#]),
            &["/dag/nodes/1/with CONFLICTING_FIELDS: only one of `fn` and `with` may stand"],
        ),
        (
            chain(&[TABLE, r#"{"id":"f","op":"filter","where":"n"}"#]),
            &["/dag/nodes/1/where TYPE_MISMATCH: a condition must be bool, not int64"],
        ),
        (
            chain(&[TABLE, r#"{"id":"a","op":"reduce_by_key","key":"city","fn":"sum"}"#]),
            &[
                "/dag/nodes/1/fn AMBIGUOUS_COLUMN: `fn` reduces the only column beside the key, and the input has city string, n int64, price float64; say `aggs`",
            ],
        ),
        (
            chain(&[TABLE, r#"{"id":"a","op":"reduce_by_key","fn":"sum"}"#]),
            &[
                "/dag/nodes/1/key MISSING_FIELD: `key` is missing; without it a single string column is reduced, and the input has city string, n int64, price float64",
            ],
        ),
        (
            chain(&[
                TABLE,
                r#"{"id":"a","op":"reduce_by_key","key":["city","nn"],"aggs":{"city":"sum(city)","m":"medan(n)","c":"count(*)"}}"#,
            ]),
            &[
                "/dag/nodes/1/aggs/city TYPE_MISMATCH: `sum` wants a number or a duration, not string",
                "/dag/nodes/1/aggs/m UNKNOWN_FUNCTION: no aggregate `medan`; there are sum, count, count_distinct, count_if, min, max, avg, approx_count_distinct, min_by, max_by, first, last, any_value, stddev, stddev_pop, variance, var_pop, covar_samp, covar_pop, corr, regr_slope, regr_intercept, regr_r2, skewness, kurtosis, median, quantile_cont, quantile_disc, approx_quantile, mode, every, any, bit_and, bit_or, bit_xor, product, string_agg, array_agg (median?)",
                "/dag/nodes/1/key/1 UNKNOWN_COLUMN: no column `nn`; there are city, n, price (n?)",
            ],
        ),
        (
            chain(&[
                TABLE,
                r#"{"id":"a","op":"reduce_by_key","key":"city","aggs":{"city":"count(*)"}}"#,
            ]),
            &["/dag/nodes/1/aggs DUPLICATE_COLUMN: two columns would be named `city`"],
        ),
        (
            chain(&[read, r#"{"id":"a","op":"reduce_by_key","key":"k","fn":"max"}"#]),
            &[
                "/dag/nodes/1/fn TYPE_MISMATCH: there is no column beside the key; `sum` and `count` count the rows",
            ],
        ),
        (
            chain(&[
                TABLE,
                r#"{"id":"s","op":"sort","by":["n desc","nope","n","n + 1"]}"#,
                r#"{"id":"l","op":"limit","n":-1,"offset":1.5}"#,
            ]),
            &[
                "/dag/nodes/1/by/1 UNKNOWN_COLUMN: no column `nope`; there are city, n, price",
                "/dag/nodes/1/by/2 BAD_VALUE: `n` names a column a second time",
                "/dag/nodes/2/n OUT_OF_RANGE: expected a whole number from 0 to 9223372036854775807, found -1",
                "/dag/nodes/2/offset OUT_OF_RANGE: expected a whole number from 0 to 9223372036854775807, found 1.5",
            ],
        ),
        (
            format!(
                r#"{{"dag":{{"nodes":[{TABLE},{read},{{"id":"j","op":"join","left_key":"n","right_key":"line","how":"ful","on":"x","fn":"tokenize"}},{{"id":"k","op":"join"}}],"edges":[["t","j"],["r","j"],["t","k"],["r","k"]]}}}}"#
            ),
            &[
                "/dag/nodes/2/fn UNKNOWN_FUNCTION: `tokenize` is no function of join, but of flat_map",
                "/dag/nodes/2/how BAD_VALUE: no join `ful`; there are inner, left, right, full, semi, anti, cross (full?)",
                "/dag/nodes/2/right_key TYPE_MISMATCH: key `n` is int64 on the left and `line` is string on the right; a key may be an expression, such as a cast",
                "/dag/nodes/3/key MISSING_FIELD: `key` is missing; without it both inputs are a single string column, and on the left the input has city string, n int64, price float64",
            ],
        ),
        (
            format!(
                r#"{{"dag":{{"nodes":[{read},{{"id":"a","op":"write_csv","path":"data"}},{{"id":"b","op":"write_csv","path":"out","mode":"append","partition_by":"x"}},{{"id":"c","op":"write_jsonl","path":"./out/sub","mode":"eror"}},{{"id":"d","op":"write_jsonl","path":"data/a.txt/x"}},{{"id":"e","op":"write_jsonl"}}],"edges":[["r","a"],["r","b"],["r","c"],["r","d"],["r","e"]]}}}}"#
            ),
            &[
                "/dag/nodes/1/path OUTPUT_EXISTS: output `data` already exists; remove it, write elsewhere, or set `mode`",
                "/dag/nodes/2/partition_by UNKNOWN_COLUMN: no column `x`; there are line",
                "/dag/nodes/3/mode BAD_VALUE: no mode `eror`; there are error, overwrite, append, overwrite_partitions (error?)",
                "/dag/nodes/3/path DUPLICATE_OUTPUT: `./out/sub` is the target of /dag/nodes/2/path, or lies in it or above it",
                "/dag/nodes/4/path OUTPUT_UNWRITABLE: cannot create `data/a.txt/x`: a file stands in its way",
                "/dag/nodes/5/path MISSING_FIELD: `path` is missing",
            ],
        ),
    ];
    for (document, expected) in table {
        assert_eq!(place.problems(&document), expected, "{document}");
    }
}

#[test]
fn limits_are_refused_by_number() {
    let place = Place::new();
    let node = r#"{"id":"x","op":"read_text","path":"data/a.txt"}"#;
    let nodes = vec![node; 1001].join(",");
    assert_eq!(
        place.problems(&format!(r#"{{"dag":{{"nodes":[{nodes}]}}}}"#)),
        ["/dag/nodes OUT_OF_RANGE: at most 1000 nodes, found 1001"]
    );
    let edges = vec![r#"["x","x"]"#; 5001].join(",");
    assert_eq!(
        place.problems(&format!(r#"{{"dag":{{"nodes":[{node}],"edges":[{edges}]}}}}"#)),
        ["/dag/edges OUT_OF_RANGE: at most 5000 edges, found 5001"]
    );
    let path = "x".repeat(4097);
    assert_eq!(
        place.problems(&format!(
            r#"{{"dag":{{"nodes":[{{"id":"x","op":"read_text","path":"{path}"}}]}}}}"#
        )),
        ["/dag/nodes/0/path BAD_PATH: a path has at most 4096 bytes"]
    );
}

#[test]
fn a_job_says_how_much_memory_and_disk_it_may_take() {
    let place = Place::new();
    let node = r#"{"id":"x","op":"read_text","path":"data/a.txt"}"#;
    let document = |limits: &str| format!(r#"{{"limits":{limits},"dag":{{"nodes":[{node}]}}}}"#);
    let limits = place.checked(&document(r#"{"memory":"64MiB","spill":2000000}"#)).plan.limits;
    assert_eq!((limits.memory_bytes, limits.spill_bytes), (Some(64 << 20), Some(2_000_000)));
    assert!(place.checked(&document("{}")).plan.limits.are_absent());
    let wrong = document(r#"{"memory":"64","spill":false,"deadline":"1h"}"#);
    assert_eq!(
        place.problems(&wrong),
        [
            "/limits/deadline NOT_SUPPORTED: `deadline` of limits is not supported yet",
            "/limits/memory BAD_VALUE: expected a whole number and a unit, such as \"64MiB\"; units are B, kB, MB, GB, TB, KiB, MiB, GiB, TiB",
            "/limits/spill WRONG_TYPE: expected a size such as \"64MiB\", found a bool",
        ]
    );
    assert_eq!(
        place.problems(&document(r#"{"memory":"64kB"}"#)),
        ["/limits/memory OUT_OF_RANGE: expected 1048576 bytes or more, found 64000"]
    );
}

#[test]
fn an_unknown_field_is_a_warning_or_under_strict_a_problem() {
    let place = Place::new();
    let document = SEED
        .replace("\"partitions\"", "\"partition\"")
        .replace("\"parallelism\"", "\"paralelism\"");
    let warnings = place.checked(&document).warnings;
    let told: Vec<_> =
        warnings.iter().map(|w| (w.pointer.as_str(), w.suggestion.as_deref())).collect();
    assert_eq!(
        told,
        [("/dag/nodes/0/partition", Some("partitions")), ("/paralelism", Some("parallelism"))]
    );
    let problems = check(&document, true, &place.site()).unwrap_err();
    assert_eq!(problems, warnings);
    assert!(problems.iter().all(|problem| problem.code == ProblemCode::UnknownField));
}

#[test]
fn globs_folders_and_lists_are_sorted_and_skip_hidden_names() {
    let place = Place::new();
    let names = |path: &str| {
        let document =
            format!(r#"{{"dag":{{"nodes":[{{"id":"r","op":"read_text","path":{path}}}]}}}}"#);
        let nodes = place.checked(&document).plan.nodes;
        let Op::Read(read) = &nodes[0].op else { panic!("{:?}", nodes[0]) };
        let name =
            |file: &Path| file.strip_prefix(place.folder.path()).unwrap().display().to_string();
        read.files.iter().map(|file| name(&file.path)).collect::<Vec<_>>()
    };
    assert_eq!(names(r#""data/*.txt""#), ["data/a.txt", "data/b.txt"]);
    assert_eq!(
        names(r#""data""#),
        ["data/a.txt", "data/b.txt", "data/books.csv", "data/users.csv"]
    );
    assert_eq!(names(r#""data/**/*.txt""#), ["data/a.txt", "data/b.txt", "data/deep/er/c.txt"]);
    assert_eq!(names(r#"["data/b.txt", "data/[a]*"]"#), ["data/b.txt", "data/a.txt"]);
    assert_eq!(names(r#""da?a/deep/er/c.txt""#), ["data/deep/er/c.txt"]);
    place.write("data/[a].txt", "x");
    assert_eq!(names(r#""data/[a].txt""#), ["data/[a].txt"]);
}

#[test]
fn a_csv_reader_is_text_unless_it_says_more() {
    let place = Place::new();
    let read = |fields: &str| {
        let node = format!(r#"{{"id":"r","op":"read_csv","path":"data/users.csv"{fields}}}"#);
        let nodes = place.chain(&[&node]);
        let Op::Read(read) = &nodes[0].op else { panic!("{:?}", nodes[0]) };
        (read.format.clone(), columns(&nodes[0]))
    };
    assert_eq!(read("").0, Format::Text(Intake::default()));
    let (format, columns) = read(r#","columns":{"id":"int64","name":"string"},"delimiter":"\t""#);
    let Format::Csv(options) = format else { panic!("{format:?}") };
    assert_eq!((options.header, options.delimiter), (false, b'\t'));
    assert_eq!(columns, ["id int64", "name string"]);
}

#[test]
fn map_forms_become_expressions() {
    let place = Place::new();
    let lower = &place.chain(&[TABLE, r#"{"id":"m","op":"map","fn":"to_lower"}"#])[1];
    let Op::Map { columns: exprs } = &lower.op else { panic!("{lower:?}") };
    assert!(matches!(&exprs[0], Expr::Call { function: Function::LOWER, .. }));
    assert!(matches!(&exprs[1], Expr::Column { index: 1, .. }));
    let with = &place
        .chain(&[TABLE, r#"{"id":"m","op":"map","with":{"n":"n * 2","total":"n * price"}}"#])[1];
    assert_eq!(columns(with), ["city string", "n int64", "price float64", "total float64"]);
    let select = &place
        .chain(&[TABLE, r#"{"id":"m","op":"map","select":{"total":"n * price","city":"city"}}"#])
        [1];
    assert_eq!(columns(select), ["total float64", "city string"]);
    let sleep = &place.chain(&[TABLE, r#"{"id":"m","op":"map","fn":"sleep_10s"}"#])[1];
    assert!(matches!(sleep.op, Op::Sleep { row_ms: 10_000 }));
}

#[test]
fn to_json_is_of_all_columns_or_of_a_line() {
    let place = Place::new();
    let function = |read: &str| {
        let nodes = place.chain(&[read, r#"{"id":"j","op":"map","fn":"to_json"}"#]);
        assert_eq!(columns(&nodes[1]), ["json string"]);
        let Op::Map { columns } = &nodes[1].op else { panic!("{:?}", nodes[1]) };
        match &columns[..] {
            [Expr::Call { function, arguments, .. }] => (*function, arguments.len()),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(function(TABLE), (Function::JSON_OBJECT, 6));
    let line = r#"{"id":"r","op":"read_csv","path":"data/users.csv"}"#;
    assert_eq!(function(line), (Function::LINE_TO_JSON, 1));
}

#[test]
fn long_words_tests_the_only_text_column() {
    let place = Place::new();
    let filter = &place.chain(&[TABLE, r#"{"id":"f","op":"filter","fn":"long_words"}"#])[1];
    let Op::Filter { predicate } = &filter.op else { panic!("{filter:?}") };
    assert!(predicate.0.reads(0) && !predicate.0.reads(1));
    let two = r#"{"id":"t","op":"read_csv","path":"data/users.csv","columns":{"a":"string","b":"string"}}"#;
    let problems = place.problems(&chain(&[two, r#"{"id":"f","op":"filter","fn":"long_words"}"#]));
    assert!(
        problems[0].contains("AMBIGUOUS_COLUMN") && problems[0].contains("`where`"),
        "{problems:?}"
    );
}

#[test]
fn reduce_forms_have_these_columns() {
    let place = Place::new();
    let line = r#"{"id":"r","op":"read_text","path":"data/a.txt"}"#;
    let pair = r#"{"id":"r","op":"read_csv","path":"data/users.csv","columns":{"city":"string","n":"int64"}}"#;
    let tokens = r#"{"id":"f","op":"flat_map","fn":"tokenize"}"#;
    for (nodes, reduce, expected) in [
        (vec![line], r#""fn":"sum""#, vec!["key string", "value float64"]),
        (vec![line], r#""fn":"count""#, vec!["key string", "value int64"]),
        (vec![line, tokens], r#""fn":"sum""#, vec!["key string", "value int64"]),
        (vec![line, tokens], r#""key":"word","fn":"count""#, vec!["word string", "value int64"]),
        (vec![pair], r#""key":"city","fn":"sum""#, vec!["city string", "value int64"]),
        (vec![pair], r#""key":"city","fn":"avg""#, vec!["city string", "value float64"]),
        (
            vec![pair],
            r#""key":["city","n"],"fn":"count""#,
            vec!["city string", "n int64", "value int64"],
        ),
        (
            vec![pair],
            r#""key":"lower(city)","fn":"max""#,
            vec!["lower(city) string", "value int64"],
        ),
        (
            vec![TABLE],
            r#""key":["city","n % 2"],"aggs":{"rows":"count(*)","total":"sum(n * price)"}"#,
            vec!["city string", "n % 2 int64", "rows int64", "total float64"],
        ),
    ] {
        let reduce = format!(r#"{{"id":"a","op":"reduce_by_key",{reduce}}}"#);
        let nodes: Vec<&str> = nodes.into_iter().chain([reduce.as_str()]).collect();
        let bound = place.chain(&nodes);
        assert_eq!(columns(bound.last().unwrap()), expected, "{nodes:?}");
    }
}

#[test]
fn a_join_without_key_cuts_lines_and_one_with_keys_keeps_columns() {
    let place = Place::new();
    let join = |left: &str, right: &str, fields: &str| {
        let document = format!(
            r#"{{"dag":{{"nodes":[{{"id":"a","op":"read_csv","path":"data/users.csv"{left}}},{{"id":"b","op":"read_csv","path":"data/users.csv"{right}}},{{"id":"j","op":"join"{fields}}}],"edges":[["b","j"],["a","j"]]}}}}"#
        );
        place.checked(&document).plan.nodes
    };
    let nodes = join("", "", r#","fn":"identity""#);
    let ids: Vec<_> = nodes.iter().map(|node| node.id.as_str()).collect();
    assert_eq!(ids, ["a", "b", "j.left", "j.right", "j"]);
    assert!(is_helper("j.left") && !is_helper("j"));
    assert_eq!(nodes[2].inputs[0].index(), 1, "the first edge is the left side");
    assert_eq!(columns(&nodes[4]), ["key string", "left string", "right string"]);
    let keyed = join(
        r#","columns":{"id":"int64","name":"string","x":"int64"}"#,
        r#","columns":{"id":"float64","name":"string"}"#,
        r#","key":"id","how":"left""#,
    );
    let joined = keyed.last().unwrap();
    assert_eq!(columns(joined), ["id float64", "name string", "name_right string", "x int64"]);
    let Op::Join { how, right_keys, columns: sides, .. } = &joined.op else { panic!("{joined:?}") };
    assert_eq!(*how, JoinKind::Left);
    assert!(matches!(&right_keys[0], Expr::Cast { to: DataType::Float64, .. }));
    assert_eq!(sides[2], JoinColumn::Right(1));
    let other = join(
        r#","columns":{"uid":"int64","x":"int64"}"#,
        r#","columns":{"id":"int64"}"#,
        r#","left_key":"id","right_key":"uid""#,
    );
    assert_eq!(columns(other.last().unwrap()), ["id int64", "uid int64", "x int64"]);
}

#[test]
fn an_order_is_kept_completed_or_made() {
    let place = Place::new();
    let key = |column, descending| SortKey { column, descending, nulls_first: false };
    let sort = r#"{"id":"s","op":"sort","by":"n desc"}"#;
    let sorted = place.chain(&[
        TABLE,
        sort,
        r#"{"id":"m","op":"map","select":{"n":"n"}}"#,
        r#"{"id":"l","op":"limit","n":3}"#,
    ]);
    assert_eq!(sorted[1].order, Order::Sorted(vec![key(1, true)]), "ties by the source's order");
    assert_eq!(sorted[2].order, Order::Sorted(vec![key(0, true)]));
    assert!(matches!(sorted[3].op, Op::Limit { offset: 0, n: 3 }));
    let lost = place.chain(&[TABLE, sort, r#"{"id":"m","op":"map","select":{"city":"city"}}"#]);
    assert_eq!(lost[2].order, Order::Source);
    let reduce = r#"{"id":"a","op":"reduce_by_key","key":"city","aggs":{"n":"count(*)"}}"#;
    let completed = place.chain(&[TABLE, reduce, sort]);
    assert_eq!(completed[2].order, Order::Sorted(vec![key(1, true), key(0, false)]));
    let top = place.chain(&[TABLE, reduce, r#"{"id":"l","op":"limit","n":3}"#]);
    assert!(matches!(&top[2].op, Op::Sort { keys, limit: Some(3) } if keys.len() == 2));
    let page = place.chain(&[TABLE, reduce, r#"{"id":"l","op":"limit","n":3,"offset":2}"#]);
    assert_eq!(page[2].id, "l.sorted");
    assert!(matches!(&page[2].op, Op::Sort { limit: Some(5), .. }));
    assert!(matches!(&page[3].op, Op::Limit { offset: 2, n: 3 }));
}

#[test]
fn diamonds_and_several_sinks_bind_each_node_once() {
    let place = Place::new();
    let document = format!(
        r#"{{"dag":{{"nodes":[{{"id":"w","op":"write_csv","path":"out/here"}},{{"id":"j","op":"join","key":"city"}},{{"id":"a","op":"filter","where":"n > 1"}},{{"id":"b","op":"sort","by":"n"}},{TABLE}],"edges":[["t","a"],["t","b"],["a","j"],["b","j"],["j","w"]]}}}}"#
    );
    let nodes = place.checked(&document).plan.nodes;
    let ids: Vec<_> = nodes.iter().map(|node| node.id.as_str()).collect();
    assert_eq!(ids, ["t", "a", "b", "j", "w"]);
    assert_eq!(
        columns(&nodes[3]),
        ["city string", "n int64", "price float64", "n_right int64", "price_right float64"]
    );
    let Op::Write(write) = &nodes[4].op else { panic!("{:?}", nodes[4]) };
    assert!(matches!(&write.format, WriteFormat::Csv(options) if options.header));
    assert_eq!(write.path, place.folder.path().join("out/here"));
}

/// A place that no case of a property has to make: this package's folder.
fn here() -> Site {
    let base_dir = Some(env!("CARGO_MANIFEST_DIR").into());
    Site { data: DataDisks::everywhere(), base_dir, now_micros: 0 }
}

/// Whether a document has problems or all its nodes are bound.
fn is_whole(document: &str, nodes: usize) -> bool {
    match check(document, false, &here()) {
        Ok(checked) => {
            checked.plan.nodes.iter().filter(|node| !is_helper(&node.id)).count() == nodes
        }
        Err(problems) => {
            problems.iter().all(|problem| !problem.message.contains("cannot be bound"))
        }
    }
}

/// The document with a few pieces cut out and words put in.
fn mutated(document: &str, cuts: &[(usize, usize)], words: &[&str]) -> String {
    let mut bytes = document.as_bytes().to_vec();
    for ((at, len), word) in cuts.iter().zip(words) {
        let start = at % (bytes.len() + 1);
        let end = (start + len).min(bytes.len());
        bytes.splice(start..end, word.bytes());
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_mutation_of_the_seed_panics(
        cuts in prop::collection::vec((0usize..500, 0usize..12), 1..5),
        words in prop::collection::vec(prop::sample::select(vec![
            "", "\"", "{", "}", "[", "]", ",", ":", "null", "true", "-1", "1e999", "18446744073709551616",
            "\"fn\":", "\"key\":", "\"op\":\"join\"", "\"select\":{\"a\":\"b\"}", "\\u0000", "é", "[\"read\",\"agg\"]",
        ]), 5),
    ) {
        let document = mutated(&SEED.replace("data/books.csv", "Cargo.toml"), &cuts, &words);
        if let Err(problems) = check(&document, true, &here()) {
            prop_assert!(!problems.is_empty());
        }
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(check(&String::from_utf8_lossy(&bytes), false, &here()).is_err());
    }

    #[test]
    fn no_node_of_known_words_panics(members in prop::collection::vec((
        prop::sample::select(vec![
            "op", "fn", "key", "aggs", "select", "with", "where", "by", "n", "offset", "columns", "header", "how",
            "left_key", "right_key", "column", "as", "mode", "delimiter", "partitions", "~/",
        ]),
        prop::sample::select(vec![
            "\"map\"", "\"reduce_by_key\"", "\"join\"", "\"sort\"", "\"limit\"", "\"flat_map\"", "\"filter\"", "\"sum\"",
            "\"tokenize\"", "\"city\"", "\"n desc\"", "\"n > 1\"", "{\"a\":\"n\"}", "{\"a\":\"sum(n)\"}", "{\"\":null}",
            "[]", "[\"city\",\"n\"]", "[[]]", "1", "1e300", "true", "null", "{}", "\"\"",
        ]),
    ), 0..6)) {
        let table = TABLE.replace("data/users.csv", "Cargo.toml");
        let members: Vec<_> = members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        let node = format!("{{\"id\":\"x\"{}{}}}", if members.is_empty() { "" } else { "," }, members.join(","));
        let document = format!(r#"{{"dag":{{"nodes":[{table},{node}],"edges":[["t","x"],["t","x"]]}}}}"#);
        prop_assert!(is_whole(&document, 2));
        let once = format!(r#"{{"dag":{{"nodes":[{table},{node}],"edges":[["t","x"]]}}}}"#);
        prop_assert!(is_whole(&once, 2));
    }
}
