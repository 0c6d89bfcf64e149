//! Typed access to the members of an object, with a problem for what is not as it should be.
//!
//! A member that is `null` counts as absent.

use std::ops::RangeInclusive;

use super::{ProblemCode, Report};
use crate::{expr::parse::nearest, job::Json};

/// The fields that an object may have.
pub(super) struct Known {
    /// Whose, for messages: `a job`, `read_csv`.
    pub(super) of: &'static str,
    /// Those that all objects of the kind have.
    pub(super) always: &'static [&'static str],
    /// Those that are read.
    pub(super) fields: &'static [&'static str],
    /// Those that the job format has and this engine does not read yet.
    pub(super) later: &'static [&'static str],
    /// Those that stand in other objects of the kind.
    pub(super) elsewhere: &'static [&'static str],
}

/// Fields of older job files, with what says the same today.
const OLDER: [(&str, &str); 2] = [
    ("inputs", "edges say what a node reads"),
    ("config", "its settings have fields of their own"),
];

/// An object's members and its place in the document.
pub(super) struct Fields<'a> {
    pointer: String,
    members: &'a [(String, Json)],
}

impl<'a> Fields<'a> {
    /// The object at `pointer`; anything else is a problem, and so are members named twice.
    pub(super) fn open(json: &'a Json, pointer: &str, report: &mut Report) -> Option<Self> {
        let Json::Object(members) = json else {
            let message = format!("expected an object, found {}", json.kind());
            report.problem(pointer, ProblemCode::WrongType, message);
            return None;
        };
        let fields = Self { pointer: String::from(pointer), members };
        let mut seen = hashbrown::HashSet::new();
        for (name, _) in members {
            if !seen.insert(name) {
                let message = format!("`{name}` stands twice");
                report.problem(fields.at(name), ProblemCode::DuplicateField, message);
            }
        }
        Some(fields)
    }

    /// The members in the document's order.
    pub(super) fn members(&self) -> &'a [(String, Json)] {
        self.members
    }

    /// The pointer of the object itself.
    pub(super) fn pointer(&self) -> &str {
        &self.pointer
    }

    /// The pointer of a member.
    pub(super) fn at(&self, name: &str) -> String {
        format!("{}/{}", self.pointer, name.replace('~', "~0").replace('/', "~1"))
    }

    /// A member that is there.
    pub(super) fn get(&self, name: &str) -> Option<&'a Json> {
        let member = self.members.iter().find(|(known, _)| known == name);
        member.map(|(_, value)| value).filter(|value| **value != Json::Null)
    }

    /// Whether a member stands there, even as `null`.
    pub(super) fn stands(&self, name: &str) -> bool {
        self.members.iter().any(|(known, _)| known == name)
    }

    /// Whether a member is there.
    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// A member that must be there.
    pub(super) fn required(&self, name: &str, report: &mut Report) -> Option<&'a Json> {
        let value = self.get(name);
        if value.is_none() {
            report.problem(
                self.at(name),
                ProblemCode::MissingField,
                format!("`{name}` is missing"),
            );
        }
        value
    }

    /// A string.
    pub(super) fn text(&self, name: &str, report: &mut Report) -> Option<&'a str> {
        self.get(name).and_then(|value| text(value, &self.at(name), report))
    }

    /// A bool.
    pub(super) fn flag(&self, name: &str, report: &mut Report) -> Option<bool> {
        match self.get(name)? {
            Json::Bool(value) => Some(*value),
            other => {
                report.problem(
                    self.at(name),
                    ProblemCode::WrongType,
                    expected("true or false", other),
                );
                None
            }
        }
    }

    /// A whole number within `range`.
    pub(super) fn number(
        &self,
        name: &str,
        range: RangeInclusive<u64>,
        report: &mut Report,
    ) -> Option<u64> {
        let value = self.get(name)?;
        let Json::Number(number) = value else {
            report.problem(
                self.at(name),
                ProblemCode::WrongType,
                expected("a whole number", value),
            );
            return None;
        };
        let found = number.as_u64().filter(|number| range.contains(number));
        if found.is_none() {
            let (least, most) = (range.start(), range.end());
            let message = format!("expected a whole number from {least} to {most}, found {number}");
            report.problem(self.at(name), ProblemCode::OutOfRange, message);
        }
        found
    }

    /// A string, or an array of at least one, each with its pointer.
    pub(super) fn texts(&self, name: &str, report: &mut Report) -> Option<Vec<(&'a str, String)>> {
        match self.get(name)? {
            Json::Text(text) => Some(vec![(text, self.at(name))]),
            Json::List(items) if !items.is_empty() => {
                let pointer = self.at(name);
                let items = items.iter().enumerate().map(|(index, item)| {
                    let pointer = format!("{pointer}/{index}");
                    text(item, &pointer, report).map(|text| (text, pointer))
                });
                // All are looked at, so that each that is no string is a problem of its own.
                items.collect::<Vec<_>>().into_iter().collect()
            }
            other => {
                let message = expected("a string or an array of at least one", other);
                report.problem(self.at(name), ProblemCode::WrongType, message);
                None
            }
        }
    }

    /// Every member as its name, its pointer and its string; `null` is none either.
    pub(super) fn named_texts(
        &self,
        report: &mut Report,
    ) -> Vec<(&'a str, String, Option<&'a str>)> {
        let members = self.members.iter().map(|(name, value)| {
            let pointer = self.at(name);
            let text = text(value, &pointer, report);
            (name.as_str(), pointer, text)
        });
        members.collect()
    }

    /// A problem for every member that is not among the known.
    pub(super) fn check_names(&self, known: &Known, report: &mut Report) {
        for (name, _) in self.members {
            let name = name.as_str();
            let of = known.of;
            if known.fields.contains(&name) || known.always.contains(&name) {
                continue;
            }
            if known.later.contains(&name) {
                let message = format!("`{name}` of {of} is not supported yet");
                report.problem(self.at(name), ProblemCode::NotSupported, message);
            } else if let Some((_, today)) = OLDER.iter().find(|(older, _)| *older == name) {
                let message = format!("`{name}` of older job files is not supported: {today}");
                report.problem(self.at(name), ProblemCode::NotSupported, message);
            } else if known.elsewhere.contains(&name) {
                let fields = known.fields.join(", ");
                let message = format!("`{name}` does not apply to {of}, which has {fields}");
                report.problem(self.at(name), ProblemCode::NotApplicable, message);
            } else {
                let message = format!("{of} has no field `{name}`");
                let fields = known.always.iter().chain(known.fields).copied();
                let suggestion = nearest(name, fields);
                report.suggest(self.at(name), ProblemCode::UnknownField, message, suggestion);
            }
        }
    }
}

/// A string at `pointer`.
fn text<'a>(value: &'a Json, pointer: &str, report: &mut Report) -> Option<&'a str> {
    match value {
        Json::Text(text) => Some(text),
        other => {
            report.problem(pointer, ProblemCode::WrongType, expected("a string", other));
            None
        }
    }
}

fn expected(what: &str, found: &Json) -> String {
    format!("expected {what}, found {}", found.kind())
}
