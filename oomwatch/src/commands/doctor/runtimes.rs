//! Checks of the container runtimes' sockets: whether each accepts a connection. No request is sent.

use std::{
    io,
    path::{Path, PathBuf},
};

use rustix::{
    io::Errno,
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with},
};

use super::{
    check::{self, Check, Group, Status},
    roots::Roots,
};
use crate::identify::sockets;

#[derive(Debug)]
pub(super) struct RuntimeFacts {
    sockets: Vec<Socket>,
}

#[derive(Debug)]
struct Socket {
    runtime: &'static str,
    path: PathBuf,
    connected: Result<(), Errno>,
}

impl RuntimeFacts {
    pub(super) fn gather(roots: Roots<'_>) -> Self {
        Self {
            sockets: sockets::CRI
                .into_iter()
                .chain([sockets::DOCKER, sockets::PODMAN])
                .map(|(runtime, path)| {
                    let path = roots.system.join(path);
                    Socket {
                        runtime,
                        connected: try_connect(&path),
                        path,
                    }
                })
                .collect(),
        }
    }
}

/// Connects without blocking: a blocking connect would hang if the runtime hangs and its backlog is full.
fn try_connect(path: &Path) -> Result<(), Errno> {
    let socket = socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::NONBLOCK | SocketFlags::CLOEXEC,
        None,
    )?;
    connect(&socket, &SocketAddrUnix::new(path)?)
}

pub(super) fn checks(facts: &RuntimeFacts) -> Vec<Check> {
    let (absent, present): (Vec<_>, Vec<_>) = facts
        .sockets
        .iter()
        .partition(|socket| matches!(socket.connected, Err(Errno::NOENT | Errno::NOTDIR)));
    let mut checks: Vec<_> = present.into_iter().map(check_socket).collect();
    if !absent.is_empty() {
        let names: Vec<_> = absent.iter().map(|socket| socket.runtime).collect();
        checks.push(check("absent", Status::Info, names.join(", ")));
    }
    checks
}

fn check_socket(socket: &Socket) -> Check {
    let Socket {
        runtime,
        path,
        connected,
    } = socket;
    let place = path.display();
    let error = match connected {
        Ok(()) => return check(runtime, Status::Ok, format!("{place} accepts connections")),
        Err(error) => *error,
    };
    let remedy = match error {
        Errno::ACCESS | Errno::PERM => "run as root (sudo), or as a member of the socket's group",
        Errno::CONNREFUSED => {
            "no process listens: start the runtime, or remove the socket that it has left"
        }
        Errno::AGAIN => "the runtime does not accept connections: read its log, restart it",
        _ => "check that the runtime is running and that this is its socket",
    };
    check(
        runtime,
        Status::Warn,
        format!(
            "failed to connect to {place}: {}",
            check::os_error(&io::Error::from(error))
        ),
    )
    .remedy(remedy)
}

fn check(name: &'static str, status: Status, finding: impl Into<String>) -> Check {
    Check::new(Group::Runtimes, name, status, finding)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::net::UnixListener};

    use super::*;

    #[test]
    fn sockets_are_checked_by_connecting() {
        let root = tempfile::tempdir().expect("make a folder");
        let at = |path: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("below the root")).expect("make a folder");
            path
        };
        let _listening = UnixListener::bind(at("run/containerd/containerd.sock")).expect("listen");
        drop(UnixListener::bind(at("run/docker.sock")).expect("listen"));
        fs::write(at("run/crio/crio.sock"), "").expect("write a file");

        let checks = checks(&RuntimeFacts::gather(Roots {
            proc: root.path(),
            cgroup: root.path(),
            btf: root.path(),
            bpffs: root.path(),
            system: root.path(),
        }));
        let statuses: Vec<_> = checks
            .iter()
            .map(|check| (check.name, check.status))
            .collect();
        assert_eq!(
            statuses,
            [
                ("containerd", Status::Ok),
                ("CRI-O", Status::Warn),
                ("Docker", Status::Warn),
                ("absent", Status::Info),
            ]
        );
        assert_eq!(checks[3].finding, "k3s, k0s, microk8s, cri-dockerd, Podman");
        for check in &checks[1..3] {
            assert!(check.finding.contains("connection refused"), "{check:?}");
            assert!(check.remedy.is_some(), "{check:?}");
        }
    }

    #[test]
    fn runtime_with_a_full_backlog_is_not_waited_for() {
        let root = tempfile::tempdir().expect("make a folder");
        let path = root.path().join("socket");
        let listening = socket_with(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )
        .expect("make a socket");
        let address = SocketAddrUnix::new(&path).expect("short path");
        rustix::net::bind(&listening, &address).expect("bind");
        rustix::net::listen(&listening, 0).expect("listen");
        let waiting_socket = || {
            let socket = socket_with(
                AddressFamily::UNIX,
                SocketType::STREAM,
                SocketFlags::NONBLOCK | SocketFlags::CLOEXEC,
                None,
            )
            .expect("make a socket");
            connect(&socket, &address).map(|()| socket)
        };
        let mut waiting = Vec::new();
        while let Ok(socket) = waiting_socket() {
            waiting.push(socket);
        }
        assert_eq!(try_connect(&path), Err(Errno::AGAIN));
    }

    #[test]
    fn path_that_is_too_long_is_an_error() {
        let long = Path::new("/").join("x".repeat(200));
        assert_eq!(try_connect(&long), Err(Errno::NAMETOOLONG));
    }

    #[test]
    fn no_runtime_is_one_line() {
        let nowhere = Path::new("/nonexistent");
        let checks = checks(&RuntimeFacts::gather(Roots {
            proc: nowhere,
            cgroup: nowhere,
            btf: nowhere,
            bpffs: nowhere,
            system: nowhere,
        }));
        assert_eq!(checks.len(), 1);
        assert_eq!(checks[0].status, Status::Info);
    }
}
