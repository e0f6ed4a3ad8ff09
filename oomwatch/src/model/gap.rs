//! OOM kills that were only counted.

use serde::{Deserialize, Serialize};

use crate::model::serde_bytes;

/// OOM kills that the kernel counted and of which the victims are not known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// Number of kills, re-kills included.
    pub kills: u64,
    /// The kernel's count since boot, these kills included.
    pub kernel_count: u64,
    /// Earliest possible time of the kills, in nanoseconds since boot.
    pub since_boot_time_ns: u64,
    /// Latest possible time of the kills, in nanoseconds since boot.
    pub boot_time_ns: u64,
    /// The cgroups of the kills, as far as the cgroups' own counts show them. Kills that happen while the counts are read
    /// may be part of the next gap.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cgroups: Vec<GapCgroup>,
}

/// A cgroup in which processes were killed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GapCgroup {
    /// Path from the root of the memory controller's hierarchy; any bytes but NUL.
    #[serde(with = "serde_bytes")]
    pub path: Vec<u8>,
    /// Number of kills.
    pub kills: u64,
    /// Which processes of the cgroup were killed.
    pub place: GapPlace,
}

/// Where in a cgroup the killed processes were.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GapPlace {
    /// In the cgroup itself.
    Own,
    /// In a cgroup below it that has been removed. Before 5.3, which counts the two together, possibly in itself.
    Descendants,
}
