//! The command line as types, and nothing else: what may be said, not what is done about it.
//!
//! Only what is built stands here, so nothing is parsed and ignored.

use std::{
    ffi::{OsStr, OsString},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, Parser, Subcommand, ValueEnum};
use minispark_api::{auth::Role, objects::StoreRules};

use crate::units::{duration, size_bytes};

pub(crate) mod dev;
pub(crate) mod files;
pub(crate) mod generate;

const EXIT_CODES: &str = "Exit codes: 0 done, 1 other error or no command, 2 usage, 3 job \
    document invalid, 4 server unreachable, 5 not allowed, 6 no such job, 7 job failed, \
    8 job cancelled, 9 job not finished, 10 conflict, 130 interrupted, 143 terminated.";

/// Runs jobs (a JSON graph of operators) in this process or on a cluster.
#[derive(Debug, Parser)]
#[command(name = "minispark", version, after_help = EXIT_CODES, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: Option<Verb>,
}

/// Flags that every command takes.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// A file of settings, before `minispark.toml` and the user's own.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The master's address [environment: `MASTER_URL`].
    #[arg(
        long,
        global = true,
        default_value = "http://127.0.0.1:8080",
        value_name = "URL",
        value_parser = server_url
    )]
    pub(crate) server: String,
    /// The file with this user's token; for `master` and `token` the file of all tokens
    /// [environment for a token itself: `MINISPARK_TOKEN`].
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Print JSON, also on a terminal.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Say nothing but results and errors.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Log more (-v info, -vv debug, -vvv trace).
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// How log lines look on stderr.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Auto)]
    pub(crate) log_format: LogFormat,
    /// What is logged: a level or a filter such as `info,minispark_engine=debug`
    /// [environment: `RUST_LOG`].
    #[arg(long, global = true, value_name = "FILTER")]
    pub(crate) log_level: Option<String>,
    /// Draw no progress bar.
    #[arg(long, global = true)]
    pub(crate) no_progress: bool,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Text on a terminal, otherwise JSON.
    Auto,
    /// Text for people.
    Human,
    /// One JSON object a line.
    Json,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run a job in this process.
    Run(Run),
    /// Check a job document and list all its problems; runs nothing.
    Validate(Validate),
    /// Show what a job will do, or with --analyze what it did.
    Explain(Explain),
    /// Answer one SELECT over files.
    Sql(files::Sql),
    /// Print the first rows of files.
    Head(files::Head),
    /// Print the columns of files with their types, as a job's reader takes them.
    Schema(files::Schema),
    /// Say of each column of files what is in it.
    Describe(files::Describe),
    /// Count the rows of files.
    Count(files::Count),
    /// Write files as one of another format.
    Convert(files::Convert),
    /// Make data from a seed: the same bytes on every machine.
    #[command(subcommand)]
    Generate(generate::Generate),
    /// Start a master: REST, scheduling, results.
    Master(Master),
    /// Start a worker that runs a master's tasks.
    Worker(Worker),
    /// Start, stop or show a master and workers on this machine, in the background.
    #[command(subcommand)]
    Dev(dev::Dev),
    /// Hand a job to a master.
    Submit(Submit),
    /// Show a job, or list all jobs.
    Status(Status),
    /// Show where a finished job's results are, print them or download them.
    Results(Results),
    /// Print the rows that a job put aside, a JSON object a line.
    BadRows(BadRows),
    /// Print what changes, a JSON object a line: a job's events, or everybody's.
    Events(Events),
    /// List the workers of a master.
    Workers,
    /// Show a cluster in a few numbers.
    Cluster,
    /// End a job.
    Cancel(Cancel),
    /// Make, list and revoke the tokens that a master takes.
    #[command(subcommand)]
    Token(Token),
    /// Show the configuration, or check a file of it.
    #[command(subcommand)]
    Config(Config),
    /// Forget a job that has ended; its outputs stay.
    Rm(Rm),
    /// Let go of old jobs and of typed copies beyond the quota, now.
    Gc,
    /// Ask a server whether it works; exit code 0 or 4, for health checks.
    Health(Health),
    /// Print the version.
    Version,
}

/// Values for a job's parameters.
#[derive(Debug, Args)]
pub(crate) struct Parameters {
    /// A value for one of the job's `params`, in the place of its default; may stand several times.
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = parameter)]
    pub(crate) values: Vec<(String, String)>,
}

fn parameter(text: &str) -> Result<(String, String), String> {
    let (name, value) =
        text.split_once('=').ok_or("expected NAME=VALUE, such as data=/srv/data")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// `run`
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The job document; relative paths in it start at the working directory.
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) parameters: Parameters,
    /// Tasks at once [default: the machine's cores].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
    /// Memory budget, such as 512MiB [default: 60 % of the machine's or container's].
    #[arg(long, value_name = "SIZE", value_parser = size_bytes)]
    pub(crate) memory: Option<u64>,
    /// The most that spill files and map outputs may take on disk, such as 20GiB; beyond it jobs
    /// fail [default: what the disk has].
    #[arg(long, value_name = "SIZE", value_parser = size_bytes)]
    pub(crate) spill_quota: Option<u64>,
    /// Where results go [default: mini-spark in the temporary directory].
    #[arg(long, value_name = "DIR")]
    pub(crate) output_dir: Option<PathBuf>,
    /// A folder beneath which the job may read; may stand several times [default: anywhere].
    #[arg(long = "read-root", value_name = "DIR", value_delimiter = ':')]
    pub(crate) read_roots: Vec<PathBuf>,
    /// A folder beneath which the job may write, beside the output directory; may stand several
    /// times [default: anywhere].
    #[arg(long = "write-root", value_name = "DIR", value_delimiter = ':')]
    pub(crate) write_roots: Vec<PathBuf>,
    /// Don't wait until results are on disk; a machine that loses power then may lose them.
    #[arg(long)]
    pub(crate) no_sync: bool,
    /// How many rows of each result to print.
    #[arg(long, value_name = "N", default_value_t = 40)]
    pub(crate) show: u64,
    /// Print the plan as it was run, with what each step did, on stderr.
    #[arg(long)]
    pub(crate) explain: bool,
    /// Take unknown fields for errors.
    #[arg(long)]
    pub(crate) strict: bool,
}

/// `validate`
#[derive(Debug, Args)]
pub(crate) struct Validate {
    /// The job document.
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) parameters: Parameters,
    /// Take unknown fields for errors.
    #[arg(long)]
    pub(crate) strict: bool,
}

/// `explain`
#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// The job document.
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) parameters: Parameters,
    /// As what: for people, as JSON, for Graphviz, or as one SQL statement.
    #[arg(long, value_enum, default_value_t = PlanFormat::Text)]
    pub(crate) format: PlanFormat,
    /// Run the job, and add what each operator and partition did.
    #[arg(long)]
    pub(crate) analyze: bool,
    /// Whose SQL, with --format sql [default: duckdb].
    #[arg(long, value_enum)]
    pub(crate) dialect: Option<SqlDialect>,
    /// The sink whose rows the statement gives, with --format sql [default: the only one].
    #[arg(long, value_name = "NODE")]
    pub(crate) sink: Option<String>,
    /// Tasks at once, with --analyze [default: the machine's cores].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
    /// Memory budget, such as 512MiB [default: 60 % of the machine's or container's].
    #[arg(long, value_name = "SIZE", value_parser = size_bytes)]
    pub(crate) memory: Option<u64>,
    /// Where results go with --analyze [default: mini-spark in the temporary directory].
    #[arg(long, value_name = "DIR")]
    pub(crate) output_dir: Option<PathBuf>,
    /// Take unknown fields for errors.
    #[arg(long)]
    pub(crate) strict: bool,
}

/// A plan's form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum PlanFormat {
    /// Lines of words.
    Text,
    /// One JSON object.
    Json,
    /// A graph for Graphviz.
    Dot,
    /// One SQL statement, a common table expression a node.
    Sql,
}

/// Whose SQL a statement is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum SqlDialect {
    /// `DuckDB`'s.
    Duckdb,
    /// Apache Spark's: version 4, in ANSI mode.
    Spark,
}

/// `master`
#[derive(Debug, Args)]
pub(crate) struct Master {
    /// Where REST is served; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub(crate) bind: SocketAddr,
    /// Where Flight is served, on the same address; 0 takes a free port.
    #[arg(long, value_name = "PORT", default_value_t = 8081)]
    pub(crate) flight_port: u16,
    /// Serve an address that other machines reach without asking for tokens.
    #[arg(long)]
    pub(crate) insecure: bool,
    /// One more host name under which clients reach this server; may stand several times.
    #[arg(
        long = "allowed-host",
        value_name = "NAME",
        value_delimiter = ':',
        value_parser = host_name
    )]
    pub(crate) allowed_hosts: Vec<String>,
    /// Where the master keeps its term and its key.
    #[arg(long, value_name = "DIR", default_value = "mini-spark-state")]
    pub(crate) state_dir: PathBuf,
    /// Where results go [default: mini-spark in the temporary directory].
    #[arg(long, value_name = "DIR")]
    pub(crate) output_dir: Option<PathBuf>,
    /// A folder beneath which jobs may read; may stand several times, relative paths begin at the
    /// first [default: the working directory, unless it is a home or system directory].
    #[arg(long = "read-root", value_name = "DIR", value_delimiter = ':')]
    pub(crate) read_roots: Vec<PathBuf>,
    /// A folder beneath which jobs may write, beside the output directory; may stand several times.
    #[arg(long = "write-root", value_name = "DIR", value_delimiter = ':')]
    pub(crate) write_roots: Vec<PathBuf>,
    /// An object store that jobs may use, as NAME=URL[,allow=read|read-write][,endpoint=URL]
    /// [,region=NAME][,allow_http=true]; may stand several times, or several with `;` between.
    /// Credentials come from the environment [default: none].
    #[arg(long = "store", value_name = "STORE")]
    pub(crate) stores: Vec<StoreRules>,
    /// Memory budget for results on their way.
    #[arg(long, value_name = "SIZE", default_value = "256MiB", value_parser = size_bytes)]
    pub(crate) memory: u64,
    /// How often workers report.
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration)]
    pub(crate) heartbeat: Duration,
    /// A worker silent for so long is taken for lost.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    pub(crate) lost_after: Duration,
    /// A job without any worker for so long fails.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    pub(crate) no_worker_wait: Duration,
    /// How often a task is tried before its job fails.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 4,
        value_parser = clap::value_parser!(u32).range(1..=100)
    )]
    pub(crate) attempts: u32,
    /// How many ended jobs are remembered; the oldest go first, their outputs stay.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub(crate) keep_jobs: usize,
    /// How long ended jobs are remembered.
    #[arg(long, value_name = "DURATION", default_value = "30d", value_parser = duration)]
    pub(crate) keep_for: Duration,
    /// How much typed copies of text results may take; the oldest go first, the text stays.
    #[arg(long, value_name = "SIZE", default_value = "10GiB", value_parser = size_bytes)]
    pub(crate) results_quota: u64,
    /// Set corrupt parts of the state aside, say what they held, and end.
    #[arg(long)]
    pub(crate) repair_state: bool,
}

/// `worker`
#[derive(Debug, Args)]
pub(crate) struct Worker {
    /// The port on which other workers fetch (Arrow Flight); 0 takes a free one.
    #[arg(long, value_name = "PORT", default_value_t = 9001)]
    pub(crate) port: u16,
    /// The master's address [default: --server].
    #[arg(long, value_name = "URL", value_parser = server_url)]
    pub(crate) master: Option<String>,
    /// Tasks at once [default: the machine's cores].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) slots: Option<u16>,
    /// Memory budget, such as 512MiB [default: 60 % of the machine's or container's].
    #[arg(long, value_name = "SIZE", value_parser = size_bytes)]
    pub(crate) memory: Option<u64>,
    /// The most that spill files and map outputs may take on disk, such as 20GiB; beyond it jobs
    /// fail [default: what the disk has].
    #[arg(long, value_name = "SIZE", value_parser = size_bytes)]
    pub(crate) spill_quota: Option<u64>,
    /// A folder beneath which tasks may read; may stand several times [default: the working
    /// directory, unless it is a home or system directory].
    #[arg(long = "read-root", value_name = "DIR", value_delimiter = ':')]
    pub(crate) read_roots: Vec<PathBuf>,
    /// A folder of results that this worker shares with the master, which then has it write there;
    /// may stand several times [default: the master fetches all rows].
    #[arg(long = "write-root", value_name = "DIR", value_delimiter = ':')]
    pub(crate) write_roots: Vec<PathBuf>,
    /// An object store that jobs may use, as NAME=URL[,allow=read|read-write][,endpoint=URL]
    /// [,region=NAME][,allow_http=true]; may stand several times, or several with `;` between.
    /// Credentials come from the environment [default: none].
    #[arg(long = "store", value_name = "STORE")]
    pub(crate) stores: Vec<StoreRules>,
    /// Where its identity, spills and outputs go, for this worker alone
    /// [default: mini-spark-worker-PORT in the temporary directory].
    #[arg(long, value_name = "DIR")]
    pub(crate) work_dir: Option<PathBuf>,
    /// The address that its port is opened on.
    #[arg(long, value_name = "IP", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub(crate) bind: IpAddr,
    /// The host name or address under which others reach it [default: --bind].
    #[arg(long, value_name = "HOST")]
    pub(crate) advertise: Option<String>,
    /// Serve an address that other machines reach without a token for the master; tickets are
    /// checked all the same.
    #[arg(long)]
    pub(crate) insecure: bool,
    /// How long tasks may go on, and outputs be read, after the signal to end.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub(crate) drain: Duration,
}

/// `submit`
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub(crate) struct Submit {
    /// The job document; `-` is stdin. Relative paths in it start at the master's directory.
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) parameters: Parameters,
    /// Wait for the end; the exit code tells the outcome.
    #[arg(long)]
    pub(crate) wait: bool,
    /// Wait, and say each change of the job and its stages.
    #[arg(long)]
    pub(crate) watch: bool,
    /// A name for this submission: the same again gives the same job [default: a random one, for
    /// tries of this very call].
    #[arg(long, value_name = "KEY")]
    pub(crate) idempotency_key: Option<String>,
    /// Only check the document and show the plan, as `explain` does; nothing is started.
    #[arg(long, conflicts_with_all = ["wait", "watch", "idempotency_key"])]
    pub(crate) dry_run: bool,
    /// Take unknown fields for errors.
    #[arg(long)]
    pub(crate) strict: bool,
}

/// `status`
#[derive(Debug, Args)]
pub(crate) struct Status {
    /// A job's id, a unique beginning of it, or `@last`; lists all jobs where absent.
    pub(crate) id: Option<String>,
    /// Follow the job until it ends, and say each change of it and its stages; the exit code tells
    /// the outcome.
    #[arg(long, requires = "id")]
    pub(crate) watch: bool,
}

/// `results`
#[derive(Debug, Args)]
pub(crate) struct Results {
    /// A job's id, a unique beginning of it, or `@last`.
    pub(crate) id: String,
    /// Download the results into this directory. In a result's own format each file is checked
    /// against the manifest's checksum, and a download that was cut is taken up again.
    #[arg(long, value_name = "DIR", conflicts_with = "show")]
    pub(crate) output: Option<PathBuf>,
    /// Print the first N rows of each result.
    #[arg(long, value_name = "N")]
    pub(crate) show: Option<u64>,
    /// The rows in this format [default: the result's own].
    #[arg(long, value_enum)]
    pub(crate) format: Option<Format>,
    /// Only this one of several results.
    #[arg(long, value_name = "NODE")]
    pub(crate) sink: Option<String>,
}

/// A format of results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Columns joined by `, `, one row a line.
    Text,
    /// With a header.
    Csv,
    /// One JSON object a line.
    Jsonl,
    /// A Parquet file; with --output only.
    Parquet,
    /// An Arrow IPC file; with --output only.
    Arrow,
}

/// `bad-rows`
#[derive(Debug, Args)]
pub(crate) struct BadRows {
    /// A job's id, a unique beginning of it, or `@last`.
    pub(crate) id: String,
}

/// `events`
#[derive(Debug, Args)]
pub(crate) struct Events {
    /// A job's id, a unique beginning of it, or `@last`; everybody's events where absent.
    pub(crate) id: Option<String>,
}

/// `cancel`
#[derive(Debug, Args)]
pub(crate) struct Cancel {
    /// A job's id, a unique beginning of it, or `@last`.
    pub(crate) id: String,
}

/// `token`
#[derive(Debug, Subcommand)]
pub(crate) enum Token {
    /// Make a token and print its secret, this once.
    New(NewToken),
    /// List the tokens, without their secrets.
    List,
    /// Take a token back.
    Revoke(RevokeToken),
}

/// `token new`
#[derive(Debug, Args)]
pub(crate) struct NewToken {
    /// What it may do: `read` and `submit` with the jobs of its name, `worker`, or `admin`: all.
    #[arg(long, value_name = "ROLE")]
    pub(crate) role: Role,
    /// Whose it is; jobs belong to this name.
    #[arg(long, value_name = "NAME")]
    pub(crate) name: String,
    /// For how long it is good, such as 720h [default: until it is revoked].
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) expires: Option<Duration>,
}

/// `token revoke`
#[derive(Debug, Args)]
pub(crate) struct RevokeToken {
    /// The name.
    pub(crate) name: String,
    /// Only that of this role.
    #[arg(long, value_name = "ROLE")]
    pub(crate) role: Option<Role>,
}

/// `config`
#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Show every key with its value.
    Show(ShowConfig),
    /// Check a file and list all that is wrong with it.
    Check {
        /// The file.
        file: PathBuf,
    },
}

/// `config show`
#[derive(Debug, Args)]
pub(crate) struct ShowConfig {
    /// Also tell whence each value is.
    #[arg(long)]
    pub(crate) origin: bool,
}

/// A host name or address as it stands in a URL, without a port.
fn host_name(text: &str) -> Result<String, String> {
    let fits = (1..=253).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if fits {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("expected a host name, no port".to_owned())
    }
}

/// `rm`
#[derive(Debug, Args)]
pub(crate) struct Rm {
    /// A job's id, a unique beginning of it, or `@last`.
    pub(crate) id: String,
    /// Remove its outputs as well.
    #[arg(long)]
    pub(crate) outputs: bool,
}

/// `health`
#[derive(Debug, Args)]
pub(crate) struct Health {
    /// Ask the worker at this Flight address instead of the master.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) worker: Option<String>,
}

/// An address of a master: `http://host:port`, without a slash at its end.
fn server_url(text: &str) -> Result<String, String> {
    let url = text.trim().trim_end_matches('/');
    let Some(authority) = url.strip_prefix("http://") else {
        return Err(if url.starts_with("https://") {
            "TLS is not built in; use http:// on a trusted network".to_owned()
        } else {
            format!("expected http://HOST:PORT; did you mean `http://{url}`?")
        });
    };
    if authority.is_empty() || authority.contains([' ', '@', '?', '#']) {
        return Err("expected http://HOST:PORT".to_owned());
    }
    Ok(url.to_owned())
}

/// The arguments with what older scripts say put in today's words.
///
/// Started as `master` or `worker` (links to the one binary), the verb of that name is meant;
/// `client` takes any verb. `-port` is read as `--port`.
pub(crate) fn normalise(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments = arguments.into_iter();
    let program = arguments.next().unwrap_or_else(|| OsString::from("minispark"));
    let name = Path::new(&program).file_name().unwrap_or(OsStr::new("minispark")).to_owned();
    let mut normalised = Vec::new();
    if name == "master" || name == "worker" {
        normalised.extend([OsString::from("minispark"), name]);
    } else {
        normalised.push(name);
    }
    let mut only_operands = false;
    for argument in arguments {
        only_operands |= argument == "--";
        let text = argument.to_str().unwrap_or_default();
        if !only_operands && (text == "-port" || text.starts_with("-port=")) {
            normalised.push(OsString::from(format!("-{text}")));
        } else {
            normalised.push(argument);
        }
    }
    normalised
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use clap::{CommandFactory, Parser};

    use super::{Cli, Verb, normalise, server_url};

    fn parse(line: &str) -> Cli {
        let arguments = normalise(line.split(' ').map(OsString::from));
        Cli::try_parse_from(arguments).unwrap()
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_name_it_was_started_with_is_a_verb() {
        assert!(matches!(parse("bin/master --flight-port 0").verb, Some(Verb::Master(_))));
        assert!(matches!(parse("/usr/bin/worker --port 7").verb, Some(Verb::Worker(_))));
        assert!(matches!(parse("bin/client workers").verb, Some(Verb::Workers)));
        assert!(matches!(parse("minispark worker").verb, Some(Verb::Worker(_))));
    }

    #[test]
    fn a_single_dash_before_port_is_read() {
        for line in ["worker -port 9100", "worker -port=9100", "minispark worker --port 9100"] {
            let Some(Verb::Worker(worker)) = parse(line).verb else { panic!("{line}") };
            assert_eq!(worker.port, 9100, "{line}");
        }
    }

    #[test]
    fn flags_of_all_verbs_stand_before_or_behind_them() {
        assert!(parse("minispark --json status @last").global.json);
        assert!(parse("minispark status @last --json").global.json);
    }

    #[test]
    fn a_server_is_an_http_url() {
        assert_eq!(server_url("http://master:8080/"), Ok("http://master:8080".to_owned()));
        assert!(server_url("localhost:8080").unwrap_err().contains("`http://localhost:8080`"));
        assert!(server_url("https://master:8080").is_err());
        assert!(server_url("http://").is_err());
    }
}
