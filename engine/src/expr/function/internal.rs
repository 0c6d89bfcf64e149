//! Functions that documents cannot name: they stand behind operators and the forms of seed nodes.

use super::{Gives, Kind, Nulls, Overload, Signature, json, line, text};

const NAMED_BY_NONE: &[(&str, &str)] = &[];

/// Their table.
pub(super) static FUNCTIONS: &[Signature] = &[
    Signature::new(
        "||",
        &[Overload::new(&[Kind::Text], Gives::Text, text::join).variadic(1)],
        "texts, one behind the other",
        NAMED_BY_NONE,
    ),
    Signature::new(
        "first_field",
        &[Overload::new(&[Kind::Text], Gives::Text, line::first_field)],
        "what stands before the first comma, trimmed",
        NAMED_BY_NONE,
    ),
    Signature::new(
        "rest_of_line",
        &[Overload::new(&[Kind::Text], Gives::Text, line::rest_of_line)],
        "what stands behind the first comma, trimmed; or null",
        NAMED_BY_NONE,
    ),
    Signature {
        fails: Some("where that is no number"),
        ..Signature::new(
            "number_of_line",
            &[Overload::new(&[Kind::Text], Gives::Float64, line::number_of_line)],
            "the number behind the first comma",
            NAMED_BY_NONE,
        )
    },
    Signature::new(
        "line_to_json",
        &[Overload::new(&[Kind::Text], Gives::Text, json::line_to_json)],
        "`k,v` as an object of `key` and `value`",
        NAMED_BY_NONE,
    ),
    Signature {
        nulls: Nulls::Never("null members are `null`"),
        ..Signature::new(
            "json_object",
            &[Overload::new(&[Kind::Any], Gives::Text, json::json_object).variadic(0)],
            "names and values by turns as an object",
            NAMED_BY_NONE,
        )
    },
];
