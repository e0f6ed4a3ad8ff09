//! Sorts the records of a file by the machine that wrote them, and brings them into the order in which they were written.
//!
//! A central syslog has the lines of many hosts. Each host has an [`Assembler`] of its own, so that no kill has another
//! machine's limit, trigger or cgroup. Where lines name no host, their clocks tell machines apart: in the middle of a
//! report the time does not jump.
//!
//! A log with the newest line first is recognised by its times, or by the order of the lines of its first report. Its lines are collected up to the one that begins a report, and read backwards.

use std::{cmp::Ordering, collections::VecDeque};

use jiff::SignedDuration;

use crate::capture::kmsg::{
    assemble::{Assembler, LogCounts, LogItem, Trust},
    line::{self, Line},
    record::{Record, RecordOrigin, Stamp},
};

/// Machines that are followed at once.
const MAX_MACHINES: usize = 64;
/// Lines of one report that are read backwards.
const MAX_REVERSED: usize = 4096;
/// Lines until the order of a log is decided.
const MAX_UNDECIDED: usize = 256;
/// Largest distance between two lines of one report.
const SAME_REPORT: SignedDuration = SignedDuration::from_secs(5);
/// Lines of other machines until a kill no longer waits for the line that makes it a group kill.
const MAX_WAIT: u64 = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Oldest,
    Newest,
}

#[derive(Debug)]
struct Machine {
    host: Option<String>,
    assembler: Assembler,
    last: Stamp,
    /// Number of its last record.
    used: u64,
    /// Records that wait until the order is known, or to be read backwards.
    waiting: Vec<Record<'static>>,
}

/// The machines of a file.
#[derive(Debug)]
pub(super) struct Machines {
    trust: Trust,
    all: Vec<Machine>,
    order: Option<Order>,
    records: u64,
    kill_lines: u64,
    counts: LogCounts,
    items: VecDeque<LogItem>,
}

impl Machines {
    pub(super) fn new(trust: Trust) -> Self {
        Self {
            trust,
            all: Vec::new(),
            order: None,
            records: 0,
            kill_lines: 0,
            counts: LogCounts::default(),
            items: VecDeque::new(),
        }
    }

    /// The next kill or re-kill.
    pub(super) fn next(&mut self) -> Option<LogItem> {
        self.items.pop_front()
    }

    /// Whether lines that are not of the OOM killer matter: one may be the rest of a line, a statistic of a report, or show
    /// by its time that a kill is not followed by more.
    pub(super) fn wants_other_lines(&self) -> bool {
        let wants = |machine: &Machine| {
            machine.assembler.has_open_line()
                || machine.assembler.pending_since().is_some()
                || machine.assembler.wants_report_lines()
                || self.order != Some(Order::Oldest) && !machine.waiting.is_empty()
        };
        self.all.iter().any(wants)
    }

    /// A line passes that may be of any machine. A kill does not wait for more than [`MAX_WAIT`] of them.
    pub(super) fn pass(&mut self) {
        self.records += 1;
        self.complete_others(usize::MAX);
    }

    /// Adds a record.
    pub(super) fn push(&mut self, record: Record<'_>) {
        // A program chooses the times of its lines too.
        if record.origin == RecordOrigin::User && self.trust == Trust::Kernel {
            let is_kill = matches!(line::parse(&record.text), Some(Line::Killed(_)));
            self.counts.untrusted += u64::from(is_kill);
            self.pass_time(&record);
            return;
        }
        self.records += 1;
        let index = self.machine_of(&record);
        self.complete_others(index);
        let machine = &mut self.all[index];
        machine.used = self.records;
        if record.stamp != Stamp::default() {
            machine.last = record.stamp;
        }
        match self.order {
            Some(Order::Oldest) => self.assemble(index, &record),
            Some(Order::Newest) => {
                let begins = is_first_of_report(&record);
                let machine = &mut self.all[index];
                machine.waiting.push(record.into_owned());
                if begins || machine.waiting.len() >= MAX_REVERSED {
                    self.read_waiting(index);
                }
            }
            None => {
                let machine = &mut self.all[index];
                self.order = order(machine.waiting.last(), &record);
                machine.waiting.push(record.into_owned());
                if machine.waiting.len() >= MAX_UNDECIDED {
                    self.order.get_or_insert(Order::Oldest);
                }
                if self.order == Some(Order::Oldest) {
                    for index in 0..self.all.len() {
                        self.read_waiting(index);
                    }
                }
            }
        }
    }

    /// Ends the file.
    pub(super) fn finish(&mut self) -> LogCounts {
        while !self.all.is_empty() {
            self.remove(0);
        }
        self.counts
    }

    /// A line of a program shows by its carrier's time that a kill is not followed by more.
    fn pass_time(&mut self, record: &Record<'_>) {
        let waits = |machine: &Machine| {
            machine.host.as_deref() == record.host.as_deref()
                && machine.assembler.pending_since().is_some()
        };
        let Some(index) = self.all.iter().position(waits) else {
            return;
        };
        let time = Record {
            stamp: Stamp {
                boot_time_ns: None,
                ..record.stamp
            },
            origin: RecordOrigin::User,
            ..Record::bare(b"")
        };
        self.assemble(index, &time);
    }

    fn assemble(&mut self, index: usize, record: &Record<'_>) {
        let assembler = &mut self.all[index].assembler;
        assembler.continue_numbers(self.kill_lines);
        self.items.extend(assembler.push(record));
        self.kill_lines = assembler.kill_lines();
    }

    /// Reads the records that wait.
    fn read_waiting(&mut self, index: usize) {
        let mut waiting = std::mem::take(&mut self.all[index].waiting);
        if self.order == Some(Order::Newest) {
            waiting.reverse();
        }
        for record in &waiting {
            self.assemble(index, record);
        }
    }

    /// Yields kills of other machines that have waited long enough.
    fn complete_others(&mut self, index: usize) {
        for (other, machine) in self.all.iter_mut().enumerate() {
            if other != index && machine.used + MAX_WAIT < self.records {
                self.items.extend(machine.assembler.flush());
            }
        }
    }

    /// The machine that wrote a record.
    fn machine_of(&mut self, record: &Record<'_>) -> usize {
        let host = record.host.as_deref();
        let stamp = record.stamp;
        // Without a time it is the rest of the line before it, or of a log without hosts.
        let is_rest = host.is_none() && stamp == Stamp::default();
        let of_host = |machine: &Machine| is_rest || machine.host.as_deref() == host;
        let index = if host.is_some() || stamp == Stamp::default() {
            let mut same = self
                .all
                .iter_mut()
                .enumerate()
                .filter(|(_, machine)| of_host(machine));
            same.by_ref()
                .max_by_key(|(_, machine)| machine.used)
                .map(|(index, _)| index)
        } else {
            self.by_clock(stamp)
        };
        index.unwrap_or_else(|| self.add(host.map(str::to_owned)))
    }

    /// The machine without a name whose clock goes with this time.
    fn by_clock(&mut self, stamp: Stamp) -> Option<usize> {
        let unnamed = || {
            self.all
                .iter()
                .enumerate()
                .filter(|(_, machine)| machine.host.is_none())
        };
        let age = |machine: &Machine| stamp.since(&machine.last);
        let near = unnamed()
            .filter(|(_, machine)| age(machine).is_none_or(|age| age.abs() <= SAME_REPORT))
            .min_by_key(|(_, machine)| age(machine).map(SignedDuration::abs));
        if let Some((index, _)) = near {
            return Some(index);
        }
        let is_later = |machine: &Machine| age(machine).is_some_and(|age| age.is_positive());
        let idle = unnamed()
            .filter(|(_, machine)| is_later(machine) && !machine.assembler.is_in_report())
            .max_by_key(|(_, machine)| machine.used);
        if let Some((index, _)) = idle {
            return Some(index);
        }
        // The machine has restarted, or this is another.
        for machine in &mut self.all {
            self.items.extend(machine.assembler.flush());
        }
        None
    }

    fn add(&mut self, host: Option<String>) -> usize {
        if self.all.len() == MAX_MACHINES {
            let oldest = (0..MAX_MACHINES).min_by_key(|&index| self.all[index].used);
            self.remove(oldest.unwrap_or(0));
        }
        self.all.push(Machine {
            host,
            assembler: Assembler::for_saved_log(self.trust),
            last: Stamp::default(),
            used: self.records,
            waiting: Vec::new(),
        });
        self.all.len() - 1
    }

    fn remove(&mut self, index: usize) {
        self.read_waiting(index);
        let mut machine = self.all.remove(index);
        machine.assembler.continue_numbers(self.kill_lines);
        let (items, counts) = machine.assembler.finish_saved_log();
        self.items.extend(items);
        self.counts += counts;
    }
}

/// Whether a record is the first line of a report.
fn is_first_of_report(record: &Record<'_>) -> bool {
    matches!(line::parse(&record.text), Some(Line::Invoked { .. }))
}

/// The order of a log, if it can be seen from this record and the one before it of the same machine: by their times, else
/// by the order in which the kernel writes the lines of a report.
fn order(before: Option<&Record<'_>>, record: &Record<'_>) -> Option<Order> {
    let before = before?;
    if let Some(age) = record
        .stamp
        .since(&before.stamp)
        .filter(|age| !age.is_zero())
    {
        return Some(if age.is_negative() {
            Order::Newest
        } else {
            Order::Oldest
        });
    }
    let place = |record: &Record<'_>| match line::parse(&record.text)? {
        Line::Invoked { .. } => Some(0),
        Line::Cpu { .. } => Some(1),
        Line::TaskIn { .. } | Line::Usage { .. } => Some(2),
        Line::Task { .. } => Some(3),
        Line::OomKill(_) | Line::Chosen { .. } => Some(4),
        Line::Killed(_) => Some(5),
        _ => None,
    };
    let (before, now) = (place(before)?, place(record)?);
    // From a kill on to the next report is a step back too, but the reports of a machine are not that close.
    match now.cmp(&before) {
        Ordering::Less => Some(Order::Newest),
        Ordering::Equal => None,
        Ordering::Greater => Some(Order::Oldest),
    }
}
