//! The data plane of minispark: Arrow Flight between workers, and to clients.
//!
//! Bytes leave through [`server`]: the buckets of a worker's partition store to other workers, and
//! [`results`] to any Flight client. They arrive through [`remote`], which is the engine's
//! [`Exchange`](minispark_engine::exchange::Exchange) over a `client` connection. What may be
//! read is named by a signed [`ticket`]; how rows look on the wire is decided in `block`; and the
//! one place where async code and a blocking operator meet is [`bridge`]. Beside all that,
//! [`objects`] has files behind URLs for readers and writers.
//!
//! Deliberately absent: jobs, scheduling and REST. What a job's results are is told by whoever
//! implements [`Results`].

pub mod error;
pub mod ticket;
mod block;
pub mod bridge;
pub mod results;
mod connection;
pub mod server;
mod client;
pub mod traffic;
pub mod remote;
pub mod objects;
#[cfg(test)]
mod fixture;

pub use error::{Error, Refusal, Result};
pub use remote::RemoteExchange;
pub use results::{Asker, ResultFiles, ResultPart, ResultSource, Results};
pub use server::{FlightService, serve};
pub use ticket::{SharedKey, Ticket};

use std::time::Duration;

/// The most bytes of one gRPC message, on both ends; never the library's default of 4 MiB.
pub const MAX_MESSAGE_BYTES: usize = 32 << 20;

/// How much of a stream one message aims to hold; a row of more travels alone.
pub const BLOCK_BYTES: usize = 2 << 20;

/// How often an HTTP/2 connection is pinged, also when idle, and how long an answer may take.
const PING: Duration = Duration::from_secs(10);
