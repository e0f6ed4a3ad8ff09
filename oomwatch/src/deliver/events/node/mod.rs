//! A system OOM as an Event on the node: what the kubelet's watcher records (`pkg/kubelet/oom`), to the letter.

use std::fmt::Write as _;

use jiff::Timestamp;

use super::object::{Draft, Event, ObjectReference, Reporter};
use crate::model::{
    kill::{Scope, Victim},
    report::Report,
};

const REASON: &str = "SystemOOM";
const MESSAGE: &str = "System OOM encountered";

/// The Event of a kill that happened at `time`, if the system ran out of memory. An incident has one: the first victim's.
///
/// It is without the node's UID, which is looked up when the Event is sent.
#[must_use]
pub fn node_event(report: &Report, reporter: &Reporter, time: Timestamp) -> Option<Event> {
    match report.kill.scope {
        Scope::System => {}
        Scope::Memcg | Scope::Unknown => return None,
    }
    let about = ObjectReference {
        api_version: "v1".to_owned(),
        kind: "Node".to_owned(),
        namespace: None,
        name: reporter.node.clone(),
        uid: None,
        field_path: None,
    };
    let draft = Draft {
        about,
        reason: REASON,
        message: message(&report.kill.victim),
        time,
        kill: &report.id,
    };
    Some(Event::new(draft, reporter))
}

/// The kubelet reads the kernel log, which has the thread's number.
fn message(victim: &Victim) -> String {
    let Victim { tid, comm, .. } = victim;
    match comm.as_deref() {
        None | Some([]) => MESSAGE.to_owned(),
        Some(_) if *tid == 0 => MESSAGE.to_owned(),
        Some(comm) => format!(
            "{MESSAGE}, victim process: {}, pid: {tid}",
            escape_as_log(comm)
        ),
    }
}

/// As `/dev/kmsg` gives a name to its readers (`msg_add_ext_text` of `kernel/printk/printk.c`): ASCII, and lossless.
pub(super) fn escape_as_log(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, &byte| {
        if matches!(byte, b' '..=b'~') && byte != b'\\' {
            text.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(text, "\\x{byte:02x}");
        }
        text
    })
}

#[cfg(test)]
mod tests;
