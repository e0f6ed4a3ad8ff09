//! One real OOM kill on purpose: a small memory cgroup, and a process that dies in it.

use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio, id};

use anyhow::{Context as _, Result, ensure};

use crate::cgroup::{Hierarchy, MemoryCgroup};

const LIMIT_BYTES: u64 = 30 << 20;

/// Makes the cgroup, lets a process die in it, removes it. Needs root.
pub(crate) fn kill_one() -> Result<()> {
    let hierarchy = Hierarchy::find()?;
    let cgroup = MemoryCgroup::make(&hierarchy, &format!("oomwatch-demo-{}", id()), LIMIT_BYTES)?;
    let path = cgroup.path();
    eprintln!(
        "demo: a process that takes memory without end now starts in {}, which is limited to {} MiB",
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
        .context("start `sh`")?;
    ensure!(
        status.signal() == Some(libc::SIGKILL),
        "the demo's process was to be killed, but ended with {status}"
    );
    Ok(())
}
