//! Record batches of an Arrow IPC file, or all of a stream → batches under the plan's schema.

use std::{collections::VecDeque, sync::Arc};

use arrow::{
    array::RecordBatch,
    buffer::Buffer,
    datatypes::{Schema, SchemaRef},
    ipc::{
        Block,
        reader::{FileDecoder, StreamDecoder},
    },
};

use super::file::{ArrowFile, Layout};
use crate::{
    Result,
    disk::Disk,
    formats::BATCH_ROWS,
    plan::{InputFile, Scan},
    source::{
        columnar::{Unit, Units, conform::Conform},
        runtime_filter::KnownKeys,
        split::Split,
    },
};

/// The record batches of a file; a stream is one unit.
///
/// # Errors
/// As [`ArrowFile::open`].
pub(crate) fn units(file: &InputFile, disk: &Arc<dyn Disk>) -> Result<Vec<Unit>> {
    let opened = ArrowFile::open(file, disk)?;
    Ok(match &opened.layout {
        Layout::File { batches, .. } => batches.iter().map(unit).collect(),
        Layout::Stream => vec![Unit { offset: 0, bytes: file.size_bytes }],
    })
}

fn unit(block: &Block) -> Unit {
    let number = |number: i64| u64::try_from(number).unwrap_or(0);
    Unit {
        offset: number(block.offset()),
        bytes: number(block.metaDataLength().into()) + number(block.bodyLength()),
    }
}

/// What ends a stream.
const END_OF_STREAM: [u8; 8] = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];

/// The record batches of a split.
pub(crate) struct Messages {
    file: ArrowFile,
    conform: Conform,
    state: State,
    /// What of the batch in hand has not been given yet.
    rest: Option<RecordBatch>,
    position: u64,
    end: u64,
    held_bytes: u64,
}

enum State {
    File {
        decoder: FileDecoder,
        blocks: VecDeque<Block>,
    },
    Stream {
        decoder: Box<StreamDecoder>,
        projection: Vec<usize>,
        /// What the decoder has not taken yet.
        pending: Buffer,
        has_ended: bool,
    },
    Ended,
}

impl Messages {
    /// Opens the split's file; its batches are those that begin in the split.
    ///
    /// # Errors
    /// As [`ArrowFile::open`], and for columns that can't be brought under the schema.
    pub(crate) fn open(
        split: &Split,
        scan: &Scan,
        schema: SchemaRef,
        disk: &Arc<dyn Disk>,
    ) -> Result<Self> {
        let file = ArrowFile::open(&split.file, disk)?;
        let projection: Vec<usize> = (0..file.schema().fields().len())
            .filter(|place| schema.index_of(file.schema().field(*place).name()).is_ok())
            .collect();
        let fields: Vec<_> =
            projection.iter().map(|place| Arc::clone(&file.schema().fields()[*place])).collect();
        let conform = Conform::new(&Schema::new(fields), schema, &scan.folders, &split.file)?;
        let state = match &file.layout {
            Layout::File { batches, .. } => {
                let inside =
                    |block: &&Block| (split.start..split.end).contains(&unit(block).offset);
                let blocks: VecDeque<Block> = batches.iter().filter(inside).copied().collect();
                State::File { decoder: file.decoder(projection)?, blocks }
            }
            Layout::Stream if split.start == 0 && split.end > 0 => State::Stream {
                decoder: Box::default(),
                projection,
                pending: Buffer::default(),
                has_ended: false,
            },
            Layout::Stream => State::Ended,
        };
        let (position, end) = (split.start, split.end);
        Ok(Self { file, conform, state, rest: None, position, end, held_bytes: 0 })
    }

    /// The next record batch as it is in the file.
    fn message(&mut self) -> Result<Option<RecordBatch>> {
        let file = &self.file;
        match &mut self.state {
            State::Ended => Ok(None),
            State::File { decoder, blocks } => {
                let Some(block) = blocks.pop_front() else { return Ok(None) };
                let bytes = file.block(&block)?;
                self.position = unit(&block).offset;
                self.held_bytes = bytes.len() as u64;
                let batch = file.guarded(|| decoder.read_record_batch(&block, &bytes))?;
                // A message that is none is passed over.
                match batch {
                    Some(batch) => Ok(Some(batch)),
                    None => self.message(),
                }
            }
            State::Stream { decoder, projection, pending, has_ended } => loop {
                if !pending.is_empty() {
                    let batch = file.guarded(|| decoder.decode(pending))?;
                    if let Some(batch) = batch {
                        return file.guarded(|| batch.project(projection)).map(Some);
                    }
                } else if *has_ended {
                    return Ok(None);
                } else if let Some(message) = file.stream_message(self.position)? {
                    self.position = message.end;
                    self.held_bytes = message.bytes.len() as u64;
                    *pending = message.bytes;
                } else {
                    // A message without a body is taken once something is behind it.
                    *has_ended = true;
                    *pending = Buffer::from_slice_ref(END_OF_STREAM);
                }
            },
        }
    }
}

impl Units for Messages {
    fn next(&mut self, keys: &mut KnownKeys) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(rest) = self.rest.take().filter(|rest| rest.num_rows() > 0) {
                let head = rest.slice(0, rest.num_rows().min(BATCH_ROWS));
                self.rest = Some(rest.slice(head.num_rows(), rest.num_rows() - head.num_rows()));
                let conform = &self.conform;
                let batch = crate::formats::parquet::file::guarded(self.file.file.path(), || {
                    Ok(conform.batch(&head))
                })??;
                match keys.keep(batch)? {
                    Some(batch) => return Ok(Some(batch)),
                    None => continue,
                }
            }
            let Some(batch) = self.message()? else {
                (self.state, self.position, self.held_bytes) = (State::Ended, self.end, 0);
                return Ok(None);
            };
            self.rest = Some(batch);
        }
    }

    fn position(&self) -> u64 {
        self.position
    }

    fn held_bytes(&self) -> u64 {
        self.held_bytes
    }
}
