//! Configuration: where flags that nobody gave have their values from.
//!
//! In order: flag, environment (`MINISPARK_SECTION_KEY`), the file of `--config`, `minispark.toml`
//! in the working directory, the user's own file, built-in. A key stands for flags and its value is
//! read as theirs would be, so that a key can't exist without an effect: [`KEYS`] says of which
//! ones, and one line there is all that a new key needs.

use std::{
    collections::BTreeMap,
    error::Error as _,
    ffi::{OsStr, OsString},
    fmt,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use clap::{
    Arg, Command, CommandFactory,
    error::{ContextKind, ContextValue},
};
use minispark_api::rest::wire::Finding;
use minispark_engine::{disk::RealDisk, error::Code};
use serde_json::{Value, json};
use toml::de::{DeTable, DeValue};

use crate::{
    args::Cli,
    error::{Error, Exit, Result},
    host,
};

/// The file that is read in the working directory.
const LOCAL_FILE: &str = "minispark.toml";

/// What the names of environment variables begin with.
const PREFIX: &str = "MINISPARK_";

/// A key of the configuration.
struct Key {
    /// `section.key`.
    name: &'static str,
    /// The flags whose value it is, each with its verb; no verb is all of them.
    flags: &'static [(&'static str, &'static str)],
    /// An older name of its environment variable.
    also: Option<&'static str>,
}

const fn key(name: &'static str, flags: &'static [(&'static str, &'static str)]) -> Key {
    Key { name, flags, also: None }
}

/// All keys.
const KEYS: &[Key] = &[
    key("server.bind", &[("master", "bind")]),
    key("server.flight_port", &[("master", "flight-port")]),
    key("server.allowed_hosts", &[("master", "allowed-host")]),
    key(MASTER_TOKENS, &[("", "token-file")]),
    Key { also: Some("MASTER_URL"), ..key("client.server", &[("", "server")]) },
    key(CLIENT_TOKEN, &[("", "token-file")]),
    key("worker.bind", &[("worker", "bind")]),
    key("worker.port", &[("worker", "port")]),
    key("worker.advertise", &[("worker", "advertise")]),
    key("worker.drain", &[("worker", "drain")]),
    key("paths.state_dir", &[("master", "state-dir")]),
    key("paths.output_dir", &[("master", "output-dir"), ("run", "output-dir")]),
    key("paths.work_dir", &[("worker", "work-dir")]),
    key(
        "paths.read_roots",
        &[("master", "read-root"), ("worker", "read-root"), ("run", "read-root")],
    ),
    key(
        "paths.write_roots",
        &[("master", "write-root"), ("worker", "write-root"), ("run", "write-root")],
    ),
    key("paths.stores", &[("master", "store"), ("worker", "store")]),
    key("limits.keep_jobs", &[("master", "keep-jobs")]),
    key("limits.keep_for", &[("master", "keep-for")]),
    key("limits.results_quota", &[("master", "results-quota")]),
    key("memory.budget", &[("master", "memory"), ("worker", "memory"), ("run", "memory")]),
    key("memory.spill_quota", &[("worker", "spill-quota"), ("run", "spill-quota")]),
    key("scheduler.slots", &[("worker", "slots"), ("run", "threads")]),
    key("scheduler.heartbeat", &[("master", "heartbeat")]),
    key("scheduler.lost_after", &[("master", "lost-after")]),
    key("scheduler.no_worker_wait", &[("master", "no-worker-wait")]),
    key("scheduler.attempts", &[("master", "attempts")]),
    Key { also: Some("RUST_LOG"), ..key("log.level", &[("", "log-level")]) },
    key("log.format", &[("", "log-format")]),
];

/// The tokens that a master takes. One flag has two meanings, by the verb: so its keys are asked
/// for by name, and are no flag's default.
const MASTER_TOKENS: &str = "auth.token_file";

/// The token that a client or a worker has.
const CLIENT_TOKEN: &str = "client.token_file";

impl Key {
    /// The environment variable.
    fn variable(&self) -> String {
        format!("{PREFIX}{}", self.name.replace('.', "_").to_ascii_uppercase())
    }

    fn section(&self) -> &'static str {
        self.name.split_once('.').map_or(self.name, |(section, _)| section)
    }

    /// Its flags as the command line defines them.
    fn arguments<'a>(&self, command: &'a Command) -> Vec<&'a Arg> {
        let find = |(verb, flag): &(&str, &str)| {
            let verb = if verb.is_empty() { Some(command) } else { command.find_subcommand(verb) };
            verb?.get_arguments().find(|argument| argument.get_long() == Some(flag))
        };
        self.flags.iter().filter_map(find).collect()
    }

    fn is_list(&self, command: &Command) -> bool {
        let arguments = self.arguments(command);
        arguments.iter().any(|argument| argument.get_value_delimiter().is_some())
    }

    /// What is wrong with a value, by the flags' own rules.
    fn refuse(&self, value: &str, command: &Command) -> Option<String> {
        self.arguments(command).into_iter().find_map(|argument| refusal(argument, value))
    }
}

/// Whence a value is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// An environment variable.
    Environment(String),
    /// A line of a file.
    File(PathBuf, usize),
    /// Nobody said anything.
    BuiltIn,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::BuiltIn => f.write_str("built-in"),
        }
    }
}

/// The values that somebody set.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings(BTreeMap<&'static str, (String, Origin)>);

impl Settings {
    /// What environment and files say, to the arguments of a command line.
    ///
    /// # Errors
    /// All that is wrong with them, by file and line.
    pub(crate) fn load(arguments: &[OsString]) -> Result<Self> {
        let mut found = Found::default();
        if let Some(path) = user_file().filter(|path| path.is_file()) {
            found.read(&path)?;
        }
        let local = Path::new(LOCAL_FILE);
        if local.is_file() {
            refuse_strangers(local)?;
            found.read(local)?;
        }
        if let Some(path) = named_file(arguments) {
            found.read(&path)?;
        }
        found.environment(std::env::vars_os());
        found.conclude()
    }

    /// The keys that a file sets.
    ///
    /// # Errors
    /// All that is wrong with it, by line.
    pub(crate) fn check(path: &Path) -> Result<usize> {
        let mut found = Found::default();
        found.read(path)?;
        Ok(found.conclude()?.0.len())
    }

    /// The command line, with these values where flags are not given.
    pub(crate) fn command(&self) -> Command {
        let mut command = Cli::command();
        for key in KEYS.iter().filter(|key| ![MASTER_TOKENS, CLIENT_TOKEN].contains(&key.name)) {
            let Some((value, _)) = self.0.get(key.name) else { continue };
            for ((verb, _), argument) in key.flags.iter().zip(key.arguments(&Cli::command())) {
                let id = argument.get_id().clone();
                let set = |defined: Arg| defined.default_value(value.clone());
                command = if verb.is_empty() {
                    command.mut_arg(id, set)
                } else {
                    command.mut_subcommand(verb, |verb| verb.mut_arg(id, set))
                };
            }
        }
        command
    }

    /// The file of tokens that a master takes.
    pub(crate) fn master_tokens(&self) -> Option<PathBuf> {
        self.0.get(MASTER_TOKENS).map(|(value, _)| value.into())
    }

    /// The file with the token of a client or worker.
    pub(crate) fn client_token(&self) -> Option<PathBuf> {
        self.0.get(CLIENT_TOKEN).map(|(value, _)| value.into())
    }

    /// Every key with its value, if it has one, and whence that is.
    pub(crate) fn shown(&self) -> Vec<(&'static str, Option<Value>, Origin)> {
        let command = Cli::command();
        let as_value = |key: &Key, text: String| {
            if key.is_list(&command) {
                json!(text.split(':').collect::<Vec<_>>())
            } else {
                text.parse::<u64>().map_or_else(|_| json!(text), |number| json!(number))
            }
        };
        let shown = |key: &Key| {
            let (value, origin) = match self.0.get(key.name) {
                Some((value, origin)) => (Some(value.clone()), origin.clone()),
                None => (built_in(key, &command), Origin::BuiltIn),
            };
            (key.name, value.map(|text| as_value(key, text)), origin)
        };
        KEYS.iter().map(shown).collect()
    }
}

/// The value of a key that nobody set, where its flags have one and the same.
fn built_in(key: &Key, command: &Command) -> Option<String> {
    let mut values = key.arguments(command).into_iter().map(|argument| {
        let values = argument.get_default_values().iter();
        values.map(|value| value.to_string_lossy().into_owned()).collect::<Vec<_>>().join(":")
    });
    let first = values.next()?;
    values.all(|value| value == first).then_some(first).filter(|value| !value.is_empty())
}

/// What was found so far, right and wrong.
#[derive(Default)]
struct Found {
    settings: Settings,
    wrong: Vec<Finding>,
}

impl Found {
    fn conclude(self) -> Result<Settings> {
        let Self { settings, wrong } = self;
        let what = match &wrong[..] {
            [] => return Ok(settings),
            [one] => one.message.clone(),
            several => format!("the configuration has {} errors", several.len()),
        };
        let mut error = Error::new(Exit::Usage, Code::BadRequest, what);
        if let [one] = &wrong[..] {
            error = error.at(one.pointer.as_str());
            if let Some(name) = &one.suggestion {
                error = error.help(format!("did you mean `{name}`?"));
            }
        } else {
            error.findings = wrong;
        }
        Err(error)
    }

    fn refuse(&mut self, origin: &Origin, message: String, suggestion: Option<String>) {
        self.wrong.push(Finding {
            pointer: origin.to_string(),
            code: String::from("CONFIGURATION"),
            message,
            suggestion,
        });
    }

    /// Takes the keys of a file; what was found before gives way.
    fn read(&mut self, path: &Path) -> Result<()> {
        let text = host::read_text(&RealDisk, path)?;
        let line = |at: usize| text[..at.min(text.len())].matches('\n').count() + 1;
        let origin = |at: usize| Origin::File(path.to_owned(), line(at));
        let table = match DeTable::parse(&text) {
            Ok(table) => table,
            Err(error) => {
                let at = error.span().map_or(0, |span| span.start);
                self.refuse(&origin(at), format!("not TOML: {}", error.message()), None);
                return Ok(());
            }
        };
        let command = Cli::command();
        for (section, keys) in table.get_ref() {
            let name = section.get_ref();
            if !KEYS.iter().any(|key| key.section() == name.as_ref()) {
                let known = KEYS.iter().map(Key::section);
                let message = format!("no section `{name}`");
                self.refuse(&origin(section.span().start), message, nearest(name, known));
                continue;
            }
            let Some(keys) = keys.get_ref().as_table() else {
                let message = format!("`{name}` is a section: write [{name}]");
                self.refuse(&origin(section.span().start), message, None);
                continue;
            };
            for (key_name, value) in keys {
                let full = format!("{name}.{}", key_name.get_ref());
                let at = origin(key_name.span().start);
                let Some(key) = KEYS.iter().find(|key| key.name == full) else {
                    let known = KEYS.iter().map(|key| key.name);
                    self.refuse(&at, format!("no key `{full}`"), nearest(&full, known));
                    continue;
                };
                match text_of(value.get_ref(), key.is_list(&command)) {
                    Ok(value) => self.set(key, value, at, &command),
                    Err(expected) => self.refuse(&at, format!("`{full}` is {expected}"), None),
                }
            }
        }
        Ok(())
    }

    /// Takes the keys of environment variables; what was found before gives way.
    fn environment(&mut self, variables: impl Iterator<Item = (OsString, OsString)>) {
        let command = Cli::command();
        let variables: BTreeMap<OsString, OsString> =
            variables.filter(|(_, value)| !value.is_empty()).collect();
        for key in KEYS {
            let names = [Some(key.variable()), key.also.map(String::from)];
            let set = names.into_iter().flatten().find_map(|name| {
                Some((variables.get(OsStr::new(&name))?, Origin::Environment(name)))
            });
            match set.map(|(value, origin)| (value.to_str(), origin)) {
                Some((Some(value), origin)) => self.set(key, value.to_owned(), origin, &command),
                Some((None, origin)) => {
                    self.refuse(&origin, "the value is not text".to_owned(), None);
                }
                None => {}
            }
        }
        let is_known = |name: &str| KEYS.iter().any(|key| key.variable() == name);
        let is_ours = |name: &str| {
            KEYS.iter().any(|key| {
                name.starts_with(&format!("{PREFIX}{}_", key.section().to_ascii_uppercase()))
            })
        };
        for name in variables.keys().filter_map(|name| name.to_str()) {
            if is_ours(name) && !is_known(name) {
                let known: Vec<String> = KEYS.iter().map(Key::variable).collect();
                let suggestion = nearest(name, known.iter().map(String::as_str));
                let origin = Origin::Environment(name.to_owned());
                self.refuse(&origin, format!("no key has the variable `{name}`"), suggestion);
            }
        }
    }

    fn set(&mut self, key: &'static Key, value: String, origin: Origin, command: &Command) {
        if let Some(reason) = key.refuse(&value, command) {
            self.refuse(&origin, format!("`{}` can't be `{value}`: {reason}", key.name), None);
            return;
        }
        self.settings.0.insert(key.name, (value, origin));
    }
}

/// What a key with several values is.
const LIST: &str = "a list of texts, none of which has `:` in it";

/// A value as a flag would have it, or what it should be.
fn text_of(value: &DeValue<'_>, is_list: bool) -> Result<String, &'static str> {
    if !is_list {
        return match value {
            DeValue::String(text) => Ok(text.to_string()),
            DeValue::Integer(number) => Ok(number.as_str().to_owned()),
            DeValue::Boolean(truth) => Ok(truth.to_string()),
            DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
                Err("one value: a text or a whole number")
            }
        };
    }
    let items: Option<Vec<&str>> = match value.as_array() {
        Some(items) => items.iter().map(|item| item.get_ref().as_str()).collect(),
        None => value.as_str().map(|one| vec![one]),
    };
    let items = items.ok_or(LIST)?;
    if items.iter().any(|item| item.contains(':') || item.is_empty()) {
        return Err(LIST);
    }
    Ok(items.join(":"))
}

/// What a flag says to a value that it does not take.
fn refusal(argument: &Arg, value: &str) -> Option<String> {
    let mut probe = Arg::new("value")
        .long("value")
        .action(argument.get_action().clone())
        .value_parser(argument.get_value_parser().clone());
    if let Some(delimiter) = argument.get_value_delimiter() {
        probe = probe.value_delimiter(delimiter);
    }
    let command = Command::new("probe").no_binary_name(true).arg(probe);
    let error = command.try_get_matches_from([format!("--value={value}")]).err()?;
    if let Some(source) = error.source() {
        return Some(source.to_string());
    }
    match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(values)) => Some(format!("it is one of {}", values.join(", "))),
        _ => Some("it is no value of this key".to_owned()),
    }
}

/// The known name that was probably meant.
fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    let near = known.map(|other| (strsim::jaro_winkler(name, other), other));
    let (likeness, other) = near.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (likeness > 0.8).then(|| other.to_owned())
}

/// The file that `--config` names; looked for before anything else is read.
fn named_file(arguments: &[OsString]) -> Option<PathBuf> {
    let mut arguments = arguments.iter().skip(1).take_while(|argument| *argument != "--");
    while let Some(argument) = arguments.next() {
        if argument == "--config" {
            return arguments.next().map(PathBuf::from);
        }
        if let Some(path) = argument.to_str().and_then(|text| text.strip_prefix("--config=")) {
            return Some(PathBuf::from(path));
        }
    }
    None
}

/// The user's own file.
fn user_file() -> Option<PathBuf> {
    let absolute =
        |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")))?;
    Some(folder.join("minispark/config.toml"))
}

/// A file in the working directory counts if it is ours or root's: a stranger's could send our
/// token to a server of theirs.
fn refuse_strangers(path: &Path) -> Result<()> {
    let owner = std::fs::metadata(path).map(|found| found.uid()).ok();
    if owner.is_none_or(|owner| owner == 0 || Some(owner) == host::user_id()) {
        return Ok(());
    }
    let what = format!("`{}` is another user's and is not read", path.display());
    Err(Error::new(Exit::NotAllowed, Code::Forbidden, what)
        .help("name it with --config FILE if it is to count"))
}

#[cfg(test)]
mod tests {
    use std::{ffi::OsString, path::Path};

    use clap::{CommandFactory, FromArgMatches};
    use serde_json::json;

    use super::{CLIENT_TOKEN, Found, KEYS, MASTER_TOKENS, Origin, Settings, named_file};
    use crate::args::{Cli, Verb};

    /// Flags that are about one call, not about a place: what they say belongs into no file.
    const NO_KEYS: [&str; 15] = [
        "config",
        "repair-state",
        "json",
        "quiet",
        "verbose",
        "no-progress",
        "insecure",
        "strict",
        "no-sync",
        "show",
        "set",
        "explain",
        "master",
        "help",
        "version",
    ];

    fn from_file(text: &str) -> Result<Settings, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.toml");
        let mut file =
            std::fs::OpenOptions::new().write(true).create_new(true).open(&path).unwrap();
        std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
        let mut found = Found::default();
        found.read(&path).unwrap();
        let told = |error: crate::error::Error| {
            error.to_string().replace(&path.display().to_string(), "c.toml")
        };
        found.conclude().map_err(told)
    }

    fn parse(settings: &Settings, line: &str) -> Cli {
        let matches = settings.command().try_get_matches_from(line.split(' ')).unwrap();
        Cli::from_arg_matches(&matches).unwrap()
    }

    #[test]
    fn every_key_has_a_flag_and_every_flag_of_a_server_or_run_has_a_key() {
        let command = Cli::command();
        for key in KEYS {
            assert_eq!(key.arguments(&command).len(), key.flags.len(), "{}", key.name);
        }
        let has_key =
            |verb: &str, flag: &str| KEYS.iter().any(|key| key.flags.contains(&(verb, flag)));
        let verbs =
            ["master", "worker", "run"].map(|verb| (verb, command.find_subcommand(verb).unwrap()));
        for (verb, definition) in verbs.into_iter().chain([("", &command)]) {
            for flag in definition.get_arguments().filter_map(|argument| argument.get_long()) {
                let expected = !NO_KEYS.contains(&flag);
                assert_eq!(has_key(verb, flag), expected, "{verb} --{flag}");
            }
        }
    }

    #[test]
    fn the_readme_names_every_key() {
        let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
        let readme = std::fs::read_to_string(readme).unwrap();
        for key in KEYS {
            let (section, name) = key.name.split_once('.').unwrap();
            let row = readme.lines().find(|line| line.starts_with(&format!("| `[{section}]` |")));
            assert!(row.is_some_and(|row| row.contains(&format!("`{name}`"))), "{}", key.name);
        }
    }

    #[test]
    fn a_flag_goes_before_the_file_and_the_file_before_what_is_built_in() {
        let settings = from_file(
            "[server]\nbind = \"127.0.0.1:7\"\nflight_port = 8\nallowed_hosts = [\"a\", \"B.c\"]\n\
             [memory]\nbudget = \"64MiB\"\n[scheduler]\nlost_after = \"7s\"\nslots = 3\n\
             [client]\nserver = \"http://m:1\"\n[log]\nformat = \"json\"\n",
        )
        .unwrap();
        let cli = parse(&settings, "minispark master --flight-port 9");
        let Some(Verb::Master(master)) = cli.verb else { panic!("a master") };
        assert_eq!(master.bind.to_string(), "127.0.0.1:7");
        assert_eq!(master.flight_port, 9);
        assert_eq!(master.allowed_hosts, ["a", "b.c"]);
        assert_eq!((master.memory, master.lost_after.as_secs()), (64 << 20, 7));
        assert_eq!(master.heartbeat.as_secs(), 1);
        assert_eq!(cli.global.server, "http://m:1");
        let Some(Verb::Run(run)) = parse(&settings, "minispark run x").verb else { panic!("run") };
        assert_eq!((run.memory, run.threads), (Some(64 << 20), Some(3)));
        let given = parse(&settings, "minispark --server http://n:1 workers");
        assert_eq!(given.global.server, "http://n:1");
    }

    #[test]
    fn what_is_wrong_is_told_by_line_and_with_what_was_meant() {
        let told = |text: &str| from_file(text).unwrap_err();
        let unknown = told("[server]\nbind = \"127.0.0.1:1\"\nflight_prot = 1\n");
        assert!(unknown.contains("no key `server.flight_prot`"), "{unknown}");
        assert!(unknown.contains("at: c.toml:3"), "{unknown}");
        assert!(unknown.contains("did you mean `server.flight_port`?"), "{unknown}");
        let section = told("\n[sever]\n");
        assert!(section.contains("c.toml:2") && section.contains("`server`"), "{section}");
        let value = told("[memory]\nbudget = \"64 apples\"\n");
        assert!(value.contains("c.toml:2") && value.contains("unknown unit `apples`"), "{value}");
        let choice = told("[log]\nformat = \"xml\"\n");
        assert!(choice.contains("auto, human, json"), "{choice}");
        assert!(told("[log]\nformat = [1]\n").contains("one value"));
        assert!(told("[paths]\nread_roots = [\"a:b\"]\n").contains("a list"));
        assert!(told("[log\n").contains("c.toml:1"));
        let several = told("[log]\nformat = \"xml\"\nlevle = \"info\"\n");
        assert!(several.contains("2 errors"), "{several}");
        assert!(several.contains("c.toml:2") && several.contains("c.toml:3"), "{several}");
    }

    #[test]
    fn the_environment_goes_before_files_and_its_older_names_count() {
        let environment = |variables: &[(&str, &str)]| {
            let mut found = Found {
                settings: from_file("[server]\nflight_port = 8\n").unwrap(),
                ..Found::default()
            };
            found.environment(variables.iter().map(|(name, value)| (name.into(), value.into())));
            found.conclude()
        };
        let shown = |settings: &Settings, name: &str| {
            settings.shown().into_iter().find(|(key, ..)| *key == name).unwrap()
        };
        let settings = environment(&[
            ("MINISPARK_SERVER_FLIGHT_PORT", "9"),
            ("MASTER_URL", "http://m:1"),
            ("MINISPARK_PATHS_READ_ROOTS", "/a:/b"),
            ("RUST_LOG", ""),
            ("MINISPARK_TOKEN", "x"),
        ])
        .unwrap();
        let from = |name: &str| Origin::Environment(name.to_owned());
        let port = ("server.flight_port", Some(json!(9)), from("MINISPARK_SERVER_FLIGHT_PORT"));
        assert_eq!(shown(&settings, port.0), port);
        let server = ("client.server", Some(json!("http://m:1")), from("MASTER_URL"));
        assert_eq!(shown(&settings, server.0), server);
        assert_eq!(shown(&settings, "log.level").2, Origin::BuiltIn);
        assert_eq!(shown(&settings, "scheduler.attempts").1, Some(json!(4)));
        assert_eq!(shown(&settings, "paths.read_roots").1, Some(json!(["/a", "/b"])));
        let Some(Verb::Master(master)) = parse(&settings, "minispark master").verb else {
            panic!("a master")
        };
        assert_eq!(master.read_roots, [Path::new("/a"), Path::new("/b")]);
        let error = environment(&[("MINISPARK_SERVER_BINT", "x")]).unwrap_err().to_string();
        assert!(error.contains("did you mean `MINISPARK_SERVER_BIND`?"), "{error}");
    }

    #[test]
    fn token_files_are_for_a_master_or_for_its_callers() {
        let settings =
            from_file("[auth]\ntoken_file = \"t\"\n[client]\ntoken_file = \"c\"\n").unwrap();
        assert_eq!(settings.master_tokens().as_deref(), Some(Path::new("t")));
        assert_eq!(settings.client_token().as_deref(), Some(Path::new("c")));
        assert_eq!(parse(&settings, "minispark workers").global.token_file, None);
        assert!(
            KEYS.iter().filter(|key| [MASTER_TOKENS, CLIENT_TOKEN].contains(&key.name)).count()
                == 2
        );
    }

    #[test]
    fn the_named_file_is_found_before_the_line_is_read() {
        let named =
            |line: &str| named_file(&line.split(' ').map(OsString::from).collect::<Vec<_>>());
        assert_eq!(named("minispark --config a run x").as_deref(), Some(Path::new("a")));
        assert_eq!(named("minispark run x --config=b").as_deref(), Some(Path::new("b")));
        assert_eq!(named("minispark run -- --config c"), None);
    }
}
