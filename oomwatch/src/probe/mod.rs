//! Everything between the agent and the kernel: what this kernel's structures look like, and the programs that read them.

pub mod btf;
pub mod offsets;
