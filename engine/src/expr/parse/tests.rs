//! What texts say, and what they are refused for.

use arrow::datatypes::{DataType, Field, Schema};
use proptest::prelude::*;

use super::{ParseErrorKind, expression, predicate, sort_key};
use crate::expr::{Expr, Literal, SortKey, TIMESTAMP, aggregate};

fn schema() -> Schema {
    Schema::new(vec![
        Field::new("n", DataType::Int64, true),
        Field::new("price", DataType::Float64, true),
        Field::new("city", DataType::Utf8View, true),
        Field::new("day", DataType::Date32, true),
        Field::new("seen", TIMESTAMP, true),
        Field::new("ok", DataType::Boolean, true),
        Field::new("key", DataType::Utf8View, true),
        Field::new("value", DataType::Int64, true),
        Field::new("an odd.name", DataType::Int64, true),
    ])
}

fn type_of(text: &str) -> DataType {
    match expression(text, &schema()) {
        Ok(expr) => expr.data_type(),
        Err(error) => panic!("{text}: {error:?}"),
    }
}

fn refusal(text: &str) -> String {
    let error = expression(text, &schema()).expect_err(text);
    let suggestion = error.suggestion.map(|name| format!(" ({name}?)")).unwrap_or_default();
    format!("{}: {}{suggestion}", error.offset, error.message)
}

#[test]
fn types_follow_the_operands() {
    for (text, expected) in [
        ("n + 1", DataType::Int64),
        ("n + 1.5", DataType::Float64),
        ("n * price", DataType::Float64),
        ("n / 2", DataType::Float64),
        ("n div 2", DataType::Int64),
        ("n % 2", DataType::Int64),
        ("-n", DataType::Int64),
        ("-9223372036854775808", DataType::Int64),
        ("n = price", DataType::Boolean),
        ("not ok and n is not null or city = 'x'", DataType::Boolean),
        ("day >= '2024-01-01'", DataType::Boolean),
        ("seen < day", DataType::Boolean),
        ("day = null", DataType::Boolean),
        ("case when n > 1 then 1 else price end", DataType::Float64),
        ("case n when 1 then 'a' end", DataType::Utf8View),
        ("cast(city as int64)", DataType::Int64),
        ("try_cast(city as date)", DataType::Date32),
        ("city::timestamp", TIMESTAMP),
        ("cast(null as string)", DataType::Utf8View),
        ("lower(city) || '-' || key", DataType::Utf8View),
        ("concat(city, n, null)", DataType::Utf8View),
        ("length(trim(city))", DataType::Int64),
        ("substr(city, 2, 3)", DataType::Utf8View),
        ("substring(city from 2 for 3)", DataType::Utf8View),
        ("\"an odd.name\" + value", DataType::Int64),
        ("date '2024-01-01'", DataType::Date32),
    ] {
        assert_eq!(type_of(text), expected, "{text}");
    }
}

#[test]
fn refusals_say_where_and_what_would_be_right() {
    for (text, expected) in [
        (
            "n + pricee",
            "4: no column `pricee`; there are n, price, city, day, seen, ok, key, value, an odd.name (price?)",
        ),
        (
            "N",
            "0: no column `N`; there are n, price, city, day, seen, ok, key, value, an odd.name (n?)",
        ),
        (
            "lowr(city)",
            "0: no function `lowr`; docs/functions.md lists those that there are (lower?)",
        ),
        ("sum(n)", "0: `sum` is an aggregate; it stands in `aggs` of reduce_by_key and aggregate"),
        ("n + city", "0: `+` does not take int64 and string"),
        ("n > 'x'", "0: `>` does not take int64 and string; cast one of them"),
        ("price div 2", "0: `div` does not take float64 and int64"),
        ("n and ok", "0: a condition must be bool, not int64"),
        ("ok and not city", "11: a condition must be bool, not string"),
        ("lower(n)", "0: argument 1 of `lower` must be string, not int64"),
        ("substr(city)", "7: `substr` takes 2 to 3 arguments, not 1"),
        ("length(city, city)", "0: `length` takes 1 arguments, not 2"),
        ("day > '2024-13-01'", "6: '2024-13-01' is no date"),
        ("cast(ok as date)", "5: cannot cast bool to date"),
        (
            "case when n > 1 then 1 else 'x' end",
            "28: the values of `case` are int64 and string; cast them to one type",
        ),
        ("n ||  city", "0: `||` wants string, not int64; say cast(... as string)"),
        ("null", "0: the type of null is not known here; say cast(null as ...)"),
        ("9223372036854775808", "0: `9223372036854775808` is no int64"),
        ("n > ", "4: expected an expression, found the end"),
        ("n n", "2: expected the end, found `n`"),
        ("'open", "0: unterminated string literal"),
        ("", "0: expected an expression, found nothing"),
        ("n in (1, 'x')", "9: `in` does not take int64 and string"),
        ("city ilike 5", "11: `ilike` wants string, not int64; say cast(... as string)"),
        ("city like 'a!' escape '!'", "10: the pattern 'a!' ends with its escape character"),
        ("city similar to 'a'", "0: `city SIMILAR TO 'a'` is not supported in expressions"),
        ("n.x", "2: `x` is asked of int64, not of a struct"),
        (
            "city[1]",
            "0: `[]` takes a list and a whole number, or a struct and a field's name in quotes, not string and int64",
        ),
        ("day + '1'", "0: `+` does not take date and string"),
        (
            "interval '3 moons'",
            "9: '3 moons' is no interval; say it as in interval '3 months', interval '90' day",
        ),
        ("date '2024-02-30'", "5: '2024-02-30' is no date"),
        ("n in (select 1)", "0: `n IN (SELECT 1)` is not supported in expressions"),
        (
            "cast(n as decimal(39, 40))",
            "5: a decimal has 1 to 76 digits, and no more of them behind the point; not `DECIMAL(39,40)`",
        ),
    ] {
        assert_eq!(refusal(text), expected, "{text}");
    }
}

#[test]
fn a_place_is_counted_in_bytes_over_lines() {
    assert!(refusal("'éé' = key and\n  nope").starts_with("19: no column"));
}

#[test]
fn long_chains_of_and_stay_shallow_and_deep_trees_are_refused() {
    let chain = vec!["n > 1"; 200].join(" and ");
    assert!(predicate(&chain, &schema()).is_ok());
    let sum = vec!["n"; 490].join(" + ");
    assert_eq!(type_of(&sum), DataType::Int64);
    let tower = format!("{}n{}", "1 - (".repeat(45), ")".repeat(45));
    assert!(refusal(&tower).contains("nested"), "{}", refusal(&tower));
    let parens = format!("{}n{}", "(".repeat(400), ")".repeat(400));
    assert_eq!(refusal(&parens), "0: the expression is nested too deep");
    assert!(refusal(&vec!["1"; 1000].join("+")).contains("words"));
}

#[test]
fn a_null_condition_is_a_predicate_and_a_number_is_none() {
    let null = predicate("null", &schema()).unwrap();
    assert_eq!(null.0, Expr::Literal(Literal::Null(DataType::Boolean)));
    assert_eq!(predicate("n", &schema()).unwrap_err().kind, ParseErrorKind::Type);
}

#[test]
fn a_sort_key_is_a_column_with_its_direction() {
    let key = |column, descending, nulls_first| SortKey { column, descending, nulls_first };
    let parse = |text| sort_key(text, &schema()).unwrap();
    assert_eq!(parse("n"), key(0, false, false));
    assert_eq!(parse("n desc nulls first"), key(0, true, true));
    assert_eq!(parse("city asc nulls last"), key(2, false, false));
    assert_eq!(parse("an odd.name"), key(8, false, false));
    assert_eq!(parse("\"an odd.name\" desc"), key(8, true, false));
    assert_eq!(sort_key("n + 1", &schema()).unwrap_err().kind, ParseErrorKind::NotSupported);
    assert_eq!(sort_key("nn desc", &schema()).unwrap_err().kind, ParseErrorKind::UnknownColumn);
    assert_eq!(sort_key("n descending", &schema()).unwrap_err().kind, ParseErrorKind::Syntax);
}

proptest! {
    #[test]
    fn no_text_panics(text in any::<String>()) {
        drop((expression(&text, &schema()), sort_key(&text, &schema()), aggregate::parse(&text, &schema())));
    }

    #[test]
    fn no_heap_of_words_panics(words in prop::collection::vec(prop::sample::select(vec![
        "n", "city", "day", "1", "'x'", "+", "-", "*", "/", "div", "(", ")", ",", "case", "when", "then",
        "else", "end", "cast", "as", "date", "not", "and", "or", "is", "null", "substr", "::", "||", "=", "<",
        "interval", "between", "in", "[", "]", "like", "escape", "is", "distinct", "true", "list<int64>", "decimal(5,2)",
            "array", "0.06", "'1 day'", "//", "~", ".", "trim", "from", "desc", "count", "over", "\"", "é",
    ]), 0..20)) {
        let text = words.join(" ");
        drop((expression(&text, &schema()), sort_key(&text, &schema()), aggregate::parse(&text, &schema())));
    }
}
