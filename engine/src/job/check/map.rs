//! `map` beyond its forms: `select`, or any of `with`, `drop` and `rename`, applied in this order.

use super::{
    ProblemCode,
    fields::Fields,
    graph::Vertex,
    nodes::{Binder, Bound, all_columns},
};
use crate::expr::{Expr, parse};

/// The fields that change some columns and leave the others.
const CHANGES: [&str; 3] = ["with", "drop", "rename"];

pub(super) fn map(
    binder: &mut Binder<'_, '_>,
    vertex: &Vertex<'_>,
    input: Option<&Bound>,
) -> Option<Bound> {
    let fields = &vertex.fields;
    let change = CHANGES.into_iter().find(|name| fields.has(name));
    let forms = ["fn", "select", change.unwrap_or("with")];
    match binder.one_of(fields, &forms)? {
        "fn" => {
            let form = binder.form(fields, "map")?;
            binder.map_form(vertex, form, input?)
        }
        "select" => {
            let columns = binder.expressions(fields, "select", input)?;
            binder.push_map(vertex, columns, input?, &fields.at("select"))
        }
        first => {
            let columns = changed(binder, fields, input)?;
            binder.push_map(vertex, columns, input?, &fields.at(first))
        }
    }
}

/// The input's columns after `with`, `drop` and `rename`.
fn changed(
    binder: &mut Binder<'_, '_>,
    fields: &Fields<'_>,
    input: Option<&Bound>,
) -> Option<Vec<(String, Expr)>> {
    let added = if fields.has("with") {
        binder.expressions(fields, "with", input)
    } else {
        Some(Vec::new())
    };
    let dropped =
        if fields.has("drop") { fields.texts("drop", binder.report) } else { Some(Vec::new()) };
    let renamed = renamed(binder, fields);
    let (added, dropped, renamed) = (added?, dropped?, renamed?);
    let input = input?;
    let mut columns = all_columns(&input.schema);
    for (name, expr) in added {
        match columns.iter_mut().find(|(known, _)| *known == name) {
            Some(column) => column.1 = expr,
            None => columns.push((name, expr)),
        }
    }
    let mut is_right = true;
    for (name, pointer) in dropped {
        match columns.iter().position(|(known, _)| known == name) {
            Some(place) => drop(columns.remove(place)),
            None => is_right = unknown(binder, name, pointer, &columns),
        }
    }
    let before: Vec<String> = columns.iter().map(|(name, _)| name.clone()).collect();
    for (old, new, pointer) in renamed {
        match before.iter().position(|known| known == old) {
            Some(place) => columns[place].0 = String::from(new),
            None => is_right = unknown(binder, old, pointer, &columns),
        }
    }
    if is_right && columns.is_empty() {
        let message = "no column would be left";
        binder.report.problem(fields.at("drop"), ProblemCode::BadValue, message);
        return None;
    }
    is_right.then_some(columns)
}

/// Old and new names, with the pointers of the old ones.
fn renamed<'a>(
    binder: &mut Binder<'_, '_>,
    fields: &Fields<'a>,
) -> Option<Vec<(&'a str, &'a str, String)>> {
    if !fields.has("rename") {
        return Some(Vec::new());
    }
    let members = Fields::open(fields.get("rename")?, &fields.at("rename"), binder.report)?;
    let names = members.named_texts(binder.report).into_iter();
    names.map(|(old, pointer, new)| new.map(|new| (old, new, pointer))).collect()
}

/// Says that there is no such column; always false.
fn unknown(
    binder: &mut Binder<'_, '_>,
    name: &str,
    pointer: String,
    columns: &[(String, Expr)],
) -> bool {
    let names: Vec<&str> = columns.iter().map(|(known, _)| known.as_str()).collect();
    let message = format!("no column `{name}`; there are {}", names.join(", "));
    let suggestion = parse::nearest(name, names);
    binder.report.suggest(pointer, ProblemCode::UnknownColumn, message, suggestion);
    false
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use crate::{
        disk::{DataDisks, Disk, RealDisk},
        job::check::{Site, check},
    };

    /// The columns that a map with these fields gives over the columns a, b and c, or its problems.
    fn columns(fields: &str) -> Result<Vec<String>, Vec<String>> {
        let folder = tempfile::tempdir().unwrap();
        let mut file = RealDisk.create(&folder.path().join("in.csv")).unwrap();
        file.write_all(b"a,b,c\n1,2,3\n").unwrap();
        let base_dir = Some(folder.path().to_owned());
        let site = Site { data: DataDisks::everywhere(), base_dir, now_micros: 0 };
        let document = format!(
            r#"{{"dag": {{"nodes": [
                {{"id": "r", "op": "read_csv", "path": "in.csv", "header": true}},
                {{"id": "m", "op": "map", {fields}}}],
              "edges": [["r", "m"]]}}}}"#
        );
        let checked = check(&document, true, &site).map_err(|problems| {
            let said = |p: crate::job::check::Problem| format!("{}: {}", p.pointer, p.message);
            problems.into_iter().map(said).collect::<Vec<_>>()
        })?;
        let last = checked.plan.nodes.last().unwrap();
        Ok(last.schema.fields().iter().map(|field| field.name().clone()).collect())
    }

    #[test]
    fn columns_are_added_left_out_and_renamed_in_this_order() {
        let names = |names: [&str; 3]| Ok(names.map(String::from).to_vec());
        assert_eq!(columns(r#""drop": "b", "with": {"d": "a + b"}"#), names(["a", "c", "d"]));
        assert_eq!(columns(r#""rename": {"a": "b", "b": "a"}"#), names(["b", "a", "c"]));
        assert_eq!(
            columns(r#""with": {"d": "a"}, "drop": ["a"], "rename": {"d": "a"}"#),
            names(["b", "c", "a"])
        );
    }

    #[test]
    fn what_is_not_there_is_neither_dropped_nor_renamed() {
        for (fields, expected) in [
            (r#""drop": ["x"]"#, "/dag/nodes/1/drop/0: no column `x`; there are a, b, c"),
            (
                r#""drop": ["a"], "rename": {"a": "z"}"#,
                "/dag/nodes/1/rename/a: no column `a`; there are b, c",
            ),
            (r#""drop": ["a", "b", "c"]"#, "/dag/nodes/1/drop: no column would be left"),
            (r#""rename": {"a": "b"}"#, "/dag/nodes/1/rename: two columns would be named `b`"),
            (
                r#""select": {"x": "a"}, "drop": ["b"]"#,
                "/dag/nodes/1/drop: only one of `select` and `drop` may stand",
            ),
        ] {
            assert_eq!(columns(fields), Err(vec![String::from(expected)]), "{fields}");
        }
    }
}
