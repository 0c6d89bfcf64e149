//! `schema`: the columns of files with their types, to be pasted into a job.

use minispark_engine::{expr::parse::type_name, job::Json};

use super::{
    FILE, Look,
    job::{Job, text},
};
use crate::{
    args,
    error::{Exit, Result},
    output::{self, Output},
};

/// Prints the object that `columns` of a reader takes.
///
/// # Errors
/// Where the file can't be read.
pub(crate) fn schema(args: &args::files::Schema, output: Output) -> Result<Exit> {
    let look = Look::start(None, output)?;
    let reader = look.reader(FILE, &args.file, &args.input)?;
    let checked = look.check(&Job::new("the command line").with(FILE, reader, &[]))?;
    let Some(node) = checked.plan.nodes.first() else { return Ok(Exit::Other) };
    let columns = node
        .schema
        .fields()
        .iter()
        .map(|field| (field.name().clone(), text(type_name(field.data_type()))));
    output::document(&Json::Object(columns.collect()))?;
    Ok(Exit::Done)
}
