//! [`ObjectFile`]: an object read at any place.
//!
//! A request costs more than a megabyte does, so none asks for less; what is left over is kept for
//! the next reads. Reads that follow one another get larger requests, and the next one is under
//! way while the caller works. A web server that gives no ranges gives a small file whole.

use std::{
    collections::VecDeque,
    io,
    ops::Range,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use minispark_engine::disk::ReadAt;
use object_store::{
    Error, GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt, path::Path as Key,
};

use super::edge::{Edge, Pending};

/// The least bytes of a request, but for a shorter object.
const MIN_BYTES: u64 = 1 << 20;
/// The most bytes that are asked for and not wanted yet.
const AHEAD_BYTES: u64 = 4 << 20;
/// More bytes are asked for in pieces, several at once.
const PIECE_BYTES: u64 = 8 << 20;
const PIECES_AT_ONCE: usize = 4;
/// How many windows a file keeps.
const WINDOWS: usize = 4;
/// The most bytes of an object that is read whole because it can't be read in part.
const WHOLE_BYTES: u64 = 64 << 20;

/// A store, and what was learnt of it.
pub(super) struct Store {
    pub(super) inner: Arc<dyn ObjectStore>,
    /// It answers a request for a part with the whole.
    lacks_ranges: AtomicBool,
    /// The last object that was read whole for that.
    whole: Mutex<Option<(Pin, Bytes)>>,
}

impl Store {
    pub(super) fn new(inner: Arc<dyn ObjectStore>) -> Self {
        Self { inner, lacks_ranges: AtomicBool::new(false), whole: Mutex::default() }
    }
}

/// An object as it was when it was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pin {
    key: Key,
    size: u64,
    e_tag: Option<String>,
    version: Option<String>,
}

impl Pin {
    pub(super) fn of(meta: &ObjectMeta) -> Self {
        let (key, e_tag) = (meta.location.clone(), meta.e_tag.clone());
        Self { key, size: meta.size, e_tag, version: version(meta) }
    }
}

/// What changes with an object's bytes, in the same words whether it was listed or asked for.
pub(super) fn version(meta: &ObjectMeta) -> Option<String> {
    let tag = meta.e_tag.as_ref().map(|tag| tag.trim_matches('"').to_owned());
    let is_dated = meta.last_modified.timestamp() > 0;
    tag.or_else(|| is_dated.then(|| meta.last_modified.to_rfc3339()))
}

/// An object opened for reading.
pub(super) struct ObjectFile {
    store: Arc<Store>,
    edge: Arc<Edge>,
    pin: Pin,
    state: Mutex<State>,
}

struct State {
    windows: VecDeque<(u64, Bytes)>,
    /// Where the last request ended.
    end: u64,
    /// How many requests in a row began where the one before had ended.
    run: u32,
    ahead: Option<(Range<u64>, Pending<Bytes>)>,
}

impl State {
    /// Copies what is in memory from `offset` on; `None` where nothing is.
    fn copy(&self, buffer: &mut [u8], offset: u64) -> Option<usize> {
        self.windows.iter().find_map(|(start, bytes)| {
            let from = usize::try_from(offset.checked_sub(*start)?).ok()?;
            let rest = bytes.get(from..).filter(|rest| !rest.is_empty())?;
            let length = rest.len().min(buffer.len());
            buffer[..length].copy_from_slice(&rest[..length]);
            Some(length)
        })
    }

    fn keep(&mut self, start: u64, bytes: Bytes) {
        if self.windows.len() == WINDOWS {
            self.windows.pop_front();
        }
        self.windows.push_back((start, bytes));
    }
}

impl ObjectFile {
    pub(super) fn new(store: Arc<Store>, edge: Arc<Edge>, meta: &ObjectMeta) -> Self {
        let state = State { windows: VecDeque::new(), end: u64::MAX, run: 0, ahead: None };
        Self { store, edge, pin: Pin::of(meta), state: Mutex::new(state) }
    }

    fn start(&self, range: Range<u64>) -> io::Result<Pending<Bytes>> {
        self.edge.start(fetch(Arc::clone(&self.store), self.pin.clone(), range))
    }

    /// Has the bytes behind `start` come while the caller works on those before.
    fn read_on(&self, state: &mut State, start: u64) {
        let range = start..self.pin.size.min(start.saturating_add(AHEAD_BYTES));
        if !range.is_empty() {
            // What does not start now is told by the read that wants it.
            state.ahead = self.start(range.clone()).ok().map(|pending| (range, pending));
        }
    }
}

impl ReadAt for ObjectFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        if offset >= self.pin.size || buffer.is_empty() {
            return Ok(0);
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(copied) = state.copy(buffer, offset) {
            return Ok(copied);
        }
        if let Some((range, pending)) = state.ahead.take()
            && range.contains(&offset)
            && let Ok(bytes) = pending.wait()
        {
            state.windows.clear();
            state.keep(range.start, bytes);
            state.end = range.end;
            self.read_on(&mut state, range.end);
            return Ok(state.copy(buffer, offset).unwrap_or(0));
        }
        let wanted = buffer.len() as u64;
        state.run = if state.end == offset { state.run + 1 } else { 0 };
        let least = (MIN_BYTES << state.run.min(2)).max(wanted);
        let range = offset..self.pin.size.min(offset.saturating_add(least));
        let bytes = self.start(range.clone())?.wait()?;
        state.end = range.end;
        let copied = bytes.len().min(buffer.len());
        buffer[..copied].copy_from_slice(&bytes[..copied]);
        if bytes.len() > copied {
            state.keep(offset, bytes);
        }
        if state.run >= 2 && wanted <= AHEAD_BYTES {
            self.read_on(&mut state, range.end);
        }
        Ok(copied)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.pin.size)
    }

    fn version(&self) -> Option<String> {
        self.pin.version.clone()
    }
}

/// The bytes of a range that lies in the object.
async fn fetch(store: Arc<Store>, pin: Pin, range: Range<u64>) -> Result<Bytes, Error> {
    if range == (0..pin.size) && range.end <= PIECE_BYTES {
        return get(&store, &pin, None).await;
    }
    if store.lacks_ranges.load(Ordering::Relaxed) {
        return whole(&store, &pin, range).await;
    }
    let starts: Vec<u64> = (range.start..range.end).step_by(to_usize(PIECE_BYTES)).collect();
    let pieces = starts.into_iter().map(|start| {
        let piece = start..range.end.min(start + PIECE_BYTES);
        let (store, pin) = (Arc::clone(&store), pin.clone());
        async move { get(&store, &pin, Some(piece)).await }
    });
    let pieces: Result<Vec<Bytes>, Error> =
        stream::iter(pieces).buffered(PIECES_AT_ONCE).try_collect().await;
    match pieces {
        Ok(mut pieces) if pieces.len() == 1 => Ok(pieces.remove(0)),
        Ok(pieces) => Ok(pieces.concat().into()),
        Err(Error::NotSupported { .. }) => {
            store.lacks_ranges.store(true, Ordering::Relaxed);
            whole(&store, &pin, range).await
        }
        Err(error) => Err(error),
    }
}

/// One request: a range, or all.
async fn get(store: &Store, pin: &Pin, range: Option<Range<u64>>) -> Result<Bytes, Error> {
    let expected = range.as_ref().map_or(pin.size, |range| range.end - range.start);
    let options = GetOptions {
        range: range.map(GetRange::Bounded),
        // A weak tag matches nothing here, by the rules of HTTP.
        if_match: pin.e_tag.clone().filter(|tag| !tag.starts_with("W/")),
        ..GetOptions::default()
    };
    let mut body = store.inner.get_opts(&pin.key, options).await?.into_stream();
    let mut bytes = Vec::with_capacity(to_usize(expected));
    while let Some(piece) = body.try_next().await? {
        // A server that goes on for ever is left.
        if bytes.len() + piece.len() > to_usize(expected) {
            return Err(strange(&format!("more than the {expected} bytes that were asked for")));
        }
        bytes.extend_from_slice(&piece);
    }
    if bytes.len() < to_usize(expected) {
        let found = bytes.len();
        return Err(strange(&format!("{found} bytes instead of the {expected} asked for")));
    }
    Ok(bytes.into())
}

/// A range of an object that has to be read whole for it.
async fn whole(store: &Store, pin: &Pin, range: Range<u64>) -> Result<Bytes, Error> {
    let part = |bytes: &Bytes| bytes.slice(to_usize(range.start)..to_usize(range.end));
    if pin.size > WHOLE_BYTES {
        return Err(strange(&format!(
            "no parts of files (HTTP ranges), and this one of {} bytes is too large to be kept \
             whole; copy it first, or serve it by another server",
            pin.size
        )));
    }
    let known = store.whole.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if let Some((_, bytes)) = known.filter(|(known, _)| known == pin) {
        return Ok(part(&bytes));
    }
    let bytes = get(store, pin, None).await?;
    let found = part(&bytes);
    *store.whole.lock().unwrap_or_else(PoisonError::into_inner) = Some((pin.clone(), bytes));
    Ok(found)
}

fn strange(what: &str) -> Error {
    Error::Generic { store: "read", source: format!("the server gives {what}").into() }
}

fn to_usize(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// What a store says of an object.
pub(super) async fn head(store: Arc<Store>, key: Key) -> Result<ObjectMeta, Error> {
    store.inner.head(&key).await
}
