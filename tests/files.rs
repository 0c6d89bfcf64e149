//! The commands that look at files: `sql`, `head`, `schema`, `describe`, `count`, `convert`.

#![cfg(test)]
#![expect(clippy::disallowed_methods, reason = "a test makes the files that the program reads")]

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
};

use tempfile::TempDir;

/// Runs the program in a folder of its own, with `users.csv` and `orders.tsv` in it.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let users = "id,name,city\n1,Ann,Oslo\n2,\"Bob, B.\",Paris\n3,Cid,\n";
        fs::write(folder.path().join("users.csv"), users).unwrap();
        fs::write(folder.path().join("orders.tsv"), "user\ttotal\n1\t50\n2\t20\n1\t7\n").unwrap();
        Self(folder)
    }

    fn run(&self, arguments: &[&str], stdin: &str) -> Output {
        let mut child = Command::new(env!("CARGO_BIN_EXE_minispark"))
            .args(arguments)
            .current_dir(self.0.path())
            .env("TMPDIR", self.0.path())
            .env("CI", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    /// What the program prints where it succeeds.
    fn says(&self, arguments: &[&str]) -> String {
        self.says_of(arguments, "")
    }

    fn says_of(&self, arguments: &[&str], stdin: &str) -> String {
        let output = self.run(arguments, stdin);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Exit code and stderr.
    fn fails(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.run(arguments, "");
        let errors = String::from_utf8(output.stderr).unwrap();
        (output.status.code().unwrap(), errors)
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        Path::new(self.0.path()).join(name)
    }
}

#[test]
fn a_query_reads_the_files_that_it_names() {
    let place = Place::new();
    let query = "select u.name, sum(o.total) as total from 'users.csv' u, 'orders.tsv' o \
                 where u.id = o.user group by u.name order by total desc";
    assert_eq!(place.says(&["sql", query]), "name,total\nAnn,57\n\"Bob, B.\",20\n");
    assert_eq!(
        place.says(&["sql", query, "--format", "jsonl"]),
        "{\"name\":\"Ann\",\"total\":57}\n{\"name\":\"Bob, B.\",\"total\":20}\n"
    );
    assert_eq!(
        place.says(&["--json", "sql", query]),
        "[\n  {\"name\":\"Ann\",\"total\":57},\n  {\"name\":\"Bob, B.\",\"total\":20}\n]\n"
    );
    assert_eq!(
        place.says(&["sql", query, "--format", "table"]),
        "name     total\nAnn      57\nBob, B.  20\n"
    );
    // A file's table is called like the file.
    assert_eq!(place.says(&["sql", "select users.id from 'users.csv' where id = 2"]), "id\n2\n");
}

#[test]
fn a_query_may_say_how_a_file_is_read() {
    let place = Place::new();
    fs::write(place.path("plain.txt"), "a;1\nb;2\n").unwrap();
    let query = "select count(*) as n from read_csv('plain.txt', header = true, delimiter = ';')";
    assert_eq!(place.says(&["sql", query]), "n\n1\n");
    assert_eq!(place.says(&["sql", "select line from 'plain.txt' limit 1"]), "line\na;1\n");
    let piped = "select max(v) as v from '-'";
    assert_eq!(place.says_of(&["sql", piped, "--input-format", "csv"], "v\n1\n9\n"), "v\n9\n");
}

#[test]
fn the_job_of_a_query_runs_by_itself() {
    let place = Place::new();
    let query = "select id from 'users.csv' where name <> '${x}' order by id";
    let job = place.says(&["sql", query, "--job"]);
    assert!(job.contains("\"op\": \"sql\""), "{job}");
    fs::write(place.path("job.json"), job).unwrap();
    assert_eq!(place.says(&["run", "job.json"]), "1\n2\n3\n");
}

#[test]
fn rows_go_to_a_file_that_is_not_there_yet() {
    let place = Place::new();
    let query = "select id from 'users.csv' order by id desc";
    assert_eq!(place.says(&["sql", query, "--output", "ids.jsonl"]), "");
    let written = fs::read_to_string(place.path("ids.jsonl")).unwrap();
    assert_eq!(written, "{\"id\":3}\n{\"id\":2}\n{\"id\":1}\n");
    let (code, said) = place.fails(&["sql", query, "--output", "ids.jsonl"]);
    assert_eq!(code, 10, "{said}");
    assert!(said.starts_with("error[OUTPUT_EXISTS]: `ids.jsonl` is there already"), "{said}");
}

#[test]
fn what_is_wrong_with_a_query_is_told_where_it_stands() {
    let place = Place::new();
    for (query, code, expected) in [
        (
            "select nam from 'users.csv'",
            3,
            "error[VALIDATION_FAILED]: no column `nam`; there are id, name, city (at byte 7)\n  \
             at: the query\n  help: did you mean `name`?\n",
        ),
        (
            "select id from 'users.csv' where id +",
            3,
            "error[VALIDATION_FAILED]: expected an expression, found the end (at byte 37)\n",
        ),
        (
            "select id from users",
            3,
            "error[VALIDATION_FAILED]: no table `users`: tables are files here\n  \
             at: byte 15 of the query\n  \
             help: name a file in single quotes, as in from 'data.csv'\n",
        ),
        (
            "select * from 'none.csv'",
            3,
            "error[VALIDATION_FAILED]: input `none.csv` is not there\n  at: the query\n",
        ),
        (
            "select * from 'users.xyz'",
            2,
            "error[BAD_REQUEST]: the name of `users.xyz` does not tell its format\n  help: known \
             endings are csv, tsv, jsonl, ndjson, json, txt, parquet, arrow; or name it, as in \
             --input-format csv\n",
        ),
    ] {
        assert_eq!(place.fails(&["sql", query]), (code, expected.to_owned()), "{query}");
    }
}

#[test]
fn head_shows_first_rows() {
    let place = Place::new();
    assert_eq!(place.says(&["head", "orders.tsv", "-n", "2"]), "user,total\n1,50\n2,20\n");
    let first = place.says(&["head", "users.csv", "--no-header", "-n", "1", "--format", "jsonl"]);
    assert!(first.contains("\"name\""), "{first}");
}

#[test]
fn schema_prints_what_a_reader_takes() {
    let place = Place::new();
    let columns = place.says(&["schema", "users.csv"]);
    assert_eq!(
        columns,
        "{\n  \"id\": \"int64\",\n  \"name\": \"string\",\n  \"city\": \"string\"\n}\n"
    );
    let job = format!(
        r#"{{"dag": {{"nodes": [{{"id": "r", "op": "read_csv", "path": "users.csv",
            "header": true, "columns": {columns}}}], "edges": []}}}}"#
    );
    fs::write(place.path("job.json"), job).unwrap();
    place.says(&["validate", "job.json"]);
}

#[test]
fn describe_says_what_is_in_each_column() {
    let place = Place::new();
    assert_eq!(
        place.says(&["describe", "users.csv", "--exact"]),
        "column,type,rows,nulls,distinct,min,max,mean,stddev\n\
         id,int64,3,0,3,1,3,2.0,1.0\n\
         name,string,3,0,3,Ann,Cid,,\n\
         city,string,3,1,2,Oslo,Paris,,\n"
    );
    let json: serde_json::Value =
        serde_json::from_str(&place.says(&["describe", "users.csv", "--json"])).unwrap();
    assert_eq!(json[0]["mean"], 2.0);
    assert_eq!(json[2]["nulls"], 1);
}

#[test]
fn count_prints_a_number() {
    let place = Place::new();
    assert_eq!(place.says(&["count", "users.csv"]), "3\n");
    assert_eq!(place.says(&["count", "users.csv", "--no-header"]), "4\n");
    assert_eq!(place.says(&["count", "users.csv", "--json"]), "{\n  \"count\": 3\n}\n");
    assert_eq!(place.says_of(&["count", "-", "--input-format", "jsonl"], "{\"a\":1}\n"), "1\n");
}

#[test]
fn convert_goes_by_the_names_of_files() {
    let place = Place::new();
    place.says(&["convert", "users.csv", "users.jsonl"]);
    place.says(&["convert", "users.jsonl", "again.csv"]);
    let again = fs::read_to_string(place.path("again.csv")).unwrap();
    assert_eq!(again, fs::read_to_string(place.path("users.csv")).unwrap());
    assert_eq!(
        place.says(&["convert", "orders.tsv", "-", "--output-format", "tsv"]),
        fs::read_to_string(place.path("orders.tsv")).unwrap()
    );
    let (code, said) = place.fails(&["convert", "users.csv", "-"]);
    assert_eq!(code, 2, "{said}");
}

#[test]
fn a_parameter_takes_its_value_from_the_command_line() {
    let place = Place::new();
    let job = r#"{"params": {"file": null, "n": 1}, "dag": {"nodes": [
        {"id": "r", "op": "read_csv", "path": "${file}.csv", "header": true},
        {"id": "l", "op": "limit", "n": "${n}"}], "edges": [["r", "l"]]}}"#;
    fs::write(place.path("job.json"), job).unwrap();
    let (code, said) = place.fails(&["run", "job.json"]);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("parameter `file` has no default and no value"), "{said}");
    let run = ["run", "job.json", "--set", "file=users"];
    assert_eq!(place.says(&run), "1, Ann, Oslo\n");
    let two = [&run[..], &["--set", "n=2"]].concat();
    assert_eq!(place.says(&two), "1, Ann, Oslo\n2, Bob, B., Paris\n");
    place.says(&["validate", "job.json", "--set", "file=users"]);
    for (set, expected) in
        [("fil=users", "did you mean `file`?"), ("n=many", "parameter `n` is a number, not `many`")]
    {
        let refused = place.fails(&["validate", "job.json", "--set", set]);
        assert_eq!((refused.0, refused.1.contains(expected)), (2, true), "{}", refused.1);
    }
}

#[test]
fn nothing_is_left_behind() {
    let place = Place::new();
    place.says(&["count", "users.csv"]);
    let staging = place.path("mini-spark/.minispark");
    let left: Vec<_> = fs::read_dir(staging).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(left.is_empty(), "{left:?}");
}
