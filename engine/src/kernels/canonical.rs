//! Floats with one zero and one NaN, wherever they stand, so that what is equal has the same bits.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, ListArray, PrimitiveArray, StructArray},
    datatypes::{DataType, Float32Type, Float64Type},
};

use crate::Result;

/// A column with `-0.0` as `0.0` and every NaN as the positive one, in lists and structs too:
/// Arrow compares as IEEE's total order has it, in which those differ and a negative NaN is least.
///
/// # Errors
/// Arrow's, where a nested column can't be put together again, which would be a bug.
pub(crate) fn with_one_zero_and_nan(column: &ArrayRef) -> Result<ArrayRef> {
    fn mapped<T: ArrowPrimitiveType>(
        column: &ArrayRef,
        map: impl Fn(T::Native) -> T::Native,
    ) -> ArrayRef {
        let mapped: PrimitiveArray<T> = column.as_primitive::<T>().unary(map);
        Arc::new(mapped)
    }
    const NAN_32: f32 = f32::from_bits(0x7fc0_0000);
    const NAN_64: f64 = f64::from_bits(0x7ff8_0000_0000_0000);
    if !has_floats(column.data_type()) {
        return Ok(Arc::clone(column));
    }
    Ok(match column.data_type() {
        DataType::Float32 => {
            mapped::<Float32Type>(column, |x| if x.is_nan() { NAN_32 } else { x + 0.0 })
        }
        DataType::Float64 => {
            mapped::<Float64Type>(column, |x| if x.is_nan() { NAN_64 } else { x + 0.0 })
        }
        DataType::List(field) => {
            let list = column.as_list::<i32>();
            let values = with_one_zero_and_nan(list.values())?;
            let (offsets, nulls) = (list.offsets().clone(), list.nulls().cloned());
            Arc::new(ListArray::try_new(Arc::clone(field), offsets, values, nulls)?)
        }
        DataType::Struct(fields) => {
            let members = column.as_struct();
            let columns = members.columns().iter().map(with_one_zero_and_nan);
            let (columns, nulls) = (columns.collect::<Result<_>>()?, members.nulls().cloned());
            Arc::new(StructArray::try_new_with_length(
                fields.clone(),
                columns,
                nulls,
                members.len(),
            )?)
        }
        _ => Arc::clone(column),
    })
}

fn has_floats(data_type: &DataType) -> bool {
    match data_type {
        DataType::Float32 | DataType::Float64 => true,
        DataType::List(field) => has_floats(field.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| has_floats(field.data_type())),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use arrow::{
        array::{Float64Array, new_empty_array},
        buffer::OffsetBuffer,
        datatypes::Field,
    };

    use super::*;

    #[test]
    fn floats_inside_of_structs_and_lists_are_brought_to_one_form() {
        let floats: ArrayRef =
            Arc::new(Float64Array::from(vec![Some(-0.0), None, Some(-f64::NAN)]));
        let item = Arc::new(Field::new("item", DataType::Float64, true));
        let list: ArrayRef =
            Arc::new(ListArray::new(item, OffsetBuffer::from_lengths([2, 1]), floats, None));
        let field = Arc::new(Field::new("x", list.data_type().clone(), true));
        let nested: ArrayRef = Arc::new(StructArray::from(vec![(field, list)]));
        let found = with_one_zero_and_nan(&nested).unwrap();
        assert_eq!(found.data_type(), nested.data_type());
        let inner = found.as_struct().column(0).as_list::<i32>().values();
        let values = inner.as_primitive::<Float64Type>();
        assert_eq!(values.value(0).to_bits(), 0);
        assert!(values.is_null(1) && values.value(2).is_sign_positive());
    }

    #[test]
    fn structs_without_rows_or_members_stay() {
        let empty = new_empty_array(&DataType::Struct(
            vec![Field::new("x", DataType::Float32, true)].into(),
        ));
        assert_eq!(&with_one_zero_and_nan(&empty).unwrap(), &empty);
    }
}
