//! Bad rows on their way: counted against their node's limits, and kept beside a task's output
//! where they are wanted.
//!
//! A task keeps them in the partition store as a second output of its attempt
//! ([`TaskAttempt::rejects`]), so they travel, are lost, computed again and dropped like its first
//! one, and only those of accepted attempts count. [`crate::sink::rejects`] writes them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use arrow::{
    array::{ArrayRef, RecordBatch, StringViewBuilder, UInt32Builder, UInt64Builder},
    datatypes::{DataType, Field, Schema, SchemaRef},
};

use crate::{
    Error, Result,
    exchange::store::StoreWriter,
    formats::{
        intake::{BadRowMode, OnBadRow},
        scalar::bytes::base64,
    },
    id::TaskAttempt,
    memory::Reservation,
    plan::NodeIndex,
    task::context::TaskContext,
};

/// So much is gathered before it is stored.
const BATCH_BYTES: usize = 1 << 20;
/// The most characters of a reason and of a record in a message.
const SHOWN_CHARACTERS: usize = 200;

/// A row that was refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct BadRow {
    /// Its file, where it is a record of one.
    pub(crate) file: Option<String>,
    /// Where it begins there, in bytes.
    pub(crate) offset: Option<u64>,
    /// Its line from 1, where that is known without reading what is before.
    pub(crate) line: Option<u64>,
    /// The column to blame.
    pub(crate) column: Option<String>,
    /// What was expected.
    pub(crate) reason: String,
    /// All of it, as it stands in the file, or as JSON.
    pub(crate) raw: Vec<u8>,
}

/// The rows in which bad ones are kept: their node's place in the plan, and [`BadRow`]; `raw_base64`
/// in the place of `raw` where that is no text.
pub(crate) fn schema() -> SchemaRef {
    let field = |name: &str, data_type| Field::new(name, data_type, true);
    Arc::new(Schema::new(vec![
        field("node", DataType::UInt32),
        field("file", DataType::Utf8View),
        field("offset", DataType::UInt64),
        field("line", DataType::UInt64),
        field("column", DataType::Utf8View),
        field("reason", DataType::Utf8View),
        field("raw", DataType::Utf8View),
        field("raw_base64", DataType::Utf8View),
    ]))
}

/// The bad rows of one task; clones share them.
#[derive(Clone)]
pub(crate) struct Quarantine(Arc<Mutex<Ward>>);

/// Where one node's bad rows go.
#[derive(Clone)]
pub(crate) struct Gate {
    quarantine: Quarantine,
    node: NodeIndex,
    policy: OnBadRow,
}

/// What a task came to in bad rows.
#[derive(Debug, Default)]
pub(crate) struct Rejected {
    /// Of each node.
    pub(crate) nodes: BTreeMap<NodeIndex, u64>,
    /// How many are kept in the store.
    pub(crate) kept: u64,
    /// The first one, for people.
    pub(crate) first: Option<String>,
}

struct Ward {
    context: TaskContext,
    attempt: TaskAttempt,
    rejected: Rejected,
    writer: Option<StoreWriter>,
    rows: Rows,
    memory: Reservation,
}

#[derive(Default)]
struct Rows {
    node: UInt32Builder,
    file: StringViewBuilder,
    offset: UInt64Builder,
    line: UInt64Builder,
    column: StringViewBuilder,
    reason: StringViewBuilder,
    raw: StringViewBuilder,
    raw_base64: StringViewBuilder,
    bytes: usize,
}

impl Quarantine {
    /// The empty one of an attempt.
    pub(crate) fn new(attempt: TaskAttempt, context: &TaskContext) -> Self {
        Self(Arc::new(Mutex::new(Ward {
            context: context.clone(),
            attempt,
            rejected: Rejected::default(),
            writer: None,
            rows: Rows::default(),
            memory: context.budget.reservation("bad rows"),
        })))
    }

    /// Where the bad rows of `node` go.
    pub(crate) fn gate(&self, node: NodeIndex, policy: OnBadRow) -> Gate {
        Gate { quarantine: self.clone(), node, policy }
    }

    /// Stores what is left; nothing may be added behind that.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) fn finish(&self) -> Result<Rejected> {
        let mut ward = self.ward();
        ward.flush()?;
        if let Some(writer) = ward.writer.take() {
            writer.finish()?;
        }
        Ok(std::mem::take(&mut ward.rejected))
    }

    fn ward(&self) -> MutexGuard<'_, Ward> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gate {
    /// Takes a row out of the node's rows.
    ///
    /// # Errors
    /// [`Error::BadRowsLimit`] where the task alone has more of them than the node may have; those
    /// of the store.
    pub(crate) fn reject(&self, row: &BadRow) -> Result<()> {
        let mut ward = self.quarantine.ward();
        if ward.rejected.first.is_none() {
            ward.rejected.first = Some(row.shown());
        }
        let count = ward.rejected.nodes.entry(self.node).or_default();
        *count += 1;
        // Other tasks are not known here; the scheduler adds them up.
        if let Some(reason) = self.policy.exceeded(*count, u64::MAX, false) {
            return Err(Error::BadRowsLimit { reason: format!("{reason}; {}", row.shown()) });
        }
        if self.policy.mode == BadRowMode::Quarantine {
            ward.rejected.kept += 1;
            ward.rows.push(self.node, row);
            if ward.rows.bytes >= BATCH_BYTES {
                ward.flush()?;
            }
        }
        Ok(())
    }
}

impl Ward {
    fn flush(&mut self) -> Result<()> {
        if self.rows.bytes == 0 {
            return Ok(());
        }
        // What stands here is little, and goes on whatever the budget says.
        self.memory.grow(self.rows.bytes as u64);
        let batch = self.rows.finish()?;
        if self.writer.is_none() {
            let (context, of_rejects) = (&self.context, self.attempt.rejects());
            let writer = context.store.writer_of(context, of_rejects, schema(), 1);
            self.writer = Some(writer);
        }
        if let Some(writer) = &mut self.writer {
            writer.push(0, batch)?;
        }
        self.memory.free();
        Ok(())
    }
}

impl Rows {
    fn push(&mut self, node: NodeIndex, row: &BadRow) {
        self.node.append_value(node.0);
        self.file.append_option(row.file.as_deref());
        self.offset.append_option(row.offset);
        self.line.append_option(row.line);
        self.column.append_option(row.column.as_deref());
        self.reason.append_value(&row.reason);
        if let Ok(raw) = std::str::from_utf8(&row.raw) {
            self.raw.append_value(raw);
            self.raw_base64.append_null();
        } else {
            self.raw.append_null();
            self.raw_base64.append_value(base64(&row.raw));
        }
        let texts = [row.file.as_ref(), row.column.as_ref(), Some(&row.reason)];
        let texts: usize = texts.into_iter().flatten().map(String::len).sum();
        self.bytes += texts + row.raw.len() * 4 / 3 + 64;
    }

    fn finish(&mut self) -> Result<RecordBatch> {
        self.bytes = 0;
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.node.finish()),
            Arc::new(self.file.finish()),
            Arc::new(self.offset.finish()),
            Arc::new(self.line.finish()),
            Arc::new(self.column.finish()),
            Arc::new(self.reason.finish()),
            Arc::new(self.raw.finish()),
            Arc::new(self.raw_base64.finish()),
        ];
        Ok(RecordBatch::try_new(schema(), columns)?)
    }
}

impl BadRow {
    /// The row for people, in one line.
    pub(crate) fn shown(&self) -> String {
        let cut = |text: &str| -> String { text.chars().take(SHOWN_CHARACTERS).collect() };
        let file = self.file.as_deref().unwrap_or("rows");
        let offset = self.offset.map(|offset| format!(", byte {offset}")).unwrap_or_default();
        let line = self.line.map(|line| format!(", line {line}")).unwrap_or_default();
        let column =
            self.column.as_ref().map(|name| format!(", column `{name}`")).unwrap_or_default();
        let raw = String::from_utf8_lossy(&self.raw[..self.raw.len().min(4 * SHOWN_CHARACTERS)]);
        let raw = cut(&raw).escape_debug().to_string();
        format!("in `{file}`{line}{offset}{column}: {}: `{raw}`", cut(&self.reason))
    }
}
