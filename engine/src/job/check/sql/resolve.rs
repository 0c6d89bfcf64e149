//! Expressions of a query → expressions over the plan's own names of columns.
//!
//! A query inside an expression is translated on the way; a name takes its place, and what becomes
//! of it is for [`super::subqueries`] to say.

use sqlparser::{
    ast::{
        BinaryOperator, Expr as Sql, Function, InTarget, ObjectNamePart, UnaryOperator, WindowType,
    },
    tokenizer::Span,
};

use super::{Result, SqlError, Translator, scope::Scope, span_of, tree};
use crate::expr::parse::ParseErrorKind;

impl Translator<'_, '_, '_, '_> {
    /// The expression with its names resolved.
    pub(super) fn resolve(&mut self, sql: &Sql, scope: &Scope<'_>) -> Result<Sql> {
        if let Some(span) = tree::too_deep(sql) {
            let message = format!("the expression is nested more than {} deep", tree::MAX_DEPTH);
            return Err(SqlError::new(ParseErrorKind::Syntax, span, message));
        }
        self.resolved(sql, scope)
    }

    fn resolved(&mut self, sql: &Sql, scope: &Scope<'_>) -> Result<Sql> {
        match sql {
            Sql::Identifier(word) => return scope.word(word),
            Sql::CompoundIdentifier(words) => return scope.words(words),
            Sql::UnaryOp { op: UnaryOperator::Not, expr } => {
                if let Some(opposite) = opposite(expr) {
                    return self.resolved(&opposite, scope);
                }
            }
            Sql::Exists { subquery, negated } => {
                return self.exists(subquery, *negated, span_of(sql), scope);
            }
            Sql::In { expr, target: InTarget::Subquery(query), negated, .. } => {
                return self.membership(expr, query, *negated, span_of(sql), scope);
            }
            Sql::In { target: InTarget::Table { name, .. }, .. } => {
                let message = format!("`in {name}` is not supported; say `in (select ...)`");
                return Err(SqlError::unsupported(span_of(sql), message));
            }
            Sql::AnyOp { left, compare_op: BinaryOperator::Eq, right, .. } => {
                if let Sql::Subquery(query) = tree::without_parentheses(right) {
                    return self.membership(left, query, false, span_of(sql), scope);
                }
            }
            Sql::AllOp { left, compare_op: BinaryOperator::NotEq, right } => {
                if let Sql::Subquery(query) = tree::without_parentheses(right) {
                    return self.membership(left, query, true, span_of(sql), scope);
                }
            }
            Sql::Subquery(query) => return self.scalar(query, span_of(sql), scope),
            _ => {}
        }
        if let Sql::AnyOp { right, .. } | Sql::AllOp { right, .. } = sql
            && matches!(tree::without_parentheses(right), Sql::Subquery(_))
        {
            let message = "`any` and `all` of a subquery are not supported but for `= any` and \
                           `<> all`; compare with its `min` or `max`";
            return Err(SqlError::unsupported(span_of(sql), message));
        }
        let mut changed = sql.clone();
        if let Sql::Function(call) = &mut changed {
            self.call(call)?;
        }
        for child in tree::children(&mut changed) {
            *child = self.resolved(child, scope)?;
        }
        Ok(changed)
    }

    /// A call as others of the same function are: its name in lower case, its window spelled out.
    fn call(&self, call: &mut Function) -> Result<()> {
        for part in &mut call.name.0 {
            if let ObjectNamePart::Identifier(word) = part
                && word.quote_style.is_none()
            {
                word.value.make_ascii_lowercase();
            }
        }
        if let Some(WindowType::NamedWindow(name)) = &call.over {
            let known = self.windows.iter().find(|(known, _)| {
                known.value == name.value
                    || (name.quote_style.is_none() && known.value.eq_ignore_ascii_case(&name.value))
            });
            let Some((_, window)) = known else {
                let message =
                    format!("no window `{}`; name it by `window {0} as (...)`", name.value);
                return Err(SqlError::new(ParseErrorKind::UnknownColumn, name.span, message));
            };
            call.over = Some(WindowType::WindowSpec(window.clone()));
        }
        if let Some(WindowType::WindowSpec(window)) = &call.over
            && let Some(name) = &window.window_name
        {
            let message = "a window that goes on from another one is not supported; spell it out";
            return Err(SqlError::unsupported(name.span, message));
        }
        Ok(())
    }

    /// The columns that an expression reads; those that a subquery in it compares are among them.
    pub(super) fn names_of(&self, sql: &Sql) -> Vec<String> {
        let mut found: Vec<String> = Vec::new();
        for name in tree::names(sql) {
            match self.subquery(&name) {
                Some(subquery) => {
                    let outer = subquery.outer.iter().filter(|other| !found.contains(other));
                    let outer: Vec<_> = outer.cloned().collect();
                    found.extend(outer);
                }
                None if !found.contains(&name) => found.push(name),
                None => {}
            }
        }
        found
    }

    /// Where a subquery stands in an expression.
    pub(super) fn subquery_in(&self, sql: &Sql) -> Option<Span> {
        tree::place_of(sql, |name| self.subquery(name).is_some())
    }
}

/// What `not` makes of a test for rows.
fn opposite(sql: &Sql) -> Option<Sql> {
    let mut sql = tree::without_parentheses(sql).clone();
    match &mut sql {
        Sql::Exists { negated, .. } | Sql::In { target: InTarget::Subquery(_), negated, .. } => {
            *negated = !*negated;
        }
        _ => return None,
    }
    Some(sql)
}
