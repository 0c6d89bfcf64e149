//! `filter`: keeps the rows for which a predicate is true.
//!
//! Stateless and order-preserving: rows never move between batches, and nothing is held back.

use arrow::{array::RecordBatch, compute::filter_record_batch};

use crate::{
    Result, expr::Predicate, operators::Operator, source::runtime_filter::Tested,
    task::metrics::RowCounter,
};

/// Keeps the rows of `input` for which `predicate` is true; a null counts as false (SQL `WHERE`).
///
/// - Shape: same schema, same order; a batch left without rows is not passed on.
/// - Memory: one batch of output, not charged to the budget; it pins the text of its input.
/// - Errors: [`Error::Evaluate`](crate::Error).
pub struct Filter {
    /// Whose rows.
    pub input: Box<dyn Operator>,
    /// Which stay.
    pub predicate: Predicate,
    /// Counts those that don't.
    pub dropped: RowCounter,
    /// Where a source has tested the predicate on the rows that it gives.
    pub tested: Tested,
}

impl Operator for Filter {
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        while let Some(batch) = self.input.next()? {
            if self.tested.get() {
                return Ok(Some(batch));
            }
            let stays = self.predicate.evaluate(&batch)?;
            // By the predicate and not by what is left, so that the one checks the other.
            let dropped = batch.num_rows() - stays.true_count();
            self.dropped.add(dropped as u64);
            let kept = filter_record_batch(&batch, &stays)?;
            if kept.num_rows() > 0 {
                return Ok(Some(kept));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, RecordBatch, record_batch};

    use super::Filter;
    use crate::{
        expr::parse,
        operators::{Batches, Operator},
        source::runtime_filter::Tested,
        task::metrics::RowCounter,
    };

    fn filter(batches: Vec<RecordBatch>, predicate: &str) -> Vec<RecordBatch> {
        let predicate = parse::predicate(predicate, batches[0].schema_ref()).unwrap();
        let input = Box::new(Batches::new(batches));
        let (dropped, tested) = (RowCounter::default(), Tested::default());
        let mut filter = Filter { input, predicate, dropped, tested };
        let mut kept = Vec::new();
        while let Some(batch) = filter.next().unwrap() {
            kept.push(batch);
        }
        kept
    }

    #[test]
    fn filter_runs_and_a_null_predicate_drops_the_row() {
        let batch = record_batch!(("n", Int64, [Some(1), None, Some(3)])).unwrap();
        let kept = filter(vec![batch], "n > 1");
        assert_eq!(kept.len(), 1);
        assert_eq!(kept[0].column(0).as_ref(), &Int64Array::from(vec![3]));
    }

    #[test]
    fn a_batch_without_kept_rows_is_not_passed_on() {
        let none = record_batch!(("n", Int64, [1, 2])).unwrap();
        let some = record_batch!(("n", Int64, [5])).unwrap();
        let kept = filter(vec![none.clone(), some.clone(), none], "n > 2");
        assert_eq!(kept, [some]);
    }
}
