//! [`Blocks`]: a split's bytes in blocks that begin at a record.
//!
//! Where a record ends inside a block is the decoder's business; this file finds the split's first
//! record, hands what a decoder left over back to it with more bytes, and reads on behind the
//! split's end until its last record is whole.

use std::{collections::VecDeque, ops::Range, sync::Arc};

use arrow::buffer::Buffer;

use crate::{
    Error, Result,
    disk::{Disk, ReadAt},
    formats::{
        BadRecord, Format, MAX_RECORD_BYTES, Refusal,
        block::Block,
        compression::Compression,
        intake::{Encoding, Intake},
    },
    plan::InputFile,
    source::{quarantine::BadRow, split::Split, stream::TextStream},
};

/// The bytes of a block, unless a record needs more: large enough for few calls, and small enough
/// to stay in a core's cache until it is decoded.
pub(crate) const BLOCK_BYTES: usize = 1 << 20;
/// How much is read at once where only a newline is sought.
const SEEK_BYTES: usize = 64 << 10;
/// How many buffers are kept for reuse: the block in hand, the one before it that rows may still
/// point to, and one to read into.
const SPARE_BUFFERS: usize = 3;
/// The most bytes of a refused record that a message shows.
const SHOWN_BYTES: usize = 200;

/// An input file, opened and found to be as planned.
pub(crate) struct PinnedFile {
    file: Arc<dyn ReadAt>,
    planned: InputFile,
}

impl PinnedFile {
    /// Opens `input`.
    ///
    /// # Errors
    /// `InputNotFound`, `InputChanged`, `Io`.
    pub(crate) fn open(input: &InputFile, disk: &Arc<dyn Disk>) -> Result<Self> {
        let file = disk.open(&input.path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Error::InputNotFound { path: input.path.clone() },
            _ => Error::io("read", &input.path)(error),
        })?;
        let pinned = Self { file, planned: input.clone() };
        pinned.check()?;
        Ok(pinned)
    }

    /// The file as it was planned.
    pub(crate) fn planned(&self) -> &InputFile {
        &self.planned
    }

    /// Reads at most `buffer.len()` bytes from `offset`.
    pub(crate) fn read_some(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &std::path::Path {
        &self.planned.path
    }

    /// Its size, as planned and found.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.planned.size_bytes
    }

    /// Whether size and version are still what was planned.
    pub(crate) fn check(&self) -> Result<()> {
        let found_bytes = self.file.size().map_err(Error::io("read", &self.planned.path))?;
        let (planned, found) = (&self.planned.version, self.file.version());
        let is_other = planned.is_some() && found.is_some() && *planned != found;
        if found_bytes == self.planned.size_bytes && !is_other {
            return Ok(());
        }
        Err(Error::InputChanged {
            path: self.planned.path.clone(),
            expected_bytes: self.planned.size_bytes,
            found_bytes,
        })
    }

    /// Fills `buffer` from `offset`; what is asked for lies within the planned size.
    pub(crate) fn read(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        self.file.read_exact_at(buffer, offset).map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => Error::InputChanged {
                path: self.planned.path.clone(),
                expected_bytes: self.planned.size_bytes,
                found_bytes: self.file.size().unwrap_or(offset),
            },
            // A store that knows versions refuses to go on with another one.
            std::io::ErrorKind::StaleNetworkFileHandle => Error::InputChanged {
                path: self.planned.path.clone(),
                expected_bytes: self.planned.size_bytes,
                found_bytes: self.planned.size_bytes,
            },
            _ => Error::io("read", &self.planned.path)(error),
        })
    }

    /// Calls `visit` with each piece of `range` and its offset, until it returns something.
    pub(crate) fn scan<T>(
        &self,
        range: Range<u64>,
        piece_bytes: usize,
        mut visit: impl FnMut(&[u8], u64) -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        let mut buffer = vec![0; at_most(range.end.saturating_sub(range.start), piece_bytes)];
        let mut offset = range.start;
        while offset < range.end {
            let piece = &mut buffer[..at_most(range.end - offset, piece_bytes)];
            self.read(piece, offset)?;
            if let Some(found) = visit(piece, offset)? {
                return Ok(Some(found));
            }
            offset += piece.len() as u64;
        }
        Ok(None)
    }

    /// The line that byte `offset` stands in, where that at `known` is known.
    pub(crate) fn line_of(&self, offset: u64, known: (u64, u64)) -> Result<u64> {
        let (from, mut line) = known;
        self.scan(from..offset, BLOCK_BYTES, |piece, _| {
            line += memchr::memchr_iter(b'\n', piece).count() as u64;
            Ok(None::<()>)
        })?;
        Ok(line)
    }

    /// The error of a record over the limit that begins at `offset`; its line is counted now.
    fn too_large(&self, offset: u64) -> Error {
        match self.line_of(offset, FIRST) {
            Ok(line) => self.too_large_at(offset, line),
            Err(error) => error,
        }
    }

    fn too_large_at(&self, offset: u64, line: u64) -> Error {
        Error::RecordTooLarge {
            path: self.planned.path.clone(),
            offset,
            line,
            limit_bytes: MAX_RECORD_BYTES,
        }
    }
}

/// The first byte of a file and its line.
const FIRST: (u64, u64) = (0, 1);

/// Whether the records of a JSON file are the elements of one array: its first character tells.
pub(crate) fn is_array(file: &InputFile, intake: &Intake, disk: &Arc<dyn Disk>) -> Result<bool> {
    let pinned = Arc::new(PinnedFile::open(file, disk)?);
    let first = |piece: &[u8], offset: u64| {
        let mark = if offset == 0 && piece.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        piece[mark..].iter().copied().find(|byte| !byte.is_ascii_whitespace())
    };
    let found = if intake.is_streamed(&file.path) {
        let mut stream = TextStream::open(&pinned, intake)?;
        let (mut piece, mut offset) = (vec![0; SEEK_BYTES], 0);
        loop {
            let filled = stream.fill(&mut piece)?;
            let found = first(&piece[..filled], offset);
            if found.is_some() || filled < piece.len() {
                break found;
            }
            offset += filled as u64;
        }
    } else {
        pinned.scan(0..file.size_bytes, SEEK_BYTES, |piece, offset| Ok(first(piece, offset)))?
    };
    Ok(found == Some(b'['))
}

/// A split's bytes, block by block.
pub(crate) struct Blocks {
    file: Arc<PinnedFile>,
    /// Where the text comes from that has to be made of the file's bytes.
    stream: Option<Stream>,
    /// Where the next read begins, in the file's text.
    position: u64,
    /// The split's end; of a stream known at its end alone.
    end: u64,
    /// Whether a record ends at `end`.
    is_aligned: bool,
    /// Whether records don't end with lines.
    is_whole: bool,
    spare: VecDeque<Buffer>,
}

/// How many bytes a byte order mark takes that is no part of the text any more.
fn mark_bytes(file: &PinnedFile, intake: &Intake) -> Result<u64> {
    let is_utf16 =
        matches!(intake.encoding, Encoding::Utf16 | Encoding::Utf16Le | Encoding::Utf16Be);
    let mut head = [0; 2];
    if !is_utf16 || file.planned.size_bytes < 2 {
        return Ok(0);
    }
    file.read(&mut head, 0)?;
    let has_mark = match intake.encoding {
        Encoding::Utf16Be => head == [0xfe, 0xff],
        Encoding::Utf16Le => head == [0xff, 0xfe],
        _ => matches!(head, [0xfe, 0xff] | [0xff, 0xfe]),
    };
    Ok(if has_mark { 2 } else { 0 })
}

/// Text that is made from a file's start on.
struct Stream {
    text: TextStream,
    encoding: Encoding,
    is_compressed: bool,
    has_ended: bool,
    /// Of the text before the block in hand: its lines, from 1, and the file's bytes.
    line: u64,
    file_bytes: u64,
}

impl Blocks {
    /// Opens the split's file and goes to the first record that begins in the split.
    pub(crate) fn open(split: &Split, format: &Format, disk: &Arc<dyn Disk>) -> Result<Self> {
        let intake = format.intake();
        let file = Arc::new(PinnedFile::open(&split.file, disk)?);
        let end = split.end.min(split.file.size_bytes);
        let spare = VecDeque::new();
        let is_all = split.start == 0 && end == split.file.size_bytes;
        let is_whole =
            matches!(format, Format::Jsonl(_)) && is_all && is_array(&split.file, intake, disk)?;
        if intake.is_streamed(&split.file.path) {
            let stream = Stream {
                text: TextStream::open(&file, intake)?,
                encoding: intake.encoding,
                is_compressed: intake.compression_of(&split.file.path) != Compression::None,
                has_ended: false,
                line: 1,
                file_bytes: mark_bytes(&file, intake)?,
            };
            let (stream, is_aligned) = (Some(stream), true);
            return Ok(Self { file, stream, position: 0, end, is_aligned, is_whole, spare });
        }
        let start = if split.aligned || split.start == 0 || split.start >= end {
            split.start
        } else {
            // A record begins in the split if the newline before it lies in this range.
            file.scan(split.start - 1..end - 1, SEEK_BYTES, |piece, offset| {
                Ok(memchr::memchr(b'\n', piece).map(|newline| offset + newline as u64 + 1))
            })?
            .unwrap_or(end)
        };
        let is_aligned = split.aligned || end == split.file.size_bytes;
        Ok(Self { file, stream: None, position: start, end, is_aligned, is_whole, spare })
    }

    /// How far the split has been read: a place in its file, up to the split's end.
    pub(crate) fn position(&self) -> u64 {
        self.stream.as_ref().map_or(self.position, |stream| stream.text.taken_bytes())
    }

    /// The next block: `rest`, which the decoder left of the block before, and more bytes.
    ///
    /// `None` behind the last block, whose records the decoder has had whole.
    pub(crate) fn next(&mut self, rest: &[u8]) -> Result<Option<Block>> {
        let has_ended = self.stream.as_ref().is_some_and(|stream| stream.has_ended);
        if has_ended || (self.stream.is_none() && self.position >= self.end) {
            self.file.check()?;
            return Ok(None);
        }
        let offset = self.position - rest.len() as u64;
        // A record may be followed by CR and LF.
        if rest.len() as u64 > MAX_RECORD_BYTES + 2 {
            return Err(match &self.stream {
                Some(stream) => self.file.too_large_at(offset, stream.line),
                None => self.file.too_large(offset),
            });
        }
        // Twice the rest, so that a long record is gone through a few times only.
        let wanted = BLOCK_BYTES.max(2 * rest.len());
        let mut bytes = self.buffer(wanted);
        bytes[..rest.len()].copy_from_slice(rest);
        let (mut filled, is_last) = if let Some(stream) = &mut self.stream {
            let read = stream.text.fill(&mut bytes[rest.len()..])?;
            stream.has_ended = rest.len() + read < wanted;
            self.position += read as u64;
            (rest.len() + read, stream.has_ended)
        } else {
            let read = at_most(self.end - self.position, wanted - rest.len());
            let filled = rest.len() + read;
            self.file.read(&mut bytes[rest.len()..filled], self.position)?;
            self.position += read as u64;
            (filled, self.position == self.end)
        };
        if is_last && !self.is_aligned {
            filled = self.read_to_newline(&mut bytes, filled)?;
        }
        let buffer = Buffer::from_vec(bytes);
        self.spare.push_back(buffer.clone());
        let text = buffer.slice_with_length(0, filled);
        Ok(Some(if self.is_whole {
            Block::whole(text, offset, is_last)
        } else {
            Block::new(text, offset, is_last)
        }))
    }

    /// Notes that what of `block` is before `at` does not come again.
    pub(crate) fn pass(&mut self, block: &Block, at: usize) {
        if let Some(stream) = &mut self.stream {
            let passed = &block.bytes()[..at];
            stream.line += memchr::memchr_iter(b'\n', passed).count() as u64;
            stream.file_bytes += stream.encoding.file_bytes(passed);
        }
    }

    /// A bad record of the block in hand, with its place in the file.
    pub(crate) fn bad_row(&self, block: &Block, record: BadRecord) -> BadRow {
        let BadRecord { range, column, reason } = record;
        let before = &block.bytes()[..range.start];
        let (offset, line) = match &self.stream {
            None => (block.offset() + range.start as u64, None),
            Some(stream) => {
                let line = stream.line + memchr::memchr_iter(b'\n', before).count() as u64;
                let offset = if stream.is_compressed {
                    block.offset() + range.start as u64
                } else {
                    stream.file_bytes + stream.encoding.file_bytes(before)
                };
                (offset, Some(line))
            }
        };
        BadRow {
            file: Some(self.file.planned.path.display().to_string()),
            offset: Some(offset),
            line,
            column,
            reason,
            raw: block.bytes()[range].to_vec(),
        }
    }

    /// A block's refusal as an error of its file; the line is counted only now.
    pub(crate) fn error(&self, block: &Block, refusal: Refusal) -> Error {
        match refusal {
            Refusal::BadRecord(record) => self.bad_row_error(self.bad_row(block, record)),
            Refusal::TooLarge { start } => {
                let offset = block.offset() + start as u64;
                match &self.stream {
                    None => self.file.too_large(offset),
                    Some(stream) => {
                        let before = &block.bytes()[..start];
                        let lines = memchr::memchr_iter(b'\n', before).count() as u64;
                        self.file.too_large_at(offset, stream.line + lines)
                    }
                }
            }
            Refusal::Arrow(error) => Error::Arrow(error),
        }
    }

    /// A bad row as an error of its file.
    pub(crate) fn bad_row_error(&self, row: BadRow) -> Error {
        let offset = row.offset.unwrap_or_default();
        let line = row.line.map_or_else(|| self.file.line_of(offset, FIRST), Ok);
        let is_compressed = self.stream.as_ref().is_some_and(|stream| stream.is_compressed);
        match line {
            Ok(line) => Error::BadRow {
                path: self.file.planned.path.clone(),
                offset,
                line,
                column: row.column,
                text: shown(&row.raw),
                reason: if is_compressed {
                    format!("{} (line and byte are those of the decompressed text)", row.reason)
                } else {
                    row.reason
                },
            },
            Err(error) => error,
        }
    }

    /// At least `wanted` bytes to read into: those of an earlier block that no row points to any
    /// more, or new ones.
    fn buffer(&mut self, wanted: usize) -> Vec<u8> {
        for _ in 0..self.spare.len() {
            let Some(buffer) = self.spare.pop_front() else { break };
            match buffer.into_vec::<u8>() {
                Ok(bytes) if bytes.len() == wanted => return bytes,
                Ok(_) => {}
                Err(in_use) => self.spare.push_back(in_use),
            }
        }
        self.spare.truncate(SPARE_BUFFERS - 1);
        vec![0; wanted]
    }

    /// Reads behind the split's end, where `bytes[..filled]` ends, up to the newline that ends its
    /// last record or the end of the file; returns the new end of what is filled.
    fn read_to_newline(&self, bytes: &mut Vec<u8>, filled: usize) -> Result<usize> {
        bytes.truncate(filled);
        if bytes.last() == Some(&b'\n') {
            return Ok(filled);
        }
        let start = memchr::memrchr(b'\n', bytes).map_or(0, |newline| newline + 1);
        let record_offset = self.end - (filled - start) as u64;
        let file_end = self.file.planned.size_bytes;
        self.file.scan(self.end..file_end, SEEK_BYTES, |piece, _| {
            let newline = memchr::memchr(b'\n', piece);
            bytes.extend_from_slice(&piece[..newline.map_or(piece.len(), |at| at + 1)]);
            if (bytes.len() - start) as u64 > MAX_RECORD_BYTES + 2 {
                return Err(self.file.too_large(record_offset));
            }
            Ok(newline)
        })?;
        Ok(bytes.len())
    }
}

/// `bytes`, or `limit` where that is less.
pub(crate) fn at_most(bytes: u64, limit: usize) -> usize {
    usize::try_from(bytes).map_or(limit, |bytes| bytes.min(limit))
}

/// A record as a message shows it: one line, cut to a length.
fn shown(record: &[u8]) -> String {
    let head = &record[..record.len().min(SHOWN_BYTES)];
    let mut text = String::with_capacity(head.len() + 2);
    text.push('`');
    for character in String::from_utf8_lossy(head).chars() {
        if character.is_control() {
            text.extend(character.escape_default());
        } else {
            text.push(character);
        }
    }
    text.push_str(if head.len() < record.len() { "…`" } else { "`" });
    text
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, io, path::PathBuf, sync::Arc};

    use super::{BLOCK_BYTES, Blocks, PinnedFile};
    use crate::{
        Error,
        disk::ReadAt,
        formats::{Format, intake::Intake},
        plan::InputFile,
        source::{split::Split, tests::Input},
    };

    /// A file that has lost its bytes since it was opened.
    struct Truncated;

    impl ReadAt for Truncated {
        fn read_at(&self, _buffer: &mut [u8], _offset: u64) -> io::Result<usize> {
            Ok(0)
        }

        fn size(&self) -> io::Result<u64> {
            Ok(0)
        }
    }

    #[test]
    fn a_file_truncated_while_it_is_read_is_a_changed_input() {
        let planned = InputFile { path: PathBuf::from("lines"), size_bytes: 9, version: None };
        let file = PinnedFile { file: Arc::new(Truncated), planned };
        assert!(matches!(
            file.read(&mut [0; 9], 0),
            Err(Error::InputChanged { expected_bytes: 9, found_bytes: 0, .. })
        ));
    }

    #[test]
    fn a_block_that_nobody_holds_is_read_into_again() {
        let input = Input::of(&[&b"line\n".repeat(BLOCK_BYTES)]);
        let file = input.files[0].clone();
        let end = file.size_bytes;
        let split = Split { file, start: 0, end, aligned: false };
        let mut blocks =
            Blocks::open(&split, &Format::Text(Intake::default()), &input.disk).unwrap();
        let mut places = HashSet::new();
        let mut count = 0;
        while let Some(block) = blocks.next(&[]).unwrap() {
            places.insert(block.bytes().as_ptr());
            count += 1;
        }
        assert_eq!((count, places.len()), (5, 1));
    }
}
