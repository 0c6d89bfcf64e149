//! Results as batches in memory, for a program that goes on with them; nothing is written.

use std::sync::Arc;

use arrow::{array::RecordBatch, datatypes::SchemaRef};

use super::{Ended, Manner, Outcome, Run, Session};
use crate::{
    Result, id::JobId, job::check::Checked, plan::Output, schedule::JobView,
    task::context::CancelFlag,
};

/// The rows of one result.
#[derive(Clone, Debug)]
pub struct Collected {
    /// The sink's node id.
    pub sink: String,
    /// The rows' schema.
    pub schema: SchemaRef,
    /// The rows, in the result's order where it has one.
    pub batches: Vec<RecordBatch>,
}

impl Session {
    /// As [`Session::run`], but the rows of every sink come back instead of being written; of a
    /// job that did not complete there are none. Bad rows that are put aside are still written.
    ///
    /// - Shape: one entry a sink; without an order of its own a writer's rows come as they fell.
    /// - Memory: charged to the budget until the job has ended, half of which they may take before
    ///   they pass over the disk; what comes back is the caller's.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn collect(
        &self,
        checked: Checked,
        cancel: &CancelFlag,
        watch: &mut dyn FnMut(&JobView),
    ) -> Result<(Outcome, Vec<Collected>)> {
        let plan = Arc::new(self.laid_out(checked.plan)?);
        let manner = Manner { collects: true, ..Manner::default() };
        let Ended { outcome, collected, .. } = self.run_plan(plan, manner, cancel, watch)?;
        Ok((self.told(outcome), collected))
    }
}

impl Run<'_> {
    /// Takes the sinks' rows out of the store.
    pub(super) fn collect(&self, job: JobId) -> Result<Vec<Collected>> {
        let context = &self.context;
        let mut collected = Vec::new();
        for (stage, outputs) in self.scheduler.outputs(job) {
            let Output::Sink(sink) = &self.plan.stages[stage.index()].output else { continue };
            let mut batches = Vec::new();
            for (output, _) in outputs {
                let mut rows =
                    context.exchange.open(&output, 0, &context.budget, &context.cancel)?;
                while let Some(batch) = rows.next()? {
                    batches.push(batch);
                }
            }
            let (sink, schema) = (sink.id.clone(), Arc::clone(&sink.schema));
            collected.push(Collected { sink, schema, batches });
        }
        Ok(collected)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use arrow::{array::AsArray, datatypes::Int64Type};

    use crate::{
        disk::{DataDisks, Disk, RealDisk},
        runtime::{Session, SessionOptions},
        schedule::JobStatus,
        task::context::CancelFlag,
    };

    #[test]
    fn rows_come_back_in_order_and_no_file_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let input = folder.path().join("numbers.csv");
        RealDisk.create(&input).unwrap().write_all(b"n\n3\n1\n2\n").unwrap();
        let session = Session::new(SessionOptions {
            base_dir: folder.path().to_owned(),
            output_dir: folder.path().join("out"),
            scratch_dir: folder.path().join("scratch"),
            threads: 2,
            memory_bytes: 64 << 20,
            data: DataDisks::everywhere(),
        })
        .unwrap();
        let document = r#"{"dag": {"nodes": [
            {"id": "read", "op": "read_csv", "path": "numbers.csv", "header": true},
            {"id": "sorted", "op": "sort", "by": ["n desc"]},
            {"id": "text", "op": "filter", "where": "n > 1"},
            {"id": "file", "op": "write_parquet", "path": "file"}
        ], "edges": [["read", "sorted"], ["read", "text"], ["sorted", "file"]]}}"#;
        let checked = session.check(document, true).unwrap();
        let (outcome, mut collected) =
            session.collect(checked, &CancelFlag::default(), &mut |_| ()).unwrap();
        assert_eq!(outcome.status, JobStatus::Completed, "{:?}", outcome.error);
        assert!(outcome.sinks.is_empty());
        collected.sort_by(|one, other| one.sink.cmp(&other.sink));
        let rows: Vec<(&str, Vec<i64>)> = collected
            .iter()
            .map(|result| {
                let numbers = result.batches.iter().flat_map(|batch| {
                    batch.column(0).as_primitive::<Int64Type>().values().to_vec()
                });
                (result.sink.as_str(), numbers.collect())
            })
            .collect();
        assert_eq!(rows, [("file", vec![3, 2, 1]), ("text", vec![3, 2])]);
        assert!(!RealDisk.exists(&folder.path().join("file")));
        assert!(RealDisk.list(&folder.path().join("scratch")).unwrap().is_empty());
    }
}
