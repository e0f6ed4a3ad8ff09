//! A `newc` cpio archive in memory (`Documentation/driver-api/early-userspace/buffer-format.rst`), uncompressed.
//!
//! It supports files, folders and character devices. The owner is root and every time is 0, so that the same content gives
//! the same bytes.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};

const FOLDER: u32 = 0o040_755;
const FILE: u32 = 0o100_000;
const CHARACTER_DEVICE: u32 = 0o020_600;
const TRAILER: &str = "TRAILER!!!";

/// An archive under construction.
#[derive(Default)]
pub(crate) struct Initramfs {
    bytes: Vec<u8>,
    entries: u32,
    folders: BTreeSet<String>,
}

impl Initramfs {
    /// Adds a folder and its parents. Paths are absolute.
    pub(crate) fn folder(&mut self, path: &str) -> Result<()> {
        let path = path.trim_matches('/');
        let ends = path.match_indices('/').map(|(at, _)| at);
        for end in ends.chain([path.len()]) {
            let folder = &path[..end];
            if !folder.is_empty() && self.folders.insert(folder.to_owned()) {
                self.entry(folder, FOLDER, (0, 0), b"")?;
            }
        }
        Ok(())
    }

    /// Adds a file with these permissions, and its folder.
    pub(crate) fn file(&mut self, path: &str, permissions: u32, content: &[u8]) -> Result<()> {
        self.parent(path)?;
        self.entry(path, FILE | permissions, (0, 0), content)
    }

    /// Adds a character device, and its folder.
    pub(crate) fn device(&mut self, path: &str, major: u32, minor: u32) -> Result<()> {
        self.parent(path)?;
        self.entry(path, CHARACTER_DEVICE, (major, minor), b"")
    }

    /// Adds the end and returns the archive.
    pub(crate) fn finish(mut self) -> Result<Vec<u8>> {
        self.entry(TRAILER, 0, (0, 0), b"")?;
        Ok(self.bytes)
    }

    fn parent(&mut self, path: &str) -> Result<()> {
        path.rsplit_once('/')
            .map_or(Ok(()), |(folder, _)| self.folder(folder))
    }

    fn entry(&mut self, path: &str, mode: u32, device: (u32, u32), content: &[u8]) -> Result<()> {
        let path = path.trim_start_matches('/');
        let size = |length: usize| {
            u32::try_from(length).with_context(|| format!("{path} is too big for an initramfs"))
        };
        self.entries += 1;
        let header = [
            self.entries,
            mode,
            // Owner and group.
            0,
            0,
            // Links.
            1,
            // Modification time.
            0,
            size(content.len())?,
            // The device that holds the file.
            0,
            0,
            // The device that the file is.
            device.0,
            device.1,
            size(path.len() + 1)?,
            // No checksum in this format.
            0,
        ];
        self.bytes.extend_from_slice(b"070701");
        for field in header {
            self.bytes
                .extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
        Ok(())
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Path, mode and content of every entry, parsed as the format specifies.
    fn entries(archive: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let mut entries = Vec::new();
        let mut at = 0;
        while at < archive.len() {
            let field = |index: usize| {
                let start = at + 6 + 8 * index;
                let text = std::str::from_utf8(&archive[start..start + 8]).unwrap();
                u32::from_str_radix(text, 16).unwrap()
            };
            assert_eq!(&archive[at..at + 6], b"070701");
            let (mode, size, name_size) = (field(1), field(6) as usize, field(11) as usize);
            let name = &archive[at + 110..at + 110 + name_size];
            let content_at = (at + 110 + name_size).next_multiple_of(4);
            at = (content_at + size).next_multiple_of(4);
            entries.push((
                String::from_utf8(name[..name_size - 1].to_vec()).unwrap(),
                mode,
                archive[content_at..content_at + size].to_vec(),
            ));
        }
        entries
    }

    #[test]
    fn file_comes_after_its_folders_and_the_trailer_last() {
        let mut initramfs = Initramfs::default();
        initramfs.file("/usr/lib/x.so", 0o755, b"12345").unwrap();
        initramfs.file("/usr/lib/y", 0o644, b"").unwrap();
        initramfs.device("/dev/console", 5, 1).unwrap();
        let archive = initramfs.finish().unwrap();
        assert_eq!(archive.len() % 4, 0);
        assert_eq!(
            entries(&archive),
            [
                ("usr".to_owned(), 0o040_755, vec![]),
                ("usr/lib".to_owned(), 0o040_755, vec![]),
                ("usr/lib/x.so".to_owned(), 0o100_755, b"12345".to_vec()),
                ("usr/lib/y".to_owned(), 0o100_644, vec![]),
                ("dev".to_owned(), 0o040_755, vec![]),
                ("dev/console".to_owned(), 0o020_600, vec![]),
                (TRAILER.to_owned(), 0, vec![]),
            ]
        );
    }

    #[test]
    fn root_and_repeated_folders_are_written_once_at_most() {
        let mut initramfs = Initramfs::default();
        for path in ["/", "", "//", "/a", "/a/", "a"] {
            initramfs.folder(path).unwrap();
        }
        initramfs.file("/init", 0o755, b"x").unwrap();
        let names: Vec<String> = entries(&initramfs.finish().unwrap())
            .into_iter()
            .map(|(name, ..)| name)
            .collect();
        assert_eq!(names, ["a", "init", TRAILER]);
    }

    #[test]
    fn same_content_gives_the_same_bytes() {
        let archive = || {
            let mut initramfs = Initramfs::default();
            initramfs.file("/a/b", 0o644, b"c").unwrap();
            initramfs.finish().unwrap()
        };
        assert_eq!(archive(), archive());
    }
}
