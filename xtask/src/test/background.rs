//! Release builds that later tiers need, at the lowest priority, while tests run that wait most of the time.
//!
//! A build that fails here is started again by the tier that needs it, which reports the error. That tier also waits for a
//! build that is still running: cargo locks the folder of a build.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::tier::Tier;
use crate::cargo::Workspace;
use crate::{exec, fuzz, image};

/// Time between looks at a running build.
const POLL: Duration = Duration::from_millis(200);

/// Ends the builds when it is dropped.
pub(super) struct Background {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Background {
    /// Starts the builds that these tiers need, one after another.
    pub(super) fn start(tiers: &[Tier], workspace: &Workspace) -> Self {
        let needs_image = [Tier::Container, Tier::Node, Tier::Host, Tier::Vm];
        let image = tiers.iter().any(|tier| needs_image.contains(tier));
        let image = image.then(|| image::build_command(workspace));
        let fuzz = tiers.contains(&Tier::Fuzz);
        let fuzz = fuzz.then(|| fuzz::build_command(workspace));
        let builds: Vec<Command> = [image, fuzz].into_iter().flatten().flatten().collect();
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            for build in builds {
                run(&build, &stopping);
            }
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// Runs the build under `nice`, without output, until it ends or is stopped.
fn run(build: &Command, stop: &AtomicBool) {
    if stop.load(Ordering::Relaxed) {
        return;
    }
    let mut command = Command::new("nice");
    command
        .args(["-n", "19"])
        .arg(build.get_program())
        .args(build.get_args())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    for (name, value) in build.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    if let Some(folder) = build.get_current_dir() {
        command.current_dir(folder);
    }
    eprintln!("$ {} &", exec::shown(build));
    let Ok(mut child) = exec::end_with_us(&mut command, libc::SIGKILL).spawn() else {
        return;
    };
    while matches!(child.try_wait(), Ok(None)) {
        if stop.load(Ordering::Relaxed) {
            drop(child.kill());
        }
        thread::sleep(POLL);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn build_that_is_stopped_ends_at_once() {
        let stop = AtomicBool::new(false);
        let mut build = Command::new("sleep");
        build.arg("1000");
        let start = Instant::now();
        thread::scope(|scope| {
            scope.spawn(|| run(&build, &stop));
            stop.store(true, Ordering::Relaxed);
        });
        run(&build, &stop);
        assert!(start.elapsed() < Duration::from_secs(500));
    }

    #[test]
    fn build_that_cannot_start_is_left_to_its_tier() {
        run(&Command::new("/no/such/program"), &AtomicBool::new(false));
    }
}
