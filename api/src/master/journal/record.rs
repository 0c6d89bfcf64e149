//! How entries lie in a file: a header, then records, each with its length, checksum and number.
//!
//! ```text
//! file:   magic "MSPJRNL\0" | version u32
//! record: len u32 | xxh3-64 u64 | seq u64 | kind u8 | payload (len bytes of JSON)
//! ```
//! Numbers are little-endian; the checksum is over seq, kind and payload.

use std::ops::Range;

use xxhash_rust::xxh3::Xxh3Default;

/// What a file of records begins with.
const MAGIC: &[u8; 8] = b"MSPJRNL\0";

/// The version of the format.
pub(super) const VERSION: u32 = 1;

/// The bytes of a file's header.
pub(super) const HEADER_BYTES: usize = 12;

/// The bytes of a record before its payload.
const FRAME_BYTES: usize = 21;

/// A sector: a crash may leave any of a file's as zeros, and none in part.
const SECTOR_BYTES: usize = 512;

/// One record, as it lies in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record<'a> {
    /// Its number; without gaps over all segments.
    pub(super) seq: u64,
    /// What its payload is.
    pub(super) kind: u8,
    /// JSON.
    pub(super) payload: &'a [u8],
    /// Where it lies in the file.
    pub(super) place: Range<usize>,
}

/// What stands at a place of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<'a> {
    /// A whole record.
    Record(Record<'a>),
    /// The end of the file.
    End,
    /// A record that was cut short: the process, or the system, died while it was written.
    Torn,
    /// Something that was whole once and is not what was written.
    Corrupt,
}

/// A file's header.
pub(super) fn header() -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(MAGIC);
    header[8..].copy_from_slice(&VERSION.to_le_bytes());
    header
}

/// The version that a file's header names; `None` where it is no header of ours.
pub(super) fn version_of(bytes: &[u8]) -> Option<u32> {
    let rest = bytes.strip_prefix(MAGIC)?;
    Some(u32::from_le_bytes(*rest.first_chunk()?))
}

/// Appends a record to `bytes`; `false`, and nothing is appended, where it is too large.
pub(super) fn append(bytes: &mut Vec<u8>, seq: u64, kind: u8, payload: &[u8]) -> bool {
    let Ok(length) = u32::try_from(payload.len()) else { return false };
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&checksum(seq, kind, payload).to_le_bytes());
    bytes.extend_from_slice(&seq.to_le_bytes());
    bytes.push(kind);
    bytes.extend_from_slice(payload);
    true
}

fn checksum(seq: u64, kind: u8, payload: &[u8]) -> u64 {
    let mut hasher = Xxh3Default::new();
    hasher.update(&seq.to_le_bytes());
    hasher.update(&[kind]);
    hasher.update(payload);
    hasher.digest()
}

/// What stands at `at`.
///
/// A record that the file's end cuts short is torn, unless it is whole but for its length. One with
/// a wrong checksum is torn if a crash can have left it so: it ends in zeros, or has a sector of
/// them, that were never written (JSON has none), and no whole record follows. Anything else that
/// does not fit is corrupt.
pub(super) fn find(bytes: &[u8], at: usize) -> Found<'_> {
    if at >= bytes.len() {
        return Found::End;
    }
    match whole(bytes, at) {
        Some(record) => Found::Record(record),
        None if next_whole(bytes, at + 1).is_some() => Found::Corrupt,
        None if is_cut_short(bytes, at) => Found::Torn,
        None => Found::Corrupt,
    }
}

/// The next whole record at or behind `from`, wherever it begins.
pub(super) fn next_whole(bytes: &[u8], from: usize) -> Option<Record<'_>> {
    (from..bytes.len().saturating_sub(FRAME_BYTES)).find_map(|at| whole(bytes, at))
}

fn whole(bytes: &[u8], at: usize) -> Option<Record<'_>> {
    let frame = bytes.get(at..at.checked_add(FRAME_BYTES)?)?;
    let length = usize::try_from(u32::from_le_bytes(*frame.first_chunk()?)).ok()?;
    let sum = u64::from_le_bytes(frame[4..12].try_into().ok()?);
    let seq = u64::from_le_bytes(frame[12..20].try_into().ok()?);
    let kind = frame[20];
    let end = (at + FRAME_BYTES).checked_add(length)?;
    let payload = bytes.get(at + FRAME_BYTES..end)?;
    (checksum(seq, kind, payload) == sum).then_some(Record { seq, kind, payload, place: at..end })
}

fn is_cut_short(bytes: &[u8], at: usize) -> bool {
    let rest = &bytes[at..];
    let Some((frame, payload)) = rest.split_at_checked(FRAME_BYTES) else { return true };
    let field = |place: Range<usize>| frame.get(place)?.try_into().ok().map(u64::from_le_bytes);
    let is_whole_but_for_its_length =
        field(12..20).is_some_and(|seq| Some(checksum(seq, frame[20], payload)) == field(4..12));
    if is_whole_but_for_its_length {
        return false;
    }
    let length = frame.first_chunk().map_or(0, |length| u32::from_le_bytes(*length));
    let ends_early = u64::from(length) > payload.len() as u64;
    let first_sector = at.next_multiple_of(SECTOR_BYTES);
    let mut sectors = bytes.get(first_sector..).unwrap_or_default().chunks_exact(SECTOR_BYTES);
    let is_empty = |sector: &[u8]| sector.iter().all(|byte| *byte == 0);
    ends_early || rest.last() == Some(&0) || sectors.any(is_empty)
}

#[cfg(test)]
mod tests {
    use super::{Found, append, find, header, next_whole, version_of};

    fn three() -> Vec<u8> {
        let mut bytes = Vec::new();
        for (seq, payload) in [(7, "{\"a\":1}"), (8, "{}"), (9, "{\"b\": [2,\"@\"]}")] {
            assert!(append(&mut bytes, seq, 2, payload.as_bytes()));
        }
        bytes
    }

    fn seqs(bytes: &[u8]) -> (Vec<u64>, Found<'_>) {
        let (mut at, mut seqs) = (0, Vec::new());
        loop {
            match find(bytes, at) {
                Found::Record(record) => {
                    seqs.push(record.seq);
                    at = record.place.end;
                }
                other => return (seqs, other),
            }
        }
    }

    #[test]
    fn records_come_back_in_their_order() {
        assert_eq!(seqs(&three()), (vec![7, 8, 9], Found::End));
        assert_eq!(version_of(&header()), Some(super::VERSION));
        assert_eq!(version_of(b"MSPJRNX\0\x01\0\0\0"), None);
        assert_eq!(version_of(b"MSPJ"), None);
    }

    #[test]
    fn a_record_cut_at_any_byte_is_torn() {
        let bytes = three();
        let last = bytes.len() - (21 + 14);
        for end in last + 1..bytes.len() {
            assert_eq!(seqs(&bytes[..end]), (vec![7, 8], Found::Torn), "cut at {end}");
        }
        assert_eq!(seqs(&bytes[..last]), (vec![7, 8], Found::End));
    }

    #[test]
    fn a_tail_of_zeros_is_torn() {
        let mut bytes = three();
        let whole = bytes.len();
        bytes.resize(whole + 100, 0);
        assert_eq!(seqs(&bytes), (vec![7, 8, 9], Found::Torn));
        let mut half = three();
        half[whole - 5..].fill(0);
        assert_eq!(seqs(&half), (vec![7, 8], Found::Torn));
    }

    #[test]
    fn a_flipped_bit_is_corrupt_wherever_it_is_and_never_passes() {
        for bit in 0..three().len() * 8 {
            let mut bytes = three();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let (read, found) = seqs(&bytes);
            assert!(read.len() < 3, "bit {bit}");
            assert_eq!(found, Found::Corrupt, "bit {bit}");
        }
    }

    #[test]
    fn the_next_whole_record_is_found_behind_rubbish() {
        let mut bytes = three();
        bytes[3] ^= 0x40;
        assert_eq!(next_whole(&bytes, 1).unwrap().seq, 8);
        assert_eq!(next_whole(b"rubbish", 0), None);
    }
}
