//! Paths that are URLs: which a document may have, the objects that a reader's names, and whether
//! a writer's can be written.
//!
//! A store is asked once for all that lies below a name, with sizes: a glob over ten thousand
//! objects is ten requests. Over HTTP there are no lists, so a reader's URL is one file.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use super::{ProblemCode, Report, Site, files::MAX_FILES};
use crate::{
    disk::{
        Disk, Object,
        remote::{SCHEMES, is_http},
        rooted::is_not_allowed,
    },
    plan::{InputFile, WriteMode},
    sink::commit::{folder::FOREIGN, manifest::Manifest},
    source::folders,
};

/// What separates folders in the names of objects.
const RULES: glob::MatchOptions = glob::MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: true,
};

/// The path that a URL is, if it may stand in a document. One that could hold a secret is refused
/// without being shown.
pub(super) fn resolve(text: &str, pointer: &str, report: &mut Report) -> Option<PathBuf> {
    let (scheme, rest) = text.split_once("://")?;
    let (host, key) = rest.split_once('/').unwrap_or((rest, ""));
    let is_web = matches!(scheme, "http" | "https");
    let refusal = if host.contains('@') {
        String::from(
            "a URL names no user and no password: plans and logs would show them; credentials come \
             from the environment",
        )
    } else if is_web && key.contains(['?', '#']) {
        String::from(
            "an http(s) URL has no `?` or `#` in a job: what stands behind may be a secret that \
             plans and logs would show",
        )
    } else if !SCHEMES.contains(&scheme) {
        let instead = match scheme {
            "s3a" | "s3n" => "; write s3://",
            "abfs" | "abfss" | "azure" | "wasb" | "wasbs" => "; write az://container/path",
            "gcs" => "; write gs://",
            "file" => "; write the path alone",
            _ => "",
        };
        let known = SCHEMES.map(|known| format!("{known}://")).join(", ");
        let message = format!("`{scheme}://` is not supported; known are {known}{instead}");
        report.problem(pointer, ProblemCode::NotSupported, message);
        return None;
    } else if host.is_empty() {
        let what = if is_web { "host" } else { "bucket" };
        format!("`{text}` has no {what}: write {scheme}://{what}/path")
    } else if key.trim_end_matches('/').is_empty() {
        format!("`{text}` names no object: write {scheme}://{host}/path")
    } else if key.split('/').any(|part| matches!(part, "." | "..")) || key.contains("//") {
        format!("`{text}` has a part that is empty, `.` or `..`; name the object itself")
    } else {
        return Some(PathBuf::from(text));
    };
    report.problem(pointer, ProblemCode::BadPath, refusal);
    None
}

/// The objects that a reader's URL names, as [`inputs`](super::files::inputs) has it.
pub(super) fn inputs(
    text: &str,
    path: &Path,
    pointer: &str,
    site: &Site,
    with_folders: bool,
    report: &mut Report,
) -> Option<Vec<InputFile>> {
    let disk = site.data.inputs.as_ref();
    let is_glob = !is_http(path) && text.contains(['*', '?', '[']);
    let found =
        if is_glob { glob(text, pointer, disk, report)? } else { named(path, disk, with_folders) };
    match found {
        Err(error) => refuse_input(text, pointer, &error, report),
        Ok(files) if files.is_empty() => {
            let what = if is_glob { "no object fits" } else { "no object is below" };
            report.problem(pointer, ProblemCode::InputNotFound, format!("{what} `{text}`"));
            None
        }
        Ok(files) if files.len() > MAX_FILES => {
            let message =
                format!("`{text}` names more than the {MAX_FILES} files that are allowed");
            report.problem(pointer, ProblemCode::OutOfRange, message);
            None
        }
        Ok(files) => Some(files),
    }
}

/// The object of that name, or those of the folder.
fn named(path: &Path, disk: &dyn Disk, with_folders: bool) -> io::Result<Vec<InputFile>> {
    let is_folder = path.to_str().is_some_and(|text| text.ends_with('/'));
    if !is_folder {
        match disk.open(path) {
            Ok(file) => {
                let (size_bytes, version) = (file.size()?, file.version());
                return Ok(vec![InputFile { path: path.to_owned(), size_bytes, version }]);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && !is_http(path) => {}
            Err(error) => return Err(error),
        }
    } else if is_http(path) {
        return Err(io::Error::other("folders have no list over HTTP; name each file"));
    }
    let below = disk.list_below(path, MAX_FILES + 1)?;
    if let Some(manifest) = Manifest::read(disk, path) {
        let mut known: BTreeMap<PathBuf, Object> =
            below.into_iter().map(|object| (object.path.clone(), object)).collect();
        let listed = manifest.files.iter().map(|file| {
            let path = path.join(&file.path);
            // One that is not there is told by its reader.
            let missing = InputFile { path: path.clone(), size_bytes: file.bytes, version: None };
            known.remove(&path).map_or(missing, input)
        });
        return Ok(listed.collect());
    }
    let is_data = |object: &Path| {
        let Ok(rest) = object.strip_prefix(path) else { return false };
        let parts: Vec<&str> = rest.iter().filter_map(|part| part.to_str()).collect();
        let Some((name, above)) = parts.split_last() else { return false };
        let is_column = |part: &&str| with_folders && folders::parse(part).is_some();
        !is_hidden(name) && above.iter().all(is_column)
    };
    Ok(below.into_iter().filter(|object| is_data(&object.path)).map(input).collect())
}

fn input(object: Object) -> InputFile {
    let Object { path, size_bytes, version } = object;
    InputFile { path, size_bytes, version }
}

fn is_hidden(name: &str) -> bool {
    name.starts_with(['.', '_'])
}

/// The objects that fit a glob; `None` where it is none.
fn glob(
    text: &str,
    pointer: &str,
    disk: &dyn Disk,
    report: &mut Report,
) -> Option<io::Result<Vec<InputFile>>> {
    let pattern = match glob::Pattern::new(text) {
        Ok(pattern) => pattern,
        Err(error) => {
            let message = format!("`{text}` is no glob: {}", error.msg);
            report.problem(pointer, ProblemCode::BadPath, message);
            return None;
        }
    };
    let literal = text.split(['*', '?', '[']).next().unwrap_or_default();
    let (top, _) = literal.rsplit_once('/')?;
    if top.ends_with('/') || top.ends_with(':') {
        let message = format!("`{text}` has a pattern for its bucket; name the bucket itself");
        report.problem(pointer, ProblemCode::BadPath, message);
        return None;
    }
    let depth = Path::new(top).iter().count();
    let fits = |object: &Path| {
        // What is hidden is named, not matched.
        let mut below = object.iter().skip(depth).filter_map(|part| part.to_str());
        let is_seen = below.all(|part| !is_hidden(part) || text.contains(&format!("/{part}")));
        is_seen && object.to_str().is_some_and(|name| pattern.matches_with(name, RULES))
    };
    let found = disk.list_below(Path::new(top), 2 * MAX_FILES);
    Some(
        found.map(|found| {
            found.into_iter().filter(|object| fits(&object.path)).map(input).collect()
        }),
    )
}

fn refuse_input<T>(text: &str, pointer: &str, error: &io::Error, report: &mut Report) -> Option<T> {
    let (code, message) = if is_not_allowed(error) {
        let message = format!(
            "`{text}` is in no store that jobs may read here; an operator enables one with --store"
        );
        (ProblemCode::PathNotAllowed, message)
    } else if error.kind() == io::ErrorKind::NotFound {
        (ProblemCode::InputNotFound, format!("input `{text}` is not there"))
    } else if error.kind() == io::ErrorKind::Unsupported {
        let message = format!("`{text}` is a URL, and no object store is set up here");
        (ProblemCode::NotSupported, message)
    } else {
        (ProblemCode::InputUnreadable, format!("cannot read `{text}`: {error}"))
    };
    report.problem(pointer, code, message);
    None
}

/// The target of a writer, as [`output`](super::files::output) has it.
pub(super) fn output(
    text: &str,
    path: &Path,
    pointer: &str,
    site: &Site,
    mode: WriteMode,
    report: &mut Report,
) -> Option<PathBuf> {
    let disk = site.data.outputs.as_ref();
    let mut refuse = |code: ProblemCode, message: String| report.problem(pointer, code, message);
    if is_http(path) {
        let message = "http(s) URLs can be read and not written; write to s3://, gs:// or az://";
        refuse(ProblemCode::NotSupported, String::from(message));
        return None;
    }
    if mode == WriteMode::OverwritePartitions {
        let message = "`overwrite_partitions` is for folders of files: an object store replaces no \
                       several objects at once; use `overwrite` or `append`";
        refuse(ProblemCode::NotSupported, String::from(message));
        return None;
    }
    // Without a trailing slash, so that two spellings of a target are seen to be one.
    let target = PathBuf::from(text.trim_end_matches('/'));
    let in_its_way = match disk.open(&target) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => disk.list_below(&target, 1),
        Err(error) => Err(error),
        Ok(file) => file
            .size()
            .map(|size_bytes| vec![Object { path: target.clone(), size_bytes, version: None }]),
    };
    match in_its_way {
        Ok(objects) if objects.is_empty() => return Some(target),
        Ok(_) if mode == WriteMode::Error => refuse(
            ProblemCode::OutputExists,
            format!("output `{text}` already exists; remove it, write elsewhere, or set `mode`"),
        ),
        Ok(_) if Manifest::read(disk, &target).is_some() => return Some(target),
        Ok(_) => refuse(ProblemCode::OutputExists, format!("output `{text}` {FOREIGN}")),
        Err(error) if is_not_allowed(&error) => {
            let message = format!(
                "`{text}` is in no store that jobs may write here; an operator enables one with \
                 --store and allow=read-write"
            );
            refuse(ProblemCode::PathNotAllowed, message);
        }
        Err(error) => {
            refuse(ProblemCode::OutputUnwritable, format!("cannot write `{text}`: {error}"));
        }
    }
    None
}
