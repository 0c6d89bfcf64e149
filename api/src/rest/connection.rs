//! Caps on connections, of all peers and of each: one beyond them is closed at once instead of
//! taking the rest with it.

use std::{
    collections::HashMap,
    future::{Ready, ready},
    io,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use axum_server::accept::Accept;
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tower::Service;

/// The most connections at once.
const MAX_CONNECTIONS: usize = 1_024;

/// The most connections of one peer.
const MAX_OF_A_PEER: usize = 64;

/// Accepts connections while there are fewer than the caps.
#[derive(Clone, Debug)]
pub(crate) struct Limited {
    free: Arc<Semaphore>,
    peers: Peers,
    /// Whether loopback may have more than other peers.
    spares_loopback: bool,
}

impl Limited {
    /// One without connections yet.
    pub(crate) fn new(spares_loopback: bool) -> Self {
        let free = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        Self { free, peers: Peers::default(), spares_loopback }
    }

    fn place(&self, peer: IpAddr) -> io::Result<Arc<Place>> {
        let full = |_| io::Error::other("too many connections");
        let permit = Arc::clone(&self.free).try_acquire_owned().map_err(full)?;
        let peer = peer.to_canonical();
        let is_counted = !(self.spares_loopback && peer.is_loopback());
        let peer = if is_counted { Some(self.peers.enter(peer)?) } else { None };
        Ok(Arc::new(Place { _permit: permit, _peer: peer }))
    }
}

impl<S> Accept<TcpStream, S> for Limited {
    type Stream = TcpStream;
    type Service = Counted<S>;
    type Future = Ready<io::Result<(TcpStream, Counted<S>)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let place = stream.peer_addr().and_then(|peer| self.place(peer.ip()));
        ready(place.map(|place| (stream, Counted { service, _place: place })))
    }
}

/// How many connections each peer has.
#[derive(Clone, Debug, Default)]
struct Peers(Arc<Mutex<HashMap<IpAddr, usize>>>);

impl Peers {
    fn enter(&self, peer: IpAddr) -> io::Result<Peer> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(peer).or_default();
        if *count >= MAX_OF_A_PEER {
            return Err(io::Error::other("too many connections of one peer"));
        }
        *count += 1;
        Ok(Peer { peers: self.clone(), peer })
    }
}

/// One connection of a peer; not counted any more once dropped.
#[derive(Debug)]
struct Peer {
    peers: Peers,
    peer: IpAddr,
}

impl Drop for Peer {
    fn drop(&mut self) {
        let mut counts = self.peers.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.peer);
            }
        }
    }
}

/// A connection's place among all, and among those of its peer.
#[derive(Debug)]
struct Place {
    _permit: OwnedSemaphorePermit,
    _peer: Option<Peer>,
}

/// A connection's service; the connection is counted until it is dropped.
#[derive(Clone, Debug)]
pub(crate) struct Counted<S> {
    service: S,
    _place: Arc<Place>,
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

#[cfg(test)]
mod tests {
    use super::{Limited, MAX_CONNECTIONS, MAX_OF_A_PEER};

    /// How many connections of an address find a place, of `tries`.
    fn places(limited: &Limited, address: &str, tries: usize) -> Vec<std::sync::Arc<super::Place>> {
        let address = address.parse().unwrap();
        (0..tries).filter_map(|_| limited.place(address).ok()).collect()
    }

    #[test]
    fn a_peer_has_so_many_connections_and_all_have_so_many() {
        let limited = Limited::new(true);
        let first = places(&limited, "10.0.0.1", 2_000);
        assert_eq!(first.len(), MAX_OF_A_PEER);
        assert_eq!(places(&limited, "::ffff:10.0.0.1", 9).len(), 0, "the same peer");
        drop(first);
        assert_eq!(places(&limited, "10.0.0.1", 2_000).len(), MAX_OF_A_PEER);
        let local = places(&limited, "127.0.0.1", 2_000);
        assert_eq!(local.len(), MAX_CONNECTIONS);
        assert_eq!(places(&limited, "10.0.0.1", 1).len(), 0);
    }

    #[test]
    fn where_tokens_are_asked_for_loopback_is_a_peer_like_others() {
        let limited = Limited::new(false);
        assert_eq!(places(&limited, "127.0.0.1", 2_000).len(), MAX_OF_A_PEER);
    }
}
