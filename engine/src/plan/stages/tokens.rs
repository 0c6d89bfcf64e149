//! Lower case where tokens are cut.
//!
//! A map that wants each token in lower case, and in no other way, gets it from the step that cuts
//! it: the token's bytes are at hand there. The map stays, since it has a name and counts its rows.

use crate::{
    expr::{Expr, function::Function},
    plan::{Step, StepKind},
};

/// What a map on top of `steps` computes: `columns`, or, with the tokens of the last step put in
/// lower case, what is left to do.
pub(super) fn lowered(steps: &mut [Step], columns: Vec<Expr>) -> Vec<Expr> {
    let Some(Step { kind: StepKind::Tokenize { lower, .. }, .. }) = steps.last_mut() else {
        return columns;
    };
    let reads_token = columns.iter().any(|column| !column.columns().is_empty());
    if *lower || !reads_token || !columns.iter().all(wants_lower_case) {
        return columns;
    }
    *lower = true;
    let mut columns = columns;
    columns.iter_mut().for_each(take_as_it_is);
    columns
}

/// The token, the only column that there is, in lower case.
fn is_lower_token(expr: &Expr) -> bool {
    matches!(
        expr,
        Expr::Call { function, arguments, .. }
            if *function == Function::LOWER && matches!(arguments[..], [Expr::Column { .. }])
    )
}

/// Whether an expression reads the token in lower case alone.
fn wants_lower_case(expr: &Expr) -> bool {
    is_lower_token(expr)
        || !matches!(expr, Expr::Column { .. }) && expr.children().into_iter().all(wants_lower_case)
}

/// Puts the token in the place of its lower case.
fn take_as_it_is(expr: &mut Expr) {
    if is_lower_token(expr)
        && let Expr::Call { arguments, .. } = expr
        && let Some(token) = arguments.pop()
    {
        *expr = token;
        return;
    }
    expr.children_mut().into_iter().for_each(take_as_it_is);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{DataType, Field, Schema};

    use super::lowered;
    use crate::{
        expr::parse,
        plan::{NodeIndex, Step, StepIndex, StepKind},
    };

    /// What is left of the expressions over tokens, and whether these are in lower case.
    fn over_tokens(expressions: &[&str]) -> (Vec<String>, bool) {
        let field = Field::new("token", DataType::Utf8View, true);
        let schema = Arc::new(Schema::new(vec![field]));
        let parsed = expressions.iter().map(|text| parse::expression(text, &schema).unwrap());
        let columns = parsed.collect();
        let kind = StepKind::Tokenize { input: StepIndex(0), columns: vec![0], lower: false };
        let mut steps = [Step { node: NodeIndex(0), schema, kind }];
        let left = lowered(&mut steps, columns).iter().map(ToString::to_string).collect();
        (left, matches!(steps[0].kind, StepKind::Tokenize { lower: true, .. }))
    }

    #[test]
    fn tokens_that_are_wanted_in_lower_case_alone_are_cut_so() {
        let (left, is_lower) = over_tokens(&["lower(token)", "length(lower(token))", "1"]);
        assert_eq!((left, is_lower), over_tokens_left(&["token", "length(token)", "1"], true));
    }

    #[test]
    fn tokens_that_are_wanted_as_they_stand_stay_so() {
        for kept in [&["lower(token)", "token"][..], &["upper(token)"], &["1"]] {
            assert_eq!(over_tokens(kept), over_tokens_left(kept, false));
        }
    }

    fn over_tokens_left(left: &[&str], is_lower: bool) -> (Vec<String>, bool) {
        (left.iter().map(|text| String::from(*text)).collect(), is_lower)
    }
}
