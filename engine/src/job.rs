//! job

pub mod check;
