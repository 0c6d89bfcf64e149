//! A node as a query over those that it reads, which are called by their ids.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema};

use super::{
    Dialect, Scope, Written, aggregate, duckdb,
    expression::{self, select},
    join::Join,
    push, refused, spark,
    window::Window,
};
use crate::{
    expr::{Aggregate, AggregateFunction, Expr, SortKey},
    plan::{Node, Op, Order, Plan, Separator},
};

/// The most rows that Spark counts in a `limit`.
const MAX_LIMIT: u64 = 2_147_483_647;

/// The query that gives the rows of `node`.
///
/// # Errors
/// Why there is none in this dialect.
pub(super) fn query(plan: &Plan, node: &Node, dialect: Dialect) -> Written {
    let scope = Scope::own(dialect);
    let input = |at: usize| dialect.name(&plan.nodes[node.inputs[at].index()].id);
    let schema = |at: usize| plan.nodes[node.inputs[at].index()].schema.as_ref();
    let from = || input(0);
    let order = |at: usize| &plan.nodes[node.inputs[at].index()].order;
    let text = |expr: &Expr| expression::text(expr, scope);
    Ok(match &node.op {
        Op::Read(read) => match dialect {
            Dialect::DuckDb => {
                let columns = node.schema.fields().iter().map(|field| dialect.name(field.name()));
                let columns = columns.collect::<Vec<_>>().join(", ");
                format!("select {columns} from {}", duckdb::table(read, &node.schema)?)
            }
            Dialect::Spark => spark::rows(read, &node.schema)?,
        },
        Op::Map { columns } => {
            let columns = node.schema.fields().iter().zip(columns);
            let column = |(field, expr)| {
                let field: &Arc<Field> = field;
                Ok((field.name().as_str(), text(expr)?))
            };
            let columns = columns.map(column).collect::<Result<Vec<_>, String>>()?;
            format!("select {} from {}", select(columns.into_iter(), dialect), from())
        }
        Op::Sleep { .. }
        | Op::Cache
        | Op::Repartition { .. }
        | Op::Expect { .. }
        | Op::Write(_) => {
            format!("select * from {}", from())
        }
        Op::Filter { predicate } => {
            format!("select * from {} where {}", from(), text(&predicate.0)?)
        }
        Op::Tokenize { columns } => {
            let token = dialect.name(node.schema.field(0).name());
            let of = columns.iter().map(|column| dialect.name(schema(0).field(*column).name()));
            let all = match dialect {
                Dialect::DuckDb => duckdb::tokens(of),
                Dialect::Spark => spark::tokens(of),
            };
            format!("select {} as {token} from {}", dialect.unnest(&all, false), from())
        }
        Op::Reduce { keys, aggregates } => {
            let ties = aggregate::ties(order(0), schema(0));
            if let [only] = &aggregates[..]
                && only.function == AggregateFunction::FirstRow
            {
                return first_of_each(node, (keys, only), ties, schema(0), &from(), scope);
            }
            let keys = expression::all(keys, scope)?;
            let count = keys.len();
            let aggregates = aggregates
                .iter()
                .map(|call| aggregate::aggregate(call, schema(0), ties.as_deref(), scope));
            let values =
                keys.into_iter().map(Ok).chain(aggregates).collect::<Result<Vec<_>, _>>()?;
            let columns =
                node.schema.fields().iter().map(|field| field.name().as_str()).zip(values);
            let mut query = format!("select {} from {}", select(columns, dialect), from());
            if count > 0 {
                let places: Vec<_> = (1..=count).map(|place| place.to_string()).collect();
                push(&mut query, format_args!(" group by {}", places.join(", ")));
            }
            query
        }
        Op::Join { how, left_keys, right_keys, null_safe, on, columns } => {
            let join = Join {
                how,
                keys: [left_keys, right_keys],
                null_safe: *null_safe,
                on: on.as_ref(),
                columns,
                inputs: [input(0), input(1)],
                schemas: [schema(0), schema(1)],
            };
            join.query(node, dialect)?
        }
        Op::Union => {
            let inputs = (0..node.inputs.len()).map(|at| format!("select * from {}", input(at)));
            inputs.collect::<Vec<_>>().join("\n    union all ")
        }
        Op::Explode { column, outer } => {
            let list = dialect.name(schema(0).field(*column).name());
            replaced(node, *column, &dialect.unnest(&list, *outer), &from(), dialect)
        }
        Op::Split { column, by, outer } => {
            let whole = dialect.name(schema(0).field(*column).name());
            let Separator::Text(separator) = by else {
                return refused("lines of a text have no SQL");
            };
            let parts = match (dialect, outer) {
                (Dialect::DuckDb, false) => {
                    format!("unnest(string_split({whole}, {}))", dialect.quoted(separator))
                }
                (Dialect::DuckDb, true) => format!(
                    "unnest(coalesce(string_split({whole}, {}), [null]))",
                    dialect.quoted(separator)
                ),
                (Dialect::Spark, _) => dialect.unnest(&spark::split(&whole, separator), *outer),
            };
            replaced(node, *column, &parts, &from(), dialect)
        }
        Op::Unpivot { keep, values } => {
            let fields = node.schema.fields();
            let of = |(label, value): &(String, Expr)| {
                let kept = keep.iter().map(|column| dialect.name(schema(0).field(*column).name()));
                let columns = kept.chain([dialect.quoted(label), text(value)?]);
                let columns = fields.iter().map(|field| field.name().as_str()).zip(columns);
                Ok(format!("select {} from {}", select(columns, dialect), from()))
            };
            let parts = values.iter().map(of).collect::<Result<Vec<_>, String>>()?;
            parts.join("\n    union all ")
        }
        Op::Sample { .. } => return refused("a sample by the rows' hash has no SQL"),
        Op::Sort { keys, limit } => {
            let keys = aggregate::sort_keys(keys, &node.schema, scope);
            let limit = match limit {
                Some(limit) => format!(" limit {}", counted(*limit, dialect)?),
                None => String::new(),
            };
            format!("select * from {} order by {keys}{limit}", from())
        }
        Op::Limit { offset, n } => {
            let by = match (order(0), dialect) {
                (Order::Sorted(keys), _) => {
                    format!(" order by {}", aggregate::sort_keys(keys, schema(0), scope))
                }
                (Order::Source, Dialect::DuckDb) => String::new(),
                (Order::Source, Dialect::Spark) => {
                    return refused(
                        "a limit over rows of files has no SQL in Spark; sort the rows",
                    );
                }
                (Order::None, _) => {
                    return refused("a limit over rows without order has no SQL");
                }
            };
            let (n, offset) = (counted(*n, dialect)?, counted(*offset, dialect)?);
            format!("select * from {}{by} limit {n} offset {offset}", from())
        }
        Op::Window { partition_by, order_by, functions } => {
            let width = schema(0).fields().len();
            let over = Window {
                schema: schema(0),
                partition_by,
                order_by,
                ties: aggregate::ties(order(0), schema(0)),
                scope,
            };
            let added = functions.iter().zip(&node.schema.fields()[width..]);
            let added = added
                .map(|(call, field)| {
                    Ok(format!("{} as {}", over.call(call)?, dialect.name(field.name())))
                })
                .collect::<Result<Vec<_>, String>>()?;
            format!("select *, {} from {}", added.join(", "), from())
        }
    })
}

/// A number of rows, as far as the dialect counts.
fn counted(rows: u64, dialect: Dialect) -> Written {
    if dialect == Dialect::Spark && rows > MAX_LIMIT {
        return refused("Spark counts 2147483647 rows at most in a limit");
    }
    Ok(rows.to_string())
}

/// Keys, and the other columns of the first row that has them.
fn first_of_each(
    node: &Node,
    (keys, first): (&[Expr], &Aggregate),
    ties: Option<Vec<SortKey>>,
    schema: &Schema,
    from: &str,
    scope: Scope<'_>,
) -> Written {
    let Some(ties) = ties else {
        return refused("the first row in files has no SQL; sort the rows before");
    };
    let keys = expression::all(keys, scope)?;
    let values = keys.iter().cloned().chain(expression::all(&first.arguments, scope)?);
    let columns = node.schema.fields().iter().map(|field| field.name().as_str()).zip(values);
    let partition = match &keys[..] {
        [] => String::new(),
        keys => format!("partition by {} ", keys.join(", ")),
    };
    let row = scope.dialect.name("#row");
    Ok(format!(
        "select {} from (select *, row_number() over ({partition}order by {}) as {row} \
         from {from}) where {row} = 1",
        select(columns, scope.dialect),
        aggregate::sort_keys(&ties, schema, scope)
    ))
}

/// All columns of a node's input with another expression for one of them.
fn replaced(node: &Node, column: usize, by: &str, from: &str, dialect: Dialect) -> String {
    let columns = node.schema.fields().iter().enumerate().map(|(at, field)| {
        let value = if at == column { String::from(by) } else { dialect.name(field.name()) };
        (field.name().as_str(), value)
    });
    format!("select {} from {from}", select(columns, dialect))
}
