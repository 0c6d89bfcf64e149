//! A socket whose other side must read: a write that gets nowhere for too long fails.
//!
//! Otherwise whoever opens a download or a stream of events and reads nothing of it would hold its
//! buffers and its place for ever.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// How long a client may read nothing of what waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

/// A socket with a deadline for writes.
pub(crate) struct Stalling<I> {
    socket: I,
    patience: Duration,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<I> Stalling<I> {
    /// The socket with the usual deadline.
    pub(crate) fn new(socket: I) -> Self {
        Self { socket, patience: PATIENCE, deadline: None }
    }

    /// What came of a write, or that it has waited too long.
    fn watch<T>(
        &mut self,
        context: &mut Context<'_>,
        polled: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.deadline = None;
            return polled;
        }
        let patience = self.patience;
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(patience)));
        match deadline.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Stalling<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(context, buffer)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Stalling<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.socket).poll_write(context, bytes);
        self.watch(context, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.socket).poll_write_vectored(context, slices);
        self.watch(context, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.socket).poll_flush(context);
        self.watch(context, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.socket).poll_shutdown(context);
        self.watch(context, polled)
    }
}

#[cfg(test)]
mod tests {
    use std::{io::ErrorKind, time::Duration};

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::Stalling;

    #[tokio::test]
    async fn a_write_that_nobody_reads_fails_and_a_slow_reader_is_served() {
        let (near, mut far) = duplex(4);
        let mut socket =
            Stalling { socket: near, patience: Duration::from_millis(50), deadline: None };
        let mut read = [0; 12];
        let (written, got) =
            tokio::join!(socket.write_all(b"hello, world"), far.read_exact(&mut read));
        assert!(written.is_ok() && got.is_ok());
        let stalled = socket.write_all(b"hello, world").await;
        assert_eq!(stalled.unwrap_err().kind(), ErrorKind::TimedOut);
    }
}
