//! Formats: how bytes become record batches and record batches bytes.
//!
//! Each format's decoder and encoder stand side by side in one file. A decoder gets blocks that
//! begin at a record; what of a block is no whole record yet, it leaves, and gets it again with
//! more bytes behind it. It knows positions in blocks only: [`crate::source`] turns a
//! `Refusal` into an error with file, line and offset.

use std::ops::Range;

use ::arrow::{
    array::RecordBatch,
    datatypes::{DataType, SchemaRef},
    error::ArrowError,
};
use serde::{Deserialize, Serialize};

use crate::Result;

pub mod normal;
pub mod compression;
pub(crate) mod layout;
pub(crate) mod block;
pub(crate) mod fields;
pub(crate) mod values;
pub(crate) mod cells;
pub(crate) mod scalar;
pub mod intake;
pub mod csv;
pub mod jsonl;
pub mod text;
pub mod arrow;
pub(crate) mod parquet;
pub mod infer;

use block::Block;
use compression::Compression;
use intake::Intake;
use layout::{Compressed, Rebatched, group_rows};

/// How a reader's bytes become rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Format {
    /// One row a line, in one text column.
    Text(Intake),
    /// RFC 4180.
    Csv(csv::CsvOptions),
    /// One JSON object a line.
    Jsonl(jsonl::JsonlOptions),
    /// Parquet files.
    Parquet,
    /// Arrow IPC files and streams.
    Arrow,
}

impl Format {
    /// Whether its files are read by units of their own and not by blocks of bytes.
    pub fn is_columnar(&self) -> bool {
        matches!(self, Self::Parquet | Self::Arrow)
    }
}

impl Format {
    /// How the bytes of a text format's files are taken in.
    pub fn intake(&self) -> &Intake {
        static USUAL: Intake = Intake::usual();
        match self {
            Self::Parquet | Self::Arrow => &USUAL,
            Self::Text(intake) => intake,
            Self::Csv(options) => &options.intake,
            Self::Jsonl(options) => &options.intake,
        }
    }
}

/// A column that a reader's node declares.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeclaredColumn {
    /// Its name.
    pub name: String,
    /// Its type; inferred where absent.
    pub data_type: Option<DataType>,
}

/// How a writer's rows become bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum WriteFormat {
    /// Columns joined by `, `, one row a line.
    Text,
    /// RFC 4180.
    Csv(csv::CsvWriteOptions),
    /// One JSON object a line.
    Jsonl,
    /// An Arrow IPC file, text as `Utf8`.
    Arrow,
    /// An Arrow IPC stream, text as `Utf8`.
    ArrowStream,
    /// A Parquet file.
    Parquet,
}

/// The most bytes of one record, without the newline that ends it.
pub const MAX_RECORD_BYTES: u64 = 16 << 20;

/// How many rows a reader aims to put into one batch.
pub const BATCH_ROWS: usize = 8192;

/// Turns blocks into batches.
pub(crate) trait Decoder: Send {
    /// The rows of the records that begin at `from`, [`BATCH_ROWS`] at most.
    ///
    /// - Shape: the plan's schema; order and number of the records, those among the `bad` left out.
    /// - Memory: one batch, whose text points into the block.
    ///
    /// # Errors
    /// The record at `from` is refused, and bad ones are not tolerated; one behind it only ends
    /// the batch. A record is too large, or what stands before all records is not as it must be.
    fn decode(
        &mut self,
        block: &Block,
        from: usize,
        bad: &mut BadRecords,
    ) -> Result<Decoded, Refusal>;
}

/// What a decoder made of a block.
pub(crate) struct Decoded {
    /// Rows, or `None` where the block has no whole record any more, or only bad ones were found.
    pub(crate) batch: Option<RecordBatch>,
    /// Where the first record begins that is neither in the batch nor bad. It may lie behind the
    /// block's text.
    pub(crate) end: usize,
}

/// A record that is not what its format or its types demand; positions are those of the block.
#[derive(Clone, Debug)]
pub(crate) struct BadRecord {
    /// The record.
    pub(crate) range: Range<usize>,
    /// The column, where one is to blame.
    pub(crate) column: Option<String>,
    /// What was expected.
    pub(crate) reason: String,
}

/// What becomes of bad records.
#[derive(Debug, Default)]
pub(crate) struct BadRecords {
    /// Whether reading goes on behind them.
    pub(crate) are_tolerated: bool,
    /// Those found, where it does.
    pub(crate) found: Vec<BadRecord>,
}

impl BadRecords {
    /// Notes a record.
    ///
    /// # Errors
    /// None is tolerated.
    pub(crate) fn take(&mut self, record: BadRecord) -> Result<(), Refusal> {
        if !self.are_tolerated {
            return Err(Refusal::BadRecord(record));
        }
        self.found.push(record);
        Ok(())
    }
}

/// Why a decoder can't go on; positions are those of the block.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// A record is bad.
    BadRecord(BadRecord),
    /// A record is over [`MAX_RECORD_BYTES`].
    TooLarge {
        /// Where it begins.
        start: usize,
    },
    /// A bug, or types that the plan should not have let through.
    Arrow(ArrowError),
}

impl From<ArrowError> for Refusal {
    fn from(error: ArrowError) -> Self {
        Self::Arrow(error)
    }
}

impl Block {
    /// What a decoder of lines answers that finds no whole record at `from`.
    pub(crate) fn ran_out(&self, from: usize, bad: &mut BadRecords) -> Result<Decoded, Refusal> {
        let text_bytes = self.text().len();
        if let Some(line) = self.invalid_line().filter(|_| from <= text_bytes) {
            let next = (line.end + 1).min(self.bytes().len());
            let reason = String::from("expected UTF-8 text (of another encoding? set `encoding`)");
            bad.take(BadRecord { range: from..line.end, column: None, reason })?;
            return Ok(Decoded { batch: None, end: next });
        }
        if (text_bytes - from.min(text_bytes)) as u64 > MAX_RECORD_BYTES {
            return Err(Refusal::TooLarge { start: from });
        }
        Ok(Decoded { batch: None, end: from })
    }
}

/// The decoder of a format into a schema that [`infer::schema`] gave.
pub(crate) fn decoder(format: &Format, schema: SchemaRef) -> Result<Box<dyn Decoder>> {
    match format {
        Format::Text(_) => Ok(Box::new(text::TextDecoder { schema })),
        Format::Csv(options) => Ok(Box::new(csv::CsvDecoder::new(options, schema)?)),
        Format::Jsonl(options) => Ok(Box::new(jsonl::JsonlDecoder::new(options, schema)?)),
        Format::Parquet | Format::Arrow => Err(no_blocks()),
    }
}

/// What who asks for blocks of a file without them is told.
pub(crate) fn no_blocks() -> crate::Error {
    crate::Error::Internal(String::from("a columnar file has no blocks of records"))
}

/// Turns batches into the bytes of one file, which the caller gathers and writes.
pub trait Encoder: Send {
    /// Appends what stands before the rows.
    ///
    /// # Errors
    /// As [`Encoder::encode`].
    fn begin(&mut self, _out: &mut Vec<u8>) -> Result<()> {
        Ok(())
    }

    /// Appends rows, or holds them back where its format wants many together.
    ///
    /// # Errors
    /// Arrow's, for a batch that is not of the schema or values without a text.
    fn encode(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<()>;

    /// Appends what stands behind the rows; nothing comes after it.
    ///
    /// # Errors
    /// As [`Encoder::encode`].
    fn finish(&mut self, _out: &mut Vec<u8>) -> Result<()> {
        Ok(())
    }

    /// What rows that it holds back take, in bytes.
    fn held_bytes(&self) -> u64 {
        0
    }

    /// Appends the rows that it holds back, for who wants their memory.
    ///
    /// # Errors
    /// As [`Encoder::encode`].
    fn release(&mut self, _out: &mut Vec<u8>) -> Result<()> {
        Ok(())
    }
}

/// The encoder of one file whose rows have this schema.
///
/// # Errors
/// [`Error::Evaluate`](crate::Error) for a delimiter that can't delimit; Arrow's for a type that
/// has no place in the format.
pub fn encoder(format: &WriteFormat, schema: &SchemaRef) -> Result<Box<dyn Encoder>> {
    Ok(match format {
        WriteFormat::Text => Box::new(text::TextEncoder::default()),
        WriteFormat::Csv(options) => Box::new(csv::CsvEncoder::new(options, schema)?),
        WriteFormat::Jsonl => Box::new(jsonl::JsonlEncoder::new(schema)),
        WriteFormat::Arrow => Box::new(arrow::ArrowEncoder::new(schema, Compression::None)?),
        WriteFormat::ArrowStream => Box::new(arrow::ArrowStreamEncoder::new(schema)?),
        WriteFormat::Parquet => Box::new(parquet::ParquetEncoder::new(schema)?),
    })
}

/// The encoder of one file of a writer: its bytes follow from the rows, not from their batches.
///
/// # Errors
/// As [`encoder`].
pub fn file_encoder(
    format: &WriteFormat,
    compression: Compression,
    schema: &SchemaRef,
) -> Result<Box<dyn Encoder>> {
    Ok(match format {
        WriteFormat::Text | WriteFormat::Csv(_) | WriteFormat::Jsonl => {
            let plain = encoder(format, schema)?;
            match compression {
                Compression::None => plain,
                _ => Box::new(Compressed::new(plain, compression)?),
            }
        }
        WriteFormat::Arrow => {
            let rows = group_rows(schema, arrow::BATCH_BYTES, arrow::BATCH_ROWS);
            let batches = Box::new(arrow::ArrowEncoder::new(schema, compression)?);
            Box::new(Rebatched::new(batches, schema, rows))
        }
        WriteFormat::ArrowStream => encoder(format, schema)?,
        WriteFormat::Parquet => {
            let batches = Box::new(parquet::ParquetEncoder::of_file(schema, compression)?);
            Box::new(Rebatched::new(batches, schema, parquet::WRITE_ROWS))
        }
    })
}

impl WriteFormat {
    /// How its files may be compressed.
    pub fn compressions(&self) -> &'static [Compression] {
        match self {
            Self::Text | Self::Csv(_) | Self::Jsonl => &Compression::OF_FILES,
            Self::Arrow | Self::ArrowStream => &arrow::COMPRESSIONS,
            Self::Parquet => &parquet::COMPRESSIONS,
        }
    }

    /// How its files are compressed where nothing is said.
    pub fn default_compression(&self) -> Compression {
        match self {
            Self::Parquet => Compression::Zstd,
            Self::Text | Self::Csv(_) | Self::Jsonl | Self::Arrow | Self::ArrowStream => {
                Compression::None
            }
        }
    }

    /// Whether a compression is behind the format, and shows in the names of files.
    pub fn is_text(&self) -> bool {
        matches!(self, Self::Text | Self::Csv(_) | Self::Jsonl)
    }

    /// What the names of its files end with.
    pub fn extension(&self) -> &'static str {
        match self {
            Self::Text => "txt",
            Self::Csv(_) => "csv",
            Self::Jsonl => "jsonl",
            Self::Arrow => "arrow",
            Self::ArrowStream => "arrows",
            Self::Parquet => "parquet",
        }
    }
}

#[cfg(test)]
mod round_trip;

#[cfg(test)]
mod tests {
    use std::{io::Cursor, sync::Arc};

    use bytes::Bytes;

    use ::arrow::{
        array::{
            ArrayRef, BooleanArray, Date32Array, Float64Array, Int64Array, RecordBatch,
            StringViewArray, TimestampMicrosecondArray,
        },
        compute::concat_batches,
        datatypes::DataType,
        ipc::reader::{FileReader, StreamReader},
    };
    use ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    use proptest::prelude::*;

    use super::{
        DeclaredColumn, Format, WriteFormat,
        csv::{CsvOptions, CsvWriteOptions},
        encoder,
        jsonl::JsonlOptions,
    };
    use crate::source::tests::{Input, rows_of};

    fn encode(format: &WriteFormat, batches: &[&RecordBatch]) -> Vec<u8> {
        let mut encoder = encoder(format, &batches[0].schema()).unwrap();
        let mut out = Vec::new();
        encoder.begin(&mut out).unwrap();
        for batch in batches {
            encoder.encode(batch, &mut out).unwrap();
        }
        encoder.finish(&mut out).unwrap();
        out
    }

    fn declared(batch: &RecordBatch) -> Vec<DeclaredColumn> {
        let column = |field: &Arc<::arrow::datatypes::Field>| DeclaredColumn {
            name: field.name().clone(),
            data_type: Some(field.data_type().clone()),
        };
        batch.schema().fields().iter().map(column).collect()
    }

    fn read(format: &Format, bytes: &[u8], partitions: u32) -> RecordBatch {
        let batches = Input::of(&[bytes]).batches(format, partitions).unwrap();
        concat_batches(&batches[0].schema(), &batches).unwrap()
    }

    type Row = (Option<bool>, Option<i64>, Option<f64>, Option<String>, Option<i32>, Option<i64>);

    /// A batch of all types that are read; `only` keeps one column.
    fn batch(rows: &[Row], only: Option<usize>) -> RecordBatch {
        let mut columns: Vec<(&str, ArrayRef, bool)> = vec![
            ("b", Arc::new(rows.iter().map(|row| row.0).collect::<BooleanArray>()), true),
            ("i \"", Arc::new(rows.iter().map(|row| row.1).collect::<Int64Array>()), true),
            ("f,", Arc::new(rows.iter().map(|row| row.2).collect::<Float64Array>()), true),
            (
                "s\n",
                Arc::new(rows.iter().map(|row| row.3.clone()).collect::<StringViewArray>()),
                true,
            ),
            ("é", Arc::new(rows.iter().map(|row| row.4).collect::<Date32Array>()), true),
            (
                "t",
                Arc::new(rows.iter().map(|row| row.5).collect::<TimestampMicrosecondArray>()),
                true,
            ),
        ];
        if let Some(only) = only {
            columns = vec![columns.remove(only)];
        }
        RecordBatch::try_from_iter_with_nullable(columns).unwrap()
    }

    fn rows() -> impl Strategy<Value = Vec<Row>> {
        let text = prop_oneof!["[a-zé \",\n\r\\\\\u{feff}\t]{0,20}", ".{0,20}"];
        let finite = any::<f64>().prop_filter("JSON has others not", |float| float.is_finite());
        let row = (
            any::<Option<bool>>(),
            any::<Option<i64>>(),
            prop::option::of(finite),
            prop::option::of(text),
            prop::option::of(-900_000i32..3_000_000),
            prop::option::of(any::<i64>().prop_map(|micros| micros / 64)),
        );
        prop::collection::vec(row, 1..20)
    }

    proptest! {
        #[test]
        fn csv_that_was_written_reads_back(
            rows in rows(),
            only in prop::option::of(0usize..6),
            header: bool,
            delimiter in prop::sample::select(b",;\t|: ".to_vec()),
            partitions in 1u32..20,
        ) {
            let batch = batch(&rows, only);
            let bytes =
                encode(&WriteFormat::Csv(CsvWriteOptions { header, delimiter }), &[&batch]);
            let format =
                Format::Csv(CsvOptions {
                    header,
                    columns: Some(declared(&batch)),
                    delimiter,
                    ..CsvOptions::default()
                });
            prop_assert_eq!(read(&format, &bytes, partitions), batch);
        }

        #[test]
        fn jsonl_that_was_written_reads_back(rows in rows(), partitions in 1u32..20) {
            let batch = batch(&rows, None);
            let bytes = encode(&WriteFormat::Jsonl, &[&batch]);
            let format = Format::Jsonl(JsonlOptions { columns: Some(declared(&batch)), ..JsonlOptions::default() });
            prop_assert_eq!(read(&format, &bytes, partitions), batch);
            for line in bytes.trim_ascii_end().split(|byte| *byte == b'\n') {
                prop_assert!(serde_json::from_slice::<serde_json::Value>(line).is_ok());
            }
        }

        #[test]
        fn an_arrow_file_has_the_rows_with_text_as_utf8(rows in rows()) {
            let batch = batch(&rows, None);
            let bytes = encode(&WriteFormat::Arrow, &[&batch, &batch]);
            let copies: Vec<_> = FileReader::try_new(Cursor::new(bytes), None)
                .unwrap()
                .collect::<Result<_, _>>()
                .unwrap();
            prop_assert_eq!(copies.len(), 2);
            for read in copies {
                prop_assert_eq!(read.column(3).data_type(), &DataType::Utf8);
                prop_assert_eq!(rows_of(&read), rows_of(&batch));
            }
            let stream = encode(&WriteFormat::ArrowStream, &[&batch, &batch]);
            let streamed: Vec<_> = StreamReader::try_new(Cursor::new(stream), None)
                .unwrap()
                .map(|read| rows_of(&read.unwrap()))
                .collect();
            prop_assert_eq!(streamed, [rows_of(&batch), rows_of(&batch)]);
        }

        #[test]
        fn a_parquet_file_has_the_rows_with_text_as_utf8(rows in rows()) {
            let batch = batch(&rows, None);
            let twice = concat_batches(&batch.schema(), [&batch, &batch]).unwrap();
            let bytes = encode(&WriteFormat::Parquet, &[&batch, &batch]);
            let read: Vec<_> = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(bytes))
                .unwrap()
                .build()
                .unwrap()
                .collect::<Result<_, _>>()
                .unwrap();
            prop_assert_eq!(read[0].column(3).data_type(), &DataType::Utf8);
            let read = concat_batches(&read[0].schema(), &read).unwrap();
            prop_assert_eq!(rows_of(&read), rows_of(&twice));
        }
    }

    #[test]
    fn a_parquet_row_group_is_held_back_until_its_memory_is_wanted() {
        let batch = batch(&[(Some(true), Some(1), None, None, None, None)], None);
        let mut encoder = encoder(&WriteFormat::Parquet, &batch.schema()).unwrap();
        let mut out = Vec::new();
        encoder.encode(&batch, &mut out).unwrap();
        assert!(encoder.held_bytes() > 0);
        encoder.release(&mut out).unwrap();
        assert_eq!(encoder.held_bytes(), 0);
        encoder.encode(&batch, &mut out).unwrap();
        encoder.finish(&mut out).unwrap();
        let file = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(out)).unwrap();
        assert_eq!(file.metadata().num_row_groups(), 2);
    }

    #[test]
    fn csv_quotes_only_what_needs_it() {
        let text = [Some("a b"), Some(""), None, Some("x\"y"), Some("1;2"), Some("é\r")];
        let row = |value: Option<&str>| {
            (Some(true), Some(-5), Some(2.0), value.map(str::to_owned), Some(0), Some(1))
        };
        let batch = batch(&text.map(row), Some(3));
        let format = WriteFormat::Csv(CsvWriteOptions { header: true, delimiter: b';' });
        let expected = "\"s\n\"\na b\n\"\"\n\n\"x\"\"y\"\n\"1;2\"\n\"é\r\"\n";
        assert_eq!(String::from_utf8(encode(&format, &[&batch])).unwrap(), expected);
    }

    #[test]
    fn jsonl_keeps_unicode_and_writes_null_for_what_json_has_not() {
        let batch = batch(
            &[
                (Some(true), Some(-5), Some(2.0), Some(String::from("é\"\u{1}")), Some(0), Some(1)),
                (None, None, Some(f64::NAN), None, None, None),
            ],
            None,
        );
        let expected = concat!(
            r#"{"b":true,"i \"":-5,"f,":2.0,"s\n":"é\"\u0001","é":"1970-01-01","#,
            r#""t":"1970-01-01T00:00:00.000001"}"#,
            "\n",
            r#"{"b":null,"i \"":null,"f,":null,"s\n":null,"é":null,"t":null}"#,
            "\n",
        );
        assert_eq!(String::from_utf8(encode(&WriteFormat::Jsonl, &[&batch])).unwrap(), expected);
    }
}
