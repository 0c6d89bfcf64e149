//! How rows look on the wire: batches cut to messages, and a shuffle's messages checked.
//!
//! Text is `Utf8` on the wire and `Utf8View` on both sides of it. Every message of a shuffle
//! carries what it holds and a checksum in its application metadata, and the last one says that it
//! is the last: a stream without it was cut, whatever the transport says.

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions},
    compute::cast,
    datatypes::{DataType, Schema, SchemaRef},
    ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteContext, IpcWriteOptions},
};
use arrow_flight::{FlightData, SchemaAsIpc, utils::flight_data_to_arrow_batch};
use bytes::Bytes;
use minispark_engine::{Error, Result};
use xxhash_rust::xxh3::Xxh3;

use crate::{BLOCK_BYTES, MAX_MESSAGE_BYTES};

/// Room in a message for what stands around a batch's bytes.
const FRAME_BYTES: usize = 1 << 20;

/// The schema with text as it is on the wire.
pub(crate) fn wire_schema(schema: &SchemaRef) -> SchemaRef {
    retyped(schema, &DataType::Utf8View, &DataType::Utf8)
}

/// The schema with text as it is inside a pipeline.
pub(crate) fn view_schema(schema: &SchemaRef) -> SchemaRef {
    retyped(schema, &DataType::Utf8, &DataType::Utf8View)
}

fn retyped(schema: &SchemaRef, from: &DataType, to: &DataType) -> SchemaRef {
    if schema.fields().iter().all(|field| field.data_type() != from) {
        return SchemaRef::clone(schema);
    }
    let fields: Vec<_> = schema
        .fields()
        .iter()
        .map(|field| {
            if field.data_type() == from {
                Arc::new(field.as_ref().clone().with_data_type(to.clone()))
            } else {
                Arc::clone(field)
            }
        })
        .collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

/// The batch under `schema`, whose columns differ from its own in the form of text at most.
pub(crate) fn with_schema(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    if batch.num_columns() != schema.fields().len() {
        let (found, expected) = (batch.num_columns(), schema.fields().len());
        return Err(Error::Internal(format!("a batch of {found} columns instead of {expected}")));
    }
    let columns: Vec<ArrayRef> = batch
        .columns()
        .iter()
        .zip(schema.fields())
        .map(|(column, field)| match (column.data_type(), field.data_type()) {
            (DataType::Utf8, DataType::Utf8View) | (DataType::Utf8View, DataType::Utf8) => {
                Ok(cast(column, field.data_type())?)
            }
            (found, expected) if found == expected => Ok(Arc::clone(column)),
            (found, expected) => {
                let name = field.name();
                Err(Error::Internal(format!("column `{name}` is {found} instead of {expected}")))
            }
        })
        .collect::<Result<_>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(SchemaRef::clone(schema), columns, &options)?)
}

/// Turns batches into messages of at most [`BLOCK_BYTES`], or of one row.
pub(crate) struct Encoder {
    schema: SchemaRef,
    options: IpcWriteOptions,
    context: IpcWriteContext,
    tracker: DictionaryTracker,
}

impl Encoder {
    /// One for batches of `schema`, in either form of text.
    pub(crate) fn new(schema: &SchemaRef) -> Self {
        Self {
            schema: wire_schema(schema),
            options: IpcWriteOptions::default(),
            context: IpcWriteContext::default(),
            tracker: DictionaryTracker::new(true),
        }
    }

    /// The message that goes first.
    pub(crate) fn schema(&self) -> FlightData {
        SchemaAsIpc::new(&self.schema, &self.options).into()
    }

    /// The messages of a batch, each with the number of its rows.
    ///
    /// # Errors
    /// [`Error::Evaluate`] for a row that no message can hold: it would only repeat.
    pub(crate) fn encode(&mut self, batch: &RecordBatch) -> Result<Vec<(FlightData, u64)>> {
        let mut messages = Vec::new();
        // A batch that is too large is halved until its parts fit; the stack is as deep as a
        // row count has bits. Parts stay in order because the right half is pushed first.
        let mut waiting = vec![batch.clone()];
        while let Some(part) = waiting.pop() {
            let (rows, bytes) = (part.num_rows(), wire_bytes(&part)?);
            if bytes > BLOCK_BYTES && rows > 1 {
                waiting.push(part.slice(rows / 2, rows - rows / 2));
                waiting.push(part.slice(0, rows / 2));
            } else if bytes > MAX_MESSAGE_BYTES - FRAME_BYTES {
                return Err(Error::Evaluate {
                    reason: format!(
                        "a row of {bytes} bytes is more than the {MAX_MESSAGE_BYTES} bytes of a message"
                    ),
                });
            } else if rows > 0 {
                messages.push((self.message(&part)?, rows as u64));
            }
        }
        Ok(messages)
    }

    fn message(&mut self, batch: &RecordBatch) -> Result<FlightData> {
        let batch = with_schema(batch, &self.schema)?;
        let (dictionaries, data) = IpcDataGenerator::default().encode(
            &batch,
            &mut self.tracker,
            &self.options,
            &mut self.context,
        )?;
        if !dictionaries.is_empty() {
            return Err(Error::Internal(String::from("a dictionary column reached the wire")));
        }
        Ok(data.into())
    }
}

/// About how many bytes a batch has on the wire: those of its rows, not of its buffers.
fn wire_bytes(batch: &RecordBatch) -> Result<usize> {
    let bytes = |column: &ArrayRef| match column.data_type() {
        DataType::Utf8View => {
            let text: usize = column.as_string_view().lengths().map(|bytes| bytes as usize).sum();
            Ok(text + 4 * column.len())
        }
        _ => Ok(column.to_data().get_slice_memory_size()?),
    };
    batch.columns().iter().map(bytes).sum()
}

/// What a message of a shuffle says of itself; 26 bytes, numbers in little-endian order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Label {
    kind: u8,
    /// Of a block: its own; of the end: all.
    rows: u64,
    /// Of a block: its number, from 0; of the end: how many there were.
    blocks: u64,
    /// Over kind, rows, blocks, header and body.
    checksum: u64,
}

const LABEL_VERSION: u8 = 1;
const LABEL_BYTES: usize = 26;
const SCHEMA: u8 = 1;
const BLOCK: u8 = 2;
const END: u8 = 3;

impl Label {
    fn of(kind: u8, rows: u64, blocks: u64, data: &FlightData) -> Self {
        let mut hash = Xxh3::new();
        hash.update(&[kind]);
        hash.update(&rows.to_le_bytes());
        hash.update(&blocks.to_le_bytes());
        hash.update(&(data.data_header.len() as u64).to_le_bytes());
        hash.update(&data.data_header);
        hash.update(&data.data_body);
        Self { kind, rows, blocks, checksum: hash.digest() }
    }

    fn to_bytes(self) -> Bytes {
        let mut bytes = Vec::with_capacity(LABEL_BYTES);
        bytes.extend_from_slice(&[LABEL_VERSION, self.kind]);
        bytes.extend_from_slice(&self.rows.to_le_bytes());
        bytes.extend_from_slice(&self.blocks.to_le_bytes());
        bytes.extend_from_slice(&self.checksum.to_le_bytes());
        bytes.into()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; LABEL_BYTES] = bytes.try_into().ok()?;
        let number = |at: usize| {
            let field = bytes.get(at..at + 8)?;
            Some(u64::from_le_bytes(field.try_into().ok()?))
        };
        if bytes[0] != LABEL_VERSION {
            return None;
        }
        Some(Self { kind: bytes[1], rows: number(2)?, blocks: number(10)?, checksum: number(18)? })
    }
}

/// The sending side of a shuffle: labels every message and adds the last.
pub(crate) struct Labeller {
    encoder: Encoder,
    rows: u64,
    blocks: u64,
}

impl Labeller {
    pub(crate) fn new(schema: &SchemaRef) -> Self {
        Self { encoder: Encoder::new(schema), rows: 0, blocks: 0 }
    }

    /// The message that goes first.
    pub(crate) fn schema(&self) -> FlightData {
        labelled(self.encoder.schema(), SCHEMA, 0, 0)
    }

    /// The messages of a batch.
    ///
    /// # Errors
    /// Those of [`Encoder::encode`].
    pub(crate) fn encode(&mut self, batch: &RecordBatch) -> Result<Vec<FlightData>> {
        let messages = self.encoder.encode(batch)?;
        let label = |(data, rows)| {
            let data = labelled(data, BLOCK, rows, self.blocks);
            self.rows += rows;
            self.blocks += 1;
            data
        };
        Ok(messages.into_iter().map(label).collect())
    }

    /// The message that goes last.
    pub(crate) fn end(&self) -> FlightData {
        labelled(FlightData::default(), END, self.rows, self.blocks)
    }
}

fn labelled(data: FlightData, kind: u8, rows: u64, blocks: u64) -> FlightData {
    let label = Label::of(kind, rows, blocks, &data).to_bytes();
    data.with_app_metadata(label)
}

/// A checked message of a shuffle.
#[derive(Debug)]
pub(crate) enum Received {
    /// The schema; no rows.
    Schema,
    /// Rows, text as `Utf8View`.
    Batch(RecordBatch),
    /// The end, and all rows were there.
    End,
}

/// The receiving side of a shuffle: believes nothing that was not checked.
#[derive(Default)]
pub(crate) struct Checker {
    schemas: Option<Schemas>,
    rows: u64,
    blocks: u64,
}

struct Schemas {
    wire: SchemaRef,
    view: SchemaRef,
}

impl Checker {
    /// Checks the next message and decodes it.
    ///
    /// # Errors
    /// What does not fit, as text: a label that is missing or wrong, a checksum, a row count, a
    /// message out of turn, bytes that are no batch.
    pub(crate) fn accept(&mut self, data: &FlightData) -> Result<Received, String> {
        let label = Label::from_bytes(&data.app_metadata)
            .ok_or_else(|| String::from("a message without a readable label"))?;
        if Label::of(label.kind, label.rows, label.blocks, data) != label {
            return Err(format!("wrong checksum of block {}", self.blocks));
        }
        match (label.kind, &self.schemas) {
            (SCHEMA, None) => {
                let wire: SchemaRef =
                    Arc::new(Schema::try_from(data).map_err(|error| error.to_string())?);
                let view = view_schema(&wire);
                self.schemas = Some(Schemas { wire, view });
                Ok(Received::Schema)
            }
            (BLOCK, Some(schemas)) if label.blocks == self.blocks => {
                let batch = schemas.decode(data)?;
                if batch.num_rows() as u64 != label.rows {
                    let (found, named) = (batch.num_rows(), label.rows);
                    return Err(format!("block {} has {found} rows, not {named}", self.blocks));
                }
                self.blocks += 1;
                self.rows += label.rows;
                Ok(Received::Batch(batch))
            }
            (END, Some(_)) if (label.blocks, label.rows) == (self.blocks, self.rows) => {
                Ok(Received::End)
            }
            (kind, _) => {
                Err(format!("message of kind {kind} out of turn at block {}", self.blocks))
            }
        }
    }
}

impl Schemas {
    /// The rows of a message. Decoding validates, and a panic in it is an error of the sender's.
    fn decode(&self, data: &FlightData) -> Result<RecordBatch, String> {
        let decoded = catch_unwind(AssertUnwindSafe(|| {
            let wire = SchemaRef::clone(&self.wire);
            let batch = flight_data_to_arrow_batch(data, wire, &HashMap::new())?;
            with_schema(&batch, &self.view)
        }));
        match decoded {
            Ok(Ok(batch)) => Ok(batch),
            Ok(Err(error)) => Err(error.chain()),
            Err(_) => Err(String::from("its bytes can't be decoded")),
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{DictionaryArray, StringViewArray};
    use arrow::datatypes::{Field, Int32Type};

    use super::*;
    use crate::fixture::{rows, schema};

    fn stream(batches: &[RecordBatch]) -> Vec<FlightData> {
        let mut labeller = Labeller::new(&schema());
        let mut messages = vec![labeller.schema()];
        for batch in batches {
            messages.extend(labeller.encode(batch).unwrap());
        }
        messages.push(labeller.end());
        messages
    }

    /// The rows of a stream and whether it came to its end.
    fn read(messages: &[FlightData]) -> Result<(Vec<RecordBatch>, bool), String> {
        let (mut checker, mut batches) = (Checker::default(), Vec::new());
        for message in messages {
            match checker.accept(message)? {
                Received::Schema => {}
                Received::Batch(batch) => batches.push(batch),
                Received::End => return Ok((batches, true)),
            }
        }
        Ok((batches, false))
    }

    #[test]
    fn a_stream_gives_the_rows_back_with_text_as_views() {
        let sent = [rows(0, 5, "a word longer than what a view holds inline"), rows(5, 2, "")];
        let (received, has_ended) = read(&stream(&sent)).unwrap();
        assert_eq!(received, sent);
        assert!(has_ended);
    }

    #[test]
    fn text_is_plain_on_the_wire() {
        let messages = stream(&[rows(0, 1, "a")]);
        let wire = Schema::try_from(&messages[0]).unwrap();
        assert_eq!(wire.field(0).data_type(), &DataType::Utf8);
    }

    #[test]
    fn an_empty_stream_is_a_schema_and_an_end() {
        assert_eq!(stream(&[]).len(), 2);
        assert_eq!(read(&stream(&[])), Ok((vec![], true)));
    }

    #[test]
    fn a_large_batch_is_cut_to_messages_of_at_most_two_mebibytes_in_order() {
        let sent = rows(0, 10_000, &"x".repeat(1000)); // About 6.7 MB.
        let messages = stream(std::slice::from_ref(&sent));
        assert!((6..=11).contains(&messages.len()), "{} messages", messages.len());
        for message in &messages {
            assert!(message.data_body.len() <= BLOCK_BYTES + 1024, "{}", message.data_body.len());
        }
        let (received, _) = read(&messages).unwrap();
        assert_eq!(arrow::compute::concat_batches(&schema(), &received).unwrap(), sent);
    }

    #[test]
    fn a_slice_costs_the_bytes_of_its_rows_only() {
        let sent = rows(0, 10_000, &"x".repeat(1000)).slice(100, 100);
        let messages = stream(std::slice::from_ref(&sent));
        assert_eq!(messages.len(), 3);
        assert!(messages[1].data_body.len() < 75_000, "{}", messages[1].data_body.len());
        assert_eq!(read(&messages), Ok((vec![sent], true)));
    }

    #[test]
    fn a_row_larger_than_a_block_travels_alone() {
        let (before, large, after) =
            (rows(1, 1, "a"), rows(2, 1, &"x".repeat(16 << 20)), rows(4, 1, "b"));
        let sent = arrow::compute::concat_batches(&schema(), [&before, &large, &after]).unwrap();
        let (received, has_ended) = read(&stream(&[sent])).unwrap();
        assert_eq!(received.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), [1, 1, 1]);
        assert_eq!((&received[1], has_ended), (&large, true));
    }

    #[test]
    fn a_row_larger_than_a_message_is_an_error_that_names_its_size() {
        let error =
            Labeller::new(&schema()).encode(&rows(1, 1, &"x".repeat(32 << 20))).unwrap_err();
        let text = error.to_string();
        // A text of 2 + 32 Mi bytes, an offset and the length of an offset buffer, a number.
        assert!(text.starts_with("a row of 335544"), "{text}");
        assert_eq!(error.class(), minispark_engine::error::Class::Fail);
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let messages = stream(&[rows(0, 4, "some text")]);
        for (index, message) in messages.iter().enumerate() {
            let parts =
                [&message.app_metadata, &message.data_header, &message.data_body].map(Bytes::len);
            for place in 0..parts.iter().sum() {
                let mut flipped = messages.clone();
                flip(&mut flipped[index], place);
                let result = read(&flipped);
                assert!(result.is_err(), "message {index}, byte {place}: {result:?}");
            }
        }
    }

    fn flip(message: &mut FlightData, mut place: usize) {
        for part in [&mut message.app_metadata, &mut message.data_header, &mut message.data_body] {
            if place < part.len() {
                let mut bytes = part.to_vec();
                bytes[place] ^= 16;
                *part = bytes.into();
                return;
            }
            place -= part.len();
        }
    }

    #[test]
    fn a_message_lost_doubled_or_out_of_turn_is_noticed() {
        let messages = stream(&[rows(0, 2, "a"), rows(2, 2, "b")]);
        let [schema, first, second, end] = messages.as_slice() else { panic!("four messages") };
        let order = |order: &[&FlightData]| {
            read(&order.iter().map(|message| (*message).clone()).collect::<Vec<_>>())
        };
        assert!(order(&[schema, second, end]).is_err());
        assert!(order(&[schema, first, end]).is_err());
        assert!(order(&[schema, first, first, end]).is_err());
        assert!(order(&[schema, second, first, end]).is_err());
        assert!(order(&[first, second, end]).is_err());
        assert!(order(&[schema, schema, first, second, end]).is_err());
        assert!(!order(&[schema, first, second]).unwrap().1, "no end, and not taken for one");
    }

    #[test]
    fn a_message_of_somebody_else_is_refused() {
        let plain = FlightData::default().with_app_metadata("hello");
        assert!(Checker::default().accept(&plain).is_err());
    }

    #[test]
    fn bytes_that_lie_about_themselves_are_an_error_and_no_panic() {
        // Rightly labelled, but the body is shorter than the header says.
        let mut messages = stream(&[rows(0, 100, "some text that is long enough")]);
        let cut = messages[1].data_body.slice(..64);
        messages[1] = labelled(
            FlightData { data_body: cut, app_metadata: Bytes::new(), ..messages[1].clone() },
            BLOCK,
            100,
            0,
        );
        let error = read(&messages).unwrap_err();
        assert!(!error.is_empty());
    }

    #[test]
    fn a_batch_of_another_shape_is_refused() {
        let words: DictionaryArray<Int32Type> = ["a"].into_iter().collect();
        let field = Field::new("word", words.data_type().clone(), true);
        let other = RecordBatch::try_new(
            Arc::new(Schema::new(vec![field, schema().field(1).clone()])),
            vec![Arc::new(words), Arc::clone(rows(0, 1, "").column(1))],
        );
        assert!(Encoder::new(&schema()).encode(&other.unwrap()).is_err());
        let one = rows(0, 1, "").project(&[0]).unwrap();
        assert!(Encoder::new(&schema()).encode(&one).is_err());
        let text: StringViewArray = ["x"].into_iter().map(Some).collect();
        assert_eq!(text.len(), 1);
    }
}
