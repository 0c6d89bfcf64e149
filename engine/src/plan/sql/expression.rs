//! Expressions: what the dialects have in common, and where their own words are asked for.

use super::{Dialect, Written, duckdb, push, spark};
use crate::expr::{BinaryOp, Expr, Literal};

use arrow::datatypes::DataType;

/// Where an expression stands.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    /// Whose words it is written in.
    pub(super) dialect: Dialect,
    /// What columns are called by their places; by their own names where absent.
    pub(super) places: Option<&'a dyn Fn(usize) -> String>,
}

impl Scope<'_> {
    /// Where columns have their own names.
    pub(super) fn own(dialect: Dialect) -> Self {
        Self { dialect, places: None }
    }

    /// What a column is called.
    pub(super) fn column(&self, index: usize, name: &str) -> String {
        self.places.map_or_else(|| self.dialect.name(name), |places| places(index))
    }
}

/// An operand as it is written.
pub(super) struct Operand<'a> {
    /// The text.
    pub(super) text: String,
    /// Its type.
    pub(super) data_type: DataType,
    /// Its value, where it is a constant.
    pub(super) constant: Option<&'a Literal>,
}

impl<'a> Operand<'a> {
    fn new(expr: &'a Expr, scope: Scope<'_>) -> Result<Self, String> {
        let constant = match expr {
            Expr::Literal(literal) => Some(literal),
            _ => None,
        };
        // An interval of the calendar is no value of Spark's; it is written with what it is added to.
        let is_calendar = matches!(constant, Some(Literal::Interval { .. }));
        let text = if is_calendar && scope.dialect == Dialect::Spark {
            String::new()
        } else {
            text(expr, scope)?
        };
        Ok(Self { text, data_type: expr.data_type(), constant })
    }
}

/// An expression in its scope.
///
/// # Errors
/// Why the dialect can't say it.
pub(super) fn text(expr: &Expr, scope: Scope<'_>) -> Written {
    let of = |inner: &Expr| text(inner, scope);
    let dialect = scope.dialect;
    Ok(match expr {
        Expr::Column { index, name, .. } => scope.column(*index, name),
        Expr::Literal(literal) => match dialect {
            Dialect::DuckDb => duckdb::literal(literal)?,
            Dialect::Spark => spark::literal(literal)?,
        },
        Expr::Binary { op, left, right, data_type } => {
            let (left, right) = (Operand::new(left, scope)?, Operand::new(right, scope)?);
            binary(*op, &left, &right, data_type, dialect)?
        }
        Expr::Chain { first, steps } => {
            let mut left = Operand::new(first, scope)?;
            for step in steps {
                let right = Operand::new(&step.right, scope)?;
                let text = binary(step.op, &left, &right, &step.data_type, dialect)?;
                left = Operand { text, data_type: step.data_type.clone(), constant: None };
            }
            left.text
        }
        Expr::Not(input) => format!("(not {})", of(input)?),
        Expr::Negate(input) => format!("(- {})", of(input)?),
        Expr::IsNull { input, negated } => format!("({} is {}null)", of(input)?, not(*negated)),
        Expr::IsTruth { input, value, negated } => {
            format!("({} is {}{value})", of(input)?, not(*negated))
        }
        Expr::InList { input, list, negated } => {
            format!("({} {}in ({}))", of(input)?, not(*negated), all(list, scope)?.join(", "))
        }
        Expr::Like { input, pattern, escape, ignores_case, negated } => {
            let word = if *ignores_case { "ilike" } else { "like" };
            let input = of(input)?;
            let pattern = match dialect {
                Dialect::DuckDb => duckdb::pattern(pattern, *escape, scope)?,
                Dialect::Spark => spark::pattern(pattern, *escape, scope)?,
            };
            format!("({input} {}{word} {pattern})", not(*negated))
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
            match dialect {
                Dialect::DuckDb => duckdb::widened(text, data_type, values)?,
                Dialect::Spark => text,
            }
        }
        Expr::Cast { input, to, or_null } => match dialect {
            Dialect::DuckDb => duckdb::cast(&of(input)?, &input.data_type(), to, *or_null)?,
            Dialect::Spark => spark::cast(&of(input)?, &input.data_type(), to, *or_null)?,
        },
        Expr::Field { input, name, .. } => match dialect {
            Dialect::DuckDb => {
                format!("struct_extract({}, {})", of(input)?, dialect.quoted(name))
            }
            Dialect::Spark => spark::field(&of(input)?, name),
        },
        Expr::Element { input, index, .. } => match dialect {
            Dialect::DuckDb => format!("list_extract({}, {})", of(input)?, of(index)?),
            Dialect::Spark => spark::element(&of(input)?, index, &of(index)?),
        },
        Expr::Call { function, arguments, data_type } => match dialect {
            Dialect::DuckDb => {
                let texts = all(arguments, scope)?;
                duckdb::call(function.name(), arguments, &texts, data_type)?
            }
            Dialect::Spark => spark::call(function.name(), arguments, data_type, scope)?,
        },
    })
}

/// `left op right`, each with its type.
fn binary(
    op: BinaryOp,
    left: &Operand<'_>,
    right: &Operand<'_>,
    data_type: &DataType,
    dialect: Dialect,
) -> Written {
    match dialect {
        Dialect::DuckDb => Ok(duckdb::binary(op, left, right, data_type)),
        Dialect::Spark => spark::binary(op, left, right, data_type),
    }
}

/// Several.
pub(super) fn all(exprs: &[Expr], scope: Scope<'_>) -> Result<Vec<String>, String> {
    exprs.iter().map(|expr| text(expr, scope)).collect()
}

/// `value as name, …`; a value that is its own name needs none.
pub(super) fn select<'a>(
    columns: impl Iterator<Item = (&'a str, String)>,
    dialect: Dialect,
) -> String {
    let column = |(label, value): (&str, String)| {
        let label = dialect.name(label);
        if value == label { value } else { format!("{value} as {label}") }
    };
    columns.map(column).collect::<Vec<_>>().join(", ")
}

/// A number, or `least` where it is less; null where it is null, which `greatest` would pass over.
pub(super) fn at_least(number: &str, least: &str) -> String {
    format!("case when {number} < {least} then {least} else {number} end")
}

fn not(negated: bool) -> &'static str {
    if negated { "not " } else { "" }
}
