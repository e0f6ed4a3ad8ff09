//! `oomwatch cleanup`: removes what an agent leaves on a machine. What is pinned keeps programs attached; what is in the
//! journal's folder is history. It takes the agent's own locks first, so that it never does that to one that runs.

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
    sys::escape::escape,
};

/// The lock in the journal's folder.
const LOCK: &str = "lock";
/// What the names of the journal's files begin with: the database, what `SQLite` keeps beside it, and what was set aside.
const DATABASE: &str = "oomwatch.db";

/// Configuration of `oomwatch cleanup`.
#[derive(Debug)]
pub struct CleanupConfig {
    /// Whether to remove the history too.
    pub history: bool,
    /// The folder of the history.
    pub state_dir: PathBuf,
    /// Whether to wait for a signal afterwards.
    pub stay: bool,
    /// The BPF file system with the pins.
    pub bpffs: PathBuf,
}

/// Removes what an agent has left, and prints each path that it removed.
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
                return Err(error).context("write to stdout");
            }
            _ => {}
        }
    }
    done?;
    if removed.is_empty() {
        info!("there was nothing to remove");
    }
    if stay {
        info!("done, and waiting for a signal");
        signals.any().await;
    }
    Ok(Exit::Done)
}

fn remove(
    bpffs: &Path,
    state_dir: &Path,
    journal: bool,
    removed: &mut Vec<PathBuf>,
) -> anyhow::Result<()> {
    let _lock = lock(state_dir)?;
    if let Some(pins) = find(bpffs)? {
        remove_pins(pins, removed)?;
    }
    if journal {
        remove_journal(state_dir, removed)?;
    }
    Ok(())
}

/// The lock of the journal's folder, if there is one.
fn lock(state_dir: &Path) -> anyhow::Result<Option<File>> {
    let path = state_dir.join(LOCK);
    let file = match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.with_context(|| format!("open {}", path.display()))?,
    };
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => {
            bail!(
                "an agent runs, since it has locked {}: end it first",
                path.display()
            )
        }
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("lock {}", path.display()))
        }
    }
}

fn find(bpffs: &Path) -> anyhow::Result<Option<Pins>> {
    match Pins::find(bpffs) {
        Err(PinError::Locked(folder)) => {
            bail!(
                "an agent runs, since it has locked {}: end it first",
                folder.display()
            )
        }
        found => Ok(found?),
    }
}

/// Those of any version.
fn remove_pins(pins: Pins, removed: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let contents = pins.contents()?;
    for generation in contents.generations {
        generation.remove()?;
        removed.push(generation.folder().to_owned());
    }
    for name in &contents.unknown {
        warn!(
            path = %pins.folder().join(name).display(),
            "this is none of the agent's, and is left alone"
        );
    }
    if contents.unknown.is_empty() {
        let folder = pins.folder().to_owned();
        pins.remove()?;
        removed.push(folder);
    }
    Ok(())
}

/// Also what was set aside as damaged or of another version.
fn remove_journal(state_dir: &Path, removed: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let entries = match fs::read_dir(state_dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.with_context(|| format!("read folder {}", state_dir.display()))?,
    };
    let mut is_empty = true;
    for entry in entries {
        let entry = entry.with_context(|| format!("read folder {}", state_dir.display()))?;
        let (path, name) = (entry.path(), entry.file_name());
        if name == LOCK || name.as_bytes().starts_with(DATABASE.as_bytes()) {
            fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
            removed.push(path);
        } else {
            warn!(path = %path.display(), "this is none of the agent's, and is left alone");
            is_empty = false;
        }
    }
    if is_empty {
        match fs::remove_dir(state_dir) {
            Ok(()) => removed.push(state_dir.to_owned()),
            // It is mounted into a container.
            Err(error) => debug!(%error, "leave the empty folder"),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
