//! Parses a line of a saved log into a record, whatever carried it: `dmesg`, syslog, the journal, a console, a collector.
//!
//! The kernel's own text is found by its words (`anchor`). What stands before it is read for time, host and origin
//! (`prefix`, `time`), so a new carrier needs no code. `/dev/kmsg` is the one form that is parsed as such, since it is
//! escaped. JSON and the journal's export form are unwrapped first (`structured`).
//!
//! **Origin.** What the carrier states decides, not the text: facility, tag, transport, a container's stream. A line of
//! another program that quotes the kernel is of [`RecordOrigin::User`](super::record::RecordOrigin::User). A carrier that states nothing, such as a saved
//! `dmesg`, is the kernel's.

mod anchor;
mod file;
mod machines;
mod months;
mod parser;
mod prefix;
mod structured;
mod time;

pub use self::{
    file::{LinesSeen, LogFile},
    parser::LogFileParser,
    time::parse_offset,
};
