//! The functions described: for the documentation (`docs/functions.md`), and for whoever asks a
//! server what it knows.
//!
//! Scalar functions come from [`GROUPS`], aggregates from [`AGGREGATES`], what nodes name in `fn`
//! from [`FORMS`]. The table of another kind of function is one more line in [`entries`].

use std::fmt::Write;

use super::{FORMS, GROUPS, Nulls, Overload, Signature, Volatility};
use crate::expr::aggregate::{AGGREGATES, Definition, signature::EXAMPLE_ROWS};

/// Where a function may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In any expression.
    Scalar,
    /// In `aggs`.
    Aggregate,
    /// In `fn` of a node.
    Form,
}

/// A function as people and programs read of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: &'static str,
    /// Other names it is known by.
    pub aliases: &'static [&'static str],
    /// Where it may stand.
    pub place: Place,
    /// What it belongs to.
    pub group: &'static str,
    /// How it is called and what it gives: `substr(string, int64[, int64]) -> string`.
    pub signatures: Vec<String>,
    /// What it does.
    pub about: &'static str,
    /// What it makes of nulls.
    pub nulls: &'static str,
    /// When it fails for a row; never where absent.
    pub fails: Option<&'static str>,
    /// Calls with their values as text.
    pub examples: Vec<(&'static str, &'static str)>,
    /// Where it differs from `DuckDB`'s function of this name; empty where it does not.
    pub differs: &'static str,
}

/// All functions that documents may name, group by group.
pub fn entries() -> Vec<Entry> {
    let scalars = GROUPS.iter().flat_map(|group| {
        group.functions.iter().map(|signature| of_scalar(group.title, signature))
    });
    let aggregates = AGGREGATES.iter().map(of_aggregate);
    let forms = FORMS.iter().map(|form| Entry {
        name: form.name,
        aliases: &[],
        place: Place::Form,
        group: "Forms of nodes",
        signatures: vec![format!("\"fn\": \"{}\" of {}", form.name, form.operators.join(", "))],
        about: form.about,
        nulls: "",
        fails: None,
        examples: Vec::new(),
        differs: "",
    });
    scalars.chain(aggregates).chain(forms).collect()
}

fn of_scalar(group: &'static str, signature: &Signature) -> Entry {
    Entry {
        name: signature.name,
        aliases: signature.aliases,
        place: Place::Scalar,
        group,
        signatures: signature.overloads.iter().map(|way| shown(signature.name, way)).collect(),
        about: signature.about,
        nulls: match signature.nulls {
            Nulls::Strict if signature.volatility == Volatility::Job => "never null",
            Nulls::Strict => "null where an argument is",
            Nulls::Lenient(what) | Nulls::Never(what) => what,
        },
        fails: signature.fails,
        examples: signature.examples.to_vec(),
        differs: signature.differs,
    }
}

/// One way to call a function: `lpad(string, int64[, string]) -> string`.
fn shown(name: &str, way: &Overload) -> String {
    let mut text = format!("{name}(");
    let mut open = 0;
    for (index, kind) in way.parameters.iter().enumerate() {
        let is_optional = index >= way.least;
        if is_optional {
            text.push('[');
            open += 1;
        }
        if index > 0 {
            text.push_str(", ");
        }
        text.push_str(kind.name());
    }
    if way.is_variadic {
        text.push_str(", ...");
    }
    text.push_str(&"]".repeat(open));
    text.push_str(") -> ");
    text.push_str(way.gives.name(way.parameters));
    text
}

fn of_aggregate(definition: &Definition) -> Entry {
    Entry {
        name: definition.name,
        aliases: definition.aliases,
        place: Place::Aggregate,
        group: "Aggregates",
        signatures: vec![format!(
            "{}{} -> {}",
            definition.name, definition.signature, definition.result
        )],
        about: definition.about,
        nulls: definition.nulls,
        fails: None,
        examples: vec![(definition.example, definition.example_result)],
        differs: "",
    }
}

/// The documentation of all functions, in Markdown.
pub fn markdown() -> String {
    let mut out = String::from(
        "# Functions\n\n\
         Made from the tables that run them (`UPDATE_GOLDEN=1 cargo test -p minispark-engine --lib \
         function`); every example is run by the tests. Names are the same in upper and lower \
         case.\n\n\
         Where nothing else is said a null argument gives null, and a whole number is taken as a \
         float64, a date as a timestamp, a text literal as a date, time or interval without saying \
         so. A value that a function has none for is an error that names the row's values, not NaN. \
         `T` is any type, in which the arguments so marked meet. What is cast, compared and \
         computed how is said of types and operators.\n\n\
         Not offered: `random` and `uuid`, because a task that runs again would draw others \
         (`sample` takes some of the rows, `hash` of a key gives numbers that stay); `unnest`, \
         which is `flat_map` with `fn: explode`.\n",
    );
    let mut group = "";
    for entry in entries() {
        if entry.group != group {
            group = entry.group;
            write(&mut out, format_args!("\n## {group}\n\n"));
            if entry.place == Place::Aggregate {
                let rows = EXAMPLE_ROWS.trim_end().replace('\n', "; ");
                write(
                    &mut out,
                    format_args!(
                        "They stand in `aggs`. The examples are over the rows `{rows}`, where an \
                         empty cell is null.\n\n"
                    ),
                );
            }
            out.push_str("| function | what it gives | nulls | errors | example |\n");
            out.push_str("|---|---|---|---|---|\n");
        }
        row(&entry, &mut out);
    }
    out
}

/// Appends formatted text; a `String` takes everything, so nothing can fail.
fn write(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).unwrap_or_default();
}

fn row(entry: &Entry, out: &mut String) {
    let code = |text: &str| format!("`{}`", text.replace('|', "\\|"));
    let signatures: Vec<_> = entry.signatures.iter().map(|way| code(way)).collect();
    write(out, format_args!("| {}", signatures.join("<br>")));
    if !entry.aliases.is_empty() {
        let aliases: Vec<_> = entry.aliases.iter().map(|alias| code(alias)).collect();
        write(out, format_args!("<br>also {}", aliases.join(", ")));
    }
    write(out, format_args!(" | {}", entry.about.replace('|', "\\|")));
    if !entry.differs.is_empty() {
        write(out, format_args!(". *DuckDB:* {}", entry.differs.replace('|', "\\|")));
    }
    let nulls = if entry.nulls == "null where an argument is" { "null" } else { entry.nulls };
    write(out, format_args!(" | {nulls} | {} | ", entry.fails.unwrap_or("none")));
    let examples = entry.examples.iter();
    let examples: Vec<_> = examples
        .map(|(call, value)| {
            let value = if value.is_empty() { String::from("the empty text") } else { code(value) };
            format!("{} is {value}", code(call))
        })
        .collect();
    write(out, format_args!("{} |\n", examples.join("<br>")));
}

#[cfg(test)]
mod tests {
    use super::markdown;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test rewrites what it compares with")]
    fn the_documentation_is_that_of_the_tables() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/functions.md");
        let made = markdown();
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(file, &made).unwrap();
        }
        let expected = std::fs::read_to_string(file).unwrap();
        assert!(made == expected, "docs/functions.md is old; run with UPDATE_GOLDEN=1");
    }
}
