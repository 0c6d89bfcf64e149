//! The worker protocol's routes: register, poll, leave.
//!
//! A poll is held while there is nothing to do, for at most one heartbeat; a later poll of the
//! same worker ends it.

use std::sync::Arc;

use axum::{Json, body::Body, extract::State, http::StatusCode};
use minispark_engine::{error::Code, id::WorkerId};
use serde::{Deserialize, de::DeserializeOwned};

use super::{jobs::stopping, problem::Problem, request::body};
use crate::{
    VERSION,
    master::{Master, cluster::Fenced, journal::Settled},
    protocol::{
        HASH_VERSION, Leave, Left, MAX_MESSAGE_BYTES, OLDEST_PROTOCOL, PROTOCOL, Poll, PollAnswer,
        Register, Registered,
    },
};

/// What the version of a message is read by, before the rest of it.
#[derive(Deserialize)]
struct Versioned {
    protocol: u32,
}

/// A message, if its version is one that is understood.
async fn message<T: DeserializeOwned>(request: Body) -> Result<T, Problem> {
    let bytes = body(request, MAX_MESSAGE_BYTES).await?;
    let unreadable =
        |error: serde_json::Error| Problem::bad_request(format!("not a worker's message: {error}"));
    let Versioned { protocol } = serde_json::from_slice(&bytes).map_err(unreadable)?;
    if !(OLDEST_PROTOCOL..=PROTOCOL).contains(&protocol) {
        return Err(unsupported(&format!(
            "the worker speaks protocol {protocol}, this master {OLDEST_PROTOCOL} to {PROTOCOL}"
        )));
    }
    serde_json::from_slice(&bytes).map_err(unreadable)
}

fn unsupported(detail: &str) -> Problem {
    Problem::new(Code::UnsupportedVersion, detail)
}

/// Why a worker's message has no effect, as it is told.
fn fenced(master: &Master, fenced: Fenced) -> Problem {
    match fenced {
        Fenced::StaleTerm => Problem::new(
            Code::StaleTerm,
            format!("this master's term is {}; register again", master.settings.term),
        ),
        Fenced::Newer { term, is_ours } => {
            if is_ours {
                tracing::error!(%term, ours = %master.settings.term, "a newer master is in charge");
                master.stop_for(term.0);
            }
            Problem::new(
                Code::StaleTerm,
                format!("term {term} is newer than this master's, {}", master.settings.term),
            )
        }
        Fenced::Unknown => Problem::new(
            Code::Conflict,
            "this master does not count on that life of the worker; take a new epoch",
        )
        .with_status(StatusCode::GONE),
        Fenced::Full => Problem::new(Code::Conflict, "too many workers")
            .with_status(StatusCode::SERVICE_UNAVAILABLE),
    }
}

/// `POST register`.
pub(crate) async fn register(
    State(master): State<Arc<Master>>,
    request: Body,
) -> Result<Json<Registered>, Problem> {
    let register: Register = message(request).await?;
    if master.stop.is_cancelled() {
        return Err(stopping());
    }
    check(&register)?;
    let worker = register.worker.clone();
    let registered = {
        let mut cluster = master.lock();
        cluster.register(master.clock.now(), register)
    };
    master.act(registered.map_err(|reason| fenced(&master, reason))?);
    Ok(Json(Registered {
        protocol: PROTOCOL,
        version: String::from(VERSION),
        worker,
        term: master.settings.term,
        heartbeat_ms: u64::try_from(master.heartbeat.as_millis()).unwrap_or(u64::MAX),
        ticket_key: master.ticket_key.clone(),
    }))
}

/// Refuses a worker that could not work with us, and values that can't be.
fn check(register: &Register) -> Result<(), Problem> {
    if register.version != VERSION {
        return Err(unsupported(&format!(
            "the worker is minispark {}, this master {VERSION}; plans travel as they are, so both \
             must be the same",
            register.version
        )));
    }
    if register.hash_version != HASH_VERSION {
        return Err(unsupported(&format!(
            "the worker's row hash has version {}, this master's {HASH_VERSION}",
            register.hash_version
        )));
    }
    let WorkerId(id) = &register.worker;
    let is_name = !id.is_empty()
        && id.len() <= 64
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    let is_address = register.address.len() <= 256
        && register.address.rsplit_once(':').is_some_and(|(host, port)| {
            !host.is_empty()
                && host.bytes().all(|byte| byte.is_ascii_graphic())
                && port.parse::<u16>().is_ok_and(|port| port > 0)
        });
    if !is_name || !is_address || !(1..=4096).contains(&register.slots) {
        return Err(Problem::bad_request("not a worker's identity, address and number of slots"));
    }
    Ok(())
}

/// `POST poll`.
pub(crate) async fn poll(
    State(master): State<Arc<Master>>,
    request: Body,
) -> Result<Json<PollAnswer>, Problem> {
    let poll: Poll = message(request).await?;
    if master.journal.is_full() {
        // Nothing can be remembered now, so nothing is taken in and nothing asked for.
        return Ok(Json(nothing(&master)));
    }
    let answer = answered(&master, poll).await?;
    match master.journal.settled().await {
        Settled::OnDisk => Ok(Json(answer)),
        // What the answer asks for is asked for again by the next one.
        Settled::Full => Ok(Json(nothing(&master))),
        Settled::Broken => Err(stopping()),
    }
}

/// An answer that asks for nothing.
fn nothing(master: &Master) -> PollAnswer {
    PollAnswer { term: Some(master.settings.term), ..PollAnswer::default() }
}

/// What a poll is answered once what it tells of is on disk.
async fn answered(master: &Arc<Master>, poll: Poll) -> Result<PollAnswer, Problem> {
    let (turn, effects) = {
        let mut cluster = master.lock();
        cluster.poll(master.clock.now(), &poll)
    };
    master.act(effects);
    let mut turn = turn.map_err(|reason| fenced(master, reason))?;
    if turn.answer.superseded || turn.answer.has_commands() || !turn.answer.acks.is_empty() {
        return Ok(turn.answer);
    }
    let held = tokio::time::timeout(master.heartbeat, async {
        loop {
            tokio::select! {
                () = master.stop.cancelled() => return None,
                changed = turn.wake.changed() => changed.ok()?,
            }
            let (answer, more_effects) = {
                let mut cluster = master.lock();
                cluster.poll_again(master.clock.now(), &poll)
            };
            master.act(more_effects);
            if answer.superseded || answer.has_commands() {
                return Some(answer);
            }
        }
    });
    let answer = held.await.ok().flatten();
    Ok(answer.unwrap_or(turn.answer))
}

/// `POST leave`.
pub(crate) async fn leave(
    State(master): State<Arc<Master>>,
    request: Body,
) -> Result<Json<Left>, Problem> {
    let Leave { worker, epoch, .. } = message(request).await?;
    let effects = {
        let mut cluster = master.lock();
        cluster.leave(master.clock.now(), &worker, epoch)
    };
    master.act(effects);
    Ok(Json(Left { term: master.settings.term }))
}
