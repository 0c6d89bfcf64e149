//! `join`.
