//! Lower and upper case, by Unicode's full mapping; ASCII is changed sixteen bytes at a time.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, StringViewArray};

use crate::{
    Result,
    expr::{
        evaluate::text_array,
        function::{Call, rows},
        text::{INLINE_BYTES, TextBuilder, TextValue},
    },
};

/// Text is looked at in both cases; the values that stay keep their views.
pub(in crate::expr::function) fn lower(call: &Call<'_>) -> Result<ArrayRef> {
    let text = text_array(call.arguments[0].array())?;
    Ok(Arc::new(change_case(text, &LOWER)))
}

pub(in crate::expr::function) fn upper(call: &Call<'_>) -> Result<ArrayRef> {
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

/// The first letter of each word in upper case, the others in lower; words are letters and digits.
pub(in crate::expr::function) fn initcap(call: &Call<'_>) -> Result<ArrayRef> {
    let texts = rows::texts(call, 0)?;
    rows::text_of(call, |row, out| {
        let mut is_inside = false;
        for character in texts.at(row).chars() {
            if is_inside {
                character.to_lowercase().for_each(|lower| out.extend_char(lower));
            } else {
                character.to_uppercase().for_each(|upper| out.extend_char(upper));
            }
            is_inside = character.is_alphanumeric();
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use arrow::array::StringViewArray;
    use proptest::prelude::*;

    use super::{LOWER, UPPER, change_case};

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
    }
}
