//! Joins, set operations and row operators: what is said about them, and the nodes they become.

use super::{Place, TABLE, chain, columns};
use crate::plan::{JoinColumn, JoinKind, Op, Order};

/// Two tables that share `id` and `name`, and a node that joins them.
fn joined(fields: &str) -> String {
    let left = r#"{"id":"a","op":"read_csv","path":"data/users.csv","columns":{"id":"int64","name":"string","x":"int64"}}"#;
    let right = r#"{"id":"b","op":"read_csv","path":"data/users.csv","columns":{"id":"float64","name":"string","y":"int64"}}"#;
    format!(
        r#"{{"dag":{{"nodes":[{left},{right},{{"id":"j","op":"join",{fields}}}],"edges":[["a","j"],["b","j"]]}}}}"#
    )
}

#[test]
fn a_key_of_one_name_is_one_column_and_other_names_get_the_suffix() {
    let place = Place::new();
    let found = |fields: &str| {
        let nodes = place.checked(&joined(fields)).plan.nodes;
        let node = nodes.last().unwrap();
        let Op::Join { columns: sides, .. } = &node.op else { panic!("{node:?}") };
        (columns(node), sides.clone(), nodes.len())
    };
    let (names, sides, nodes) = found(r#""key":"id","suffix":"_b""#);
    assert_eq!(names, ["id int64", "name string", "x int64", "name_b string", "y int64"]);
    assert_eq!((sides[0], nodes), (JoinColumn::Left(0), 3));
    // A row without a left side has its key from the right one; both are brought to one type.
    let (names, sides, nodes) = found(r#""key":"id","how":"full""#);
    assert_eq!(names, ["id float64", "name string", "x int64", "name_right string", "y int64"]);
    assert_eq!((sides[0], nodes), (JoinColumn::Both { left: 3, right: 3 }, 5));
    let (_, sides, nodes) = found(r#""key":"name","how":"right""#);
    assert_eq!((sides[1], nodes), (JoinColumn::Both { left: 1, right: 1 }, 3));
    assert_eq!(found(r#""key":"id","how":"anti""#).0, ["id int64", "name string", "x int64"]);
    let (names, ..) = found(r#""on":"l.id < r.id and x <> y""#);
    assert_eq!(names.len(), 6);
    assert_eq!(found(r#""how":"cross""#).0, names);
}

#[test]
fn what_a_join_can_not_be_is_told() {
    let place = Place::new();
    let found = |fields: &str| place.problems(&joined(fields));
    assert_eq!(
        found(r#""how":"cross","key":"id","null_safe":true"#),
        [
            "/dag/nodes/2/key CONFLICTING_FIELDS: a cross join has no keys, and no `key`",
            "/dag/nodes/2/null_safe CONFLICTING_FIELDS: a cross join has no keys, and no `null_safe`",
        ]
    );
    assert_eq!(
        found(r#""key":"id","on":"name = 'x'","suffix":"""#),
        [
            "/dag/nodes/2/on UNKNOWN_COLUMN: no column `name`; there are l.id, l.name, x, r.id, r.name, y (r.name?)",
        ]
    );
    assert_eq!(
        found(r#""key":"id","on":"x + 1","suffix":"""#),
        ["/dag/nodes/2/on TYPE_MISMATCH: a condition must be bool, not int64"]
    );
    assert_eq!(
        found(r#""key":"id","suffix":"""#),
        ["/dag/nodes/2 DUPLICATE_COLUMN: two columns would be named `name`"]
    );
}

#[test]
fn sets_meet_by_name_in_the_wider_type() {
    let place = Place::new();
    let document = |op: &str, right: &str| {
        let left = r#"{"id":"a","op":"read_csv","path":"data/users.csv","columns":{"id":"int64","name":"string"}}"#;
        format!(
            r#"{{"dag":{{"nodes":[{left},{{"id":"b","op":"read_csv","path":"data/users.csv","columns":{{{right}}}}},{{"id":"u","op":"{op}"}}],"edges":[["a","u"],["b","u"]]}}}}"#
        )
    };
    let nodes = place.checked(&document("union", r#""name":"string","id":"float64""#)).plan.nodes;
    let ids: Vec<_> = nodes.iter().map(|node| node.id.as_str()).collect();
    assert_eq!(ids, ["a", "b", "u.1", "u.2", "u"]);
    assert_eq!(columns(&nodes[4]), ["id float64", "name string"]);
    assert_eq!(nodes[4].order, Order::Source);
    let nodes = place.checked(&document("except", r#""id":"int64","name":"string""#)).plan.nodes;
    let ids: Vec<_> = nodes.iter().map(|node| node.id.as_str()).collect();
    assert_eq!(ids, ["a", "b", "u.distinct", "u"]);
    let how = JoinKind::Anti { null_aware: false };
    let Op::Join { how: found, null_safe: true, .. } = &nodes[3].op else { panic!("{nodes:?}") };
    assert_eq!(*found, how);
    assert_eq!(
        place.problems(&document("union", r#""id":"string","names":"string""#)),
        [
            "/dag/nodes/2 TYPE_MISMATCH: column `id` is int64 before input 2 and string in it",
            "/dag/nodes/2 UNKNOWN_COLUMN: input 2 has no column `name`, which input 1 has; columns meet by name (names?)",
            "/dag/nodes/2 UNKNOWN_COLUMN: input 2 has a column `names`, which input 1 has not; columns meet by name (name?)",
        ]
    );
}

#[test]
fn fields_of_row_operators_are_checked() {
    let place = Place::new();
    let found = |node: &str| place.problems(&chain(&[TABLE, node]));
    assert_eq!(
        found(r#"{"id":"s","op":"sample","fraction":1.5,"seed":-1}"#),
        [
            "/dag/nodes/1/fraction OUT_OF_RANGE: expected a number from 0 to 1, found 1.5",
            "/dag/nodes/1/seed OUT_OF_RANGE: expected a whole number from 0 to 18446744073709551615, found -1",
        ]
    );
    assert_eq!(
        found(r#"{"id":"r","op":"repartition","key":"m"}"#),
        [
            "/dag/nodes/1/key UNKNOWN_COLUMN: no column `m`; there are city, n, price",
            "/dag/nodes/1/partitions MISSING_FIELD: `partitions` is missing",
        ]
    );
    assert_eq!(
        found(r#"{"id":"u","op":"unpivot","columns":["n","city","n"]}"#),
        [
            "/dag/nodes/1/columns/1 TYPE_MISMATCH: `city` is string and the columns before it are int64; cast them to one type",
            "/dag/nodes/1/columns/2 BAD_VALUE: `n` stands twice",
        ]
    );
    assert_eq!(
        found(
            r#"{"id":"e","op":"expect","rows":{"min":3,"max":2},"not_null":["n","m"],"on_fail":"quarantine"}"#
        ),
        [
            "/dag/nodes/1/not_null/1 UNKNOWN_COLUMN: no column `m`; there are city, n, price",
            "/dag/nodes/1/on_fail CONFLICTING_FIELDS: `rows` is no check of single rows, of which some could be put aside; use another expect node for it",
            "/dag/nodes/1/rows BAD_VALUE: `min` 3 is more than `max` 2",
        ]
    );
    assert_eq!(
        found(r#"{"id":"e","op":"expect"}"#),
        ["/dag/nodes/1 MISSING_FIELD: one of `rows`, `unique`, `not_null`, `where` is missing"]
    );
    assert_eq!(
        found(r#"{"id":"f","op":"flat_map","fn":"explode","by":","}"#),
        ["/dag/nodes/1/by NOT_APPLICABLE: `by` applies to split, not to explode"]
    );
    assert_eq!(
        found(r#"{"id":"f","op":"flat_map","fn":"split","column":"n","by":""}"#),
        ["/dag/nodes/1/by BAD_VALUE: a separator has at least one character"]
    );
    assert_eq!(
        found(r#"{"id":"f","op":"flat_map","fn":"lines","column":"n"}"#),
        ["/dag/nodes/1/column TYPE_MISMATCH: `n` is int64, not a string"]
    );
    assert_eq!(
        found(r#"{"id":"u","op":"intersect"}"#),
        ["/dag/nodes/1 WRONG_ARITY: `intersect` takes at least 2 inputs, and has 1"]
    );
    assert_eq!(
        found(r#"{"id":"k","op":"top_k","by":"n desc"}"#),
        ["/dag/nodes/1/n MISSING_FIELD: `n` is missing"]
    );
}

#[test]
fn a_top_k_is_a_sort_of_which_the_first_rows_are_wanted() {
    let place = Place::new();
    let nodes = place.chain(&[TABLE, r#"{"id":"k","op":"top_k","by":"n desc","n":3}"#]);
    assert!(matches!(&nodes[1].op, Op::Sort { limit: Some(3), .. }));
}
