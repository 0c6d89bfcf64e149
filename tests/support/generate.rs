//! Text from a seed: the same bytes for the same seed and size, everywhere.
//!
//! Lines of 8 to 25 words, drawn by Zipf's law (exponent 1, in steps of powers of two) from 262,143:
//! the frequent ones are short. One in five is capitalised, one in 25 is in capitals.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
};

const SYLLABLES: [&str; 32] = [
    "ba", "ce", "di", "fo", "gu", "ha", "je", "ki", "lo", "mu", "na", "pe", "qui", "ro", "su",
    "ta", "ve", "xi", "yo", "zu", "bra", "cle", "dri", "flo", "gru", "lla", "ñe", "pri", "sto",
    "tru", "án", "és",
];
/// The words are numbered from 1 to 2 to this power, exclusively.
const RANK_BITS: u64 = 18;

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
        for word in 0..8 + random.below(18) {
            if word > 0 {
                line.push(' ');
            }
            push_word(&mut line, &mut random);
        }
        line.push('\n');
        file.write_all(line.as_bytes())?;
        written += line.len() as u64;
    }
    file.into_inner()?.sync_all()
}

fn push_word(line: &mut String, random: &mut Random) {
    let bits = random.below(RANK_BITS);
    let mut rank = (1 << bits) + random.below(1 << bits);
    let case = random.below(100);
    let start = line.len();
    while rank > 0 {
        line.push_str(SYLLABLES[usize::try_from(rank % 32).unwrap_or(0)]);
        rank /= 32;
    }
    let word = line[start..].to_owned();
    if case < 4 {
        line.replace_range(start.., &word.to_uppercase());
    } else if case < 22 {
        let first = word.chars().next().map_or(0, char::len_utf8);
        line.replace_range(start..start + first, &word[..first].to_uppercase());
    }
}
