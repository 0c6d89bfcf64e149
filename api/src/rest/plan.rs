//! `/jobs/{id}/plan`, and what `?dry_run=true` answers: what a job does, explained.

use std::sync::Arc;

use super::{
    problem::Problem,
    request::{NoParameters, Query, job_id, no_job},
};
use crate::master::Master;
use axum::{
    Json,
    extract::{Path, State},
};
use minispark_engine::{
    disk::Disk,
    error::Code,
    plan::{
        Plan,
        explain::{ActualRows, Explanation, explain},
    },
};

/// `GET /jobs/{id}/plan`: its nodes, the rules applied, its stages, with the rows counted so far.
#[utoipa::path(
    get,
    path = "/jobs/{id}/plan",
    operation_id = "explainJob",
    tag = "jobs",
    params(("id" = String, Path, description = "the job")),
    responses((
        status = 200,
        description = "the plan, as `minispark explain --format json` prints it",
        body = Object,
    ))
)]
pub(crate) async fn show(
    State(master): State<Arc<Master>>,
    Path(id): Path<String>,
    Query(NoParameters {}): Query<NoParameters>,
) -> Result<Json<Explanation>, Problem> {
    let job = job_id(&id)?;
    let (plan, rows) = {
        let cluster = master.lock();
        let (view, _) = cluster.job(job).ok_or_else(|| no_job(&id))?;
        (Arc::clone(&view.plan), view.rows)
    };
    let mut explanation = explained(plan, &master.site.data.inputs).await?;
    for (node, rows) in explanation.nodes.iter_mut().zip(&rows) {
        let (rows_in, rows_out) = (rows.rows_in, rows.rows_out);
        node.actual = Some(ActualRows { rows_in, rows_out });
    }
    Ok(Json(explanation))
}

/// A plan explained, off the async threads, because inputs are sampled.
pub(super) async fn explained(
    plan: Arc<Plan>,
    inputs: &Arc<dyn Disk>,
) -> Result<Explanation, Problem> {
    let inputs = Arc::clone(inputs);
    let explaining = tokio::task::spawn_blocking(move || explain(&plan, &inputs));
    explaining.await.map_err(|error| {
        tracing::error!(%error, "explaining a plan ended early");
        Problem::new(Code::Internal, "explaining the plan met a bug")
    })
}
