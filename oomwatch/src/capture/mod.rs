pub mod bpf;
pub mod counters;
pub mod decode;
pub mod incident;
pub mod kmsg;
pub mod observer;
pub mod proc_victim;
pub mod ring;
