//! [`JobSpec`]: a job document's JSON as a tree. It checks nothing but that it is JSON.
//!
//! Duplicate keys and wrong types stay, each in its place, so that [`check`] can name all of them;
//! a derived reader would stop at the first.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

pub mod params;
pub mod check;

/// How deep arrays and objects may nest in a document.
pub const MAX_DEPTH: usize = 64;

/// A job document, read but not checked.
#[derive(Clone, Debug, PartialEq)]
pub struct JobSpec(pub Json);

/// A JSON value; an object's members in their order, with those that are named twice.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    /// `null`.
    Null,
    /// `true`, `false`.
    Bool(bool),
    /// A number.
    Number(serde_json::Number),
    /// A string.
    Text(String),
    /// An array.
    List(Vec<Json>),
    /// An object.
    Object(Vec<(String, Json)>),
}

/// Why a document is not JSON, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1, in bytes.
    pub column: usize,
    /// What is wrong.
    pub message: String,
}

impl JobSpec {
    /// Reads a document. Nesting is measured before anything is built, so that no document can
    /// exhaust the stack.
    ///
    /// # Errors
    /// The first place where it is not JSON, or nests deeper than [`MAX_DEPTH`].
    pub fn parse(document: &str) -> Result<Self, SyntaxError> {
        if let Some(place) = too_deep(document.as_bytes()) {
            let before = &document.as_bytes()[..place];
            let line_start = memchr::memrchr(b'\n', before).map_or(0, |newline| newline + 1);
            return Err(SyntaxError {
                line: memchr::memchr_iter(b'\n', before).count() + 1,
                column: place - line_start + 1,
                message: format!("nested more than {MAX_DEPTH} deep"),
            });
        }
        if document.trim().is_empty() {
            let message = String::from("the document is empty");
            return Err(SyntaxError { line: 1, column: 1, message });
        }
        serde_json::from_str(document).map(Self).map_err(|error| {
            let text = error.to_string();
            let message = text.rsplit_once(" at line ").map_or(text.as_str(), |(said, _)| said);
            SyntaxError {
                line: error.line(),
                column: error.column(),
                message: message.replace("EOF while parsing", "the document ends within"),
            }
        })
    }
}

/// Where a document begins to nest too deep.
fn too_deep(document: &[u8]) -> Option<usize> {
    let mut depth = 0usize;
    let mut is_text = false;
    let mut is_escaped = false;
    for (place, byte) in document.iter().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_text => is_escaped = true,
            b'"' => is_text = !is_text,
            _ if is_text => {}
            b'[' | b'{' => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Some(place);
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    None
}

impl Json {
    /// What kind of value it is, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a bool",
            Self::Number(_) => "a number",
            Self::Text(_) => "a string",
            Self::List(_) => "an array",
            Self::Object(_) => "an object",
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        Ok(serde_json::Number::from_f64(value).map_or(Json::Null, Json::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::Text(String::from(value)))
    }

    fn visit_string<E>(self, value: String) -> Result<Json, E> {
        Ok(Json::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Json, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Json::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Json, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = access.next_entry()? {
            members.push(member);
        }
        Ok(Json::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::{JobSpec, Json, SyntaxError};

    #[test]
    fn members_keep_their_order_and_their_doubles() {
        let spec = JobSpec::parse(r#"{"b": 1, "a": [null, "x"], "b": true}"#).unwrap();
        let expected = [
            ("b", Json::Number(1.into())),
            ("a", Json::List(vec![Json::Null, Json::Text(String::from("x"))])),
            ("b", Json::Bool(true)),
        ];
        let expected = expected.map(|(name, value)| (String::from(name), value));
        assert_eq!(spec.0, Json::Object(expected.to_vec()));
    }

    #[test]
    fn what_is_not_json_is_refused_with_its_place() {
        for (document, line, column) in [
            ("", 1, 1),
            ("{\n  \"a\": }", 2, 8),
            ("{} x", 1, 4),
            ("[1e999]", 1, 6),
            ("[NaN]", 1, 2),
            (r#"["\ud800"]"#, 1, 9),
            ("[01]", 1, 3),
        ] {
            let error = JobSpec::parse(document).expect_err(document);
            assert_eq!((error.line, error.column), (line, column), "{document}: {error:?}");
        }
    }

    #[test]
    fn depth_is_refused_before_the_stack_feels_it() {
        let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(JobSpec::parse(&deep(64)).is_ok());
        let refused =
            SyntaxError { line: 1, column: 65, message: String::from("nested more than 64 deep") };
        assert_eq!(JobSpec::parse(&deep(65)), Err(refused.clone()));
        assert_eq!(JobSpec::parse(&"[".repeat(100_000)), Err(refused));
        let text = format!("[\"{}\\\"\"]", "[".repeat(100));
        assert!(JobSpec::parse(&text).is_ok());
    }
}
