//! Joins: of two tables whose columns are renamed, so that those of one name can be told apart.

use arrow::datatypes::Schema;

use super::{
    Dialect, Scope, Written,
    expression::{self, select},
};
use crate::{
    expr::{Expr, Predicate},
    plan::{JoinColumn, JoinKind, Node},
};

/// What is joined by what.
pub(super) struct Join<'a> {
    /// How.
    pub(super) how: &'a JoinKind,
    /// The keys of both sides, in pairs.
    pub(super) keys: [&'a [Expr]; 2],
    /// Whether a null equals a null.
    pub(super) null_safe: bool,
    /// What must hold besides, over the columns of both.
    pub(super) on: Option<&'a Predicate>,
    /// What it gives.
    pub(super) columns: &'a [JoinColumn],
    /// The tables' names.
    pub(super) inputs: [String; 2],
    /// The tables' columns.
    pub(super) schemas: [&'a Schema; 2],
}

impl Join<'_> {
    /// The query that gives the columns of `node`.
    pub(super) fn query(&self, node: &Node, dialect: Dialect) -> Written {
        let (lefts, rights) = (self.side(0, dialect), self.side(1, dialect));
        let renamed = |expr: &Expr, letter: char| {
            let place = |column: usize| format!("{letter}{column}");
            expression::text(expr, Scope { dialect, places: Some(&place) })
        };
        let equal = if self.null_safe { "is not distinct from" } else { "=" };
        let mut conditions: Vec<String> = (self.keys[0].iter().zip(self.keys[1]))
            .map(|(left, right)| {
                Ok(format!("{} {equal} {}", renamed(left, 'l')?, renamed(right, 'r')?))
            })
            .collect::<Result<_, String>>()?;
        let width = self.schemas[0].fields().len();
        if let Some(on) = self.on {
            let place = |column: usize| match column.checked_sub(width) {
                None => format!("l{column}"),
                Some(right) => format!("r{right}"),
            };
            conditions.push(expression::text(&on.0, Scope { dialect, places: Some(&place) })?);
        }
        let condition =
            if conditions.is_empty() { String::from("true") } else { conditions.join(" and ") };
        let columns = node.schema.fields().iter().map(|field| field.name().as_str()).zip(
            self.columns.iter().map(|column| match column {
                JoinColumn::Left(left) => format!("l{left}"),
                JoinColumn::Right(right) => format!("r{right}"),
                JoinColumn::Both { left, right } => format!("coalesce(l{left}, r{right})"),
            }),
        );
        let columns = select(columns, dialect);
        let word = match self.how {
            JoinKind::Inner | JoinKind::Cross => "join",
            JoinKind::Left => "left join",
            JoinKind::Right => "right join",
            JoinKind::Full => "full join",
            JoinKind::Semi => {
                return Ok(format!(
                    "select {columns} from {lefts} where exists \
                     (select 1 from {rights} where {condition})"
                ));
            }
            JoinKind::Anti { null_aware: false } => {
                return Ok(format!(
                    "select {columns} from {lefts} where not exists \
                     (select 1 from {rights} where {condition})"
                ));
            }
            JoinKind::Anti { null_aware: true } => {
                let (key, of) = (self.keys[0].first(), self.keys[1].first());
                let key = key.map(|key| renamed(key, 'l')).transpose()?.unwrap_or_default();
                let of = of.map(|of| renamed(of, 'r')).transpose()?.unwrap_or_default();
                return Ok(format!(
                    "select {columns} from {lefts} where {key} not in (select {of} from {rights})"
                ));
            }
        };
        Ok(format!("select {columns} from {lefts} {word} {rights} on {condition}"))
    }

    /// One of the tables, its columns called by their places.
    fn side(&self, at: usize, dialect: Dialect) -> String {
        let letter = ['l', 'r'][at];
        let fields = self.schemas[at].fields().iter().enumerate();
        let named =
            fields.map(|(n, field)| format!("{} as {letter}{n}", dialect.name(field.name())));
        format!("(select {} from {})", named.collect::<Vec<_>>().join(", "), self.inputs[at])
    }
}
