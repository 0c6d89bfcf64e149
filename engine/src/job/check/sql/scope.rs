//! Names: which column a word of a query means.
//!
//! Inside a translation every column has a name of its own, so that expressions need no tables:
//! what a query says is resolved here to those names, from the innermost query outwards. Names are
//! exact; a word without quotes that meets none exactly means the one that differs by case only.

use sqlparser::{
    ast::{AccessExpr, Expr as Sql, Ident},
    tokenizer::Span,
};

use super::{SqlError, tree};
use crate::expr::parse::{ParseErrorKind, nearest};

/// A column that a query can speak of.
#[derive(Clone, Debug)]
pub(super) struct Column {
    /// The table's name here.
    pub(super) table: String,
    /// Its name in that table.
    pub(super) name: String,
    /// Its name in the plan, which nothing else in the query has; empty where the query names no
    /// such column, so that it is not read and stands here for messages only.
    pub(super) own: String,
    /// Whether only its table's name leads to it: `using` gave the columns of one name a single one.
    pub(super) is_hidden: bool,
}

impl Column {
    /// Whether its name alone leads to it.
    pub(super) fn is_shown(&self) -> bool {
        !self.is_hidden && !self.own.is_empty()
    }
}

/// The columns of one `from`, and those of the queries around it.
#[derive(Clone, Copy)]
pub(super) struct Scope<'s> {
    /// In the order of `*`.
    pub(super) columns: &'s [Column],
    /// Names that the select list gives, with what they stand for.
    pub(super) aliases: &'s [(Ident, Sql)],
    /// Whether such a name goes before a column's.
    pub(super) is_alias_first: bool,
    /// Where a name is looked for that is not here.
    pub(super) outer: Option<&'s Scope<'s>>,
}

/// Whether a word of a query means a name.
fn is_meant(word: &Ident, name: &str, exactly: bool) -> bool {
    if exactly {
        word.value == name
    } else {
        word.quote_style.is_none() && word.value.to_lowercase() == name.to_lowercase()
    }
}

/// The only one of `items` that `word` means, or how many it may mean.
pub(super) fn meant<'i, T>(
    word: &Ident,
    items: &(impl Iterator<Item = &'i T> + Clone),
    name: impl Fn(&T) -> &str,
) -> Result<&'i T, Vec<&'i T>> {
    for exactly in [true, false] {
        let mut found: Vec<&T> =
            items.clone().filter(|item| is_meant(word, name(item), exactly)).collect();
        match found.len() {
            0 => {}
            1 => return found.pop().ok_or_else(Vec::new),
            _ => return Err(found),
        }
    }
    Err(Vec::new())
}

impl<'s> Scope<'s> {
    /// A scope of columns alone.
    pub(super) fn of(columns: &'s [Column], outer: Option<&'s Scope<'s>>) -> Self {
        Self { columns, aliases: &[], is_alias_first: false, outer }
    }

    /// What a word means, a column under its own name or what an alias stands for.
    pub(super) fn word(&self, word: &Ident) -> Result<Sql, SqlError> {
        match self.find(word)? {
            Some(found) => Ok(found),
            None => Err(self.unknown(&word.value, word.span)),
        }
    }

    fn find(&self, word: &Ident) -> Result<Option<Sql>, SqlError> {
        if self.is_alias_first
            && let Some(found) = self.alias(word)?
        {
            return Ok(Some(found));
        }
        let shown = self.columns.iter().filter(|column| column.is_shown());
        match meant(word, &shown, |column| &column.name) {
            Ok(column) => return Ok(Some(tree::column(&column.own, word.span))),
            Err(several) if !several.is_empty() => return Err(ambiguous(word, &several)),
            Err(_) => {}
        }
        if let Some(found) = self.alias(word)? {
            return Ok(Some(found));
        }
        self.outer.map_or(Ok(None), |outer| outer.find(word))
    }

    fn alias(&self, word: &Ident) -> Result<Option<Sql>, SqlError> {
        match meant(word, &self.aliases.iter(), |(name, _)| &name.value) {
            Ok((_, sql)) => Ok(Some(sql.clone())),
            Err(several) if several.is_empty() => Ok(None),
            Err(several) => {
                let first = &several[0].1;
                if several.iter().all(|(_, sql)| sql == first) {
                    return Ok(Some(first.clone()));
                }
                let message = format!(
                    "`{}` is the name of {} columns of the select list",
                    word.value,
                    several.len()
                );
                Err(SqlError::new(ParseErrorKind::UnknownColumn, word.span, message))
            }
        }
    }

    /// What words joined by dots mean: a table's column, and fields of it.
    pub(super) fn words(&self, words: &[Ident]) -> Result<Sql, SqlError> {
        let [first, rest @ ..] = words else {
            let message = String::from("expected a column");
            return Err(SqlError::new(ParseErrorKind::Syntax, Span::empty(), message));
        };
        if let Some(found) = self.find_path(first, rest)? {
            return Ok(found);
        }
        let path = words.iter().map(|word| word.value.as_str()).collect::<Vec<_>>().join(".");
        if let Some(table) = self.table(first) {
            let Some(word) = rest.first() else { return Err(self.unknown(&path, first.span)) };
            let names: Vec<&str> = self.columns_of(table).map(|c| c.name.as_str()).collect();
            let list = names.join(", ");
            let message = format!("`{table}` has no column `{}`; it has {list}", word.value);
            let suggestion = nearest(&word.value, names).map(|name| format!("{table}.{name}"));
            let error = SqlError::new(ParseErrorKind::UnknownColumn, word.span, message);
            return Err(SqlError { suggestion, ..error });
        }
        Err(self.unknown_table(&first.value, &path, first.span))
    }

    fn find_path(&self, first: &Ident, rest: &[Ident]) -> Result<Option<Sql>, SqlError> {
        if let Some(table) = self.table(first)
            && let [word, fields @ ..] = rest
        {
            let read = self.columns_of(table).filter(|column| !column.own.is_empty());
            match meant(word, &read, |column| &column.name) {
                Ok(column) => {
                    return Ok(Some(field(tree::column(&column.own, first.span), fields)));
                }
                Err(several) if !several.is_empty() => return Err(ambiguous(word, &several)),
                Err(_) => {}
            }
        }
        let shown = self.columns.iter().filter(|column| column.is_shown());
        match meant(first, &shown, |column| &column.name) {
            Ok(column) => return Ok(Some(field(tree::column(&column.own, first.span), rest))),
            Err(several) if !several.is_empty() => return Err(ambiguous(first, &several)),
            Err(_) => {}
        }
        self.outer.map_or(Ok(None), |outer| outer.find_path(first, rest))
    }

    /// The name of the table that a word means.
    pub(super) fn table(&self, word: &Ident) -> Option<&'s str> {
        let tables = self.columns.iter().map(|column| column.table.as_str());
        let exact = tables.clone().find(|table| is_meant(word, table, true));
        exact.or_else(|| {
            let mut found: Vec<&str> =
                tables.filter(|table| is_meant(word, table, false)).collect();
            found.dedup();
            (found.len() == 1).then(|| found[0])
        })
    }

    /// The columns of a table, the hidden ones as well.
    pub(super) fn columns_of(&self, table: &str) -> impl Iterator<Item = &'s Column> + Clone {
        self.columns.iter().filter(move |column| column.table == table)
    }

    /// The tables, each once.
    pub(super) fn tables(&self) -> Vec<&'s str> {
        let mut tables: Vec<&str> = Vec::new();
        for column in self.columns {
            if !tables.contains(&column.table.as_str()) {
                tables.push(&column.table);
            }
        }
        tables
    }

    fn unknown(&self, name: &str, span: Span) -> SqlError {
        let names: Vec<&str> = self.columns.iter().map(|column| column.name.as_str()).collect();
        let message = format!("no column `{name}`; there are {}", names.join(", "));
        let suggestion = nearest(name, names);
        SqlError { suggestion, ..SqlError::new(ParseErrorKind::UnknownColumn, span, message) }
    }

    fn unknown_table(&self, table: &str, path: &str, span: Span) -> SqlError {
        let tables = self.tables();
        let message = format!(
            "no table or column `{table}` for `{path}`; the tables are {}",
            tables.join(", ")
        );
        let suggestion = nearest(table, tables);
        SqlError { suggestion, ..SqlError::new(ParseErrorKind::UnknownColumn, span, message) }
    }
}

fn ambiguous(word: &Ident, columns: &[&Column]) -> SqlError {
    let places: Vec<_> =
        columns.iter().map(|column| format!("{}.{}", column.table, column.name)).collect();
    let message = format!("`{}` may be {}; say which", word.value, places.join(" or "));
    SqlError::new(ParseErrorKind::UnknownColumn, word.span, message)
}

/// A field of a column, and of that field, and so on.
fn field(column: Sql, fields: &[Ident]) -> Sql {
    if fields.is_empty() {
        return column;
    }
    let step = |name: &Ident| AccessExpr::Dot(Sql::Identifier(name.clone()));
    Sql::CompoundFieldAccess {
        root: Box::new(column),
        access_chain: fields.iter().map(step).collect(),
    }
}

#[cfg(test)]
mod tests {
    use sqlparser::ast::Ident;

    use super::{Column, Scope};

    fn columns() -> Vec<Column> {
        let column = |table: &str, name: &str| Column {
            table: String::from(table),
            name: String::from(name),
            own: format!("{table}/{name}"),
            is_hidden: false,
        };
        vec![
            column("o", "id"),
            column("o", "Total"),
            column("c", "id"),
            column("c", "name"),
            column("c", "Name"),
        ]
    }

    fn means(path: &str) -> String {
        let words: Vec<Ident> = path.split('.').map(Ident::new).collect();
        let columns = columns();
        let scope = Scope::of(&columns, None);
        let found = match &words[..] {
            [word] => scope.word(word),
            words => scope.words(words),
        };
        found.map_or_else(|error| error.message, |sql| sql.to_string())
    }

    #[test]
    fn a_word_means_a_column_exactly_or_else_the_only_one_that_differs_by_case() {
        assert_eq!(means("name"), "\"c/name\"");
        assert_eq!(means("Name"), "\"c/Name\"");
        assert_eq!(means("TOTAL"), "\"o/Total\"");
        assert_eq!(means("NAME"), "`NAME` may be c.name or c.Name; say which");
        assert_eq!(means("id"), "`id` may be o.id or c.id; say which");
        assert_eq!(means("O.ID"), "\"o/id\"");
        assert_eq!(means("o.nam"), "`o` has no column `nam`; it has id, Total");
        assert_eq!(means("total.cents"), "\"o/Total\".cents");
        assert_eq!(means("x.id"), "no table or column `x` for `x.id`; the tables are o, c");
    }

    #[test]
    fn a_quoted_word_is_exact() {
        let columns = columns();
        let scope = Scope::of(&columns, None);
        assert!(scope.word(&Ident::with_quote('"', "total")).is_err());
        assert!(scope.word(&Ident::with_quote('"', "Total")).is_ok());
    }
}
