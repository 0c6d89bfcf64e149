//! Publishing results: rename, then manifest; a result appears whole or not at all.
//!
//! A text sink is one file and appears by one rename. How a writer's folder does, [`folder`] says.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::datatypes::SchemaRef;
use serde::{Deserialize, Serialize};

pub(crate) mod folder;
mod objects;
pub mod manifest;

use manifest::{Manifest, ManifestFile};

use crate::{
    Error, Result,
    disk::{Disk, remote::is_remote},
    exchange::{Exchange, MapOutput},
    formats::{WriteFormat, compression::Compression},
    id::JobId,
    memory::Budget,
    plan::{Sink, Target},
    sink::{Checksum, STAGING, attempt_file, shared, write_parts},
    task::{Part, context::CancelFlag},
};

/// Puts the results of jobs in place.
#[derive(Clone, Debug)]
pub struct Publisher {
    /// Files.
    pub disk: Arc<dyn Disk>,
    /// Where text sinks appear.
    pub output_dir: PathBuf,
    /// What streams under way are charged to.
    pub budget: Budget,
}

/// A result in place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Published {
    /// The sink's node id.
    pub sink: String,
    /// The text file, or the writer's folder.
    pub path: PathBuf,
    /// The files in the order of their rows.
    pub files: Vec<PublishedFile>,
    /// All rows.
    pub rows: u64,
    /// All bytes.
    pub bytes: u64,
    /// The rows' schema.
    pub schema: SchemaRef,
    /// Whether the rows stand in a defined or stable order.
    pub ordered: bool,
    /// How the files are to be read.
    pub format: WriteFormat,
    /// How those are compressed.
    #[serde(default)]
    pub compression: Compression,
    /// The columns that stand in the names of folders, and not in the files.
    #[serde(default)]
    pub folders: Vec<String>,
    /// The same rows as an Arrow IPC file, where a text result keeps one.
    pub typed: Option<PathBuf>,
    /// The size of that file, in bytes.
    #[serde(default)]
    pub typed_bytes: u64,
}

impl Published {
    /// What changes with any of its bytes: its file's checksum, or that of all checksums.
    pub fn checksum(&self) -> String {
        if let [file] = self.files.as_slice() {
            return file.checksum.clone();
        }
        let mut all = Checksum::default();
        for file in &self.files {
            all.update(file.checksum.as_bytes());
            all.update(b"\n");
        }
        all.to_string()
    }
}

/// A file of a result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its rows.
    pub rows: u64,
    /// Its bytes.
    pub bytes: u64,
    /// `xxh3-128:<hex>` of its bytes.
    pub checksum: String,
}

impl Publisher {
    /// Pulls a sink's partitions from the stores that hold them and encodes each into an attempt
    /// file; of a text sink also into a typed copy beside it.
    ///
    /// - Memory: one stream's buffers and an encoded batch, charged to the budget.
    ///
    /// # Errors
    /// Those of the exchange ([`Error::FetchFailed`]) and of the disk.
    pub fn collect(
        &self,
        job: JobId,
        sink: &Sink,
        outputs: &[MapOutput],
        exchange: &dyn Exchange,
        cancel: &CancelFlag,
    ) -> Result<Vec<Part>> {
        let staging = sink.staging(job, &self.output_dir);
        self.disk.create_dir_all(&staging).map_err(Error::io("create", &staging))?;
        let of_outputs = outputs
            .iter()
            .map(|output| {
                let input = exchange.open(output, 0, &self.budget, cancel)?;
                let path = attempt_file(&staging, sink, output.map);
                let typed = (sink.target_is_text()).then(|| typed_attempt(&path));
                write_parts(sink, input, &path, typed.as_deref(), &*self.disk, cancel)
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(of_outputs.concat())
    }

    /// Takes the parts that a worker has left in the folder that it shares.
    ///
    /// # Errors
    /// [`Error::FetchFailed`] where they are not there as it said.
    pub fn take_shared(
        &self,
        job: JobId,
        sink: &Sink,
        output: &MapOutput,
        parts: &[Part],
    ) -> Result<Vec<Part>> {
        let staging = sink.staging(job, &self.output_dir);
        shared::check_parts(parts, &staging, output, &*self.disk)?;
        Ok(parts.to_vec())
    }

    /// Refuses a commit of which a part could not be published, before any is.
    ///
    /// # Errors
    /// [`Error::OutputExists`] and [`Error::OutputUnfit`] where a writer's target is there, is not
    /// this job's own, and is nothing that its mode can go on with.
    pub fn check_targets(&self, job: JobId, sinks: &[&Sink]) -> Result<()> {
        for sink in sinks {
            if let Target::Files(write) = &sink.target {
                self.check_target(job, sink, write)?;
            }
        }
        Ok(())
    }

    /// Puts a sink's parts, ordered by partition, in place.
    ///
    /// # Errors
    /// As [`Publisher::check_targets`]; those of the disk.
    pub fn publish(&self, job: JobId, sink: &Sink, parts: &[Part]) -> Result<Published> {
        let (path, files, typed) = match &sink.target {
            Target::Text => self.publish_text(job, sink, parts)?,
            Target::Files(write) => {
                let files = if is_remote(&write.path) {
                    self.publish_objects(job, sink, write, parts)?
                } else {
                    self.publish_folder(job, sink, write, parts)?
                };
                (write.path.clone(), files, None)
            }
        };
        Ok(Published {
            sink: sink.id.clone(),
            path,
            rows: files.iter().map(|file| file.rows).sum(),
            bytes: files.iter().map(|file| file.bytes).sum(),
            files,
            schema: Arc::clone(&sink.schema),
            ordered: sink.ordered,
            format: sink.format().clone(),
            compression: match &sink.target {
                Target::Text => Compression::None,
                Target::Files(write) => write.compression,
            },
            folders: sink.folder_columns(),
            typed_bytes: typed.as_ref().map_or(0, |copy| self.size(copy)),
            typed,
        })
    }

    /// Removes what a job has staged and not published: attempt files that were not accepted, and
    /// the folders that are empty then. The typed copies of its text results stay if `keep_typed`.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn sweep(&self, job: JobId, sinks: &[&Sink], keep_typed: bool) -> Result<()> {
        let kept: Vec<PathBuf> = sinks
            .iter()
            .filter(|sink| keep_typed && sink.target_is_text())
            .map(|sink| typed_copy(&self.output_dir, job, sink))
            .collect();
        let mut folders: BTreeSet<PathBuf> =
            sinks.iter().map(|sink| sink.staging(job, &self.output_dir)).collect();
        for sink in sinks {
            if let Target::Files(write) = &sink.target
                && !is_remote(&write.path)
            {
                self.sweep_unlisted(job, write)?;
            }
        }
        // Bad rows that belong to no sink.
        folders.insert(self.output_dir.join(STAGING).join(job.to_string()));
        for staging in folders.iter().filter(|staging| self.disk.exists(staging)) {
            for path in self.disk.list(staging).map_err(Error::io("list", staging))? {
                if !kept.contains(&path) {
                    self.disk.remove(&path).map_err(Error::io("remove", &path))?;
                }
            }
            self.disk.remove_empty_dir(staging).map_err(Error::io("remove", staging))?;
            if let Some(root) = staging.parent() {
                self.disk.remove_empty_dir(root).map_err(Error::io("remove", root))?;
            }
        }
        // A store that does not answer keeps nothing here.
        for sink in sinks {
            if let Target::Files(write) = &sink.target
                && is_remote(&write.path)
            {
                self.sweep_objects(job, write)?;
            }
        }
        Ok(())
    }

    /// The size of a file, or 0 where that can't be told.
    fn size(&self, path: &Path) -> u64 {
        self.disk.open(path).and_then(|file| file.size()).unwrap_or_default()
    }

    /// Removes what a job that is not known any more has left beside the text results.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn sweep_forgotten(&self, job: JobId) -> Result<()> {
        let staging = self.output_dir.join(STAGING).join(job.to_string());
        self.disk.remove_dir_all(&staging).map_err(Error::io("remove", &staging))?;
        let root = self.output_dir.join(STAGING);
        self.disk.remove_empty_dir(&root).map_err(Error::io("remove", &root))
    }

    /// Removes a result that is in place: a text file, whose name is the job's own, or a folder
    /// whose manifest still names the job. What somebody else has put there since stays.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn withdraw(&self, job: JobId, result: &Published) -> Result<()> {
        let path = &result.path;
        let bad_rows = self.output_dir.join(format!("{job}_bad"));
        self.disk.remove_dir_all(&bad_rows).map_err(Error::io("remove", &bad_rows))?;
        if let [file] = result.files.as_slice()
            && file.path == *path
        {
            return self.disk.remove(path).map_err(Error::io("remove", path));
        }
        let _turn = if is_remote(path) { None } else { self.turn_at(path)? };
        let Some(manifest) = Manifest::read(&*self.disk, path) else { return Ok(()) };
        if manifest.job_id != job || manifest.sink != result.sink {
            return Ok(());
        }
        let is_own =
            |file: &ManifestFile| result.files.iter().any(|own| own.path == path.join(&file.path));
        if is_remote(path) && manifest.files.iter().all(is_own) {
            return self.withdraw_objects(path, &manifest);
        }
        if manifest.files.iter().all(is_own) {
            return self.disk.remove_dir_all(path).map_err(Error::io("remove", path));
        }
        // What other jobs wrote there stays.
        let (own, files) = manifest.files.iter().cloned().partition(is_own);
        let others = manifest.with_files(files);
        self.put_manifest(&others, path)?;
        let own: Vec<ManifestFile> = own;
        for file in &own {
            self.remove_listed(path, file);
        }
        Ok(())
    }

    fn publish_text(
        &self,
        job: JobId,
        sink: &Sink,
        parts: &[Part],
    ) -> Result<(PathBuf, Vec<PublishedFile>, Option<PathBuf>)> {
        let [part] = parts else {
            let found = parts.len();
            return Err(Error::Internal(format!("text sink `{}` has {found} parts", sink.id)));
        };
        let target = self.output_dir.join(format!("{job}_{}.txt", sink.id));
        let staged_copy = typed_attempt(&part.path);
        let typed = self.disk.exists(&staged_copy).then(|| typed_copy(&self.output_dir, job, sink));
        if let Some(copy) = &typed {
            self.disk.rename(&staged_copy, copy).map_err(Error::io("write", copy))?;
        }
        self.disk.rename(&part.path, &target).map_err(Error::io("write", &target))?;
        self.sync(&self.output_dir)?;
        Ok((target.clone(), vec![published(part, target)], typed))
    }

    fn sync(&self, folder: &Path) -> Result<()> {
        self.disk.sync_dir(folder).map_err(Error::io("sync", folder))
    }
}

impl Sink {
    /// The names of the columns that name folders.
    fn folder_columns(&self) -> Vec<String> {
        let Target::Files(write) = &self.target else { return Vec::new() };
        let names = write.partition_by.iter().map(|column| self.schema.field(*column).name());
        names.cloned().collect()
    }

    fn target_is_text(&self) -> bool {
        matches!(self.target, Target::Text)
    }
}

/// The typed copy that goes with a staged text file.
pub(crate) fn typed_attempt(part: &Path) -> PathBuf {
    part.with_extension("arrow")
}

/// Where the typed copy of a published text result is kept.
fn typed_copy(output_dir: &Path, job: JobId, sink: &Sink) -> PathBuf {
    output_dir.join(STAGING).join(job.to_string()).join(format!("{}.arrow", sink.id))
}

fn published(part: &Part, path: PathBuf) -> PublishedFile {
    PublishedFile { path, rows: part.rows, bytes: part.bytes, checksum: part.checksum.clone() }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        path::{Path, PathBuf},
        sync::Arc,
    };

    use arrow::{
        array::{ArrayRef, Int64Array, RecordBatch},
        datatypes::{DataType, Field, Schema},
    };
    use tempfile::TempDir;

    use super::{Published, Publisher, manifest::Manifest};
    use crate::{
        Error,
        disk::{Disk, Lock, ReadAt, RealDisk, WriteFile},
        formats::{WriteFormat, csv::CsvWriteOptions},
        id::{Attempt, JobId, StageId, TaskAttempt, TaskId, Term},
        memory::Budget,
        operators::Batches,
        plan::{NodeIndex, Sink, Target, Write, WriteMode},
        sink::{attempt_file, write_part},
        task::{Part, context::CancelFlag},
    };

    fn publisher(folder: &TempDir) -> Publisher {
        let disk = RealDisk::shared();
        Publisher { disk, output_dir: folder.path().to_owned(), budget: Budget::new(1 << 20) }
    }

    fn sink(target: Target) -> Sink {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
        Sink { node: NodeIndex(0), id: String::from("out"), schema, target, ordered: true }
    }

    fn csv(folder: &TempDir) -> Target {
        let format = WriteFormat::Csv(CsvWriteOptions { header: true, delimiter: b',' });
        Target::Files(Write::of(folder.path().join("numbers"), format))
    }

    /// An attempt file of one row for each number.
    fn parts(publisher: &Publisher, job: JobId, sink: &Sink, numbers: &[i64]) -> Vec<Part> {
        let part = |(partition, number): (u32, &i64)| {
            let task = TaskId { job, stage: StageId(0), partition };
            let attempt = TaskAttempt { task, attempt: Attempt { term: Term(1), n: 1 } };
            let column = Arc::new(Int64Array::from(vec![*number]));
            let batch = RecordBatch::try_new(Arc::clone(&sink.schema), vec![column]).unwrap();
            let path = attempt_file(&sink.staging(job, &publisher.output_dir), sink, attempt);
            let input = Box::new(Batches::new(vec![batch]));
            write_part(sink, input, &path, &*publisher.disk, &CancelFlag::default()).unwrap()
        };
        (0..).zip(numbers).flat_map(part).collect()
    }

    fn text(path: &Path) -> String {
        let file = RealDisk.open(path).unwrap();
        let mut bytes = vec![0; usize::try_from(file.size().unwrap()).unwrap()];
        file.read_exact_at(&mut bytes, 0).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    fn names(folder: &Path) -> Vec<String> {
        let paths = RealDisk.list(folder).unwrap();
        paths.iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn a_writers_folder_appears_whole_with_its_manifest_and_leaves_no_staging() {
        let folder = TempDir::new().unwrap();
        let (publisher, job, sink) = (publisher(&folder), JobId::random(), sink(csv(&folder)));
        let parts = parts(&publisher, job, &sink, &[7, 8]);
        assert_eq!(names(folder.path()), [".minispark"]);
        let result = publisher.publish(job, &sink, &parts).unwrap();
        publisher.sweep(job, &[&sink], true).unwrap();
        assert_eq!(names(folder.path()), ["numbers"]);
        let target = folder.path().join("numbers");
        assert_eq!(names(&target), ["_manifest.json", "part-00000.csv", "part-00001.csv"]);
        assert_eq!(text(&target.join("part-00001.csv")), "n\n8\n");
        assert_eq!((result.rows, result.bytes), (2, 8));
        let manifest: serde_json::Value =
            serde_json::from_str(&text(&target.join("_manifest.json"))).unwrap();
        assert_eq!(manifest["rows"], 2);
        assert_eq!(manifest["files"][1]["path"], "part-00001.csv");
    }

    #[test]
    fn a_target_that_is_there_is_left_as_it_is() {
        let folder = TempDir::new().unwrap();
        let (publisher, job, sink) = (publisher(&folder), JobId::random(), sink(csv(&folder)));
        let first = parts(&publisher, job, &sink, &[1]);
        publisher.publish(job, &sink, &first).unwrap();
        let again = JobId::random();
        let second = parts(&publisher, again, &sink, &[2]);
        let error = publisher.publish(again, &sink, &second).unwrap_err();
        assert!(matches!(error, Error::OutputExists { .. }), "{error:?}");
        publisher.sweep(again, &[&sink], false).unwrap();
        assert_eq!(text(&folder.path().join("numbers/part-00000.csv")), "n\n1\n");
    }

    #[test]
    fn a_publication_that_is_repeated_finds_itself_done() {
        let folder = TempDir::new().unwrap();
        let (publisher, job, sink) = (publisher(&folder), JobId::random(), sink(csv(&folder)));
        let parts = parts(&publisher, job, &sink, &[1, 2]);
        let first = publisher.publish(job, &sink, &parts).unwrap();
        assert_eq!(publisher.publish(job, &sink, &parts).unwrap().files, first.files);
    }

    #[test]
    fn a_sweep_keeps_the_typed_copy_of_a_finished_job_alone() {
        let folder = TempDir::new().unwrap();
        let (publisher, job) = (publisher(&folder), JobId::random());
        let (text, files) = (sink(Target::Text), sink(csv(&folder)));
        parts(&publisher, job, &files, &[1]);
        let staging = text.staging(job, folder.path());
        RealDisk.create(&staging.join("out.arrow")).unwrap();
        publisher.sweep(job, &[&text, &files], true).unwrap();
        assert_eq!(names(&staging), ["out.arrow"]);
        publisher.sweep(job, &[&text, &files], false).unwrap();
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn a_text_result_is_one_file_named_after_job_and_node() {
        let folder = TempDir::new().unwrap();
        let (publisher, job, sink) = (publisher(&folder), JobId::random(), sink(Target::Text));
        let parts = parts(&publisher, job, &sink, &[5]);
        let result = publisher.publish(job, &sink, &parts).unwrap();
        publisher.sweep(job, &[&sink], true).unwrap();
        assert_eq!(names(folder.path()), [format!("{job}_out.txt")]);
        assert_eq!(text(&result.path), "5\n");
    }

    /// A sink that writes in this mode; with `folders` by the parity of `n`, and of text else.
    fn moded(folder: &TempDir, mode: WriteMode, folders: bool) -> Sink {
        let mut sink = sink(csv(folder));
        if folders {
            let fields = vec![
                Field::new("odd", DataType::Int64, true),
                Field::new("n", DataType::Int64, true),
            ];
            sink.schema = Arc::new(Schema::new(fields));
        }
        if let Target::Files(write) = &mut sink.target {
            write.mode = mode;
            write.partition_by = if folders { vec![0] } else { Vec::new() };
        }
        sink
    }

    /// Attempt files of these numbers, by their parity where the sink has folders.
    fn written(publisher: &Publisher, job: JobId, sink: &Sink, numbers: &[i64]) -> Vec<Part> {
        if sink.schema.fields().len() == 1 {
            return parts(publisher, job, sink, numbers);
        }
        let mut sorted = numbers.to_vec();
        sorted.sort_by_key(|number| number % 2);
        let odd = Arc::new(Int64Array::from_iter_values(sorted.iter().map(|number| number % 2)));
        let columns: Vec<ArrayRef> = vec![odd, Arc::new(Int64Array::from(sorted))];
        let batch = RecordBatch::try_new(Arc::clone(&sink.schema), columns).unwrap();
        let path = sink.staging(job, &publisher.output_dir).join("attempt.csv");
        let input = Box::new(Batches::new(vec![batch]));
        write_part(sink, input, &path, &*publisher.disk, &CancelFlag::default()).unwrap()
    }

    fn publish(publisher: &Publisher, sink: &Sink, numbers: &[i64]) -> Published {
        let job = JobId::random();
        let parts = written(publisher, job, sink, numbers);
        publisher.check_targets(job, &[sink]).unwrap();
        let result = publisher.publish(job, sink, &parts).unwrap();
        // A second try finds itself done.
        assert_eq!(publisher.publish(job, sink, &parts).unwrap().files, result.files);
        publisher.sweep(job, &[sink], false).unwrap();
        result
    }

    /// The numbers of the files that the manifest lists; all files must be listed.
    fn listed(folder: &TempDir) -> Vec<i64> {
        let target = folder.path().join("numbers");
        let manifest = Manifest::read(&RealDisk, &target).unwrap();
        let mut numbers = Vec::new();
        for file in &manifest.files {
            let text = text(&target.join(&file.path));
            numbers.extend(text.lines().skip(1).map(|line| line.parse::<i64>().unwrap()));
        }
        let below = |path: PathBuf| match RealDisk.list(&path) {
            Ok(entries) => entries,
            Err(_) => vec![path],
        };
        let all: Vec<_> = RealDisk.list(&target).unwrap().into_iter().flat_map(below).collect();
        assert_eq!(all.len(), manifest.files.len() + 1, "{all:?}");
        assert_eq!(manifest.rows, numbers.len() as u64);
        numbers.sort_unstable();
        numbers
    }

    /// A disk that knows no exchange of names.
    #[derive(Debug)]
    struct PlainDisk;

    impl Disk for PlainDisk {
        fn open(&self, path: &Path) -> io::Result<Arc<dyn ReadAt>> {
            RealDisk.open(path)
        }
        fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
            RealDisk.create(path)
        }
        fn truncate(&self, path: &Path, bytes: u64) -> io::Result<()> {
            RealDisk.truncate(path, bytes)
        }
        fn create_dir_all(&self, path: &Path) -> io::Result<()> {
            RealDisk.create_dir_all(path)
        }
        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            RealDisk.rename(from, to)
        }
        fn remove_file(&self, path: &Path) -> io::Result<()> {
            RealDisk.remove_file(path)
        }
        fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
            RealDisk.remove_dir_all(path)
        }
        fn remove_empty_dir(&self, path: &Path) -> io::Result<()> {
            RealDisk.remove_empty_dir(path)
        }
        fn true_name(&self, path: &Path) -> io::Result<PathBuf> {
            RealDisk.true_name(path)
        }
        fn lock(&self, path: &Path) -> io::Result<Option<Lock>> {
            RealDisk.lock(path)
        }
        fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
            RealDisk.list(path)
        }
        fn sync_dir(&self, path: &Path) -> io::Result<()> {
            RealDisk.sync_dir(path)
        }
        fn exists(&self, path: &Path) -> bool {
            RealDisk.exists(path)
        }
    }

    #[test]
    fn overwrite_puts_the_new_folder_in_the_place_of_the_old() {
        for disk in [RealDisk::shared(), Arc::new(PlainDisk)] {
            let folder = TempDir::new().unwrap();
            let publisher = Publisher { disk, ..publisher(&folder) };
            let sink = moded(&folder, WriteMode::Overwrite, false);
            publish(&publisher, &sink, &[1, 2, 3]);
            assert_eq!(listed(&folder), [1, 2, 3]);
            publish(&publisher, &sink, &[4]);
            assert_eq!(listed(&folder), [4]);
            assert_eq!(names(folder.path()), ["numbers"]);
        }
    }

    #[test]
    fn append_adds_files_and_what_a_job_wrote_can_be_withdrawn_alone() {
        let folder = TempDir::new().unwrap();
        let publisher = publisher(&folder);
        let sink = moded(&folder, WriteMode::Append, false);
        publish(&publisher, &sink, &[1, 2]);
        let second = publish(&publisher, &sink, &[3]);
        assert_eq!(listed(&folder), [1, 2, 3]);
        assert_eq!((second.rows, second.files.len()), (1, 1));
        let target = folder.path().join("numbers");
        let job = Manifest::read(&RealDisk, &target).unwrap().job_id;
        publisher.withdraw(job, &second).unwrap();
        assert_eq!(listed(&folder), [1, 2]);
    }

    #[test]
    fn jobs_that_append_at_the_same_time_keep_each_others_files() {
        let folder = TempDir::new().unwrap();
        let publisher = publisher(&folder);
        let sink = moded(&folder, WriteMode::Append, false);
        publish(&publisher, &sink, &[0]);
        std::thread::scope(|scope| {
            for number in 1..=16 {
                let (publisher, sink) = (&publisher, &sink);
                scope.spawn(move || publish(publisher, sink, &[number]));
            }
        });
        assert_eq!(listed(&folder), (0..=16).collect::<Vec<_>>());
    }

    #[test]
    fn overwrite_partitions_replaces_the_folders_that_it_has() {
        let folder = TempDir::new().unwrap();
        let publisher = publisher(&folder);
        let sink = moded(&folder, WriteMode::OverwritePartitions, true);
        publish(&publisher, &sink, &[1, 2, 3, 4]);
        assert_eq!(listed(&folder), [1, 2, 3, 4]);
        let target = folder.path().join("numbers");
        assert_eq!(names(&target), ["_manifest.json", "odd=0", "odd=1"]);
        publish(&publisher, &sink, &[6, 8]);
        assert_eq!(listed(&folder), [1, 3, 6, 8]);
    }

    #[test]
    fn files_of_a_try_that_broke_off_are_not_listed_and_are_swept() {
        let folder = TempDir::new().unwrap();
        let publisher = publisher(&folder);
        let sink = moded(&folder, WriteMode::Append, false);
        publish(&publisher, &sink, &[1]);
        let job = JobId::random();
        let parts = parts(&publisher, job, &sink, &[2]);
        let target = folder.path().join("numbers");
        RealDisk.rename(&parts[0].path, &target.join(format!("part-{job}-00000.csv"))).unwrap();
        // The redo goes on from there; a job that ends otherwise leaves nothing.
        publisher.sweep(job, &[&sink], false).unwrap();
        assert_eq!(listed(&folder), [1]);
    }

    #[test]
    fn a_folder_of_somebody_else_or_of_other_columns_is_left_as_it_is() {
        let folder = TempDir::new().unwrap();
        let publisher = publisher(&folder);
        let target = folder.path().join("numbers");
        RealDisk.create_dir_all(&target).unwrap();
        RealDisk.create(&target.join("letter.txt")).unwrap();
        for mode in [WriteMode::Overwrite, WriteMode::Append] {
            let sink = moded(&folder, mode, false);
            let error = publisher.check_targets(JobId::random(), &[&sink]).unwrap_err();
            assert!(error.to_string().contains("was not written by minispark"), "{error}");
        }
        RealDisk.remove(&target.join("letter.txt")).unwrap();
        publish(&publisher, &moded(&folder, WriteMode::Append, false), &[1]);
        let sink = moded(&folder, WriteMode::Append, true);
        let error = publisher.check_targets(JobId::random(), &[&sink]).unwrap_err();
        assert!(error.to_string().contains("has other columns (n int64)"), "{error}");
    }
}
