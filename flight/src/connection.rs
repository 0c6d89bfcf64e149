//! A server's connections: counted, and ended together when the server must be gone.
//!
//! A graceful end waits for every stream, and a stream whose client reads nothing never ends by
//! itself. So each connection listens to a token besides its socket. What it cuts is an error on
//! the other side, never a good end.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures::{Stream, StreamExt};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::{Connected, TcpConnectInfo, TcpIncoming};

/// The connections of `incoming`, at most `most` at once; the next ones wait to be accepted.
pub(crate) fn bounded(
    incoming: TcpIncoming,
    most: usize,
    stop: &CancellationToken,
) -> impl Stream<Item = io::Result<Connection>> + use<> {
    let (places, stop) = (Arc::new(Semaphore::new(most)), stop.clone());
    incoming.then(move |accepted| {
        let (places, stop) = (Arc::clone(&places), stop.clone());
        async move {
            let place = places.acquire_owned().await.map_err(io::Error::other)?;
            let stop = Box::pin(stop.cancelled_owned());
            Ok(Connection { socket: accepted?, stop, _place: place })
        }
    })
}

/// A client's connection.
pub(crate) struct Connection {
    socket: TcpStream,
    stop: Pin<Box<WaitForCancellationFutureOwned>>,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    /// The socket, unless the token was cancelled; wakes the task when it is.
    fn socket(&mut self, context: &mut Context<'_>) -> io::Result<Pin<&mut TcpStream>> {
        match self.stop.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::ErrorKind::ConnectionAborted.into()),
            Poll::Pending => Ok(Pin::new(&mut self.socket)),
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.socket.connect_info()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.socket(context)?.poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.socket(context)?.poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.socket(context)?.poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket(context)?.poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}
