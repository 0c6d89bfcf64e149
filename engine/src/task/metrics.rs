//! Rows, time and cancellation, handled once around every operator.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use arrow::{
    array::{Array, AsArray, RecordBatch},
    datatypes::DataType,
};
use serde::{Deserialize, Serialize};

use crate::{Result, operators::Operator, task::context::CancelFlag};

/// Rows counted by one step; clones share it.
#[derive(Clone, Debug, Default)]
pub struct RowCounter(Arc<AtomicU64>);

impl RowCounter {
    /// The rows so far.
    pub fn rows(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Counts `rows` more.
    pub fn add(&self, rows: u64) {
        self.0.fetch_add(rows, Ordering::Relaxed);
    }
}

/// What a step of a task gave and took, where it was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepFigures {
    /// Rows that it gave.
    pub rows: u64,
    /// Bytes of their values.
    pub bytes: u64,
    /// Record batches that it gave.
    pub batches: u64,
    /// Time in it and in its inputs, in microseconds.
    pub micros: u64,
    /// Bytes spilled in it and in its inputs.
    pub spilled_bytes: u64,
}

/// Measures a step; clones share what was measured.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meter {
    bytes: Arc<AtomicU64>,
    batches: Arc<AtomicU64>,
    nanos: Arc<AtomicU64>,
    spilled: Arc<AtomicU64>,
    /// Bytes that the attempt has spilled in all.
    attempt_spilled: Arc<AtomicU64>,
}

impl Meter {
    /// A meter of a step of an attempt, whose spilled bytes are counted in `attempt_spilled`.
    pub(crate) fn new(attempt_spilled: &Arc<AtomicU64>) -> Self {
        Self { attempt_spilled: Arc::clone(attempt_spilled), ..Self::default() }
    }

    #[expect(clippy::disallowed_methods, reason = "what is measured decides nothing")]
    fn pull(&self, input: &mut dyn Operator) -> Result<Option<RecordBatch>> {
        let spilled = self.attempt_spilled.load(Ordering::Relaxed);
        let started = Instant::now();
        let batch = input.next();
        let nanos = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
        let spilled = self.attempt_spilled.load(Ordering::Relaxed).saturating_sub(spilled);
        self.spilled.fetch_add(spilled, Ordering::Relaxed);
        if let Ok(Some(batch)) = &batch {
            self.batches.fetch_add(1, Ordering::Relaxed);
            let bytes = batch.columns().iter().map(|column| value_bytes(column)).sum();
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        batch
    }

    /// What was measured of a step that gave so many rows.
    pub(crate) fn figures(&self, rows: u64) -> StepFigures {
        StepFigures {
            rows,
            bytes: self.bytes.load(Ordering::Relaxed),
            batches: self.batches.load(Ordering::Relaxed),
            micros: self.nanos.load(Ordering::Relaxed) / 1000,
            spilled_bytes: self.spilled.load(Ordering::Relaxed),
        }
    }
}

/// The bytes of a column's values, however much of its buffers others share.
fn value_bytes(column: &dyn Array) -> u64 {
    let rows = column.len() as u64;
    match column.data_type() {
        DataType::Utf8View => {
            let lengths = column.as_string_view().lengths();
            rows * 16 + lengths.filter(|length| *length > 12).map(u64::from).sum::<u64>()
        }
        DataType::BinaryView => {
            let lengths = column.as_binary_view().lengths();
            rows * 16 + lengths.filter(|length| *length > 12).map(u64::from).sum::<u64>()
        }
        DataType::Boolean => rows.div_ceil(8),
        other => match other.primitive_width() {
            Some(width) => rows * width as u64,
            None => column.to_data().get_slice_memory_size().unwrap_or(0) as u64,
        },
    }
}

/// An operator whose rows are counted and whose pulls end once the attempt is cancelled.
pub struct Observed {
    /// What is observed.
    pub input: Box<dyn Operator>,
    /// Counts the rows that it gives.
    pub counter: RowCounter,
    /// Counts them too, where they are the task's input.
    pub progress: Option<RowCounter>,
    /// Checked before each pull.
    pub cancel: CancelFlag,
    /// Measures it, where that was asked for.
    pub(crate) meter: Option<Meter>,
}

impl Operator for Observed {
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        self.cancel.check()?;
        let batch = match &self.meter {
            None => self.input.next()?,
            Some(meter) => meter.pull(&mut *self.input)?,
        };
        if let Some(batch) = &batch {
            let rows = batch.num_rows() as u64;
            self.counter.add(rows);
            if let Some(progress) = &self.progress {
                progress.add(rows);
            }
        }
        Ok(batch)
    }
}
