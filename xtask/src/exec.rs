//! Running other programs: with an error that names them.
//!
//! It does not decide what to run, and hides nothing: what takes long is printed before it starts.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

/// Prints the command and runs it; any end but success is an error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    eprintln!("$ {}", shown(command));
    let status = command
        .status()
        .with_context(|| format!("start `{}`", shown(command)))?;
    ensure!(status.success(), "`{}`: {status}", shown(command));
    Ok(())
}

/// Runs the command silently and returns what it wrote to stdout; its stderr becomes part of the error.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("start `{}`", shown(command)))?;
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
        .with_context(|| format!("read what `{}` wrote", shown(command)))
}

/// The command much as one would type it: without its environment and the program's folder.
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

/// Where `PATH` finds a program.
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
