//! Who calls: tokens, their roles, and what a caller may see and do.
//!
//! Without a token file there is one caller, `Caller::Anyone`, who may do all; the command line
//! lets a server without one listen beyond loopback only where that is said aloud. With one, every
//! call needs a token, also on loopback.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use chrono::{DateTime, Utc};
use minispark_engine::{error::Code, schedule::Now};
use minispark_flight::Refusal;
use subtle::ConstantTimeEq;

use crate::rate::{Meter, Rate};

pub mod file;

use file::{FileError, Stamp, Token};

/// What a token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// See the jobs of its name.
    Read,
    /// Also submit and end jobs.
    Submit,
    /// All, and see the jobs of all.
    Admin,
    /// Be a worker, and nothing else.
    Worker,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Read, Self::Submit, Self::Admin, Self::Worker];

    /// The role as it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Submit => "submit",
            Self::Admin => "admin",
            Self::Worker => "worker",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|role| role.name() == text);
        known.ok_or_else(|| format!("no role `{text}`; there are read, submit, admin, worker"))
    }
}

/// A token's text, which is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// The least characters of a secret: 32 bytes of randomness have more in any notation.
    const LEAST: usize = 32;
    /// Longer ones are not looked at.
    const MOST: usize = 512;

    /// A secret that was just made.
    fn new(text: String) -> Self {
        Self(text.into())
    }

    /// A secret of somebody else, if it can be one: long enough, and visible characters only.
    pub fn checked(text: &str) -> Option<Self> {
        let fits = (Self::LEAST..=Self::MOST).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_graphic());
        fits.then(|| Self(text.into()))
    }

    /// The text itself, for the one place where it is sent or printed.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What a call does, as far as roles go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// It only reads.
    Read,
    /// It submits or ends a job.
    Submit,
    /// It is a worker's.
    Work,
    /// It changes the cluster itself.
    Administer,
}

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// Whoever can reach a server without tokens.
    Anyone,
    /// The holder of a token.
    Holder {
        /// The token's name.
        name: Arc<str>,
        /// What it may do.
        role: Role,
    },
}

impl Caller {
    /// Refuses what the caller's role does not allow.
    pub(crate) fn allow(&self, deed: Deed) -> Result<(), Refusal> {
        let Self::Holder { role, .. } = self else { return Ok(()) };
        let is_allowed = match deed {
            Deed::Read => *role != Role::Worker,
            Deed::Submit => matches!(role, Role::Submit | Role::Admin),
            Deed::Work => matches!(role, Role::Worker | Role::Admin),
            Deed::Administer => *role == Role::Admin,
        };
        if is_allowed {
            return Ok(());
        }
        Err(Refusal::new(Code::Forbidden, format!("a token with role {role} may not do this")))
    }

    /// Whether the caller sees all jobs.
    pub(crate) fn sees_all(&self) -> bool {
        matches!(self, Self::Anyone | Self::Holder { role: Role::Admin, .. })
    }

    /// Whether the caller sees the jobs of `owner`.
    pub(crate) fn sees(&self, owner: Option<&str>) -> bool {
        match self {
            Self::Holder { name, .. } => self.sees_all() || owner == Some(name),
            Self::Anyone => true,
        }
    }

    /// Who owns what the caller submits.
    pub(crate) fn owner(&self) -> Option<String> {
        match self {
            Self::Anyone => None,
            Self::Holder { name, .. } => Some(name.to_string()),
        }
    }
}

/// How often the token file is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Wrong tokens of one peer that are answered one by one; beyond, the peer is told to wait.
const GUESSES: Rate = Rate { per_second: 1, burst: 20 };

/// Requests of one token, or of one peer without.
const REQUESTS: Rate = Rate { per_second: 50, burst: 100 };

/// Decides who calls, and how often.
#[derive(Debug)]
pub(crate) struct Door {
    tokens: Option<Tokens>,
    guesses: Meter<IpAddr>,
    requests: Meter<Subject>,
}

/// Whose requests are counted together.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Subject {
    Holder(Arc<str>, Role),
    Peer(IpAddr),
}

/// The tokens of a file, read again when it changes.
#[derive(Debug)]
struct Tokens {
    path: PathBuf,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    tokens: Arc<[Token]>,
    stamp: Option<Stamp>,
    looked: Option<Now>,
}

impl Door {
    /// One that only the tokens of a file open; one that is open where there is none.
    pub(crate) fn new(token_file: Option<PathBuf>) -> Result<Self, FileError> {
        let tokens = token_file
            .map(|path| {
                // The stamp first: what is written after it is seen at the next look.
                let stamp = file::stamp(&path).ok();
                let tokens = file::read(&path)?.into();
                let known = Mutex::new(Known { tokens, stamp, looked: None });
                Ok(Tokens { path, known })
            })
            .transpose()?;
        Ok(Self { tokens, guesses: Meter::new(GUESSES), requests: Meter::new(REQUESTS) })
    }

    /// Who calls, by the value of an `Authorization` header.
    ///
    /// A right token is never refused for the wrong ones of a neighbour.
    ///
    /// # Errors
    /// [`Code::Unauthenticated`]; [`Code::RateLimited`] where the peer has been guessing.
    pub(crate) fn admit(
        &self,
        authorization: Option<&[u8]>,
        peer: Option<SocketAddr>,
        now: Now,
        wall: DateTime<Utc>,
    ) -> Result<Caller, Refusal> {
        let Some(tokens) = &self.tokens else { return Ok(Caller::Anyone) };
        let refused = |message: &str| Refusal::new(Code::Unauthenticated, message);
        let Some(authorization) = authorization else {
            return Err(refused("this server needs a token: `Authorization: Bearer TOKEN`"));
        };
        if let Some(caller) =
            bearer(authorization).and_then(|secret| tokens.holder(&secret, now, wall))
        {
            return Ok(caller);
        }
        if let Some(peer) = peer
            && !self.guesses.allow(peer.ip().to_canonical(), now)
        {
            let message = "too many wrong tokens; wait a moment";
            return Err(Refusal::new(Code::RateLimited, message));
        }
        Err(refused("the token is not known, was revoked or has expired"))
    }
}

impl Door {
    /// Whether tokens are asked for.
    pub(crate) fn is_locked(&self) -> bool {
        self.tokens.is_some()
    }

    /// Counts a client's request. Loopback without a token is not counted, and neither are workers,
    /// whose calls don't come here.
    ///
    /// # Errors
    /// [`Code::RateLimited`].
    pub(crate) fn count(
        &self,
        caller: &Caller,
        peer: Option<SocketAddr>,
        now: Now,
    ) -> Result<(), Refusal> {
        let peer = peer.map(|peer| peer.ip().to_canonical());
        let subject = match (caller, peer) {
            (Caller::Holder { name, role }, _) => Subject::Holder(Arc::clone(name), *role),
            (Caller::Anyone, Some(peer)) if !peer.is_loopback() => Subject::Peer(peer),
            (Caller::Anyone, _) => return Ok(()),
        };
        if self.requests.allow(subject, now) {
            return Ok(());
        }
        let Rate { per_second, burst } = REQUESTS;
        let message = format!("more than {per_second} requests a second, and {burst} at once");
        Err(Refusal::new(Code::RateLimited, message))
    }
}

/// The secret of `Bearer SECRET`.
fn bearer(authorization: &[u8]) -> Option<Secret> {
    let text = std::str::from_utf8(authorization).ok()?;
    let (scheme, secret) = text.trim().split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    Secret::checked(secret.trim_start())
}

impl Tokens {
    /// Whose secret it is. All tokens are compared whole, whichever fits, so that the time it
    /// takes tells nothing.
    fn holder(&self, secret: &Secret, now: Now, wall: DateTime<Utc>) -> Option<Caller> {
        let hash = file::hash(secret.expose());
        let mut found = None;
        let tokens = self.current(now);
        for token in tokens.iter() {
            if bool::from(token.hash.ct_eq(&hash)) {
                found = Some(token);
            }
        }
        let token = found.filter(|token| token.expires.is_none_or(|end| wall < end))?;
        Some(Caller::Holder { name: token.name.as_str().into(), role: token.role })
    }

    /// The tokens as they stand in the file. A file that can't be read changes nothing.
    fn current(&self, now: Now) -> Arc<[Token]> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.looked.is_none_or(|last| now.saturating_sub(last) >= LOOK) {
            known.looked = Some(now);
            let stamp = file::stamp(&self.path).ok();
            if stamp != known.stamp {
                match file::read(&self.path) {
                    Ok(tokens) => {
                        tracing::info!(tokens = tokens.len(), "token file read again");
                        known.tokens = tokens.into();
                    }
                    Err(error) => {
                        tracing::error!(%error, "token file unreadable; the last one counts");
                    }
                }
                known.stamp = stamp;
            }
        }
        Arc::clone(&known.tokens)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chrono::{DateTime, Utc};
    use minispark_engine::error::Code;

    use super::{Caller, Deed, Door, Role, Secret, file};

    fn time(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn holder(role: Role) -> Caller {
        Caller::Holder { name: "me".into(), role }
    }

    #[test]
    fn a_role_may_do_these_and_no_other_things() {
        let deeds = [Deed::Read, Deed::Submit, Deed::Work, Deed::Administer];
        let allowed = |caller: Caller| deeds.map(|deed| caller.allow(deed).is_ok());
        assert_eq!(allowed(holder(Role::Read)), [true, false, false, false]);
        assert_eq!(allowed(holder(Role::Submit)), [true, true, false, false]);
        assert_eq!(allowed(holder(Role::Worker)), [false, false, true, false]);
        assert_eq!(allowed(holder(Role::Admin)), [true; 4]);
        assert_eq!(allowed(Caller::Anyone), [true; 4]);
    }

    #[test]
    fn a_token_sees_the_jobs_of_its_name_and_an_admin_those_of_all() {
        let owners = [None, Some("me"), Some("you")];
        let seen = |caller: Caller| owners.map(|owner| caller.sees(owner));
        assert_eq!(seen(holder(Role::Read)), [false, true, false]);
        assert_eq!(seen(holder(Role::Submit)), [false, true, false]);
        assert_eq!(seen(holder(Role::Admin)), [true; 3]);
        assert_eq!(seen(Caller::Anyone), [true; 3]);
    }

    #[test]
    fn a_secret_is_never_shown() {
        let secret = Secret::checked(&"s".repeat(40)).unwrap();
        assert_eq!(format!("{secret:?}"), "***");
        assert!(Secret::checked("short").is_none());
        assert!(Secret::checked(&" ".repeat(40)).is_none());
    }

    #[test]
    fn only_a_known_living_token_opens_the_door_and_guesses_are_slowed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        let born = time("2026-11-23T10:00:00Z");
        let end = time("2026-11-24T10:00:00Z");
        let (_, secret) = file::add(&path, "ci", Role::Submit, born, Some(end)).unwrap();
        let door = Door::new(Some(path.clone())).unwrap();
        let peer = Some("10.0.0.7:1234".parse().unwrap());
        let admit = |header: Option<&str>, now: u64, wall: DateTime<Utc>| {
            let now = Duration::from_secs(now);
            door.admit(header.map(str::as_bytes), peer, now, wall).map_err(|error| error.code)
        };
        let right = format!("bearer  {}", secret.expose());
        let expected = Caller::Holder { name: "ci".into(), role: Role::Submit };
        assert_eq!(admit(Some(&right), 0, born), Ok(expected.clone()));
        assert_eq!(admit(Some(&right), 0, end), Err(Code::Unauthenticated), "expired");
        assert_eq!(admit(None, 0, born), Err(Code::Unauthenticated));
        for wrong in
            ["Bearer x".to_owned(), format!("Basic {}", secret.expose()), right[..60].to_owned()]
        {
            assert_eq!(admit(Some(&wrong), 0, born), Err(Code::Unauthenticated), "{wrong}");
        }
        let guess = format!("Bearer {}", "0".repeat(64));
        let answers: Vec<_> = (0..10_000).map(|_| admit(Some(&guess), 0, born)).collect();
        let limited = answers.iter().filter(|answer| **answer == Err(Code::RateLimited)).count();
        assert_eq!(limited, 10_000 - 16, "a burst of 20, of which 4 were used before");
        assert_eq!(admit(Some(&right), 0, born), Ok(expected), "a neighbour is let in");

        assert_eq!(file::revoke(&path, "ci", None).unwrap(), 1);
        assert_eq!(admit(Some(&right), 2, born), Err(Code::Unauthenticated), "revoked");
    }

    #[test]
    fn requests_are_counted_by_token_or_peer_but_not_of_loopback_without_one() {
        let door = Door::new(None).unwrap();
        let taken = |caller: &Caller, peer: &str| {
            let peer = Some(format!("{peer}:1").parse().unwrap());
            (0..300).filter(|_| door.count(caller, peer, Duration::ZERO).is_ok()).count()
        };
        assert_eq!(taken(&Caller::Anyone, "127.0.0.1"), 300);
        assert_eq!(taken(&Caller::Anyone, "10.0.0.1"), 100);
        assert_eq!(taken(&Caller::Anyone, "10.0.0.2"), 100);
        assert_eq!(taken(&holder(Role::Read), "127.0.0.1"), 100);
        assert_eq!(taken(&holder(Role::Read), "10.0.0.3"), 0, "the same token elsewhere");
        assert_eq!(taken(&holder(Role::Admin), "127.0.0.1"), 100);
    }

    #[test]
    fn without_a_file_anyone_may_do_all() {
        let door = Door::new(None).unwrap();
        let born = time("2026-11-23T10:00:00Z");
        assert_eq!(door.admit(None, None, Duration::ZERO, born).unwrap(), Caller::Anyone);
    }
}
