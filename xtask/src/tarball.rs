//! Archives in memory that depend on their content alone, not on the machine, its users or the clock.

use std::io::{Read as _, Write as _};

use anyhow::{Context as _, Result};
use flate2::read::GzDecoder;
use flate2::{Compression, GzBuilder};
use sha2::{Digest as _, Sha256};
use tar::{Archive, Builder, EntryType, Header};

/// A regular file of root's in an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Without a leading slash.
    pub(crate) path: String,
    pub(crate) mode: u32,
    pub(crate) content: Vec<u8>,
}

impl Entry {
    /// A file that everyone may read.
    pub(crate) fn new(path: impl Into<String>, content: impl Into<Vec<u8>>) -> Self {
        Self {
            path: path.into(),
            mode: 0o644,
            content: content.into(),
        }
    }

    /// A file that everyone may run.
    pub(crate) fn executable(path: impl Into<String>, content: impl Into<Vec<u8>>) -> Self {
        Self {
            mode: 0o755,
            ..Self::new(path, content)
        }
    }
}

/// The entries in their order, all of the time `time` (seconds since 1970).
pub(crate) fn tar<'a>(entries: impl IntoIterator<Item = &'a Entry>, time: u64) -> Result<Vec<u8>> {
    let mut archive = Builder::new(Vec::new());
    for Entry {
        path,
        mode,
        content,
    } in entries
    {
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::Regular);
        header.set_size(u64::try_from(content.len())?);
        header.set_mode(*mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(time);
        archive
            .append_data(&mut header, path, &content[..])
            .with_context(|| format!("failed to archive {path}"))?;
    }
    archive.into_inner().context("failed to end the archive")
}

/// The regular files of a compressed archive, in their order.
pub(crate) fn untar_gzip(bytes: &[u8]) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for entry in Archive::new(GzDecoder::new(bytes)).entries()? {
        let mut entry = entry?;
        let mut content = Vec::new();
        entry.read_to_end(&mut content)?;
        entries.push(Entry {
            path: String::from_utf8(entry.path_bytes().into_owned())?,
            mode: entry.header().mode()?,
            content,
        });
    }
    Ok(entries)
}

pub(crate) fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    // 255 in the header means an unknown operating system.
    let mut gzip = GzBuilder::new()
        .mtime(0)
        .operating_system(255)
        .write(Vec::new(), Compression::best());
    gzip.write_all(bytes).context("failed to compress")?;
    gzip.finish().context("failed to compress")
}

/// SHA-256 in hexadecimal digits.
pub(crate) fn digest(bytes: &[u8]) -> String {
    let mut digits = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        digits.extend(
            [byte >> 4, byte & 15].map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)])),
        );
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archive_has_its_entries_and_nothing_of_this_machine() {
        let entries = [
            Entry::executable("oomwatch-1/oomwatch", "\x7fELF"),
            Entry::new("oomwatch-1/README.md", vec![b'#'; 1_000]),
        ];
        let bytes = tar(&entries, 1_700_000_000).unwrap();
        let mut archive = Archive::new(&bytes[..]);
        for entry in archive.entries().unwrap() {
            let entry = entry.unwrap();
            let header = entry.header();
            let facts = (header.uid().unwrap(), header.gid().unwrap());
            assert_eq!((facts, header.mtime().unwrap()), ((0, 0), 1_700_000_000));
            assert_eq!(
                (header.username(), header.groupname()),
                (Ok(Some("")), Ok(Some("")))
            );
        }
        let compressed = gzip(&bytes).unwrap();
        assert_eq!(compressed[4..10], [0, 0, 0, 0, 2, 255]);
        assert_eq!(untar_gzip(&compressed).unwrap(), entries);
        assert!(untar_gzip(&compressed[..compressed.len() / 2]).is_err());
    }

    #[test]
    fn digest_is_that_of_the_standard() {
        // From FIPS 180-4: the empty message and "abc".
        assert_eq!(
            digest(b""),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        assert_eq!(
            digest(b"abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
