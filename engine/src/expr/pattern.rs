//! `like` and `ilike`: a pattern is made ready once, and most patterns need no more than a search.
//!
//! `%` stands for any characters, `_` for one character, whatever its bytes; all else, and what
//! stands behind the `escape` character, stands for itself. `ilike` folds case by Unicode's simple
//! mapping. A pattern with `_` or of `ilike` is a regular expression that never goes back, so that
//! no pattern is slow.

use std::{cell::RefCell, sync::Arc};

use arrow::{
    array::{Array, BooleanArray, StringViewArray},
    buffer::BooleanBuffer,
};
use memchr::memmem::Finder;
use regex::Regex;

use crate::{
    Error, Result,
    expr::evaluate::{Texts, Value, text_array},
};

/// The most patterns that a thread keeps ready.
const KEPT: usize = 64;

/// The most bytes that a ready pattern may take.
const SIZE_LIMIT_BYTES: usize = 4 << 20;

/// A pattern that is ready to be looked for.
enum Matcher {
    /// All of the text.
    Equal(String),
    /// Parts in their order: at the front, at the back, and between.
    Parts { front: String, between: Vec<Finder<'static>>, back: String },
    /// Anything else.
    Regex(Regex),
}

impl Matcher {
    fn matches(&self, text: &str) -> bool {
        match self {
            Self::Equal(whole) => text == whole,
            Self::Parts { front, between, back } => {
                let mut rest = text.as_bytes();
                // Nothing is compared with nothing: a masked load from where no page is takes 100 ns.
                if !front.is_empty() {
                    let Some(behind) = rest.strip_prefix(front.as_bytes()) else { return false };
                    rest = behind;
                }
                if !back.is_empty() {
                    let Some(before) = rest.strip_suffix(back.as_bytes()) else { return false };
                    rest = before;
                }
                for part in between {
                    let Some(at) = part.find(rest) else { return false };
                    rest = &rest[at + part.needle().len()..];
                }
                true
            }
            Self::Regex(regex) => regex.is_match(text),
        }
    }
}

/// A piece of a pattern.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Piece {
    Any,
    One,
    Character(char),
}

fn pieces(pattern: &str, escape: Option<char>) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        pieces.push(match character {
            character if Some(character) == escape => {
                let next = characters.next();
                let next = next.ok_or_else(|| {
                    format!("the pattern '{pattern}' ends with its escape character")
                })?;
                Piece::Character(next)
            }
            '%' => Piece::Any,
            '_' => Piece::One,
            other => Piece::Character(other),
        });
    }
    Ok(pieces)
}

/// Whether a pattern can be made ready.
pub(crate) fn check(pattern: &str, escape: Option<char>) -> Result<(), String> {
    pieces(pattern, escape).map(drop)
}

fn compile(pattern: &str, escape: Option<char>, ignores_case: bool) -> Result<Matcher> {
    let refuse = |reason| Error::Evaluate { reason };
    let pieces = pieces(pattern, escape).map_err(refuse)?;
    if ignores_case || pieces.contains(&Piece::One) {
        let mut expression = String::from(if ignores_case { "(?is)^" } else { "(?s)^" });
        for piece in pieces {
            match piece {
                Piece::Any => expression.push_str(".*"),
                Piece::One => expression.push('.'),
                Piece::Character(character) => {
                    expression.push_str(&regex::escape(character.encode_utf8(&mut [0; 4])));
                }
            }
        }
        expression.push('$');
        let built = regex::RegexBuilder::new(&expression).size_limit(SIZE_LIMIT_BYTES).build();
        return built.map(Matcher::Regex).map_err(|_| {
            refuse(format!("a pattern of {} characters is too long", pattern.chars().count()))
        });
    }
    let mut parts = vec![String::new()];
    for piece in pieces {
        match (piece, parts.last_mut()) {
            (Piece::Character(character), Some(part)) => part.push(character),
            _ => parts.push(String::new()),
        }
    }
    let back = parts.pop().unwrap_or_default();
    if parts.is_empty() {
        return Ok(Matcher::Equal(back));
    }
    let front = parts.remove(0);
    let between = parts.iter().filter(|part| !part.is_empty());
    let between = between.map(|part| Finder::new(part.as_bytes()).into_owned()).collect();
    Ok(Matcher::Parts { front, between, back })
}

/// What a pattern was made ready for.
type Key = (String, Option<char>, bool);

thread_local! {
    /// The patterns that were asked for last.
    static READY: RefCell<Vec<(Key, Arc<Matcher>)>> = const { RefCell::new(Vec::new()) };
}

/// The pattern, ready; made so once a thread.
fn ready(pattern: &str, escape: Option<char>, ignores_case: bool) -> Result<Arc<Matcher>> {
    READY.with_borrow_mut(|kept| {
        let is_it = |(text, by, ignores): &Key| {
            text == pattern && *by == escape && *ignores == ignores_case
        };
        if let Some(at) = kept.iter().position(|(key, _)| is_it(key)) {
            let found = kept.remove(at);
            let matcher = Arc::clone(&found.1);
            kept.push(found);
            return Ok(matcher);
        }
        let matcher = Arc::new(compile(pattern, escape, ignores_case)?);
        if kept.len() == KEPT {
            kept.remove(0);
        }
        kept.push(((String::from(pattern), escape, ignores_case), Arc::clone(&matcher)));
        Ok(matcher)
    })
}

/// Whether texts are like patterns; null where one of them is.
pub(crate) fn like(
    input: &Value,
    pattern: &Value,
    escape: Option<char>,
    ignores_case: bool,
    negated: bool,
    rows: usize,
) -> Result<Value> {
    let is_scalar = input.is_scalar() && pattern.is_scalar();
    if pattern.is_scalar() {
        let texts = text_array(input.array())?;
        let Some(one) = Texts::new(pattern)?.get(0) else {
            return Ok(Value::new(Arc::new(BooleanArray::new_null(texts.len())), is_scalar));
        };
        let matcher = ready(one, escape, ignores_case)?;
        return Ok(Value::new(Arc::new(all_like(texts, &matcher, negated)), is_scalar));
    }
    let (texts, patterns) = (Texts::new(input)?, Texts::new(pattern)?);
    let found = (0..rows).map(|row| {
        let Some((text, one)) = texts.get(row).zip(patterns.get(row)) else { return Ok(None) };
        let matcher = ready(one, escape, ignores_case)?;
        Ok(Some(matcher.matches(text) != negated))
    });
    let found: BooleanArray = found.collect::<Result<_>>()?;
    Ok(Value::new(Arc::new(found), is_scalar))
}

fn all_like(texts: &StringViewArray, matcher: &Matcher, negated: bool) -> BooleanArray {
    let bits = BooleanBuffer::collect_bool(texts.len(), |row| {
        texts.is_valid(row) && matcher.matches(texts.value(row)) != negated
    });
    BooleanArray::new(bits, texts.nulls().cloned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{check, compile};

    fn matches(text: &str, pattern: &str) -> bool {
        compile(pattern, Some('\\'), false).unwrap().matches(text)
    }

    #[test]
    fn a_pattern_matches_the_whole_text() {
        for (text, pattern, expected) in [
            ("", "", true),
            ("", "%", true),
            ("", "_", false),
            ("abc", "abc", true),
            ("abc", "ab", false),
            ("abc", "a%", true),
            ("abc", "%c", true),
            ("abc", "%b%", true),
            ("abc", "a%c", true),
            ("aba", "ab%ba", false),
            ("abba", "ab%ba", true),
            ("abc", "%bc%b%", false),
            ("special requests, special", "%special%requests%", true),
            ("requests special", "%special%requests%", false),
            ("aüc", "a_c", true),
            ("a\nc", "a_c", true),
            ("a\nb", "a%b", true),
            ("50%", "50\\%", true),
            ("50x", "50\\%", false),
            ("a.c", "a.c", true),
            ("abc", "a.c", false),
            ("a_b", "a\\_b", true),
            ("\\", "\\\\", true),
        ] {
            assert_eq!(matches(text, pattern), expected, "{text:?} like {pattern:?}");
        }
        assert!(check("a\\", Some('\\')).is_err());
    }

    #[test]
    fn ilike_folds_case_beyond_ascii() {
        for (text, pattern) in [("STRAßE", "straß_"), ("ÄÖ", "%ö"), ("a.B", "A.b")] {
            assert!(compile(pattern, None, true).unwrap().matches(text), "{text} ilike {pattern}");
        }
    }

    /// The obvious way.
    fn slow(text: &[char], pattern: &[char]) -> bool {
        match pattern {
            [] => text.is_empty(),
            ['%', rest @ ..] => (0..=text.len()).any(|at| slow(&text[at..], rest)),
            ['_', rest @ ..] => !text.is_empty() && slow(&text[1..], rest),
            [first, rest @ ..] => text.first() == Some(first) && slow(&text[1..], rest),
        }
    }

    proptest! {
        #[test]
        fn a_fast_pattern_finds_what_a_slow_one_does(text in "[abü]{0,8}", pattern in "[abü%_]{0,6}") {
            let chars = |from: &str| from.chars().collect::<Vec<_>>();
            let expected = slow(&chars(&text), &chars(&pattern));
            prop_assert_eq!(compile(&pattern, None, false).unwrap().matches(&text), expected);
            prop_assert_eq!(compile(&pattern, None, true).unwrap().matches(&text), expected);
        }
    }
}
