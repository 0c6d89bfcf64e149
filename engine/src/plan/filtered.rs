//! Which joins, and filters by a join's keys, tell a source of the same stage what rows have no
//! partner.
//!
//! A join whose probe side's rows without a partner do not come out has read its build side before
//! the probe side's first row. So a columnar source below it may leave such rows out, as long as
//! nothing between the two sees a difference: what can fail would fail for fewer rows, and a row
//! that is left out must not have been a partner of others.

use crate::{
    expr::Expr,
    plan::{ProbeColumn, Step, StepIndex, StepKind},
};

/// A source whose rows a key of a join's build side filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filtered {
    /// Which of the join's keys.
    pub key: usize,
    /// The source.
    pub source: StepIndex,
    /// The place in its schema of what the key is compared with.
    pub column: usize,
}

/// The sources that the keys of a join's build side filter, each key by itself.
pub fn filtered_sources(steps: &[Step], join: StepIndex) -> Vec<Filtered> {
    let Some((below, keys)) = compared(steps, join) else { return Vec::new() };
    let of = |(key, expr): (usize, &Expr)| {
        let Expr::Column { index, .. } = expr else { return None };
        let (source, column) = source_of(steps, below, *index)?;
        Some(Filtered { key, source, column })
    };
    keys.iter().enumerate().filter_map(of).collect()
}

/// The rows that are compared with a build side before they are read, and by what.
fn compared(steps: &[Step], join: StepIndex) -> Option<(StepIndex, &[Expr])> {
    Some(match &steps.get(join.0)?.kind {
        // The join's own condition sees pairs of equal keys alone, and so no difference.
        StepKind::Join { probe, probe_keys, null_safe: false, rows, .. }
            if rows.drops_lonely_probe() =>
        {
            (*probe, probe_keys)
        }
        StepKind::KeyFilter { input, .. } => match &steps.get(input.0)?.kind {
            // It knows no more than the hashes of all keys together.
            StepKind::Hash { input, keys } if keys.len() == 1 => (*input, keys),
            _ => return None,
        },
        _ => return None,
    })
}

/// The source that a step's column comes from as it is, row by row.
fn source_of(steps: &[Step], step: StepIndex, column: usize) -> Option<(StepIndex, usize)> {
    let (mut step, mut column) = (step, column);
    // A step stands behind those that it takes rows from, so that this ends.
    loop {
        (step, column) = match &steps.get(step.0)?.kind {
            StepKind::Source { format, .. } => {
                return format.is_columnar().then_some((step, column));
            }
            StepKind::Hash { input, keys } if keys.iter().all(|key| !key.is_fallible()) => {
                (*input, column)
            }
            StepKind::Filter { input, predicate } if !predicate.0.is_fallible() => (*input, column),
            StepKind::Map { input, columns } if columns.iter().all(|one| !one.is_fallible()) => {
                let Expr::Column { index, .. } = columns.get(column)? else { return None };
                (*input, *index)
            }
            StepKind::Join { probe, probe_keys, condition, rows, columns, .. }
                if !rows.asks_build()
                    && probe_keys.iter().all(|key| !key.is_fallible())
                    && condition.as_ref().is_none_or(|one| !one.predicate.0.is_fallible()) =>
            {
                match columns.get(column)? {
                    ProbeColumn::Probe(index)
                    | ProbeColumn::Either { probe: index, prefers_build: false, .. } => {
                        (*probe, *index)
                    }
                    ProbeColumn::Either { .. } | ProbeColumn::Build(_) => return None,
                }
            }
            _ => return None,
        };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;
    use crate::{
        expr::{Predicate, parse},
        formats::{Format, intake::Intake},
        id::StageId,
        plan::{JoinRows, NodeIndex, Scan, Share},
    };

    /// A source, what `between` makes of it, a build side, and a join of these rows by column 1.
    fn target(
        format: Format,
        between: impl FnOnce(&Schema) -> StepKind,
        rows: JoinRows,
    ) -> Option<(StepIndex, usize)> {
        let found = filtered(format, between, rows, &[1]);
        found.first().map(|found| (found.source, found.column))
    }

    /// The same of a join by several columns.
    fn filtered(
        format: Format,
        between: impl FnOnce(&Schema) -> StepKind,
        rows: JoinRows,
        columns: &[usize],
    ) -> Vec<Filtered> {
        let field = |name| Field::new(name, DataType::Int64, true);
        let schema = Arc::new(Schema::new(vec![field("a"), field("b")]));
        let keys = || columns.iter().map(|column| parse::column(&schema, *column)).collect();
        let kinds = [
            StepKind::Source { format, scan: Scan::default() },
            between(&schema),
            StepKind::Read { stage: StageId(0), share: Share::All },
            StepKind::Join {
                probe: StepIndex(1),
                build: StepIndex(2),
                probe_keys: keys(),
                build_keys: keys(),
                is_hashed: false,
                null_safe: false,
                condition: None,
                rows,
                columns: vec![ProbeColumn::Probe(0), ProbeColumn::Probe(1)],
            },
        ];
        let step = |kind| Step { node: NodeIndex(0), schema: Arc::clone(&schema), kind };
        filtered_sources(&kinds.map(step), StepIndex(3))
    }

    fn filter(text: &'static str) -> impl FnOnce(&Schema) -> StepKind {
        move |schema| {
            let predicate: Predicate = parse::predicate(text, schema).unwrap();
            StepKind::Filter { input: StepIndex(0), predicate }
        }
    }

    const INNER: JoinRows = JoinRows::Pairs { lonely_probe: false, lonely_build: false };

    #[test]
    fn a_source_is_found_below_what_keeps_its_values() {
        assert_eq!(target(Format::Parquet, filter("a > 1"), INNER), Some((StepIndex(0), 1)));
        let swapped = |schema: &Schema| StepKind::Map {
            input: StepIndex(0),
            columns: vec![parse::column(schema, 1), parse::column(schema, 0)],
        };
        assert_eq!(target(Format::Parquet, swapped, INNER), Some((StepIndex(0), 0)));
    }

    #[test]
    fn each_of_several_keys_filters_by_itself() {
        let found = filtered(Format::Parquet, filter("a > 1"), INNER, &[1, 0]);
        let of = |key, column| Filtered { key, source: StepIndex(0), column };
        assert_eq!(found, [of(0, 1), of(1, 0)]);
    }

    #[test]
    fn what_could_see_a_difference_keeps_all_rows() {
        // A row that is left out could not fail any more.
        assert_eq!(target(Format::Parquet, filter("a + b > 1"), INNER), None);
        // Rows of text are all decoded, and counted, in any case.
        assert_eq!(target(Format::Text(Intake::default()), filter("a > 1"), INNER), None);
        let outer = JoinRows::Pairs { lonely_probe: true, lonely_build: false };
        assert_eq!(target(Format::Parquet, filter("a > 1"), outer), None);
        let without = JoinRows::ProbeWithout { null_aware: false };
        assert_eq!(target(Format::Parquet, filter("a > 1"), without), None);
        let ends = |_: &Schema| StepKind::Limit { input: StepIndex(0), offset: 0, n: 5 };
        assert_eq!(target(Format::Parquet, ends, INNER), None);
    }
}
