//! [`bits`]: where a byte stands among 64; [`has_one_of`]: whether one of four does among 16.
//!
//! On x86-64 sixteen bytes are compared at once by instructions (SSE2) that every such processor
//! has; elsewhere byte by byte. Both are tested against each other.

/// A bit for each byte of `chunk` that is `byte`, the first one lowest.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(super) fn bits(chunk: &[u8; 64], byte: u8) -> u64 {
    #[expect(unsafe_code, reason = "a call of what not every processor has is unsafe")]
    // SAFETY: SSE2 is a part of x86-64.
    unsafe {
        by_sixteen(chunk, byte)
    }
}

/// A bit for each byte of `chunk` that is `byte`, the first one lowest.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn bits(chunk: &[u8; 64], byte: u8) -> u64 {
    byte_by_byte(chunk, byte)
}

#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "sse2")]
fn by_sixteen(chunk: &[u8; 64], byte: u8) -> u64 {
    use std::arch::x86_64::{_mm_cmpeq_epi8, _mm_movemask_epi8, _mm_set_epi64x, _mm_set1_epi8};
    let wanted = _mm_set1_epi8(byte.cast_signed());
    chunk.as_chunks::<16>().0.iter().rev().fold(0, |found, sixteen| {
        let [low, high] = halves(sixteen);
        let equal = _mm_cmpeq_epi8(_mm_set_epi64x(high, low), wanted);
        found << 16 | u64::from(_mm_movemask_epi8(equal).cast_unsigned())
    })
}

/// Whether one of `wanted` is among `bytes`.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(super) fn has_one_of(bytes: &[u8; 16], wanted: [u8; 4]) -> bool {
    #[expect(unsafe_code, reason = "a call of what not every processor has is unsafe")]
    // SAFETY: SSE2 is a part of x86-64.
    unsafe {
        all_at_once(bytes, wanted)
    }
}

/// Whether one of `wanted` is among `bytes`.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn has_one_of(bytes: &[u8; 16], wanted: [u8; 4]) -> bool {
    one_by_one(bytes, wanted)
}

#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "sse2")]
fn all_at_once(bytes: &[u8; 16], wanted: [u8; 4]) -> bool {
    use std::arch::x86_64::{
        _mm_cmpeq_epi8, _mm_movemask_epi8, _mm_or_si128, _mm_set_epi64x, _mm_set1_epi8,
    };
    let [low, high] = halves(bytes);
    let all = _mm_set_epi64x(high, low);
    let is = |byte: u8| _mm_cmpeq_epi8(all, _mm_set1_epi8(byte.cast_signed()));
    let [a, b, c, d] = wanted.map(is);
    _mm_movemask_epi8(_mm_or_si128(_mm_or_si128(a, b), _mm_or_si128(c, d))) != 0
}

/// Sixteen bytes as two words, the first one first.
#[cfg(target_arch = "x86_64")]
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "its two halves")]
fn halves(bytes: &[u8; 16]) -> [i64; 2] {
    let all = i128::from_le_bytes(*bytes);
    [all as i64, (all >> 64) as i64]
}

#[cfg(any(test, not(target_arch = "x86_64")))]
fn one_by_one(bytes: &[u8; 16], wanted: [u8; 4]) -> bool {
    bytes.iter().any(|byte| wanted.contains(byte))
}

#[cfg(any(test, not(target_arch = "x86_64")))]
fn byte_by_byte(chunk: &[u8; 64], byte: u8) -> u64 {
    chunk.iter().rev().fold(0, |found, each| found << 1 | u64::from(*each == byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{bits, byte_by_byte, has_one_of, one_by_one};

    proptest! {
        #[test]
        fn a_byte_is_found_where_it_stands(
            bytes in prop::collection::vec(prop::sample::select(b"ab,\n\"\xff\0".to_vec()), 64),
            byte in prop::sample::select(b"ab,\n\"\xff\0".to_vec()),
        ) {
            let chunk = bytes.first_chunk().unwrap();
            prop_assert_eq!(bits(chunk, byte), byte_by_byte(chunk, byte));
            for sixteen in chunk.as_chunks::<16>().0 {
                let wanted = [byte, b';', b'\r', 7];
                prop_assert_eq!(has_one_of(sixteen, wanted), one_by_one(sixteen, wanted));
            }
        }
    }
}
