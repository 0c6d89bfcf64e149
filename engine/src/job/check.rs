//! `JobSpec` → [`Plan`], or every problem with its JSON pointer and a did-you-mean.
//!
//! A document is checked as far as it goes: fields and graph whatever else is wrong, expressions
//! wherever the columns before them are known. What comes out is typed: the seed's forms (`fn`,
//! `key`, none of them) have become expressions, and nothing later asks what a document meant.
//!
//! A node of the document is a node of the plan under its own id. Where a form needs a step of its
//! own before it, that is a node whose id has a dot in it ([`is_helper`]), which no document can
//! name.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{
    disk::DataDisks,
    error::without_base,
    expr::function::instant,
    job::{
        JobSpec,
        check::fields::Fields,
        params::{self, ParamErrorKind},
    },
    plan::Plan,
};

mod fields;
mod limits;
mod files;
mod urls;
mod columnar;
mod readers;
mod writers;
mod graph;
mod operators;
mod nodes;
mod map;
mod text_formats;
mod keyed;
pub mod sql;
mod join;
mod relational;
mod expect;
mod reduce;
mod ordered;
pub mod schema;

/// The most nodes of a document.
pub const MAX_NODES: usize = 1000;
/// The most edges of a document.
pub const MAX_EDGES: usize = 5000;
/// The most characters of a node's id.
pub const MAX_ID_LENGTH: usize = 64;
/// The most splits of a source, and the most tasks of a job at once.
pub const MAX_PARTITIONS: u64 = 4096;
/// The most bytes of a path.
pub const MAX_PATH_BYTES: usize = 4096;
/// The most characters of a job's or a column's name.
pub const MAX_NAME_LENGTH: usize = 256;

/// The place where a document is checked: its files, and where relative paths begin.
#[derive(Clone, Debug)]
pub struct Site {
    /// The files that jobs may read and write.
    pub data: DataDisks,
    /// Relative paths begin here; none are allowed where absent.
    pub base_dir: Option<PathBuf>,
    /// What `now()` is: microseconds since 1970-01-01 UTC. On a cluster the job's submission, when
    /// it is planned anew too.
    pub now_micros: i64,
}

/// A document that may run.
#[derive(Clone, Debug)]
pub struct Checked {
    /// Its nodes, without stages yet.
    pub plan: Plan,
    /// What does not keep it from running.
    pub warnings: Vec<Problem>,
}

/// Something that is wrong with a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Where, as a JSON pointer (RFC 6901); empty for the whole document.
    pub pointer: String,
    /// What kind of thing.
    pub code: ProblemCode,
    /// What is wrong, and what was expected.
    pub message: String,
    /// What was probably meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
}

/// The kinds of problems.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ProblemCode {
    /// The document is not JSON, or nests too deep.
    NotJson,
    /// A value has another JSON type than its place wants.
    WrongType,
    /// A field that must be there is not.
    MissingField,
    /// A field that nothing knows; a warning unless strict.
    UnknownField,
    /// A field that stands twice in one object.
    DuplicateField,
    /// A field that other operators have, but not this one.
    NotApplicable,
    /// Fields of which only one may stand.
    ConflictingFields,
    /// Known, but not built yet; or of older job files.
    NotSupported,
    /// A value that its place does not allow.
    BadValue,
    /// A number, a length or a count beyond its limit.
    OutOfRange,
    /// The DAG has no node.
    EmptyDag,
    /// An id of other characters than `[A-Za-z0-9_-]`, or too long.
    BadId,
    /// An id that two nodes have.
    DuplicateId,
    /// An edge to or from a node that is not there.
    UnknownNode,
    /// An edge that closes a cycle.
    Cycle,
    /// A node with too many or too few inputs or outputs.
    WrongArity,
    /// No such operator.
    UnknownOperator,
    /// No such function.
    UnknownFunction,
    /// No such column.
    UnknownColumn,
    /// No such type.
    UnknownType,
    /// A parameter without a value.
    UnknownParameter,
    /// Two output columns of one name.
    DuplicateColumn,
    /// A form that could mean several columns.
    AmbiguousColumn,
    /// A text that is no expression.
    BadExpression,
    /// Types that do not meet.
    TypeMismatch,
    /// A path that can't be one.
    BadPath,
    /// A path outside the folders that jobs may use.
    PathNotAllowed,
    /// An input that is not there, or a glob or folder without files.
    InputNotFound,
    /// An input that is there and can't be used.
    InputUnreadable,
    /// The target of a writer is already there.
    OutputExists,
    /// The target of a writer can't be made.
    OutputUnwritable,
    /// Two writers with one target.
    DuplicateOutput,
}

/// Whether a node's id is that of a step that a document's node needed before it (`join.left`).
pub fn is_helper(id: &str) -> bool {
    id.contains('.')
}

/// Checks a document and binds its nodes.
///
/// # Errors
/// Every problem, in the document's order; with `strict` unknown fields are among them.
pub fn check(document: &str, strict: bool, site: &Site) -> Result<Checked, Vec<Problem>> {
    let mut spec = JobSpec::parse(document).map_err(|error| {
        let place = format!("line {}, column {}", error.line, error.column);
        vec![Problem {
            pointer: String::new(),
            code: ProblemCode::NotJson,
            message: format!("not JSON: {} at {place}", error.message),
            suggestion: None,
        }]
    })?;
    let mut report = Report { strict, ..Report::default() };
    for wrong in params::fill(&mut spec).err().into_iter().flatten() {
        let code = match wrong.kind {
            ParamErrorKind::WrongType => ProblemCode::WrongType,
            ParamErrorKind::BadValue => ProblemCode::BadValue,
            ParamErrorKind::Missing => ProblemCode::UnknownParameter,
            ParamErrorKind::TooLarge => ProblemCode::OutOfRange,
        };
        report.suggest(wrong.pointer, code, wrong.message, wrong.suggestion);
    }
    let plan = instant::within(site.now_micros, || plan(&spec, site, &mut report));
    let Report { mut problems, mut warnings, .. } = report;
    if let Some(base) = &site.base_dir {
        for problem in &mut problems {
            problem.message = without_base(&problem.message, base);
        }
    }
    problems.sort_by_cached_key(|problem| sequence(&problem.pointer));
    warnings.sort_by_cached_key(|problem| sequence(&problem.pointer));
    match plan {
        Some(plan) if problems.is_empty() => Ok(Checked { plan, warnings }),
        _ => Err(problems),
    }
}

/// A pointer as a key that sorts its numbers as numbers.
fn sequence(pointer: &str) -> Vec<(Option<u32>, String)> {
    let segments = pointer.split('/').skip(1);
    segments.map(|segment| (segment.parse().ok(), String::from(segment))).collect()
}

fn plan(spec: &JobSpec, site: &Site, report: &mut Report) -> Option<Plan> {
    let job = Fields::open(&spec.0, "", report)?;
    job.check_names(&JOB_FIELDS, report);
    let name = job.text("name", report).map_or_else(|| String::from("job"), String::from);
    if name.chars().count() > MAX_NAME_LENGTH {
        let message = format!("a name has at most {MAX_NAME_LENGTH} characters");
        report.problem(job.at("name"), ProblemCode::OutOfRange, message);
    }
    let parallelism = job.number("parallelism", 1..=MAX_PARTITIONS, report);
    let parallelism = parallelism.and_then(|tasks| u32::try_from(tasks).ok());
    let limits = limits::read(&job, report);
    let dag = job.required("dag", report).and_then(|dag| Fields::open(dag, "/dag", report))?;
    dag.check_names(&DAG_FIELDS, report);
    let graph = graph::Graph::read(&dag, report)?;
    let nodes = nodes::bind(&graph, site, report);
    Some(Plan { name, parallelism, limits, nodes, stages: Vec::new(), rules: Vec::new() })
}

const JOB_FIELDS: fields::Known = fields::Known {
    of: "a job",
    always: &[],
    fields: &["name", "parallelism", "limits", "params", "dag"],
    later: &["labels", "priority", "output_format"],
    elsewhere: &[],
};

const DAG_FIELDS: fields::Known = fields::Known {
    of: "a dag",
    always: &[],
    fields: &["nodes", "edges"],
    later: &[],
    elsewhere: &[],
};

/// The problems found so far.
#[derive(Default)]
struct Report {
    strict: bool,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl Report {
    fn problem(
        &mut self,
        pointer: impl Into<String>,
        code: ProblemCode,
        message: impl Into<String>,
    ) {
        self.suggest(pointer, code, message, None);
    }

    fn suggest(
        &mut self,
        pointer: impl Into<String>,
        code: ProblemCode,
        message: impl Into<String>,
        suggestion: Option<String>,
    ) {
        let problem =
            Problem { pointer: pointer.into(), code, message: message.into(), suggestion };
        if code == ProblemCode::UnknownField && !self.strict {
            self.warnings.push(problem);
        } else {
            self.problems.push(problem);
        }
    }
}

#[cfg(test)]
mod tests;
