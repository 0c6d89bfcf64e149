//! The partition store.

/// Keeps map outputs.
#[derive(Debug)]
pub struct PartitionStore;
