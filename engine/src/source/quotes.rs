//! Where the records of a quoted file begin: a scan with the reader's own states.
//!
//! A quote opens a field only at the field's start, and inside quotes a doubled quote is one of
//! the text; anywhere else it is text. So all that has to be looked at are the quotes, and outside
//! of them the newlines next to the cuts. Where other characters have a meaning too (escapes,
//! comments, blanks that are no part of fields), every byte is looked at.
//!
//! What lies between two quotes can be passed without knowing what is before it. So several threads
//! first look for the parts of the file without a quote, which for most files are all, and one
//! then goes through the rest in its order.

use std::{
    ops::Range,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use crate::{
    Error, Result,
    formats::csv::{Dialect, State},
    source::blocks::{BLOCK_BYTES, PinnedFile},
};

/// Threads look at so many bytes of a file at a time.
const UNIT_BYTES: u64 = 8 << 20;
/// How much of that is read at once: what a core's cache keeps until it has been looked at.
const PIECE_BYTES: usize = 128 << 10;
/// More threads would wait for the disk or the memory.
const MOST_THREADS: usize = 4;
/// How much is read at once to find a newline.
const SEEK_BYTES: usize = 16 << 10;

/// For each of the ascending `cuts` the start of the first record at or behind it, or `file_bytes`
/// where there is none. What a quote that is never closed makes of the rest is said by whoever
/// reads it.
///
/// - Memory: one block, and a piece of 128 KiB for each of at most four threads.
///
/// # Errors
/// `InputChanged`, `Io`.
pub(crate) fn record_starts(
    file: &PinnedFile,
    file_bytes: u64,
    dialect: Dialect,
    cuts: &[u64],
) -> Result<Vec<u64>> {
    record_starts_by(file, file_bytes, dialect, cuts, UNIT_BYTES)
}

/// [`record_starts`], with units of any length of 3 bytes and more: a byte order mark is in one.
pub(super) fn record_starts_by(
    file: &PinnedFile,
    file_bytes: u64,
    dialect: Dialect,
    cuts: &[u64],
    unit_bytes: u64,
) -> Result<Vec<u64>> {
    let mut scan =
        Scan { dialect, state: State::RecordStart, cuts, starts: Vec::with_capacity(cuts.len()) };
    scan.take_cuts(0);
    let mut preamble = Preamble { comment: dialect.comment, ..Preamble::default() };
    let units: Vec<Range<u64>> = (0..file_bytes.div_ceil(unit_bytes))
        .map(|unit| unit * unit_bytes..file_bytes.min((unit + 1) * unit_bytes))
        .collect();
    let without_quote = match dialect.quote {
        Some(quote) if dialect.is_plain() && units.len() > 1 => look(file, &units, quote)?,
        _ => vec![None; units.len()],
    };
    for (unit, last) in units.into_iter().zip(without_quote) {
        // The last cut is the file's end, and known.
        let is_found = scan.starts.len() + 1 >= cuts.len() && cuts.last() == Some(&file_bytes);
        if is_found && preamble.end.is_some() {
            break;
        }
        if let Some(last) = last
            && preamble.end.is_some()
        {
            scan.skip(file, unit, last)?;
            continue;
        }
        file.scan(unit, BLOCK_BYTES, |piece, offset| {
            // A byte order mark is no part of the first field.
            let mark = if offset == 0 && piece.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
            preamble.pass(&piece[mark..], offset + mark as u64);
            scan.pass(&piece[mark..], offset + mark as u64);
            Ok(None::<()>)
        })?;
    }
    scan.starts.resize(cuts.len(), file_bytes);
    // What stands before the first record stays with it: only the split that begins at the file's
    // first byte looks for a header, and it must find it.
    let leading = preamble.end.unwrap_or(0);
    for start in scan.starts.iter_mut().filter(|start| **start <= leading) {
        *start = 0;
    }
    Ok(scan.starts)
}

/// The last byte of each unit without a quote; `None` for the others.
fn look(file: &PinnedFile, units: &[Range<u64>], quote: u8) -> Result<Vec<Option<u8>>> {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let threads = threads.min(MOST_THREADS).min(units.len());
    let next = AtomicUsize::new(0);
    let work = || {
        let mut found = Vec::new();
        while let Some((at, unit)) = {
            let at = next.fetch_add(1, Ordering::Relaxed);
            units.get(at).map(|unit| (at, unit))
        } {
            found.push((at, last_without(file, unit.clone(), quote)?));
        }
        Ok(found)
    };
    let found: Vec<Result<Vec<_>>> = thread::scope(|scope| {
        let threads: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mine = work();
        let theirs = threads.into_iter().map(|thread| {
            let panicked = || Error::Internal(String::from("a thread that looks for quotes"));
            thread.join().unwrap_or_else(|_| Err(panicked()))
        });
        let mut all: Vec<_> = theirs.collect();
        all.push(mine);
        all
    });
    let mut lasts = vec![None; units.len()];
    for of_thread in found {
        for (at, last) in of_thread? {
            lasts[at] = last;
        }
    }
    Ok(lasts)
}

/// The last byte of a range without a quote.
fn last_without(file: &PinnedFile, range: Range<u64>, quote: u8) -> Result<Option<u8>> {
    let mut last = None;
    let found = file.scan(range, PIECE_BYTES, |piece, _| {
        last = piece.last().copied();
        Ok(memchr::memchr(quote, piece))
    })?;
    Ok(last.filter(|_| found.is_none()))
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

    /// Passes over a range without a quote that ends with `last`.
    fn skip(&mut self, file: &PinnedFile, range: Range<u64>, last: u8) -> Result<()> {
        if self.state == State::Quoted {
            return Ok(());
        }
        while let Some(cut) = self.cuts.get(self.starts.len()).copied() {
            let from = cut.saturating_sub(1).max(range.start);
            let newline = file.scan(from..range.end, SEEK_BYTES, |piece, offset| {
                Ok(memchr::memchr(b'\n', piece).map(|newline| offset + newline as u64))
            })?;
            match newline {
                Some(newline) => self.take_cuts(newline + 1),
                None => break,
            }
        }
        self.state = self.behind(last);
        Ok(())
    }

    /// The state behind a byte outside of quotes that opens none.
    fn behind(&self, byte: u8) -> State {
        if self.ends_field(byte) { State::FieldStart } else { State::Unquoted }
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
        self.state = passed.last().map_or(State::Unquoted, |last| self.behind(*last));
        end
    }

    fn ends_field(&self, byte: u8) -> bool {
        byte == self.dialect.delimiter || byte == b'\n'
    }
}
