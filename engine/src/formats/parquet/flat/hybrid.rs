//! [`Hybrid`]: Parquet's runs of equal values and groups of bit-packed ones, which levels and
//! dictionary codes are stored as.
//!
//! Source: <https://parquet.apache.org/docs/file-format/data-pages/encodings/>, "RLE / Bit-Packing
//! Hybrid".

use bytes::Bytes;

use super::Broken;

/// Values of a bit-packed group.
const GROUP: usize = 8;
/// The most bits of a value.
const MAX_WIDTH: u8 = 32;

/// What is left of an encoded sequence.
pub(super) struct Hybrid {
    bytes: Bytes,
    /// Where the next run begins.
    at: usize,
    /// Bits of a value.
    width: u8,
    run: Run,
}

/// The run in hand.
#[derive(Clone, Copy)]
enum Run {
    /// So many times the same value.
    Equal { value: u32, left: usize },
    /// Values from place `next` of those that are packed from byte `start` on.
    Packed { start: usize, next: usize, left: usize },
}

impl Hybrid {
    /// The sequence that `bytes` are, of values of `width` bits.
    pub(super) fn new(bytes: Bytes, width: u8) -> Result<Self, Broken> {
        if width > MAX_WIDTH {
            return Err(Broken("values of more than 32 bits"));
        }
        Ok(Self { bytes, at: 0, width, run: Run::Equal { value: 0, left: 0 } })
    }

    /// Begins the next run.
    fn advance(&mut self) -> Result<(), Broken> {
        let header = self.varint()?;
        let count = usize::try_from(header >> 1).map_err(|_| Broken("a run without an end"))?;
        let width = usize::from(self.width);
        if header & 1 == 0 {
            let end = self.at + width.div_ceil(8);
            let value = self.bytes.get(self.at..end).ok_or(Broken("a run without a value"))?;
            let value = value.iter().rev().fold(0, |sum, byte| (sum << 8) | u32::from(*byte));
            self.at = end;
            self.run = Run::Equal { value, left: count };
        } else {
            let (start, left) = (self.at, count.saturating_mul(GROUP));
            // The last group may be cut off where its values end.
            self.at = start.saturating_add(count.saturating_mul(width)).min(self.bytes.len());
            self.run = Run::Packed { start, next: 0, left };
        }
        Ok(())
    }

    fn varint(&mut self) -> Result<u64, Broken> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = *self.bytes.get(self.at).ok_or(Broken("fewer values than it says"))?;
            self.at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Broken("a run without an end"))
    }

    /// Whether the next `count` values are all `value`, which are passed over then.
    pub(super) fn are_all(&mut self, value: u32, count: usize) -> Result<bool, Broken> {
        loop {
            match &mut self.run {
                Run::Equal { value: own, left } if *left >= count => {
                    let is_it = *own == value;
                    if is_it {
                        *left -= count;
                    }
                    return Ok(is_it);
                }
                Run::Equal { left: 0, .. } | Run::Packed { left: 0, .. } => self.advance()?,
                Run::Equal { .. } | Run::Packed { .. } => return Ok(false),
            }
        }
    }

    /// Appends the next `count` values.
    pub(super) fn read(&mut self, count: usize, out: &mut Vec<u32>) -> Result<(), Broken> {
        let mut missing = count;
        while missing > 0 {
            match &mut self.run {
                Run::Equal { left: 0, .. } | Run::Packed { left: 0, .. } => self.advance()?,
                Run::Equal { value, left } => {
                    let taken = missing.min(*left);
                    out.resize(out.len() + taken, *value);
                    *left -= taken;
                    missing -= taken;
                }
                Run::Packed { start, next, left } => {
                    let taken = missing.min(*left);
                    let packed = Packed { bytes: &self.bytes[*start..], width: self.width };
                    packed.read(*next, taken, out)?;
                    *next += taken;
                    *left -= taken;
                    missing -= taken;
                }
            }
        }
        Ok(())
    }

    /// Passes over the next `count` values.
    pub(super) fn skip(&mut self, count: usize) -> Result<(), Broken> {
        let mut missing = count;
        while missing > 0 {
            match &mut self.run {
                Run::Equal { left: 0, .. } | Run::Packed { left: 0, .. } => self.advance()?,
                Run::Equal { left, .. } => {
                    let passed = missing.min(*left);
                    *left -= passed;
                    missing -= passed;
                }
                Run::Packed { next, left, .. } => {
                    let passed = missing.min(*left);
                    *next += passed;
                    *left -= passed;
                    missing -= passed;
                }
            }
        }
        Ok(())
    }
}

/// Bit-packed values, the first from the lowest bit of the first byte on.
struct Packed<'a> {
    bytes: &'a [u8],
    width: u8,
}

impl Packed<'_> {
    /// Appends `count` values from the one at `first` on.
    fn read(&self, first: usize, count: usize, out: &mut Vec<u32>) -> Result<(), Broken> {
        let width = usize::from(self.width);
        let end_bit = (first + count).checked_mul(width).ok_or(Broken("a run without an end"))?;
        if end_bit.div_ceil(8) > self.bytes.len() {
            return Err(Broken("fewer values than it says"));
        }
        let head = count.min(first.next_multiple_of(GROUP) - first);
        out.extend((first..first + head).map(|place| self.value(place)));
        let (from, groups) = ((first + head) / GROUP * width, (count - head) / GROUP);
        // A whole group's last value is read with the bytes behind it.
        let readable = self.bytes.len().saturating_sub(from + size_of::<u64>());
        let fast = groups.min(readable.checked_div(width).unwrap_or(groups));
        let unpacked = out.len();
        out.resize(unpacked + fast * GROUP, 0);
        unpack(self.width, &self.bytes[from..], &mut out[unpacked..]);
        let rest = first + head + fast * GROUP;
        out.extend((rest..first + count).map(|place| self.value(place)));
        Ok(())
    }

    /// The value at a place.
    #[expect(clippy::cast_possible_truncation, reason = "what is above the width is masked off")]
    fn value(&self, place: usize) -> u32 {
        let bit = place * usize::from(self.width);
        let from = &self.bytes[(bit / 8).min(self.bytes.len())..];
        let mut word = [0; size_of::<u64>()];
        let length = from.len().min(word.len());
        word[..length].copy_from_slice(&from[..length]);
        ((u64::from_le_bytes(word) >> (bit % 8)) & mask(self.width)) as u32
    }
}

/// The lowest bits.
fn mask(width: u8) -> u64 {
    (1 << width) - 1
}

/// Fills `out` with whole groups; there are eight bytes more than these have.
fn unpack(width: u8, bytes: &[u8], out: &mut [u32]) {
    macro_rules! by_width {
        ($($width:literal)*) => {
            match width {
                $($width => unpack_width::<$width>(bytes, out),)*
                _ => out.fill(0),
            }
        };
    }
    by_width!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32);
}

#[expect(clippy::cast_possible_truncation, reason = "what is above the width is masked off")]
fn unpack_width<const WIDTH: usize>(bytes: &[u8], out: &mut [u32]) {
    for (group, values) in out.chunks_exact_mut(GROUP).enumerate() {
        let Some(packed) = bytes.get(group * WIDTH..group * WIDTH + WIDTH + size_of::<u64>())
        else {
            return;
        };
        for (place, value) in values.iter_mut().enumerate() {
            let bit = place * WIDTH;
            let mut word = [0; size_of::<u64>()];
            word.copy_from_slice(&packed[bit / 8..bit / 8 + size_of::<u64>()]);
            *value = ((u64::from_le_bytes(word) >> (bit % 8)) & ((1 << WIDTH) - 1)) as u32;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Hybrid;

    /// Runs as the format has them: each `Ok` a value and how often, each `Err` a group of eight.
    fn encoded(runs: &[Result<(u32, usize), Vec<u32>>], width: u8) -> (Vec<u8>, Vec<u32>) {
        let (mut bytes, mut values) = (Vec::new(), Vec::new());
        let varint = |mut value: usize, out: &mut Vec<u8>| {
            while value >= 0x80 {
                out.push(u8::try_from(value & 0x7f).unwrap() | 0x80);
                value >>= 7;
            }
            out.push(u8::try_from(value).unwrap());
        };
        let mask = |value: u32| value & u32::try_from((1_u64 << width) - 1).unwrap();
        for run in runs {
            match run {
                Ok((value, count)) => {
                    varint(count << 1, &mut bytes);
                    let value = mask(*value);
                    bytes.extend(&value.to_le_bytes()[..usize::from(width).div_ceil(8)]);
                    values.resize(values.len() + count, value);
                }
                Err(group) => {
                    varint(((group.len() / 8) << 1) | 1, &mut bytes);
                    let mut bits = Vec::new();
                    for value in group {
                        let value = mask(*value);
                        bits.extend((0..width).map(|bit| value >> bit & 1));
                        values.push(value);
                    }
                    bytes.extend(bits.chunks(8).map(|byte| {
                        let byte = byte.iter().rev().fold(0, |sum, bit| sum << 1 | bit);
                        u8::try_from(byte).unwrap()
                    }));
                }
            }
        }
        (bytes, values)
    }

    fn run() -> impl Strategy<Value = Result<(u32, usize), Vec<u32>>> {
        let group = |count: usize| prop::collection::vec(any::<u32>(), count * 8).prop_map(Err);
        prop_oneof![(any::<u32>(), 1_usize..200).prop_map(Ok), (1_usize..20).prop_flat_map(group)]
    }

    proptest! {
        #[test]
        fn what_is_read_and_passed_over_is_what_was_written(
            runs in prop::collection::vec(run(), 1..8),
            width in 0_u8..=32,
            steps in prop::collection::vec((1_usize..50, any::<bool>()), 1..60),
        ) {
            let (bytes, values) = encoded(&runs, width);
            let mut hybrid = Hybrid::new(bytes.into(), width).unwrap();
            let mut at = 0;
            for (count, is_passed) in steps {
                let count = count.min(values.len() - at);
                let expected = &values[at..at + count];
                if is_passed {
                    hybrid.skip(count).unwrap();
                } else if count > 0 && hybrid.are_all(expected[0], count).unwrap() {
                    prop_assert!(expected.iter().all(|value| *value == expected[0]));
                } else {
                    let mut read = Vec::new();
                    hybrid.read(count, &mut read).unwrap();
                    prop_assert_eq!(&read[..], expected);
                }
                at += count;
            }
        }

        #[test]
        fn no_bytes_make_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..60), width in 0_u8..=32) {
            let mut hybrid = Hybrid::new(bytes.into(), width).unwrap();
            let mut read = Vec::new();
            for count in [1, 7, 8, 100] {
                let before = read.len();
                if hybrid.read(count, &mut read).is_err() {
                    break;
                }
                prop_assert_eq!(read.len(), before + count);
            }
        }
    }
}
