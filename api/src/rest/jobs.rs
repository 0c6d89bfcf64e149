//! `/jobs`: submit, list, show, cancel.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use minispark_engine::{
    error::Code,
    id::{JobId, Term},
    job::check::{self, Checked, Site},
    plan::{Op, Plan, Stage},
    schedule::{Event, JobError, JobStatus, JobView, NodeStatus, Now, ledger::StageLedger},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    BASE, figures, plan,
    problem::Problem,
    request::{NoParameters, Query, body, cursor, job_id, no_job, page_limit, place},
    wire,
};
use crate::{
    auth::Caller,
    master::{
        Master,
        cluster::{Effect, JobRecord, MAX_OPEN_JOBS, NewJob, Submission, node_ids},
        commit,
        folder::to_hex,
        journal::entry::Key,
        observe::JobTrace,
    },
};

/// The most bytes of a job document.
const MAX_DOCUMENT_BYTES: usize = 1 << 20;

/// What `POST /jobs` takes.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct SubmitQuery {
    /// Whether warnings are errors.
    #[serde(default)]
    #[param(value_type = Option<bool>)]
    strict: bool,
    /// Whether the document is only checked and its plan explained; nothing is started.
    #[serde(default)]
    #[param(value_type = Option<bool>)]
    dry_run: bool,
}

/// What `POST /jobs` answers.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(untagged)]
pub(crate) enum Answer {
    /// The job is accepted.
    Submitted(wire::Submitted),
    /// It was a dry run.
    DryRun(wire::DryRun),
}

/// `POST /jobs`: checks the document and starts the job.
#[utoipa::path(
    post,
    path = "/jobs",
    operation_id = "submitJob",
    tag = "jobs",
    params(
        SubmitQuery,
        ("Prefer" = Option<String>, Header, description = "`respond-async` asks for 202"),
        ("Idempotency-Key" = Option<String>, Header, description = "the same again is one job"),
    ),
    request_body(
        content = Object,
        description = "a job document, as `/api/v1/schema/job.json` has it; any Content-Type is taken",
        example = json!({"name": "wordcount", "dag": {
            "nodes": [
                {"id": "read", "op": "read_csv", "path": "data/books.csv"},
                {"id": "flat", "op": "flat_map", "fn": "tokenize"},
                {"id": "agg", "op": "reduce_by_key", "key": "token", "fn": "sum"}],
            "edges": [["read", "flat"], ["flat", "agg"]]}}),
    ),
    responses(
        (status = 200, description = "the job is accepted, or explained", body = Answer,
            headers(("location" = Option<String>, description = "the job"))),
        (status = 202, description = "the same, where the client prefers so", body = wire::Submitted,
            headers(("location" = String, description = "the job"))),
        (status = 422, description = "`IDEMPOTENCY_KEY_REUSED`: with another document"),
        (status = 429, description = "`QUEUE_FULL`"),
        (status = 503, description = "the server is stopping, or its disk is full"),
    )
)]
pub(crate) async fn submit(
    State(master): State<Arc<Master>>,
    caller: Caller,
    Query(query): Query<SubmitQuery>,
    headers: HeaderMap,
    request: Body,
) -> Result<Response, Problem> {
    let bytes = body(request, MAX_DOCUMENT_BYTES).await?;
    if master.stop.is_cancelled() {
        return Err(stopping());
    }
    let document = String::from_utf8(bytes.into())
        .map_err(|error| Problem::bad_request(format!("the document is not UTF-8: {error}")))?;
    if master.journal.is_full() {
        return Err(disk_full());
    }
    if query.dry_run {
        let site = master.site_at(master.clock.wall());
        let (planned, warnings) = checked(&master, document, query.strict, site).await?;
        let explained = plan::explained(Arc::new(planned), &master.site.data.inputs).await?;
        let warnings = warnings.into_iter().map(finding).collect();
        let answer = wire::DryRun { dry_run: true, plan: explained, warnings };
        return Ok(Json(Answer::DryRun(answer)).into_response());
    }
    let owner = caller.owner();
    let key = idempotency_key(&headers, &document, owner.clone())?;
    let known = key.as_ref().and_then(|key| master.lock().known_key(key));
    let job = JobId::random();
    let submission = if let Some(known) = known {
        // The same again is answered as before, whatever has become of its inputs.
        known
    } else {
        let submitted_at = master.clock.wall();
        let site = master.site_at(submitted_at);
        let (planned, warnings) = checked(&master, document.clone(), query.strict, site).await?;
        let warnings = warnings.into_iter().map(finding).collect();
        let plan = planned;
        let offered = commit::offer(&master, job, &plan).await;
        let new = NewJob { job, submitted_at, document, plan, warnings, owner, key };
        let submission = master.lock().submit(master.clock.now(), new);
        if !matches!(submission, Submission::Taken(_)) {
            commit::take_back(&master, offered).await;
        }
        submission
    };
    let (accepted, is_repeated) = match submission {
        Submission::Taken(effects) => {
            master.act(effects);
            (job, false)
        }
        Submission::Repeated(first) => (first, true),
        Submission::KeyReused => {
            let detail = "this Idempotency-Key was used with another document; take a new one";
            return Err(Problem::new(Code::IdempotencyKeyReused, detail));
        }
        Submission::QueueFull => {
            let detail = format!("{MAX_OPEN_JOBS} jobs are waiting; try again later");
            return Err(Problem::new(Code::QueueFull, detail));
        }
    };
    let warnings = {
        let cluster = master.lock();
        cluster.job(accepted).map(|(_, record)| record.saved.warnings.clone())
    };
    let answer = wire::Submitted {
        job_id: accepted.to_string(),
        status: wire::JobState::Accepted,
        warnings: warnings.unwrap_or_default(),
    };
    let status = if prefers_async(&headers) { StatusCode::ACCEPTED } else { StatusCode::OK };
    let mut response = (status, Json(Answer::Submitted(answer))).into_response();
    if let Ok(location) = HeaderValue::from_str(&format!("{BASE}/jobs/{accepted}")) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    if is_repeated {
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// Says that an answer is that of an earlier submission.
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// The longest key of a submission.
const MAX_KEY: usize = 255;

/// The key by which a submission may be repeated, where the client sends one.
fn idempotency_key(
    headers: &HeaderMap,
    document: &str,
    owner: Option<String>,
) -> Result<Option<Key>, Problem> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let key = value.to_str().ok().filter(|key| {
        !key.is_empty()
            && key.len() <= MAX_KEY
            && key.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
    });
    let Some(key) = key else {
        let detail = format!("an Idempotency-Key is 1 to {MAX_KEY} printable ASCII characters");
        return Err(Problem::bad_request(detail));
    };
    // Canonical JSON: objects are sorted by their keys, and blanks between tokens don't count. What
    // is no JSON is refused soon enough.
    let canonical = match serde_json::from_str::<serde_json::Value>(document) {
        Ok(mut tree) => {
            tree.sort_all_objects();
            tree.to_string()
        }
        Err(_) => document.to_owned(),
    };
    let body = to_hex(&Sha256::digest(canonical.as_bytes()).into());
    Ok(Some(Key { owner, text: String::from(key), body }))
}

/// The journal can't take another job now.
pub(crate) fn disk_full() -> Problem {
    Problem::new(Code::DiskFull, "the disk of the master's state is full; try again later")
        .with_status(StatusCode::SERVICE_UNAVAILABLE)
}

/// `DELETE /jobs/{id}`: forgets a final job; its outputs stay unless they are to go as well.
#[utoipa::path(
    delete,
    path = "/jobs/{id}",
    operation_id = "forgetJob",
    tag = "jobs",
    params(("id" = String, Path, description = "the job"), DeleteQuery),
    responses(
        (status = 204, description = "it is forgotten"),
        (status = 409, description = "it runs, or is being ended"),
    )
)]
pub(crate) async fn delete(
    State(master): State<Arc<Master>>,
    Path(id): Path<String>,
    Query(query): Query<DeleteQuery>,
) -> Result<StatusCode, Problem> {
    let job = job_id(&id)?;
    let (effects, outputs) = {
        let mut cluster = master.lock();
        let (view, record) = cluster.job(job).ok_or_else(|| no_job(&id))?;
        if !view.status.has_ended() {
            let detail = format!("job {id} is {}; cancel it first", state(view.status));
            return Err(Problem::new(Code::Conflict, detail));
        }
        let outputs = record.saved.published.clone();
        let Some((_, effects)) = cluster.forget(master.clock.now(), job) else {
            let detail = format!("job {id} is being ended; try again soon");
            return Err(Problem::new(Code::Conflict, detail));
        };
        (effects, outputs)
    };
    master.act(effects);
    if query.outputs {
        master.act(vec![Effect::Withdraw(job, outputs)]);
    }
    Ok(StatusCode::NO_CONTENT)
}

/// What `DELETE /jobs/{id}` takes.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct DeleteQuery {
    /// Whether the outputs go with the job.
    #[serde(default)]
    #[param(value_type = Option<bool>)]
    outputs: bool,
}

/// `POST /gc`: lets go at once of what is beyond the rules of retention.
#[utoipa::path(
    post,
    path = "/gc",
    operation_id = "gc",
    tag = "server",
    responses((status = 200, description = "what was let go of", body = wire::Freed))
)]
pub(crate) async fn gc(
    State(master): State<Arc<Master>>,
    Query(NoParameters {}): Query<NoParameters>,
) -> Json<wire::Freed> {
    let (freed, effects) = {
        let mut cluster = master.lock();
        cluster.retain(master.clock.now(), master.clock.wall(), &master.retention)
    };
    master.act(effects);
    let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    Json(wire::Freed { jobs: count(freed.jobs), results: count(freed.results), bytes: freed.bytes })
}

/// The plan of a document, and what is strange about it; off the async threads, because inputs
/// are sampled and cut.
async fn checked(
    master: &Arc<Master>,
    document: String,
    strict: bool,
    site: Site,
) -> Result<(Plan, Vec<check::Problem>), Problem> {
    // The semaphore is never closed; without a permit the check would only be less bounded.
    let _permit = master.checks.acquire().await;
    let checking = tokio::task::spawn_blocking(move || {
        let Checked { plan, warnings } = check::check(&document, strict, &site)
            .map_err(|problems| Problem::validation(problems.into_iter().map(finding).collect()))?;
        let plan = plan.laid_out(&site.data.inputs).map_err(|error| Problem::from(&error))?;
        Ok((plan, warnings))
    });
    checking.await.unwrap_or_else(|error| {
        tracing::error!(%error, "checking a document ended early");
        Err(Problem::new(Code::Internal, "checking the document met a bug"))
    })
}

fn finding(problem: check::Problem) -> wire::Finding {
    let code = match serde_json::to_value(problem.code) {
        Ok(serde_json::Value::String(name)) => name,
        _ => String::from("INVALID"),
    };
    wire::Finding {
        pointer: problem.pointer,
        code,
        message: problem.message,
        suggestion: problem.suggestion,
    }
}

fn prefers_async(headers: &HeaderMap) -> bool {
    headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok()).any(|value| {
        value.split(',').any(|preference| preference.trim().eq_ignore_ascii_case("respond-async"))
    })
}

/// The server is on its way out.
pub(crate) fn stopping() -> Problem {
    Problem::new(Code::Conflict, "this server is stopping; try again soon")
        .with_status(StatusCode::SERVICE_UNAVAILABLE)
}

/// What `GET /jobs` takes.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListQuery {
    /// The most jobs of the page.
    #[param(minimum = 1, maximum = 500, default = 50)]
    limit: Option<usize>,
    /// Where the page begins: `next_cursor` of the one before.
    #[param(pattern = "^j[0-9a-f]{1,16}$")]
    cursor: Option<String>,
    /// Only jobs in this state.
    #[param(inline)]
    status: Option<wire::JobState>,
}

/// `GET /jobs`: those that the caller sees, the newest first.
#[utoipa::path(
    get,
    path = "/jobs",
    operation_id = "listJobs",
    tag = "jobs",
    params(ListQuery),
    responses(
        (status = 200, description = "a page", body = wire::Page<wire::JobSummary>,
            headers(("link" = Option<String>, description = "`rel=\"next\"`: the next page"))),
    )
)]
pub(crate) async fn list(
    State(master): State<Arc<Master>>,
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> Result<Response, Problem> {
    let limit = page_limit(query.limit)?;
    let before = place(query.cursor.as_deref())?;
    let status = query.status.map(engine_state);
    let (items, next_cursor) = {
        let cluster = master.lock();
        let now = master.clock.now();
        let (jobs, has_more) =
            cluster.page(before, &|job| caller.sees(job.saved.owner.as_deref()), status, limit);
        let rows: Vec<_> = jobs.iter().filter_map(|job| cluster.job(*job)).collect();
        let last = rows.last().map(|(_, record)| record.saved.number);
        let items: Vec<_> = rows.iter().map(|(view, record)| summary(view, record, now)).collect();
        (items, last.filter(|_| has_more).map(cursor))
    };
    let link = next_cursor.as_ref().map(|cursor| {
        let filter = query.status.map(|state| format!("&status={state}")).unwrap_or_default();
        format!("<{BASE}/jobs?limit={limit}&cursor={cursor}{filter}>; rel=\"next\"")
    });
    let mut response = Json(wire::Page { items, next_cursor }).into_response();
    if let Some(link) = link.and_then(|link| HeaderValue::from_str(&link).ok()) {
        response.headers_mut().insert(header::LINK, link);
    }
    Ok(response)
}

/// `GET /jobs/{id}`: one job.
#[utoipa::path(
    get,
    path = "/jobs/{id}",
    operation_id = "showJob",
    tag = "jobs",
    params(("id" = String, Path, description = "the job")),
    responses((status = 200, description = "the job as it is", body = wire::Job))
)]
pub(crate) async fn show(
    State(master): State<Arc<Master>>,
    Path(id): Path<String>,
    Query(NoParameters {}): Query<NoParameters>,
) -> Result<Json<wire::Job>, Problem> {
    shown(&master, job_id(&id)?)
}

/// `POST /jobs/{id}/cancel`: ends the job; one that has ended stays as it is.
#[utoipa::path(
    post,
    path = "/jobs/{id}/cancel",
    operation_id = "cancelJob",
    tag = "jobs",
    params(("id" = String, Path, description = "the job")),
    responses((status = 200, description = "the job, ended", body = wire::Job))
)]
pub(crate) async fn cancel(
    State(master): State<Arc<Master>>,
    Path(id): Path<String>,
    Query(NoParameters {}): Query<NoParameters>,
) -> Result<Json<wire::Job>, Problem> {
    let job = job_id(&id)?;
    master.happen(Event::Cancel { job });
    shown(&master, job)
}

fn shown(master: &Master, job: JobId) -> Result<Json<wire::Job>, Problem> {
    let cluster = master.lock();
    let now = master.clock.now();
    let (view, record) = cluster.job(job).ok_or_else(|| no_job(&job.to_string()))?;
    let trace = cluster.observer().job(job);
    Ok(Json(document(&view, record, trace, now, master.settings.term)))
}

/// A job as it is shown in a list.
pub(crate) fn summary(view: &JobView, record: &JobRecord, now: Now) -> wire::JobSummary {
    wire::JobSummary {
        id: view.job.to_string(),
        name: view.plan.name.clone(),
        status: state(view.status),
        submitted_at: submitted_at(record),
        duration_secs: duration(view, now),
        progress_percent: view.progress_percent,
        failure_count: view.failure_count,
    }
}

/// A job as it is shown by itself.
pub(crate) fn document(
    view: &JobView,
    record: &JobRecord,
    trace: Option<&JobTrace>,
    now: Now,
    term: Term,
) -> wire::Job {
    let plan = &view.plan;
    let written = record.saved.published.iter().map(|published| published.bytes).sum();
    wire::Job {
        id: view.job.to_string(),
        name: plan.name.clone(),
        status: state(view.status),
        submitted_at: submitted_at(record),
        duration_secs: duration(view, now),
        progress_percent: view.progress_percent,
        node_status: plan
            .nodes
            .iter()
            .zip(&view.nodes)
            .map(|(node, status)| (node.id.clone(), node_state(*status)))
            .collect(),
        failure_count: view.failure_count,
        waiting_for: view.waiting_for.clone(),
        error: view.error.as_ref().map(|error| failure(view.job, error)),
        term: term.0,
        rows: rows(view),
        bytes: wire::Bytes {
            read: figures::read_bytes(record),
            shuffled: view.shuffled_bytes,
            spilled: view.spilled_bytes,
            written,
        },
        stages: stages(view, record, trace),
        metrics: figures::of_job(view, record, trace, now),
    }
}

/// A job's stages.
pub(crate) fn stages(
    view: &JobView,
    record: &JobRecord,
    trace: Option<&JobTrace>,
) -> Vec<wire::Stage> {
    let stages = record.stages();
    stages
        .map(|(stage, ledger)| wire::Stage {
            metrics: figures::of_stage(view, record, stage, ledger, trace),
            ..stage_document(view, stage, ledger)
        })
        .collect()
}

fn submitted_at(record: &JobRecord) -> String {
    record.saved.submitted_at.to_rfc3339_opts(chrono::SecondsFormat::Nanos, false)
}

fn duration(view: &JobView, now: Now) -> f64 {
    view.elapsed(now).as_secs_f64()
}

/// Rows in by readers, out by sinks, and dropped by filters.
fn rows(view: &JobView) -> wire::Rows {
    let mut rows = wire::Rows::default();
    let is_read: Vec<usize> =
        view.plan.nodes.iter().flat_map(|node| &node.inputs).map(|node| node.index()).collect();
    for counted in &view.rows {
        let index = counted.node.index();
        let Some(node) = view.plan.nodes.get(index) else { continue };
        rows.quarantined += counted.quarantined;
        match node.op {
            Op::Read(_) => rows.input += counted.rows_in,
            Op::Filter { .. } => rows.filtered += counted.filtered,
            Op::Sample { .. } => {
                rows.filtered += counted.rows_in.saturating_sub(counted.rows_out);
            }
            Op::Map { .. }
            | Op::Sleep { .. }
            | Op::Tokenize { .. }
            | Op::Reduce { .. }
            | Op::Join { .. }
            | Op::Union
            | Op::Explode { .. }
            | Op::Split { .. }
            | Op::Unpivot { .. }
            | Op::Repartition { .. }
            | Op::Cache
            | Op::Expect { .. }
            | Op::Window { .. }
            | Op::Sort { .. }
            | Op::Limit { .. }
            | Op::Write(_) => {}
        }
        if !is_read.contains(&index) {
            rows.output += counted.rows_out;
        }
    }
    rows
}

fn stage_document(view: &JobView, stage: &Stage, ledger: &StageLedger) -> wire::Stage {
    let totals = &ledger.totals;
    let is_to_blame = view
        .error
        .as_ref()
        .and_then(|error| error.attempt)
        .is_some_and(|attempt| attempt.task.stage == stage.id);
    let reached = if totals.tasks >= stage.partitions {
        wire::NodeState::Completed
    } else if is_to_blame {
        wire::NodeState::Failed
    } else if view.status.has_ended() {
        wire::NodeState::Cancelled
    } else if ledger.attempts > 0 {
        wire::NodeState::Running
    } else {
        wire::NodeState::Pending
    };
    wire::Stage {
        id: stage.id.0,
        nodes: node_ids(&view.plan, &stage.nodes()),
        inputs: stage.inputs.iter().map(|stage| stage.0).collect(),
        state: reached,
        tasks: stage.partitions,
        tasks_done: totals.tasks,
        attempts: ledger.attempts,
        failed_attempts: ledger.failed_attempts,
        rows: totals.rows,
        bytes: totals.bytes,
        spilled: totals.spilled_bytes,
        metrics: wire::StageMetrics::default(),
    }
}

/// Why a job failed, as clients see it.
pub(crate) fn failure(job: JobId, error: &JobError) -> wire::JobFailure {
    let task = error.attempt.map(|attempt| attempt.task);
    wire::JobFailure {
        code: error.failure.code.name(),
        message: error.failure.message.clone(),
        place: Some(wire::Place {
            job: Some(job.to_string()),
            node: (!error.nodes.is_empty()).then(|| error.nodes.join(", ")),
            stage: task.map(|task| task.stage.0),
            partition: task.map(|task| task.partition),
            attempt: error.attempt.map(|attempt| attempt.attempt.to_string()),
            worker: error.worker.as_ref().map(ToString::to_string),
        }),
    }
}

fn state(status: JobStatus) -> wire::JobState {
    match status {
        JobStatus::Accepted => wire::JobState::Accepted,
        JobStatus::Running => wire::JobState::Running,
        JobStatus::Completed => wire::JobState::Completed,
        JobStatus::Failed => wire::JobState::Failed,
        JobStatus::Cancelled => wire::JobState::Cancelled,
    }
}

fn engine_state(state: wire::JobState) -> JobStatus {
    match state {
        wire::JobState::Accepted => JobStatus::Accepted,
        wire::JobState::Running => JobStatus::Running,
        wire::JobState::Completed => JobStatus::Completed,
        wire::JobState::Failed => JobStatus::Failed,
        wire::JobState::Cancelled => JobStatus::Cancelled,
    }
}

fn node_state(status: NodeStatus) -> wire::NodeState {
    match status {
        NodeStatus::Pending => wire::NodeState::Pending,
        NodeStatus::Running => wire::NodeState::Running,
        NodeStatus::Completed => wire::NodeState::Completed,
        NodeStatus::Failed => wire::NodeState::Failed,
        NodeStatus::Cancelled => wire::NodeState::Cancelled,
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderMap;

    use super::prefers_async;

    #[test]
    fn a_preference_counts_among_others_too() {
        let prefers = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("prefer", value.parse().unwrap());
            prefers_async(&headers)
        };
        assert!(prefers("respond-async"));
        assert!(prefers("wait=10, Respond-Async"));
        assert!(!prefers("respond-asynchronously"));
    }
}
