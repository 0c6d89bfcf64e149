//! The specified hash: key columns → one 64-bit hash a row, the same on every machine.
//!
//! It decides which bucket a row goes to, so two processes that disagree about it would lose
//! matches in silence. Therefore it is specified here, versioned by [`HASH_VERSION`] and pinned by
//! test vectors; hashes that are private to a process (ahash, foldhash) are not used for it.
//!
//! # Specification
//! A row's hash is folded over its key columns: `h₀` = [`SEED`], `hᵢ₊₁ = xxh3-64(bytes of column i,
//! seed = hᵢ)`, where a value's bytes are
//!
//! | type | bytes |
//! |---|---|
//! | integers, date, time, timestamp, duration | the value as `i64`, little endian (8) |
//! | floats | the value as `f64` bits, little endian (8); -0.0 is 0.0 and every NaN is `0x7ff8…0` |
//! | bool | `00` or `01` (1) |
//! | text and binary, in whatever layout | its bytes |
//! | decimal of 128 bits | the value without its point as `i128`, little endian (16) |
//! | decimal of 256 bits | the value without its point, two's complement, little endian (32) |
//! | interval | months as `i32`, days as `i32`, nanoseconds as `i64`, little endian (16) |
//! | null of any type | `ff` (1), which is no bool and no UTF-8 |
//!
//! A list is folded like columns: first its length as `i64`, little endian (8), then each element
//! with the hash so far as the seed. So is a struct: first `01` (1), then each field. A dictionary
//! hashes as its values. Keys that meet have one type: decimals of different scales are cast first.
//!
//! Text whose bytes end a column does not run into the next: each column is a hash of its own.

use std::{ops::Not, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray},
    buffer::{NullBuffer, OffsetBuffer, ScalarBuffer},
    datatypes::{
        DataType, Decimal128Type, Decimal256Type, Float32Type, Float64Type, Int8Type, Int16Type,
        IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit, UInt8Type, UInt16Type,
        UInt32Type,
    },
};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The version of the specification above; it stands in handshakes, tickets and spill headers.
pub const HASH_VERSION: u32 = 1;

/// The seed of the first column ("minispa" in ASCII), and so the hash of a row without columns.
pub const SEED: u64 = 0x006d_696e_6973_7061;

/// The bytes of a null.
const NULL: [u8; 1] = [0xff];

/// What a struct that is not null begins with.
const STRUCT: [u8; 1] = [1];

/// The bits that stand for every NaN.
const NAN_BITS: u64 = 0x7ff8_0000_0000_0000;

/// Puts the hash of each row over all of `columns` into `hashes`, whose old content goes.
///
/// - Shape: one hash a row; none where there are no columns.
/// - Memory: a copy of one column at most (of narrow integers and of floats).
/// - Source: xxh3-64, <https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md>.
///
/// # Panics
/// On a column of a type that the specification above does not name; the plan has none.
pub fn hash_columns(columns: &[ArrayRef], hashes: &mut Vec<u64>) {
    hashes.clear();
    hashes.resize(columns.first().map_or(0, Array::len), SEED);
    for column in columns {
        fold_column(hashes, column);
    }
}

/// Folds one column into the hashes so far.
fn fold_column(hashes: &mut [u64], column: &ArrayRef) {
    let nulls = column.logical_nulls().filter(|nulls| nulls.null_count() > 0);
    if let Some(words) = canonical_words(column.as_ref()) {
        if matches!(value_type(column.data_type()), DataType::Boolean) {
            fold(hashes, nulls.as_ref(), |row| [u8::from(words[row] != 0)]);
        } else {
            fold(hashes, nulls.as_ref(), |row| words[row].to_le_bytes());
        }
    } else if is_nested(column.data_type()) {
        let values = Nested::new(column);
        for (row, hash) in hashes.iter_mut().enumerate() {
            *hash = values.fold(row, *hash);
        }
    } else if let Some(dictionary) = column.as_any_dictionary_opt() {
        // A dictionary without values has only nulls, and its keys mean nothing.
        let keys = dictionary.values().is_empty().not().then(|| dictionary.normalized_keys());
        fold_bytes(hashes, nulls.as_ref(), dictionary.values().as_ref(), |row| {
            keys.as_ref().map_or(0, |keys| keys[row])
        });
    } else {
        fold_bytes(hashes, nulls.as_ref(), column.as_ref(), |row| row);
    }
}

/// The values as 64-bit words in which equal means equal, or `None` for text and binary.
///
/// Integers, dates and times are sign-extended, floats are canonical `f64` bits, bools 0 or 1.
/// What stands in the place of a null is arbitrary.
pub(crate) fn canonical_words(array: &dyn Array) -> Option<ScalarBuffer<u64>> {
    /// Every value through `word`.
    fn each<T: ArrowPrimitiveType>(
        array: &dyn Array,
        word: impl Fn(T::Native) -> u64,
    ) -> ScalarBuffer<u64> {
        array.as_primitive::<T>().values().iter().map(|value| word(*value)).collect()
    }
    Some(match array.data_type() {
        DataType::Null => vec![0; array.len()].into(),
        DataType::Boolean => {
            let values: &BooleanArray = array.as_boolean();
            values.values().iter().map(u64::from).collect()
        }
        DataType::Int8 => each::<Int8Type>(array, |value| i64::from(value).cast_unsigned()),
        DataType::Int16 => each::<Int16Type>(array, |value| i64::from(value).cast_unsigned()),
        DataType::UInt8 => each::<UInt8Type>(array, u64::from),
        DataType::UInt16 => each::<UInt16Type>(array, u64::from),
        DataType::UInt32 => each::<UInt32Type>(array, u64::from),
        DataType::Float32 => each::<Float32Type>(array, |value| canonical_float(value.into())),
        DataType::Float64 => each::<Float64Type>(array, canonical_float),
        DataType::Int32 | DataType::Date32 | DataType::Time32(_) => {
            let data = array.to_data();
            let values =
                ScalarBuffer::<i32>::new(data.buffers()[0].clone(), data.offset(), data.len());
            values.iter().map(|value| i64::from(*value).cast_unsigned()).collect()
        }
        DataType::Int64
        | DataType::UInt64
        | DataType::Date64
        | DataType::Time64(_)
        | DataType::Timestamp(..)
        | DataType::Duration(_) => {
            let data = array.to_data();
            ScalarBuffer::new(data.buffers()[0].clone(), data.offset(), data.len())
        }
        DataType::Dictionary(..) => {
            let dictionary = array.as_any_dictionary();
            let words = canonical_words(dictionary.values().as_ref())?;
            if words.is_empty() {
                return Some(vec![0; array.len()].into());
            }
            dictionary.normalized_keys().into_iter().map(|key| words[key]).collect()
        }
        _ => return None,
    })
}

/// A float's bits, with one zero and one NaN.
pub(crate) fn canonical_float(value: f64) -> u64 {
    if value.is_nan() {
        NAN_BITS
    } else if value == 0.0 {
        0
    } else {
        value.to_bits()
    }
}

/// The type of the values, behind a dictionary too.
fn value_type(data_type: &DataType) -> &DataType {
    match data_type {
        DataType::Dictionary(_, values) => values,
        other => other,
    }
}

/// Folds the bytes of text or binary `values`, of which row `i` has number `index(i)`.
fn fold_bytes(
    hashes: &mut [u64],
    nulls: Option<&NullBuffer>,
    values: &dyn Array,
    index: impl Fn(usize) -> usize,
) {
    match values.data_type() {
        DataType::Utf8View => {
            let values = values.as_string_view();
            fold(hashes, nulls, |row| values.value(index(row)).as_bytes());
        }
        DataType::Utf8 => {
            let values = values.as_string::<i32>();
            fold(hashes, nulls, |row| values.value(index(row)).as_bytes());
        }
        DataType::LargeUtf8 => {
            let values = values.as_string::<i64>();
            fold(hashes, nulls, |row| values.value(index(row)).as_bytes());
        }
        DataType::BinaryView => {
            let values = values.as_binary_view();
            fold(hashes, nulls, |row| values.value(index(row)));
        }
        DataType::Binary => {
            let values = values.as_binary::<i32>();
            fold(hashes, nulls, |row| values.value(index(row)));
        }
        DataType::LargeBinary => {
            let values = values.as_binary::<i64>();
            fold(hashes, nulls, |row| values.value(index(row)));
        }
        DataType::FixedSizeBinary(_) => {
            let values = values.as_fixed_size_binary();
            fold(hashes, nulls, |row| values.value(index(row)));
        }
        DataType::Decimal128(..) => {
            let values = values.as_primitive::<Decimal128Type>().values();
            fold(hashes, nulls, |row| values[index(row)].to_le_bytes());
        }
        DataType::Decimal256(..) => {
            let values = values.as_primitive::<Decimal256Type>().values();
            fold(hashes, nulls, |row| values[index(row)].to_le_bytes());
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            let values = values.as_primitive::<IntervalMonthDayNanoType>().values();
            fold(hashes, nulls, |row| interval_bytes(values[index(row)]));
        }
        other => unreachable!("no plan hashes a column of type {other}"),
    }
}

fn interval_bytes(value: IntervalMonthDayNano) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&value.months.to_le_bytes());
    bytes[4..8].copy_from_slice(&value.days.to_le_bytes());
    bytes[8..].copy_from_slice(&value.nanoseconds.to_le_bytes());
    bytes
}

/// Whether the specification above names the type, so that it can be a key.
pub fn is_key(data_type: &DataType) -> bool {
    match data_type {
        DataType::List(element) => is_key(element.data_type()),
        DataType::Struct(fields) => fields.iter().all(|field| is_key(field.data_type())),
        DataType::Dictionary(_, values) => !values.is_nested() && is_key(values),
        DataType::Interval(unit) => *unit == IntervalUnit::MonthDayNano,
        DataType::Float16 | DataType::Decimal32(..) | DataType::Decimal64(..) => false,
        other => !other.is_nested(),
    }
}

fn is_nested(data_type: &DataType) -> bool {
    matches!(data_type, DataType::List(_) | DataType::Struct(_))
}

/// A column whose rows are hashed one by one, as lists need it.
struct Nested {
    nulls: Option<NullBuffer>,
    values: NestedValues,
}

enum NestedValues {
    List { offsets: OffsetBuffer<i32>, elements: Box<Nested> },
    Struct(Vec<Nested>),
    Flat(ArrayRef),
    Words(ScalarBuffer<u64>),
}

impl Nested {
    fn new(array: &ArrayRef) -> Self {
        let values = match array.data_type() {
            DataType::List(_) => {
                let list = array.as_list::<i32>();
                let elements = Box::new(Self::new(list.values()));
                NestedValues::List { offsets: list.offsets().clone(), elements }
            }
            DataType::Struct(_) => {
                NestedValues::Struct(array.as_struct().columns().iter().map(Self::new).collect())
            }
            other => match canonical_words(array.as_ref()) {
                Some(words) if *value_type(other) != DataType::Boolean => {
                    NestedValues::Words(words)
                }
                _ => NestedValues::Flat(Arc::clone(array)),
            },
        };
        Self { nulls: array.logical_nulls(), values }
    }

    fn fold(&self, row: usize, hash: u64) -> u64 {
        if self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            return xxh3_64_with_seed(&NULL, hash);
        }
        match &self.values {
            NestedValues::List { offsets, elements } => {
                let (first, end) = (offsets[row], offsets[row + 1]);
                let hash = xxh3_64_with_seed(&i64::from(end - first).to_le_bytes(), hash);
                #[expect(clippy::cast_sign_loss, reason = "offsets are not negative")]
                let places = first as usize..end as usize;
                places.fold(hash, |hash, place| elements.fold(place, hash))
            }
            NestedValues::Struct(fields) => {
                let hash = xxh3_64_with_seed(&STRUCT, hash);
                fields.iter().fold(hash, |hash, field| field.fold(row, hash))
            }
            NestedValues::Words(words) => xxh3_64_with_seed(&words[row].to_le_bytes(), hash),
            NestedValues::Flat(values) => {
                let mut one = [hash];
                fold_column(&mut one, &values.slice(row, 1));
                one[0]
            }
        }
    }
}

/// Folds one column: the bytes of `value(row)`, or the null's, are hashed with the hash so far.
fn fold<B: AsRef<[u8]>>(
    hashes: &mut [u64],
    nulls: Option<&NullBuffer>,
    value: impl Fn(usize) -> B,
) {
    let Some(nulls) = nulls else {
        for (row, hash) in hashes.iter_mut().enumerate() {
            *hash = xxh3_64_with_seed(value(row).as_ref(), *hash);
        }
        return;
    };
    for (row, hash) in hashes.iter_mut().enumerate() {
        *hash = if nulls.is_valid(row) {
            xxh3_64_with_seed(value(row).as_ref(), *hash)
        } else {
            xxh3_64_with_seed(&NULL, *hash)
        };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::{
        array::{
            ArrayRef, BooleanArray, BooleanBuilder, Date32Array, Decimal128Array, Decimal256Array,
            DictionaryArray, Float32Array, Float64Array, Int8Array, Int32Array, Int64Array,
            IntervalMonthDayNanoArray, LargeStringArray, ListArray, ListBuilder, NullArray,
            StringArray, StringViewArray, StringViewBuilder, StructArray,
            TimestampMicrosecondArray, UInt32Array,
        },
        buffer::NullBuffer,
        datatypes::{DataType, Field, Fields, Int8Type, Int64Type, IntervalMonthDayNano, i256},
    };

    use super::hash_columns;

    fn hash(columns: &[ArrayRef]) -> Vec<u64> {
        let mut hashes = vec![1, 2, 3];
        hash_columns(columns, &mut hashes);
        hashes
    }

    fn array(array: impl arrow::array::Array + 'static) -> ArrayRef {
        Arc::new(array)
    }

    // All expected values below were computed with the reference implementation's Python binding
    // (xxhash.xxh3_64_intdigest, folded by hand), not with this code.

    #[test]
    fn numbers_hash_to_the_vectors_whatever_their_width() {
        let expected = [
            0x112b_9d89_65d1_5def,
            0xef45_0b00_54b1_87a7,
            0x9daf_d8e5_6507_eaeb,
            0x8c49_363a_21c2_7cc2,
        ];
        assert_eq!(
            hash(&[array(Int64Array::from(vec![Some(0), Some(1), Some(-1), None]))]),
            expected
        );
        assert_eq!(
            hash(&[array(Int32Array::from(vec![Some(0), Some(1), Some(-1), None]))]),
            expected
        );
        assert_eq!(
            hash(&[array(Int8Array::from(vec![Some(0), Some(1), Some(-1), None]))]),
            expected
        );
        assert_eq!(hash(&[array(UInt32Array::from(vec![0, 1]))]), expected[..2]);
        assert_eq!(hash(&[array(TimestampMicrosecondArray::from(vec![0, 1, -1]))]), expected[..3]);
        assert_eq!(hash(&[array(Int64Array::from(vec![i64::MIN]))]), [0x195f_28d2_115e_d273]);
        assert_eq!(hash(&[array(Date32Array::from(vec![19_000]))]), [0x7878_198f_56bb_042f]);
        assert_eq!(hash(&[array(NullArray::new(2))]), [expected[3]; 2]);
    }

    #[test]
    fn equal_floats_hash_alike() {
        let nan = 0x45fc_5e31_f7e9_50f4;
        let odd_nan = f64::from_bits(0xfff8_0000_dead_beef);
        let values = vec![0.0, -0.0, 1.5, f64::NAN, odd_nan, f64::NEG_INFINITY];
        let zero = 0x112b_9d89_65d1_5def;
        let expected = [zero, zero, 0xdc43_1261_b607_5c99, nan, nan, 0xe22d_7abe_46ce_7ae4];
        assert_eq!(hash(&[array(Float64Array::from(values))]), expected);
        let narrow =
            Float32Array::from(vec![0.0, -0.0, 1.5, f32::NAN, -f32::NAN, f32::NEG_INFINITY]);
        assert_eq!(hash(&[array(narrow)]), expected);
    }

    #[test]
    fn text_hashes_to_the_vectors_in_every_layout() {
        let (x, y, z) = ("x".repeat(100), "y".repeat(200), "z".repeat(1000));
        let texts = ["", "a", "de", "mancha", "ñandú", "abcdefghijkl", "abcdefghijklm", &x, &y, &z];
        let expected = [
            0xe133_9845_8e29_170f,
            0xd085_57e5_8462_cf19,
            0x51e7_571e_6f41_bca4,
            0xbf23_a7ad_0812_bfb7,
            0x8528_6733_5564_9cd6,
            0x9e89_0b87_99fb_ce00,
            0x923c_ac1a_1035_148a,
            0x2a28_418f_dbb7_e78d,
            0x8b8b_f256_9dc5_f3b5,
            0x0c80_d8d0_cdb6_5fe5,
        ];
        assert_eq!(hash(&[array(StringViewArray::from(texts.to_vec()))]), expected);
        assert_eq!(hash(&[array(StringArray::from(texts.to_vec()))]), expected);
        assert_eq!(hash(&[array(LargeStringArray::from(texts.to_vec()))]), expected);
        let dictionary: DictionaryArray<Int8Type> = texts.iter().copied().collect();
        assert_eq!(hash(&[array(dictionary)]), expected);
    }

    #[test]
    fn columns_fold_in_their_order_and_nulls_have_a_tag() {
        let text = array(StringViewArray::from(vec![Some("a"), None, Some("a")]));
        let number = array(Int64Array::from(vec![Some(1), Some(1), None]));
        let bools = array(BooleanArray::from(vec![Some(false), Some(true), None]));
        assert_eq!(
            hash(&[Arc::clone(&text), Arc::clone(&number)])[..2],
            [0x5131_096e_065e_5ee0, 0xd693_e8a9_3e74_bdcf]
        );
        assert_eq!(
            hash(&[text, number, array(BooleanArray::from(vec![true; 3]))])[2],
            0xc6d6_8703_05c6_f4d4
        );
        assert_eq!(
            hash(&[bools]),
            [0x7247_9274_2517_6c5a, 0x29c8_54d0_8bfc_17a2, 0x8c49_363a_21c2_7cc2]
        );
    }

    #[test]
    fn a_slice_hashes_as_its_own_rows() {
        let numbers = Int64Array::from(vec![Some(9), Some(1), None, Some(0)]).slice(1, 3);
        let texts = StringViewArray::from(vec!["b", "a", "de"]).slice(1, 2);
        assert_eq!(
            hash(&[array(numbers)]),
            [0xef45_0b00_54b1_87a7, 0x8c49_363a_21c2_7cc2, 0x112b_9d89_65d1_5def]
        );
        assert_eq!(hash(&[array(texts)]), [0xd085_57e5_8462_cf19, 0x51e7_571e_6f41_bca4]);
    }

    #[test]
    fn decimals_and_intervals_hash_to_the_vectors() {
        let narrow = Decimal128Array::from(vec![Some(0), Some(1), Some(-1), Some(12345), None]);
        let expected = [
            0x32e1_591a_8b87_608b,
            0x0b19_b619_8f28_2208,
            0x96a0_ee6d_6fe1_2194,
            0xb724_e20c_c28b_c8b5,
            0x8c49_363a_21c2_7cc2,
        ];
        assert_eq!(hash(&[array(narrow.clone())]), expected);
        let dictionary =
            DictionaryArray::<Int8Type>::new(vec![Some(3), None, Some(0)].into(), Arc::new(narrow));
        assert_eq!(hash(&[array(dictionary)]), [expected[3], expected[4], expected[0]]);
        let wide = Decimal256Array::from(vec![i256::ZERO, i256::ONE, i256::MINUS_ONE]);
        assert_eq!(
            hash(&[array(wide)]),
            [0x21db_389e_8113_20fa, 0x80c0_4bfa_a4f2_9fd0, 0xabf2_29f2_c07f_5ebf]
        );
        let intervals = IntervalMonthDayNanoArray::from(vec![
            IntervalMonthDayNano::new(1, 2, 3),
            IntervalMonthDayNano::new(-1, 0, 5),
        ]);
        assert_eq!(hash(&[array(intervals)]), [0x0742_b24c_84e8_204d, 0x2bd3_a90f_7fdd_6731]);
    }

    #[test]
    fn lists_and_structs_hash_to_the_vectors() {
        let lists = [
            Some(vec![]),
            Some(vec![Some(1)]),
            Some(vec![Some(1), Some(2)]),
            Some(vec![None]),
            Some(vec![Some(2), Some(1)]),
            None,
        ];
        let lists = ListArray::from_iter_primitive::<Int64Type, _, _>(lists);
        let expected = [
            0x112b_9d89_65d1_5def,
            0x245d_7faf_b5d3_4920,
            0xcacf_c380_3d8d_ab96,
            0xa3de_8c2a_544b_e0d8,
            0x4d65_0f55_620d_378b,
            0x8c49_363a_21c2_7cc2,
        ];
        assert_eq!(hash(&[array(lists.clone())]), expected);
        assert_eq!(hash(&[array(lists.slice(2, 3))]), expected[2..5]);
        let fields = Fields::from(vec![
            Field::new("a", DataType::Int64, true),
            Field::new("b", DataType::Utf8View, true),
        ]);
        let members: Vec<ArrayRef> = vec![
            array(Int64Array::from(vec![Some(1), None, Some(7)])),
            array(StringViewArray::from(vec![Some("x"), None, Some("y")])),
        ];
        let nulls = NullBuffer::from(vec![true, true, false]);
        let structs = StructArray::new(fields, members, Some(nulls));
        assert_eq!(
            hash(&[array(structs)]),
            [0x396d_645a_cb29_c084, 0xcf15_033e_b7ee_cf2c, 0x8c49_363a_21c2_7cc2]
        );
        let mut texts = ListBuilder::new(StringViewBuilder::new());
        texts.append_value([Some("ab"), Some("")]);
        assert_eq!(hash(&[array(texts.finish())]), [0x2b40_0f0d_7ebb_e137]);
        let mut bools = ListBuilder::new(BooleanBuilder::new());
        bools.append_value([Some(true), Some(false)]);
        assert_eq!(hash(&[array(bools.finish())]), [0x42b8_c2b8_9b9f_dcc9]);
    }

    #[test]
    fn a_dictionary_of_nulls_hashes_as_nulls() {
        let dictionary: DictionaryArray<Int8Type> = [None::<&str>, None].into_iter().collect();
        assert_eq!(hash(&[array(dictionary)]), [0x8c49_363a_21c2_7cc2; 2]);
    }
}
