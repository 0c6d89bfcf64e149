//! `reduce_by_key`: hash aggregation, [`PartialReduce`] before the exchange and [`FinalReduce`]
//! behind it.
//!
//! Both group by a [`KeyTable`] and keep their aggregates as columns of states. They differ in what
//! they do when the budget refuses more memory: the partial one hands its groups on as they are
//! and starts anew, since the final one merges them anyway; the final one writes them to spill
//! files, apart by some bits of their hash, and later takes one file after the other, which has
//! fewer groups, by the next bits. So the same groups come out, whatever the budget; only their
//! order differs, and none is defined.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch, UInt64Array},
    datatypes::{DataType, SchemaRef, UInt64Type},
};

pub use crate::kernels::accumulate::state_fields;

use crate::{
    Error, Result,
    expr::{Aggregate, Expr},
    kernels::{
        accumulate::{Accumulators, Inputs, state_count},
        growth::settle,
        key_table::{Groups, KeyBatch, KeyTable, MAX_GROUPS},
    },
    memory::{
        Reservation,
        spill::{SpillFile, SpillWriter},
    },
    operators::{Operator, hash::evaluate_keys},
    task::context::TaskContext,
};

/// Rows of a batch that is given or spilled.
const BATCH_ROWS: usize = 8192;
/// About how many bytes of groups go into a batch at most.
const BATCH_BYTES: u64 = 8 << 20;
/// What an operator may hold whatever the budget says: less than this is not worth a spill.
const LEAST_BYTES: u64 = 1 << 20;
/// A spill splits by so many bits of the hash.
const SPLIT_BITS: u32 = 4;
/// After so many splits all bits of the hash are used up.
const LEVELS: u32 = 64 / SPLIT_BITS;

/// Map-side aggregation: what reaches the exchange is one row a group, not one row a row.
///
/// - Shape: `schema` = keys, [states](state_fields), the keys' hash. A group may come several
///   times, once each time that memory ran out. Order: none.
/// - Memory: its table is reserved; refused, the groups so far are handed on and it starts anew.
///   One batch, and 1 MiB, it takes in any case.
/// - Errors: [`Error::Evaluate`] of a key or an argument.
pub struct PartialReduce {
    input: Box<dyn Operator>,
    keys: Vec<Expr>,
    aggregates: Vec<Aggregate>,
    schema: SchemaRef,
    context: TaskContext,
    reservation: Reservation,
    /// A batch that the last grouping had no room for.
    refused: Option<Rows>,
    has_ended: bool,
    draining: Option<Draining>,
    least_bytes: u64,
}

impl PartialReduce {
    /// Over the rows of `input`, to whose schema keys and aggregates are bound.
    pub fn new(
        input: Box<dyn Operator>,
        keys: Vec<Expr>,
        aggregates: Vec<Aggregate>,
        schema: SchemaRef,
        context: &TaskContext,
    ) -> Self {
        let reservation = context.budget.reservation("reduce_by_key (partial)");
        let context = context.clone();
        Self {
            input,
            keys,
            aggregates,
            schema,
            context,
            reservation,
            refused: None,
            has_ended: false,
            draining: None,
            least_bytes: LEAST_BYTES,
        }
    }

    /// Groups rows until the input ends or memory is refused.
    fn build(&mut self) -> Result<Grouping> {
        let mut grouping =
            Grouping::new(self.keys.iter().map(Expr::data_type), &self.aggregates, Taken::Values)?;
        loop {
            let rows = match self.refused.take() {
                Some(rows) => rows,
                None => match self.input.next()? {
                    Some(batch) => self.rows(&batch)?,
                    None => break,
                },
            };
            self.context.cancel.check()?;
            let room = Room::AtLeast(self.least_bytes);
            if !grouping.add(&rows, &mut self.reservation, room)? {
                self.refused = Some(rows);
                return Ok(grouping);
            }
        }
        self.has_ended = true;
        Ok(grouping)
    }

    fn rows(&self, batch: &RecordBatch) -> Result<Rows> {
        let mut hashes = Vec::new();
        let keys = evaluate_keys(&self.keys, batch, &mut hashes)?;
        let argument = |aggregate: &Aggregate| {
            aggregate.arguments.iter().map(|argument| argument.evaluate(batch)).collect()
        };
        let inputs = self.aggregates.iter().map(argument).collect::<Result<_>>()?;
        Ok(Rows { keys: KeyBatch::new(&keys)?, inputs, hashes })
    }
}

impl Operator for PartialReduce {
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(draining) = &mut self.draining {
                if let Some(groups) = draining.next() {
                    let columns = draining.states(&groups)?;
                    return Ok(Some(RecordBatch::try_new(Arc::clone(&self.schema), columns)?));
                }
                self.draining = None;
                self.reservation.free();
            }
            if self.has_ended {
                return Ok(None);
            }
            self.draining = Some(self.build()?.drain(&mut self.reservation));
        }
    }
}

/// Merges what [`PartialReduce`] gave: one row a group, with its aggregates' values.
///
/// - Shape: `schema` = keys, values; input as [`PartialReduce`]'s output. Order: none.
/// - Memory: its table is reserved; refused, the groups go to spill files, apart by their hash.
///   One batch, and 1 MiB, it takes in any case, and groups that no hash keeps apart.
/// - Errors: [`Error::Evaluate`] for an integer sum beyond int64; those of spilling.
pub struct FinalReduce {
    input: Box<dyn Operator>,
    /// How many times the rows of `input` have been split by their hash.
    level: u32,
    keys: usize,
    aggregates: Vec<Aggregate>,
    schema: SchemaRef,
    context: TaskContext,
    reservation: Reservation,
    /// Spilled parts that wait, with how many times they were split.
    waiting: Vec<(Arc<SpillFile>, u32)>,
    draining: Option<Draining>,
    has_begun: bool,
    least_bytes: u64,
}

impl FinalReduce {
    /// Over the rows of `input`, of which the first `keys` columns are the keys.
    pub fn new(
        input: Box<dyn Operator>,
        keys: usize,
        aggregates: Vec<Aggregate>,
        schema: SchemaRef,
        context: &TaskContext,
    ) -> Self {
        let reservation = context.budget.reservation("reduce_by_key (final)");
        let context = context.clone();
        Self {
            input,
            level: 0,
            keys,
            aggregates,
            schema,
            context,
            reservation,
            waiting: Vec::new(),
            draining: None,
            has_begun: false,
            least_bytes: LEAST_BYTES,
        }
    }

    /// Merges all of `self.input`: into groups that fit, or into spill files that wait.
    fn build(&mut self) -> Result<Option<Draining>> {
        let mut grouping = self.grouping()?;
        let mut split: Option<Split> = None;
        while let Some(batch) = self.input.next()? {
            self.context.cancel.check()?;
            let rows = self.rows(&batch)?;
            let room = Room::AtLeast(self.least_bytes);
            if grouping.add(&rows, &mut self.reservation, room)? {
                continue;
            }
            if self.level < LEVELS && grouping.can_be_split() {
                let split = split.get_or_insert_with(|| Split::new(batch.schema(), self.level));
                let full = std::mem::replace(&mut grouping, self.grouping()?);
                split.spill(&full.drain(&mut self.reservation), &self.context)?;
                self.reservation.free();
            }
            grouping.add(&rows, &mut self.reservation, Room::Taken)?;
        }
        let rest = grouping.drain(&mut self.reservation);
        let Some(mut split) = split else { return Ok(Some(rest)) };
        split.spill(&rest, &self.context)?;
        drop(rest);
        self.reservation.free();
        for file in split.finish()? {
            self.waiting.push((Arc::new(file), self.level + 1));
        }
        Ok(None)
    }

    fn grouping(&self) -> Result<Grouping> {
        let types = self.schema.fields()[..self.keys].iter().map(|field| field.data_type().clone());
        Grouping::new(types, &self.aggregates, Taken::States)
    }

    fn rows(&self, batch: &RecordBatch) -> Result<Rows> {
        let Some((hashes, columns)) = batch.columns().split_last() else {
            return Err(Error::Internal(String::from("states without a hash")));
        };
        let Some(hashes) = hashes.as_primitive_opt::<UInt64Type>() else {
            return Err(Error::Internal(format!("a hash of type {}", hashes.data_type())));
        };
        let (keys, mut states) = columns
            .split_at_checked(self.keys)
            .ok_or_else(|| Error::Internal(String::from("states without their keys")))?;
        let mut inputs = Vec::with_capacity(self.aggregates.len());
        for aggregate in &self.aggregates {
            let (own, others) = states
                .split_at_checked(state_count(aggregate))
                .ok_or_else(|| Error::Internal(String::from("an aggregate without its state")))?;
            inputs.push(own.to_vec());
            states = others;
        }
        Ok(Rows { keys: KeyBatch::new(keys)?, inputs, hashes: hashes.values().to_vec() })
    }
}

impl Operator for FinalReduce {
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(draining) = &mut self.draining {
                if let Some(groups) = draining.next() {
                    let names = self.schema.fields()[self.keys..].iter().map(|field| field.name());
                    let columns = draining.values(&groups, names.map(String::as_str))?;
                    return Ok(Some(RecordBatch::try_new(Arc::clone(&self.schema), columns)?));
                }
                self.draining = None;
                self.reservation.free();
            }
            if std::mem::replace(&mut self.has_begun, true) {
                let Some((file, level)) = self.waiting.pop() else { return Ok(None) };
                self.input = Box::new(file.reader(0..file.blocks()));
                self.level = level;
            }
            self.draining = self.build()?;
        }
    }
}

/// A batch made ready to be grouped.
struct Rows {
    keys: KeyBatch,
    inputs: Vec<Inputs>,
    hashes: Vec<u64>,
}

/// What the rows of a grouping carry for its aggregates.
#[derive(Clone, Copy)]
enum Taken {
    Values,
    States,
}

/// How a grouping gets room for a batch.
#[derive(Clone, Copy)]
enum Room {
    /// Up to so many bytes, and for the first batch, in any case; beyond that by the budget.
    AtLeast(u64),
    /// In any case.
    Taken,
}

/// Groups and the states of their aggregates.
struct Grouping {
    table: KeyTable,
    accumulators: Accumulators,
    taken: Taken,
    /// The group of each row of a batch.
    groups: Vec<u32>,
}

impl Grouping {
    fn new(
        keys: impl IntoIterator<Item = DataType>,
        aggregates: &[Aggregate],
        taken: Taken,
    ) -> Result<Self> {
        let keys: Vec<DataType> = keys.into_iter().collect();
        let accumulators = Accumulators::new(aggregates)?;
        Ok(Self { table: KeyTable::new(&keys)?, accumulators, taken, groups: Vec::new() })
    }

    /// Adds a batch's rows; `false` where the room for them was refused, and nothing was added.
    fn add(&mut self, rows: &Rows, reservation: &mut Reservation, room: Room) -> Result<bool> {
        let (before, count) = (self.table.len(), rows.hashes.len());
        let growth = self.table.growth(&rows.keys, count)
            + self.accumulators.growth(&rows.inputs, before, count)?;
        let held = self.memory_bytes();
        let needed = (held + growth.bytes()).saturating_sub(reservation.held_bytes());
        let fits = before + count <= MAX_GROUPS && reservation.try_grow(needed);
        if !fits {
            let is_due = match room {
                Room::AtLeast(bytes) => before == 0 || held + growth.bytes() <= bytes,
                Room::Taken => true,
            };
            if !is_due {
                return Ok(false);
            }
            reservation.grow(needed);
        }
        self.table.find_or_insert(&rows.keys, &rows.hashes, &mut self.groups);
        let (inputs, groups, after) = (&rows.inputs, &self.groups, self.table.len());
        match self.taken {
            Taken::Values => self.accumulators.update(inputs, groups, after)?,
            Taken::States => self.accumulators.merge(inputs, groups, after)?,
        }
        settle(reservation, self.memory_bytes());
        Ok(true)
    }

    fn memory_bytes(&self) -> u64 {
        self.table.memory_bytes() + self.accumulators.memory_bytes()
    }

    /// Whether the groups have different hashes.
    fn can_be_split(&self) -> bool {
        let hashes = self.table.hashes();
        hashes.iter().any(|hash| *hash != hashes[0])
    }

    /// Ends the grouping and gives the memory of its slots back.
    fn drain(self, reservation: &mut Reservation) -> Draining {
        let groups = self.table.into_groups();
        let mut accumulators = self.accumulators;
        accumulators.freeze();
        let bytes = groups.memory_bytes() + accumulators.memory_bytes();
        settle(reservation, bytes);
        let group_bytes = (bytes / (groups.len() as u64).max(1)).max(1);
        let batch_rows = usize::try_from(BATCH_BYTES / group_bytes).unwrap_or(BATCH_ROWS);
        Draining { groups, accumulators, next: 0, batch_rows: batch_rows.clamp(1, BATCH_ROWS) }
    }
}

/// Groups that are complete and are given batch by batch.
struct Draining {
    groups: Groups,
    accumulators: Accumulators,
    next: u32,
    batch_rows: usize,
}

impl Draining {
    /// The numbers of the groups of the next batch.
    #[expect(clippy::cast_possible_truncation, reason = "a table has at most 2³¹ groups")]
    fn next(&mut self) -> Option<Vec<u32>> {
        let end = self.groups.len().min(self.next as usize + self.batch_rows) as u32;
        let groups: Vec<u32> = (self.next..end).collect();
        self.next = end;
        (!groups.is_empty()).then_some(groups)
    }

    /// Keys, states and hash of some groups.
    fn states(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let mut columns = self.groups.keys(groups)?;
        columns.extend(self.accumulators.states(groups)?);
        let hashes = groups.iter().map(|group| self.groups.hashes()[*group as usize]);
        columns.push(Arc::new(UInt64Array::from_iter_values(hashes)));
        Ok(columns)
    }

    /// Keys and values of some groups.
    fn values<'a>(
        &self,
        groups: &[u32],
        names: impl IntoIterator<Item = &'a str>,
    ) -> Result<Vec<ArrayRef>> {
        let mut columns = self.groups.keys(groups)?;
        columns.extend(self.accumulators.values(groups, names)?);
        Ok(columns)
    }
}

/// Spill files, one for each value of some bits of the hash.
struct Split {
    schema: SchemaRef,
    level: u32,
    /// Not an array: this stands on the stack of a pull, below those of all steps before it.
    writers: Vec<Option<SpillWriter>>,
}

impl Split {
    fn new(schema: SchemaRef, level: u32) -> Self {
        let writers = std::iter::repeat_with(|| None).take(1 << SPLIT_BITS).collect();
        Self { schema, level, writers }
    }

    /// Writes all groups, each to the file of its hash.
    fn spill(&mut self, full: &Draining, context: &TaskContext) -> Result<()> {
        let mut chosen: Vec<u32> = Vec::with_capacity(full.batch_rows);
        for (part, writer) in self.writers.iter_mut().enumerate() {
            let mut write = |groups: &mut Vec<u32>| -> Result<()> {
                if groups.is_empty() {
                    return Ok(());
                }
                context.cancel.check()?;
                let columns = full.states(groups)?;
                groups.clear();
                let writer = match writer {
                    Some(writer) => writer,
                    None => writer.insert(context.spill(Arc::clone(&self.schema))?),
                };
                writer.write(&RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
            };
            // A pass over the hashes for each part costs less than a list of its groups would.
            for (group, hash) in (0u32..).zip(full.groups.hashes()) {
                if part_of(*hash, self.level) == part {
                    chosen.push(group);
                    if chosen.len() == full.batch_rows {
                        write(&mut chosen)?;
                    }
                }
            }
            write(&mut chosen)?;
        }
        Ok(())
    }

    fn finish(self) -> Result<Vec<SpillFile>> {
        self.writers.into_iter().flatten().map(SpillWriter::finish).collect()
    }
}

/// The part of a hash at a level, below `1 << SPLIT_BITS`.
///
/// The hash's own high bits have chosen the bucket, so that they are much alike here. Multiplied by
/// an odd number, which loses nothing, every bit has a part in the high bits of the product.
fn part_of(hash: u64, level: u32) -> usize {
    let mixed = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let bits = mixed >> (64 - SPLIT_BITS * (level + 1));
    #[expect(clippy::cast_possible_truncation, reason = "a few bits")]
    let part = bits as usize & ((1 << SPLIT_BITS) - 1);
    part
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        sync::{Arc, atomic::Ordering},
    };

    use arrow::{
        array::{
            Array, ArrayRef, BooleanArray, Date32Array, Float64Array, Int64Array, RecordBatch,
            StringViewArray, TimestampMicrosecondArray, UInt64Array,
        },
        datatypes::{DataType, Field, Schema, SchemaRef},
        util::display::array_value_to_string,
    };
    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::{FinalReduce, PartialReduce, state_fields};
    use crate::{
        Error, Result,
        disk::{Disk, RealDisk},
        expr::{Aggregate, AggregateFunction, Expr, TIMESTAMP},
        memory::spill::tests::{FaultyDisk, context},
        operators::{Batches, Operator},
        plan::with_hash_column,
        task::context::TaskContext,
    };

    /// Rows as text, nulls apart, sorted: no order is defined.
    type Rows = Vec<Vec<Option<String>>>;

    fn rows_of(batches: &[RecordBatch]) -> Rows {
        let mut rows = Vec::new();
        for batch in batches {
            for row in 0..batch.num_rows() {
                let text = |column: &ArrayRef| {
                    column.is_valid(row).then(|| array_value_to_string(column, row).unwrap())
                };
                rows.push(batch.columns().iter().map(text).collect());
            }
        }
        rows.sort();
        rows
    }

    fn all(mut operator: impl Operator) -> Result<Vec<RecordBatch>> {
        let mut batches = Vec::new();
        while let Some(batch) = operator.next()? {
            assert!((1..=8192).contains(&batch.num_rows()));
            batches.push(batch);
        }
        assert!(operator.next()?.is_none());
        Ok(batches)
    }

    fn column(schema: &Schema, index: usize) -> Expr {
        let field = schema.field(index);
        let (name, data_type) = (field.name().clone(), field.data_type().clone());
        Expr::Column { index, name, data_type }
    }

    /// A reduction and how it is run: `tasks` map tasks of equal shares of the batches.
    struct Reduction<'a> {
        context: &'a TaskContext,
        keys: &'a [usize],
        aggregates: &'a [(AggregateFunction, Option<usize>)],
        least_bytes: u64,
        tasks: usize,
    }

    impl Reduction<'_> {
        fn aggregates(&self, schema: &Schema) -> Vec<Aggregate> {
            self.aggregates
                .iter()
                .map(|(function, argument)| {
                    let argument = argument.map(|index| column(schema, index));
                    Aggregate::new(*function, argument.into_iter().collect()).unwrap()
                })
                .collect()
        }

        fn run(&self, batches: &[RecordBatch]) -> Result<Vec<RecordBatch>> {
            let schema = batches[0].schema();
            let aggregates = self.aggregates(&schema);
            let keys: Vec<Expr> = self.keys.iter().map(|index| column(&schema, *index)).collect();
            let names: Vec<String> = (0..aggregates.len()).map(|n| format!("a{n}")).collect();
            let mut fields: Vec<Field> =
                self.keys.iter().map(|index| schema.field(*index).clone()).collect();
            let mut finals = fields.clone();
            fields.extend(state_fields(&aggregates, &names));
            let states = with_hash_column(&Schema::new(fields));
            for (aggregate, name) in aggregates.iter().zip(&names) {
                finals.push(Field::new(name, aggregate.data_type.clone(), true));
            }
            let mut partial = Vec::new();
            for share in batches.chunks(batches.len().div_ceil(self.tasks)) {
                let input = Box::new(Batches::new(share.to_vec()));
                let mut task = PartialReduce::new(
                    input,
                    keys.clone(),
                    aggregates.clone(),
                    Arc::clone(&states),
                    self.context,
                );
                task.least_bytes = self.least_bytes;
                partial.extend(all(task)?);
            }
            let input = Box::new(Batches::new(partial));
            let finals: SchemaRef = Arc::new(Schema::new(finals));
            let mut task =
                FinalReduce::new(input, self.keys.len(), aggregates, finals, self.context);
            task.least_bytes = self.least_bytes;
            all(task)
        }
    }

    fn roomy(folder: &TempDir) -> TaskContext {
        context(RealDisk::shared(), folder.path(), u64::MAX)
    }

    type Row = (Option<String>, Option<i64>, Option<f64>, Option<bool>, Option<i32>);

    fn batch(rows: &[Row]) -> RecordBatch {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(rows.iter().map(|row| row.0.as_deref()).collect::<StringViewArray>()),
            Arc::new(rows.iter().map(|row| row.1).collect::<Int64Array>()),
            Arc::new(rows.iter().map(|row| row.2).collect::<Float64Array>()),
            Arc::new(rows.iter().map(|row| row.3).collect::<BooleanArray>()),
            Arc::new(rows.iter().map(|row| row.4).collect::<Date32Array>()),
            Arc::new(
                rows.iter().map(|row| row.4.map(i64::from)).collect::<TimestampMicrosecondArray>(),
            ),
        ];
        let fields = vec![
            Field::new("text", DataType::Utf8View, true),
            Field::new("int", DataType::Int64, true),
            Field::new("float", DataType::Float64, true),
            Field::new("bool", DataType::Boolean, true),
            Field::new("date", DataType::Date32, true),
            Field::new("time", TIMESTAMP, true),
        ];
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
    }

    fn texts() -> impl Strategy<Value = Option<String>> {
        prop_oneof![
            1 => Just(None),
            1 => Just(Some(String::new())),
            4 => "[ab]{1,2}".prop_map(Some),
            2 => "a long common prefix [ab]{1,3}".prop_map(Some),
            2 => "[a,\"\n\r;ñ]{0,14}".prop_map(Some),
        ]
    }

    /// Floats whose plain sums are exact, so that any model will do.
    fn floats() -> impl Strategy<Value = f64> {
        prop_oneof![
            8 => (-40..40i32).prop_map(|quarter| f64::from(quarter) / 4.0),
            1 => prop::sample::select(vec![-0.0, f64::NAN, -f64::NAN, f64::INFINITY, -f64::INFINITY]),
        ]
    }

    /// A value of the model, as arrow shows it.
    fn shown(array: impl Array + 'static) -> Option<String> {
        array.is_valid(0).then(|| array_value_to_string(&array, 0).unwrap())
    }

    /// One NaN and one zero, as the engine has them.
    fn canonical(value: f64) -> f64 {
        if value.is_nan() { f64::NAN } else { value + 0.0 }
    }

    /// The aggregates of [`ALL`] over the rows of one group.
    fn model(rows: &[&Row]) -> Vec<Option<String>> {
        let count = |n: usize| Some(n.to_string());
        let ints: Vec<i64> = rows.iter().filter_map(|row| row.1).collect();
        let mut floats: Vec<f64> = rows.iter().filter_map(|row| row.2.map(canonical)).collect();
        floats.sort_by(f64::total_cmp);
        let texts: Vec<&String> = rows.iter().filter_map(|row| row.0.as_ref()).collect();
        let bools: Vec<bool> = rows.iter().filter_map(|row| row.3).collect();
        let dates: Vec<i32> = rows.iter().filter_map(|row| row.4).collect();
        let int_sum = (!ints.is_empty()).then(|| ints.iter().sum::<i64>());
        let float_sum = (!floats.is_empty()).then(|| floats.iter().sum::<f64>() + 0.0);
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let (int_average, float_average) = (
            int_sum.map(|sum| sum as f64 / ints.len() as f64),
            float_sum.map(|sum| sum / floats.len() as f64),
        );
        let float = |value: Option<f64>| shown(Float64Array::from(vec![value]));
        let date = |value: Option<&i32>| shown(Date32Array::from(vec![value.copied()]));
        let time = |value: Option<&i32>| {
            shown(TimestampMicrosecondArray::from(vec![value.map(|value| i64::from(*value))]))
        };
        vec![
            count(rows.len()),
            count(ints.len()),
            int_sum.map(|sum| sum.to_string()),
            float(int_average),
            ints.iter().min().map(i64::to_string),
            ints.iter().max().map(i64::to_string),
            float(float_sum),
            float(float_average),
            float(floats.first().copied()),
            float(floats.last().copied()),
            count(texts.len()),
            texts.iter().min().map(|text| (*text).clone()),
            texts.iter().max().map(|text| (*text).clone()),
            bools.iter().min().map(bool::to_string),
            bools.iter().max().map(bool::to_string),
            date(dates.iter().min()),
            time(dates.iter().max()),
        ]
    }

    use AggregateFunction::{Avg, Count, Max, Min, Sum};

    const ALL: [(AggregateFunction, Option<usize>); 17] = [
        (Count, None),
        (Count, Some(1)),
        (Sum, Some(1)),
        (Avg, Some(1)),
        (Min, Some(1)),
        (Max, Some(1)),
        (Sum, Some(2)),
        (Avg, Some(2)),
        (Min, Some(2)),
        (Max, Some(2)),
        (Count, Some(0)),
        (Min, Some(0)),
        (Max, Some(0)),
        (Min, Some(3)),
        (Max, Some(3)),
        (Min, Some(4)),
        (Max, Some(5)),
    ];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn groups_and_values_are_those_of_a_model_whatever_the_budget(
            rows in prop::collection::vec((
                texts(),
                prop::option::of(-3..4i64),
                prop::option::weighted(0.8, floats()),
                any::<Option<bool>>(),
                prop::option::of(-2..3i32),
            ), 1..250),
            keys in prop::sample::subsequence(vec![0, 1, 2, 3, 4], 0..=3),
            batch_rows in 1usize..40,
            tasks in 1usize..4,
        ) {
            let mut groups: BTreeMap<Vec<Option<String>>, Vec<&Row>> = BTreeMap::new();
            for row in &rows {
                let all = [
                    row.0.clone(),
                    row.1.map(|value| value.to_string()),
                    shown(Float64Array::from(vec![row.2.map(canonical)])),
                    row.3.map(|value| value.to_string()),
                    shown(Date32Array::from(vec![row.4])),
                ];
                let key = keys.iter().map(|key| all[*key].clone()).collect();
                groups.entry(key).or_default().push(row);
            }
            let mut expected: Rows = groups
                .into_iter()
                .map(|(key, members)| [key, model(&members)].concat())
                .collect();
            expected.sort();
            let batches: Vec<RecordBatch> = rows.chunks(batch_rows).map(batch).collect();
            for (budget_bytes, least_bytes) in [(u64::MAX, 0), (1, 0), (30_000, 0), (1, 20_000)] {
                let folder = TempDir::new().unwrap();
                let context = context(RealDisk::shared(), folder.path(), budget_bytes);
                let reduction =
                    Reduction { context: &context, keys: &keys, aggregates: &ALL, least_bytes, tasks };
                prop_assert_eq!(rows_of(&reduction.run(&batches).unwrap()), expected.clone());
                prop_assert_eq!(context.budget.used_bytes(), 0);
            }
        }
    }

    /// `rows` rows in batches, with `n % distinct` as number and as text.
    fn numbered(rows: i64, distinct: i64) -> Vec<RecordBatch> {
        let fields =
            vec![Field::new("n", DataType::Int64, true), Field::new("t", DataType::Utf8View, true)];
        let schema = Arc::new(Schema::new(fields));
        let all: Vec<i64> = (0..rows).map(|n| n % distinct).collect();
        all.chunks(8192)
            .map(|numbers| {
                let texts: StringViewArray =
                    numbers.iter().map(|n| Some(format!("a key that is long, no. {n}"))).collect();
                let numbers = Int64Array::from(numbers.to_vec());
                let columns: Vec<ArrayRef> = vec![Arc::new(numbers), Arc::new(texts)];
                RecordBatch::try_new(Arc::clone(&schema), columns).unwrap()
            })
            .collect()
    }

    #[test]
    fn a_small_budget_spills_stays_near_it_and_leaves_nothing_behind() {
        let batches = numbered(120_000, 60_000);
        for (keys, budget_bytes) in [(vec![0], 2 << 20), (vec![1], 4 << 20), (vec![0, 1], 4 << 20)]
        {
            let run = |context: &TaskContext| {
                let aggregates = &[(Count, None), (Sum, Some(0)), (Max, Some(1))];
                let reduction =
                    Reduction { context, keys: &keys, aggregates, least_bytes: 1 << 20, tasks: 2 };
                rows_of(&reduction.run(&batches).unwrap())
            };
            let folder = TempDir::new().unwrap();
            let disk = FaultyDisk::counting();
            let small = context(Arc::clone(&disk) as Arc<dyn Disk>, folder.path(), budget_bytes);
            let rows = run(&small);
            assert_eq!(rows.len(), 60_000);
            assert!(small.spilled_bytes.load(Ordering::Relaxed) > 0);
            assert_eq!(disk.file_count(), 0);
            let peak = small.budget.peak_bytes();
            assert!(peak <= budget_bytes + (1 << 20), "{peak} of {budget_bytes} bytes");
            let roomy = roomy(&folder);
            assert_eq!(rows, run(&roomy));
            assert_eq!(roomy.spilled_bytes.load(Ordering::Relaxed), 0);
        }
    }

    #[test]
    fn a_disk_that_fails_while_spilling_fails_the_task_and_leaves_nothing_behind() {
        let batches = numbered(100, 100);
        let mut failures = 0;
        for writes in (0..).map(|n| n * n / 4) {
            let folder = TempDir::new().unwrap();
            let disk = FaultyDisk::failing_after(writes);
            let context = context(Arc::clone(&disk) as Arc<dyn Disk>, folder.path(), 1);
            let aggregates = &[(Count, None)];
            let reduction =
                Reduction { context: &context, keys: &[1], aggregates, least_bytes: 0, tasks: 1 };
            // The partial step gives two batches; the second makes the final one spill the first.
            let twice = [batches.clone(), batches.clone()].concat();
            let result = reduction.run(&twice);
            assert_eq!(disk.file_count(), 0);
            match result {
                Ok(groups) => {
                    assert_eq!(rows_of(&groups).len(), 100);
                    break;
                }
                Err(error) => {
                    assert!(matches!(error, Error::Io { .. }), "{error}");
                    failures += 1;
                }
            }
        }
        assert!(failures > 0);
    }

    #[test]
    fn keys_of_a_megabyte_survive_a_spill() {
        let wide: Vec<Row> = (0..40)
            .map(|n: i64| {
                let text = format!("{},\"\n{}", "x".repeat(1 << 20), n % 8);
                (Some(text), Some(n), None, None, None)
            })
            .collect();
        let batches: Vec<RecordBatch> = wide.chunks(4).map(batch).collect();
        let folder = TempDir::new().unwrap();
        let context = context(RealDisk::shared(), folder.path(), 1);
        let aggregates = &[(Count, None), (Max, Some(0)), (Sum, Some(1))];
        let reduction =
            Reduction { context: &context, keys: &[0], aggregates, least_bytes: 0, tasks: 1 };
        let rows = rows_of(&reduction.run(&batches).unwrap());
        assert!(context.spilled_bytes.load(Ordering::Relaxed) > 8 << 20);
        assert_eq!(rows.len(), 8);
        for (n, row) in (0i64..).zip(&rows) {
            let text = format!("{},\"\n{n}", "x".repeat(1 << 20));
            assert_eq!((&row[0], &row[2]), (&Some(text.clone()), &Some(text)));
            // n, n + 8, …, n + 32
            let sum = 5 * n + 80;
            assert_eq!((&row[1], &row[3]), (&Some("5".to_owned()), &Some(sum.to_string())));
        }
    }

    #[test]
    fn groups_of_one_hash_are_merged_though_no_split_parts_them() {
        let fields = vec![Field::new("n", DataType::Int64, true)];
        let count = Aggregate::new(Count, Vec::new()).unwrap();
        let aggregates = vec![count];
        let with_states = [fields.clone(), state_fields(&aggregates, &["count"])].concat();
        let schema = with_hash_column(&Schema::new(with_states));
        let states = |first: i64, hash: fn(i64) -> u64| {
            let columns: Vec<ArrayRef> = vec![
                Arc::new(Int64Array::from_iter_values(first..first + 500)),
                Arc::new(Int64Array::from(vec![2; 500])),
                Arc::new(UInt64Array::from_iter_values((first..first + 500).map(hash))),
            ];
            RecordBatch::try_new(Arc::clone(&schema), columns).unwrap()
        };
        let constant = |_| 5;
        // Two hashes that differ in one bit, which only a late split finds.
        let two = |n: i64| 5 | u64::from(n % 2 == 0) << 63;
        let mut output = fields;
        output.push(Field::new("count", DataType::Int64, true));
        let output: SchemaRef = Arc::new(Schema::new(output));
        for hash in [constant, two] {
            let folder = TempDir::new().unwrap();
            let context = context(RealDisk::shared(), folder.path(), 1);
            let batches = vec![states(0, hash), states(250, hash), states(500, hash)];
            let input = Box::new(Batches::new(batches));
            let mut task =
                FinalReduce::new(input, 1, aggregates.clone(), Arc::clone(&output), &context);
            task.least_bytes = 0;
            let rows = rows_of(&all(task).unwrap());
            assert_eq!(rows.len(), 1000);
            assert_eq!(rows.iter().filter(|row| row[1] == Some("4".to_owned())).count(), 500);
        }
    }

    #[test]
    fn a_sum_beyond_int64_is_an_error_that_names_it() {
        let rows: Vec<Row> = vec![(None, Some(i64::MAX), None, None, None); 2];
        let folder = TempDir::new().unwrap();
        let context = roomy(&folder);
        let reduction = Reduction {
            context: &context,
            keys: &[0],
            aggregates: &[(Count, None), (Sum, Some(1))],
            least_bytes: 0,
            tasks: 2,
        };
        let error = reduction.run(&[batch(&rows[..1]), batch(&rows[1..])]).unwrap_err();
        assert_eq!(error.to_string(), "sum `a1` is 18446744073709551614, which is beyond int64");
        // On the way it may be.
        let back = vec![(None, Some(-i64::MAX), None, None, None)];
        let values = reduction.run(&[batch(&rows), batch(&back)]).unwrap();
        assert_eq!(rows_of(&values)[0][2], Some(i64::MAX.to_string()));
    }

    #[test]
    fn no_rows_are_no_groups() {
        let folder = TempDir::new().unwrap();
        let context = roomy(&folder);
        let aggregates = &[(Count, None)];
        let reduction =
            Reduction { context: &context, keys: &[0], aggregates, least_bytes: 0, tasks: 1 };
        assert!(reduction.run(&[batch(&[])]).unwrap().is_empty());
    }

    #[test]
    fn a_cancelled_task_ends() {
        let folder = TempDir::new().unwrap();
        let context = roomy(&folder);
        context.cancel.cancel();
        let aggregates = &[(Count, None)];
        let reduction =
            Reduction { context: &context, keys: &[0], aggregates, least_bytes: 0, tasks: 1 };
        let result = reduction.run(&numbered(10, 3));
        assert!(matches!(result, Err(Error::Cancelled)));
    }
}
