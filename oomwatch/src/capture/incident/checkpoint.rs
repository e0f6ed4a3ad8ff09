//! What of an incident must outlive a restart that comes in the middle of it: the rest of a group is then told as the
//! same incident's, and its first victim's second kill as such.

use serde::{Deserialize, Serialize};

use super::{Incident, Incidents, Process, Recent};

/// Processes of an incident that are remembered, the first ones: it is the first victim that is killed twice.
const REMEMBERED: usize = 16;

/// The last incident, as far as what follows depends on it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct IncidentCheckpoint {
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<Incident>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    killed: Vec<(Process, u64)>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sharers: Vec<(Process, u64)>,
}

impl Incidents {
    /// What is to be remembered as of a time, in nanoseconds since boot: what was observed from then on will be observed
    /// again.
    #[must_use]
    pub fn memory(&self, before_boot_time_ns: u64) -> IncidentCheckpoint {
        let last = self
            .last
            .filter(|last| last.boot_time_ns < before_boot_time_ns);
        let since = last.map_or(before_boot_time_ns, |last| last.boot_time_ns);
        let of = |Recent(processes): &Recent| {
            processes
                .iter()
                .copied()
                .filter(|(_, then_ns)| (since..before_boot_time_ns).contains(then_ns))
                .take(REMEMBERED)
                .collect()
        };
        IncidentCheckpoint {
            last,
            killed: of(&self.killed),
            sharers: of(&self.sharers),
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
            killed: Recent(killed.into()),
            sharers: Recent(sharers.into()),
        }
    }
}
