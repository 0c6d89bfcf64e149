//! Expressions as SQL, which reads back as the same expression.
//!
//! Names of types and operators are `DuckDB`'s, so that the text runs there too as far as both mean
//! the same. What is computed stands in parentheses; what has a type that its digits do not show
//! stands in a cast.

use std::fmt;

use arrow::datatypes::TimeUnit;
use sqlparser::keywords::ALL_KEYWORDS;

use crate::expr::{
    BinaryOp, Expr, Literal, cast::TextOf, function::Function, parse::sql_type_name,
};

/// Keywords that are common names of columns, and may stand as they are.
const FREE_WORDS: [&str; 24] = [
    "KEY", "VALUE", "NAME", "COUNT", "SUM", "MIN", "MAX", "AVG", "TEXT", "DATA", "TOKEN", "YEAR",
    "MONTH", "DAY", "STATUS", "TYPE", "ID", "LINE", "PATH", "SEEN", "OK", "PRICE", "QUANTITY", "X",
];

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Column { name, .. } => f.write_str(&identifier(name)),
            Self::Literal(literal) => literal.fmt(f),
            Self::Binary { op, left, right, .. } => {
                write!(f, "({left} {} {right})", operator(*op))
            }
            Self::Chain { first, steps } => {
                write!(f, "({first}")?;
                for step in steps {
                    write!(f, " {} {}", operator(step.op), step.right)?;
                }
                f.write_str(")")
            }
            Self::Not(input) => write!(f, "(not {input})"),
            // Two signs would begin a comment.
            Self::Negate(input) => write!(f, "(- {input})"),
            Self::IsNull { input, negated } => write!(f, "({input} is {}null)", not(*negated)),
            Self::IsTruth { input, value, negated } => {
                write!(f, "({input} is {}{value})", not(*negated))
            }
            Self::InList { input, list, negated } => {
                let list: Vec<_> = list.iter().map(ToString::to_string).collect();
                write!(f, "({input} {}in ({}))", not(*negated), list.join(", "))
            }
            Self::Like { input, pattern, escape, ignores_case, negated } => {
                let name = if *ignores_case { "ilike" } else { "like" };
                write!(f, "({input} {}{name} {pattern}", not(*negated))?;
                if let Some(escape) = escape {
                    write!(f, " escape {}", quoted(escape.encode_utf8(&mut [0; 4])))?;
                }
                f.write_str(")")
            }
            Self::Case { branches, otherwise, .. } => {
                f.write_str("case")?;
                for (condition, value) in branches {
                    write!(f, " when {condition} then {value}")?;
                }
                if let Some(value) = otherwise {
                    write!(f, " else {value}")?;
                }
                f.write_str(" end")
            }
            Self::Cast { input, to, or_null } => {
                let name = if *or_null { "try_cast" } else { "cast" };
                write!(f, "{name}({input} as {})", sql_type_name(to))
            }
            Self::Field { input, name, .. } => match input.as_ref() {
                Self::Column { name: column, .. } if is_plain(column) && is_plain(name) => {
                    write!(f, "{column}.{name}")
                }
                input => write!(f, "{}[{}]", Primary(input), quoted(name)),
            },
            Self::Element { input, index, .. } => write!(f, "{}[{index}]", Primary(input)),
            Self::Call { function, arguments, .. } => {
                let arguments: Vec<_> = arguments.iter().map(ToString::to_string).collect();
                if *function == Function::JOIN {
                    write!(f, "({})", arguments.join(" || "))
                } else {
                    write!(f, "{}({})", function.name(), arguments.join(", "))
                }
            }
        }
    }
}

/// An expression that `[…]` may follow.
struct Primary<'a>(&'a Expr);

impl fmt::Display for Primary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Expr::Column { .. } | Expr::Field { .. } | Expr::Element { .. } => self.0.fmt(f),
            other => write!(f, "({other})"),
        }
    }
}

fn not(negated: bool) -> &'static str {
    if negated { "not " } else { "" }
}

/// Whether a name can stand without quotes.
fn is_plain(name: &str) -> bool {
    let is_word = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let upper = name.to_ascii_uppercase();
    let is_keyword = ALL_KEYWORDS.binary_search(&upper.as_str()).is_ok();
    is_word && (!is_keyword || FREE_WORDS.contains(&upper.as_str()))
}

/// A column's name, in double quotes where it is no plain word.
fn identifier(name: &str) -> String {
    if is_plain(name) { String::from(name) } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// `value` as text, in a cast to its type.
fn typed(literal: &Literal, value: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "cast({value} as {})", sql_type_name(&literal.data_type()))
}

/// A constant as its text.
fn text_of(literal: &Literal) -> String {
    let mut text = String::new();
    let array = literal.to_array();
    if let Ok(writer) = TextOf::new(&array) {
        writer.write(0, &mut text);
    }
    text
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null(_) => typed(self, "null", f),
            Self::Bool(value) => value.fmt(f),
            Self::Int64(value) => value.fmt(f),
            // A point would make it exact, an exponent does not.
            Self::Float64(value) if value.is_finite() => write!(f, "{value:e}"),
            Self::Float32(value) if value.is_finite() => {
                typed(self, &format!("{:e}", f64::from(*value)), f)
            }
            Self::Utf8(text) => f.write_str(&quoted(text)),
            Self::Binary(_) => write!(f, "x'{}'", text_of(self)),
            Self::Exact { .. } => {
                let (value, scale) = match self {
                    Self::Exact { value, scale } => (*value, scale.cast_signed()),
                    _ => (0, 0),
                };
                let digits = Self::Decimal { value, precision: 38, scale };
                f.write_str(&text_of(&digits))
            }
            Self::Int8(_)
            | Self::Int16(_)
            | Self::Int32(_)
            | Self::UInt8(_)
            | Self::UInt16(_)
            | Self::UInt32(_)
            | Self::UInt64(_)
            | Self::Decimal { .. } => typed(self, &text_of(self), f),
            Self::Date32(_) => write!(f, "date {}", quoted(&text_of(self))),
            Self::Time(_) => write!(f, "time {}", quoted(&text_of(self))),
            Self::Timestamp { unit: TimeUnit::Microsecond, zone: None, .. } => {
                write!(f, "timestamp {}", quoted(&text_of(self)))
            }
            Self::Interval { months, days, nanos } => {
                write!(f, "interval '{months} months {days} days {}'", seconds(*nanos))
            }
            Self::Float32(_)
            | Self::Float64(_)
            | Self::Timestamp { .. }
            | Self::Duration { .. } => typed(self, &quoted(&text_of(self)), f),
        }
    }
}

/// Nanoseconds in words.
fn seconds(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let (whole, fraction) =
        (nanos.unsigned_abs() / 1_000_000_000, nanos.unsigned_abs() % 1_000_000_000);
    let fraction = format!("{fraction:09}");
    let fraction = fraction.trim_end_matches('0');
    let point = if fraction.is_empty() { "" } else { "." };
    format!("{sign}{whole}{point}{fraction} seconds")
}

/// An operator in SQL.
fn operator(op: BinaryOp) -> &'static str {
    match op {
        BinaryOp::Add => "+",
        BinaryOp::Subtract => "-",
        BinaryOp::Multiply => "*",
        BinaryOp::Divide => "/",
        BinaryOp::IntegerDivide => "//",
        BinaryOp::Modulo => "%",
        BinaryOp::Equal => "=",
        BinaryOp::NotEqual => "<>",
        BinaryOp::Less => "<",
        BinaryOp::LessOrEqual => "<=",
        BinaryOp::Greater => ">",
        BinaryOp::GreaterOrEqual => ">=",
        BinaryOp::IsDistinct => "is distinct from",
        BinaryOp::IsNotDistinct => "is not distinct from",
        BinaryOp::And => "and",
        BinaryOp::Or => "or",
    }
}

impl fmt::Display for BinaryOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::IntegerDivide { "div" } else { operator(*self) })
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field, Schema};
    use proptest::prelude::*;

    use crate::expr::{
        Expr, Literal, TIMESTAMP,
        literal::tests::literals,
        parse::{self, list_of, tests_of_types},
    };

    fn schema() -> Schema {
        let pair = DataType::Struct(
            vec![
                Field::new("x y", DataType::Int64, true),
                Field::new("b", list_of(DataType::Float64), true),
            ]
            .into(),
        );
        Schema::new(vec![
            Field::new("n", DataType::Int64, true),
            Field::new("price", DataType::Decimal128(15, 2), true),
            Field::new("city", DataType::Utf8View, true),
            Field::new("day", DataType::Date32, true),
            Field::new("seen", TIMESTAMP, true),
            Field::new("ok", DataType::Boolean, true),
            Field::new("select", DataType::Int32, true),
            Field::new("an \"odd\".name", DataType::UInt64, true),
            Field::new("pair", pair, true),
        ])
    }

    fn shown(text: &str) -> String {
        parse::expression(text, &schema()).unwrap_or_else(|e| panic!("{text}: {e:?}")).to_string()
    }

    #[test]
    fn an_expression_reads_as_it_is_grouped() {
        for (text, expected) in [
            ("n + 2 * n > 1", "((n + (2 * n)) > 1)"),
            (
                "case when n is null then 'it''s' else 'x' end",
                "case when (n is null) then 'it''s' else 'x' end",
            ),
            ("n div 2", "(n // 2)"),
            ("price * 0.5", "(price * cast(0.5 as DECIMAL(1,1)))"),
            ("n * 0.5", "(cast(n as DOUBLE) * 5e-1)"),
            ("\"select\" = 3", "(\"select\" = cast(3 as INT4))"),
            ("pair.\"x y\" + pair.b[1]", "(cast(pair['x y'] as DOUBLE) + pair.b[1])"),
            ("day - interval '3' month", "(day - interval '3 months 0 days 0 seconds')"),
            ("city not like 'a!%' escape '!'", "(city not like 'a!%' escape '!')"),
            ("n not in (1, 2)", "(n not in (1, 2))"),
            ("- (- n)", "(- (- n))"),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    fn reads_back(expr: &Expr) -> Result<(), TestCaseError> {
        let text = expr.to_string();
        match parse::expression(&text, &schema()) {
            Ok(back) => prop_assert_eq!(&back, expr, "{}", text),
            Err(error) => prop_assert!(false, "{text}: {error:?}"),
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn a_constant_reads_back(literal in literals()) {
            let is_odd = matches!(&literal, Literal::Utf8(text) if text.contains('\0'));
            prop_assume!(!is_odd && literal != Literal::Null(DataType::Null));
            reads_back(&Expr::Literal(literal))?;
        }

        #[test]
        fn a_null_of_any_type_reads_back(data_type in tests_of_types()) {
            reads_back(&Expr::Literal(Literal::Null(data_type)))?;
        }

        #[test]
        fn an_expression_reads_back(text in expressions()) {
            if let Ok(expr) = parse::expression(&text, &schema()) {
                reads_back(&expr)?;
            }
        }
    }

    /// Texts of expressions, most of which have types that meet.
    fn expressions() -> impl Strategy<Value = String> {
        let leaf = prop::sample::select(vec![
            "n",
            "price",
            "city",
            "day",
            "seen",
            "ok",
            "\"select\"",
            "\"an \"\"odd\"\".name\"",
            "pair.\"x y\"",
            "pair.b[1]",
            "1",
            "-1",
            "2.50",
            "1e3",
            "'x'",
            "true",
            "null",
            "date '2024-02-29'",
            "timestamp '2024-02-29 01:02:03.5'",
            "interval '1' day",
            "9223372036854775807",
            "0.06",
        ])
        .prop_map(String::from);
        leaf.prop_recursive(4, 24, 3, |inner| {
            let two = (inner.clone(), inner.clone());
            let op = prop::sample::select(vec![
                "+",
                "-",
                "*",
                "/",
                "div",
                "%",
                "=",
                "<>",
                "<",
                ">=",
                "and",
                "or",
                "||",
                "is distinct from",
                "like",
            ]);
            prop_oneof![
                (two.clone(), op).prop_map(|((a, b), op)| format!("({a}) {op} ({b})")),
                inner.clone().prop_map(|a| format!("-({a})")),
                inner.clone().prop_map(|a| format!("not ({a})")),
                inner.clone().prop_map(|a| format!("({a}) is not null")),
                inner.clone().prop_map(|a| format!("({a}) is not true")),
                two.clone().prop_map(|(a, b)| format!("({a}) not in (({b}), 3)")),
                two.clone().prop_map(|(a, b)| format!("({a}) between ({b}) and 10")),
                two.prop_map(|(a, b)| format!("case when ok then ({a}) else ({b}) end")),
                inner.clone().prop_map(|a| format!("try_cast(({a}) as string)")),
                inner.clone().prop_map(|a| format!("cast(({a}) as decimal(20,3))")),
                prop::collection::vec(inner, 9..12).prop_map(|terms| terms
                    .iter()
                    .map(|t| format!("({t})"))
                    .collect::<Vec<_>>()
                    .join(" + ")),
            ]
        })
    }
}
