//! Functions of lists in Spark's words.

use arrow::datatypes::DataType;

use super::{
    cast::cast,
    function::{Call, Tried},
    int, long, quoted,
};
use crate::expr::{Expr, Literal};

/// The element of a place, from 1, or from the end where negative; null where there is none.
pub(in crate::plan::sql) fn element(list: &str, index: &Expr, text: &str) -> String {
    match index {
        Expr::Literal(Literal::Int64(1.. | ..=-1)) => {
            format!("try_element_at({list}, {})", int(index, text))
        }
        // It refuses a zero.
        _ => format!("try_element_at({list}, cast(nullif({text}, 0L) as INT))"),
    }
}

/// The words of texts: without the marks that are removed, cut at Unicode's white space.
pub(in crate::plan::sql) fn tokens(texts: impl Iterator<Item = String>) -> String {
    let words = texts.map(|text| {
        let space = quoted(r"[^\p{IsWhite_Space}]+");
        format!("regexp_extract_all(translate({text}, '.,;?!-', ''), {space}, 0)")
    });
    match &words.collect::<Vec<_>>()[..] {
        [only] => only.clone(),
        several => format!("flatten(array_compact(array({})))", several.join(", ")),
    }
}

/// A call of a function of lists.
pub(super) fn call(call: &Call<'_>) -> Tried {
    let is_list = |at: usize| matches!(call.type_of(at), DataType::List(_));
    Ok(Some(match (call.name, &call.texts[..]) {
        ("list_value", _) => call.plain("array"),
        ("list_contains" | "contains", [list, value]) if is_list(0) => {
            format!("(array_position({list}, {value}) > 0)")
        }
        ("list_position", [list, value]) => format!("nullif(array_position({list}, {value}), 0)"),
        ("list_extract", [list, index]) => element(list, &call.arguments[1], index),
        ("list_slice", [list, _, _]) => match (call.whole(1), call.whole(2)) {
            (Some(begin @ 1..), Some(end)) if end >= begin => {
                format!("slice({list}, {begin}, {})", end - begin + 1)
            }
            _ => return call.refused("takes constant places from the front in Spark"),
        },
        ("list_reverse" | "reverse", [list]) if is_list(0) => format!("reverse({list})"),
        ("list_sort", [list, ..]) => sorted(call, list)?,
        ("list_distinct", [list]) => format!("array_compact(array_distinct({list}))"),
        ("list_append", [list, value]) => format!("array_append({list}, {value})"),
        ("list_has_any", [one, other]) => {
            format!("arrays_overlap(array_compact({one}), array_compact({other}))")
        }
        ("list_has_all", [all, some]) => {
            format!("(size(array_except(array_compact({some}), {all})) = 0)")
        }
        ("flatten", [lists]) => format!("flatten(array_compact({lists}))"),
        ("list_min", [list]) => format!("array_min({list})"),
        ("list_max", [list]) => format!("array_max({list})"),
        ("list_count", [list]) => long(&format!("size(array_compact({list}))")),
        ("array_length" | "length", [list]) if is_list(0) => long(&format!("size({list})")),
        ("array_to_string", [list, separator]) => {
            let DataType::List(item) = call.type_of(0) else { return Ok(None) };
            let shown = cast("e", item.data_type(), &DataType::Utf8View, false)?;
            let texts = if shown == "e" {
                list.clone()
            } else {
                format!("transform({list}, e -> {shown})")
            };
            format!("array_join({texts}, {separator})")
        }
        _ => return Ok(None),
    }))
}

/// A list's elements in order, by the words that say in which.
fn sorted(call: &Call<'_>, list: &str) -> Result<String, String> {
    let word = |at: usize, usual: &'static str| match call.texts.get(at) {
        None => Some(String::from(usual)),
        Some(_) => call.constant(at).map(str::to_lowercase),
    };
    let (direction, nulls) = (word(1, "asc"), word(2, "nulls last"));
    Ok(match (direction.as_deref(), nulls.as_deref()) {
        (Some("asc"), Some("nulls last")) => format!("array_sort({list})"),
        (Some("asc"), Some("nulls first")) => format!("sort_array({list}, true)"),
        (Some("desc"), Some("nulls last")) => format!("sort_array({list}, false)"),
        (Some("desc"), Some("nulls first")) => format!("reverse(array_sort({list}))"),
        _ => return call.refused("takes the words `asc`, `desc`, `nulls last`, `nulls first`"),
    })
}
