//! Lists and structs made of values, lists made of lists.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, StructArray},
    compute,
    datatypes::{DataType, Field, Fields},
};

use crate::{
    Error, Result,
    expr::{
        Expr, Literal,
        function::{Call, rows},
        parse::type_name,
    },
};

/// A list of the first argument's type.
pub(in crate::expr::function) fn list_of_first(arguments: &[Expr]) -> Result<DataType, String> {
    let item = arguments.first().map(Expr::data_type).ok_or("a list of nothing has no type")?;
    Ok(DataType::new_list(item, true))
}

/// The list that the elements of a list are.
pub(in crate::expr::function) fn inner_list(arguments: &[Expr]) -> Result<DataType, String> {
    match arguments.first().map(Expr::data_type) {
        Some(DataType::List(item)) if matches!(item.data_type(), DataType::List(_)) => {
            Ok(item.data_type().clone())
        }
        Some(other) => Err(format!("wants a list of lists, not {}", type_name(&other))),
        None => Err(String::from("wants a list of lists")),
    }
}

/// Refuses arguments that are no lists.
pub(in crate::expr::function) fn check_lists(arguments: &[Expr]) -> Result<(), String> {
    match arguments.iter().map(Expr::data_type).find(|t| !matches!(t, DataType::List(_))) {
        None => Ok(()),
        Some(other) => Err(format!("wants lists, not {}", type_name(&other))),
    }
}

pub(in crate::expr::function) fn array(call: &Call<'_>) -> Result<ArrayRef> {
    let columns: Vec<_> = call.arguments.iter().map(|value| value.array().as_ref()).collect();
    let mut places = Vec::with_capacity(call.rows * columns.len());
    for row in 0..call.rows {
        for (column, value) in call.arguments.iter().enumerate() {
            places.push((column, if value.is_scalar() { 0 } else { row }));
        }
    }
    let elements = compute::interleave(&columns, &places)?;
    rows::list_of(elements, std::iter::repeat_n(columns.len(), call.rows), None)
}

pub(in crate::expr::function) fn concat(call: &Call<'_>) -> Result<ArrayRef> {
    let lists = (0..call.arguments.len()).map(|index| rows::lists(call, index));
    let lists = lists.collect::<Result<Vec<_>>>()?;
    let elements: Vec<_> = lists.iter().map(|list| list.elements().as_ref()).collect();
    let mut places = Vec::new();
    let mut lengths = Vec::with_capacity(call.rows);
    let mut nulls = arrow::array::NullBufferBuilder::new(call.rows);
    for row in 0..call.rows {
        let before = places.len();
        let mut is_there = false;
        for (column, list) in lists.iter().enumerate().filter(|(_, list)| list.is_valid(row)) {
            is_there = true;
            places.extend(list.range(row).map(|place| (column, place)));
        }
        nulls.append(is_there);
        lengths.push(places.len() - before);
    }
    rows::list_of(compute::interleave(&elements, &places)?, lengths, nulls.finish())
}

pub(in crate::expr::function) fn append(call: &Call<'_>) -> Result<ArrayRef> {
    let lists = rows::lists(call, 0)?;
    let value = &call.arguments[1];
    let columns = [lists.elements().as_ref(), value.array().as_ref()];
    let mut places = Vec::new();
    let mut lengths = Vec::with_capacity(call.rows);
    let mut nulls = arrow::array::NullBufferBuilder::new(call.rows);
    for row in 0..call.rows {
        let before = places.len();
        nulls.append(lists.is_valid(row));
        if lists.is_valid(row) {
            places.extend(lists.range(row).map(|place| (0, place)));
            places.push((1, if value.is_scalar() { 0 } else { row }));
        }
        lengths.push(places.len() - before);
    }
    rows::list_of(compute::interleave(&columns, &places)?, lengths, nulls.finish())
}

pub(in crate::expr::function) fn flatten(call: &Call<'_>) -> Result<ArrayRef> {
    let lists = rows::lists(call, 0)?;
    let wrong = || Error::Internal(String::from("flatten of no list of lists"));
    let inner = lists.elements().as_list_opt::<i32>().ok_or_else(wrong)?;
    let valid = rows::valid(call);
    let mut places = Vec::new();
    let mut lengths = Vec::with_capacity(call.rows);
    for row in 0..call.rows {
        let before = places.len();
        if valid.as_ref().is_none_or(|valid| valid.is_valid(row)) {
            for list in lists.range(row).filter(|list| inner.is_valid(*list)) {
                let offsets = inner.value_offsets();
                places.extend((offsets[list]..offsets[list + 1]).map(i32::cast_unsigned));
            }
        }
        lengths.push(places.len() - before);
    }
    let places = arrow::array::UInt32Array::from(places);
    rows::list_of(compute::take(inner.values(), &places, None)?, lengths, valid)
}

/// A struct of the names and values that stand by turns.
pub(in crate::expr::function) fn struct_type(arguments: &[Expr]) -> Result<DataType, String> {
    if !arguments.len().is_multiple_of(2) {
        return Err(String::from("takes names and values by turns"));
    }
    let mut fields: Vec<Field> = Vec::with_capacity(arguments.len() / 2);
    for pair in arguments.chunks_exact(2) {
        let Expr::Literal(Literal::Utf8(name)) = &pair[0] else {
            return Err(String::from("a field's name must be a constant text"));
        };
        if fields.iter().any(|known| known.name() == name) {
            return Err(format!("has two fields `{name}`"));
        }
        fields.push(Field::new(name, pair[1].data_type(), true));
    }
    Ok(DataType::Struct(Fields::from(fields)))
}

pub(in crate::expr::function) fn named_struct(call: &Call<'_>) -> Result<ArrayRef> {
    let DataType::Struct(fields) = call.data_type else {
        return Err(rows::unsupported("named_struct", call.data_type));
    };
    let columns = call.arguments.chunks_exact(2).map(|pair| rows::repeated(&pair[1], call.rows));
    let columns = columns.collect::<Result<Vec<_>>>()?;
    Ok(Arc::new(StructArray::try_new(fields.clone(), columns, None)?))
}
