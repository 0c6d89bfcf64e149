//! `results --output`: copies of a job's results, checked, and taken up again where they were cut.
//!
//! In its own format a result is copied file by file: a text result as one file, a writer's parts
//! below a folder. Each grows as a hidden `.part` file, which a broken or killed download leaves
//! and the next one goes on with, and gets its name when size and checksum are those of the
//! manifest. In any other format the rows are encoded for this one answer: there is no checksum,
//! and no going on.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use minispark_api::rest::wire::{Ordered, ResultFile, ResultFormat, Results};
use minispark_engine::{
    disk::{Disk, RealDisk},
    error::Code,
    sink::Checksum,
};
use reqwest::{Response, StatusCode};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::broken;
use crate::{
    client::{Client, Wanted},
    error::{Error, Exit, Result},
    host,
    output::{self, Output, progress::Progress},
    units::show_bytes,
};

/// How often a download is taken up again without getting a byte further.
const RETRIES: u32 = 5;

/// The pause before it is taken up again; it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// How much of a file is read at once.
const READ_BYTES: usize = 256 << 10;

const GO_ON: &str = "the same command goes on where this one stopped";

/// Copies results into a folder and prints where they are.
///
/// # Errors
/// Where they can't be had or kept, or are not what was published.
pub(super) async fn download(
    results: &Results,
    folder: &Path,
    format: Option<ResultFormat>,
    client: &Client,
    output: Output,
) -> Result<()> {
    let (folder, _) = host::output_dir(&RealDisk, Some(folder))?;
    let mut kept = Vec::new();
    for (sink, path) in results.outputs.iter() {
        let download = Download { job: &results.job_id, sink, client, output };
        let own = results.formats.get(sink).copied();
        let target = if let Some(other) = format.filter(|format| Some(*format) != own) {
            download.encoded(&folder, other).await?
        } else {
            let files = results.files.get(sink).map_or(&[][..], Vec::as_slice);
            download.as_published(&folder, own, path, files).await?
        };
        kept.push((sink.to_owned(), target.display().to_string()));
    }
    if output.is_json() {
        let outputs: Ordered<String> = kept.into_iter().collect();
        return output::document(&json!({ "job_id": results.job_id, "outputs": outputs }));
    }
    kept.iter().try_for_each(|(_, path)| output::line(path))
}

/// The download of one result.
struct Download<'a> {
    job: &'a str,
    sink: &'a str,
    client: &'a Client,
    output: Output,
}

impl Download<'_> {
    /// The result's own files, each checked: a file, or a folder of a writer's parts.
    async fn as_published(
        &self,
        folder: &Path,
        format: Option<ResultFormat>,
        path: &str,
        files: &[ResultFile],
    ) -> Result<PathBuf> {
        let is_one_file = format == Some(ResultFormat::Text);
        let target = if is_one_file {
            folder.join(self.plain(Path::new(path).file_name().unwrap_or_default().as_ref())?)
        } else {
            let below = folder.join(self.plain(format!("{}_{}", self.job, self.sink).as_ref())?);
            RealDisk.create_dir_all(&below).map_err(|error| cannot_write(&below, &error))?;
            below
        };
        let mut progress = Progress::new(self.output, self.sink, true);
        let total = files.iter().map(|file| file.bytes).sum();
        let mut done = Done { bytes: 0, total, started: Instant::now() };
        for (number, file) in (0..).zip(files) {
            let name = Path::new(&file.path).file_name().unwrap_or_default();
            let target =
                if is_one_file { target.clone() } else { target.join(self.plain(name.as_ref())?) };
            self.file(number, file, &target, &mut done, &mut progress).await?;
        }
        progress.finish();
        let count = if is_one_file { String::new() } else { format!(", {} files", files.len()) };
        let (sink, bytes) = (self.sink, show_bytes(total));
        self.output.say(&format!("{sink}: {bytes}{count}, checked, in {}", target.display()));
        Ok(target)
    }

    /// One file of the result, at `target` when this returns.
    async fn file(
        &self,
        number: u64,
        file: &ResultFile,
        target: &Path,
        done: &mut Done,
        progress: &mut Progress,
    ) -> Result<()> {
        if is_there(target, file) {
            done.bytes += file.bytes;
            return Ok(());
        }
        let mut part = Part::open(target)?;
        if part.bytes > file.bytes {
            part.empty()?;
        }
        done.bytes += part.bytes;
        let mut failed = 0;
        // An empty file is not asked for: it is there once it has its name.
        while part.bytes < file.bytes {
            let before = part.bytes;
            let outcome = self.append(number, file, &mut part, done, progress).await;
            let Err(error) = outcome else { break };
            failed = if part.bytes > before { 1 } else { failed + 1 };
            if error.exit != Exit::Unreachable || failed > RETRIES {
                return Err(error.help(GO_ON));
            }
            sleep(FIRST_PAUSE * 2_u32.pow(failed - 1)).await;
        }
        part.finish(file, target)
    }

    /// Appends what the part does not have yet, to the end of the answer.
    async fn append(
        &self,
        number: u64,
        file: &ResultFile,
        part: &mut Part,
        done: &mut Done,
        progress: &mut Progress,
    ) -> Result<()> {
        let rest = (part.bytes > 0).then_some((part.bytes, &*file.checksum));
        let wanted = Wanted { file: Some(number), rest, ..Wanted::default() };
        let mut answer = self.client.download(self.job, self.sink, wanted).await?;
        if answer.status() != StatusCode::PARTIAL_CONTENT {
            done.bytes -= part.bytes;
            part.empty()?;
        } else if !begins_at(&answer, part.bytes) {
            let what = format!("another range of result `{}` came than was asked for", self.sink);
            return Err(Error::new(Exit::Other, Code::Internal, what).at(self.client.server()));
        }
        while let Some(chunk) =
            answer.chunk().await.map_err(|error| broken(self.client, self.sink, &error))?
        {
            part.append(&chunk)?;
            done.bytes += chunk.len() as u64;
            progress.update(done.percent(), done.started.elapsed(), self.sink);
            if part.bytes > file.bytes {
                break;
            }
        }
        Ok(())
    }

    /// The rows in another format, as one file.
    async fn encoded(&self, folder: &Path, format: ResultFormat) -> Result<PathBuf> {
        let name = format!("{}_{}.{}", self.job, self.sink, format.extension());
        let target = folder.join(self.plain(name.as_ref())?);
        let mut part = Part::open(&target)?;
        part.empty()?;
        let wanted = Wanted { format: Some(format), ..Wanted::default() };
        let copied = async {
            let mut answer = self.client.download(self.job, self.sink, wanted).await?;
            while let Some(chunk) =
                answer.chunk().await.map_err(|error| broken(self.client, self.sink, &error))?
            {
                part.append(&chunk)?;
            }
            part.place(&target)
        };
        if let Err(error) = copied.await {
            // It can't be gone on with, and the error is told.
            drop(RealDisk.remove_file(&part.path));
            return Err(error);
        }
        let (sink, bytes) = (self.sink, show_bytes(part.bytes));
        self.output.say(&format!("{sink}: {bytes} in {}", target.display()));
        Ok(target)
    }

    /// A name that a server gave, if it is one and leads nowhere else.
    fn plain<'n>(&self, name: &'n Path) -> Result<&'n Path> {
        if Path::new(name).file_name() == Some(name.as_os_str()) {
            return Ok(name);
        }
        let what = format!("`{}` is no name for a file of result `{}`", name.display(), self.sink);
        Err(Error::new(Exit::Other, Code::Internal, what).at(self.client.server()))
    }
}

/// How far a download is.
struct Done {
    bytes: u64,
    total: u64,
    started: Instant,
}

impl Done {
    #[expect(clippy::cast_precision_loss, reason = "a share for eyes")]
    fn percent(&self) -> f64 {
        100.0 * self.bytes as f64 / self.total.max(1) as f64
    }
}

/// Whether a partial answer goes on at this byte.
fn begins_at(answer: &Response, byte: u64) -> bool {
    let range = answer.headers().get("content-range").and_then(|range| range.to_str().ok());
    range.is_some_and(|range| range.starts_with(&format!("bytes {byte}-")))
}

/// Whether the file is there already, by its size and checksum.
fn is_there(target: &Path, file: &ResultFile) -> bool {
    let read = || -> io::Result<Option<Checksum>> {
        let mut found = OpenOptions::new().read(true).open(target)?;
        let is_as_long = found.metadata()?.len() == file.bytes;
        is_as_long.then(|| checksum(&mut found)).transpose()
    };
    matches!(read(), Ok(Some(checksum)) if checksum.to_string() == file.checksum)
}

/// The checksum of what follows in a file.
fn checksum(file: &mut File) -> io::Result<Checksum> {
    let mut checksum = Checksum::default();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(checksum),
            count => checksum.update(&buffer[..count]),
        }
    }
}

/// A file that is not whole yet, held by this process alone.
struct Part {
    path: PathBuf,
    file: File,
    bytes: u64,
    checksum: Checksum,
}

impl Part {
    /// The part of a file, with what an earlier download left of it.
    fn open(target: &Path) -> Result<Self> {
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let path = target.with_file_name(format!(".{name}.part"));
        let failed = |error: io::Error| cannot_write(&path, &error);
        let mut options = OpenOptions::new();
        let mut file =
            options.read(true).append(true).create(true).mode(0o640).open(&path).map_err(failed)?;
        let is_ours = match file.try_lock() {
            // Whoever held it may have given it its name meanwhile.
            Ok(()) => {
                let opened = file.metadata().map_err(failed)?.ino();
                std::fs::metadata(&path).is_ok_and(|found| found.ino() == opened)
            }
            Err(TryLockError::WouldBlock) => false,
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        };
        if !is_ours {
            let what = format!("another download writes `{}`", path.display());
            return Err(Error::new(Exit::Conflict, Code::Conflict, what));
        }
        let checksum = checksum(&mut file).map_err(failed)?;
        let bytes = file.stream_position().map_err(failed)?;
        Ok(Self { path, file, bytes, checksum })
    }

    /// Begins anew.
    fn empty(&mut self) -> Result<()> {
        self.file.set_len(0).map_err(|error| cannot_write(&self.path, &error))?;
        self.bytes = 0;
        self.checksum = Checksum::default();
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|error| cannot_write(&self.path, &error))?;
        self.bytes += bytes.len() as u64;
        self.checksum.update(bytes);
        Ok(())
    }

    /// Gives it its name if it is what was published, else removes it.
    fn finish(&self, file: &ResultFile, target: &Path) -> Result<()> {
        let found = self.checksum.to_string();
        if self.bytes == file.bytes && found == file.checksum {
            return self.place(target);
        }
        // What is wrong with it is told; it must not be gone on with.
        drop(RealDisk.remove_file(&self.path));
        let what = format!(
            "`{}` came with {} bytes and checksum {found}; published were {} bytes and {}",
            target.display(),
            self.bytes,
            file.bytes,
            file.checksum,
        );
        Err(Error::new(Exit::Other, Code::Internal, what)
            .kind("CHECKSUM_MISMATCH")
            .at(&*file.path)
            .help(
                "try again; if it stays so, the file on the server is damaged: run the job again",
            ))
    }

    /// Gives it its name, durably.
    fn place(&self, target: &Path) -> Result<()> {
        let placed = self.file.sync_all().and_then(|()| RealDisk.rename(&self.path, target));
        let placed = placed
            .and_then(|()| target.parent().map_or(Ok(()), |folder| RealDisk.sync_dir(folder)));
        placed.map_err(|error| cannot_write(target, &error))
    }
}

fn cannot_write(path: &Path, error: &io::Error) -> Error {
    let code = match error.kind() {
        io::ErrorKind::StorageFull => Code::DiskFull,
        _ => Code::Internal,
    };
    Error::new(Exit::Other, code, format!("cannot write `{}`: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use minispark_api::rest::wire::ResultFile;
    use minispark_engine::sink::Checksum;

    use super::{Part, is_there};

    fn published(content: &str) -> ResultFile {
        let mut checksum = Checksum::default();
        checksum.update(content.as_bytes());
        let bytes = content.len() as u64;
        ResultFile { path: String::from("/x"), rows: 1, bytes, checksum: checksum.to_string() }
    }

    #[test]
    fn a_part_is_gone_on_with_and_appears_when_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("a.txt");
        let file = published("one, 1\ntwo, 2\n");
        let mut part = Part::open(&target).unwrap();
        part.append(b"one, 1\n").unwrap();
        assert_eq!(Part::open(&target).err().unwrap().exit, crate::error::Exit::Conflict);
        drop(part);
        let mut rest = Part::open(&target).unwrap();
        assert_eq!(rest.bytes, 7);
        rest.append(b"two, 2\n").unwrap();
        assert!(!is_there(&target, &file));
        rest.finish(&file, &target).unwrap();
        assert!(is_there(&target, &file));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_part_with_other_bytes_never_appears() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("a.txt");
        let mut part = Part::open(&target).unwrap();
        part.append(b"one, 2\n").unwrap();
        let error = part.finish(&published("one, 1\n"), &target).unwrap_err();
        assert_eq!(&*error.code, "CHECKSUM_MISMATCH");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
