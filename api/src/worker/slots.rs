//! Slots: operating system threads that run tasks, fed through one bounded queue.

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread,
};

use minispark_engine::{
    error::Failure,
    id::TaskAttempt,
    runtime::Clock,
    task::{self, STACK_BYTES, Task, TaskReport, context::TaskContext, metrics::RowCounter},
};
use tokio::sync::mpsc;

use crate::protocol::Outcome;

/// A task on its way to a thread.
pub(crate) struct Assigned {
    /// What is run.
    pub(crate) task: Task,
    /// What it may use.
    pub(crate) context: TaskContext,
    /// Counts the rows read.
    pub(crate) progress: RowCounter,
}

/// A task that has ended.
#[derive(Debug)]
pub(crate) struct Finished {
    /// Which.
    pub(crate) attempt: TaskAttempt,
    /// How.
    pub(crate) outcome: Outcome,
}

/// The threads.
pub(crate) struct Slots {
    queue: SyncSender<Assigned>,
    /// Closed when the last thread has ended.
    alive: mpsc::Receiver<()>,
}

impl Slots {
    /// Starts `slots` threads that take from a queue of `capacity` and report to `finished`.
    pub(crate) fn start(
        slots: usize,
        capacity: usize,
        finished: &mpsc::Sender<Finished>,
        clock: &Arc<dyn Clock>,
    ) -> io::Result<Self> {
        let (queue, tasks) = sync_channel(capacity);
        let tasks = Arc::new(Mutex::new(tasks));
        let (lives, alive) = mpsc::channel(1);
        for number in 0..slots {
            let (tasks, finished, clock) =
                (Arc::clone(&tasks), finished.clone(), Arc::clone(clock));
            let life = lives.clone();
            thread::Builder::new().name(format!("slot-{number}")).stack_size(STACK_BYTES).spawn(
                move || {
                    work(&tasks, &finished, &*clock);
                    drop(life);
                },
            )?;
        }
        Ok(Self { queue, alive })
    }

    /// Queues a task; gives it back where there is no room.
    pub(crate) fn run(&self, assigned: Assigned) -> Result<(), Box<Assigned>> {
        self.queue.try_send(assigned).map_err(|error| match error {
            TrySendError::Full(back) | TrySendError::Disconnected(back) => Box::new(back),
        })
    }

    /// Waits until all threads have ended what they run.
    pub(crate) async fn ended(self) {
        let Self { queue, mut alive } = self;
        drop(queue);
        // Nothing is ever sent: this returns when the last sender is dropped.
        while alive.recv().await.is_some() {}
    }
}

/// A thread: takes, runs, reports, until there is no more.
fn work(tasks: &Mutex<Receiver<Assigned>>, finished: &mpsc::Sender<Finished>, clock: &dyn Clock) {
    loop {
        // A receiver has no state that a panic elsewhere could have broken.
        let next = tasks.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Assigned { task, context, progress }) = next else { return };
        let attempt = task.attempt;
        let started = clock.now();
        let outcome = match task::run(&task, &context, &progress) {
            Ok(report) => {
                let elapsed = clock.now().saturating_sub(started).as_millis();
                let elapsed_ms = u64::try_from(elapsed).unwrap_or(u64::MAX);
                Outcome::Done(TaskReport { elapsed_ms, ..report })
            }
            Err(error) => Outcome::Failed(Failure::from(&error)),
        };
        // What the attempt held is given back before its end is told.
        drop((task, context));
        if finished.blocking_send(Finished { attempt, outcome }).is_err() {
            return;
        }
    }
}
