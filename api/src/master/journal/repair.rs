//! Setting a bad segment aside, at the wish of whoever starts the master.

use std::{
    collections::BTreeSet,
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
};

use minispark_engine::{Error as EngineError, disk::Disk, id::JobId};

use super::{
    entry::Entry,
    files::Files,
    record::{self, Found, HEADER_BYTES},
};
use crate::error::Error;

/// What was found and done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repaired {
    /// The segment, where it has been set aside.
    pub aside: PathBuf,
    /// Where in it the first bad record begins, in bytes.
    pub offset: u64,
    /// The numbers of the records that are lost.
    pub lost: Vec<u64>,
    /// The jobs that the segment speaks of, of which something may be lost.
    pub jobs: Vec<JobId>,
    /// Its records that were kept.
    pub kept: usize,
}

/// Sets segments with corrupt records aside (`<segment>.bad`) and puts in their place what of them
/// is whole; nothing is deleted. Gives what was found, nothing where all is well.
///
/// What is lost of a running job is at worst computed again. A job whose acceptance is lost is
/// unknown from then on.
///
/// # Errors
/// Those of the disk.
pub(crate) fn repair(disk: &Arc<dyn Disk>, folder: &Path) -> Result<Vec<Repaired>, Error> {
    let files = Files::below(disk, folder)?;
    let (_, mut last_seq) = files.newest_snapshot()?;
    let segments = files.segments()?;
    let mut repaired = Vec::new();
    for (index, segment) in segments.iter().enumerate() {
        let next = segments.get(index + 1);
        if next.is_some_and(|next| next.seq <= last_seq + 1) {
            continue;
        }
        let bytes = files.read(&segment.path)?;
        let end = next.map(|next| next.seq - 1);
        let survey = survey(&bytes, last_seq.min(segment.seq.saturating_sub(1)), end);
        if let Some(offset) = survey.first_bad {
            repaired.push(set_aside(&files, &segment.path, &bytes, offset, &survey)?);
        }
        last_seq = survey.last_seq.max(last_seq);
    }
    Ok(repaired)
}

/// The whole records of a segment, and what is missing.
struct Survey<'a> {
    records: Vec<record::Record<'a>>,
    lost: Vec<u64>,
    first_bad: Option<usize>,
    last_seq: u64,
}

/// Looks for whole records, whatever lies between them.
fn survey(bytes: &[u8], mut last_seq: u64, end: Option<u64>) -> Survey<'_> {
    let mut found = Survey { records: Vec::new(), lost: Vec::new(), first_bad: None, last_seq };
    let has_header = record::version_of(bytes).is_some();
    let mut at = if has_header { HEADER_BYTES } else { 0 };
    if !has_header && !bytes.is_empty() {
        found.first_bad = Some(0);
    }
    loop {
        let next = match record::find(bytes, at) {
            Found::Record(record) => Some(record),
            Found::End => None,
            Found::Torn if end.is_none() => None,
            Found::Torn | Found::Corrupt => {
                found.first_bad.get_or_insert(at);
                record::next_whole(bytes, at + 1)
            }
        };
        let Some(record) = next else { break };
        at = record.place.end;
        found.lost.extend(last_seq + 1..record.seq);
        last_seq = record.seq;
        found.records.push(record);
    }
    if let Some(end) = end {
        found.lost.extend(last_seq + 1..=end);
        last_seq = last_seq.max(end);
    }
    if !found.lost.is_empty() {
        found.first_bad.get_or_insert(at);
    } else if found.first_bad.is_some() {
        found.lost.push(last_seq + 1);
        last_seq += 1;
    }
    found.last_seq = last_seq;
    found
}

fn set_aside(
    files: &Files,
    path: &Path,
    content: &[u8],
    offset: usize,
    survey: &Survey<'_>,
) -> Result<Repaired, Error> {
    let mut whole = record::header().to_vec();
    let mut lost = survey.lost.iter().peekable();
    let stand_in = |bytes: &mut Vec<u8>, seq: u64| {
        record::append(bytes, seq, Entry::Lost.kind(), b"{}");
    };
    let mut jobs = BTreeSet::new();
    for record in &survey.records {
        while let Some(seq) = lost.next_if(|seq| **seq < record.seq) {
            stand_in(&mut whole, *seq);
        }
        record::append(&mut whole, record.seq, record.kind, record.payload);
        if let Ok(entry) = Entry::of(record.kind, record.payload) {
            jobs.extend(jobs_of(&entry));
        }
    }
    lost.for_each(|seq| stand_in(&mut whole, *seq));

    let mut aside = path.with_extension("log.bad");
    let mut number = 1_u32;
    while files.disk.exists(&aside) {
        number += 1;
        aside = path.with_extension(format!("log.bad{number}"));
    }
    let repaired = path.with_extension("repaired");
    let write = || -> std::io::Result<()> {
        let mut file = files.disk.create(&repaired)?;
        file.write_all(&whole)?;
        file.flush()?;
        file.sync()?;
        drop(file);
        // The bad one is kept under its new name before the repaired one takes its place.
        let mut copy = files.disk.create(&aside)?;
        copy.write_all(content)?;
        copy.flush()?;
        copy.sync()?;
        drop(copy);
        files.disk.rename(&repaired, path)?;
        files.disk.sync_dir(&files.segment_dir)
    };
    write().map_err(EngineError::io("repair", path))?;
    Ok(Repaired {
        aside,
        offset: offset as u64,
        lost: survey.lost.clone(),
        jobs: jobs.into_iter().collect(),
        kept: survey.records.len(),
    })
}

fn jobs_of(entry: &Entry) -> Vec<JobId> {
    match entry {
        Entry::Job(saved) => vec![saved.job],
        Entry::Facts(facts) => facts.iter().map(minispark_engine::schedule::Fact::job).collect(),
        Entry::Published(results) => vec![results.job],
        Entry::Expired(of) | Entry::Forgotten(of) => vec![of.job],
        Entry::Percent(percent) => vec![percent.job],
        Entry::Key(kept) => vec![kept.job],
        Entry::Started(_) | Entry::Complete(_) | Entry::Lost => Vec::new(),
    }
}
