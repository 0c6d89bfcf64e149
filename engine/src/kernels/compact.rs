//! Compaction: a batch that keeps no more memory alive than its own rows need.
//!
//! A slice pins the whole buffer that it was cut from, and a view array pins every text buffer
//! that it ever pointed into; IPC writes, and a budget counts, what is pinned. So batches are
//! compacted where they cross an exchange, a spill, a store or a hash table. Dictionaries' values
//! are left as they are.

use std::sync::Arc;

use arrow::{
    array::{
        Array, ArrayData, ArrayRef, AsArray, BufferSpec, Capacities, GenericByteViewArray,
        GenericListArray, MutableArrayData, OffsetSizeTrait, RecordBatch, RecordBatchOptions,
        StructArray, layout, make_array,
    },
    buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer},
    datatypes::{BinaryViewType, ByteViewType, DataType, StringViewType},
};
use hashbrown::{HashMap, HashSet};

use crate::Result;

/// The unused bytes of an allocation that are never worth a copy: padding and message headers.
const TOLERATED_WASTE_BYTES: usize = 256;

/// Views of at most so many bytes hold their text themselves.
const INLINE_VIEW_BYTES: u32 = 12;

/// The same rows in buffers that hold little else.
///
/// - Shape: same schema, same rows, same order.
/// - Memory: an allocation of which at least three quarters are used is shared with `batch`;
///   what lies in any other is copied, so that at most a quarter of each allocation (or
///   256 bytes) stays unused. Text that many rows share is never multiplied.
///
/// # Errors
/// [`Error::Arrow`](crate::Error) where arrow can't rebuild a nested array, which is a bug.
pub fn compact(batch: &RecordBatch) -> Result<RecordBatch> {
    let usage = Usage::of(batch);
    if !usage.allocations.values().any(Allocation::is_wasteful) {
        return Ok(batch.clone());
    }
    let columns =
        batch.columns().iter().map(|column| usage.copied(column)).collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(batch.schema(), columns, &options)?)
}

/// The bytes that a batch keeps alive: every allocation behind it once and whole, however many
/// arrays share it and however little of it they use.
pub fn unique_bytes(batch: &RecordBatch) -> u64 {
    let usage = Usage::of(batch);
    usage.allocations.values().map(|allocation| allocation.bytes as u64).sum()
}

/// About the bytes that the rows need where they share nothing, whatever their buffers pin: what
/// IPC makes of them. Costs no more than a look at each view.
pub fn row_bytes(batch: &RecordBatch) -> u64 {
    fn of_column(column: &dyn Array) -> u64 {
        match column.data_type() {
            DataType::Utf8View => {
                offset_bytes(column) + text_bytes(column.as_byte_view::<StringViewType>())
            }
            DataType::BinaryView => {
                offset_bytes(column) + text_bytes(column.as_byte_view::<BinaryViewType>())
            }
            DataType::Struct(_) => {
                column.as_struct().columns().iter().map(|child| of_column(child.as_ref())).sum()
            }
            DataType::List(_) => {
                offset_bytes(column) + of_column(elements(column.as_list::<i32>()).as_ref())
            }
            DataType::LargeList(_) => {
                offset_bytes(column) + of_column(elements(column.as_list::<i64>()).as_ref())
            }
            _ => column.to_data().get_slice_memory_size().unwrap_or(0) as u64,
        }
    }
    fn offset_bytes(column: &dyn Array) -> u64 {
        (column.len() * size_of::<i32>()) as u64
    }
    batch.columns().iter().map(|column| of_column(column.as_ref())).sum()
}

/// What a batch pins, by the address of each allocation, and how much of that it uses.
#[derive(Default)]
struct Usage {
    allocations: HashMap<usize, Allocation>,
    /// Slices that have been counted; a column that stands twice in a batch counts once.
    seen: HashSet<(usize, usize)>,
}

#[derive(Default)]
struct Allocation {
    bytes: usize,
    used_bytes: usize,
}

impl Allocation {
    fn is_wasteful(&self) -> bool {
        let waste = self.bytes.saturating_sub(self.used_bytes);
        waste > TOLERATED_WASTE_BYTES && waste > self.bytes / 4
    }
}

impl Usage {
    fn of(batch: &RecordBatch) -> Self {
        let mut usage = Self::default();
        for column in batch.columns() {
            usage.visit(column.as_ref());
        }
        usage
    }

    fn visit(&mut self, array: &dyn Array) {
        match array.data_type() {
            DataType::Utf8View => self.visit_views(array.as_byte_view::<StringViewType>()),
            DataType::BinaryView => self.visit_views(array.as_byte_view::<BinaryViewType>()),
            DataType::Struct(_) => {
                self.visit_nulls(array.nulls());
                for column in array.as_struct().columns() {
                    self.visit(column.as_ref());
                }
            }
            DataType::List(_) => self.visit_list(array.as_list::<i32>()),
            DataType::LargeList(_) => self.visit_list(array.as_list::<i64>()),
            _ => self.visit_leaf(&array.to_data()),
        }
    }

    fn visit_views<T: ByteViewType>(&mut self, array: &GenericByteViewArray<T>) {
        self.visit_nulls(array.nulls());
        let views = array.views();
        let is_new = self.add(views.inner(), views.len() * size_of::<u128>());
        let mut used_bytes = vec![0; array.data_buffers().len()];
        // Without a branch a row: most batches of short text have no long one.
        let has_long =
            || views.iter().fold(false, |any, view| any | (text_of(*view).0 > INLINE_VIEW_BYTES));
        if is_new && !used_bytes.is_empty() && has_long() {
            for view in views {
                let (len, index) = text_of(*view);
                if len > INLINE_VIEW_BYTES
                    && let Some(used) = used_bytes.get_mut(index)
                {
                    *used += len as usize;
                }
            }
        }
        for (buffer, used) in array.data_buffers().iter().zip(used_bytes) {
            self.allocation(buffer).used_bytes += used;
        }
    }

    fn visit_list<O: OffsetSizeTrait>(&mut self, array: &GenericListArray<O>) {
        self.visit_nulls(array.nulls());
        self.add(array.offsets().inner().inner(), size_of_val(array.value_offsets()));
        self.visit(elements(array).as_ref());
    }

    fn visit_leaf(&mut self, data: &ArrayData) {
        self.visit_nulls(data.nulls());
        for (buffer, used) in data.buffers().iter().zip(used_bytes(data)) {
            self.add(buffer, used);
        }
        for child in data.child_data() {
            self.visit(make_array(child.clone()).as_ref());
        }
    }

    fn visit_nulls(&mut self, nulls: Option<&NullBuffer>) {
        if let Some(nulls) = nulls {
            self.add(nulls.buffer(), nulls.len().div_ceil(8));
        }
    }

    /// Counts `used_bytes` of a slice unless that very slice was counted before; whether it is
    /// new.
    fn add(&mut self, buffer: &Buffer, used_bytes: usize) -> bool {
        let is_new = self.seen.insert((buffer.as_ptr().addr(), used_bytes));
        let allocation = self.allocation(buffer);
        if is_new {
            allocation.used_bytes += used_bytes;
        }
        is_new
    }

    fn allocation(&mut self, buffer: &Buffer) -> &mut Allocation {
        let allocation = self.allocations.entry(address(buffer)).or_default();
        // Memory that arrow did not allocate has no capacity: what is seen of it stands for it.
        let extent = buffer.ptr_offset() + buffer.len();
        allocation.bytes = allocation.bytes.max(buffer.capacity()).max(extent);
        allocation
    }

    fn is_wasteful(&self, buffer: &Buffer) -> bool {
        self.allocations.get(&address(buffer)).is_some_and(Allocation::is_wasteful)
    }

    fn has_wasteful_nulls(&self, array: &dyn Array) -> bool {
        array.nulls().is_some_and(|nulls| self.is_wasteful(nulls.buffer()))
    }

    /// The array with what lies in wasteful allocations copied.
    fn copied(&self, array: &ArrayRef) -> Result<ArrayRef> {
        match array.data_type() {
            DataType::Utf8View => self.copied_views(array.as_byte_view::<StringViewType>()),
            DataType::BinaryView => self.copied_views(array.as_byte_view::<BinaryViewType>()),
            DataType::Struct(fields) => {
                let columns = array.as_struct().columns();
                let columns =
                    columns.iter().map(|column| self.copied(column)).collect::<Result<_>>()?;
                let (nulls, len) = (self.copied_nulls(array.nulls()), array.len());
                Ok(Arc::new(StructArray::try_new_with_length(fields.clone(), columns, nulls, len)?))
            }
            DataType::List(_) => self.copied_list(array.as_list::<i32>()),
            DataType::LargeList(_) => self.copied_list(array.as_list::<i64>()),
            _ => {
                let data = array.to_data();
                let is_wasteful = self.has_wasteful_nulls(array)
                    || data.buffers().iter().any(|buffer| self.is_wasteful(buffer));
                if is_wasteful { exact_copy(&data) } else { Ok(Arc::clone(array)) }
            }
        }
    }

    fn copied_views<T: ByteViewType>(&self, array: &GenericByteViewArray<T>) -> Result<ArrayRef> {
        let has_wasteful_text = array.data_buffers().iter().any(|b| self.is_wasteful(b));
        let collected = if has_wasteful_text { array.gc() } else { array.clone() };
        if self.is_wasteful(collected.views().inner()) || self.has_wasteful_nulls(array) {
            return exact_copy(&collected.to_data());
        }
        Ok(Arc::new(collected))
    }

    fn copied_list<O: OffsetSizeTrait>(&self, array: &GenericListArray<O>) -> Result<ArrayRef> {
        let (DataType::List(field) | DataType::LargeList(field)) = array.data_type() else {
            return Ok(Arc::new(array.clone()));
        };
        let lengths = array.offsets().lengths();
        let offsets = OffsetBuffer::<O>::from_lengths(lengths);
        let values = self.copied(&elements(array))?;
        let nulls = self.copied_nulls(array.nulls());
        Ok(Arc::new(GenericListArray::try_new(Arc::clone(field), offsets, values, nulls)?))
    }

    fn copied_nulls(&self, nulls: Option<&NullBuffer>) -> Option<NullBuffer> {
        let nulls = nulls?;
        if !self.is_wasteful(nulls.buffer()) {
            return Some(nulls.clone());
        }
        let bits = nulls.inner().sliced();
        let bytes = &bits.as_slice()[..nulls.len().div_ceil(8)];
        let copy = Buffer::from_slice_ref(bytes);
        Some(NullBuffer::new(BooleanBuffer::new(copy, 0, nulls.len())))
    }
}

/// A view's length, and the index of the buffer that it points into where it is not inline.
fn text_of(view: u128) -> (u32, usize) {
    #[expect(clippy::cast_possible_truncation, reason = "a view is four packed 32-bit fields")]
    let (len, index) = (view as u32, (view >> 64) as u32);
    (len, index as usize)
}

/// The bytes of text that a view array's rows stand for, however many of them share it.
pub(crate) fn text_bytes<T: ByteViewType>(array: &GenericByteViewArray<T>) -> u64 {
    array.views().iter().map(|view| u64::from(text_of(*view).0)).sum()
}

/// The elements that a list array's rows refer to.
fn elements<O: OffsetSizeTrait>(array: &GenericListArray<O>) -> ArrayRef {
    let offsets = array.value_offsets();
    let start = offsets.first().map_or(0, |offset| offset.as_usize());
    let end = offsets.last().map_or(start, |offset| offset.as_usize());
    array.values().slice(start, end - start)
}

fn address(buffer: &Buffer) -> usize {
    buffer.data_ptr().addr().get()
}

/// How much of each of its buffers an array uses.
fn used_bytes(data: &ArrayData) -> Vec<usize> {
    let text = variable_bytes(data);
    let width = |spec: &BufferSpec| match spec {
        BufferSpec::FixedWidth { byte_width, .. } => (data.len() + 1) * byte_width,
        BufferSpec::VariableWidth => text,
        BufferSpec::BitMap => data.len().div_ceil(8),
        BufferSpec::AlwaysNull => 0,
    };
    layout(data.data_type()).buffers.iter().map(width).collect()
}

/// The bytes between the first and the last offset of a text or binary array.
fn variable_bytes(data: &ArrayData) -> usize {
    fn between<O: OffsetSizeTrait>(data: &ArrayData) -> usize {
        let offsets = data.buffer::<O>(0);
        match (offsets.first(), offsets.get(data.len())) {
            (Some(first), Some(last)) => last.as_usize() - first.as_usize(),
            _ => 0,
        }
    }
    match data.data_type() {
        DataType::Utf8 | DataType::Binary => between::<i32>(data),
        DataType::LargeUtf8 | DataType::LargeBinary => between::<i64>(data),
        _ => 0,
    }
}

/// A copy in buffers of its own. A view array keeps its text buffers.
fn exact_copy(data: &ArrayData) -> Result<ArrayRef> {
    let capacities = match data.data_type() {
        DataType::Utf8 | DataType::Binary | DataType::LargeUtf8 | DataType::LargeBinary => {
            Capacities::Binary(data.len(), Some(variable_bytes(data)))
        }
        _ => Capacities::Array(data.len()),
    };
    let mut copy = MutableArrayData::with_capacities(vec![data], false, capacities);
    copy.try_extend(0, 0, data.len())?;
    Ok(make_array(copy.freeze()))
}

#[cfg(test)]
mod tests {
    use arrow::{
        array::{
            BinaryArray, BooleanArray, Int64Array, ListArray, StringArray, StringViewArray,
            UInt32Array,
        },
        compute::take_record_batch,
        datatypes::{Int64Type, Schema},
        ipc::writer::StreamWriter,
    };
    use proptest::prelude::*;

    use super::*;

    fn batch(columns: Vec<ArrayRef>) -> RecordBatch {
        let names = ["a", "b", "c", "d", "e", "f", "g"];
        RecordBatch::try_from_iter(names.into_iter().zip(columns)).unwrap()
    }

    /// One column of every kind; `n` rows of about 100 bytes of text each.
    fn wide(n: usize) -> RecordBatch {
        let text = |i: usize| (!i.is_multiple_of(7)).then(|| format!("{i:0>40}"));
        let numbers = (0..n).map(|i| (!i.is_multiple_of(5)).then_some(i64::try_from(i).unwrap()));
        let lists = (0..n).map(|i| (!i.is_multiple_of(3)).then(|| vec![Some(1), None, Some(3)]));
        let views: ArrayRef = Arc::new((0..n).map(text).collect::<StringViewArray>());
        batch(vec![
            Arc::new(numbers.collect::<Int64Array>()),
            Arc::new(
                (0..n)
                    .map(|i| (!i.is_multiple_of(4)).then_some(i.is_multiple_of(2)))
                    .collect::<BooleanArray>(),
            ),
            Arc::clone(&views),
            Arc::new((0..n).map(text).collect::<StringArray>()),
            Arc::new((0..n).map(text).collect::<BinaryArray>()),
            Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists)),
            Arc::new(StructArray::from(vec![(
                Arc::new(arrow::datatypes::Field::new("v", DataType::Utf8View, true)),
                views,
            )])),
        ])
    }

    fn ipc_bytes(batch: &RecordBatch) -> usize {
        let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
        writer.write(batch).unwrap();
        let empty = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
        writer.into_inner().unwrap().len() - empty.into_inner().unwrap().len()
    }

    #[test]
    fn one_percent_of_the_rows_costs_about_one_percent_of_the_bytes() {
        let whole = wide(20_000);
        let rows: UInt32Array = (0..200).map(|i| i * 100 + 3).collect();
        let taken = take_record_batch(&whole, &rows).unwrap();
        for part in [whole.slice(5_003, 200), taken] {
            let compacted = compact(&part).unwrap();
            assert_eq!(compacted, part);
            let share = unique_bytes(&whole) / 100;
            let bytes = unique_bytes(&compacted);
            assert!(bytes < share * 3 / 2, "{bytes} bytes, where {share} are one percent");
            let (ipc_share, ipc) = (ipc_bytes(&whole) / 100, ipc_bytes(&compacted));
            assert!(ipc < ipc_share * 3 / 2, "{ipc} IPC bytes, where {ipc_share} are one percent");
        }
    }

    #[test]
    fn a_compact_batch_is_shared_and_not_copied() {
        let once = compact(&wide(1_000)).unwrap();
        let twice = compact(&once).unwrap();
        let buffers = |batch: &RecordBatch| -> Vec<usize> {
            let column = |c: &ArrayRef| c.to_data().buffers().iter().map(address).collect();
            batch.columns().iter().flat_map(|c| -> Vec<usize> { column(c) }).collect()
        };
        assert_eq!(buffers(&once), buffers(&twice));
    }

    #[test]
    fn text_that_many_rows_share_is_not_multiplied() {
        let long = "x".repeat(100_000);
        let one = batch(vec![Arc::new(StringViewArray::from(vec![long.as_str()]))]);
        let rows = UInt32Array::from(vec![0; 1_000]);
        let many = take_record_batch(&one, &rows).unwrap();
        assert!(unique_bytes(&compact(&many).unwrap()) < 200_000);
    }

    #[test]
    fn an_allocation_counts_once_however_many_arrays_share_it() {
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![7; 1_024]));
        let columns = [(0, 10), (500, 10), (0, 10)].map(|(at, len)| numbers.slice(at, len));
        assert_eq!(unique_bytes(&batch(columns.to_vec())), 8_192);
    }

    #[test]
    fn rows_are_measured_alone_however_much_they_pin() {
        let text: ArrayRef = Arc::new(StringViewArray::from(vec!["a".repeat(100); 1_000]));
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1; 1_000]));
        let ten = batch(vec![text, numbers]).slice(500, 10);
        assert_eq!(row_bytes(&ten), 10 * (100 + 4) + 10 * 8);
    }

    #[test]
    fn a_batch_without_columns_keeps_its_row_count() {
        let options = RecordBatchOptions::new().with_row_count(Some(9));
        let empty = Arc::new(Schema::empty());
        let batch = RecordBatch::try_new_with_options(empty, vec![], &options).unwrap();
        assert_eq!(compact(&batch).unwrap().num_rows(), 9);
    }

    proptest! {
        #[test]
        fn compaction_changes_no_value_and_is_done_at_once(
            start in 0_usize..300, len in 0_usize..300, step in 1_u32..5,
        ) {
            let part = wide(600).slice(start, len);
            let rows: UInt32Array =
                (0..u32::try_from(len).unwrap()).step_by(step as usize).collect();
            let part = take_record_batch(&part, &rows).unwrap();
            let compacted = compact(&part).unwrap();
            prop_assert_eq!(&compacted, &part);
            let again = compact(&compacted).unwrap();
            prop_assert_eq!(unique_bytes(&again), unique_bytes(&compacted));
        }
    }
}
