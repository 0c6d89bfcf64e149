//! Plans by hand, and what their tasks compute.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use arrow::datatypes::Schema;
use minispark_engine::{
    formats::WriteFormat,
    id::StageId,
    plan::{
        Distribution, Node, NodeIndex, Op, Order, Output, Plan, Sink, Stage, Step, StepIndex,
        StepKind, Target, Write,
    },
    task::limits::Limits,
};

use crate::Random;

/// One of four shapes, of any size.
pub(crate) fn a_plan(random: &mut Random) -> Plan {
    let mut few = |most| 1 + u32::try_from(random.below(most)).unwrap_or(0);
    let (maps, others, reduces) = (few(12), few(6), few(6));
    let parallelism = few(12);
    let hash = Output::Exchange(Distribution::Hash { keys: Vec::new(), buckets: reduces });
    let forward = Output::Exchange(Distribution::Forward);
    let gather = Output::Exchange(Distribution::Gather { ordered: true });
    let stages = match random.below(4) {
        // Word count: map, reduce and sort, one file.
        0 => vec![
            (maps, vec![], hash),
            (reduces, vec![0], gather),
            (1, vec![1], sink(2, Target::Text)),
        ],
        // A shared node, two ways from it, and their join.
        1 => vec![
            (maps, vec![], forward),
            (maps, vec![0], hash.clone()),
            (maps, vec![0], hash),
            (reduces, vec![1, 2], sink(3, files())),
        ],
        // Two sources and their join.
        2 => vec![
            (maps, vec![], hash.clone()),
            (others, vec![], hash),
            (reduces, vec![0, 1], sink(2, files())),
        ],
        // A shared node written as it is and reduced.
        _ => vec![
            (maps, vec![], forward),
            (maps, vec![0], sink(1, files())),
            (maps, vec![0], hash),
            (reduces, vec![2], gather),
            (1, vec![3], sink(4, Target::Text)),
        ],
    };
    let mut plan = plan_of(stages);
    plan.parallelism = (parallelism > 4).then_some(parallelism);
    plan
}

fn plan_of(stages: Vec<(u32, Vec<u32>, Output)>) -> Plan {
    let nodes = (0..stages.len()).map(|number| Node {
        id: format!("n{number}"),
        op: Op::Limit { offset: 0, n: 0 },
        inputs: Vec::new(),
        schema: Arc::new(Schema::empty()),
        order: Order::None,
    });
    let nodes = nodes.collect();
    let stage = |(number, (partitions, inputs, output)): (u32, (u32, Vec<u32>, Output))| Stage {
        id: StageId(number),
        steps: vec![step(number)],
        output,
        partitions,
        splits: Vec::new(),
        inputs: inputs.into_iter().map(StageId).collect(),
    };
    let stages = (0..).zip(stages).map(stage).collect();
    Plan {
        name: String::from("simulated"),
        parallelism: None,
        limits: Limits::default(),
        nodes,
        stages,
        rules: Vec::new(),
    }
}

/// The scheduler looks at a step's node alone.
fn step(node: u32) -> Step {
    let kind = StepKind::Limit { input: StepIndex(0), offset: 0, n: 0 };
    Step { node: NodeIndex(node), schema: Arc::new(Schema::empty()), kind }
}

fn sink(node: u32, target: Target) -> Output {
    let (id, schema) = (format!("n{node}"), Arc::new(Schema::empty()));
    Output::Sink(Sink { node: NodeIndex(node), id, schema, target, ordered: true })
}

fn files() -> Target {
    let path = PathBuf::from("out");
    Target::Files(Write::of(path, WriteFormat::Text))
}

/// What a task computes from what it reads: another input gives another number.
pub(crate) fn number_of(stage: StageId, partition: u32, inputs: &[u64]) -> u64 {
    let mut mixed = Random(u64::from(stage.0) << 32 | u64::from(partition));
    inputs.iter().fold(mixed.next(), |sum, input| Random(sum ^ input).next())
}

/// The numbers of every stage, computed without workers.
pub(crate) fn expected_results(plan: &Plan) -> BTreeMap<StageId, Vec<u64>> {
    let mut results = BTreeMap::<StageId, Vec<u64>>::new();
    for stage in &plan.stages {
        let number = |partition| {
            let read = |input: &StageId| {
                if own_alone(plan, *input) {
                    vec![results[input][partition as usize]]
                } else {
                    results[input].clone()
                }
            };
            let inputs: Vec<_> = stage.inputs.iter().flat_map(read).collect();
            number_of(stage.id, partition, &inputs)
        };
        let numbers = (0..stage.partitions).map(number).collect();
        results.insert(stage.id, numbers);
    }
    results
}

/// Whether each reading task gets the output of its own partition and no other.
pub(crate) fn own_alone(plan: &Plan, stage: StageId) -> bool {
    matches!(plan.stages[stage.index()].output, Output::Exchange(Distribution::Forward))
}
