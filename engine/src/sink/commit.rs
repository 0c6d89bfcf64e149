//! Publishing results: rename, then manifest; a result appears whole or not at all.
//!
//! A text sink is one file and appears by one rename. A writer's folder is made ready beside its
//! target, manifest included, and appears by one rename too.

use std::{
    collections::BTreeSet,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::datatypes::SchemaRef;
use serde::{Deserialize, Serialize};

use crate::{
    Error, Result,
    disk::Disk,
    exchange::{Exchange, MapOutput},
    formats::WriteFormat,
    id::JobId,
    memory::Budget,
    plan::{Sink, Target},
    sink::{Checksum, STAGING, attempt_file, write_parts},
    task::{Part, context::CancelFlag},
};

/// The file that makes a folder a result.
const MANIFEST: &str = "_manifest.json";

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

/// What `_manifest.json` says of a writer's folder.
#[derive(Serialize)]
struct Manifest<'a> {
    version: u32,
    job_id: JobId,
    engine: &'static str,
    sink: &'a str,
    schema: Vec<ManifestColumn<'a>>,
    rows: u64,
    content_checksum: String,
    files: Vec<ManifestFile<'a>>,
}

/// What of a manifest tells whose it is and what it lists.
#[derive(Deserialize)]
struct Found {
    job_id: JobId,
    sink: String,
    files: Vec<PublishedFile>,
}

#[derive(Serialize)]
struct ManifestColumn<'a> {
    name: &'a str,
    r#type: String,
}

#[derive(Serialize)]
struct ManifestFile<'a> {
    path: String,
    rows: u64,
    bytes: u64,
    checksum: &'a str,
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
        outputs
            .iter()
            .map(|output| {
                let input = exchange.open(output, 0, &self.budget, cancel)?;
                let path = attempt_file(&staging, sink, output.map);
                let typed = (sink.target_is_text()).then(|| typed_attempt(&path));
                let written =
                    write_parts(sink, input, &path, typed.as_deref(), &*self.disk, cancel)?;
                Ok(written.0)
            })
            .collect()
    }

    /// Refuses a commit of which a part could not be published, before any is.
    ///
    /// # Errors
    /// [`Error::OutputExists`] where a writer's target is there and is not this job's own.
    pub fn check_targets(&self, job: JobId, sinks: &[&Sink]) -> Result<()> {
        for sink in sinks {
            if let Target::Files(write) = &sink.target
                && self.disk.exists(&write.path)
                && self.published_files(job, sink, &write.path).is_none()
            {
                return Err(Error::OutputExists { path: write.path.clone() });
            }
        }
        Ok(())
    }

    /// Puts a sink's parts, ordered by partition, in place.
    ///
    /// # Errors
    /// [`Error::OutputExists`] where a writer's target is there already; those of the disk.
    pub fn publish(&self, job: JobId, sink: &Sink, parts: &[Part]) -> Result<Published> {
        let (path, files, typed) = match &sink.target {
            Target::Text => self.publish_text(job, sink, parts)?,
            Target::Files(write) => {
                let files = self.publish_folder(job, sink, &write.path, parts)?;
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
        let folders: BTreeSet<PathBuf> =
            sinks.iter().map(|sink| sink.staging(job, &self.output_dir)).collect();
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
        let removed = match result.format {
            WriteFormat::Text => self.disk.remove(path),
            _ if self.files_of(job, &result.sink, path).is_some() => self.disk.remove_dir_all(path),
            _ => Ok(()),
        };
        removed.map_err(Error::io("remove", path))
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

    fn publish_folder(
        &self,
        job: JobId,
        sink: &Sink,
        target: &Path,
        parts: &[Part],
    ) -> Result<Vec<PublishedFile>> {
        let names: Vec<String> = (0..parts.len())
            .map(|number| format!("part-{number:05}.{}", sink.format().extension()))
            .collect();
        if let Some(files) = self.published_files(job, sink, target) {
            // An earlier try got so far and could not say so. What is there counts, since its rows
            // may stand in another order than those of the parts that were made since.
            return Ok(files);
        }
        if self.disk.exists(target) {
            return Err(Error::OutputExists { path: target.to_owned() });
        }
        let ready = sink.staging(job, &self.output_dir).join(format!("{}-ready", sink.id));
        self.disk.create_dir_all(&ready).map_err(Error::io("create", &ready))?;
        for (part, name) in parts.iter().zip(&names) {
            let path = ready.join(name);
            self.disk.rename(&part.path, &path).map_err(Error::io("write", &path))?;
        }
        self.write_manifest(job, sink, &ready, parts, &names)?;
        self.sync(&ready)?;
        self.disk.rename(&ready, target).map_err(|source| match source.kind() {
            io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotADirectory => {
                Error::OutputExists { path: target.to_owned() }
            }
            _ => Error::io("write", target)(source),
        })?;
        if let Some(parent) = target.parent() {
            self.sync(parent)?;
        }
        Ok(in_place(parts, &names, target))
    }

    /// The files of a folder that is this very result of this very job, by its manifest.
    fn published_files(
        &self,
        job: JobId,
        sink: &Sink,
        folder: &Path,
    ) -> Option<Vec<PublishedFile>> {
        self.files_of(job, &sink.id, folder)
    }

    fn files_of(&self, job: JobId, sink: &str, folder: &Path) -> Option<Vec<PublishedFile>> {
        let read = || -> io::Result<Vec<u8>> {
            let file = self.disk.open(&folder.join(MANIFEST))?;
            let mut bytes = vec![0; usize::try_from(file.size()?).unwrap_or(0)];
            file.read_exact_at(&mut bytes, 0)?;
            Ok(bytes)
        };
        let manifest: Found = serde_json::from_slice(&read().ok()?).ok()?;
        let is_it = manifest.job_id == job && manifest.sink == sink;
        let in_folder =
            |file: PublishedFile| PublishedFile { path: folder.join(file.path), ..file };
        is_it.then(|| manifest.files.into_iter().map(in_folder).collect())
    }

    fn write_manifest(
        &self,
        job: JobId,
        sink: &Sink,
        folder: &Path,
        parts: &[Part],
        names: &[String],
    ) -> Result<()> {
        let content = parts.iter().fold(0_u64, |sum, part| sum.wrapping_add(part.content_checksum));
        let manifest = Manifest {
            version: 1,
            job_id: job,
            engine: env!("CARGO_PKG_VERSION"),
            sink: &sink.id,
            schema: sink
                .schema
                .fields()
                .iter()
                .map(|field| ManifestColumn {
                    name: field.name(),
                    r#type: crate::expr::parse::type_name(field.data_type()),
                })
                .collect(),
            rows: parts.iter().map(|part| part.rows).sum(),
            content_checksum: format!("xxh3-64-sum:{content:016x}"),
            files: parts
                .iter()
                .zip(names)
                .map(|(part, name)| ManifestFile {
                    path: name.clone(),
                    rows: part.rows,
                    bytes: part.bytes,
                    checksum: &part.checksum,
                })
                .collect(),
        };
        let text = serde_json::to_vec_pretty(&manifest)
            .map_err(|error| Error::Internal(format!("manifest: {error}")))?;
        let path = folder.join(MANIFEST);
        let mut file = self.disk.create(&path).map_err(Error::io("create", &path))?;
        file.write_all(&text).map_err(Error::io("write", &path))?;
        file.sync().map_err(Error::io("sync", &path))
    }

    fn sync(&self, folder: &Path) -> Result<()> {
        self.disk.sync_dir(folder).map_err(Error::io("sync", folder))
    }
}

impl Sink {
    fn target_is_text(&self) -> bool {
        matches!(self.target, Target::Text)
    }
}

/// The typed copy that goes with a staged text file.
fn typed_attempt(part: &Path) -> PathBuf {
    part.with_extension("arrow")
}

/// Where the typed copy of a published text result is kept.
fn typed_copy(output_dir: &Path, job: JobId, sink: &Sink) -> PathBuf {
    output_dir.join(STAGING).join(job.to_string()).join(format!("{}.arrow", sink.id))
}

fn in_place(parts: &[Part], names: &[String], folder: &Path) -> Vec<PublishedFile> {
    parts.iter().zip(names).map(|(part, name)| published(part, folder.join(name))).collect()
}

fn published(part: &Part, path: PathBuf) -> PublishedFile {
    PublishedFile { path, rows: part.rows, bytes: part.bytes, checksum: part.checksum.clone() }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::{
        array::{Int64Array, RecordBatch},
        datatypes::{DataType, Field, Schema},
    };
    use tempfile::TempDir;

    use super::Publisher;
    use crate::{
        Error,
        disk::{Disk, RealDisk},
        formats::{WriteFormat, csv::CsvWriteOptions},
        id::{Attempt, JobId, StageId, TaskAttempt, TaskId, Term},
        memory::Budget,
        operators::Batches,
        plan::{NodeIndex, Sink, Target, Write},
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
        (0..).zip(numbers).map(part).collect()
    }

    fn text(path: &std::path::Path) -> String {
        let file = RealDisk.open(path).unwrap();
        let mut bytes = vec![0; usize::try_from(file.size().unwrap()).unwrap()];
        file.read_exact_at(&mut bytes, 0).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    fn names(folder: &std::path::Path) -> Vec<String> {
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
}
