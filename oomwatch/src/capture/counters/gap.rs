//! Kills that are known by number only.

use serde::{Deserialize, Serialize};

use crate::model::serde_bytes;

/// OOM kills that the kernel counted; who was killed is not known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// How many: processes, and those again that were killed once more.
    pub kills: u64,
    /// The kernel's count with them, since boot.
    pub kernel_count: u64,
    /// None of them is from before this: nanoseconds since boot.
    pub since_boot_time_ns: u64,
    /// Nor later than this.
    pub boot_time_ns: u64,
    /// Where they were, as far as the counts of the cgroups tell. Kills that come while those are read one after the
    /// other may be told with the next gap.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cgroups: Vec<GapCgroup>,
}

/// A cgroup in which processes were killed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GapCgroup {
    /// From the root of the hierarchy that has the memory controller; any bytes but NUL.
    #[serde(with = "serde_bytes")]
    pub path: Vec<u8>,
    /// How many.
    pub kills: u64,
    /// Which of its processes they were.
    pub place: Place,
}

/// Where in a cgroup a process was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// In the cgroup itself.
    Here,
    /// In one below it that is gone; before 5.3, which counts the two together, perhaps in itself.
    Below,
}
