//! Functions over text: case, trim, length, parts, joining.
//!
//! What stays as it is keeps its view, a part is a narrower view, only changed text is copied.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, StringViewArray, builder::StringViewBuilder};

use super::{Call, Gives, Kind, Nulls, Overload, Signature};
use crate::{
    Error, Result,
    expr::{
        cast::TextOf,
        evaluate::{Ints, Texts, text_array},
        text::{INLINE_BYTES, TextBuilder, TextValue},
    },
};

/// The functions over text.
pub(super) static FUNCTIONS: &[Signature] = &[
    Signature {
        aliases: &["to_lower", "lcase"],
        ..Signature::new(
            "lower",
            &[Overload::new(&[Kind::Text], Gives::Text, lower)],
            "lower case, by Unicode's full mapping",
            &[("lower('ÁRBOL Ñandú')", "árbol ñandú")],
        )
    },
    Signature {
        aliases: &["to_upper", "ucase"],
        ..Signature::new(
            "upper",
            &[Overload::new(&[Kind::Text], Gives::Text, upper)],
            "upper case, by Unicode's full mapping",
            &[("upper('añejo')", "AÑEJO")],
        )
    },
    Signature::new(
        "trim",
        &[Overload::new(&[Kind::Text], Gives::Text, trim)],
        "without blanks (U+0020) at both ends",
        &[("trim('  a b ')", "a b")],
    ),
    Signature {
        aliases: &["char_length", "character_length"],
        ..Signature::new(
            "length",
            &[Overload::new(&[Kind::Text], Gives::Int64, length)],
            "the number of characters (Unicode scalar values)",
            &[("length('añ')", "2")],
        )
    },
    Signature {
        aliases: &["substring"],
        fails: Some("where n is negative"),
        ..Signature::new(
            "substr",
            &[Overload::new(&[Kind::Text, Kind::Int64, Kind::Int64], Gives::Text, substr)
                .at_least(2)],
            "`substr(s, from[, n])`: n characters (default: all) from the from-th on, counted \
             from 1; places before the first count but hold nothing",
            &[("substr('abcdef', 2, 3)", "bcd")],
        )
    },
    Signature {
        nulls: Nulls::Never("nulls are left out"),
        ..Signature::new(
            "concat",
            &[Overload::new(&[Kind::Any], Gives::Text, concat).variadic(1)],
            "the texts of all arguments, one behind the other",
            &[("concat('a', 1, null)", "a1")],
        )
    },
];

/// Text is looked at in both cases; the values that stay keep their views.
pub(super) fn lower(call: &Call<'_>) -> Result<ArrayRef> {
    let text = text_array(call.arguments[0].array())?;
    Ok(Arc::new(change_case(text, &LOWER)))
}

pub(super) fn upper(call: &Call<'_>) -> Result<ArrayRef> {
    let text = text_array(call.arguments[0].array())?;
    Ok(Arc::new(change_case(text, &UPPER)))
}

/// The one of the two cases that is asked for.
struct Case {
    /// The first of the 26 ASCII letters that change.
    first: u8,
    /// Appends a text with characters beyond ASCII in this case.
    extend: fn(&str, &mut TextBuilder),
}

const LOWER: Case = Case { first: b'A', extend: extend_lower };
const UPPER: Case = Case { first: b'a', extend: extend_upper };

/// The high bit of each byte.
const HIGH: u128 = u128::from_le_bytes([0x80; 16]);

impl Case {
    /// Inline text in this case, in its place within the view; its bytes must be ASCII.
    ///
    /// Each byte is compared at once by adding what carries into its high bit.
    fn inline(&self, text: u128) -> u128 {
        let from_first = text + u128::from_le_bytes([0x80 - self.first; 16]);
        let behind_last = text + u128::from_le_bytes([0x80 - (self.first + 26); 16]);
        let letters = (from_first ^ behind_last) & HIGH;
        text ^ (letters >> 2)
    }

    fn changes(&self, byte: u8) -> bool {
        byte.wrapping_sub(self.first) < 26
    }
}

fn change_case(array: &StringViewArray, case: &Case) -> StringViewArray {
    let mut out = TextBuilder::with_capacity(array.len());
    let base = out.share(array);
    for (row, view) in array.views().iter().enumerate() {
        let len = view & u128::from(u32::MAX);
        let text = view >> 32;
        if len <= INLINE_BYTES as u128 && text & HIGH == 0 {
            out.push_view(case.inline(text) << 32 | len);
        } else if array.is_null(row) {
            out.push_empty();
        } else {
            let value = TextValue::new(array, row, base);
            let bytes = value.text.as_bytes();
            if value.text.is_ascii() {
                if bytes.iter().any(|byte| case.changes(*byte)) {
                    extend_ascii(value.text, case, &mut out);
                    out.push_extended();
                } else {
                    out.push_view(*view);
                }
                continue;
            }
            (case.extend)(value.text, &mut out);
            if out.extended() == bytes {
                out.discard_extended();
                out.push_view(*view);
            } else {
                out.push_extended();
            }
        }
    }
    out.finish(array.nulls().cloned())
}

/// Appends ASCII text in `case`, run by run.
fn extend_ascii(text: &str, case: &Case, out: &mut TextBuilder) {
    let mut chunk = [0; 64];
    let mut rest = text;
    while !rest.is_empty() {
        let (head, tail) = rest.split_at(rest.len().min(chunk.len()));
        for (to, from) in chunk.iter_mut().zip(head.bytes()) {
            *to = if case.changes(from) { from ^ 0x20 } else { from };
        }
        out.extend(str::from_utf8(&chunk[..head.len()]).unwrap_or(head));
        rest = tail;
    }
}

fn extend_lower(text: &str, out: &mut TextBuilder) {
    if text.contains('Σ') {
        // The one letter whose lower case depends on its place in the word.
        out.extend(&text.to_lowercase());
        return;
    }
    for character in text.chars() {
        if character.is_ascii() {
            out.extend_char(character.to_ascii_lowercase());
        } else {
            character.to_lowercase().for_each(|lower| out.extend_char(lower));
        }
    }
}

fn extend_upper(text: &str, out: &mut TextBuilder) {
    for character in text.chars() {
        character.to_uppercase().for_each(|upper| out.extend_char(upper));
    }
}

pub(super) fn trim(call: &Call<'_>) -> Result<ArrayRef> {
    let text = text_array(call.arguments[0].array())?;
    Ok(Arc::new(narrow(text, |text| {
        let start = text.len() - text.trim_start_matches(' ').len();
        Some((start, start.max(text.trim_end_matches(' ').len())))
    })))
}

/// The part of each value that `part` says, in bytes; `None` gives null.
pub(super) fn narrow(
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

pub(super) fn length(call: &Call<'_>) -> Result<ArrayRef> {
    let array = text_array(call.arguments[0].array())?;
    let count = |row| {
        let text = if array.is_null(row) { "" } else { array.value(row) };
        i64::try_from(text.chars().count()).unwrap_or(i64::MAX)
    };
    let counts: Vec<i64> = (0..array.len()).map(count).collect();
    Ok(Arc::new(Int64Array::new(counts.into(), array.nulls().cloned())))
}

pub(super) fn substr(call: &Call<'_>) -> Result<ArrayRef> {
    let from = Ints::new(&call.arguments[1])?;
    let count = call.arguments.get(2).map(Ints::new).transpose()?;
    let is_scalar = call.arguments[0].is_scalar();
    let array = text_array(call.arguments[0].array())?;
    let mut out = TextBuilder::with_capacity(call.rows);
    let base = out.share(array);
    let mut nulls = arrow::array::NullBufferBuilder::new(call.rows);
    for row in 0..call.rows {
        let place = if is_scalar { 0 } else { row };
        let count = match &count {
            None => Some(i64::MAX),
            Some(count) => count.get(row),
        };
        let (true, Some(from), Some(count)) = (array.is_valid(place), from.get(row), count) else {
            nulls.append_null();
            out.push_empty();
            continue;
        };
        if count < 0 {
            return Err(Error::Evaluate { reason: format!("substr of {count} characters") });
        }
        let value = TextValue::new(array, place, base);
        let (start, end) = characters(value.text, from, count);
        nulls.append_non_null();
        out.push_part(&value, start, end);
    }
    Ok(Arc::new(out.finish(nulls.finish())))
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
fn byte_of(text: &str, skipped: usize) -> usize {
    if skipped >= text.len() {
        return text.len();
    }
    text.char_indices().nth(skipped).map_or(text.len(), |(byte, _)| byte)
}

pub(super) fn concat(call: &Call<'_>) -> Result<ArrayRef> {
    let parts: Vec<_> = call
        .arguments
        .iter()
        .map(|argument| Ok((TextOf::new(argument.array().as_ref())?, argument)))
        .collect::<Result<_>>()?;
    let mut builder = StringViewBuilder::with_capacity(call.rows);
    let mut text = String::new();
    for row in 0..call.rows {
        text.clear();
        for (part, argument) in &parts {
            let row = if argument.is_scalar() { 0 } else { row };
            if argument.array().is_valid(row) {
                part.write(row, &mut text);
            }
        }
        builder.append_value(&text);
    }
    Ok(Arc::new(builder.finish()))
}

pub(super) fn join(call: &Call<'_>) -> Result<ArrayRef> {
    let parts: Vec<_> = call.arguments.iter().map(Texts::new).collect::<Result<_>>()?;
    let mut builder = StringViewBuilder::with_capacity(call.rows);
    let mut text = String::new();
    for row in 0..call.rows {
        text.clear();
        let is_whole = parts.iter().all(|part| part.get(row).map(|t| text.push_str(t)).is_some());
        if is_whole {
            builder.append_value(&text);
        } else {
            builder.append_null();
        }
    }
    Ok(Arc::new(builder.finish()))
}

#[cfg(test)]
mod tests {
    use arrow::array::StringViewArray;
    use proptest::prelude::*;

    use super::{LOWER, UPPER, change_case, characters};

    #[test]
    fn text_that_is_in_lower_case_keeps_its_buffer() {
        let array = StringViewArray::from_iter_values([
            "a text without any capital",
            "éòñ and so on, longer",
        ]);
        let lower = change_case(&array, &LOWER);
        assert_eq!(lower.views(), array.views());
        assert_eq!(lower.data_buffers().len(), array.data_buffers().len());
    }

    #[test]
    fn lower_case_is_unicodes_and_knows_the_final_sigma() {
        let array = StringViewArray::from_iter([
            Some("ÁRBOL Ñandú"),
            None,
            Some("ΌΣΟΣ"),
            Some("İ"),
            Some("@[Z`{"),
        ]);
        let lower = change_case(&array, &LOWER);
        let values: Vec<_> = lower.iter().collect();
        assert_eq!(
            values,
            [Some("árbol ñandú"), None, Some("όσος"), Some("i\u{307}"), Some("@[z`{")]
        );
    }

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

    proptest! {
        #[test]
        fn case_is_what_the_standard_library_says(texts in prop::collection::vec("\\PC{0,30}|[ -~]{0,30}", 0..20)) {
            let array = StringViewArray::from_iter_values(&texts);
            let lower = change_case(&array, &LOWER);
            let upper = change_case(&array, &UPPER);
            for (row, text) in texts.iter().enumerate() {
                prop_assert_eq!(lower.value(row), text.to_lowercase());
                prop_assert_eq!(upper.value(row), text.to_uppercase());
            }
        }

        #[test]
        fn a_substring_is_what_skipping_characters_gives(text in "\\PC{0,20}", from in -5i64..25, count in 0i64..25) {
            let (start, end) = characters(&text, from, count);
            let model: String = (1..).zip(text.chars())
                .filter(|(place, _)| (from..from + count).contains(place))
                .map(|(_, character)| character)
                .collect();
            prop_assert_eq!(&text[start..end], model);
        }
    }
}
