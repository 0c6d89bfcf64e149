//! `rm`: forgets a job that has ended.

use serde_json::json;

use crate::{
    args,
    client::Client,
    error::{Exit, Result},
    output::{self, Output},
};

/// Forgets the job; with `--outputs` its results go as well.
///
/// # Errors
/// Where there is no such job, it runs, or there is no master.
pub(crate) async fn rm(args: &args::Rm, client: &Client, output: Output) -> Result<Exit> {
    let id = client.resolve(&args.id).await?;
    client.forget(&id, args.outputs).await?;
    if output.is_json() {
        output::document(&json!({ "job_id": id }))?;
    } else {
        output.say(&format!("forgot job {id}"));
    }
    Ok(Exit::Done)
}
