//! The tables at the end: the outcome of each scenario on each backend, and the facts that a backend did not report.
//!
//! Text for a terminal of 120 columns; longer names make it wider.

use std::array;
use std::collections::{BTreeMap, BTreeSet};
use std::iter;

use super::backend::{Backend, Cell, Outcome, Results};
use crate::table;

/// Width of the terminal.
const WIDTH: usize = 120;
const BACKENDS: usize = Backend::ALL.len();
/// Cells of a row: its name and one for each backend.
const CELLS: usize = BACKENDS + 1;

/// A row for each scenario and a column for each backend; facts that were not reported are in notes below.
pub(crate) fn scenarios(results: &Results) -> String {
    let mut notes = Notes::default();
    let rows: Vec<[String; CELLS]> = results
        .scenarios
        .iter()
        .map(|scenario| {
            let cells = scenario.cells.each_ref().map(|cell| {
                cell.as_ref().map_or_else(String::new, |cell| {
                    notes.annotate(shown(cell.outcome), &cell.words)
                })
            });
            row(scenario.name.clone(), cells)
        })
        .collect();
    table::render(head("scenario"), &rows) + &notes.render()
}

/// A row for each boot and a column for each backend: the number of scenarios with each outcome.
pub(crate) fn boots(results: &[(&str, &Results)]) -> String {
    let mut notes = Notes::default();
    let rows: Vec<[String; CELLS]> = results
        .iter()
        .map(|(boot, results)| {
            let cells = Backend::ALL
                .map(|backend| sum(&results.of(backend).collect::<Vec<_>>(), &mut notes));
            row((*boot).to_owned(), cells)
        })
        .collect();
    table::render(head("boot"), &rows) + &notes.render()
}

/// For each backend that some boot has, the facts that it never reported and those that it did not always report.
pub(crate) fn unknown(results: &[(&str, &Results)]) -> String {
    let width = Backend::ALL.map(|backend| backend.name().len());
    let width = width.into_iter().max().unwrap_or(0);
    Backend::ALL
        .into_iter()
        .map(|backend| {
            let label = format!("{:width$}  ", backend.name());
            let cells = results.iter().flat_map(|(_, results)| results.of(backend));
            let passed: Vec<&Cell> = cells.filter(|cell| cell.outcome == Outcome::Ok).collect();
            unknown_of(&label, &passed)
        })
        .collect()
}

fn unknown_of(label: &str, passed: &[&Cell]) -> String {
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    for word in passed.iter().flat_map(|cell| &cell.words) {
        *times.entry(word).or_default() += 1;
    }
    let of = passed.len();
    let (always, sometimes): (Vec<_>, Vec<_>) =
        times.into_iter().partition(|&(_, times)| times == of);
    let always: Vec<String> = always.iter().map(|(word, _)| (*word).to_owned()).collect();
    let sometimes: Vec<String> = sometimes
        .iter()
        .map(|(word, times)| format!("{word} ({times} of {of})"))
        .collect();
    let blank = " ".repeat(label.len());
    match (&always[..], &sometimes[..]) {
        _ if passed.is_empty() => String::new(),
        ([], []) => format!("{label}reported everything\n"),
        (always, []) => wrap(&format!("{label}never: "), always),
        ([], sometimes) => wrap(&format!("{label}not always: "), sometimes),
        (always, sometimes) => {
            wrap(&format!("{label}never: "), always)
                + &wrap(&format!("{blank}not always: "), sometimes)
        }
    }
}

fn head(first: &str) -> [&str; CELLS] {
    row(first, Backend::ALL.map(Backend::name))
}

fn row<T: Default>(first: T, rest: [T; BACKENDS]) -> [T; CELLS] {
    let mut cells = iter::once(first).chain(rest);
    array::from_fn(|_| cells.next().unwrap_or_default())
}

fn shown(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Ok => "ok",
        Outcome::Absent => "absent",
        Outcome::Failed => "FAILED",
    }
}

fn sum(cells: &[&Cell], notes: &mut Notes) -> String {
    let count = |outcome| cells.iter().filter(|cell| cell.outcome == outcome).count();
    if !cells.is_empty() && count(Outcome::Absent) == cells.len() {
        let why = cells.iter().flat_map(|cell| cell.words.clone()).collect();
        return notes.annotate(shown(Outcome::Absent), &why);
    }
    let parts: Vec<String> = [Outcome::Ok, Outcome::Absent, Outcome::Failed]
        .into_iter()
        .filter(|&outcome| count(outcome) > 0)
        .map(|outcome| format!("{} {}", count(outcome), shown(outcome)))
        .collect();
    parts.join(", ")
}

/// Notes below a table, each once, numbered in the order of their first use.
#[derive(Default)]
struct Notes(Vec<BTreeSet<String>>);

impl Notes {
    fn annotate(&mut self, cell: &str, words: &BTreeSet<String>) -> String {
        if words.is_empty() {
            return cell.to_owned();
        }
        let known = self.0.iter().position(|note| note == words);
        let at = known.unwrap_or_else(|| {
            self.0.push(words.clone());
            self.0.len() - 1
        });
        format!("{cell}*{}", at + 1)
    }

    fn render(&self) -> String {
        let width = self.0.len().to_string().len();
        let note = |(at, words): (usize, &BTreeSet<String>)| {
            let words: Vec<String> = words.iter().cloned().collect();
            wrap(&format!("*{:width$}  ", at + 1), &words)
        };
        self.0.iter().enumerate().map(note).collect()
    }
}

/// The label and the words, separated by commas; further lines are indented to the first word.
fn wrap(label: &str, words: &[String]) -> String {
    let mut text = label.to_owned();
    let mut column = label.len();
    for (at, word) in words.iter().enumerate() {
        let is_last = at + 1 == words.len();
        let word = if is_last {
            word.clone()
        } else {
            format!("{word},")
        };
        if column + word.len() > WIDTH && at > 0 {
            text.truncate(text.trim_end().len());
            text.push('\n');
            text.push_str(&" ".repeat(label.len()));
            column = label.len();
        }
        text.push_str(&word);
        text.push(' ');
        column += word.len() + 1;
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::super::interface::RESULT_MARKER;
    use super::*;

    /// Reads lines in which `@result` stands for the marker.
    fn results(lines: &[&str]) -> Results {
        let mut results = Results::default();
        for line in lines {
            results.read_line(&line.replace("@result", RESULT_MARKER));
        }
        assert_eq!(results.unreadable, Vec::<String>::new());
        results
    }

    fn old() -> Results {
        results(&[
            "@result group_kill fentry ok -",
            "@result group_kill kmsg ok order,gfp_mask",
            "@result group_kill counters ok victim",
            "@result cpuset fentry ok -",
            "@result cpuset kmsg ok order,gfp_mask,constraint",
            "@result cpuset counters failed victim",
        ])
    }

    fn new() -> Results {
        results(&[
            "@result group_kill fentry absent no-fentry",
            "@result group_kill kprobe absent no-kprobes",
            "@result group_kill kmsg ok gfp_mask,order",
            "@result cpuset fentry absent no-fentry",
            "@result cpuset kprobe ok -",
        ])
    }

    #[test]
    fn scenario_has_a_row_and_each_note_is_printed_once() {
        assert_eq!(
            scenarios(&old()),
            "\
scenario    fentry  kprobe  raw-tracepoint  kmsg  counters
----------  ------  ------  --------------  ----  --------
group_kill  ok                              ok*1  ok*2
cpuset      ok                              ok*3  FAILED*2
*1  gfp_mask, order
*2  victim
*3  constraint, gfp_mask, order
"
        );
    }

    #[test]
    fn boot_has_a_row_with_sums() {
        assert_eq!(
            boots(&[("5.10", &old()), ("6.12", &new()), ("6.18", &results(&[]))]),
            "\
boot  fentry    kprobe          raw-tracepoint  kmsg  counters
----  --------  --------------  --------------  ----  --------------
5.10  2 ok                                      2 ok  1 ok, 1 FAILED
6.12  absent*1  1 ok, 1 absent                  1 ok
6.18
*1  no-fentry
"
        );
    }

    #[test]
    fn facts_are_listed_for_scenarios_that_passed() {
        assert_eq!(
            unknown(&[("5.10", &old()), ("6.12", &new())]),
            "\
fentry          reported everything
kprobe          reported everything
kmsg            never: gfp_mask, order
                not always: constraint (1 of 3)
counters        never: victim
"
        );
        assert_eq!(unknown(&[("6.18", &results(&[]))]), "");
    }

    #[test]
    fn long_notes_are_wrapped_and_indented() {
        let words: Vec<String> = (0..20).map(|number| format!("field_{number:03}")).collect();
        let text = wrap("*1  ", &words);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines.iter().all(|line| line.len() <= WIDTH), "{text}");
        assert!(lines[0].starts_with("*1  field_000, "), "{text}");
        assert!(lines[1].starts_with("    field_"), "{text}");
        assert_eq!(
            text.split(", ").count(),
            19,
            "a line ends without a space: {text}"
        );
        let one = ["x".repeat(200)];
        assert_eq!(wrap("a ", &one), format!("a {}\n", one[0]));
    }
}
