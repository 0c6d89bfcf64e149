//! The REST interface: every route on one screen.

use std::{
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use axum::{
    Extension, Router,
    middleware::{from_fn, from_fn_with_state, map_response},
    routing::post,
};
use tower::limit::GlobalConcurrencyLimitLayer;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{error::Error, master::Master, protocol};

pub mod wire;
pub mod problem;
pub(crate) mod guard;
pub(crate) mod fence;
pub(crate) mod connection;
pub(crate) mod stall;
pub(crate) mod compression;
pub(crate) mod request;
pub(crate) mod jobs;
pub(crate) mod results;
pub(crate) mod figures;
pub(crate) mod plan;
mod bad_rows;
mod tasks;
pub(crate) mod events;
pub(crate) mod workers;
pub(crate) mod cluster;
pub(crate) mod metrics;
pub(crate) mod server;
pub(crate) mod functions;
pub(crate) mod openapi;
pub(crate) mod internal;

/// The base of all public routes.
pub const BASE: &str = "/api/v1";

/// How many requests of clients are worked on at once; the next ones wait.
const REQUESTS_AT_ONCE: usize = 256;

/// The same of workers, whose polls are held: one and a later one of as many as there may be.
const WORKER_CALLS_AT_ONCE: usize = 2_048;

/// The most bytes of a request's line and headers.
const MAX_HEADER_BYTES: usize = 16 << 10;

/// How long a client may take for its headers, and for its first request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// The routes of clients below [`BASE`]; what is registered is described by `/openapi.json` too.
fn clients() -> OpenApiRouter<Arc<Master>> {
    OpenApiRouter::new()
        .routes(routes!(jobs::submit, jobs::list))
        .routes(routes!(jobs::show, jobs::delete))
        .routes(routes!(jobs::cancel))
        .routes(routes!(plan::show))
        .routes(routes!(tasks::stages))
        .routes(routes!(tasks::list))
        .routes(routes!(events::of_job))
        .routes(routes!(events::of_all))
        .routes(routes!(jobs::gc))
        .routes(routes!(results::list))
        .routes(routes!(results::download))
        .routes(routes!(bad_rows::list))
        .routes(routes!(workers::list))
        .routes(routes!(cluster::show))
        .routes(routes!(metrics::document))
        .routes(routes!(server::version))
        .routes(routes!(functions::list))
        .routes(routes!(openapi::show))
        .routes(routes!(openapi::job_schema))
}

/// The routes of those who watch over the server.
fn probes() -> OpenApiRouter<Arc<Master>> {
    OpenApiRouter::new()
        .routes(routes!(server::health))
        .routes(routes!(server::healthz))
        .routes(routes!(server::ready))
        .routes(routes!(metrics::text))
}

/// All routes.
pub(crate) fn router(master: Arc<Master>, hosts: guard::AllowedHosts) -> Router {
    let settle = from_fn_with_state(Arc::clone(&master), guard::settle);
    let own_job = from_fn_with_state(Arc::clone(&master), fence::own_job);
    let (public, document) = OpenApiRouter::new()
        .nest(BASE, clients().route_layer(own_job).layer(settle.clone()))
        .split_for_parts();
    let (health, probed) = probes().split_for_parts();
    let public = public
        .layer(Extension(results::Downloads::default()))
        .layer(Extension(openapi::Document::of(document.merge_from(probed))))
        .layer(compression::layer())
        .layer(map_response(compression::weaken))
        .layer(GlobalConcurrencyLimitLayer::new(REQUESTS_AT_ONCE));
    let internal = Router::new()
        .route(protocol::REGISTER, post(internal::register))
        .route(protocol::LEAVE, post(internal::leave))
        .layer(settle)
        // A poll sees to that by itself.
        .route(protocol::POLL, post(internal::poll))
        .layer(GlobalConcurrencyLimitLayer::new(WORKER_CALLS_AT_ONCE));
    let counter = metrics::Counter::of(&master);
    public
        .merge(health)
        .merge(internal)
        .with_state(Arc::clone(&master))
        .layer(from_fn_with_state(master, fence::admit))
        .layer(from_fn_with_state(hosts, guard::refuse_foreign))
        .layer(CatchPanicLayer::custom(guard::panicked))
        .layer(from_fn_with_state(counter, metrics::count))
        .layer(from_fn(guard::dress))
}

/// Serves the routes until the master stops; then open requests get `grace` to end.
pub(crate) async fn serve(
    master: Arc<Master>,
    listener: TcpListener,
    hosts: guard::AllowedHosts,
    grace: Duration,
) -> Result<(), Error> {
    let system = |source| Error::System { action: "serve REST", source };
    let stop = master.stop.clone();
    let handle = axum_server::Handle::new();
    // The stock `axum::serve` has no timer: a client could hold a half-sent request for ever.
    let mut server = axum_server::from_tcp(listener)
        .map_err(system)?
        .handle(handle.clone())
        .http1_only()
        .first_request_timeout(HEADER_TIMEOUT)
        .acceptor(stall::CutOff(connection::Limited::new(!master.door.is_locked())));
    server
        .http_builder()
        .http1()
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEADER_BYTES);
    let serving =
        server.serve(router(master, hosts).into_make_service_with_connect_info::<SocketAddr>());
    tokio::pin!(serving);
    tokio::select! {
        ended = &mut serving => return ended.map_err(system),
        () = stop.cancelled() => handle.graceful_shutdown(Some(grace)),
    }
    serving.await.map_err(system)
}

#[cfg(test)]
#[expect(clippy::shadow_unrelated, reason = "each request of a test has its own answer")]
mod tests {
    use std::{sync::Arc, time::Duration};

    use axum::{
        Router,
        body::{Body, to_bytes},
        http::{HeaderMap, Request, StatusCode, header},
    };
    use serde::Serialize;
    use serde_json::Value;
    use tokio::task::JoinSet;
    use tower::ServiceExt;

    use super::{guard::AllowedHosts, router};
    use crate::{
        auth::{Role, file},
        master::{
            Master,
            testing::{TERM, master, master_with, poll, register, submit, submit_of},
        },
        protocol::{self, Register},
    };

    const HEARTBEAT: Duration = Duration::from_mins(1);

    fn app(master: &Arc<Master>) -> Router {
        router(Arc::clone(master), AllowedHosts::of("127.0.0.1:8080".parse().unwrap(), &[]))
    }

    async fn send(
        master: &Arc<Master>,
        method: &str,
        path: &str,
        body: Body,
    ) -> (StatusCode, HeaderMap, Value) {
        let request = Request::builder().method(method).uri(path).header("host", "localhost");
        let answer = app(master).oneshot(request.body(body).unwrap()).await.unwrap();
        let (parts, body) = answer.into_parts();
        let bytes = to_bytes(body, 1 << 24).await.unwrap();
        (parts.status, parts.headers, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    async fn get(master: &Arc<Master>, path: &str) -> (StatusCode, Value) {
        let (status, _, body) = send(master, "GET", path, Body::empty()).await;
        (status, body)
    }

    async fn call(
        master: &Arc<Master>,
        path: &str,
        message: &impl Serialize,
    ) -> (StatusCode, Value) {
        let body = Body::from(serde_json::to_vec(message).unwrap());
        let (status, _, body) = send(master, "POST", path, body).await;
        (status, body)
    }

    #[tokio::test]
    async fn a_job_is_shown_with_the_fields_that_clients_rely_on() {
        let folder = tempfile::tempdir().unwrap();
        let (master, clock) = master(folder.path(), HEARTBEAT);
        let job = submit(&master, "one");
        clock.set(Duration::from_millis(1_500));
        let (status, body) = get(&master, &format!("/api/v1/jobs/{job}")).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(body["id"], job.to_string());
        assert_eq!(body["name"], "one");
        assert_eq!(body["status"], "ACCEPTED");
        assert_eq!(body["duration_secs"], 1.5);
        assert_eq!(body["progress_percent"], 0.0);
        assert_eq!(body["failure_count"], 0);
        assert_eq!(body["node_status"], serde_json::json!({"read": "PENDING"}));
        assert_eq!(body["term"], TERM.0);
        assert_eq!(body["stages"][0]["nodes"], serde_json::json!(["read"]));
        let time = body["submitted_at"].as_str().unwrap();
        assert!(chrono::DateTime::parse_from_rfc3339(time).is_ok(), "{time}");
        assert!(time.contains(".000000000"), "{time}");
        assert!(body["waiting_for"].is_string(), "there is no worker: {body}");

        let (status, body) = get(&master, &format!("/api/v1/jobs/{job}/results")).await;
        assert_eq!((status, &body["code"]), (StatusCode::CONFLICT, &"NOT_FINISHED".into()));
        assert!(body["detail"].as_str().unwrap().contains("ACCEPTED"), "{body}");

        let cancel = format!("/api/v1/jobs/{job}/cancel");
        for _ in 0..2 {
            let (status, _, body) = send(&master, "POST", &cancel, Body::empty()).await;
            assert_eq!((status, &body["status"]), (StatusCode::OK, &"CANCELLED".into()));
            assert_eq!(body["node_status"]["read"], "CANCELLED");
        }
        for path in ["results", "results/read"] {
            let (status, body) = get(&master, &format!("/api/v1/jobs/{job}/{path}")).await;
            assert_eq!((status, &body["code"]), (StatusCode::CONFLICT, &"CANCELLED".into()));
        }
        let (status, body) = get(&master, &format!("/api/v1/jobs/{job}/results/nosuch")).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        assert!(body["detail"].as_str().unwrap().contains("`read`"), "{body}");
    }

    #[tokio::test]
    async fn what_is_not_there_or_not_offered_is_a_problem_document() {
        let folder = tempfile::tempdir().unwrap();
        let (master, _clock) = master(folder.path(), HEARTBEAT);
        let cases = [
            ("GET", "/api/v1/jobs/not-a-uuid", 404, "NOT_FOUND"),
            ("GET", "/api/v1/jobs/6eecef97-0000-4000-8000-000000000000", 404, "NOT_FOUND"),
            ("POST", "/api/v1/jobs/not-a-uuid/cancel", 404, "NOT_FOUND"),
            ("GET", "/api/v1/nowhere", 404, "NOT_FOUND"),
            ("GET", "/", 404, "NOT_FOUND"),
            ("DELETE", "/api/v1/jobs", 405, "METHOD_NOT_ALLOWED"),
            ("PUT", "/api/v1/workers", 405, "METHOD_NOT_ALLOWED"),
            ("GET", "/api/v1/jobs?colour=red", 400, "BAD_REQUEST"),
            ("GET", "/api/v1/jobs?limit=0", 400, "BAD_REQUEST"),
            ("GET", "/api/v1/jobs?status=LOST", 400, "BAD_REQUEST"),
            ("GET", "/api/v1/jobs?cursor=x", 400, "BAD_REQUEST"),
            ("POST", "/api/v1/jobs?dry-run=true", 400, "BAD_REQUEST"),
            ("POST", "/api/v1/jobs?dry_run=yes", 400, "BAD_REQUEST"),
            ("GET", "/api/v1/jobs/6eecef97-0000-4000-8000-000000000000/plan", 404, "NOT_FOUND"),
            ("GET", "/api/v1/version?x=1", 400, "BAD_REQUEST"),
        ];
        for (method, path, expected, code) in cases {
            let (status, headers, body) = send(&master, method, path, Body::empty()).await;
            assert_eq!(
                (status.as_u16(), &body["code"]),
                (expected, &code.into()),
                "{method} {path}"
            );
            assert_eq!(headers[header::CONTENT_TYPE], "application/problem+json", "{path}");
            assert_eq!(body["status"], expected);
            assert_eq!(body["error"], body["detail"]);
            assert_eq!(body["request_id"], headers["x-request-id"].to_str().unwrap());
            assert_eq!(headers.contains_key(header::ALLOW), expected == 405, "{path}");
        }
    }

    #[tokio::test]
    #[expect(clippy::disallowed_methods, reason = "a test lays out its input")]
    async fn a_dry_run_answers_the_plan_or_every_problem_and_starts_nothing() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("lines.txt"), "a\nb\nc\n").unwrap();
        let (master, _clock) = master(folder.path(), HEARTBEAT);
        let document = r#"{"dag": {"nodes": [
            {"id": "read", "op": "read_text", "path": "lines.txt"},
            {"id": "few", "op": "limit", "n": 2}], "edges": [["read", "few"]]}}"#;
        let path = "/api/v1/jobs?dry_run=true";
        let (status, headers, body) = send(&master, "POST", path, Body::from(document)).await;
        assert_eq!((status, &body["dry_run"]), (StatusCode::OK, &true.into()), "{body}");
        assert_eq!(body["warnings"], Value::Null);
        let nodes = body["plan"]["nodes"].as_array().unwrap();
        let ids: Vec<_> = nodes.iter().map(|node| node["id"].as_str().unwrap()).collect();
        assert_eq!(ids, ["read", "few"]);
        assert_eq!(body["plan"]["nodes"][1]["detail"], "the first 2");
        assert!(!headers.contains_key(header::LOCATION), "{headers:?}");

        let broken = document.replace("limit", "limmit").replace("lines.txt", "none.txt");
        let (status, _, body) = send(&master, "POST", path, Body::from(broken)).await;
        assert_eq!((status, &body["code"]), (StatusCode::BAD_REQUEST, &"VALIDATION_FAILED".into()));
        assert_eq!(body["errors"].as_array().unwrap().len(), 2, "{body}");

        let (_, body) = get(&master, "/api/v1/jobs").await;
        assert_eq!(body["items"], serde_json::json!([]));
    }

    #[tokio::test]
    async fn a_jobs_plan_is_explained_with_the_rows_counted_so_far() {
        let folder = tempfile::tempdir().unwrap();
        let (master, _clock) = master(folder.path(), HEARTBEAT);
        let job = submit(&master, "one");
        let (status, body) = get(&master, &format!("/api/v1/jobs/{job}/plan")).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        assert_eq!(body["nodes"][0]["id"], "read");
        assert_eq!(body["nodes"][0]["actual"]["rows_out"], 0);
        assert_eq!(body["stages"].as_array().unwrap().len(), 1);
    }

    #[tokio::test]
    async fn the_functions_are_listed_with_what_documents_may_say() {
        let folder = tempfile::tempdir().unwrap();
        let (master, _clock) = master(folder.path(), HEARTBEAT);
        let (status, body) = get(&master, "/api/v1/functions").await;
        assert_eq!(status, StatusCode::OK);
        let functions = body["functions"].as_array().unwrap();
        for (name, kind) in [("lower", "scalar"), ("sum", "aggregate"), ("row_number", "window")] {
            let found = functions.iter().find(|function| function["name"] == name);
            let found = found.unwrap_or_else(|| panic!("no {name}"));
            assert_eq!(found["kind"], kind);
            assert!(!found["signatures"].as_array().unwrap().is_empty(), "{found}");
        }
    }

    #[tokio::test]
    async fn head_is_answered_wherever_get_is() {
        let folder = tempfile::tempdir().unwrap();
        let (master, _clock) = master(folder.path(), HEARTBEAT);
        for path in ["/health", "/healthz", "/readyz", "/api/v1/version", "/api/v1/jobs"] {
            let (got, _) = get(&master, path).await;
            let (status, _, body) = send(&master, "HEAD", path, Body::empty()).await;
            assert_eq!(
                (got, status, body),
                (StatusCode::OK, StatusCode::OK, Value::Null),
                "{path}"
            );
        }
    }

    #[tokio::test]
    async fn a_document_over_a_mebibyte_is_too_large() {
        let folder = tempfile::tempdir().unwrap();
        let (master, _clock) = master(folder.path(), HEARTBEAT);
        let body = Body::from(vec![b' '; (1 << 20) + 1]);
        let (status, _, body) = send(&master, "POST", "/api/v1/jobs", body).await;
        assert_eq!(
            (status, &body["code"]),
            (StatusCode::PAYLOAD_TOO_LARGE, &"BODY_TOO_LARGE".into())
        );
    }

    #[tokio::test]
    async fn pages_are_linked() {
        let folder = tempfile::tempdir().unwrap();
        let (master, _clock) = master(folder.path(), HEARTBEAT);
        for name in ["a", "b", "c"] {
            submit(&master, name);
        }
        let path = "/api/v1/jobs?limit=2&status=ACCEPTED";
        let (_, headers, body) = send(&master, "GET", path, Body::empty()).await;
        let names = |body: &Value| -> Vec<String> {
            let items = body["items"].as_array().unwrap().iter();
            items.map(|item| item["name"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(names(&body), ["c", "b"]);
        let link = headers[header::LINK].to_str().unwrap();
        let next = link.strip_prefix('<').unwrap().split_once('>').unwrap().0;
        assert!(next.contains(body["next_cursor"].as_str().unwrap()), "{link}");
        let (_, body) = get(&master, next).await;
        assert_eq!((names(&body), &body["next_cursor"]), (vec![String::from("a")], &Value::Null));
    }

    #[tokio::test]
    async fn a_worker_of_another_version_is_refused_with_both_named() {
        let folder = tempfile::tempdir().unwrap();
        let (master, _clock) = master(folder.path(), HEARTBEAT);
        for (message, expected) in [
            (Register { protocol: 99, ..register("w") }, ["99", "1"]),
            (
                Register { version: String::from("0.0.9"), ..register("w") },
                ["0.0.9", crate::VERSION],
            ),
            (Register { hash_version: 9, ..register("w") }, ["9", "2"]),
        ] {
            let (status, body) = call(&master, protocol::REGISTER, &message).await;
            assert_eq!(status, StatusCode::UPGRADE_REQUIRED);
            assert_eq!(body["code"], "UNSUPPORTED_VERSION");
            let detail = body["detail"].as_str().unwrap();
            assert!(expected.iter().all(|part| detail.contains(part)), "{detail}");
        }
        for message in [
            Register { slots: 0, ..register("w") },
            Register { address: String::from("no port"), ..register("w") },
            register("a/b"),
        ] {
            let (status, _) = call(&master, protocol::REGISTER, &message).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{message:?}");
        }
        let (_, body) = get(&master, "/api/v1/workers").await;
        assert_eq!(body["items"], serde_json::json!([]));
    }

    #[tokio::test]
    async fn a_later_poll_ends_a_held_one_and_a_job_ends_that() {
        let folder = tempfile::tempdir().unwrap();
        let (master, _clock) = master(folder.path(), HEARTBEAT);
        let (status, body) = call(&master, protocol::REGISTER, &register("w")).await;
        assert_eq!((status, &body["term"]), (StatusCode::OK, &TERM.0.into()));
        assert_eq!(body["heartbeat_ms"], 60_000);
        let mut polls = JoinSet::new();
        for seq in [1, 2] {
            let on_task = Arc::clone(&master);
            polls.spawn(async move { call(&on_task, protocol::POLL, &poll("w", seq, &[])).await });
            while master.lock().last_seq("w") < seq {
                tokio::task::yield_now().await;
            }
        }
        let (status, body) = polls.join_next().await.unwrap().unwrap();
        assert_eq!((status, &body["superseded"]), (StatusCode::OK, &true.into()));
        let job = submit(&master, "one");
        let (status, body) = polls.join_next().await.unwrap().unwrap();
        assert_eq!(status, StatusCode::OK);
        assert_eq!(body["assign"][0]["attempt"]["task"]["job"], job.to_string());
    }

    #[tokio::test]
    async fn a_worker_that_is_not_counted_on_is_told_so() {
        let folder = tempfile::tempdir().unwrap();
        let (master, _clock) = master(folder.path(), HEARTBEAT);
        let (status, _) = call(&master, protocol::POLL, &poll("w", 1, &[])).await;
        assert_eq!(status, StatusCode::GONE);
        call(&master, protocol::REGISTER, &register("w")).await;
        let goodbye = protocol::Leave {
            protocol: protocol::PROTOCOL,
            worker: register("w").worker,
            epoch: register("w").epoch,
        };
        for _ in 0..2 {
            let (status, _) = call(&master, protocol::LEAVE, &goodbye).await;
            assert_eq!(status, StatusCode::OK);
        }
        let (_, body) = get(&master, "/api/v1/workers").await;
        assert_eq!(body["items"][0]["state"], "DOWN");
    }

    #[tokio::test]
    async fn a_token_is_asked_for_and_its_role_and_name_decide() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        let born = chrono::DateTime::UNIX_EPOCH;
        let mut bearers = Vec::new();
        for (name, role) in [
            ("ann", Role::Read),
            ("ann", Role::Submit),
            ("bob", Role::Submit),
            ("root", Role::Admin),
            ("w1", Role::Worker),
        ] {
            let (_, secret) = file::add(&path, name, role, born, None).unwrap();
            bearers.push(format!("Bearer {}", secret.expose()));
        }
        let [reader, ann, bob, root, worker] = &bearers[..] else { panic!("five tokens") };
        let (master, _clock) = master_with(folder.path(), HEARTBEAT, Some(path));
        let job = submit_of(&master, "ann's", Some("ann"));
        let nobodys = submit(&master, "nobody's");
        let ask = async |method: &str, path: &str, bearer: &str| {
            let request = Request::builder().method(method).uri(path).header("host", "localhost");
            let request =
                if bearer.is_empty() { request } else { request.header("authorization", bearer) };
            let request = request.body(Body::empty()).unwrap();
            let (parts, body) = app(&master).oneshot(request).await.unwrap().into_parts();
            let bytes = to_bytes(body, 1 << 20).await.unwrap();
            let body: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
            (parts.status.as_u16(), parts.headers, body)
        };
        for path in ["/health", "/healthz", "/readyz"] {
            assert_eq!(ask("GET", path, "").await.0, 200, "{path}");
        }
        let wrong = format!("Bearer msp_{}", "0".repeat(64));
        for path in ["/api/v1/jobs", "/api/v1/version", "/metrics", "/nowhere", protocol::POLL] {
            for bearer in ["", &wrong, "Basic YTpi"] {
                let (status, headers, body) = ask("GET", path, bearer).await;
                assert_eq!((status, &body["code"]), (401, &"UNAUTHENTICATED".into()), "{path}");
                assert_eq!(headers[header::WWW_AUTHENTICATE], "Bearer");
            }
        }
        let show = format!("/api/v1/jobs/{job}");
        let encoded = show.replace('-', "%2D");
        let cancel = format!("{show}/cancel");
        let results = format!("{show}/results/read");
        let other = format!("/api/v1/jobs/{nobodys}");
        let cases = [
            ("GET", &*show, reader, 200),
            ("GET", &*show, ann, 200),
            ("GET", &*show, bob, 404),
            ("GET", &*encoded, ann, 200),
            ("GET", &*encoded, bob, 404),
            ("GET", &*show, root, 200),
            ("GET", &*show, worker, 403),
            ("GET", &*results, ann, 409),
            ("GET", &*results, bob, 404),
            ("GET", &*other, ann, 404),
            ("GET", &*other, root, 200),
            ("POST", &*cancel, reader, 403),
            ("POST", &*cancel, bob, 404),
            ("POST", &*cancel, worker, 403),
            ("POST", "/api/v1/jobs", reader, 403),
            ("POST", "/api/v1/jobs", worker, 403),
            ("POST", "/api/v1/jobs", ann, 400),
            ("POST", protocol::POLL, ann, 403),
            ("POST", protocol::POLL, worker, 400),
            ("POST", "/api/v1/workers/w/drain", ann, 403),
            ("POST", &*cancel, ann, 200),
        ];
        for (method, path, bearer, expected) in cases {
            let (status, _, body) = ask(method, path, bearer).await;
            assert_eq!(status, expected, "{method} {path}: {body}");
        }
        let missing = ask("GET", &show, bob).await.2;
        assert_eq!(missing["detail"], format!("no job `{job}`"));
        for (bearer, expected) in [(ann, 1), (bob, 0), (root, 2)] {
            let (_, _, body) = ask("GET", "/api/v1/jobs", bearer).await;
            assert_eq!(body["items"].as_array().unwrap().len(), expected);
        }
    }
}
