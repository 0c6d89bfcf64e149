//! Data from a seed: the same bytes for the same seed and options, on every machine.
//!
//! One file per kind; each makes a row at a time, so that any amount needs the memory of one row.
//! Randomness comes from [`random`] alone, and real numbers are only added, subtracted, multiplied
//! and divided, since what a machine's library says of logarithms differs in the last bit. Nothing
//! here knows of files.

use std::io::{self, Write};

pub(crate) mod random;
pub(crate) mod zipf;
pub(crate) mod text;
pub(crate) mod shop;
pub(crate) mod dirty;

/// Rows of a kind, one after another without end.
pub(crate) trait Rows {
    /// Appends the next row with its line feed.
    fn append(&mut self, row: &mut Vec<u8>);

    /// The row that was appended last is part of the data; one that no longer fits is not.
    fn keep(&mut self) {}
}

/// How much is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Amount {
    /// So many rows.
    Rows(u64),
    /// As many whole rows as fit in so many bytes, the header included.
    Bytes(u64),
}

/// How much was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Made {
    /// Rows without the header.
    pub(crate) rows: u64,
    /// Bytes with the header.
    pub(crate) bytes: u64,
}

/// Writes the header, where there is one, and rows.
///
/// # Errors
/// Those of `out`.
pub(crate) fn write(
    rows: &mut dyn Rows,
    header: Option<&str>,
    amount: Amount,
    out: &mut dyn Write,
) -> io::Result<Made> {
    let mut made = Made::default();
    let mut row = Vec::new();
    if let Some(header) = header {
        row.extend_from_slice(header.as_bytes());
        row.push(b'\n');
        if !fits(amount, made, &row) {
            return Ok(made);
        }
        out.write_all(&row)?;
        made.bytes += row.len() as u64;
    }
    while amount != Amount::Rows(made.rows) {
        row.clear();
        rows.append(&mut row);
        if !fits(amount, made, &row) {
            break;
        }
        rows.keep();
        out.write_all(&row)?;
        made.rows += 1;
        made.bytes += row.len() as u64;
    }
    Ok(made)
}

fn fits(amount: Amount, made: Made, row: &[u8]) -> bool {
    match amount {
        Amount::Rows(_) => true,
        Amount::Bytes(bytes) => made.bytes + row.len() as u64 <= bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::{Amount, Made, Rows, write};

    /// Rows of four bytes.
    struct Fours(u32);

    impl Rows for Fours {
        fn append(&mut self, row: &mut Vec<u8>) {
            row.extend_from_slice(b"abc\n");
        }

        fn keep(&mut self) {
            self.0 += 1;
        }
    }

    fn made(header: Option<&str>, amount: Amount) -> (Made, u32, String) {
        let (mut rows, mut out) = (Fours(0), Vec::new());
        let made = write(&mut rows, header, amount, &mut out).unwrap();
        (made, rows.0, String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_number_of_rows_is_exact() {
        let three = (Made { rows: 3, bytes: 12 }, 3, "abc\nabc\nabc\n".to_owned());
        assert_eq!(made(None, Amount::Rows(3)), three);
        let one = (Made { rows: 1, bytes: 6 }, 1, "h\nabc\n".to_owned());
        assert_eq!(made(Some("h"), Amount::Rows(1)), one);
    }

    #[test]
    fn a_size_is_filled_with_whole_rows_and_not_passed() {
        assert_eq!(made(None, Amount::Bytes(11)).2, "abc\nabc\n");
        assert_eq!(made(None, Amount::Bytes(12)).2, "abc\nabc\nabc\n");
        let expected = (Made { rows: 1, bytes: 6 }, 1, "h\nabc\n".to_owned());
        assert_eq!(made(Some("h"), Amount::Bytes(9)), expected);
        assert_eq!(made(Some("header"), Amount::Bytes(6)).2, "");
    }
}
