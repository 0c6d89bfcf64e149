//! `validate`: all problems of a job document, and no run.

use minispark_engine::{
    disk::RealDisk,
    job::check::{Site, check},
    runtime::{Clock, SystemClock},
};
use serde_json::json;

use super::{finding, invalid, warn};
use crate::{
    args,
    error::{Exit, Result},
    host,
    output::{self, Output},
};

/// Checks the document as `run` would.
///
/// # Errors
/// All problems of the document.
pub(crate) fn validate(args: &args::Validate, output: Output) -> Result<Exit> {
    let document = host::read_document(&RealDisk, &args.file)?;
    let shown = args.file.display().to_string();
    let document = host::with_parameters(document, &args.parameters, &shown)?;
    let base_dir = Some(host::working_directory()?);
    let now_micros = SystemClock::start().wall().timestamp_micros();
    let site = Site { data: host::data_disks(), base_dir, now_micros };
    let checked = check(&document, args.strict, &site)
        .map_err(|problems| invalid(&document, &shown, &problems))?;
    let warnings: Vec<_> = checked.warnings.iter().map(finding).collect();
    let nodes = checked.plan.nodes.len();
    if output.is_json() {
        let name = &checked.plan.name;
        let answer = json!({
            "valid": true, "name": name, "nodes": nodes, "warnings": warnings,
        });
        output::document(&answer)?;
    } else {
        warn(&warnings, output);
        output::line(&format!("{shown} is a valid job of {nodes} nodes"))?;
    }
    Ok(Exit::Done)
}
