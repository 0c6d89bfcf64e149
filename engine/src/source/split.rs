//! [`Split`]: a range of a file that holds whole records, and how files are cut into them.
//!
//! Sizes alone decide where files are cut, never slots or workers, so that a job's tasks are the
//! same wherever it runs.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use serde::{Deserialize, Serialize};

use crate::{
    Result,
    disk::Disk,
    formats::Format,
    plan::{InputFile, Read},
    source::{
        blocks::{PinnedFile, is_array},
        columnar, folders,
        quotes::record_starts,
    },
};

/// A byte range of one file; the records that begin in it are one task's input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    /// The file.
    pub file: InputFile,
    /// First byte.
    pub start: u64,
    /// Behind the last byte.
    pub end: u64,
    /// Whether `start` and `end` are known record boundaries (then only the records in the range
    /// are touched). Otherwise the reader begins behind the first newline at or after `start - 1`
    /// and ends with the record that contains byte `end - 1`.
    pub aligned: bool,
}

/// A source is cut into about so many splits, where their sizes allow.
const SPLITS: u64 = 16;
/// The least bytes of a split that was not asked for.
const MIN_SPLIT_BYTES: u64 = 1 << 20;
/// The most bytes of a split that was not asked for.
const MAX_SPLIT_BYTES: u64 = 64 << 20;

/// Cuts a reader's files into splits, in the order of the files and of their bytes; `schema` is the
/// reader's node's own.
///
/// - Shape: as many as `partitions` asks for, or one for every 16th of the bytes, between 1 MiB
///   and 64 MiB. Files are not joined: each that is not empty has at least one split, so files in
///   greater number than `partitions` make more. Some splits may be empty; at least one is given,
///   if there is a file.
///   A compressed file, one in another encoding than UTF-8 and a JSON array are one split each.
/// - Reading: lines are not read at all, JSON up to its first character. A CSV file of several
///   splits is read once, from its start to its last cut, because only that tells a newline that
///   ends a record from one inside quotes.
///
/// # Errors
/// Of that reading: `InputNotFound`, `InputChanged`, `Io`; `Corrupt` where a columnar file is.
pub fn splits(read: &Read, schema: &SchemaRef, disk: &Arc<dyn Disk>) -> Result<Vec<Split>> {
    let read = &folders::pruned(read, schema)?;
    if read.format.is_columnar() {
        return columnar::splits(read, schema, disk);
    }
    let sizes: Vec<u64> = read.files.iter().map(|file| file.size_bytes).collect();
    let pieces_of_files = match read.partitions {
        Some(partitions) => pieces_of(&sizes, u64::from(partitions)),
        None => pieces_by_size(&sizes),
    };
    let mut splits = Vec::new();
    for (file, pieces) in read.files.iter().zip(pieces_of_files) {
        let (pieces, is_whole) = match pieces {
            0 => (0, true),
            _ if is_one_piece(&read.format, file, disk)? => (1, true),
            _ => (pieces, false),
        };
        let cuts: Vec<u64> =
            (0..=pieces).map(|piece| cut(file.size_bytes, piece, pieces)).collect();
        let (cuts, aligned) = match &read.format {
            Format::Csv(options) if pieces > 1 => {
                let pinned = PinnedFile::open(file, disk)?;
                (record_starts(&pinned, file.size_bytes, options.dialect(), &cuts)?, true)
            }
            Format::Csv(_) => (cuts, true),
            Format::Text(_) | Format::Jsonl(_) => (cuts, is_whole),
            Format::Parquet | Format::Arrow => (cuts, false),
        };
        splits.extend(cuts.windows(2).map(|range| Split {
            file: file.clone(),
            start: range[0],
            end: range[1],
            aligned,
        }));
    }
    Ok(splits)
}

/// Whether a file can't be cut: its text has to be made from its start, or its records are the
/// elements of one array.
fn is_one_piece(format: &Format, file: &InputFile, disk: &Arc<dyn Disk>) -> Result<bool> {
    if format.intake().is_streamed(&file.path) {
        return Ok(true);
    }
    // One that is not there is told by its reader.
    match format {
        Format::Jsonl(_) if disk.exists(&file.path) => is_array(file, format.intake(), disk),
        Format::Jsonl(_) | Format::Text(_) | Format::Csv(_) | Format::Parquet | Format::Arrow => {
            Ok(false)
        }
    }
}

/// Where piece number `piece` of `pieces` begins in a file of `bytes`.
fn cut(bytes: u64, piece: u64, pieces: u64) -> u64 {
    let at = u128::from(bytes) * u128::from(piece) / u128::from(pieces.max(1));
    u64::try_from(at).unwrap_or(bytes)
}

/// How many pieces each file makes when none were asked for.
pub(super) fn pieces_by_size(sizes: &[u64]) -> Vec<u64> {
    let total = sizes.iter().sum::<u64>();
    let split_bytes = total.div_ceil(SPLITS).clamp(MIN_SPLIT_BYTES, MAX_SPLIT_BYTES);
    let mut pieces: Vec<u64> = sizes.iter().map(|size| size.div_ceil(split_bytes)).collect();
    if let (0, Some(first)) = (total, pieces.first_mut()) {
        *first = 1;
    }
    pieces
}

/// How many pieces each file makes of `partitions` together: one for each file that is not empty,
/// and the others one by one to the file whose pieces are largest, so that they end up as equal
/// as whole pieces can be (D'Hondt's rule).
pub(super) fn pieces_of(sizes: &[u64], partitions: u64) -> Vec<u64> {
    let mut pieces: Vec<u64> = sizes.iter().map(|size| u64::from(*size > 0)).collect();
    let given: u64 = pieces.iter().sum();
    if given <= 1 {
        // One file holds everything, or the first one holds the nothing that there is.
        if let Some(only) =
            pieces.iter().position(|pieces| *pieces == 1).or(pieces.first().map(|_| 0))
        {
            pieces[only] = partitions.max(1);
        }
        return pieces;
    }
    let mut largest: std::collections::BinaryHeap<Share> = (sizes.iter().zip(&pieces).enumerate())
        .filter(|(_, (_, pieces))| **pieces > 0)
        .map(|(file, (size, _))| Share { bytes: *size, pieces: 1, file })
        .collect();
    for _ in given..partitions {
        let Some(mut share) = largest.pop() else { break };
        share.pieces += 1;
        pieces[share.file] = share.pieces;
        largest.push(share);
    }
    pieces
}

/// A file and its pieces, ordered by the size of a piece; the earlier file is the greater of two
/// with equal pieces.
#[derive(PartialEq, Eq)]
struct Share {
    bytes: u64,
    pieces: u64,
    file: usize,
}

impl Ord for Share {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let left = u128::from(self.bytes) * u128::from(other.pieces);
        let right = u128::from(other.bytes) * u128::from(self.pieces);
        left.cmp(&right).then(other.file.cmp(&self.file))
    }
}

impl PartialOrd for Share {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use proptest::prelude::*;

    use super::{Split, pieces_by_size, pieces_of, splits};
    use crate::{
        disk::RealDisk,
        formats::{Format, intake::Intake, text},
        plan::{InputFile, Read},
    };

    fn text_splits(sizes: &[u64], partitions: Option<u32>) -> Vec<Split> {
        let files = (sizes.iter().enumerate())
            .map(|(number, size_bytes)| InputFile {
                path: PathBuf::from(format!("{number}.txt")),
                size_bytes: *size_bytes,
                version: None,
            })
            .collect();
        let read = Read::of(Format::Text(Intake::default()), files, partitions);
        splits(&read, &text::schema(), &RealDisk::shared()).unwrap()
    }

    #[test]
    fn a_split_has_a_16th_of_the_bytes_between_1_and_64_mebibytes() {
        const MIB: u64 = 1 << 20;
        assert_eq!(pieces_by_size(&[10]), [1]);
        assert_eq!(pieces_by_size(&[3 * MIB + 1]), [4]);
        assert_eq!(pieces_by_size(&[1_000_000_001]), [16]);
        assert_eq!(pieces_by_size(&[640 * MIB, 64 * MIB]), [15, 2]);
        assert_eq!(pieces_by_size(&[64 * 1024 * MIB]), [1024]);
    }

    #[test]
    fn inputs_without_a_byte_have_one_split() {
        assert_eq!(text_splits(&[0, 0], None).len(), 1);
        assert_eq!(text_splits(&[0, 0], Some(3)).len(), 3);
        assert_eq!(text_splits(&[], None), []);
    }

    #[test]
    fn partitions_go_where_the_bytes_are_and_none_is_left_without() {
        assert_eq!(pieces_of(&[900, 0, 100], 10), [9, 0, 1]);
        assert_eq!(pieces_of(&[1_000_000, 1], 4), [3, 1]);
        assert_eq!(pieces_of(&[5, 5, 5], 2), [1, 1, 1]);
        assert_eq!(pieces_of(&[0, 7], 5), [0, 5]);
        assert_eq!(pieces_of(&[5, 5], 3), [2, 1]);
    }

    proptest! {
        #[test]
        fn splits_cover_every_byte_once_and_are_as_many_as_asked_for(
            sizes in prop::collection::vec(prop_oneof![Just(0u64), 1u64..5_000_000_000], 1..6),
            partitions in prop::option::of(1u32..100),
        ) {
            let splits = text_splits(&sizes, partitions);
            for (number, size) in sizes.iter().enumerate() {
                let path = PathBuf::from(format!("{number}.txt"));
                let mut end = 0;
                for split in splits.iter().filter(|split| split.file.path == path) {
                    prop_assert_eq!(split.start, end);
                    end = split.end;
                }
                prop_assert_eq!(end, *size);
            }
            if let Some(partitions) = partitions {
                let files = sizes.iter().filter(|size| **size > 0).count();
                prop_assert_eq!(splits.len(), files.max(partitions as usize));
            }
        }
    }
}
