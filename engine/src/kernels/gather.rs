//! Rows from many places of large columns, whose memory is [asked for](super::prefetch) early.
//!
//! What arrow's `take` and `interleave` give, for the types whose values or views have a fixed width;
//! others go through those.

use std::sync::Arc;

use arrow::{
    array::{
        Array, ArrayRef, AsArray, ByteView, GenericByteViewArray, PrimitiveArray, UInt32Array,
        downcast_primitive,
    },
    buffer::{BooleanBuffer, Buffer, NullBuffer},
    compute::{interleave, take},
    datatypes::{ArrowPrimitiveType, BinaryViewType, ByteViewType, DataType, StringViewType},
};

use crate::{
    Result,
    kernels::prefetch::{are_far, prefetch},
};

/// Rows whose memory is asked for together.
const GROUP: usize = 64;
/// The longest text that a view holds itself, in bytes.
const INLINE_BYTES: u32 = 12;

/// The rows of a column at some places, null where a place is.
///
/// # Errors
/// [`Error::Arrow`](crate::Error) for a place beyond the column, which would be a bug.
pub(crate) fn take_rows(column: &ArrayRef, places: &UInt32Array) -> Result<ArrayRef> {
    let (sources, rows) = (Sources(&[column.as_ref()]), places.values());
    let nulls = || match (places.nulls(), column.nulls()) {
        (None, None) => None,
        (of_places, of_column) => present(rows.len(), |row| {
            of_places.is_none_or(|nulls| nulls.is_valid(row))
                && of_column.is_none_or(|nulls| nulls.is_valid(rows[row] as usize))
        }),
    };
    let last = || rows.iter().fold(0, |last, row| last.max(*row)) as usize;
    if sources.are_far(rows.len())
        && last() < column.len()
        && let Some(taken) = sources.gather(rows.len(), |row| (0, rows[row] as usize), nulls)
    {
        return Ok(taken);
    }
    Ok(take(column, places, None)?)
}

/// The rows of several columns at some places (column, row), in that order.
///
/// # Errors
/// [`Error::Arrow`](crate::Error) for a place that does not exist, which would be a bug.
pub(crate) fn interleave_rows(
    columns: &[&dyn Array],
    places: &[(usize, usize)],
) -> Result<ArrayRef> {
    let sources = Sources(columns);
    // Asked once a column: it is a call.
    let lengths: Vec<usize> = columns.iter().map(|column| column.len()).collect();
    let exists =
        |(column, row): &(usize, usize)| lengths.get(*column).is_some_and(|length| row < length);
    let nulls = || {
        let is_valid = |row: usize| {
            let (column, row) = places[row];
            columns[column].is_valid(row)
        };
        let has_nulls = columns.iter().any(|column| column.null_count() > 0);
        if has_nulls { present(places.len(), is_valid) } else { None }
    };
    if sources.are_far(places.len())
        && places.iter().all(exists)
        && let Some(interleaved) = sources.gather(places.len(), |row| places[row], nulls)
    {
        return Ok(interleaved);
    }
    Ok(interleave(columns, places)?)
}

/// Which rows are there; `None` where all are.
fn present(rows: usize, is_valid: impl Fn(usize) -> bool) -> Option<NullBuffer> {
    let nulls = NullBuffer::new(BooleanBuffer::collect_bool(rows, is_valid));
    (nulls.null_count() > 0).then_some(nulls)
}

/// Columns of one type.
struct Sources<'a>(&'a [&'a dyn Array]);

impl Sources<'_> {
    /// Whether asking for so many rows early pays.
    fn are_far(&self, rows: usize) -> bool {
        let width = match self.0.first().map(|first| first.data_type()) {
            Some(DataType::Utf8View | DataType::BinaryView) => 16,
            Some(other) => other.primitive_width().unwrap_or(0),
            None => 0,
        };
        rows >= GROUP && are_far(self.0.iter().map(|column| column.len() * width).sum())
    }

    /// `None` for a type whose values have no fixed width, or columns of several types.
    fn gather(
        &self,
        rows: usize,
        place: impl Fn(usize) -> (usize, usize),
        nulls: impl FnOnce() -> Option<NullBuffer>,
    ) -> Option<ArrayRef> {
        macro_rules! numbers {
            ($type:ty) => {
                self.numbers::<$type>(rows, place, nulls())
            };
        }
        let data_type = self.0.first()?.data_type();
        if self.0.iter().any(|column| column.data_type() != data_type) {
            return None;
        }
        downcast_primitive! {
            data_type => (numbers),
            DataType::Utf8View => Some(self.views::<StringViewType>(rows, place, nulls())),
            DataType::BinaryView => Some(self.views::<BinaryViewType>(rows, place, nulls())),
            _ => None,
        }
    }

    fn numbers<T: ArrowPrimitiveType>(
        &self,
        rows: usize,
        place: impl Fn(usize) -> (usize, usize),
        nulls: Option<NullBuffer>,
    ) -> Option<ArrayRef> {
        let columns = self.0.iter().map(|column| column.as_primitive_opt::<T>());
        let values: Vec<&[T::Native]> = columns
            .map(|column| column.map(|column| &column.values()[..]))
            .collect::<Option<_>>()?;
        let array = PrimitiveArray::<T>::try_new(gathered(&values, rows, place).into(), nulls);
        Some(Arc::new(array.ok()?.with_data_type(self.0.first()?.data_type().clone())))
    }

    /// Text shares the columns' buffers: those that a row is in.
    fn views<T: ByteViewType>(
        &self,
        rows: usize,
        place: impl Fn(usize) -> (usize, usize),
        nulls: Option<NullBuffer>,
    ) -> ArrayRef {
        const UNUSED: u32 = u32::MAX;
        let columns: Vec<&GenericByteViewArray<T>> =
            self.0.iter().map(|column| column.as_byte_view::<T>()).collect();
        let all_views: Vec<&[u128]> = columns.iter().map(|column| &column.views()[..]).collect();
        let mut views = gathered(&all_views, rows, &place);
        let mut buffers: Vec<Buffer> = Vec::new();
        if let [column] = &columns[..] {
            buffers = column.data_buffers().to_vec();
        } else {
            let mut ends = 0;
            let starts: Vec<usize> = columns
                .iter()
                .map(|column| {
                    let start = ends;
                    ends += column.data_buffers().len();
                    start
                })
                .collect();
            // The new number of each buffer, once a row is in it.
            let mut numbers = vec![UNUSED; ends];
            for (row, view) in views.iter_mut().enumerate() {
                #[expect(clippy::cast_possible_truncation, reason = "the low 32 bits: the length")]
                if *view as u32 <= INLINE_BYTES {
                    continue;
                }
                let (column, _) = place(row);
                let parts = ByteView::from(*view);
                let number = &mut numbers[starts[column] + parts.buffer_index as usize];
                if *number == UNUSED {
                    let buffer = &columns[column].data_buffers()[parts.buffer_index as usize];
                    *number = number_of(buffer, &mut buffers);
                }
                *view = ByteView { buffer_index: *number, ..parts }.as_u128();
            }
        }
        #[expect(unsafe_code, reason = "checking all text again takes as long as copying it")]
        // SAFETY: each view is one of an array of this type, which holds its text itself or points
        // into a buffer of that array, and that buffer goes along under the number that the view has.
        let array = unsafe {
            GenericByteViewArray::<T>::new_unchecked(views.into(), buffers.into(), nulls)
        };
        Arc::new(array)
    }
}

/// The number of a buffer among some, added where it is new: batches may share one.
fn number_of(buffer: &Buffer, buffers: &mut Vec<Buffer>) -> u32 {
    let is_same = |other: &Buffer| {
        std::ptr::eq(other.as_ptr(), buffer.as_ptr()) && other.len() == buffer.len()
    };
    let number = buffers.iter().rposition(is_same).unwrap_or_else(|| {
        buffers.push(buffer.clone());
        buffers.len() - 1
    });
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// The values at the places of `rows` rows.
fn gathered<T: Copy>(
    sources: &[&[T]],
    rows: usize,
    place: impl Fn(usize) -> (usize, usize),
) -> Vec<T> {
    let ask = |from: usize| {
        for row in from..rows.min(from + GROUP) {
            let (source, value) = place(row);
            prefetch(sources[source], value);
        }
    };
    let mut values = Vec::with_capacity(rows);
    ask(0);
    for first in (0..rows).step_by(GROUP) {
        ask(first + GROUP);
        values.extend((first..rows.min(first + GROUP)).map(|row| {
            let (source, value) = place(row);
            sources[source][value]
        }));
    }
    values
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::{
        array::{
            Array, ArrayRef, BinaryViewArray, BooleanArray, Decimal128Array, Int16Array,
            Int64Array, IntervalMonthDayNanoArray, StringViewArray, TimestampMicrosecondArray,
            UInt32Array,
        },
        compute::{concat, interleave, take},
        datatypes::IntervalMonthDayNano,
    };

    use super::{interleave_rows, take_rows};

    const ROWS: i64 = 20_000;

    /// Columns of several types, larger than what stays near.
    fn columns(first: i64) -> Vec<ArrayRef> {
        let numbers = || first..first + ROWS;
        let text = |n: i64| match n % 3 {
            0 => None,
            1 => Some(n.to_string()),
            _ => Some(format!("a text that is longer than a view: {n}")),
        };
        vec![
            Arc::new(Int64Array::from_iter_values(numbers())),
            Arc::new(numbers().map(|n| (n % 7 > 0).then_some(n)).collect::<Int64Array>()),
            Arc::new(numbers().map(|n| i16::try_from(n % 999).ok()).collect::<Int16Array>()),
            Arc::new(
                numbers()
                    .map(|n| Some(i128::from(n) << 70))
                    .collect::<Decimal128Array>()
                    .with_precision_and_scale(38, 5)
                    .unwrap(),
            ),
            Arc::new(TimestampMicrosecondArray::from_iter_values(numbers()).with_timezone("UTC")),
            Arc::new(numbers().map(text).collect::<StringViewArray>()),
            Arc::new(numbers().map(text).collect::<BinaryViewArray>()),
            // Those that go through arrow.
            Arc::new(numbers().map(|n| Some(n % 2 == 0)).collect::<BooleanArray>()),
            Arc::new(
                numbers()
                    .map(|n| Some(IntervalMonthDayNano::new(1, 2, n)))
                    .collect::<IntervalMonthDayNanoArray>(),
            ),
        ]
    }

    #[test]
    fn rows_are_those_that_arrow_takes() {
        let rows = || (0..5000).map(|n| u32::try_from(n * 7919 % ROWS).unwrap());
        let all = UInt32Array::from_iter_values(rows());
        let some: UInt32Array = rows().map(|n| (n % 5 > 0).then_some(n)).collect();
        for column in columns(0) {
            for places in [&all, &some] {
                let taken = take_rows(&column, places).unwrap();
                let expected = take(&column, places, None).unwrap();
                assert_eq!(&taken, &expected, "{}", column.data_type());
                taken.to_data().validate_full().unwrap();
            }
        }
    }

    #[test]
    fn rows_of_several_columns_are_those_that_arrow_interleaves() {
        for (left, right) in columns(0).into_iter().zip(columns(1 << 40)) {
            // A third one that shares its buffers with the first.
            let part = left.slice(100, 1000);
            let columns: [&dyn Array; 3] = [&left, &right, &part];
            let places: Vec<(usize, usize)> =
                (0..5000).map(|n| (n % 3, n * 7919 % columns[n % 3].len())).collect();
            let interleaved = interleave_rows(&columns, &places).unwrap();
            let expected = interleave(&columns, &places).unwrap();
            assert_eq!(&interleaved, &expected, "{}", left.data_type());
            interleaved.to_data().validate_full().unwrap();
        }
    }

    #[test]
    fn text_of_a_batch_that_is_split_keeps_one_buffer() {
        let whole = &columns(0)[5];
        let whole = concat(&[whole.as_ref(), whole.as_ref()]).unwrap();
        let parts: Vec<ArrayRef> = (0..8).map(|n| whole.slice(n * 5000, 5000)).collect();
        let columns: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
        let places: Vec<(usize, usize)> = (0..4000).map(|n| (n % 8, n)).collect();
        let interleaved = interleave_rows(&columns, &places).unwrap();
        assert_eq!(&interleaved, &interleave(&columns, &places).unwrap());
        let buffers = |array: &ArrayRef| array.to_data().buffers().len();
        assert!(buffers(&interleaved) <= buffers(&whole));
    }
}
