//! What all writers have in common: mode, compression, folders, number of files, order.

use arrow::datatypes::Schema;

use super::{
    MAX_PARTITIONS, ProblemCode,
    fields::Fields,
    nodes::{Binder, Bound},
};
use crate::{
    Error,
    expr::parse,
    formats::{WriteFormat, compression::Compression, file_encoder},
    plan::{Write, WriteMode},
    sink::partitioned::names_folders,
};

impl Binder<'_, '_> {
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
            let names = || format.compressions().iter().map(|known| known.name());
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
        let schema = std::sync::Arc::new(schema.clone());
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
