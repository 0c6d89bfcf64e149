//! What the tests of this crate share: rows, stores, servers on loopback, and a bad network.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use arrow::{
    array::{Int64Array, RecordBatch, StringViewArray},
    datatypes::{DataType, Field, Schema, SchemaRef},
    ipc::writer::FileWriter,
};
use minispark_engine::{
    disk::{Disk, RealDisk},
    error::Code,
    exchange::{MapOutput, store::PartitionStore},
    id::{Attempt, Epoch, JobId, StageId, TaskAttempt, TaskId, Term, WorkerId},
    memory::Budget,
    operators::Operator,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    Asker, FlightService, Refusal, ResultFiles, ResultSource, Results, SharedKey,
    server::serve_with, ticket::UnixClock,
};

/// The moment at which tests happen.
pub(crate) const NOW: u64 = 1_000_000;

pub(crate) fn clock() -> UnixClock {
    Arc::new(|| NOW)
}

pub(crate) fn key() -> SharedKey {
    SharedKey::new([7; 32])
}

pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

pub(crate) fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("word", DataType::Utf8View, true),
        Field::new("n", DataType::Int64, false),
    ]))
}

/// Rows `from..from + count`: every third word is null, others repeat `text`.
pub(crate) fn rows(from: i64, count: i64, text: &str) -> RecordBatch {
    let numbers = from..from + count;
    let words: StringViewArray =
        numbers.clone().map(|n| (n % 3 != 0).then(|| format!("{n} {text}"))).collect();
    let numbers: Int64Array = numbers.collect();
    RecordBatch::try_new(schema(), vec![Arc::new(words), Arc::new(numbers)]).unwrap()
}

/// All batches of an operator as one.
pub(crate) fn all(mut rows: Box<dyn Operator>) -> minispark_engine::Result<RecordBatch> {
    let mut batches = Vec::new();
    while let Some(batch) = rows.next()? {
        assert!(batch.num_rows() > 0, "an empty batch");
        batches.push(batch);
    }
    let schema = batches.first().map_or_else(schema, RecordBatch::schema);
    Ok(arrow::compute::concat_batches(&schema, &batches)?)
}

pub(crate) fn map(partition: u32) -> TaskAttempt {
    let task = TaskId { job: JobId(Uuid::from_u128(1)), stage: StageId(0), partition };
    TaskAttempt { task, attempt: Attempt { term: Term(1), n: 1 } }
}

pub(crate) fn output(partition: u32, address: SocketAddr) -> MapOutput {
    MapOutput {
        map: map(partition),
        worker: WorkerId(String::from("w1")),
        epoch: Epoch(1),
        address: address.to_string(),
    }
}

/// A store with one output of one bucket a batch list, of partition 0.
pub(crate) fn store(folder: &Path, buckets: &[Vec<RecordBatch>]) -> Arc<PartitionStore> {
    let store = Arc::new(PartitionStore::new(
        RealDisk::shared(),
        folder.to_path_buf(),
        Budget::new(1 << 30),
    ));
    let mut writer = store.writer(map(0), schema(), u32::try_from(buckets.len()).unwrap());
    for (bucket, batches) in (0..).zip(buckets) {
        for batch in batches {
            writer.push(bucket, batch.clone()).unwrap();
        }
    }
    writer.finish().unwrap();
    store
}

/// Serves on a port of its own until the runtime is dropped.
pub(crate) fn serve(runtime: &Runtime, service: FlightService) -> SocketAddr {
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    runtime.spawn(serve_with(listener, service, clock(), Duration::ZERO, shutdown));
    address
}

/// A worker that serves `store`.
pub(crate) fn worker(runtime: &Runtime, store: &Arc<PartitionStore>) -> SocketAddr {
    let store = Some(Arc::clone(store));
    serve(runtime, FlightService { store, results: None, key: key() })
}

/// What a bad network does to the bytes that a server sends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Trouble {
    /// Closes the connection after so many.
    Cut(usize),
    /// Passes on no more after so many, but keeps the connection.
    Stall(usize),
    /// Flips a bit of the bytes at these places.
    Flip(&'static [usize]),
}

/// A network in front of a server.
pub(crate) struct Network {
    pub(crate) address: SocketAddr,
    pub(crate) connections: Arc<AtomicUsize>,
}

pub(crate) fn network(runtime: &Runtime, server: SocketAddr, trouble: Trouble) -> Network {
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    runtime.spawn(async move {
        let mut open = tokio::task::JoinSet::new();
        while let Ok((client, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::Relaxed);
            open.spawn(pass(client, server, trouble));
        }
    });
    Network { address, connections }
}

async fn pass(client: TcpStream, server: SocketAddr, trouble: Trouble) -> std::io::Result<()> {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = TcpStream::connect(server).await?.into_split();
    let up = async move { tokio::io::copy(&mut from_client, &mut to_server).await.map(|_| ()) };
    let down = async move {
        let (mut passed, mut buffer) = (0, vec![0; 16 << 10]);
        loop {
            let most = match trouble {
                Trouble::Cut(at) if passed == at => return Ok(()),
                Trouble::Stall(at) if passed == at => std::future::pending().await,
                Trouble::Cut(at) | Trouble::Stall(at) => buffer.len().min(at - passed),
                Trouble::Flip(_) => buffer.len(),
            };
            let count = from_server.read(&mut buffer[..most]).await?;
            if count == 0 {
                return Ok(());
            }
            if let Trouble::Flip(places) = trouble {
                for place in places.iter().filter(|place| (passed..passed + count).contains(place))
                {
                    buffer[place - passed] ^= 1;
                }
            }
            to_client.write_all(&buffer[..count]).await?;
            passed += count;
        }
    };
    tokio::select! {
        ended = up => ended,
        ended = down => ended,
    }
}

/// Results that are made up; a job `running` has none yet.
#[derive(Default)]
pub(crate) struct FakeResults(Mutex<Vec<ResultFiles>>);

impl FakeResults {
    pub(crate) fn of(results: Vec<ResultFiles>) -> Arc<dyn Results> {
        Arc::new(Self(Mutex::new(results)))
    }
}

impl Results for FakeResults {
    fn admit(&self, asker: &Asker) -> Result<(), Refusal> {
        match asker.authorization.as_deref() {
            Some(b"Bearer wrong") => Err(Refusal::new(Code::Unauthenticated, "a wrong token")),
            _ => Ok(()),
        }
    }

    fn find(&self, asker: &Asker, job: &str, sink: &str) -> Result<ResultFiles, Refusal> {
        self.admit(asker)?;
        if job == "running" {
            return Err(Refusal::new(Code::NotFinished, "job running is RUNNING"));
        }
        let found = self.0.lock().unwrap();
        let found = found.iter().find(|files| files.job == job && files.sink == sink);
        found
            .cloned()
            .ok_or_else(|| Refusal::new(Code::NotFound, format!("no sink `{sink}` of {job}")))
    }

    fn list(&self, asker: &Asker) -> Result<Vec<ResultFiles>, Refusal> {
        self.admit(asker)?;
        Ok(self.0.lock().unwrap().clone())
    }
}

/// A result in an Arrow file with text as `Utf8`, as a sink writes it.
pub(crate) fn result(folder: &Path, job: &str, sink: &str, batches: &[RecordBatch]) -> ResultFiles {
    let path = folder.join(format!("{job}_{sink}.arrow"));
    let wire = crate::block::wire_schema(&schema());
    let mut file = RealDisk.create(&path).unwrap();
    let mut writer = FileWriter::try_new(&mut file, &wire).unwrap();
    for batch in batches {
        writer.write(&crate::block::with_schema(batch, &wire).unwrap()).unwrap();
    }
    writer.finish().unwrap();
    drop(writer);
    let rows = batches.iter().map(|batch| batch.num_rows() as u64).sum();
    let bytes = RealDisk.open(&path).unwrap().size().unwrap();
    let (job, sink) = (String::from(job), String::from(sink));
    let source = ResultSource::Arrow(path);
    ResultFiles { job, sink, schema: schema(), rows, bytes, ordered: true, source }
}
