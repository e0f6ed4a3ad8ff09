//! `oomwatch explain`: the page of a kill, from the history, a saved kernel log or JSON lines. Wiring only.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Read},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::{
    commands::{
        exit::Exit,
        report::{self, ReportConfig},
    },
    deliver::printer::{OutputConfig, Printer},
    model::filter::Filter,
    store::read::{Item, Order, Query, ReadError, Reader},
};

/// Longest JSON line that is read; a record of oomwatch has some kilobytes.
const LINE_MAX: u64 = 4 << 20;

/// Configuration of `oomwatch explain`.
#[derive(Debug)]
pub struct ExplainConfig {
    /// Where the kill is.
    pub source: ExplainSource,
}

/// Where a kill is looked for.
#[derive(Debug)]
pub enum ExplainSource {
    /// An agent's history: the newest kill that passes the filter.
    History {
        /// Its folder, its file, or a copy of the file.
        state_dir: PathBuf,
        /// How the page is printed.
        output: OutputConfig,
        /// Which kill.
        filter: Filter,
    },
    /// A saved kernel log: every kill that passes the filter.
    Log(Box<ReportConfig>),
    /// JSON lines: every kill that passes the filter.
    Json {
        /// The file; `-` for stdin.
        file: PathBuf,
        /// How the pages are printed.
        output: OutputConfig,
        /// Which kills.
        filter: Filter,
    },
}

/// Prints the page.
pub fn run(config: ExplainConfig) -> anyhow::Result<Exit> {
    match config.source {
        ExplainSource::Log(config) => report::run(*config),
        ExplainSource::History {
            state_dir,
            output,
            filter,
        } => newest(&state_dir, output, filter),
        ExplainSource::Json {
            file,
            output,
            filter,
        } => records(&file, output, filter),
    }
}

fn newest(state_dir: &Path, output: OutputConfig, filter: Filter) -> anyhow::Result<Exit> {
    let reader = Reader::open(state_dir).context("failed to read the history")?;
    let id = filter.id.clone();
    let mut printer = Printer::stdout(output, filter);
    let mut found = None;
    reader
        .read(&Query::default(), Order::NewestFirst, |item| {
            let is_it = matches!(&item, Item::Kill(report, _) if printer.shows(report));
            if is_it {
                found = Some(item);
            }
            Ok::<_, ReadError>(!is_it)
        })
        .context("failed to read the history")?;
    let written = match (found, id) {
        (Some(Item::Kill(report, coalesced)), _) => {
            printer.header().and_then(|()| match coalesced {
                Some(coalesced) => printer.coalesced(&report, &coalesced),
                None => printer.kill(&report),
            })
        }
        (_, Some(id)) => bail!(
            "the history has no kill whose id begins with {id} (try: oomwatch history -o json)"
        ),
        (_, None) => bail!("the history has no kills"),
    };
    done(written.and_then(|()| printer.flush()))
}

fn records(file: &Path, output: OutputConfig, filter: Filter) -> anyhow::Result<Exit> {
    let name = file.display().to_string();
    let input: Box<dyn Read> = if file == Path::new("-") {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(file).with_context(|| format!("failed to open {name}"))?)
    };
    let id = filter.id.clone();
    let mut printer = Printer::stdout(output, filter);
    let mut input = BufReader::new(input);
    let (mut line, mut lines, mut pages) = (Vec::new(), 0_u64, 0_u64);
    let mut written = printer.header();
    while written.is_ok() {
        line.clear();
        let mut limited = input.by_ref().take(LINE_MAX);
        let length = limited
            .read_until(b'\n', &mut line)
            .with_context(|| format!("failed to read {name}"))?;
        if length == 0 {
            break;
        }
        lines += 1;
        let record: Value = serde_json::from_slice(&line)
            .with_context(|| format!("line {lines} of {name} is not a JSON record"))?;
        let own_id = record.get("id").and_then(Value::as_str).unwrap_or_default();
        if id.as_deref().is_some_and(|id| !own_id.starts_with(id)) {
            continue;
        }
        written = printer
            .foreign(&record)
            .map(|known| pages += u64::from(known));
    }
    if written.is_ok() && pages == 0 {
        bail!("{name} has no record of such a kill in its {lines} lines");
    }
    done(written.and_then(|()| printer.flush()))
}

/// A closed pipe is no failure.
fn done(written: io::Result<()>) -> anyhow::Result<Exit> {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("failed to write to stdout")
        }
        _ => Ok(Exit::Done),
    }
}
