//! Entry points of the fuzz target `answers`: parses responses of API server and runtimes, of any bytes.

use std::{path::Path, time::Instant};

use super::{cri, docker, kubernetes, pod_logs, sockets::SocketChoice};
use crate::{identify::directory::Directory, sys::cmdline};

/// Puts the lines of a watch of pods into the directory.
pub fn pods(lines: &[u8], directory: &mut Directory, now: Instant) {
    kubernetes::replay(lines, directory, now);
}

/// Puts a CRI message into the directory.
pub fn containers(message: &[u8], directory: &mut Directory, now: Instant) {
    for (id, instance) in cri::parse_containers(message) {
        directory.insert_container(id, instance, now);
    }
    for cri::Sandbox { id, uid, name } in cri::parse_sandboxes(message) {
        directory.insert_sandbox(id, uid, name, now);
    }
}

/// Puts Docker's response into the directory, as that of the container `id`.
pub fn docker(json: &[u8], id: &str, directory: &mut Directory, now: Instant) {
    match docker::parse(json) {
        Ok(docker::DockerObject::Container(instance, _)) => {
            directory.insert_container(id.to_owned(), *instance, now);
        }
        Ok(docker::DockerObject::Sandbox(uid, name)) => {
            directory.insert_sandbox(id.to_owned(), uid, name, now);
        }
        Ok(docker::DockerObject::NotFound) | Err(_) => {}
    }
}

/// Parses file names of logs, and files of a process.
pub fn files(bytes: &[u8], uid: &str, id: &str) {
    if let Ok(name) = str::from_utf8(bytes) {
        let _ = pod_logs::pod_of(name, uid);
        let _ = pod_logs::container_of(name, id);
    }
    let _ = cmdline::start_ticks(bytes);
}

/// Converts the path of a socket into a CRI endpoint, without connecting.
pub fn socket(choice: &SocketChoice) {
    for path in choice.candidates(&[], Path::new("/")) {
        let _ = cri::endpoint(&path);
    }
}
