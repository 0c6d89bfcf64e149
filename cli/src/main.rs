//! The `minispark` command: parses the command line, does what it says, ends with an exit code.
//!
//! What may be said stands in [`args`], what is done in [`commands`], what is printed in
//! [`output`]. Links named `client`, `master` and `worker` start the same program.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::{CommandFactory, FromArgMatches};

mod allocator;
mod args;
mod config;
mod commands;
mod client;
mod events;
mod output;
mod generate;
mod host;
mod logging;
mod units;
mod error;

use config::Settings;
use error::{Exit, Result};
use output::Output;

fn main() -> ExitCode {
    allocator::set_up();
    let arguments = args::normalise(std::env::args_os());
    // What is wrong with it is told once it is known that it is needed.
    let settings = Settings::load(&arguments);
    let command = settings.as_ref().map_or_else(|_| args::Cli::command(), Settings::command);
    let parsed = command.try_get_matches_from(arguments);
    let cli = match parsed.and_then(|matches| args::Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(told) => {
            // Help and version are answers, the rest is a usage error; clap knows which is which.
            drop(told.print());
            return ExitCode::from(if told.use_stderr() { Exit::Usage } else { Exit::Done }.code());
        }
    };
    if cli.verb.is_none() {
        let help = args::Cli::command().render_help();
        drop(writeln!(io::stderr().lock(), "{help}"));
        return ExitCode::from(Exit::Other.code());
    }
    let output = Output::new(&cli.global);
    ExitCode::from(conclude(commands::execute(cli, settings, output), output).code())
}

/// The exit code of what was done; an error is told, a closed pipe is the reader's good right.
fn conclude(outcome: Result<Exit>, output: Output) -> Exit {
    match outcome {
        Ok(exit) => exit,
        Err(error) if error.is_closed_pipe() => Exit::Done,
        Err(error) => {
            output.error(&error);
            error.exit
        }
    }
}
