//! Where reports go: one file an output.

pub mod json;
pub mod line;
pub mod metrics;
pub mod printer;
