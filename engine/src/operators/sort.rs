//! `sort`.
