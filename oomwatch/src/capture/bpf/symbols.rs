//! Interprets kernel stacks: finds the functions of the OOM killer among return addresses, with the symbols of
//! `/proc/kallsyms`.
//!
//! That file shows zeroes instead of addresses without `CAP_SYSLOG` (or with `kernel.kptr_restrict` at 2). Then no stack can be
//! interpreted, and nothing is guessed.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::Path,
};

use crate::capture::incident::OomStack;

/// The functions that are looked for in a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Function {
    OutOfMemory,
    MemCgroupOutOfMemory,
    OomKillProcess,
    InnerOomKillProcess,
    OomKillMemcgMember,
    /// Writes the limit of a memory cgroup.
    MemoryMaxWrite,
    /// Where a function with a kretprobe returns to. Before 5.15 it stands in the place of the caller, and ends the stack.
    Trampoline,
}

/// Symbols of `mm/oom_kill.c` and `mm/memcontrol.c`, unchanged from 5.10 to 7.3, and the trampoline of 5.10.
const WANTED: [(&[u8], Function); 8] = [
    (b"kretprobe_trampoline", Function::Trampoline),
    (b"out_of_memory", Function::OutOfMemory),
    (b"mem_cgroup_out_of_memory", Function::MemCgroupOutOfMemory),
    (b"oom_kill_process", Function::OomKillProcess),
    (b"__oom_kill_process", Function::InnerOomKillProcess),
    (b"oom_kill_memcg_member", Function::OomKillMemcgMember),
    (b"memory_max_write", Function::MemoryMaxWrite),
    // Of cgroup v1.
    (b"mem_cgroup_resize_max", Function::MemoryMaxWrite),
];

/// Why kernel stacks cannot be interpreted.
#[derive(Debug, thiserror::Error)]
pub enum SymbolsError {
    /// The symbols could not be read.
    #[error("failed to read the kernel's symbols")]
    Read(#[from] io::Error),
    /// The kernel hides its addresses.
    #[error(
        "the kernel hides the addresses of its symbols (grant CAP_SYSLOG, and set kernel.kptr_restrict below 2)"
    )]
    Hidden,
    /// A function is not among the symbols: it was inlined or renamed.
    #[error("the kernel's symbols have no {0}")]
    Absent(&'static str),
}

/// The address ranges of the functions in this kernel.
#[derive(Debug)]
pub struct Symbols {
    /// Start, end and function. A function may have a second range, its cold part.
    ranges: Vec<(u64, u64, Function)>,
}

impl Symbols {
    /// Reads `kallsyms` below `proc_root`, the host's `/proc`.
    pub fn load(proc_root: &Path) -> Result<Self, SymbolsError> {
        let file = File::open(proc_root.join("kallsyms"))?;
        Self::read(BufReader::with_capacity(1 << 16, file))
    }

    /// Reads text like that of `/proc/kallsyms`: lines of `ADDRESS TYPE NAME [MODULE]` in the order of addresses.
    pub fn read(mut text: impl BufRead) -> Result<Self, SymbolsError> {
        let mut ranges = Vec::new();
        let mut open: Vec<(u64, Function)> = Vec::new();
        let mut line = Vec::new();
        while text.read_until(b'\n', &mut line)? > 0 {
            if let Some((address, name)) = parse_line(&line) {
                if open.first().is_some_and(|&(start, _)| start != address) {
                    ranges.extend(
                        open.drain(..)
                            .map(|(start, function)| (start, address, function)),
                    );
                }
                if let Some(function) = wanted(name) {
                    open.push((address, function));
                }
            }
            line.clear();
        }
        if !ranges.is_empty() && ranges.iter().all(|&(start, ..)| start == 0)
            || !open.is_empty() && ranges.is_empty()
        {
            return Err(SymbolsError::Hidden);
        }
        let symbols = Self { ranges };
        for (name, function) in [
            ("out_of_memory", Function::OutOfMemory),
            ("__oom_kill_process", Function::InnerOomKillProcess),
            // Without it the OOM of a memory cgroup would look like a system OOM.
            ("mem_cgroup_out_of_memory", Function::MemCgroupOutOfMemory),
        ] {
            if !symbols.ranges.iter().any(|&(.., found)| found == function) {
                return Err(SymbolsError::Absent(name));
            }
        }
        Ok(symbols)
    }

    /// What a kernel stack shows; absent if it shows neither a call of the OOM killer with its caller nor a kill. A truncated one
    /// may show the kill alone.
    #[must_use]
    pub fn explain(&self, frames: &[u64]) -> Option<OomStack> {
        let mut stack = OomStack::default();
        let mut memcg = None;
        let mut caller = None;
        for (index, function) in frames
            .iter()
            .enumerate()
            .filter_map(|(index, &address)| Some((index, self.function(address)?)))
        {
            match function {
                Function::OutOfMemory => caller = Some(index + 1),
                Function::OomKillProcess | Function::Trampoline => {}
                Function::MemCgroupOutOfMemory => memcg = Some(index),
                // A writer whose own allocation fails has other functions in between.
                Function::MemoryMaxWrite => {
                    stack.limit_lowered |= memcg.is_some_and(|memcg| memcg + 1 == index);
                }
                Function::InnerOomKillProcess => stack.kill = true,
                Function::OomKillMemcgMember => stack.group_member = true,
            }
        }
        // The caller of `out_of_memory` must be in the stack: a missing caller does not prove a system OOM.
        let has_caller = caller
            .and_then(|index| frames.get(index))
            .is_some_and(|&caller| !self.is_trampoline(caller));
        stack.memcg = has_caller.then_some(memcg.is_some());
        (has_caller || stack.kill).then_some(stack)
    }

    /// Nothing has called the trampoline: the address is its first byte.
    fn is_trampoline(&self, return_address: u64) -> bool {
        self.ranges.iter().any(|&(start, _, function)| {
            start == return_address && function == Function::Trampoline
        })
    }

    fn function(&self, return_address: u64) -> Option<Function> {
        // The call instruction is before the return address, which may be the first byte of the next function.
        let address = return_address.checked_sub(1)?;
        self.ranges
            .iter()
            .find(|&&(start, end, _)| (start..end).contains(&address))
            .map(|&(.., function)| function)
    }
}

/// The address of a symbol in text like that of `/proc/kallsyms`; absent also where the kernel hides it.
pub fn address_of(wanted: &[u8], mut text: impl BufRead) -> io::Result<Option<u64>> {
    let mut line = Vec::new();
    while text.read_until(b'\n', &mut line)? > 0 {
        if let Some((address, name)) = parse_line(&line)
            && name == wanted
        {
            return Ok((address != 0).then_some(address));
        }
        line.clear();
    }
    Ok(None)
}

fn parse_line(line: &[u8]) -> Option<(u64, &[u8])> {
    let mut words = line.trim_ascii_end().splitn(3, |&byte| byte == b' ');
    let address = u64::from_str_radix(str::from_utf8(words.next()?).ok()?, 16).ok()?;
    let _kind = words.next()?;
    let name = words.next()?;
    // Symbols of modules do not count.
    (!name.contains(&b'\t')).then_some((address, name))
}

fn wanted(name: &[u8]) -> Option<Function> {
    // Compilers split and specialize functions: `oom_kill_process.cold`, `.isra.0`, `.constprop.0`, `.llvm.123`.
    let name = name.split(|&byte| byte == b'.').next()?;
    WANTED
        .iter()
        .find(|(wanted, _)| *wanted == name)
        .map(|&(_, function)| function)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_of_a_symbol_is_found_unless_the_kernel_hides_it() {
        let find = |text: &str| address_of(b"table", text.as_bytes()).expect("read");
        assert_eq!(
            find("ff00 t other\nff10 d table_of\nff20 d table\n"),
            Some(0xff20)
        );
        assert_eq!(find("0000 d table\n"), None);
        assert_eq!(find("ff00 d table\t[module]\n"), None);
        assert_eq!(find(""), None);
    }

    const KALLSYMS: &str = "\
ffffffff81000000 T _stext
ffffffff81100000 t kretprobe_trampoline
ffffffff81100100 t x
ffffffff81200000 t oom_kill_memcg_member
ffffffff81200100 t __oom_kill_process
ffffffff81200100 t alias_of_it
ffffffff81200200 t oom_kill_process
ffffffff81200300 T out_of_memory
ffffffff81200400 t mem_cgroup_out_of_memory
ffffffff81200500 t memory_max_write
ffffffff81200600 t something_else
ffffffff81900000 t oom_kill_process.cold
ffffffff81900010 t x
ffffffff81900100 t out_of_memory.constprop.0.cold
ffffffff81900110 t y
ffffffffc0000000 t out_of_memory\t[a_module]
ffffffffc0000100 t y\t[a_module]
";

    /// A return address in the function that called the OOM killer.
    const ALLOCATION: u64 = 0xffff_ffff_8100_0010;

    fn symbols() -> Symbols {
        Symbols::read(KALLSYMS.as_bytes()).expect("complete symbols")
    }

    #[test]
    fn stack_of_a_memcg_kill_shows_memcg_and_kill() {
        let stack = [
            0xffff_ffff_8120_0150,
            0xffff_ffff_8120_0250,
            0xffff_ffff_8120_0350,
            0xffff_ffff_8120_0450,
        ];
        let expected = OomStack {
            memcg: Some(true),
            kill: true,
            group_member: false,
            limit_lowered: false,
        };
        assert_eq!(symbols().explain(&stack), Some(expected));
    }

    #[test]
    fn limit_was_lowered_if_its_writer_called_the_killer() {
        const CALLS: [u64; 3] = [
            0xffff_ffff_8120_0150,
            0xffff_ffff_8120_0350,
            0xffff_ffff_8120_0450,
        ];
        const WRITER: u64 = 0xffff_ffff_8120_0550;
        for (callers, expected) in [
            (&[WRITER, ALLOCATION][..], true),
            (&[ALLOCATION, WRITER], false),
            (&[ALLOCATION], false),
        ] {
            let stack = symbols().explain(&[&CALLS[..], callers].concat());
            let lowered = stack.map(|stack| (stack.memcg, stack.limit_lowered));
            assert_eq!(lowered, Some((Some(true), expected)), "{callers:x?}");
        }
    }

    #[test]
    fn call_at_the_end_of_a_function_belongs_to_it() {
        let stack = [0xffff_ffff_8120_0200, 0xffff_ffff_8120_0350, ALLOCATION];
        let expected = OomStack {
            memcg: Some(false),
            kill: true,
            group_member: false,
            limit_lowered: false,
        };
        assert_eq!(symbols().explain(&stack), Some(expected));
    }

    #[test]
    fn cold_part_counts_and_a_module_symbol_does_not() {
        assert_eq!(
            symbols().explain(&[0xffff_ffff_8190_0108, ALLOCATION]),
            Some(OomStack {
                memcg: Some(false),
                ..OomStack::default()
            })
        );
        assert_eq!(
            symbols().explain(&[0xffff_ffff_c000_0050, ALLOCATION]),
            None
        );
    }

    #[test]
    fn stack_without_the_caller_of_the_oom_killer_shows_the_kill_alone() {
        const MEMBER: u64 = 0xffff_ffff_8120_0050;
        const INNER: u64 = 0xffff_ffff_8120_0150;
        const OUTER: u64 = 0xffff_ffff_8120_0250;
        const OUT_OF_MEMORY: u64 = 0xffff_ffff_8120_0350;
        const TRAMPOLINE: u64 = 0xffff_ffff_8110_0000;
        for (stack, group_member) in [
            (&[INNER, OUTER][..], false),
            (&[INNER, OUTER, OUT_OF_MEMORY], false),
            (&[INNER, OUTER, OUT_OF_MEMORY, TRAMPOLINE], false),
            (&[INNER, MEMBER, ALLOCATION, TRAMPOLINE], true),
            (&[INNER, MEMBER, ALLOCATION, OUTER, TRAMPOLINE], true),
        ] {
            let expected = OomStack {
                memcg: None,
                kill: true,
                group_member,
                limit_lowered: false,
            };
            assert_eq!(symbols().explain(stack), Some(expected), "{stack:x?}");
        }
        for stack in [&[OUTER][..], &[OUTER, OUT_OF_MEMORY]] {
            assert_eq!(symbols().explain(stack), None, "{stack:x?}");
        }
    }

    #[test]
    fn symbols_without_a_needed_function_are_refused() {
        for name in [
            "out_of_memory",
            "__oom_kill_process",
            "mem_cgroup_out_of_memory",
        ] {
            let text = KALLSYMS.replace(&format!(" {name}"), " renamed");
            assert!(
                matches!(Symbols::read(text.as_bytes()), Err(SymbolsError::Absent(_))),
                "{name}"
            );
        }
    }

    #[test]
    fn stack_without_the_oom_killer_is_absent() {
        assert_eq!(symbols().explain(&[]), None);
        assert_eq!(
            symbols().explain(&[0, 1, u64::MAX, 0xffff_ffff_8120_0650]),
            None
        );
    }

    #[test]
    fn hidden_addresses_are_an_error() {
        let hidden = KALLSYMS
            .lines()
            .map(|line| ["0000000000000000", &line[16..]].concat())
            .collect::<Vec<_>>()
            .join("\n");
        assert!(matches!(
            Symbols::read(hidden.as_bytes()),
            Err(SymbolsError::Hidden)
        ));
    }

    #[test]
    fn malformed_text_is_an_error_and_no_panic() {
        for text in [
            "",
            "\n\n",
            "zz t out_of_memory\n",
            "ffffffff81200300",
            "ffffffff81200300 T\n",
            "\u{0} \u{0}",
        ] {
            assert!(
                matches!(
                    Symbols::read(text.as_bytes()),
                    Err(SymbolsError::Absent("out_of_memory"))
                ),
                "{text:?}"
            );
        }
    }
}
