//! Where reports go: one file an output.

pub mod events;
pub mod json;
pub mod metrics;
pub mod printer;
pub mod text;

pub mod color;
pub mod http;
