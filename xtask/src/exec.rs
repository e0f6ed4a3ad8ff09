//! Runs other programs: with errors that name the command, as root where needed, and ended with this process.
//!
//! Commands that may take long are printed before they start.

use std::env;
use std::ffi::OsStr;
use std::fmt;
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

use crate::failures::Failures;

/// A program and its Debian package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tool {
    pub(crate) program: &'static str,
    pub(crate) package: &'static str,
}

/// Prints the command and runs it. An exit code other than 0 is an error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    eprintln!("$ {}", shown(command));
    let status = command
        .status()
        .with_context(|| format!("failed to start `{}`", shown(command)))?;
    ensure!(status.success(), "`{}`: {status}", shown(command));
    Ok(())
}

/// A test command that failed.
#[derive(Debug)]
pub(crate) struct TestsFailed {
    why: String,
    /// Messages of its failed tests.
    pub(crate) messages: Vec<String>,
}

impl fmt::Display for TestsFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl std::error::Error for TestsFailed {}

/// Like [`run`], but the error is [`TestsFailed`]. The command's stdout is copied to ours.
pub(crate) fn run_tests(command: &mut Command) -> Result<()> {
    eprintln!("$ {}", shown(command));
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("failed to start `{}`", shown(command)))?;
    let failures = child.stdout.take().map(copy_to_stdout).transpose();
    let status = child.wait();
    let failures = failures
        .with_context(|| format!("failed to read the output of `{}`", shown(command)))?
        .unwrap_or_default();
    let status = status.with_context(|| format!("failed to wait for `{}`", shown(command)))?;
    if status.success() {
        return Ok(());
    }
    Err(TestsFailed {
        why: format!("`{}`: {status}", shown(command)),
        messages: failures.into_lines(),
    }
    .into())
}

/// Copies without waiting for complete lines: the name of a slow test appears before its outcome.
fn copy_to_stdout(mut from: impl io::Read) -> io::Result<Failures> {
    let mut failures = Failures::default();
    let mut line = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let count = match from.read(&mut buffer) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let Some(bytes) = buffer.get(..count).filter(|bytes| !bytes.is_empty()) else {
            failures.read_line(&String::from_utf8_lossy(&line));
            return Ok(failures);
        };
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes)?;
        stdout.flush()?;
        for &byte in bytes {
            if byte == b'\n' {
                failures.read_line(&String::from_utf8_lossy(&line));
                line.clear();
            } else {
                line.push(byte);
            }
        }
    }
}

/// Runs the command without printing anything and returns its stdout; its stderr becomes part of the error.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("failed to start `{}`", shown(command)))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        let stderr: Vec<&str> = stderr.lines().map(str::trim).collect();
        bail!(
            "`{}`: {}: {}",
            shown(command),
            output.status,
            stderr.join("; ")
        );
    }
    String::from_utf8(output.stdout)
        .with_context(|| format!("the output of `{}` is not UTF-8", shown(command)))
}

/// The command for messages, without its environment and the program's folder.
pub(crate) fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let program = program.file_name().unwrap_or(program.as_os_str());
    let words: Vec<_> = [program]
        .into_iter()
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect();
    words.join(" ")
}

/// Finds a program in `PATH`.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?)
        .map(|folder| folder.join(program))
        .find(|path| is_executable(path))
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata()
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// Whether this process has uid 0.
pub(crate) fn is_root() -> bool {
    // SAFETY: geteuid takes nothing, touches no memory and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// Whether `sudo` works without a password.
pub(crate) fn has_passwordless_sudo() -> bool {
    Command::new("sudo")
        .args(["-n", "true"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// A command that runs the program as root: through `sudo`, which may ask for a password, unless this process is root.
pub(crate) fn as_root(program: &Path) -> Command {
    if is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.arg("--").arg(program);
    command
}

/// Makes the kernel send `signal` to the child when this process ends. It does not reach a program behind `sudo`.
pub(crate) fn end_with_us(command: &mut Command, signal: libc::c_int) -> &mut Command {
    let set = move || {
        // SAFETY: prctl(2) is async-signal-safe and PR_SET_PDEATHSIG takes one integer.
        if unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal) } == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    };
    // SAFETY: between fork and exec the closure makes one system call and does not allocate.
    unsafe { command.pre_exec(set) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_tests_are_an_error_with_their_messages() {
        let script = r"printf 'failures:\n\n---- a ----\nodd\n\nfailures:\n    a\n'; exit 101";
        let error = run_tests(Command::new("sh").args(["-c", script])).unwrap_err();
        let failed = error.downcast_ref::<TestsFailed>().unwrap();
        assert!(failed.to_string().ends_with("exit status: 101"), "{failed}");
        assert_eq!(failed.messages, ["---- a ----", "odd"]);
        run_tests(Command::new("sh").args(["-c", "echo ok"])).unwrap();
    }
}
