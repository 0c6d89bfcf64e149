//! The tables that a query names, for whoever has to make nodes of them first.

use hashbrown::HashMap;
use sqlparser::{
    ast::{
        Expr as Sql, FunctionArg, FunctionArgExpr, InTarget, ObjectNamePart, Query, SelectItem,
        SetExpr, TableFactor, TableWithJoins, UnaryOperator, Value,
    },
    tokenizer::{Token, Tokenizer},
};

use super::{Result, SqlError, statement, tree};
use crate::expr::parse::{self, ParseError, ParseErrorKind};

/// A table that a query names in a `from`, and that is none of its own `with`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Where its name stands, in bytes; of a call all of it.
    pub place: std::ops::Range<usize>,
    /// Its name, or a call's first argument.
    pub name: String,
    /// Whether the name stood in single quotes, as paths do.
    pub is_quoted: bool,
    /// Of a call such as `read_csv('x', header = false)` the function, and what is named in it.
    pub call: Option<Call>,
    /// Whether the query gives it another name.
    pub has_alias: bool,
}

/// A call in a `from`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The function, in lower case.
    pub function: String,
    /// Its named arguments: text, a number or a truth, each as JSON has it.
    pub arguments: Vec<(String, serde_json::Value)>,
}

/// The tables that a query names, in the order of the text.
///
/// # Errors
/// What is wrong with the query's syntax, and where.
pub fn sources(text: &str) -> Result<Vec<Source>, ParseError> {
    let found = statement(text).and_then(|query| {
        let mut finder = Finder { text, known: Vec::new(), found: Vec::new() };
        finder.query(&query)?;
        Ok(finder.found)
    });
    let mut found = found.map_err(|error| error.located(text))?;
    found.sort_by_key(|source| source.place.start);
    Ok(found)
}

/// The words of a query in lower case, quoted or not, and how often each stands there.
pub(super) fn words(text: &str) -> HashMap<String, usize> {
    let tokens = Tokenizer::new(&parse::Expressions, text).tokenize().unwrap_or_default();
    let mut words = HashMap::new();
    for token in tokens {
        if let Token::Word(word) = token {
            *words.entry(word.value.to_lowercase()).or_insert(0) += 1;
        }
    }
    words
}

struct Finder<'t> {
    text: &'t str,
    /// Names of `with` that can be said here.
    known: Vec<String>,
    found: Vec<Source>,
}

impl Finder<'_> {
    fn query(&mut self, query: &Query) -> Result<()> {
        let before = self.known.len();
        for common in query.with.iter().flat_map(|with| &with.cte_tables) {
            self.query(&common.query)?;
            self.known.push(common.alias.name.value.to_lowercase());
        }
        self.body(&query.body)?;
        if let Some(order_by) = &query.order_by
            && let sqlparser::ast::OrderByKind::Expressions(keys) = &order_by.kind
        {
            keys.iter().try_for_each(|key| self.sql(&key.expr))?;
        }
        self.known.truncate(before);
        Ok(())
    }

    fn body(&mut self, body: &SetExpr) -> Result<()> {
        match body {
            SetExpr::Select(select) => {
                select.from.iter().try_for_each(|item| self.item(item))?;
                for item in &select.projection {
                    if let SelectItem::UnnamedExpr(sql)
                    | SelectItem::ExprWithAlias { expr: sql, .. } = item
                    {
                        self.sql(sql)?;
                    }
                }
                let conditions = [&select.selection, &select.having, &select.qualify];
                conditions.into_iter().flatten().try_for_each(|sql| self.sql(sql))
            }
            SetExpr::Query(query) => self.query(query),
            SetExpr::SetOperation { left, right, .. } => {
                self.body(left)?;
                self.body(right)
            }
            _ => Ok(()),
        }
    }

    fn item(&mut self, item: &TableWithJoins) -> Result<()> {
        self.factor(&item.relation)?;
        item.joins.iter().try_for_each(|join| self.factor(&join.relation))
    }

    fn factor(&mut self, factor: &TableFactor) -> Result<()> {
        match factor {
            TableFactor::Table { name, alias, args, .. } => {
                let [ObjectNamePart::Identifier(word)] = &name.0[..] else { return Ok(()) };
                let start = parse::offset_of(self.text, word.span.start);
                let mut source = Source {
                    place: start..parse::offset_of(self.text, word.span.end),
                    name: word.value.clone(),
                    is_quoted: word.quote_style == Some('\''),
                    call: None,
                    has_alias: alias.is_some(),
                };
                if let Some(args) = args {
                    let (path, arguments) = arguments(&word.value, &args.args, word.span)?;
                    source.name = path;
                    source.is_quoted = true;
                    source.place.end = self.end_of_call(source.place.end);
                    let function = word.value.to_lowercase();
                    source.call = Some(Call { function, arguments });
                } else if !source.is_quoted && self.known.contains(&word.value.to_lowercase()) {
                    return Ok(());
                }
                self.found.push(source);
                Ok(())
            }
            TableFactor::Derived { subquery, .. } => self.query(subquery),
            TableFactor::NestedJoin { table_with_joins, .. } => self.item(table_with_joins),
            _ => Ok(()),
        }
    }

    /// The byte behind the parenthesis that closes the first one at or behind `from`.
    fn end_of_call(&self, from: usize) -> usize {
        let tokens = Tokenizer::new(&parse::Expressions, self.text).tokenize_with_location();
        let mut depth = 0_usize;
        for token in tokens.unwrap_or_default() {
            if parse::offset_of(self.text, token.span.start) < from {
                continue;
            }
            match token.token {
                Token::LParen => depth += 1,
                Token::RParen if depth <= 1 => {
                    return parse::offset_of(self.text, token.span.end);
                }
                Token::RParen => depth -= 1,
                _ => {}
            }
        }
        self.text.len()
    }

    /// The tables of the queries in an expression.
    fn sql(&mut self, sql: &Sql) -> Result<()> {
        if let Some(span) = tree::too_deep(sql) {
            let message = format!("the expression is nested more than {} deep", tree::MAX_DEPTH);
            return Err(SqlError::new(ParseErrorKind::Syntax, span, message));
        }
        let mut copy = sql.clone();
        let mut waiting = vec![&mut copy];
        while let Some(next) = waiting.pop() {
            match &*next {
                Sql::Exists { subquery: query, .. }
                | Sql::Subquery(query)
                | Sql::In { target: InTarget::Subquery(query), .. } => self.query(query)?,
                _ => {}
            }
            waiting.extend(tree::children(next));
        }
        Ok(())
    }
}

/// The first argument of a call, and those that have names.
fn arguments(
    function: &str,
    arguments: &[FunctionArg],
    span: sqlparser::tokenizer::Span,
) -> Result<(String, Vec<(String, serde_json::Value)>)> {
    let refused = || {
        let message = format!(
            "`{function}` takes a path in quotes, then options as `name = value`, each a text, a \
             number, true or false"
        );
        SqlError::new(ParseErrorKind::Syntax, span, message)
    };
    let [FunctionArg::Unnamed(FunctionArgExpr::Expr(first)), options @ ..] = arguments else {
        return Err(refused());
    };
    let Some(serde_json::Value::String(path)) = constant(first) else { return Err(refused()) };
    let mut named = Vec::with_capacity(options.len());
    for option in options {
        // `name = value` reads as a comparison, and as a named argument where a dialect has them.
        let (name, value) = match option {
            FunctionArg::Named { name, arg: FunctionArgExpr::Expr(value), .. } => {
                (name.value.clone(), value)
            }
            FunctionArg::ExprNamed {
                name: Sql::Identifier(name),
                arg: FunctionArgExpr::Expr(value),
                ..
            } => (name.value.clone(), value),
            FunctionArg::Unnamed(FunctionArgExpr::Expr(sql)) => match tree::equality(sql) {
                Some((Sql::Identifier(name), value)) => (name.value.clone(), value),
                _ => return Err(refused()),
            },
            _ => return Err(refused()),
        };
        named.push((name.to_lowercase(), constant(value).ok_or_else(refused)?));
    }
    Ok((path, named))
}

fn constant(sql: &Sql) -> Option<serde_json::Value> {
    match sql {
        Sql::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => Some(text.as_str().into()),
            Value::Boolean(value) => Some((*value).into()),
            Value::Number(digits, _) => digits.parse::<u64>().ok().map(Into::into).or_else(|| {
                let number = digits.parse::<f64>().ok()?;
                serde_json::Number::from_f64(number).map(serde_json::Value::Number)
            }),
            _ => None,
        },
        Sql::UnaryOp { op: UnaryOperator::Minus, expr } => match constant(expr)? {
            serde_json::Value::Number(number) => {
                number.as_f64().and_then(|n| serde_json::Number::from_f64(-n)).map(Into::into)
            }
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::sources;

    #[test]
    fn tables_are_found_wherever_a_query_stands() {
        let text = "with c as (select * from 'a/*.csv') select (select max(n) from b) from c, \
                    (select 1 from d) as x where n in (select n from \"E\" as e) and exists \
                    (select 1 from read_csv('f.tsv', header = false, delimiter = ';') as f)";
        let found = sources(text).unwrap();
        let names: Vec<_> = found.iter().map(|s| (s.name.as_str(), s.is_quoted)).collect();
        let expected =
            [("a/*.csv", true), ("b", false), ("d", false), ("E", false), ("f.tsv", true)];
        assert_eq!(names, expected);
        assert_eq!(&text[found[0].place.clone()], "'a/*.csv'");
        assert_eq!(
            &text[found[4].place.clone()],
            "read_csv('f.tsv', header = false, delimiter = ';')"
        );
        let call = found[4].call.clone().unwrap();
        assert_eq!(call.function, "read_csv");
        let arguments = [("header", json!(false)), ("delimiter", json!(";"))];
        let arguments = arguments.map(|(name, value)| (String::from(name), value));
        assert_eq!(call.arguments, arguments);
        assert_eq!(
            found.iter().map(|s| s.has_alias).collect::<Vec<_>>(),
            [false, false, false, true, true]
        );
    }
}
