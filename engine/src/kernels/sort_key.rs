//! Sort keys as words: up to 128 bits of a row's keys as one number that sorts as the keys do.
//!
//! Numbers go in whole, one column behind the other, text by its first bytes and its length. Most rows
//! differ there already; [`Words::undecided`] says of equal words where the keys may go on. Nested
//! columns and what has no words is for the caller to compare by value.

use arrow::{
    array::{Array, ArrayRef, AsArray, GenericByteViewArray},
    buffer::{Buffer, NullBuffer},
    compute::SortOptions,
    datatypes::{
        ArrowNativeType, BinaryViewType, ByteViewType, DataType, Decimal128Type, Decimal256Type,
        IntervalUnit, StringViewType,
    },
};

/// The bits of a word.
const WORD_BITS: u32 = 128;

/// The bits of the length behind a text's bytes.
const LENGTH_BITS: u32 = 8;

/// Fewer bytes of a text than this do not go behind other columns.
const MIN_TEXT_BYTES: u32 = 4;

/// From here on a text has no words: texts that agree so far are compared as a whole.
const MAX_TEXT_OFFSET: usize = 45;

/// A key column: what it holds, and how it is ordered.
#[derive(Clone, Debug)]
pub(crate) struct KeyColumn {
    pub(crate) data_type: DataType,
    pub(crate) options: SortOptions,
    /// Whether a value may be null.
    pub(crate) is_nullable: bool,
}

/// A place in keys; rows that are looked at there agree in all before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// The number of the key column.
    pub(crate) column: usize,
    /// Of a text the bytes, of a wide number the 64-bit parts, that are behind.
    offset: usize,
}

/// The rows of columns that are looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Chosen<'a> {
    /// The first so many.
    First(usize),
    /// Those of these numbers.
    These(&'a [u32]),
}

/// How words are made of the keys from one place on.
#[derive(Clone, Debug)]
pub(crate) struct Words {
    pieces: Vec<Piece>,
    /// How many low bits of the words are used.
    bits: u32,
    /// Where rows with equal words go on, unless their text was cut.
    next: Place,
    /// The text behind all other pieces.
    text: Option<Text>,
    columns: usize,
}

/// A text's bytes in a word.
#[derive(Clone, Copy, Debug)]
struct Text {
    place: Place,
    bytes: u32,
    is_descending: bool,
}

/// Some bits of a word.
#[derive(Clone, Copy, Debug)]
struct Piece {
    place: Place,
    kind: Kind,
    /// All its bits, that for null included.
    bits: u32,
    /// Low bits of the value that have no room.
    cut_bits: u32,
    /// Ones where the value's bits are turned, for descending order.
    turned: u128,
    /// What stands before a value.
    valid: u128,
    /// What stands for null.
    null: u128,
}

/// How a column's values are numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Bool,
    Signed { bytes: u32 },
    Unsigned { bytes: u32 },
    Float32,
    Float64,
    Decimal128,
    Decimal256,
    Text,
}

impl Kind {
    fn of(data_type: &DataType) -> Option<Self> {
        let bytes =
            |of: &DataType| of.primitive_width().and_then(|width| u32::try_from(width).ok());
        Some(match data_type {
            DataType::Boolean => Self::Bool,
            DataType::Int8
            | DataType::Int16
            | DataType::Int32
            | DataType::Int64
            | DataType::Date32
            | DataType::Date64
            | DataType::Time32(_)
            | DataType::Time64(_)
            | DataType::Timestamp(..)
            | DataType::Duration(_)
            | DataType::Interval(IntervalUnit::YearMonth)
            | DataType::Decimal32(..)
            | DataType::Decimal64(..) => Self::Signed { bytes: bytes(data_type)? },
            DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64 => {
                Self::Unsigned { bytes: bytes(data_type)? }
            }
            DataType::Float32 => Self::Float32,
            DataType::Float64 => Self::Float64,
            DataType::Decimal128(..) => Self::Decimal128,
            DataType::Decimal256(..) => Self::Decimal256,
            DataType::Utf8View | DataType::BinaryView => Self::Text,
            _ => return None,
        })
    }

    /// The bits of a part, and how many parts a value has.
    fn parts(self) -> (u32, usize) {
        match self {
            Self::Bool => (1, 1),
            Self::Signed { bytes } | Self::Unsigned { bytes } => (8 * bytes, 1),
            Self::Float32 => (32, 1),
            Self::Float64 | Self::Text => (64, 1),
            Self::Decimal128 => (64, 2),
            Self::Decimal256 => (64, 4),
        }
    }
}

impl Piece {
    /// A piece of `value_bits`, of which the low `cut_bits` have no room.
    fn new(
        column: &KeyColumn,
        place: Place,
        kind: Kind,
        (value_bits, cut_bits): (u32, u32),
        has_null: bool,
    ) -> Self {
        let kept = value_bits - cut_bits;
        let flag = if has_null { 1_u128 << kept } else { 0 };
        let nulls_first = column.options.nulls_first;
        Self {
            place,
            kind,
            bits: kept + u32::from(has_null),
            cut_bits,
            turned: if column.options.descending { ones(value_bits) } else { 0 },
            valid: if nulls_first { flag } else { 0 },
            null: if nulls_first { 0 } else { flag },
        }
    }

    fn of_value(&self, value: u128) -> u128 {
        ((value ^ self.turned) >> self.cut_bits) | self.valid
    }
}

fn ones(bits: u32) -> u128 {
    u128::MAX.checked_shr(WORD_BITS - bits).unwrap_or(0)
}

impl Words {
    /// Words of the keys from `from` on; `None` where the column there has none.
    pub(crate) fn new(columns: &[KeyColumn], from: Place) -> Option<Self> {
        let mut words =
            Self { pieces: Vec::new(), bits: 0, next: from, text: None, columns: columns.len() };
        while words.next.column < columns.len() && words.text.is_none() {
            if !words.add(&columns[words.next.column]) {
                break;
            }
        }
        (!words.pieces.is_empty()).then_some(words)
    }

    /// Adds what there is room for of the column at [`Self::next`]; whether more may follow.
    fn add(&mut self, column: &KeyColumn) -> bool {
        let place = self.next;
        let Some(kind) = Kind::of(&column.data_type) else { return false };
        let has_null = column.is_nullable && place.offset == 0;
        let room = (WORD_BITS - self.bits).saturating_sub(u32::from(has_null));
        if kind == Kind::Text {
            let bytes = room.saturating_sub(LENGTH_BITS) / 8;
            let is_worth_it = self.pieces.is_empty() || bytes >= MIN_TEXT_BYTES;
            if !is_worth_it || place.offset >= MAX_TEXT_OFFSET {
                return false;
            }
            let bits = 8 * bytes + LENGTH_BITS;
            self.push(Piece::new(column, place, kind, (bits, 0), has_null));
            let is_descending = column.options.descending;
            self.text = Some(Text { place, bytes, is_descending });
            self.next = Place { column: place.column + 1, offset: 0 };
            return false;
        }
        let (bits, parts) = kind.parts();
        let cut_bits = bits.saturating_sub(room);
        if cut_bits == bits {
            return false;
        }
        self.push(Piece::new(column, place, kind, (bits, cut_bits), has_null));
        if cut_bits > 0 {
            // Rows that are equal so far begin anew with this column.
            return false;
        }
        let is_last_part = place.offset + 1 == parts;
        self.next = if is_last_part {
            Place { column: place.column + 1, offset: 0 }
        } else {
            Place { offset: place.offset + 1, ..place }
        };
        true
    }

    fn push(&mut self, piece: Piece) {
        self.bits += piece.bits;
        self.pieces.push(piece);
    }

    /// How many low bits of the words are used.
    pub(crate) fn bits(&self) -> u32 {
        self.bits
    }

    /// From where on rows with this word may differ; `None` where they are equal.
    pub(crate) fn undecided(&self, word: u128) -> Option<Place> {
        if let Some(text) = &self.text {
            #[expect(clippy::cast_possible_truncation, reason = "the length is the lowest byte")]
            let low = word as u8;
            let length = if text.is_descending { !low } else { low };
            if u32::from(length) == text.bytes + 1 {
                let offset = text.place.offset + text.bytes as usize;
                return Some(Place { offset, ..text.place });
            }
        }
        (self.next.column < self.columns).then_some(self.next)
    }

    /// The first column in which rows with equal words may differ; `None` where there is none.
    pub(crate) fn first_undecided(&self) -> Option<usize> {
        let next = (self.next.column < self.columns).then_some(self.next.column);
        self.text.map(|text| text.place.column).or(next)
    }

    /// Appends the words of some rows of the key columns, whose types are those that it was made for.
    ///
    /// - Floats: NaN equals NaN and is greatest, -0.0 equals 0.0.
    pub(crate) fn append(&self, columns: &[ArrayRef], rows: Chosen<'_>, words: &mut Vec<u128>) {
        let start = words.len();
        let count = match rows {
            Chosen::First(count) => count,
            Chosen::These(rows) => rows.len(),
        };
        words.resize(start + count, 0);
        for piece in &self.pieces {
            piece.add_to(&mut words[start..], &columns[piece.place.column], rows);
        }
    }
}

impl Piece {
    /// Puts the piece of each row behind what its word has already.
    fn add_to(&self, words: &mut [u128], column: &ArrayRef, rows: Chosen<'_>) {
        let nulls = column.logical_nulls().filter(|nulls| nulls.null_count() > 0);
        let nulls = nulls.as_ref();
        match self.kind {
            Kind::Bool => {
                let values = column.as_boolean();
                self.fold(words, nulls, rows, |row| u128::from(values.value(row)));
            }
            Kind::Signed { bytes: 1 } => self.native(words, column, nulls, rows, |n: i8| {
                u128::from(n.cast_unsigned() ^ (1 << 7))
            }),
            Kind::Signed { bytes: 2 } => self.native(words, column, nulls, rows, |n: i16| {
                u128::from(n.cast_unsigned() ^ (1 << 15))
            }),
            Kind::Signed { bytes: 4 } => self.native(words, column, nulls, rows, |n: i32| {
                u128::from(n.cast_unsigned() ^ (1 << 31))
            }),
            Kind::Signed { .. } => {
                self.native(words, column, nulls, rows, |n: i64| u128::from(unsigned(n)));
            }
            Kind::Unsigned { bytes: 1 } => {
                self.native(words, column, nulls, rows, |n: u8| u128::from(n));
            }
            Kind::Unsigned { bytes: 2 } => {
                self.native(words, column, nulls, rows, |n: u16| u128::from(n));
            }
            Kind::Unsigned { bytes: 4 } => {
                self.native(words, column, nulls, rows, |n: u32| u128::from(n));
            }
            Kind::Unsigned { .. } => {
                self.native(words, column, nulls, rows, |n: u64| u128::from(n));
            }
            Kind::Float32 => self.native(words, column, nulls, rows, |x: f32| {
                let bits = if x.is_nan() { f32::NAN.to_bits() } else { (x + 0.0).to_bits() };
                u128::from(if bits >> 31 == 1 { !bits } else { bits | (1 << 31) })
            }),
            Kind::Float64 => self.native(words, column, nulls, rows, |x: f64| {
                let bits = if x.is_nan() { f64::NAN.to_bits() } else { (x + 0.0).to_bits() };
                u128::from(if bits >> 63 == 1 { !bits } else { bits | (1 << 63) })
            }),
            Kind::Decimal128 => {
                let values = column.as_primitive::<Decimal128Type>().values();
                let part = |row| part_of([values[row]], self.place.offset);
                self.fold(words, nulls, rows, part);
            }
            Kind::Decimal256 => {
                let values = column.as_primitive::<Decimal256Type>().values();
                let part = |row: usize| {
                    let (low, high) = values[row].to_parts();
                    part_of([high, low.cast_signed()], self.place.offset)
                };
                self.fold(words, nulls, rows, part);
            }
            Kind::Text if matches!(column.data_type(), DataType::BinaryView) => {
                self.texts(words, column.as_byte_view::<BinaryViewType>(), nulls, rows);
            }
            Kind::Text => self.texts(words, column.as_byte_view::<StringViewType>(), nulls, rows),
        }
    }

    fn native<T: ArrowNativeType>(
        &self,
        words: &mut [u128],
        column: &ArrayRef,
        nulls: Option<&NullBuffer>,
        rows: Chosen<'_>,
        value: impl Fn(T) -> u128,
    ) {
        let data = column.to_data();
        let values = &data.buffer::<T>(0)[..column.len()];
        self.fold(words, nulls, rows, |row| value(values[row]));
    }

    fn texts<T: ByteViewType>(
        &self,
        words: &mut [u128],
        column: &GenericByteViewArray<T>,
        nulls: Option<&NullBuffer>,
        rows: Chosen<'_>,
    ) {
        let (views, buffers) = (column.views(), column.data_buffers());
        let bytes = (self.bits - u32::from(self.valid | self.null != 0) - LENGTH_BITS) / 8;
        let offset = self.place.offset;
        self.fold(words, nulls, rows, |row| text_bits(views[row], buffers, offset, bytes));
    }

    fn fold(
        &self,
        words: &mut [u128],
        nulls: Option<&NullBuffer>,
        rows: Chosen<'_>,
        value: impl Fn(usize) -> u128,
    ) {
        let put = |word: &mut u128, row: usize| {
            let is_null = nulls.is_some_and(|nulls| nulls.is_null(row));
            let bits = if is_null { self.null } else { self.of_value(value(row)) };
            *word = word.checked_shl(self.bits).unwrap_or(0) | bits;
        };
        match rows {
            Chosen::First(_) => {
                for (row, word) in words.iter_mut().enumerate() {
                    put(word, row);
                }
            }
            Chosen::These(rows) => {
                for (word, row) in words.iter_mut().zip(rows) {
                    put(word, *row as usize);
                }
            }
        }
    }
}

fn unsigned(n: i64) -> u64 {
    n.cast_unsigned() ^ (1 << 63)
}

/// A 64-bit part of a number whose most significant half comes first.
fn part_of<const N: usize>(halves: [i128; N], part: usize) -> u128 {
    let half = halves[part / 2].cast_unsigned();
    let bits = if part.is_multiple_of(2) { half >> 64 } else { half & ones(64) };
    if part == 0 { bits ^ (1 << 63) } else { bits }
}

/// So many bytes of a text from `offset` on, zeros behind them, and how many there are: one more than
/// `bytes` stands for any number more.
fn text_bits(view: u128, buffers: &[Buffer], offset: usize, bytes: u32) -> u128 {
    #[expect(clippy::cast_possible_truncation, reason = "a view is four packed 32-bit fields")]
    let (len, index, start) = (view as u32, (view >> 64) as u32, (view >> 96) as u32);
    let len = len as usize;
    let length = len.saturating_sub(offset).min(bytes as usize + 1) as u128;
    let first = if len <= 12 {
        // Such a view holds its text, with zeros behind it.
        (view >> 32).swap_bytes().checked_shl(8 * u32::try_from(offset).unwrap_or(16)).unwrap_or(0)
    } else {
        let text = &buffers[index as usize][start as usize..start as usize + len];
        let rest = text.get(offset..).unwrap_or_default();
        if let Some(first) = rest.first_chunk() {
            u128::from_be_bytes(*first)
        } else {
            let mut padded = [0; 16];
            padded[..rest.len()].copy_from_slice(rest);
            u128::from_be_bytes(padded)
        }
    };
    let shown = first.checked_shr(WORD_BITS - 8 * bytes).unwrap_or(0);
    (shown << LENGTH_BITS) | length
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::{
        array::{
            BooleanArray, Decimal256Array, Float64Array, Int32Array, Int64Array, StringViewArray,
        },
        datatypes::i256,
    };

    use super::*;

    fn columns(of: &[ArrayRef], descending: bool, nulls_first: bool) -> Vec<KeyColumn> {
        let options = SortOptions { descending, nulls_first };
        let column = |array: &ArrayRef| KeyColumn {
            data_type: array.data_type().clone(),
            options,
            is_nullable: true,
        };
        of.iter().map(column).collect()
    }

    fn words(of: &[ArrayRef], descending: bool, nulls_first: bool) -> (Words, Vec<u128>) {
        let words = Words::new(&columns(of, descending, nulls_first), Place::default()).unwrap();
        let mut found = Vec::new();
        words.append(of, Chosen::First(of[0].len()), &mut found);
        (words, found)
    }

    #[test]
    fn numbers_go_in_whole_with_a_bit_for_null() {
        let ints: ArrayRef = Arc::new(Int32Array::from(vec![Some(-1), Some(0), None]));
        let flags: ArrayRef = Arc::new(BooleanArray::from(vec![true, false, true]));
        let (words, found) = words(&[ints, flags], false, false);
        assert_eq!(words.bits(), 33 + 2);
        assert_eq!(found, [0x7fff_ffff << 2 | 1, 0x8000_0000 << 2, 1 << 34 | 1]);
        assert!(found.iter().all(|word| words.undecided(*word).is_none()));
        assert_eq!(words.first_undecided(), None);
    }

    #[test]
    fn what_has_no_room_is_cut_and_begins_anew() {
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![5, 5]));
        let others: ArrayRef = Arc::new(Int64Array::from(vec![6, 7]));
        let (words, found) = words(&[numbers, others], false, true);
        assert_eq!((words.bits(), words.first_undecided()), (128, Some(1)));
        // The two lowest bits of 64 have no room.
        assert_eq!(found[0], found[1]);
        assert_eq!(words.undecided(found[0]), Some(Place { column: 1, offset: 0 }));
    }

    #[test]
    fn texts_are_decided_unless_they_are_cut() {
        let texts = ["", "a", "a\0", "abcdefghijklmn", "abcdefghijklmnX", "abcdefghijklmnop"];
        let array: ArrayRef = Arc::new(StringViewArray::from(texts.to_vec()));
        for descending in [false, true] {
            let (words, mut found) = words(std::slice::from_ref(&array), descending, false);
            assert_eq!(words.first_undecided(), Some(0));
            let is_cut = |word: &u128| words.undecided(*word).is_some();
            let cut: Vec<bool> = found.iter().map(is_cut).collect();
            assert_eq!(cut, [false, false, false, false, true, true]);
            assert_eq!(words.undecided(found[5]), Some(Place { column: 0, offset: 14 }));
            if descending {
                found.reverse();
            }
            assert!(found.is_sorted());
            found.dedup();
            assert_eq!(found.len(), 5);
        }
    }

    #[test]
    fn texts_go_on_where_they_were_cut() {
        let texts = ["0123456789abcdefgh", "0123456789abcdeZ", "0123456789", "0123456789abcdef"];
        let array: ArrayRef = Arc::new(StringViewArray::from(texts.to_vec()));
        let place = Place { column: 0, offset: 14 };
        let of = [array];
        let words = Words::new(&columns(&of, false, false), place).unwrap();
        let mut found = Vec::new();
        words.append(&of, Chosen::These(&[2, 1, 3, 0]), &mut found);
        assert!(found.is_sorted(), "{found:x?}");
        assert_eq!(found[0], 0);
        assert!(found.iter().all(|word| words.undecided(*word).is_none()));
    }

    #[test]
    fn wide_numbers_have_parts() {
        let number = |high: i128, low: u128| i256::from_parts(low, high);
        let values = vec![number(-2, 7), number(-1, 0), number(0, 1 << 64), number(0, u128::MAX)];
        let array: ArrayRef = Arc::new(Decimal256Array::from(values));
        let of = [array];
        let (first, found) = words(&of, false, false);
        assert!(found.is_sorted());
        assert_eq!(found[2], found[3]);
        assert_eq!(first.bits(), 128);
        let next = first.undecided(found[2]).unwrap();
        assert_eq!(next, Place { column: 0, offset: 1 });
        let second = Words::new(&columns(&of, false, false), next).unwrap();
        let mut rest = Vec::new();
        second.append(&of, Chosen::These(&[2, 3]), &mut rest);
        assert_eq!(rest, [1, ones(64)]);
    }

    #[test]
    fn zeros_are_equal_and_so_are_nans() {
        let floats = [-f64::NAN, f64::NAN, -0.0, 0.0, f64::INFINITY, -1.0];
        let array: ArrayRef = Arc::new(Float64Array::from(floats.to_vec()));
        let (_, found) = words(&[array], false, false);
        assert!(found[0] == found[1] && found[2] == found[3]);
        assert!(found[5] < found[2] && found[3] < found[4] && found[4] < found[0]);
    }

    #[test]
    fn a_nested_column_has_no_words() {
        let list = DataType::new_list(DataType::Int64, true);
        let column =
            |data_type| KeyColumn { data_type, options: SortOptions::default(), is_nullable: true };
        assert!(Words::new(&[column(list.clone())], Place::default()).is_none());
        let words = Words::new(&[column(DataType::Int8), column(list)], Place::default()).unwrap();
        assert_eq!(words.first_undecided(), Some(1));
    }
}
