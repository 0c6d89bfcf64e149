//! Where the records of a quoted file begin: one sequential scan with the reader's own states.
//!
//! A quote opens a field only at the field's start, and inside quotes a doubled quote is one of
//! the text; anywhere else it is text. So all that has to be looked at are the quotes, and outside
//! of them the newlines next to the cuts. Where other characters have a meaning too (escapes,
//! comments, blanks that are no part of fields), every byte is looked at.

use crate::{
    Result,
    formats::csv::{Dialect, State},
    source::blocks::{BLOCK_BYTES, PinnedFile},
};

/// For each of the ascending `cuts` the start of the first record at or behind it, or `file_bytes`
/// where there is none. What a quote that is never closed makes of the rest is said by whoever
/// reads it.
///
/// - Memory: one block.
///
/// # Errors
/// `InputChanged`, `Io`.
pub(crate) fn record_starts(
    file: &PinnedFile,
    file_bytes: u64,
    dialect: Dialect,
    cuts: &[u64],
) -> Result<Vec<u64>> {
    let mut scan =
        Scan { dialect, state: State::RecordStart, cuts, starts: Vec::with_capacity(cuts.len()) };
    scan.take_cuts(0);
    let mut preamble = Preamble { comment: dialect.comment, ..Preamble::default() };
    file.scan(0..file_bytes, BLOCK_BYTES, |piece, offset| {
        // A byte order mark is no part of the first field.
        let mark = if offset == 0 && piece.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        preamble.pass(&piece[mark..], offset + mark as u64);
        scan.pass(&piece[mark..], offset + mark as u64);
        // The last cut is the file's end, and known.
        let is_found = scan.starts.len() + 1 >= cuts.len() && cuts.last() == Some(&file_bytes);
        Ok((is_found && preamble.end.is_some()).then_some(()))
    })?;
    scan.starts.resize(cuts.len(), file_bytes);
    // What stands before the first record stays with it: only the split that begins at the file's
    // first byte looks for a header, and it must find it.
    let leading = preamble.end.unwrap_or(0);
    for start in scan.starts.iter_mut().filter(|start| **start <= leading) {
        *start = 0;
    }
    Ok(scan.starts)
}

/// Blank lines and comments before a file's first record.
#[derive(Default)]
struct Preamble {
    comment: Option<u8>,
    in_comment: bool,
    /// Where the first record begins.
    end: Option<u64>,
}

impl Preamble {
    fn pass(&mut self, piece: &[u8], offset: u64) {
        if self.end.is_some() {
            return;
        }
        for (at, byte) in piece.iter().enumerate() {
            if self.in_comment || matches!(byte, b'\n' | b'\r') {
                self.in_comment &= *byte != b'\n';
            } else if self.comment == Some(*byte) {
                self.in_comment = true;
            } else {
                self.end = Some(offset + at as u64);
                return;
            }
        }
    }
}

struct Scan<'a> {
    dialect: Dialect,
    state: State,
    cuts: &'a [u64],
    /// The answers so far, one for each of the first cuts.
    starts: Vec<u64>,
}

impl Scan<'_> {
    /// A record begins at `start`: the answer to all cuts up to there that have none.
    fn take_cuts(&mut self, start: u64) {
        while self.cuts.get(self.starts.len()).is_some_and(|cut| *cut <= start) {
            self.starts.push(start);
        }
    }

    /// Goes through `piece`, which stands at `offset`.
    fn pass(&mut self, piece: &[u8], offset: u64) {
        match self.dialect.quote {
            Some(quote) if self.dialect.is_plain() => self.pass_quotes(piece, offset, quote),
            _ => self.pass_bytes(piece, offset),
        }
    }

    /// Every byte by itself.
    fn pass_bytes(&mut self, piece: &[u8], offset: u64) {
        for (at, byte) in piece.iter().enumerate() {
            self.state = self.dialect.step(self.state, *byte);
            if self.state == State::RecordStart {
                self.take_cuts(offset + at as u64 + 1);
            }
        }
    }

    /// From quote to quote.
    fn pass_quotes(&mut self, piece: &[u8], offset: u64, quote: u8) {
        let mut at = 0;
        while at < piece.len() {
            match self.state {
                State::Quoted => match memchr::memchr(quote, &piece[at..]) {
                    Some(found) => {
                        at += found + 1;
                        self.state = State::QuoteSeen;
                    }
                    None => return,
                },
                State::QuoteSeen | State::FieldStart | State::RecordStart
                    if piece[at] == quote =>
                {
                    at += 1;
                    self.state = State::Quoted;
                }
                State::FieldStart
                | State::RecordStart
                | State::Unquoted
                | State::QuoteSeen
                // A plain dialect has neither.
                | State::Escaped
                | State::Comment => {
                    at = self.pass_unquoted(piece, at, offset, quote);
                }
            }
        }
    }

    /// Goes through what is outside of quotes from `from` to the next quote that opens a field, or
    /// to the end of the piece, and returns its end.
    fn pass_unquoted(&mut self, piece: &[u8], from: usize, offset: u64, quote: u8) -> usize {
        let opening = memchr::memchr_iter(quote, &piece[from + 1..])
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
        self.state = match passed.last() {
            Some(last) if self.ends_field(*last) => State::FieldStart,
            _ => State::Unquoted,
        };
        end
    }

    fn ends_field(&self, byte: u8) -> bool {
        byte == self.dialect.delimiter || byte == b'\n'
    }
}
