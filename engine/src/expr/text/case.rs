//! Lower and upper case, by Unicode's full mapping; ASCII is changed sixteen bytes at a time.

use arrow::array::{Array, StringViewArray};

use super::{INLINE_BYTES, TextBuilder, TextValue};

/// The one of the two cases that is asked for.
pub(crate) struct Case {
    /// The first of the 26 ASCII letters that change.
    first: u8,
    /// Appends a text with characters beyond ASCII in this case.
    extend_wide: fn(&str, &mut TextBuilder),
}

/// Lower case.
pub(crate) const LOWER: Case = Case { first: b'A', extend_wide: extend_lower };
/// Upper case.
pub(crate) const UPPER: Case = Case { first: b'a', extend_wide: extend_upper };

/// The high bit of each byte.
const HIGH: u128 = u128::from_le_bytes([0x80; 16]);

impl Case {
    /// Up to sixteen bytes in this case, all of them ASCII.
    ///
    /// Each byte is compared at once by adding what carries into its high bit.
    fn inline(&self, text: u128) -> u128 {
        let from_first = text + u128::from_le_bytes([0x80 - self.first; 16]);
        let behind_last = text + u128::from_le_bytes([0x80 - (self.first + 26); 16]);
        let letters = (from_first ^ behind_last) & HIGH;
        text ^ (letters >> 2)
    }

    /// Eight bytes in this case, all of them ASCII.
    #[inline]
    pub(crate) fn word(&self, text: u64) -> u64 {
        let from_first = text.wrapping_add(u64::from_le_bytes([0x80 - self.first; 8]));
        let behind_last = text.wrapping_add(u64::from_le_bytes([0x80 - (self.first + 26); 8]));
        let letters = (from_first ^ behind_last) & u64::from_le_bytes([0x80; 8]);
        text ^ (letters >> 2)
    }

    /// Puts `text` in this case as the value that is being extended, and says whether it did:
    /// text that is in it already is left where it is.
    pub(crate) fn put(&self, text: &str, out: &mut TextBuilder) -> bool {
        let is_changed = out.extend_ascii(text, |word| self.word(word)).unwrap_or_else(|| {
            (self.extend_wide)(text, out);
            out.extended() != text.as_bytes()
        });
        if !is_changed {
            out.discard_extended();
        }
        is_changed
    }
}

/// All values in a case; those that are in it already keep their views.
pub(crate) fn change_case(array: &StringViewArray, case: &Case) -> StringViewArray {
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
            if case.put(value.text, &mut out) {
                out.push_extended();
            } else {
                out.push_view(*view);
            }
        }
    }
    out.finish(array.nulls().cloned())
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
