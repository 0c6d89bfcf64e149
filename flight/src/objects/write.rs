//! [`Upload`]: an object being written; nobody sees it before it is whole.
//!
//! A small one is put at once; a larger one goes up in parts, a few at a time, and is given up with
//! its parts where it is not finished.

use std::{
    io::{self, Write},
    sync::Arc,
};

use bytes::Bytes;
use minispark_engine::disk::WriteFile;
use object_store::{ObjectStoreExt, WriteMultipart, path::Path as Key};

use super::{edge::Edge, read::Store};

/// The bytes of a part; stores take at most 10,000 of them.
const PART_BYTES: usize = 16 << 20;
/// How many are under way at once.
const PARTS_AT_ONCE: usize = 3;

/// An object being written.
pub(super) struct Upload {
    store: Arc<Store>,
    edge: Arc<Edge>,
    key: Key,
    buffer: Vec<u8>,
    parts: Option<WriteMultipart>,
    is_done: bool,
}

impl Upload {
    pub(super) fn new(store: Arc<Store>, edge: Arc<Edge>, key: Key) -> Self {
        Self { store, edge, key, buffer: Vec::new(), parts: None, is_done: false }
    }

    /// Sends what is in the buffer as a part.
    fn send(&mut self) -> io::Result<()> {
        let parts = self.parts.take();
        let part = Bytes::from(std::mem::take(&mut self.buffer));
        let (store, key) = (Arc::clone(&self.store), self.key.clone());
        let sent = self.edge.wait(async move {
            let mut parts = match parts {
                Some(parts) => parts,
                None => WriteMultipart::new_with_chunk_size(
                    store.inner.put_multipart(&key).await?,
                    PART_BYTES,
                ),
            };
            match parts.wait_for_capacity(PARTS_AT_ONCE).await {
                Ok(()) => {
                    parts.put(part);
                    Ok(parts)
                }
                Err(error) => {
                    // The error counts, not what comes of tidying up.
                    parts.abort().await.ok();
                    Err(error)
                }
            }
        });
        self.parts = Some(sent?);
        Ok(())
    }
}

impl Write for Upload {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(PART_BYTES - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..taken]);
        if self.buffer.len() == PART_BYTES {
            self.send()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl WriteFile for Upload {
    /// Finishes it: from now on others see it.
    fn sync(&mut self) -> io::Result<()> {
        if self.is_done {
            return Err(io::Error::other("the object is finished"));
        }
        let rest = Bytes::from(std::mem::take(&mut self.buffer));
        let (store, key, parts) = (Arc::clone(&self.store), self.key.clone(), self.parts.take());
        self.edge.wait(async move {
            if let Some(mut parts) = parts {
                if !rest.is_empty() {
                    parts.put(rest);
                }
                // It gives its parts up by itself where it can't finish.
                parts.finish().await.map(drop)
            } else {
                store.inner.put(&key, rest.into()).await.map(drop)
            }
        })?;
        self.is_done = true;
        Ok(())
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let Some(parts) = self.parts.take() else { return };
        if let Err(error) = self.edge.wait(parts.abort()) {
            tracing::warn!(%error, key = %self.key, "parts of an unfinished object are left");
        }
    }
}
