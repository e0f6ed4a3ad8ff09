//! Where kills come from: BPF programs, the kernel log, the kernel's counts. [`observer`] picks the backend.

pub mod after;
pub mod bpf;
pub mod config;
pub mod counters;
pub mod decode;
pub mod incident;
pub mod kmsg;
pub mod observer;
pub(crate) mod percpu_counter;
pub mod ring;
