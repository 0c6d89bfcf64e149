//! A strict reader of JSON text (RFC 8259) that finds where values stand and keeps none of them.

/// The deepest nesting that is read.
const MAX_DEPTH: usize = 512;

/// Where in a text the JSON ends to be JSON, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) usize);

type Result<T, E = Malformed> = std::result::Result<T, E>;

/// Where a value stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Span {
    /// The text of the value.
    pub(super) fn of(self, text: &str) -> &str {
        &text[self.start..self.end]
    }
}

/// Reads a text from a place on.
#[derive(Clone, Copy)]
pub(super) struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    fn bytes(&self) -> &'a [u8] {
        self.text.as_bytes()
    }

    /// The next byte that is no blank, which stays.
    pub(super) fn peek(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.bytes().get(self.at) {
            self.at += 1;
        }
        self.bytes().get(self.at).copied()
    }

    fn wrong<T>(&self) -> Result<T> {
        Err(Malformed(self.at))
    }

    /// Takes a byte behind blanks if it is the next.
    pub(super) fn take(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn expect(&mut self, byte: u8) -> Result<()> {
        if self.take(byte) { Ok(()) } else { self.wrong() }
    }

    /// That nothing but blanks is left.
    pub(super) fn end(&mut self) -> Result<()> {
        if self.peek().is_none() { Ok(()) } else { self.wrong() }
    }

    /// A string, with its quotes.
    fn string(&mut self) -> Result<Span> {
        self.expect(b'"')?;
        let start = self.at - 1;
        loop {
            let rest = &self.bytes()[self.at..];
            let Some(found) = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20))
            else {
                self.at = self.text.len();
                return self.wrong();
            };
            self.at += found;
            match self.bytes()[self.at] {
                b'"' => {
                    self.at += 1;
                    return Ok(Span { start, end: self.at });
                }
                b'\\' => self.escape()?,
                _ => return self.wrong(),
            }
        }
    }

    fn escape(&mut self) -> Result<()> {
        match self.bytes().get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
            Some(b'u') => {
                let digits = self.bytes().get(self.at + 2..self.at + 6);
                if !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
                    return self.wrong();
                }
                self.at += 6;
            }
            _ => return self.wrong(),
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<()> {
        let start = self.at;
        while self.bytes().get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        if self.at == start { self.wrong() } else { Ok(()) }
    }

    fn number(&mut self) -> Result<()> {
        if self.bytes().get(self.at) == Some(&b'-') {
            self.at += 1;
        }
        if self.bytes().get(self.at) == Some(&b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.bytes().get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.bytes().get(self.at) {
            self.at += 1;
            if let Some(b'+' | b'-') = self.bytes().get(self.at) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn word(&mut self, word: &str) -> Result<()> {
        if self.text[self.at..].starts_with(word) {
            self.at += word.len();
            return Ok(());
        }
        self.wrong()
    }

    /// A value that is neither array nor object.
    fn scalar(&mut self) -> Result<()> {
        match self.peek() {
            Some(b'"') => self.string().map(|_| ()),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true"),
            Some(b'f') => self.word("false"),
            Some(b'n') => self.word("null"),
            _ => self.wrong(),
        }
    }

    /// The next value, whatever it is, without recursion.
    pub(super) fn value(&mut self) -> Result<Span> {
        /// What is open: an array, or an object.
        #[derive(Clone, Copy, PartialEq)]
        enum Open {
            Array,
            Object,
        }
        self.peek();
        let start = self.at;
        let mut open: Vec<Open> = Vec::new();
        loop {
            // A value begins here.
            let begun = match self.peek() {
                Some(b'[') => Some((Open::Array, b']')),
                Some(b'{') => Some((Open::Object, b'}')),
                _ => None,
            };
            match begun {
                None => self.scalar()?,
                Some((kind, close)) => {
                    self.at += 1;
                    if !self.take(close) {
                        if open.len() == MAX_DEPTH {
                            return self.wrong();
                        }
                        open.push(kind);
                        if kind == Open::Object {
                            self.string_key()?;
                        }
                        continue;
                    }
                }
            }
            // A value has ended: so may what it stands in.
            loop {
                let Some(inner) = open.last() else { return Ok(Span { start, end: self.at }) };
                if self.take(b',') {
                    if *inner == Open::Object {
                        self.string_key()?;
                    }
                    break;
                }
                self.expect(if *inner == Open::Object { b'}' } else { b']' })?;
                open.pop();
            }
        }
    }

    /// A member's name and the colon behind it.
    fn string_key(&mut self) -> Result<Span> {
        self.peek();
        let name = self.string()?;
        self.expect(b':')?;
        Ok(name)
    }

    /// Calls `each` at each member's value of an object, with its name; it must read the value.
    pub(super) fn members(
        &mut self,
        mut each: impl FnMut(&mut Self, &'a str) -> Result<()>,
    ) -> Result<()> {
        self.expect(b'{')?;
        if self.take(b'}') {
            return Ok(());
        }
        loop {
            let name = self.string_key()?.of(self.text);
            each(self, name)?;
            if !self.take(b',') {
                return self.expect(b'}');
            }
        }
    }

    /// Calls `each` at each element of an array, with its place; it must read the element.
    pub(super) fn elements(
        &mut self,
        mut each: impl FnMut(&mut Self, usize) -> Result<()>,
    ) -> Result<()> {
        self.expect(b'[')?;
        if self.take(b']') {
            return Ok(());
        }
        for place in 0.. {
            each(self, place)?;
            if !self.take(b',') {
                return self.expect(b']');
            }
        }
        Ok(())
    }
}

/// The text that a string, with its quotes, says; lone surrogates become U+FFFD.
pub(super) fn unescape(string: &str, mut put: impl FnMut(&str)) {
    let mut rest = string.get(1..string.len().saturating_sub(1)).unwrap_or_default();
    while let Some((before, behind)) = rest.split_once('\\') {
        put(before);
        let (character, taken) = escaped(behind);
        put(character.encode_utf8(&mut [0; 4]));
        rest = &behind[taken..];
    }
    put(rest);
}

/// What stands behind a backslash, and how many bytes that takes.
fn escaped(behind: &str) -> (char, usize) {
    let unit = |from: usize| {
        behind.get(from..from + 4).and_then(|digits| u32::from_str_radix(digits, 16).ok())
    };
    match behind.as_bytes().first() {
        Some(b'n') => ('\n', 1),
        Some(b't') => ('\t', 1),
        Some(b'r') => ('\r', 1),
        Some(b'b') => ('\u{8}', 1),
        Some(b'f') => ('\u{c}', 1),
        Some(b'u') => {
            let high = unit(1).unwrap_or_default();
            let low = behind.get(5..7).filter(|next| *next == "\\u").and_then(|_| unit(7));
            match (high, low) {
                (0xD800..0xDC00, Some(low @ 0xDC00..0xE000)) => {
                    let code = 0x1_0000 + ((high - 0xD800) << 10) + (low - 0xDC00);
                    (char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), 11)
                }
                _ => (char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER), 5),
            }
        }
        Some(byte) => (char::from(*byte), 1),
        None => (char::REPLACEMENT_CHARACTER, 0),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Scanner, unescape};

    fn is_json(text: &str) -> bool {
        let mut scanner = Scanner::new(text);
        scanner.value().and_then(|_| scanner.end()).is_ok()
    }

    #[test]
    fn what_is_json_and_what_is_not() {
        for good in [
            "1",
            " -0.5e+3 ",
            "[]",
            "{}",
            "[1,[2,{\"a\":[]}]]",
            "{\"a\" : \"\\u00e9\\\"\"}",
            "null",
        ] {
            assert!(is_json(good), "{good}");
        }
        for bad in [
            "",
            "01",
            "1.",
            ".5",
            "+1",
            "[1,]",
            "{\"a\":1,}",
            "{a:1}",
            "\"\t\"",
            "\"\\x\"",
            "NaN",
            "[1 2]",
            "\"",
            "tru",
            "1 2",
            "[}",
        ] {
            assert!(!is_json(bad), "{bad}");
        }
        assert!(!is_json(&"[".repeat(100_000)));
    }

    proptest! {
        #[test]
        fn serde_json_reads_the_same_texts(text in "[\\[\\]{}\",:0-9a-e.\\\\u nltrfs+-]{0,12}") {
            prop_assert_eq!(is_json(&text), serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok(), "{}", text);
        }

        #[test]
        fn a_string_reads_back(text in any::<String>()) {
            let json = serde_json::to_string(&text).unwrap();
            let mut read = String::new();
            unescape(&json, |part| read.push_str(part));
            prop_assert_eq!(read, text);
        }
    }
}
