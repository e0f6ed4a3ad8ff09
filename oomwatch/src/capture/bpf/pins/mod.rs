//! What of an agent outlives it: its links, its counters and its ring, pinned below `oomwatch` in a BPF file system.
//!
//! Each start of the agent makes a *generation* of its own there, a folder with
//!
//! | file | is |
//! |---|---|
//! | `dropped` | the counters of records that a full ring refused |
//! | `link-PROGRAM` | what keeps a program attached |
//! | `records` | the ring, pinned last: without it the others are a start that was not completed |
//!
//! Programs that are pinned go on with their own maps, whatever a newer agent brings. So a newer one adopts nothing: it puts
//! programs of its own into their place, reads what is in their ring and removes them ([`crate::capture::observer`]).
//!
//! A folder's name says by which rules its ring is to be read and from when on its records count (bpffs allows no dots in
//! names). What an older generation has seen from that moment on the newer one has seen, too.

use std::{
    ffi::OsString,
    fmt,
    fs::{self, DirBuilder, File, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    process,
    str::FromStr,
};

use aya::maps::{Array, Map, MapData};
use oomwatch_ebpf::record::ABI_VERSION;
use rustix::fs::statfs;
use tracing::debug;

use super::{Attached, Link, Probe, ProbeError, Ring, absent, describe, sum};

/// Where BPF file systems are mounted by convention.
pub const BPFFS: &str = "/sys/fs/bpf";

/// The folder in there that is ours.
const FOLDER: &str = "oomwatch";
/// Others than root have no business in there.
const FOLDER_MODE: u32 = 0o700;

const DROPPED: &str = "dropped";
const RECORDS: &str = "records";
const LINK_PREFIX: &str = "link-";

/// `BPF_FS_MAGIC` of `include/uapi/linux/magic.h`.
const BPF_FS_MAGIC: u64 = 0xcafe_4a11;

/// Why nothing can be pinned.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// Nothing there, or another file system: sysfs has an empty folder where bpffs is not mounted.
    #[error(
        "find a BPF file system at {}: mount one (mount -t bpf bpf {BPFFS}), and in a container mount the host's, or say with --bpffs where it is", .0.display()
    )]
    NoBpffs(PathBuf),
    /// Another agent, or a cleanup.
    #[error("lock {}: another agent holds it", .0.display())]
    Locked(PathBuf),
    /// A file or folder in there.
    #[error("{what} {}", .path.display())]
    File {
        /// What was being done.
        what: &'static str,
        /// Which one.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A perf event of a kernel without links for them.
    #[error("pin program {0}: this kernel attaches it by a perf event, which cannot be pinned")]
    NoLink(&'static str),
    /// The kernel refuses.
    #[error("pin {}", .path.display())]
    Pin {
        /// As what.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<aya::pin::PinError>,
    },
    /// A map, or a program that was detached by a pin that failed and cannot be attached again.
    #[error(transparent)]
    Probe(#[from] ProbeError),
}

/// Whether a BPF file system is mounted there.
pub fn is_bpffs(path: &Path) -> io::Result<bool> {
    Ok(u64::try_from(statfs(path)?.f_type).is_ok_and(|kind| kind == BPF_FS_MAGIC))
}

/// Pins something there, and removes it again.
pub fn try_pin(bpffs: &Path) -> Result<(), PinError> {
    if !is_bpffs(bpffs).unwrap_or(false) {
        return Err(PinError::NoBpffs(bpffs.to_owned()));
    }
    super::raise_memlock();
    let map = Array::<MapData, u32>::create(1, 0).map_err(|source| ProbeError::Map {
        map: "on trial",
        source,
    })?;
    let path = bpffs.join(format!("{FOLDER}-trial-{}", process::id()));
    map.pin(&path).map_err(refused(&path))?;
    fs::remove_file(&path).map_err(file_error("remove", &path))
}

/// The name of a generation. In the order of their times they were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// Its records count from here on: nanoseconds since boot.
    pub since_boot_time_ns: u64,
    /// Layout of its records.
    pub abi_version: u32,
}

impl Name {
    /// Of a generation of ours.
    #[must_use]
    pub fn new(since_boot_time_ns: u64) -> Self {
        Self {
            since_boot_time_ns,
            abi_version: ABI_VERSION,
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:016x}", self.abi_version, self.since_boot_time_ns)
    }
}

/// Not the name of a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the name of a generation")]
pub struct NoName;

impl FromStr for Name {
    type Err = NoName;

    fn from_str(text: &str) -> Result<Self, NoName> {
        let (abi_version, since) = text.split_once('-').ok_or(NoName)?;
        let name = Self {
            since_boot_time_ns: u64::from_str_radix(since, 16).map_err(|_| NoName)?,
            abi_version: abi_version.parse().map_err(|_| NoName)?,
        };
        // Each has one only.
        if name.to_string() == text {
            Ok(name)
        } else {
            Err(NoName)
        }
    }
}

/// The folder of ours, locked for as long as this lives.
#[derive(Debug)]
pub struct Pins {
    folder: PathBuf,
    _lock: File,
}

/// What is in it.
#[derive(Debug, Default)]
pub struct Contents {
    /// In the order in which they were made.
    pub generations: Vec<Generation>,
    /// What is none of ours.
    pub unknown: Vec<OsString>,
}

impl Pins {
    /// Makes it, if it is not there, and locks it.
    pub fn open(bpffs: &Path) -> Result<Self, PinError> {
        if !is_bpffs(bpffs).unwrap_or(false) {
            return Err(PinError::NoBpffs(bpffs.to_owned()));
        }
        let folder = bpffs.join(FOLDER);
        loop {
            make_folder(&folder)?;
            // A cleanup may remove it meanwhile.
            if let Some(pins) = Self::lock(&folder)? {
                return Ok(pins);
            }
        }
    }

    /// Locks it, if it is there.
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
        let locked = lock.metadata().map_err(&failed)?;
        let is_there = fs::metadata(folder).is_ok_and(|found| found.ino() == locked.ino());
        Ok(is_there.then(|| Self {
            folder: folder.to_owned(),
            _lock: lock,
        }))
    }

    /// Where they are.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Looks at what is there.
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

    /// Pins attached programs with their counters and their ring. What fails leaves them attached, but not pinned.
    pub fn keep(&self, probe: &mut Probe, ring: &Ring, name: Name) -> Result<Generation, PinError> {
        for Attached { program, link } in &probe.attached {
            if !matches!(link, Link::Own(_)) {
                return Err(PinError::NoLink(program.name));
            }
        }
        let generation = self.generation(name);
        make_folder(&generation.folder)?;
        match generation.pin(probe, ring) {
            Ok(()) => Ok(generation),
            Err(error) => {
                if let Err(error) = generation.remove() {
                    debug!(error = describe(&error), "remove what was pinned");
                }
                probe.attach_lost()?;
                Err(error)
            }
        }
    }

    /// Removes the folder, if nothing is in it.
    pub fn remove(self) -> Result<(), PinError> {
        fs::remove_dir(&self.folder).map_err(file_error("remove", &self.folder))
    }

    fn generation(&self, name: Name) -> Generation {
        Generation {
            name,
            folder: self.folder.join(name.to_string()),
        }
    }
}

/// What one start of the agent has pinned.
#[derive(Clone, Debug)]
pub struct Generation {
    /// Its name.
    pub name: Name,
    folder: PathBuf,
}

impl Generation {
    /// Where it is.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether its records are laid out as this version's.
    #[must_use]
    pub fn is_of_this_layout(&self) -> bool {
        self.name.abi_version == ABI_VERSION
    }

    /// Whether all of it was pinned.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.folder.join(RECORDS).exists()
    }

    /// Opens its ring.
    pub fn ring(&self) -> Result<Ring, ProbeError> {
        Ring::pinned(&self.folder.join(RECORDS))
    }

    /// How many records its ring has refused so far.
    pub fn dropped(&self) -> Result<u64, ProbeError> {
        let dropped = || {
            sum(&Map::from_map_data(MapData::from_pin(
                self.folder.join(DROPPED),
            )?)?)
        };
        dropped().map_err(|source| ProbeError::Map {
            map: "DROPPED",
            source,
        })
    }

    /// Removes all but the ring and its counters: shortly after, its programs do not run any more.
    pub fn detach(&self) -> Result<(), PinError> {
        for name in names(&self.folder)? {
            if name != RECORDS && name != DROPPED {
                self.remove_file(&name)?;
            }
        }
        Ok(())
    }

    /// Removes all of it. From the first step on it is no complete one.
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

    fn pin(&self, probe: &mut Probe, ring: &Ring) -> Result<(), PinError> {
        let Probe { ebpf, attached, .. } = probe;
        let dropped = self.folder.join(DROPPED);
        let counters = ebpf.map("DROPPED").ok_or_else(|| absent("DROPPED"))?;
        counters.pin(&dropped).map_err(refused(&dropped))?;
        for Attached { program, link } in attached {
            let path = self.folder.join(format!("{LINK_PREFIX}{}", program.name));
            // A link that cannot be pinned is gone.
            if let Link::Own(own) = std::mem::replace(link, Link::Lost) {
                *link = Link::Own(own.pin(&path).map_err(refused(&path))?.into());
            }
        }
        let records = self.folder.join(RECORDS);
        ring.pin(&records).map_err(refused(&records))
    }
}

fn make_folder(path: &Path) -> Result<(), PinError> {
    match DirBuilder::new().mode(FOLDER_MODE).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made.map_err(file_error("make folder", path)),
    }
}

/// Names of what is in a folder.
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
