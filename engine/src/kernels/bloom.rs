//! [`BloomFilter`]: whether a hash may be among some hashes.
//!
//! Each hash sets [`BITS`] bits of one 64-bit word, so that a test reads one word. Of those that are
//! not among them about one in a hundred passes.
//!
//! Source: Putze, Sanders and Singler, "Cache-, Hash- and Space-Efficient Bloom Filters" (2007), with
//! a block of one word; Lang et al., "Performance-Optimal Filtering" (VLDB 2019).

/// How many bits a hash sets, at most.
const BITS: u32 = 4;

/// Bits of the filter a hash.
const BITS_PER_HASH: usize = 16;

/// A set of hashes, of which it knows for certain only what is not in it.
#[derive(Debug)]
pub(crate) struct BloomFilter {
    words: Vec<u64>,
}

impl BloomFilter {
    /// The bytes of a filter of so many hashes.
    pub(crate) fn bytes_for(hashes: usize) -> usize {
        words_for(hashes) * size_of::<u64>()
    }

    /// Of these hashes.
    pub(crate) fn of(hashes: &[u64]) -> Self {
        let mut words = vec![0; words_for(hashes.len())];
        for hash in hashes {
            let place = place(*hash, words.len());
            words[place] |= bits(*hash);
        }
        Self { words }
    }

    /// Whether a hash may be among them; of those that are, it is always true.
    pub(crate) fn may_contain(&self, hash: u64) -> bool {
        let bits = bits(hash);
        self.words[place(hash, self.words.len())] & bits == bits
    }
}

/// At least one, so that a test has a word to read.
fn words_for(hashes: usize) -> usize {
    (hashes * BITS_PER_HASH).div_ceil(64).max(1)
}

/// Which word, by the upper half of the hash.
fn place(hash: u64, words: usize) -> usize {
    // Both factors are below 2^32 or the product's upper half is below `words` all the same.
    let place = (u128::from(hash) * words as u128) >> 64;
    usize::try_from(place).unwrap_or(0)
}

/// Which bits of the word, by the lower ones.
fn bits(hash: u64) -> u64 {
    (0..BITS).fold(0, |bits, n| bits | 1 << ((hash >> (6 * n)) & 63))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers as a hash function spreads them.
    fn spread(n: u64) -> u64 {
        let product = u128::from(n ^ 0x9e37_79b9_7f4a_7c15) * 0xd1b5_4a32_d192_ed03;
        #[expect(clippy::cast_possible_truncation, reason = "halves")]
        let (low, high) = (product as u64, (product >> 64) as u64);
        (low ^ high).wrapping_mul(0x9e6c_63d0_876a_68ee)
    }

    #[test]
    fn what_is_in_it_is_found_and_of_the_rest_little() {
        for count in [1_u64, 100, 100_000] {
            let hashes: Vec<u64> = (0..count).map(spread).collect();
            let filter = BloomFilter::of(&hashes);
            assert!(hashes.iter().all(|hash| filter.may_contain(*hash)));
            let passes = (count..count + 100_000).filter(|n| filter.may_contain(spread(*n)));
            assert!(passes.count() < 2_000, "of {count}");
        }
    }

    #[test]
    fn an_empty_one_contains_nothing() {
        let filter = BloomFilter::of(&[]);
        assert!(!(0..1_000).any(|n| filter.may_contain(spread(n))));
    }
}
