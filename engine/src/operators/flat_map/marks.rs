//! [`Marks`]: what the bytes of a chunk are to a tokenizer, a bit each.
//!
//! On x86-64 sixteen bytes are compared at once by instructions (SSE2) that every such processor
//! has, or thirty-two by those (AVX2) that are looked for; elsewhere byte by byte, which compilers
//! make what they can of. All are tested against each other.

/// Bytes that are looked at together.
pub(super) const CHUNK: usize = 64;

/// Bits for the bytes of a chunk, the first one lowest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Marks {
    /// ASCII white space: tab, line feed, vertical tab, form feed, carriage return, blank.
    pub(super) space: u64,
    /// One of `. , ; ? ! -`.
    pub(super) removed: u64,
    /// Not ASCII.
    pub(super) wide: u64,
}

/// A way to find the marks of a chunk.
pub(super) trait Marking: Copy {
    /// They.
    fn marks(self, chunk: &[u8; CHUNK]) -> Marks;
}

/// The way of every processor.
#[derive(Clone, Copy)]
pub(super) struct Usual;

impl Marking for Usual {
    #[cfg(target_arch = "x86_64")]
    #[inline]
    fn marks(self, chunk: &[u8; CHUNK]) -> Marks {
        #[expect(unsafe_code, reason = "a call of what not every processor has is unsafe")]
        // SAFETY: SSE2 is a part of x86-64.
        unsafe {
            by_sixteen(chunk)
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn marks(self, chunk: &[u8; CHUNK]) -> Marks {
        byte_by_byte(chunk)
    }
}

/// The way of processors with AVX2, BMI and LZCNT; exists only where those were found.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub(super) struct Wide(());

#[cfg(target_arch = "x86_64")]
impl Wide {
    /// It, where the processor has it.
    pub(super) fn found() -> Option<Self> {
        let has_bits = is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2")
            && is_x86_feature_detected!("lzcnt");
        (has_bits && is_x86_feature_detected!("avx2")).then_some(Self(()))
    }
}

#[cfg(target_arch = "x86_64")]
impl Marking for Wide {
    #[inline]
    fn marks(self, chunk: &[u8; CHUNK]) -> Marks {
        #[expect(unsafe_code, reason = "a call of what not every processor has is unsafe")]
        // SAFETY: a `Wide` exists only where AVX2 was found.
        unsafe {
            by_thirty_two(chunk)
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "sse2")]
fn by_sixteen(chunk: &[u8; CHUNK]) -> Marks {
    use std::arch::x86_64::{
        __m128i, _mm_cmpeq_epi8, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128, _mm_set_epi64x,
        _mm_set1_epi8, _mm_sub_epi8,
    };
    let is = |bytes: __m128i, byte: u8| _mm_cmpeq_epi8(bytes, _mm_set1_epi8(byte.cast_signed()));
    // `first..=first + more`: a lesser byte wraps around to a great one.
    let is_in = |bytes: __m128i, first: u8, more: u8| {
        let from_first = _mm_sub_epi8(bytes, _mm_set1_epi8(first.cast_signed()));
        let capped = _mm_min_epu8(from_first, _mm_set1_epi8(more.cast_signed()));
        _mm_cmpeq_epi8(from_first, capped)
    };
    let bits = |bytes: __m128i| u64::from(_mm_movemask_epi8(bytes).cast_unsigned());
    let mut marks = Marks::default();
    for sixteen in chunk.as_chunks::<16>().0.iter().rev() {
        let [low, high] = words(sixteen);
        let bytes = _mm_set_epi64x(high, low);
        let space = _mm_or_si128(is(bytes, b' '), is_in(bytes, b'\t', 4));
        let dots = _mm_or_si128(is_in(bytes, b',', 2), is(bytes, b';'));
        let marked = _mm_or_si128(is(bytes, b'!'), is(bytes, b'?'));
        marks.space = marks.space << 16 | bits(space);
        marks.removed = marks.removed << 16 | bits(_mm_or_si128(dots, marked));
        marks.wide = marks.wide << 16 | bits(bytes);
    }
    marks
}

#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx2")]
fn by_thirty_two(chunk: &[u8; CHUNK]) -> Marks {
    use std::arch::x86_64::{
        __m256i, _mm256_cmpeq_epi8, _mm256_min_epu8, _mm256_movemask_epi8, _mm256_or_si256,
        _mm256_set_epi64x, _mm256_set1_epi8, _mm256_sub_epi8,
    };
    let is =
        |bytes: __m256i, byte: u8| _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8(byte.cast_signed()));
    let is_in = |bytes: __m256i, first: u8, more: u8| {
        let from_first = _mm256_sub_epi8(bytes, _mm256_set1_epi8(first.cast_signed()));
        let capped = _mm256_min_epu8(from_first, _mm256_set1_epi8(more.cast_signed()));
        _mm256_cmpeq_epi8(from_first, capped)
    };
    let bits = |bytes: __m256i| u64::from(_mm256_movemask_epi8(bytes).cast_unsigned());
    let mut marks = Marks::default();
    for thirty_two in chunk.as_chunks::<32>().0.iter().rev() {
        let [a, b, c, d] = words(thirty_two);
        let bytes = _mm256_set_epi64x(d, c, b, a);
        let space = _mm256_or_si256(is(bytes, b' '), is_in(bytes, b'\t', 4));
        let dots = _mm256_or_si256(is_in(bytes, b',', 2), is(bytes, b';'));
        let marked = _mm256_or_si256(is(bytes, b'!'), is(bytes, b'?'));
        marks.space = marks.space << 32 | bits(space);
        marks.removed = marks.removed << 32 | bits(_mm256_or_si256(dots, marked));
        marks.wide = marks.wide << 32 | bits(bytes);
    }
    marks
}

/// Bytes as words, the first one lowest.
#[cfg(target_arch = "x86_64")]
#[inline]
fn words<const BYTES: usize, const WORDS: usize>(bytes: &[u8; BYTES]) -> [i64; WORDS] {
    let mut words = [0; WORDS];
    for (word, eight) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
        *word = i64::from_le_bytes(*eight);
    }
    words
}

#[cfg(any(test, not(target_arch = "x86_64")))]
fn byte_by_byte(chunk: &[u8; CHUNK]) -> Marks {
    let bits = |is_marked: fn(u8) -> bool| {
        chunk.iter().rev().fold(0, |bits, byte| bits << 1 | u64::from(is_marked(*byte)))
    };
    Marks {
        space: bits(|byte| matches!(byte, 0x09..=0x0d | b' ')),
        removed: bits(|byte| matches!(byte, b'.' | b',' | b';' | b'?' | b'!' | b'-')),
        wide: bits(|byte| !byte.is_ascii()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{CHUNK, Marking, Marks, Usual, byte_by_byte};

    /// What the ways that this processor has find.
    fn found(chunk: &[u8; CHUNK]) -> Vec<Marks> {
        let mut found = vec![Usual.marks(chunk)];
        #[cfg(target_arch = "x86_64")]
        found.extend(super::Wide::found().map(|wide| wide.marks(chunk)));
        found
    }

    #[test]
    fn every_byte_has_its_marks_at_every_place() {
        for byte in 0..=u8::MAX {
            for place in 0..CHUNK {
                let mut chunk = [b'x'; CHUNK];
                chunk[place] = byte;
                for marks in found(&chunk) {
                    assert_eq!(marks, byte_by_byte(&chunk), "{byte:#x} at {place}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn marks_are_those_of_the_bytes(bytes in prop::collection::vec(any::<u8>(), CHUNK)) {
            let chunk = bytes.first_chunk().unwrap();
            for marks in found(chunk) {
                prop_assert_eq!(marks, byte_by_byte(chunk));
            }
        }
    }
}
