//! Statements of small jobs. `tests/fuzz.py` runs such in `DuckDB` and compares their rows; here
//! stands what has once been wrong there, and what is refused.

use std::{io::Write, path::Path};

use super::{Dialect, statement};
use crate::{
    disk::{DataDisks, RealDisk},
    job::check::{Site, check},
};

mod spark;

/// The query of the node `id` in a job of `nodes` one behind the other, the first behind a reader
/// `r` of g (text), n (int64), x (float64), d (date) and p (decimal); or why there is none.
fn query(nodes: &[&str], id: &str) -> Result<String, String> {
    query_in(Dialect::DuckDb, nodes, id)
}

/// As [`query`], in a dialect.
fn query_in(dialect: Dialect, nodes: &[&str], id: &str) -> Result<String, String> {
    let folder = tempfile::tempdir().unwrap();
    let disk = RealDisk::shared();
    let mut file = disk.create(&folder.path().join("in.csv")).unwrap();
    file.write_all(b"g,n,x,d,p\na,1,1.5,1995-01-02,0.50\n").unwrap();
    let site = Site {
        data: DataDisks::everywhere(),
        base_dir: Some(Path::new(folder.path()).to_owned()),
        now_micros: 0,
    };
    let ids: Vec<String> = (nodes.iter())
        .map(|node| {
            let node: serde_json::Value = serde_json::from_str(node).unwrap();
            String::from(node["id"].as_str().unwrap())
        })
        .collect();
    let froms = std::iter::once("r").chain(ids.iter().map(String::as_str));
    let edges: Vec<_> =
        froms.zip(&ids).map(|(from, to)| format!(r#"["{from}", "{to}"]"#)).collect();
    let document = format!(
        r#"{{"dag": {{"nodes": [{{"id": "r", "op": "read_csv", "path": "in.csv", "header": true,
            "columns": {{"g": "string", "n": "int64", "x": "float64", "d": "date",
            "p": "decimal(10,2)"}}}}, {}], "edges": [{}]}}}}"#,
        nodes.join(","),
        edges.join(", ")
    );
    let plan = check(&document, true, &site).unwrap_or_else(|p| panic!("{p:?}")).plan;
    let text = statement(&plan, None, dialect).map_err(|refusal| refusal.reason)?;
    let (_, rest) = text.split_once(&format!("{} as (\n    ", dialect.name(id))).unwrap();
    Ok(String::from(rest.split_once("\n  )").unwrap().0))
}

/// What an expression of a map is written as.
fn written(expr: &str) -> Result<String, String> {
    written_in(Dialect::DuckDb, expr)
}

/// As [`written`], in a dialect.
fn written_in(dialect: Dialect, expr: &str) -> Result<String, String> {
    let node = serde_json::json!({"id": "m", "op": "map", "select": {"v": expr}}).to_string();
    let text = query_in(dialect, &[&node], "m")?;
    let end = format!(" as {} from {}", dialect.name("v"), dialect.name("r"));
    let text = text.strip_prefix("select ").and_then(|text| text.strip_suffix(&end));
    Ok(String::from(text.unwrap()))
}

/// What an aggregate by `g` is written as, over rows without an order.
fn aggregated(call: &str) -> Result<String, String> {
    aggregated_in(Dialect::DuckDb, call)
}

/// As [`aggregated`], in a dialect.
fn aggregated_in(dialect: Dialect, call: &str) -> Result<String, String> {
    let distinct = r#"{"id": "u", "op": "distinct"}"#;
    let node =
        serde_json::json!({"id": "a", "op": "reduce_by_key", "key": "g", "aggs": {"v": call}});
    let text = query_in(dialect, &[distinct, &node.to_string()], "a")?;
    let (begin, end) =
        (format!("select {}, ", dialect.name("g")), format!(" as {} from", dialect.name("v")));
    let text = text.strip_prefix(&begin).and_then(|text| text.split_once(&end));
    Ok(String::from(text.unwrap().0))
}

#[test]
fn functions_that_duckdb_calls_otherwise_are_called_so() {
    for (expr, expected) in [
        ("bitand(n, 3)", r#"("n" & 3)"#),
        ("bitnot(n)", r#"(~ "n")"#),
        ("shiftleft(n, 2)", r#"("n" << 2)"#),
        ("try_add(n, 1)", r#"try(("n" + 1))"#),
        ("try_divide(n, 0 * n)", r#"(cast("n" as DOUBLE) / nullif(cast((0 * "n") as DOUBLE), 0))"#),
        ("octet_length(g)", r#"strlen("g")"#),
        ("base64(g)", r#"base64(encode("g"))"#),
        (
            "struct_extract(named_struct('a b', n), 'a b')",
            r#"struct_extract(struct_pack("a b" := "n"), 'a b')"#,
        ),
        ("date_sub(d, n)", r#"("d" - cast("n" as INTEGER))"#),
        ("d + n", r#"("d" + cast("n" as INT4))"#),
        ("n div 2", r#"("n" // 2)"#),
        ("sign(x)", r#"cast(sign("x") as BIGINT)"#),
        ("ceil(n)", r#""n""#),
        ("lpad(g, n, '*')", r#"lpad("g", cast("n" as INTEGER), '*')"#),
        ("nvl2(g, n, 0)", r#"case when ("g" is not null) then "n" else 0 end"#),
    ] {
        assert_eq!(written(expr).as_deref(), Ok(expected), "{expr}");
    }
}

#[test]
fn texts_are_values_in_the_same_forms_and_values_the_same_texts() {
    for (expr, expected) in [
        ("cast(g as int64)", r#"cast("g" as BIGINT)"#),
        ("try_cast(g as int64)", r#"try_cast(regexp_extract("g", '^[+-]?[0-9]+$') as BIGINT)"#),
        ("cast(n as string)", r#"cast("n" as VARCHAR)"#),
        (
            "cast(cast(d as timestamp) as string)",
            r#"regexp_replace(strftime(cast("d" as TIMESTAMP), '%Y-%m-%dT%H:%M:%S.%f'), '[.]000000$', '')"#,
        ),
        (
            "concat(x, 'a')",
            r#"concat(replace(regexp_replace(regexp_replace(cast("x" as VARCHAR), '[.]0$', ''), 'e[+]?(-?)0*', 'e\1'), 'nan', 'NaN'), 'a')"#,
        ),
        ("encode(g)", r#"encode("g")"#),
        ("cast(encode(g) as string)", r#"decode(encode("g"))"#),
    ] {
        assert_eq!(written(expr).as_deref(), Ok(expected), "{expr}");
    }
    assert!(written("cast(array[n] as string)").is_err());
}

#[test]
fn a_date_and_days_are_a_date_as_here() {
    let expected = r#"cast("d" + interval '0 months 27 days 0 seconds' as DATE)"#;
    assert_eq!(written("d + interval '27' day").as_deref(), Ok(expected));
}

#[test]
fn places_before_the_first_character_are_not_places_from_the_end() {
    assert_eq!(written("substr(g, 2, 3)").as_deref(), Ok(r#"substr("g", 2, 3)"#));
    let expected = r#"substr("g", case when "n" < 1 then 1 else "n" end)"#;
    assert_eq!(written("substr(g, n)").as_deref(), Ok(expected));
}

#[test]
fn a_place_that_is_null_gives_null() {
    // `greatest` passes nulls over, in both dialects.
    for expr in ["substr(g, n)", "substr(g, n, n)", "overlay(g placing 'x' from n)"] {
        for dialect in [Dialect::DuckDb, Dialect::Spark] {
            assert!(!written_in(dialect, expr).unwrap().contains("greatest"), "{expr}");
        }
    }
}

#[test]
fn choices_among_constants_are_as_wide_as_here() {
    let text = written("if(n > 1, 2147483647, 1) * 2").unwrap();
    let expected = r#"(cast(case when ("n" > 1) then 2147483647 else 1 end as BIGINT) * 2)"#;
    assert_eq!(text, expected);
}

#[test]
fn products_of_short_decimals_are_as_wide_as_here() {
    assert_eq!(written("p * p").as_deref(), Ok(r#"(cast("p" as DECIMAL(38,2)) * "p")"#));
}

#[test]
fn aggregates_leave_nulls_out_and_say_their_order() {
    let all = r#""g" nulls last, "n" nulls last, "x" nulls last, "d" nulls last, "p" nulls last"#;
    for (call, expected) in [
        ("sum(n)", String::from(r#"cast(sum("n") as BIGINT)"#)),
        ("median(p)", String::from(r#"median(cast("p" as DOUBLE))"#)),
        ("every(n > 1)", String::from(r#"bool_and(("n" > 1))"#)),
        ("any_value(n)", String::from(r#"min("n")"#)),
        (
            "array_agg(n)",
            format!(r#"array_agg("n" order by {all}) filter (where "n" is not null)"#),
        ),
        (
            "first(n order by x desc)",
            format!(
                r#"first("n" order by "x" desc nulls last, {all}) filter (where "n" is not null)"#
            ),
        ),
        (
            "max_by(n, x)",
            format!(
                r#"first("n" order by "x" desc nulls last, {all}) filter (where "n" is not null and "x" is not null)"#
            ),
        ),
        (
            "string_agg(distinct g)",
            String::from(r#"string_agg(distinct "g", ',' order by "g" nulls last)"#),
        ),
        (
            "count(n, x)",
            String::from(r#"count(*) filter (where "n" is not null and "x" is not null)"#),
        ),
    ] {
        assert_eq!(aggregated(call).as_deref(), Ok(expected.as_str()), "{call}");
    }
}

#[test]
fn the_first_row_of_each_key_is_the_one_of_number_one() {
    let nodes = [
        r#"{"id": "s", "op": "sort", "by": "n desc"}"#,
        r#"{"id": "k", "op": "distinct", "key": "g"}"#,
    ];
    let text = query(&nodes, "k.first").unwrap();
    assert!(
        text.contains(r#"row_number() over (partition by "g" order by "n" desc nulls last"#),
        "{text}"
    );
    assert!(text.ends_with(r##"where "#row" = 1"##), "{text}");
}

#[test]
fn ties_stand_in_a_window_where_it_counts_rows_and_not_where_it_counts_values() {
    let window = |function: &str, frame: &str| {
        let node = format!(
            r#"{{"id": "w", "op": "window", "order_by": "p", "with": {{"v": "{function}"}}{frame}}}"#
        );
        let text = query(&[r#"{"id": "u", "op": "distinct"}"#, &node], "w").unwrap();
        let text = text.strip_prefix("select *, ").and_then(|text| text.split_once(" as \"v\""));
        String::from(text.unwrap().0)
    };
    let all = r#""p" nulls last, "g" nulls last, "n" nulls last, "x" nulls last, "d" nulls last"#;
    assert_eq!(window("row_number()", ""), format!("row_number() over (order by {all})"));
    assert_eq!(window("rank()", ""), r#"rank() over (order by "p" nulls last)"#);
    assert_eq!(
        window("first_value(n)", ""),
        format!(
            r#"first_value("n" order by {all}) over (order by "p" nulls last range between unbounded preceding and current row)"#
        )
    );
    // The bounds of decimals are theirs, and not their digits.
    assert_eq!(
        window("count(*)", r#", "frame": "range between 2 preceding and 1 following""#),
        r#"count(*) over (order by "p" nulls last range between 2.00 preceding and 1.00 following)"#
    );
}

#[test]
fn what_sql_can_not_say_is_refused_by_name() {
    for expr in ["initcap(g)", "hash(g)", "to_json(array[n])", "strftime(d, '%c')"] {
        let name = expr.split_once('(').unwrap().0;
        let refusal = written(expr).unwrap_err();
        assert!(refusal.contains(name) || refusal.contains("%c"), "{refusal}");
    }
    assert!(aggregated("approx_count_distinct(n)").unwrap_err().contains("approx_count_distinct"));
    let first = r#"{"id": "a", "op": "aggregate", "aggs": {"v": "first(n)"}}"#;
    assert!(query(&[first], "a").unwrap_err().contains("the rows of files"));
    let names = r#"{"id": "m", "op": "map", "select": {"v": "n", "V": "x"}}"#;
    assert!(query(&[names], "m").unwrap_err().contains("one name in SQL"));
}

#[test]
fn a_dialect_of_csv_is_said_to_the_reader() {
    let text = query(&[r#"{"id": "m", "op": "map", "select": {"v": "n"}}"#], "r").unwrap();
    assert!(text.contains(r#"quote = '"', escape = '"', nullstr = ['']"#), "{text}");
}
