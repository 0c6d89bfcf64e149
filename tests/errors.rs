//! What people read when something is wrong: each message as a snapshot, with its exit code.
//!
//! A message says what was wrong, where (JSON pointer, file with line and column, byte of an
//! expression), what was expected and what to do. The input stands in the snapshot's head.
//! `INSTA_UPDATE=always cargo test -p minispark --test errors` rewrites them; the difference is
//! reviewed as code.

#![cfg(test)]
#![expect(clippy::disallowed_methods, reason = "a test makes the files that the program reads")]

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use tempfile::TempDir;

/// A folder with small files, in which the program runs.
struct Place(TempDir);

/// Two small tables that most jobs here read.
const FILES: [(&str, &str); 3] = [
    ("people.csv", "id,name,born,score\n1,Ann,1990-05-01,3\n2,Bob,,0\n3,Cid,2001-12-31,\n"),
    ("orders.csv", "person,total\n1,50\n2,20\n1,7\n"),
    ("lines.txt", "to be\nor not\n"),
];

impl Place {
    fn new() -> Self {
        let place = Self(TempDir::new().unwrap());
        for (name, text) in FILES {
            place.write(name, text.as_bytes());
        }
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_minispark"));
        for name in ["MASTER_URL", "MINISPARK_TOKEN", "RUST_LOG", "RUST_BACKTRACE"] {
            command.env_remove(name);
        }
        let mut child = command
            .args(arguments)
            .current_dir(self.0.path())
            .env("TMPDIR", self.0.path())
            .env("NO_COLOR", "1")
            .env("CI", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdin.take());
        let output = child.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let code = output.status.code().expect("the program ends by itself");
        (code, text(output.stdout), text(output.stderr))
    }

    /// What the command says and ends with, as a snapshot of this name below its input.
    fn told(&self, name: &str, input: &str, arguments: &[&str]) {
        let (code, stdout, stderr) = self.run(arguments);
        let stderr = without_amount(&self.without_folder(&stderr));
        assert_ne!(code, 0, "{name} is no error: {stdout}{stderr}");
        assert!(code <= 10, "{name} ends with {code}: {stderr}");
        assert_eq!(stdout, "", "{name}: an error is no data");
        for word in ["panicked", "RUST_BACKTRACE", "Err(", "Some(", "/tmp", "attempt 2"] {
            assert!(!stderr.contains(word), "{name} says `{word}`: {stderr}");
        }
        for word in ["Utf8", "Int64", "Float64", "Date32", "RecordBatch", "ArrowError", "LargeList"]
        {
            assert!(!stderr.contains(word), "{name} says `{word}`: {stderr}");
        }
        let said = format!("exit code {code}\n{stderr}");
        insta::with_settings!({ description => input, omit_expression => true }, {
            insta::assert_snapshot!(name, said);
        });
    }

    /// The temporary folder is never the same; a user's own would stand there as it was given.
    fn without_folder(&self, text: &str) -> String {
        let real = fs::canonicalize(self.0.path()).unwrap();
        let mut text = text.to_owned();
        for folder in [real.as_path(), self.0.path()] {
            text = text.replace(&folder.display().to_string(), "FOLDER");
        }
        text
    }

    /// Runs a document.
    fn document(&self, name: &str, document: &str, flags: &[&str]) {
        self.write("job.json", document.as_bytes());
        let arguments =
            [&["run", "job.json", "--output-dir", "out", "--threads", "1"][..], flags].concat();
        self.told(name, document, &arguments);
    }

    /// Runs nodes, each fed by the one before.
    fn chain(&self, name: &str, nodes: &str) {
        self.chain_with(name, nodes, &[]);
    }

    fn chain_with(&self, name: &str, nodes: &str, flags: &[&str]) {
        let tree: serde_json::Value = serde_json::from_str(&format!("[{nodes}]")).unwrap();
        let ids: Vec<&str> =
            tree.as_array().unwrap().iter().map(|node| node["id"].as_str().unwrap()).collect();
        let edges: Vec<String> =
            ids.windows(2).map(|pair| format!("[\"{}\", \"{}\"]", pair[0], pair[1])).collect();
        self.document(name, &graph(nodes, &edges.join(", ")), flags);
    }

    /// What a command line says.
    fn command(&self, name: &str, arguments: &[&str]) {
        let line: Vec<String> = arguments
            .iter()
            .map(|word| if word.contains(' ') { format!("\"{word}\"") } else { (*word).to_owned() })
            .collect();
        self.told(name, &format!("minispark {}", line.join(" ")), arguments);
    }
}

/// How much memory is missing depends on what is held at that moment.
fn without_amount(text: &str) -> String {
    let Some((before, after)) = text.split_once(" needs ") else { return text.to_owned() };
    let behind = after.trim_start_matches(|c: char| c.is_ascii_digit());
    if behind.len() == after.len() { text.to_owned() } else { format!("{before} needs N{behind}") }
}

fn graph(nodes: &str, edges: &str) -> String {
    format!("{{\"name\": \"x\", \"dag\": {{\"nodes\": [{nodes}], \"edges\": [{edges}]}}}}")
}

/// Reads the people with their types.
const PEOPLE: &str = r#"{"id": "people", "op": "read_csv", "path": "people.csv", "header": true,
  "columns": {"id": "int64", "name": "string", "born": "date", "score": "int64"}}"#;

/// Reads the orders with their types.
const ORDERS: &str = r#"{"id": "orders", "op": "read_csv", "path": "orders.csv", "header": true,
  "columns": {"person": "int64", "total": "int64"}}"#;

/// The people and one node behind them.
fn after(node: &str) -> String {
    format!("{PEOPLE},\n  {node}")
}

/// The people, the orders, and one node that both feed.
fn both(node: &str) -> String {
    graph(&format!("{PEOPLE},\n  {ORDERS},\n  {node}"), r#"["people", "both"], ["orders", "both"]"#)
}

#[test]
fn documents_that_are_none() {
    let place = Place::new();
    place.document("document_is_not_json", "{\n  \"name\": \"x\",\n  dag\n}\n", &[]);
    place.document("document_is_cut", "{\"name\": \"x\", \"dag\": {", &[]);
    place.document("document_is_a_list", "[]", &[]);
    place.document("document_is_empty", "", &[]);
    place.document(
        "document_has_a_key_twice",
        r#"{"name": "x", "name": "y", "dag": {"nodes": [], "edges": []}}"#,
        &[],
    );
    place.document("document_has_no_dag", r#"{"name": "x"}"#, &[]);
    place.document("document_has_no_nodes", &graph("", ""), &[]);
    place.document(
        "document_has_wrong_types",
        r#"{"name": 7, "parallelism": "many", "dag": {"nodes": {}, "edges": []}}"#,
        &[],
    );
    place.command("document_is_missing", &["run", "no_job.json"]);
}

#[test]
fn graphs_that_are_none() {
    let place = Place::new();
    let maps =
        r#"{"id": "a", "op": "map", "fn": "identity"}, {"id": "b", "op": "map", "fn": "identity"}"#;
    place.document("graph_has_a_cycle", &graph(maps, r#"["a", "b"], ["b", "a"]"#), &[]);
    place.document("graph_edge_to_nowhere", &graph(PEOPLE, r#"["people", "peple"]"#), &[]);
    place.document("graph_id_twice", &graph(&format!("{PEOPLE}, {PEOPLE}"), ""), &[]);
    place.document(
        "graph_map_with_two_inputs",
        &both(r#"{"id": "both", "op": "map", "fn": "identity"}"#),
        &[],
    );
    place.chain("graph_join_with_one_input", &after(r#"{"id": "j", "op": "join", "key": "id"}"#));
    place.document(
        "graph_filter_without_input",
        &graph(r#"{"id": "f", "op": "filter", "where": "true"}"#, ""),
        &[],
    );
    place.chain("graph_reader_with_an_input", &format!("{PEOPLE}, {ORDERS}"));
    place.document("graph_edge_is_no_pair", &graph(PEOPLE, r#"["people"]"#), &[]);
}

#[test]
fn nodes_that_say_it_wrong() {
    let place = Place::new();
    place.chain("node_unknown_op", r#"{"id": "r", "op": "read_cvs", "path": "people.csv"}"#);
    place.chain("node_without_op", r#"{"id": "r", "path": "people.csv"}"#);
    place.chain("node_without_path", r#"{"id": "r", "op": "read_csv"}"#);
    place.chain_with(
        "node_unknown_field",
        r#"{"id": "r", "op": "read_csv", "path": "people.csv", "delimeter": ";"}"#,
        &["--strict"],
    );
    place.chain("node_unknown_function", &after(r#"{"id": "m", "op": "map", "fn": "to_lowr"}"#));
    place.chain(
        "node_fields_in_conflict",
        &after(r#"{"id": "m", "op": "map", "fn": "to_lower", "select": {"id": "id"}}"#),
    );
    place.chain("node_says_nothing", &after(r#"{"id": "m", "op": "map"}"#));
    place.chain("node_unknown_type", r#"{"id": "r", "op": "read_csv", "path": "people.csv", "columns": {"id": "in64", "name": "text"}}"#);
    place.chain("node_wrong_field_type", &after(r#"{"id": "l", "op": "limit", "n": "ten"}"#));
    place.chain("node_negative_number", &after(r#"{"id": "l", "op": "limit", "n": -1}"#));
    place.chain(
        "node_long_delimiter",
        r#"{"id": "r", "op": "read_csv", "path": "people.csv", "header": true, "delimiter": "||"}"#,
    );
    place.chain(
        "node_unknown_compression",
        r#"{"id": "r", "op": "read_csv", "path": "people.csv", "compression": "rar"}"#,
    );
    place.chain(
        "node_unknown_encoding",
        r#"{"id": "r", "op": "read_csv", "path": "people.csv", "encoding": "ebcdic"}"#,
    );
    place.chain(
        "node_unknown_on_bad_row",
        r#"{"id": "r", "op": "read_csv", "path": "people.csv", "on_bad_row": "ignore"}"#,
    );
    place.chain(
        "node_unknown_mode",
        &after(r#"{"id": "w", "op": "write_csv", "path": "new", "mode": "replace"}"#),
    );
    place.chain(
        "node_partition_by_unknown_column",
        &after(r#"{"id": "w", "op": "write_parquet", "path": "new", "partition_by": ["yeer"]}"#),
    );
    place.chain(
        "node_parameter_missing",
        r#"{"id": "r", "op": "read_csv", "path": "${folder}/people.csv"}"#,
    );
    place.chain_with("node_parameter_unknown", PEOPLE, &["--set", "folder=data"]);
    place.chain("node_sample_fraction", &after(r#"{"id": "s", "op": "sample", "fraction": 2}"#));
    let writers = r#"{"id": "w", "op": "write_csv", "path": "new"}, {"id": "v", "op": "write_csv", "path": "new"}"#;
    place.document(
        "node_two_targets_in_one",
        &graph(&format!("{PEOPLE}, {writers}"), r#"["people", "w"], ["people", "v"]"#),
        &[],
    );
    place.chain("node_behind_a_writer", &after(r#"{"id": "w", "op": "write_csv", "path": "new"}, {"id": "m", "op": "map", "fn": "identity"}"#));
}

#[test]
fn expressions_that_are_wrong() {
    let place = Place::new();
    let filter = |name: &str, expression: &str| {
        place.chain(
            name,
            &after(&format!(r#"{{"id": "f", "op": "filter", "where": "{expression}"}}"#)),
        );
    };
    let select = |name: &str, expression: &str| {
        place.chain(
            name,
            &after(&format!(r#"{{"id": "m", "op": "map", "select": {{"x": "{expression}"}}}}"#)),
        );
    };
    filter("expression_unknown_column", "nam = 'Ann'");
    filter("expression_column_of_other_case", "Name = 'Ann'");
    filter("expression_ends_early", "id >");
    filter("expression_is_not_closed", "(id > 1");
    filter("expression_has_an_open_string", "name = 'Ann");
    filter("expression_is_no_condition", "id + 1");
    filter("expression_compares_apples", "name > 5");
    filter("expression_is_empty", "");
    select("expression_unknown_function", "lowr(name)");
    select("expression_too_few_arguments", "replace(name, 'a')");
    select("expression_wrong_argument", "upper(id)");
    select("expression_text_times_two", "name * 2");
    select("expression_unknown_type", "cast(id as int46)");
    select("expression_impossible_cast", "cast(born as float64)");
    select("expression_case_of_two_types", "case when id > 1 then name else id end");
    select("expression_bad_regex", "regexp_replace(name, '[a', 'x')");
    select("expression_bad_date", "born < date '2020-02-30'");
    select("expression_aggregate_in_a_row", "sum(id)");
    select("expression_window_in_a_row", "row_number() over (order by id)");
    select("expression_field_of_no_struct", "name.first");
    select("expression_unknown_part", "extract(yeer from born)");
    select("expression_constant_overflow", "9223372036854775807 + 1");
    select("expression_subquery", "(select 1)");
}

#[test]
fn operators_that_do_not_fit() {
    let place = Place::new();
    place.document(
        "join_keys_of_two_types",
        &both(r#"{"id": "both", "op": "join", "left_key": "name", "right_key": "person"}"#),
        &[],
    );
    place.document(
        "join_key_unknown",
        &both(r#"{"id": "both", "op": "join", "key": "person"}"#),
        &[],
    );
    place.document(
        "join_keys_of_two_lengths",
        &both(r#"{"id": "both", "op": "join", "left_key": ["id", "name"], "right_key": "person"}"#),
        &[],
    );
    place.document("join_unknown_kind", &both(r#"{"id": "both", "op": "join", "left_key": "id", "right_key": "person", "how": "outer"}"#), &[]);
    place.document("join_condition_unknown_column", &both(r#"{"id": "both", "op": "join", "left_key": "id", "right_key": "person", "on": "r.totl > 5"}"#), &[]);
    place.document("join_cross_with_key", &both(r#"{"id": "both", "op": "join", "how": "cross", "left_key": "id", "right_key": "person"}"#), &[]);
    let renamed = format!(
        "{}, {}",
        after(r#"{"id": "m", "op": "map", "select": {"person": "name", "total": "id"}}"#),
        r#"{"id": "both", "op": "union"}"#
    );
    place.document(
        "union_of_two_types",
        &graph(
            &format!("{ORDERS}, {renamed}"),
            r#"["people", "m"], ["orders", "both"], ["m", "both"]"#,
        ),
        &[],
    );
    place.document(
        "intersect_of_other_columns",
        &both(r#"{"id": "both", "op": "intersect"}"#),
        &[],
    );
    place.chain(
        "aggregate_unknown_function",
        &after(r#"{"id": "a", "op": "reduce_by_key", "key": "name", "aggs": {"x": "totl(id)"}}"#),
    );
    place.chain(
        "aggregate_of_text",
        &after(r#"{"id": "a", "op": "aggregate", "aggs": {"x": "sum(name)"}}"#),
    );
    place.chain(
        "aggregate_without_aggregate",
        &after(r#"{"id": "a", "op": "aggregate", "aggs": {"x": "id + 1"}}"#),
    );
    place.chain(
        "aggregate_nested",
        &after(r#"{"id": "a", "op": "aggregate", "aggs": {"x": "sum(max(id))"}}"#),
    );
    place.chain(
        "reduce_by_unknown_key",
        &after(r#"{"id": "a", "op": "reduce_by_key", "key": "nam", "aggs": {"n": "count(*)"}}"#),
    );
    place.chain(
        "reduce_fn_of_several_columns",
        &after(r#"{"id": "a", "op": "reduce_by_key", "key": "name", "fn": "sum"}"#),
    );
    place.chain(
        "sort_by_unknown_column",
        &after(r#"{"id": "s", "op": "sort", "by": ["scor desc"]}"#),
    );
    place.chain(
        "sort_with_a_typing_error",
        &after(r#"{"id": "s", "op": "sort", "by": ["score down"]}"#),
    );
    place.chain(
        "window_unknown_function",
        &after(
            r#"{"id": "w", "op": "window", "order_by": ["id"], "with": {"n": "rowe_number()"}}"#,
        ),
    );
    place.chain("window_bad_frame", &after(r#"{"id": "w", "op": "window", "order_by": ["id"], "frame": "rows between 1 following and 1 preceding", "with": {"n": "sum(id)"}}"#));
    place.chain(
        "explode_of_text",
        &after(r#"{"id": "e", "op": "flat_map", "fn": "explode", "column": "name"}"#),
    );
    place.chain(
        "drop_of_an_unknown_column",
        &after(r#"{"id": "m", "op": "map", "drop": ["nane"]}"#),
    );
    place.chain(
        "rename_to_a_name_that_is_there",
        &after(r#"{"id": "m", "op": "map", "rename": {"id": "name"}}"#),
    );
    place.chain(
        "pivot_without_values",
        &after(r#"{"id": "p", "op": "pivot", "key": "name", "column": "born"}"#),
    );
    place.chain(
        "unpivot_of_two_types",
        &after(r#"{"id": "p", "op": "unpivot", "columns": ["name", "score"]}"#),
    );
}

#[test]
fn queries_that_are_wrong() {
    let place = Place::new();
    let query = |name: &str, query: &str| {
        let node = format!(r#"{{"id": "both", "op": "sql", "query": "{query}"}}"#);
        if query.contains("orders") {
            place.document(name, &both(&node), &[]);
        } else {
            place.chain(name, &after(&node));
        }
    };
    query("sql_unknown_table", "select *\\nfrom persons");
    query("sql_unknown_column", "select id,\\n  nme from people");
    query("sql_ambiguous_column", "select id\\nfrom people p join people q on p.id = q.id");
    query("sql_unsupported_clause", "select id from people\\nfor update");
    query(
        "sql_recursive",
        "with recursive r as (select 1 as n union all select n + 1 from r) select n from r",
    );
    query("sql_not_a_select", "delete from people");
    query("sql_two_statements", "select 1 from people; select 2 from people");
    query("sql_syntax", "select id\\nfrom people\\nwhere and id = 1");
    query("sql_column_not_grouped", "select name, born, count(*) as n from people group by name");
    query("sql_aggregate_in_where", "select name from people where count(*) > 1");
    query(
        "sql_correlated_subquery",
        "select name from people p\\nwhere id > (select max(total) from orders o where o.person > p.id)",
    );
    query("sql_union_of_two_widths", "select id, name from people union select person from orders");
    query("sql_order_by_position", "select id from people order by 3");
    place.command("sql_command_unknown_column", &["sql", "select nam from 'people.csv'"]);
    place.command("sql_command_missing_file", &["sql", "select * from 'peple.csv'"]);
    place.command("sql_command_no_quotes", &["sql", "select id from people"]);
}

#[test]
fn files_that_cannot_be_read() {
    let place = Place::new();
    fs::create_dir(place.path("empty")).unwrap();
    place.write("few.parquet", b"PAR1");
    place.write("none.parquet", b"");
    place.write("text.parquet", b"id,name\n1,Ann\n2,Bob and some more bytes\n");
    place.write("text.arrow", b"id,name\n1,Ann\n2,Bob and some more bytes\n");
    let read = |name: &str, op: &str, rest: &str| {
        place.chain(name, &format!(r#"{{"id": "r", "op": "{op}", {rest}}}"#));
    };
    read("file_is_missing", "read_csv", r#""path": "data/peple.csv""#);
    read("file_glob_finds_nothing", "read_csv", r#""path": "data/*.csv""#);
    read("file_folder_is_empty", "read_csv", r#""path": "empty""#);
    read("file_one_of_a_list_is_missing", "read_csv", r#""path": ["people.csv", "other.csv"]"#);
    read("file_is_no_parquet", "read_parquet", r#""path": "text.parquet""#);
    read("file_is_a_short_parquet", "read_parquet", r#""path": "few.parquet""#);
    read("file_is_an_empty_parquet", "read_parquet", r#""path": "none.parquet""#);
    read("file_is_no_arrow", "read_arrow", r#""path": "text.arrow""#);
    let parquet = written(&place, "write_parquet", "whole");
    place.write("cut.parquet", &parquet[..parquet.len() - 20]);
    read("file_is_a_cut_parquet", "read_parquet", r#""path": "cut.parquet""#);
    let mut torn_parquet = parquet;
    torn_parquet[8..40].fill(0xff);
    place.write("torn.parquet", &torn_parquet);
    read("file_is_a_torn_parquet", "read_parquet", r#""path": "torn.parquet""#);
    let arrow = written(&place, "write_arrow", "arrow");
    place.write("cut.arrow", &arrow[..arrow.len() / 2]);
    read("file_is_a_cut_arrow", "read_arrow", r#""path": "cut.arrow""#);
    // The footer stays; the messages before it do not.
    let mut torn_arrow = arrow.clone();
    torn_arrow[8..arrow.len() / 2].fill(0x7f);
    place.write("torn.arrow", &torn_arrow);
    read("file_is_a_torn_arrow", "read_arrow", r#""path": "torn.arrow""#);
    read(
        "file_column_is_not_in_parquet",
        "read_parquet",
        r#""path": "whole", "columns": ["id", "nmae"]"#,
    );
    place.write("mixed/a.jsonl", b"{\"a\": 1}\n");
    place.write("mixed/b.jsonl", b"{\"a\": \"x\"}\n");
    read(
        "file_types_differ_in_jsonl",
        "read_jsonl",
        r#""path": "mixed/*.jsonl", "columns": {"a": "int64"}"#,
    );
    place.write("plain.csv.gz", b"id,name\n1,Ann\n");
    read("file_is_no_gzip", "read_csv", r#""path": "plain.csv.gz", "header": true"#);
    let gzip = gzip(b"id,name\n1,Ann\n2,Bob\n3,Cid\n");
    place.write("cut.csv.gz", &gzip[..gzip.len() - 12]);
    read("file_is_a_cut_gzip", "read_csv", r#""path": "cut.csv.gz", "header": true"#);
    place.write("plain.csv.zst", b"id,name\n1,Ann\n");
    read("file_is_no_zstd", "read_csv", r#""path": "plain.csv.zst", "header": true"#);
    place.command("file_without_a_format", &["head", "people.dat"]);
    place.chain("file_types_differ_in_parquet", &two_parquets(&place));
}

/// Two files of other types in one folder, and the node that reads both.
fn two_parquets(place: &Place) -> String {
    place.write("two/a.parquet", &written(place, "write_parquet", "two_a"));
    let job = graph(
        &format!(
            "{}, {}",
            after(r#"{"id": "m", "op": "map", "with": {"id": "name"}}"#),
            r#"{"id": "w", "op": "write_parquet", "path": "two_b"}"#
        ),
        r#"["people", "m"], ["m", "w"]"#,
    );
    place.write("write.json", job.as_bytes());
    let (code, _, stderr) = place.run(&["run", "write.json", "--output-dir", "out"]);
    assert_eq!(code, 0, "{stderr}");
    place.write("two/b.parquet", &part(&place.path("two_b")));
    r#"{"id": "r", "op": "read_parquet", "path": "two"}"#.to_owned()
}

/// The bytes of the only part of the people, written by this op.
fn written(place: &Place, op: &str, target: &str) -> Vec<u8> {
    let node = format!(r#"{{"id": "w", "op": "{op}", "path": "{target}"}}"#);
    place.write("write.json", graph(&after(&node), r#"["people", "w"]"#).as_bytes());
    let (code, _, stderr) = place.run(&["run", "write.json", "--output-dir", "out"]);
    assert_eq!(code, 0, "{stderr}");
    part(&place.path(target))
}

fn part(folder: &Path) -> Vec<u8> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let is_part = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with("part-");
    fs::read(entries.into_iter().find(is_part).unwrap()).unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn rows_that_are_bad() {
    let place = Place::new();
    let csv = |name: &str, text: &[u8], rest: &str| {
        let file = format!("{name}.csv");
        place.write(&file, text);
        place.chain(
            name,
            &format!(
                r#"{{"id": "r", "op": "read_csv", "path": "{file}", "header": true, {rest}}}"#
            ),
        );
    };
    let both = r#""columns": {"id": "int64", "name": "string"}"#;
    csv("row_with_too_few_fields", b"id,name\n1,Ann\n2\n", both);
    csv("row_with_too_many_fields", b"id,name\n1,Ann\n2,Bob,B.\n", both);
    csv("row_with_an_open_quote", b"id,name\n1,\"Ann\n2,Bob\n", both);
    csv("row_with_text_behind_a_quote", b"id,name\n1,\"Ann\" x\n2,Bob\n", both);
    csv("row_with_a_bad_int", b"id,name\n1,Ann\ntwo,Bob\n", both);
    csv(
        "row_with_a_large_int",
        b"id,name\n1,Ann\n300,Bob\n",
        r#""columns": {"id": "int8", "name": "string"}"#,
    );
    csv(
        "row_with_a_bad_date",
        b"id,born\n1,2020-01-01\n2,2020-02-30\n",
        r#""columns": {"id": "int64", "born": "date"}"#,
    );
    csv(
        "row_with_a_bad_time",
        b"id,at\n1,2020-01-01 10:61:00\n",
        r#""columns": {"id": "int64", "at": "timestamp"}"#,
    );
    csv(
        "row_with_a_bad_decimal",
        b"id,price\n1,2.50\n2,1.999\n",
        r#""columns": {"id": "int64", "price": "decimal(9,2)"}"#,
    );
    csv(
        "row_with_a_bad_bool",
        b"id,ok\n1,true\n2,maybe\n",
        r#""columns": {"id": "int64", "ok": "bool"}"#,
    );
    csv("row_with_bad_encoding", b"id,name\n1,Ann\n2,J\xf6rg\n", both);
    csv("row_header_differs", b"id,nam\n1,Ann\n", both);
    csv(
        "row_too_many_bad",
        b"id,name\nx,Ann\ny,Bob\nz,Cid\n",
        r#""columns": {"id": "int64", "name": "string"}, "on_bad_row": {"mode": "skip", "max_rows": 1}"#,
    );
    csv(
        "row_too_large_a_share_is_bad",
        b"id,name\nx,Ann\n2,Bob\n",
        r#""columns": {"id": "int64", "name": "string"}, "on_bad_row": {"mode": "skip", "max_ratio": 0.25}"#,
    );
    let jsonl = |name: &str, text: &[u8], columns: &str| {
        let file = format!("{name}.jsonl");
        place.write(&file, text);
        place.chain(
            name,
            &format!(
                r#"{{"id": "r", "op": "read_jsonl", "path": "{file}", "columns": {columns}}}"#
            ),
        );
    };
    jsonl("row_is_no_json", b"{\"a\": 1}\n{\"a\": 2,}\n", r#"{"a": "int64"}"#);
    jsonl("row_is_no_object", b"{\"a\": 1}\n[2]\n", r#"{"a": "int64"}"#);
    jsonl("row_has_another_type", b"{\"a\": 1}\n{\"a\": \"two\"}\n", r#"{"a": "int64"}"#);
    jsonl("row_has_a_fraction", b"{\"a\": 1}\n{\"a\": 2.5}\n", r#"{"a": "int64"}"#);
}

#[test]
fn rows_that_have_no_value() {
    let place = Place::new();
    let select = |name: &str, expression: &str| {
        place.chain(
            name,
            &after(&format!(r#"{{"id": "m", "op": "map", "select": {{"x": "{expression}"}}}}"#)),
        );
    };
    select("value_overflow", "id * 9223372036854775807");
    select("value_division_by_zero", "id / score");
    select("value_div_by_zero", "id div score");
    select("value_bad_cast", "cast(name as int64)");
    select("value_cast_out_of_range", "cast(id * 1000 as int8)");
    select("value_bad_date", "cast(name as date)");
    select("value_bad_strptime", "strptime(name, '%Y-%m-%d')");
    select("value_of_a_negative_root", "sqrt(0 - id)");
    place.chain(
        "value_sum_overflow",
        &after(r#"{"id": "a", "op": "aggregate", "aggs": {"x": "sum(id + 9223372036854775800)"}}"#),
    );
    place.document("value_two_rows_for_one", &both(r#"{"id": "both", "op": "sql", "query": "select name from people where id = (select person from orders)"}"#), &[]);
    place.chain("expect_rows", &after(r#"{"id": "e", "op": "expect", "rows": 5}"#));
    place.chain(
        "expect_unique",
        &format!("{ORDERS}, {}", r#"{"id": "e", "op": "expect", "unique": ["person"]}"#),
    );
    place.chain("expect_not_null", &after(r#"{"id": "e", "op": "expect", "not_null": ["born"]}"#));
    place.chain("expect_where", &after(r#"{"id": "e", "op": "expect", "where": "id < 3"}"#));
}

#[test]
fn outputs_that_cannot_be() {
    let place = Place::new();
    place.write("there/mine.csv", b"precious\n");
    place.chain("output_is_there", &after(r#"{"id": "w", "op": "write_csv", "path": "there"}"#));
    place.chain(
        "output_below_a_file",
        &after(r#"{"id": "w", "op": "write_csv", "path": "people.csv/new"}"#),
    );
    place.chain(
        "output_over_a_file",
        &after(r#"{"id": "w", "op": "write_csv", "path": "people.csv", "mode": "overwrite"}"#),
    );
    place.write("job.json", graph(PEOPLE, "").as_bytes());
    place.command(
        "output_folder_below_a_file",
        &["run", "job.json", "--output-dir", "people.csv/out"],
    );
    place.command("output_of_convert_is_there", &["convert", "people.csv", "orders.csv"]);
    place.command("output_format_unknown", &["convert", "people.csv", "people.xlsx"]);
}

#[test]
fn memory_that_is_not_enough() {
    let place = Place::new();
    let nodes = r#"{"id": "l", "op": "read_text", "path": "long.txt"},
      {"id": "a", "op": "aggregate", "aggs": {"all": "array_agg(line order by line)"}}"#;
    place.write("long.txt", "a line that is about forty bytes long..\n".repeat(1 << 20).as_bytes());
    place.chain_with("memory_of_a_list", nodes, &["--memory", "32MiB"]);
}

#[test]
fn command_lines_that_are_wrong() {
    let place = Place::new();
    place.command("usage_unknown_verb", &["rum", "job.json"]);
    place.command("usage_unknown_flag", &["run", "job.json", "--treads", "2"]);
    place.command("usage_bad_size", &["run", "job.json", "--memory", "lots"]);
    place.command("usage_size_without_unit", &["run", "job.json", "--memory", "64"]);
    place.command("usage_no_threads", &["run", "job.json", "--threads", "0"]);
    place.command("usage_missing_argument", &["run"]);
    place.command("usage_bad_set", &["run", "job.json", "--set", "folder"]);
    place.command("usage_bad_server", &["status", "--server", "localhost:8080"]);
    place.command("usage_unknown_format", &["head", "people.csv", "--format", "exel"]);
}
