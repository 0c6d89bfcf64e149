//! Joins: the tables of a `from` put together, with every condition as near to its table as it
//! may stand.
//!
//! Tables that are joined for all their combinations are joined in the order that keeps rows few:
//! of all pairs that a key connects always the one that gives the fewest, by rough estimates. Only
//! what no key connects is combined row by row.

use sqlparser::{
    ast::{BinaryOperator, Expr as Sql},
    tokenizer::Span,
};

use super::{
    JoinOrder, Result, Translator,
    from::{Merged, Tree},
    relation::{On, Relation},
    tree,
};
use crate::plan::JoinKind;

/// A subquery of so many times fewer rows than a table is asked before that is joined with others.
const FAR_FEWER: f64 = 4.0;

/// A condition with the columns that it reads.
struct Condition {
    sql: Sql,
    names: Vec<String>,
}

/// A part that is joined with others.
struct Part {
    relation: Relation,
}

/// Columns that must be equal, by which parts may be joined.
struct Class {
    names: Vec<String>,
    /// About how many values they have.
    values: f64,
}

/// `left = right`, of expressions that are no columns.
struct Equality {
    sides: [(Sql, Vec<String>); 2],
}

/// A way to join two parts.
struct Candidate {
    first: usize,
    second: usize,
    rows: f64,
    keys: Vec<(Sql, Sql)>,
}

fn covers(relation: &Relation, names: &[String]) -> bool {
    names.iter().all(|name| relation.has(name))
}

impl Translator<'_, '_, '_, '_> {
    /// The rows of a tree for which all conditions hold.
    pub(super) fn planned(&mut self, tree: Tree, conditions: Vec<Sql>) -> Result<Relation> {
        match tree {
            Tree::Leaf(relation) => self.applied(relation, conditions),
            Tree::Inner { parts, on } => {
                let conditions = on.into_iter().chain(conditions).collect();
                self.inner(parts, conditions)
            }
            Tree::Outer { how, sides, on, merged } => {
                self.outer(how, *sides, on, &merged, conditions)
            }
        }
    }

    fn condition(&self, sql: Sql) -> Condition {
        let names = self.names_of(&sql);
        Condition { sql, names }
    }

    /// The conditions that read nothing but `names`, and the others.
    fn split(&self, conditions: Vec<Sql>, names: &[String]) -> (Vec<Sql>, Vec<Sql>) {
        conditions.into_iter().partition(|sql| {
            let read = self.names_of(sql);
            !read.is_empty() && read.iter().all(|name| names.contains(name))
        })
    }

    fn outer(
        &mut self,
        how: JoinKind,
        sides: (Tree, Tree),
        on: Vec<Sql>,
        merged: &[Merged],
        conditions: Vec<Sql>,
    ) -> Result<Relation> {
        let (left_names, right_names) = (sides.0.names(), sides.1.names());
        // A side that keeps its rows takes conditions from above; the other one those of `on`.
        let (left_above, conditions) = match how {
            JoinKind::Left => self.split(conditions, &left_names),
            _ => (Vec::new(), conditions),
        };
        let (right_above, conditions) = match how {
            JoinKind::Right => self.split(conditions, &right_names),
            _ => (Vec::new(), conditions),
        };
        let (right_on, on) = match how {
            JoinKind::Left => self.split(on, &right_names),
            _ => (Vec::new(), on),
        };
        let (left_on, on) = match how {
            JoinKind::Right => self.split(on, &left_names),
            _ => (Vec::new(), on),
        };
        let left = self.planned(sides.0, [left_above, left_on].concat())?;
        let right = self.planned(sides.1, [right_above, right_on].concat())?;
        let on = keys_of(on, &left, &right);
        let rows = left.rows.max(right.rows);
        let mut joined = self.join(how, &left, &right, on, rows)?;
        if !merged.is_empty() {
            let mut columns: Vec<(String, Sql)> = joined
                .names()
                .into_iter()
                .map(|name| (name.clone(), tree::column(&name, merged[0].span)))
                .collect();
            for column in merged {
                let of = |name: &str| {
                    sqlparser::ast::FunctionArgExpr::Expr(tree::column(name, column.span))
                };
                let both = vec![of(&column.left), of(&column.right)];
                columns.push((column.own.clone(), tree::call("coalesce", both, column.span)));
            }
            joined = self.map(&joined, &columns)?;
        }
        self.applied(joined, conditions)
    }

    /// The rows for which all conditions hold, those with subqueries last.
    pub(super) fn applied(&mut self, relation: Relation, conditions: Vec<Sql>) -> Result<Relation> {
        let (with, without): (Vec<_>, Vec<_>) =
            conditions.into_iter().partition(|sql| self.subquery_in(sql).is_some());
        let mut relation = self.filter(relation, without)?;
        for sql in with {
            relation = self.with_subqueries(relation, sql)?;
        }
        Ok(relation)
    }

    fn inner(&mut self, trees: Vec<Tree>, conditions: Vec<Sql>) -> Result<Relation> {
        let (mut parts, conditions, late) = self.parts(trees, conditions)?;
        let conditions = conditions.into_iter().map(|sql| self.condition(sql)).collect();
        let (mut classes, equalities, mut waiting) = sorted(&parts, conditions);
        for class in &mut classes {
            let of = |part: &&Part| class.names.iter().any(|name| part.relation.has(name));
            let bases = parts.iter().filter(of).map(|part| part.relation.base);
            class.values = bases.fold(f64::INFINITY, f64::min);
        }
        for part in &mut parts {
            let equal = equal_within(&part.relation, &classes);
            part.relation = self.filter(part.relation.clone(), equal)?;
        }
        while parts.len() > 1 {
            let next = match self.join_order {
                JoinOrder::Cost => best(&parts, &classes, &equalities),
                JoinOrder::AsWritten => candidate(&parts, &classes, &equalities, 0, 1),
            };
            let Candidate { first, second, rows, keys } = next;
            // The greater one is removed first, so that the other's place stays.
            let right = parts.remove(second.max(first)).relation;
            let left = parts.remove(second.min(first)).relation;
            let keys = if first < second {
                keys
            } else {
                keys.into_iter().map(|(of_first, of_second)| (of_second, of_first)).collect()
            };
            let on = On { keys, ..On::default() };
            let joined = self.join(JoinKind::Inner, &left, &right, on, rows)?;
            let (ready, rest): (Vec<_>, Vec<_>) =
                waiting.into_iter().partition(|condition| covers(&joined, &condition.names));
            waiting = rest;
            let ready = ready.into_iter().map(|condition| condition.sql).collect();
            let relation = self.applied(joined, ready)?;
            match self.join_order {
                JoinOrder::Cost => parts.push(Part { relation }),
                JoinOrder::AsWritten => parts.insert(0, Part { relation }),
            }
        }
        let rest = waiting.into_iter().map(|condition| condition.sql).collect();
        match parts.pop() {
            Some(part) => {
                let relation = self.applied(part.relation, rest)?;
                self.applied(relation, late)
            }
            None => unreachable!("a join has parts"),
        }
    }

    /// The parts, each with the conditions that read it alone, the other conditions, and those of
    /// one part that had better wait for all joins.
    fn parts(
        &mut self,
        trees: Vec<Tree>,
        mut conditions: Vec<Sql>,
    ) -> Result<(Vec<Part>, Vec<Sql>, Vec<Sql>)> {
        let mut parts = Vec::with_capacity(trees.len());
        let mut late = Vec::new();
        let may_wait = trees.len() > 1 && self.join_order == JoinOrder::Cost;
        for tree in trees {
            let names = tree.names();
            let (mut own, rest) = self.split(conditions, &names);
            let is_own = |name: &str| names.iter().any(|known| known == name);
            own.extend(rest.iter().filter_map(|sql| tree::implied(sql, is_own)));
            conditions = rest;
            let (with, without) = match tree {
                Tree::Leaf(_) if may_wait => {
                    own.into_iter().partition(|sql| self.subquery_in(sql).is_some())
                }
                _ => (Vec::new(), own),
            };
            // What an inner join in parentheses holds is joined with the rest.
            let mut relation = self.planned(tree, without)?;
            for sql in with {
                if self.asks_many(&sql, relation.rows) {
                    late.push(sql);
                } else {
                    relation = self.with_subqueries(relation, sql)?;
                }
            }
            parts.push(Part { relation });
        }
        Ok((parts, conditions, late))
    }

    /// Whether a subquery of a condition has not far fewer rows than are asked about it: then it
    /// costs less once joins have left few of these.
    fn asks_many(&self, condition: &Sql, rows: f64) -> bool {
        let names = tree::names(condition);
        let mut subqueries = names.iter().filter_map(|name| self.subquery(name));
        subqueries.any(|subquery| subquery.rows() > rows / FAR_FEWER)
    }
}

/// What a join's condition is made of: keys, and what else must hold.
pub(super) fn keys_of(conditions: Vec<Sql>, left: &Relation, right: &Relation) -> On {
    let mut on = On::default();
    for sql in conditions {
        let key = tree::equality(&sql).and_then(|(a, b)| {
            let (in_a, in_b) = (tree::names(a), tree::names(b));
            if in_a.is_empty() || in_b.is_empty() {
                None
            } else if covers(left, &in_a) && covers(right, &in_b) {
                Some((a.clone(), b.clone()))
            } else if covers(right, &in_a) && covers(left, &in_b) {
                Some((b.clone(), a.clone()))
            } else {
                None
            }
        });
        match key {
            Some(key) => on.keys.push(key),
            None => on.others.push(sql),
        }
    }
    on
}

/// Conditions by what they can be used for: columns that are equal, expressions that are, others.
fn sorted(
    parts: &[Part],
    conditions: Vec<Condition>,
) -> (Vec<Class>, Vec<Equality>, Vec<Condition>) {
    let mut classes: Vec<Class> = Vec::new();
    let mut equalities = Vec::new();
    let mut others = Vec::new();
    let part_of = |names: &[String]| parts.iter().position(|part| covers(&part.relation, names));
    for condition in conditions {
        let sides = tree::equality(&condition.sql)
            .map(|(left, right)| [left, right].map(|side| (side.clone(), tree::names(side))));
        let Some(sides) = sides.filter(|sides| sides.iter().all(|(_, names)| !names.is_empty()))
        else {
            others.push(condition);
            continue;
        };
        let places = [part_of(&sides[0].1), part_of(&sides[1].1)];
        match (columns(parts, &sides), places) {
            (Some((left, right)), _) => unite(&mut classes, left, right),
            (None, [Some(left), Some(right)]) if left != right => {
                equalities.push(Equality { sides });
            }
            _ => others.push(condition),
        }
    }
    (classes, equalities, others)
}

/// The names of two columns of one type, which an equality is about.
fn columns(parts: &[Part], sides: &[(Sql, Vec<String>); 2]) -> Option<(String, String)> {
    let column = |side: &Sql| match tree::without_parentheses(side) {
        Sql::Identifier(name) => Some(name.value.clone()),
        _ => None,
    };
    let data_type = |name: &str| {
        let mut schemas = parts.iter().map(|part| part.relation.schema());
        schemas.find_map(|schema| {
            schema.field_with_name(name).ok().map(|field| field.data_type().clone())
        })
    };
    let (left, right) = (column(&sides[0].0)?, column(&sides[1].0)?);
    (data_type(&left)? == data_type(&right)?).then_some((left, right))
}

fn unite(classes: &mut Vec<Class>, left: String, right: String) {
    let of = |name: &String| classes.iter().position(|class| class.names.contains(name));
    match (of(&left), of(&right)) {
        (None, None) => classes.push(Class { names: vec![left, right], values: 1.0 }),
        (Some(place), None) => classes[place].names.push(right),
        (None, Some(place)) => classes[place].names.push(left),
        (Some(one), Some(other)) if one != other => {
            let names = classes.remove(one.max(other)).names;
            classes[one.min(other)].names.extend(names);
        }
        _ => {}
    }
}

/// That columns of one class are equal within one relation.
fn equal_within(relation: &Relation, classes: &[Class]) -> Vec<Sql> {
    let mut found = Vec::new();
    for class in classes {
        let own: Vec<&String> = class.names.iter().filter(|name| relation.has(name)).collect();
        for pair in own.windows(2) {
            let span = Span::empty();
            let (left, right) = (tree::column(pair[0], span), tree::column(pair[1], span));
            found.push(tree::binary(left, BinaryOperator::Eq, right));
        }
    }
    found
}

/// The pair of parts that gives the fewest rows; of those that nothing connects the smallest.
fn best(parts: &[Part], classes: &[Class], equalities: &[Equality]) -> Candidate {
    let mut best: Option<Candidate> = None;
    for first in 0..parts.len() {
        for second in first + 1..parts.len() {
            let next = candidate(parts, classes, equalities, first, second);
            let is_better = best.as_ref().is_none_or(|best| {
                let connected = (!next.keys.is_empty(), !best.keys.is_empty());
                match connected {
                    (true, false) => true,
                    (false, true) => false,
                    _ => next.rows < best.rows,
                }
            });
            if is_better {
                best = Some(next);
            }
        }
    }
    best.unwrap_or_else(|| unreachable!("two parts make a pair"))
}

fn candidate(
    parts: &[Part],
    classes: &[Class],
    equalities: &[Equality],
    first: usize,
    second: usize,
) -> Candidate {
    let (left, right) = (&parts[first].relation, &parts[second].relation);
    let mut keys = Vec::new();
    let mut values = 1.0;
    for class in classes {
        let of = |relation: &Relation| class.names.iter().find(|name| relation.has(name));
        if let (Some(left_name), Some(right_name)) = (of(left), of(right)) {
            let span = Span::empty();
            keys.push((tree::column(left_name, span), tree::column(right_name, span)));
            values *= class.values;
        }
    }
    for equality in equalities {
        let [(a, in_a), (b, in_b)] = &equality.sides;
        let key = if covers(left, in_a) && covers(right, in_b) {
            Some((a, b))
        } else if covers(left, in_b) && covers(right, in_a) {
            Some((b, a))
        } else {
            None
        };
        if let Some((left_key, right_key)) = key {
            keys.push((left_key.clone(), right_key.clone()));
            values *= left.rows.min(right.rows);
        }
    }
    let values = values.min(left.base.min(right.base)).max(1.0);
    Candidate { first, second, rows: left.rows * right.rows / values, keys }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fmt::Write as _, io::Write as _};

    use crate::{
        disk::{DataDisks, Disk, RealDisk},
        job::check::{Site, check},
        plan::{JoinKind, Node, Op},
    };

    /// The readers below a node.
    fn readers(nodes: &[Node], at: usize, found: &mut BTreeSet<String>) {
        if let Op::Read(_) = nodes[at].op {
            found.insert(nodes[at].id.clone());
        }
        nodes[at].inputs.iter().for_each(|input| readers(nodes, input.index(), found));
    }

    /// The readers below the first node of which something holds, of a query over three tables.
    fn readers_below(query: &str, options: &str, is_meant: fn(&Op) -> bool) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        for (name, rows) in [("large", 5000), ("middle", 500), ("small", 5)] {
            let mut text = String::from("a,b\n");
            (0..rows).for_each(|row| writeln!(text, "{row},{row}").unwrap());
            let path = folder.path().join(format!("{name}.csv"));
            RealDisk.create(&path).unwrap().write_all(text.as_bytes()).unwrap();
        }
        let base_dir = Some(folder.path().to_owned());
        let site = Site { data: DataDisks::everywhere(), base_dir, now_micros: 0 };
        let read = |name: &str| {
            format!(r#"{{"id": "{name}", "op": "read_csv", "path": "{name}.csv", "header": true}}"#)
        };
        let document = format!(
            r#"{{"dag": {{"nodes": [{}, {}, {},
                {{"id": "q", "op": "sql"{options}, "query": "{query}"}}],
              "edges": [["large", "q"], ["middle", "q"], ["small", "q"]]}}}}"#,
            read("large"),
            read("middle"),
            read("small"),
        );
        let checked =
            check(&document, true, &site).unwrap_or_else(|problems| panic!("{problems:?}"));
        let nodes = &checked.plan.nodes;
        let first = nodes.iter().position(|node| is_meant(&node.op)).unwrap();
        let mut found = BTreeSet::new();
        readers(nodes, first, &mut found);
        found.into_iter().collect()
    }

    #[test]
    fn tables_are_joined_by_size_or_as_they_are_written() {
        let first_joined = |options: &str| {
            let query = "select count(*) as n from large, middle, small
                where large.a = middle.a and middle.b = small.b"
                .replace('\n', " ");
            readers_below(&query, options, |op| matches!(op, Op::Join { .. }))
        };
        assert_eq!(first_joined(""), ["middle", "small"]);
        assert_eq!(first_joined(r#", "join_order": "cost""#), ["middle", "small"]);
        assert_eq!(first_joined(r#", "join_order": "as_written""#), ["large", "middle"]);
    }

    #[test]
    fn a_large_subquery_is_asked_when_joins_have_left_few_rows() {
        let below_semi = |first: &str, second: &str, asked: &str, options: &str| {
            let query = format!(
                "select count(*) as n from {first}, {second} where {first}.a = {second}.a and \
                 exists (select * from {asked} where {asked}.a = {first}.b)"
            );
            let is_semi = |op: &Op| matches!(op, Op::Join { how: JoinKind::Semi, .. });
            readers_below(&query, options, is_semi)
        };
        assert_eq!(below_semi("large", "middle", "small", ""), ["large", "small"]);
        assert_eq!(below_semi("middle", "small", "large", ""), ["large", "middle", "small"]);
        let as_written = r#", "join_order": "as_written""#;
        assert_eq!(below_semi("middle", "small", "large", as_written), ["large", "middle"]);
    }
}
