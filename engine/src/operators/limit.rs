//! `limit`.
