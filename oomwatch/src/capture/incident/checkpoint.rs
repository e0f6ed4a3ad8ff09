//! The state of an incident that is saved across a restart of the agent.
//!
//! With it, the members of a group that are killed after the restart still belong to the same incident, and a second kill of
//! its first victim is still recognized as a re-kill.

use serde::{Deserialize, Serialize};

use super::{Incidents, LastIncident, Process, RecentProcesses, Sharers};

/// Number of processes of an incident that are saved, from the first on: the first victim is the one that is killed twice.
const SAVED: usize = 16;

/// The last incident, and its processes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct IncidentCheckpoint {
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<LastIncident>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    killed: Vec<(Process, u64)>,
    #[serde(skip_serializing_if = "is_zero")]
    sharers: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Incidents {
    /// The state before a time, in nanoseconds since boot. Observations from that time on will be repeated after the restart.
    #[must_use]
    pub fn checkpoint(&self, before_boot_time_ns: u64) -> IncidentCheckpoint {
        let last = self
            .last
            .filter(|last| last.boot_time_ns < before_boot_time_ns);
        let since = last.map_or(before_boot_time_ns, |last| last.boot_time_ns);
        let RecentProcesses(killed) = &self.killed;
        IncidentCheckpoint {
            last,
            killed: killed
                .iter()
                .copied()
                .filter(|(_, then_ns)| (since..before_boot_time_ns).contains(then_ns))
                .take(SAVED)
                .collect(),
            sharers: self.sharers.total_before(before_boot_time_ns),
        }
    }
}

impl From<IncidentCheckpoint> for Incidents {
    fn from(
        IncidentCheckpoint {
            last,
            killed,
            sharers,
        }: IncidentCheckpoint,
    ) -> Self {
        Self {
            last,
            killed: RecentProcesses(killed.into()),
            sharers: Sharers {
                total: sharers,
                ..Sharers::default()
            },
        }
    }
}
