//! `reduce_by_key`.
