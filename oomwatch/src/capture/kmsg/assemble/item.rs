//! What the assembler yields: kills and re-kills of the log, and counters.

use jiff::SignedDuration;

use crate::{
    capture::kmsg::record::Stamp,
    model::kill::{Kill, LogKey, NonKill},
};

/// How long after a kill line the line may come that makes it a group kill. The kernel writes the two microseconds
/// apart, but a slow console may delay the second.
pub const GROUP_LINE_WAIT: SignedDuration = SignedDuration::from_millis(200);

/// Victims that are remembered, to recognise a re-kill.
pub const MAX_VICTIMS: usize = 4096;

/// A kill or re-kill that the log contains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogItem {
    /// A process was killed.
    Kill(Box<LogKill>),
    /// A process that had been killed already was killed again.
    Rekill {
        /// The process.
        non_kill: NonKill,
        /// When its line was written.
        stamp: Stamp,
    },
}

/// A kill, and the facts that only a log has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogKill {
    /// The kill.
    pub kill: Kill,
    /// When its line was written, on the clocks of the log.
    pub stamp: Stamp,
    /// When the line of the first victim of its incident was written.
    pub incident: Stamp,
    /// Thread id in the line of the first victim: identifies the incident together with its time.
    pub incident_tid: u32,
    /// Number of the kill in the log: counts kills and re-kills, from 1.
    pub number: u64,
    /// Number of the first victim of its incident.
    pub incident_number: u64,
    /// Host name, if the log has one.
    pub host: Option<String>,
}

impl LogKill {
    /// The kill, with what identifies it in the log.
    #[must_use]
    pub fn into_kill(self) -> Kill {
        let Self {
            mut kill,
            stamp,
            incident,
            incident_tid,
            number,
            incident_number,
            host,
        } = self;
        kill.log_key = Some(LogKey {
            kill: stamp.key().unwrap_or(number),
            incident: incident.key().unwrap_or(incident_number),
            incident_tid,
            time: stamp.calendar,
            host,
        });
        kill
    }
}

/// Counters of an assembler.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogCounts {
    /// Processes killed.
    pub kills: u64,
    /// Processes killed again.
    pub rekills: u64,
    /// Kills without a header in the log: withheld by the kernel's rate limit, or lost.
    pub kills_without_header: u64,
    /// Headers without a kill, where the log does not say why.
    pub headers_without_kill: u64,
    /// Headers withheld, as the kernel itself reports.
    pub suppressed_headers: u64,
    /// Lines of the OOM killer that could not be parsed.
    pub unreadable: u64,
    /// Kill lines written by a process, which were ignored.
    pub untrusted: u64,
    /// Times that the OOM killer found nothing to kill, or that the kernel panicked instead.
    pub no_victim: u64,
}

impl std::ops::AddAssign for LogCounts {
    fn add_assign(&mut self, other: Self) {
        let Self {
            kills,
            rekills,
            kills_without_header,
            headers_without_kill,
            suppressed_headers,
            unreadable,
            untrusted,
            no_victim,
        } = other;
        self.kills += kills;
        self.rekills += rekills;
        self.kills_without_header += kills_without_header;
        self.headers_without_kill += headers_without_kill;
        self.suppressed_headers = self.suppressed_headers.saturating_add(suppressed_headers);
        self.unreadable += unreadable;
        self.untrusted += untrusted;
        self.no_victim += no_victim;
    }
}
