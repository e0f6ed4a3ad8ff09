use std::{path::Path, process::Command};

use jiff::Timestamp;
use oomwatch::{
    model::report::Report,
    store::{
        Answer, Answers, Batch, Config, FILE, History, Identity, Outcome, Restored, Ticket, codec,
    },
};
use rusqlite::{Connection, types::FromSql};

/// 2026-09-21T14:14:00Z, the start of a minute.
const SECOND: i64 = 1_790_000_040;

/// One of many kills: ten per second, each in an incident of its own, all in one container.
pub(crate) fn kill(number: u64) -> Report {
    let mut report = codec::to_report(include_str!("kill.json")).expect("a report");
    report.id = format!("0f1e2d3c-{number:x}-7");
    report.incident = format!("0f1e2d3c-{number:x}");
    let tenths = i64::try_from(number).expect("few");
    let nanosecond = i32::try_from(tenths % 10).expect("a digit") * 100_000_000;
    report.time = Timestamp::new(SECOND + tenths / 10, nanosecond).ok();
    report.kill.victim.pid = u32::try_from(1000 + number).expect("few");
    report
}

/// A batch of kills that are captured, named and delivered at once.
pub(crate) fn delivered(reports: Vec<Report>) -> Batch {
    Batch {
        delivered: reports.iter().map(|report| report.id.clone()).collect(),
        named: reports.clone(),
        kills: reports,
        ..Batch::default()
    }
}

pub(crate) fn open(folder: &Path) -> (History, Answers, Restored) {
    let config = Config {
        folder: folder.to_owned(),
        ..Config::default()
    };
    let [machine, node, boot] = ["machine", "node-1", "boot"].map(str::to_owned);
    History::open(config, Identity::new(machine, node, boot))
}

/// Waits until the batch is on the disk. Returns all duplicates.
pub(crate) async fn saved(answers: &mut Answers, ticket: Ticket) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        let Answer {
            ticket: up_to,
            outcome,
            duplicates,
            ..
        } = answers.next().await;
        all.extend(duplicates);
        if outcome == Outcome::Saved && up_to >= ticket {
            return all;
        }
    }
}

/// Creates a database with these kills.
pub(crate) fn create(folder: &Path, batch: &Batch) {
    runtime().block_on(async {
        let (history, mut answers, _) = open(folder);
        let ticket = history.write(batch);
        saved(&mut answers, ticket).await;
        history.close().await;
    });
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime")
}

pub(crate) fn value<T: FromSql>(folder: &Path, sql: &str) -> T {
    let connection = Connection::open(folder.join(FILE)).expect("open the database");
    connection.query_row(sql, [], |row| row.get(0)).expect(sql)
}

/// The command that runs this executable again.
pub(crate) fn itself() -> Command {
    Command::new(std::env::current_exe().expect("its own path"))
}
