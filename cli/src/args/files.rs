//! The arguments of the commands that look at files: `sql`, `head`, `schema`, `describe`, `count`,
//! `convert`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::units::size_bytes;

/// How files are read.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Input {
    /// The format of the files, where their names do not tell it, and of stdin.
    #[arg(id = "input_format", long = "input-format", value_enum, value_name = "FORMAT")]
    pub(crate) format: Option<FileFormat>,
    /// The first line of CSV is a row and does not name the columns.
    #[arg(long)]
    pub(crate) no_header: bool,
    /// What stands between the fields of CSV [default: a comma; a tab in `.tsv`].
    #[arg(long, value_name = "CHARACTER")]
    pub(crate) delimiter: Option<String>,
}

/// What the work may use.
#[derive(Clone, Debug, Args)]
pub(crate) struct Resources {
    /// Tasks at once [default: the machine's cores].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
    /// Memory budget, such as 512MiB [default: 60 % of the machine's or container's].
    #[arg(long, value_name = "SIZE", value_parser = size_bytes)]
    pub(crate) memory: Option<u64>,
}

/// Where rows go.
#[derive(Clone, Debug, Args)]
pub(crate) struct Rows {
    /// How rows are printed [default: a table on a terminal, otherwise CSV; with --output what its
    /// name says].
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(crate) format: Option<RowsFormat>,
    /// Write the rows to this file, which must not be there yet.
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// The most rows of a table.
    #[arg(long, value_name = "N", default_value_t = 40)]
    pub(crate) show: u64,
    /// Print the job document that this is, and run nothing.
    #[arg(long)]
    pub(crate) job: bool,
}

/// `sql`
#[derive(Debug, Args)]
pub(crate) struct Sql {
    /// One SELECT; its tables are files, named in single quotes: `from 'data/*.csv'`. `'-'` is
    /// stdin. Functions such as `read_csv('x.txt', header = false)` give a reader its options.
    pub(crate) query: String,
    #[command(flatten)]
    pub(crate) input: Input,
    #[command(flatten)]
    pub(crate) rows: Rows,
    #[command(flatten)]
    pub(crate) resources: Resources,
}

/// `head`
#[derive(Debug, Args)]
pub(crate) struct Head {
    /// A file, a folder, a glob, or `-` for stdin.
    pub(crate) file: String,
    /// How many rows.
    #[arg(short, long, value_name = "N", default_value_t = 10)]
    pub(crate) n: u64,
    #[command(flatten)]
    pub(crate) input: Input,
    #[command(flatten)]
    pub(crate) rows: Rows,
    #[command(flatten)]
    pub(crate) resources: Resources,
}

/// `schema`
#[derive(Debug, Args)]
pub(crate) struct Schema {
    /// A file, a folder, a glob, or `-` for stdin.
    pub(crate) file: String,
    #[command(flatten)]
    pub(crate) input: Input,
}

/// `describe`
#[derive(Debug, Args)]
pub(crate) struct Describe {
    /// A file, a folder, a glob, or `-` for stdin.
    pub(crate) file: String,
    /// Count different values exactly; it takes more memory.
    #[arg(long)]
    pub(crate) exact: bool,
    #[command(flatten)]
    pub(crate) input: Input,
    /// How the answer is printed [default: a table on a terminal, otherwise CSV].
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(crate) format: Option<TextFormat>,
    /// Print the job document that this is, and run nothing.
    #[arg(long)]
    pub(crate) job: bool,
    #[command(flatten)]
    pub(crate) resources: Resources,
}

/// `count`
#[derive(Debug, Args)]
pub(crate) struct Count {
    /// A file, a folder, a glob, or `-` for stdin.
    pub(crate) file: String,
    #[command(flatten)]
    pub(crate) input: Input,
    /// Print the job document that this is, and run nothing.
    #[arg(long)]
    pub(crate) job: bool,
    #[command(flatten)]
    pub(crate) resources: Resources,
}

/// `convert`
#[derive(Debug, Args)]
pub(crate) struct Convert {
    /// What is read: a file, a folder, a glob, or `-` for stdin.
    pub(crate) from: String,
    /// The file that is written, in the format that its name says; it must not be there yet. `-` is
    /// stdout.
    pub(crate) to: String,
    #[command(flatten)]
    pub(crate) input: Input,
    /// The format that is written, where the name does not tell it.
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(crate) output_format: Option<RowsFormat>,
    /// Print the job document that this is, and run nothing.
    #[arg(long)]
    pub(crate) job: bool,
    #[command(flatten)]
    pub(crate) resources: Resources,
}

/// A format of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FileFormat {
    /// Comma-separated values.
    Csv,
    /// Tab-separated values.
    Tsv,
    /// JSON, an object a line or an array of objects.
    Jsonl,
    /// A line a row.
    Text,
    /// Apache Parquet.
    Parquet,
    /// Apache Arrow IPC.
    Arrow,
}

/// A format of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RowsFormat {
    /// For people.
    Table,
    /// With a header.
    Csv,
    /// With a header and tabs.
    Tsv,
    /// An object a line.
    Jsonl,
    /// An array of objects.
    Json,
    /// A Parquet file.
    Parquet,
    /// An Arrow IPC file.
    Arrow,
}

/// A format of a short answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TextFormat {
    /// For people.
    Table,
    /// With a header.
    Csv,
    /// An object a line.
    Jsonl,
    /// An array of objects.
    Json,
}
