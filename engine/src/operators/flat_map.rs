//! `flat_map`: a row becomes as many rows as it has tokens.
//!
//! The hot path of a word count. A token is a view into its line; only one with removed
//! characters inside is copied. It knows no other way to cut text than `tokenize`'s.

use std::sync::Arc;

use arrow::{
    array::{Array, RecordBatch, StringViewArray, cast::AsArray},
    datatypes::SchemaRef,
};

use crate::{
    Error, Result,
    expr::text::{TextBuilder, TextValue},
    operators::Operator,
};

/// How many tokens an output batch has at most: their views stay in the cache.
const BATCH_TOKENS: usize = 8192;

/// Replaces each row by the tokens of its text columns: `. , ; ? ! -` are removed, what is left is
/// split on Unicode white space, empty tokens are dropped.
///
/// - Shape: one text column; at most 8192 rows a batch; a null has no tokens.
/// - Order: rows keep theirs; a row's tokens come column by column, from left to right.
/// - Memory: 16 bytes a token of one batch; the batch pins the text it came from.
/// - Errors: those of its input.
pub struct Tokenize {
    input: Box<dyn Operator>,
    columns: Vec<usize>,
    schema: SchemaRef,
    current: Option<Position>,
}

/// Where in an input batch the next output batch begins.
struct Position {
    texts: Vec<StringViewArray>,
    row: usize,
    column: usize,
    byte: usize,
}

impl Tokenize {
    /// Of the text columns `columns` of `input`, in that order; `schema` has the one output column.
    pub fn new(input: Box<dyn Operator>, columns: Vec<usize>, schema: SchemaRef) -> Self {
        Self { input, columns, schema, current: None }
    }

    fn texts(&self, batch: &RecordBatch) -> Result<Vec<StringViewArray>> {
        let text = |column: &usize| {
            let array = batch.columns().get(*column);
            array.and_then(|array| array.as_string_view_opt()).cloned().ok_or_else(|| {
                Error::Internal(format!("tokenize: column {column} is not a text column"))
            })
        };
        self.columns.iter().map(text).collect()
    }
}

impl Operator for Tokenize {
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            let Some(position) = &mut self.current else {
                let Some(batch) = self.input.next()? else { return Ok(None) };
                let texts = self.texts(&batch)?;
                self.current = Some(Position { texts, row: 0, column: 0, byte: 0 });
                continue;
            };
            let (tokens, is_done) = position.advance();
            if is_done {
                self.current = None;
            }
            if !tokens.is_empty() {
                let columns = vec![Arc::new(tokens) as _];
                return Ok(Some(RecordBatch::try_new(Arc::clone(&self.schema), columns)?));
            }
        }
    }
}

impl Position {
    /// The next tokens, and whether they were the last.
    fn advance(&mut self) -> (StringViewArray, bool) {
        let mut tokens = TextBuilder::with_capacity(BATCH_TOKENS);
        let bases: Vec<_> = self.texts.iter().map(|text| tokens.share(text)).collect();
        let rows = self.texts.first().map_or(0, Array::len);
        while self.row < rows {
            while let Some(text) = self.texts.get(self.column) {
                if text.is_valid(self.row) {
                    let value = TextValue::new(text, self.row, bases[self.column]);
                    self.byte = push_tokens(&value, self.byte, &mut tokens);
                    if self.byte < value.text.len() {
                        return (tokens.finish(None), false);
                    }
                }
                self.byte = 0;
                self.column += 1;
            }
            self.column = 0;
            self.row += 1;
        }
        (tokens.finish(None), true)
    }
}

/// What a byte can be, as far as it alone can say.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Part of a token.
    Token,
    /// ASCII white space.
    Space,
    /// One of `. , ; ? ! -`.
    Removed,
    /// The first byte of a character that may be white space.
    Lead,
}

/// The class of every byte. The bytes behind a first one are [`Class::Token`].
const CLASSES: [Class; 256] = {
    let mut classes = [Class::Token; 256];
    let mut byte = 0x09;
    while byte <= 0x0D {
        classes[byte] = Class::Space;
        byte += 1;
    }
    classes[b' ' as usize] = Class::Space;
    let removed = b".,;?!-";
    let mut index = 0;
    while index < removed.len() {
        classes[removed[index] as usize] = Class::Removed;
        index += 1;
    }
    classes[0xC2] = Class::Lead;
    classes[0xE1] = Class::Lead;
    classes[0xE2] = Class::Lead;
    classes[0xE3] = Class::Lead;
    classes
};

fn class(byte: u8) -> Class {
    CLASSES[usize::from(byte)]
}

/// How many bytes the white space takes with which `bytes` begins; 0 where it is none.
fn space_width(bytes: &[u8]) -> usize {
    match bytes {
        [byte, ..] if class(*byte) == Class::Space => 1,
        [0xC2, 0x85 | 0xA0, ..] => 2,
        [0xE1, 0x9A, 0x80, ..]
        | [0xE2, 0x80, 0x80..=0x8A | 0xA8 | 0xA9 | 0xAF, ..]
        | [0xE2, 0x81, 0x9F, ..]
        | [0xE3, 0x80, 0x80, ..] => 3,
        _ => 0,
    }
}

/// Appends the tokens of `value` from byte `at` on, until there are [`BATCH_TOKENS`]. Returns the
/// byte at which to go on, the text's length at its end.
fn push_tokens(value: &TextValue<'_>, mut at: usize, tokens: &mut TextBuilder) -> usize {
    let bytes = value.text.as_bytes();
    while let Some(byte) = bytes.get(at) {
        match class(*byte) {
            Class::Space | Class::Removed => {
                at += 1;
                continue;
            }
            Class::Lead => {
                let width = space_width(&bytes[at..]);
                if width > 0 {
                    at += width;
                    continue;
                }
            }
            Class::Token => {}
        }
        if tokens.len() >= BATCH_TOKENS {
            return at;
        }
        let start = at;
        let end = run_end(bytes, start);
        at = removed_end(bytes, end);
        if at == end || at == bytes.len() || space_width(&bytes[at..]) > 0 {
            tokens.push_part(value, start, end);
        } else {
            at = push_joined(value.text, start, tokens);
        }
    }
    at
}

/// Where the run of token bytes ends that begins at `at`.
fn run_end(bytes: &[u8], mut at: usize) -> usize {
    while let Some(byte) = bytes.get(at) {
        match class(*byte) {
            Class::Space | Class::Removed => break,
            Class::Lead if space_width(&bytes[at..]) > 0 => break,
            Class::Token | Class::Lead => {}
        }
        at += 1;
    }
    at
}

/// Where the run of removed characters ends that begins at `at`.
fn removed_end(bytes: &[u8], mut at: usize) -> usize {
    while bytes.get(at).is_some_and(|byte| class(*byte) == Class::Removed) {
        at += 1;
    }
    at
}

/// Appends the token that begins at `at` and has removed characters inside; returns its end.
fn push_joined(text: &str, mut at: usize, tokens: &mut TextBuilder) -> usize {
    let bytes = text.as_bytes();
    loop {
        let end = run_end(bytes, at);
        tokens.extend(&text[at..end]);
        at = removed_end(bytes, end);
        if at == end || at == bytes.len() {
            break;
        }
    }
    tokens.push_extended();
    at
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::{
        array::{ArrayRef, RecordBatch, StringViewArray, cast::AsArray},
        datatypes::{DataType, Field, Schema},
    };
    use proptest::prelude::*;

    use super::{BATCH_TOKENS, Tokenize, space_width};
    use crate::operators::{Batches, Operator};

    fn text(values: &[Option<&str>]) -> ArrayRef {
        Arc::new(values.iter().copied().collect::<StringViewArray>())
    }

    fn run(columns: Vec<ArrayRef>) -> Vec<RecordBatch> {
        let fields: Vec<_> = (0..columns.len())
            .map(|index| Field::new(format!("c{index}"), DataType::Utf8View, true))
            .collect();
        let indices = (0..columns.len()).collect();
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
        let schema = Arc::new(Schema::new(vec![Field::new("token", DataType::Utf8View, true)]));
        let input = Box::new(Batches::new(vec![batch]));
        let mut operator = Tokenize::new(input, indices, schema);
        let mut batches = Vec::new();
        while let Some(next) = operator.next().unwrap() {
            batches.push(next);
        }
        batches
    }

    fn tokens(lines: &[Option<&str>]) -> Vec<String> {
        let batches = run(vec![text(lines)]);
        let values = |batch: &RecordBatch| -> Vec<String> {
            batch.column(0).as_string_view().iter().flatten().map(String::from).collect()
        };
        batches.iter().flat_map(values).collect()
    }

    /// What the issue says, one character at a time.
    fn model(line: &str) -> Vec<String> {
        let kept: String = line.chars().filter(|c| !".,;?!-".contains(*c)).collect();
        kept.split_whitespace().map(String::from).collect()
    }

    #[test]
    fn punctuation_goes_and_words_stay() {
        assert_eq!(
            tokens(&[Some("¡Hola, Don-Key! -- ¿qué tal?..."), None, Some(" \t\n")]),
            ["¡Hola", "DonKey", "¿qué", "tal"]
        );
    }

    #[test]
    fn the_three_lines_of_books_have_28_tokens() {
        let lines = [
            "El ingenioso hidalgo Don Quijote de la Mancha",
            "En un lugar de la Mancha de cuyo nombre no quiero acordarme",
            "Tres tristes tigres tragaban trigo en un trigal",
        ];
        let found = tokens(&lines.map(Some));
        assert_eq!(found.len(), 28);
        let mut keys: Vec<_> = found.iter().map(|token| token.to_lowercase()).collect();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), 22);
    }

    #[test]
    fn a_long_token_with_removed_characters_inside_is_joined() {
        assert_eq!(tokens(&[Some("-otorrino-laringo-logia- x")]), ["otorrinolaringologia", "x"]);
    }

    #[test]
    fn a_long_token_is_not_copied() {
        let lines = text(&[Some("electroencefalografista, si")]);
        let batches = run(vec![Arc::clone(&lines)]);
        let out = batches[0].column(0).as_string_view();
        assert_eq!(out.value(0), "electroencefalografista");
        assert_eq!(out.value(0).as_ptr(), lines.as_string_view().value(0).as_ptr());
    }

    #[test]
    fn a_rows_tokens_come_column_by_column() {
        let batches = run(vec![text(&[Some("a b"), Some("e")]), text(&[Some("c d"), Some("f")])]);
        let values: Vec<_> =
            batches[0].column(0).as_string_view().iter().flatten().map(String::from).collect();
        assert_eq!(values, ["a", "b", "c", "d", "e", "f"]);
    }

    #[test]
    fn a_line_of_many_tokens_leaves_in_bounded_batches() {
        let line = "ab ".repeat(3 * BATCH_TOKENS);
        let batches = run(vec![text(&[Some("first"), Some(&line), Some("last")])]);
        assert!(batches.iter().all(|batch| batch.num_rows() <= BATCH_TOKENS));
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        assert_eq!(rows, 3 * BATCH_TOKENS + 2);
    }

    #[test]
    fn every_unicode_white_space_separates_and_nothing_else_does() {
        for character in '\0'..=char::MAX {
            let mut bytes = [0; 4];
            let encoded = character.encode_utf8(&mut bytes);
            let expected = if character.is_whitespace() { encoded.len() } else { 0 };
            assert_eq!(space_width(encoded.as_bytes()), expected, "{character:?}");
        }
    }

    proptest! {
        #[test]
        fn tokens_are_those_of_the_obvious_model(
            lines in prop::collection::vec("[a-zA-Z.,;?! é\u{a0}\u{2003}\u{3000}ツ\t-]{0,60}", 0..5),
        ) {
            let rows: Vec<_> = lines.iter().map(|line| Some(line.as_str())).collect();
            let expected: Vec<_> = lines.iter().flat_map(|line| model(line)).collect();
            prop_assert_eq!(tokens(&rows), expected);
        }

        #[test]
        fn any_text_gives_the_models_tokens(line in any::<String>()) {
            prop_assert_eq!(tokens(&[Some(&line)]), model(&line));
        }
    }
}
