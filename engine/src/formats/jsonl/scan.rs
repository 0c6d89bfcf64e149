//! A strict reader of JSON (RFC 8259) that only says where values are.

use std::ops::Range;

use crate::formats::{
    BadRecord,
    fields::{Field, Kind},
};

/// How deep objects and arrays may be nested.
const MAX_DEPTH: u32 = 64;

/// Whether JSON has the byte between values.
pub(crate) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// Why a text is no object that can be taken.
pub(super) enum Refused {
    /// It is not JSON: what was expected, and at which byte of the block.
    Syntax { expected: &'static str, at: usize },
    /// Whoever took its fields refused one.
    Field(String),
}

impl Refused {
    pub(super) fn of(self, range: Range<usize>) -> BadRecord {
        let reason = match self {
            Self::Syntax { expected, at } => {
                format!("expected {expected} at byte {} of the record", at - range.start + 1)
            }
            Self::Field(reason) => reason,
        };
        BadRecord { range, column: None, reason }
    }
}

/// Goes through the object that is all of `bytes[start..end]`.
pub(super) fn object(
    bytes: &[u8],
    start: usize,
    end: usize,
    take: &mut dyn FnMut(&str, Field) -> Result<(), String>,
) -> Result<(), Refused> {
    let mut scanner = Scanner { bytes: &bytes[..end], at: start };
    let mut unescaped = String::new();
    scanner.expect(b'{', "an object")?;
    scanner.skip_blanks();
    if !scanner.take(b'}') {
        loop {
            let key = scanner.key()?;
            let field = scanner.value(1)?;
            // Keys are cut at quotes out of text, so they are text.
            let raw = std::str::from_utf8(&bytes[key.range()]).unwrap_or_default();
            let name = if key.kind() == Kind::Escaped {
                unescaped.clear();
                unescape(raw, &mut unescaped);
                &unescaped
            } else {
                raw
            };
            take(name, field).map_err(Refused::Field)?;
            if !scanner.goes_on(b'}', "`,` or `}`")? {
                break;
            }
        }
    }
    scanner.skip_blanks();
    if scanner.at == end { Ok(()) } else { scanner.refuse("nothing more") }
}

/// Goes through the members of the object that is all of `bytes[start..end]`, until `take` says
/// `false`; `false` where it did, or where the bytes are no object.
pub(crate) fn members(
    bytes: &[u8],
    start: usize,
    end: usize,
    take: &mut dyn FnMut(&str, Field) -> bool,
) -> bool {
    let mut taking = |name: &str, field| {
        if take(name, field) { Ok(()) } else { Err(String::new()) }
    };
    object(bytes, start, end, &mut taking).is_ok()
}

/// Goes through the elements of the array that is all of `bytes[start..end]`; `false` where it is
/// none.
pub(crate) fn elements(
    bytes: &[u8],
    start: usize,
    end: usize,
    take: &mut dyn FnMut(Field),
) -> bool {
    let mut scanner = Scanner { bytes: &bytes[..end], at: start };
    let mut run = || -> Result<bool, Refused> {
        scanner.expect(b'[', "an array")?;
        scanner.skip_blanks();
        if !scanner.take(b']') {
            loop {
                take(scanner.value(1)?);
                if !scanner.goes_on(b']', "`,` or `]`")? {
                    break;
                }
            }
        }
        scanner.skip_blanks();
        Ok(scanner.at == end)
    };
    run().unwrap_or(false)
}

/// The value that is all of `bytes[start..end]`.
pub(crate) fn whole(bytes: &[u8], start: usize, end: usize) -> Option<Field> {
    let mut scanner = Scanner { bytes: &bytes[..end], at: start };
    let field = scanner.value(0).ok()?;
    scanner.skip_blanks();
    (scanner.at == end).then_some(field)
}

/// Where the value that begins at `start` ends, by its brackets and quotes alone; `None` where the
/// bytes end before it does.
pub(super) fn value_end(bytes: &[u8], start: usize) -> Option<usize> {
    let (mut depth, mut at) = (0_u64, start);
    loop {
        match bytes.get(at)? {
            b'"' => at = string_end(bytes, at + 1)?,
            b'{' | b'[' => {
                (depth, at) = (depth + 1, at + 1);
                continue;
            }
            b'}' | b']' if depth > 0 => (depth, at) = (depth - 1, at + 1),
            b',' | b']' | b'}' if depth == 0 => return Some(at),
            byte if depth == 0 && is_blank(*byte) => return Some(at),
            _ => {
                at += 1;
                continue;
            }
        }
        if depth == 0 {
            return Some(at);
        }
    }
}

/// Behind the quote that ends the string whose text begins at `start`.
fn string_end(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    loop {
        at += memchr::memchr2(b'"', b'\\', &bytes[at..])?;
        if bytes[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
        if at > bytes.len() {
            return None;
        }
    }
}

/// A strict reader of JSON (RFC 8259) that only says where values are.
struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Scanner<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn skip_blanks(&mut self) {
        while self.peek().is_some_and(is_blank) {
            self.at += 1;
        }
    }

    fn refuse<T>(&self, expected: &'static str) -> Result<T, Refused> {
        Err(Refused::Syntax { expected, at: self.at })
    }

    fn take(&mut self, byte: u8) -> bool {
        let is_there = self.peek() == Some(byte);
        self.at += usize::from(is_there);
        is_there
    }

    fn expect(&mut self, byte: u8, name: &'static str) -> Result<(), Refused> {
        if self.take(byte) { Ok(()) } else { self.refuse(name) }
    }

    /// Behind a member: whether another one follows, or `close` ends them.
    fn goes_on(&mut self, close: u8, expected: &'static str) -> Result<bool, Refused> {
        self.skip_blanks();
        if self.take(b',') {
            return Ok(true);
        }
        self.expect(close, expected).map(|()| false)
    }

    /// A key and its colon.
    fn key(&mut self) -> Result<Field, Refused> {
        self.skip_blanks();
        self.expect(b'"', "a key in quotes")?;
        let key = self.string()?;
        self.skip_blanks();
        self.expect(b':', "`:`")?;
        Ok(key)
    }

    /// A value inside `depth` objects and arrays.
    fn value(&mut self, depth: u32) -> Result<Field, Refused> {
        self.skip_blanks();
        let start = self.at;
        match self.peek() {
            Some(b'"') => {
                self.at += 1;
                return self.string();
            }
            Some(b'n') => {
                self.word(b"null")?;
                return Ok(Field::NULL);
            }
            Some(b't') => self.word(b"true")?,
            Some(b'f') => self.word(b"false")?,
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b'{' | b'[') if depth >= MAX_DEPTH => {
                return self.refuse("nesting of at most 64 objects and arrays");
            }
            Some(b'{') => {
                self.at += 1;
                self.skip_blanks();
                if !self.take(b'}') {
                    loop {
                        self.key()?;
                        self.value(depth + 1)?;
                        if !self.goes_on(b'}', "`,` or `}`")? {
                            break;
                        }
                    }
                }
            }
            Some(b'[') => {
                self.at += 1;
                self.skip_blanks();
                if !self.take(b']') {
                    loop {
                        self.value(depth + 1)?;
                        if !self.goes_on(b']', "`,` or `]`")? {
                            break;
                        }
                    }
                }
            }
            _ => return self.refuse("a value"),
        }
        Ok(Field::new(start, self.at, Kind::Literal))
    }

    fn word(&mut self, word: &'static [u8]) -> Result<(), Refused> {
        if !self.bytes[self.at..].starts_with(word) {
            return self.refuse("a value");
        }
        self.at += word.len();
        Ok(())
    }

    fn number(&mut self) -> Result<(), Refused> {
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            if !self.take(b'-') {
                self.take(b'+');
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), Refused> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start { self.refuse("a digit") } else { Ok(()) }
    }

    /// The rest of a string whose opening quote was taken.
    fn string(&mut self) -> Result<Field, Refused> {
        let start = self.at;
        let mut kind = Kind::Text;
        loop {
            self.at += plain_run(&self.bytes[self.at..]);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Field::new(start, self.at - 1, kind));
                }
                Some(b'\\') => {
                    kind = Kind::Escaped;
                    match escaped(&self.bytes[self.at..]) {
                        Some((_, length)) => self.at += length,
                        None => return self.refuse("an escape that JSON has"),
                    }
                }
                Some(0..=0x1f) => return self.refuse("control characters to be escaped"),
                Some(_) => self.at += 1,
                None => return self.refuse("a closing quote"),
            }
        }
    }
}

/// How many bytes of a string are looked at eight by eight until there is one among them that ends
/// it or has to be escaped: a quote, a backslash, a control character.
#[inline]
pub(crate) fn plain_run(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGH_BITS: u64 = u64::from_le_bytes([0x80; 8]);
    let eights = bytes.as_chunks::<8>().0;
    for (number, eight) in eights.iter().enumerate() {
        let word = u64::from_le_bytes(*eight);
        // A lesser byte borrows from its high bit; the first one is told exactly, which is enough.
        let less = |of: u64, than: u64| of.wrapping_sub(ONES * than) & !of;
        let is = |byte: u8| less(word ^ (ONES * u64::from(byte)), 1);
        let special = (less(word, 0x20) | is(b'"') | is(b'\\')) & HIGH_BITS;
        if special != 0 {
            return 8 * number + special.trailing_zeros() as usize / 8;
        }
    }
    8 * eights.len()
}

/// The character of the escape that `bytes` begin with, and the escape's length.
fn escaped(bytes: &[u8]) -> Option<(char, usize)> {
    let character = match bytes.get(1)? {
        b'"' => '"',
        b'\\' => '\\',
        b'/' => '/',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => {
            let unit = code_unit(bytes)?;
            if let Some(character) = char::from_u32(unit) {
                return Some((character, 6));
            }
            // Half of a surrogate pair: the other half must follow.
            let other = code_unit(bytes.get(6..)?)?;
            let is_pair = (0xd800..0xdc00).contains(&unit) && (0xdc00..0xe000).contains(&other);
            let code = is_pair.then(|| 0x1_0000 + ((unit - 0xd800) << 10 | (other - 0xdc00)))?;
            return Some((char::from_u32(code)?, 12));
        }
        _ => return None,
    };
    Some((character, 2))
}

/// The number in `\uXXXX`.
fn code_unit(bytes: &[u8]) -> Option<u32> {
    let [b'\\', b'u', digits @ ..] = bytes.get(..6)? else { return None };
    digits.iter().try_fold(0, |unit, digit| Some(unit << 4 | char::from(*digit).to_digit(16)?))
}

/// Puts characters in the place of escapes, which were checked when the string was found.
pub(crate) fn unescape(text: &str, out: &mut String) {
    let mut rest = text;
    while let Some(escape) = memchr::memchr(b'\\', rest.as_bytes()) {
        out.push_str(&rest[..escape]);
        let (character, length) = escaped(&rest.as_bytes()[escape..]).unwrap_or(('\u{fffd}', 1));
        out.push(character);
        rest = rest.get(escape + length..).unwrap_or_default();
    }
    out.push_str(rest);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::plain_run;

    proptest! {
        #[test]
        fn a_run_ends_at_the_first_special_byte_or_before_the_last_few(
            bytes in prop::collection::vec(
                prop_oneof![6 => Just(b'a'), 2 => any::<u8>(), 1 => prop::sample::select(b"\"\\\x1f\x20\x7f\x80\xa2".to_vec())],
                0..40,
            ),
        ) {
            let is_special = |byte: &u8| *byte < 0x20 || *byte == b'"' || *byte == b'\\';
            let eights = bytes.len() / 8 * 8;
            let expected = bytes[..eights].iter().position(is_special).unwrap_or(eights);
            prop_assert_eq!(plain_run(&bytes), expected);
        }
    }
}
