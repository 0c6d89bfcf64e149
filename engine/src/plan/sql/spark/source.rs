//! The files of a reader as tables of Spark's by their paths, with the reader's options.

use arrow::datatypes::{DataType, Field, Schema};

use super::{
    super::{Dialect, Written, expression::select, refused},
    cast::cast,
    literal, name, quoted, type_name,
};
use crate::{
    expr::Literal,
    formats::{
        Format,
        compression::Compression,
        csv::CsvOptions,
        intake::{Encoding, Intake},
        jsonl::JsonlOptions,
    },
    plan::{InputFile, Read},
    source::folders,
};

/// Signs that make a path a pattern.
const PATTERN_SIGNS: [char; 8] = ['\\', '{', '}', '[', ']', '*', '?', ','];

/// The query that gives the rows of `read`, with the columns of `schema`.
///
/// # Errors
/// A format or an option that Spark has not.
pub(in crate::plan::sql) fn rows(read: &Read, schema: &Schema) -> Written {
    for field in schema.fields() {
        type_name(field.data_type())?;
    }
    let intake = read.format.intake();
    if intake.on_bad_row.tolerates() {
        return refused("a reader that leaves bad rows out has no SQL");
    }
    if read.format != Format::Parquet {
        decoded(read, intake)?;
    }
    // Files of one value of their folders after another.
    let mut parts: Vec<(Vec<Literal>, Vec<&InputFile>)> = Vec::new();
    for file in &read.files {
        let value = |column| {
            let value = folders::value(&file.path, column).map_err(|error| error.to_string())?;
            Literal::of(&value, 0).ok_or_else(|| String::from("a folder's value has no SQL"))
        };
        let values = read.scan.folders.iter().map(value).collect::<Result<Vec<_>, String>>()?;
        match parts.last_mut() {
            Some((known, files)) if *known == values => files.push(file),
            _ => parts.push((values, vec![file])),
        }
    }
    let part = |(values, files): &(Vec<Literal>, Vec<&InputFile>)| {
        let of_folder = |field: &Field| {
            let at = read.scan.folders.iter().position(|of| of.name == *field.name())?;
            Some(literal(&values[at]))
        };
        let paths = paths(files)?;
        let has_several = files.len() > 1;
        part(&read.format, schema, &of_folder, (&paths, has_several))
    };
    let parts = parts.iter().map(part).collect::<Result<Vec<_>, String>>()?;
    Ok(parts.join("\n    union all "))
}

/// The rows of files whose folders give the same values.
fn part(
    format: &Format,
    schema: &Schema,
    of_folder: &dyn Fn(&Field) -> Option<Written>,
    (paths, has_several): (&str, bool),
) -> Written {
    let columns = |value: &dyn Fn(usize, &Field) -> Written| {
        let mut inside = 0;
        let mut column = |field: &Field| {
            of_folder(field).unwrap_or_else(|| {
                inside += 1;
                value(inside - 1, field)
            })
        };
        let values = schema.fields().iter().map(|field| column(field));
        let values = values.collect::<Result<Vec<_>, String>>()?;
        let labels = schema.fields().iter().map(|field| field.name().as_str());
        Ok::<_, String>(select(labels.zip(values), Dialect::Spark))
    };
    let lines = format!("text.{} with (lineSep = '\\n')", name(paths));
    Ok(match format {
        Format::Parquet => {
            let columns = columns(&|_, field| Ok(name(field.name())))?;
            let merged = if has_several { " with (mergeSchema = true)" } else { "" };
            format!("select {columns} from parquet.{}{merged}", name(paths))
        }
        Format::Text(_) => {
            let columns =
                columns(&|_, _| Ok(String::from("regexp_replace(value, '\\\\r\\\\z', '')")))?;
            format!("select {columns} from {lines}")
        }
        Format::Csv(options) => {
            let read = csv(options)?;
            let date = options.date_format.as_deref();
            let timestamp = options.timestamp_format.as_deref();
            let count = schema.fields().iter().filter(|field| of_folder(field).is_none()).count();
            let aliases: Vec<_> = (0..count).map(|at| format!("c{at}")).collect();
            let columns = columns(&|at, field| typed(&format!("c{at}"), field, date, timestamp))?;
            let (path, aliases) = (name(paths), aliases.join(", "));
            format!("select {columns} from csv.{path} with ({read}) as t({aliases})")
        }
        Format::Jsonl(options) => {
            let JsonlOptions { date_format, timestamp_format, .. } = options;
            let mut members = Vec::new();
            for field in schema.fields().iter().filter(|field| of_folder(field).is_none()) {
                let is_nested = field.data_type().is_nested();
                let is_time = field.data_type().is_temporal();
                let kind =
                    if is_time { String::from("STRING") } else { type_name(field.data_type())? };
                if is_nested && (kind.contains("DATE") || kind.contains("TIMESTAMP")) {
                    return refused(
                        "dates inside of lists and structs of JSON have no SQL in Spark",
                    );
                }
                members.push(format!("{} {kind}", name(field.name())));
            }
            let columns = columns(&|_, field| {
                let member = format!("j[{}]", quoted(field.name()));
                if field.data_type().is_temporal() {
                    typed(&member, field, date_format.as_deref(), timestamp_format.as_deref())
                } else {
                    Ok(member)
                }
            })?;
            let members = quoted(&members.join(", "));
            format!(
                "select {columns} from (select from_json(value, {members}, map('mode', \
                 'FAILFAST')) as j from {lines} where trim(value) <> '')"
            )
        }
        Format::Arrow => return refused("Spark reads no Arrow files"),
    })
}

/// A text of a file as a value of a column.
fn typed(text: &str, field: &Field, date: Option<&str>, timestamp: Option<&str>) -> Written {
    let is_formatted = match field.data_type() {
        DataType::Date32 => date.is_some(),
        other => other.is_temporal() && timestamp.is_some(),
    };
    if is_formatted {
        return refused("dates and timestamps of another format have no SQL in Spark");
    }
    cast(text, &DataType::Utf8View, field.data_type(), false)
}

/// The files' path: one, or a pattern that says them all.
fn paths(files: &[&InputFile]) -> Written {
    let paths = files.iter().map(|file| match file.path.to_str() {
        None => Err(format!("{} is no text", file.path.display())),
        // It takes them by escapes in some places and not in others.
        Some(text) if text.contains(PATTERN_SIGNS) => {
            Err(format!("{text} has a sign that makes it a pattern in Spark"))
        }
        Some(text) => Ok(text),
    });
    let paths = paths.collect::<Result<Vec<&str>, String>>()?;
    let [first, others @ ..] = &paths[..] else {
        return refused("a reader without files has no SQL");
    };
    if others.is_empty() {
        return Ok(String::from(*first));
    }
    // The folder that all are in.
    let shared = |one: &str, other: &str| {
        let same = one.bytes().zip(other.bytes()).take_while(|(one, other)| one == other).count();
        one.as_bytes()[..same].iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1)
    };
    let folder = others.iter().map(|other| shared(first, other)).min().unwrap_or(0);
    let rest: Vec<_> = paths.iter().map(|path| &path[folder..]).collect();
    Ok(format!("{}{{{}}}", &first[..folder], rest.join(",")))
}

/// How CSV is written.
fn csv(options: &CsvOptions) -> Written {
    let CsvOptions { header, delimiter, quote, escape, comment, nulls, trim, pads, .. } = options;
    if *trim || *pads || !nulls.0.is_empty() {
        return refused("a `read_csv` with `trim`, `null` or missing fields has no SQL in Spark");
    }
    let character =
        |of: Option<u8>| quoted(&of.map(char::from).map(String::from).unwrap_or_default());
    let mut text = format!(
        "header = {header}, sep = {}, quote = {}, escape = {}, nullValue = '\\u0000', \
         mode = 'FAILFAST'",
        character(Some(*delimiter)),
        character(*quote),
        character(escape.or(*quote))
    );
    if quote.is_some() {
        text += ", multiLine = true";
    }
    if let Some(comment) = comment {
        text += ", comment = ";
        text += &character(Some(*comment));
    }
    if options.intake.encoding == Encoding::Latin1 {
        text += ", encoding = 'ISO-8859-1'";
    }
    Ok(text)
}

/// Checks that Spark turns the bytes into the same characters.
fn decoded(read: &Read, intake: &Intake) -> Result<(), String> {
    for file in &read.files {
        // Spark goes by the names.
        let named = Compression::of_path(&file.path);
        let is_known = matches!(named, Compression::None | Compression::Gzip);
        if !is_known || intake.compression.is_some_and(|said| said != named) {
            return Err(String::from("Spark reads no such compression, or not by such a name"));
        }
    }
    match intake.encoding {
        Encoding::Utf8 => Ok(()),
        Encoding::Latin1 if matches!(read.format, Format::Csv(_)) => Ok(()),
        _ => Err(String::from("a reader with such an `encoding` has no SQL")),
    }
}
