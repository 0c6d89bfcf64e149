//! [`Edge`]: where a blocking call waits for an async one, with a deadline.
//!
//! It has a small runtime of its own, so that it can be called from any thread, and starts it with
//! the first call: a process that names no URL has none.

use std::{
    error::Error as _,
    future::Future,
    io,
    sync::{
        Mutex, PoisonError,
        mpsc::{Receiver, sync_channel},
    },
    time::Duration,
};

use object_store::Error;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio_util::task::AbortOnDropHandle;

/// How long one call may take, retries included.
pub(super) const LIMIT: Duration = Duration::from_mins(2);

/// How much of a store's own words an error repeats.
const SHOWN_CHARS: usize = 400;

/// The runtime, once there is one.
#[derive(Default)]
pub(super) struct Edge(Mutex<Option<Runtime>>);

impl Edge {
    fn handle(&self) -> io::Result<Handle> {
        let mut runtime = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(runtime) = &*runtime {
            return Ok(runtime.handle().clone());
        }
        let mut builder = Builder::new_multi_thread();
        let new = builder.worker_threads(2).thread_name("objects").enable_all().build()?;
        let handle = new.handle().clone();
        *runtime = Some(new);
        Ok(handle)
    }

    /// Starts a call; it ends early when what is returned is dropped.
    pub(super) fn start<T: Send + 'static>(
        &self,
        call: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> io::Result<Pending<T>> {
        let (tx, answer) = sync_channel(1);
        let task = self.handle()?.spawn(async move {
            let outcome = match tokio::time::timeout(LIMIT, call).await {
                Ok(outcome) => outcome.map_err(|error| failed(&error)),
                Err(_) => Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("the store did not answer within {} s", LIMIT.as_secs()),
                )),
            };
            // Whoever does not wait any more has gone on without it.
            tx.try_send(outcome).ok();
        });
        Ok(Pending { answer, _task: AbortOnDropHandle::new(task) })
    }

    /// Waits for a call.
    pub(super) fn wait<T: Send + 'static>(
        &self,
        call: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> io::Result<T> {
        self.start(call)?.wait()
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        let runtime = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        // Not waited for: the last owner may be async code, which must not block.
        if let Some(runtime) = runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A call under way.
pub(super) struct Pending<T> {
    answer: Receiver<io::Result<T>>,
    _task: AbortOnDropHandle<()>,
}

impl<T> Pending<T> {
    pub(super) fn wait(self) -> io::Result<T> {
        // The call has its own deadline; a little later its answer is lost.
        let answer = self.answer.recv_timeout(LIMIT + Duration::from_secs(5));
        answer.unwrap_or_else(|_| Err(io::Error::other("the call to the store broke off")))
    }
}

/// A store's error as one of files, in few words, and without what may be secret.
pub(super) fn failed(error: &Error) -> io::Error {
    let kind = match error {
        Error::NotFound { .. } => return io::ErrorKind::NotFound.into(),
        Error::AlreadyExists { .. } => io::ErrorKind::AlreadyExists,
        Error::Precondition { .. } => io::ErrorKind::StaleNetworkFileHandle,
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
            io::ErrorKind::PermissionDenied
        }
        Error::NotSupported { .. } | Error::NotImplemented { .. } => io::ErrorKind::Unsupported,
        Error::InvalidPath { .. } => io::ErrorKind::InvalidInput,
        _ => io::ErrorKind::Other,
    };
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let said = inner.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        source = inner.source();
    }
    io::Error::new(kind, tidy(&text))
}

/// One line, cut to a length, without the queries of URLs, which may hold signatures.
fn tidy(text: &str) -> String {
    let (mut tidied, mut is_query) = (String::new(), false);
    for character in text.chars().take(4 * SHOWN_CHARS) {
        match character {
            '?' if !is_query => {
                is_query = true;
                tidied.push_str("?…");
            }
            ' ' | '"' | '\'' | ')' | '>' | '\n' => {
                is_query = false;
                tidied.push(if character == '\n' { ' ' } else { character });
            }
            _ if is_query => {}
            _ if character.is_control() => tidied.push(' '),
            _ => tidied.push(character),
        }
    }
    match tidied.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &tidied[..end]),
        None => tidied,
    }
}

#[cfg(test)]
mod tests {
    use super::tidy;

    #[test]
    fn the_query_of_a_url_is_not_shown() {
        let text = "GET https://a.example/c/k?sig=SECRET&sv=1 failed\nafter 5 tries";
        assert_eq!(tidy(text), "GET https://a.example/c/k?… failed after 5 tries");
        assert!(tidy(&"x".repeat(9_000)).chars().count() < 500);
    }
}
