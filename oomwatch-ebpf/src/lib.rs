//! What both sides of the ring buffer compile: the records that the programs write, and the globals that the loader sets.
//!
//! The programs themselves are this package's binary, built for the BPF target only (`cargo xtask ebpf`).
#![no_std]

pub mod record;
