//! The command from outside: exit codes, what goes to stdout and what to stderr, and errors that say what to do.
//!
//! Runs as root and as an ordinary user; as root, what ordinary users get is tried by becoming one.

#![expect(clippy::expect_used, reason = "helpers of tests")]

use std::{
    fs::{self, File},
    io::{self, PipeReader},
    os::{fd::AsRawFd as _, unix::process::CommandExt as _},
    path::Path,
    process::{Command, Output, Stdio},
};

use rustix::thread::{CapabilitySet, capabilities};

/// An unprivileged user; any would do.
const UNPRIVILEGED: u32 = 65534;

fn oomwatch(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_oomwatch"));
    command
        .args(arguments)
        .env_remove("NO_COLOR")
        .env_remove("NODE_NAME")
        .stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> Ran {
    Ran::new(&mut oomwatch(arguments))
}

/// Runs it as a user without any capability, by an open file: its folder may be closed to that user.
fn run_as_nobody(arguments: &[&str]) -> Ran {
    let program = File::open(env!("CARGO_BIN_EXE_oomwatch")).expect("open the command");
    let mut command = Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()));
    command
        .arg0("oomwatch")
        .args(arguments)
        .stdin(Stdio::null())
        .current_dir("/");
    if rustix::process::geteuid().is_root() {
        command.uid(UNPRIVILEGED).gid(UNPRIVILEGED);
    }
    Ran::new(&mut command)
}

/// Whether this process may load programs.
fn is_privileged() -> bool {
    let effective = capabilities(None).expect("read the capabilities").effective;
    effective.contains(CapabilitySet::SYS_ADMIN)
        || effective.contains(CapabilitySet::BPF | CapabilitySet::PERFMON)
}

#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ran {
    fn new(command: &mut Command) -> Self {
        let Output {
            status,
            stdout,
            stderr,
        } = command.output().expect("run the command");
        let stderr = String::from_utf8(stderr).expect("stderr is text");
        assert!(!stderr.contains("panicked"), "{stderr}");
        Self {
            code: status.code(),
            stdout: String::from_utf8(stdout).expect("stdout is text"),
            stderr,
        }
    }

    fn ended_with(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    fn said(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.stderr.contains(word), "{word}: {self:#?}");
        }
        self
    }

    fn printed(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.stdout.contains(word), "{word}: {self:#?}");
        }
        self
    }

    fn printed_nothing(self) -> Self {
        assert_eq!(self.stdout, "", "{self:#?}");
        self
    }
}

#[test]
fn version_is_the_packages() {
    run(&["--version"]).ended_with(0).printed(&[concat!(
        "oomwatch ",
        env!("CARGO_PKG_VERSION"),
        "\n"
    )]);
}

#[test]
fn wrong_usage_is_told_on_stderr_with_code_2() {
    for (arguments, words) in [
        (&["--frobnicate"][..], &["--frobnicate", "Usage:"][..]),
        (&["watch", "--frobnicate"], &["--frobnicate", "Usage:"]),
        (&["doctor", "-o", "yaml"], &["yaml", "text", "json"]),
        (&["doctor", "extra"], &["extra", "Usage:"]),
        (&["docter"], &["docter", "doctor"]),
        (&["wach"], &["wach", "watch"]),
        (&[], &["Usage:", "watch", "doctor"]),
        (&["watch", "--count", "0"], &["--count", "1.."]),
        (&["watch", "--count", "many"], &["--count", "many"]),
        (&["watch", "--timeout", "0s"], &["--timeout", "longer"]),
        (&["watch", "--timeout", "5"], &["--timeout", "30s"]),
        (
            &["watch", "--cgroup", "relative"],
            &["--cgroup", "/system.slice"],
        ),
        (
            &["watch", "--cgroup", "/sys/fs/cgroup/system.slice"],
            &["--cgroup", "/system.slice"],
        ),
        (&["watch", "--scope", "all"], &["memcg", "system"]),
        (&["completions", "tcsh"], &["bash", "zsh", "fish"]),
    ] {
        run(arguments).ended_with(2).said(words).printed_nothing();
    }
}

#[test]
fn help_names_every_command() {
    run(&["--help"])
        .ended_with(0)
        .printed(&["watch", "doctor", "completions"]);
    run(&["doctor", "--help"])
        .ended_with(0)
        .printed(&["FAIL", "Exit codes", "--proc-root"]);
}

#[test]
fn completions_and_manual_are_written() {
    for (shell, word) in [
        ("bash", "complete -F"),
        ("zsh", "#compdef oomwatch"),
        ("fish", "complete -c oomwatch"),
    ] {
        run(&["completions", shell])
            .ended_with(0)
            .printed(&[word, "doctor"]);
    }
    let folder = tempfile::tempdir().expect("make a folder");
    run(&["man", folder.path().to_str().expect("a path in UTF-8")])
        .ended_with(0)
        .printed_nothing();
    for (page, word) in [("oomwatch.1", "SYNOPSIS"), ("oomwatch-watch.1", "cgroup")] {
        let page = fs::read_to_string(folder.path().join(page)).expect("a page");
        assert!(page.contains(word), "{page}");
    }
    run(&["man", "/nonexistent"])
        .ended_with(1)
        .said(&["/nonexistent"]);
}

/// A pipe without a reader, as `| head` leaves it behind.
fn closed_pipe() -> Stdio {
    let (reader, writer): (PipeReader, _) = io::pipe().expect("make a pipe");
    drop(reader);
    writer.into()
}

#[test]
fn closed_pipe_is_no_failure() {
    for arguments in [&["completions", "bash"][..], &["--help"], &["--version"]] {
        Ran::new(
            oomwatch(arguments)
                .stdout(closed_pipe())
                .stderr(Stdio::piped()),
        )
        .ended_with(0);
    }
}

#[test]
fn doctors_exit_code_survives_a_closed_pipe() {
    for output in ["text", "json"] {
        let arguments = ["doctor", "-o", output, "--proc-root", "/nonexistent"];
        let ran = Ran::new(oomwatch(&arguments).stdout(closed_pipe()));
        assert_eq!(ran.ended_with(1).stderr, "");
    }
}

#[test]
fn doctor_without_roots_fails_with_the_remedies() {
    run(&[
        "doctor",
        "--backend",
        "raw-tracepoint",
        "--proc-root",
        "/nonexistent/proc",
        "--cgroup-root",
        "/nonexistent/cgroup",
        "--btf",
        "/nonexistent/btf",
    ])
    .ended_with(1)
    .printed(&[
        "FAIL  BTF",
        "there is no /nonexistent/btf",
        "give a file with its BTF with --btf",
        "read /nonexistent/proc/vmstat: no such file",
        "give the host's with --proc-root",
        "\noomwatch watch does not work here: see BTF",
    ]);
}

#[test]
fn doctor_takes_garbage_for_btf_as_what_it_is() {
    let file = garbage();
    run(&[
        "doctor",
        "--backend",
        "raw-tracepoint",
        "--btf",
        path(&file),
    ])
    .ended_with(1)
    .printed(&[
        "  BTF ",
        "is not BTF",
        "omit --btf",
        "see BTF, under Kernel",
    ]);
    run(&["doctor", "--btf", "/"]).printed(&["  BTF ", "is a directory"]);
}

#[test]
fn doctors_json_is_one_object_that_agrees_with_its_exit_code() {
    let ran = run(&["doctor", "-o", "json"]);
    let doctor: serde_json::Value = serde_json::from_str(&ran.stdout).expect("parse");
    assert_eq!(doctor["schema"], "oomwatch-doctor/v1");
    assert_eq!(doctor["works"].as_bool(), Some(ran.code == Some(0)));
    let checks = doctor["checks"].as_array().expect("a list");
    assert!(checks.iter().any(|check| check["name"] == "raw-tracepoint"));
    assert_eq!(
        doctor["backend"].is_string(),
        ran.code == Some(0),
        "{doctor}"
    );
    for check in checks {
        let needs_remedy = ["warn", "fail"]
            .iter()
            .any(|status| check["status"] == *status);
        assert!(!needs_remedy || check["remedy"].is_string(), "{check}");
    }
}

#[test]
fn doctor_as_an_ordinary_user_names_the_capabilities() {
    let arguments = ["doctor", "--backend", "raw-tracepoint"];
    let ran = run_as_nobody(&arguments).ended_with(1).printed(&[
        "FAIL  CAP_BPF",
        "FAIL  CAP_PERFMON",
        "sudo",
        "setcap",
        "does not work here",
    ]);
    assert!(!ran.stdout.contains('\x1b'), "{}", ran.stdout);
    assert_eq!(ran.stderr, "");
}

#[test]
fn doctor_as_root_finds_that_watch_works() {
    if !is_privileged() {
        eprintln!("skipped: needs CAP_BPF and CAP_PERFMON, which this user does not have");
        return;
    }
    run(&["doctor"]).ended_with(0).printed(&[
        "ok    raw-tracepoint",
        "ok    --backend",
        "oomwatch watch works here, with ",
    ]);
}

#[test]
fn doctor_is_colored_only_if_asked_or_on_a_terminal() {
    assert!(!run(&["doctor"]).stdout.contains('\x1b'));
    assert!(
        run(&["doctor", "--color", "always"])
            .stdout
            .contains("\x1b[1mKernel\x1b[0m")
    );
}

#[test]
fn cleanup_with_nothing_to_remove_is_done() {
    let nowhere = ["--bpffs", "/nonexistent", "--state-dir", "/nonexistent"];
    for more in [&[][..], &["--history"]] {
        run(&[&["cleanup"], &nowhere[..], more].concat())
            .ended_with(0)
            .said(&["nothing to remove"])
            .printed_nothing();
    }
}

#[test]
fn watch_as_an_ordinary_user_says_how_to_get_what_is_missing() {
    for btf in [&[][..], &["--btf", "/nonexistent"]] {
        let arguments = ["watch", "--backend", "raw-tracepoint"];
        run_as_nobody(&[&arguments, btf].concat())
            .ended_with(1)
            .said(&["CAP_BPF", "CAP_PERFMON", "sudo"])
            .printed_nothing();
    }
}

#[test]
fn watch_without_privileges_falls_back_and_says_so() {
    // Where the log may not be read either, the counts are left.
    for (kmsg, backend) in [
        (&[][..], "backend=\""),
        (&["--kmsg", "/nonexistent"], "backend=\"counters\""),
    ] {
        let arguments = ["watch", "--timeout", "10ms"];
        run_as_nobody(&[&arguments, kmsg].concat())
            .ended_with(0)
            .said(&["backend does not work here", "CAP_BPF", "sudo", backend]);
    }
}

#[test]
fn watch_without_usable_btf_says_what_to_do() {
    let file = garbage();
    for (btf, words) in [
        (
            "/nonexistent",
            &[
                "kernel's BTF",
                "/nonexistent",
                "CONFIG_DEBUG_INFO_BTF",
                "--btf",
            ][..],
        ),
        (
            path(&file),
            &["is not BTF", "--btf", "/sys/kernel/btf/vmlinux"],
        ),
    ] {
        let words = if is_privileged() {
            words
        } else {
            &["CAP_BPF", "sudo"][..]
        };
        run(&["watch", "--backend", "raw-tracepoint", "--btf", btf])
            .ended_with(1)
            .said(words)
            .printed_nothing();
    }
}

#[test]
fn socket_that_does_not_exist_is_an_error() {
    for flag in ["--cri-socket", "--docker-socket", "--podman-socket"] {
        for command in ["watch", "agent"] {
            run(&[command, flag, "/nonexistent"])
                .ended_with(1)
                .said(&[flag, "/nonexistent: no such file"])
                .printed_nothing();
        }
    }
}

#[test]
fn watch_without_proc_names_the_file() {
    run(&["watch", "--proc-root", "/nonexistent"])
        .ended_with(1)
        .said(&["read /nonexistent/"])
        .printed_nothing();
}

fn garbage() -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("make a file");
    fs::write(file.path(), "this is no kernel's BTF\n".repeat(100)).expect("write the file");
    file
}

fn path(file: &tempfile::NamedTempFile) -> &str {
    let path: &Path = file.path();
    path.to_str().expect("a path in UTF-8")
}

#[test]
fn name_of_a_file_forges_no_line_of_the_log() {
    let ran = run(&["report", "x\n\u{1b}[2JERROR forged \u{202e}"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let lines: Vec<_> = ran.stderr.lines().collect();
    assert_eq!(lines.len(), 1, "{ran:?}");
    let name = r"x\x0a\x1b[2JERROR forged \xe2\x80\xae";
    assert!(lines[0].contains(name), "{ran:?}");
}
