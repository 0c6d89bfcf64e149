//! What may be said of a local cluster.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};

use crate::units::{duration, size_bytes};

/// `dev`
#[derive(Debug, Subcommand)]
pub(crate) enum Dev {
    /// Start what does not run yet, and wait until all workers are up.
    Up(Up),
    /// Stop what `dev up` started, and nothing else.
    Down(Down),
    /// Show what runs; exit code 1 where not all of it does.
    Status(Folder),
}

/// Where `dev` keeps things.
#[derive(Debug, Args)]
pub(crate) struct Folder {
    /// The folder of logs/ (logs and pid files) and mini-spark-dev/ (state and work folders).
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) dir: PathBuf,
}

/// `dev up`
#[derive(Debug, Args)]
pub(crate) struct Up {
    #[command(flatten)]
    pub(crate) folder: Folder,
    /// How many workers.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 2,
        value_parser = clap::value_parser!(u16).range(1..=64)
    )]
    pub(crate) workers: u16,
    /// Where REST is served on loopback [default: 8080]; 0 takes a free port.
    #[arg(long, value_name = "PORT")]
    pub(crate) port: Option<u16>,
    /// Where Flight is served [default: 8081]; 0 takes a free port.
    #[arg(long, value_name = "PORT")]
    pub(crate) flight_port: Option<u16>,
    /// The first worker's port [default: 9001], the next ones follow; 0 takes free ports.
    #[arg(long, value_name = "PORT")]
    pub(crate) worker_port: Option<u16>,
    /// Memory budget of all together, such as 1GiB [default: 60 % of the machine's or container's].
    #[arg(long, value_name = "SIZE", value_parser = size_bytes)]
    pub(crate) memory: Option<u64>,
    /// Tasks at once on each worker [default: the machine's cores, divided].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) slots: Option<u16>,
    /// Where results go [default: mini-spark in the temporary directory].
    #[arg(long, value_name = "DIR")]
    pub(crate) output_dir: Option<PathBuf>,
    /// How long to wait until all is up.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub(crate) wait: Duration,
}

/// `dev down`
#[derive(Debug, Args)]
pub(crate) struct Down {
    #[command(flatten)]
    pub(crate) folder: Folder,
    /// How long a process may take to end by itself before it is killed.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub(crate) grace: Duration,
}
