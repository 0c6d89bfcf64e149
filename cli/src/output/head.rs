//! The first rows of a result's bytes, found without decoding them.

/// Counts rows in bytes as they pass and says where the last wanted one ends.
#[derive(Debug)]
pub(crate) struct Head {
    rows_left: u64,
    quotes: bool,
    is_quoted: bool,
}

impl Head {
    /// The first `rows` lines; with `quotes`, a line break between `"` ends no row (CSV).
    pub(crate) fn new(rows: u64, quotes: bool) -> Self {
        Self { rows_left: rows, quotes, is_quoted: false }
    }

    /// What of the next bytes belongs to the wanted rows.
    pub(crate) fn take<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        for (at, byte) in bytes.iter().enumerate() {
            if self.rows_left == 0 {
                return &bytes[..at];
            }
            match byte {
                b'"' if self.quotes => self.is_quoted = !self.is_quoted,
                b'\n' if !self.is_quoted => self.rows_left -= 1,
                _ => {}
            }
        }
        bytes
    }

    /// Whether all wanted rows have passed.
    pub(crate) fn is_full(&self) -> bool {
        self.rows_left == 0
    }
}

#[cfg(test)]
mod tests {
    use super::Head;

    #[test]
    fn lines_are_rows() {
        let mut head = Head::new(2, false);
        assert_eq!(head.take(b"a\nb"), b"a\nb");
        assert!(!head.is_full());
        assert_eq!(head.take(b"c\nd\n"), b"c\n");
        assert!(head.is_full());
        assert_eq!(head.take(b"e\n"), b"");
    }

    #[test]
    fn a_quoted_line_break_ends_no_row() {
        let mut head = Head::new(1, true);
        assert_eq!(head.take(b"\"a\n"), b"\"a\n");
        assert_eq!(head.take(b"\"\"b\",c\nd\n"), b"\"\"b\",c\n");
    }

    #[test]
    fn no_rows_are_no_bytes() {
        assert_eq!(Head::new(0, false).take(b"a\n"), b"");
    }
}
