//! Calls of functions in Spark's words: families of them, tried in turn. What none knows is refused.

use arrow::datatypes::DataType;

use super::{
    super::Written, Scope, cast::cast, expression, list, number, pattern, quoted, text, time,
};
use crate::expr::{Expr, Literal};

/// A call in words; `None` where the function is of another family.
pub(super) type Tried = Result<Option<String>, String>;

/// A call, with its arguments in words.
pub(super) struct Call<'a> {
    /// The function.
    pub(super) name: &'a str,
    /// Its arguments.
    pub(super) arguments: &'a [Expr],
    /// What they are written as.
    pub(super) texts: Vec<String>,
    /// The result's type.
    pub(super) data_type: &'a DataType,
}

impl Call<'_> {
    /// Under a name of Spark's.
    pub(super) fn plain(&self, word: &str) -> String {
        format!("{word}({})", self.texts.join(", "))
    }

    /// With a word between the arguments.
    pub(super) fn infix(&self, word: &str) -> String {
        format!("({})", self.texts.join(&format!(" {word} ")))
    }

    /// The type of an argument; of nulls where there is none.
    pub(super) fn type_of(&self, at: usize) -> DataType {
        self.arguments.get(at).map_or(DataType::Null, Expr::data_type)
    }

    /// A constant text.
    pub(super) fn constant(&self, at: usize) -> Option<&str> {
        match self.arguments.get(at) {
            Some(Expr::Literal(Literal::Utf8(text))) => Some(text),
            _ => None,
        }
    }

    /// A constant whole number.
    pub(super) fn whole(&self, at: usize) -> Option<i64> {
        match self.arguments.get(at) {
            Some(Expr::Literal(Literal::Int64(value))) => Some(*value),
            _ => None,
        }
    }

    /// An argument where Spark takes a number of 32 bits.
    pub(super) fn int(&self, at: usize) -> String {
        super::int(&self.arguments[at], &self.texts[at])
    }

    /// An argument as text.
    pub(super) fn shown(&self, at: usize) -> Written {
        cast(&self.texts[at], &self.type_of(at), &DataType::Utf8View, false)
    }

    /// Why it can't be said.
    pub(super) fn refused<T>(&self, why: &str) -> Result<T, String> {
        Err(format!("`{}` {why}", self.name))
    }
}

/// A call of the function of a name.
///
/// # Errors
/// Why Spark can't say it.
pub(in crate::plan::sql) fn call(
    name: &str,
    arguments: &[Expr],
    data_type: &DataType,
    scope: Scope<'_>,
) -> Written {
    // What an interval of the calendar is added to writes it itself.
    let texts = arguments.iter().map(|argument| match argument {
        Expr::Literal(literal @ Literal::Interval { .. }) => time::interval(literal),
        other => expression::text(other, scope),
    });
    let texts = texts.collect::<Result<Vec<_>, _>>()?;
    let call = Call { name, arguments, texts, data_type };
    for family in [choice, text::call, pattern::call, number::call, time::call, list::call] {
        if let Some(text) = family(&call)? {
            return Ok(text);
        }
    }
    call.refused("has no function in Spark that gives the same")
}

/// Choices among values.
fn choice(call: &Call<'_>) -> Tried {
    Ok(Some(match (call.name, &call.texts[..]) {
        ("coalesce" | "greatest" | "least", [only]) => only.clone(),
        ("coalesce" | "greatest" | "least" | "nullif" | "nvl2" | "if", _) => call.plain(call.name),
        ("named_struct", _) => {
            let mut parts = Vec::with_capacity(call.texts.len());
            for (at, text) in call.texts.iter().enumerate() {
                parts.push(match (at % 2, call.constant(at)) {
                    (0, Some(field)) => quoted(field),
                    (0, None) => return call.refused("takes constant names"),
                    _ => text.clone(),
                });
            }
            format!("named_struct({})", parts.join(", "))
        }
        ("struct_extract", [of, _]) => match call.constant(1) {
            Some(field) => super::field(of, field),
            None => return call.refused("takes a constant name"),
        },
        _ => return Ok(None),
    }))
}
