//! The REST interface: every route on one screen.

pub mod wire;
pub mod problem;
pub mod guard;
