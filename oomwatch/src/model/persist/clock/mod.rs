//! A clock that survives restarts and reboots: nanoseconds that never go back. Pure.
//!
//! Within a boot it advances with the time since boot, suspend included, so setting the calendar has no effect. It starts at the
//! calendar's time. After a reboot it continues from its last saved value plus the time the machine was off, which is known
//! from the calendar only: at least the time since the new boot, else at most a day, so that a calendar set years ahead does not
//! age everything by years.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    model::{
        persist,
        report::{Report, boot_prefix},
    },
    sys::clock::ClockSample,
};

/// Number of boots whose kills can still be dated. Undelivered kills are of the last boot, unless several boots were short.
const BOOTS: usize = 8;
/// Maximum advance by the calendar between two boots.
const MAX_OFF_NS: u64 = 24 * 60 * 60 * 1_000_000_000;

/// The clock on this boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersistentClock {
    /// The newest last.
    boots: Vec<Boot>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Boot {
    /// The prefix of the ids of its kills.
    id: String,
    /// The clock's value at boot.
    offset_ns: u64,
}

#[derive(Serialize, Deserialize)]
struct SavedClock {
    boots: Vec<Boot>,
    /// The clock and the calendar at the same time.
    clock_ns: u64,
    unix_ns: u64,
}

impl PersistentClock {
    /// Continues a clock saved by [`PersistentClock::to_json`], or starts one if `saved` is absent or malformed.
    #[must_use]
    pub fn restore(saved: Option<&str>, boot_id: &str, now: ClockSample) -> Self {
        let id = boot_prefix(boot_id).to_owned();
        let Some(SavedClock {
            mut boots,
            clock_ns,
            unix_ns,
        }) = saved.and_then(|json| serde_json::from_str(json).ok())
        else {
            let offset_ns = now.unix_ns.saturating_sub(now.boot_time_ns);
            let boots = vec![Boot { id, offset_ns }];
            return Self { boots };
        };
        if boots.last().is_none_or(|boot| boot.id != id) {
            let off_ns = now.unix_ns.saturating_sub(unix_ns).min(MAX_OFF_NS);
            let offset_ns = clock_ns
                .saturating_add(off_ns.max(now.boot_time_ns))
                .saturating_sub(now.boot_time_ns);
            boots.push(Boot { id, offset_ns });
        }
        let old = boots.len().saturating_sub(BOOTS);
        boots.drain(..old);
        Self { boots }
    }

    /// The clock's value at a time since this boot, in nanoseconds.
    #[must_use]
    pub fn at_ns(&self, boot_time_ns: u64) -> u64 {
        let offset_ns = self.boots.last().map_or(0, |boot| boot.offset_ns);
        boot_time_ns.saturating_add(offset_ns)
    }

    /// The clock's value at a kill of this boot or an earlier one, in nanoseconds. It does not depend on `now`, unless the
    /// kill's boot is unknown: then it is estimated by the calendar, and is before this boot.
    #[must_use]
    pub fn of_kill_ns(&self, report: &Report, now: ClockSample) -> u64 {
        let boot = self.boots.iter().find(|boot| boot.id == report.boot());
        let is_this = boot.is_some() && boot == self.boots.last();
        match (boot, report.kill.boot_time_ns) {
            (Some(boot), Some(time_ns)) => time_ns.saturating_add(boot.offset_ns),
            (Some(_), None) if is_this => self.at_ns(now.boot_time_ns),
            _ => {
                let time = report.time.map(Timestamp::as_nanosecond);
                let time_ns = time.and_then(|time| u64::try_from(time).ok());
                let age_ns = time_ns.map_or(0, |time| now.unix_ns.saturating_sub(time));
                self.at_ns(now.boot_time_ns)
                    .saturating_sub(age_ns.max(now.boot_time_ns))
            }
        }
    }

    /// The clock as JSON, for [`PersistentClock::restore`]. To be saved in one transaction with the times it gave.
    #[must_use]
    pub fn to_json(&self, now: ClockSample) -> String {
        persist::to_json(&SavedClock {
            boots: self.boots.clone(),
            clock_ns: self.at_ns(now.boot_time_ns),
            unix_ns: now.unix_ns,
        })
    }
}

#[cfg(test)]
mod tests;
