//! The named functions: one table, which the parser, the evaluator and the documentation read.
//!
//! The functions that a node names in `fn` ([`FORMS`]) stand here too; what they become is
//! decided in [`crate::job::check`].

use arrow::{array::ArrayRef, datatypes::DataType};
use serde::{Deserialize, Serialize};

use crate::{Result, expr::evaluate::Value};

mod json;
mod line;
mod text;

/// A named scalar function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Function {
    /// Lower case.
    Lower,
    /// Upper case.
    Upper,
    /// Without blanks at both ends.
    Trim,
    /// Characters of a text.
    Length,
    /// Characters of a text from a place on.
    Substr,
    /// Texts joined; nulls are left out.
    Concat,
    /// `||`: texts joined; a null makes the result null.
    Join,
    /// The first comma-separated field of a line, trimmed.
    FirstField,
    /// What stands behind the first comma of a line, trimmed; null where there is none.
    RestOfLine,
    /// The number that stands behind the first comma of a line; anything else is an error.
    NumberOfLine,
    /// A line as a JSON object of its `key` and `value`.
    LineToJson,
    /// Names and values by turns as a JSON object.
    JsonObject,
}

/// What a parameter takes or a function gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Text,
    /// int64.
    Int64,
    /// float64.
    Float64,
    /// Any type.
    Any,
}

impl Kind {
    /// The one type that it stands for; text where it is any.
    pub fn data_type(self) -> DataType {
        match self {
            Self::Text | Self::Any => DataType::Utf8View,
            Self::Int64 => DataType::Int64,
            Self::Float64 => DataType::Float64,
        }
    }
}

/// What a function is called, takes and gives.
pub struct Signature {
    /// Which.
    pub function: Function,
    /// Its name in expressions.
    pub name: &'static str,
    /// Other names it is known by.
    pub aliases: &'static [&'static str],
    /// Its parameters; the last may repeat.
    pub parameters: &'static [Kind],
    /// How many arguments there must be at least.
    pub least: usize,
    /// Whether the last parameter may be given any number of times.
    pub is_variadic: bool,
    /// What it gives.
    pub result: Kind,
    /// Whether documents may name it; the others stand behind the forms of seed nodes.
    pub is_public: bool,
    /// Whether it can fail for a row.
    is_fallible: bool,
    /// What it does, for people.
    pub about: &'static str,
    evaluate: fn(&[Value], usize) -> Result<ArrayRef>,
}

/// One row a function, in the order of [`Function`].
static SIGNATURES: [Signature; 12] = [
    Signature {
        function: Function::Lower,
        aliases: &["to_lower", "lcase"],
        evaluate: text::lower,
        ..text_function("lower", "lower case, by Unicode's full mapping")
    },
    Signature {
        function: Function::Upper,
        aliases: &["to_upper", "ucase"],
        evaluate: text::upper,
        ..text_function("upper", "upper case, by Unicode's full mapping")
    },
    Signature {
        function: Function::Trim,
        evaluate: text::trim,
        ..text_function("trim", "without blanks (U+0020) at both ends")
    },
    Signature {
        function: Function::Length,
        aliases: &["char_length", "character_length"],
        result: Kind::Int64,
        evaluate: text::length,
        ..text_function("length", "the number of characters (Unicode scalar values)")
    },
    Signature {
        function: Function::Substr,
        aliases: &["substring"],
        parameters: &[Kind::Text, Kind::Int64, Kind::Int64],
        least: 2,
        is_fallible: true,
        evaluate: text::substr,
        ..text_function(
            "substr",
            "`substr(s, from[, n])`: n characters (default: all) from the from-th on, counted \
             from 1; places before the first count but hold nothing; a negative n is an error",
        )
    },
    Signature {
        function: Function::Concat,
        parameters: &[Kind::Any],
        is_variadic: true,
        evaluate: text::concat,
        ..text_function(
            "concat",
            "the texts of all arguments, one behind the other; nulls are left out",
        )
    },
    Signature {
        function: Function::Join,
        is_variadic: true,
        is_public: false,
        evaluate: text::join,
        ..text_function("||", "two texts, one behind the other; null where one of them is")
    },
    Signature {
        function: Function::FirstField,
        is_public: false,
        evaluate: line::first_field,
        ..text_function("first_field", "what stands before the first comma, trimmed")
    },
    Signature {
        function: Function::RestOfLine,
        is_public: false,
        evaluate: line::rest_of_line,
        ..text_function("rest_of_line", "what stands behind the first comma, trimmed; or null")
    },
    Signature {
        function: Function::NumberOfLine,
        result: Kind::Float64,
        is_public: false,
        is_fallible: true,
        evaluate: line::number_of_line,
        ..text_function("number_of_line", "the number behind the first comma")
    },
    Signature {
        function: Function::LineToJson,
        is_public: false,
        evaluate: json::line_to_json,
        ..text_function("line_to_json", "`k,v` as an object of `key` and `value`")
    },
    Signature {
        function: Function::JsonObject,
        parameters: &[Kind::Any],
        is_variadic: true,
        is_public: false,
        evaluate: json::json_object,
        ..text_function("json_object", "names and values by turns as an object")
    },
];

/// A public function of one text that gives text; the rows of the table say what differs.
const fn text_function(name: &'static str, about: &'static str) -> Signature {
    Signature {
        function: Function::Lower,
        name,
        aliases: &[],
        parameters: &[Kind::Text],
        least: 1,
        is_variadic: false,
        result: Kind::Text,
        is_public: true,
        is_fallible: false,
        about,
        evaluate: text::lower,
    }
}

impl Function {
    /// What it is called, takes and gives.
    pub fn signature(self) -> &'static Signature {
        &SIGNATURES[self as usize]
    }

    /// The public function of this name or alias, whatever its case.
    pub fn find(name: &str) -> Option<&'static Signature> {
        public().find(|signature| {
            let mut names = std::iter::once(&signature.name).chain(signature.aliases);
            names.any(|known| known.eq_ignore_ascii_case(name))
        })
    }

    /// Applies it to `rows` rows; an argument has a value for each, or one for all.
    pub(crate) fn evaluate(self, arguments: &[Value], rows: usize) -> Result<ArrayRef> {
        (self.signature().evaluate)(arguments, rows)
    }

    /// Whether it can fail for a row.
    pub(crate) fn is_fallible(self) -> bool {
        self.signature().is_fallible
    }
}

/// The functions that documents may name in expressions.
pub fn public() -> impl Iterator<Item = &'static Signature> {
    SIGNATURES.iter().filter(|signature| signature.is_public)
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
pub static FORMS: [Form; 11] = [
    Form {
        name: "tokenize",
        operators: &["flat_map"],
        about: "removes `. , ; ? ! -` and splits on Unicode white space into a column `token`",
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
mod tests {
    use super::{Function, SIGNATURES};

    #[test]
    fn the_table_stands_in_the_order_of_the_functions() {
        for (index, signature) in SIGNATURES.iter().enumerate() {
            assert_eq!(signature.function as usize, index, "{}", signature.name);
        }
    }

    #[test]
    fn internal_functions_cannot_be_named() {
        assert!(Function::find("json_object").is_none());
        assert_eq!(Function::find("LOWER").map(|s| s.function), Some(Function::Lower));
        assert_eq!(Function::find("substring").map(|s| s.function), Some(Function::Substr));
    }
}
