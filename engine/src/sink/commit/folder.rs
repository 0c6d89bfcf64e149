//! A writer's folder put in place, by what its mode does with one that is there.
//!
//! What is new appears by one rename, manifest included; over an old folder by an exchange of
//! names. Where files are added to a folder, or names can't be exchanged, new files come under
//! names with the job's id, which nothing lists yet, and the manifest, which lists them, comes
//! last. A redo after a crash finds the job's id in the manifest, or does the same again.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    PublishedFile, Publisher,
    manifest::{MANIFEST, Manifest, ManifestFile},
};
use crate::{
    Error, Result,
    disk::{Lock, remote::is_remote},
    id::JobId,
    plan::{Sink, Write, WriteMode},
    task::Part,
};

/// How often, and after how long, a target that another job has is tried again.
const TRIES: u32 = 3_000;
const BETWEEN_TRIES: Duration = Duration::from_millis(10);

/// What stands at a target.
pub(super) enum Target {
    Nothing,
    Empty,
    Result(Manifest),
    Foreign,
}

impl Publisher {
    fn target(&self, path: &Path) -> Target {
        if !self.disk.exists(path) {
            return Target::Nothing;
        }
        match (Manifest::read(&*self.disk, path), self.disk.list(path)) {
            (Some(manifest), _) => Target::Result(manifest),
            (None, Ok(entries)) if entries.is_empty() => Target::Empty,
            _ => Target::Foreign,
        }
    }

    /// Refuses a target that the writer's mode can't go on with; one that holds the very result of
    /// this job is fit.
    ///
    /// # Errors
    /// [`Error::OutputExists`], [`Error::OutputUnfit`].
    pub(super) fn check_target(&self, job: JobId, sink: &Sink, write: &Write) -> Result<()> {
        self.fit(job, sink, write).map(drop)
    }

    pub(super) fn fit(&self, job: JobId, sink: &Sink, write: &Write) -> Result<Target> {
        let found = self.target(&write.path);
        let is_own = |manifest: &Manifest| manifest.job_id == job && manifest.sink == sink.id;
        match (write.mode, &found) {
            (_, Target::Result(manifest)) if is_own(manifest) => Ok(found),
            (_, Target::Nothing) => Ok(found),
            (WriteMode::Error, _) => Err(Error::OutputExists { path: write.path.clone() }),
            (_, Target::Foreign) => {
                Err(Error::OutputUnfit { path: write.path.clone(), reason: String::from(FOREIGN) })
            }
            (WriteMode::Append | WriteMode::OverwritePartitions, Target::Result(manifest)) => {
                let new = Manifest::new(job, &sink.id, &sink.schema, Vec::new());
                if manifest.schema == new.schema {
                    return Ok(found);
                }
                let columns = |of: &Manifest| {
                    let columns = of.schema.iter();
                    let columns =
                        columns.map(|column| format!("{} {}", column.name, column.r#type));
                    columns.collect::<Vec<_>>().join(", ")
                };
                let (has, wants) = (columns(manifest), columns(&new));
                let reason = format!(
                    "has other columns ({has}) than what would be added ({wants}); select the same \
                     columns in the same order, or write elsewhere"
                );
                Err(Error::OutputUnfit { path: write.path.clone(), reason })
            }
            _ => Ok(found),
        }
    }

    pub(super) fn publish_folder(
        &self,
        job: JobId,
        sink: &Sink,
        write: &Write,
        parts: &[Part],
    ) -> Result<Vec<PublishedFile>> {
        let target = &write.path;
        let _turn = self.turn_at(target)?;
        match self.fit(job, sink, write)? {
            // An earlier try got so far and could not say so. What is there counts, since its rows
            // may stand in another order than those of the parts that were made since.
            // Another job may have added to it since.
            Target::Result(manifest)
                if manifest.job_id == job && manifest.sink == sink.id
                    || names_jobs(write)
                        && !own_files(&manifest, job, write, target).is_empty() =>
            {
                Ok(own_files(&manifest, job, write, target))
            }
            Target::Nothing => {
                self.move_in(job, sink, write, parts)?;
                self.files_now(job, write)
            }
            Target::Empty | Target::Foreign if write.mode == WriteMode::Overwrite => {
                self.replace(job, sink, write, parts, Vec::new())
            }
            Target::Empty | Target::Foreign => {
                self.add(job, sink, write, parts, (Vec::new(), Vec::new()))
            }
            Target::Result(old) => match write.mode {
                WriteMode::Error | WriteMode::Overwrite => {
                    self.replace(job, sink, write, parts, old.files)
                }
                WriteMode::Append => self.add(job, sink, write, parts, (old.files, Vec::new())),
                WriteMode::OverwritePartitions => {
                    let folders: BTreeSet<&str> =
                        parts.iter().map(|part| part.folder.as_str()).collect();
                    let is_kept = |file: &ManifestFile| !folders.contains(file.folder());
                    let halves = old.files.into_iter().partition(is_kept);
                    self.add(job, sink, write, parts, halves)
                }
            },
        }
    }

    /// Waits until no other job changes what stands at a target: of two that add to one folder each
    /// must list the other's files. The lock is that of the folder above, which no rename touches.
    ///
    /// # Errors
    /// [`Error::OutputUnfit`] where another job has it for half a minute.
    pub(super) fn turn_at(&self, target: &Path) -> Result<Option<Lock>> {
        let above = target.parent().unwrap_or(target);
        for _ in 0..TRIES {
            match self.disk.lock_dir(above) {
                Ok(None) => std::thread::sleep(BETWEEN_TRIES),
                Ok(lock) => return Ok(lock),
                // Filesystems without locks, and targets of which nothing is there yet.
                Err(source) => {
                    let error = Error::io("lock", above)(source);
                    tracing::debug!(error = %error.chain(), "published without a lock");
                    return Ok(None);
                }
            }
        }
        let reason = "is being written by another job, or one beside it is; submit it again";
        Err(Error::OutputUnfit { path: target.to_owned(), reason: String::from(reason) })
    }

    /// A new folder by one rename.
    fn move_in(&self, job: JobId, sink: &Sink, write: &Write, parts: &[Part]) -> Result<()> {
        let target = &write.path;
        let ready = self.make_ready(job, sink, write, parts)?;
        self.disk.rename(&ready, target).map_err(|source| match source.kind() {
            io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotADirectory => {
                Error::OutputExists { path: target.clone() }
            }
            _ => Error::io("write", target)(source),
        })?;
        self.sync_above(target)
    }

    /// The whole folder, manifest included, beside its target.
    fn make_ready(
        &self,
        job: JobId,
        sink: &Sink,
        write: &Write,
        parts: &[Part],
    ) -> Result<PathBuf> {
        let ready = sink.staging(job, &self.output_dir).join(format!("{}-ready", sink.id));
        self.disk.create_dir_all(&ready).map_err(Error::io("create", &ready))?;
        let files = self.place(job, write, parts, &ready)?;
        self.add_bad_rows(job, sink, &ready)?;
        Manifest::new(job, &sink.id, &sink.schema, files).write(&*self.disk, &ready, MANIFEST)?;
        self.sync(&ready)?;
        Ok(ready)
    }

    /// The parts under their names below a folder.
    pub(super) fn place(
        &self,
        job: JobId,
        write: &Write,
        parts: &[Part],
        top: &Path,
    ) -> Result<Vec<ManifestFile>> {
        let mut folders = BTreeSet::new();
        let mut files = Vec::with_capacity(parts.len());
        for (number, part) in parts.iter().enumerate() {
            let name = part_name(job, write, number);
            let path =
                if part.folder.is_empty() { name } else { format!("{}/{name}", part.folder) };
            let to = top.join(&path);
            if folders.insert(part.folder.clone()) && !part.folder.is_empty() {
                let folder = top.join(&part.folder);
                self.disk.create_dir_all(&folder).map_err(Error::io("create", &folder))?;
            }
            // What an earlier try has moved is there already.
            if self.disk.exists(&part.path) || !self.disk.exists(&to) {
                self.disk.rename(&part.path, &to).map_err(Error::io("write", &to))?;
            }
            files.push(ManifestFile::of(part, path));
        }
        for folder in folders.iter().filter(|folder| !folder.is_empty()) {
            let mut next = Some(top.join(folder));
            while let Some(below) = next.take().filter(|below| below != top) {
                self.sync(&below)?;
                next = below.parent().map(Path::to_owned);
            }
        }
        Ok(files)
    }

    /// A new folder in the place of an old one.
    fn replace(
        &self,
        job: JobId,
        sink: &Sink,
        write: &Write,
        parts: &[Part],
        old: Vec<ManifestFile>,
    ) -> Result<Vec<PublishedFile>> {
        let target = &write.path;
        let ready = self.make_ready(job, sink, write, parts)?;
        match self.disk.exchange(&ready, target) {
            Ok(()) => {
                self.sync_above(target)?;
                self.remove_tree(&ready);
                self.files_now(job, write)
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::Unsupported | io::ErrorKind::InvalidInput
                ) =>
            {
                // What was made ready goes in file by file.
                let named = Write { mode: WriteMode::Append, ..write.clone() };
                let moved = |(number, part): (usize, &Part)| {
                    let from = ready.join(&part.folder).join(part_name(job, write, number));
                    Part { path: from, ..part.clone() }
                };
                let parts: Vec<Part> = parts.iter().enumerate().map(moved).collect();
                let files = self.add(job, sink, &named, &parts, (Vec::new(), old))?;
                self.rescue_bad_rows(job, &ready, target)?;
                self.remove_tree(&ready);
                Ok(files)
            }
            Err(error) => Err(Error::io("write", target)(error)),
        }
    }

    /// New files beside those that are kept, then the manifest, then away with the others.
    fn add(
        &self,
        job: JobId,
        sink: &Sink,
        write: &Write,
        parts: &[Part],
        (kept, removed): (Vec<ManifestFile>, Vec<ManifestFile>),
    ) -> Result<Vec<PublishedFile>> {
        let target = &write.path;
        let new = self.place(job, write, parts, target)?;
        self.add_bad_rows(job, sink, target)?;
        self.sync(target)?;
        let mut files = kept;
        files.extend(new);
        let manifest = Manifest::new(job, &sink.id, &sink.schema, files);
        self.put_manifest(&manifest, target)?;
        for file in &removed {
            self.remove_listed(target, file);
        }
        Ok(own_files(&manifest, job, write, target))
    }

    /// A manifest in the place of the old one, by one rename.
    pub(super) fn put_manifest(&self, manifest: &Manifest, folder: &Path) -> Result<()> {
        if is_remote(folder) {
            return self.put_object(manifest, folder);
        }
        let name = format!("{MANIFEST}.{}", manifest.job_id);
        manifest.write(&*self.disk, folder, &name)?;
        let to = folder.join(MANIFEST);
        self.disk.rename(&folder.join(name), &to).map_err(Error::io("write", &to))?;
        self.sync(folder)
    }

    /// Removes a file that no manifest lists any more, and its folder where that is empty then.
    pub(super) fn remove_listed(&self, target: &Path, file: &ManifestFile) {
        let path = target.join(&file.path);
        let removed = self.disk.remove(&path).and_then(|()| {
            let above = path.ancestors().skip(1).take_while(|folder| *folder != target);
            above.into_iter().try_for_each(|folder| self.disk.remove_empty_dir(folder))
        });
        if let Err(source) = removed {
            let error = Error::io("remove", path)(source);
            tracing::warn!(error = %error.chain(), "a replaced file is left");
        }
    }

    fn remove_tree(&self, folder: &Path) {
        if let Err(source) = self.disk.remove_dir_all(folder) {
            let error = Error::io("remove", folder)(source);
            tracing::warn!(error = %error.chain(), "a replaced folder is left");
        }
    }

    fn files_now(&self, job: JobId, write: &Write) -> Result<Vec<PublishedFile>> {
        let manifest = Manifest::read(&*self.disk, &write.path);
        let gone = || Error::OutputUnfit {
            path: write.path.clone(),
            reason: String::from("has lost its manifest since it was written"),
        };
        Ok(own_files(&manifest.ok_or_else(gone)?, job, write, &write.path))
    }

    fn sync_above(&self, target: &Path) -> Result<()> {
        target.parent().map_or(Ok(()), |parent| self.sync(parent))
    }

    /// Removes files of a job below a folder that its manifest does not list.
    pub(super) fn sweep_unlisted(&self, job: JobId, write: &Write) -> Result<()> {
        let target = &write.path;
        if write.mode == WriteMode::Error || !self.disk.exists(target) {
            return Ok(());
        }
        let listed: BTreeSet<PathBuf> = Manifest::read(&*self.disk, target)
            .iter()
            .flat_map(|manifest| manifest.files_in(target))
            .map(|file| file.path)
            .collect();
        let (parts, manifest) = (format!("part-{job}-"), format!("{MANIFEST}.{job}"));
        let mut folders = vec![(target.clone(), 0)];
        while let Some((folder, depth)) = folders.pop() {
            for path in self.disk.list(&folder).map_err(Error::io("list", &folder))? {
                let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                if name.starts_with(&parts) || name == manifest {
                    if !listed.contains(&path) {
                        self.disk.remove(&path).map_err(Error::io("remove", &path))?;
                    }
                } else if name.contains('=') && depth < write.partition_by.len() {
                    folders.push((path, depth + 1));
                }
            }
        }
        Ok(())
    }
}

/// Why a folder is not replaced or added to.
pub(crate) const FOREIGN: &str = "is there and was not written by minispark (it has no \
    `_manifest.json`); remove it or write elsewhere";

/// The name of a part: with the job's id where it stands among others.
fn part_name(job: JobId, write: &Write, number: usize) -> String {
    let extension = write.extension();
    if names_jobs(write) {
        format!("part-{job}-{number:05}.{extension}")
    } else {
        format!("part-{number:05}.{extension}")
    }
}

/// Whether a writer's files have their job's id in their names, since they stand among others'.
fn names_jobs(write: &Write) -> bool {
    match write.mode {
        WriteMode::Error | WriteMode::Overwrite => false,
        WriteMode::Append | WriteMode::OverwritePartitions => true,
    }
}

/// The files of a manifest that the job wrote.
pub(super) fn own_files(
    manifest: &Manifest,
    job: JobId,
    write: &Write,
    target: &Path,
) -> Vec<PublishedFile> {
    let mut files = manifest.files_in(target);
    if names_jobs(write) {
        let own = format!("part-{job}-");
        files.retain(|file| {
            let name = file.path.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| name.starts_with(&own))
        });
    }
    files
}
