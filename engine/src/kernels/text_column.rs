//! [`TextColumn`]: a growing column of text, or of any bytes, as views over an arena of its own.
//!
//! A view is arrow's: 16 bytes with the length and, up to 12 bytes of text, the text itself; else
//! its first 4 bytes and where the whole of it stands. So short texts are equal exactly when their
//! views are, and the arena is touched for long ones alone. Whether an entry is null is known
//! elsewhere; a null's view is that of the empty string.

use std::{cmp::Ordering, sync::Arc};

use arrow::{
    array::{ByteView, GenericByteViewArray},
    buffer::{Buffer, NullBuffer, ScalarBuffer},
    datatypes::{ByteViewType, DataType},
};

use crate::{
    Error, Result,
    kernels::{
        growth::{Growth, bytes_of, growth_of, reserve},
        prefetch::prefetch_each,
    },
};

/// The longest text that a view holds itself.
const INLINE_BYTES: u32 = 12;
/// The arena's first block, and what its blocks double up to. In bytes.
const LEAST_BLOCK_BYTES: usize = 4 << 10;
const GREATEST_BLOCK_BYTES: usize = 1 << 20;

/// A batch's text column, ready to be compared with and copied from.
#[derive(Clone, Debug)]
pub(crate) struct TextInput {
    /// Views; of nulls, that of the empty string.
    pub(crate) views: ScalarBuffer<u128>,
    /// Where long texts stand.
    pub(crate) buffers: Arc<[Buffer]>,
    /// Which rows are null; absent where none is.
    pub(crate) nulls: Option<NullBuffer>,
    /// Whether they came as text, which is UTF-8.
    is_text: bool,
}

impl TextInput {
    /// The rows of a column of text or binary.
    pub(crate) fn new<T: ByteViewType + ?Sized>(array: &GenericByteViewArray<T>) -> Self {
        let (views, buffers, nulls) = array.clone().into_parts();
        let nulls = nulls.filter(|nulls| nulls.null_count() > 0);
        let views = match &nulls {
            None => views,
            Some(nulls) => views
                .iter()
                .zip(nulls)
                .map(|(view, is_valid)| if is_valid { *view } else { 0 })
                .collect(),
        };
        let is_text = T::DATA_TYPE == DataType::Utf8View;
        Self { views, buffers, nulls, is_text }
    }

    /// The bytes outside the views.
    pub(crate) fn long_bytes(&self) -> usize {
        self.views.iter().map(|view| if is_long(*view) { length(*view) as usize } else { 0 }).sum()
    }

    fn long_text(&self, view: u128) -> &[u8] {
        let view = ByteView::from(view);
        let start = view.offset as usize;
        &self.buffers[view.buffer_index as usize].as_slice()[start..start + view.length as usize]
    }

    /// Whether two rows are the same text.
    pub(crate) fn are_equal(&self, left: usize, right: usize) -> bool {
        let (left, right) = (self.views[left], self.views[right]);
        if is_long(left) {
            low(left) == low(right) && self.long_text(left) == self.long_text(right)
        } else {
            left == right
        }
    }

    /// A row's bytes, put into `short` where its view holds them.
    fn text<'a>(&'a self, view: u128, short: &'a mut [u8; 16]) -> &'a [u8] {
        if is_long(view) { self.long_text(view) } else { inline(view, short) }
    }
}

/// A growing column of text.
#[derive(Debug, Default)]
pub(crate) struct TextColumn {
    views: Vec<u128>,
    /// Full blocks of the arena; a view's buffer index counts them.
    full: Vec<Buffer>,
    /// The block that is being filled; its index is the number of full ones.
    tail: Vec<u8>,
    /// Capacity of the full blocks.
    full_bytes: u64,
    /// Bytes of the arena that views point to.
    live_bytes: u64,
    /// Bytes of the arena that were written.
    written_bytes: u64,
    /// Whether something came into it that was not known to be UTF-8.
    has_binary: bool,
}

impl TextColumn {
    /// Bytes held.
    pub(crate) fn memory_bytes(&self) -> u64 {
        bytes_of(&self.views) + self.full_bytes + bytes_of(&self.tail)
    }

    /// The most that pushing or setting the rows of `input` may add, and that `more` entries may.
    pub(crate) fn growth(&self, input: &TextInput, more: usize) -> Growth {
        let long_bytes = input.long_bytes();
        let arena = if long_bytes <= self.tail.capacity() - self.tail.len() {
            0
        } else {
            // Two neighbouring blocks together are filled with more than the smaller one holds.
            2 * long_bytes + self.next_block_bytes()
        };
        let compaction = if self.has_garbage(long_bytes as u64) { self.live_bytes } else { 0 };
        growth_of(&self.views, more)
            + Growth { lasting_bytes: arena as u64, passing_bytes: 0 }
            + Growth { lasting_bytes: 0, passing_bytes: compaction }
    }

    /// Adds copies of some rows' texts.
    pub(crate) fn append(&mut self, input: &TextInput, rows: impl ExactSizeIterator<Item = usize>) {
        reserve(&mut self.views, rows.len());
        self.has_binary |= !input.is_text;
        for row in rows {
            let view = self.store(input, input.views[row]);
            self.views.push(view);
        }
    }

    /// Adds empty strings up to `len` entries.
    pub(crate) fn resize(&mut self, len: usize) {
        let more = len - self.views.len();
        reserve(&mut self.views, more);
        self.views.resize(len, 0);
    }

    /// Puts a copy of a row's text in place of an entry's, whose bytes become garbage.
    pub(crate) fn set(&mut self, entry: usize, input: &TextInput, row: usize) {
        let old = self.views[entry];
        if is_long(old) {
            self.live_bytes -= u64::from(length(old));
        }
        self.has_binary |= !input.is_text;
        self.views[entry] = self.store(input, input.views[row]);
    }

    /// Rewrites the arena once half of it and more is garbage.
    pub(crate) fn collect_garbage(&mut self) {
        if !self.has_garbage(0) {
            return;
        }
        let mut arena = Vec::new();
        let mut clean = Self::default();
        for view in &mut self.views {
            if is_long(*view) {
                let text = long_text(&self.full, &self.tail, *view);
                if text.len() > arena.capacity() - arena.len() {
                    clean.close(&mut arena);
                    arena = Vec::with_capacity(text.len().max(GREATEST_BLOCK_BYTES));
                }
                let index = clean.full.len();
                *view = moved(*view, index, arena.len());
                arena.extend_from_slice(text);
            }
        }
        clean.tail = arena;
        clean.live_bytes = self.live_bytes;
        clean.written_bytes = self.live_bytes;
        clean.has_binary = self.has_binary;
        clean.views = std::mem::take(&mut self.views);
        *self = clean;
    }

    /// Asks for the views of some entries.
    pub(crate) fn prefetch(&self, entries: &[u32]) {
        prefetch_each(&self.views, entries);
    }

    /// For each candidate entry and the row that goes with it: clears `equal` unless they are the
    /// same text. An entry that does not exist equals nothing.
    pub(crate) fn compare(
        &self,
        input: &TextInput,
        first: usize,
        entries: &[u32],
        equal: &mut [bool],
    ) {
        let views = &input.views[first..first + entries.len()];
        for ((entry, view), is_equal) in entries.iter().zip(views).zip(equal) {
            *is_equal &= match self.views.get(*entry as usize) {
                Some(stored) if !is_long(*stored) => stored == view,
                Some(stored) => self.long_equal(*stored, input, *view),
                None => false,
            };
        }
    }

    /// Whether an entry is the same text as a row's.
    pub(crate) fn equals(&self, entry: usize, input: &TextInput, row: usize) -> bool {
        let (stored, view) = (self.views[entry], input.views[row]);
        if is_long(stored) { self.long_equal(stored, input, view) } else { stored == view }
    }

    /// A row's text against an entry's, by bytes.
    pub(crate) fn compare_row(&self, entry: usize, input: &TextInput, row: usize) -> Ordering {
        let (mut left, mut right) = ([0; 16], [0; 16]);
        input.text(input.views[row], &mut left).cmp(self.bytes(entry, &mut right))
    }

    /// Two entries, by bytes.
    pub(crate) fn order(&self, left: usize, right: usize) -> Ordering {
        let (mut left_bytes, mut right_bytes) = ([0; 16], [0; 16]);
        self.bytes(left, &mut left_bytes).cmp(self.bytes(right, &mut right_bytes))
    }

    /// An entry's bytes, put into `short` where its view holds them.
    pub(crate) fn bytes<'a>(&'a self, entry: usize, short: &'a mut [u8; 16]) -> &'a [u8] {
        let view = self.views[entry];
        if is_long(view) { long_text(&self.full, &self.tail, view) } else { inline(view, short) }
    }

    /// Whether an entry is the empty string.
    pub(crate) fn is_empty_at(&self, entry: usize) -> bool {
        length(self.views[entry]) == 0
    }

    /// The bytes of an entry that stand in the arena.
    pub(crate) fn length(&self, entry: usize) -> u64 {
        let view = self.views[entry];
        if is_long(view) { u64::from(length(view)) } else { 0 }
    }

    /// Makes the arena fit to be shared with arrays.
    pub(crate) fn freeze(&mut self) {
        let mut tail = std::mem::take(&mut self.tail);
        self.close(&mut tail);
    }

    /// The chosen entries of a frozen column as an array; long texts are shared, not copied.
    ///
    /// # Errors
    /// [`Error::Internal`] where the column is not frozen or holds what is no UTF-8 where text is asked for.
    pub(crate) fn gather<T: ByteViewType + ?Sized>(
        &self,
        entries: &[u32],
        nulls: Option<NullBuffer>,
    ) -> Result<GenericByteViewArray<T>> {
        let block_of = |view: &u128| ByteView::from(*view).buffer_index;
        let mut views: Vec<u128> =
            entries.iter().map(|entry| self.views[*entry as usize]).collect();
        // Only the blocks from the first to the last that is pointed to go along.
        let (first, last) = views
            .iter()
            .filter(|view| is_long(**view))
            .map(block_of)
            .fold((u32::MAX, 0), |(first, last), block| (first.min(block), last.max(block)));
        let is_frozen = first > last || (last as usize) < self.full.len();
        let buffers = if first <= last {
            for view in views.iter_mut().filter(|view| is_long(**view)) {
                let mut parts = ByteView::from(*view);
                parts.buffer_index -= first;
                *view = parts.as_u128();
            }
            self.full.get(first as usize..=last as usize).unwrap_or_default()
        } else {
            &[]
        };
        let is_known = !self.has_binary || T::DATA_TYPE == DataType::BinaryView;
        let has_nulls = nulls.as_ref().is_none_or(|nulls| nulls.len() == views.len());
        if is_known && is_frozen && has_nulls {
            #[expect(unsafe_code, reason = "checking all text again takes as long as copying it")]
            // SAFETY: a view of the column is that of an array, copied as it is where it holds its
            // text itself, and otherwise moved to where `store` has put the same bytes, in a block
            // that is never changed again. The blocks from `first` to `last`, which are all that
            // the views point to, go along, and the views' indices count from `first`. All that is
            // in it came as text, which is UTF-8, where text is asked for.
            return Ok(unsafe {
                GenericByteViewArray::new_unchecked(views.into(), buffers.into(), nulls)
            });
        }
        GenericByteViewArray::try_new(views.into(), buffers.to_vec(), nulls)
            .map_err(|error| Error::Internal(format!("text of a table: {error}")))
    }

    fn long_equal(&self, stored: u128, input: &TextInput, view: u128) -> bool {
        // The low halves hold length and prefix.
        low(stored) == low(view)
            && long_text(&self.full, &self.tail, stored) == input.long_text(view)
    }

    /// Copies a text into the arena, where it is long, and gives its view there.
    fn store(&mut self, input: &TextInput, view: u128) -> u128 {
        if !is_long(view) {
            return view;
        }
        let text = input.long_text(view);
        if text.len() > self.tail.capacity() - self.tail.len() {
            let block = self.next_block_bytes().max(text.len());
            let mut tail = std::mem::replace(&mut self.tail, Vec::with_capacity(block));
            self.close(&mut tail);
        }
        let stored = moved(view, self.full.len(), self.tail.len());
        self.tail.extend_from_slice(text);
        self.live_bytes += text.len() as u64;
        self.written_bytes += text.len() as u64;
        stored
    }

    /// Adds a block to the full ones.
    fn close(&mut self, block: &mut Vec<u8>) {
        if !block.is_empty() {
            self.full_bytes += bytes_of(block);
            self.full.push(Buffer::from_vec(std::mem::take(block)));
        }
    }

    fn next_block_bytes(&self) -> usize {
        (self.tail.capacity() * 2).clamp(LEAST_BLOCK_BYTES, GREATEST_BLOCK_BYTES)
    }

    /// Whether more than half of the arena would be garbage after `more` bytes were replaced.
    fn has_garbage(&self, more: u64) -> bool {
        self.written_bytes + more > 2 * self.live_bytes + GREATEST_BLOCK_BYTES as u64
    }
}

fn length(view: u128) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "the length is the view's low 32 bits")]
    let length = view as u32;
    length
}

/// Length and prefix.
fn low(view: u128) -> u64 {
    #[expect(clippy::cast_possible_truncation, reason = "the view's low half")]
    let low = view as u64;
    low
}

fn is_long(view: u128) -> bool {
    length(view) > INLINE_BYTES
}

/// The same text at another place.
fn moved(view: u128, block: usize, offset: usize) -> u128 {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a block begins its last text below 1 MiB, and 2³² blocks are 4 PiB"
    )]
    let (buffer_index, offset) = (block as u32, offset as u32);
    ByteView { buffer_index, offset, ..ByteView::from(view) }.as_u128()
}

fn inline(view: u128, bytes: &mut [u8; 16]) -> &[u8] {
    *bytes = view.to_le_bytes();
    &bytes[4..4 + length(view) as usize]
}

fn long_text<'a>(full: &'a [Buffer], tail: &'a [u8], view: u128) -> &'a [u8] {
    let view = ByteView::from(view);
    let block = full.get(view.buffer_index as usize).map_or(tail, Buffer::as_slice);
    let start = view.offset as usize;
    &block[start..start + view.length as usize]
}

#[cfg(test)]
mod tests {
    use arrow::{
        array::{Array, StringViewArray},
        datatypes::StringViewType,
    };

    use super::{TextColumn, TextInput};

    fn input(texts: &[&str]) -> TextInput {
        TextInput::new(&StringViewArray::from(texts.to_vec()))
    }

    #[test]
    fn texts_of_all_lengths_come_back() {
        let long = "ñ".repeat(700_000);
        let texts = ["", "a", "abcdefghijkl", "abcdefghijklm", &long, "abcdefghijklmnop", &long];
        let rows = input(&texts);
        let mut column = TextColumn::default();
        column.append(&rows, 0..texts.len());
        for row in 0..texts.len() {
            assert!(column.equals(row, &rows, row));
            assert!(column.compare_row(row, &rows, row).is_eq());
            assert!(row == 3 || !column.equals(3, &rows, row));
        }
        column.freeze();
        let array = column.gather::<StringViewType>(&[6, 3, 0, 2], None).unwrap();
        let back: Vec<_> = array.iter().map(Option::unwrap).collect();
        assert_eq!(back, [&long, "abcdefghijklm", "", "abcdefghijkl"]);
        assert!(column.gather::<StringViewType>(&[0, 1], None).unwrap().data_buffers().is_empty());
    }

    #[test]
    fn replaced_texts_do_not_pile_up() {
        let texts: Vec<String> = (0..100).map(|n| format!("{n:0>1000}")).collect();
        let rows = input(&texts.iter().map(String::as_str).collect::<Vec<_>>());
        let mut column = TextColumn::default();
        column.resize(2);
        for round in 0..100 {
            for row in 0..100 {
                column.set((row + round) % 2, &rows, row);
            }
            column.collect_garbage();
        }
        assert!(column.memory_bytes() < 3 << 20, "{} bytes", column.memory_bytes());
        column.freeze();
        let array = column.gather::<StringViewType>(&[0, 1], None).unwrap();
        assert_eq!((array.value(0), array.value(1)), (texts[99].as_str(), texts[98].as_str()));
        assert_eq!(array.len(), 2);
    }

    #[test]
    fn growth_is_never_more_than_foretold() {
        let mut column = TextColumn::default();
        for length in [5, 13, 100, 2_000, 5_000_000, 13, 300_000] {
            let texts = vec!["x".repeat(length); 9];
            let rows = input(&texts.iter().map(String::as_str).collect::<Vec<_>>());
            let (before, foretold) = (column.memory_bytes(), column.growth(&rows, 9));
            column.append(&rows, 0..9);
            let grown = column.memory_bytes() - before;
            assert!(grown <= foretold.lasting_bytes, "{grown} > {foretold:?}");
        }
    }
}
