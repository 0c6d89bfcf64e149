//! Names: columns, fields of structs, elements of lists.

use arrow::datatypes::{DataType, Schema};
use sqlparser::ast::{AccessExpr, Expr as Sql, Ident, Subscript};

use super::{
    ParseError, ParseErrorKind, Result, binder::Binder, error, nearest, offset_of, type_name,
};
use crate::expr::{Expr, Literal, fold::fold};

/// The column of an index, as an expression.
pub fn column(schema: &Schema, index: usize) -> Expr {
    let field = schema.field(index);
    Expr::Column { index, name: field.name().clone(), data_type: field.data_type().clone() }
}

/// What to say about a column that is not there, and the one that was probably meant.
pub fn no_column(name: &str, schema: &Schema) -> (String, Option<String>) {
    let names: Vec<_> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    let message = format!("no column `{name}`; there are {}", names.join(", "));
    (message, nearest(name, names))
}

/// The field of a struct, or why there is none.
fn field(input: Expr, name: &str) -> Result<Expr, (String, Option<String>)> {
    let of = input.data_type();
    let DataType::Struct(fields) = &of else {
        let message = format!("`{name}` is asked of {}, not of a struct", type_name(&of));
        return Err((message, None));
    };
    let Some((index, field)) = fields.find(name) else {
        let names: Vec<_> = fields.iter().map(|field| field.name().as_str()).collect();
        let message = format!("no field `{name}`; there are {}", names.join(", "));
        return Err((message, nearest(name, names)));
    };
    let data_type = field.data_type().clone();
    Ok(Expr::Field { input: Box::new(input), index, name: String::from(name), data_type })
}

impl Binder<'_> {
    pub(super) fn column_index(&self, name: &Ident) -> Result<usize> {
        let known = self.schema.index_of(&name.value);
        known.map_err(|_| self.no_column(&name.value, offset_of(self.text, name.span.start)))
    }

    fn no_column(&self, name: &str, offset: usize) -> ParseError {
        let (message, suggestion) = no_column(name, self.schema);
        ParseError { suggestion, ..error(ParseErrorKind::UnknownColumn, offset, message) }
    }

    /// `a.b.c`: fields of a column `a`, or of one that is called `a.b`, as statements over several
    /// inputs have them.
    pub(super) fn named(&self, names: &[Ident]) -> Result<Expr> {
        let parts: Vec<_> = names.iter().map(|name| name.value.as_str()).collect();
        let mut refusal = None;
        for split in 1..=parts.len() {
            let Ok(index) = self.schema.index_of(&parts[..split].join(".")) else { continue };
            let mut found = Ok(column(self.schema, index));
            for (place, part) in parts.iter().enumerate().skip(split) {
                found = found.and_then(|input| field(input, part).map_err(|why| (place, why)));
            }
            match found {
                Ok(expr) => return Ok(expr),
                Err(why) => refusal = refusal.or(Some(why)),
            }
        }
        let at =
            |place: usize| names.get(place).map_or(0, |name| offset_of(self.text, name.span.start));
        match refusal {
            Some((place, (message, suggestion))) => Err(ParseError {
                suggestion,
                ..error(ParseErrorKind::UnknownColumn, at(place), message)
            }),
            None => Err(self.no_column(&parts.join("."), at(0))),
        }
    }

    /// `a.b[1]['c'].d`.
    pub(super) fn accessed(
        &mut self,
        root: &Sql,
        chain: &[AccessExpr],
        at: &Sql,
        depth: usize,
    ) -> Result<Expr> {
        let mut names: Vec<Ident> = match root {
            Sql::Identifier(name) => vec![name.clone()],
            Sql::CompoundIdentifier(names) => names.clone(),
            _ => Vec::new(),
        };
        let mut chain = chain;
        while let [AccessExpr::Dot(Sql::Identifier(name)), rest @ ..] = chain
            && !names.is_empty()
        {
            names.push(name.clone());
            chain = rest;
        }
        let mut found =
            if names.is_empty() { self.bind(root, depth)? } else { self.named(&names)? };
        for access in chain {
            found = match access {
                AccessExpr::Dot(Sql::Identifier(name)) => self.field(found, &name.value, at)?,
                AccessExpr::Subscript(Subscript::Index { index }) => {
                    self.element(found, index, at, depth)?
                }
                AccessExpr::Dot(_) | AccessExpr::Subscript(Subscript::Slice { .. }) => {
                    return Err(self.unsupported(at, "a slice"));
                }
            };
        }
        Ok(found)
    }

    fn field(&self, input: Expr, name: &str, at: &Sql) -> Result<Expr> {
        field(input, name).map(fold).map_err(|(message, suggestion)| ParseError {
            suggestion,
            ..error(ParseErrorKind::Type, self.offset(at), message)
        })
    }

    /// `list[i]`, or `struct['name']`.
    fn element(&mut self, input: Expr, index: &Sql, at: &Sql, depth: usize) -> Result<Expr> {
        let place = self.bind(index, depth)?;
        let of = input.data_type();
        match (&of, place) {
            (DataType::Struct(_), Expr::Literal(Literal::Utf8(name))) => {
                self.field(input, &name, at)
            }
            (DataType::List(item), place) if place.data_type().is_integer() => {
                let place = Box::new(self.coerce(place, &DataType::Int64, index)?);
                let (input, data_type) = (Box::new(input), item.data_type().clone());
                Ok(fold(Expr::Element { input, index: place, data_type }))
            }
            (found, place) => {
                let (found, with) = (type_name(found), type_name(&place.data_type()));
                let message = format!(
                    "`[]` takes a list and a whole number, or a struct and a field's name in \
                     quotes, not {found} and {with}"
                );
                Err(self.type_error(at, message))
            }
        }
    }
}
