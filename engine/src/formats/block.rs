//! [`Block`]: a piece of a file as decoders get it, and text columns that point into it.
//!
//! A block's text is checked to be UTF-8 once, as a whole. [`Views`] takes its values from that
//! checked text only, so no value has to be checked or copied again; this is the one file of the
//! formats with unsafe code, and its types keep what that code relies on.

use std::{ops::Range, sync::Arc};

use arrow::{
    array::StringViewArray,
    buffer::{Buffer, NullBuffer, ScalarBuffer},
};

/// Bytes of a file that begin at a record.
pub(crate) struct Block {
    bytes: Buffer,
    /// `bytes[..text_bytes]` is UTF-8; nothing may change it after it was checked.
    text_bytes: usize,
    is_invalid: bool,
    offset: u64,
    is_last: bool,
    is_whole: bool,
}

/// What stands before the text of some files, and is not part of it.
const BYTE_ORDER_MARK: char = '\u{feff}';

impl Block {
    /// `bytes` stand at `offset` in their file; behind the `is_last` block comes no record.
    pub(crate) fn new(bytes: Buffer, offset: u64, is_last: bool) -> Self {
        // The line that is cut off at the end comes again, whole, with the next block.
        let lines = lines_of(&bytes, is_last);
        // Several times as fast as the standard check on text that is not all ASCII, but it does
        // not say where it failed.
        if simdutf8::basic::from_utf8(&bytes[..lines]).is_ok() {
            let (is_invalid, is_whole) = (false, false);
            return Self { bytes, text_bytes: lines, is_invalid, offset, is_last, is_whole };
        }
        Self::checked(bytes, lines, offset, is_last)
    }

    /// As [`Block::new`], where records don't end with lines: the text ends where its last
    /// character does.
    pub(crate) fn whole(bytes: Buffer, offset: u64, is_last: bool) -> Self {
        let all = bytes.len();
        Self { is_whole: true, ..Self::checked(bytes, all, offset, is_last) }
    }

    /// The check goes up to what is no text, and not once more over all that is behind that.
    fn checked(bytes: Buffer, checked: usize, offset: u64, is_last: bool) -> Self {
        let (text_bytes, is_invalid) = match std::str::from_utf8(&bytes[..checked]) {
            Ok(_) => (checked, false),
            // A character that the bytes cut off gets its end with the next block.
            Err(error) => {
                let is_cut = error.error_len().is_none() && checked == bytes.len() && !is_last;
                (error.valid_up_to(), !is_cut)
            }
        };
        Self { bytes, text_bytes, is_invalid, offset, is_last, is_whole: false }
    }

    /// What of the block is behind byte `at`, where its text ends before that.
    pub(crate) fn behind(&self, at: usize) -> Option<Self> {
        if at <= self.text_bytes || at >= self.bytes.len() {
            return None;
        }
        let (bytes, offset) = (self.bytes.slice(at), self.offset + at as u64);
        let checked = if self.is_whole { bytes.len() } else { lines_of(&bytes, self.is_last) };
        let rest = Self::checked(bytes, checked, offset, self.is_last);
        Some(Self { is_whole: self.is_whole, ..rest })
    }

    /// Whether no record comes behind the block.
    pub(crate) fn is_last(&self) -> bool {
        self.is_last
    }

    /// Whether records don't end with lines.
    pub(crate) fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// All bytes: the text and what is behind it.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The whole lines, up to the first byte that is not UTF-8.
    pub(crate) fn text(&self) -> &str {
        #[expect(unsafe_code, reason = "checking again would read every byte twice")]
        // SAFETY: `new` or `checked` has checked exactly these bytes, and a buffer's bytes don't change while
        // it is shared.
        unsafe {
            std::str::from_utf8_unchecked(&self.bytes[..self.text_bytes])
        }
    }

    /// Where the block begins in its file, in bytes.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether the end of the text ends a record too, even without a newline.
    pub(crate) fn ends_with_text(&self) -> bool {
        self.is_last && !self.is_invalid
    }

    /// The line around the byte that ended the text because it is not UTF-8, where one did.
    pub(crate) fn invalid_line(&self) -> Option<Range<usize>> {
        self.is_invalid.then(|| self.line_at(self.text_bytes))
    }

    /// The line that contains byte `at`, without its newline.
    pub(crate) fn line_at(&self, at: usize) -> Range<usize> {
        let start = memchr::memrchr(b'\n', &self.bytes[..at]).map_or(0, |newline| newline + 1);
        let end = memchr::memchr(b'\n', &self.bytes[at..])
            .map_or(self.bytes.len(), |newline| at + newline);
        start..end
    }

    /// `from`, or where the file's first record begins if there is a byte order mark before it.
    pub(crate) fn behind_byte_order_mark(&self, from: usize) -> usize {
        if self.offset == 0 && from == 0 && self.text().starts_with(BYTE_ORDER_MARK) {
            BYTE_ORDER_MARK.len_utf8()
        } else {
            from
        }
    }
}

/// How many bytes the whole lines have.
fn lines_of(bytes: &[u8], is_last: bool) -> usize {
    if is_last {
        bytes.len()
    } else {
        memchr::memrchr(b'\n', bytes).map_or(0, |newline| newline + 1)
    }
}

/// A text column under construction: views of at most 12 bytes hold their text, longer ones point
/// into the block or, for what had to be unescaped, into a string of the column's own.
pub(crate) struct Views<'a> {
    block: &'a Block,
    /// The block's text.
    text: &'a str,
    values: Vec<u128>,
    unescaped: String,
    points_into_block: bool,
}

/// The buffer of a column that is the block itself.
const BLOCK_BUFFER: u32 = 0;
/// The buffer of a column that holds what was unescaped.
const UNESCAPED_BUFFER: u32 = 1;
/// The most bytes that a view holds itself.
const INLINE_BYTES: usize = 12;

impl<'a> Views<'a> {
    /// A column with room for `rows`, over `block`.
    pub(crate) fn new(block: &'a Block, rows: usize) -> Self {
        Self {
            block,
            text: block.text(),
            values: Vec::with_capacity(rows),
            unescaped: String::new(),
            points_into_block: false,
        }
    }

    /// How many values there are.
    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    /// Appends the bytes `start..end` of the block's text.
    #[inline]
    pub(crate) fn push(&mut self, start: usize, end: usize) {
        let text = self.text;
        // Everything that cuts fields is ASCII, so the cuts lie between characters.
        assert!(
            start <= end && text.is_char_boundary(start) && text.is_char_boundary(end),
            "fields are cut at ASCII characters of the text"
        );
        self.points_into_block |= end - start > INLINE_BYTES;
        self.values.push(view(text.as_bytes(), start, end - start, BLOCK_BUFFER));
    }

    /// Appends what `unescape` adds to the column's own string.
    pub(crate) fn push_unescaped(&mut self, unescape: impl FnOnce(&mut String)) {
        let start = self.unescaped.len();
        unescape(&mut self.unescaped);
        let length = self.unescaped.len() - start;
        self.values.push(view(self.unescaped.as_bytes(), start, length, UNESCAPED_BUFFER));
    }

    /// Appends an empty value, to be covered by a null.
    #[inline]
    pub(crate) fn push_empty(&mut self) {
        self.values.push(0);
    }

    /// The column; it keeps the block's bytes only if a value points to them.
    pub(crate) fn finish(self, nulls: Option<NullBuffer>) -> StringViewArray {
        let unescaped =
            (!self.unescaped.is_empty()).then(|| Buffer::from_vec(self.unescaped.into_bytes()));
        let buffers: Arc<[Buffer]> = match (self.points_into_block, unescaped) {
            (false, None) => Arc::new([]),
            (true, None) => Arc::new([self.block.bytes.clone()]),
            (_, Some(unescaped)) => Arc::new([self.block.bytes.clone(), unescaped]),
        };
        #[expect(unsafe_code, reason = "the checked constructor reads every value's bytes again")]
        // SAFETY: every view was made by `push` or `push_unescaped` of a range of a `str`, cut at
        // its characters, whose bytes are the buffer that the view names; or it is empty. The
        // block's buffer is left out only where no view is long enough to point to it.
        unsafe {
            StringViewArray::new_unchecked(ScalarBuffer::from(self.values), buffers, nulls)
        }
    }
}

/// The view of `bytes[start..start + length]`, as Arrow's format has it.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "a block is far below 4 GiB")]
fn view(bytes: &[u8], start: usize, length: usize, buffer: u32) -> u128 {
    // Sixteen bytes at once, where there are as many: no loop and no call for a short value.
    let head = match bytes.get(start..).and_then(|rest| rest.first_chunk::<16>()) {
        Some(chunk) => u128::from_le_bytes(*chunk),
        None => bytes[start..].iter().rev().fold(0, |head, byte| head << 8 | u128::from(*byte)),
    };
    if length <= INLINE_BYTES {
        let kept = head & ((1 << (8 * length)) - 1);
        kept << 32 | length as u128
    } else {
        let prefix = u128::from(head as u32);
        (start as u128) << 96 | u128::from(buffer) << 64 | prefix << 32 | length as u128
    }
}

#[cfg(test)]
mod tests {
    use arrow::{
        array::{Array, StringViewArray, builder::make_view},
        buffer::{Buffer, NullBuffer},
    };
    use proptest::prelude::*;

    use super::{Block, Views, view};

    fn block(text: &str) -> Block {
        Block::new(Buffer::from(text.as_bytes()), 0, true)
    }

    proptest! {
        #[test]
        fn a_view_is_what_arrow_makes_of_the_same_bytes(
            text in "[a-zé ]{0,40}",
            cut in (0usize..80, 0usize..80),
        ) {
            let bytes = text.as_bytes();
            let start = cut.0.min(bytes.len());
            let length = cut.1.min(bytes.len() - start);
            let expected = make_view(&bytes[start..start + length], 1, u32::try_from(start).unwrap());
            prop_assert_eq!(view(bytes, start, length, 1), expected);
        }

        #[test]
        fn the_unchecked_column_is_the_checked_one(
            values in prop::collection::vec(("[a-zß€ ]{0,30}", any::<bool>(), any::<bool>()), 0..50),
        ) {
            let mut text = String::new();
            let ranges: Vec<_> = values
                .iter()
                .map(|(value, ..)| {
                    let start = text.len();
                    text.push_str(value);
                    start..text.len()
                })
                .collect();
            let block = block(&text);
            let mut views = Views::new(&block, values.len());
            for ((value, is_escaped, is_null), range) in values.iter().zip(ranges) {
                match (is_null, is_escaped) {
                    (true, _) => views.push_empty(),
                    (false, true) => views.push_unescaped(|out| out.push_str(value)),
                    (false, false) => views.push(range.start, range.end),
                }
            }
            let nulls: NullBuffer = values.iter().map(|(_, _, is_null)| !is_null).collect();
            let column = views.finish(Some(nulls));
            let expected: StringViewArray = values
                .iter()
                .map(|(value, _, is_null)| (!is_null).then_some(value.as_str()))
                .collect();
            prop_assert_eq!(&column, &expected);
            prop_assert!(column.to_data().validate_full().is_ok());
        }
    }

    #[test]
    fn the_text_ends_before_a_cut_line_and_before_what_is_not_utf8() {
        let cut = Block::new(Buffer::from("one\ntw".as_bytes()), 7, false);
        assert_eq!((cut.text(), cut.invalid_line()), ("one\n", None));
        let invalid = Block::new(Buffer::from(b"one\ntw\xffo\nthree\n".as_slice()), 0, true);
        assert_eq!((invalid.text(), invalid.invalid_line()), ("one\ntw", Some(4..8)));
        assert!(!invalid.ends_with_text());
        let behind = invalid.behind(9).unwrap();
        assert_eq!((behind.text(), behind.offset(), behind.is_last()), ("three\n", 9, true));
        let whole = Block::whole(Buffer::from(b"[1, \xc3".as_slice()), 0, false);
        assert_eq!((whole.text(), whole.invalid_line()), ("[1, ", None));
    }

    #[test]
    fn a_column_of_short_values_lets_go_of_the_block() {
        let block = block("short and longer than twelve bytes");
        let mut short = Views::new(&block, 1);
        short.push(0, 5);
        assert!(short.finish(None).data_buffers().is_empty());
        let mut long = Views::new(&block, 1);
        long.push(0, 34);
        assert_eq!(long.finish(None).data_buffers().len(), 1);
    }
}
