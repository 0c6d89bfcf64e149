//! `/jobs/{id}/results`: where the results are, and their rows.
//!
//! A download is the result's own bytes, in ranges where asked for, or its typed rows encoded
//! anew. Either way it is a bounded stream; nothing of it is read ahead of a slow client.

use std::{io, sync::Arc};

use axum::{
    Extension, Json,
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures::{StreamExt, stream};
use minispark_engine::{
    Error,
    error::Code,
    formats::{self, WriteFormat, compression::Compression},
    sink::commit::Published,
    task::context::CancelFlag,
};
use minispark_flight::{
    Results,
    bridge::{self, Steps, Threads},
    results::{Selection, open},
};
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    BASE, jobs,
    problem::Problem,
    request::{NoParameters, Query, job_id, no_job},
    wire,
};
use crate::master::{
    Master,
    results::{no_results, result_files},
};

mod body;
mod format;
mod range;

use body::{Piece, PieceBytes, RowBytes};
use format::{choose, media_type};
use range::{Wanted, is_known, wanted};

/// How many downloads are under way at once.
const DOWNLOADS_AT_ONCE: usize = 64;

/// How many chunks of downloads are made at once.
const CHUNKS_AT_ONCE: usize = 8;

/// `GET /jobs/{id}/results`: where a completed job's results are.
#[utoipa::path(
    get,
    path = "/jobs/{id}/results",
    operation_id = "listResults",
    tag = "results",
    params(("id" = String, Path, description = "the job")),
    responses(
        (status = 200, description = "where each result is", body = wire::Results),
        (status = 409, description = "`NOT_FINISHED`, `JOB_FAILED` or `CANCELLED`"),
    )
)]
pub(crate) async fn list(
    State(master): State<Arc<Master>>,
    Path(id): Path<String>,
    Query(NoParameters {}): Query<NoParameters>,
) -> Result<Json<wire::Results>, Problem> {
    let job = job_id(&id)?;
    let published = {
        let cluster = master.lock();
        let (view, record) = cluster.job(job).ok_or_else(|| no_job(&id))?;
        if let Some((code, message)) = no_results(&id, view.status, view.error.as_ref()) {
            let place = view.error.as_ref().and_then(|error| jobs::failure(job, error).place);
            return Err(Problem::new(code, message).with_place(place));
        }
        record.saved.published.clone()
    };
    let mut document = wire::Results::of(&id, &published);
    document.urls = published
        .iter()
        .map(|result| (result.sink.clone(), format!("{BASE}/jobs/{id}/results/{}", result.sink)))
        .collect();
    Ok(Json(document))
}

/// What all downloads share.
#[derive(Clone)]
pub(crate) struct Downloads {
    threads: Threads,
    free: Arc<Semaphore>,
}

impl Default for Downloads {
    fn default() -> Self {
        Self {
            threads: Threads::new(CHUNKS_AT_ONCE),
            free: Arc::new(Semaphore::new(DOWNLOADS_AT_ONCE)),
        }
    }
}

/// What `GET /jobs/{id}/results/{sink}` takes.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct DownloadQuery {
    /// The format; else what Accept prefers, else the result's own.
    #[param(inline)]
    format: Option<wire::ResultFormat>,
    /// How many rows are passed over first.
    offset: Option<u64>,
    /// The most rows.
    limit: Option<u64>,
    /// Only this one of the result's files, from 0, as it is; in the result's own format, and not
    /// with `offset` or `limit`.
    file: Option<u64>,
}

/// `GET /jobs/{id}/results/{sink}`: the rows.
#[utoipa::path(
    get,
    path = "/jobs/{id}/results/{sink}",
    operation_id = "downloadResult",
    tag = "results",
    params(
        ("id" = String, Path, description = "the job"),
        ("sink" = String, Path, description = "the result's node"),
        DownloadQuery,
        ("Range" = Option<String>, Header, description = "one range of bytes; own format only"),
        ("If-Range" = Option<String>, Header, description = "the ETag that `Range` is meant for"),
        ("If-None-Match" = Option<String>, Header, description = "ETags that the client has"),
    ),
    responses(
        (status = 200, description = "the rows", content(
            (String = "text/plain"),
            (String = "text/csv"),
            (String = "application/x-ndjson"),
            (String = "application/vnd.apache.parquet"),
            (String = "application/vnd.apache.arrow.file"),
            (String = "application/vnd.apache.arrow.stream"),
        )),
        (status = 206, description = "the range of bytes", content(
            (String = "text/plain"),
            (String = "text/csv"),
            (String = "application/x-ndjson"),
        )),
        (status = 304, description = "the client has it"),
        (status = 409, description = "`NOT_FINISHED`, `JOB_FAILED` or `CANCELLED`"),
        (status = 410, description = "`RESULT_EXPIRED`: a file, or the typed copy, is gone"),
        (status = 416, description = "the range begins behind the end"),
        (status = 503, description = "too many downloads are under way"),
    )
)]
pub(crate) async fn download(
    State(master): State<Arc<Master>>,
    Extension(downloads): Extension<Downloads>,
    Path((id, sink)): Path<(String, String)>,
    Query(query): Query<DownloadQuery>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let published = master.published(&id, &sink)?;
    let format = choose(query.format, &headers, &published.format)?;
    let has_own_format = format == published.format;
    let task = Download {
        master,
        place: format!("sink `{sink}` of job {id}"),
        name: file_name(&id, &published, &format),
        format,
        is_head: method == Method::HEAD,
        downloads,
        headers,
    };
    let selection =
        Selection { columns: None, offset: query.offset.unwrap_or(0), limit: query.limit };
    let mut response = match query.file {
        Some(_) if !has_own_format || selection != Selection::default() => {
            let own = wire::ResultFormat::of(&published.format).name();
            return Err(Problem::bad_request(format!(
                "`file` is of the result's own format, {own}, and whole: leave `offset`, `limit` and any other format out"
            )));
        }
        Some(number) => task.file(&published, number).await?,
        None if has_own_format && selection == Selection::default() && is_one_file(&published) => {
            let pieces = pieces(&published).map_err(|error| task.failed(&error))?;
            task.bytes(pieces, &published.checksum()).await?
        }
        None => task.rows(&id, &published, selection).await?,
    };
    if query.format.is_none() {
        response.headers_mut().append(header::VARY, HeaderValue::from_static("accept"));
    }
    Ok(response)
}

/// One download.
struct Download {
    master: Arc<Master>,
    /// Whose result it is, for messages.
    place: String,
    /// What the client may call the file.
    name: String,
    format: WriteFormat,
    is_head: bool,
    downloads: Downloads,
    headers: HeaderMap,
}

impl Download {
    /// One of the result's files, as it is.
    async fn file(mut self, published: &Published, number: u64) -> Result<Response, Problem> {
        let found = usize::try_from(number).ok().and_then(|number| published.files.get(number));
        let Some(file) = found else {
            let count = published.files.len();
            let detail = format!("{} has {count} files, from 0; there is no {number}", self.place);
            return Err(Problem::not_found(detail));
        };
        if let Some(name) = file.path.file_name() {
            self.name = name.to_string_lossy().into_owned();
        }
        let piece = Piece { path: file.path.clone(), start: 0, end: file.bytes };
        let is_packed = published.format.is_text() && published.compression != Compression::None;
        let mut response = self.bytes(vec![piece], &file.checksum).await?;
        if is_packed {
            // The bytes are a codec's, whatever is inside.
            let media_type = HeaderValue::from_static("application/octet-stream");
            response.headers_mut().insert(header::CONTENT_TYPE, media_type);
        }
        Ok(response)
    }

    /// Bytes of files as they are, or the range of them that the request wants.
    async fn bytes(self, pieces: Vec<Piece>, checksum: &str) -> Result<Response, Problem> {
        let etag = format!("\"{checksum}\"");
        if is_known(&self.headers, &etag) {
            return Ok(not_modified(&etag));
        }
        let length: u64 = pieces.iter().map(|piece| piece.end - piece.start).sum();
        // Of what is not sent no part can be.
        let asked = if self.is_head { Wanted::Whole } else { wanted(&self.headers, &etag, length) };
        let (status, range) = match asked {
            Wanted::Whole => (StatusCode::OK, 0..length),
            Wanted::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
            Wanted::Beyond => return Ok(beyond(length)),
        };
        let pieces = within(pieces, &range);
        let disk = Arc::clone(&self.master.publisher.disk);
        let steps = self.prepared(move || PieceBytes::open(disk, pieces)).await?;
        let mut response = self.answer(steps, &etag).await?;
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(range.end - range.start));
        if status == StatusCode::PARTIAL_CONTENT {
            let place = format!("bytes {}-{}/{length}", range.start, range.end - 1);
            headers.insert(header::CONTENT_RANGE, text(&place));
        }
        Ok(response)
    }

    /// Rows, encoded anew.
    async fn rows(
        self,
        job: &str,
        published: &Published,
        selection: Selection,
    ) -> Result<Response, Problem> {
        // The rows are the same, their bytes may be other ones with the next version.
        let etag = format!(
            "W/\"{}.{}.{}.{}\"",
            published.checksum(),
            self.format.extension(),
            selection.offset,
            selection.limit.map_or_else(String::new, |limit| limit.to_string()),
        );
        if is_known(&self.headers, &etag) {
            return Ok(not_modified(&etag));
        }
        let files = result_files(job, published)?;
        let (disk, budget) = (self.master.disk(), self.master.budget());
        let format = self.format.clone();
        let steps = self.prepared(move || {
            let rows = open(&files, &selection, &disk, &budget, &CancelFlag::default())?;
            let encoder = formats::encoder(&format, &files.schema)?;
            RowBytes::new(rows, encoder, budget.reservation("download"))
        });
        let steps = steps.await?;
        self.answer(steps, &etag).await
    }

    /// What reads and opens files, on a thread that may wait for them.
    async fn prepared<T: Send + 'static>(
        &self,
        open: impl FnOnce() -> minispark_engine::Result<T> + Send + 'static,
    ) -> Result<T, Problem> {
        let opened = self.downloads.threads.run(open).await.and_then(|opened| opened);
        opened.map_err(|error| self.failed(&error))
    }

    /// The answer: its first chunk is made before it begins, so that what can't be read is told
    /// with a status.
    async fn answer<S>(self, steps: S, etag: &str) -> Result<Response, Problem>
    where
        S: Steps<Item = axum::body::Bytes>,
    {
        let body = if self.is_head {
            // Not an empty body, whose length would be told.
            Body::from_stream(stream::empty::<io::Result<axum::body::Bytes>>())
        } else {
            let permit = self.permit()?;
            // Fused, because what compresses may ask once more behind the end.
            let chunks = bridge::stream(steps, self.downloads.threads.clone()).fuse();
            let mut chunks = Box::pin(chunks);
            let first = chunks.next().await.transpose().map_err(|error| self.failed(&error))?;
            let place = self.place.clone();
            let rest = chunks.map(move |chunk| {
                let _held = &permit;
                chunk.map_err(|error| {
                    tracing::warn!(error = error.chain(), "the download of {place} breaks off");
                    io::Error::other("the result can't be read any further")
                })
            });
            Body::from_stream(stream::iter(first.map(Ok)).chain(rest))
        };
        let mut response = body.into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type(&self.format)));
        headers.insert(header::ETAG, text(etag));
        let disposition = format!("attachment; filename=\"{}\"", harmless(&self.name));
        headers.insert(header::CONTENT_DISPOSITION, text(&disposition));
        Ok(response)
    }

    fn permit(&self) -> Result<OwnedSemaphorePermit, Problem> {
        Arc::clone(&self.downloads.free).try_acquire_owned().map_err(|_| {
            let detail = format!("{DOWNLOADS_AT_ONCE} downloads are under way; try again soon");
            Problem::new(Code::Conflict, detail).with_status(StatusCode::SERVICE_UNAVAILABLE)
        })
    }

    /// Why a result can't be sent: clients are told no paths.
    fn failed(&self, error: &Error) -> Problem {
        if let Error::Io { source, .. } = error
            && source.kind() == io::ErrorKind::NotFound
        {
            return Problem::new(Code::ResultExpired, format!("a file of {} is gone", self.place));
        }
        tracing::warn!(error = error.chain(), "{} can't be read", self.place);
        Problem::new(Code::Internal, format!("{} can't be read; the log has more", self.place))
    }
}

/// What is answered to who has the result already.
fn not_modified(etag: &str) -> Response {
    (StatusCode::NOT_MODIFIED, [(header::ETAG, text(etag))]).into_response()
}

/// What is answered to a range that begins behind the end.
fn beyond(length: u64) -> Response {
    let detail = format!("the range begins behind the end; there are {length} bytes");
    let problem = Problem::bad_request(detail).with_status(StatusCode::RANGE_NOT_SATISFIABLE);
    let mut response = problem.into_response();
    let range = text(&format!("bytes */{length}"));
    response.headers_mut().insert(header::CONTENT_RANGE, range);
    response
}

/// A header's value: checksums, numbers and harmless names can all be one.
fn text(value: &str) -> HeaderValue {
    HeaderValue::from_str(value).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// What the client may call the file.
fn file_name(job: &str, published: &Published, format: &WriteFormat) -> String {
    format!("{job}_{}.{}", published.sink, format.extension())
}

/// The name without what could end it, or lead elsewhere.
fn harmless(name: &str) -> String {
    let is_harmless = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    name.chars().map(|c| if is_harmless(c) { c } else { '_' }).collect()
}

/// Whether a result's parts, one behind the other, are one file of its format.
fn is_one_file(published: &Published) -> bool {
    let is_plain = published.format.is_text() && published.compression == Compression::None;
    published.folders.is_empty()
        && (is_plain || (published.files.len() == 1 && !published.format.is_text()))
}

/// The parts of a result, so that one behind the other they are one file of its format: what each
/// part begins with (a CSV header) is left out of all but the first.
fn pieces(published: &Published) -> minispark_engine::Result<Vec<Piece>> {
    let mut opening = Vec::new();
    if published.files.len() > 1 {
        formats::encoder(&published.format, &published.schema)?.begin(&mut opening)?;
    }
    let opening = opening.len() as u64;
    Ok(published
        .files
        .iter()
        .enumerate()
        .map(|(number, file)| Piece {
            path: file.path.clone(),
            start: if number == 0 { 0 } else { opening.min(file.bytes) },
            end: file.bytes,
        })
        .collect())
}

/// What of the pieces lies in a range of them all.
fn within(pieces: Vec<Piece>, range: &std::ops::Range<u64>) -> Vec<Piece> {
    let mut before = 0;
    let mut kept = Vec::new();
    for Piece { path, start, end } in pieces {
        let length = end - start;
        let from = range.start.saturating_sub(before).min(length);
        let to = range.end.saturating_sub(before).min(length);
        if from < to {
            kept.push(Piece { path, start: start + from, end: start + to });
        }
        before += length;
    }
    kept
}

#[cfg(test)]
mod tests {
    use std::{path::Path, sync::Arc};

    use arrow::datatypes::{DataType, Field, Schema};
    use minispark_engine::{
        disk::{Disk, RealDisk},
        formats::{WriteFormat, compression::Compression, csv::CsvWriteOptions},
        sink::commit::{Published, PublishedFile},
    };
    use minispark_flight::bridge::Steps;

    use super::{PieceBytes, harmless, pieces, within};

    #[test]
    fn parts_of_a_csv_result_are_one_file_with_one_header_and_so_are_their_ranges() {
        let folder = tempfile::tempdir().unwrap();
        let part = |name: &str, content: &str| {
            let path = folder.path().join(name);
            let mut file = RealDisk.create(&path).unwrap();
            file.write_all(content.as_bytes()).unwrap();
            PublishedFile { path, rows: 1, bytes: content.len() as u64, checksum: String::new() }
        };
        let published = Published {
            sink: String::from("out"),
            path: Path::new("unused").to_owned(),
            files: vec![part("0", "a,b\n1,2\n"), part("1", "a,b\n3,4\n")],
            rows: 2,
            bytes: 16,
            schema: Arc::new(Schema::new(vec![
                Field::new("a", DataType::Int64, true),
                Field::new("b", DataType::Int64, true),
            ])),
            ordered: false,
            format: WriteFormat::Csv(CsvWriteOptions { header: true, delimiter: b',' }),
            compression: Compression::None,
            folders: Vec::new(),
            typed: None,
            typed_bytes: 0,
        };
        let all = "a,b\n1,2\n3,4\n";
        for (from, to) in (0..=12).flat_map(|from| (from..=12).map(move |to| (from, to))) {
            let pieces = within(pieces(&published).unwrap(), &(from as u64..to as u64));
            let mut steps = PieceBytes::open(RealDisk::shared(), pieces).unwrap();
            let mut read = Vec::new();
            while let Some(chunks) = steps.step().unwrap() {
                for chunk in chunks {
                    read.extend_from_slice(&chunk);
                }
            }
            assert_eq!(String::from_utf8(read).unwrap(), all[from..to], "{from}..{to}");
        }
    }

    #[test]
    fn a_name_leads_nowhere_and_ends_no_header() {
        assert_eq!(harmless("1_agg.txt"), "1_agg.txt");
        assert_eq!(harmless("../a\"\r\nb é"), ".._a___b__");
    }
}
