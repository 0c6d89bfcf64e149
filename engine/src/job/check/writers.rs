//! Writers: format and target, and what all have in common: mode, compression, folders, number of
//! files, order.

use std::sync::Arc;

use arrow::datatypes::Schema;

use super::{
    MAX_PARTITIONS, ProblemCode,
    fields::Fields,
    files,
    graph::Vertex,
    nodes::{Binder, Bound},
};
use crate::{
    Error,
    expr::parse,
    formats::{WriteFormat, compression::Compression, csv::CsvWriteOptions, file_encoder},
    plan::{Op, Write, WriteMode},
    sink::partitioned::names_folders,
};

impl Binder<'_, '_> {
    /// A node that writes files.
    pub(super) fn write(
        &mut self,
        vertex: &Vertex<'_>,
        op: &str,
        input: Option<&Bound>,
    ) -> Option<Bound> {
        let fields = &vertex.fields;
        let mode = self.write_mode(fields);
        let format = if op == "write_csv" {
            let header = fields.flag("header", self.report);
            let header = if fields.has("header") { header } else { Some(true) };
            let delimiter = self.delimiter(fields);
            header
                .zip(delimiter)
                .map(|(header, delimiter)| WriteFormat::Csv(CsvWriteOptions { header, delimiter }))
        } else {
            Some(match op {
                "write_text" => WriteFormat::Text,
                "write_parquet" => WriteFormat::Parquet,
                "write_arrow" => WriteFormat::Arrow,
                _ => WriteFormat::Jsonl,
            })
        };
        let path = if fields.required("path", self.report).is_some() {
            self.target(fields, mode.unwrap_or_default())
        } else {
            None
        };
        let write = Write::of(path.clone().unwrap_or_default(), format?);
        let write = self.layout(fields, write, input);
        let (write, _, input) = (Write { mode: mode?, ..write? }, path?, input?);
        let (schema, order) = (Arc::clone(&input.schema), input.order.clone());
        Some(self.push(vertex.id, Op::Write(write), &[input], schema, order))
    }

    /// A writer's target, which must be its own.
    fn target(&mut self, fields: &Fields<'_>, mode: WriteMode) -> Option<std::path::PathBuf> {
        let (text, pointer) = (fields.text("path", self.report)?, fields.at("path"));
        let path = files::output(text, &pointer, self.site, mode, self.report)?;
        let other = self
            .outputs
            .iter()
            .find(|(other, _)| other.starts_with(&path) || path.starts_with(other));
        if let Some((_, other)) = other {
            let message = format!("`{text}` is the target of {other}, or lies in it or above it");
            self.report.problem(pointer, ProblemCode::DuplicateOutput, message);
            return None;
        }
        self.outputs.push((path.clone(), pointer));
        Some(path)
    }

    /// What a writer does where its target is there; `None` with a problem.
    pub(super) fn write_mode(&mut self, fields: &Fields<'_>) -> Option<WriteMode> {
        if !fields.has("mode") {
            return Some(WriteMode::Error);
        }
        let text = fields.text("mode", self.report)?;
        let known = WriteMode::ALL.into_iter().find(|mode| mode.name() == text);
        if known.is_none() {
            let names = WriteMode::ALL.map(WriteMode::name);
            let message = format!("no mode `{text}`; there are {}", names.join(", "));
            let suggestion = parse::nearest(text, names);
            self.report.suggest(fields.at("mode"), ProblemCode::BadValue, message, suggestion);
        }
        if known == Some(WriteMode::OverwritePartitions) && !fields.has("partition_by") {
            let message =
                "`overwrite_partitions` goes by the folders of `partition_by`, which is missing";
            self.report.problem(fields.at("mode"), ProblemCode::ConflictingFields, message);
            return None;
        }
        known
    }

    /// The writer's layout, over its input's columns.
    pub(super) fn layout(
        &mut self,
        fields: &Fields<'_>,
        mut write: Write,
        input: Option<&Bound>,
    ) -> Option<Write> {
        let compression = self.compression(fields, &write.format);
        let files = fields.number("files", 1..=MAX_PARTITIONS, self.report);
        let files = files.and_then(|files| u32::try_from(files).ok());
        let stable = self.stable(fields);
        let columns = fields.texts("partition_by", self.report);
        let is_right = (!fields.has("files") || files.is_some())
            && (!fields.has("partition_by") || columns.is_some());
        (write.compression, write.files) = (compression?, files);
        write.stable = stable?;
        let schema = &input.filter(|_| is_right)?.schema;
        for (name, pointer) in columns.unwrap_or_default() {
            let column = self.folder_column(name, &pointer, schema)?;
            if write.partition_by.contains(&column) {
                let message = format!("`{name}` is named a second time");
                self.report.problem(pointer, ProblemCode::DuplicateColumn, message);
                return None;
            }
            write.partition_by.push(column);
        }
        let kept: Vec<usize> = (0..schema.fields().len())
            .filter(|column| !write.partition_by.contains(column))
            .collect();
        if kept.is_empty() && !write.partition_by.is_empty() {
            let message = "a column must be left for the files";
            self.report.problem(fields.at("partition_by"), ProblemCode::BadValue, message);
            return None;
        }
        self.check_types(fields, &write, &schema.project(&kept).ok()?)?;
        Some(write)
    }

    fn folder_column(&mut self, name: &str, pointer: &str, schema: &Schema) -> Option<usize> {
        let Ok(column) = schema.index_of(name) else {
            let (message, suggestion) = parse::no_column(name, schema);
            self.report.suggest(pointer, ProblemCode::UnknownColumn, message, suggestion);
            return None;
        };
        let data_type = schema.field(column).data_type();
        if !names_folders(data_type) {
            let message = format!(
                "`{name}` is {}; folders are named by bools, whole numbers, decimals, strings and \
                 dates",
                parse::type_name(data_type)
            );
            self.report.problem(pointer, ProblemCode::TypeMismatch, message);
            return None;
        }
        Some(column)
    }

    fn compression(&mut self, fields: &Fields<'_>, format: &WriteFormat) -> Option<Compression> {
        if !fields.has("compression") {
            return Some(format.default_compression());
        }
        let text = fields.text("compression", self.report)?;
        let known = Compression::named(text, format.compressions());
        if known.is_none() {
            let names = || format.compressions().iter().map(|offered| offered.name());
            let list = names().collect::<Vec<_>>().join(", ");
            let message = format!("no compression `{text}` here; there are {list}");
            let suggestion = parse::nearest(text, names());
            let pointer = fields.at("compression");
            self.report.suggest(pointer, ProblemCode::BadValue, message, suggestion);
        }
        known
    }

    fn stable(&mut self, fields: &Fields<'_>) -> Option<bool> {
        if !fields.has("order") {
            return Some(false);
        }
        match fields.text("order", self.report)? {
            "any" => Some(false),
            "stable" => Some(true),
            other => {
                let suggestion = parse::nearest(other, ["any", "stable"]);
                let message = format!("no order `{other}`; there are any, stable");
                self.report.suggest(fields.at("order"), ProblemCode::BadValue, message, suggestion);
                None
            }
        }
    }

    /// Whether the format has a place for all columns.
    fn check_types(&mut self, fields: &Fields<'_>, write: &Write, schema: &Schema) -> Option<()> {
        let schema = Arc::new(schema.clone());
        match file_encoder(&write.format, write.compression, &schema) {
            Ok(_) => Some(()),
            Err(error) => {
                let message = match &error {
                    Error::Arrow(arrow::error::ArrowError::NotYetImplemented(text)) => text.clone(),
                    other => other.chain(),
                };
                self.report.problem(fields.pointer(), ProblemCode::TypeMismatch, message);
                None
            }
        }
    }
}
