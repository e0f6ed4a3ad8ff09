//! What the tests say of each rung of the hook ladder: lines `@rung SCENARIO RUNG OUTCOME MISSING` on the console.
//!
//! `MISSING` is what the rung could not know, separated by commas, or why there is no such rung on this kernel, or `-`.
//! A line is read whole or not at all, and one that is not read is kept.

use std::collections::BTreeSet;

/// What opens it, at the beginning of a line or behind anything else.
const MARK: &str = "@rung";

/// Where the facts come from, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rung {
    Fentry,
    Kprobe,
    Tracepoint,
    Format,
    Kmsg,
    Counters,
}

/// How a scenario went on a rung; what is worse is more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    Ok,
    /// This kernel has no such rung.
    Absent,
    Failed,
}

/// One scenario on one rung.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) outcome: Outcome,
    /// What was not known; with [`Outcome::Absent`], why.
    pub(crate) words: BTreeSet<String>,
}

/// One scenario on all rungs, in the order of [`Rung::ALL`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scenario {
    pub(crate) name: String,
    pub(crate) cells: [Option<Cell>; Rung::ALL.len()],
}

/// All that a boot has said of rungs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rungs {
    /// In the order in which they were told of first.
    pub(crate) scenarios: Vec<Scenario>,
    /// What had the mark and could not be read.
    pub(crate) unread: Vec<String>,
}

impl Rung {
    pub(crate) const ALL: [Self; 6] = [
        Self::Fentry,
        Self::Kprobe,
        Self::Tracepoint,
        Self::Format,
        Self::Kmsg,
        Self::Counters,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Fentry => "fentry",
            Self::Kprobe => "kprobe",
            Self::Tracepoint => "tracepoint",
            Self::Format => "format",
            Self::Kmsg => "kmsg",
            Self::Counters => "counters",
        }
    }
}

impl Rungs {
    /// Takes a line of the console, which may say nothing of rungs.
    pub(crate) fn take(&mut self, line: &str) {
        // Two lines that were torn into one are told apart by the mark of the second.
        for told in line.split(MARK).skip(1) {
            match parse(told) {
                Some((scenario, rung, cell)) => self.note(scenario, rung, cell),
                None => self.unread.push(format!("{MARK}{told}")),
            }
        }
    }

    /// Of a scenario that is told of twice, the worse counts, and all that was missing.
    fn note(&mut self, scenario: &str, rung: Rung, cell: Cell) {
        let known = self.scenarios.iter().position(|it| it.name == scenario);
        let at = known.unwrap_or_else(|| {
            self.scenarios.push(Scenario {
                name: scenario.to_owned(),
                cells: [const { None }; Rung::ALL.len()],
            });
            self.scenarios.len() - 1
        });
        let place = &mut self.scenarios[at].cells[rung as usize];
        *place = Some(match place.take() {
            None => cell,
            Some(before) => Cell {
                outcome: before.outcome.max(cell.outcome),
                words: &before.words | &cell.words,
            },
        });
    }

    /// The cells of a rung that were told, in the order of the scenarios.
    pub(crate) fn of(&self, rung: Rung) -> impl Iterator<Item = &Cell> {
        self.scenarios
            .iter()
            .filter_map(move |scenario| scenario.cells[rung as usize].as_ref())
    }

    /// `SCENARIO on RUNG` for each that failed.
    pub(crate) fn failures(&self) -> Vec<String> {
        let failed = |scenario: &Scenario, rung: Rung| {
            let cell = scenario.cells[rung as usize].as_ref();
            cell.is_some_and(|cell| cell.outcome == Outcome::Failed)
        };
        self.scenarios
            .iter()
            .flat_map(|scenario| Rung::ALL.map(|rung| (scenario, rung)))
            .filter(|&(scenario, rung)| failed(scenario, rung))
            .map(|(scenario, rung)| format!("{} on {}", scenario.name, rung.name()))
            .collect()
    }
}

/// What stands behind the mark. What does not end with the fourth word has something else written into it.
fn parse(told: &str) -> Option<(&str, Rung, Cell)> {
    let mut fields = told.strip_prefix(' ')?.split(' ');
    let (scenario, rung, outcome, words) = (
        fields.next()?,
        fields.next()?,
        fields.next()?,
        fields.next()?,
    );
    if fields.next().is_some() || !is_word(scenario) {
        return None;
    }
    let rung = Rung::ALL.into_iter().find(|known| known.name() == rung)?;
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
    Some((scenario, rung, Cell { outcome, words }))
}

fn is_word(word: &str) -> bool {
    let is_of_words = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./:".contains(&byte);
    word.starts_with(|first: char| first.is_ascii_alphanumeric()) && word.bytes().all(is_of_words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(lines: &[&str]) -> Rungs {
        let mut rungs = Rungs::default();
        for line in lines {
            rungs.take(line);
        }
        rungs
    }

    fn cell(outcome: Outcome, words: &[&str]) -> Cell {
        Cell {
            outcome,
            words: words.iter().map(|&word| word.to_owned()).collect(),
        }
    }

    fn only_cell(lines: &[&str], rung: Rung) -> Cell {
        let rungs = after(lines);
        assert_eq!(rungs.unread, Vec::<String>::new());
        let cells: Vec<&Cell> = rungs.of(rung).collect();
        let [only] = cells[..] else {
            panic!("{lines:?}: {cells:?}");
        };
        only.clone()
    }

    #[test]
    fn line_says_what_was_missing() {
        let rungs = after(&[
            "@rung group_kill fentry absent no-fentry",
            "@rung group_kill kmsg ok gfp_mask,oom_cgroup.path",
            "test result: ok. 1 passed; 0 failed",
            "@rung storm kmsg failed -",
        ]);
        let names: Vec<&str> = rungs.scenarios.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["group_kill", "storm"]);
        assert_eq!(
            rungs.scenarios[0].cells,
            [
                Some(cell(Outcome::Absent, &["no-fentry"])),
                None,
                None,
                None,
                Some(cell(Outcome::Ok, &["gfp_mask", "oom_cgroup.path"])),
                None
            ]
        );
        assert_eq!(rungs.of(Rung::Kmsg).count(), 2);
        assert_eq!(rungs.failures(), ["storm on kmsg"]);
        assert_eq!(rungs.unread, Vec::<String>::new());
    }

    #[test]
    fn anything_may_stand_before_it() {
        for before in [
            "test group_kill ... ",
            "[   12.345678] noise",
            "@",
            "rung @ ",
        ] {
            let line = format!("{before}@rung a format ok -");
            assert_eq!(
                only_cell(&[&line], Rung::Format),
                cell(Outcome::Ok, &[]),
                "{line}"
            );
        }
    }

    #[test]
    fn line_with_something_in_it_is_not_read_but_kept() {
        for told in [
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
            let rungs = after(&[&format!("x @rung{told}")]);
            assert_eq!(rungs.scenarios, [], "{told:?}");
            assert_eq!(rungs.unread, [format!("@rung{told}")]);
        }
    }

    #[test]
    fn line_without_the_mark_says_nothing() {
        for line in [
            "",
            "@",
            "@run g",
            "rung a fentry ok -",
            "@RUNG a fentry ok -",
        ] {
            assert_eq!(after(&[line]), Rungs::default(), "{line}");
        }
    }

    #[test]
    fn whole_line_behind_a_torn_one_is_read() {
        let rungs = after(&["@rung a fentry o@rung b kprobe ok -"]);
        assert_eq!(rungs.unread, ["@rung a fentry o"]);
        assert_eq!(rungs.of(Rung::Kprobe).count(), 1);
    }

    #[test]
    fn of_two_the_worse_counts_with_all_that_was_missing() {
        let (good, bad, none) = (
            "@rung a kmsg ok order",
            "@rung a kmsg failed gfp_mask",
            "@rung a kmsg absent no-log",
        );
        let both = cell(Outcome::Failed, &["gfp_mask", "order"]);
        assert_eq!(only_cell(&[good, bad], Rung::Kmsg), both);
        assert_eq!(only_cell(&[bad, good], Rung::Kmsg), both);
        assert_eq!(
            only_cell(&[none, good], Rung::Kmsg).outcome,
            Outcome::Absent
        );
    }
}
