//! The journal's clock: nanoseconds that go on over restarts and reboots, and never go back.
//!
//! Within a boot it is the time since boot and a constant: a calendar that is set changes nothing, and suspend counts. At the
//! first start it is the calendar's time. After a reboot it goes on from what it last was by as much as the calendar has gone
//! on, and by no less than the new boot lasts: a calendar that was set back cannot stop it. One that was set far ahead brings it
//! far ahead, so that what waits to be told counts as old; it has no other way to know how long the machine was off.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    model::{
        persist::{self, Change, Entry},
        report::{Host, Report},
    },
    sys::clock::ClockSample,
};

const PART: &str = "clock";
/// Boots whose kills may still have to be told: one, unless the agent did not live for long in several.
const BOOTS: usize = 8;

/// The journal's clock, on this boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersistentClock {
    /// Newest last.
    boots: Vec<Boot>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Boot {
    /// As ids of its kills begin.
    id: String,
    /// What comes on top of the time since boot.
    offset_ns: u64,
}

#[derive(Serialize, Deserialize)]
struct Saved {
    boots: Vec<Boot>,
    /// The same moment by both.
    clock_ns: u64,
    unix_ns: u64,
}

impl PersistentClock {
    /// Goes on where it was saved; begins, if it was not.
    #[must_use]
    pub fn restore(entries: &[Entry], host: &Host, now: ClockSample) -> Self {
        let mut saved = persist::read::<Saved>(entries, PART, PART);
        let Some(saved) = saved.find_map(|(_, saved)| saved) else {
            let offset_ns = now.unix_ns.saturating_sub(now.boot_time_ns);
            let id = host.boot().to_owned();
            return Self {
                boots: vec![Boot { id, offset_ns }],
            };
        };
        let Saved {
            mut boots,
            clock_ns,
            unix_ns,
        } = saved;
        let is_this = |boot: &Boot| boot.id == host.boot();
        if !boots.last().is_some_and(is_this) {
            let elapsed_ns = now.unix_ns.saturating_sub(unix_ns).max(now.boot_time_ns);
            let id = host.boot().to_owned();
            let offset_ns = clock_ns
                .saturating_add(elapsed_ns)
                .saturating_sub(now.boot_time_ns);
            boots.push(Boot { id, offset_ns });
        }
        let old = boots.len().saturating_sub(BOOTS);
        boots.drain(..old);
        Self { boots }
    }

    /// What it shows at a time since this boot.
    #[must_use]
    pub fn at_ns(&self, boot_time_ns: u64) -> u64 {
        let offset_ns = self.boots.last().map_or(0, |boot| boot.offset_ns);
        boot_time_ns.saturating_add(offset_ns)
    }

    /// What it showed at a kill, of this boot or an earlier one: the same whenever it is asked, unless that boot is forgotten.
    /// Then the calendar tells; and the kill is from before this boot.
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

    /// To be saved with all that has its times.
    #[must_use]
    pub fn change(&self, now: ClockSample) -> Change {
        let saved = Saved {
            boots: self.boots.clone(),
            clock_ns: self.at_ns(now.boot_time_ns),
            unix_ns: now.unix_ns,
        };
        Change::new(PART, PART.to_owned(), Some(&saved))
    }
}

#[cfg(test)]
mod tests;
