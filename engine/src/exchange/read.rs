//! A task's share of an earlier stage's output → batches.
//!
//! What is read one after another is opened one after another; what is merged is open at once,
//! but never more of it than the budget bears.

use std::{ops::Range, sync::Arc};

use arrow::{array::RecordBatch, datatypes::SchemaRef};

use crate::{
    Error, Result,
    exchange::MapOutput,
    expr::SortKey,
    operators::{
        Operator,
        merge::{Merge, SortedInput, fan_in, merge_in_rounds},
    },
    plan::Share,
    task::context::TaskContext,
};

/// What a stored batch of a map output mostly is at most.
const BATCH_BYTES: u64 = 1 << 20;

/// Reads a share of `outputs`, which are those of one stage by map task, as task `partition`.
///
/// - Shape: batches of `schema`, as they were stored.
/// - Order: map task after map task, each in its own order; by keys where they are merged.
/// - Memory: what is under way is charged by the exchange, what is merged by [`Merge`].
/// - Nothing is opened before the first pull.
///
/// # Errors
/// [`Error::Internal`] where the plan asks for an output that does not exist. The operator gives
/// [`Error::FetchFailed`] where one can't be had, and what a spill can give.
pub fn read(
    outputs: &[MapOutput],
    share: &Share,
    partition: u32,
    schema: &SchemaRef,
    context: &TaskContext,
) -> Result<Box<dyn Operator>> {
    let each_of = |chosen: &[MapOutput], buckets: Range<u32>| {
        let parts: Vec<_> = chosen
            .iter()
            .flat_map(|output| buckets.clone().map(move |bucket| (output.clone(), bucket)))
            .collect();
        let (parts, context) = (parts.into_iter(), context.clone());
        Ok(Box::new(InTurn { parts, context, current: None }) as _)
    };
    let in_turn =
        |chosen: &[MapOutput], bucket: u32| each_of(chosen, bucket..bucket.saturating_add(1));
    match share {
        Share::Bucket => in_turn(outputs, partition),
        Share::Partition => {
            let is_own = |output: &&MapOutput| output.map.task.partition == partition;
            let output = outputs.iter().find(is_own).ok_or_else(|| {
                Error::Internal(format!("output {partition} is not among {}", outputs.len()))
            })?;
            in_turn(std::slice::from_ref(output), 0)
        }
        Share::Section { first, partitions } => {
            let own = partition.checked_sub(*first).filter(|own| own < partitions);
            let Some(own) = own else { return in_turn(&[], 0) };
            read(outputs, &Share::Partition, own, schema, context)
        }
        Share::Neighbours { readers } => {
            let cut = |reader: u32| {
                let place = outputs.len() as u64 * u64::from(reader) / u64::from((*readers).max(1));
                usize::try_from(place).unwrap_or(0).min(outputs.len())
            };
            in_turn(&outputs[cut(partition)..cut(partition.saturating_add(1))], 0)
        }
        Share::All => in_turn(outputs, 0),
        Share::Buckets { buckets } => each_of(outputs, 0..*buckets),
        Share::Merged { .. } if outputs.len() < 2 => in_turn(outputs, 0),
        Share::Merged { keys } => Ok(Box::new(Merged {
            outputs: outputs.to_vec(),
            keys: keys.clone(),
            schema: Arc::clone(schema),
            context: context.clone(),
            merge: None,
        })),
    }
}

/// Buckets of outputs, one after another.
struct InTurn {
    parts: std::vec::IntoIter<(MapOutput, u32)>,
    context: TaskContext,
    current: Option<Box<dyn Operator>>,
}

impl Operator for InTurn {
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(current) = &mut self.current {
                if let Some(batch) = current.next()? {
                    return Ok(Some(batch));
                }
                self.current = None;
            }
            let Some((output, bucket)) = self.parts.next() else { return Ok(None) };
            self.current = Some(open(&output, bucket, &self.context)?);
        }
    }
}

/// All outputs, each sorted, as one sorted sequence.
struct Merged {
    /// What has not been opened.
    outputs: Vec<MapOutput>,
    keys: Vec<SortKey>,
    schema: SchemaRef,
    context: TaskContext,
    merge: Option<Merge>,
}

impl Merged {
    fn begin(&mut self) -> Result<Merge> {
        let input = |output: MapOutput| {
            let context = self.context.clone();
            // Sizes are not known here; taken as equal, neighbours are merged first to last.
            SortedInput { bytes: BATCH_BYTES, open: Box::new(move || open(&output, 0, &context)) }
        };
        let inputs = std::mem::take(&mut self.outputs).into_iter().map(input).collect();
        let fan_in = fan_in(&self.context.budget, BATCH_BYTES);
        merge_in_rounds(inputs, &self.keys, &self.schema, None, fan_in, &self.context)
    }
}

impl Operator for Merged {
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        if self.merge.is_none() {
            self.merge = Some(self.begin()?);
        }
        match &mut self.merge {
            Some(merge) => merge.next(),
            None => Ok(None),
        }
    }
}

fn open(output: &MapOutput, bucket: u32, context: &TaskContext) -> Result<Box<dyn Operator>> {
    context.exchange.open(output, bucket, &context.budget, &context.cancel)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        exchange::{store::tests::attempt, write::write},
        id::{Epoch, JobId, WorkerId},
        memory::spill::tests::{FaultyDisk, context, flip_bits},
        operators::{
            Batches,
            sort::tests::{Row, batch, compare_rows, ids, row, sort_keys},
        },
        plan::Distribution,
    };

    fn key(column: usize) -> SortKey {
        SortKey { column, descending: false, nulls_first: false }
    }

    fn output(job: JobId, partition: u32) -> MapOutput {
        MapOutput {
            map: attempt(job, partition),
            worker: WorkerId(String::from("own")),
            epoch: Epoch(1),
            address: String::new(),
        }
    }

    /// Stores each of these as the only bucket of a map task.
    fn store(context: &TaskContext, inputs: Vec<RecordBatch>) -> Vec<MapOutput> {
        let job = JobId::random();
        let store = |(partition, input): (u32, RecordBatch)| {
            let output = output(job, partition);
            let schema = input.schema();
            let input = Box::new(Batches::new(vec![input]));
            write(input, &schema, &Distribution::Forward, output.map, context).unwrap();
            output
        };
        (0..).zip(inputs).map(store).collect()
    }

    fn numbered(first: i64, count: usize) -> RecordBatch {
        batch(&vec![(Some(1), None, None, None); count], first)
    }

    fn pull(mut operator: Box<dyn Operator>) -> Result<Vec<i64>> {
        let mut batches = Vec::new();
        while let Some(batch) = operator.next()? {
            batches.push(batch);
        }
        Ok(ids(&batches))
    }

    #[test]
    fn shares_are_read_in_the_order_of_the_map_tasks() {
        let folder = tempfile::tempdir().unwrap();
        for budget_bytes in [0, 1 << 30] {
            let context = context(FaultyDisk::counting(), folder.path(), budget_bytes);
            let inputs = vec![numbered(10, 2), numbered(20, 0), numbered(30, 3)];
            let outputs = store(&context, inputs);
            let schema = numbered(0, 0).schema();
            let read = |share: &Share, partition| {
                pull(read(&outputs, share, partition, &schema, &context)?)
            };
            assert_eq!(read(&Share::All, 7).unwrap(), [10, 11, 30, 31, 32]);
            assert_eq!(read(&Share::Bucket, 0).unwrap(), [10, 11, 30, 31, 32]);
            assert_eq!(read(&Share::Partition, 2).unwrap(), [30, 31, 32]);
            assert_eq!(read(&Share::Partition, 1).unwrap(), [] as [i64; 0]);
            assert!(matches!(read(&Share::Partition, 3), Err(Error::Internal(_))));
            // All rows have one key, so that the merge keeps the order of the map tasks.
            let neighbours = Share::Neighbours { readers: 2 };
            assert_eq!(read(&neighbours, 0).unwrap(), [10, 11]);
            assert_eq!(read(&neighbours, 1).unwrap(), [30, 31, 32]);
            let merged = Share::Merged { keys: vec![key(0)] };
            assert_eq!(read(&merged, 0).unwrap(), [10, 11, 30, 31, 32]);
        }
    }

    #[test]
    fn a_bucket_is_read_from_every_map_task() {
        let folder = tempfile::tempdir().unwrap();
        let context = context(FaultyDisk::counting(), folder.path(), 1 << 20);
        let job = JobId::random();
        let outputs = [output(job, 0), output(job, 1)];
        for (first, output) in [(10, &outputs[0]), (20, &outputs[1])] {
            let mut writer = context.store.writer(output.map, numbered(0, 0).schema(), 2);
            writer.push(1, numbered(first, 1)).unwrap();
            writer.push(0, numbered(first + 5, 1)).unwrap();
            writer.finish().unwrap();
        }
        let schema = numbered(0, 0).schema();
        let read_all = || read(&outputs, &Share::Buckets { buckets: 2 }, 0, &schema, &context);
        assert_eq!(pull(read_all().unwrap()).unwrap(), [15, 10, 25, 20]);
        for (bucket, expected) in [(0, [15, 25]), (1, [10, 20])] {
            let read = read(&outputs, &Share::Bucket, bucket, &schema, &context).unwrap();
            assert_eq!(pull(read).unwrap(), expected);
        }
    }

    #[test]
    fn nothing_to_read_is_no_rows() {
        let folder = tempfile::tempdir().unwrap();
        let context = context(FaultyDisk::counting(), folder.path(), 0);
        for share in [Share::Bucket, Share::All, Share::Merged { keys: vec![key(0)] }] {
            let read = read(&[], &share, 0, &numbered(0, 0).schema(), &context).unwrap();
            assert!(pull(read).unwrap().is_empty());
        }
    }

    #[test]
    fn an_output_that_is_gone_is_a_failed_fetch_of_that_one() {
        let folder = tempfile::tempdir().unwrap();
        let context = context(FaultyDisk::counting(), folder.path(), 1 << 20);
        let outputs = store(&context, vec![numbered(0, 2), numbered(2, 2)]);
        context.store.drop_attempt(outputs[1].map);
        for share in [Share::All, Share::Merged { keys: vec![key(0)] }] {
            let read = read(&outputs, &share, 0, &numbered(0, 0).schema(), &context).unwrap();
            let Err(Error::FetchFailed { map, worker, .. }) = pull(read) else { panic!() };
            assert_eq!((map, worker), (outputs[1].map, outputs[1].worker.clone()));
        }
    }

    #[test]
    fn a_stored_output_with_a_flipped_bit_is_a_failed_fetch() {
        let folder = tempfile::tempdir().unwrap();
        let context = context(FaultyDisk::counting(), folder.path(), 0);
        let outputs = store(&context, vec![numbered(0, 500)]);
        let job = outputs[0].map.task.job.to_string();
        flip_bits(&folder.path().join("store").join(job));
        let read = read(&outputs, &Share::All, 0, &numbered(0, 0).schema(), &context).unwrap();
        assert!(matches!(pull(read), Err(Error::FetchFailed { .. })));
    }

    proptest! {
        #[test]
        fn merged_outputs_are_a_stable_sort_of_all_rows_and_leave_no_spill(
            runs in prop::collection::vec(prop::collection::vec(row(), 0..20), 0..20),
            keys in sort_keys(),
            budget_bytes in prop_oneof![Just(0_u64), Just(1 << 30)],
        ) {
            let mut runs: Vec<Vec<Row>> = runs;
            let mut first = 0;
            let mut inputs = Vec::new();
            let mut all = Vec::new();
            for run in &mut runs {
                run.sort_by(|a, b| compare_rows(a, b, &keys));
                inputs.push(batch(run, first));
                all.extend((first..).zip(run.iter()));
                first += i64::try_from(run.len()).unwrap();
            }
            all.sort_by(|a, b| compare_rows(a.1, b.1, &keys));
            let expected: Vec<i64> = all.into_iter().map(|(id, _)| id).collect();

            let folder = tempfile::tempdir().unwrap();
            let disk = FaultyDisk::counting();
            let context = context(Arc::clone(&disk) as _, folder.path(), budget_bytes);
            let outputs = store(&context, inputs);
            let files = disk.file_count();
            let schema = batch(&[], 0).schema();
            let read = read(&outputs, &Share::Merged { keys }, 0, &schema, &context).unwrap();
            prop_assert_eq!(pull(read).unwrap(), expected);
            prop_assert_eq!(disk.file_count(), files);
            prop_assert_eq!(context.budget.used_bytes(), context.store.memory_bytes());
        }
    }
}
