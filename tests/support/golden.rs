//! Golden cases: a folder each, with `job.json`, `input/` and `expected/`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use minispark_api::rest::wire::Ordered;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{copy_folder, names, root};

/// JSON whose objects keep their order, because that of `select` and `aggs` has a meaning.
#[derive(Clone, Deserialize, Serialize)]
#[serde(untagged)]
enum Tree {
    Object(Ordered<Tree>),
    Array(Vec<Tree>),
    Leaf(Value),
}

impl Tree {
    fn at(&mut self, name: &str) -> &mut Self {
        self.find(name).unwrap_or_else(|| panic!("no `{name}`"))
    }

    fn find(&mut self, name: &str) -> Option<&mut Self> {
        let Self::Object(Ordered(fields)) = self else { panic!("`{name}` of no object") };
        fields.iter_mut().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    fn text(&mut self, name: &str) -> Option<String> {
        match self.find(name)? {
            Self::Leaf(value) => value.as_str().map(str::to_owned),
            Self::Object(_) | Self::Array(_) => None,
        }
    }

    fn set(&mut self, name: &str, value: Value) {
        let Self::Object(Ordered(fields)) = self else { panic!("`{name}` of no object") };
        fields.retain(|(key, _)| key != name);
        fields.push((name.to_owned(), Self::Leaf(value)));
    }
}

/// A case.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) folder: PathBuf,
    document: Tree,
}

/// All of them, by name.
pub(crate) fn cases() -> Vec<Case> {
    let folder = root().join("tests/golden");
    let case = |name: String| {
        let folder = folder.join(&name);
        let document = fs::read_to_string(folder.join("job.json")).unwrap();
        Case { name, folder, document: serde_json::from_str(&document).unwrap() }
    };
    names(&folder).into_iter().map(case).collect()
}

impl Case {
    /// The document with readers and job set to so many partitions at once, its nodes' paths
    /// below `folder`.
    pub(crate) fn document(&self, partitions: Option<u32>, folder: &Path) -> String {
        let mut document = self.document.clone();
        if let Some(partitions) = partitions {
            document.set("parallelism", json!(partitions));
        }
        let Tree::Array(nodes) = document.at("dag").at("nodes") else { panic!("no nodes") };
        for node in nodes {
            let is_reader = node.text("op").unwrap().starts_with("read");
            if let (Some(partitions), true) = (partitions, is_reader) {
                node.set("partitions", json!(partitions));
            }
            if let Some(path) = node.text("path") {
                node.set("path", json!(folder.join(path)));
            }
        }
        serde_json::to_string_pretty(&document).unwrap()
    }

    /// The sinks with their kinds of file: `txt`, `csv`, `jsonl`.
    pub(crate) fn sinks(&self) -> Vec<(String, String)> {
        let split = |name: &String| name.split_once('.').map(|(a, b)| (a.to_owned(), b.to_owned()));
        names(&self.folder.join("expected")).iter().filter_map(split).collect()
    }

    /// Copies what it reads to a folder in which it can also write.
    pub(crate) fn lay_out(&self, folder: &Path) {
        copy_folder(&self.folder.join("input"), &folder.join("input"));
    }

    /// Compares a result (a file, or a writer's folder) with what is expected; with
    /// `UPDATE_GOLDEN=1` it becomes what is expected.
    pub(crate) fn check(&self, sink: &str, kind: &str, result: &Path, how: &str) {
        let found = content(result, kind);
        let file = self.folder.join("expected").join(format!("{sink}.{kind}"));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&file, &found).unwrap();
        }
        let expected = fs::read_to_string(&file).unwrap();
        assert_eq!(found, expected, "{} of {} {how}", sink, self.name);
    }
}

/// A result as one text: of a folder the parts in order, the header of a CSV once.
pub(crate) fn content(result: &Path, kind: &str) -> String {
    if result.is_file() {
        return fs::read_to_string(result).unwrap();
    }
    let names = names(result);
    assert!(names.iter().any(|name| name == "_manifest.json"), "no manifest: {names:?}");
    let mut text = String::new();
    for name in names.iter().filter(|name| name.starts_with("part-")) {
        let part = fs::read_to_string(result.join(name)).unwrap();
        let skipped = match part.split_once('\n') {
            Some((_, rest)) if kind == "csv" && !text.is_empty() => rest,
            _ => &part,
        };
        text.push_str(skipped);
    }
    text
}
