//! A deadline for readers: a client that takes nothing while bytes wait for it is cut off.
//!
//! Without it a download that nobody reads any more would hold its place for ever.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum_server::accept::Accept;
use futures::{TryFutureExt, future::MapOk};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// How long bytes may wait for a client to take some.
const PATIENCE: Duration = Duration::from_mins(1);

/// Accepts as the inner one does; connections have the deadline.
#[derive(Clone, Debug)]
pub(crate) struct CutOff<A>(pub(crate) A);

impl<I, S, A: Accept<I, S>> Accept<I, S> for CutOff<A> {
    type Stream = Patient<A::Stream>;
    type Service = A::Service;
    type Future = MapOk<A::Future, fn((A::Stream, A::Service)) -> (Self::Stream, Self::Service)>;

    fn accept(&self, stream: I, service: S) -> Self::Future {
        self.0.accept(stream, service).map_ok(|(stream, service)| {
            (Patient { stream, patience: PATIENCE, waiting: None }, service)
        })
    }
}

/// A connection whose writes fail once none has got on for so long.
#[derive(Debug)]
pub(crate) struct Patient<I> {
    stream: I,
    patience: Duration,
    /// Runs while a write waits.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl<I> Patient<I> {
    /// What became of a write, or the deadline's end.
    fn watched<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waiting = None;
            return written;
        }
        let patience = self.patience;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(patience)));
        ready!(waiting.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing")))
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Patient<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Patient<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watched(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, buffers);
        self.watched(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.watched(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(context);
        self.watched(context, shut)
    }
}

#[cfg(test)]
mod tests {
    use std::{io, time::Duration};

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::Patient;

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_cut_off() {
        let (stream, _client) = duplex(4);
        let mut stream = Patient { stream, patience: Duration::from_millis(20), waiting: None };
        let error = stream.write_all(b"more than there is room for").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_client_that_is_slow_is_not() {
        let (stream, mut client) = duplex(4);
        let mut stream = Patient { stream, patience: Duration::from_mins(10), waiting: None };
        let mut read = Vec::new();
        let (written, _) = tokio::join!(
            async {
                stream.write_all(b"more than there is room for").await.unwrap();
                stream.shutdown().await
            },
            client.read_to_end(&mut read)
        );
        written.unwrap();
        assert_eq!(read, b"more than there is room for");
    }
}
