//! [`ParquetFile`]: a file whose footer has been read and found to be possible.
//!
//! What the decoder takes on trust, offsets, lengths and counts, is checked against the file here,
//! once; panics of the decoder become errors of the file.

use std::{
    any::Any,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::Arc,
};

use arrow::datatypes::{DECIMAL64_MAX_PRECISION, DataType, Field, Fields, Schema, SchemaRef};
use hashbrown::HashSet;
use parquet::{
    arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions},
    errors::ParquetError,
    file::metadata::{ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData},
};

use super::{
    chunks::Chunks,
    footers::{self, FooterKey},
};
use crate::{Error, Result, disk::Disk, plan::InputFile, source::blocks::PinnedFile};

/// How much of a file's end is read at first.
const TAIL_BYTES: u64 = 64 << 10;
/// The most bytes of a footer.
const MAX_FOOTER_BYTES: u64 = 256 << 20;
/// The most leaf columns of a file.
const MAX_COLUMNS: usize = 100_000;
/// The footer's length and the magic bytes.
const END_BYTES: u64 = 8;

/// A Parquet file, opened.
pub(crate) struct ParquetFile {
    pub(crate) chunks: Chunks,
    /// With the types that its columns are decoded to; text and bytes are views, decimals of few
    /// digits have 64 bits.
    pub(crate) arrow: ArrowReaderMetadata,
}

impl ParquetFile {
    /// Opens a file and reads its footer.
    ///
    /// # Errors
    /// `InputNotFound`, `InputChanged`, `Io`; `Corrupt` where it is no Parquet file, or a broken
    /// or an encrypted one.
    pub(crate) fn open(file: &InputFile, disk: &Arc<dyn Disk>) -> Result<Self> {
        let file = PinnedFile::open(file, disk)?;
        let footer = read_footer(&file)?;
        let key = FooterKey::of(&footer, file.size_bytes());
        if let Some(arrow) = footers::recall(key) {
            return Ok(Self { chunks: Chunks::new(file), arrow });
        }
        let path = file.path().to_owned();
        let arrow = guarded(&path, || {
            let metadata = ParquetMetaDataReader::decode_metadata(&footer)?;
            drop(footer);
            let plain = ArrowReaderMetadata::try_new(Arc::new(metadata), options())?;
            // A schema of the file's own that can't be read as views is read as it is.
            let read_as = |schema| {
                let shared = Arc::clone(plain.metadata());
                ArrowReaderMetadata::try_new(shared, options().with_schema(schema))
            };
            let views = views(plain.schema());
            Ok(read_as(narrow(&views)).or_else(|_| read_as(views)).unwrap_or(plain))
        })?;
        let file = Self { chunks: Chunks::new(file), arrow };
        file.check()?;
        footers::keep(key, &file.arrow);
        Ok(file)
    }

    pub(crate) fn path(&self) -> &Path {
        self.chunks.file().path()
    }

    pub(crate) fn metadata(&self) -> &ParquetMetaData {
        self.arrow.metadata()
    }

    /// The file as if it had only this row group, so that its indices are read into a small copy.
    pub(crate) fn metadata_of(&self, group: usize) -> ParquetMetaData {
        let metadata = self.metadata();
        let groups = vec![metadata.row_group(group).clone()];
        ParquetMetaData::new(metadata.file_metadata().clone(), groups)
    }

    /// The columns as they are decoded.
    pub(crate) fn schema(&self) -> &SchemaRef {
        self.arrow.schema()
    }

    /// The rows of all row groups.
    pub(crate) fn rows(&self) -> u64 {
        let groups = self.metadata().row_groups().iter();
        groups.map(|group| group.num_rows().unsigned_abs()).fold(0, u64::saturating_add)
    }

    /// The bytes of a top-level column's pages before compression, in all row groups.
    pub(crate) fn uncompressed_bytes(&self, name: &str) -> u64 {
        let names = [name];
        let leaves: Vec<usize> = self.leaves(&names).collect();
        let chunks = self.metadata().row_groups().iter().flat_map(|group| {
            leaves.iter().map(|leaf| group.column(*leaf).uncompressed_size().unsigned_abs())
        });
        chunks.fold(0, u64::saturating_add)
    }

    /// Where a row group begins, which says to which split it belongs.
    pub(crate) fn offset_of(&self, group: usize) -> u64 {
        let metadata = self.metadata().row_group(group);
        let starts = metadata.columns().iter().map(|column| column.byte_range().0);
        // A group without columns has no place; any that is its own will do.
        starts.min().unwrap_or(4 + group as u64)
    }

    /// The leaf columns below the top-level columns of these names.
    pub(crate) fn leaves<'a>(&'a self, names: &'a [&str]) -> impl Iterator<Item = usize> + 'a {
        let schema = self.arrow.parquet_schema();
        (0..schema.num_columns())
            .filter(move |leaf| names.contains(&schema.get_column_root(*leaf).name()))
    }

    /// The columns that some leaves are decoded to, in the file's order.
    pub(crate) fn decoded(&self, leaves: &[usize]) -> Schema {
        let schema = self.arrow.parquet_schema();
        let roots: HashSet<usize> =
            leaves.iter().map(|leaf| schema.get_column_root_idx(*leaf)).collect();
        let fields = self.schema().fields().iter().enumerate();
        let fields =
            fields.filter(|(place, _)| roots.contains(place)).map(|(_, field)| Arc::clone(field));
        Schema::new(fields.collect::<Vec<_>>())
    }

    /// The column chunks of a row group's leaves.
    pub(crate) fn ranges(&self, group: usize, leaves: &[usize]) -> Vec<Range<u64>> {
        let metadata = self.metadata().row_group(group);
        let range = |leaf: &usize| {
            let (start, length) = metadata.column(*leaf).byte_range();
            start..start + length
        };
        leaves.iter().map(range).collect()
    }

    /// An error of this file.
    pub(crate) fn corrupt(&self, reason: impl Into<String>) -> Error {
        corrupt(self.path(), reason)
    }

    /// What the decoder makes; see [`guarded`].
    pub(crate) fn guarded<T>(
        &self,
        decode: impl FnOnce() -> parquet::errors::Result<T>,
    ) -> Result<T> {
        guarded(self.path(), decode)
    }

    fn check(&self) -> Result<()> {
        let columns = self.arrow.parquet_schema().num_columns();
        if columns > MAX_COLUMNS {
            let reason = format!("it has {columns} columns; {MAX_COLUMNS} are allowed");
            return Err(self.corrupt(reason));
        }
        let groups = self.metadata().row_groups();
        groups.iter().enumerate().try_for_each(|(number, group)| {
            self.check_group(group)
                .map_err(|reason| self.corrupt(format!("row group {number}: {reason}")))
        })
    }

    fn check_group(&self, group: &RowGroupMetaData) -> Result<(), String> {
        let size = self.chunks.file().size_bytes();
        if group.num_rows() < 0 {
            return Err(format!("{} rows", group.num_rows()));
        }
        if group.num_columns() != self.arrow.parquet_schema().num_columns() {
            return Err(String::from("other columns than the file's schema"));
        }
        for column in group.columns() {
            let start = column.dictionary_page_offset().unwrap_or(column.data_page_offset());
            let (start, length) = (u64::try_from(start), u64::try_from(column.compressed_size()));
            let end =
                start.ok().zip(length.ok()).and_then(|(from, length)| from.checked_add(length));
            if end.is_none_or(|end| end > size) {
                let name = column.column_path();
                return Err(format!("column `{name}` lies outside of the file's {size} bytes"));
            }
        }
        Ok(())
    }
}

/// What the decoder makes, with its errors and panics as errors of the file.
pub(crate) fn guarded<T>(
    path: &Path,
    decode: impl FnOnce() -> parquet::errors::Result<T>,
) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(decode)) {
        Ok(decoded) => decoded.map_err(|error| error_of(path, error)),
        Err(panic) => Err(corrupt(path, format!("the decoder gave up: {}", panic_text(&*panic)))),
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or(panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message")
}

/// A decoder's error as ours; one of ours that went through it as it was.
pub(crate) fn error_of(path: &Path, error: ParquetError) -> Error {
    let inner = match error {
        ParquetError::External(inner) => inner,
        ParquetError::NYI(what) => return corrupt(path, format!("it can't be read yet: {what}")),
        other => return damaged(path, &other.to_string()),
    };
    let inner = match inner.downcast::<Error>() {
        Ok(own) => return *own,
        Err(other) => other,
    };
    match inner.downcast::<std::io::Error>().map(|failed| failed.into_inner()) {
        Ok(Some(inner)) => match inner.downcast::<Error>() {
            Ok(own) => *own,
            Err(other) => damaged(path, &other.to_string()),
        },
        Ok(None) => corrupt(path, "a read failed"),
        Err(other) => damaged(path, &other.to_string()),
    }
}

pub(crate) fn corrupt(path: &Path, reason: impl Into<String>) -> Error {
    Error::Corrupt { what: path.display().to_string(), reason: reason.into() }
}

/// What a library says of bytes that it can't read. It names its own layers first, and tells how it
/// came there after a line break.
pub(crate) fn damaged(path: &Path, said: &str) -> Error {
    const LAYERS: [&str; 7] = [
        "Parquet argument error: ",
        "Parquet error: ",
        "Parser error: ",
        "Invalid argument error: ",
        "External: ",
        "Arrow: ",
        "EOF: ",
    ];
    let mut said = said.lines().next().unwrap_or_default();
    while let Some(rest) = LAYERS.iter().find_map(|layer| said.strip_prefix(layer)) {
        said = rest;
    }
    corrupt(path, format!("it is damaged: {said}"))
}

fn options() -> ArrowReaderOptions {
    ArrowReaderOptions::new()
}

/// The schema with text and bytes as views, which point into decoded pages.
fn views(schema: &Schema) -> SchemaRef {
    let fields: Vec<_> = schema.fields().iter().map(view_field).collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

/// The schema with decimals that fit into 64 bits as such: they are filtered at half the width, and
/// only what is left is widened.
fn narrow(schema: &Schema) -> SchemaRef {
    let field = |field: &Arc<Field>| match field.data_type() {
        DataType::Decimal128(precision, scale) if *precision <= DECIMAL64_MAX_PRECISION => {
            let narrow = DataType::Decimal64(*precision, *scale);
            Arc::new(Field::clone(field).with_data_type(narrow))
        }
        _ => Arc::clone(field),
    };
    let fields: Vec<_> = schema.fields().iter().map(field).collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

fn view_field(field: &Arc<Field>) -> Arc<Field> {
    Arc::new(Field::clone(field).with_data_type(view_type(field.data_type())))
}

fn view_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 => DataType::Utf8View,
        DataType::Binary | DataType::LargeBinary => DataType::BinaryView,
        DataType::Dictionary(_, values) => view_type(values),
        DataType::List(element) => DataType::List(view_field(element)),
        DataType::LargeList(element) => DataType::LargeList(view_field(element)),
        DataType::FixedSizeList(element, width) => {
            DataType::FixedSizeList(view_field(element), *width)
        }
        DataType::Map(entries, sorted) => DataType::Map(view_field(entries), *sorted),
        DataType::Struct(fields) => {
            DataType::Struct(fields.iter().map(view_field).collect::<Fields>())
        }
        other => other.clone(),
    }
}

/// The footer's Thrift bytes.
fn read_footer(file: &PinnedFile) -> Result<Vec<u8>> {
    let size = file.size_bytes();
    let refuse = |reason: &str| Err(corrupt(file.path(), reason));
    if size < END_BYTES + 4 {
        return refuse("too short for a Parquet file");
    }
    let tail_bytes = TAIL_BYTES.min(size);
    let mut tail = vec![0; usize::try_from(tail_bytes).unwrap_or(0)];
    file.read(&mut tail, size - tail_bytes)?;
    let (rest, magic) = tail.split_at(tail.len() - 4);
    match magic {
        b"PAR1" => {}
        b"PARE" => return refuse("it is encrypted, and no keys can be given"),
        _ => return refuse("no Parquet file: its end is not `PAR1`"),
    }
    let (behind, length) = rest.split_at(rest.len() - 4);
    let length = length.iter().rev().fold(0_u64, |sum, byte| (sum << 8) | u64::from(*byte));
    if length > size - END_BYTES - 4 || length > MAX_FOOTER_BYTES {
        return refuse(&format!("its footer claims {length} bytes of a file of {size}"));
    }
    let wanted = usize::try_from(length).unwrap_or(usize::MAX);
    if wanted <= behind.len() {
        return Ok(behind[behind.len() - wanted..].to_vec());
    }
    let mut footer = vec![0; wanted];
    file.read(&mut footer, size - END_BYTES - length)?;
    Ok(footer)
}
