//! `sql`: one SELECT over the node's inputs, translated into the plan's own operators.
//!
//! A table is an input under its node's id. What comes out are nodes like those of any other
//! document, typed by the same functions; their ids have a dot (`q.join3`), but for the last one,
//! which is the node itself. Nothing is run here, and nothing later knows of SQL.
//!
//! The way of a query: [`from`] reads its tables, [`scope`] resolves its names, [`select`] leads
//! through the clauses, [`joins`] puts the tables together in an order that keeps rows few,
//! [`subqueries`] makes joins of queries inside conditions, [`aggregates`] and [`windows`] compute
//! what is more than a row. What can't be translated is refused with its place.

use hashbrown::{HashMap, HashSet};
use sqlparser::{
    ast::{Expr as Sql, Spanned, Statement},
    tokenizer::{Location, Span, Token},
};

use self::{relation::Relation, subqueries::Prepared};
use super::{
    ProblemCode,
    fields::Fields,
    graph::Vertex,
    nodes::{Binder, Bound},
};
use crate::{
    expr::parse::{self, ParseError, ParseErrorKind},
    plan::{Node, NodeIndex},
};

mod tree;
mod scope;
mod relation;
mod estimate;
mod from;
mod joins;
mod resolve;
mod subqueries;
mod select;
mod aggregates;
mod windows;
mod query;
pub mod sources;

/// The most tokens of one query.
const MAX_TOKENS: usize = 10_000;

/// What is wrong with a query, and where.
#[derive(Debug)]
pub(super) struct SqlError {
    kind: ParseErrorKind,
    place: Place,
    message: String,
    suggestion: Option<String>,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Span(Span),
    Byte(usize),
}

type Result<T, E = SqlError> = std::result::Result<T, E>;

impl SqlError {
    fn new(kind: ParseErrorKind, span: Span, message: impl Into<String>) -> Self {
        Self { kind, place: Place::Span(span), message: message.into(), suggestion: None }
    }

    /// Something that SQL has and this translation lacks, with what to say instead.
    fn unsupported(span: Span, message: impl Into<String>) -> Self {
        Self::new(ParseErrorKind::NotSupported, span, message)
    }

    /// With its place in `text`, in bytes and, where the text has several lines, for people.
    fn located(self, text: &str) -> ParseError {
        let offset = match self.place {
            Place::Byte(offset) => offset,
            Place::Span(span) => parse::offset_of(text, span.start),
        };
        let message = if text.contains('\n') {
            let Location { line, column } = location(text, offset);
            format!("{} (at line {line}, column {column}, byte {offset})", self.message)
        } else {
            format!("{} (at byte {offset})", self.message)
        };
        // The place is in the message; at 0 nothing is added to it.
        ParseError { kind: self.kind, offset: 0, message, suggestion: self.suggestion }
    }
}

impl From<ParseError> for SqlError {
    fn from(error: ParseError) -> Self {
        let ParseError { kind, offset, message, suggestion } = error;
        Self { kind, place: Place::Byte(offset), message, suggestion }
    }
}

/// Line and column, from 1, of a byte.
fn location(text: &str, offset: usize) -> Location {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    Location { line: line as u64, column: column as u64 }
}

/// Binds an `sql` node.
pub(super) fn bind(
    binder: &mut Binder<'_, '_>,
    vertex: &Vertex<'_>,
    inputs: Option<&[Bound]>,
) -> Option<Bound> {
    let fields = &vertex.fields;
    fields.required("query", binder.report)?;
    let text = fields.text("query", binder.report)?;
    let pointer = fields.at("query");
    let join_order = join_order(binder, fields)?;
    let bound = match (statement(text), inputs) {
        (Err(error), _) => Err(error),
        (Ok(_), None) => return None,
        (Ok(query), Some(inputs)) => {
            let before = binder.nodes.len();
            let translated =
                Translator::new(binder, vertex.id, text, inputs).joining(join_order).whole(&query);
            let translated =
                translated.and_then(|bound| keep(&mut binder.nodes, before, bound, inputs));
            if translated.is_err() {
                // What was pushed leads nowhere.
                binder.nodes.truncate(before);
            }
            translated
        }
    };
    match bound {
        Ok(bound) => binder.check_columns(&bound.schema, &pointer).then_some(bound),
        Err(error) => {
            binder.refuse(pointer, error.located(text));
            None
        }
    }
}

/// In what order the tables of a FROM are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum JoinOrder {
    /// Whichever two give the fewest rows by estimate come first.
    Cost,
    /// The first two come first.
    AsWritten,
}

/// The words for it.
pub(super) const JOIN_ORDERS: [&str; 2] = ["cost", "as_written"];

fn join_order(binder: &mut Binder<'_, '_>, fields: &Fields<'_>) -> Option<JoinOrder> {
    if !fields.has("join_order") {
        return Some(JoinOrder::Cost);
    }
    match fields.text("join_order", binder.report)? {
        "cost" => Some(JoinOrder::Cost),
        "as_written" => Some(JoinOrder::AsWritten),
        other => {
            let message = format!("no join order `{other}`; there are {}", JOIN_ORDERS.join(", "));
            let suggestion = parse::nearest(other, JOIN_ORDERS);
            let code = ProblemCode::BadValue;
            binder.report.suggest(fields.at("join_order"), code, message, suggestion);
            None
        }
    }
}

/// The query that `text` says.
fn statement(text: &str) -> Result<sqlparser::ast::Query> {
    let statement = parse::parse_within(text, MAX_TOKENS, |parser| {
        let statement = parser.parse_statement()?;
        while parser.consume_token(&Token::SemiColon) {}
        Ok(statement)
    })?;
    match statement {
        Statement::Query(query) => Ok(*query),
        other => {
            let word = other.to_string();
            let word = word.split(' ').next().unwrap_or_default().to_lowercase();
            let message =
                format!("`{word}` is no query; one `select` is expected, or `with ... select`");
            Err(SqlError::unsupported(other.span(), message))
        }
    }
}

/// The nodes from `before` on that lead to `last`, which is the only one that nobody reads.
fn keep(nodes: &mut Vec<Node>, before: usize, last: Bound, inputs: &[Bound]) -> Result<Bound> {
    let mut is_needed = vec![false; nodes.len()];
    is_needed[last.index.index()] = true;
    for index in (before..nodes.len()).rev() {
        if is_needed[index] {
            nodes[index].inputs.iter().for_each(|input| is_needed[input.index()] = true);
        }
    }
    if let Some(input) = inputs.iter().find(|input| !is_needed[input.index.index()]) {
        let name = &nodes[input.index.index()].id;
        let message = format!(
            "the result does not depend on input `{name}`: no `from` names it; remove its edge"
        );
        return Err(SqlError::new(ParseErrorKind::Syntax, Span::empty(), message));
    }
    let mut places: Vec<NodeIndex> = Vec::with_capacity(nodes.len());
    let mut next = 0;
    for (index, is_kept) in is_needed.iter().enumerate() {
        places.push(NodeIndex(next));
        next += u32::from(index < before || *is_kept);
    }
    let mut index = 0;
    nodes.retain_mut(|node| {
        let is_kept = index < before || is_needed[index];
        index += 1;
        node.inputs.iter_mut().for_each(|input| *input = places[input.index()]);
        is_kept
    });
    Ok(Bound { index: places[last.index.index()], ..last })
}

/// A table that the node reads.
struct Input {
    name: String,
    bound: Bound,
    /// How often the query has named it so far.
    uses: usize,
}

/// A `with` query that can be named where it stands.
struct Common {
    name: sqlparser::ast::Ident,
    relation: Relation,
}

/// Translates one query.
struct Translator<'t, 'b, 'a, 'r> {
    binder: &'b mut Binder<'a, 'r>,
    id: &'t str,
    text: &'t str,
    inputs: Vec<Input>,
    commons: Vec<Common>,
    subqueries: Vec<Prepared>,
    /// The windows that the query in hand names.
    windows: Vec<(sqlparser::ast::Ident, sqlparser::ast::WindowSpec)>,
    /// The plan's names of columns so far.
    names: HashSet<String>,
    /// The words of the query, in lower case, with how often they stand there: columns that none
    /// of them names are not read.
    words: HashMap<String, usize>,
    /// Columns that count rows, and are 0 where there are none.
    counts: HashSet<String>,
    steps: usize,
    join_order: JoinOrder,
}

impl<'t, 'b, 'a, 'r> Translator<'t, 'b, 'a, 'r> {
    fn new(binder: &'b mut Binder<'a, 'r>, id: &'t str, text: &'t str, inputs: &[Bound]) -> Self {
        let input = |bound: &Bound| Input {
            name: binder.nodes[bound.index.index()].id.clone(),
            bound: bound.clone(),
            uses: 0,
        };
        let inputs = inputs.iter().map(input).collect();
        Self {
            binder,
            id,
            text,
            inputs,
            commons: Vec::new(),
            subqueries: Vec::new(),
            windows: Vec::new(),
            names: HashSet::new(),
            words: sources::words(text),
            counts: HashSet::new(),
            steps: 0,
            join_order: JoinOrder::Cost,
        }
    }

    /// With the tables of each FROM in such an order.
    fn joining(self, join_order: JoinOrder) -> Self {
        Self { join_order, ..self }
    }

    fn whole(mut self, query: &sqlparser::ast::Query) -> Result<Bound> {
        let bound = self.query(query, None)?.bound;
        self.binder.nodes[bound.index.index()].id = String::from(self.id);
        Ok(bound)
    }

    /// An id for a node of the plan.
    fn step(&mut self, what: &str) -> String {
        self.steps += 1;
        format!("{}.{what}{}", self.id, self.steps)
    }

    /// A name that no other column of this query's plan has.
    fn own_name(&mut self, wanted: &str) -> String {
        let mut name = String::from(wanted);
        let mut number = 1;
        while !self.names.insert(name.clone()) {
            number += 1;
            name = format!("{wanted}#{number}");
        }
        name
    }
}

/// Where an expression begins.
fn span_of(sql: &Sql) -> Span {
    sql.span()
}
