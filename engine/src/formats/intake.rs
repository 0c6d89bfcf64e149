//! What all text formats have in common: how a file's bytes become text, and what becomes of
//! records that are none.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::formats::compression::Compression;

/// How the bytes of a text file are taken in.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Intake {
    /// How the files are compressed; what their names say where absent.
    #[serde(default)]
    pub compression: Option<Compression>,
    /// How characters stand in bytes.
    #[serde(default)]
    pub encoding: Encoding,
    /// What becomes of records that are none.
    #[serde(default)]
    pub on_bad_row: OnBadRow,
}

/// How characters stand in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Encoding {
    /// As they are inside the engine.
    #[default]
    Utf8,
    /// ISO 8859-1: a byte is the character of its number.
    Latin1,
    /// Windows' extension of ISO 8859-1.
    Windows1252,
    /// By the byte order mark; without one little endian.
    Utf16,
    /// Little endian.
    Utf16Le,
    /// Big endian.
    Utf16Be,
}

impl Encoding {
    /// The words for them in job documents; the first of each is the one that messages use.
    pub const NAMES: [(&'static str, Self); 9] = [
        ("utf-8", Self::Utf8),
        ("latin-1", Self::Latin1),
        ("windows-1252", Self::Windows1252),
        ("utf-16", Self::Utf16),
        ("utf-16le", Self::Utf16Le),
        ("utf-16be", Self::Utf16Be),
        ("utf8", Self::Utf8),
        ("iso-8859-1", Self::Latin1),
        ("cp1252", Self::Windows1252),
    ];

    /// The encoding of that name, upper and lower case alike.
    pub fn named(name: &str) -> Option<Self> {
        let known = Self::NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        known.map(|(_, encoding)| *encoding)
    }

    /// How many bytes of a file some text takes.
    pub(crate) fn file_bytes(self, text: &[u8]) -> u64 {
        let characters = || text.iter().filter(|byte| !is_continuation(**byte)).count() as u64;
        match self {
            Self::Utf8 => text.len() as u64,
            Self::Latin1 | Self::Windows1252 => characters(),
            // Four bytes of UTF-8 are two units of UTF-16, all other characters one.
            Self::Utf16 | Self::Utf16Le | Self::Utf16Be => {
                2 * (characters()
                    + text.iter().filter(|byte| **byte >= 0xf0 && **byte < 0xff).count() as u64)
            }
        }
    }
}

fn is_continuation(byte: u8) -> bool {
    byte & 0xc0 == 0x80
}

/// What becomes of a record that its format or its types do not allow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OnBadRow {
    /// What is done with it.
    #[serde(default)]
    pub mode: BadRowMode,
    /// The most of them that a job tolerates of its node.
    #[serde(default)]
    pub max_rows: Option<u64>,
    /// The greatest share of the node's records that they may be, from 0 to 1.
    #[serde(default)]
    pub max_ratio: Option<f64>,
}

/// What is done with a bad row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BadRowMode {
    /// It fails the job.
    #[default]
    Fail,
    /// It is left out and counted.
    Skip,
    /// It is left out, counted, and written beside the results.
    Quarantine,
}

impl OnBadRow {
    /// Whether the job goes on behind a bad row.
    pub fn tolerates(&self) -> bool {
        self.mode != BadRowMode::Fail
    }

    /// Why so many bad rows among so many records are too many, where they are; the share is
    /// looked at only when all records `are_counted`.
    pub fn exceeded(&self, bad: u64, records: u64, are_counted: bool) -> Option<String> {
        if let Some(most) = self.max_rows.filter(|most| bad > *most) {
            return Some(format!("{bad} bad rows, `max_rows` is {most}"));
        }
        let most = self.max_ratio.filter(|_| are_counted && bad > 0)?;
        let share = ratio(bad, records);
        (share > most).then(|| {
            format!("{bad} of {records} rows are bad, a share of {share}; `max_ratio` is {most}")
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share of 2^53 rows is exact enough")]
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

impl Intake {
    /// That of a reader that says nothing of it.
    pub(crate) const fn usual() -> Self {
        let on_bad_row = OnBadRow { mode: BadRowMode::Fail, max_rows: None, max_ratio: None };
        Self { compression: None, encoding: Encoding::Utf8, on_bad_row }
    }

    /// How the file at `path` is compressed.
    pub fn compression_of(&self, path: &Path) -> Compression {
        self.compression.unwrap_or_else(|| Compression::of_path(path))
    }

    /// Whether the file's text has to be made of its bytes, from its start to its end.
    pub fn is_streamed(&self, path: &Path) -> bool {
        self.encoding != Encoding::Utf8 || self.compression_of(path) != Compression::None
    }
}

#[cfg(test)]
mod tests {
    use super::{BadRowMode, Encoding, OnBadRow};

    #[test]
    fn a_limit_is_what_may_still_be() {
        let limits = OnBadRow { mode: BadRowMode::Skip, max_rows: Some(2), max_ratio: Some(0.5) };
        assert_eq!(limits.exceeded(2, 10, true), None);
        assert_eq!(limits.exceeded(3, 10, false).unwrap(), "3 bad rows, `max_rows` is 2");
        assert_eq!(limits.exceeded(1, 1, false), None);
        assert!(limits.exceeded(1, 1, true).is_some());
        assert_eq!(limits.exceeded(1, 2, true), None);
    }

    #[test]
    fn text_takes_as_many_bytes_as_its_characters_in_the_files_encoding() {
        let text = "aé😀".as_bytes();
        assert_eq!(Encoding::Utf8.file_bytes(text), 7);
        assert_eq!(Encoding::Windows1252.file_bytes("aé€".as_bytes()), 3);
        assert_eq!(Encoding::Utf16Le.file_bytes(text), 8);
    }
}
