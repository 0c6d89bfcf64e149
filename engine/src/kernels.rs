//! Kernels: the hot loops that operators call. Free functions over arrays, slices and buffers.

pub mod hash;
pub(crate) mod bloom;
pub mod key_table;
pub(crate) mod direct;
pub(crate) mod group_index;
pub mod scatter;
pub(crate) mod sort_key;
pub(crate) mod sort_rows;
pub(crate) mod canonical;
pub mod compact;
pub mod float_sum;
pub mod growth;
pub mod accumulate;
pub(crate) mod column;
pub(crate) mod gather;
pub(crate) mod prefetch;
mod text_column;
mod validity;
