//! `flat_map`: a row becomes as many rows as it has tokens.
//!
//! The hot path of a word count. A token is a view into its line; only one with removed
//! characters inside, or a long one whose case changes, is copied. It knows no other way to cut
//! text than `tokenize`'s.

use std::sync::Arc;

use arrow::{
    array::{Array, RecordBatch, StringViewArray, cast::AsArray},
    buffer::Buffer,
    datatypes::SchemaRef,
};

use crate::{Error, Result, expr::text::TextValue, operators::Operator};

mod cut;
mod marks;

use cut::Tokens;

/// How many tokens an output batch has at most: their views stay in the cache.
const BATCH_TOKENS: usize = 8192;

/// Replaces each row by the tokens of its text columns: `. , ; ? ! -` are removed, what is left is
/// split on Unicode white space, empty tokens are dropped.
///
/// - Shape: one text column; at most 8192 rows a batch; a null has no tokens.
/// - Order: rows keep theirs; a row's tokens come column by column, from left to right.
/// - Memory: 16 bytes a token of one batch; the batch pins the text it came from.
/// - Case: as it stands, or lower, which gives what `lower` makes of each token.
/// - Errors: those of its input.
pub struct Tokenize {
    input: Box<dyn Operator>,
    columns: Vec<usize>,
    is_lowered: bool,
    schema: SchemaRef,
    current: Option<Position>,
    /// The last batch's views, to be used again where nobody has them any more.
    spare: Option<Buffer>,
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
        Self { input, columns, is_lowered: false, schema, current: None, spare: None }
    }

    /// The same, with tokens in lower case where that is asked for.
    #[must_use]
    pub fn lowered(self, is_lowered: bool) -> Self {
        Self { is_lowered, ..self }
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
            let spare = self.spare.take().and_then(|views| views.into_vec().ok());
            let room = Tokens::new(BATCH_TOKENS, self.is_lowered, spare.unwrap_or_default());
            let (tokens, is_done) = position.advance(room);
            self.spare = Some(tokens.views().inner().clone());
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
    /// The next tokens, put where there is room, and whether they were the last.
    fn advance(&mut self, mut tokens: Tokens) -> (StringViewArray, bool) {
        let bases: Vec<_> = self.texts.iter().map(|text| tokens.text().share(text)).collect();
        let rows = self.texts.first().map_or(0, Array::len);
        while self.row < rows {
            while let Some(text) = self.texts.get(self.column) {
                if text.is_valid(self.row) {
                    let value = TextValue::new(text, self.row, bases[self.column]);
                    self.byte = tokens.cut(&value, self.byte);
                    if self.byte < value.text.len() {
                        return (tokens.into_text().finish(None), false);
                    }
                }
                self.byte = 0;
                self.column += 1;
            }
            self.column = 0;
            self.row += 1;
        }
        (tokens.into_text().finish(None), true)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::{
        array::{ArrayRef, RecordBatch, StringViewArray, cast::AsArray},
        datatypes::{DataType, Field, Schema},
    };
    use proptest::prelude::*;

    use super::{BATCH_TOKENS, Tokenize};
    use crate::operators::{Batches, Operator};

    fn text(values: &[Option<&str>]) -> ArrayRef {
        Arc::new(values.iter().copied().collect::<StringViewArray>())
    }

    fn run(columns: Vec<ArrayRef>) -> Vec<RecordBatch> {
        run_in(columns, false)
    }

    fn run_in(columns: Vec<ArrayRef>, is_lowered: bool) -> Vec<RecordBatch> {
        let fields: Vec<_> = (0..columns.len())
            .map(|index| Field::new(format!("c{index}"), DataType::Utf8View, true))
            .collect();
        let indices = (0..columns.len()).collect();
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
        let schema = Arc::new(Schema::new(vec![Field::new("token", DataType::Utf8View, true)]));
        let input = Box::new(Batches::new(vec![batch]));
        let mut operator = Tokenize::new(input, indices, schema).lowered(is_lowered);
        let mut batches = Vec::new();
        while let Some(next) = operator.next().unwrap() {
            batches.push(next);
        }
        batches
    }

    fn tokens(lines: &[Option<&str>]) -> Vec<String> {
        tokens_in(lines, false)
    }

    fn tokens_in(lines: &[Option<&str>], is_lowered: bool) -> Vec<String> {
        let batches = run_in(vec![text(lines)], is_lowered);
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
    fn tokens_in_lower_case_are_those_of_unicode() {
        let line = "DON Quijote ÑANDÚ Electroencefalografista electroencefalografista ΌΣ, \
                    Σ.Σ İ É-É OTORRINO-LARINGÓLOGOS";
        let expected = model(line).iter().map(|token| token.to_lowercase()).collect::<Vec<_>>();
        assert_eq!(tokens_in(&[Some(line)], true), expected);
        let lines = text(&[Some("electroencefalografista")]);
        let kept = run_in(vec![Arc::clone(&lines)], true);
        let out = kept[0].column(0).as_string_view();
        assert_eq!(out.value(0).as_ptr(), lines.as_string_view().value(0).as_ptr());
    }

    #[test]
    fn tokens_longer_than_a_chunk_and_on_its_edges_are_whole() {
        for length in [1, 12, 13, 62, 63, 64, 65, 127, 128, 129, 500] {
            for before in [0, 1, 2, 30, 61, 62, 63, 64] {
                for filling in ["a", "é", "-b", "c.", "\u{2003}"] {
                    let word = filling.repeat(length / filling.len() + 1);
                    let line = format!("{}{word} END\u{3000}Ñ{word}", " ".repeat(before));
                    assert_eq!(tokens(&[Some(&line)]), model(&line), "{line:?}");
                    let lower: Vec<_> = model(&line).iter().map(|t| t.to_lowercase()).collect();
                    assert_eq!(tokens_in(&[Some(&line)], true), lower, "{line:?}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn tokens_are_those_of_the_obvious_model(
            lines in prop::collection::vec("[a-zA-Z.,;?! éΣ\u{a0}\u{2003}\u{3000}ツ\t-]{0,200}", 0..5),
        ) {
            let rows: Vec<_> = lines.iter().map(|line| Some(line.as_str())).collect();
            let expected: Vec<_> = lines.iter().flat_map(|line| model(line)).collect();
            let lower: Vec<_> = expected.iter().map(|token| token.to_lowercase()).collect();
            prop_assert_eq!(tokens(&rows), expected);
            prop_assert_eq!(tokens_in(&rows, true), lower);
        }

        #[test]
        fn any_text_gives_the_models_tokens(line in any::<String>()) {
            prop_assert_eq!(tokens(&[Some(&line)]), model(&line));
        }
    }
}
