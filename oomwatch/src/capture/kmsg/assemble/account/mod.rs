//! Reads the account of an incident from the lines of its header: the task table, the statistics of the cgroup that ran out
//! or of the node, and the stack.
//!
//! The lines are read by where they stand: a statistic counts only behind `Memory cgroup stats for`, a zone only behind
//! `Mem-Info:`, a row only behind the head of the table. The names of processes stand before and behind these parts, so none
//! can imitate their lines; where the log states what wrote a line (`CONFIG_PRINTK_CALLER`), lines of others are passed over.
//!
//! Memory is bounded: rows are summed, and the first [`LISTED`] by points and by memory are kept.

mod node;
mod numbers;
mod release;
mod stack;
mod statistics;
mod table;

use std::sync::Arc;

pub(crate) use self::statistics::parts_of_statistics;
use self::{
    node::NodeStatistics, stack::Stack, statistics::CgroupStatistics, table::CandidateTable,
};
pub(super) use self::{release::KernelRelease, statistics::CounterUsage};
#[cfg(doc)]
use crate::model::account::LISTED;
use crate::{
    capture::kmsg::line::{Counter, table::TableLayout},
    model::{
        account::{Account, Before, Memory},
        kill::{Constraint, Scope, Victim},
    },
};

/// Lines of one header that are read: enough for the zones of large machines, and for tables of any length whose rows are
/// recognised by themselves.
const MAX_LINES: u32 = 8192;
/// Page size where neither the log nor the machine shows it.
const PAGE_BYTES: u64 = 4096;

/// What is known of the machine that wrote a log, without the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogMachine {
    /// Size of a page.
    pub page_bytes: Option<u64>,
    /// Number of its CPUs.
    pub cpus: Option<u64>,
}

/// What the account of a kill depends on, beside its header.
#[derive(Clone, Copy, Debug)]
pub(super) struct AccountContext {
    pub(super) machine: LogMachine,
    pub(super) release: Option<KernelRelease>,
    pub(super) scope: Scope,
    pub(super) constraint: Option<Constraint>,
}

/// The part of a header that is being read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Section {
    #[default]
    Start,
    Stack,
    Statistics,
    Node,
    Table,
    /// The table has ended: nothing more is read.
    Ended,
}

/// Reads the lines of one header.
#[derive(Debug, Default)]
pub(super) struct AccountReader {
    section: Section,
    lines: u32,
    stack: Option<Stack>,
    statistics: CgroupStatistics,
    node: Option<NodeStatistics>,
    /// `Mem-Info:` came twice, once of something else.
    is_node_uncertain: bool,
    table: Option<CandidateTable>,
}

impl AccountReader {
    /// Whether further lines may be of the account.
    pub(super) fn wants_lines(&self) -> bool {
        self.section != Section::Ended && self.lines < MAX_LINES
    }

    /// Adds the head of the task table.
    pub(super) fn add_table(&mut self, layout: TableLayout, machine: LogMachine) {
        if self.section != Section::Ended {
            let total_bytes = self.total_bytes(Scope::Unknown, None);
            let page_bytes = self.page_bytes(machine);
            self.table = Some(CandidateTable::new(layout, page_bytes, total_bytes));
            self.section = Section::Table;
        }
    }

    /// Adds a line. `is_repeated`: it is a row of a task that has one already.
    pub(super) fn add(&mut self, text: &[u8], is_repeated: bool) {
        if self.section == Section::Ended {
            return;
        }
        self.lines = self.lines.saturating_add(1);
        // Names of processes stand in the table: a line that is broken by one begins nothing.
        let may_begin = self.section != Section::Table;
        if may_begin && let Some(rest) = text.strip_prefix(b"Memory cgroup stats for ") {
            self.statistics.begin(rest);
            self.section = Section::Statistics;
        } else if may_begin && text.trim_ascii() == b"Mem-Info:" {
            self.is_node_uncertain = self.node.is_some();
            self.node = Some(NodeStatistics::default());
            self.section = Section::Node;
        } else if may_begin && self.stack.is_none() && is_stack(text) {
            // A second one is another CPU's.
            self.stack = Some(Stack::default());
            self.section = Section::Stack;
        } else {
            self.add_to_section(text, is_repeated);
        }
    }

    fn add_to_section(&mut self, text: &[u8], is_repeated: bool) {
        match self.section {
            Section::Stack => {
                let is_frame = self.stack.as_mut().is_some_and(|stack| stack.add(text));
                if !is_frame {
                    self.section = Section::Start;
                }
            }
            Section::Statistics => self.statistics.add(text),
            Section::Node => {
                if let Some(node) = &mut self.node {
                    node.add(text);
                }
            }
            Section::Table => {
                if let Some(table) = &mut self.table {
                    table.add(text, is_repeated);
                }
            }
            Section::Start | Section::Ended => {}
        }
    }

    /// Adds a counter of the cgroup that ran out.
    pub(super) fn add_counter(&mut self, counter: Counter, usage: CounterUsage) {
        if self.section != Section::Ended {
            self.statistics.add_counter(counter, usage);
        }
    }

    /// Memory counter of the cgroup that ran out.
    pub(super) fn memory(&self) -> CounterUsage {
        self.statistics.memory
    }

    /// Swap counter of the cgroup that ran out, on v1 of memory and swap together.
    pub(super) fn swap(&self) -> CounterUsage {
        let CgroupStatistics {
            swap,
            memory_and_swap,
            ..
        } = self.statistics;
        if swap == CounterUsage::default() {
            memory_and_swap
        } else {
            swap
        }
    }

    /// Records are missing before this line.
    pub(super) fn lose(&mut self) {
        if let Some(table) = self
            .table
            .as_mut()
            .filter(|_| self.section == Section::Table)
        {
            table.is_cut = true;
        }
    }

    /// The line behind the table has come. `has_victim`: the process that it names is in the table.
    pub(super) fn end(&mut self, has_victim: bool) {
        if self.section == Section::Table
            && let Some(table) = &mut self.table
        {
            table.has_end = true;
            table.is_cut |= !has_victim;
        }
        self.section = Section::Ended;
    }

    /// Whether a lowered limit invoked the killer.
    pub(super) fn limit_lowered(&self) -> Option<bool> {
        self.stack?.limit_lowered()
    }

    /// The account. `victim` is what the kill line says, once it is there.
    pub(super) fn account(
        &self,
        context: AccountContext,
        victim: Option<&Victim>,
    ) -> Option<Arc<Account>> {
        let AccountContext {
            machine,
            release,
            scope,
            constraint,
        } = context;
        let of_victim = || {
            let victim = victim?;
            let table = self.table.as_ref()?;
            table.page_bytes_by(victim.tid, victim.total_vm_bytes?)
        };
        let node = self.node();
        let page_bytes = machine
            .page_bytes
            .or_else(|| node?.page_bytes())
            .or_else(of_victim)
            .unwrap_or(PAGE_BYTES);
        let candidates = self.table.as_ref().map(|table| {
            let total_bytes = self.total_bytes(scope, constraint);
            table.candidates(page_bytes, total_bytes, release, machine.cpus)
        });
        let of_cgroup = match scope {
            Scope::Memcg => true,
            Scope::System => false,
            Scope::Unknown => node.is_none(),
        };
        let memory: Option<Memory> = if of_cgroup {
            self.statistics.memory_of_cgroup()
        } else {
            node.and_then(|node| node.memory(page_bytes))
        };
        let limit_hits = self.statistics.limit_hits().filter(|_| of_cgroup);
        let account = Account {
            candidates,
            memory,
            zones: node
                .filter(|_| !of_cgroup)
                .map(|node| node.zones.clone())
                .unwrap_or_default(),
            before: limit_hits.map(|limit_hits| Before {
                limit_hits: Some(limit_hits),
                stall_us: None,
            }),
        };
        (!account.is_empty()).then(|| Arc::new(account))
    }

    /// The memory that `oom_badness` takes `oom_score_adj` as thousandths of; absent if it cannot be derived. Before the end of
    /// the header scope and constraint are unknown: what it then is most likely, to rank by.
    fn total_bytes(&self, scope: Scope, constraint: Option<Constraint>) -> Option<u64> {
        let node = || self.node()?.total_bytes();
        match (scope, constraint) {
            (Scope::Memcg, _) => self.statistics.total_bytes(),
            (Scope::System, Some(Constraint::None)) => node(),
            // Before 5.0 the log has no constraint. With one NUMA node there is none.
            (Scope::System, None) => {
                let zones = self.node.as_ref().map(|node| &node.zones)?;
                let first = zones.first()?.node;
                zones.iter().all(|zone| zone.node == first).then(node)?
            }
            (Scope::System, Some(_)) => None,
            (Scope::Unknown, _) => self.statistics.total_bytes().or_else(node),
        }
    }

    /// Memory of the machine, if it is known to be of this header.
    fn node(&self) -> Option<&NodeStatistics> {
        self.node.as_ref().filter(|_| !self.is_node_uncertain)
    }

    fn page_bytes(&self, machine: LogMachine) -> u64 {
        machine
            .page_bytes
            .or_else(|| self.node.as_ref()?.page_bytes())
            .unwrap_or(PAGE_BYTES)
    }
}

/// Whether a stack begins.
fn is_stack(text: &[u8]) -> bool {
    matches!(
        text.trim_ascii(),
        b"Call Trace:" | b"Call trace:" | b"Backtrace:"
    )
}

#[cfg(test)]
mod tests;
