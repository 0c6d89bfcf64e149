//! Every accumulator keeps to what it foretells.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, BinaryViewArray, Float64Array, Int64Array, StringViewArray},
    datatypes::{DataType, Field, Schema},
};

use super::{Accumulators, Carried, Inputs, row_arguments, takes_order};
use crate::expr::{Aggregate, aggregate};

/// Rows in which nothing is null, some texts long.
fn columns(first: i64, rows: i64) -> Vec<(&'static str, ArrayRef)> {
    let text = |n: i64| if n % 3 == 0 { format!("{n:0>60}") } else { n.to_string() };
    vec![
        ("n", Arc::new(Int64Array::from_iter_values(first..first + rows))),
        ("x", Arc::new(Float64Array::from_iter_values((0..rows).map(|n| 0.5 + n as f64)))),
        ("s", Arc::new((first..first + rows).map(|n| Some(text(n))).collect::<StringViewArray>())),
    ]
}

/// What an aggregate takes of rows, ordered by their number.
fn inputs(aggregate: &Aggregate, first: i64, rows: i64) -> Inputs {
    let columns = columns(first, rows);
    let column = |argument: &crate::expr::Expr| {
        let name = argument.to_string();
        columns.iter().find(|(known, _)| *known == name).unwrap().1.clone()
    };
    let mut taken: Vec<ArrayRef> = row_arguments(aggregate).iter().map(column).collect();
    if takes_order(aggregate) {
        let keys = (first..first + rows).map(|n| Some(n.to_be_bytes()));
        taken.push(Arc::new(keys.collect::<BinaryViewArray>()));
    }
    Inputs { columns: taken, rows: None }
}

#[test]
fn growth_is_never_more_than_foretold() {
    let fields = [("n", DataType::Int64), ("x", DataType::Float64), ("s", DataType::Utf8View)];
    let fields = fields.map(|(name, of)| Field::new(name, of, true));
    let schema = Schema::new(fields.to_vec());
    for text in [
        "count(*)",
        "sum(n)",
        "sum(x)",
        "avg(n)",
        "avg(x)",
        "min(s)",
        "max(n)",
        "bit_xor(n)",
        "first(s)",
        "last(n)",
        "min_by(s, n)",
        "stddev(x)",
        "corr(n, x)",
        "median(n)",
        "quantile_disc(s, 0.5)",
        "string_agg(s)",
        "array_agg(n)",
        "count(distinct s)",
        "sum(distinct n)",
        "mode(s)",
        "approx_quantile(x, 0.5)",
        "approx_count_distinct(s)",
    ] {
        let aggregate = aggregate::parse(text, &schema).unwrap();
        let aggregates = [aggregate];
        let mut values = Accumulators::new(&aggregates, Carried::Values).unwrap();
        let mut states = Accumulators::new(&aggregates, Carried::States).unwrap();
        let mut count = 0usize;
        for (first, rows, groups) in
            [(0, 1, 1), (1, 700, 1), (701, 4000, 3), (9, 3, 3), (4701, 3000, 3000)]
        {
            let input = [inputs(&aggregates[0], first, rows)];
            let rows = usize::try_from(rows).unwrap();
            let of: Vec<u32> = (0..rows).map(|row| u32::try_from(row % groups).unwrap()).collect();
            let check =
                |all: &mut Accumulators, input: &[Inputs], of: &[u32], count: &mut usize| {
                    let foretold = all.growth(input, *count, of.len()).unwrap().lasting_bytes;
                    let before = all.memory_bytes();
                    let after =
                        of.iter().map(|group| *group as usize + 1).max().unwrap().max(*count);
                    all.take(input, of, after).unwrap();
                    let grown = all.memory_bytes().saturating_sub(before);
                    assert!(grown <= foretold, "{text}: {grown} > {foretold}");
                    *count = after;
                };
            let mut own = count;
            check(&mut values, &input, &of, &mut own);
            // The same as states of a partial step.
            let mut partial = Accumulators::new(&aggregates, Carried::Values).unwrap();
            partial.take(&input, &of, groups).unwrap();
            partial.freeze();
            let all: Vec<u32> = (0..u32::try_from(groups.min(rows)).unwrap()).collect();
            let columns = partial.states(&all).unwrap();
            let input = [Inputs { columns, rows: None }];
            check(&mut states, &input, &all, &mut count);
            count = own.max(count);
        }
        let all: Vec<u32> = (0..u32::try_from(count).unwrap()).collect();
        values.freeze();
        states.freeze();
        let (left, right) = (values.values(&all, &[]).unwrap(), states.values(&all, &[]).unwrap());
        assert_eq!(left[0].as_ref(), right[0].as_ref(), "{text}");
    }
}
