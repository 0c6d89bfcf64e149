//! `explain`: what a job will do, or did, as text, JSON, a graph or SQL.

use minispark_engine::{
    disk::RealDisk,
    error::Code,
    plan::{
        explain::Explanation,
        sql::{self, Dialect},
    },
    runtime::{Session, SessionOptions},
    schedule::JobStatus,
    sink::STAGING,
    task::context::CancelFlag,
};

use super::{
    finding, invalid,
    run::{Interrupt, failure, watched},
    warn,
};
use crate::{
    args::{self, PlanFormat, SqlDialect},
    error::{Error, Exit, Result},
    host,
    output::{self, Output},
};

mod dot;
pub(super) mod text;

/// Explains the document as `run` would run it.
///
/// # Errors
/// All problems of the document; with `--analyze` why the job failed.
pub(crate) fn explain(args: &args::Explain, output: Output) -> Result<Exit> {
    if args.format != PlanFormat::Sql && (args.dialect.is_some() || args.sink.is_some()) {
        return Err(Error::usage("--dialect and --sink are of --format sql"));
    }
    let disk = RealDisk;
    let document = host::read_document(&disk, &args.file)?;
    let shown = args.file.display().to_string();
    let document = host::with_parameters(document, &args.parameters, &shown)?;
    let (output_dir, note) = host::output_dir(&disk, args.output_dir.as_deref())?;
    if let Some(note) = note {
        output.say(&note);
    }
    let session = Session::new(SessionOptions {
        data: host::data_disks(),
        base_dir: host::working_directory()?,
        scratch_dir: output_dir.join(STAGING),
        output_dir,
        threads: args.threads.map_or_else(host::default_threads, usize::from),
        memory_bytes: args.memory.unwrap_or_else(host::default_memory_bytes),
    })?;
    let checked = session
        .check(&document, args.strict)
        .map_err(|problems| invalid(&document, &shown, &problems))?;
    warn(&checked.warnings.iter().map(finding).collect::<Vec<_>>(), output);
    if args.format == PlanFormat::Sql {
        let dialect = match args.dialect {
            None | Some(SqlDialect::Duckdb) => Dialect::DuckDb,
            Some(SqlDialect::Spark) => Dialect::Spark,
        };
        let statement = sql::statement(&checked.plan, args.sink.as_deref(), dialect);
        let statement = statement.map_err(|refusal| refused(&shown, &refusal))?;
        output::data(statement.as_bytes())?;
        return Ok(Exit::Done);
    }
    if !args.analyze {
        show(&session.explain(checked)?, args.format, output)?;
        return Ok(Exit::Done);
    }
    let cancel = CancelFlag::default();
    let interrupt = Interrupt::listen(cancel.clone(), output)?;
    let (outcome, explanation) = watched(&session, checked, true, &cancel, output)?;
    let signal = interrupt.end();
    if let Some(explanation) = explanation {
        show(&explanation, args.format, output)?;
    }
    match outcome.status {
        JobStatus::Completed => Ok(Exit::Done),
        JobStatus::Cancelled => Ok(signal.unwrap_or(Exit::JobCancelled)),
        JobStatus::Failed | JobStatus::Accepted | JobStatus::Running => {
            Err(failure(outcome.error.as_ref()))
        }
    }
}

fn show(explanation: &Explanation, format: PlanFormat, output: Output) -> Result<()> {
    match format {
        PlanFormat::Text if output.json_asked() => output::document(explanation),
        PlanFormat::Json => output::document(explanation),
        PlanFormat::Dot => output::data(dot::graph(explanation).as_bytes()),
        PlanFormat::Text | PlanFormat::Sql => {
            text::lines(explanation).iter().try_for_each(|line| output::line(line))
        }
    }
}

fn refused(document: &str, refusal: &sql::Refusal) -> Error {
    let told = Error::new(Exit::InvalidJob, Code::ValidationFailed, refusal.reason.clone());
    if refusal.node.is_empty() {
        told.at(document)
    } else {
        told.at(format!("{document}, node {}", refusal.node))
    }
}
