//! Outputs: one folder or file each.

pub mod color;
pub mod events;
pub mod explain;
pub mod http;
pub mod json;
pub mod metrics;
pub mod printer;
pub mod text;
