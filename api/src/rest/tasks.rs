//! `/jobs/{id}/stages` and `/jobs/{id}/tasks`: where a job's time goes.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use minispark_engine::{
    error::Code,
    schedule::{JobView, Now},
};
use serde::Deserialize;

use super::{
    BASE, figures, jobs,
    problem::Problem,
    request::{NoParameters, Query, cursor, job_id, no_job, page_limit, place},
    wire,
};
use crate::master::{Master, cluster::JobRecord, observe::AttemptTrace};

/// `GET /jobs/{id}/stages`: all of them, as one page.
#[utoipa::path(
    get,
    path = "/jobs/{id}/stages",
    operation_id = "listStages",
    tag = "jobs",
    params(("id" = String, Path, description = "the job")),
    responses((status = 200, description = "all of them", body = wire::Page<wire::Stage>))
)]
pub(crate) async fn stages(
    State(master): State<Arc<Master>>,
    Path(id): Path<String>,
    Query(NoParameters {}): Query<NoParameters>,
) -> Result<Json<wire::Page<wire::Stage>>, Problem> {
    let job = job_id(&id)?;
    let cluster = master.lock();
    let (view, record) = cluster.job(job).ok_or_else(|| no_job(&id))?;
    let items = jobs::stages(&view, record, cluster.observer().job(job));
    Ok(Json(wire::Page { items, next_cursor: None }))
}

/// What `GET /jobs/{id}/tasks` takes.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct TasksQuery {
    /// The most attempts on the page.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<usize>,
    /// The page, as `next_cursor` named it.
    #[param(pattern = "^j[0-9a-f]{1,16}$")]
    cursor: Option<String>,
    /// Only attempts of this stage.
    stage: Option<u32>,
    /// Only attempts in this state.
    #[param(inline)]
    state: Option<wire::AttemptState>,
}

impl TasksQuery {
    fn wants(&self, attempt: &AttemptTrace) -> bool {
        self.stage.is_none_or(|stage| attempt.attempt.task.stage.0 == stage)
            && self.state.is_none_or(|state| attempt.state == state)
    }
}

/// `GET /jobs/{id}/tasks`: its attempts, in the order in which they started.
#[utoipa::path(
    get,
    path = "/jobs/{id}/tasks",
    operation_id = "listTasks",
    tag = "jobs",
    params(("id" = String, Path, description = "the job"), TasksQuery),
    responses((status = 200, description = "a page", body = wire::Page<wire::Attempt>,
        headers(("link" = Option<String>, description = "`rel=\"next\"`: the next page"))))
)]
pub(crate) async fn list(
    State(master): State<Arc<Master>>,
    Path(id): Path<String>,
    Query(query): Query<TasksQuery>,
) -> Result<Response, Problem> {
    let job = job_id(&id)?;
    let limit = page_limit(query.limit)?;
    let from = place(query.cursor.as_deref())?.unwrap_or(0);
    let (items, next) = {
        let cluster = master.lock();
        let now = master.clock.now();
        let (view, record) = cluster.job(job).ok_or_else(|| no_job(&id))?;
        let trace = cluster.observer().job(job);
        let attempts = trace.into_iter().flat_map(|trace| trace.attempts_from(from));
        let mut wanted = attempts.filter(|(_, attempt)| query.wants(attempt));
        let items: Vec<_> = wanted
            .by_ref()
            .take(limit)
            .map(|(_, attempt)| document(&view, record, &attempt, now))
            .collect();
        (items, wanted.next().map(|(number, _)| number))
    };
    let next_cursor = next.map(cursor);
    let link = next_cursor.as_ref().map(|cursor| {
        let of_stage = query.stage.map(|stage| format!("&stage={stage}")).unwrap_or_default();
        let in_state = query.state.map(|state| format!("&state={}", state.name()));
        let filter = of_stage + &in_state.unwrap_or_default();
        format!("<{BASE}/jobs/{job}/tasks?limit={limit}&cursor={cursor}{filter}>; rel=\"next\"")
    });
    let mut response = Json(wire::Page { items, next_cursor }).into_response();
    if let Some(link) = link.and_then(|link| HeaderValue::from_str(&link).ok()) {
        response.headers_mut().insert(header::LINK, link);
    }
    Ok(response)
}

fn document(view: &JobView, record: &JobRecord, seen: &AttemptTrace, now: Now) -> wire::Attempt {
    let task = seen.attempt.task;
    let ended = seen.ended;
    wire::Attempt {
        stage: task.stage.0,
        partition: task.partition,
        attempt: seen.attempt.attempt.to_string(),
        worker: seen.worker.to_string(),
        state: seen.state,
        started_at: figures::time(view, record, seen.started),
        ended_at: ended.map(|at| figures::time(view, record, at)),
        duration_secs: ended.unwrap_or(now).saturating_sub(seen.started).as_secs_f64(),
        rows: seen.rows,
        bytes: seen.bytes,
        read_bytes: seen.read_bytes,
        spilled_bytes: seen.spilled_bytes,
        code: seen.code.map(Code::name),
    }
}
