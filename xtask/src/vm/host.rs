//! The tier `host`: a Debian with systemd boots in QEMU, oomwatch is installed as a service with the files of `deploy/systemd`,
//! and kills in units, containers and sessions are compared with what it says of them, also over a restart and a reboot.

mod check;
mod root;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::qemu;
use crate::apt;
use crate::cargo::Workspace;
use crate::exec::{self, Tool};
use crate::image::{self, Arch};
use crate::install::{How, Install};
use crate::toolchain::remove_if_there;
use root::System;

/// What booting and making the root need.
pub(crate) const TOOLS: [Tool; 4] = [
    super::TOOLS[0],
    super::TOOLS[1],
    Tool {
        program: "mmdebstrap",
        package: "mmdebstrap",
    },
    Tool {
        program: "mkfs.ext4",
        package: "e2fsprogs",
    },
];

const SCENARIO: &str = include_str!("host/scenario.sh");
/// It takes three minutes.
const TIMEOUT: Duration = Duration::from_mins(8);
const COMMAND_LINE: &str = "root=/dev/nvme0n1 rw systemd.show_status=0 selinux=0 audit=0";

/// What [`prepare`] makes.
pub(crate) fn missing(workspace: &Workspace) -> Option<Install> {
    root::cached(&folder(workspace)).is_none().then(|| Install {
        what: "a Debian with systemd, Docker and Podman".to_owned(),
        how: How::Unpack,
        seconds: 75,
    })
}

/// Installs what is missing and makes the root.
pub(crate) fn prepare(workspace: &Workspace) -> Result<System> {
    apt::ensure_tools(&TOOLS)?;
    root::obtain(&folder(workspace))
}

/// Boots it, and fails if a kill is missing, wrong or not named.
pub(crate) fn run(workspace: &Workspace, system: &System) -> Result<()> {
    let folder = folder(workspace);
    let files = folder.join("files");
    let oomwatch = image::build(workspace, Arch::own())?.path;
    write_files(workspace, &oomwatch, &files)?;
    let pages = folder.join("pages");
    let boot = || {
        let mut command = qemu::machine(&system.kernel, COMMAND_LINE);
        command.args(["-m", "1024", "-serial"]);
        command.arg(format!("file:{}", pages.display()));
        for (name, path, option) in [
            ("root", &system.image, "snapshot=on"),
            ("files", &files, "readonly=on"),
        ] {
            command.arg("-drive");
            command.arg(format!(
                "file={},if=none,id={name},format=raw,cache=unsafe,{option}",
                path.display()
            ));
            command.args(["-device", &format!("nvme,serial={name},drive={name}")]);
        }
        qemu::watch(&mut command, "host | ", TIMEOUT)
    };
    let mut run = boot()?;
    if run.is_emulators_fault() {
        run = boot()?;
    }
    run.outcome
        .map_err(|reason| anyhow::anyhow!("the guest: {reason}"))?;
    let pages = fs::read(&pages).with_context(|| format!("failed to read {}", pages.display()))?;
    let problems = check::problems(&String::from_utf8_lossy(&pages));
    ensure!(problems.is_empty(), "{}", problems.join("; "));
    println!("host | {:.0} s", run.duration.as_secs_f64());
    Ok(())
}

/// Writes the image with what is installed in the guest.
fn write_files(workspace: &Workspace, oomwatch: &Path, into: &Path) -> Result<()> {
    let tree = into.with_extension("tree");
    remove_if_there(&tree)?;
    fs::create_dir_all(&tree).with_context(|| format!("failed to create {}", tree.display()))?;
    let busybox = exec::find("busybox").context("busybox not found")?;
    let unit = workspace.root.join("deploy/systemd");
    for (from, name) in [
        (oomwatch, "oomwatch"),
        (&busybox, "busybox"),
        (&unit.join("oomwatch.service"), "oomwatch.service"),
        (&unit.join("oomwatch.logrotate"), "oomwatch.logrotate"),
    ] {
        fs::copy(from, tree.join(name))
            .with_context(|| format!("failed to copy {}", from.display()))?;
    }
    let scenario = tree.join("scenario");
    fs::write(&scenario, SCENARIO).context("failed to write the scenario")?;
    exec::output(Command::new("chmod").arg("755").arg(&scenario))?;
    make_image(&tree, into, "64M")
}

/// Makes an ext4 image of a folder, without mounting anything.
fn make_image(tree: &Path, image: &Path, size: &str) -> Result<()> {
    if image.exists() {
        fs::remove_file(image).with_context(|| format!("failed to remove {}", image.display()))?;
    }
    let mut mkfs = Command::new("mkfs.ext4");
    mkfs.args(["-q", "-O", "^has_journal", "-d"]);
    exec::output(mkfs.arg(tree).arg(image).arg(size)).map(drop)
}

fn folder(workspace: &Workspace) -> PathBuf {
    super::folder(workspace).join("host")
}

#[cfg(test)]
mod tests {
    use super::super::console::EXIT_CODE;
    use super::SCENARIO;

    #[test]
    fn scenario_ends_with_the_line_that_is_waited_for() {
        assert!(SCENARIO.contains(&format!("printf '\\n{EXIT_CODE}%s\\n'")));
    }
}
