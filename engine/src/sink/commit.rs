//! Publishing results: rename, then manifest; a result appears whole or not at all.
//!
//! A text sink is one file and appears by one rename. A writer's folder is made ready beside its
//! target, manifest included, and appears by one rename too.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::datatypes::SchemaRef;
use serde::Serialize;

use crate::{
    Error, Result,
    disk::Disk,
    exchange::{Exchange, MapOutput},
    formats::WriteFormat,
    id::JobId,
    memory::Budget,
    plan::{Sink, Target},
    sink::{STAGING, attempt_file, write_parts},
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
#[derive(Clone, Debug)]
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
}

/// A file of a result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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
            typed,
        })
    }

    /// Removes what a job has staged and not published: attempt files that were not accepted, and
    /// the folders that are empty then.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn sweep(&self, job: JobId, sinks: &[&Sink]) -> Result<()> {
        for sink in sinks {
            let staging = sink.staging(job, &self.output_dir);
            let keeps_typed = self.disk.exists(&typed_copy(&self.output_dir, job, sink));
            if !keeps_typed {
                self.disk.remove_dir_all(&staging).map_err(Error::io("remove", &staging))?;
            }
            if let Some(root) = staging.parent() {
                self.disk.remove_empty_dir(root).map_err(Error::io("remove", root))?;
            }
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

    fn publish_folder(
        &self,
        job: JobId,
        sink: &Sink,
        target: &Path,
        parts: &[Part],
    ) -> Result<Vec<PublishedFile>> {
        if self.disk.exists(target) {
            return Err(Error::OutputExists { path: target.to_owned() });
        }
        let ready = sink.staging(job, &self.output_dir).join(format!("{}-ready", sink.id));
        self.disk.create_dir_all(&ready).map_err(Error::io("create", &ready))?;
        let extension = sink.format().extension();
        let names: Vec<String> =
            (0..parts.len()).map(|number| format!("part-{number:05}.{extension}")).collect();
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
        Ok(parts
            .iter()
            .zip(&names)
            .map(|(part, name)| published(part, target.join(name)))
            .collect())
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
        let path = folder.join("_manifest.json");
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
        Target::Files(Write { path: folder.path().join("numbers"), format })
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
        let published = publisher.publish(job, &sink, &parts).unwrap();
        publisher.sweep(job, &[&sink]).unwrap();
        assert_eq!(names(folder.path()), ["numbers"]);
        let target = folder.path().join("numbers");
        assert_eq!(names(&target), ["_manifest.json", "part-00000.csv", "part-00001.csv"]);
        assert_eq!(text(&target.join("part-00001.csv")), "n\n8\n");
        assert_eq!((published.rows, published.bytes), (2, 8));
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
        publisher.sweep(again, &[&sink]).unwrap();
        assert_eq!(text(&folder.path().join("numbers/part-00000.csv")), "n\n1\n");
    }

    #[test]
    fn a_text_result_is_one_file_named_after_job_and_node() {
        let folder = TempDir::new().unwrap();
        let (publisher, job, sink) = (publisher(&folder), JobId::random(), sink(Target::Text));
        let parts = parts(&publisher, job, &sink, &[5]);
        let published = publisher.publish(job, &sink, &parts).unwrap();
        publisher.sweep(job, &[&sink]).unwrap();
        assert_eq!(names(folder.path()), [format!("{job}_out.txt")]);
        assert_eq!(text(&published.path), "5\n");
    }
}
