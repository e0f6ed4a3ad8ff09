//! The Event on the node for a system OOM, equal to that of the kubelet's watcher (`pkg/kubelet/oom`).

use std::fmt::Write as _;

use jiff::Timestamp;

use super::object::{Draft, Event, ObjectReference, Reporter};
use crate::model::{
    kill::{Scope, Victim},
    report::Report,
};

const REASON: &str = "SystemOOM";
const MESSAGE: &str = "System OOM encountered";

/// The Event for a kill at `time`; absent unless the system ran out of memory. The caller records only the first victim of an
/// incident.
///
/// The node's UID is absent; it is added when the Event is sent.
pub(super) fn node_event(report: &Report, reporter: &Reporter, time: Timestamp) -> Option<Event> {
    match report.kill.scope {
        Scope::System => {}
        Scope::Memcg | Scope::Unknown => return None,
    }
    let involved_object = ObjectReference {
        api_version: "v1".to_owned(),
        kind: "Node".to_owned(),
        namespace: None,
        name: reporter.node.clone(),
        uid: None,
        field_path: None,
    };
    let draft = Draft {
        involved_object,
        reason: REASON,
        message: message(&report.kill.victim),
        time,
        kill_id: &report.id,
    };
    Some(Event::new(draft, reporter))
}

/// The kubelet's message. It reads the kernel log, which contains the thread id (`tid`) as the pid.
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

/// Escapes bytes as `/dev/kmsg` does (`msg_add_ext_text` in `kernel/printk/printk.c`): printable ASCII, lossless.
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
