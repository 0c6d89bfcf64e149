//! Where async code and blocking operators meet, and nowhere else.
//!
//! [`stream`] turns a blocking step into an async stream: each step runs on a thread of the
//! runtime's blocking pool and holds it for that step only, so that a slow client holds no thread.
//! [`mailbox`] is the other way: an async task puts items into a small box, from which a blocking
//! operator takes them. Both are bounded, and both end when their other side goes away.

use std::{
    collections::VecDeque,
    future::Future,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    time::Duration,
};

use futures::{Stream, stream};
use minispark_engine::{
    Error, Result,
    memory::{Budget, Reservation},
    task::context::CancelFlag,
};
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
    task::{JoinError, JoinSet, spawn_blocking},
};
use tokio_util::task::AbortOnDropHandle;

/// How long a blocking wait goes on before it looks at its cancel flag again.
const LOOK: Duration = Duration::from_millis(50);

/// How many blocking steps run at once; clones share the bound.
#[derive(Clone, Debug)]
pub struct Threads(Arc<Semaphore>);

impl Threads {
    /// At most `count` of them.
    pub fn new(count: usize) -> Self {
        Self(Arc::new(Semaphore::new(count)))
    }

    /// Runs `work` on a blocking thread once one is free.
    ///
    /// # Errors
    /// [`Error::Panicked`] for a panic in `work`.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        let permit = Arc::clone(&self.0).acquire_owned().await;
        let held = permit.map_err(|_| Error::Internal(String::from("the threads are closed")))?;
        let done = spawn_blocking(move || {
            let result = work();
            drop(held);
            result
        });
        done.await.map_err(failed)
    }
}

/// Something that gives its items a few at a time, and may block while it does.
pub trait Steps: Send + 'static {
    /// What it gives.
    type Item: Send + 'static;

    /// The next items, or `None` at the end.
    ///
    /// # Errors
    /// Whatever ends the stream.
    fn step(&mut self) -> Result<Option<Vec<Self::Item>>>;
}

/// The items of `steps` as a stream; made within a runtime.
///
/// - Bound: one step's items wait while the next step runs. Dropped, it ends after that step.
/// - Errors: the step's, or [`Error::Panicked`]; nothing comes after one.
pub fn stream<S: Steps>(
    steps: S,
    threads: Threads,
) -> impl Stream<Item = Result<S::Item>> + Send + 'static {
    let mut ahead = Ahead { running: JoinSet::new(), ready: VecDeque::new(), threads };
    ahead.start(steps);
    stream::unfold(ahead, |mut ahead| async move {
        loop {
            if let Some(item) = ahead.ready.pop_front() {
                return Some((Ok(item), ahead));
            }
            let error = match ahead.running.join_next().await? {
                Ok(Ok((next, Ok(Some(items))))) => {
                    ahead.ready = items.into();
                    ahead.start(next);
                    continue;
                }
                Ok(Ok((_, Ok(None)))) => return None,
                Ok(Ok((_, Err(error))) | Err(error)) => error,
                Err(error) => failed(error),
            };
            return Some((Err(error), ahead));
        }
    })
}

/// A stream's items that are ready, and the step that runs ahead: none or one.
struct Ahead<S: Steps> {
    running: JoinSet<Result<Stepped<S>>>,
    ready: VecDeque<S::Item>,
    threads: Threads,
}

/// A step's state after it, and what it gave.
type Stepped<S> = (S, Result<Option<Vec<<S as Steps>::Item>>>);

impl<S: Steps> Ahead<S> {
    fn start(&mut self, mut steps: S) {
        let threads = self.threads.clone();
        self.running.spawn(async move {
            threads
                .run(move || {
                    let items = steps.step();
                    (steps, items)
                })
                .await
        });
    }
}

fn failed(error: JoinError) -> Error {
    match error.try_into_panic() {
        Ok(panic) => {
            let text = panic.downcast_ref::<&str>().map(|text| String::from(*text));
            let message = text.or_else(|| panic.downcast_ref::<String>().cloned());
            Error::Panicked { message: message.unwrap_or_else(|| String::from("no message")) }
        }
        Err(_) => Error::Cancelled,
    }
}

/// How many items a mailbox holds.
const SLOTS: u32 = 2;

/// Starts `fill` on `runtime` with one end of a new mailbox, and gives the other.
///
/// - Bound: two items, whose bytes are charged to `budget` from before they are received until
///   they are taken.
pub(crate) fn mailbox<T, F>(
    runtime: &Handle,
    budget: &Budget,
    fill: impl FnOnce(Outbox<T>) -> F,
) -> Inbox<T>
where
    T: Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let (tx, rx) = sync_channel(SLOTS as usize);
    let slots = Arc::new(Semaphore::new(SLOTS as usize));
    let outbox = Outbox { tx, slots, budget: budget.clone() };
    let task = AbortOnDropHandle::new(runtime.spawn(fill(outbox)));
    Inbox { rx, _task: task }
}

/// An item in a mailbox, with the room that it takes until it is dropped.
pub(crate) struct Letter<T> {
    /// What was sent.
    pub(crate) item: T,
    _room: Room,
}

/// A slot of a mailbox and bytes of the budget, both given back when dropped.
pub(crate) struct Room {
    /// Stands first because it must be given back first: whoever gets the slot takes bytes.
    bytes: Reservation,
    _slot: OwnedSemaphorePermit,
}

/// The async end of a mailbox.
pub(crate) struct Outbox<T> {
    tx: SyncSender<Letter<T>>,
    slots: Arc<Semaphore>,
    budget: Budget,
}

impl<T> Outbox<T> {
    /// Waits until there is room for one item of about `bytes`.
    ///
    /// Bytes that the budget refuses are taken all the same once the box is empty: one item is
    /// the least that the other side can work with. `None` once the mailbox is closed.
    pub(crate) async fn room(&self, bytes: u64) -> Option<Room> {
        let slot = Arc::clone(&self.slots).acquire_owned().await.ok()?;
        let mut reservation = self.budget.reservation("flight fetch");
        if !reservation.try_grow(bytes) {
            let others = self.slots.acquire_many(SLOTS - 1).await.ok()?;
            reservation.grow(bytes);
            drop(others);
        }
        Some(Room { bytes: reservation, _slot: slot })
    }

    /// Puts an item of `bytes` into its room. `false` where nobody takes it any more.
    pub(crate) fn send(&self, mut room: Room, bytes: u64, item: T) -> bool {
        let held = room.bytes.held_bytes();
        if bytes > held {
            room.bytes.grow(bytes - held);
        } else {
            room.bytes.shrink(held - bytes);
        }
        // A slot was taken before, so that the channel is never full.
        self.tx.try_send(Letter { item, _room: room }).is_ok()
    }
}

/// The blocking end of a mailbox; dropped, it ends the task that fills it.
pub(crate) struct Inbox<T> {
    rx: Receiver<Letter<T>>,
    _task: AbortOnDropHandle<()>,
}

impl<T> Inbox<T> {
    /// Waits for the next item; `None` once the task has ended and all is taken.
    ///
    /// # Errors
    /// [`Error::Cancelled`] soon after `cancel` is set.
    pub(crate) fn take(&self, cancel: &CancelFlag) -> Result<Option<Letter<T>>> {
        loop {
            cancel.check()?;
            match self.rx.recv_timeout(LOOK) {
                Ok(letter) => return Ok(Some(letter)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use futures::StreamExt;

    use super::*;
    use crate::fixture::runtime;

    /// Counts down; tells when it is dropped.
    struct Down(u32, #[expect(dead_code, reason = "dropped, it tells")] SyncSender<()>);

    impl Steps for Down {
        type Item = u32;

        fn step(&mut self) -> Result<Option<Vec<u32>>> {
            self.0 -= 1;
            match self.0 {
                0 => Ok(None),
                13 => panic!("thirteen"),
                22 => Err(Error::Cancelled),
                n => Ok(Some(vec![n, n])),
            }
        }
    }

    fn down(from: u32) -> (Down, Receiver<()>) {
        let (tx, rx) = sync_channel(1);
        (Down(from, tx), rx)
    }

    fn collect(steps: Down) -> Vec<Result<u32>> {
        runtime().block_on(async { stream(steps, Threads::new(1)).collect().await })
    }

    #[test]
    fn a_stream_gives_the_steps_items_in_order_and_ends() {
        let items: Vec<_> = collect(down(4).0);
        let items: Vec<_> = items.into_iter().map(Result::unwrap).collect();
        assert_eq!(items, [3, 3, 2, 2, 1, 1]);
    }

    #[test]
    fn a_panic_in_a_step_ends_the_stream_with_an_error() {
        let items: Vec<_> = collect(down(15).0);
        assert_eq!(items.len(), 3);
        assert!(matches!(&items[2], Err(Error::Panicked { message }) if message == "thirteen"));
    }

    #[test]
    fn nothing_comes_after_an_error() {
        let items: Vec<_> = collect(down(23).0);
        assert!(matches!(items.as_slice(), [Err(Error::Cancelled)]));
    }

    #[test]
    fn a_dropped_stream_drops_its_steps() {
        let runtime = runtime();
        let (steps, dropped) = down(10);
        let mut items = Box::pin({
            let _guard = runtime.enter();
            stream(steps, Threads::new(1))
        });
        runtime.block_on(items.next());
        drop(items);
        assert_eq!(dropped.recv(), Err(mpsc::RecvError), "the sender went with the steps");
    }

    #[test]
    fn more_streams_than_threads_all_move() {
        let (runtime, threads) = (runtime(), Threads::new(1));
        runtime.block_on(async {
            let mut streams: Vec<_> =
                (0..20).map(|_| Box::pin(stream(down(4).0, threads.clone()))).collect();
            for _ in 0..6 {
                for items in &mut streams {
                    assert!(items.next().await.unwrap().is_ok());
                }
            }
        });
    }

    #[test]
    fn a_mailbox_hands_over_in_order_and_ends_with_its_task() {
        let runtime = runtime();
        let budget = Budget::new(100);
        let inbox = mailbox(runtime.handle(), &budget, |outbox| async move {
            for n in 0..10 {
                let Some(room) = outbox.room(10).await else { return };
                outbox.send(room, 5, n);
            }
        });
        let cancel = CancelFlag::default();
        for n in 0..10 {
            assert_eq!(inbox.take(&cancel).unwrap().unwrap().item, n);
        }
        assert!(inbox.take(&cancel).unwrap().is_none());
        assert_eq!(budget.used_bytes(), 0);
    }

    #[test]
    fn an_item_is_charged_what_it_has_until_it_is_dropped() {
        let runtime = runtime();
        let budget = Budget::new(100);
        let inbox = mailbox(runtime.handle(), &budget, |outbox| async move {
            if let Some(room) = outbox.room(10).await {
                outbox.send(room, 30, ());
            }
        });
        let letter = inbox.take(&CancelFlag::default()).unwrap();
        assert_eq!(budget.used_bytes(), 30);
        drop(letter);
        assert_eq!(budget.used_bytes(), 0);
    }

    #[test]
    fn a_full_budget_leaves_room_for_one_item_at_a_time() {
        let runtime = runtime();
        let budget = Budget::new(10);
        let (tx, sent) = sync_channel(10);
        let inbox = mailbox(runtime.handle(), &budget, |outbox| async move {
            for n in 0..4 {
                let Some(room) = outbox.room(100).await else { return };
                outbox.send(room, 100, n);
                tx.try_send(n).unwrap();
            }
        });
        let cancel = CancelFlag::default();
        for n in 0..4 {
            assert_eq!(sent.recv(), Ok(n));
            assert!(sent.try_recv().is_err(), "the next waits for this one");
            assert_eq!(budget.used_bytes(), 100);
            drop(inbox.take(&cancel).unwrap());
        }
        assert_eq!(budget.peak_bytes(), 100);
    }

    #[test]
    fn a_wait_ends_when_it_is_cancelled() {
        let runtime = runtime();
        let inbox = mailbox(runtime.handle(), &Budget::new(10), |outbox: Outbox<()>| async move {
            std::future::pending::<()>().await;
            drop(outbox);
        });
        let cancel = CancelFlag::default();
        let flag = cancel.clone();
        let waits = std::thread::spawn(move || inbox.take(&flag).map(|_| ()));
        cancel.cancel();
        assert!(matches!(waits.join().unwrap(), Err(Error::Cancelled)));
    }

    #[test]
    fn a_dropped_inbox_ends_the_task_that_fills_it() {
        let runtime = runtime();
        let budget = Budget::new(100);
        let (tx, ended) = sync_channel::<()>(1);
        let inbox = mailbox(runtime.handle(), &budget, |outbox| async move {
            let _ends_with_the_task = tx;
            while let Some(room) = outbox.room(10).await {
                outbox.send(room, 10, ());
            }
        });
        drop(inbox.take(&CancelFlag::default()).unwrap());
        drop(inbox);
        assert_eq!(ended.recv(), Err(mpsc::RecvError));
        assert_eq!(budget.used_bytes(), 0);
    }
}
