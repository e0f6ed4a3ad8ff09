//! One boot: starts QEMU, follows the guest's console and comes to an outcome in bounded time.
//!
//! It ends the QEMU that it started and no other.

use std::io::{BufRead as _, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::console::{Console, Counts};
use crate::exec;

pub(crate) const PROGRAM: &str = "qemu-system-x86_64";
/// Debian's cloud kernels boot on it in 2 to 3 s. `pit`, `pic` and `rtc` are what a machine without ACPI goes by.
const MACHINE: &str = "microvm,acpi=off,pit=on,pic=on,rtc=on";
/// A kernel with `AppArmor` on has oopsed under emulation; an oops is to end the guest.
const COMMAND_LINE: &str = "console=ttyS0 panic=-1 reboot=t quiet apparmor=0 oops=panic";
/// How long a crash may go on telling of itself.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// How a boot ended.
pub(crate) struct Boot {
    pub(crate) counts: Option<Counts>,
    pub(crate) duration: Duration,
    /// An error says what went wrong.
    pub(crate) outcome: Result<(), String>,
}

/// Boots the kernel and waits for the guest to end, printing its console.
pub(crate) fn boot(
    image: &Path,
    initramfs: &Path,
    prefix: &str,
    timeout: Duration,
) -> Result<Boot> {
    let start = Instant::now();
    let mut command = Command::new(PROGRAM);
    command
        .args([
            "-M",
            MACHINE,
            "-accel",
            "tcg,thread=multi",
            "-cpu",
            "max",
            "-m",
            "1024",
            "-smp",
            "2",
        ])
        .args(["-nographic", "-no-reboot"])
        .arg("-kernel")
        .arg(image)
        .arg("-initrd")
        .arg(initramfs)
        .args(["-append", COMMAND_LINE])
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    exec::tie_to_us(&mut command, libc::SIGKILL);
    let mut qemu = command
        .spawn()
        .with_context(|| format!("start {PROGRAM}"))?;
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

    let outcome = judge(&console, timed_out.then_some(timeout), &status);
    if let Err(reason) = &outcome {
        eprintln!("{prefix}FAILED: {reason}");
    }
    // Tests that failed have said why; a guest that never came to an end has not.
    if outcome.is_err() && console.verdict.is_none() {
        eprintln!("{prefix}the console ended with:");
        for line in console.tail() {
            eprintln!("{prefix}> {line}");
        }
    }
    Ok(Boot {
        counts: console.counts,
        duration: start.elapsed(),
        outcome,
    })
}

/// Hands on every line until the console closes, and says whether the time ran out before. `crashed` is what `each`
/// returns.
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
        qemu.kill().context("end QEMU")?;
    }
    Ok(qemu.wait().context("wait for QEMU")?.to_string())
}

/// A guest passes by saying so, and in no other way.
fn judge(console: &Console, timeout: Option<Duration>, status: &str) -> Result<(), String> {
    match (&console.crash, console.verdict, timeout) {
        (Some(crash), ..) => Err(format!("the kernel fell over: {crash}")),
        (None, Some(0), _) => Ok(()),
        (None, Some(code), _) => Err(format!("the tests ended with exit code {code}")),
        (None, None, Some(timeout)) => Err(format!("no outcome within {} s", timeout.as_secs())),
        (None, None, None) => Err(format!(
            "the guest ended without an outcome (QEMU: {status})"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn console(lines: &[&str]) -> Console {
        let mut console = Console::default();
        for line in lines {
            console.line(line.as_bytes());
        }
        console
    }

    #[test]
    fn guest_passes_by_saying_so_only() {
        let ok = "oomwatch-vm: tests ended with exit code 0";
        let failed = "oomwatch-vm: tests ended with exit code 101";
        let crash = "[    1.000000] Oops: 0000";
        assert!(judge(&console(&[ok]), None, "0").is_ok());
        for lines in [
            &[][..],
            &["test result: ok. 1 passed; 0 failed"],
            &[failed],
            &[ok, crash],
            &[crash, ok],
        ] {
            assert!(judge(&console(lines), None, "0").is_err(), "{lines:?}");
        }
        let hang = judge(&console(&[]), Some(Duration::from_mins(5)), "signal: 9");
        assert_eq!(hang.unwrap_err(), "no outcome within 300 s");
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
