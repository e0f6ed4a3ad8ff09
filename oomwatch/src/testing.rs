//! For tests: records as the programs write them, to be changed as a test needs.

use oomwatch_ebpf::record::{
    Header, KIND_SIGNAL, KIND_VICTIM, Level, RELATION_REKILL, STACK_FRAMES, SignalRecord, Stack,
    Task, VICTIM_FIXED_LENGTH, VictimRecord,
};
use zerocopy::{FromZeros, IntoBytes};

use crate::kill::{Cgroup, Limit};

/// `PAGE_COUNTER_MAX` with pages of 4096 bytes.
pub(crate) const NO_LIMIT: u64 = i64::MAX.unsigned_abs() / 4096;

/// A [`VictimRecord`] on its way to bytes.
#[derive(Clone)]
pub(crate) struct RecordBuilder {
    record: VictimRecord,
    victim_names: Vec<u8>,
    trigger_names: Vec<u8>,
}

impl RecordBuilder {
    /// A kill in `/a/b`, triggered from `/c`, with every field set to a value of its own.
    pub(crate) fn new() -> Self {
        let mut record = VictimRecord::new_zeroed();
        record.header.kind = KIND_VICTIM;
        record.header.boot_time_ns = 9_000_000_001;
        record.victim = task(4242, 4243, b"tail\0-residue", 20);
        record.trigger = task(777, 778, b"trigger-thread", 30);
        record.start_time_ns = 8_000_000_002;
        record.total_vm_pages = 1000;
        record.anon_rss_pages = 101;
        record.file_rss_pages = 102;
        record.shmem_rss_pages = 103;
        record.swap_pages = 104;
        record.pgtables_bytes = 105;
        record.cgroup_id = 20;
        record.ns_init_memcg_id = 20;
        record.parent_ns_init_memcg_id = 1;
        record.ns_pid = 1;
        record.ns_level = 1;
        record.uid = 65534;
        record.oom_score_adj = -997;
        record.signal = 1;
        record.stack = stack(&[0xffff_ffff_8120_0150, 0xffff_ffff_8120_0250]);
        Self {
            record,
            victim_names: pack(b"/a/b"),
            trigger_names: pack(b"/c"),
        }
        .levels(&[level(20, 256, 256), level(10, 300, NO_LIMIT)])
    }

    /// Changes the fixed part.
    pub(crate) fn set(mut self, change: impl FnOnce(&mut VictimRecord)) -> Self {
        change(&mut self.record);
        self
    }

    /// The path that the victim's names make.
    pub(crate) fn victim_path(self, path: &[u8]) -> Self {
        self.victim_names(&pack(path))
    }

    /// The bytes that the walk from the victim's cgroup left.
    pub(crate) fn victim_names(mut self, names: &[u8]) -> Self {
        self.victim_names = names.to_vec();
        self
    }

    /// The bytes that the walk from the trigger's cgroup left; none where it is the victim's.
    pub(crate) fn trigger_names(mut self, names: &[u8]) -> Self {
        self.trigger_names = names.to_vec();
        self
    }

    /// The victim's memory cgroup and its ancestors.
    pub(crate) fn levels(mut self, levels: &[Level]) -> Self {
        self.record.levels[..levels.len()].copy_from_slice(levels);
        self.record.level_count = u32::try_from(levels.len()).expect("few levels");
        self
    }

    /// What goes through the ring: as long as the names make it.
    pub(crate) fn bytes(mut self) -> Vec<u8> {
        let (victim, trigger) = (self.victim_names.len(), self.trigger_names.len());
        let length = VICTIM_FIXED_LENGTH + victim + trigger;
        self.record.names[..victim].copy_from_slice(&self.victim_names);
        self.record.names[victim..victim + trigger].copy_from_slice(&self.trigger_names);
        self.record.victim_names_length = u32::try_from(victim).expect("short names");
        self.record.names_length = u32::try_from(victim + trigger).expect("short names");
        self.record.header.length = u32::try_from(length).expect("short record");
        self.record.as_bytes()[..length].to_vec()
    }
}

/// A path's names as the programs pack them: leaf first, each with its NUL, the root's empty one last.
pub(crate) fn pack(path: &[u8]) -> Vec<u8> {
    let names = path.split(|&byte| byte == b'/').rev();
    let mut packed: Vec<u8> = names
        .filter(|name| !name.is_empty())
        .flat_map(|name| name.iter().copied().chain([0]))
        .collect();
    packed.push(0);
    packed
}

pub(crate) fn task(process: u32, thread: u32, name: &[u8], memcg_id: u64) -> Task {
    let mut comm = [0; 16];
    comm[..name.len()].copy_from_slice(name);
    Task {
        tgid: process,
        tid: thread,
        comm,
        memcg_id,
    }
}

pub(crate) fn level(id: u64, usage_pages: u64, limit_pages: u64) -> Level {
    Level {
        id,
        usage_pages,
        limit_pages,
        swap_usage_pages: 0,
        swap_limit_pages: NO_LIMIT,
        flags: 0,
    }
}

pub(crate) fn stack(addresses: &[u64]) -> Stack {
    let mut frames = [0; STACK_FRAMES];
    frames[..addresses.len()].copy_from_slice(addresses);
    Stack {
        length: i64::try_from(size_of_val(addresses)).expect("few frames"),
        frames,
    }
}

/// A re-kill with every field set to a value of its own.
pub(crate) fn signal_record() -> SignalRecord {
    SignalRecord {
        header: Header {
            kind: KIND_SIGNAL,
            length: u32::try_from(size_of::<SignalRecord>()).expect("short record"),
            boot_time_ns: 9_000_000_003,
        },
        target: task(4242, 4244, b"tail", 20),
        sender: task(777, 778, b"trigger-thread", 30),
        start_time_ns: 8_000_000_002,
        victim_tgid: 4241,
        relation: RELATION_REKILL,
        sender_exiting: 0,
        stack: stack(&[0xffff_ffff_8120_0150]),
    }
}

pub(crate) fn cgroup(path: impl AsRef<[u8]>, id: u64) -> Cgroup {
    Cgroup {
        path: path.as_ref().to_vec(),
        id: Some(id),
    }
}

/// A memory cgroup that is half full.
pub(crate) fn limit(path: impl AsRef<[u8]>, id: u64, limit_bytes: Option<u64>) -> Limit {
    Limit {
        cgroup: cgroup(path, id),
        usage_bytes: limit_bytes.map(|bytes| bytes / 2),
        limit_bytes,
        swap_usage_bytes: Some(0),
        swap_limit_bytes: None,
    }
}
