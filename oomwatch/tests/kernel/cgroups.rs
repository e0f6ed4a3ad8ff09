//! Cgroups, the same on v1 and v2: made, limited in memory without swap, entered and removed.

use std::{
    ffi::OsStr,
    fmt, fs,
    fs::File,
    io,
    ops::Deref,
    os::unix::{
        ffi::{OsStrExt as _, OsStringExt as _},
        fs::{DirEntryExt as _, MetadataExt as _},
    },
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::Skip;

/// Between two tries to remove a cgroup whose last process is on its way out.
const RETRY: Duration = Duration::from_millis(1);

/// Which interface a controller has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// `memory.limit_in_bytes`
    V1,
    /// `memory.max`
    V2,
}

/// The mounted hierarchy that has a controller.
#[derive(Debug)]
pub(crate) struct Hierarchy {
    version: Version,
    mount: PathBuf,
}

impl Hierarchy {
    /// Finds it among the mounts.
    pub(crate) fn find(controller: &str) -> Result<Self, Skip> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("read mountinfo");
        let found = mounts
            .lines()
            .find_map(|line| Self::from_mount(line, controller))
            .ok_or_else(|| Skip(format!("no {controller} controller is mounted")))?;
        if fs::metadata(&found.mount).expect("look at the mount").ino() == 1 {
            Ok(found)
        } else {
            Err(Skip(format!(
                "{} is not the root of its hierarchy",
                found.mount.display()
            )))
        }
    }

    /// `36 35 98:0 /root /mount/point options - type source super-options`, with octal escapes that these mounts never need.
    fn from_mount(line: &str, controller: &str) -> Option<Self> {
        let (mount, file_system) = line.split_once(" - ")?;
        let mount = PathBuf::from(mount.split(' ').nth(4)?);
        let mut file_system = file_system.split(' ');
        let version = match file_system.next()? {
            "cgroup" => file_system
                .next_back()?
                .split(',')
                .any(|option| option == controller)
                .then_some(Version::V1)?,
            "cgroup2" => fs::read_to_string(mount.join("cgroup.controllers"))
                .ok()?
                .split_ascii_whitespace()
                .any(|found| found == controller)
                .then_some(Version::V2)?,
            _ => return None,
        };
        Some(Self { version, mount })
    }

    /// The root of the hierarchy.
    pub(crate) fn root(self) -> Cgroup {
        Cgroup {
            hierarchy: Arc::new(self),
            path: Vec::new(),
        }
    }
}

/// A cgroup.
#[derive(Clone)]
pub(crate) struct Cgroup {
    hierarchy: Arc<Hierarchy>,
    /// As the kernel writes it, but empty for the root.
    path: Vec<u8>,
}

impl fmt::Debug for Cgroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.escape_ascii())
    }
}

/// What the file system says of a memory cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Level {
    /// From the root of the hierarchy.
    pub(crate) path: Vec<u8>,
    /// Inode number of its directory.
    pub(crate) id: u64,
    /// Limit of its memory.
    pub(crate) limit_bytes: Option<u64>,
    /// Limit of its swap, on v1 of memory and swap together.
    pub(crate) swap_limit_bytes: Option<u64>,
}

impl Cgroup {
    /// Which interface it has.
    pub(crate) fn version(&self) -> Version {
        self.hierarchy.version
    }

    /// The root of its hierarchy.
    pub(crate) fn top(&self) -> Self {
        Self {
            hierarchy: self.hierarchy.clone(),
            path: Vec::new(),
        }
    }

    /// From the root of the hierarchy, as the kernel writes it.
    pub(crate) fn path(&self) -> &[u8] {
        &self.path
    }

    /// The path of one with a plain name.
    pub(crate) fn text(&self) -> &str {
        str::from_utf8(&self.path).expect("a plain name")
    }

    fn directory(&self) -> PathBuf {
        let below = self.path.strip_prefix(b"/").unwrap_or(&self.path);
        self.hierarchy.mount.join(OsStr::from_bytes(below))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory().join(name)
    }

    /// The one below it with this name, whether it exists or not.
    pub(crate) fn below(&self, name: impl AsRef<[u8]>) -> Self {
        Self {
            hierarchy: self.hierarchy.clone(),
            path: [&self.path, &b"/"[..], name.as_ref()].concat(),
        }
    }

    /// Makes one below it, with a memory cgroup of its own.
    pub(crate) fn make(&self, name: impl AsRef<[u8]>) -> Self {
        self.try_make(name)
            .unwrap_or_else(|error| panic!("make a cgroup in {self:?}: {error}"))
    }

    /// Has a controller of cgroup v2 down to what is directly below it.
    pub(crate) fn enable(&self, controller: &str) {
        let slashes = self.path.iter().enumerate().skip(1);
        let ends = slashes.filter_map(|(at, &byte)| (byte == b'/').then_some(at));
        for end in [0].into_iter().chain(ends).chain([self.path.len()]) {
            let level = Self {
                hierarchy: self.hierarchy.clone(),
                path: self.path[..end].to_vec(),
            };
            fs::write(
                level.file("cgroup.subtree_control"),
                format!("+{controller}"),
            )
            .unwrap_or_else(|error| panic!("enable {controller} in {level:?}: {error}"));
        }
    }

    /// As [`Self::make`]; the kernel may refuse the name.
    pub(crate) fn try_make(&self, name: impl AsRef<[u8]>) -> io::Result<Self> {
        if self.version() == Version::V2 {
            fs::write(self.file("cgroup.subtree_control"), "+memory")?;
        }
        let made = self.below(name);
        fs::create_dir(made.directory())?;
        Ok(made)
    }

    /// Makes one below it that shares its memory cgroup, as only v2 has it.
    pub(crate) fn make_without_memory(&self, name: &str) -> Self {
        let made = self.below(name);
        fs::create_dir(made.directory()).expect("make a cgroup");
        made
    }

    /// Makes those that are missing on a way down, and gives the last.
    pub(crate) fn make_all(&self, names: &str) -> Self {
        names.split('/').fold(self.clone(), |above, name| {
            let below = above.below(name);
            if fs::exists(below.directory()).expect("look for a cgroup") {
                below
            } else {
                above.make(name)
            }
        })
    }

    /// Sets its limit, with no swap on top.
    pub(crate) fn limit(&self, bytes: u64) {
        match self.version() {
            Version::V1 => {
                self.write("memory.limit_in_bytes", bytes);
                self.write_if_there("memory.memsw.limit_in_bytes", bytes);
            }
            Version::V2 => {
                self.write("memory.max", bytes);
                self.write_if_there("memory.swap.max", 0);
            }
        }
    }

    /// Has the killer kill all in it and below it with its victim, as only v2 has it.
    pub(crate) fn kill_as_group(&self) {
        self.write("memory.oom.group", 1);
    }

    /// Writes one of its files.
    pub(crate) fn write(&self, name: &str, value: u64) {
        fs::write(self.file(name), value.to_string())
            .unwrap_or_else(|error| panic!("write {value} to {name} of {self:?}: {error}"));
    }

    /// Reads one of its files.
    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.file(name))
            .unwrap_or_else(|error| panic!("read {name} of {self:?}: {error}"))
    }

    fn write_if_there(&self, name: &str, value: u64) {
        if fs::exists(self.file(name)).expect("look for a file") {
            self.write(name, value);
        }
    }

    /// Inode number of its directory, which is the kernel's id.
    pub(crate) fn id(&self) -> u64 {
        fs::metadata(self.directory())
            .expect("look at a cgroup")
            .ino()
    }

    /// What a process writes `0` to, to enter it.
    pub(crate) fn entrance(&self) -> File {
        File::options()
            .write(true)
            .open(self.file("cgroup.procs"))
            .expect("open cgroup.procs")
    }

    /// The same for another program to open.
    pub(crate) fn entrance_path(&self) -> PathBuf {
        self.file("cgroup.procs")
    }

    /// The processes in it, as this PID namespace numbers them.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let text = fs::read_to_string(self.file("cgroup.procs")).expect("read cgroup.procs");
        text.lines()
            .map(|pid| pid.parse().expect("a process id"))
            .collect()
    }

    /// Names of those directly below it.
    pub(crate) fn children(&self) -> Vec<Vec<u8>> {
        let Ok(entries) = fs::read_dir(self.directory()) else {
            return Vec::new();
        };
        entries
            .map(|entry| entry.expect("read a cgroup's directory"))
            .filter(|entry| entry.ino() != 0 && entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .map(|entry| entry.file_name().into_vec())
            .collect()
    }

    /// Path and id of the cgroup that this process is in, as only v2 has it.
    pub(crate) fn of_this_process(&self) -> (Vec<u8>, u64) {
        let own = fs::read("/proc/self/cgroup").expect("read own cgroup");
        let path = own
            .split(|&byte| byte == b'\n')
            .find_map(|line| line.strip_prefix(b"0::"))
            .expect("a cgroup of v2");
        let own = Self {
            hierarchy: self.hierarchy.clone(),
            path: path.strip_suffix(b"/").unwrap_or(path).to_vec(),
        };
        (path.to_vec(), own.id())
    }

    /// It and its ancestors up to below the root, as a report lists them.
    pub(crate) fn chain(&self) -> Vec<Level> {
        let mut levels = Vec::new();
        let mut path = &self.path[..];
        while let Some(slash) = path.iter().rposition(|&byte| byte == b'/') {
            let level = Self {
                hierarchy: self.hierarchy.clone(),
                path: path.to_vec(),
            };
            let (limit, swap) = match self.version() {
                Version::V1 => ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes"),
                Version::V2 => ("memory.max", "memory.swap.max"),
            };
            levels.push(Level {
                path: path.to_vec(),
                id: level.id(),
                limit_bytes: read_limit(&level.file(limit)),
                swap_limit_bytes: read_limit(&level.file(swap)),
            });
            path = &path[..slash];
        }
        levels
    }

    /// Removes it; its last process may still be on its way out.
    pub(crate) fn remove(&self, patience: Duration) -> io::Result<()> {
        let deadline = Instant::now() + patience;
        loop {
            match fs::remove_dir(self.directory()) {
                Err(error)
                    if error.kind() == io::ErrorKind::ResourceBusy && Instant::now() < deadline =>
                {
                    thread::sleep(RETRY);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                other => return other,
            }
        }
    }

    fn remove_all(&self, patience: Duration) -> io::Result<()> {
        for name in self.children() {
            self.below(name).remove_all(patience)?;
        }
        for pid in fs::read_to_string(self.file("cgroup.procs"))
            .unwrap_or_default()
            .lines()
            .filter_map(|pid| pid.parse().ok().and_then(Pid::from_raw))
        {
            // Gone meanwhile is as good.
            let _ = kill_process(pid, Signal::KILL);
        }
        self.remove(patience)
    }
}

/// A limit in bytes; absent where there is none, and where the kernel has no such file.
fn read_limit(file: &Path) -> Option<u64> {
    // `PAGE_COUNTER_MAX` pages, for pages of any size.
    const NO_LIMIT: u64 = i64::MAX.unsigned_abs() - 0xffff;
    fs::read_to_string(file)
        .ok()?
        .trim_end()
        .parse()
        .ok()
        .filter(|&bytes| bytes < NO_LIMIT)
}

/// A cgroup that goes with all below it when this is dropped.
#[derive(Debug)]
pub(crate) struct Scene {
    cgroup: Cgroup,
    patience: Duration,
}

impl Scene {
    /// Takes charge of a cgroup that no one else uses.
    pub(crate) fn new(cgroup: Cgroup, patience: Duration) -> Self {
        Self { cgroup, patience }
    }
}

impl Deref for Scene {
    type Target = Cgroup;

    fn deref(&self) -> &Cgroup {
        &self.cgroup
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if let Err(error) = self.cgroup.remove_all(self.patience) {
            eprintln!("remove {:?}: {error}", self.cgroup);
        }
    }
}
