//! `join`: a hash join, inner or keeping all rows of the probe side; many-to-many.
//!
//! The build side is collected and put into a [`KeyTable`] whose groups list their rows; then the
//! probe side streams past. A probe gives two lists of row numbers, one a side, and the output is
//! one `take` a column. A null is equal to nothing, as in SQL, so that rows with a null among
//! their keys never meet; those of the build side are not even kept.

use std::{mem::size_of, ops::Range, sync::Arc};

use arrow::{
    array::{
        Array, ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions, UInt32Array,
        new_null_array,
    },
    buffer::NullBuffer,
    compute::{concat, filter, filter_record_batch, take},
    datatypes::{SchemaRef, UInt64Type},
};

use crate::{
    Error, Result,
    expr::Expr,
    kernels::{
        compact::{compact, unique_bytes},
        growth::{bytes_of, growth_of, reserve, settle},
        key_table::{KeyBatch, KeyTable, NO_GROUP},
    },
    memory::Reservation,
    operators::Operator,
    plan::ProbeColumn,
    task::context::TaskContext,
};

/// The most rows of an output batch, however many partners a row has.
const BATCH_ROWS: usize = 8192;

/// Stands for no row of the build side.
const NO_ROW: u32 = u32::MAX;

/// What a [`Join`] joins, and how.
pub struct JoinInput {
    /// The rows that stream past; their last column is the hash of `probe_keys`.
    pub probe: Box<dyn Operator>,
    /// The rows that are held; their last column is the hash of `build_keys`.
    pub build: Box<dyn Operator>,
    /// The keys, over the probe side's schema.
    pub probe_keys: Vec<Expr>,
    /// The keys, over the build side's schema; of the same types.
    pub build_keys: Vec<Expr>,
    /// Whether a probe row without a partner comes out, with nulls for the build side.
    pub keep_probe: bool,
    /// Where each output column comes from.
    pub columns: Vec<ProbeColumn>,
    /// The output's schema.
    pub schema: SchemaRef,
    /// The build side's schema.
    pub build_schema: SchemaRef,
}

/// Pairs of rows with equal keys.
///
/// - Shape: `schema`, at most 8192 rows a batch. Order: the probe side's; the partners of one row
///   in the build side's order.
/// - Memory: the build side's columns that come out, its keys and 8 bytes a row are reserved; beside
///   them one batch of output.
/// - Errors: [`Error::MemoryLimit`] where the build side is refused memory; [`Error::Evaluate`] of
///   a key.
pub struct Join {
    input: JoinInput,
    context: TaskContext,
    reservation: Reservation,
    built: Option<Built>,
    probing: Option<Probing>,
}

impl Join {
    /// Nothing is read before the first pull.
    pub fn new(input: JoinInput, context: &TaskContext) -> Self {
        let reservation = context.budget.reservation("join (build side)");
        Self { input, context: context.clone(), reservation, built: None, probing: None }
    }

    /// The next rows of the probe side, looked up.
    fn probe(&mut self) -> Result<Option<Probing>> {
        let built = match &self.built {
            Some(built) => built,
            None => {
                self.built.insert(build(&mut self.input, &mut self.reservation, &self.context)?)
            }
        };
        let Some(batch) = self.input.probe.next()? else { return Ok(None) };
        let keys = evaluate(&self.input.probe_keys, &batch)?;
        let mut groups = Vec::new();
        built.table.find(&KeyBatch::new(&keys)?, hashes(&batch)?, &mut groups);
        if let Some(nulls) = any_null(&keys) {
            for (group, is_valid) in groups.iter_mut().zip(&nulls) {
                *group = if is_valid { *group } else { NO_GROUP };
            }
        }
        Ok(Some(Probing { batch, groups, row: 0, partner: 0 }))
    }
}

impl Operator for Join {
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let (Some(probing), Some(built)) = (&mut self.probing, &self.built) {
                let pairs = probing.pairs(built, self.input.keep_probe);
                if !pairs.probe_rows.is_empty() {
                    return output(&self.input, &probing.batch, built, &pairs).map(Some);
                }
            }
            self.probing = self.probe()?;
            if self.probing.is_none() {
                return Ok(None);
            }
        }
    }
}

/// The build side.
struct Built {
    table: KeyTable,
    /// Where each group's rows begin in `rows`, and behind the last one their number.
    starts: Vec<u32>,
    /// Row numbers, group after group, each group's ascending.
    rows: Vec<u32>,
    /// The columns that come out, by their index on the build side.
    columns: Vec<Option<ArrayRef>>,
}

impl Built {
    fn partners(&self, group: u32) -> Range<usize> {
        let group = group as usize;
        self.starts[group] as usize..self.starts[group + 1] as usize
    }
}

/// A batch of the probe side, and how far it has come.
struct Probing {
    batch: RecordBatch,
    /// Each row's group, or [`NO_GROUP`].
    groups: Vec<u32>,
    /// The next row.
    row: usize,
    /// How many of the row's partners have come out.
    partner: usize,
}

/// Rows that belong together.
struct Pairs {
    probe_rows: Vec<u32>,
    /// With [`NO_ROW`] where there is no partner.
    build_rows: Vec<u32>,
    has_lonely: bool,
}

impl Probing {
    /// The next pairs, at most [`BATCH_ROWS`]; none once the batch is done.
    fn pairs(&mut self, built: &Built, keep_probe: bool) -> Pairs {
        let (mut probe_rows, mut build_rows) =
            (Vec::with_capacity(BATCH_ROWS), Vec::with_capacity(BATCH_ROWS));
        let mut has_lonely = false;
        while let Some(group) = self.groups.get(self.row).copied() {
            let room = BATCH_ROWS - probe_rows.len();
            if room == 0 {
                break;
            }
            #[expect(clippy::cast_possible_truncation, reason = "a batch has fewer than 2³² rows")]
            let row = self.row as u32;
            if group == NO_GROUP {
                if keep_probe {
                    probe_rows.push(row);
                    build_rows.push(NO_ROW);
                    has_lonely = true;
                }
                self.row += 1;
                continue;
            }
            let all = built.partners(group);
            let start = all.start + self.partner;
            let taken = room.min(all.end - start);
            build_rows.extend_from_slice(&built.rows[start..start + taken]);
            probe_rows.resize(probe_rows.len() + taken, row);
            self.partner += taken;
            if start + taken == all.end {
                self.partner = 0;
                self.row += 1;
            }
        }
        Pairs { probe_rows, build_rows, has_lonely }
    }
}

/// The output rows of some pairs.
fn output(
    input: &JoinInput,
    probe: &RecordBatch,
    built: &Built,
    pairs: &Pairs,
) -> Result<RecordBatch> {
    let rows = pairs.probe_rows.len();
    // A batch whose every row has one partner needs no copy of the probe side.
    let is_whole =
        rows == probe.num_rows() && (0u32..).zip(&pairs.probe_rows).all(|(n, row)| n == *row);
    let probe_rows = UInt32Array::from(pairs.probe_rows.clone());
    let build_rows = nullable_rows(pairs);
    let column = |column: &ProbeColumn| match *column {
        ProbeColumn::Probe(index) if is_whole => Ok(Arc::clone(probe.column(index))),
        ProbeColumn::Probe(index) => Ok(take(probe.column(index), &probe_rows, None)?),
        ProbeColumn::Build(index) => match built.columns.get(index).and_then(Option::as_ref) {
            Some(values) if !values.is_empty() => Ok(take(values, &build_rows, None)?),
            _ => Ok(new_null_array(input.build_schema.field(index).data_type(), rows)),
        },
    };
    let columns = input.columns.iter().map(column).collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(Arc::clone(&input.schema), columns, &options)?)
}

/// The build side's row numbers, with nulls for lonely probe rows.
fn nullable_rows(pairs: &Pairs) -> UInt32Array {
    if !pairs.has_lonely {
        return UInt32Array::from(pairs.build_rows.clone());
    }
    let nulls: NullBuffer = pairs.build_rows.iter().map(|row| *row != NO_ROW).collect();
    let rows = pairs.build_rows.iter().map(|row| if *row == NO_ROW { 0 } else { *row });
    UInt32Array::new(rows.collect(), Some(nulls))
}

/// Reads the whole build side.
fn build(
    input: &mut JoinInput,
    reservation: &mut Reservation,
    context: &TaskContext,
) -> Result<Built> {
    let types: Vec<_> = input.build_keys.iter().map(Expr::data_type).collect();
    let mut table = KeyTable::new(&types)?;
    let wanted = wanted_columns(&input.columns);
    let mut parts: Vec<Vec<ArrayRef>> = vec![Vec::new(); wanted.len()];
    let mut part_bytes = 0;
    let (mut group_of_row, mut groups) = (Vec::new(), Vec::new());
    while let Some(batch) = input.build.next()? {
        context.cancel.check()?;
        let (batch, keys) = without_null_keys(&input.build_keys, batch)?;
        if group_of_row.len() + batch.num_rows() >= NO_ROW as usize {
            return Err(Error::Internal(String::from("a build side of more than 2^32 rows")));
        }
        let keys = KeyBatch::new(&keys)?;
        let growth =
            table.growth(&keys, batch.num_rows()) + growth_of(&group_of_row, batch.num_rows());
        ask(reservation, growth.bytes())?;
        table.find_or_insert(&keys, hashes(&batch)?, &mut groups);
        reserve(&mut group_of_row, groups.len());
        group_of_row.extend_from_slice(&groups);
        settle(reservation, table.memory_bytes() + bytes_of(&group_of_row) + part_bytes);

        let kept = compact(&batch.project(&wanted)?)?;
        ask(reservation, unique_bytes(&kept))?;
        part_bytes += unique_bytes(&kept);
        for (part, column) in parts.iter_mut().zip(kept.columns()) {
            part.push(Arc::clone(column));
        }
    }
    ask(reservation, ((table.len() + 2 + group_of_row.len()) * size_of::<u32>()) as u64)?;
    let (starts, rows) = rows_by_group(&group_of_row, table.len());
    reservation.shrink(bytes_of(&group_of_row));
    drop(group_of_row);
    let mut columns = vec![None; input.build_schema.fields().len()];
    for (index, part) in wanted.into_iter().zip(parts) {
        columns[index] = concatenated(&part, reservation)?;
    }
    Ok(Built { table, starts, rows, columns })
}

/// A counting sort of row numbers by their group: where each group begins, and all rows.
#[expect(clippy::cast_possible_truncation, reason = "fewer than 2³² rows, which the caller checks")]
fn rows_by_group(group_of_row: &[u32], groups: usize) -> (Vec<u32>, Vec<u32>) {
    // Counts are kept two places on: the first sum makes them starts one place on, and placing the
    // rows, which moves each start to its end, the starts themselves.
    let mut starts = vec![0; groups + 2];
    for group in group_of_row {
        starts[*group as usize + 2] += 1;
    }
    let mut sum = 0;
    for start in &mut starts {
        sum += *start;
        *start = sum;
    }
    let mut rows = vec![0; group_of_row.len()];
    for (row, group) in group_of_row.iter().enumerate() {
        let next = &mut starts[*group as usize + 1];
        rows[*next as usize] = row as u32;
        *next += 1;
    }
    starts.truncate(groups + 1);
    (starts, rows)
}

/// The parts of a column as one; `None` where there are no rows.
fn concatenated(parts: &[ArrayRef], reservation: &mut Reservation) -> Result<Option<ArrayRef>> {
    let [first, _, ..] = parts else { return Ok(parts.first().map(Arc::clone)) };
    // Old and new are both there for a moment. The bytes that views point to are shared.
    let copied: usize = match first.as_string_view_opt() {
        Some(_) => parts.iter().map(|part| part.len() * size_of::<u128>()).sum(),
        None => parts.iter().map(Array::get_buffer_memory_size).sum(),
    };
    ask(reservation, copied as u64)?;
    let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
    let whole = concat(&parts)?;
    reservation.shrink(copied as u64);
    Ok(Some(whole))
}

/// The build side's columns that come out, ascending.
fn wanted_columns(columns: &[ProbeColumn]) -> Vec<usize> {
    let mut wanted: Vec<usize> = columns
        .iter()
        .filter_map(|column| match column {
            ProbeColumn::Build(index) => Some(*index),
            ProbeColumn::Probe(_) => None,
        })
        .collect();
    wanted.sort_unstable();
    wanted.dedup();
    wanted
}

/// The rows without a null among their keys, and their keys.
fn without_null_keys(keys: &[Expr], batch: RecordBatch) -> Result<(RecordBatch, Vec<ArrayRef>)> {
    let keys = evaluate(keys, &batch)?;
    let Some(nulls) = any_null(&keys) else { return Ok((batch, keys)) };
    let is_valid = BooleanArray::new(nulls.into_inner(), None);
    let batch = filter_record_batch(&batch, &is_valid)?;
    let keys = keys.iter().map(|key| filter(key, &is_valid)).collect::<Result<_, _>>()?;
    Ok((batch, keys))
}

fn evaluate(keys: &[Expr], batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
    keys.iter().map(|key| key.evaluate(batch)).collect()
}

/// Rows of which a key is null; `None` where there is no such row.
fn any_null(keys: &[ArrayRef]) -> Option<NullBuffer> {
    let union = keys
        .iter()
        .fold(None, |union, key| NullBuffer::union(union.as_ref(), key.logical_nulls().as_ref()));
    union.filter(|nulls| nulls.null_count() > 0)
}

/// The batch's last column.
fn hashes(batch: &RecordBatch) -> Result<&[u64]> {
    let column = batch.columns().last().and_then(|column| column.as_primitive_opt::<UInt64Type>());
    let column = column.ok_or_else(|| Error::Internal(String::from("a join without hashes")))?;
    Ok(column.values())
}

/// Memory for the build side, of which all must be held.
fn ask(reservation: &mut Reservation, bytes: u64) -> Result<()> {
    if reservation.try_grow(bytes) {
        return Ok(());
    }
    Err(Error::MemoryLimit {
        operator: format!(
            "{}, which holds {} bytes and can't spill,",
            reservation.owner(),
            reservation.held_bytes()
        ),
        asked_bytes: bytes,
        budget_bytes: reservation.budget().limit_bytes(),
    })
}

#[cfg(test)]
mod tests {
    use std::{cmp::Ordering, sync::Arc};

    use arrow::{
        array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringViewArray},
        datatypes::{DataType, Field, Int64Type, Schema},
    };
    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::{Join, JoinInput};
    use crate::{
        Error, Result,
        disk::RealDisk,
        expr::Expr,
        memory::spill::tests::context,
        operators::{Batches, Operator, hash::Hash},
        plan::{ProbeColumn, with_hash_column},
    };

    /// A text, a float (the two keys) and a number that tells the rows apart.
    type Row = (Option<String>, Option<f64>, i64);

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
        let key = |index: &usize| {
            let schema = schema();
            let field = schema.field(*index);
            let (name, data_type) = (field.name().clone(), field.data_type().clone());
            Expr::Column { index: *index, name, data_type }
        };
        which.iter().map(key).collect()
    }

    /// The joined batches: probe side's row number, build side's, build side's text.
    fn joined(
        probe: &[RecordBatch],
        build: &[RecordBatch],
        which: &[usize],
        keep_probe: bool,
        budget_bytes: u64,
    ) -> Result<Vec<RecordBatch>> {
        let folder = TempDir::new().unwrap();
        let context = context(RealDisk::shared(), folder.path(), budget_bytes);
        let hashed = |batches: &[RecordBatch]| {
            let input = Box::new(Batches::new(batches.to_vec()));
            Box::new(Hash::new(input, keys(which), with_hash_column(&schema())))
        };
        let fields = vec![
            Field::new("probe", DataType::Int64, false),
            Field::new("build", DataType::Int64, true),
            Field::new("text", DataType::Utf8View, true),
        ];
        let input = JoinInput {
            probe: hashed(probe),
            build: hashed(build),
            probe_keys: keys(which),
            build_keys: keys(which),
            keep_probe,
            columns: vec![ProbeColumn::Probe(2), ProbeColumn::Build(2), ProbeColumn::Build(0)],
            schema: Arc::new(Schema::new(fields)),
            build_schema: with_hash_column(&schema()),
        };
        let mut join = Join::new(input, &context);
        let mut batches = Vec::new();
        while let Some(batch) = join.next()? {
            assert!((1..=8192).contains(&batch.num_rows()));
            batches.push(batch);
        }
        assert!(join.next()?.is_none());
        drop(join);
        assert_eq!(context.budget.used_bytes(), 0);
        Ok(batches)
    }

    type Pair = (i64, Option<i64>, Option<String>);

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
                pairs.push((number(0, row).unwrap(), number(1, row), text));
            }
        }
        pairs
    }

    /// SQL's `=`, with NaN equal to NaN.
    fn equal(left: &Row, right: &Row, which: &[usize]) -> bool {
        which.iter().all(|key| match key {
            0 => left.0.is_some() && left.0 == right.0,
            _ => match (left.1, right.1) {
                (Some(left), Some(right)) => {
                    left.partial_cmp(&right) == Some(Ordering::Equal)
                        || (left.is_nan() && right.is_nan())
                }
                _ => false,
            },
        })
    }

    /// The obvious model.
    fn nested_loops(probe: &[Row], build: &[Row], which: &[usize], keep: bool) -> Vec<Pair> {
        let mut pairs = Vec::new();
        for left in probe {
            let partners: Vec<&Row> =
                build.iter().filter(|right| equal(left, right, which)).collect();
            if keep && partners.is_empty() {
                pairs.push((left.2, None, None));
            }
            pairs.extend(partners.iter().map(|right| (left.2, Some(right.2), right.0.clone())));
        }
        pairs
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
        prop::collection::vec(row, 0..60).prop_map(|rows| {
            (0..).zip(rows).map(|(number, (text, float))| (text, float, number)).collect()
        })
    }

    proptest! {
        #[test]
        fn pairs_and_their_order_are_those_of_nested_loops(
            probe in rows(),
            build in rows(),
            which in prop::sample::subsequence(vec![0, 1], 1..=2),
            keep in any::<bool>(),
            batch_rows in 1usize..70,
        ) {
            let batches = |rows: &[Row]| rows.chunks(batch_rows).map(batch).collect::<Vec<_>>();
            let found = joined(&batches(&probe), &batches(&build), &which, keep, u64::MAX).unwrap();
            prop_assert_eq!(pairs(&found), nested_loops(&probe, &build, &which, keep));
        }
    }

    fn repeated(key: &str, rows: i64) -> Vec<Row> {
        (0..rows).map(|number| (Some(key.to_owned()), None, number)).collect()
    }

    #[test]
    fn repeated_keys_on_both_sides_all_join_in_bounded_batches() {
        let (probe, build) = (batch(&repeated("k", 3)), batch(&repeated("k", 20_000)));
        let batches = joined(&[probe], &[build], &[0], false, u64::MAX).unwrap();
        let rows: Vec<usize> = batches.iter().map(RecordBatch::num_rows).collect();
        assert_eq!(rows, [8192, 8192, 8192, 8192, 8192, 8192, 8192, 2656]);
        let found = pairs(&batches);
        let expected = (0..60_000).map(|n| (n / 20_000, Some(n % 20_000), Some("k".to_owned())));
        assert!(found.into_iter().eq(expected));
    }

    #[test]
    fn an_empty_build_side_leaves_the_probe_side_alone() {
        let probe = [batch(&repeated("k", 2))];
        assert!(joined(&probe, &[], &[0], false, u64::MAX).unwrap().is_empty());
        let kept = joined(&probe, &[], &[0], true, u64::MAX).unwrap();
        assert_eq!(pairs(&kept), [(0, None, None), (1, None, None)]);
        assert!(joined(&[], &probe, &[0], true, u64::MAX).unwrap().is_empty());
    }

    #[test]
    fn keys_of_a_megabyte_join() {
        let (mut first, mut second) = ("x".repeat(1 << 20), "x".repeat(1 << 20));
        first.push('1');
        second.push('2');
        let probe = batch(&[(Some(first.clone()), None, 0), (Some(second), None, 1)]);
        let build = batch(&[(Some(first.clone()), None, 7)]);
        let found = joined(&[probe], &[build], &[0], false, u64::MAX).unwrap();
        assert_eq!(pairs(&found), [(0, Some(7), Some(first))]);
    }

    #[test]
    fn a_build_side_beyond_the_budget_is_refused_by_name() {
        let build: Vec<Row> = (0..5_000).map(|n| (Some(format!("{n:020}")), None, n)).collect();
        let probe = [batch(&repeated("k", 1))];
        let error = joined(&probe, &[batch(&build)], &[0], false, 100_000).unwrap_err();
        assert!(matches!(error, Error::MemoryLimit { budget_bytes: 100_000, .. }));
        assert!(error.to_string().starts_with("join (build side), which holds "), "{error}");
    }
}
