//! Where the doctor reads: file system roots, which tests replace.

use std::path::Path;

/// Roots of the host's file systems.
#[derive(Clone, Copy, Debug)]
pub(super) struct Roots<'a> {
    /// `/proc`.
    pub(super) proc: &'a Path,
    /// The cgroup file system.
    pub(super) cgroup: &'a Path,
    /// The kernel's BTF.
    pub(super) btf: &'a Path,
    /// The BPF file system, where an agent pins.
    pub(super) bpffs: &'a Path,
    /// The parent of `/sys`, `/dev` and `/run`.
    pub(super) system: &'a Path,
}
