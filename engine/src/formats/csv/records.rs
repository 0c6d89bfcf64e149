//! Records of CSV and their fields, as places in a block.

use super::{Dialect, Nulls, bits::bits, dialect::State, plain::Plain};
use crate::formats::{
    BATCH_ROWS, BadRecord, BadRecords, MAX_RECORD_BYTES, Refusal,
    block::Block,
    fields::{Field, Fields, Kind, Unescape},
};

/// What tells a file's fields apart and what they mean.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    /// The characters.
    pub(crate) dialect: Dialect,
    /// Texts that stand for no value.
    pub(crate) nulls: Nulls,
    /// Whether fields that a record lacks at its end are nulls.
    pub(crate) pads: bool,
}

impl Layout {
    /// What is escaped in quoted fields.
    pub(crate) fn unescape(&self) -> Unescape {
        let quote = self.dialect.quote.unwrap_or(b'"');
        Unescape::Csv { quote, escape: self.dialect.escape.unwrap_or(quote) }
    }

    fn unquoted(&self, bytes: &[u8], start: usize, end: usize) -> Field {
        let mut end = end;
        if self.dialect.trim {
            while end > start && self.dialect.is_blank(bytes[end - 1]) {
                end -= 1;
            }
        }
        if start == end || self.nulls.contains(&bytes[start..end]) {
            Field::NULL
        } else {
            Field::new(start, end, Kind::Text)
        }
    }

    fn behind_blanks(&self, bytes: &[u8], from: usize) -> usize {
        let mut at = from;
        if self.dialect.trim {
            while bytes.get(at).is_some_and(|byte| self.dialect.is_blank(*byte)) {
                at += 1;
            }
        }
        at
    }

    /// Behind the lines from `from` on that are no records: empty ones where `skips_blank`, and
    /// comments.
    ///
    /// # Errors
    /// Where a comment begins that has no end in the bytes yet.
    fn behind_no_records(
        &self,
        bytes: &[u8],
        from: usize,
        skips_blank: bool,
        is_last: bool,
    ) -> Result<usize, usize> {
        let mut at = from;
        loop {
            if skips_blank && let Some(blank) = blank_line(&bytes[at..]) {
                at += blank;
            } else if self.dialect.comment.is_some()
                && bytes.get(at).copied() == self.dialect.comment
            {
                match memchr::memchr(b'\n', &bytes[at..]) {
                    Some(newline) => at += newline + 1,
                    None if is_last => return Ok(bytes.len()),
                    None => return Err(at),
                }
            } else {
                return Ok(at);
            }
        }
    }
}

/// The names in the header of the file whose first block this is, and where its records begin;
/// `None` if the header is not wholly in the block.
pub(crate) fn header(
    block: &Block,
    layout: &Layout,
) -> Result<Option<(Vec<String>, usize)>, Refusal> {
    let bytes = block.text().as_bytes();
    let is_last = block.ends_with_text();
    let from = block.behind_byte_order_mark(0);
    let Ok(from) = layout.behind_no_records(bytes, from, true, is_last) else { return Ok(None) };
    if from == bytes.len() {
        return Ok(None);
    }
    let mut fields = Vec::new();
    let mut ends = Ends::new(layout.dialect.delimiter);
    match record(bytes, from, layout, &mut ends, is_last, &mut fields) {
        Record::Whole { next } => {
            let names: Vec<String> =
                fields.iter().map(|field| string(block, layout, *field)).collect();
            if names.iter().any(|name| name.contains('\r')) {
                // The file's lines end with it, or every row would be part of the header.
                let reason = String::from(
                    "the header holds a carriage return: lines end with LF or CRLF, not with CR",
                );
                let record = BadRecord { range: from..next, column: None, reason };
                return Err(Refusal::BadRecord(record));
            }
            Ok(Some((names, next)))
        }
        Record::Cut => match cut_off(block, from)? {
            Some(record) => Err(Refusal::BadRecord(record)),
            None if block.invalid_line().is_some() => {
                let mut none = BadRecords::default();
                block.ran_out(from, &mut none).map(|_| None)
            }
            None => Ok(None),
        },
        Record::Bad { at } => {
            let record = behind_quote(from..block.line_at(at).end);
            Err(Refusal::BadRecord(record))
        }
    }
}

/// A field's text; nothing for a null.
fn string(block: &Block, layout: &Layout, field: Field) -> String {
    let text = &block.text()[field.range()];
    if field.kind() == Kind::Escaped {
        let mut unescaped = String::new();
        layout.unescape().append(text, &mut unescaped);
        return unescaped;
    }
    text.to_owned()
}

/// Whether a header names what is expected of it.
pub(crate) fn check_header(
    block: &Block,
    expected: &[String],
    found: &[String],
    end: usize,
) -> Result<(), Refusal> {
    if expected == found {
        return Ok(());
    }
    let start = block.behind_byte_order_mark(0);
    let mut end = end;
    while end > start && matches!(block.bytes()[end - 1], b'\n' | b'\r') {
        end -= 1;
    }
    let names = |names: &[String]| format!("`{}`", names.join("`, `"));
    let record = BadRecord {
        range: start..end,
        column: None,
        reason: format!(
            "the header names {}, expected {}",
            names(found).escape_debug(),
            names(expected).escape_debug()
        ),
    };
    Err(Refusal::BadRecord(record))
}

/// Fills `fields` with the records from `from` on, a batch at most, the bad ones left out, and says
/// where the first one begins that is in neither.
///
/// # Errors
/// The first record is bad and none is tolerated, or it is cut and can't become whole.
pub(crate) fn split(
    block: &Block,
    from: usize,
    layout: &Layout,
    fields: &mut Fields,
    bad: &mut BadRecords,
) -> Result<usize, Refusal> {
    fields.clear();
    let bytes = block.text().as_bytes();
    let is_last = block.ends_with_text();
    let width = fields.width;
    let mut ends = Ends::new(layout.dialect.delimiter);
    let mut plain = Plain::of(layout);
    let mut start = from;
    while fields.records.len() + bad.found.len() < BATCH_ROWS && start < bytes.len() {
        if let Some(plain) = &mut plain {
            start = plain.records(bytes, start, fields, BATCH_ROWS - bad.found.len());
            if fields.records.len() + bad.found.len() >= BATCH_ROWS || start >= bytes.len() {
                break;
            }
        }
        match layout.behind_no_records(bytes, start, width != 1, is_last) {
            Ok(behind) if behind != start => {
                start = behind;
                continue;
            }
            Ok(_) => {}
            Err(comment) => return Ok(behind_comment(block, comment)),
        }
        let before = fields.places.len();
        let refused = match record(bytes, start, layout, &mut ends, is_last, &mut fields.places) {
            Record::Whole { next } => {
                let found = fields.places.len() - before;
                let end = record_end(bytes, start, next);
                if (end - start) as u64 > MAX_RECORD_BYTES {
                    Err(Refusal::TooLarge { start })
                } else if found == width || (layout.pads && found < width) {
                    fields.places.resize(before + width, Field::NULL);
                    fields.add(start..end);
                    start = next;
                    continue;
                } else {
                    let reason = format!("expected {width} fields, found {found}");
                    bad.take(BadRecord { range: start..end, column: None, reason }).map(|()| next)
                }
            }
            Record::Cut => {
                fields.places.truncate(before);
                return cut(block, start, layout, fields, bad);
            }
            Record::Bad { at } if bad.are_tolerated => {
                let all = block.bytes();
                match layout.dialect.record_end(all, at, State::QuoteSeen) {
                    Some(next) => {
                        let record = behind_quote(start..record_end(all, start, next));
                        bad.take(record).map(|()| next)
                    }
                    None if block.is_last() => {
                        bad.take(behind_quote(start..all.len())).map(|()| all.len())
                    }
                    None => {
                        fields.places.truncate(before);
                        return too_large_or(block, start);
                    }
                }
            }
            Record::Bad { at } => {
                let line = block.line_at(at);
                Err(Refusal::BadRecord(behind_quote(start..line.end)))
            }
        };
        fields.places.truncate(before);
        match refused {
            Ok(next) => start = next,
            Err(refusal) if fields.records.is_empty() => return Err(refusal),
            Err(_) => return Ok(start),
        }
    }
    if start >= bytes.len() && fields.records.is_empty() && bad.found.is_empty() {
        return cut(block, start, layout, fields, bad);
    }
    Ok(start)
}

/// What there is to say of a record that has no end in the block's text: it gets one with more
/// bytes, or what cuts it off makes it bad.
fn cut(
    block: &Block,
    start: usize,
    layout: &Layout,
    fields: &Fields,
    bad: &mut BadRecords,
) -> Result<usize, Refusal> {
    let is_first = fields.records.is_empty() && bad.found.is_empty();
    if !is_first {
        // It comes again, as the first one.
        return Ok(start);
    }
    if block.invalid_line().is_some() && start <= block.text().len() {
        let all = block.bytes();
        let state = State::RecordStart;
        let next = match layout.dialect.record_end(all, start, state) {
            _ if !bad.are_tolerated => return block.ran_out(start, bad).map(|decoded| decoded.end),
            Some(next) => next,
            None if block.is_last() => all.len(),
            None => return too_large_or(block, start),
        };
        let range = start..record_end(all, start, next);
        let reason = String::from("expected UTF-8 text (of another encoding? set `encoding`)");
        bad.take(BadRecord { range, column: None, reason })?;
        return Ok(next);
    }
    if let Some(record) = cut_off(block, start)? {
        bad.take(record)?;
        return Ok(block.text().len());
    }
    Ok(start)
}

/// Where the comment from `start` on ends, which has no end in the block's text: it need not be text.
/// Its start, where more bytes are needed.
fn behind_comment(block: &Block, start: usize) -> usize {
    let all = block.bytes();
    match block.invalid_line().and_then(|_| memchr::memchr(b'\n', &all[start..])) {
        Some(newline) => start + newline + 1,
        None if block.is_last() => all.len(),
        None => start,
    }
}

/// More bytes are needed, unless there are too many already.
fn too_large_or(block: &Block, start: usize) -> Result<usize, Refusal> {
    if (block.bytes().len() - start) as u64 > MAX_RECORD_BYTES {
        return Err(Refusal::TooLarge { start });
    }
    Ok(start)
}

/// How many bytes the line that `bytes` begin with has, if it is an empty one.
fn blank_line(bytes: &[u8]) -> Option<usize> {
    match bytes {
        [b'\n', ..] => Some(1),
        [b'\r', b'\n', ..] => Some(2),
        _ => None,
    }
}

/// The end of a record without its line break.
fn record_end(bytes: &[u8], start: usize, next: usize) -> usize {
    match &bytes[start..next] {
        [.., b'\r', b'\n'] => next - 2,
        [.., b'\n'] => next - 1,
        _ => next,
    }
}

/// The record that the end of the file cuts off; `None` where more bytes may come.
fn cut_off(block: &Block, start: usize) -> Result<Option<BadRecord>, Refusal> {
    let text_bytes = block.text().len();
    if (text_bytes - start.min(text_bytes)) as u64 > MAX_RECORD_BYTES {
        return Err(Refusal::TooLarge { start });
    }
    let is_cut = block.ends_with_text() && start < text_bytes;
    Ok(is_cut.then(|| BadRecord {
        range: start..text_bytes,
        column: None,
        reason: String::from("a quote is opened and never closed"),
    }))
}

fn behind_quote(range: std::ops::Range<usize>) -> BadRecord {
    let reason = String::from("expected a delimiter or the line's end behind a closing quote");
    BadRecord { range, column: None, reason }
}

/// How a record ended.
enum Record {
    /// Whole; the next one begins there.
    Whole { next: usize },
    /// The bytes end before the record does.
    Cut,
    /// Something stands behind a closing quote at `at`.
    Bad { at: usize },
}

/// Appends the fields of the record at `start`; `is_last` if the end of the bytes ends it too.
#[inline]
fn record(
    bytes: &[u8],
    start: usize,
    layout: &Layout,
    ends: &mut Ends,
    is_last: bool,
    fields: &mut Vec<Field>,
) -> Record {
    let mut at = start;
    loop {
        at = layout.behind_blanks(bytes, at);
        if let Some(quote) = layout.dialect.quote
            && bytes.get(at) == Some(&quote)
        {
            let found = quoted(bytes, at, quote, layout.dialect.escape, is_last);
            let Some((field, closed)) = found else { return Record::Cut };
            fields.push(field);
            let behind = layout.behind_blanks(bytes, closed);
            match &bytes[behind..] {
                [] if !is_last && behind > closed => return Record::Cut,
                [] => return Record::Whole { next: behind },
                [b'\n', ..] => return Record::Whole { next: behind + 1 },
                [b'\r', b'\n', ..] => return Record::Whole { next: behind + 2 },
                [b'\r'] if !is_last => return Record::Cut,
                [other, ..] if *other == ends.delimiter => at = behind + 1,
                // The states know nothing of blanks there.
                [_, ..] => return Record::Bad { at: closed },
            }
            continue;
        }
        let Some(end) = ends.next(bytes, at) else {
            if !is_last {
                return Record::Cut;
            }
            fields.push(layout.unquoted(bytes, at, bytes.len()));
            return Record::Whole { next: bytes.len() };
        };
        if bytes[end] == b'\n' {
            let has_return = end > at && bytes[end - 1] == b'\r';
            fields.push(layout.unquoted(bytes, at, end - usize::from(has_return)));
            return Record::Whole { next: end + 1 };
        }
        fields.push(layout.unquoted(bytes, at, end));
        at = end + 1;
    }
}

/// The field whose opening quote is at `open`, and what is behind its closing quote; `None` if the
/// bytes end before that is certain.
fn quoted(
    bytes: &[u8],
    open: usize,
    quote: u8,
    escape: Option<u8>,
    is_last: bool,
) -> Option<(Field, usize)> {
    let start = open + 1;
    let mut at = start;
    let mut kind = Kind::Text;
    loop {
        let found = at + memchr::memchr2(quote, escape.unwrap_or(quote), bytes.get(at..)?)?;
        if bytes[found] != quote {
            kind = Kind::Escaped;
            at = found + 2;
            continue;
        }
        match bytes.get(found + 1) {
            Some(next) if *next == quote => {
                kind = Kind::Escaped;
                at = found + 2;
            }
            None if !is_last => return None,
            _ => return Some((Field::new(start, found, kind), found + 1)),
        }
    }
}

/// Finds where fields end outside of quotes. It looks at 64 bytes at once and remembers what it
/// saw, because fields are much shorter than that.
pub(crate) struct Ends {
    delimiter: u8,
    /// Where the bytes begin that were looked at.
    base: usize,
    /// A bit for each of them: whether it is a delimiter or a newline. None before the first look.
    found: Option<u64>,
}

impl Ends {
    pub(crate) fn new(delimiter: u8) -> Self {
        Self { delimiter, base: 0, found: None }
    }

    /// The first delimiter or newline from `from` on. `bytes` are always the same, and `from`
    /// never goes back.
    #[inline]
    pub(crate) fn next(&mut self, bytes: &[u8], from: usize) -> Option<usize> {
        let mut from = from;
        loop {
            // A base behind `from` is one that a longer search has left: it is of no use here.
            let skipped = from.wrapping_sub(self.base);
            if let Some(found) = self.found
                && skipped < 64
            {
                let found = found >> skipped;
                if found != 0 {
                    return Some(from + found.trailing_zeros() as usize);
                }
                from = self.base + 64;
            }
            if from >= bytes.len() {
                return None;
            }
            self.base = from;
            self.found = Some(match bytes[from..].first_chunk::<64>() {
                Some(chunk) => bits(chunk, self.delimiter) | bits(chunk, b'\n'),
                None => bits_of_few(&bytes[from..], self.delimiter, b'\n'),
            });
        }
    }
}

/// A bit for each byte that is one of two, of at most 64 bytes.
fn bits_of_few(bytes: &[u8], one: u8, other: u8) -> u64 {
    bytes.iter().rev().fold(0, |found, byte| found << 1 | u64::from(*byte == one || *byte == other))
}
