//! Tickets: what a holder may read, signed, and opaque to whoever carries them.
//!
//! A ticket is bytes, `version u8 | key id [4] | kind u8 | body | expiry u64 | HMAC-SHA256 [32]`,
//! numbers in little-endian order. The code is checked over all bytes before it, in constant time,
//! before any of them is believed; only then is the body read and the expiry looked at. Nothing
//! here looks anything up, and time is an argument.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use minispark_engine::id::{Attempt, Epoch, JobId, StageId, TaskAttempt, TaskId, Term};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// How long a ticket for a result may be used.
pub const RESULT_LIFE: Duration = Duration::from_hours(1);

/// How long a ticket for a shuffle may be used: a job's longest life, so that clocks which
/// disagree between hosts decide nothing.
pub const SHUFFLE_LIFE: Duration = Duration::from_hours(24);

/// The layout that is written and read.
const VERSION: u8 = 1;
/// `version | key id | kind | expiry | code`, with no body.
const LEAST_BYTES: usize = 1 + KEY_ID_BYTES + 1 + 8 + CODE_BYTES;
/// Longer ones are refused unread: names are at most some hundred bytes each.
const MOST_BYTES: usize = 1 << 20;
const KEY_ID_BYTES: usize = 4;
const CODE_BYTES: usize = 32;
const KIND_RESULT: u8 = 1;
const KIND_SHUFFLE: u8 = 2;

/// Seconds since 1970, wherever they come from.
pub type UnixClock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// The system's clock. A ticket's expiry is wall time, because two processes must agree on it.
pub fn system_clock() -> UnixClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one wall clock of this crate; callers pass it"
    )]
    Arc::new(|| {
        let now = std::time::SystemTime::now();
        now.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
    })
}

/// The key that tickets are signed with; clones share it.
///
/// It may be set after it was handed out: a worker gets it when it registers. Until then nothing
/// can be signed, and nothing is accepted.
#[derive(Clone, Default)]
pub struct SharedKey(Arc<RwLock<Option<[u8; 32]>>>);

impl SharedKey {
    /// One that is known already.
    pub fn new(key: [u8; 32]) -> Self {
        Self(Arc::new(RwLock::new(Some(key))))
    }

    /// Sets it, or replaces it: tickets under the old one are refused from now on.
    pub fn set(&self, key: [u8; 32]) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(key);
    }

    /// Whether it has been set.
    pub fn is_set(&self) -> bool {
        self.get().is_ok()
    }

    fn get(&self) -> Result<[u8; 32], TicketError> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).ok_or(TicketError::NoKey)
    }
}

impl fmt::Debug for SharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Why a ticket is not honoured, or can't be made. Says nothing about what it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// This process has no key yet.
    #[error("this process has no ticket key yet; it has not registered")]
    NoKey,
    /// Not made with the key, or not whole.
    #[error("the ticket is not valid")]
    Forged,
    /// Its time is over.
    #[error("the ticket has expired; ask for a new one")]
    Expired,
    /// It names more than a ticket holds.
    #[error("the ticket would be too long")]
    TooLong,
}

/// What a holder may read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ticket {
    /// Rows of a finished sink.
    Result(ResultTicket),
    /// One bucket of one map attempt.
    Shuffle(ShuffleTicket),
}

/// Names rows of a finished sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResultTicket {
    /// The job, as its client knows it.
    pub job: String,
    /// The sink within it.
    pub sink: String,
    /// These columns in this order; all where absent.
    pub columns: Option<Vec<String>>,
    /// The first rows only.
    pub limit: Option<u64>,
}

/// Names one bucket of one map attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShuffleTicket {
    /// Whose output.
    pub map: TaskAttempt,
    /// Which of its buckets.
    pub bucket: u32,
    /// The life in which its worker announced it.
    pub epoch: Epoch,
}

impl Ticket {
    /// The ticket as bytes that are good until `expires`, in seconds since 1970.
    ///
    /// # Errors
    /// [`TicketError::NoKey`], [`TicketError::TooLong`].
    pub fn seal(&self, key: &SharedKey, expires: u64) -> Result<Bytes, TicketError> {
        let secret = key.get()?;
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&key_id(&secret));
        match self {
            Self::Result(ticket) => {
                bytes.push(KIND_RESULT);
                put_text(&mut bytes, &ticket.job)?;
                put_text(&mut bytes, &ticket.sink)?;
                match &ticket.columns {
                    None => bytes.push(0),
                    Some(columns) => {
                        bytes.push(1);
                        put_length(&mut bytes, columns.len())?;
                        columns.iter().try_for_each(|name| put_text(&mut bytes, name))?;
                    }
                }
                // A limit that nothing reaches is none.
                bytes.extend_from_slice(&ticket.limit.unwrap_or(u64::MAX).to_le_bytes());
            }
            Self::Shuffle(ticket) => {
                bytes.push(KIND_SHUFFLE);
                let TaskAttempt { task, attempt } = ticket.map;
                bytes.extend_from_slice(task.job.0.as_bytes());
                bytes.extend_from_slice(&task.stage.0.to_le_bytes());
                bytes.extend_from_slice(&task.partition.to_le_bytes());
                bytes.extend_from_slice(&attempt.term.0.to_le_bytes());
                bytes.extend_from_slice(&attempt.n.to_le_bytes());
                bytes.extend_from_slice(&ticket.bucket.to_le_bytes());
                bytes.extend_from_slice(&ticket.epoch.0.to_le_bytes());
            }
        }
        bytes.extend_from_slice(&expires.to_le_bytes());
        let code = signature(&secret, &bytes)?.finalize().into_bytes();
        bytes.extend_from_slice(&code);
        if bytes.len() > MOST_BYTES {
            return Err(TicketError::TooLong);
        }
        Ok(bytes.into())
    }

    /// What `bytes` name, if they were sealed with this key and `now` is before their expiry.
    ///
    /// # Errors
    /// [`TicketError::NoKey`], [`TicketError::Forged`], [`TicketError::Expired`].
    pub fn open(bytes: &[u8], key: &SharedKey, now: u64) -> Result<Self, TicketError> {
        let secret = key.get()?;
        if !(LEAST_BYTES..=MOST_BYTES).contains(&bytes.len()) {
            return Err(TicketError::Forged);
        }
        let (signed, code) = bytes.split_at(bytes.len() - CODE_BYTES);
        signature(&secret, signed)?.verify_slice(code).map_err(|_| TicketError::Forged)?;
        let mut fields = Fields(signed);
        if fields.byte()? != VERSION || fields.array()? != key_id(&secret) {
            return Err(TicketError::Forged);
        }
        let ticket = match fields.byte()? {
            KIND_RESULT => Self::Result(fields.result()?),
            KIND_SHUFFLE => Self::Shuffle(fields.shuffle()?),
            _ => return Err(TicketError::Forged),
        };
        let expires = fields.u64()?;
        if !fields.0.is_empty() {
            return Err(TicketError::Forged);
        }
        if now >= expires { Err(TicketError::Expired) } else { Ok(ticket) }
    }
}

/// Tells keys apart without telling them: the start of a hash of the key.
fn key_id(secret: &[u8; 32]) -> [u8; KEY_ID_BYTES] {
    let mut hash = Sha256::new();
    hash.update(b"minispark ticket key id");
    hash.update(secret);
    let mut id = [0; KEY_ID_BYTES];
    id.copy_from_slice(&hash.finalize()[..KEY_ID_BYTES]);
    id
}

fn signature(secret: &[u8; 32], bytes: &[u8]) -> Result<Hmac<Sha256>, TicketError> {
    let mut code = Hmac::<Sha256>::new_from_slice(secret).map_err(|_| TicketError::NoKey)?;
    code.update(bytes);
    Ok(code)
}

fn put_length(bytes: &mut Vec<u8>, length: usize) -> Result<(), TicketError> {
    let length = u16::try_from(length).map_err(|_| TicketError::TooLong)?;
    bytes.extend_from_slice(&length.to_le_bytes());
    Ok(())
}

fn put_text(bytes: &mut Vec<u8>, text: &str) -> Result<(), TicketError> {
    put_length(bytes, text.len())?;
    bytes.extend_from_slice(text.as_bytes());
    Ok(())
}

/// Bytes not read yet. They were signed, so that what does not fit is of another make.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], TicketError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(TicketError::Forged)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], TicketError> {
        self.take(N)?.try_into().map_err(|_| TicketError::Forged)
    }

    fn byte(&mut self) -> Result<u8, TicketError> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    fn u16(&mut self) -> Result<u16, TicketError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<u32, TicketError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, TicketError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn text(&mut self) -> Result<String, TicketError> {
        let length = self.u16()?;
        let text = self.take(length.into())?.to_vec();
        String::from_utf8(text).map_err(|_| TicketError::Forged)
    }

    fn result(&mut self) -> Result<ResultTicket, TicketError> {
        let job = self.text()?;
        let sink = self.text()?;
        let columns = match self.byte()? {
            0 => None,
            _ => Some((0..self.u16()?).map(|_| self.text()).collect::<Result<_, _>>()?),
        };
        let limit = Some(self.u64()?).filter(|limit| *limit < u64::MAX);
        Ok(ResultTicket { job, sink, columns, limit })
    }

    fn shuffle(&mut self) -> Result<ShuffleTicket, TicketError> {
        let job = JobId(Uuid::from_bytes(self.array()?));
        let task = TaskId { job, stage: StageId(self.u32()?), partition: self.u32()? };
        let attempt = Attempt { term: Term(self.u64()?), n: self.u32()? };
        let map = TaskAttempt { task, attempt };
        Ok(ShuffleTicket { map, bucket: self.u32()?, epoch: Epoch(self.u64()?) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shuffle() -> Ticket {
        let task = TaskId { job: JobId(Uuid::from_u128(7)), stage: StageId(1), partition: 2 };
        let map = TaskAttempt { task, attempt: Attempt { term: Term(3), n: 4 } };
        Ticket::Shuffle(ShuffleTicket { map, bucket: 5, epoch: Epoch(6) })
    }

    fn result(columns: Option<Vec<String>>, limit: Option<u64>) -> Ticket {
        Ticket::Result(ResultTicket { job: "j".into(), sink: "súnk".into(), columns, limit })
    }

    #[test]
    fn a_sealed_ticket_opens_to_what_it_named() {
        let key = SharedKey::new([1; 32]);
        let named = Some(vec![String::from("a"), String::new()]);
        for ticket in
            [shuffle(), result(None, None), result(named, Some(0)), result(Some(vec![]), Some(9))]
        {
            let bytes = ticket.seal(&key, 100).unwrap();
            assert_eq!(Ticket::open(&bytes, &key, 99), Ok(ticket));
        }
    }

    #[test]
    fn the_layout_of_a_shuffle_ticket_is_this() {
        let bytes = shuffle().seal(&SharedKey::new([1; 32]), 100).unwrap();
        let mut expected = vec![2]; // kind
        expected.extend_from_slice(&[0; 15]); // job
        expected.extend_from_slice(&[7, 1, 0, 0, 0, 2, 0, 0, 0]); // … stage, partition
        expected.extend_from_slice(&[3, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0]); // term, n
        expected.extend_from_slice(&[5, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0]); // bucket, epoch
        expected.extend_from_slice(&[100, 0, 0, 0, 0, 0, 0, 0]); // expiry
        assert_eq!(bytes[0], 1);
        assert_eq!(bytes[5..bytes.len() - 32], expected);
    }

    #[test]
    fn a_ticket_with_any_bit_flipped_is_forged() {
        let key = SharedKey::new([1; 32]);
        let bytes = shuffle().seal(&key, 100).unwrap();
        for index in 0..bytes.len() {
            let mut flipped = bytes.to_vec();
            flipped[index] ^= 1;
            assert_eq!(Ticket::open(&flipped, &key, 0), Err(TicketError::Forged), "byte {index}");
        }
    }

    #[test]
    fn a_ticket_cut_anywhere_or_made_longer_is_forged() {
        let key = SharedKey::new([1; 32]);
        let bytes = result(None, None).seal(&key, 100).unwrap();
        for length in 0..bytes.len() {
            assert_eq!(Ticket::open(&bytes[..length], &key, 0), Err(TicketError::Forged));
        }
        let longer = [&bytes[..], &[0]].concat();
        assert_eq!(Ticket::open(&longer, &key, 0), Err(TicketError::Forged));
    }

    #[test]
    fn a_ticket_of_another_key_is_forged() {
        let bytes = shuffle().seal(&SharedKey::new([1; 32]), 100).unwrap();
        let other = SharedKey::new([2; 32]);
        assert_eq!(Ticket::open(&bytes, &other, 0), Err(TicketError::Forged));
    }

    #[test]
    fn a_ticket_ends_with_its_last_second() {
        let key = SharedKey::new([1; 32]);
        let bytes = shuffle().seal(&key, 100).unwrap();
        assert_eq!(Ticket::open(&bytes, &key, 100), Err(TicketError::Expired));
    }

    #[test]
    fn without_a_key_nothing_is_sealed_or_opened_until_it_is_set() {
        let key = SharedKey::default();
        let clone = key.clone();
        assert_eq!(shuffle().seal(&key, 100), Err(TicketError::NoKey));
        assert_eq!(Ticket::open(&[0; 99], &key, 0), Err(TicketError::NoKey));
        clone.set([1; 32]);
        assert!(key.is_set());
        assert!(Ticket::open(&shuffle().seal(&key, 100).unwrap(), &clone, 0).is_ok());
    }

    #[test]
    fn a_key_is_never_shown() {
        assert_eq!(format!("{:?}", SharedKey::new([65; 32])), "***");
    }

    #[test]
    fn a_name_that_does_not_fit_is_refused() {
        let ticket = result(Some(vec!["x".repeat(70_000)]), None);
        assert_eq!(ticket.seal(&SharedKey::new([1; 32]), 1), Err(TicketError::TooLong));
    }
}
