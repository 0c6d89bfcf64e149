//! `config`: what the configuration says, whence, and whether a file of it is right.

use std::path::Path;

use serde_json::{Map, json};

use super::TOKEN_VARIABLE;
use crate::{
    args,
    config::{Origin, Settings},
    error::{Exit, Result},
    output::{self, Output},
};

/// Shows the configuration.
///
/// # Errors
/// Where stdout can't be written to.
pub(crate) fn show(args: &args::ShowConfig, settings: &Settings, output: Output) -> Result<Exit> {
    let mut shown = settings.shown();
    if std::env::var_os(TOKEN_VARIABLE).is_some_and(|token| !token.is_empty()) {
        let origin = Origin::Environment(TOKEN_VARIABLE.to_owned());
        shown.push(("client.token", Some(json!("***")), origin));
    }
    if output.json_asked() {
        let keys = shown.into_iter().map(|(name, value, origin)| {
            (name.to_owned(), json!({ "value": value, "origin": origin.to_string() }))
        });
        output::document(&keys.collect::<Map<_, _>>())?;
        return Ok(Exit::Done);
    }
    // By section, in the order in which sections first appear.
    let mut sections: Vec<&str> = Vec::new();
    for (name, ..) in &shown {
        let section = name.split('.').next().unwrap_or_default();
        if !sections.contains(&section) {
            sections.push(section);
        }
    }
    for section in sections {
        output::line(&format!("[{section}]"))?;
        for (name, value, origin) in &shown {
            let Some(key) = name.strip_prefix(section).and_then(|rest| rest.strip_prefix('.'))
            else {
                continue;
            };
            let origin = if args.origin { format!("  # {origin}") } else { String::new() };
            match value {
                // A text, a number or a list of texts is the same in JSON and in TOML.
                Some(value) => output::line(&format!("{key} = {value}{origin}"))?,
                None => output::line(&format!("# {key} is not set{origin}"))?,
            }
        }
    }
    Ok(Exit::Done)
}

/// Checks a file.
///
/// # Errors
/// All that is wrong with it, by line.
pub(crate) fn check(path: &Path, output: Output) -> Result<Exit> {
    let count = Settings::check(path)?;
    output.say(&format!("{}: {count} keys, no errors", path.display()));
    Ok(Exit::Done)
}
