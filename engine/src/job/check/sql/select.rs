//! One SELECT, clause by clause: read and resolved first, then made into nodes.

use sqlparser::{
    ast::{
        Distinct, Expr as Sql, GroupByExpr, Ident, NamedWindowExpr, OrderBy, OrderByExpr,
        OrderByKind, OrderBySort, SelectItem, SelectItemQualifiedWildcardKind, Spanned, Value,
        WildcardAdditionalOptions,
    },
    tokenizer::Span,
};

use super::{
    Result, SqlError, Translator,
    from::{From, Tree},
    relation::Relation,
    scope::{Column, Scope},
    span_of, tree,
};
use crate::{
    expr::{SortKey, parse::ParseErrorKind},
    job::check::MAX_NAME_LENGTH,
};

/// A SELECT whose names are resolved.
pub(super) struct Select {
    pub(super) tree: Tree,
    pub(super) conditions: Vec<Sql>,
    pub(super) items: Vec<Item>,
    pub(super) keys: Vec<Sql>,
    pub(super) having: Option<Sql>,
    qualify: Option<Sql>,
    pub(super) order: Vec<OrderKey>,
    is_distinct: bool,
    pub(super) is_aggregated: bool,
}

/// A column of the select list.
pub(super) struct Item {
    name: String,
    pub(super) sql: Sql,
}

/// The names that a select list gives, with what they stand for.
type Aliases = Vec<(Ident, Sql)>;

/// A key of the order.
pub(super) struct OrderKey {
    pub(super) by: By,
    pub(super) descending: bool,
    pub(super) nulls_first: bool,
}

/// What an order goes by.
pub(super) enum By {
    /// A column of the select list.
    Item(usize),
    /// An expression over the tables.
    Sql(Box<Sql>),
}

impl Select {
    /// Everything that is computed behind the `where`.
    pub(super) fn expressions(&self) -> impl Iterator<Item = &Sql> {
        let order = self.order.iter().filter_map(|key| match &key.by {
            By::Sql(sql) => Some(sql.as_ref()),
            By::Item(_) => None,
        });
        self.items
            .iter()
            .map(|item| &item.sql)
            .chain(&self.keys)
            .chain(&self.having)
            .chain(&self.qualify)
            .chain(order)
    }

    /// The same but for the keys, to be rewritten.
    pub(super) fn results_mut(&mut self) -> impl Iterator<Item = &mut Sql> {
        let order = self.order.iter_mut().filter_map(|key| match &mut key.by {
            By::Sql(sql) => Some(sql.as_mut()),
            By::Item(_) => None,
        });
        self.items
            .iter_mut()
            .map(|item| &mut item.sql)
            .chain(&mut self.having)
            .chain(&mut self.qualify)
            .chain(order)
    }
}

impl Translator<'_, '_, '_, '_> {
    /// A SELECT of its own.
    pub(super) fn select(
        &mut self,
        select: &sqlparser::ast::Select,
        order_by: Option<&OrderBy>,
    ) -> Result<Relation> {
        let analysed = self.analysed(select, order_by, None, false)?;
        self.finished(analysed)
    }

    /// Reads the clauses of a SELECT. Where only its rows matter, as in `exists`, its list is not
    /// looked at.
    pub(super) fn analysed(
        &mut self,
        select: &sqlparser::ast::Select,
        order_by: Option<&OrderBy>,
        outer: Option<&Scope<'_>>,
        rows_only: bool,
    ) -> Result<Select> {
        check_clauses(select)?;
        self.windows = named_windows(select)?;
        let has_all = |item: &SelectItem| {
            matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..))
        };
        let keep_all = !rows_only && select.projection.iter().any(has_all);
        let span = select.select_token.0.span;
        let From { tree, columns } = self.from(&select.from, span, keep_all)?;
        let scope = Scope::of(&columns, outer);
        let conditions = match &select.selection {
            None => Vec::new(),
            Some(condition) => {
                let condition = self.resolve(condition, &scope)?;
                if let Some(place) = aggregate_in(&condition) {
                    let message = "an aggregate can't stand in `where`; say `having`";
                    return Err(SqlError::new(ParseErrorKind::Syntax, place, message));
                }
                if let Some(place) = window_of(&condition) {
                    let message = "a window function can't stand in `where`; say `qualify`";
                    return Err(SqlError::new(ParseErrorKind::Syntax, place, message));
                }
                tree::factored(tree::conjuncts(condition))
            }
        };
        let (items, aliases) = if rows_only {
            (Vec::new(), Vec::new())
        } else {
            self.items(&select.projection, &columns, &scope)?
        };
        let scope = Scope { aliases: &aliases, ..scope };
        let keys = self.keys(&select.group_by, &items, &scope)?;
        let mut resolve =
            |sql: &Option<Sql>| sql.as_ref().map(|sql| self.resolve(sql, &scope)).transpose();
        let (having, qualify) = (resolve(&select.having)?, resolve(&select.qualify)?);
        let order_scope = Scope { is_alias_first: true, ..scope };
        let order = order_by.map(|order_by| self.order(order_by, &items, &order_scope));
        let mut analysed = Select {
            tree,
            conditions,
            items,
            keys,
            having,
            qualify,
            order: order.transpose()?.unwrap_or_default(),
            is_distinct: matches!(select.distinct, Some(Distinct::Distinct)),
            is_aggregated: false,
        };
        let is_aggregate = |sql: &Sql| aggregate_in(sql).is_some();
        analysed.is_aggregated = !analysed.keys.is_empty()
            || analysed.having.is_some()
            || analysed.expressions().any(is_aggregate)
            || (rows_only && select.projection.iter().any(is_aggregate_item));
        Ok(analysed)
    }

    /// The rows of `from` and `where`, with the subqueries beside them that are wanted before rows
    /// are grouped.
    pub(super) fn rows_of(&mut self, select: &mut Select) -> Result<Relation> {
        let tree =
            std::mem::replace(&mut select.tree, Tree::Inner { parts: Vec::new(), on: Vec::new() });
        let conditions = std::mem::take(&mut select.conditions);
        self.planned(tree, conditions)
    }

    /// The nodes of a SELECT.
    pub(super) fn finished(&mut self, mut select: Select) -> Result<Relation> {
        let mut relation = self.rows_of(&mut select)?;
        if select.is_aggregated {
            relation = self.aggregated(&relation, &mut select, Vec::new())?;
        }
        if let Some(having) = select.having.take() {
            relation = self.applied(relation, tree::conjuncts(having))?;
        }
        for sql in select.results_mut() {
            relation = self.attached(relation, sql)?;
        }
        relation = self.windowed(relation, &mut select)?;
        if let Some(qualify) = select.qualify.take() {
            relation = self.filter(relation, vec![qualify])?;
        }
        self.projected(&relation, select)
    }

    /// The select list, without repeats and in order where that is asked for.
    fn projected(&mut self, relation: &Relation, select: Select) -> Result<Relation> {
        let Select { items, order, is_distinct, .. } = select;
        let mut columns = unique(items);
        let shown = columns.len();
        let mut keys = Vec::with_capacity(order.len());
        for OrderKey { by, descending, nulls_first } in order {
            let column = match by {
                By::Item(place) => place,
                By::Sql(sql) => {
                    let text = sql.to_string();
                    let known = columns.iter().position(|(_, known)| known.to_string() == text);
                    match known {
                        Some(place) => place,
                        None if is_distinct => {
                            let message = "with `distinct` an order goes by columns of the select \
                                           list";
                            let place = span_of(&sql);
                            return Err(SqlError::new(ParseErrorKind::Syntax, place, message));
                        }
                        None => {
                            columns.push((self.own_name("order#1"), *sql));
                            columns.len() - 1
                        }
                    }
                }
            };
            if !keys.iter().any(|key: &SortKey| key.column == column) {
                keys.push(SortKey { column, descending, nulls_first });
            }
        }
        let mut projected = self.map(relation, &columns)?;
        if is_distinct {
            projected = self.distinct(&projected);
        }
        if keys.is_empty() {
            return Ok(projected);
        }
        let sorted = self.sort(&projected, keys, None);
        if columns.len() == shown {
            return Ok(sorted);
        }
        let names = sorted.names();
        let kept: Vec<_> = names.into_iter().take(shown).enumerate().collect();
        Ok(self.renamed(&sorted, &kept))
    }

    /// The select list with what it says of all columns spelled out, and the names that it gives.
    fn items(
        &mut self,
        projection: &[SelectItem],
        columns: &[Column],
        scope: &Scope<'_>,
    ) -> Result<(Vec<Item>, Aliases)> {
        let mut items = Vec::with_capacity(projection.len());
        let mut aliases = Vec::new();
        for item in projection {
            match item {
                SelectItem::UnnamedExpr(sql) => {
                    let name = name_of(sql, columns, items.len() + 1);
                    items.push(Item { name, sql: self.resolve(sql, scope)? });
                }
                SelectItem::ExprWithAlias { expr, alias } => {
                    let sql = self.resolve(expr, scope)?;
                    aliases.push((alias.clone(), sql.clone()));
                    items.push(Item { name: alias.value.clone(), sql });
                }
                SelectItem::Wildcard(options) => {
                    check_wildcard(options)?;
                    let span = options.wildcard_token.0.span;
                    let shown = columns.iter().filter(|column| column.is_shown());
                    items.extend(shown.map(|column| item_of(column, span)));
                }
                SelectItem::QualifiedWildcard(
                    SelectItemQualifiedWildcardKind::ObjectName(name),
                    options,
                ) => {
                    check_wildcard(options)?;
                    let [sqlparser::ast::ObjectNamePart::Identifier(word)] = &name.0[..] else {
                        let message = format!("no table `{name}`");
                        let kind = ParseErrorKind::UnknownColumn;
                        return Err(SqlError::new(kind, name.span(), message));
                    };
                    let Some(table) = scope.table(word) else {
                        let tables = scope.tables();
                        let list = tables.join(", ");
                        let message = format!("no table `{}`; there are {list}", word.value);
                        let suggestion = crate::expr::parse::nearest(&word.value, tables);
                        let kind = ParseErrorKind::UnknownColumn;
                        let error = SqlError::new(kind, word.span, message);
                        return Err(SqlError { suggestion, ..error });
                    };
                    let read = scope.columns_of(table).filter(|column| !column.own.is_empty());
                    items.extend(read.map(|column| item_of(column, word.span)));
                }
                SelectItem::ExprWithAliases { .. }
                | SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::Expr(_), _) => {
                    let message = format!("`{item}` is not supported in a select list");
                    return Err(SqlError::unsupported(item.span(), message));
                }
            }
        }
        Ok((items, aliases))
    }

    fn keys(
        &mut self,
        group_by: &GroupByExpr,
        items: &[Item],
        scope: &Scope<'_>,
    ) -> Result<Vec<Sql>> {
        let (keys, modifiers) = match group_by {
            GroupByExpr::All(modifiers) => {
                let plain = items.iter().filter(|item| aggregate_in(&item.sql).is_none());
                (Ok(plain.map(|item| item.sql.clone()).collect()), modifiers)
            }
            GroupByExpr::Expressions(keys, modifiers) => (Err(keys), modifiers),
        };
        if !modifiers.is_empty() {
            let message = "`group by ... with` is not supported; group by each set of keys and \
                           `union all` them";
            return Err(SqlError::unsupported(group_by.span(), message));
        }
        let keys = match keys {
            Ok(all) => return Ok(all),
            Err(keys) => keys,
        };
        let mut found: Vec<Sql> = Vec::with_capacity(keys.len());
        for key in keys {
            let is_several = match key {
                Sql::Rollup(_) | Sql::Cube(_) | Sql::GroupingSets(_) => true,
                Sql::Function(call) => {
                    let name = call.name.to_string();
                    ["rollup", "cube"].iter().any(|known| name.eq_ignore_ascii_case(known))
                }
                _ => false,
            };
            if is_several {
                let message = "`rollup`, `cube` and `grouping sets` are not supported; group by \
                               each set of keys and `union all` them";
                return Err(SqlError::unsupported(span_of(key), message));
            }
            let key = match ordinal(key, items.len())? {
                Some(place) => items[place].sql.clone(),
                None => self.resolve(key, scope)?,
            };
            if let Some(place) = aggregate_in(&key).or_else(|| window_of(&key)) {
                let message = "an aggregate can't be a key of a group";
                return Err(SqlError::new(ParseErrorKind::Syntax, place, message));
            }
            let text = key.to_string();
            if !found.iter().any(|known| known.to_string() == text) {
                found.push(key);
            }
        }
        Ok(found)
    }

    fn order(
        &mut self,
        order_by: &OrderBy,
        items: &[Item],
        scope: &Scope<'_>,
    ) -> Result<Vec<OrderKey>> {
        let mut keys = Vec::new();
        for key in order_keys(order_by, items.len())? {
            let by = match ordinal(&key.expr, items.len())? {
                Some(place) => By::Item(place),
                None => By::Sql(Box::new(self.resolve(&key.expr, scope)?)),
            };
            let (descending, nulls_first) = direction(&key)?;
            keys.push(OrderKey { by, descending, nulls_first });
        }
        Ok(keys)
    }
}

/// The keys of `order by`; `all` is every column.
pub(super) fn order_keys(order_by: &OrderBy, width: usize) -> Result<Vec<OrderByExpr>> {
    if order_by.interpolate.is_some() {
        let message = "`interpolate` is not supported";
        return Err(SqlError::unsupported(order_by.span(), message));
    }
    Ok(match &order_by.kind {
        OrderByKind::Expressions(keys) => keys.clone(),
        OrderByKind::All(options) => (1..=width)
            .filter_map(|place| i64::try_from(place).ok())
            .map(|place| OrderByExpr {
                expr: tree::number(place, order_by.span()),
                options: options.clone(),
                with_fill: None,
            })
            .collect(),
    })
}

/// Whether a key is descending, and whether nulls come first.
pub(super) fn direction(key: &OrderByExpr) -> Result<(bool, bool)> {
    if key.with_fill.is_some() {
        let message = "`with fill` is not supported";
        return Err(SqlError::unsupported(span_of(&key.expr), message));
    }
    let descending = match &key.options.sort {
        None | Some(OrderBySort::Asc) => false,
        Some(OrderBySort::Desc) => true,
        Some(OrderBySort::Using(_)) => {
            let message = "`using` is not supported in an order; say `asc` or `desc`";
            return Err(SqlError::unsupported(span_of(&key.expr), message));
        }
    };
    Ok((descending, key.options.nulls_first.unwrap_or(false)))
}

/// The column, from 0, that a whole number names by its place from 1.
pub(super) fn ordinal(sql: &Sql, width: usize) -> Result<Option<usize>> {
    let Sql::Value(value) = sql else { return Ok(None) };
    let Value::Number(digits, _) = &value.value else { return Ok(None) };
    let place = digits.parse().ok().filter(|place| (1..=width).contains(place));
    let refused = || {
        let message = format!("`{digits}` is no column of the select list, which has {width}");
        SqlError::new(ParseErrorKind::UnknownColumn, value.span, message)
    };
    place.map(|place: usize| Some(place - 1)).ok_or_else(refused)
}

/// Where the first aggregate stands; those of a window's frame are none.
pub(super) fn aggregate_in(sql: &Sql) -> Option<Span> {
    let mut copy = sql.clone();
    let mut waiting = vec![&mut copy];
    while let Some(next) = waiting.pop() {
        if let Sql::Function(call) = &*next
            && crate::expr::aggregate::bind::is_aggregate(call)
        {
            return Some(span_of(next));
        }
        waiting.extend(tree::children(next));
    }
    None
}

/// Where the first window function stands.
pub(super) fn window_of(sql: &Sql) -> Option<Span> {
    let mut copy = sql.clone();
    let mut waiting = vec![&mut copy];
    while let Some(next) = waiting.pop() {
        if matches!(&*next, Sql::Function(call) if call.over.is_some()) {
            return Some(span_of(next));
        }
        waiting.extend(tree::children(next));
    }
    None
}

fn is_aggregate_item(item: &SelectItem) -> bool {
    match item {
        SelectItem::UnnamedExpr(sql) | SelectItem::ExprWithAlias { expr: sql, .. } => {
            aggregate_in(sql).is_some()
        }
        _ => false,
    }
}

fn item_of(column: &Column, span: Span) -> Item {
    Item { name: column.name.clone(), sql: tree::column(&column.own, span) }
}

/// What an expression without a name is called: a column's own name, else as it is written.
fn name_of(sql: &Sql, columns: &[Column], place: usize) -> String {
    let known = |word: &Ident| {
        let exact = columns.iter().find(|column| column.name == word.value);
        let other = || columns.iter().find(|column| column.name.eq_ignore_ascii_case(&word.value));
        exact.or_else(other).map_or_else(|| word.value.clone(), |column| column.name.clone())
    };
    match tree::without_parentheses(sql) {
        Sql::Identifier(word) => known(word),
        Sql::CompoundIdentifier(words) => words.last().map(known).unwrap_or_default(),
        other => {
            let text = other.to_string();
            if text.chars().count() > MAX_NAME_LENGTH || text.contains('\n') {
                format!("column{place}")
            } else {
                text
            }
        }
    }
}

/// The columns, each under a name of its own: the second `n` is `n_1`.
fn unique(items: Vec<Item>) -> Vec<(String, Sql)> {
    let mut names: Vec<String> = Vec::with_capacity(items.len());
    let given: Vec<String> = items.iter().map(|item| item.name.clone()).collect();
    for item in &items {
        let mut name = item.name.clone();
        let mut number = 0;
        while names.contains(&name) || (number > 0 && given.contains(&name)) {
            number += 1;
            name = format!("{}_{number}", item.name);
        }
        names.push(name);
    }
    names.into_iter().zip(items.into_iter().map(|item| item.sql)).collect()
}

fn named_windows(
    select: &sqlparser::ast::Select,
) -> Result<Vec<(Ident, sqlparser::ast::WindowSpec)>> {
    let mut found: Vec<(Ident, sqlparser::ast::WindowSpec)> = Vec::new();
    for window in &select.named_window {
        let spec = match &window.1 {
            NamedWindowExpr::WindowSpec(spec) => spec.clone(),
            NamedWindowExpr::NamedWindow(other) => {
                let known = found.iter().find(|(known, _)| known.value == other.value);
                let Some((_, spec)) = known else {
                    let message = format!("no window `{}`", other.value);
                    return Err(SqlError::new(ParseErrorKind::UnknownColumn, other.span, message));
                };
                spec.clone()
            }
        };
        found.push((window.0.clone(), spec));
    }
    Ok(found)
}

fn check_wildcard(options: &WildcardAdditionalOptions) -> Result<()> {
    let is_plain = options.opt_ilike.is_none()
        && options.opt_exclude.is_none()
        && options.opt_except.is_none()
        && options.opt_replace.is_none()
        && options.opt_rename.is_none()
        && options.opt_alias.is_none();
    if is_plain {
        return Ok(());
    }
    let message = "`*` stands alone here; name the columns, or use `map` with `drop` or `rename`";
    Err(SqlError::unsupported(options.wildcard_token.0.span, message))
}

/// Refuses clauses that are not translated.
fn check_clauses(select: &sqlparser::ast::Select) -> Result<()> {
    let mut refused: Option<&str> = None;
    let mut refuse = |is_there: bool, message: &'static str| {
        if is_there {
            refused.get_or_insert(message);
        }
    };
    refuse(
        matches!(select.distinct, Some(Distinct::On(_))),
        "`distinct on` is not supported; say `qualify row_number() over (partition by ... order \
         by ...) = 1`",
    );
    refuse(select.top.is_some(), "`top` is not supported; say `limit`");
    refuse(select.into.is_some(), "`into` is not supported; a writer node writes rows");
    refuse(select.exclude.is_some(), "`exclude` is not supported; name the columns");
    refuse(
        !select.lateral_views.is_empty(),
        "`lateral view` is not supported; use the operator flat_map with `explode`",
    );
    refuse(select.prewhere.is_some(), "`prewhere` is not supported; say `where`");
    refuse(!select.connect_by.is_empty(), "`connect by` is not supported: a job has no recursion");
    refuse(
        !select.cluster_by.is_empty()
            || !select.distribute_by.is_empty()
            || !select.sort_by.is_empty(),
        "`cluster by`, `distribute by` and `sort by` are not supported; say `order by`, or use \
         the operator repartition",
    );
    refuse(select.value_table_mode.is_some(), "`select as` is not supported; select columns");
    refuse(
        select.select_modifiers.is_some(),
        "words between `select` and its list are not supported but for `all` and `distinct`",
    );
    match refused {
        None => Ok(()),
        Some(message) => Err(SqlError::unsupported(select.select_token.0.span, message)),
    }
}
