//! A job as one SQL statement, a common table expression a node, for another engine to run.
//!
//! It is written from the nodes as the document has them, before any rule, in `DuckDB`'s dialect.
//! What SQL can't say (a sample by hash, the position of a row in a file) is refused. Where the rows
//! picked depend on an order, the order stands beside what picks them; a result's own order stands
//! at the statement's end. Where `DuckDB` means something else by the same words, and none say what
//! is meant here, `docs/differences.md` says so.

use std::{collections::HashMap, fmt::Write as _, sync::Arc};

use arrow::datatypes::{Field, Schema};

use crate::{
    expr::{Aggregate, AggregateFunction, Expr, SortKey},
    plan::{JoinColumn, JoinKind, Node, Op, Order, Plan, Separator},
};

mod expression;
mod function;
mod aggregate;
mod source;

use aggregate::Window;

/// A piece of the statement, or why there is none.
type Written = Result<String, String>;

/// What columns are called, by their place and the name that they have.
type Names<'a> = &'a dyn Fn(usize, &str) -> String;

/// Why a job can't be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The node.
    pub node: String,
    /// Why.
    pub reason: String,
}

/// The statement that gives the rows of one sink; the only one where none is named.
///
/// # Errors
/// A node that SQL can't say, or a sink that is not there or not the only one.
pub fn statement(plan: &Plan, sink: Option<&str>) -> Result<String, Refusal> {
    let leaf = leaf(plan, sink)?;
    let mut wanted = vec![false; plan.nodes.len()];
    wanted[leaf] = true;
    for at in (0..plan.nodes.len()).rev() {
        if wanted[at] {
            plan.nodes[at].inputs.iter().for_each(|input| wanted[input.index()] = true);
        }
    }
    let mut text = String::from("with\n");
    let nodes = plan.nodes.iter().enumerate().filter(|(at, _)| wanted[*at]);
    for (number, (_, node)) in nodes.enumerate() {
        let refused = |reason| Refusal { node: node.id.clone(), reason };
        distinct_names(&node.schema).map_err(refused)?;
        let query = query(plan, node).map_err(refused)?;
        let comma = if number == 0 { "" } else { ",\n" };
        push(&mut text, format_args!("{comma}  {} as (\n    {query}\n  )", name(&node.id)));
    }
    let node = &plan.nodes[leaf];
    push(&mut text, format_args!("\nselect * from {}", name(&node.id)));
    let order = match &node.op {
        Op::Write(_) => &plan.nodes[node.inputs[0].index()].order,
        _ => &node.order,
    };
    if let Order::Sorted(keys) = order {
        push(&mut text, format_args!("\norder by {}", sort_keys(keys, &node.schema)));
    }
    text.push('\n');
    Ok(text)
}

fn leaf(plan: &Plan, sink: Option<&str>) -> Result<usize, Refusal> {
    let is_read = |at: usize| plan.nodes.iter().flat_map(|n| &n.inputs).any(|i| i.index() == at);
    let leaves: Vec<usize> = (0..plan.nodes.len()).filter(|at| !is_read(*at)).collect();
    let ids = leaves.iter().map(|at| plan.nodes[*at].id.as_str()).collect::<Vec<_>>().join(", ");
    let refused = |node: &str, reason| Refusal { node: String::from(node), reason };
    match (sink, &leaves[..]) {
        (Some(sink), _) => (leaves.iter().copied().find(|at| plan.nodes[*at].id == sink))
            .ok_or_else(|| refused(sink, format!("no sink has this id; there are {ids}"))),
        (None, [only]) => Ok(*only),
        (None, _) => Err(refused("", format!("there are several sinks, name one: {ids}"))),
    }
}

/// `DuckDB` tells no names apart that differ in case alone.
fn distinct_names(schema: &Schema) -> Result<(), String> {
    let mut seen = HashMap::new();
    for field in schema.fields() {
        if let Some(other) = seen.insert(field.name().to_lowercase(), field.name()) {
            let name = field.name();
            return Err(format!("`{other}` and `{name}` are one name in SQL; rename one of them"));
        }
    }
    Ok(())
}

fn query(plan: &Plan, node: &Node) -> Written {
    let input = |at: usize| name(&plan.nodes[node.inputs[at].index()].id);
    let schema = |at: usize| plan.nodes[node.inputs[at].index()].schema.as_ref();
    let from = || input(0);
    let order_of = |at: usize| &plan.nodes[node.inputs[at].index()].order;
    let said = |expr: &Expr| expression::text(expr, &own);
    Ok(match &node.op {
        Op::Read(read) => {
            let columns = node.schema.fields().iter().map(|field| name(field.name()));
            let columns = columns.collect::<Vec<_>>().join(", ");
            format!("select {columns} from {}", source::table(read, &node.schema)?)
        }
        Op::Map { columns } => {
            let columns = node.schema.fields().iter().zip(columns);
            let column = |(field, expr)| {
                let field: &Arc<Field> = field;
                Ok((field.name().as_str(), said(expr)?))
            };
            let columns = columns.map(column).collect::<Result<Vec<_>, String>>()?;
            format!("select {} from {}", select(columns.into_iter()), from())
        }
        Op::Sleep { .. }
        | Op::Cache
        | Op::Repartition { .. }
        | Op::Expect { .. }
        | Op::Write(_) => {
            format!("select * from {}", from())
        }
        Op::Filter { predicate } => {
            format!("select * from {} where {}", from(), said(&predicate.0)?)
        }
        Op::Tokenize { columns } => {
            let token = name(node.schema.field(0).name());
            let parts = columns.iter().map(|column| {
                let text = name(schema(0).field(*column).name());
                // The marks that are removed, and Unicode's white space.
                format!(
                    "regexp_extract_all(translate({text}, '.,;?!-', ''), '[^\\s\\pZ\\x{{85}}]+')"
                )
            });
            let parts = parts.collect::<Vec<_>>();
            let all = match &parts[..] {
                [only] => only.clone(),
                several => format!("flatten([{}])", several.join(", ")),
            };
            format!("select unnest({all}) as {token} from {}", from())
        }
        Op::Reduce { keys, aggregates } => {
            let ties = aggregate::ties(order_of(0), schema(0));
            if let [only] = &aggregates[..]
                && only.function == AggregateFunction::FirstRow
            {
                return first_of_each(node, keys, only, ties, schema(0), &from());
            }
            let keys = expression::all(keys, &own)?;
            let count = keys.len();
            let aggregates = aggregates
                .iter()
                .map(|call| aggregate::aggregate(call, schema(0), ties.as_deref(), &own));
            let values =
                keys.into_iter().map(Ok).chain(aggregates).collect::<Result<Vec<_>, _>>()?;
            let columns =
                node.schema.fields().iter().map(|field| field.name().as_str()).zip(values);
            let mut text = format!("select {} from {}", select(columns), from());
            if count > 0 {
                let places: Vec<_> = (1..=count).map(|place| place.to_string()).collect();
                push(&mut text, format_args!(" group by {}", places.join(", ")));
            }
            text
        }
        Op::Join { .. } => join(node, [&input(0), &input(1)], [schema(0), schema(1)])?,
        Op::Union => {
            let inputs = (0..node.inputs.len()).map(|at| format!("select * from {}", input(at)));
            inputs.collect::<Vec<_>>().join("\n    union all ")
        }
        Op::Explode { column, outer } => {
            let list = name(schema(0).field(*column).name());
            let list = if *outer {
                format!("case when len({list}) > 0 then {list} else [null] end")
            } else {
                list
            };
            replaced(node, *column, &format!("unnest({list})"), &from())
        }
        Op::Split { column, by, outer } => {
            let text = name(schema(0).field(*column).name());
            let parts = match by {
                Separator::Text(separator) => {
                    format!("string_split({text}, {})", quoted(separator))
                }
                Separator::Lines => return refused("lines of a text have no SQL"),
            };
            let parts = if *outer { format!("coalesce({parts}, [null])") } else { parts };
            replaced(node, *column, &format!("unnest({parts})"), &from())
        }
        Op::Unpivot { keep, values } => {
            let fields = node.schema.fields();
            let of = |(label, value): &(String, Expr)| {
                let kept = keep.iter().map(|column| name(schema(0).field(*column).name()));
                let columns = kept.chain([quoted(label), said(value)?]);
                let columns = fields.iter().map(|field| field.name().as_str()).zip(columns);
                Ok(format!("select {} from {}", select(columns), from()))
            };
            let parts = values.iter().map(of).collect::<Result<Vec<_>, String>>()?;
            parts.join("\n    union all ")
        }
        Op::Sample { .. } => return refused("a sample by the rows' hash has no SQL"),
        Op::Sort { keys, limit } => {
            let keys = sort_keys(keys, &node.schema);
            let limit = limit.map(|limit| format!(" limit {limit}")).unwrap_or_default();
            format!("select * from {} order by {keys}{limit}", from())
        }
        Op::Limit { offset, n } => {
            let order = match &plan.nodes[node.inputs[0].index()].order {
                Order::Sorted(keys) => format!(" order by {}", sort_keys(keys, schema(0))),
                Order::Source => String::new(),
                Order::None => return refused("a limit over rows without order has no SQL"),
            };
            format!("select * from {}{order} limit {n} offset {offset}", from())
        }
        Op::Window { partition_by, order_by, functions } => {
            let width = schema(0).fields().len();
            let over = Window {
                schema: schema(0),
                partition_by,
                order_by,
                ties: aggregate::ties(order_of(0), schema(0)),
                names: &own,
            };
            let added = functions.iter().zip(&node.schema.fields()[width..]);
            let added = added
                .map(|(call, field)| Ok(format!("{} as {}", over.call(call)?, name(field.name()))))
                .collect::<Result<Vec<_>, String>>()?;
            format!("select *, {} from {}", added.join(", "), from())
        }
    })
}

fn refused(why: &str) -> Written {
    Err(String::from(why))
}

/// A column by the name that it has.
fn own(_: usize, column: &str) -> String {
    name(column)
}

/// Keys, and the other columns of the first row that has them.
fn first_of_each(
    node: &Node,
    keys: &[Expr],
    first: &Aggregate,
    ties: Option<Vec<SortKey>>,
    schema: &Schema,
    from: &str,
) -> Written {
    let Some(ties) = ties else {
        return refused("the first row in files has no SQL; sort the rows before");
    };
    let keys = expression::all(keys, &own)?;
    let values = keys.iter().cloned().chain(expression::all(&first.arguments, &own)?);
    let columns = node.schema.fields().iter().map(|field| field.name().as_str()).zip(values);
    let partition = match &keys[..] {
        [] => String::new(),
        keys => format!("partition by {} ", keys.join(", ")),
    };
    Ok(format!(
        "select {} from (select *, row_number() over ({partition}order by {}) as \"#row\" \
         from {from}) where \"#row\" = 1",
        select(columns),
        sort_keys(&ties, schema)
    ))
}

/// A join of two tables whose columns are renamed, so that those of one name can be told apart.
fn join(node: &Node, inputs: [&String; 2], schemas: [&Schema; 2]) -> Written {
    let Op::Join { how, left_keys, right_keys, null_safe, on, columns } = &node.op else {
        return refused("it is no join");
    };
    let side = |at: usize, letter: char| {
        let fields = schemas[at].fields().iter().enumerate();
        let parts = fields.map(|(n, field)| format!("{} as {letter}{n}", name(field.name())));
        format!("(select {} from {})", parts.collect::<Vec<_>>().join(", "), inputs[at])
    };
    let (probe, build) = (side(0, 'l'), side(1, 'r'));
    let renamed = |expr: &Expr, letter: char| {
        expression::text(expr, &|column, _| format!("{letter}{column}"))
    };
    let equal = if *null_safe { "is not distinct from" } else { "=" };
    let mut conditions: Vec<String> = (left_keys.iter().zip(right_keys))
        .map(|(left, right)| {
            Ok(format!("{} {equal} {}", renamed(left, 'l')?, renamed(right, 'r')?))
        })
        .collect::<Result<_, String>>()?;
    let width = schemas[0].fields().len();
    if let Some(on) = on {
        let place = |column: usize, _: &str| match column.checked_sub(width) {
            None => format!("l{column}"),
            Some(right) => format!("r{right}"),
        };
        conditions.push(expression::text(&on.0, &place)?);
    }
    let condition =
        if conditions.is_empty() { String::from("true") } else { conditions.join(" and ") };
    let columns = node.schema.fields().iter().map(|field| field.name().as_str()).zip(
        columns.iter().map(|column| match column {
            JoinColumn::Left(left) => format!("l{left}"),
            JoinColumn::Right(right) => format!("r{right}"),
            JoinColumn::Both { left, right } => format!("coalesce(l{left}, r{right})"),
        }),
    );
    let columns = select(columns);
    let word = match how {
        JoinKind::Inner | JoinKind::Cross => "join",
        JoinKind::Left => "left join",
        JoinKind::Right => "right join",
        JoinKind::Full => "full join",
        JoinKind::Semi => {
            return Ok(format!(
                "select {columns} from {probe} where exists (select 1 from {build} where {condition})"
            ));
        }
        JoinKind::Anti { null_aware: false } => {
            return Ok(format!(
                "select {columns} from {probe} where not exists \
                 (select 1 from {build} where {condition})"
            ));
        }
        JoinKind::Anti { null_aware: true } => {
            let (key, of) = (left_keys.first(), right_keys.first());
            let key = key.map(|key| renamed(key, 'l')).transpose()?.unwrap_or_default();
            let of = of.map(|of| renamed(of, 'r')).transpose()?.unwrap_or_default();
            return Ok(format!(
                "select {columns} from {probe} where {key} not in (select {of} from {build})"
            ));
        }
    };
    Ok(format!("select {columns} from {probe} {word} {build} on {condition}"))
}

/// All columns of a node's input with another expression for one of them.
fn replaced(node: &Node, column: usize, by: &str, from: &str) -> String {
    let columns = node.schema.fields().iter().enumerate().map(|(at, field)| {
        let value = if at == column { String::from(by) } else { name(field.name()) };
        (field.name().as_str(), value)
    });
    format!("select {} from {from}", select(columns))
}

/// `value as name, …`; a value that is its own name needs none.
fn select<'a>(columns: impl Iterator<Item = (&'a str, String)>) -> String {
    let column = |(label, value): (&str, String)| {
        let label = name(label);
        if value == label { value } else { format!("{value} as {label}") }
    };
    columns.map(column).collect::<Vec<_>>().join(", ")
}

/// Keys in words; `nulls last` is said, since engines differ in what goes without saying.
fn sort_keys(keys: &[SortKey], schema: &Schema) -> String {
    let key = |key: &SortKey| {
        let field = schema.field(key.column);
        let direction = if key.descending { " desc" } else { "" };
        let nulls = if key.nulls_first { "first" } else { "last" };
        format!("{}{direction} nulls {nulls}", name(field.name()))
    };
    keys.iter().map(key).collect::<Vec<_>>().join(", ")
}

/// A name in double quotes, whatever it is: none can be taken for a word of the language.
fn name(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn push(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    if text.write_fmt(arguments).is_err() {
        unreachable!("writing to a string can't fail");
    }
}

#[cfg(test)]
mod tests;
