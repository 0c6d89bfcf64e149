//! From a file's bytes to batches: lines of text, CSV and JSON Lines, read as one split.

use std::{
    fmt::Write as _,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use criterion::Criterion;
use minispark_engine::{
    disk::{Disk, RealDisk},
    formats::{BATCH_ROWS, Format, csv::CsvOptions, infer, intake::Intake, jsonl::JsonlOptions},
    plan::InputFile,
    source::{Source, split::Split},
    task::context::TaskContext,
};
use tempfile::TempDir;

use crate::{Numbers, TEXT_BYTES, bounds, collect, context, drain, rows_and_bytes, word};

/// Rows of a file with columns.
const FILE_ROWS: u64 = 16 * BATCH_ROWS as u64;

pub(crate) fn bench(criterion: &mut Criterion) {
    let csv = || Format::Csv(CsvOptions { header: true, ..CsvOptions::default() });
    let jsonl = Format::Jsonl(JsonlOptions::default());
    let plain = rows("id,word,price,day\n", |row, out| {
        let Row { id, word, cents, day } = row;
        writeln!(out, "{id},{word},{}.{:02},2024-03-{day:02}", cents / 100, cents % 100)
    });
    let quoted = rows("id,words\n", |row, out| {
        let Row { id, word, .. } = row;
        writeln!(out, "{id},\"{word}, \"\"{word}\"\"\n{word}\"")
    });
    let objects = rows("", |row, out| {
        let Row { id, word, cents, day } = row;
        let price = format!("{}.{:02}", cents / 100, cents % 100);
        writeln!(out, r#"{{"id":{id},"word":"{word}","price":{price},"day":"2024-03-{day:02}"}}"#)
    });
    let mut group = criterion.benchmark_group("decode");
    let context = context();
    for (name, table) in [
        ("text lines", Table::lines()),
        ("csv/plain", Table::of(csv(), plain.as_bytes())),
        ("csv/quoted", Table::of(csv(), quoted.as_bytes())),
        ("jsonl", Table::of(jsonl, objects.as_bytes())),
    ] {
        let rows = collect(table.read(&context)).iter().map(RecordBatch::num_rows).sum();
        group.throughput(rows_and_bytes(rows, table.split.end));
        group.bench_function(name, |bencher| {
            bencher.iter(|| drain(table.read(&context)));
        });
    }
    let rows = usize::try_from(FILE_ROWS).unwrap();
    group.throughput(rows_and_bytes(rows, plain.len() as u64));
    bounds::find(&mut group, plain.as_bytes(), b',');
    bounds::copy(&mut group, plain.len() as u64);
    group.finish();
}

/// What a row of a file says.
struct Row {
    id: u64,
    word: String,
    cents: u64,
    day: u64,
}

/// A file's text: a header and its rows.
fn rows(header: &str, mut write: impl FnMut(Row, &mut String) -> std::fmt::Result) -> String {
    let mut numbers = Numbers(7);
    let mut text = String::from(header);
    for id in 0..FILE_ROWS {
        let word = word(numbers.rank(300_000));
        let row = Row { id, word, cents: numbers.below(1_000_000), day: 1 + numbers.below(31) };
        write(row, &mut text).unwrap();
    }
    text
}

/// Lines of 8 to 25 words, of which one in five begins with a capital and one in 25 is in capitals,
/// or has a letter beyond ASCII.
fn lines() -> String {
    let mut numbers = Numbers(7);
    let mut text = String::new();
    while text.len() < TEXT_BYTES {
        for at in 0..8 + numbers.below(18) {
            if at > 0 {
                text.push(' ');
            }
            let word = word(numbers.rank(300_000));
            match numbers.below(25) {
                0 => text.push_str(&word.to_uppercase()),
                1..=5 => text.push_str(&word.replacen('w', "W", 1)),
                6 => text.push_str(&word.replacen('w', "ñ", 1)),
                _ => text.push_str(&word),
            }
        }
        text.push('\n');
    }
    text
}

/// A file in a folder of its own, and how it is read.
pub(crate) struct Table {
    _folder: TempDir,
    format: Format,
    schema: SchemaRef,
    split: Split,
}

impl Table {
    /// Lines of words, as a word count reads them.
    pub(crate) fn lines() -> Self {
        Self::of(Format::Text(Intake::default()), lines().as_bytes())
    }

    fn of(format: Format, content: &[u8]) -> Self {
        Self::written(format, |path| {
            RealDisk.create(path).unwrap().write_all(content).unwrap();
        })
    }

    fn written(format: Format, write: impl FnOnce(&Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path: PathBuf = folder.path().join("input");
        write(&path);
        let size_bytes = fs::metadata(&path).unwrap().len();
        let file = InputFile { path, size_bytes, version: None };
        let files = [file.clone()];
        let schema = infer::schema(&RealDisk::shared(), &format, &files).unwrap();
        let split = Split { file, start: 0, end: size_bytes, aligned: true };
        Self { _folder: folder, format, schema, split }
    }

    /// All its rows.
    pub(crate) fn read(&self, context: &TaskContext) -> Source {
        Source::open(&self.split, &self.format, Arc::clone(&self.schema), context).unwrap()
    }
}
