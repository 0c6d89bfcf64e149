//! Rules: rewrites of a plan's nodes before stages are cut, each in a file of its own.
//!
//! A rule makes a plan cheaper, never another: the same rows in the same order. What the document
//! named stays a node under its own id; steps that a rule adds have a dot in theirs. What a rule
//! did is kept in [`Plan::rules`], for `explain`.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use serde::{Deserialize, Serialize};

use crate::{
    disk::Disk,
    plan::{Node, NodeIndex, Op, Order, Plan},
};

mod read_apart;
mod push_predicate;
mod top_k;
mod met_groups;
mod prune_columns;

/// Something that a rule did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// The rule.
    pub rule: String,
    /// What it did, and to which node.
    pub what: String,
}

/// A rule: changes the nodes and says what it did.
type Rule<'a> = &'a dyn Fn(&mut Nodes) -> Vec<String>;

/// The plan after all rules; the files that it reads are on `disk`.
pub fn apply(plan: Plan, disk: &Arc<dyn Disk>) -> Plan {
    let in_order: [(&str, Rule<'_>); 5] = [
        ("read_apart", &read_apart::apply),
        ("push_predicate", &push_predicate::apply),
        ("top_k", &top_k::apply),
        ("met_groups", &|nodes| met_groups::apply(nodes, disk)),
        ("prune_columns", &prune_columns::apply),
    ];
    let mut nodes = Nodes(plan.nodes);
    let mut rules = plan.rules;
    for (rule, apply) in in_order {
        let done = apply(&mut nodes);
        // The next rule goes through the nodes once, from inputs to outputs or back.
        nodes = Nodes(nodes.in_order());
        rules.extend(done.into_iter().map(|what| Applied { rule: String::from(rule), what }));
        // Each rule finds every node behind its inputs.
        nodes = Nodes(nodes.in_order());
    }
    Plan { nodes: nodes.0, rules, ..plan }
}

/// A plan's nodes while they are rewritten. Nodes that are added stand at the end, whatever they
/// read, until [`Nodes::in_order`].
struct Nodes(Vec<Node>);

impl Nodes {
    /// How many edges leave each node.
    fn consumers(&self) -> Vec<u32> {
        let mut counts = vec![0; self.0.len()];
        for input in self.0.iter().flat_map(|node| &node.inputs) {
            counts[input.index()] += 1;
        }
        counts
    }

    /// Adds a node that reads `input`, under the first free id that begins with `id`.
    fn add(
        &mut self,
        id: &str,
        op: Op,
        input: NodeIndex,
        schema: SchemaRef,
        order: Order,
    ) -> NodeIndex {
        let is_free = |free: &String| self.0.iter().all(|node| node.id != *free);
        let numbered = (2_u32..).map(|number| format!("{id}{number}"));
        let id = std::iter::once(String::from(id)).chain(numbered).find(is_free);
        let index = NodeIndex(u32::try_from(self.0.len()).unwrap_or(u32::MAX));
        let id = id.unwrap_or_default();
        self.0.push(Node { id, op, inputs: vec![input], schema, order });
        index
    }

    /// The nodes, each behind its inputs; those of one depth as they stood.
    fn in_order(self) -> Vec<Node> {
        let count = self.0.len();
        let mut place: Vec<Option<NodeIndex>> = vec![None; count];
        let mut sequence = Vec::with_capacity(count);
        // Documents give nodes in topological order, and rules add few: passes are few as well.
        while sequence.len() < count {
            let before = sequence.len();
            for at in 0..count {
                let is_ready = place[at].is_none()
                    && self.0[at].inputs.iter().all(|input| place[input.index()].is_some());
                if is_ready {
                    place[at] = Some(NodeIndex(u32::try_from(sequence.len()).unwrap_or(u32::MAX)));
                    sequence.push(at);
                }
            }
            assert!(sequence.len() > before, "a rule has made a cycle");
        }
        let mut nodes: Vec<Option<Node>> = self.0.into_iter().map(Some).collect();
        let mut ordered = Vec::with_capacity(count);
        for at in sequence {
            ordered.extend(nodes[at].take().map(|mut node| {
                for input in &mut node.inputs {
                    *input = place[input.index()].unwrap_or(*input);
                }
                node
            }));
        }
        ordered
    }
}

/// The schema of some columns of another one.
fn projected(schema: &Schema, columns: &[usize]) -> SchemaRef {
    let fields = columns.iter().map(|column| Arc::clone(&schema.fields()[*column]));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// The document's node that a node works for: what stands before the first dot of its id.
fn root(id: &str) -> &str {
    id.split('.').next().unwrap_or(id)
}

#[cfg(test)]
pub(super) mod tests {
    use std::{io::Write, path::Path};

    use tempfile::TempDir;

    use super::Nodes;
    use crate::{
        disk::{DataDisks, RealDisk},
        job::check::{Site, check},
        plan::{Plan, explain::detail},
    };

    /// The nodes of a document over `a.csv`, with the columns k, v, w, and `b.csv` with k, x, each
    /// with a row of whole numbers.
    pub(in crate::plan::rules) fn document_nodes(dag: &str) -> Nodes {
        Nodes(checked(dag).nodes)
    }

    fn checked(dag: &str) -> Plan {
        let folder = TempDir::new().unwrap();
        let disk = RealDisk::shared();
        for (name, text) in [("a.csv", "k,v,w\n1,2,3\n"), ("b.csv", "k,x\n1,2\n")] {
            disk.create(&folder.path().join(name)).unwrap().write_all(text.as_bytes()).unwrap();
        }
        let base_dir = Some(Path::new(folder.path()).to_owned());
        let site = Site { data: DataDisks::everywhere(), base_dir, now_micros: 0 };
        let document = format!(r#"{{"dag": {dag}}}"#);
        let checked =
            check(&document, true, &site).unwrap_or_else(|problems| panic!("{problems:?}"));
        checked.plan
    }

    /// The [nodes](document_nodes) of a document before and after a rule, without its readers.
    pub(in crate::plan::rules) fn before_and_after(
        rule: impl Fn(&mut Nodes) -> Vec<String>,
        dag: &str,
    ) -> (Vec<String>, Vec<String>) {
        let plan = checked(dag);
        let before = shown(&plan);
        let mut nodes = Nodes(plan.nodes.clone());
        rule(&mut nodes);
        let after = Plan { nodes: nodes.in_order(), ..plan };
        (before, shown(&after))
    }

    fn shown(plan: &Plan) -> Vec<String> {
        let nodes = plan.nodes.iter().filter(|node| !node.inputs.is_empty());
        nodes
            .map(|node| {
                let inputs: Vec<_> =
                    node.inputs.iter().map(|input| plan.nodes[input.index()].id.as_str()).collect();
                let columns: Vec<_> =
                    node.schema.fields().iter().map(|field| field.name().as_str()).collect();
                let (id, op) = (&node.id, node.op.name());
                format!(
                    "{id} <- {}: {op} {} -> {}",
                    inputs.join(", "),
                    detail(plan, node),
                    columns.join(", ")
                )
            })
            .collect()
    }
}
