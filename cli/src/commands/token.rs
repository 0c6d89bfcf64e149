//! `token`: makes, lists and revokes the tokens of a master's token file.

use std::path::Path;

use chrono::{DateTime, SecondsFormat, Utc};
use minispark_api::auth::file::{self, FileError, Token};
use minispark_engine::{
    error::Code,
    runtime::{Clock, SystemClock},
};
use serde::Serialize;

use crate::{
    args,
    error::{Error, Exit, Result},
    output::{self, Output},
};

/// Does what is asked with the tokens of the file at `path`.
///
/// # Errors
/// Where no file is named, it can't be read or written, or there is no such token.
pub(crate) fn token(verb: args::Token, path: Option<&Path>, output: Output) -> Result<Exit> {
    let path = path.ok_or_else(|| {
        Error::usage("no token file is named")
            .help("add --token-file FILE, or set [auth] token_file in the configuration")
    })?;
    match verb {
        args::Token::New(args) => new(&args, path, output),
        args::Token::List => list(path, output),
        args::Token::Revoke(args) => revoke(&args, path, output),
    }
}

/// A token as it is shown.
#[derive(Serialize)]
struct Shown {
    name: String,
    role: &'static str,
    created: String,
    expires: Option<String>,
    /// Only where it was just made.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
}

impl Shown {
    fn of(token: &Token, secret: Option<String>) -> Self {
        let time = |time: &DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Secs, true);
        Self {
            name: token.name.clone(),
            role: token.role.name(),
            created: time(&token.created),
            expires: token.expires.as_ref().map(time),
            token: secret,
        }
    }
}

fn new(args: &args::NewToken, path: &Path, output: Output) -> Result<Exit> {
    let now = SystemClock::start().wall().to_utc();
    let expires = args.expires.map(|life| now + life);
    let (token, secret) =
        file::add(path, &args.name, args.role, now, expires).map_err(|error| refused(&error))?;
    if output.json_asked() {
        output::document(&Shown::of(&token, Some(secret.expose().to_owned())))?;
    } else {
        output::line(secret.expose())?;
    }
    output.say("the secret is shown this once; give it to its user in a file of mode 0600");
    Ok(Exit::Done)
}

fn list(path: &Path, output: Output) -> Result<Exit> {
    let tokens = file::read(path).map_err(|error| refused(&error))?;
    let tokens: Vec<Shown> = tokens.iter().map(|token| Shown::of(token, None)).collect();
    if output.is_json() {
        output::document(&tokens)?;
        return Ok(Exit::Done);
    }
    let rows = tokens.into_iter().map(|Shown { name, role, created, expires, .. }| {
        vec![name, role.to_owned(), created, expires.unwrap_or_else(|| "never".to_owned())]
    });
    output::table(&["NAME", "ROLE", "CREATED", "EXPIRES"], rows.collect())?;
    Ok(Exit::Done)
}

fn revoke(args: &args::RevokeToken, path: &Path, output: Output) -> Result<Exit> {
    let count = file::revoke(path, &args.name, args.role).map_err(|error| refused(&error))?;
    if count == 0 {
        let what = format!("no such token: `{}`", args.name);
        return Err(Error::new(Exit::Other, Code::NotFound, what)
            .at(path.display().to_string())
            .help("list them: minispark token list"));
    }
    let plural = if count == 1 { "" } else { "s" };
    output.say(&format!("{count} token{plural} revoked; a running master sees it within a second"));
    Ok(Exit::Done)
}

/// Why a token file, or a file with a secret, can't be used.
pub(super) fn refused(error: &FileError) -> Error {
    use std::error::Error as _;
    let source = error.source().map(|source| format!(": {source}")).unwrap_or_default();
    let (exit, code) = match error {
        FileError::Open { .. } => (Exit::NotAllowed, Code::Forbidden),
        FileError::Busy { .. } | FileError::Taken { .. } => (Exit::Conflict, Code::Conflict),
        FileError::Name => (Exit::Usage, Code::BadRequest),
        FileError::Io { .. } | FileError::Line { .. } | FileError::Random(_) => {
            (Exit::Other, Code::BadRequest)
        }
    };
    Error::new(exit, code, format!("{error}{source}"))
}
