//! Finished results as the data plane asks for them: by job and sink.

use std::sync::{Arc, PoisonError};

use minispark_engine::{
    disk::Disk,
    error::Code,
    formats::{DeclaredColumn, Format, WriteFormat, csv::CsvOptions, jsonl::JsonlOptions},
    id::JobId,
    memory::Budget,
    plan::InputFile,
    schedule::JobStatus,
    sink::commit::Published,
};
use minispark_flight::{Refusal, ResultFiles, ResultSource, Results};

use super::{Master, cluster::sink_ids};

impl Results for Master {
    fn find(&self, job: &str, sink: &str) -> Result<ResultFiles, Refusal> {
        let published = self.published(job, sink)?;
        result_files(job, &published)
    }

    fn list(&self) -> Vec<ResultFiles> {
        let cluster = self.cluster.lock().unwrap_or_else(PoisonError::into_inner);
        cluster
            .results()
            .filter_map(|(job, published)| result_files(&job.to_string(), published).ok())
            .collect()
    }

    fn disk(&self) -> Arc<dyn Disk> {
        Arc::clone(&self.publisher.disk)
    }

    fn budget(&self) -> Budget {
        self.publisher.budget.clone()
    }
}

impl Master {
    /// A sink's result in place, as of a completed job.
    ///
    /// # Errors
    /// Why there is none: no such job or sink, not finished, failed, cancelled.
    pub(crate) fn published(&self, job: &str, sink: &str) -> Result<Published, Refusal> {
        let unknown = || Refusal::new(Code::NotFound, format!("no job `{job}`"));
        let id: JobId = job.parse().map_err(|_| unknown())?;
        let cluster = self.cluster.lock().unwrap_or_else(PoisonError::into_inner);
        let (view, record) = cluster.job(id).ok_or_else(unknown)?;
        let sinks = sink_ids(&view.plan);
        if !sinks.iter().any(|known| known == sink) {
            let known = sinks.join("`, `");
            let message = format!("job {job} has no sink `{sink}`; it has `{known}`");
            return Err(Refusal::new(Code::NotFound, message));
        }
        if let Some((code, message)) = no_results(job, view.status, view.error.as_ref()) {
            return Err(Refusal::new(code, message));
        }
        let published = record.saved.published.iter().find(|published| published.sink == sink);
        published.cloned().ok_or_else(|| {
            let message = format!("the result of sink `{sink}` is gone");
            Refusal::new(Code::ResultExpired, message)
        })
    }
}

/// Why a job has no results; `None` where it has.
pub(crate) fn no_results(
    job: &str,
    status: JobStatus,
    error: Option<&minispark_engine::schedule::JobError>,
) -> Option<(Code, String)> {
    match status {
        JobStatus::Completed => None,
        JobStatus::Accepted => {
            Some((Code::NotFinished, format!("job {job} is ACCEPTED and has no results yet")))
        }
        JobStatus::Running => {
            Some((Code::NotFinished, format!("job {job} is RUNNING and has no results yet")))
        }
        JobStatus::Failed => {
            let why = error.map_or("", |error| error.failure.message.as_str());
            Some((Code::JobFailed, format!("job {job} FAILED: {why}")))
        }
        JobStatus::Cancelled => Some((Code::Cancelled, format!("job {job} was CANCELLED"))),
    }
}

fn result_files(job: &str, published: &Published) -> Result<ResultFiles, Refusal> {
    Ok(ResultFiles {
        job: String::from(job),
        sink: published.sink.clone(),
        schema: Arc::clone(&published.schema),
        rows: published.rows,
        bytes: published.bytes,
        ordered: published.ordered,
        source: source(published)?,
    })
}

/// Where typed rows can be read: the kept copy, or a writer's own files.
fn source(published: &Published) -> Result<ResultSource, Refusal> {
    if let Some(typed) = &published.typed {
        return Ok(ResultSource::Arrow(typed.clone()));
    }
    let declared = || {
        let fields = published.schema.fields().iter();
        fields
            .map(|field| DeclaredColumn {
                name: field.name().clone(),
                data_type: Some(field.data_type().clone()),
            })
            .collect()
    };
    let format = match &published.format {
        WriteFormat::Csv(options) => Format::Csv(CsvOptions {
            header: options.header,
            columns: Some(declared()),
            delimiter: options.delimiter,
        }),
        WriteFormat::Jsonl => Format::Jsonl(JsonlOptions { columns: Some(declared()) }),
        WriteFormat::Text | WriteFormat::Arrow => {
            let message = format!("the typed rows of sink `{}` are gone", published.sink);
            return Err(Refusal::new(Code::ResultExpired, message));
        }
    };
    let files = published.files.iter();
    let files =
        files.map(|file| InputFile { path: file.path.clone(), size_bytes: file.bytes }).collect();
    Ok(ResultSource::Files { format, files })
}
