//! The pure scheduler under seeded faults: simulated workers, a network that delays, loses,
//! repeats and reorders, and a master loop that does nothing but drive
//! [`Scheduler::step`](minispark_engine::schedule::Scheduler::step).
//!
//! Safety is checked after every step, from the commands alone; liveness by ending all faults after
//! a while and requiring that every job ends. Each task computes a number from the numbers that it
//! really reads, so a job that reads a wrong or a missing output commits a wrong result. A failing
//! seed is run again with its history printed; `SIMULATION_SEED=n` runs that one alone.

#![expect(clippy::print_stdout, reason = "a failing seed tells its story")]

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::{self, AssertUnwindSafe},
    sync::Arc,
    time::Duration,
};

use minispark_engine::{
    error::{Class, Code, Failure, FetchFailure},
    exchange::MapOutput,
    id::{Epoch, JobId, TaskAttempt, Term, WorkerId},
    plan::{Output, Plan},
    schedule::{
        Command, Event, Fact, JobStatus, JobView, Now, Scheduler, Settings,
        ledger::{Ledger, Restored},
    },
    task::TaskReport,
};

#[path = "simulation/faults.rs"]
mod faults;
#[path = "simulation/plans.rs"]
mod plans;
#[path = "simulation/witness.rs"]
mod witness;
#[path = "simulation/worker.rs"]
mod worker;

use faults::{Faults, Random};
use plans::{a_plan, expected_results};
use witness::{Witness, check_the_end};
use worker::Worker;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const LOST_AFTER: Duration = Duration::from_secs(5);
/// Faults happen before this time and not after it.
const HEAL_AT: Duration = Duration::from_mins(1);
/// Far longer than any chain of back-offs and re-runs after the healing.
const DEADLINE: Duration = Duration::from_mins(30);
const RUNS: u64 = if cfg!(debug_assertions) { 250 } else { 1_000 };

#[test]
fn every_job_ends_whatever_the_workers_do() {
    let seeds = match std::env::var("SIMULATION_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => seed..seed + 1,
        None => 0..RUNS,
    };
    let mut ends = BTreeMap::<String, u32>::new();
    for seed in seeds.clone() {
        for end in run(seed, Faults::by_seed) {
            *ends.entry(end).or_default() += 1;
        }
    }
    println!("{ends:?}");
    // A simulation in which hardly anything is completed would show little.
    let count = |wanted: &str| ends.get(wanted).copied().unwrap_or_default();
    let uncancelled = ends.values().sum::<u32>() - count("CANCELLED");
    assert!(seeds.end - seeds.start == 1 || count("COMPLETED") * 10 > uncancelled * 8, "{ends:?}");
}

#[test]
fn without_faults_every_job_is_completed_at_the_first_attempt() {
    for seed in 0..20 {
        let ends = run(seed, |_| Faults::default());
        assert!(ends.iter().all(|end| end == "COMPLETED"), "seed {seed}: {ends:?}");
    }
}

#[test]
fn a_partition_between_two_workers_for_ever_only_moves_the_work() {
    for seed in 0..50 {
        let ends = run(seed, |_| Faults { strangers_for_ever: true, ..Faults::default() });
        assert!(ends.iter().all(|end| end == "COMPLETED"), "seed {seed}: {ends:?}");
    }
}

#[test]
fn a_worker_that_is_not_heard_for_ever_does_not_hold_a_job() {
    for seed in 0..50 {
        let ends = run(seed, |_| Faults { mute_for_ever: true, ..Faults::default() });
        assert!(ends.iter().all(|end| end == "COMPLETED"), "seed {seed}: {ends:?}");
    }
}

#[test]
fn a_worker_that_does_not_hear_for_ever_does_not_hold_a_job() {
    for seed in 0..50 {
        let ends = run(seed, |_| Faults { deaf_for_ever: true, ..Faults::default() });
        assert!(ends.iter().all(|end| end == "COMPLETED"), "seed {seed}: {ends:?}");
    }
}

#[test]
fn the_same_seed_takes_the_same_way() {
    let history = |seed| Simulation::new(seed, Faults::by_seed, true).run().1;
    for seed in 0..5 {
        assert_eq!(history(seed), history(seed), "seed {seed}");
    }
}

/// Runs one seed and gives how each job ended; on a failed check it runs again and tells the story.
fn run(seed: u64, faults: fn(&mut Random) -> Faults) -> Vec<String> {
    let quiet = panic::catch_unwind(|| Simulation::new(seed, faults, false).run().0);
    match quiet {
        Ok(ends) => ends,
        Err(failed) => {
            let mut again = Simulation::new(seed, faults, true);
            let failed_again = panic::catch_unwind(AssertUnwindSafe(|| again.play())).is_err();
            for line in again.history.iter().rev().take(400).rev() {
                println!("{line}");
            }
            println!("seed {seed} with {:?}; repeated: {failed_again}", again.faults);
            panic::resume_unwind(failed)
        }
    }
}

// The world.

/// How an attempt came out; the number of a done one is what it computed.
#[derive(Clone, Debug)]
enum Outcome {
    Done(u64),
    Failed(Failure),
}

#[derive(Clone, Debug)]
enum Up {
    Register {
        slots: u32,
        held: Vec<TaskAttempt>,
    },
    Poll {
        term: Term,
        running: Vec<TaskAttempt>,
        held_jobs: Vec<JobId>,
        reports: Vec<(TaskAttempt, Outcome)>,
    },
}

#[derive(Clone, Debug)]
enum Down {
    Registered {
        term: Term,
    },
    /// The worker registered with an earlier master.
    StaleTerm,
    Reply {
        term: Term,
        commands: Vec<Command>,
        acks: Vec<TaskAttempt>,
    },
    /// The master does not know this life.
    Gone,
}

#[derive(Clone, Debug)]
enum Happening {
    ToMaster {
        worker: usize,
        epoch: Epoch,
        message: Up,
    },
    ToWorker {
        worker: usize,
        epoch: Epoch,
        message: Down,
    },
    /// A worker's timer; of one process only.
    Beat {
        worker: usize,
        process: u64,
    },
    Finish {
        worker: usize,
        process: u64,
        attempt: TaskAttempt,
    },
    MasterWakes,
    MasterCrash,
    MasterStart,
    CommitAnswered {
        job: JobId,
        commit: u64,
    },
    Submit {
        job: JobId,
        plan: Arc<Plan>,
    },
    Cancel {
        job: JobId,
    },
    Crash(usize),
    Start(usize),
    Pause(usize),
    Resume(usize),
    Cut {
        worker: usize,
        up: bool,
        down: bool,
    },
    Strangers {
        reader: usize,
        holder: usize,
        are: bool,
    },
    Heal,
}

struct Simulation {
    random: Random,
    faults: Faults,
    has_healed: bool,
    now: Now,
    happenings: BTreeMap<(Now, u64), Happening>,
    sequence: u64,
    settings: Settings,
    scheduler: Scheduler,
    /// All facts since the beginning, and how many of them are on disk.
    journal: (Vec<Fact>, usize),
    is_master_down: bool,
    next_tick: Option<Now>,
    workers: Vec<Worker>,
    strangers: BTreeSet<(usize, usize)>,
    plans: BTreeMap<JobId, Arc<Plan>>,
    commits: BTreeMap<JobId, u64>,
    witness: Witness,
    is_telling: bool,
    history: Vec<String>,
}

impl Simulation {
    fn new(seed: u64, faults: fn(&mut Random) -> Faults, is_telling: bool) -> Self {
        let mut random = Random(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ 0x5eed);
        let faults = faults(&mut random);
        let settings = Settings {
            term: Term(1),
            lost_after: LOST_AFTER,
            no_worker_wait: Duration::from_mins(5),
            attempts: 4,
        };
        let mut simulation = Self {
            random,
            faults,
            has_healed: false,
            now: Now::ZERO,
            happenings: BTreeMap::new(),
            sequence: 0,
            scheduler: Scheduler::new(settings.clone()),
            settings,
            journal: (Vec::new(), 0),
            is_master_down: false,
            next_tick: None,
            workers: Vec::new(),
            strangers: BTreeSet::new(),
            plans: BTreeMap::new(),
            commits: BTreeMap::new(),
            witness: Witness::default(),
            is_telling,
            history: Vec::new(),
        };
        simulation.populate();
        simulation.plan_faults();
        simulation
    }

    fn populate(&mut self) {
        let workers = 3 + self.random.below(4);
        for number in 0..workers {
            let is_slow = self.faults.slow && number == 1;
            self.workers.push(Worker {
                id: WorkerId(format!("w{number}")),
                slots: 1 + u32::try_from(self.random.below(4)).unwrap_or(0),
                epoch: Epoch(0),
                process: 0,
                is_alive: false,
                is_paused: false,
                is_registered: false,
                term: Term(0),
                slowness: if is_slow { 20 } else { 1 },
                running: BTreeMap::new(),
                unreported: BTreeMap::new(),
                store: BTreeMap::new(),
                mailbox: Vec::new(),
                is_mute: false,
                is_deaf: false,
            });
            let at = self.random.between(Duration::ZERO, 2 * SECOND);
            self.at(at, Happening::Start(self.workers.len() - 1));
        }
        for number in 0..=self.random.below(4) {
            let job = JobId(uuid::Uuid::from_u128(
                u128::from(self.random.next()) << 64 | u128::from(number),
            ));
            let plan = Arc::new(a_plan(&mut self.random));
            let at = self.random.between(Duration::ZERO, 30 * SECOND);
            self.at(at, Happening::Submit { job, plan: Arc::clone(&plan) });
            self.plans.insert(job, plan);
            if self.faults.cancels && self.random.chance(50) {
                let after = self.random.between(Duration::ZERO, 20 * SECOND);
                self.at(at + after, Happening::Cancel { job });
            }
        }
    }

    /// Decides beforehand what goes wrong when.
    fn plan_faults(&mut self) {
        self.at(HEAL_AT, Happening::Heal);
        if self.faults.master_crashes {
            self.plan_outages(
                0,
                15 * SECOND,
                |_| Happening::MasterCrash,
                |_| Happening::MasterStart,
            );
        }
        for worker in 0..self.workers.len() {
            let faults = self.faults.clone();
            if faults.crashes {
                self.plan_outages(worker, 40 * SECOND, Happening::Crash, Happening::Start);
            }
            if faults.flaps && worker == 0 {
                self.plan_outages(worker, 6 * SECOND, Happening::Crash, Happening::Start);
            }
            if faults.pauses {
                self.plan_outages(worker, 40 * SECOND, Happening::Pause, Happening::Resume);
            }
            if faults.cuts {
                let up = self.random.chance(70);
                let down = !up || self.random.chance(50);
                let cut = move |cut_off| Happening::Cut { worker: cut_off, up, down };
                let mend = |cut_off| Happening::Cut { worker: cut_off, up: false, down: false };
                self.plan_outages(worker, 40 * SECOND, cut, mend);
            }
            if faults.strangers {
                let holder = self.other_than(worker);
                let part = move |reader| Happening::Strangers { reader, holder, are: true };
                let meet = move |reader| Happening::Strangers { reader, holder, are: false };
                self.plan_outages(worker, 60 * SECOND, part, meet);
            }
        }
        // Those that last for ever concern few, so that the others can end the work.
        let last = self.workers.len() - 1;
        if self.faults.strangers_for_ever {
            self.strangers.extend([(0, last), (last, 0)]);
        }
        let at = self.random.between(SECOND, 20 * SECOND);
        if self.faults.mute_for_ever || self.faults.deaf_for_ever {
            let (up, down) = (self.faults.mute_for_ever, self.faults.deaf_for_ever);
            self.at(at, Happening::Cut { worker: last, up, down });
        }
    }

    fn other_than(&mut self, worker: usize) -> usize {
        let steps = 1 + self.random.below(self.workers.len() as u64 - 1);
        (worker + usize::try_from(steps).unwrap_or(1)) % self.workers.len()
    }

    fn plan_outages(
        &mut self,
        worker: usize,
        mean: Duration,
        begin: impl Fn(usize) -> Happening,
        end: impl Fn(usize) -> Happening,
    ) {
        let mut at = self.random.between(Duration::ZERO, mean * 2);
        while at < HEAL_AT {
            self.at(at, begin(worker));
            at += self.random.between(10 * MS, 12 * SECOND);
            self.at(at, end(worker));
            at += self.random.between(Duration::ZERO, mean * 2);
        }
    }

    fn at(&mut self, at: Now, happening: Happening) {
        self.sequence += 1;
        self.happenings.insert((at, self.sequence), happening);
    }

    fn after(&mut self, wait: Duration, happening: Happening) {
        self.at(self.now + wait, happening);
    }

    fn tell(&mut self, line: impl FnOnce() -> String) {
        if self.is_telling {
            self.history.push(format!("{:>10.3} {}", self.now.as_secs_f64(), line()));
        }
    }

    fn run(mut self) -> (Vec<String>, Vec<String>) {
        self.play();
        let ends = self.plans.keys().filter_map(|&job| self.scheduler.view(job));
        let name = |end: JobView| match end.status {
            JobStatus::Completed => String::from("COMPLETED"),
            JobStatus::Cancelled => String::from("CANCELLED"),
            _ => end.error.map_or_else(String::new, |error| error.failure.code.name()),
        };
        (ends.map(name).collect(), self.history)
    }

    /// Lets things happen until every job has ended and the dust has settled.
    fn play(&mut self) {
        while !self.is_over() {
            let Some(((at, _), happening)) = self.happenings.pop_first() else { break };
            self.now = at;
            assert!(self.now < DEADLINE, "a job does not end: {:?}", self.unfinished());
            if !matches!(happening, Happening::MasterWakes | Happening::Beat { .. }) {
                self.tell(|| format!("{happening:?}"));
            }
            self.happen(happening);
        }
        let unfinished = self.unfinished();
        assert!(unfinished.is_empty(), "jobs that have not ended: {unfinished:?}");
        check_the_end(&self.scheduler);
    }

    fn is_over(&self) -> bool {
        let has_settled = self.now > HEAL_AT + 10 * SECOND && !self.is_master_down;
        has_settled && self.unfinished().is_empty()
    }

    fn unfinished(&self) -> Vec<(JobId, Option<String>)> {
        let view = |job: &JobId| match self.scheduler.view(*job) {
            Some(view) if view.status.has_ended() => None,
            view => Some((*job, view.and_then(|view| view.waiting_for))),
        };
        self.plans.keys().filter_map(view).collect()
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::ToMaster { worker, epoch, message } => {
                if !self.workers[worker].is_mute && !self.is_master_down {
                    self.master_receives(worker, epoch, message);
                }
            }
            Happening::ToWorker { worker, epoch, message } => {
                let receiver = &mut self.workers[worker];
                if receiver.is_deaf || !receiver.is_alive {
                } else if receiver.is_paused {
                    receiver.mailbox.push((epoch, message));
                } else {
                    self.worker_receives(worker, epoch, message);
                }
            }
            Happening::Beat { worker, process } => self.beat(worker, process),
            Happening::Finish { worker, process, attempt } => self.finish(worker, process, attempt),
            Happening::MasterWakes => {
                self.next_tick = None;
                if !self.is_master_down {
                    self.step(Event::Tick);
                }
            }
            Happening::MasterCrash => self.crash_master(),
            Happening::MasterStart => self.start_master(),
            // Who has something to say to the master tries again.
            happening @ (Happening::Submit { .. } | Happening::Cancel { .. })
                if self.is_master_down =>
            {
                self.after(SECOND, happening);
            }
            Happening::CommitAnswered { job, commit } => self.answer_commit(job, commit),
            Happening::Submit { job, plan } => {
                self.step(Event::Submit { job, plan });
            }
            Happening::Cancel { job } => {
                self.step(Event::Cancel { job });
            }
            Happening::Crash(worker) => self.crash(worker),
            Happening::Start(worker) => self.start(worker),
            Happening::Pause(worker) => self.workers[worker].is_paused = true,
            Happening::Resume(worker) => self.resume(worker),
            Happening::Cut { worker, up, down } => self.cut(worker, up, down),
            Happening::Strangers { reader, holder, are: true } => {
                self.strangers.insert((reader, holder));
            }
            Happening::Strangers { reader, holder, are: false } => {
                self.part_no_more(reader, holder);
            }
            Happening::Heal => self.heal(),
        }
    }

    fn heal(&mut self) {
        self.has_healed = true;
        self.start_master();
        let last = self.workers.len() - 1;
        for worker in 0..self.workers.len() {
            self.start(worker);
            self.resume(worker);
            if worker != last || !(self.faults.mute_for_ever || self.faults.deaf_for_ever) {
                self.cut(worker, false, false);
            }
            for holder in 0..self.workers.len() {
                self.part_no_more(worker, holder);
            }
        }
    }

    fn part_no_more(&mut self, reader: usize, holder: usize) {
        let last = self.workers.len() - 1;
        let is_for_ever = [(0, last), (last, 0)].contains(&(reader, holder));
        if !(self.faults.strangers_for_ever && is_for_ever) {
            self.strangers.remove(&(reader, holder));
        }
    }

    // The master: a loop around the scheduler.

    fn master_receives(&mut self, worker: usize, epoch: Epoch, message: Up) {
        let id = self.workers[worker].id.clone();
        match message {
            Up::Register { slots, held } => {
                let (address, worker_id) = (format!("{id}:1"), id.clone());
                self.step(Event::WorkerJoined { worker: worker_id, epoch, address, slots, held });
                let is_known = self.scheduler.knows(&id, epoch);
                let term = self.settings.term;
                let answer = if is_known { Down::Registered { term } } else { Down::Gone };
                self.send_down(worker, epoch, answer);
            }
            Up::Poll { term, .. } if term < self.settings.term => {
                self.send_down(worker, epoch, Down::StaleTerm);
            }
            Up::Poll { .. } if !self.scheduler.knows(&id, epoch) => {
                self.send_down(worker, epoch, Down::Gone);
            }
            Up::Poll { running, held_jobs, reports, .. } => {
                let acks = reports.iter().map(|(attempt, _)| *attempt).collect();
                let seen = Event::WorkerSeen { worker: id.clone(), epoch, running, held_jobs };
                // Either order must do.
                let is_seen_first = self.random.chance(50);
                let mut commands = Vec::new();
                if is_seen_first {
                    commands.extend(self.step_for(worker, seen.clone()));
                }
                for (attempt, outcome) in reports {
                    let worker_id = id.clone();
                    let event = match outcome {
                        Outcome::Done(number) => Event::TaskDone {
                            worker: worker_id,
                            epoch,
                            attempt,
                            report: TaskReport { rows: number, ..TaskReport::default() },
                        },
                        Outcome::Failed(failure) => {
                            Event::TaskFailed { worker: worker_id, epoch, attempt, failure }
                        }
                    };
                    commands.extend(self.step_for(worker, event));
                }
                if !is_seen_first {
                    commands.extend(self.step_for(worker, seen));
                }
                let term = self.settings.term;
                self.send_down(worker, epoch, Down::Reply { term, commands, acks });
            }
        }
    }

    /// A step whose commands for one worker go with the answer that it is about to get.
    fn step_for(&mut self, worker: usize, event: Event) -> Vec<Command> {
        let mut commands = self.take_step(event);
        let answer = commands.remove(&worker).unwrap_or_default();
        self.deliver(commands);
        answer
    }

    fn step(&mut self, event: Event) {
        let commands = self.take_step(event);
        self.deliver(commands);
    }

    fn deliver(&mut self, by_worker: BTreeMap<usize, Vec<Command>>) {
        for (worker, commands) in by_worker {
            let epoch =
                commands.iter().find_map(|command| addressee(command).map(|(_, epoch)| epoch));
            if let Some(epoch) = epoch {
                let (term, acks) = (self.settings.term, Vec::new());
                self.send_down(worker, epoch, Down::Reply { term, commands, acks });
            }
        }
    }

    /// Steps the scheduler, checks it, does what is the master's own to do, and sorts the rest by
    /// worker.
    fn take_step(&mut self, event: Event) -> BTreeMap<usize, Vec<Command>> {
        let commands = self.scheduler.step(self.now, event);
        self.sort(commands)
    }

    fn sort(&mut self, commands: Vec<Command>) -> BTreeMap<usize, Vec<Command>> {
        for command in &commands {
            if let Command::Record(fact) = command {
                self.journal.0.push(fact.clone());
                if fact.is_binding() {
                    self.journal.1 = self.journal.0.len();
                }
            }
            self.tell(|| format!("    {command:?}"));
        }
        self.witness.check(&self.scheduler, &commands);
        let mut by_worker = BTreeMap::<usize, Vec<Command>>::new();
        for command in commands {
            match &command {
                Command::Commit { job } => self.begin_commit(*job),
                Command::Ended { job } => {
                    self.commits.remove(job);
                }
                Command::Record(_) => {}
                Command::Assign { .. } | Command::Revoke { .. } | Command::DropJob { .. } => {
                    let worker = addressee(&command).and_then(|(id, _)| {
                        self.workers.iter().position(|worker| worker.id == *id)
                    });
                    by_worker.entry(worker.unwrap_or_default()).or_default().push(command);
                }
            }
        }
        self.set_alarm();
        by_worker
    }

    /// The master dies, and with it the facts that were not on disk yet.
    fn crash_master(&mut self) {
        self.is_master_down = true;
        self.commits.clear();
        let (facts, on_disk) = &mut self.journal;
        let lagging = facts.len() - *on_disk;
        let lost = self.random.below(lagging as u64 + 1);
        facts.truncate(facts.len() - usize::try_from(lost).unwrap_or_default());
    }

    /// The next master takes up what the journal says.
    fn start_master(&mut self) {
        if !self.is_master_down {
            return;
        }
        self.is_master_down = false;
        self.settings.term.0 += 1;
        self.scheduler = Scheduler::new(self.settings.clone());
        let mut order = Vec::new();
        let mut ledgers = BTreeMap::<JobId, Ledger>::new();
        for fact in &self.journal.0 {
            if let Fact::Accepted { job } = fact {
                order.push(*job);
            }
            let job = fact.job();
            let begin = || Ledger::new(&self.plans[&job]);
            ledgers.entry(job).or_insert_with(begin).apply(fact);
        }
        let past = order.into_iter().filter_map(|job| {
            // What is kept in a snapshot must be as good as what was folded.
            let text = serde_json::to_vec(&ledgers.remove(&job)?).ok()?;
            let ledger = serde_json::from_slice(&text).ok()?;
            let plan = Arc::clone(&self.plans[&job]);
            Some(Restored { job, plan, ledger, elapsed: SECOND })
        });
        let past: Vec<_> = past.collect();
        self.witness.master_restarted(&self.journal.0);
        let commands = self.scheduler.restore(self.now, past);
        let by_worker = self.sort(commands);
        assert!(by_worker.is_empty(), "a command to a worker that has not registered");
    }

    /// The master sleeps until the scheduler says so: what it needs to know of time is in
    /// `next_wake`.
    fn set_alarm(&mut self) {
        if let Some(at) = self.scheduler.next_wake().map(|at| at.max(self.now))
            && self.next_tick.is_none_or(|planned| at < planned)
        {
            self.next_tick = Some(at);
            self.at(at, Happening::MasterWakes);
        }
    }

    fn begin_commit(&mut self, job: JobId) {
        self.sequence += 1;
        let commit = self.sequence;
        assert_eq!(self.commits.insert(job, commit), None, "two commits of {job} at once");
        let takes = self.random.between(10 * MS, 3 * SECOND);
        self.after(takes, Happening::CommitAnswered { job, commit });
    }

    /// Pulls all parts of all sinks and compares them with what they must be.
    fn answer_commit(&mut self, job: JobId, commit: u64) {
        if self.commits.get(&job) != Some(&commit) {
            return;
        }
        self.commits.remove(&job);
        if self.faults.commits_fail && !self.has_healed && self.random.chance(20) {
            let failure = a_failure(Class::Retry, Code::DiskFull);
            return self.step(Event::CommitFailed { job, failure });
        }
        let plan = Arc::clone(&self.plans[&job]);
        let expected = expected_results(&plan);
        let outputs = self.scheduler.outputs(job);
        for (stage, parts) in &outputs {
            for (output, report) in parts {
                let holder = self.workers.iter().find(|worker| worker.id == output.worker);
                let held = holder
                    .filter(|worker| worker.is_alive && !worker.is_paused)
                    .and_then(|worker| worker.store.get(&output.map));
                if held != Some(&report.rows) {
                    let failure = a_fetch_failure(output);
                    return self.step(Event::CommitFailed { job, failure });
                }
            }
            let numbers: Vec<_> = parts.iter().map(|(_, report)| report.rows).collect();
            assert_eq!(&numbers, &expected[stage], "the result of stage {stage} of {job} is wrong");
        }
        let sinks = plan.stages.iter().filter(|stage| matches!(stage.output, Output::Sink(_)));
        assert_eq!(outputs.len(), sinks.count(), "a sink of {job} is missing");
        self.step(Event::Committed { job });
    }

    // The network.

    fn send_up(&mut self, worker: usize, message: Up) {
        let epoch = self.workers[worker].epoch;
        if !self.workers[worker].is_mute {
            self.send(&Happening::ToMaster { worker, epoch, message });
        }
    }

    fn send_down(&mut self, worker: usize, epoch: Epoch, message: Down) {
        if !self.workers[worker].is_deaf {
            self.send(&Happening::ToWorker { worker, epoch, message });
        }
    }

    fn send(&mut self, message: &Happening) {
        let can_fail = !self.has_healed;
        if can_fail && self.faults.loses && self.random.chance(10) {
            return;
        }
        let copies = 1 + u64::from(can_fail && self.faults.repeats && self.random.chance(10));
        for _ in 0..copies {
            let most = match self.random.below(100) {
                _ if !can_fail || !self.faults.delays => 20 * MS,
                0 => Duration::from_mins(1),
                1..10 => 3 * SECOND,
                _ => 20 * MS,
            };
            let wait = self.random.between(MS, most);
            self.after(wait, message.clone());
        }
    }
}

fn addressee(command: &Command) -> Option<(&WorkerId, Epoch)> {
    match command {
        Command::Assign { worker, epoch, .. }
        | Command::Revoke { worker, epoch, .. }
        | Command::DropJob { worker, epoch, .. } => Some((worker, *epoch)),
        Command::Commit { .. } | Command::Record(_) | Command::Ended { .. } => None,
    }
}

fn a_failure(class: Class, code: Code) -> Failure {
    Failure { class, code, message: String::from("simulated"), fetch: None }
}

fn a_fetch_failure(output: &MapOutput) -> Failure {
    let fetch = FetchFailure { map: output.map, worker: output.worker.clone() };
    Failure { fetch: Some(fetch), ..a_failure(Class::Recompute, Code::FetchFailed) }
}
