//! `flat_map`.
