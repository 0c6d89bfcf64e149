//! Row groups of a Parquet file → batches: only the columns that are wanted, and of the rows those
//! that a predicate may hold for.
//!
//! In the order of what it costs: row groups go by the statistics in the footer, then by bloom
//! filters, pages by the page index; what is left has the predicate's columns decoded first, and
//! the other columns only where it holds ("late materialisation").

use std::{collections::VecDeque, sync::Arc};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use parquet::{
    arrow::{
        ProjectionMask,
        arrow_reader::{
            ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
            ParquetRecordBatchReaderBuilder, RowSelection,
        },
    },
    file::metadata::{ColumnChunkMask, PageIndexPolicy, ParquetMetaDataReader},
};

use super::{
    chunks::ReadAhead,
    file::ParquetFile,
    flat::sift::{FlatColumns, Sifted},
    late::{Columns, Completed, LateFilter, Sieve, Survivors, next_batch},
    prune::Pruner,
};
use crate::{
    Result,
    disk::Disk,
    formats::BATCH_ROWS,
    plan::Scan,
    source::{
        columnar::{Unit, Units, condition::Condition},
        runtime_filter::KnownKeys,
        split::Split,
    },
};

/// The row groups of a file that the scan's predicate may hold for, by the footer alone.
///
/// # Errors
/// As [`ParquetFile::open`].
pub(crate) fn units(
    file: &crate::plan::InputFile,
    scan: &Scan,
    schema: &SchemaRef,
    disk: &Arc<dyn Disk>,
) -> Result<Vec<Unit>> {
    let parquet = ParquetFile::open(file, disk)?;
    let condition = scan.predicate.as_ref().map(Condition::of);
    let kept = Pruner { file: &parquet, schema }.row_groups(condition.as_ref())?;
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    let leaves: Vec<usize> = parquet.leaves(&names).collect();
    let unit = |group: usize| Unit {
        offset: parquet.offset_of(group),
        bytes: parquet.ranges(group, &leaves).iter().map(|range| range.end - range.start).sum(),
    };
    Ok(kept.into_iter().map(unit).collect())
}

/// The row groups of a split, batch by batch.
pub(crate) struct RowGroups {
    file: ParquetFile,
    /// The node's own schema.
    schema: SchemaRef,
    /// All columns that are read.
    all: Columns,
    condition: Option<Condition>,
    filter: Option<LateFilter>,
    /// Present where all columns may be decoded by our own decoder.
    flat: Option<FlatColumns>,
    groups: VecDeque<usize>,
    /// The row group being read.
    current: Option<Group>,
    /// Where the next row group begins.
    position: u64,
    end: u64,
    held_bytes: u64,
}

/// A row group being read.
enum Group {
    /// Rows of flat columns that the predicate has left.
    Flat(Box<Sifted>),
    /// All rows that were not ruled out before, as they are decoded.
    Plain(ParquetRecordBatchReader),
    /// Of rows whose columns are all looked at by the filter, those that it keeps.
    Sieved(Sieve),
    /// The rows that the filter has kept, with the columns that it did not look at.
    Completed(Completed),
}

impl RowGroups {
    /// Opens the split's file; its row groups are those that begin in the split.
    ///
    /// # Errors
    /// As [`ParquetFile::open`], and for columns that can't be brought under the schema.
    pub(crate) fn open(
        split: &Split,
        scan: &Scan,
        schema: SchemaRef,
        keys: &KnownKeys,
        disk: &Arc<dyn Disk>,
    ) -> Result<Self> {
        let file = ParquetFile::open(&split.file, disk)?;
        let places = (0..schema.fields().len()).collect();
        let all = Columns::new(places, &schema, &file, &scan.folders, &split.file)?;
        let condition = Condition::of_scan(scan.predicate.as_ref(), keys);
        let groups: VecDeque<usize> = Pruner { file: &file, schema: &schema }
            .row_groups(condition.as_ref())?
            .into_iter()
            .filter(|group| (split.start..split.end).contains(&file.offset_of(*group)))
            .collect();
        let predicate = scan.predicate.as_ref();
        let filter = LateFilter::new(predicate, &schema, &file, &scan.folders, &split.file)?;
        let flat = FlatColumns::new(predicate, &schema, &file, &scan.folders, &split.file)?;
        Ok(Self {
            file,
            schema,
            all,
            condition,
            filter,
            flat,
            groups,
            current: None,
            position: split.start,
            end: split.end,
            held_bytes: 0,
        })
    }

    /// Begins a row group; `None` where no row of it is wanted.
    fn group(&mut self, group: usize) -> Result<Option<Group>> {
        let pruner = Pruner { file: &self.file, schema: &self.schema };
        if let Some(condition) = &self.condition
            && !pruner.may_be_in_bloom_filters(condition, group)?
        {
            return Ok(None);
        }
        let rows = self.file.metadata().row_group(group).num_rows();
        let selection = match &self.condition {
            Some(condition) => pruner.pages(condition, group)?,
            None => None,
        };
        let selection = selection.filter(|selection| selection.skipped_row_count() > 0);
        if selection.as_ref().is_some_and(|selection| !selection.selects_any()) || rows == 0 {
            return Ok(None);
        }
        let ahead = if selection.is_some() { ReadAhead::Pages } else { ReadAhead::All };
        self.held_bytes = 0;
        if selection.is_none()
            && let Some(flat) = &self.flat
        {
            self.held_bytes = self.expect(group, flat.leaves(), ahead)?;
            if let Some(sifted) = Sifted::begin(flat, &self.file, group)? {
                return Ok(Some(Group::Flat(Box::new(sifted))));
            }
            self.held_bytes = 0;
        }
        let Some(filter) = &self.filter else {
            self.held_bytes += self.expect(group, &self.all.leaves, ahead)?;
            return Ok(Some(Group::Plain(self.reader(group, &self.all.leaves, selection)?)));
        };
        self.held_bytes += self.expect(group, &filter.columns.leaves, ahead)?;
        let reader = self.reader(group, &filter.columns.leaves, selection.clone())?;
        let Some(rest) = &filter.rest else {
            return Ok(Some(Group::Sieved(Sieve::new(filter, reader))));
        };
        let keeps = filter.keeps(&self.file, group);
        let Survivors { selection, kept, rows: left } =
            Survivors::of(filter, &self.file, reader, selection, keeps)?;
        if left == 0 {
            return Ok(None);
        }
        if !keeps {
            self.held_bytes = self.expect(group, &self.all.leaves, ahead)?;
            return Ok(Some(Group::Plain(self.reader(group, &self.all.leaves, selection)?)));
        }
        let kept_bytes: usize = kept.iter().map(RecordBatch::get_array_memory_size).sum();
        self.held_bytes = kept_bytes as u64 + self.expect(group, &rest.leaves, ahead)?;
        let of_rest = self.reader(group, &rest.leaves, selection)?;
        Ok(Some(Group::Completed(Completed { reader: of_rest, kept })))
    }

    /// Makes ready for some columns of a row group; the bytes that they take while they are read.
    fn expect(&self, group: usize, leaves: &[usize], ahead: ReadAhead) -> Result<u64> {
        let ahead_bytes = self.file.chunks.expect(&self.file.ranges(group, leaves), ahead)?;
        let metadata = self.file.metadata().row_group(group);
        let decoded = leaves.iter().map(|leaf| {
            metadata.column(*leaf).uncompressed_size().unsigned_abs().min(DECODED_BYTES)
        });
        Ok(ahead_bytes + decoded.sum::<u64>())
    }

    /// The decoder of some columns of a row group's selected rows.
    fn reader(
        &self,
        group: usize,
        leaves: &[usize],
        selection: Option<RowSelection>,
    ) -> Result<ParquetRecordBatchReader> {
        let file = &self.file;
        file.guarded(|| {
            let mut place = (file.arrow.clone(), group);
            if selection.is_some() {
                // Places of pages are needed only to pass some over.
                let mask = ColumnChunkMask::columns(leaves.iter().copied());
                let mut metadata =
                    ParquetMetaDataReader::new_with_metadata(file.metadata_of(group))
                        .with_column_index_policy(PageIndexPolicy::Skip)
                        .with_offset_index_policy(PageIndexPolicy::Optional)
                        .with_offset_index_mask(mask);
                metadata.read_page_indexes(&file.chunks)?;
                let options = ArrowReaderOptions::new().with_schema(Arc::clone(file.schema()));
                let only = ArrowReaderMetadata::try_new(Arc::new(metadata.finish()?), options);
                if let Ok(only) = only {
                    place = (only, 0);
                }
            }
            let (arrow, number) = place;
            let mask = ProjectionMask::leaves(file.arrow.parquet_schema(), leaves.iter().copied());
            let mut builder =
                ParquetRecordBatchReaderBuilder::new_with_metadata(file.chunks.clone(), arrow)
                    .with_row_groups(vec![number])
                    .with_batch_size(BATCH_ROWS)
                    .with_projection(mask);
            if let Some(selection) = selection {
                builder = builder.with_row_selection(selection);
            }
            builder.build()
        })
    }

    /// The next rows of the row group in hand.
    fn rows(&mut self, keys: &mut KnownKeys) -> Result<Option<RecordBatch>> {
        if let (Some(Group::Flat(sifted)), Some(flat)) = (&mut self.current, &self.flat) {
            return sifted.next(flat, keys, &self.file);
        }
        while let Some(batch) = self.decoded_rows()? {
            if let Some(batch) = keys.keep(batch)? {
                return Ok(Some(batch));
            }
        }
        Ok(None)
    }

    /// The same, of the general decoder.
    fn decoded_rows(&mut self) -> Result<Option<RecordBatch>> {
        let (file, schema) = (&self.file, &self.schema);
        match (&mut self.current, &self.filter) {
            (Some(Group::Plain(reader)), _) => {
                let batch = next_batch(reader, file)?;
                batch.map(|batch| self.all.conform.batch(&batch)).transpose()
            }
            (Some(Group::Sieved(sieve)), Some(filter)) => sieve.next(filter, file),
            (Some(Group::Completed(completed)), Some(filter)) => match &filter.rest {
                Some(rest) => completed.next(filter, rest, schema, file),
                None => Ok(None),
            },
            _ => Ok(None),
        }
    }
}

/// What a column may have decoded at a time: a page and a batch.
const DECODED_BYTES: u64 = 2 << 20;

impl Units for RowGroups {
    fn next(&mut self, keys: &mut KnownKeys) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(batch) = self.rows(keys)? {
                return Ok(Some(batch));
            }
            self.current = None;
            let Some(group) = self.groups.pop_front() else {
                self.position = self.end;
                self.held_bytes = 0;
                return Ok(None);
            };
            self.position = self.file.offset_of(group);
            self.current = self.group(group)?;
        }
    }

    fn are_tested(&self) -> bool {
        let (Some(Group::Flat(sifted)), Some(flat)) = (&self.current, &self.flat) else {
            return false;
        };
        sifted.are_tested(flat)
    }

    fn position(&self) -> u64 {
        self.position
    }

    fn held_bytes(&self) -> u64 {
        self.held_bytes
    }
}
