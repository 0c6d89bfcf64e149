//! Simulated workers: they poll, run what they are given, hold outputs, crash and come back.

use std::collections::{BTreeMap, BTreeSet};

use minispark_engine::{
    error::{Class, Code},
    exchange::MapOutput,
    id::{Epoch, TaskAttempt, Term, WorkerId},
    schedule::Command,
};

use crate::{
    Down, Happening, MS, Outcome, SECOND, Simulation, Up, a_failure, a_fetch_failure,
    plans::number_of,
};

/// One worker process, and what survives it.
#[expect(clippy::struct_excessive_bools, reason = "each is a claim of its own")]
pub(crate) struct Worker {
    pub(crate) id: WorkerId,
    pub(crate) slots: u32,
    pub(crate) epoch: Epoch,
    /// Which process of it is meant; timers of dead ones are void.
    pub(crate) process: u64,
    pub(crate) is_alive: bool,
    pub(crate) is_paused: bool,
    pub(crate) is_registered: bool,
    /// The highest term that it has heard of.
    pub(crate) term: Term,
    pub(crate) slowness: u32,
    pub(crate) running: BTreeMap<TaskAttempt, Vec<MapOutput>>,
    /// Finished attempts until they are acknowledged.
    pub(crate) unreported: BTreeMap<TaskAttempt, Outcome>,
    /// What it can serve.
    pub(crate) store: BTreeMap<TaskAttempt, u64>,
    /// What reached it while it was paused.
    pub(crate) mailbox: Vec<(Epoch, Down)>,
    pub(crate) is_mute: bool,
    pub(crate) is_deaf: bool,
}

impl Simulation {
    pub(crate) fn crash(&mut self, worker: usize) {
        let dead = &mut self.workers[worker];
        dead.is_alive = false;
        dead.is_paused = false;
        dead.running.clear();
        dead.unreported.clear();
        dead.mailbox.clear();
        // What lies on its disk comes back with it, what was in memory does not.
        let mut kept = std::mem::take(&mut dead.store);
        kept.retain(|_, _| self.random.chance(50));
        self.workers[worker].store = kept;
    }

    pub(crate) fn start(&mut self, worker: usize) {
        let born = &mut self.workers[worker];
        if born.is_alive {
            return;
        }
        born.is_alive = true;
        born.is_registered = false;
        born.process += 1;
        born.epoch.0 += 1;
        let process = born.process;
        self.after(MS, Happening::Beat { worker, process });
    }

    pub(crate) fn resume(&mut self, worker: usize) {
        let awake = &mut self.workers[worker];
        awake.is_paused = false;
        for (epoch, message) in std::mem::take(&mut awake.mailbox) {
            self.worker_receives(worker, epoch, message);
        }
    }

    pub(crate) fn cut(&mut self, worker: usize, up: bool, down: bool) {
        self.workers[worker].is_mute = up;
        self.workers[worker].is_deaf = down;
    }

    /// Once a second and whenever there is news: registers, or polls.
    pub(crate) fn beat(&mut self, worker: usize, process: u64) {
        let beating = &self.workers[worker];
        if !beating.is_alive || beating.process != process {
            return;
        }
        if !beating.is_paused {
            self.poll(worker);
        }
        self.after(SECOND, Happening::Beat { worker, process });
    }

    pub(crate) fn poll(&mut self, worker: usize) {
        let polling = &self.workers[worker];
        let message = if polling.is_registered {
            let running =
                polling.running.keys().chain(polling.unreported.keys()).copied().collect();
            let held: BTreeSet<_> = polling.store.keys().map(|attempt| attempt.task.job).collect();
            let reports = polling.unreported.iter().map(|(of, how)| (*of, how.clone())).collect();
            let held_jobs = held.into_iter().collect();
            Up::Poll { term: polling.term, running, held_jobs, reports }
        } else {
            Up::Register { slots: polling.slots, held: polling.store.keys().copied().collect() }
        };
        self.send_up(worker, message);
    }

    pub(crate) fn worker_receives(&mut self, worker: usize, epoch: Epoch, message: Down) {
        let receiver = &mut self.workers[worker];
        if receiver.epoch != epoch {
            return;
        }
        match message {
            Down::Registered { term } => {
                if term >= receiver.term && !receiver.is_registered {
                    receiver.is_registered = true;
                    receiver.term = term;
                    self.poll(worker);
                }
            }
            Down::StaleTerm => {
                receiver.is_registered = false;
                self.poll(worker);
            }
            Down::Gone => {
                receiver.running.clear();
                receiver.unreported.clear();
                receiver.is_registered = false;
                receiver.epoch.0 += 1;
                self.poll(worker);
            }
            // What an older master says has no effect.
            Down::Reply { term, .. } if term != receiver.term => {}
            Down::Reply { commands, acks, .. } => {
                for attempt in acks {
                    self.workers[worker].unreported.remove(&attempt);
                }
                for command in commands {
                    self.obey(worker, command);
                }
            }
        }
    }

    pub(crate) fn obey(&mut self, worker: usize, command: Command) {
        let obeying = &mut self.workers[worker];
        match command {
            Command::Assign { attempt, inputs, .. } => {
                let is_known = obeying.running.contains_key(&attempt)
                    || obeying.unreported.contains_key(&attempt)
                    || obeying.store.contains_key(&attempt);
                if !is_known {
                    obeying.running.insert(attempt, inputs);
                    let (process, slowness) = (obeying.process, obeying.slowness);
                    let takes = self.random.between(10 * MS, 1500 * MS) * slowness;
                    self.after(takes, Happening::Finish { worker, process, attempt });
                }
            }
            Command::Revoke { attempt, .. } => {
                obeying.running.remove(&attempt);
                obeying.unreported.remove(&attempt);
                obeying.store.remove(&attempt);
            }
            Command::DropJob { job, .. } => {
                obeying.running.retain(|attempt, _| attempt.task.job != job);
                obeying.unreported.retain(|attempt, _| attempt.task.job != job);
                obeying.store.retain(|attempt, _| attempt.task.job != job);
            }
            Command::Commit { .. } | Command::Record(_) | Command::Ended { .. } => {}
        }
    }

    pub(crate) fn finish(&mut self, worker: usize, process: u64, attempt: TaskAttempt) {
        let finishing = &mut self.workers[worker];
        if !finishing.is_alive || finishing.process != process {
            return;
        }
        if finishing.is_paused {
            return self.after(SECOND, Happening::Finish { worker, process, attempt });
        }
        let Some(inputs) = finishing.running.remove(&attempt) else { return };
        let outcome = self.compute(worker, attempt, &inputs);
        let finished = &mut self.workers[worker];
        if let Outcome::Done(number) = &outcome {
            finished.store.insert(attempt, *number);
        }
        finished.unreported.insert(attempt, outcome);
        if finished.is_registered {
            self.poll(worker);
        }
    }

    /// Reads what the assignment names, wherever it is, and computes a number from it.
    pub(crate) fn compute(
        &mut self,
        worker: usize,
        attempt: TaskAttempt,
        inputs: &[MapOutput],
    ) -> Outcome {
        if !self.has_healed && self.faults.tasks_fail && self.random.chance(8) {
            return Outcome::Failed(a_failure(Class::Retry, Code::TaskFailed));
        }
        if !self.has_healed && self.faults.data_is_bad && self.random.below(200) == 0 {
            return Outcome::Failed(a_failure(Class::Fail, Code::InputCorrupt));
        }
        if !self.has_healed && self.faults.tasks_fail && self.random.below(50) == 0 {
            return Outcome::Failed(a_failure(Class::Cancel, Code::Cancelled));
        }
        let mut numbers = Vec::new();
        for input in inputs {
            let holder = self.workers.iter().position(|other| other.id == input.worker);
            let number = holder.and_then(|holder| {
                let other = &self.workers[holder];
                let is_reachable = holder == worker
                    || (other.is_alive
                        && !other.is_paused
                        && !self.strangers.contains(&(worker, holder)));
                other.store.get(&input.map).filter(|_| is_reachable)
            });
            match number {
                Some(number) => numbers.push(*number),
                None => return Outcome::Failed(a_fetch_failure(input)),
            }
        }
        Outcome::Done(number_of(attempt.task.stage, attempt.task.partition, &numbers))
    }
}
