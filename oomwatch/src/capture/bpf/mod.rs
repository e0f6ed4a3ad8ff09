//! Loads and attaches the BPF programs, and opens the ring that they write.

mod attach;
pub mod btf;
mod error;
pub mod features;
mod memory;
pub mod offsets;
pub mod pins;
#[cfg(feature = "bpf-log")]
mod program_log;
pub mod symbols;

use std::{
    borrow::Cow,
    fs::{self, File},
    io::{self, BufReader},
    path::Path,
    thread,
};

use aya::{
    Btf, Ebpf, EbpfError, EbpfLoader,
    maps::{Map, MapError, PerCpuArray},
    util::online_cpus,
};
use oomwatch_ebpf::{
    account::KIND_ACCOUNT,
    record::{ABSENT, MachineFacts},
};
use rustix::{
    param::page_size,
    process::{Resource, Rlimit, getrlimit, setrlimit},
    thread::{CapabilitySet, capabilities},
};
use tracing::debug;
use zerocopy::IntoBytes as _;

pub use self::{
    attach::{Hook, Program, programs},
    error::{ProbeError, describe, kernel_answer},
};
use self::{
    attach::{Link, account_programs},
    error::{absent, not_permitted},
    memory::{raise_memlock, release_unused_memory},
    offsets::KernelTypes,
};
use crate::{
    capture::{
        decode::statistics::StatisticsLayout,
        percpu_counter,
        ring::{Ring, number::Number},
    },
    model::backend::Backend,
    sys::privileges,
};

/// The compiled programs, built by `cargo xtask ebpf`; `cargo xtask ebpf --check` compares them with the source.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../../bpf/oomwatch.bpf.o");

/// Default size of the ring in bytes. Holds 300 to 800 unread kills of 1.2 to 3.5 KiB each, mostly limits and paths.
pub const RING_BYTES: u32 = 1 << 20;

/// Attached programs. Dropping them detaches those that are not pinned.
#[derive(Debug)]
pub struct Probe {
    ebpf: Ebpf,
    functions: Btf,
    attached: Vec<Attached>,
    /// Wakes the raw-tracepoint programs; absent if they are not attached, or awake anyway.
    dormant: Option<Number>,
    statistics: StatisticsLayout,
}

/// An attached program.
#[derive(Debug)]
struct Attached {
    program: Program,
    link: Link,
}

impl Probe {
    /// Loads the object for a backend; nothing is attached yet. `ring_bytes` is a power of two and a multiple of the page size.
    pub fn load(
        backend: Backend,
        kernel: &KernelTypes,
        ring_bytes: u32,
    ) -> Result<Self, ProbeError> {
        Self::load_object(backend, kernel, ring_bytes, OBJECT)
    }

    fn load_object(
        backend: Backend,
        kernel: &KernelTypes,
        ring_bytes: u32,
        object: &[u8],
    ) -> Result<Self, ProbeError> {
        require_capabilities("load BPF programs")?;
        if let Some(what) = attach::missing(backend, kernel) {
            return Err(ProbeError::Lacks(what));
        }
        let offsets = kernel.offsets;
        let constant = attach::constant(backend);
        for (name, offset) in offsets.iter().filter(|&(_, offset)| offset == ABSENT) {
            debug!(name, offset, "this kernel has no such member");
        }
        let machine = machine_facts(kernel);
        raise_memlock();
        let ebpf = loader()
            .override_global("OFFSETS", offsets.as_bytes(), true)
            .override_global("BACKEND", &constant, true)
            .override_global("MACHINE", machine.as_bytes(), true)
            .map_max_entries("RECORDS", ring_bytes)
            .load(object)
            .map_err(|error| {
                not_permitted(&error, "create BPF maps")
                    .unwrap_or(ProbeError::Object(Box::new(error)))
            })?;
        debug!(functions = ?kernel.functions, "found the BTF ids of the functions to hook");
        let functions = attach::functions(backend, kernel)?;
        Ok(Self {
            ebpf,
            functions,
            attached: Vec::new(),
            dormant: None,
            statistics: kernel.statistics.clone(),
        })
    }

    /// Loads and attaches one program.
    pub fn attach(&mut self, program: Program) -> Result<(), ProbeError> {
        attach::load(&mut self.ebpf, &self.functions, program)?;
        let link = attach::attach(&mut self.ebpf, program)?;
        self.attached.push(Attached { program, link });
        Ok(())
    }

    /// Attaches the raw-tracepoint programs, dormant, beside those of a function backend.
    fn attach_dormant(&mut self, kernel: &KernelTypes) -> Result<(), ProbeError> {
        if let Some(what) = attach::missing(Backend::RawTracepoint, kernel) {
            return Err(ProbeError::Lacks(what));
        }
        self.attach(attach::DORMANT)?;
        let map = self.ebpf.map("AWAKE").ok_or_else(|| absent("AWAKE"))?;
        self.dormant = Some(Number::new(map).map_err(ProbeError::Flag)?);
        Ok(())
    }

    /// Wakes the raw-tracepoint programs, which then record the kills instead of the others. Needs no capability. False if they
    /// are not attached, or awake.
    pub fn wake(&mut self) -> bool {
        let dormant = self.dormant.take();
        dormant.inspect(|flag| flag.set(1)).is_some()
    }

    /// Attaches the programs again whose links are lost.
    fn attach_lost(&mut self) -> Result<(), ProbeError> {
        for Attached { program, link } in &mut self.attached {
            if matches!(link, Link::Lost) {
                *link = attach::attach(&mut self.ebpf, *program)?;
            }
        }
        Ok(())
    }

    /// Takes the ring, which is possible once.
    pub fn ring(&mut self) -> Result<Ring, ProbeError> {
        let map = self
            .ebpf
            .take_map("RECORDS")
            .ok_or_else(|| absent("RECORDS"))?;
        Ok(Ring::new(map)?)
    }

    /// Takes the ring of accounts, which is possible once.
    pub fn accounts(&mut self) -> Result<Ring, ProbeError> {
        let map = self
            .ebpf
            .take_map("ACCOUNTS")
            .ok_or_else(|| absent("ACCOUNTS"))?;
        Ok(Ring::new(map)?)
    }

    /// Which numbers of an account are which statistics.
    #[must_use]
    pub fn statistics(&self) -> &StatisticsLayout {
        &self.statistics
    }

    /// Finds the kernel's table of statistics in the background, which takes longer than loading and attaching. Accounts have no
    /// statistics until then.
    pub fn find_statistics(&self, proc_root: &Path) -> io::Result<()> {
        let map = self.ebpf.map("STATS_INDEX");
        let Some(map) = map.filter(|_| self.statistics.is_indexed) else {
            return Ok(());
        };
        let address = Number::new(map)?;
        // The kernel checks who opens the file, not who reads it.
        let symbols = File::open(proc_root.join("kallsyms"))?;
        let find = move || {
            privileges::drop_all_capabilities();
            match symbols::address_of(b"mem_cgroup_stats_index", BufReader::new(symbols)) {
                Ok(Some(found)) => address.set(found),
                Ok(None) => debug!("the kernel's symbols have no table of statistics"),
                Err(error) => debug!(%error, "failed to read the kernel's symbols"),
            }
        };
        let thread = thread::Builder::new().name("symbols".to_owned());
        thread.spawn(find).map(drop)
    }

    /// Number of records that full rings have rejected since the programs were loaded.
    pub fn dropped(&self) -> Result<Dropped, ProbeError> {
        let map = self.ebpf.map("DROPPED").ok_or_else(|| absent("DROPPED"))?;
        Dropped::read(map).map_err(|source| ProbeError::Map {
            map: "DROPPED",
            source,
        })
    }
}

/// Number of records that full rings have rejected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Records of the ring of kills.
    pub records: u64,
    /// Accounts.
    pub accounts: u64,
}

impl Dropped {
    /// Reads the counters, which are by record kind and CPU.
    fn read(counters: &Map) -> Result<Self, MapError> {
        let counters = PerCpuArray::<_, u64>::try_from(counters)?;
        let mut dropped = Self::default();
        for index in 0..counters.len() {
            let sum = counters.get(&index, 0)?.iter().sum::<u64>();
            if index + 1 == KIND_ACCOUNT {
                dropped.accounts += sum;
            } else {
                dropped.records += sum;
            }
        }
        Ok(dropped)
    }
}

/// What the programs need to know of this machine.
fn machine_facts(kernel: &KernelTypes) -> MachineFacts {
    let cpus = online_cpus().map_or(1, |cpus| cpus.len() as u64);
    MachineFacts {
        page_shift: page_size().trailing_zeros(),
        rss_error_pages: if kernel.is_rss_per_cpu {
            u32::try_from(percpu_counter::error(cpus)).unwrap_or(u32::MAX)
        } else {
            0
        },
    }
}

/// Loads and attaches all programs of a backend. `debug_object` is an object with log lines that replaces the built-in one.
pub fn attach(
    backend: Backend,
    kernel: &KernelTypes,
    debug_object: Option<&Path>,
) -> Result<Probe, ProbeError> {
    let object = match debug_object {
        Some(path) => Cow::Owned(read_object(path)?),
        None => Cow::Borrowed(OBJECT),
    };
    let mut probe = Probe::load_object(backend, kernel, RING_BYTES, &object)?;
    #[cfg(feature = "bpf-log")]
    if debug_object.is_some() {
        program_log::start(&mut probe.ebpf);
    }
    for &program in programs(backend) {
        probe.attach(program)?;
    }
    if backend.is_function()
        && let Err(error) = probe.attach_dormant(kernel)
    {
        debug!(
            error = describe(&error),
            "raw tracepoints cannot replace the hooks on functions"
        );
    }
    for &program in account_programs(backend, &kernel.offsets) {
        if let Err(error) = probe.attach(program) {
            debug!(
                error = describe(&error),
                "the processes that the OOM killer chooses from are not recorded"
            );
            break;
        }
    }
    // Only needed for loading.
    probe.functions = Btf::new();
    release_unused_memory();
    Ok(probe)
}

fn read_object(path: &Path) -> Result<Vec<u8>, ProbeError> {
    fs::read(path).map_err(|error| {
        ProbeError::Object(Box::new(EbpfError::FileError {
            path: path.to_owned(),
            error,
        }))
    })
}

/// A loader without the kernel's BTF, which is needed for relocations that Rust does not emit.
///
/// `EbpfLoader::new` parses it nevertheless (25 MB at the peak, 15 ms) unless the file cannot be opened. So this calls it while
/// the limit of open files is 0; no other thread runs yet. If the limit cannot be set, only memory is wasted.
fn loader<'a>() -> EbpfLoader<'a> {
    let limit = getrlimit(Resource::Nofile);
    let none = Rlimit {
        current: Some(0),
        ..limit
    };
    let is_lowered = setrlimit(Resource::Nofile, none);
    let mut loader = EbpfLoader::new();
    if is_lowered.is_ok()
        && let Err(error) = setrlimit(Resource::Nofile, limit)
    {
        debug!(%error, "failed to restore the limit of open files");
    }
    loader.btf(None);
    loader
}

/// Checks the capabilities before the kernel does, since its `EPERM` has many causes.
pub(super) fn require_capabilities(what: &str) -> Result<(), ProbeError> {
    let Ok(sets) = capabilities(None) else {
        return Ok(());
    };
    let needed = CapabilitySet::BPF | CapabilitySet::PERFMON;
    if sets.effective.contains(needed) || sets.effective.contains(CapabilitySet::SYS_ADMIN) {
        Ok(())
    } else {
        Err(ProbeError::NotPermitted {
            what: what.to_owned(),
        })
    }
}
