//! The fields of readers of text: CSV's characters, encodings, compression, bad rows.

use super::{
    ProblemCode,
    fields::Fields,
    nodes::{Binder, Reported},
};
use crate::{
    expr::parse::nearest,
    formats::{
        Format,
        compression::Compression,
        csv::{CsvOptions, Nulls},
        intake::{BadRowMode, Encoding, Intake, OnBadRow},
        jsonl::JsonlOptions,
        values::Pattern,
    },
    job::Json,
};

/// The fields that make CSV of what would be lines of text without them.
const CSV_FIELDS: [&str; 11] = [
    "header",
    "columns",
    "delimiter",
    "quote",
    "escape",
    "comment",
    "null",
    "trim",
    "ragged",
    "date_format",
    "timestamp_format",
];

impl Binder<'_, '_> {
    /// The format of a reader of text.
    pub(super) fn text_format(&mut self, fields: &Fields<'_>, op: &str) -> Option<Format> {
        let intake = self.intake(fields);
        match op {
            "read_csv" if CSV_FIELDS.iter().any(|name| fields.stands(name)) => {
                self.csv(fields, intake)
            }
            "read_jsonl" => {
                let columns = self.columns(fields);
                let date_format = self.pattern(fields, "date_format");
                let timestamp_format = self.pattern(fields, "timestamp_format");
                Some(Format::Jsonl(JsonlOptions {
                    columns: columns.ok()?,
                    date_format: date_format.ok()?,
                    timestamp_format: timestamp_format.ok()?,
                    intake: intake.ok()?,
                }))
            }
            _ => Some(Format::Text(intake.ok()?)),
        }
    }

    fn csv(&mut self, fields: &Fields<'_>, intake: Result<Intake, Reported>) -> Option<Format> {
        let header = fields.flag("header", self.report);
        let trim = fields.flag("trim", self.report);
        let delimiter = self.character(fields, "delimiter");
        let quote = self.character(fields, "quote");
        let escape = self.character(fields, "escape");
        let comment = self.character(fields, "comment");
        let nulls = fields.texts("null", self.report);
        let ragged = self.choice(fields, "ragged", &["error", "pad"]);
        let date_format = self.pattern(fields, "date_format");
        let timestamp_format = self.pattern(fields, "timestamp_format");
        let columns = self.columns(fields);
        let nulls = if fields.has("null") { nulls? } else { Vec::new() };
        let has_no_quote = fields.stands("quote") && !fields.has("quote");
        let options = CsvOptions {
            header: if fields.has("header") { header? } else { false },
            columns: columns.ok()?,
            delimiter: delimiter.ok()?.unwrap_or(b','),
            quote: quote.ok()?.or_else(|| (!has_no_quote).then_some(b'"')),
            escape: escape.ok()?,
            comment: comment.ok()?,
            nulls: Nulls(nulls.into_iter().map(|(text, _)| String::from(text)).collect()),
            trim: if fields.has("trim") { trim? } else { false },
            pads: ragged.ok()? == Some("pad"),
            date_format: date_format.ok()?,
            timestamp_format: timestamp_format.ok()?,
            intake: intake.ok()?,
        };
        if options.quote.is_none() && options.escape.is_some() {
            let message = "`escape` stands inside quotes, and `quote` is null";
            self.report.problem(fields.at("escape"), ProblemCode::ConflictingFields, message);
            return None;
        }
        if let Err(error) = options.check() {
            self.report.problem(fields.pointer(), ProblemCode::BadValue, error.to_string());
            return None;
        }
        Some(Format::Csv(options))
    }

    /// How a reader's bytes become text, and what becomes of bad rows.
    fn intake(&mut self, fields: &Fields<'_>) -> Result<Intake, Reported> {
        let known = Compression::OF_FILES.map(Compression::name);
        let compression = self.choice(fields, "compression", &known);
        let encoding = self.encoding(fields);
        let on_bad_row = self.on_bad_row(fields);
        Ok(Intake {
            compression: compression?
                .and_then(|name| Compression::named(name, &Compression::OF_FILES)),
            encoding: encoding?,
            on_bad_row: on_bad_row?,
        })
    }

    fn encoding(&mut self, fields: &Fields<'_>) -> Result<Encoding, Reported> {
        if !fields.has("encoding") {
            return Ok(Encoding::default());
        }
        let name = fields.text("encoding", self.report).ok_or(Reported)?;
        Encoding::named(name).ok_or_else(|| {
            let names = Encoding::NAMES.iter().map(|(known, _)| *known);
            let list = names.clone().take(6).collect::<Vec<_>>().join(", ");
            let message = format!("no encoding `{name}`; there are {list}");
            let suggestion = nearest(name, names);
            self.report.suggest(fields.at("encoding"), ProblemCode::BadValue, message, suggestion);
            Reported
        })
    }

    /// A mode, or an object with a mode and limits.
    pub(super) fn on_bad_row(&mut self, fields: &Fields<'_>) -> Result<OnBadRow, Reported> {
        match fields.get("on_bad_row") {
            None => Ok(OnBadRow::default()),
            Some(Json::Object(_)) => {
                let value = fields.get("on_bad_row").ok_or(Reported)?;
                let pointer = fields.at("on_bad_row");
                let inner = Fields::open(value, &pointer, self.report).ok_or(Reported)?;
                inner.check_names(&BAD_ROW_FIELDS, self.report);
                let mode = self.bad_row_mode(&inner, "mode");
                let max_rows = inner.number("max_rows", 0..=u64::MAX, self.report);
                let max_ratio = self.ratio(&inner, "max_ratio");
                if inner.has("max_rows") && max_rows.is_none() {
                    return Err(Reported);
                }
                let policy = OnBadRow { mode: mode?, max_rows, max_ratio: max_ratio? };
                let has_limits = policy.max_rows.is_some() || policy.max_ratio.is_some();
                if has_limits && !policy.tolerates() {
                    let message = "limits go with `mode` `skip` or `quarantine`";
                    self.report.problem(pointer, ProblemCode::ConflictingFields, message);
                    return Err(Reported);
                }
                Ok(policy)
            }
            Some(_) => {
                let mode = self.bad_row_mode(fields, "on_bad_row")?;
                Ok(OnBadRow { mode, ..OnBadRow::default() })
            }
        }
    }

    fn bad_row_mode(&mut self, fields: &Fields<'_>, name: &str) -> Result<BadRowMode, Reported> {
        let chosen = self.choice(fields, name, &["fail", "skip", "quarantine"])?;
        Ok(match chosen {
            Some("skip") => BadRowMode::Skip,
            Some("quarantine") => BadRowMode::Quarantine,
            _ => BadRowMode::Fail,
        })
    }

    /// A number from 0 to 1.
    fn ratio(&mut self, fields: &Fields<'_>, name: &str) -> Result<Option<f64>, Reported> {
        let Some(value) = fields.get(name) else { return Ok(None) };
        let number = match value {
            Json::Number(number) => number.as_f64().filter(|share| (0.0..=1.0).contains(share)),
            _ => None,
        };
        number.map(Some).ok_or_else(|| {
            let message = "expected a number from 0 to 1";
            self.report.problem(fields.at(name), ProblemCode::BadValue, message);
            Reported
        })
    }

    /// One of a few words.
    fn choice<'a>(
        &mut self,
        fields: &Fields<'a>,
        name: &str,
        known: &[&'static str],
    ) -> Result<Option<&'static str>, Reported> {
        if !fields.has(name) {
            return Ok(None);
        }
        let text: &'a str = fields.text(name, self.report).ok_or(Reported)?;
        let found = known.iter().copied().find(|word| *word == text);
        found.map(Some).ok_or_else(|| {
            let message = format!("no `{name}` `{text}`; there are {}", known.join(", "));
            let suggestion = nearest(text, known.iter().copied());
            self.report.suggest(fields.at(name), ProblemCode::BadValue, message, suggestion);
            Reported
        })
    }

    /// One ASCII character.
    fn character(&mut self, fields: &Fields<'_>, name: &str) -> Result<Option<u8>, Reported> {
        if !fields.has(name) {
            return Ok(None);
        }
        let is_delimiter = name == "delimiter";
        let text = fields.text(name, self.report).ok_or(Reported)?;
        match text.as_bytes() {
            [byte]
                if byte.is_ascii()
                    && !matches!(byte, b'\r' | b'\n' | 0)
                    && !(is_delimiter && *byte == b'"') =>
            {
                Ok(Some(*byte))
            }
            _ => {
                let message = if is_delimiter {
                    "expected one ASCII character, and no quote or line break"
                } else {
                    "expected one ASCII character, and no line break"
                };
                self.report.problem(fields.at(name), ProblemCode::BadValue, message);
                Err(Reported)
            }
        }
    }

    /// A pattern of `strftime`.
    fn pattern(&mut self, fields: &Fields<'_>, name: &str) -> Result<Option<String>, Reported> {
        if !fields.has(name) {
            return Ok(None);
        }
        let text = fields.text(name, self.report).ok_or(Reported)?;
        if Pattern::new(text).is_some() {
            return Ok(Some(String::from(text)));
        }
        let message = format!("`{text}` is no pattern of `strftime`, such as `%d.%m.%Y`");
        self.report.problem(fields.at(name), ProblemCode::BadValue, message);
        Err(Reported)
    }
}

const BAD_ROW_FIELDS: super::fields::Known = super::fields::Known {
    of: "on_bad_row",
    always: &[],
    fields: &["mode", "max_rows", "max_ratio"],
    later: &[],
    elsewhere: &[],
};

/// What the JSON Schema says of these fields.
pub(super) fn schema_of(name: &str) -> Option<serde_json::Value> {
    use serde_json::json;
    let character = |about: &str| json!({ "description": about, "type": ["string", "null"], "pattern": "^[\\x01-\\x7f]$" });
    let text = |about: &str| json!({ "description": about, "type": "string", "minLength": 1 });
    let mode = json!({ "enum": ["fail", "skip", "quarantine"] });
    Some(match name {
        "quote" => character("around fields; null: no character is; `\"` where it is left out"),
        "escape" => character("before a character inside quotes that stands for itself"),
        "comment" => character("begins a line that is no record"),
        "null" => json!({ "description": "unquoted texts that stand for no value",
            "anyOf": [{ "type": "string" },
                { "type": "array", "minItems": 1, "items": { "type": "string" } }] }),
        "trim" => json!({ "description": "whether blanks around fields are no part of them",
            "type": "boolean" }),
        "ragged" => json!({ "description": "what a record with too few fields is: `error` a bad \
            row, `pad` one whose last columns are null", "enum": ["error", "pad"] }),
        "date_format" => text("how dates are written, as strftime has it"),
        "timestamp_format" => text("how timestamps are written, as strftime has it"),
        "encoding" => json!({ "description": "how characters stand in bytes",
            "enum": Encoding::NAMES.map(|(name, _)| name) }),
        "on_bad_row" => json!({ "description": "what becomes of a record that is none",
            "anyOf": [mode, { "type": "object", "additionalProperties": false, "properties": {
                "mode": mode,
                "max_rows": { "description": "the most of them", "type": "integer", "minimum": 0 },
                "max_ratio": { "description": "their greatest share of all records",
                    "type": "number", "minimum": 0, "maximum": 1 },
            } }] }),
        _ => return None,
    })
}

/// What the JSON Schema says of a text reader's compression.
pub(super) fn compression_schema() -> serde_json::Value {
    serde_json::json!({
        "description": "how the files are compressed; what their names say where it is left out",
        "enum": Compression::OF_FILES.map(Compression::name),
    })
}
