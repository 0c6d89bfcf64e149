//! A batch of the probe side: its partners, pair after pair, and which of its rows have one.

use arrow::{array::RecordBatch, buffer::NullBuffer};

use super::{
    BATCH_ROWS, NO_ROW,
    build::Built,
    lookup::{Partners, forget_nulls},
    shape::Shape,
};
use crate::{
    Result,
    kernels::{key_table::NO_GROUP, prefetch::prefetch},
};

/// So many rows before its own a row's partners are asked for.
const AHEAD: usize = 32;

/// A batch of the probe side, and how far it has come.
pub(super) struct Probing {
    /// The rows.
    pub(super) batch: RecordBatch,
    /// Each row's group, or [`NO_GROUP`].
    groups: Vec<u32>,
    /// The rows without a null among their keys, where nulls equal nothing and there are some.
    valid: Option<NullBuffer>,
    /// The next row.
    row: usize,
    /// How many of the row's partners have come out.
    partner: usize,
    /// Of each row whether it is part of a pair that was left; empty where nobody asks.
    met: Vec<bool>,
}

/// Rows that belong together.
pub(super) struct Pairs {
    /// Of the probe side; [`NO_ROW`] in all pairs or in none.
    pub(super) probe_rows: Vec<u32>,
    /// Of the build side, with [`NO_ROW`] where there is no partner.
    pub(super) build_rows: Vec<u32>,
    /// Whether there is such a place in `build_rows`.
    pub(super) has_lonely: bool,
}

impl Pairs {
    /// Rows of the probe side that stand alone.
    pub(super) fn of_probe(probe_rows: Vec<u32>) -> Self {
        let build_rows = vec![NO_ROW; probe_rows.len()];
        Self { probe_rows, build_rows, has_lonely: true }
    }

    /// Rows of the build side that stand alone.
    pub(super) fn of_build(build_rows: Vec<u32>) -> Self {
        let probe_rows = vec![NO_ROW; build_rows.len()];
        Self { probe_rows, build_rows, has_lonely: false }
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.probe_rows.is_empty()
    }

    /// Leaves only the pairs for which `holds` is true.
    pub(super) fn retain(&mut self, holds: &[bool]) {
        for rows in [&mut self.probe_rows, &mut self.build_rows] {
            let mut kept = holds.iter();
            rows.retain(|_| kept.next() == Some(&true));
        }
    }
}

impl Probing {
    /// The rows of `batch`, looked up.
    pub(super) fn new(batch: RecordBatch, shape: &Shape, built: &Built) -> Result<Self> {
        let keys = shape.probe_keys(&batch)?;
        let mut groups = Vec::new();
        built.lookup.find(shape, &batch, &keys, &mut groups)?;
        let valid = shape.unequal(&keys);
        forget_nulls(&mut groups, valid.as_ref());
        Ok(Self { batch, groups, valid, row: 0, partner: 0, met: Vec::new() })
    }

    /// Prepared for [`Self::mark`], with these rows marked from the start.
    pub(super) fn tracking(mut self, met: Vec<bool>) -> Self {
        self.met = met;
        self
    }

    /// Which rows are marked.
    pub(super) fn met(&self) -> &[bool] {
        &self.met
    }

    /// The next pairs, at most [`BATCH_ROWS`]; none once the batch is done. With `once` no further
    /// partner is looked for once a row is marked.
    pub(super) fn pairs(&mut self, built: &Built, keeps_lonely: bool, once: bool) -> Pairs {
        match built.lookup.partners() {
            Partners::Unique => self.single_pairs(keeps_lonely, once),
            Partners::Lists { starts, rows } => self.many_pairs(starts, rows, keeps_lonely, once),
        }
    }

    /// The pairs of the next rows, which have one partner each or none.
    fn single_pairs(&mut self, keeps_lonely: bool, once: bool) -> Pairs {
        loop {
            let first = self.row;
            let groups = &self.groups[first..self.groups.len().min(first + BATCH_ROWS)];
            self.row += groups.len();
            #[expect(clippy::cast_possible_truncation, reason = "a batch has fewer than 2³² rows")]
            let first_row = first as u32;
            let pairs = if keeps_lonely {
                let probe_rows = (first_row..).take(groups.len()).collect();
                let has_lonely = groups.contains(&NO_GROUP);
                Pairs { probe_rows, build_rows: groups.to_vec(), has_lonely }
            } else {
                // Without a branch: which rows have a partner can't be foretold.
                let (mut probe_rows, mut build_rows) =
                    (vec![0; groups.len()], vec![0; groups.len()]);
                let mut count = 0;
                for (row, group) in (first_row..).zip(groups) {
                    probe_rows[count] = row;
                    build_rows[count] = *group;
                    count += usize::from(*group != NO_GROUP);
                }
                probe_rows.truncate(count);
                build_rows.truncate(count);
                let mut pairs = Pairs { probe_rows, build_rows, has_lonely: false };
                if once && !self.met.is_empty() {
                    let open: Vec<bool> =
                        pairs.probe_rows.iter().map(|row| !self.met[*row as usize]).collect();
                    pairs.retain(&open);
                }
                pairs
            };
            if !pairs.is_empty() || self.row == self.groups.len() {
                return pairs;
            }
        }
    }

    /// The next pairs of rows that may have several partners.
    fn many_pairs(
        &mut self,
        starts: &[u32],
        rows: &[u32],
        keeps_lonely: bool,
        once: bool,
    ) -> Pairs {
        let (mut probe_rows, mut build_rows) =
            (Vec::with_capacity(BATCH_ROWS), Vec::with_capacity(BATCH_ROWS));
        let mut has_lonely = false;
        while let Some(group) = self.groups.get(self.row).copied() {
            if let Some(far) = self.groups.get(self.row + 2 * AHEAD) {
                prefetch(starts, *far as usize);
            }
            let near = self.groups.get(self.row + AHEAD);
            if let Some(first) = near.and_then(|near| starts.get(*near as usize)) {
                prefetch(rows, *first as usize);
            }
            let room = BATCH_ROWS - probe_rows.len();
            if room == 0 {
                break;
            }
            #[expect(clippy::cast_possible_truncation, reason = "a batch has fewer than 2³² rows")]
            let row = self.row as u32;
            if group == NO_GROUP {
                if keeps_lonely {
                    probe_rows.push(row);
                    build_rows.push(NO_ROW);
                    has_lonely = true;
                }
                self.row += 1;
                continue;
            }
            if once && self.met.get(self.row) == Some(&true) {
                self.partner = 0;
                self.row += 1;
                continue;
            }
            let (start, end) = ends(starts, group);
            let start = start + self.partner;
            let taken = room.min(end - start);
            build_rows.extend_from_slice(&rows[start..start + taken]);
            probe_rows.resize(probe_rows.len() + taken, row);
            self.partner += taken;
            if start + taken == end {
                self.partner = 0;
                self.row += 1;
            }
        }
        Pairs { probe_rows, build_rows, has_lonely }
    }

    /// Marks the rows among some pairs.
    pub(super) fn mark(&mut self, pairs: &Pairs) {
        for row in &pairs.probe_rows {
            self.met[*row as usize] = true;
        }
    }

    /// Marks the rows whose keys are on the build side.
    pub(super) fn mark_found(&mut self) {
        for (met, group) in self.met.iter_mut().zip(&self.groups) {
            *met |= *group != NO_GROUP;
        }
    }

    /// Marks all rows of the build side whose keys are among this batch's.
    pub(super) fn mark_groups(&self, built: &Built, met: &mut [bool]) {
        let found = self.groups.iter().filter(|group| **group != NO_GROUP);
        match built.lookup.partners() {
            Partners::Unique => found.for_each(|row| met[*row as usize] = true),
            Partners::Lists { starts, rows } => {
                for group in found {
                    let (start, end) = ends(starts, *group);
                    let rows = &rows[start..end];
                    // All rows of a group are marked together.
                    if rows.first().is_some_and(|first| !met[*first as usize]) {
                        for row in rows {
                            met[*row as usize] = true;
                        }
                    }
                }
            }
        }
    }

    /// The rows that are marked, or that are not.
    pub(super) fn rows(&self, marked: bool) -> Vec<u32> {
        chosen(self.met.iter().map(|met| *met == marked))
    }

    /// The rows whose keys are on the build side, or are not.
    pub(super) fn rows_in_groups(&self, found: bool) -> Vec<u32> {
        chosen(self.groups.iter().map(|group| (*group != NO_GROUP) == found))
    }

    /// The rows for which SQL's `not in` is true of the build side.
    pub(super) fn rows_not_in(&self, built: &Built) -> Vec<u32> {
        if !built.facts.has_rows {
            return chosen(self.groups.iter().map(|_| true));
        }
        if built.facts.has_null_key {
            return Vec::new();
        }
        let is_valid = |row| self.valid.as_ref().is_none_or(|valid| valid.is_valid(row));
        let rows = self.groups.iter().enumerate();
        chosen(rows.map(|(row, group)| *group == NO_GROUP && is_valid(row)))
    }
}

/// Where a group's rows begin and end.
fn ends(starts: &[u32], group: u32) -> (usize, usize) {
    let group = group as usize;
    (starts[group] as usize, starts[group + 1] as usize)
}

/// The numbers of the rows that are chosen.
pub(super) fn chosen(rows: impl Iterator<Item = bool>) -> Vec<u32> {
    (0..).zip(rows).filter(|(_, is_chosen)| *is_chosen).map(|(row, _)| row).collect()
}
