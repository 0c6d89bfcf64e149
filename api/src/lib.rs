//! The control plane of minispark: REST for clients, the master, the worker agent.
//!
//! A [`master`] owns the scheduler and serves two doors: REST ([`rest`]) for people and programs,
//! and the worker [`protocol`] for [`worker`]s, which call in, are heartbeat and report in one, and
//! get their commands as answers. Rows pass by here only as bounded streams of finished results;
//! how a row is computed is the engine's business and how it travels the data plane's.

pub mod error;
pub mod protocol;
mod rate;
pub mod auth;
pub mod meter;
pub(crate) mod metrics;
pub mod master;
pub mod worker;
pub mod rest;

pub use error::Error;
pub use minispark_flight::objects;

/// The version of this build, as every answer names it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

#[cfg(test)]
mod tests;
