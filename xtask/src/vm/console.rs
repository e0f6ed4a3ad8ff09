//! Reads a guest's console line by line: the tests' counts, results by backend and failures, a crash of the kernel, and the
//! last lines.
//!
//! The guest is not trusted with the terminal: returned lines have no control characters.

use std::collections::VecDeque;

use super::backend::Results;
use crate::failures::Failures;

/// Begins the line in which the guest's init prints the exit code of the test executable.
pub(crate) const EXIT_CODE: &str = "oomwatch-vm: tests ended with exit code ";
const TAIL_LINES: usize = 60;

/// Beginnings of the messages of a kernel that crashes.
const CRASHES: [&str; 9] = [
    "Kernel panic - not syncing",
    "BUG: ",
    "kernel BUG at ",
    "Oops: ",
    "Unable to handle kernel ",
    "general protection fault",
    "invalid opcode: ",
    "divide error: ",
    "double fault: ",
];

/// Numbers in the test executable's `test result:` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u32,
    pub(crate) failed: u32,
    pub(crate) ignored: u32,
}

/// What the console has printed so far.
#[derive(Default)]
pub(crate) struct Console {
    pub(crate) counts: Option<Counts>,
    pub(crate) results: Results,
    pub(crate) failures: Failures,
    /// The test executable's exit code.
    pub(crate) exit_code: Option<u32>,
    /// The first line of the kernel's that reports a crash.
    pub(crate) crash: Option<String>,
    tail: VecDeque<String>,
}

impl Console {
    /// Reads one line and returns it without control characters.
    pub(crate) fn line(&mut self, raw: &[u8]) -> String {
        let line = clean(&String::from_utf8_lossy(raw));
        if self.crash.is_none() && is_crash(&line) {
            self.crash = Some(line.clone());
        }
        if let Some(counts) = parse_counts(&line) {
            self.counts = Some(counts);
        }
        if let Some(code) = parse_exit_code(&line) {
            self.exit_code = Some(code);
        }
        self.results.read_line(&line);
        self.failures.read_line(&line);
        if self.tail.len() == TAIL_LINES {
            self.tail.pop_front();
        }
        self.tail.push_back(line.clone());
        line
    }

    /// The last lines, oldest first.
    pub(crate) fn tail(&self) -> impl Iterator<Item = &str> {
        self.tail.iter().map(String::as_str)
    }
}

/// Removes escape sequences, which the firmware writes, and every other control character.
fn clean(line: &str) -> String {
    let mut clean = String::with_capacity(line.len());
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            '\u{1b}' => skip_escape(&mut characters),
            '\t' => clean.push(character),
            character if character.is_control() => {}
            character => clean.push(character),
        }
    }
    clean
}

/// `ESC [ … letter`, or ESC and one character.
fn skip_escape(characters: &mut std::str::Chars<'_>) {
    if characters.next() == Some('[') {
        for character in characters.by_ref() {
            if ('@'..='~').contains(&character) {
                break;
            }
        }
    }
}

/// Only after a timestamp of the kernel's: tests may print the same words.
fn is_crash(line: &str) -> bool {
    line.match_indices('[').any(|(at, _)| {
        let message = line[at + 1..]
            .split_once(']')
            .filter(|(stamp, _)| is_timestamp(stamp));
        message.is_some_and(|(_, message)| {
            let message = skip_caller(message.trim_start());
            CRASHES.iter().any(|crash| message.starts_with(crash))
        })
    })
}

/// `   12.345678`, seconds since boot.
fn is_timestamp(stamp: &str) -> bool {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    stamp
        .trim_start()
        .split_once('.')
        .is_some_and(|(seconds, micros)| {
            is_number(seconds) && is_number(micros) && micros.len() == 6
        })
}

/// Kernels with `CONFIG_PRINTK_CALLER` put `[    T1] ` after the timestamp.
fn skip_caller(message: &str) -> &str {
    message
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
        .map_or(message, |(_, rest)| rest.trim_start())
}

/// `test result: ok. 12 passed; 0 failed; 0 ignored; …`
fn parse_counts(line: &str) -> Option<Counts> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let mut counts = counts.split("; ");
    let mut next = |what| counts.next()?.strip_suffix(what)?.parse().ok();
    Some(Counts {
        passed: next(" passed")?,
        failed: next(" failed")?,
        ignored: next(" ignored")?,
    })
}

fn parse_exit_code(line: &str) -> Option<u32> {
    line.strip_prefix(EXIT_CODE)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(lines: &[&str]) -> Console {
        let mut console = Console::default();
        for line in lines {
            console.line(line.as_bytes());
        }
        console
    }

    #[test]
    fn exit_code_and_counts_are_read() {
        let console = after(&[
            "test kill_is_seen ... ok\r\n",
            "test result: FAILED. 11 passed; 2 failed; 3 ignored; 0 measured; 0 filtered out\r\n",
            "oomwatch-vm: tests ended with exit code 101\r\n",
        ]);
        assert_eq!(console.exit_code, Some(101));
        assert_eq!(
            console.counts,
            Some(Counts {
                passed: 11,
                failed: 2,
                ignored: 3
            })
        );
        assert_eq!(console.crash, None);
    }

    #[test]
    fn malformed_exit_codes_and_counts_are_none() {
        for line in [
            "",
            "oomwatch-vm: tests ended with exit code ",
            "oomwatch-vm: tests ended with exit code -1",
            "oomwatch-vm: tests ended with exit code 0 [    1.000000] x",
            "echo oomwatch-vm: tests ended with exit code 0",
            "test result: ",
            "test result: ok. ",
            "test result: ok. x passed; 0 failed",
            "test result: ok. 1 passed",
            "test result: ok. 1 passed; 0 failed",
            "test result: ok. 1 failed; 1 passed; 0 ignored",
            "test result: ok. 99999999999 passed; 0 failed; 0 ignored",
        ] {
            let console = after(&[line]);
            assert_eq!((console.exit_code, console.counts), (None, None), "{line}");
        }
    }

    #[test]
    fn crash_is_found_even_after_a_cut_line() {
        for line in [
            "[    2.345678] Kernel panic - not syncing: Attempted to kill init!",
            "[   12.345678] BUG: kernel NULL pointer dereference, address: 0000000000000000",
            "test x ... [  112.345678] Oops: 0000 [#1] PREEMPT SMP NOPTI",
            "[    2.345678][    T1] general protection fault, probably for non-canonical address",
        ] {
            assert_eq!(
                after(&[line, "[    3.000000] Oops: 1"]).crash.as_deref(),
                Some(line)
            );
        }
    }

    #[test]
    fn words_that_a_test_prints_are_no_crash() {
        for line in [
            "",
            "[",
            "[]",
            "[.] Oops: ",
            "[12] Oops: 0000",
            "BUG: in a test",
            "thread panicked: [1.5] BUG: x",
            "[    2.345678] traps: tail[12] general protection fault ip:0",
            "[    2.345678] watchdog: BUG: soft lockup - CPU#1 stuck for 22s!",
            "[    2.345678] Memory cgroup out of memory: Killed process 12 (Oops: )",
        ] {
            assert_eq!(after(&[line]).crash, None, "{line}");
        }
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        let mut console = Console::default();
        assert_eq!(
            console.line(b"\x1bc\x1b[?7l\x1b[2Ja\x07\tb\xff\r\n"),
            "a\tb\u{fffd}"
        );
        for raw in [&b"\x1b"[..], b"\x1b[", b"\x1b[12;", b"\xc2\x9b"] {
            assert_eq!(console.line(raw), "");
        }
    }

    #[test]
    fn tail_is_bounded_and_keeps_the_end() {
        let mut console = Console::default();
        for number in 0..1000 {
            console.line(format!("line {number}").as_bytes());
        }
        let tail: Vec<&str> = console.tail().collect();
        assert_eq!(
            (tail.len(), tail.first(), tail.last()),
            (60, Some(&"line 940"), Some(&"line 999"))
        );
    }
}
