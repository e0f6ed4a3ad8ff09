//! The rows that are saved of an auditor: sum, cgroup counts, and each of the last kills. Pure.

use serde::{Deserialize, Serialize};

use crate::{
    audit::{
        recent_kills::{KnownKill, RecentKills},
        state::{AuditState, AuditSum},
    },
    capture::counters::Baseline,
    model::persist::{self, Change, Entry},
};

pub(crate) const PART: &str = "audit";
const SUM: &str = "sum";
const CGROUPS: &str = "cgroups";
/// Prefix of the keys of kills; their number follows.
pub(super) const KNOWN: &str = "known-";

/// The sum, and the boot that it is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SumRow {
    pub(super) boot_id: String,
    pub(super) sum: AuditSum,
}

/// The counts of the cgroups at the last sample, and the kills that were accounted for then.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CgroupsRow {
    pub(super) baseline: Baseline,
    pub(super) accounted: u64,
}

/// The rows that were saved last.
#[derive(Debug, Default)]
pub(super) struct SavedRows {
    sum: Option<SumRow>,
    cgroups: Option<CgroupsRow>,
}

impl SumRow {
    pub(super) fn read(entries: &[Entry]) -> Option<Self> {
        row(entries, SUM)
    }
}

impl CgroupsRow {
    /// At boot every count is 0.
    pub(super) fn at_boot() -> Self {
        Self {
            baseline: Baseline::at_boot(),
            accounted: 0,
        }
    }

    pub(super) fn read(entries: &[Entry]) -> Option<Self> {
        row(entries, CGROUPS)
    }
}

/// Reads the last kills.
pub(super) fn recent_kills(entries: &[Entry]) -> RecentKills {
    let kills = persist::read::<KnownKill>(entries, PART, KNOWN);
    RecentKills::restored(kills.filter_map(|(number, known)| Some((number.parse().ok()?, known?))))
}

impl SavedRows {
    /// The rows that changed since the last call.
    pub(super) fn changes(
        &mut self,
        boot_id: &str,
        state: &mut AuditState,
        (baseline, accounted): (&Baseline, u64),
    ) -> Vec<Change> {
        let mut changes = Vec::new();
        let is_same = |row: &SumRow| row.boot_id == boot_id && row.sum == state.sum;
        if !self.sum.as_ref().is_some_and(is_same) {
            let row = SumRow {
                boot_id: boot_id.to_owned(),
                sum: state.sum.clone(),
            };
            changes.push(Change::new(PART, SUM.to_owned(), Some(&row)));
            self.sum = Some(row);
        }
        let is_same = |row: &CgroupsRow| row.accounted == accounted && row.baseline == *baseline;
        if !self.cgroups.as_ref().is_some_and(is_same) {
            let baseline = baseline.clone();
            let row = CgroupsRow {
                baseline,
                accounted,
            };
            changes.push(Change::new(PART, CGROUPS.to_owned(), Some(&row)));
            self.cgroups = Some(row);
        }
        let kills = state.recent.take_changes().into_iter();
        changes.extend(
            kills.map(|(number, known)| {
                Change::new(PART, format!("{KNOWN}{number}"), known.as_ref())
            }),
        );
        changes
    }
}

fn row<T: serde::de::DeserializeOwned>(entries: &[Entry], key: &'static str) -> Option<T> {
    persist::read(entries, PART, key).find_map(|(rest, value)| value.filter(|_| rest.is_empty()))
}
