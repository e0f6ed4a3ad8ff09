//! Pins links, counters and ring of the agent below `oomwatch` in a BPF file system, so that they outlive it.
//!
//! Each start of the agent creates a *generation*, a folder with
//!
//! | file | is |
//! |---|---|
//! | `accounts` | the ring of accounts |
//! | `dropped` | the counters of records that a full ring rejected |
//! | `link-PROGRAM` | the link that keeps a program attached |
//! | `records` | the ring, pinned last: a generation without it is incomplete |
//!
//! Pinned programs keep their own maps. So a new agent adopts none of them: it attaches programs of its own, reads the rings of
//! the previous generations and removes those ([`crate::capture::observer`]).
//!
//! The name of a generation states the layout of its records and the time from which on its records count; bpffs allows no dots
//! in names. From that time on, the records of the previous generation do not count, since both have seen the same kills.

use std::{
    ffi::OsString,
    fs::{self, DirBuilder, File, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    process,
};

use aya::maps::{Array, Map, MapData};
use oomwatch_ebpf::record::ABI_VERSION;
use rustix::fs::statfs;
use tracing::debug;

pub use self::name::GenerationName;
use super::{
    Attached, Dropped, Probe,
    attach::Link,
    error::{ProbeError, absent, describe},
    memory::raise_memlock,
};
use crate::capture::ring::Ring;

mod name;

/// The conventional mount point of the BPF file system.
pub const BPFFS: &str = "/sys/fs/bpf";

/// The agent's folder in it.
const FOLDER: &str = "oomwatch";
/// Mode of folders: accessible to root only.
const FOLDER_MODE: u32 = 0o700;

const ACCOUNTS: &str = "accounts";
const DROPPED: &str = "dropped";
const RECORDS: &str = "records";
const LINK_PREFIX: &str = "link-";

/// `BPF_FS_MAGIC` of `include/uapi/linux/magic.h`.
const BPF_FS_MAGIC: u64 = 0xcafe_4a11;

/// Why pinning, or reading pins, failed.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// There is no folder, or one of another file system: sysfs has an empty folder where bpffs is not mounted.
    #[error(
        "there is no BPF file system at {} (mount it: mount -t bpf bpf {BPFFS}; in a container mount the host's; or give its path with --bpffs)", .0.display()
    )]
    NoBpffs(PathBuf),
    /// Another agent or `oomwatch cleanup` holds the lock.
    #[error("failed to lock {}: another agent holds the lock", .0.display())]
    Locked(PathBuf),
    /// A file or folder cannot be accessed.
    #[error("failed to {what} {}", .path.display())]
    File {
        /// The operation, as a verb.
        what: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The program is attached by a perf event: the kernel has no links for it (kprobes before 5.15).
    #[error(
        "failed to pin program {0}: this kernel attaches it by a perf event, which cannot be pinned"
    )]
    NoLink(&'static str),
    /// The kernel refuses to pin an object.
    #[error("failed to pin {}", .path.display())]
    Pin {
        /// The path of the pin.
        path: PathBuf,
        /// The cause.
        #[source]
        source: Box<aya::pin::PinError>,
    },
    /// A map cannot be read, or a program that a failed pin has detached cannot be attached again.
    #[error(transparent)]
    Probe(#[from] ProbeError),
}

/// Whether a BPF file system is mounted at `path`.
pub fn is_bpffs(path: &Path) -> io::Result<bool> {
    Ok(u64::try_from(statfs(path)?.f_type).is_ok_and(|kind| kind == BPF_FS_MAGIC))
}

/// Pins a map and removes the pin, to check that pinning works.
pub fn try_pin(bpffs: &Path) -> Result<(), PinError> {
    if !is_bpffs(bpffs).unwrap_or(false) {
        return Err(PinError::NoBpffs(bpffs.to_owned()));
    }
    raise_memlock();
    let map = Array::<MapData, u32>::create(1, 0).map_err(|source| ProbeError::Map {
        map: "trial",
        source,
    })?;
    let path = bpffs.join(format!("{FOLDER}-trial-{}", process::id()));
    map.pin(&path).map_err(refused(&path))?;
    fs::remove_file(&path).map_err(file_error("remove", &path))
}

/// The agent's folder, locked until this is dropped.
#[derive(Debug)]
pub struct Pins {
    folder: PathBuf,
    lock: File,
}

/// The rings of attached programs.
#[derive(Clone, Copy, Debug)]
pub struct Rings<'a> {
    /// That of kills.
    pub records: &'a Ring,
    /// That of accounts.
    pub accounts: &'a Ring,
}

/// The contents of [`Pins`].
#[derive(Debug, Default)]
pub struct Contents {
    /// Generations, oldest first.
    pub generations: Vec<Generation>,
    /// Names of files that are not generations.
    pub unknown: Vec<OsString>,
}

impl Pins {
    /// Creates the folder if there is none, and locks it.
    pub fn open(bpffs: &Path) -> Result<Self, PinError> {
        if !is_bpffs(bpffs).unwrap_or(false) {
            return Err(PinError::NoBpffs(bpffs.to_owned()));
        }
        let folder = bpffs.join(FOLDER);
        loop {
            make_folder(&folder)?;
            // `oomwatch cleanup` may remove the folder in between.
            if let Some(pins) = Self::lock(&folder)? {
                return Ok(pins);
            }
        }
    }

    /// Locks the folder; `None` if there is none.
    pub fn find(bpffs: &Path) -> Result<Option<Self>, PinError> {
        if is_bpffs(bpffs).unwrap_or(false) {
            Self::lock(&bpffs.join(FOLDER))
        } else {
            Ok(None)
        }
    }

    fn lock(folder: &Path) -> Result<Option<Self>, PinError> {
        let failed = file_error("lock", folder);
        let lock = match File::open(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(&failed)?,
        };
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(PinError::Locked(folder.to_owned())),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let pins = Self {
            folder: folder.to_owned(),
            lock,
        };
        Ok((!pins.is_gone()).then_some(pins))
    }

    /// Whether the folder is no longer where it was: it was removed, or the BPF file system was unmounted.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        let identity = |found: fs::Metadata| (found.dev(), found.ino());
        let locked = self.lock.metadata().map(identity).ok();
        fs::metadata(&self.folder).map(identity).ok() != locked
    }

    /// Path of the folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Lists the folder.
    pub fn contents(&self) -> Result<Contents, PinError> {
        let mut contents = Contents::default();
        for file_name in names(&self.folder)? {
            match file_name.to_str().map(str::parse) {
                Some(Ok(name)) => contents.generations.push(self.generation(name)),
                _ => contents.unknown.push(file_name),
            }
        }
        contents
            .generations
            .sort_unstable_by_key(|found| found.name);
        Ok(contents)
    }

    /// Pins the attached programs, their counters and their rings. If that fails, they stay attached, but unpinned.
    pub fn pin(
        &self,
        probe: &mut Probe,
        rings: Rings<'_>,
        name: GenerationName,
    ) -> Result<Generation, PinError> {
        for Attached { program, link } in &probe.attached {
            if !matches!(link, Link::Own(_)) {
                return Err(PinError::NoLink(program.name));
            }
        }
        let generation = self.generation(name);
        make_folder(&generation.folder)?;
        match generation.pin(probe, rings) {
            Ok(()) => Ok(generation),
            Err(error) => {
                if let Err(error) = generation.remove() {
                    debug!(
                        error = describe(&error),
                        "failed to remove an incomplete generation"
                    );
                }
                probe.attach_lost()?;
                Err(error)
            }
        }
    }

    /// Removes the folder, which must be empty.
    pub fn remove(self) -> Result<(), PinError> {
        fs::remove_dir(&self.folder).map_err(file_error("remove", &self.folder))
    }

    fn generation(&self, name: GenerationName) -> Generation {
        Generation {
            name,
            folder: self.folder.join(name.to_string()),
        }
    }
}

/// The pins of one start of the agent.
#[derive(Clone, Debug)]
pub struct Generation {
    /// Its name.
    pub name: GenerationName,
    folder: PathBuf,
}

impl Generation {
    /// Path of its folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether its records have the layout of this version.
    #[must_use]
    pub fn has_current_layout(&self) -> bool {
        self.name.abi_version == ABI_VERSION
    }

    /// Whether everything of it was pinned.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.folder.join(RECORDS).exists()
    }

    /// Opens its ring.
    pub fn ring(&self) -> Result<Ring, ProbeError> {
        Ok(Ring::from_pin(&self.folder.join(RECORDS))?)
    }

    /// Opens its ring of accounts.
    pub fn accounts(&self) -> Result<Ring, ProbeError> {
        Ok(Ring::from_pin(&self.folder.join(ACCOUNTS))?)
    }

    /// Number of records that its full rings have rejected so far.
    pub fn dropped(&self) -> Result<Dropped, ProbeError> {
        let dropped = || {
            Dropped::read(&Map::from_map_data(MapData::from_pin(
                self.folder.join(DROPPED),
            )?)?)
        };
        dropped().map_err(|source| ProbeError::Map {
            map: "DROPPED",
            source,
        })
    }

    /// Removes everything but the rings and their counters. Its programs stop running shortly afterwards.
    pub fn detach(&self) -> Result<(), PinError> {
        for name in names(&self.folder)? {
            if ![RECORDS, ACCOUNTS, DROPPED]
                .iter()
                .any(|kept| name == *kept)
            {
                self.remove_file(&name)?;
            }
        }
        Ok(())
    }

    /// Removes the generation. It is incomplete from the first step on.
    pub fn remove(&self) -> Result<(), PinError> {
        let mut names = names(&self.folder)?;
        names.sort_unstable_by_key(|name| name != RECORDS);
        for name in names {
            self.remove_file(&name)?;
        }
        fs::remove_dir(&self.folder).map_err(file_error("remove", &self.folder))
    }

    fn remove_file(&self, name: &OsString) -> Result<(), PinError> {
        let path = self.folder.join(name);
        fs::remove_file(&path).map_err(file_error("remove", &path))
    }

    fn pin(&self, probe: &mut Probe, rings: Rings<'_>) -> Result<(), PinError> {
        let Probe { ebpf, attached, .. } = probe;
        let dropped = self.folder.join(DROPPED);
        let counters = ebpf.map("DROPPED").ok_or_else(|| absent("DROPPED"))?;
        counters.pin(&dropped).map_err(refused(&dropped))?;
        for Attached { program, link } in attached {
            let path = self.folder.join(format!("{LINK_PREFIX}{}", program.name));
            // A pin that fails consumes the link.
            if let Link::Own(own) = std::mem::replace(link, Link::Lost) {
                *link = Link::Own(own.pin(&path).map_err(refused(&path))?.into());
            }
        }
        let accounts = self.folder.join(ACCOUNTS);
        rings.accounts.pin(&accounts).map_err(refused(&accounts))?;
        let records = self.folder.join(RECORDS);
        rings.records.pin(&records).map_err(refused(&records))
    }
}

fn make_folder(path: &Path) -> Result<(), PinError> {
    match DirBuilder::new().mode(FOLDER_MODE).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made.map_err(file_error("create folder", path)),
    }
}

/// Names of the entries of a folder.
fn names(folder: &Path) -> Result<Vec<OsString>, PinError> {
    fs::read_dir(folder)
        .and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect())
        .map_err(file_error("read folder", folder))
}

fn file_error(what: &'static str, path: &Path) -> impl Fn(io::Error) -> PinError {
    move |source| PinError::File {
        what,
        path: path.to_owned(),
        source,
    }
}

fn refused(path: &Path) -> impl FnOnce(aya::pin::PinError) -> PinError {
    |source| PinError::Pin {
        path: path.to_owned(),
        source: Box::new(source),
    }
}

#[cfg(test)]
mod tests;
