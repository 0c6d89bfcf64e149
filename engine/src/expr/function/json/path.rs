//! Paths into JSON: `$.a[0]."b c"`, `/a/0/b c`, or a member's bare name.

use super::scan::{Malformed, Scanner, Span, unescape};

/// The most steps of a path.
const MAX_STEPS: usize = 64;

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// To a member.
    Member(String),
    /// To an element, from 0.
    Element(usize),
    /// To an element, counted from the end, from 1.
    FromEnd(usize),
    /// To a member or an element, by what is there (JSON pointers do not say).
    Either(String),
}

/// The steps that a path says.
pub(super) fn parse(path: &str) -> Result<Vec<Step>, String> {
    let wrong = |what: &str| format!("'{path}' is no path: {what}; paths are as in '$.a[0].b'");
    let steps = match path.as_bytes().first() {
        Some(b'$') => dollar(&path[1..]).map_err(|what| wrong(&what))?,
        Some(b'/') => path[1..].split('/').map(pointed).collect(),
        None => Vec::new(),
        Some(_) => vec![Step::Member(String::from(path))],
    };
    if steps.len() > MAX_STEPS {
        return Err(wrong(&format!("{} steps are more than {MAX_STEPS}", steps.len())));
    }
    Ok(steps)
}

/// A step of a JSON pointer (RFC 6901).
fn pointed(part: &str) -> Step {
    Step::Either(part.replace("~1", "/").replace("~0", "~"))
}

/// The steps behind `$`.
fn dollar(path: &str) -> Result<Vec<Step>, String> {
    let mut steps = Vec::new();
    let mut rest = path;
    while let Some(first) = rest.chars().next() {
        match first {
            '.' => {
                let (name, behind) = member(&rest[1..])?;
                steps.push(Step::Member(name));
                rest = behind;
            }
            '[' => {
                let (inside, behind) =
                    rest[1..].split_once(']').ok_or("a bracket is not closed")?;
                steps.push(element(inside)?);
                rest = behind;
            }
            other => return Err(format!("`{other}` where `.` or `[` would be")),
        }
    }
    Ok(steps)
}

/// A member's name, and what is behind it.
fn member(rest: &str) -> Result<(String, &str), String> {
    if let Some(quoted) = rest.strip_prefix('"') {
        let (name, behind) = quoted.split_once('"').ok_or("a quote is not closed")?;
        return Ok((String::from(name), behind));
    }
    let end = rest.find(['.', '[']).unwrap_or(rest.len());
    match &rest[..end] {
        "" => Err(String::from("a member has no name")),
        "*" | "**" => Err(String::from("`*` is not supported")),
        name => Ok((String::from(name), &rest[end..])),
    }
}

fn element(inside: &str) -> Result<Step, String> {
    let number = |text: &str| {
        text.parse::<usize>().map_err(|_| format!("`{text}` is no place of an element"))
    };
    match inside.strip_prefix("#-").or_else(|| inside.strip_prefix('-')) {
        Some(from_end) => Ok(Step::FromEnd(number(from_end)?.max(1))),
        None if inside == "*" => Err(String::from("`*` is not supported")),
        None => number(inside).map(Step::Element),
    }
}

/// Where the value stands that the steps lead to from the next one of `scanner`, all of which is
/// read; of members of one name the first counts.
pub(super) fn find(scanner: &mut Scanner<'_>, steps: &[Step]) -> Result<Option<Span>, Malformed> {
    let Some((step, further)) = steps.split_first() else { return scanner.value().map(Some) };
    let next = scanner.peek();
    let (is_object, is_array) = (next == Some(b'{'), next == Some(b'['));
    match step {
        Step::Member(name) | Step::Either(name) if is_object => {
            let mut found = None;
            let mut is_met = false;
            scanner.members(|scanner, key| {
                if !is_met && is_name(key, name) {
                    is_met = true;
                    found = find(scanner, further)?;
                    return Ok(());
                }
                scanner.value().map(|_| ())
            })?;
            Ok(found)
        }
        Step::Element(place) if is_array => element_at(scanner, *place, further),
        Step::Either(name) if is_array => match name.parse() {
            Ok(place) => element_at(scanner, place, further),
            Err(_) => scanner.value().map(|_| None),
        },
        Step::FromEnd(place) if is_array => {
            let mut count = 0;
            let whole = *scanner;
            scanner.elements(|scanner, _| {
                count += 1;
                scanner.value().map(|_| ())
            })?;
            match usize::checked_sub(count, *place) {
                Some(place) => element_at(&mut { whole }, place, further),
                None => Ok(None),
            }
        }
        _ => scanner.value().map(|_| None),
    }
}

fn element_at(
    scanner: &mut Scanner<'_>,
    wanted: usize,
    further: &[Step],
) -> Result<Option<Span>, Malformed> {
    let mut found = None;
    scanner.elements(|scanner, place| {
        if place == wanted {
            found = find(scanner, further)?;
            return Ok(());
        }
        scanner.value().map(|_| ())
    })?;
    Ok(found)
}

/// Whether a string, with its quotes, says this name.
fn is_name(string: &str, name: &str) -> bool {
    if !string.contains('\\') {
        return string.get(1..string.len() - 1) == Some(name);
    }
    let mut said = String::new();
    unescape(string, |part| said.push_str(part));
    said == name
}

#[cfg(test)]
mod tests {
    use super::{Scanner, find, parse};

    /// The value at a path, as `DuckDB` 2.0.1 finds it.
    #[test]
    fn a_path_leads_to_a_value() {
        let at = |text: &str, path: &str| {
            find(&mut Scanner::new(text), &parse(path).unwrap())
                .unwrap()
                .map(|span| String::from(span.of(text)))
        };
        for (text, path, expected) in [
            ("{\"a\":[{\"b\":1.50}]}", "$.a[0].b", Some("1.50")),
            ("[1,2,3]", "$[-1]", Some("3")),
            ("[1,2,3]", "$[#-2]", Some("2")),
            ("[1,2,3]", "$[-4]", None),
            ("{\"a b\":1}", "$.\"a b\"", Some("1")),
            ("{\"a\":{\"b\":[5]}}", "/a/b/0", Some("5")),
            ("{\"a\":1,\"a\":2}", "$.a", Some("1")),
            ("{\"a\":1}", "$.a.b", None),
            ("{\"a\":1}", "a", Some("1")),
            ("{\"a.b\":1}", "a.b", Some("1")),
            ("[1]", "$[0].a", None),
            (" [1 , 2] ", "$", Some("[1 , 2]")),
            ("{\"\\u0061\":1}", "$.a", Some("1")),
        ] {
            assert_eq!(at(text, path).as_deref(), expected, "{text} {path}");
        }
        for bad in ["$a", "$.", "$[", "$[x]", "$.*", "$[*]", "$.\"a"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
