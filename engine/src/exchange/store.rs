//! The partition store: the map outputs that this process holds for the tasks that read them.
//!
//! An output stays in memory while the budget lets it, and lies in one Arrow IPC file otherwise,
//! with an index from bucket to blocks. It is kept until its attempt or its job is dropped;
//! whoever reads at that moment finishes undisturbed. The store knows nothing of networks.
//!
//! A store that is [`PartitionStore::durable`] writes each file's index beside it, so that the next
//! process finds again what lies on disk; what was only in memory is found again where
//! [`PartitionStore::leave`] was called before the end.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    Error, Result,
    disk::Disk,
    id::{Attempt, JobId, StageId, TaskAttempt, TaskId, Term},
    kernels::compact::{compact, unique_bytes},
    memory::{
        Budget, Reservation,
        spill::{SpillFile, SpillIndex, SpillReader, SpillWriter, Temporary},
    },
    operators::{Operator, join::shared::SharedBuilds},
    task::context::TaskContext,
};

/// The part of the budget that outputs may take; operators are to find some, too.
const SHARE_OF_BUDGET: u64 = 2;

/// Keeps map outputs, by attempt; shared by all threads of a process.
///
/// - Memory: outputs in memory are charged to the budget, of which they take at most half.
/// - Locks: none is held while an output is read or written.
pub struct PartitionStore {
    disk: Arc<dyn Disk>,
    budget: Budget,
    /// What of the budget may be taken by outputs.
    share: Budget,
    folders: Arc<Folders>,
    /// The number of the next file, so that no two share a name, whoever wrote them.
    next_file: AtomicU64,
    outputs: Mutex<BTreeMap<TaskAttempt, Arc<Output>>>,
    /// What tasks have built of outputs for all of the process.
    builds: Arc<SharedBuilds>,
    /// Whether files have their indices beside them.
    is_durable: bool,
}

/// The ending of an index beside its file.
const INDEX: &str = "index";

/// What an index says; the file of its name, with the ending `arrow`, holds the rows.
#[derive(Serialize, Deserialize)]
struct Index {
    version: u32,
    attempt: TaskAttempt,
    blocks: Vec<Vec<usize>>,
    file: SpillIndex,
}

/// The version of [`Index`].
const INDEX_VERSION: u32 = 1;

/// An output that the store holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Who wrote it.
    pub attempt: TaskAttempt,
    /// Its rows, in all buckets.
    pub rows: u64,
    /// Its bytes, in memory or on disk.
    pub bytes: u64,
}

impl PartitionStore {
    /// An empty store whose files lie below `folder/<job>/`.
    pub fn new(disk: Arc<dyn Disk>, folder: PathBuf, budget: Budget) -> Self {
        let folders = Folders {
            disk: Arc::clone(&disk),
            root: folder,
            users: Mutex::default(),
            keep: Arc::default(),
        };
        Self {
            is_durable: false,
            disk,
            share: Budget::new(budget.limit_bytes() / SHARE_OF_BUDGET),
            budget,
            folders: Arc::new(folders),
            next_file: AtomicU64::new(0),
            outputs: Mutex::default(),
            builds: Arc::default(),
        }
    }

    /// A store that finds again what an earlier process left in `folder`. What can't be read any
    /// more is removed.
    ///
    /// # Errors
    /// [`Error::Io`] where the folder can't be read.
    pub fn durable(disk: Arc<dyn Disk>, folder: PathBuf, budget: Budget) -> Result<Self> {
        let store = Self { is_durable: true, ..Self::new(disk, folder, budget) };
        store.find_again()?;
        Ok(store)
    }

    fn find_again(&self) -> Result<()> {
        let root = &self.folders.root;
        if !self.disk.exists(root) {
            return Ok(());
        }
        for folder in self.disk.list(root).map_err(Error::io("list", root))? {
            let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if let Ok(job) = name.parse::<JobId>() {
                for path in self.disk.list(&folder).map_err(Error::io("list", &folder))? {
                    if path.extension().is_some_and(|ending| ending == INDEX)
                        && let Err(error) = self.take_up(job, &path)
                    {
                        let error = error.chain();
                        tracing::warn!(path = %path.display(), error, "an output can't be kept");
                    }
                }
            }
            self.remove_strangers(&folder)?;
        }
        Ok(())
    }

    /// Takes up one output by its index.
    fn take_up(&self, job: JobId, path: &Path) -> Result<()> {
        let index = read_index(&*self.disk, path)?;
        let is_whole = index.version == INDEX_VERSION && index.attempt.task.job == job;
        if !is_whole {
            let reason = String::from("it is the index of something else");
            return Err(Error::Corrupt { what: path.display().to_string(), reason });
        }
        let keep = Arc::clone(&self.folders.keep);
        let schema = index.file.schema();
        let file = SpillFile::reopen(
            &self.disk,
            path.with_extension("arrow"),
            index.file,
            Arc::clone(&keep),
        )?;
        let rows = file.rows();
        let disk = Arc::clone(&self.disk);
        let content = Content::File {
            file: Arc::new(file),
            blocks: index.blocks,
            _index: Some(Temporary { disk, path: path.to_owned(), keep: Some(keep) }),
            folder: self.folders.enter(job),
        };
        self.outputs().insert(index.attempt, Arc::new(Output { schema, rows, content }));
        Ok(())
    }

    /// Removes what belongs to no output that is held.
    fn remove_strangers(&self, folder: &Path) -> Result<()> {
        let known: BTreeSet<PathBuf> = self
            .outputs()
            .values()
            .filter_map(|output| match &output.content {
                Content::File { file, .. } => Some(file.path().to_owned()),
                Content::Memory { .. } => None,
            })
            .flat_map(|path| [path.with_extension(INDEX), path])
            .collect();
        let paths = self.disk.list(folder).map_err(Error::io("list", folder))?;
        for path in paths.iter().filter(|path| !known.contains(*path)) {
            self.disk.remove(path).map_err(Error::io("remove", path))?;
        }
        self.disk.remove_empty_dir(folder).map_err(Error::io("remove", folder))
    }

    /// Brings what is in memory to disk and leaves all files where they are when the process ends.
    ///
    /// # Errors
    /// [`Error::Io`]; what has been written until then is left all the same.
    pub fn leave(self: &Arc<Self>) -> Result<()> {
        self.folders.keep.store(true, Ordering::Relaxed);
        let outputs: Vec<_> =
            self.outputs().iter().map(|(attempt, output)| (*attempt, Arc::clone(output))).collect();
        for (attempt, output) in outputs {
            let Content::Memory { buckets, .. } = &output.content else { continue };
            let count = u32::try_from(buckets.len()).unwrap_or(u32::MAX);
            let mut writer = self.writer(attempt, Arc::clone(&output.schema), count);
            writer.move_to_file()?;
            for (bucket, batches) in (0..).zip(buckets) {
                for batch in batches {
                    writer.push(bucket, batch.clone())?;
                }
            }
            writer.finish()?;
        }
        Ok(())
    }

    /// Begins the output of an attempt; nobody sees it before [`StoreWriter::finish`].
    pub fn writer(
        self: &Arc<Self>,
        attempt: TaskAttempt,
        schema: SchemaRef,
        buckets: u32,
    ) -> StoreWriter {
        self.begin(attempt, schema, buckets, &self.budget, &self.disk, None)
    }

    /// As [`PartitionStore::writer`], within what the job of a task may take; what goes to disk
    /// counts as spilled by the task.
    pub fn writer_of(
        self: &Arc<Self>,
        context: &TaskContext,
        attempt: TaskAttempt,
        schema: SchemaRef,
        buckets: u32,
    ) -> StoreWriter {
        let spilled = Some(Arc::clone(&context.spilled_bytes));
        let budget = context.budget.beside_tasks();
        self.begin(attempt, schema, buckets, &budget, &context.disk, spilled)
    }

    fn begin(
        self: &Arc<Self>,
        attempt: TaskAttempt,
        schema: SchemaRef,
        buckets: u32,
        budget: &Budget,
        disk: &Arc<dyn Disk>,
        spilled_bytes: Option<Arc<AtomicU64>>,
    ) -> StoreWriter {
        StoreWriter {
            store: Arc::clone(self),
            disk: Arc::clone(disk),
            spilled_bytes,
            attempt,
            schema,
            rows: 0,
            content: Content::Memory {
                buckets: vec![Vec::new(); buckets as usize],
                charge: Charge {
                    share: self.share.reservation("partition store"),
                    whole: budget.reservation("partition store"),
                },
            },
        }
    }

    /// One bucket's batches in the order in which they were pushed, or `None` where the output
    /// is not held. The bucket stays readable when the output is dropped meanwhile.
    ///
    /// # Errors
    /// [`Error::Internal`] where the output has no such bucket.
    pub fn open(&self, attempt: TaskAttempt, bucket: u32) -> Result<Option<Box<dyn Operator>>> {
        let Some(output) = self.outputs().get(&attempt).cloned() else { return Ok(None) };
        let bucket = bucket as usize;
        if bucket >= output.content.bucket_count() {
            return Err(Error::Internal(format!("bucket {bucket} of {attempt} does not exist")));
        }
        let reader = match &output.content {
            Content::Memory { .. } => None,
            Content::File { file, blocks, .. } => Some(file.reader_of(blocks[bucket].clone())),
        };
        Ok(Some(Box::new(Bucket { reader, number: bucket, position: 0, output })))
    }

    /// The schema of an output's rows, where it is held.
    pub fn schema(&self, attempt: TaskAttempt) -> Option<SchemaRef> {
        self.outputs().get(&attempt).map(|output| Arc::clone(&output.schema))
    }

    /// Forgets one output, and what its attempt put aside.
    pub fn drop_attempt(&self, attempt: TaskAttempt) {
        let dropped = {
            let mut outputs = self.outputs();
            [outputs.remove(&attempt), outputs.remove(&attempt.rejects())]
        };
        // Its file is removed here, after the lock was given back.
        drop(dropped);
    }

    /// A job's folder, for files that its tasks share; it stays while this is held.
    pub(crate) fn job_folder(&self, job: JobId) -> JobFolder {
        self.folders.enter(job)
    }

    /// The build sides of joins that tasks of the process share.
    pub fn builds(&self) -> &Arc<SharedBuilds> {
        &self.builds
    }

    /// Forgets all outputs of a job, and what was built of them.
    pub fn drop_job(&self, job: JobId) {
        self.builds.drop_job(job);
        let dropped: Vec<_> = {
            let mut outputs = self.outputs();
            let mut of_job_and_later = outputs.split_off(&first_attempt(job));
            let first_later = of_job_and_later.keys().find(|attempt| attempt.task.job != job);
            if let Some(first_later) = first_later.copied() {
                outputs.append(&mut of_job_and_later.split_off(&first_later));
            }
            of_job_and_later.into_values().collect()
        };
        drop(dropped);
    }

    /// The jobs of which outputs are held, or something that was built of them.
    pub fn jobs(&self) -> Vec<JobId> {
        let mut jobs: Vec<_> = self.outputs().keys().map(|attempt| attempt.task.job).collect();
        jobs.extend(self.builds.jobs());
        jobs.sort_unstable();
        jobs.dedup();
        jobs
    }

    /// All outputs, by attempt.
    pub fn held(&self) -> Vec<Held> {
        self.outputs().iter().map(|(attempt, output)| output.held(*attempt)).collect()
    }

    /// What outputs, finished or not, hold in memory, in bytes.
    pub fn memory_bytes(&self) -> u64 {
        self.share.used_bytes()
    }

    /// What finished outputs hold on disk, in bytes.
    pub fn disk_bytes(&self) -> u64 {
        let on_disk = |output: &Arc<Output>| match &output.content {
            Content::Memory { .. } => 0,
            Content::File { file, .. } => file.bytes(),
        };
        self.outputs().values().map(on_disk).sum()
    }

    /// Puts an index beside its file, whole or not at all.
    fn write_index(&self, path: &Path, index: &Index) -> Result<Temporary> {
        let body = serde_json::to_vec(index)
            .map_err(|error| Error::Internal(format!("index of an output: {error}")))?;
        let unfinished = path.with_extension("unfinished");
        let write = || -> io::Result<()> {
            let mut file = self.disk.create(&unfinished)?;
            file.write_all(&xxh3_64(&body).to_le_bytes())?;
            file.write_all(&body)?;
            file.flush()?;
            drop(file);
            self.disk.rename(&unfinished, path)
        };
        write().map_err(Error::io("write", path))?;
        let (disk, path) = (Arc::clone(&self.disk), path.to_owned());
        Ok(Temporary { disk, path, keep: Some(Arc::clone(&self.folders.keep)) })
    }

    fn outputs(&self) -> MutexGuard<'_, BTreeMap<TaskAttempt, Arc<Output>>> {
        self.outputs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for PartitionStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartitionStore").field("held", &self.held()).finish_non_exhaustive()
    }
}

/// An index, where its checksum is right.
fn read_index(disk: &dyn Disk, path: &Path) -> Result<Index> {
    let corrupt = |reason: String| Error::Corrupt { what: path.display().to_string(), reason };
    let read = || -> io::Result<Vec<u8>> {
        let file = disk.open(path)?;
        let mut bytes = vec![0; usize::try_from(file.size()?).unwrap_or(0)];
        file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    };
    let bytes = read().map_err(Error::io("read", path))?;
    let (checksum, body) =
        bytes.split_first_chunk().ok_or_else(|| corrupt(String::from("it is too short")))?;
    if u64::from_le_bytes(*checksum) != xxh3_64(body) {
        return Err(corrupt(String::from("checksum")));
    }
    serde_json::from_slice(body).map_err(|error| corrupt(error.to_string()))
}

/// The least attempt of a job, in the store's order.
fn first_attempt(job: JobId) -> TaskAttempt {
    let task = TaskId { job, stage: StageId(0), partition: 0 };
    TaskAttempt { task, attempt: Attempt { term: Term(0), n: 0 } }
}

/// The output of an attempt while it is written; dropped unfinished, nothing is kept.
pub struct StoreWriter {
    store: Arc<PartitionStore>,
    /// Where its file would go.
    disk: Arc<dyn Disk>,
    /// Counts what its file has.
    spilled_bytes: Option<Arc<AtomicU64>>,
    attempt: TaskAttempt,
    schema: SchemaRef,
    rows: u64,
    content: Content<SpillWriter>,
}

impl StoreWriter {
    /// Appends rows to a bucket; the batch is compacted.
    ///
    /// - Memory: charged to the budget; once refused, the whole output moves to its file.
    ///
    /// # Errors
    /// [`Error::Io`]; the writer can only be dropped after that.
    #[expect(clippy::needless_pass_by_value, reason = "the store takes the rows over")]
    pub fn push(&mut self, bucket: u32, batch: RecordBatch) -> Result<()> {
        let bucket = bucket as usize;
        if bucket >= self.content.bucket_count() {
            let reason = format!("bucket {bucket} of {} does not exist", self.attempt);
            return Err(Error::Internal(reason));
        }
        if batch.num_rows() == 0 {
            return Ok(());
        }
        self.rows += batch.num_rows() as u64;
        if let Content::Memory { buckets, charge } = &mut self.content {
            let batch = compact(&batch)?;
            if charge.try_grow(unique_bytes(&batch)) {
                buckets[bucket].push(batch);
                return Ok(());
            }
            self.move_to_file()?;
        }
        self.content.write_block(bucket, &batch)
    }

    /// Makes the output visible.
    ///
    /// # Errors
    /// [`Error::Io`]; nothing is kept.
    pub fn finish(self) -> Result<Held> {
        let content = match self.content {
            Content::Memory { buckets, charge } => Content::Memory { buckets, charge },
            Content::File { file, blocks, folder, .. } => {
                let file = Arc::new(file.finish()?);
                let index = self.store.is_durable.then(|| {
                    let index = Index {
                        version: INDEX_VERSION,
                        attempt: self.attempt,
                        blocks: blocks.clone(),
                        file: file.index(),
                    };
                    self.store.write_index(&file.path().with_extension(INDEX), &index)
                });
                Content::File { file, blocks, _index: index.transpose()?, folder }
            }
        };
        let output = Output { schema: self.schema, rows: self.rows, content };
        let held = output.held(self.attempt);
        let replaced = self.store.outputs().insert(self.attempt, Arc::new(output));
        drop(replaced);
        Ok(held)
    }

    fn move_to_file(&mut self) -> Result<()> {
        let folder = self.store.folders.enter(self.attempt.task.job);
        let TaskAttempt { task, attempt } = self.attempt;
        let number = self.store.next_file.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-{}-{attempt}-{number}.arrow", task.stage, task.partition);
        let path = folder.path().join(name);
        let schema = Arc::clone(&self.schema);
        let mut file = SpillWriter::create(&self.disk, path, schema, false)?;
        if let Some(spilled_bytes) = &self.spilled_bytes {
            file.count_in(Arc::clone(spilled_bytes));
        }
        file.keep_when(Arc::clone(&self.store.folders.keep));
        let blocks = vec![Vec::new(); self.content.bucket_count()];
        let in_file = Content::File { file, blocks, _index: None, folder };
        if let Content::Memory { buckets, .. } = std::mem::replace(&mut self.content, in_file) {
            for (bucket, batches) in buckets.into_iter().enumerate() {
                for batch in batches {
                    self.content.write_block(bucket, &batch)?;
                }
            }
        }
        Ok(())
    }
}

impl fmt::Debug for StoreWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut writer = f.debug_struct("StoreWriter");
        writer.field("attempt", &self.attempt).field("rows", &self.rows).finish_non_exhaustive()
    }
}

/// A finished output.
struct Output {
    schema: SchemaRef,
    rows: u64,
    content: Content<Arc<SpillFile>>,
}

impl Output {
    fn held(&self, attempt: TaskAttempt) -> Held {
        let bytes = match &self.content {
            Content::Memory { charge, .. } => charge.share.held_bytes(),
            Content::File { file, .. } => file.bytes(),
        };
        Held { attempt, rows: self.rows, bytes }
    }
}

/// Where an output's buckets are; `F` is the file while it is written, or to be read.
enum Content<F> {
    Memory {
        buckets: Vec<Vec<RecordBatch>>,
        charge: Charge,
    },
    File {
        /// Stands before the folder, so that it is dropped, and so removed, first.
        file: F,
        /// Each bucket's blocks, in order.
        blocks: Vec<Vec<usize>>,
        /// What another process finds it by.
        _index: Option<Temporary>,
        folder: JobFolder,
    },
}

impl<F> Content<F> {
    fn bucket_count(&self) -> usize {
        match self {
            Self::Memory { buckets, .. } => buckets.len(),
            Self::File { blocks, .. } => blocks.len(),
        }
    }
}

impl Content<SpillWriter> {
    fn write_block(&mut self, bucket: usize, batch: &RecordBatch) -> Result<()> {
        let Self::File { file, blocks, .. } = self else {
            return Err(Error::Internal(String::from("an output in memory has no blocks")));
        };
        let first = file.blocks();
        file.write(batch)?;
        blocks[bucket].extend(first..file.blocks());
        Ok(())
    }
}

/// What an output in memory holds: of the whole budget, and of the store's share in it.
struct Charge {
    share: Reservation,
    whole: Reservation,
}

impl Charge {
    fn try_grow(&mut self, bytes: u64) -> bool {
        if !self.share.try_grow(bytes) {
            return false;
        }
        let is_granted = self.whole.try_grow(bytes);
        if !is_granted {
            self.share.shrink(bytes);
        }
        is_granted
    }
}

/// One bucket of an output, pulled; keeps the output alive.
struct Bucket {
    /// Where the output is on disk.
    reader: Option<SpillReader>,
    number: usize,
    position: usize,
    output: Arc<Output>,
}

impl Operator for Bucket {
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        match (&mut self.reader, &self.output.content) {
            (None, Content::Memory { buckets, .. }) => {
                let batch = buckets[self.number].get(self.position).cloned();
                self.position += 1;
                Ok(batch)
            }
            (Some(reader), _) => reader.next(),
            (None, Content::File { .. }) => Ok(None),
        }
    }
}

/// The jobs' folders, each removed with its last file.
struct Folders {
    disk: Arc<dyn Disk>,
    root: PathBuf,
    /// How many outputs use a job's folder. The lock is held while an empty folder is removed, so
    /// that nobody enters one that is about to go; no output waits for it while rows move.
    users: Mutex<HashMap<JobId, usize>>,
    /// Set once nothing is to be removed any more.
    keep: Arc<AtomicBool>,
}

/// The right to have a file in a job's folder.
pub(crate) struct JobFolder {
    folders: Arc<Folders>,
    job: JobId,
}

impl Folders {
    fn enter(self: &Arc<Self>, job: JobId) -> JobFolder {
        *self.users().entry(job).or_default() += 1;
        JobFolder { folders: Arc::clone(self), job }
    }

    fn users(&self) -> MutexGuard<'_, HashMap<JobId, usize>> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl JobFolder {
    /// Where it is, once a file is in it.
    pub(crate) fn path(&self) -> PathBuf {
        self.folders.root.join(self.job.to_string())
    }
}

impl fmt::Debug for JobFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobFolder").field("job", &self.job).finish_non_exhaustive()
    }
}

impl Drop for JobFolder {
    fn drop(&mut self) {
        let mut users = self.folders.users();
        let Some(count) = users.get_mut(&self.job) else { return };
        *count -= 1;
        if *count > 0 {
            return;
        }
        users.remove(&self.job);
        if self.folders.keep.load(Ordering::Relaxed) {
            return;
        }
        let path = self.path();
        if let Err(error) = self.folders.disk.remove_dir_all(&path) {
            tracing::warn!(path = %path.display(), %error, "cannot remove a job's folder");
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use arrow::array::{ArrayRef, Int64Array, StringViewArray};
    use proptest::prelude::*;

    use super::*;
    use crate::memory::spill::tests::FaultyDisk;

    pub(crate) fn attempt(job: JobId, partition: u32) -> TaskAttempt {
        let task = TaskId { job, stage: StageId(0), partition };
        TaskAttempt { task, attempt: Attempt { term: Term(1), n: 1 } }
    }

    fn rows(from: i64, to: i64) -> RecordBatch {
        let numbers: ArrayRef = Arc::new((from..to).collect::<Int64Array>());
        let text = (from..to).map(|n| Some(format!("row number {n}, \"quoted\"\n")));
        let text: ArrayRef = Arc::new(text.collect::<StringViewArray>());
        RecordBatch::try_from_iter([("n", numbers), ("text", text)]).unwrap()
    }

    struct Fixture {
        store: Arc<PartitionStore>,
        disk: Arc<FaultyDisk>,
        budget: Budget,
        folder: tempfile::TempDir,
    }

    fn fixture(budget_bytes: u64, writes: usize) -> Fixture {
        let folder = tempfile::tempdir().unwrap();
        let disk = FaultyDisk::failing_after(writes);
        let budget = Budget::new(budget_bytes);
        let path = folder.path().join("shuffle");
        let store = Arc::new(PartitionStore::new(Arc::clone(&disk) as _, path, budget.clone()));
        Fixture { store, disk, budget, folder }
    }

    fn pull(mut operator: Box<dyn Operator>) -> Result<Vec<RecordBatch>> {
        let mut batches = Vec::new();
        while let Some(batch) = operator.next()? {
            batches.push(batch);
        }
        Ok(batches)
    }

    #[test]
    fn an_output_is_invisible_until_finished_and_nothing_is_kept_of_a_dropped_one() {
        for budget_bytes in [1 << 20, 0] {
            let Fixture { store, disk, budget, .. } = fixture(budget_bytes, usize::MAX);
            let attempt = attempt(JobId::random(), 0);
            let mut writer = store.writer(attempt, rows(0, 1).schema(), 2);
            writer.push(0, rows(0, 9)).unwrap();
            assert!(store.open(attempt, 0).unwrap().is_none());
            assert!(store.schema(attempt).is_none());
            drop(writer);
            assert!(store.held().is_empty());
            assert_eq!((budget.used_bytes(), disk.file_count()), (0, 0));
        }
    }

    #[test]
    fn a_refused_output_moves_to_disk_and_gives_the_same_batches() {
        let batches: Vec<_> = (0..40).map(|i| rows(i * 100, i * 100 + 90)).collect();
        let open = |budget_bytes| {
            let Fixture { store, disk, budget, folder } = fixture(budget_bytes, usize::MAX);
            let attempt = attempt(JobId::random(), 3);
            let mut writer = store.writer(attempt, rows(0, 1).schema(), 4);
            for (i, batch) in batches.iter().enumerate() {
                writer.push(u32::try_from(i % 3).unwrap(), batch.clone()).unwrap();
            }
            let held = writer.finish().unwrap();
            assert_eq!(store.held(), [held]);
            assert_eq!((held.attempt, held.rows), (attempt, 3_600));
            let is_on_disk = store.disk_bytes() > 0;
            assert_eq!(disk.file_count(), usize::from(is_on_disk));
            assert_eq!(held.bytes, store.disk_bytes() + store.memory_bytes());
            assert_eq!(budget.used_bytes(), store.memory_bytes());
            assert_eq!(store.schema(attempt), Some(batches[0].schema()));
            let buckets: Vec<_> =
                (0..4).map(|b| pull(store.open(attempt, b).unwrap().unwrap()).unwrap()).collect();
            drop(folder);
            (is_on_disk, buckets)
        };
        let (ample, ample_buckets) = open(1 << 30);
        let (half_way, half_way_buckets) = open(200 << 10);
        let (tiny, tiny_buckets) = open(0);
        assert_eq!((ample, half_way, tiny), (false, true, true));
        let expected = |bucket: usize| -> Vec<_> {
            (0..40).filter(|i| i % 3 == bucket).map(|i| batches[i].clone()).collect()
        };
        assert_eq!(ample_buckets, [expected(0), expected(1), expected(2), vec![]]);
        assert_eq!(half_way_buckets, ample_buckets);
        assert_eq!(tiny_buckets, ample_buckets);
    }

    #[test]
    fn outputs_take_at_most_half_of_the_budget() {
        let Fixture { store, budget, .. } = fixture(1 << 20, usize::MAX);
        let job = JobId::random();
        for partition in 0..50 {
            let mut writer = store.writer(attempt(job, partition), rows(0, 1).schema(), 1);
            writer.push(0, rows(0, 500)).unwrap();
            writer.finish().unwrap();
        }
        assert!(store.memory_bytes() > 0 && store.disk_bytes() > 0);
        assert!(budget.peak_bytes() <= 1 << 19);
    }

    #[test]
    fn a_reader_finishes_though_its_job_is_dropped_and_the_files_go_with_it() {
        for budget_bytes in [1 << 20, 0] {
            let Fixture { store, disk, budget, folder } = fixture(budget_bytes, usize::MAX);
            let (job, other) = (JobId::random(), JobId::random());
            for of_attempt in [attempt(job, 0), attempt(job, 1), attempt(other, 0)] {
                let mut writer = store.writer(of_attempt, rows(0, 1).schema(), 1);
                writer.push(0, rows(0, 10)).unwrap();
                writer.push(0, rows(10, 20)).unwrap();
                writer.finish().unwrap();
            }
            let mut begun = store.open(attempt(job, 0), 0).unwrap().unwrap();
            assert_eq!(begun.next().unwrap(), Some(rows(0, 10)));
            let fresh = store.open(attempt(job, 1), 0).unwrap().unwrap();
            store.drop_job(job);
            assert_eq!(store.jobs(), [other]);
            assert!(store.open(attempt(job, 0), 0).unwrap().is_none());
            assert_eq!(begun.next().unwrap(), Some(rows(10, 20)));
            assert_eq!(begun.next().unwrap(), None);
            assert_eq!(pull(fresh).unwrap(), [rows(0, 10), rows(10, 20)]);
            drop(begun);
            assert!(!folder.path().join("shuffle").join(job.to_string()).exists());
            store.drop_attempt(attempt(other, 0));
            assert!(store.jobs().is_empty());
            assert_eq!((budget.used_bytes(), disk.file_count()), (0, 0));
        }
    }

    #[test]
    fn an_attempt_that_is_written_again_replaces_the_first() {
        for budget_bytes in [1 << 20, 0] {
            let Fixture { store, disk, .. } = fixture(budget_bytes, usize::MAX);
            let attempt = attempt(JobId::random(), 0);
            for n in [5, 9] {
                let mut writer = store.writer(attempt, rows(0, 1).schema(), 1);
                writer.push(0, rows(0, n)).unwrap();
                writer.finish().unwrap();
            }
            assert_eq!(pull(store.open(attempt, 0).unwrap().unwrap()).unwrap(), [rows(0, 9)]);
            assert_eq!(disk.file_count(), usize::from(budget_bytes == 0));
        }
    }

    #[test]
    fn only_the_dropped_job_goes() {
        let Fixture { store, .. } = fixture(1 << 20, usize::MAX);
        let mut jobs: Vec<_> = (0..5).map(|_| JobId::random()).collect();
        jobs.sort();
        for job in &jobs {
            store.writer(attempt(*job, 7), rows(0, 1).schema(), 1).finish().unwrap();
        }
        assert_eq!(store.jobs(), jobs);
        for dropped in [2, 0, 2] {
            store.drop_job(jobs.remove(dropped));
            assert_eq!(store.jobs(), jobs);
        }
    }

    #[test]
    fn a_full_disk_is_an_error_and_leaves_nothing_behind() {
        for writes in 0..3 {
            let Fixture { store, disk, .. } = fixture(0, writes);
            let mut writer = store.writer(attempt(JobId::random(), 0), rows(0, 1).schema(), 1);
            let written = (0..100).try_for_each(|_| writer.push(0, rows(0, 1_000)));
            let written = written.and_then(|()| writer.finish());
            assert!(matches!(written, Err(Error::Io { .. })));
            assert_eq!(disk.file_count(), 0);
            assert!(store.held().is_empty());
        }
    }

    /// A durable store on `folder`, in a process of its own as it were.
    fn durable(folder: &Path, budget_bytes: u64) -> Arc<PartitionStore> {
        let (disk, budget) = (crate::disk::RealDisk::shared(), Budget::new(budget_bytes));
        Arc::new(PartitionStore::durable(disk, folder.to_owned(), budget).unwrap())
    }

    fn write_two(store: &Arc<PartitionStore>, attempt: TaskAttempt) {
        let mut writer = store.writer(attempt, rows(0, 1).schema(), 2);
        writer.push(0, rows(0, 10)).unwrap();
        writer.push(1, rows(10, 20)).unwrap();
        writer.push(0, rows(20, 30)).unwrap();
        writer.finish().unwrap();
    }

    /// The process ends without a word: nothing is dropped.
    fn kill(store: Arc<PartitionStore>) {
        std::mem::forget(store);
    }

    #[test]
    fn what_lies_on_disk_is_found_again_by_the_next_process() {
        let folder = tempfile::tempdir().unwrap();
        let job = JobId::random();
        let first = durable(folder.path(), 0);
        write_two(&first, attempt(job, 0));
        write_two(&first, attempt(job, 1));
        first.drop_attempt(attempt(job, 1));
        let mut cut = first.writer(attempt(job, 2), rows(0, 1).schema(), 1);
        cut.push(0, rows(0, 5)).unwrap();
        std::mem::forget(cut);
        kill(first);
        let second = durable(folder.path(), 0);
        let held: Vec<_> = second.held().iter().map(|held| (held.attempt, held.rows)).collect();
        assert_eq!(held, [(attempt(job, 0), 30)]);
        assert_eq!(second.schema(attempt(job, 0)), Some(rows(0, 1).schema()));
        let bucket = |number| pull(second.open(attempt(job, 0), number).unwrap().unwrap()).unwrap();
        assert_eq!(bucket(0), [rows(0, 10), rows(20, 30)]);
        assert_eq!(bucket(1), [rows(10, 20)]);
        let files = std::fs::read_dir(folder.path().join(job.to_string())).unwrap().count();
        assert_eq!(files, 2, "rows and index of the one output");
        second.drop_job(job);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn whoever_leaves_in_order_leaves_what_was_in_memory_too() {
        let folder = tempfile::tempdir().unwrap();
        let job = JobId::random();
        let first = durable(folder.path(), 1 << 20);
        write_two(&first, attempt(job, 0));
        assert_eq!(first.disk_bytes(), 0);
        first.leave().unwrap();
        drop(first);
        let second = durable(folder.path(), 1 << 20);
        let bucket = pull(second.open(attempt(job, 0), 0).unwrap().unwrap()).unwrap();
        assert_eq!(bucket, [rows(0, 10), rows(20, 30)]);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the test damages files behind the store")]
    fn a_damaged_output_is_not_found_again() {
        let job = JobId::random();
        let damages: [fn(&mut Vec<u8>); 3] =
            [|bytes| bytes.truncate(bytes.len() - 1), |bytes| bytes[20] ^= 4, Vec::clear];
        for (ending, damage) in
            [("index", damages[0]), ("index", damages[1]), ("arrow", damages[0])]
                .into_iter()
                .chain([("index", damages[2]), ("arrow", damages[2])])
        {
            let folder = tempfile::tempdir().unwrap();
            let first = durable(folder.path(), 0);
            write_two(&first, attempt(job, 0));
            kill(first);
            let files = std::fs::read_dir(folder.path().join(job.to_string())).unwrap();
            let mut paths = files.map(|entry| entry.unwrap().path());
            let path = paths.find(|path| path.extension().unwrap() == ending).unwrap();
            let mut bytes = std::fs::read(&path).unwrap();
            damage(&mut bytes);
            std::fs::write(&path, bytes).unwrap();
            let second = durable(folder.path(), 0);
            assert!(second.held().is_empty(), "{ending}");
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "{ending}");
        }
    }

    #[test]
    fn a_bucket_that_does_not_exist_is_refused() {
        let Fixture { store, .. } = fixture(1 << 20, usize::MAX);
        let attempt = attempt(JobId::random(), 0);
        let mut writer = store.writer(attempt, rows(0, 1).schema(), 2);
        assert!(matches!(writer.push(2, rows(0, 1)), Err(Error::Internal(_))));
        writer.finish().unwrap();
        assert!(matches!(store.open(attempt, 2), Err(Error::Internal(_))));
    }

    proptest! {
        #[test]
        fn every_bucket_gives_what_was_pushed_to_it_in_order(
            pushes in prop::collection::vec((0_u32..5, 0_i64..50), 0..40),
            budget_bytes in 0_u64..40_000,
        ) {
            let Fixture { store, folder: _folder, .. } = fixture(budget_bytes, usize::MAX);
            let attempt = attempt(JobId::random(), 0);
            let mut writer = store.writer(attempt, rows(0, 1).schema(), 5);
            let mut expected = vec![Vec::new(); 5];
            for (bucket, n) in pushes {
                writer.push(bucket, rows(n, 2 * n)).unwrap();
                if n > 0 {
                    expected[bucket as usize].push(rows(n, 2 * n));
                }
            }
            writer.finish().unwrap();
            for bucket in 0..5 {
                let found = pull(store.open(attempt, bucket).unwrap().unwrap()).unwrap();
                prop_assert_eq!(&found, &expected[bucket as usize]);
            }
        }
    }
}
