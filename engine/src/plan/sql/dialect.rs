//! [`Dialect`]: whose SQL a statement is in.

/// Whose SQL a statement is in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// `DuckDB`'s.
    #[default]
    DuckDb,
    /// Apache Spark's, version 4 in ANSI mode, with UTC as the session's time zone.
    Spark,
}

impl Dialect {
    /// What a reader of the statement must know, as a comment in front of it.
    pub(super) fn preamble(self) -> &'static str {
        match self {
            Self::DuckDb => "",
            Self::Spark => "-- Spark 4, ANSI mode (its default), session time zone UTC.\n",
        }
    }

    /// A name in quotes, whatever it is: none can be taken for a word of the language.
    pub(super) fn name(self, name: &str) -> String {
        match self {
            Self::DuckDb => format!("\"{}\"", name.replace('"', "\"\"")),
            Self::Spark => format!("`{}`", name.replace('`', "``")),
        }
    }

    /// A constant text.
    pub(super) fn quoted(self, text: &str) -> String {
        match self {
            Self::DuckDb => format!("'{}'", text.replace('\'', "''")),
            // A dollar before a brace would begin a variable of the session's.
            Self::Spark => format!(
                "'{}'",
                text.replace('\\', "\\\\").replace('\'', "\\'").replace("${", "\\u0024{")
            ),
        }
    }

    /// A row for each element of a list; one of a null where `outer` and there is none.
    pub(super) fn unnest(self, list: &str, outer: bool) -> String {
        match (self, outer) {
            (Self::DuckDb, false) => format!("unnest({list})"),
            (Self::DuckDb, true) => {
                format!("unnest(case when len({list}) > 0 then {list} else [null] end)")
            }
            (Self::Spark, false) => format!("explode({list})"),
            (Self::Spark, true) => format!("explode_outer({list})"),
        }
    }
}
