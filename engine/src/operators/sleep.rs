//! `sleep`: rows as they are, after a pause for each; a test aid (`sleep_10s`).
//!
//! It passes rows on one at a time, so that a task that waits is seen to move.

use std::time::Duration;

use arrow::array::RecordBatch;

use crate::{Result, operators::Operator, task::context::CancelFlag};

/// How long a pause lasts at most before the cancel flag is looked at, in milliseconds.
const STEP_MS: u64 = 20;

/// Passes on each row of `input` after a pause of `row_ms`.
///
/// - Shape: same schema, same order, one row a batch.
/// - Errors: [`Error::Cancelled`](crate::Error) at once when `cancel` is set during a pause.
pub struct Sleep {
    input: Box<dyn Operator>,
    row_ms: u64,
    cancel: CancelFlag,
    current: Option<RecordBatch>,
}

impl Sleep {
    /// Pauses `row_ms` milliseconds for each row, unless `cancel` is set.
    pub fn new(input: Box<dyn Operator>, row_ms: u64, cancel: CancelFlag) -> Self {
        Self { input, row_ms, cancel, current: None }
    }

    fn pause(&self) -> Result<()> {
        let mut left_ms = self.row_ms;
        while left_ms > 0 {
            self.cancel.check()?;
            let step_ms = left_ms.min(STEP_MS);
            std::thread::sleep(Duration::from_millis(step_ms));
            left_ms -= step_ms;
        }
        self.cancel.check()
    }
}

impl Operator for Sleep {
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        if self.current.is_none() {
            self.current = self.input.next()?;
        }
        let Some(batch) = self.current.take() else { return Ok(None) };
        self.pause()?;
        if batch.num_rows() > 1 {
            self.current = Some(batch.slice(1, batch.num_rows() - 1));
        }
        Ok(Some(batch.slice(0, 1)))
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::record_batch;

    use super::Sleep;
    use crate::{
        Error,
        operators::{Batches, Operator},
        task::context::CancelFlag,
    };

    #[test]
    fn rows_come_one_at_a_time_and_unchanged() {
        let batch = record_batch!(("n", Int64, [1, 2])).unwrap();
        let input = Box::new(Batches::new(vec![batch.clone()]));
        let mut sleep = Sleep::new(input, 0, CancelFlag::default());
        assert_eq!(sleep.next().unwrap(), Some(batch.slice(0, 1)));
        assert_eq!(sleep.next().unwrap(), Some(batch.slice(1, 1)));
        assert_eq!(sleep.next().unwrap(), None);
        assert_eq!(sleep.next().unwrap(), None);
    }

    #[test]
    fn a_cancelled_sleep_ends_long_before_its_pause() {
        let batch = record_batch!(("n", Int64, [1])).unwrap();
        let cancel = CancelFlag::default();
        cancel.cancel();
        let input = Box::new(Batches::new(vec![batch]));
        let mut sleep = Sleep::new(input, u64::MAX, cancel);
        assert!(matches!(sleep.next(), Err(Error::Cancelled)));
    }
}
