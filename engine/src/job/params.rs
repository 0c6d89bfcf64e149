//! `params`: values that a document leaves open, filled in for `${name}` in its strings.
//!
//! A parameter has a default, or `null` where one must be given from outside ([`set`]). Its value is
//! taken as it is: a `${` in it means nothing. A string that is `${name}` and nothing more takes a
//! number's or a truth's own type, so that counts can be parameters too. `$${` stands for `${`.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::{
    expr::parse::nearest,
    job::{JobSpec, Json, SyntaxError},
};

/// The most bytes of a document's strings when they are filled: values can be repeated.
const MAX_FILLED_BYTES: usize = 4 << 20;

/// Something wrong with a parameter or its use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParamError {
    /// Where, as a JSON pointer.
    pub pointer: String,
    /// What kind of thing.
    pub kind: ParamErrorKind,
    /// What is wrong, and what would be right.
    pub message: String,
    /// The name that was probably meant.
    pub suggestion: Option<String>,
}

/// The kinds of what can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParamErrorKind {
    /// `params` is no object, or a parameter neither text, number nor truth.
    WrongType,
    /// A name or a use that can be none.
    BadValue,
    /// A parameter that is named and has no value.
    Missing,
    /// More text than a document may become.
    TooLarge,
}

/// Fills `${name}` in all strings of a document but those of `params` itself.
///
/// # Errors
/// All that is wrong, each at its place; the document may then be filled in part.
pub fn fill(spec: &mut JobSpec) -> Result<(), Vec<ParamError>> {
    let Json::Object(members) = &mut spec.0 else { return Ok(()) };
    let (params, errors) = read(members);
    let mut filler = Filler { params, errors, left_bytes: MAX_FILLED_BYTES };
    for (name, value) in members.iter_mut().filter(|(name, _)| name != "params") {
        let pointer = format!("/{}", escaped(name));
        filler.value(value, &pointer);
    }
    if filler.errors.is_empty() { Ok(()) } else { Err(filler.errors) }
}

/// The document's parameters, and what is wrong with them.
fn read(members: &[(String, Json)]) -> (Vec<(String, Json)>, Vec<ParamError>) {
    let mut errors = Vec::new();
    let params = match members.iter().find(|(name, _)| name == "params") {
        None | Some((_, Json::Null)) => return (Vec::new(), errors),
        Some((_, Json::Object(params))) => params.clone(),
        Some((_, other)) => {
            let message = format!("expected an object, found {}", other.kind());
            errors.push(error("/params", ParamErrorKind::WrongType, message));
            return (Vec::new(), errors);
        }
    };
    let mut known: Vec<(String, Json)> = Vec::with_capacity(params.len());
    for (name, value) in params {
        let pointer = format!("/params/{}", escaped(&name));
        if !is_name(&name) {
            let message = "a parameter's name is of letters, digits and `_`, and begins with none \
                           of the digits";
            errors.push(error(&pointer, ParamErrorKind::BadValue, message));
        } else if let Json::List(_) | Json::Object(_) = value {
            let message =
                format!("expected a string, a number, true, false or null, found {}", value.kind());
            errors.push(error(&pointer, ParamErrorKind::WrongType, message));
        } else if known.iter().any(|(other, _)| *other == name) {
            let message = format!("`{name}` stands twice");
            errors.push(error(&pointer, ParamErrorKind::BadValue, message));
        } else {
            known.push((name, value));
        }
    }
    (known, errors)
}

fn error(pointer: &str, kind: ParamErrorKind, message: impl Into<String>) -> ParamError {
    ParamError { pointer: String::from(pointer), kind, message: message.into(), suggestion: None }
}

fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

struct Filler {
    params: Vec<(String, Json)>,
    errors: Vec<ParamError>,
    left_bytes: usize,
}

/// A part of a string.
enum Piece<'a> {
    Text(&'a str),
    Param(&'a str),
}

impl Filler {
    fn value(&mut self, value: &mut Json, pointer: &str) {
        match value {
            Json::Text(text) => {
                if let Some(filled) = self.text(text, pointer) {
                    *value = filled;
                }
            }
            Json::List(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    self.value(item, &format!("{pointer}/{index}"));
                }
            }
            Json::Object(members) => {
                for (name, member) in members {
                    let pointer = format!("{pointer}/{}", escaped(name));
                    match self.text(name, &pointer) {
                        Some(Json::Text(filled)) => *name = filled,
                        Some(other) => *name = shown(&other),
                        None => {}
                    }
                    self.value(member, &pointer);
                }
            }
            Json::Null | Json::Bool(_) | Json::Number(_) => {}
        }
    }

    /// What a string becomes; `None` where it stays, or is wrong.
    fn text(&mut self, text: &str, pointer: &str) -> Option<Json> {
        if !text.contains("${") {
            return None;
        }
        let pieces = match pieces(text) {
            Ok(pieces) => pieces,
            Err(message) => {
                self.errors.push(error(pointer, ParamErrorKind::BadValue, message));
                return None;
            }
        };
        if let [Piece::Param(name)] = pieces[..] {
            let value = self.param(name, pointer)?;
            return Some(value);
        }
        let mut filled = String::new();
        for piece in pieces {
            match piece {
                Piece::Text(piece) => filled.push_str(piece),
                Piece::Param(name) => filled.push_str(&shown(&self.param(name, pointer)?)),
            }
            if filled.len() > self.left_bytes {
                let message =
                    format!("with its parameters the document has over {MAX_FILLED_BYTES} bytes");
                self.errors.push(error(pointer, ParamErrorKind::TooLarge, message));
                return None;
            }
        }
        self.left_bytes -= filled.len();
        Some(Json::Text(filled))
    }

    fn param(&mut self, name: &str, pointer: &str) -> Option<Json> {
        match self.params.iter().find(|(known, _)| known == name) {
            Some((_, Json::Null)) => {
                let message = format!(
                    "parameter `{name}` has no default and no value; give it one, as in --set \
                     {name}=..."
                );
                self.errors.push(error(pointer, ParamErrorKind::Missing, message));
                None
            }
            Some((_, value)) => Some(value.clone()),
            None => {
                let names: Vec<&str> = self.params.iter().map(|(known, _)| &**known).collect();
                let there = if names.is_empty() {
                    String::from("`params` has none")
                } else {
                    format!("there are {}", names.join(", "))
                };
                let message =
                    format!("no parameter `{name}`; {there}, and `$${{` stands for `${{`");
                let suggestion = nearest(name, names);
                let missing = error(pointer, ParamErrorKind::Missing, message);
                self.errors.push(ParamError { suggestion, ..missing });
                None
            }
        }
    }
}

/// A string cut at its parameters.
fn pieces(text: &str) -> Result<Vec<Piece<'_>>, String> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if at > 0 && rest.as_bytes()[at - 1] == b'$' {
            // `$${` says `${`.
            found.push(Piece::Text(&rest[..at - 1]));
            found.push(Piece::Text("${"));
            rest = &rest[at + 2..];
            continue;
        }
        if at > 0 {
            found.push(Piece::Text(&rest[..at]));
        }
        let inner = &rest[at + 2..];
        let name = inner.find('}').map(|end| &inner[..end]);
        match name {
            Some(name) if is_name(name) => {
                found.push(Piece::Param(name));
                rest = &inner[name.len() + 1..];
            }
            Some(name) => {
                return Err(format!(
                    "`${{{name}}}` names no parameter; a name is of letters, digits and `_`, and \
                     `$${{` stands for `${{`"
                ));
            }
            None => {
                return Err(String::from(
                    "a `${` is not closed by `}`; where it is no parameter say `$${`",
                ));
            }
        }
    }
    if !rest.is_empty() {
        found.push(Piece::Text(rest));
    }
    Ok(found)
}

/// A value within a string.
fn shown(value: &Json) -> String {
    match value {
        Json::Text(text) => text.clone(),
        Json::Bool(value) => value.to_string(),
        Json::Number(number) => number.to_string(),
        Json::Null | Json::List(_) | Json::Object(_) => String::new(),
    }
}

/// Why values can't be put into a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetError {
    /// The document is not JSON.
    Syntax(SyntaxError),
    /// What is wrong with a value, and what would be right.
    Value {
        /// In words.
        message: String,
        /// The name that was probably meant.
        suggestion: Option<String>,
    },
}

/// The document with these values of parameters in the place of their defaults.
///
/// # Errors
/// Where it is no JSON, no string of it names such a parameter, or a value is not of its default's
/// type.
pub fn set(document: &str, values: &[(String, String)]) -> Result<String, SetError> {
    if values.is_empty() {
        return Ok(String::from(document));
    }
    let mut spec = JobSpec::parse(document).map_err(SetError::Syntax)?;
    let Json::Object(members) = &mut spec.0 else { return Ok(String::from(document)) };
    let known = members.iter().position(|(name, _)| name == "params");
    let place = known.unwrap_or_else(|| {
        members.push((String::from("params"), Json::Object(Vec::new())));
        members.len() - 1
    });
    let params = match &mut members[place].1 {
        Json::Object(params) => params,
        null @ Json::Null => {
            *null = Json::Object(Vec::new());
            match null {
                Json::Object(params) => params,
                _ => unreachable!("it has just been made one"),
            }
        }
        // The check says what is wrong.
        _ => return Ok(String::from(document)),
    };
    for (name, value) in values {
        let param = params.iter_mut().find(|(other, _)| other == name);
        match param {
            Some((_, default)) => *default = typed(name, value, default)?,
            None if document.contains(&format!("${{{name}}}")) => {
                params.push((name.clone(), Json::Text(value.clone())));
            }
            None => {
                let names: Vec<&str> = params.iter().map(|(other, _)| &**other).collect();
                let there = if names.is_empty() {
                    String::from("the job has none")
                } else {
                    format!("there are {}", names.join(", "))
                };
                let message = format!("no parameter `{name}`; {there}");
                return Err(SetError::Value { message, suggestion: nearest(name, names) });
            }
        }
    }
    Ok(spec.0.to_string())
}

/// A value of the type that the default has.
fn typed(name: &str, value: &str, default: &Json) -> Result<Json, SetError> {
    let wanted = match default {
        Json::Number(_) => {
            if let Ok(number) = serde_json::from_str(value) {
                return Ok(Json::Number(number));
            }
            "a number"
        }
        Json::Bool(_) => {
            if let Ok(value) = value.parse() {
                return Ok(Json::Bool(value));
            }
            "true or false"
        }
        Json::Null | Json::Text(_) | Json::List(_) | Json::Object(_) => {
            return Ok(Json::Text(String::from(value)));
        }
    };
    let message = format!("parameter `{name}` is {wanted}, not `{value}`");
    Err(SetError::Value { message, suggestion: None })
}

impl Serialize for Json {
    /// As it was read, members in their order.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Number(number) => number.serialize(serializer),
            Self::Text(text) => serializer.serialize_str(text),
            Self::List(items) => serializer.collect_seq(items),
            Self::Object(members) => {
                serializer.collect_map(members.iter().map(|(name, value)| (name, value)))
            }
        }
    }
}

impl fmt::Display for Json {
    /// As JSON, in one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

#[cfg(test)]
mod tests {
    use super::{SetError, fill, set};
    use crate::job::JobSpec;

    fn filled(document: &str) -> String {
        let mut spec = JobSpec::parse(document).unwrap();
        match fill(&mut spec) {
            Ok(()) => spec.0.to_string(),
            Err(errors) => {
                let lines = errors.iter().map(|error| {
                    let name = error.suggestion.as_ref().map(|name| format!(" ({name}?)"));
                    format!("{}: {}{}", error.pointer, error.message, name.unwrap_or_default())
                });
                lines.collect::<Vec<_>>().join("\n")
            }
        }
    }

    #[test]
    fn names_are_filled_in_every_string_and_member_name() {
        assert_eq!(
            filled(
                r#"{"params": {"data": "d", "n": 7, "deep": true}, "name": "job of ${data} ${n}",
                    "dag": {"nodes": [{"path": ["${data}/a", "b${data}"], "n": "${n}",
                    "header": "${deep}", "select": {"${data}_x": "y"}}]}}"#
            ),
            r#"{"params":{"data":"d","n":7,"deep":true},"name":"job of d 7","dag":{"nodes":[{"path":["d/a","bd"],"n":7,"header":true,"select":{"d_x":"y"}}]}}"#
        );
    }

    #[test]
    fn a_doubled_dollar_is_one_and_a_value_is_taken_as_it_is() {
        assert_eq!(
            filled(r#"{"params": {"a": "${b}"}, "x": "$${a} $5 ${a} $$${a}"}"#),
            r#"{"params":{"a":"${b}"},"x":"${a} $5 ${b} $${a}"}"#
        );
    }

    #[test]
    fn what_is_missing_or_malformed_is_told_where_it_stands() {
        assert_eq!(
            filled(
                r#"{"params": {"data": null, "1x": 1, "l": []}, "x": "${data}",
                    "y": {"z": ["${dat}"]}, "open": "${data", "odd": "${a b}"}"#
            ),
            "/params/1x: a parameter's name is of letters, digits and `_`, and begins with none of \
             the digits\n\
             /params/l: expected a string, a number, true, false or null, found an array\n\
             /x: parameter `data` has no default and no value; give it one, as in --set data=...\n\
             /y/z/0: no parameter `dat`; there are data, and `$${` stands for `${` (data?)\n\
             /open: a `${` is not closed by `}`; where it is no parameter say `$${`\n\
             /odd: `${a b}` names no parameter; a name is of letters, digits and `_`, and `$${` \
             stands for `${`"
        );
        assert_eq!(
            filled(r#"{"x": "${a}"}"#),
            "/x: no parameter `a`; `params` has none, and `$${` stands for `${`"
        );
    }

    #[test]
    fn a_document_can_not_grow_without_end() {
        let value = "v".repeat(1 << 16);
        let uses = format!(r#""{}""#, "${a}".repeat(1 << 8));
        let document = format!(r#"{{"params": {{"a": "{value}"}}, "x": {uses}}}"#);
        assert_eq!(
            filled(&document),
            "/x: with its parameters the document has over 4194304 bytes"
        );
    }

    #[test]
    fn values_from_outside_take_the_defaults_types() {
        let document = r#"{"params": {"data": null, "n": 1, "b": false}, "x": "${other}"}"#;
        let given = [("data", "5"), ("n", "20"), ("b", "true"), ("other", "é")];
        let given = given.map(|(name, value)| (String::from(name), String::from(value)));
        assert_eq!(
            set(document, &given).unwrap(),
            r#"{"params":{"data":"5","n":20,"b":true,"other":"é"},"x":"${other}"}"#
        );
        let refused = |name: &str, value: &str| match set(
            document,
            &[(String::from(name), String::from(value))],
        ) {
            Err(SetError::Value { message, suggestion }) => (message, suggestion),
            other => panic!("{other:?}"),
        };
        assert_eq!(refused("n", "many").0, "parameter `n` is a number, not `many`");
        assert_eq!(
            refused("dta", "x"),
            (String::from("no parameter `dta`; there are data, n, b"), Some(String::from("data")))
        );
    }
}
