//! Statements in Spark's dialect; `tests/spark.sh` runs such in Spark and compares their rows.

use super::{Dialect, aggregated_in, query_in, written_in};

fn written(expr: &str) -> Result<String, String> {
    written_in(Dialect::Spark, expr)
}

fn aggregated(call: &str) -> Result<String, String> {
    aggregated_in(Dialect::Spark, call)
}

fn query(nodes: &[&str], id: &str) -> Result<String, String> {
    query_in(Dialect::Spark, nodes, id)
}

fn all_equal(cases: &[(&str, &str)]) {
    for (expr, expected) in cases {
        assert_eq!(written(expr).as_deref(), Ok(*expected), "{expr}");
    }
}

#[test]
fn constants_are_as_wide_as_here_and_texts_are_what_they_say() {
    all_equal(&[
        ("n + 1", "(`n` + 1L)"),
        ("x * 0.5", "(`x` * 5e-1D)"),
        ("p = 0.50", "(`p` = cast(0.50 as DECIMAL(10,2)))"),
        ("g = 'it''s'", r"(`g` = 'it\'s')"),
        (r"g = 'a\b'", r"(`g` = 'a\\b')"),
        ("cast(null as int32)", "cast(null as INT)"),
        ("cast(n as uint8)", "cast((cast((`n` - 128L) as TINYINT) + 128L) as SMALLINT)"),
        ("timestamp '1995-01-02 03:04:05'", "timestamp_ntz '1995-01-02T03:04:05'"),
        ("date '1995-01-02'", "date '1995-01-02'"),
        ("x = cast('nan' as float64)", "(`x` = cast('NaN' as DOUBLE))"),
    ]);
}

#[test]
fn a_variable_of_the_session_is_no_part_of_a_text() {
    assert_eq!(Dialect::Spark.quoted("${a}"), r"'\u0024{a}'");
    assert_eq!(Dialect::Spark.name("a`b"), "`a``b`");
}

#[test]
fn operators_compute_what_they_do_here() {
    all_equal(&[
        ("n div 2", "(`n` div 2L)"),
        ("n / 2", "(cast(`n` as DOUBLE) / 2e0D)"),
        ("d + n", "date_add(`d`, cast(`n` as INT))"),
        ("d - date '1995-01-01'", "cast(datediff(`d`, date '1995-01-01') as BIGINT)"),
        ("d + interval '1' month", "add_months(`d`, 1)"),
        ("d - interval '27' day", "date_add(`d`, -27)"),
        (
            "cast(d as timestamp) + interval '90' minute",
            "(cast(`d` as TIMESTAMP_NTZ) + make_interval(0, 0, 0, 0, 0, 0, 5400))",
        ),
        ("p + p", "(`p` + `p`)"),
        ("p * p", "cast((`p` * `p`) as DECIMAL(20,4))"),
        (r"g like 'a\b%'", r"(`g` like 'a\\\\b%')"),
        ("g like '50!%' escape '!'", r"(`g` like '50\\%')"),
        ("g not like g", r"(`g` not like replace(`g`, '\\', '\\\\'))"),
    ]);
    let long = "cast(p as decimal(30,10)) * cast(p as decimal(30,10))";
    assert!(written(long).unwrap_err().contains("long decimals"));
}

#[test]
fn casts_round_and_take_texts_as_here() {
    all_equal(&[
        ("cast(x as int64)", "cast(rint(`x`) as BIGINT)"),
        ("cast(p as int64)", "cast(round(`p`) as BIGINT)"),
        ("try_cast(g as int64)", "try_cast(regexp_extract(`g`, '^[+-]?[0-9]+$', 0) as BIGINT)"),
        ("cast(g as date)", "cast(`g` as DATE)"),
        ("cast(p as string)", "cast(`p` as STRING)"),
    ]);
    assert!(written("cast(x as string)").unwrap_err().contains("floats are written otherwise"));
    assert!(written("cast(g as time)").unwrap_err().contains("times of day"));
}

#[test]
fn functions_that_spark_calls_or_counts_otherwise_are_said_in_its_words() {
    all_equal(&[
        ("length(g)", "cast(char_length(`g`) as BIGINT)"),
        ("strpos(g, 'a')", "cast(instr(`g`, 'a') as BIGINT)"),
        ("substr(g, 2, 3)", "substr(`g`, 2, 3)"),
        ("substr(g, n)", "substr(`g`, cast(case when `n` < 1L then 1L else `n` end as INT))"),
        ("trim(g, 'ab')", "trim(both 'ab' from `g`)"),
        ("concat(g, n)", "concat_ws('', `g`, cast(`n` as STRING))"),
        ("string_split(g, '|')", r"split(`g`, '\\|', -1)"),
        ("list_extract(string_split(g, ','), -1)", "try_element_at(split(`g`, ',', -1), -1)"),
        ("list_contains(array[n], 3)", "(array_position(array(`n`), 3L) > 0)"),
        ("isnan(x)", "(`x` = cast('NaN' as DOUBLE))"),
        ("floor(x)", "if(abs(`x`) < 9e15D, cast(floor(`x`) as DOUBLE), `x`)"),
        ("round(x, 2)", "(round(`x` * 1e2D) / 1e2D)"),
        ("extract(dow from d)", "cast(dayofweek(`d`) - 1 as BIGINT)"),
        ("date_trunc('month', d)", "cast(date_trunc('month', `d`) as TIMESTAMP_NTZ)"),
        ("strftime(d, '%d.%m.%Y')", "date_format(`d`, 'dd.MM.yyyy')"),
        ("strptime(g, '%Y at %m %d')", r"to_timestamp_ntz(`g`, 'yyyy\' at \'MM dd')"),
        ("struct_extract(named_struct('a b', n), 'a b')", "named_struct('a b', `n`)['a b']"),
    ]);
    for expr in ["initcap(g)", "gcd(n, 2)", "strptime(g, '%H:%M')", "regexp_matches(g, g)"] {
        assert!(written(expr).unwrap_err().contains("Spark"), "{expr}");
    }
}

#[test]
fn regular_expressions_are_javas() {
    all_equal(&[
        ("regexp_matches(g, '^a.b$')", r"regexp_like(`g`, '(?dU)^a.b\\z')"),
        ("regexp_matches(g, 'a', 'i')", "regexp_like(`g`, '(?dUi)a')"),
        ("regexp_extract(g, '([a-z])(.)', 2)", "regexp_extract(`g`, '(?dU)([a-z])(.)', 2)"),
        (
            r"regexp_replace(g, '[a-c]+', '<\0$>', 'g')",
            r"regexp_replace(`g`, '(?dU)[a-c]+', '<$0\\$>')",
        ),
        (
            r"regexp_replace(g, '(a)(b)', '\2\1')",
            r"regexp_replace(`g`, '(?dU)\\A((?s:.*?))((a)(b))', '$1$4$3')",
        ),
    ]);
    for expr in [
        "regexp_replace(g, 'x*', 'y', 'g')",
        "regexp_matches(g, '[a&&b]')",
        "regexp_matches(g, '(?P<n>a)')",
        "regexp_matches(g, 'a++')",
    ] {
        assert!(written(expr).unwrap_err().contains("Spark"), "{expr}");
    }
}

#[test]
fn aggregates_are_exact_and_follow_an_order_that_is_said() {
    for (call, expected) in [
        ("sum(n)", "sum(`n`)"),
        ("sum(p)", "cast(sum(`p`) as DECIMAL(38,2))"),
        ("avg(x)", "avg(`x`)"),
        ("avg(p)", "try_divide(cast(sum(`p`) as DOUBLE), count(`p`))"),
        ("count(distinct n)", "count(distinct `n`)"),
        ("median(p)", "percentile(cast(`p` as DOUBLE), 0.5D)"),
        ("mode(n)", "mode(`n`, true)"),
        ("count(n, x)", "count(*) filter (where `n` is not null and `x` is not null)"),
        (
            "quantile_disc(g, 0.5)",
            "try_element_at(array_sort(collect_list(`g`)), cast(greatest(ceil(5e-1D * count(`g`)), 1L) as INT))",
        ),
        (
            "string_agg(distinct g, '-' order by g desc)",
            "array_join(nullif(transform(array_sort(collect_list(distinct if(`g` is null, null, \
             struct(`g` as k0, `g` as v))), (l, r) -> case when l.k0 <=> r.k0 then 0 \
             when l.k0 is null then 1 when r.k0 is null then -1 when l.k0 > r.k0 then -1 \
             else 1 end), e -> e['v']), array()), '-')",
        ),
    ] {
        assert_eq!(aggregated(call).as_deref(), Ok(expected), "{call}");
    }
    for call in ["skewness(x)", "product(x)"] {
        assert!(aggregated(call).unwrap_err().contains("Spark"), "{call}");
    }
    let first = aggregated("first(n order by x desc)").unwrap();
    assert!(
        first.starts_with("try_element_at(array_sort(collect_list(struct(`x` as k0, `g` as k1,")
    );
    assert!(first.ends_with("), 1)['v']"), "{first}");
}

#[test]
fn a_window_has_an_order_and_no_frame_that_spark_has_not() {
    let window = |function: &str, fields: &str| {
        let node =
            format!(r#"{{"id": "w", "op": "window", "with": {{"v": "{function}"}}{fields}}}"#);
        let text = query(&[r#"{"id": "u", "op": "distinct"}"#, &node], "w")?;
        let text = text.strip_prefix("select *, ").and_then(|text| text.split_once(" as `v`"));
        Ok::<_, String>(String::from(text.unwrap().0))
    };
    assert_eq!(window("rank()", "").as_deref(), Ok("cast(rank() over (order by null) as BIGINT)"));
    assert_eq!(
        window("sum(n)", "").as_deref(),
        Ok("sum(`n`) over (rows between unbounded preceding and unbounded following)")
    );
    let lag = window("lag(n ignore nulls)", r#", "order_by": "n""#).unwrap();
    assert!(
        lag.starts_with("lag(`n`, 1) ignore nulls over (order by `n` nulls last, `g`"),
        "{lag}"
    );
    let days =
        r#", "order_by": "d", "frame": "range between interval '2' day preceding and current row""#;
    assert_eq!(
        window("count(*)", days).as_deref(),
        Ok("count(*) over (order by `d` nulls last range between interval '2' day preceding and \
            current row)")
    );
    // What a frame holds to be equal has an order that its values are taken in.
    let value = window("first_value(n)", r#", "order_by": "d""#).unwrap();
    assert!(value.starts_with("try_element_at(array_sort(collect_list(struct("), "{value}");
    let groups = r#", "order_by": "d", "frame": "groups between 1 preceding and current row""#;
    assert!(window("count(*)", groups).unwrap_err().contains("groups"));
}

#[test]
fn a_file_is_a_table_by_its_path_with_the_readers_options() {
    let text = query(&[r#"{"id": "m", "op": "map", "select": {"v": "n"}}"#], "r").unwrap();
    assert!(text.starts_with("select c0 as `g`, cast(c1 as BIGINT) as `n`"), "{text}");
    let options = "with (header = true, sep = ',', quote = '\"', escape = '\"', \
                   nullValue = '\\u0000', mode = 'FAILFAST', multiLine = true) as t(c0, c1, c2, c3, c4)";
    assert!(text.ends_with(options), "{text}");
}

#[test]
fn rows_of_lists_come_from_generators() {
    let lists = r#"{"id": "l", "op": "map", "select": {"w": "string_split(g, ',')", "n": "n"}}"#;
    let explode = r#"{"id": "x", "op": "flat_map", "fn": "explode", "column": "w", "outer": true}"#;
    assert_eq!(
        query(&[lists, explode], "x").as_deref(),
        Ok("select explode_outer(`w`) as `w`, `n` from `l`")
    );
    let split = r#"{"id": "x", "op": "flat_map", "fn": "split", "column": "g", "by": "."}"#;
    let text = query(&[split], "x").unwrap();
    assert!(text.starts_with(r"select explode(split(`g`, '\\.', -1)) as `g`, `n`"), "{text}");
}

#[test]
fn what_spark_can_not_say_is_refused() {
    let limit = r#"{"id": "l", "op": "limit", "n": 3}"#;
    assert!(query(&[limit], "l").unwrap_err().contains("rows of files"));
    let number = r#"{"id": "w", "op": "window", "with": {"v": "row_number()"}}"#;
    assert!(query(&[number], "w").unwrap_err().contains("without `order_by`"));
}
