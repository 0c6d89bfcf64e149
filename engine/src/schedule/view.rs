//! What users may see of a job, from counts that are kept anyway.

use std::sync::Arc;

use crate::{
    plan::NodeIndex,
    schedule::{
        JobStatus, JobView, NodeStatus, Settings,
        job::{Job, Phase},
        stage::StageState,
        worker::Workers,
    },
};

impl Job {
    /// The job as users may see it.
    pub(super) fn view(&self, workers: &Workers, settings: &Settings) -> JobView {
        let end = self.end_state();
        JobView {
            job: self.id,
            plan: Arc::clone(&self.plan),
            status: self.status(),
            progress_percent: self.progress_percent(),
            nodes: (0..)
                .map(NodeIndex)
                .take(self.rows.len())
                .map(|n| self.node_status(n))
                .collect(),
            rows: self.rows.clone(),
            failure_count: self.failure_count,
            waiting_for: self.waiting_for(workers, settings),
            error: end.and_then(|end| end.error.clone()),
            submitted: self.submitted,
            earlier: self.earlier,
            ended: end.map(|end| end.at),
            tasks_done: self.done,
            tasks_running: self.running,
            tasks: self.tasks,
            shuffled_bytes: self.shuffled_bytes,
            spilled_bytes: self.spilled_bytes,
        }
    }

    fn status(&self) -> JobStatus {
        match self.end_state() {
            Some(end) => end.status,
            None if self.has_started => JobStatus::Running,
            None => JobStatus::Accepted,
        }
    }

    /// Tasks, and the commit as one more step: so all tasks done is still less than 100.
    fn progress_percent(&self) -> f64 {
        if self.status() == JobStatus::Completed {
            return 100.0;
        }
        100.0 * f64::from(self.most_done) / (f64::from(self.tasks) + 1.0)
    }

    fn node_status(&self, node: NodeIndex) -> NodeStatus {
        let mut stages = self.stages.iter().filter(|stage| stage.nodes.contains(&node)).peekable();
        let has_no_stage = stages.peek().is_none();
        let is_done = stages.clone().all(StageState::is_done);
        let end = self.end_state();
        match end.map(|end| end.status) {
            Some(JobStatus::Completed) => NodeStatus::Completed,
            _ if is_done && !has_no_stage => NodeStatus::Completed,
            Some(_) if self.is_blamed(node) => NodeStatus::Failed,
            Some(_) => NodeStatus::Cancelled,
            None if stages.any(StageState::has_started) => NodeStatus::Running,
            None => NodeStatus::Pending,
        }
    }

    fn is_blamed(&self, node: NodeIndex) -> bool {
        let error = self.end_state().and_then(|end| end.error.as_ref());
        let id = self.plan.nodes.get(node.index()).map(|node| &node.id);
        error.zip(id).is_some_and(|(error, id)| error.nodes.contains(id))
    }

    /// Why nothing of the job runs, where nothing does.
    fn waiting_for(&self, workers: &Workers, settings: &Settings) -> Option<String> {
        match self.phase {
            Phase::Ended(_) | Phase::Committing => None,
            Phase::CommitDelayed => Some(String::from("the next try of putting results in place")),
            Phase::Running if workers.none_since().is_some() => Some(format!(
                "workers: none is connected (the job fails after {} s without one)",
                settings.no_worker_wait.as_secs()
            )),
            Phase::Running if self.running > 0 => None,
            Phase::Running if self.has_offers() => Some(String::from("a free slot")),
            Phase::Running => Some(String::from("the next try of a failed task")),
        }
    }
}
