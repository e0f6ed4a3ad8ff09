//! The journal's folder and files: making them, keeping others out, and setting aside what cannot be used.

use std::{
    ffi::OsString,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};
use tracing::warn;

/// Where the journal is if nobody says otherwise.
pub const FOLDER: &str = "/var/lib/oomwatch";
/// Its file there.
pub const FILE: &str = "oomwatch.db";
/// What SQLite keeps beside a database while it is open.
const BESIDE: [&str; 3] = ["", "-wal", "-shm"];
/// How a database begins, and how long that is (SQLite, "Database File Format").
const MAGIC: &[u8] = b"SQLite format 3\0";
const HEADER: u64 = 100;
const WRITE_VERSION: usize = 18;
const READ_VERSION: usize = 19;
/// Damaged files that are kept, newest first.
const MAX_DAMAGED: usize = 2;

/// Keeps a second agent from the same journal, for as long as it lives.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// The journal is not ours.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another agent has it.
    #[error("the journal in {} is used by {}", .folder.display(), process(.pid.as_ref()))]
    Held {
        /// The folder.
        folder: PathBuf,
        /// The other agent's process, if it has said so.
        pid: Option<u32>,
    },
    /// The folder cannot be used.
    #[error("lock {}", .path.display())]
    Io {
        /// The lock.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

fn process(pid: Option<&u32>) -> String {
    pid.map_or_else(
        || "another process".to_owned(),
        |pid| format!("process {pid}"),
    )
}

impl Lock {
    /// Takes it, and makes the folder if there is none.
    pub fn take(folder: &Path) -> Result<Self, LockError> {
        let path = folder.join("lock");
        let failed = |source| LockError::Io {
            path: path.clone(),
            source,
        };
        make(folder).map_err(failed)?;
        let mut file = private().open(&path).map_err(failed)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut text = String::new();
                // It only makes the message better.
                let _ = file.take(20).read_to_string(&mut text);
                return Err(LockError::Held {
                    folder: folder.to_owned(),
                    pid: text.trim().parse().ok(),
                });
            }
            Err(error) => return Err(failed(error.into())),
        }
        // A disk that is full can still be locked.
        let _ = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Self { _file: file })
    }
}

/// Makes the folder, for its owner alone. One that is there stays as it is.
fn make(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Likewise, and tells if others may write into it.
pub(super) fn prepare(folder: &Path) -> io::Result<()> {
    make(folder)?;
    let mode = fs::metadata(folder)?.mode();
    if mode & 0o022 != 0 {
        warn!(
            folder = %folder.display(),
            mode = format!("{:o}", mode & 0o7777),
            "others may write into the journal's folder, and so change or remove the journal: chmod go-w"
        );
    }
    Ok(())
}

/// Makes the file, for its owner alone; SQLite gives what it keeps beside it the same mode. Whether it is new.
pub(super) fn create(path: &Path) -> io::Result<bool> {
    match private().create_new(true).open(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether a file can be a database: SQLite takes one that is cut short for an empty one, and removes its log.
pub(super) fn is_database(path: &Path) -> io::Result<bool> {
    let mut header = Vec::new();
    File::open(path)?.take(HEADER).read_to_end(&mut header)?;
    let has_log = || fs::metadata(with_suffix(path, "-wal")).is_ok_and(|log| log.len() > 0);
    Ok(match header.as_slice() {
        [] => !has_log(),
        header => {
            // What SQLite does not know it takes for newer, and then only reads it.
            let is_known = |version: Option<&u8>| matches!(version, Some(1 | 2));
            header.len() as u64 == HEADER
                && header.starts_with(MAGIC)
                && is_known(header.get(WRITE_VERSION))
                && is_known(header.get(READ_VERSION))
        }
    })
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600);
    options
}

/// Which file it is; absent if there is none.
pub(super) fn identity(path: &Path) -> Option<(u64, u64)> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// Sets a damaged file aside with what SQLite keeps beside it, and removes the oldest of those. Where it is now.
pub(super) fn set_damaged_aside(path: &Path, unix_seconds: u64) -> io::Result<PathBuf> {
    let mut older = damaged(path)?;
    older.sort_unstable();
    // The calendar may have been set back.
    let newest = older
        .last()
        .map_or(0, |(second, _)| second.saturating_add(1));
    let second = unix_seconds.max(newest);
    let aside = with_suffix(path, &format!(".damaged-{second}"));
    rename(path, &aside)?;
    for (_, old) in older.iter().rev().skip(MAX_DAMAGED - 1) {
        remove(old)?;
    }
    Ok(aside)
}

/// Sets a newer version's file aside. Where it is now.
pub(super) fn set_newer_aside(path: &Path, version: i32) -> io::Result<PathBuf> {
    let aside = with_suffix(path, &format!(".version-{version}"));
    remove(&aside)?;
    rename(path, &aside)?;
    Ok(aside)
}

/// Removes a database with what is beside it.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    for suffix in BESIDE.iter().rev() {
        absent_is_fine(fs::remove_file(with_suffix(path, suffix)))?;
    }
    Ok(())
}

/// The file itself comes last: if this is broken off, the file is found once more.
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    for suffix in BESIDE.iter().rev() {
        let renamed = fs::rename(with_suffix(from, suffix), with_suffix(to, suffix));
        absent_is_fine(renamed)?;
    }
    Ok(())
}

fn absent_is_fine(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Damaged files, and when they were set aside.
fn damaged(path: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Ok(Vec::new());
    };
    let prefix = format!("{}.damaged-", name.to_string_lossy());
    let mut damaged = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let second = entry.file_name().to_str().and_then(|name| {
            let second = name.strip_prefix(&prefix)?;
            second.parse().ok()
        });
        damaged.extend(second.map(|second| (second, entry.path())));
    }
    Ok(damaged)
}

/// A name beside this one.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests;
