//! The Flight service: buckets of a store to workers, finished results to clients.
//!
//! Every call needs this process to have its ticket key; every `DoGet` needs a ticket, checked
//! before anything is looked up. Rows are read and encoded on blocking threads, a batch ahead of
//! what the client takes. Not offered: uploads, exchanges, and whatever else would write.

use std::{pin::Pin, sync::Arc, time::Duration};

use arrow::{datatypes::Schema, ipc::writer::IpcWriteOptions};
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightEndpoint, FlightInfo,
    HandshakeRequest, HandshakeResponse, PollInfo, PutResult, SchemaAsIpc, SchemaResult,
    flight_descriptor::DescriptorType,
    flight_service_server::{self, FlightServiceServer},
};
use futures::{Stream, StreamExt, stream};
use minispark_engine::{
    Error as EngineError, Result as EngineResult, error::Code, exchange::store::PartitionStore,
    operators::Operator, task::context::CancelFlag,
};
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::{
    Request, Response, Status, Streaming,
    transport::{Server, server::TcpIncoming},
};
use tracing::{debug, warn};

use crate::{
    MAX_MESSAGE_BYTES, PING,
    block::{Encoder, Labeller, wire_schema},
    bridge::{self, Steps, Threads},
    connection,
    error::{Error, Refusal, Result},
    results::{self, Asker, ResultFiles, Results, Selection},
    ticket::{
        RESULT_LIFE, ResultTicket, SharedKey, ShuffleTicket, Ticket, UnixClock, system_clock,
    },
};

/// How long streams may go on after the server was asked to stop.
const GRACE: Duration = Duration::from_secs(5);

/// Steps of streams (one batch read and encoded) that run at once.
const THREADS: usize = 16;

/// A merge opens a stream for every run, and none may wait for another: far more than that.
const MOST_STREAMS: u32 = 4096;

/// More clients than these wait to be accepted.
const MOST_CONNECTIONS: usize = 1024;

/// The most bytes of a descriptor or criteria that are parsed.
const MOST_REQUEST_BYTES: usize = 64 << 10;

/// What is served.
#[derive(Clone)]
pub struct FlightService {
    /// Map outputs, of a worker.
    pub store: Option<Arc<PartitionStore>>,
    /// Finished results, of a master.
    pub results: Option<Arc<dyn Results>>,
    /// What tickets are signed with; until it is set every call is refused.
    pub key: SharedKey,
}

/// Serves on `listener` until `shutdown`; streams under way then have five seconds.
///
/// # Errors
/// [`Error::Serve`] where the server can't go on.
pub async fn serve(
    listener: TcpListener,
    service: FlightService,
    shutdown: CancellationToken,
) -> Result<()> {
    serve_with(listener, service, system_clock(), GRACE, shutdown).await
}

/// As [`serve`], by the time of `clock`, and with `grace` for streams under way.
pub(crate) async fn serve_with(
    listener: TcpListener,
    service: FlightService,
    clock: UnixClock,
    grace: Duration,
    shutdown: CancellationToken,
) -> Result<()> {
    let service = Service { what: service, clock, threads: Threads::new(THREADS) };
    let flight = FlightServiceServer::new(service)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let stop = CancellationToken::new();
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true)).with_keepalive(Some(PING));
    let server = Server::builder()
        .http2_keepalive_interval(Some(PING))
        .http2_keepalive_timeout(Some(PING))
        .max_concurrent_streams(MOST_STREAMS)
        .add_service(flight)
        .serve_with_incoming_shutdown(
            connection::bounded(incoming, MOST_CONNECTIONS, &stop),
            shutdown.clone().cancelled_owned(),
        );
    let end_of_grace = async {
        shutdown.cancelled().await;
        tokio::time::sleep(grace).await;
    };
    tokio::pin!(server);
    tokio::select! {
        ended = &mut server => return ended.map_err(Error::Serve),
        () = end_of_grace => stop.cancel(),
    }
    server.await.map_err(Error::Serve)
}

struct Service {
    what: FlightService,
    clock: UnixClock,
    threads: Threads,
}

type Answer<T> = Result<Response<T>, Status>;
type Flow<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Service {
    /// Who asks, if they may. No call is answered before this process knows the key of its cluster.
    async fn authenticate<T>(&self, request: &Request<T>) -> Result<Asker, Refusal> {
        if !self.what.key.is_set() {
            let message = "this process has not joined a cluster yet";
            return Err(Refusal::new(Code::Unauthenticated, message));
        }
        let asker = asker(request);
        if let Some(results) = self.what.results.clone() {
            let copy = asker.clone();
            self.look_up(move || results.admit(&copy)).await?;
        }
        Ok(asker)
    }

    /// Runs a look-up, which may block.
    async fn look_up<T: Send + 'static>(
        &self,
        look_up: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        self.threads.run(look_up).await.map_err(|error| internal(&error))?
    }

    async fn find(&self, asker: Asker, job: String, sink: String) -> Result<ResultFiles, Refusal> {
        let unknown = || Refusal::new(Code::NotFound, "no results are served here");
        let results = self.what.results.clone().ok_or_else(unknown)?;
        self.look_up(move || results.find(&asker, &job, &sink)).await
    }

    /// One bucket of one map attempt, every message labelled.
    async fn shuffle(&self, ticket: ShuffleTicket) -> Result<Flow<FlightData>, Refusal> {
        let ShuffleTicket { map, bucket, .. } = ticket;
        let unknown = move || Refusal::new(Code::NotFound, format!("{map} is not held here"));
        let store = self.what.store.clone().ok_or_else(unknown)?;
        let steps = self
            .look_up(move || {
                let schema = store.schema(map).ok_or_else(unknown)?;
                let rows = store.open(map, bucket).map_err(|error| shuffle_refusal(&error))?;
                let labeller = Labeller::new(&schema);
                let first = vec![labeller.schema()];
                Ok(ShuffleSteps { rows: Some(rows.ok_or_else(unknown)?), labeller, first })
            })
            .await?;
        let messages = bridge::stream(steps, self.threads.clone());
        Ok(Box::pin(messages.map(|message| Ok(message.map_err(|error| shuffle_refusal(&error))?))))
    }

    /// The rows of a finished sink, as any Flight client reads them.
    async fn result(
        &self,
        asker: Asker,
        ticket: ResultTicket,
    ) -> Result<Flow<FlightData>, Refusal> {
        let ResultTicket { job, sink, columns, limit } = ticket;
        let files = self.find(asker, job, sink).await?;
        let unknown = || Refusal::new(Code::NotFound, "no results are served here");
        let results = self.what.results.clone().ok_or_else(unknown)?;
        let read = files.clone();
        let steps = self
            .look_up(move || {
                let columns = columns.map(|names| read.columns(&names)).transpose()?;
                let selection = Selection { columns, offset: 0, limit };
                let refused = |error| result_refusal(&read, &error);
                let schema = read.schema_of(&selection).map_err(refused)?;
                let (disk, budget) = (results.disk(), results.budget());
                let rows = results::open(&read, &selection, &disk, &budget, &CancelFlag::default())
                    .map_err(refused)?;
                let encoder = Encoder::new(&schema);
                let first = vec![encoder.schema()];
                Ok(ResultSteps { rows, encoder, first })
            })
            .await?;
        let messages = bridge::stream(steps, self.threads.clone());
        Ok(Box::pin(
            messages
                .map(move |message| Ok(message.map_err(|error| result_refusal(&files, &error))?)),
        ))
    }

    /// What a client may do with a finished sink, and the ticket to do it.
    fn info(
        &self,
        files: &ResultFiles,
        columns: Option<Vec<String>>,
        limit: Option<u64>,
    ) -> Result<FlightInfo, Refusal> {
        let schema = wire_columns(files, columns.as_deref())?;
        let expires = (self.clock)().saturating_add(RESULT_LIFE.as_secs());
        let is_whole = columns.is_none() && limit.is_none_or(|limit| limit >= files.rows);
        let rows = limit.map_or(files.rows, |limit| limit.min(files.rows));
        let ticket =
            ResultTicket { job: files.job.clone(), sink: files.sink.clone(), columns, limit };
        let ticket = Ticket::Result(ticket).seal(&self.what.key, expires)?;
        let mut endpoint = FlightEndpoint::new().with_ticket(arrow_flight::Ticket { ticket });
        endpoint.expiration_time.get_or_insert_default().seconds =
            i64::try_from(expires).unwrap_or(i64::MAX);
        let about = json!({
            "version": 1,
            "job_id": files.job,
            "sink": files.sink,
            "rows": files.rows,
            "bytes": files.bytes,
            "ordered": files.ordered,
        });
        let info = FlightInfo::new()
            .try_with_schema(&schema)
            .map_err(|error| internal(&EngineError::Arrow(error)))?
            .with_descriptor(FlightDescriptor::new_path(vec![
                files.job.clone(),
                files.sink.clone(),
            ]))
            .with_endpoint(endpoint)
            .with_total_records(i64::try_from(rows).unwrap_or(-1))
            // How many bytes a selection has is not known before it is read.
            .with_total_bytes(if is_whole { i64::try_from(files.bytes).unwrap_or(-1) } else { -1 })
            .with_ordered(true)
            .with_app_metadata(about.to_string());
        Ok(info)
    }
}

/// What a call says of who makes it.
fn asker<T>(request: &Request<T>) -> Asker {
    let authorization = request.metadata().get("authorization");
    Asker {
        authorization: authorization.map(|value| value.as_bytes().to_vec()),
        peer: request.remote_addr(),
    }
}

/// The columns that a client gets, as they are on the wire.
fn wire_columns(files: &ResultFiles, names: Option<&[String]>) -> Result<Arc<Schema>, Refusal> {
    let columns = names.map(|names| files.columns(names)).transpose()?;
    let selection = Selection { columns, ..Selection::default() };
    let schema = files.schema_of(&selection).map_err(|error| result_refusal(files, &error))?;
    Ok(wire_schema(&schema))
}

/// What a descriptor asks for; the form of a command.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    job_id: String,
    sink: String,
    columns: Option<Vec<String>>,
    limit: Option<u64>,
}

impl Wanted {
    fn from_descriptor(descriptor: &FlightDescriptor) -> Result<Self, Refusal> {
        let bad = |message: String| Refusal::new(Code::BadRequest, message);
        match DescriptorType::try_from(descriptor.r#type) {
            Ok(DescriptorType::Path) => match descriptor.path.as_slice() {
                [job, sink] => {
                    Ok(Self { job_id: job.clone(), sink: sink.clone(), columns: None, limit: None })
                }
                path => Err(bad(format!("a path is [job_id, sink]; this one has {}", path.len()))),
            },
            Ok(DescriptorType::Cmd) => parse(&descriptor.cmd, "command"),
            _ => Err(bad(String::from("a descriptor is a path [job_id, sink] or a JSON command"))),
        }
    }
}

/// Which results are listed; the form of criteria.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    job_id: Option<String>,
}

fn parse<'a, T: Deserialize<'a>>(text: &'a [u8], what: &str) -> Result<T, Refusal> {
    if text.len() > MOST_REQUEST_BYTES {
        let message = format!("the {what} is longer than {MOST_REQUEST_BYTES} bytes");
        return Err(Refusal::new(Code::BadRequest, message));
    }
    serde_json::from_slice(text).map_err(|error| {
        Refusal::new(Code::BadRequest, format!("the {what} is not valid: {error}"))
    })
}

/// Rows of a store's bucket, as labelled messages.
struct ShuffleSteps {
    /// Absent once the last message is made.
    rows: Option<Box<dyn Operator>>,
    labeller: Labeller,
    first: Vec<FlightData>,
}

impl Steps for ShuffleSteps {
    type Item = FlightData;

    fn step(&mut self) -> EngineResult<Option<Vec<FlightData>>> {
        let Some(rows) = &mut self.rows else { return Ok(None) };
        let mut messages = std::mem::take(&mut self.first);
        if let Some(batch) = rows.next()? {
            messages.extend(self.labeller.encode(&batch)?);
        } else {
            messages.push(self.labeller.end());
            self.rows = None;
        }
        Ok(Some(messages))
    }
}

/// Rows of a result, as plain messages.
struct ResultSteps {
    rows: Box<dyn Operator>,
    encoder: Encoder,
    first: Vec<FlightData>,
}

impl Steps for ResultSteps {
    type Item = FlightData;

    fn step(&mut self) -> EngineResult<Option<Vec<FlightData>>> {
        let mut messages = std::mem::take(&mut self.first);
        let Some(batch) = self.rows.next()? else {
            return Ok(Some(messages).filter(|messages| !messages.is_empty()));
        };
        messages.extend(self.encoder.encode(&batch)?.into_iter().map(|(data, _)| data));
        Ok(Some(messages))
    }
}

/// An error of a shuffle stream: workers are told all of it.
fn shuffle_refusal(error: &EngineError) -> Refusal {
    let code = match error {
        // Only the encoder evaluates here: a row was too large for a message.
        EngineError::Evaluate { .. } => Code::RecordTooLarge,
        error => error.code(),
    };
    warn!(error = error.chain(), "a bucket could not be sent");
    Refusal::new(code, error.chain())
}

/// An error of a result stream: clients are told no paths.
fn result_refusal(files: &ResultFiles, error: &EngineError) -> Refusal {
    let ResultFiles { job, sink, .. } = files;
    warn!(job, sink, error = error.chain(), "a result could not be read");
    match error {
        EngineError::Evaluate { reason } => Refusal::new(Code::RecordTooLarge, reason.clone()),
        error => {
            let message = format!("the result `{sink}` could not be read; the log says why");
            Refusal::new(error.code(), message)
        }
    }
}

fn internal(error: &EngineError) -> Refusal {
    warn!(error = error.chain(), "a Flight call failed");
    Refusal::new(Code::Internal, "internal error; the log says what happened")
}

fn not_offered<T>(what: &str) -> Answer<T> {
    Err(Refusal::new(Code::MethodNotAllowed, format!("{what} is not offered")).into())
}

#[tonic::async_trait]
impl flight_service_server::FlightService for Service {
    type HandshakeStream = Flow<HandshakeResponse>;
    type ListFlightsStream = Flow<FlightInfo>;
    type DoGetStream = Flow<FlightData>;
    type DoPutStream = Flow<PutResult>;
    type DoExchangeStream = Flow<FlightData>;
    type DoActionStream = Flow<arrow_flight::Result>;
    type ListActionsStream = Flow<ActionType>;

    async fn do_get(&self, request: Request<arrow_flight::Ticket>) -> Answer<Flow<FlightData>> {
        let asker = asker(&request);
        let bytes = request.into_inner().ticket;
        let ticket = Ticket::open(&bytes, &self.what.key, (self.clock)()).map_err(|error| {
            debug!(%error, "a ticket was refused");
            Refusal::from(error)
        })?;
        let messages = match ticket {
            Ticket::Shuffle(ticket) => self.shuffle(ticket).await?,
            Ticket::Result(ticket) => self.result(asker, ticket).await?,
        };
        Ok(Response::new(messages))
    }

    async fn get_flight_info(&self, request: Request<FlightDescriptor>) -> Answer<FlightInfo> {
        let asker = self.authenticate(&request).await?;
        let descriptor = request.into_inner();
        let Wanted { job_id, sink, columns, limit } = Wanted::from_descriptor(&descriptor)?;
        let files = self.find(asker, job_id, sink).await?;
        let info = self.info(&files, columns, limit)?;
        Ok(Response::new(info.with_descriptor(descriptor)))
    }

    async fn get_schema(&self, request: Request<FlightDescriptor>) -> Answer<SchemaResult> {
        let asker = self.authenticate(&request).await?;
        let Wanted { job_id, sink, columns, .. } = Wanted::from_descriptor(request.get_ref())?;
        let files = self.find(asker, job_id, sink).await?;
        let schema = wire_columns(&files, columns.as_deref())?;
        SchemaAsIpc::new(&schema, &IpcWriteOptions::default())
            .try_into()
            .map(Response::new)
            .map_err(|error| internal(&EngineError::Arrow(error)).into())
    }

    async fn list_flights(&self, request: Request<Criteria>) -> Answer<Flow<FlightInfo>> {
        let asker = self.authenticate(&request).await?;
        let criteria = request.into_inner().expression;
        let listed: Listed =
            if criteria.is_empty() { Listed::default() } else { parse(&criteria, "criteria")? };
        let mut found = match self.what.results.clone() {
            Some(results) => self.look_up(move || results.list(&asker)).await?,
            None => Vec::new(),
        };
        found.retain(|files| listed.job_id.as_ref().is_none_or(|job| *job == files.job));
        let infos: Vec<_> =
            found.iter().map(|files| self.info(files, None, None).map_err(Status::from)).collect();
        Ok(Response::new(Box::pin(stream::iter(infos))))
    }

    async fn do_action(&self, request: Request<Action>) -> Answer<Flow<arrow_flight::Result>> {
        self.authenticate(&request).await?;
        let about = match request.get_ref().r#type.as_str() {
            "health" => json!({"status": "ok"}),
            "version" => json!({"version": env!("CARGO_PKG_VERSION")}),
            other => {
                let message = format!("no action `{other}`; there are `health` and `version`");
                return Err(Refusal::new(Code::MethodNotAllowed, message).into());
            }
        };
        let result = arrow_flight::Result::new(about.to_string());
        Ok(Response::new(Box::pin(stream::iter([Ok(result)]))))
    }

    async fn list_actions(&self, request: Request<Empty>) -> Answer<Flow<ActionType>> {
        self.authenticate(&request).await?;
        let actions = [
            ("health", "whether this process answers: {\"status\": \"ok\"}"),
            ("version", "the version of this process: {\"version\": \"…\"}"),
        ];
        let actions = actions.map(|(name, description)| {
            Ok(ActionType { r#type: name.into(), description: description.into() })
        });
        Ok(Response::new(Box::pin(stream::iter(actions))))
    }

    async fn handshake(
        &self,
        _: Request<Streaming<HandshakeRequest>>,
    ) -> Answer<Flow<HandshakeResponse>> {
        not_offered("Handshake")
    }

    async fn poll_flight_info(&self, _: Request<FlightDescriptor>) -> Answer<PollInfo> {
        not_offered("PollFlightInfo")
    }

    async fn do_put(&self, _: Request<Streaming<FlightData>>) -> Answer<Flow<PutResult>> {
        not_offered("DoPut")
    }

    async fn do_exchange(&self, _: Request<Streaming<FlightData>>) -> Answer<Flow<FlightData>> {
        not_offered("DoExchange")
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use arrow::{array::RecordBatch, datatypes::DataType};
    use arrow_flight::{FlightClient, error::FlightError};
    use futures::TryStreamExt;
    use minispark_engine::id::Epoch;
    use tokio::runtime::Runtime;
    use tonic::transport::Endpoint;

    use super::*;
    use crate::{
        error,
        fixture::{
            FakeResults, NOW, clock, key, map, result, rows, runtime, schema, serve as start, store,
        },
    };

    /// A master with two results: `letters` of five rows and `none` of no rows.
    fn master(runtime: &Runtime, folder: &std::path::Path) -> SocketAddr {
        let letters = result(folder, "j1", "letters", &[rows(0, 3, "a"), rows(3, 2, "b")]);
        let results = FakeResults::of(vec![letters, result(folder, "j2", "none", &[])]);
        start(runtime, FlightService { store: None, results: Some(results), key: key() })
    }

    async fn client(address: SocketAddr) -> FlightClient {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        FlightClient::new(endpoint.connect().await.unwrap())
    }

    async fn read(
        client: &mut FlightClient,
        ticket: arrow_flight::Ticket,
    ) -> Result<Vec<RecordBatch>, FlightError> {
        client.do_get(ticket).await?.try_collect().await
    }

    /// The gRPC status of an error, and our code in it.
    fn refused<T: std::fmt::Debug>(result: Result<T, FlightError>) -> (tonic::Code, String) {
        match result {
            Err(FlightError::Tonic(status)) => {
                (status.code(), error::code(&status).map_or_else(String::new, Code::name))
            }
            other => panic!("{other:?} instead of a refusal"),
        }
    }

    fn path(parts: &[&str]) -> FlightDescriptor {
        FlightDescriptor::new_path(parts.iter().copied().map(String::from).collect())
    }

    fn wire(batch: &RecordBatch) -> RecordBatch {
        crate::block::with_schema(batch, &wire_schema(&batch.schema())).unwrap()
    }

    #[test]
    fn a_result_is_described_and_streamed_to_any_client() {
        let (runtime, folder) = (runtime(), tempfile::tempdir().unwrap());
        let address = master(&runtime, folder.path());
        runtime.block_on(async {
            let mut client = client(address).await;
            let info = client.get_flight_info(path(&["j1", "letters"])).await.unwrap();
            assert_eq!((info.total_records, info.ordered), (5, true));
            assert!(info.total_bytes > 0);
            assert_eq!(info.clone().try_decode_schema().unwrap(), *wire_schema(&schema()));
            let [endpoint] = info.endpoint.as_slice() else { panic!("one endpoint") };
            assert!(endpoint.location.is_empty(), "this connection");
            let expires = endpoint.expiration_time.unwrap().seconds;
            assert_eq!(expires, i64::try_from(NOW).unwrap() + 3600);
            let about: serde_json::Value = serde_json::from_slice(&info.app_metadata).unwrap();
            assert_eq!((&about["job_id"], &about["rows"]), (&json!("j1"), &json!(5)));

            let batches = read(&mut client, endpoint.ticket.clone().unwrap()).await.unwrap();
            assert_eq!(batches, [wire(&rows(0, 3, "a")), wire(&rows(3, 2, "b"))]);
        });
    }

    #[test]
    fn an_empty_result_is_a_schema_without_rows() {
        let (runtime, folder) = (runtime(), tempfile::tempdir().unwrap());
        let address = master(&runtime, folder.path());
        runtime.block_on(async {
            let mut client = client(address).await;
            let info = client.get_flight_info(path(&["j2", "none"])).await.unwrap();
            assert_eq!(info.total_records, 0);
            let ticket = info.endpoint[0].ticket.clone().unwrap();
            let mut stream = client.do_get(ticket).await.unwrap();
            assert!(stream.try_next().await.unwrap().is_none());
            assert_eq!(stream.schema(), Some(&wire_schema(&schema())));
        });
    }

    #[test]
    fn a_command_takes_columns_and_a_limit() {
        let (runtime, folder) = (runtime(), tempfile::tempdir().unwrap());
        let address = master(&runtime, folder.path());
        runtime.block_on(async {
            let mut client = client(address).await;
            let command = r#"{"job_id": "j1", "sink": "letters", "columns": ["n"], "limit": 4}"#;
            let command = FlightDescriptor::new_cmd(command);
            let info = client.get_flight_info(command.clone()).await.unwrap();
            assert_eq!((info.total_records, info.total_bytes), (4, -1));
            let schema = client.get_schema(command).await.unwrap();
            assert_eq!(info.clone().try_decode_schema().unwrap(), schema);
            assert_eq!(schema.fields().len(), 1);
            let batches = read(&mut client, info.endpoint[0].ticket.clone().unwrap()).await;
            let n = |batch: RecordBatch| batch.project(&[1]).unwrap();
            assert_eq!(batches.unwrap(), [n(rows(0, 3, "a")), n(rows(3, 1, "b"))]);
        });
    }

    #[test]
    fn what_can_not_be_had_says_so_with_a_code() {
        let (runtime, folder) = (runtime(), tempfile::tempdir().unwrap());
        let address = master(&runtime, folder.path());
        let bad = (tonic::Code::InvalidArgument, "BAD_REQUEST");
        let cases = [
            (path(&["j9", "letters"]), (tonic::Code::NotFound, "NOT_FOUND")),
            (path(&["j1", "nothing"]), (tonic::Code::NotFound, "NOT_FOUND")),
            (path(&["running", "x"]), (tonic::Code::FailedPrecondition, "NOT_FINISHED")),
            (path(&["j1"]), bad),
            (path(&["j1", "letters", "more"]), bad),
            (FlightDescriptor::default(), bad),
            (FlightDescriptor::new_cmd("not JSON"), bad),
            (FlightDescriptor::new_cmd(r#"{"job_id": "j1"}"#), bad),
            (
                FlightDescriptor::new_cmd(
                    r#"{"job_id": "j1", "sink": "letters", "parallel": true}"#,
                ),
                bad,
            ),
            (
                FlightDescriptor::new_cmd(
                    r#"{"job_id": "j1", "sink": "letters", "columns": ["x"]}"#,
                ),
                bad,
            ),
        ];
        runtime.block_on(async {
            let mut client = client(address).await;
            for (descriptor, (status, code)) in cases {
                let expected = (status, String::from(code));
                let info = client.get_flight_info(descriptor.clone()).await;
                assert_eq!(refused(info), expected, "{descriptor:?}");
                let schema = client.get_schema(descriptor.clone()).await;
                assert_eq!(refused(schema), expected, "{descriptor:?}");
            }
        });
    }

    #[test]
    fn finished_results_are_listed_and_can_be_read_from_the_list() {
        let (runtime, folder) = (runtime(), tempfile::tempdir().unwrap());
        let address = master(&runtime, folder.path());
        runtime.block_on(async {
            let mut client = client(address).await;
            let infos: Vec<_> = client.list_flights("").await.unwrap().try_collect().await.unwrap();
            let paths: Vec<_> =
                infos.iter().map(|info| info.flight_descriptor.clone().unwrap().path).collect();
            assert_eq!(paths, [["j1", "letters"], ["j2", "none"]]);
            let ticket = infos[0].endpoint[0].ticket.clone().unwrap();
            assert_eq!(read(&mut client, ticket).await.unwrap().len(), 2);

            let of_one = client.list_flights(r#"{"job_id": "j2"}"#).await.unwrap();
            assert_eq!(of_one.try_collect::<Vec<_>>().await.unwrap().len(), 1);
            let unknown = client.list_flights(r#"{"name": "x"}"#).await.map(|_| ());
            assert_eq!(refused(unknown).1, "BAD_REQUEST");
        });
    }

    #[test]
    fn tickets_that_are_forged_cut_expired_or_foreign_are_unauthenticated() {
        let (runtime, folder) = (runtime(), tempfile::tempdir().unwrap());
        let address = master(&runtime, folder.path());
        let ticket = Ticket::Result(ResultTicket {
            job: String::from("j1"),
            sink: String::from("letters"),
            columns: None,
            limit: None,
        });
        let good = ticket.seal(&key(), NOW + 1).unwrap();
        let mut forged = good.to_vec();
        forged[8] ^= 1;
        let bad = [
            forged.into(),
            good.slice(..good.len() - 1),
            good.slice(..0),
            ticket.seal(&key(), NOW).unwrap(),
            ticket.seal(&SharedKey::new([9; 32]), NOW + 1).unwrap(),
            bytes::Bytes::from_static(br#"{"job_id": "j1", "sink": "letters"}"#),
        ];
        runtime.block_on(async {
            let mut client = client(address).await;
            assert!(read(&mut client, arrow_flight::Ticket { ticket: good }).await.is_ok());
            for bytes in bad {
                let result = read(&mut client, arrow_flight::Ticket { ticket: bytes }).await;
                let expected = (tonic::Code::Unauthenticated, String::from("UNAUTHENTICATED"));
                assert_eq!(refused(result), expected);
            }
        });
    }

    #[test]
    fn a_ticket_of_the_other_kind_finds_nothing() {
        let (runtime, folder) = (runtime(), tempfile::tempdir().unwrap());
        let master = master(&runtime, folder.path());
        let work = folder.path().join("work");
        let store = Some(store(&work, &[vec![rows(0, 1, "a")]]));
        let worker = start(&runtime, FlightService { store, results: None, key: key() });
        let shuffle = ShuffleTicket { map: map(0), bucket: 0, epoch: Epoch(1) };
        let shuffle = Ticket::Shuffle(shuffle).seal(&key(), NOW + 1).unwrap();
        runtime.block_on(async {
            let info =
                client(master).await.get_flight_info(path(&["j1", "letters"])).await.unwrap();
            let result = info.endpoint[0].ticket.clone().unwrap();
            let shuffle = arrow_flight::Ticket { ticket: shuffle };
            for (address, ticket) in [(worker, result), (master, shuffle)] {
                let answer = read(&mut client(address).await, ticket).await;
                assert_eq!(refused(answer), (tonic::Code::NotFound, String::from("NOT_FOUND")));
            }
        });
    }

    #[test]
    fn without_a_key_every_call_is_unauthenticated() {
        let runtime = runtime();
        let service = FlightService { store: None, results: None, key: SharedKey::default() };
        let address = start(&runtime, service);
        runtime.block_on(async {
            let mut client = client(address).await;
            let ticket = arrow_flight::Ticket { ticket: vec![0; 99].into() };
            let answers = [
                client.get_flight_info(path(&["j", "s"])).await.map(|_| ()),
                client.get_schema(path(&["j", "s"])).await.map(|_| ()),
                client.do_get(ticket).await.map(|_| ()),
                client.list_flights("").await.map(|_| ()),
                client.do_action(Action::new("health", "")).await.map(|_| ()),
                client.list_actions().await.map(|_| ()),
            ];
            for answer in answers {
                assert_eq!(refused(answer).0, tonic::Code::Unauthenticated);
            }
        });
    }

    #[test]
    fn actions_tell_health_and_version_and_nothing_else() {
        let (runtime, folder) = (runtime(), tempfile::tempdir().unwrap());
        let address = master(&runtime, folder.path());
        runtime.block_on(async {
            let mut client = client(address).await;
            let health = client.do_action(Action::new("health", "")).await.unwrap();
            let health: Vec<_> = health.try_collect().await.unwrap();
            assert_eq!(health, [&br#"{"status":"ok"}"#[..]]);
            assert!(client.do_action(Action::new("version", "")).await.is_ok());
            let other = client.do_action(Action::new("shutdown", "")).await.map(|_| ());
            assert_eq!(refused(other).0, tonic::Code::Unimplemented);
            let poll = client.poll_flight_info(path(&["j1", "letters"])).await;
            assert_eq!(refused(poll), (tonic::Code::Unimplemented, "METHOD_NOT_ALLOWED".into()));
        });
    }

    #[test]
    fn a_result_that_is_damaged_is_an_error_and_no_short_result() {
        let (runtime, folder) = (runtime(), tempfile::tempdir().unwrap());
        let batches: Vec<_> = (0..4).map(|n| rows(n * 100, 100, "some text")).collect();
        let files = result(folder.path(), "j", "s", &batches);
        let crate::ResultSource::Arrow(file) = &files.source else { panic!("an Arrow file") };
        // The third batch's offsets lie behind its text; the footer is as it was.
        let mut bytes = std::fs::read(file).unwrap();
        let third = bytes
            .windows(8)
            .position(|at| at == b"200 some")
            .or_else(|| bytes.windows(8).position(|at| at == b"202 some"));
        let offsets = third.unwrap() - 64;
        bytes[offsets..offsets + 32].fill(0xff);
        let disk = minispark_engine::disk::RealDisk::shared();
        std::io::Write::write_all(&mut disk.create(file).unwrap(), &bytes).unwrap();
        let results = Some(FakeResults::of(vec![files]));
        let address = start(&runtime, FlightService { store: None, results, key: key() });
        runtime.block_on(async {
            let mut client = client(address).await;
            let info = client.get_flight_info(path(&["j", "s"])).await.unwrap();
            let answer = read(&mut client, info.endpoint[0].ticket.clone().unwrap()).await;
            assert_eq!(refused(answer), (tonic::Code::DataLoss, String::from("INPUT_CORRUPT")));
        });
    }

    #[test]
    fn a_server_that_stops_fails_streams_instead_of_ending_them() {
        let (runtime, folder) = (runtime(), tempfile::tempdir().unwrap());
        let rows: Vec<_> = (0..40).map(|n| rows(n * 1000, 1000, &"x".repeat(1500))).collect();
        let results = Some(FakeResults::of(vec![result(folder.path(), "j", "s", &rows)]));
        let service = FlightService { store: None, results, key: key() };
        let stop = CancellationToken::new();
        let (shutdown, grace) = (stop.clone(), Duration::from_millis(1));
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let server = runtime.spawn(serve_with(listener, service, clock(), grace, shutdown));
            let mut client = client(address).await;
            let info = client.get_flight_info(path(&["j", "s"])).await.unwrap();
            let ticket = info.endpoint[0].ticket.clone().unwrap();
            let mut stream = client.do_get(ticket).await.unwrap();
            assert!(stream.try_next().await.unwrap().is_some());
            stop.cancel();
            // The grace passes while the client reads nothing.
            server.await.unwrap().unwrap();
            let rest: Result<Vec<_>, _> = stream.try_collect().await;
            assert!(rest.is_err(), "a cut stream was taken for the end");
        });
    }

    #[test]
    fn text_is_plain_for_clients() {
        let (runtime, folder) = (runtime(), tempfile::tempdir().unwrap());
        let address = master(&runtime, folder.path());
        runtime.block_on(async {
            let schema = client(address).await.get_schema(path(&["j1", "letters"])).await.unwrap();
            assert_eq!(schema.field(0).data_type(), &DataType::Utf8);
        });
    }
}
