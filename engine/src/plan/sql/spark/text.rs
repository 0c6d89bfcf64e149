//! Functions of text and bytes in Spark's words.

use arrow::datatypes::DataType;

use super::{
    super::expression::at_least,
    function::{Call, Tried},
    long,
};

/// A call of a function of text.
pub(super) fn call(call: &Call<'_>) -> Tried {
    let is_text = |at: usize| call.type_of(at) == DataType::Utf8View;
    let int = |text: &str| format!("cast({text} as INT)");
    Ok(Some(match (call.name, &call.texts[..]) {
        ("lower" | "upper" | "replace" | "translate" | "md5", _)
        | ("trim" | "ltrim" | "rtrim", [_]) => call.plain(call.name),
        ("reverse", [x]) if is_text(0) => format!("reverse({x})"),
        ("trim", [x, marks]) => format!("trim(both {marks} from {x})"),
        ("ltrim", [x, marks]) => format!("trim(leading {marks} from {x})"),
        ("rtrim", [x, marks]) => format!("trim(trailing {marks} from {x})"),
        // Places before the first hold nothing, where Spark counts them from the end.
        ("substr", [x, _, ..]) if call.whole(1).is_some_and(|first| first > 0) => {
            match call.texts.len() {
                2 => format!("substr({x}, {})", call.int(1)),
                _ => format!("substr({x}, {}, {})", call.int(1), call.int(2)),
            }
        }
        ("substr", [x, first]) => format!("substr({x}, {})", int(&at_least(first, "1L"))),
        ("substr", [x, first, count]) => {
            let end = format!("({first} + {})", at_least(count, "0L"));
            let (first, end) = (at_least(first, "1L"), at_least(&end, "1L"));
            format!("substr({x}, {}, {})", int(&first), int(&format!("{end} - {first}")))
        }
        ("left" | "right", [x, _]) if call.whole(1).is_some_and(|count| count >= 0) => {
            format!("{}({x}, {})", call.name, call.int(1))
        }
        ("left" | "right", [x, count]) => {
            let kept = at_least(&format!("(char_length({x}) + {count})"), "0L");
            let count = int(&format!("if({count} < 0L, {kept}, {count})"));
            format!("{}({x}, {count})", call.name)
        }
        ("split_part", [x, separator, _]) => match (call.constant(1), call.whole(2)) {
            (None | Some(""), _) => return call.refused("takes a constant separator in Spark"),
            (_, Some(0)) => return call.refused("counts from 1 in Spark"),
            _ => format!("split_part({x}, {separator}, {})", call.int(2)),
        },
        ("concat" | "concat_ws", [first, ..]) => {
            let is_plain = call.name == "concat";
            let mut parts = vec![if is_plain { String::from("''") } else { first.clone() }];
            for at in usize::from(!is_plain)..call.texts.len() {
                parts.push(call.shown(at)?);
            }
            format!("concat_ws({})", parts.join(", "))
        }
        ("||", [_, ..]) if *call.data_type == DataType::Utf8View => {
            let parts = (0..call.texts.len()).map(|at| call.shown(at));
            format!("({})", parts.collect::<Result<Vec<_>, _>>()?.join(" || "))
        }
        ("overlay", [x, new, first, rest @ ..]) => {
            let count = rest.first().map_or_else(|| format!("char_length({new})"), Clone::clone);
            let before = int(&at_least(&format!("({first} - 1L)"), "0L"));
            let behind = int(&at_least(&format!("({first} + {count})"), "1L"));
            format!("(left({x}, {before}) || {new} || substr({x}, {behind}))")
        }
        ("lpad" | "rpad", [x, _]) => format!("{}({x}, {})", call.name, call.int(1)),
        ("lpad" | "rpad", [x, _, fill]) => format!("{}({x}, {}, {fill})", call.name, call.int(1)),
        ("repeat", [x, _]) => format!("repeat({x}, {})", call.int(1)),
        // Spark's `chr` knows 256 characters.
        ("chr", [x]) => format!("decode(unhex(lpad(hex({x}), 8, '0')), 'UTF-32')"),
        ("ascii" | "octet_length" | "bit_length" | "levenshtein", _) => {
            long(&call.plain(call.name))
        }
        ("length", [x]) if is_text(0) => long(&format!("char_length({x})")),
        ("strpos", [x, part]) => long(&format!("instr({x}, {part})")),
        ("starts_with", _) => call.plain("startswith"),
        ("ends_with", _) => call.plain("endswith"),
        ("contains", _) if is_text(0) => call.plain("contains"),
        ("sha256", [x]) => format!("sha2({x}, 256)"),
        ("hex", [x]) => format!("hex({x})"),
        ("unhex", [x]) => format!("to_binary({x}, 'hex')"),
        // Spark's has a line end behind 76 characters.
        ("base64", [x]) => format!("replace(base64({x}), '\\r\\n', '')"),
        ("from_base64", [x]) => format!("to_binary({x}, 'base64')"),
        ("encode", [x]) => format!("encode({x}, 'UTF-8')"),
        ("decode", [x]) => format!("decode({x}, 'UTF-8')"),
        // Spark's are those of HTML's forms.
        ("url_encode", [x]) => format!(
            "replace(replace(replace(url_encode({x}), '+', '%20'), '*', '%2A'), '%7E', '~')"
        ),
        ("url_decode", [x]) => format!("url_decode(replace({x}, '+', '%2B'))"),
        ("first_field", [line]) => format!("trim(split_part({line}, ',', 1))"),
        ("rest_of_line", [line]) => format!("({})", rest_of_line(line)),
        ("number_of_line", [line]) => format!("cast({} as DOUBLE)", rest_of_line(line)),
        _ => return Ok(None),
    }))
}

/// What stands behind a line's first comma.
fn rest_of_line(line: &str) -> String {
    format!("case when contains({line}, ',') then trim(substr({line}, instr({line}, ',') + 1)) end")
}
