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
    sink::commit::{Published, PublishedFile},
};
use minispark_flight::{Asker, Refusal, ResultFiles, ResultPart, ResultSource, Results};

use super::{Master, cluster::sink_ids};
use crate::auth::{Caller, Deed};

impl Results for Master {
    fn admit(&self, asker: &Asker) -> Result<(), Refusal> {
        self.reader(asker).map(|_| ())
    }

    fn find(&self, asker: &Asker, job: &str, sink: &str) -> Result<ResultFiles, Refusal> {
        let caller = self.reader(asker)?;
        // What a caller does not see is told apart from nothing by nothing.
        let is_hidden = |id: JobId| !self.sees(&caller, id);
        if job.parse().is_ok_and(is_hidden) {
            return Err(no_job(job));
        }
        let published = self.published(job, sink)?;
        result_files(job, &published)
    }

    fn list(&self, asker: &Asker) -> Result<Vec<ResultFiles>, Refusal> {
        let caller = self.reader(asker)?;
        let cluster = self.cluster.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = cluster.results(|job| caller.sees(job.saved.owner.as_deref()));
        Ok(seen
            .filter_map(|(job, published)| result_files(&job.to_string(), published).ok())
            .collect())
    }

    fn disk(&self) -> Arc<dyn Disk> {
        Arc::clone(&self.publisher.disk)
    }

    fn budget(&self) -> Budget {
        self.publisher.budget.clone()
    }
}

fn no_job(job: &str) -> Refusal {
    Refusal::new(Code::NotFound, format!("no job `{job}`"))
}

impl Master {
    /// Who asks, if they may read results.
    fn reader(&self, asker: &Asker) -> Result<Caller, Refusal> {
        let caller = Master::admit(self, asker.authorization.as_deref(), asker.peer)?;
        caller.allow(Deed::Read)?;
        self.door.count(&caller, asker.peer, self.clock.now())?;
        Ok(caller)
    }

    /// A sink's result in place, as of a completed job.
    ///
    /// # Errors
    /// Why there is none: no such job or sink, not finished, failed, cancelled.
    pub(crate) fn published(&self, job: &str, sink: &str) -> Result<Published, Refusal> {
        let unknown = || no_job(job);
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

/// What is read where typed rows of a result are asked for.
pub(crate) fn result_files(job: &str, published: &Published) -> Result<ResultFiles, Refusal> {
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
    let gone = || {
        let message = format!("the typed rows of sink `{}` are gone", published.sink);
        Err(Refusal::new(Code::ResultExpired, message))
    };
    if !published.folders.is_empty() {
        let message = format!(
            "sink `{}` is laid out in folders; download its files, or read them with a job",
            published.sink
        );
        return Err(Refusal::new(Code::ResultExpired, message));
    }
    let format = match &published.format {
        WriteFormat::Csv(options) => Format::Csv(CsvOptions {
            header: options.header,
            columns: Some(declared()),
            delimiter: options.delimiter,
            ..CsvOptions::default()
        }),
        WriteFormat::Jsonl => {
            Format::Jsonl(JsonlOptions { columns: Some(declared()), ..JsonlOptions::default() })
        }
        WriteFormat::Parquet => Format::Parquet,
        WriteFormat::Arrow | WriteFormat::ArrowStream => Format::Arrow,
        WriteFormat::Text => return gone(),
    };
    let part = |file: &PublishedFile| ResultPart {
        file: InputFile { path: file.path.clone(), size_bytes: file.bytes, version: None },
        rows: file.rows,
    };
    let files = published.files.iter().map(part).collect();
    Ok(ResultSource::Files { format, files })
}
