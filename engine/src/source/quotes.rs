//! Where the records of a quoted file begin: one sequential scan with the reader's own states.
//!
//! A quote opens a field only at the field's start, and inside quotes a doubled quote is one of
//! the text; anywhere else it is text. So all that has to be looked at are the quotes, and outside
//! of them the newlines next to the cuts.

use crate::{
    Result,
    formats::MAX_RECORD_BYTES,
    source::blocks::{BLOCK_BYTES, PinnedFile, at_most},
};

/// How much of a record without an end is read again for the message.
const HEAD_BYTES: usize = 256;

/// For each of the ascending `cuts` the start of the first record at or behind it, or `file_bytes`
/// where there is none.
///
/// - Memory: one block.
///
/// # Errors
/// `BadRow` where a quote is open at the file's end, `RecordTooLarge` where it makes a record of
/// more than 16 MiB, both at the record that has the quote; `InputChanged`, `Io`.
pub(crate) fn record_starts(
    file: &PinnedFile,
    file_bytes: u64,
    delimiter: u8,
    cuts: &[u64],
) -> Result<Vec<u64>> {
    let mut scan = Scan {
        delimiter,
        state: State::FieldStart,
        record_start: 0,
        cuts,
        starts: Vec::with_capacity(cuts.len()),
    };
    scan.take_cuts(0);
    let mut content_start = None;
    file.scan(0..file_bytes, BLOCK_BYTES, |piece, offset| {
        // A byte order mark is no part of the first field.
        let mark = if offset == 0 && piece.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        let is_content = |byte: &u8| !matches!(byte, b'\n' | b'\r');
        if content_start.is_none()
            && let Some(at) = piece[mark..].iter().position(is_content)
        {
            content_start = Some(offset + (mark + at) as u64);
        }
        scan.pass(&piece[mark..], offset + mark as u64);
        let behind = offset + piece.len() as u64;
        if scan.is_quoted() && behind - scan.record_start > MAX_RECORD_BYTES {
            return Err(file.too_large(scan.record_start));
        }
        Ok(None::<()>)
    })?;
    if matches!(scan.state, State::Quoted) {
        let mut head = vec![0; at_most(file_bytes - scan.record_start, HEAD_BYTES)];
        file.read(&mut head, scan.record_start)?;
        let reason = String::from("a quote is opened and never closed");
        return Err(file.bad_row(scan.record_start, None, &head, reason));
    }
    scan.starts.resize(cuts.len(), file_bytes);
    // Blank lines before the first record stay with it: only the split that begins at the file's
    // first byte looks for a header, and it must find it.
    let leading = content_start.unwrap_or(0);
    for start in scan.starts.iter_mut().filter(|start| **start <= leading) {
        *start = 0;
    }
    Ok(scan.starts)
}

/// What the reader is in, in front of a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// At the first byte of a field, where a quote opens.
    FieldStart,
    /// Anywhere else outside of quotes.
    Unquoted,
    /// Inside quotes.
    Quoted,
    /// Behind a quote inside quotes: a second one is text, anything else is outside.
    QuoteSeen,
}

struct Scan<'a> {
    delimiter: u8,
    state: State,
    /// Where the current record begins.
    record_start: u64,
    cuts: &'a [u64],
    /// The answers so far, one for each of the first cuts.
    starts: Vec<u64>,
}

impl Scan<'_> {
    fn is_quoted(&self) -> bool {
        matches!(self.state, State::Quoted | State::QuoteSeen)
    }

    /// A record begins at `start`: the answer to all cuts up to there that have none.
    fn take_cuts(&mut self, start: u64) {
        while self.cuts.get(self.starts.len()).is_some_and(|cut| *cut <= start) {
            self.starts.push(start);
        }
    }

    /// Goes through `piece`, which stands at `offset`.
    fn pass(&mut self, piece: &[u8], offset: u64) {
        let mut at = 0;
        while at < piece.len() {
            match self.state {
                State::Quoted => match memchr::memchr(b'"', &piece[at..]) {
                    Some(quote) => {
                        at += quote + 1;
                        self.state = State::QuoteSeen;
                    }
                    None => return,
                },
                State::QuoteSeen | State::FieldStart if piece[at] == b'"' => {
                    at += 1;
                    self.state = State::Quoted;
                }
                State::FieldStart | State::Unquoted | State::QuoteSeen => {
                    at = self.pass_unquoted(piece, at, offset);
                }
            }
        }
    }

    /// Goes through what is outside of quotes from `from` to the next quote that opens a field, or
    /// to the end of the piece, and returns its end.
    fn pass_unquoted(&mut self, piece: &[u8], from: usize, offset: u64) -> usize {
        let opening = memchr::memchr_iter(b'"', &piece[from + 1..])
            .map(|quote| from + 1 + quote)
            .find(|quote| self.ends_field(piece[quote - 1]));
        let end = opening.unwrap_or(piece.len());
        let passed = &piece[from..end];
        while let Some(cut) = self.cuts.get(self.starts.len()) {
            // The first newline at or behind `cut - 1`.
            let skipped = (cut - 1).saturating_sub(offset + from as u64);
            let skipped = usize::try_from(skipped).unwrap_or(usize::MAX).min(passed.len());
            match memchr::memchr(b'\n', &passed[skipped..]) {
                Some(newline) => {
                    self.take_cuts(offset + (from + skipped + newline + 1) as u64);
                }
                None => break,
            }
        }
        if let Some(newline) = memchr::memrchr(b'\n', passed) {
            self.record_start = offset + (from + newline + 1) as u64;
        }
        self.state = match passed.last() {
            Some(last) if self.ends_field(*last) => State::FieldStart,
            _ => State::Unquoted,
        };
        end
    }

    fn ends_field(&self, byte: u8) -> bool {
        byte == self.delimiter || byte == b'\n'
    }
}
