//! [`Store`]: decoded values of one column, and the array that they become.

use std::sync::Arc;

use arrow::{
    array::{
        ArrayRef, BinaryViewArray, Decimal128Array, Float32Array, Float64Array, Int32Array,
        Int64Array, StringViewArray, make_view,
    },
    buffer::{Buffer, NullBuffer, ScalarBuffer},
    compute::cast,
    datatypes::{DataType, TimeUnit},
};
use bytes::Bytes;
use parquet::basic::Type as PhysicalType;

use super::Broken;
use crate::{Result, kernels::prefetch::extend_from};

/// How a column's values are stored in the file, and what they are decoded to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    I32,
    I64,
    F32,
    F64,
    /// Decimals stored in so many bytes.
    Decimal {
        bytes: usize,
    },
    Text,
    Bytes,
}

impl Kind {
    /// Of values stored so and decoded to a type; `None` for what is left to the general decoder.
    pub(super) fn of(physical: PhysicalType, decoded: &DataType) -> Option<Self> {
        Some(match (physical, decoded) {
            (PhysicalType::INT32, DataType::Int32 | DataType::Date32) => Self::I32,
            (
                PhysicalType::INT64,
                DataType::Int64
                | DataType::Timestamp(
                    TimeUnit::Millisecond | TimeUnit::Microsecond | TimeUnit::Nanosecond,
                    _,
                ),
            ) => Self::I64,
            (PhysicalType::FLOAT, DataType::Float32) => Self::F32,
            (PhysicalType::DOUBLE, DataType::Float64) => Self::F64,
            (PhysicalType::INT32, DataType::Decimal64(..) | DataType::Decimal128(..)) => {
                Self::Decimal { bytes: 4 }
            }
            (PhysicalType::INT64, DataType::Decimal64(..) | DataType::Decimal128(..)) => {
                Self::Decimal { bytes: 8 }
            }
            (PhysicalType::BYTE_ARRAY, DataType::Utf8View) => Self::Text,
            (PhysicalType::BYTE_ARRAY, DataType::BinaryView) => Self::Bytes,
            _ => return None,
        })
    }

    /// The bytes of a plain value; `None` where each says its own.
    pub(super) fn width(self) -> Option<usize> {
        Some(match self {
            Self::I32 | Self::F32 => 4,
            Self::I64 | Self::F64 => 8,
            Self::Decimal { bytes } => bytes,
            Self::Text | Self::Bytes => return None,
        })
    }

    pub(super) fn store(self) -> Store {
        match self {
            Self::I32 => Store::I32(Vec::new()),
            Self::I64 => Store::I64(Vec::new()),
            Self::F32 => Store::F32(Vec::new()),
            Self::F64 => Store::F64(Vec::new()),
            Self::Decimal { .. } => Store::Decimal(Vec::new()),
            Self::Text | Self::Bytes => Store::Views(Views::default()),
        }
    }
}

/// Values of one kind, nulls among them as whatever value.
pub(super) enum Store {
    I32(Vec<i32>),
    I64(Vec<i64>),
    F32(Vec<f32>),
    F64(Vec<f64>),
    Decimal(Vec<i128>),
    Views(Views),
}

/// Views of texts or bytes, and the buffers that they point into.
#[derive(Default)]
pub(super) struct Views {
    views: Vec<u128>,
    buffers: Vec<Bytes>,
}

impl Store {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::I32(values) => values.len(),
            Self::I64(values) => values.len(),
            Self::F32(values) => values.len(),
            Self::F64(values) => values.len(),
            Self::Decimal(values) => values.len(),
            Self::Views(values) => values.views.len(),
        }
    }

    pub(super) fn clear(&mut self) {
        match self {
            Self::I32(values) => values.clear(),
            Self::I64(values) => values.clear(),
            Self::F32(values) => values.clear(),
            Self::F64(values) => values.clear(),
            Self::Decimal(values) => values.clear(),
            Self::Views(values) => *values = Views::default(),
        }
    }

    /// Room for so many more values, and not for more.
    pub(super) fn reserve_exact(&mut self, values: usize) {
        match self {
            Self::I32(own) => own.reserve_exact(values),
            Self::I64(own) => own.reserve_exact(values),
            Self::F32(own) => own.reserve_exact(values),
            Self::F64(own) => own.reserve_exact(values),
            Self::Decimal(own) => own.reserve_exact(values),
            Self::Views(own) => own.views.reserve_exact(values),
        }
    }

    /// Appends a value that stands for a null.
    pub(super) fn push_null(&mut self) {
        match self {
            Self::I32(values) => values.push(0),
            Self::I64(values) => values.push(0),
            Self::F32(values) => values.push(0.0),
            Self::F64(values) => values.push(0.0),
            Self::Decimal(values) => values.push(0),
            Self::Views(values) => values.views.push(0),
        }
    }

    /// Appends the values at some places of another store of the same kind.
    pub(super) fn take(&mut self, other: &Self, places: impl Iterator<Item = usize>) {
        match (self, other) {
            (Self::I32(own), Self::I32(other)) => extend_from(own, other, places),
            (Self::I64(own), Self::I64(other)) => extend_from(own, other, places),
            (Self::F32(own), Self::F32(other)) => extend_from(own, other, places),
            (Self::F64(own), Self::F64(other)) => extend_from(own, other, places),
            (Self::Decimal(own), Self::Decimal(other)) => extend_from(own, other, places),
            (Self::Views(own), Self::Views(other)) => own.take(other, places),
            // A column's stores are of its kind.
            _ => {}
        }
    }

    /// Appends plain values of fixed width.
    pub(super) fn push_plain(&mut self, bytes: &[u8]) {
        match self {
            Self::I32(values) => values.extend(words(bytes).map(i32::from_le_bytes)),
            Self::I64(values) => values.extend(words(bytes).map(i64::from_le_bytes)),
            Self::F32(values) => values.extend(words(bytes).map(f32::from_le_bytes)),
            Self::F64(values) => values.extend(words(bytes).map(f64::from_le_bytes)),
            Self::Decimal(_) | Self::Views(_) => {}
        }
    }

    /// Appends plain decimals that are stored in `width` bytes.
    pub(super) fn push_decimals(&mut self, bytes: &[u8], width: usize) {
        if let Self::Decimal(values) = self {
            if width == size_of::<i32>() {
                values.extend(words(bytes).map(|word| i128::from(i32::from_le_bytes(word))));
            } else {
                values.extend(words(bytes).map(|word| i128::from(i64::from_le_bytes(word))));
            }
        }
    }

    /// Appends plain texts or bytes, each behind its length: `count` from `at` on. Where the last one
    /// ends.
    ///
    /// # Errors
    /// Where there are fewer, or a text is not UTF-8.
    pub(super) fn push_views(
        &mut self,
        page: &TextPage,
        at: usize,
        count: usize,
    ) -> Result<usize, Broken> {
        let Self::Views(values) = self else { return Err(Broken("texts among numbers")) };
        values.push(page, at, count)
    }

    /// The values as an array of a type, and an empty store.
    ///
    /// # Errors
    /// Arrow's, which would be a bug.
    pub(super) fn finish(
        &mut self,
        kind: Kind,
        data_type: &DataType,
        nulls: Option<NullBuffer>,
    ) -> Result<ArrayRef> {
        let array: ArrayRef = match self {
            Self::I32(values) => Arc::new(Int32Array::new(std::mem::take(values).into(), nulls)),
            Self::I64(values) => Arc::new(Int64Array::new(std::mem::take(values).into(), nulls)),
            Self::F32(values) => Arc::new(Float32Array::new(std::mem::take(values).into(), nulls)),
            Self::F64(values) => Arc::new(Float64Array::new(std::mem::take(values).into(), nulls)),
            Self::Decimal(values) => {
                let values = Decimal128Array::new(std::mem::take(values).into(), nulls);
                Arc::new(values.with_data_type(data_type.clone()))
            }
            Self::Views(values) => std::mem::take(values).into_array(kind == Kind::Text, nulls)?,
        };
        // Dates and timestamps are their numbers.
        if array.data_type() == data_type { Ok(array) } else { Ok(cast(&array, data_type)?) }
    }
}

/// The bytes of values of one width.
fn words<const WIDTH: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; WIDTH]> {
    bytes.as_chunks().0.iter().copied()
}

/// A page of plain texts or bytes.
pub(super) struct TextPage {
    bytes: Bytes,
    /// Whether each value has to be found to be UTF-8.
    is_checked: bool,
}

impl TextPage {
    /// The page that `bytes` are, of values of a kind.
    pub(super) fn new(bytes: Bytes, kind: Kind) -> Self {
        // Texts shorter than 128 bytes are ASCII with their lengths, and then nothing is left to look
        // at in each of them.
        let is_checked = kind == Kind::Text && !bytes.is_ascii();
        Self { bytes, is_checked }
    }

    /// Where the value at `at` begins and ends.
    fn value(&self, at: usize) -> Result<(usize, usize), Broken> {
        let short = Broken("fewer values than it says");
        let start = at.checked_add(size_of::<u32>()).ok_or(short)?;
        let length = self.bytes.get(at..start).and_then(|length| length.first_chunk());
        let length = u32::from_le_bytes(*length.ok_or(short)?);
        let end = usize::try_from(length).ok().and_then(|length| start.checked_add(length));
        let end = end.filter(|end| *end <= self.bytes.len()).ok_or(short)?;
        Ok((start, end))
    }

    /// Where what stands behind the next `count` values begins.
    pub(super) fn behind(&self, at: usize, count: usize) -> Result<usize, Broken> {
        (0..count).try_fold(at, |at, _| Ok(self.value(at)?.1))
    }
}

/// The most bytes of a text that a view holds itself.
const INLINE_BYTES: usize = 12;

impl Views {
    /// Appends `count` values of a page from `at` on.
    fn push(&mut self, page: &TextPage, at: usize, count: usize) -> Result<usize, Broken> {
        let buffer =
            u32::try_from(self.buffer(&page.bytes)).map_err(|_| Broken("too many pages"))?;
        let mut at = at;
        self.views.reserve(count);
        for _ in 0..count {
            let (start, end) = page.value(at)?;
            let value = &page.bytes[start..end];
            if page.is_checked && simdutf8::basic::from_utf8(value).is_err() {
                return Err(Broken("a text that is not UTF-8"));
            }
            let place = u32::try_from(start).map_err(|_| Broken("a page of more than 4 GiB"))?;
            self.views.push(make_view(value, buffer, place));
            at = end;
        }
        Ok(at)
    }

    /// The number of a buffer, which is added where it is not the last one.
    fn buffer(&mut self, bytes: &Bytes) -> usize {
        let is_it = |last: &Bytes| last.as_ptr() == bytes.as_ptr() && last.len() == bytes.len();
        if !self.buffers.last().is_some_and(is_it) {
            self.buffers.push(bytes.clone());
        }
        self.buffers.len() - 1
    }

    fn take(&mut self, other: &Self, places: impl Iterator<Item = usize>) {
        // All buffers of the other become this one's, so that its numbers are moved by as many.
        let is_same = |(own, theirs): (&Bytes, &Bytes)| {
            own.as_ptr() == theirs.as_ptr() && own.len() == theirs.len()
        };
        let known = self.buffers.len().checked_sub(other.buffers.len());
        let known =
            known.filter(|first| self.buffers[*first..].iter().zip(&other.buffers).all(is_same));
        let first = known.unwrap_or_else(|| {
            self.buffers.extend(other.buffers.iter().cloned());
            self.buffers.len() - other.buffers.len()
        });
        let start = self.views.len();
        extend_from(&mut self.views, &other.views, places);
        if first > 0 {
            for view in &mut self.views[start..] {
                *view = moved(*view, first);
            }
        }
    }

    fn into_array(self, is_text: bool, nulls: Option<NullBuffer>) -> Result<ArrayRef> {
        let Self { views, buffers } = self;
        // Views that hold their values need no page to be kept.
        let needs_buffers = views.iter().any(|view| length(*view) > INLINE_BYTES);
        let buffers = if needs_buffers { buffers } else { Vec::new() };
        let buffers: Arc<[Buffer]> = buffers.into_iter().map(Buffer::from).collect();
        let views = ScalarBuffer::from(views);
        if !is_text {
            return Ok(Arc::new(BinaryViewArray::try_new(views, buffers, nulls)?));
        }
        #[expect(unsafe_code, reason = "the checked constructor reads every text's bytes again")]
        // SAFETY: every view was made by `push` of a range of the page that its buffer number names,
        // found to lie in it and to be UTF-8, or is 0, the empty text; `take` moves the numbers by as
        // many places as it moves the buffers. A buffer is left out only where no view points to one.
        // The general decoder of the same file, which checks, gives the same in the tests of `columnar`.
        let texts = unsafe { StringViewArray::new_unchecked(views, buffers, nulls) };
        Ok(Arc::new(texts))
    }
}

/// The bytes of a view's value.
#[expect(clippy::cast_possible_truncation, reason = "the lowest 32 bits are the length")]
fn length(view: u128) -> usize {
    view as u32 as usize
}

/// A view into a buffer that stands so many places on.
fn moved(view: u128, places: usize) -> u128 {
    /// Where a view's buffer number begins.
    const BUFFER_BIT: u32 = 64;
    if length(view) <= INLINE_BYTES { view } else { view + ((places as u128) << BUFFER_BIT) }
}
