//! `/openapi.json`: the routes as an `OpenAPI` 3.1 document, made from the handlers themselves.
//!
//! A handler says what is its own: parameters, bodies, answers. What any request can meet, because
//! it is done around all handlers, is added here; and every error is a problem document.

use axum::{
    Extension,
    body::Bytes,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use minispark_engine::job::check::schema::document_schema;
use utoipa::{
    OpenApi,
    openapi::{
        self, ContentBuilder, HeaderBuilder, ObjectBuilder, Ref, RefOr, ResponseBuilder,
        path::{Operation, PathItem},
        schema::Type,
    },
};

use super::{
    guard::{MINISPARK_VERSION, REQUEST_ID},
    problem::{MEDIA_TYPE, Problem},
    request::{NoParameters, Query},
    wire,
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "minispark",
        description = "Jobs, their states and their results. Errors are problem documents (RFC 9457).",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    components(schemas(wire::ProblemDocument)),
    tags(
        (name = "jobs", description = "submit, list, show, cancel"),
        (name = "results", description = "where results are, and their rows"),
        (name = "cluster", description = "who runs tasks"),
        (name = "server", description = "the server itself"),
    ),
)]
struct Description;

/// What is done around every handler may end any request with these.
const ANY: [(&str, &str); 8] = [
    ("400", "the request can't be read, or has a parameter that is not known"),
    ("401", "`UNAUTHENTICATED`: the server asks for a token, and none or a wrong one came"),
    (
        "403",
        "the token may not do this, the Host is not this server's, or a web page of another origin asks",
    ),
    ("406", "nothing that is accepted can be had"),
    ("429", "`RATE_LIMITED`, or `QUEUE_FULL`: try again after a while"),
    ("431", "the headers are larger than 16 KiB"),
    ("500", "`INTERNAL`: a bug, or a file that can't be read"),
    ("503", "the server is starting or stopping, or its disk is full"),
];

/// A request with a body may meet these too.
const WITH_BODY: [(&str, &str); 2] =
    [("408", "the body did not come in time"), ("413", "`BODY_TOO_LARGE`")];

/// A route that names something may meet this too.
const WITH_NAME: (&str, &str) = ("404", "`NOT_FOUND`: it is not there");

/// Answered before there is a request that could have a problem document.
const BARE: &str = "431";

/// The document's text.
#[derive(Clone)]
pub(crate) struct Document(Bytes);

impl Document {
    /// The document of routes.
    pub(crate) fn of(routes: openapi::OpenApi) -> Self {
        // A document that is no JSON can't be made of these types; the tests read it.
        Self(serde_json::to_vec(&complete(routes)).unwrap_or_default().into())
    }
}

/// `GET /openapi.json`: this description.
#[utoipa::path(
    get,
    path = "/openapi.json",
    operation_id = "openapi",
    tag = "server",
    responses((status = 200, description = "an OpenAPI 3.1 document", body = Object))
)]
pub(crate) async fn show(
    Extension(document): Extension<Document>,
    Query(NoParameters {}): Query<NoParameters>,
) -> Result<Response, Problem> {
    let json = HeaderValue::from_static("application/json");
    Ok(([(header::CONTENT_TYPE, json)], document.0).into_response())
}

/// `GET /schema/job.json`: the JSON Schema of job documents.
#[utoipa::path(
    get,
    path = "/schema/job.json",
    operation_id = "jobSchema",
    tag = "server",
    responses((status = 200, description = "a JSON Schema (2020-12)", body = Object,
        content_type = "application/schema+json"))
)]
pub(crate) async fn job_schema(
    Query(NoParameters {}): Query<NoParameters>,
) -> Result<Response, Problem> {
    let json = HeaderValue::from_static("application/schema+json");
    let schema = serde_json::to_vec(&document_schema()).unwrap_or_default();
    Ok(([(header::CONTENT_TYPE, json)], schema).into_response())
}

/// The routes with what they have in common.
fn complete(routes: openapi::OpenApi) -> openapi::OpenApi {
    let mut document = Description::openapi();
    document.merge(routes);
    for (path, item) in &mut document.paths.paths {
        for operation in operations(item) {
            add_errors(operation, path.contains('{'));
            for (status, response) in &mut operation.responses.responses {
                if let RefOr::T(response) = response {
                    add_common(status, response);
                }
            }
        }
    }
    document
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.patch]
        .into_iter()
        .flatten()
}

fn add_errors(operation: &mut Operation, has_name: bool) {
    let has_body = operation.request_body.is_some();
    let errors = ANY.iter().chain(WITH_BODY.iter().filter(|_| has_body));
    for (status, description) in errors.chain(Some(&WITH_NAME).filter(|_| has_name)) {
        let response = || ResponseBuilder::new().description(*description).build();
        operation
            .responses
            .responses
            .entry((*status).to_owned())
            .or_insert_with(|| response().into());
    }
}

/// What answers of a status have in common: headers, and that an error is a problem document.
fn add_common(status: &str, response: &mut openapi::Response) {
    if status == BARE {
        return;
    }
    let text = || ObjectBuilder::new().schema_type(Type::String);
    for (name, description) in [
        (REQUEST_ID, "finds the request in the log"),
        (MINISPARK_VERSION, "the build that answers"),
    ] {
        let header =
            HeaderBuilder::new().schema(Some(text())).description(Some(description)).build();
        response.headers.insert(name.as_str().to_owned(), header.into());
    }
    if status.starts_with(['4', '5']) && response.content.is_empty() {
        let problem = Ref::from_schema_name("ProblemDocument");
        let content = ContentBuilder::new().schema(Some(problem)).build();
        response.content.insert(MEDIA_TYPE.to_owned(), content.into());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use utoipa_axum::router::OpenApiRouter;

    use super::Document;
    use crate::rest::{BASE, clients, probes};

    fn document() -> Value {
        let routes = OpenApiRouter::new().nest(BASE, clients()).merge(probes());
        serde_json::from_slice(&Document::of(routes.into_openapi()).0).unwrap()
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn check(value: &Value, document: &Value) {
            if let Some(to) = value["$ref"].as_str() {
                let pointer = to.strip_prefix('#').unwrap();
                assert!(document.pointer(pointer).is_some(), "{to}");
            }
            match value {
                Value::Array(items) => items.iter().for_each(|item| check(item, document)),
                Value::Object(fields) => fields.values().for_each(|field| check(field, document)),
                _ => {}
            }
        }
        let document = document();
        assert!(
            document["openapi"].as_str().unwrap().starts_with("3.1"),
            "{}",
            document["openapi"]
        );
        assert_eq!(document["info"]["version"], crate::VERSION);
        check(&document, &document);
    }

    #[test]
    fn every_operation_has_a_name_of_its_own_and_errors_that_are_problem_documents() {
        let document = document();
        let mut names = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let name = operation["operationId"].as_str().unwrap();
                assert!(names.insert(name.to_owned()), "{name} stands twice");
                let responses = operation["responses"].as_object().unwrap();
                for status in ["400", "403", "500"] {
                    let content = &responses[status]["content"]["application/problem+json"];
                    assert_eq!(
                        content["schema"]["$ref"], "#/components/schemas/ProblemDocument",
                        "{method} {path} {status}"
                    );
                }
                assert_eq!(responses.contains_key("404"), path.contains('{'), "{path}");
                assert_eq!(
                    responses.contains_key("413"),
                    method == "post" && path.ends_with("jobs")
                );
                // What a job that has no result, or not yet, is answered with.
                assert!(
                    operation["tags"][0] != "results" || responses.contains_key("409"),
                    "{path}"
                );
                assert!(responses["400"]["headers"]["x-request-id"].is_object());
            }
        }
        assert!(names.len() >= 12, "{names:?}");
    }
}
