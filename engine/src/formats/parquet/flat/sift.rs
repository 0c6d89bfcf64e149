//! [`Sifted`]: a row group read by steps: a predicate's parts, and then the keys that rows must have,
//! leave rows out one after another, and the columns of what they leave are made.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, BooleanArray, NullBufferBuilder, RecordBatch, RecordBatchOptions},
    compute::prep_null_mask_filter,
    datatypes::{Field, Schema, SchemaRef},
};
use parquet::errors::ParquetError;

use super::{Cursor, Decoded, Store};
use crate::{
    Result,
    expr::{Expr, Predicate},
    formats::{BATCH_ROWS, normal::normal_type, parquet::file::ParquetFile},
    plan::{FolderColumn, InputFile},
    source::{
        columnar::{
            condition::{certain_parts, parts as all_parts},
            conform::Conform,
        },
        runtime_filter::KnownKeys,
    },
};

/// Which columns are read, and what decides about rows.
pub(in crate::formats::parquet) struct FlatColumns {
    /// The file's leaves, in the order of the node's columns that it has.
    leaves: Vec<usize>,
    /// What they are decoded to.
    schema: SchemaRef,
    /// Of each of them its place in the node's schema, where that has it as it is decoded.
    places: Vec<Option<usize>>,
    conform: Conform,
    /// What decides about rows, in the order in which it does.
    parts: Vec<Part>,
    /// Whether the parts are all of the predicate.
    are_whole: bool,
}

/// A part of the predicate that has a value for every row.
struct Part {
    /// The columns that it looks at, as places among those that are decoded.
    columns: Vec<usize>,
    /// Over these columns.
    predicate: Predicate,
    schema: SchemaRef,
}

impl FlatColumns {
    /// For the columns of the node's `schema`; `None` where the file has one that is the general
    /// decoder's in any case.
    pub(in crate::formats::parquet) fn new(
        predicate: Option<&Predicate>,
        schema: &SchemaRef,
        file: &ParquetFile,
        folders: &[FolderColumn],
        input: &InputFile,
    ) -> Result<Option<Self>> {
        let (mut leaves, mut fields, mut places) = (Vec::new(), Vec::new(), Vec::new());
        for (place, field) in schema.fields().iter().enumerate() {
            let name = field.name().as_str();
            if folders.iter().any(|folder| folder.name == name) {
                continue;
            }
            let names = [name];
            let mut own = file.leaves(&names);
            let Some(leaf) = own.next() else { continue };
            let Ok(found) = file.schema().field_with_name(name) else { continue };
            let Some(data_type) = normal_type(found.data_type()) else { return Ok(None) };
            if own.next().is_some() || data_type.is_nested() {
                return Ok(None);
            }
            leaves.push(leaf);
            fields.push(Field::new(name, data_type, true));
            places.push(place);
        }
        // Without a column nothing says how many rows there are.
        if leaves.is_empty() {
            return Ok(None);
        }
        let found = Arc::new(Schema::new(fields));
        let conform = Conform::new(&found, Arc::clone(schema), folders, input)?;
        let mut parts = Vec::new();
        for part in predicate.map(certain_parts).unwrap_or_default() {
            let decoded = |column: &usize| {
                let place = places.iter().position(|place| place == column)?;
                let is_alike = found.field(place).data_type() == schema.field(*column).data_type();
                is_alike.then_some(place)
            };
            let read = part.columns();
            let columns: Option<Vec<usize>> = read.iter().map(decoded).collect();
            let Some(columns) = columns.filter(|columns| !columns.is_empty()) else { continue };
            let mut own = part.clone();
            own.move_columns(&|column| read.binary_search(&column).unwrap_or(column));
            let of_part = Arc::new(found.project(&columns)?);
            parts.push(Part { columns, predicate: Predicate(own), schema: of_part });
        }
        // What is cheap decides first; none of the parts can fail.
        parts.sort_by_key(|part| (part.columns.len() > 1, Expr::is_costly(&part.predicate.0)));
        let is_alike = |(at, place): (usize, &usize)| {
            found.field(at).data_type() == schema.field(*place).data_type()
        };
        let places = places.iter().enumerate();
        let places = places.map(|(at, place)| is_alike((at, place)).then_some(*place)).collect();
        let are_whole =
            predicate.is_some_and(|predicate| parts.len() == all_parts(predicate).len());
        Ok(Some(Self { leaves, schema: found, places, conform, parts, are_whole }))
    }

    /// Which of the decoded columns is the node's at a place.
    fn column_at(&self, place: usize) -> Option<usize> {
        self.places.iter().position(|own| *own == Some(place))
    }

    /// The leaves of all columns that it reads.
    pub(in crate::formats::parquet) fn leaves(&self) -> &[usize] {
        &self.leaves
    }
}

/// A row group on its way.
pub(in crate::formats::parquet) struct Sifted {
    columns: Vec<Cursor>,
    /// Of each part: what it says of each value of its column's dictionary, and of a null.
    verdicts: Vec<Verdict>,
    /// Of each set of keys: which values of its column's dictionary are among them.
    of_keys: Vec<Verdict>,
    rows_left: usize,
    /// Rows that are made and not given.
    made: usize,
    /// The rows of the step in hand that are left.
    chosen: Vec<u32>,
    /// Whether a part could not be evaluated, and kept all rows.
    has_failed: bool,
}

/// What a part says of a dictionary's values.
#[derive(Default)]
struct Verdict {
    /// By code.
    holds: Vec<bool>,
    /// Whether it has been asked; a chunk has one dictionary.
    is_known: bool,
}

impl Sifted {
    /// At the beginning of a row group; `None` where it is the general decoder's.
    pub(in crate::formats::parquet) fn begin(
        wanted: &FlatColumns,
        file: &ParquetFile,
        group: usize,
    ) -> Result<Option<Self>> {
        let metadata = file.metadata().row_group(group);
        let rows = usize::try_from(metadata.num_rows()).unwrap_or(0);
        let mut columns = Vec::with_capacity(wanted.leaves.len());
        for (leaf, field) in wanted.leaves.iter().zip(wanted.schema.fields()) {
            let chunk = metadata.column(*leaf);
            let Ok(found) = file.schema().field_with_name(field.name()) else { return Ok(None) };
            let data_type = field.data_type().clone();
            let cursor = file
                .guarded(|| Cursor::new(chunk, found.data_type(), data_type, &file.chunks, rows))?;
            let Some(cursor) = cursor else { return Ok(None) };
            columns.push(cursor);
        }
        let verdicts = wanted.parts.iter().map(|_| Verdict::default()).collect();
        Ok(Some(Self {
            columns,
            verdicts,
            of_keys: Vec::new(),
            rows_left: rows,
            made: 0,
            chosen: Vec::new(),
            has_failed: false,
        }))
    }

    /// Whether the predicate holds for all rows that were given.
    pub(in crate::formats::parquet) fn are_tested(&self, wanted: &FlatColumns) -> bool {
        wanted.are_whole && !self.has_failed
    }

    /// The next rows, under the node's schema.
    pub(in crate::formats::parquet) fn next(
        &mut self,
        wanted: &FlatColumns,
        keys: &mut KnownKeys,
        file: &ParquetFile,
    ) -> Result<Option<RecordBatch>> {
        while self.rows_left > 0 {
            let count = self.rows_left.min(BATCH_ROWS);
            let left = file.guarded(|| {
                let left = self.sift(wanted, count)?;
                self.sift_by_keys(wanted, keys, count, left)
            })?;
            if self.made > 0 && self.made + left > BATCH_ROWS {
                // The step's rows are appended to what begins then.
                let batch = self.give(wanted, file)?;
                file.guarded(|| self.append(count, left))?;
                return Ok(Some(batch));
            }
            file.guarded(|| self.append(count, left))?;
            if self.made == BATCH_ROWS {
                return self.give(wanted, file).map(Some);
            }
        }
        if self.made > 0 { self.give(wanted, file).map(Some) } else { Ok(None) }
    }

    /// Decides about the next `count` rows; how many are left.
    fn sift(&mut self, wanted: &FlatColumns, count: usize) -> Decoded<usize> {
        let mut left = count;
        for (part, verdict) in wanted.parts.iter().zip(&mut self.verdicts) {
            if left == 0 {
                break;
            }
            for column in &part.columns {
                self.columns[*column].decode(count)?;
            }
            let chosen = &mut self.chosen;
            if let [column] = part.columns[..]
                && let Some((codes, dictionary)) = self.columns[column].codes()
            {
                if !verdict.is_known {
                    let values = self.columns[column].dictionary_array(dictionary)?;
                    let holds = part.holds(vec![values], &mut self.has_failed)?;
                    *verdict = Verdict { holds, is_known: true };
                }
                let holds = &verdict.holds;
                left = narrow(chosen, left == count, count, |_, row| holds[codes[row] as usize]);
                continue;
            }
            let values =
                part.columns.iter().map(|column| self.columns[*column].step_array(count, None));
            let holds = part.holds(values.collect::<Decoded<_>>()?, &mut self.has_failed)?;
            left = narrow(chosen, left == count, count, |_, row| holds[row]);
        }
        Ok(left)
    }

    /// Of the `left` rows of the next `count`, those that may have a partner by all keys.
    fn sift_by_keys(
        &mut self,
        wanted: &FlatColumns,
        keys: &mut KnownKeys,
        count: usize,
        left: usize,
    ) -> Decoded<usize> {
        let mut left = left;
        for (number, (place, known)) in keys.each().enumerate() {
            let Some(column) = wanted.column_at(place).filter(|_| left > 0 && known.pays()) else {
                continue;
            };
            if self.of_keys.len() <= number {
                self.of_keys.resize_with(number + 1, Verdict::default);
            }
            let (before, contains) = (left, |values: ArrayRef| {
                let found = known.keys.contains(&values);
                found.map_err(|error| ParquetError::External(Box::new(error)))
            });
            self.columns[column].decode(count)?;
            let (chosen, verdict) = (&mut self.chosen, &mut self.of_keys[number]);
            if let Some((codes, dictionary)) = self.columns[column].codes()
                && (verdict.is_known || dictionary.len() * count <= self.rows_left * left)
            {
                if !verdict.is_known {
                    let found = contains(self.columns[column].dictionary_array(dictionary)?)?;
                    *verdict = Verdict { holds: found.iter().collect(), is_known: true };
                }
                let holds = &verdict.holds;
                left = narrow(chosen, left == count, count, |_, row| holds[codes[row] as usize]);
            } else {
                let rows = (left < count).then_some(&chosen[..]);
                let found = contains(self.columns[column].step_array(count, rows)?)?;
                left = narrow(chosen, left == count, count, |at, _| found.value(at));
            }
            known.count(before, left);
        }
        Ok(left)
    }

    /// Makes the columns of the rows that are left of a step.
    fn append(&mut self, count: usize, left: usize) -> Decoded<()> {
        self.rows_left -= count;
        for column in &mut self.columns {
            if left > 0 {
                column.decode(count)?;
                column.append(count, (left < count).then(|| &self.chosen[..left]));
            }
            column.pass(count);
        }
        self.made += left;
        Ok(())
    }

    /// The rows that are made.
    fn give(&mut self, wanted: &FlatColumns, file: &ParquetFile) -> Result<RecordBatch> {
        let rows = std::mem::take(&mut self.made);
        let columns = self.columns.iter_mut().map(Cursor::finish).collect::<Result<Vec<_>>>()?;
        if columns.iter().any(|column| column.len() != rows) {
            return Err(file.corrupt("its columns have different numbers of rows"));
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let schema = Arc::clone(&wanted.schema);
        let batch = RecordBatch::try_new_with_options(schema, columns, &options)?;
        wanted.conform.batch(&batch)
    }
}

impl Part {
    /// For which rows it holds; for all, and it `has_failed`, where it can't be evaluated.
    fn holds(&self, columns: Vec<ArrayRef>, has_failed: &mut bool) -> Decoded<Vec<bool>> {
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
        Ok(match self.predicate.evaluate(&batch) {
            Ok(holds) if holds.null_count() > 0 => bools(&prep_null_mask_filter(&holds)),
            Ok(holds) => bools(&holds),
            // The filter above gives the error.
            Err(_) => {
                *has_failed = true;
                vec![true; batch.num_rows()]
            }
        })
    }
}

fn bools(holds: &BooleanArray) -> Vec<bool> {
    holds.values().iter().collect()
}

/// Leaves of the chosen rows, or of all `count`, those for which `holds`, which is given a row's place
/// among them and the row; how many they are.
#[expect(clippy::cast_possible_truncation, reason = "a step has a few thousand rows")]
fn narrow(
    chosen: &mut Vec<u32>,
    are_all: bool,
    count: usize,
    holds: impl Fn(usize, usize) -> bool,
) -> usize {
    let mut left = 0;
    if are_all {
        chosen.clear();
        chosen.resize(count, 0);
        // Every row is put down, and the next one in its place where it was not wanted.
        for row in 0..count {
            chosen[left] = row as u32;
            left += usize::from(holds(row, row));
        }
    } else {
        for place in 0..chosen.len() {
            let row = chosen[place];
            chosen[left] = row;
            left += usize::from(holds(place, row as usize));
        }
    }
    chosen.truncate(left);
    left
}

impl Cursor {
    /// The step's codes, where all of its rows are codes, and their dictionary.
    fn codes(&self) -> Option<(&[u32], &Store)> {
        let is_coded = self.step.values.len() == 0;
        let dictionary = self.dictionary.as_ref().filter(|_| is_coded)?;
        Some((&self.step.codes, dictionary))
    }

    /// The values of the dictionary, and a null.
    fn dictionary_array(&self, dictionary: &Store) -> Decoded<ArrayRef> {
        let mut store = self.kind.store();
        store.take(dictionary, 0..dictionary.len());
        let mut nulls = NullBufferBuilder::new(dictionary.len());
        nulls.append_n_non_nulls(dictionary.len() - 1);
        nulls.append_null();
        let array = store.finish(self.kind, &self.data_type, nulls.finish());
        array.map_err(|error| ParquetError::External(Box::new(error)))
    }

    /// Rows of the step as an array; all where `chosen` is absent.
    fn step_array(&mut self, count: usize, chosen: Option<&[u32]>) -> Decoded<ArrayRef> {
        let made = (
            std::mem::replace(&mut self.out, self.kind.store()),
            std::mem::replace(&mut self.out_nulls, NullBufferBuilder::new(0)),
        );
        self.append(count, chosen);
        let array = self.finish();
        (self.out, self.out_nulls) = made;
        array.map_err(|error| ParquetError::External(Box::new(error)))
    }
}
