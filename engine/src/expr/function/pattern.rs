//! Regular expressions: the `regex` crate's syntax, which is RE2's for nearly all of it.
//!
//! A pattern is compiled once for as long as it is used on a thread; a constant one that is no
//! pattern is refused when the job is checked.

use std::{cell::RefCell, collections::HashMap};

use arrow::{array::ArrayRef, datatypes::Int64Type};
use regex::{Captures, Regex, RegexBuilder};

use super::{
    Call, Gives, Kind, Overload, Signature,
    rows::{self, Texts},
};
use crate::{
    Error, Result,
    expr::{Expr, Literal, text::TextBuilder},
};

/// The most patterns that a thread keeps compiled.
const MAX_COMPILED: usize = 64;

/// The most bytes of a compiled pattern.
const MAX_COMPILED_BYTES: usize = 4 << 20;

const FAILS: &str = "where the pattern of a row is none, or an option is not known";

/// The functions over regular expressions.
pub(super) static FUNCTIONS: &[Signature] = &[
    Signature::new(
        "regexp_matches",
        &[Overload::new(&[Kind::Text, Kind::Text, Kind::Text], Gives::Bool, matches).at_least(2)],
        "`regexp_matches(s, pattern[, options])`: whether the pattern matches anywhere; options \
         are `i` (whatever the case), `s` (`.` is a line end too), `m` (`^` and `$` at lines)",
        &[("regexp_matches('anaBanana', 'ban.n', 'i')", "true")],
    )
    .aka(&["regexp_like", "rlike"])
    .fails(FAILS)
    .checked(|arguments| check(arguments, 2)),
    Signature::new(
        "regexp_full_match",
        &[Overload::new(&[Kind::Text, Kind::Text, Kind::Text], Gives::Bool, full_match)
            .at_least(2)],
        "whether the pattern matches the whole text",
        &[("regexp_full_match('abc', 'a.')", "false")],
    )
    .fails(FAILS)
    .checked(|arguments| check(arguments, 2)),
    Signature::new(
        "regexp_replace",
        &[Overload::new(&[Kind::Text, Kind::Text, Kind::Text, Kind::Text], Gives::Text, replace)
            .at_least(3)],
        "`regexp_replace(s, pattern, new[, options])`: the first match by new, with `g` every one; \
         `\\1` to `\\9` are groups, `\\0` the match",
        &[
            ("regexp_replace('anabanana', 'an', 'x', 'g')", "xabxxa"),
            ("regexp_replace('abc', '(a)(b)', '\\2\\1')", "bac"),
        ],
    )
    .fails(FAILS)
    .checked(|arguments| check(arguments, 3)),
    Signature::new(
        "regexp_extract",
        &[Overload::new(&[Kind::Text, Kind::Text, Kind::Int64, Kind::Text], Gives::Text, extract)
            .at_least(2)],
        "`regexp_extract(s, pattern[, group[, options]])`: the first match, or that of a group \
         (default 0: the whole); the empty text where there is none",
        &[("regexp_extract('a1b22', '([a-z])([0-9]+)', 2)", "1")],
    )
    .aka(&["regexp_substr"])
    .fails("where the pattern of a row is none, or has no such group")
    .checked(|arguments| check(arguments, 3)),
    Signature::new(
        "regexp_extract_all",
        &[Overload::new(
            &[Kind::Text, Kind::Text, Kind::Int64, Kind::Text],
            Gives::TextList,
            extract_all,
        )
        .at_least(2)],
        "all matches, or those of a group",
        &[("regexp_extract_all('a1b22', '[0-9]+')", "[\"1\", \"22\"]")],
    )
    .fails("where the pattern of a row is none, or has no such group")
    .checked(|arguments| check(arguments, 3)),
    Signature::new(
        "regexp_count",
        &[Overload::new(&[Kind::Text, Kind::Text, Kind::Text], Gives::Int64, count).at_least(2)],
        "how many matches there are that do not overlap",
        &[("regexp_count('anabanana', 'an')", "3")],
    )
    .fails(FAILS)
    .checked(|arguments| check(arguments, 2))
    .differs("has none; as in PostgreSQL"),
    Signature::new(
        "regexp_split_to_array",
        &[Overload::new(&[Kind::Text, Kind::Text, Kind::Text], Gives::TextList, split).at_least(2)],
        "the parts between matches",
        &[("regexp_split_to_array('a1b22c', '[0-9]+')", "[\"a\", \"b\", \"c\"]")],
    )
    .aka(&["regexp_split", "string_split_regex", "str_split_regex"])
    .fails(FAILS)
    .checked(|arguments| check(arguments, 2)),
    Signature::new(
        "regexp_escape",
        &[Overload::new(&[Kind::Text], Gives::Text, escape)],
        "a pattern that matches just this text",
        &[("regexp_escape('a.b')", "a\\.b")],
    )
    .differs("only what means something in a pattern is escaped"),
];

thread_local! {
    /// Patterns with their options, compiled. A pattern that is used by a thread stays the same
    /// one, so that its scratch space is its own.
    static COMPILED: RefCell<HashMap<(String, String), Regex>> = RefCell::default();
}

/// The pattern, compiled now or before.
fn compiled(pattern: &str, options: &str) -> Result<Regex> {
    let key = (String::from(pattern), String::from(options));
    COMPILED.with_borrow_mut(|known| {
        if let Some(regex) = known.get(&key) {
            return Ok(regex.clone());
        }
        let regex = compile(pattern, options).map_err(|reason| Error::Evaluate { reason })?;
        if known.len() >= MAX_COMPILED {
            known.clear();
        }
        known.insert(key, regex.clone());
        Ok(regex)
    })
}

fn compile(pattern: &str, options: &str) -> Result<Regex, String> {
    let mut builder = RegexBuilder::new(pattern);
    builder.size_limit(MAX_COMPILED_BYTES).dfa_size_limit(MAX_COMPILED_BYTES);
    for option in options.chars() {
        match option {
            'i' => builder.case_insensitive(true),
            'c' => builder.case_insensitive(false),
            's' => builder.dot_matches_new_line(true),
            'm' | 'n' | 'p' => builder.multi_line(true),
            'g' => &mut builder,
            other => {
                return Err(format!("no option `{other}` of a pattern; there are g, i, c, s, m"));
            }
        };
    }
    builder.build().map_err(|error| {
        let text = error.to_string();
        let reason = text.lines().last().unwrap_or_default().trim().trim_start_matches("error: ");
        format!("`{pattern}` is no pattern: {reason}")
    })
}

/// Compiles a constant pattern with its constant options, which stand at `options`.
fn check(arguments: &[Expr], options: usize) -> Result<(), String> {
    let literal = |index: usize| match arguments.get(index) {
        None => Some(""),
        Some(Expr::Literal(Literal::Utf8(text))) => Some(text.as_str()),
        Some(_) => None,
    };
    match (literal(1), literal(options)) {
        (Some(pattern), Some(options)) => compile(pattern, options).map(|_| ()),
        (Some(pattern), None) => compile(pattern, "").map(|_| ()),
        (None, _) => Ok(()),
    }
}

/// The patterns of a call, by row.
struct Patterns<'a> {
    sources: Texts<'a>,
    options: Option<Texts<'a>>,
    constant: Option<Regex>,
}

impl<'a> Patterns<'a> {
    /// The second argument, with the options that stand at this place.
    fn new(call: &Call<'a>, at: usize) -> Result<Self> {
        let sources = rows::texts(call, 1)?;
        let options = if call.arguments.len() > at { Some(rows::texts(call, at)?) } else { None };
        let constant_options = options.as_ref().map_or(Some(""), Texts::constant);
        let constant = match (sources.constant(), constant_options) {
            (Some(pattern), Some(letters)) => Some(compiled(pattern, letters)?),
            _ => None,
        };
        Ok(Self { sources, options, constant })
    }

    fn at(&self, row: usize) -> Result<Regex> {
        match &self.constant {
            Some(regex) => Ok(regex.clone()),
            None => compiled(self.sources.at(row), self.options(row)),
        }
    }

    fn options(&self, row: usize) -> &'a str {
        self.options.as_ref().map_or("", |options| options.at(row))
    }

    /// Calls `use_it` with the pattern of a row; a constant one is not cloned.
    fn with<T>(&self, row: usize, use_it: impl FnOnce(&Regex) -> T) -> Result<T> {
        match &self.constant {
            Some(regex) => Ok(use_it(regex)),
            None => Ok(use_it(&self.at(row)?)),
        }
    }
}

fn matches(call: &Call<'_>) -> Result<ArrayRef> {
    let (texts, patterns) = (rows::texts(call, 0)?, Patterns::new(call, 2)?);
    rows::bools_of(call, |row| patterns.with(row, |regex| regex.is_match(texts.at(row))))
}

fn full_match(call: &Call<'_>) -> Result<ArrayRef> {
    let (texts, patterns) = (rows::texts(call, 0)?, rows::texts(call, 1)?);
    let options = if call.arguments.len() > 2 { Some(rows::texts(call, 2)?) } else { None };
    // Groups keep alternatives within the ends; a match that is found first need not be whole.
    let whole = |row: usize| {
        let options = options.as_ref().map_or("", |options| options.at(row));
        compiled(&format!(r"\A(?:{})\z", patterns.at(row)), options)
    };
    let is_constant =
        patterns.constant().is_some() && options.as_ref().is_none_or(|o| o.constant().is_some());
    let constant = if is_constant { Some(whole(0)?) } else { None };
    rows::bools_of(call, |row| match &constant {
        Some(regex) => Ok(regex.is_match(texts.at(row))),
        None => Ok(whole(row)?.is_match(texts.at(row))),
    })
}

fn count(call: &Call<'_>) -> Result<ArrayRef> {
    let (texts, patterns) = (rows::texts(call, 0)?, Patterns::new(call, 2)?);
    rows::numbers_of::<Int64Type>(call, |row| {
        let found = patterns.with(row, |regex| regex.find_iter(texts.at(row)).count())?;
        Ok(i64::try_from(found).unwrap_or(i64::MAX))
    })
}

fn replace(call: &Call<'_>) -> Result<ArrayRef> {
    let (texts, news) = (rows::texts(call, 0)?, rows::texts(call, 2)?);
    let patterns = Patterns::new(call, 3)?;
    rows::text_of(call, |row, out| {
        let (text, new) = (texts.at(row), news.at(row));
        let is_global = patterns.options(row).contains('g');
        patterns.with(row, |regex| {
            let mut written = 0;
            for found in regex.captures_iter(text) {
                let Some(whole) = found.get(0) else { break };
                out.extend(&text[written..whole.start()]);
                expand(new, &found, out);
                written = whole.end();
                rows::fits("regexp_replace", out.extended().len())?;
                if !is_global {
                    break;
                }
            }
            out.extend(&text[written..]);
            Ok(())
        })?
    })
}

/// Appends `new`, in which `\0` to `\9` are groups and `\\` is a backslash.
fn expand(new: &str, found: &Captures<'_>, out: &mut TextBuilder) {
    let mut characters = new.chars().peekable();
    while let Some(character) = characters.next() {
        if character != '\\' {
            out.extend_char(character);
            continue;
        }
        match characters.peek().copied() {
            Some(next @ '0'..='9') => {
                let group = next.to_digit(10).and_then(|digit| usize::try_from(digit).ok());
                if let Some(part) = group.and_then(|group| found.get(group)) {
                    out.extend(part.as_str());
                }
                characters.next();
            }
            Some('\\') => {
                out.extend_char('\\');
                characters.next();
            }
            _ => out.extend_char('\\'),
        }
    }
}

/// The group that a row asks for.
fn group(
    groups: Option<&rows::Numbers<'_, Int64Type>>,
    row: usize,
    regex: &Regex,
) -> Result<usize> {
    let asked = groups.map_or(0, |groups| groups.at(row));
    let group = usize::try_from(asked).ok().filter(|group| *group < regex.captures_len());
    group.ok_or_else(|| {
        let there = regex.captures_len() - 1;
        let reason = format!("`{}` has no group {asked}, but {there}", regex.as_str());
        Error::Evaluate { reason }
    })
}

fn groups<'a>(call: &Call<'a>) -> Result<Option<rows::Numbers<'a, Int64Type>>> {
    if call.arguments.len() > 2 { rows::ints(call, 2).map(Some) } else { Ok(None) }
}

fn extract(call: &Call<'_>) -> Result<ArrayRef> {
    let (patterns, groups) = (Patterns::new(call, 3)?, groups(call)?);
    rows::cut_of(call, |row, text| {
        patterns.with(row, |regex| {
            let group = group(groups.as_ref(), row, regex)?;
            let found = if group == 0 {
                regex.find(text)
            } else {
                regex.captures(text).and_then(|found| found.get(group))
            };
            Ok(found.map_or((0, 0), |found| (found.start(), found.end())))
        })?
    })
}

fn extract_all(call: &Call<'_>) -> Result<ArrayRef> {
    let (patterns, groups) = (Patterns::new(call, 3)?, groups(call)?);
    rows::cuts_of(call, |row, text, push| {
        patterns.with(row, |regex| {
            let group = group(groups.as_ref(), row, regex)?;
            for found in regex.captures_iter(text) {
                let (start, end) =
                    found.get(group).map_or((0, 0), |part| (part.start(), part.end()));
                push(start, end);
            }
            Ok(())
        })?
    })
}

fn split(call: &Call<'_>) -> Result<ArrayRef> {
    let patterns = Patterns::new(call, 2)?;
    rows::cuts_of(call, |row, text, push| {
        patterns.with(row, |regex| {
            let mut start = 0;
            for found in regex.find_iter(text) {
                push(start, found.start());
                start = found.end();
            }
            push(start, text.len());
        })
    })
}

fn escape(call: &Call<'_>) -> Result<ArrayRef> {
    let texts = rows::texts(call, 0)?;
    rows::text_of(call, |row, out| {
        out.extend(&regex::escape(texts.at(row)));
        Ok(())
    })
}
