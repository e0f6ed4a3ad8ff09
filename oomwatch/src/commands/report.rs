//! `oomwatch report`: kills from a saved kernel log. Wiring only.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
    time::SystemTime,
};

use anyhow::{Context as _, bail};
use jiff::{SignedDuration, Timestamp, tz::Offset};
use tracing::{info, warn};

use crate::{
    capture::kmsg::{
        assemble::{Assembler, LogCounts, LogItem, Trust},
        bounded_lines::BoundedLines,
        log_file::LogFileParser,
    },
    commands::exit::Exit,
    deliver::printer::{OutputConfig, Printer},
    identify::directory::Directory,
    model::{
        cgroup::KubeletRoot,
        filter::Filter,
        report::{Origin, Report},
    },
};

const BUFFER_BYTES: usize = 64 * 1024;

/// How much later than its file was written a line may seem to be: its zone may be another.
const ZONES: SignedDuration = SignedDuration::from_hours(24);

/// How files begin that hold a log in another form, and what reads them.
const OTHER_FORMS: &[(&[u8], &str)] = &[
    (b"\x1f\x8b", "zcat FILE"),
    (b"\xfd7zXZ", "xzcat FILE"),
    (b"\x28\xb5\x2f\xfd", "zstdcat FILE"),
    (b"LPKSHHRH", "journalctl --dmesg --file FILE"),
];

/// Configuration of `oomwatch report`.
#[derive(Debug)]
pub struct ReportConfig {
    /// The log; `-` for stdin.
    pub file: PathBuf,
    /// How kills are printed.
    pub output: OutputConfig,
    /// Name of the node that wrote the log; absent for the name in the log.
    pub node: Option<String>,
    /// Offset from UTC of times that state none.
    pub utc_offset: Offset,
    /// Whose lines to believe.
    pub trust: Trust,
    /// Which kills to show.
    pub filter: Filter,
    /// Where that node's kubelet has its pods, if that is known.
    pub kubelet: Option<KubeletRoot>,
}

/// Reads a log to its end.
pub fn run(config: ReportConfig) -> anyhow::Result<Exit> {
    let ReportConfig {
        file,
        output,
        node,
        utc_offset,
        trust,
        filter,
        kubelet,
    } = config;
    let mut shown = Shown {
        printer: Printer::stdout(output, filter),
        node,
        kubelet: kubelet.unwrap_or_default(),
    };
    let (mut input, latest) = open(&file).with_context(|| format!("open {}", file.display()))?;
    let reading = || format!("read {}", file.display());
    check_form(input.fill_buf().with_context(reading)?)?;
    let mut lines = BoundedLines::new(input);
    let mut saved = LogFileParser::new(utc_offset, latest);
    let mut assembler = Assembler::new(trust);

    let mut written = shown.printer.header();
    while written.is_ok()
        && let Some(line) = lines.next_line().with_context(reading)?
    {
        written = shown.show(assembler.push(&saved.parse(line)));
    }
    let (last, counts) = assembler.finish();
    match written.and_then(|()| shown.show(last)) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(Exit::Done),
        written => written.context("write to stdout")?,
    }
    tell(counts, lines.cut());
    if saved.has_assumed_zone() {
        warn!(%utc_offset, "the log names no time zone, --utc-offset says which it is");
    }
    Ok(Exit::Done)
}

struct Shown {
    printer: Printer,
    node: Option<String>,
    kubelet: KubeletRoot,
}

impl Shown {
    fn show(&mut self, found: Option<LogItem>) -> io::Result<()> {
        match found {
            None => return Ok(()),
            Some(LogItem::Kill(kill)) => {
                let mut report = Report::new(
                    kill.into_kill(),
                    Origin::SavedLog {
                        node: self.node.as_deref(),
                        kubelet: &self.kubelet,
                    },
                );
                Directory::default().decide(&mut report);
                if self.printer.shows(&report) {
                    self.printer.kill(&report)?;
                }
            }
            Some(LogItem::Rekill { non_kill, stamp }) => {
                self.printer.non_kill(&non_kill, stamp.calendar)?;
            }
        }
        self.printer.flush()
    }
}

/// The log, and a time that none of its lines is later than.
fn open(file: &Path) -> io::Result<(BufReader<Box<dyn Read>>, Timestamp)> {
    let (input, latest): (Box<dyn Read>, _) = if file == Path::new("-") {
        (Box::new(io::stdin().lock()), SystemTime::now())
    } else {
        let file = File::open(file)?;
        let written = file.metadata()?.modified()?;
        (Box::new(file), written)
    };
    let latest = Timestamp::try_from(latest).unwrap_or(Timestamp::MAX);
    let latest = latest.checked_add(ZONES).unwrap_or(Timestamp::MAX);
    Ok((BufReader::with_capacity(BUFFER_BYTES, input), latest))
}

/// Refuses what would be read as a log without a kill.
fn check_form(start: &[u8]) -> anyhow::Result<()> {
    for (magic, command) in OTHER_FORMS {
        if start.starts_with(magic) {
            bail!("this is no log in text: try {command} | oomwatch report -");
        }
    }
    Ok(())
}

/// Logs the counts, and what the log lacks.
fn tell(counts: LogCounts, cut_lines: u64) {
    let LogCounts {
        kills,
        rekills,
        kills_without_header,
        headers_without_kill,
        suppressed_headers,
        unreadable,
        untrusted,
    } = counts;
    info!(kills, rekills, "the log has been read");
    if kills_without_header + headers_without_kill > 0 {
        warn!(
            kills_without_header,
            headers_without_kill,
            suppressed_headers,
            "the kernel held lines back or the log has lost them: those kills are reported without their cgroup"
        );
    }
    if unreadable + cut_lines > 0 {
        warn!(
            unreadable,
            cut_lines, "lines could not be read, a kill may be missing"
        );
    }
    if untrusted > 0 {
        warn!(
            kills = untrusted,
            "written to the log by a process, not by the kernel: left out, see --trust"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_in_another_form_is_refused_with_the_remedy() {
        for (magic, command) in OTHER_FORMS {
            let error = check_form(&[magic, &b"rest"[..]].concat()).expect_err(command);
            assert!(error.to_string().contains(command), "{error}");
        }
        for text in [&b""[..], b"[    0.000000] Linux version 6.1.0"] {
            assert!(check_form(text).is_ok());
        }
    }
}
