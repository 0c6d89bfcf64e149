//! `explode` and `split`: a row for each element of a list, or for each part of a text.
//!
//! The other columns are repeated; what is taken apart is replaced by its element or part.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, ListArray, RecordBatch, StringViewArray, UInt32Array},
    buffer::NullBuffer,
    compute::take,
    datatypes::SchemaRef,
};
use memchr::{memchr, memmem};

use crate::{
    Error, Result,
    expr::text::{TextBuilder, TextValue},
    operators::Operator,
    plan::Separator,
};

/// The most rows of an output batch.
const BATCH_ROWS: usize = 8192;

/// Each row once for each element of its list `column`, which the element replaces.
///
/// - Shape: `schema`, at most 8192 rows a batch. A null list and an empty one have no elements;
///   with `outer` such a row comes out once, with a null. A null element is an element.
/// - Order: rows keep theirs; a row's elements come in their order.
/// - Memory: one batch of output, not charged to the budget.
/// - Errors: those of its input.
pub struct Explode {
    input: Box<dyn Operator>,
    column: usize,
    outer: bool,
    schema: SchemaRef,
    current: Option<Elements>,
}

/// An input batch, and where in it the next output batch begins.
struct Elements {
    batch: RecordBatch,
    list: ListArray,
    row: usize,
    element: usize,
}

impl Explode {
    /// Of the list `column` of `input`.
    pub fn new(input: Box<dyn Operator>, column: usize, outer: bool, schema: SchemaRef) -> Self {
        Self { input, column, outer, schema, current: None }
    }
}

impl Operator for Explode {
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(elements) = &mut self.current {
                let (rows, places) = elements.advance(self.outer);
                if !rows.is_empty() {
                    let places: UInt32Array = places.into_iter().collect();
                    let part = take(elements.list.values(), &places, None)?;
                    return repeated(&elements.batch, self.column, rows, &part, &self.schema)
                        .map(Some);
                }
            }
            let Some(batch) = self.input.next()? else { return Ok(None) };
            let list = batch.columns().get(self.column).and_then(|list| list.as_list_opt::<i32>());
            let list = list.cloned().ok_or_else(|| {
                Error::Internal(format!("explode: column {} is not a list", self.column))
            })?;
            self.current = Some(Elements { batch, list, row: 0, element: 0 });
        }
    }
}

impl Elements {
    /// The next output rows: the input's rows, and the places of their elements among the values.
    fn advance(&mut self, outer: bool) -> (Vec<u32>, Vec<Option<u32>>) {
        let (mut rows, mut places) = (Vec::new(), Vec::new());
        let offsets = self.list.value_offsets();
        while self.row < self.list.len() && rows.len() < BATCH_ROWS {
            let is_null = self.list.is_null(self.row);
            // An offset is never negative, and a batch has fewer than 2³² rows.
            let place = |at: usize| u32::try_from(offsets[at]).unwrap_or(0);
            let row = u32::try_from(self.row).unwrap_or(u32::MAX);
            let (start, end) = (place(self.row), place(self.row + 1));
            let count = if is_null { 0 } else { (end - start) as usize };
            let taken = (count - self.element).min(BATCH_ROWS - rows.len());
            let first = start + u32::try_from(self.element).unwrap_or(0);
            rows.resize(rows.len() + taken, row);
            places.extend((first..).take(taken).map(Some));
            self.element += taken;
            if count == 0 && outer {
                rows.push(row);
                places.push(None);
            }
            if self.element == count {
                self.element = 0;
                self.row += 1;
            }
        }
        (rows, places)
    }
}

/// Each row once for each part of its text `column`, which the part replaces.
///
/// - Shape: `schema`, at most 8192 rows a batch. A null has no parts, and an empty text no lines;
///   with `outer` such a row comes out once, with a null.
/// - Order: rows keep theirs; a row's parts come in their order.
/// - Memory: one batch of output, which pins the text it came from; not charged to the budget.
/// - Errors: those of its input.
pub struct Split {
    input: Box<dyn Operator>,
    column: usize,
    by: Separator,
    outer: bool,
    schema: SchemaRef,
    current: Option<Parts>,
}

/// An input batch, and where in it the next output batch begins.
struct Parts {
    batch: RecordBatch,
    text: StringViewArray,
    row: usize,
    byte: usize,
}

impl Split {
    /// Of the text `column` of `input`.
    pub fn new(
        input: Box<dyn Operator>,
        column: usize,
        by: Separator,
        outer: bool,
        schema: SchemaRef,
    ) -> Self {
        Self { input, column, by, outer, schema, current: None }
    }
}

impl Operator for Split {
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(parts) = &mut self.current {
                let (rows, part) = parts.advance(&self.by, self.outer);
                if !rows.is_empty() {
                    let part: ArrayRef = Arc::new(part);
                    return repeated(&parts.batch, self.column, rows, &part, &self.schema)
                        .map(Some);
                }
            }
            let Some(batch) = self.input.next()? else { return Ok(None) };
            let text = batch.columns().get(self.column).and_then(|text| text.as_string_view_opt());
            let text = text.cloned().ok_or_else(|| {
                Error::Internal(format!("split: column {} is not a text column", self.column))
            })?;
            self.current = Some(Parts { batch, text, row: 0, byte: 0 });
        }
    }
}

impl Parts {
    /// The next output rows: the input's rows, and their parts.
    fn advance(&mut self, by: &Separator, outer: bool) -> (Vec<u32>, StringViewArray) {
        let mut parts = TextBuilder::with_capacity(BATCH_ROWS);
        let base = parts.share(&self.text);
        let (mut rows, mut is_valid) = (Vec::new(), Vec::new());
        while self.row < self.text.len() && rows.len() < BATCH_ROWS {
            let row = u32::try_from(self.row).unwrap_or(u32::MAX);
            let is_null = self.text.is_null(self.row);
            if is_null || (*by == Separator::Lines && self.text.value(self.row).is_empty()) {
                if outer {
                    rows.push(row);
                    is_valid.push(false);
                    parts.push_empty();
                }
                self.row += 1;
                continue;
            }
            let value = TextValue::new(&self.text, self.row, base);
            let (end, next) = part_end(value.text, self.byte, by);
            rows.push(row);
            is_valid.push(true);
            parts.push_part(&value, self.byte, end);
            self.byte = next.unwrap_or(0);
            self.row += usize::from(next.is_none());
        }
        let nulls = NullBuffer::from(is_valid);
        (rows, parts.finish((nulls.null_count() > 0).then_some(nulls)))
    }
}

/// Where the part ends that begins at byte `at`, and where the next one begins, if there is one.
fn part_end(text: &str, at: usize, by: &Separator) -> (usize, Option<usize>) {
    let bytes = &text.as_bytes()[at..];
    match by {
        Separator::Text(separator) => match memmem::find(bytes, separator.as_bytes()) {
            Some(found) => (at + found, Some(at + found + separator.len())),
            None => (text.len(), None),
        },
        Separator::Lines => match memchr(b'\n', bytes) {
            Some(found) => {
                let has_return = found > 0 && bytes[found - 1] == b'\r';
                let next = at + found + 1;
                (at + found - usize::from(has_return), (next < text.len()).then_some(next))
            }
            None => (text.len(), None),
        },
    }
}

/// The rows of `batch` of these numbers, with `part` in the place of `column`.
fn repeated(
    batch: &RecordBatch,
    column: usize,
    rows: Vec<u32>,
    part: &ArrayRef,
    schema: &SchemaRef,
) -> Result<RecordBatch> {
    let rows = UInt32Array::from(rows);
    let columns = batch.columns().iter().enumerate().map(|(index, values)| {
        if index == column { Ok(Arc::clone(part)) } else { Ok(take(values, &rows, None)?) }
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    Ok(RecordBatch::try_new(SchemaRef::clone(schema), columns)?)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::{
        array::{Array, ArrayRef, AsArray, Int64Array, ListArray, RecordBatch, StringViewArray},
        datatypes::{DataType, Field, Int64Type, Schema},
    };

    use super::{Explode, Split};
    use crate::{
        operators::{Batches, Operator},
        plan::Separator,
    };

    /// Rows as their number and what stands beside it.
    fn rows(mut operator: impl Operator) -> Vec<(i64, Option<String>)> {
        let mut rows = Vec::new();
        while let Some(batch) = operator.next().unwrap() {
            assert!((1..=8192).contains(&batch.num_rows()));
            let numbers = batch.column(0).as_primitive::<Int64Type>();
            let shown = |row| -> Option<String> {
                let column = batch.column(1);
                if column.is_null(row) {
                    return None;
                }
                Some(match column.data_type() {
                    DataType::Utf8View => column.as_string_view().value(row).to_owned(),
                    _ => column.as_primitive::<Int64Type>().value(row).to_string(),
                })
            };
            rows.extend((0..batch.num_rows()).map(|row| (numbers.value(row), shown(row))));
        }
        rows
    }

    fn input(column: ArrayRef) -> Box<dyn Operator> {
        let numbers: ArrayRef =
            Arc::new((0..column.len()).map(|n| i64::try_from(n).ok()).collect::<Int64Array>());
        let batch = RecordBatch::try_from_iter([("row", numbers), ("x", column)]).unwrap();
        Box::new(Batches::new(vec![batch.slice(0, 1), batch.slice(1, batch.num_rows() - 1)]))
    }

    fn schema(data_type: DataType) -> Arc<Schema> {
        let row = Field::new("row", DataType::Int64, true);
        Arc::new(Schema::new(vec![row, Field::new("x", data_type, true)]))
    }

    #[test]
    fn each_element_is_a_row_and_an_empty_list_is_one_only_with_outer() {
        let lists = || -> ArrayRef {
            Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>([
                Some(vec![Some(1), None]),
                None,
                Some(vec![]),
                Some(vec![Some(3)]),
            ]))
        };
        let exploded =
            |outer| rows(Explode::new(input(lists()), 1, outer, schema(DataType::Int64)));
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(exploded(false), [(0, text("1")), (0, None), (3, text("3"))]);
        let outer = [(0, text("1")), (0, None), (1, None), (2, None), (3, text("3"))];
        assert_eq!(exploded(true), outer);
    }

    #[test]
    fn a_long_list_comes_out_in_bounded_batches() {
        let list: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>([
            Some((0..20_000).map(Some).collect::<Vec<_>>()),
            Some(vec![Some(7)]),
        ]));
        let found = rows(Explode::new(input(list), 1, false, schema(DataType::Int64)));
        assert_eq!(found.len(), 20_001);
        assert_eq!(found[19_999], (0, Some("19999".to_owned())));
        assert_eq!(found[20_000], (1, Some("7".to_owned())));
    }

    fn split(texts: &[Option<&str>], by: &Separator, outer: bool) -> Vec<(i64, Option<String>)> {
        let texts = Arc::new(StringViewArray::from(texts.to_vec()));
        rows(Split::new(input(texts), 1, by.clone(), outer, schema(DataType::Utf8View)))
    }

    #[test]
    fn parts_are_those_of_string_split() {
        let by = Separator::Text(String::from(", "));
        let texts = [Some("a, a part of some length, "), None, Some(""), Some("b")];
        let found = split(&texts, &by, false);
        let part = |row, part: &str| (row, Some(part.to_owned()));
        // As DuckDB's string_split has them.
        let expected = [
            part(0, "a"),
            part(0, "a part of some length"),
            part(0, ""),
            part(2, ""),
            part(3, "b"),
        ];
        assert_eq!(found, expected);
        assert_eq!(split(&texts[1..2], &by, true), [(0, None)]);
    }

    #[test]
    fn lines_end_as_those_of_a_file() {
        let texts = [Some("a\r\nb\n\nc"), Some("d\n"), Some(""), None, Some("\n")];
        let part = |row, part: &str| (row, Some(part.to_owned()));
        let lines = [part(0, "a"), part(0, "b"), part(0, ""), part(0, "c"), part(1, "d")];
        let mut expected = lines.to_vec();
        expected.push(part(4, ""));
        assert_eq!(split(&texts, &Separator::Lines, false), expected);
        let mut outer = lines.to_vec();
        outer.extend([(2, None), (3, None), part(4, "")]);
        assert_eq!(split(&texts, &Separator::Lines, true), outer);
    }

    #[test]
    fn a_long_text_comes_out_in_bounded_batches() {
        let text = "x,".repeat(10_000);
        let found = split(&[Some(&text), Some("y")], &Separator::Text(String::from(",")), false);
        assert_eq!(found.len(), 10_002);
        assert_eq!(found[10_000], (0, Some(String::new())));
        assert_eq!(found[10_001], (1, Some("y".to_owned())));
    }
}
