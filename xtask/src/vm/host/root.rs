//! The guest's root: a Debian with systemd and container runtimes, made by mmdebstrap as an ext4 image.
//!
//! It is reused, without a network, until what it is made of changes. It is renamed into place when it is complete.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::super::kernels;
use crate::apt::{self, Archive};
use crate::exec;
use crate::toolchain::remove_if_there;

/// Its kernel has the drivers of the root, ext4 and `NVMe`, built in.
const SUITE: &str = "bookworm";
const PACKAGES: [&str; 8] = [
    "dbus",
    "docker.io",
    "libpam-systemd",
    "linux-image-cloud-amd64",
    "logrotate",
    "podman",
    "systemd-container",
    "systemd-sysv",
];
/// Beside a user: nothing but the scenario starts at boot, since each service takes seconds when it is emulated, and no login
/// takes the console.
const HOOK: &str = "chroot \"$1\" useradd --create-home --uid 1000 --shell /bin/bash alice && \
     chroot \"$1\" systemctl --quiet disable containerd docker.service docker.socket podman podman-restart \
     podman-auto-update.service podman-auto-update.timer fstrim.timer dpkg-db-backup.timer && \
     chroot \"$1\" systemctl --quiet mask serial-getty@ttyS0 getty@tty1";
const FILES: [(&str, &str); 4] = [
    ("etc/hostname", "host\n"),
    ("etc/hosts", "127.0.0.1 localhost host\n"),
    ("etc/fstab", "/dev/nvme1n1 /media ext4 ro 0 0\n"),
    (
        "etc/systemd/system/scenario.service",
        "[Unit]\nAfter=multi-user.target\nRequiresMountsFor=/media\n\
         [Service]\nType=oneshot\nExecStart=/media/scenario\nStandardOutput=tty\nStandardError=tty\nTTYPath=/dev/ttyS0\n\
         [Install]\nWantedBy=multi-user.target\n",
    ),
];
/// Room for images of containers.
const SIZE: &str = "2G";

/// What QEMU boots.
pub(crate) struct System {
    pub(super) kernel: PathBuf,
    pub(super) image: PathBuf,
}

/// The one that was made before, if it is complete and made of the same.
pub(super) fn cached(folder: &Path) -> Option<System> {
    let place = folder.join("root");
    let note = fs::read_to_string(place.join("recipe")).ok()?;
    (note == recipe()).then(|| System {
        kernel: place.join("vmlinuz"),
        image: place.join("image"),
    })
}

fn recipe() -> String {
    format!("{SUITE} {PACKAGES:?} {HOOK} {FILES:?} {SIZE}\n")
}

/// Returns the root, making it if needed.
pub(super) fn obtain(folder: &Path) -> Result<System> {
    if let Some(system) = cached(folder) {
        return Ok(system);
    }
    ensure!(exec::is_root(), "it needs root to make a Debian");
    let partial = folder.join("root.partial");
    remove_if_there(&partial)?;
    fs::create_dir_all(&partial)
        .with_context(|| format!("failed to create {}", partial.display()))?;
    let tree = partial.join("tree");
    make(&tree)?;
    let kernel = kernels::find_image(&tree)?.context("the Debian has no kernel")?;
    fs::copy(&kernel, partial.join("vmlinuz"))
        .with_context(|| format!("failed to copy {}", kernel.display()))?;
    super::make_image(&tree, &partial.join("image"), SIZE)?;
    remove_if_there(&tree)?;
    fs::write(partial.join("recipe"), recipe()).context("failed to write the recipe")?;
    let place = folder.join("root");
    remove_if_there(&place)?;
    fs::rename(&partial, &place)
        .with_context(|| format!("failed to create {}", place.display()))?;
    cached(folder).context("the Debian was made and is not valid")
}

fn make(tree: &Path) -> Result<()> {
    let address = apt::address(Archive::Main)?;
    eprintln!("making a Debian {SUITE} with {}", PACKAGES.join(", "));
    let mut mmdebstrap = Command::new("mmdebstrap");
    mmdebstrap
        .args(["--variant=essential", "--format=directory"])
        .arg(format!("--include={}", PACKAGES.join(",")))
        .arg("--aptopt=APT::Install-Recommends \"false\"")
        .arg("--dpkgopt=force-unsafe-io");
    for folder in ["doc", "locale", "man"] {
        mmdebstrap.arg(format!("--dpkgopt=path-exclude=/usr/share/{folder}/*"));
    }
    mmdebstrap
        .arg(format!("--customize-hook={HOOK}"))
        .arg(SUITE)
        .arg(tree)
        .arg(address)
        // No initramfs: it takes longer than the rest.
        .env("INITRD", "No");
    exec::output(&mut mmdebstrap).context("failed to make a Debian")?;
    for (path, content) in FILES {
        fs::write(tree.join(path), content).with_context(|| format!("failed to write {path}"))?;
    }
    let mut enable = Command::new("chroot");
    enable.arg(tree);
    exec::output(enable.args(["systemctl", "--quiet", "enable", "scenario.service"])).map(drop)
}
