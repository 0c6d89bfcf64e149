//! Finished results: who tells where they are, and their rows as an operator.
//!
//! What a job is, and who may read it, is known to whoever implements [`Results`]; here a result
//! is files with a schema. [`open`] reads them for Flight and for downloads over REST alike, in
//! order, a batch at a time.

use std::{
    io::{self, Read, Seek, SeekFrom},
    path::PathBuf,
    sync::{Arc, atomic::AtomicU64},
    vec,
};

use arrow::{array::RecordBatch, datatypes::SchemaRef, ipc::reader::FileReader};
use minispark_engine::{
    Error, Result,
    disk::{Disk, ReadAt, RealDisk},
    error::Code,
    exchange::{LocalExchange, store::PartitionStore},
    formats::Format,
    memory::Budget,
    operators::{Operator, limit::Limit},
    plan::InputFile,
    source::{Source, split::Split},
    task::context::{CancelFlag, TaskContext},
};

use crate::{block, error::Refusal};

/// What readers of one process may hold together, unless [`Results::budget`] says otherwise.
const READ_BUDGET_BYTES: u64 = 64 << 20;

/// Knows the finished results.
pub trait Results: Send + Sync {
    /// Where a sink's rows are.
    ///
    /// # Errors
    /// A [`Refusal`] that says what is the matter: [`Code::NotFound`], [`Code::NotFinished`],
    /// [`Code::JobFailed`], [`Code::Cancelled`], [`Code::ResultExpired`].
    fn find(&self, job: &str, sink: &str) -> Result<ResultFiles, Refusal>;

    /// All finished results, in an order that stays.
    fn list(&self) -> Vec<ResultFiles>;

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
        files: Vec<InputFile>,
    },
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

/// Opens a result's rows, in order.
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
    let all: Box<dyn Operator> = match &files.source {
        ResultSource::Arrow(path) => Box::new(ArrowFile::open(path.clone(), disk)?),
        ResultSource::Files { format, files: parts } => Box::new(Parts {
            waiting: parts.clone().into_iter(),
            current: None,
            format: format.clone(),
            schema: block::view_schema(&files.schema),
            context: reading(disk, budget, cancel),
        }),
    };
    let rows: Box<dyn Operator> = match (selection.offset, selection.limit) {
        (0, None) => all,
        (offset, limit) => Box::new(Limit::new(all, offset, limit.unwrap_or(u64::MAX))),
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
    reader: FileReader<Positioned>,
}

impl ArrowFile {
    fn open(path: PathBuf, disk: &Arc<dyn Disk>) -> Result<Self> {
        let file = disk.open(&path).map_err(Error::io("read", path.clone()))?;
        match FileReader::try_new(Positioned { file, at: 0 }, None) {
            Ok(reader) => Ok(Self { path, reader }),
            Err(error) => Err(corrupt(&path, &error)),
        }
    }
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
    waiting: vec::IntoIter<InputFile>,
    current: Option<Source>,
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
            let Some(file) = self.waiting.next() else { return Ok(None) };
            let end = file.size_bytes;
            let split = Split { file, start: 0, end, aligned: true };
            let schema = SchemaRef::clone(&self.schema);
            self.current = Some(Source::open(&split, &self.format, schema, &self.context)?);
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
            InputFile { path, size_bytes: text.len() as u64 }
        });
        let format = Format::Csv(CsvOptions { header: true, columns: None, delimiter: b',' });
        let files = ResultFiles {
            source: ResultSource::Files { format, files: files.collect() },
            ..result(folder.path(), "j", "s", &[])
        };
        let words = StringViewArray::from(vec![Some("a"), Some("b, c"), None]);
        let numbers = Int64Array::from(vec![1, 2, 3]);
        let expected = RecordBatch::try_new(schema(), vec![Arc::new(words), Arc::new(numbers)]);
        assert_eq!(read(&files, &Selection::default()).unwrap(), expected.unwrap());
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
