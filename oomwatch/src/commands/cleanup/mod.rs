//! `oomwatch cleanup`: removes what an agent leaves on a machine: pins, which keep programs attached, and the history. It
//! takes the agent's locks first, so that it never removes anything of a running agent.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Write as _},
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use tracing::{debug, info, warn};

use crate::{
    capture::bpf::pins::{PinError, Pins},
    commands::{exit::Exit, signals::Signals},
    store::files::open_lock,
    sys::escape::escape,
};

/// The agent's lock file in the state directory.
const LOCK: &str = "lock";
/// The prefix of the history's files: the database, the files that `SQLite` keeps beside it, and databases that were moved
/// away because they were damaged or of another version.
const DATABASE: &str = "oomwatch.db";

/// Configuration of `oomwatch cleanup`.
#[derive(Debug)]
pub struct CleanupConfig {
    /// Whether to remove the history too.
    pub history: bool,
    /// The directory of the history.
    pub state_dir: PathBuf,
    /// Whether to wait for a signal afterwards.
    pub stay: bool,
    /// The BPF file system with the pins.
    pub bpffs: PathBuf,
}

/// Removes pins and, if asked, the history. Prints each removed path to stdout.
pub async fn run(config: CleanupConfig) -> anyhow::Result<Exit> {
    let CleanupConfig {
        history,
        state_dir,
        stay,
        bpffs,
    } = config;
    let mut signals = Signals::new()?;
    let mut removed = Vec::new();
    let done = remove(&bpffs, &state_dir, history, &mut removed);
    let mut stdout = io::stdout().lock();
    for path in &removed {
        match writeln!(stdout, "{}", escape(path.as_os_str().as_bytes())) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                return Err(error).context("failed to write to stdout");
            }
            _ => {}
        }
    }
    done?;
    if removed.is_empty() {
        info!("nothing to remove");
    }
    if stay {
        info!("finished, waiting for a signal");
        signals.any().await;
    }
    Ok(Exit::Done)
}

fn remove(
    bpffs: &Path,
    state_dir: &Path,
    is_history_removed: bool,
    removed: &mut Vec<PathBuf>,
) -> anyhow::Result<()> {
    let _lock = lock(state_dir)?;
    if let Some(pins) = find_pins(bpffs)? {
        remove_pins(pins, removed)?;
    }
    if is_history_removed {
        remove_history(state_dir, removed)?;
    }
    Ok(())
}

/// Locks the state directory, if it exists.
fn lock(state_dir: &Path) -> anyhow::Result<Option<File>> {
    let path = state_dir.join(LOCK);
    let file = match open_lock(File::options().read(true), &path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.with_context(|| format!("failed to open {}", path.display()))?,
    };
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => {
            bail!(
                "an agent is running and has locked {} (stop it first)",
                path.display()
            )
        }
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("failed to lock {}", path.display()))
        }
    }
}

fn find_pins(bpffs: &Path) -> anyhow::Result<Option<Pins>> {
    match Pins::find(bpffs) {
        Err(PinError::Locked(folder)) => {
            bail!(
                "an agent is running and has locked {} (stop it first)",
                folder.display()
            )
        }
        found => Ok(found?),
    }
}

/// Removes the pins of every version of the agent.
fn remove_pins(pins: Pins, removed: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let contents = pins.contents()?;
    for generation in contents.generations {
        generation.remove()?;
        removed.push(generation.folder().to_owned());
    }
    for name in &contents.unknown {
        warn!(
            path = %pins.folder().join(name).display(),
            "not a file of the agent, not removed"
        );
    }
    if contents.unknown.is_empty() {
        let folder = pins.folder().to_owned();
        pins.remove()?;
        removed.push(folder);
    }
    Ok(())
}

/// Removes the history, with databases that were moved away.
fn remove_history(state_dir: &Path, removed: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let entries = match fs::read_dir(state_dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => {
            entries.with_context(|| format!("failed to read directory {}", state_dir.display()))?
        }
    };
    let mut is_empty = true;
    for entry in entries {
        let entry =
            entry.with_context(|| format!("failed to read directory {}", state_dir.display()))?;
        let (path, name) = (entry.path(), entry.file_name());
        if name == LOCK || name.as_bytes().starts_with(DATABASE.as_bytes()) {
            fs::remove_file(&path)
                .with_context(|| format!("failed to remove {}", path.display()))?;
            removed.push(path);
        } else {
            warn!(path = %path.display(), "not a file of the agent, not removed");
            is_empty = false;
        }
    }
    if is_empty {
        match fs::remove_dir(state_dir) {
            Ok(()) => removed.push(state_dir.to_owned()),
            // It is a mount point in a container.
            Err(error) => debug!(%error, "the empty state directory is not removed"),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
