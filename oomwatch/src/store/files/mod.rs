//! The folder and files of the history database: creates and locks them, and moves unusable files away.

use std::{
    ffi::OsString,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FlockOperation, OFlags, flock},
    process::geteuid,
};
use tracing::warn;

/// The default folder.
pub const FOLDER: &str = "/var/lib/oomwatch";
/// Name of the database file in the folder.
pub const FILE: &str = "oomwatch.db";
/// Suffixes of the database file and of the files that SQLite keeps beside it while it is open.
const SUFFIXES: [&str; 3] = ["", "-wal", "-shm"];
/// Start and length of the header of a database (SQLite, "Database File Format").
const MAGIC: &[u8] = b"SQLite format 3\0";
const HEADER: u64 = 100;
const WRITE_VERSION: usize = 18;
const READ_VERSION: usize = 19;
/// Number of damaged files that are kept, the newest.
const MAX_DAMAGED: usize = 2;

/// Keeps a second agent from using the same history database; released when dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// The lock could not be acquired.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another agent holds it.
    #[error("the history database in {} is in use by {}", .folder.display(), process(.pid.as_ref()))]
    Held {
        /// The folder.
        folder: PathBuf,
        /// The pid of the other agent, if it could be read from the lock file.
        pid: Option<u32>,
    },
    /// The folder cannot be used.
    #[error("failed to lock {}", .path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// The error of the system call.
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
    /// Acquires the lock without waiting; creates the folder if it does not exist.
    pub fn acquire(folder: &Path) -> Result<Self, LockError> {
        let path = folder.join("lock");
        let failed = |source| LockError::Io {
            path: path.clone(),
            source,
        };
        create_folder(folder).map_err(failed)?;
        let mut file = open_lock(&mut owner_only(), &path).map_err(failed)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut text = String::new();
                // The pid only improves the message.
                let _ = file.take(20).read_to_string(&mut text);
                return Err(LockError::Held {
                    folder: folder.to_owned(),
                    pid: text.trim().parse().ok(),
                });
            }
            Err(error) => return Err(failed(error.into())),
        }
        // Locking must work on a full disk, too.
        let _ = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Self { _file: file })
    }
}

/// Opens a lock file, which must be a regular file of this user or of root: no link is followed, and no pipe waited for.
///
/// # Errors
/// That of the system call, or what the file is instead.
pub(crate) fn open_lock(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = options
        .custom_flags(flags.bits().cast_signed())
        .open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("not a regular file (remove it)"));
    }
    let owner = metadata.uid();
    if owner != 0 && owner != geteuid().as_raw() {
        let error = format!("the file belongs to user {owner} (remove it)");
        return Err(io::Error::other(error));
    }
    Ok(file)
}

/// Creates the folder with mode 0700. An existing folder is left unchanged.
fn create_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Creates the folder, and warns if other users can write into it.
pub(super) fn prepare(folder: &Path) -> io::Result<()> {
    create_folder(folder)?;
    let mode = fs::metadata(folder)?.mode();
    if mode & 0o022 != 0 {
        warn!(
            folder = %folder.display(),
            mode = format!("{:o}", mode & 0o7777),
            "other users can write into the folder of the history database and change or remove it; fix with `chmod go-w`"
        );
    }
    Ok(())
}

/// Creates the file with mode 0600, which SQLite also uses for the files beside it. Returns false if it exists.
pub(super) fn create(path: &Path) -> io::Result<bool> {
    match owner_only().create_new(true).open(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether a file can be a database. SQLite itself treats a truncated file as an empty one, and removes its write-ahead log.
pub(super) fn is_database(path: &Path) -> io::Result<bool> {
    let mut header = Vec::new();
    File::open(path)?.take(HEADER).read_to_end(&mut header)?;
    let has_log = || fs::metadata(with_suffix(path, "-wal")).is_ok_and(|log| log.len() > 0);
    Ok(match header.as_slice() {
        [] => !has_log(),
        header => {
            // SQLite takes unknown versions for newer ones, and opens the file read-only.
            let is_known = |version: Option<&u8>| matches!(version, Some(1 | 2));
            header.len() as u64 == HEADER
                && header.starts_with(MAGIC)
                && is_known(header.get(WRITE_VERSION))
                && is_known(header.get(READ_VERSION))
        }
    })
}

fn owner_only() -> OpenOptions {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600);
    options
}

/// Device and inode of a file; absent if there is none.
pub(super) fn identity(path: &Path) -> Option<(u64, u64)> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// Moves a damaged database away, and removes the oldest ones moved before. Returns the new path.
pub(super) fn move_damaged(path: &Path, unix_seconds: u64) -> io::Result<PathBuf> {
    let mut older = list_damaged(path)?;
    older.sort_unstable();
    // The calendar may have been set back.
    let newest = older
        .last()
        .map_or(0, |(second, _)| second.saturating_add(1));
    let second = unix_seconds.max(newest);
    let moved = with_suffix(path, &format!(".damaged-{second}"));
    rename(path, &moved)?;
    for (_, old) in older.iter().rev().skip(MAX_DAMAGED - 1) {
        remove(old)?;
    }
    Ok(moved)
}

/// Moves a database of a newer version away. Returns the new path.
pub(super) fn move_newer(path: &Path, version: i32) -> io::Result<PathBuf> {
    let moved = with_suffix(path, &format!(".version-{version}"));
    remove(&moved)?;
    rename(path, &moved)?;
    Ok(moved)
}

/// Removes a database and the files beside it.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    for suffix in SUFFIXES.iter().rev() {
        ignore_not_found(fs::remove_file(with_suffix(path, suffix)))?;
    }
    Ok(())
}

/// Renames the database file last: if the process dies before, the next start finds it and repeats this.
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    for suffix in SUFFIXES.iter().rev() {
        let renamed = fs::rename(with_suffix(from, suffix), with_suffix(to, suffix));
        ignore_not_found(renamed)?;
    }
    Ok(())
}

fn ignore_not_found(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Damaged databases that were moved away, each with the second since 1970 when that was.
fn list_damaged(path: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
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

/// Appends to the file name.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests;
