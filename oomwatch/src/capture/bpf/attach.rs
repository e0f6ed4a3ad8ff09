//! The programs of each BPF backend, and how one program is loaded and attached.

use aya::{
    Btf, Ebpf, Endianness,
    programs::{FEntry, FExit, KProbe, ProgramError, RawTracePoint, links::FdLink},
};
use oomwatch_ebpf::record::{
    ABSENT, BACKEND_FENTRY, BACKEND_KPROBE, BACKEND_RAW_TRACEPOINT, MARK_PID, MARK_TASK, Offsets,
};

use super::{
    btf::skeleton::skeleton,
    error::{ProbeError, load_error},
    offsets::KernelTypes,
};
use crate::model::backend::Backend;

/// A program and its hook.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// Its name in the object.
    pub name: &'static str,
    /// What it is attached to.
    pub hook: Hook,
}

/// What a program is attached to.
#[derive(Clone, Copy, Debug)]
pub enum Hook {
    /// The entry of a function, by trampoline.
    Fentry(&'static str),
    /// The return of a function, by trampoline.
    Fexit(&'static str),
    /// The entry of a function, by kprobe.
    Kprobe(&'static str),
    /// The return of a function, by kprobe.
    Kretprobe(&'static str),
    /// A raw tracepoint.
    RawTracepoint(&'static str),
}

/// What keeps a program attached.
#[derive(Debug)]
pub(super) enum Link {
    /// A link that can be pinned.
    Own(FdLink),
    /// The program itself, where the kernel has no links of this kind.
    OfProgram,
    /// Nothing: a failed pin has consumed the link.
    Lost,
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

/// What a function backend attaches for the account of a kill, after the rest. `out_of_memory` begins a selection, and is the last,
/// so that no process of a selection is missing.
const FENTRY_ACCOUNT: &[Program] = &[
    program(
        "fentry_oom_evaluate_task",
        Hook::Fentry("oom_evaluate_task"),
    ),
    program("fentry_out_of_memory", Hook::Fentry("out_of_memory")),
];
const KPROBE_ACCOUNT: &[Program] = &[
    program(
        "kprobe_oom_evaluate_task",
        Hook::Kprobe("oom_evaluate_task"),
    ),
    program("kprobe_out_of_memory", Hook::Kprobe("out_of_memory")),
];

/// The programs that record what the killer chooses from; none where this kernel's types lack a member that decides which
/// processes it scores, or how. Kills are seen without them.
pub(super) fn account_programs(backend: Backend, offsets: &Offsets) -> &'static [Program] {
    let needed = [
        offsets.task_flags,
        offsets.task_mm,
        offsets.task_signal,
        offsets.task_thread_node,
        offsets.task_real_parent,
        offsets.task_vfork_done,
        offsets.signal_thread_head,
        offsets.signal_oom_score_adj,
        offsets.signal_oom_mm,
        offsets.mm_flags,
        offsets.mm_pgtables_bytes,
        offsets.mm_file_rss,
        offsets.mm_anon_rss,
        offsets.mm_swap,
        offsets.mm_shmem_rss,
        offsets.oom_control_totalpages,
        offsets.oom_control_constraint,
    ];
    if needed.contains(&ABSENT) {
        return &[];
    }
    match backend {
        Backend::Fentry => FENTRY_ACCOUNT,
        Backend::Kprobe => KPROBE_ACCOUNT,
        Backend::RawTracepoint | Backend::Kmsg | Backend::Counters => &[],
    }
}

/// What the programs of a function backend lack to be those of raw tracepoints. It is attached beside them, dormant.
pub(super) const DORMANT: Program = RAW_TRACEPOINT[1];

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
pub(super) fn missing(backend: Backend, kernel: &KernelTypes) -> Option<&'static str> {
    let offsets = &kernel.offsets;
    let is_absent = |offset| offset == ABSENT;
    match backend {
        Backend::Fentry | Backend::Kprobe if is_absent(offsets.oom_control_memcg) => {
            Some("oom_control.memcg")
        }
        Backend::Fentry if !kernel.has_kill_functions() => {
            Some("oom_kill_process, __oom_kill_process or mark_oom_victim")
        }
        Backend::Kprobe if is_absent(offsets.pt_regs_argument) => {
            Some("known register for the first argument in pt_regs")
        }
        Backend::RawTracepoint
            if ![MARK_TASK, MARK_PID].contains(&offsets.mark_victim_argument) =>
        {
            Some("mark_victim tracepoint with known arguments")
        }
        _ => None,
    }
}

/// BTF in which aya finds the ids of the functions to hook; empty if there are none.
pub(super) fn functions(backend: Backend, kernel: &KernelTypes) -> Result<Btf, ProbeError> {
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
        Hook::Fentry(function) => program_mut::<FEntry>(ebpf, name)?.load(function, functions),
        Hook::Fexit(function) => program_mut::<FExit>(ebpf, name)?.load(function, functions),
        Hook::Kprobe(_) | Hook::Kretprobe(_) => program_mut::<KProbe>(ebpf, name)?.load(),
        Hook::RawTracepoint(_) => program_mut::<RawTracePoint>(ebpf, name)?.load(),
    };
    loaded.map_err(|error| load_error(name, error))
}

/// Attaches one program that was loaded.
pub(super) fn attach(ebpf: &mut Ebpf, program: Program) -> Result<Link, ProbeError> {
    let Program { name, hook } = program;
    let attach_error = |error| ProbeError::Attach {
        program: name,
        source: Box::new(error),
    };
    /// Takes the link out of its program. A link that cannot be pinned (perf events before 5.15) is lost by that: then the program
    /// is attached again, and keeps its link.
    macro_rules! attach {
        ($program:expr, $($argument:expr),*) => {{
            let program = $program;
            let id = program.attach($($argument),*).map_err(attach_error)?;
            let link = program.take_link(id).map_err(attach_error)?;
            match FdLink::try_from(link) {
                Ok(link) => Link::Own(link),
                Err(_) => {
                    program.attach($($argument),*).map_err(attach_error)?;
                    Link::OfProgram
                }
            }
        }};
    }
    Ok(match hook {
        Hook::Fentry(_) => attach!(program_mut::<FEntry>(ebpf, name)?,),
        Hook::Fexit(_) => attach!(program_mut::<FExit>(ebpf, name)?,),
        Hook::Kprobe(function) | Hook::Kretprobe(function) => {
            attach!(program_mut::<KProbe>(ebpf, name)?, function, 0)
        }
        Hook::RawTracepoint(tracepoint) => {
            attach!(program_mut::<RawTracePoint>(ebpf, name)?, tracepoint)
        }
    })
}

fn program_mut<'a, P>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut P, ProbeError>
where
    &'a mut P: TryFrom<&'a mut aya::programs::Program, Error = ProgramError>,
{
    let found = ebpf.program_mut(name).ok_or_else(|| {
        load_error(
            name,
            ProgramError::InvalidName {
                name: name.to_owned(),
            },
        )
    })?;
    found.try_into().map_err(|error| load_error(name, error))
}
