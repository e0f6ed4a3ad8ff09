//! One boot: starts QEMU, reads the guest's console, and returns an outcome in bounded time.
//!
//! It ends the QEMU that it started and no other.

use std::io::{BufRead as _, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::backend::Results;
use super::console::{Console, Counts};
use crate::exec;

pub(crate) const PROGRAM: &str = "qemu-system-x86_64";
/// Debian's cloud kernels boot on it in 3 to 5 s. They read processors and NUMA nodes from ACPI, which the smaller `microvm`
/// has without the nodes, and they do not support `numa=fake`.
const MACHINE: [&str; 12] = [
    "-machine",
    "q35",
    "-accel",
    "tcg,thread=multi",
    "-cpu",
    "max",
    "-smp",
    "2,sockets=2",
    "-nodefaults",
    "-no-user-config",
    "-display",
    "none",
];
/// Two NUMA nodes, so that a cpuset can run out of memory while the machine does not.
const MEMORY: [&str; 10] = [
    "-m",
    "1024",
    "-object",
    "memory-backend-ram,id=memory0,size=512M",
    "-object",
    "memory-backend-ram,id=memory1,size=512M",
    "-numa",
    "node,nodeid=0,cpus=0,memdev=memory0",
    "-numa",
    "node,nodeid=1,cpus=1,memdev=memory1",
];
/// With `AppArmor` a kernel oopsed under emulation. An oops ends the guest.
const COMMAND_LINE: &str = "console=ttyS0 panic=-1 reboot=t quiet apparmor=0 oops=panic";
/// Time that a crashing kernel has for its last messages.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// A machine to boot.
pub(crate) struct Guest<'a> {
    pub(crate) image: &'a Path,
    pub(crate) initramfs: &'a Path,
    /// For the kernel's command line.
    pub(crate) words: &'a str,
}

/// A boot that has ended.
pub(crate) struct Run {
    pub(crate) counts: Option<Counts>,
    pub(crate) results: Results,
    pub(crate) duration: Duration,
    /// Messages of failed tests.
    pub(crate) messages: Vec<String>,
    /// An error is the reason for the failure.
    pub(crate) outcome: Result<(), String>,
}

/// How an oops on a breakpoint begins.
const BREAKPOINT: &str = "Oops: int3";

impl Run {
    /// Whether the kernel stumbled over a breakpoint of its own. It patches its text by way of `int3` (static keys, ftrace,
    /// kprobes), and with several emulated processors one may run the old translation after the patch is complete. Seen in
    /// the page allocator of 6.12, with no program of ours attached.
    pub(crate) fn is_emulators_fault(&self) -> bool {
        matches!(&self.outcome, Err(reason) if reason.contains(BREAKPOINT))
    }
}

/// Boots the guest, prints its console, and waits for its end.
pub(crate) fn boot(guest: &Guest<'_>, prefix: &str, timeout: Duration) -> Result<Run> {
    let mut command = machine(guest.image, guest.words);
    command.args(MEMORY).arg("-no-reboot");
    command.arg("-initrd").arg(guest.initramfs);
    watch(&mut command, prefix, timeout)
}

/// A machine whose console is its stdout, without memory and disks. `words` are for the kernel's command line.
pub(crate) fn machine(image: &Path, words: &str) -> Command {
    let mut command = Command::new(PROGRAM);
    command
        .args(MACHINE)
        .args(["-serial", "stdio", "-monitor", "none"])
        .arg("-kernel")
        .arg(image)
        .args(["-append", &format!("{COMMAND_LINE} {words}")]);
    command
}

/// Runs such a machine.
pub(crate) fn watch(command: &mut Command, prefix: &str, timeout: Duration) -> Result<Run> {
    let start = Instant::now();
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    exec::end_with_us(command, libc::SIGKILL);
    let mut qemu = command
        .spawn()
        .with_context(|| format!("failed to start `{}`", exec::shown(command)))?;
    let stdout = qemu.stdout.take().context("QEMU has no stdout")?;
    let (sender, lines) = mpsc::channel();
    let reader = thread::spawn(move || {
        read_lines(stdout, |line| sender.send(line).is_ok());
    });

    let mut console = Console::default();
    let show = |console: &mut Console, line: &[u8]| println!("{prefix}{}", console.line(line));
    let timed_out = follow(&lines, start + timeout, |line| {
        show(&mut console, line);
        console.crash.is_some()
    });
    let status = end(&mut qemu, timed_out)?;
    drop(reader.join());
    for line in lines.try_iter() {
        show(&mut console, &line);
    }

    let outcome = evaluate(&console, timed_out.then_some(timeout), &status);
    if let Err(reason) = &outcome {
        eprintln!("{prefix}FAILED: {reason}");
    }
    // Failed tests have printed their reasons; a guest that did not finish has not.
    if outcome.is_err() && console.exit_code.is_none() {
        eprintln!("{prefix}last lines of the console:");
        for line in console.tail() {
            eprintln!("{prefix}> {line}");
        }
    }
    Ok(Run {
        counts: console.counts,
        results: console.results,
        messages: console.failures.into_lines(),
        duration: start.elapsed(),
        outcome,
    })
}

/// Passes every line to `each` until the console closes, and returns whether the time ran out before that. `each` returns
/// whether the kernel has crashed.
fn follow(
    lines: &Receiver<Vec<u8>>,
    mut deadline: Instant,
    mut each: impl FnMut(&[u8]) -> bool,
) -> bool {
    let mut has_crashed = false;
    loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                if each(&line) && !has_crashed {
                    has_crashed = true;
                    deadline = deadline.min(Instant::now() + LAST_WORDS);
                }
            }
            Err(RecvTimeoutError::Timeout) => return true,
            Err(RecvTimeoutError::Disconnected) => return false,
        }
    }
}

fn read_lines(from: impl Read, mut each: impl FnMut(Vec<u8>) -> bool) {
    let mut from = BufReader::new(from);
    loop {
        let mut line = Vec::new();
        match from.read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) if each(line) => {}
            Ok(_) => return,
        }
    }
}

fn end(qemu: &mut Child, by_force: bool) -> Result<String> {
    if by_force {
        qemu.kill().context("failed to end QEMU")?;
    }
    Ok(qemu.wait().context("failed to wait for QEMU")?.to_string())
}

/// A guest passes only if it printed exit code 0 and every result can be parsed and is not a failure.
fn evaluate(console: &Console, timeout: Option<Duration>, status: &str) -> Result<(), String> {
    match (&console.crash, console.exit_code, timeout) {
        (Some(crash), ..) => Err(format!("the kernel crashed: {crash}")),
        (None, Some(0), _) => evaluate_results(&console.results),
        (None, Some(code), _) => Err(format!("the tests ended with exit code {code}")),
        (None, None, Some(timeout)) => Err(format!("no outcome within {} s", timeout.as_secs())),
        (None, None, None) => Err(format!(
            "the guest ended without an outcome (QEMU: {status})"
        )),
    }
}

fn evaluate_results(results: &Results) -> Result<(), String> {
    match (&results.failures()[..], &results.unreadable[..]) {
        ([], []) => Ok(()),
        ([], [line, ..]) => Err(format!("a result cannot be parsed: {line}")),
        (failures, _) => Err(format!("failed: {}", failures.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::interface::RESULT_MARKER;
    use super::super::report;
    use super::*;

    /// Reads lines in which `@result` stands for the marker.
    fn console(lines: &[&str]) -> Console {
        let mut console = Console::default();
        for line in lines {
            console.line(line.replace("@result", RESULT_MARKER).as_bytes());
        }
        console
    }

    #[test]
    fn guest_passes_only_with_exit_code_0() {
        let ok = "oomwatch-vm: tests ended with exit code 0";
        let failed = "oomwatch-vm: tests ended with exit code 101";
        let crash = "[    1.000000] Oops: 0000";
        assert!(evaluate(&console(&[ok]), None, "0").is_ok());
        for lines in [
            &[][..],
            &["test result: ok. 1 passed; 0 failed"],
            &[failed],
            &[ok, crash],
            &[crash, ok],
        ] {
            assert!(evaluate(&console(lines), None, "0").is_err(), "{lines:?}");
        }
        let hang = evaluate(&console(&[]), Some(Duration::from_mins(5)), "signal: 9");
        assert_eq!(hang.unwrap_err(), "no outcome within 300 s");
    }

    #[test]
    fn result_that_failed_or_cannot_be_parsed_is_no_pass() {
        let outcome = |line| {
            let ok = "oomwatch-vm: tests ended with exit code 0";
            evaluate(&console(&[line, ok]), None, "0")
        };
        assert_eq!(outcome("test a ... @result a kmsg ok order"), Ok(()));
        assert_eq!(outcome("@result a kmsg absent no-log"), Ok(()));
        assert_eq!(
            outcome("@result a kmsg failed -").unwrap_err(),
            "failed: a on kmsg"
        );
        assert_eq!(
            outcome("@result a kmsg").unwrap_err(),
            format!("a result cannot be parsed: {RESULT_MARKER} a kmsg")
        );
    }

    fn run(script: &str, timeout: Duration) -> Run {
        let mut command = Command::new("sh");
        let script = script.replace("@result", RESULT_MARKER);
        watch(command.args(["-c", &script]), "", timeout).unwrap()
    }

    #[test]
    fn console_is_read_from_its_first_line_to_the_tables() {
        let ended = run(
            r"printf 'c[    0.1] x
test a ... @result a kmsg ok order,scope
ok
'
            printf 'test result: ok. 1 passed; 0 failed; 2 ignored; 0 measured
'
            printf '
oomwatch-vm: tests ended with exit code 0
'",
            Duration::from_mins(1),
        );
        assert_eq!(ended.outcome, Ok(()));
        let counts = ended.counts.unwrap();
        assert_eq!((counts.passed, counts.failed, counts.ignored), (1, 0, 2));
        assert_eq!(
            report::scenarios(&ended.results)
                .lines()
                .skip(2)
                .collect::<Vec<_>>(),
            [
                "a                                         ok*1",
                "*1  order, scope"
            ]
        );
    }

    #[test]
    fn guest_that_hangs_or_panics_ends_without_a_pass() {
        let hung = run("echo up; exec sleep 1000", Duration::from_millis(1));
        assert_eq!(hung.outcome.unwrap_err(), "no outcome within 0 s");
        let panicked = run(
            "echo '[    1.000000] Kernel panic - not syncing: sysrq triggered crash'",
            Duration::from_mins(1),
        );
        assert_eq!(
            panicked.outcome.unwrap_err(),
            "the kernel crashed: [    1.000000] Kernel panic - not syncing: sysrq triggered crash"
        );
    }

    #[test]
    fn oops_on_a_breakpoint_alone_is_the_emulators_fault() {
        for (line, expected) in [
            (
                "[    1.500000] Oops: int3: 0000 [#1] PREEMPT SMP NOPTI",
                true,
            ),
            (
                "[    1.500000] Kernel panic - not syncing: sysrq triggered crash",
                false,
            ),
            ("oomwatch-vm: tests ended with exit code 1", false),
        ] {
            let run = run(&format!("echo '{line}'"), Duration::from_mins(1));
            assert_eq!(run.is_emulators_fault(), expected, "{line}");
        }
    }

    #[test]
    fn console_that_closes_is_not_a_timeout() {
        let (sender, lines) = mpsc::channel();
        read_lines(&b"a\nb\nno newline"[..], |line| sender.send(line).is_ok());
        drop(sender);
        let mut seen = Vec::new();
        let far = Instant::now() + Duration::from_hours(1);
        assert!(!follow(&lines, far, |line| {
            seen.extend_from_slice(line);
            false
        }));
        assert_eq!(seen, b"a\nb\nno newline");
    }

    #[test]
    fn silent_console_times_out() {
        let (_sender, lines) = mpsc::channel();
        assert!(follow(&lines, Instant::now(), |_| false));
    }
}
