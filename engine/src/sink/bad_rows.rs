//! Bad rows beside the results: one file of JSON Lines for each node that put rows aside.
//!
//! One place rule: where a writer's folder is the job's only result, they stand in it, below
//! [`FOLDER`], and appear with it. Otherwise they stand in `<output dir>/<job>_bad`, which appears
//! before the first result does. A job without bad rows has no such folder.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::{
    array::{Array, AsArray, BooleanArray, RecordBatch, StringViewArray, UInt64Array},
    compute::filter_record_batch,
    datatypes::{DataType, Field, Schema, SchemaRef, UInt32Type, UInt64Type},
};

use crate::{
    Error, Result,
    disk::{Disk, WriteFile, remote::is_remote},
    exchange::{Exchange, MapOutput},
    formats::{Encoder, jsonl::JsonlEncoder, normal::normalise},
    id::JobId,
    plan::{NodeIndex, Op, Plan, Sink, Target},
    runtime::sinks,
    sink::{STAGING, commit::Publisher},
    source::{blocks::PinnedFile, quarantine},
    task::context::CancelFlag,
};

/// The folder of bad rows in a writer's folder.
pub const FOLDER: &str = "_bad";

/// Encoded bytes are written once there are so many.
const WRITE_BYTES: usize = 1 << 20;

/// Where a job's bad rows appear, if it has any.
pub fn folder(plan: &Plan, job: JobId, output_dir: &Path) -> PathBuf {
    match beside(plan) {
        Some((_, target)) => target.join(FOLDER),
        None => output_dir.join(format!("{job}_bad")),
    }
}

/// The name of a node's file of bad rows.
pub fn file_name(node: &str) -> String {
    format!("{node}-00000.jsonl")
}

/// The only result of a job, where that is a folder of a writer, and its path.
fn beside(plan: &Plan) -> Option<(&Sink, &Path)> {
    let mut all = sinks(plan);
    let (only, None) = (all.next()?, all.next()) else { return None };
    match &only.target {
        Target::Files(write) => Some((only, &write.path)),
        Target::Text => None,
    }
}

impl Publisher {
    /// Writes the bad rows that `outputs` keep, in the order of their nodes' files, and puts them in
    /// place where they don't wait for a writer's folder.
    ///
    /// - Memory: one stream's buffers and a megabyte a node.
    ///
    /// # Errors
    /// Those of the exchange ([`Error::FetchFailed`]), of the disk, and of `inputs`, whose files
    /// are gone through for the numbers of lines.
    pub fn publish_bad_rows(
        &self,
        job: JobId,
        plan: &Plan,
        outputs: &[MapOutput],
        exchange: &dyn Exchange,
        inputs: &Arc<dyn Disk>,
        cancel: &CancelFlag,
    ) -> Result<()> {
        if outputs.is_empty() {
            return Ok(());
        }
        let target = self.output_dir.join(format!("{job}_bad"));
        let staged = match beside(plan) {
            Some((sink, _)) => self.staged_bad_rows(job, sink),
            None if self.disk.exists(&target) => return Ok(()),
            None => self.output_dir.join(STAGING).join(job.to_string()).join(FOLDER),
        };
        self.disk.create_dir_all(&staged).map_err(Error::io("create", &staged))?;
        let mut files = BTreeMap::new();
        let mut lines = Lines { inputs, plan, at: None };
        for output in outputs {
            let kept = MapOutput { map: output.map.rejects(), ..output.clone() };
            // Whoever computes them again computes the whole output.
            let lost = |error| match error {
                Error::FetchFailed { worker, reason, .. } => {
                    Error::FetchFailed { map: output.map, worker, reason }
                }
                other => other,
            };
            let mut rows = exchange.open(&kept, 0, &self.budget, cancel).map_err(lost)?;
            while let Some(batch) = rows.next().map_err(lost)? {
                cancel.check()?;
                let columns = batch.columns().iter().map(normalise).collect::<Result<_>>()?;
                let normal = RecordBatch::try_new(quarantine::schema(), columns)?;
                for (node, of_node) in by_node(&lines.filled_in(&normal)?, plan)? {
                    let file = match files.entry(node) {
                        Entry::Occupied(known) => known.into_mut(),
                        Entry::Vacant(place) => {
                            let id = plan.nodes.get(node.index()).map_or("rows", |node| &node.id);
                            let path = staged.join(file_name(id));
                            place.insert(BadRowFile::create(&*self.disk, path, &of_node)?)
                        }
                    };
                    file.write(&of_node)?;
                }
            }
        }
        for file in files.into_values() {
            file.finish()?;
        }
        self.disk.sync_dir(&staged).map_err(Error::io("sync", &staged))?;
        if beside(plan).is_none() {
            self.disk.rename(&staged, &target).map_err(Error::io("write", &target))?;
            self.disk.sync_dir(&self.output_dir).map_err(Error::io("sync", &self.output_dir))?;
        }
        Ok(())
    }

    /// Puts the bad rows that wait for a writer's folder into it before it appears.
    pub(super) fn add_bad_rows(&self, job: JobId, sink: &Sink, ready: &Path) -> Result<()> {
        self.move_bad_rows(job, &self.staged_bad_rows(job, sink), ready)
    }

    /// Moves bad rows below a folder, beside those of other jobs where it has some.
    fn move_bad_rows(&self, job: JobId, from: &Path, folder: &Path) -> Result<()> {
        if !self.disk.exists(from) {
            return Ok(());
        }
        let all = folder.join(FOLDER);
        let target = if is_remote(folder) || self.disk.exists(&all) {
            all.join(job.to_string())
        } else {
            all
        };
        self.disk.rename(from, &target).map_err(Error::io("write", &target))
    }

    /// Moves the bad rows of a folder that was made ready, and is given up, below its target.
    pub(super) fn rescue_bad_rows(&self, job: JobId, ready: &Path, target: &Path) -> Result<()> {
        self.move_bad_rows(job, &ready.join(FOLDER), target)
    }

    fn staged_bad_rows(&self, job: JobId, sink: &Sink) -> PathBuf {
        sink.staging(job, &self.output_dir).join(format!("{}-bad", sink.id))
    }
}

/// The rows of each node, under its id and not its place.
fn by_node(batch: &RecordBatch, plan: &Plan) -> Result<Vec<(NodeIndex, RecordBatch)>> {
    let nodes = batch.column(0).as_primitive::<UInt32Type>();
    let mut known: Vec<u32> = nodes.values().to_vec();
    known.sort_unstable();
    known.dedup();
    let of_node = |node: u32| {
        let mask: BooleanArray = nodes.values().iter().map(|other| Some(*other == node)).collect();
        let rows = filter_record_batch(batch, &mask)?;
        let id = plan.nodes.get(node as usize).map_or("rows", |node| node.id.as_str());
        let ids: StringViewArray = (0..rows.num_rows()).map(|_| Some(id)).collect();
        let mut fields: Vec<_> = rows.schema().fields().iter().cloned().collect();
        fields[0] = Arc::new(Field::new("node", DataType::Utf8View, true));
        let mut columns = rows.columns().to_vec();
        columns[0] = Arc::new(ids);
        let named = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?;
        Ok((NodeIndex(node), named))
    };
    known.into_iter().map(of_node).collect()
}

/// Counts lines up to bad rows that come in the order of their files and places.
struct Lines<'a> {
    inputs: &'a Arc<dyn Disk>,
    plan: &'a Plan,
    /// A file, and a place in it whose line is known.
    at: Option<(String, PinnedFile, (u64, u64))>,
}

impl Lines<'_> {
    /// The rows with the lines that they lack.
    fn filled_in(&mut self, batch: &RecordBatch) -> Result<RecordBatch> {
        let (nodes, files) = (batch.column(0).as_primitive::<UInt32Type>(), batch.column(1));
        let files = files.as_string_view();
        let offsets = batch.column(2).as_primitive::<UInt64Type>();
        let known = batch.column(3).as_primitive::<UInt64Type>();
        if known.null_count() == 0 {
            return Ok(batch.clone());
        }
        let mut lines = Vec::with_capacity(batch.num_rows());
        for row in 0..batch.num_rows() {
            lines.push(if known.is_valid(row) {
                Some(known.value(row))
            } else if files.is_valid(row) && offsets.is_valid(row) {
                self.line(NodeIndex(nodes.value(row)), files.value(row), offsets.value(row))?
            } else {
                None
            });
        }
        let mut columns = batch.columns().to_vec();
        columns[3] = Arc::new(UInt64Array::from(lines));
        Ok(RecordBatch::try_new(batch.schema(), columns)?)
    }

    fn line(&mut self, node: NodeIndex, file: &str, offset: u64) -> Result<Option<u64>> {
        if self.at.as_ref().is_none_or(|(known, _, at)| known != file || at.0 > offset) {
            let Some(Op::Read(read)) = self.plan.nodes.get(node.index()).map(|node| &node.op)
            else {
                return Ok(None);
            };
            let planned = read.files.iter().find(|known| known.path.display().to_string() == file);
            let Some(planned) = planned else { return Ok(None) };
            let pinned = PinnedFile::open(planned, self.inputs)?;
            self.at = Some((file.to_owned(), pinned, (0, 1)));
        }
        let Some((_, pinned, known)) = &mut self.at else { return Ok(None) };
        let line = pinned.line_of(offset, *known)?;
        *known = (offset, line);
        Ok(Some(line))
    }
}

/// A file of bad rows being written.
struct BadRowFile {
    path: PathBuf,
    file: Box<dyn WriteFile>,
    encoder: JsonlEncoder,
    buffer: Vec<u8>,
}

impl BadRowFile {
    fn create(disk: &dyn Disk, path: PathBuf, rows: &RecordBatch) -> Result<Self> {
        let schema: SchemaRef = rows.schema();
        let file = disk.create(&path).map_err(Error::io("create", &path))?;
        Ok(Self { path, file, encoder: JsonlEncoder::new(&schema), buffer: Vec::new() })
    }

    fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        self.encoder.encode(rows, &mut self.buffer)?;
        if self.buffer.len() >= WRITE_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        self.file.write_all(&self.buffer).map_err(Error::io("write", &self.path))?;
        self.buffer.clear();
        Ok(())
    }

    fn finish(mut self) -> Result<()> {
        self.flush()?;
        self.file.sync().map_err(Error::io("sync", &self.path))
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test makes the files that the engine reads")]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use serde_json::Value;
    use tempfile::TempDir;

    use crate::{
        disk::DataDisks,
        error::Code,
        runtime::{Outcome, Session, SessionOptions},
        schedule::JobStatus,
        task::context::CancelFlag,
    };

    fn run(folder: &TempDir, nodes: &str, edges: &str) -> Outcome {
        let options = SessionOptions {
            base_dir: folder.path().to_owned(),
            output_dir: folder.path().join("out"),
            scratch_dir: folder.path().join("scratch"),
            threads: 3,
            memory_bytes: 64 << 20,
            data: DataDisks::everywhere(),
        };
        let session = Session::new(options).unwrap();
        let document = format!("{{\"dag\": {{\"nodes\": [{nodes}], \"edges\": [{edges}]}}}}");
        let checked = session.check(&document, true).unwrap();
        session.run(checked, &CancelFlag::default(), &mut |_| {}).unwrap()
    }

    /// A file of 3,000 numbers of which each hundredth is none.
    fn dirty(folder: &TempDir) {
        let line = |n: u32| if n % 100 == 7 { format!("x{n}\n") } else { format!("{n}\n") };
        let text: String = (0..3_000).map(line).collect();
        fs::write(folder.path().join("n.csv"), text).unwrap();
    }

    fn reader(policy: &str) -> String {
        format!(
            r#"{{"id": "r", "op": "read_csv", "path": "n.csv", "partitions": 9,
                "columns": {{"n": "int64"}}, "on_bad_row": {policy}}}"#
        )
    }

    fn lines(path: &Path) -> Vec<Value> {
        let text = fs::read_to_string(path).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn each_bad_row_is_put_aside_once_with_its_place_and_rows_add_up() {
        let folder = TempDir::new().unwrap();
        dirty(&folder);
        let nodes =
            reader("\"quarantine\"") + r#", {"id": "f", "op": "filter", "where": "n >= 1000"}"#;
        let outcome = run(&folder, &nodes, r#"["r", "f"]"#);
        assert_eq!(outcome.status, JobStatus::Completed, "{:?}", outcome.error);
        let path = folder.path().join(format!("out/{}_bad/r-00000.jsonl", outcome.job));
        let rows = lines(&path);
        let line = |row: &Value| row["line"].as_u64().unwrap();
        assert_eq!(
            rows.iter().map(line).collect::<Vec<_>>(),
            (0..30).map(|n| n * 100 + 8).collect::<Vec<_>>()
        );
        let first = &rows[0];
        assert_eq!(first["node"], "r");
        assert_eq!((&first["offset"], &first["column"]), (&14.into(), &"n".into()));
        assert_eq!(first["reason"], "expected int64, found `x7`");
        assert_eq!((&first["raw"], &first["raw_base64"]), (&"x7".into(), &Value::Null));
        assert!(first["file"].as_str().unwrap().ends_with("n.csv"));
        let counts = &outcome.view.rows;
        let (read, kept) = (&counts[0], &counts[1]);
        assert_eq!((read.rows_in, read.rows_out, read.quarantined), (3_000, 2_970, 30));
        assert_eq!((kept.rows_in, kept.rows_out, kept.filtered), (2_970, 1_980, 990));
    }

    #[test]
    fn a_writers_folder_has_the_bad_rows_of_the_only_result() {
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("t.txt"), b"one\nt\xffwo\nthree\n").unwrap();
        let nodes = r#"{"id": "r", "op": "read_text", "path": "t.txt", "on_bad_row": "quarantine"},
            {"id": "w", "op": "write_csv", "path": "target"}"#;
        let outcome = run(&folder, nodes, r#"["r", "w"]"#);
        assert_eq!(outcome.status, JobStatus::Completed, "{:?}", outcome.error);
        let rows = lines(&folder.path().join("target/_bad/r-00000.jsonl"));
        assert_eq!(rows.len(), 1);
        assert_eq!((&rows[0]["line"], &rows[0]["raw_base64"]), (&2.into(), &"dP93bw==".into()));
        let names: BTreeSet<_> = fs::read_dir(folder.path().join("target"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert!(names.contains("_manifest.json"), "{names:?}");
        assert!(!folder.path().join(".minispark").exists());
        assert!(!folder.path().join("out/.minispark").exists());
    }

    #[test]
    fn limits_are_exact_over_all_tasks_and_skipped_rows_count() {
        let folder = TempDir::new().unwrap();
        dirty(&folder);
        let outcome = |policy: &str| run(&folder, &reader(policy), "");
        let enough = outcome(r#"{"mode": "skip", "max_rows": 30, "max_ratio": 0.01}"#);
        assert_eq!(enough.status, JobStatus::Completed, "{:?}", enough.error);
        assert_eq!(enough.view.rows[0].quarantined, 30);
        assert!(!folder.path().join(format!("out/{}_bad", enough.job)).exists());
        for policy in [
            r#"{"mode": "skip", "max_rows": 29}"#,
            r#"{"mode": "quarantine", "max_rows": 0}"#,
            r#"{"mode": "quarantine", "max_ratio": 0.0099}"#,
        ] {
            let failed = outcome(policy);
            assert_eq!(failed.status, JobStatus::Failed, "{policy}");
            let failure = failed.error.unwrap().failure;
            assert_eq!(failure.code, Code::BadRowsLimit, "{policy}: {failure:?}");
            assert!(failure.message.contains("expected int64, found `x"), "{}", failure.message);
            assert!(!folder.path().join(format!("out/{}_bad", failed.job)).exists());
        }
        assert_eq!(outcome("\"fail\"").error.unwrap().failure.code, Code::InputCorrupt);
    }
}
