//! `group by`: rows of groups, with their keys and aggregates as columns.

use sqlparser::{
    ast::{Expr as Sql, Function},
    tokenizer::Span,
};

use super::{Result, SqlError, Translator, relation::Relation, select::Select, span_of, tree};
use crate::expr::{aggregate::bind::is_aggregate, parse::ParseErrorKind};

/// What the columns of groups stand for.
struct Groups {
    /// An expression as text, and the column that has its value.
    columns: Vec<(String, String)>,
}

impl Translator<'_, '_, '_, '_> {
    /// The groups of `relation`, and the rest of the query over their columns. `more` are keys
    /// beside those of the query.
    pub(super) fn aggregated(
        &mut self,
        relation: &Relation,
        select: &mut Select,
        more: Vec<(String, Sql)>,
    ) -> Result<Relation> {
        let mut relation = relation.clone();
        let mut groups = Groups { columns: Vec::new() };
        let mut keys = more;
        for sql in &select.keys {
            relation = self.attached(relation, sql)?;
            let name = match tree::without_parentheses(sql) {
                Sql::Identifier(name) => name.value.clone(),
                other => self.own_name(&shown(other)),
            };
            groups.columns.push((tree::without_parentheses(sql).to_string(), name.clone()));
            keys.push((name, sql.clone()));
        }
        let mut calls: Vec<Sql> = Vec::new();
        for sql in select.results_mut() {
            collect(sql, &mut calls);
        }
        let mut aggregates: Vec<(String, Sql)> = Vec::new();
        for call in calls {
            let text = call.to_string();
            if groups.columns.iter().any(|(known, _)| *known == text) {
                continue;
            }
            relation = self.attached(relation, &call)?;
            let name = self.own_name(&shown(&call));
            if matches!(&call, Sql::Function(call) if counts(call)) {
                self.counts.insert(name.clone());
            }
            groups.columns.push((text, name.clone()));
            aggregates.push((name, call));
        }
        let grouped = self.reduce(&relation, &keys, &aggregates)?;
        for sql in select.results_mut() {
            *sql = self.over_groups(sql, &groups, &grouped)?;
        }
        Ok(grouped)
    }

    /// An expression over the columns of groups.
    fn over_groups(&self, sql: &Sql, groups: &Groups, grouped: &Relation) -> Result<Sql> {
        let text = tree::without_parentheses(sql).to_string();
        if let Some((_, column)) = groups.columns.iter().find(|(known, _)| *known == text) {
            return Ok(tree::column(column, span_of(sql)));
        }
        if let Sql::Identifier(word) = sql {
            let stray = match self.subquery(&word.value) {
                None => (!grouped.has(&word.value)).then_some(&word.value),
                Some(subquery) => subquery.outer.iter().find(|name| !grouped.has(name)),
            };
            return match stray {
                None => Ok(sql.clone()),
                Some(stray) => Err(stray_column(stray, word.span)),
            };
        }
        let mut changed = sql.clone();
        for child in tree::children(&mut changed) {
            *child = self.over_groups(child, groups, grouped)?;
        }
        Ok(changed)
    }

    /// The columns of counts that an expression reads.
    pub(super) fn counts_in(&self, sql: &Sql, relation: &Relation) -> Vec<String> {
        let is_count = |name: &String| self.counts.contains(name) && relation.has(name);
        tree::names(sql).into_iter().filter(is_count).collect()
    }

    /// Whether a relation has one row by the way it is made.
    pub(super) fn has_one_row(&self, relation: &Relation) -> bool {
        let nodes = &self.binder.nodes;
        let mut index = relation.bound.index;
        loop {
            let node = &nodes[index.index()];
            match (&node.op, &node.inputs[..]) {
                (crate::plan::Op::Reduce { keys, .. }, _) => return keys.is_empty(),
                (crate::plan::Op::Map { .. } | crate::plan::Op::Sort { .. }, [input]) => {
                    index = *input;
                }
                _ => return false,
            }
        }
    }
}

fn stray_column(name: &str, span: Span) -> SqlError {
    let name = name.split('#').next().unwrap_or(name);
    let message = format!(
        "`{name}` is neither a key of the groups nor in an aggregate; add it to `group by`, or say \
         any_value({name})"
    );
    SqlError::new(ParseErrorKind::UnknownColumn, span, message)
}

/// Adds the aggregates of an expression to `calls`, the innermost alone.
fn collect(sql: &mut Sql, calls: &mut Vec<Sql>) {
    if let Sql::Function(call) = &*sql
        && is_aggregate(call)
    {
        calls.push(sql.clone());
        return;
    }
    for child in tree::children(sql) {
        collect(child, calls);
    }
}

/// Whether an aggregate is 0 and not null over no rows.
fn counts(call: &Function) -> bool {
    let name = call.name.to_string();
    name.starts_with("count") || name.starts_with("approx_count")
}

/// An expression as a name for people.
fn shown(sql: &Sql) -> String {
    let text = sql.to_string().replace(['"', '\n'], "");
    text.chars().take(60).collect()
}
