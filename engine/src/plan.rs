//! [`Plan`]: a job as typed nodes, and as the stages that tasks are made of. Plain data.
//!
//! It is made once by [`crate::job::check`] (nodes) and [`stages::cut`] (stages), rewritten by
//! rules, explained, sent to workers and run as it is. No codec and no second form exists.

use std::{ops::Range, path::PathBuf, sync::Arc};

use arrow::datatypes::{Schema, SchemaRef};
use serde::{Deserialize, Serialize};

use crate::{
    Error, Result,
    disk::Disk,
    expr::{Aggregate, Expr, Predicate, SortKey, window::WindowFunction},
    formats::{
        Format, WriteFormat,
        compression::Compression,
        intake::{BadRowMode, OnBadRow},
    },
    id::StageId,
    source::split::Split,
    task::limits::Limits,
};

pub mod rules;
pub mod estimate;
pub mod explain;
pub mod sql;
pub mod stages;
pub mod join;
pub mod filtered;
pub mod scan;
pub mod write;

pub use join::{JoinColumn, JoinCondition, JoinKind, JoinRows, ProbeColumn};
pub use scan::{FolderColumn, ReadStatistics, Scan};
pub use write::WriteMode;

/// A checked job: what its nodes mean, and the stages that compute them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// The job's name.
    pub name: String,
    /// The most tasks of the job that run at once; all slots where absent.
    pub parallelism: Option<u32>,
    /// What its tasks may take of each process.
    #[serde(default, skip_serializing_if = "Limits::are_absent")]
    pub limits: Limits,
    /// The document's nodes; every node stands behind its inputs.
    pub nodes: Vec<Node>,
    /// The stages; every stage stands behind those it reads. Empty until [`stages::cut`].
    pub stages: Vec<Stage>,
    /// What the rules did to the nodes.
    #[serde(default)]
    pub rules: Vec<rules::Applied>,
}

impl Plan {
    /// The plan that runs: the nodes rewritten by [`rules`] and cut into stages.
    ///
    /// # Errors
    /// As [`stages::cut`].
    pub fn laid_out(self, disk: &Arc<dyn Disk>) -> Result<Self> {
        stages::cut(rules::apply(self, disk), disk)
    }
}

/// A node's place in [`Plan::nodes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeIndex(pub u32);

impl NodeIndex {
    /// As an index.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// One node of the document, typed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Node {
    /// Its id in the document.
    pub id: String,
    /// What it does.
    pub op: Op,
    /// Whose rows it takes, in edge order (a join's left, then its right).
    pub inputs: Vec<NodeIndex>,
    /// The rows it gives.
    pub schema: SchemaRef,
    /// Their order.
    pub order: Order,
}

/// The order that a node's rows have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Order {
    /// None is defined; rows may come in any.
    None,
    /// As the sources have them: by file, then by position.
    Source,
    /// By these keys; keys are bound to the node's own schema.
    Sorted(Vec<SortKey>),
}

/// What a node does to its inputs' rows.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(clippy::large_enum_variant, reason = "a plan has few nodes, each of them once")]
pub enum Op {
    /// Rows of files.
    Read(Read),
    /// Exactly these columns; names and types are the node's schema's.
    Map {
        /// One expression a column, over the input's schema.
        columns: Vec<Expr>,
    },
    /// Rows as they are, after a pause for each: a test aid (`sleep_10s`).
    Sleep {
        /// The pause for each row, in milliseconds.
        row_ms: u64,
    },
    /// The rows for which the predicate is true.
    Filter {
        /// Over the input's schema.
        predicate: Predicate,
    },
    /// Every row as the tokens of its text columns, in one column.
    Tokenize {
        /// The text columns, by index; their tokens follow one another.
        columns: Vec<usize>,
    },
    /// Groups of equal keys, each as one row of its keys and aggregates.
    Reduce {
        /// Over the input's schema; the first columns of the output.
        keys: Vec<Expr>,
        /// The columns behind them.
        aggregates: Vec<Aggregate>,
    },
    /// Pairs of rows with equal keys for which the condition is true, or one side's rows that have
    /// or lack such a partner.
    Join {
        /// Which rows come out.
        how: JoinKind,
        /// Over the left input's schema; without keys every row meets every other.
        left_keys: Vec<Expr>,
        /// Over the right input's schema; as many, of the same types.
        right_keys: Vec<Expr>,
        /// Whether a null key equals a null key; else it equals nothing.
        null_safe: bool,
        /// What must be true of a pair beside its keys: over the left input's columns, then the
        /// right one's.
        on: Option<Predicate>,
        /// The output's columns; of a semi or an anti join all from the left.
        columns: Vec<JoinColumn>,
    },
    /// The rows of all inputs, one input after another; all have the node's schema.
    Union,
    /// A row for each element of a list, which stands in the list's place.
    Explode {
        /// The list, by index.
        column: usize,
        /// Whether a null or an empty list gives one row, with a null.
        outer: bool,
    },
    /// A row for each part of a text, which stands in the text's place.
    Split {
        /// The text, by index.
        column: usize,
        /// Where it is cut.
        by: Separator,
        /// Whether a text without parts, such as a null, gives one row, with a null.
        outer: bool,
    },
    /// A row for each of some columns: the columns that are kept, the column's name, its value.
    Unpivot {
        /// The columns that are repeated, by index; the first of the output.
        keep: Vec<usize>,
        /// The names, with what stands behind them; all of one type.
        values: Vec<(String, Expr)>,
    },
    /// The rows that chance picks, equal rows together: those whose hash, seeded, lies below the
    /// threshold.
    Sample {
        /// Of 2³².
        threshold: u64,
        /// Another seed picks other rows.
        seed: u64,
    },
    /// The same rows in so many partitions: by the keys' hash, or by turns where there are none.
    Repartition {
        /// Over the input's schema.
        keys: Vec<Expr>,
        /// How many.
        partitions: u32,
    },
    /// The rows as they are, kept by a stage of their own.
    Cache,
    /// The first input's rows as they are, or the job fails: where a check does not hold for one of
    /// them that is not to be put aside, and where another input has a row.
    Expect {
        /// What must hold for each row.
        checks: Vec<Check>,
        /// What a row of the second input offends against, of the third, and so on.
        offences: Vec<String>,
        /// What becomes of a row for which a check does not hold.
        #[serde(default)]
        on_fail: OnBadRow,
    },
    /// The rows in the keys' order.
    Sort {
        /// Complete: with the keys that break ties where the input has no order.
        keys: Vec<SortKey>,
        /// Only the first so many rows are wanted.
        limit: Option<u64>,
    },
    /// The first rows in the input's defined order.
    Limit {
        /// How many are left out first.
        offset: u64,
        /// How many are kept after that.
        n: u64,
    },
    /// The input's columns, then one of each function over the rows around.
    ///
    /// The node's order is that of its partitions and within them; its keys are the input's
    /// columns, with those that break ties where the input has no order.
    Window {
        /// Columns of the input; rows that are equal in them are a partition.
        partition_by: Vec<usize>,
        /// The order within a partition, over columns of the input.
        order_by: Vec<SortKey>,
        /// Over the input's schema.
        functions: Vec<WindowFunction>,
    },
    /// Rows into files, one part a partition.
    Write(Write),
}

impl Op {
    /// The word for it, from a closed list; close to that of job documents.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Read(_) => "read",
            Self::Map { .. } | Self::Sleep { .. } => "map",
            Self::Filter { .. } => "filter",
            Self::Tokenize { .. } | Self::Explode { .. } | Self::Split { .. } => "flat_map",
            Self::Reduce { .. } => "reduce_by_key",
            Self::Join { .. } => "join",
            Self::Union => "union",
            Self::Unpivot { .. } => "unpivot",
            Self::Sample { .. } => "sample",
            Self::Repartition { .. } => "repartition",
            Self::Cache => "cache",
            Self::Expect { .. } => "expect",
            Self::Sort { .. } => "sort",
            Self::Limit { .. } => "limit",
            Self::Window { .. } => "window",
            Self::Write(_) => "write",
        }
    }

    /// What becomes of rows that it can't use; `None` where it uses all.
    pub fn on_bad_row(&self) -> Option<&OnBadRow> {
        match self {
            Self::Read(read) => Some(&read.format.intake().on_bad_row),
            Self::Expect { on_fail, .. } => Some(on_fail),
            _ => None,
        }
    }
}

/// A reader's input.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Read {
    /// How bytes become rows.
    pub format: Format,
    /// The files in their order (sorted by path where a glob or a folder gave them).
    pub files: Vec<InputFile>,
    /// The number of splits that was asked for; by size where absent.
    pub partitions: Option<u32>,
    /// Which columns and rows; all where it is the default.
    #[serde(default)]
    pub scan: Scan,
    /// What the files say of their rows, where they do.
    #[serde(default)]
    pub statistics: Option<ReadStatistics>,
}

/// An input file as it was when the job was planned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputFile {
    /// Where it is, on every machine that runs tasks.
    pub path: PathBuf,
    /// Its size in bytes; another size later is [`Error::InputChanged`](crate::Error).
    pub size_bytes: u64,
    /// Its version as an object store names it; another one later is an error too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// A writer's target.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Write {
    /// The folder that gets the part files and the manifest.
    pub path: PathBuf,
    /// How rows become bytes.
    pub format: WriteFormat,
    /// How those are compressed.
    #[serde(default)]
    pub compression: Compression,
    /// What if the target is there.
    #[serde(default)]
    pub mode: WriteMode,
    /// The columns, by place in the input, whose values name folders `column=value`; they are left
    /// out of the files.
    #[serde(default)]
    pub partition_by: Vec<usize>,
    /// How many files; by size where absent. Rows of a defined order may make fewer.
    #[serde(default)]
    pub files: Option<u32>,
    /// Whether rows without a defined order are sorted by all columns.
    #[serde(default)]
    pub stable: bool,
}

/// Where a text is cut.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Separator {
    /// Wherever this stands, which is not empty; a text without it is one part.
    Text(String),
    /// Behind each line; `\n` and `\r\n` end one, and none begins at the text's end.
    Lines,
}

/// What must hold for a row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// True where it holds; null counts as false.
    pub predicate: Predicate,
    /// What it says, for people: `not_null: id`, `where: qty > 0`.
    pub text: String,
}

/// Tasks that run the same steps, one a partition, and end at an exchange or a sink.
///
/// It holds all that a worker needs beside the task's own inputs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stage {
    /// Its place in [`Plan::stages`].
    pub id: StageId,
    /// What its tasks do; every step stands behind those whose rows it takes, the last one gives
    /// the stage's rows. A list and not a tree, since what is sent as JSON must not nest deep.
    pub steps: Vec<Step>,
    /// What becomes of the root's rows.
    pub output: Output,
    /// How many tasks it has.
    pub partitions: u32,
    /// The splits of its source, one a task; empty where it has none.
    pub splits: Vec<Split>,
    /// The stages it reads, without repeats.
    pub inputs: Vec<StageId>,
}

impl Stage {
    /// The last step, whose rows are the stage's.
    pub fn root(&self) -> &Step {
        self.steps.last().unwrap_or_else(|| unreachable!("a stage has a step"))
    }

    /// Checks what a stage from elsewhere must keep to: it has a step, and no step takes the rows
    /// of one that stands behind it.
    ///
    /// # Errors
    /// [`Error::Internal`].
    pub fn verify(&self) -> Result<()> {
        let is_before = |at: usize| move |input: &StepIndex| input.0 < at;
        let holds = !self.steps.is_empty()
            && (self.steps.iter().enumerate())
                .all(|(at, step)| step.inputs().iter().all(is_before(at)));
        let broken = || Error::Internal(format!("stage {} is malformed", self.id));
        holds.then_some(()).ok_or_else(broken)
    }

    /// Which of the `tasks` map tasks of `input` its task of number `partition` reads, where the
    /// rows of each are handed on to one ([`Distribution::Forward`]).
    pub fn map_tasks(&self, input: StageId, tasks: u32, partition: u32) -> Range<u32> {
        let own = partition..partition.saturating_add(1);
        let mut chosen = None;
        for step in &self.steps {
            let read = match &step.kind {
                StepKind::Read { stage, share } if *stage == input => match share {
                    Share::Partition => own.clone(),
                    Share::Section { first, partitions } => match partition.checked_sub(*first) {
                        Some(place) if place < *partitions => place..place + 1,
                        _ => 0..0,
                    },
                    Share::Bucket
                    | Share::Neighbours { .. }
                    | Share::All
                    | Share::Buckets { .. }
                    | Share::Merged { .. } => return 0..tasks,
                },
                _ => continue,
            };
            match &chosen {
                Some(other) if !read.is_empty() && !Range::is_empty(other) && *other != read => {
                    return 0..tasks;
                }
                Some(other) if read.is_empty() && !Range::is_empty(other) => {}
                _ => chosen = Some(read),
            }
        }
        chosen.unwrap_or(own)
    }

    /// Whether its tasks may put rows aside that are to be written beside the results.
    pub fn keeps_bad_rows(&self) -> bool {
        self.steps.iter().any(|step| match &step.kind {
            StepKind::Source { format, .. } => {
                format.intake().on_bad_row.mode == BadRowMode::Quarantine
            }
            StepKind::Expect { on_fail, .. } => on_fail.mode == BadRowMode::Quarantine,
            _ => false,
        })
    }

    /// The nodes that it works for, in their order, without repeats.
    ///
    /// Reading a stage is not work for the node that it computed, unless the reader merges: then
    /// a sort ends here.
    pub fn nodes(&self) -> Vec<NodeIndex> {
        let is_work = |step: &&Step| match &step.kind {
            StepKind::Read { share, .. } => matches!(share, Share::Merged { .. }),
            _ => true,
        };
        let mut nodes: Vec<_> = self.steps.iter().filter(is_work).map(|step| step.node).collect();
        if let Output::Sink(sink) = &self.output {
            nodes.push(sink.node);
        }
        nodes.sort_unstable();
        nodes.dedup();
        nodes
    }
}

/// A step's place in [`Stage::steps`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StepIndex(pub usize);

/// One step of a stage's pipeline, with the node it works for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Step {
    /// Rows in and out are counted for this node.
    pub node: NodeIndex,
    /// The rows it gives.
    pub schema: SchemaRef,
    /// What it does.
    pub kind: StepKind,
}

impl Step {
    /// Whether it reads a kept node's rows, which the stage that keeps them counted as leaving it.
    pub fn reads_kept_rows(&self) -> bool {
        matches!(self.kind, StepKind::Read { share: Share::Partition | Share::Section { .. }, .. })
    }

    /// The steps whose rows it takes.
    pub fn inputs(&self) -> Vec<StepIndex> {
        match &self.kind {
            StepKind::Source { .. } | StepKind::Read { .. } => Vec::new(),
            StepKind::Map { input, .. }
            | StepKind::Sleep { input, .. }
            | StepKind::Filter { input, .. }
            | StepKind::Tokenize { input, .. }
            | StepKind::Hash { input, .. }
            | StepKind::PartialReduce { input, .. }
            | StepKind::FinalReduce { input, .. }
            | StepKind::Explode { input, .. }
            | StepKind::Split { input, .. }
            | StepKind::Unpivot { input, .. }
            | StepKind::Sample { input, .. }
            | StepKind::Spread { input, .. }
            | StepKind::SampleKeys { input, .. }
            | StepKind::Sort { input, .. }
            | StepKind::Window { input, .. }
            | StepKind::FirstRows { input, .. }
            | StepKind::Limit { input, .. } => vec![*input],
            StepKind::Join { probe, build, .. } => vec![*probe, *build],
            StepKind::KeyFilter { input, build } => vec![*input, *build],
            StepKind::Range { input, sample, .. } => vec![*input, *sample],
            StepKind::Union { inputs } => inputs.clone(),
            StepKind::Expect { input, offences, .. } => {
                std::iter::once(*input).chain(offences.iter().map(|(step, _)| *step)).collect()
            }
        }
    }
}

/// What a step does. Expressions are bound to the schema of the step's input.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum StepKind {
    /// The rows of the task's split.
    Source {
        /// How bytes become rows.
        format: Format,
        /// Which columns and rows.
        #[serde(default)]
        scan: Scan,
    },
    /// The task's share of an earlier stage's output.
    Read {
        /// Whose output.
        stage: StageId,
        /// Which share, and in what order; follows the stage's [`Distribution`].
        share: Share,
    },
    /// See [`Op::Map`].
    Map {
        /// Whose rows it takes.
        input: StepIndex,
        /// One expression a column.
        columns: Vec<Expr>,
    },
    /// See [`Op::Sleep`].
    Sleep {
        /// Whose rows it takes.
        input: StepIndex,
        /// The pause for each row, in milliseconds.
        row_ms: u64,
    },
    /// See [`Op::Filter`].
    Filter {
        /// Whose rows it takes.
        input: StepIndex,
        /// Which rows stay.
        predicate: Predicate,
    },
    /// See [`Op::Tokenize`].
    Tokenize {
        /// Whose rows it takes.
        input: StepIndex,
        /// The text columns, by index.
        columns: Vec<usize>,
        /// Whether its tokens are in lower case, since that is all that is asked of them.
        #[serde(default)]
        lower: bool,
    },
    /// The input with one more column at the end: the 64-bit hash of its keys
    /// ([`crate::kernels::hash`]). Stands below a [`Distribution::Hash`].
    Hash {
        /// Whose rows it takes.
        input: StepIndex,
        /// What is hashed.
        keys: Vec<Expr>,
    },
    /// Rows whose keys the build side of the join behind it may have, by a Bloom filter of both
    /// sides' hashes, which are their last columns. A hint: a row without a partner may pass.
    KeyFilter {
        /// Whose rows it takes.
        input: StepIndex,
        /// All rows of the build side.
        build: StepIndex,
    },
    /// Map-side aggregation: keys, then the aggregates' states, then the keys' hash.
    PartialReduce {
        /// Whose rows it takes.
        input: StepIndex,
        /// The groups' keys.
        keys: Vec<Expr>,
        /// The aggregates.
        aggregates: Vec<Aggregate>,
    },
    /// Merges what [`StepKind::PartialReduce`] gave: keys, then the aggregates' values.
    FinalReduce {
        /// Whose rows it takes.
        input: StepIndex,
        /// How many of the input's first columns are keys.
        keys: usize,
        /// The aggregates, bound to the partial step's input.
        aggregates: Vec<Aggregate>,
    },
    /// A hash join of two inputs.
    Join {
        /// Streams past the build side's table.
        probe: StepIndex,
        /// Held in the table.
        build: StepIndex,
        /// The keys of the probe side.
        probe_keys: Vec<Expr>,
        /// The keys of the build side.
        build_keys: Vec<Expr>,
        /// Whether the last column of both inputs is their keys' hash.
        is_hashed: bool,
        /// Whether a null key equals a null key; else it equals nothing.
        null_safe: bool,
        /// What must be true of a pair beside its keys.
        condition: Option<JoinCondition>,
        /// Which rows come out.
        rows: JoinRows,
        /// The output's columns.
        columns: Vec<ProbeColumn>,
    },
    /// The rows of several steps, one step after another.
    Union {
        /// Whose rows it takes.
        inputs: Vec<StepIndex>,
    },
    /// See [`Op::Explode`].
    Explode {
        /// Whose rows it takes.
        input: StepIndex,
        /// The list, by index.
        column: usize,
        /// Whether a list without elements gives a row.
        outer: bool,
    },
    /// See [`Op::Split`].
    Split {
        /// Whose rows it takes.
        input: StepIndex,
        /// The text, by index.
        column: usize,
        /// Where it is cut.
        by: Separator,
        /// Whether a text without parts gives a row.
        outer: bool,
    },
    /// See [`Op::Unpivot`].
    Unpivot {
        /// Whose rows it takes.
        input: StepIndex,
        /// The columns that are repeated, by index.
        keep: Vec<usize>,
        /// The names, with what stands behind them.
        values: Vec<(String, Expr)>,
    },
    /// See [`Op::Sample`].
    Sample {
        /// Whose rows it takes.
        input: StepIndex,
        /// Of 2³².
        threshold: u64,
        /// Another seed picks other rows.
        seed: u64,
    },
    /// The input with one more column at the end, by which a [`Distribution::Hash`] gives each
    /// bucket a row in turn.
    Spread {
        /// Whose rows it takes.
        input: StepIndex,
        /// How many buckets there are.
        buckets: u32,
    },
    /// A sample of the rows' keys, as [`StepKind::Range`] takes it.
    SampleKeys {
        /// Whose rows it takes.
        input: StepIndex,
        /// The keys.
        keys: Vec<SortKey>,
        /// The most rows that it gives.
        rows: u32,
        /// Whether the rows always come in the same sequence.
        in_order: bool,
    },
    /// The input with one more column at the end, by which a [`Distribution::Range`] gives each
    /// bucket the rows of a range of keys.
    Range {
        /// Whose rows it takes.
        input: StepIndex,
        /// Gives all that [`StepKind::SampleKeys`] found.
        sample: StepIndex,
        /// The keys.
        keys: Vec<SortKey>,
        /// How many buckets there are.
        buckets: u32,
    },
    /// See [`Op::Expect`].
    Expect {
        /// Whose rows it takes.
        input: StepIndex,
        /// The node's id, for errors.
        id: String,
        /// What must hold for each row.
        checks: Vec<Check>,
        /// Steps that must give no row, with what a row of theirs offends against.
        offences: Vec<(StepIndex, String)>,
        /// What becomes of a row for which a check does not hold.
        #[serde(default)]
        on_fail: OnBadRow,
    },
    /// One partition's rows in the keys' order.
    Sort {
        /// Whose rows it takes.
        input: StepIndex,
        /// The keys.
        keys: Vec<SortKey>,
        /// Only the first so many rows are wanted.
        limit: Option<u64>,
    },
    /// The first `columns` columns of rows that come sorted by partition and order, then one of
    /// each function.
    Window {
        /// Whose rows it takes.
        input: StepIndex,
        /// How many of the input's first columns are kept.
        columns: usize,
        /// See [`Op::Window`].
        partition_by: Vec<usize>,
        /// See [`Op::Window`].
        order_by: Vec<SortKey>,
        /// The functions.
        functions: Vec<WindowFunction>,
    },
    /// The rows that may have a rank up to this in their partition of a window, and perhaps others.
    FirstRows {
        /// Whose rows it takes.
        input: StepIndex,
        /// See [`Op::Window`].
        partition_by: Vec<usize>,
        /// The first key of the window's order.
        key: SortKey,
        /// The greatest rank that is wanted.
        rank: u64,
        /// Whether the last column is the hash of the partition's key.
        is_hashed: bool,
    },
    /// The first rows of one partition.
    Limit {
        /// Whose rows it takes.
        input: StepIndex,
        /// How many are left out first.
        offset: u64,
        /// How many are kept after that.
        n: u64,
    },
}

/// Which share of a stage's output a task reads.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Share {
    /// The bucket of the task's own number from every map task, in the order of the map tasks.
    Bucket,
    /// The whole output of the map task of the task's own number ([`Distribution::Forward`]).
    Partition,
    /// The whole output of the map task of the task's own number less `first`; nothing where the
    /// stage has no such task ([`Distribution::Forward`]).
    Section {
        /// The first task that reads one.
        first: u32,
        /// How many map tasks the stage has.
        partitions: u32,
    },
    /// The whole outputs of neighbouring map tasks, as many for each of so many tasks as can be.
    Neighbours {
        /// How many tasks read the stage.
        readers: u32,
    },
    /// Everything, map task after map task.
    All,
    /// Everything of a stage whose rows go by buckets ([`Distribution::Hash`]), of each map task bucket
    /// after bucket.
    Buckets {
        /// How many buckets there are.
        buckets: u32,
    },
    /// Everything, merged by keys from map tasks that are each sorted; ties by map task.
    Merged {
        /// The order of each and of the whole.
        keys: Vec<SortKey>,
    },
}

/// What becomes of a stage's rows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Output {
    /// They are kept in the partition store for later stages.
    Exchange(Distribution),
    /// They are the result of a node.
    Sink(Sink),
}

/// How a stage's rows are spread over the tasks that read them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Distribution {
    /// By the hash in the last column, `bucket = (hash × buckets) >> 64`.
    Hash {
        /// The keys' text, for people.
        keys: Vec<String>,
        /// How many.
        buckets: u32,
    },
    /// By ranges of the keys, whose buckets follow one another in the keys' order; what is in the
    /// last column says which, as with [`Distribution::Hash`].
    Range {
        /// The keys' text, for people.
        keys: Vec<String>,
        /// How many.
        buckets: u32,
    },
    /// Each task's rows stay together; each is read by one task of the reading stage.
    Forward,
    /// All rows to every task.
    Broadcast,
    /// All rows to one task.
    Gather {
        /// Whether each task's rows are sorted and the reader merges them.
        ordered: bool,
    },
}

impl Distribution {
    /// How many buckets a map task of it writes.
    pub fn buckets(&self) -> u32 {
        match self {
            Self::Hash { buckets, .. } | Self::Range { buckets, .. } => *buckets,
            Self::Forward | Self::Broadcast | Self::Gather { .. } => 1,
        }
    }
}

/// A result: the node, and the form in which it appears.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sink {
    /// Whose rows.
    pub node: NodeIndex,
    /// Its id in the document.
    pub id: String,
    /// The rows.
    pub schema: SchemaRef,
    /// Where and how.
    pub target: Target,
    /// Whether the rows stand in a defined or stable order.
    pub ordered: bool,
}

/// Where a sink's rows appear.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Target {
    /// One text file `<output dir>/<job>_<node>.txt`; its stage has one task.
    Text,
    /// A folder of part files, one a task, and a manifest.
    Files(Write),
}

/// The schema with a `UInt64` column for the keys' hash behind the others.
pub fn with_hash_column(schema: &Schema) -> SchemaRef {
    let mut fields: Vec<_> = schema.fields().iter().cloned().collect();
    fields.push(Arc::new(arrow::datatypes::Field::new(
        HASH_COLUMN,
        arrow::datatypes::DataType::UInt64,
        false,
    )));
    Arc::new(Schema::new(fields))
}

/// The name of the hash column of a [`Distribution::Hash`].
pub const HASH_COLUMN: &str = "__hash";
