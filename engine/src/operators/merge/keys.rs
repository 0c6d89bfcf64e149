//! [`KeyEncoder`]: the key columns of batches as what sorts like them.

use std::sync::Arc;

use arrow::{
    array::RecordBatch,
    compute::SortOptions,
    datatypes::Schema,
    row::{RowConverter, Rows, SortField},
};

use crate::{
    Error, Result,
    expr::SortKey,
    kernels::{
        canonical::with_one_zero_and_nan,
        sort_key::{Chosen, KeyColumn, Place, Words},
    },
};

/// Turns the key columns of batches into a word a row and, behind words that do not decide
/// ([`Self::goes_on`]), a string of bytes. They sort as the keys do, across batches of one schema.
pub(crate) struct KeyEncoder {
    /// Places of the key columns.
    columns: Vec<usize>,
    /// None where the first column has no words: then all words are equal.
    words: Option<Words>,
    tail: Option<Tail>,
}

/// The key columns in which rows with equal words may differ.
struct Tail {
    columns: Vec<usize>,
    converter: RowConverter,
}

impl KeyEncoder {
    /// An encoder for batches of `schema`.
    ///
    /// # Errors
    /// [`Error::Internal`] and [`Error::Arrow`] for keys that the plan should not have let
    /// through: none at all, a column that is not there, a type without order.
    pub(crate) fn new(keys: &[SortKey], schema: &Schema) -> Result<Self> {
        let column_count = schema.fields().len();
        if keys.is_empty() || keys.iter().any(|key| key.column >= column_count) {
            let reason = format!("sort keys {keys:?} over {column_count} columns");
            return Err(Error::Internal(reason));
        }
        let key_column = |key: &SortKey| {
            let field = schema.field(key.column);
            KeyColumn {
                data_type: field.data_type().clone(),
                options: options(key),
                is_nullable: field.is_nullable(),
            }
        };
        let key_columns: Vec<_> = keys.iter().map(key_column).collect();
        let words = Words::new(&key_columns, Place::default());
        let first = words.as_ref().map_or(Some(0), Words::first_undecided);
        let tail = first.map(|first| -> Result<Tail> {
            let field =
                |key: &KeyColumn| SortField::new_with_options(key.data_type.clone(), key.options);
            let fields = key_columns[first..].iter().map(field).collect();
            let columns = keys[first..].iter().map(|key| key.column).collect();
            Ok(Tail { columns, converter: RowConverter::new(fields)? })
        });
        let columns = keys.iter().map(|key| key.column).collect();
        Ok(Self { columns, words, tail: tail.transpose()? })
    }

    /// The words of a batch's rows.
    pub(crate) fn words(&self, batch: &RecordBatch) -> Vec<u128> {
        let mut found = Vec::new();
        match &self.words {
            None => found.resize(batch.num_rows(), 0),
            Some(words) => {
                let columns: Vec<_> =
                    self.columns.iter().map(|column| Arc::clone(batch.column(*column))).collect();
                words.append(&columns, Chosen::First(batch.num_rows()), &mut found);
            }
        }
        found
    }

    /// Whether rows with this word may differ, so that their tails tell.
    pub(crate) fn goes_on(&self, word: u128) -> bool {
        self.tail.is_some()
            && self.words.as_ref().is_none_or(|words| words.undecided(word).is_some())
    }

    /// A string of bytes for each row, by which rows sort whose words are equal and go on.
    ///
    /// # Errors
    /// [`Error::Internal`] for keys that end in their words.
    pub(crate) fn tail(&self, batch: &RecordBatch) -> Result<Rows> {
        let Some(tail) = &self.tail else {
            return Err(Error::Internal(String::from("keys that end in their words have no tail")));
        };
        let columns: Vec<_> = tail
            .columns
            .iter()
            .map(|column| with_one_zero_and_nan(batch.column(*column)))
            .collect::<Result<_>>()?;
        Ok(tail.converter.convert_columns(&columns)?)
    }

    /// Of each row one string of bytes that sorts like its keys: its word, and where that goes on its
    /// tail.
    ///
    /// # Errors
    /// [`Error::Arrow`] where the keys can't be encoded.
    pub(crate) fn whole(&self, batch: &RecordBatch) -> Result<Vec<Vec<u8>>> {
        let words = self.words(batch);
        let needs_tail = words.iter().any(|word| self.goes_on(*word));
        let tail = needs_tail.then(|| self.tail(batch)).transpose()?;
        let key = |(row, word): (usize, &u128)| {
            let tail = tail.as_ref().filter(|_| self.goes_on(*word));
            let tail = tail.map(|tail| tail.row(row));
            let behind = tail.as_ref().map_or(&[][..], |tail| tail.data());
            [&word.to_be_bytes(), behind].concat()
        };
        Ok(words.iter().enumerate().map(key).collect())
    }
}

/// How Arrow says it.
pub(crate) fn options(key: &SortKey) -> SortOptions {
    SortOptions { descending: key.descending, nulls_first: key.nulls_first }
}
