//! Finished results: who tells where they are, and their rows as an operator.
//!
//! What a job is, and who may read it, is known to whoever implements [`Results`]; here a result
//! is files with a schema. [`open`] reads them for Flight and for downloads over REST alike, in
//! order, a batch at a time.

use std::{
    fmt,
    io::{self, Read, Seek, SeekFrom},
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, atomic::AtomicU64},
    vec,
};

use arrow::{
    array::RecordBatch,
    datatypes::SchemaRef,
    ipc::{
        Block,
        reader::{FileReader, read_footer_length},
        root_as_footer, root_as_message,
    },
};
use minispark_engine::{
    Error, Result,
    disk::{DataDisks, Disk, ReadAt, RealDisk},
    error::Code,
    exchange::{LocalExchange, store::PartitionStore},
    formats::Format,
    memory::Budget,
    operators::{Operator, limit::Limit},
    plan::InputFile,
    source::{self, split::Split},
    task::context::{CancelFlag, TaskContext},
};

use crate::{block, error::Refusal};

/// What readers of one process may hold together, unless [`Results::budget`] says otherwise.
const READ_BUDGET_BYTES: u64 = 64 << 20;

/// Who asks, as the call itself says it. Never shown.
#[derive(Clone, Default)]
pub struct Asker {
    /// The value of the `authorization` header.
    pub authorization: Option<Vec<u8>>,
    /// The address at the other end.
    pub peer: Option<SocketAddr>,
}

impl fmt::Debug for Asker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Knows the finished results, and who may read them.
pub trait Results: Send + Sync {
    /// Whether the asker may call at all.
    ///
    /// # Errors
    /// [`Code::Unauthenticated`], [`Code::Forbidden`].
    fn admit(&self, asker: &Asker) -> Result<(), Refusal>;

    /// Where a sink's rows are.
    ///
    /// # Errors
    /// A [`Refusal`] that says what is the matter: [`Code::NotFound`], [`Code::NotFinished`],
    /// [`Code::JobFailed`], [`Code::Cancelled`], [`Code::ResultExpired`]; as [`Self::admit`]. What
    /// the asker may not see is not found.
    fn find(&self, asker: &Asker, job: &str, sink: &str) -> Result<ResultFiles, Refusal>;

    /// All finished results that the asker may see, in an order that stays.
    ///
    /// # Errors
    /// As [`Self::admit`].
    fn list(&self, asker: &Asker) -> Result<Vec<ResultFiles>, Refusal>;

    /// The disk that they are on.
    fn disk(&self) -> Arc<dyn Disk> {
        RealDisk::shared()
    }

    /// What reading them is charged to.
    fn budget(&self) -> Budget {
        Budget::new(READ_BUDGET_BYTES)
    }
}

/// One sink's finished result.
#[derive(Clone, Debug)]
pub struct ResultFiles {
    /// The job, as its client knows it.
    pub job: String,
    /// The sink within it.
    pub sink: String,
    /// The rows' schema.
    pub schema: SchemaRef,
    /// All rows.
    pub rows: u64,
    /// All bytes, of the files as they are published.
    pub bytes: u64,
    /// Whether the rows stand in a defined or stable order.
    pub ordered: bool,
    /// Where the rows are.
    pub source: ResultSource,
}

/// Where a result's rows are.
#[derive(Clone, Debug)]
pub enum ResultSource {
    /// In one Arrow IPC file.
    Arrow(PathBuf),
    /// In files of a readable format, in order.
    Files {
        /// How they are read.
        format: Format,
        /// The files.
        files: Vec<ResultPart>,
    },
}

/// A file of a result.
#[derive(Clone, Debug)]
pub struct ResultPart {
    /// The file.
    pub file: InputFile,
    /// Its rows.
    pub rows: u64,
}

/// Which of a result's rows and columns are wanted; all by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// These columns in this order, by index.
    pub columns: Option<Vec<usize>>,
    /// Rows that are passed over first.
    pub offset: u64,
    /// The most rows.
    pub limit: Option<u64>,
}

impl ResultFiles {
    /// The indices of columns that a caller named.
    ///
    /// # Errors
    /// [`Code::BadRequest`] for a name that is not there, with those that are, and for none.
    pub fn columns(&self, names: &[String]) -> Result<Vec<usize>, Refusal> {
        if names.is_empty() {
            return Err(Refusal::new(
                Code::BadRequest,
                "`columns` is empty; name one or leave it out",
            ));
        }
        let find = |name: &String| {
            self.schema.index_of(name).map_err(|_| {
                let known: Vec<_> = self
                    .schema
                    .fields()
                    .iter()
                    .map(|field| format!("`{}`", field.name()))
                    .collect();
                let known = known.join(", ");
                let message = format!("no column `{name}` in `{}`; there are {known}", self.sink);
                Refusal::new(Code::BadRequest, message)
            })
        };
        names.iter().map(find).collect()
    }

    /// The schema of what is selected, as the engine has it: text is `Utf8View`.
    ///
    /// # Errors
    /// [`Error::Arrow`] where a column's index is too large.
    pub fn schema_of(&self, selection: &Selection) -> Result<SchemaRef> {
        let schema = match &selection.columns {
            None => SchemaRef::clone(&self.schema),
            Some(columns) => Arc::new(self.schema.project(columns)?),
        };
        Ok(block::view_schema(&schema))
    }
}

/// Opens a result's rows, in order; files and batches that are passed over whole are not read.
///
/// - Shape: the schema of [`ResultFiles::schema_of`]; text is `Utf8View`.
/// - Memory: one batch of the file, charged to `budget` as far as its format's reader does.
/// - Cancellation: a pull ends with [`Error::Cancelled`] once `cancel` is set.
///
/// # Errors
/// Here or from the operator: [`Error::Io`], [`Error::Corrupt`] where a file is not what was
/// published, and the format's errors.
pub fn open(
    files: &ResultFiles,
    selection: &Selection,
    disk: &Arc<dyn Disk>,
    budget: &Budget,
    cancel: &CancelFlag,
) -> Result<Box<dyn Operator>> {
    let mut offset = selection.offset;
    let rest: Box<dyn Operator> = match &files.source {
        ResultSource::Arrow(path) => {
            let mut file = ArrowFile::open(path.clone(), disk)?;
            offset = file.pass_over(offset)?;
            Box::new(file)
        }
        ResultSource::Files { format, files: parts } => {
            let mut waiting = parts.clone().into_iter();
            while let Some(part) = waiting.as_slice().first().filter(|part| part.rows <= offset) {
                offset -= part.rows;
                waiting.next();
            }
            Box::new(Parts {
                waiting,
                current: None,
                format: format.clone(),
                schema: block::view_schema(&files.schema),
                context: reading(disk, budget, cancel),
            })
        }
    };
    let rows: Box<dyn Operator> = match (offset, selection.limit) {
        (0, None) => rest,
        (offset, limit) => Box::new(Limit::new(rest, offset, limit.unwrap_or(u64::MAX))),
    };
    Ok(Box::new(Selected {
        rows,
        columns: selection.columns.clone(),
        schema: files.schema_of(selection)?,
        cancel: cancel.clone(),
    }))
}

/// A context for reading alone: nothing is spilled, stored or fetched.
fn reading(disk: &Arc<dyn Disk>, budget: &Budget, cancel: &CancelFlag) -> TaskContext {
    let store = Arc::new(PartitionStore::new(Arc::clone(disk), PathBuf::new(), budget.clone()));
    TaskContext {
        budget: budget.clone(),
        cancel: cancel.clone(),
        disk: Arc::clone(disk),
        data: DataDisks { inputs: Arc::clone(disk), outputs: Arc::clone(disk) },
        scratch: PathBuf::new(),
        spilled_bytes: Arc::new(AtomicU64::new(0)),
        read_bytes: Arc::new(AtomicU64::new(0)),
        store: Arc::clone(&store),
        exchange: Arc::new(LocalExchange { store }),
    }
}

/// The columns that are wanted, with text as the engine has it.
struct Selected {
    rows: Box<dyn Operator>,
    columns: Option<Vec<usize>>,
    schema: SchemaRef,
    cancel: CancelFlag,
}

impl Operator for Selected {
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        self.cancel.check()?;
        let Some(batch) = self.rows.next()? else { return Ok(None) };
        let batch = match &self.columns {
            None => batch,
            Some(columns) => batch.project(columns)?,
        };
        block::with_schema(&batch, &self.schema).map(Some)
    }
}

/// The rows of one Arrow IPC file.
struct ArrowFile {
    path: PathBuf,
    file: Arc<dyn ReadAt>,
    reader: FileReader<Positioned>,
}

impl ArrowFile {
    fn open(path: PathBuf, disk: &Arc<dyn Disk>) -> Result<Self> {
        let file = disk.open(&path).map_err(Error::io("read", path.clone()))?;
        match FileReader::try_new(Positioned { file: Arc::clone(&file), at: 0 }, None) {
            Ok(reader) => Ok(Self { path, file, reader }),
            Err(error) => Err(corrupt(&path, &error)),
        }
    }

    /// Begins behind the batches that `offset` rows cover; gives what of `offset` is left. Of the
    /// batches only the headers are read.
    fn pass_over(&mut self, mut offset: u64) -> Result<u64> {
        if offset == 0 {
            return Ok(0);
        }
        let blocks = blocks(&*self.file).map_err(|reason| self.corrupt(reason))?;
        for (index, block) in blocks.iter().enumerate() {
            let rows = rows_of(&*self.file, block).map_err(|reason| self.corrupt(reason))?;
            if rows > offset {
                self.reader.set_index(index)?;
                return Ok(offset);
            }
            offset -= rows;
        }
        // Behind all rows: what is read then is passed over too.
        if let Some(last) = blocks.len().checked_sub(1) {
            self.reader.set_index(last)?;
        }
        Ok(u64::MAX)
    }

    fn corrupt(&self, reason: String) -> Error {
        Error::Corrupt { what: self.path.display().to_string(), reason }
    }
}

/// The places of an Arrow file's batches, from its footer.
fn blocks(file: &dyn ReadAt) -> Result<Vec<Block>, String> {
    let mut tail = [0; 10];
    let size = file.size().map_err(|error| error.to_string())?;
    let end = size.checked_sub(tail.len() as u64).ok_or("it is too short")?;
    file.read_exact_at(&mut tail, end).map_err(|error| error.to_string())?;
    let length = read_footer_length(tail).map_err(|error| error.to_string())?;
    let start = end.checked_sub(length as u64).ok_or("its footer is longer than the file")?;
    let mut footer = vec![0; length];
    file.read_exact_at(&mut footer, start).map_err(|error| error.to_string())?;
    let footer = root_as_footer(&footer).map_err(|error| error.to_string())?;
    Ok(footer.recordBatches().into_iter().flatten().copied().collect())
}

/// The rows of a batch, from its header.
fn rows_of(file: &dyn ReadAt, block: &Block) -> Result<u64, String> {
    /// In front of the header: a mark and its length.
    const PREFIX: usize = 8;
    let lies = || String::from("its footer does not fit its batches");
    let start = u64::try_from(block.offset()).map_err(|_| lies())?;
    let length = usize::try_from(block.metaDataLength()).map_err(|_| lies())?;
    if start.saturating_add(length as u64) > file.size().map_err(|error| error.to_string())? {
        return Err(lies());
    }
    let mut header = vec![0; length];
    file.read_exact_at(&mut header, start).map_err(|error| error.to_string())?;
    let header = header.get(PREFIX..).ok_or_else(lies)?;
    let message = root_as_message(header).map_err(|error| error.to_string())?;
    let batch = message.header_as_record_batch().ok_or_else(lies)?;
    u64::try_from(batch.length()).map_err(|_| lies())
}

impl Operator for ArrowFile {
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        for batch in &mut self.reader {
            let batch = batch.map_err(|error| corrupt(&self.path, &error))?;
            if batch.num_rows() > 0 {
                return Ok(Some(batch));
            }
        }
        Ok(None)
    }
}

fn corrupt(path: &std::path::Path, error: &arrow::error::ArrowError) -> Error {
    Error::Corrupt { what: path.display().to_string(), reason: error.to_string() }
}

/// A [`ReadAt`] with a place, for readers that want one.
struct Positioned {
    file: Arc<dyn ReadAt>,
    at: u64,
}

impl Read for Positioned {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for Positioned {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.file.size()?.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

/// The rows of files of a format, one file after the other.
struct Parts {
    waiting: vec::IntoIter<ResultPart>,
    current: Option<Box<dyn Operator>>,
    format: Format,
    schema: SchemaRef,
    context: TaskContext,
}

impl Operator for Parts {
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(source) = &mut self.current {
                if let Some(batch) = source.next()? {
                    return Ok(Some(batch));
                }
                self.current = None;
            }
            let Some(ResultPart { file, .. }) = self.waiting.next() else { return Ok(None) };
            let end = file.size_bytes;
            let split = Split { file, start: 0, end, aligned: true };
            let schema = SchemaRef::clone(&self.schema);
            self.current = Some(source::rows(&split, &self.format, schema, &self.context)?);
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, StringViewArray};
    use minispark_engine::formats::csv::CsvOptions;

    use super::*;
    use crate::fixture::{all, result, rows, schema};

    fn read(files: &ResultFiles, selection: &Selection) -> Result<RecordBatch> {
        let cancel = CancelFlag::default();
        all(open(files, selection, &RealDisk::shared(), &Budget::new(1 << 20), &cancel)?)
    }

    #[test]
    fn an_arrow_file_gives_its_rows_with_text_as_views() {
        let folder = tempfile::tempdir().unwrap();
        let files = result(folder.path(), "j", "s", &[rows(0, 3, "a"), rows(3, 2, "b")]);
        let expected = [rows(0, 3, "a"), rows(3, 2, "b")];
        let expected = arrow::compute::concat_batches(&schema(), &expected).unwrap();
        assert_eq!(read(&files, &Selection::default()).unwrap(), expected);
    }

    #[test]
    fn files_of_a_format_are_read_one_after_the_other() {
        let folder = tempfile::tempdir().unwrap();
        let files = ["word,n\na,1\n\"b, c\",2\n", "word,n\n", "word,n\n,3\n"];
        let files = files.iter().enumerate().map(|(number, text)| {
            let path = folder.path().join(format!("part-{number:05}.csv"));
            io::Write::write_all(&mut RealDisk.create(&path).unwrap(), text.as_bytes()).unwrap();
            let file = InputFile { path, size_bytes: text.len() as u64, version: None };
            ResultPart { file, rows: text.lines().count() as u64 - 1 }
        });
        let format = Format::Csv(CsvOptions { header: true, ..CsvOptions::default() });
        let files = ResultFiles {
            source: ResultSource::Files { format, files: files.collect() },
            ..result(folder.path(), "j", "s", &[])
        };
        let words = StringViewArray::from(vec![Some("a"), Some("b, c"), None]);
        let numbers = Int64Array::from(vec![1, 2, 3]);
        let expected = RecordBatch::try_new(schema(), vec![Arc::new(words), Arc::new(numbers)]);
        let expected = expected.unwrap();
        assert_eq!(read(&files, &Selection::default()).unwrap(), expected);
        for passed in 0..4 {
            let offset = passed as u64;
            let selection = Selection { offset, ..Selection::default() };
            let rest = expected.slice(passed, 3 - passed);
            assert_eq!(read(&files, &selection).unwrap(), rest, "behind {offset} rows");
        }
    }

    #[test]
    fn batches_that_are_passed_over_are_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let batches = [rows(0, 3, "a"), rows(3, 4, "b"), rows(7, 2, "c")];
        let files = result(folder.path(), "j", "s", &batches);
        let all = arrow::compute::concat_batches(&schema(), &batches).unwrap();
        for passed in 0..11_usize {
            let offset = passed as u64;
            let from = passed.min(9);
            for (limit, count) in [(None, 9 - from), (Some(2), 2.min(9 - from))] {
                let selection = Selection { offset, limit, columns: None };
                let found = read(&files, &selection).unwrap();
                assert_eq!(found, all.slice(from, count), "{offset} {limit:?}");
            }
        }
        // The bytes of the first batch are no batch any more, and nobody looks at them.
        let ResultSource::Arrow(path) = &files.source else { panic!("an Arrow file") };
        let file = RealDisk.open(path).unwrap();
        let first = blocks(&*file).unwrap()[0];
        let mut bytes = std::fs::read(path).unwrap();
        let place = |number: i64| usize::try_from(number).unwrap();
        let body = place(first.offset()) + place(i64::from(first.metaDataLength()));
        bytes[body..body + place(first.bodyLength())].fill(0xff);
        io::Write::write_all(&mut RealDisk.create(path).unwrap(), &bytes).unwrap();
        assert!(read(&files, &Selection::default()).is_err());
        let behind = Selection { offset: 3, ..Selection::default() };
        assert_eq!(read(&files, &behind).unwrap(), all.slice(3, 6));
    }

    #[test]
    fn a_selection_is_of_rows_and_then_of_columns() {
        let folder = tempfile::tempdir().unwrap();
        let files = result(folder.path(), "j", "s", &[rows(0, 3, "a"), rows(3, 3, "a")]);
        let columns = Some(files.columns(&[String::from("n"), String::from("word")]).unwrap());
        let selection = Selection { columns, offset: 2, limit: Some(3) };
        let expected = rows(2, 3, "a").project(&[1, 0]).unwrap();
        assert_eq!(read(&files, &selection).unwrap(), expected);
        let past = Selection { offset: 6, ..Selection::default() };
        assert_eq!(read(&files, &past).unwrap().num_rows(), 0);
    }

    #[test]
    fn an_unknown_column_is_refused_with_those_that_are_there() {
        let folder = tempfile::tempdir().unwrap();
        let files = result(folder.path(), "j", "s", &[]);
        let refusal = files.columns(&[String::from("N")]).unwrap_err();
        assert_eq!(refusal.to_string(), "no column `N` in `s`; there are `word`, `n`");
        assert_eq!(files.columns(&[]).unwrap_err().code, Code::BadRequest);
    }

    #[test]
    fn a_file_cut_short_or_gone_is_an_error_and_no_panic() {
        let folder = tempfile::tempdir().unwrap();
        let files = result(folder.path(), "j", "s", &[rows(0, 100, "some text")]);
        let ResultSource::Arrow(path) = &files.source else { panic!("an Arrow file") };
        let bytes = std::fs::read(path).unwrap();
        for length in (0..bytes.len()).step_by(97) {
            let mut file = RealDisk.create(path).unwrap();
            io::Write::write_all(&mut file, &bytes[..length]).unwrap();
            assert!(read(&files, &Selection::default()).is_err(), "{length} bytes");
        }
        RealDisk.remove_file(path).unwrap();
        assert!(matches!(read(&files, &Selection::default()), Err(Error::Io { .. })));
    }

    #[test]
    fn a_cancelled_reading_ends() {
        let folder = tempfile::tempdir().unwrap();
        let files = result(folder.path(), "j", "s", &[rows(0, 3, "a")]);
        let (disk, budget, cancel) =
            (RealDisk::shared(), Budget::new(1 << 20), CancelFlag::default());
        let rows = open(&files, &Selection::default(), &disk, &budget, &cancel).unwrap();
        cancel.cancel();
        assert!(matches!(all(rows), Err(Error::Cancelled)));
    }
}
