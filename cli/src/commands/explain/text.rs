//! A plan in lines of words.

use minispark_engine::plan::explain::{ActualStage, ExplainedNode, ExplainedStage, Explanation};

use crate::units::{show_bytes, show_count};

/// How many partitions of a stage are shown, those with the most rows first.
const PARTITIONS: usize = 5;

/// The whole plan.
pub(in crate::commands) fn lines(plan: &Explanation) -> Vec<String> {
    let tasks: u32 = plan.stages.iter().map(|stage| stage.tasks).sum();
    let mut lines = vec![format!(
        "{}: {}, {}, {}",
        plan.name,
        counted(plan.nodes.len() as u64, "node"),
        counted(plan.stages.len() as u64, "stage"),
        counted(u64::from(tasks), "task")
    )];
    lines.extend([String::new(), String::from("nodes")]);
    plan.nodes.iter().for_each(|node| lines.extend(node_lines(node)));
    if !plan.rules.is_empty() {
        lines.extend([String::new(), String::from("rules")]);
        lines.extend(plan.rules.iter().map(|done| format!("  {}: {}", done.rule, done.what)));
    }
    lines.extend([String::new(), String::from("stages")]);
    plan.stages.iter().for_each(|stage| lines.extend(stage_lines(stage)));
    let most = plan.stages.iter().max_by_key(|stage| stage.memory_bytes);
    if let Some(most) = most.filter(|stage| stage.memory_bytes > 0) {
        lines.push(String::new());
        lines.push(format!(
            "memory: up to {} a task, in stage {}; what the budget refuses is spilled",
            show_bytes(most.memory_bytes),
            most.id
        ));
    }
    lines
}

fn counted(count: u64, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {what}{plural}", show_count(count))
}

fn node_lines(node: &ExplainedNode) -> [String; 2] {
    let inputs = if node.inputs.is_empty() {
        String::new()
    } else {
        format!(" of {}", node.inputs.join(", "))
    };
    let head = format!("  {}{inputs}: {} {}", node.id, node.op, node.detail);
    let columns: Vec<_> =
        node.columns.iter().map(|column| format!("{} {}", column.name, column.data_type)).collect();
    let mut facts = vec![
        format!("columns: {}", columns.join(", ")),
        format!("order: {}", node.order),
        format!(
            "about {} rows, {}",
            show_count(node.estimate.rows),
            show_bytes(node.estimate.bytes)
        ),
    ];
    if let Some(actual) = node.actual {
        let (taken, given) = (show_count(actual.rows_in), show_count(actual.rows_out));
        facts.push(format!("took {taken} rows and gave {given}"));
    }
    [head.trim_end().to_owned(), format!("      {}", facts.join("; "))]
}

fn stage_lines(stage: &ExplainedStage) -> Vec<String> {
    let mut facts = vec![counted(u64::from(stage.tasks), "task")];
    if stage.splits > 0 {
        facts.push(counted(stage.splits as u64, "split"));
    }
    if !stage.inputs.is_empty() {
        let inputs: Vec<_> = stage.inputs.iter().map(ToString::to_string).collect();
        facts.push(format!("reads stage {}", inputs.join(", ")));
    }
    if stage.memory_bytes > 0 {
        facts.push(format!("up to {} a task", show_bytes(stage.memory_bytes)));
    }
    let mut lines = vec![format!("  stage {}: {}", stage.id, facts.join(", "))];
    for (number, step) in stage.steps.iter().enumerate() {
        let inputs: Vec<_> = step.inputs.iter().map(ToString::to_string).collect();
        // A step that stands on the one before it need not say so.
        let is_next = inputs.is_empty() || step.inputs == [number.wrapping_sub(1)];
        let of = if is_next { String::new() } else { format!(" of {}", inputs.join(", ")) };
        let head = format!("    {number} [{}] {}{of}", step.node, step.what);
        let Some(actual) = step.actual else {
            lines.push(head);
            continue;
        };
        let spilled = match actual.spilled_bytes {
            0 => String::new(),
            bytes => format!(", {} spilled", show_bytes(bytes)),
        };
        lines.push(format!(
            "{head}: {} rows, {}, {} batches, {:.1} ms{spilled}",
            show_count(actual.rows),
            show_bytes(actual.bytes),
            show_count(actual.batches),
            millis(actual.micros)
        ));
    }
    lines.push(format!("    -> {}", stage.output));
    if let Some(actual) = &stage.actual {
        lines.extend(measured(actual));
    }
    lines
}

fn measured(actual: &ActualStage) -> Vec<String> {
    let mut facts = vec![
        format!("{} rows, {}", show_count(actual.rows), show_bytes(actual.bytes)),
        format!("{} ms in all tasks", show_count(actual.elapsed_ms)),
    ];
    if actual.read_bytes > 0 {
        facts.push(format!("{} read", show_bytes(actual.read_bytes)));
    }
    if actual.spilled_bytes > 0 {
        facts.push(format!("{} spilled", show_bytes(actual.spilled_bytes)));
    }
    if actual.partitions.len() > 1 {
        facts.push(format!("skew {:.2}", actual.skew));
    }
    let mut lines = vec![format!("       {}", facts.join(", "))];
    let mut partitions = actual.partitions.clone();
    if partitions.len() > 1 {
        partitions.sort_by_key(|partition| std::cmp::Reverse(partition.rows));
        lines.extend(partitions.iter().take(PARTITIONS).map(|partition| {
            let (rows, bytes) = (show_count(partition.rows), show_bytes(partition.bytes));
            let (number, ms) = (partition.partition, partition.elapsed_ms);
            format!("       partition {number}: {rows} rows, {bytes}, {ms} ms")
        }));
    }
    lines
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn millis(micros: u64) -> f64 {
    micros as f64 / 1000.0
}
