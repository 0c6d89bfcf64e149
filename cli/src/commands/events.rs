//! `events`: what changes, a JSON object a line.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::Stop;
use crate::{
    args,
    client::Client,
    error::{Exit, Result},
    output,
};

/// The pause before the stream is opened again.
const PAUSE: Duration = Duration::from_millis(500);
/// How long the master may be away.
const PATIENCE: Duration = Duration::from_secs(30);

/// Prints a job's events until it ends, or everybody's until a signal.
///
/// # Errors
/// Where there is no such job, or no master for too long.
pub(crate) async fn events(args: &args::Events, client: &Client) -> Result<Exit> {
    let id = match &args.id {
        Some(id) => Some(client.resolve(id).await?),
        None => None,
    };
    let mut stop = Stop::listen()?;
    tokio::select! {
        ended = print(client, id.as_deref()) => ended.map(|()| Exit::Done),
        exit = stop.next() => Ok(exit),
    }
}

async fn print(client: &Client, id: Option<&str>) -> Result<()> {
    let mut last_id: Option<String> = None;
    let mut last_answer = Instant::now();
    loop {
        match client.events(id, last_id.as_deref()).await {
            Ok(mut events) => {
                while let Some(event) = events.next().await? {
                    let mut line = json!({"event": event.name, "id": event.id});
                    if let (Value::Object(line), Ok(Value::Object(data))) =
                        (&mut line, serde_json::from_str(&event.data))
                    {
                        line.insert("data".to_owned(), Value::Object(data));
                    }
                    output::data(format!("{line}\n").as_bytes())?;
                    if event.name == "end" && id.is_some() {
                        return Ok(());
                    }
                    last_id = event.id.or(last_id);
                }
                last_answer = Instant::now();
            }
            Err(error) if error.exit == Exit::Unreachable && last_answer.elapsed() < PATIENCE => {}
            Err(error) => return Err(error),
        }
        sleep(PAUSE).await;
    }
}
