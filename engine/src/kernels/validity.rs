//! [`Validity`]: which entries of a growing column are not null, free of cost while none is.

use arrow::{array::BooleanBufferBuilder, buffer::NullBuffer};

use crate::kernels::growth::Growth;

/// One bit an entry, kept only from the first null on.
#[derive(Debug, Default)]
pub(crate) struct Validity {
    bits: Option<BooleanBufferBuilder>,
    len: usize,
}

impl Validity {
    /// Whether no entry is null.
    pub(crate) fn all_valid(&self) -> bool {
        self.bits.is_none()
    }

    /// How many entries there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Adds an entry.
    pub(crate) fn push(&mut self, is_valid: bool) {
        self.extend(1, is_valid);
    }

    /// Adds `more` entries.
    pub(crate) fn extend(&mut self, more: usize, is_valid: bool) {
        if !is_valid && more > 0 {
            self.materialise();
        }
        self.len += more;
        if let Some(bits) = &mut self.bits {
            bits.append_n(more, is_valid);
        }
    }

    /// Whether an entry is not null.
    pub(crate) fn is_valid(&self, entry: usize) -> bool {
        self.bits.as_ref().is_none_or(|bits| bits.get_bit(entry))
    }

    /// Makes an entry not null.
    pub(crate) fn set_valid(&mut self, entry: usize) {
        if let Some(bits) = &mut self.bits {
            bits.set_bit(entry, true);
        }
    }

    /// Makes an entry null or not.
    pub(crate) fn set(&mut self, entry: usize, is_valid: bool) {
        if is_valid {
            self.set_valid(entry);
        } else {
            self.materialise();
            if let Some(bits) = &mut self.bits {
                bits.set_bit(entry, false);
            }
        }
    }

    /// Extends to `len` entries and makes those valid that a row which is not null belongs to.
    /// `is_whole` says that every new entry has a row.
    pub(crate) fn see(
        &mut self,
        nulls: Option<&NullBuffer>,
        entries: &[u32],
        len: usize,
        is_whole: bool,
    ) {
        let more = len - self.len;
        let nulls = nulls.filter(|nulls| nulls.null_count() > 0);
        if nulls.is_none() && self.all_valid() && (is_whole || more == 0) {
            self.extend(more, true);
            return;
        }
        self.extend(more, false);
        for (row, entry) in entries.iter().enumerate() {
            if nulls.is_none_or(|nulls| nulls.is_valid(row)) {
                self.set_valid(*entry as usize);
            }
        }
    }

    /// The chosen entries, as arrow has it.
    pub(crate) fn gather(&self, entries: &[u32]) -> Option<NullBuffer> {
        let bits = self.bits.as_ref()?;
        let gathered: NullBuffer =
            entries.iter().map(|entry| bits.get_bit(*entry as usize)).collect();
        (gathered.null_count() > 0).then_some(gathered)
    }

    /// Bytes held.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.bits.as_ref().map_or(0, |bits| (bits.capacity() / 8) as u64)
    }

    /// The most that `more` entries may add: the bits, should the first null be among them.
    pub(crate) fn growth(&self, more: usize) -> Growth {
        let needed = (self.len + more).div_ceil(8) as u64 + 64;
        let held = self.memory_bytes();
        if needed <= held {
            return Growth::default();
        }
        Growth { lasting_bytes: needed.max(held * 2) - held, passing_bytes: held }
    }

    fn materialise(&mut self) {
        if self.bits.is_none() {
            let mut bits = BooleanBufferBuilder::new(self.len + 1);
            bits.append_n(self.len, true);
            self.bits = Some(bits);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Validity;

    #[test]
    fn entries_before_and_behind_the_first_null_are_kept_apart() {
        let mut validity = Validity::default();
        validity.extend(9, true);
        assert!(validity.all_valid() && validity.gather(&[0, 8]).is_none());
        validity.push(false);
        validity.push(true);
        assert_eq!(validity.len(), 11);
        assert!(validity.is_valid(8) && !validity.is_valid(9) && validity.is_valid(10));
        let gathered = validity.gather(&[9, 0]).unwrap();
        assert!(gathered.is_null(0) && gathered.is_valid(1));
        validity.set_valid(9);
        assert!(validity.is_valid(9));
    }
}
