//! Text arrays made of views: parts of values that exist stay where they are, new text goes into
//! a side buffer.
//!
//! The kernels that narrow, keep or replace text ([`crate::operators::flat_map`], lower, trim,
//! substr) build their output here, so that the one unchecked construction stands in one place.

use std::fmt;

use arrow::{
    array::{ByteView, StringViewArray},
    buffer::{Buffer, NullBuffer, ScalarBuffer},
};

pub(crate) mod case;

/// The most bytes that stand in the view itself.
pub(crate) const INLINE_BYTES: usize = 12;

/// Where a side buffer is closed and the next begun, in bytes: far below what an offset can say.
const SIDE_BYTES: usize = 1 << 30;

/// A value of a text array, with the place of its bytes.
#[derive(Clone, Copy)]
pub(crate) struct TextValue<'a> {
    /// The value.
    pub(crate) text: &'a str,
    /// Its bytes and whatever stands behind them in their buffer.
    window: &'a [u8],
    /// Its buffer, numbered as in the builder, and its first byte there; unused when inline.
    buffer: u32,
    offset: u32,
}

impl<'a> TextValue<'a> {
    /// Row `row` of `array`, whose buffers were [shared](TextBuilder::share) as `base` and on.
    #[inline]
    pub(crate) fn new(array: &'a StringViewArray, row: usize, base: u32) -> Self {
        let text = array.value(row);
        if text.len() <= INLINE_BYTES {
            return Self { text, window: text.as_bytes(), buffer: 0, offset: 0 };
        }
        let view = ByteView::from(array.views()[row]);
        let window = &array.data_buffers()[view.buffer_index as usize][view.offset as usize..];
        Self { text, window, buffer: base + view.buffer_index, offset: view.offset }
    }

    /// Its bytes and whatever stands behind them in their buffer, from `start` on.
    #[inline]
    pub(crate) fn window(&self, start: usize) -> &'a [u8] {
        &self.window[start..]
    }

    /// The view of its bytes `start..end`, which must be whole characters.
    pub(crate) fn part(&self, start: usize, end: usize) -> u128 {
        let part = &self.text[start..end];
        if part.len() <= INLINE_BYTES {
            return match self.window[start..].first_chunk::<16>() {
                Some(chunk) => inline_chunk(*chunk, part.len()),
                None => inline(part),
            };
        }
        long(part, self.buffer, self.offset + low(start))
    }
}

/// Appends formatted text; a `String` takes everything, so nothing can fail.
pub(crate) fn append(out: &mut String, text: fmt::Arguments<'_>) {
    fmt::Write::write_fmt(out, text).unwrap_or_default();
}

/// The view of a text of at most [`INLINE_BYTES`].
fn inline(text: &str) -> u128 {
    let mut bytes = [0; 16];
    bytes[0] = text.len().to_le_bytes()[0];
    bytes[4..4 + text.len()].copy_from_slice(text.as_bytes());
    u128::from_le_bytes(bytes)
}

/// The view of the first `len <= 12` bytes of `chunk`, without a loop.
fn inline_chunk(chunk: [u8; 16], len: usize) -> u128 {
    let text = u128::from_le_bytes(chunk) & ((1 << (8 * len)) - 1);
    text << 32 | len as u128
}

/// The view of a longer text that stands at `offset` of `buffer`.
fn long(text: &str, buffer: u32, offset: u32) -> u128 {
    let prefix = text.as_bytes().first_chunk::<4>().copied().unwrap_or_default();
    ByteView::new(low(text.len()), &prefix).with_buffer_index(buffer).with_offset(offset).as_u128()
}

/// A length or offset within a buffer, which arrow keeps below 4 GiB.
fn low(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// Makes a text array, value by value.
///
/// - Memory: 16 bytes a value, and the bytes of new texts longer than [`INLINE_BYTES`].
#[derive(Default)]
pub(crate) struct TextBuilder {
    views: Vec<u128>,
    /// Shared buffers first, then full side buffers.
    buffers: Vec<Buffer>,
    /// New text; its number is `buffers.len()`.
    side: Vec<u8>,
    /// Where the text begins that is being [extended](Self::extend).
    begun: usize,
}

impl TextBuilder {
    /// For about `values` values.
    pub(crate) fn with_capacity(values: usize) -> Self {
        Self { views: Vec::with_capacity(values), ..Self::default() }
    }

    /// How many values it has.
    pub(crate) fn len(&self) -> usize {
        self.views.len()
    }

    /// Lets values of `array` be kept and narrowed; must come before any value. Returns the
    /// number of the array's first buffer.
    pub(crate) fn share(&mut self, array: &StringViewArray) -> u32 {
        let base = low(self.buffers.len());
        self.buffers.extend(array.data_buffers().iter().cloned());
        base
    }

    /// A view as it stands in the array that was shared first, or one without a buffer.
    pub(crate) fn push_view(&mut self, view: u128) {
        self.views.push(view);
    }

    /// A value's bytes `start..end`, which must be whole characters. Nothing is copied.
    pub(crate) fn push_part(&mut self, value: &TextValue<'_>, start: usize, end: usize) {
        self.views.push(value.part(start, end));
    }

    /// The value under a null.
    pub(crate) fn push_empty(&mut self) {
        self.views.push(0);
    }

    /// Appends to the value that [`Self::push_extended`] ends.
    pub(crate) fn extend(&mut self, text: &str) {
        self.side.extend_from_slice(text.as_bytes());
    }

    /// Appends ASCII text to the value that [`Self::push_extended`] ends, eight bytes at a time
    /// through `word`, which makes ASCII of ASCII. Says whether it changed any; `None`, and nothing
    /// is appended, where the text is not ASCII.
    pub(crate) fn extend_ascii(&mut self, text: &str, word: impl Fn(u64) -> u64) -> Option<bool> {
        const HIGH_BITS: u64 = u64::from_le_bytes([0x80; 8]);
        let bytes = text.as_bytes();
        let (eights, rest) = bytes.as_chunks::<8>();
        let before = self.side.len();
        self.side.reserve(bytes.len() + 8);
        let (mut seen, mut changed) = (0, 0);
        let mut put = |from: u64| {
            let to = word(from);
            seen |= from | to;
            changed |= from ^ to;
            self.side.extend_from_slice(&to.to_le_bytes());
        };
        for eight in eights {
            put(u64::from_le_bytes(*eight));
        }
        if !rest.is_empty() {
            // The last bytes and zeros behind them, of which none stays.
            put(match bytes.last_chunk::<8>() {
                Some(last) => u64::from_le_bytes(*last) >> (8 * (8 - rest.len())),
                None => rest.iter().rev().fold(0, |last, byte| last << 8 | u64::from(*byte)),
            });
        }
        let is_ascii = seen & HIGH_BITS == 0;
        self.side.truncate(before + if is_ascii { bytes.len() } else { 0 });
        is_ascii.then_some(changed != 0)
    }

    /// Appends one character to the value that [`Self::push_extended`] ends.
    pub(crate) fn extend_char(&mut self, character: char) {
        self.extend(character.encode_utf8(&mut [0; 4]));
    }

    /// The value that is being extended, so far.
    pub(crate) fn extended(&self) -> &[u8] {
        &self.side[self.begun..]
    }

    /// Forgets what was extended.
    pub(crate) fn discard_extended(&mut self) {
        self.side.truncate(self.begun);
    }

    /// Ends the value that was extended.
    pub(crate) fn push_extended(&mut self) {
        let view = self.end_extended();
        self.views.push(view);
    }

    /// Ends the value that was extended and gives its view, which belongs into this array.
    pub(crate) fn end_extended(&mut self) -> u128 {
        let bytes = &self.side[self.begun..];
        let len = bytes.len();
        if len <= INLINE_BYTES {
            let mut chunk = [0; 16];
            chunk[..len].copy_from_slice(bytes);
            self.side.truncate(self.begun);
            return inline_chunk(chunk, len);
        }
        let prefix = bytes.first_chunk::<4>().copied().unwrap_or_default();
        let view = ByteView::new(low(len), &prefix)
            .with_buffer_index(low(self.buffers.len()))
            .with_offset(low(self.begun));
        if self.side.len() >= SIDE_BYTES {
            self.buffers.push(Buffer::from_vec(std::mem::take(&mut self.side)));
        }
        self.begun = self.side.len();
        view.as_u128()
    }

    /// Views that were made elsewhere, of parts and ended values, as all of the array's.
    pub(crate) fn set_views(&mut self, views: Vec<u128>) {
        self.views = views;
    }

    /// The array; values under a null may be anything that was pushed.
    #[expect(
        unsafe_code,
        reason = "checking again the UTF-8 of every token is a pass over all text"
    )]
    pub(crate) fn finish(mut self, nulls: Option<NullBuffer>) -> StringViewArray {
        self.discard_extended();
        if !self.side.is_empty() {
            self.buffers.push(Buffer::from_vec(self.side));
        }
        let views = ScalarBuffer::from(self.views);
        let buffers = self.buffers.into();
        if cfg!(debug_assertions) {
            return StringViewArray::new(views, buffers, nulls);
        }
        // SAFETY: every view was made by `part`, which cuts a `str` of a shared array at
        // characters, from a whole `str`, from text that `extend` took as `str`s or that
        // `extend_ascii` has found to be ASCII, or is a view of the array that was shared
        // first. The branch above checks just that in every test.
        unsafe { StringViewArray::new_unchecked(views, buffers, nulls) }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::StringViewArray;
    use proptest::prelude::*;

    use super::{TextBuilder, TextValue};

    #[test]
    fn a_part_of_a_long_value_shares_its_buffer() {
        let array = StringViewArray::from_iter_values(["a text that is longer than a view"]);
        let mut builder = TextBuilder::default();
        let base = builder.share(&array);
        builder.push_part(&TextValue::new(&array, 0, base), 2, 20);
        let part = builder.finish(None);
        assert_eq!(part.value(0), "text that is longe");
        assert_eq!(part.data_buffers()[0].as_ptr(), array.data_buffers()[0].as_ptr());
    }

    #[test]
    fn new_text_stands_beside_shared_text() {
        let array = StringViewArray::from_iter_values(["a text that is longer than a view"]);
        let mut builder = TextBuilder::default();
        let base = builder.share(&array);
        builder.extend("another text of more than twelve bytes");
        builder.push_extended();
        builder.push_part(&TextValue::new(&array, 0, base), 0, 33);
        builder.extend("sh");
        builder.extend("ort");
        builder.push_extended();
        let made = builder.finish(None);
        let values: Vec<_> = made.iter().flatten().collect();
        assert_eq!(
            values,
            [
                "another text of more than twelve bytes",
                "a text that is longer than a view",
                "short"
            ]
        );
    }

    proptest! {
        #[test]
        fn a_part_is_what_slicing_gives(text in "\\PC{0,40}", a in 0usize..41, b in 0usize..41) {
            let array = StringViewArray::from_iter_values([text.as_str()]);
            let boundary = |at: usize| (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap();
            let (start, end) = (boundary(a.min(b)), boundary(a.max(b)));
            let mut builder = TextBuilder::default();
            let base = builder.share(&array);
            builder.push_part(&TextValue::new(&array, 0, base), start, end);
            let part = builder.finish(None);
            prop_assert_eq!(part.value(0), &text[start..end]);
        }
    }
}
