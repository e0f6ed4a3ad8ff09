//! The kernels that are booted: Debian's packages, unpacked to bootable images below the target folder.
//!
//! A fetched kernel is reused, without a network, until `--refresh`. Its folder is renamed into place after apt has verified
//! the package and the image was checked, so that an incomplete one is never booted.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

use crate::apt::{self, Apt, Archive, Candidate, version};
use crate::toolchain::remove_if_there;

/// A kernel of Debian's.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Release {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    archive: Archive,
    suite: &'static str,
    /// POSIX extended regular expression of the packages' names.
    packages: &'static str,
    /// The only version that is accepted.
    pinned: Option<&'static str>,
}

pub(crate) static OLD_5_10: Release = Release {
    name: "5.10-old",
    about: "5.10.218: the tracepoint mark_victim has a pid and nothing else",
    archive: Archive::Main,
    suite: "bullseye",
    packages: r"^linux-image-5\.10\.0-30-cloud-amd64$",
    pinned: Some("5.10.218-1"),
};

pub(crate) static LINUX_5_10: Release = Release {
    name: "5.10",
    about: "the newest 5.10: mark_victim has more fields",
    archive: Archive::Security,
    suite: "bullseye-security",
    packages: r"^linux-image-5\.10\.0-[0-9]+-cloud-amd64$",
    pinned: None,
};

pub(crate) static LINUX_6_1: Release = Release {
    name: "6.1",
    about: "the newest 6.1: the last of these with the memory controller of cgroup v1",
    archive: Archive::Security,
    suite: "bookworm-security",
    packages: r"^linux-image-6\.1\.0-[0-9]+-cloud-amd64$",
    pinned: None,
};

pub(crate) static LINUX_6_12: Release = Release {
    name: "6.12",
    about: "the newest 6.12: no memory controller of cgroup v1, so no oom_lock",
    archive: Archive::Security,
    suite: "trixie-security",
    packages: r"^linux-image-6\.12\.[0-9]+[^-]*-cloud-amd64$",
    pinned: None,
};

pub(crate) static LINUX_6_12_RT: Release = Release {
    name: "6.12-rt",
    about: "the newest 6.12 with PREEMPT_RT",
    archive: Archive::Security,
    suite: "trixie-security",
    packages: r"^linux-image-6\.12\.[0-9]+[^-]*-rt-amd64$",
    pinned: None,
};

pub(crate) static LINUX_6_17: Release = Release {
    name: "6.17",
    about: "the newest 6.17",
    archive: Archive::Main,
    suite: "trixie-backports",
    packages: r"^linux-image-6\.17\.[0-9]+[^-]*-cloud-amd64$",
    pinned: None,
};

pub(crate) static LINUX_6_18: Release = Release {
    name: "6.18",
    about: "the newest 6.18: each thread of a dying process is marked",
    archive: Archive::Main,
    suite: "trixie-backports",
    packages: r"^linux-image-6\.18\.[0-9]+[^-]*-cloud-amd64$",
    pinned: None,
};

pub(crate) static LINUX_6_19: Release = Release {
    name: "6.19",
    about: "the newest 6.19",
    archive: Archive::Main,
    suite: "trixie-backports",
    packages: r"^linux-binary-6\.19\.[0-9]+[^-]*-cloud-amd64$",
    pinned: None,
};

pub(crate) static LINUX_7_1: Release = Release {
    name: "7.1",
    about: "the newest 7.1",
    archive: Archive::Main,
    suite: "trixie-backports",
    packages: r"^linux-binary-7\.1\.[0-9]+[^-]*-cloud-amd64$",
    pinned: None,
};

pub(crate) static LINUX_7_2_RT: Release = Release {
    name: "7.2-rt",
    about: "the newest 7.2 with PREEMPT_RT",
    archive: Archive::Main,
    suite: "trixie-backports",
    packages: r"^linux-binary-7\.2\.[0-9]+[^-]*-rt-amd64$",
    pinned: None,
};

pub(crate) static NEWEST: Release = Release {
    name: "newest",
    about: "the newest kernel in Debian's backports",
    archive: Archive::Main,
    suite: "trixie-backports",
    packages: r"^linux-(binary|image)-[0-9]+\.[0-9]+\.[0-9]+[^-]*-cloud-amd64$",
    pinned: None,
};

/// A kernel that can be booted.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    pub(crate) version: String,
    pub(crate) image: PathBuf,
}

impl Kernel {
    /// An image given on the command line.
    pub(crate) fn from_file(image: &Path) -> Result<Self> {
        check_image(image)?;
        Ok(Self {
            version: "?".to_owned(),
            image: image.to_path_buf(),
        })
    }
}

/// Returns the kernel, fetching it if needed.
pub(crate) fn obtain(release: &'static Release, folder: &Path, refresh: bool) -> Result<Kernel> {
    if !refresh && let Some(kernel) = cached(release, folder) {
        return Ok(kernel);
    }
    fetch(release, folder)?;
    cached(release, folder)
        .with_context(|| format!("the kernel {} was fetched and is not valid", release.name))
}

/// The kernel that was fetched before, if it is complete.
pub(crate) fn cached(release: &Release, folder: &Path) -> Option<Kernel> {
    let place = place(release, folder);
    let image = place.join("vmlinuz");
    let note = fs::read_to_string(place.join("version")).ok()?;
    let (version, length) = parse_note(&note)?;
    let is_wanted = release.pinned.is_none_or(|pinned| pinned == version);
    let is_complete = image.metadata().ok()?.len() == length && check_image(&image).is_ok();
    (is_wanted && is_complete).then(|| Kernel {
        version: version.to_owned(),
        image,
    })
}

fn place(release: &Release, folder: &Path) -> PathBuf {
    folder.join("kernels").join(release.name)
}

fn fetch(release: &Release, folder: &Path) -> Result<()> {
    let apt = Apt::update(&folder.join("apt"), release.archive, release.suite)?;
    let candidates = rank(apt.candidates(release.packages)?, release.pinned);
    let place = place(release, folder);
    let partial = place.with_file_name(format!("{}.partial", release.name));
    // The newest may be split into packages in an unknown way; then the next one is tried.
    for candidate in candidates.iter().take(3) {
        remove_if_there(&partial)?;
        let unpacked = partial.join("unpacked");
        fs::create_dir_all(&unpacked)
            .with_context(|| format!("failed to create {}", unpacked.display()))?;
        let package = apt.download(candidate, &partial)?;
        apt::unpack(&package, &unpacked)?;
        let Some(image) = find_image(&unpacked)? else {
            eprintln!("{} has no kernel image", candidate.package);
            continue;
        };
        check_image(&image)?;
        let length = image
            .metadata()
            .with_context(|| format!("failed to read {}", image.display()))?
            .len();
        let kept = partial.join("vmlinuz");
        fs::rename(&image, &kept)
            .with_context(|| format!("failed to create {}", kept.display()))?;
        let note = partial.join("version");
        fs::write(
            &note,
            format!("{} {length} {}\n", candidate.version, candidate.package),
        )
        .with_context(|| format!("failed to write {}", note.display()))?;
        remove_if_there(&unpacked)?;
        fs::remove_file(&package)
            .with_context(|| format!("failed to remove {}", package.display()))?;
        remove_if_there(&place)?;
        return fs::rename(&partial, &place)
            .with_context(|| format!("failed to create {}", place.display()));
    }
    match release.pinned {
        Some(pinned) => bail!("{} no longer has version {pinned}", release.suite),
        None => bail!("{} has no package with a kernel image", release.suite),
    }
}

/// Newest first; of one version, the package with nothing but the image first.
fn rank(mut candidates: Vec<Candidate>, pinned: Option<&str>) -> Vec<Candidate> {
    candidates.retain(|candidate| pinned.is_none_or(|pinned| candidate.version == pinned));
    candidates.sort_by(|left, right| {
        version::compare(&right.version, &left.version)
            .then_with(|| left.package.cmp(&right.package))
    });
    candidates.dedup();
    candidates
}

/// `boot/vmlinuz-*`, or `usr/lib/modules/*/vmlinuz` in newer packages.
pub(crate) fn find_image(unpacked: &Path) -> Result<Option<PathBuf>> {
    for entry in entries(&unpacked.join("boot"))? {
        if entry
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz-"))
        {
            return Ok(Some(entry));
        }
    }
    let modules = entries(&unpacked.join("usr/lib/modules"))?;
    let images = modules.into_iter().map(|folder| folder.join("vmlinuz"));
    Ok(images.into_iter().find(|image| image.is_file()))
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    fs::read_dir(folder)
        .and_then(|entries| {
            entries
                .map(|entry| entry.map(|entry| entry.path()))
                .collect()
        })
        .with_context(|| format!("failed to list {}", folder.display()))
}

fn check_image(image: &Path) -> Result<()> {
    let mut head = Vec::new();
    File::open(image)
        .and_then(|file| file.take(0x300).read_to_end(&mut head))
        .with_context(|| format!("failed to read {}", image.display()))?;
    ensure!(
        is_bzimage(&head),
        "{} is not a bootable kernel image",
        image.display()
    );
    Ok(())
}

/// The setup header, `Documentation/arch/x86/boot.rst`.
fn is_bzimage(head: &[u8]) -> bool {
    head.get(0x1fe..0x200) == Some(&[0x55, 0xaa]) && head.get(0x202..0x206) == Some(b"HdrS")
}

/// `5.10.218-1 12113248 linux-image-…`: version, bytes of the image, package.
fn parse_note(note: &str) -> Option<(&str, u64)> {
    let mut words = note.strip_suffix('\n')?.split(' ');
    let (version, length) = (words.next()?, words.next()?.parse().ok()?);
    words.next()?;
    (!version.is_empty()).then_some((version, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(package: &str, version: &str) -> Candidate {
        Candidate {
            package: package.to_owned(),
            version: version.to_owned(),
        }
    }

    #[test]
    fn newest_is_first_and_the_bare_image_before_its_wrapper() {
        let image = candidate("linux-image-7.3.4-cloud-amd64", "7.3.4-1");
        let binary = candidate("linux-binary-7.3.4-cloud-amd64", "7.3.4-1");
        let older = candidate("linux-binary-7.2.12-cloud-amd64", "7.2.12-1");
        let oldest = candidate("linux-image-6.18.9-cloud-amd64", "6.18.9-1");
        let found = vec![
            oldest.clone(),
            image.clone(),
            older.clone(),
            binary.clone(),
            binary.clone(),
        ];
        assert_eq!(rank(found, None), [binary, image, older, oldest]);
    }

    #[test]
    fn pinned_version_is_the_only_one() {
        let found = vec![candidate("k", "5.10.262-1"), candidate("k", "5.10.218-1")];
        assert_eq!(
            rank(found.clone(), Some("5.10.218-1")),
            [candidate("k", "5.10.218-1")]
        );
        assert_eq!(rank(found, Some("5.10.1-1")), []);
    }

    #[test]
    fn only_a_setup_header_makes_an_image() {
        let mut head = vec![0; 0x300];
        assert!(!is_bzimage(&head));
        head[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
        assert!(!is_bzimage(&head));
        head[0x202..0x206].copy_from_slice(b"HdrS");
        assert!(is_bzimage(&head));
        assert!(!is_bzimage(&head[..0x205]));
        assert!(!is_bzimage(b""));
        assert!(!is_bzimage(b"<html>"));
    }

    #[test]
    fn malformed_note_is_none() {
        assert_eq!(
            parse_note("5.10.218-1 12113248 linux-image\n"),
            Some(("5.10.218-1", 12_113_248))
        );
        for odd in [
            "",
            "\n",
            "5.10.218-1",
            "5.10.218-1\n",
            "5.10.218-1 12113248\n",
            "5.10.218-1 12113248 linux",
            "5.10 many linux\n",
            " 1 x\n",
        ] {
            assert_eq!(parse_note(odd), None, "{odd:?}");
        }
    }
}
