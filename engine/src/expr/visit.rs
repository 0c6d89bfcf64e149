//! Walking over expressions: which columns they read, and the same over other columns.

use std::collections::BTreeSet;

use crate::expr::{Aggregate, Expr, window::WindowFunction};

impl Expr {
    /// Adds the columns that it reads to `columns`.
    pub fn collect_columns(&self, columns: &mut BTreeSet<usize>) {
        if let Self::Column { index, .. } = self {
            columns.insert(*index);
        }
        for child in self.children() {
            child.collect_columns(columns);
        }
    }

    /// Moves every column that it reads to its place in `to`.
    pub fn move_columns(&mut self, to: &impl Fn(usize) -> usize) {
        if let Self::Column { index, .. } = self {
            *index = to(*index);
        }
        for child in self.children_mut() {
            child.move_columns(to);
        }
    }

    /// Puts `by(column)` in the place of every column that it reads.
    pub fn replace_columns(&mut self, by: &impl Fn(usize) -> Expr) {
        if let Self::Column { index, .. } = self {
            *self = by(*index);
            return;
        }
        for child in self.children_mut() {
            child.replace_columns(by);
        }
    }

    /// Its nodes, itself among them.
    pub fn size(&self) -> usize {
        1 + self.children().into_iter().map(Self::size).sum::<usize>()
    }
}

impl Aggregate {
    /// The expressions that it is computed from.
    pub fn inputs(&self) -> Vec<&Expr> {
        let order = self.order_by.iter().map(|key| &key.expr);
        self.arguments.iter().chain(&self.filter).chain(order).collect()
    }

    /// As [`Self::inputs`], to be changed.
    pub fn inputs_mut(&mut self) -> Vec<&mut Expr> {
        let order = self.order_by.iter_mut().map(|key| &mut key.expr);
        self.arguments.iter_mut().chain(&mut self.filter).chain(order).collect()
    }
}

impl WindowFunction {
    /// The expressions that it is computed from.
    pub fn inputs(&self) -> Vec<&Expr> {
        let mut inputs: Vec<&Expr> = self.arguments.iter().collect();
        if let crate::expr::window::Kind::Aggregate(aggregate) = &self.function {
            inputs.extend(aggregate.inputs());
        }
        inputs
    }

    /// As [`Self::inputs`], to be changed.
    pub fn inputs_mut(&mut self) -> Vec<&mut Expr> {
        let mut inputs: Vec<&mut Expr> = self.arguments.iter_mut().collect();
        if let crate::expr::window::Kind::Aggregate(aggregate) = &mut self.function {
            inputs.extend(aggregate.inputs_mut());
        }
        inputs
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field, Schema};

    use crate::expr::parse;

    #[test]
    fn columns_are_found_and_moved_wherever_they_stand() {
        let fields = ["a", "b", "c", "d"].map(|name| Field::new(name, DataType::Int64, true));
        let schema = Schema::new(fields.to_vec());
        let text = "case when a > 1 and not (b is null) then -c else cast(d as int64) end";
        let mut expr = parse::expression(text, &schema).unwrap();
        assert_eq!(expr.columns(), [0, 1, 2, 3]);
        expr.move_columns(&|column| column + 10);
        assert_eq!(expr.columns(), [10, 11, 12, 13]);
        expr.replace_columns(&|column| parse::column(&schema, column - 10));
        assert_eq!(expr, parse::expression(text, &schema).unwrap());
    }
}
