//! Rows into folders by the values of columns: `year=2024/city=K%C3%B6ln/…`.
//!
//! The plan has sorted each task's rows by these columns, so that one file is open at a time and
//! memory does not grow with the number of folders. A value that comes back gets another file.

use std::{path::Path, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch},
    compute::partition,
    datatypes::{DataType, SchemaRef},
};

use super::{PartFile, suffixed};
use crate::{
    Result,
    disk::Disk,
    expr::{Expr, parse},
    plan::{Sink, Write},
    source::folders,
    task::Part,
};

/// Whether values of a type can name a folder and be read back from it.
pub fn names_folders(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Boolean | DataType::Utf8View | DataType::Date32)
        || data_type.is_integer()
        || matches!(data_type, DataType::Decimal128(..))
}

/// The files of a task, one folder after another.
pub(super) struct Partitioned<'a> {
    disk: &'a dyn Disk,
    sink: &'a Sink,
    write: &'a Write,
    /// The name that the files' names are made of.
    path: &'a Path,
    /// As the folders of the columns that name them.
    names: Vec<Expr>,
    /// The other columns.
    kept: Vec<usize>,
    schema: SchemaRef,
    current: Option<(String, PartFile<'a>)>,
    parts: Vec<Part>,
}

impl<'a> Partitioned<'a> {
    pub(super) fn new(
        disk: &'a dyn Disk,
        sink: &'a Sink,
        write: &'a Write,
        path: &'a Path,
    ) -> Result<Self> {
        let text = |column: &usize| Expr::Cast {
            input: Box::new(parse::column(&sink.schema, *column)),
            to: DataType::Utf8View,
            or_null: false,
        };
        let kept: Vec<usize> = (0..sink.schema.fields().len())
            .filter(|column| !write.partition_by.contains(column))
            .collect();
        let schema = Arc::new(sink.schema.project(&kept)?);
        let names = write.partition_by.iter().map(text).collect();
        Ok(Self { disk, sink, write, path, names, kept, schema, current: None, parts: Vec::new() })
    }

    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let texts = (self.names.iter().map(|name| name.evaluate(batch)))
            .collect::<Result<Vec<ArrayRef>>>()?;
        for range in partition(&texts)?.ranges() {
            let folder = self.folder(&texts, range.start);
            if self.current.as_ref().is_none_or(|(current, _)| *current != folder) {
                self.close()?;
                let path = suffixed(self.path, self.parts.len());
                let file = PartFile::create(self.disk, &path, self.sink, &self.schema, self.write)?;
                self.current = Some((folder, file));
            }
            if let Some((_, file)) = &mut self.current {
                let rows = batch.slice(range.start, range.len());
                file.write(&rows.project(&self.kept)?, rows.columns())?;
            }
        }
        Ok(())
    }

    fn folder(&self, texts: &[ArrayRef], row: usize) -> String {
        let columns = self.write.partition_by.iter().zip(texts);
        let names = columns.map(|(column, texts)| {
            let text = texts.is_valid(row).then(|| texts.as_string_view().value(row));
            folders::name(self.sink.schema.field(*column).name(), text)
        });
        names.collect::<Vec<_>>().join("/")
    }

    fn close(&mut self) -> Result<()> {
        if let Some((folder, file)) = self.current.take() {
            self.parts.push(Part { folder, ..file.finish()? });
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<Vec<Part>> {
        self.close()?;
        Ok(self.parts)
    }
}
