//! [`Short`]: the short form of the [specified hash](super), and what becomes its two words.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The constants of the short form. No UTF-8 begins with the bytes of any of them, nor of the last
/// one and [`SEED`](super::SEED) together.
const K: [u64; 3] = [0x9e37_79b9_7f4a_7c15, 0xd1b5_4a32_d192_ed03, 0xaef1_7502_108e_f2d9];

/// The most bytes that have the short form.
const SHORT_BYTES: usize = 16;

/// The most bytes that stand in a view itself.
const INLINE_BYTES: usize = 12;

/// At most 16 bytes as words.
#[derive(Clone, Copy)]
pub(super) struct Short {
    pub(super) low: u64,
    pub(super) high: u64,
    pub(super) length: u64,
}

impl Short {
    /// A value of eight bytes.
    #[inline]
    pub(super) fn word(word: u64) -> Self {
        Self { low: word, high: 0, length: 8 }
    }

    /// A value of sixteen bytes.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "its two halves")]
    pub(super) fn wide(wide: u128) -> Self {
        Self { low: wide as u64, high: (wide >> 64) as u64, length: 16 }
    }

    /// The bytes that stand in a view; `None` where it only says where they are.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the parts of a view")]
    pub(super) fn inline(view: u128) -> Option<Self> {
        let length = u64::from(view as u32);
        let short = Self { low: (view >> 32) as u64, high: (view >> 96) as u64, length };
        (length <= INLINE_BYTES as u64).then_some(short)
    }

    /// So many bytes, zeros behind them; the last ones are read once more instead of one by one.
    #[inline]
    pub(super) fn bytes(bytes: &[u8]) -> Option<Self> {
        let count = bytes.len();
        let (low, high) = match count {
            0 => (0, 0),
            1..=3 => {
                let byte = |at: usize| u64::from(bytes[at]) << (8 * at);
                (byte(0) | byte(count / 2) | byte(count - 1), 0)
            }
            4..=7 => {
                let head = u64::from(u32::from_le_bytes(*bytes.first_chunk()?));
                let tail = u64::from(u32::from_le_bytes(*bytes.last_chunk()?));
                (head | (tail >> (8 * (8 - count))) << 32, 0)
            }
            8..=SHORT_BYTES => {
                let tail = u128::from(u64::from_le_bytes(*bytes.last_chunk()?)) << 64;
                let high = tail >> (8 * (SHORT_BYTES - count)) >> 64;
                let high = high as u64;
                (u64::from_le_bytes(*bytes.first_chunk()?), high)
            }
            _ => return None,
        };
        Some(Self { low, high, length: count as u64 })
    }

    /// `H` of the specification.
    #[inline]
    pub(super) fn hash(self, seed: u64) -> u64 {
        let (a, b) = (self.low ^ K[1], self.high ^ K[2] ^ seed);
        let (low, high) = product(a, b);
        let (low, high) = product(low ^ a ^ K[0] ^ self.length, high ^ b ^ K[1]);
        low ^ high
    }
}

/// The halves of a product.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "its two halves")]
fn product(a: u64, b: u64) -> (u64, u64) {
    let product = u128::from(a) * u128::from(b);
    (product as u64, (product >> 64) as u64)
}

/// As [`hash_bytes`], out of the way of a loop over values that mostly stand in their views.
#[inline(never)]
pub(super) fn hash_apart(bytes: &[u8], seed: u64) -> u64 {
    hash_bytes(bytes, seed)
}

/// `H` of the specification, of any number of bytes.
#[inline]
pub(super) fn hash_bytes(bytes: &[u8], seed: u64) -> u64 {
    match Short::bytes(bytes) {
        Some(short) => short.hash(seed),
        None => xxh3_64_with_seed(bytes, seed),
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::builder::make_view;
    use proptest::prelude::*;

    use super::{INLINE_BYTES, SHORT_BYTES, Short};

    /// Two words, byte by byte.
    fn words(bytes: &[u8]) -> (u64, u64) {
        let word =
            |part: &[u8]| part.iter().rev().fold(0, |so_far, byte| so_far << 8 | u64::from(*byte));
        let (low, high) = bytes.split_at(bytes.len().min(8));
        (word(low), word(high))
    }

    proptest! {
        #[test]
        fn words_are_the_bytes_and_zeros(bytes in prop::collection::vec(any::<u8>(), 0..=20)) {
            let short = Short::bytes(&bytes);
            prop_assert_eq!(short.is_some(), bytes.len() <= SHORT_BYTES);
            if let Some(short) = short {
                prop_assert_eq!((short.low, short.high), words(&bytes));
                prop_assert_eq!(short.length, bytes.len() as u64);
            }
            let inline = Short::inline(make_view(&bytes, 0, 0));
            prop_assert_eq!(inline.is_some(), bytes.len() <= INLINE_BYTES);
            if let Some(inline) = inline {
                prop_assert_eq!((inline.low, inline.high), words(&bytes));
                prop_assert_eq!(inline.length, bytes.len() as u64);
            }
        }
    }
}
