//! `cargo xtask run`: builds oomwatch and runs `oomwatch watch` as root; with `--demo` it also causes a kill.
//!
//! The output of `watch` is not changed.

use std::env;
use std::ffi::OsString;
use std::io::{self, BufRead as _, BufReader, Read};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;

use anyhow::{Context as _, Result, ensure};

use crate::cargo::{self, Workspace};
use crate::{demo, exec};

/// What `watch` logs to stderr once it sees kills.
pub(crate) const ATTACHED: &[u8] = b"watching for OOM kills";
const DEMO: &str = "--demo";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Cause a real OOM kill in a small memory cgroup once the watcher is attached
    #[arg(long)]
    demo: bool,
    /// Build with optimizations
    #[arg(long)]
    release: bool,
    /// Arguments for `oomwatch watch`
    #[arg(last = true, value_name = "ARGS")]
    watch: Vec<OsString>,
}

pub(crate) fn run(args: Args) -> Result<ExitCode> {
    let Args {
        demo,
        release,
        watch,
    } = args;
    let (demo, watch_args) = take_demo(demo, watch);
    let workspace = Workspace::load()?;
    let mut build = workspace.cargo();
    build.args([
        "build",
        "--locked",
        "--package",
        "oomwatch",
        "--bin",
        "oomwatch",
    ]);
    if release {
        build.arg("--release");
    }
    let oomwatch = cargo::build_executable(&mut build, "bin", "oomwatch")?;
    let mut watch = exec::as_root(&oomwatch);
    watch.arg("watch").args(watch_args);
    if demo {
        run_demo(watch)
    } else {
        Err(watch.exec()).with_context(|| format!("failed to start `{}`", exec::shown(&watch)))
    }
}

/// `run --demo -- ARGS` and `run -- --demo ARGS` are the same.
fn take_demo(demo: bool, mut args: Vec<OsString>) -> (bool, Vec<OsString>) {
    let given = args.len();
    args.retain(|arg| arg != DEMO);
    (demo || args.len() < given, args)
}

fn run_demo(mut watch: Command) -> Result<ExitCode> {
    ignore_interrupt()?;
    exec::end_with_us(watch.stderr(Stdio::piped()), libc::SIGTERM);
    let mut child = watch
        .spawn()
        .with_context(|| format!("failed to start `{}`", exec::shown(&watch)))?;
    let stderr = child.stderr.take().context("the watcher has no stderr")?;
    let (attached, wait) = mpsc::channel();
    let forwarder = thread::spawn(move || {
        forward(stderr, &mut io::stderr(), || {
            // The receiver waits, or has returned an error.
            let _ = attached.send(());
        });
    });
    // An error means that the watcher ended without attaching; it has logged why, and its exit code is returned.
    let demo = match wait.recv() {
        Ok(()) => kill_one_as_root(),
        Err(_) => Ok(()),
    };
    if demo.is_err() {
        // It fails if the watcher has ended already, or runs as root and this process does not.
        drop(child.kill());
    }
    let status = child.wait().context("failed to wait for the watcher")?;
    // Its last lines are still being copied.
    drop(forwarder.join());
    demo.map(|()| exit_code(status))
}

fn kill_one_as_root() -> Result<()> {
    if exec::is_root() {
        return demo::kill_one();
    }
    let ourselves = env::current_exe().context("failed to find the path of this executable")?;
    let status = exec::as_root(&ourselves)
        .arg("demo-kill")
        .status()
        .context("failed to start the demo through sudo")?;
    ensure!(status.success(), "the demo failed: {status}");
    Ok(())
}

/// Copies line by line, and calls `attached` once when the watcher has logged that it is attached.
fn forward(from: impl Read, to: &mut impl io::Write, attached: impl FnOnce()) {
    let mut from = BufReader::new(from);
    let mut attached = Some(attached);
    let mut line = Vec::new();
    while from.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
        // The watcher's stderr is drained even if ours is closed.
        drop(to.write_all(&line));
        if line
            .windows(ATTACHED.len())
            .any(|window| window == ATTACHED)
            && let Some(attached) = attached.take()
        {
            attached();
        }
        line.clear();
    }
}

/// Ctrl-C reaches the watcher too; this process waits until it has ended.
fn ignore_interrupt() -> Result<()> {
    extern "C" fn wait_for_the_watcher(_signal: libc::c_int) {}
    let handler = wait_for_the_watcher as extern "C" fn(libc::c_int);
    // SAFETY: the handler does nothing, so it may run at any point. A handler is reset by exec, so that the watcher
    // does not inherit it as it would SIG_IGN.
    let previous = unsafe { libc::signal(libc::SIGINT, handler as libc::sighandler_t) };
    if previous == libc::SIG_ERR {
        return Err(io::Error::last_os_error()).context("failed to handle SIGINT");
    }
    Ok(())
}

/// As in a shell: the code, or 128 plus the signal.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .and_then(|code| u8::try_from(code).ok());
    code.map_or(ExitCode::FAILURE, ExitCode::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(args: &[&str]) -> Vec<OsString> {
        args.iter().map(OsString::from).collect()
    }

    #[test]
    fn demo_is_accepted_before_and_after_the_dashes() {
        assert_eq!(
            take_demo(true, args(&["--count", "1"])),
            (true, args(&["--count", "1"]))
        );
        assert_eq!(
            take_demo(false, args(&["--demo", "--count", "1"])),
            (true, args(&["--count", "1"]))
        );
        assert_eq!(
            take_demo(false, args(&["--demonstrate"])),
            (false, args(&["--demonstrate"]))
        );
        assert_eq!(take_demo(false, Vec::new()), (false, Vec::new()));
    }

    #[test]
    fn everything_is_forwarded_and_attached_is_called_once() {
        let stderr =
            b"\xff odd\nINFO watching for OOM kills backend=fentry\nwatching for OOM kills\nno newline";
        let (mut copied, mut calls) = (Vec::new(), 0);
        forward(&stderr[..], &mut copied, || calls += 1);
        assert_eq!((copied.as_slice(), calls), (&stderr[..], 1));
    }

    #[test]
    fn attached_is_not_called_for_other_lines() {
        for stderr in [&b""[..], b"watching for", b"watching for\nOOM kills\n"] {
            let mut called = false;
            forward(stderr, &mut Vec::new(), || called = true);
            assert!(!called);
        }
    }

    #[test]
    fn signal_is_128_plus_its_number() {
        assert_eq!(
            exit_code(ExitStatus::from_raw(130 << 8)),
            ExitCode::from(130)
        );
        assert_eq!(
            exit_code(ExitStatus::from_raw(libc::SIGKILL)),
            ExitCode::from(137)
        );
        assert_eq!(exit_code(ExitStatus::from_raw(0)), ExitCode::SUCCESS);
    }
}
