//! All that is printed: data on stdout, everything else on stderr.
//!
//! What a command answers is a JSON document where a program reads it (stdout is no terminal, or
//! `--json`), and short text or a table where a person does. A closed pipe ends quietly.

use std::{
    borrow::Cow,
    io::{self, IsTerminal, Write},
};

use comfy_table::{ContentArrangement, Table, presets::NOTHING};
use serde::Serialize;

use crate::{
    args::Global,
    error::{Error, Result, printable},
};

pub(crate) mod head;
pub(crate) mod progress;

/// Where and how a command prints.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    json: bool,
    quiet: bool,
    bar: bool,
}

impl Output {
    /// As the flags and the streams say.
    pub(crate) fn new(global: &Global) -> Self {
        let bar = io::stderr().is_terminal()
            && !global.no_progress
            && !global.quiet
            && std::env::var_os("CI").is_none();
        Self { json: global.json, quiet: global.quiet, bar }
    }

    /// Whether JSON was asked for by name.
    pub(crate) fn json_asked(self) -> bool {
        self.json
    }

    /// Whether answers are JSON documents.
    pub(crate) fn is_json(self) -> bool {
        self.json || !io::stdout().is_terminal()
    }

    /// Whether a progress bar may be drawn.
    pub(crate) fn has_bar(self) -> bool {
        self.bar
    }

    /// Whether nothing but results and errors is said.
    pub(crate) fn is_quiet(self) -> bool {
        self.quiet
    }

    /// Something worth knowing, on stderr.
    pub(crate) fn say(self, text: &str) {
        if !self.quiet {
            Self::stderr(text);
        }
    }

    /// Why the command did not succeed, on stderr.
    pub(crate) fn error(self, error: &Error) {
        if self.json {
            let document = serde_json::to_string_pretty(&error.to_json());
            Self::stderr(&document.unwrap_or_else(|_| error.to_string()));
        } else {
            Self::stderr(&error.to_string());
        }
    }

    fn stderr(text: &str) {
        // There is nobody left to tell when stderr itself is gone.
        drop(writeln!(io::stderr().lock(), "{text}"));
    }
}

/// An answer as a JSON document, one key a line.
///
/// # Errors
/// Where stdout can't be written to.
pub(crate) fn document(value: &impl Serialize) -> Result<()> {
    let mut text = serde_json::to_string_pretty(value).map_err(io::Error::from)?;
    text.push('\n');
    data(text.as_bytes())
}

/// An answer's bytes as they are.
///
/// # Errors
/// Where stdout can't be written to.
pub(crate) fn data(bytes: &[u8]) -> Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    Ok(stdout.flush()?)
}

/// A result's rows as they are; on a terminal without the control characters that could drive it.
///
/// # Errors
/// Where stdout can't be written to.
pub(crate) fn rows(bytes: &[u8]) -> Result<()> {
    if io::stdout().is_terminal() { data(&harmless(bytes)) } else { data(bytes) }
}

/// The text with its control characters made visible, but for line feeds and tabs.
fn harmless(bytes: &[u8]) -> Cow<'_, [u8]> {
    let drives = |byte: u8| (byte < b' ' && byte != b'\n' && byte != b'\t') || byte == 0x7f;
    // In UTF-8 a C1 control is 0xc2 and a byte below 0xa0.
    let is_c1 = |pair: &[u8]| pair[0] == 0xc2 && pair[1] < 0xa0;
    if !bytes.iter().copied().any(drives) && !bytes.windows(2).any(is_c1) {
        return Cow::Borrowed(bytes);
    }
    let shown = String::from_utf8_lossy(bytes);
    let mut text = String::with_capacity(shown.len());
    for c in shown.chars() {
        if c.is_control() && c != '\n' && c != '\t' {
            text.extend(c.escape_default());
        } else {
            text.push(c);
        }
    }
    Cow::Owned(text.into_bytes())
}

/// An answer as a line of text.
///
/// # Errors
/// Where stdout can't be written to.
pub(crate) fn line(text: &str) -> Result<()> {
    data(format!("{}\n", printable(text)).as_bytes())
}

/// An answer as names with their values, one a line.
///
/// # Errors
/// Where stdout can't be written to.
pub(crate) fn fields(fields: &[(&str, String)]) -> Result<()> {
    let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, value) in fields {
        line(&format!("{name:width$}  {value}"))?;
    }
    Ok(())
}

/// An answer as a table.
///
/// # Errors
/// Where stdout can't be written to.
pub(crate) fn table(head: &[&str], rows: Vec<Vec<String>>) -> Result<()> {
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(head.iter().copied());
    for row in rows {
        table.add_row(row.iter().map(|cell| printable(cell)));
    }
    for line in table.to_string().lines() {
        data(format!("{}\n", line.trim()).as_bytes())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::harmless;

    #[test]
    fn what_drives_a_terminal_is_made_visible() {
        assert_eq!(&*harmless("ñ\tb\n".as_bytes()), "ñ\tb\n".as_bytes());
        assert_eq!(&*harmless(b"a\x1b[2Jb\n"), b"a\\u{1b}[2Jb\n");
        assert_eq!(&*harmless("a\u{9b}2Jb".as_bytes()), b"a\\u{9b}2Jb");
    }
}
