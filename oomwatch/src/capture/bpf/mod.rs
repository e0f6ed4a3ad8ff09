//! The programs in the kernel: found offsets, loaded and attached; and the ring that they write.
//!
//! The only place with `unsafe`. What cannot be loaded is told with what to do about it.

mod attach;
pub mod btf;
pub mod features;
pub mod offsets;
pub mod pins;
pub mod symbols;

use std::{error::Error, io, iter};

use aya::{
    Btf, BtfError, Ebpf, EbpfError, EbpfLoader,
    maps::{Map, MapError, PerCpuArray},
    programs::{ProgramError, links::FdLink},
};
use oomwatch_ebpf::record::ABSENT;
use rustix::{
    process::{Resource, Rlimit, getrlimit, setrlimit},
    thread::{CapabilitySet, capabilities},
};
use tracing::debug;
use zerocopy::IntoBytes as _;

pub use self::attach::{Hook, Program, programs};
use self::offsets::KernelTypes as Kernel;
pub use crate::capture::ring::Ring;
use crate::{capture::ring::RingError, model::backend::Backend};

/// The compiled programs, as `cargo xtask ebpf` makes them and `cargo xtask ebpf --check` proves.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../../bpf/oomwatch.bpf.o");

/// Room for 300 to 800 kills while nobody reads: one takes 1.2 to 3.5 KiB, most of it limits and paths.
pub const RING_BYTES: u32 = 1 << 20;

/// What the allocator takes from the system and gives back by itself: glibc's own value at the start.
#[cfg(target_env = "gnu")]
const LARGE_BLOCK_BYTES: i32 = 128 << 10;

/// Lines of the verifier's log that an error shows.
const LOG_LINES: usize = 12;

/// Why nothing can be seen.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// Neither root nor the capabilities.
    #[error(
        "{what} needs CAP_BPF and CAP_PERFMON: run as root (sudo), or give the command these capabilities; --backend kmsg does \
         without, where the kernel log may be read"
    )]
    NotPermitted {
        /// What was being done.
        what: String,
    },
    /// The kernel's types cannot be read, for this reason.
    #[error("{0}")]
    NoTypes(String),
    /// The kernel's types have not what the programs need.
    #[error("this kernel has not {0}")]
    Lacks(&'static str),
    /// The functions' ids cannot be handed to aya.
    #[error("find the functions' ids")]
    Functions(#[source] Box<BtfError>),
    /// The object or its maps.
    #[error("load the BPF object")]
    Object(#[source] Box<EbpfError>),
    /// The verifier, or a kernel without this.
    #[error("load program {program}{log}")]
    Load {
        /// Which program.
        program: &'static str,
        /// The end of what the verifier said, which is where it says what it did not like.
        log: String,
        /// The kernel's answer.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The kernel has no such function or tracepoint, or refuses it.
    #[error("attach program {program}")]
    Attach {
        /// Which program.
        program: &'static str,
        /// The kernel's answer.
        #[source]
        source: Box<ProgramError>,
    },
    /// A map that cannot be used.
    #[error("open map {map}")]
    Map {
        /// Which map.
        map: &'static str,
        /// What is wrong with it.
        #[source]
        source: MapError,
    },
    /// The ring cannot be opened.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// The ring cannot be waited for.
    #[error("wait for the ring")]
    Wait(#[source] io::Error),
}

/// Attached programs. Dropping them detaches those that are not pinned.
#[derive(Debug)]
pub struct Probe {
    ebpf: Ebpf,
    functions: Btf,
    attached: Vec<Attached>,
}

/// An attached program.
#[derive(Debug)]
struct Attached {
    program: Program,
    link: Link,
}

/// What keeps a program attached.
#[derive(Debug)]
enum Link {
    /// A link of ours, which can be pinned.
    Own(FdLink),
    /// Something of the program's, where the kernel has no links of this kind.
    OfProgram,
    /// Nothing any more: it was lost when it should have been pinned.
    Lost,
}

impl Probe {
    /// Loads the object for a backend; nothing is attached yet. `ring_bytes` is a power of two and a multiple of the page size.
    pub fn load(backend: Backend, kernel: &Kernel, ring_bytes: u32) -> Result<Self, ProbeError> {
        require_capabilities("loading BPF programs")?;
        if let Some(what) = attach::missing(backend, kernel) {
            return Err(ProbeError::Lacks(what));
        }
        let offsets = kernel.offsets;
        let constant = attach::constant(backend);
        for (name, offset) in offsets.iter().filter(|&(_, offset)| offset == ABSENT) {
            debug!(name, offset, "this kernel has no such member");
        }
        raise_memlock();
        let ebpf = loader()
            .override_global("OFFSETS", offsets.as_bytes(), true)
            .override_global("BACKEND", &constant, true)
            .map_max_entries("RECORDS", ring_bytes)
            .load(OBJECT)
            .map_err(|error| {
                not_permitted(&error, "creating BPF maps")
                    .unwrap_or(ProbeError::Object(Box::new(error)))
            })?;
        debug!(functions = ?kernel.functions, "ids of the functions to hook");
        let functions = attach::functions(backend, kernel)?;
        Ok(Self {
            ebpf,
            functions,
            attached: Vec::new(),
        })
    }

    /// Loads and attaches one program.
    pub fn attach(&mut self, program: Program) -> Result<(), ProbeError> {
        attach::load(&mut self.ebpf, &self.functions, program)?;
        let link = attach::attach(&mut self.ebpf, program)?;
        self.attached.push(Attached { program, link });
        Ok(())
    }

    /// Attaches again what has lost its link.
    fn attach_lost(&mut self) -> Result<(), ProbeError> {
        for Attached { program, link } in &mut self.attached {
            if matches!(link, Link::Lost) {
                *link = attach::attach(&mut self.ebpf, *program)?;
            }
        }
        Ok(())
    }

    /// The ring, once.
    pub fn ring(&mut self) -> Result<Ring, ProbeError> {
        let map = self
            .ebpf
            .take_map("RECORDS")
            .ok_or_else(|| absent("RECORDS"))?;
        Ok(Ring::new(map)?)
    }

    /// How many records a full ring has refused since the programs were loaded.
    pub fn dropped(&self) -> Result<u64, ProbeError> {
        let map = self.ebpf.map("DROPPED").ok_or_else(|| absent("DROPPED"))?;
        sum(map).map_err(|source| ProbeError::Map {
            map: "DROPPED",
            source,
        })
    }
}

/// The sum of the counters of all kinds and CPUs.
fn sum(counters: &Map) -> Result<u64, MapError> {
    let counters = PerCpuArray::<_, u64>::try_from(counters)?;
    let mut sum = 0;
    for kind in 0..counters.len() {
        sum += counters.get(&kind, 0)?.iter().sum::<u64>();
    }
    Ok(sum)
}

/// Loads and attaches all programs of a backend.
pub fn attach(backend: Backend, kernel: &Kernel) -> Result<Probe, ProbeError> {
    let mut probe = Probe::load(backend, kernel, RING_BYTES)?;
    for &program in programs(backend) {
        probe.attach(program)?;
    }
    // aya has no more use for them.
    probe.functions = Btf::new();
    release_unused_memory();
    Ok(probe)
}

/// A loader without the kernel's BTF, which is for relocations that Rust does not make.
///
/// `EbpfLoader::new` parses it all the same (25 MB at the peak, 15 ms) unless the file cannot be opened; so it is called
/// while no file can be. Nothing else runs yet. If the limit cannot be set, this only costs the memory.
fn loader<'a>() -> EbpfLoader<'a> {
    let limit = getrlimit(Resource::Nofile);
    let none = Rlimit {
        current: Some(0),
        ..limit
    };
    let lowered = setrlimit(Resource::Nofile, none);
    let mut loader = EbpfLoader::new();
    if lowered.is_ok()
        && let Err(error) = setrlimit(Resource::Nofile, limit)
    {
        debug!(%error, "restore the limit of open files");
    }
    loader.btf(None);
    loader
}

fn absent(map: &'static str) -> ProbeError {
    ProbeError::Map {
        map,
        source: MapError::InvalidName {
            name: map.to_owned(),
        },
    }
}

/// Asks before the kernel does, whose `EPERM` has many reasons.
fn require_capabilities(what: &str) -> Result<(), ProbeError> {
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

/// [`ProbeError::NotPermitted`], if that is what is at the bottom of an error. `EACCES` is not: so the verifier refuses.
fn not_permitted(error: &(dyn Error + 'static), what: &str) -> Option<ProbeError> {
    let answer = kernel_answer(error)?;
    (answer.raw_os_error() == Some(libc::EPERM)).then(|| ProbeError::NotPermitted {
        what: what.to_owned(),
    })
}

/// An error with its sources, in one line; of the verifier's log no more than the error itself shows.
#[must_use]
pub fn describe(error: &(dyn Error + 'static)) -> String {
    let first = error.to_string();
    let step = first.lines().next().unwrap_or_default();
    match kernel_answer(error).map(ToString::to_string) {
        Some(answer) if !step.contains(&answer) => format!("{step}: {answer}"),
        _ => iter::successors(error.source(), |&error| error.source())
            .fold(step.to_owned(), |text, error| format!("{text}: {error}")),
    }
}

/// The kernel's own answer at the bottom of an error.
#[must_use]
pub fn kernel_answer<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a io::Error> {
    iter::successors(Some(error), |&error| error.source()).find_map(<dyn Error>::downcast_ref)
}

fn refused(program: &'static str, error: ProgramError) -> ProbeError {
    match error {
        ProgramError::LoadError {
            io_error,
            verifier_log,
        } => {
            let log = verifier_log.to_string();
            let lines: Vec<_> = log.lines().collect();
            let end = lines.iter().skip(lines.len().saturating_sub(LOG_LINES));
            ProbeError::Load {
                program,
                log: end
                    .map(|line| format!("\n  {line}"))
                    .collect::<Vec<_>>()
                    .concat(),
                source: Box::new(io_error),
            }
        }
        error => ProbeError::Load {
            program,
            log: String::new(),
            source: Box::new(error),
        },
    }
}

/// Before 5.11 maps count as locked memory. Failing is not fatal: root in a container may not raise a limit.
fn raise_memlock() {
    let unlimited = Rlimit {
        current: None,
        maximum: None,
    };
    if let Err(error) = setrlimit(Resource::Memlock, unlimited) {
        debug!(%error, "raise the limit of locked memory");
    }
}

/// Has the allocator give large blocks back as soon as they are freed: glibc keeps those after the first for itself, and the
/// kernel's BTF is the first.
fn return_large_blocks() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes two numbers, and changes how memory is allocated from now on.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE_BLOCK_BYTES);
    }
}

/// Gives the memory of parsing back to the system, so that it does not stay resident for good.
fn release_unused_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes a number, and touches only free memory of the allocator.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    use aya::sys::SyscallError;

    use super::*;

    #[test]
    fn refusal_of_the_verifier_is_no_missing_privilege() {
        for (errno, expected) in [
            (libc::EPERM, true),
            (libc::EACCES, false),
            (libc::EINVAL, false),
        ] {
            let error = ProgramError::SyscallError(SyscallError {
                call: "bpf_prog_load",
                io_error: io::Error::from_raw_os_error(errno),
            });
            assert_eq!(
                not_permitted(&error, "trying").is_some(),
                expected,
                "{errno}"
            );
            assert_eq!(
                kernel_answer(&error).and_then(io::Error::raw_os_error),
                Some(errno)
            );
        }
    }
}
