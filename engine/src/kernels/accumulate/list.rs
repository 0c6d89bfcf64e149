//! Aggregates that need all values of a group at once: quantiles, products, texts and lists.
//!
//! Values are kept in the order of their coming, each with its group, and sorted into groups once
//! all are there. Their states are lists, which a spill brings to disk like any column.

use std::{ops::Range, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, Float64Array, ListArray, StringViewBuilder, StructArray},
    buffer::{NullBuffer, OffsetBuffer, ScalarBuffer},
    datatypes::{DataType, Field, FieldRef, Fields},
};

use super::{
    Accumulator, Carried, Coming, Taken, as_type, column, constant_number, no_state,
    state_of_nothing,
};
use crate::{
    Error, Result,
    expr::{Aggregate, AggregateFunction as F, Expr, Literal},
    kernels::{
        column::{Column, ColumnInput, word_order},
        growth::{Growth, bytes_of, growth_of, reserve},
        key_table::MAX_GROUPS,
    },
};

/// The longest text that `string_agg` makes.
const MAX_TEXT_BYTES: usize = 1 << 30;

/// What becomes of the values of a group.
#[derive(Clone, Debug)]
pub(super) enum Made {
    /// A quantile between values, from the greatest one down where `descending`.
    Between { part: f64, descending: bool },
    /// A quantile that is a value.
    OneOf { part: f64, descending: bool },
    /// Their product.
    Product,
    /// Their texts.
    Text { separator: String },
    /// A list of them.
    List,
}

impl Made {
    pub(super) fn of(aggregate: &Aggregate) -> Result<Self> {
        let descending = aggregate.order_by.first().is_some_and(|key| key.descending);
        Ok(match aggregate.function {
            F::Median => Self::Between { part: 0.5, descending: false },
            F::QuantileCont => Self::Between { part: constant_number(aggregate)?, descending },
            F::QuantileDisc => Self::OneOf { part: constant_number(aggregate)?, descending },
            F::Product => Self::Product,
            F::StringAgg => match aggregate.arguments.get(1) {
                Some(Expr::Literal(Literal::Utf8(separator))) => {
                    Self::Text { separator: separator.clone() }
                }
                other => return Err(Error::Internal(format!("a separator {other:?}"))),
            },
            _ => Self::List,
        })
    }

    /// Whether values come with the key of their order.
    fn has_order(&self) -> bool {
        matches!(self, Self::Text { .. } | Self::List)
    }

    /// Whether values are taken as float64.
    fn is_of_floats(&self) -> bool {
        matches!(self, Self::Between { .. } | Self::Product)
    }
}

/// The values of each group.
#[derive(Debug)]
pub(super) struct Lists {
    made: Made,
    /// The group of each entry.
    groups: Vec<u32>,
    /// The values, and the keys of their order.
    columns: Vec<Column>,
    count: usize,
    by_group: ByGroup,
}

impl Lists {
    pub(super) fn new(of: &DataType, made: Made) -> Result<Self> {
        let of = if made.is_of_floats() { &DataType::Float64 } else { of };
        let mut columns = vec![Column::new(of)?];
        if made.has_order() {
            columns.push(Column::new(&DataType::BinaryView)?);
        }
        let by_group = ByGroup::default();
        Ok(Self { made, groups: Vec::new(), columns, count: 0, by_group })
    }

    fn types(&self) -> Vec<DataType> {
        self.columns.iter().map(|column| column.data_type().clone()).collect()
    }

    fn inputs(&self, columns: &[ArrayRef]) -> Result<Vec<ColumnInput>> {
        if columns.len() != self.columns.len() {
            return Err(Error::Internal(String::from("an aggregate without its column")));
        }
        let pairs = columns.iter().zip(&self.columns);
        pairs.map(|(input, own)| ColumnInput::new(&as_type(input, own.data_type())?)).collect()
    }

    fn push(&mut self, columns: &[ArrayRef], groups: &[u32], count: usize) -> Result<()> {
        let inputs = self.inputs(columns)?;
        check_entries(self.groups.len() + groups.len())?;
        self.count = count;
        reserve(&mut self.groups, groups.len());
        self.groups.extend_from_slice(groups);
        for (own, input) in self.columns.iter_mut().zip(&inputs) {
            own.append(input, 0..groups.len());
        }
        Ok(())
    }

    /// A group's entries in the order that they came with.
    fn in_order(&self, group: u32) -> Vec<u32> {
        let mut entries = self.by_group.of(group).to_vec();
        if let Some(keys) = self.columns.get(1) {
            entries.sort_by(|left, right| keys.order(*left, *right));
        }
        entries
    }

    /// A group's values as integers of their order.
    fn words(&self, group: u32) -> Vec<i64> {
        let order = word_order(&DataType::Float64);
        let words = self.columns[0].words().unwrap_or_default();
        let entries = self.by_group.of(group).iter();
        entries.map(|entry| order(words[*entry as usize].cast_signed())).collect()
    }

    fn between(&self, group: u32, part: f64, descending: bool) -> Option<f64> {
        let mut words = self.words(group);
        if words.is_empty() {
            return None;
        }
        if descending {
            for word in &mut words {
                *word = !*word;
            }
        }
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a place below 2³¹"
        )]
        let (place, below) = {
            let place = (words.len() - 1) as f64 * part;
            (place, place.floor() as usize)
        };
        let (_, low, above) = words.select_nth_unstable(below);
        let low = *low;
        let high = above.iter().min().copied().unwrap_or(low);
        let float = |word: i64| {
            let word = if descending { !word } else { word };
            f64::from_bits(word_order(&DataType::Float64)(word).cast_unsigned())
        };
        let (low, high) = (float(low), float(high));
        let over = place - place.floor();
        Some(if over == 0.0 || low.to_bits() == high.to_bits() {
            low
        } else {
            low + (high - low) * over
        })
    }

    fn one_of(&self, group: u32, part: f64, descending: bool) -> Option<u32> {
        let mut entries = self.by_group.of(group).to_vec();
        let rank = rank(entries.len(), part)?;
        let values = &self.columns[0];
        let (_, entry, _) = entries.select_nth_unstable_by(rank, |left, right| {
            let order = values.order(*left, *right);
            if descending { order.reverse() } else { order }
        });
        Some(*entry)
    }

    fn product(&self, group: u32) -> Option<f64> {
        let mut words = self.words(group);
        words.sort_unstable();
        let order = word_order(&DataType::Float64);
        let floats = words.into_iter().map(|word| f64::from_bits(order(word).cast_unsigned()));
        floats.reduce(|product, value| product * value)
    }

    fn texts(&self, groups: &[u32], separator: &str, name: &str) -> Result<ArrayRef> {
        let mut builder = StringViewBuilder::with_capacity(groups.len());
        for group in groups {
            let entries = self.in_order(*group);
            if entries.is_empty() {
                builder.append_null();
                continue;
            }
            let values = self.columns[0].gather(&entries)?;
            let values = values.as_string_view();
            let bytes: usize = values.lengths().map(|bytes| bytes as usize + separator.len()).sum();
            if bytes > MAX_TEXT_BYTES {
                let reason = format!(
                    "string_agg `{name}` is a text of {bytes} bytes; a value has at \
                                      most {MAX_TEXT_BYTES}"
                );
                return Err(Error::Evaluate { reason });
            }
            let mut text = String::with_capacity(bytes);
            for (index, value) in values.iter().enumerate() {
                text.push_str(if index == 0 { "" } else { separator });
                text.push_str(value.unwrap_or_default());
            }
            builder.append_value(&text);
        }
        Ok(Arc::new(builder.finish()))
    }

    fn lists(&self, groups: &[u32]) -> Result<ArrayRef> {
        let lists: Vec<Vec<u32>> = groups.iter().map(|group| self.in_order(*group)).collect();
        let nulls: NullBuffer = lists.iter().map(|list| !list.is_empty()).collect();
        let offsets = OffsetBuffer::from_lengths(lists.iter().map(Vec::len));
        let values = self.columns[0].gather(&lists.concat())?;
        let element = Arc::new(Field::new_list_field(values.data_type().clone(), true));
        Ok(Arc::new(ListArray::try_new(element, offsets, values, Some(nulls))?))
    }
}

impl Accumulator for Lists {
    fn state_types(&self) -> Vec<DataType> {
        vec![list_type(&self.types())]
    }

    fn memory_bytes(&self) -> u64 {
        let columns = self.columns.iter().map(Column::memory_bytes).sum::<u64>();
        columns + bytes_of(&self.groups) + ByGroup::bytes(self.groups.len(), self.count)
    }

    fn growth(&self, columns: &[ArrayRef], coming: Coming) -> Result<Growth> {
        let (columns, rows) = entries_of(columns, coming, self.columns.len())?;
        let of = |(own, values): (&Column, &ArrayRef)| {
            let has_nulls = values.logical_null_count() > 0;
            if let Some(growth) = own.fixed_growth(has_nulls, rows) {
                return Ok(growth);
            }
            let input = ColumnInput::new(&as_type(values, own.data_type())?)?;
            Ok(own.growth(&input, rows))
        };
        let pairs = self.columns.iter().zip(&columns);
        let values = pairs.map(of).sum::<Result<Growth>>()?;
        let index = index_growth(rows, coming.groups, self.count);
        Ok(values + growth_of(&self.groups, rows) + index)
    }

    fn extend(&mut self, count: usize) {
        self.count = count;
    }

    fn update(&mut self, taken: &Taken<'_>) -> Result<()> {
        self.push(taken.columns, taken.groups, taken.count)
    }

    fn merge(&mut self, taken: &Taken<'_>) -> Result<()> {
        let (columns, groups) =
            flattened(column(taken.columns, 0)?, taken.groups, self.columns.len())?;
        self.push(&columns, &groups, taken.count)
    }

    fn freeze(&mut self) {
        self.columns.iter_mut().for_each(Column::freeze);
        self.by_group = ByGroup::new(&self.groups, self.count);
    }

    fn is_unbounded(&self) -> bool {
        true
    }

    fn group_bytes(&self, group: u32) -> u64 {
        entry_bytes(&self.columns, self.by_group.of(group))
    }

    fn nothing(&self) -> Result<Vec<ArrayRef>> {
        state_of_nothing(Self::new(self.columns[0].data_type(), self.made.clone())?)
    }

    fn states(&self, groups: &[u32], columns: &mut Vec<ArrayRef>) -> Result<()> {
        let (entries, offsets) = self.by_group.lists(groups);
        let values = self.columns.iter().map(|own| own.gather(&entries)).collect::<Result<_>>()?;
        columns.push(list_of(values, offsets)?);
        Ok(())
    }

    fn pieces(&self, group: u32, piece_bytes: u64) -> Vec<Range<usize>> {
        pieces(&self.columns, self.by_group.of(group), piece_bytes)
    }

    fn piece(&self, group: u32, entries: Range<usize>, columns: &mut Vec<ArrayRef>) -> Result<()> {
        let entries = &self.by_group.of(group)[entries];
        let values = self.columns.iter().map(|own| own.gather(entries)).collect::<Result<_>>()?;
        columns.push(list_of(values, OffsetBuffer::from_lengths([entries.len()]))?);
        Ok(())
    }

    fn values(&self, groups: &[u32], name: &str, columns: &mut Vec<ArrayRef>) -> Result<()> {
        let floats = |of: &dyn Fn(u32) -> Option<f64>| {
            Arc::new(groups.iter().map(|group| of(*group)).collect::<Float64Array>()) as ArrayRef
        };
        columns.push(match &self.made {
            Made::Between { part, descending } => {
                floats(&|group| self.between(group, *part, *descending))
            }
            Made::Product => floats(&|group| self.product(group)),
            Made::OneOf { part, descending } => {
                let entries: Vec<Option<u32>> =
                    groups.iter().map(|group| self.one_of(*group, *part, *descending)).collect();
                chosen(&self.columns[0], &entries)?
            }
            Made::Text { separator } => self.texts(groups, separator, name)?,
            Made::List => self.lists(groups)?,
        });
        Ok(())
    }
}

/// The place, from 0, of the least of `count` values that has a part of all at or below it.
pub(super) fn rank(count: usize, part: f64) -> Option<usize> {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count below 2⁵³"
    )]
    let above = (count as f64 - part * count as f64).floor() as usize;
    count.checked_sub(1)?;
    Some(count.saturating_sub(above).max(1) - 1)
}

/// An entry of each group, or null.
pub(super) fn chosen(values: &Column, entries: &[Option<u32>]) -> Result<ArrayRef> {
    let present: Vec<u32> = entries.iter().flatten().copied().collect();
    let gathered = values.gather(&present)?;
    if present.len() == entries.len() {
        return Ok(gathered);
    }
    let mut next = 0u32;
    let places: arrow::array::UInt32Array = entries
        .iter()
        .map(|entry| {
            entry.map(|_| {
                next += 1;
                next - 1
            })
        })
        .collect();
    Ok(arrow::compute::take(&gathered, &places, None)?)
}

/// Entries sorted by their group.
#[derive(Debug, Default)]
pub(super) struct ByGroup {
    entries: Vec<u32>,
    /// Where each group's entries begin, and at last where they end.
    starts: Vec<u32>,
}

impl ByGroup {
    /// The bytes that it takes for so many entries of so many groups; counted from the first entry
    /// on, so that there is room for it at the end.
    pub(super) fn bytes(entries: usize, groups: usize) -> u64 {
        ((entries + groups + 1) * size_of::<u32>()) as u64
    }

    #[expect(clippy::cast_possible_truncation, reason = "at most `MAX_GROUPS` entries")]
    pub(super) fn new(groups: &[u32], count: usize) -> Self {
        let mut starts = vec![0u32; count + 1];
        for group in groups {
            starts[*group as usize + 1] += 1;
        }
        for group in 0..count {
            starts[group + 1] += starts[group];
        }
        let mut entries = vec![0; groups.len()];
        for (entry, group) in groups.iter().enumerate() {
            let next = &mut starts[*group as usize];
            entries[*next as usize] = entry as u32;
            *next += 1;
        }
        // Each start has moved to its end, which is where the next one began.
        starts.rotate_right(1);
        starts[0] = 0;
        Self { entries, starts }
    }

    /// A group's entries, in the order of their coming.
    pub(super) fn of(&self, group: u32) -> &[u32] {
        let group = group as usize;
        &self.entries[self.starts[group] as usize..self.starts[group + 1] as usize]
    }

    /// The entries of some groups, one after the other, with where each group's begin.
    pub(super) fn lists(&self, groups: &[u32]) -> (Vec<u32>, OffsetBuffer<i32>) {
        let lists = groups.iter().map(|group| self.of(*group));
        let offsets = OffsetBuffer::from_lengths(lists.clone().map(<[u32]>::len));
        (lists.flatten().copied().collect(), offsets)
    }
}

/// The bytes of some entries.
pub(super) fn entry_bytes(columns: &[Column], entries: &[u32]) -> u64 {
    columns.iter().map(|column| column.entry_bytes(entries)).sum()
}

/// Ranges of entries of about so many bytes each, or of one entry.
pub(super) fn pieces(columns: &[Column], entries: &[u32], piece_bytes: u64) -> Vec<Range<usize>> {
    let mut pieces = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (place, entry) in entries.iter().enumerate() {
        let own = entry_bytes(columns, std::slice::from_ref(entry));
        if place > start && bytes + own > piece_bytes {
            pieces.push(start..place);
            (start, bytes) = (place, 0);
        }
        bytes += own;
    }
    if start < entries.len() {
        pieces.push(start..entries.len());
    }
    pieces
}

/// The type of a list of values of these types side by side.
pub(super) fn list_type(types: &[DataType]) -> DataType {
    DataType::List(element(types))
}

fn element(types: &[DataType]) -> FieldRef {
    Arc::new(match types {
        [single] => Field::new_list_field(single.clone(), true),
        several => Field::new_list_field(DataType::Struct(members(several)), true),
    })
}

fn members(types: &[DataType]) -> Fields {
    let member = |(index, of): (usize, &DataType)| Field::new(index.to_string(), of.clone(), true);
    types.iter().enumerate().map(member).collect()
}

/// Values side by side as lists.
pub(super) fn list_of(mut values: Vec<ArrayRef>, offsets: OffsetBuffer<i32>) -> Result<ArrayRef> {
    let types: Vec<DataType> = values.iter().map(|values| values.data_type().clone()).collect();
    let values = match values.pop() {
        Some(single) if values.is_empty() => single,
        last => {
            values.extend(last);
            Arc::new(StructArray::try_new(members(&types), values, None)?)
        }
    };
    Ok(Arc::new(ListArray::try_new(element(&types), offsets, values, None)?))
}

/// The elements of lists of so many values side by side, with the group of each.
pub(super) fn flattened(
    lists: &ArrayRef,
    groups: &[u32],
    width: usize,
) -> Result<(Vec<ArrayRef>, Vec<u32>)> {
    let Some(of_rows) = lists.as_list_opt::<i32>() else { return Err(no_state(lists)) };
    let mut repeated = Vec::with_capacity(of_rows.values().len());
    for (group, length) in groups.iter().zip(of_rows.offsets().lengths()) {
        repeated.extend(std::iter::repeat_n(*group, length));
    }
    Ok((elements(lists, width)?, repeated))
}

/// The columns that the elements of lists consist of.
fn elements(lists: &ArrayRef, width: usize) -> Result<Vec<ArrayRef>> {
    let Some(of_rows) = lists.as_list_opt::<i32>() else { return Err(no_state(lists)) };
    let offsets: &ScalarBuffer<i32> = of_rows.offsets().inner();
    let first = usize::try_from(offsets.first().copied().unwrap_or(0)).unwrap_or(0);
    let end = usize::try_from(offsets.last().copied().unwrap_or(0)).unwrap_or(0);
    let values = of_rows.values().slice(first, end - first);
    if width == 1 {
        return Ok(vec![values]);
    }
    let members = values.as_struct_opt().filter(|members| members.num_columns() == width);
    members.map(|members| members.columns().to_vec()).ok_or_else(|| no_state(lists))
}

/// The columns that are about to be added, and how many rows at most.
pub(super) fn entries_of(
    columns: &[ArrayRef],
    coming: Coming,
    width: usize,
) -> Result<(Vec<ArrayRef>, usize)> {
    match coming.carried {
        Carried::Values => Ok((columns.to_vec(), coming.rows)),
        Carried::States => {
            let columns = elements(column(columns, 0)?, width)?;
            let rows = columns.first().map_or(0, Array::len);
            Ok((columns, rows))
        }
    }
}

/// Refuses more entries than have numbers.
pub(super) fn check_entries(entries: usize) -> Result<()> {
    if entries < MAX_GROUPS {
        return Ok(());
    }
    let reason = format!("an aggregate over {entries} values at once; at most {MAX_GROUPS}");
    Err(Error::Evaluate { reason })
}

/// What [`Lists`] and tables of values add for their groups.
pub(super) fn index_growth(entries: usize, groups: usize, known: usize) -> Growth {
    let more = groups - known.min(groups);
    Growth { lasting_bytes: ByGroup::bytes(entries, more), passing_bytes: 0 }
}
