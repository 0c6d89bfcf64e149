//! Expressions in `DuckDB`'s words: as they write themselves, but for what has another name there
//! ([`function`](super::function)), computes in a narrower type or means something else.

use arrow::datatypes::{DataType, TimeUnit};

use super::{Names, Written, function, name, push, quoted};
use crate::expr::{BinaryOp, Expr, Literal, parse::sql_type_name};

/// The precision that `DuckDB` does not exceed by itself where both operands keep to it.
const NARROW_DIGITS: u8 = 18;

/// An expression whose columns have these names.
pub(super) fn text(expr: &Expr, names: Names<'_>) -> Written {
    let of = |part: &Expr| text(part, names);
    Ok(match expr {
        Expr::Column { index, name, .. } => names(*index, name),
        Expr::Literal(literal) => self::literal(literal)?,
        Expr::Binary { op, left, right, data_type } => {
            let (left, right) = ((of(left)?, left.data_type()), (of(right)?, right.data_type()));
            binary(*op, &left, &right, data_type)
        }
        Expr::Chain { first, steps } => {
            let mut left = (of(first)?, first.data_type());
            for step in steps {
                let right = (of(&step.right)?, step.right.data_type());
                left = (binary(step.op, &left, &right, &step.data_type), step.data_type.clone());
            }
            left.0
        }
        Expr::Not(input) => format!("(not {})", of(input)?),
        Expr::Negate(input) => format!("(- {})", of(input)?),
        Expr::IsNull { input, negated } => format!("({} is {}null)", of(input)?, not(*negated)),
        Expr::IsTruth { input, value, negated } => {
            format!("({} is {}{value})", of(input)?, not(*negated))
        }
        Expr::InList { input, list, negated } => {
            format!("({} {}in ({}))", of(input)?, not(*negated), all(list, names)?.join(", "))
        }
        Expr::Like { input, pattern, escape, ignores_case, negated } => {
            let word = if *ignores_case { "ilike" } else { "like" };
            let escape = escape.map(|escape| format!(" escape {}", quoted(&escape.to_string())));
            let (input, pattern) = (of(input)?, of(pattern)?);
            let escape = escape.unwrap_or_default();
            format!("({input} {}{word} {pattern}{escape})", not(*negated))
        }
        Expr::Case { branches, otherwise, data_type } => {
            let mut text = String::from("case");
            for (condition, value) in branches {
                push(&mut text, format_args!(" when {} then {}", of(condition)?, of(value)?));
            }
            if let Some(value) = otherwise {
                push(&mut text, format_args!(" else {}", of(value)?));
            }
            text += " end";
            let values = branches.iter().map(|(_, value)| value).chain(otherwise.as_deref());
            widened(text, data_type, values)?
        }
        Expr::Cast { input, to, or_null } => {
            let word = if *or_null { "try_cast" } else { "cast" };
            format!("{word}({} as {})", of(input)?, type_name(to)?)
        }
        Expr::Field { input, name, .. } => {
            format!("struct_extract({}, {})", of(input)?, quoted(name))
        }
        Expr::Element { input, index, .. } => {
            format!("list_extract({}, {})", of(input)?, of(index)?)
        }
        Expr::Call { function, arguments, data_type } => {
            let texts = all(arguments, names)?;
            let call = function::call(function.name(), arguments, &texts, data_type)?;
            match function.name() {
                "coalesce" | "nullif" | "greatest" | "least" | "if" | "list_value" => {
                    widened(call, data_type, arguments.iter())?
                }
                _ => call,
            }
        }
    })
}

/// Several.
pub(super) fn all(exprs: &[Expr], names: Names<'_>) -> Result<Vec<String>, String> {
    exprs.iter().map(|expr| text(expr, names)).collect()
}

/// A choice among constants alone in its own type: whole constants are of 32 bits in `DuckDB`, and
/// so would be what is computed of them.
fn widened<'a>(
    text: String,
    data_type: &DataType,
    values: impl Iterator<Item = &'a Expr>,
) -> Written {
    let is_constant = |value: &Expr| matches!(value, Expr::Literal(_));
    let is_whole = match data_type {
        DataType::List(item) => *item.data_type() == DataType::Int64,
        other => *other == DataType::Int64,
    };
    if is_whole && { values }.all(is_constant) {
        return Ok(format!("cast({text} as {})", type_name(data_type)?));
    }
    Ok(text)
}

fn is_wide(data_type: &DataType) -> bool {
    data_type.is_integer() && *data_type != DataType::Int32
}

/// `left op right`, each with its type.
fn binary(
    op: BinaryOp,
    left: &(String, DataType),
    right: &(String, DataType),
    data_type: &DataType,
) -> String {
    let ((left, left_type), (right, right_type)) = (left, right);
    let word = match op {
        BinaryOp::IntegerDivide => String::from("//"),
        other => other.to_string(),
    };
    match (left_type, right_type, data_type) {
        // It has no sum of a date and a wide whole number.
        (DataType::Date32, other, DataType::Date32) if is_wide(other) => {
            format!("({left} {word} cast({right} as INTEGER))")
        }
        (other, DataType::Date32, DataType::Date32) if is_wide(other) => {
            format!("(cast({left} as INTEGER) {word} {right})")
        }
        (
            DataType::Decimal128(left_digits, scale),
            DataType::Decimal128(right_digits, _),
            DataType::Decimal128(digits, _),
        ) if *digits > NARROW_DIGITS && *left_digits.max(right_digits) <= NARROW_DIGITS => {
            format!("(cast({left} as DECIMAL(38,{scale})) {word} {right})")
        }
        // A timestamp there, also where the interval is of days alone.
        (_, DataType::Interval(_), DataType::Date32)
        | (DataType::Interval(_), _, DataType::Date32) => {
            format!("cast({left} {word} {right} as DATE)")
        }
        _ => format!("({left} {word} {right})"),
    }
}

fn literal(literal: &Literal) -> Written {
    Ok(match literal {
        Literal::Null(data_type) => format!("cast(null as {})", type_name(data_type)?),
        Literal::Duration { .. } => return Err(String::from("a constant duration has no SQL")),
        Literal::Timestamp { zone: Some(_), .. } => {
            type_name(&literal.data_type())?;
            literal.to_string()
        }
        other => other.to_string(),
    })
}

/// A type's name.
pub(super) fn type_name(data_type: &DataType) -> Written {
    Ok(match data_type {
        DataType::Null => String::from("INTEGER"),
        DataType::Duration(_) => String::from("INTERVAL"),
        DataType::Timestamp(TimeUnit::Microsecond, Some(zone)) if zone.as_ref() == "UTC" => {
            String::from("TIMESTAMPTZ")
        }
        DataType::Timestamp(_, Some(_)) => {
            return Err(String::from("timestamps with a zone are microseconds of UTC in SQL"));
        }
        DataType::Decimal256(..) => {
            return Err(String::from("decimals of more than 38 digits have no SQL"));
        }
        DataType::List(item) => format!("{}[]", type_name(item.data_type())?),
        DataType::Struct(fields) => {
            let field = |field: &arrow::datatypes::FieldRef| {
                Ok(format!("{} {}", name(field.name()), type_name(field.data_type())?))
            };
            let fields = fields.iter().map(field).collect::<Result<Vec<_>, String>>()?;
            format!("STRUCT({})", fields.join(", "))
        }
        plain => sql_type_name(plain),
    })
}

fn not(negated: bool) -> &'static str {
    if negated { "not " } else { "" }
}
