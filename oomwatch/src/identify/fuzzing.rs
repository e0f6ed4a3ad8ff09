//! What is read of the answers of API server and runtimes, for the fuzz target `answers`: any bytes get an answer.

use std::{path::Path, time::Instant};

use super::{cri, docker, kubernetes, pod_logs, sockets::SocketChoice};
use crate::{identify::directory::Directory, sys::cmdline};

/// Lines of a watch of pods, into the directory.
pub fn pods(lines: &[u8], directory: &mut Directory, now: Instant) {
    kubernetes::read(lines, directory, now);
}

/// Messages of CRI, into the directory.
pub fn containers(message: &[u8], directory: &mut Directory, now: Instant) {
    for (id, instance) in cri::read_containers(message) {
        directory.insert_instance(id, instance, now);
    }
    for cri::Sandbox { id, uid, name } in cri::read_sandboxes(message) {
        directory.insert_sandbox(id, uid, name, now);
    }
}

/// A container of Docker's, into the directory under this id.
pub fn docker(json: &[u8], id: &str, directory: &mut Directory, now: Instant) {
    match docker::read(json) {
        Ok(docker::Found::Container(instance, _)) => {
            directory.insert_instance(id.to_owned(), *instance, now);
        }
        Ok(docker::Found::Sandbox(uid, name)) => {
            directory.insert_sandbox(id.to_owned(), uid, name, now);
        }
        Ok(docker::Found::NotFound) | Err(_) => {}
    }
}

/// Names of logs, and files of a process.
pub fn files(bytes: &[u8], uid: &str, id: &str) {
    if let Ok(name) = str::from_utf8(bytes) {
        let _ = pod_logs::pod_of(name, uid);
        let _ = pod_logs::container_of(name, id);
    }
    let _ = cmdline::start_ticks(bytes);
}

/// A socket's path, to where it is connected to; nobody is.
pub fn socket(choice: &SocketChoice) {
    for path in choice.candidates(&[], Path::new("/")) {
        let _ = cri::endpoint(&path);
    }
}
