//! Text from a seed, as `minispark generate text` makes it.

use std::{
    io,
    path::Path,
    process::{Command, Stdio},
};

/// Writes lines of text, `bytes` in all but for less than a line.
pub(crate) fn text(path: &Path, bytes: u64, seed: u64) -> io::Result<()> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_minispark"));
    command.args(["generate", "text", "--quiet", "--size", &format!("{bytes}B")]);
    command.args(["--seed", &seed.to_string()]).arg(path).stdin(Stdio::null());
    let status = command.status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(status.to_string())) }
}
