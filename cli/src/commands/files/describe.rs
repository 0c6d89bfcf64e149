//! `describe`: what is in the columns of files.

use std::io::IsTerminal;

use minispark_engine::{expr::parse::type_name, job::Json};

use super::{
    ANSWER, FILE, Look,
    job::{Job, literal, object, text},
    print_job,
};
use crate::{
    args::{self, files::TextFormat},
    error::{Exit, Result},
    output::{self, Output},
};

/// What is told of a column.
const HEAD: [&str; 9] =
    ["column", "type", "rows", "nulls", "distinct", "min", "max", "mean", "stddev"];

/// Prints a line a column.
///
/// # Errors
/// Where the file can't be read.
pub(crate) fn describe(args: &args::files::Describe, output: Output) -> Result<Exit> {
    let look = Look::start(Some(&args.resources), output)?;
    let reader = look.reader(FILE, &args.file, &args.input)?;
    let read = Job::new("the command line").with(FILE, reader, &[]);
    let checked = look.check(&read)?;
    let fields: Vec<(String, String)> = checked.plan.nodes[0]
        .schema
        .fields()
        .iter()
        .map(|field| (field.name().clone(), type_name(field.data_type())))
        .collect();
    let query = query(&fields, args.exact);
    let node = object([("id", text(ANSWER)), ("op", text("sql")), ("query", literal(&query))]);
    let job = read.with(ANSWER, node, &[FILE]);
    if args.job {
        return print_job(&job);
    }
    let records = match look.records(&job)? {
        Ok(records) => records,
        Err(exit) => return Ok(exit),
    };
    let values = records.into_iter().nth(1).unwrap_or_default();
    print(&columns(&fields, &values), format(args.format, output))?;
    Ok(Exit::Done)
}

fn format(asked: Option<TextFormat>, output: Output) -> TextFormat {
    asked.unwrap_or_else(|| {
        if output.json_asked() {
            TextFormat::Json
        } else if std::io::stdout().is_terminal() {
            TextFormat::Table
        } else {
            TextFormat::Csv
        }
    })
}

/// Whether values of a type have a least and a greatest that are worth telling.
fn is_ordered(data_type: &str) -> bool {
    let words = ["string", "date", "time", "duration"];
    is_number(data_type) || words.iter().any(|word| data_type.starts_with(word))
}

fn is_number(data_type: &str) -> bool {
    ["int", "uint", "float", "decimal"].iter().any(|word| data_type.starts_with(word))
        && data_type != "interval"
}

fn is_nested(data_type: &str) -> bool {
    ["list", "struct", "null", "interval"].iter().any(|word| data_type.starts_with(word))
}

/// One row of everything that is told.
fn query(fields: &[(String, String)], exact: bool) -> String {
    let mut items = vec![String::from("count(*)")];
    for (name, data_type) in fields {
        let column = format!("\"{}\"", name.replace('"', "\"\""));
        items.push(format!("count({column})"));
        if !is_nested(data_type) {
            let count = if exact { "count(distinct " } else { "approx_count_distinct(" };
            items.push(format!("{count}{column})"));
        }
        if is_ordered(data_type) {
            items.push(format!("min({column}), max({column})"));
        }
        if is_number(data_type) {
            items.push(format!("avg({column}), stddev_samp({column})"));
        }
    }
    let items = items.join(", ");
    format!("select {items} from {FILE}")
}

/// What is told of each column, from the values in the query's order.
fn columns(fields: &[(String, String)], values: &[String]) -> Vec<Vec<String>> {
    let mut values = values.iter();
    let mut next = || values.next().cloned().unwrap_or_default();
    let rows = next();
    let total: u64 = rows.parse().unwrap_or_default();
    let told = fields.iter().map(|(name, data_type)| {
        let count: u64 = next().parse().unwrap_or_default();
        let distinct = if is_nested(data_type) { String::new() } else { next() };
        let (least, most) =
            if is_ordered(data_type) { (next(), next()) } else { (String::new(), String::new()) };
        let (mean, stddev) =
            if is_number(data_type) { (next(), next()) } else { (String::new(), String::new()) };
        vec![
            name.clone(),
            data_type.clone(),
            rows.clone(),
            total.saturating_sub(count).to_string(),
            distinct,
            least,
            most,
            mean,
            stddev,
        ]
    });
    told.collect()
}

fn print(columns: &[Vec<String>], format: TextFormat) -> Result<()> {
    match format {
        TextFormat::Table => output::table(&HEAD, columns.to_vec()),
        TextFormat::Csv => {
            let mut lines = vec![HEAD.join(",")];
            lines.extend(columns.iter().map(|column| {
                let cells: Vec<String> = column.iter().map(|cell| quoted(cell)).collect();
                cells.join(",")
            }));
            output::data(format!("{}\n", lines.join("\n")).as_bytes())
        }
        TextFormat::Jsonl => {
            for column in columns {
                output::data(format!("{}\n", told(column)).as_bytes())?;
            }
            Ok(())
        }
        TextFormat::Json => {
            output::document(&Json::List(columns.iter().map(|column| told(column)).collect()))
        }
    }
}

/// A column as an object: counts are numbers, what may be of any type is text.
fn told(column: &[String]) -> Json {
    let members = HEAD.iter().zip(column).map(|(name, value)| {
        let is_count = matches!(*name, "rows" | "nulls" | "distinct");
        let is_float = matches!(*name, "mean" | "stddev");
        let value = if value.is_empty() {
            Json::Null
        } else if let (true, Ok(count)) = (is_count, value.parse::<u64>()) {
            Json::Number(count.into())
        } else if let (true, Some(number)) =
            (is_float, value.parse().ok().and_then(serde_json::Number::from_f64))
        {
            Json::Number(number)
        } else {
            Json::Text(value.clone())
        };
        (String::from(*name), value)
    });
    Json::Object(members.collect())
}

fn quoted(cell: &str) -> String {
    if cell.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        String::from(cell)
    }
}
