//! Elements of lists, picked by place or put in another order, and fields of structs.

use std::{cmp::Ordering, collections::HashSet, ops::Range, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, UInt32Builder},
    compute::{self, nullif},
    datatypes::DataType,
};

use super::search::Comparable;
use crate::{
    Error, Result,
    expr::{
        Expr, Literal,
        function::{Call, rows},
        parse::nearest,
    },
};

/// An element's place as arrow's kernels take it; lists have 31-bit offsets.
pub(super) fn index(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}

/// One element a row, by what `pick` says of where the row's elements stand.
pub(super) fn picked(
    call: &Call<'_>,
    mut pick: impl FnMut(usize, Range<usize>) -> Option<usize>,
) -> Result<ArrayRef> {
    let lists = rows::lists(call, 0)?;
    let valid = rows::valid(call);
    let mut places = UInt32Builder::with_capacity(call.rows);
    for row in 0..call.rows {
        let is_there = valid.as_ref().is_none_or(|valid| valid.is_valid(row));
        let place = if is_there { pick(row, lists.range(row)) } else { None };
        places.append_option(place.map(index));
    }
    Ok(compute::take(lists.elements(), &places.finish(), None)?)
}

/// A list a row of elements of its first argument, whose places `order` puts into its last one.
pub(super) fn rearranged(
    call: &Call<'_>,
    mut order: impl FnMut(usize, Range<usize>, &mut Vec<u32>) -> Result<()>,
) -> Result<ArrayRef> {
    let lists = rows::lists(call, 0)?;
    let valid = rows::valid(call);
    let mut places = Vec::new();
    let mut lengths = Vec::with_capacity(call.rows);
    for row in 0..call.rows {
        let before = places.len();
        if valid.as_ref().is_none_or(|valid| valid.is_valid(row)) {
            order(row, lists.range(row), &mut places)?;
        }
        lengths.push(places.len() - before);
    }
    let places = arrow::array::UInt32Array::from(places);
    rows::list_of(compute::take(lists.elements(), &places, None)?, lengths, valid)
}

/// The place of an element that is counted from 1, or from the end where negative.
fn place(counted: i64, range: &Range<usize>) -> Option<usize> {
    let distance = usize::try_from(counted.unsigned_abs()).ok()?;
    if distance == 0 || distance > range.len() {
        return None;
    }
    Some(if counted > 0 { range.start + distance - 1 } else { range.end - distance })
}

pub(in crate::expr::function) fn element_at(call: &Call<'_>) -> Result<ArrayRef> {
    let places = rows::ints(call, 1)?;
    picked(call, |row, range| place(places.at(row), &range))
}

pub(in crate::expr::function) fn slice(call: &Call<'_>) -> Result<ArrayRef> {
    let (firsts, lasts) = (rows::ints(call, 1)?, rows::ints(call, 2)?);
    rearranged(call, |row, range, places| {
        let size = i64::try_from(range.len()).unwrap_or(i64::MAX);
        let counted = |place: i64| if place < 0 { size.saturating_add(place + 1) } else { place };
        let first = counted(firsts.at(row)).max(1);
        let last = counted(lasts.at(row)).min(size);
        for place in first..=last {
            places.push(index(range.start + usize::try_from(place - 1).unwrap_or_default()));
        }
        Ok(())
    })
}

pub(in crate::expr::function) fn reverse(call: &Call<'_>) -> Result<ArrayRef> {
    rearranged(call, |_, range, places| {
        places.extend(range.rev().map(index));
        Ok(())
    })
}

pub(in crate::expr::function) fn distinct(call: &Call<'_>) -> Result<ArrayRef> {
    let lists = rows::lists(call, 0)?;
    let elements = lists.elements();
    let [values] = Comparable::of([elements])?;
    rearranged(call, |_, range, places| {
        let mut seen = HashSet::with_capacity(range.len());
        for place in range.filter(|place| elements.is_valid(*place)) {
            if seen.insert(values.at(place)) {
                places.push(index(place));
            }
        }
        Ok(())
    })
}

/// Whether the greatest come first, and whether nulls do.
#[derive(Clone, Copy)]
struct Direction {
    is_descending: bool,
    has_nulls_first: bool,
}

/// The direction that the words say.
fn direction(order: &str, nulls: &str) -> Result<Direction, String> {
    let is_descending = match order.to_ascii_lowercase().as_str() {
        "asc" => false,
        "desc" => true,
        _ => return Err(format!("'{order}' is no order; say 'asc' or 'desc'")),
    };
    let has_nulls_first = match nulls.to_ascii_lowercase().as_str() {
        "nulls last" => false,
        "nulls first" => true,
        _ => return Err(format!("'{nulls}' says nothing; say 'nulls last' or 'nulls first'")),
    };
    Ok(Direction { is_descending, has_nulls_first })
}

/// Refuses words that are no constants, or say no order.
pub(in crate::expr::function) fn check_order(arguments: &[Expr]) -> Result<(), String> {
    let word = |index: usize, otherwise: &'static str| match arguments.get(index) {
        None | Some(Expr::Literal(Literal::Null(_))) => Ok(otherwise),
        Some(Expr::Literal(Literal::Utf8(word))) => Ok(word.as_str()),
        Some(_) => Err(String::from("the order must be a constant, 'asc' or 'desc'")),
    };
    direction(word(1, "asc")?, word(2, "nulls last")?).map(|_| ())
}

pub(in crate::expr::function) fn sort(call: &Call<'_>) -> Result<ArrayRef> {
    let word = |index: usize, otherwise: &'static str| -> Result<String> {
        if call.arguments.len() <= index {
            return Ok(String::from(otherwise));
        }
        Ok(String::from(rows::texts(call, index)?.constant().unwrap_or(otherwise)))
    };
    let direction = direction(&word(1, "asc")?, &word(2, "nulls last")?)
        .map_err(|reason| Error::Evaluate { reason })?;
    let lists = rows::lists(call, 0)?;
    let elements = lists.elements();
    let [values] = Comparable::of([elements])?;
    let compare = |left: &usize, right: &usize| -> Ordering {
        match (elements.is_null(*left), elements.is_null(*right)) {
            (true, true) => Ordering::Equal,
            (true, false) if direction.has_nulls_first => Ordering::Less,
            (true, false) => Ordering::Greater,
            (false, true) if direction.has_nulls_first => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) if direction.is_descending => values.at(*right).cmp(values.at(*left)),
            (false, false) => values.at(*left).cmp(values.at(*right)),
        }
    };
    rearranged(call, |_, range, places| {
        let mut sorted: Vec<usize> = range.collect();
        sorted.sort_by(compare);
        places.extend(sorted.into_iter().map(index));
        Ok(())
    })
}

/// The type of the field that a constant names.
pub(in crate::expr::function) fn field_type(arguments: &[Expr]) -> Result<DataType, String> {
    let Some(DataType::Struct(fields)) = arguments.first().map(Expr::data_type) else {
        return Err(String::from("the first argument is no struct"));
    };
    let Some(Expr::Literal(Literal::Utf8(name))) = arguments.get(1) else {
        return Err(String::from("the field's name must be a constant"));
    };
    let known = fields.iter().find(|field| field.name() == name);
    known.map(|field| field.data_type().clone()).ok_or_else(|| {
        let names: Vec<_> = fields.iter().map(|field| field.name().as_str()).collect();
        let meant = nearest(name, names.iter().copied());
        let meant = meant.map(|other| format!("; did you mean `{other}`?")).unwrap_or_default();
        format!("no field `{name}`; there are {}{meant}", names.join(", "))
    })
}

pub(in crate::expr::function) fn field(call: &Call<'_>) -> Result<ArrayRef> {
    let name = rows::texts(call, 1)?.constant().unwrap_or_default();
    let whole = rows::repeated(&call.arguments[0], call.rows)?;
    let missing = || Error::Internal(format!("no field `{name}`"));
    let structs = whole.as_struct_opt().ok_or_else(missing)?;
    let column = structs.column_by_name(name).ok_or_else(missing)?;
    match structs.nulls() {
        None => Ok(Arc::clone(column)),
        // A field of a null is null, whatever stands beneath it.
        Some(nulls) => {
            let is_null = arrow::array::BooleanArray::new(!nulls.inner(), None);
            Ok(nullif(column, &is_null)?)
        }
    }
}
