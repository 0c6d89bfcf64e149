//! Sinks: the last batches of a job, encoded into attempt files that nobody sees yet.
//!
//! What makes them visible, whole or not at all, is [`commit`].

use std::{
    fmt,
    io::Write as _,
    path::{Path, PathBuf},
};

use arrow::{
    array::{ArrayRef, RecordBatch},
    datatypes::SchemaRef,
};
use xxhash_rust::xxh3::Xxh3;

use crate::{
    Error, Result,
    disk::{Disk, WriteFile, remote::is_remote},
    formats::{self, Encoder, WriteFormat},
    id::{JobId, TaskAttempt},
    kernels::hash::hash_columns,
    operators::Operator,
    plan::{Sink, Target, Write},
    task::{Part, context::CancelFlag},
};

use partitioned::Partitioned;

pub mod bad_rows;
pub mod commit;
pub mod partitioned;
pub mod shared;

/// Encoded bytes are written once there are so many.
const WRITE_BYTES: usize = 1 << 20;

/// The name of the folder that holds what is not published yet, beside or below its target.
pub const STAGING: &str = ".minispark";

/// The checksum of a file's bytes, as manifests have it.
#[derive(Default)]
pub struct Checksum(Xxh3);

impl Checksum {
    /// Takes the next bytes of the file in.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }
}

impl fmt::Display for Checksum {
    /// `xxh3-128:<hex>` of all bytes so far.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "xxh3-128:{:032x}", self.0.digest128())
    }
}

impl Sink {
    /// How its rows become bytes.
    pub fn format(&self) -> &WriteFormat {
        match &self.target {
            Target::Text => &WriteFormat::Text,
            Target::Files(write) => &write.format,
        }
    }

    /// What the names of its files end with.
    pub fn extension(&self) -> String {
        match &self.target {
            Target::Text => String::from(WriteFormat::Text.extension()),
            Target::Files(write) => write.extension(),
        }
    }

    /// The folder for attempt files: on the target's filesystem, so that a rename publishes them;
    /// for a URL beside the text results, from where they are uploaded.
    pub fn staging(&self, job: JobId, output_dir: &Path) -> PathBuf {
        let beside = match &self.target {
            Target::Text => output_dir,
            Target::Files(write) if is_remote(&write.path) => output_dir,
            Target::Files(write) => write.path.parent().unwrap_or(output_dir),
        };
        beside.join(STAGING).join(job.to_string())
    }
}

/// The name of an attempt's file below a staging folder.
pub fn attempt_file(folder: &Path, sink: &Sink, attempt: TaskAttempt) -> PathBuf {
    let partition = attempt.task.partition;
    let name = format!("{}-{partition:05}-{}.{}", sink.id, attempt.attempt, sink.extension());
    folder.join(name)
}

/// The name of one of several files of an attempt.
fn suffixed(path: &Path, number: usize) -> PathBuf {
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    path.with_file_name(format!("{number:05}-{name}"))
}

/// Encodes all of `input` into new files at `path`, durable when this returns: one, or with folders
/// any number.
///
/// - Memory: one encoded batch and a megabyte.
///
/// # Errors
/// Those of the input and of the disk; what is unfinished is removed then.
pub fn write_part(
    sink: &Sink,
    input: Box<dyn Operator>,
    path: &Path,
    disk: &dyn Disk,
    cancel: &CancelFlag,
) -> Result<Vec<Part>> {
    if let Some(folder) = path.parent() {
        disk.create_dir_all(folder).map_err(Error::io("create", folder))?;
    }
    write_parts(sink, input, path, None, disk, cancel)
}

/// As [`write_part`], with a second file at `typed` that holds the same rows as Arrow IPC; the folder
/// is there.
///
/// # Errors
/// As [`write_part`]; both files are removed then.
pub fn write_parts(
    sink: &Sink,
    mut input: Box<dyn Operator>,
    path: &Path,
    typed: Option<&Path>,
    disk: &dyn Disk,
    cancel: &CancelFlag,
) -> Result<Vec<Part>> {
    let text = Write::of(PathBuf::new(), WriteFormat::Text);
    let write = match &sink.target {
        Target::Text => &text,
        Target::Files(write) => write,
    };
    if !write.partition_by.is_empty() {
        let mut files = Partitioned::new(disk, sink, write, path)?;
        while let Some(batch) = input.next()? {
            cancel.check()?;
            files.write(&batch)?;
        }
        return files.finish();
    }
    let mut file = PartFile::create(disk, path, sink, &sink.schema, write)?;
    let copied = Write::of(PathBuf::new(), WriteFormat::Arrow);
    let mut copy = typed
        .map(|typed| PartFile::create(disk, typed, sink, &sink.schema, &copied))
        .transpose()?;
    while let Some(batch) = input.next()? {
        cancel.check()?;
        file.write(&batch, batch.columns())?;
        if let Some(copy) = &mut copy {
            copy.write(&batch, &[])?;
        }
    }
    copy.map(PartFile::finish).transpose()?;
    Ok(vec![file.finish()?])
}

/// A file being encoded; removed when dropped unfinished.
struct PartFile<'a> {
    disk: &'a dyn Disk,
    path: PathBuf,
    file: Box<dyn WriteFile>,
    encoder: Box<dyn Encoder>,
    buffer: Vec<u8>,
    hashes: Vec<u64>,
    checksum: Checksum,
    rows: u64,
    bytes: u64,
    content_checksum: u64,
    is_finished: bool,
}

impl<'a> PartFile<'a> {
    fn create(
        disk: &'a dyn Disk,
        path: &Path,
        sink: &Sink,
        schema: &SchemaRef,
        write: &Write,
    ) -> Result<Self> {
        let mut encoder =
            formats::file_encoder(&write.format, write.compression, schema).map_err(|error| {
                match error {
                    Error::Arrow(error) => {
                        Error::Evaluate { reason: format!("`{}` cannot write: {error}", sink.id) }
                    }
                    other => other,
                }
            })?;
        let mut buffer = Vec::with_capacity(WRITE_BYTES * 2);
        encoder.begin(&mut buffer)?;
        let file = disk.create(path).map_err(Error::io("create", path))?;
        Ok(Self {
            disk,
            path: path.to_owned(),
            file,
            encoder,
            buffer,
            hashes: Vec::new(),
            checksum: Checksum::default(),
            rows: 0,
            bytes: 0,
            content_checksum: 0,
            is_finished: false,
        })
    }

    /// Takes rows; `whole` has all of their columns, for the checksum.
    fn write(&mut self, batch: &RecordBatch, whole: &[ArrayRef]) -> Result<()> {
        self.encoder.encode(batch, &mut self.buffer)?;
        self.rows += batch.num_rows() as u64;
        if !whole.is_empty() {
            hash_columns(whole, &mut self.hashes);
        }
        let sum = self.hashes.iter().fold(0_u64, |sum, hash| sum.wrapping_add(*hash));
        self.content_checksum = self.content_checksum.wrapping_add(sum);
        if self.buffer.len() >= WRITE_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        self.checksum.update(&self.buffer);
        self.bytes += self.buffer.len() as u64;
        self.file.write_all(&self.buffer).map_err(Error::io("write", &self.path))?;
        self.buffer.clear();
        Ok(())
    }

    fn finish(mut self) -> Result<Part> {
        self.encoder.finish(&mut self.buffer)?;
        self.flush()?;
        self.file.flush().map_err(Error::io("write", &self.path))?;
        self.file.sync().map_err(Error::io("sync", &self.path))?;
        self.is_finished = true;
        Ok(Part {
            path: self.path.clone(),
            folder: String::new(),
            rows: self.rows,
            bytes: self.bytes,
            checksum: self.checksum.to_string(),
            content_checksum: self.content_checksum,
        })
    }
}

impl Drop for PartFile<'_> {
    fn drop(&mut self) {
        if !self.is_finished
            && let Err(source) = self.disk.remove_file(&self.path)
        {
            let error = Error::io("remove", &self.path)(source);
            tracing::warn!(error = %error.chain(), "an unfinished file is left");
        }
    }
}
