//! Definitions that kernel side and user side share: the records in the ring buffer, and the globals that the loader sets.
//!
//! The BPF programs are the binary of this package, built for the BPF target only (`cargo xtask ebpf`).
#![no_std]

pub mod account;
pub mod record;
