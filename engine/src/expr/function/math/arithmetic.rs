//! Arithmetic by name: `mod`, `div`, and forms that are null where the operators fail.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, RecordBatch, new_null_array},
    compute,
    datatypes::{Field, Schema},
};

use crate::{
    Error, Result,
    expr::{
        BinaryOp, Expr, coerce,
        function::{Call, Function, rows},
        parse::type_name,
    },
};

/// `left op right`, with its operands brought to the types that the operator takes.
fn operation(op: BinaryOp, arguments: Vec<Expr>) -> Result<Expr, String> {
    let [left, right] = arguments.try_into().map_err(|_| String::from("takes 2 arguments"))?;
    let Some(typing) = coerce::arithmetic(op, &left, &right) else {
        let (left, right) = (type_name(&left.data_type()), type_name(&right.data_type()));
        return Err(format!("`{op}` does not take {left} and {right}"));
    };
    Ok(Expr::Binary {
        op,
        left: Box::new(coerce::coerce(left, &typing.left)?),
        right: Box::new(coerce::coerce(right, &typing.right)?),
        data_type: typing.result,
    })
}

pub(in crate::expr::function) fn modulo(arguments: Vec<Expr>) -> Result<Expr, String> {
    operation(BinaryOp::Modulo, arguments)
}

pub(in crate::expr::function) fn divide(arguments: Vec<Expr>) -> Result<Expr, String> {
    operation(BinaryOp::IntegerDivide, arguments)
}

/// A call of `name` over operands that have the types of the operator.
fn prepared(name: &'static str, op: BinaryOp, arguments: Vec<Expr>) -> Result<Expr, String> {
    match operation(op, arguments)? {
        Expr::Binary { left, right, data_type, .. } => {
            Ok(Expr::Call { function: Function(name), arguments: vec![*left, *right], data_type })
        }
        other => Ok(other),
    }
}

/// The operator over all rows, or over each where it fails for one; those rows are null.
fn tried(call: &Call<'_>, op: BinaryOp) -> Result<ArrayRef> {
    let columns = call.arguments.iter().map(|argument| rows::repeated(argument, call.rows));
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let operand = |index: usize| {
        let data_type = columns[index].data_type().clone();
        Box::new(Expr::Column { index, name: String::new(), data_type })
    };
    let operation =
        Expr::Binary { op, left: operand(0), right: operand(1), data_type: call.data_type.clone() };
    let fields = columns.iter().enumerate();
    let fields = fields
        .map(|(index, column)| Field::new(index.to_string(), column.data_type().clone(), true));
    let schema = Schema::new(fields.collect::<Vec<_>>());
    let batch = RecordBatch::try_new(Arc::new(schema), columns.clone())?;
    match operation.evaluate(&batch) {
        Err(Error::Evaluate { .. }) => {}
        done => return done,
    }
    let mut values = Vec::with_capacity(call.rows);
    for row in 0..call.rows {
        values.push(match operation.evaluate(&batch.slice(row, 1)) {
            Err(Error::Evaluate { .. }) => new_null_array(call.data_type, 1),
            other => other?,
        });
    }
    let values: Vec<_> = values.iter().map(AsRef::as_ref).collect();
    Ok(compute::concat(&values)?)
}

macro_rules! tries {
    ($($prepare:ident, $name:ident: $op:ident;)*) => {
        $(
            pub(in crate::expr::function) fn $prepare(
                arguments: Vec<Expr>,
            ) -> Result<Expr, String> {
                prepared(stringify!($name), BinaryOp::$op, arguments)
            }

            pub(in crate::expr::function) fn $name(call: &Call<'_>) -> Result<ArrayRef> {
                tried(call, BinaryOp::$op)
            }
        )*
    };
}

tries! {
    prepare_add, try_add: Add;
    prepare_subtract, try_subtract: Subtract;
    prepare_multiply, try_multiply: Multiply;
    prepare_divide, try_divide: Divide;
}
