//! `/jobs`: submit, list, show, cancel.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use minispark_engine::{
    error::Code,
    id::{JobId, Term},
    job::check::{self, Checked},
    plan::{Op, Plan, stages},
    schedule::{Event, JobError, JobStatus, JobView, NodeStatus, Now},
};
use serde::Deserialize;

use super::{
    BASE, figures,
    problem::Problem,
    request::{NoParameters, Query, body, cursor, job_id, no_job, page_limit, place},
    wire,
};
use crate::master::{
    Master,
    cluster::{JobRecord, MAX_OPEN_JOBS, StageRecord, node_ids},
    observe::JobTrace,
};

/// The most bytes of a job document.
const MAX_DOCUMENT_BYTES: usize = 1 << 20;

/// What `POST /jobs` takes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SubmitQuery {
    /// Whether warnings are errors.
    #[serde(default)]
    strict: bool,
}

/// `POST /jobs`: checks the document and starts the job.
pub(crate) async fn submit(
    State(master): State<Arc<Master>>,
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
    let (plan, warnings) = checked(&master, document, query.strict).await?;
    let job = JobId::random();
    let effects = {
        let mut cluster = master.lock();
        cluster.submit(master.clock.now(), master.clock.wall(), job, plan)
    };
    let Some(effects) = effects else {
        let detail = format!("{MAX_OPEN_JOBS} jobs are waiting; try again later");
        return Err(Problem::new(Code::QueueFull, detail));
    };
    master.act(effects);
    let answer = wire::Submitted {
        job_id: job.to_string(),
        status: wire::JobState::Accepted,
        warnings: warnings.into_iter().map(finding).collect(),
    };
    let status = if prefers_async(&headers) { StatusCode::ACCEPTED } else { StatusCode::OK };
    let mut response = (status, Json(answer)).into_response();
    if let Ok(location) = HeaderValue::from_str(&format!("{BASE}/jobs/{job}")) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// The plan of a document, and what is strange about it; off the async threads, because inputs
/// are sampled and cut.
async fn checked(
    master: &Arc<Master>,
    document: String,
    strict: bool,
) -> Result<(Plan, Vec<check::Problem>), Problem> {
    // The semaphore is never closed; without a permit the check would only be less bounded.
    let _permit = master.checks.acquire().await;
    let on_thread = Arc::clone(master);
    let checking = tokio::task::spawn_blocking(move || {
        let site = &on_thread.site;
        let Checked { plan, warnings } = check::check(&document, strict, site)
            .map_err(|problems| Problem::validation(problems.into_iter().map(finding).collect()))?;
        let plan = stages::cut(plan, &site.disk).map_err(|error| Problem::from(&error))?;
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
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    limit: Option<usize>,
    cursor: Option<String>,
    status: Option<wire::JobState>,
}

/// `GET /jobs`: the newest first.
pub(crate) async fn list(
    State(master): State<Arc<Master>>,
    Query(query): Query<ListQuery>,
) -> Result<Response, Problem> {
    let limit = page_limit(query.limit)?;
    let before = place(query.cursor.as_deref())?;
    let status = query.status.map(engine_state);
    let (items, next_cursor) = {
        let cluster = master.lock();
        let now = master.clock.now();
        let (jobs, has_more) = cluster.page(before, status, limit);
        let rows: Vec<_> = jobs.iter().filter_map(|job| cluster.job(*job)).collect();
        let last = rows.last().map(|(_, record)| record.number);
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

/// `GET /jobs/{id}`.
pub(crate) async fn show(
    State(master): State<Arc<Master>>,
    Path(id): Path<String>,
    Query(NoParameters {}): Query<NoParameters>,
) -> Result<Json<wire::Job>, Problem> {
    shown(&master, job_id(&id)?)
}

/// `POST /jobs/{id}/cancel`: ends the job; one that has ended stays as it is.
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
    let written = record.published.iter().map(|published| published.bytes).sum();
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
    let stages = record.stages.iter();
    stages
        .map(|stage| wire::Stage {
            metrics: figures::of_stage(view, record, stage, trace),
            ..stage_document(view, stage)
        })
        .collect()
}

fn submitted_at(record: &JobRecord) -> String {
    record.submitted_at.to_rfc3339_opts(chrono::SecondsFormat::Nanos, false)
}

fn duration(view: &JobView, now: Now) -> f64 {
    let end = view.ended.unwrap_or(now);
    end.checked_sub(view.submitted).unwrap_or(Duration::ZERO).as_secs_f64()
}

/// Rows in by readers, out by sinks, and dropped by filters.
fn rows(view: &JobView) -> wire::Rows {
    let mut rows = wire::Rows::default();
    let is_read: Vec<usize> =
        view.plan.nodes.iter().flat_map(|node| &node.inputs).map(|node| node.index()).collect();
    for counted in &view.rows {
        let index = counted.node.index();
        let Some(node) = view.plan.nodes.get(index) else { continue };
        match node.op {
            Op::Read(_) => rows.input += counted.rows_in,
            Op::Filter { .. } => {
                rows.filtered += counted.rows_in.saturating_sub(counted.rows_out);
            }
            Op::Map { .. }
            | Op::Sleep { .. }
            | Op::Tokenize { .. }
            | Op::Reduce { .. }
            | Op::Join { .. }
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

fn stage_document(view: &JobView, record: &StageRecord) -> wire::Stage {
    let stage = record.stage();
    let done = u32::try_from(record.done.len()).unwrap_or(u32::MAX);
    let is_to_blame = view
        .error
        .as_ref()
        .and_then(|error| error.attempt)
        .is_some_and(|attempt| attempt.task.stage == stage.id);
    let reached = if done >= stage.partitions {
        wire::NodeState::Completed
    } else if is_to_blame {
        wire::NodeState::Failed
    } else if view.status.has_ended() {
        wire::NodeState::Cancelled
    } else if record.has_started {
        wire::NodeState::Running
    } else {
        wire::NodeState::Pending
    };
    wire::Stage {
        id: stage.id.0,
        nodes: node_ids(&view.plan, &record.nodes),
        inputs: stage.inputs.iter().map(|stage| stage.0).collect(),
        state: reached,
        tasks: stage.partitions,
        tasks_done: done,
        failed_attempts: record.failed_attempts,
        rows: record.done.values().map(|report| report.rows).sum(),
        bytes: record.done.values().map(|report| report.bytes).sum(),
        spilled: record.done.values().map(|report| report.spilled_bytes).sum(),
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
