//! The named functions: one table, which the parser, the evaluator and the documentation read.
//!
//! A function is a row of its group's table: names, what it takes by kind, what it gives, what it
//! does with nulls, when it fails, and examples that the tests run. [`resolve`] makes a call of a
//! name and arguments, [`evaluate`](Function::evaluate) runs it over a batch. The aggregates and
//! window functions have tables of their own.
//!
//! The functions that a node names in `fn` ([`FORMS`]) stand here too; what they become is
//! decided in [`crate::job::check`].

use std::{collections::HashMap, sync::LazyLock};

use arrow::{
    array::{ArrayRef, new_null_array},
    datatypes::DataType,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::{
    Error, Result,
    expr::{Expr, evaluate::Value},
};

pub mod resolve;
pub mod syntax;
pub mod instant;
pub mod document;
mod kind;
mod rows;
mod text;
mod pattern;
mod encode;
mod conditional;
mod math;
mod time;
mod list;
pub(crate) mod json;
mod internal;
mod line;

pub use kind::{Gives, Kind};

/// A named scalar function; in plans it goes by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Function(&'static str);

/// What a function is called, takes and gives.
pub struct Signature {
    /// Its name in expressions.
    pub name: &'static str,
    /// Other names it is known by.
    pub aliases: &'static [&'static str],
    /// What it takes and gives, tried in order.
    pub overloads: &'static [Overload],
    /// What it makes of nulls.
    pub nulls: Nulls,
    /// Whether its value depends on its arguments alone.
    pub volatility: Volatility,
    /// When it fails for a row; never where absent.
    pub fails: Option<&'static str>,
    /// What it does, for people.
    pub about: &'static str,
    /// Expressions with their values as text.
    pub examples: &'static [(&'static str, &'static str)],
    /// Where it differs from `DuckDB`'s function of this name; empty where it does not.
    pub differs: &'static str,
    /// Why these arguments, bound and typed, can't be right: a constant pattern that is none.
    check: fn(&[Expr]) -> Result<(), String>,
}

/// One way to call a function.
pub struct Overload {
    /// Its parameters.
    pub parameters: &'static [Kind],
    /// How many of them there must be at least.
    pub least: usize,
    /// Whether the last parameter may be given any number of times.
    pub is_variadic: bool,
    /// Whether all parameters may be given again and again, not the last alone.
    pub repeats_all: bool,
    /// What it gives.
    pub gives: Gives,
    /// How that is computed.
    run: Run,
}

/// How a call gets its value.
enum Run {
    /// A batch at a time.
    Kernel(Kernel),
    /// By other expressions, which are lazy where the function is; the arguments have been brought
    /// to their parameters' types.
    Rewrite(Rewrite),
    /// By other expressions where an argument that may not be needed can fail, otherwise at once.
    Lazy(Rewrite, Kernel),
    /// A batch at a time; what the rewriting makes of the arguments is the call, or part of it.
    Prepared(Rewrite, Kernel),
}

/// Arguments → what the call stands for.
type Rewrite = fn(Vec<Expr>) -> Result<Expr, String>;

/// A call's arguments and result type → a value a row.
type Kernel = fn(&Call<'_>) -> Result<ArrayRef>;

/// What a kernel gets.
pub(crate) struct Call<'a> {
    /// Each has a value for each row, or one for all.
    pub(crate) arguments: &'a [Value],
    /// How many values there must be.
    pub(crate) rows: usize,
    /// Of this type.
    pub(crate) data_type: &'a DataType,
}

/// What a function makes of nulls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nulls {
    /// A null argument makes the result null.
    Strict,
    /// What this says; arguments that are all null give null.
    Lenient(&'static str),
    /// What this says; even arguments that are all null give a value.
    Never(&'static str),
}

/// Whether a function's value depends on its arguments alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Volatility {
    /// It does.
    Pure,
    /// It is the same all through a job: it becomes a constant when the job is planned.
    Job,
}

/// Functions that belong together.
pub struct Group {
    /// What they are about; a heading of the documentation.
    pub title: &'static str,
    /// The functions.
    pub functions: &'static [Signature],
}

/// The functions that documents may name, by group.
pub static GROUPS: [Group; 8] = [
    Group { title: "Text", functions: text::FUNCTIONS },
    Group { title: "Regular expressions", functions: pattern::FUNCTIONS },
    Group { title: "Hashes and encodings", functions: encode::FUNCTIONS },
    Group { title: "Conditionals", functions: conditional::FUNCTIONS },
    Group { title: "Numbers", functions: math::FUNCTIONS },
    Group { title: "Dates and times", functions: time::FUNCTIONS },
    Group { title: "Lists and structs", functions: list::FUNCTIONS },
    Group { title: "JSON in text", functions: json::FUNCTIONS },
];

/// All functions by their own name.
static BY_NAME: LazyLock<HashMap<&'static str, &'static Signature>> = LazyLock::new(|| {
    let all = public().chain(internal::FUNCTIONS);
    all.map(|signature| (signature.name, signature)).collect()
});

/// The public functions by their names and aliases.
static BY_ALIAS: LazyLock<HashMap<&'static str, &'static Signature>> = LazyLock::new(|| {
    let names = |signature: &'static Signature| {
        let names = std::iter::once(signature.name).chain(signature.aliases.iter().copied());
        names.map(move |name| (name, signature))
    };
    public().flat_map(names).collect()
});

impl Function {
    /// Lower case.
    pub const LOWER: Self = Self("lower");
    /// Characters of a text.
    pub const LENGTH: Self = Self("length");
    /// `||`: texts joined; a null makes the result null.
    pub const JOIN: Self = Self("||");
    /// The first comma-separated field of a line, trimmed.
    pub const FIRST_FIELD: Self = Self("first_field");
    /// What stands behind the first comma of a line, trimmed; null where there is none.
    pub const REST_OF_LINE: Self = Self("rest_of_line");
    /// The number that stands behind the first comma of a line; anything else is an error.
    pub const NUMBER_OF_LINE: Self = Self("number_of_line");
    /// A line as a JSON object of its `key` and `value`.
    pub const LINE_TO_JSON: Self = Self("line_to_json");
    /// Names and values by turns as a JSON object.
    pub const JSON_OBJECT: Self = Self("json_object");

    /// Its name.
    pub fn name(self) -> &'static str {
        self.0
    }

    /// What it is called, takes and gives.
    ///
    /// # Errors
    /// [`Error::Internal`] for a function that no table has.
    pub fn signature(self) -> Result<&'static Signature> {
        let known = BY_NAME.get(self.0).copied();
        known.ok_or_else(|| Error::Internal(format!("no function `{}`", self.0)))
    }

    /// The public function of this name or alias, whatever its case.
    pub fn find(name: &str) -> Option<&'static Signature> {
        let lower = name.to_ascii_lowercase();
        BY_ALIAS.get(lower.as_str()).copied()
    }

    /// A call of it with arguments that are known to do.
    pub fn of(self, arguments: Vec<Expr>) -> Expr {
        let overload = self.signature().ok().and_then(|signature| signature.overloads.first());
        let gives = overload.and_then(|overload| overload.gives.data_type(&arguments).ok());
        Expr::Call { function: self, arguments, data_type: gives.unwrap_or(DataType::Utf8View) }
    }

    /// Applies it to `rows` rows; an argument has a value for each, or one for all.
    pub(crate) fn evaluate(
        self,
        arguments: &[Value],
        rows: usize,
        data_type: &DataType,
    ) -> Result<ArrayRef> {
        let types: Vec<_> =
            arguments.iter().map(|argument| argument.array().data_type().clone()).collect();
        let signature = self.signature()?;
        let is_null = |argument: &Value| {
            let array = argument.array();
            !array.is_empty() && array.null_count() == array.len()
        };
        if signature.nulls == Nulls::Strict && arguments.iter().any(is_null) {
            return Ok(new_null_array(data_type, rows));
        }
        match signature.kernel(&types) {
            Some(kernel) => kernel(&Call { arguments, rows, data_type }),
            None => Err(Error::Internal(format!("`{}` does not take {types:?}", self.0))),
        }
    }

    /// Whether it can fail for a row.
    pub(crate) fn is_fallible(self) -> bool {
        self.signature().is_ok_and(|signature| signature.fails.is_some())
    }
}

impl Signature {
    /// What computes it for arguments of just these types.
    fn kernel(&self, types: &[DataType]) -> Option<Kernel> {
        self.overloads.iter().find_map(|overload| match overload.run {
            Run::Kernel(kernel) | Run::Lazy(_, kernel) | Run::Prepared(_, kernel) => {
                overload.takes(types).then_some(kernel)
            }
            Run::Rewrite(_) => None,
        })
    }

    /// It without aliases, failures or differences; the rows of the tables say more.
    const fn new(
        name: &'static str,
        overloads: &'static [Overload],
        about: &'static str,
        examples: &'static [(&'static str, &'static str)],
    ) -> Self {
        Self {
            name,
            aliases: &[],
            overloads,
            nulls: Nulls::Strict,
            volatility: Volatility::Pure,
            fails: None,
            about,
            examples,
            differs: "",
            check: |_| Ok(()),
        }
    }

    /// Also known by these names.
    const fn aka(self, aliases: &'static [&'static str]) -> Self {
        Self { aliases, ..self }
    }

    /// Fails for a row in this case.
    const fn fails(self, when: &'static str) -> Self {
        Self { fails: Some(when), ..self }
    }

    /// Is not just null where an argument is.
    const fn with_nulls(self, nulls: Nulls) -> Self {
        Self { nulls, ..self }
    }

    /// Is not `DuckDB`'s function of this name in every respect.
    const fn differs(self, how: &'static str) -> Self {
        Self { differs: how, ..self }
    }

    /// Refuses constant arguments that can't be right.
    const fn checked(self, check: fn(&[Expr]) -> Result<(), String>) -> Self {
        Self { check, ..self }
    }

    /// Is the same all through a job.
    const fn of_job(self) -> Self {
        Self { volatility: Volatility::Job, ..self }
    }
}

impl Overload {
    /// All of `parameters`, no more.
    const fn new(parameters: &'static [Kind], gives: Gives, kernel: Kernel) -> Self {
        let run = Run::Kernel(kernel);
        Self {
            parameters,
            least: parameters.len(),
            is_variadic: false,
            repeats_all: false,
            gives,
            run,
        }
    }

    /// What stands for other expressions; their type is the result's.
    const fn rewrite(parameters: &'static [Kind], gives: Gives, rewrite: Rewrite) -> Self {
        let run = Run::Rewrite(rewrite);
        Self {
            parameters,
            least: parameters.len(),
            is_variadic: false,
            repeats_all: false,
            gives,
            run,
        }
    }

    /// Computed by `rewrite` where an argument but the first can fail.
    const fn or_lazily(self, rewrite: Rewrite) -> Self {
        match self.run {
            Run::Kernel(kernel) | Run::Lazy(_, kernel) => {
                Self { run: Run::Lazy(rewrite, kernel), ..self }
            }
            Run::Rewrite(_) | Run::Prepared(..) => self,
        }
    }

    /// Arguments of any types, brought by `prepare` to those that `kernel` takes.
    const fn prepared(
        parameters: &'static [Kind],
        gives: Gives,
        prepare: Rewrite,
        kernel: Kernel,
    ) -> Self {
        let run = Run::Prepared(prepare, kernel);
        Self {
            parameters,
            least: parameters.len(),
            is_variadic: false,
            repeats_all: false,
            gives,
            run,
        }
    }

    /// With at least so many arguments; the last parameter repeats.
    const fn variadic(self, least: usize) -> Self {
        Self { least, is_variadic: true, ..self }
    }

    /// With its parameters over and over, at least once: two by two where it has two.
    const fn pairs(self) -> Self {
        Self { is_variadic: true, repeats_all: true, ..self }
    }

    /// With at least so many arguments.
    const fn at_least(self, least: usize) -> Self {
        Self { least, ..self }
    }

    /// The most arguments it takes.
    fn most(&self) -> usize {
        if self.is_variadic { usize::MAX } else { self.parameters.len() }
    }

    /// What the argument at `index` must be; there is one.
    fn parameter(&self, index: usize) -> Kind {
        if self.repeats_all {
            return self.parameters[index % self.parameters.len()];
        }
        self.parameters[index.min(self.parameters.len() - 1)]
    }

    /// Whether arguments of these types need no cast.
    fn takes(&self, types: &[DataType]) -> bool {
        (self.least..=self.most()).contains(&types.len())
            && types.iter().enumerate().all(|(at, found)| self.parameter(at).is_exactly(found))
    }
}

impl Serialize for Function {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0)
    }
}

impl<'de> Deserialize<'de> for Function {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let known = BY_NAME.get(name.as_str());
        known.map_or_else(
            || Err(D::Error::custom(format!("no function `{name}`"))),
            |signature| Ok(Self(signature.name)),
        )
    }
}

/// The functions that documents may name in expressions.
pub fn public() -> impl Iterator<Item = &'static Signature> {
    GROUPS.iter().flat_map(|group| group.functions)
}

/// A function that a node names in `fn`.
pub struct Form {
    /// Its name.
    pub name: &'static str,
    /// The operators that take it.
    pub operators: &'static [&'static str],
    /// What it does, for people.
    pub about: &'static str,
}

/// The functions that nodes name in `fn`.
pub static FORMS: [Form; 14] = [
    Form {
        name: "tokenize",
        operators: &["flat_map"],
        about: "removes `. , ; ? ! -` and splits on Unicode white space into a column `token`",
    },
    Form {
        name: "explode",
        operators: &["flat_map"],
        about: "a row for each element of a list, which stands in the list's place",
    },
    Form {
        name: "split",
        operators: &["flat_map"],
        about: "a row for each part of a text, cut at `by`, which stands in the text's place",
    },
    Form {
        name: "lines",
        operators: &["flat_map"],
        about: "a row for each line of a text, which stands in the text's place",
    },
    Form { name: "to_lower", operators: &["map"], about: "all text columns in lower case" },
    Form {
        name: "to_json",
        operators: &["map"],
        about: "each row as an object in a column `json`; a text line by its first comma",
    },
    Form { name: "identity", operators: &["map", "join"], about: "the row as it is" },
    Form {
        name: "sleep_10s",
        operators: &["map"],
        about: "the row as it is, after ten seconds; a test aid",
    },
    Form { name: "long_words", operators: &["filter"], about: "texts of more than 4 characters" },
    Form { name: "sum", operators: &["reduce_by_key"], about: "the sum; on bare tokens the count" },
    Form { name: "count", operators: &["reduce_by_key"], about: "how many values" },
    Form { name: "min", operators: &["reduce_by_key"], about: "the least value" },
    Form { name: "max", operators: &["reduce_by_key"], about: "the greatest value" },
    Form { name: "avg", operators: &["reduce_by_key"], about: "the mean, float64" },
];

#[cfg(test)]
mod library_tests;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{BY_NAME, Function, internal, public};

    #[test]
    fn no_two_functions_share_a_name() {
        let mut names = HashSet::new();
        for signature in public().chain(internal::FUNCTIONS) {
            for name in std::iter::once(&signature.name).chain(signature.aliases) {
                assert!(names.insert(*name), "{name}");
            }
        }
    }

    #[test]
    fn internal_functions_cannot_be_named() {
        assert!(Function::find("json_object").is_none());
        assert_eq!(Function::find("LOWER").map(|s| s.name), Some("lower"));
        assert_eq!(Function::find("substring").map(|s| s.name), Some("substr"));
    }

    #[test]
    fn a_function_that_is_named_in_code_is_in_the_table() {
        for function in [
            Function::LOWER,
            Function::LENGTH,
            Function::JOIN,
            Function::FIRST_FIELD,
            Function::REST_OF_LINE,
            Function::NUMBER_OF_LINE,
            Function::LINE_TO_JSON,
            Function::JSON_OBJECT,
        ] {
            assert!(BY_NAME.contains_key(function.name()), "{function:?}");
        }
    }

    #[test]
    fn a_function_travels_by_its_name() {
        let sent = serde_json::to_string(&Function::LENGTH).unwrap();
        assert_eq!(sent, "\"length\"");
        assert_eq!(serde_json::from_str::<Function>(&sent).unwrap(), Function::LENGTH);
        assert!(serde_json::from_str::<Function>("\"nope\"").is_err());
    }
}
