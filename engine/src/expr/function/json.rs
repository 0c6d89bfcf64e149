//! Functions over JSON that stands in text, and values as JSON.
//!
//! The text is read as it stands: a number keeps its digits, whatever their number. What is no JSON
//! (RFC 8259) is an error, but for `json_valid`.

mod scan;
mod path;
mod extract;
mod object;

pub(crate) use object::write_string;
pub(super) use object::{json_object, line_to_json};

use super::{Gives, Kind, Nulls, Overload, Signature};

const WITH_PATH: &[Kind] = &[Kind::Text, Kind::Text];

const FAILS: &str = "where the text is no JSON, or the path of a row is none";

/// The functions over JSON.
pub(super) static FUNCTIONS: &[Signature] = &[
    Signature::new(
        "json_extract",
        &[Overload::new(WITH_PATH, Gives::Text, extract::json_extract)],
        "`json_extract(json, path)`: the JSON of a part, without blanks; null where there is none. \
         Paths: `$.a[0].\"b c\"`, `$[-1]` or `$[#-1]` from the end, `/a/0/b c`, or a member's bare name",
        &[
            ("json_extract('{\"a\": [{\"b\": 1.50}]}', '$.a[0].b')", "1.50"),
            ("json_extract('{\"a\": \"x\"}', '$.a')", "\"x\""),
        ],
    )
    .aka(&["json_extract_path"])
    .fails(FAILS)
    .checked(extract::check)
    .differs("text, not of a type JSON; numbers keep their digits; no `*` in paths"),
    Signature::new(
        "json_extract_string",
        &[Overload::new(WITH_PATH, Gives::Text, extract::json_extract_string)],
        "as json_extract, a string as the text that it says and JSON's null as null",
        &[
            ("json_extract_string('{\"a\": \"x\\u00e9\"}', '$.a')", "xé"),
            ("json_extract_string('{\"a\": null}', '$.a')", "null"),
        ],
    )
    .aka(&["json_extract_path_text", "get_json_object", "json_value"])
    .fails(FAILS)
    .checked(extract::check)
    .differs("numbers keep their digits; no `*` in paths"),
    Signature::new(
        "json_exists",
        &[Overload::new(WITH_PATH, Gives::Bool, extract::json_exists)],
        "whether the path leads to something",
        &[("json_exists('{\"a\": null}', '$.a')", "true")],
    )
    .fails(FAILS)
    .checked(extract::check),
    Signature::new(
        "json_valid",
        &[Overload::new(&[Kind::Text], Gives::Bool, extract::json_valid)],
        "whether the text is JSON (RFC 8259)",
        &[("json_valid('{\"a\": 1}')", "true"), ("json_valid('[1,]')", "false")],
    )
    .differs("strict: no trailing comma, no NaN"),
    Signature::new(
        "json_array_length",
        &[Overload::new(WITH_PATH, Gives::Int64, extract::json_array_length).at_least(1)],
        "how many elements the array has, or the one at a path; 0 of what is no array",
        &[("json_array_length('[1, 2, 3]')", "3")],
    )
    .fails(FAILS)
    .checked(extract::check),
    Signature::new(
        "json_type",
        &[Overload::new(WITH_PATH, Gives::Text, extract::json_type).at_least(1)],
        "OBJECT, ARRAY, VARCHAR, BOOLEAN, NULL, and of numbers UBIGINT, BIGINT or DOUBLE; of the \
         whole or of what is at a path",
        &[("json_type('{\"a\": [1]}', '$.a')", "ARRAY"), ("json_type('-1')", "BIGINT")],
    )
    .fails(FAILS)
    .checked(extract::check),
    Signature::new(
        "json_keys",
        &[Overload::new(WITH_PATH, Gives::TextList, extract::json_keys).at_least(1)],
        "the names of an object's members; none of what is no object",
        &[("json_keys('{\"a\": 1, \"b\": 2}')", "[\"a\", \"b\"]")],
    )
    .fails(FAILS)
    .checked(extract::check),
    Signature::new(
        "to_json",
        &[Overload::new(&[Kind::Any], Gives::Text, object::to_json)],
        "the value as JSON: numbers as they are, NaN and infinities as null, dates and times as \
         ISO 8601 text",
        &[("to_json(array[1, null])", "[1, null]"), ("to_json('a\"b')", "\"a\\\"b\"")],
    )
    .with_nulls(Nulls::Lenient("null of null"))
    .differs("text, not of a type JSON; a blank after each comma and colon"),
];
