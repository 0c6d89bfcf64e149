//! Both sides taken apart by bits of their keys' hash, into spill files: rows that belong together
//! are in parts of one number, and a part of the build side is a 16th of it.
//!
//! A part that still does not fit is taken apart by the next bits. One that has most of the rows is
//! not: it has a key of many rows, or no bits are left, and goes [chunk by chunk](super::pass).
//! Rows that can have no partner are settled at once.
//!
//! Source: grace hash join (Kitsuregawa, Tanaka and Moto-oka, 1983).

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::{
    array::{BooleanArray, RecordBatch},
    compute::{concat_batches, filter_record_batch},
    datatypes::SchemaRef,
};

use super::{
    build::{Collected, Facts},
    output::{BuildRows, output},
    probe::{Pairs, chosen},
    shape::Shape,
};
use crate::{
    Result,
    exchange::store::JobFolder,
    id::JobId,
    kernels::{
        compact::{row_bytes, unique_bytes},
        scatter::Scatter,
    },
    memory::{
        Reservation,
        spill::{SpillFile, SpillWriter},
    },
    operators::Operator,
    plan::JoinRows,
    task::context::TaskContext,
};

/// A split goes by so many bits of the hash.
const SPLIT_BITS: u32 = 4;
/// After so many splits all bits of the hash are used up.
const LEVELS: u32 = 64 / SPLIT_BITS;

/// So many bytes are gathered before they are written, where the budget allows it.
const ROUND_BYTES: u64 = 8 << 20;
/// So much is gathered even where the budget refuses it: small blocks cost more than they save.
const LEAST_ROUND_BYTES: u64 = 1 << 20;
/// The aim for a block.
const BLOCK_BYTES: u64 = 1 << 20;
/// The most rows of a block.
const BLOCK_ROWS: usize = 8192;

/// How often the rows at hand have been taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Level(u32);

impl Level {
    /// Not at all.
    pub(super) const NONE: Self = Self(0);

    /// That of the parts.
    fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// How many parts are made; one where no bit is left or there are no keys.
    fn parts(self, shape: &Shape) -> usize {
        let can_split = self.0 < LEVELS && !shape.build_keys.is_empty();
        if can_split { 1 << SPLIT_BITS } else { 1 }
    }

    /// The part of a hash, of so many.
    ///
    /// The hash's own high bits have chosen the bucket, so that they are much alike here.
    /// Multiplied by an odd number, which loses nothing, every bit has a part in the high bits of
    /// the product.
    fn part_of(self, hash: u64, parts: u32) -> u32 {
        if parts == 1 {
            return 0;
        }
        let mixed = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let bits = mixed >> (64 - SPLIT_BITS * (self.0 + 1));
        #[expect(clippy::cast_possible_truncation, reason = "a few bits")]
        let part = bits as u32 & (parts - 1);
        part
    }
}

/// Where the spill files of a build side go.
#[derive(Clone, Copy)]
pub(super) enum Place {
    /// To the attempt's own folder; they go with it.
    Attempt,
    /// To the job's, as other attempts read them.
    Job(JobId),
}

/// A build side in parts.
#[derive(Debug)]
pub(super) struct Parts {
    level: Level,
    /// The rows of each part; absent where it has none.
    files: Vec<Option<Arc<SpillFile>>>,
    /// Rows without a partner that come out.
    lonely: Option<Arc<SpillFile>>,
    facts: Facts,
    /// Behind the files, so that they are removed first.
    _folder: Option<JobFolder>,
}

/// Rows of both sides that belong together, in files; or of one side alone.
pub(super) struct Part {
    pub(super) build: Option<Arc<SpillFile>>,
    pub(super) probe: Option<Arc<SpillFile>>,
    pub(super) level: Level,
    /// Whether taking it apart would not help.
    pub(super) is_stubborn: bool,
}

impl Parts {
    /// Takes a build side apart: what has been collected, the batch behind that, and the rest.
    pub(super) fn of(
        shape: &Shape,
        (collected, refused): (Collected, Option<RecordBatch>),
        rest: &mut dyn Operator,
        level: Level,
        place: Place,
        context: &TaskContext,
    ) -> Result<Self> {
        let shared = match place {
            Place::Attempt => None,
            Place::Job(job) => Some(context.store.job_folder(job)),
        };
        let folder = shared.as_ref().map_or_else(|| context.scratch.clone(), JobFolder::path);
        let mut facts = collected.facts;
        let schema = Arc::clone(&shape.build_schema);
        let mut splitter = Splitter::new(schema, level.parts(shape), folder.clone(), context);
        let mut lonely: Option<SpillWriter> = None;
        let mut keep_lonely = |batch: &RecordBatch| -> Result<()> {
            let writer = match &mut lonely {
                Some(writer) => writer,
                None => lonely.insert(context.spill_in(&folder, Arc::clone(&shape.build_schema))?),
            };
            writer.write(batch)
        };
        let add = |to: &mut Splitter, batch: &RecordBatch| -> Result<()> {
            let hashes = shape.hashes(batch, &shape.build_keys(batch)?)?;
            to.add(batch, &hashes, level, context)
        };
        let (keyed, alone, mut reservation) = collected.into_batches();
        for batch in alone {
            keep_lonely(&batch)?;
        }
        for batch in keyed {
            reservation.shrink(unique_bytes(&batch));
            add(&mut splitter, &batch)?;
        }
        reservation.free();
        let mut refused = refused;
        while let Some(batch) =
            refused.take().map_or_else(|| rest.next(), |batch| Ok(Some(batch)))?
        {
            context.cancel.check()?;
            let (with_key, without) = facts.apart(batch, shape)?;
            if let Some(without) = without {
                keep_lonely(&without)?;
            }
            if let Some(with_key) = with_key {
                add(&mut splitter, &with_key)?;
            }
        }
        let lonely = lonely.map(SpillWriter::finish).transpose()?.map(Arc::new);
        let files = splitter.finish(context)?;
        Ok(Self { level, files, lonely, facts, _folder: shared })
    }

    /// Whether a part has so many of the rows that taking it apart would not help.
    fn is_stubborn(&self, part: usize) -> bool {
        let rows = |file: &Option<Arc<SpillFile>>| file.as_ref().map_or(0, |file| file.rows());
        let all: u64 = self.files.iter().map(rows).sum();
        rows(&self.files[part]) > all / 2
    }
}

/// A probe side on its way into parts. Rows that have no partner come out, or don't, at once.
pub(super) struct Splitting {
    parts: Arc<Parts>,
    probe: Box<dyn Operator>,
    /// Absent before the first row.
    splitter: Option<Splitter>,
}

impl Splitting {
    /// All rows of `probe`, as `parts` are.
    pub(super) fn new(parts: Arc<Parts>, probe: Box<dyn Operator>) -> Self {
        Self { parts, probe, splitter: None }
    }

    /// The next rows that are settled by now; `None` once the probe side is in files.
    pub(super) fn next(
        &mut self,
        shape: &Shape,
        context: &TaskContext,
    ) -> Result<Option<RecordBatch>> {
        while let Some(batch) = self.probe.next()? {
            context.cancel.check()?;
            if let Some(settled) = self.take(batch, shape, context)? {
                return Ok(Some(settled));
            }
        }
        Ok(None)
    }

    /// Takes a batch apart; gives what of it comes out now.
    fn take(
        &mut self,
        batch: RecordBatch,
        shape: &Shape,
        context: &TaskContext,
    ) -> Result<Option<RecordBatch>> {
        let (parts, level) = (Arc::clone(&self.parts), self.parts.level);
        let count = parts.files.len();
        let keys = shape.probe_keys(&batch)?;
        let hashes = shape.hashes(&batch, &keys)?;
        let unequal = shape.unequal(&keys);
        let is_null = |row: usize| unequal.as_ref().is_some_and(|valid| valid.is_null(row));
        let is_null_aware = matches!(shape.rows, JoinRows::ProbeWithout { null_aware: true });
        #[expect(clippy::cast_possible_truncation, reason = "a handful of parts")]
        let part = |row: usize| level.part_of(hashes[row], count as u32) as usize;
        let may_meet: Vec<bool> = (0..batch.num_rows())
            .map(|row| !is_null(row) && parts.files[part(row)].is_some())
            .collect();
        // Nothing is known to be outside of a list with a null, and nothing of a null.
        let is_decided = is_null_aware && parts.facts.has_null_key;
        let alone = if shape.keeps_lonely_probe() && !is_decided {
            chosen(
                (0..batch.num_rows()).map(|row| !(may_meet[row] || is_null_aware && is_null(row))),
            )
        } else {
            Vec::new()
        };
        let settled = if alone.is_empty() {
            None
        } else {
            let pairs = Pairs::of_probe(alone);
            Some(output(shape, Some(&batch), BuildRows::None, pairs)?)
        };
        let (batch, hashes) = if may_meet.iter().all(|may_meet| *may_meet) && !is_decided {
            (batch, hashes)
        } else {
            let mask: BooleanArray = may_meet.iter().map(|row| Some(*row && !is_decided)).collect();
            let rows = hashes.iter().zip(mask.values()).filter(|(_, stays)| *stays);
            (filter_record_batch(&batch, &mask)?, rows.map(|(hash, _)| *hash).collect())
        };
        if batch.num_rows() > 0 {
            let splitter = self.splitter.get_or_insert_with(|| {
                Splitter::new(batch.schema(), count, context.scratch.clone(), context)
            });
            splitter.add(&batch, &hashes, level, context)?;
        }
        Ok(settled)
    }

    /// What is to be joined, once the probe side is in files.
    pub(super) fn finish(self, context: &TaskContext) -> Result<Vec<Part>> {
        drop(self.probe);
        let parts = self.parts;
        let probes = match self.splitter {
            Some(splitter) => splitter.finish(context)?,
            None => vec![None; parts.files.len()],
        };
        let level = parts.level.next();
        let pairs = parts.files.iter().zip(probes).enumerate();
        let part = |(number, (build, probe)): (usize, (&Option<Arc<SpillFile>>, _))| Part {
            build: build.clone(),
            probe,
            level,
            is_stubborn: parts.is_stubborn(number),
        };
        let lonely = parts.lonely.clone();
        let lonely =
            lonely.map(|build| Part { build: Some(build), probe: None, level, is_stubborn: true });
        Ok(pairs.map(part).chain(lonely).collect())
    }
}

/// Rows on their way into the files of their parts.
struct Splitter {
    schema: SchemaRef,
    folder: PathBuf,
    writers: Vec<Option<SpillWriter>>,
    scatter: Scatter,
    /// Batches whose rows stand part after part.
    batches: Vec<RecordBatch>,
    /// Where each part's rows are in them.
    pieces: Vec<Vec<Piece>>,
    /// About the bytes of their rows.
    bytes: u64,
    reservation: Reservation,
}

/// Rows of one batch that go to one part.
struct Piece {
    batch: usize,
    start: usize,
    rows: usize,
}

impl Splitter {
    fn new(schema: SchemaRef, parts: usize, folder: PathBuf, context: &TaskContext) -> Self {
        Self {
            schema,
            folder,
            writers: std::iter::repeat_with(|| None).take(parts).collect(),
            scatter: Scatter::default(),
            batches: Vec::new(),
            pieces: std::iter::repeat_with(Vec::new).take(parts).collect(),
            bytes: 0,
            reservation: context.budget.reservation("join (rows to spill)"),
        }
    }

    /// Takes rows in whose hashes are given.
    fn add(
        &mut self,
        batch: &RecordBatch,
        hashes: &[u64],
        level: Level,
        context: &TaskContext,
    ) -> Result<()> {
        let bytes = unique_bytes(batch);
        if !self.reservation.try_grow(bytes) {
            if self.reservation.held_bytes() >= LEAST_ROUND_BYTES {
                self.write(context)?;
            }
            self.reservation.grow(bytes);
        }
        #[expect(clippy::cast_possible_truncation, reason = "a handful of parts")]
        let parts = self.writers.len() as u32;
        self.scatter.scatter_by(hashes, parts, |hash| level.part_of(hash, parts));
        let index = self.batches.len();
        self.batches.push(if parts == 1 { batch.clone() } else { self.scatter.permute(batch)? });
        for part in self.scatter.occupied() {
            let range = self.scatter.range(part);
            let piece = Piece { batch: index, start: range.start, rows: range.len() };
            self.pieces[part as usize].push(piece);
        }
        self.bytes += row_bytes(batch);
        if self.reservation.held_bytes() >= ROUND_BYTES { self.write(context) } else { Ok(()) }
    }

    /// Writes what has been gathered, in blocks as large as there are rows for.
    fn write(&mut self, context: &TaskContext) -> Result<()> {
        let rows: usize = self.batches.iter().map(RecordBatch::num_rows).sum();
        let row_bytes = (self.bytes / (rows as u64).max(1)).max(1);
        let most = usize::try_from(BLOCK_BYTES / row_bytes).unwrap_or(BLOCK_ROWS);
        let most = most.clamp(1, BLOCK_ROWS);
        for (pieces, writer) in self.pieces.iter_mut().zip(&mut self.writers) {
            context.cancel.check()?;
            let (mut group, mut group_rows) = (Vec::new(), 0);
            for piece in pieces.drain(..) {
                for start in (0..piece.rows).step_by(most) {
                    let taken = most.min(piece.rows - start);
                    group.push(self.batches[piece.batch].slice(piece.start + start, taken));
                    group_rows += taken;
                    if group_rows >= most {
                        write_block(writer, &mut group, &self.schema, &self.folder, context)?;
                        group_rows = 0;
                    }
                }
            }
            if group_rows > 0 {
                write_block(writer, &mut group, &self.schema, &self.folder, context)?;
            }
        }
        self.batches.clear();
        self.bytes = 0;
        self.reservation.free();
        Ok(())
    }

    /// The files, one a part that has rows.
    fn finish(mut self, context: &TaskContext) -> Result<Vec<Option<Arc<SpillFile>>>> {
        self.write(context)?;
        let finish = |writer: Option<SpillWriter>| {
            writer.map(|writer| writer.finish().map(Arc::new)).transpose()
        };
        self.writers.into_iter().map(finish).collect()
    }
}

/// Writes several batches as one block; the group is empty afterwards.
fn write_block(
    writer: &mut Option<SpillWriter>,
    group: &mut Vec<RecordBatch>,
    schema: &SchemaRef,
    folder: &Path,
    context: &TaskContext,
) -> Result<()> {
    let writer = match writer {
        Some(writer) => writer,
        None => writer.insert(context.spill_in(folder, Arc::clone(schema))?),
    };
    match group.as_slice() {
        [only] => writer.write(only)?,
        several => writer.write(&concat_batches(schema, several)?)?,
    }
    group.clear();
    Ok(())
}
