//! `oomwatch history`: the kills in the database. Wiring only.

use std::{
    collections::VecDeque,
    io,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use jiff::Timestamp;
use tracing::{info, warn};

use crate::{
    commands::exit::Exit,
    deliver::printer::{OutputConfig, Printer},
    identify::directory::Directory,
    model::filter::Filter,
    store::read::{Item, Order, Query, ReadError, Reader},
};

/// The most unreadable rows that are named.
const NAMED: usize = 16;

/// Why reading ends early.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("failed to write to stdout")]
    Write(#[from] io::Error),
}

/// Configuration of `oomwatch history`.
#[derive(Debug)]
pub struct HistoryConfig {
    /// How kills are printed.
    pub output: OutputConfig,
    /// Only kills since then.
    pub since: Option<Timestamp>,
    /// Only kills until then.
    pub until: Option<Timestamp>,
    /// Only the newest so many; 0 for all.
    pub limit: usize,
    /// The history: its folder, its file, or a copy of the file.
    pub state_dir: PathBuf,
    /// Which kills to show.
    pub filter: Filter,
}

/// Prints the kills, oldest first.
pub fn run(config: HistoryConfig) -> anyhow::Result<Exit> {
    let HistoryConfig {
        output,
        since,
        until,
        limit,
        state_dir,
        filter,
    } = config;
    let query = Query {
        since,
        until,
        namespace: filter.namespace.clone(),
        pod: filter.pod.clone(),
        container: filter.container.clone(),
        scope: filter.scope,
    };
    let mut printer = Printer::stdout(output, filter);
    match print(&state_dir, &query, limit, &mut printer) {
        Err(Error::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Exit::Done),
        Err(error) => Err(error).context("failed to print the history"),
        Ok(unreadable) => {
            if !unreadable.is_empty() {
                let (rows, first) = (unreadable.len(), &unreadable[..unreadable.len().min(NAMED)]);
                warn!(
                    rows,
                    numbers = ?first,
                    "left out rows that cannot be read: damaged, or written by another version"
                );
            }
            Ok(Exit::Done)
        }
    }
}

/// Returns the numbers of the rows that could not be read.
fn print(
    path: &Path,
    query: &Query,
    limit: usize,
    printer: &mut Printer,
) -> Result<Vec<i64>, Error> {
    let reader = Reader::open(path)?;
    if reader.misses_newest() {
        warn!(
            "the newest kills are not shown: they are in a file beside the database that only its owner can read"
        );
    }
    let mut unreadable = Vec::new();
    printer.header()?;
    if limit == 0 {
        reader.read(query, Order::OldestFirst, |item| {
            unreadable.extend(unreadable_number(&item));
            show(&item, printer).map(|()| true).map_err(Error::from)
        })?;
    } else {
        let mut newest = VecDeque::new();
        let mut has_more = false;
        reader.read(query, Order::NewestFirst, |item| {
            unreadable.extend(unreadable_number(&item));
            if is_shown(&item, printer) {
                has_more = newest.len() == limit;
                if !has_more {
                    newest.push_front(item);
                }
            }
            Ok::<_, Error>(!has_more)
        })?;
        for item in &newest {
            show(item, printer)?;
        }
        if has_more {
            info!(
                limit,
                "there are older kills: --limit 0 shows all, --since those since a time"
            );
        }
    }
    printer.finish()?;
    Ok(unreadable)
}

fn unreadable_number(item: &Item) -> Option<i64> {
    match item {
        Item::Unreadable(number) => Some(*number),
        Item::Kill(..) | Item::Gap(_) => None,
    }
}

fn is_shown(item: &Item, printer: &Printer) -> bool {
    match item {
        Item::Kill(report, _) => printer.shows(report),
        Item::Gap(_) => true,
        Item::Unreadable(_) => false,
    }
}

fn show(item: &Item, printer: &mut Printer) -> io::Result<()> {
    match item {
        Item::Kill(report, _) if !printer.shows(report) => Ok(()),
        // Written before it was identified, by an agent that ended then.
        Item::Kill(report, None) if report.limit_owner.is_none() => {
            let mut report = report.clone();
            Directory::default().decide(&mut report);
            printer.kill(&report)
        }
        Item::Kill(report, None) => printer.kill(report),
        Item::Kill(report, Some(many)) => printer.coalesced(report, many),
        Item::Gap(report) => printer.gap(report),
        Item::Unreadable(_) => Ok(()),
    }
}
