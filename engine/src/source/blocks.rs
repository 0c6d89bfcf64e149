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
    formats::{MAX_RECORD_BYTES, Refusal, block::Block},
    plan::InputFile,
    source::split::Split,
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

    /// Where it is.
    pub(crate) fn path(&self) -> &std::path::Path {
        &self.planned.path
    }

    /// Its size, as planned and found.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.planned.size_bytes
    }

    /// Whether the size is still what was planned.
    pub(crate) fn check(&self) -> Result<()> {
        let found_bytes = self.file.size().map_err(Error::io("read", &self.planned.path))?;
        if found_bytes == self.planned.size_bytes {
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

    /// The line that byte `offset` stands in, from 1.
    fn line_of(&self, offset: u64) -> Result<u64> {
        let mut line = 1;
        self.scan(0..offset, BLOCK_BYTES, |piece, _| {
            line += memchr::memchr_iter(b'\n', piece).count() as u64;
            Ok(None::<()>)
        })?;
        Ok(line)
    }

    /// The error of a record that begins at `offset`; its line is counted only now.
    pub(crate) fn bad_row(
        &self,
        offset: u64,
        column: Option<String>,
        record: &[u8],
        reason: String,
    ) -> Error {
        match self.line_of(offset) {
            Ok(line) => Error::BadRow {
                path: self.planned.path.clone(),
                offset,
                line,
                column,
                text: shown(record),
                reason,
            },
            Err(error) => error,
        }
    }

    /// The error of a record over the limit that begins at `offset`.
    pub(crate) fn too_large(&self, offset: u64) -> Error {
        match self.line_of(offset) {
            Ok(line) => Error::RecordTooLarge {
                path: self.planned.path.clone(),
                offset,
                line,
                limit_bytes: MAX_RECORD_BYTES,
            },
            Err(error) => error,
        }
    }

    /// A block's refusal as an error of this file.
    pub(crate) fn error(&self, block: &Block, refusal: Refusal) -> Error {
        match refusal {
            Refusal::BadRecord { range, column, reason } => {
                let offset = block.offset() + range.start as u64;
                self.bad_row(offset, column, &block.bytes()[range], reason)
            }
            Refusal::TooLarge { start } => self.too_large(block.offset() + start as u64),
            Refusal::Arrow(error) => Error::Arrow(error),
        }
    }
}

/// A split's bytes, block by block.
pub(crate) struct Blocks {
    file: PinnedFile,
    /// Where the next read begins.
    position: u64,
    /// The split's end.
    end: u64,
    /// Whether a record ends at `end`.
    is_aligned: bool,
    spare: VecDeque<Buffer>,
}

impl Blocks {
    /// Opens the split's file and goes to the first record that begins in the split.
    pub(crate) fn open(split: &Split, disk: &Arc<dyn Disk>) -> Result<Self> {
        let file = PinnedFile::open(&split.file, disk)?;
        let end = split.end.min(split.file.size_bytes);
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
        Ok(Self { file, position: start, end, is_aligned, spare: VecDeque::new() })
    }

    /// How far the split has been read: a place in its file, up to the split's end.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// The next block: `rest`, which the decoder left of the block before, and more bytes.
    ///
    /// `None` behind the last block, whose records the decoder has had whole.
    pub(crate) fn next(&mut self, rest: &[u8]) -> Result<Option<Block>> {
        if self.position >= self.end {
            self.file.check()?;
            return Ok(None);
        }
        let offset = self.position - rest.len() as u64;
        // A record may be followed by CR and LF.
        if rest.len() as u64 > MAX_RECORD_BYTES + 2 {
            return Err(self.file.too_large(offset));
        }
        // Twice the rest, so that a long record is gone through a few times only.
        let wanted = BLOCK_BYTES.max(2 * rest.len());
        let read = at_most(self.end - self.position, wanted - rest.len());
        let mut bytes = self.buffer(wanted);
        bytes[..rest.len()].copy_from_slice(rest);
        let mut filled = rest.len() + read;
        self.file.read(&mut bytes[rest.len()..filled], self.position)?;
        self.position += read as u64;
        let is_last = self.position == self.end;
        if is_last && !self.is_aligned {
            filled = self.read_to_newline(&mut bytes, filled)?;
        }
        let buffer = Buffer::from_vec(bytes);
        self.spare.push_back(buffer.clone());
        Ok(Some(Block::new(buffer.slice_with_length(0, filled), offset, is_last)))
    }

    /// See [`PinnedFile::error`].
    pub(crate) fn error(&self, block: &Block, refusal: Refusal) -> Error {
        self.file.error(block, refusal)
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
        let planned = InputFile { path: PathBuf::from("lines"), size_bytes: 9 };
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
        let mut blocks =
            Blocks::open(&Split { file, start: 0, end, aligned: false }, &input.disk).unwrap();
        let mut places = HashSet::new();
        let mut count = 0;
        while let Some(block) = blocks.next(&[]).unwrap() {
            places.insert(block.bytes().as_ptr());
            count += 1;
        }
        assert_eq!((count, places.len()), (5, 1));
    }
}
