//! Results of the kernel tests by backend: lines `MARKER SCENARIO BACKEND OUTCOME WORDS` on the console.
//!
//! `WORDS` are comma-separated facts that the backend did not report, or the reason why this kernel does not have it, or
//! `-`. A line is parsed completely or kept as unreadable.

use std::collections::BTreeSet;

use super::interface::{RAW_TRACEPOINT, RESULT_MARKER};

/// Where the facts come from, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    Fentry,
    Kprobe,
    RawTracepoint,
    Kmsg,
    Counters,
}

/// Outcome of a scenario on a backend, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    Ok,
    /// This kernel does not have the backend.
    Absent,
    Failed,
}

/// One scenario on one backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) outcome: Outcome,
    /// Facts that were not reported; with [`Outcome::Absent`], why.
    pub(crate) words: BTreeSet<String>,
}

/// One scenario on all backends, in the order of [`Backend::ALL`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scenario {
    pub(crate) name: String,
    pub(crate) cells: [Option<Cell>; Backend::ALL.len()],
}

/// Results of one boot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Results {
    /// In the order of their first line.
    pub(crate) scenarios: Vec<Scenario>,
    /// Lines that have the marker and could not be parsed.
    pub(crate) unreadable: Vec<String>,
}

impl Backend {
    pub(crate) const ALL: [Self; 5] = [
        Self::Fentry,
        Self::Kprobe,
        Self::RawTracepoint,
        Self::Kmsg,
        Self::Counters,
    ];

    /// As the tests and the command call it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Fentry => "fentry",
            Self::Kprobe => "kprobe",
            Self::RawTracepoint => RAW_TRACEPOINT,
            Self::Kmsg => "kmsg",
            Self::Counters => "counters",
        }
    }
}

impl Results {
    /// Reads a line of the console, which may hold no result.
    pub(crate) fn read_line(&mut self, line: &str) {
        // Where two lines ran together, the second marker separates them.
        for result in line.split(RESULT_MARKER).skip(1) {
            match parse(result) {
                Some((scenario, backend, cell)) => self.add(scenario, backend, cell),
                None => self.unreadable.push(format!("{RESULT_MARKER}{result}")),
            }
        }
    }

    /// Of two results for the same scenario and backend, the worse outcome counts, with the words of both.
    fn add(&mut self, scenario: &str, backend: Backend, cell: Cell) {
        let known = self.scenarios.iter().position(|it| it.name == scenario);
        let at = known.unwrap_or_else(|| {
            self.scenarios.push(Scenario {
                name: scenario.to_owned(),
                cells: [const { None }; Backend::ALL.len()],
            });
            self.scenarios.len() - 1
        });
        let place = &mut self.scenarios[at].cells[backend as usize];
        *place = Some(match place.take() {
            None => cell,
            Some(before) => Cell {
                outcome: before.outcome.max(cell.outcome),
                words: &before.words | &cell.words,
            },
        });
    }

    /// The results of a backend, in the order of the scenarios.
    pub(crate) fn of(&self, backend: Backend) -> impl Iterator<Item = &Cell> {
        self.scenarios
            .iter()
            .filter_map(move |scenario| scenario.cells[backend as usize].as_ref())
    }

    /// `SCENARIO on BACKEND` for each that failed.
    pub(crate) fn failures(&self) -> Vec<String> {
        let failed = |scenario: &Scenario, backend: Backend| {
            let cell = scenario.cells[backend as usize].as_ref();
            cell.is_some_and(|cell| cell.outcome == Outcome::Failed)
        };
        self.scenarios
            .iter()
            .flat_map(|scenario| Backend::ALL.map(|backend| (scenario, backend)))
            .filter(|&(scenario, backend)| failed(scenario, backend))
            .map(|(scenario, backend)| format!("{} on {}", scenario.name, backend.name()))
            .collect()
    }
}

/// Parses what follows the marker. A fifth word means that another line was written into this one.
fn parse(result: &str) -> Option<(&str, Backend, Cell)> {
    let mut fields = result.strip_prefix(' ')?.split(' ');
    let (scenario, backend, outcome, words) = (
        fields.next()?,
        fields.next()?,
        fields.next()?,
        fields.next()?,
    );
    if fields.next().is_some() || !is_word(scenario) {
        return None;
    }
    let backend = Backend::ALL
        .into_iter()
        .find(|known| known.name() == backend)?;
    let outcome = match outcome {
        "ok" => Outcome::Ok,
        "absent" => Outcome::Absent,
        "failed" => Outcome::Failed,
        _ => return None,
    };
    let words = match words {
        "-" => BTreeSet::new(),
        words if words.split(',').all(is_word) => words.split(',').map(str::to_owned).collect(),
        _ => return None,
    };
    Some((scenario, backend, Cell { outcome, words }))
}

fn is_word(word: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./:".contains(&byte);
    word.starts_with(|first: char| first.is_ascii_alphanumeric()) && word.bytes().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads lines in which `@result` stands for the marker.
    fn after(lines: &[&str]) -> Results {
        let mut results = Results::default();
        for line in lines {
            results.read_line(&line.replace("@result", RESULT_MARKER));
        }
        results
    }

    fn cell(outcome: Outcome, words: &[&str]) -> Cell {
        Cell {
            outcome,
            words: words.iter().map(|&word| word.to_owned()).collect(),
        }
    }

    fn only_cell(lines: &[&str], backend: Backend) -> Cell {
        let results = after(lines);
        assert_eq!(results.unreadable, Vec::<String>::new());
        let cells: Vec<&Cell> = results.of(backend).collect();
        let [only] = cells[..] else {
            panic!("{lines:?}: {cells:?}");
        };
        only.clone()
    }

    #[test]
    fn line_names_the_facts_that_were_not_reported() {
        let results = after(&[
            "@result group_kill fentry absent no-fentry",
            "@result group_kill kmsg ok gfp_mask,oom_cgroup.path",
            "test result: ok. 1 passed; 0 failed",
            "@result storm kmsg failed -",
        ]);
        let names: Vec<&str> = results
            .scenarios
            .iter()
            .map(|it| it.name.as_str())
            .collect();
        assert_eq!(names, ["group_kill", "storm"]);
        let mut cells = [const { None }; Backend::ALL.len()];
        cells[Backend::Fentry as usize] = Some(cell(Outcome::Absent, &["no-fentry"]));
        cells[Backend::Kmsg as usize] = Some(cell(Outcome::Ok, &["gfp_mask", "oom_cgroup.path"]));
        assert_eq!(results.scenarios[0].cells, cells);
        assert_eq!(results.of(Backend::Kmsg).count(), 2);
        assert_eq!(results.failures(), ["storm on kmsg"]);
        assert_eq!(results.unreadable, Vec::<String>::new());
    }

    #[test]
    fn text_may_precede_the_marker() {
        for before in [
            "test group_kill ... ",
            "[   12.345678] noise",
            "@",
            "result @ ",
        ] {
            let line = format!("{before}@result a kprobe ok -");
            assert_eq!(
                only_cell(&[&line], Backend::Kprobe),
                cell(Outcome::Ok, &[]),
                "{line}"
            );
        }
    }

    #[test]
    fn malformed_line_is_kept_as_unreadable() {
        for result in [
            "",
            " ",
            " a",
            " a fentry",
            " a fentry ok",
            " a fentry ok ",
            " a fentry ok order ",
            "  a fentry ok -",
            " a  fentry ok -",
            " a fentry ok - [   12.345678] kernel",
            " a fentry ok -[   12.345678] kernel",
            " a fentry ok order[   12.345678] kernel",
            " a fen[   12.345678] kernel",
            " a function ok -",
            " a Fentry ok -",
            " a fentry passed -",
            " a fentry ok order,",
            " a fentry ok ,order",
            " a fentry ok a,,b",
            " a fentry ok größe",
            " a fentry ok -,order",
            " a\tfentry ok -",
            " - fentry ok -",
            "s a fentry ok -",
            ": a fentry ok -",
        ] {
            let results = after(&[&format!("x @result{result}")]);
            assert_eq!(results.scenarios, [], "{result:?}");
            assert_eq!(results.unreadable, [format!("{RESULT_MARKER}{result}")]);
        }
    }

    #[test]
    fn line_without_the_marker_is_no_result() {
        for line in [
            "",
            "@",
            "@res ult",
            "result a fentry ok -",
            "@RESULT a fentry ok -",
        ] {
            assert_eq!(after(&[line]), Results::default(), "{line}");
        }
    }

    #[test]
    fn complete_line_after_a_cut_one_is_read() {
        let results = after(&["@result a fentry o@result b kprobe ok -"]);
        assert_eq!(results.unreadable, [format!("{RESULT_MARKER} a fentry o")]);
        assert_eq!(results.of(Backend::Kprobe).count(), 1);
    }

    #[test]
    fn worse_of_two_outcomes_counts_with_the_words_of_both() {
        let (good, bad, none) = (
            "@result a kmsg ok order",
            "@result a kmsg failed gfp_mask",
            "@result a kmsg absent no-log",
        );
        let both = cell(Outcome::Failed, &["gfp_mask", "order"]);
        assert_eq!(only_cell(&[good, bad], Backend::Kmsg), both);
        assert_eq!(only_cell(&[bad, good], Backend::Kmsg), both);
        assert_eq!(
            only_cell(&[none, good], Backend::Kmsg).outcome,
            Outcome::Absent
        );
    }
}
