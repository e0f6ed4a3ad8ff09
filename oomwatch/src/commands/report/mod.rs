//! `oomwatch report`: kills from a saved kernel log. Wiring only.

mod input;

use std::{io, path::PathBuf};

use anyhow::{Context as _, bail};
use jiff::tz::Offset;
use tracing::{info, warn};

use crate::{
    capture::kmsg::{
        assemble::{LogCounts, LogItem, Trust},
        bounded_lines::BoundedLines,
        log_file::{LinesSeen, LogFile},
    },
    commands::exit::Exit,
    deliver::printer::{OutputConfig, Printer},
    identify::directory::Directory,
    model::{
        cause::decide,
        cgroup::KubeletRoot,
        filter::Filter,
        report::{Origin, Report},
    },
    sys::escape::escape,
};

/// The systemd journal's own files.
const JOURNAL: &[u8] = b"LPKSHHRH";

/// Configuration of `oomwatch report`.
#[derive(Debug)]
pub struct ReportConfig {
    /// The logs; `-` for stdin.
    pub files: Vec<PathBuf>,
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

/// Reads logs to their end.
pub fn run(config: ReportConfig) -> anyhow::Result<Exit> {
    let ReportConfig {
        files,
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
    let mut totals = Totals::default();
    let mut written = shown.printer.header();
    for file in &files {
        let name = match file.to_str() {
            Some("-") => "stdin".to_owned(),
            _ => file.display().to_string(),
        };
        if written.is_err() {
            break;
        }
        let (input, latest) = input::open(file).with_context(|| format!("open {name}"))?;
        let reading = || format!("read {name}");
        let mut input = input::decode(input).with_context(reading)?;
        if io::BufRead::fill_buf(&mut input)
            .with_context(reading)?
            .starts_with(JOURNAL)
        {
            bail!("{name} is a journal file: try journalctl --dmesg --file FILE | oomwatch report");
        }
        let mut lines = BoundedLines::new(input);
        let mut log = LogFile::new(utc_offset, latest, trust);
        while written.is_ok()
            && let Some(line) = lines.next_line().with_context(reading)?
        {
            log.push(line);
            written = shown.show_all(&mut log);
        }
        let (counts, seen) = log.finish();
        written = written.and_then(|()| shown.show_all(&mut log));
        if written.is_ok() && is_foreign(&seen, counts) {
            let first = escape(seen.first.as_deref().unwrap_or_default());
            bail!("{name} has no line of the kernel; it begins with: {first}");
        }
        totals.add(&log, counts, seen, lines.cut());
    }
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(Exit::Done),
        written => written.context("write to stdout")?,
    }
    totals.tell(utc_offset);
    Ok(Exit::Done)
}

/// Whether a file has lines and none of them is the kernel's.
fn is_foreign(seen: &LinesSeen, counts: LogCounts) -> bool {
    seen.lines > 0 && !seen.has_kernel && counts.untrusted == 0
}

struct Shown {
    printer: Printer,
    node: Option<String>,
    kubelet: KubeletRoot,
}

impl Shown {
    fn show_all(&mut self, log: &mut LogFile) -> io::Result<()> {
        while let Some(item) = log.next_item() {
            self.show(item)?;
        }
        Ok(())
    }

    fn show(&mut self, found: LogItem) -> io::Result<()> {
        match found {
            LogItem::Kill(kill) => {
                let mut report = Report::new(
                    kill.into_kill(),
                    Origin::SavedLog {
                        node: self.node.as_deref(),
                        kubelet: &self.kubelet,
                    },
                );
                Directory::default().decide(&mut report);
                decide::explain(&mut report);
                if self.printer.shows(&report) {
                    self.printer.kill(&report)?;
                }
            }
            LogItem::Rekill { non_kill, stamp } => {
                self.printer.non_kill(&non_kill, stamp.calendar)?;
            }
        }
        self.printer.flush()
    }
}

/// What all files have.
#[derive(Debug, Default)]
struct Totals {
    counts: LogCounts,
    cut_lines: u64,
    not_understood: u64,
    first_not_understood: Option<Vec<u8>>,
    has_assumed_zone: bool,
    has_assumed_year: bool,
}

impl Totals {
    fn add(&mut self, log: &LogFile, counts: LogCounts, seen: LinesSeen, cut_lines: u64) {
        self.counts += counts;
        self.cut_lines += cut_lines;
        self.not_understood += seen.not_understood;
        self.first_not_understood = self
            .first_not_understood
            .take()
            .or(seen.first_not_understood);
        self.has_assumed_zone |= log.parser().has_assumed_zone();
        self.has_assumed_year |= log.parser().has_assumed_year();
    }

    /// Logs the counts, and what the logs lack.
    fn tell(self, utc_offset: Offset) {
        let LogCounts {
            kills,
            rekills,
            kills_without_header,
            headers_without_kill,
            suppressed_headers,
            unreadable,
            untrusted,
            no_victim,
        } = self.counts;
        info!(kills, rekills, "the log has been read");
        if no_victim > 0 {
            warn!(
                times = no_victim,
                "the OOM killer found no process to kill, or the kernel panicked instead"
            );
        }
        if kills_without_header + headers_without_kill > 0 {
            warn!(
                kills_without_header,
                headers_without_kill,
                suppressed_headers,
                "the kernel held lines back or the log has lost them: those kills are reported without their cgroup"
            );
        }
        if unreadable + self.cut_lines > 0 {
            warn!(
                unreadable,
                cut_lines = self.cut_lines,
                "lines could not be read, a kill may be missing"
            );
        }
        if let Some(first) = self.first_not_understood {
            warn!(
                lines = self.not_understood,
                first = %escape(first.trim_ascii()),
                "lines mention a kill and were not understood"
            );
        }
        if untrusted > 0 {
            warn!(
                kills = untrusted,
                "written to the log by a process, not by the kernel: left out, see --trust"
            );
        }
        if self.has_assumed_zone {
            warn!(%utc_offset, "the log names no time zone, --utc-offset says which it is");
        }
        if self.has_assumed_year {
            warn!("the log names no year, it is taken from the time at which the file was written");
        }
    }
}
