//! Constants are computed when an expression is bound.
//!
//! What has no value (`1 / 0`) stays as it is: it is the error of the rows that reach it, and of
//! none where no row does.

use std::sync::Arc;

use arrow::{
    array::{RecordBatch, RecordBatchOptions},
    datatypes::{DataType, Schema},
};

use crate::expr::{Expr, Literal, cast::TextOf, coerce::settled};

/// The longest text or bytes that are kept as a constant, in bytes.
const MAX_BYTES: usize = 1 << 16;

/// The greatest number that a function which makes text is called with ahead of time.
const MAX_COUNT: i64 = 1 << 16;

/// `expr`, or its value where it is a constant's.
pub(crate) fn fold(expr: Expr) -> Expr {
    let mut expr = expr;
    expr.children_mut().into_iter().for_each(close);
    let children = expr.children();
    let is_constant = !children.is_empty()
        && children.iter().all(|child| matches!(child, Expr::Literal(_)))
        && !is_large(&expr);
    if !is_constant {
        return expr;
    }
    match value(&expr) {
        Some(literal) if literal.data_type() == expr.data_type() && is_printable(&literal) => {
            Expr::Literal(literal)
        }
        _ => expr,
    }
}

/// Leaves nothing open: a number with a point that met no decimal is a float64.
pub(crate) fn settle(expr: &mut Expr) {
    close(expr);
    expr.children_mut().into_iter().for_each(settle);
}

fn close(expr: &mut Expr) {
    if let Expr::Literal(Literal::Exact { .. }) = expr {
        let open = std::mem::replace(expr, Expr::Literal(Literal::Bool(false)));
        *expr = settled(open);
    }
}

fn value(expr: &Expr) -> Option<Literal> {
    let one = RecordBatchOptions::new().with_row_count(Some(1));
    let row = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &one).ok()?;
    let array = expr.evaluate(&row).ok()?;
    Literal::of(&array, 0)
}

/// Whether a call might make a large text of small constants.
fn is_large(expr: &Expr) -> bool {
    let Expr::Call { arguments, data_type, .. } = expr else { return false };
    matches!(data_type, DataType::Utf8View | DataType::BinaryView)
        && arguments.iter().any(
            |argument| matches!(argument, Expr::Literal(Literal::Int64(count)) if *count > MAX_COUNT),
        )
}

/// Whether a constant can be written so that it reads back, and is small.
fn is_printable(literal: &Literal) -> bool {
    match literal {
        Literal::Utf8(text) => text.len() <= MAX_BYTES,
        Literal::Binary(bytes) => bytes.len() <= MAX_BYTES,
        Literal::Date32(_) | Literal::Timestamp { .. } => {
            let mut text = String::new();
            let array = literal.to_array();
            TextOf::new(&array).is_ok_and(|writer| {
                writer.write(0, &mut text);
                text.starts_with(|first: char| first.is_ascii_digit())
            })
        }
        _ => true,
    }
}
