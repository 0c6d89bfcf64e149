//! How a writer's files are laid out, and what becomes of those that are there.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{formats::WriteFormat, plan::Write};

/// What a writer does where its target is there already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WriteMode {
    /// It is an error.
    #[default]
    Error,
    /// The new files take the place of the old.
    Overwrite,
    /// The new files stand beside the old.
    Append,
    /// The new files take the place of the old in those partition folders that they have; other
    /// folders stay.
    OverwritePartitions,
}

impl WriteMode {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::Error, Self::Overwrite, Self::Append, Self::OverwritePartitions];

    /// Its word in job documents.
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Overwrite => "overwrite",
            Self::Append => "append",
            Self::OverwritePartitions => "overwrite_partitions",
        }
    }
}

impl Write {
    /// A new folder of plain files.
    pub fn of(path: PathBuf, format: WriteFormat) -> Self {
        Self {
            path,
            compression: format.default_compression(),
            format,
            mode: WriteMode::Error,
            partition_by: Vec::new(),
            files: None,
            stable: false,
        }
    }

    /// What the names of its files end with.
    pub fn extension(&self) -> String {
        let suffix = if self.format.is_text() { self.compression.suffix() } else { "" };
        format!("{}{suffix}", self.format.extension())
    }
}
