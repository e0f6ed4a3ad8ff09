//! The command after its end: what it reported, and what it counted.

use std::{collections::HashMap, process::ExitStatus};

use crate::report::{Line, Report};

/// What it says at the end if nothing is missing.
const COMPLETE: &str = "every OOM kill that the kernel counted was seen";
/// What it says if it does not know of all who was killed.
const COUNTED: &str = "every OOM kill that the kernel counted is told";

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
    pub(crate) told: Vec<String>,
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
        let counts = self
            .said(COMPLETE)
            .unwrap_or_else(|| panic!("no word that every kill was seen: {:#?}", self.told));
        let count = |name| {
            let count = counts.get(name);
            *count.unwrap_or_else(|| panic!("no count of {name}: {counts:?}"))
        };
        let sum = Sum {
            kills: count("kills"),
            rekills: count("rekills"),
            marks: count("marks"),
            sharers: count("sharers"),
        };
        self.check_growth(sum.kills + sum.rekills);
        sum
    }

    /// Kills, re-kills, and of how many it does not know who was killed, whether it says that it knows of all or not.
    pub(crate) fn counted(&self) -> (u64, u64, u64) {
        let counts = self.said(COMPLETE).or_else(|| self.said(COUNTED));
        let counts = counts.unwrap_or_else(|| panic!("no word of what was seen: {:#?}", self.told));
        let count = |name| counts.get(name).copied().unwrap_or_default();
        (count("kills"), count("rekills"), count("unidentified"))
    }

    /// Kills that it found in the kernel log.
    pub(crate) fn filled(&self) -> u64 {
        let counts = self.said(COMPLETE).or_else(|| self.said(COUNTED));
        let filled = counts.and_then(|counts| counts.get("filled").copied());
        filled.unwrap_or_default()
    }

    /// The counts behind these words of its.
    fn said(&self, words: &str) -> Option<HashMap<&str, u64>> {
        let line = self
            .told
            .iter()
            .find_map(|line| line.split_once(words).map(|(_, counts)| counts))?;
        let counts = line
            .split_ascii_whitespace()
            .filter_map(|count| count.split_once('='))
            .map(|(name, count)| (name, count.parse().expect("a count")));
        Some(counts.collect())
    }

    fn check_growth(&self, counted: u64) {
        assert!(
            counted <= self.growth,
            "{counted} were counted, but by the kernel {}",
            self.growth
        );
    }
}
