//! Copies the kernel log through a process, for a fair comparison with `watch`, whose output goes through a pipe as well.

use std::env;
use std::fs::File;
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result};

use crate::exec;

/// The hidden subcommand that [`run`]s.
pub(crate) const COMMAND: &str = "__relay";

/// Copies each record from now on, after an empty line that says that it has started.
pub(crate) fn run() -> Result<()> {
    let mut log = File::open("/dev/kmsg").context("failed to open /dev/kmsg")?;
    log.seek(SeekFrom::End(0))
        .context("failed to seek to the end of /dev/kmsg")?;
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(b"\n")
        .context("failed to write to stdout")?;
    let mut record = vec![0; 8192];
    loop {
        match log.read(&mut record) {
            Ok(length) => stdout
                .write_all(&record[..length])
                .context("failed to write to stdout")?,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // Records were overwritten before they were read; the next read continues after them.
            Err(error) if error.raw_os_error() == Some(libc::EPIPE) => {}
            Err(error) => return Err(error).context("failed to read /dev/kmsg"),
        }
    }
}

/// A relay in a child process, killed when it is dropped.
pub(super) struct Relay(Child);

impl Relay {
    /// Starts it and waits until it reads. The pipe then has one record after another.
    pub(super) fn start() -> Result<(Self, ChildStdout)> {
        let executable =
            env::current_exe().context("failed to find the path of this executable")?;
        let mut command = Command::new(executable);
        command
            .arg(COMMAND)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let child = exec::end_with_us(&mut command, libc::SIGKILL).spawn();
        let mut relay = Self(child.context("failed to start a relay of the kernel log")?);
        let mut stdout = relay.0.stdout.take().context("the relay has no stdout")?;
        stdout
            .read_exact(&mut [0])
            .context("failed to wait for the relay of the kernel log")?;
        Ok((relay, stdout))
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
