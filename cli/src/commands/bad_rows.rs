//! `bad-rows`: the rows that a job put aside, a JSON object a line.

use crate::{
    args,
    client::Client,
    error::{Exit, Result},
    output,
};

/// Prints all bad rows of a finished job.
///
/// # Errors
/// Where there is no such job, or it has no results.
pub(crate) async fn bad_rows(args: &args::BadRows, client: &Client) -> Result<Exit> {
    let id = client.resolve(&args.id).await?;
    let mut next = Some(format!("/api/v1/jobs/{id}/bad-rows?limit=500"));
    while let Some(path) = next {
        let (rows, following) = client.bad_rows(&path).await?;
        output::data(&rows)?;
        next = following;
    }
    Ok(Exit::Done)
}
