//! The kernel log as another process would pass it on: what `watch` is to be compared with, hop by hop.

use std::env;
use std::fs::File;
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result};

use crate::exec;

/// The hidden subcommand that [`run`]s.
pub(crate) const COMMAND: &str = "__relay";

/// Passes on each record from now on, after an empty line that says so.
pub(crate) fn run() -> Result<()> {
    let mut log = File::open("/dev/kmsg").context("open /dev/kmsg")?;
    log.seek(SeekFrom::End(0))
        .context("seek to the end of /dev/kmsg")?;
    let mut stdout = io::stdout().lock();
    stdout.write_all(b"\n").context("write to stdout")?;
    let mut record = vec![0; 8192];
    loop {
        match log.read(&mut record) {
            Ok(length) => stdout
                .write_all(&record[..length])
                .context("write to stdout")?,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // Records were overwritten before they were read; the next read goes on after them.
            Err(error) if error.raw_os_error() == Some(libc::EPIPE) => {}
            Err(error) => return Err(error).context("read /dev/kmsg"),
        }
    }
}

/// A relay as a child, killed when it is dropped.
pub(super) struct Relay(Child);

impl Relay {
    /// Starts it and waits until it reads; what comes out of the pipe are records.
    pub(super) fn start() -> Result<(Self, ChildStdout)> {
        let ourselves = env::current_exe().context("find our own executable")?;
        let mut command = Command::new(ourselves);
        command
            .arg(COMMAND)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let child = exec::tie_to_us(&mut command, libc::SIGKILL).spawn();
        let mut relay = Self(child.context("start a relay of the kernel log")?);
        let mut stdout = relay.0.stdout.take().context("the relay has no stdout")?;
        stdout
            .read_exact(&mut [0])
            .context("wait for the relay of the kernel log")?;
        Ok((relay, stdout))
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
