//! [`Fields`]: the fields of a batch's records as places in a block, and their way into columns.
//!
//! A decoder first only finds where fields are. Columns are then made one after the other, and
//! rows with a value that is not of its column's type are taken out, or end the batch.

use std::{ops::Range, sync::Arc};

use arrow::{
    array::{BooleanArray, RecordBatch},
    buffer::BooleanBuffer,
    compute::filter_record_batch,
    datatypes::{DataType, Schema, SchemaRef, TimeUnit},
};

use crate::{
    Error, Result,
    expr::parse::type_name,
    formats::{
        BadRecord, BadRecords, Refusal,
        block::Block,
        jsonl::scan,
        values::{Rules, Value},
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

/// What a format escapes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unescape {
    /// Quotes that are doubled or stand behind `escape`.
    Csv { quote: u8, escape: u8 },
    /// JSON's backslash.
    Json,
}

impl Unescape {
    /// Appends a field's text, freed of what is escaped.
    pub(crate) fn append(self, text: &str, out: &mut String) {
        match self {
            Self::Json => scan::unescape(text, out),
            Self::Csv { quote, escape } => {
                let mut rest = text;
                while let Some(at) = memchr::memchr2(quote, escape, rest.as_bytes()) {
                    // The character behind it stands for itself, whatever it is.
                    out.push_str(&rest[..at]);
                    let mut behind = rest[at + 1..].chars();
                    out.extend(behind.next());
                    rest = behind.as_str();
                }
                out.push_str(rest);
            }
        }
    }
}

/// The places of all fields of some records.
pub(crate) struct Fields {
    /// Fields a record.
    pub(crate) width: usize,
    /// Where each record begins.
    pub(crate) records: Vec<usize>,
    /// Where each record ends, without its line break.
    pub(crate) ends: Vec<usize>,
    /// The fields, record after record.
    pub(crate) places: Vec<Field>,
}

impl Fields {
    /// Room for records of `width` fields.
    pub(crate) fn new(width: usize) -> Self {
        Self { width, records: Vec::new(), ends: Vec::new(), places: Vec::new() }
    }

    /// Forgets all records.
    pub(crate) fn clear(&mut self) {
        self.records.clear();
        self.ends.clear();
        self.places.clear();
    }

    /// Adds a record whose fields are in their places.
    pub(crate) fn add(&mut self, record: Range<usize>) {
        self.records.push(record.start);
        self.ends.push(record.end);
    }

    /// The fields of one column.
    pub(crate) fn column(&self, column: usize) -> impl ExactSizeIterator<Item = Field> + Clone {
        let from_first = self.places.get(column..).unwrap_or_default();
        from_first.iter().step_by(self.width.max(1)).copied()
    }
}

/// How fields become the columns of a schema.
pub(crate) struct Columns {
    schema: SchemaRef,
    values: Vec<Value>,
    rules: Rules,
}

/// The type of a timestamp column.
pub(crate) const TIMESTAMP: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

impl Columns {
    /// Every field of a record as the schema's column of the same number.
    ///
    /// # Errors
    /// [`Error::Evaluate`] where a column has a type that text can't be read as.
    pub(crate) fn new(schema: SchemaRef, rules: Rules) -> Result<Self> {
        let values = schema.fields().iter().map(value_of).collect::<Result<_>>()?;
        Ok(Self { schema, values, rules })
    }

    /// The batch of all records whose values are of their columns' types, the others among the
    /// `bad` ones; where none is tolerated, the batch of those before the first such record. With
    /// it comes where the first record begins that is in neither; `end` is where the last ends.
    ///
    /// # Errors
    /// The first record is such a one, and none is tolerated.
    pub(crate) fn rows(
        &self,
        block: &Block,
        fields: &Fields,
        end: usize,
        bad: &mut BadRecords,
    ) -> Result<(Option<RecordBatch>, usize), Refusal> {
        let mut refused: Vec<(u32, usize)> = Vec::new();
        let mut of_column = Vec::new();
        let columns = self.values.iter().enumerate().map(|(number, value)| {
            let array =
                value.array(&self.rules, block, fields.column(number), None, &mut of_column);
            refused.extend(of_column.drain(..).map(|record| (record, number)));
            array
        });
        let columns = columns.collect();
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
        if refused.is_empty() {
            return Ok((Some(batch), end));
        }
        refused.sort_unstable();
        refused.dedup_by_key(|(record, _)| *record);
        let refusal = |(record, column): &(u32, usize)| {
            self.refusal(block, fields, *record as usize, *column)
        };
        if !bad.are_tolerated {
            let first = refused[0].0 as usize;
            if first == 0 {
                return Err(Refusal::BadRecord(refusal(&refused[0])));
            }
            return Ok((Some(batch.slice(0, first)), fields.records[first]));
        }
        let mut is_good = vec![true; batch.num_rows()];
        for (record, _) in &refused {
            is_good[*record as usize] = false;
        }
        bad.found.extend(refused.iter().map(refusal));
        let mask = BooleanArray::new(BooleanBuffer::from(is_good), None);
        let kept = filter_record_batch(&batch, &mask)?;
        Ok(((kept.num_rows() > 0).then_some(kept), end))
    }

    fn refusal(&self, block: &Block, fields: &Fields, record: usize, column: usize) -> BadRecord {
        let field = fields.places[record * fields.width + column];
        let found: String = block.text()[field.range()].chars().take(SHOWN_CHARACTERS).collect();
        let column = self.schema.field(column);
        BadRecord {
            range: fields.records[record]..fields.ends[record],
            column: Some(column.name().clone()),
            reason: format!(
                "expected {}, found `{}`",
                type_name(column.data_type()),
                found.escape_debug()
            ),
        }
    }
}

/// How many characters of a bad value a message shows; the record follows it anyway.
const SHOWN_CHARACTERS: usize = 60;

fn value_of(column: &Arc<arrow::datatypes::Field>) -> Result<Value> {
    Value::of(column.data_type()).ok_or_else(|| Error::Evaluate {
        reason: format!(
            "column `{}` can't be read as {}: no text says values of that type",
            column.name(),
            type_name(column.data_type())
        ),
    })
}

/// Whether all columns have types that text can be read as.
///
/// # Errors
/// [`Error::Evaluate`] for the first that has none.
pub(crate) fn check_types(schema: &Schema) -> Result<()> {
    schema.fields().iter().try_for_each(|column| value_of(column).map(|_| ()))
}
