//! Functions of numbers in Spark's words.

use arrow::datatypes::DataType;

use super::{
    super::expression::Operand,
    arithmetic::{binary, is_number},
    function::{Call, Tried},
    long, type_name,
};
use crate::expr::{BinaryOp, coerce::is_decimal};

const INFINITY: &str = "cast('Infinity' as DOUBLE)";

/// Where a float is a whole number, whatever follows, and a number of 64 bits holds it below.
const WHOLE_BELOW: &str = "9e15D";

/// A call of a function of numbers.
pub(super) fn call(call: &Call<'_>) -> Tried {
    let data_type = call.data_type;
    let typed = |text: &str| -> Result<String, String> {
        Ok(format!("cast({text} as {})", type_name(data_type)?))
    };
    let of = call.type_of(0);
    Ok(Some(match (call.name, &call.texts[..]) {
        (
            "abs" | "sqrt" | "cbrt" | "exp" | "ln" | "log10" | "log2" | "sin" | "cos" | "tan"
            | "cot" | "asin" | "acos" | "atan" | "atan2" | "sinh" | "cosh" | "tanh" | "asinh"
            | "acosh" | "atanh" | "degrees" | "radians" | "pi" | "e",
            _,
        ) => call.plain(call.name),
        ("pow", _) => call.plain("power"),
        ("log", [x]) => format!("log10({x})"),
        ("log", [_, _]) => call.plain("log"),
        ("sign", [x]) if of.is_floating() => long(&format!("nanvl(sign({x}), 0D)")),
        ("sign", [x]) => long(&format!("sign({x})")),
        ("isnan", [x]) => format!("({x} = cast('NaN' as DOUBLE))"),
        ("isinf", [x]) => format!("(abs({x}) = {INFINITY})"),
        ("isfinite", [x]) => format!("(abs({x}) < {INFINITY})"),
        ("ceil" | "floor" | "round" | "trunc", [x]) if of.is_integer() => x.clone(),
        ("round" | "trunc", [x, _]) if of.is_integer() => match (call.name, call.whole(1)) {
            (_, Some(0..)) => x.clone(),
            ("round", Some(places)) => typed(&format!("round({x}, {places})"))?,
            _ => return call.refused("takes constant digits in Spark"),
        },
        // Spark's give whole numbers of 64 bits.
        ("ceil" | "floor", [x]) if of.is_floating() => {
            whole(x, &format!("{}({x})", call.name), &of)
        }
        ("trunc", [x]) if of.is_floating() => whole(x, &long(x), &of),
        ("round", [x]) if of.is_floating() => format!("round({x})"),
        ("round", [x, _]) if of.is_floating() => match call.whole(1) {
            Some(0) => format!("round({x})"),
            Some(places @ 1..=22) => float(&format!("round({x} * 1e{places}D) / 1e{places}D"), &of),
            Some(places @ -22..=-1) => {
                let places = places.unsigned_abs();
                float(&format!("round({x} / 1e{places}D) * 1e{places}D"), &of)
            }
            _ => return call.refused("takes a few constant digits in Spark"),
        },
        ("ceil" | "floor" | "round", [x]) if is_decimal(&of) => {
            typed(&format!("{}({x})", call.name))?
        }
        ("trunc", [x]) if is_decimal(&of) => typed(&format!("if({x} < 0, ceil({x}), floor({x}))"))?,
        ("round", [x, _]) if is_decimal(&of) => match call.whole(1) {
            Some(places) => typed(&format!("round({x}, {places})"))?,
            None => return call.refused("takes constant digits in Spark"),
        },
        ("mod" | "div", [left, right]) => {
            let op = if call.name == "mod" { BinaryOp::Modulo } else { BinaryOp::IntegerDivide };
            let operand = |text: &String, at: usize| Operand {
                text: text.clone(),
                data_type: call.type_of(at),
                constant: None,
            };
            binary(op, &operand(left, 0), &operand(right, 1), data_type)?
        }
        ("try_add" | "try_subtract" | "try_multiply" | "try_divide", [_, _])
            if is_number(&of) && is_number(&call.type_of(1)) && *data_type != DataType::UInt64 =>
        {
            let plain = call.plain(call.name);
            if is_decimal(data_type) {
                format!("try_cast({plain} as {})", type_name(data_type)?)
            } else {
                plain
            }
        }
        ("bitand", _) => call.infix("&"),
        ("bitor", _) => call.infix("|"),
        ("xor", _) => call.infix("^"),
        ("bitnot", [x]) => format!("(~ {x})"),
        ("shiftleft" | "shiftright", [x, _]) => format!("{}({x}, {})", call.name, call.int(1)),
        ("bit_count", _) => long(&call.plain("bit_count")),
        _ => return Ok(None),
    }))
}

/// A float whose whole part Spark gives as a number of 64 bits, which holds not all of them.
fn whole(x: &str, part: &str, of: &DataType) -> String {
    let kind = if *of == DataType::Float32 { "FLOAT" } else { "DOUBLE" };
    format!("if(abs({x}) < {WHOLE_BELOW}, cast({part} as {kind}), {x})")
}

/// What is computed of floats of 64 bits as one of the argument's type.
fn float(text: &str, of: &DataType) -> String {
    if *of == DataType::Float32 { format!("cast({text} as FLOAT)") } else { format!("({text})") }
}
