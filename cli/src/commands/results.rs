//! `results`: where a finished job's results are, their first rows, or a copy of them.

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use minispark_api::rest::wire::{Column, Ordered, Results};
use minispark_engine::{
    disk::{Disk, RealDisk},
    error::Code,
};
use serde_json::json;

use crate::{
    args,
    client::Client,
    error::{Error, Exit, Result},
    host,
    output::{self, Output, head::Head},
    units::{show_bytes, show_count},
};

/// Does what was asked for with the results of a job.
///
/// # Errors
/// Where the job has none (yet), or they can't be had or kept.
pub(crate) async fn results(args: &args::Results, client: &Client, output: Output) -> Result<Exit> {
    let id = client.resolve(&args.id).await?;
    let mut results = client.results(&id).await?;
    if let Some(sink) = &args.sink {
        only(&mut results, sink)?;
    }
    if let Some(rows) = args.show {
        for (sink, path) in results.outputs.iter() {
            if results.outputs.0.len() > 1 {
                output.say(&format!("{sink}: {path}"));
            }
            let columns = results.schema.get(sink).map_or(&[][..], Vec::as_slice);
            show(&id, sink, rows, columns, client).await?;
        }
    } else if let Some(folder) = &args.output {
        download(&results, folder, client, output).await?;
    } else if output.is_json() {
        output::document(&results)?;
    } else {
        list(&results)?;
    }
    Ok(Exit::Done)
}

/// Where the results are, as a table.
///
/// # Errors
/// Where stdout can't be written to.
pub(crate) fn list(results: &Results) -> Result<()> {
    let rows = results.outputs.iter().map(|(sink, path)| {
        let files = results.files.get(sink).map_or(&[][..], Vec::as_slice);
        let rows = files.iter().map(|file| file.rows).sum();
        let bytes = files.iter().map(|file| file.bytes).sum();
        vec![sink.to_owned(), show_count(rows), show_bytes(bytes), path.clone()]
    });
    output::table(&["RESULT", "ROWS", "SIZE", "PATH"], rows.collect())
}

/// Leaves only one sink in the document.
fn only(results: &mut Results, sink: &str) -> Result<()> {
    fn keep<V>(map: &mut Ordered<V>, sink: &str) {
        map.0.retain(|(name, _)| name == sink);
    }
    if results.outputs.get(sink).is_none() {
        let names: Vec<&str> = results.outputs.iter().map(|(name, _)| name).collect();
        return Err(Error::usage(format!("the job has no result `{sink}`"))
            .help(format!("it has: {}", names.join(", "))));
    }
    keep(&mut results.outputs, sink);
    keep(&mut results.urls, sink);
    keep(&mut results.files, sink);
    keep(&mut results.schema, sink);
    keep(&mut results.rows, sink);
    Ok(())
}

/// Prints the first rows of a result as they come; the rest is not fetched.
async fn show(id: &str, sink: &str, rows: u64, columns: &[Column], client: &Client) -> Result<()> {
    let mut answer = client.download(id, sink).await?;
    let is_csv = content_type(&answer).starts_with("text/csv");
    let mut head: Option<Head> = None;
    loop {
        let chunk = answer.chunk().await.map_err(|error| broken(client, sink, &error))?;
        let Some(chunk) = chunk else { break };
        let head = head.get_or_insert_with(|| {
            let header = u64::from(is_csv && begins_with_names(&chunk, columns));
            Head::new(rows + header, is_csv)
        });
        output::rows(head.take(&chunk))?;
        if head.is_full() {
            break;
        }
    }
    Ok(())
}

/// Whether a CSV's first line is its header: the columns' names.
fn begins_with_names(bytes: &[u8], columns: &[Column]) -> bool {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    !columns.is_empty() && columns.iter().all(|column| line.contains(&column.name))
}

/// Copies the results into a folder; each appears under its name when it is whole.
async fn download(results: &Results, folder: &Path, client: &Client, output: Output) -> Result<()> {
    let disk = RealDisk;
    let (folder, _) = host::output_dir(&disk, Some(folder))?;
    let mut kept = Vec::new();
    for (sink, path) in results.outputs.iter() {
        let mut answer = client.download(&results.job_id, sink).await?;
        let name = match Path::new(path).file_name() {
            Some(name) if is_text(path) => name.to_owned(),
            _ => format!("{}_{sink}.{}", results.job_id, extension(&content_type(&answer))).into(),
        };
        let target = folder.join(name);
        let part = part_of(&target);
        let failed = |error: std::io::Error| {
            let what = format!("cannot write `{}`: {error}", target.display());
            Error::new(Exit::Other, Code::Internal, what)
        };
        let mut file = disk.create(&part).map_err(failed)?;
        let copied = async {
            let mut bytes = 0;
            while let Some(chunk) =
                answer.chunk().await.map_err(|error| broken(client, sink, &error))?
            {
                bytes += chunk.len() as u64;
                file.write_all(&chunk).map_err(failed)?;
            }
            file.sync().map_err(failed)?;
            Ok::<u64, Error>(bytes)
        };
        let outcome = match copied.await {
            Ok(bytes) => whole(results, sink, path, bytes)
                .and_then(|()| disk.rename(&part, &target).map_err(failed).map(|()| bytes)),
            Err(error) => Err(error),
        };
        if outcome.is_err() {
            // The copy failed for a reason that is told; what is left of it helps nobody.
            drop(disk.remove_file(&part));
        }
        output.say(&format!("{sink}: {} in {}", show_bytes(outcome?), target.display()));
        kept.push((sink.to_owned(), target.display().to_string()));
    }
    if output.is_json() {
        let outputs: Ordered<String> = kept.into_iter().collect();
        output::document(&json!({ "job_id": results.job_id, "outputs": outputs }))?;
    } else {
        for (_, path) in kept {
            output::line(&path)?;
        }
    }
    Ok(())
}

/// Whether a text result has come with all its bytes; other formats may be encoded anew.
fn whole(results: &Results, sink: &str, path: &str, bytes: u64) -> Result<()> {
    let files = results.files.get(sink).map_or(&[][..], Vec::as_slice);
    let expected: u64 = files.iter().map(|file| file.bytes).sum();
    if is_text(path) && !files.is_empty() && bytes != expected {
        let what = format!("result `{sink}` has {expected} bytes, {bytes} came");
        return Err(Error::new(Exit::Other, Code::Internal, what));
    }
    Ok(())
}

fn is_text(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|extension| extension == "txt")
}

fn part_of(target: &Path) -> PathBuf {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    target.with_file_name(format!(".{name}.part"))
}

fn content_type(answer: &reqwest::Response) -> String {
    let value = answer.headers().get("content-type").and_then(|value| value.to_str().ok());
    value.unwrap_or_default().to_ascii_lowercase()
}

fn extension(content_type: &str) -> &'static str {
    match content_type.split(';').next().unwrap_or_default().trim() {
        "text/csv" => "csv",
        "application/x-ndjson" | "application/jsonl" | "application/jsonlines" => "jsonl",
        "application/vnd.apache.arrow.file" | "application/vnd.apache.arrow.stream" => "arrow",
        _ => "txt",
    }
}

fn broken(client: &Client, sink: &str, error: &reqwest::Error) -> Error {
    let what = format!("the download of result `{sink}` broke off: {error}");
    Error::new(Exit::Unreachable, Code::FetchFailed, what).at(client.server())
}
