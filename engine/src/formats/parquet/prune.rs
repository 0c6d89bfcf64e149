//! What of a Parquet file a condition rules out: row groups by statistics and bloom filters, pages
//! by the page index.
//!
//! Statistics are only trusted where their order is the engine's: the old `min` and `max` fields
//! not for text, bytes, decimals and unsigned numbers; `INT96` never.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, UInt64Array, new_null_array},
    compute::{CastOptions, cast_with_options},
    datatypes::{
        DataType, Date32Type, Decimal128Type, Field, Float32Type, Float64Type, Int64Type, SchemaRef,
    },
};
use parquet::{
    arrow::arrow_reader::{RowSelection, RowSelector, statistics::StatisticsConverter},
    basic::{ConvertedType, LogicalType, Type as PhysicalType},
    bloom_filter::Sbbf,
    file::metadata::{
        ColumnChunkMask, PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData,
        page_index::PageIndexProvider,
    },
};

use super::file::ParquetFile;
use crate::{
    Result,
    expr::BinaryOp,
    formats::normal::{normal_type, normalise},
    source::columnar::condition::{Bounds, Claim, Condition, Test},
};

/// What a condition over `schema` rules out of a file.
pub(crate) struct Pruner<'a> {
    pub(crate) file: &'a ParquetFile,
    /// That the condition is bound to.
    pub(crate) schema: &'a SchemaRef,
}

/// A column of the schema as the file has it: one leaf that is no part of a nested value.
struct FileColumn<'a> {
    leaf: usize,
    /// As it is decoded.
    field: &'a Field,
    /// As the plan has it.
    wanted: &'a DataType,
}

impl Pruner<'_> {
    /// The row groups that the statistics do not rule out.
    pub(crate) fn row_groups(&self, condition: Option<&Condition>) -> Result<Vec<usize>> {
        let groups = self.file.metadata().row_groups();
        let count = groups.len();
        let kept = match condition {
            Some(condition) => self.file.guarded(|| {
                Ok(condition.may_hold(count, &mut |column| self.group_bounds(column, groups)))
            })?,
            None => vec![true; count],
        };
        Ok((0..count).filter(|group| kept[*group]).collect())
    }

    /// Whether a row group's bloom filters leave a chance that the condition holds.
    pub(crate) fn may_be_in_bloom_filters(
        &self,
        condition: &Condition,
        group: usize,
    ) -> Result<bool> {
        let metadata = self.file.metadata().row_group(group);
        let mut error = None;
        let mut claim = |claim: &Claim| match self.may_be_in_bloom_filter(claim, metadata) {
            Ok(may) => may,
            Err(found) => {
                error = Some(found);
                true
            }
        };
        let may = condition.fold(
            &mut claim,
            &|left, right| left && right,
            &|left, right| left || right,
            &|| true,
        );
        error.map_or(Ok(may), Err)
    }

    /// The rows of a row group whose pages are not ruled out; `None` where the file has no index.
    pub(crate) fn pages(
        &self,
        condition: &Condition,
        group: usize,
    ) -> Result<Option<RowSelection>> {
        let columns = condition.columns();
        let leaves: Vec<usize> =
            columns.iter().filter_map(|column| Some(self.column(*column)?.leaf)).collect();
        let metadata = self.file.metadata().row_group(group);
        let has_index = |leaf: &usize| metadata.column(*leaf).column_index_offset().is_some();
        if leaves.is_empty() || !leaves.iter().any(has_index) {
            return Ok(None);
        }
        let rows = usize::try_from(metadata.num_rows()).unwrap_or(0);
        self.file.guarded(|| {
            let mask = ColumnChunkMask::columns(leaves);
            let (indexed, index) =
                ParquetMetaDataReader::new_with_metadata(self.file.metadata_of(group))
                    .with_column_index_policy(PageIndexPolicy::Optional)
                    .with_offset_index_policy(PageIndexPolicy::Optional)
                    .with_column_index_mask(mask.clone())
                    .with_offset_index_mask(mask)
                    .read_page_index_and_finish(&self.file.chunks)?;
            let Some(index) = index else { return Ok(None) };
            let all = || RowSelection::from(vec![RowSelector::select(rows)]);
            let mut claim =
                |claim: &Claim| self.selected_pages(claim, &indexed, &index).unwrap_or_else(all);
            let selection = condition.fold(
                &mut claim,
                &|left: RowSelection, right| left.intersection(&right),
                &|left: RowSelection, right| left.union(&right),
                &all,
            );
            Ok((selection.total_row_count() == rows).then_some(selection))
        })
    }

    fn column(&self, column: usize) -> Option<FileColumn<'_>> {
        let wanted = self.schema.fields().get(column)?;
        let place = self.file.schema().index_of(wanted.name()).ok()?;
        let field = self.file.schema().field(place);
        if field.data_type().is_nested() {
            return None;
        }
        let descriptor = self.file.arrow.parquet_schema();
        let mut leaves = (0..descriptor.num_columns())
            .filter(|leaf| descriptor.get_column_root_idx(*leaf) == place);
        let leaf = leaves.next().filter(|_| leaves.next().is_none())?;
        Some(FileColumn { leaf, field, wanted: wanted.data_type() })
    }

    fn group_bounds(&self, column: usize, groups: &[RowGroupMetaData]) -> Option<Bounds> {
        let column = self.column(column)?;
        let descriptor = self.file.arrow.parquet_schema();
        let converter =
            StatisticsConverter::from_column_index(column.leaf, column.field, descriptor).ok()?;
        let converter = converter.with_missing_null_counts_as_zero(false);
        let is_trusted = groups.iter().all(|group| self.trusts(group, &column));
        let (min, max) = if is_trusted {
            let min = brought(&converter.row_group_mins(groups).ok()?, column.wanted)?;
            (min, brought(&converter.row_group_maxes(groups).ok()?, column.wanted)?)
        } else {
            let unknown = new_null_array(column.wanted, groups.len());
            (Arc::clone(&unknown), unknown)
        };
        let nulls = converter.row_group_null_counts(groups).ok()?;
        let rows = groups.iter().map(|group| group.num_rows().unsigned_abs());
        Some(Bounds { min, max, nulls, rows: UInt64Array::from_iter_values(rows) })
    }

    /// Whether a row group's bounds of a column have the engine's order.
    fn trusts(&self, group: &RowGroupMetaData, column: &FileColumn<'_>) -> bool {
        let chunk = group.column(column.leaf);
        if chunk.column_type() == PhysicalType::INT96 {
            return false;
        }
        let Some(statistics) = chunk.statistics() else { return true };
        let descriptor = self.file.arrow.parquet_schema().column(column.leaf);
        let is_signed = matches!(
            chunk.column_type(),
            PhysicalType::BOOLEAN
                | PhysicalType::INT32
                | PhysicalType::INT64
                | PhysicalType::FLOAT
                | PhysicalType::DOUBLE
        ) && !matches!(
            descriptor.converted_type(),
            ConvertedType::UINT_8
                | ConvertedType::UINT_16
                | ConvertedType::UINT_32
                | ConvertedType::UINT_64
        ) && !matches!(
            descriptor.logical_type_ref(),
            Some(LogicalType::Integer(integer)) if !integer.is_signed
        );
        is_signed || !statistics.is_min_max_deprecated()
    }

    /// The rows of the pages that a claim may hold for, of a file's only row group; `None` where the
    /// index does not tell.
    fn selected_pages(
        &self,
        claim: &Claim,
        metadata: &ParquetMetaData,
        index: &dyn PageIndexProvider,
    ) -> Option<RowSelection> {
        let group = 0;
        let column = self.column(claim.column)?;
        index.column_index(group, column.leaf)?;
        let descriptor = self.file.arrow.parquet_schema();
        if metadata.row_group(group).column(column.leaf).column_type() == PhysicalType::INT96 {
            return None;
        }
        let converter =
            StatisticsConverter::from_column_index(column.leaf, column.field, descriptor).ok()?;
        let groups = [group];
        let rows = converter.data_page_row_counts(index, metadata.row_groups(), &groups).ok()??;
        if rows.null_count() > 0 {
            return None;
        }
        let min = brought(&converter.data_page_mins(index, &groups).ok()?, column.wanted)?;
        let max = brought(&converter.data_page_maxes(index, &groups).ok()?, column.wanted)?;
        let nulls = converter.data_page_null_counts(index, &groups).ok()?;
        let pages = rows.len();
        if min.len() != pages || max.len() != pages || nulls.len() != pages {
            return None;
        }
        let bounds = Bounds { min, max, nulls, rows };
        let kept = claim.may_hold(&bounds, pages);
        let selectors = kept.iter().zip(bounds.rows.values()).map(|(kept, count)| {
            let count = usize::try_from(*count).unwrap_or(usize::MAX);
            if *kept { RowSelector::select(count) } else { RowSelector::skip(count) }
        });
        Some(selectors.collect::<Vec<_>>().into())
    }

    fn may_be_in_bloom_filter(&self, claim: &Claim, group: &RowGroupMetaData) -> Result<bool> {
        let Test::Compare { through, op: BinaryOp::Equal, value } = &claim.test else {
            return Ok(true);
        };
        let Some(column) = self.column(claim.column) else { return Ok(true) };
        let chunk = group.column(column.leaf);
        // Without its length a filter's header would have to be trusted for it.
        let (Some(offset), Some(length)) =
            (chunk.bloom_filter_offset(), chunk.bloom_filter_length())
        else {
            return Ok(true);
        };
        let fits = |bytes: i64| u64::try_from(bytes).ok();
        let end = fits(offset).and_then(|offset| offset.checked_add(fits(length.into())?));
        if length > MAX_BLOOM_BYTES
            || end.is_none_or(|end| end > self.file.chunks.file().size_bytes())
        {
            return Err(self.file.corrupt("a bloom filter lies outside of the file"));
        }
        let Some(stored) = stored(value, through.as_ref(), &column) else { return Ok(true) };
        self.file.guarded(|| {
            let filter = Sbbf::read_from_column_chunk(chunk, &self.file.chunks)?;
            let Some(filter) = filter.filter(|filter| filter.num_blocks() > 0) else {
                return Ok(true);
            };
            Ok(match (chunk.column_type(), stored) {
                (PhysicalType::INT32, Stored::Whole(whole)) => {
                    i32::try_from(whole).is_ok_and(|whole| filter.check(&whole))
                }
                (PhysicalType::INT64, Stored::Whole(whole)) => filter.check(&whole),
                (PhysicalType::FLOAT, Stored::Float(float)) => filter.check(&float),
                (PhysicalType::DOUBLE, Stored::Double(double)) => filter.check(&double),
                (PhysicalType::BYTE_ARRAY, Stored::Bytes(bytes)) => filter.check(bytes.as_slice()),
                _ => true,
            })
        })
    }
}

/// The most bytes of a bloom filter that is read.
const MAX_BLOOM_BYTES: i32 = 128 << 20;

/// A constant as the file stores it.
enum Stored {
    Whole(i64),
    Float(f32),
    Double(f64),
    Bytes(Vec<u8>),
}

/// A constant as a column's file stores its values; `None` where that is not sure.
fn stored(value: &ArrayRef, through: Option<&DataType>, column: &FileColumn<'_>) -> Option<Stored> {
    let file_type = &normal_type(column.field.data_type())?;
    // Only where the way from the file's type to the constant's has one way back.
    let is_whole = |data_type: &DataType| data_type.is_integer();
    let same = through.is_none() && column.wanted == value.data_type();
    if is_whole(file_type) && is_whole(value.data_type()) {
        // An unsigned value above the signed ones is stored by its bits.
        if file_type.is_unsigned_integer() {
            return None;
        }
        let wide = cast_with_options(value, &DataType::Int64, &CastOptions::default()).ok()?;
        let wide = wide.as_primitive::<Int64Type>();
        return wide.is_valid(0).then(|| Stored::Whole(wide.value(0)));
    }
    if !same {
        return None;
    }
    match (file_type, value.data_type()) {
        (DataType::Float32, DataType::Float32) => {
            // Zero and NaN have several forms.
            let float = value.as_primitive::<Float32Type>().value(0);
            (float != 0.0 && !float.is_nan()).then_some(Stored::Float(float))
        }
        (DataType::Float64, DataType::Float64) => {
            let float = value.as_primitive::<Float64Type>().value(0);
            (float != 0.0 && !float.is_nan()).then_some(Stored::Double(float))
        }
        (DataType::Date32, DataType::Date32) => {
            Some(Stored::Whole(value.as_primitive::<Date32Type>().value(0).into()))
        }
        (DataType::Timestamp(..), found) if found == file_type => {
            let raw = cast_with_options(value, &DataType::Int64, &CastOptions::default()).ok()?;
            Some(Stored::Whole(raw.as_primitive::<Int64Type>().value(0)))
        }
        (DataType::Decimal128(..), found) if found == file_type => {
            let raw = value.as_primitive::<Decimal128Type>().value(0);
            Some(Stored::Whole(i64::try_from(raw).ok()?))
        }
        (DataType::Utf8View, DataType::Utf8View) => {
            Some(Stored::Bytes(value.as_string_view().value(0).as_bytes().to_vec()))
        }
        (DataType::BinaryView, DataType::BinaryView) => {
            Some(Stored::Bytes(value.as_binary_view().value(0).to_vec()))
        }
        _ => None,
    }
}

/// Bounds of the file's type as those of the plan's; null where a bound does not fit.
fn brought(bounds: &ArrayRef, wanted: &DataType) -> Option<ArrayRef> {
    let bounds = normalise(bounds).ok()?;
    if bounds.data_type() == wanted {
        return Some(bounds);
    }
    cast_with_options(&bounds, wanted, &CastOptions::default()).ok()
}
