//! `count`: how many rows files have.

use super::{
    ANSWER, FILE, Look,
    job::{Job, object, text},
    print_job,
    rows::Place,
};
use crate::{
    args::{self, files::RowsFormat},
    error::{Exit, Result},
    output::{self, Output},
};

/// Prints the number of rows, and with `--json` an object that has it.
///
/// # Errors
/// Where the file can't be read.
pub(crate) fn count(args: &args::files::Count, output: Output) -> Result<Exit> {
    let look = Look::start(Some(&args.resources), output)?;
    let query = format!("select count(*) as \"count\" from {FILE}");
    let node = object([("id", text(ANSWER)), ("op", text("sql")), ("query", text(query))]);
    let job = Job::new("the command line")
        .with(FILE, look.reader(FILE, &args.file, &args.input)?, &[])
        .with(ANSWER, node, &[FILE]);
    if args.job {
        return print_job(&job);
    }
    let records = match look.records(&job)? {
        Ok(records) => records,
        Err(exit) => return Ok(exit),
    };
    let count = records.get(1).and_then(|record| record.first()).map_or("0", String::as_str);
    if output.json_asked() {
        let count: u64 = count.parse().unwrap_or_default();
        output::document(&serde_json::json!({ "count": count }))?;
    } else {
        output::line(count)?;
    }
    Ok(Exit::Done)
}

impl Look {
    /// The rows of a small answer with its header, or how the job ended without one.
    pub(super) fn records(&self, job: &Job) -> Result<Result<Vec<Vec<String>>, Exit>> {
        let folder = self.folder.join("rows");
        let writer = super::formats::writer("rows", &folder, RowsFormat::Csv, None);
        let job = job.clone().with("rows", writer, &[ANSWER]);
        let published = match self.run(&job)? {
            Ok(published) => published,
            Err(exit) => return Ok(Err(exit)),
        };
        let mut text = Vec::new();
        let place = Place { format: RowsFormat::Csv, file: None, show: u64::MAX };
        self.copy(&published, place.format, None, &mut |bytes| {
            text.extend_from_slice(bytes);
            Ok(())
        })?;
        Ok(Ok(super::table::records(&text)))
    }
}
