//! [`ArrowFile`]: an Arrow IPC file or stream, its schema read and its messages found.
//!
//! Lengths that the file claims are checked against its size before anything is reserved for them,
//! and so are the sizes that compressed buffers claim to become.

use std::{io::Read, path::Path, sync::Arc};

use arrow::{
    buffer::{Buffer, MutableBuffer},
    datatypes::SchemaRef,
    error::ArrowError,
    ipc::{
        Block, Message, MetadataVersion, RecordBatch as BatchHeader, convert::try_fb_to_schema,
        reader::FileDecoder, root_as_footer, root_as_message,
    },
};

use crate::{
    Error, Result,
    disk::Disk,
    formats::parquet::file::{corrupt, damaged, guarded},
    plan::InputFile,
    source::blocks::PinnedFile,
};

const FILE_MAGIC: &[u8; 6] = b"ARROW1";
const FEATHER_MAGIC: &[u8; 4] = b"FEA1";
/// The most bytes of a footer, and of a message without its body.
const MAX_METADATA_BYTES: u64 = 256 << 20;
/// What a large buffer may become, as a multiple of its compressed size.
const MAX_RATIO: u64 = 1000;
/// Up to so many bytes a buffer's ratio says nothing.
const MIN_RATIO_BYTES: u64 = 32 << 20;
/// The most bytes of a buffer, uncompressed: offsets have 32 bits.
const MAX_BUFFER_BYTES: u64 = 4 << 30;

/// An Arrow IPC file or stream, opened.
pub(crate) struct ArrowFile {
    pub(crate) file: PinnedFile,
    schema: SchemaRef,
    pub(crate) layout: Layout,
}

/// How its messages are found.
pub(crate) enum Layout {
    /// By the footer.
    File { version: MetadataVersion, dictionaries: Vec<Block>, batches: Vec<Block> },
    /// One behind the other.
    Stream,
}

/// A message of a stream: its bytes from the first marker on, and where the next one begins.
pub(crate) struct StreamMessage {
    pub(crate) bytes: Buffer,
    pub(crate) end: u64,
}

impl ArrowFile {
    /// Opens a file and reads its schema.
    ///
    /// # Errors
    /// `InputNotFound`, `InputChanged`, `Io`; `Corrupt` where it is neither a file nor a stream.
    pub(crate) fn open(file: &InputFile, disk: &Arc<dyn Disk>) -> Result<Self> {
        let file = PinnedFile::open(file, disk)?;
        let mut magic = [0; 8];
        let known = magic.len().min(usize::try_from(file.size_bytes()).unwrap_or(8));
        file.read(&mut magic[..known], 0)?;
        if magic.starts_with(FILE_MAGIC) {
            return Self::open_file(file);
        }
        if magic.starts_with(FEATHER_MAGIC) {
            let reason = "it is a Feather file of version 1; write it again with version 2";
            return Err(corrupt(file.path(), reason));
        }
        let mut opened = Self {
            file,
            schema: Arc::new(arrow::datatypes::Schema::empty()),
            layout: Layout::Stream,
        };
        let Some(first) = opened.stream_message(0)? else {
            return Err(opened.corrupt("it is empty, neither an Arrow file nor a stream"));
        };
        opened.schema = opened.guarded(|| {
            let message = root_as_message(metadata_of(&first.bytes))
                .map_err(|error| ArrowError::ParseError(error.to_string()))?;
            let schema = message
                .header_as_schema()
                .ok_or_else(|| ArrowError::ParseError(String::from("no schema comes first")))?;
            Ok(Arc::new(try_fb_to_schema(schema)?))
        })?;
        Ok(opened)
    }

    fn open_file(file: PinnedFile) -> Result<Self> {
        let size = file.size_bytes();
        let refuse = |reason: String| corrupt(file.path(), reason);
        if size < 20 {
            return Err(refuse(String::from("too short for an Arrow file")));
        }
        let mut end = [0; 10];
        file.read(&mut end, size - 10)?;
        if !end.ends_with(FILE_MAGIC) {
            return Err(refuse(String::from("its end is not `ARROW1`: it has been cut off")));
        }
        let length = i32::from_le_bytes([end[0], end[1], end[2], end[3]]);
        let length = u64::try_from(length)
            .ok()
            .filter(|length| *length <= size - 10 - 8 && *length <= MAX_METADATA_BYTES);
        let Some(length) = length else {
            return Err(refuse(format!("its footer claims more than its {size} bytes")));
        };
        let mut footer = vec![0; usize::try_from(length).unwrap_or(0)];
        file.read(&mut footer, size - 10 - length)?;
        let (schema, layout) = guard(file.path(), || {
            let footer = root_as_footer(&footer)
                .map_err(|error| ArrowError::ParseError(format!("footer: {error}")))?;
            let schema = footer
                .schema()
                .ok_or_else(|| ArrowError::ParseError(String::from("its footer has no schema")))?;
            if !schema.endianness().equals_to_target_endianness() {
                let reason = "it was written on a machine of another byte order";
                return Err(ArrowError::NotYetImplemented(String::from(reason)));
            }
            let dictionaries = footer.dictionaries().map(|blocks| blocks.iter().copied().collect());
            let batches = footer.recordBatches().map(|blocks| blocks.iter().copied().collect());
            let layout = Layout::File {
                version: footer.version(),
                dictionaries: dictionaries.unwrap_or_default(),
                batches: batches.unwrap_or_default(),
            };
            Ok((Arc::new(try_fb_to_schema(schema)?), layout))
        })?;
        let opened = Self { file, schema, layout };
        if let Layout::File { dictionaries, batches, .. } = &opened.layout {
            dictionaries.iter().chain(batches).try_for_each(|block| opened.check(block))?;
        }
        Ok(opened)
    }

    fn check(&self, block: &Block) -> Result<()> {
        let metadata = u64::try_from(block.metaDataLength()).ok();
        let parts = (u64::try_from(block.offset()).ok())
            .zip(metadata.filter(|length| (8..=MAX_METADATA_BYTES).contains(length)))
            .zip(u64::try_from(block.bodyLength()).ok());
        let end =
            parts.and_then(|((offset, head), body)| offset.checked_add(head)?.checked_add(body));
        if end.is_none_or(|end| end > self.file.size_bytes()) {
            return Err(self.corrupt("a message lies outside of the file"));
        }
        Ok(())
    }

    /// The columns of the file.
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    pub(crate) fn corrupt(&self, reason: impl Into<String>) -> Error {
        corrupt(self.file.path(), reason)
    }

    /// What Arrow makes, with its errors and panics as errors of the file.
    pub(crate) fn guarded<T>(&self, decode: impl FnOnce() -> Result<T, ArrowError>) -> Result<T> {
        guard(self.file.path(), decode)
    }

    /// A decoder with the dictionaries of the file; of a stream, one without.
    pub(crate) fn decoder(&self, projection: Vec<usize>) -> Result<FileDecoder> {
        let Layout::File { version, dictionaries, .. } = &self.layout else {
            return Err(self.corrupt("a stream has no blocks"));
        };
        let mut decoder =
            FileDecoder::new(Arc::clone(&self.schema), *version).with_projection(projection);
        for block in dictionaries {
            let bytes = self.block(block)?;
            self.guarded(|| decoder.read_dictionary(block, &bytes))?;
        }
        Ok(decoder)
    }

    /// A block's bytes, in one aligned piece.
    pub(crate) fn block(&self, block: &Block) -> Result<Buffer> {
        let offset = u64::try_from(block.offset()).unwrap_or(0);
        let metadata = u64::try_from(block.metaDataLength()).unwrap_or(0);
        let body = u64::try_from(block.bodyLength()).unwrap_or(0);
        let bytes = self.read(offset, metadata + body)?;
        self.check_message(&bytes, place(metadata))?;
        Ok(bytes)
    }

    /// The message of a stream at `offset`; `None` at its end.
    pub(crate) fn stream_message(&self, offset: u64) -> Result<Option<StreamMessage>> {
        let size = self.file.size_bytes();
        if offset == size {
            return Ok(None);
        }
        let cut = || self.corrupt("the stream is cut off");
        let mut head = [0; 8];
        let head_bytes = if size - offset >= 8 { 8 } else { 4 };
        if size - offset < 4 {
            return Err(cut());
        }
        self.file.read(&mut head[..head_bytes], offset)?;
        let number = |bytes: &[u8]| {
            bytes.iter().rev().fold(0_u64, |number, byte| (number << 8) | u64::from(*byte))
        };
        let (prefix, length) = match number(&head[..4]) {
            0xffff_ffff if head_bytes == 8 => (8, number(&head[4..])),
            0xffff_ffff => return Err(cut()),
            length => (4, length),
        };
        if length == 0 {
            return Ok(None);
        }
        if length > MAX_METADATA_BYTES || length > size - offset - prefix {
            return Err(self.corrupt(format!(
                "neither an Arrow file nor a stream, or cut off: a message of {length} bytes \
                 begins at byte {offset} of {size}"
            )));
        }
        let metadata = self.read(offset + prefix, length)?;
        let body = self.guarded(|| {
            let message = root_as_message(&metadata)
                .map_err(|error| ArrowError::ParseError(error.to_string()))?;
            Ok(message.bodyLength())
        })?;
        let begin = offset + prefix + length;
        let body = u64::try_from(body).ok().filter(|body| *body <= size - begin);
        let Some(body) = body else { return Err(cut()) };
        let bytes = self.read(offset, prefix + length + body)?;
        self.check_message(&bytes, place(prefix + length))?;
        Ok(Some(StreamMessage { bytes, end: begin + body }))
    }

    fn read(&self, offset: u64, length: u64) -> Result<Buffer> {
        let mut bytes = MutableBuffer::from_len_zeroed(place(length));
        self.file.read(bytes.as_slice_mut(), offset)?;
        Ok(bytes.into())
    }

    /// Whether a message's buffers lie in its body and become no more than they may.
    fn check_message(&self, bytes: &Buffer, metadata_bytes: usize) -> Result<()> {
        let body = bytes.get(metadata_bytes..).unwrap_or_default();
        let refusal = self.guarded(|| {
            let message = root_as_message(metadata_of(bytes))
                .map_err(|error| ArrowError::ParseError(error.to_string()))?;
            if is_of_old_compression(&message) {
                return Ok(Some(String::from(
                    "its rows are compressed in the way of Arrow 0.17, which was a trial; write it \
                     again with a later Arrow",
                )));
            }
            let batch = message
                .header_as_record_batch()
                .or_else(|| message.header_as_dictionary_batch().and_then(|batch| batch.data()));
            Ok(batch.and_then(|batch| refusal(&batch, body)))
        })?;
        refusal.map_or(Ok(()), |reason| Err(self.corrupt(reason)))
    }
}

/// Whether a batch's buffers are compressed and its header does not say so, but this message's own
/// metadata. Read as they are, their bytes would be other values.
fn is_of_old_compression(message: &Message<'_>) -> bool {
    let mut metadata = message.custom_metadata().into_iter().flatten();
    metadata.any(|pair| pair.key() == Some("ARROW:experimental_compression"))
}

/// What is wrong with the sizes of a batch's buffers.
fn refusal(batch: &BatchHeader<'_>, body: &[u8]) -> Option<String> {
    let is_compressed = batch.compression().is_some();
    for buffer in batch.buffers()? {
        let (start, length) = (usize::try_from(buffer.offset()), usize::try_from(buffer.length()));
        let range = start.ok().zip(length.ok());
        let range = range.and_then(|(from, bytes)| Some(from..from.checked_add(bytes)?));
        let Some(bytes) = range.and_then(|range| body.get(range)) else {
            return Some(String::from("a buffer lies outside of its message"));
        };
        if !is_compressed || bytes.is_empty() {
            continue;
        }
        let mut claimed = [0; 8];
        if (&mut &*bytes).read_exact(&mut claimed).is_err() {
            return Some(String::from("a compressed buffer has no length"));
        }
        // Minus one says that it is not compressed.
        let claimed = i64::from_le_bytes(claimed);
        let Ok(claimed) = u64::try_from(claimed) else { continue };
        let stored = bytes.len() as u64;
        if claimed > MAX_BUFFER_BYTES || (claimed > MIN_RATIO_BYTES && claimed / MAX_RATIO > stored)
        {
            return Some(format!("a buffer of {stored} bytes claims {claimed} uncompressed"));
        }
    }
    None
}

/// The flat metadata of a message, without the marker and the length before it.
fn metadata_of(bytes: &[u8]) -> &[u8] {
    let prefix = if bytes.starts_with(&[0xff; 4]) { 8 } else { 4 };
    bytes.get(prefix..).unwrap_or_default()
}

fn guard<T>(path: &Path, decode: impl FnOnce() -> Result<T, ArrowError>) -> Result<T> {
    guarded(path, || Ok(decode()))?.map_err(|error| damaged(path, &error.to_string()))
}

fn place(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
