//! Every order of kills, counts, ends and failures of stdout.

use crate::model::cgroup::KubeletRoot;
use std::{cell::RefCell, path::Path, rc::Rc};

use proptest::prelude::*;

use super::*;
use crate::{
    deliver::{
        color::ColorChoice,
        printer::{OutputConfig, OutputFormat},
    },
    identify::{
        resolver::NameSources,
        runtimes::{Listing, RuntimeConfig},
        sockets::SocketChoice,
    },
    model::{
        filter::Filter,
        gap::Gap,
        kill::{NonKillKind, Scope},
    },
    testing,
};

/// A stdout that fails from a number of lines on.
#[derive(Clone, Default)]
struct Out {
    text: Rc<RefCell<String>>,
    room: Option<usize>,
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut text = self.text.borrow_mut();
        if self
            .room
            .is_some_and(|room| text.lines().count() >= room && text.ends_with('\n'))
        {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        text.push_str(str::from_utf8(bytes).expect("UTF-8"));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Out {
    fn failing_after(lines: usize) -> Self {
        Self {
            room: Some(lines),
            ..Self::default()
        }
    }

    /// The pids that were printed, in order.
    fn pids(&self) -> Vec<u64> {
        let text = self.text.borrow();
        let objects = text
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("an object"));
        objects
            .filter_map(|object| object["victim"]["pid"].as_u64())
            .collect()
    }
}

/// JSON lines, so that a line of output is one report.
fn screen(out: &Out, filter: Filter, count: Option<u64>) -> Screen<Out> {
    let config = OutputConfig {
        format: OutputFormat::Json,
        columns: None,
        zone: jiff::tz::TimeZone::UTC,
        color: ColorChoice::Never,
        has_header: false,
    };
    Screen::new(Printer::new(out.clone(), config, filter, None), count)
}

/// Names without any source: every kill leaves at once.
fn names() -> Resolver {
    Resolver::new(NameSources {
        runtimes: RuntimeConfig {
            cri: SocketChoice::Off,
            docker: SocketChoice::Off,
            podman: Vec::new(),
            proc_root: Path::new("/nonexistent").into(),
            listing: Listing::Never,
        },
        cgroup_root: "/nonexistent".into(),
        kubelet: KubeletRoot::Unknown,
        log_root: Path::new("/nonexistent").into(),
    })
}

fn kill(pid: u32, boot_time_ns: u64) -> Item {
    let mut report = testing::report();
    report.kill.victim.pid = pid;
    report.kill.boot_time_ns = Some(boot_time_ns);
    report.container = None;
    report.pod = None;
    Item::Kill(Box::new(report))
}

fn gap(kills: u64) -> Item {
    let mut report = testing::gap_report();
    report.gap = Gap {
        kills,
        ..report.gap
    };
    Item::Gap(report)
}

fn non_kill(boot_time_ns: u64) -> Item {
    Item::NonKill(NonKill {
        boot_time_ns: Some(boot_time_ns),
        kind: NonKillKind::Rekill,
        pid: 1,
        tid: 1,
        comm: None,
        cgroup: None,
    })
}

#[test]
fn kills_up_to_the_count_are_shown_and_no_more() {
    let (out, names) = (Out::default(), names());
    let mut screen = screen(&out, Filter::default(), Some(2));
    screen.show(vec![kill(1, 10)], &names);
    assert!(!screen.is_done());
    screen.show(vec![kill(2, 20), kill(3, 30), non_kill(40)], &names);
    assert!(screen.is_done());
    screen.show(vec![kill(4, 50)], &names);
    assert_eq!((out.pids(), screen.shown()), (vec![1, 2], 2));
    assert!(screen.into_result().is_ok());
}

#[test]
fn filtered_kills_do_not_count() {
    let (out, names) = (Out::default(), names());
    let filter = Filter {
        scope: Some(Scope::System),
        ..Filter::default()
    };
    let mut screen = screen(&out, filter, Some(1));
    screen.show(vec![kill(1, 10)], &names);
    assert!(!screen.is_done());
    assert_eq!((out.pids(), screen.shown()), (vec![], 0));
}

#[test]
fn kills_after_the_end_are_not_shown() {
    let (out, names) = (Out::default(), names());
    let mut screen = screen(&out, Filter::default(), None);
    screen.end(100);
    screen.show(vec![kill(1, 100), kill(2, 101), non_kill(102)], &names);
    assert_eq!(out.pids(), [1]);
}

#[test]
fn gap_counts_as_its_kills() {
    let (out, names) = (Out::default(), names());
    let mut screen = screen(&out, Filter::default(), Some(3));
    screen.show(vec![kill(1, 10), gap(5), kill(2, 20)], &names);
    assert!(screen.is_done());
    assert_eq!((out.pids(), screen.shown()), (vec![1], 6));
}

#[test]
fn first_failure_of_stdout_ends_the_output_and_is_the_result() {
    let (out, names) = (Out::failing_after(1), names());
    let mut screen = screen(&out, Filter::default(), None);
    screen.show(vec![kill(1, 10), kill(2, 20), kill(3, 30)], &names);
    assert!(screen.is_done());
    assert_eq!(out.pids(), [1]);
    let error = screen.into_result().expect_err("a closed pipe");
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
}

proptest! {
    /// However kills arrive, the first `count` of them up to the end are shown, once and in order.
    #[test]
    fn shown_kills_are_the_first_ones_before_the_end(
        times in prop::collection::vec(0_u64..100, 0..20),
        splits in prop::collection::vec(1_usize..4, 0..20),
        count in prop::option::of(1_u64..6),
        end in prop::option::of(0_u64..100),
    ) {
        let (out, names) = (Out::default(), names());
        let mut screen = screen(&out, Filter::default(), count);
        if let Some(end) = end {
            screen.end(end);
        }
        let numbered: Vec<_> = (1_u32..).zip(times.iter().copied()).collect();
        let mut rest = &numbered[..];
        let mut splits = splits.into_iter();
        while !rest.is_empty() {
            let (batch, later) = rest.split_at(splits.next().unwrap_or(1).min(rest.len()));
            screen.show(batch.iter().map(|&(pid, time)| kill(pid, time)).collect(), &names);
            rest = later;
        }
        let wanted = numbered.iter().filter(|(_, time)| end.is_none_or(|end| *time <= end));
        let most = count.map_or(usize::MAX, |count| usize::try_from(count).expect("few"));
        let expected: Vec<_> = wanted.take(most).map(|&(pid, _)| u64::from(pid)).collect();
        prop_assert_eq!(out.pids(), expected);
    }
}
