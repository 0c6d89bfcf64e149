//! The minispark engine: synchronous, without sockets, driven by whoever embeds it.
//!
//! # The life of a batch
//!
//! A job document ([`job`]) is checked into a [`plan`] of typed nodes whose expressions ([`expr`])
//! are bound to their schemas, and cut into stages at each exchange. The [`schedule`]r hands a
//! stage's partitions out as tasks; a [`task`] is one pipeline on one thread:
//!
//! ```text
//! source → operators → exchange → operators → sink
//!   │          │           │                    │
//! formats   kernels   partition store        formats
//! ```
//!
//! A [`source`] reads a split of a file and decodes it by its [`formats`] into record batches.
//! [`operators`] pull them, one batch at a time, and leave the hot loops to [`kernels`]; what they
//! hold is reserved in the process's [`memory`] budget, and what is refused is spilled. At the end
//! of a stage an [`exchange`] scatters rows into the buckets of the partition store, from which
//! the tasks of the next stage read, in this process or over a network that this crate does not
//! know. A [`sink`] encodes the last batches into attempt files and publishes them at once.
//!
//! [`runtime`] drives all of it in one process; a master and its workers drive the same pieces.
//! Deliberately absent: async, sockets, HTTP, a query language for whole queries, a cost model.

pub mod error;
pub mod id;
pub mod job;
pub mod expr;
pub mod plan;
pub mod schedule;
pub mod task;
pub mod source;
pub mod formats;
pub mod operators;
pub mod kernels;
pub mod exchange;
pub mod sink;
pub mod disk;
pub mod memory;
pub mod runtime;

pub use error::{Error, Result};
