//! [`Seen`]: the kinds of values that a column was seen with, and the type that fits them all.

use std::{collections::HashMap, sync::Arc};

use arrow::datatypes::{DataType, Field as SchemaField};

use crate::formats::{
    block::Block,
    fields::{Field, Kind, TIMESTAMP},
    jsonl::scan,
    scalar,
    values::Rules,
};

/// The most members of an inferred struct: more are rather keys of a map.
const MAX_MEMBERS: usize = 200;
/// The most lists and structs inside of one another that are inferred.
const MAX_NESTED: u32 = 8;

/// The kinds of values that were seen, one bit each, and what is inside of nested ones.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    kinds: u16,
    /// All elements of lists.
    element: Option<Box<Self>>,
    /// The members of objects, in order of first appearance.
    members: Vec<(String, Self)>,
    places: HashMap<String, usize>,
}

const BOOL: u16 = 1;
const INT: u16 = 2;
const FLOAT: u16 = 4;
const NOT_FINITE: u16 = 8;
const DATE: u16 = 16;
const MOMENT: u16 = 32;
const TEXT: u16 = 64;
const LIST: u16 = 128;
const OBJECT: u16 = 256;

impl Seen {
    /// Whether something was seen, and nothing but these.
    fn is_only(&self, kinds: u16) -> bool {
        self.kinds != 0 && self.kinds & !kinds == 0
    }

    /// Adds a field of CSV.
    pub(super) fn add_csv(&mut self, block: &Block, field: Field, rules: &Rules) {
        let text = &block.text()[field.range()];
        self.kinds |= match field.kind() {
            Kind::Null => 0,
            Kind::Text => seen_in_text(text, rules),
            Kind::Escaped | Kind::Literal => TEXT,
        };
    }

    /// The type of a column of CSV.
    pub(super) fn csv_type(&self, has_patterns: bool) -> DataType {
        if self.is_only(DATE) {
            DataType::Date32
        } else if self.is_only(MOMENT) || (self.is_only(DATE | MOMENT) && !has_patterns) {
            TIMESTAMP
        } else {
            self.scalar_type()
        }
    }

    /// Adds a value of JSON that is `depth` lists and objects deep.
    pub(super) fn add_json(&mut self, block: &Block, field: Field, depth: u32) {
        let (text, range) = (block.text(), field.range());
        self.kinds |= match (field.kind(), &text.as_bytes()[range.clone()]) {
            (Kind::Null, _) => 0,
            (Kind::Text | Kind::Escaped, _) => TEXT,
            (_, [b'{' | b'[', ..]) if depth >= MAX_NESTED => TEXT,
            (_, [b'[', ..]) => {
                let element = self.element.get_or_insert_default();
                scan::elements(text.as_bytes(), range.start, range.end, &mut |field| {
                    element.add_json(block, field, depth + 1);
                });
                LIST
            }
            (_, [b'{', ..]) => {
                let is_struct =
                    scan::members(text.as_bytes(), range.start, range.end, &mut |name, field| {
                        self.member(name).is_some_and(|member| {
                            member.add_json(block, field, depth + 1);
                            true
                        })
                    });
                if is_struct { OBJECT } else { TEXT }
            }
            (_, [b't' | b'f', ..]) => BOOL,
            (_, number) if number.iter().any(|byte| matches!(byte, b'.' | b'e' | b'E')) => {
                // One beyond float64 stays as it is written.
                if scalar::parse_float64(&text[range]).is_some() { FLOAT } else { TEXT }
            }
            (_, number) if scalar::parse_int64(number).is_some() => INT,
            _ => TEXT,
        };
    }

    /// The member of that name, unless there are too many.
    fn member(&mut self, name: &str) -> Option<&mut Self> {
        let place = match self.places.get(name) {
            Some(place) => *place,
            None if self.members.len() >= MAX_MEMBERS || name.is_empty() => return None,
            None => {
                self.places.insert(name.to_owned(), self.members.len());
                self.members.push((name.to_owned(), Self::default()));
                self.members.len() - 1
            }
        };
        self.members.get_mut(place).map(|(_, member)| member)
    }

    /// The type of a column of JSON.
    pub(super) fn json_type(self) -> DataType {
        let nested = |name: &str, seen: Self| SchemaField::new(name, seen.json_type(), true);
        if self.is_only(LIST) {
            let element = self.element.map(|element| *element).unwrap_or_default();
            DataType::List(Arc::new(nested("item", element)))
        } else if self.is_only(OBJECT) && !self.members.is_empty() {
            let members = self.members.into_iter().map(|(name, seen)| nested(&name, seen));
            DataType::Struct(members.collect())
        } else {
            self.scalar_type()
        }
    }

    fn scalar_type(&self) -> DataType {
        if self.is_only(BOOL) {
            DataType::Boolean
        } else if self.is_only(INT) {
            DataType::Int64
        } else if self.is_only(INT | FLOAT | NOT_FINITE) && self.kinds & (INT | FLOAT) != 0 {
            DataType::Float64
        } else {
            DataType::Utf8View
        }
    }
}

/// The narrowest kind that some text is of.
fn seen_in_text(text: &str, rules: &Rules) -> u16 {
    let bytes = text.as_bytes();
    let is_date = || match &rules.date {
        Some(pattern) => pattern.date(text).is_some(),
        None => scalar::parse_date(bytes).is_some(),
    };
    let is_moment = || match &rules.timestamp {
        Some(pattern) => {
            pattern.timestamp(text, arrow::datatypes::TimeUnit::Microsecond, None).is_some()
        }
        None => scalar::parse_timestamp(bytes).is_some(),
    };
    if rules.date.is_some() && is_date() {
        return DATE;
    }
    if rules.timestamp.is_some() && is_moment() {
        return MOMENT;
    }
    let unsigned = bytes.strip_prefix(b"-").unwrap_or(bytes);
    match unsigned {
        [b'0', b'0'..=b'9', ..] if is_date() => DATE,
        [b'0', b'0'..=b'9', ..] if is_moment() => MOMENT,
        [] | [b'0', b'0'..=b'9', ..] | [b'+', ..] => TEXT,
        digits if digits.iter().all(u8::is_ascii_digit) => {
            if scalar::parse_int64(bytes).is_some() {
                INT
            } else {
                TEXT
            }
        }
        [b'0'..=b'9' | b'.', ..] if scalar::parse_float64(text).is_some() => FLOAT,
        _ if is_date() => DATE,
        _ if is_moment() => MOMENT,
        _ if scalar::parse_bool(bytes).is_some() => BOOL,
        b"NaN" | b"inf" => NOT_FINITE,
        _ => TEXT,
    }
}
