//! The ways to see kills with BPF, and what each attaches: a table, and how one line of it is loaded and attached.

use aya::{
    Btf, Ebpf, Endianness,
    programs::{FEntry, FExit, KProbe, ProgramError, RawTracePoint, TracePoint, links::FdLink},
};
use oomwatch_ebpf::record::{
    ABSENT, HOOKS_FORMAT, HOOKS_FUNCTION, HOOKS_TRACEPOINT, MARK_PID, MARK_TASK,
};

use super::{Kernel, Link, ProbeError, btf::skeleton::skeleton, refused};
use crate::model::kill::Hooks;

/// A way to see kills with BPF, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rung {
    /// The OOM killer's functions, by trampolines (fentry and fexit).
    Fentry,
    /// The OOM killer's functions, by breakpoints or ftrace (kprobes).
    Kprobe,
    /// Raw tracepoints, with structures read as BTF describes them.
    Tracepoint,
    /// Classic tracepoints, with the fields that their `format` files name.
    Format,
}

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
    /// A classic tracepoint of this category.
    Tracepoint(&'static str, &'static str),
}

const fn program(name: &'static str, hook: Hook) -> Program {
    Program { name, hook }
}

/// The order is that in which a kill goes through them, but the mark comes last: alone it is no kill.
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
const TRACEPOINT: &[Program] = &[
    program("signal_generate", Hook::RawTracepoint("signal_generate")),
    program("mark_victim", Hook::RawTracepoint("mark_victim")),
];
const FORMAT: &[Program] = &[
    program(
        "format_signal_generate",
        Hook::Tracepoint("signal", "signal_generate"),
    ),
    program("format_mark_victim", Hook::Tracepoint("oom", "mark_victim")),
];

impl Rung {
    /// All of them, best first.
    pub const ALL: [Self; 4] = [Self::Fentry, Self::Kprobe, Self::Tracepoint, Self::Format];

    /// Its word on the command line and in messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fentry => "fentry",
            Self::Kprobe => "kprobe",
            Self::Tracepoint => "tracepoint",
            Self::Format => "format",
        }
    }

    /// The rung of the ladder that it stands on, as reports have it.
    #[must_use]
    pub const fn hooks(self) -> Hooks {
        match self {
            Self::Fentry | Self::Kprobe => Hooks::Function,
            Self::Tracepoint => Hooks::Tracepoint,
            Self::Format => Hooks::Format,
        }
    }

    /// What it attaches, in this order.
    #[must_use]
    pub const fn programs(self) -> &'static [Program] {
        match self {
            Self::Fentry => FENTRY,
            Self::Kprobe => KPROBE,
            Self::Tracepoint => TRACEPOINT,
            Self::Format => FORMAT,
        }
    }

    /// Whether it needs the kernel's types.
    #[must_use]
    pub const fn needs_types(self) -> bool {
        !matches!(self, Self::Format)
    }

    /// The `HOOKS_` constant.
    pub(super) const fn constant(self) -> u32 {
        match self {
            Self::Fentry | Self::Kprobe => HOOKS_FUNCTION,
            Self::Tracepoint => HOOKS_TRACEPOINT,
            Self::Format => HOOKS_FORMAT,
        }
    }

    /// What of the kernel's types the programs cannot do without, and this kernel has not.
    pub(super) fn lacks(self, kernel: Option<&Kernel>) -> Option<&'static str> {
        let Some(kernel) = kernel else {
            return self.needs_types().then_some("the kernel's types (BTF)");
        };
        let offsets = &kernel.offsets;
        let is_absent = |offset| offset == ABSENT;
        match self {
            Self::Fentry | Self::Kprobe if is_absent(offsets.oom_control_memcg) => {
                Some("oom_control.memcg")
            }
            Self::Fentry if kernel.functions.len() < super::offsets::FUNCTIONS.len() => {
                Some("a function of the OOM killer's")
            }
            Self::Kprobe if is_absent(offsets.pt_regs_argument) => {
                Some("the register of a first argument in pt_regs")
            }
            Self::Tracepoint if ![MARK_TASK, MARK_PID].contains(&offsets.mark_victim_argument) => {
                Some("the tracepoint mark_victim as it is known")
            }
            Self::Fentry | Self::Kprobe | Self::Tracepoint | Self::Format => None,
        }
    }
}

/// Where aya finds the ids of the functions that are hooked, if any are.
pub(super) fn functions(rung: Rung, kernel: Option<&Kernel>) -> Result<Btf, ProbeError> {
    let functions = match (rung, kernel) {
        (Rung::Fentry, Some(kernel)) => &kernel.functions[..],
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
        Hook::Tracepoint(..) => found::<TracePoint>(ebpf, name)?.load(),
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
        Hook::Tracepoint(category, tracepoint) => {
            attach!(found::<TracePoint>(ebpf, name)?, category, tracepoint)
        }
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
