//! `submit`: hands a job document to a master, as it stands.

use std::{io::Read, path::Path};

use minispark_engine::{disk::RealDisk, error::Code, id::JobId};

use super::{Stop, explain, follow, status, warn};
use crate::{
    args,
    client::Client,
    error::{Error, Exit, Result},
    host,
    output::{self, Output},
};

/// Submits; with `--wait` follows the job to its end.
///
/// # Errors
/// Where the document can't be read, or the master refuses it or can't be reached.
pub(crate) async fn submit(args: &args::Submit, client: &Client, output: Output) -> Result<Exit> {
    let (document, shown) = read(&args.file)?;
    is_json(&document, &shown)?;
    let document = host::with_parameters(document, &args.parameters, &shown)?;
    if args.dry_run {
        let explained =
            client.dry_run(&document, args.strict).await.map_err(|e| placed(e, &shown))?;
        warn(&explained.warnings, output);
        if output.is_json() {
            output::document(&explained)?;
        } else {
            explain::text::lines(&explained.plan).iter().try_for_each(|line| output::line(line))?;
        }
        return Ok(Exit::Done);
    }
    let key = args.idempotency_key.clone().unwrap_or_else(|| JobId::random().to_string());
    let mut stop = (args.wait || args.watch).then(Stop::listen).transpose()?;
    let submitted =
        client.submit(&document, args.strict, &key).await.map_err(|e| placed(e, &shown))?;
    warn(&submitted.warnings, output);
    let id = &submitted.job_id;
    let Some(stop) = &mut stop else {
        if output.is_json() {
            output::document(&submitted)?;
        } else {
            output::line(&format!("{id}  {}", submitted.status))?;
            output.say(&format!("follow it with: minispark status {id} --watch"));
        }
        return Ok(Exit::Done);
    };
    output.say(&format!("job {id} {}", submitted.status));
    match follow::follow(client, id, stop, output, args.watch).await? {
        Ok(job) => status::ended(&job, client, output).await,
        Err(exit) => {
            output.say(&format!("the job goes on; to end it: minispark cancel {id}"));
            Ok(exit)
        }
    }
}

/// What a master refuses is wrong in the document.
fn placed(error: Error, document: &str) -> Error {
    match error.exit {
        Exit::InvalidJob => error.at(document),
        _ => error,
    }
}

/// The document and how its place is named.
fn read(file: &Path) -> Result<(String, String)> {
    if file != Path::new("-") {
        return Ok((host::read_document(&RealDisk, file)?, file.display().to_string()));
    }
    let shown = "stdin".to_owned();
    let limit = host::document_limit_bytes();
    let mut bytes = Vec::new();
    std::io::stdin().lock().take(limit + 1).read_to_end(&mut bytes).map_err(|error| {
        Error::new(Exit::Other, Code::BadRequest, format!("cannot read the job: {error}"))
            .at(&*shown)
    })?;
    let whole = (bytes.len() as u64 <= limit).then_some(bytes);
    Ok((host::document(whole, &shown)?, shown))
}

/// A document that is no JSON is refused here, where its file, line and column are known.
fn is_json(document: &str, shown: &str) -> Result<()> {
    serde_json::from_str::<serde::de::IgnoredAny>(document).map(drop).map_err(|error| {
        Error::new(Exit::InvalidJob, Code::ValidationFailed, format!("not JSON: {error}"))
            .at(format!("{shown}:{}:{}", error.line(), error.column()))
    })
}
