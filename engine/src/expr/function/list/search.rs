//! What is in a list, and where.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray},
    datatypes::{DataType, Float32Type, Float64Type, Int64Type},
    row::{RowConverter, Rows, SortField},
};

use crate::{
    Result,
    expr::function::{
        Call,
        rows::{self, Lists},
    },
};

/// Values as bytes that are equal and ordered as the values are.
pub(super) struct Comparable {
    rows: Rows,
}

impl Comparable {
    /// Of all of these arrays, which have one type, so that their values compare.
    pub(super) fn of<const N: usize>(arrays: [&ArrayRef; N]) -> Result<[Self; N]> {
        let data_type = arrays.first().map_or(DataType::Null, |array| array.data_type().clone());
        let converter = RowConverter::new(vec![SortField::new(data_type)])?;
        let mut all = Vec::with_capacity(N);
        for array in arrays {
            all.push(Self { rows: converter.convert_columns(&[canonical(array)])? });
        }
        // `all` has N entries by construction.
        all.try_into().map_err(|_| crate::Error::Internal(String::from("comparable values")))
    }

    /// The bytes of a value.
    pub(super) fn at(&self, index: usize) -> &[u8] {
        self.rows.row(index).data()
    }
}

/// Floats with one zero and one NaN; all else as it is.
fn canonical(array: &ArrayRef) -> ArrayRef {
    match array.data_type() {
        DataType::Float64 => {
            let floats = array.as_primitive::<Float64Type>();
            let one = |value: f64| if value.is_nan() { f64::NAN } else { value + 0.0 };
            Arc::new(floats.unary::<_, Float64Type>(one)) as _
        }
        DataType::Float32 => {
            let floats = array.as_primitive::<Float32Type>();
            let one = |value: f32| if value.is_nan() { f32::NAN } else { value + 0.0 };
            Arc::new(floats.unary::<_, Float32Type>(one)) as _
        }
        _ => Arc::clone(array),
    }
}

pub(in crate::expr::function) fn length(call: &Call<'_>) -> Result<ArrayRef> {
    let lists = rows::lists(call, 0)?;
    rows::numbers_of::<Int64Type>(call, |row| {
        Ok(i64::try_from(lists.range(row).len()).unwrap_or(i64::MAX))
    })
}

/// Lists, and a value a row to look for in them.
struct Search<'a> {
    lists: Lists<'a>,
    elements: Comparable,
    wanted: Comparable,
    is_scalar: bool,
}

impl<'a> Search<'a> {
    fn new(call: &Call<'a>) -> Result<Self> {
        let lists = rows::lists(call, 0)?;
        let wanted = &call.arguments[1];
        let [elements, values] = Comparable::of([lists.elements(), wanted.array()])?;
        Ok(Self { lists, elements, wanted: values, is_scalar: wanted.is_scalar() })
    }

    /// The place of the first element of a row's list that is its value, from 0.
    fn place(&self, row: usize) -> Option<usize> {
        let wanted = self.wanted.at(if self.is_scalar { 0 } else { row });
        self.lists.range(row).position(|index| self.elements.at(index) == wanted)
    }
}

pub(in crate::expr::function) fn contains(call: &Call<'_>) -> Result<ArrayRef> {
    let search = Search::new(call)?;
    rows::bools_of(call, |row| Ok(search.place(row).is_some()))
}

pub(in crate::expr::function) fn position(call: &Call<'_>) -> Result<ArrayRef> {
    let search = Search::new(call)?;
    rows::some_numbers_of::<Int64Type>(call, |row| {
        Ok(search.place(row).and_then(|place| i64::try_from(place + 1).ok()))
    })
}

/// Two lists a row, with their elements.
struct Pair<'a> {
    lists: [Lists<'a>; 2],
    elements: [Comparable; 2],
}

impl<'a> Pair<'a> {
    fn new(call: &Call<'a>) -> Result<Self> {
        let lists = [rows::lists(call, 0)?, rows::lists(call, 1)?];
        let elements = Comparable::of([lists[0].elements(), lists[1].elements()])?;
        Ok(Self { lists, elements })
    }

    /// For each element of the second list that is not null whether it is in the first.
    fn found(&self, row: usize) -> impl Iterator<Item = bool> {
        let [first, second] = &self.lists;
        let [known, asked] = &self.elements;
        let range = first.range(row);
        let there = second.range(row).filter(|index| second.elements().is_valid(*index));
        there
            .map(move |index| range.clone().any(|candidate| known.at(candidate) == asked.at(index)))
    }
}

pub(in crate::expr::function) fn has_any(call: &Call<'_>) -> Result<ArrayRef> {
    let pair = Pair::new(call)?;
    rows::bools_of(call, |row| Ok(pair.found(row).any(|is_there| is_there)))
}

pub(in crate::expr::function) fn has_all(call: &Call<'_>) -> Result<ArrayRef> {
    let pair = Pair::new(call)?;
    rows::bools_of(call, |row| Ok(pair.found(row).all(|is_there| is_there)))
}
