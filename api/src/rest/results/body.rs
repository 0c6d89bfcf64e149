//! The bytes of a download, a chunk at a time: pieces of files as they are, or rows encoded anew.
//!
//! Each chunk is a short job on a blocking thread ([`bridge`](minispark_flight::bridge)); one is
//! ready and one is made, whatever the client's pace. What goes wrong in mid-stream breaks the
//! connection off, so that no client takes a part for the whole.

use std::{path::PathBuf, sync::Arc, vec};

use arrow::array::RecordBatch;
use axum::body::Bytes;
use minispark_engine::{
    Error, Result,
    disk::{Disk, ReadAt},
    formats::Encoder,
    memory::Reservation,
    operators::Operator,
};
use minispark_flight::bridge::Steps;

/// About the bytes of a chunk.
const CHUNK_BYTES: usize = 256 << 10;
/// What a format may hold back of a download: a row group goes into one chunk, which stands in
/// memory beside it, and there are many downloads at once.
const HELD_BYTES: u64 = 4 << 20;

/// So many rows are encoded before it is seen whether they fill a chunk.
const STEP_ROWS: usize = 1024;

/// A range of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) path: PathBuf,
    pub(super) start: u64,
    pub(super) end: u64,
}

/// The bytes of pieces, one behind the other.
pub(super) struct PieceBytes {
    disk: Arc<dyn Disk>,
    pieces: vec::IntoIter<Piece>,
    open: Option<(Arc<dyn ReadAt>, Piece)>,
}

impl PieceBytes {
    /// Those of `pieces`, each of which must be there.
    ///
    /// # Errors
    /// [`Error::Io`] where one is not, [`Error::Corrupt`] where one is too short.
    pub(super) fn open(disk: Arc<dyn Disk>, pieces: Vec<Piece>) -> Result<Self> {
        for piece in &pieces {
            let size = disk.open(&piece.path).and_then(|file| file.size());
            let size = size.map_err(Error::io("read", &piece.path))?;
            if size < piece.end {
                let reason = format!("{size} bytes instead of at least {}", piece.end);
                return Err(Error::Corrupt { what: piece.path.display().to_string(), reason });
            }
        }
        Ok(Self { disk, pieces: pieces.into_iter(), open: None })
    }
}

impl Steps for PieceBytes {
    type Item = Bytes;

    fn step(&mut self) -> Result<Option<Vec<Bytes>>> {
        loop {
            let Some((file, piece)) = &mut self.open else {
                let Some(piece) = self.pieces.next() else { return Ok(None) };
                let file = self.disk.open(&piece.path).map_err(Error::io("read", &piece.path))?;
                self.open = Some((file, piece));
                continue;
            };
            let rest = usize::try_from(piece.end - piece.start).unwrap_or(usize::MAX);
            if rest == 0 {
                self.open = None;
                continue;
            }
            let mut chunk = vec![0; rest.min(CHUNK_BYTES)];
            file.read_exact_at(&mut chunk, piece.start).map_err(Error::io("read", &piece.path))?;
            piece.start += chunk.len() as u64;
            return Ok(Some(vec![Bytes::from(chunk)]));
        }
    }
}

/// The bytes of rows in a format.
///
/// - Memory: a batch, a chunk of its bytes that waits and one that is made, and what the format
///   holds back, charged to the budget; refused, or beyond 4 MiB, the format gives out what it holds.
pub(super) struct RowBytes {
    /// Absent once the last row is encoded.
    rows: Option<Box<dyn Operator>>,
    /// What is left of a batch.
    rest: Option<RecordBatch>,
    encoder: Box<dyn Encoder>,
    chunk: Vec<u8>,
    held: Reservation,
}

impl RowBytes {
    /// Those of `rows`.
    ///
    /// # Errors
    /// The encoder's.
    pub(super) fn new(
        rows: Box<dyn Operator>,
        mut encoder: Box<dyn Encoder>,
        held: Reservation,
    ) -> Result<Self> {
        let mut chunk = Vec::new();
        encoder.begin(&mut chunk)?;
        Ok(Self { rows: Some(rows), rest: None, encoder, chunk, held })
    }

    fn charge(&mut self, batch_bytes: u64) -> Result<()> {
        let needed = |chunk: &Vec<u8>| batch_bytes + 2 * chunk.capacity() as u64;
        let held = self.encoder.held_bytes();
        if held <= HELD_BYTES && self.held.try_resize(needed(&self.chunk) + held) {
            return Ok(());
        }
        self.encoder.release(&mut self.chunk)?;
        let least = needed(&self.chunk);
        if !self.held.try_resize(least) {
            self.held.grow(least - self.held.held_bytes());
        }
        Ok(())
    }
}

impl Steps for RowBytes {
    type Item = Bytes;

    fn step(&mut self) -> Result<Option<Vec<Bytes>>> {
        while let Some(rows) = &mut self.rows {
            let batch = match self.rest.take() {
                Some(rest) => Some(rest),
                None => rows.next()?,
            };
            if let Some(batch) = batch {
                let count = batch.num_rows().min(STEP_ROWS);
                self.encoder.encode(&batch.slice(0, count), &mut self.chunk)?;
                let rest = batch.num_rows() - count;
                self.rest = (rest > 0).then(|| batch.slice(count, rest));
                self.charge(batch.get_array_memory_size() as u64)?;
            } else {
                self.encoder.finish(&mut self.chunk)?;
                self.rows = None;
            }
            if self.chunk.len() >= CHUNK_BYTES {
                break;
            }
        }
        let chunk = std::mem::take(&mut self.chunk);
        Ok((!chunk.is_empty()).then(|| vec![Bytes::from(chunk)]))
    }
}

#[cfg(test)]
mod tests {
    use std::{path::Path, sync::Arc};

    use arrow::array::{Int64Array, RecordBatch};
    use axum::body::Bytes;
    use minispark_engine::{
        Error, Result,
        disk::RealDisk,
        formats::{self, WriteFormat},
        memory::Budget,
        operators::Operator,
    };
    use minispark_flight::bridge::Steps;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    use super::{CHUNK_BYTES, Piece, PieceBytes, RowBytes};

    /// The same batch again and again, and then perhaps an error.
    struct Again(RecordBatch, usize, bool);

    impl Operator for Again {
        fn next(&mut self) -> Result<Option<RecordBatch>> {
            if self.1 == 0 {
                return if self.2 { Err(Error::Cancelled) } else { Ok(None) };
            }
            self.1 -= 1;
            Ok(Some(self.0.clone()))
        }
    }

    /// A batch in parts of 8000 rows, from a row on.
    struct Parts(RecordBatch, usize);

    impl Operator for Parts {
        fn next(&mut self) -> Result<Option<RecordBatch>> {
            let rows = (self.0.num_rows() - self.1).min(8000);
            let part = self.0.slice(self.1, rows);
            self.1 += rows;
            Ok((rows > 0).then_some(part))
        }
    }

    fn rows(format: &WriteFormat, count: usize, fails: bool, budget: &Budget) -> RowBytes {
        let sevens = Arc::new(Int64Array::from(vec![7; 1000]));
        let batch = RecordBatch::try_from_iter([("n", sevens as _)]).unwrap();
        let encoder = formats::encoder(format, &batch.schema()).unwrap();
        let rows = Box::new(Again(batch, count, fails));
        RowBytes::new(rows, encoder, budget.reservation("download")).unwrap()
    }

    #[test]
    fn rows_come_in_chunks_and_the_budget_is_given_back() {
        let budget = Budget::new(4 << 20);
        let mut steps = rows(&WriteFormat::Text, 300, false, &budget);
        let mut bytes = 0;
        while let Some(chunks) = steps.step().unwrap() {
            assert!(chunks.len() == 1 && chunks[0].len() < CHUNK_BYTES + 2001);
            assert!(budget.used_bytes() > 0);
            bytes += chunks[0].len();
        }
        assert_eq!(bytes, 600_000);
        assert!(budget.peak_bytes() < 2 << 20, "{}", budget.peak_bytes());
        drop(steps);
        assert_eq!(budget.used_bytes(), 0);
    }

    #[test]
    fn an_error_between_rows_is_no_end() {
        let mut steps = rows(&WriteFormat::Text, 3, true, &Budget::new(1 << 20));
        assert!(matches!(steps.step(), Err(Error::Cancelled)));
    }

    #[test]
    fn a_full_budget_makes_parquet_row_groups_smaller_and_loses_nothing() {
        for (budget, groups) in [(1 << 30, 1), (0, 5)] {
            let mut steps = rows(&WriteFormat::Parquet, 5, false, &Budget::new(budget));
            let mut bytes = Vec::new();
            while let Some(chunks) = steps.step().unwrap() {
                bytes.extend_from_slice(&chunks[0]);
            }
            let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(bytes)).unwrap();
            assert_eq!(reader.metadata().num_row_groups(), groups);
            assert_eq!(reader.metadata().file_metadata().num_rows(), 5000);
        }
    }

    #[test]
    fn a_row_group_does_not_wait_beyond_4_mebibytes_whatever_the_budget() {
        let numbers =
            (0..1_000_000_i64).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64.cast_signed()));
        let column = Arc::new(Int64Array::from_iter_values(numbers));
        let all = RecordBatch::try_from_iter([("n", column as _)]).unwrap();
        let budget = Budget::new(1 << 30);
        let encoder = formats::encoder(&WriteFormat::Parquet, &all.schema()).unwrap();
        let batch = Box::new(Parts(all, 0));
        let mut steps = RowBytes::new(batch, encoder, budget.reservation("download")).unwrap();
        let mut bytes = Vec::new();
        while let Some(chunks) = steps.step().unwrap() {
            bytes.extend_from_slice(&chunks[0]);
        }
        let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(bytes)).unwrap();
        // Eight bytes a row, which nothing makes smaller.
        assert!(reader.metadata().num_row_groups() > 1);
        assert_eq!(reader.metadata().file_metadata().num_rows(), 1_000_000);
    }

    #[test]
    fn a_piece_that_is_cut_or_gone_is_noticed_before_the_first_byte() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("part");
        let disk = RealDisk::shared();
        disk.create(&path).unwrap().write_all(b"0123456789").unwrap();
        let open = |at: &Path, start, end| {
            PieceBytes::open(Arc::clone(&disk), vec![Piece { path: at.to_owned(), start, end }])
        };
        let mut steps = open(&path, 2, 6).unwrap();
        assert_eq!(steps.step().unwrap().unwrap(), ["2345"]);
        assert_eq!(steps.step().unwrap(), None);
        assert!(matches!(open(&path, 2, 11), Err(Error::Corrupt { .. })));
        assert!(matches!(open(&folder.path().join("gone"), 0, 1), Err(Error::Io { .. })));
    }
}
