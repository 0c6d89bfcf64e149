//! `expect`: rows as they are, or an error that shows what is wrong with them; wrong rows may be put
//! aside instead.

use std::sync::Arc;

use arrow::{
    array::{BooleanArray, RecordBatch},
    compute::filter_record_batch,
    datatypes::{Field, Schema},
};

use crate::{
    Error, Result,
    formats::{self, WriteFormat},
    job::check::is_helper,
    operators::Operator,
    plan::Check,
    source::quarantine::{BadRow, Gate},
};

/// The most rows that an error shows.
const SHOWN_ROWS: usize = 3;

/// The most characters of them.
const SHOWN_CHARACTERS: usize = 500;

/// Passes the rows of `input` on once `offences` have given none, and while every check holds.
///
/// - Shape: same schema, same order, same rows; with a gate those for which a check does not hold
///   leave through it, each by the first such check, and a batch left without rows is not passed on.
/// - Memory: one batch.
/// - Errors: [`Error::Expectation`]; [`Error::Evaluate`] of a check; those of the gate.
pub struct Expect {
    /// The node, for the error.
    pub node: String,
    /// Whose rows.
    pub input: Box<dyn Operator>,
    /// What must hold for each row.
    pub checks: Vec<Check>,
    /// What must give no row, with what a row offends against.
    pub offences: Vec<(Box<dyn Operator>, String)>,
    /// Where rows go for which a check does not hold; without one they are an error.
    pub(crate) gate: Option<Gate>,
}

impl Operator for Expect {
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        for (mut offending, check) in std::mem::take(&mut self.offences) {
            if let Some(rows) = offending.next()? {
                return Err(self.failed(&check, &rows));
            }
        }
        while let Some(batch) = self.input.next()? {
            let mut right = batch;
            for check in &self.checks {
                let holds = check.predicate.evaluate(&right)?;
                if holds.true_count() == right.num_rows() {
                    continue;
                }
                let offends: BooleanArray =
                    holds.iter().map(|holds| Some(holds != Some(true))).collect();
                let wrong = filter_record_batch(&right, &offends)?;
                let Some(gate) = &self.gate else {
                    return Err(self.failed(&check.text, &wrong));
                };
                for row in lines(&wrong)? {
                    let (reason, raw) = (check.text.clone(), row.into_bytes());
                    gate.reject(&BadRow { reason, raw, ..BadRow::default() })?;
                }
                right = filter_record_batch(&right, &holds)?;
            }
            if right.num_rows() > 0 {
                return Ok(Some(right));
            }
        }
        Ok(None)
    }
}

impl Expect {
    fn failed(&self, check: &str, rows: &RecordBatch) -> Error {
        let check = String::from(check);
        // A helper is part of the document's node that it stands before.
        let node = self.node.split('.').next().unwrap_or_default().to_owned();
        let rows = rows.slice(0, rows.num_rows().min(SHOWN_ROWS));
        let rows = if is_helper(&self.node) { without_numbers(&rows) } else { Ok(rows) };
        match rows.and_then(|rows| shown(&rows)) {
            Ok(rows) => Error::Expectation { node, check, rows },
            Err(error) => error,
        }
    }
}

/// Rows with the columns that a query made for itself under the names that they were made from.
fn without_numbers(rows: &RecordBatch) -> Result<RecordBatch> {
    let plain = |name: &str| name.split('#').next().unwrap_or_default().to_owned();
    let fields: Vec<Field> = (rows.schema().fields().iter())
        .map(|field| Field::clone(field).with_name(plain(field.name())))
        .collect();
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), rows.columns().to_vec())?)
}

/// Rows as people read them.
fn shown(rows: &RecordBatch) -> Result<String> {
    let text = lines(rows)?.join(", ");
    if text.chars().count() <= SHOWN_CHARACTERS {
        return Ok(text);
    }
    Ok(text.chars().take(SHOWN_CHARACTERS).chain(['…']).collect())
}

/// Each row as a JSON object.
fn lines(rows: &RecordBatch) -> Result<Vec<String>> {
    let mut encoder = formats::encoder(&WriteFormat::Jsonl, &rows.schema())?;
    let mut bytes = Vec::new();
    encoder.begin(&mut bytes)?;
    encoder.encode(rows, &mut bytes)?;
    encoder.finish(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).lines().map(String::from).collect())
}
