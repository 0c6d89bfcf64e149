//! Nodes and edges: ids, dangling edges, cycles, arity, and an order in which every node stands
//! behind its inputs.

use hashbrown::HashMap;

use super::{MAX_EDGES, MAX_ID_LENGTH, MAX_NODES, ProblemCode, Report, fields::Fields};
use crate::{expr::parse::nearest, job::Json};

/// A document's nodes and edges; node numbers are places in the document.
pub(super) struct Graph<'a> {
    /// The nodes; `None` where one is no object.
    pub(super) nodes: Vec<Option<Vertex<'a>>>,
    /// Every node number once, behind those it reads.
    pub(super) order: Vec<usize>,
}

/// A node and its place in the graph.
pub(super) struct Vertex<'a> {
    /// Its members.
    pub(super) fields: Fields<'a>,
    /// Its id; empty where it is missing.
    pub(super) id: &'a str,
    /// Whose rows it takes, in edge order. An edge that closes a cycle is not among them.
    pub(super) inputs: Vec<usize>,
    /// How many edges end at it.
    pub(super) edges_in: usize,
    /// How many edges begin at it.
    pub(super) edges_out: usize,
    /// Whether one of its edges could not be told.
    pub(super) has_lost_edge: bool,
}

impl<'a> Graph<'a> {
    /// Reads `dag.nodes` and `dag.edges`.
    pub(super) fn read(dag: &Fields<'a>, report: &mut Report) -> Option<Self> {
        let nodes = list(dag, "nodes", MAX_NODES, report);
        let edges = if dag.has("edges") { list(dag, "edges", MAX_EDGES, report)? } else { &[] };
        let Some(nodes) = nodes else {
            if !dag.has("nodes") {
                let message = "a dag has at least one node";
                report.problem("/dag/nodes", ProblemCode::EmptyDag, message);
            }
            return None;
        };
        if nodes.is_empty() {
            report.problem("/dag/nodes", ProblemCode::EmptyDag, "a dag has at least one node");
            return None;
        }
        let mut graph = Self { nodes: Vec::with_capacity(nodes.len()), order: Vec::new() };
        let mut ids = HashMap::new();
        for (index, node) in nodes.iter().enumerate() {
            let vertex = vertex(index, node, &mut ids, report);
            graph.nodes.push(vertex);
        }
        let mut readers = vec![Vec::new(); nodes.len()];
        for (index, edge) in edges.iter().enumerate() {
            graph.add_edge(index, edge, &ids, &mut readers, report);
        }
        graph.order = graph.sorted(&readers);
        Some(graph)
    }

    fn add_edge(
        &mut self,
        index: usize,
        edge: &Json,
        ids: &HashMap<&'a str, usize>,
        readers: &mut [Vec<usize>],
        report: &mut Report,
    ) {
        let pointer = format!("/dag/edges/{index}");
        let ends = match edge {
            Json::List(ends) => ends.as_slice(),
            _ => &[],
        };
        let [Json::Text(from), Json::Text(to)] = ends else {
            let message = "expected an array of two node ids, [from, to]";
            report.problem(pointer, ProblemCode::WrongType, message);
            // It may have been any node's edge: nobody's arity is known any more.
            self.nodes.iter_mut().flatten().for_each(|vertex| vertex.has_lost_edge = true);
            return;
        };
        let mut find = |end: usize, id: &str| {
            let found = ids.get(id).copied();
            if found.is_none() {
                let suggestion = nearest(id, ids.keys().copied());
                let (pointer, message) = (format!("{pointer}/{end}"), format!("no node `{id}`"));
                report.suggest(pointer, ProblemCode::UnknownNode, message, suggestion);
            }
            found
        };
        let (source, target) = (find(0, from), find(1, to));
        for (vertex, is_whole) in [(source, target.is_some()), (target, source.is_some())] {
            if let Some(vertex) = vertex.and_then(|vertex| self.nodes[vertex].as_mut()) {
                vertex.has_lost_edge |= !is_whole;
            }
        }
        let (Some(source), Some(target)) = (source, target) else { return };
        if let Some(vertex) = &mut self.nodes[source] {
            vertex.edges_out += 1;
        }
        if let Some(vertex) = &mut self.nodes[target] {
            vertex.edges_in += 1;
        }
        if let Some(path) = path(readers, target, source) {
            let way = path.iter().chain([&target]).map(|node| self.id(*node));
            let cycle = way.collect::<Vec<_>>().join(" -> ");
            let message = format!("closes a cycle {cycle}");
            report.problem(pointer, ProblemCode::Cycle, message);
            if let Some(vertex) = &mut self.nodes[target] {
                vertex.has_lost_edge = true;
            }
            return;
        }
        readers[source].push(target);
        if let Some(vertex) = &mut self.nodes[target] {
            vertex.inputs.push(source);
        }
    }

    fn id(&self, node: usize) -> &'a str {
        self.nodes[node].as_ref().map_or("", |vertex| vertex.id)
    }

    /// The nodes behind their inputs, and otherwise as the document has them.
    fn sorted(&self, readers: &[Vec<usize>]) -> Vec<usize> {
        let inputs = |node: &Option<Vertex<'_>>| node.as_ref().map_or(0, |node| node.inputs.len());
        let mut waiting: Vec<usize> = self.nodes.iter().map(inputs).collect();
        let ready = (0..waiting.len()).filter(|node| waiting[*node] == 0);
        let mut ready: std::collections::BTreeSet<usize> = ready.collect();
        let mut order = Vec::with_capacity(waiting.len());
        while let Some(node) = ready.pop_first() {
            order.push(node);
            for reader in &readers[node] {
                waiting[*reader] -= 1;
                if waiting[*reader] == 0 {
                    ready.insert(*reader);
                }
            }
        }
        order
    }
}

/// An array with at most `most` items.
fn list<'a>(dag: &Fields<'a>, name: &str, most: usize, report: &mut Report) -> Option<&'a [Json]> {
    match dag.get(name)? {
        Json::List(items) if items.len() <= most => Some(items),
        Json::List(items) => {
            let message = format!("at most {most} {name}, found {}", items.len());
            report.problem(dag.at(name), ProblemCode::OutOfRange, message);
            None
        }
        other => {
            let message = format!("expected an array, found {}", other.kind());
            report.problem(dag.at(name), ProblemCode::WrongType, message);
            None
        }
    }
}

fn vertex<'a>(
    index: usize,
    node: &'a Json,
    ids: &mut HashMap<&'a str, usize>,
    report: &mut Report,
) -> Option<Vertex<'a>> {
    let pointer = format!("/dag/nodes/{index}");
    let fields = Fields::open(node, &pointer, report)?;
    let has_id = fields.required("id", report).is_some();
    let id = if has_id { fields.text("id", report) } else { None };
    if let Some(id) = id {
        let is_plain = id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        if id.is_empty() || id.len() > MAX_ID_LENGTH || !is_plain {
            let message = format!("an id has 1 to {MAX_ID_LENGTH} characters of A-Z a-z 0-9 _ -");
            report.problem(fields.at("id"), ProblemCode::BadId, message);
        }
        if let Some(first) = ids.get(id) {
            let message = format!("node {first} has the id `{id}` already");
            report.problem(fields.at("id"), ProblemCode::DuplicateId, message);
        } else {
            ids.insert(id, index);
        }
    }
    Some(Vertex {
        fields,
        id: id.unwrap_or_default(),
        inputs: Vec::new(),
        edges_in: 0,
        edges_out: 0,
        has_lost_edge: false,
    })
}

/// The nodes on a way from `from` to `to`, both included.
fn path(readers: &[Vec<usize>], from: usize, to: usize) -> Option<Vec<usize>> {
    let mut came_from = vec![usize::MAX; readers.len()];
    let mut next = vec![from];
    came_from[from] = from;
    while let Some(node) = next.pop() {
        if node == to {
            let mut path = vec![to];
            let mut step = to;
            while step != from {
                step = came_from[step];
                path.push(step);
            }
            path.reverse();
            return Some(path);
        }
        for reader in &readers[node] {
            if came_from[*reader] == usize::MAX {
                came_from[*reader] = node;
                next.push(*reader);
            }
        }
    }
    None
}
