//! What is saved of an auditor, in rows: the sum, the cgroups' counts, and each of the last kills. Pure.

use serde::{Deserialize, Serialize};

use crate::{
    audit::{
        recent::{Known, Recent},
        totals::Totals,
    },
    capture::counters::Baseline,
    model::persist::{self, Change, Entry},
};

const PART: &str = "audit";
const SUM: &str = "sum";
const CGROUPS: &str = "cgroups";
/// Before the number of a kill.
pub(super) const KNOWN: &str = "known-";

/// The sum.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sum {
    pub(super) boot_id: String,
    pub(super) tally: Totals,
    #[serde(default)]
    pub(super) offset_ns: Option<i64>,
    pub(super) complete_boot_time_ns: u64,
}

/// The cgroups' counts when they were looked at, and what was told by then.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Looked {
    pub(super) before: Baseline,
    pub(super) told: u64,
}

/// What was saved last.
#[derive(Debug, Default)]
pub(super) struct Saved {
    sum: Option<Sum>,
    looked: Option<Looked>,
}

impl Sum {
    pub(super) fn new(boot_id: &str, tally: Totals, complete_boot_time_ns: u64) -> Self {
        Self {
            boot_id: boot_id.to_owned(),
            tally,
            offset_ns: None,
            complete_boot_time_ns,
        }
    }

    /// Before anything was killed.
    pub(super) fn at_boot(boot_id: &str) -> Self {
        Self::new(boot_id, Totals::new(0, 0), 0)
    }

    pub(super) fn read(entries: &[Entry]) -> Option<Self> {
        row(entries, SUM)
    }
}

impl Looked {
    pub(super) fn at_boot() -> Self {
        Self {
            before: Baseline::nothing(),
            told: 0,
        }
    }

    pub(super) fn read(entries: &[Entry]) -> Option<Self> {
        row(entries, CGROUPS)
    }
}

/// The last kills.
pub(super) fn recent(entries: &[Entry]) -> Recent {
    let kills = persist::read::<Known>(entries, PART, KNOWN);
    Recent::restored(kills.filter_map(|(number, known)| Some((number.parse().ok()?, known?))))
}

impl Saved {
    /// What is different since the last time.
    pub(super) fn changes(
        &mut self,
        sum: Sum,
        (before, told): (&Baseline, u64),
        recent: &mut Recent,
    ) -> Vec<Change> {
        let mut changes = Vec::new();
        if self.sum.as_ref() != Some(&sum) {
            changes.push(Change::new(PART, SUM.to_owned(), Some(&sum)));
            self.sum = Some(sum);
        }
        let is_known = |looked: &Looked| looked.told == told && looked.before == *before;
        if !self.looked.as_ref().is_some_and(is_known) {
            let before = before.clone();
            let looked = Looked { before, told };
            changes.push(Change::new(PART, CGROUPS.to_owned(), Some(&looked)));
            self.looked = Some(looked);
        }
        let kills = recent.take_changes().into_iter();
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
