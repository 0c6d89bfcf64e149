//! Functions that choose among values. What a row does not choose is not computed for it where it
//! could fail.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, BooleanArray, Scalar},
    compute::{self, kernels::zip::zip},
    datatypes::DataType,
};

use super::{Call, Gives, Kind, Nulls, Overload, Signature};
use crate::{
    Error, Result,
    expr::{BinaryOp, Expr, compare::compare, evaluate::Value},
};

/// The functions that choose.
pub(super) static FUNCTIONS: &[Signature] = &[
    Signature::new(
        "coalesce",
        &[Overload::new(&[Kind::Same], Gives::Argument(0), coalesce)
            .variadic(1)
            .or_lazily(coalesce_lazily)],
        "the first argument that is not null; those behind it are not computed",
        &[("coalesce(null, 2, 3)", "2")],
    )
    .aka(&["ifnull", "nvl"])
    .with_nulls(Nulls::Lenient("null where all are")),
    Signature::new(
        "nullif",
        &[Overload::new(&[Kind::Same, Kind::Same], Gives::Argument(0), nullif)],
        "the first argument; null where it equals the second",
        &[("nullif(3, 3)", "null"), ("nullif('a', 'b')", "a")],
    )
    .with_nulls(Nulls::Lenient("a null second argument gives the first")),
    Signature::new(
        "nvl2",
        &[Overload::rewrite(&[Kind::Any, Kind::Same, Kind::Same], Gives::Argument(1), nvl2)],
        "`nvl2(x, a, b)`: a where x is not null, else b",
        &[("nvl2(null, 1, 2)", "2")],
    )
    .with_nulls(Nulls::Lenient("null where what is chosen is"))
    .differs("has none; as in Spark"),
    Signature::new(
        "if",
        &[Overload::rewrite(&[Kind::Bool, Kind::Same, Kind::Same], Gives::Argument(1), choose)],
        "`if(condition, a, b)`: a where the condition is true, else b",
        &[("if(2 > 1, 'yes', 'no')", "yes")],
    )
    .aka(&["iff"])
    .with_nulls(Nulls::Lenient("a null condition is not true")),
    Signature::new(
        "greatest",
        &[Overload::new(&[Kind::Same], Gives::Argument(0), greatest).variadic(1)],
        "the greatest of the arguments; NaN is the greatest number",
        &[("greatest(1, null, 3)", "3")],
    )
    .with_nulls(Nulls::Lenient("nulls are left out")),
    Signature::new(
        "least",
        &[Overload::new(&[Kind::Same], Gives::Argument(0), least).variadic(1)],
        "the least of the arguments",
        &[("least('b', null, 'a')", "a")],
    )
    .with_nulls(Nulls::Lenient("nulls are left out")),
];

/// The most nodes of arguments that are tested, because they stand in the result twice.
const MAX_TESTED: usize = 1_000;

fn coalesce_lazily(mut arguments: Vec<Expr>) -> Result<Expr, String> {
    let data_type = arguments.first().map_or(DataType::Null, Expr::data_type);
    let mut nodes = 0;
    for tested in arguments.iter().rev().skip(1) {
        tested.walk(&mut |_| nodes += 1);
    }
    if nodes > MAX_TESTED {
        return Err(String::from("has too large arguments here; compute them in a map before"));
    }
    let otherwise = arguments.pop().map(Box::new);
    let branches = arguments.into_iter().map(|value| (is_there(value.clone()), value)).collect();
    Ok(Expr::Case { branches, otherwise, data_type })
}

fn is_there(value: Expr) -> Expr {
    Expr::IsNull { input: Box::new(value), negated: true }
}

fn three(arguments: Vec<Expr>) -> Result<[Expr; 3], String> {
    arguments.try_into().map_err(|_| String::from("takes 3 arguments"))
}

fn nvl2(arguments: Vec<Expr>) -> Result<Expr, String> {
    let [tested, there, otherwise] = three(arguments)?;
    choose(vec![is_there(tested), there, otherwise])
}

fn choose(arguments: Vec<Expr>) -> Result<Expr, String> {
    let [condition, then, otherwise] = three(arguments)?;
    let data_type = then.data_type();
    Ok(Expr::Case {
        branches: vec![(condition, then)],
        otherwise: Some(Box::new(otherwise)),
        data_type,
    })
}

/// The first value where `mask` is set, else the second.
fn pick(mask: &BooleanArray, chosen: &Value, otherwise: &Value) -> Result<ArrayRef> {
    let scalar = |value: &Value| Scalar::new(Arc::clone(value.array()));
    Ok(match (chosen.is_scalar(), otherwise.is_scalar()) {
        (false, false) => zip(mask, chosen.array(), otherwise.array())?,
        (true, false) => zip(mask, &scalar(chosen), otherwise.array())?,
        (false, true) => zip(mask, chosen.array(), &scalar(otherwise))?,
        (true, true) => zip(mask, &scalar(chosen), &scalar(otherwise))?,
    })
}

/// Bits for all rows from those of a value for each row, or one for all.
fn spread(bits: BooleanArray, rows: usize) -> BooleanArray {
    if bits.len() == 1 && rows != 1 {
        return BooleanArray::from(vec![bits.is_valid(0) && bits.value(0); rows]);
    }
    bits
}

fn first(call: &Call<'_>) -> Result<ArrayRef> {
    let first = call.arguments.first();
    let first = first.ok_or_else(|| Error::Internal(String::from("a choice among nothing")))?;
    super::rows::repeated(first, call.rows)
}

fn coalesce(call: &Call<'_>) -> Result<ArrayRef> {
    let mut found = first(call)?;
    for next in &call.arguments[1..] {
        if found.null_count() == 0 {
            break;
        }
        let is_there = compute::is_not_null(&found)?;
        found = pick(&is_there, &Value::rows(found), next)?;
    }
    Ok(found)
}

fn nullif(call: &Call<'_>) -> Result<ArrayRef> {
    let [left, right] = call.arguments else {
        return Err(Error::Internal(String::from("nullif takes two")));
    };
    let equal = spread(compare(BinaryOp::Equal, left, right)?, call.rows);
    Ok(compute::nullif(&super::rows::repeated(left, call.rows)?, &equal)?)
}

fn greatest(call: &Call<'_>) -> Result<ArrayRef> {
    extreme(call, BinaryOp::Greater)
}

fn least(call: &Call<'_>) -> Result<ArrayRef> {
    extreme(call, BinaryOp::Less)
}

/// The value that is `op` all others; nulls are left out.
fn extreme(call: &Call<'_>, op: BinaryOp) -> Result<ArrayRef> {
    let mut found = first(call)?;
    for next in &call.arguments[1..] {
        let best = Value::rows(Arc::clone(&found));
        let is_better = compare(op, next, &best)?;
        // Null where one of them is: then the next one, if it is there.
        let is_only = spread(compute::is_not_null(next.array())?, call.rows);
        let is_only = compute::and(&is_only, &compute::is_null(&found)?)?;
        let is_better = match is_better.nulls() {
            Some(nulls) => BooleanArray::new(is_better.values() & nulls.inner(), None),
            None => is_better,
        };
        found = pick(&compute::or(&is_better, &is_only)?, next, &best)?;
    }
    Ok(found)
}
