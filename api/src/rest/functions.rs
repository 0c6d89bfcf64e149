//! `/functions`: the functions that job documents may name.

use axum::Json;
use minispark_engine::expr::function::document::{self, Place};

use super::{
    problem::Problem,
    request::{NoParameters, Query},
    wire,
};

/// `GET /functions`: every function with its signatures, nulls, errors and examples.
#[utoipa::path(
    get,
    path = "/functions",
    operation_id = "functions",
    tag = "server",
    responses((status = 200, description = "the functions, by group", body = wire::Functions))
)]
pub(crate) async fn list(
    Query(NoParameters {}): Query<NoParameters>,
) -> Result<Json<wire::Functions>, Problem> {
    let functions = document::entries().into_iter().map(function).collect();
    Ok(Json(wire::Functions { functions }))
}

fn function(entry: document::Entry) -> wire::Function {
    let examples = entry.examples.into_iter();
    let optional = |text: &str| (!text.is_empty()).then(|| String::from(text));
    wire::Function {
        name: String::from(entry.name),
        aliases: entry.aliases.iter().map(|alias| String::from(*alias)).collect(),
        kind: match entry.place {
            Place::Scalar => wire::FunctionKind::Scalar,
            Place::Aggregate => wire::FunctionKind::Aggregate,
            Place::Form => wire::FunctionKind::Form,
        },
        group: String::from(entry.group),
        signatures: entry.signatures,
        about: String::from(entry.about),
        nulls: optional(entry.nulls),
        errors: entry.fails.map(String::from),
        examples: examples
            .map(|(call, value)| wire::FunctionExample {
                call: String::from(call),
                value: String::from(value),
            })
            .collect(),
        differs: optional(entry.differs),
    }
}
