//! All that is printed: data on stdout, everything else on stderr.
//!
//! What a command answers is a JSON document where a program reads it (stdout is no terminal, or
//! `--json`), and short text or a table where a person does. A closed pipe ends quietly.

use std::io::{self, IsTerminal, Write};

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

    /// An answer as a JSON document, one key a line.
    ///
    /// # Errors
    /// Where stdout can't be written to.
    pub(crate) fn document(self, value: &impl Serialize) -> Result<()> {
        let mut text = serde_json::to_string_pretty(value).map_err(io::Error::from)?;
        text.push('\n');
        self.data(text.as_bytes())
    }

    /// An answer's bytes as they are.
    ///
    /// # Errors
    /// Where stdout can't be written to.
    pub(crate) fn data(self, bytes: &[u8]) -> Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes)?;
        Ok(stdout.flush()?)
    }

    /// An answer as a line of text.
    ///
    /// # Errors
    /// Where stdout can't be written to.
    pub(crate) fn line(self, text: &str) -> Result<()> {
        self.data(format!("{}\n", printable(text)).as_bytes())
    }

    /// An answer as names with their values, one a line.
    ///
    /// # Errors
    /// Where stdout can't be written to.
    pub(crate) fn fields(self, fields: &[(&str, String)]) -> Result<()> {
        let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, value) in fields {
            self.line(&format!("{name:width$}  {value}"))?;
        }
        Ok(())
    }

    /// An answer as a table.
    ///
    /// # Errors
    /// Where stdout can't be written to.
    pub(crate) fn table(self, head: &[&str], rows: Vec<Vec<String>>) -> Result<()> {
        let mut table = Table::new();
        table.load_preset(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(head.iter().copied());
        for row in rows {
            table.add_row(row.iter().map(|cell| printable(cell)));
        }
        for line in table.to_string().lines() {
            self.data(format!("{}\n", line.trim()).as_bytes())?;
        }
        Ok(())
    }

    /// Something worth knowing, on stderr.
    pub(crate) fn say(self, text: &str) {
        if !self.quiet {
            self.stderr(text);
        }
    }

    /// Why the command did not succeed, on stderr.
    pub(crate) fn error(self, error: &Error) {
        if self.json {
            let document = serde_json::to_string_pretty(&error.to_json());
            self.stderr(&document.unwrap_or_else(|_| error.to_string()));
        } else {
            self.stderr(&error.to_string());
        }
    }

    fn stderr(self, text: &str) {
        // There is nobody left to tell when stderr itself is gone.
        drop(writeln!(io::stderr().lock(), "{text}"));
    }
}
