//! Sorts and windows: what is said about them, and the nodes they become.

use super::{Place, TABLE, chain, columns};
use crate::{
    expr::SortKey,
    plan::{Node, Op, Order},
};

fn key(column: usize, descending: bool) -> SortKey {
    SortKey { column, descending, nulls_first: false }
}

fn ids(nodes: &[Node]) -> Vec<&str> {
    nodes.iter().map(|node| node.id.as_str()).collect()
}

/// Without an order of its own: ties are broken by all columns.
const REDUCE: &str =
    r#"{"id":"r","op":"reduce_by_key","key":["city","n"],"aggs":{"price":"max(price)"}}"#;

#[test]
fn a_sort_by_expressions_has_steps_before_and_behind_that_compute_and_drop_them() {
    let place = Place::new();
    let sort = r#"{"id":"s","op":"sort","by":["lower(city) desc","n"]}"#;
    let nodes = place.chain(&[TABLE, sort]);
    assert_eq!(ids(&nodes), ["t", "s.keys", "s.sorted", "s"]);
    assert_eq!(columns(&nodes[1]), ["city string", "n int64", "price float64", "__key_0 string"]);
    let Op::Sort { keys, limit: None } = &nodes[2].op else { panic!("{:?}", nodes[2]) };
    assert_eq!(*keys, [key(3, true), key(1, false)]);
    assert_eq!(columns(&nodes[3]), ["city string", "n int64", "price float64"]);
    assert_eq!(
        nodes[3].order,
        Order::Source,
        "the rows follow one another, by what they don't show"
    );
    let unordered = place.chain(&[TABLE, REDUCE, sort]);
    let Op::Sort { keys: completed, .. } = &unordered[3].op else { panic!("{:?}", unordered[3]) };
    assert_eq!(*completed, [key(3, true), key(1, false), key(0, false), key(2, false)]);
    let limited = r#"{"id":"k","op":"top_k","by":"n % 3","n":2}"#;
    let limited = place.chain(&[TABLE, limited]);
    assert!(matches!(limited[2].op, Op::Sort { limit: Some(2), .. }));
}

#[test]
fn a_window_gives_its_functions_behind_the_columns_and_is_sorted() {
    let place = Place::new();
    let window = r#"{"id":"w","op":"window","partition_by":"city","order_by":["n desc"],
        "with":{"i":"row_number()","sum":"sum(price)"}}"#;
    let nodes = place.chain(&[TABLE, window]);
    assert_eq!(ids(&nodes), ["t", "w"]);
    assert_eq!(
        columns(&nodes[1]),
        ["city string", "n int64", "price float64", "i int64", "sum float64"]
    );
    assert_eq!(nodes[1].order, Order::Sorted(vec![key(0, false), key(1, true)]));
    let unordered = place.chain(&[TABLE, REDUCE, window]);
    let order = Order::Sorted(vec![key(0, false), key(1, true), key(2, false)]);
    assert_eq!(unordered[2].order, order, "ties by all other columns");
}

#[test]
fn a_window_by_expressions_or_over_a_column_that_it_replaces_has_steps_around_it() {
    let place = Place::new();
    let window = r#"{"id":"w","op":"window","partition_by":["city","n % 2"],"order_by":"n % 2 desc",
        "with":{"price":"lag(price)","i":"rank()"}}"#;
    let nodes = place.chain(&[TABLE, window]);
    assert_eq!(ids(&nodes), ["t", "w.keys", "w.window", "w"]);
    let Op::Window { partition_by, order_by, functions } = &nodes[2].op else { panic!() };
    assert_eq!((&partition_by[..], functions.len()), (&[0, 3][..], 2));
    assert_eq!(*order_by, [key(3, true)], "the key that was computed already");
    assert_eq!(nodes[2].order, Order::Sorted(vec![key(0, false), key(3, false)]));
    assert_eq!(columns(&nodes[3]), ["city string", "n int64", "price float64", "i int64"]);
    let replaced = r#"{"id":"w","op":"window","order_by":"n","with":{"price":"sum(price)"}}"#;
    let replaced = place.chain(&[TABLE, replaced]);
    assert_eq!(ids(&replaced), ["t", "w.window", "w"]);
    assert_eq!(replaced[2].order, Order::Sorted(vec![key(1, false)]));
}

#[test]
fn what_a_window_can_not_be_is_told() {
    let place = Place::new();
    let said = |fields: &str| {
        let window = format!(r#"{{"id":"w","op":"window",{fields}}}"#);
        place.problems(&chain(&[TABLE, &window])).join("; ")
    };
    for (fields, expected) in [
        (
            r#""with":{"x":"row_numbr()"}"#,
            "/dag/nodes/1/with/x UNKNOWN_FUNCTION: no window function `row_numbr`; there are row_number, \
             rank, dense_rank, percent_rank, cume_dist, ntile, lag, lead, first_value, last_value, \
             nth_value and the aggregates (row_number?)",
        ),
        (
            r#""with":{"x":"n + 1"}"#,
            "/dag/nodes/1/with/x BAD_EXPRESSION: expected a window function, such as row_number() or \
             sum(x)",
        ),
        (
            r#""with":{"x":"sum(n) over (order by n)"}"#,
            "/dag/nodes/1/with/x NOT_SUPPORTED: `over` stands in the node's `partition_by`, `order_by` \
             and `frame`",
        ),
        (
            r#""with":{"x":"lag(n, 1, city)"}"#,
            "/dag/nodes/1/with/x TYPE_MISMATCH: the default is string and the values are int64; say \
             cast(... as int64) (at byte 10)",
        ),
        (
            r#""with":{"x":"lag(n, n)"}"#,
            "/dag/nodes/1/with/x NOT_SUPPORTED: `lag` wants a constant whole number here, found `n` (at \
             byte 7)",
        ),
        (
            r#""with":{"x":"ntile(0)","y":"rank(n)"}"#,
            "/dag/nodes/1/with/x TYPE_MISMATCH: `ntile` counts from 1, found 0 (at byte 6); \
             /dag/nodes/1/with/y BAD_EXPRESSION: call it as `rank()`, not with 1 arguments",
        ),
        (
            r#""with":{"x":"rank()"},"frame":"rows 2 preceding""#,
            "/dag/nodes/1/frame NOT_APPLICABLE: no function of `with` sees a frame; leave it out",
        ),
        (
            r#""with":{"x":"sum(n)"},"frame":"rows between current row and 1 preceding""#,
            "/dag/nodes/1/frame BAD_EXPRESSION: the frame ends before it starts",
        ),
        (
            r#""with":{"x":"sum(n)"},"frame":"rows from 1""#,
            "/dag/nodes/1/frame BAD_EXPRESSION: expected PRECEDING or FOLLOWING, found 1 (at byte 10)",
        ),
        (
            r#""with":{"x":"sum(n)"},"order_by":"city","frame":"range 2 preceding""#,
            "/dag/nodes/1/frame TYPE_MISMATCH: a range of a distance wants numbers or times to be \
             ordered, not string (at byte 6)",
        ),
        (
            r#""with":{"x":"sum(n)"},"order_by":["n","city"],"frame":"range 2 preceding""#,
            "/dag/nodes/1/frame TYPE_MISMATCH: a range of a distance wants exactly one order key, \
             found 2 (at byte 6)",
        ),
        (
            r#""with":{"x":"sum(n)"},"order_by":"n","frame":"range interval 2 day preceding""#,
            "/dag/nodes/1/frame TYPE_MISMATCH: expected a constant number that is not negative beside \
             an order key of int64, found `INTERVAL 2 DAY` (at byte 15)",
        ),
        (
            r#""with":{"x":"count(*)"},"frame":"groups 2 preceding""#,
            "/dag/nodes/1/frame BAD_EXPRESSION: `groups` wants an order: groups are rows that are equal \
             in it",
        ),
        (
            r#""with":{"x":"sum(n)"},"order_by":["n","n desc"],"partition_by":"cty""#,
            "/dag/nodes/1/order_by/1 BAD_VALUE: `n desc` names a column a second time; \
             /dag/nodes/1/partition_by UNKNOWN_COLUMN: no column `cty`; there are city, n, price (city?)",
        ),
        (r#""with":{}"#, "/dag/nodes/1/with BAD_VALUE: at least one column must be named"),
    ] {
        assert_eq!(said(fields), expected, "{fields}");
    }
}
