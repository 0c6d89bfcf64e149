//! Row groups of a Parquet file → batches: only the columns that are wanted, and of the rows those
//! that a predicate may hold for.
//!
//! In the order of what it costs: row groups go by the statistics in the footer, then by bloom
//! filters, pages by the page index; what is left has the predicate's columns decoded first, and
//! the other columns only where it holds ("late materialisation").

use std::{collections::VecDeque, sync::Arc};

use arrow::{
    array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, new_null_array},
    datatypes::SchemaRef,
};
use parquet::{
    arrow::{
        ProjectionMask,
        arrow_reader::{
            ArrowPredicateFn, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder, RowFilter,
            RowSelection,
        },
    },
    file::metadata::{ColumnChunkMask, PageIndexPolicy, ParquetMetaDataReader},
};

use super::{
    chunks::ReadAhead,
    file::{ParquetFile, error_of},
    prune::Pruner,
};
use crate::{
    Result,
    disk::Disk,
    expr::{BinaryOp, Expr, Predicate},
    formats::BATCH_ROWS,
    plan::Scan,
    source::{
        columnar::{
            Unit, Units,
            condition::{Condition, certain_parts},
            conform::Conform,
        },
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
    conform: Conform,
    condition: Option<Condition>,
    filter: Option<LateFilter>,
    /// The leaves of all columns that are read.
    leaves: Vec<usize>,
    groups: VecDeque<usize>,
    /// The row group being read.
    current: Option<ParquetRecordBatchReader>,
    /// Where the next row group begins.
    position: u64,
    end: u64,
    held_bytes: u64,
}

/// What decides about rows before all columns are decoded.
#[derive(Clone)]
struct LateFilter {
    predicate: Predicate,
    /// The places of its columns in the node's schema.
    columns: Vec<usize>,
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
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        let leaves: Vec<usize> = file.leaves(&names).collect();
        let condition = Condition::of_scan(scan.predicate.as_ref(), keys);
        let groups: VecDeque<usize> = Pruner { file: &file, schema: &schema }
            .row_groups(condition.as_ref())?
            .into_iter()
            .filter(|group| (split.start..split.end).contains(&file.offset_of(*group)))
            .collect();
        let mask = ProjectionMask::leaves(file.arrow.parquet_schema(), leaves.iter().copied());
        let found = decoded_schema(&file, &mask);
        let conform = Conform::new(&found, Arc::clone(&schema), &scan.folders, &split.file)?;
        let filter = late_filter(scan.predicate.as_ref(), &schema, &file);
        let (position, end) = (split.start, split.end);
        Ok(Self {
            file,
            schema,
            conform,
            condition,
            filter,
            leaves,
            groups,
            current: None,
            position,
            end,
            held_bytes: 0,
        })
    }

    /// The reader of a row group; `None` where no row of it is wanted.
    fn group(&mut self, group: usize) -> Result<Option<ParquetRecordBatchReader>> {
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
        let ranges = self.file.ranges(group, &self.leaves);
        let ahead_bytes = self.file.chunks.expect(&ranges, ahead)?;
        let metadata = self.file.metadata().row_group(group);
        let decoded = self.leaves.iter().map(|leaf| {
            metadata.column(*leaf).uncompressed_size().unsigned_abs().min(DECODED_BYTES)
        });
        self.held_bytes = ahead_bytes + decoded.sum::<u64>();
        self.reader(group, selection).map(Some)
    }

    fn reader(
        &self,
        group: usize,
        selection: Option<RowSelection>,
    ) -> Result<ParquetRecordBatchReader> {
        let file = &self.file;
        let descriptor = file.arrow.parquet_schema();
        file.guarded(|| {
            let mut arrow = file.arrow.clone();
            if selection.is_some() {
                // Places of pages are needed only to pass some over.
                let leaves = self.leaves.iter().copied();
                let mask = ColumnChunkMask::row_groups_and_columns([group], leaves);
                let metadata = ParquetMetaDataReader::new_with_metadata(file.metadata().clone())
                    .with_column_index_policy(PageIndexPolicy::Skip)
                    .with_offset_index_policy(PageIndexPolicy::Optional)
                    .with_offset_index_mask(mask);
                let mut metadata = metadata;
                metadata.read_page_indexes(&file.chunks)?;
                let options = parquet::arrow::arrow_reader::ArrowReaderOptions::new()
                    .with_schema(Arc::clone(file.schema()));
                let with_places = parquet::arrow::arrow_reader::ArrowReaderMetadata::try_new(
                    Arc::new(metadata.finish()?),
                    options,
                );
                if let Ok(with_places) = with_places {
                    arrow = with_places;
                }
            }
            let mut builder =
                ParquetRecordBatchReaderBuilder::new_with_metadata(file.chunks.clone(), arrow)
                    .with_row_groups(vec![group])
                    .with_batch_size(BATCH_ROWS)
                    .with_projection(ProjectionMask::leaves(
                        descriptor,
                        self.leaves.iter().copied(),
                    ));
            if let Some(selection) = selection {
                builder = builder.with_row_selection(selection);
            }
            if let Some(filter) = &self.filter {
                builder = builder.with_row_filter(self.row_filter(filter)?);
            }
            builder.build()
        })
    }

    fn row_filter(&self, filter: &LateFilter) -> parquet::errors::Result<RowFilter> {
        let names = filter.columns.iter().map(|column| self.schema.field(*column).name().as_str());
        let names: Vec<&str> = names.collect();
        let leaves: Vec<usize> = self.file.leaves(&names).collect();
        let mask = ProjectionMask::leaves(self.file.arrow.parquet_schema(), leaves);
        let found = decoded_schema(&self.file, &mask);
        let predicate = filter.predicate.clone();
        let schema = Arc::clone(&self.schema);
        let columns = filter.columns.clone();
        let path = self.file.path().to_owned();
        let input = crate::plan::InputFile { path, size_bytes: 0, version: None };
        let wanted = Arc::new(self.schema.project(&columns)?);
        let conform = Conform::new(&found, wanted, &[], &input)
            .map_err(|error| parquet::errors::ParquetError::External(Box::new(error)))?;
        // Columns that are not decoded yet, and that the predicate does not look at.
        let blank: Vec<ArrayRef> = (schema.fields().iter())
            .map(|field| new_null_array(field.data_type(), BATCH_ROWS))
            .collect();
        let evaluate = move |batch: RecordBatch| {
            let own = conform.batch(&batch).map_err(into_arrow)?;
            let rows = batch.num_rows();
            let mut all: Vec<ArrayRef> = blank.iter().map(|blank| blank.slice(0, rows)).collect();
            for (place, column) in columns.iter().zip(own.columns()) {
                all[*place] = Arc::clone(column);
            }
            let options = RecordBatchOptions::new().with_row_count(Some(rows));
            let filled = RecordBatch::try_new_with_options(Arc::clone(&schema), all, &options)?;
            Ok(match predicate.evaluate(&filled) {
                Ok(holds) => holds,
                // The filter above gives the error.
                Err(_) => BooleanArray::from(vec![true; rows]),
            })
        };
        Ok(RowFilter::new(vec![Box::new(ArrowPredicateFn::new(mask, evaluate))]))
    }
}

/// What a column may have decoded at a time: a page and a batch.
const DECODED_BYTES: u64 = 2 << 20;

fn into_arrow(error: crate::Error) -> arrow::error::ArrowError {
    arrow::error::ArrowError::ExternalError(Box::new(error))
}

/// The columns that a projection decodes, in the file's order.
fn decoded_schema(file: &ParquetFile, mask: &ProjectionMask) -> arrow::datatypes::Schema {
    let descriptor = file.arrow.parquet_schema();
    let roots: hashbrown::HashSet<usize> = (0..descriptor.num_columns())
        .filter(|leaf| mask.leaf_included(*leaf))
        .map(|leaf| descriptor.get_column_root_idx(leaf))
        .collect();
    let fields = file.schema().fields().iter().enumerate();
    let fields =
        fields.filter(|(place, _)| roots.contains(place)).map(|(_, field)| Arc::clone(field));
    arrow::datatypes::Schema::new(fields.collect::<Vec<_>>())
}

/// The filter of a predicate's parts that have a value for every row and look only at columns of
/// the file; none where it would decode all columns anyway.
fn late_filter(
    predicate: Option<&Predicate>,
    schema: &SchemaRef,
    file: &ParquetFile,
) -> Option<LateFilter> {
    let is_in_file = |column: usize| file.schema().index_of(schema.field(column).name()).is_ok();
    let mut columns = Vec::new();
    let mut parts = Vec::new();
    for part in certain_parts(predicate?) {
        let read: Vec<usize> =
            (0..schema.fields().len()).filter(|column| part.reads(*column)).collect();
        if !read.is_empty() && read.iter().all(|column| is_in_file(*column)) {
            columns.extend(read);
            parts.push(part.clone());
        }
    }
    columns.sort_unstable();
    columns.dedup();
    let all = (0..schema.fields().len()).filter(|column| is_in_file(*column)).count();
    let and = |left: Expr, right: Expr| Expr::Binary {
        op: BinaryOp::And,
        left: Box::new(left),
        right: Box::new(right),
        data_type: arrow::datatypes::DataType::Boolean,
    };
    let certain = Predicate(parts.into_iter().reduce(and)?);
    (columns.len() < all).then_some(LateFilter { predicate: certain, columns })
}

impl Units for RowGroups {
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(reader) = &mut self.current {
                let decoded = self.file.guarded(|| Ok(reader.next()))?;
                match decoded {
                    Some(Ok(batch)) if batch.num_rows() > 0 => {
                        return self.conform.batch(&batch).map(Some);
                    }
                    Some(Ok(_)) => continue,
                    Some(Err(error)) => {
                        let error = parquet::errors::ParquetError::from(error);
                        return Err(error_of(self.file.path(), error));
                    }
                    None => self.current = None,
                }
            }
            let Some(group) = self.groups.pop_front() else {
                self.position = self.end;
                self.held_bytes = 0;
                return Ok(None);
            };
            self.position = self.file.offset_of(group);
            self.current = self.group(group)?;
        }
    }

    fn position(&self) -> u64 {
        self.position
    }

    fn held_bytes(&self) -> u64 {
        self.held_bytes
    }
}
