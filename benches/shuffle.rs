//! A shuffle over Arrow Flight on loopback, in bytes of rows a second: one stream and four, each
//! beside a plain tonic stream that carries the same bytes and looks at none of them.
//!
//! `cargo bench -p minispark-flight --bench shuffle`. Both ends are in this process and have its cores
//! together. A shuffle reads a store, encodes batches, and checks and decodes every message.

#![expect(clippy::unwrap_used, reason = "a bench that can't go on should stop and say so")]

use std::{net::SocketAddr, pin::Pin, sync::Arc, thread, time::Duration};

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringViewArray};
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo,
    HandshakeRequest, HandshakeResponse, PollInfo, PutResult, SchemaResult, Ticket,
    flight_service_client::FlightServiceClient,
    flight_service_server::{FlightService as Service, FlightServiceServer},
};
use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput};
use futures::{Stream, stream};
use minispark_engine::{
    disk::RealDisk,
    exchange::{Exchange, MapOutput, store::PartitionStore},
    id::{Attempt, Epoch, JobId, StageId, TaskAttempt, TaskId, Term, WorkerId},
    memory::Budget,
    task::context::CancelFlag,
};
use minispark_flight::{
    BLOCK_BYTES, FlightService, MAX_MESSAGE_BYTES, RemoteExchange, SharedKey, serve,
};
use tokio::{net::TcpListener, runtime::Runtime, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tonic::{
    Request, Response, Status, Streaming,
    transport::{Endpoint, Server, server::TcpIncoming},
};

/// What the program allocates with.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Rows of a batch, and batches of a stream: 64 MiB in memory and about as many on the wire.
const ROWS: usize = 8192;
const BATCHES: usize = 160;
const KEY: [u8; 32] = [7; 32];
/// The window and frames that a shuffle asks for.
const WINDOW_BYTES: u32 = 512 << 10;
const FRAME_BYTES: u32 = 256 << 10;

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(5))
        .without_plots()
        .configure_from_args();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let batch = rows();
    let bytes = batch.get_array_memory_size() * BATCHES;
    let store = Arc::new(PartitionStore::new(
        RealDisk::shared(),
        folder.path().to_path_buf(),
        Budget::new(8 << 30),
    ));
    for partition in 0..4 {
        let mut writer = store.writer(map(partition), batch.schema(), 1);
        for _ in 0..BATCHES {
            writer.push(0, batch.clone()).unwrap();
        }
        writer.finish().unwrap();
    }
    let worker = worker(&runtime, store);
    let plain = plain(&runtime, bytes);
    let exchange = RemoteExchange::new(None, SharedKey::new(KEY), runtime.handle().clone());
    let mut group = criterion.benchmark_group("shuffle");
    for streams in [1_u32, 4] {
        group.throughput(Throughput::Bytes(bytes as u64 * u64::from(streams)));
        group.bench_function(BenchmarkId::new("flight", streams), |bencher| {
            bencher.iter(|| fetch(&exchange, worker, streams));
        });
        group.bench_function(BenchmarkId::new("bound/plain tonic", streams), |bencher| {
            bencher.iter(|| receive(&runtime, plain, streams, bytes));
        });
    }
    group.finish();
    criterion.final_summary();
}

/// Rows as a join of TPC-H moves them: numbers, a short text, and the hash of the key.
fn rows() -> RecordBatch {
    let numbers = 0..i64::try_from(ROWS).unwrap();
    let column = |factor: i64| -> ArrayRef {
        Arc::new(numbers.clone().map(|n| n.wrapping_mul(factor)).collect::<Int64Array>())
    };
    let text: StringViewArray = numbers.clone().map(|n| Some(format!("id{n:010}"))).collect();
    let price: Float64Array =
        numbers.clone().map(|n| f64::from(i32::try_from(n).unwrap())).collect();
    let columns: [(&str, ArrayRef); 5] = [
        ("key", column(7)),
        ("part", column(31)),
        ("id", Arc::new(text)),
        ("price", Arc::new(price)),
        ("hash", column(0x9e37_79b9_7f4a_7c15_u64.cast_signed())),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

fn map(partition: u32) -> TaskAttempt {
    let task = TaskId { job: JobId(uuid::Uuid::from_u128(1)), stage: StageId(0), partition };
    TaskAttempt { task, attempt: Attempt { term: Term(1), n: 1 } }
}

/// A worker that serves `store`.
fn worker(runtime: &Runtime, store: Arc<PartitionStore>) -> SocketAddr {
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    let service = FlightService { store: Some(store), results: None, key: SharedKey::new(KEY) };
    runtime.spawn(serve(listener, service, CancellationToken::new()));
    address
}

/// Reads a bucket of so many map outputs to its end, each on a thread.
fn fetch(exchange: &RemoteExchange, worker: SocketAddr, streams: u32) {
    let (budget, cancel) = (Budget::new(1 << 30), CancelFlag::default());
    thread::scope(|scope| {
        for partition in 0..streams {
            let (budget, cancel) = (&budget, &cancel);
            scope.spawn(move || {
                let output = MapOutput {
                    map: map(partition),
                    worker: WorkerId(String::from("w")),
                    epoch: Epoch(1),
                    address: worker.to_string(),
                };
                let mut rows = exchange.open(&output, 0, budget, cancel).unwrap();
                let mut count = 0;
                while let Some(batch) = rows.next().unwrap() {
                    count += batch.num_rows();
                }
                assert_eq!(count, ROWS * BATCHES);
            });
        }
    });
}

/// A server that sends so many bytes in messages of the size of a shuffle's.
fn plain(runtime: &Runtime, bytes: usize) -> SocketAddr {
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    let service = FlightServiceServer::new(Plain { body: vec![7; BLOCK_BYTES].into(), bytes })
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    runtime.spawn(Server::builder().add_service(service).serve_with_incoming(incoming));
    address
}

/// Receives so many streams of such a server, all at once over one connection.
fn receive(runtime: &Runtime, server: SocketAddr, streams: u32, bytes: usize) {
    runtime.block_on(async {
        let channel = Endpoint::from_shared(format!("http://{server}"))
            .unwrap()
            .tcp_nodelay(true)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size((1 << 31) - 1)
            .max_frame_size(FRAME_BYTES)
            .connect()
            .await
            .unwrap();
        let mut tasks = JoinSet::new();
        for _ in 0..streams {
            let channel = channel.clone();
            tasks.spawn(async move {
                let mut client =
                    FlightServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES);
                let mut messages = client.do_get(Ticket::default()).await.unwrap().into_inner();
                let mut received = 0;
                while let Some(message) = messages.message().await.unwrap() {
                    received += message.data_body.len();
                }
                assert_eq!(received, bytes);
            });
        }
        tasks.join_all().await;
    });
}

/// Sends the same body again and again.
struct Plain {
    body: Bytes,
    bytes: usize,
}

type Answer<T> = Result<Response<T>, Status>;
type Flow<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

fn absent<T>() -> Answer<T> {
    Err(Status::unimplemented("a bench"))
}

#[tonic::async_trait]
impl Service for Plain {
    type HandshakeStream = Flow<HandshakeResponse>;
    type ListFlightsStream = Flow<FlightInfo>;
    type DoGetStream = Flow<FlightData>;
    type DoPutStream = Flow<PutResult>;
    type DoActionStream = Flow<arrow_flight::Result>;
    type ListActionsStream = Flow<ActionType>;
    type DoExchangeStream = Flow<FlightData>;

    async fn do_get(&self, _: Request<Ticket>) -> Answer<Self::DoGetStream> {
        let body = self.body.clone();
        let messages = stream::unfold(self.bytes, move |left| {
            let body = body.slice(..left.min(body.len()));
            async move {
                let rest = left - body.len();
                let message = FlightData { data_body: body, ..FlightData::default() };
                (left > 0).then_some((Ok(message), rest))
            }
        });
        Ok(Response::new(Box::pin(messages)))
    }

    async fn handshake(
        &self,
        _: Request<Streaming<HandshakeRequest>>,
    ) -> Answer<Self::HandshakeStream> {
        absent()
    }

    async fn list_flights(&self, _: Request<Criteria>) -> Answer<Self::ListFlightsStream> {
        absent()
    }

    async fn get_flight_info(&self, _: Request<FlightDescriptor>) -> Answer<FlightInfo> {
        absent()
    }

    async fn poll_flight_info(&self, _: Request<FlightDescriptor>) -> Answer<PollInfo> {
        absent()
    }

    async fn get_schema(&self, _: Request<FlightDescriptor>) -> Answer<SchemaResult> {
        absent()
    }

    async fn do_put(&self, _: Request<Streaming<FlightData>>) -> Answer<Self::DoPutStream> {
        absent()
    }

    async fn do_exchange(
        &self,
        _: Request<Streaming<FlightData>>,
    ) -> Answer<Self::DoExchangeStream> {
        absent()
    }

    async fn do_action(&self, _: Request<Action>) -> Answer<Self::DoActionStream> {
        absent()
    }

    async fn list_actions(&self, _: Request<Empty>) -> Answer<Self::ListActionsStream> {
        absent()
    }
}
