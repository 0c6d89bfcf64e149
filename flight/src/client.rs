//! Connections to peers: one each, kept, pinged, and dropped when broken.
//!
//! Every wait has a deadline. A call is tried again only while nothing was received, and only for
//! troubles of the transport: what a peer itself refused stays refused.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arrow_flight::{FlightData, Ticket, flight_service_client::FlightServiceClient};
use bytes::Bytes;
use tokio::time::{sleep, timeout};
use tonic::{
    Status, Streaming,
    transport::{Channel, Endpoint},
};
use tracing::debug;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::{MAX_MESSAGE_BYTES, PING, error};

/// How much a stream that nobody reads may receive. All streams of a peer share one connection,
/// whose own window must not bind: a stream that waits would stop the others.
pub(crate) const WINDOW_BYTES: u32 = 512 << 10;
const CONNECTION_WINDOW_BYTES: u32 = (1 << 31) - 1;
const FRAME_BYTES: u32 = 256 << 10;

/// More peers than a cluster has; beyond it connections that are in use stay with their users.
const MOST_PEERS: usize = 1024;

/// How long each wait may take, and how often a call is tried.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadlines {
    pub(crate) connect: Duration,
    pub(crate) first: Duration,
    pub(crate) idle: Duration,
    pub(crate) tries: u32,
    pub(crate) pause: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            first: Duration::from_secs(30),
            idle: Duration::from_secs(30),
            tries: 3,
            pause: Duration::from_millis(200),
        }
    }
}

/// The connections of one process, by address.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    deadlines: Deadlines,
    open: Mutex<Connections>,
}

#[derive(Debug, Default)]
struct Connections {
    by_address: HashMap<Arc<str>, Peer>,
    opened: u64,
}

/// A connection, with a number that tells it from an earlier one to the same address.
#[derive(Clone, Debug)]
struct Peer {
    channel: Channel,
    number: u64,
}

impl Peers {
    pub(crate) fn new(deadlines: Deadlines) -> Self {
        Self { deadlines, open: Mutex::default() }
    }

    /// Asks the peer at `address` for what `ticket` names.
    ///
    /// # Errors
    /// What the peer refused, or the transport's last trouble.
    pub(crate) async fn get(
        self: &Arc<Self>,
        address: &str,
        ticket: Bytes,
    ) -> Result<Stream, Status> {
        let mut tried = 0;
        loop {
            let result = self.try_get(address, ticket.clone()).await;
            tried += 1;
            match result {
                Err(status) if tried < self.deadlines.tries && may_pass(&status) => {
                    debug!(address, tried, %status, "trying a peer again");
                    sleep(self.pause(tried, &ticket)).await;
                }
                done => return done,
            }
        }
    }

    async fn try_get(self: &Arc<Self>, address: &str, ticket: Bytes) -> Result<Stream, Status> {
        let peer = self.peer(address)?;
        let mut client = FlightServiceClient::new(peer.channel)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let first = async {
            let mut messages = client.do_get(Ticket { ticket }).await?.into_inner();
            let first = messages.message().await?;
            Ok((messages, first))
        };
        let (messages, first) = match timeout(self.deadlines.first, first).await {
            Ok(Ok(opened)) => opened,
            Ok(Err(status)) => {
                self.forget_broken(address, peer.number, &status);
                return Err(status);
            }
            Err(_) => {
                self.forget(address, peer.number);
                let seconds = self.deadlines.first.as_secs_f32();
                return Err(Status::deadline_exceeded(format!("no answer in {seconds} s")));
            }
        };
        let peers = Arc::clone(self);
        Ok(Stream { peers, address: address.into(), number: peer.number, messages, first })
    }

    /// The connection to an address; made lazily, on the first call.
    fn peer(&self, address: &str) -> Result<Peer, Status> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(peer) = open.by_address.get(address) {
            return Ok(peer.clone());
        }
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .map_err(|_| Status::invalid_argument(format!("`{address}` is not an address")))?
            .connect_timeout(self.deadlines.connect)
            .tcp_nodelay(true)
            .tcp_keepalive(Some(PING))
            .http2_keep_alive_interval(PING)
            .keep_alive_timeout(PING)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_frame_size(FRAME_BYTES);
        if open.by_address.len() >= MOST_PEERS {
            open.by_address.clear();
        }
        open.opened += 1;
        let peer = Peer { channel: endpoint.connect_lazy(), number: open.opened };
        open.by_address.insert(address.into(), peer.clone());
        Ok(peer)
    }

    /// Drops a connection unless it has been replaced; the next call makes a new one. Streams
    /// that go on over it keep it until they end.
    fn forget(&self, address: &str, number: u64) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.by_address.get(address).is_some_and(|peer| peer.number == number) {
            open.by_address.remove(address);
        }
    }

    fn forget_broken(&self, address: &str, number: u64, status: &Status) {
        if may_pass(status) {
            self.forget(address, number);
        }
    }

    /// Doubled with each try, a part of it drawn by hash: streams that broke together come back
    /// apart.
    fn pause(&self, tried: u32, ticket: &[u8]) -> Duration {
        let most = self.deadlines.pause * 2_u32.saturating_pow(tried.saturating_sub(1)).min(50);
        let draw = xxh3_64_with_seed(ticket, tried.into()) % 1024;
        most / 4 + most * u32::try_from(draw).unwrap_or(0) / 1024 * 3 / 4
    }
}

/// Whether a status is the transport's, not the peer's: the peer's carries a code of ours.
fn may_pass(status: &Status) -> bool {
    use tonic::Code;
    let transport =
        [Code::Unavailable, Code::Unknown, Code::Internal, Code::Cancelled, Code::Aborted];
    error::code(status).is_none() && transport.contains(&status.code())
}

/// What a peer sends.
pub(crate) struct Stream {
    peers: Arc<Peers>,
    address: Box<str>,
    number: u64,
    messages: Streaming<FlightData>,
    first: Option<FlightData>,
}

impl Stream {
    /// The next message, or `None` where the peer closed the stream.
    ///
    /// # Errors
    /// What the peer said, the transport's trouble, or that nothing came in time.
    pub(crate) async fn next(&mut self) -> Result<Option<FlightData>, Status> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        let idle = self.peers.deadlines.idle;
        match timeout(idle, self.messages.message()).await {
            Ok(Ok(message)) => Ok(message),
            Ok(Err(status)) => {
                self.peers.forget_broken(&self.address, self.number, &status);
                Err(status)
            }
            Err(_) => {
                self.peers.forget(&self.address, self.number);
                Err(Status::deadline_exceeded(format!("nothing came for {} s", idle.as_secs_f32())))
            }
        }
    }
}
