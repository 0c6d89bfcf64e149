//! A writer's result in an object store: parts under names with the job's id, then the manifest.
//!
//! A store renames nothing, so the manifest alone makes a result: parts that none lists are no
//! part of one. It is put only where what stands there is what was found before (`If-None-Match`,
//! `If-Match`), so that of two jobs that meet one is told, and neither loses the other's files.

use std::{collections::BTreeSet, io, path::Path};

use super::{
    PublishedFile, Publisher,
    folder::{Target, own_files},
    manifest::{MANIFEST, Manifest},
};
use crate::{
    Error, Result,
    disk::Expected,
    id::JobId,
    plan::{Sink, Write, WriteMode},
    sink::bad_rows::FOLDER,
    task::Part,
};

/// The most objects that are looked through for what a job has left.
const MAX_OBJECTS: usize = 1_000_000;

impl Publisher {
    /// Uploads the parts, then puts the manifest.
    pub(super) fn publish_objects(
        &self,
        job: JobId,
        sink: &Sink,
        write: &Write,
        parts: &[Part],
    ) -> Result<Vec<PublishedFile>> {
        let target = &write.path;
        let named = Write { mode: WriteMode::Append, ..write.clone() };
        let (mut files, removed, read_version) = match self.fit(job, sink, write)? {
            // An earlier try got so far and could not say so.
            Target::Result(manifest) if manifest.job_id == job && manifest.sink == sink.id => {
                return Ok(own_files(&manifest, job, &named, target));
            }
            Target::Result(old) if write.mode == WriteMode::Append => {
                (old.files, Vec::new(), old.read_version)
            }
            Target::Result(old) => (Vec::new(), old.files, old.read_version),
            Target::Nothing | Target::Empty | Target::Foreign => (Vec::new(), Vec::new(), None),
        };
        files.extend(self.place(job, &named, parts, target)?);
        self.add_bad_rows(job, sink, target)?;
        let mut manifest = Manifest::new(job, &sink.id, &sink.schema, files);
        manifest.read_version = read_version;
        if let Err(error) = self.put_object(&manifest, target) {
            // A lost answer to a put that went well makes the next try meet its own manifest.
            let found = Manifest::read(&*self.disk, target);
            if found.is_none_or(|found| found.job_id != job || found.sink != sink.id) {
                return Err(error);
            }
        }
        for file in &removed {
            self.remove_listed(target, file);
        }
        Ok(own_files(&manifest, job, &named, target))
    }

    /// Puts a manifest in the place of the version that it was read as, or of none.
    pub(super) fn put_object(&self, manifest: &Manifest, folder: &Path) -> Result<()> {
        let path = folder.join(MANIFEST);
        let expected = match &manifest.read_version {
            Some(version) => Expected::Version(version.clone()),
            None if self.disk.exists(&path) => Expected::Anything,
            None => Expected::Nothing,
        };
        let put = self.disk.put(&path, manifest.text()?, &expected);
        put.map_err(|source| match (source.kind(), &expected) {
            (io::ErrorKind::AlreadyExists, Expected::Nothing) => {
                Error::OutputExists { path: folder.to_owned() }
            }
            (io::ErrorKind::AlreadyExists, Expected::Version(_) | Expected::Anything) => {
                let reason = "was written by somebody else while this job ran; submit it again";
                Error::OutputUnfit { path: folder.to_owned(), reason: String::from(reason) }
            }
            _ => Error::io("write", &path)(source),
        })
    }

    /// Removes objects of a job that no manifest lists.
    pub(super) fn sweep_objects(&self, job: JobId, write: &Write) -> Result<()> {
        let target = &write.path;
        let below = self.disk.list_below(target, MAX_OBJECTS).map_err(Error::io("list", target))?;
        let (parts, bad_rows) = (format!("part-{job}-"), target.join(FOLDER).join(job.to_string()));
        let is_own = |path: &Path| {
            let name = path.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| name.starts_with(&parts)) || path.starts_with(&bad_rows)
        };
        let mut own: Vec<_> =
            below.into_iter().map(|object| object.path).filter(|path| is_own(path)).collect();
        if own.is_empty() {
            return Ok(());
        }
        if self.disk.exists(&target.join(MANIFEST)) {
            // One that is there and can't be read may list them: nothing is removed on doubt.
            let Some(manifest) = Manifest::read(&*self.disk, target) else { return Ok(()) };
            let listed: BTreeSet<_> =
                manifest.files_in(target).into_iter().map(|file| file.path).collect();
            // The bad rows go with the rows that stayed.
            let has_rows = own.iter().any(|path| listed.contains(path));
            let stays =
                |path: &Path| listed.contains(path) || has_rows && path.starts_with(&bad_rows);
            own.retain(|path| !stays(path));
        }
        for path in own {
            self.disk.remove_file(&path).map_err(Error::io("remove", &path))?;
        }
        Ok(())
    }

    /// Removes a result: first what makes it one.
    pub(super) fn withdraw_objects(&self, target: &Path, manifest: &Manifest) -> Result<()> {
        let path = target.join(MANIFEST);
        self.disk.remove_file(&path).map_err(Error::io("remove", &path))?;
        for file in &manifest.files {
            self.remove_listed(target, file);
        }
        let bad_rows = target.join(FOLDER).join(manifest.job_id.to_string());
        self.disk.remove_dir_all(&bad_rows).map_err(Error::io("remove", &bad_rows))
    }
}
