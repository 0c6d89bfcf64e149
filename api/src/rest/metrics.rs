//! `/metrics`: the master's numbers, and how requests are counted.

use std::sync::Arc;

use axum::{
    Json,
    extract::{MatchedPath, Request, State},
    http::{StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use minispark_engine::{error::Code, runtime::Clock};

use super::{
    problem::Problem,
    request::{NoParameters, Query},
    wire,
};
use crate::{
    master::Master,
    metrics::{self, Metrics, Standing},
};

/// `GET /metrics`: for Prometheus.
#[utoipa::path(
    get,
    path = "/metrics",
    operation_id = "metricsText",
    tag = "server",
    responses((status = 200, description = "Prometheus text format", content_type = "text/plain", body = String))
)]
pub(crate) async fn text(
    State(master): State<Arc<Master>>,
    Query(NoParameters {}): Query<NoParameters>,
) -> Result<Response, Problem> {
    let numbers = numbers(&master);
    let text = numbers.text(master.clock.now(), &|| standing(&master));
    Ok(([(header::CONTENT_TYPE, metrics::TEXT_FORMAT)], text).into_response())
}

/// `GET /api/v1/metrics`: the same numbers as JSON.
#[utoipa::path(
    get,
    path = "/metrics",
    operation_id = "metrics",
    tag = "server",
    responses((status = 200, description = "the numbers of the text format", body = wire::Metrics))
)]
pub(crate) async fn document(
    State(master): State<Arc<Master>>,
    Query(NoParameters {}): Query<NoParameters>,
) -> Result<Json<wire::Metrics>, Problem> {
    let numbers = numbers(&master);
    Ok(Json(numbers.document(master.clock.now(), &|| standing(&master))))
}

fn numbers(master: &Master) -> Arc<Metrics> {
    Arc::clone(master.lock().observer().metrics())
}

fn standing(master: &Master) -> Standing {
    let mut standing = metrics::standing(&master.lock(), master.clock.now());
    standing.budget_bytes += master.publisher.budget.limit_bytes();
    standing.reserved_bytes += master.publisher.budget.used_bytes();
    standing.fetched = master.exchange.traffic().fetched();
    standing
}

/// Counts requests.
#[derive(Clone)]
pub(crate) struct Counter {
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
}

impl Counter {
    /// The counter of a master's requests.
    pub(crate) fn of(master: &Arc<Master>) -> Self {
        Self { metrics: numbers(master), clock: Arc::clone(&master.clock) }
    }
}

/// Counts a request by its route, and a refusal by its code.
pub(crate) async fn count(
    State(counter): State<Counter>,
    request: Request,
    next: Next,
) -> Response {
    let started = counter.clock.now();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let method = request.method().clone();
    let response = next.run(request).await;
    let code = response.extensions().get::<Problem>().map(Problem::code);
    let refusal = code.filter(|code| is_refusal(response.status(), *code)).map(Code::name);
    let seconds = counter.clock.now().saturating_sub(started).as_secs_f64();
    let route = route.as_ref().map(MatchedPath::as_str);
    counter.metrics.request(route, &method, response.status(), refusal, seconds);
    response
}

/// Whether nothing was done about a request, because of who asked, how much, or how often.
fn is_refusal(status: StatusCode, code: Code) -> bool {
    matches!(
        status,
        StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN
            | StatusCode::PAYLOAD_TOO_LARGE
            | StatusCode::TOO_MANY_REQUESTS
            | StatusCode::SERVICE_UNAVAILABLE
    ) || code == Code::ValidationFailed
}
