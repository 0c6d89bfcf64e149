//! What the scheduler promises, claim by claim; faults in combination are the simulation's.
//!
//! Jobs are `a`, `b`, …; `a/1/0#2` is the second attempt of partition 0 of stage 1 of job `a`.

use std::{sync::Arc, time::Duration};

use arrow::datatypes::Schema;
use uuid::Uuid;

use crate::{
    error::{Class, Code, Failure, FetchFailure},
    id::{Attempt, Epoch, JobId, StageId, TaskAttempt, TaskId, Term, WorkerId},
    plan::{
        Distribution, Node, NodeIndex, Op, Order, Output, Plan, Sink, Stage, Step, StepIndex,
        StepKind, Target,
    },
    schedule::{
        Command, Event, Fact, JobStatus, JobView,
        NodeStatus::{self, Completed, Pending, Running},
        Now, Scheduler, Settings, WorkerView,
        ledger::{Ledger, Restored},
    },
    task::{NodeRows, TaskReport},
};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const A: JobId = JobId(Uuid::from_u128(0xa));
const B: JobId = JobId(Uuid::from_u128(0xb));

// Who runs what.

#[test]
fn equal_tasks_are_spread_evenly_over_free_slots() {
    let mut cluster = Cluster::of("w0 w1 w2", 4);
    cluster.submit(A, plan(&[(7, &[])]));
    assert_eq!(cluster.counts(), [3, 2, 2]);
}

#[test]
fn the_ring_goes_on_behind_the_last_one_served() {
    let mut cluster = Cluster::of("w0 w1 w2", 4);
    cluster.submit(A, plan(&[(2, &[])]));
    assert_eq!(cluster.submit(B, plan(&[(2, &[])])), "w2 runs b/0/0#1\nw0 runs b/0/1#1\n");
}

#[test]
fn a_worker_runs_no_more_than_its_slots_and_a_busy_one_gets_fewer() {
    let mut cluster = Cluster::of("w0", 1);
    cluster.join("w1", 1, 3);
    cluster.submit(A, plan(&[(9, &[])]));
    assert_eq!(cluster.counts(), [1, 3]);
    assert_eq!(cluster.done("w1", "a/0/1#1"), "w1 runs a/0/4#1\n");
}

#[test]
fn a_stage_starts_when_all_that_it_reads_is_complete() {
    let mut cluster = Cluster::of("w0 w1", 2);
    let told = cluster.submit(A, plan(&[(2, &[]), (1, &[]), (1, &[0, 1])]));
    assert_eq!(told, "w0 runs a/0/0#1\nw1 runs a/0/1#1\nw0 runs a/1/0#1\n");
    assert_eq!(cluster.done("w1", "a/0/1#1"), "");
    assert_eq!(cluster.done("w0", "a/1/0#1"), "");
    assert_eq!(
        cluster.done("w0", "a/0/0#1"),
        "w1 runs a/2/0#1 from a/0/0#1@w0 a/0/1#1@w1 a/1/0#1@w0\n"
    );
}

#[test]
fn parallelism_caps_what_a_job_runs_at_once() {
    let mut cluster = Cluster::of("w0 w1", 4);
    let capped = Plan { parallelism: Some(2), ..plan(&[(4, &[])]) };
    assert_eq!(cluster.submit(A, capped), "w0 runs a/0/0#1\nw1 runs a/0/1#1\n");
    assert_eq!(cluster.done("w0", "a/0/0#1"), "w0 runs a/0/2#1\n");
}

#[test]
fn the_job_with_the_fewest_running_tasks_gets_the_next_slot() {
    let mut cluster = Cluster::of("w0", 2);
    cluster.submit(A, plan(&[(100, &[])]));
    assert_eq!(cluster.submit(B, plan(&[(2, &[])])), "");
    assert_eq!(cluster.view(B).waiting_for.as_deref(), Some("a free slot"));
    assert_eq!(cluster.done("w0", "a/0/0#1"), "w0 runs b/0/0#1\n");
    assert_eq!(cluster.done("w0", "a/0/1#1"), "w0 runs a/0/2#1\n", "both run one: the older job");
}

// What attempts come to.

#[test]
fn a_job_goes_from_accepted_to_completed() {
    let mut cluster = Cluster::of("", 1);
    cluster.submit(A, plan(&[(1, &[])]));
    assert_eq!(cluster.view(A).status, JobStatus::Accepted);
    assert_eq!(cluster.join("w0", 1, 1), "w0 runs a/0/0#1\n");
    assert_eq!(cluster.view(A).status, JobStatus::Running);
    assert_eq!(cluster.done("w0", "a/0/0#1"), "commit a\n");
    assert!(cluster.view(A).progress_percent < 100.0);
    assert_eq!(cluster.step(Event::Committed { job: A }), "w0 drops a\nended a\n");
    assert_eq!(cluster.view(A).status, JobStatus::Completed);
    assert_eq!(cluster.view(A).progress_percent.to_string(), "100");
}

#[test]
fn facts_come_before_what_follows_from_them() {
    let mut cluster = Cluster::of("w0", 1);
    cluster.submit(A, plan(&[(1, &[])]));
    let done = Cluster::done_event("w0", 1, "a/0/0#1");
    let kinds: Vec<_> = cluster.commands(done).iter().map(kind).collect();
    assert_eq!(kinds, ["output accepted", "stage done", "commit intent", "commit"]);
    let at_the_end: Vec<_> =
        cluster.commands(Event::Committed { job: A }).iter().map(kind).collect();
    assert_eq!(at_the_end, ["committed", "drop", "ended", "end"]);
}

#[test]
fn a_plan_without_tasks_is_committed_at_once() {
    let mut cluster = Cluster::of("", 1);
    assert_eq!(cluster.submit(A, plan(&[(0, &[])])), "commit a\n");
}

#[test]
fn a_repeated_report_has_one_effect() {
    let mut cluster = Cluster::of("w0", 1);
    cluster.submit(A, plan(&[(2, &[])]));
    assert_eq!(cluster.done("w0", "a/0/0#1"), "w0 runs a/0/1#1\n");
    assert_eq!(cluster.done("w0", "a/0/0#1"), "", "the accepted output is not revoked");
    assert_eq!(cluster.view(A).tasks_done, 1);
    assert_eq!(cluster.scheduler.fenced(), 1);
}

#[test]
fn what_is_not_the_current_attempt_is_dropped_and_counted() {
    let mut cluster = Cluster::of("w0 w1", 1);
    cluster.submit(A, plan(&[(1, &[])]));
    assert_eq!(cluster.done("w1", "a/0/0#1"), "w1 stops a/0/0#1\n", "another worker's");
    assert_eq!(cluster.done("w0", "a/0/0#2"), "w0 stops a/0/0#2\n", "not assigned");
    assert_eq!(cluster.done("w0", "a/9/9#1"), "w0 stops a/9/9#1\n", "no such task");
    assert_eq!(cluster.done("w0", "b/0/0#1"), "w0 stops b/0/0#1\n", "no such job");
    let of_a_past_life = Cluster::done_event("w0", 0, "a/0/0#1");
    assert_eq!(cluster.step(of_a_past_life), "");
    assert_eq!((cluster.scheduler.fenced(), cluster.view(A).tasks_done), (5, 0));
}

#[test]
fn a_failed_attempt_is_tried_again_after_a_growing_pause() {
    let mut cluster = Cluster::of("w0 w1", 1);
    cluster.submit(A, plan(&[(1, &[])]));
    assert_eq!(cluster.failed("w0", "a/0/0#1", Class::Retry), "");
    let waits = cluster.view(A).waiting_for;
    assert_eq!(waits.as_deref(), Some("the next try of a failed task"));
    let wake = cluster.scheduler.next_wake().unwrap();
    assert!(cluster.now < wake && wake <= cluster.now + 200 * MS, "{wake:?}");
    assert_eq!(cluster.at(wake.saturating_sub(MS), Event::Tick), "");
    assert_eq!(cluster.at(wake, Event::Tick), "w1 runs a/0/0#2\n", "elsewhere");
    assert_eq!(cluster.view(A).failure_count, 1);
}

#[test]
fn the_last_attempt_fails_the_job_with_the_place() {
    let mut cluster = Cluster::of("w0 w1", 1);
    cluster.submit(A, plan(&[(2, &[]), (1, &[0])]));
    for (n, worker) in [(1, "w0"), (2, "w0"), (3, "w0")] {
        cluster.failed(worker, &format!("a/0/0#{n}"), Class::Retry);
        cluster.pass(10 * SECOND);
    }
    let told = cluster.failed("w0", "a/0/0#4", Class::Retry);
    assert_eq!(told, "w1 stops a/0/1#1\nw0 drops a\nw1 drops a\nended a\n");
    let view = cluster.view(A);
    let error = view.error.unwrap();
    assert_eq!((view.status, view.failure_count), (JobStatus::Failed, 4));
    assert_eq!((error.failure.code, error.nodes), (Code::TaskFailed, vec![String::from("n0")]));
    assert_eq!(error.attempt, Some(attempt("a/0/0#4")));
    assert_eq!(error.worker, Some(worker("w0")));
    assert_eq!(view.nodes, [NodeStatus::Failed, NodeStatus::Cancelled]);
}

#[test]
fn bad_data_fails_the_job_at_once() {
    let mut cluster = Cluster::of("w0", 2);
    cluster.submit(A, plan(&[(2, &[])]));
    let told = cluster.failed("w0", "a/0/0#1", Class::Fail);
    assert_eq!(told, "w0 stops a/0/1#1\nw0 drops a\nended a\n");
}

#[test]
fn a_handed_back_attempt_is_no_failure() {
    let mut cluster = Cluster::of("w0 w1", 1);
    cluster.submit(A, plan(&[(1, &[])]));
    assert_eq!(cluster.failed("w0", "a/0/0#1", Class::Cancel), "w1 runs a/0/0#2\n");
    assert_eq!(cluster.view(A).failure_count, 0);
}

// Outputs that can't be read.

#[test]
fn a_failed_fetch_recomputes_that_output_alone_and_blames_nobody() {
    let mut cluster = Cluster::of("w0 w1 w2", 1);
    cluster.submit(A, plan(&[(2, &[]), (1, &[0])]));
    cluster.done("w0", "a/0/0#1");
    assert_eq!(cluster.done("w1", "a/0/1#1"), "w2 runs a/1/0#1 from a/0/0#1@w0 a/0/1#1@w1\n");
    assert_eq!(cluster.cannot_fetch("w2", "a/1/0#1", "a/0/0#1", "w0"), "w1 runs a/0/0#2\n");
    assert_eq!(
        cluster.done("w1", "a/0/0#2"),
        "w0 runs a/1/0#2 from a/0/0#2@w1 a/0/1#1@w1\n",
        "the reader goes elsewhere"
    );
    assert!(cluster.workers().iter().all(|worker| !worker.is_excluded));
}

#[test]
fn a_failed_fetch_of_what_was_replaced_only_brings_the_new_place() {
    let mut cluster = Cluster::of("w0 w1 w2", 2);
    cluster.submit(A, plan(&[(1, &[]), (2, &[0])]));
    cluster.done("w0", "a/0/0#1");
    assert_eq!(cluster.cannot_fetch("w1", "a/1/0#1", "a/0/0#1", "w0"), "w1 runs a/0/0#2\n");
    assert_eq!(cluster.done("w1", "a/0/0#2"), "w2 runs a/1/0#2 from a/0/0#2@w1\n");
    assert_eq!(
        cluster.cannot_fetch("w2", "a/1/1#1", "a/0/0#1", "w0"),
        "w0 runs a/1/1#2 from a/0/0#2@w1\n"
    );
}

#[test]
fn a_fetch_that_names_no_input_counts_against_the_task() {
    let mut cluster = Cluster::of("w0", 1);
    cluster.submit(A, plan(&[(2, &[])]));
    for n in 1..=3 {
        cluster.cannot_fetch("w0", &format!("a/0/0#{n}"), "a/0/1#1", "w0");
        cluster.pass(10 * SECOND);
        if n == 1 {
            cluster.done("w0", "a/0/1#1");
        }
    }
    assert_eq!(cluster.cannot_fetch("w0", "a/0/0#4", "a/0/1#1", "w0"), "w0 drops a\nended a\n");
}

#[test]
fn a_stage_is_run_again_four_times_in_a_row_and_not_five() {
    let mut cluster = Cluster::of("w0 w1", 1);
    cluster.submit(A, plan(&[(1, &[]), (1, &[0])]));
    for n in 1..=5 {
        let (map, reader) = (format!("a/0/0#{n}"), format!("a/1/0#{n}"));
        let holder = cluster.whose(&map);
        cluster.done(&holder, &map);
        assert!(!cluster.view(A).status.has_ended(), "after {n} re-runs");
        let reading = cluster.whose(&reader);
        cluster.cannot_fetch(&reading, &reader, &map, &holder);
    }
    let error = cluster.view(A).error.unwrap();
    assert_eq!((error.failure.code, error.nodes), (Code::FetchFailed, vec![String::from("n1")]));
}

#[test]
fn readers_stay_where_they_can_reach_their_inputs() {
    let mut cluster = Cluster::of("w0 w1 w2", 1);
    cluster.submit(A, plan(&[(3, &[]), (3, &[0])]));
    for map in ["w0 a/0/0#1", "w1 a/0/1#1", "w2 a/0/2#1"] {
        let (worker, attempt) = map.split_once(' ').unwrap();
        cluster.done(worker, attempt);
    }
    // w0 and w2 don't reach each other; w1 reaches both.
    cluster.cannot_fetch("w2", "a/1/2#1", "a/0/0#1", "w0");
    cluster.cannot_fetch("w0", "a/1/0#1", "a/0/2#1", "w2");
    let map = |n| format!("a/0/{n}#2");
    let (first, second) = (cluster.whose(&map(0)), cluster.whose(&map(2)));
    cluster.done(&first, &map(0));
    assert_eq!(cluster.done(&second, &map(2)), "", "w0 and w2 are free, and w1 is waited for");
    let told = cluster.done("w1", "a/1/1#1");
    assert!(told.starts_with("w1 runs a/1/0#2 "), "{told}");
}

// Workers that come and go.

#[test]
fn a_silent_worker_is_lost_and_its_tasks_run_elsewhere() {
    let mut cluster = Cluster::of("w0 w1", 1);
    cluster.submit(A, plan(&[(2, &[])]));
    cluster.pass(3 * SECOND);
    cluster.seen("w1", &["a/0/1#1"], &[]);
    assert_eq!(cluster.at(cluster.now + 1999 * MS, Event::Tick), "");
    assert_eq!(cluster.scheduler.next_wake(), Some(5 * SECOND));
    cluster.pass(MS);
    assert!(!cluster.scheduler.knows(&worker("w0"), Epoch(1)));
    assert!(cluster.scheduler.knows(&worker("w1"), Epoch(1)));
    assert_eq!(cluster.done("w1", "a/0/1#1"), "w1 runs a/0/0#2\n");
    assert_eq!(cluster.view(A).failure_count, 1);
}

#[test]
fn outputs_that_nobody_needs_any_more_are_left_lost() {
    let mut cluster = Cluster::of("w0 w1", 1);
    cluster.submit(A, plan(&[(1, &[]), (1, &[0]), (1, &[1])]));
    cluster.done("w0", "a/0/0#1");
    assert_eq!(cluster.done("w1", "a/1/0#1"), "w0 runs a/2/0#1 from a/1/0#1@w1\n");
    // Its running task is lost; the output of stage 0 was read long ago.
    assert_eq!(cluster.lost("w0"), "w1 runs a/2/0#2 from a/1/0#1@w1\n");
    assert_eq!(cluster.view(A).tasks_done, 2);
}

#[test]
fn what_a_lost_output_was_made_of_is_recomputed_too() {
    let mut cluster = Cluster::of("w0", 1);
    cluster.submit(A, plan(&[(1, &[]), (1, &[0]), (2, &[1])]));
    cluster.done("w0", "a/0/0#1");
    cluster.done("w0", "a/1/0#1");
    cluster.done("w0", "a/2/0#1");
    let before = cluster.view(A).progress_percent;
    cluster.join("w1", 1, 1);
    // Nothing but the sink's second task was open, and yet all is needed again.
    assert_eq!(cluster.lost("w0"), "w1 runs a/0/0#2\n");
    let view = cluster.view(A);
    assert_eq!((view.tasks_done, view.progress_percent), (0, before));
    assert_eq!(cluster.done("w1", "a/0/0#2"), "w1 runs a/1/0#2 from a/0/0#2@w1\n");
    assert_eq!(cluster.done("w1", "a/1/0#2"), "w1 runs a/2/0#2 from a/1/0#2@w1\n");
}

#[test]
fn a_part_in_a_shared_folder_outlives_its_writer() {
    let mut cluster = Cluster::of("w0 w1", 1);
    cluster.submit(A, plan(&[(2, &[])]));
    let Event::TaskDone { worker, epoch, attempt, mut report } =
        Cluster::done_event("w0", 1, "a/0/0#1")
    else {
        unreachable!()
    };
    report.parts = Some(Vec::new());
    cluster.step(Event::TaskDone { worker, epoch, attempt, report });
    assert_eq!(cluster.lost("w0"), "");
    assert_eq!(cluster.view(A).tasks_done, 1);
}

#[test]
fn a_task_that_took_three_workers_with_it_fails_its_job() {
    let mut cluster = Cluster::of("w0 w1 w2 w3", 1);
    cluster.submit(A, plan(&[(1, &[])]));
    assert_eq!(cluster.lost("w0"), "w1 runs a/0/0#2\n");
    assert_eq!(cluster.lost("w1"), "w2 runs a/0/0#3\n");
    assert_eq!(cluster.lost("w2"), "ended a\n");
    let error = cluster.view(A).error.unwrap();
    assert_eq!(error.failure.code, Code::TaskKillsWorkers);
    assert_eq!(error.worker, Some(worker("w2")));
}

#[test]
fn a_new_life_ends_the_old_one() {
    let mut cluster = Cluster::of("w0", 1);
    cluster.submit(A, plan(&[(2, &[])]));
    cluster.done("w0", "a/0/0#1");
    assert_eq!(cluster.join("w0", 2, 1), "w0 runs a/0/0#2\n");
    let view = cluster.view(A);
    assert_eq!((view.tasks_done, view.failure_count), (0, 1));
}

#[test]
fn to_register_again_changes_address_and_slots_alone() {
    let mut cluster = Cluster::of("w0", 1);
    cluster.submit(A, plan(&[(1, &[]), (2, &[0])]));
    cluster.done("w0", "a/0/0#1");
    let joined = Event::WorkerJoined {
        worker: worker("w0"),
        epoch: Epoch(1),
        address: String::from("elsewhere:1"),
        slots: 2,
        held: Vec::new(),
    };
    let commands = cluster.commands(joined);
    let Some(Command::Assign { inputs, .. }) = commands.last() else { panic!("{commands:?}") };
    assert_eq!(inputs[0].address, "elsewhere:1");
    assert_eq!(cluster.view(A).failure_count, 0);
    assert_eq!(cluster.counts(), [2]);
}

#[test]
fn a_life_that_was_lost_does_not_return() {
    let mut cluster = Cluster::of("w0", 1);
    cluster.lost("w0");
    cluster.join("w0", 1, 1);
    assert!(!cluster.scheduler.knows(&worker("w0"), Epoch(1)));
    cluster.join("w0", 2, 1);
    cluster.join("w0", 1, 1);
    assert!(cluster.scheduler.knows(&worker("w0"), Epoch(2)));
    assert_eq!(cluster.scheduler.fenced(), 2);
}

#[test]
fn a_poll_is_answered_with_what_should_be_different() {
    let mut cluster = Cluster::of("w0", 2);
    cluster.submit(A, plan(&[(2, &[]), (1, &[0])]));
    cluster.done("w0", "a/0/0#1");
    // Its own second attempt is unknown to it; the accepted first only waits for the answer.
    let told = cluster.seen("w0", &["a/0/0#1", "a/0/7#1", "b/0/0#1"], &[A, B]);
    assert_eq!(told, "w0 runs a/0/1#1\nw0 stops a/0/7#1\nw0 stops b/0/0#1\nw0 drops b\n");
}

#[test]
fn an_unheard_assignment_whose_inputs_are_gone_waits_for_them() {
    let mut cluster = Cluster::of("w0 w1", 1);
    cluster.submit(A, plan(&[(1, &[]), (1, &[0])]));
    cluster.done("w0", "a/0/0#1");
    assert_eq!(cluster.lost("w0"), "");
    assert_eq!(cluster.seen("w1", &[], &[]), "w1 runs a/0/0#2\n");
}

#[test]
fn a_worker_that_never_hears_its_assignment_is_lost() {
    let mut cluster = Cluster::of("w0", 1);
    cluster.submit(A, plan(&[(1, &[])]));
    cluster.join("w1", 1, 1);
    for _ in 0..5 {
        assert_eq!(cluster.seen("w0", &[], &[]), "w0 runs a/0/0#1\n");
        cluster.seen("w1", &[], &[]);
        cluster.pass(SECOND);
    }
    assert_eq!(cluster.seen("w0", &[], &[]), "w1 runs a/0/0#2\n");
}

#[test]
fn three_failures_of_different_tasks_exclude_a_worker_for_a_while() {
    let mut cluster = Cluster::of("w0 w1", 3);
    cluster.submit(A, plan(&[(6, &[])]));
    for task in ["a/0/0#1", "a/0/2#1", "a/0/4#1"] {
        cluster.failed("w0", task, Class::Retry);
    }
    assert!(cluster.workers()[0].is_excluded);
    cluster.pass(SECOND);
    assert_eq!(cluster.counts(), [0, 3]);
    cluster.now += Duration::from_mins(5);
    cluster.seen("w0", &[], &[]);
    cluster.seen("w1", &["a/0/1#1", "a/0/3#1", "a/0/5#1"], &[]);
    cluster.step(Event::Tick);
    assert_eq!(cluster.counts(), [3, 3]);
}

#[test]
fn the_last_worker_serves_though_it_is_excluded() {
    let mut cluster = Cluster::of("w0", 3);
    cluster.submit(A, plan(&[(3, &[])]));
    for task in ["a/0/0#1", "a/0/1#1", "a/0/2#1"] {
        cluster.failed("w0", task, Class::Retry);
    }
    assert!(cluster.workers()[0].is_excluded);
    cluster.pass(SECOND);
    assert_eq!(cluster.counts(), [3]);
}

#[test]
fn a_job_without_workers_says_so_and_fails_in_the_end() {
    let mut cluster = Cluster::of("", 1);
    cluster.now = 10 * SECOND;
    cluster.submit(A, plan(&[(1, &[])]));
    let waits = cluster.view(A).waiting_for.unwrap();
    assert_eq!(waits, "workers: none is connected (the job fails after 300 s without one)");
    assert_eq!(cluster.scheduler.next_wake(), Some(310 * SECOND));
    assert_eq!(cluster.at(309 * SECOND, Event::Tick), "");
    assert_eq!(cluster.at(310 * SECOND, Event::Tick), "ended a\n");
    assert_eq!(cluster.view(A).error.unwrap().failure.code, Code::NoWorkers);
}

// The end.

#[test]
fn a_cancelled_job_ends_once_and_for_all() {
    let mut cluster = Cluster::of("w0 w1", 1);
    cluster.submit(A, plan(&[(2, &[])]));
    cluster.done("w0", "a/0/0#1");
    let told = cluster.step(Event::Cancel { job: A });
    assert_eq!(told, "w1 stops a/0/1#1\nw0 drops a\nw1 drops a\nended a\n");
    assert_eq!(cluster.step(Event::Cancel { job: A }), "");
    assert_eq!(cluster.done("w1", "a/0/1#1"), "w1 stops a/0/1#1\n");
    assert_eq!(cluster.view(A).status, JobStatus::Cancelled);
    assert_eq!(cluster.seen("w1", &[], &[A]), "w1 drops a\n");
}

#[test]
fn a_cancel_wins_over_a_commit_that_has_not_been_answered() {
    let mut cluster = Cluster::of("w0", 1);
    cluster.submit(A, plan(&[(1, &[])]));
    cluster.done("w0", "a/0/0#1");
    assert_eq!(cluster.step(Event::Cancel { job: A }), "w0 drops a\nended a\n");
    assert_eq!(cluster.step(Event::Committed { job: A }), "");
    assert_eq!(cluster.view(A).status, JobStatus::Cancelled);
}

#[test]
fn a_commit_is_tried_again_and_fails_the_job_in_the_end() {
    let mut cluster = Cluster::of("w0", 1);
    cluster.submit(A, plan(&[(1, &[])]));
    assert_eq!(cluster.done("w0", "a/0/0#1"), "commit a\n");
    for _ in 0..3 {
        let failure = failure(Class::Retry);
        assert_eq!(cluster.step(Event::CommitFailed { job: A, failure }), "");
        assert_eq!(cluster.pass(SECOND), "commit a\n");
        cluster.seen("w0", &[], &[]);
    }
    let failure = failure(Class::Retry);
    assert_eq!(cluster.step(Event::CommitFailed { job: A, failure }), "w0 drops a\nended a\n");
}

#[test]
fn a_commit_that_can_not_fetch_a_part_has_it_computed_again() {
    let mut cluster = Cluster::of("w0 w1", 1);
    cluster.submit(A, plan(&[(2, &[])]));
    cluster.done("w0", "a/0/0#1");
    cluster.done("w1", "a/0/1#1");
    let failure = fetch_failure("a/0/0#1", "w0");
    assert_eq!(cluster.step(Event::CommitFailed { job: A, failure }), "w1 runs a/0/0#2\n");
    assert_eq!(cluster.done("w1", "a/0/0#2"), "commit a\n");
    let parts = &cluster.scheduler.outputs(A)[0].1;
    let maps: Vec<_> = parts.iter().map(|(output, _)| output.map).collect();
    assert_eq!(maps, [attempt("a/0/0#2"), attempt("a/0/1#1")]);
}

#[test]
fn a_worker_lost_under_a_commit_is_only_missed_when_the_commit_fails() {
    let mut cluster = Cluster::of("w0 w1", 1);
    cluster.submit(A, plan(&[(2, &[])]));
    cluster.done("w0", "a/0/0#1");
    cluster.done("w1", "a/0/1#1");
    assert_eq!(cluster.lost("w0"), "");
    assert_eq!(cluster.scheduler.outputs(A)[0].1.len(), 2);
    let failure = failure(Class::Retry);
    assert_eq!(cluster.step(Event::CommitFailed { job: A, failure }), "w1 runs a/0/0#2\n");
}

#[test]
fn only_a_final_job_is_forgotten() {
    let mut cluster = Cluster::of("w0", 1);
    cluster.submit(A, plan(&[(1, &[])]));
    cluster.submit(B, plan(&[(1, &[])]));
    cluster.step(Event::Cancel { job: A });
    for job in [A, B] {
        cluster.step(Event::Forget { job });
    }
    assert_eq!(cluster.scheduler.jobs(), [B]);
}

#[test]
fn a_task_that_reads_its_own_partition_is_given_that_alone() {
    let mut cluster = Cluster::of("w0", 1);
    let mut two = plan(&[(2, &[]), (2, &[0])]);
    two.stages[0].output = Output::Exchange(Distribution::Forward);
    cluster.submit(A, two);
    cluster.done("w0", "a/0/0#1");
    assert_eq!(cluster.done("w0", "a/0/1#1"), "w0 runs a/1/0#1 from a/0/0#1@w0\n");
    assert_eq!(cluster.done("w0", "a/1/0#1"), "w0 runs a/1/1#1 from a/0/1#1@w0\n");
}

// What users see.

#[test]
fn a_node_is_done_with_the_last_stage_that_works_for_it() {
    let mut cluster = Cluster::of("w0", 1);
    let mut two = plan(&[(1, &[]), (2, &[0])]);
    // Stage 0 begins what stage 1 ends, as the two halves of an aggregation do.
    two.stages[0].steps = steps(&[0, 1]);
    cluster.submit(A, two);
    assert_eq!(cluster.view(A).nodes, [Running, Running]);
    cluster.done("w0", "a/0/0#1");
    assert_eq!(cluster.view(A).nodes, [Completed, Running]);
    cluster.done("w0", "a/1/0#1");
    cluster.done("w0", "a/1/1#1");
    assert_eq!(cluster.view(A).nodes, [Completed, Completed]);
    cluster.submit(B, plan(&[(1, &[]), (1, &[0])]));
    assert_eq!(cluster.view(B).nodes, [Running, Pending]);
}

#[test]
fn rows_are_those_of_accepted_outputs() {
    let mut cluster = Cluster::of("w0 w1", 1);
    cluster.submit(A, plan(&[(2, &[]), (1, &[0])]));
    let rows = |view: JobView| (view.rows[0].rows_in, view.rows[0].rows_out, view.shuffled_bytes);
    cluster.done("w0", "a/0/0#1");
    assert_eq!(rows(cluster.view(A)), (10, 5, 100));
    cluster.lost("w0");
    assert_eq!(rows(cluster.view(A)), (0, 0, 0));
    cluster.done("w1", "a/0/1#1");
    cluster.done("w1", "a/0/0#2");
    assert_eq!(rows(cluster.view(A)), (20, 10, 200));
}

// Another life of the master.

#[test]
fn a_restart_goes_on_from_what_is_done_and_asks_nothing_again() {
    let mut cluster = Cluster::of("w0 w1", 1);
    cluster.submit(A, plan(&[(2, &[]), (1, &[0])]));
    cluster.done("w0", "a/0/0#1");
    assert_eq!(cluster.restart(), "");
    let view = cluster.view(A);
    assert_eq!((view.status, view.tasks_done, view.failure_count), (JobStatus::Running, 1, 0));
    assert_eq!((view.rows[0].rows_in, view.elapsed(cluster.now)), (10, 7 * SECOND));
    assert_eq!(cluster.rejoin("w1", 1, 1, &[]), "");
    assert_eq!(cluster.seen("w1", &["a/0/1#1"], &[A]), "", "it runs on");
    assert_eq!(cluster.rejoin("w0", 1, 1, &["a/0/0#1"]), "");
    let told = cluster.done("w1", "a/0/1#1");
    assert_eq!(told, "w0 runs a/1/0#1 from a/0/0#1@w0 a/0/1#1@w1\n");
}

#[test]
fn a_worker_that_does_not_return_after_a_restart_is_lost_like_any_other() {
    let mut cluster = Cluster::of("w0 w1", 1);
    cluster.submit(A, plan(&[(2, &[]), (1, &[0])]));
    cluster.done("w0", "a/0/0#1");
    cluster.restart();
    cluster.rejoin("w1", 1, 2, &[]);
    cluster.seen("w1", &["a/0/1#1"], &[]);
    assert_eq!(cluster.pass(3 * SECOND), "");
    cluster.seen("w1", &["a/0/1#1"], &[]);
    assert_eq!(cluster.pass(4 * SECOND), "", "a restart has its grace");
    cluster.seen("w1", &["a/0/1#1"], &[]);
    assert_eq!(cluster.pass(4 * SECOND), "w1 runs a/0/0#2\n");
    assert_eq!(cluster.view(A).failure_count, 0, "it ran nothing");
}

#[test]
fn what_a_returning_worker_does_not_have_any_more_runs_again() {
    let mut cluster = Cluster::of("w0", 2);
    cluster.submit(A, plan(&[(2, &[]), (1, &[0])]));
    cluster.done("w0", "a/0/0#1");
    cluster.done("w0", "a/0/1#1");
    cluster.restart();
    assert_eq!(cluster.rejoin("w0", 1, 2, &["a/0/1#1"]), "w0 runs a/0/0#2\n");
}

#[test]
fn a_worker_that_restarts_brings_back_what_lies_on_its_disk() {
    let mut cluster = Cluster::of("w0 w1", 1);
    cluster.submit(A, plan(&[(3, &[]), (1, &[0])]));
    cluster.done("w0", "a/0/0#1");
    cluster.done("w0", "a/0/2#1");
    assert_eq!(cluster.rejoin("w0", 2, 1, &["a/0/0#1"]), "w0 runs a/0/2#2\n");
    let view = cluster.view(A);
    assert_eq!((view.tasks_done, view.failure_count), (1, 0));
    let told = cluster.done("w1", "a/0/1#1");
    assert_eq!(told, "");
    cluster.step(Cluster::done_event("w0", 2, "a/0/2#2"));
    assert_eq!(cluster.whose("a/1/0#1"), "w1");
}

#[test]
fn a_finished_job_is_shown_as_it_was() {
    let mut cluster = Cluster::of("w0", 1);
    cluster.submit(A, plan(&[(1, &[]), (1, &[0])]));
    cluster.done("w0", "a/0/0#1");
    cluster.done("w0", "a/1/0#1");
    cluster.at(2 * SECOND, Event::Committed { job: A });
    let before = cluster.view(A);
    assert_eq!(cluster.restart(), "");
    let after = cluster.view(A);
    assert_eq!((after.status, after.tasks_done), (JobStatus::Completed, 2));
    assert_eq!(after.elapsed(cluster.now), 7 * SECOND);
    assert_eq!((after.nodes, after.rows), (before.nodes, before.rows));
}

#[test]
fn a_commit_that_a_restart_cut_short_is_asked_for_again() {
    let mut cluster = Cluster::of("w0", 1);
    cluster.submit(A, plan(&[(1, &[])]));
    assert_eq!(cluster.done("w0", "a/0/0#1"), "commit a\n");
    assert_eq!(cluster.restart(), "commit a\n");
}

#[test]
fn a_draining_worker_gets_nothing_new_and_may_leave_when_nobody_reads_from_it() {
    let mut cluster = Cluster::of("w0 w1", 1);
    cluster.submit(A, plan(&[(2, &[]), (1, &[0]), (1, &[1])]));
    let draining = Event::WorkerDraining { worker: worker("w0"), epoch: Epoch(1) };
    cluster.step(draining);
    assert!(cluster.workers()[0].is_draining);
    let may_leave = |of: &Cluster| of.scheduler.may_leave(&worker("w0"), Epoch(1));
    assert!(!may_leave(&cluster), "it runs a task");
    assert_eq!(cluster.done("w0", "a/0/0#1"), "");
    assert!(!may_leave(&cluster), "its output will be read");
    cluster.done("w1", "a/0/1#1");
    assert!(!may_leave(&cluster), "its output is read");
    cluster.done("w1", "a/1/0#1");
    assert!(may_leave(&cluster));
    assert_eq!(cluster.lost("w0"), "");
    assert_eq!(cluster.view(A).failure_count, 0);
}

#[test]
fn a_task_that_is_handed_back_is_no_failure() {
    let mut cluster = Cluster::of("w0 w1", 1);
    cluster.submit(A, plan(&[(1, &[])]));
    cluster.step(Event::WorkerDraining { worker: worker("w0"), epoch: Epoch(1) });
    assert_eq!(cluster.failed("w0", "a/0/0#1", Class::Cancel), "w1 runs a/0/0#2\n");
    assert_eq!(cluster.view(A).failure_count, 0);
}

// The cluster of these tests.

/// A scheduler with its time; answers are text, one command a line, without the facts.
struct Cluster {
    scheduler: Scheduler,
    now: Now,
    plans: Vec<(JobId, Arc<Plan>)>,
    facts: Vec<Fact>,
}

impl Cluster {
    /// Workers of so many slots, all in their first life.
    fn of(workers: &str, slots: u32) -> Self {
        let settings = Settings {
            term: Term(1),
            lost_after: 5 * SECOND,
            no_worker_wait: 300 * SECOND,
            attempts: 4,
        };
        let scheduler = Scheduler::new(settings);
        let (plans, facts) = (Vec::new(), Vec::new());
        let mut cluster = Self { scheduler, now: Now::ZERO, plans, facts };
        for worker in workers.split_whitespace() {
            cluster.join(worker, 1, slots);
        }
        cluster
    }

    fn commands(&mut self, event: Event) -> Vec<Command> {
        let commands = self.scheduler.step(self.now, event);
        self.remember(&commands);
        commands
    }

    fn remember(&mut self, commands: &[Command]) {
        for command in commands {
            if let Command::Record(fact) = command {
                self.facts.push(fact.clone());
            }
        }
    }

    /// Another scheduler takes up the jobs, each after 7 s.
    fn restart(&mut self) -> String {
        self.scheduler = Scheduler::new(self.scheduler.settings.clone());
        let ledger = |(job, plan): &(JobId, Arc<Plan>)| {
            let mut ledger = Ledger::new(plan);
            self.facts.iter().filter(|fact| fact.job() == *job).for_each(|fact| ledger.apply(fact));
            Restored { job: *job, plan: Arc::clone(plan), ledger, elapsed: 7 * SECOND }
        };
        let past = self.plans.iter().map(ledger).collect();
        let commands = self.scheduler.restore(self.now, past);
        self.remember(&commands);
        commands.iter().map(text).collect()
    }

    fn step(&mut self, event: Event) -> String {
        self.commands(event).iter().map(text).collect()
    }

    fn at(&mut self, now: Now, event: Event) -> String {
        self.now = now;
        self.step(event)
    }

    fn pass(&mut self, time: Duration) -> String {
        let polled: Vec<_> = self.workers().into_iter().filter(|_| time > 4 * SECOND).collect();
        self.now += time;
        for WorkerView { worker, epoch, running, .. } in polled {
            self.commands(Event::WorkerSeen { worker, epoch, running, held_jobs: Vec::new() });
        }
        self.step(Event::Tick)
    }

    fn join(&mut self, id: &str, epoch: u64, slots: u32) -> String {
        self.rejoin(id, epoch, slots, &[])
    }

    /// Registers with outputs of an earlier life.
    fn rejoin(&mut self, id: &str, epoch: u64, slots: u32, held: &[&str]) -> String {
        let (worker, epoch, address) = (worker(id), Epoch(epoch), format!("{id}:1"));
        let held = held.iter().map(|of| attempt(of)).collect();
        self.step(Event::WorkerJoined { worker, epoch, address, slots, held })
    }

    fn submit(&mut self, job: JobId, plan: Plan) -> String {
        let plan = Arc::new(plan);
        self.plans.push((job, Arc::clone(&plan)));
        self.step(Event::Submit { job, plan })
    }

    fn done_event(id: &str, epoch: u64, of: &str) -> Event {
        let node = NodeIndex(attempt(of).task.stage.0);
        let nodes = vec![NodeRows { rows_in: 10, rows_out: 5, ..NodeRows::none(node) }];
        let report = TaskReport { nodes, bytes: 100, ..TaskReport::default() };
        Event::TaskDone { worker: worker(id), epoch: Epoch(epoch), attempt: attempt(of), report }
    }

    fn done(&mut self, worker: &str, attempt: &str) -> String {
        let event = Self::done_event(worker, 1, attempt);
        self.step(event)
    }

    fn failed(&mut self, id: &str, of: &str, class: Class) -> String {
        let (worker, attempt, failure) = (worker(id), attempt(of), failure(class));
        self.step(Event::TaskFailed { worker, epoch: Epoch(1), attempt, failure })
    }

    fn cannot_fetch(&mut self, id: &str, of: &str, map: &str, holder: &str) -> String {
        let (worker, attempt, failure) = (worker(id), attempt(of), fetch_failure(map, holder));
        self.step(Event::TaskFailed { worker, epoch: Epoch(1), attempt, failure })
    }

    fn seen(&mut self, id: &str, running: &[&str], held_jobs: &[JobId]) -> String {
        let running = running.iter().map(|of| attempt(of)).collect();
        let (worker, held_jobs) = (worker(id), held_jobs.to_vec());
        self.step(Event::WorkerSeen { worker, epoch: Epoch(1), running, held_jobs })
    }

    fn lost(&mut self, id: &str) -> String {
        self.step(Event::WorkerLost { worker: worker(id), epoch: Epoch(1) })
    }

    fn workers(&self) -> Vec<WorkerView> {
        self.scheduler.workers()
    }

    /// Running attempts of each worker.
    fn counts(&self) -> Vec<usize> {
        self.workers().iter().map(|worker| worker.running.len()).collect()
    }

    /// Who runs the attempt.
    fn whose(&self, of: &str) -> String {
        let runs = |worker: &WorkerView| worker.running.contains(&attempt(of));
        self.workers().into_iter().find(runs).map(|worker| worker.worker.0).unwrap()
    }

    fn view(&self, job: JobId) -> JobView {
        self.scheduler.view(job).unwrap()
    }
}

fn text(command: &Command) -> String {
    match command {
        Command::Assign { worker, attempt, inputs, .. } => {
            let mut line = format!("{worker} runs {}", name(*attempt));
            for (number, input) in inputs.iter().enumerate() {
                let word = if number == 0 { " from" } else { "" };
                line = format!("{line}{word} {}@{}", name(input.map), input.worker);
            }
            line + "\n"
        }
        Command::Revoke { worker, attempt, .. } => format!("{worker} stops {}\n", name(*attempt)),
        Command::DropJob { worker, job, .. } => format!("{worker} drops {:x}\n", job.0.as_u128()),
        Command::Commit { job } => format!("commit {:x}\n", job.0.as_u128()),
        Command::Ended { job } => format!("ended {:x}\n", job.0.as_u128()),
        Command::Record(_) => String::new(),
    }
}

fn kind(command: &Command) -> &'static str {
    match command {
        Command::Assign { .. } => "assign",
        Command::Revoke { .. } => "revoke",
        Command::DropJob { .. } => "drop",
        Command::Commit { .. } => "commit",
        Command::Ended { .. } => "end",
        Command::Record(fact) => match fact {
            Fact::Accepted { .. } => "accepted",
            Fact::AttemptStarted { .. } => "attempt started",
            Fact::AttemptFailed { .. } => "attempt failed",
            Fact::AttemptReturned { .. } => "attempt returned",
            Fact::OutputAccepted { .. } => "output accepted",
            Fact::OutputLost { .. } => "output lost",
            Fact::StageDone { .. } => "stage done",
            Fact::CommitIntent { .. } => "commit intent",
            Fact::Committed { .. } => "committed",
            Fact::Ended { .. } => "ended",
        },
    }
}

fn name(TaskAttempt { task, attempt }: TaskAttempt) -> String {
    format!("{:x}/{}/{}#{}", task.job.0.as_u128(), task.stage, task.partition, attempt.n)
}

fn attempt(name: &str) -> TaskAttempt {
    let mut parts = name.split(['/', '#']);
    let job = JobId(Uuid::from_u128(u128::from_str_radix(parts.next().unwrap(), 16).unwrap()));
    let mut number = || parts.next().unwrap().parse().unwrap();
    let task = TaskId { job, stage: StageId(number()), partition: number() };
    TaskAttempt { task, attempt: Attempt { term: Term(1), n: number() } }
}

fn worker(id: &str) -> WorkerId {
    WorkerId(String::from(id))
}

fn failure(class: Class) -> Failure {
    Failure { class, code: Code::TaskFailed, message: String::from("broken"), fetch: None }
}

fn fetch_failure(map: &str, holder: &str) -> Failure {
    let fetch = Some(FetchFailure { map: attempt(map), worker: worker(holder) });
    Failure { fetch, code: Code::FetchFailed, ..failure(Class::Recompute) }
}

/// Stages by their partitions and what they read, each for a node of its own; what nobody reads is
/// a sink.
fn plan(stages: &[(u32, &[u32])]) -> Plan {
    let is_read = |id: u32| stages.iter().any(|(_, inputs)| inputs.contains(&id));
    let stage = |(id, (partitions, inputs)): (u32, &(u32, &[u32]))| Stage {
        id: StageId(id),
        steps: steps(&[id]),
        output: if is_read(id) {
            Output::Exchange(Distribution::Gather { ordered: false })
        } else {
            sink(id)
        },
        partitions: *partitions,
        splits: Vec::new(),
        inputs: inputs.iter().copied().map(StageId).collect(),
    };
    let node = |id: usize| Node {
        id: format!("n{id}"),
        op: Op::Limit { offset: 0, n: 0 },
        inputs: Vec::new(),
        schema: Arc::new(Schema::empty()),
        order: Order::None,
    };
    Plan {
        name: String::from("test"),
        parallelism: None,
        limits: crate::task::limits::Limits::default(),
        nodes: (0..stages.len()).map(node).collect(),
        stages: (0..).zip(stages).map(stage).collect(),
        rules: Vec::new(),
    }
}

/// One step of a node for each; the scheduler looks at nothing else of them.
fn steps(nodes: &[u32]) -> Vec<Step> {
    let step = |node: &u32| Step {
        node: NodeIndex(*node),
        schema: Arc::new(Schema::empty()),
        kind: StepKind::Limit { input: StepIndex(0), offset: 0, n: 0 },
    };
    nodes.iter().map(step).collect()
}

fn sink(node: u32) -> Output {
    let (id, schema) = (format!("n{node}"), Arc::new(Schema::empty()));
    Output::Sink(Sink { node: NodeIndex(node), id, schema, target: Target::Text, ordered: true })
}
