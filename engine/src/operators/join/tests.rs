//! Joins of every kind against nested loops, and what a process shares.

use std::{
    cmp::Ordering,
    sync::{Arc, atomic},
};

use arrow::{
    array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringViewArray},
    datatypes::{DataType, Field, Int64Type, Schema},
};
use proptest::prelude::*;
use tempfile::TempDir;

use super::{Join, JoinInput, shared::BuildKey};
use crate::{
    Error, Result,
    disk::RealDisk,
    expr::{Expr, parse},
    id::{JobId, StageId},
    memory::spill::tests::{FaultyDisk, context},
    operators::{Batches, Operator, hash::Hash},
    plan::{JoinCondition, JoinRows, ProbeColumn, StepIndex, with_hash_column},
    source::runtime_filter::RuntimeFilter,
    task::context::TaskContext,
};

const INNER: JoinRows = JoinRows::Pairs { lonely_probe: false, lonely_build: false };
const OUTER: JoinRows = JoinRows::Pairs { lonely_probe: true, lonely_build: false };

/// A text, a float (the two keys) and a number that tells the rows apart.
type Row = (Option<String>, Option<f64>, i64);

/// How rows are joined.
#[derive(Clone, Debug)]
struct Kind {
    rows: JoinRows,
    /// Which of the two keys.
    keys: Vec<usize>,
    null_safe: bool,
    /// Whether the inputs bring their keys' hash.
    is_hashed: bool,
    /// Over the probe side as `l` and the build side as `r`.
    condition: Option<&'static str>,
}

impl Kind {
    fn of(rows: JoinRows, keys: &[usize]) -> Self {
        Self { rows, keys: keys.to_vec(), null_safe: false, is_hashed: true, condition: None }
    }
}

fn schema() -> Schema {
    Schema::new(vec![
        Field::new("text", DataType::Utf8View, true),
        Field::new("float", DataType::Float64, true),
        Field::new("row", DataType::Int64, false),
    ])
}

fn batch(rows: &[Row]) -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|row| row.0.as_deref()).collect::<StringViewArray>()),
        Arc::new(rows.iter().map(|row| row.1).collect::<Float64Array>()),
        Arc::new(rows.iter().map(|row| Some(row.2)).collect::<Int64Array>()),
    ];
    RecordBatch::try_new(Arc::new(schema()), columns).unwrap()
}

fn keys(which: &[usize]) -> Vec<Expr> {
    which.iter().map(|index| parse::column(&schema(), *index)).collect()
}

fn condition(text: &str) -> JoinCondition {
    let predicate = parse::join_condition(text, &schema(), &schema()).unwrap();
    let column = |index| {
        let column =
            if index < 3 { ProbeColumn::Probe(index) } else { ProbeColumn::Build(index - 3) };
        predicate.0.reads(index).then_some(column)
    };
    JoinCondition { columns: (0..6).map(column).collect(), predicate }
}

/// Joins: probe side's row number, build side's, the text of the one or else the other.
fn input(probe: &[RecordBatch], build: &[RecordBatch], kind: &Kind) -> JoinInput {
    let hashed = |batches: &[RecordBatch]| -> Box<dyn Operator> {
        let input = Box::new(Batches::new(batches.to_vec()));
        if !kind.is_hashed {
            return input;
        }
        Box::new(Hash::new(input, keys(&kind.keys), with_hash_column(&schema())))
    };
    let fields = vec![
        Field::new("probe", DataType::Int64, true),
        Field::new("build", DataType::Int64, true),
        Field::new("text", DataType::Utf8View, true),
    ];
    let columns = match kind.rows {
        JoinRows::Pairs { .. } => vec![
            ProbeColumn::Probe(2),
            ProbeColumn::Build(2),
            ProbeColumn::Either { probe: 0, build: 0, prefers_build: kind.keys.len() == 1 },
        ],
        JoinRows::ProbeWith | JoinRows::ProbeWithout { .. } => {
            vec![ProbeColumn::Probe(2), ProbeColumn::Probe(2), ProbeColumn::Probe(0)]
        }
        JoinRows::BuildWith | JoinRows::BuildWithout => {
            vec![ProbeColumn::Build(2), ProbeColumn::Build(2), ProbeColumn::Build(0)]
        }
    };
    JoinInput {
        probe: hashed(probe),
        build: hashed(build),
        probe_keys: keys(&kind.keys),
        build_keys: keys(&kind.keys),
        is_hashed: kind.is_hashed,
        null_safe: kind.null_safe,
        condition: kind.condition.map(condition),
        rows: kind.rows,
        columns,
        schema: Arc::new(Schema::new(fields)),
        build_schema: if kind.is_hashed { with_hash_column(&schema()) } else { Arc::new(schema()) },
        shared: None,
        filters: Vec::new(),
    }
}

fn run(input: JoinInput, context: &TaskContext) -> Result<Vec<RecordBatch>> {
    let mut join = Join::new(input, context);
    let mut batches = Vec::new();
    while let Some(batch) = join.next()? {
        assert!((1..=8192).contains(&batch.num_rows()));
        batches.push(batch);
    }
    assert!(join.next()?.is_none());
    Ok(batches)
}

fn joined(
    probe: &[RecordBatch],
    build: &[RecordBatch],
    kind: &Kind,
    budget_bytes: u64,
) -> Result<Vec<RecordBatch>> {
    let folder = TempDir::new().unwrap();
    let context = context(RealDisk::shared(), folder.path(), budget_bytes);
    let batches = run(input(probe, build, kind), &context)?;
    assert_eq!(context.budget.used_bytes(), 0);
    Ok(batches)
}

/// A join that has no memory at all and takes none beyond a batch: all of it goes through files,
/// again and again, and chunk by chunk in the end.
fn spilled(probe: &[RecordBatch], build: &[RecordBatch], kind: &Kind) -> Vec<RecordBatch> {
    let folder = TempDir::new().unwrap();
    let disk = FaultyDisk::counting();
    let context = context(Arc::clone(&disk) as _, folder.path(), 0);
    let mut join = Join::new(input(probe, build, kind), &context);
    join.shape.least_bytes = 0;
    let mut batches = Vec::new();
    while let Some(batch) = join.next().unwrap() {
        assert!((1..=8192).contains(&batch.num_rows()));
        batches.push(batch);
    }
    assert!(join.next().unwrap().is_none());
    assert_eq!((context.budget.used_bytes(), disk.file_count()), (0, 0));
    batches
}

type Pair = (Option<i64>, Option<i64>, Option<String>);

fn pairs(batches: &[RecordBatch]) -> Vec<Pair> {
    let mut pairs = Vec::new();
    for batch in batches {
        let number = |column: usize, row: usize| {
            let column = batch.column(column).as_primitive::<Int64Type>();
            column.is_valid(row).then(|| column.value(row))
        };
        let texts = batch.column(2).as_string_view();
        for row in 0..batch.num_rows() {
            let text = texts.is_valid(row).then(|| texts.value(row).to_owned());
            pairs.push((number(0, row), number(1, row), text));
        }
    }
    pairs
}

/// SQL's `=` of some keys, with NaN equal to NaN; `None` where a null decides.
fn equal(left: &Row, right: &Row, kind: &Kind) -> bool {
    let both = |order: Option<Ordering>, nulls: (bool, bool)| match nulls {
        (false, false) => order == Some(Ordering::Equal),
        (true, true) => kind.null_safe,
        _ => false,
    };
    kind.keys.iter().all(|key| {
        if *key == 0 {
            return both(Some(left.0.cmp(&right.0)), (left.0.is_none(), right.0.is_none()));
        }
        let order = left.1.zip(right.1).map(|(left, right)| {
            if left.is_nan() && right.is_nan() {
                Ordering::Equal
            } else {
                left.partial_cmp(&right).unwrap_or(Ordering::Less)
            }
        });
        both(order, (left.1.is_none(), right.1.is_none()))
    })
}

/// What the conditions of the tests say.
fn holds(left: &Row, right: &Row, condition: Option<&str>) -> bool {
    match condition {
        None => true,
        Some("l.row < r.row") => left.2 < right.2,
        Some("(l.row + r.row) % 3 = 0") => (left.2 + right.2) % 3 == 0,
        Some("l.float > r.float") => match (left.1, right.1) {
            (Some(left), Some(right)) => left > right || (left.is_nan() && !right.is_nan()),
            _ => false,
        },
        Some("false") => false,
        Some(other) => panic!("{other}"),
    }
}

const CONDITIONS: [Option<&str>; 5] = [
    None,
    Some("l.row < r.row"),
    Some("(l.row + r.row) % 3 = 0"),
    Some("l.float > r.float"),
    Some("false"),
];

/// The obvious model.
fn nested_loops(probe: &[Row], build: &[Row], kind: &Kind) -> Vec<Pair> {
    let is_pair =
        |left: &Row, right: &Row| equal(left, right, kind) && holds(left, right, kind.condition);
    let alone = |row: &Row| (Some(row.2), Some(row.2), row.0.clone());
    let probe_with = |with: bool| {
        let chosen =
            probe.iter().filter(|left| build.iter().any(|right| is_pair(left, right)) == with);
        chosen.map(alone).collect()
    };
    let build_with = |with: bool| {
        let chosen =
            build.iter().filter(|right| probe.iter().any(|left| is_pair(left, right)) == with);
        chosen.map(alone).collect::<Vec<_>>()
    };
    match kind.rows {
        JoinRows::Pairs { lonely_probe, lonely_build } => {
            let mut pairs = Vec::new();
            for left in probe {
                let partners: Vec<&Row> =
                    build.iter().filter(|right| is_pair(left, right)).collect();
                if lonely_probe && partners.is_empty() {
                    pairs.push((Some(left.2), None, left.0.clone()));
                }
                let text = |right: &Row| {
                    if kind.keys.len() == 1 { right.0.clone() } else { left.0.clone() }
                };
                pairs.extend(
                    partners.iter().map(|right| (Some(left.2), Some(right.2), text(right))),
                );
            }
            if lonely_build {
                let lonely = build_with(false).into_iter();
                pairs.extend(lonely.map(|(_, row, text)| (None, row, text)));
            }
            pairs
        }
        JoinRows::ProbeWith => probe_with(true),
        JoinRows::ProbeWithout { null_aware: false } => probe_with(false),
        JoinRows::ProbeWithout { null_aware: true } => {
            // `not in`, by its definition: not (x = a or x = b or ...), with three values.
            let is_null = |row: &Row| {
                kind.keys.iter().any(|key| match key {
                    0 => row.0.is_none(),
                    _ => row.1.is_none(),
                })
            };
            let is_in = |left: &Row| {
                let values = build.iter().map(|right| {
                    if is_null(left) || is_null(right) {
                        None
                    } else {
                        Some(equal(left, right, kind))
                    }
                });
                let values: Vec<_> = values.collect();
                if values.contains(&Some(true)) {
                    return Some(true);
                }
                values.into_iter().all(|value| value == Some(false)).then_some(false)
            };
            probe.iter().filter(|left| is_in(left) == Some(false)).map(alone).collect()
        }
        JoinRows::BuildWith => build_with(true),
        JoinRows::BuildWithout => build_with(false),
    }
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let texts = prop_oneof![
        1 => Just(None),
        1 => Just(Some(String::new())),
        3 => "[ab]".prop_map(Some),
        2 => "a long key, with \"quotes\"\n[ab]".prop_map(Some),
    ];
    let floats = vec![None, Some(0.0), Some(-0.0), Some(f64::NAN), Some(-f64::NAN), Some(1.5)];
    let row = (texts, prop::sample::select(floats));
    prop_oneof![
        1 => Just(Vec::new()),
        9 => prop::collection::vec(row, 0..60).prop_map(|rows| {
            (0..).zip(rows).map(|(number, (text, float))| (text, float, number)).collect()
        }),
    ]
}

fn join_rows() -> impl Strategy<Value = JoinRows> {
    prop_oneof![
        4 => (any::<bool>(), any::<bool>())
            .prop_map(|(lonely_probe, lonely_build)| JoinRows::Pairs { lonely_probe, lonely_build }),
        1 => Just(JoinRows::ProbeWith),
        1 => Just(JoinRows::ProbeWithout { null_aware: false }),
        1 => Just(JoinRows::BuildWith),
        1 => Just(JoinRows::BuildWithout),
    ]
}

fn sorted(mut pairs: Vec<Pair>) -> Vec<Pair> {
    pairs.sort();
    pairs
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn every_kind_gives_the_rows_of_nested_loops(
        probe in rows(),
        build in rows(),
        rows in join_rows(),
        keys in prop::sample::subsequence(vec![0, 1], 0..=2),
        null_safe in any::<bool>(),
        is_hashed in any::<bool>(),
        condition in prop::sample::select(CONDITIONS.to_vec()),
        batch_rows in 1usize..70,
    ) {
        let kind = Kind { rows, keys, null_safe, is_hashed, condition };
        let batches = |side: &[Row]| side.chunks(batch_rows).map(batch).collect::<Vec<_>>();
        let found = joined(&batches(&probe), &batches(&build), &kind, u64::MAX).unwrap();
        prop_assert_eq!(sorted(pairs(&found)), sorted(nested_loops(&probe, &build, &kind)));
    }

    #[test]
    fn every_kind_gives_the_same_rows_when_both_sides_are_in_files(
        probe in rows(),
        build in rows(),
        rows in join_rows(),
        keys in prop::sample::subsequence(vec![0, 1], 0..=2),
        null_safe in any::<bool>(),
        is_hashed in any::<bool>(),
        condition in prop::sample::select(CONDITIONS.to_vec()),
        batch_rows in 1usize..70,
    ) {
        let kind = Kind { rows, keys, null_safe, is_hashed, condition };
        let batches = |side: &[Row]| side.chunks(batch_rows).map(batch).collect::<Vec<_>>();
        let found = spilled(&batches(&probe), &batches(&build), &kind);
        prop_assert_eq!(sorted(pairs(&found)), sorted(nested_loops(&probe, &build, &kind)));
    }

    #[test]
    fn not_in_is_the_same_when_both_sides_are_in_files(
        probe in rows(),
        build in prop_oneof![rows(), rows().prop_map(|rows| {
            rows.into_iter().filter(|row| row.0.is_some()).collect()
        })],
        is_hashed in any::<bool>(),
    ) {
        let kind = Kind::of(JoinRows::ProbeWithout { null_aware: true }, &[0]);
        let kind = Kind { is_hashed, ..kind };
        let batches = |side: &[Row]| side.chunks(7).map(batch).collect::<Vec<_>>();
        let found = spilled(&batches(&probe), &batches(&build), &kind);
        prop_assert_eq!(sorted(pairs(&found)), sorted(nested_loops(&probe, &build, &kind)));
    }

    #[test]
    fn without_a_condition_pairs_come_in_the_probe_sides_order(
        probe in rows(),
        build in rows(),
        which in prop::sample::subsequence(vec![0, 1], 1..=2),
        lonely_probe in any::<bool>(),
    ) {
        let kind = Kind::of(JoinRows::Pairs { lonely_probe, lonely_build: false }, &which);
        let found = joined(&[batch(&probe)], &[batch(&build)], &kind, u64::MAX).unwrap();
        prop_assert_eq!(pairs(&found), nested_loops(&probe, &build, &kind));
    }

    #[test]
    fn not_in_is_what_three_valued_logic_makes_of_it(
        probe in rows(),
        build in prop_oneof![rows(), rows().prop_map(|rows| {
            rows.into_iter().filter(|row| row.0.is_some()).collect()
        })],
    ) {
        let kind = Kind::of(JoinRows::ProbeWithout { null_aware: true }, &[0]);
        let found = joined(&[batch(&probe)], &[batch(&build)], &kind, u64::MAX).unwrap();
        prop_assert_eq!(pairs(&found), nested_loops(&probe, &build, &kind));
    }
}

fn repeated(key: &str, rows: i64) -> Vec<Row> {
    (0..rows).map(|number| (Some(key.to_owned()), None, number)).collect()
}

#[test]
fn repeated_keys_on_both_sides_all_join_in_bounded_batches() {
    let (probe, build) = (batch(&repeated("k", 3)), batch(&repeated("k", 20_000)));
    let batches = joined(&[probe], &[build], &Kind::of(INNER, &[0]), u64::MAX).unwrap();
    let rows: Vec<usize> = batches.iter().map(RecordBatch::num_rows).collect();
    assert_eq!(rows, [8192, 8192, 8192, 8192, 8192, 8192, 8192, 2656]);
    let found = pairs(&batches);
    let expected = (0..60_000).map(|n| (Some(n / 20_000), Some(n % 20_000), Some("k".to_owned())));
    assert!(found.into_iter().eq(expected));
}

#[test]
fn a_condition_decides_over_the_partners_of_many_batches_of_pairs() {
    let (probe, build) = ([batch(&repeated("k", 3))], [batch(&repeated("k", 20_000))]);
    // Row 1 has its only partner far behind; rows 0 and 2 have none.
    let kind =
        |rows| Kind { condition: Some("l.row = 1 and r.row = 19999"), ..Kind::of(rows, &[0]) };
    let found = |rows| {
        pairs(&joined(&probe, &build, &kind(rows), u64::MAX).unwrap())
            .into_iter()
            .map(|(probe, build, _)| (probe, build))
            .collect::<Vec<_>>()
    };
    assert_eq!(found(OUTER), [(Some(1), Some(19_999)), (Some(0), None), (Some(2), None)]);
    assert_eq!(found(JoinRows::ProbeWith), [(Some(1), Some(1))]);
    assert_eq!(found(JoinRows::BuildWith), [(Some(19_999), Some(19_999))]);
    let lonely = found(JoinRows::BuildWithout);
    assert_eq!(lonely.len(), 19_999);
    assert_eq!(lonely[19_998], (Some(19_998), Some(19_998)));
}

#[test]
fn an_empty_build_side_leaves_the_probe_side_alone() {
    let probe = [batch(&repeated("k", 2))];
    let found = |first: &[RecordBatch], second: &[RecordBatch], rows| {
        pairs(&joined(first, second, &Kind::of(rows, &[0]), u64::MAX).unwrap())
    };
    assert!(found(&probe, &[], INNER).is_empty());
    let text = || Some("k".to_owned());
    assert_eq!(found(&probe, &[], OUTER), [(Some(0), None, text()), (Some(1), None, text())]);
    assert!(found(&[], &probe, OUTER).is_empty());
    let full = JoinRows::Pairs { lonely_probe: true, lonely_build: true };
    assert_eq!(found(&[], &probe, full), [(None, Some(0), text()), (None, Some(1), text())]);
}

#[test]
fn keys_of_a_megabyte_join() {
    let (mut first, mut second) = ("x".repeat(1 << 20), "x".repeat(1 << 20));
    first.push('1');
    second.push('2');
    let probe = batch(&[(Some(first.clone()), None, 0), (Some(second), None, 1)]);
    let build = batch(&[(Some(first.clone()), None, 7)]);
    let found = joined(&[probe], &[build], &Kind::of(INNER, &[0]), u64::MAX).unwrap();
    assert_eq!(pairs(&found), [(Some(0), Some(7), Some(first))]);
}

fn many() -> RecordBatch {
    let rows: Vec<Row> = (0..5_000).map(|n| (Some(format!("{n:020}")), None, n)).collect();
    batch(&rows)
}

#[test]
fn each_of_several_keys_is_told_to_sources() {
    let row = |text: &str, float, number| (Some(text.to_owned()), Some(float), number);
    let build = batch(&[row("a", 1.0, 0), row("b", 2.0, 1)]);
    let told = [RuntimeFilter::default(), RuntimeFilter::default()];
    let mut asked = input(&[batch(&[])], &[build], &Kind::of(INNER, &[0, 1]));
    asked.filters = told.iter().cloned().enumerate().collect();
    let folder = TempDir::new().unwrap();
    run(asked, &context(RealDisk::shared(), folder.path(), u64::MAX)).unwrap();
    let texts: ArrayRef = Arc::new(StringViewArray::from(vec![Some("b"), None, Some("elsewhere")]));
    let found = |key: usize, values: &ArrayRef| {
        let found = told[key].keys().unwrap().contains(values).unwrap();
        found.iter().collect::<Vec<_>>()
    };
    assert_eq!(found(0, &texts), [true, false, false]);
    let floats: ArrayRef = Arc::new(Float64Array::from(vec![1.0, 2.0, 41.5]));
    assert_eq!(found(1, &floats), [true, true, false]);
}

#[test]
fn a_build_side_beyond_the_budget_is_joined_through_files() {
    let side = |count: i64| -> Vec<RecordBatch> {
        let row = |n| (Some(format!("{:020}", n % 60_000)), None, n);
        let rows: Vec<Row> = (0..count).map(row).collect();
        rows.chunks(8_192).map(batch).collect()
    };
    let (probe, build) = (side(30_000), side(90_000));
    let folder = TempDir::new().unwrap();
    let context = context(RealDisk::shared(), folder.path(), 3_000_000);
    let found = run(input(&probe, &build, &Kind::of(INNER, &[0])), &context).unwrap();
    assert!(context.spilled_bytes.load(atomic::Ordering::Relaxed) > 3_000_000);
    assert!(context.budget.peak_bytes() < 4_500_000, "{}", context.budget.peak_bytes());
    let mut rows: Vec<_> = pairs(&found)
        .into_iter()
        .map(|(of_probe, of_build, _)| (of_probe.unwrap(), of_build.unwrap()))
        .collect();
    rows.sort_unstable();
    // Every key below 30,000 stands on the build side twice.
    let expected = (0..30_000).flat_map(|n| [(n, n), (n, n + 60_000)]);
    assert!(rows.into_iter().eq(expected));
}

#[test]
fn a_key_with_half_of_all_rows_is_joined_in_little_memory() {
    let row = |n: i64| match n % 2 {
        0 => (Some(String::from("hot")), None, n),
        _ => (Some(format!("{n:020}")), None, n),
    };
    let side = |rows: i64| -> Vec<RecordBatch> {
        let rows: Vec<Row> = (0..rows).map(row).collect();
        rows.chunks(8_192).map(batch).collect()
    };
    let (probe, build) = (side(2_000), side(80_000));
    let count = |kept, condition| {
        let folder = TempDir::new().unwrap();
        let context = context(RealDisk::shared(), folder.path(), 2_000_000);
        let kind = Kind { condition, ..Kind::of(kept, &[0]) };
        let mut join = Join::new(input(&probe, &build, &kind), &context);
        let mut rows = 0;
        while let Some(batch) = join.next().unwrap() {
            rows += batch.num_rows();
        }
        assert!(context.spilled_bytes.load(atomic::Ordering::Relaxed) > 1_000_000);
        assert!(context.budget.peak_bytes() < 4_000_000, "{}", context.budget.peak_bytes());
        rows
    };
    assert_eq!(count(INNER, None), 1_000 * 40_000 + 1_000);
    assert_eq!(count(JoinRows::ProbeWith, None), 2_000);
    assert_eq!(count(JoinRows::BuildWithout, None), 40_000 - 1_000);
    // Only the last row of the build side is a partner of the hot rows.
    assert_eq!(count(OUTER, Some("r.row = 79998")), 2_000);
    assert_eq!(count(JoinRows::ProbeWithout { null_aware: false }, Some("r.row = 79998")), 1_000);
}

fn key(job: JobId) -> BuildKey {
    BuildKey { job, stage: StageId(1), step: StepIndex(2) }
}

/// An input that counts how often it is read, and may refuse at first.
struct Counted {
    input: Batches,
    begun: Option<Arc<atomic::AtomicU32>>,
    refusals: u32,
}

impl Operator for Counted {
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        if let Some(begun) = self.begun.take()
            && begun.fetch_add(1, atomic::Ordering::Relaxed) < self.refusals
        {
            return Err(Error::Internal(String::from("refused")));
        }
        self.input.next()
    }
}

/// Joins of tasks of one stage, that count how often their build side is read.
fn shared(
    context: &TaskContext,
    job: JobId,
    tasks: u32,
    refusals: u32,
) -> (Vec<Join>, Arc<atomic::AtomicU32>) {
    let begun = Arc::new(atomic::AtomicU32::new(0));
    let join = |task| {
        let probe = [batch(&repeated(&format!("{task:020}"), 2))];
        let mut input = input(&probe, &[], &Kind::of(INNER, &[0]));
        let half = many().num_rows() / 2;
        let counted = Counted {
            input: Batches::new(vec![many().slice(0, half), many().slice(half, half)]),
            begun: Some(Arc::clone(&begun)),
            refusals,
        };
        let hashed = Hash::new(Box::new(counted), keys(&[0]), with_hash_column(&schema()));
        input.build = Box::new(hashed);
        input.shared = Some((key(job), tasks));
        Join::new(input, context)
    };
    ((0..tasks).map(join).collect(), begun)
}

fn rows_of(mut join: Join) -> Result<usize> {
    let mut rows = 0;
    while let Some(batch) = join.next()? {
        rows += batch.num_rows();
    }
    Ok(rows)
}

#[test]
fn a_shared_build_side_is_built_once_and_goes_with_the_last_task() {
    let folder = TempDir::new().unwrap();
    let context = context(RealDisk::shared(), folder.path(), u64::MAX);
    let (joins, begun) = shared(&context, JobId::random(), 8, 0);
    let rows: Vec<usize> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            joins.into_iter().map(|join| scope.spawn(|| rows_of(join).unwrap())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(rows, [2; 8]);
    assert_eq!(begun.load(atomic::Ordering::Relaxed), 1);
    assert_eq!(context.budget.used_bytes(), 0);
}

#[test]
fn a_shared_build_side_that_does_not_fit_is_taken_apart_once_for_all() {
    let folder = TempDir::new().unwrap();
    let disk = FaultyDisk::counting();
    let context = context(Arc::clone(&disk) as _, folder.path(), 0);
    let (joins, begun) = shared(&context, JobId::random(), 8, 0);
    let small = |mut join: Join| {
        join.shape.least_bytes = 0;
        join
    };
    let rows: Vec<usize> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            joins.into_iter().map(|join| scope.spawn(|| rows_of(small(join)).unwrap())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(rows, [2; 8]);
    assert_eq!(begun.load(atomic::Ordering::Relaxed), 1);
    assert!(context.spilled_bytes.load(atomic::Ordering::Relaxed) > 0);
    assert_eq!((context.budget.used_bytes(), disk.file_count()), (0, 0));
}

#[test]
fn a_shared_build_side_waits_for_the_next_task_until_its_memory_is_wanted() {
    let folder = TempDir::new().unwrap();
    let context = context(RealDisk::shared(), folder.path(), 2_000_000);
    let job = JobId::random();
    let (joins, begun) = shared(&context, job, 4, 0);
    let mut joins = joins.into_iter();
    assert_eq!(rows_of(joins.next().unwrap()).unwrap(), 2);
    assert_eq!(rows_of(joins.next().unwrap()).unwrap(), 2);
    assert_eq!(begun.load(atomic::Ordering::Relaxed), 1);
    let held = context.budget.used_bytes();
    assert!(held > 0);
    // Another build side takes what is left, and more.
    let mut other = context.budget.reservation("other");
    other.grow(2_000_000 - held - 100_000);
    let own = run(input(&[batch(&repeated("k", 1))], &[many()], &Kind::of(INNER, &[0])), &context);
    assert!(own.unwrap().is_empty());
    drop(other);
    assert_eq!(context.budget.used_bytes(), 0);
    assert_eq!(rows_of(joins.next().unwrap()).unwrap(), 2);
    assert_eq!(begun.load(atomic::Ordering::Relaxed), 2);
    context.store.drop_job(job);
    assert_eq!(context.budget.used_bytes(), 0);
}

#[test]
fn a_task_that_fails_to_build_leaves_it_to_the_next() {
    let folder = TempDir::new().unwrap();
    let context = context(RealDisk::shared(), folder.path(), u64::MAX);
    let (joins, begun) = shared(&context, JobId::random(), 3, 1);
    let mut outcomes: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            joins.into_iter().map(|join| scope.spawn(|| rows_of(join).ok())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    outcomes.sort_unstable();
    assert_eq!(outcomes, [None, Some(2), Some(2)]);
    assert_eq!(begun.load(atomic::Ordering::Relaxed), 2);
}

#[test]
fn a_job_that_is_dropped_takes_its_build_sides_along() {
    let folder = TempDir::new().unwrap();
    let context = context(RealDisk::shared(), folder.path(), u64::MAX);
    let job = JobId::random();
    let (joins, _) = shared(&context, job, 3, 0);
    let mut joins = joins.into_iter();
    let mut first = joins.next().unwrap();
    assert!(first.next().unwrap().is_some());
    assert_eq!(context.store.jobs(), [job], "so that a worker's master hears of it");
    context.store.drop_job(job);
    assert!(context.store.jobs().is_empty());
    // A task in its midst goes on.
    assert!(first.next().unwrap().is_none());
    drop(first);
    assert_eq!(context.budget.used_bytes(), 0);
}
