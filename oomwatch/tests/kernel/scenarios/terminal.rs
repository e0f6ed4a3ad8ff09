//! On a terminal: colour where it is wanted and nowhere else.

use std::{
    fs::File,
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

use super::MIB;
use crate::{Scenario, Skip, ended::Ended, machine::Machine, process::Hog, watcher::Watch};

pub(super) const ALL: &[Scenario] =
    &[Scenario::new("color_is_for_terminals_that_want_it", colour).needing(terminal)];

const BOLD: &str = "\x1b[1m";
const RESET: &str = "\x1b[0m";

fn terminal(_: &Machine) -> Result<(), Skip> {
    open_terminal()
        .map(drop)
        .map_err(|error| Skip(format!("open a terminal: {error}")))
}

/// A container's main process is in bold.
fn colour(machine: &Machine) {
    let terminal_pair = || open_terminal().expect("open another terminal");
    let scene = machine.scene("colour");
    scene.limit(16 * MIB);
    let watch = |arguments: &[&str]| Watch::new(machine, arguments).below(&scene);
    let watchers = [
        ("terminal", watch(&[]).start_on(terminal_pair()), true),
        (
            "NO_COLOR",
            watch(&[]).with("NO_COLOR", "1").start_on(terminal_pair()),
            false,
        ),
        (
            "empty NO_COLOR",
            watch(&[]).with("NO_COLOR", "").start_on(terminal_pair()),
            true,
        ),
        (
            "never",
            watch(&["--color", "never"]).start_on(terminal_pair()),
            false,
        ),
        ("pipe", watch(&[]).start(), false),
        (
            "always",
            watch(&["--color", "always"]).with("NO_COLOR", "1").start(),
            true,
        ),
        (
            "wide",
            watch(&["--color", "always", "-o", "wide"]).start(),
            true,
        ),
        (
            "json",
            watch(&["--color", "always", "-o", "json"]).start(),
            false,
        ),
    ];
    let mut process = Hog::new("init").gated().start(&scene, machine.patience);
    let victim = process.descendant(&scene);
    process.go();
    process.ended();
    for (name, watcher, coloured) in watchers {
        let ended = watcher.interrupt();
        let lines = lines(&ended);
        let [header @ .., kill] = &lines[..] else {
            panic!("{name}: {lines:?}");
        };
        assert!(kill.contains(&victim.pid.to_string()), "{name}: {lines:?}");
        let found = kill.starts_with(BOLD) && kill.ends_with(RESET);
        assert_eq!(found, coloured, "{name}: {lines:?}");
        let inside = kill
            .strip_prefix(BOLD)
            .and_then(|kill| kill.strip_suffix(RESET));
        let plain = inside.unwrap_or(kill);
        assert!(!plain.contains('\x1b'), "{name}: {lines:?}");
        assert!(
            !header.iter().any(|line| line.contains('\x1b')),
            "{name}: {lines:?}"
        );
        assert_eq!(
            header.len(),
            usize::from(name != "json"),
            "{name}: {lines:?}"
        );
    }
}

/// A terminal ends its lines with a carriage return too.
fn lines(ended: &Ended) -> Vec<&str> {
    ended
        .text()
        .into_iter()
        .map(|line| line.strip_suffix('\r').unwrap_or(line))
        .collect()
}

/// A new terminal: the end for a program, and the other.
fn open_terminal() -> io::Result<(OwnedFd, OwnedFd)> {
    let ours = File::options().read(true).write(true).open("/dev/ptmx")?;
    let unlock: libc::c_int = 0;
    // SAFETY: a place that is read, and numbers.
    let theirs = unsafe {
        if libc::ioctl(ours.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlock) != 0 {
            return Err(io::Error::last_os_error());
        }
        let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
        libc::ioctl(ours.as_raw_fd(), libc::TIOCGPTPEER, flags)
    };
    if theirs < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just opened, and no other owner.
    let theirs = unsafe { OwnedFd::from_raw_fd(theirs) };
    Ok((theirs, ours.into()))
}
