//! What capture needs to know: which backend, and where the kernel's files are.

use std::path::PathBuf;

use crate::model::backend::Backend;

/// Configuration of capture.
#[derive(Clone, Debug)]
pub struct CaptureConfig {
    /// The backend to use; absent for the best that works.
    pub backend: Option<Backend>,
    /// The running kernel's types in BTF, usually `/sys/kernel/btf/vmlinux`.
    pub btf: PathBuf,
    /// The host's `/proc`.
    pub proc_root: PathBuf,
    /// The host's cgroup file system, usually `/sys/fs/cgroup`.
    pub cgroup_root: PathBuf,
    /// The kernel log, usually `/dev/kmsg`.
    pub kmsg: PathBuf,
}
