//! [`RemoteExchange`]: the engine's exchange over Flight.
//!
//! Outputs of the own worker are handed over as they are. Others are fetched as a stream whose
//! every message is checked; rows that can't be had whole and right are
//! [`Error::FetchFailed`], so that they are computed again, and never a short result.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow_flight::FlightData;
use bytes::Bytes;
use minispark_engine::{
    Error, Result,
    error::Code,
    exchange::{Exchange, LocalExchange, MapOutput, store::PartitionStore},
    id::WorkerId,
    memory::{Budget, Reservation},
    operators::Operator,
    task::context::CancelFlag,
};
use tokio::runtime::Handle;
use tonic::Status;
use tracing::{debug, warn};

use crate::{
    BLOCK_BYTES,
    block::{Checker, Received},
    bridge::{Inbox, Outbox, mailbox},
    client::{Deadlines, Peers, WINDOW_BYTES},
    error,
    ticket::{SHUFFLE_LIFE, SharedKey, ShuffleTicket, Ticket, UnixClock, system_clock},
};

/// What the first message, a schema, is charged before its size is known.
const SCHEMA_BYTES: u64 = 64 << 10;

/// Reads map outputs wherever they are.
pub struct RemoteExchange {
    own: Option<(WorkerId, LocalExchange)>,
    remote: Arc<Remote>,
}

/// What all fetches share.
struct Remote {
    key: SharedKey,
    runtime: Handle,
    peers: Arc<Peers>,
    clock: UnixClock,
}

impl RemoteExchange {
    /// An exchange for the worker that has `store`, or for a master, which has none.
    ///
    /// Tickets are signed with `key`; streams are received on `runtime`.
    pub fn new(
        store: Option<(WorkerId, Arc<PartitionStore>)>,
        key: SharedKey,
        runtime: Handle,
    ) -> Self {
        Self::with(store, key, runtime, Deadlines::default(), system_clock())
    }

    fn with(
        store: Option<(WorkerId, Arc<PartitionStore>)>,
        key: SharedKey,
        runtime: Handle,
        deadlines: Deadlines,
        clock: UnixClock,
    ) -> Self {
        let own = store.map(|(worker, store)| (worker, LocalExchange { store }));
        let peers = Arc::new(Peers::new(deadlines));
        Self { own, remote: Arc::new(Remote { key, runtime, peers, clock }) }
    }
}

impl Exchange for RemoteExchange {
    fn open(
        &self,
        output: &MapOutput,
        bucket: u32,
        budget: &Budget,
        cancel: &CancelFlag,
    ) -> Result<Box<dyn Operator>> {
        cancel.check()?;
        match &self.own {
            Some((worker, local)) if *worker == output.worker => {
                local.open(output, bucket, budget, cancel)
            }
            _ => Ok(Box::new(Fetch::start(
                Arc::clone(&self.remote),
                output.clone(),
                bucket,
                budget,
                cancel,
            )?)),
        }
    }
}

impl Remote {
    /// A new stream of one bucket, its messages put into a mailbox.
    fn request(
        self: &Arc<Self>,
        output: &MapOutput,
        bucket: u32,
        budget: &Budget,
    ) -> Result<Inbox<Delivery>> {
        let ticket = ShuffleTicket { map: output.map, bucket, epoch: output.epoch };
        let expires = (self.clock)().saturating_add(SHUFFLE_LIFE.as_secs());
        let ticket = Ticket::Shuffle(ticket)
            .seal(&self.key, expires)
            .map_err(|error| Error::Internal(error.to_string()))?;
        let (peers, address) = (Arc::clone(&self.peers), output.address.clone());
        Ok(mailbox(&self.runtime, budget, |outbox| deliver(peers, address, ticket, outbox)))
    }
}

/// What comes through a fetch's mailbox.
enum Delivery {
    /// A message as it was received.
    Data(FlightData),
    /// The stream failed.
    Failed(Status),
    /// The stream was closed without an error, which is not yet a good end.
    Closed,
}

/// Receives a stream into a mailbox until it ends, fails, or nobody wants it any more.
async fn deliver(peers: Arc<Peers>, address: String, ticket: Bytes, outbox: Outbox<Delivery>) {
    let Some(mut room) = outbox.room(SCHEMA_BYTES).await else { return };
    let mut stream = match peers.get(&address, ticket).await {
        Ok(stream) => stream,
        Err(status) => {
            outbox.send(room, 0, Delivery::Failed(status));
            return;
        }
    };
    loop {
        let (delivery, bytes) = match stream.next().await {
            Ok(Some(data)) => {
                let bytes = data.data_header.len() + data.data_body.len();
                (Delivery::Data(data), bytes as u64)
            }
            Ok(None) => (Delivery::Closed, 0),
            Err(status) => (Delivery::Failed(status), 0),
        };
        let is_last = !matches!(delivery, Delivery::Data(_));
        if !outbox.send(room, bytes, delivery) || is_last {
            return;
        }
        let Some(next) = outbox.room(BLOCK_BYTES as u64).await else { return };
        room = next;
    }
}

/// One bucket of one map output, fetched from a peer.
///
/// - Shape: the writer's batches, cut to messages; in the order in which they were written.
/// - Memory: at most two messages and the stream's receive window, charged to the budget.
/// - Errors: [`Error::FetchFailed`], [`Error::Cancelled`]; [`Error::Evaluate`] for a row that no
///   message can hold.
struct Fetch {
    remote: Arc<Remote>,
    output: MapOutput,
    bucket: u32,
    budget: Budget,
    cancel: CancelFlag,
    /// Absent once all rows were given.
    inbox: Option<Inbox<Delivery>>,
    checker: Checker,
    /// Rows given so far, which a second stream brings again.
    given: u64,
    /// Rows of the present stream that are not given again.
    skip: u64,
    refetched: bool,
    _window: Reservation,
}

/// Why a stream is no good.
enum Fault {
    /// Bytes are wrong; they may be right the next time.
    Corrupt(String),
    /// The output can't be had from there.
    Lost(String),
    /// Not the stream's fault, or not to be helped by computing it again.
    Other(Error),
}

impl Fetch {
    fn start(
        remote: Arc<Remote>,
        output: MapOutput,
        bucket: u32,
        budget: &Budget,
        cancel: &CancelFlag,
    ) -> Result<Self> {
        let mut window = budget.reservation("flight window");
        window.grow(WINDOW_BYTES.into());
        let inbox = Some(remote.request(&output, bucket, budget)?);
        Ok(Self {
            remote,
            output,
            bucket,
            budget: budget.clone(),
            cancel: cancel.clone(),
            inbox,
            checker: Checker::default(),
            given: 0,
            skip: 0,
            refetched: false,
            _window: window,
        })
    }

    /// The next rows of the present stream.
    fn pull(&mut self) -> Result<Option<RecordBatch>, Fault> {
        loop {
            let Some(inbox) = &self.inbox else { return Ok(None) };
            let letter = inbox.take(&self.cancel).map_err(Fault::Other)?;
            let letter = letter.ok_or_else(|| Fault::Lost(String::from("the fetch was ended")))?;
            let data = match &letter.item {
                Delivery::Data(data) => data,
                Delivery::Failed(status) => return Err(fault(status)),
                Delivery::Closed => {
                    return Err(Fault::Lost(String::from(
                        "the stream ended before its last message",
                    )));
                }
            };
            match self.checker.accept(data).map_err(Fault::Corrupt)? {
                Received::Schema => {}
                Received::Batch(batch) => {
                    if let Some(batch) = self.unseen(&batch) {
                        return Ok(Some(batch));
                    }
                }
                Received::End if self.skip > 0 => {
                    return Err(Fault::Lost(String::from("a second answer has fewer rows")));
                }
                Received::End => self.inbox = None,
            }
        }
    }

    /// The rows of a batch that were not given before.
    fn unseen(&mut self, batch: &RecordBatch) -> Option<RecordBatch> {
        let rows = batch.num_rows() as u64;
        let skip = self.skip.min(rows);
        self.skip -= skip;
        self.given += rows - skip;
        let from = usize::try_from(skip).ok()?;
        (skip < rows).then(|| batch.slice(from, batch.num_rows() - from))
    }

    /// Asks for the whole bucket once more; rows already given are passed over.
    fn refetch(&mut self) -> Result<()> {
        self.refetched = true;
        self.inbox = Some(self.remote.request(&self.output, self.bucket, &self.budget)?);
        self.checker = Checker::default();
        self.skip = self.given;
        Ok(())
    }
}

impl Operator for Fetch {
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            let reason = match self.pull() {
                Ok(batch) => return Ok(batch),
                Err(Fault::Corrupt(reason)) if !self.refetched => {
                    let MapOutput { map, worker, .. } = &self.output;
                    warn!(%map, %worker, bucket = self.bucket, reason, "corrupt block; fetching again");
                    self.refetch()?;
                    continue;
                }
                Err(Fault::Corrupt(reason) | Fault::Lost(reason)) => reason,
                Err(Fault::Other(error)) => return Err(error),
            };
            let MapOutput { map, worker, address, .. } = self.output.clone();
            debug!(%map, %worker, address, bucket = self.bucket, reason, "a fetch failed");
            // The stream is of no use any more; its task ends here and not with the operator.
            self.inbox = None;
            return Err(Error::FetchFailed {
                map,
                worker,
                reason: format!("{reason} ({address})"),
            });
        }
    }
}

/// What a status of a stream means for its reader.
fn fault(status: &Status) -> Fault {
    let message = status.message();
    match error::code(status) {
        Some(Code::InputCorrupt) => Fault::Corrupt(message.to_owned()),
        Some(Code::RecordTooLarge) => Fault::Other(Error::Evaluate { reason: message.to_owned() }),
        Some(_) => Fault::Lost(message.to_owned()),
        None => Fault::Lost(format!("{}: {message}{}", status.code(), causes(status))),
    }
}

/// What a transport error's own message leaves out: its causes.
fn causes(status: &Status) -> String {
    let mut text = String::new();
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        let part = error.to_string();
        if !status.message().contains(&part) && !text.contains(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        cause = error.source();
    }
    text
}
