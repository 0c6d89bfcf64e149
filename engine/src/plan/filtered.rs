//! Which joins of a stage tell a source of the same stage what rows have no partner.
//!
//! A join whose probe side's rows without a partner do not come out has read its build side before
//! the probe side's first row. So a columnar source below it may leave such rows out, as long as
//! nothing between the two sees a difference: what can fail would fail for fewer rows, and a row
//! that is left out must not have been a partner of others.

use crate::{
    expr::Expr,
    plan::{JoinRows, ProbeColumn, Step, StepIndex, StepKind},
};

/// The source that the keys of a join's build side filter, and the place in its schema of what they
/// are compared with.
pub fn filtered_source(steps: &[Step], join: StepIndex) -> Option<(StepIndex, usize)> {
    let StepKind::Join { probe, probe_keys, null_safe: false, rows, .. } = &steps.get(join.0)?.kind
    else {
        return None;
    };
    let drops_lonely = match rows {
        JoinRows::Pairs { lonely_probe, .. } => !lonely_probe,
        JoinRows::ProbeWith | JoinRows::BuildWith | JoinRows::BuildWithout => true,
        JoinRows::ProbeWithout { .. } => false,
    };
    // The join's own condition sees pairs of equal keys alone, and so no difference.
    let [Expr::Column { index, .. }] = probe_keys.as_slice() else { return None };
    if drops_lonely { source_of(steps, *probe, *index) } else { None }
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
