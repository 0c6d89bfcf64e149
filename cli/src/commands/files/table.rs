//! CSV as a table for people.

use crate::{error::Result, output};

/// Prints CSV, the first record of which names the columns.
pub(super) fn print(csv: &[u8]) -> Result<()> {
    let mut records = records(csv);
    if records.is_empty() {
        return Ok(());
    }
    let head = records.remove(0);
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    output::table(&head, records)
}

/// The records of CSV as the engine writes it: quotes where a field needs them, doubled inside.
pub(super) fn records(csv: &[u8]) -> Vec<Vec<String>> {
    let text = String::from_utf8_lossy(csv);
    let (mut records, mut record, mut field) = (Vec::new(), Vec::new(), String::new());
    let mut is_quoted = false;
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if is_quoted && letters.peek() == Some(&'"') => {
                field.push('"');
                letters.next();
            }
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => record.push(std::mem::take(&mut field)),
            '\n' if !is_quoted => {
                record.push(std::mem::take(&mut field));
                records.push(std::mem::take(&mut record));
            }
            other => field.push(other),
        }
    }
    if !record.is_empty() || !field.is_empty() {
        record.push(field);
        records.push(record);
    }
    records
}

#[cfg(test)]
mod tests {
    use super::records;

    #[test]
    fn fields_are_what_was_quoted() {
        assert_eq!(
            records(b"a,b\n1,\"x, \"\"y\"\"\n\"\n,\n"),
            [vec!["a", "b"], vec!["1", "x, \"y\"\n"], vec!["", ""]]
        );
        assert!(records(b"").is_empty());
    }
}
