//! [`Fields`]: the fields of a batch's records as places in a block, and their way into columns.
//!
//! A decoder first only finds where fields are. Columns are then made one after the other, each in
//! a loop of its own type, and only those that are wanted.

use std::{ops::Range, sync::Arc};

use arrow::{
    array::{ArrayRef, ArrowPrimitiveType, BooleanArray, PrimitiveArray, RecordBatch},
    buffer::{BooleanBuffer, NullBuffer},
    datatypes::{
        DataType, Date32Type, Float64Type, Int64Type, Schema, SchemaRef, TimeUnit,
        TimestampMicrosecondType,
    },
};

use crate::{
    Error, Result,
    formats::{
        Refusal,
        block::{Block, Views},
        scalar,
    },
};

/// What stands in a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing.
    Null,
    /// Text as it is.
    Text,
    /// Text that has to be unescaped.
    Escaped,
    /// A value that is no text: a number, a bool, an object (JSON).
    Literal,
}

/// A field's place in its block. Eight bytes, because there are many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    start: u32,
    /// The length, shifted by the two bits of the [`Kind`].
    length_and_kind: u32,
}

impl Field {
    /// A field without a value.
    pub(crate) const NULL: Self = Self { start: 0, length_and_kind: 0 };

    /// What stands in `start..end` of the block, which is far below a gigabyte.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "a block is far below a gigabyte")]
    pub(crate) fn new(start: usize, end: usize, kind: Kind) -> Self {
        Self { start: start as u32, length_and_kind: ((end - start) as u32) << 2 | kind as u32 }
    }

    /// What it is.
    #[inline]
    pub(crate) fn kind(self) -> Kind {
        match self.length_and_kind & 3 {
            0 => Kind::Null,
            1 => Kind::Text,
            2 => Kind::Escaped,
            _ => Kind::Literal,
        }
    }

    /// Where it is.
    #[inline]
    pub(crate) fn range(self) -> Range<usize> {
        let start = self.start as usize;
        start..start + (self.length_and_kind >> 2) as usize
    }
}

/// Appends a field's text, freed of what its format escapes with.
pub(crate) type Unescape = fn(&str, &mut String);

/// The places of all fields of some records.
pub(crate) struct Fields {
    /// Fields a record.
    pub(crate) width: usize,
    /// Where each record begins.
    pub(crate) records: Vec<usize>,
    /// The fields, record after record.
    pub(crate) places: Vec<Field>,
}

impl Fields {
    /// Room for records of `width` fields.
    pub(crate) fn new(width: usize) -> Self {
        Self { width, records: Vec::new(), places: Vec::new() }
    }

    /// Forgets all records.
    pub(crate) fn clear(&mut self) {
        self.records.clear();
        self.places.clear();
    }

    /// The fields of one column.
    pub(crate) fn column(&self, column: usize) -> impl ExactSizeIterator<Item = Field> {
        let from_first = self.places.get(column..).unwrap_or_default();
        from_first.iter().step_by(self.width.max(1)).copied()
    }
}

/// How fields become the columns of a schema.
pub(crate) struct Columns {
    schema: SchemaRef,
    chosen: Vec<Column>,
    /// The kind of field that holds a bool or a number.
    scalar_kind: Kind,
    unescape: Unescape,
}

/// One column of the batch.
struct Column {
    /// Its place in the record.
    field: usize,
    value: Value,
}

/// The types that fields are read as.
#[derive(Clone, Copy)]
enum Value {
    Bool,
    Int64,
    Float64,
    Text,
    Date,
    Timestamp,
}

/// The type of a timestamp column.
pub(crate) const TIMESTAMP: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

impl Columns {
    /// Every field of a record as the schema's column of the same number.
    ///
    /// # Errors
    /// [`Error::Evaluate`] where a column has a type that text can't be read as.
    pub(crate) fn new(schema: SchemaRef, scalar_kind: Kind, unescape: Unescape) -> Result<Self> {
        let chosen = (schema.fields().iter().enumerate())
            .map(|(field, column)| Ok(Column { field, value: value_of(column)? }))
            .collect::<Result<_>>()?;
        Ok(Self { schema, chosen, scalar_kind, unescape })
    }

    /// The batch that all records make.
    ///
    /// # Errors
    /// The first record with a value that is not of its column's type.
    fn batch(&self, block: &Block, fields: &Fields) -> Result<RecordBatch, Failed> {
        let mut arrays = Vec::with_capacity(self.chosen.len());
        let mut first: Option<BadValue> = None;
        for (number, column) in self.chosen.iter().enumerate() {
            match self.array(column, block, fields) {
                Ok(array) => arrays.push(array),
                Err(record) if first.as_ref().is_none_or(|bad| record < bad.record) => {
                    first = Some(BadValue { record, column: number });
                }
                Err(_) => {}
            }
        }
        match first {
            Some(bad) => Err(Failed::Value(bad)),
            None => RecordBatch::try_new(Arc::clone(&self.schema), arrays)
                .map_err(|error| Failed::Refusal(error.into())),
        }
    }

    /// The batch of all records up to the first with a value that is not of its column's type, and
    /// where the first record begins that is not in it. `end` is where the last record ends.
    ///
    /// # Errors
    /// The first record is that one.
    pub(crate) fn rows(
        &self,
        block: &Block,
        fields: &mut Fields,
        end: usize,
    ) -> Result<(RecordBatch, usize), Refusal> {
        let mut end = end;
        loop {
            let bad = match self.batch(block, fields) {
                Ok(batch) => return Ok((batch, end)),
                Err(Failed::Refusal(refusal)) => return Err(refusal),
                Err(Failed::Value(bad)) => bad,
            };
            let start = fields.records[bad.record];
            if bad.record == 0 {
                let next = fields.records.get(1).copied().unwrap_or(end);
                return Err(self.refusal(block, fields, &bad, start..next));
            }
            fields.records.truncate(bad.record);
            fields.places.truncate(bad.record * fields.width);
            end = start;
        }
    }

    fn refusal(
        &self,
        block: &Block,
        fields: &Fields,
        bad: &BadValue,
        range: Range<usize>,
    ) -> Refusal {
        let column = &self.chosen[bad.column];
        let field = fields.places[bad.record * fields.width + column.field];
        let found: String = block.text()[field.range()].chars().take(SHOWN_CHARACTERS).collect();
        let expected = match column.value {
            Value::Bool => "bool",
            Value::Int64 => "int64",
            Value::Float64 => "float64",
            Value::Text => "string",
            Value::Date => "date",
            Value::Timestamp => "timestamp",
        };
        let mut end = range.end;
        while end > range.start && matches!(block.bytes()[end - 1], b'\n' | b'\r') {
            end -= 1;
        }
        Refusal::BadRecord {
            range: range.start..end,
            column: Some(self.schema.field(bad.column).name().clone()),
            reason: format!("expected {expected}, found `{}`", found.escape_debug()),
        }
    }

    /// One column; the error is the first record with a value that is not of its type.
    fn array(&self, column: &Column, block: &Block, fields: &Fields) -> Result<ArrayRef, usize> {
        let values = fields.column(column.field);
        let text = block.text();
        let scalar_kind = self.scalar_kind;
        match column.value {
            Value::Bool => {
                let mut nulls = Vec::with_capacity(values.len());
                let mut bools = Vec::with_capacity(values.len());
                for (record, field) in values.enumerate() {
                    let value = match field.kind() {
                        Kind::Null => Some(false),
                        kind if kind == scalar_kind => {
                            scalar::parse_bool(&text.as_bytes()[field.range()])
                        }
                        _ => None,
                    };
                    bools.push(value.ok_or(record)?);
                    nulls.push(field.kind() != Kind::Null);
                }
                Ok(Arc::new(BooleanArray::new(BooleanBuffer::from(bools), valid(nulls))))
            }
            Value::Int64 => primitive::<Int64Type>(values, |field| {
                let is_scalar = field.kind() == scalar_kind;
                is_scalar.then(|| scalar::parse_int64(&text.as_bytes()[field.range()])).flatten()
            }),
            Value::Float64 => primitive::<Float64Type>(values, |field| {
                let is_scalar = field.kind() == scalar_kind;
                is_scalar.then(|| scalar::parse_float64(&text[field.range()])).flatten()
            }),
            Value::Date => primitive::<Date32Type>(values, |field| {
                let is_text = field.kind() == Kind::Text;
                is_text.then(|| scalar::parse_date(&text.as_bytes()[field.range()])).flatten()
            }),
            Value::Timestamp => primitive::<TimestampMicrosecondType>(values, |field| {
                let is_text = field.kind() == Kind::Text;
                is_text.then(|| scalar::parse_timestamp(&text.as_bytes()[field.range()])).flatten()
            }),
            Value::Text => Ok(self.text(values, block)),
        }
    }

    fn text(&self, values: impl ExactSizeIterator<Item = Field>, block: &Block) -> ArrayRef {
        let mut nulls = Vec::with_capacity(values.len());
        let mut views = Views::new(block, values.len());
        for field in values {
            let range = field.range();
            match field.kind() {
                Kind::Null => views.push_empty(),
                Kind::Text | Kind::Literal => views.push(range.start, range.end),
                Kind::Escaped => {
                    views.push_unescaped(|out| (self.unescape)(&block.text()[range], out));
                }
            }
            nulls.push(field.kind() != Kind::Null);
        }
        Arc::new(views.finish(valid(nulls)))
    }
}

/// How many characters of a bad value a message shows; the record follows it anyway.
const SHOWN_CHARACTERS: usize = 60;

/// A value that is not of its column's type.
struct BadValue {
    record: usize,
    column: usize,
}

enum Failed {
    Value(BadValue),
    Refusal(Refusal),
}

fn value_of(column: &arrow::datatypes::Field) -> Result<Value> {
    match column.data_type() {
        DataType::Boolean => Ok(Value::Bool),
        DataType::Int64 => Ok(Value::Int64),
        DataType::Float64 => Ok(Value::Float64),
        DataType::Utf8View => Ok(Value::Text),
        DataType::Date32 => Ok(Value::Date),
        DataType::Timestamp(TimeUnit::Microsecond, None) => Ok(Value::Timestamp),
        other => Err(Error::Evaluate {
            reason: format!(
                "column `{}` can't be read as {other}: a text file's columns are bool, int64, \
                 float64, string, date or timestamp",
                column.name()
            ),
        }),
    }
}

/// Whether all columns have types that text can be read as.
///
/// # Errors
/// [`Error::Evaluate`] for the first that has none.
pub(crate) fn check_types(schema: &Schema) -> Result<()> {
    schema.fields().iter().try_for_each(|column| value_of(column).map(|_| ()))
}

/// A validity mask, or none where all values are there.
fn valid(valid: Vec<bool>) -> Option<NullBuffer> {
    Some(NullBuffer::from(valid)).filter(|nulls| nulls.null_count() > 0)
}

/// A column of fixed-width values; the error is the first record that `parse` refuses.
fn primitive<T: ArrowPrimitiveType>(
    fields: impl ExactSizeIterator<Item = Field>,
    parse: impl Fn(Field) -> Option<T::Native>,
) -> Result<ArrayRef, usize> {
    let mut nulls = Vec::with_capacity(fields.len());
    let mut values = Vec::with_capacity(fields.len());
    for (record, field) in fields.enumerate() {
        let is_null = field.kind() == Kind::Null;
        values.push(if is_null { T::Native::default() } else { parse(field).ok_or(record)? });
        nulls.push(!is_null);
    }
    Ok(Arc::new(PrimitiveArray::<T>::new(values.into(), valid(nulls))))
}
