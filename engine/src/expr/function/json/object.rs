//! Rows as JSON objects, a blank after each colon and comma: `{"key": "k", "value": "v"}`.
//!
//! Numbers are numbers (a float keeps its point: `1.0`), NaN and infinities, which JSON lacks,
//! are null; dates and timestamps are ISO 8601 text.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, StringViewArray, builder::StringViewBuilder};

use crate::{
    Error, Result,
    expr::{
        cast::TextOf,
        evaluate::{Texts, Value, text_array},
        function::{Call, line::fields, rows},
        text::append,
    },
};

pub(in crate::expr::function) fn line_to_json(call: &Call<'_>) -> Result<ArrayRef> {
    let lines = text_array(call.arguments[0].array())?;
    let mut builder = StringViewBuilder::with_capacity(lines.len());
    let mut object = String::new();
    for line in lines {
        let Some(line) = line else {
            builder.append_null();
            continue;
        };
        let (key, value) = fields(line);
        object.clear();
        object.push_str("{\"key\": ");
        write_string(key, &mut object);
        object.push_str(", \"value\": ");
        match value {
            Some(value) => write_string(value, &mut object),
            None => object.push_str("null"),
        }
        object.push('}');
        builder.append_value(&object);
    }
    Ok(Arc::new(builder.finish()))
}

pub(super) fn to_json(call: &Call<'_>) -> Result<ArrayRef> {
    let value = call.arguments.first();
    let value = value.ok_or_else(|| Error::Internal(String::from("to_json of nothing")))?;
    let writer = TextOf::new(value.array().as_ref())?;
    let mut json = String::new();
    rows::text_of(call, |row, out| {
        json.clear();
        writer.write_json(if value.is_scalar() { 0 } else { row }, &mut json);
        out.extend(&json);
        Ok(())
    })
}

/// A column of the object, with all that stands before its value.
struct Member<'a> {
    lead: String,
    value: &'a Value,
    text: TextOf<'a>,
}

pub(in crate::expr::function) fn json_object(call: &Call<'_>) -> Result<ArrayRef> {
    let mut members = Vec::with_capacity(call.arguments.len() / 2);
    for pair in call.arguments.chunks_exact(2) {
        let name = Texts::new(&pair[0])?.get(0);
        let name = name.ok_or_else(|| Error::Internal(String::from("a member without name")))?;
        let mut lead = String::from(if members.is_empty() { "{" } else { ", " });
        write_string(name, &mut lead);
        lead.push_str(": ");
        members.push(Member {
            lead,
            value: &pair[1],
            text: TextOf::new(pair[1].array().as_ref())?,
        });
    }
    Ok(Arc::new(objects(&members, call.rows)))
}

fn objects(members: &[Member<'_>], rows: usize) -> StringViewArray {
    let mut builder = StringViewBuilder::with_capacity(rows);
    let mut object = String::new();
    for row in 0..rows {
        object.clear();
        for member in members {
            object.push_str(&member.lead);
            let row = if member.value.is_scalar() { 0 } else { row };
            if member.value.array().is_null(row) {
                object.push_str("null");
            } else {
                member.text.write_json(row, &mut object);
            }
        }
        object.push_str(if members.is_empty() { "{}" } else { "}" });
        builder.append_value(&object);
    }
    builder.finish()
}

/// Appends a JSON string: quotes, backslashes and control characters escaped (RFC 8259, 7).
pub(crate) fn write_string(text: &str, out: &mut String) {
    out.push('"');
    let mut written = 0;
    for (at, byte) in text.bytes().enumerate() {
        let escape = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0x08 => "\\b",
            0x0C => "\\f",
            0..0x20 => "",
            _ => continue,
        };
        out.push_str(&text[written..at]);
        out.push_str(escape);
        if escape.is_empty() {
            append(out, format_args!("\\u{byte:04x}"));
        }
        written = at + 1;
    }
    out.push_str(&text[written..]);
    out.push('"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::write_string;

    proptest! {
        #[test]
        fn a_written_string_is_json_that_reads_back(text in any::<String>()) {
            let mut json = String::new();
            write_string(&text, &mut json);
            prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        }
    }
}
