//! `cancel`: ends a job; one that has ended is left as it is.

use crate::{
    args,
    client::Client,
    error::{Exit, Result},
    output::{self, Output},
};

/// Cancels and shows the state that the job has then.
///
/// # Errors
/// Where there is no such job or no master.
pub(crate) async fn cancel(args: &args::Cancel, client: &Client, output: Output) -> Result<Exit> {
    let id = client.resolve(&args.id).await?;
    let job = client.cancel(&id).await?;
    if output.is_json() {
        output::document(&job)?;
    } else {
        output::line(&format!("{}  {}", job.id, job.status))?;
    }
    Ok(Exit::Done)
}
