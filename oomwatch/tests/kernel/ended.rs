//! The command after its end: what it reported, and what it counted.

use std::{collections::HashMap, process::ExitStatus};

use crate::report::{Line, Report};

/// The part of its closing line behind the kernel's count.
const TOTALS: &str = " counted by the kernel, ";

/// The command after its end.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The backend that it named at its start.
    pub(crate) backend: String,
    /// How it ended.
    pub(crate) status: ExitStatus,
    /// Lines of stdout that were not read before.
    pub(crate) lines: Vec<Vec<u8>>,
    /// Lines of stderr.
    pub(crate) messages: Vec<String>,
    /// How many kills the kernel counted meanwhile, on the whole machine.
    pub(crate) growth: u64,
}

/// What it says at its end to have seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    /// Kills of the whole machine.
    pub(crate) kills: u64,
    /// Victims that were sent SIGKILL once more.
    pub(crate) rekills: u64,
    /// Marks without a kill.
    pub(crate) marks: u64,
    /// Killed sharers of a victim's memory.
    pub(crate) sharers: u64,
}

impl Ended {
    /// Its lines as reports of kills.
    pub(crate) fn reports(&self) -> Vec<Report> {
        let reports = self.lines.iter().map(|line| match Line::parse(line) {
            Line::Kill(report) => report,
            Line::Gap(_) => panic!("a gap among the kills: {self:#?}"),
        });
        reports
            .inspect(|report| report.is("/backend", &self.backend[..]))
            .collect()
    }

    /// Its only line as a report.
    pub(crate) fn report(&self) -> Report {
        let [report] = &self.reports()[..] else {
            panic!("not one report: {self:#?}");
        };
        report.clone()
    }

    /// Its lines as text.
    pub(crate) fn text(&self) -> Vec<&str> {
        self.lines
            .iter()
            .map(|line| str::from_utf8(line).expect("output in UTF-8"))
            .collect()
    }

    /// The words of its lines.
    pub(crate) fn words(&self) -> Vec<Vec<&str>> {
        let lines = self.text().into_iter();
        lines
            .map(|line| line.split_ascii_whitespace().collect())
            .collect()
    }

    /// Kills that it counted without knowing whose: its lines are gaps and nothing else.
    pub(crate) fn unidentified(&self) -> u64 {
        let gaps = self.lines.iter().map(|line| match Line::parse(line) {
            Line::Gap(unidentified) => unidentified,
            Line::Kill(report) => panic!("a kill among the gaps: {report:?}"),
        });
        let unidentified = gaps.sum();
        self.check_growth(unidentified);
        unidentified
    }

    /// What it counted: it says that nothing is missing, and it counted nothing that the kernel did not.
    pub(crate) fn sum(&self) -> Sum {
        let totals = self.totals();
        assert_eq!(totals.missed, 0, "{:#?}", self.messages);
        let count = |name| totals.others.get(name).copied().unwrap_or_default();
        assert_eq!(count("excess"), 0, "{:#?}", self.messages);
        let sum = Sum {
            kills: totals.reported,
            rekills: count("rekills"),
            marks: count("mark_victim_without_kill"),
            sharers: count("mm_sharers"),
        };
        self.check_growth(sum.kills + sum.rekills);
        sum
    }

    /// Kills, re-kills, and kills that it did not report but knows of.
    pub(crate) fn counted(&self) -> (u64, u64, u64) {
        let totals = self.totals();
        let count = |name| totals.others.get(name).copied().unwrap_or_default();
        (totals.reported, count("rekills"), totals.missed)
    }

    /// Kills that it found in the kernel log.
    pub(crate) fn filled(&self) -> u64 {
        let totals = self.totals();
        totals.others.get("from_log").copied().unwrap_or_default()
    }

    /// Kills that it counted and did not print.
    pub(crate) fn hidden(&self) -> u64 {
        let totals = self.totals();
        totals.others.get("hidden").copied().unwrap_or_default()
    }

    /// Its closing line: `N OOM kills counted by the kernel, N reported, N missed`, and further counts as `name=N`.
    fn totals(&self) -> Totals<'_> {
        let rest = self
            .messages
            .iter()
            .find_map(|line| line.split_once(TOTALS).map(|(_, rest)| rest))
            .unwrap_or_else(|| panic!("no closing line: {:#?}", self.messages));
        let (reported, rest) = rest.split_once(" reported, ").expect("a number of kills");
        let (missed, others) = rest.split_once(" missed").expect("a number of misses");
        let others = others
            .split_ascii_whitespace()
            .filter_map(|count| count.split_once('='))
            .map(|(name, count)| (name, count.parse().expect("a count")));
        Totals {
            reported: reported.parse().expect("a count"),
            missed: missed.parse().expect("a count"),
            others: others.collect(),
        }
    }

    fn check_growth(&self, counted: u64) {
        assert!(
            counted <= self.growth,
            "{counted} were counted, but by the kernel {}",
            self.growth
        );
    }
}

/// The counts of a closing line.
struct Totals<'a> {
    reported: u64,
    missed: u64,
    others: HashMap<&'a str, u64>,
}
