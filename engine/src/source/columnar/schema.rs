//! One schema for the files of a reader, and the statistics that they have.
//!
//! Columns are matched by name, in the order of the first file; those that later files add follow.
//! A file that lacks a column has nulls there: that is how tables grow. Types are widened where no
//! value changes by it; types that do not meet are an error that names the file.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use crate::{
    Error, Result,
    disk::Disk,
    expr::parse::type_name,
    formats::{Format, arrow::file::ArrowFile, normal::normal_type, parquet::file::ParquetFile},
    plan::{InputFile, ReadStatistics},
};

/// What the files of a reader have.
pub(crate) struct Inspected {
    /// The columns, of types that pipelines know; with a selection in its order, and only those.
    pub(crate) schema: SchemaRef,
    /// The names of all columns.
    pub(crate) names: Vec<String>,
    /// For files that say how many rows they have.
    pub(crate) statistics: Option<ReadStatistics>,
}

/// Opens every file and reads what it says of itself; of the columns `only` these, where given.
///
/// # Errors
/// As opening does; `Corrupt` with the file's name for a type that no pipeline knows, and for
/// types that do not meet.
pub(crate) fn inspect(
    format: &Format,
    files: &[InputFile],
    only: Option<&[String]>,
    disk: &Arc<dyn Disk>,
) -> Result<Inspected> {
    let mut union = Union { only, names: Vec::new(), columns: Vec::new() };
    let mut rows = Some(0_u64);
    for file in files {
        match format {
            Format::Parquet => {
                let parquet = ParquetFile::open(file, disk)?;
                union.add(parquet.schema(), file, |name| parquet.uncompressed_bytes(name))?;
                rows = rows.map(|rows| rows.saturating_add(parquet.rows()));
            }
            _ => {
                let arrow = ArrowFile::open(file, disk)?;
                // The rows of an Arrow file stand in front of each batch, all over the file.
                let bytes = file.size_bytes / (arrow.schema().fields().len() as u64).max(1);
                union.add(arrow.schema(), file, |_| bytes)?;
                rows = None;
            }
        }
    }
    if let Some(only) = only {
        let place = |column: &Column| only.iter().position(|name| name == column.field.name());
        union.columns.sort_by_key(place);
    }
    let fields: Vec<_> = union.columns.iter().map(|column| column.field.clone()).collect();
    let column_bytes = union.columns.iter().map(|column| column.bytes).collect();
    let statistics = rows.map(|rows| ReadStatistics { rows, column_bytes });
    Ok(Inspected { schema: Arc::new(Schema::new(fields)), names: union.names, statistics })
}

struct Union<'a> {
    only: Option<&'a [String]>,
    names: Vec<String>,
    columns: Vec<Column>,
}

struct Column {
    field: Field,
    bytes: u64,
}

impl Union<'_> {
    fn add(
        &mut self,
        schema: &Schema,
        file: &InputFile,
        bytes: impl Fn(&str) -> u64,
    ) -> Result<()> {
        let refuse =
            |reason: String| Error::Corrupt { what: file.path.display().to_string(), reason };
        let mut seen = hashbrown::HashSet::new();
        for field in schema.fields() {
            let name = field.name();
            if !seen.insert(name.as_str()) {
                return Err(refuse(format!("two columns are named `{name}`")));
            }
            if !self.names.contains(name) {
                self.names.push(name.clone());
            }
            if self.only.is_some_and(|only| !only.contains(name)) {
                continue;
            }
            let Some(data_type) = normal_type(field.data_type()) else {
                let data_type = field.data_type();
                return Err(refuse(format!(
                    "column `{name}` has type {data_type}, which is not supported; name the other columns in `columns`"
                )));
            };
            let bytes = bytes(name);
            match self.columns.iter_mut().find(|column| column.field.name() == name) {
                Some(column) => {
                    let known = column.field.data_type();
                    let Some(wide) = widened(known, &data_type) else {
                        return Err(refuse(format!(
                            "column `{name}` is {} here and {} in the files before",
                            type_name(&data_type),
                            type_name(known)
                        )));
                    };
                    column.field = Field::new(name, wide, true);
                    column.bytes = column.bytes.saturating_add(bytes);
                }
                None => {
                    self.columns.push(Column { field: Field::new(name, data_type, true), bytes })
                }
            }
        }
        Ok(())
    }
}

/// The type that holds every value of both, unchanged.
pub(crate) fn widened(left: &DataType, right: &DataType) -> Option<DataType> {
    let bits = |data_type: &DataType| data_type.primitive_width().unwrap_or(0);
    let wider = |left: &DataType, right: &DataType| {
        if bits(left) >= bits(right) { left.clone() } else { right.clone() }
    };
    Some(match (left, right) {
        (same, other) if same == other => same.clone(),
        (DataType::Null, other) | (other, DataType::Null) => other.clone(),
        (DataType::Decimal128(p1, s1), DataType::Decimal128(p2, s2)) => {
            decimal((*p1, *s1), (*p2, *s2))?
        }
        (DataType::Decimal128(p, s), whole) | (whole, DataType::Decimal128(p, s)) => {
            decimal((*p, *s), (whole_digits(whole)?, 0))?
        }
        (DataType::Float32, DataType::Float64) | (DataType::Float64, DataType::Float32) => {
            DataType::Float64
        }
        (DataType::Float64, whole) | (whole, DataType::Float64)
            if whole.is_integer() && bits(whole) <= 4 =>
        {
            DataType::Float64
        }
        (signed, other) if signed.is_signed_integer() && other.is_signed_integer() => {
            wider(signed, other)
        }
        (unsigned, other) if unsigned.is_unsigned_integer() && other.is_unsigned_integer() => {
            wider(unsigned, other)
        }
        (signed, unsigned) | (unsigned, signed)
            if signed.is_signed_integer() && unsigned.is_unsigned_integer() =>
        {
            match bits(signed).max(2 * bits(unsigned)) {
                2 => DataType::Int16,
                4 => DataType::Int32,
                8 => DataType::Int64,
                _ => return None,
            }
        }
        (DataType::Timestamp(left, zone), DataType::Timestamp(right, other)) if zone == other => {
            DataType::Timestamp(finer(*left, *right), zone.clone())
        }
        (DataType::Duration(left), DataType::Duration(right)) => {
            DataType::Duration(finer(*left, *right))
        }
        (DataType::List(left), DataType::List(right)) => {
            let element = widened(left.data_type(), right.data_type())?;
            DataType::List(Arc::new(Field::new(left.name(), element, true)))
        }
        _ => return None,
    })
}

fn finer(left: TimeUnit, right: TimeUnit) -> TimeUnit {
    let fineness = |unit: TimeUnit| match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 1,
        TimeUnit::Microsecond => 2,
        TimeUnit::Nanosecond => 3,
    };
    if fineness(left) >= fineness(right) { left } else { right }
}

fn whole_digits(data_type: &DataType) -> Option<u8> {
    Some(match data_type {
        DataType::Int8 | DataType::UInt8 => 3,
        DataType::Int16 | DataType::UInt16 => 5,
        DataType::Int32 | DataType::UInt32 => 10,
        DataType::Int64 => 19,
        DataType::UInt64 => 20,
        _ => return None,
    })
}

fn decimal(left: (u8, i8), right: (u8, i8)) -> Option<DataType> {
    let scale = left.1.max(right.1);
    let whole = |(precision, scale): (u8, i8)| i16::from(precision) - i16::from(scale);
    let precision = whole(left).max(whole(right)) + i16::from(scale);
    let precision = u8::try_from(precision).ok().filter(|precision| *precision <= 38)?;
    Some(DataType::Decimal128(precision, scale))
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, TimeUnit};

    use super::widened;

    #[test]
    fn types_are_widened_where_no_value_changes() {
        let both = |left: &DataType, right: &DataType| {
            let wide = widened(left, right);
            assert_eq!(wide, widened(right, left), "{left} and {right}");
            wide
        };
        assert_eq!(both(&DataType::Int32, &DataType::Int64), Some(DataType::Int64));
        assert_eq!(both(&DataType::UInt32, &DataType::Int8), Some(DataType::Int64));
        assert_eq!(both(&DataType::UInt64, &DataType::Int64), None);
        assert_eq!(both(&DataType::Float32, &DataType::Float64), Some(DataType::Float64));
        assert_eq!(both(&DataType::Int64, &DataType::Float64), None);
        assert_eq!(both(&DataType::Int32, &DataType::Float64), Some(DataType::Float64));
        assert_eq!(both(&DataType::Null, &DataType::Date32), Some(DataType::Date32));
        assert_eq!(both(&DataType::Utf8View, &DataType::Int64), None);
        let decimal = DataType::Decimal128;
        assert_eq!(both(&decimal(10, 2), &decimal(12, 4)), Some(decimal(12, 4)));
        assert_eq!(both(&decimal(38, 0), &decimal(38, 2)), None);
        assert_eq!(both(&decimal(4, 2), &DataType::Int32), Some(decimal(12, 2)));
        let time = |unit| DataType::Timestamp(unit, None);
        let (ms, ns) = (time(TimeUnit::Millisecond), time(TimeUnit::Nanosecond));
        assert_eq!(both(&ms, &ns), Some(ns));
    }
}
