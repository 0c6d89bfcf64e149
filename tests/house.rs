//! The house rules that a program can check: who may use what, what no file holds, and that every
//! command of the README runs.

#![cfg(test)]
#![expect(clippy::disallowed_methods, reason = "a test lays out a copy of the repository")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
};

#[expect(clippy::allow_attributes, reason = "an expectation fails where a target uses all")]
#[allow(dead_code, reason = "each target uses a part of it")]
mod support;

use support::{cluster::Node, command, copy_folder, files_below, http, root, run, until};

const CRATES: [&str; 4] = ["engine", "flight", "api", "cli"];

/// The source files of the crates and of the whole-system tests.
fn sources() -> Vec<PathBuf> {
    let folders = CRATES.iter().map(|name| root().join(name)).chain([root().join("tests")]);
    let mut files: Vec<PathBuf> = folders.flat_map(|folder| files_below(&folder)).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "rs"));
    assert!(files.len() > 50, "{}", files.len());
    files
}

/// Each package of the lock file with the packages that it needs.
fn dependencies() -> BTreeMap<String, Vec<String>> {
    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let mut packages: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let (mut name, mut listing) = (String::new(), false);
    for line in lock.lines() {
        if let Some(text) = line.strip_prefix("name = ") {
            name = text.trim_matches('"').to_owned();
            packages.entry(name.clone()).or_default();
        } else if line == "dependencies = [" {
            listing = true;
        } else if line == "]" {
            listing = false;
        } else if listing {
            // A version follows the name where several are locked.
            let needed = line.trim().trim_matches([',', '"']);
            let needed = needed.split(' ').next().unwrap().to_owned();
            packages.get_mut(&name).unwrap().push(needed);
        }
    }
    packages
}

/// Everything that a package needs, tests included.
fn needs(package: &str) -> BTreeSet<String> {
    let packages = dependencies();
    let mut found = BTreeSet::new();
    let mut open = vec![package.to_owned()];
    while let Some(name) = open.pop() {
        for needed in &packages[&name] {
            if found.insert(needed.clone()) {
                open.push(needed.clone());
            }
        }
    }
    found
}

#[test]
fn the_engine_has_no_sockets_and_no_async() {
    let needed = needs("minispark-engine");
    for package in ["tokio", "tonic", "axum", "hyper", "reqwest", "async-trait"] {
        assert!(!needed.contains(package), "the engine needs {package}");
    }
    for path in sources().iter().filter(|path| path.starts_with(root().join("engine"))) {
        let text = fs::read_to_string(path).unwrap();
        for word in ["async fn", "async move", ".await", "std::net"] {
            assert!(!text.contains(word), "{word} in {}", path.display());
        }
    }
}

#[test]
fn packages_point_one_way() {
    let allowed = [
        ("minispark-engine", &[][..]),
        ("minispark-flight", &["minispark-engine"]),
        ("minispark-api", &["minispark-engine", "minispark-flight"]),
    ];
    for (package, may_need) in allowed {
        for needed in needs(package).iter().filter(|name| name.starts_with("minispark")) {
            assert!(may_need.contains(&needed.as_str()), "{package} needs {needed}");
        }
    }
}

#[test]
fn no_query_engine_is_in_the_product() {
    let needed = needs("minispark");
    for package in ["datafusion", "polars", "duckdb", "ballista"] {
        assert!(!needed.contains(package), "{package}");
    }
}

#[test]
fn one_version_of_each_central_library_is_locked() {
    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    for package in ["arrow", "arrow-array", "arrow-flight", "tonic", "axum", "hyper", "tokio"] {
        let line = format!("name = \"{package}\"");
        assert_eq!(lock.lines().filter(|found| *found == line).count(), 1, "{package}");
    }
}

#[test]
fn every_package_keeps_the_workspace_lints() {
    for name in CRATES {
        let manifest = fs::read_to_string(root().join(name).join("Cargo.toml")).unwrap();
        assert!(manifest.contains("[lints]\nworkspace = true"), "{name}");
    }
}

#[test]
fn every_script_can_be_parsed_and_started() {
    let mut scripts = files_below(&root().join("scripts"));
    scripts.extend(files_below(&root().join("tests")));
    scripts.retain(|path| path.extension().is_some_and(|extension| extension == "sh"));
    assert!(scripts.len() > 5, "{scripts:?}");
    for path in scripts {
        run(command("bash").arg("-n").arg(&path)).expect_done();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_ne!(mode & 0o111, 0, "{} can't be started", path.display());
    }
}

#[test]
fn there_is_no_mod_rs_and_every_file_says_what_it_is() {
    for path in sources() {
        let shown = path.display();
        assert_ne!(path.file_name().unwrap(), "mod.rs", "{shown}");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("//! "), "{shown} does not say what it is");
        let words = text.lines().next().unwrap().split(' ').count();
        assert!(words > 2, "{shown} does not say what it is");
    }
}

/// The JSON values of a page's fenced blocks.
fn examples(page: &str) -> Vec<serde_json::Value> {
    let blocks = page.split("```json\n").skip(1);
    let blocks = blocks.map(|rest| rest.split("```").next().unwrap());
    blocks
        .flat_map(|block| serde_json::Deserializer::from_str(block).into_iter())
        .map(|value| value.expect("a page's example is JSON"))
        .collect()
}

#[test]
fn the_job_reference_has_every_operator_with_every_field() {
    let page = |name: &str| fs::read_to_string(root().join("docs").join(name)).unwrap();
    let (jobs, formats) = (page("jobs.md"), page("formats.md"));
    let schema = minispark_engine::job::check::schema::document_schema();
    let nodes = &schema["properties"]["dag"]["properties"]["nodes"]["items"]["oneOf"];
    let mut known: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for node in nodes.as_array().unwrap() {
        let properties = node["properties"].as_object().unwrap();
        let op = properties["op"]["const"].as_str().unwrap();
        known.insert(op, properties.keys().map(String::as_str).collect());
    }
    for (op, fields) in &known {
        assert!(jobs.contains(&format!("`{op}`")) || jobs.contains(&format!("\"{op}\"")), "{op}");
        for field in fields.iter().filter(|field| !["id", "op"].contains(field)) {
            let forms = [format!("`{field}`"), format!("\"{field}\"")];
            let is_there = forms.iter().any(|form| jobs.contains(form) || formats.contains(form));
            assert!(is_there, "{op}: {field}");
        }
    }
    let nodes = examples(&jobs).into_iter().filter(|value| value.get("op").is_some());
    let mut count = 0;
    for node in nodes {
        count += 1;
        let fields = &known[node["op"].as_str().unwrap()];
        for name in node.as_object().unwrap().keys() {
            assert!(fields.contains(name.as_str()), "{node}: {name}");
        }
    }
    assert!(count > 25, "{count} examples");
}

#[test]
fn nothing_is_left_to_do_and_no_test_is_left_out() {
    // Put together, so that this file is not found.
    let words = ["todo", "unimplemented"].map(|word| format!("{word}!("));
    let marks = ["ignore", "should_panic"].map(|word| format!("#[{word}"));
    let sleep = format!("thread::{}(", "sleep");
    for path in sources() {
        let text = fs::read_to_string(&path).unwrap();
        for word in words.iter().chain(&marks) {
            assert!(!text.contains(word), "{word} in {}", path.display());
        }
        let is_test = path.starts_with(root().join("tests"));
        assert!(!(is_test && text.contains(&sleep)), "{sleep} in {}", path.display());
    }
}

/// The commands of the README: the lines of its `sh` blocks.
fn commands() -> Vec<String> {
    let text = fs::read_to_string(root().join("README.md")).unwrap();
    let mut commands = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        match line.trim() {
            "```sh" => inside = true,
            "```" => inside = false,
            "" => {}
            command if inside => commands.push(command.to_owned()),
            _ => {}
        }
    }
    commands
}

/// A copy of what the README's commands work on, with `bin/` as `make build` fills it.
fn lay_out(folder: &Path) {
    for name in ["data", "jobs"] {
        copy_folder(&root().join(name), &folder.join(name));
    }
    let bin = folder.join("bin");
    fs::create_dir(&bin).unwrap();
    for name in ["minispark", "client", "master", "worker"] {
        symlink(env!("CARGO_BIN_EXE_minispark"), bin.join(name)).unwrap();
    }
}

/// A command line of the README as it runs here; `None` where it is this very test run.
fn as_here(line: &str) -> Option<String> {
    if line.starts_with("cargo test") || line.starts_with("make ") {
        return None;
    }
    let line = match line.strip_prefix("cargo run --release -- ") {
        Some(rest) => format!("bin/minispark {rest}"),
        None => line.to_owned(),
    };
    let line = line
        .strip_prefix("minispark ")
        .map_or(line.clone(), |rest| format!("bin/minispark {rest}"));
    assert!(
        ["bin/", "curl "].iter().any(|start| line.starts_with(start)),
        "no test knows how to run `{line}`"
    );
    Some(line)
}

/// The verb that a command line starts a server with, and that server's own flags.
fn server(line: &str) -> Option<(&'static str, Vec<String>)> {
    let words: Vec<&str> = line.trim_end_matches('&').split_whitespace().collect();
    let verb = match words.as_slice() {
        ["bin/master", ..] | ["bin/minispark", "master", ..] => "master",
        ["bin/worker", ..] | ["bin/minispark", "worker", ..] => "worker",
        _ => return None,
    };
    let behind = words.iter().skip_while(|word| !word.ends_with(verb)).skip(1);
    Some((verb, behind.map(ToString::to_string).collect()))
}

#[test]
fn every_command_of_the_readme_runs() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    lay_out(here);
    let temporary = here.join("tmp");
    fs::create_dir(&temporary).unwrap();
    let has_curl = Command::new("curl").arg("--version").output().is_ok();
    let mut servers: Vec<Node> = Vec::new();
    let mut rest: Option<String> = None;
    let mut ran = 0;
    for line in commands().iter().filter_map(|line| as_here(line)) {
        let master_url = rest.as_ref().map(|address| format!("http://{address}"));
        let with_environment = |command: &mut Command| {
            command.current_dir(here).env("TMPDIR", &temporary);
            if let Some(url) = &master_url {
                command.env("MASTER_URL", url);
            }
        };
        ran += 1;
        if let Some((verb, flags)) = server(&line) {
            // The README's ports may be taken here: the flags that name them get free ones.
            let mut command = command(here.join("bin").join(verb));
            with_environment(&mut command);
            if verb == "master" {
                command.args(&flags).args(["--bind", "127.0.0.1:0", "--flight-port", "0"]);
            } else {
                let at = flags.iter().position(|flag| flag == "--port").unwrap();
                let others = flags[..at].iter().chain(&flags[at + 2..]);
                command.args(others).args(["--port", "0"]);
            }
            let mut node = Node::start(&mut command, here.join(format!("{verb}{ran}.log")));
            node.logged("flight");
            if verb == "master" {
                rest = Some(node.logged("rest").trim_start_matches("http://").to_owned());
            }
            servers.push(node);
            continue;
        }
        if let Some(address) = rest.as_ref().filter(|_| servers.len() > 1) {
            wait_for_workers(address, servers.len() - 1);
        }
        if line.starts_with("curl ") && !has_curl {
            continue;
        }
        let address = rest.clone().unwrap_or_default();
        let line = line.replace("127.0.0.1:8080", &address).replace("localhost:8080", &address);
        let mut shell = command("sh");
        with_environment(&mut shell);
        let done = run(shell.args(["-c", &line])).expect_done();
        if line.contains("run jobs/wordcount.json") {
            let expected = fs::read_to_string(root().join("data/expected/books.txt")).unwrap();
            assert_eq!(done.stdout, expected, "the README's first command");
        }
    }
    assert!(ran >= 3, "the README has only {ran} commands");
}

fn wait_for_workers(address: &str, wanted: usize) {
    until("the README's workers are up", || {
        let workers = http::call(address, "GET", "/api/v1/workers", &[], b"").json();
        let items = workers["items"].as_array().unwrap();
        items.iter().filter(|worker| worker["state"] == "UP").count() == wanted
    });
}
