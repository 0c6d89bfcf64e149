//! Fetches between workers as series: workers count them, the master adds them up.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use minispark_flight::traffic::{FETCH_SECS, Fetched};
use prometheus::{
    core::{Collector, Desc},
    proto::{Bucket, Histogram, Metric, MetricFamily, MetricType},
};

const NAME: &str = "minispark_shuffle_fetch_seconds";
const HELP: &str = "How long fetches of outputs from other workers took.";

/// The histogram of all workers' fetches.
#[derive(Clone)]
pub(crate) struct FetchSeconds {
    sum: Arc<Mutex<Fetched>>,
    desc: Desc,
}

impl FetchSeconds {
    /// One without fetches.
    ///
    /// # Errors
    /// Where its name were no good one.
    pub(crate) fn new() -> prometheus::Result<Self> {
        let desc = Desc::new(NAME.to_owned(), HELP.to_owned(), Vec::new(), HashMap::new())?;
        Ok(Self { sum: Arc::default(), desc })
    }

    /// Adds what a process has fetched since it last said so.
    pub(crate) fn add(&self, more: &Fetched) {
        self.sum.lock().unwrap_or_else(PoisonError::into_inner).add(more);
    }
}

impl Collector for FetchSeconds {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let sum = *self.sum.lock().unwrap_or_else(PoisonError::into_inner);
        let mut reached = 0;
        let mut buckets = Vec::new();
        for (bound, count) in FETCH_SECS.iter().zip(sum.counts) {
            reached += count;
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(*bound);
            bucket.set_cumulative_count(reached);
            buckets.push(bucket);
        }
        let mut histogram = Histogram::default();
        histogram.set_sample_count(sum.counts.iter().sum());
        histogram.set_sample_sum(sum.seconds);
        histogram.set_bucket(buckets);
        let mut metric = Metric::from_label(Vec::new());
        metric.set_histogram(histogram);
        let mut family = MetricFamily::default();
        family.set_name(NAME.to_owned());
        family.set_help(HELP.to_owned());
        family.set_field_type(MetricType::HISTOGRAM);
        family.set_metric(vec![metric]);
        vec![family]
    }
}
