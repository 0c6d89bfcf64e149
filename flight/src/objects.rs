//! Objects behind URLs, as the engine's [`Disk`](minispark_engine::disk::Disk) has files.
//!
//! The engine reads and writes through blocking calls and knows no sockets; an [`edge`] with a small
//! runtime of its own carries each call over to the `object_store` crate, with a deadline. Which
//! URLs may be used is said by [`StoreRule`]s, or by nobody in a user's own process; credentials
//! come from the environment alone, so that no document, plan, log or error can hold one.
//!
//! Deliberately absent: lists over HTTP, renames, and anything that more than one object at a time
//! would have to be changed for.

use std::{
    collections::HashMap,
    fmt, io,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use minispark_engine::disk::{DataDisks, rooted::not_allowed};

mod connect;
mod disk;
mod edge;
mod location;
mod read;
mod rules;
mod write;

use disk::ObjectDisk;
use edge::Edge;
use location::Location;
use read::Store;

pub use connect::prepare_tls;
pub use rules::{StoreRule, StoreRules};

/// Stores that were connected to, and which of them may be.
pub struct Objects {
    /// `None`: all of them.
    rules: Option<Vec<StoreRule>>,
    stores: Mutex<HashMap<String, Arc<Store>>>,
    edge: Arc<Edge>,
}

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Objects").field("rules", &self.rules).finish_non_exhaustive()
    }
}

impl Objects {
    /// All that the environment has credentials for, as a user's own process may.
    pub fn everywhere() -> Arc<Self> {
        Self::of(None)
    }

    /// Those that an operator has enabled.
    pub fn within(rules: Vec<StoreRule>) -> Arc<Self> {
        Self::of(Some(rules))
    }

    fn of(rules: Option<Vec<StoreRule>>) -> Arc<Self> {
        Arc::new(Self { rules, stores: Mutex::default(), edge: Arc::default() })
    }

    /// These files, and these objects beside them.
    pub fn beside(self: &Arc<Self>, files: DataDisks) -> DataDisks {
        let disk = |is_writing| Arc::new(ObjectDisk { objects: Arc::clone(self), is_writing });
        files.with_remote(disk(false), disk(true))
    }

    /// The store of a URL, and the object's place in it.
    fn find(&self, path: &Path, is_writing: bool) -> io::Result<(Arc<Store>, Location)> {
        let location = Location::of(path)?;
        let rule = match &self.rules {
            None => None,
            Some(rules) => Some(rules::of(rules, &location, is_writing).ok_or_else(not_allowed)?),
        };
        let name = rule.map_or_else(|| location.root(), |rule| rule.name.clone());
        let mut stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = stores.get(&name) {
            return Ok((Arc::clone(known), location));
        }
        let store = Arc::new(Store::new(connect::connect(&location, rule)?));
        stores.insert(name, Arc::clone(&store));
        Ok((store, location))
    }

    /// Has a store of a test stand for a bucket.
    #[cfg(test)]
    fn with(self: Arc<Self>, root: &str, store: Arc<dyn object_store::ObjectStore>) -> Arc<Self> {
        let mut stores = self.stores.lock().unwrap();
        stores.insert(String::from(root), Arc::new(Store::new(store)));
        drop(stores);
        self
    }
}

#[cfg(test)]
mod tests;
