//! Spill files: batches that did not fit, as Arrow IPC files that are gone when dropped.
//!
//! A file is the IPC *file* format with text as `Utf8`, so that any Arrow reader can look into
//! one; the schema that was declared comes back on reading. Each block carries an xxh3-64 of its
//! bytes, kept in memory by the [`SpillFile`]. A spill file does not outlive its process, unless its
//! [`SpillIndex`] is kept beside it ([`SpillFile::reopen`]). Nothing is made durable.

use std::{
    fmt,
    io::{self, BufWriter, Write},
    ops::Range,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions},
    buffer::MutableBuffer,
    compute::cast,
    datatypes::{BinaryViewType, DataType, Field, FieldRef, Schema, SchemaRef, StringViewType},
    error::ArrowError,
    ipc::{
        Block, CompressionType, MetadataVersion,
        reader::FileDecoder,
        writer::{FileWriter, IpcWriteOptions},
    },
};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{Xxh3Default, xxh3_64};

use crate::{
    Error, Result,
    disk::{Disk, ReadAt, WriteFile},
    kernels::compact::text_bytes,
    operators::Operator,
    task::context::TaskContext,
};

/// Small pieces are collected up to so many bytes before they are written; larger ones pass by.
const WRITE_CHUNK_BYTES: usize = 64 << 10;

/// The most text of one column in a block: 32-bit offsets end at twice that.
const MAX_TEXT_BYTES: u64 = 1 << 30;

/// The number of the next spill file of this process.
static NEXT_FILE: AtomicU64 = AtomicU64::new(0);

impl TaskContext {
    /// A new spill file of the attempt: `<scratch>/<n>.arrow`, `n` unique in this process.
    ///
    /// Its bytes are added to [`TaskContext::spilled_bytes`] as they are written. It is not
    /// compressed: a spill mostly stays in the page cache, where LZ4 costs more than it saves.
    ///
    /// # Errors
    /// [`Error::Io`] where the folder or the file can't be made.
    pub fn spill(&self, schema: SchemaRef) -> Result<SpillWriter> {
        self.spill_in(&self.scratch, schema)
    }

    /// The same in another folder, where other attempts can read it as well.
    ///
    /// # Errors
    /// As [`Self::spill`].
    pub(crate) fn spill_in(&self, folder: &Path, schema: SchemaRef) -> Result<SpillWriter> {
        let number = NEXT_FILE.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!("{number}.arrow"));
        let mut writer = SpillWriter::create(&self.disk, path, schema, false)?;
        writer.count_in(Arc::clone(&self.spilled_bytes));
        Ok(writer)
    }
}

/// A spill file that is being written; dropped unfinished, it is removed.
///
/// - Memory: one write buffer of 64 KiB and the index of blocks, not charged.
pub struct SpillWriter {
    writer: FileWriter<Hashed>,
    stored: SchemaRef,
    schema: SchemaRef,
    blocks: Vec<BlockInfo>,
    rows: u64,
    reported_bytes: u64,
    spilled_bytes: Option<Arc<AtomicU64>>,
    temporary: Temporary,
}

/// Where a block is, and what its bytes were.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct BlockInfo {
    offset: u64,
    bytes: usize,
    rows: usize,
    checksum: u64,
}

impl SpillWriter {
    /// Creates the file, and its folder where it is missing.
    ///
    /// # Errors
    /// [`Error::Io`]; nothing is left behind.
    pub fn create(
        disk: &Arc<dyn Disk>,
        path: PathBuf,
        schema: SchemaRef,
        compress: bool,
    ) -> Result<Self> {
        if let Some(folder) = path.parent() {
            disk.create_dir_all(folder).map_err(Error::io("create", folder))?;
        }
        let file = disk.create(&path).map_err(Error::io("create", &path))?;
        let temporary = Temporary { disk: Arc::clone(disk), path, keep: None };
        let stored = Arc::new(stored_schema(&schema));
        let compression = compress.then_some(CompressionType::LZ4_FRAME);
        let options = IpcWriteOptions::default().try_with_compression(compression)?;
        let writer = FileWriter::try_new_with_options(Hashed::new(file), &stored, options)
            .map_err(|error| write_error(error, &temporary.path))?;
        Ok(Self {
            writer,
            stored,
            schema,
            blocks: Vec::new(),
            rows: 0,
            reported_bytes: 0,
            spilled_bytes: None,
            temporary,
        })
    }

    /// Appends the rows as one block; no rows are no block.
    ///
    /// Only what the rows need is written, whatever their buffers pin. (A batch with more than
    /// 1 GiB of text in a column becomes several blocks.)
    ///
    /// # Errors
    /// [`Error::Io`]; the writer can only be dropped after that.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        split_text(batch, MAX_TEXT_BYTES).iter().try_for_each(|part| self.write_block(part))
    }

    /// Adds what is written, and was so far, to a count.
    pub(crate) fn count_in(&mut self, spilled_bytes: Arc<AtomicU64>) {
        self.spilled_bytes = Some(spilled_bytes);
        self.report_bytes();
    }

    /// From the moment when `keep` is set the file is not removed any more.
    pub(crate) fn keep_when(&mut self, keep: Arc<AtomicBool>) {
        self.temporary.keep = Some(keep);
    }

    fn write_block(&mut self, batch: &RecordBatch) -> Result<()> {
        let stored = with_schema(batch, &self.stored)?;
        let offset = self.writer.get_mut().begin_block();
        self.writer.write(&stored).map_err(|error| write_error(error, &self.temporary.path))?;
        let (end, checksum) = self.writer.get_mut().end_block();
        let bytes = block_bytes(end - offset, &self.temporary.path)?;
        self.blocks.push(BlockInfo { offset, bytes, rows: batch.num_rows(), checksum });
        self.rows += batch.num_rows() as u64;
        self.report_bytes();
        Ok(())
    }

    /// How many blocks it has so far; the next one gets this number.
    pub fn blocks(&self) -> usize {
        self.blocks.len()
    }

    /// The bytes written so far.
    pub fn bytes(&self) -> u64 {
        self.writer.get_ref().written_bytes
    }

    /// Ends the file; from now on it can be read.
    ///
    /// # Errors
    /// [`Error::Io`]; the file is removed.
    pub fn finish(mut self) -> Result<SpillFile> {
        self.writer.finish().map_err(|error| write_error(error, &self.temporary.path))?;
        self.report_bytes();
        Ok(SpillFile {
            bytes: self.bytes(),
            stored: self.stored,
            schema: self.schema,
            blocks: self.blocks,
            rows: self.rows,
            temporary: self.temporary,
        })
    }

    fn report_bytes(&mut self) {
        let written = self.bytes();
        if let Some(total) = &self.spilled_bytes {
            total.fetch_add(written - self.reported_bytes, Ordering::Relaxed);
        }
        self.reported_bytes = written;
    }
}

impl fmt::Debug for SpillWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = &self.temporary.path;
        let mut writer = f.debug_struct("SpillWriter");
        writer.field("path", path).field("rows", &self.rows).finish_non_exhaustive()
    }
}

/// A finished spill file, readable block by block; the file goes with its last handle.
#[derive(Debug)]
pub struct SpillFile {
    schema: SchemaRef,
    stored: SchemaRef,
    blocks: Vec<BlockInfo>,
    rows: u64,
    bytes: u64,
    temporary: Temporary,
}

/// All that is needed to read a finished file in another process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SpillIndex {
    schema: SchemaRef,
    blocks: Vec<BlockInfo>,
    rows: u64,
    bytes: u64,
}

impl SpillIndex {
    /// The schema of the rows.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}

impl SpillFile {
    /// What [`SpillFile::reopen`] needs.
    pub fn index(&self) -> SpillIndex {
        SpillIndex {
            schema: Arc::clone(&self.schema),
            blocks: self.blocks.clone(),
            rows: self.rows,
            bytes: self.bytes,
        }
    }

    /// A file that an earlier process left; from now on it goes with its last handle, unless
    /// `keep` is set.
    ///
    /// # Errors
    /// [`Error::Io`] where it is not there, [`Error::Corrupt`] where it has another size. What its
    /// blocks hold is checked when they are read.
    pub fn reopen(
        disk: &Arc<dyn Disk>,
        path: PathBuf,
        index: SpillIndex,
        keep: Arc<AtomicBool>,
    ) -> Result<Self> {
        let SpillIndex { schema, blocks, rows, bytes } = index;
        let file = disk.open(&path).map_err(Error::io("open", &path))?;
        let size = file.size().map_err(Error::io("read", &path))?;
        if size != bytes {
            return Err(corrupt(&path, format!("it has {size} bytes and should have {bytes}")));
        }
        let stored = Arc::new(stored_schema(&schema));
        let temporary = Temporary { disk: Arc::clone(disk), path, keep: Some(keep) };
        Ok(Self { schema, stored, blocks, rows, bytes, temporary })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.temporary.path
    }

    /// The rows of all blocks.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The file's size in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many blocks it has.
    pub fn blocks(&self) -> usize {
        self.blocks.len()
    }

    /// The size of its largest block in bytes, as written.
    pub fn largest_block_bytes(&self) -> u64 {
        self.blocks.iter().map(|block| block.bytes as u64).max().unwrap_or(0)
    }

    /// The schema of the rows that it gives back.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Reads one block.
    ///
    /// - Memory: the block, in one allocation that all its columns share; not charged.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where the bytes are not those that were written or the file is too
    /// short, [`Error::Io`] where it can't be read.
    pub fn read(&self, block: usize) -> Result<RecordBatch> {
        self.read_from(self.open()?.as_ref(), block)
    }

    /// The rows of a range of blocks, one block a batch. Blocks beyond the end are left out.
    pub fn reader(self: &Arc<Self>, blocks: Range<usize>) -> SpillReader {
        self.reader_of((blocks.start..blocks.end.min(self.blocks())).collect())
    }

    /// The rows of these blocks in this order, one block a batch.
    pub fn reader_of(self: &Arc<Self>, blocks: Vec<usize>) -> SpillReader {
        SpillReader { file: Arc::clone(self), open: None, blocks: blocks.into_iter() }
    }

    fn open(&self) -> Result<Arc<dyn ReadAt>> {
        let path = &self.temporary.path;
        self.temporary.disk.open(path).map_err(Error::io("open", path))
    }

    fn read_from(&self, file: &dyn ReadAt, block: usize) -> Result<RecordBatch> {
        let path = &self.temporary.path;
        let Some(block) = self.blocks.get(block) else {
            let reason = format!("block {block} asked of `{}`, which has fewer", path.display());
            return Err(Error::Internal(reason));
        };
        let mut bytes = MutableBuffer::from_len_zeroed(block.bytes);
        file.read_exact_at(&mut bytes, block.offset).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => corrupt(path, "the file ends within a block"),
            _ => Error::io("read", path)(error),
        })?;
        if xxh3_64(&bytes) != block.checksum {
            return Err(corrupt(path, format!("checksum of the block at byte {}", block.offset)));
        }
        self.decode(bytes, block)
    }

    /// The rows of a block whose checksum is right.
    fn decode(&self, bytes: MutableBuffer, block: &BlockInfo) -> Result<RecordBatch> {
        let path = &self.temporary.path;
        let no_message = || corrupt(path, "no record batch where one was written");
        // A message begins with a marker and the length of its metadata, 4 bytes each.
        let length = bytes.get(4..8).and_then(|length| length.try_into().ok());
        let metadata_bytes = i32::from_le_bytes(length.ok_or_else(no_message)?).saturating_add(8);
        let place = Block::new(0, metadata_bytes, 0);
        let decoder = FileDecoder::new(Arc::clone(&self.stored), MetadataVersion::V5);
        let stored = decoder
            .read_record_batch(&place, &bytes.into())
            .map_err(|error| corrupt(path, error.to_string()))?
            .filter(|batch| batch.num_rows() == block.rows)
            .ok_or_else(no_message)?;
        with_schema(&stored, &self.schema)
    }
}

/// Blocks of a spill file, pulled one at a time; keeps the file alive.
///
/// - Memory: the block that it gives, not charged.
/// - Errors: those of [`SpillFile::read`].
pub struct SpillReader {
    file: Arc<SpillFile>,
    /// Opened at the first pull, so that many readers may wait without many open files.
    open: Option<Arc<dyn ReadAt>>,
    blocks: std::vec::IntoIter<usize>,
}

impl Operator for SpillReader {
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        let Some(block) = self.blocks.next() else { return Ok(None) };
        let open = match &self.open {
            Some(open) => open,
            None => self.open.insert(self.file.open()?),
        };
        self.file.read_from(open.as_ref(), block).map(Some)
    }
}

/// A file that is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct Temporary {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) path: PathBuf,
    /// Once set, the file stays.
    pub(crate) keep: Option<Arc<AtomicBool>>,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if self.keep.as_ref().is_some_and(|keep| keep.load(Ordering::Relaxed)) {
            return;
        }
        if let Err(error) = self.disk.remove_file(&self.path) {
            // Its folder goes with the attempt or the job, so that it is not lost for good.
            tracing::warn!(path = %self.path.display(), %error, "cannot remove a spill file");
        }
    }
}

/// Counts what is written and hashes it block by block.
struct Hashed {
    file: BufWriter<Box<dyn WriteFile>>,
    written_bytes: u64,
    hasher: Xxh3Default,
}

impl Hashed {
    fn new(file: Box<dyn WriteFile>) -> Self {
        let file = BufWriter::with_capacity(WRITE_CHUNK_BYTES, file);
        Self { file, written_bytes: 0, hasher: Xxh3Default::new() }
    }

    fn begin_block(&mut self) -> u64 {
        self.hasher.reset();
        self.written_bytes
    }

    /// The block's end and checksum.
    fn end_block(&mut self) -> (u64, u64) {
        (self.written_bytes, self.hasher.digest())
    }
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.written_bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn block_bytes(bytes: u64, path: &Path) -> Result<usize> {
    let too_large = || format!("a block of {bytes} bytes in `{}`", path.display());
    usize::try_from(bytes).map_err(|_| Error::Internal(too_large()))
}

fn corrupt(path: &Path, reason: impl Into<String>) -> Error {
    Error::Corrupt { what: path.display().to_string(), reason: reason.into() }
}

fn write_error(error: ArrowError, path: &Path) -> Error {
    match error {
        ArrowError::IoError(_, source) => Error::io("write", path)(source),
        other => Error::Arrow(other),
    }
}

/// The batch in parts of which no column has more than `max_bytes` of text, or that are a row.
fn split_text(batch: &RecordBatch, max_bytes: u64) -> Vec<RecordBatch> {
    let rows = batch.num_rows();
    if rows < 2 || batch.columns().iter().all(|column| text_in(column) <= max_bytes) {
        return vec![batch.clone()];
    }
    let mut parts = split_text(&batch.slice(0, rows / 2), max_bytes);
    parts.extend(split_text(&batch.slice(rows / 2, rows - rows / 2), max_bytes));
    parts
}

/// The bytes of a text column; 0 of others.
fn text_in(column: &ArrayRef) -> u64 {
    match column.data_type() {
        DataType::Utf8View => text_bytes(column.as_byte_view::<StringViewType>()),
        DataType::BinaryView => text_bytes(column.as_byte_view::<BinaryViewType>()),
        _ => 0,
    }
}

/// The schema as it is stored: views and dictionaries as plain text.
fn stored_schema(schema: &Schema) -> Schema {
    let fields = schema.fields().iter().map(stored_field).collect::<Vec<_>>();
    Schema::new_with_metadata(fields, schema.metadata().clone())
}

fn stored_field(field: &FieldRef) -> FieldRef {
    let stored = stored_type(field.data_type());
    Arc::new(Field::clone(field).with_data_type(stored))
}

fn stored_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::Dictionary(_, values) => stored_type(values),
        DataType::List(element) => DataType::List(stored_field(element)),
        DataType::LargeList(element) => DataType::LargeList(stored_field(element)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(stored_field).collect()),
        other => other.clone(),
    }
}

/// The batch with its columns brought to the types of `schema`; text buffers are shared.
fn with_schema(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let pairs = batch.columns().iter().zip(schema.fields());
    let columns = pairs
        .map(|(column, field)| {
            let is_right = column.data_type() == field.data_type();
            if is_right { Ok(Arc::clone(column)) } else { cast(column, field.data_type()) }
        })
        .collect::<Result<Vec<_>, ArrowError>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::{collections::HashSet, io::Cursor, sync::Mutex};

    use arrow::{
        array::{
            BinaryViewArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array,
            ListArray, StringViewArray, UInt64Array,
        },
        compute::concat_batches,
        datatypes::Int64Type,
        ipc::reader::FileReader,
    };
    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;
    use crate::{
        disk::RealDisk,
        exchange::{LocalExchange, store::PartitionStore},
        memory::Budget,
        task::context::CancelFlag,
    };

    /// The real disk, but the n-th write fails; knows the files that it has made and not removed.
    #[derive(Debug)]
    pub(crate) struct FaultyDisk {
        /// How many writes succeed.
        writes_left: Arc<Mutex<usize>>,
        /// What is there.
        pub(crate) files: Mutex<HashSet<PathBuf>>,
    }

    impl FaultyDisk {
        pub(crate) fn failing_after(writes: usize) -> Arc<Self> {
            let writes_left = Arc::new(Mutex::new(writes));
            Arc::new(Self { writes_left, files: Mutex::new(HashSet::new()) })
        }

        /// One on which nothing fails; it only counts files.
        pub(crate) fn counting() -> Arc<Self> {
            Self::failing_after(usize::MAX)
        }

        pub(crate) fn file_count(&self) -> usize {
            self.files.lock().unwrap().len()
        }
    }

    struct FaultyFile {
        file: Box<dyn WriteFile>,
        writes_left: Arc<Mutex<usize>>,
    }

    impl Write for FaultyFile {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut left = self.writes_left.lock().unwrap();
            *left = left.checked_sub(1).ok_or(io::ErrorKind::StorageFull)?;
            self.file.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            self.file.flush()
        }
    }

    impl WriteFile for FaultyFile {
        fn sync(&mut self) -> io::Result<()> {
            self.file.sync()
        }
    }

    impl Disk for FaultyDisk {
        fn open(&self, path: &Path) -> io::Result<Arc<dyn ReadAt>> {
            RealDisk.open(path)
        }
        fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
            let file = RealDisk.create(path)?;
            self.files.lock().unwrap().insert(path.to_owned());
            Ok(Box::new(FaultyFile { file, writes_left: Arc::clone(&self.writes_left) }))
        }
        fn truncate(&self, path: &Path, bytes: u64) -> io::Result<()> {
            RealDisk.truncate(path, bytes)
        }
        fn create_dir_all(&self, path: &Path) -> io::Result<()> {
            RealDisk.create_dir_all(path)
        }
        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            RealDisk.rename(from, to)
        }
        fn exchange(&self, one: &Path, other: &Path) -> io::Result<()> {
            RealDisk.exchange(one, other)
        }
        fn remove_file(&self, path: &Path) -> io::Result<()> {
            self.files.lock().unwrap().remove(path);
            RealDisk.remove_file(path)
        }
        fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
            self.files.lock().unwrap().retain(|file| !file.starts_with(path));
            RealDisk.remove_dir_all(path)
        }
        fn remove_empty_dir(&self, path: &Path) -> io::Result<()> {
            RealDisk.remove_empty_dir(path)
        }
        fn lock(&self, path: &Path) -> io::Result<Option<crate::disk::Lock>> {
            RealDisk.lock(path)
        }
        fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
            RealDisk.list(path)
        }
        fn sync_dir(&self, path: &Path) -> io::Result<()> {
            RealDisk.sync_dir(path)
        }
        fn exists(&self, path: &Path) -> bool {
            path.exists()
        }
        fn free_bytes(&self, _path: &Path) -> io::Result<u64> {
            Ok(77)
        }
    }

    /// A task's context with spill files in `folder/scratch` and its own store.
    pub(crate) fn context(disk: Arc<dyn Disk>, folder: &Path, budget_bytes: u64) -> TaskContext {
        let budget = Budget::new(budget_bytes);
        let store = folder.join("store");
        let store = Arc::new(PartitionStore::new(Arc::clone(&disk), store, budget.clone()));
        TaskContext {
            budget,
            cancel: CancelFlag::default(),
            disk,
            data: crate::disk::DataDisks::everywhere(),
            scratch: folder.join("scratch"),
            spilled_bytes: Arc::default(),
            read_bytes: Arc::default(),
            exchange: Arc::new(LocalExchange { store: Arc::clone(&store) }),
            store,
        }
    }

    /// Damages every block of every file in a folder.
    #[expect(clippy::disallowed_methods, reason = "a test damages files behind the disk's back")]
    pub(crate) fn flip_bits(folder: &Path) {
        for path in RealDisk.list(folder).unwrap() {
            let mut bytes = std::fs::read(&path).unwrap();
            bytes.iter_mut().skip(512).step_by(64).for_each(|byte| *byte ^= 1);
            std::fs::write(&path, bytes).unwrap();
        }
    }

    fn text(values: &[Option<&str>]) -> RecordBatch {
        let values: ArrayRef = Arc::new(values.iter().collect::<StringViewArray>());
        RecordBatch::try_from_iter_with_nullable([("key", values, true)]).unwrap()
    }

    fn write(folder: &TempDir, batches: &[RecordBatch], compress: bool) -> Arc<SpillFile> {
        let path = folder.path().join("deep/er/0.arrow");
        let mut writer =
            SpillWriter::create(&RealDisk::shared(), path, batches[0].schema(), compress).unwrap();
        for batch in batches {
            writer.write(batch).unwrap();
        }
        Arc::new(writer.finish().unwrap())
    }

    fn read_all(file: &Arc<SpillFile>) -> Result<Vec<RecordBatch>> {
        let mut reader = file.reader(0..file.blocks());
        let mut batches = Vec::new();
        while let Some(batch) = reader.next()? {
            batches.push(batch);
        }
        Ok(batches)
    }

    #[expect(clippy::disallowed_methods, reason = "a test damages the file behind the disk's back")]
    fn rewrite(file: &SpillFile, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = std::fs::read(&file.temporary.path).unwrap();
        change(&mut bytes);
        std::fs::write(&file.temporary.path, bytes).unwrap();
    }

    #[test]
    fn keys_with_separators_and_of_a_megabyte_survive() {
        let folder = tempfile::tempdir().unwrap();
        let long = "é\u{1F600},\"\r\n".repeat(100_000);
        let keys = text(&[Some("a,b"), Some("\"q\"\"q\""), Some("x\ny\r\nz\0"), Some(""), None]);
        let batches = [keys, text(&[Some(&long), None, Some("\\N")])];
        for compress in [false, true] {
            let file = write(&folder, &batches, compress);
            assert_eq!(read_all(&file).unwrap(), batches);
            assert_eq!((file.rows(), file.blocks()), (8, 2));
        }
    }

    #[test]
    fn every_type_of_the_engine_comes_back_as_it_was() {
        let lists = [Some(vec![Some(1), None]), None, Some(vec![])];
        let columns: [(&str, ArrayRef); 8] = [
            ("b", Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)]))),
            ("i", Arc::new(Int64Array::from(vec![Some(i64::MIN), None, Some(i64::MAX)]))),
            ("u", Arc::new(UInt64Array::from(vec![0, u64::MAX, 7]))),
            ("f", Arc::new(Float64Array::from(vec![Some(-0.0), None, Some(f64::INFINITY)]))),
            ("d", Arc::new(Date32Array::from(vec![Some(-1), None, Some(9)]))),
            ("n", Arc::new(Decimal128Array::from(vec![Some(i128::MIN), None, Some(1)]))),
            ("y", Arc::new(BinaryViewArray::from_iter([Some(&b"\xff\0"[..]), None, Some(b"")]))),
            ("l", Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists))),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let folder = tempfile::tempdir().unwrap();
        for compress in [false, true] {
            let file = write(&folder, std::slice::from_ref(&batch), compress);
            assert_eq!(read_all(&file).unwrap(), std::slice::from_ref(&batch));
        }
    }

    #[test]
    fn the_file_is_an_arrow_file_with_plain_text() {
        let folder = tempfile::tempdir().unwrap();
        let file = write(&folder, &[text(&[Some("a")]), text(&[None, Some("b")])], false);
        let mut bytes = Vec::new();
        rewrite(&file, |content| bytes.clone_from(content));
        assert_eq!(bytes.len() as u64, file.bytes());
        let reader = FileReader::try_new(Cursor::new(bytes), None).unwrap();
        assert_eq!(reader.schema().field(0).data_type(), &DataType::Utf8);
        assert_eq!(reader.map(|batch| batch.unwrap().num_rows()).sum::<usize>(), 3);
    }

    #[test]
    fn one_row_of_a_large_batch_is_a_small_block() {
        let folder = tempfile::tempdir().unwrap();
        let many = vec![Some("a text that is not held inline in its view"); 10_000];
        let file = write(&folder, &[text(&many).slice(5_000, 1)], false);
        assert!(file.bytes() < 4_096, "{} bytes", file.bytes());
    }

    #[test]
    fn text_beyond_what_a_block_may_hold_is_split_between_rows() {
        let ten = Some("0123456789");
        let batch = text(&[ten, None, ten, ten, ten, Some("longer than all of a block may be")]);
        let parts = split_text(&batch, 25);
        let rows: Vec<_> = parts.iter().map(RecordBatch::num_rows).collect();
        assert_eq!(rows, [3, 1, 1, 1]);
        assert_eq!(concat_batches(&batch.schema(), &parts).unwrap(), batch);
    }

    #[test]
    fn the_file_goes_with_its_last_handle_and_unfinished_ones_go_too() {
        let folder = tempfile::tempdir().unwrap();
        let batch = text(&[Some("a"), Some("b")]);
        let file = write(&folder, std::slice::from_ref(&batch), false);
        let path = file.temporary.path.clone();
        let mut reader = file.reader(0..1);
        drop(file);
        assert!(path.exists());
        assert_eq!(reader.next().unwrap(), Some(batch.clone()));
        assert_eq!(reader.next().unwrap(), None);
        drop(reader);
        assert!(!path.exists());

        let disk = RealDisk::shared();
        let mut writer = SpillWriter::create(&disk, path.clone(), batch.schema(), false).unwrap();
        writer.write(&batch).unwrap();
        assert!(path.exists());
        drop(writer);
        assert!(!path.exists());
    }

    #[test]
    fn a_flipped_bit_in_any_byte_of_a_block_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let file = write(&folder, &[text(&[Some("some text, long enough")])], false);
        let block = file.blocks[0];
        let start = usize::try_from(block.offset).unwrap();
        for place in start..start + block.bytes {
            rewrite(&file, |bytes| bytes[place] ^= 1 << (place % 8));
            assert!(matches!(file.read(0), Err(Error::Corrupt { .. })), "byte {place}");
            rewrite(&file, |bytes| bytes[place] ^= 1 << (place % 8));
        }
        assert!(file.read(0).is_ok());
    }

    #[test]
    fn a_file_cut_short_is_corrupt_and_a_missing_one_an_io_error() {
        let folder = tempfile::tempdir().unwrap();
        let file = write(&folder, &[text(&[Some("x"); 1_000])], false);
        rewrite(&file, |bytes| bytes.truncate(2_000));
        assert!(matches!(file.read(0), Err(Error::Corrupt { .. })));
        RealDisk.remove_file(&file.temporary.path).unwrap();
        assert!(matches!(file.read(0), Err(Error::Io { .. })));
    }

    #[test]
    fn a_write_that_fails_is_an_error_and_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let batch = text(&vec![Some("a text that is not held inline in its view"); 2_000]);
        let mut failures = 0;
        for writes in 0..1_000 {
            let faulty = FaultyDisk::failing_after(writes);
            let disk: Arc<dyn Disk> = Arc::clone(&faulty) as _;
            let path = folder.path().join("s/0.arrow");
            let spilled = SpillWriter::create(&disk, path, batch.schema(), false)
                .and_then(|mut writer| {
                    (0..5).try_for_each(|_| writer.write(&batch))?;
                    writer.finish()
                })
                .map(drop);
            assert_eq!(faulty.file_count(), 0);
            match spilled {
                Ok(()) => break,
                Err(Error::Io { source, .. }) => {
                    assert_eq!(source.kind(), io::ErrorKind::StorageFull);
                    failures += 1;
                }
                Err(other) => panic!("{other}"),
            }
        }
        assert!((4..999).contains(&failures), "{failures}");
    }

    #[test]
    fn an_empty_file_has_no_blocks_and_no_rows() {
        let folder = tempfile::tempdir().unwrap();
        let file = write(&folder, &[text(&[])], false);
        assert_eq!((file.rows(), file.blocks()), (0, 0));
        assert!(read_all(&file).unwrap().is_empty());
    }

    #[test]
    fn a_task_spills_to_files_of_its_own_and_counts_their_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let disk = FaultyDisk::counting();
        let context = context(Arc::clone(&disk) as _, folder.path(), 0);
        let batch = text(&[Some("a"), None]);
        let spill = || {
            let mut writer = context.spill(batch.schema()).unwrap();
            writer.write(&batch).unwrap();
            writer.finish().unwrap()
        };
        let (one, other) = (spill(), spill());
        assert_eq!(disk.file_count(), 2);
        assert!(one.temporary.path.starts_with(&context.scratch));
        let spilled = context.spilled_bytes.load(Ordering::Relaxed);
        assert_eq!(spilled, one.bytes() + other.bytes());
        drop((one, other));
        assert_eq!(disk.file_count(), 0);
    }

    proptest! {
        #[test]
        fn what_is_read_is_what_was_written(
            batches in prop::collection::vec(
                prop::collection::vec(prop::option::of(".{0,40}"), 1..50), 1..6),
            compress: bool,
        ) {
            let folder = tempfile::tempdir().unwrap();
            let batches: Vec<_> = batches
                .iter()
                .map(|values| text(&values.iter().map(Option::as_deref).collect::<Vec<_>>()))
                .collect();
            let file = write(&folder, &batches, compress);
            prop_assert_eq!(read_all(&file).unwrap(), batches);
        }
    }
}
