//! What the verbs share: one file per verb, each from its arguments to its exit code.

use std::path::PathBuf;

use minispark_api::{
    auth::{Secret, file},
    rest::wire::Finding,
};
use minispark_engine::{error::Code, job::check::Problem};
use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{Signal, SignalKind, signal},
};

use crate::{
    args::{self, Cli, Global, Verb},
    client::Client,
    config::Settings,
    error::{Error, Exit, Result},
    logging,
    output::Output,
};

mod run;
mod validate;
mod files;
mod explain;
mod generate;
mod master;
mod worker;
mod dev;
mod submit;
mod status;
mod results;
mod bad_rows;
mod events;
mod workers;
mod cluster;
mod cancel;
mod token;
mod config;
mod rm;
mod gc;
mod health;
mod version;
mod follow;

/// Does what the command line says.
///
/// # Errors
/// Whatever keeps the verb from being done.
pub(crate) fn execute(cli: Cli, settings: Result<Settings>, output: Output) -> Result<Exit> {
    let Cli { global, verb } = cli;
    let Some(verb) = verb else {
        return Err(Error::usage("no command"));
    };
    let settings = match &verb {
        Verb::Version | Verb::Config(args::Config::Check { .. }) => settings.unwrap_or_default(),
        _ => settings?,
    };
    let level = if matches!(verb, Verb::Master(_) | Verb::Worker(_)) { "info" } else { "warn" };
    logging::start(&global, level)?;
    let master_tokens = || global.token_file.clone().or_else(|| settings.master_tokens());
    let remote = || Client::new(&global.server, client_token(&global, &settings)?);
    match verb {
        Verb::Run(args) => run::run(&args, output),
        Verb::Validate(args) => validate::validate(&args, output),
        Verb::Explain(args) => explain::explain(&args, output),
        Verb::Sql(args) => files::sql(&args, output),
        Verb::Head(args) => files::head(&args, output),
        Verb::Schema(args) => files::schema(&args, output),
        Verb::Describe(args) => files::describe(&args, output),
        Verb::Count(args) => files::count(&args, output),
        Verb::Convert(args) => files::convert(&args, output),
        Verb::Generate(args) => generate::generate(&args, output),
        Verb::Master(args) => master::master(&args, master_tokens(), output),
        Verb::Worker(args) => {
            worker::worker(args, &global.server, client_token(&global, &settings)?)
        }
        Verb::Dev(args) => dev::dev(&args, &global, client_token(&global, &settings)?, output),
        Verb::Submit(args) => control()?.block_on(submit::submit(&args, &remote()?, output)),
        Verb::Status(args) => control()?.block_on(status::status(&args, &remote()?, output)),
        Verb::Results(args) => control()?.block_on(results::results(&args, &remote()?, output)),
        Verb::BadRows(args) => control()?.block_on(bad_rows::bad_rows(&args, &remote()?)),
        Verb::Events(args) => control()?.block_on(events::events(&args, &remote()?)),
        Verb::Workers => control()?.block_on(workers::workers(&remote()?, output)),
        Verb::Cluster => control()?.block_on(cluster::cluster(&remote()?, output)),
        Verb::Cancel(args) => control()?.block_on(cancel::cancel(&args, &remote()?, output)),
        Verb::Token(verb) => token::token(verb, master_tokens().as_deref(), output),
        Verb::Config(args::Config::Show(args)) => config::show(&args, &settings, output),
        Verb::Config(args::Config::Check { file }) => config::check(&file, output),
        Verb::Rm(args) => control()?.block_on(rm::rm(&args, &remote()?, output)),
        Verb::Gc => control()?.block_on(gc::gc(&remote()?, output)),
        Verb::Health(args) => health::health(&args, &global.server, output),
        Verb::Version => version::version(output),
    }
}

/// The environment variable that holds a token, for those who have no file.
const TOKEN_VARIABLE: &str = "MINISPARK_TOKEN";

/// What this user is let in by, if there is anything.
fn client_token(global: &Global, settings: &Settings) -> Result<Option<Secret>> {
    let read = |path: &PathBuf| file::read_secret(path).map_err(|error| token::refused(&error));
    if let Some(path) = &global.token_file {
        return read(path).map(Some);
    }
    let Some(text) = std::env::var_os(TOKEN_VARIABLE).filter(|text| !text.is_empty()) else {
        return settings.client_token().as_ref().map(read).transpose();
    };
    match text.to_str().and_then(|text| Secret::checked(text.trim())) {
        Some(secret) => Ok(Some(secret)),
        None => Err(Error::usage(format!(
            "{TOKEN_VARIABLE} holds no token: that has at least 32 visible characters"
        ))),
    }
}

/// A runtime for a few calls: the calling thread alone.
fn control() -> Result<Runtime> {
    Builder::new_current_thread().enable_all().build().map_err(|error| system(&error))
}

/// The most threads of a server that may block, on files for the most part. Each keeps some memory
/// of its own, so they are few.
const BLOCKING_THREADS: usize = 32;

/// A runtime for a server: a thread per core.
fn service() -> Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    builder
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()
        .map_err(|error| system(&error))
}

fn system(error: &std::io::Error) -> Error {
    Error::new(Exit::Other, Code::Internal, format!("the system refuses threads: {error}"))
}

/// The signals that ask a process to end.
struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    /// From now on the signals no longer end the process by themselves. Needs a runtime.
    fn listen() -> Result<Self> {
        let listen = |kind| signal(kind).map_err(|error| system(&error));
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    /// The next one, as the exit code that it means.
    async fn next(&mut self) -> Exit {
        tokio::select! {
            _ = self.interrupt.recv() => Exit::Interrupted,
            _ = self.terminate.recv() => Exit::Terminated,
        }
    }
}

/// Why a document is refused: all its problems, and where the JSON breaks off if it does.
fn invalid(document: &str, shown: &str, problems: &[Problem]) -> Error {
    let findings: Vec<Finding> = problems.iter().map(finding).collect();
    let count = findings.len();
    let what = match findings.as_slice() {
        [one] => one.message.clone(),
        _ => format!("the job document has {count} problems"),
    };
    let place = match serde_json::from_str::<serde::de::IgnoredAny>(document) {
        Err(error) if error.line() > 0 => format!("{shown}:{}:{}", error.line(), error.column()),
        _ => shown.to_owned(),
    };
    let mut error = Error::new(Exit::InvalidJob, Code::ValidationFailed, what).at(place);
    error.findings = findings;
    error
}

fn finding(problem: &Problem) -> Finding {
    let code = serde_json::json!(problem.code);
    Finding {
        pointer: problem.pointer.clone(),
        code: code.as_str().unwrap_or_default().to_owned(),
        message: problem.message.clone(),
        suggestion: problem.suggestion.clone(),
    }
}

/// Says what was strange in a document and did not stop it.
fn warn(findings: &[Finding], output: Output) {
    for finding in findings {
        let Finding { pointer, message, suggestion, .. } = finding;
        let hint = suggestion.as_ref().map(|text| format!("; did you mean `{text}`?"));
        let hint = hint.unwrap_or_default();
        output.say(&crate::error::printable(&format!("warning: {pointer}: {message}{hint}")));
    }
}
