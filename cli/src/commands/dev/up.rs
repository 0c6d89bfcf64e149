//! `dev up`: starts what does not run yet, and returns when all of it works.

use std::{
    collections::BTreeMap,
    fs::OpenOptions,
    net::{Ipv4Addr, TcpListener},
    os::unix::{fs::OpenOptionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use minispark_api::rest::wire::WorkerState;
use minispark_engine::{
    disk::{Disk, RealDisk},
    error::Code,
};
use serde_json::Value;
use tokio::time::{sleep, timeout};

use super::{Folders, Life, MASTER, Member, Shown, down, member::Record, process, refused};
use crate::{
    args::{self, Global, LogFormat},
    client::Client,
    commands::Stop,
    error::{Error, Exit, Result},
    host,
    output::Output,
    units::show_bytes,
};

const REST_PORT: u16 = 8080;
const FLIGHT_PORT: u16 = 8081;
const WORKER_PORT: u16 = 9001;
/// The most memory for the master: rows only pass through it.
const MASTER_MEMORY_BYTES: u64 = 256 << 20;
/// Between two looks at what is to come up.
const PAUSE: Duration = Duration::from_millis(20);
/// How long what was started for nothing may take to end by itself.
const GRACE: Duration = Duration::from_secs(5);
/// What is shown of a log where something went wrong.
const TAIL_BYTES: u64 = 2000;
/// Where a log tells its process's addresses: at its beginning.
const HEAD_BYTES: u64 = 64 << 10;

/// Starts the master and the workers that do not run, and waits until all workers are up. What was
/// started is stopped again where that fails.
///
/// # Errors
/// Why it is not up: a taken port, a process that ended, a master that does not answer.
pub(super) async fn up(args: &args::dev::Up, global: &Global, output: Output) -> Result<Exit> {
    let folders = Folders::of(&args.folder)?;
    for folder in [&folders.logs, &folders.data] {
        RealDisk.create_dir_all(folder).map_err(|error| refused("create", folder, &error))?;
    }
    let _lock = folders.lock()?;
    let mut stop = Stop::listen()?;
    let mut up = Up { args, global, output, folders: &folders, started: Vec::new(), open: None };
    let outcome = tokio::select! {
        outcome = timeout(args.wait, up.all()) => outcome.unwrap_or_else(|_| Err(up.too_late())),
        exit = stop.next() => {
            up.undo().await?;
            return Ok(exit);
        }
    };
    if let Err(error) = outcome {
        up.undo().await?;
        return Err(error);
    }
    if up.started.is_empty() {
        output.say("it runs already");
    }
    let members = folders.members()?;
    let rest = members.iter().find_map(|member| member.record.rest.as_ref());
    if let Some(rest) = rest.filter(|rest| **rest != at_loopback(REST_PORT)) {
        output.say(&format!("for the other commands: export MASTER_URL=http://{rest}"));
    }
    Shown::of(&folders, &members).print(output)?;
    Ok(Exit::Done)
}

/// A start in progress.
struct Up<'a> {
    args: &'a args::dev::Up,
    global: &'a Global,
    output: Output,
    folders: &'a Folders,
    /// What this call started.
    started: Vec<(Member, Child)>,
    /// What is waited for.
    open: Option<String>,
}

impl Up<'_> {
    /// Starts what is missing and waits for all of it.
    async fn all(&mut self) -> Result<()> {
        let mut running = BTreeMap::new();
        for member in self.folders.members()? {
            if member.life() == Life::Running {
                running.insert(member.name.clone(), member);
            } else {
                self.output.say(&format!("{} had ended; it is started again", member.name));
                member.forget(&self.folders.logs)?;
            }
        }
        let missing = self.missing(&running)?;
        self.free_ports(&running, &missing)?;

        let (master_bytes, worker_bytes) = divided(
            self.args.memory.unwrap_or_else(host::default_memory_bytes),
            u64::from(self.args.workers),
        );
        if !running.contains_key(MASTER) {
            self.start_master(master_bytes)?;
        }
        self.open = Some(MASTER.to_owned());
        let master = self.with_addresses(MASTER, running.get(MASTER)).await?;
        let rest = master.record.rest.clone().unwrap_or_default();
        let url = format!("http://{rest}");
        let client = Client::new(&url)?;
        let before = self.answering(&client).await?;

        for number in missing {
            self.start_worker(number, worker_bytes, &url)?;
        }
        for number in 1..=self.args.workers {
            let name = worker_name(number);
            self.open = Some(name.clone());
            let worker = self.with_addresses(&name, running.get(&name)).await?;
            let address = worker.record.flight.clone().unwrap_or_default();
            // A life that the master knew before is not the one that was just started.
            let past_epoch =
                if running.contains_key(&name) { None } else { before.get(&address).copied() };
            self.worker_up(&client, &name, &address, past_epoch).await?;
        }
        self.open = None;
        Ok(())
    }

    /// The numbers of the workers that do not run.
    fn missing(&self, running: &BTreeMap<String, Member>) -> Result<Vec<u16>> {
        if let Some(master) = running.get(MASTER) {
            for (flag, wanted, address) in [
                ("--port", self.args.port, &master.record.rest),
                ("--flight-port", self.args.flight_port, &master.record.flight),
            ] {
                let port = address.as_deref().and_then(|address| address.rsplit(':').next());
                if let (Some(wanted), Some(port)) = (wanted.filter(|wanted| *wanted > 0), port)
                    && port != wanted.to_string()
                {
                    let what = format!("a master runs here already, on port {port}");
                    return Err(Error::new(Exit::Conflict, Code::Conflict, what)
                        .help(format!("leave {flag} out, or stop it with: minispark dev down")));
                }
            }
        }
        let is_missing = |number: &u16| !running.contains_key(&worker_name(*number));
        Ok((1..=self.args.workers).filter(is_missing).collect())
    }

    /// Makes sure that a port is not another's, whose answers would be taken for ours.
    fn free_ports(&self, running: &BTreeMap<String, Member>, missing: &[u16]) -> Result<()> {
        let mut wanted = Vec::new();
        if !running.contains_key(MASTER) {
            wanted.push(("--port", self.args.port.unwrap_or(REST_PORT)));
            wanted.push(("--flight-port", self.args.flight_port.unwrap_or(FLIGHT_PORT)));
        }
        for number in missing {
            wanted.push(("--worker-port", self.worker_port(*number)?));
        }
        for (flag, port) in wanted.into_iter().filter(|(_, port)| *port > 0) {
            if let Err(error) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
                let what = format!("port {port} can't be had: {error}");
                return Err(Error::new(Exit::Conflict, Code::Conflict, what)
                    .help(format!("name another one with {flag}; 0 takes a free one")));
            }
        }
        Ok(())
    }

    fn worker_port(&self, number: u16) -> Result<u16> {
        match self.args.worker_port.unwrap_or(WORKER_PORT) {
            0 => Ok(0),
            first => first.checked_add(number - 1).ok_or_else(|| {
                Error::usage(format!("there are no {} ports from {first} on", self.args.workers))
            }),
        }
    }

    fn start_master(&mut self, memory_bytes: u64) -> Result<()> {
        let rest_port = self.args.port.unwrap_or(REST_PORT);
        let flight_port = self.args.flight_port.unwrap_or(FLIGHT_PORT);
        let mut command = self.command("master", &[rest_port, flight_port])?;
        command.arg("--bind").arg(at_loopback(rest_port));
        command.arg("--flight-port").arg(flight_port.to_string());
        command.arg("--state-dir").arg(self.folders.data.join("state"));
        command.arg("--memory").arg(format!("{memory_bytes}B"));
        if let Some(folder) = &self.args.output_dir {
            command.arg("--output-dir").arg(folder);
        }
        self.output.say(&format!("starting {MASTER}, {}", show_bytes(memory_bytes)));
        let known = |port: u16| (port > 0).then(|| at_loopback(port));
        self.start(MASTER.to_owned(), command, known(rest_port), known(flight_port))
    }

    fn start_worker(&mut self, number: u16, memory_bytes: u64, master: &str) -> Result<()> {
        let name = worker_name(number);
        let port = self.worker_port(number)?;
        let slots = self.args.slots.map_or_else(
            || host::default_threads().div_ceil(usize::from(self.args.workers)),
            usize::from,
        );
        let mut command = self.command("worker", &[port])?;
        command.args(["--master", master]);
        command.arg("--port").arg(port.to_string());
        command.arg("--work-dir").arg(self.folders.data.join(&name));
        command.arg("--memory").arg(format!("{memory_bytes}B"));
        command.arg("--slots").arg(slots.to_string());
        self.output.say(&format!("starting {name}, {slots} slots, {}", show_bytes(memory_bytes)));
        self.start(name, command, None, (port > 0).then(|| at_loopback(port)))
    }

    /// This program with a server's verb, logging as was asked for; a port that is left to the
    /// system has to be told all the same.
    fn command(&self, verb: &str, ports: &[u16]) -> Result<Command> {
        let program = std::env::current_exe()
            .map_err(|error| refused("find", Path::new("minispark"), &error))?;
        let mut command = Command::new(program);
        command.arg(verb);
        if let Some(level) = self.global.log_level.as_ref().filter(|level| !level.is_empty()) {
            let addresses = if ports.contains(&0) { ",minispark_api=info" } else { "" };
            command.arg("--log-level").arg(format!("{level}{addresses}"));
        }
        for _ in 0..self.global.verbose {
            command.arg("-v");
        }
        match self.global.log_format {
            LogFormat::Auto => {}
            LogFormat::Human => {
                command.args(["--log-format", "human"]);
            }
            LogFormat::Json => {
                command.args(["--log-format", "json"]);
            }
        }
        Ok(command)
    }

    /// Starts a process of its own group, which Ctrl-C in this terminal does not reach, with a new
    /// log; the log of the life before is kept beside it.
    fn start(
        &mut self,
        name: String,
        mut command: Command,
        rest: Option<String>,
        flight: Option<String>,
    ) -> Result<()> {
        let path = self.log(&name);
        if RealDisk.exists(&path) {
            let old = path.with_extension("log.old");
            RealDisk.rename(&path, &old).map_err(|error| refused("rename", &path, &error))?;
        }
        // A process writes to a file of the system's, not to one of `Disk`.
        let log = OpenOptions::new().append(true).create(true).mode(0o640).open(&path);
        let log = log.map_err(|error| refused("write", &path, &error))?;
        let errors = log.try_clone().map_err(|error| refused("write", &path, &error))?;
        command.stdin(Stdio::null()).stdout(log).stderr(errors).process_group(0);
        let program = PathBuf::from(command.get_program());
        let child = command.spawn().map_err(|error| refused("start", &program, &error))?;
        let pid = child.id();
        // A child is there until it is waited for, so its start can't be missed; one that has ended
        // already never matches.
        let start_ticks = process::start_ticks(&RealDisk, pid).unwrap_or_default();
        let member = Member { name, record: Record { pid, start_ticks, rest, flight } };
        self.started.push((member.clone(), child));
        member.write(&self.folders.logs)
    }

    /// The member with its addresses; those that were left to the system stand in its log.
    async fn with_addresses(&mut self, name: &str, running: Option<&Member>) -> Result<Member> {
        loop {
            self.still_there(name)?;
            let ours = self.started.iter().map(|(member, _)| member).find(|one| one.name == name);
            let Some(member) = running.or(ours) else {
                let what = format!("{name} was not started");
                return Err(Error::new(Exit::Other, Code::Internal, what));
            };
            let mut member = member.clone();
            let record = &mut member.record;
            let is_whole = record.flight.is_some() && (record.rest.is_some() || name != MASTER);
            if is_whole {
                return Ok(member);
            }
            let log = self.log(name);
            if let Some((rest, flight)) = head(&log).as_deref().and_then(addresses) {
                (record.rest, record.flight) = (rest, Some(flight));
                member.write(&self.folders.logs)?;
                return Ok(member);
            }
            sleep(PAUSE).await;
        }
    }

    /// Waits until the master answers; gives the epochs of the workers that are up, by address.
    async fn answering(&mut self, client: &Client) -> Result<BTreeMap<String, u64>> {
        loop {
            self.still_there(MASTER)?;
            match client.workers().await {
                Ok(page) => {
                    let up = page.items.into_iter();
                    return Ok(up.map(|worker| (worker.address, worker.epoch)).collect());
                }
                Err(error) if error.exit == Exit::Unreachable => sleep(PAUSE).await,
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits until the master takes the worker for one that can be given tasks.
    async fn worker_up(
        &mut self,
        client: &Client,
        name: &str,
        address: &str,
        past_epoch: Option<u64>,
    ) -> Result<()> {
        loop {
            self.still_there(name)?;
            self.still_there(MASTER)?;
            let page = client.workers().await?;
            let is_up = page.items.iter().any(|worker| {
                worker.address == address
                    && worker.state == WorkerState::Up
                    && past_epoch != Some(worker.epoch)
            });
            if is_up {
                return Ok(());
            }
            sleep(PAUSE).await;
        }
    }

    /// Fails where this call started the process and it has ended.
    fn still_there(&mut self, name: &str) -> Result<()> {
        let Some((_, child)) = self.started.iter_mut().find(|(member, _)| member.name == name)
        else {
            return Ok(());
        };
        match child.try_wait() {
            Ok(Some(status)) => {
                self.show_tail(name);
                let what = format!("{name} ended at once ({status})");
                Err(Error::new(Exit::Other, Code::Internal, what)
                    .at(self.log(name).display().to_string()))
            }
            // That it can't be told is no reason to give up.
            Ok(None) | Err(_) => Ok(()),
        }
    }

    fn too_late(&self) -> Error {
        let name = self.open.as_deref().unwrap_or(MASTER);
        self.show_tail(name);
        let what = format!("{name} is not up after {:.0?}", self.args.wait);
        Error::new(Exit::Unreachable, Code::Internal, what)
            .at(self.log(name).display().to_string())
            .help("give it more time with --wait; its log may say what keeps it")
    }

    /// Shows the end of a log to people; a program is told where the log is.
    fn show_tail(&self, name: &str) {
        let path = self.log(name);
        if !self.output.json_asked()
            && let Some(tail) = tail(&path)
        {
            self.output.say(&format!("--- the end of {}", path.display()));
            for line in tail.lines() {
                self.output.say(&crate::error::printable(line));
            }
            self.output.say("---");
        }
    }

    /// Stops what this call started.
    async fn undo(&mut self) -> Result<()> {
        let members: Vec<Member> = self.started.iter().map(|(member, _)| member.clone()).collect();
        down::end(self.folders, members, GRACE, self.output).await.map(drop)
    }

    fn log(&self, name: &str) -> PathBuf {
        self.folders.logs.join(format!("{name}.log"))
    }
}

fn worker_name(number: u16) -> String {
    format!("worker{number}")
}

fn at_loopback(port: u16) -> String {
    format!("{}:{port}", Ipv4Addr::LOCALHOST)
}

/// The memory of the master and of each worker, of so much in all.
fn divided(bytes: u64, workers: u64) -> (u64, u64) {
    let master = MASTER_MEMORY_BYTES.min(bytes / (workers + 1)).max(1);
    (master, (bytes.saturating_sub(master) / workers).max(1))
}

/// Where the process of this log serves REST, if it does, and Flight.
fn addresses(log: &str) -> Option<(Option<String>, String)> {
    log.lines().find_map(|line| {
        let line: Value = serde_json::from_str(line).ok()?;
        let field = |name: &str| line["context"][name].as_str().map(str::to_owned);
        let flight = field("address").or_else(|| field("flight"))?;
        Some((field("rest"), flight))
    })
}

/// The beginning of a log.
fn head(path: &Path) -> Option<String> {
    part(path, 0, HEAD_BYTES)
}

/// The end of a log, from the beginning of a line on.
fn tail(path: &Path) -> Option<String> {
    let size = RealDisk.open(path).and_then(|file| file.size()).ok()?;
    let start = size.saturating_sub(TAIL_BYTES);
    let text = part(path, start, TAIL_BYTES)?;
    match text.split_once('\n') {
        Some((_, whole)) if start > 0 && !whole.is_empty() => Some(whole.to_owned()),
        _ => Some(text),
    }
}

fn part(path: &Path, offset: u64, bytes: u64) -> Option<String> {
    let file = RealDisk.open(path).ok()?;
    let length = bytes.min(file.size().ok()?.saturating_sub(offset));
    let mut buffer = vec![0; usize::try_from(length).ok()?];
    file.read_exact_at(&mut buffer, offset).ok()?;
    Some(String::from_utf8_lossy(&buffer).into_owned())
}

#[cfg(test)]
mod tests {
    use super::{addresses, divided, tail};

    #[test]
    fn memory_is_divided_and_not_given_twice() {
        const MIB: u64 = 1 << 20;
        assert_eq!(divided(4096 * MIB, 2), (256 * MIB, 1920 * MIB));
        assert_eq!(divided(300 * MIB, 2), (100 * MIB, 100 * MIB));
        for (bytes, workers) in [(1 << 30, 1), (1_000_003, 7), (64 * MIB, 64)] {
            let (master, worker) = divided(bytes, workers);
            assert!(master + workers * worker <= bytes, "{bytes} {workers}");
        }
    }

    #[test]
    fn a_log_tells_addresses() {
        let master = "starting\n{\"message\":\"x\"}\n{\"context\":{\"rest\":\"http://127.0.0.1:5\",\
            \"flight\":\"127.0.0.1:6\"}}\n";
        let rest = Some("127.0.0.1:5".to_owned());
        assert_eq!(addresses(&master.replace("http://", "")), Some((rest, "127.0.0.1:6".into())));
        let worker = "{\"context\":{\"flight\":\"127.0.0.1:7\",\"address\":\"127.0.0.1:7\"}}\n";
        assert_eq!(addresses(worker), Some((None, "127.0.0.1:7".to_owned())));
        assert_eq!(addresses("{\"message\":\"x\"}\n{\"conte"), None);
    }

    #[test]
    fn the_end_of_a_log_begins_with_a_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path();
        assert_eq!(tail(path).as_deref(), Some(""));
        let lines: Vec<String> = (0..1000).map(|number| format!("line {number}")).collect();
        std::io::Write::write_all(&mut file.as_file(), lines.join("\n").as_bytes()).unwrap();
        let tail = tail(path).unwrap();
        assert!(tail.starts_with("line ") && tail.ends_with("line 999"), "{tail}");
    }
}
