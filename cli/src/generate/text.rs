//! Lines of words, drawn by Zipf's law from a vocabulary: the frequent words are the short ones.
//!
//! Words are separated by one blank. Of a hundred, four are in capitals and eighteen begin with
//! one, so that counting them takes lower-casing; in lower case there are as many different words
//! as the vocabulary has, some of them with letters beyond ASCII.

use std::{num::NonZeroU64, ops::RangeInclusive};

use super::{Rows, random::Random, zipf::Zipf};

/// A word is its rank in these digits, the lowest first. A text of them can be cut in one way only.
const SYLLABLES: [&str; 32] = [
    "ba", "ce", "di", "fo", "gu", "ha", "je", "ki", "lo", "mu", "na", "pe", "qui", "ro", "su",
    "ta", "ve", "xi", "yo", "zu", "bra", "cle", "dri", "flo", "gru", "lla", "ñe", "pri", "sto",
    "tru", "án", "és",
];

/// A source of lines.
pub(crate) struct Text {
    random: Random,
    zipf: Zipf,
    words: RangeInclusive<u64>,
    word: String,
}

impl Text {
    /// Lines of as many words as `words` says, from so many different ones.
    pub(crate) fn new(
        seed: u64,
        vocabulary: NonZeroU64,
        exponent: f64,
        words: RangeInclusive<u64>,
    ) -> Self {
        let zipf = Zipf::new(vocabulary, exponent);
        Self { random: Random::new(seed), zipf, words, word: String::new() }
    }
}

impl Rows for Text {
    fn append(&mut self, row: &mut Vec<u8>) {
        let choice = self.words.end() - self.words.start() + 1;
        for at in 0..self.words.start() + self.random.below(choice) {
            if at > 0 {
                row.push(b' ');
            }
            self.word.clear();
            push_word(&mut self.word, self.zipf.draw(&mut self.random));
            match self.random.below(100) {
                0..4 => row.extend_from_slice(self.word.to_uppercase().as_bytes()),
                4..22 => push_capitalised(row, &self.word),
                _ => row.extend_from_slice(self.word.as_bytes()),
            }
        }
        row.push(b'\n');
    }
}

/// Appends the word of a rank, from 1 on.
pub(crate) fn push_word(word: &mut String, mut rank: u64) {
    while rank > 0 {
        word.push_str(SYLLABLES[usize::try_from(rank % 32).unwrap_or(0)]);
        rank /= 32;
    }
}

/// Appends a word with its first letter as a capital.
pub(crate) fn push_capitalised(row: &mut Vec<u8>, word: &str) {
    let mut letters = word.chars();
    let first: String = letters.next().into_iter().flat_map(char::to_uppercase).collect();
    row.extend_from_slice(first.as_bytes());
    row.extend_from_slice(letters.as_str().as_bytes());
}

#[cfg(test)]
mod tests {
    use std::{
        collections::{BTreeMap, BTreeSet},
        num::NonZeroU64,
    };

    use super::{Text, push_word};
    use crate::generate::{Amount, write};

    fn lines(seed: u64, vocabulary: u64, words: (u64, u64), rows: u64) -> String {
        let vocabulary = NonZeroU64::new(vocabulary).unwrap();
        let mut text = Text::new(seed, vocabulary, 1.0, words.0..=words.1);
        let mut out = Vec::new();
        write(&mut text, None, Amount::Rows(rows), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_seed_is_a_text() {
        assert_eq!(lines(1, 19, (3, 9), 50), lines(1, 19, (3, 9), 50));
        assert_ne!(lines(1, 19, (3, 9), 50), lines(2, 19, (3, 9), 50));
    }

    #[test]
    fn lines_have_the_words_that_were_asked_for() {
        let text = lines(1, 19, (3, 5), 500);
        let lengths: BTreeSet<usize> = text.lines().map(|line| line.split(' ').count()).collect();
        assert_eq!(lengths, BTreeSet::from([3, 4, 5]));
        assert!(lines(1, 19, (4, 4), 50).lines().all(|line| line.split(' ').count() == 4));
    }

    #[test]
    fn lower_case_leaves_the_vocabulary() {
        let text = lines(1, 19, (8, 25), 500).to_lowercase();
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        text.split_whitespace().for_each(|word| *counts.entry(word).or_default() += 1);
        assert_eq!(counts.len(), 19);
        // Rank 1 is written `ce` and comes most often; rank 2, `di`, half as often.
        let first = counts["ce"];
        assert!(counts.values().all(|count| *count <= first));
        assert!((first * 4 / 10..first * 6 / 10).contains(&counts["di"]), "{counts:?}");
    }

    #[test]
    fn different_ranks_are_different_words() {
        let words: BTreeSet<String> = (1..50_000)
            .map(|rank| {
                let mut word = String::new();
                push_word(&mut word, rank);
                word
            })
            .collect();
        assert_eq!(words.len(), 49_999);
    }
}
