//! The columns of text output: their names, titles and widths.

use std::str::FromStr;

/// A column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// When the victim was marked.
    Time,
    /// Kind of record.
    What,
    /// What the victim belonged to.
    Object,
    /// The workload of its pod.
    Workload,
    /// Name and id of the victim.
    Process,
    /// Its resident anonymous and shared memory.
    Rss,
    /// The limit that was hit.
    Limit,
    /// Whose limit it is.
    LimitOwner,
    /// Trigger, group kill and what else is unusual.
    Note,
    /// Why the memory ran out.
    Cause,
    /// Id of the victim.
    Pid,
    /// The marked thread.
    Tid,
    /// Id in the victim's own PID namespace.
    NsPid,
    /// Name of the victim.
    Comm,
    /// Its user.
    Uid,
    /// Its `oom_score_adj`.
    Adj,
    /// Resident anonymous memory.
    Anon,
    /// Resident file pages.
    File,
    /// Resident shared memory.
    Shmem,
    /// Swapped-out memory.
    Swap,
    /// Usage of the cgroup that ran out.
    Usage,
    /// What ran out.
    Scope,
    /// Whether it was the container's main process.
    Main,
    /// Whether the whole cgroup was killed.
    Group,
    /// The thread whose allocation invoked the killer.
    Trigger,
    /// The victim's cgroup.
    Cgroup,
    /// The node.
    Node,
    /// Id of the incident.
    Incident,
}

/// How a cell is padded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Blanks behind it.
    Left,
    /// Blanks before it.
    Right,
}

/// Titles, widths without a terminal, and alignment.
const ALL: &[(Column, &str, usize, Align)] = &[
    (Column::Time, "TIME", 24, Align::Left),
    (Column::What, "WHAT", 11, Align::Left),
    (Column::Object, "OBJECT", 40, Align::Left),
    (Column::Workload, "WORKLOAD", 28, Align::Left),
    (Column::Process, "PROCESS", 23, Align::Left),
    (Column::Rss, "RSS", 9, Align::Right),
    (Column::Limit, "LIMIT", 9, Align::Right),
    (Column::LimitOwner, "LIMIT OWNER", 11, Align::Left),
    (Column::Note, "NOTE", 28, Align::Left),
    (Column::Cause, "CAUSE", 0, Align::Left),
    (Column::Pid, "PID", 7, Align::Right),
    (Column::Tid, "TID", 7, Align::Right),
    (Column::NsPid, "NSPID", 7, Align::Right),
    (Column::Comm, "COMM", 15, Align::Left),
    (Column::Uid, "UID", 6, Align::Right),
    (Column::Adj, "ADJ", 5, Align::Right),
    (Column::Anon, "ANON", 9, Align::Right),
    (Column::File, "FILE", 9, Align::Right),
    (Column::Shmem, "SHMEM", 9, Align::Right),
    (Column::Swap, "SWAP", 9, Align::Right),
    (Column::Usage, "USAGE", 9, Align::Right),
    (Column::Scope, "SCOPE", 7, Align::Left),
    (Column::Main, "MAIN", 4, Align::Left),
    (Column::Group, "GROUP", 5, Align::Left),
    (Column::Trigger, "TRIGGER", 23, Align::Left),
    (Column::Cgroup, "CGROUP", 40, Align::Left),
    (Column::Node, "NODE", 16, Align::Left),
    (Column::Incident, "INCIDENT", 24, Align::Left),
];

/// The columns of `text`.
pub(super) const TEXT: &[Column] = &[
    Column::Time,
    Column::Object,
    Column::Process,
    Column::Rss,
    Column::Limit,
    Column::LimitOwner,
    Column::Note,
    Column::Cause,
];

/// The columns of `wide`.
pub(super) const WIDE: &[Column] = &[
    Column::Time,
    Column::What,
    Column::Object,
    Column::Workload,
    Column::Pid,
    Column::Tid,
    Column::NsPid,
    Column::Comm,
    Column::Uid,
    Column::Adj,
    Column::Anon,
    Column::File,
    Column::Shmem,
    Column::Swap,
    Column::Usage,
    Column::Limit,
    Column::LimitOwner,
    Column::Scope,
    Column::Main,
    Column::Group,
    Column::Trigger,
    Column::Cgroup,
    Column::Note,
    Column::Cause,
];

impl Column {
    fn entry(self) -> &'static (Column, &'static str, usize, Align) {
        // Every variant has an entry, which a test holds.
        let mut entries = ALL.iter();
        entries
            .find(|(column, ..)| *column == self)
            .unwrap_or(&ALL[0])
    }

    pub(super) fn title(self) -> &'static str {
        self.entry().1
    }

    /// The title on a terminal, where a column may be narrower than its title.
    pub(super) fn brief_title(self) -> &'static str {
        match self {
            Self::LimitOwner => "OWNER",
            _ => self.title(),
        }
    }

    /// Whether its text has no usual width, and has a line of its own where there is no room for a column.
    pub(super) fn is_free(self) -> bool {
        matches!(self, Self::Note | Self::Cause)
    }

    /// Width of a table without a terminal.
    pub(super) fn width(self) -> usize {
        self.entry().2
    }

    pub(super) fn align(self) -> Align {
        self.entry().3
    }

    /// The least useful width on a terminal.
    pub(super) fn min_width(self) -> usize {
        match self {
            Self::Rss | Self::Limit => 6,
            Self::Time => 8,
            Self::Object | Self::Process => 12,
            Self::LimitOwner => 9,
            Self::Cgroup => 20,
            _ => self.width(),
        }
    }

    /// The names of all columns, in lower case with `-` for a blank.
    pub fn names() -> impl Iterator<Item = String> {
        ALL.iter().map(|(_, title, ..)| name_of(title))
    }
}

fn name_of(title: &str) -> String {
    title.to_lowercase().replace(' ', "-")
}

/// The text is not the name of a column.
#[derive(Debug, thiserror::Error)]
#[error("no such column; there are {}", Column::names().collect::<Vec<_>>().join(", "))]
pub struct ColumnError;

impl FromStr for Column {
    type Err = ColumnError;

    fn from_str(text: &str) -> Result<Self, ColumnError> {
        let mut entries = ALL.iter();
        let entry = entries.find(|(_, title, ..)| name_of(title) == text);
        entry.map(|(column, ..)| *column).ok_or(ColumnError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_has_an_entry_and_a_name() {
        for column in TEXT.iter().chain(WIDE) {
            assert_eq!(column.entry().0, *column);
            let name = name_of(column.title());
            assert_eq!(name.parse::<Column>().ok(), Some(*column), "{name}");
        }
        let error = "pids".parse::<Column>().expect_err("no such column");
        assert!(error.to_string().contains("limit-owner"), "{error}");
    }
}
