//! [`Source`]: a split pulled through a format, as an operator.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use arrow::{
    array::RecordBatch,
    datatypes::{Schema, SchemaRef},
};

use crate::{
    Result,
    disk::Disk,
    formats::{self, BadRecords, Decoder, Format, block::Block},
    memory::Reservation,
    operators::Operator,
    plan::Scan,
    task::{
        context::{CancelFlag, TaskContext},
        metrics::RowCounter,
    },
};

pub(crate) mod blocks;
pub(crate) mod columnar;
pub(crate) mod folders;
pub(crate) mod quotes;
pub(crate) mod quarantine;
pub(crate) mod stream;
pub mod runtime_filter;
pub mod split;

use blocks::{BLOCK_BYTES, Blocks};
use columnar::{ColumnarSource, conform::Conform};
use quarantine::Gate;
use runtime_filter::Told;
use split::Split;

/// The rows of a split.
pub(crate) struct Opened {
    /// They.
    pub(crate) rows: Box<dyn Operator>,
    /// Counts the records that they are made of, bad ones too, where not all become rows.
    pub(crate) records: Option<RowCounter>,
}

/// The rows of a split, under the node's own `schema`; bad ones go through `gate`. Of a columnar
/// format, rows that the filters in `told` leave out may be missing.
///
/// # Errors
/// Those of opening the split's file.
pub(crate) fn open(
    split: &Split,
    format: &Format,
    scan: &Scan,
    schema: SchemaRef,
    (gate, told): (Gate, Told),
    context: &TaskContext,
) -> Result<Opened> {
    if format.is_columnar() {
        let rows = ColumnarSource::open(split, format, scan, schema, context);
        let rows = Box::new(rows.telling(told));
        return Ok(Opened { rows, records: None });
    }
    let Some(all) = &scan.schema else {
        let source = Source::open(split, format, schema, context)?.with_gate(gate);
        let records = Some(source.records());
        return Ok(Opened { rows: Box::new(source), records });
    };
    // The columns of a line are cut together, and chosen behind that.
    let fields = all
        .fields()
        .iter()
        .filter(|field| scan.folders.iter().all(|folder| folder.name != *field.name()));
    let found = Arc::new(Schema::new(fields.cloned().collect::<Vec<_>>()));
    let conform = Conform::new(&found, schema, &scan.folders, &split.file)?;
    let source = Source::open(split, format, Arc::clone(&found), context)?.with_gate(gate);
    let records = Some(source.records());
    let rows: Box<dyn Operator> = if conform.is_identity(&found) {
        Box::new(source)
    } else {
        Box::new(Conformed { source, conform })
    };
    Ok(Opened { rows, records })
}

/// The rows of a split that is all of one finished file; none of its rows is bad.
///
/// # Errors
/// As [`Source::open`]; those of a columnar file.
pub fn rows(
    split: &Split,
    format: &Format,
    schema: SchemaRef,
    context: &TaskContext,
) -> Result<Box<dyn Operator>> {
    if format.is_columnar() {
        let scan = Scan::default();
        return Ok(Box::new(ColumnarSource::open(split, format, &scan, schema, context)));
    }
    Ok(Box::new(Source::open(split, format, schema, context)?))
}

/// A source whose columns are chosen from those of its records, and added to by folders.
struct Conformed {
    source: Source,
    conform: Conform,
}

impl Operator for Conformed {
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        let batch = self.source.next()?;
        batch.map(|batch| self.conform.batch(&batch)).transpose()
    }
}

/// The rows of the records that begin in one split, in the file's order.
///
/// - Shape: the given schema; batches of at most [`formats::BATCH_ROWS`] rows, never empty. Bad
///   rows are left out where the format tolerates them.
/// - Memory: about two blocks of 1 MiB, more only where a record is longer; charged whatever the
///   budget says, because nothing is read without them. A batch's text points into its block. What
///   a codec needs comes on top.
/// - Errors: `BadRow` and `RecordTooLarge` with file, offset and line; `BadRowsLimit`;
///   `InputNotFound`; `InputChanged` where the file's size is, or becomes, another than planned;
///   `Corrupt` where it can't be decompressed.
pub struct Source {
    blocks: Blocks,
    decoder: Box<dyn Decoder>,
    /// The block being decoded, and where its next record begins.
    current: Option<(Block, usize)>,
    bad: BadRecords,
    /// Where bad rows go; they are counted and dropped where absent.
    gate: Option<Gate>,
    /// Records decoded, bad ones too.
    records: RowCounter,
    cancel: CancelFlag,
    /// Grows to the split's length.
    read_bytes: Arc<AtomicU64>,
    _memory: Option<Reservation>,
}

impl Source {
    /// Opens the split's file and finds the split's first record.
    ///
    /// # Errors
    /// As above; also a schema or options that the format can't be read with.
    pub fn open(
        split: &Split,
        format: &Format,
        schema: SchemaRef,
        context: &TaskContext,
    ) -> Result<Self> {
        let mut memory = context.budget.reservation("source");
        memory.grow(2 * BLOCK_BYTES as u64);
        let source = Self::over(split, format, schema, &context.data.inputs)?;
        let read_bytes = Arc::clone(&context.read_bytes);
        // What lies before the split's first record belongs to the split before, and is passed over.
        let passed = source.blocks.position().saturating_sub(split.start);
        read_bytes.fetch_add(passed, Ordering::Relaxed);
        Ok(Self { cancel: context.cancel.clone(), read_bytes, _memory: Some(memory), ..source })
    }

    /// A source that needs nothing of a task but its disk.
    pub(crate) fn over(
        split: &Split,
        format: &Format,
        schema: SchemaRef,
        disk: &Arc<dyn Disk>,
    ) -> Result<Self> {
        Ok(Self {
            blocks: Blocks::open(split, format, disk)?,
            decoder: formats::decoder(format, schema)?,
            current: None,
            bad: BadRecords {
                are_tolerated: format.intake().on_bad_row.tolerates(),
                found: Vec::new(),
            },
            gate: None,
            records: RowCounter::default(),
            cancel: CancelFlag::default(),
            read_bytes: Arc::default(),
            _memory: None,
        })
    }

    /// The same, whose bad rows go through `gate`.
    pub(crate) fn with_gate(self, gate: Gate) -> Self {
        Self { gate: Some(gate), ..self }
    }

    /// Counts the records, bad ones too.
    pub(crate) fn records(&self) -> RowCounter {
        self.records.clone()
    }

    /// Sends what was found bad in the block in hand through the gate, in the file's order.
    fn reject(&mut self) -> Result<()> {
        let Some((block, _)) = &self.current else { return Ok(()) };
        self.bad.found.sort_by_key(|record| record.range.start);
        self.records.add(self.bad.found.len() as u64);
        for record in self.bad.found.drain(..) {
            if let Some(gate) = &self.gate {
                gate.reject(&self.blocks.bad_row(block, record))?;
            }
        }
        Ok(())
    }
}

impl Operator for Source {
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            self.cancel.check()?;
            if let Some((block, from)) = &mut self.current {
                let decoded = self.decoder.decode(block, *from, &mut self.bad);
                let decoded = match decoded {
                    Ok(decoded) => decoded,
                    Err(refusal) => return Err(self.blocks.error(block, refusal)),
                };
                *from = decoded.end;
                let has_bad = !self.bad.found.is_empty();
                self.reject()?;
                // Behind what was no text, text may go on.
                let mut goes_on = has_bad;
                if let Some((broken, end)) = &mut self.current
                    && let Some(rest) = broken.behind(*end)
                {
                    self.blocks.pass(broken, *end);
                    (*broken, *end) = (rest, 0);
                    goes_on = true;
                }
                if let Some(batch) = decoded.batch {
                    self.records.add(batch.num_rows() as u64);
                    return Ok(Some(batch));
                }
                if goes_on {
                    continue;
                }
            }
            let before = self.blocks.position();
            let rest = match &self.current {
                Some((block, from)) => {
                    self.blocks.pass(block, *from);
                    &block.bytes()[*from..]
                }
                None => &[],
            };
            self.current = self.blocks.next(rest)?.map(|block| (block, 0));
            let read = self.blocks.position().saturating_sub(before);
            self.read_bytes.fetch_add(read, Ordering::Relaxed);
            if self.current.is_none() {
                return Ok(None);
            }
        }
    }
}

#[cfg(test)]
mod dirt;

#[cfg(test)]
pub(crate) mod tests {
    use std::{io::Write, sync::Arc};

    use arrow::{
        array::{Array, RecordBatch},
        datatypes::SchemaRef,
        util::display::array_value_to_string,
    };
    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::{
        Source,
        columnar::ColumnarSource,
        split::{Split, splits},
    };
    use crate::{
        Error, Result,
        disk::{Disk, RealDisk},
        formats::{BATCH_ROWS, Format, MAX_RECORD_BYTES, infer},
        operators::Operator,
        plan::{InputFile, Read, Scan},
    };

    /// Files in a folder of their own, read as a job would.
    pub(crate) struct Input {
        folder: TempDir,
        pub(crate) disk: Arc<dyn Disk>,
        pub(crate) files: Vec<InputFile>,
    }

    impl Input {
        /// One file for each of `contents`: `0`, `1`, …
        pub(crate) fn of(contents: &[&[u8]]) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let files = (contents.iter().enumerate())
                .map(|(number, bytes)| {
                    let path = folder.path().join(number.to_string());
                    RealDisk.create(&path).unwrap().write_all(bytes).unwrap();
                    InputFile { path, size_bytes: bytes.len() as u64, version: None }
                })
                .collect();
            Self { folder, disk: RealDisk::shared(), files }
        }

        pub(crate) fn splits(&self, format: &Format, partitions: u32) -> Result<Vec<Split>> {
            let files = self.files.clone();
            let schema = infer::schema(&self.disk, format, &files)?;
            splits(&Read::of(format.clone(), files, Some(partitions)), &schema, &self.disk)
        }

        /// All batches, split after split.
        pub(crate) fn batches(&self, format: &Format, partitions: u32) -> Result<Vec<RecordBatch>> {
            let schema = infer::schema(&self.disk, format, &self.files)?;
            let mut batches = Vec::new();
            for split in self.splits(format, partitions)? {
                let mut source = self.source(&split, format, Arc::clone(&schema))?;
                while let Some(batch) = source.next()? {
                    assert!((1..=BATCH_ROWS).contains(&batch.num_rows()));
                    batches.push(batch);
                }
                assert!(source.next()?.is_none());
            }
            Ok(batches)
        }

        fn source(
            &self,
            split: &Split,
            format: &Format,
            schema: SchemaRef,
        ) -> Result<Box<dyn Operator>> {
            if format.is_columnar() {
                let scan = Scan::default();
                let source = ColumnarSource::over(split, format, &scan, schema, &self.disk);
                return Ok(Box::new(source));
            }
            Ok(Box::new(Source::over(split, format, schema, &self.disk)?))
        }

        /// All rows, each value as text and a null as `None`.
        pub(crate) fn rows(
            &self,
            format: &Format,
            partitions: u32,
        ) -> Result<Vec<Vec<Option<String>>>> {
            let batches = self.batches(format, partitions)?;
            Ok(batches.iter().flat_map(rows_of).collect())
        }

        /// The error, which says neither folder nor path.
        pub(crate) fn error(&self, format: &Format, partitions: u32) -> String {
            let error = self.rows(format, partitions).expect_err("the input is bad");
            error.to_string().replace(&format!("{}/", self.folder.path().display()), "")
        }
    }

    fn text_format() -> Format {
        Format::Text(crate::formats::intake::Intake::default())
    }

    /// A batch's rows, each value as text and a null as `None`.
    pub(crate) fn rows_of(batch: &RecordBatch) -> Vec<Vec<Option<String>>> {
        let value = |row: usize, column: &arrow::array::ArrayRef| {
            column.is_valid(row).then(|| array_value_to_string(column, row).unwrap())
        };
        (0..batch.num_rows())
            .map(|row| batch.columns().iter().map(|column| value(row, column)).collect())
            .collect()
    }

    fn lines(bytes: &[u8], partitions: u32) -> Vec<String> {
        let rows = Input::of(&[bytes]).rows(&text_format(), partitions).unwrap();
        rows.into_iter().map(|mut row| row.remove(0).unwrap()).collect()
    }

    #[test]
    fn lines_end_with_lf_or_crlf_or_the_file() {
        assert_eq!(
            lines(b"one\r\n\ntwo\rthree\n\r\nfour", 1),
            ["one", "", "two\rthree", "", "four"]
        );
        assert_eq!(lines(b"one\n", 1), ["one"]);
        assert_eq!(lines(b"\n", 1), [""]);
        assert_eq!(lines(b"", 1), [""; 0]);
    }

    #[test]
    fn a_byte_order_mark_is_skipped_and_nul_is_data() {
        assert_eq!(lines(b"\xef\xbb\xbfone\n\xef\xbb\xbf\0two", 1), ["one", "\u{feff}\0two"]);
        assert_eq!(lines(b"\xef\xbb\xbf", 1), [""; 0]);
        assert_eq!(lines(b"\xef\xbb\xbf\n", 3), [""]);
    }

    #[test]
    fn a_line_longer_than_64_kib_and_than_a_block_is_read_whole() {
        for length in [70_000, 3_000_000] {
            let text = format!("a\n{}\nb\n", "é".repeat(length));
            for partitions in [1, 4] {
                let found = lines(text.as_bytes(), partitions);
                assert_eq!(found.iter().map(String::len).collect::<Vec<_>>(), [1, 2 * length, 1]);
            }
        }
    }

    #[test]
    fn a_record_may_have_16_mebibytes_and_no_byte_more() {
        let limit = usize::try_from(MAX_RECORD_BYTES).unwrap();
        let mut bytes = b"first\n".to_vec();
        bytes.resize(bytes.len() + limit, b'x');
        bytes.extend_from_slice(b"\r\nlast");
        let with_return = Input::of(&[&bytes]);
        bytes.remove(bytes.len() - 6);
        let exact = Input::of(&[&bytes]);
        for partitions in [1, 3] {
            assert_eq!(exact.rows(&text_format(), partitions).unwrap().len(), 3);
            assert_eq!(
                with_return.error(&text_format(), partitions),
                "record of more than 16777216 bytes in `0`, line 2 (byte 6); is a quote left open?"
            );
        }
        let endless = Input::of(&[&vec![b'x'; limit + 1]]);
        assert!(matches!(
            endless.rows(&text_format(), 1),
            Err(Error::RecordTooLarge { offset: 0, line: 1, .. })
        ));
    }

    #[test]
    fn invalid_utf8_is_a_bad_row_with_its_place() {
        let input = Input::of(&[b"one\ntwo\nth\xffree\nfour\n"]);
        for partitions in 1..=5 {
            assert_eq!(
                input.error(&text_format(), partitions),
                "bad row in `0`, line 3 (byte 8): expected UTF-8 text (of another encoding? set `encoding`): `th\u{fffd}ree`"
            );
        }
        let schema = infer::schema(&input.disk, &text_format(), &input.files).unwrap();
        let split = &input.splits(&text_format(), 1).unwrap()[0];
        let mut source = Source::over(split, &text_format(), schema, &input.disk).unwrap();
        assert_eq!(source.next().unwrap().unwrap().num_rows(), 2);
        assert!(source.next().is_err());
    }

    #[test]
    fn an_input_that_is_missing_or_has_another_size_is_refused_by_name() {
        let mut input = Input::of(&[b"one\n"]);
        input.files[0].size_bytes = 5;
        assert_eq!(
            input.error(&text_format(), 1),
            "input `0` has changed: 5 bytes when planned, 4 now"
        );
        input.files[0].path.set_file_name("gone");
        assert_eq!(input.error(&text_format(), 1), "input `gone` is not there");
    }

    #[test]
    fn a_header_behind_blank_lines_is_found_wherever_the_file_is_cut() {
        let options = crate::formats::csv::CsvOptions { header: true, ..Default::default() };
        for blank in ["", "\n", "\r\n\n", "\u{feff}\n\n"] {
            let text = format!("{blank}id,n\na,1\nb,2\nc,3\n");
            for partitions in 1..40 {
                let input = Input::of(&[text.as_bytes()]);
                let rows = input.rows(&Format::Csv(options.clone()), partitions).unwrap();
                assert_eq!(rows.len(), 3, "{blank:?} in {partitions}: {rows:?}");
            }
        }
    }

    #[test]
    fn a_file_whose_lines_end_with_cr_alone_is_refused_and_not_swallowed_by_its_header() {
        let input = Input::of(&[b"a,b\r1,2\r3,4\r"]);
        let options = crate::formats::csv::CsvOptions { header: true, ..Default::default() };
        let error = input.rows(&Format::Csv(options), 1).unwrap_err().to_string();
        assert!(error.contains("lines end with LF or CRLF, not with CR"), "{error}");
    }

    #[test]
    fn files_are_read_in_their_order() {
        let input = Input::of(&[b"a\nb", b"", b"c\n", b"d"]);
        let rows = input.rows(&text_format(), 7).unwrap();
        assert_eq!(rows.concat(), ["a", "b", "c", "d"].map(|line| Some(line.to_owned())));
    }

    proptest! {
        #[test]
        fn every_line_is_read_once_wherever_the_file_is_cut(
            text in "(\u{feff})?([a-zé\r]{0,20}\n){0,9}[a-z]{0,5}",
            partitions in 1u32..40,
        ) {
            let mut expected: Vec<&str> = text.trim_start_matches('\u{feff}').split('\n').collect();
            expected.pop_if(|last| last.is_empty());
            let ends_with_newline = text.ends_with('\n');
            let count = expected.len();
            for (number, line) in expected.iter_mut().enumerate() {
                if number + 1 < count || ends_with_newline {
                    *line = line.strip_suffix('\r').unwrap_or(line);
                }
            }
            prop_assert_eq!(lines(text.as_bytes(), partitions), expected);
        }
    }
}
