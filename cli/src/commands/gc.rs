//! `gc`: lets a master let go of what is beyond its rules of retention.

use crate::{
    client::Client,
    error::{Exit, Result},
    output::{self, Output},
    units::{show_bytes, show_count},
};

/// Tidies up now, and says what went.
///
/// # Errors
/// Where there is no master.
pub(crate) async fn gc(client: &Client, output: Output) -> Result<Exit> {
    let freed = client.gc().await?;
    if output.is_json() {
        output::document(&freed)?;
    } else {
        output::line(&format!(
            "{} old jobs forgotten, typed copies of {} jobs removed, {} freed",
            show_count(freed.jobs),
            show_count(freed.results),
            show_bytes(freed.bytes)
        ))?;
    }
    Ok(Exit::Done)
}
