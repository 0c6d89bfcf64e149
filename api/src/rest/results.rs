//! `/jobs/{id}/results`: where the results are, and their bytes.

use std::{io, path::PathBuf, sync::Arc};

use axum::{
    Json,
    body::{Body, Bytes},
    extract::{Path, State},
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use futures::{Stream, stream};
use minispark_engine::{
    disk::{Disk, ReadAt},
    error::Code,
    formats::{self, WriteFormat},
    sink::commit::Published,
};

use super::{
    BASE, jobs,
    problem::Problem,
    request::{NoParameters, Query, job_id, no_job},
    wire,
};
use crate::master::{Master, results::no_results};

/// How much of a file is read at once.
const CHUNK_BYTES: usize = 256 << 10;

/// `GET /jobs/{id}/results`.
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

/// `GET /jobs/{id}/results/{sink}`: the result's bytes in its own format, as one stream.
pub(crate) async fn download(
    State(master): State<Arc<Master>>,
    Path((id, sink)): Path<(String, String)>,
    Query(NoParameters {}): Query<NoParameters>,
) -> Result<Response, Problem> {
    let published = master
        .published(&id, &sink)
        .map_err(|refusal| Problem::new(refusal.code, refusal.message))?;
    let pieces = pieces(&published).map_err(|error| Problem::from(&error))?;
    let length: u64 = pieces.iter().map(|piece| piece.end - piece.start).sum();
    let disk = Arc::clone(&master.site.disk);
    for piece in &pieces {
        if !disk.exists(&piece.path) {
            let detail = format!("a file of sink `{sink}` is gone");
            return Err(Problem::new(Code::ResultExpired, detail));
        }
    }
    let body = Body::from_stream(bytes(disk, pieces));
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type(&published.format)));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    Ok(response)
}

fn media_type(format: &WriteFormat) -> &'static str {
    match format {
        WriteFormat::Text => "text/plain; charset=utf-8",
        WriteFormat::Csv(_) => "text/csv; charset=utf-8",
        WriteFormat::Jsonl => "application/x-ndjson",
        WriteFormat::Arrow => "application/vnd.apache.arrow.file",
    }
}

/// A range of a file.
struct Piece {
    path: PathBuf,
    start: u64,
    end: u64,
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

/// The bytes of pieces, one chunk at a time; nothing is read ahead of a slow client.
fn bytes(disk: Arc<dyn Disk>, pieces: Vec<Piece>) -> impl Stream<Item = io::Result<Bytes>> {
    let reader = Reader { disk, pieces: pieces.into_iter(), open: None };
    stream::try_unfold(reader, |mut reader| async move {
        // No thread waits for the client: each chunk is a short job of its own.
        tokio::task::spawn_blocking(move || {
            let chunk = reader.chunk()?;
            Ok(chunk.map(|chunk| (chunk, reader)))
        })
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)))
    })
}

struct Reader {
    disk: Arc<dyn Disk>,
    pieces: std::vec::IntoIter<Piece>,
    open: Option<(Arc<dyn ReadAt>, Piece)>,
}

impl Reader {
    fn chunk(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            let Some((file, piece)) = &mut self.open else {
                let Some(piece) = self.pieces.next() else { return Ok(None) };
                self.open = Some((self.disk.open(&piece.path)?, piece));
                continue;
            };
            let rest = usize::try_from(piece.end - piece.start).unwrap_or(usize::MAX);
            if rest == 0 {
                self.open = None;
                continue;
            }
            let mut chunk = vec![0; rest.min(CHUNK_BYTES)];
            file.read_exact_at(&mut chunk, piece.start)?;
            piece.start += chunk.len() as u64;
            return Ok(Some(Bytes::from(chunk)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{path::Path, sync::Arc};

    use arrow::datatypes::{DataType, Field, Schema};
    use axum::body::{Body, to_bytes};
    use minispark_engine::{
        disk::{Disk, RealDisk},
        formats::{WriteFormat, csv::CsvWriteOptions},
        sink::commit::{Published, PublishedFile},
    };

    use super::{bytes, pieces};

    #[tokio::test]
    async fn parts_of_a_csv_result_are_one_file_with_one_header() {
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
            typed: None,
            typed_bytes: 0,
        };
        let pieces = pieces(&published).unwrap();
        let length: u64 = pieces.iter().map(|piece| piece.end - piece.start).sum();
        let body = Body::from_stream(bytes(RealDisk::shared(), pieces));
        let read = to_bytes(body, 100).await.unwrap();
        assert_eq!((&read[..], length), (&b"a,b\n1,2\n3,4\n"[..], 12));
    }
}
