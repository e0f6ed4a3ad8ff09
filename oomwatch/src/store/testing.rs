//! Test helpers: temporary history databases, kills, and times.

use std::path::PathBuf;

use rusqlite::{Connection, types::FromSql};
use tempfile::TempDir;

use super::{Batch, Config, Identity, OpenMode, Pending, Restored, Store, Written};
use crate::store::{database::begin, files};
use crate::{
    model::{persist::Change, report::Report},
    sys::clock::ClockSample,
    testing,
};

pub(super) const HOUR_NS: u64 = 3_600_000_000_000;
/// The second of [`kill`]'s time: the first of a minute.
const SECOND: i64 = 1_790_000_040;

/// The time some hours after the start of a test.
pub(super) fn now(hours: i64) -> ClockSample {
    let hours = hours.unsigned_abs();
    ClockSample {
        boot_time_ns: (10 + hours) * HOUR_NS,
        unix_ns: SECOND.unsigned_abs() * 1_000_000_000 + hours * HOUR_NS,
        ..ClockSample::now()
    }
}

/// A history database in a temporary folder.
pub(super) struct TempHistory {
    pub(super) folder: TempDir,
    pub(super) config: Config,
    pub(super) identity: Identity,
}

impl TempHistory {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().expect("create a folder");
        let config = Config {
            folder: folder.path().join("oomwatch"),
            boot_parts: &["cursor"],
            machine_parts: &["cursor"],
            ..Config::default()
        };
        Self {
            folder,
            config,
            identity: identity("machine", "node-1", "boot-1"),
        }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.config.folder.join(files::FILE)
    }

    /// Opens it as an agent that starts.
    pub(super) fn start(&self) -> (Store, Restored) {
        self.start_as(&self.identity)
    }

    pub(super) fn start_as(&self, identity: &Identity) -> (Store, Restored) {
        Store::open(&self.config, identity, OpenMode::Start, now(0)).expect("open the database")
    }

    /// Opens it as another process.
    pub(super) fn connect(&self) -> Connection {
        Connection::open(self.path()).expect("open the file")
    }

    /// Names of the files in the folder except the lock, sorted.
    pub(super) fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.config.folder).expect("list the folder");
        let names = entries.map(|entry| entry.expect("an entry").file_name());
        let mut names: Vec<String> = names
            .map(|name| name.into_string().expect("UTF-8"))
            .filter(|name| name != "lock")
            .collect();
        names.sort();
        names
    }
}

pub(super) fn identity(machine: &str, node: &str, boot: &str) -> Identity {
    Identity::new(machine.to_owned(), node.to_owned(), boot.to_owned())
}

/// One of many kills, a second apart, each in an incident of its own.
pub(super) fn kill(number: i64) -> Report {
    let mut report = testing::report();
    report.id = format!("0f1e2d3c-{number:x}-7");
    report.incident = format!("0f1e2d3c-{number:x}");
    report.time = Some(testing::timestamp(SECOND + number, 0));
    report
}

pub(super) fn kills(numbers: impl IntoIterator<Item = i64>) -> Vec<Report> {
    numbers.into_iter().map(kill).collect()
}

pub(super) fn ids(reports: &[Report]) -> Vec<String> {
    reports.iter().map(|report| report.id.clone()).collect()
}

/// A batch of kills that are captured, named and delivered at once.
pub(super) fn delivered(reports: Vec<Report>) -> Batch {
    Batch {
        delivered: ids(&reports),
        named: reports.clone(),
        kills: reports,
        ..Batch::default()
    }
}

pub(super) fn change(part: &'static str, key: &str, value: Option<&str>) -> Change {
    Change {
        part,
        key: key.to_owned(),
        value: value.map(str::to_owned),
        is_new: false,
    }
}

pub(super) fn pending(batch: &Batch) -> Pending {
    let mut pending = Pending::default();
    assert_eq!(pending.add(1, batch).dropped, 0);
    pending
}

/// Writes a batch, which must succeed.
pub(super) fn write(store: &mut Store, batch: &Batch) -> Written {
    store.write(&pending(batch), now(1)).expect("write")
}

pub(super) fn count(store: &mut Store, sql: &str) -> i64 {
    value(store.connection(), sql)
}

pub(super) fn value<T: FromSql>(connection: &Connection, sql: &str) -> T {
    connection.query_row(sql, [], |row| row.get(0)).expect(sql)
}

/// Changes the database directly.
pub(super) fn execute(store: &mut Store, sql: &str) {
    let transaction = begin(store.connection()).expect("begin");
    transaction.execute_batch(sql).expect(sql);
    transaction.commit().expect("commit");
}
