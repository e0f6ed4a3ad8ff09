//! Finds out what the kernel's BPF supports, by creating one of it, and which switches keep its hooks from firing.

use std::{fmt, fs, io, path::Path};

use aya::{
    maps::MapType,
    sys::{SyscallError, is_map_supported},
};

use super::memory::raise_memlock;
use crate::model::backend::Backend;

/// The switch of kprobes, in debugfs.
pub const KPROBES_ENABLED: &str = "/sys/kernel/debug/kprobes/enabled";

/// A switch of the kernel that is off. Hooks attach all the same, and never fire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// `kernel.ftrace_enabled`: trampolines and kprobes at the entry of a function are calls of ftrace.
    Ftrace,
    /// `kprobes/enabled` in debugfs.
    Kprobes,
}

impl fmt::Display for Switch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ftrace => {
                formatter.write_str("kernel.ftrace_enabled is 0 (sysctl kernel.ftrace_enabled=1)")
            }
            Self::Kprobes => {
                write!(
                    formatter,
                    "{KPROBES_ENABLED} is 0 (echo 1 > {KPROBES_ENABLED})"
                )
            }
        }
    }
}

/// The switch that is off and that the hooks of a backend need. A switch that cannot be read counts as on: debugfs is often not
/// mounted.
#[must_use]
pub fn switched_off(backend: Backend, proc_root: &Path, kprobes_enabled: &Path) -> Option<Switch> {
    let is_off = |path: &Path| fs::read_to_string(path).is_ok_and(|text| text.trim() == "0");
    if backend.is_function() && is_off(&proc_root.join("sys/kernel/ftrace_enabled")) {
        return Some(Switch::Ftrace);
    }
    (backend == Backend::Kprobe && is_off(kprobes_enabled)).then_some(Switch::Kprobes)
}

/// Whether the kernel has BPF ring buffers (5.8 and later). `ENOSYS` if it has no `bpf(2)` at all, `EPERM` if this process
/// may not create maps.
pub fn has_ring_buffers() -> io::Result<bool> {
    raise_memlock();
    is_map_supported(MapType::RingBuf).map_err(|SyscallError { call: _, io_error }| io_error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switches_that_are_off_are_those_that_the_backend_needs() {
        let root = tempfile::tempdir().expect("make a folder");
        let kprobes = root.path().join("enabled");
        let ftrace = root.path().join("sys/kernel/ftrace_enabled");
        fs::create_dir_all(root.path().join("sys/kernel")).expect("make a folder");
        let off = |backend| switched_off(backend, root.path(), &kprobes);
        let (fentry, kprobe) = (Backend::Fentry, Backend::Kprobe);
        assert_eq!((off(fentry), off(kprobe)), (None, None));
        fs::write(&kprobes, "0\n").expect("write a switch");
        assert_eq!((off(fentry), off(kprobe)), (None, Some(Switch::Kprobes)));
        fs::write(&ftrace, "1\n").expect("write a switch");
        assert_eq!((off(fentry), off(kprobe)), (None, Some(Switch::Kprobes)));
        fs::write(&ftrace, "0\n").expect("write a switch");
        let ftrace = Some(Switch::Ftrace);
        assert_eq!((off(fentry), off(kprobe)), (ftrace, ftrace));
        assert_eq!(off(Backend::RawTracepoint), None);
    }
}
