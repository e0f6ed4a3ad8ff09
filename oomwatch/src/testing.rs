//! Values for tests: records as the programs write them, a kill and its report, each with every field set. Tests change what
//! they need. Some of these values are committed below `fuzz/seeds` as seeds of the fuzz targets.

use std::{path::Path, sync::Arc};

use jiff::Timestamp;
use oomwatch_ebpf::record::{
    BACKEND_RAW_TRACEPOINT, Header, KIND_SIGNAL, KIND_VICTIM, Level, RELATION_REKILL, STACK_FRAMES,
    SignalRecord, Stack, Task, VICTIM_FIXED_LENGTH, VictimRecord,
};
use zerocopy::{FromZeros, IntoBytes};

use crate::model::{
    backend::Backend,
    cgroup::{Qos, Runtime},
    gap::{Gap, GapCgroup, GapPlace},
    kill::{
        Allocation, Attribution, Cgroup, Constraint, Kill, Limit, MainProcess, Scope, Source,
        Trigger, Victim,
    },
    limit_owner::{LimitOwner, LimitSource},
    report::{Container, ContainerKind, GapReport, Pod, Report},
    workload::Workload,
};

mod account;

pub(crate) use self::account::{account, explanation};

pub(crate) const POD: &str = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod8a4e6bd2_0f35_4c1b_9a77_2b1d5e6f7081.slice";
pub(crate) const POD_UID: &str = "8a4e6bd2-0f35-4c1b-9a77-2b1d5e6f7081";
pub(crate) const CONTAINER_ID: &str =
    "3f1c0e7ab2d94c5586a1f7e2d0b9c8a7f6e5d4c3b2a190817263544536271809";

/// The cgroup of the container of [`CONTAINER_ID`] in [`POD`].
pub(crate) fn container_path() -> String {
    format!("{POD}/cri-containerd-{CONTAINER_ID}.scope")
}

/// `PAGE_COUNTER_MAX` with pages of 4096 bytes.
pub(crate) const NO_LIMIT: u64 = i64::MAX.unsigned_abs() / 4096;

/// Builds the bytes of a [`VictimRecord`].
#[derive(Clone)]
pub(crate) struct RecordBuilder {
    record: VictimRecord,
    victim_names: Vec<u8>,
    trigger_names: Vec<u8>,
}

impl RecordBuilder {
    /// A kill in `/a/b`, triggered from `/c`, with a distinct value in every field.
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

    /// Changes fields of the fixed part.
    pub(crate) fn set(mut self, change: impl FnOnce(&mut VictimRecord)) -> Self {
        change(&mut self.record);
        self
    }

    /// Sets the path of the victim's cgroup.
    pub(crate) fn victim_path(self, path: &[u8]) -> Self {
        self.victim_names(&pack(path))
    }

    /// Sets the bytes of the victim's names.
    pub(crate) fn victim_names(mut self, names: &[u8]) -> Self {
        self.victim_names = names.to_vec();
        self
    }

    /// Sets the bytes of the trigger's names; empty if its memory cgroup is the victim's.
    pub(crate) fn trigger_names(mut self, names: &[u8]) -> Self {
        self.trigger_names = names.to_vec();
        self
    }

    /// Sets the victim's memory cgroup and its ancestors, innermost first.
    pub(crate) fn levels(mut self, levels: &[Level]) -> Self {
        self.record.levels[..levels.len()].copy_from_slice(levels);
        self.record.level_count = u32::try_from(levels.len()).expect("few levels");
        self
    }

    /// The record as the ring carries it: its length depends on the names.
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

/// The names of a path as the programs write them: leaf first, each with its NUL, the root's empty name last.
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

/// A re-kill with a distinct value in every field.
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
        backend: BACKEND_RAW_TRACEPOINT,
        total_sharers: 0,
        stack: stack(&[0xffff_ffff_8120_0150]),
    }
}

pub(crate) fn cgroup(path: impl AsRef<[u8]>, id: u64) -> Cgroup {
    Cgroup {
        path: path.as_ref().to_vec(),
        id: Some(id),
    }
}

/// A memory cgroup whose usage is half its limit.
pub(crate) fn limit(path: impl AsRef<[u8]>, id: u64, limit_bytes: Option<u64>) -> Limit {
    Limit {
        cgroup: cgroup(path, id),
        usage_bytes: limit_bytes.map(|bytes| bytes / 2),
        limit_bytes,
        swap_usage_bytes: Some(0),
        swap_limit_bytes: None,
    }
}

/// The kill of a container's main process at the container's limit of 40 MiB, with every fact known.
pub(crate) fn kill() -> Kill {
    let container = container_path();
    let full = Limit {
        usage_bytes: Some(40 << 20),
        swap_usage_bytes: Some(4096),
        swap_limit_bytes: Some(8192),
        ..limit(&container, 5005, Some(40 << 20))
    };
    Kill {
        boot_time_ns: Some(1_234_567_890_123),
        incident_boot_time_ns: Some(1_234_567_890_000),
        source: Source::Bpf,
        backend: Backend::RawTracepoint,
        attribution: Attribution::Kernel,
        scope: Scope::Memcg,
        constraint: Some(Constraint::Memcg),
        allocation: Some(Allocation {
            order: 3,
            gfp_mask: 0xcc0,
            total_pages: Some(10_240),
        }),
        group_kill: Some(true),
        log_key: None,
        group_cgroup: Some(cgroup(POD, 4004)),
        oom_level: Some(0),
        oom_group_level: None,
        limits: vec![full, limit(POD, 4004, None)],
        victim: Victim {
            pid: 14665,
            tid: 14666,
            ns_pid: Some(1),
            comm: Some(b"tail".to_vec()),
            uid: Some(1000),
            oom_score_adj: Some(-997),
            oom_points: None,
            total_vm_bytes: Some(64 << 20),
            anon_rss_bytes: Some(41_418_752),
            file_rss_bytes: Some(4096),
            shmem_rss_bytes: Some(0),
            swap_bytes: Some(1 << 30),
            pgtables_bytes: Some(126_976),
            start_boot_time_ns: Some(1_200_000_000_000),
            cgroup: Some(cgroup(&container, 5005)),
            leaf_cgroup: Some(cgroup(format!("{container}/leaf"), 6006)),
            is_namespace_init: Some(true),
        },
        trigger: Some(Trigger {
            pid: Some(14670),
            tid: Some(14671),
            comm: Some(b"writer".to_vec()),
            cgroup: Some(cgroup(&container, 5005)),
        }),
        limit_lowered: None,
        account: None,
        missing: vec!["uid"],
    }
}

/// A kill with no fact known but its time and process id.
pub(crate) fn minimal_kill() -> Kill {
    Kill {
        boot_time_ns: Some(1),
        incident_boot_time_ns: Some(1),
        source: Source::Bpf,
        backend: Backend::RawTracepoint,
        attribution: Attribution::Kernel,
        scope: Scope::Unknown,
        constraint: None,
        allocation: None,
        group_kill: None,
        log_key: None,
        group_cgroup: None,
        oom_level: None,
        oom_group_level: None,
        limits: vec![],
        victim: Victim {
            pid: 7,
            tid: 7,
            ns_pid: None,
            comm: None,
            uid: None,
            oom_score_adj: None,
            oom_points: None,
            total_vm_bytes: None,
            anon_rss_bytes: None,
            file_rss_bytes: None,
            shmem_rss_bytes: None,
            swap_bytes: None,
            pgtables_bytes: None,
            start_boot_time_ns: None,
            cgroup: None,
            leaf_cgroup: None,
            is_namespace_init: None,
        },
        trigger: None,
        limit_lowered: None,
        account: None,
        missing: vec!["cgroup", "limits"],
    }
}

/// The report of [`kill`], with its account, and all names.
pub(crate) fn report() -> Report {
    let mut report = bare_report();
    report.kill.account = Some(Arc::new(account()));
    report.explanation = Some(explanation());
    report
}

/// The report of [`kill`], with all names.
fn bare_report() -> Report {
    Report {
        kill: kill(),
        node: "node-1".to_owned(),
        id: "0f1e2d3c-1176592e000-14665".to_owned(),
        incident: "0f1e2d3c-11f71fb0450".to_owned(),
        time: Some(timestamp(1_790_000_000, 120_000_000)),
        start_time: Some(timestamp(1_789_999_965, 1)),
        limit_owner: Some(LimitOwner::Container),
        limit_source: Some(LimitSource::ContainerLimits),
        main_process: MainProcess::Yes,
        container: Some(Container {
            runtime: Some(Runtime::Containerd),
            id: CONTAINER_ID.to_owned(),
            user: None,
            name: Some("app".to_owned()),
            kind: Some(ContainerKind::Main),
            image: Some("registry.example/cart:1.4".to_owned()),
        }),
        pod: Some(Pod {
            namespace: Some("shop".to_owned()),
            name: Some("cart-0".to_owned()),
            uid: POD_UID.to_owned(),
            qos: Qos::Burstable,
            events_off: false,
            workload: Some(Workload {
                kind: "StatefulSet".to_owned(),
                name: "cart".to_owned(),
            }),
        }),
        unit: Some("kubelet.service".to_owned()),
        sandbox: false,
        cmdline: Some(vec![b"tail".to_vec(), b"/dev/zero".to_vec()]),
        explanation: None,
    }
}

/// The report of [`minimal_kill`], without any name.
pub(crate) fn minimal_report() -> Report {
    Report {
        kill: minimal_kill(),
        node: "node-1".to_owned(),
        id: "0f1e2d3c-1-7".to_owned(),
        incident: "0f1e2d3c-1".to_owned(),
        time: Some(timestamp(1_790_000_000, 0)),
        start_time: None,
        limit_owner: None,
        limit_source: None,
        main_process: MainProcess::Unknown,
        container: None,
        pod: None,
        unit: None,
        sandbox: false,
        cmdline: None,
        explanation: None,
    }
}

/// Checks that the committed seed of a fuzz target is these bytes. `INSTA_UPDATE=always` rewrites the seed.
pub(crate) fn check_seed(target: &str, name: &str, bytes: &[u8]) {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(seeds.join(target));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let name = format!("{name}.bin");
    settings.bind(|| insta::assert_binary_snapshot!(&name, bytes.to_vec()));
}

/// A gap of three kills that were only counted: two in one cgroup, one below another.
pub(crate) fn gap_report() -> GapReport {
    let cgroup = |path: &str, kills, place| GapCgroup {
        path: path.as_bytes().to_vec(),
        kills,
        place,
    };
    GapReport {
        gap: Gap {
            kills: 3,
            kernel_count: 45,
            since_boot_time_ns: 1_233_567_890_000,
            boot_time_ns: 1_234_567_890_000,
            cgroups: vec![
                cgroup(POD, 1, GapPlace::Descendants),
                cgroup("/system.slice/nginx.service", 2, GapPlace::Own),
            ],
        },
        node: "node-1".to_owned(),
        id: "0f1e2d3c-audit-45-3".to_owned(),
        time: timestamp(1_790_000_000, 0),
        since: timestamp(1_789_999_999, 0),
    }
}

pub(crate) fn timestamp(second: i64, nanosecond: i32) -> Timestamp {
    Timestamp::new(second, nanosecond).expect("a time of our calendar")
}

/// Names that a process may give itself or its cgroup, and that other programs have misread.
pub(crate) const HOSTILE: [&[u8]; 12] = [
    b"a\nb",
    b"\r\x08\x7f",
    b"\x1b[31mred\x1b]0;t\x07",
    b"%s%n{}${x}",
    b") ,pid=1,uid=0",
    b"\"},{\"pid\":1",
    b"a\\x2db\\\\",
    b"\xff\xfe\xc3",
    b"ok\xed\xa0\x80",
    "\u{9b}2J".as_bytes(),
    "\u{202e}txt\u{200b}\u{2028}".as_bytes(),
    "\u{fffd}".as_bytes(),
];
