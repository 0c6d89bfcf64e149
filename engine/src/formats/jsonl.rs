//! JSON Lines: decode and encode.

use serde::{Deserialize, Serialize};

use crate::formats::DeclaredColumn;

/// How JSON Lines are read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct JsonlOptions {
    /// Declared columns, and then only these; a type that is absent is inferred. `None`: the keys
    /// of the sampled objects, in order of first appearance.
    pub columns: Option<Vec<DeclaredColumn>>,
}
