//! What ends a master or a worker, or keeps one from starting.
//!
//! What goes wrong with a request is a [`Problem`](crate::rest::problem::Problem) instead.

use std::{io, net::SocketAddr, path::PathBuf};

use minispark_engine::error::Code;

/// Why a master or a worker does not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An address can't be listened on.
    #[error("cannot listen on {address} for {purpose}")]
    Bind {
        /// What it is for: "REST", "Flight".
        purpose: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Another process holds the folder.
    #[error("`{}` is in use by process {holder}", path.display())]
    Locked {
        /// The state or work folder.
        path: PathBuf,
        /// Its process number, as it wrote it.
        holder: String,
    },
    /// A folder belongs to somebody else.
    #[error("`{}` belongs to user {owner} and this process runs as user {user}", path.display())]
    NotOwned {
        /// The folder.
        path: PathBuf,
        /// Who owns it.
        owner: u32,
        /// Who we are.
        user: u32,
    },
    /// A file of the state or work folder does not hold what it should.
    #[error("`{}` is corrupt: {reason}", path.display())]
    StateCorrupt {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// A file of the state folder has another format, which must not be touched.
    #[error(
        "`{}` has format {found} and this build knows format {known}; start the build that wrote it",
        path.display()
    )]
    StateVersion {
        /// The file.
        path: PathBuf,
        /// The format that it names.
        found: u32,
        /// The format of this build.
        known: u32,
    },
    /// The journal can't be written any more; what is on disk counts at the next start.
    #[error("the journal can't be written: {0}")]
    Journal(String),
    /// A newer master is in charge of the workers.
    #[error("a newer master is in charge (term {newer}, ours is {ours}); this one stops")]
    Superseded {
        /// The term that a worker has seen.
        newer: u64,
        /// Ours.
        ours: u64,
    },
    /// Master and worker don't speak a common protocol.
    #[error("master {url} refuses this worker: {reason}")]
    Refused {
        /// The master.
        url: String,
        /// What it said, with both versions.
        reason: String,
    },
    /// The master's URL can't be used.
    #[error("`{url}` is not a master's URL: {reason}")]
    MasterUrl {
        /// What was given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The master lets nobody in with the worker's token, or without one.
    #[error("master {url} does not take this worker's token: {reason}")]
    NotAdmitted {
        /// The master.
        url: String,
        /// What it said.
        reason: String,
    },
    /// The token file can't be used.
    #[error("token file: {0}")]
    Tokens(#[from] crate::auth::file::FileError),
    /// The engine could not do its part.
    #[error(transparent)]
    Engine(#[from] minispark_engine::Error),
    /// The data plane could not go on.
    #[error(transparent)]
    Flight(minispark_flight::Error),
    /// The system refused a thread, a socket or a runtime.
    #[error("cannot {action}")]
    System {
        /// What was tried.
        action: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A part that must run for ever ended.
    #[error("internal error: {0}")]
    Internal(String),
}

impl Error {
    /// What users read it as.
    pub fn code(&self) -> Code {
        match self {
            Self::Bind { .. } | Self::Locked { .. } => Code::Conflict,
            Self::NotOwned { .. } | Self::Tokens(_) => Code::Forbidden,
            Self::NotAdmitted { .. } => Code::Unauthenticated,
            Self::StateCorrupt { .. } => Code::StateCorrupt,
            Self::Superseded { .. } => Code::StaleTerm,
            Self::Refused { .. } | Self::StateVersion { .. } => Code::UnsupportedVersion,
            Self::MasterUrl { .. } => Code::BadRequest,
            Self::Engine(error) => error.code(),
            Self::Flight(_) | Self::System { .. } | Self::Journal(_) | Self::Internal(_) => {
                Code::Internal
            }
        }
    }
}
