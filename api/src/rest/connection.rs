//! A cap on connections: one beyond it is closed at once instead of taking the rest with it.

use std::{
    future::{Ready, ready},
    io,
    sync::Arc,
    task::{Context, Poll},
};

use axum_server::accept::Accept;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::Service;

use super::stall::Stalling;

/// The most connections at once.
const MAX_CONNECTIONS: usize = 1_024;

/// Accepts connections while there are fewer than the cap.
#[derive(Clone, Debug)]
pub(crate) struct Limited {
    free: Arc<Semaphore>,
}

impl Default for Limited {
    fn default() -> Self {
        Self { free: Arc::new(Semaphore::new(MAX_CONNECTIONS)) }
    }
}

impl<I, S> Accept<I, S> for Limited {
    type Stream = Stalling<I>;
    type Service = Counted<S>;
    type Future = Ready<io::Result<(Stalling<I>, Counted<S>)>>;

    fn accept(&self, stream: I, service: S) -> Self::Future {
        let permit = Arc::clone(&self.free).try_acquire_owned();
        ready(match permit {
            Ok(permit) => {
                Ok((Stalling::new(stream), Counted { service, _permit: Arc::new(permit) }))
            }
            Err(_) => Err(io::Error::other("too many connections")),
        })
    }
}

/// A connection's service; the connection is counted until it is dropped.
#[derive(Clone, Debug)]
pub(crate) struct Counted<S> {
    service: S,
    _permit: Arc<OwnedSemaphorePermit>,
}

impl<R, S: Service<R>> Service<R> for Counted<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: R) -> Self::Future {
        self.service.call(request)
    }
}
