//! Which format a file has, by its name, and the nodes that read and write it.

use std::path::{Path, PathBuf};

use minispark_engine::{disk::Disk, error::Code, job::Json};

use super::job::{literal, object, text};
use crate::{
    args::files::{FileFormat, Input, RowsFormat},
    error::{Error, Exit, Result},
};

/// Suffixes of compressed files, behind that of the format.
const CODECS: [&str; 9] = ["gz", "gzip", "zst", "zstd", "lz4", "bz2", "snappy", "sz", "bzip2"];

const FORMATS: &str = "csv, tsv, jsonl, ndjson, json, txt, parquet, arrow";

/// The format of a file, a glob or a folder by its name.
pub(super) fn of_path(path: &Path, disk: &dyn Disk) -> Result<FileFormat> {
    if path == Path::new("-") {
        return Err(Error::usage("the format of stdin is not known")
            .help("name it, as in --input-format csv"));
    }
    if let Some(format) = of_name(path) {
        return Ok(format);
    }
    // A folder has the format of what lies in it.
    let mut inside: Vec<PathBuf> = disk.list(path).unwrap_or_default();
    inside.sort();
    let is_shown = |file: &&PathBuf| {
        let name = file.file_name().map(|name| name.to_string_lossy().into_owned());
        name.is_some_and(|name| !name.starts_with(['.', '_']))
    };
    let found = inside.iter().filter(is_shown).find_map(|file| of_name(file));
    found.ok_or_else(|| {
        let what = format!("the name of `{}` does not tell its format", path.display());
        let help = format!("known endings are {FORMATS}; or name it, as in --input-format csv");
        Error::new(Exit::Usage, Code::BadRequest, what).help(help)
    })
}

fn of_name(path: &Path) -> Option<FileFormat> {
    Some(match ending(path).0?.as_str() {
        "csv" => FileFormat::Csv,
        "tsv" | "tab" => FileFormat::Tsv,
        "jsonl" | "ndjson" | "json" => FileFormat::Jsonl,
        "txt" | "text" | "log" => FileFormat::Text,
        "parquet" | "pq" => FileFormat::Parquet,
        "arrow" | "ipc" | "feather" => FileFormat::Arrow,
        _ => return None,
    })
}

/// The endings of a name in lower case: the format's, and the codec's.
fn ending(path: &Path) -> (Option<String>, Option<String>) {
    let lower = |of: &Path| of.extension().map(|ending| ending.to_string_lossy().to_lowercase());
    match lower(path) {
        Some(codec) if CODECS.contains(&codec.as_str()) => {
            (lower(&path.with_extension("")), Some(codec))
        }
        other => (other, None),
    }
}

/// The format that a written file has, by its name, and its codec.
pub(super) fn of_output(path: &Path) -> Result<(RowsFormat, Option<String>)> {
    let (format, codec) = ending(path);
    let format = match format.as_deref() {
        Some("csv") => RowsFormat::Csv,
        Some("tsv" | "tab") => RowsFormat::Tsv,
        Some("jsonl" | "ndjson") => RowsFormat::Jsonl,
        Some("json") => RowsFormat::Json,
        Some("parquet" | "pq") => RowsFormat::Parquet,
        Some("arrow" | "ipc" | "feather") => RowsFormat::Arrow,
        _ => {
            let what = format!("the name of `{}` does not tell its format", path.display());
            let help = "known endings are csv, tsv, jsonl, ndjson, json, parquet, arrow; or name \
                        the format";
            return Err(Error::new(Exit::Usage, Code::BadRequest, what).help(help));
        }
    };
    Ok((format, codec))
}

/// The codec that a written file's name asks for.
pub(super) fn codec_of(path: &Path) -> Option<String> {
    ending(path).1
}

/// The node that reads a file.
pub(super) fn reader(id: &str, path: &str, format: FileFormat, input: &Input) -> Json {
    let op = match format {
        FileFormat::Csv | FileFormat::Tsv => "read_csv",
        FileFormat::Jsonl => "read_jsonl",
        FileFormat::Text => "read_text",
        FileFormat::Parquet => "read_parquet",
        FileFormat::Arrow => "read_arrow",
    };
    let mut members = vec![("id", text(id)), ("op", text(op)), ("path", literal(path))];
    if op == "read_csv" {
        members.push(("header", Json::Bool(!input.no_header)));
        let tab = (format == FileFormat::Tsv).then(|| String::from("\t"));
        if let Some(delimiter) = input.delimiter.clone().or(tab) {
            members.push(("delimiter", Json::Text(delimiter)));
        }
    }
    object(members)
}

/// The reader of a function such as `read_csv`, in lower case.
pub(super) fn op_of_function(function: &str) -> Option<&'static str> {
    Some(match function {
        "read_csv" | "read_csv_auto" => "read_csv",
        "read_jsonl" | "read_json" | "read_ndjson" | "read_json_auto" => "read_jsonl",
        "read_text" => "read_text",
        "read_parquet" | "parquet_scan" => "read_parquet",
        "read_arrow" => "read_arrow",
        _ => return None,
    })
}

/// The node that writes the answer to a folder, before it is printed or put together.
pub(super) fn writer(id: &str, path: &Path, format: RowsFormat, codec: Option<&str>) -> Json {
    let op = match format {
        RowsFormat::Table | RowsFormat::Csv | RowsFormat::Tsv => "write_csv",
        RowsFormat::Jsonl | RowsFormat::Json => "write_jsonl",
        RowsFormat::Parquet => "write_parquet",
        RowsFormat::Arrow => "write_arrow",
    };
    let mut members =
        vec![("id", text(id)), ("op", text(op)), ("path", literal(&path.to_string_lossy()))];
    if format == RowsFormat::Tsv {
        members.push(("delimiter", text("\t")));
    }
    let is_one = matches!(format, RowsFormat::Parquet | RowsFormat::Arrow) || codec.is_some();
    if is_one {
        // Files of these formats can't be put together from parts.
        members.push(("files", Json::Number(1.into())));
    }
    if let Some(codec) = codec {
        members.push(("compression", text(codec_name(codec))));
    }
    object(members)
}

/// What job documents call a codec.
fn codec_name(ending: &str) -> &str {
    match ending {
        "gz" => "gzip",
        "zst" => "zstd",
        "bz2" => "bzip2",
        "sz" => "snappy",
        other => other,
    }
}
