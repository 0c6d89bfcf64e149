//! `convert`: files into one of another format.

use std::path::Path;

use super::{ANSWER, Look, formats, job::Job, print_job, rows::Place};
use crate::{
    args::{self, files::RowsFormat},
    error::{Error, Exit, Result},
    output::Output,
};

/// Reads and writes.
///
/// # Errors
/// Where the file can't be read or the other one is there already.
pub(crate) fn convert(args: &args::files::Convert, output: Output) -> Result<Exit> {
    let file = (args.to != "-").then(|| Path::new(&args.to));
    let format = match (args.output_format, file) {
        (Some(format), _) => format,
        (None, Some(file)) => formats::of_output(file)?.0,
        (None, None) => {
            return Err(Error::usage("the format of stdout is not known")
                .help("name it, as in --output-format csv"));
        }
    };
    if format == RowsFormat::Table && file.is_some() {
        return Err(Error::usage("a table is for people and no file's format"));
    }
    let place = Place::of(Some(format), file, u64::MAX, output)?;
    let look = Look::start(Some(&args.resources), output)?;
    let reader = look.reader(ANSWER, &args.from, &args.input)?;
    let job = Job::new("the command line").with(ANSWER, reader, &[]);
    if args.job {
        let path = Path::new(&args.to);
        let codec = file.and_then(formats::codec_of);
        let writer = formats::writer("rows", path, format, codec.as_deref());
        return print_job(&job.with("rows", writer, &[ANSWER]));
    }
    look.print(&job, &place)
}
