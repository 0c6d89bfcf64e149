//! `version`: which build this is.

use serde_json::json;

use crate::{
    error::{Exit, Result},
    output::{self, Output},
};

/// Prints the version.
///
/// # Errors
/// Where stdout can't be written to.
pub(crate) fn version(output: Output) -> Result<Exit> {
    let version = env!("CARGO_PKG_VERSION");
    if output.is_json() {
        output::document(&json!({ "version": version }))?;
    } else {
        output::line(&format!("minispark {version}"))?;
    }
    Ok(Exit::Done)
}
