//! The types inside of pipelines, and how what readers find becomes them.
//!
//! Files know more forms of a value than operators want to: every reader brings its columns to the
//! closed list of [`normal_type`] here, nested ones inside too, so that nothing later meets an
//! offset width, a dictionary or a view of lists.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, ListArray, RecordBatch, RunArray, StructArray, UInt64Array},
    buffer::{OffsetBuffer, ScalarBuffer},
    compute::{cast, take},
    datatypes::{
        DataType, Decimal64Type, Decimal128Type, Field, Fields, Int16Type, Int32Type, Int64Type,
        IntervalUnit, RunEndIndexType, Schema, SchemaRef, TimeUnit,
    },
    error::ArrowError,
};

use crate::{Error, Result};

/// The name of a list's elements, as Arrow has it.
const ELEMENT: &str = "item";

/// The type that values of `data_type` have inside of pipelines; `None` for a type that no
/// pipeline knows (unions, and what holds one).
///
/// - Text `Utf8View`, bytes `BinaryView`; Float16 as Float32; Date64 as Timestamp(ms); times as
///   Time64(us); Decimal32 and 64 as Decimal128; intervals as `MonthDayNano`.
/// - Lists of every form `List`, maps `List<Struct<key, value>>`; their fields are nullable and
///   without metadata.
/// - Dictionaries and run-end encoded columns as their values.
pub fn normal_type(data_type: &DataType) -> Option<DataType> {
    Some(match data_type {
        DataType::Null
        | DataType::Boolean
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::UInt8
        | DataType::UInt16
        | DataType::UInt32
        | DataType::UInt64
        | DataType::Float32
        | DataType::Float64
        | DataType::Decimal128(..)
        | DataType::Decimal256(..)
        | DataType::Utf8View
        | DataType::BinaryView
        | DataType::Date32
        | DataType::Timestamp(..)
        | DataType::Duration(_) => data_type.clone(),
        DataType::Utf8 | DataType::LargeUtf8 => DataType::Utf8View,
        DataType::Binary | DataType::LargeBinary | DataType::FixedSizeBinary(_) => {
            DataType::BinaryView
        }
        DataType::Float16 => DataType::Float32,
        DataType::Date64 => DataType::Timestamp(TimeUnit::Millisecond, None),
        DataType::Time32(_) | DataType::Time64(_) => DataType::Time64(TimeUnit::Microsecond),
        DataType::Interval(_) => DataType::Interval(IntervalUnit::MonthDayNano),
        DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale) => {
            DataType::Decimal128(*precision, *scale)
        }
        DataType::List(element)
        | DataType::LargeList(element)
        | DataType::FixedSizeList(element, _)
        | DataType::ListView(element)
        | DataType::LargeListView(element) => list_of(normal_type(element.data_type())?),
        DataType::Map(entries, _) => {
            let DataType::Struct(fields) = entries.data_type() else { return None };
            let [key, value] = &fields[..] else { return None };
            let types = [normal_type(key.data_type())?, normal_type(value.data_type())?];
            list_of(DataType::Struct(entry_fields(types)))
        }
        DataType::Struct(fields) => DataType::Struct(normal_fields(fields)?),
        DataType::Dictionary(_, values) => normal_type(values)?,
        DataType::RunEndEncoded(_, values) => normal_type(values.data_type())?,
        DataType::Union(..) => return None,
    })
}

/// The schema with every column of its [`normal_type`], nullable and without metadata.
///
/// # Errors
/// The name and the type of the first column that no pipeline knows.
pub fn normal_schema(schema: &Schema) -> Result<SchemaRef, (String, DataType)> {
    let column = |field: &Arc<Field>| {
        let unknown = || (field.name().clone(), field.data_type().clone());
        let data_type = normal_type(field.data_type()).ok_or_else(unknown)?;
        Ok(Field::new(field.name(), data_type, true))
    };
    let fields = schema.fields().iter().map(column).collect::<Result<Vec<_>, _>>()?;
    Ok(Arc::new(Schema::new(fields)))
}

/// The array with its [`normal_type`].
///
/// - Memory: what has its normal type is shared; views of text and bytes share the text.
///
/// # Errors
/// [`Error::Arrow`] for a type that no pipeline knows, and for values that their normal form can't
/// hold (offsets beyond 2 GiB of a list).
pub fn normalise(array: &ArrayRef) -> Result<ArrayRef> {
    let data_type = array.data_type();
    let Some(to) = normal_type(data_type) else {
        return Err(unsupported(data_type));
    };
    if to == *data_type {
        return Ok(Arc::clone(array));
    }
    match data_type {
        DataType::Decimal64(precision, scale) => {
            let narrow = array.as_primitive::<Decimal64Type>();
            let wide = narrow.unary::<_, Decimal128Type>(i128::from);
            Ok(Arc::new(wide.with_precision_and_scale(*precision, *scale)?))
        }
        DataType::Dictionary(..) => {
            let dictionary = array.as_any_dictionary();
            let values = normalise(dictionary.values())?;
            Ok(take(&values, dictionary.keys(), None)?)
        }
        DataType::RunEndEncoded(ends, _) => match ends.data_type() {
            DataType::Int16 => run_values::<Int16Type>(array),
            DataType::Int32 => run_values::<Int32Type>(array),
            _ => run_values::<Int64Type>(array),
        },
        DataType::Struct(_) => {
            let DataType::Struct(fields) = to else { return Err(unsupported(data_type)) };
            let source = array.as_struct();
            if fields.is_empty() {
                let nulls = source.nulls().cloned();
                return Ok(Arc::new(StructArray::new_empty_fields(array.len(), nulls)));
            }
            let columns = source.columns().iter().map(normalise).collect::<Result<Vec<_>>>()?;
            Ok(Arc::new(StructArray::try_new(fields, columns, source.nulls().cloned())?))
        }
        DataType::Map(..) => {
            let map = array.as_map();
            let entries = map.entries();
            let keys = normalise(entries.column(0))?;
            let values = normalise(entries.column(1))?;
            let fields = entry_fields([keys.data_type().clone(), values.data_type().clone()]);
            let normal = StructArray::try_new(fields, vec![keys, values], None)?;
            list(map.offsets().clone(), Arc::new(normal), array)
        }
        DataType::List(_) => {
            let source = array.as_list::<i32>();
            list(source.offsets().clone(), normalise(source.values())?, array)
        }
        DataType::LargeList(_) => {
            let source = array.as_list::<i64>();
            // Only what the offsets point to, so that a slice of a long array fits.
            let (first, last) = (source.value_offsets()[0], source.value_offsets()[array.len()]);
            let offsets = (source.value_offsets().iter())
                .map(|offset| i32::try_from(offset - first).map_err(|_| too_long()))
                .collect::<Result<Vec<i32>>>()?;
            let (first, length) = (as_length(first)?, as_length(last - first)?);
            let values = normalise(&source.values().slice(first, length))?;
            list(OffsetBuffer::new(ScalarBuffer::from(offsets)), values, array)
        }
        DataType::FixedSizeList(_, width) => {
            let source = array.as_fixed_size_list();
            let offsets = (0..=array.len())
                .map(|row| {
                    let row = i32::try_from(row).map_err(|_| too_long())?;
                    row.checked_mul(*width).ok_or_else(too_long)
                })
                .collect::<Result<Vec<i32>>>()?;
            let values = normalise(source.values())?;
            list(OffsetBuffer::new(ScalarBuffer::from(offsets)), values, array)
        }
        DataType::ListView(element) | DataType::LargeListView(element) => {
            let copied = cast(array, &DataType::List(Arc::clone(element)))?;
            normalise(&copied)
        }
        // Over the whole width first: not every fixed width has a cast of its own to views.
        DataType::FixedSizeBinary(_) => {
            Ok(cast(&cast(array, &DataType::Binary)?, &DataType::BinaryView)?)
        }
        _ => Ok(cast(array, &to)?),
    }
}

/// The batch with its columns under `schema`, whose types are [`normal_type`]s of theirs.
///
/// # Errors
/// As [`normalise`].
pub fn normal_batch(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns = batch.columns().iter().map(normalise).collect::<Result<Vec<_>>>()?;
    let rows = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &rows)?)
}

fn list_of(element: DataType) -> DataType {
    DataType::List(Arc::new(Field::new(ELEMENT, element, true)))
}

fn entry_fields([key, value]: [DataType; 2]) -> Fields {
    Fields::from(vec![Field::new("key", key, true), Field::new("value", value, true)])
}

fn normal_fields(fields: &Fields) -> Option<Fields> {
    let field = |field: &Arc<Field>| {
        Some(Arc::new(Field::new(field.name(), normal_type(field.data_type())?, true)))
    };
    fields.iter().map(field).collect()
}

/// A list array with the nulls of `source`.
fn list(offsets: OffsetBuffer<i32>, values: ArrayRef, source: &ArrayRef) -> Result<ArrayRef> {
    let element = Arc::new(Field::new(ELEMENT, values.data_type().clone(), true));
    let nulls = source.nulls().cloned();
    Ok(Arc::new(ListArray::try_new(element, offsets, values, nulls)?))
}

/// A run-end encoded column as its values, each as often as its run is long.
fn run_values<R: RunEndIndexType>(array: &ArrayRef) -> Result<ArrayRef> {
    let runs: &RunArray<R> = array.as_run();
    let rows = u64::try_from(array.len()).map_err(|_| too_long())?;
    let physical = runs.get_physical_indices(&(0..rows).collect::<Vec<u64>>())?;
    let indices: UInt64Array = physical.into_iter().map(|index| Some(index as u64)).collect();
    Ok(take(&normalise(runs.values())?, &indices, None)?)
}

fn as_length(number: i64) -> Result<usize> {
    usize::try_from(number).map_err(|_| too_long())
}

fn too_long() -> Error {
    Error::Arrow(ArrowError::OffsetOverflowError(0))
}

fn unsupported(data_type: &DataType) -> Error {
    Error::Arrow(ArrowError::NotYetImplemented(format!("columns of type {data_type}")))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::{
        array::{
            Array, ArrayRef, BinaryArray, Date64Array, Decimal64Array, FixedSizeBinaryArray,
            FixedSizeListArray, Int32Array, Int64Array, LargeListArray, LargeStringArray,
            ListViewArray, RunArray, StringArray, StringDictionaryBuilder, Time32SecondArray,
            builder::{Int32Builder, MapBuilder, StringBuilder},
        },
        buffer::{OffsetBuffer, ScalarBuffer},
        datatypes::{DataType, Field, Int8Type, Int32Type, TimeUnit, UnionFields, UnionMode},
        util::display::array_value_to_string,
    };

    use super::{normal_type, normalise};

    /// The normal array's values as text, `null` for a null; its type is the one foretold.
    #[expect(clippy::needless_pass_by_value, reason = "tests hand their arrays over")]
    fn texts(array: ArrayRef) -> Vec<String> {
        let normal = normalise(&array).unwrap();
        assert_eq!(Some(normal.data_type().clone()), normal_type(array.data_type()));
        assert_eq!(normal_type(normal.data_type()).as_ref(), Some(normal.data_type()));
        assert_eq!(normal.len(), array.len());
        let value = |row| {
            let text = || array_value_to_string(&normal, row).unwrap();
            if normal.is_valid(row) { text() } else { String::from("null") }
        };
        (0..normal.len()).map(value).collect()
    }

    #[test]
    fn scalars_have_one_form_each() {
        let words = StringArray::from(vec![Some("a"), None, Some("a text beyond twelve bytes")]);
        assert_eq!(texts(Arc::new(words)), ["a", "null", "a text beyond twelve bytes"]);
        assert_eq!(texts(Arc::new(LargeStringArray::from(vec!["b", ""]))), ["b", ""]);
        assert_eq!(texts(Arc::new(BinaryArray::from(vec![&b"\x00\xff"[..]]))), ["00ff"]);
        let fixed = FixedSizeBinaryArray::try_from_iter([[1_u8, 2], [3, 4]].iter()).unwrap();
        assert_eq!(texts(Arc::new(fixed)), ["0102", "0304"]);
        let day = Date64Array::from(vec![Some(86_400_001), None]);
        assert_eq!(texts(Arc::new(day)), ["1970-01-02T00:00:00.001", "null"]);
        assert_eq!(texts(Arc::new(Time32SecondArray::from(vec![61]))), ["00:01:01"]);
        let money = Decimal64Array::from(vec![1234]).with_precision_and_scale(5, 2).unwrap();
        assert_eq!(texts(Arc::new(money)), ["12.34"]);
    }

    #[test]
    fn dictionaries_and_runs_become_their_values() {
        let mut words = StringDictionaryBuilder::<Int8Type>::new();
        for word in [Some("x"), None, Some("y"), Some("x")] {
            words.append_option(word);
        }
        let words: ArrayRef = Arc::new(words.finish());
        assert_eq!(texts(Arc::clone(&words)), ["x", "null", "y", "x"]);
        assert_eq!(texts(words.slice(2, 2)), ["y", "x"]);
        let ends = Int32Array::from(vec![2, 3, 5]);
        let values = Int64Array::from(vec![Some(7), None, Some(9)]);
        let runs: ArrayRef = Arc::new(RunArray::<Int32Type>::try_new(&ends, &values).unwrap());
        assert_eq!(texts(Arc::clone(&runs)), ["7", "7", "null", "9", "9"]);
        assert_eq!(texts(runs.slice(1, 3)), ["7", "null", "9"]);
    }

    #[test]
    fn lists_of_every_form_and_maps_are_lists() {
        let text = Arc::new(Field::new("element", DataType::Utf8, false));
        let values: ArrayRef = Arc::new(StringArray::from(vec!["a", "b", "c", "d"]));
        let offsets = OffsetBuffer::new(ScalarBuffer::from(vec![0_i64, 1, 1, 4]));
        let large = LargeListArray::new(Arc::clone(&text), offsets, Arc::clone(&values), None);
        let large: ArrayRef = Arc::new(large);
        assert_eq!(texts(Arc::clone(&large)), ["[a]", "[]", "[b, c, d]"]);
        assert_eq!(texts(large.slice(1, 2)), ["[]", "[b, c, d]"]);
        let pairs = FixedSizeListArray::new(Arc::clone(&text), 2, Arc::clone(&values), None);
        let pairs: ArrayRef = Arc::new(pairs);
        assert_eq!(texts(Arc::clone(&pairs)), ["[a, b]", "[c, d]"]);
        assert_eq!(texts(pairs.slice(1, 1)), ["[c, d]"]);
        let (starts, sizes) = (ScalarBuffer::from(vec![2, 0]), ScalarBuffer::from(vec![2, 1]));
        let views = ListViewArray::new(text, starts, sizes, values, None);
        assert_eq!(texts(Arc::new(views)), ["[c, d]", "[a]"]);
        let mut map = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
        map.keys().append_value("k");
        map.values().append_value(1);
        map.append(true).unwrap();
        map.append(false).unwrap();
        assert_eq!(texts(Arc::new(map.finish())), ["[{key: k, value: 1}]", "null"]);
    }

    #[test]
    fn nested_values_are_normal_inside() {
        let inner = Arc::new(Field::new("d", DataType::LargeUtf8, false));
        let outer = DataType::Struct(vec![inner].into());
        let found = normal_type(&DataType::List(Arc::new(Field::new("x", outer, false)))).unwrap();
        let DataType::List(element) = &found else { panic!("{found}") };
        assert_eq!((element.name().as_str(), element.is_nullable()), ("item", true));
        let expected = DataType::Struct(vec![Field::new("d", DataType::Utf8View, true)].into());
        assert_eq!(element.data_type(), &expected);
    }

    #[test]
    fn a_union_is_refused_and_so_is_what_holds_one() {
        let union = DataType::Union(UnionFields::empty(), UnionMode::Sparse);
        assert_eq!(normal_type(&union), None);
        assert_eq!(normal_type(&DataType::List(Arc::new(Field::new("u", union, true)))), None);
        let time = DataType::Timestamp(TimeUnit::Second, Some("Asia/Tokyo".into()));
        assert_eq!(normal_type(&time), Some(time.clone()));
    }
}
