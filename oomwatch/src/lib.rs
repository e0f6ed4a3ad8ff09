//! oomwatch: every OOM kill, once, with the right owner and the right limit.
//!
//! A pipeline: facts are recorded in the kernel, meaning is added here, and each stage knows only the stages below it.
//!
//! ```text
//! capture --Kill--> audit, identify --Report--> store --> deliver
//! ```
//!
//! `docs/architecture.md` walks one kill through it. The test `tidy` holds which folder may import which.

pub mod audit;
pub mod capture;
pub mod cli;
pub mod commands;
pub mod deliver;
pub mod identify;
pub mod model;
pub mod store;
pub mod sys;
#[cfg(test)]
mod testing;
