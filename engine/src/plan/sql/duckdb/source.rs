//! The files of a reader as a table function of `DuckDB`'s.

use arrow::datatypes::{Field, Schema};

use super::{
    super::{Dialect, Written, expression::select, push, refused},
    name, quoted, type_name,
};
use crate::{
    formats::{
        Format,
        compression::Compression,
        csv::CsvOptions,
        intake::{Encoding, Intake},
        jsonl::JsonlOptions,
    },
    plan::Read,
};

/// The rows of `read`, with the columns of `schema`.
pub(in crate::plan::sql) fn table(read: &Read, schema: &Schema) -> Written {
    let paths: Vec<_> = read.files.iter().map(|f| quoted(&f.path.display().to_string())).collect();
    let paths = format!("[{}]", paths.join(", "));
    let is_folder = |field: &Field| read.scan.folders.iter().any(|of| of.name == *field.name());
    let typed = |field: &Field| Ok((quoted(field.name()), quoted(&type_name(field.data_type())?)));
    let pairs = |folders: bool| -> Written {
        let fields = schema.fields().iter().filter(|field| is_folder(field) == folders);
        let pairs = fields.map(|field| typed(field)).collect::<Result<Vec<_>, String>>()?;
        let pairs: Vec<_> = pairs.iter().map(|(name, of)| format!("{name}: {of}")).collect();
        Ok(format!("{{{}}}", pairs.join(", ")))
    };
    let intake = read.format.intake();
    if intake.on_bad_row.tolerates() {
        return refused("a reader that leaves bad rows out has no SQL");
    }
    let hive = if read.scan.folders.is_empty() {
        String::from(", hive_partitioning = false")
    } else {
        format!(", hive_partitioning = true, hive_types = {}", pairs(true)?)
    };
    Ok(match &read.format {
        Format::Text(_) => {
            if !read.scan.folders.is_empty() || !taken_in(read, intake)?.is_empty() {
                return refused(
                    "lines of compressed files, or with columns of folders, have no SQL",
                );
            }
            let line = name(schema.field(0).name());
            // Its reader of CSV would pass empty lines over.
            format!(
                "(select regexp_replace(unnest(string_split(regexp_replace(\
                 ltrim(content, chr(65279)), '\\n$', ''), chr(10))), '\\r$', '') as {line} \
                 from read_text({paths}) where content <> '')"
            )
        }
        Format::Csv(options) => {
            format!(
                "read_csv({paths}, {}, columns = {}{}{hive})",
                csv(options)?,
                pairs(false)?,
                taken_in(read, intake)?
            )
        }
        Format::Jsonl(options) => {
            format!(
                "read_json({paths}, format = 'auto', {}columns = {}{}{hive})",
                jsonl(options),
                pairs(false)?,
                taken_in(read, intake)?
            )
        }
        Format::Parquet => {
            let names = select(
                schema.fields().iter().map(|field| {
                    let field = field.name().as_str();
                    (field, name(field))
                }),
                Dialect::DuckDb,
            );
            format!("(select {names} from read_parquet({paths}, union_by_name = true{hive}))")
        }
        Format::Arrow => return refused("DuckDB reads no Arrow files by itself"),
    })
}

/// How CSV is written.
fn csv(options: &CsvOptions) -> Written {
    let CsvOptions { header, delimiter, quote, escape, comment, nulls, trim, pads, .. } = options;
    if *trim {
        return refused("a `read_csv` with `trim` has no SQL");
    }
    let character = |of: Option<u8>| of.map_or_else(String::new, |of| char::from(of).to_string());
    let nulls: Vec<_> = std::iter::once("").chain(nulls.0.iter().map(String::as_str)).collect();
    let nulls: Vec<_> = nulls.into_iter().map(quoted).collect();
    let mut text = format!(
        "header = {header}, delim = {}, quote = {}, escape = {}, nullstr = [{}], \
         allow_quoted_nulls = false, auto_detect = false",
        quoted(&char::from(*delimiter).to_string()),
        quoted(&character(*quote)),
        quoted(&character(escape.or(*quote))),
        nulls.join(", ")
    );
    if let Some(comment) = comment {
        let comment = quoted(&char::from(*comment).to_string());
        push(&mut text, format_args!(", comment = {comment}"));
    }
    if *pads {
        text += ", null_padding = true";
    }
    text += &formats(options.date_format.as_deref(), options.timestamp_format.as_deref());
    Ok(text)
}

fn jsonl(options: &JsonlOptions) -> String {
    let formats = formats(options.date_format.as_deref(), options.timestamp_format.as_deref());
    formats.strip_prefix(", ").map(|formats| format!("{formats}, ")).unwrap_or_default()
}

/// How dates and timestamps are written.
fn formats(date: Option<&str>, timestamp: Option<&str>) -> String {
    let date = date.map(|format| format!(", dateformat = {}", quoted(format)));
    let timestamp = timestamp.map(|format| format!(", timestampformat = {}", quoted(format)));
    format!("{}{}", date.unwrap_or_default(), timestamp.unwrap_or_default())
}

/// How bytes become characters.
fn taken_in(read: &Read, intake: &Intake) -> Written {
    let mut compressions: Vec<_> = read
        .files
        .iter()
        .map(|file| intake.compression.unwrap_or_else(|| Compression::of_path(&file.path)))
        .collect();
    compressions.dedup();
    let compression = match compressions[..] {
        [] | [Compression::None] => "",
        [Compression::Gzip] => ", compression = 'gzip'",
        [Compression::Zstd] => ", compression = 'zstd'",
        _ => return Err(String::from("DuckDB reads no such compression, or one at a time")),
    };
    let encoding = match intake.encoding {
        Encoding::Utf8 => "",
        Encoding::Latin1 if matches!(read.format, Format::Csv(_)) => ", encoding = 'latin-1'",
        _ => return Err(String::from("a reader with such an `encoding` has no SQL")),
    };
    Ok(format!("{compression}{encoding}"))
}
