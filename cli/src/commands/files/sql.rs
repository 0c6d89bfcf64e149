//! `sql`: one SELECT over files.

use std::path::Path;

use minispark_engine::{
    error::Code,
    job::{
        Json,
        check::sql::sources::{Source, sources},
    },
};

use super::{
    ANSWER, Look, formats,
    job::{Job, literal, object, text},
    print_job,
    rows::Place,
};
use crate::{
    args::{self, files::Input},
    error::{Error, Exit, Result},
    output::Output,
};

/// Runs the query, each of whose tables is a file.
///
/// # Errors
/// What is wrong with the query, with its place, or why it failed.
pub(crate) fn sql(args: &args::files::Sql, output: Output) -> Result<Exit> {
    let rows = &args.rows;
    let place = Place::of(rows.format, rows.output.as_deref(), rows.show, output)?;
    let look = Look::start(Some(&args.resources), output)?;
    let job = job(&look, &args.query, &args.input)?;
    if rows.job {
        return print_job(&job);
    }
    look.print(&job, &place)
}

/// The job of a query: a reader for each file, and the query over them.
fn job(look: &Look, query: &str, input: &Input) -> Result<Job> {
    let found = sources(query).map_err(|error| {
        let told = Error::new(Exit::InvalidJob, Code::ValidationFailed, error.message);
        match error.suggestion {
            Some(name) => told.help(format!("did you mean `{name}`?")),
            None => told,
        }
    })?;
    let mut job = Job::new("the query");
    let mut known: Vec<(Source, String)> = Vec::new();
    let mut changed = String::with_capacity(query.len());
    let mut behind = 0;
    for source in found {
        let is_same = |other: &Source| other.name == source.name && other.call == source.call;
        let same = known.iter().find(|(other, _)| is_same(other)).map(|(_, id)| id.clone());
        let id = if let Some(id) = same {
            id
        } else {
            let taken: Vec<&str> = known.iter().map(|(_, id)| id.as_str()).collect();
            let id = id_of(&source.name, &taken);
            let reader = reader(look, &id, &source, input)?;
            job = job.with(&id, reader, &[]);
            known.push((source.clone(), id.clone()));
            id
        };
        changed.push_str(&query[behind..source.place.start]);
        let name = format!("\"{id}\"");
        changed.push_str(&name);
        // As many bytes as before, so that places in messages are those of the query.
        let length = source.place.len();
        changed.extend(std::iter::repeat_n(' ', length.saturating_sub(name.len())));
        behind = source.place.end;
    }
    changed.push_str(&query[behind..]);
    let ids: Vec<&str> = known.iter().map(|(_, id)| id.as_str()).collect();
    let node = [("id", text(ANSWER)), ("op", text("sql")), ("query", literal(&changed))];
    Ok(job.with(ANSWER, object(node), &ids))
}

/// The node that reads a table's file.
fn reader(look: &Look, id: &str, source: &Source, input: &Input) -> Result<Json> {
    let Some(call) = &source.call else {
        if !source.is_quoted && !source.name.contains(['.', '/']) {
            let name = &source.name;
            let what = format!("no table `{name}`: tables are files here");
            return Err(Error::new(Exit::InvalidJob, Code::ValidationFailed, what)
                .at(format!("byte {} of the query", source.place.start))
                .help("name a file in single quotes, as in from 'data.csv'"));
        }
        return look.reader(id, &source.name, input);
    };
    let Some(op) = formats::op_of_function(&call.function) else {
        let what = format!("no function `{}` in `from`", call.function);
        return Err(Error::new(Exit::InvalidJob, Code::ValidationFailed, what)
            .at(format!("byte {} of the query", source.place.start))
            .help("there are read_csv, read_jsonl, read_text, read_parquet, read_arrow"));
    };
    let path = if source.name == "-" {
        look.spooled()?.to_string_lossy().into_owned()
    } else {
        source.name.clone()
    };
    let mut members = vec![("id", text(id)), ("op", text(op)), ("path", literal(&path))];
    let has_header = call.arguments.iter().any(|(name, _)| name == "header");
    if op == "read_csv" && !has_header {
        members.push(("header", Json::Bool(!input.no_header)));
    }
    for (name, value) in &call.arguments {
        let value = match value {
            serde_json::Value::Bool(value) => Json::Bool(*value),
            serde_json::Value::Number(number) => Json::Number(number.clone()),
            serde_json::Value::String(value) => literal(value),
            _ => Json::Null,
        };
        members.push((name, value));
    }
    Ok(object(members))
}

/// A node's id like the name of a file, which no other has.
fn id_of(path: &str, taken: &[&str]) -> String {
    let path = if path == "-" { "stdin" } else { path };
    let parts = Path::new(path).iter().rev().map(|part| part.to_string_lossy().into_owned());
    // The last part of the path that is no pattern, without what stands behind its first dot.
    let part = parts.into_iter().find(|part| {
        let stem = part.trim_start_matches('.').split('.').next().unwrap_or_default();
        !stem.is_empty() && !stem.contains(['*', '?', '[', '{'])
    });
    let part = part.unwrap_or_default();
    let stem = part.trim_start_matches('.').split('.').next().unwrap_or_default();
    let plain = |letter: char| {
        if letter.is_ascii_alphanumeric() || letter == '_' || letter == '-' { letter } else { '_' }
    };
    let stem: String = stem.chars().map(plain).take(40).collect();
    let stem = if stem.is_empty() { String::from("t") } else { stem };
    let is_free = |id: &String| id != ANSWER && id != "rows" && !taken.contains(&id.as_str());
    let numbered = (2_u32..).map(|number| format!("{stem}_{number}"));
    let mut ids = std::iter::once(stem.clone()).chain(numbered);
    ids.find(is_free).unwrap_or(stem.clone())
}

#[cfg(test)]
mod tests {
    use super::id_of;

    #[test]
    fn a_table_is_called_like_its_file() {
        let id = |path| id_of(path, &["users"]);
        assert_eq!(id("data/orders.csv.gz"), "orders");
        assert_eq!(id("data/users.csv"), "users_2");
        assert_eq!(id("data/2024/*.parquet"), "2024");
        assert_eq!(id("my file.csv"), "my_file");
        assert_eq!(id("*.csv"), "t");
        assert_eq!(id("-"), "stdin");
        assert_eq!(id("answer.csv"), "answer_2");
    }
}
