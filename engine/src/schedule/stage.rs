//! A stage of a running job: which of its tasks wait, which run, and whose outputs can be read.
//!
//! Bookkeeping alone: what an event means for other stages is decided in [`super::job`].

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{
    exchange::MapOutput,
    id::{Attempt, Epoch, TaskAttempt, WorkerId},
    plan::{NodeIndex, Output, Stage},
    schedule::ledger::StageLedger,
    task::TaskReport,
};

/// The one output of a partition that counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Accepted {
    /// Who wrote it, and who holds it.
    pub output: MapOutput,
    /// What its attempt counted.
    pub report: TaskReport,
}

/// A life of a worker that has just registered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Life<'a> {
    pub(super) worker: &'a WorkerId,
    pub(super) epoch: Epoch,
    pub(super) address: &'a str,
    /// Whether it was only known from a ledger so far.
    pub(super) is_expected: bool,
}

/// What became of an output that a worker has brought back.
#[derive(Debug)]
pub(super) enum Regained {
    /// It counts already, or has been replaced, or is being replaced.
    No,
    /// It can be read again; its task had been done all along.
    Again(Box<Accepted>),
    /// Its task is done again.
    Done(Box<Accepted>),
}

/// An attempt under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Which of the task's attempts.
    pub attempt: Attempt,
    /// Where.
    pub worker: WorkerId,
    /// In which of its lives.
    pub epoch: Epoch,
}

#[derive(Debug, Default)]
enum Phase {
    /// In [`StageState::open`].
    #[default]
    Open,
    /// Waits for its back-off to end.
    Delayed,
    Running(Run),
    /// Its output may be in [`StageState::lost`].
    Done(Box<Accepted>),
}

/// One task, and what it has been through.
#[derive(Debug, Default)]
pub(super) struct TaskState {
    phase: Phase,
    /// The number of its last attempt; 0 before the first.
    pub(super) last_attempt: u32,
    /// Failed attempts that count against it.
    pub(super) faults: u32,
    /// Lives of workers that ended while it ran.
    pub(super) kills: u32,
    /// Attempts that could not read their inputs.
    pub(super) fetch_failures: u32,
    /// The output that was given up last: its worker may come back with it.
    relic: Option<Box<Accepted>>,
}

impl TaskState {
    /// The attempt under way.
    pub(super) fn run(&self) -> Option<&Run> {
        match &self.phase {
            Phase::Running(run) => Some(run),
            Phase::Open | Phase::Delayed | Phase::Done(_) => None,
        }
    }

    /// The accepted output, whether or not it can still be read.
    pub(super) fn accepted(&self) -> Option<&Accepted> {
        match &self.phase {
            Phase::Done(accepted) => Some(accepted),
            Phase::Open | Phase::Delayed | Phase::Running(_) => None,
        }
    }
}

/// The tasks of one stage with the counts that keep a decision from looking at each.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct StageState {
    tasks: Vec<TaskState>,
    partitions: u32,
    /// Tasks that wait for a slot.
    open: BTreeSet<u32>,
    /// Done tasks whose outputs are gone.
    lost: BTreeSet<u32>,
    done: u32,
    has_started: bool,
    /// The stages it reads, by index.
    pub(super) inputs: Vec<usize>,
    /// The stages that read it, by index.
    pub(super) readers: Vec<usize>,
    /// The nodes it works for.
    pub(super) nodes: Vec<NodeIndex>,
    pub(super) is_sink: bool,
    /// Whether its tasks may keep bad rows beside their outputs.
    keeps_bad_rows: bool,
    /// Whether somebody still wants its outputs; without that no task of it starts.
    pub(super) is_needed: bool,
    /// Re-runs for failed fetches since a reader last succeeded.
    pub(super) reruns: u32,
}

impl StageState {
    /// A stage without any attempt; its readers are not known yet.
    pub(super) fn new(stage: &Stage) -> Self {
        Self {
            tasks: (0..stage.partitions).map(|_| TaskState::default()).collect(),
            partitions: stage.partitions,
            open: (0..stage.partitions).collect(),
            lost: BTreeSet::new(),
            done: 0,
            has_started: false,
            inputs: stage.inputs.iter().map(|input| input.index()).collect(),
            readers: Vec::new(),
            nodes: stage.nodes(),
            is_sink: matches!(stage.output, Output::Sink(_)),
            keeps_bad_rows: stage.keeps_bad_rows(),
            is_needed: false,
            reruns: 0,
        }
    }

    /// Its tasks, by partition; empty once the job has ended.
    pub(super) fn tasks(&self) -> &[TaskState] {
        &self.tasks
    }

    pub(super) fn task(&self, partition: u32) -> Option<&TaskState> {
        self.tasks.get(partition as usize)
    }

    pub(super) fn task_mut(&mut self, partition: u32) -> Option<&mut TaskState> {
        self.tasks.get_mut(partition as usize)
    }

    pub(super) fn has_started(&self) -> bool {
        self.has_started
    }

    /// Whether all its work is done, even where an output that nobody needs is gone.
    pub(super) fn is_done(&self) -> bool {
        self.done == self.partitions
    }

    /// Whether every output can be read.
    pub(super) fn is_complete(&self) -> bool {
        self.is_done() && self.lost.is_empty()
    }

    /// Whether bad rows of it can't be read, yet or any more, that are to be written.
    pub(super) fn lacks_bad_rows(&self) -> bool {
        let keeps = |partition: &u32| {
            let accepted = self.task(*partition).and_then(TaskState::accepted);
            accepted.is_some_and(|accepted| accepted.report.kept_bad_rows > 0)
        };
        self.keeps_bad_rows && (!self.is_done() || self.lost.iter().any(keeps))
    }

    /// Whether the worker's life holds bad rows that count.
    pub(super) fn holds_bad_rows(&self, worker: &WorkerId, epoch: Epoch) -> bool {
        self.keeps_bad_rows
            && self.tasks.iter().filter_map(TaskState::accepted).any(|accepted| {
                let output = &accepted.output;
                accepted.report.kept_bad_rows > 0
                    && output.epoch == epoch
                    && output.worker == *worker
            })
    }

    /// The task that gets the next slot.
    pub(super) fn first_open(&self) -> Option<u32> {
        self.open.first().copied()
    }

    /// Whether the partition's output is accepted and can be read.
    pub(super) fn is_held(&self, partition: u32) -> bool {
        !self.lost.contains(&partition)
            && self.task(partition).is_some_and(|task| task.accepted().is_some())
    }

    /// An open task starts.
    pub(super) fn start(&mut self, partition: u32, run: Run) {
        self.open.remove(&partition);
        self.has_started = true;
        if let Some(task) = self.task_mut(partition) {
            task.last_attempt = run.attempt.n;
            task.phase = Phase::Running(run);
        }
    }

    /// A running task's attempt is over; the task may start again.
    pub(super) fn stop(&mut self, partition: u32) {
        self.turn_to(partition, Phase::Open);
        self.open.insert(partition);
    }

    /// An open task is not to start before [`StageState::wake`].
    pub(super) fn delay(&mut self, partition: u32) {
        self.open.remove(&partition);
        self.turn_to(partition, Phase::Delayed);
    }

    /// The back-off of a task is over.
    pub(super) fn wake(&mut self, partition: u32) {
        let Some(task) = self.task_mut(partition) else { return };
        if matches!(task.phase, Phase::Delayed) {
            task.phase = Phase::Open;
            self.open.insert(partition);
        }
    }

    /// A running task succeeded.
    pub(super) fn accept(&mut self, partition: u32, accepted: Accepted) {
        self.turn_to(partition, Phase::Done(Box::new(accepted)));
        self.done += 1;
    }

    fn turn_to(&mut self, partition: u32, phase: Phase) {
        if let Some(task) = self.task_mut(partition) {
            task.phase = phase;
        }
    }

    /// The accepted output can't be read any more.
    pub(super) fn lose(&mut self, partition: u32) {
        self.lost.insert(partition);
    }

    /// Loses what the worker's life held. A part in a shared folder outlives its writer.
    pub(super) fn lose_held_by(&mut self, worker: &WorkerId, epoch: Epoch) -> bool {
        self.lose_unless(worker, epoch, |_| false)
    }

    /// Gives up one lost output, so that its task runs again.
    pub(super) fn reopen_lost(&mut self) -> Option<Box<Accepted>> {
        let partition = self.lost.pop_first()?;
        let task = self.tasks.get_mut(partition as usize)?;
        let Phase::Done(accepted) = std::mem::take(&mut task.phase) else { return None };
        task.relic = Some(accepted.clone());
        self.done -= 1;
        self.open.insert(partition);
        Some(accepted)
    }

    /// Takes the tasks as a ledger has them; of a job that has ended only the counts.
    pub(super) fn take_up(&mut self, past: &StageLedger, has_ended: bool) {
        self.has_started = past.attempts > 0;
        if has_ended {
            self.done = past.totals.tasks;
            self.end();
            return;
        }
        for (&partition, tries) in &past.tries {
            if let Some(task) = self.task_mut(partition) {
                task.last_attempt = tries.last_attempt;
                task.faults = tries.faults;
                task.kills = tries.kills;
            }
        }
        for (&partition, started) in &past.running {
            self.open.remove(&partition);
            self.turn_to(partition, Phase::Running(started.clone()));
        }
        for (&partition, accepted) in &past.done {
            self.open.remove(&partition);
            self.accept(partition, accepted.clone());
        }
    }

    /// Opens the tasks that run in lives that are not known, and marks what such lives hold as
    /// lost; gives how many tasks run on.
    pub(super) fn release_unknown(&mut self, is_known: impl Fn(&WorkerId, Epoch) -> bool) -> u32 {
        let mut running = 0;
        for (partition, task) in (0..).zip(&mut self.tasks) {
            match &task.phase {
                Phase::Running(run) if is_known(&run.worker, run.epoch) => running += 1,
                Phase::Running(_) => {
                    task.phase = Phase::Open;
                    self.open.insert(partition);
                }
                Phase::Done(accepted) => {
                    let Accepted { output, report } = &**accepted;
                    if report.parts.is_none() && !is_known(&output.worker, output.epoch) {
                        self.lost.insert(partition);
                    }
                }
                Phase::Open | Phase::Delayed => {}
            }
        }
        running
    }

    /// Loses the outputs of the worker's life for which `is_held` is false; true if there are any.
    pub(super) fn lose_unless(
        &mut self,
        worker: &WorkerId,
        epoch: Epoch,
        is_held: impl Fn(TaskAttempt) -> bool,
    ) -> bool {
        let mut has_lost = false;
        for (partition, task) in (0..).zip(&self.tasks) {
            let is_gone = task.accepted().is_some_and(|Accepted { output, report }| {
                output.epoch == epoch
                    && output.worker == *worker
                    && report.parts.is_none()
                    && !is_held(output.map)
            });
            if is_gone {
                has_lost |= self.lost.insert(partition);
            }
        }
        has_lost
    }

    /// Counts an output again that its worker still has, unless its task runs or is done anew.
    pub(super) fn regain(&mut self, attempt: TaskAttempt, life: &Life<'_>) -> Regained {
        let partition = attempt.task.partition;
        let Some(task) = self.tasks.get_mut(partition as usize) else { return Regained::No };
        let moved = |accepted: &mut Accepted| {
            life.worker.clone_into(&mut accepted.output.worker);
            accepted.output.epoch = life.epoch;
            life.address.clone_into(&mut accepted.output.address);
        };
        match &mut task.phase {
            Phase::Done(accepted)
                if accepted.output.map == attempt && self.lost.contains(&partition) =>
            {
                moved(accepted);
                self.lost.remove(&partition);
                Regained::Again(accepted.clone())
            }
            Phase::Open | Phase::Delayed => {
                let Some(mut accepted) = task.relic.take_if(|relic| relic.output.map == attempt)
                else {
                    return Regained::No;
                };
                moved(&mut accepted);
                self.open.remove(&partition);
                self.accept(partition, (*accepted).clone());
                Regained::Done(accepted)
            }
            Phase::Done(_) | Phase::Running(_) => Regained::No,
        }
    }

    /// Whether the worker's life holds an output that counts.
    pub(super) fn is_held_by(&self, worker: &WorkerId, epoch: Epoch) -> bool {
        (0..).zip(&self.tasks).any(|(partition, task)| {
            !self.lost.contains(&partition)
                && task.accepted().is_some_and(|Accepted { output, report }| {
                    output.epoch == epoch && output.worker == *worker && report.parts.is_none()
                })
        })
    }

    /// The worker's life has moved to another address.
    pub(super) fn readdress(&mut self, worker: &WorkerId, epoch: Epoch, address: &str) {
        for task in &mut self.tasks {
            if let Phase::Done(accepted) = &mut task.phase
                && accepted.output.worker == *worker
                && accepted.output.epoch == epoch
            {
                address.clone_into(&mut accepted.output.address);
            }
        }
    }

    /// Frees what only a running job needs; the counts stay for those who look.
    pub(super) fn end(&mut self) -> Vec<(u32, Run)> {
        self.open.clear();
        self.lost.clear();
        let tasks = std::mem::take(&mut self.tasks);
        (0..)
            .zip(tasks)
            .filter_map(|(partition, task)| Some((partition, task.run()?.clone())))
            .collect()
    }
}
