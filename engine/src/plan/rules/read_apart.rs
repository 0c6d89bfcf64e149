//! `read_apart`: a columnar file that several nodes read is read for each of them.
//!
//! A node with several readers is kept whole, in memory or on disk, and what is kept has the columns
//! and rows that any of them wants. Decoding the few columns and rows of each once more costs less,
//! and what one reader's conditions and joins rule out is not decoded for it. So readers of Parquet
//! and Arrow files on disk, and filters above them that can't fail, stand once for each node that reads
//! them. What is behind a URL is fetched once; `cache` keeps rows as before.

use super::{Nodes, root};
use crate::{
    disk::remote::is_remote,
    plan::{Node, NodeIndex, Op},
};

/// Applies the rule.
pub(super) fn apply(nodes: &mut Nodes) -> Vec<String> {
    let mut done = Vec::new();
    // A filter stands behind what it reads, and is taken apart before it.
    for at in (0..nodes.0.len()).rev() {
        if !is_cheap(nodes, at) {
            continue;
        }
        let readers: Vec<(usize, usize)> = readers(nodes, at);
        if readers.len() < 2 {
            continue;
        }
        let id = nodes.0[at].id.clone();
        for (reader, edge) in &readers[1..] {
            let Node { op, inputs, schema, order, .. } = nodes.0[at].clone();
            let helper = format!("{}.again", root(&id));
            let added = nodes.add(&helper, op, NodeIndex(0), schema, order);
            nodes.0[added.index()].inputs = inputs;
            nodes.0[*reader].inputs[*edge] = added;
        }
        done.push(format!("`{id}` is computed {} times, and not kept", readers.len()));
    }
    done
}

/// Who reads a node, and as which of its inputs.
fn readers(nodes: &Nodes, at: usize) -> Vec<(usize, usize)> {
    let edges = nodes.0.iter().enumerate().flat_map(|(reader, node)| {
        node.inputs.iter().enumerate().map(move |(edge, input)| (reader, edge, input))
    });
    edges
        .filter(|(_, _, input)| input.index() == at)
        .map(|(reader, edge, _)| (reader, edge))
        .collect()
}

/// Whether a node is a columnar file on disk, or conditions on one.
fn is_cheap(nodes: &Nodes, at: usize) -> bool {
    let mut node = &nodes.0[at];
    loop {
        match &node.op {
            Op::Filter { predicate } if !predicate.0.is_fallible() => {
                node = &nodes.0[node.inputs[0].index()];
            }
            Op::Read(read) => {
                return read.format.is_columnar()
                    && read.files.iter().all(|file| !is_remote(&file.path));
            }
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::document_nodes, apply};
    use crate::{formats::Format, plan::Op};

    /// The edges of a graph before and after the rule, as `reader <- input`.
    fn edges(format: Option<&Format>) -> Vec<String> {
        let mut nodes = document_nodes(
            r#"{"nodes": [
                {"id": "r", "op": "read_csv", "path": "a.csv", "header": true},
                {"id": "f", "op": "filter", "where": "k > 1"},
                {"id": "a", "op": "distinct"},
                {"id": "b", "op": "distinct"},
                {"id": "c", "op": "distinct"}],
              "edges": [["r", "f"], ["f", "a"], ["f", "b"], ["r", "c"]]}"#,
        );
        for node in &mut nodes.0 {
            if let (Op::Read(read), Some(format)) = (&mut node.op, format) {
                read.format = format.clone();
            }
        }
        apply(&mut nodes);
        let nodes = nodes.in_order();
        let edge = |reader: usize| {
            let inputs = nodes[reader].inputs.iter().map(|input| nodes[input.index()].id.clone());
            inputs.map(|input| format!("{} <- {input}", nodes[reader].id)).collect::<Vec<_>>()
        };
        let mut edges: Vec<String> = (0..nodes.len()).flat_map(edge).collect();
        edges.sort_unstable();
        edges
    }

    #[test]
    fn each_reader_of_a_columnar_file_has_one_of_its_own() {
        assert_eq!(
            edges(Some(&Format::Parquet)),
            ["a <- f", "b <- f.again", "c <- r.again", "f <- r", "f.again <- r.again2"]
        );
    }

    #[test]
    fn text_is_read_once() {
        assert_eq!(edges(None), ["a <- f", "b <- f", "c <- r", "f <- r"]);
    }
}
