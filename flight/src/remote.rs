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
    traffic::Traffic,
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
    traffic: Arc<Traffic>,
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
        Self {
            own,
            remote: Arc::new(Remote { key, runtime, peers, clock, traffic: Arc::default() }),
        }
    }

    /// Counts what is fetched.
    pub fn traffic(&self) -> Arc<Traffic> {
        Arc::clone(&self.remote.traffic)
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
        let traffic = Arc::clone(&self.traffic);
        Ok(mailbox(&self.runtime, budget, |outbox| {
            deliver(peers, address, ticket, traffic, outbox)
        }))
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
async fn deliver(
    peers: Arc<Peers>,
    address: String,
    ticket: Bytes,
    traffic: Arc<Traffic>,
    outbox: Outbox<Delivery>,
) {
    let Some(mut room) = outbox.room(SCHEMA_BYTES).await else { return };
    let started = tokio::time::Instant::now();
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
                let bytes = (data.data_header.len() + data.data_body.len()) as u64;
                traffic.received(bytes);
                (Delivery::Data(data), bytes)
            }
            Ok(None) => {
                traffic.ended(started.elapsed());
                (Delivery::Closed, 0)
            }
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
                Received::End => {
                    // To its very end: a stream that is dropped before is reset, and a peer takes
                    // a thousand resets in a short time for an attack and closes the connection.
                    drop(letter);
                    drop(inbox.take(&self.cancel).map_err(Fault::Other)?);
                    self.inbox = None;
                }
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
                    self.remote.traffic.corrupt();
                    warn!(%map, %worker, bucket = self.bucket, reason, "corrupt block; fetching again");
                    self.refetch()?;
                    continue;
                }
                Err(Fault::Corrupt(reason)) => {
                    self.remote.traffic.corrupt();
                    reason
                }
                Err(Fault::Lost(reason)) => {
                    self.remote.traffic.lost();
                    reason
                }
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

#[cfg(test)]
mod tests {
    use std::{sync::atomic::Ordering, time::Duration};

    use tokio::runtime::Runtime;

    use super::*;
    use crate::fixture::{
        NOW, Trouble, all, clock, key, map, network, output, rows, runtime, schema, store, worker,
    };

    /// Waits short enough for a test, and long enough for a busy machine.
    fn deadlines() -> Deadlines {
        Deadlines { pause: Duration::from_millis(1), ..Deadlines::default() }
    }

    fn exchange(runtime: &Runtime, deadlines: Deadlines) -> RemoteExchange {
        RemoteExchange::with(None, key(), runtime.handle().clone(), deadlines, clock())
    }

    fn fetch(exchange: &RemoteExchange, output: &MapOutput, bucket: u32) -> Result<RecordBatch> {
        all(exchange.open(output, bucket, &Budget::new(1 << 30), &CancelFlag::default())?)
    }

    /// About 8 MB of rows whose every byte matters.
    fn many() -> Vec<RecordBatch> {
        (0..8).map(|n| rows(n * 1000, 1000, &"x".repeat(1500))).collect()
    }

    fn whole(batches: &[RecordBatch]) -> RecordBatch {
        arrow::compute::concat_batches(&schema(), batches).unwrap()
    }

    fn reason(result: Result<RecordBatch>) -> String {
        match result {
            Err(Error::FetchFailed { map: failed, worker, reason }) => {
                assert_eq!((failed, worker.0.as_str()), (map(0), "w1"));
                reason
            }
            other => panic!("{other:?} instead of a failed fetch"),
        }
    }

    #[test]
    fn a_fetched_bucket_equals_the_one_in_the_store() {
        let (runtime, folder) = (runtime(), tempfile::tempdir().unwrap());
        let buckets = [vec![rows(0, 3, "a")], vec![], many()];
        let store = store(folder.path(), &buckets);
        let (exchange, address) = (exchange(&runtime, deadlines()), worker(&runtime, &store));
        for (bucket, batches) in (0..).zip(&buckets) {
            let local = all(store.open(map(0), bucket).unwrap().unwrap()).unwrap();
            let fetched = fetch(&exchange, &output(0, address), bucket).unwrap();
            assert_eq!(fetched, local);
            assert_eq!(fetched, whole(batches));
        }
    }

    #[test]
    fn the_own_worker_is_read_without_a_network_or_a_key() {
        let (runtime, folder) = (runtime(), tempfile::tempdir().unwrap());
        let store = store(folder.path(), &[vec![rows(0, 3, "a")]]);
        let own = Some((WorkerId(String::from("w1")), store));
        let exchange = RemoteExchange::new(own, SharedKey::default(), runtime.handle().clone());
        let nowhere = output(0, ([127, 0, 0, 1], 1).into());
        assert_eq!(fetch(&exchange, &nowhere, 0).unwrap(), rows(0, 3, "a"));
        let gone = MapOutput { map: map(9), ..nowhere };
        assert!(matches!(fetch(&exchange, &gone, 0), Err(Error::FetchFailed { .. })));
    }

    #[test]
    fn an_attempt_that_is_not_held_is_a_failed_fetch() {
        let (runtime, folder) = (runtime(), tempfile::tempdir().unwrap());
        let address = worker(&runtime, &store(folder.path(), &[vec![]]));
        let mut other = output(0, address);
        other.map.attempt.n = 2;
        let result = fetch(&exchange(&runtime, deadlines()), &other, 0);
        let Err(Error::FetchFailed { map, reason, .. }) = result else { panic!("{result:?}") };
        assert_eq!(map, other.map);
        assert!(reason.contains("is not held here"), "{reason}");
    }

    #[test]
    fn a_peer_that_is_not_there_is_a_failed_fetch() {
        let runtime = runtime();
        let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let reason = reason(fetch(&exchange(&runtime, deadlines()), &output(0, unused), 0));
        assert!(reason.to_lowercase().contains("refused"), "{reason}");
    }

    #[test]
    fn an_address_that_is_none_is_a_failed_fetch() {
        let runtime = runtime();
        let mut nowhere = output(0, ([127, 0, 0, 1], 1).into());
        nowhere.address = String::from("not an address");
        reason(fetch(&exchange(&runtime, deadlines()), &nowhere, 0));
    }

    #[test]
    fn a_ticket_under_another_key_is_a_failed_fetch() {
        let (runtime, folder) = (runtime(), tempfile::tempdir().unwrap());
        let address = worker(&runtime, &store(folder.path(), &[vec![]]));
        let other = SharedKey::new([8; 32]);
        let exchange =
            RemoteExchange::with(None, other, runtime.handle().clone(), deadlines(), clock());
        assert!(reason(fetch(&exchange, &output(0, address), 0)).contains("not valid"));
    }

    #[test]
    fn an_expired_ticket_is_a_failed_fetch() {
        let (runtime, folder) = (runtime(), tempfile::tempdir().unwrap());
        let address = worker(&runtime, &store(folder.path(), &[vec![]]));
        let long_ago: UnixClock = Arc::new(|| NOW - SHUFFLE_LIFE.as_secs());
        let exchange =
            RemoteExchange::with(None, key(), runtime.handle().clone(), deadlines(), long_ago);
        assert!(reason(fetch(&exchange, &output(0, address), 0)).contains("expired"));
    }

    #[test]
    fn a_server_that_dies_mid_stream_is_a_failed_fetch_wherever_it_dies() {
        let (runtime, folder) = (runtime(), tempfile::tempdir().unwrap());
        let address = worker(&runtime, &store(folder.path(), &[many()]));
        for bytes in [0, 10, 200, 1000, 100_000, 3_000_000, 5_900_000] {
            let network = network(&runtime, address, Trouble::Cut(bytes));
            let exchange = exchange(&runtime, deadlines());
            reason(fetch(&exchange, &output(0, network.address), 0));
        }
    }

    #[test]
    fn a_call_is_tried_again_only_while_nothing_came() {
        let (runtime, folder) = (runtime(), tempfile::tempdir().unwrap());
        let address = worker(&runtime, &store(folder.path(), &[many()]));
        for (bytes, connections) in [(0, 3), (3_000_000, 1)] {
            let network = network(&runtime, address, Trouble::Cut(bytes));
            let exchange = exchange(&runtime, deadlines());
            reason(fetch(&exchange, &output(0, network.address), 0));
            assert_eq!(network.connections.load(Ordering::Relaxed), connections, "{bytes}");
        }
    }

    #[test]
    fn one_connection_serves_many_fetches() {
        let (runtime, folder) = (runtime(), tempfile::tempdir().unwrap());
        let address = worker(&runtime, &store(folder.path(), &[vec![rows(0, 3, "a")]]));
        let network = network(&runtime, address, Trouble::Flip(&[]));
        let exchange = exchange(&runtime, deadlines());
        for _ in 0..5 {
            assert_eq!(fetch(&exchange, &output(0, network.address), 0).unwrap().num_rows(), 3);
        }
        assert_eq!(network.connections.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_corrupt_block_is_fetched_again_and_no_row_comes_twice() {
        let (runtime, folder) = (runtime(), tempfile::tempdir().unwrap());
        let address = worker(&runtime, &store(folder.path(), &[many()]));
        let network = network(&runtime, address, Trouble::Flip(&[3_000_000]));
        let fetched = fetch(&exchange(&runtime, deadlines()), &output(0, network.address), 0);
        assert_eq!(fetched.unwrap(), whole(&many()));
    }

    #[test]
    fn a_block_that_is_corrupt_twice_is_a_failed_fetch() {
        let (runtime, folder) = (runtime(), tempfile::tempdir().unwrap());
        let one = vec![rows(0, 1000, &"x".repeat(1500))]; // About 1 MB.
        let address = worker(&runtime, &store(folder.path(), &[one]));
        let network = network(&runtime, address, Trouble::Flip(&[500_000, 1_500_000]));
        let fetched = fetch(&exchange(&runtime, deadlines()), &output(0, network.address), 0);
        assert!(reason(fetched).contains("wrong checksum"));
    }

    #[test]
    fn a_stream_that_stalls_is_a_failed_fetch_after_its_deadline() {
        let (runtime, folder) = (runtime(), tempfile::tempdir().unwrap());
        let address = worker(&runtime, &store(folder.path(), &[many()]));
        let short = Duration::from_millis(300);
        for bytes in [100, 3_000_000] {
            let network = network(&runtime, address, Trouble::Stall(bytes));
            let deadlines = Deadlines { first: short * 10, idle: short, ..deadlines() };
            let fetched = fetch(&exchange(&runtime, deadlines), &output(0, network.address), 0);
            let reason = reason(fetched);
            assert!(reason.contains("no answer") || reason.contains("nothing came"), "{reason}");
        }
    }

    #[test]
    fn a_stalled_fetch_ends_when_it_is_cancelled() {
        let (runtime, folder) = (runtime(), tempfile::tempdir().unwrap());
        let address = worker(&runtime, &store(folder.path(), &[many()]));
        let network = network(&runtime, address, Trouble::Stall(3_000_000));
        let (budget, cancel) = (Budget::new(1 << 30), CancelFlag::default());
        let exchange = exchange(&runtime, deadlines());
        let rows = exchange.open(&output(0, network.address), 0, &budget, &cancel).unwrap();
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| all(rows));
            cancel.cancel();
            assert!(matches!(waits.join().unwrap(), Err(Error::Cancelled)));
        });
        let again = exchange.open(&output(0, network.address), 0, &budget, &cancel);
        assert!(matches!(again.err(), Some(Error::Cancelled)));
    }

    #[test]
    fn streams_that_are_not_read_do_not_stop_the_others() {
        let (runtime, folder) = (runtime(), tempfile::tempdir().unwrap());
        let address = worker(&runtime, &store(folder.path(), &[many()]));
        let exchange = exchange(&runtime, deadlines());
        let (budget, cancel) = (Budget::new(1 << 30), CancelFlag::default());
        let mut streams: Vec<_> = (0..16)
            .map(|_| exchange.open(&output(0, address), 0, &budget, &cancel).unwrap())
            .collect();
        // As a merge does: a first batch of each, then the last one to its end while others wait.
        for rows in &mut streams {
            assert!(rows.next().unwrap().is_some());
        }
        let last = streams.pop().unwrap();
        assert_eq!(all(last).unwrap().num_rows(), 7000);
        assert!(budget.used_bytes() > 0);
        drop(streams);
        drop(exchange);
        drop(runtime);
        assert_eq!(budget.used_bytes(), 0, "all that was under way is given back");
    }

    #[test]
    fn a_tiny_budget_slows_a_fetch_and_does_not_stop_it() {
        let (runtime, folder) = (runtime(), tempfile::tempdir().unwrap());
        let address = worker(&runtime, &store(folder.path(), &[many()]));
        let exchange = exchange(&runtime, deadlines());
        let rows =
            exchange.open(&output(0, address), 0, &Budget::new(1), &CancelFlag::default()).unwrap();
        assert_eq!(all(rows).unwrap(), whole(&many()));
    }

    #[test]
    fn without_a_key_nothing_is_asked_for() {
        let runtime = runtime();
        let exchange = RemoteExchange::new(None, SharedKey::default(), runtime.handle().clone());
        let result = fetch(&exchange, &output(0, ([127, 0, 0, 1], 1).into()), 0);
        assert!(matches!(result, Err(Error::Internal(_))));
    }
}
