//! What of a file a request wants: all, a part, or nothing because it has it (RFC 9110, 13 and 14).

use std::ops::Range;

use axum::http::{HeaderMap, HeaderName, header};

/// What a request wants of so many bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// All of them.
    Whole,
    /// These.
    Part(Range<u64>),
    /// Some that are not there.
    Beyond,
}

/// What is wanted of `length` bytes whose tag is `etag`. Several ranges, and what is no range of
/// bytes, are answered with the whole.
pub(super) fn wanted(headers: &HeaderMap, etag: &str, length: u64) -> Wanted {
    // A part of something else than what the client has the rest of would be of no use to it.
    if text(headers, &header::IF_RANGE).is_some_and(|known| known != etag) {
        return Wanted::Whole;
    }
    let range = text(headers, &header::RANGE).and_then(|range| range.strip_prefix("bytes="));
    match range.and_then(|range| part(range.trim(), length)) {
        None => Wanted::Whole,
        Some(part) if part.is_empty() => Wanted::Beyond,
        Some(part) => Wanted::Part(part),
    }
}

/// The bytes of a range that is well formed; none of them where it lies beyond the end.
fn part(range: &str, length: u64) -> Option<Range<u64>> {
    let number = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        // What does not fit into 64 bits is beyond the end of any file.
        is_number.then(|| text.parse::<u64>().unwrap_or(u64::MAX))
    };
    let (first, last) = range.split_once('-')?;
    if first.is_empty() {
        let count = number(last)?;
        return Some(length.saturating_sub(count)..length);
    }
    let first = number(first)?;
    let end = match last {
        "" => length,
        last => number(last).filter(|last| *last >= first)?.saturating_add(1).min(length),
    };
    Some(first.min(end)..end)
}

/// Whether the client has this very thing already, by If-None-Match.
pub(super) fn is_known(headers: &HeaderMap, etag: &str) -> bool {
    let bare = |tag: &str| String::from(tag.trim().trim_start_matches("W/"));
    let values = headers.get_all(header::IF_NONE_MATCH).iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|tag| tag.trim() == "*" || bare(tag) == bare(etag))
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim)
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderName};

    use super::{Wanted, is_known, wanted};

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), value.parse().unwrap())
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn one_range_of_bytes_is_a_part() {
        for (range, expected) in [
            ("bytes=0-3", Wanted::Part(0..4)),
            ("bytes=4-", Wanted::Part(4..10)),
            ("bytes=-3", Wanted::Part(7..10)),
            ("bytes=-30", Wanted::Part(0..10)),
            ("bytes=8-99999999999999999999", Wanted::Part(8..10)),
            ("bytes=9-9", Wanted::Part(9..10)),
            ("bytes=10-", Wanted::Beyond),
            ("bytes=10-12", Wanted::Beyond),
            ("bytes=-0", Wanted::Beyond),
            ("bytes=5-4", Wanted::Whole),
            ("bytes=0-1,3-4", Wanted::Whole),
            ("bytes=a-b", Wanted::Whole),
            ("bytes=+1-2", Wanted::Whole),
            ("bytes=-", Wanted::Whole),
            ("rows=0-3", Wanted::Whole),
        ] {
            assert_eq!(wanted(&headers(&[("range", range)]), "\"a\"", 10), expected, "{range}");
        }
        assert_eq!(wanted(&headers(&[("range", "bytes=0-0")]), "\"a\"", 0), Wanted::Beyond);
        assert_eq!(wanted(&headers(&[]), "\"a\"", 10), Wanted::Whole);
    }

    #[test]
    fn a_part_of_something_else_is_not_given() {
        let asked =
            |known| wanted(&headers(&[("range", "bytes=1-2"), ("if-range", known)]), "\"a\"", 9);
        assert_eq!(asked("\"a\""), Wanted::Part(1..3));
        for known in ["\"b\"", "W/\"a\"", "Wed, 25 Nov 2026 10:00:00 GMT"] {
            assert_eq!(asked(known), Wanted::Whole, "{known}");
        }
    }

    #[test]
    fn what_a_client_has_is_known_by_its_tag() {
        for (tags, expected) in [
            ("\"a\"", true),
            ("W/\"a\"", true),
            ("\"b\", \"a\"", true),
            ("*", true),
            ("\"b\"", false),
        ] {
            assert_eq!(is_known(&headers(&[("if-none-match", tags)]), "\"a\""), expected, "{tags}");
        }
        assert!(!is_known(&headers(&[]), "\"a\""));
    }
}
