//! Pairs → output rows, by one gather a column; and which pairs a condition leaves.

use std::sync::Arc;

use arrow::{
    array::{
        Array, ArrayRef, BooleanArray, NullArray, RecordBatch, RecordBatchOptions, UInt32Array,
        new_null_array,
    },
    buffer::{BooleanBuffer, NullBuffer},
    compute::{interleave, take},
    datatypes::{Field, Schema},
};

use super::{NO_ROW, build::Built, probe::Pairs, shape::Shape};
use crate::{
    Error, Result,
    kernels::gather::take_rows,
    plan::{JoinCondition, ProbeColumn},
};

/// Where values of the build side come from.
#[derive(Clone, Copy)]
pub(super) enum BuildRows<'a> {
    /// There are none: no pair has a row of the build side.
    None,
    /// Rows in a table.
    Held(&'a Built),
    /// Rows as they came.
    Batch(&'a RecordBatch),
}

impl<'a> BuildRows<'a> {
    fn column(self, index: usize) -> Result<&'a ArrayRef> {
        match self {
            Self::None => Err(Error::Internal(String::from("a pair without its build side"))),
            Self::Held(built) => built.column(index),
            Self::Batch(batch) => Ok(batch.column(index)),
        }
    }
}

/// Of each pair whether the condition is true.
pub(super) fn holds(
    condition: &JoinCondition,
    probe: &RecordBatch,
    built: &Built,
    pairs: &Pairs,
) -> Result<Vec<bool>> {
    let rows = pairs.probe_rows.len();
    let probe_rows = UInt32Array::from(pairs.probe_rows.clone());
    let build_rows = UInt32Array::from(pairs.build_rows.clone());
    let column = |column: &Option<ProbeColumn>| -> Result<ArrayRef> {
        Ok(match column {
            Some(ProbeColumn::Probe(index)) => take(probe.column(*index), &probe_rows, None)?,
            Some(ProbeColumn::Build(index)) => take_rows(built.column(*index)?, &build_rows)?,
            // What the condition does not read only keeps its place.
            Some(ProbeColumn::Either { .. }) | None => Arc::new(NullArray::new(rows)),
        })
    };
    let columns = condition.columns.iter().map(column).collect::<Result<Vec<_>>>()?;
    let fields = columns.iter().map(|values| Field::new("", values.data_type().clone(), true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    let batch = RecordBatch::try_new_with_options(schema, columns, &options)?;
    let holds: BooleanArray = condition.predicate.evaluate(&batch)?;
    Ok(match holds.nulls() {
        None => holds.values().iter().collect(),
        Some(nulls) => (holds.values() & nulls.inner()).iter().collect(),
    })
}

/// The output rows of some pairs; without a probe batch they are all rows of the build side.
pub(super) fn output(
    shape: &Shape,
    probe: Option<&RecordBatch>,
    build: BuildRows<'_>,
    pairs: Pairs,
) -> Result<RecordBatch> {
    let rows = pairs.probe_rows.len();
    // A batch whose every row has one partner needs no copy of the probe side.
    let is_whole = probe.is_some_and(|probe| {
        rows == probe.num_rows() && (0u32..).zip(&pairs.probe_rows).all(|(n, row)| n == *row)
    });
    // Which side a column of both is from, where pairs without a build side are among others.
    let sides = pairs.has_lonely.then(|| pairs.build_rows.clone());
    let has_build = sides.as_ref().is_none_or(|of| of.iter().any(|row| *row != NO_ROW));
    let probe_rows = UInt32Array::from(pairs.probe_rows);
    let build_rows = nullable_rows(pairs.build_rows, pairs.has_lonely);
    let nulls = |place: usize| new_null_array(shape.schema.field(place).data_type(), rows);
    let column = |(place, column): (usize, &ProbeColumn)| -> Result<ArrayRef> {
        let of_probe = |index: usize| match probe {
            Some(probe) if is_whole => Ok(Arc::clone(probe.column(index))),
            Some(probe) => Ok(take(probe.column(index), &probe_rows, None)?),
            None => Ok(nulls(place)),
        };
        let of_build = |index: usize| {
            if has_build { take_rows(build.column(index)?, &build_rows) } else { Ok(nulls(place)) }
        };
        match *column {
            ProbeColumn::Probe(index) => of_probe(index),
            ProbeColumn::Build(index) => of_build(index),
            ProbeColumn::Either { probe: probe_index, build: build_index, prefers_build } => {
                let Some(probe) = probe else { return of_build(build_index) };
                match (&sides, prefers_build) {
                    // Every pair has a probe row here.
                    (_, false) => of_probe(probe_index),
                    (None, true) => of_build(build_index),
                    (Some(_), true) if !has_build => of_probe(probe_index),
                    (Some(sides), true) => {
                        let both = probe_rows.values().iter().zip(sides);
                        let side = |(probe_row, build_row): (&u32, &u32)| match *build_row {
                            NO_ROW => (0, *probe_row as usize),
                            build_row => (1, build_row as usize),
                        };
                        let places: Vec<_> = both.map(side).collect();
                        let arrays: [&dyn Array; 2] =
                            [probe.column(probe_index), build.column(build_index)?];
                        Ok(interleave(&arrays, &places)?)
                    }
                }
            }
        }
    };
    let columns = shape.columns.iter().enumerate().map(column).collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(Arc::clone(&shape.schema), columns, &options)?)
}

/// Row numbers, with nulls where there is no row.
fn nullable_rows(rows: Vec<u32>, has_none: bool) -> UInt32Array {
    if !has_none {
        return UInt32Array::from(rows);
    }
    let nulls = BooleanBuffer::collect_bool(rows.len(), |place| rows[place] != NO_ROW);
    let rows = rows.iter().map(|row| if *row == NO_ROW { 0 } else { *row });
    UInt32Array::new(rows.collect(), Some(NullBuffer::new(nulls)))
}
