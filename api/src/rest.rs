//! The REST interface: every route on one screen.

pub mod wire;
