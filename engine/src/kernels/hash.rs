//! The specified hash: key columns → one 64-bit hash a row, the same on every machine.
//!
//! It decides which bucket a row goes to, so two processes that disagree about it would lose
//! matches in silence. Therefore it is specified here, versioned by [`HASH_VERSION`] and pinned by
//! test vectors; hashes that are private to a process (ahash, foldhash) are not used for it.
//!
//! # Specification
//! A row's hash is folded over its key columns: `h₀` = [`SEED`], `hᵢ₊₁ = H(bytes of column i, hᵢ)`.
//!
//! Of more than 16 bytes, `H(bytes, seed)` is xxh3-64 with that seed. Of `n` bytes up to that, let
//! `w₀` and `w₁` be their two words of 64 bits, little endian and filled up with zeros, `k₀`, `k₁`
//! and `k₂` the [constants](K), and `lo` and `hi` the halves of a product of 128 bits:
//!
//! ```text
//! a = w₀ ^ k₁               b = w₁ ^ k₂ ^ seed
//! c = lo(a·b) ^ a ^ k₀ ^ n  d = hi(a·b) ^ b ^ k₁
//! H = lo(c·d) ^ hi(c·d)
//! ```
//!
//! That has no branch that depends on the length, which for words and numbers is most of what
//! xxh3-64 costs. A value's bytes are
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
//!
//! Source: the short form is the end of Wang Yi's wyhash (final version 4), whose first product is
//! mixed with its factors, so that no value makes it forget the others.

use std::{ops::Not, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, GenericByteViewArray},
    buffer::{NullBuffer, OffsetBuffer, ScalarBuffer},
    datatypes::{
        ByteViewType, DataType, Decimal128Type, Decimal256Type, Float32Type, Float64Type, Int8Type,
        Int16Type, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit, UInt8Type,
        UInt16Type, UInt32Type,
    },
};

mod short;

use short::{Short, hash_apart, hash_bytes};

/// The version of the specification above; it stands in handshakes, tickets and spill headers.
pub const HASH_VERSION: u32 = 2;

/// The seed of the first column ("minispa" in ASCII), and so the hash of a row without columns.
pub const SEED: u64 = 0x006d_696e_6973_7061;

/// A null, whose one byte is `ff`.
const NULL: Short = Short { low: 0xff, high: 0, length: 1 };

/// What a struct that is not null begins with.
const STRUCT: Short = Short { low: 1, high: 0, length: 1 };

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
            let bit = |row: usize| Short { low: u64::from(words[row] != 0), high: 0, length: 1 };
            fold(hashes, nulls.as_ref(), |row, seed| bit(row).hash(seed));
        } else {
            fold(hashes, nulls.as_ref(), |row, seed| Short::word(words[row]).hash(seed));
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
        DataType::Utf8View => fold_views(hashes, nulls, values.as_string_view(), index),
        DataType::BinaryView => fold_views(hashes, nulls, values.as_binary_view(), index),
        DataType::Utf8 => {
            let values = values.as_string::<i32>();
            fold(hashes, nulls, |row, seed| hash_bytes(values.value(index(row)).as_bytes(), seed));
        }
        DataType::LargeUtf8 => {
            let values = values.as_string::<i64>();
            fold(hashes, nulls, |row, seed| hash_bytes(values.value(index(row)).as_bytes(), seed));
        }
        DataType::Binary => {
            let values = values.as_binary::<i32>();
            fold(hashes, nulls, |row, seed| hash_bytes(values.value(index(row)), seed));
        }
        DataType::LargeBinary => {
            let values = values.as_binary::<i64>();
            fold(hashes, nulls, |row, seed| hash_bytes(values.value(index(row)), seed));
        }
        DataType::FixedSizeBinary(_) => {
            let values = values.as_fixed_size_binary();
            fold(hashes, nulls, |row, seed| hash_bytes(values.value(index(row)), seed));
        }
        DataType::Decimal128(..) => {
            let values = values.as_primitive::<Decimal128Type>().values();
            let short = |row: usize| Short::wide(values[index(row)].cast_unsigned());
            fold(hashes, nulls, |row, seed| short(row).hash(seed));
        }
        DataType::Decimal256(..) => {
            let values = values.as_primitive::<Decimal256Type>().values();
            fold(hashes, nulls, |row, seed| hash_bytes(&values[index(row)].to_le_bytes(), seed));
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            let values = values.as_primitive::<IntervalMonthDayNanoType>().values();
            let short = |row: usize| interval(values[index(row)]);
            fold(hashes, nulls, |row, seed| short(row).hash(seed));
        }
        other => unreachable!("no plan hashes a column of type {other}"),
    }
}

/// As [`fold_bytes`], of views: a short value is read where its view is.
fn fold_views<T: ByteViewType + ?Sized>(
    hashes: &mut [u64],
    nulls: Option<&NullBuffer>,
    values: &GenericByteViewArray<T>,
    index: impl Fn(usize) -> usize,
) {
    let views = values.views();
    fold(hashes, nulls, |row, seed| {
        let place = index(row);
        match Short::inline(views[place]) {
            Some(short) => short.hash(seed),
            None => hash_apart(values.value(place).as_ref(), seed),
        }
    });
}

fn interval(value: IntervalMonthDayNano) -> Short {
    let (months, days) = (value.months.cast_unsigned(), value.days.cast_unsigned());
    let low = u64::from(months) | u64::from(days) << 32;
    Short { low, high: value.nanoseconds.cast_unsigned(), length: 16 }
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
            return NULL.hash(hash);
        }
        match &self.values {
            NestedValues::List { offsets, elements } => {
                let (first, end) = (offsets[row], offsets[row + 1]);
                let hash = Short::word(i64::from(end - first).cast_unsigned()).hash(hash);
                #[expect(clippy::cast_sign_loss, reason = "offsets are not negative")]
                let places = first as usize..end as usize;
                places.fold(hash, |hash, place| elements.fold(place, hash))
            }
            NestedValues::Struct(fields) => {
                let hash = STRUCT.hash(hash);
                fields.iter().fold(hash, |hash, field| field.fold(row, hash))
            }
            NestedValues::Words(words) => Short::word(words[row]).hash(hash),
            NestedValues::Flat(values) => {
                let mut one = [hash];
                fold_column(&mut one, &values.slice(row, 1));
                one[0]
            }
        }
    }
}

/// Folds one column: `value(row, seed)`, or the null, is hashed with the hash so far.
#[inline]
fn fold(hashes: &mut [u64], nulls: Option<&NullBuffer>, value: impl Fn(usize, u64) -> u64) {
    // In one place, so that it becomes a part of the loop.
    for (row, hash) in hashes.iter_mut().enumerate() {
        let is_null = nulls.is_some_and(|nulls| nulls.is_null(row));
        *hash = if is_null { NULL.hash(*hash) } else { value(row, *hash) };
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

    // All expected values below were computed with Python's integers after the specification, and
    // with the reference implementation's binding (xxhash.xxh3_64_intdigest), not with this code.

    #[test]
    fn numbers_hash_to_the_vectors_whatever_their_width() {
        let expected = [
            0xd1da_b2c0_76eb_992e,
            0x0578_2395_dbd2_f573,
            0x99cc_83d5_0cdc_c90a,
            0xa85c_8dbc_889d_ea19,
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
        assert_eq!(hash(&[array(Int64Array::from(vec![i64::MIN]))]), [0xaad0_d54e_30a7_e0d5]);
        assert_eq!(hash(&[array(Date32Array::from(vec![19_000]))]), [0xd13c_9e28_f4ce_c1bd]);
        assert_eq!(hash(&[array(NullArray::new(2))]), [expected[3]; 2]);
    }

    #[test]
    fn equal_floats_hash_alike() {
        let nan = 0x2197_4fba_d006_2051;
        let odd_nan = f64::from_bits(0xfff8_0000_dead_beef);
        let values = vec![0.0, -0.0, 1.5, f64::NAN, odd_nan, f64::NEG_INFINITY];
        let zero = 0xd1da_b2c0_76eb_992e;
        let expected = [zero, zero, 0x9acb_2492_3e9a_793f, nan, nan, 0x60a5_8b7d_bb55_2b36];
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
            0x50dc_d149_25f6_e9de,
            0x018a_5f67_fd3f_9c75,
            0xeefa_e946_2967_2aa2,
            0xe79e_ebd6_fa9f_2c7c,
            0x33e5_5524_207a_79fa,
            0x4bce_996f_5dcc_98a3,
            0x7d45_c1ab_108e_48cb,
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
            [0x1acd_5078_50a7_d927, 0x1abf_2c9d_b4a7_2bc8]
        );
        assert_eq!(
            hash(&[text, number, array(BooleanArray::from(vec![true; 3]))])[2],
            0x8bef_a336_9550_26dc
        );
        assert_eq!(
            hash(&[bools]),
            [0xa0bc_6526_1f17_43c3, 0x8b9a_93bf_a236_20d4, 0xa85c_8dbc_889d_ea19]
        );
    }

    #[test]
    fn a_slice_hashes_as_its_own_rows() {
        let numbers = Int64Array::from(vec![Some(9), Some(1), None, Some(0)]).slice(1, 3);
        let texts = StringViewArray::from(vec!["b", "a", "de"]).slice(1, 2);
        assert_eq!(
            hash(&[array(numbers)]),
            [0x0578_2395_dbd2_f573, 0xa85c_8dbc_889d_ea19, 0xd1da_b2c0_76eb_992e]
        );
        assert_eq!(hash(&[array(texts)]), [0x018a_5f67_fd3f_9c75, 0xeefa_e946_2967_2aa2]);
    }

    #[test]
    fn decimals_and_intervals_hash_to_the_vectors() {
        let narrow = Decimal128Array::from(vec![Some(0), Some(1), Some(-1), Some(12345), None]);
        let expected = [
            0x52d7_167a_8bed_487f,
            0x8445_8c1a_2ed0_25ba,
            0x6a4e_0d35_e1c1_011b,
            0x2ae6_4f69_6da7_0b32,
            0xa85c_8dbc_889d_ea19,
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
        assert_eq!(hash(&[array(intervals)]), [0x099a_8f60_1dd3_2dba, 0xdfbd_16ad_9048_9dc8]);
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
            0xd1da_b2c0_76eb_992e,
            0x2b3d_b8ec_cccd_0fe1,
            0x3bdc_b132_cb11_d6a0,
            0xa174_af25_748b_09f9,
            0xee60_af43_5345_27a2,
            0xa85c_8dbc_889d_ea19,
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
            [0x87fc_d6d1_27eb_2432, 0xa82c_e674_4b93_3aed, 0xa85c_8dbc_889d_ea19]
        );
        let mut texts = ListBuilder::new(StringViewBuilder::new());
        texts.append_value([Some("ab"), Some("")]);
        assert_eq!(hash(&[array(texts.finish())]), [0x4ae2_ec7d_6d60_0bc6]);
        let mut bools = ListBuilder::new(BooleanBuilder::new());
        bools.append_value([Some(true), Some(false)]);
        assert_eq!(hash(&[array(bools.finish())]), [0xb147_4a00_d195_2d92]);
    }

    #[test]
    fn a_dictionary_of_nulls_hashes_as_nulls() {
        let dictionary: DictionaryArray<Int8Type> = [None::<&str>, None].into_iter().collect();
        assert_eq!(hash(&[array(dictionary)]), [0xa85c_8dbc_889d_ea19; 2]);
    }
}
