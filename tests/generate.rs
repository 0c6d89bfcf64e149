//! `generate BYTES PATH [SEED]`: the text file that the system tests and the comparisons count.

use std::{path::Path, process::ExitCode};

#[path = "support/generate.rs"]
#[expect(clippy::disallowed_methods, reason = "an input for the program, not a part of it")]
mod generate;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| arguments.get(at).and_then(|text| text.parse().ok());
    let (Some(bytes), Some(path)) = (number(0), arguments.get(1)) else {
        return fail("usage: generate BYTES PATH [SEED]");
    };
    match generate::text(Path::new(path), bytes, number(2).unwrap_or(42)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&format!("cannot write `{path}`: {error}")),
    }
}

#[expect(clippy::print_stderr, reason = "a tool without other output")]
fn fail(message: &str) -> ExitCode {
    eprintln!("{message}");
    ExitCode::FAILURE
}
