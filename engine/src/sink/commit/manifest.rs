//! `_manifest.json`: what makes a folder a result, and says which files are part of it.

use std::{
    io::{self, Write},
    path::Path,
};

use arrow::datatypes::Schema;
use serde::{Deserialize, Serialize};

use super::PublishedFile;
use crate::{Error, Result, disk::Disk, expr::parse::type_name, id::JobId, task::Part};

/// Its name in a writer's folder.
pub const MANIFEST: &str = "_manifest.json";

/// The most bytes of one that is read.
const MAX_BYTES: u64 = 256 << 20;

/// What a manifest says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Manifest {
    version: u32,
    /// The job that wrote last.
    pub job_id: JobId,
    engine: String,
    /// The node that wrote last.
    pub sink: String,
    /// The columns, those of folders included.
    pub schema: Vec<ManifestColumn>,
    /// All rows.
    pub rows: u64,
    /// The sum of all rows' hashes, whatever their order.
    #[serde(default)]
    content_checksum: String,
    /// The files in the order of their rows.
    pub files: Vec<ManifestFile>,
    /// What its store called it when it was read.
    #[serde(skip)]
    pub(super) read_version: Option<String>,
}

/// A column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestColumn {
    /// Its name.
    pub name: String,
    /// Its type, as job documents name it.
    pub r#type: String,
}

/// A file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestFile {
    /// Below the folder.
    pub path: String,
    /// Its rows.
    pub rows: u64,
    /// Its size in bytes.
    pub bytes: u64,
    /// `xxh3-128:<hex>` of its bytes.
    pub checksum: String,
    /// The sum of its rows' hashes.
    #[serde(default)]
    content_checksum: String,
}

impl Manifest {
    /// One of these files.
    pub(super) fn new(job: JobId, sink: &str, schema: &Schema, files: Vec<ManifestFile>) -> Self {
        let column = |field: &std::sync::Arc<arrow::datatypes::Field>| ManifestColumn {
            name: field.name().clone(),
            r#type: type_name(field.data_type()),
        };
        Self {
            version: 1,
            job_id: job,
            engine: String::from(env!("CARGO_PKG_VERSION")),
            sink: String::from(sink),
            schema: schema.fields().iter().map(column).collect(),
            rows: files.iter().map(|file| file.rows).sum(),
            content_checksum: shown(total(&files)),
            files,
            read_version: None,
        }
    }

    /// It with other files.
    pub(super) fn with_files(self, files: Vec<ManifestFile>) -> Self {
        let rows = files.iter().map(|file| file.rows).sum();
        Self { rows, content_checksum: shown(total(&files)), files, ..self }
    }

    /// That of a folder; `None` where there is none, or none that can be read.
    pub fn read(disk: &dyn Disk, folder: &Path) -> Option<Self> {
        let read = || -> io::Result<(Vec<u8>, Option<String>)> {
            let file = disk.open(&folder.join(MANIFEST))?;
            let size = file.size()?;
            if size > MAX_BYTES {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
            let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
            file.read_exact_at(&mut bytes, 0)?;
            Ok((bytes, file.version()))
        };
        let (bytes, read_version) = read().ok()?;
        let manifest = Self { read_version, ..serde_json::from_slice(&bytes).ok()? };
        // A path that leads out is none of ours.
        let is_below = |file: &ManifestFile| {
            Path::new(&file.path)
                .components()
                .all(|part| matches!(part, std::path::Component::Normal(_)))
        };
        manifest.files.iter().all(is_below).then_some(manifest)
    }

    /// Writes it under a name below `folder`, durably.
    pub(super) fn write(&self, disk: &dyn Disk, folder: &Path, name: &str) -> Result<()> {
        let text = self.text()?;
        let path = folder.join(name);
        let mut file = disk.create(&path).map_err(Error::io("create", &path))?;
        file.write_all(&text).map_err(Error::io("write", &path))?;
        file.sync().map_err(Error::io("sync", &path))
    }

    /// It as the file has it.
    pub(super) fn text(&self) -> Result<Vec<u8>> {
        serde_json::to_vec_pretty(self)
            .map_err(|error| Error::Internal(format!("manifest: {error}")))
    }

    /// Its files in a folder.
    pub(super) fn files_in(&self, folder: &Path) -> Vec<PublishedFile> {
        let file = |file: &ManifestFile| PublishedFile {
            path: folder.join(&file.path),
            rows: file.rows,
            bytes: file.bytes,
            checksum: file.checksum.clone(),
        };
        self.files.iter().map(file).collect()
    }
}

impl ManifestFile {
    /// A part at its place below the folder.
    pub(super) fn of(part: &Part, path: String) -> Self {
        Self {
            path,
            rows: part.rows,
            bytes: part.bytes,
            checksum: part.checksum.clone(),
            content_checksum: shown(part.content_checksum),
        }
    }

    /// The folder that it lies in, below the target.
    pub(super) fn folder(&self) -> &str {
        self.path.rsplit_once('/').map_or("", |(folder, _)| folder)
    }
}

/// The sum over all files.
fn total(files: &[ManifestFile]) -> u64 {
    let sums = files.iter().map(|file| parsed(&file.content_checksum).unwrap_or(0));
    sums.fold(0, u64::wrapping_add)
}

const CONTENT: &str = "xxh3-64-sum:";

fn shown(content: u64) -> String {
    format!("{CONTENT}{content:016x}")
}

fn parsed(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix(CONTENT)?, 16).ok()
}
