//! The JSON Schema of job documents, for editors and programs that write them.
//!
//! Made from the tables that [`check`](super) goes by, so that it knows the operators and fields
//! that are built, and no others. What a schema can't say (columns, edges that fit) is left to the
//! check.

use serde_json::{Map, Value, json};

use super::{
    DAG_FIELDS, JOB_FIELDS, MAX_EDGES, MAX_ID_LENGTH, MAX_NAME_LENGTH, MAX_NODES, MAX_PARTITIONS,
    MAX_PATH_BYTES, expect::ON_FAIL, fields::Known, join::KINDS, limits::LIMIT_FIELDS,
    operators::OPERATORS, sql, text_formats,
};
use crate::{
    expr::{aggregate::AGGREGATES, function::FORMS},
    formats::WriteFormat,
    plan::WriteMode,
};

/// Where it is identified.
const ID: &str = "urn:minispark:job";

/// The schema (JSON Schema 2020-12) of a job document.
pub fn document_schema() -> Value {
    let nodes: Vec<Value> = OPERATORS.iter().map(node).collect();
    let dag = object(
        &DAG_FIELDS,
        |name| match name {
            "nodes" => json!({
                "description": "what is done to rows",
                "type": "array", "minItems": 1, "maxItems": MAX_NODES, "items": { "oneOf": nodes },
            }),
            _ => json!({
                "description": "whose rows a node reads: [from, to]; a join's first is its left",
                "type": "array", "maxItems": MAX_EDGES,
                "items": { "type": "array", "items": id(), "minItems": 2, "maxItems": 2 },
            }),
        },
        &["nodes"],
    );
    let mut job = object(
        &JOB_FIELDS,
        |name| match name {
            "name" => json!({ "description": "shown in lists", "type": "string",
                "maxLength": MAX_NAME_LENGTH }),
            "params" => json!({ "description": "values for `${name}` in the document's strings, \
                with their defaults; null where one must be given", "type": "object",
                "propertyNames": { "pattern": "^[A-Za-z_][A-Za-z0-9_]*$" },
                "additionalProperties": { "type": ["string", "number", "boolean", "null"] } }),
            "limits" => object(&LIMIT_FIELDS, limit, &[]),
            "parallelism" => {
                json!({ "description": "the most tasks at once; the rows stay the same",
                "type": "integer", "minimum": 1, "maximum": MAX_PARTITIONS })
            }
            _ => dag.clone(),
        },
        &["dag"],
    );
    if let Value::Object(job) = &mut job {
        job.insert(String::from("$schema"), json!("https://json-schema.org/draft/2020-12/schema"));
        job.insert(String::from("$id"), json!(ID));
        job.insert(String::from("title"), json!("minispark job"));
    }
    job
}

/// A size that a job is limited to.
fn limit(name: &str) -> Value {
    let what = match name {
        "memory" => "memory of operators and map outputs in each process",
        _ => "spill files and map outputs on disk in each process",
    };
    let size = json!({ "type": "string", "pattern": "^[0-9]+ ?([kKmMgGtT][iI]?)?[bB]$" });
    let bytes = json!({ "type": "integer", "minimum": 1 });
    json!({ "description": what, "oneOf": [bytes, size] })
}

/// An object of the known fields.
fn object(known: &Known, value: impl Fn(&str) -> Value, required: &[&str]) -> Value {
    let names = known.always.iter().chain(known.fields);
    let properties: Map<String, Value> =
        names.map(|name| (String::from(*name), value(name))).collect();
    json!({
        "type": "object", "properties": properties, "required": required,
        "additionalProperties": false,
    })
}

/// A node of an operator.
fn node(operator: &Known) -> Value {
    let op = operator.of;
    let mut node = object(
        operator,
        |name| match name {
            "id" => id(),
            "op" => json!({ "const": op }),
            name => field(op, name),
        },
        required(op),
    );
    if let (Some(choice), Value::Object(node)) = (one_of(op), &mut node) {
        let choices: Vec<Value> = choice.iter().map(|name| json!({ "required": [name] })).collect();
        node.insert(String::from("oneOf"), json!(choices));
    }
    node
}

/// The fields without which an operator is refused.
fn required(op: &str) -> &'static [&'static str] {
    match op {
        op if op.starts_with("read_") || op.starts_with("write_") => &["id", "op", "path"],
        "flat_map" => &["id", "op", "fn"],
        "sort" => &["id", "op", "by"],
        "window" => &["id", "op", "with"],
        "top_k" => &["id", "op", "by", "n"],
        "sample" => &["id", "op", "fraction"],
        "repartition" => &["id", "op", "partitions"],
        "unpivot" => &["id", "op", "columns"],
        "limit" => &["id", "op", "n"],
        "aggregate" => &["id", "op", "aggs"],
        "pivot" => &["id", "op", "column", "fn", "columns"],
        "sql" => &["id", "op", "query"],
        _ => &["id", "op"],
    }
}

/// The fields of which exactly one must stand.
fn one_of(op: &str) -> Option<&'static [&'static str]> {
    match op {
        "map" => Some(&["fn", "select", "with"]),
        "filter" => Some(&["fn", "where"]),
        "reduce_by_key" => Some(&["fn", "aggs"]),
        _ => None,
    }
}

fn id() -> Value {
    json!({ "type": "string", "pattern": format!("^[A-Za-z0-9_-]{{1,{MAX_ID_LENGTH}}}$") })
}

/// A string, or a list of at least one.
fn texts(description: &str) -> Value {
    json!({ "description": description, "anyOf": [
        { "type": "string" },
        { "type": "array", "minItems": 1, "items": { "type": "string" } },
    ] })
}

/// An object of names and strings.
fn named(description: &str) -> Value {
    json!({ "description": description, "type": "object", "minProperties": 1,
        "additionalProperties": { "type": "string" } })
}

/// What a field of an operator holds.
fn field(op: &str, name: &str) -> Value {
    let reads = op.starts_with("read_");
    let flag = |description: &str| json!({ "description": description, "type": "boolean" });
    let text = |description: &str| json!({ "description": description, "type": "string" });
    let count = |description: &str, least: u64, most: u64| json!({ "description": description, "type": "integer", "minimum": least, "maximum": most });
    let most_rows = i64::MAX.unsigned_abs();
    match name {
        "path" if reads => texts("a file, a folder or a glob, or a list of them"),
        "path" => {
            json!({ "description": "the folder of the files", "type": "string", "minLength": 1,
            "maxLength": MAX_PATH_BYTES })
        }
        "partitions" if op == "repartition" => count("how many partitions", 1, MAX_PARTITIONS),
        "partitions" => count("how many splits; by size where it is left out", 1, MAX_PARTITIONS),
        "header" if reads => flag("whether the first line names the columns"),
        "header" => flag("whether a first line names the columns; true where it is left out"),
        "columns" if op == "pivot" => texts("the values that become columns of these names"),
        "columns" if op == "unpivot" => texts("the columns that become rows"),
        "columns" if matches!(op, "read_parquet" | "read_arrow") => {
            texts("the columns that are read; all where it is left out")
        }
        "hive" => flag(
            "whether folders named `column=value` give columns; where it is left out, those below \
             a folder that is read do",
        ),
        "columns" => json!({ "description": "the columns: names, or names with their types",
            "anyOf": [
                { "type": "array", "minItems": 1, "items": { "type": "string" } },
                { "type": "string" },
                named("types by name"),
            ] }),
        "delimiter" => json!({ "description": "one ASCII character; a comma where it is left out",
            "type": "string", "pattern": "^[\\x01-\\x7f]$" }),
        "fn" if op == "pivot" => {
            let names: Vec<&str> = AGGREGATES.iter().map(|known| known.name).collect();
            json!({ "description": "an aggregate of one argument", "enum": names })
        }
        "compression" if reads => text_formats::compression_schema(),
        name if text_formats::schema_of(name).is_some() => {
            text_formats::schema_of(name).unwrap_or_default()
        }
        "fn" => function(op),
        "select" => named("exactly these columns, as expressions"),
        "drop" => texts("the columns that are left out, behind `with`"),
        "rename" => named("new names of columns, behind `drop`"),
        "with" if op == "window" => named("columns to add or replace, as window functions"),
        "partition_by" if op == "window" => {
            texts("columns or expressions; rows with equal ones are a partition")
        }
        "order_by" => texts("the order in a partition, as `by` of sort has it"),
        "frame" => text("what a row sees, such as `rows between 2 preceding and current row`"),
        "with" => named("columns to add or replace, as expressions"),
        "join_order" => {
            json!({ "description": "in what order tables are joined: as sizes suggest, or \
            as they are written", "enum": sql::JOIN_ORDERS })
        }
        "query" => text("one SELECT over the inputs, which are tables under their nodes' ids"),
        "where" if op == "expect" => text("an expression that must be true of every row"),
        "where" => text("an expression; rows for which it is true stay"),
        "column" if op == "pivot" => text("the column whose values become columns"),
        "value" => text("an expression; what is aggregated in each column"),
        "column" => texts("the text columns; all where it is left out"),
        "as" => text("the name of the new column"),
        "key" => texts("a column or an expression, or a list of them"),
        "left_key" => texts("the key of the left side"),
        "right_key" => texts("the key of the right side"),
        "aggs" => named("columns as aggregates, such as `sum(qty * price)`"),
        "how" => json!({ "description": "which rows come out",
            "enum": KINDS.map(|(kind, _)| kind) }),
        "by" if op == "flat_map" => {
            json!({ "description": "where `split` cuts; a comma where it is \
            left out", "type": "string", "minLength": 1 })
        }
        "outer" => flag("whether a row without elements or parts gives one row, with a null"),
        "on" => text(
            "what must be true of a pair beside its keys; `l.x` and `r.y` name a side's \
            column",
        ),
        "null_safe" => flag("whether a null key equals a null key"),
        "suffix" => text(
            "what is put behind a right column's name that the left side has; \
            `_right` where it is left out",
        ),
        "name_as" => text("the column of the names; `name` where it is left out"),
        "value_as" => text("the column of the values; `value` where it is left out"),
        "fraction" => json!({ "description": "the part of the rows that is picked",
            "type": "number", "minimum": 0, "maximum": 1 }),
        "seed" => count("another seed picks other rows; 0 where it is left out", 0, u64::MAX),
        "rows" => json!({ "description": "how many rows there must be", "anyOf": [
            { "type": "integer", "minimum": 0, "maximum": most_rows },
            { "type": "object", "minProperties": 1, "additionalProperties": false, "properties": {
                "min": count("the least", 0, most_rows), "max": count("the most", 0, most_rows),
            } },
        ] }),
        "unique" => texts("columns whose values, together, must differ from row to row"),
        "not_null" => texts("columns that must have no null"),
        "on_fail" => json!({ "description": "what if a check does not hold for a row",
            "enum": ON_FAIL }),
        "by" => texts(
            "columns or expressions, each with `asc` or `desc` and `nulls first` or `nulls last`",
        ),
        "n" => count("the most rows", 0, most_rows),
        "offset" => count("rows that are passed over first", 0, most_rows),
        "mode" => json!({ "description": "what if the target is there; error where it is left out",
            "enum": WriteMode::ALL.map(WriteMode::name) }),
        "partition_by" => texts("columns whose values name folders `column=value`"),
        "compression" => json!({ "description": "how the files are compressed",
            "enum": compressions(op) }),
        "files" => count("how many files; by size where it is left out", 1, MAX_PARTITIONS),
        "order" => {
            json!({ "description": "what if the rows have no order: as they come, or sorted \
            by all columns", "enum": ["any", "stable"] })
        }
        _ => json!({}),
    }
}

/// The compressions that a writer knows.
fn compressions(op: &str) -> Vec<&'static str> {
    let format = match op {
        "write_parquet" => WriteFormat::Parquet,
        "write_arrow" => WriteFormat::Arrow,
        _ => WriteFormat::Text,
    };
    format.compressions().iter().map(|known| known.name()).collect()
}

/// The functions that an operator takes.
fn function(op: &str) -> Value {
    let taken = FORMS.iter().filter(|form| form.operators.contains(&op));
    let choices: Vec<Value> =
        taken.map(|form| json!({ "const": form.name, "description": form.about })).collect();
    json!({ "description": "a named function", "oneOf": choices })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{OPERATORS, document_schema, field};

    /// The branch of an operator.
    fn branch(op: &str) -> Value {
        let schema = document_schema();
        let nodes = &schema["properties"]["dag"]["properties"]["nodes"]["items"]["oneOf"];
        let mut branches = nodes.as_array().unwrap().iter();
        branches.find(|node| node["properties"]["op"]["const"] == op).unwrap().clone()
    }

    #[test]
    fn every_field_that_is_read_is_described() {
        for operator in OPERATORS {
            for name in operator.fields {
                let value = field(operator.of, name);
                assert!(value["description"].is_string(), "{} {name}", operator.of);
            }
        }
    }

    #[test]
    fn an_operator_has_its_fields_and_functions_and_no_others() {
        let read = branch("read_text");
        assert_eq!(read["required"], json!(["id", "op", "path"]));
        let names: Vec<&String> = read["properties"].as_object().unwrap().keys().collect();
        assert_eq!(
            names,
            ["compression", "encoding", "hive", "id", "on_bad_row", "op", "partitions", "path"]
        );
        assert_eq!(read["additionalProperties"], false);
        let filter = branch("filter");
        assert_eq!(filter["oneOf"], json!([{ "required": ["fn"] }, { "required": ["where"] }]));
        let reduce = branch("reduce_by_key");
        let functions = reduce["properties"]["fn"]["oneOf"].as_array().unwrap();
        let forms: Vec<&Value> = functions.iter().map(|form| &form["const"]).collect();
        assert_eq!(forms, ["sum", "count", "min", "max", "avg"]);
    }
}
