//! Text from a seed: the same bytes for the same seed and size, everywhere.
//!
//! Lines of 4 to 15 words. Half of the words come from a few common ones, the rest from a million
//! rare ones, so that a word count has both hot keys and many keys.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
};

const COMMON: [&str; 24] = [
    "de", "la", "que", "el", "en", "y", "a", "los", "se", "del", "las", "un", "por", "con", "no",
    "una", "su", "para", "es", "al", "lo", "como", "más", "Mancha",
];
const SYLLABLES: [&str; 32] = [
    "ba", "ce", "di", "fo", "gu", "ha", "je", "ki", "lo", "mu", "na", "pe", "qui", "ro", "su",
    "ta", "ve", "xi", "yo", "zu", "bra", "cle", "dri", "flo", "gru", "lla", "ñe", "pri", "sto",
    "tru", "án", "és",
];
const RARE_WORDS: u64 = 1 << 20;

/// Random numbers from a seed (`SplitMix64`; Steele, Lea and Flood 2014).
#[derive(Clone, Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// The next one.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// The next one below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// Writes lines of text, at least `bytes` in all and at most a line more.
pub(crate) fn text(path: &Path, bytes: u64, seed: u64) -> io::Result<()> {
    let mut random = Random(seed);
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let mut line = String::new();
    let mut written = 0;
    while written < bytes {
        line.clear();
        for word in 0..4 + random.below(12) {
            if word > 0 {
                line.push(' ');
            }
            push_word(&mut line, &mut random);
        }
        line.push_str(if random.below(3) == 0 { ".\n" } else { "\n" });
        file.write_all(line.as_bytes())?;
        written += line.len() as u64;
    }
    file.into_inner()?.sync_all()
}

fn push_word(line: &mut String, random: &mut Random) {
    let draw = random.next();
    if draw & 1 == 0 {
        let common = COMMON.len() as u64;
        // The square of a fraction is small more often than not: the first words are the hottest.
        let fraction = ((draw >> 32) * (draw >> 32)) >> 32;
        line.push_str(COMMON[usize::try_from((fraction * common) >> 32).unwrap_or(0)]);
        return;
    }
    let mut word = (draw >> 1) % RARE_WORDS;
    for _ in 0..4 {
        line.push_str(SYLLABLES[usize::try_from(word % 32).unwrap_or(0)]);
        word /= 32;
    }
}
