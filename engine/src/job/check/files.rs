//! Paths: what a reader's path names, and whether a writer's target can be made.
//!
//! Messages name paths as the document has them.

use std::{
    io,
    path::{Component, Path, PathBuf},
};

use super::{MAX_PATH_BYTES, ProblemCode, Report, Site, urls};
use crate::{
    disk::{Disk, remote::is_remote, rooted::is_not_allowed},
    plan::{InputFile, WriteMode},
    sink::commit::{folder::FOREIGN, manifest::Manifest},
    source::folders,
};

/// The most files of one reader.
pub(super) const MAX_FILES: usize = 100_000;

/// What stands at a path.
enum Found {
    File { size_bytes: u64 },
    Folder,
}

fn look(disk: &dyn Disk, path: &Path) -> io::Result<Found> {
    match disk.open(path) {
        Ok(file) => Ok(Found::File { size_bytes: file.size()? }),
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => Ok(Found::Folder),
        Err(error) => Err(error),
    }
}

/// The path that `text` names at `site`, if it can be a path.
fn resolve(text: &str, pointer: &str, site: &Site, report: &mut Report) -> Option<PathBuf> {
    let refusal = if text.is_empty() {
        "a path is not empty"
    } else if text.len() > MAX_PATH_BYTES {
        "a path has at most 4096 bytes"
    } else if text.contains('\0') {
        "a path has no NUL in it"
    } else if text == "-" {
        report.problem(pointer, ProblemCode::NotSupported, "`-` is not supported yet");
        return None;
    } else if text.contains("://") {
        return urls::resolve(text, pointer, report);
    } else if Path::new(text).is_absolute() {
        return Some(PathBuf::from(text));
    } else if let Some(base_dir) = &site.base_dir {
        return Some(base_dir.join(text));
    } else {
        let message = format!(
            "`{text}` is relative, and this server has no read root where it could begin; its \
             operator sets one with --read-root"
        );
        report.problem(pointer, ProblemCode::PathNotAllowed, message);
        return None;
    };
    report.problem(pointer, ProblemCode::BadPath, refusal);
    None
}

/// The files that a reader's path names: a file, all files of a folder, or those that a glob
/// fits; in a folder and under a glob sorted by path, without names that begin with `.` or `_`.
/// `with_folders` those in folders named `column=value` below a folder too.
pub(super) fn inputs(
    text: &str,
    pointer: &str,
    site: &Site,
    with_folders: bool,
    report: &mut Report,
) -> Option<Vec<InputFile>> {
    let path = resolve(text, pointer, site, report)?;
    if is_remote(&path) {
        return urls::inputs(text, &path, pointer, site, with_folders, report);
    }
    let disk = site.data.inputs.as_ref();
    let is_glob = text.contains(['*', '?', '[']) && !disk.exists(&path);
    let paths = if is_glob {
        glob(text, pointer, site, report)?
    } else {
        match look(disk, &path) {
            Ok(Found::File { size_bytes }) => {
                return Some(vec![InputFile { path, size_bytes, version: None }]);
            }
            Ok(Found::Folder) => match listed(disk, &path, with_folders) {
                Ok(entries) => entries,
                Err(error) => return refuse_input(text, pointer, &error, report),
            },
            Err(error) => return refuse_input(text, pointer, &error, report),
        }
    };
    let mut files = Vec::with_capacity(paths.len());
    for entry in paths {
        match look(disk, &entry) {
            Ok(Found::File { size_bytes }) => {
                files.push(InputFile { path: entry, size_bytes, version: None });
            }
            Ok(Found::Folder) => {}
            Err(error) => {
                let base_dir = site.base_dir.as_deref().unwrap_or(Path::new("/"));
                let name = match entry.strip_prefix(base_dir) {
                    Ok(rest) if !text.starts_with('/') => rest.display().to_string(),
                    _ => entry.display().to_string(),
                };
                return refuse_input(&name, pointer, &error, report);
            }
        }
    }
    if files.is_empty() {
        let what = if is_glob { "no file fits" } else { "no file in the folder" };
        report.problem(pointer, ProblemCode::InputNotFound, format!("{what} `{text}`"));
        return None;
    }
    if files.len() > MAX_FILES {
        let message = format!("`{text}` names {} files; {MAX_FILES} are allowed", files.len());
        report.problem(pointer, ProblemCode::OutOfRange, message);
        return None;
    }
    Some(files)
}

/// What stands in a folder, without names that are hidden; `with_folders` also what stands in
/// folders named `column=value`, at any depth.
fn listed(disk: &dyn Disk, top: &Path, with_folders: bool) -> io::Result<Vec<PathBuf>> {
    /// More columns than any table is partitioned by.
    const MAX_DEPTH: usize = 32;
    if let Some(manifest) = Manifest::read(disk, top) {
        // The files of a result are those that it lists, in that order: others are being added,
        // or were replaced.
        return Ok(manifest.files.iter().map(|file| top.join(&file.path)).collect());
    }
    let mut found = Vec::new();
    let mut folders = vec![(top.to_owned(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        for entry in disk.list(&folder)?.into_iter().filter(|entry| !is_hidden(entry)) {
            let name = entry.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let is_named = with_folders && depth < MAX_DEPTH && folders::parse(name).is_some();
            if is_named && matches!(look(disk, &entry), Ok(Found::Folder)) {
                folders.push((entry, depth + 1));
            } else {
                found.push(entry);
            }
        }
        if found.len() + folders.len() > 2 * MAX_FILES {
            break;
        }
    }
    found.sort();
    Ok(found)
}

fn refuse_input<T>(text: &str, pointer: &str, error: &io::Error, report: &mut Report) -> Option<T> {
    if is_not_allowed(error) {
        let message = format!("`{text}` is outside the folders that jobs may read");
        report.problem(pointer, ProblemCode::PathNotAllowed, message);
    } else if error.kind() == io::ErrorKind::Unsupported {
        let message = format!("`{text}` is a URL, and no object store is set up here");
        report.problem(pointer, ProblemCode::NotSupported, message);
    } else if error.kind() == io::ErrorKind::NotFound {
        let message = format!("input `{text}` is not there");
        report.problem(pointer, ProblemCode::InputNotFound, message);
    } else {
        let message = format!("cannot read `{text}`: {error}");
        report.problem(pointer, ProblemCode::InputUnreadable, message);
    }
    None
}

fn is_hidden(path: &Path) -> bool {
    let name = path.file_name().map(std::ffi::OsStr::as_encoded_bytes);
    name.is_some_and(|name| name.starts_with(b".") || name.starts_with(b"_"))
}

/// The paths that fit a glob, segment by segment, sorted; `**` stands for any number of folders.
fn glob(text: &str, pointer: &str, site: &Site, report: &mut Report) -> Option<Vec<PathBuf>> {
    let disk = site.data.inputs.as_ref();
    let start = match &site.base_dir {
        Some(base_dir) if !text.starts_with('/') => base_dir.clone(),
        _ => PathBuf::from("/"),
    };
    let mut found = vec![start];
    for segment in text.split('/').filter(|segment| !segment.is_empty()) {
        if !segment.contains(['*', '?', '[']) {
            for path in &mut found {
                path.push(segment);
            }
            continue;
        }
        let pattern = match glob::Pattern::new(segment) {
            Ok(pattern) => pattern,
            Err(error) => {
                let message = format!("`{text}` is no glob: {}", error.msg);
                report.problem(pointer, ProblemCode::BadPath, message);
                return None;
            }
        };
        let mut fitting = Vec::new();
        for folder in found {
            let listed = if segment == "**" {
                below(disk, folder)
            } else {
                entries(disk, &folder).map(|mut entries| {
                    entries.retain(|path| fits(&pattern, path));
                    entries
                })
            };
            match listed {
                Ok(listed) => fitting.extend(listed),
                Err(error) => return refuse_input(text, pointer, &error, report),
            }
        }
        found = fitting;
    }
    // What leads out is kept, to be refused.
    found.retain(|path| {
        disk.exists(path) || look(disk, path).is_err_and(|error| is_not_allowed(&error))
    });
    found.sort();
    found.dedup();
    Some(found)
}

fn fits(pattern: &glob::Pattern, path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| pattern.matches(name))
}

/// What stands in a folder and is not hidden; nothing where it is none or can't be listed, but an
/// error where it may not be.
fn entries(disk: &dyn Disk, folder: &Path) -> io::Result<Vec<PathBuf>> {
    match disk.list(folder) {
        Ok(mut entries) => {
            entries.retain(|entry| !is_hidden(entry));
            Ok(entries)
        }
        Err(error) if is_not_allowed(&error) => Err(error),
        Err(_) => Ok(Vec::new()),
    }
}

/// A folder and all folders below it. Links are not told from folders, so the depth is bounded.
fn below(disk: &dyn Disk, top: PathBuf) -> io::Result<Vec<PathBuf>> {
    const MAX_FOLDERS: usize = 10_000;
    const MAX_DEPTH: usize = 32;
    let mut folders = vec![(top, 0)];
    let mut next = 0;
    while let Some((folder, depth)) = folders.get(next).cloned() {
        next += 1;
        if depth == MAX_DEPTH {
            continue;
        }
        for entry in entries(disk, &folder)? {
            if folders.len() < MAX_FOLDERS && matches!(look(disk, &entry), Ok(Found::Folder)) {
                folders.push((entry, depth + 1));
            }
        }
    }
    Ok(folders.into_iter().map(|(folder, _)| folder).collect())
}

/// A path without links, `.` and `..`, of which the end need not exist.
fn true_name(disk: &dyn Disk, path: &Path) -> Option<PathBuf> {
    let above = path.ancestors().find(|folder| disk.exists(folder))?;
    let mut name = disk.true_name(above).ok()?;
    for component in path.strip_prefix(above).ok()?.components() {
        match component {
            Component::ParentDir => drop(name.pop()),
            Component::Normal(part) => name.push(part),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    Some(name)
}

/// Whether a path, or what there is of it, may not be used.
fn leads_out(disk: &dyn Disk, path: &Path) -> bool {
    // What is not there is yet to be made.
    let is_missing = |found: &io::Result<Found>| {
        found.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    };
    let mut found = path.ancestors().map(|folder| look(disk, folder));
    let nearest = found.find(|found| !is_missing(found));
    nearest.is_some_and(|nearest| nearest.is_err_and(|error| is_not_allowed(&error)))
}

/// The target of a writer: nothing is there, or what its mode can go on with; and what is nearest
/// above it is a folder.
pub(super) fn output(
    text: &str,
    pointer: &str,
    site: &Site,
    mode: WriteMode,
    report: &mut Report,
) -> Option<PathBuf> {
    let named = resolve(text, pointer, site, report)?;
    if is_remote(&named) {
        return urls::output(text, &named, pointer, site, mode, report);
    }
    let given: PathBuf = named.components().collect();
    let disk = site.data.outputs.as_ref();
    if leads_out(disk, &given) {
        let message = format!("`{text}` is outside the folders that jobs may write");
        report.problem(pointer, ProblemCode::PathNotAllowed, message);
        return None;
    }
    // By its one true name, so that two spellings of a target are seen to be one.
    let path = true_name(disk, &given).unwrap_or(given);
    if disk.exists(&path) {
        let is_fit = Manifest::read(disk, &path).is_some()
            || disk.list(&path).is_ok_and(|entries| entries.is_empty());
        if mode != WriteMode::Error && is_fit {
            return Some(path);
        }
        let message = if mode == WriteMode::Error {
            format!("output `{text}` already exists; remove it, write elsewhere, or set `mode`")
        } else {
            format!("output `{text}` {FOREIGN}")
        };
        report.problem(pointer, ProblemCode::OutputExists, message);
        return None;
    }
    let above = path.ancestors().skip(1).find(|folder| disk.exists(folder));
    match above.map(|above| look(disk, above)) {
        Some(Ok(Found::Folder)) => Some(path),
        Some(Ok(Found::File { .. })) => {
            let message = format!("cannot create `{text}`: a file stands in its way");
            report.problem(pointer, ProblemCode::OutputUnwritable, message);
            None
        }
        Some(Err(error)) => {
            let message = format!("cannot create `{text}`: {error}");
            report.problem(pointer, ProblemCode::OutputUnwritable, message);
            None
        }
        None => {
            let message = format!("cannot create `{text}`: no folder above it exists");
            report.problem(pointer, ProblemCode::OutputUnwritable, message);
            None
        }
    }
}
