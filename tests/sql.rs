//! `sql` nodes: small queries with `DuckDB`'s answers, and refusals that say where.

#![cfg(test)]

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
    let mut used: Vec<_> = TABLES.iter().filter(|(table, _)| lower.contains(table)).collect();
    if used.is_empty() {
        used.push(&TABLES[0]);
    }
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

#[test]
fn what_is_not_translated_is_refused_with_its_place_and_a_way_out() {
    let folder = TempDir::new().unwrap();
    let session = session(&folder);
    let refusal = |query: &str| match answer(&session, query) {
        Err(error) => {
            error.split_once("query: ").map_or(error.clone(), |(_, said)| said.to_owned())
        }
        Ok(rows) => format!("{rows:?}"),
    };
    let refusals: Vec<String> = REFUSED.iter().map(|(query, _)| refusal(query)).collect();
    let expected: Vec<&str> = REFUSED.iter().map(|(_, said)| *said).collect();
    assert_eq!(refusals, expected, "{refusals:#?}");
}

/// Queries and what is said of them.
const REFUSED: &[(&str, &str)] = &[
    (
        "select nme from customers",
        "no column `nme`; there are id, name, city, credit (at byte 7) (name?)",
    ),
    (
        "select c.nme\nfrom customers c",
        "`c` has no column `nme`; it has id, name, city, credit (at line 1, column 10, byte 9) (c.name?)",
    ),
    (
        "select id from customers,\n  orders",
        "`id` may be customers.id or orders.id; say which (at line 1, column 8, byte 7)",
    ),
    (
        "select\n  id\nfrom\n  customer",
        "no table `customer`; there are customers, and an edge makes a node one (at line 4, column 3, byte 19) (customers?)",
    ),
    (
        "select x.id from customers",
        "no table or column `x` for `x.id`; the tables are customers (at byte 7)",
    ),
    (
        "select id, count(*) from customers",
        "`customers.id` is neither a key of the groups nor in an aggregate; add it to `group by`, or say any_value(customers.id) (at byte 7)",
    ),
    (
        "select id from customers where count(*) > 1",
        "an aggregate can't stand in `where`; say `having` (at byte 31)",
    ),
    (
        "select id from customers group by rollup (id)",
        "`rollup`, `cube` and `grouping sets` are not supported; group by each set of keys and `union all` them (at byte 34)",
    ),
    (
        "select distinct on (city) id from customers",
        "`distinct on` is not supported; say `qualify row_number() over (partition by ... order by ...) = 1` (at byte 0)",
    ),
    (
        "insert into customers values (1)",
        "`insert` is no query; one `select` is expected, or `with ... select` (at byte 0)",
    ),
    ("select 1", "a `select` without `from` is not supported; name an input in `from` (at byte 0)"),
    (
        "select * from customers limit 1 + 1",
        "a number of rows is a constant from 0 to 9223372036854775807, not `1 + 1` (at byte 30)",
    ),
    (
        "select id from customers order by 3",
        "`3` is no column of the select list, which has 1 (at byte 34)",
    ),
    (
        "select distinct city from customers order by id",
        "with `distinct` an order goes by columns of the select list (at byte 45)",
    ),
    (
        "with recursive t as (select id from customers) select id from t",
        "`with recursive` is not supported: a job has no recursion (at byte 0)",
    ),
    (
        "select id from customers union select id, name from customers",
        "the first query has 1 columns, and this one 2 (at byte 31)",
    ),
    (
        "select id from customers union select name from customers",
        "column `id` is int64, and here string (at byte 31)",
    ),
    (
        "select id from customers except all select id from customers",
        "`except all` is not supported; say `except`, which gives each row once (at byte 36)",
    ),
    (
        "select id from customers, customers",
        "two tables are called `customers`; give one an alias, as in `customers as other` (at byte 26)",
    ),
    (
        "select id from customers where id in (select id, name from customers)",
        "the subquery has 2 columns, and 1 are compared with them (at byte 31)",
    ),
    (
        "select (select id, name from customers) from customers",
        "a subquery for one value has one column, not 2 (at byte 8)",
    ),
    (
        "select id from customers c where exists (select count(*) from orders o where o.customer = c.id)",
        "an aggregate without `group by` always has a row; remove `exists`, or the aggregate (at byte 41)",
    ),
    (
        "select id from customers c where credit > (select sum(total) from orders o where o.customer > c.id)",
        "a subquery with aggregates is compared with the columns around it by `=` alone, in conditions of their own (at byte 81)",
    ),
    (
        "select id from customers c where credit > (select sum(total) + c.id from orders o where o.customer = c.id)",
        "a column of the query around stands only in the `where` of a subquery (at byte 63)",
    ),
    (
        "select id from customers where (id, id) in (select customer, id from orders) or id = 1",
        "`in` of several columns is supported only as a condition of its own, joined to others by `and`; say `exists` here (at byte 32)",
    ),
    ("select id + name from customers", "`+` does not take int64 and string (at byte 7)"),
    ("select id from customers where name", "a condition must be bool, not string (at byte 31)"),
    ("select id frm customers", "expected the end, found `customers` (at byte 14)"),
    (
        "select row_number() over (w) from customers window w as (order by id)",
        "a window that goes on from another one is not supported; spell it out (at byte 26)",
    ),
    (
        "select id from customers, lateral (select 1 from orders) x",
        "`lateral` and `tablesample` are not supported; a subquery in `where` may name the columns around it, and `sample` is an operator (at byte 35)",
    ),
    (
        "select a.id from customers a left join orders o on exists (select * from orders)",
        "a subquery in the `on` of an outer join is not supported; join a subquery in `from` instead (at byte 59)",
    ),
    (
        "select id from customers where id in (select o.id from nothing)",
        "no table or column `o` for `o.id`; the tables are nothing (at byte 45)",
    ),
];

#[test]
fn a_subquery_with_more_than_one_row_fails_the_job() {
    let folder = TempDir::new().unwrap();
    let session = session(&folder);
    for query in [
        "select id, (select id from orders) from customers",
        "select id, (select o.id from orders o where o.customer = c.id) from customers c",
    ] {
        let error = answer(&session, query).unwrap_err();
        assert!(error.contains("at most one row of a subquery for one value"), "{query}: {error}");
    }
    // Rows that nobody asks for may be as many as they like.
    let query = "select c.id, (select o.id from orders o where o.customer = c.id) \
                 from customers c where c.id = 3";
    assert_eq!(answer(&session, query).unwrap(), ["3, 13"]);
}

#[test]
fn an_input_that_no_from_names_is_refused() {
    let folder = TempDir::new().unwrap();
    let document = job("select id from customers /* orders */");
    let problems = session(&folder).check(&document, true).unwrap_err();
    assert_eq!(
        shown(&problems),
        "/dag/nodes/2/query: the result does not depend on input `orders`: no `from` names it; \
         remove its edge (at byte 0)"
    );
}

#[test]
fn a_job_has_the_query_that_stands_beside_it() {
    let folder = here().join("../../jobs/tpch/sql");
    for number in 1..=22 {
        let read = |suffix: &str| {
            fs::read_to_string(folder.join(format!("q{number:02}.{suffix}"))).unwrap()
        };
        let document: serde_json::Value = serde_json::from_str(&read("json")).unwrap();
        let nodes = document["dag"]["nodes"].as_array().unwrap();
        assert_eq!(nodes.last().unwrap()["query"].as_str().unwrap(), read("sql"), "q{number:02}");
    }
}
