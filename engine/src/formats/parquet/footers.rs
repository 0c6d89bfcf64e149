//! Decoded footers, kept for the next task that opens the same file.
//!
//! A file's tasks, and the planner before them, all need its footer, and decoding one costs more than
//! a small split's rows. What is kept goes by the footer's own bytes: they are read each time, so
//! that no file is taken for another, whatever its name and times say.

use std::sync::{Mutex, PoisonError};

use parquet::arrow::arrow_reader::ArrowReaderMetadata;
use xxhash_rust::xxh3::xxh3_128;

/// The most bytes of decoded footers that a process keeps.
const KEPT_BYTES: usize = 8 << 20;

/// What a footer is known by.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct FooterKey {
    hash: u128,
    footer_bytes: usize,
    file_bytes: u64,
}

impl FooterKey {
    /// Of a footer's encoded bytes in a file of so many.
    pub(super) fn of(footer: &[u8], file_bytes: u64) -> Self {
        Self { hash: xxh3_128(footer), footer_bytes: footer.len(), file_bytes }
    }
}

struct Kept {
    key: FooterKey,
    arrow: ArrowReaderMetadata,
    bytes: usize,
}

/// The process's footers, the one used last at the end.
///
/// - Memory: [`KEPT_BYTES`], whatever the budget: as little as a thread's stack and buffers.
static FOOTERS: Mutex<Vec<Kept>> = Mutex::new(Vec::new());

/// A footer that was kept.
pub(super) fn recall(key: FooterKey) -> Option<ArrowReaderMetadata> {
    // A panic leaves the list whole: entries are only moved in and out.
    let mut footers = FOOTERS.lock().unwrap_or_else(PoisonError::into_inner);
    let place = footers.iter().position(|kept| kept.key == key)?;
    let kept = footers.remove(place);
    let arrow = kept.arrow.clone();
    footers.push(kept);
    Some(arrow)
}

/// Keeps a footer that has been found to be possible; those unused for longest make room.
pub(super) fn keep(key: FooterKey, arrow: &ArrowReaderMetadata) {
    let bytes = arrow.metadata().memory_size() + key.footer_bytes;
    if bytes > KEPT_BYTES {
        return;
    }
    let mut footers = FOOTERS.lock().unwrap_or_else(PoisonError::into_inner);
    if footers.iter().any(|kept| kept.key == key) {
        return;
    }
    let mut held: usize = footers.iter().map(|kept| kept.bytes).sum();
    while held + bytes > KEPT_BYTES && !footers.is_empty() {
        held -= footers.remove(0).bytes;
    }
    footers.push(Kept { key, arrow: arrow.clone(), bytes });
}
