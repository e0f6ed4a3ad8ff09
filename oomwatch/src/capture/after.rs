//! Reads what the account of a kill lacks right after it, from the files of the cgroup that ran out or from `/proc/meminfo`: where the
//! memory is, where neither the kernel's structures nor its log had it; how often the limit was reached; and for how long tasks
//! were stalled.
//!
//! What the victim held is on its way out by then: the memory is what outlives it, such as a tmpfs.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    capture::kmsg::assemble::parts_of_statistics,
    model::{
        account::{AccountSource, Before, Memory, MemoryOf, MemoryParts},
        kill::{Kill, Scope},
    },
    sys::cgroup_fs::{MemoryHierarchy, PEAK, USAGE},
};

/// Where the files are.
#[derive(Debug)]
pub struct AfterKill {
    proc_root: PathBuf,
    hierarchy: Option<MemoryHierarchy>,
    /// What was read last, for the other victims of that incident.
    last: Option<Reading>,
}

#[derive(Clone, Copy, Debug)]
struct Reading {
    incident_boot_time_ns: u64,
    memory: Option<Memory>,
    before: Before,
}

impl AfterKill {
    /// `proc_root` and `cgroup_root` are the host's.
    #[must_use]
    pub fn new(proc_root: &Path, cgroup_root: &Path) -> Self {
        Self {
            proc_root: proc_root.to_owned(),
            hierarchy: MemoryHierarchy::find(cgroup_root),
            last: None,
        }
    }

    /// Completes the account of a kill that happened a moment ago. What cannot be read stays absent. The victims of an incident have
    /// one account, so it is read once.
    pub fn complete(&mut self, kill: &mut Kill) {
        let incident = kill.incident_boot_time_ns;
        let known = self
            .last
            .filter(|last| Some(last.incident_boot_time_ns) == incident);
        let Reading { memory, before, .. } = known.unwrap_or_else(|| self.read(kill));
        self.last = incident.map(|incident_boot_time_ns| Reading {
            incident_boot_time_ns,
            memory,
            before,
        });
        if memory.is_none() && before == Before::default() {
            return;
        }
        let account = Arc::make_mut(kill.account.get_or_insert_default());
        account.memory = account.memory.or(memory);
        let known = account.before.get_or_insert_default();
        known.limit_hits = known.limit_hits.or(before.limit_hits);
        known.stall_us = known.stall_us.or(before.stall_us);
    }

    fn read(&self, kill: &Kill) -> Reading {
        let account = kill.account.as_ref();
        let has_memory = account.is_some_and(|account| account.memory.is_some());
        let (memory, before) = match kill.scope {
            Scope::Memcg if has_memory => (None, self.before(kill)),
            Scope::Memcg => (self.of_cgroup(kill), self.before(kill)),
            Scope::System if !has_memory => (self.of_node(), None),
            Scope::System | Scope::Unknown => (None, None),
        };
        Reading {
            incident_boot_time_ns: 0,
            memory,
            before: before.unwrap_or_default(),
        }
    }

    /// Counters of the cgroup that ran out; cgroup v2 only.
    fn before(&self, kill: &Kill) -> Option<Before> {
        let path = &kill.limits.get(kill.oom_level?)?.cgroup.path;
        let hierarchy = self.hierarchy.as_ref()?;
        let read = |name| fs::read_to_string(hierarchy.folder(path).join(name)).ok();
        let word = |text: Option<String>, line: &str, name: &str| {
            let text = text?;
            let mut lines = text.lines().map(str::split_ascii_whitespace);
            let mut words = lines.find_map(|mut words| (words.next()? == line).then_some(words))?;
            words.find_map(|word| word.strip_prefix(name)?.parse().ok())
        };
        Some(Before {
            limit_hits: word(read("memory.events"), "max", ""),
            stall_us: word(read("memory.pressure"), "full", "total="),
        })
    }

    fn of_cgroup(&self, kill: &Kill) -> Option<Memory> {
        let ran_out = kill.limits.get(kill.oom_level?)?;
        let path = &ran_out.cgroup.path;
        let hierarchy = self.hierarchy.as_ref()?;
        let stat = fs::read(hierarchy.folder(path).join("memory.stat")).ok()?;
        let parts = parts_of_statistics(&stat);
        (parts != MemoryParts::default()).then(|| Memory {
            of: MemoryOf::Cgroup,
            source: AccountSource::After,
            unflushed: false,
            usage_bytes: hierarchy.number(path, USAGE),
            limit_bytes: ran_out.limit_bytes,
            peak_bytes: hierarchy.number(path, PEAK),
            swap_bytes: None,
            parts,
        })
    }

    fn of_node(&self) -> Option<Memory> {
        let text = fs::read(self.proc_root.join("meminfo")).ok()?;
        of_meminfo(&text)
    }
}

/// The node's memory, as `/proc/meminfo` has it; absent without the total.
fn of_meminfo(text: &[u8]) -> Option<Memory> {
    let text = str::from_utf8(text).ok()?;
    let bytes = |wanted: &str| {
        let mut lines = text.lines();
        lines.find_map(|line| {
            let kilobytes = line.strip_prefix(wanted)?.strip_prefix(':')?;
            let kilobytes: u64 = kilobytes.trim().strip_suffix(" kB")?.parse().ok()?;
            kilobytes.checked_mul(1024)
        })
    };
    let total = bytes("MemTotal")?;
    let shmem_bytes = bytes("Shmem");
    let cached = bytes("Cached").zip(bytes("Buffers"));
    Some(Memory {
        of: MemoryOf::Node,
        source: AccountSource::After,
        unflushed: false,
        usage_bytes: bytes("MemFree").map(|free| total.saturating_sub(free)),
        limit_bytes: Some(total),
        peak_bytes: None,
        swap_bytes: bytes("SwapTotal")
            .zip(bytes("SwapFree"))
            .map(|(total, free)| total.saturating_sub(free)),
        parts: MemoryParts {
            anon_bytes: bytes("AnonPages"),
            shmem_bytes,
            // `Cached` contains shmem.
            file_bytes: cached.zip(shmem_bytes).map(|((cached, buffers), shmem)| {
                cached.saturating_add(buffers).saturating_sub(shmem)
            }),
            slab_reclaimable_bytes: bytes("SReclaimable"),
            slab_unreclaimable_bytes: bytes("SUnreclaim"),
            kernel_stack_bytes: bytes("KernelStack"),
            pagetables_bytes: bytes("PageTables"),
            percpu_bytes: bytes("Percpu"),
            vmalloc_bytes: bytes("VmallocUsed"),
            hugetlb_bytes: bytes("Hugetlb"),
            zswap_bytes: bytes("Zswap"),
            ..MemoryParts::default()
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn root() -> (tempfile::TempDir, AfterKill) {
        let root = tempfile::tempdir().expect("make a folder");
        let cgroup = root.path().join("cgroup/a");
        fs::create_dir_all(&cgroup).expect("make folders");
        fs::write(
            root.path().join("cgroup/cgroup.controllers"),
            "cpu memory\n",
        )
        .expect("write");
        let stat = "anon 4096\nfile 12288\nshmem 8192\nslab_unreclaimable 100\n";
        fs::write(cgroup.join("memory.stat"), stat).expect("write");
        fs::write(cgroup.join("memory.current"), "24576\n").expect("write");
        let events = "low 0\nhigh 3\nmax 41\noom 2\noom_kill 1\n";
        fs::write(cgroup.join("memory.events"), events).expect("write");
        let pressure = "some avg10=0.00 avg60=0.00 avg300=0.00 total=9000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7000\n";
        fs::write(cgroup.join("memory.pressure"), pressure).expect("write");
        let meminfo = "MemTotal:  1000 kB\nMemFree:  100 kB\nBuffers: 1 kB\nCached: 50 kB\nShmem:  20 kB\nHugePages_Total:  0\n";
        fs::write(root.path().join("meminfo"), meminfo).expect("write");
        let after = AfterKill::new(root.path(), &root.path().join("cgroup"));
        (root, after)
    }

    fn kill() -> Kill {
        let mut kill = testing::kill();
        kill.limits[0].cgroup.path = b"/a".to_vec();
        kill
    }

    fn memory(kill: &Kill) -> Option<Memory> {
        kill.account.as_ref()?.memory
    }

    #[test]
    fn memory_of_the_cgroup_is_read_after_the_kill() {
        let (_root, mut after) = root();
        let mut kill = kill();
        after.complete(&mut kill);
        let memory = memory(&kill).expect("memory");
        assert_eq!(memory.source, AccountSource::After);
        assert_eq!(memory.usage_bytes, Some(24576));
        assert_eq!(memory.parts.shmem_bytes, Some(8192));
        assert_eq!(memory.parts.file_bytes, Some(4096));
        let before = Before {
            limit_hits: Some(41),
            stall_us: Some(7000),
        };
        let account = kill.account.expect("an account");
        assert_eq!(account.before, Some(before));
    }

    #[test]
    fn what_the_programs_have_read_is_kept() {
        let (_root, mut after) = root();
        let mut kill = kill();
        let mut account = testing::account();
        account.before = Some(Before {
            limit_hits: Some(5),
            stall_us: None,
        });
        let memory = account.memory;
        kill.account = Some(Arc::new(account));
        after.complete(&mut kill);
        let account = kill.account.expect("an account");
        assert_eq!(account.memory, memory);
        let before = Before {
            limit_hits: Some(5),
            stall_us: Some(7000),
        };
        assert_eq!(account.before, Some(before));
    }

    #[test]
    fn memory_of_the_node_is_read_after_a_system_oom() {
        let (_root, mut after) = root();
        let mut kill = kill();
        kill.scope = Scope::System;
        after.complete(&mut kill);
        let memory = memory(&kill).expect("memory");
        assert_eq!(
            (memory.of, memory.limit_bytes),
            (MemoryOf::Node, Some(1000 << 10))
        );
        assert_eq!(memory.usage_bytes, Some(900 << 10));
        assert_eq!(memory.parts.file_bytes, Some(31 << 10));
    }

    #[test]
    fn victims_of_an_incident_have_what_was_read_once() {
        let (root, mut after) = root();
        let mut first = kill();
        after.complete(&mut first);
        fs::write(root.path().join("cgroup/a/memory.current"), "0\n").expect("write");
        let mut second = kill();
        after.complete(&mut second);
        assert_eq!(memory(&second), memory(&first));
        let mut later = kill();
        later.incident_boot_time_ns = Some(7);
        after.complete(&mut later);
        assert_ne!(memory(&later), memory(&first));
    }

    #[test]
    fn what_is_gone_is_absent() {
        let (_root, mut after) = root();
        let mut gone = testing::kill();
        gone.incident_boot_time_ns = Some(1);
        after.complete(&mut gone);
        assert_eq!(gone.account, None);
        let mut unknown = kill();
        unknown.incident_boot_time_ns = Some(2);
        unknown.scope = Scope::Unknown;
        after.complete(&mut unknown);
        assert_eq!(unknown.account, None);
    }
}
