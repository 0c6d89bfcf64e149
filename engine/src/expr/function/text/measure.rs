//! What texts are like: length, the place of another text, beginnings and ends, distance.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, BooleanArray, Int64Array},
    buffer::BooleanBuffer,
    datatypes::Int64Type,
};
use memchr::memmem::Finder;

use crate::{
    Error, Result,
    expr::{
        evaluate::text_array,
        function::{
            Call,
            rows::{self, Texts},
        },
    },
};

/// The most characters of a text whose distance is measured: the work grows with the product.
const MAX_DISTANCE_CHARACTERS: usize = 10_000;

fn int(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

pub(in crate::expr::function) fn length(call: &Call<'_>) -> Result<ArrayRef> {
    let array = text_array(call.arguments[0].array())?;
    let count = |row| if array.is_null(row) { 0 } else { int(array.value(row).chars().count()) };
    let counts: Vec<i64> = (0..array.len()).map(count).collect();
    Ok(Arc::new(Int64Array::new(counts.into(), array.nulls().cloned())))
}

pub(in crate::expr::function) fn octet_length(call: &Call<'_>) -> Result<ArrayRef> {
    let bytes = rows::bytes(call, 0)?;
    rows::numbers_of::<Int64Type>(call, |row| Ok(int(bytes.at(row).len())))
}

pub(in crate::expr::function) fn bit_length(call: &Call<'_>) -> Result<ArrayRef> {
    let bytes = rows::bytes(call, 0)?;
    rows::numbers_of::<Int64Type>(call, |row| Ok(int(bytes.at(row).len()).saturating_mul(8)))
}

/// The place of a byte among the characters, from 1.
fn place(text: &str, byte: Option<usize>) -> i64 {
    byte.map_or(0, |byte| int(text[..byte].chars().count()) + 1)
}

pub(in crate::expr::function) fn strpos(call: &Call<'_>) -> Result<ArrayRef> {
    let (texts, parts) = (rows::texts(call, 0)?, rows::texts(call, 1)?);
    if let Some(part) = parts.constant() {
        let finder = Finder::new(part);
        return rows::numbers_of::<Int64Type>(call, |row| {
            let text = texts.at(row);
            Ok(place(text, finder.find(text.as_bytes())))
        });
    }
    rows::numbers_of::<Int64Type>(call, |row| {
        let text = texts.at(row);
        Ok(place(text, text.find(parts.at(row))))
    })
}

/// A claim about two texts a row.
fn claim(call: &Call<'_>, holds: impl Fn(&[u8], &[u8]) -> bool) -> Result<ArrayRef> {
    let (texts, parts) = (rows::texts(call, 0)?, rows::texts(call, 1)?);
    Ok(bools(call, |row| holds(texts.at(row).as_bytes(), parts.at(row).as_bytes())))
}

/// A claim a row that can't fail; asked under nulls too, which have texts without meaning.
fn bools(call: &Call<'_>, holds: impl Fn(usize) -> bool) -> ArrayRef {
    let bits = BooleanBuffer::collect_bool(call.rows, holds);
    Arc::new(BooleanArray::new(bits, rows::valid(call)))
}

pub(in crate::expr::function) fn starts_with(call: &Call<'_>) -> Result<ArrayRef> {
    claim(call, <[u8]>::starts_with)
}

pub(in crate::expr::function) fn ends_with(call: &Call<'_>) -> Result<ArrayRef> {
    claim(call, <[u8]>::ends_with)
}

pub(in crate::expr::function) fn contains(call: &Call<'_>) -> Result<ArrayRef> {
    let parts = rows::texts(call, 1)?;
    if let Some(part) = parts.constant() {
        let texts = rows::texts(call, 0)?;
        let finder = Finder::new(part);
        return Ok(bools(call, |row| finder.find(texts.at(row).as_bytes()).is_some()));
    }
    claim(call, |text, part| memchr::memmem::find(text, part).is_some())
}

pub(in crate::expr::function) fn ascii(call: &Call<'_>) -> Result<ArrayRef> {
    let texts = rows::texts(call, 0)?;
    rows::numbers_of::<Int64Type>(call, |row| {
        Ok(texts.at(row).chars().next().map_or(0, |first| i64::from(u32::from(first))))
    })
}

pub(in crate::expr::function) fn levenshtein(call: &Call<'_>) -> Result<ArrayRef> {
    let (left, right) = (rows::texts(call, 0)?, rows::texts(call, 1)?);
    let measured = |texts: &Texts<'_>, row| -> Result<()> {
        let characters = texts.at(row).chars().count();
        if characters > MAX_DISTANCE_CHARACTERS {
            let reason = format!(
                "levenshtein of a text of {characters} characters; {MAX_DISTANCE_CHARACTERS} are allowed"
            );
            return Err(Error::Evaluate { reason });
        }
        Ok(())
    };
    rows::numbers_of::<Int64Type>(call, |row| {
        measured(&left, row)?;
        measured(&right, row)?;
        Ok(int(strsim::levenshtein(left.at(row), right.at(row))))
    })
}
