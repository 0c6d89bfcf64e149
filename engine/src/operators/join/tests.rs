//! Joins against nested loops.
