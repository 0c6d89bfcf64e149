//! Late materialisation: of a row group, a predicate's columns are decoded first, and the others
//! only for the rows for which it holds.
//!
//! A column is decoded once: what the predicate looked at is kept, narrowed to its rows, until the
//! other columns of these rows are there. Only where that would be much to keep is it decoded again.

use std::{collections::VecDeque, sync::Arc};

use arrow::{
    array::{
        Array, ArrayRef, AsArray, BooleanArray, BooleanBufferBuilder, RecordBatch,
        RecordBatchOptions,
    },
    buffer::BooleanBuffer,
    compute::{BatchCoalescer, concat_batches, prep_null_mask_filter},
    datatypes::{DataType, Decimal64Type, SchemaRef},
};
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, RowSelection};

use super::file::{ParquetFile, error_of};
use crate::{
    Result,
    expr::{BinaryOp, Expr, Literal, Predicate},
    formats::BATCH_ROWS,
    plan::{FolderColumn, InputFile},
    source::columnar::{
        condition::{certain_parts, flipped, is_comparison},
        conform::Conform,
    },
};

/// The predicate's columns of a row group's rows are kept where they have at most so many bytes
/// before compression.
const KEPT_BYTES: u64 = 16 << 20;

/// Some columns of the node, and how they come from the file.
pub(super) struct Columns {
    /// Their places in the node's schema.
    pub(super) places: Vec<usize>,
    /// The file's leaves below them.
    pub(super) leaves: Vec<usize>,
    pub(super) conform: Conform,
    schema: SchemaRef,
    /// As they are decoded.
    decoded: SchemaRef,
}

impl Columns {
    /// Those at `places` of the node's `schema`.
    pub(super) fn new(
        places: Vec<usize>,
        schema: &SchemaRef,
        file: &ParquetFile,
        folders: &[FolderColumn],
        input: &InputFile,
    ) -> Result<Self> {
        let own: SchemaRef = Arc::new(schema.project(&places)?);
        let names: Vec<&str> = own.fields().iter().map(|field| field.name().as_str()).collect();
        let leaves: Vec<usize> = file.leaves(&names).collect();
        let decoded = Arc::new(file.decoded(&leaves));
        let conform = Conform::new(&decoded, Arc::clone(&own), folders, input)?;
        Ok(Self { places, leaves, conform, schema: own, decoded })
    }
}

/// What decides about rows before all columns are decoded.
pub(super) struct LateFilter {
    /// Tests of columns as they are decoded.
    narrow: Vec<NarrowTest>,
    /// The other parts of the predicate, over the schema of `columns`.
    wide: Option<Predicate>,
    /// What it looks at.
    pub(super) columns: Columns,
    /// The node's other columns; none where it looks at all.
    pub(super) rest: Option<Columns>,
}

impl LateFilter {
    /// The filter of a predicate's parts that have a value for every row and look only at columns of
    /// the file; `None` where there is no such part.
    pub(super) fn new(
        predicate: Option<&Predicate>,
        schema: &SchemaRef,
        file: &ParquetFile,
        folders: &[FolderColumn],
        input: &InputFile,
    ) -> Result<Option<Self>> {
        let Some(predicate) = predicate else { return Ok(None) };
        let is_in_file = |column: &usize| {
            let name = schema.field(*column).name();
            file.schema().index_of(name).is_ok()
                && folders.iter().all(|folder| folder.name != *name)
        };
        let (mut places, mut parts) = (Vec::new(), Vec::new());
        for part in certain_parts(predicate) {
            let read = part.columns();
            if !read.is_empty() && read.iter().all(is_in_file) {
                places.extend(read);
                parts.push(part.clone());
            }
        }
        places.sort_unstable();
        places.dedup();
        // What is cheap decides first; none of the parts can fail.
        parts.sort_by_key(Expr::is_costly);
        let and = |left: Expr, right: Expr| Expr::Binary {
            op: BinaryOp::And,
            left: Box::new(left),
            right: Box::new(right),
            data_type: DataType::Boolean,
        };
        if parts.is_empty() {
            return Ok(None);
        }
        let rest: Vec<usize> =
            (0..schema.fields().len()).filter(|column| !places.contains(column)).collect();
        let at = |these| Columns::new(these, schema, file, folders, input);
        let rest = if rest.is_empty() { None } else { Some(at(rest)?) };
        let columns = at(places)?;
        let (mut narrow, mut wide) = (Vec::new(), Vec::new());
        for mut part in parts {
            let place = |column| columns.places.binary_search(&column).unwrap_or(column);
            part.move_columns(&place);
            match NarrowTest::of(&part, &columns) {
                Some(test) => narrow.push(test),
                None => wide.push(part),
            }
        }
        let wide = wide.into_iter().reduce(and).map(Predicate);
        Ok(Some(Self { narrow, wide, columns, rest }))
    }

    /// Whether what the predicate looks at is kept until the other columns are there.
    pub(super) fn keeps(&self, file: &ParquetFile, group: usize) -> bool {
        let metadata = file.metadata().row_group(group);
        let bytes = |leaf: &usize| metadata.column(*leaf).uncompressed_size().unsigned_abs();
        self.columns.leaves.iter().map(bytes).sum::<u64>() <= KEPT_BYTES
    }

    /// The next rows of `reader`, which decodes the filter's columns: those, as they are decoded, and
    /// for which of them the predicate holds.
    fn tested(
        &self,
        reader: &mut ParquetRecordBatchReader,
        file: &ParquetFile,
    ) -> Result<Option<(RecordBatch, BooleanArray)>> {
        let Some(batch) = next_batch(reader, file)? else { return Ok(None) };
        let mut holds: Option<BooleanBuffer> = None;
        for test in &self.narrow {
            let Some(passes) = test.evaluate(&batch) else {
                return Err(file.corrupt("a column is not of the type that its footer says"));
            };
            holds = Some(match holds {
                Some(before) => &before & &passes,
                None => passes,
            });
        }
        if let Some(wide) = &self.wide {
            let passes = match wide.evaluate(&self.columns.conform.batch(&batch)?) {
                Ok(passes) if passes.null_count() > 0 => prep_null_mask_filter(&passes),
                Ok(passes) => passes,
                // The filter above gives the error.
                Err(_) => BooleanArray::new(BooleanBuffer::new_set(batch.num_rows()), None),
            };
            holds = Some(match holds {
                Some(before) => &before & passes.values(),
                None => passes.values().clone(),
            });
        }
        let holds = holds.unwrap_or_else(|| BooleanBuffer::new_set(batch.num_rows()));
        Ok(Some((batch, BooleanArray::new(holds, None))))
    }
}

/// `column op constant` of a decimal that is decoded to 64 bits.
struct NarrowTest {
    /// Its place in what is decoded.
    column: usize,
    op: BinaryOp,
    value: i64,
}

impl NarrowTest {
    /// The test that a part of a predicate over `columns` is, where it is one.
    fn of(part: &Expr, columns: &Columns) -> Option<Self> {
        let Expr::Binary { op, left, right, .. } = part else { return None };
        let (index, op, literal) = match (&**left, &**right) {
            (Expr::Column { index, .. }, Expr::Literal(literal)) => (*index, *op, literal),
            (Expr::Literal(literal), Expr::Column { index, .. }) => {
                (*index, flipped(*op)?, literal)
            }
            _ => return None,
        };
        if !is_comparison(op) {
            return None;
        }
        let column = columns.decoded.index_of(columns.schema.field(index).name()).ok()?;
        let DataType::Decimal64(_, scale) = columns.decoded.field(column).data_type() else {
            return None;
        };
        let Literal::Decimal { value, scale: of_literal, .. } = literal else { return None };
        let value = i64::try_from(*value).ok()?;
        (scale == of_literal).then_some(Self { column, op, value })
    }

    /// For which rows it holds; `None` where the column is of another type.
    fn evaluate(&self, batch: &RecordBatch) -> Option<BooleanBuffer> {
        let column = batch.column(self.column).as_primitive_opt::<Decimal64Type>()?;
        let values: &[i64] = column.values();
        let one = self.value;
        let holds = match self.op {
            BinaryOp::Equal => each(values, |value| value == one),
            BinaryOp::NotEqual => each(values, |value| value != one),
            BinaryOp::Less => each(values, |value| value < one),
            BinaryOp::LessOrEqual => each(values, |value| value <= one),
            BinaryOp::Greater => each(values, |value| value > one),
            BinaryOp::GreaterOrEqual => each(values, |value| value >= one),
            _ => return None,
        };
        Some(match column.nulls() {
            Some(nulls) => &holds & nulls.inner(),
            None => holds,
        })
    }
}

fn each(values: &[i64], holds: impl Fn(i64) -> bool) -> BooleanBuffer {
    BooleanBuffer::collect_bool(values.len(), |row| holds(values[row]))
}

/// The next batch of the decoder, never empty.
pub(super) fn next_batch(
    reader: &mut ParquetRecordBatchReader,
    file: &ParquetFile,
) -> Result<Option<RecordBatch>> {
    loop {
        match file.guarded(|| Ok(reader.next()))? {
            Some(Ok(batch)) if batch.num_rows() > 0 => return Ok(Some(batch)),
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                let error = parquet::errors::ParquetError::from(error);
                return Err(error_of(file.path(), error));
            }
            None => return Ok(None),
        }
    }
}

/// The rows of a row group for which a filter that looks at all columns holds, as they are decoded.
pub(super) struct Sieve {
    reader: Option<ParquetRecordBatchReader>,
    kept: BatchCoalescer,
}

impl Sieve {
    pub(super) fn new(filter: &LateFilter, reader: ParquetRecordBatchReader) -> Self {
        let kept = BatchCoalescer::new(Arc::clone(&filter.columns.decoded), BATCH_ROWS);
        Self { reader: Some(reader), kept }
    }

    /// The next rows that are left.
    pub(super) fn next(
        &mut self,
        filter: &LateFilter,
        file: &ParquetFile,
    ) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(batch) = self.kept.next_completed_batch() {
                return filter.columns.conform.batch(&batch).map(Some);
            }
            let Some(reader) = &mut self.reader else { return Ok(None) };
            if let Some((batch, holds)) = filter.tested(reader, file)? {
                self.kept.push_batch_with_filter(batch, &holds)?;
            } else {
                self.reader = None;
                self.kept.finish_buffered_batch()?;
            }
        }
    }
}

/// The rows of a row group that a filter has left, before their other columns are decoded.
pub(super) struct Survivors {
    /// Which they are; all that were decoded where absent.
    pub(super) selection: Option<RowSelection>,
    /// What the filter looked at, of them alone; empty where that is decoded again.
    pub(super) kept: VecDeque<RecordBatch>,
    /// How many they are.
    pub(super) rows: usize,
}

impl Survivors {
    /// Tests all rows that `reader` decodes, which are those of `selection`.
    pub(super) fn of(
        filter: &LateFilter,
        file: &ParquetFile,
        mut reader: ParquetRecordBatchReader,
        selection: Option<RowSelection>,
        keeps: bool,
    ) -> Result<Self> {
        let mut coalescer = BatchCoalescer::new(Arc::clone(&filter.columns.decoded), BATCH_ROWS);
        let mut kept = VecDeque::new();
        let (mut mask, mut rows) = (BooleanBufferBuilder::new(0), 0);
        while let Some((batch, holds)) = filter.tested(&mut reader, file)? {
            rows += holds.true_count();
            mask.append_buffer(holds.values());
            if keeps {
                coalescer.push_batch_with_filter(batch, &holds)?;
                kept.extend(std::iter::from_fn(|| coalescer.next_completed_batch()));
            }
        }
        coalescer.finish_buffered_batch()?;
        kept.extend(std::iter::from_fn(|| coalescer.next_completed_batch()));
        let selection = if rows == mask.len() {
            selection
        } else {
            let holds = RowSelection::from_boolean_buffer(mask.finish());
            Some(match selection {
                Some(selection) => selection.and_then(&holds),
                None => holds,
            })
        };
        Ok(Self { selection, kept, rows })
    }
}

/// The other columns of a filter's survivors, put beside what was kept of them.
pub(super) struct Completed {
    pub(super) reader: ParquetRecordBatchReader,
    pub(super) kept: VecDeque<RecordBatch>,
}

impl Completed {
    /// The next rows, under the node's `schema`.
    pub(super) fn next(
        &mut self,
        filter: &LateFilter,
        rest: &Columns,
        schema: &SchemaRef,
        file: &ParquetFile,
    ) -> Result<Option<RecordBatch>> {
        let Some(batch) = next_batch(&mut self.reader, file)? else {
            if self.kept.is_empty() {
                return Ok(None);
            }
            return Err(file.corrupt("its columns have different numbers of rows"));
        };
        let batch = rest.conform.batch(&batch)?;
        let rows = batch.num_rows();
        let Some(kept) = self.take(rows, &filter.columns.decoded)? else {
            return Err(file.corrupt("its columns have different numbers of rows"));
        };
        let kept = filter.columns.conform.batch(&kept)?;
        let mut columns: Vec<Option<ArrayRef>> = vec![None; schema.fields().len()];
        for (places, part) in [(&filter.columns.places, kept), (&rest.places, batch)] {
            for (place, column) in places.iter().zip(part.columns()) {
                columns[*place] = Some(Arc::clone(column));
            }
        }
        let columns = columns.into_iter().flatten().collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(Some(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?))
    }

    /// So many rows of what was kept; `None` where there are fewer.
    fn take(&mut self, rows: usize, schema: &SchemaRef) -> Result<Option<RecordBatch>> {
        let (mut pieces, mut missing) = (Vec::new(), rows);
        while missing > 0 {
            let Some(front) = self.kept.pop_front() else { return Ok(None) };
            if front.num_rows() > missing {
                self.kept.push_front(front.slice(missing, front.num_rows() - missing));
                pieces.push(front.slice(0, missing));
                break;
            }
            missing -= front.num_rows();
            pieces.push(front);
        }
        if pieces.len() == 1 {
            return Ok(pieces.pop());
        }
        Ok(Some(concat_batches(schema, &pieces)?))
    }
}
