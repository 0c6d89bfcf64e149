//! `sql` nodes: small queries with DuckDB's answers, and refusals that say where.

use std::{
    fs,
    path::{Path, PathBuf},
};

use minispark_engine::{
    disk::DataDisks,
    job::check::Problem,
    runtime::{Session, SessionOptions},
    schedule::JobStatus,
    task::context::CancelFlag,
};
use serde_json::json;
use tempfile::TempDir;

/// The tables with the types of their columns.
const TABLES: [(&str, &[(&str, &str)]); 4] = [
    (
        "customers",
        &[("id", "int64"), ("name", "string"), ("city", "string"), ("credit", "float64")],
    ),
    (
        "orders",
        &[
            ("id", "int64"),
            ("customer", "int64"),
            ("total", "int64"),
            ("day", "date"),
            ("status", "string"),
        ],
    ),
    (
        "items",
        &[("order_id", "int64"), ("product", "string"), ("qty", "int64"), ("price", "float64")],
    ),
    ("nothing", &[("id", "int64"), ("note", "string")]),
];

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/sql")
}

/// A job of one query over the tables that it names.
fn job(query: &str) -> String {
    let lower = query.to_lowercase();
    let used: Vec<_> = TABLES.iter().filter(|(table, _)| lower.contains(table)).collect();
    // As text, since columns stand in their order.
    let nodes = used.iter().map(|(table, columns)| {
        let columns =
            columns.iter().map(|(name, data_type)| format!("\"{name}\": \"{data_type}\""));
        let columns = columns.collect::<Vec<_>>().join(", ");
        format!(
            "{{\"id\": \"{table}\", \"op\": \"read_csv\", \"path\": \"{table}.csv\", \
             \"header\": true, \"columns\": {{{columns}}}}}, "
        )
    });
    let edges: Vec<_> = used.iter().map(|(table, _)| format!("[\"{table}\", \"q\"]")).collect();
    format!(
        "{{\"dag\": {{\"nodes\": [{}{}], \"edges\": [{}]}}}}",
        nodes.collect::<String>(),
        json!({"id": "q", "op": "sql", "query": query}),
        edges.join(", ")
    )
}

fn session(folder: &TempDir) -> Session {
    Session::new(SessionOptions {
        base_dir: here(),
        data: DataDisks::everywhere(),
        output_dir: folder.path().join("out"),
        scratch_dir: folder.path().join("scratch"),
        threads: 2,
        memory_bytes: 256 << 20,
    })
    .unwrap()
}

/// The lines of a query's result, or why there is none.
fn answer(session: &Session, query: &str) -> Result<Vec<String>, String> {
    let checked = session.check(&job(query), true).map_err(|problems| shown(&problems))?;
    let outcome = session.run(checked, &CancelFlag::default(), &mut |_| {}).unwrap();
    if outcome.status != JobStatus::Completed {
        return Err(outcome.error.map(|error| error.failure.message).unwrap_or_default());
    }
    let text = fs::read_to_string(&outcome.sinks[0].path).unwrap();
    Ok(text.lines().map(str::to_owned).collect())
}

fn shown(problems: &[Problem]) -> String {
    let lines = problems.iter().map(|problem| {
        let suggestion =
            problem.suggestion.as_ref().map(|name| format!(" ({name}?)")).unwrap_or_default();
        format!("{}: {}{suggestion}", problem.pointer, problem.message)
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Name, query and answer of each case.
fn cases() -> Vec<(String, String, Vec<String>)> {
    let text = fs::read_to_string(here().join("queries.txt")).unwrap();
    let text = format!("\n{}", text.strip_suffix('\n').unwrap_or(&text));
    let cases = text.split("\n# ").skip(1).map(|case| {
        let (name, rest) = case.split_once('\n').unwrap();
        let (query, rows) = rest.split_once("\n--\n").unwrap();
        let rows = rows.lines().map(str::to_owned).collect();
        (name.to_owned(), query.to_owned(), rows)
    });
    cases.collect()
}

/// Whether the query itself has an order, and not just a part of it in parentheses.
fn has_order(query: &str) -> bool {
    let mut depth = 0;
    let outside = |letter: &char| {
        depth += match letter {
            '(' => 1,
            ')' => -1,
            _ => 0,
        };
        depth == 0
    };
    query.to_lowercase().chars().filter(outside).collect::<String>().contains("order by")
}

#[test]
fn queries_have_the_answers_of_duckdb() {
    let folder = TempDir::new().unwrap();
    let session = session(&folder);
    let mut failures = Vec::new();
    let cases = cases();
    assert!(cases.len() > 100, "{} cases", cases.len());
    for (name, query, mut expected) in cases {
        println!("{name}");
        match answer(&session, &query) {
            Ok(mut found) => {
                if !has_order(&query) {
                    found.sort();
                    expected.sort();
                }
                if found != expected {
                    failures.push(format!("{name}\n  {query}\n  {found:?}\n  {expected:?}"));
                }
            }
            Err(error) => failures.push(format!("{name}\n  {query}\n  {error}")),
        }
    }
    assert!(failures.is_empty(), "{} of them\n{}", failures.len(), failures.join("\n"));
}
