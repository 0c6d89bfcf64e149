//! SQL's own spellings of calls: `extract(year from d)`, `position(a in b)`, `ceil(x)`,
//! `trim(both 'x' from s)`, `array[…]`, `ts at time zone z`, `overlay(…)`, as a name and arguments.

use sqlparser::ast::{CeilFloorKind, Expr as Sql, TrimWhereField};

/// An argument of a call that SQL spells in its own way.
#[derive(Debug)]
pub enum Argument<'a> {
    /// An expression.
    Sql(&'a Sql),
    /// A text that stands for a word of the syntax.
    Text(String),
}

/// The function and arguments that `sql` spells, if it is such a form.
pub fn call_of(sql: &Sql) -> Option<(&'static str, Vec<Argument<'_>>)> {
    let word = |word: &dyn std::fmt::Display| Argument::Text(word.to_string().to_lowercase());
    Some(match sql {
        Sql::Extract { field, expr, .. } => ("date_part", vec![word(field), Argument::Sql(expr)]),
        Sql::Ceil { expr, field } => ("ceil", plain(expr, field)?),
        Sql::Floor { expr, field } => ("floor", plain(expr, field)?),
        Sql::Position { expr, r#in } => ("strpos", vec![Argument::Sql(r#in), Argument::Sql(expr)]),
        Sql::Substring { expr, substring_from, substring_for, .. } => {
            let mut arguments = vec![Argument::Sql(expr)];
            arguments.extend(substring_from.as_deref().map(Argument::Sql));
            if let Some(count) = substring_for {
                if substring_from.is_none() {
                    return Some(("left", vec![Argument::Sql(expr), Argument::Sql(count)]));
                }
                arguments.push(Argument::Sql(count));
            }
            ("substr", arguments)
        }
        Sql::Trim { expr, trim_where, trim_what, trim_characters } => {
            let name = match trim_where {
                None | Some(TrimWhereField::Both) => "trim",
                Some(TrimWhereField::Leading) => "ltrim",
                Some(TrimWhereField::Trailing) => "rtrim",
            };
            let mut arguments = vec![Argument::Sql(expr)];
            arguments.extend(trim_what.as_deref().map(Argument::Sql));
            arguments.extend(trim_characters.iter().flatten().map(Argument::Sql));
            (name, arguments)
        }
        Sql::Overlay { expr, overlay_what, overlay_from, overlay_for } => {
            let all = [Some(expr), Some(overlay_what), Some(overlay_from), overlay_for.as_ref()];
            ("overlay", all.into_iter().flatten().map(|part| Argument::Sql(part)).collect())
        }
        Sql::AtTimeZone { timestamp, time_zone } => {
            ("timezone", vec![Argument::Sql(time_zone), Argument::Sql(timestamp)])
        }
        Sql::Array(array) => ("array", array.elem.iter().map(Argument::Sql).collect()),
        _ => return None,
    })
}

/// The argument of `ceil(x)`; `ceil(x to day)` and a scale are other forms.
fn plain<'a>(expr: &'a Sql, field: &CeilFloorKind) -> Option<Vec<Argument<'a>>> {
    let no_field = sqlparser::ast::DateTimeField::NoDateTime;
    matches!(field, CeilFloorKind::DateTimeField(found) if *found == no_field)
        .then(|| vec![Argument::Sql(expr)])
}
