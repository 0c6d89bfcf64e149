//! [`ObjectDisk`]: URLs as the engine's files.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use futures::{StreamExt, TryStreamExt};
use minispark_engine::disk::{Disk, Expected, Lock, Object, ReadAt, WriteFile};
use object_store::{Error, ObjectStoreExt, PutMode, UpdateVersion, path::Path as Key};

use super::{
    Objects,
    location::Location,
    read::{ObjectFile, Store, head, version},
    write::Upload,
};

/// The most objects that are removed with what lies above them.
const MAX_REMOVED: usize = 1_000_000;

/// Objects, of those that may be read or of those that may be written.
pub(super) struct ObjectDisk {
    pub(super) objects: Arc<Objects>,
    pub(super) is_writing: bool,
}

impl fmt::Debug for ObjectDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectDisk").field("is_writing", &self.is_writing).finish_non_exhaustive()
    }
}

impl ObjectDisk {
    fn find(&self, path: &Path) -> io::Result<(Arc<Store>, Location)> {
        self.objects.find(path, self.is_writing)
    }

    /// The store and key of an object that is to be changed.
    fn writable(&self, path: &Path) -> io::Result<(Arc<Store>, Key)> {
        let (store, location) = self.find(path)?;
        if !self.is_writing || location.is_http() {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it can be read only"));
        }
        Ok((store, location.key))
    }
}

fn unsupported<T>() -> io::Result<T> {
    Err(io::ErrorKind::Unsupported.into())
}

impl Disk for ObjectDisk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn ReadAt>> {
        let (store, location) = self.find(path)?;
        let edge = &self.objects.edge;
        let meta = edge.wait(head(Arc::clone(&store), location.key))?;
        Ok(Arc::new(ObjectFile::new(store, Arc::clone(edge), &meta)))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        let (store, key) = self.writable(path)?;
        Ok(Box::new(Upload::new(store, Arc::clone(&self.objects.edge), key)))
    }

    fn truncate(&self, _path: &Path, _bytes: u64) -> io::Result<()> {
        unsupported()
    }

    /// Folders are parts of names, and need no making.
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.writable(path).map(drop)
    }

    fn rename(&self, _from: &Path, _to: &Path) -> io::Result<()> {
        unsupported()
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let (store, key) = self.writable(path)?;
        self.objects.edge.wait(async move {
            match store.inner.delete(&key).await {
                Err(Error::NotFound { .. }) => Ok(()),
                other => other,
            }
        })
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.writable(path)?;
        let below = self.list_below(path, MAX_REMOVED)?;
        below.iter().try_for_each(|object| self.remove_file(&object.path))
    }

    fn true_name(&self, path: &Path) -> io::Result<PathBuf> {
        Ok(path.to_owned())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.remove_file(path)?;
        self.remove_dir_all(path)
    }

    fn remove_empty_dir(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, _path: &Path) -> io::Result<Option<Lock>> {
        unsupported()
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let (store, location) = self.find(path)?;
        if location.is_http() {
            return unsupported();
        }
        let key = location.key.clone();
        let found = self
            .objects
            .edge
            .wait(async move { store.inner.list_with_delimiter(Some(&key)).await })?;
        let objects = found.objects.into_iter().map(|object| object.location);
        let mut paths: Vec<PathBuf> =
            objects.chain(found.common_prefixes).map(|name| location.url_of(&name)).collect();
        paths.sort();
        Ok(paths)
    }

    fn list_below(&self, path: &Path, limit: usize) -> io::Result<Vec<Object>> {
        let (store, location) = self.find(path)?;
        if location.is_http() {
            return unsupported();
        }
        let key = location.key.clone();
        let found: Vec<_> = self
            .objects
            .edge
            .wait(async move { store.inner.list(Some(&key)).take(limit).try_collect().await })?;
        let object = |meta: object_store::ObjectMeta| Object {
            path: location.url_of(&meta.location),
            size_bytes: meta.size,
            version: version(&meta),
        };
        let mut objects: Vec<Object> = found.into_iter().map(object).collect();
        objects.sort();
        Ok(objects)
    }

    fn put(&self, path: &Path, bytes: Vec<u8>, expected: &Expected) -> io::Result<()> {
        let (store, key) = self.writable(path)?;
        let expected = expected.clone();
        let put = self.objects.edge.wait(async move {
            let mode = match expected {
                Expected::Nothing => PutMode::Create,
                Expected::Anything => PutMode::Overwrite,
                Expected::Version(wanted) => {
                    let found = store.inner.head(&key).await?;
                    if version(&found).as_ref() != Some(&wanted) {
                        let name = key.to_string();
                        return Err(Error::AlreadyExists {
                            path: name,
                            source: "another version".into(),
                        });
                    }
                    PutMode::Update(UpdateVersion { e_tag: found.e_tag, version: found.version })
                }
            };
            let is_conditional = !matches!(mode, PutMode::Overwrite);
            let payload = object_store::PutPayload::from(bytes);
            match store.inner.put_opts(&key, payload.clone(), mode.into()).await {
                // A store without conditions: what was seen just now has to do.
                Err(Error::NotImplemented { .. } | Error::NotSupported { .. })
                    if is_conditional =>
                {
                    tracing::warn!(%key, "the store can't put on a condition; it is put without");
                    store.inner.put(&key, payload).await.map(drop)
                }
                other => other.map(drop),
            }
        });
        put.map_err(|error| match error.kind() {
            io::ErrorKind::StaleNetworkFileHandle => {
                io::Error::new(io::ErrorKind::AlreadyExists, error)
            }
            _ => error,
        })
    }

    /// What is put is there for good when the answer comes.
    fn sync_dir(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn exists(&self, path: &Path) -> bool {
        self.open(path).is_ok() || self.list_below(path, 1).is_ok_and(|below| !below.is_empty())
    }
}
