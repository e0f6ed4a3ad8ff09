//! Finds the text of a line of the OOM killer in a line of any log, by the words that only these lines have.

use bstr::ByteSlice as _;

/// Longest name of a thread, in a carrier that writes each of its 15 bytes as `\x1b` or `#033`.
const MAX_COMM: usize = 4 * 15;

/// What the text of a line begins with.
const STARTS: &[&[u8]] = &[
    b"oom-kill:constraint=",
    b"Memory cgroup out of memory: ",
    b"Out of memory",
    b"Killed process ",
    b"Kill process ",
    b"Task in",
    b"Tasks in",
    b"memory: usage ",
    b"memory+swap: usage ",
    b"swap: usage ",
    b"kmem: usage ",
    b"Memory limit reached of cgroup /",
    b"Memory cgroup stats for /",
    b"Mem-Info:",
    b"[ pid ] ",
    b"[  pid  ] ",
    b"oom_reaper: ",
    b"oom_kill_process: ",
    b"Linux version ",
    b"Kernel panic - not syncing: ",
];

/// Parts that at least one of is in each line; short, so that other lines are passed quickly.
const PARTS: &[&[u8]] = &[
    b"oom",
    b"emory",
    b"rocess ",
    b"OOM",
    b"ask",
    b"usage ",
    b"version ",
    b"omm",
    b"panic",
];

/// Whether a line may be one of the OOM killer's: true for all of these, and for few others.
pub(super) fn is_possible(line: &[u8]) -> bool {
    PARTS.iter().any(|part| line.contains_str(part)) && find(line).is_some() || row(line).is_some()
}

/// Where the text of the kernel's line begins, or, for the line with the trigger, the latest place where it may.
pub(super) fn find(line: &[u8]) -> Option<usize> {
    let start = STARTS.iter().filter_map(|start| line.find(start)).min();
    let invoked = line.find(b" invoked oom-killer: ");
    let cpu = line
        .find(b"CPU: ")
        .filter(|at| line[*at..].contains_str(b" Comm: "));
    let pid = line
        .find(b"Pid: ")
        .filter(|at| line[*at..].contains_str(b", comm: "));
    let other = ["OOM victim ", " cpuset="]
        .iter()
        .filter_map(|part| line.find(part))
        .map(|at| at.saturating_sub(MAX_COMM));
    [start, invoked, cpu, pid, row(line)]
        .into_iter()
        .flatten()
        .chain(other)
        .min()
}

/// Where a row of the task table begins: `[  478]     0   478`.
fn row(line: &[u8]) -> Option<usize> {
    line.find_iter(b"[").find(|at| {
        let inner = line[at + 1..].trim_start_with(|character| character == ' ');
        let digits = inner.find_not_byteset(b"0123456789").unwrap_or(0);
        let is_row = |text: &[u8]| {
            let mut words = words(text).take(3);
            let mut is_number = || {
                words
                    .next()
                    .is_some_and(|word| word.iter().all(u8::is_ascii_digit))
            };
            is_number() && is_number() && is_number()
        };
        digits > 0 && inner[digits..].strip_prefix(b"]").is_some_and(is_row)
    })
}

/// The words of a text, split at blanks and tabs.
pub(super) fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|&byte| byte == b' ' || byte == b'\t')
        .filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_the_kernel_is_found_behind_anything() {
        for text in [
            "oom-kill:constraint=CONSTRAINT_NONE",
            "Out of memory: Killed process 7 (a)",
            "Killed process 7 (a)",
            "[    478]     0   478     5785",
            "CPU: 0 PID: 7 Comm: a",
            "Pid: 7, comm: a",
        ] {
            for prefix in [
                "",
                "x y: ",
                "[ 12.345678] [ T12] ",
                "{\"a\": \"",
                "Nov 23 18:54:33 h kernel: ",
            ] {
                let line = format!("{prefix}{text}");
                assert!(is_possible(line.as_bytes()), "{line}");
                assert_eq!(find(line.as_bytes()), Some(prefix.len()), "{line}");
            }
        }
        for line in [
            "",
            "[ 12.5] eth0: link up",
            "[  478] x 1 2",
            "a process ended",
        ] {
            assert!(!is_possible(line.as_bytes()), "{line}");
        }
    }
}
