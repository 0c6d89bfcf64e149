//! Every accumulator keeps to what it foretells.

use std::sync::Arc;

use arrow::{
    array::{
        ArrayRef, AsArray, BinaryViewArray, Float64Array, Int32Array, Int64Array, StringViewArray,
    },
    datatypes::{DataType, Field, Float64Type, Schema},
};
use proptest::prelude::*;

use super::{Accumulators, Carried, Inputs, row_arguments, row_states, takes_order};
use crate::expr::{Aggregate, aggregate};

/// Rows in which nothing is null, some texts long.
fn columns(first: i64, rows: i64) -> Vec<(&'static str, ArrayRef)> {
    let text = |n: i64| if n % 3 == 0 { format!("{n:0>60}") } else { n.to_string() };
    vec![
        ("n", Arc::new(Int64Array::from_iter_values(first..first + rows))),
        (
            "x",
            Arc::new(Float64Array::from_iter_values(
                (0..i32::try_from(rows).unwrap()).map(|n| 0.5 + f64::from(n)),
            )),
        ),
        ("s", Arc::new((first..first + rows).map(|n| Some(text(n))).collect::<StringViewArray>())),
    ]
}

/// What an aggregate takes of rows, ordered by their number.
fn inputs(aggregate: &Aggregate, first: i64, rows: i64) -> Inputs {
    let columns = columns(first, rows);
    let column = |argument: &crate::expr::Expr| {
        let name = argument.to_string();
        columns
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, column)| Arc::clone(column))
            .unwrap()
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
                |all: &mut Accumulators, taken: &[Inputs], to: &[u32], known: &mut usize| {
                    let foretold =
                        all.growth(taken, *known + to.len(), to.len()).unwrap().lasting_bytes;
                    let before = all.memory_bytes();
                    let after =
                        to.iter().map(|group| *group as usize + 1).max().unwrap().max(*known);
                    all.take(taken, to, after).unwrap();
                    let grown = all.memory_bytes().saturating_sub(before);
                    assert!(grown <= foretold, "{text}: {grown} > {foretold}");
                    *known = after;
                };
            let mut own = count;
            check(&mut values, &input, &of, &mut own);
            // The same as states of a partial step.
            let mut partial = Accumulators::new(&aggregates, Carried::Values).unwrap();
            partial.take(&input, &of, groups).unwrap();
            partial.freeze();
            let all: Vec<u32> = (0..u32::try_from(groups.min(rows)).unwrap()).collect();
            let columns = partial.states(&all).unwrap();
            let of_states = [Inputs { columns, rows: None }];
            check(&mut states, &of_states, &all, &mut count);
            count = own.max(count);
        }
        let all: Vec<u32> = (0..u32::try_from(count).unwrap()).collect();
        values.freeze();
        states.freeze();
        let (left, right) = (values.values(&all, &[]).unwrap(), states.values(&all, &[]).unwrap());
        assert_eq!(left[0].as_ref(), right[0].as_ref(), "{text}");
    }
}

/// Integers of 32 bits and the same as floats, in three groups.
fn pairs(numbers: &[(i32, i32)]) -> (Vec<ArrayRef>, Vec<ArrayRef>, Vec<u32>) {
    let of = |each: fn(&(i32, i32)) -> i32| numbers.iter().map(each).collect::<Vec<i32>>();
    let columns = [of(|pair| pair.0), of(|pair| pair.1)];
    let whole = columns.iter().map(|column| Arc::new(Int32Array::from(column.clone())) as ArrayRef);
    let floats = columns.iter().map(|column| {
        Arc::new(Float64Array::from_iter_values(column.iter().map(|n| f64::from(*n)))) as ArrayRef
    });
    let groups = (0..).take(numbers.len()).map(|row: u32| row % 3).collect();
    (whole.collect(), floats.collect(), groups)
}

/// An aggregate over `a` and `b` of this type, taken directly and by way of states.
fn both_ways(text: &str, of: &DataType, columns: &[ArrayRef], groups: &[u32]) -> Vec<Option<f64>> {
    let fields = ["a", "b"].map(|name| Field::new(name, of.clone(), true));
    let aggregate = aggregate::parse(text, &Schema::new(fields.to_vec())).unwrap();
    let arguments = row_arguments(&aggregate).len();
    let aggregates = [aggregate];
    let input = [Inputs { columns: columns[..arguments].to_vec(), rows: None }];
    let mut values = Accumulators::new(&aggregates, Carried::Values).unwrap();
    values.take(&input, groups, 3).unwrap();
    values.freeze();
    let direct = values.values(&[0, 1, 2], &[]).unwrap();
    let mut states = Accumulators::new(&aggregates, Carried::States).unwrap();
    let state_columns = row_states(&aggregates, &input, groups.len()).unwrap();
    states.take(&[Inputs { columns: state_columns, rows: None }], groups, 3).unwrap();
    states.freeze();
    let merged = states.values(&[0, 1, 2], &[]).unwrap();
    assert_eq!(direct, merged, "{text}");
    direct[0].as_primitive::<Float64Type>().iter().collect()
}

proptest! {
    #[test]
    fn moments_of_integers_are_those_of_floats(
        numbers in prop::collection::vec((
            prop_oneof![-9..9i32, any::<i32>()], prop_oneof![0..3i32, any::<i32>()]
        ), 0..60),
    ) {
        let (whole, floats, groups) = pairs(&numbers);
        for text in [
            "stddev(a)", "var_pop(a)", "covar_samp(a, b)", "corr(a, b)", "regr_slope(a, b)",
            "regr_r2(a, b)", "skewness(a)", "avg(a)",
        ] {
            let of_whole = both_ways(text, &DataType::Int32, &whole, &groups);
            let of_floats = both_ways(text, &DataType::Float64, &floats, &groups);
            for (exact, near) in of_whole.iter().zip(&of_floats) {
                if let (Some(exact), Some(near)) = (exact, near) {
                    let bound = near.abs().max(1e-6) * 1e-9;
                    prop_assert!((exact - near).abs() <= bound, "{text}: {exact}, {near}");
                } else {
                    prop_assert_eq!(exact, near, "{}", text);
                }
            }
        }
    }
}
