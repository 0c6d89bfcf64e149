//! [`Plain`]: the records that most files are full of, 64 bytes at a time.
//!
//! It takes whole records without a quote, of the right number of fields, of dialects in which
//! nothing but delimiters, quotes and line breaks has a meaning. Before anything else it stops, at
//! the record's start, and leaves that one to those who know all rules.

use super::{bits::bits, records::Layout};
use crate::formats::{
    MAX_RECORD_BYTES,
    fields::{Field, Fields, Kind},
};

/// How many records are left to others after one that was not for it, and then twice as many, up
/// to a limit: a file full of quotes is not looked at twice.
const FIRST_PAUSE: u32 = 1;
const LONGEST_PAUSE: u32 = 256;

/// The way through plain records.
pub(super) struct Plain {
    delimiter: u8,
    quote: Option<u8>,
    /// How many records are left to others from here on.
    paused: u32,
    pause: u32,
}

impl Plain {
    /// For files of this layout; `None` where a field may be other than it stands.
    pub(super) fn of(layout: &Layout) -> Option<Self> {
        let dialect = layout.dialect;
        let is_plain = dialect.is_plain() && layout.nulls.0.is_empty();
        is_plain.then_some(Self {
            delimiter: dialect.delimiter,
            quote: dialect.quote,
            paused: 0,
            pause: FIRST_PAUSE,
        })
    }

    /// Adds records from `start` on, up to `most` in all, and gives the start of the first one
    /// that is not added. The caller takes that one, if there is room for it.
    pub(super) fn records(
        &mut self,
        bytes: &[u8],
        start: usize,
        fields: &mut Fields,
        most: usize,
    ) -> usize {
        if self.paused > 0 {
            self.paused -= 1;
            return start;
        }
        let before = fields.records.len();
        let next = self.take(bytes, start, fields, most);
        if fields.records.len() > before {
            self.pause = FIRST_PAUSE;
        } else {
            self.paused = self.pause;
            self.pause = (2 * self.pause).min(LONGEST_PAUSE);
        }
        next
    }

    #[inline]
    fn take(&self, bytes: &[u8], start: usize, fields: &mut Fields, most: usize) -> usize {
        let width = fields.width;
        // Where the record and the field begin, and how many fields were there before the record.
        let (mut record, mut field) = (start, start);
        let mut before = fields.places.len();
        let mut base = start;
        'chunks: while let Some(chunk) = bytes.get(base..).and_then(|rest| rest.first_chunk()) {
            let newlines = bits(chunk, b'\n');
            let mut ends = newlines | bits(chunk, self.delimiter);
            let quotes = self.quote.map_or(0, |quote| bits(chunk, quote));
            // Only what is before the first quote.
            ends &= (quotes & quotes.wrapping_neg()).wrapping_sub(1);
            while ends != 0 {
                let place = ends.trailing_zeros();
                ends &= ends - 1;
                let at = base + place as usize;
                if newlines >> place & 1 == 0 {
                    fields.places.push(text(field, at));
                    field = at + 1;
                    continue;
                }
                let has_return = at > field && bytes[at - 1] == b'\r';
                let end = at - usize::from(has_return);
                fields.places.push(text(field, end));
                let is_blank = end == record && width != 1;
                let is_whole = fields.places.len() - before == width
                    && (end - record) as u64 <= MAX_RECORD_BYTES;
                if is_blank || !is_whole {
                    break 'chunks;
                }
                fields.add(record..end);
                before = fields.places.len();
                (record, field) = (at + 1, at + 1);
                if fields.records.len() >= most {
                    return record;
                }
            }
            if quotes != 0 {
                break;
            }
            base += 64;
        }
        fields.places.truncate(before);
        record
    }
}

/// The field of these bytes, which are as they stand.
#[inline]
fn text(start: usize, end: usize) -> Field {
    Field::new(start, end, if start == end { Kind::Null } else { Kind::Text })
}

#[cfg(test)]
mod tests {
    use arrow::buffer::Buffer;
    use proptest::prelude::*;

    use super::super::{CsvOptions, Nulls, split};
    use crate::formats::{
        BadRecords,
        block::Block,
        fields::{Fields, Kind},
    };

    /// A record's range and its fields, a null as `None`; bad ones, and where the next one begins.
    type Found = (Vec<(usize, usize)>, Vec<Option<std::ops::Range<usize>>>, Vec<String>, usize);

    fn found(text: &str, is_last: bool, width: usize, nulls: &[&str]) -> Option<Found> {
        let nulls = Nulls(nulls.iter().map(|null| String::from(*null)).collect());
        let options = CsvOptions { nulls, ..CsvOptions::default() };
        let block = Block::new(Buffer::from(text.as_bytes()), 1, is_last);
        let mut fields = Fields::new(width);
        let mut bad = BadRecords { are_tolerated: true, found: Vec::new() };
        let end = split(&block, 0, &options.layout(), &mut fields, &mut bad).ok()?;
        let ranges = fields.records.iter().copied().zip(fields.ends.iter().copied()).collect();
        let places = fields.places.iter();
        let places = places.map(|f| (f.kind() != Kind::Null).then(|| f.range())).collect();
        let bad = bad
            .found
            .iter()
            .map(|record| format!("{:?} {}", record.range, record.reason))
            .collect();
        Some((ranges, places, bad, end))
    }

    proptest! {
        #[test]
        fn plain_records_are_those_of_the_rules(
            parts in prop::collection::vec(
                prop_oneof![
                    12 => Just("field"), 12 => Just(","), 8 => Just("a,bc\n"), 4 => Just("\r\n"),
                    3 => Just("\n"), 2 => Just("\r"), 2 => Just("\"q,\n\""), 1 => Just("\""),
                    2 => Just("é"), 2 => Just("a rather long text without an end, "),
                ],
                0..120,
            ),
            is_last in any::<bool>(),
            width in 1_usize..4,
        ) {
            let text = parts.concat();
            // A text that stands for nothing, and is nowhere, keeps to the rules alone.
            prop_assert_eq!(
                found(&text, is_last, width, &[]),
                found(&text, is_last, width, &["nowhere"])
            );
        }
    }
}
