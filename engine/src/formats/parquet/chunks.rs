//! [`Chunks`]: a Parquet file's bytes as its decoder asks for them, read in large pieces.
//!
//! A decoder asks for page after page of each column chunk in turn. What is small is read at once,
//! neighbours together; of a large chunk a window is kept and read on. Sizes that a page's header
//! claims are looked at before anything is reserved for them.

use std::{
    io::{self, Read},
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::{Bytes, BytesMut};
use parquet::{
    errors::ParquetError,
    file::reader::{ChunkReader, Length},
};

use crate::{Error, Result, source::blocks::PinnedFile};

/// Column chunks of one row group that have together no more bytes are read at once.
const WHOLE_BYTES: u64 = 16 << 20;
/// Ranges with no more bytes between them are read as one.
const GAP_BYTES: u64 = 64 << 10;
/// The windows of large chunks have together about so many bytes.
const WINDOWS_BYTES: u64 = 32 << 20;
/// The least bytes of a window.
const MIN_WINDOW_BYTES: u64 = 64 << 10;
/// The most bytes of a window.
const MAX_WINDOW_BYTES: u64 = 4 << 20;
/// The most bytes of a page, uncompressed.
const MAX_PAGE_BYTES: u64 = 256 << 20;
/// What a large page may become, as a multiple of its compressed size.
const MAX_PAGE_RATIO: u64 = 1000;
/// Up to so many bytes a page's ratio says nothing.
const MIN_RATIO_BYTES: u64 = 32 << 20;
/// How much is read where a decoder names no length and no window is kept.
const HEADER_BYTES: usize = 4 << 10;

/// A file as the decoder sees it; clones share what is in memory.
#[derive(Clone)]
pub(crate) struct Chunks(Arc<Shared>);

struct Shared {
    file: PinnedFile,
    windows: Mutex<Vec<Window>>,
    /// What was read of whole chunks, which becomes room for the next ones once no page points into
    /// it.
    whole: Mutex<Vec<Bytes>>,
}

/// A column chunk, and what of it is in memory.
struct Window {
    chunk: Range<u64>,
    /// How much is read at once; 0 reads what is asked for.
    ahead_bytes: u64,
    /// Whether what is asked for begins with a page's header.
    by_pages: bool,
    start: u64,
    bytes: Bytes,
}

impl Window {
    fn empty(chunk: &Range<u64>, ahead_bytes: u64, by_pages: bool) -> Self {
        let (chunk, start) = (chunk.clone(), chunk.start);
        Self { chunk, ahead_bytes, by_pages, start, bytes: Bytes::new() }
    }

    /// `length` bytes from `start`, where they are in memory.
    fn slice(&self, start: u64, length: usize) -> Option<Bytes> {
        let from = usize::try_from(start.checked_sub(self.start)?).ok()?;
        let to = from.checked_add(length)?;
        (to <= self.bytes.len()).then(|| self.bytes.slice(from..to))
    }
}

/// What a row group's column chunks are read by.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadAhead {
    /// All of their bytes are wanted.
    All,
    /// Pages of known places are wanted, and not all.
    Pages,
}

impl Chunks {
    pub(crate) fn new(file: PinnedFile) -> Self {
        Self(Arc::new(Shared { file, windows: Mutex::default(), whole: Mutex::default() }))
    }

    pub(crate) fn file(&self) -> &PinnedFile {
        &self.0.file
    }

    /// Makes ready for the column chunks of a row group, which are read soon; forgets others.
    ///
    /// - Memory: returns the bytes that are or will be held.
    pub(crate) fn expect(&self, chunks: &[Range<u64>], ahead: ReadAhead) -> Result<u64> {
        let mut sorted = chunks.to_vec();
        sorted.sort_by_key(|chunk| chunk.start);
        sorted.dedup();
        let total: u64 = sorted.iter().map(|chunk| chunk.end - chunk.start).sum();
        self.windows().clear();
        let mut windows = Vec::with_capacity(sorted.len());
        let held = match ahead {
            ReadAhead::All if total <= WHOLE_BYTES => {
                let mut rooms = std::mem::take(&mut *self.whole()).into_iter();
                for group in coalesced(&sorted) {
                    let room = rooms.next().unwrap_or_default();
                    let whole = self.read_into(room, group.start, group.end - group.start)?;
                    self.whole().push(whole.clone());
                    let inside =
                        sorted.iter().filter(|c| group.start <= c.start && c.end <= group.end);
                    for chunk in inside {
                        let (from, to) = (chunk.start - group.start, chunk.end - group.start);
                        let bytes = whole.slice(place(from)..place(to));
                        windows.push(Window { bytes, ..Window::empty(chunk, 0, false) });
                    }
                }
                total
            }
            ReadAhead::All => {
                let share = WINDOWS_BYTES / (sorted.len() as u64).max(1);
                let ahead_bytes = share.clamp(MIN_WINDOW_BYTES, MAX_WINDOW_BYTES);
                for chunk in &sorted {
                    windows.push(Window::empty(chunk, ahead_bytes, false));
                }
                sorted.iter().map(|chunk| (chunk.end - chunk.start).min(ahead_bytes)).sum()
            }
            ReadAhead::Pages => {
                windows.extend(sorted.iter().map(|chunk| Window::empty(chunk, 0, true)));
                0
            }
        };
        *self.windows() = windows;
        Ok(held)
    }

    fn windows(&self) -> MutexGuard<'_, Vec<Window>> {
        // What a panic has left is whole: windows are replaced, never changed in part.
        self.0.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn whole(&self) -> MutexGuard<'_, Vec<Bytes>> {
        self.0.whole.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, start: u64, length: u64) -> Result<Bytes> {
        self.read_into(Bytes::new(), start, length)
    }

    /// As [`Chunks::read`], into the memory of `room` where nobody else has it.
    fn read_into(&self, room: Bytes, start: u64, length: u64) -> Result<Bytes> {
        let mut bytes = room.try_into_mut().unwrap_or_default();
        if bytes.capacity() < place(length) {
            bytes = BytesMut::zeroed(place(length));
        }
        bytes.resize(place(length), 0);
        self.0.file.read(&mut bytes, start)?;
        Ok(bytes.freeze())
    }

    /// `length` bytes from `start`, which lie in the file.
    fn bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        let mut windows = self.windows();
        let window = windows.iter_mut().find(|window| window.chunk.contains(&start));
        let Some(window) = window else { return self.read(start, length as u64) };
        if let Some(found) = window.slice(start, length) {
            return Ok(found);
        }
        let left = window.chunk.end - start;
        let wanted = window.ahead_bytes.min(left).max(length as u64);
        let read = self.read(start, wanted)?;
        let found = read.slice(..length);
        if window.ahead_bytes > 0 {
            (window.start, window.bytes) = (start, read);
        }
        Ok(found)
    }

    /// What a reader without a length of its own gets from `start`: at least one byte, or none at
    /// the end of the file.
    fn some_bytes(&self, start: u64) -> Result<Bytes> {
        let windows = self.windows();
        let window = windows.iter().find(|window| window.chunk.contains(&start));
        let mut length = self.len().saturating_sub(start);
        if let Some(window) = window {
            let behind = start.checked_sub(window.start).map(place);
            if let Some(behind) = behind.filter(|behind| *behind < window.bytes.len()) {
                return Ok(window.bytes.slice(behind..));
            }
            length = length
                .min(window.chunk.end - start)
                .min(window.ahead_bytes.max(HEADER_BYTES as u64));
        } else {
            length = length.min(HEADER_BYTES as u64);
        }
        drop(windows);
        self.bytes(start, place(length))
    }
}

/// Sorted ranges, with neighbours as one.
fn coalesced(sorted: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut groups: Vec<Range<u64>> = Vec::new();
    for range in sorted {
        match groups.last_mut() {
            Some(last) if range.start <= last.end.saturating_add(GAP_BYTES) => {
                last.end = last.end.max(range.end);
            }
            _ => groups.push(range.clone()),
        }
    }
    groups
}

/// A place in a file that is in memory, or a length of one.
fn place(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

impl Length for Chunks {
    fn len(&self) -> u64 {
        self.0.file.size_bytes()
    }
}

impl ChunkReader for Chunks {
    type T = ChunkCursor;

    fn get_read(&self, start: u64) -> parquet::errors::Result<ChunkCursor> {
        let mut cursor = ChunkCursor { chunks: self.clone(), position: start, bytes: Bytes::new() };
        cursor.fill().map_err(external)?;
        check_page_header(&cursor.bytes)?;
        Ok(cursor)
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        let end = start.checked_add(length as u64);
        if end.is_none_or(|end| end > self.len()) {
            let size = self.len();
            let message = format!("bytes {start} to {start} + {length} of a file of {size}");
            return Err(ParquetError::EOF(message));
        }
        let bytes = self.bytes(start, length).map_err(external)?;
        // Other bytes could look like a header.
        if self.windows().iter().any(|window| window.by_pages && window.chunk.contains(&start)) {
            check_page_header(&bytes)?;
        }
        Ok(bytes)
    }
}

/// A file read on from a place.
pub(crate) struct ChunkCursor {
    chunks: Chunks,
    /// Behind `bytes`.
    position: u64,
    bytes: Bytes,
}

impl ChunkCursor {
    fn fill(&mut self) -> Result<()> {
        self.bytes = self.chunks.some_bytes(self.position)?;
        self.position += self.bytes.len() as u64;
        Ok(())
    }
}

impl Read for ChunkCursor {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.bytes.is_empty() {
            self.fill().map_err(io::Error::other)?;
        }
        let length = buffer.len().min(self.bytes.len());
        buffer[..length].copy_from_slice(&self.bytes.split_to(length));
        Ok(length)
    }
}

/// One of our errors on its way through the decoder.
fn external(error: Error) -> ParquetError {
    ParquetError::External(Box::new(error))
}

/// Refuses a page whose header claims sizes that no page has. Bytes that are no header pass.
fn check_page_header(bytes: &[u8]) -> parquet::errors::Result<()> {
    let Some(header) = PageSizes::parse(bytes) else { return Ok(()) };
    let refuse = |what: String| Err(ParquetError::General(what));
    let PageSizes { uncompressed, compressed, dictionary_values } = header;
    if uncompressed > MAX_PAGE_BYTES {
        return refuse(format!(
            "a page claims {uncompressed} bytes uncompressed; {MAX_PAGE_BYTES} are allowed"
        ));
    }
    if uncompressed > MIN_RATIO_BYTES && uncompressed / MAX_PAGE_RATIO > compressed {
        return refuse(format!(
            "a page of {compressed} bytes claims {uncompressed} uncompressed, more than \
             {MAX_PAGE_RATIO} times as many"
        ));
    }
    match dictionary_values {
        Some(values) if values > uncompressed => {
            refuse(format!("a dictionary of {uncompressed} bytes claims {values} values"))
        }
        _ => Ok(()),
    }
}

/// What the beginning of a page's header (Thrift, compact) says of sizes.
struct PageSizes {
    uncompressed: u64,
    compressed: u64,
    /// The values of a dictionary page.
    dictionary_values: Option<u64>,
}

impl PageSizes {
    fn parse(bytes: &[u8]) -> Option<Self> {
        /// A field behind the one before it, of type i32.
        const NEXT_I32: u8 = 0x15;
        /// A struct two fields behind the third: a data page's.
        const DICTIONARY: u8 = 0x4c;
        /// The same behind a checksum in field 4.
        const DICTIONARY_BEHIND_CRC: u8 = 0x3c;
        let mut rest = bytes;
        let mut next = || {
            let (first, behind) = rest.split_first()?;
            if *first != NEXT_I32 {
                return None;
            }
            let (value, behind) = varint(behind)?;
            rest = behind;
            u64::try_from(value).ok()
        };
        let (_page_type, uncompressed, compressed) = (next()?, next()?, next()?);
        let crc = next();
        let is_dictionary = match (crc, rest.first()) {
            (None, Some(field)) => *field == DICTIONARY,
            (Some(_), Some(field)) => *field == DICTIONARY_BEHIND_CRC,
            (_, None) => false,
        };
        let dictionary_values = if is_dictionary {
            let behind = rest.get(2..).filter(|_| rest.get(1) == Some(&NEXT_I32));
            behind.and_then(varint).and_then(|(value, _)| u64::try_from(value).ok())
        } else {
            None
        };
        Some(Self { uncompressed, compressed, dictionary_values })
    }
}

/// A zigzag number of at most ten bytes, and what is behind it.
fn varint(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let mut value = 0_u64;
    for (index, byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f).checked_shl(u32::try_from(7 * index).ok()?)?;
        if byte & 0x80 == 0 {
            let number = (value >> 1).cast_signed() ^ -(value & 1).cast_signed();
            return Some((number, &bytes[index + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{check_page_header, coalesced, varint};

    #[test]
    fn neighbours_are_read_as_one() {
        let far = 1 << 20;
        assert_eq!(coalesced(&[4..10, 10..20, 30..40, far..far + 1]), [4..40, far..far + 1]);
        assert_eq!(coalesced(&[]), []);
    }

    #[test]
    fn zigzag_numbers() {
        assert_eq!(varint(&[0x00, 9]), Some((0, &[9][..])));
        assert_eq!(varint(&[0x01]), Some((-1, &[][..])));
        assert_eq!(varint(&[0xfe, 0xff, 0xff, 0xff, 0x0f]), Some((i64::from(i32::MAX), &[][..])));
        assert_eq!(varint(&[0x80]), None);
    }

    #[test]
    fn a_page_that_claims_too_much_is_refused_before_it_is_read() {
        // Dictionary page (2): sizes 2,147,483,647 and 16.
        let huge = [0x15, 4, 0x15, 0xfe, 0xff, 0xff, 0xff, 0x0f, 0x15, 32, 0x4c, 0x15, 2];
        assert!(check_page_header(&huge).is_err());
        // A dictionary of 16 bytes with 1,000 values.
        let values = [0x15, 4, 0x15, 32, 0x15, 32, 0x4c, 0x15, 0xd0, 0x0f];
        assert!(check_page_header(&values).is_err());
        let small = [0x15, 4, 0x15, 32, 0x15, 32, 0x4c, 0x15, 4];
        assert!(check_page_header(&small).is_ok());
        assert!(check_page_header(b"PAR1").is_ok());
    }
}
