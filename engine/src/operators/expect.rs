//! `expect`: rows as they are, or an error that shows what is wrong with them.

use arrow::{
    array::{BooleanArray, RecordBatch},
    compute::filter_record_batch,
};

use crate::{
    Error, Result,
    formats::{self, WriteFormat},
    operators::Operator,
    plan::Check,
};

/// The most rows that an error shows.
const SHOWN_ROWS: usize = 3;

/// The most characters of them.
const SHOWN_CHARACTERS: usize = 500;

/// Passes the rows of `input` on once `offences` have given none, and while every check holds.
///
/// - Shape: same schema, same rows, same order.
/// - Memory: one batch.
/// - Errors: [`Error::Expectation`]; [`Error::Evaluate`] of a check.
pub struct Expect {
    /// The node, for the error.
    pub node: String,
    /// Whose rows.
    pub input: Box<dyn Operator>,
    /// What must hold for each row.
    pub checks: Vec<Check>,
    /// What must give no row, with what a row offends against.
    pub offences: Vec<(Box<dyn Operator>, String)>,
}

impl Operator for Expect {
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        for (mut offending, check) in std::mem::take(&mut self.offences) {
            if let Some(rows) = offending.next()? {
                return Err(self.failed(&check, &rows));
            }
        }
        let Some(batch) = self.input.next()? else { return Ok(None) };
        for check in &self.checks {
            let holds = check.predicate.evaluate(&batch)?;
            if holds.true_count() < batch.num_rows() {
                let offends: BooleanArray =
                    holds.iter().map(|holds| Some(holds != Some(true))).collect();
                return Err(self.failed(&check.text, &filter_record_batch(&batch, &offends)?));
            }
        }
        Ok(Some(batch))
    }
}

impl Expect {
    fn failed(&self, check: &str, rows: &RecordBatch) -> Error {
        let (node, check) = (self.node.clone(), String::from(check));
        match shown(&rows.slice(0, rows.num_rows().min(SHOWN_ROWS))) {
            Ok(rows) => Error::Expectation { node, check, rows },
            Err(error) => error,
        }
    }
}

/// Rows as people read them.
fn shown(rows: &RecordBatch) -> Result<String> {
    let mut encoder = formats::encoder(&WriteFormat::Jsonl, &rows.schema())?;
    let mut bytes = Vec::new();
    encoder.encode(rows, &mut bytes)?;
    encoder.finish(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let text = text.trim_end().replace('\n', ", ");
    if text.chars().count() <= SHOWN_CHARACTERS {
        return Ok(text);
    }
    Ok(text.chars().take(SHOWN_CHARACTERS).chain(['…']).collect())
}
