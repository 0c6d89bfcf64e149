//! Patterns in Spark's words: `like`, separators, and regular expressions, which are Java's there.
//!
//! A regular expression must be a constant. It is read sign by sign: what both languages mean alike
//! stays, what Java writes otherwise (`$`) is written so, and all else is refused.

use std::{iter::Peekable, str::Chars};

use regex::Regex;

use super::{
    super::{
        Written,
        expression::{Scope, text},
    },
    function::{Call, Tried},
    long, quoted,
};
use crate::expr::{Expr, Literal};

/// Signs that mean something in a regular expression.
const SIGNS: &str = r"\.[]{}()*+-?^$|&~#";

/// What `like` compares with: Spark's escape is a backslash where none is said.
///
/// # Errors
/// As the pattern's.
pub(in crate::plan::sql) fn pattern(
    pattern: &Expr,
    escape: Option<char>,
    scope: Scope<'_>,
) -> Written {
    let Expr::Literal(Literal::Utf8(constant)) = pattern else {
        let pattern = text(pattern, scope)?;
        return Ok(match escape {
            Some(escape) => format!("{pattern} escape {}", quoted(&escape.to_string())),
            None => format!("replace({pattern}, '\\\\', '\\\\\\\\')"),
        });
    };
    let mut written = String::new();
    let mut signs = constant.chars();
    while let Some(sign) = signs.next() {
        if Some(sign) == escape {
            let Some(escaped) = signs.next() else { continue };
            if matches!(escaped, '%' | '_' | '\\') {
                written.push('\\');
            }
            written.push(escaped);
        } else {
            if sign == '\\' {
                written.push('\\');
            }
            written.push(sign);
        }
    }
    Ok(quoted(&written))
}

/// The parts of a text between separators; its characters where there is none.
pub(in crate::plan::sql) fn split(text: &str, separator: &str) -> String {
    if separator.is_empty() {
        return format!("filter(split({text}, ''), e -> e <> '')");
    }
    let mut pattern = String::new();
    for sign in separator.chars() {
        if SIGNS.contains(sign) {
            pattern.push('\\');
        }
        pattern.push(sign);
    }
    format!("split({text}, {}, -1)", quoted(&pattern))
}

/// A call of a function of patterns.
pub(super) fn call(call: &Call<'_>) -> Tried {
    let options = match call.name {
        "regexp_replace" | "regexp_extract" | "regexp_extract_all" => 3,
        "regexp_matches" | "regexp_full_match" | "regexp_count" | "regexp_split_to_array" => 2,
        "string_split" => {
            return match (call.constant(1), call.texts.first()) {
                (Some(separator), Some(text)) => Ok(Some(split(text, separator))),
                _ => call.refused("takes a constant separator in Spark"),
            };
        }
        _ => return Ok(None),
    };
    let letters = if call.texts.len() > options { call.constant(options) } else { Some("") };
    let (Some(pattern), Some(letters), Some(text)) =
        (call.constant(1), letters, call.texts.first())
    else {
        return call.refused("takes a constant pattern in Spark");
    };
    let java = Java::of(pattern, letters)
        .map_err(|why| format!("the pattern {} has {why} in Spark", quoted(pattern)))?;
    let group = || match (call.texts.get(2), call.whole(2)) {
        (None, _) => Ok(String::from("0")),
        (Some(_), Some(group)) => Ok(group.to_string()),
        (Some(_), None) => call.refused("takes a constant group in Spark"),
    };
    let (flags, body) = (&java.flags, &java.body);
    let whole = || quoted(&format!("{flags}{body}"));
    // Where a match may be empty the two do not agree on what follows another.
    let again = || {
        if java.may_be_empty {
            return call.refused("of a pattern that matches the empty text has no SQL in Spark");
        }
        Ok(whole())
    };
    Ok(Some(match call.name {
        "regexp_matches" => format!("regexp_like({text}, {})", whole()),
        "regexp_full_match" => {
            format!("regexp_like({text}, {})", quoted(&format!("{flags}\\A(?:{body})\\z")))
        }
        "regexp_extract" => format!("regexp_extract({text}, {}, {})", whole(), group()?),
        "regexp_extract_all" => format!("regexp_extract_all({text}, {}, {})", again()?, group()?),
        "regexp_count" => long(&format!("regexp_count({text}, {})", again()?)),
        "regexp_split_to_array" => format!("split({text}, {}, -1)", again()?),
        _ => {
            let Some(new) = call.constant(2) else {
                return call.refused("takes a constant replacement in Spark");
            };
            if letters.contains('g') {
                let new = quoted(&replacement(new, 0));
                format!("regexp_replace({text}, {}, {new})", again()?)
            } else {
                // The first match alone, behind all that stands before it.
                let first = quoted(&format!("{flags}\\A((?s:.*?))({body})"));
                let new = quoted(&format!("$1{}", replacement(new, 2)));
                format!("regexp_replace({text}, {first}, {new})")
            }
        }
    }))
}

/// What matches are replaced by, whose groups have numbers that are so much greater.
fn replacement(new: &str, further: u32) -> String {
    let mut written = String::new();
    let mut signs = new.chars().peekable();
    while let Some(sign) = signs.next() {
        let group = signs.peek().and_then(|next| next.to_digit(10));
        match (sign, group) {
            ('\\', Some(group)) => {
                signs.next();
                written.push('$');
                written += &(group + further).to_string();
                // A digit behind it would be one more of its number.
                if let Some(digit) = signs.next_if(char::is_ascii_digit) {
                    written.push('\\');
                    written.push(digit);
                }
            }
            ('\\', None) => {
                written += "\\\\";
                signs.next_if_eq(&'\\');
            }
            ('$', _) => written += "\\$",
            (other, _) => written.push(other),
        }
    }
    written
}

/// A regular expression in Java's words.
struct Java {
    /// `(?…)` in front of it.
    flags: String,
    /// The rest.
    body: String,
    /// Whether it may match the empty text.
    may_be_empty: bool,
}

impl Java {
    /// The pattern with its options; or what it has that Java has not.
    fn of(pattern: &str, options: &str) -> Result<Self, String> {
        // A line ends with a newline alone, and classes are Unicode's.
        let mut flags = String::from("(?dU");
        for option in options.chars() {
            match option {
                'i' | 's' => flags.push(option),
                'c' => flags.retain(|flag| flag != 'i'),
                'g' => {}
                _ => return Err(String::from("lines of their own, which end otherwise")),
            }
        }
        flags.push(')');
        let mut read =
            Reader { signs: pattern.chars().peekable(), body: String::new(), bare: String::new() };
        read.all()?;
        let bare = Regex::new(&format!("^(?:{})$", read.bare));
        let may_be_empty = bare.is_ok_and(|bare| bare.is_match(""));
        Ok(Self { flags, body: read.body, may_be_empty })
    }
}

/// Reads a pattern, and writes it for Java.
struct Reader<'a> {
    signs: Peekable<Chars<'a>>,
    body: String,
    /// It as it is, without what stands between characters.
    bare: String,
}

impl Reader<'_> {
    fn all(&mut self) -> Result<(), String> {
        while let Some(sign) = self.signs.next() {
            match sign {
                '\\' => self.escaped(false)?,
                '[' => self.class()?,
                '$' => self.body += "\\z",
                '^' => self.body.push('^'),
                '(' => {
                    self.both("(");
                    if self.signs.next_if_eq(&'?').is_some() {
                        if self.signs.next_if_eq(&':').is_none() {
                            return Err(String::from(
                                "a group with a name or flags, which are others",
                            ));
                        }
                        self.both("?:");
                    }
                }
                '*' | '+' | '?' => self.repeated(&sign.to_string())?,
                '{' => {
                    let mut count = String::from("{");
                    while let Some(next) = self.signs.next_if(|next| *next != '}') {
                        count.push(next);
                    }
                    self.signs.next();
                    count.push('}');
                    let is_count = count[1..].starts_with(|first: char| first.is_ascii_digit());
                    if !is_count {
                        return Err(String::from("a brace, which is another"));
                    }
                    self.repeated(&count)?;
                }
                other => self.both(other.encode_utf8(&mut [0; 4])),
            }
        }
        Ok(())
    }

    fn both(&mut self, text: &str) {
        self.body += text;
        self.bare += text;
    }

    /// How often; a plus behind it is possessive in Java.
    fn repeated(&mut self, often: &str) -> Result<(), String> {
        self.both(often);
        if self.signs.peek() == Some(&'+') {
            return Err(String::from("a repetition of a repetition, which is another"));
        }
        Ok(())
    }

    /// What stands behind a backslash.
    fn escaped(&mut self, in_class: bool) -> Result<(), String> {
        let refused = |sign: char| Err(format!("`\\{sign}`, which is another"));
        let Some(sign) = self.signs.next() else { return Ok(()) };
        match sign {
            'b' | 'B' | 'A' | 'z' if !in_class => {
                self.body.push('\\');
                self.body.push(sign);
            }
            'd' | 'D' | 'w' | 'W' | 's' | 'S' | 't' | 'n' | 'r' | 'f' | 'a' | 'x' => {
                self.both("\\");
                self.both(sign.encode_utf8(&mut [0; 4]));
                if sign == 'x' && self.signs.peek() == Some(&'{') {
                    while let Some(next) = self.signs.next_if(|next| *next != '}') {
                        self.both(next.encode_utf8(&mut [0; 4]));
                    }
                }
            }
            'p' | 'P' => {
                let mut class = String::new();
                if self.signs.next_if_eq(&'{').is_some() {
                    while let Some(next) = self.signs.next_if(|next| *next != '}') {
                        class.push(next);
                    }
                    self.signs.next();
                } else {
                    class.extend(self.signs.next());
                }
                let is_category =
                    class.len() <= 2 && class.starts_with(|c: char| c.is_ascii_uppercase());
                if !is_category {
                    return refused(sign);
                }
                self.both(&format!("\\{sign}{{{class}}}"));
            }
            sign if sign.is_ascii_punctuation() => {
                self.both("\\");
                self.both(sign.encode_utf8(&mut [0; 4]));
            }
            sign => return refused(sign),
        }
        Ok(())
    }

    /// A class of characters.
    fn class(&mut self) -> Result<(), String> {
        self.both("[");
        if self.signs.next_if_eq(&'^').is_some() {
            self.both("^");
        }
        let refused = Err(String::from("a class of classes, which is another"));
        if self.signs.peek() == Some(&']') {
            return refused;
        }
        while let Some(sign) = self.signs.next() {
            match sign {
                ']' => {
                    self.both("]");
                    return Ok(());
                }
                '\\' => self.escaped(true)?,
                '[' => return refused,
                '&' | '-' | '~' if self.signs.peek() == Some(&sign) => return refused,
                other => self.both(other.encode_utf8(&mut [0; 4])),
            }
        }
        Ok(())
    }
}
