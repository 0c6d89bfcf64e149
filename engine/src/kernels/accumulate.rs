//! Accumulators: the columnar states of aggregates, one entry a group.
