//! `/jobs/{id}/bad-rows`: the rows that a finished job put aside.

use std::{io, path::PathBuf, sync::Arc};

use axum::{
    extract::{Path, State},
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use minispark_engine::{
    disk::Disk,
    error::Code,
    sink::bad_rows::{file_name, folder},
};
use serde::Deserialize;

use super::{
    BASE,
    problem::Problem,
    request::{Query, cursor, job_id, no_job, page_limit, place},
};
use crate::master::{Master, results::no_results};

/// A page ends with the row that reaches so many bytes.
const PAGE_BYTES: usize = 4 << 20;
/// How much is read at once.
const READ_BYTES: usize = 256 << 10;
/// The bits of a cursor that say a place in a file; those above say which file.
const PLACE_BITS: u32 = 48;

/// What `GET /jobs/{id}/bad-rows` takes.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct BadRowsQuery {
    /// The most rows on the page.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<usize>,
    /// The page, as the `Link` before it named it.
    #[param(pattern = "^j[0-9a-f]{1,16}$")]
    cursor: Option<String>,
}

/// `GET /jobs/{id}/bad-rows`: JSON Lines, node after node, in the order of the inputs.
#[utoipa::path(
    get,
    path = "/jobs/{id}/bad-rows",
    operation_id = "listBadRows",
    tag = "results",
    params(("id" = String, Path, description = "the job"), BadRowsQuery),
    responses(
        (status = 200, description = "a page; empty where no row was put aside",
            content_type = "application/x-ndjson", body = String,
            headers(("link" = Option<String>, description = "`rel=\"next\"`: the next page"))),
        (status = 409, description = "`NOT_FINISHED`, `JOB_FAILED` or `CANCELLED`"),
    )
)]
pub(crate) async fn list(
    State(master): State<Arc<Master>>,
    Path(id): Path<String>,
    Query(query): Query<BadRowsQuery>,
) -> Result<Response, Problem> {
    let job = job_id(&id)?;
    let limit = page_limit(query.limit)?;
    let from = place(query.cursor.as_deref())?.unwrap_or(0);
    let files: Vec<PathBuf> = {
        let cluster = master.lock();
        let (view, _) = cluster.job(job).ok_or_else(|| no_job(&id))?;
        if let Some((code, message)) = no_results(&id, view.status, view.error.as_ref()) {
            return Err(Problem::new(code, message));
        }
        let folder = folder(&view.plan, job, &master.publisher.output_dir);
        view.plan.nodes.iter().map(|node| folder.join(file_name(&node.id))).collect()
    };
    let disk = Arc::clone(&master.publisher.disk);
    let reading = tokio::task::spawn_blocking(move || page(&*disk, &files, from, limit));
    let (rows, next) = reading
        .await
        .map_err(|error| error.to_string())
        .and_then(|read| read.map_err(|error| error.to_string()))
        .map_err(|reason| Problem::new(Code::Internal, format!("bad rows: {reason}")))?;
    let mut response = rows.into_response();
    let kind = HeaderValue::from_static("application/x-ndjson");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    let link = next.map(cursor).map(|cursor| {
        format!("<{BASE}/jobs/{job}/bad-rows?limit={limit}&cursor={cursor}>; rel=\"next\"")
    });
    if let Some(link) = link.and_then(|link| HeaderValue::from_str(&link).ok()) {
        response.headers_mut().insert(header::LINK, link);
    }
    Ok(response)
}

/// The lines from a place on, and where the next page begins.
fn page(
    disk: &dyn Disk,
    files: &[PathBuf],
    from: u64,
    limit: usize,
) -> io::Result<(Vec<u8>, Option<u64>)> {
    let (mut rows, mut lines) = (Vec::new(), 0);
    let first = usize::try_from(from >> PLACE_BITS).unwrap_or(usize::MAX);
    let mut offset = from & ((1 << PLACE_BITS) - 1);
    for (number, path) in files.iter().enumerate().skip(first) {
        if disk.exists(path) {
            let file = disk.open(path)?;
            let mut piece = vec![0; READ_BYTES];
            loop {
                let read = file.read_at(&mut piece, offset)?;
                if read == 0 {
                    break;
                }
                for byte in &piece[..read] {
                    if lines == limit || (rows.len() >= PAGE_BYTES && rows.last() == Some(&b'\n')) {
                        return Ok((rows, Some((number as u64) << PLACE_BITS | offset)));
                    }
                    rows.push(*byte);
                    offset += 1;
                    lines += usize::from(*byte == b'\n');
                }
            }
        }
        offset = 0;
    }
    Ok((rows, None))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use minispark_engine::disk::{Disk, RealDisk};

    use super::page;

    #[test]
    fn pages_go_through_all_files_and_end() {
        let folder = tempfile::tempdir().unwrap();
        let files = ["a", "none", "b"].map(|name| folder.path().join(name));
        for (file, text) in [(&files[0], "1\n2\n3\n"), (&files[2], "4\n")] {
            RealDisk.create(file).unwrap().write_all(text.as_bytes()).unwrap();
        }
        let (mut from, mut seen) = (0, Vec::new());
        loop {
            let (rows, next) = page(&RealDisk, &files, from, 2).unwrap();
            seen.push(String::from_utf8(rows).unwrap());
            let Some(next) = next else { break };
            from = next;
        }
        assert_eq!(seen, ["1\n2\n", "3\n4\n"]);
    }
}
