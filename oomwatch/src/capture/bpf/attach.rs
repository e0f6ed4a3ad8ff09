//! The programs of each BPF backend, and how one program is loaded and attached.

use aya::{
    Btf, Ebpf, Endianness,
    programs::{FEntry, FExit, KProbe, ProgramError, RawTracePoint, links::FdLink},
};
use oomwatch_ebpf::record::{
    ABSENT, BACKEND_FENTRY, BACKEND_KPROBE, BACKEND_RAW_TRACEPOINT, MARK_PID, MARK_TASK,
};

use super::{Kernel, Link, ProbeError, btf::skeleton::skeleton, refused};
use crate::model::backend::Backend;

/// A program: its name in the object, and what it is attached to.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// Its name.
    pub name: &'static str,
    /// What it is attached to.
    pub hook: Hook,
}

/// What a program is attached to.
#[derive(Clone, Copy, Debug)]
pub enum Hook {
    /// The entry of a function, by trampoline.
    Fentry(&'static str),
    /// Its return.
    Fexit(&'static str),
    /// The entry of a function, by kprobe.
    Kprobe(&'static str),
    /// Its return.
    Kretprobe(&'static str),
    /// A raw tracepoint.
    RawTracepoint(&'static str),
}

const fn program(name: &'static str, hook: Hook) -> Program {
    Program { name, hook }
}

/// In the order in which a kill passes them, except that `mark_oom_victim` comes last: without the others it is no kill.
const FENTRY: &[Program] = &[
    program("fexit_oom_kill_process", Hook::Fexit("oom_kill_process")),
    program("fentry_oom_kill_process", Hook::Fentry("oom_kill_process")),
    program(
        "fentry_inner_oom_kill_process",
        Hook::Fentry("__oom_kill_process"),
    ),
    program("signal_generate", Hook::RawTracepoint("signal_generate")),
    program("fentry_mark_oom_victim", Hook::Fentry("mark_oom_victim")),
];
const KPROBE: &[Program] = &[
    program(
        "kretprobe_oom_kill_process",
        Hook::Kretprobe("oom_kill_process"),
    ),
    program("kprobe_oom_kill_process", Hook::Kprobe("oom_kill_process")),
    program(
        "kprobe_inner_oom_kill_process",
        Hook::Kprobe("__oom_kill_process"),
    ),
    program("signal_generate", Hook::RawTracepoint("signal_generate")),
    program("kprobe_mark_oom_victim", Hook::Kprobe("mark_oom_victim")),
];
const RAW_TRACEPOINT: &[Program] = &[
    program("signal_generate", Hook::RawTracepoint("signal_generate")),
    program("mark_victim", Hook::RawTracepoint("mark_victim")),
];

/// The programs of a backend, in the order in which they are attached; none for `kmsg` and `counters`.
#[must_use]
pub const fn programs(backend: Backend) -> &'static [Program] {
    match backend {
        Backend::Fentry => FENTRY,
        Backend::Kprobe => KPROBE,
        Backend::RawTracepoint => RAW_TRACEPOINT,
        Backend::Kmsg | Backend::Counters => &[],
    }
}

/// The `BACKEND_` constant that the programs put into their records.
pub(super) const fn constant(backend: Backend) -> u32 {
    match backend {
        Backend::Fentry => BACKEND_FENTRY,
        Backend::Kprobe => BACKEND_KPROBE,
        // The last two load no programs.
        Backend::RawTracepoint | Backend::Kmsg | Backend::Counters => BACKEND_RAW_TRACEPOINT,
    }
}

/// The first thing that the programs of a backend need and that this kernel's types do not have.
pub(super) fn missing(backend: Backend, kernel: &Kernel) -> Option<&'static str> {
    let offsets = &kernel.offsets;
    let is_absent = |offset| offset == ABSENT;
    match backend {
        Backend::Fentry | Backend::Kprobe if is_absent(offsets.oom_control_memcg) => {
            Some("oom_control.memcg")
        }
        Backend::Fentry if kernel.functions.len() < super::offsets::FUNCTIONS.len() => {
            Some("a function of the OOM killer's")
        }
        Backend::Kprobe if is_absent(offsets.pt_regs_argument) => {
            Some("the register of a first argument in pt_regs")
        }
        Backend::RawTracepoint
            if ![MARK_TASK, MARK_PID].contains(&offsets.mark_victim_argument) =>
        {
            Some("the tracepoint mark_victim as it is known")
        }
        _ => None,
    }
}

/// Where aya finds the ids of the functions that are hooked, if any are.
pub(super) fn functions(backend: Backend, kernel: &Kernel) -> Result<Btf, ProbeError> {
    let functions = match backend {
        Backend::Fentry => &kernel.functions[..],
        _ => &[],
    };
    Btf::parse(&skeleton(functions), Endianness::Little)
        .map_err(|error| ProbeError::Functions(Box::new(error)))
}

/// Loads one program.
pub(super) fn load(
    ebpf: &mut Ebpf,
    functions: &Btf,
    Program { name, hook }: Program,
) -> Result<(), ProbeError> {
    let loaded = match hook {
        Hook::Fentry(function) => found::<FEntry>(ebpf, name)?.load(function, functions),
        Hook::Fexit(function) => found::<FExit>(ebpf, name)?.load(function, functions),
        Hook::Kprobe(_) | Hook::Kretprobe(_) => found::<KProbe>(ebpf, name)?.load(),
        Hook::RawTracepoint(_) => found::<RawTracePoint>(ebpf, name)?.load(),
    };
    loaded.map_err(|error| refused(name, error))
}

/// Attaches one program that was loaded.
pub(super) fn attach(ebpf: &mut Ebpf, program: Program) -> Result<Link, ProbeError> {
    let Program { name, hook } = program;
    let refused = |error| ProbeError::Attach {
        program: name,
        source: Box::new(error),
    };
    /// Takes the link out of its program, or, if it is none that can be pinned (perf events before 5.15), attaches anew.
    macro_rules! attach {
        ($program:expr, $($argument:expr),*) => {{
            let program = $program;
            let id = program.attach($($argument),*).map_err(refused)?;
            let link = program.take_link(id).map_err(refused)?;
            match FdLink::try_from(link) {
                Ok(link) => Link::Own(link),
                Err(_) => {
                    program.attach($($argument),*).map_err(refused)?;
                    Link::OfProgram
                }
            }
        }};
    }
    Ok(match hook {
        Hook::Fentry(_) => attach!(found::<FEntry>(ebpf, name)?,),
        Hook::Fexit(_) => attach!(found::<FExit>(ebpf, name)?,),
        Hook::Kprobe(function) | Hook::Kretprobe(function) => {
            attach!(found::<KProbe>(ebpf, name)?, function, 0)
        }
        Hook::RawTracepoint(tracepoint) => attach!(found::<RawTracePoint>(ebpf, name)?, tracepoint),
    })
}

fn found<'a, P>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut P, ProbeError>
where
    &'a mut P: TryFrom<&'a mut aya::programs::Program, Error = ProgramError>,
{
    let found = ebpf.program_mut(name).ok_or_else(|| {
        refused(
            name,
            ProgramError::InvalidName {
                name: name.to_owned(),
            },
        )
    })?;
    found.try_into().map_err(|error| refused(name, error))
}
