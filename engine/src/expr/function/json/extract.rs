//! Parts of JSON text, and what is known of them.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, NullBufferBuilder},
    datatypes::Int64Type,
};

use super::{
    object::write_string,
    path::{Step, find, parse},
    scan::{Malformed, Scanner, unescape},
};
use crate::{
    Error, Result,
    expr::{
        Expr, Literal,
        function::{
            Call,
            rows::{self, Texts},
        },
        text::TextBuilder,
    },
};

/// Refuses a constant that is no path.
pub(super) fn check(arguments: &[Expr]) -> Result<(), String> {
    match arguments.get(1) {
        Some(Expr::Literal(Literal::Utf8(path))) => parse(path).map(|_| ()),
        _ => Ok(()),
    }
}

/// JSON texts and the paths into them.
struct Documents<'a> {
    texts: Texts<'a>,
    paths: Option<Texts<'a>>,
    constant: Option<Vec<Step>>,
}

impl<'a> Documents<'a> {
    fn new(call: &Call<'a>) -> Result<Self> {
        let texts = rows::texts(call, 0)?;
        let paths = if call.arguments.len() > 1 { Some(rows::texts(call, 1)?) } else { None };
        let constant = match &paths {
            None => Some(Vec::new()),
            Some(paths) => paths.constant().map(steps).transpose()?,
        };
        Ok(Self { texts, paths, constant })
    }

    /// The JSON of the part of a row, as it is written.
    fn part(&self, row: usize) -> Result<Option<&'a str>> {
        let text = self.texts.at(row);
        let mut scanner = Scanner::new(text);
        let found = match (&self.constant, &self.paths) {
            (Some(path), _) => find(&mut scanner, path),
            (None, Some(paths)) => find(&mut scanner, &steps(paths.at(row))?),
            (None, None) => find(&mut scanner, &[]),
        };
        let whole = found.and_then(|span| scanner.end().map(|()| span));
        whole.map(|span| span.map(|span| span.of(text))).map_err(|place| malformed(text, place))
    }
}

fn steps(path: &str) -> Result<Vec<Step>> {
    parse(path).map_err(|reason| Error::Evaluate { reason })
}

fn malformed(text: &str, Malformed(at): Malformed) -> Error {
    let shown: String = text.chars().take(60).flat_map(char::escape_debug).collect();
    Error::Evaluate { reason: format!("'{shown}' is no JSON from byte {at} on") }
}

/// Appends JSON without blanks between its words; strings are written in one way.
fn minified(json: &str, out: &mut String) {
    let mut rest = json;
    while let Some(first) = rest.bytes().next() {
        match first {
            b'"' => {
                let end = string_end(rest);
                let mut said = String::new();
                unescape(&rest[..end], |part| said.push_str(part));
                write_string(&said, out);
                rest = &rest[end..];
            }
            b' ' | b'\t' | b'\n' | b'\r' => rest = &rest[1..],
            _ => {
                let end = rest.find([' ', '\t', '\n', '\r', '"']).unwrap_or(rest.len());
                out.push_str(&rest[..end]);
                rest = &rest[end..];
            }
        }
    }
}

/// Where the string ends that a text begins with.
fn string_end(text: &str) -> usize {
    let mut is_escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            b'"' if !is_escaped => return at + 1,
            b'\\' => is_escaped = !is_escaped,
            _ => is_escaped = false,
        }
    }
    text.len()
}

pub(super) fn json_extract(call: &Call<'_>) -> Result<ArrayRef> {
    let documents = Documents::new(call)?;
    let mut buffer = String::new();
    rows::some_text_of(call, |row, out| {
        let part = documents.part(row)?;
        Ok(part.map(|part| extend_minified(part, &mut buffer, out)).is_some())
    })
}

fn extend_minified(json: &str, buffer: &mut String, out: &mut TextBuilder) {
    buffer.clear();
    minified(json, buffer);
    out.extend(buffer);
}

pub(super) fn json_extract_string(call: &Call<'_>) -> Result<ArrayRef> {
    let documents = Documents::new(call)?;
    let mut buffer = String::new();
    rows::some_text_of(call, |row, out| {
        Ok(match documents.part(row)? {
            None | Some("null") => false,
            Some(string) if string.starts_with('"') => {
                unescape(string, |part| out.extend(part));
                true
            }
            Some(part) => {
                extend_minified(part, &mut buffer, out);
                true
            }
        })
    })
}

pub(super) fn json_exists(call: &Call<'_>) -> Result<ArrayRef> {
    let documents = Documents::new(call)?;
    rows::bools_of(call, |row| Ok(documents.part(row)?.is_some()))
}

pub(super) fn json_valid(call: &Call<'_>) -> Result<ArrayRef> {
    let texts = rows::texts(call, 0)?;
    rows::bools_of(call, |row| {
        let mut scanner = Scanner::new(texts.at(row));
        Ok(scanner.value().and_then(|_| scanner.end()).is_ok())
    })
}

pub(super) fn json_array_length(call: &Call<'_>) -> Result<ArrayRef> {
    let documents = Documents::new(call)?;
    rows::some_numbers_of::<Int64Type>(call, |row| {
        let Some(part) = documents.part(row)? else { return Ok(None) };
        let mut count = 0;
        if part.starts_with('[') {
            let counted = Scanner::new(part).elements(|scanner, _| {
                count += 1;
                scanner.value().map(|_| ())
            });
            counted.map_err(|place| malformed(part, place))?;
        }
        Ok(Some(count))
    })
}

pub(super) fn json_type(call: &Call<'_>) -> Result<ArrayRef> {
    let documents = Documents::new(call)?;
    rows::some_text_of(call, |row, out| {
        let part = documents.part(row)?;
        Ok(part.map(|part| out.extend(kind(part))).is_some())
    })
}

/// What `DuckDB` calls the type of a value.
fn kind(json: &str) -> &'static str {
    match json.bytes().next() {
        Some(b'{') => "OBJECT",
        Some(b'[') => "ARRAY",
        Some(b'"') => "VARCHAR",
        Some(b't' | b'f') => "BOOLEAN",
        Some(b'n') => "NULL",
        _ if json.parse::<u64>().is_ok() => "UBIGINT",
        _ if json.parse::<i64>().is_ok() => "BIGINT",
        _ => "DOUBLE",
    }
}

pub(super) fn json_keys(call: &Call<'_>) -> Result<ArrayRef> {
    let documents = Documents::new(call)?;
    let given = rows::valid(call);
    let mut names = TextBuilder::with_capacity(call.rows);
    let mut lengths = Vec::with_capacity(call.rows);
    let mut nulls = NullBufferBuilder::new(call.rows);
    for row in 0..call.rows {
        let is_given = given.as_ref().is_none_or(|given| given.is_valid(row));
        let part = if is_given { documents.part(row)? } else { None };
        let before = names.len();
        if let Some(object) = part.filter(|part| part.starts_with('{')) {
            let read = Scanner::new(object).members(|scanner, name| {
                unescape(name, |text| names.extend(text));
                names.push_extended();
                scanner.value().map(|_| ())
            });
            read.map_err(|place| malformed(object, place))?;
        }
        lengths.push(names.len() - before);
        nulls.append(part.is_some());
    }
    rows::list_of(Arc::new(names.finish(None)), lengths, nulls.finish())
}

#[cfg(test)]
mod tests {
    use super::minified;

    #[test]
    fn blanks_go_and_strings_stay() {
        let mut out = String::new();
        minified(" { \"a b\" : [ 1.50 , \"x\\u00e9 \\\" \" , null ] } ", &mut out);
        assert_eq!(out, "{\"a b\":[1.50,\"xé \\\" \",null]}");
    }
}
