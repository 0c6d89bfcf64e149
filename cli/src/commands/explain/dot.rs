//! A plan as a graph for Graphviz: `minispark explain job.json --format dot | dot -Tsvg`.

use minispark_engine::plan::explain::Explanation;

use crate::units::show_count;

/// The nodes with the rows that go from one to the next: counted where they were, else estimated.
pub(super) fn graph(plan: &Explanation) -> String {
    let mut lines = vec![
        format!("digraph {} {{", quoted(&plan.name)),
        String::from("  rankdir = LR;"),
        String::from("  node [shape = box, fontname = \"sans-serif\"];"),
    ];
    for node in &plan.nodes {
        let label = format!("{}\n{} {}", node.id, node.op, shortened(&node.detail));
        lines.push(format!("  {} [label = {}];", quoted(&node.id), quoted(&label)));
    }
    for node in &plan.nodes {
        for input in &node.inputs {
            let rows = plan.nodes.iter().find(|known| known.id == *input).map(|known| {
                known.actual.map_or_else(
                    || format!("about {}", show_count(known.estimate.rows)),
                    |actual| show_count(actual.rows_out),
                )
            });
            let (from, to) = (quoted(input), quoted(&node.id));
            let label = quoted(&rows.unwrap_or_default());
            lines.push(format!("  {from} -> {to} [label = {label}];"));
        }
    }
    lines.push(String::from("}\n"));
    lines.join("\n")
}

fn shortened(text: &str) -> String {
    const CHARACTERS: usize = 60;
    if text.chars().count() <= CHARACTERS {
        return String::from(text);
    }
    text.chars().take(CHARACTERS).chain("…".chars()).collect()
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}
