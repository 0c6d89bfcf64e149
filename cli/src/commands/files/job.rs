//! [`Job`]: a job document in the making.

use minispark_engine::job::Json;

/// A chain or a tree of nodes whose rows are one answer.
#[derive(Clone)]
pub(super) struct Job {
    nodes: Vec<Json>,
    edges: Vec<(String, String)>,
    /// What is wrong with it is told of this.
    pub(super) shown: &'static str,
}

/// An object with its members in this order.
pub(super) fn object<'a>(members: impl IntoIterator<Item = (&'a str, Json)>) -> Json {
    let members = members.into_iter().map(|(name, value)| (String::from(name), value));
    Json::Object(members.collect())
}

pub(super) fn text(text: impl Into<String>) -> Json {
    Json::Text(text.into())
}

impl Job {
    pub(super) fn new(shown: &'static str) -> Self {
        Self { nodes: Vec::new(), edges: Vec::new(), shown }
    }

    /// With a node that reads the rows of others.
    pub(super) fn with(mut self, id: &str, node: Json, inputs: &[&str]) -> Self {
        self.nodes.push(node);
        let edges = inputs.iter().map(|input| (String::from(*input), String::from(id)));
        self.edges.extend(edges);
        self
    }

    pub(super) fn json(&self) -> Json {
        let edge = |(from, to): &(String, String)| Json::List(vec![text(from), text(to)]);
        let edges = Json::List(self.edges.iter().map(edge).collect());
        let dag = object([("nodes", Json::List(self.nodes.clone())), ("edges", edges)]);
        object([("dag", dag)])
    }

    /// The document that runs it. A `$${` says what `${` says to people, so that no part of a
    /// query is taken for a parameter.
    pub(super) fn document(&self) -> String {
        self.json().to_string()
    }
}

/// The text as it stands in a document, where `${` begins a parameter.
pub(super) fn literal(value: &str) -> Json {
    text(value.replace("${", "$${"))
}
