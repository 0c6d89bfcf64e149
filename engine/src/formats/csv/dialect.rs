//! [`Dialect`]: the characters that a CSV file is made of, and the states that they lead to.
//!
//! Reading fields and finding where records begin go by the same states, so that a file has the
//! same records wherever it is cut, bad ones too.

/// The characters of a CSV file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dialect {
    /// Between fields.
    pub(crate) delimiter: u8,
    /// Around fields.
    pub(crate) quote: Option<u8>,
    /// Before a character inside quotes that stands for itself; the quote where it is doubled.
    pub(crate) escape: Option<u8>,
    /// Begins a line that is no record.
    pub(crate) comment: Option<u8>,
    /// Whether blanks around fields are no part of them.
    pub(crate) trim: bool,
}

/// What a reader is in, in front of a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// At the first byte of a record.
    RecordStart,
    /// At the first byte of a field, where a quote opens.
    FieldStart,
    /// Anywhere else outside of quotes.
    Unquoted,
    /// Inside quotes.
    Quoted,
    /// Inside quotes, behind an escape.
    Escaped,
    /// Behind a quote inside quotes: a second one is text, anything else is outside.
    QuoteSeen,
    /// In a line that is no record.
    Comment,
}

impl Dialect {
    /// Whether a blank between a delimiter and a field is passed over.
    pub(crate) fn is_blank(self, byte: u8) -> bool {
        self.trim && matches!(byte, b' ' | b'\t') && byte != self.delimiter
    }

    /// Whether only quotes, delimiters and line breaks have a meaning.
    pub(crate) fn is_plain(self) -> bool {
        self.escape.is_none() && self.comment.is_none() && !self.trim
    }

    /// The state behind `byte`.
    pub(crate) fn step(self, state: State, byte: u8) -> State {
        let is_outside = |byte: u8| match byte {
            b'\n' => State::RecordStart,
            byte if byte == self.delimiter => State::FieldStart,
            _ => State::Unquoted,
        };
        match state {
            State::RecordStart if self.comment == Some(byte) => State::Comment,
            State::RecordStart | State::FieldStart if self.quote == Some(byte) => State::Quoted,
            State::RecordStart | State::FieldStart if self.is_blank(byte) => State::FieldStart,
            State::Quoted if self.escape == Some(byte) => State::Escaped,
            State::Quoted if self.quote == Some(byte) => State::QuoteSeen,
            State::Quoted | State::Escaped => State::Quoted,
            State::QuoteSeen if self.quote == Some(byte) => State::Quoted,
            State::RecordStart | State::FieldStart | State::Unquoted | State::QuoteSeen => {
                is_outside(byte)
            }
            State::Comment if byte == b'\n' => State::RecordStart,
            State::Comment => State::Comment,
        }
    }

    /// Where the record ends that a reader is in at `from`, behind its line break; `None` where the
    /// bytes end before it does.
    pub(crate) fn record_end(self, bytes: &[u8], from: usize, state: State) -> Option<usize> {
        let mut state = state;
        let mut at = from;
        loop {
            state = self.step(state, *bytes.get(at)?);
            at += 1;
            if state == State::RecordStart {
                return Some(at);
            }
        }
    }
}
