//! A BPF file system of a test's own.

use std::{
    ffi::CString,
    fs, io,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    ptr,
};

use crate::Skip;

/// Mounted for as long as this lives; then all that is pinned in it is gone.
pub(crate) struct Bpffs {
    folder: tempfile::TempDir,
    is_mounted: bool,
}

impl Bpffs {
    /// Mounts one.
    pub(crate) fn mount() -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        let target = c_string(folder.path());
        // SAFETY: strings with a NUL, or none.
        let mounted = unsafe {
            libc::mount(
                c"bpf".as_ptr(),
                target.as_ptr(),
                c"bpf".as_ptr(),
                0,
                ptr::null(),
            )
        };
        match mounted {
            0 => Ok(Self {
                folder,
                is_mounted: true,
            }),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// A folder where none is mounted.
    pub(crate) fn absent() -> Self {
        Self {
            folder: tempfile::tempdir().expect("make a folder"),
            is_mounted: false,
        }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Where agents pin.
    pub(crate) fn pins(&self) -> PathBuf {
        self.path().join("oomwatch")
    }

    /// What is there, which should be folders of generations.
    pub(crate) fn generations(&self) -> Vec<PathBuf> {
        let entries = match fs::read_dir(self.pins()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
            entries => entries.expect("read the pins"),
        };
        let mut paths: Vec<_> = entries
            .map(|entry| entry.expect("an entry").path())
            .collect();
        paths.sort_unstable();
        paths
    }
}

impl Drop for Bpffs {
    fn drop(&mut self) {
        if self.is_mounted {
            let target = c_string(self.path());
            // SAFETY: a string with a NUL.
            unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) };
        }
    }
}

/// Whether one can be mounted here.
pub(crate) fn can_be_mounted() -> Result<(), Skip> {
    Bpffs::mount()
        .map(drop)
        .map_err(|error| Skip(format!("mount a BPF file system: {error}")))
}

fn c_string(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).expect("no NUL in a path")
}
