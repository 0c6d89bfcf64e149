//! sqlparser's expression trees: their parts, their conjuncts, and trees made of them.

use sqlparser::{
    ast::{
        AccessExpr, BinaryOperator, Expr as Sql, Function, FunctionArg, FunctionArgExpr,
        FunctionArgumentClause, FunctionArguments, Ident, InTarget, Spanned, Subscript,
        UnaryOperator, WindowType,
    },
    tokenizer::Span,
};

/// The most levels of one expression.
pub(super) const MAX_DEPTH: usize = 100;

/// The expressions directly in another one, in the order of the text. Subqueries are none.
pub(super) fn children(sql: &mut Sql) -> Vec<&mut Sql> {
    match sql {
        Sql::IsFalse(inner)
        | Sql::IsNotFalse(inner)
        | Sql::IsTrue(inner)
        | Sql::IsNotTrue(inner)
        | Sql::IsNull(inner)
        | Sql::IsNotNull(inner)
        | Sql::IsUnknown(inner)
        | Sql::IsNotUnknown(inner)
        | Sql::Nested(inner)
        | Sql::UnaryOp { expr: inner, .. }
        | Sql::Cast { expr: inner, .. }
        | Sql::Extract { expr: inner, .. }
        | Sql::Ceil { expr: inner, .. }
        | Sql::Floor { expr: inner, .. }
        | Sql::Collate { expr: inner, .. }
        | Sql::Named { expr: inner, .. } => vec![inner],
        Sql::IsDistinctFrom(left, right)
        | Sql::IsNotDistinctFrom(left, right)
        | Sql::BinaryOp { left, right, .. }
        | Sql::AnyOp { left, right, .. }
        | Sql::AllOp { left, right, .. }
        | Sql::AtTimeZone { timestamp: left, time_zone: right }
        | Sql::Position { expr: left, r#in: right } => vec![left, right],
        Sql::Between { expr, low, high, .. } => vec![expr, low, high],
        Sql::In { expr, target: InTarget::List(list), .. } => {
            [expr.as_mut()].into_iter().chain(list).collect()
        }
        Sql::In { expr, target: InTarget::Unnest(array), .. } => vec![expr, array],
        Sql::In { expr, .. } => vec![expr],
        Sql::Like { expr, pattern, escape_char, .. }
        | Sql::ILike { expr, pattern, escape_char, .. }
        | Sql::SimilarTo { expr, pattern, escape_char, .. } => {
            let escape = escape_char.as_deref_mut();
            [expr.as_mut(), pattern].into_iter().chain(escape).collect()
        }
        Sql::RLike { expr, pattern, .. } => vec![expr, pattern],
        Sql::Substring { expr, substring_from, substring_for, .. } => [expr.as_mut()]
            .into_iter()
            .chain(substring_from.as_deref_mut())
            .chain(substring_for.as_deref_mut())
            .collect(),
        Sql::Trim { trim_what, expr, trim_characters, .. } => trim_what
            .as_deref_mut()
            .into_iter()
            .chain([expr.as_mut()])
            .chain(trim_characters.iter_mut().flatten())
            .collect(),
        Sql::Overlay { expr, overlay_what, overlay_from, overlay_for } => {
            let count = overlay_for.as_deref_mut();
            [expr.as_mut(), overlay_what, overlay_from].into_iter().chain(count).collect()
        }
        Sql::Case { operand, conditions, else_result, .. } => operand
            .as_deref_mut()
            .into_iter()
            .chain(conditions.iter_mut().flat_map(|when| [&mut when.condition, &mut when.result]))
            .chain(else_result.as_deref_mut())
            .collect(),
        Sql::Tuple(items) => items.iter_mut().collect(),
        Sql::Array(array) => array.elem.iter_mut().collect(),
        Sql::Struct { values, .. } => values.iter_mut().collect(),
        Sql::Dictionary(members) => members.iter_mut().map(|member| &mut *member.value).collect(),
        Sql::Interval(interval) => vec![&mut interval.value],
        Sql::CompoundFieldAccess { root, access_chain } => {
            let steps = access_chain.iter_mut().flat_map(|step| match step {
                // What stands behind a dot is a field's name and no column.
                AccessExpr::Dot(_) => Vec::new(),
                AccessExpr::Subscript(Subscript::Index { index }) => vec![index],
                AccessExpr::Subscript(Subscript::Slice { lower_bound, upper_bound, stride }) => {
                    lower_bound.iter_mut().chain(upper_bound).chain(stride).collect()
                }
            });
            [root.as_mut()].into_iter().chain(steps).collect()
        }
        Sql::Function(call) => call_children(call),
        _ => Vec::new(),
    }
}

fn call_children(call: &mut Function) -> Vec<&mut Sql> {
    let mut found = Vec::new();
    if let FunctionArguments::List(list) = &mut call.args {
        for argument in &mut list.args {
            let (FunctionArg::Unnamed(argument)
            | FunctionArg::Named { arg: argument, .. }
            | FunctionArg::ExprNamed { arg: argument, .. }) = argument;
            if let FunctionArgExpr::Expr(argument) = argument {
                found.push(argument);
            }
        }
        for clause in &mut list.clauses {
            match clause {
                FunctionArgumentClause::OrderBy(keys) => {
                    found.extend(keys.iter_mut().map(|key| &mut key.expr));
                }
                FunctionArgumentClause::Where(condition) => found.push(condition),
                _ => {}
            }
        }
    }
    found.extend(call.within_group.iter_mut().map(|key| &mut key.expr));
    found.extend(call.filter.as_deref_mut());
    if let Some(WindowType::WindowSpec(window)) = &mut call.over {
        found.extend(&mut window.partition_by);
        found.extend(window.order_by.iter_mut().map(|key| &mut key.expr));
    }
    found
}

/// The first expression that nests deeper than [`MAX_DEPTH`]. Nothing recurses here.
pub(super) fn too_deep(sql: &Sql) -> Option<Span> {
    // A copy, since the parts of an expression are only listed to be changed.
    let mut copy = sql.clone();
    let mut waiting = vec![(&mut copy, 0)];
    while let Some((next, depth)) = waiting.pop() {
        if depth > MAX_DEPTH {
            return Some(next.span());
        }
        waiting.extend(children(next).into_iter().map(|child| (child, depth + 1)));
    }
    None
}

/// The names that an expression says, each once.
pub(super) fn names(sql: &Sql) -> Vec<String> {
    let mut copy = sql.clone();
    let mut found: Vec<String> = Vec::new();
    let mut waiting = vec![&mut copy];
    while let Some(next) = waiting.pop() {
        let name = match next {
            Sql::Identifier(name) => Some(&name.value),
            Sql::CompoundIdentifier(parts) => parts.first().map(|name| &name.value),
            _ => None,
        };
        if let Some(name) = name
            && !found.contains(name)
        {
            found.push(name.clone());
        }
        waiting.extend(children(next));
    }
    found
}

/// Where the first of `wanted` stands in an expression.
pub(super) fn place_of(sql: &Sql, wanted: impl Fn(&str) -> bool) -> Option<Span> {
    let mut copy = sql.clone();
    let mut waiting = vec![&mut copy];
    while let Some(next) = waiting.pop() {
        match next {
            Sql::Identifier(name) if wanted(&name.value) => return Some(name.span),
            Sql::CompoundIdentifier(parts) if parts.first().is_some_and(|n| wanted(&n.value)) => {
                return parts.first().map(|name| name.span);
            }
            _ => {}
        }
        waiting.extend(children(next));
    }
    None
}

/// What holds only together: `a and b and c` as its parts, without parentheses around them.
pub(super) fn conjuncts(sql: Sql) -> Vec<Sql> {
    chain(sql, &BinaryOperator::And)
}

/// What is joined by one connective, as its parts.
fn chain(sql: Sql, op: &BinaryOperator) -> Vec<Sql> {
    let mut found = Vec::new();
    let mut waiting = vec![sql];
    while let Some(next) = waiting.pop() {
        match next {
            Sql::BinaryOp { left, op: joined, right } if joined == *op => {
                waiting.push(*right);
                waiting.push(*left);
            }
            Sql::Nested(inner) if is_chain(&inner, op) => waiting.push(*inner),
            other => found.push(other),
        }
    }
    found
}

fn is_chain(sql: &Sql, op: &BinaryOperator) -> bool {
    match sql {
        Sql::BinaryOp { op: joined, .. } => joined == op,
        Sql::Nested(inner) => is_chain(inner, op),
        _ => false,
    }
}

/// Conjuncts that say the same as `conjuncts`, with what all branches of an `or` have in common
/// in front of it, so that `(a = b and x) or (a = b and y)` shows its join key.
pub(super) fn factored(conjuncts: Vec<Sql>) -> Vec<Sql> {
    conjuncts.into_iter().flat_map(factor).collect()
}

fn factor(conjunct: Sql) -> Vec<Sql> {
    let stripped = without_parentheses(&conjunct);
    if !is_chain(stripped, &BinaryOperator::Or) {
        return vec![conjunct];
    }
    let branches: Vec<Vec<(String, Sql)>> = chain(stripped.clone(), &BinaryOperator::Or)
        .into_iter()
        .map(|branch| conjuncts(branch).into_iter().map(|part| (part.to_string(), part)).collect())
        .collect();
    let is_everywhere =
        |text: &String| branches.iter().all(|branch| branch.iter().any(|(known, _)| known == text));
    let mut common: Vec<(String, Sql)> = Vec::new();
    for (text, part) in branches.first().into_iter().flatten() {
        if is_everywhere(text) && !common.iter().any(|(known, _)| known == text) {
            common.push((text.clone(), part.clone()));
        }
    }
    if common.is_empty() {
        return vec![conjunct];
    }
    let rests: Vec<Option<Sql>> = branches
        .into_iter()
        .map(|branch| {
            let rest = branch
                .into_iter()
                .filter(|(text, _)| !common.iter().any(|(known, _)| known == text));
            all(rest.map(|(_, part)| part).collect())
        })
        .collect();
    let mut found: Vec<Sql> = common.into_iter().map(|(_, part)| part).collect();
    // A branch of nothing but what is common holds wherever that does.
    if let Some(rests) = rests.into_iter().collect::<Option<Vec<_>>>() {
        found.extend(any(rests));
    }
    found
}

/// What an `or` says about some columns alone: of each branch what speaks of nothing else, if
/// every branch has such a part.
pub(super) fn implied(conjunct: &Sql, is_own: impl Fn(&str) -> bool) -> Option<Sql> {
    let stripped = without_parentheses(conjunct);
    if !is_chain(stripped, &BinaryOperator::Or) {
        return None;
    }
    let branches = chain(stripped.clone(), &BinaryOperator::Or);
    let own = branches.into_iter().map(|branch| {
        let parts = conjuncts(branch).into_iter().filter(|part| {
            let names = names(part);
            !names.is_empty() && names.iter().all(|name| is_own(name))
        });
        all(parts.collect())
    });
    own.collect::<Option<Vec<_>>>().and_then(any)
}

/// The conjunction of all; none of nothing.
pub(super) fn all(parts: Vec<Sql>) -> Option<Sql> {
    joined(parts, &BinaryOperator::And)
}

fn any(parts: Vec<Sql>) -> Option<Sql> {
    joined(parts, &BinaryOperator::Or)
}

fn joined(parts: Vec<Sql>, op: &BinaryOperator) -> Option<Sql> {
    let wrapped = |part: Sql| match part {
        Sql::BinaryOp { op: BinaryOperator::Or, .. } if *op == BinaryOperator::And => {
            Sql::Nested(Box::new(part))
        }
        part => part,
    };
    parts.into_iter().map(wrapped).reduce(|left, right| binary(left, op.clone(), right))
}

pub(super) fn binary(left: Sql, op: BinaryOperator, right: Sql) -> Sql {
    Sql::BinaryOp { left: Box::new(left), op, right: Box::new(right) }
}

pub(super) fn negated(sql: Sql) -> Sql {
    Sql::UnaryOp { op: UnaryOperator::Not, expr: Box::new(Sql::Nested(Box::new(sql))) }
}

/// The expression inside all parentheses around it.
pub(super) fn without_parentheses(mut sql: &Sql) -> &Sql {
    while let Sql::Nested(inner) = sql {
        sql = inner;
    }
    sql
}

/// A column by its name, said at `span`.
pub(super) fn column(name: &str, span: Span) -> Sql {
    Sql::Identifier(Ident { value: String::from(name), quote_style: Some('"'), span })
}

/// A whole number, said at `span`.
pub(super) fn number(value: i64, span: Span) -> Sql {
    let value = sqlparser::ast::Value::Number(value.to_string(), false);
    Sql::Value(sqlparser::ast::ValueWithSpan { value, span })
}

/// A null, of whatever type fits, said at `span`.
pub(super) fn null(span: Span) -> Sql {
    Sql::Value(sqlparser::ast::ValueWithSpan { value: sqlparser::ast::Value::Null, span })
}

/// A call of a function by its name, said at `span`.
pub(super) fn call(name: &str, arguments: Vec<FunctionArgExpr>, span: Span) -> Sql {
    let name = Ident { value: String::from(name), quote_style: None, span };
    let args = arguments.into_iter().map(FunctionArg::Unnamed).collect();
    Sql::Function(Function {
        name: vec![name].into(),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(sqlparser::ast::FunctionArgumentList {
            duplicate_treatment: None,
            args,
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

/// `left` and `right` of `left = right`.
pub(super) fn equality(conjunct: &Sql) -> Option<(&Sql, &Sql)> {
    match without_parentheses(conjunct) {
        Sql::BinaryOp { left, op: BinaryOperator::Eq, right } => Some((left, right)),
        _ => None,
    }
}
