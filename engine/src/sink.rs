//! Sinks.

pub mod commit;
