//! What several targets begin with.

use std::time::Duration;

use jiff::{Timestamp, tz::Offset};
use oomwatch::{
    capture::kmsg::{
        assemble::{Assembler, LogItem, Trust},
        bounded_lines::BoundedLines,
        log_file::LogFileParser,
    },
    deliver::events::{NodeUid, Policy, Reporter},
    model::{
        cgroup::KubeletRoot,
        report::{Origin, Report},
    },
};

/// UID of the pod of [`report`].
pub const POD_UID: &str = "8a4e6bd2-0f35-4c1b-9a77-2b1d5e6f7081";
/// Id of its container.
pub const CONTAINER_ID: &str = "3f1c0e7ab2d94c5586a1f7e2d0b9c8a7f6e5d4c3b2a190817263544536271809";

const LOG: &[u8] = include_bytes!("../../tests/logs/journal-of-a-node.log");

/// A kill in a container of a pod, neither of which has a name.
///
/// # Panics
///
/// If the log has none.
#[must_use]
pub fn report() -> Report {
    let mut lines = BoundedLines::new(LOG);
    let mut parser = LogFileParser::new(Offset::UTC, Timestamp::MAX);
    let mut assembler = Assembler::new(Trust::Kernel);
    while let Some(line) = lines.next_line().expect("memory can be read") {
        if let Some(LogItem::Kill(kill)) = assembler.push(&parser.parse(line)) {
            let report = Report::new(
                kill.into_kill(),
                Origin::SavedLog {
                    node: None,
                    kubelet: &KubeletRoot::Unknown,
                },
            );
            let id = report.container.as_ref().map(|container| &*container.id);
            assert_eq!(id, Some(CONTAINER_ID));
            assert_eq!(report.pod.as_ref().map(|pod| &*pod.uid), Some(POD_UID));
            return report;
        }
    }
    panic!("no kill in the log");
}

/// The same kill in the pod `cart` of the namespace `shop`.
#[must_use]
pub fn report_of_a_named_pod() -> Report {
    let mut report = report();
    if let Some(pod) = &mut report.pod {
        pod.namespace = Some("shop".to_owned());
        pod.name = Some("cart".to_owned());
    }
    report
}

/// Every Event, sent at once.
#[must_use]
pub fn policy() -> Policy {
    Policy {
        reporter: Reporter {
            component: "oomwatch".to_owned(),
            node: "node-7".to_owned(),
        },
        node_events: true,
        node_uid: NodeUid::Real,
        pod_events: true,
        excluded_namespaces: [].into(),
        max_age: Duration::from_hours(1),
        start_delay: Duration::ZERO,
    }
}
