//! Causes one real OOM kill, of a process in a small memory cgroup.

use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio, id};

use anyhow::{Context as _, Result, ensure};

use crate::cgroup::{Hierarchy, MemoryCgroup};

const LIMIT_BYTES: u64 = 30 << 20;

/// Creates the cgroup, starts a process in it, waits for the kill, and removes the cgroup. Needs root.
pub(crate) fn kill_one() -> Result<()> {
    let hierarchy = Hierarchy::find()?;
    let cgroup = MemoryCgroup::create(&hierarchy, &format!("oomwatch-demo-{}", id()), LIMIT_BYTES)?;
    let path = cgroup.path();
    eprintln!(
        "demo: starting a process that allocates memory without end in {}, whose limit is {} MiB",
        path.display(),
        LIMIT_BYTES >> 20
    );
    let status = Command::new("sh")
        .args([
            "-c",
            r#"echo $$ > "$0/cgroup.procs" && exec tail /dev/zero"#,
        ])
        .arg(path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .context("failed to start `sh`")?;
    ensure!(
        status.signal() == Some(libc::SIGKILL),
        "the demo's process was not killed: it ended with {status}"
    );
    Ok(())
}
