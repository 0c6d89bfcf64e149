//! The REST client: one master, bounded waits, and errors that name the URL.
//!
//! It knows routes and status codes; what the documents mean is the commands' business.

use std::{error::Error as _, time::Duration};

use minispark_api::{
    auth::Secret,
    objects::prepare_tls,
    rest::wire::{
        Cluster, DryRun, Freed, Health, Job, JobSummary, Page, Place, ProblemDocument,
        ResultFormat, Results, Submitted, Worker,
    },
};
use minispark_engine::error::Code;
use reqwest::{
    Method, Response, StatusCode,
    header::{AUTHORIZATION, HeaderMap, HeaderValue},
    redirect,
};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep};

use crate::{
    error::{Error, Exit, Result},
    events::Events,
};

/// How long a connection may take to open.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a control call may take in all.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);
/// The pause before a call that came too often is made again.
const RATE_PAUSE: Duration = Duration::from_millis(500);
/// How long a download may stand still.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// The pauses between tries of a submission whose answer did not come: a master that restarts is
/// back soon.
const SUBMIT_PAUSES: [Duration; 3] =
    [Duration::from_millis(200), Duration::from_millis(600), Duration::from_millis(1_200)];
/// The most bytes of an answer that is read whole.
const ANSWER_LIMIT_BYTES: usize = 64 << 20;

/// What of a result is to be downloaded; all of it, as it is, by default.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wanted<'a> {
    /// Its rows in this format.
    pub(crate) format: Option<ResultFormat>,
    /// Its first rows.
    pub(crate) limit: Option<u64>,
    /// One of its files, by number.
    pub(crate) file: Option<u64>,
    /// What follows so many bytes, if the whole still has this checksum; else the whole.
    pub(crate) rest: Option<(u64, &'a str)>,
}

/// Calls the routes of one master.
pub(crate) struct Client {
    http: reqwest::Client,
    server: String,
}

impl Client {
    /// A client of the master at `server`, `http://host:port`, let in by `token`.
    ///
    /// # Errors
    /// Where the system gives it nothing to work with.
    pub(crate) fn new(server: &str, token: Option<Secret>) -> Result<Self> {
        let failed = |error: &dyn std::error::Error| {
            Error::new(Exit::Other, Code::Internal, error.to_string())
        };
        let mut headers = HeaderMap::new();
        if let Some(token) = token {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose()))
                .map_err(|error| failed(&error))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        prepare_tls();
        let mut builder = reqwest::Client::builder();
        if !server.starts_with("https://") {
            // Reading the machine's CA certificates takes a while, and it may have none.
            builder = builder.tls_certs_only([]);
        }
        let http = builder
            .default_headers(headers)
            // A token is for this server, wherever it points.
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(IDLE_TIMEOUT)
            .user_agent(concat!("minispark/", env!("CARGO_PKG_VERSION")))
            // A cluster's addresses are not for proxies of the environment.
            .no_proxy()
            .build()
            .map_err(|error| failed(&error))?;
        Ok(Self { http, server: server.to_owned() })
    }

    /// The master's address.
    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    /// Hands a job document over; the answer holds `job_id`. The same `key` gives the same job, so
    /// a call whose answer was lost is made again.
    ///
    /// # Errors
    /// What the master refuses, with all problems of the document.
    pub(crate) async fn submit(
        &self,
        document: &str,
        strict: bool,
        key: &str,
    ) -> Result<Submitted> {
        let path = if strict { "/api/v1/jobs?strict=true" } else { "/api/v1/jobs" };
        let mut pauses = SUBMIT_PAUSES.iter();
        loop {
            let request = self
                .http
                .request(Method::POST, self.url(path))
                .timeout(CALL_TIMEOUT)
                .header("content-type", "application/json")
                .header("idempotency-key", key)
                .body(document.to_owned());
            match self.json(path, request).await {
                Err(error) if error.exit == Exit::Unreachable => match pauses.next() {
                    Some(pause) => sleep(*pause).await,
                    None => return Err(error),
                },
                answer => return answer,
            }
        }
    }

    /// Has a document checked and explained; nothing is started.
    ///
    /// # Errors
    /// What the master refuses, with all problems of the document.
    pub(crate) async fn dry_run(&self, document: &str, strict: bool) -> Result<DryRun> {
        let path = format!("/api/v1/jobs?dry_run=true&strict={strict}");
        let request = self
            .http
            .request(Method::POST, self.url(&path))
            .timeout(CALL_TIMEOUT)
            .header("content-type", "application/json")
            .body(document.to_owned());
        self.json(&path, request).await
    }

    /// Forgets a final job; its outputs stay, unless they are to go as well.
    ///
    /// # Errors
    /// [`Exit::NoSuchJob`] where there is none, [`Exit::Conflict`] where it runs.
    pub(crate) async fn forget(&self, job: &str, outputs: bool) -> Result<()> {
        let path = format!("/api/v1/jobs/{job}?outputs={outputs}");
        let request = self.http.request(Method::DELETE, self.url(&path)).timeout(CALL_TIMEOUT);
        let answer = request.send().await.map_err(|error| self.unreachable(&path, &error))?;
        if answer.status().is_success() {
            return Ok(());
        }
        Err(self.refusal(&path, answer).await)
    }

    /// Lets the master let go of what is beyond its rules of retention.
    ///
    /// # Errors
    /// Where the master can't be asked.
    pub(crate) async fn gc(&self) -> Result<Freed> {
        let path = "/api/v1/gc";
        let request = self.http.request(Method::POST, self.url(path)).timeout(CALL_TIMEOUT);
        self.json(path, request).await
    }

    /// A job's status document.
    ///
    /// # Errors
    /// [`Exit::NoSuchJob`] where there is none.
    pub(crate) async fn job(&self, job: &str) -> Result<Job> {
        self.get(&format!("/api/v1/jobs/{job}")).await
    }

    /// A finished job's results document.
    ///
    /// # Errors
    /// [`Exit::NotFinished`], [`Exit::JobFailed`], [`Exit::JobCancelled`] where it has none.
    pub(crate) async fn results(&self, job: &str) -> Result<Results> {
        self.get(&format!("/api/v1/jobs/{job}/results")).await
    }

    /// All jobs, newest first, from all pages.
    ///
    /// # Errors
    /// Where the master can't be asked.
    pub(crate) async fn jobs(&self) -> Result<Vec<JobSummary>> {
        self.pages("/api/v1/jobs?limit=500").await
    }

    /// The workers that the master knows.
    ///
    /// # Errors
    /// Where the master can't be asked.
    pub(crate) async fn workers(&self) -> Result<Page<Worker>> {
        self.get("/api/v1/workers").await
    }

    /// The cluster in a few numbers.
    ///
    /// # Errors
    /// Where the master can't be asked.
    pub(crate) async fn cluster(&self) -> Result<Cluster> {
        self.get("/api/v1/cluster").await
    }

    /// Ends a job; the answer is its status. One that has ended is left as it is.
    ///
    /// # Errors
    /// [`Exit::NoSuchJob`] where there is none.
    pub(crate) async fn cancel(&self, job: &str) -> Result<Job> {
        let path = format!("/api/v1/jobs/{job}/cancel");
        let request = self.http.request(Method::POST, self.url(&path)).timeout(CALL_TIMEOUT);
        self.json(&path, request).await
    }

    /// A sink's rows as a stream of bytes: the whole result, or what is said of it.
    ///
    /// # Errors
    /// As [`Client::results`].
    pub(crate) async fn download(
        &self,
        job: &str,
        sink: &str,
        wanted: Wanted<'_>,
    ) -> Result<Response> {
        let path = format!("/api/v1/jobs/{job}/results/{sink}");
        let mut request = self.http.get(self.url(&path));
        if let Some(format) = wanted.format {
            request = request.query(&[("format", format.name())]);
        }
        let numbers = [("limit", wanted.limit), ("file", wanted.file)];
        for (name, number) in numbers {
            if let Some(number) = number {
                request = request.query(&[(name, number)]);
            }
        }
        if let Some((from, checksum)) = wanted.rest {
            request = request
                .header("range", format!("bytes={from}-"))
                .header("if-range", format!("\"{checksum}\""));
        }
        let answer = request.send().await.map_err(|error| self.unreachable(&path, &error))?;
        if answer.status().is_success() {
            Ok(answer)
        } else {
            Err(self.refusal(&path, answer).await)
        }
    }

    /// A page of bad rows as JSON Lines, and the path of the next one.
    ///
    /// # Errors
    /// [`Exit::NoSuchJob`] where there is no such job; where it has no results.
    pub(crate) async fn bad_rows(&self, path: &str) -> Result<(Vec<u8>, Option<String>)> {
        let request = self.http.get(self.url(path));
        let answer = request.send().await.map_err(|error| self.unreachable(path, &error))?;
        if !answer.status().is_success() {
            return Err(self.refusal(path, answer).await);
        }
        let link = answer.headers().get("link").and_then(|link| link.to_str().ok());
        let next = link.and_then(|link| link.strip_prefix('<')?.split_once('>'));
        let next = next.map(|(next, _)| next.to_owned());
        let rows = self.body(path, answer).await?;
        Ok((rows, next))
    }

    /// A job's events, or everybody's; behind the event `last_id` where one is given.
    ///
    /// # Errors
    /// [`Exit::NoSuchJob`] where there is no such job; where the master offers none now.
    pub(crate) async fn events(&self, job: Option<&str>, last_id: Option<&str>) -> Result<Events> {
        let path = match job {
            Some(job) => format!("/api/v1/jobs/{job}/events"),
            None => "/api/v1/events".to_owned(),
        };
        let mut request = self.http.get(self.url(&path)).header("accept", "text/event-stream");
        if let Some(id) = last_id {
            request = request.header("last-event-id", id);
        }
        let answer = request.send().await.map_err(|error| self.unreachable(&path, &error))?;
        if !answer.status().is_success() {
            return Err(self.refusal(&path, answer).await);
        }
        let kind = answer.headers().get("content-type").and_then(|kind| kind.to_str().ok());
        if kind.is_none_or(|kind| !kind.starts_with("text/event-stream")) {
            return Err(self.odd(&path, "the answer is no stream of events"));
        }
        Ok(Events::new(answer))
    }

    /// The id that `id` means: itself, the newest job's for `@last`, or that of the one job whose
    /// id begins with it.
    ///
    /// # Errors
    /// [`Exit::NoSuchJob`] where none fits, [`Exit::Usage`] where several do.
    pub(crate) async fn resolve(&self, id: &str) -> Result<String> {
        if is_whole(id) {
            return Ok(id.to_owned());
        }
        if id != "@last" && !id.chars().all(|c| c.is_ascii_hexdigit() || c == '-') {
            return Err(self.no_such_job(&format!("no job `{id}`: a job's id is a UUID")));
        }
        let jobs = self.jobs().await?;
        let ids = jobs.iter().map(|job| job.id.as_str());
        if id == "@last" {
            let mut ids = ids;
            return match ids.next() {
                Some(newest) => Ok(newest.to_owned()),
                None => Err(self.no_such_job("there are no jobs")),
            };
        }
        let prefix = id.to_ascii_lowercase();
        let fitting: Vec<&str> = ids.filter(|one| one.starts_with(&prefix)).collect();
        match fitting.as_slice() {
            [one] => Ok((*one).to_owned()),
            [] => Err(self.no_such_job(&format!("no job `{id}`"))),
            several => Err(Error::usage(format!("{} jobs begin with `{id}`", several.len()))
                .at(several.join(", "))
                .help("give more of the id")),
        }
    }

    fn no_such_job(&self, what: &str) -> Error {
        Error::new(Exit::NoSuchJob, Code::NotFound, what)
            .at(self.server.as_str())
            .help("list the jobs: minispark status")
    }

    /// Whether the master takes jobs.
    ///
    /// # Errors
    /// [`Exit::Unreachable`] where it does not.
    pub(crate) async fn ready(&self) -> Result<Health> {
        self.get("/readyz").await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let request = self.http.request(Method::GET, self.url(path)).timeout(CALL_TIMEOUT);
        self.json(path, request).await
    }

    /// The items of all pages.
    async fn pages<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>> {
        let mut page: Page<T> = self.get(path).await?;
        let mut items = page.items;
        while let Some(cursor) = page.next_cursor {
            page = self.get(&format!("{path}&cursor={cursor}")).await?;
            items.append(&mut page.items);
        }
        Ok(items)
    }

    async fn json<T: DeserializeOwned>(
        &self,
        path: &str,
        request: reqwest::RequestBuilder,
    ) -> Result<T> {
        let started = Instant::now();
        let answer = loop {
            let copy =
                request.try_clone().ok_or_else(|| self.odd(path, "a call is not repeatable"))?;
            let answer = copy.send().await.map_err(|error| self.unreachable(path, &error))?;
            if answer.status().is_success() {
                break answer;
            }
            let refusal = self.refusal(path, answer).await;
            // Others may share our token, and then its rate.
            if *refusal.code != *Code::RateLimited.name() || started.elapsed() > CALL_TIMEOUT {
                return Err(refusal);
            }
            sleep(RATE_PAUSE).await;
        };
        let bytes = self.body(path, answer).await?;
        serde_json::from_slice(&bytes)
            .map_err(|error| self.odd(path, &format!("the answer is not understood: {error}")))
    }

    /// An answer's body, read whole.
    async fn body(&self, path: &str, mut answer: Response) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        while let Some(chunk) =
            answer.chunk().await.map_err(|error| self.unreachable(path, &error))?
        {
            if bytes.len() + chunk.len() > ANSWER_LIMIT_BYTES {
                return Err(self.odd(path, "the answer is too large"));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    /// An answer that is an error: the problem document's own words, where it is one.
    async fn refusal(&self, path: &str, answer: Response) -> Error {
        let status = answer.status();
        let bytes = match self.body(path, answer).await {
            Ok(bytes) => bytes,
            Err(error) => return error,
        };
        match serde_json::from_slice::<ProblemDocument>(&bytes) {
            Ok(document) if status == StatusCode::UNAUTHORIZED => Error::of_problem(document)
                .help("name the file with your token with --token-file, or set MINISPARK_TOKEN"),
            Ok(document) => Error::of_problem(document),
            Err(_) => self.odd(path, &format!("HTTP status {status}, no problem document")),
        }
    }

    fn unreachable(&self, path: &str, error: &reqwest::Error) -> Error {
        let mut what = if error.is_timeout() {
            "the server did not answer in time".to_owned()
        } else if error.is_connect() {
            "cannot reach the server".to_owned()
        } else {
            "the connection to the server broke".to_owned()
        };
        let mut source = error.source();
        while let Some(inner) = source {
            if inner.source().is_none() {
                what.push_str(": ");
                what.push_str(&inner.to_string());
            }
            source = inner.source();
        }
        Error::new(Exit::Unreachable, Code::Internal, what)
            .kind("UNREACHABLE")
            .at(self.url(path))
            .help("start one with `minispark master`, or name another with --server or MASTER_URL")
    }

    fn odd(&self, path: &str, what: &str) -> Error {
        Error::new(Exit::Other, Code::Internal, what)
            .at(self.url(path))
            .help("is this a minispark master?")
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.server)
    }
}

/// Where something happened, in one line.
pub(crate) fn show_place(place: &Place) -> String {
    let numbers = [("stage", place.stage), ("partition", place.partition)];
    let texts = [("node", &place.node), ("attempt", &place.attempt), ("worker", &place.worker)];
    let numbers = numbers.iter().filter_map(|(name, value)| Some(format!("{name} {}", (*value)?)));
    let texts =
        texts.iter().filter_map(|(name, value)| Some(format!("{name} {}", value.as_ref()?)));
    texts.chain(numbers).collect::<Vec<_>>().join(", ")
}

/// Whether the id is a whole UUID.
fn is_whole(id: &str) -> bool {
    id.parse::<minispark_engine::id::JobId>().is_ok()
}
