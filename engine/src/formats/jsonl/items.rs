//! [`Items`]: where the records of a JSON file are, one a line or one an element of an array.
//!
//! A file whose first character is `[` is one array of objects, over as many lines as it likes. Its
//! elements are told apart by brackets and quotes alone, so that a bad one ends where it ends.

use std::ops::Range;

use super::scan::{is_blank, value_end};
use crate::formats::{BadRecord, block::Block};

/// A walk over the records of a block, from block to block.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Items {
    at: usize,
    place: Place,
}

/// Where in an array the walk is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// Before its bracket.
    #[default]
    Outside,
    /// Behind the bracket.
    First,
    /// Behind a comma.
    Item,
    /// Behind an element.
    Behind,
    /// Behind the closing bracket.
    Closed,
}

/// What comes next.
pub(crate) enum Next {
    /// A record, without the blanks around it.
    Record(Range<usize>),
    /// Something that is none.
    Bad(BadRecord),
    /// No whole record any more.
    None,
}

impl Items {
    /// The walk goes on at `from`.
    pub(crate) fn at(self, block: &Block, from: usize) -> Self {
        Self { at: block.behind_byte_order_mark(from), ..self }
    }

    /// Where the next record begins, or what is before it.
    pub(crate) fn position(self) -> usize {
        self.at
    }

    /// The walk stands in front of the element at `at` again.
    pub(crate) fn back_to(&mut self, at: usize) {
        *self = Self { at, place: Place::Item };
    }

    /// The next record.
    pub(crate) fn next(&mut self, block: &Block) -> Next {
        if block.is_whole() { self.next_element(block) } else { self.next_line(block) }
    }

    /// The next line with something in it.
    fn next_line(&mut self, block: &Block) -> Next {
        let bytes = block.text().as_bytes();
        if self.at > bytes.len() {
            return Next::None;
        }
        loop {
            let start = self.at;
            let end = match memchr::memchr(b'\n', &bytes[start..]) {
                Some(newline) => {
                    self.at = start + newline + 1;
                    start + newline
                }
                None if block.ends_with_text() && start < bytes.len() => {
                    self.at = bytes.len();
                    bytes.len()
                }
                None => return Next::None,
            };
            let line = &bytes[start..end];
            let Some(first) = line.iter().position(|byte| !is_blank(*byte)) else { continue };
            let blanks = line.iter().rev().take_while(|byte| is_blank(**byte)).count();
            return Next::Record(start + first..end - blanks);
        }
    }

    /// The next element of the array.
    fn next_element(&mut self, block: &Block) -> Next {
        let text_bytes = block.text().len();
        loop {
            if self.at > text_bytes {
                return Next::None;
            }
            // All bytes are looked at: where text is invalid, the element that it is in ends too.
            let bytes = block.bytes();
            let Some(at) = bytes[self.at..].iter().position(|byte| !is_blank(*byte)) else {
                if !block.is_last() || self.place == Place::Closed {
                    self.at = bytes.len();
                    return Next::None;
                }
                let reason = String::from("the array is never closed");
                (self.at, self.place) = (bytes.len(), Place::Closed);
                return Next::Bad(BadRecord { range: self.at..self.at, column: None, reason });
            };
            self.at += at;
            match (self.place, bytes[self.at]) {
                (Place::Outside, b'[') => self.step(Place::First),
                (Place::First | Place::Behind, b']') => self.step(Place::Closed),
                (Place::Behind, b',') => self.step(Place::Item),
                (Place::First | Place::Item, _) => {
                    let start = self.at;
                    let end = match value_end(bytes, start) {
                        Some(end) => end,
                        None if block.is_last() => {
                            let reason = "the element is never closed";
                            return self.bad(start..bytes.len(), reason, Place::Closed);
                        }
                        None => return Next::None,
                    };
                    if end == start {
                        // A comma or bracket where an element should be.
                        let place = if bytes[start] == b']' { Place::Closed } else { Place::Item };
                        return self.bad(start..start + 1, "expected an object", place);
                    }
                    if end > text_bytes && block.invalid_line().is_none() {
                        return Next::None;
                    }
                    if end > text_bytes {
                        return self.bad(
                            start..end,
                            "expected UTF-8 text (of another encoding? set `encoding`)",
                            Place::Behind,
                        );
                    }
                    (self.at, self.place) = (end, Place::Behind);
                    return Next::Record(start..end);
                }
                (Place::Outside | Place::Behind | Place::Closed, _) => {
                    let start = self.at;
                    let (expected, separator) = match self.place {
                        Place::Behind => ("expected `,` or `]` behind an element", b','),
                        _ => ("expected nothing outside of the array", b'\n'),
                    };
                    let end = memchr::memchr(separator, &bytes[start + 1..]);
                    let end = match end {
                        Some(length) => start + 1 + length,
                        None if block.is_last() => bytes.len(),
                        None => return Next::None,
                    };
                    return self.bad(start..end, expected, self.place);
                }
            }
        }
    }

    fn step(&mut self, place: Place) {
        *self = Self { at: self.at + 1, place };
    }

    fn bad(&mut self, range: Range<usize>, reason: &str, place: Place) -> Next {
        *self = Self { at: range.end, place };
        Next::Bad(BadRecord { range, column: None, reason: String::from(reason) })
    }
}
