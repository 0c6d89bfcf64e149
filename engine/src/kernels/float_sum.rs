//! float_sum
