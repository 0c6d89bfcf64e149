//! Parts of texts, which stay where they are: trim, substr, left, right, `split_part`.

use arrow::array::{Array, ArrayRef, StringViewArray};

use crate::{
    Error, Result,
    expr::{
        function::{Call, rows},
        text::{TextBuilder, TextValue},
    },
};

/// Which ends are trimmed.
#[derive(Clone, Copy)]
enum Ends {
    Both,
    First,
    Last,
}

pub(in crate::expr::function) fn trim(call: &Call<'_>) -> Result<ArrayRef> {
    trimmed(call, Ends::Both)
}

pub(in crate::expr::function) fn ltrim(call: &Call<'_>) -> Result<ArrayRef> {
    trimmed(call, Ends::First)
}

pub(in crate::expr::function) fn rtrim(call: &Call<'_>) -> Result<ArrayRef> {
    trimmed(call, Ends::Last)
}

fn trimmed(call: &Call<'_>, ends: Ends) -> Result<ArrayRef> {
    if call.arguments.len() == 1 {
        return rows::cut_of(call, |_, text| Ok(bounds(text, ends, |character| character == ' ')));
    }
    let characters = rows::texts(call, 1)?;
    rows::cut_of(call, |row, text| {
        let set = characters.at(row);
        Ok(bounds(text, ends, |character| set.contains(character)))
    })
}

/// Where what is left begins and ends.
fn bounds(text: &str, ends: Ends, goes: impl Fn(char) -> bool + Copy) -> (usize, usize) {
    let start = match ends {
        Ends::Last => 0,
        Ends::Both | Ends::First => text.len() - text.trim_start_matches(goes).len(),
    };
    let end = match ends {
        Ends::First => text.len(),
        Ends::Both | Ends::Last => text.trim_end_matches(goes).len(),
    };
    (start, start.max(end))
}

/// The part of each value that `part` says, in bytes; `None` gives null.
pub(in crate::expr::function) fn narrow(
    array: &StringViewArray,
    part: impl Fn(&str) -> Option<(usize, usize)>,
) -> StringViewArray {
    let mut out = TextBuilder::with_capacity(array.len());
    let base = out.share(array);
    let mut nulls = arrow::array::NullBufferBuilder::new(array.len());
    for row in 0..array.len() {
        let whole = array.is_valid(row).then(|| TextValue::new(array, row, base));
        let bounds = whole.and_then(|whole| Some((whole, part(whole.text)?)));
        nulls.append(bounds.is_some());
        match bounds {
            Some((value, (start, end))) => out.push_part(&value, start, end),
            None => out.push_empty(),
        }
    }
    out.finish(nulls.finish())
}

pub(in crate::expr::function) fn substr(call: &Call<'_>) -> Result<ArrayRef> {
    let from = rows::ints(call, 1)?;
    let count = if call.arguments.len() > 2 { Some(rows::ints(call, 2)?) } else { None };
    rows::cut_of(call, |row, text| {
        let count = count.as_ref().map_or(i64::MAX, |count| count.at(row));
        if count < 0 {
            return Err(Error::Evaluate { reason: format!("substr of {count} characters") });
        }
        Ok(characters(text, from.at(row), count))
    })
}

pub(in crate::expr::function) fn left(call: &Call<'_>) -> Result<ArrayRef> {
    let count = rows::ints(call, 1)?;
    rows::cut_of(call, |row, text| Ok((0, split(text, count.at(row)))))
}

pub(in crate::expr::function) fn right(call: &Call<'_>) -> Result<ArrayRef> {
    let count = rows::ints(call, 1)?;
    rows::cut_of(call, |row, text| {
        let count = count.at(row);
        let start = if count == 0 { text.len() } else { split(text, count.saturating_neg()) };
        Ok((start, text.len()))
    })
}

/// Where the first `count` characters end; where the last `-count` begin.
fn split(text: &str, count: i64) -> usize {
    let distance = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    if count >= 0 {
        return byte_of(text, distance);
    }
    if distance >= text.len() && text.is_ascii() || distance > text.len() {
        return 0;
    }
    text.char_indices().rev().nth(distance - 1).map_or(0, |(byte, _)| byte)
}

pub(in crate::expr::function) fn split_part(call: &Call<'_>) -> Result<ArrayRef> {
    let separators = rows::texts(call, 1)?;
    let places = rows::ints(call, 2)?;
    rows::cut_of(call, |row, text| Ok(part(text, separators.at(row), places.at(row))))
}

/// The place-th of the parts between separators, from 1, or from the end where it is negative;
/// without separator every character is a part.
fn part(text: &str, separator: &str, place: i64) -> (usize, usize) {
    let skipped = usize::try_from(place.unsigned_abs()).unwrap_or(usize::MAX);
    if skipped == 0 {
        return (0, 0);
    }
    if separator.is_empty() {
        let mut characters = text.char_indices();
        let found =
            if place > 0 { characters.nth(skipped - 1) } else { characters.nth_back(skipped - 1) };
        return found.map_or((0, 0), |(byte, character)| (byte, byte + character.len_utf8()));
    }
    if place > 0 {
        let mut start = 0;
        let mut ends = text.match_indices(separator);
        for _ in 1..skipped {
            match ends.next() {
                Some((at, _)) => start = at + separator.len(),
                None => return (0, 0),
            }
        }
        return (start, ends.next().map_or(text.len(), |(at, _)| at));
    }
    // From the end, by the same separators: those that overlap are taken from the front.
    let places: Vec<_> = text.match_indices(separator).map(|(at, _)| at).collect();
    let Some(index) = (places.len() + 1).checked_sub(skipped) else { return (0, 0) };
    let start = if index == 0 { 0 } else { places[index - 1] + separator.len() };
    (start, places.get(index).copied().unwrap_or(text.len()))
}

/// The bytes of `count` characters from the `from`-th on, counted from 1.
fn characters(text: &str, from: i64, count: i64) -> (usize, usize) {
    let behind = from.saturating_add(count).max(1);
    let first = from.max(1);
    let skipped = usize::try_from(first - 1).unwrap_or(usize::MAX);
    let kept = usize::try_from(behind.saturating_sub(first)).unwrap_or(0);
    let start = byte_of(text, skipped);
    (start, start + byte_of(&text[start..], kept))
}

/// Where the character stands that has `skipped` before it; the text's end where it has none.
pub(in crate::expr::function) fn byte_of(text: &str, skipped: usize) -> usize {
    if skipped >= text.len() {
        return text.len();
    }
    if text.as_bytes()[..skipped].is_ascii() {
        return skipped;
    }
    text.char_indices().nth(skipped).map_or(text.len(), |(byte, _)| byte)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{characters, part, split};

    #[test]
    fn places_before_the_first_character_hold_nothing() {
        let part = |from, count| {
            let (start, end) = characters("añbc", from, count);
            &"añbc"[start..end]
        };
        assert_eq!(part(1, 2), "añ");
        assert_eq!(part(2, i64::MAX), "ñbc");
        assert_eq!(part(0, 2), "a");
        assert_eq!(part(-5, 3), "");
        assert_eq!(part(9, 1), "");
        assert_eq!(part(i64::MIN, i64::MAX), "");
        assert_eq!(part(i64::MAX, i64::MAX), "");
    }

    #[test]
    fn parts_are_counted_from_either_end() {
        let of = |text: &'static str, separator, place| {
            let (start, end) = part(text, separator, place);
            &text[start..end]
        };
        assert_eq!(
            [1, 2, 3, 4, 0, -1, -3, -4].map(|n| of("a,,c", ",", n)),
            ["a", "", "c", "", "", "c", "a", ""]
        );
        assert_eq!([1, 2, -1, 4].map(|n| of("añb", "", n)), ["a", "ñ", "b", ""]);
        assert_eq!(of("aaa", "aa", -1), "a");
    }

    proptest! {
        #[test]
        fn a_substring_is_what_skipping_characters_gives(text in "\\PC{0,20}", from in -5i64..25, count in 0i64..25) {
            let (start, end) = characters(&text, from, count);
            let model: String = (1..).zip(text.chars())
                .filter(|(place, _)| (from..from + count).contains(place))
                .map(|(_, character)| character)
                .collect();
            prop_assert_eq!(&text[start..end], model);
        }

        #[test]
        fn the_first_and_the_others_are_the_whole(text in "\\PC{0,20}", count in -25i64..25) {
            let at = split(&text, count);
            let characters = text.chars().count();
            let kept = text[..at].chars().count();
            let distance = usize::try_from(count.unsigned_abs()).unwrap();
            let expected = if count >= 0 { distance.min(characters) } else { characters.saturating_sub(distance) };
            prop_assert_eq!(kept, expected);
        }
    }
}
