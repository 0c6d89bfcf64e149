//! Readers: files, format, declared columns.

use super::{
    MAX_PARTITIONS, ProblemCode,
    fields::Fields,
    files,
    graph::Vertex,
    nodes::{Binder, Bound, Reported},
};
use crate::{
    Error,
    expr::parse,
    formats::{DeclaredColumn, Format, infer},
    job::Json,
    plan::{InputFile, Op, Order, Read},
};

impl Binder<'_, '_> {
    /// A node that reads files.
    pub(super) fn read(&mut self, vertex: &Vertex<'_>, op: &str, is_right: bool) -> Option<Bound> {
        let fields = &vertex.fields;
        let partitions = fields.number("partitions", 1..=MAX_PARTITIONS, self.report);
        let partitions = partitions.and_then(|partitions| u32::try_from(partitions).ok());
        let format = match op {
            "read_parquet" => Some(Format::Parquet),
            "read_arrow" => Some(Format::Arrow),
            _ => self.text_format(fields, op),
        };
        let folders = fields.flag("hive", self.report);
        let files = self.files(fields, folders);
        let (format, is_whole) = (format?, files.is_some());
        let files = files.unwrap_or_default();
        if !is_whole && !matches!(format, Format::Text(_)) {
            return None;
        }
        let mut read = Read::of(format, files, partitions);
        let schema = if read.format.is_columnar() {
            self.columnar_schema(fields, &mut read)?
        } else {
            let schema = infer::schema(&self.site.data.inputs, &read.format, &read.files);
            schema.map_err(|error| self.unreadable(fields, &error)).ok()?
        };
        let schema = self.with_folders(fields, folders, schema, &mut read)?;
        if !self.check_columns(&schema, &fields.at("path")) || !is_right {
            return None;
        }
        Some(self.push(vertex.id, Op::Read(read), &[], schema, Order::Source))
    }

    /// A problem with a reader's files.
    pub(super) fn unreadable(&mut self, fields: &Fields<'_>, error: &Error) {
        self.report.problem(fields.at("path"), ProblemCode::InputUnreadable, error.chain());
    }

    fn files(&mut self, fields: &Fields<'_>, folders: Option<bool>) -> Option<Vec<InputFile>> {
        fields.required("path", self.report)?;
        let paths = fields.texts("path", self.report)?;
        let found: Vec<_> = paths
            .into_iter()
            .map(|(path, pointer)| {
                files::inputs(path, &pointer, self.site, folders != Some(false), self.report)
            })
            .collect();
        Some(found.into_iter().collect::<Option<Vec<_>>>()?.concat())
    }

    /// The character between fields.
    pub(super) fn delimiter(&mut self, fields: &Fields<'_>) -> Option<u8> {
        if !fields.has("delimiter") {
            return Some(b',');
        }
        match fields.text("delimiter", self.report)?.as_bytes() {
            [byte] if byte.is_ascii() && !matches!(byte, b'"' | b'\r' | b'\n' | 0) => Some(*byte),
            _ => {
                let message = "expected one ASCII character, and no quote or line break";
                self.report.problem(fields.at("delimiter"), ProblemCode::BadValue, message);
                None
            }
        }
    }

    /// The columns that a reader declares; `None` where it declares none.
    pub(super) fn columns(
        &mut self,
        fields: &Fields<'_>,
    ) -> Result<Option<Vec<DeclaredColumn>>, Reported> {
        match fields.get("columns") {
            None => Ok(None),
            Some(Json::List(_)) => {
                let names = fields.texts("columns", self.report).ok_or(Reported)?;
                let column =
                    |(name, _)| DeclaredColumn { name: String::from(name), data_type: None };
                Ok(Some(names.into_iter().map(column).collect()))
            }
            Some(value) => {
                let columns = Fields::open(value, &fields.at("columns"), self.report);
                columns.and_then(|columns| self.typed_columns(&columns)).map(Some).ok_or(Reported)
            }
        }
    }

    fn typed_columns(&mut self, columns: &Fields<'_>) -> Option<Vec<DeclaredColumn>> {
        if columns.members().is_empty() {
            let message = "at least one column must be named";
            self.report.problem(columns.pointer(), ProblemCode::BadValue, message);
            return None;
        }
        let mut declared = Vec::new();
        for (name, pointer, text) in columns.named_texts(self.report) {
            let column = match text.map(parse::data_type) {
                Some(Ok(data_type)) => {
                    let name = String::from(name);
                    Some(DeclaredColumn { name, data_type: Some(data_type) })
                }
                Some(Err(refusal)) => {
                    self.refuse(pointer, refusal);
                    None
                }
                None => None,
            };
            declared.push(column);
        }
        declared.into_iter().collect()
    }
}
