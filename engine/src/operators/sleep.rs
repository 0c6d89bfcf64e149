//! `sleep`.
