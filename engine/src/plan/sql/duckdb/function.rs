//! Calls of functions in `DuckDB`'s words: where it has a function of another name or takes other
//! types, and which it has none for.

use arrow::datatypes::DataType;

use super::{
    super::{Written, expression::at_least},
    cast::cast,
    name, quoted, type_name,
};
use crate::expr::{Expr, Literal};

/// A call of `function`; its arguments, and what they are written as.
pub(super) fn call(
    function: &str,
    arguments: &[Expr],
    texts: &[String],
    data_type: &DataType,
) -> Written {
    let first = arguments.first().map(Expr::data_type);
    let plain = |word: &str| format!("{word}({})", texts.join(", "));
    let infix = |word: &str| format!("({})", texts.join(&format!(" {word} ")));
    let narrow = |places: &[usize]| {
        let argument = |(at, text): (usize, &String)| {
            let is_constant = matches!(arguments.get(at), Some(Expr::Literal(_)));
            if places.contains(&at) && !is_constant {
                format!("cast({text} as INTEGER)")
            } else {
                text.clone()
            }
        };
        let texts: Vec<_> = texts.iter().enumerate().map(argument).collect();
        format!("{function}({})", texts.join(", "))
    };
    let typed =
        |text: String| -> Written { Ok(format!("cast({text} as {})", type_name(data_type)?)) };
    let none = |why: &str| -> Written { Err(format!("`{function}` {why}")) };
    // What becomes text is written as here.
    let shown = |from: usize| -> Result<Vec<String>, String> {
        let of = |at: usize| {
            let own = arguments.get(at).map_or(DataType::Null, Expr::data_type);
            if at < from {
                Ok(texts[at].clone())
            } else {
                cast(&texts[at], &own, &DataType::Utf8View, false)
            }
        };
        (0..texts.len()).map(of).collect()
    };
    Ok(match (function, texts) {
        ("concat", _) => format!("concat({})", shown(0)?.join(", ")),
        ("concat_ws", _) => format!("concat_ws({})", shown(1)?.join(", ")),
        ("||", _) if *data_type == DataType::Utf8View => format!("({})", shown(0)?.join(" || ")),
        ("||", _) => infix("||"),
        ("bitand", _) => infix("&"),
        ("bitor", _) => infix("|"),
        ("shiftleft", _) => infix("<<"),
        ("shiftright", _) => infix(">>"),
        ("bitnot", [x]) => format!("(~ {x})"),
        ("try_add", _) => format!("try({})", infix("+")),
        ("try_subtract", _) => format!("try({})", infix("-")),
        ("try_multiply", _) => format!("try({})", infix("*")),
        // A division by zero gives an infinity there.
        ("try_divide", [a, b]) => format!("({a} / nullif({b}, 0))"),
        ("named_struct", _) => {
            let field = |pair: &[Expr], value: &String| -> Written {
                match pair {
                    [Expr::Literal(Literal::Utf8(field)), _] => {
                        Ok(format!("{} := {value}", name(field)))
                    }
                    _ => none("takes constant names"),
                }
            };
            let fields = arguments.chunks(2).zip(texts.iter().skip(1).step_by(2));
            let fields = fields.map(|(pair, value)| field(pair, value));
            format!("struct_pack({})", fields.collect::<Result<Vec<_>, _>>()?.join(", "))
        }
        ("octet_length", [x]) if first == Some(DataType::Utf8View) => format!("strlen({x})"),
        ("bit_length", [x]) if first == Some(DataType::BinaryView) => {
            format!("(octet_length({x}) * 8)")
        }
        ("base64", [x]) if first == Some(DataType::Utf8View) => format!("base64(encode({x}))"),
        ("date_add", [date, days]) if *data_type == DataType::Date32 => {
            format!("({date} + cast({days} as INTEGER))")
        }
        ("date_sub", [date, days]) => format!("({date} - cast({days} as INTEGER))"),
        ("date_add", _) => infix("+"),
        ("nvl2", [x, then, otherwise]) => {
            format!("case when {x} is not null then {then} else {otherwise} end")
        }
        ("if", [condition, then, otherwise]) => {
            format!("case when {condition} then {then} else {otherwise} end")
        }
        ("e", []) => String::from("exp(1)"),
        ("regexp_count", [text, pattern]) => format!("len(regexp_extract_all({text}, {pattern}))"),
        ("to_date", [x]) => format!("cast({x} as DATE)"),
        ("to_date", [text, format]) => format!("cast(strptime({text}, {format}) as DATE)"),
        ("to_timestamp", [x]) if first == Some(DataType::Utf8View) => {
            format!("cast({x} as TIMESTAMP)")
        }
        ("to_timestamp", [_, _]) => plain("strptime"),
        ("ceil" | "floor" | "round" | "trunc", [x])
            if first.as_ref().is_some_and(DataType::is_integer) =>
        {
            x.clone()
        }
        // Places before the first hold nothing, where it counts them from the end.
        ("substr", [text, from, rest @ ..]) if !is_positive(arguments.get(1)) => match rest {
            [] => format!("substr({text}, {})", at_least(from, "1")),
            [count, ..] => {
                let end = format!("({from} + {})", at_least(count, "0"));
                let (from, end) = (at_least(from, "1"), at_least(&end, "1"));
                format!("substr({text}, {from}, {end} - {from})")
            }
        },
        ("round" | "trunc" | "lpad" | "rpad", [_, _, ..]) => narrow(&[1]),
        ("regexp_extract", _) => narrow(&[2]),
        ("chr" | "to_years" | "to_months" | "to_weeks" | "to_days", _) => narrow(&[0]),
        ("factorial", _) => typed(narrow(&[0]))?,
        (
            "sign" | "ascii" | "bit_count" | "list_sum" | "list_position" | "json_array_length"
            | "json_extract",
            _,
        ) => typed(plain(function))?,
        ("array_to_string", [list, separator]) => match &first {
            Some(DataType::List(item)) => {
                let each = cast("e", item.data_type(), &DataType::Utf8View, false)?;
                let all = match each.as_str() {
                    "e" => list.clone(),
                    "cast(e as VARCHAR)" => format!("cast({list} as VARCHAR[])"),
                    each => format!("[{each} for e in {list}]"),
                };
                format!("array_to_string({all}, {separator})")
            }
            _ => return none("takes a list"),
        },
        ("overlay", [text, new, from, rest @ ..]) => {
            let count = rest.first().map_or_else(|| format!("length({new})"), Clone::clone);
            let before = at_least(&format!("({from} - 1)"), "0");
            let behind = at_least(&format!("({from} + {count})"), "1");
            format!("(left({text}, {before}) || {new} || substr({text}, {behind}))")
        }
        ("first_field", [line]) => format!("trim(split_part({line}, ',', 1))"),
        ("rest_of_line", [line]) => format!("({})", rest_of_line(line)),
        ("number_of_line", [line]) => format!("cast({} as DOUBLE)", rest_of_line(line)),
        ("initcap" | "regexp_count", _) => return none("has no function in DuckDB"),
        ("hash", _) => return none("gives other numbers in DuckDB"),
        ("to_json", [_]) if first.as_ref().is_some_and(|of| !of.is_nested()) => {
            format!("cast({} as VARCHAR)", plain(function))
        }
        ("to_json" | "json_object" | "line_to_json", _) => {
            return none("puts blanks into its JSON, DuckDB does not");
        }
        ("strftime" | "strptime" | "try_strptime", _) => match arguments.get(1) {
            Some(Expr::Literal(Literal::Utf8(format))) if !is_shared(format) => {
                return Err(format!("the format {} means something else there", quoted(format)));
            }
            _ => plain(function),
        },
        _ => plain(function),
    })
}

fn is_positive(expr: Option<&Expr>) -> bool {
    matches!(expr, Some(Expr::Literal(Literal::Int64(1..))))
}

/// Whether a format of times means the same in C's words and in `DuckDB`'s.
fn is_shared(format: &str) -> bool {
    let mut characters = format.chars();
    while let Some(character) = characters.next() {
        if character == '%'
            && !characters.next().is_some_and(|next| "YmdHMSfjaAbBpIyuwzeT%".contains(next))
        {
            return false;
        }
    }
    true
}

fn rest_of_line(line: &str) -> String {
    format!(
        "case when contains({line}, ',') then trim(substr({line}, strpos({line}, ',') + 1)) end"
    )
}
