//! `results`: where a finished job's results are, their first rows, or a copy of them.

use minispark_api::rest::wire::{Column, Ordered, ResultFormat, Results};
use minispark_engine::error::Code;

use crate::{
    args,
    client::{Client, Wanted},
    error::{Error, Exit, Result},
    output::{self, Output, head::Head},
    units::{show_bytes, show_count},
};

mod download;

use download::download;

/// Does what was asked for with the results of a job.
///
/// # Errors
/// Where the job has none (yet), or they can't be had or kept.
pub(crate) async fn results(args: &args::Results, client: &Client, output: Output) -> Result<Exit> {
    let format = args.format.map(wire_format);
    check_format(args, format)?;
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
            match format {
                Some(format) => show_as(&id, sink, rows, format, client).await?,
                None => show(&id, sink, rows, columns, client).await?,
            }
        }
    } else if let Some(folder) = &args.output {
        download(&results, folder, format, client, output).await?;
    } else if output.is_json() {
        output::document(&results)?;
    } else {
        list(&results)?;
    }
    Ok(Exit::Done)
}

fn wire_format(format: args::Format) -> ResultFormat {
    match format {
        args::Format::Text => ResultFormat::Text,
        args::Format::Csv => ResultFormat::Csv,
        args::Format::Jsonl => ResultFormat::Jsonl,
        args::Format::Parquet => ResultFormat::Parquet,
        args::Format::Arrow => ResultFormat::Arrow,
    }
}

/// Refuses a format that would have no effect, or that is not for eyes.
fn check_format(args: &args::Results, format: Option<ResultFormat>) -> Result<()> {
    let Some(format) = format else { return Ok(()) };
    if args.show.is_none() && args.output.is_none() {
        return Err(Error::usage("--format needs --output or --show"));
    }
    if args.show.is_some() && matches!(format, ResultFormat::Parquet | ResultFormat::Arrow) {
        let what = format!("--show prints text, csv or jsonl, not {}", format.name());
        return Err(Error::usage(what).help("download it with --output"));
    }
    Ok(())
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
    keep(&mut results.formats, sink);
    keep(&mut results.files, sink);
    keep(&mut results.schema, sink);
    keep(&mut results.rows, sink);
    Ok(())
}

/// Prints the first rows of a result as they come; the rest is not fetched.
async fn show(id: &str, sink: &str, rows: u64, columns: &[Column], client: &Client) -> Result<()> {
    let mut answer = client.download(id, sink, Wanted::default()).await?;
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

/// Prints the first rows of a result in a format of text.
async fn show_as(
    id: &str,
    sink: &str,
    rows: u64,
    format: ResultFormat,
    client: &Client,
) -> Result<()> {
    let wanted = Wanted { format: Some(format), limit: Some(rows), ..Wanted::default() };
    let mut answer = client.download(id, sink, wanted).await?;
    while let Some(chunk) = answer.chunk().await.map_err(|error| broken(client, sink, &error))? {
        output::rows(&chunk)?;
    }
    Ok(())
}

/// Whether a CSV's first line is its header: the columns' names.
fn begins_with_names(bytes: &[u8], columns: &[Column]) -> bool {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    !columns.is_empty() && columns.iter().all(|column| line.contains(&column.name))
}

fn content_type(answer: &reqwest::Response) -> String {
    let value = answer.headers().get("content-type").and_then(|value| value.to_str().ok());
    value.unwrap_or_default().to_ascii_lowercase()
}

fn broken(client: &Client, sink: &str, error: &reqwest::Error) -> Error {
    let what = format!("the download of result `{sink}` broke off: {error}");
    Error::new(Exit::Unreachable, Code::FetchFailed, what).at(client.server())
}
