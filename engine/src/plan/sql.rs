//! A job as one SQL statement, a common table expression a node, for another engine to run.
//!
//! It is written from the nodes as the document has them, before any rule, in the words of a
//! [`Dialect`]. What SQL can't say (a sample by hash, the position of a row in a file) is refused.
//! Where the rows picked depend on an order, the order stands beside what picks them; a result's
//! own order stands at the statement's end. Where the other engine means something else by the same
//! words, and none say what is meant here, `docs/differences.md` says so.

use std::{collections::HashMap, fmt::Write as _};

use arrow::datatypes::Schema;

use crate::plan::{Op, Order, Plan};

mod dialect;
mod node;
mod join;
mod expression;
mod form;
mod aggregate;
mod window;
mod duckdb;
mod spark;

pub use dialect::Dialect;

use expression::Scope;

/// A piece of the statement, or why there is none.
type Written = Result<String, String>;

/// Why a job can't be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The node.
    pub node: String,
    /// Why.
    pub reason: String,
}

/// The statement that gives the rows of one sink; the only one where none is named.
///
/// # Errors
/// A node that the dialect can't say, or a sink that is not there or not the only one.
pub fn statement(plan: &Plan, sink: Option<&str>, dialect: Dialect) -> Result<String, Refusal> {
    let leaf = leaf(plan, sink)?;
    let mut wanted = vec![false; plan.nodes.len()];
    wanted[leaf] = true;
    for at in (0..plan.nodes.len()).rev() {
        if wanted[at] {
            plan.nodes[at].inputs.iter().for_each(|input| wanted[input.index()] = true);
        }
    }
    let scope = Scope::own(dialect);
    let mut text = format!("{}with\n", dialect.preamble());
    let nodes = plan.nodes.iter().enumerate().filter(|(at, _)| wanted[*at]);
    let mut ids = HashMap::new();
    for (number, (_, node)) in nodes.enumerate() {
        let refused = |reason| Refusal { node: node.id.clone(), reason };
        if let Some(other) = ids.insert(node.id.to_lowercase(), &node.id) {
            return Err(refused(one_name(other, &node.id)));
        }
        distinct_names(&node.schema).map_err(refused)?;
        let query = node::query(plan, node, dialect).map_err(refused)?;
        let comma = if number == 0 { "" } else { ",\n" };
        let name = dialect.name(&node.id);
        push(&mut text, format_args!("{comma}  {name} as (\n    {query}\n  )"));
    }
    let node = &plan.nodes[leaf];
    push(&mut text, format_args!("\nselect * from {}", dialect.name(&node.id)));
    let order = match &node.op {
        Op::Write(_) => &plan.nodes[node.inputs[0].index()].order,
        _ => &node.order,
    };
    if let Order::Sorted(keys) = order {
        let keys = aggregate::sort_keys(keys, &node.schema, scope);
        push(&mut text, format_args!("\norder by {keys}"));
    }
    text.push('\n');
    Ok(text)
}

fn leaf(plan: &Plan, sink: Option<&str>) -> Result<usize, Refusal> {
    let is_read = |at: usize| plan.nodes.iter().flat_map(|n| &n.inputs).any(|i| i.index() == at);
    let leaves: Vec<usize> = (0..plan.nodes.len()).filter(|at| !is_read(*at)).collect();
    let ids = leaves.iter().map(|at| plan.nodes[*at].id.as_str()).collect::<Vec<_>>().join(", ");
    let refused = |node: &str, reason| Refusal { node: String::from(node), reason };
    match (sink, &leaves[..]) {
        (Some(sink), _) => (leaves.iter().copied().find(|at| plan.nodes[*at].id == sink))
            .ok_or_else(|| refused(sink, format!("no sink has this id; there are {ids}"))),
        (None, [only]) => Ok(*only),
        (None, _) => Err(refused("", format!("there are several sinks, name one: {ids}"))),
    }
}

/// SQL tells no names apart that differ in case alone.
fn distinct_names(schema: &Schema) -> Result<(), String> {
    let mut seen = HashMap::new();
    for field in schema.fields() {
        if let Some(other) = seen.insert(field.name().to_lowercase(), field.name()) {
            return Err(one_name(other, field.name()));
        }
    }
    Ok(())
}

fn one_name(one: &str, other: &str) -> String {
    format!("`{one}` and `{other}` are one name in SQL; rename one of them")
}

fn refused(why: &str) -> Written {
    Err(String::from(why))
}

fn push(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    if text.write_fmt(arguments).is_err() {
        unreachable!("writing to a string can't fail");
    }
}

#[cfg(test)]
mod tests;
