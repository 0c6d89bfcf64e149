//! [`Source`]: a split pulled through a format, as an operator.

pub mod split;
