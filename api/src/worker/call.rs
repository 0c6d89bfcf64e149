//! Calls to the master: bounded in time and bytes, and what their answers mean.

use std::{io, net::IpAddr, time::Duration};

use minispark_flight::objects::prepare_tls;
use reqwest::{Client, StatusCode, Url, redirect};
use serde::{Serialize, de::DeserializeOwned};

use crate::{auth::Secret, error::Error, protocol::MAX_MESSAGE_BYTES, rest::wire::ProblemDocument};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(3);

/// How long a call may take beside the time for which the master may hold it.
const CALL: Duration = Duration::from_secs(10);

/// The first pause between tries.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// The longest pause: a worker is taken for lost after a few seconds, so it asks more often.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Why a call had no good answer.
#[derive(Debug)]
pub(crate) enum CallError {
    /// The master is away, or what answers is no master: try again.
    Away(String),
    /// Another master is in charge: register again, same epoch.
    StaleTerm,
    /// The master does not count on this life: begin a new one.
    Lost,
    /// The versions do not meet: it won't get better by itself.
    Unsupported(String),
    /// The token is missing, wrong, or not a worker's.
    NotAdmitted(String),
}

/// The way to the master.
#[derive(Clone, Debug)]
pub(crate) struct MasterClient {
    client: Client,
    base: Url,
    token: Option<Secret>,
}

impl MasterClient {
    /// A way to the master at `url`: `http://host:port`, or just `host:port`.
    pub(crate) fn new(url: &str, token: Option<Secret>) -> Result<Self, Error> {
        let refuse = |reason: String| Error::MasterUrl { url: String::from(url), reason };
        let full = if url.contains("://") { String::from(url) } else { format!("http://{url}") };
        let base: Url = full.parse().map_err(|error| refuse(format!("{error}")))?;
        if base.scheme() != "http" {
            return Err(refuse(String::from("it should begin with http://")));
        }
        if base.host_str().is_none_or(str::is_empty) {
            return Err(refuse(String::from("it names no host")));
        }
        prepare_tls();
        // A proxy for web pages is no way to a master, and none of it is encrypted: a machine
        // without CA certificates will do.
        let client = Client::builder()
            .no_proxy()
            .tls_certs_only([])
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT)
            .build()
            .map_err(|error| refuse(format!("{error}")))?;
        Ok(Self { client, base, token })
    }

    /// The master's URL.
    pub(crate) fn url(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// The address of this machine as the master's machine sees it.
    pub(crate) fn local_address(&self) -> io::Result<IpAddr> {
        let sockets = self.base.socket_addrs(|| None)?;
        let master = sockets.first().ok_or(io::ErrorKind::AddrNotAvailable)?;
        let any: IpAddr = match master {
            std::net::SocketAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
            std::net::SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
        };
        // Connecting a datagram socket sends nothing; it only picks the route.
        let socket = std::net::UdpSocket::bind((any, 0))?;
        socket.connect(master)?;
        Ok(socket.local_addr()?.ip())
    }

    /// Sends one message and reads the answer, which may be held back for `hold`.
    pub(crate) async fn call<T: DeserializeOwned>(
        self,
        path: &'static str,
        message: impl Serialize,
        hold: Duration,
    ) -> Result<T, CallError> {
        let mut url = self.base.clone();
        url.set_path(path);
        let away = |error: reqwest::Error| CallError::Away(chain(&error));
        let mut request = self.client.post(url).json(&message).timeout(CALL + hold);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose());
        }
        let mut response = request.send().await.map_err(away)?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(away)? {
            if body.len() + chunk.len() > MAX_MESSAGE_BYTES {
                return Err(CallError::Away(String::from("the answer is too large")));
            }
            body.extend_from_slice(&chunk);
        }
        if status.is_success() {
            return serde_json::from_slice(&body)
                .map_err(|error| CallError::Away(format!("the answer can't be read: {error}")));
        }
        Err(refused(status, &body))
    }
}

fn refused(status: StatusCode, body: &[u8]) -> CallError {
    let problem: Option<ProblemDocument> = serde_json::from_slice(body).ok();
    let code = problem.as_ref().map(|problem| problem.code.as_str());
    match (status, code) {
        (StatusCode::CONFLICT, Some("STALE_TERM")) => CallError::StaleTerm,
        (StatusCode::GONE, Some(_)) => CallError::Lost,
        (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, Some(_)) => {
            CallError::NotAdmitted(problem.map(|problem| problem.detail).unwrap_or_default())
        }
        (StatusCode::UPGRADE_REQUIRED, _) => {
            CallError::Unsupported(problem.map(|problem| problem.detail).unwrap_or_default())
        }
        _ => {
            let detail = problem.map(|problem| format!(": {}", problem.detail));
            CallError::Away(format!("it answers {status}{}", detail.unwrap_or_default()))
        }
    }
}

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// Growing pauses with full jitter between tries.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
}

impl Backoff {
    /// One that begins with the shortest pause.
    pub(crate) fn new() -> Self {
        Self { next: FIRST_PAUSE }
    }

    /// The next pause: random, below a bound that doubles.
    pub(crate) fn pause(&mut self) -> Duration {
        let bound = self.next;
        self.next = (bound * 2).min(LONGEST_PAUSE);
        let mut random = [0; 4];
        // Without randomness the whole bound is waited, which is still a pause.
        let part = match getrandom::fill(&mut random) {
            Ok(()) => f64::from(u32::from_le_bytes(random)) / f64::from(u32::MAX),
            Err(_) => 1.0,
        };
        bound.mul_f64(part).max(Duration::from_millis(10))
    }

    /// Begins again with the shortest pause.
    pub(crate) fn reset(&mut self) {
        self.next = FIRST_PAUSE;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use reqwest::StatusCode;

    use super::{Backoff, CallError, MasterClient, refused};

    #[test]
    fn a_master_may_be_named_with_or_without_its_scheme() {
        for url in ["http://localhost:8080", "localhost:8080", "http://localhost:8080/"] {
            assert_eq!(MasterClient::new(url, None).unwrap().url(), "http://localhost:8080");
        }
        for url in ["https://localhost:8080", "ftp://x", "http://", "not a url"] {
            assert!(MasterClient::new(url, None).is_err(), "{url}");
        }
    }

    #[test]
    fn only_a_minispark_problem_ends_a_life() {
        let problem = |code: &str| {
            format!(
                "{{\"type\":\"\",\"title\":\"\",\"status\":0,\"detail\":\"d\",\"code\":\"{code}\",\
                 \"error\":\"d\",\"retryable\":false,\"request_id\":\"\"}}"
            )
        };
        let gone = refused(StatusCode::GONE, problem("CONFLICT").as_bytes());
        assert!(matches!(gone, CallError::Lost));
        let stale = refused(StatusCode::CONFLICT, problem("STALE_TERM").as_bytes());
        assert!(matches!(stale, CallError::StaleTerm));
        let proxy = refused(StatusCode::GONE, b"<html>");
        assert!(matches!(proxy, CallError::Away(_)));
        let other = refused(StatusCode::NOT_FOUND, b"");
        assert!(matches!(other, CallError::Away(text) if text.contains("404")));
    }

    #[test]
    fn pauses_stay_below_their_cap() {
        let mut backoff = Backoff::new();
        for _ in 0..20 {
            assert!(backoff.pause() <= Duration::from_secs(2));
        }
        backoff.reset();
        assert!(backoff.pause() <= Duration::from_millis(200));
    }
}
