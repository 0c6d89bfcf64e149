//! Expressions as SQL-like text, for people.

use std::fmt;

use crate::expr::{BinaryOp, Expr, Literal, parse::type_name};

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Column { name, .. } => f.write_str(name),
            Self::Literal(literal) => literal.fmt(f),
            Self::Binary { op, left, right, .. } => write!(f, "({left} {op} {right})"),
            Self::Not(input) => write!(f, "(not {input})"),
            Self::Negate(input) => write!(f, "(-{input})"),
            Self::IsNull { input, negated: false } => write!(f, "({input} is null)"),
            Self::IsNull { input, negated: true } => write!(f, "({input} is not null)"),
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
                write!(f, "{name}({input} as {})", type_name(to))
            }
            Self::Field { input, name, .. } => write!(f, "{input}.{name}"),
            Self::Call { function, arguments, .. } => {
                let arguments: Vec<_> = arguments.iter().map(ToString::to_string).collect();
                write!(f, "{}({})", function.name(), arguments.join(", "))
            }
        }
    }
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null(_) => f.write_str("null"),
            Self::Bool(value) => value.fmt(f),
            Self::Int64(value) => value.fmt(f),
            Self::Float64(value) => write!(f, "{value:?}"),
            Self::Utf8(text) => write!(f, "'{}'", text.replace('\'', "''")),
            other => write!(f, "{other:?}"),
        }
    }
}

impl fmt::Display for BinaryOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::IntegerDivide => "div",
            Self::Modulo => "%",
            Self::Equal => "=",
            Self::NotEqual => "<>",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::And => "and",
            Self::Or => "or",
        })
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field, Schema};

    use crate::expr::parse;

    #[test]
    fn an_expression_reads_as_it_is_grouped() {
        let schema = Schema::new(vec![Field::new("n", DataType::Int64, true)]);
        let shown = |text: &str| parse::expression(text, &schema).unwrap().to_string();
        assert_eq!(shown("n + 2 * n > 1"), "((n + (2 * n)) > 1)");
        assert_eq!(
            shown("case when n is null then 'it''s' else 'x' end"),
            "case when (n is null) then 'it''s' else 'x' end"
        );
    }
}
