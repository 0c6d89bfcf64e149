//! `head`: the first rows of files.

use minispark_engine::job::Json;

use super::{
    ANSWER, FILE, Look,
    job::{Job, object, text},
    print_job,
    rows::Place,
};
use crate::{
    args,
    error::{Exit, Result},
    output::Output,
};

/// Prints the first rows.
///
/// # Errors
/// Where the file can't be read.
pub(crate) fn head(args: &args::files::Head, output: Output) -> Result<Exit> {
    let rows = &args.rows;
    let place = Place::of(rows.format, rows.output.as_deref(), rows.show.max(args.n), output)?;
    let look = Look::start(Some(&args.resources), output)?;
    let n = Json::Number(args.n.min(i64::MAX.unsigned_abs()).into());
    let limit = object([("id", text(ANSWER)), ("op", text("limit")), ("n", n)]);
    let job = Job::new("the command line")
        .with(FILE, look.reader(FILE, &args.file, &args.input)?, &[])
        .with(ANSWER, limit, &[FILE]);
    if rows.job {
        return print_job(&job);
    }
    look.print(&job, &place)
}
