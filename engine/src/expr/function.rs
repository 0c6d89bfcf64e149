//! The named functions: one table.

use serde::{Deserialize, Serialize};

/// A named scalar function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Function {
    /// Lower case.
    Lower,
}
