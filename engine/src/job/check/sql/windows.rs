//! `over (...)`: window functions as columns, those of one window by one node.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema};
use sqlparser::ast::{Expr as Sql, WindowSpec, WindowType};
use sqlparser::tokenizer::Span;

use super::{
    Result, Translator,
    relation::Relation,
    select::{Select, window_of},
    span_of, tree,
};
use crate::{
    expr::{Expr, SortKey, window},
    job::check::nodes,
    plan::{Op, Order},
};

/// Functions over the same rows in the same order.
struct Group {
    text: String,
    spec: WindowSpec,
    calls: Vec<(String, Sql)>,
}

impl Translator<'_, '_, '_, '_> {
    /// The relation with a column for each window function of the query, which reads those.
    pub(super) fn windowed(
        &mut self,
        mut relation: Relation,
        select: &mut Select,
    ) -> Result<Relation> {
        let mut groups: Vec<Group> = Vec::new();
        for sql in select.results_mut() {
            self.collected(sql, &mut groups);
        }
        for group in groups {
            relation = self.window(relation, &group)?;
        }
        Ok(relation)
    }

    /// Moves the window functions of an expression to their groups; a column stands for each.
    fn collected(&mut self, sql: &mut Sql, groups: &mut Vec<Group>) {
        if let Sql::Function(call) = &*sql
            && let Some(WindowType::WindowSpec(spec)) = &call.over
        {
            let mut rows = spec.clone();
            // What a function sees of the rows is its own matter.
            rows.window_frame = None;
            let text = rows.to_string();
            let like = groups.iter().position(|group| group.text == text);
            let place = like.unwrap_or_else(|| {
                groups.push(Group { text, spec: rows, calls: Vec::new() });
                groups.len() - 1
            });
            let calls = &mut groups[place].calls;
            let same = calls.iter().find(|(_, other)| other == sql);
            let known = same.map(|(name, _)| name.clone());
            let name = known.unwrap_or_else(|| {
                let name = self.own_name(&format!("{}()", call.name));
                calls.push((name.clone(), sql.clone()));
                name
            });
            *sql = tree::column(&name, span_of(sql));
            return;
        }
        for child in tree::children(sql) {
            self.collected(child, groups);
        }
    }

    fn window(&mut self, input: Relation, group: &Group) -> Result<Relation> {
        let over = window::over(&group.spec, self.text, input.schema())?;
        let mut columns = nodes::all_columns(input.schema());
        let mut place = |expr: Expr, this: &mut Self| match expr {
            Expr::Column { index, .. } => index,
            other => {
                columns.push((this.own_name("key#1"), other));
                columns.len() - 1
            }
        };
        let mut partition_by: Vec<usize> = Vec::with_capacity(over.partition_by.len());
        for expr in over.partition_by {
            let column = place(expr, self);
            if !partition_by.contains(&column) {
                partition_by.push(column);
            }
        }
        let mut order_by: Vec<SortKey> = Vec::with_capacity(over.order_by.len());
        for key in over.order_by {
            let column = place(key.expr, self);
            let is_known = order_by.iter().any(|known: &SortKey| known.column == column);
            if !is_known {
                let (descending, nulls_first) = (key.descending, key.nulls_first);
                order_by.push(SortKey { column, descending, nulls_first });
            }
        }
        let input = if columns.len() > input.schema().fields().len() {
            self.map_bound(&input, columns)
        } else {
            input
        };
        let schema = Arc::clone(&input.bound.schema);
        let mut functions = Vec::with_capacity(group.calls.len());
        let mut fields: Vec<Field> =
            schema.fields().iter().map(|field| field.as_ref().clone()).collect();
        for (name, sql) in &group.calls {
            let frame = match sql {
                Sql::Function(call) => match &call.over {
                    Some(WindowType::WindowSpec(spec)) => {
                        window::over(spec, self.text, &schema)?.frame
                    }
                    _ => window::Frame::default(),
                },
                _ => window::Frame::default(),
            };
            let function = window::bind(sql, self.text, &schema, &frame)?;
            fields.push(Field::new(name, function.data_type.clone(), true));
            functions.push(function);
        }
        let partitions = partition_by.iter().map(|column| SortKey {
            column: *column,
            descending: false,
            nulls_first: false,
        });
        let mut keys: Vec<SortKey> = partitions.collect();
        let is_new = |among: &[SortKey], key: &SortKey| {
            !among.iter().any(|known| known.column == key.column)
        };
        for key in &order_by {
            if is_new(&keys, key) {
                keys.push(key.clone());
            }
        }
        if input.bound.order == Order::None {
            // Rows that nothing tells apart have no order; all columns give them one.
            let rest: Vec<SortKey> =
                nodes::ascending(&schema).into_iter().filter(|key| is_new(&keys, key)).collect();
            keys.extend(rest);
        }
        let op = Op::Window { partition_by, order_by, functions };
        let wider = Arc::new(Schema::new(fields));
        let rows = input.rows;
        let order = if keys.is_empty() { input.bound.order.clone() } else { Order::Sorted(keys) };
        Ok(self.push("window", op, &[&input], wider, order, rows))
    }
}

/// Where a window function stands in a SELECT.
pub(super) fn window_in(select: &Select) -> Option<Span> {
    select.expressions().find_map(window_of)
}
